//! A client that goes away, in every phase: its upstream call ends with it, nothing follows, nobody is blamed.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use crate::layers::scripted::{Beat, Reply, Rung, Stand, ask, errand, lines, ms};
use crate::reason::{Class, Failure};
use crate::routing::breaker::Standing;
use crate::routing::plan::{Wishes, plan};
use crate::routing::{Chain, Commit, Entry, Outcome, Trail};

/// A client that leaves after so many milliseconds, wherever the request is by then.
async fn leaves_after(chain: &Arc<Chain>, stream: bool, milliseconds: u64) -> Trail {
    let errand = errand(chain, Wishes::default());
    let plan = plan(chain, &ask(stream).into(), &Wishes::default()).unwrap();
    let request = async {
        let mut answer = plan.run(&errand).await.unwrap().stream;
        while answer.next().await.is_some() {}
    };
    assert!(timeout(ms(milliseconds), request).await.is_err(), "it was to leave in the middle");
    errand.trail
}

/// A first target of this script with a second one behind it, in a chain that commits like this.
struct Phase {
    name: &'static str,
    stream: bool,
    commit: Commit,
    script: Vec<Reply>,
    lines: &'static [&'static str],
    abandoned: usize,
}

fn phases() -> Vec<Phase> {
    let slow = || vec![Reply::silence()];
    let drip = || vec![Reply::streams((0..100).flat_map(|_| [Beat::text("x"), Beat::wait(400)]))];
    let limited = || {
        let wait = Some(ms(2000));
        vec![Reply::refuses(Failure { retry_after: wait, ..Failure::new(Class::Overloaded, "slow down") })]
    };
    let phase = |name, stream, commit, script, lines, abandoned| Phase {
        name,
        stream,
        commit,
        script,
        lines,
        abandoned,
    };
    let cancelled: &[&str] = &["a=client_cancelled"];
    vec![
        phase("before the head", true, Commit::FirstContent, slow(), cancelled, 1),
        phase("in a JSON call", false, Commit::FirstContent, slow(), cancelled, 1),
        phase(
            "before the first content",
            true,
            Commit::FirstContent,
            vec![Reply::streams([Beat::start(), Beat::Hang])],
            cancelled,
            1,
        ),
        phase("in a retry wait", true, Commit::FirstContent, limited(), &["a=overloaded"], 0),
        phase("in a retry wait of JSON", false, Commit::FirstContent, limited(), &["a=overloaded"], 0),
        phase(
            "in a retry",
            true,
            Commit::FirstContent,
            vec![Reply::fails(Class::ServerError), Reply::silence()],
            &["a=server_error", "a=client_cancelled"],
            1,
        ),
        phase("while it is held back", true, Commit::Complete, drip(), cancelled, 1),
        phase("while characters are waited for", true, Commit::Chars(50), drip(), cancelled, 1),
        phase("while time is waited for", true, Commit::Time(ms(5000)), drip(), cancelled, 1),
        phase("in mid-stream", true, Commit::FirstContent, drip(), cancelled, 1),
    ]
}

#[tokio::test(start_paused = true)]
async fn in_every_phase_the_upstream_call_ends_and_nothing_follows() {
    for Phase { name, stream, commit, script, lines: expected, abandoned } in phases() {
        let rungs = [Rung::new("a", script), Rung::new("b", [Reply::says("y")])];
        let mut stand = Stand::of(2);
        stand.policy.commit = commit;
        let chain = stand.chain(&rungs);
        let trail = leaves_after(&chain, stream, 1000).await;
        assert_eq!(rungs[0].upstream.abandoned(), abandoned, "{name}");
        assert_eq!(lines(&trail), expected, "{name}");
        tokio::time::advance(ms(100_000)).await;
        assert_eq!(rungs[1].upstream.calls(), 0, "{name}");
        assert_eq!(lines(&trail), expected, "settled once: {name}");
        assert_eq!(stand.memory.used(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_trail_says_how_long_it_took_until_the_client_left() {
    let rungs = [Rung::new("a", [Reply::silence()])];
    let chain = Stand::of(1).chain(&rungs);
    let trail = leaves_after(&chain, true, 1234).await;
    let Some(Entry::Attempt(record)) = trail.entries().pop() else { panic!("an attempt") };
    assert_eq!((record.outcome, record.latency), (Some(Outcome::ClientCancelled), ms(1234)));
}

#[tokio::test(start_paused = true)]
async fn no_number_of_clients_that_leave_opens_the_circuit() {
    for Phase { name, stream, commit, script, .. } in phases() {
        // What a failure before the client left did to the circuit is another matter.
        if script.len() > 1 || name.contains("retry") {
            continue;
        }
        let rung = Rung::new("a", script);
        let mut stand = Stand::of(1);
        stand.policy.commit = commit;
        let chain = stand.chain(std::slice::from_ref(&rung));
        for _ in 0..30 {
            leaves_after(&chain, stream, 300).await;
        }
        assert_eq!(rung.health.breaker.standing(Instant::now()), Standing::Ready, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_its_probe_back() {
    let rung = Rung::new("a", [Reply::silence(), Reply::says("x")]);
    let rule = rung.breaker.unwrap();
    for _ in 0..rule.failures {
        rung.health.breaker.failed(&rule, Class::Overloaded, None, Instant::now());
    }
    tokio::time::advance(rule.cool_down).await;
    let chain = Stand::of(1).chain(std::slice::from_ref(&rung));
    leaves_after(&chain, true, 300).await;
    assert_eq!(rung.health.breaker.standing(Instant::now()), Standing::Ready);
    let played = crate::layers::scripted::play(&chain, &ask(true)).await;
    assert_eq!(played.lines(), ["a=ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_last_resort_leaves_the_circuit_as_it_was() {
    let rung = Rung::new("a", [Reply::silence(), Reply::says("x")]);
    let rule = rung.breaker.unwrap();
    for _ in 0..rule.failures {
        rung.health.breaker.failed(&rule, Class::Overloaded, None, Instant::now());
    }
    let before = rung.health.breaker.standing(Instant::now());
    let chain = Stand::of(1).chain(std::slice::from_ref(&rung));
    leaves_after(&chain, true, 300).await;
    assert_eq!(rung.health.breaker.standing(Instant::now()), before);
}
