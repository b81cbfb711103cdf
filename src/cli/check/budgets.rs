//! The budgets as `piton check` shows them.

use std::fmt::Write;

use super::{grouped, usd};
use crate::config::diagnostic::Located;
use crate::config::name::Glob;
use crate::config::{File, Gateway};
use crate::routing::budget::{Budget, Counts, Each};

/// A line or two for each, in the order of the file.
pub fn lines(file: &File, gateway: &Gateway) -> String {
    let mut text = String::new();
    for written in &file.budgets {
        let Some(budget) = gateway.budgets().find(|budget| budget.is_named(&written.name.value.0)) else {
            continue;
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\nbudget {}", line(budget));
        if let Some(scope) = &written.r#where {
            let glob = |name: &str, glob: &Option<Located<Glob>>| {
                glob.as_ref().map(|glob| format!("{name} {}", glob.value.as_str()))
            };
            let said = [
                glob("chain", &scope.chain),
                glob("target", &scope.target),
                glob("provider", &scope.provider),
                glob("key", &scope.key),
                scope.user.as_ref().map(|user| format!("user {}", user.value)),
                glob("task", &scope.task),
                glob("tier", &scope.tier),
            ];
            let said: Vec<String> = said.into_iter().flatten().collect();
            let _ = writeln!(text, "  only {}", said.join(", "));
        }
    }
    text
}

fn line(budget: &Budget) -> String {
    let rule = &budget.rule;
    let limits = &rule.limits;
    let mut bounds = Vec::new();
    bounds.extend(limits.cost.map(|cost| format!("{} USD", usd(cost.usd()))));
    bounds.extend(limits.tokens.map(|tokens| format!("{} tokens", grouped(tokens.get()))));
    bounds.extend(limits.requests.map(|requests| format!("{} requests", grouped(requests))));
    let each = rule.each.map(|each| format!(" for each {}", Each::code(each))).unwrap_or_default();
    let fallbacks = match rule.counts {
        Counts::All => "",
        Counts::Fallbacks => ", fallbacks only",
    };
    let then = rule.on_exceeded.code();
    format!("{}: {} per {}{each}{fallbacks}; {then}", rule.name, bounds.join(", "), rule.window)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Runtime, Source, Surroundings, load};

    #[test]
    fn a_budget_is_shown_with_its_bounds_and_what_it_is_for() {
        let text = "[chains]\na = [\"openai/gpt-4o\"]\n[[budgets]]\nname = \"daily\"\nusd = 50\ntokens = 2_000_000\nper = \"day\"\n\
                    time_zone = \"Europe/Berlin\"\neach = \"user\"\nwhere = { chain = \"a*\", user = \"ann\" }\n\
                    [[budgets]]\nname = \"burst\"\nrequests = 10\nper = \"90s\"\ncounts = \"fallbacks\"\non_exceeded = \"skip\"\n";
        let source = Source { name: "piton.toml".into(), text: text.to_owned() };
        let environment = [("OPENAI_API_KEY".to_owned(), "sk-none".to_owned())].into();
        let surroundings = Surroundings { environment, listen: None, check_secrets: true };
        let loaded = load(&source, &Arc::new(Runtime::new(0)), &surroundings);
        insta::assert_snapshot!(lines(&loaded.file.unwrap(), &loaded.gateway.unwrap()), @r"

        budget daily: 50.00 USD, 2,000,000 tokens per day (Europe/Berlin) for each user; reject
          only chain a*, user ann

        budget burst: 10 requests per any 90s, fallbacks only; skip
        ");
    }
}
