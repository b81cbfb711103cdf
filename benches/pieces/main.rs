//! The pieces of a request's way by themselves: `cargo bench --features bench-internals --bench pieces`.

#[path = "../exchanges/mod.rs"]
mod exchanges;
mod streams;

use std::fmt::Write;
use std::hint::black_box;

use anyhow::{Context, Error, Result};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use piton::bench::{Configuration, Dialect, Request, frames, split_catalog};

// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pieces of text in a stream.
const PIECES: usize = 64;
/// Bytes of a request's body.
const SIZES: [usize; 3] = [300, 20_000, 2_000_000];
/// The dialects, each with a model.
const DIALECTS: [(&str, &str); 5] = [
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("gemini", "gemini-2.5-flash"),
    ("bedrock", "amazon.nova-pro-v1:0"),
    ("cohere", "command-a-03-2025"),
];
/// Where the keys of the configured providers are.
const KEYS: [&str; 3] = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"];

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    requests(&mut criterion)?;
    streams(&mut criterion)?;
    configurations(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// From the client's bytes to the provider's.
fn requests(criterion: &mut Criterion) -> Result<()> {
    for size in SIZES {
        let body = Bytes::from(exchanges::request("gpt", size, false));
        let request = Request::peek(body.clone()).map_err(Error::msg)?;
        let mut group = criterion.benchmark_group(format!("request {size} B"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("peek", |bench| bench.iter(|| Request::peek(black_box(body.clone()))));
        for (kind, model) in DIALECTS {
            let dialect = Dialect::find(kind, model).context(kind)?;
            group.bench_function(format!("write for {kind}"), |bench| {
                bench.iter(|| dialect.write(black_box(&request)));
            });
        }
        group.finish();
    }
    Ok(())
}

/// From the provider's stream to the client's.
fn streams(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group(format!("stream of {PIECES} pieces"));
    let openai = Bytes::from(exchanges::openai_stream(PIECES).concat());
    group.bench_function("events only", |bench| bench.iter(|| frames(black_box(&openai))));
    for (kind, model) in DIALECTS {
        let body: Bytes = match kind {
            "anthropic" => exchanges::anthropic_stream(PIECES).concat().into(),
            "gemini" => streams::gemini(PIECES).concat().into(),
            "cohere" => streams::cohere(PIECES).concat().into(),
            "bedrock" => streams::bedrock(PIECES).concat().into(),
            _ => openai.clone(),
        };
        let dialect = Dialect::find(kind, model).context(kind)?;
        dialect.pass_stream(&body).map_err(Error::msg).context(kind)?;
        group.bench_function(kind, |bench| bench.iter(|| dialect.pass_stream(black_box(&body))));
    }
    group.finish();
    Ok(())
}

/// What the owner wrote, and the plan that is made of it for each request.
fn configurations(criterion: &mut Criterion) -> Result<()> {
    let ten = [
        "openai/gpt-4o-mini",
        "openai/gpt-4o",
        "openai/gpt-4.1",
        "openai/gpt-4.1-mini",
        "openai/gpt-4.1-nano",
        "openai/o3",
        "openai/o4-mini",
        "openai/gpt-5",
        "anthropic/claude-sonnet-4-5",
        "gemini/gemini-2.5-flash",
    ];
    let mut text = String::from("[chains]\n");
    for chain in 0..1000 {
        writeln!(text, "chain-{chain} = {ten:?}")?;
    }
    let configuration = Configuration::compile(&text, &KEYS).map_err(Error::msg)?;
    let request =
        Request::peek(exchanges::request("chain-999", SIZES[0], false).into()).map_err(Error::msg)?;
    criterion.bench_function("plan of 10 targets", |bench| {
        bench.iter(|| configuration.plan(black_box("chain-999"), &request));
    });
    let mut group = criterion.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("catalog", |bench| bench.iter(split_catalog));
    group.bench_function("configuration of 1000 chains", |bench| {
        bench.iter_batched(
            || text.clone(),
            |text| Configuration::compile(&text, &KEYS),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}
