//! Budgets of a file: what is made of them, and what a stranger is told about broken ones.

use super::advice::advice;
use super::compiled::gateway;
use super::*;
use crate::routing::budget::{Counts, Each, OnExceeded};

const CHAINS: &str = "[chains]\nmain = [\"openai/gpt-4o\", \"anthropic/claude-sonnet-4-5\"]\ncheap = [\"openai/gpt-4o-mini\"]\n";

/// What is told of a file with this budget, one line for each problem.
fn problems(budget: &str) -> String {
    told(&found(&format!("{CHAINS}{budget}")).diagnostics)
}

#[test]
fn every_key_is_read() {
    let gateway = gateway(&format!(
        "{CHAINS}[[budgets]]\nname = \"x\"\nusd = 1.5\ntokens = 3_000_000_000\nrequests = 7\nper = \"week\"\n\
         time_zone = \"Europe/Berlin\"\neach = \"session\"\nwhere = {{ chain = \"m*\", target = \"openai/*\" }}\n\
         counts = \"fallbacks\"\nwarn_at = 0.5\non_exceeded = \"downshift\"\n\
         [[budgets]]\nname = \"y\"\nper = \"36h\"\nrequests = 1\n"
    ));
    let [x, y] = gateway.budgets().map(|budget| &budget.rule).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&*x.name, x.limits.cost.unwrap().to_string().as_str()), ("x", "1.500000000"));
    assert_eq!((x.limits.tokens.unwrap().get(), x.limits.requests), (3_000_000_000, Some(7)));
    assert_eq!((x.window.to_string().as_str(), x.each), ("week (Europe/Berlin)", Some(Each::Session)));
    assert_eq!((x.counts, x.on_exceeded), (Counts::Fallbacks, OnExceeded::Downshift));
    assert!((x.warn_at - 0.5).abs() < 1e-9 && (y.warn_at - 0.8).abs() < 1e-9);
    assert!(x.scope.covers("main", "openai/gpt-4o", "openai"));
    assert!(!x.scope.covers("cheap", "openai/gpt-4o", "openai") && !x.scope.covers("main", "a/b", "a"));
    assert_eq!((y.window.to_string().as_str(), y.on_exceeded), ("any 36h", OnExceeded::Reject));
}

#[test]
fn broken_budgets_are_told() {
    insta::assert_snapshot!(problems(
        r#"
[[budgets]]
name = "a b"
per = "year"
usd = -1
tokens = 0
each = "users"
on_exceeded = "downshft"
where = { chains = "x" }
[[budgets]]
name = "rolls"
per = "24h"
time_zone = "Europe/Berln"
requests = 1
[[budgets]]
name = "rolls"
per = "500ms"
requests = 1
"#
    ), @r#"
        budgets[0].name: "a b" is not a budget's name [a name is made of letters, digits, `.`, `_` and `-`]
        budgets[0].per: expected "hour", "day", "week", "month" or a duration such as "24h", found "year"
        budgets[0].usd: expected an amount of USD, 0 or more
        budgets[0].tokens: expected a whole number, 1 or more
        budgets[0].each: expected "user", "session", "key", "chain", "target", "task" or "tier", found "users" [did you mean "user"?]
        budgets[0].on_exceeded: expected "reject", "skip" or "downshift", found "downshft" [did you mean "downshift"?]
        budgets[0].where.chains: unknown key `chains` in `where` [does not belong here] [`chains` belongs in the file's top level or [[keys]]]
        budgets[1].time_zone: "Europe/Berln" is no time zone [did you mean "Europe/Berlin"?]
        budgets[2].per: a budget's time is a second or more
        "#);
}

#[test]
fn budgets_that_cannot_work_are_told() {
    insta::assert_snapshot!(problems(
        r#"
[providers.p]
kind = "openai"
base_url = "http://h"
[chains.unpriced]
targets = ["p/nobody-knows", "openai/gpt-4o"]
[chains.second]
targets = ["openai/gpt-4o", "p/nobody-knows"]
[[budgets]]
name = "all"
per = "day"
usd = 1
[[budgets]]
name = "fallbacks"
per = "day"
usd = 1
counts = "fallbacks"
where = { target = "openai/*" }
[[budgets]]
name = "bounds-nothing"
per = "day"
[[budgets]]
name = "rolls"
per = "24h"
requests = 1
time_zone = "UTC"
[[budgets]]
name = "twice"
per = "day"
requests = 1
where = { chain = "none-*", key = "nobody" }
[[budgets]]
name = "twice"
per = "day"
requests = 1
"#
    ), @r#"
    budgets[2]: the budget "bounds-nothing" bounds nothing [neither `usd`, `tokens` nor `requests`] [for example usd = 50]
    budgets[3].time_zone: `time_zone` says nothing of a time that rolls: it has no midnight [per = "day" has one]
    budgets[4].where.chain: no chain is named like "none-*"
    budgets[4].where.key: no key is named like "nobody"
    budgets[5].name: two budgets are named "twice" [errors, receipts and metrics tell them by it]
    budgets[0].usd: the budget "all" needs the price of `p/nobody-knows` in the chain `unpriced`, and nobody knows it [[models."p/nobody-knows"] price = { input = 1, output = 2 }   # USD per million tokens]
    budgets[0].usd: the budget "all" needs the price of `p/nobody-knows` in the chain `second`, and nobody knows it [[models."p/nobody-knows"] price = { input = 1, output = 2 }   # USD per million tokens]
    budgets[1].usd: the budget "fallbacks" needs the price of `p/nobody-knows` in the chain `unpriced`, and nobody knows it [[models."p/nobody-knows"] price = { input = 1, output = 2 }   # USD per million tokens]
    "#);
}

#[test]
fn a_last_chain_is_all_fallbacks_and_compared_with_the_first_target_of_the_asking_one() {
    let file = |first: &str, last: &str| {
        let budget = "[[budgets]]\nname = \"b\"\nper = \"day\"\nusd = 1\ncounts = \"fallbacks\"\n";
        format!(
            "[providers.p]\nkind = \"openai\"\nbase_url = \"http://h\"\n[chains.free]\ntargets = [\"{last}\"]\n\
             [chains.asking]\ntargets = [\"{first}\"]\non_exhausted = {{ chain = \"free\" }}\n{budget}"
        )
    };
    let needs = |id: &str, chain: &str| format!("needs the price of `{id}` in the chain `{chain}`");
    let told = |first, last| problems(&file(first, last));
    let (of_last, of_first) = (told("openai/gpt-4o", "p/unknown"), told("p/unknown", "openai/gpt-4o"));
    assert!(of_last.contains(&needs("p/unknown", "free")), "{of_last}");
    assert!(of_first.contains(&needs("p/unknown", "asking")), "{of_first}");
    assert!(!told("openai/gpt-4o", "openai/gpt-4o-mini").contains("price"));
}

#[test]
fn budgets_smaller_than_a_request_are_warned_of() {
    insta::assert_snapshot!(advice(
        r#"
[providers.p]
kind = "openai"
base_url = "http://h"
[models."p/endless"]
price = { input = 1, output = 1 }
[chains]
a = ["openai/gpt-4o"]
b = ["p/endless"]
[[budgets]]
name = "small"
per = "day"
usd = 0.1
where = { chain = "a" }
[[budgets]]
name = "few"
per = "day"
tokens = 16_000
where = { chain = "a" }
[[budgets]]
name = "enough"
per = "day"
usd = 0.2
where = { chain = "a" }
[[budgets]]
name = "guesses"
per = "day"
usd = 1
where = { chain = "b" }
[[budgets]]
name = "nothing"
per = "day"
usd = 1
where = { target = "openai/o*" }
"#, 20_400), @r#"
    budgets[0].usd: one request to `openai/gpt-4o` that sets no cap may take 0.163905000 USD: more than the budget "small" ever holds [answers of it may have 16384 tokens; raise the budget, or let clients set `max_tokens`]
    budgets[1].tokens: one request to `openai/gpt-4o` that sets no cap may take 16410 tokens: more than the budget "few" ever holds [answers of it may have 16384 tokens; raise the budget, or let clients set `max_tokens`]
    budgets[3].name: nobody knows how long an answer of `p/endless` may be: the budget "guesses" sets 1000 tokens aside for it, and may be overdrawn [[models."p/endless"] max_output = 4096]
    budgets[4]: no target of any chain is in the budget "nothing"
    "#);
}
