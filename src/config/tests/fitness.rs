//! Who may serve: tasks, tiers, tags, hours, as the file has them.

use super::advice::advice;
use super::compiled::{compile_with, gateway, surroundings};
use super::*;
use crate::config::gateway::{CallerKey, ForbiddenTask};
use crate::reason::Word;

const PROVIDER: &str = "[providers.p]\nkind = \"openai\"\nbase_url = \"http://h\"\n";

/// What is wrong with a file whose provider is `p`.
fn problems(text: &str) -> String {
    let text = format!("{PROVIDER}{text}");
    let loaded = found(&text);
    assert!(loaded.gateway.is_none(), "it was accepted");
    told(&loaded.diagnostics)
}

#[test]
fn tags_of_target_model_and_provider_add_up() {
    let text = format!(
        "{PROVIDER}tags = [\"eu\"]\n[models.\"p/m\"]\ntags = [\"zdr\", \"eu\"]\n[defaults]\nrequire = [\"eu\"]\n\
         [chains.c]\nrequire = [\"zdr\", \"eu\", \"own\"]\ntargets = [{{ model = \"p/m\", tags = [\"own\"] }}, \"p/n\"]\n"
    );
    let gateway = gateway(&text);
    let chain = &gateway.chains["c"];
    let words = |words: &[Word]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(words(&chain.require), ["eu", "zdr", "own"]);
    assert_eq!(words(&chain.targets[0].tags), ["own", "zdr", "eu"]);
    assert!(chain.targets[0].terms.is_none(), "it is called like any other");
    assert_eq!(chain.targets[1].terms.as_ref().unwrap().lacks, Word::new("zdr"));
}

#[test]
fn branches_and_tags_that_cannot_hold() {
    insta::assert_snapshot!(problems(
        r#"
[chains]
deep = ["p/deep"]
[chains.a]
by_task = { code = "dep", chat = "b", self = "a" }
targets = ["p/m"]
[chains.b]
by_tier = { gold = "c" }
targets = ["p/m"]
[chains.c]
by_task = { x = "a", y = "deep" }
targets = ["p/m"]
[chains.strict]
require = ["eu"]
by_tier = { free = "loose", paid = "other" }
targets = [{ model = "p/m", tags = ["eu"] }]
[chains.loose]
by_task = { code = "deep" }
targets = [{ model = "p/m", tags = ["eu"] }]
[chains.other]
require = ["eu"]
targets = ["p/n", { model = "p/m", tags = ["eu"] }]
[chains.nothing]
require = ["eu", "zdr"]
targets = ["p/n", { model = "p/m", tags = ["eu"] }]
"#), @r#"
        chains.nothing: the chain `nothing` has no target with the tags that it requires [nothing is left] [`p/n` lacks `eu`, `p/m` lacks `zdr`; give tags to targets, models or providers]
        chains.a.by_task.code: there is no chain `dep` [did you mean `deep`?]
        chains.a.by_task.chat: `by_task` of `a` leads in a circle: a, b, c, a [each chain must end at targets of its own]
        chains.a.by_task.self: `by_task` of `a` leads in a circle: a, a [each chain must end at targets of its own]
        chains.b.by_tier.gold: `by_tier` of `b` leads in a circle: b, c, a, b [each chain must end at targets of its own]
        chains.c.by_task.x: `by_task` of `c` leads in a circle: c, a, b, c [each chain must end at targets of its own]
        chains.strict.by_tier.free: `strict` requires the tag `eu`, and `p/deep` of the chain `deep` does not have it [tag the target, its model or its provider, or let `deep` require it too]
        "#);
}

#[test]
fn words_and_hours_that_are_none() {
    insta::assert_snapshot!(problems(
        r#"
tags = ["in the eu", "abcdefghijklmnopqrstuvwxyz-123456"]
[chains.a]
require = "eu"
by_task = ["x"]
by_tier = { "" = "a", gold = "a/b" }
tasks = ["x"]
targets = [
  { model = "p/m", when = {} },
  { model = "p/n", when = [] },
  { model = "p/o", when = { tz = "Europe/Berln" } },
  { model = "p/q", when = { hours = "9-5", days = "mon" } },
  { model = "p/r", when = { hour = "09:00-10:00" }, tasks = [""] },
]
"#), @r#"
        providers.p.tags[0]: "in the eu" is not a tag [a name is made of letters, digits, `.`, `_` and `-`]
        providers.p.tags[1]: "abcdefghijklmnopqrstuvwxyz-123456" is too long for a tag: 31 letters at most
        chains.a.require: expected a list, found a string [this is a string]
        chains.a.by_task: expected a table, found a list [this is a list]
        chains.a.by_tier."": expected the name of a task or a tier such as "code", found ""
        chains.a.by_tier.gold: "a/b" is not a chain's name [a name is made of letters, digits, `.`, `_` and `-`]
        chains.a.tasks: unknown key `tasks` in a chain [does not belong here] [`tasks` belongs in [[keys]] or a target]
        chains.a.targets[1].when: without any window it would never be the time
        chains.a.targets[2].when.tz: "Europe/Berln" is no time zone [did you mean "Europe/Berlin"?]
        chains.a.targets[3].when.hours: expected hours of a day such as "09:00-18:00", found "9-5"
        chains.a.targets[3].when.days: expected a list, found a string [this is a string]
        chains.a.targets[4].when.hour: unknown key `hour` in `when` [did you mean `hours`?]
        chains.a.targets[4].tasks[0]: an empty pattern matches nothing ["*" matches everything]
        chains.a.targets[0].when: a window needs `hours` or `days` [for example { hours = "09:00-18:00", days = ["mon-fri"] }]
        "#);
    insta::assert_snapshot!(problems("[chains.a]\ntargets = [{ model = \"p/m\", when = { tz = \"UTC\" } }]\n"), @r#"chains.a.targets[0].when: a window needs `hours` or `days` [for example { hours = "09:00-18:00", days = ["mon-fri"] }]"#);
}

#[test]
fn targets_that_nobody_can_come_to() {
    let keys =
        "[[keys]]\nname = \"a\"\nsecret = \"env:OTHER_KEY\"\ntier = \"free\"\ntasks = [\"code\", \"x-*\"]\n";
    let text = format!(
        r#"{PROVIDER}{keys}
[chains]
deep = ["p/deep"]
[chains.a]
by_task = {{ code = "deep" }}
by_tier = {{ gold = "deep" }}
targets = [
  {{ model = "p/1", tasks = ["code"] }},
  {{ model = "p/2", tasks = ["chat"] }},
  {{ model = "p/3", tasks = ["x-1", "chat"] }},
  {{ model = "p/4", tasks = ["*"] }},
  {{ model = "p/5", tiers = ["gold"] }},
  {{ model = "p/6", tiers = ["silver"] }},
  {{ model = "p/7", tiers = ["f*"] }},
]
[chains.b]
require = ["eu"]
targets = ["p/m", {{ model = "p/n", tags = ["eu"] }}]
[chains.c]
targets = [{{ model = "p/m", when = {{ hours = "08:00-20:00" }} }}, {{ model = "p/n", when = {{ hours = "20:00-08:00", days = ["mon-sun"] }} }}]
[chains.d]
targets = [{{ model = "p/m", when = {{ days = ["mon-sat"] }} }}, {{ model = "p/n", when = {{ hours = "20:00-08:00", days = ["sat"] }} }}]
"#
    );
    let lines = advice(&text, 20_400);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.contains("falls with")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
        chains.a.targets[0].model: `p/1` is never asked: requests of its tasks (code) go to the chain `deep`
        chains.a.targets[1].model: `p/2` is never asked: no key may claim its tasks (chat)
        chains.a.targets[4].model: `p/5` is never asked: requests of its tiers (gold) go to the chain `deep`
        chains.a.targets[5].model: `p/6` is never asked: no key has its tiers (silver)
        chains.b.targets[0]: `p/m` is never asked: the chain requires the tag `eu`, which it lacks [tags = ["eu"] for the target, its model or its provider, if that is so]
        chains.c.targets: no target of `c` has a fallback: at no hour of the week do two of them serve [let their hours overlap, or name a last chain in `on_exhausted`]
        chains.d.targets: there are hours in which no target of `d` serves: sun 08:00 UTC, for example
        "#);
}

#[test]
fn a_key_pins_tier_and_tasks() {
    let text = format!(
        "{PROVIDER}[[keys]]\nname = \"a\"\nsecret = \"env:OTHER_KEY\"\ntier = \"gold\"\ntasks = [\"code\"]\n\
         [[keys]]\nname = \"b\"\nsecret = \"env:OPENAI_API_KEY\"\ntasks = [\"co*\"]\n[chains]\nc = [\"p/m\"]\n"
    );
    let (gateway, _) = compile_with(&text, &surroundings());
    let (one, many) =
        (gateway.caller("OTHER_KEY-value").unwrap(), gateway.caller("OPENAI_API_KEY-value").unwrap());
    assert_eq!((one.tier.as_deref(), many.tier.as_deref()), (Some("gold"), None));
    let code = Ok(Some("code"));
    let tasks =
        |key: &CallerKey, code| [None, Some("code"), Some("chat")].map(|claimed| key.task(claimed)) == code;
    assert!(tasks(one, [code, code, Err(ForbiddenTask)]));
    assert!(tasks(many, [Ok(None), code, Err(ForbiddenTask)]));
}
