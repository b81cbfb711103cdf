//! The way of the log to standard error: whoever reads it, slowly, no more or never, holds up no request.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{self, Response};
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{in_time, piton, replies};

const CHAT: &str = "/v1/chat/completions";
const JSON: (&str, &str) = ("content-type", "application/json");
const CONFIG: &str = "[providers.a]\nkind = \"openai\"\nbase_url = \"URL\"\n[chains]\nmain = [\"a/m\"]\n";
/// More lines than any pipe holds, and fewer than the queue.
const MANY: usize = 300;

/// A gateway whose log nobody reads for now.
struct Unread {
    child: Child,
    address: SocketAddr,
    /// `None`: closed.
    stderr: Option<BufReader<ChildStderr>>,
    _directory: TempDir,
}

impl Unread {
    fn start(upstream: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("piton.toml"), CONFIG.replace("URL", upstream)).unwrap();
        let mut child = Command::new(piton())
            .args(["serve", "--config", "piton.toml", "--listen", "127.0.0.1:0"])
            .current_dir(directory.path())
            .env_clear()
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let listening = read_until(&mut stderr, |line| line["message"] == "listening").pop().unwrap();
        let address = listening["address"].as_str().unwrap().parse().unwrap();
        Self { child, address, stderr: Some(stderr), _directory: directory }
    }

    async fn ask(&self, body: &Value) -> Response {
        client::request(self.address, "POST", CHAT, &[JSON], body.to_string().as_bytes()).await
    }

    /// The value of a counter without labels.
    async fn counter(&self, name: &str) -> f64 {
        let answer = client::request(self.address, "GET", "/metrics", &[], &[]).await;
        Exposition::read(answer.text()).sum(name, &[])
    }

    fn terminate(&self) {
        let killed = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(killed.unwrap().success());
    }

    async fn exited(&mut self) -> ExitStatus {
        in_time("the end of the process", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// All that was not read yet, up to the wanted line or to its end.
    fn rest(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        read_until(self.stderr.as_mut().unwrap(), wanted)
    }
}

fn read_until(stderr: &mut BufReader<ChildStderr>, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut lines = Vec::new();
    for line in stderr.by_ref().lines().map(Result::unwrap) {
        lines.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}")));
        if lines.last().is_some_and(&wanted) {
            break;
        }
    }
    lines
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plain(task: &str) -> Value {
    json!({
        "model": "main",
        "messages": [{ "role": "user", "content": "hello" }],
        "metadata": { "piton_task": task, "piton_tier": "x".repeat(250) },
    })
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_request_and_is_whole_when_somebody_does() {
    let upstream = Upstream::always(replies::openai_json("x")).await;
    let mut gateway = Unread::start(&upstream.url());
    for number in 0..MANY {
        assert_eq!(gateway.ask(&plain(&number.to_string())).await.status, 200);
    }
    gateway.terminate();
    // What waits is written before the process ends.
    let lines = gateway.rest(|_| false);
    assert_eq!(gateway.exited().await.code(), Some(0));
    for message in ["attempt", "request"] {
        let told = lines.iter().filter(|line| line["message"] == message);
        let tasks: Vec<String> = told.map(|line| line["task"].as_str().unwrap().to_owned()).collect();
        assert_eq!(tasks, (0..MANY).map(|number| number.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let upstream = Upstream::always(replies::openai_json("x")).await;
    let mut gateway = Unread::start(&upstream.url());
    for number in 0..MANY {
        assert_eq!(gateway.ask(&plain(&number.to_string())).await.status, 200);
    }
    gateway.terminate();
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_told_once_there_is_room() {
    let mut gateway = Unread::start("http://127.0.0.1:9");
    // As long as a line can be made: each of these bytes is written as six.
    let long = "\u{1}".repeat(256);
    let body = json!({
        "model": "no such chain",
        "messages": [{ "role": "user", "content": "hello" }],
        "metadata": { "piton_task": long, "piton_tier": long },
    });
    let asked = in_time("a queue that is full", async {
        for asked in 1.. {
            assert_eq!(gateway.ask(&body).await.status, 404);
            if asked % 100 == 0 && gateway.counter("piton_log_lines_dropped_total").await > 0.0 {
                return asked;
            }
        }
        0
    })
    .await;
    let dropped = gateway.counter("piton_log_lines_dropped_total").await;
    let lines = gateway.rest(|line| line["level"] == "WARN");
    let requests = lines.iter().filter(|line| line["message"] == "request").count();
    let left_out = lines.last().unwrap()["lines"].as_u64().unwrap();
    assert_eq!(requests as u64 + left_out, asked, "each line was written or counted");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let left_out = left_out as f64;
    assert!((left_out - dropped).abs() < 0.5, "{left_out} told, {dropped} counted");
}

#[tokio::test]
async fn a_closed_standard_error_ends_neither_requests_nor_the_process() {
    let upstream = Upstream::always(replies::openai_json("x")).await;
    let mut gateway = Unread::start(&upstream.url());
    gateway.stderr = None;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&plain("x")).await.status, 200);
    }
    in_time("six lost lines in the metrics", async {
        while gateway.counter("piton_log_lines_dropped_total").await < 6.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(gateway.ask(&plain("x")).await.status, 200);
    gateway.terminate();
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn the_filter_decides_about_attempts_and_requests_too() {
    let upstream = Upstream::always(replies::openai_json("x")).await;
    let config = CONFIG.replace("URL", &upstream.url());
    let mut gateway = Gateway::with(&config).env("PITON_LOG", "warn,piton::cli=info").start().await;
    assert_eq!(gateway.post_json(CHAT, &plain("x")).await.status, 200);
    gateway.terminate();
    assert_eq!(gateway.exited().await.code(), Some(0));
    assert_eq!(gateway.events("stopped").len(), 1);
    assert_eq!((gateway.events("attempt").len(), gateway.events("request").len()), (0, 0));
}

#[tokio::test]
async fn what_was_logged_comes_before_the_reason_of_an_early_end() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // A warning: the key of one provider is missing.
    let config = "[chains]\nmain = [\"openai/gpt-4o\", \"ollama/x\"]\n";
    let ended = Gateway::with(config).listen(&address).try_start().await.err().expect("no gateway");
    let (first, last) = (ended.stderr.lines().next().unwrap(), ended.stderr.lines().last().unwrap());
    assert!(first.contains("\"level\":\"WARN\""), "{}", ended.stderr);
    assert!(last.starts_with("piton: cannot listen at"), "{}", ended.stderr);
}
