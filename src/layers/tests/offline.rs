//! The network is down: when that is believed, and what is then passed over on the way to a target that needs none.

use std::sync::Arc;

use crate::layers::scripted::{Reply, Rung, ask, chain, play};
use crate::reason::Class;
use crate::routing::Chain;

/// One that no connection can be made to.
fn cut_off(name: &str) -> Rung {
    Rung::new(name, [Reply::fails(Class::ConnectFailed)]).clocked(|clocks| clocks.retries = 0)
}

fn local(name: &str) -> Rung {
    Rung { is_offline: true, ..Rung::new(name, [Reply::says(name)]) }
}

async fn lines(rungs: &[Rung]) -> Vec<String> {
    play(&chain(rungs), &ask(false)).await.lines()
}

#[tokio::test(start_paused = true)]
async fn after_two_hosts_the_others_are_passed_over_if_one_that_needs_no_network_is_to_come() {
    let cloud = [cut_off("a"), cut_off("b"), Rung::new("c", [Reply::says("c")])];
    let with = |last: Rung| [&cloud[..], &[last]].concat();
    assert_eq!(
        lines(&with(local("d"))).await,
        ["a=connect_failed", "b=connect_failed", "c=skip:network", "d=ok"]
    );
    let as_ever = ["a=connect_failed", "b=connect_failed", "c=ok"];
    assert_eq!(lines(&with(Rung::new("d", [Reply::says("d")]))).await, as_ever);
    let cannot = Rung { lacks: Some("vision"), ..local("d") };
    assert_eq!(lines(&with(cannot)).await, as_ever, "one that cannot serve is no way out");
    let before = [&[Rung { lacks: Some("vision"), ..local("d") }][..], &cloud].concat();
    assert_eq!(lines(&before).await[1..], as_ever, "nor one that had its turn");
}

#[tokio::test(start_paused = true)]
async fn one_host_speaks_for_itself_only_and_other_failures_for_no_network() {
    let other = Rung::new("b", [Reply::says("b")]);
    assert_eq!(lines(&[cut_off("a"), other.clone(), local("c")]).await, ["a=connect_failed", "b=ok"]);
    // The same address under another name in the chain.
    let again = Rung { id: "other/a".to_owned(), ..cut_off("a") };
    let played = play(&chain(&[cut_off("a"), again, local("c")]), &ask(false)).await;
    assert_eq!(played.lines(), ["a=connect_failed", "a=skip:network", "c=ok"]);
    let lost = |name: &str| Rung::new(name, [Reply::fails(Class::ServerError)]).clocked(|it| it.retries = 0);
    let expected = ["a=server_error", "d=server_error", "b=ok"];
    assert_eq!(lines(&[lost("a"), lost("d"), other, local("c")]).await, expected);
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_network_says_nothing_of_it() {
    let down = |name: &str| Rung { is_offline: true, ..cut_off(name) };
    let cloud = Rung::new("c", [Reply::says("c")]);
    let expected = ["a=connect_failed", "b=connect_failed", "c=ok"];
    assert_eq!(lines(&[down("a"), down("b"), cloud, local("d")]).await, expected);
}

#[tokio::test(start_paused = true)]
async fn the_last_chain_may_have_it() {
    let last = chain(&[Rung::new("c", [Reply::says("c")]), local("d")]);
    let last = Chain { name: "last".into(), ..Chain::clone(&last) };
    let own = chain(&[cut_off("a"), cut_off("b"), Rung::new("e", [Reply::says("e")])]);
    let own = Arc::new(Chain { last: Some(Arc::new(last)), ..Chain::clone(&own) });
    let played = play(&own, &ask(false)).await;
    let expected = ["a=connect_failed", "b=connect_failed", "e=skip:network", "c=skip:network", "d=ok"];
    assert_eq!(played.lines(), expected);
}
