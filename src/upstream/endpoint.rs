//! Where and as whom a provider is called. What all its requests share is made once.

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use regex::Regex;

use super::auth::{Access, unsendable};
use super::client::{self, Address, By, Client, Clients, NoClient, Outgoing, no_url};
use crate::providers::{Encoded, Provider};
use crate::reason::{Class, Failure};
use crate::routing::attempt::Origin;
use crate::wire::framing::Framing;

/// A provider as the owner configured it.
#[derive(Debug)]
pub struct Settings<'a> {
    /// With the API's prefix, without a slash at its end.
    pub base_url: &'a str,
    pub by: By<'a>,
    pub connect_timeout: Duration,
    pub access: Access,
    /// The owner's own headers.
    pub headers: HeaderMap,
    /// The owner's own signs of a class in error bodies.
    pub patterns: Vec<(Class, Regex)>,
}

/// One provider for one dialect.
#[derive(Debug)]
pub struct Endpoint {
    pub access: Access,
    pub patterns: Vec<(Class, Regex)>,
    pub client: Client,
    /// `None`: the base URL is none.
    address: Option<Address>,
    owners: HeaderMap,
    /// The headers of every request, the owner's and a key among them. `None`: no header can carry the key.
    headers: Option<HeaderMap>,
}

impl Endpoint {
    /// Fails only if no HTTP client can be made.
    pub fn new(settings: Settings<'_>, dialect: &dyn Provider, clients: &Clients) -> Result<Self, NoClient> {
        let Settings { base_url, by, connect_timeout, access, headers: owners, patterns } = settings;
        let client = clients.get(connect_timeout, base_url, by)?;
        let address = Address::parse(base_url);
        let host = address.as_ref().and_then(Address::host);
        let headers = constant(host, dialect.framing(), &owners);
        let headers = match access.fixed(dialect.authorization()) {
            None => Some(headers),
            Some((name, _)) if owners.contains_key(&name) => Some(headers),
            Some((name, value)) => value.map(|value| {
                let mut headers = headers;
                headers.insert(name, value);
                headers
            }),
        };
        Ok(Self { access, patterns, client, address, owners, headers })
    }

    /// The request, but for a credential that must be fetched or made.
    pub fn outgoing(&self, encoded: Encoded, origin: &Origin) -> Result<Outgoing<'_>, Failure> {
        let address = self.address.as_ref().ok_or_else(no_url)?;
        let target = address.target(&encoded.path).ok_or_else(no_url)?;
        let mut headers = self.headers.clone().ok_or_else(unsendable)?;
        let forwarded = |name: &HeaderName| origin.forward.iter().find(|(forwarded, _)| name == forwarded);
        for (name, value) in &origin.forward {
            let name = HeaderName::from_static(name);
            if let Ok(value) = HeaderValue::from_str(value)
                && !self.owners.contains_key(&name)
            {
                headers.insert(name, value);
            }
        }
        for (name, value) in &encoded.headers {
            if self.owners.contains_key(name) {
                continue;
            }
            // What the client sent under the same name (lists of features) is kept before it.
            let before = forwarded(name).map(|(_, before)| format!("{before},"));
            let joined = before.and_then(|before| {
                HeaderValue::from_bytes(&[before.as_bytes(), value.as_bytes()].concat()).ok()
            });
            headers.insert(name, joined.unwrap_or_else(|| value.clone()));
        }
        Ok(Outgoing { address, target, headers, body: encoded.body })
    }

    /// Adds a credential that is not always the same.
    pub async fn authorize(&self, call: &mut Outgoing<'_>) -> Result<super::auth::Shown, Failure> {
        self.access.authorize(call, &self.owners).await
    }
}

fn constant(host: Option<HeaderValue>, framing: Framing, owners: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.extend(host.map(|host| (HOST, host)));
    headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(accept(framing)));
    // A compressed stream arrives in lumps.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.extend(owners.clone());
    headers
}

/// The media types of both forms of an answer.
const fn accept(framing: Framing) -> &'static str {
    match framing {
        Framing::Sse => "application/json, text/event-stream",
        Framing::EventStream => "application/json, application/vnd.amazon.eventstream",
    }
}
