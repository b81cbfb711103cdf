//! What `piton check` warns of.

use super::compiled::{compile_with, surroundings};
use super::*;

/// The warnings about a file, on a day.
pub fn advice(text: &str, day: i64) -> String {
    let (gateway, warnings) = compile_with(text, &surroundings());
    assert!(warnings.is_empty(), "{}", shown(text, &warnings));
    let file = parse(&source(text)).0.unwrap();
    let lines = crate::config::advice::advise(&file, &gateway, day);
    assert!(!lines.iter().any(Diagnostic::is_error));
    told(&lines)
}

const TODAY: i64 = 20_400;

#[test]
fn targets_that_fall_together_or_can_do_less() {
    insta::assert_snapshot!(advice(
        r#"
[providers.eu]
kind = "openai"
[chains]
c = ["openai/gpt-4o", "eu/gpt-4o-mini", "openai/gpt-4", "ollama/llama3"]
"#, TODAY), @r#"
        chains.c[1]: `eu/gpt-4o-mini` falls with `openai/gpt-4o`: both are served by https://api.openai.com [a fallback helps most where it is at another provider]
        chains.c[2]: `openai/gpt-4` falls with `openai/gpt-4o`: both are served by https://api.openai.com [a fallback helps most where it is at another provider]
        chains.c[2]: the window of `openai/gpt-4` (8192 tokens) is smaller than that of `eu/gpt-4o-mini` (128000): longer requests skip it
        chains.c[2]: `openai/gpt-4` cannot do what `openai/gpt-4o` can: vision, documents, json_schema; requests that need it skip this target
        "#);
}

#[test]
fn ceilings_that_let_nothing_through() {
    insta::assert_snapshot!(advice(
        r#"
[providers.p]
kind = "openai"
base_url = "http://h"
[models."p/free"]
price = { input = 0, output = 0 }
[models."p/dear"]
price = { input = 10, output = 20 }
[models."p/lopsided"]
price = { input = 1, output = 100 }
[models."p/forgotten"]
context = 8192
[chains.ratio]
targets = ["openai/gpt-4o-mini", { model = "p/dear", max_price_ratio = 1.5 }, { model = "openai/gpt-4o", max_price_ratio = 20 }]
[chains.mixed]
targets = ["openai/gpt-4o", { model = "p/lopsided", max_price_ratio = 1.5 }]
[chains.cost]
targets = [{ model = "p/dear", max_cost = 0.00001 }, { model = "ollama/x" }]
[chains.price]
targets = ["openai/gpt-4o", { model = "p/dear", max_price = { output = 19 } }]
[chains.free]
targets = ["p/free", { model = "ollama/y" }, { model = "openai/gpt-4o-mini", max_price_ratio = 99 }]
"#, TODAY), @r#"
        models."p/forgotten": no chain uses `p/forgotten`
        chains.ratio.targets[1].model: `p/dear` is never asked: every request is over its ceiling (price_ratio) [it costs 10 USD per million input tokens and 20 per million output tokens]
        chains.ratio.targets[2].model: `openai/gpt-4o` falls with `openai/gpt-4o-mini`: both are served by https://api.openai.com [a fallback helps most where it is at another provider]
        chains.cost.targets[0].model: `p/dear` is never asked: every request is over its ceiling (max_cost) [it costs 10 USD per million input tokens and 20 per million output tokens]
        chains.price.targets[1].model: `p/dear` is never asked: every request is over its ceiling (price_ratio) [it costs 10 USD per million input tokens and 20 per million output tokens]
        chains.free.targets[2].model: `openai/gpt-4o-mini` cannot do what `p/free` can: audio; requests that need it skip this target
        chains.free.targets[2].model: `openai/gpt-4o-mini` is never asked: every request is over its ceiling (price_ratio) [it costs 0.15 USD per million input tokens and 0.6 per million output tokens]
        "#);
}

#[test]
fn targets_that_are_out_of_reach() {
    insta::assert_snapshot!(advice(
        r#"
[providers.b]
kind = "openai"
base_url = "http://b"
[providers.c]
kind = "openai"
base_url = "http://c"
[chains.attempts]
max_attempts = 1
targets = ["openai/gpt-4o", "b/gpt-4o"]
[chains.hanging]
deadline = "20s"
answer_timeout = "5s"
targets = ["openai/gpt-4o", "b/gpt-4o", "c/gpt-4o"]
[chains.json]
deadline = "2m"
targets = ["openai/gpt-4o", "b/gpt-4o"]
[chains.slow]
deadline = "40s"
answer_timeout = "15s"
targets = ["openai/gpt-4o", "b/gpt-4o"]
[chains.fine]
deadline = "2m"
answer_timeout = "30s"
targets = ["openai/gpt-4o", "b/gpt-4o"]
"#, TODAY), @r#"
        chains.attempts.targets[1]: `b/gpt-4o` is reached only if targets before it are skipped: `max_attempts` is 1 [set max_attempts to 2 or more]
        chains.hanging.targets[2]: no time is left for `c/gpt-4o` if streams hang before it: their first-token clocks add up to 20s, and the deadline is 20s [shorten first_token_timeout, or raise the deadline]
        chains.json.deadline: a JSON call that hangs at `openai/gpt-4o` uses up the deadline of 2m, and no fallback follows [set answer_timeout to less than the deadline]
        chains.slow.deadline: at worst, with every target slow and asked again, a stream takes 46s to begin: longer than the deadline of 40s
        "#);
}

#[test]
fn models_that_go_or_that_nobody_knows() {
    let text = "[models.\"ollama/unused\"]\ncontext = 1\n[chains]\nc = [\"openai/gpt-4o\"]\nd = [\"openai/gpt-4oo\"]\n\
                e = [\"ollama/any\"]\n";
    insta::assert_snapshot!(advice(text, TODAY), @r#"
        models."ollama/unused": no chain uses `ollama/unused`
        chains.d[0]: the catalog does not know `openai/gpt-4oo`: its price and window are unknown [did you mean `openai/gpt-4o`?]
        "#);
    let (name, date) = crate::catalog::names("anthropic")
        .find_map(|name| Some((name, crate::catalog::lookup("anthropic", name)?.retires?)))
        .unwrap();
    let text = format!("[chains]\nc = [\"anthropic/{name}\"]\n");
    assert!(advice(&text, 40_000).ends_with(&format!("was to be switched off on {date}")));
    assert!(!advice(&text, 0).contains("switched off"));
}

#[test]
fn an_allowance_smaller_than_one_request() {
    let key = |name: &str, digit: char, rest: &str| {
        let secret: String = std::iter::repeat_n(digit, 64).collect();
        format!("[[keys]]\nname = \"{name}\"\nsecret = \"sha256:{secret}\"\n{rest}\n")
    };
    let text = [
        key("small", '1', "tokens_per_minute = 1000"),
        key("enough", '2', "tokens_per_minute = 1001"),
        key("short", '3', "chains = [\"short\"]\ntokens_per_minute = 200"),
        key("free", '4', "requests_per_minute = 1"),
        "[chains]\nlong = [\"ollama/x\"]\nshort = [{ model = \"ollama/x\", expected_output = 100 }]\n"
            .to_owned(),
    ];
    insta::assert_snapshot!(advice(&text.concat(), TODAY), @"keys[0].tokens_per_minute: requests of \"small\" that set no `max_tokens` are refused by the chain `long`: 1000 tokens of output are expected of each, and it may use 1000 in a minute [raise tokens_per_minute, or lower expected_output]");
}
