//! Whether a scene went as promised: what the headers, the body, the receipt and the providers themselves say.

use std::fmt::Debug;

use super::client::Reply;
use super::scenes::Scene;
use super::stage::Calls;

/// Everything that is not as promised, in a line each.
pub fn surprises(scene: &Scene, reply: &Reply, calls: &Calls) -> Vec<String> {
    let claim = &scene.claim;
    let mut surprises = Surprises(Vec::new());
    let mut promised_calls = Calls::new();
    for target in claim.calls() {
        *promised_calls.entry(target.to_owned()).or_default() += 1;
    }
    surprises.compare("calls that the providers counted", &promised_calls, calls);
    surprises.compare("status", &claim.status, &reply.status);
    surprises.compare("x-piton-chain", &Some(scene.chain), &reply.header("x-piton-chain"));
    surprises.compare("x-piton-target", &claim.target(), &reply.header("x-piton-target"));
    let attempts = claim.calls().count();
    surprises.compare("x-piton-attempts", &Some(&*attempts.to_string()), &reply.header("x-piton-attempts"));
    let reason = reply.header("x-piton-fallback-reason");
    surprises.compare("x-piton-fallback-reason", &claim.fallback_reason, &reason);
    surprises.compare("x-piton-trail", &claim.trail, &&*fates(reply.header("x-piton-trail")));
    surprises.compare("the receipt's target", &claim.target(), &reply.receipt["target"].as_str());
    surprises.compare("the receipt's attempts", &Some(attempts), &reply.receipt_count("attempts"));
    surprises.body(scene, reply);
    surprises.money(scene, reply);
    if reply.took < claim.takes {
        surprises.0.push(format!("it took {:?}, but {:?} was to be waited for", reply.took, claim.takes));
    }
    surprises.0
}

struct Surprises(Vec<String>);

impl Surprises {
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, promised: &T, found: &T) {
        if promised != found {
            self.0.push(format!("{what}: {promised:?} was promised, {found:?} found"));
        }
    }

    /// The serving model speaks for itself, or the error tells of every target.
    fn body(&mut self, scene: &Scene, reply: &Reply) {
        let code = reply.error.as_ref().and_then(|error| error["error"]["code"].as_str());
        self.compare("the error's code", &scene.claim.error_code, &code);
        let retry = scene.claim.error_code.map(|_| "false");
        self.compare("x-should-retry", &retry, &reply.header("x-should-retry"));
        let text = match &reply.error {
            Some(error) => error["error"]["message"].as_str().unwrap_or_default(),
            None => &reply.text,
        };
        let names: Vec<String> = match scene.claim.target() {
            Some(target) => {
                target.split_once('/').map(|(_, model)| format!("This is {model},")).into_iter().collect()
            }
            None => scene.claim.trail.iter().map(|(target, fate)| format!("{target}: {fate}")).collect(),
        };
        for name in names.iter().filter(|name| !text.contains(&**name)) {
            self.0.push(format!("the answer does not say {name:?}"));
        }
        if scene.streamed && !reply.is_whole {
            self.0.push("the stream has no `[DONE]`".to_owned());
        }
    }

    /// A served request costs something, and header and receipt agree on how much.
    fn money(&mut self, scene: &Scene, reply: &Reply) {
        let cost = reply.cost();
        let header = reply.header("x-piton-cost-usd").and_then(|text| text.parse::<f64>().ok());
        let told = if scene.streamed { None } else { cost };
        // The same digits are the same number, whichever way they were written.
        self.compare("x-piton-cost-usd", &told, &header);
        let is_priced = cost.is_some_and(|cost| cost > 0.0);
        self.compare("that it costs something", &scene.claim.target().is_some(), &is_priced);
    }
}

/// The lines of an `x-piton-trail`, without their times.
fn fates(trail: Option<&str>) -> Vec<(&str, &str)> {
    let lines = trail.unwrap_or_default().split(", ").filter_map(|line| line.split_once('='));
    lines.map(|(target, fate)| (target, fate.split_once(';').map_or(fate, |(fate, _)| fate))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::cli::demo::scenes::SCENES;

    fn reply() -> Reply {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-piton-chain", "primary-chat"),
            ("x-piton-target", "openai/gpt-4o"),
            ("x-piton-attempts", "1"),
            ("x-piton-trail", "openai/gpt-4o=ok;3ms"),
            ("x-piton-cost-usd", "0.000145000"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        Reply {
            status: 200,
            headers,
            text: "This is gpt-4o, simulated.".to_owned(),
            error: None,
            is_whole: true,
            first_content: None,
            took: Duration::from_millis(3),
            receipt: json!({ "target": "openai/gpt-4o", "attempts": 1, "cost_usd": 0.000_145 }),
        }
    }

    fn calls(counts: &[(&str, u64)]) -> Calls {
        counts.iter().map(|(target, count)| ((*target).to_owned(), *count)).collect()
    }

    #[test]
    fn what_was_promised_is_no_surprise() {
        assert_eq!(surprises(&SCENES[0], &reply(), &calls(&[("openai/gpt-4o", 1)])), [""; 0]);
    }

    #[test]
    fn every_deviation_is_told() {
        let once = calls(&[("openai/gpt-4o", 1)]);
        let with = |change: fn(&mut Reply)| {
            let mut reply = reply();
            change(&mut reply);
            surprises(&SCENES[0], &reply, &once)
        };
        for (deviation, about) in [
            (with(|reply| reply.status = 502), "status"),
            (with(|reply| drop(reply.headers.remove("x-piton-target"))), "x-piton-target"),
            (with(|reply| drop(reply.headers.remove("x-piton-trail"))), "x-piton-trail"),
            (with(|reply| drop(reply.headers.remove("x-piton-cost-usd"))), "x-piton-cost-usd"),
            (with(|reply| reply.text = "This is another one.".to_owned()), "This is gpt-4o,"),
            (with(|reply| reply.receipt["attempts"] = json!(2)), "the receipt's attempts"),
            (surprises(&SCENES[0], &reply(), &calls(&[("openai/gpt-4o", 2)])), "calls"),
            (surprises(&SCENES[1], &reply(), &once), "was to be waited for"),
        ] {
            assert!(deviation.iter().any(|line| line.contains(about)), "{about}: {deviation:?}");
        }
    }

    #[test]
    fn a_trail_is_read_without_its_times() {
        assert_eq!(
            fates(Some("a/b=overloaded;1ms, c/d=skip:capability:vision, a/b=ok;20ms")),
            [("a/b", "overloaded"), ("c/d", "skip:capability:vision"), ("a/b", "ok")]
        );
        assert_eq!(fates(None), []);
    }
}
