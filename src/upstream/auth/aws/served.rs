//! Servers on the machine's own link that hand out keys: of ECS, of EKS, of EC2.

use std::path::PathBuf;

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Keys, lifetime};
use crate::reason::Failure;
use crate::upstream::auth::caller::{Ask, Caller, missing, unreadable};
use crate::upstream::auth::renewed::Fetched;

/// The server of a container.
#[derive(Debug, Clone)]
pub struct Container {
    pub url: String,
    pub token: Option<ContainerToken>,
}

/// What is shown to the server of a container.
#[derive(Debug, Clone)]
pub enum ContainerToken {
    Text(SecretString),
    /// Read anew each time.
    File(PathBuf),
}

/// What both kinds of server answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: SecretString,
    token: Option<SecretString>,
    expiration: Option<String>,
}

const CONTAINER: &str = "the container's credentials server";
const MACHINE: &str = "the EC2 metadata server";
/// Seconds that the right to ask the metadata server lasts: it is used at once.
const RIGHT: &str = "300";

impl Container {
    pub(super) async fn fetch(&self, caller: &Caller) -> Result<Fetched<Keys>, Failure> {
        let mut ask = Ask::get(&self.url);
        let token = match &self.token {
            None => None,
            Some(ContainerToken::Text(token)) => Some(token.clone()),
            Some(ContainerToken::File(path)) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|_| missing("the container's token file cannot be read"))?;
                Some(SecretString::from(text.trim()))
            }
        };
        if let Some(token) = token {
            ask = ask.header("authorization", token.expose_secret());
        }
        keys(&caller.ask(ask, CONTAINER).await?, CONTAINER)
    }
}

/// The keys of the role that an EC2 machine has: the server gives nothing to who cannot `PUT` first.
pub async fn from_machine(caller: &Caller, root: &str) -> Result<Fetched<Keys>, Failure> {
    let url = format!("{root}/latest/api/token");
    let ask = Ask { method: Method::PUT, ..Ask::get(&url) };
    let right = caller.ask(ask.header("x-aws-ec2-metadata-token-ttl-seconds", RIGHT), MACHINE).await?;
    let right = text(right)?;
    let roles = format!("{root}/latest/meta-data/iam/security-credentials/");
    let ask = |url| Ask::get(url).header("x-aws-ec2-metadata-token", right.trim());
    let role = text(caller.ask(ask(&roles), MACHINE).await?)?;
    let role = role.lines().next().map(str::trim).filter(|role| !role.is_empty());
    let role = role.ok_or_else(|| missing("this machine has no role"))?;
    keys(&caller.ask(ask(&format!("{roles}{role}")), MACHINE).await?, MACHINE)
}

fn keys(answer: &[u8], whose: &str) -> Result<Fetched<Keys>, Failure> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| unreadable(whose))?;
    let lifetime = answer.expiration.map(|end| lifetime(&end, whose)).transpose()?;
    let keys = Keys { id: answer.access_key_id, secret: answer.secret_access_key, session: answer.token };
    Ok(Fetched { value: keys, lifetime })
}

fn text(answer: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(answer).map_err(|_| unreadable(MACHINE))
}
