//! Warnings of what can never be reached, each where it is true and not where it only seems so.

use super::advice::advice;

const TODAY: i64 = 20_400;
const PROVIDERS: &str = "[providers.p]\nkind = \"openai\"\nbase_url = \"http://p\"\n\
                         [providers.q]\nkind = \"openai\"\nbase_url = \"http://q\"\n\
                         [providers.r]\nkind = \"openai\"\nbase_url = \"http://r\"\n";

fn warnings(text: &str) -> String {
    advice(&format!("{PROVIDERS}{text}"), TODAY)
}

#[test]
fn ceilings_are_held_against_the_price_of_every_hour() {
    insta::assert_snapshot!(warnings(
        r#"
[models."p/first"]
price = { input = 1, output = 1 }
[models."q/cheap-at-night"]
price = { input = 9, output = 9, windows = [{ hours = "00:00-06:00", input = 2, output = 2 }] }
[models."q/dear"]
price = { input = 9, output = 9, windows = [{ hours = "00:00-06:00", input = 3, output = 3 }] }
[models."r/dear-by-day"]
price = { input = 1, output = 1, windows = [{ hours = "06:00-22:00", input = 5, output = 5 }] }
[models."q/four"]
price = { input = 4, output = 4 }
[chains.a]
targets = ["p/first", { model = "q/cheap-at-night", max_price_ratio = 2 }]
[chains.b]
targets = ["p/first", { model = "q/dear", max_price_ratio = 2 }]
[chains.c]
targets = ["p/first", { model = "q/dear", max_price = { input = 3 } }]
[chains.d]
targets = ["r/dear-by-day", { model = "q/four", max_price_ratio = 1 }]
[chains.e]
targets = ["r/dear-by-day", { model = "q/four", max_price_ratio = 0.5 }]
[chains.unpriced]
targets = ["p/nobody-knows", { model = "q/four", max_cost = 0.000001 }]
"#), @"
        chains.b.targets[1].model: `q/dear` is never asked: every request is over its ceiling (price_ratio) [it costs 9 USD per million input tokens and 9 per million output tokens, and its prices at other hours are too high as well]
        chains.e.targets[1].model: `q/four` is never asked: every request is over its ceiling (price_ratio) [it costs 4 USD per million input tokens and 4 per million output tokens]
        chains.unpriced.targets[1].model: `q/four` is never asked: every request is over its ceiling (max_cost) [it costs 4 USD per million input tokens and 4 per million output tokens]
        ");
}

#[test]
fn what_is_never_asked_takes_no_attempt_and_no_time() {
    insta::assert_snapshot!(warnings(
        r#"
[chains.attempts]
max_attempts = 1
require = ["eu"]
targets = ["p/m", { model = "q/m", tags = ["eu"] }, { model = "r/m", tags = ["eu"] }]
[chains.time]
deadline = "20s"
answer_timeout = "5s"
retries = 0
require = ["eu"]
targets = ["p/m", { model = "q/m", tags = ["eu"] }, { model = "r/m", tags = ["eu"] }]
[chains.place]
require = ["eu"]
targets = ["p/m", { model = "p/n", tags = ["eu"] }, { model = "q/m", tags = ["eu"] }]
"#), @r#"
        chains.attempts.targets[0]: `p/m` is never asked: the chain requires the tag `eu`, which it lacks [tags = ["eu"] for the target, its model or its provider, if that is so]
        chains.attempts.targets[2].model: `r/m` is reached only if targets before it are skipped: `max_attempts` is 1 [set max_attempts to 2 or more]
        chains.time.targets[0]: `p/m` is never asked: the chain requires the tag `eu`, which it lacks [tags = ["eu"] for the target, its model or its provider, if that is so]
        chains.place.targets[0]: `p/m` is never asked: the chain requires the tag `eu`, which it lacks [tags = ["eu"] for the target, its model or its provider, if that is so]
        "#);
}

#[test]
fn a_deployment_that_is_shut_out_of_its_group() {
    insta::assert_snapshot!(warnings(
        r#"
[models."p/m"]
tags = ["eu"]
[chains.c]
require = ["eu"]
targets = [{ any = ["p/m", "q/m"] }]
"#), @r#"chains.c.targets[0].any[1]: `q/m` is never asked: the chain requires the tag `eu`, which it lacks [tags = ["eu"] for the target, its model or its provider, if that is so]"#);
}

#[test]
fn hours_in_which_nothing_stands_in() {
    let target = |model: &str, hours: &str, zone: &str| {
        format!("{{ model = \"{model}\", when = {{ hours = \"{hours}\", tz = \"{zone}\" }} }}")
    };
    let (day, night) = (target("p/m", "08:00-20:00", "UTC"), target("q/m", "20:00-08:00", "UTC"));
    let chain = |targets: &[&str]| format!("[chains.c]\ntargets = [{}]\n", targets.join(", "));
    insta::assert_snapshot!(warnings(&chain(&[&day, &night])), @"chains.c.targets: no target of `c` has a fallback: at no hour of the week do two of them serve [let their hours overlap, or name a last chain in `on_exhausted`]");
    assert_eq!(warnings(&chain(&[&day, &night, "\"r/m\""])), "");
    assert_eq!(warnings(&chain(&[&day, &target("q/m", "19:30-08:00", "UTC")])), "");
    // These meet in winter only.
    assert_eq!(warnings(&chain(&[&day, &target("q/m", "20:30-09:30", "Europe/Berlin")])), "");
    let last = "on_exhausted = { chain = \"last\" }\n[chains]\nlast = [\"r/m\"]\n";
    assert_eq!(warnings(&(chain(&[&day, &night]) + last)), "", "the last chain stands in");
}

#[test]
fn a_price_that_others_cover() {
    insta::assert_snapshot!(warnings(
        r#"
[models."p/m"]
price = { input = 4, output = 8, windows = [
  { hours = "00:00-08:00", input = 1 },
  { hours = "06:00-08:00", days = ["sat"], input = 2 },
  { hours = "07:00-09:00", days = ["sat"], input = 2 },
  { hours = "02:00-08:00", tz = "Europe/Berlin", input = 3 },
] }
[chains]
c = ["p/m"]
"#), @r#"
        models."p/m".price.windows[1]: this price of `p/m` never holds: the windows before it cover 06:00-08:00 sat UTC [the first window that holds counts]
        models."p/m".price.windows[3]: this price of `p/m` never holds: the windows before it cover 02:00-08:00 Europe/Berlin [the first window that holds counts]
        "#);
}

#[test]
fn last_chains_that_end_or_help_little() {
    insta::assert_snapshot!(warnings(
        r#"
[chains.a]
on_exhausted = { chain = "b" }
targets = ["p/m"]
[chains.b]
on_exhausted = { chain = "c" }
targets = ["q/m"]
[chains.c]
targets = ["q/m"]
[chains.d]
on_exhausted = { chain = "e" }
targets = ["q/m"]
[chains.e]
targets = ["q/m", "r/m"]
"#), @"
        chains.a.on_exhausted.chain: requests of `a` end with `b`: its own last chain, `c`, is not walked for them
        chains.b.on_exhausted.chain: `c` has no target that `b` does not have: what has just failed would be asked again
        ");
}

#[test]
fn chains_that_nobody_may_call() {
    let key = |chains: &str| format!("[[keys]]\nname = \"k\"\nsecret = \"env:OTHER_KEY\"\n{chains}\n");
    let chains = r#"
[chains.main]
by_task = { code = "code" }
by_tier = { gold = "gold" }
on_exhausted = { chain = "main-last" }
targets = ["p/m"]
[chains]
main-last = ["q/m"]
code = ["q/m"]
gold = ["q/m"]
other = ["q/m"]
"#;
    insta::assert_snapshot!(warnings(&(key("chains = [\"main*\"]") + chains)), @"chains.other: nobody may call the chain `other`: no key names it, and no chain leads to it");
    assert_eq!(warnings(&(key("") + chains)), "");
    assert_eq!(warnings(chains), "", "without keys everybody may call everything");
}
