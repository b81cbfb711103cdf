//! What is counted.

use std::collections::HashMap;
use std::fmt::Write;

use super::traffic::{Answer, streamed, whole};
use super::{answers, exchanges};

/// One kind of request.
pub struct Case {
    pub name: &'static str,
    /// Bytes of the request's body.
    bytes: usize,
    streamed: bool,
    /// The chain that it names.
    chain: &'static str,
    /// Chains configured beside those that the cases name, each of ten targets.
    more_chains: usize,
    /// What its answers must have in them.
    pub expected: &'static str,
    /// Another case that may not differ from it by more than the bound.
    pub same_as: Option<&'static str>,
}

/// Pieces of text in a streamed answer.
const PIECES: usize = 64;

const PLAIN: Case = Case {
    name: "",
    bytes: 300,
    streamed: false,
    chain: "plain",
    more_chains: 0,
    expected: "x-piton-attempts: 1\r\n",
    same_as: None,
};

pub const CASES: [Case; 10] = [
    Case { name: "json-300B", ..PLAIN },
    Case { name: "json-20kB", bytes: 20_000, ..PLAIN },
    Case { name: "json-300B-anthropic", chain: "anthropic", ..PLAIN },
    Case { name: "json-300B-gemini", chain: "gemini", ..PLAIN },
    Case { name: "stream-64", streamed: true, expected: "data: [DONE]", ..PLAIN },
    Case {
        name: "stream-64-anthropic",
        streamed: true,
        chain: "anthropic",
        expected: "data: [DONE]",
        ..PLAIN
    },
    Case {
        name: "fallback-503",
        chain: "fallback",
        expected: "x-piton-fallback-reason: overloaded\r\n",
        ..PLAIN
    },
    Case { name: "refused-404", chain: "nowhere", expected: "HTTP/1.1 404 ", ..PLAIN },
    Case { name: "refused-400", bytes: 0, chain: "", expected: "HTTP/1.1 400 ", ..PLAIN },
    Case {
        name: "json-300B-of-1000-chains",
        chain: "chain-999",
        more_chains: 1000,
        same_as: Some("json-300B"),
        ..PLAIN
    },
];

impl Case {
    pub fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// The whole request.
    pub fn request(&self) -> Vec<u8> {
        let body = if self.chain.is_empty() {
            "{\"model\": \"plain\", \"messages\": 3}".to_owned()
        } else {
            exchanges::request(self.chain, self.bytes, self.streamed)
        };
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:4000\r\nuser-agent: OpenAI/Python 2.8.1\r\naccept: application/json\r\nauthorization: Bearer unused\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// What each provider answers.
    pub fn answers(&self) -> HashMap<&'static str, Answer> {
        let (openai, anthropic) = if self.streamed {
            (streamed(&exchanges::openai_stream(PIECES)), streamed(&exchanges::anthropic_stream(PIECES)))
        } else {
            (whole(200, &answers::openai()), whole(200, &answers::anthropic()))
        };
        HashMap::from([
            ("openai", openai),
            ("anthropic", anthropic),
            ("gemini", whole(200, &answers::gemini())),
            ("failing", whole(503, &answers::openai_overloaded())),
        ])
    }

    /// The configuration that serves it, with the providers at this port.
    pub fn configuration(&self, port: u16) -> String {
        // What another thread does is not what a request costs here.
        let mut text = String::from("[ledger]\npath = \"off\"\n");
        for (name, kind) in
            [("openai", "openai"), ("anthropic", "anthropic"), ("gemini", "gemini"), ("failing", "openai")]
        {
            // The write cannot fail: it goes to memory.
            let _ = write!(
                text,
                "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"http://127.0.0.1:{port}/{name}\"\napi_key = \"file:key\"\n"
            );
        }
        // The failing provider is to be asked each time.
        text.push_str("breaker = { failures = 1000000, error_rate = 1.0, min_requests = 1000000 }\n");
        text.push_str(CHAINS);
        for chain in 0..self.more_chains {
            let _ = writeln!(text, "chain-{chain} = [{TEN}]");
        }
        text
    }
}

const CHAINS: &str = r#"
[defaults]
retries = 0
[chains]
plain = ["openai/gpt-4o-mini"]
anthropic = ["anthropic/claude-sonnet-4-5"]
gemini = ["gemini/gemini-2.5-flash"]
fallback = ["failing/gpt-4o", "openai/gpt-4o-mini"]
"#;
const TEN: &str = r#""openai/gpt-4o-mini", "openai/gpt-4o", "openai/gpt-4.1", "openai/gpt-4.1-mini", "openai/gpt-4.1-nano", "openai/o3", "openai/o4-mini", "openai/gpt-5", "openai/gpt-5-mini", "anthropic/claude-sonnet-4-5""#;
