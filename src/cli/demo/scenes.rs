//! The scenes: what is asked, what is broken meanwhile, and what must come of it.

use std::time::Duration;

use serde_json::{Value, json};

/// One request under one kind of weather.
#[derive(Debug)]
pub struct Scene {
    /// At most 30 characters.
    pub title: &'static str,
    /// What is broken and how, for the reader.
    pub broken: &'static str,
    /// What is to be seen, for the reader.
    pub promise: &'static str,
    /// The chain that is asked.
    pub chain: &'static str,
    pub question: &'static str,
    pub has_picture: bool,
    pub streamed: bool,
    /// Targets, and what goes wrong with each in the words of [`crate::mock::fault`].
    pub faults: &'static [(&'static str, &'static str)],
    pub claim: Claim,
}

/// What a scene promises.
#[derive(Debug)]
pub struct Claim {
    pub status: u16,
    /// Every line of the trail: a target, and `ok`, a class of failure or a skip. Also which provider is called how
    /// often, and who serves.
    pub trail: &'static [(&'static str, &'static str)],
    pub fallback_reason: Option<&'static str>,
    /// The error's `code`, where nothing serves.
    pub error_code: Option<&'static str>,
    /// No answer can come sooner.
    pub takes: Duration,
}

const GPT_4O: &str = "openai/gpt-4o";
const SONNET: &str = "anthropic/claude-sonnet-4-5";

/// What is broken once the scenes are over, for the requests that the reader makes.
pub const AFTERWARDS: (&str, &str) = (GPT_4O, "status-503");

/// A claim's promise where all goes well at once.
const SERVED: Claim = Claim {
    status: 200,
    trail: &[(GPT_4O, "ok")],
    fallback_reason: None,
    error_code: None,
    takes: Duration::ZERO,
};

/// In the order in which they are shown.
pub const SCENES: &[Scene] = &[
    Scene {
        title: "The primary serves",
        broken: "Nothing.",
        promise: "The chain's first target answers, and nobody else is asked.",
        chain: "primary-chat",
        question: "What is a piton?",
        has_picture: false,
        streamed: false,
        faults: &[],
        claim: SERVED,
    },
    Scene {
        title: "A rate limit is waited out",
        broken: "OpenAI says 429 once, with \"retry-after: 1\".",
        promise: "That is short enough to wait for: the same target is asked again, and no other.",
        chain: "primary-chat",
        question: "Why place it before the fall?",
        has_picture: false,
        streamed: false,
        faults: &[(GPT_4O, "flaky-1-status-429-retry-after-1")],
        claim: Claim {
            trail: &[(GPT_4O, "rate_limited"), (GPT_4O, "ok")],
            takes: Duration::from_secs(1),
            ..SERVED
        },
    },
    Scene {
        title: "An outage: the second serves",
        broken: "OpenAI answers 503 to everything.",
        promise: "After one retry the next target serves, at another provider and in another wire format.",
        chain: "primary-chat",
        question: "Who answers when the first choice is down?",
        has_picture: false,
        streamed: false,
        faults: &[(GPT_4O, "status-503")],
        claim: Claim {
            trail: &[(GPT_4O, "overloaded"), (GPT_4O, "overloaded"), (SONNET, "ok")],
            fallback_reason: Some("overloaded"),
            ..SERVED
        },
    },
    Scene {
        title: "A stream dies before any token",
        broken: "OpenAI starts a stream, says whose turn it is, and cuts the connection before the first token.",
        promise: "Nothing has reached the client yet, so it sees one whole stream, from the second target.",
        chain: "primary-chat",
        question: "Did you notice that?",
        has_picture: false,
        streamed: true,
        faults: &[(GPT_4O, "cut-0")],
        claim: Claim {
            trail: &[(GPT_4O, "truncated"), (SONNET, "ok")],
            fallback_reason: Some("truncated"),
            ..SERVED
        },
    },
    Scene {
        title: "A target skipped for its price",
        broken: "The first target answers 500 to everything.",
        promise: "The second may be 1.5 times as dear as the first, by the estimate for this request, \
                  and is dearer: it gets no call. The third serves.",
        chain: "thrifty",
        question: "What may a fallback cost?",
        has_picture: false,
        streamed: false,
        faults: &[("openai/gpt-4o-mini", "status-500")],
        claim: Claim {
            trail: &[
                ("openai/gpt-4o-mini", "server_error"),
                ("openai/gpt-4o-mini", "server_error"),
                ("anthropic/claude-haiku-4-5", "skip:price_ratio"),
                ("gemini/gemini-2.5-flash-lite", "ok"),
            ],
            fallback_reason: Some("server_error"),
            ..SERVED
        },
    },
    Scene {
        title: "A target that lacks vision",
        broken: "Nothing, but the first target cannot see.",
        promise: "It gets no call, and the picture is not dropped in silence: the second serves.",
        chain: "pictures",
        question: "What is in this picture?",
        has_picture: true,
        streamed: false,
        faults: &[],
        claim: Claim {
            trail: &[
                ("openai/gpt-3.5-turbo", "skip:capability:vision"),
                ("anthropic/claude-haiku-4-5", "ok"),
            ],
            ..SERVED
        },
    },
    Scene {
        title: "An exhausted chain's error",
        broken: "Every target, each in its own way.",
        promise: "One error in OpenAI's shape says what became of each, and `x-should-retry: false` keeps \
                  SDKs from asking all over again.",
        chain: "batch",
        question: "Is anybody there?",
        has_picture: false,
        streamed: false,
        faults: &[
            ("openai/gpt-4.1", "status-503"),
            ("anthropic/claude-opus-4-1", "garbage"),
            ("gemini/gemini-2.5-pro", "status-429-retry-after-20"),
        ],
        claim: Claim {
            status: 502,
            trail: &[
                ("openai/gpt-4.1", "overloaded"),
                ("openai/gpt-4.1", "overloaded"),
                ("anthropic/claude-opus-4-1", "malformed"),
                ("gemini/gemini-2.5-pro", "rate_limited"),
            ],
            fallback_reason: Some("overloaded"),
            error_code: Some("all_targets_failed"),
            takes: Duration::ZERO,
        },
    },
];

/// One red dot.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGA\
                       hKmMIQAAAABJRU5ErkJggg==";

impl Scene {
    /// The body of the request, as an application would send it.
    pub fn body(&self) -> Value {
        let content = if self.has_picture {
            json!([
                { "type": "text", "text": self.question },
                { "type": "image_url", "image_url": { "url": PICTURE } },
            ])
        } else {
            json!(self.question)
        };
        let mut body = json!({ "model": self.chain, "messages": [{ "role": "user", "content": content }] });
        if self.streamed {
            body["stream"] = json!(true);
        }
        body
    }
}

impl Claim {
    /// The target that serves.
    pub fn target(&self) -> Option<&'static str> {
        self.trail.iter().find(|(_, fate)| *fate == "ok").map(|(target, _)| *target)
    }

    /// The calls that the trail's targets receive, in order.
    pub fn calls(&self) -> impl Iterator<Item = &'static str> {
        self.trail.iter().filter(|(_, fate)| !fate.starts_with("skip:")).map(|(target, _)| *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::stage::CHAINS;
    use crate::mock::fault::Fault;

    #[test]
    fn every_scene_can_be_played() {
        for scene in SCENES {
            assert!(scene.title.len() <= 30, "{}", scene.title);
            for (target, fault) in scene.faults {
                assert!(fault.parse::<Fault>().is_ok(), "{fault}");
                assert!(scene.claim.trail.iter().any(|(tried, _)| tried == target), "{target}");
            }
            for (target, _) in scene.claim.trail {
                assert!(CHAINS.contains(&format!("\"{target}\"")), "{target}");
            }
            assert_eq!(scene.claim.target().is_none(), scene.claim.error_code.is_some(), "{}", scene.title);
        }
    }
}
