//! The demo's application: it asks through the front door, and keeps what came back.

use std::time::Duration;

use anyhow::{Context, bail};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use http::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;

use super::scenes::Scene;

/// Who asks.
pub struct Client {
    http: reqwest::Client,
    url: String,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// The answer's text.
    pub text: String,
    /// The body where the status is an error.
    pub error: Option<Value>,
    /// A stream ended with `[DONE]`.
    pub is_whole: bool,
    /// In a stream.
    pub first_content: Option<Duration>,
    /// From the request to the answer's end.
    pub took: Duration,
    pub receipt: Value,
}

/// How long anything may take here: a demo that hangs would show nothing.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a receipt may take to be filed once its answer is over, and how often it is asked for.
const FILING: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

impl Client {
    /// A client of the gateway at this URL.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        // Loopback needs neither a proxy nor trust roots, whatever this machine has of them.
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        Ok(Self { http: builder.build().context("the HTTP client cannot start")?, url: url.to_owned() })
    }

    /// Sends the scene's request, reads its answer to the end, and fetches its receipt.
    pub async fn ask(&self, scene: &Scene) -> anyhow::Result<Reply> {
        let begun = Instant::now();
        let request = self
            .http
            .post(format!("{}/v1/chat/completions", self.url))
            .header("content-type", "application/json")
            .body(scene.body().to_string());
        let response = request.send().await.context("the gateway does not answer")?;
        let mut reply = Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: String::new(),
            error: None,
            is_whole: false,
            first_content: None,
            took: Duration::ZERO,
            receipt: Value::Null,
        };
        if scene.streamed && response.status().is_success() {
            reply.read_stream(response, begun).await?;
        } else {
            reply.read_json(response).await?;
        }
        reply.took = begun.elapsed();
        let id = reply.header("x-request-id").context("the answer has no x-request-id")?;
        reply.receipt = self.receipt(id).await?;
        Ok(reply)
    }

    async fn receipt(&self, id: &str) -> anyhow::Result<Value> {
        let asked = Instant::now();
        loop {
            let request = self.http.get(format!("{}/piton/api/requests/{id}", self.url));
            let response = request.send().await.context("the gateway does not answer")?;
            if response.status().is_success() {
                let body = response.bytes().await.context("the receipt cannot be read")?;
                return serde_json::from_slice(&body).context("the receipt is not JSON");
            }
            if asked.elapsed() > FILING {
                bail!("there is no receipt {id}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Reply {
    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A count in the receipt.
    pub fn receipt_count(&self, name: &str) -> Option<usize> {
        self.receipt[name].as_u64().and_then(|count| usize::try_from(count).ok())
    }

    /// USD, of all attempts together.
    pub fn cost(&self) -> Option<f64> {
        self.receipt["cost_usd"].as_f64()
    }

    async fn read_json(&mut self, response: reqwest::Response) -> anyhow::Result<()> {
        let is_error = !response.status().is_success();
        let body = response.bytes().await.context("the answer cannot be read")?;
        let body: Value = serde_json::from_slice(&body).context("the answer is not JSON")?;
        if is_error {
            self.error = Some(body);
        } else {
            self.text.push_str(body["choices"][0]["message"]["content"].as_str().unwrap_or_default());
        }
        Ok(())
    }

    async fn read_stream(&mut self, response: reqwest::Response, begun: Instant) -> anyhow::Result<()> {
        let mut events = response.bytes_stream().eventsource();
        while let Some(event) = events.next().await {
            let data = event.context("the stream broke")?.data;
            if data == "[DONE]" {
                self.is_whole = true;
                continue;
            }
            let chunk: Value = serde_json::from_str(&data).context("an event of the stream is not JSON")?;
            if chunk.get("error").is_some() {
                self.error = Some(chunk);
                continue;
            }
            if let Some(piece) =
                chunk["choices"][0]["delta"]["content"].as_str().filter(|piece| !piece.is_empty())
            {
                self.first_content.get_or_insert_with(|| begun.elapsed());
                self.text.push_str(piece);
            }
        }
        Ok(())
    }
}
