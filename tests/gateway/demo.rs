//! `piton demo` as a person runs it, and what every command owes its user: a version, help with an example, an exit
//! code that scripts can rely on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tokio::net::TcpListener;

use super::support::client;
use super::support::gateway::Gateway;
use super::support::in_time;

/// Nobody listens here: whatever goes through this proxy fails.
const DEAD_PROXY: &str = "http://127.0.0.1:9";

/// Each scene's title, who serves, the attempts and the fallback reason.
const SCENES: [[&str; 4]; 7] = [
    ["The primary serves", "openai/gpt-4o", "1", "-"],
    ["A rate limit is waited out", "openai/gpt-4o", "2", "-"],
    ["An outage: the second serves", "anthropic/claude-sonnet-4-5", "3", "overloaded"],
    ["A stream dies before any token", "anthropic/claude-sonnet-4-5", "2", "truncated"],
    ["A target skipped for its price", "gemini/gemini-2.5-flash-lite", "3", "server_error"],
    ["A target that lacks vision", "anthropic/claude-haiku-4-5", "1", "-"],
    ["An exhausted chain's error", "nobody: 502", "4", "overloaded"],
];

/// The binary with an environment of its own, in which no provider can be reached and no key found.
fn piton(arguments: &[&str], temporary: &Path) -> Command {
    let mut command = Command::new(crate::support::piton());
    command
        .args(arguments)
        .env_clear()
        .envs(["PATH", "LLVM_PROFILE_FILE"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("TMPDIR", temporary)
        .env("HTTP_PROXY", DEAD_PROXY)
        .env("http_proxy", DEAD_PROXY)
        .stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    let temporary = tempfile::tempdir().unwrap();
    piton(arguments, temporary.path()).output().unwrap()
}

/// Standard output of a command that succeeds and has nothing to complain of.
fn printed(arguments: &[&str]) -> String {
    let output = output(arguments);
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{arguments:?}\n{stdout}");
    stdout
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Kills what is still running when a test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_demo_plays_every_scene_and_every_scene_holds() {
    let temporary = tempfile::tempdir().unwrap();
    let output = piton(&["demo", "--once"], temporary.path()).output().unwrap();
    let (shown, complaints) = (text(output.stdout), text(output.stderr));
    assert_eq!((output.status.code(), &*complaints), (Some(0), ""), "{shown}");

    let lines: Vec<&str> = shown.lines().collect();
    for (number, [title, ..]) in (1..).zip(SCENES) {
        assert!(lines.contains(&&*format!("{number}/7  {title}")), "{title}:\n{shown}");
    }
    assert_eq!(shown.matches("as promised: ").count(), SCENES.len(), "{shown}");
    assert!(!shown.contains("not as promised"), "{shown}");
    // The whole error object of the last scene.
    for field in [r#""message": "No target of the chain"#, r#""type": ""#, r#""param": null"#, r#""code": ""#]
    {
        assert!(shown.contains(field), "{field}:\n{shown}");
    }

    let table = &lines[lines.len() - SCENES.len()..];
    for ((number, facts), line) in (1..).zip(SCENES).zip(table) {
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [title, served, attempts, reason, cost] = cells[..] else { panic!("{line}") };
        let [wanted, ..] = facts;
        assert_eq!(title, format!("{number} {wanted}"));
        assert_eq!([wanted, served, attempts, reason], facts);
        assert_eq!(cost.parse::<f64>().unwrap() > 0.0, !served.starts_with("nobody"), "{line}");
    }

    assert!(lines.iter().all(|line| line.chars().count() <= 100), "a line is too wide:\n{shown}");
    assert!(!shown.contains('\x1b'), "colour where nobody looks on");
    let left: Vec<_> = temporary.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_demo_stays_up_for_requests_until_it_is_told_to_stop() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = piton(&["demo"], temporary.path());
    let mut demo = Running(demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let out = BufReader::new(demo.0.stdout.take().unwrap());
    let reading = tokio::task::spawn_blocking(move || {
        let mut shown: Vec<String> = Vec::new();
        let mut lines = out.lines();
        // The last command of the invitation.
        while shown.last().is_none_or(|line| !line.contains("mock-slow")) {
            shown.push(lines.next().expect("more to read").unwrap());
        }
        (shown, lines)
    });
    let (shown, _open) = in_time("the invitation", reading).await.unwrap();
    assert!(shown.iter().all(|line| line.chars().count() <= 100), "a line is too wide: {shown:#?}");
    let up = shown.iter().find_map(|line| line.split_once("stays up at http://")).unwrap().1;
    let address = up.split(' ').next().unwrap().parse().unwrap();
    for path in ["/piton/api/status", "/metrics"] {
        let command = format!("curl http://{address}{path}");
        assert!(shown.contains(&command), "{command}\n{shown:#?}");
        assert_eq!(client::request(address, "GET", path, &[], &[]).await.status, 200);
    }
    // The body as it is to be pasted, between the shell's quotes.
    let body = shown.iter().find_map(|line| line.split("-d '").nth(1)?.strip_suffix('\'')).unwrap();
    let headers = [("content-type", "application/json"), ("x-request-id", "hello")];
    let answer = client::request(address, "POST", "/v1/chat/completions", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    // What the invitation says is broken is broken.
    assert_eq!(answer.header("x-piton-target"), Some("anthropic/claude-sonnet-4-5"));
    let receipt = client::request(address, "GET", "/piton/api/requests/hello", &[], &[]).await;
    assert_eq!(receipt.json()["attempts"], 3);

    let pid = demo.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let exit = in_time("its exit", async {
        loop {
            if let Some(exit) = demo.0.try_wait().unwrap() {
                return exit;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    assert_eq!(exit.await.code(), Some(0));
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0);
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in ["serve", "demo", "explain", "mock", "health"] {
        let help = printed(&[command, "--help"]);
        assert!(help.contains("Example: ") && help.contains(&format!("piton {command}")), "{help}");
    }
    assert!(printed(&["--help"]).contains("Example: piton serve"));
    // The mock's faults are in its help, since they are its interface.
    for word in ["status-CODE", "retry-after-SECONDS", "flaky-N", "hang"] {
        assert!(printed(&["mock", "--help"]).contains(word), "{word}");
    }
}

#[test]
fn the_version_names_the_commit() {
    let commit = env!("PITON_COMMIT");
    assert!(!commit.is_empty());
    assert_eq!(printed(&["--version"]), format!("piton {} ({commit})\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let gateway =
        Gateway::start("[chains]\nchat = [\"openai/gpt-4o\"]\n[providers.openai]\napi_key = \"k\"\n").await;
    let ask =
        |address: String| tokio::task::spawn_blocking(move || output(&["health", "--listen", &address]));
    let well = ask(gateway.address().to_string()).await.unwrap();
    assert_eq!((well.status.code(), text(well.stderr)), (Some(0), String::new()));

    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = ask(free.to_string()).await.unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(nobody.stderr).contains(&format!("{free} does not answer")), "it says why");
}
