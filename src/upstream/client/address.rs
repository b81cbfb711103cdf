//! Where a provider is, in the parts that requests are made of.

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use reqwest::Url;

/// A base URL, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `https://host:port`, the port only where it is not the usual one.
    origin: Uri,
    /// The API's prefix, without a slash at its end.
    prefix: String,
}

impl Address {
    /// `None`: it is no URL that can be called.
    pub fn parse(base_url: &str) -> Option<Self> {
        let url = Url::parse(base_url).ok()?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"))?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let origin = format!("{}://{host}{port}/", url.scheme()).parse().ok()?;
        let prefix = url.query().map_or_else(
            || url.path().trim_end_matches('/').to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        Some(Self { origin, prefix })
    }

    pub fn origin(&self) -> &Uri {
        &self.origin
    }

    pub fn is_https(&self) -> bool {
        self.origin.scheme() == Some(&Scheme::HTTPS)
    }

    /// For the `host` header.
    pub fn host(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.origin.authority()?.as_str()).ok()
    }

    /// What a request for `path` asks for; `None`: it cannot stand in a request.
    pub fn target(&self, path: &str) -> Option<PathAndQuery> {
        let mut target = String::with_capacity(self.prefix.len() + path.len());
        target.push_str(&self.prefix);
        target.push_str(path);
        PathAndQuery::from_maybe_shared(target).ok()
    }

    /// The whole URL of a target.
    pub fn url(&self, target: &PathAndQuery) -> Option<Url> {
        let authority = self.origin.authority()?;
        Url::parse(&format!("{}://{authority}{target}", self.origin.scheme_str()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_and_a_path_make_what_a_url_parser_makes_of_both() {
        for base in [
            "https://API.example.com",
            "http://127.0.0.1:8080/v1",
            "https://example.com:443/open ai/v1",
            "http://[::1]:9000",
            "https://bücher.example/v1",
        ] {
            for path in ["/chat/completions", "/model/a%3Ab/converse", "/x?api-version=2024-05-01"] {
                let address = Address::parse(base).unwrap();
                let target = address.target(path).unwrap();
                let whole = Url::parse(&format!("{base}{path}")).unwrap();
                assert_eq!(address.url(&target).unwrap(), whole);
                let query = whole.query().map_or_else(String::new, |query| format!("?{query}"));
                assert_eq!(target.as_str(), format!("{}{query}", whole.path()));
                let host = whole.port().map_or_else(String::new, |port| format!(":{port}"));
                let host = format!("{}{host}", whole.host_str().unwrap());
                assert_eq!(address.host().unwrap(), *host, "{base}");
            }
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for base in ["", "example.com", "ftp://example.com", "https://"] {
            assert_eq!(Address::parse(base), None, "{base}");
        }
        assert_eq!(Address::parse("http://h").unwrap().target("/a b\n"), None);
    }
}
