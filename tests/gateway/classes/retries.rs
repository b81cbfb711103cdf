//! How often one target is asked, after which wait, and at whose expense.

use std::time::Duration;

use futures_util::future::join_all;

use crate::scene::{Dialect, Rung, Scene, ask, chat, good, second};
use crate::support::replies::{anthropic_error, openai_error, status};
use crate::support::script::Script;
use crate::support::upstream::{Refusing, Upstream};

use Dialect::{Anthropic, OpenAi};

fn limited(headers: &[(&str, &str)]) -> Script {
    status(429, r#"{"error":{"message":"Slow down","code":"rate_limit_exceeded"}}"#, headers)
}

fn down() -> Script {
    openai_error(503, "server_error", None, "Down")
}

#[tokio::test]
async fn a_retry_after_within_its_limit_is_waited_out_once_and_a_longer_one_is_not() {
    let near: [&[(&str, &str)]; 4] = [
        &[("retry-after", "1")],
        &[("retry-after-ms", "1000"), ("retry-after", "60")],
        &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1s")],
        &[("Retry-After", "0.5")],
    ];
    let far: [&[(&str, &str)]; 4] = [
        &[("retry-after", "4")],
        &[("retry-after-ms", "3001")],
        &[("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT")],
        &[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")],
    ];
    let next = second().await;
    let mut scene = Scene::default();
    let mut firsts = Vec::new();
    for (at, headers) in near.iter().chain(&far).enumerate() {
        let first = Upstream::queue([limited(headers)], OpenAi.json("first")).await;
        scene = scene.chain(&format!("c{at}"), "", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]);
        firsts.push(first);
    }
    let gateway = scene.start().await;
    let names: Vec<String> = (0..firsts.len()).map(|at| format!("c{at}")).collect();
    let told = join_all(names.iter().map(|chain| ask(&gateway, chain, false))).await;
    for (at, (told, first)) in told.iter().zip(&firsts).enumerate() {
        if at < near.len() {
            assert_eq!(told.summary(), "200 first | 0=rate_limited 0=ok | by 0 after 2 because -", "{at}");
            let times = first.requests();
            let waited = times[1].at - times[0].at;
            assert!(waited >= Duration::from_millis(450), "case {at} waited only {waited:?}");
            assert_eq!(first.hits(), 2);
        } else {
            let expected = "200 second | 0=rate_limited 1=ok | by 1 after 2 because rate_limited";
            assert_eq!(told.summary(), expected, "{at}");
            assert_eq!(first.hits(), 1);
        }
    }
}

#[tokio::test]
async fn a_retry_after_is_waited_out_only_once_however_many_retries_there_are() {
    for streamed in [false, true] {
        let first = Upstream::always(limited(&[("retry-after-ms", "20")])).await;
        let next = second().await;
        let policy = "retries = 5\nmax_attempts = 10";
        let gateway = chat(policy, &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
        let told = ask(&gateway, "chat", streamed).await;
        let expected = "200 second | 0=rate_limited 0=rate_limited 1=ok | by 1 after 3 because rate_limited";
        assert_eq!(told.summary(), expected);
        assert_eq!((first.hits(), next.hits()), (2, 1));
    }
}

#[tokio::test]
async fn retry_after_max_is_the_owners() {
    let first = Upstream::queue([limited(&[("retry-after", "1")])], OpenAi.json("first")).await;
    let next = second().await;
    let rungs = [Rung::new(OpenAi, &first).target(", retry_after_max = \"900ms\""), Rung::new(OpenAi, &next)];
    let told = ask(&chat("", &rungs).await, "chat", false).await;
    assert_eq!(told.trail(), "0=rate_limited 1=ok");
    assert_eq!(first.hits(), 1);
}

#[tokio::test]
async fn retries_are_counted_per_target_and_may_be_none_or_many() {
    for streamed in [false, true] {
        let first = Upstream::always(down()).await;
        let middle = Upstream::always(anthropic_error(529, "overloaded_error", "Overloaded")).await;
        let next = second().await;
        let rungs = [
            Rung::new(OpenAi, &first).target(", retries = 0"),
            Rung::new(Anthropic, &middle).target(", retries = 3"),
            Rung::new(OpenAi, &next),
        ];
        let told = ask(&chat("max_attempts = 9", &rungs).await, "chat", streamed).await;
        let expected = "200 second | 0=overloaded 1=overloaded 1=overloaded 1=overloaded 1=overloaded 2=ok \
                        | by 2 after 6 because overloaded";
        assert_eq!(told.summary(), expected);
        assert_eq!((first.hits(), middle.hits(), next.hits()), (1, 4, 1));
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_then_left() {
    for streamed in [false, true] {
        let (refusing, next) = (Refusing::new(), second().await);
        let gateway = chat("", &[Rung::refusing(&refusing), Rung::new(OpenAi, &next)]).await;
        let told = ask(&gateway, "chat", streamed).await;
        let expected =
            "200 second | 0=connect_failed 0=connect_failed 1=ok | by 1 after 3 because connect_failed";
        assert_eq!(told.summary(), expected);
        assert_eq!(next.hits(), 1);
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_server_without_tls_are_failed_connections() {
    let (plain, next) = (second().await, second().await);
    let spoken = plain.url().replace("http://", "https://");
    for url in ["http://nowhere.invalid/v1", &spoken] {
        let scene = Scene::default()
            .also(&format!("[providers.off]\nkind = \"openai\"\nbase_url = \"{url}\""))
            .also(&format!("[providers.on]\nkind = \"openai\"\nbase_url = \"{}\"", next.url()))
            .also("[chains]\nchat = [\"off/m\", \"on/m\"]");
        let told = ask(&scene.start().await, "chat", false).await;
        assert_eq!((told.status, told.text.as_str()), (200, "second"), "{url}");
        assert_eq!(told.header("x-piton-fallback-reason"), Some("connect_failed"), "{url}");
    }
    assert_eq!(plain.hits(), 0);
}

#[tokio::test]
async fn a_stale_pooled_connection_is_replaced_and_a_fresh_one_that_breaks_is_not() {
    for streamed in [false, true] {
        for breaks in [Script::new().close(), Script::new().reset()] {
            // Serves one request on each connection, and breaks the connection when a second one comes.
            let first = Upstream::start(move |_, request| match request.nth_on_connection {
                0 => OpenAi.good(request, "first"),
                _ => breaks.clone(),
            })
            .await;
            let next = second().await;
            let gateway = chat("", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
            let mut told = ask(&gateway, "chat", streamed).await;
            // A connection is back in the pool soon after its answer; until then a new one is made.
            while first.hits() == first.connections() {
                assert_eq!(told.summary(), "200 first | 0=ok | by 0 after 1 because -");
                told = ask(&gateway, "chat", streamed).await;
            }
            assert_eq!(told.summary(), "200 first | 0=connection_lost 0=ok | by 0 after 2 because -");
            assert_eq!((first.hits(), next.hits()), (first.connections() + 1, 0));
        }
    }
}

#[tokio::test]
async fn a_pooled_connection_that_breaks_in_the_middle_of_a_head_was_not_stale() {
    for begun in ["HTTP/1.1 200 O", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let first = Upstream::start(move |_, request| match request.nth_on_connection {
            0 => OpenAi.good(request, "first"),
            _ => Script::new().send(begun).close(),
        })
        .await;
        let next = second().await;
        let gateway = chat("", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
        let mut told = ask(&gateway, "chat", false).await;
        while first.hits() == first.connections() {
            told = ask(&gateway, "chat", false).await;
        }
        // It was taken, and may be billed: the same target is not asked again while another one is left.
        let expected = "200 second | 0=connection_lost 1=ok | by 1 after 2 because connection_lost";
        assert_eq!(told.summary(), expected, "{begun}");
    }
}

#[tokio::test]
async fn a_pooled_connection_through_a_proxy_is_stale_only_where_no_answer_came() {
    for (reply, expected) in [
        ("", "200 first | p0=connection_lost p0=ok | by 0 (p0/m) after 2 because -"),
        (
            "SSH-2.0-OpenSSH\r\n",
            "200 second | p0=connection_lost p1=ok | by 1 (p1/m) after 2 because connection_lost",
        ),
    ] {
        let proxy = Upstream::start(move |_, request| match request.nth_on_connection {
            0 => OpenAi.good(request, "first"),
            _ => Script::new().send(reply).close(),
        })
        .await;
        let next = second().await;
        let elsewhere = format!("base_url = \"http://models.example/v1\"\nproxy = \"{}\"", proxy.url());
        let scene = Scene::default()
            .also(&format!("[providers.p0]\nkind = \"openai\"\n{elsewhere}"))
            .also(&format!("[providers.p1]\nkind = \"openai\"\nbase_url = \"{}\"", next.url()))
            .also("[chains]\nchat = [\"p0/m\", \"p1/m\"]");
        let gateway = scene.start().await;
        let mut told = ask(&gateway, "chat", false).await;
        while proxy.hits() == proxy.connections() {
            told = ask(&gateway, "chat", false).await;
        }
        assert_eq!(told.summary(), expected, "{reply:?}");
    }
}

#[tokio::test]
async fn the_last_target_is_asked_again_after_a_lost_connection_since_nothing_else_is_left() {
    for streamed in [false, true] {
        let first = Upstream::always(down()).await;
        let last = Upstream::start(move |n, request| match n {
            0 => Script::new().reset(),
            _ => OpenAi.good(request, "last"),
        })
        .await;
        let rungs = [Rung::new(OpenAi, &first).target(", retries = 0"), Rung::new(OpenAi, &last)];
        let told = ask(&chat("", &rungs).await, "chat", streamed).await;
        let expected = "200 last | 0=overloaded 1=connection_lost 1=ok | by 1 after 3 because overloaded";
        assert_eq!(told.summary(), expected);
        assert_eq!((first.hits(), last.hits()), (1, 2));
    }
}

#[tokio::test]
async fn the_last_target_is_asked_again_after_a_cut_answer_since_nothing_else_is_left() {
    for streamed in [false, true] {
        let cut = if streamed {
            OpenAi.stream(&["a"]).first(1).close()
        } else {
            OpenAi.json("x").truncated(180).close()
        };
        let only = Upstream::start(move |n, request| match n {
            0 => cut.clone(),
            _ => OpenAi.good(request, "only"),
        })
        .await;
        let told = ask(&chat("", &[Rung::new(OpenAi, &only)]).await, "chat", streamed).await;
        assert_eq!(told.summary(), "200 only | 0=truncated 0=ok | by 0 after 2 because -");
        assert_eq!(only.hits(), 2);
    }
}

#[tokio::test]
async fn a_retry_never_costs_a_later_target_its_attempt() {
    for (most, expected) in [
        (1, "0=overloaded"),
        (2, "0=overloaded 1=overloaded"),
        (3, "0=overloaded 1=overloaded 2=ok"),
        (4, "0=overloaded 0=overloaded 1=overloaded 2=ok"),
        (5, "0=overloaded 0=overloaded 1=overloaded 1=overloaded 2=ok"),
    ] {
        let (first, middle) = (Upstream::always(down()).await, Upstream::always(down()).await);
        let last = good(OpenAi, "last").await;
        let policy = format!("retries = 1\nmax_attempts = {most}");
        let gateway = chat(&policy, &[&first, &middle, &last].map(|up| Rung::new(OpenAi, up))).await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            assert_eq!(told.trail(), expected, "max_attempts = {most}");
            assert_eq!(told.status, if most < 3 { 503 } else { 200 });
        }
        assert_eq!(first.hits() + middle.hits() + last.hits(), 2 * expected.split(' ').count());
    }
}

#[tokio::test]
async fn a_retry_that_would_eat_a_later_targets_time_is_not_made() {
    let first = Upstream::always(limited(&[("retry-after", "2")])).await;
    let next = second().await;
    // Two seconds of waiting fit the deadline, but would leave the second target less than its share.
    let policy = "deadline = \"2500ms\"\nretry_after_max = \"2s\"";
    let gateway = chat(policy, &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
    let told = ask(&gateway, "chat", false).await;
    assert_eq!(told.trail(), "0=rate_limited 1=ok");
    assert_eq!(first.hits(), 1);
}
