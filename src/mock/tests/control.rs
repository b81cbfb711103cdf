//! What a program that runs a mock can see and change.

use super::*;
use crate::mock::fault::Fault;

async fn status(fixture: &Fixture, model: &str) -> u16 {
    fixture.ask(Api::OpenAi, model, "Hi", false).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_flaky_model_mends_itself_after_its_count() {
    let fixture = start().await;
    for expected in [503, 503, 200, 200] {
        assert_eq!(status(&fixture, "flaky-2-status-503").await, expected);
    }
    // Another model has a count of its own.
    assert_eq!(status(&fixture, "mock-flaky-1-status-500").await, 500);
    assert_eq!(fixture.mock.requests("flaky-2-status-503"), 4);
}

#[tokio::test]
async fn a_normal_name_can_be_broken_and_mended() {
    let fixture = start().await;
    let fault = |text: &str| Some(text.parse::<Fault>().unwrap());
    assert_eq!(status(&fixture, "gpt-4o").await, 200);
    fixture.mock.set_fault("gpt-4o", fault("status-500"));
    assert_eq!((status(&fixture, "gpt-4o").await, status(&fixture, "gpt-4").await), (500, 200));
    fixture.mock.set_fault("gpt-4o", fault("flaky-1-status-502"));
    assert_eq!((status(&fixture, "gpt-4o").await, status(&fixture, "gpt-4o").await), (502, 200));
    fixture.mock.set_fault("gpt-4o", None);
    assert_eq!(status(&fixture, "gpt-4o").await, 200);
    fixture.mock.set_fault("status-500", fault("ok"));
    assert_eq!(status(&fixture, "status-500").await, 200);
}

#[tokio::test]
async fn a_default_fault_holds_where_the_name_says_nothing() {
    let fixture =
        start_with(Options { default_fault: Some("status-503".parse().unwrap()), ..Options::default() })
            .await;
    assert_eq!((status(&fixture, "gpt-4o").await, status(&fixture, "status-501").await), (503, 501));
    fixture.mock.set_default_fault(Some("flaky-1-status-500".parse().unwrap()));
    assert_eq!((status(&fixture, "gpt-4o").await, status(&fixture, "gpt-4o").await), (500, 200));
    fixture.mock.set_default_fault(None);
    assert_eq!(status(&fixture, "gpt-4o").await, 200);
}

#[tokio::test]
async fn requests_are_counted_and_the_last_is_kept() {
    let fixture = start().await;
    assert!(fixture.mock.last_request().is_none());
    fixture.answer(Api::Anthropic, "a", "One").await;
    fixture.answer(Api::Gemini, "b", "Two").await;
    // Refused requests count too.
    fixture.send(Api::OpenAi, &json!({ "model": "a" })).await;
    assert_eq!(
        (fixture.mock.requests("a"), fixture.mock.requests("b"), fixture.mock.requests("c")),
        (2, 1, 0)
    );
    fixture.mock.set_fault("c", None);
    let counts: Vec<_> = fixture.mock.requests_by_model().into_iter().collect();
    assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    let last = fixture.mock.last_request().unwrap();
    assert_eq!(
        (last.dialect, last.model.as_str(), last.path.as_str()),
        ("openai", "a", "/v1/chat/completions")
    );
    assert_eq!(last.body, json!({ "model": "a" }));
    let of_b = fixture.mock.last_request_of("b").unwrap();
    assert_eq!((of_b.dialect, of_b.headers["x-goog-api-key"].to_str().unwrap()), ("gemini", "key"));
    assert_eq!(of_b.body["contents"][0]["parts"][0]["text"], "Two");
}

#[tokio::test]
async fn a_dropped_mock_closes_its_connections() {
    let fixture = start().await;
    let mut waiting = std::pin::pin!(fixture.ask(Api::OpenAi, "hang", "Hi", false));
    tokio::select! {
        _ = &mut waiting => panic!("it hangs"),
        () = async { while fixture.mock.requests("hang") == 0 { tokio::task::yield_now().await } } => {}
    }
    fixture.mock.accepting.abort();
    assert!(waiting.await.is_err());
}
