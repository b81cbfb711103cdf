//! Entry points for `benches/`: the gateway without its sockets, and pieces of a request's way by themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::catalog;
use crate::chat::target::{Able, Thinking};
use crate::chat::{self, ChatRequest, TargetFacts, Usage};
use crate::config::gateway;
use crate::config::live::Live;
use crate::config::{Runtime, Source, Surroundings, load};
use crate::ops::log;
use crate::providers::compatible::Kind;
use crate::providers::surface::Surface;
use crate::providers::{Progress, Provider, ReplyContext, dialect, quirks};
use crate::routing::plan::{Wishes, plan};
use crate::server::{self, App, Encoder};
use crate::units::Tokens;
use crate::wire::framing::Framing;

/// Where its clients seem to be.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// The gateway as `piton serve` runs it, on connections that the caller makes.
pub struct Gateway(App);

impl Gateway {
    /// Starts the log and reads the configuration. The error is all that is wrong with it, as text.
    pub fn start(config: PathBuf) -> Result<Self, String> {
        log::start(None).map_err(|error| error.to_string())?;
        let (live, _) = Live::start(config, None)?;
        Ok(Self(App::new(live)))
    }

    /// Serves one connection to its end.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        server::serve_one(self.0.clone(), stream, PEER).await;
    }
}

/// A client's request.
pub struct Request(Arc<ChatRequest>);

impl Request {
    /// Reads as much of it as the server does.
    pub fn peek(body: Bytes) -> Result<Self, String> {
        ChatRequest::parse(body).map(|request| Self(Arc::new(request))).map_err(|invalid| invalid.message)
    }
}

/// A provider's format, for one of its models.
pub struct Dialect {
    provider: Arc<dyn Provider>,
    facts: TargetFacts,
}

impl Dialect {
    /// That of a kind, if there is one of this name.
    pub fn find(kind: &str, model: &str) -> Option<Self> {
        let kind = Kind::find(kind)?;
        let surface = Surface::default();
        let facts = TargetFacts {
            model: model.into(),
            max_output: Some(Tokens::new(8192)),
            able: Able::ALL,
            thinking: Thinking::Unknown,
            sampling: true,
            quirks: quirks(kind, &surface, true),
        };
        Some(Self { provider: dialect(kind, &surface, model), facts })
    }

    /// Writes the provider's request; its bytes.
    pub fn write(&self, request: &Request) -> Option<usize> {
        let encoded = self.provider.encode(&request.0, &self.facts).ok()?;
        Some(encoded.body.iter().map(Bytes::len).sum())
    }

    /// Reads a streamed answer and writes it for a client of OpenAI; the bytes of that.
    pub fn pass_stream(&self, body: &Bytes) -> Result<usize, String> {
        let mut framing = self.provider.framing().decoder();
        let mut decoder = self.provider.decoder(&self.facts, &ReplyContext::default());
        let mut encoder = Encoder::new("chatcmpl-1".into(), 0, "model".into(), true, false);
        let (mut events, mut out) = (Vec::new(), BytesMut::new());
        framing.push(body.clone());
        while let Some(frame) = framing.next().map_err(|broken| broken.to_string())? {
            let progress = decoder.decode(&frame, &mut events).map_err(|failure| failure.message)?;
            events.drain(..).for_each(|event| encoder.event(event, &mut out));
            if progress == Progress::Done {
                break;
            }
        }
        decoder.finish(&mut events).map_err(|failure| failure.message)?;
        events.drain(..).for_each(|event| encoder.event(event, &mut out));
        encoder.finish(None, Usage::default(), &mut out);
        Ok(out.len())
    }
}

/// A configuration that was read.
pub struct Configuration(gateway::Gateway);

impl Configuration {
    /// Reads it from its text, where these variables hold keys. The error is how much is wrong.
    pub fn compile(text: &str, keys: &[&str]) -> Result<Self, String> {
        let source = Source { name: "piton.toml".into(), text: text.to_owned() };
        let environment = keys.iter().map(|name| ((*name).to_owned(), "unused".to_owned())).collect();
        let surroundings = Surroundings { environment, check_secrets: true, ..Surroundings::default() };
        let loaded = load(&source, &Arc::new(Runtime::new(usize::MAX)), &surroundings);
        loaded.gateway.map(Self).ok_or_else(|| format!("{} problems", loaded.diagnostics.len()))
    }

    /// Plans a request to this chain; the targets that may serve it.
    pub fn plan(&self, chain: &str, request: &Request) -> Option<usize> {
        let chain = self.0.chain(chain)?;
        let plan = plan(&chain, &chat::Request::Chat(Arc::clone(&request.0)), &Wishes::default()).ok()?;
        Some(plan.steps().filter(|step| step.skip.is_none()).count())
    }
}

/// The server-sent events of a body; how many.
pub fn frames(body: &Bytes) -> usize {
    let mut decoder = Framing::Sse.decoder();
    decoder.push(body.clone());
    std::iter::from_fn(|| decoder.next().ok().flatten()).count()
}

/// Splits the catalog, as the first question to it does; its providers.
pub fn split_catalog() -> usize {
    catalog::split().len()
}
