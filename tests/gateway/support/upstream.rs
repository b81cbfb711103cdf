//! A provider on raw TCP that follows a [`Script`] per request and records what it received.
//!
//! No HTTP library stands between the script and the socket: it may reset before the head, stop in the middle
//! of a chunk, or keep silent until the peer goes away, and it knows when that was.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::in_time;
use super::script::{Script, Step};

/// A running scripted upstream; it and its connections end with it.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The index of the connection it came on, counted from the start of the upstream.
    pub connection: usize,
    /// Its index among the requests of that connection.
    pub nth_on_connection: usize,
    pub method: String,
    /// With the query.
    pub path: String,
    /// In their order, with their spelling.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// When its last byte was here.
    pub at: Instant,
}

/// A peer that closed, or reset, its connection while a script was still running.
#[derive(Debug, Clone, Copy)]
pub struct EarlyClose {
    /// The index of the request whose answer was running.
    pub request: usize,
    pub at: Instant,
}

/// An address that refuses every connection, and is nobody else's meanwhile.
pub struct Refusing {
    address: SocketAddr,
    _bound: TcpSocket,
}

/// An address whose connections are never established: the peer's connect hangs.
pub struct Unreachable {
    address: SocketAddr,
    _listening: TcpListener,
    _queued: Vec<TcpStream>,
}

type Answer = Arc<dyn Fn(usize, &Received) -> Script + Send + Sync>;

struct Shared {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Received>>,
    early_closes: Mutex<Vec<EarlyClose>>,
    /// How many of the early closes a test has already been given.
    early_closes_told: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    bytes_sent: AtomicU64,
    reset_at_accept: AtomicBool,
    changed: watch::Sender<()>,
}

struct Connection {
    index: usize,
    served: usize,
    stream: TcpStream,
    buffer: BytesMut,
    shared: Arc<Shared>,
}

/// The peer is gone.
struct PeerClosed;

/// What a finished script leaves behind.
enum After {
    NextRequest,
    Closed,
}

impl Upstream {
    /// Answers request `n` (from 0, over all connections) with the script that the closure gives.
    pub async fn start(answer: impl Fn(usize, &Received) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            answer: Mutex::new(Arc::new(answer)),
            requests: Mutex::default(),
            early_closes: Mutex::default(),
            early_closes_told: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            bytes_sent: AtomicU64::new(0),
            reset_at_accept: AtomicBool::new(false),
            changed: watch::Sender::new(()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting }
    }

    /// Answers every request with this script.
    pub async fn always(script: Script) -> Self {
        Self::start(move |_, _| script.clone()).await
    }

    /// Answers the first requests with these scripts in turn, and all later ones with `default`.
    pub async fn queue(scripts: impl IntoIterator<Item = Script>, default: Script) -> Self {
        let scripts: Vec<_> = scripts.into_iter().collect();
        Self::start(move |n, _| scripts.get(n).unwrap_or(&default).clone()).await
    }

    /// From now on answers by this closure. The count of requests goes on.
    pub fn answer_with(&self, answer: impl Fn(usize, &Received) -> Script + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Whether connections are reset as soon as they are accepted, before anything is read.
    pub fn reset_at_accept(&self, reset: bool) {
        self.shared.reset_at_accept.store(reset, Ordering::SeqCst);
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have arrived.
    pub fn hits(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    pub fn requests(&self) -> Vec<Received> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The `n`th request, which must have arrived.
    pub fn request(&self, n: usize) -> Received {
        self.requests().get(n).cloned().unwrap_or_else(|| panic!("request {n} has not arrived"))
    }

    /// Waits until so many requests have arrived.
    pub async fn wait_for_hits(&self, count: usize) {
        self.until(&format!("{count} requests"), |_| (self.hits() >= count).then_some(())).await;
    }

    /// How many connections have been accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open.
    pub async fn wait_until_idle(&self) {
        self.until("no open connection", |_| (self.open_connections() == 0).then_some(())).await;
    }

    /// How many bytes the peers' sockets have accepted, over all connections.
    pub fn bytes_sent(&self) -> u64 {
        self.shared.bytes_sent.load(Ordering::SeqCst)
    }

    /// How many peers have closed while a script was running.
    pub fn early_closes(&self) -> usize {
        self.shared.early_closes.lock().unwrap().len()
    }

    /// Waits for a peer to close while a script is running. Each close is told once.
    pub async fn closed_early(&self) -> EarlyClose {
        self.until("an early close", |shared| {
            let closes = shared.early_closes.lock().unwrap();
            let told = shared.early_closes_told.load(Ordering::SeqCst);
            let close = closes.get(told).copied()?;
            shared.early_closes_told.store(told + 1, Ordering::SeqCst);
            Some(close)
        })
        .await
    }

    async fn until<T>(&self, what: &str, check: impl Fn(&Shared) -> Option<T>) -> T {
        let mut changes = self.shared.changed.subscribe();
        in_time(what, async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = check(&self.shared) {
                    return found;
                }
                changes.changed().await.expect("the upstream holds the sender");
            }
        })
        .await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Received {
    /// The first header of this name, in any spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

impl Refusing {
    pub fn new() -> Self {
        // Bound, but not listening: the kernel refuses, and gives the port to nobody else.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self { address: socket.local_addr().expect("a bound address"), _bound: socket }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Unreachable {
    pub async fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("a bound address");
        // Nobody accepts: once the queue is full, the kernel drops what knocks.
        let mut queued = Vec::new();
        let brief = std::time::Duration::from_millis(100);
        while let Ok(connected) = tokio::time::timeout(brief, TcpStream::connect(address)).await {
            queued.push(connected.expect("a place in the queue"));
        }
        Self { address, _listening: listener, _queued: queued }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Shared {
    fn note(&self) {
        self.changed.send_replace(());
    }
}

impl Connection {
    async fn serve(mut self) {
        while let Some(request) = self.read_request().await {
            self.served += 1;
            let number = {
                let mut requests = self.shared.requests.lock().unwrap();
                requests.push(request.clone());
                requests.len() - 1
            };
            self.shared.note();
            let answer = Arc::clone(&self.shared.answer.lock().unwrap());
            match self.play(answer(number, &request)).await {
                Ok(After::NextRequest) => {}
                Ok(After::Closed) => return,
                Err(PeerClosed) => {
                    let close = EarlyClose { request: number, at: Instant::now() };
                    self.shared.early_closes.lock().unwrap().push(close);
                    self.shared.note();
                    return;
                }
            }
        }
    }

    async fn play(&mut self, script: Script) -> Result<After, PeerClosed> {
        for step in script.steps {
            match step {
                Step::Send(bytes) => self.write(bytes).await?,
                Step::Split { mut bytes, size, gap } => {
                    while !bytes.is_empty() {
                        self.write(bytes.split_to(size.min(bytes.len()))).await?;
                        if gap.is_zero() {
                            tokio::task::yield_now().await;
                        } else {
                            self.watch(tokio::time::sleep(gap)).await?;
                        }
                    }
                }
                Step::Pause(time) => self.watch(tokio::time::sleep(time)).await?,
                Step::Wait(gate) => self.watch(gate.passed()).await?,
                Step::Silence => self.watch(std::future::pending()).await?,
                Step::Endless(bytes) => loop {
                    self.write(bytes.clone()).await?;
                },
                Step::Reset => {
                    self.stream.set_zero_linger().expect("a socket option");
                    return Ok(After::Closed);
                }
                Step::Close => return Ok(After::Closed),
            }
        }
        Ok(After::NextRequest)
    }

    /// Writes all of it, unless the peer closes first. What the peer sends meanwhile is kept.
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), PeerClosed> {
        let (mut from_peer, mut to_peer) = self.stream.split();
        while !bytes.is_empty() {
            tokio::select! {
                written = to_peer.write(&bytes) => match written {
                    Ok(count) => {
                        bytes.advance(count);
                        self.shared.bytes_sent.fetch_add(count as u64, Ordering::SeqCst);
                    }
                    Err(_) => return Err(PeerClosed),
                },
                read = from_peer.read_buf(&mut self.buffer) => {
                    if matches!(read, Ok(0) | Err(_)) {
                        return Err(PeerClosed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits, unless the peer closes first.
    async fn watch(&mut self, wait: impl Future<Output = ()>) -> Result<(), PeerClosed> {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return Ok(()),
                read = self.stream.read_buf(&mut self.buffer) => {
                    if matches!(read, Ok(0) | Err(_)) {
                        return Err(PeerClosed);
                    }
                }
            }
        }
    }

    /// The next request of this connection; `None` once the peer has closed.
    async fn read_request(&mut self) -> Option<Received> {
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.buffer.split_to(end + 4);
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let header = |name: &str| {
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let body = if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            self.read_chunked().await?
        } else {
            let length = header("content-length").map_or(0, |value| value.parse().expect("a content-length"));
            self.take(length).await?
        };
        Some(Received {
            connection: self.index,
            nth_on_connection: self.served,
            method,
            path,
            headers,
            body,
            at: Instant::now(),
        })
    }

    async fn read_chunked(&mut self) -> Option<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = loop {
                if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                    break self.buffer.split_to(end + 2);
                }
                self.fill().await?;
            };
            let line = String::from_utf8_lossy(&line).into_owned();
            let size = line.trim_end().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).expect("a chunk size");
            let chunk = self.take(size + 2).await?;
            if size == 0 {
                return Some(body.freeze());
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    async fn take(&mut self, length: usize) -> Option<Bytes> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Some(self.buffer.split_to(length).freeze())
    }

    async fn fill(&mut self) -> Option<()> {
        self.buffer.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
        self.shared.note();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let index = shared.connections.fetch_add(1, Ordering::SeqCst);
        if shared.reset_at_accept.load(Ordering::SeqCst) {
            stream.set_zero_linger().expect("a socket option");
            continue;
        }
        stream.set_nodelay(true).expect("a socket option");
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        connections.spawn(Connection { index, served: 0, stream, buffer: BytesMut::new(), shared }.serve());
    }
}
