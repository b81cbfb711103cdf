//! What was spent, added up in every way, to the pico-dollar.

use super::*;

/// The first target fails now and then; the second is dearer.
async fn outage() -> Gateway {
    let mut body = replies::openai_body("hello");
    body["usage"] = json!({ "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10 });
    let answer = replies::json_reply(200, &body);
    let failing = answer.clone();
    let first = Upstream::start(move |hit, _| {
        if hit % 2 == 0 { failing.clone() } else { replies::openai_error(503, "overloaded", None, "busy") }
    })
    .await;
    let second = Upstream::always(answer).await;
    let config = chain::config(&[("openai", first.url()), ("openai", second.url())], "retries = 0")
        + "[defaults]\nbreaker = false\n[models.\"p0/m0\"]\nprice = { input = 0.000001, output = 2 }\n\
           [models.\"p1/m1\"]\nprice = { input = 3.000001, output = 11 }\n";
    let gateway = Gateway::with(&config).env("KEY", "k").start().await;
    for (user, session, task) in
        [("ann", "s1", "code"), ("ann", "s2", "code"), ("bob", "s3", "=1+1"), ("bob", "s3", "")]
    {
        let mut headers =
            vec![("content-type", "application/json"), ("x-piton-user", user), ("x-piton-session", session)];
        if !task.is_empty() {
            headers.push(("x-piton-task", task));
        }
        let answer =
            gateway.request("POST", chain::PATH, &headers, chain::ask().to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The upstreams go with this function: nothing is asked of them any more.
    gateway
}

/// The text of a member, without a float in between.
fn exact(text: &str, member: &str) -> Vec<String> {
    let name = format!("\"{member}\":");
    let pieces = text.split(&name).skip(1);
    pieces.map(|piece| piece.split([',', '}']).next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn sums_are_exact_by_whatever_is_asked() {
    let gateway = outage().await;
    // Two answers of the first target at 6.000007 micro-USD each, two of the second at 54.000007.
    let (first, second) = ("0.000006000007", "0.000054000007");
    let total = "0.000120000028";
    let text = gateway.get("/piton/api/spend?by=target").await.text();
    assert_eq!(exact(&text, "cost_usd"), ["0.000108000014", "0.000012000014", total]);
    assert_eq!(exact(&text, "first_target_usd"), ["0.000012000014", "0.000012000014", "0.000024000028"]);
    assert_eq!(exact(&text, "difference_usd"), ["0.000096000000", "0.000000000000", "0.000096000000"]);
    let by_target = spent(&gateway, "?by=target").await;
    let rows = by_target["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["target"], &rows[1]["target"]), (&json!("p1/m1"), &json!("p0/m0")));
    let counted = |row: &Value| {
        ["requests", "failed", "fallbacks", "attempts", "input_tokens", "output_tokens"]
            .map(|name| row[name].as_i64().unwrap())
    };
    assert_eq!(counted(&rows[0]), [2, 0, 2, 2, 14, 6]);
    assert_eq!(counted(&rows[1]), [2, 0, 0, 4, 14, 6]);
    assert_eq!(counted(&by_target["total"]), [4, 0, 2, 6, 28, 12]);
    for (by, rows) in [
        ("chain", 1),
        ("provider", 2),
        ("key", 1),
        ("user", 2),
        ("session", 3),
        ("task", 3),
        ("tier", 1),
        ("chain,target", 2),
        ("user,session", 3),
        ("user,target", 4),
        ("session,provider,chain", 5),
    ] {
        let text = gateway.get(&format!("/piton/api/spend?by={by}")).await.text();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["rows"].as_array().unwrap().len(), rows, "{by}: {answer:#}");
        assert_eq!(exact(&text, "cost_usd").last().map(String::as_str), Some(total), "{by}");
        assert_eq!(counted(&answer["total"]), [4, 0, 2, 6, 28, 12], "{by}");
    }
    let only = async |query: &str| {
        exact(&gateway.get(&format!("/piton/api/spend?{query}")).await.text(), "cost_usd")
    };
    assert_eq!(only("user=ann").await, ["0.000060000014"]);
    assert_eq!(only("session=s1").await, [first]);
    assert_eq!(only("session=s2").await, [second]);
    assert_eq!(only("target=p1/m1&user=bob").await, [second]);
    assert_eq!(only("task=code&chain=chain").await, ["0.000060000014"]);
    assert_eq!(only("chain=nobody").await, ["0.000000000000"]);
    // The receipts say the same.
    let ledger = open(&file(&gateway));
    assert_eq!(count(&ledger, "SELECT sum(cost) FROM requests"), 120_000_028);
    assert_eq!(count(&ledger, "SELECT sum(cost) FROM attempts"), 120_000_028);
}

#[tokio::test]
async fn time_is_told_in_stretches_and_bounded() {
    let gateway = outage().await;
    for (by, length) in [("hour", 20), ("day", 10), ("week", 10), ("month", 7)] {
        let answer = spent(&gateway, &format!("?by={by},chain")).await;
        let rows = answer["rows"].as_array().unwrap();
        // A stretch may end while the test runs.
        assert!((1..=2).contains(&rows.len()), "{answer:#}");
        assert_eq!(rows[0][by].as_str().unwrap().len(), length, "{answer:#}");
        assert_eq!((&rows[0]["chain"], &answer["by"]), (&json!("chain"), &json!([by, "chain"])));
    }
    let requests = async |query: &str| spent(&gateway, query).await["total"]["requests"].clone();
    assert_eq!(requests("?from=2020-01-01&to=2100-01-01").await, 4);
    assert_eq!(requests("?to=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(requests("?from=2100-01-01&by=session").await, 0);
    let cut = spent(&gateway, "?by=session&limit=2").await;
    assert_eq!((cut["rows"].as_array().unwrap().len(), &cut["truncated"]), (2, &json!(true)));
    assert_eq!(cut["total"]["requests"], 4);
}

#[tokio::test]
async fn a_spreadsheet_gets_rows_and_no_formulas() {
    let gateway = outage().await;
    let answer = gateway.get("/piton/api/spend?by=task&format=csv").await;
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = answer.text();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines.remove(0),
        "task,requests,failed,fallbacks,attempts,unpriced_attempts,input_tokens,output_tokens,cached_tokens,cost_usd,first_target_usd,difference_usd"
    );
    lines.sort_unstable();
    assert!(lines[0].starts_with("'=1+1,1,"), "{text}");
    assert!(lines[1].starts_with(",1,") && lines[2].starts_with("code,2,0,1,3,0,14,6,0,"), "{text}");
}

#[tokio::test]
async fn questions_without_an_answer_are_refused_in_the_usual_shape() {
    let upstream = upstream().await;
    let gateway = builder(&upstream, "").start().await;
    for (query, parameter) in [
        ("?by=colour", "by"),
        ("?colour=red", "colour"),
        ("?from=soon", "from"),
        ("?from=2026-02-01&to=2026-01-01", "to"),
        ("?format=xml", "format"),
        ("?limit=-1", "limit"),
    ] {
        let answer = gateway.get(&format!("/piton/api/spend{query}")).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(parameter)), "{query}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(gateway.request("GET", "/piton/api/spend", &foreign, &[]).await.status, 401);
    assert_eq!(spent(&gateway, "?by=chain").await["rows"], json!([]));
}
