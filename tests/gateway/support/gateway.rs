//! The gateway under test: the real binary, in a directory of its own, with an environment of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::client::{self, Raw, Response, Streaming};
use super::in_time;

/// A running `piton serve`; killed when dropped.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    /// How it was started.
    builder: Builder,
    stderr: Stderr,
}

/// How a gateway is to be started.
#[derive(Clone)]
pub struct Builder {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: Arc<TempDir>,
}

/// A gateway that ended before it listened.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

/// The lines that a child has written so far.
#[derive(Clone)]
struct Stderr {
    lines: Arc<Mutex<Vec<String>>>,
    /// Whether the child has closed it.
    closed: watch::Receiver<bool>,
}

impl Gateway {
    /// Starts with this configuration and without any key in the environment.
    pub async fn start(config: &str) -> Self {
        Self::with(config).start().await
    }

    /// Starts with this configuration and more.
    pub fn with(config: &str) -> Builder {
        Builder::new(&super::piton(), config)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        client::request(self.address, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], &[]).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path, &[JSON], body.to_string().as_bytes()).await
    }

    /// Sends the body and returns once the head is here. Dropping the result is a client that goes away.
    pub async fn stream(&self, path: &str, body: &Value) -> Streaming {
        client::open(self.address, "POST", path, &[JSON], body.to_string().as_bytes()).await
    }

    /// A connection to which any bytes may be written.
    pub async fn connect(&self) -> Raw {
        Raw::connect(self.address).await
    }

    /// Sends a JSON request and does not wait for an answer.
    pub async fn send_json(&self, path: &str, body: &Value) -> Raw {
        let mut connection = self.connect().await;
        let body = body.to_string();
        connection.send(&client::encode(self.address, "POST", path, &[JSON], body.as_bytes())).await;
        connection
    }

    /// The log so far: those lines of standard error that are JSON.
    pub fn logs(&self) -> Vec<Value> {
        self.stderr.logs()
    }

    /// The log lines so far with this `message`.
    pub fn events(&self, message: &str) -> Vec<Value> {
        self.logs().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Waits for a log line, past or future.
    pub async fn wait_for_log(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        in_time(what, async {
            loop {
                if let Some(line) = self.logs().into_iter().find(&wanted) {
                    return line;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await
    }

    /// All of standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn directory(&self) -> &Path {
        self.builder.directory.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory().join(CONFIG)
    }

    /// Writes a file of the gateway's directory in place, as a plain editor does.
    pub fn write(&self, name: &str, text: &str) {
        write(self.directory(), name, text);
    }

    /// Writes the configuration in place.
    pub fn rewrite_config(&self, config: &str) {
        self.write(CONFIG, config);
    }

    /// Puts a new configuration in the old one's place by a rename, as careful editors do.
    pub fn replace_config(&self, config: &str) {
        let new = self.directory().join("piton.toml.new");
        std::fs::write(&new, config).expect("a written file");
        std::fs::rename(&new, self.config_path()).expect("a renamed file");
    }

    /// SIGKILL, and another process in the same directory.
    pub async fn kill_and_start_again(self) -> Self {
        let builder = self.builder.clone();
        drop(self);
        builder.start().await
    }

    /// SIGTERM: drain and stop.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGHUP: read the configuration again.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Waits until the process has ended by itself and all that it said is read.
    pub async fn exited(&mut self) -> ExitStatus {
        let (child, stderr) = (&mut self.child, &mut self.stderr);
        in_time("the gateway's exit", async {
            stderr.closed.wait_for(|closed| *closed).await.expect("a reader");
            loop {
                if let Some(status) = child.try_wait().expect("a child") {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{name}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway's standard error ---\n{}", self.stderr());
        }
    }
}

impl Builder {
    fn new(program: &Path, config: &str) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        write(directory.path(), CONFIG, config);
        let arguments = ["serve", "--config", CONFIG, "--listen", "127.0.0.1:0"];
        Self {
            program: program.to_owned(),
            arguments: arguments.map(str::to_owned).into(),
            environment: BTreeMap::new(),
            directory,
        }
    }

    /// With one more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With one more argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Where a file that grows beyond the process's limit is an error of the write, not the end of the process.
    pub fn outliving_file_limits(mut self) -> Self {
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let program = std::mem::replace(&mut self.program, "/bin/sh".into()).display().to_string();
        self.arguments.splice(0..0, ["-c".to_owned(), script.to_owned(), program]);
        self
    }

    /// Listening there instead of on a free port of loopback.
    pub fn listen(mut self, address: &str) -> Self {
        let at = self.arguments.iter().position(|argument| argument == "--listen").expect("the argument");
        address.clone_into(&mut self.arguments[at + 1]);
        self
    }

    /// With one more file in the gateway's directory.
    pub fn file(self, name: &str, text: &str) -> Self {
        write(self.directory.path(), name, text);
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Gateway {
        match self.try_start().await {
            Ok(gateway) => gateway,
            Err(ended) => panic!("the gateway ended at once, {}:\n{}", ended.status, ended.stderr),
        }
    }

    /// Starts it and waits until it listens or ends.
    pub async fn try_start(self) -> Result<Gateway, Ended> {
        // An empty environment: neither the keys nor the proxies of whoever runs the tests reach the gateway.
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| KEPT.contains(&name.as_str())))
            .env("HOME", self.directory.path())
            .env("PITON_STATE_DIR", self.directory.path().join("state"))
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let stderr = Stderr::of(child.stderr.take().expect("a pipe"));
        match in_time("a listening gateway", stderr.listening()).await {
            Some(address) => Ok(Gateway { child, address, builder: self, stderr }),
            None => Err(Ended { status: child.wait().expect("a child"), stderr: stderr.text() }),
        }
    }
}

impl Stderr {
    fn of(pipe: ChildStderr) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (close, closed) = watch::channel(false);
        let sink = Arc::clone(&lines);
        // A thread, because a pipe is read blockingly; it ends with the child.
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
            close.send_replace(true);
        });
        Self { lines, closed }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    fn logs(&self) -> Vec<Value> {
        self.lines.lock().unwrap().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The address that the gateway says it listens on; `None` if it ends without one.
    async fn listening(&self) -> Option<SocketAddr> {
        loop {
            // Read before the lines: what was written before the end is seen then.
            let closed = *self.closed.borrow();
            let said = self.logs().into_iter().find(|line| line["message"] == "listening");
            if let Some(line) = said {
                let address = line["address"].as_str().expect("an address in the listening event");
                return Some(address.parse().expect("a socket address"));
            }
            if closed {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

const CONFIG: &str = "piton.toml";
const JSON: (&str, &str) = ("content-type", "application/json");
const POLL: Duration = Duration::from_millis(10);

/// What the gateway may see of the tests' own environment.
const KEPT: [&str; 4] = ["PATH", "LLVM_PROFILE_FILE", "RUST_BACKTRACE", "TMPDIR"];

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, text).expect("a written file");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::replies;
    use super::super::upstream::Upstream;
    use super::*;

    /// A stand-in for the binary: a shell script behind the same command line.
    fn shell(script: &str) -> Builder {
        let mut builder = Builder::new(Path::new("/bin/sh"), "# empty\n");
        builder.arguments.splice(0..0, ["-c", script, "sh"].map(str::to_owned));
        builder
    }

    const LISTENING: &str = r#"echo '{"message":"listening","address":"127.0.0.1:9"}' >&2;"#;

    #[tokio::test]
    async fn it_finds_the_address_in_the_log_and_stops_on_a_signal() {
        let mut gateway = shell(&format!(
            r#"trap 'echo "{{\"message\":\"reloaded\"}}" >&2' HUP; trap 'exit 3' TERM;
            echo plain >&2; {LISTENING} while :; do sleep 0.02; done"#
        ))
        .start()
        .await;
        assert_eq!(gateway.url(), "http://127.0.0.1:9");
        assert_eq!((gateway.logs().len(), gateway.events("listening").len()), (1, 1));
        gateway.hang_up();
        gateway.wait_for_log("a reload", |line| line["message"] == "reloaded").await;
        gateway.terminate();
        assert_eq!(gateway.exited().await.code(), Some(3));
        assert!(gateway.stderr().starts_with("plain\n"));
    }

    #[tokio::test]
    async fn it_tells_how_a_gateway_ended_that_never_listened() {
        let ended = shell("echo bad config >&2; exit 2").try_start().await.err().expect("no gateway");
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(2), "bad config"));
    }

    #[tokio::test]
    async fn the_environment_holds_what_was_given_and_no_more() {
        let gateway = shell(&format!("env > seen; cat prompts/a >> seen; {LISTENING} exec sleep 30"))
            .env("OPENAI_API_KEY", "given")
            .file("prompts/a", "from a file")
            .arg("--more")
            .start()
            .await;
        let seen = std::fs::read_to_string(gateway.directory().join("seen")).unwrap();
        assert!(seen.contains("OPENAI_API_KEY=given") && seen.contains("from a file"));
        assert!(seen.contains("PITON_STATE_DIR=") && !seen.contains("CARGO"), "{seen}");
    }

    #[tokio::test]
    async fn a_configuration_is_rewritten_in_place_or_replaced() {
        let gateway = shell(&format!("{LISTENING} exec sleep 30")).start().await;
        gateway.rewrite_config("a = 1");
        assert_eq!(std::fs::read_to_string(gateway.config_path()).unwrap(), "a = 1");
        gateway.replace_config("a = 2");
        assert_eq!(std::fs::read_to_string(gateway.config_path()).unwrap(), "a = 2");
    }

    #[tokio::test]
    async fn every_way_to_send_a_request_reaches_the_address_that_was_logged() {
        let stream = replies::openai_stream(&["a"]);
        let upstream = Upstream::always(stream.all()).await;
        let address = upstream.address();
        let listening = format!(r#"echo '{{"message":"listening","address":"{address}"}}' >&2;"#);
        let gateway = shell(&format!("{listening} exec sleep 30")).start().await;
        assert_eq!(gateway.address(), address);
        let body = json!({ "model": "m" });
        assert_eq!(gateway.get("/healthz").await.status, 200);
        assert_eq!(gateway.post_json("/v1/x", &body).await.text(), stream.events.concat());
        assert_eq!(gateway.stream("/v1/x", &body).await.events().await.len(), stream.events.len());
        let sent = gateway.send_json("/v1/x", &body).await;
        assert_eq!(sent.head().await.status, 200);
        let mut raw = gateway.connect().await;
        raw.send(b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(raw.head().await.status, 200);
        let (first, post) = (upstream.request(0), upstream.request(1));
        assert_eq!((first.method.as_str(), first.connection), ("GET", 0));
        assert_eq!((post.json(), post.header("content-type")), (body, Some("application/json")));
        assert_eq!(upstream.connections(), 5);
    }
}
