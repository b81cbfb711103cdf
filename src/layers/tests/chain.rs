//! The walk down a chain: what narrows it, what is passed over, what stops it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::ChatRequest;
use crate::layers::scripted::{Reply, Rung, Stand, ask, ask_with, chain, errand, ms, play, play_as};
use crate::reason::{Action, Class, Failure};
use crate::routing::chain::Credential;
use crate::routing::plan::{Wishes, plan};

fn failing(name: &str) -> Rung {
    Rung::new(name, [Reply::fails(Class::Malformed)])
}

fn good(name: &str) -> Rung {
    Rung::new(name, [Reply::says(name)])
}

fn keyed(rung: Rung, identity: u64) -> Rung {
    Rung { credential: Credential { identity: Some(identity), missing: None }, ..rung }
}

fn window(rung: Rung, tokens: u64) -> Rung {
    rung.model(&format!("context = {tokens}"))
}

#[tokio::test(start_paused = true)]
async fn targets_are_asked_in_order_until_one_answers() {
    for stream in [false, true] {
        let rungs = [failing("a"), failing("b"), good("c"), good("d")];
        let played = play(&chain(&rungs), &ask(stream)).await;
        assert_eq!(played.lines(), ["a=malformed", "b=malformed", "c=ok"]);
        assert_eq!((played.served, &*played.text), (Some(2), "c"));
        assert_eq!(rungs[3].upstream.calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_chain_tells_each_targets_last_failure() {
    let rungs =
        [Rung::new("a", [Reply::fails(Class::ServerError), Reply::fails(Class::Empty)]), failing("b")];
    let exhausted = play(&chain(&rungs), &ask(true)).await.exhausted.unwrap();
    assert!(exhausted.stopped_by.is_none() && !exhausted.busy);
    let failures: Vec<(usize, Class)> =
        exhausted.failures.iter().map(|(target, failure)| (target.index, failure.class)).collect();
    assert_eq!(failures, [(0, Class::Empty), (1, Class::Malformed)]);
}

#[tokio::test(start_paused = true)]
async fn models_narrow_and_order_the_chain() {
    let rungs = [failing("a"), failing("b"), failing("c")];
    for (models, expected) in [
        (json!(["mock/c", "mock/a"]), vec!["c=malformed", "a=malformed"]),
        (json!(["b"]), vec!["b=malformed"]),
        (json!(["b", "mock/b", "b"]), vec!["b=malformed"]),
        (Value::Null, vec!["a=malformed", "b=malformed", "c=malformed"]),
    ] {
        let rungs = rungs.clone().map(|rung| Rung { health: Arc::default(), ..rung });
        let request = ask_with(true, json!({"models": models}));
        assert_eq!(play(&chain(&rungs), &request).await.lines(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn fallbacks_replace_what_follows_the_first_target() {
    let rungs = [failing("a"), failing("b"), failing("c")];
    for (more, expected) in [
        (json!({"fallbacks": ["c"]}), vec!["a=malformed", "c=malformed"]),
        (json!({"fallbacks": []}), vec!["a=malformed"]),
        (json!({"fallbacks": ["a", "mock/c", "b"]}), vec!["a=malformed", "c=malformed", "b=malformed"]),
        (json!({"models": ["b", "c"], "fallbacks": ["a"]}), vec!["b=malformed", "a=malformed"]),
    ] {
        let rungs = rungs.clone().map(|rung| Rung { health: Arc::default(), ..rung });
        assert_eq!(play(&chain(&rungs), &ask_with(false, more.clone())).await.lines(), expected, "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_has_its_own_parameters() {
    let rungs = [failing("a"), failing("b"), good("c")];
    let fallbacks = json!([{"model": "b", "temperature": 0.5, "max_tokens": 7}, "c"]);
    let request = ask_with(true, json!({"temperature": 1.0, "fallbacks": fallbacks}));
    play(&chain(&rungs), &request).await;
    let seen = |rung: &Rung, name: &str| rung.upstream.requests()[0].member(name).map(str::to_owned);
    let temperatures = rungs.each_ref().map(|rung| seen(rung, "temperature").unwrap());
    assert_eq!(temperatures, ["1.0", "0.5", "1.0"]);
    assert_eq!(seen(&rungs[1], "max_tokens").as_deref(), Some("7"));
    assert_eq!(seen(&rungs[2], "max_tokens"), None);
}

#[tokio::test(start_paused = true)]
async fn what_the_chain_does_not_have_is_the_clients_fault() {
    let rungs = [good("a"), good("b")];
    let chain = chain(&rungs);
    for (more, param) in [
        (json!({"models": ["a", "mock/z"]}), "models[1]"),
        (json!({"models": []}), "models"),
        (json!({"models": ["other/a"]}), "models[0]"),
        (json!({"fallbacks": [{"model": "z", "n": 1}]}), "fallbacks[0]"),
        (json!({"fallbacks": ["b", "z"]}), "fallbacks[1]"),
        (json!({"fallbacks": [{"model": "b", "temperature": "hot"}]}), "temperature"),
        (json!({"fallbacks": [{"model": "b", "stream": false}]}), "fallbacks"),
    ] {
        let request = ask_with(true, more.clone());
        let error = plan(&chain, &request.into(), &Wishes::default()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{more}: {error}");
    }
    assert_eq!(rungs[0].upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_fallback_it_is_the_first_eligible_target_or_none() {
    let wishes = || Wishes { no_fallback: true, ..Wishes::default() };
    let play = async |rungs: &[Rung]| {
        let chain = chain(rungs);
        play_as(&chain, &ask(true), errand(&chain, wishes())).await.lines()
    };
    assert_eq!(play(&[failing("a"), good("b")]).await, ["a=malformed"]);
    let blind = || Rung { lacks: Some("vision"), ..good("a") };
    assert_eq!(play(&[blind(), failing("b"), good("c")]).await, ["a=skip:capability:vision", "b=malformed"]);
    let lost = Rung::new("a", [Reply::fails(Class::ConnectionLost), Reply::says("x")]);
    assert_eq!(
        play(&[lost, good("b")]).await,
        ["a=connection_lost", "a=ok"],
        "it is the last for this request"
    );
    let slow = good("a").usually(100_000);
    assert_eq!(play(&[slow, good("b")]).await, ["a=skip:deadline"]);
}

#[tokio::test(start_paused = true)]
async fn without_fallback_an_open_circuit_is_no_way_to_the_next_target() {
    let rungs = [good("a"), good("b")];
    let rule = rungs[0].breaker.unwrap();
    let now = tokio::time::Instant::now();
    rungs[0].health.breaker.failed(&rule, Class::AuthFailed, None, now);
    let chain = chain(&rungs);
    let wishes = Wishes { no_fallback: true, ..Wishes::default() };
    let played = play_as(&chain, &ask(true), errand(&chain, wishes.clone())).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open"]);
    // Of two that come when a probe is due, one finds it out.
    tokio::time::advance(ms(60_000)).await;
    let slow = Rung {
        upstream: crate::layers::scripted::Scripted::new([Reply::says("x").after(50)]),
        ..rungs[0].clone()
    };
    let chain = crate::layers::scripted::chain(&[slow, good("b")]);
    let request = ask(true);
    let (one, other) = tokio::join!(
        play_as(&chain, &request, errand(&chain, wishes.clone())),
        play_as(&chain, &request, errand(&chain, wishes)),
    );
    assert_eq!((one.lines(), other.lines()), (vec!["a=ok".into()], vec!["a=skip:circuit_open".into()]));
}

#[tokio::test(start_paused = true)]
async fn without_fallback_a_transient_opening_leaves_the_last_resort() {
    let rungs = [good("a"), good("b")];
    let rule = rungs[0].breaker.unwrap();
    for _ in 0..5 {
        rungs[0].health.breaker.failed(&rule, Class::Overloaded, None, tokio::time::Instant::now());
    }
    let chain = chain(&rungs);
    let wishes = Wishes { no_fallback: true, ..Wishes::default() };
    let played = play_as(&chain, &ask(true), errand(&chain, wishes)).await;
    assert_eq!(played.lines(), ["a=skip:circuit_open", "a=ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_credential_is_not_tried_at_its_other_targets() {
    for class in [Class::AuthFailed, Class::QuotaExhausted] {
        for (credential, second) in [(true, "b=skip:same_credential"), (false, "b=ok")] {
            let failure = Failure { credential, ..Failure::new(class, "no") };
            let rungs = [
                keyed(Rung::new("a", [Reply::refuses(failure)]), 1),
                keyed(good("b"), 1),
                keyed(good("c"), 2),
            ];
            let played = play(&chain(&rungs), &ask(true)).await;
            assert_eq!(played.lines()[..2], [format!("a={class}"), second.into()]);
            assert!(played.served.is_some());
        }
    }
    let failure = Failure { credential: true, ..Failure::new(Class::AuthFailed, "no") };
    let rungs = [Rung::new("a", [Reply::refuses(failure)]), good("b")];
    assert_eq!(
        play(&chain(&rungs), &ask(true)).await.served,
        Some(1),
        "without credentials there are none alike"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_credential_and_a_foreign_key_are_passed_over() {
    let missing = Credential { identity: None, missing: Some("MOCK_API_KEY".into()) };
    let rungs = [Rung { credential: missing, ..good("a") }, good("b")];
    let chain = chain(&rungs);
    assert_eq!(play(&chain, &ask(true)).await.lines(), ["a=skip:no_credential", "b=ok"]);
    let wishes = Wishes { out_of_scope: true, ..Wishes::default() };
    let played = play_as(&chain, &ask(true), errand(&chain, wishes)).await;
    assert_eq!(played.lines(), ["a=skip:key_scope", "b=skip:key_scope"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_goes_on_to_larger_or_unknown_windows_only() {
    let too_long = |name| Rung::new(name, [Reply::fails(Class::ContextLength)]);
    let rungs = [
        window(too_long("a"), 1000),
        window(good("smaller"), 999),
        window(good("same"), 1000),
        window(too_long("larger"), 1001),
        window(good("same-as-larger"), 1001),
        good("unknown"),
    ];
    let played = play(&chain(&rungs), &ask(true)).await;
    let expected = [
        "a=context_length",
        "smaller=skip:context_window",
        "same=skip:context_window",
        "larger=context_length",
        "same-as-larger=skip:context_window",
        "unknown=ok",
    ];
    assert_eq!(played.lines(), expected);
    let rungs = [too_long("unknown"), window(good("b"), 1000)];
    assert_eq!(play(&chain(&rungs), &ask(true)).await.served, Some(1), "nobody knows which is larger");
    let rungs = [window(too_long("a"), 1000), window(good("b"), 1000)];
    let exhausted = play(&chain(&rungs), &ask(true)).await.exhausted.unwrap();
    assert!(exhausted.stopped_by.is_none(), "the chain did not stop: nothing was left");
}

#[tokio::test(start_paused = true)]
async fn windows_are_judged_by_a_low_estimate_and_the_asked_for_output() {
    // 6000 bytes are at least 1000 tokens and at most 2251.
    let messages = json!([{"role": "user", "content": "x".repeat(6000)}]);
    for (context, max_tokens, line) in [
        (1000, None, "a=ok"),
        (999, None, "a=skip:context_window"),
        (1500, Some(500), "a=ok"),
        (1499, Some(500), "a=skip:context_window"),
    ] {
        let mut more = json!({"messages": messages});
        more["max_tokens"] = json!(max_tokens);
        let rungs = [window(good("a"), context), good("b")];
        assert_eq!(play(&chain(&rungs), &ask_with(true, more)).await.lines()[0], line, "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn learned_rates_change_the_estimate() {
    let rung = window(good("a"), 1000);
    // Ten bytes to a token: 6000 bytes are 480 to 751 tokens.
    (0..30).for_each(|_| rung.health.bytes_per_token.learn(10_000, 1_000));
    let request = ask_with(true, json!({"messages": [{"role": "user", "content": "x".repeat(6000)}]}));
    let chain = chain(&[rung]);
    let plan = plan(&chain, &request.into(), &Wishes::default()).unwrap();
    let estimate = plan.step(0).estimate;
    assert_eq!((estimate.input_low.get(), estimate.input_high.get()), (480, 751));
}

#[tokio::test(start_paused = true)]
async fn an_owner_may_send_too_long_requests_on_to_any_window() {
    let mut stand = Stand::of(2);
    stand.policy.on.insert(Class::ContextLength, Action::Fallback);
    let rungs = [window(Rung::new("a", [Reply::fails(Class::ContextLength)]), 1000), window(good("b"), 1000)];
    assert_eq!(play(&stand.chain(&rungs), &ask(true)).await.lines(), ["a=context_length", "b=ok"]);
}

#[tokio::test(start_paused = true)]
async fn what_only_encoding_finds_out_is_passed_over_too() {
    use crate::layers::scripted::Then;
    use crate::reason::Skip;
    use crate::routing::NotServed;
    let unable = NotServed::Skipped(Skip::Capability("audio"));
    let rungs = [Rung::new("a", [Reply::with(Then::NotServed(unable))]), good("b")];
    let chain = chain(&rungs);
    let expected = ["a=skip:capability:audio", "b=ok"];
    assert_eq!(play(&chain, &ask(true)).await.lines(), expected);
    let wishes = Wishes { no_fallback: true, ..Wishes::default() };
    assert_eq!(play_as(&chain, &ask(true), errand(&chain, wishes)).await.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_memory_stops_at_once() {
    use crate::layers::scripted::Then;
    use crate::routing::NotServed;
    let rungs = [Rung::new("a", [Reply::with(Then::NotServed(NotServed::Busy))]), good("b")];
    let played = play(&chain(&rungs), &ask(true)).await;
    assert!(played.exhausted.unwrap().busy);
    assert_eq!(rungs[1].upstream.calls(), 0);
}

#[test]
fn requests_of_tests_are_real_requests() {
    let request: Arc<ChatRequest> = ask_with(true, json!({"n": 2}));
    assert_eq!((request.stream, request.answers, &*request.model), (true, 2, "chat"));
}
