//! Entry points for `benches/`: the gateway without its sockets, and pieces of a request's way by themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::catalog;
use crate::chat::target::{Able, Thinking};
use crate::chat::{self, ChatRequest, TargetFacts, Usage};
use crate::clock;
use crate::config::gateway;
use crate::config::live::Live;
use crate::config::{Runtime, Source, Surroundings, load};
use crate::ops::ledger::spend::{Facet, Question};
use crate::ops::ledger::{Keep, Place, Settings};
use crate::ops::shelf::Reader;
use crate::ops::{self, log};
use crate::providers::compatible::Kind;
use crate::providers::surface::Surface;
use crate::providers::{Progress, Provider, ReplyContext, dialect, quirks};
use crate::routing::ceiling::Estimate;
use crate::routing::plan::{Wishes, plan};
use crate::routing::{Origin, Outcome, Trail};
use crate::server::{self, App, Encoder};
use crate::units::{Cost, Tokens};
use crate::wire::framing::Framing;

/// Where its clients seem to be.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// The gateway as `piton serve` runs it, on connections that the caller makes.
pub struct Gateway(App);

impl Gateway {
    /// Starts the log and reads the configuration. The error is all that is wrong with it, as text.
    pub fn start(config: PathBuf) -> Result<Self, String> {
        log::start(None).map_err(|error| error.to_string())?;
        let (live, _) = Live::start(config, None)?;
        Ok(Self(App::new(live)))
    }

    /// Serves one connection to its end.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        server::serve_one(self.0.clone(), stream, PEER).await;
    }
}

/// A client's request.
pub struct Request(Arc<ChatRequest>);

impl Request {
    /// Reads as much of it as the server does.
    pub fn peek(body: Bytes) -> Result<Self, String> {
        ChatRequest::parse(body).map(|request| Self(Arc::new(request))).map_err(|invalid| invalid.message)
    }
}

/// A provider's format, for one of its models.
pub struct Dialect {
    provider: Arc<dyn Provider>,
    facts: TargetFacts,
}

impl Dialect {
    /// That of a kind, if there is one of this name.
    pub fn find(kind: &str, model: &str) -> Option<Self> {
        let kind = Kind::find(kind)?;
        let surface = Surface::default();
        let facts = TargetFacts {
            model: model.into(),
            max_output: Some(Tokens::new(8192)),
            able: Able::ALL,
            thinking: Thinking::Unknown,
            sampling: true,
            quirks: quirks(kind, &surface, true),
        };
        Some(Self { provider: dialect(kind, &surface, model), facts })
    }

    /// Writes the provider's request; its bytes.
    pub fn write(&self, request: &Request) -> Option<usize> {
        let encoded = self.provider.encode(&request.0, &self.facts).ok()?;
        Some(encoded.body.iter().map(Bytes::len).sum())
    }

    /// Reads a streamed answer and writes it for a client of OpenAI; the bytes of that.
    pub fn pass_stream(&self, body: &Bytes) -> Result<usize, String> {
        let mut framing = self.provider.framing().decoder();
        let mut decoder = self.provider.decoder(&self.facts, &ReplyContext::default());
        let mut encoder = Encoder::new("chatcmpl-1".into(), 0, "model".into(), true, false);
        let (mut events, mut out) = (Vec::new(), BytesMut::new());
        framing.push(body.clone());
        while let Some(frame) = framing.next().map_err(|broken| broken.to_string())? {
            let progress = decoder.decode(&frame, &mut events).map_err(|failure| failure.message)?;
            events.drain(..).for_each(|event| encoder.event(event, &mut out));
            if progress == Progress::Done {
                break;
            }
        }
        decoder.finish(&mut events).map_err(|failure| failure.message)?;
        events.drain(..).for_each(|event| encoder.event(event, &mut out));
        encoder.finish(None, Usage::default(), &mut out);
        Ok(out.len())
    }
}

/// A configuration that was read.
pub struct Configuration(gateway::Gateway);

impl Configuration {
    /// Reads it from its text, where these variables hold keys. The error is how much is wrong.
    pub fn compile(text: &str, keys: &[&str]) -> Result<Self, String> {
        let source = Source { name: "piton.toml".into(), text: text.to_owned() };
        let environment = keys.iter().map(|name| ((*name).to_owned(), "unused".to_owned())).collect();
        let surroundings = Surroundings { environment, check_secrets: true, ..Surroundings::default() };
        let loaded = load(&source, &Arc::new(Runtime::new(usize::MAX)), &surroundings);
        loaded.gateway.map(Self).ok_or_else(|| format!("{} problems", loaded.diagnostics.len()))
    }

    /// Plans a request to this chain; the targets that may serve it.
    pub fn plan(&self, chain: &str, request: &Request) -> Option<usize> {
        let chain = self.0.chain(chain)?;
        let plan = plan(&chain, &chat::Request::Chat(Arc::clone(&request.0)), &Wishes::default()).ok()?;
        Some((0..plan.len()).filter(|at| plan.step(*at).skip.is_none()).count())
    }
}

/// The ledger, written without a gateway.
pub struct Ledger(ops::Ledger);

/// The questions' most rows.
const ROWS: u32 = 10_000;
const DAY: Duration = Duration::from_hours(24);

impl Ledger {
    /// Begins one in this file.
    pub fn start(path: PathBuf) -> Self {
        let ledger = ops::Ledger::default();
        let keep = Keep { requests: 90 * DAY, sums: 730 * DAY };
        ledger.start(&Settings { place: Place::At(path), keep });
        Self(ledger)
    }

    /// Enters a request, one of so many that are spread over the last 90 days: of 4 chains with 2 targets and a task
    /// each, 5 keys, 2 tiers, 2,000 users, 10 requests to a session.
    pub fn enter(&self, number: u64, of: u64) {
        let (session, user) = (number / 10, number / 10 % 2_000);
        let began = clock::since_epoch().saturating_sub(90 * DAY)
            + 90 * DAY * u32::try_from(number * 10_000 / of).unwrap_or(0) / 10_000;
        let origin = Origin {
            request_id: request_id(number),
            chain: format!("chain-{}", session % 4).into(),
            key: Some(format!("key-{}", user % 5).into()),
            user: Some(format!("{user:016x}")),
            session: Some(format!("{session:016x}")),
            task: Some(format!("task-{}", session % 4)),
            tier: Some(if user % 5 == 0 { "gold" } else { "standard" }.to_owned()),
            ..Origin::default()
        };
        let trail = Trail::default();
        let target =
            format!("openrouter/some-large-model-{}", session % 4 * 2 + u64::from(number.is_multiple_of(8)))
                .into();
        let attempt = trail.begin(0, &target, Instant::now(), Estimate::default());
        let cost = Cost::from_pico_usd(u128::from(3_000_007 * (number % 1000)));
        trail.update(attempt, |record| {
            record.outcome = Some(Outcome::Ok);
            record.status = Some(200);
            record.latency = Duration::from_millis(900);
            record.first_content = Some(Duration::from_millis(300));
            record.usage.prompt = Tokens::new(1000 + number % 1000);
            record.usage.completion = Tokens::new(number % 300);
            record.cost = Some(cost);
            record.upstream_request_id = Some(format!("req_{number:024x}"));
            record.served_model = Some("some-large-model-2026-10-01".into());
        });
        self.0.enter(&ops::sample(origin, trail, u64::try_from(began.as_millis()).unwrap_or(u64::MAX)));
    }

    /// Requests that wait to be written.
    pub fn waiting(&self) -> u64 {
        self.0.counts().0
    }

    /// Requests that were never written.
    pub fn left_out(&self) -> u64 {
        self.0.counts().1
    }

    /// Asks what was spent by these; how many rows the answer has.
    pub async fn spend(&self, by: &str) -> Result<usize, String> {
        let by = by.split(',').filter_map(Facet::find).collect();
        let question = Question { by, limit: ROWS, ..Question::default() };
        self.0.spend(question).await.map(|answer| answer.rows.len()).map_err(|error| error.to_string())
    }

    /// Whether a request that was entered is found.
    pub async fn has(&self, number: u64) -> Result<bool, String> {
        let found = self.0.find(&request_id(number), Reader::Admin).await;
        found.map(|receipt| receipt.is_some()).map_err(|error| error.to_string())
    }
}

/// Rising, as the ids are that the gateway gives.
fn request_id(number: u64) -> String {
    format!("019aa7c4-{:04x}-7{:03x}-9b3c-{:012x}", number >> 12 & 0xffff, number & 0xfff, number)
}

/// The server-sent events of a body; how many.
pub fn frames(body: &Bytes) -> usize {
    let mut decoder = Framing::Sse.decoder();
    decoder.push(body.clone());
    std::iter::from_fn(|| decoder.next().ok().flatten()).count()
}

/// Splits the catalog, as the first question to it does; its providers.
pub fn split_catalog() -> usize {
    catalog::split().len()
}
