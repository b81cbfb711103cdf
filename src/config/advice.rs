//! What is allowed but hardly meant: `piton check` warns of it.

mod budgets;
mod fitness;
mod network;
mod reach;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use super::Gateway;
use super::diagnostic::{Diagnostic, Located, Location};
use super::file::{self, File};
use super::value::lasting;
use crate::catalog::{self, Reasoning, Status};
use crate::chat::{ChatRequest, Request};
use crate::providers::compatible::Kind;
use crate::routing::{Chain, Target};
use crate::wire::timestamp::days;

/// Requests that need one thing each.
const NEEDS: [(&str, &str); 9] = [
    (
        "vision",
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]"#,
    ),
    (
        "audio",
        r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]"#,
    ),
    (
        "documents",
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,AAAA"}}]}]"#,
    ),
    (
        "tools",
        r#""messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
    ),
    ("json_mode", r#""messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_object"}"#),
    (
        "json_schema",
        r#""messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}"#,
    ),
    (
        "parallel_tools",
        r#""messages":[{"role":"user","content":"Hi"}],"parallel_tool_calls":true,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
    ),
    ("logprobs", r#""messages":[{"role":"user","content":"Hi"}],"logprobs":true"#),
    ("n", r#""messages":[{"role":"user","content":"Hi"}],"n":2"#),
];
/// The wait for the first content where nothing is configured, and where the model always thinks first.
const FIRST_TOKEN: Duration = Duration::from_secs(10);
const FIRST_TOKEN_REASONING: Duration = Duration::from_mins(5);
/// A retirement within this many days is near.
const SOON: i64 = 90;

/// A chain as written and as it serves.
struct Subject<'a> {
    written: &'a Located<file::Chain>,
    chain: &'a Chain,
}

/// Everything worth a warning. `today` in days since the Unix epoch.
pub fn advise(file: &File, gateway: &Gateway, today: i64) -> Vec<Diagnostic> {
    let mut advice = unused_models(file, gateway);
    advice.extend(reach::lost_prices(file, gateway, today));
    advice.extend(file.keys.iter().filter_map(|key| small_allowance(key, gateway)));
    advice.extend(reach::uncalled(file));
    for (name, written) in &file.chains.0 {
        if let Some(chain) = gateway.chains.get(name.0.as_str()) {
            let subject = Subject { written, chain };
            for (index, target) in chain.targets.iter().enumerate() {
                advice.extend(subject.of_target(file, index, target, today));
            }
            advice.extend(subject.of_time());
            advice.extend(subject.unattended(today));
            advice.extend(subject.without_fallback(today));
            advice.extend(subject.last_chain(file));
        }
    }
    advice.extend(budgets::of_budgets(file, gateway));
    advice.extend(network::of_network(file, gateway));
    advice
}

/// Days since the Unix epoch, now.
pub fn today() -> i64 {
    i64::try_from(crate::clock::unix_seconds() / 86_400).unwrap_or(i64::MAX)
}

impl Subject<'_> {
    fn of_target(&self, file: &File, index: usize, target: &Target, today: i64) -> Vec<Diagnostic> {
        let at = &self.written.targets.0[index].model.at;
        // Of one that is never called nothing else matters.
        if let Some(shut_out) = fitness::shut_out(target, at) {
            return vec![shut_out];
        }
        let mut advice = self.shut_out_deployments(index, target);
        let found = [
            self.same_place(index, target, at),
            self.smaller_window(index, target, at),
            self.lesser_ability(index, target, at),
            self.never_affordable(target, at),
            self.out_of_attempts(index, target, at),
            leaving(target, today, at),
            self.unknown(index, target, at),
            self.unasked_task(file, target, at),
            self.unasked_tier(file, target, at),
        ];
        advice.extend(found.into_iter().flatten());
        advice
    }

    /// The targets before this one that may be called.
    fn earlier(&self, index: usize) -> impl Iterator<Item = &Arc<Target>> {
        self.chain.targets[..index].iter().filter(|target| target.is_allowed())
    }

    fn same_place(&self, index: usize, target: &Target, at: &Location) -> Option<Diagnostic> {
        let place = origin(&target.url);
        let same = self.earlier(index).find(|earlier| origin(&earlier.url) == place)?;
        let message = format!("`{}` falls with `{}`: both are served by {place}", target.id, same.id);
        Some(Diagnostic::warning(at, message).help("a fallback helps most where it is at another provider"))
    }

    fn smaller_window(&self, index: usize, target: &Target, at: &Location) -> Option<Diagnostic> {
        let window = target.model.context?;
        let known = self.earlier(index).filter_map(|earlier| Some((earlier.model.context?, earlier)));
        let (larger, earlier) =
            known.max_by_key(|(window, _)| *window).filter(|(larger, _)| *larger > window)?;
        let message = format!(
            "the window of `{}` ({window} tokens) is smaller than that of `{}` ({larger}): longer requests skip it",
            target.id, earlier.id
        );
        Some(Diagnostic::warning(at, message))
    }

    fn lesser_ability(&self, index: usize, target: &Target, at: &Location) -> Option<Diagnostic> {
        let first = self.earlier(index).next()?;
        let lacks = |target: &Target, request: &Request| target.fitness.lacks(request).is_some();
        let missing: Vec<&str> = NEEDS
            .iter()
            .filter_map(|(name, body)| Some((name, request(body)?)))
            .filter(|(_, request)| lacks(target, request) && !lacks(first, request))
            .map(|(name, _)| *name)
            .collect();
        let message = format!(
            "`{}` cannot do what `{}` can: {}; requests that need it skip this target",
            target.id,
            first.id,
            missing.join(", ")
        );
        (!missing.is_empty()).then(|| Diagnostic::warning(at, message))
    }

    /// A model that its provider's catalog does not have may be a slip of the pen.
    fn unknown(&self, index: usize, target: &Target, at: &Location) -> Option<Diagnostic> {
        if target.model != catalog::Model::unknown() {
            return None;
        }
        let name = &self.written.targets.0[index].model.value;
        let catalog = Kind::find(&name.provider)?.catalog;
        catalog::names(catalog).next()?;
        let message = format!("the catalog does not know `{name}`: its price and window are unknown");
        let problem = Diagnostic::warning(at, message);
        let near: Vec<String> =
            catalog::near(catalog, &name.model).iter().map(|model| format!("`{catalog}/{model}`")).collect();
        Some(if near.is_empty() {
            problem
        } else {
            problem.label(format!("did you mean {}?", near.join(" or ")))
        })
    }

    /// What the deadline leaves of the chain if its targets hang.
    fn of_time(&self) -> Option<Diagnostic> {
        let Chain { policy, targets, .. } = self.chain;
        let deadline = policy.deadline;
        let mut spent = Duration::ZERO;
        for (index, target) in targets.iter().enumerate().filter(|(_, target)| target.is_allowed()) {
            if spent >= deadline {
                let at = &self.written.targets.0[index].model.at;
                let message = format!(
                    "no time is left for `{}` if streams hang before it: their first-token clocks add up to {}, \
                     and the deadline is {}",
                    target.id,
                    lasting(spent),
                    lasting(deadline)
                );
                return Some(
                    Diagnostic::warning(at, message)
                        .help("shorten first_token_timeout, or raise the deadline"),
                );
            }
            spent += first_token(target);
        }
        self.hanging_answer().or_else(|| self.worst_case())
    }

    /// A JSON call has one clock only.
    fn hanging_answer(&self) -> Option<Diagnostic> {
        let policy = &self.chain.policy;
        let deadline = self.written.policy.deadline.as_ref()?;
        let mut targets = self.earlier(self.chain.targets.len());
        let first = targets.next()?;
        targets.next()?;
        (first.clocks.answer >= policy.deadline).then(|| {
            let message = format!(
                "a JSON call that hangs at `{}` uses up the deadline of {}, and no fallback follows",
                first.id,
                lasting(policy.deadline)
            );
            Diagnostic::warning(&deadline.at, message).help("set answer_timeout to less than the deadline")
        })
    }

    fn worst_case(&self) -> Option<Diagnostic> {
        let policy = &self.chain.policy;
        let targets: Vec<_> = self.earlier(self.chain.targets.len()).collect();
        let mut attempts = policy.max_attempts;
        let mut worst = Duration::ZERO;
        for (target, later) in targets.iter().zip((0..targets.len()).rev()) {
            // A retry leaves every later target its attempt.
            let kept = u32::try_from(later).unwrap_or(u32::MAX).min(attempts.saturating_sub(1));
            let tries = target.clocks.retries.saturating_add(1).min(attempts - kept.min(attempts));
            attempts -= tries;
            let wait = if tries > 1 { target.clocks.retry_after_max } else { Duration::ZERO };
            worst = worst.saturating_add(first_token(target).saturating_mul(tries)).saturating_add(wait);
        }
        let at = self.written.policy.deadline.as_ref().map_or(&self.written.at, |deadline| &deadline.at);
        let message = format!(
            "at worst, with every target slow and asked again, a stream takes {} to begin: longer than the deadline of {}",
            lasting(worst),
            lasting(policy.deadline)
        );
        (worst > policy.deadline).then(|| Diagnostic::warning(at, message))
    }
}

fn first_token(target: &Target) -> Duration {
    let thinks = matches!(target.model.reasoning, Reasoning::Always(_));
    let usual = if thinks { FIRST_TOKEN_REASONING } else { FIRST_TOKEN };
    target.clocks.first_token.unwrap_or(usual).min(target.clocks.stream)
}

fn leaving(target: &Target, today: i64, at: &Location) -> Option<Diagnostic> {
    let retirement = target.model.retires.and_then(|date| Some((date, days(date)?)));
    let message = match retirement {
        Some((date, day)) if day <= today => format!("`{}` was to be switched off on {date}", target.id),
        Some((date, day)) if day - today <= SOON => format!("`{}` will be switched off on {date}", target.id),
        _ if target.model.status == Status::Deprecated => {
            format!("`{}` is deprecated by its provider", target.id)
        }
        _ => return None,
    };
    Some(Diagnostic::warning(at, message))
}

fn unused_models(file: &File, gateway: &Gateway) -> Vec<Diagnostic> {
    let used = |name: &str| {
        let in_chain =
            gateway.chains.values().flat_map(|chain| chain.deployments()).any(|target| &*target.id == name);
        in_chain || file.direct_globs().any(|glob| glob.matches(name))
    };
    let unused = file.models.0.iter().filter(|(name, _)| !used(&name.to_string()));
    unused
        .map(|(name, section)| Diagnostic::warning(&section.at, format!("no chain uses `{name}`")))
        .collect()
}

/// A caller that may use fewer tokens in a minute than one request without a cap is taken for is always refused.
fn small_allowance(key: &file::Key, gateway: &Gateway) -> Option<Diagnostic> {
    let limit = key.tokens_per_minute.as_ref()?;
    let reaches = |name: &str| {
        key.chains.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.value.matches(name)))
    };
    let chains = gateway.chains.iter().filter(|(name, _)| reaches(name));
    let expected =
        chains.filter_map(|(name, chain)| Some((chain.targets.first()?.limits.expected_output, name)));
    let (most, chain) = expected.max_by_key(|(expected, _)| *expected)?;
    (most.get() >= limit.get().into()).then(|| {
        let message = format!(
            "requests of {:?} that set no `max_tokens` are refused by the chain `{chain}`: {most} tokens of output are \
             expected of each, and it may use {} in a minute",
            key.name.value,
            limit.get()
        );
        Diagnostic::warning(&limit.at, message).help("raise tokens_per_minute, or lower expected_output")
    })
}

fn request(rest: &str) -> Option<Request> {
    let request = ChatRequest::parse(Bytes::from(format!("{{\"model\":\"x\",{rest}}}")));
    Some(Request::Chat(Arc::new(request.ok()?)))
}

fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_a_request_that_needs_what_it_says() {
        for (name, body) in NEEDS {
            let Some(Request::Chat(request)) = request(body) else { panic!("{name} is no chat") };
            let needs = request.needs.clone();
            let needed = match name {
                "vision" => needs.image_data,
                "audio" => needs.audio,
                "documents" => needs.documents,
                "tools" => needs.tools,
                "json_mode" => needs.json_mode,
                "json_schema" => needs.json_schema,
                "parallel_tools" => needs.parallel_tools,
                "logprobs" => needs.logprobs,
                _ => needs.n,
            };
            assert!(needed, "{name}");
        }
    }
}
