//! Names, patterns of names, and addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use globset::{GlobBuilder, GlobMatcher};
use http::Uri;

use super::reader::{FromText, Refusal};
use super::value::inline_schema;
use crate::providers::surface;
use crate::reason::Word;

/// The name of a chain: what clients write as `model`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChainName(pub String);

/// The name of a provider: what stands before the first `/` of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderName(pub String);

/// A model at a provider: `provider/model`, split at the first `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelName {
    pub provider: String,
    pub model: String,
}

/// The name of a wire format or of a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind(pub String);

/// The name of an HTTP header that the file may set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub http::HeaderName);

/// A pattern of names, in which `*` matches any characters, `/` too.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
}

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(pub regex::Regex);

/// An address to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// A host: its name or its address, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(pub String);

/// The root of an upstream's API, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(pub String);

/// One of a kind's APIs that is not the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api(pub surface::Api);

/// The version of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersion(pub String);

/// A project or a location of a cloud, a region: one piece of a host or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub String);

/// A mark of the owner's on a target, a model or a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub Word);

/// The name of a task or of a tier, as clients claim it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label(pub String);

/// Headers that belong to the connection or to the body that Piton itself sends.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept-encoding",
    "expect",
];

impl Glob {
    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What matches the names.
    pub fn matcher(&self) -> &GlobMatcher {
        &self.matcher
    }
}

impl FromText for ChainName {
    const EXPECTED: &'static str = "a chain's name such as \"primary-chat\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        plain_name("a chain's name", text).map(Self)
    }
}

impl FromText for ProviderName {
    const EXPECTED: &'static str = "a provider's name such as \"openai\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        plain_name("a provider's name", text).map(Self)
    }
}

impl FromText for ModelName {
    const EXPECTED: &'static str = "a provider and a model such as \"openai/gpt-4o\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let Some((provider, model)) = text.split_once('/') else {
            return Err(Refusal::new(format!("{text:?} does not say which provider serves it"))
                .help(format!("write it as provider/model, for example \"openai/{text}\"")));
        };
        if provider.is_empty() {
            return Err(Refusal::new(format!("{text:?} does not name a provider before the `/`")));
        }
        let visible = !model.is_empty() && !model.contains(|c: char| c.is_whitespace() || c.is_control());
        if !visible {
            return Err(Refusal::new(format!("{text:?} does not name a model after the `/`")));
        }
        Ok(Self { provider: plain_name("a provider's name", provider)?, model: model.to_owned() })
    }
}

impl FromText for Kind {
    const EXPECTED: &'static str = "a wire format or a vendor such as \"openai\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        plain_name("a kind", text).map(Self)
    }
}

impl FromText for HeaderName {
    const EXPECTED: &'static str = "a header's name such as \"x-org\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let name = http::HeaderName::try_from(text)
            .map_err(|_| Refusal::new(format!("{text:?} is no name of an HTTP header")))?;
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(Refusal::new(format!("Piton sets `{name}` itself")));
        }
        Ok(Self(name))
    }
}

impl FromText for Glob {
    const EXPECTED: &'static str = "a pattern of names such as \"primary-*\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new("an empty pattern matches nothing").help("\"*\" matches everything"));
        }
        let glob = GlobBuilder::new(text).literal_separator(false).build();
        let glob = glob.map_err(|error| Refusal::new(format!("not a pattern: {}", error.kind())))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

impl FromText for Pattern {
    const EXPECTED: &'static str = "a regular expression such as \"too many tokens\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new("an empty pattern would match every error"));
        }
        // The error of a syntax fault draws a picture of several lines; its last one says what is wrong.
        let why = |error: regex::Error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            Refusal::new(format!("not a regular expression: {}", last.trim_start_matches("error: ")))
        };
        regex::RegexBuilder::new(text).case_insensitive(true).build().map(Self).map_err(why)
    }
}

impl FromText for Listen {
    const EXPECTED: &'static str = "an address and port such as \"127.0.0.1:4000\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let refusal = Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED));
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(refusal.help("the port is missing"));
        };
        match (host, port.parse()) {
            (_, Err(_)) => Err(refusal.help("a port is a number of 0 to 65535")),
            ("localhost", Ok(port)) => Ok(Self((Ipv4Addr::LOCALHOST, port).into())),
            ("" | "*", Ok(port)) => {
                Err(refusal.help(format!("write \"0.0.0.0:{port}\" for every interface of this machine")))
            }
            (_, Ok(_)) => {
                Err(refusal.help("only numeric addresses and localhost; an IPv6 address stands in brackets"))
            }
        }
    }
}

impl FromText for Host {
    const EXPECTED: &'static str = "a host such as \"images.internal\" or \"10.0.0.7\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let refusal = || Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED));
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || !text.chars().all(plain) {
            return Err(refusal().help("without a scheme, a port or a path"));
        }
        Ok(Self(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

impl FromText for BaseUrl {
    const EXPECTED: &'static str = "a URL such as \"http://127.0.0.1:11434/v1\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let refusal = || Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED));
        let url: Uri = text.parse().map_err(|_| refusal())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(refusal().help("it starts with http:// or https://"));
        }
        let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        if authority.contains('@') {
            return Err(Refusal::new("a base URL holds no user or password").help("use api_key or headers"));
        }
        if url.host().is_none_or(str::is_empty) {
            return Err(refusal());
        }
        if url.query().is_some() || text.contains('#') {
            return Err(refusal().help("without a query or a fragment"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl FromText for Api {
    const EXPECTED: &'static str = "\"invoke\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "invoke" => Ok(Self(surface::Api::Invoke)),
            _ => Err(Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED))),
        }
    }
}

impl FromText for ApiVersion {
    const EXPECTED: &'static str = "a version such as \"2024-10-21\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if !text.is_empty() && text.chars().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED)))
    }
}

impl FromText for Place {
    const EXPECTED: &'static str = "a name such as \"us-central1\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        // A project may stand in a domain: `example.com:my-project`.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !text.is_empty() && text.chars().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED)))
    }
}

impl FromText for Tag {
    const EXPECTED: &'static str = "a tag such as \"eu\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let name = plain_name("a tag", text)?;
        Word::new(&name).map(Self).ok_or_else(|| {
            Refusal::new(format!("{text:?} is too long for a tag: {} letters at most", Word::LONGEST))
        })
    }
}

impl FromText for Label {
    const EXPECTED: &'static str = "the name of a task or a tier such as \"code\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || text.trim() != text {
            return Err(Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED)));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// A name of plain characters; `what` it is ends a sentence.
pub fn plain_name(what: &str, text: &str) -> Result<String, Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("{text:?} is not {what}"))
        .help("a name is made of letters, digits, `.`, `_` and `-`"))
}

inline_schema!(ChainName, { "type": "string", "pattern": "^[A-Za-z0-9._-]+$" });
inline_schema!(ProviderName, { "type": "string", "pattern": "^[A-Za-z0-9._-]+$" });
inline_schema!(ModelName, { "type": "string", "pattern": r"^[A-Za-z0-9._-]+/\S+$" });
inline_schema!(Tag, { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,31}$" });
inline_schema!(Label, { "type": "string", "minLength": 1 });
inline_schema!(Kind, { "type": "string", "pattern": "^[A-Za-z0-9._-]+$" });
inline_schema!(HeaderName, { "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" });
inline_schema!(Glob, { "type": "string", "minLength": 1 });
inline_schema!(Api, { "type": "string", "enum": ["invoke"] });
inline_schema!(ApiVersion, { "type": "string", "pattern": "^[A-Za-z0-9.-]+$" });
inline_schema!(Place, { "type": "string", "pattern": "^[A-Za-z0-9._:-]+$" });
inline_schema!(Pattern, { "type": "string", "minLength": 1 });
inline_schema!(Host, { "type": "string", "pattern": r"^[A-Za-z0-9._:\[\]-]+$" });
inline_schema!(Listen, { "type": "string", "pattern": ":[0-9]+$" });
inline_schema!(BaseUrl, { "type": "string", "pattern": "^https?://[^/?#@]+[^?#]*$" });

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromText + fmt::Debug>(wrong: &[&str]) -> String {
        let refusals = wrong.iter().map(|text| T::from_text(text).unwrap_err().to_string());
        refusals.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_model_splits_at_the_first_slash() {
        let name = ModelName::from_text("together/meta-llama/Llama-3.3").unwrap();
        assert_eq!((name.provider.as_str(), name.model.as_str()), ("together", "meta-llama/Llama-3.3"));
        insta::assert_snapshot!(refused::<ModelName>(&["gpt-4o", "openai/", "/gpt", "open ai/x", "a/b c"]), @r#"
        "gpt-4o" does not say which provider serves it: write it as provider/model, for example "openai/gpt-4o"
        "openai/" does not name a model after the `/`
        "/gpt" does not name a provider before the `/`
        "open ai" is not a provider's name: a name is made of letters, digits, `.`, `_` and `-`
        "a/b c" does not name a model after the `/`
        "#);
    }

    #[test]
    fn a_star_matches_slashes() {
        let glob = Glob::from_text("together/*-turbo").unwrap();
        assert!(glob.matches("together/meta-llama/x-turbo"));
        assert!(!glob.matches("together/meta-llama/x-turbo-2"));
        insta::assert_snapshot!(refused::<Glob>(&["", "[a", "{a"]), @r#"
        an empty pattern matches nothing: "*" matches everything
        not a pattern: unclosed character class; missing ']'
        not a pattern: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
        "#);
    }

    #[test]
    fn addresses() {
        assert_eq!(Listen::from_text("localhost:80").unwrap().0.to_string(), "127.0.0.1:80");
        assert_eq!(Listen::from_text("[::1]:80").unwrap().0.to_string(), "[::1]:80");
        insta::assert_snapshot!(
            refused::<Listen>(&["127.0.0.1", ":4000", "*:80", "example.com:80", "::1:80", "1.2.3.4:70000"]),
            @r#"
        expected an address and port such as "127.0.0.1:4000", found "127.0.0.1": the port is missing
        expected an address and port such as "127.0.0.1:4000", found ":4000": write "0.0.0.0:4000" for every interface of this machine
        expected an address and port such as "127.0.0.1:4000", found "*:80": write "0.0.0.0:80" for every interface of this machine
        expected an address and port such as "127.0.0.1:4000", found "example.com:80": only numeric addresses and localhost; an IPv6 address stands in brackets
        expected an address and port such as "127.0.0.1:4000", found "::1:80": only numeric addresses and localhost; an IPv6 address stands in brackets
        expected an address and port such as "127.0.0.1:4000", found "1.2.3.4:70000": a port is a number of 0 to 65535
        "#
        );
    }

    #[test]
    fn base_urls() {
        assert_eq!(BaseUrl::from_text("http://h:1/v1/").unwrap().0, "http://h:1/v1");
        assert_eq!(BaseUrl::from_text("https://h").unwrap().0, "https://h");
        insta::assert_snapshot!(
            refused::<BaseUrl>(&["h", "ftp://h/", "https://", "https://u:p@h", "https://h?a=b", "https://h/#a", "h:80"]),
            @r#"
        expected a URL such as "http://127.0.0.1:11434/v1", found "h": it starts with http:// or https://
        expected a URL such as "http://127.0.0.1:11434/v1", found "ftp://h/": it starts with http:// or https://
        expected a URL such as "http://127.0.0.1:11434/v1", found "https://"
        a base URL holds no user or password: use api_key or headers
        expected a URL such as "http://127.0.0.1:11434/v1", found "https://h?a=b": without a query or a fragment
        expected a URL such as "http://127.0.0.1:11434/v1", found "https://h/#a": without a query or a fragment
        expected a URL such as "http://127.0.0.1:11434/v1", found "h:80": it starts with http:// or https://
        "#
        );
    }

    #[test]
    fn headers_and_patterns() {
        assert_eq!(HeaderName::from_text("X-Org").unwrap().0, "x-org");
        insta::assert_snapshot!(refused::<HeaderName>(&["", "a b", "Host"]), @r#"
        "" is no name of an HTTP header
        "a b" is no name of an HTTP header
        Piton sets `host` itself
        "#);
        assert!(Pattern::from_text("prompt is TOO long").unwrap().0.is_match("Prompt is too long: 9 tokens"));
        insta::assert_snapshot!(refused::<Pattern>(&["", "(a", "a{9999999}"]), @r"
        an empty pattern would match every error
        not a regular expression: unclosed group
        not a regular expression: Compiled regex exceeds size limit of 10485760 bytes.
        ");
    }
}
