//! AWS's Security Token Service: keys of a role, for a while.

use std::path::PathBuf;

use http::header::AUTHORIZATION;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::{Keys, lifetime};
use crate::clock;
use crate::reason::Failure;
use crate::upstream::auth::caller::{Ask, Caller, missing, unreadable};
use crate::upstream::auth::renewed::Fetched;
use crate::upstream::auth::sigv4::{self, Scope, Unsigned};

/// A role that a token of another system opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    pub role: String,
    pub token_file: PathBuf,
    /// Shows in AWS's own logs.
    pub session: Option<String>,
}

/// A role that other keys open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub session: Option<String>,
    pub external_id: Option<String>,
    /// Seconds.
    pub duration: Option<String>,
}

const VERSION: (&str, &str) = ("Version", "2011-06-15");
const SESSION: &str = "piton";
const WHOSE: &str = "AWS's token service";

impl WebIdentity {
    pub(super) async fn fetch(&self, caller: &Caller, sts: &str) -> Result<Fetched<Keys>, Failure> {
        let token = tokio::fs::read_to_string(&self.token_file).await;
        let token = token.map_err(|_| missing("the web identity's token file cannot be read"))?;
        let token = SecretString::from(token.trim());
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity"),
            VERSION,
            ("RoleArn", &self.role),
            ("RoleSessionName", self.session.as_deref().unwrap_or(SESSION)),
            ("WebIdentityToken", token.expose_secret()),
        ];
        keys(caller.ask(Ask::form(sts, &fields), WHOSE).await?)
    }
}

impl Role {
    /// The role's keys, by those of another.
    pub async fn fetch(&self, caller: &Caller, sts: &str, by: &Keys) -> Result<Fetched<Keys>, Failure> {
        let mut fields = vec![
            ("Action", "AssumeRole"),
            VERSION,
            ("RoleArn", self.arn.as_str()),
            ("RoleSessionName", self.session.as_deref().unwrap_or(SESSION)),
        ];
        fields.extend(self.external_id.as_deref().map(|id| ("ExternalId", id)));
        fields.extend(self.duration.as_deref().map(|seconds| ("DurationSeconds", seconds)));
        let mut ask = Ask::form(sts, &fields);
        let url = Url::parse(sts).map_err(|_| missing("the token service's URL cannot be used"))?;
        let body = ask.body.as_deref().unwrap_or_default();
        let unsigned = Unsigned {
            method: "POST",
            url: &url,
            headers: &ask.headers,
            payload: sigv4::payload_hash([body]),
        };
        let scope = Scope { region: region_of(&url), service: "sts" };
        let signed = sigv4::sign(&unsigned, by, scope, clock::since_epoch());
        let signed = signed.ok_or_else(|| missing("the keys hold characters that no header can carry"))?;
        ask.headers.remove(AUTHORIZATION);
        ask.headers.extend(signed);
        keys(caller.ask(ask, WHOSE).await?)
    }
}

/// `sts.eu-west-1.amazonaws.com` is of that region; the one without a region counts as that of us-east-1.
fn region_of(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    let region = host.strip_prefix("sts.").and_then(|rest| rest.split_once(".amazonaws.com"));
    region.map_or("us-east-1", |(region, _)| region)
}

/// The keys of an answer in XML. None of what is read can hold an escaped character.
fn keys(answer: Vec<u8>) -> Result<Fetched<Keys>, Failure> {
    let answer = SecretString::from(String::from_utf8(answer).map_err(|_| unreadable(WHOSE))?);
    let between = |name: &str| {
        let (_, rest) = answer.expose_secret().split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
    };
    let found = || {
        let id = between("AccessKeyId")?.to_owned();
        let secret = SecretString::from(between("SecretAccessKey")?);
        let session = SecretString::from(between("SessionToken")?);
        Some((Keys { id, secret, session: Some(session) }, between("Expiration")?))
    };
    let (keys, end) = found().ok_or_else(|| unreadable(WHOSE))?;
    Ok(Fetched { lifetime: Some(lifetime(end, WHOSE)?), value: keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_that_of_the_host() {
        let region = |url: &str| region_of(&Url::parse(url).unwrap()).to_owned();
        assert_eq!(region("https://sts.eu-west-1.amazonaws.com"), "eu-west-1");
        assert_eq!(region("https://sts.cn-north-1.amazonaws.com.cn"), "cn-north-1");
        assert_eq!(region("https://sts.amazonaws.com"), "us-east-1");
        assert_eq!(region("http://127.0.0.1:9"), "us-east-1");
    }
}
