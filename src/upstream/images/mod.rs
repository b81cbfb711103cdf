//! Fetches images for targets that take only bytes, where the owner allows it.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Url, redirect, retry};

use crate::chat::ChatRequest;
use crate::chat::image::media_type;
use crate::memory::{Full, Held, Memory};
use crate::reason::{Class, Failure};
use crate::routing::NotServed;

mod guard;

use guard::Guard;

/// The largest image that is fetched, in bytes: more than any provider takes.
const LARGEST: usize = 20 << 20;
/// How long one image may take, from the look-up of its host to its last byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// Image hosts send on to where the bytes lie, not further.
const REDIRECTS: usize = 3;

/// Fetches images.
#[derive(Debug, Clone)]
pub struct Fetcher {
    http: reqwest::Client,
    guard: Guard,
}

impl Fetcher {
    /// One that also fetches from these hosts where their addresses are private. Fails only if the trust store cannot be
    /// read.
    pub fn new(trusted: impl IntoIterator<Item = String>) -> reqwest::Result<Self> {
        let guard = Guard::new(trusted);
        let roots =
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok());
        let guard_of_redirects = guard.clone();
        let follow = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS || !guard_of_redirects.allows(attempt.url()) {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let http = reqwest::Client::builder()
            .user_agent(concat!("piton/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .redirect(follow)
            .referer(false)
            .retry(retry::never())
            // A proxy would look names up where nobody guards the addresses.
            .no_proxy()
            .dns_resolver(guard.clone())
            .tls_certs_merge(roots)
            .build()?;
        Ok(Self { http, guard })
    }

    /// The request with the images behind `urls` in it, and their place in the memory budget.
    pub async fn inline(
        &self,
        request: &ChatRequest,
        urls: Vec<String>,
        memory: &Memory,
    ) -> Result<(ChatRequest, Held), NotServed> {
        let mut held = memory.hold(0).map_err(|Full| NotServed::Busy)?;
        let mut data_uris = HashMap::new();
        for url in urls {
            let data_uri = self.fetch(&url, &mut held).await?;
            data_uris.insert(url, data_uri);
        }
        // The typed request, its text and the new body stand beside each other for a moment.
        let copies = data_uris.values().map(String::len).sum::<usize>() * 2;
        held.grow(copies).map_err(|Full| NotServed::Busy)?;
        let request = request.with_images(&data_uris).map_err(|error| unusable(&error.message))?;
        Ok((request, held))
    }

    /// One image as a `data:` URI.
    async fn fetch(&self, url: &str, held: &mut Held) -> Result<String, NotServed> {
        let parsed = Url::parse(url).ok().filter(|url| self.guard.allows(url));
        let Some(parsed) = parsed else {
            return Err(unusable("its URL is none that Piton fetches from"));
        };
        let lost = |error: reqwest::Error| {
            let why =
                if error.is_timeout() { "its host took too long" } else { "its host could not be reached" };
            unusable(why)
        };
        let mut response = self.http.get(parsed).send().await.map_err(lost)?;
        let status = response.status();
        if !status.is_success() {
            return Err(unusable(&format!("its host answered with status {}", status.as_u16())));
        }
        let too_large = || unusable(&format!("it is larger than {} MiB", LARGEST >> 20));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(too_large());
            }
            held.grow(chunk.len()).map_err(|Full| NotServed::Busy)?;
            bytes.extend_from_slice(&chunk);
        }
        let Some(media_type) = media_type(&bytes) else {
            return Err(unusable("what its host sent is not a PNG, JPEG, GIF or WebP"));
        };
        held.grow(bytes.len() * 4 / 3).map_err(|Full| NotServed::Busy)?;
        Ok(format!("data:{media_type};base64,{}", STANDARD.encode(bytes)))
    }
}

/// The client named an image that nobody can use; another target may see it with its own eyes.
fn unusable(why: &str) -> NotServed {
    let message = format!("An image of the request could not be fetched: {why}.");
    NotServed::Failed(Failure {
        param: Some("messages".into()),
        ..Failure::new(Class::InvalidRequest, message)
    })
}
