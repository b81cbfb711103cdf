//! Profiles of AWS's own files: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::sts::{Role, WebIdentity};
use super::{Keys, lifetime};
use crate::clock;
use crate::providers::path::segment;
use crate::reason::Failure;
use crate::upstream::auth::caller::{Ask, Caller, missing, refused, unreadable};
use crate::upstream::auth::renewed::Fetched;
use crate::upstream::auth::sigv4::hex;

/// Where the files are.
#[derive(Debug, Clone)]
pub struct ProfileFiles {
    pub credentials: PathBuf,
    pub config: PathBuf,
    /// Where `aws sso login` leaves what it got.
    pub sso_cache: Option<PathBuf>,
}

/// What the files say.
pub struct Profiles {
    /// Keys by profile; what the credentials file says stands over the other.
    profiles: HashMap<String, Section>,
    sessions: HashMap<String, Section>,
    sso_cache: Option<PathBuf>,
}

type Section = HashMap<String, SecretString>;

/// How a profile comes to its keys.
#[derive(Debug)]
pub enum Plan {
    Static(Keys),
    Role { role: Role, by: Box<Plan> },
    WebIdentity(WebIdentity),
    SignOn(SignOn),
}

/// Keys by what a person signed in for (IAM Identity Center).
#[derive(Debug)]
pub struct SignOn {
    token_file: PathBuf,
    region: String,
    account: String,
    role: String,
}

/// What `aws sso login` leaves.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedOn {
    access_token: SecretString,
    expires_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignOnAnswer {
    role_credentials: SignOnKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignOnKeys {
    access_key_id: String,
    secret_access_key: SecretString,
    session_token: SecretString,
    /// Milliseconds since the Unix epoch.
    expiration: u64,
}

/// A role may be opened by a role, and so on; but not in a circle.
const DEEPEST: usize = 5;
const SIGN_ON: &str = "AWS's sign-on service";

impl ProfileFiles {
    /// Reads both; one that is not there says nothing.
    pub async fn read(&self) -> Profiles {
        let credentials = tokio::fs::read_to_string(&self.credentials).await.unwrap_or_default();
        let config = tokio::fs::read_to_string(&self.config).await.unwrap_or_default();
        Profiles::new(&credentials, &config, self.sso_cache.clone())
    }

    /// The same, for those who may wait for a disk.
    pub fn read_now(&self) -> Profiles {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        Profiles::new(&read(&self.credentials), &read(&self.config), self.sso_cache.clone())
    }
}

impl Profiles {
    fn new(credentials: &str, config: &str, sso_cache: Option<PathBuf>) -> Self {
        let (mut profiles, mut sessions) = (HashMap::new(), HashMap::new());
        for (title, section) in sections(config) {
            if let Some(name) = title.strip_prefix("sso-session ") {
                sessions.insert(name.trim().to_owned(), section);
            } else {
                let name = title.strip_prefix("profile ").unwrap_or(&title).trim().to_owned();
                profiles.entry(name).or_insert_with(Section::new).extend(section);
            }
        }
        for (name, section) in sections(credentials) {
            profiles.entry(name).or_default().extend(section);
        }
        Self { profiles, sessions, sso_cache }
    }

    /// Where a profile's owner works.
    pub fn region(&self, name: &str) -> Option<&str> {
        get(self.profiles.get(name)?, "region")
    }

    /// How a profile comes to its keys; the error says what is in the way.
    pub fn plan(&self, name: &str) -> Result<Plan, String> {
        self.plan_within(name, DEEPEST)
    }

    fn plan_within(&self, name: &str, depth: usize) -> Result<Plan, String> {
        let in_the_way = |what: &str| format!("the AWS profile `{name}` {what}");
        let section = self.profiles.get(name).ok_or_else(|| in_the_way("is not there"))?;
        let depth = depth.checked_sub(1).ok_or_else(|| in_the_way("leads in a circle"))?;
        let own = |key: &str| get(section, key).map(str::to_owned);
        if let Some(arn) = own("role_arn") {
            if let Some(file) = own("web_identity_token_file") {
                let session = own("role_session_name");
                return Ok(Plan::WebIdentity(WebIdentity { role: arn, token_file: file.into(), session }));
            }
            let Some(source) = own("source_profile") else {
                return Err(in_the_way("has a `role_arn` without a `source_profile`"));
            };
            // A profile may name itself: then its own keys open the role.
            let by = if source == name { keys(section).map(Plan::Static) } else { None };
            let by = match by {
                Some(own) => own,
                None => self.plan_within(&source, depth)?,
            };
            let role = Role {
                arn,
                session: own("role_session_name"),
                external_id: own("external_id"),
                duration: own("duration_seconds"),
            };
            return Ok(Plan::Role { role, by: Box::new(by) });
        }
        if let Some(keys) = keys(section) {
            return Ok(Plan::Static(keys));
        }
        if own("sso_account_id").is_some() {
            return self.sign_on(section).ok_or_else(|| in_the_way("does not say all of its sign-on"));
        }
        Err(in_the_way(if own("credential_process").is_some() {
            "has a `credential_process`, which is not supported by this version"
        } else {
            "has no keys"
        }))
    }

    fn sign_on(&self, section: &Section) -> Option<Plan> {
        let session = get(section, "sso_session");
        let place = match session {
            Some(name) => self.sessions.get(name)?,
            None => section,
        };
        // The file is named by the session, or by where one signs in.
        let called = match session {
            Some(name) => name,
            None => get(place, "sso_start_url")?,
        };
        let name = hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, called.as_bytes()).as_ref());
        Some(Plan::SignOn(SignOn {
            token_file: self.sso_cache.as_ref()?.join(format!("{name}.json")),
            region: get(place, "sso_region")?.to_owned(),
            account: get(section, "sso_account_id")?.to_owned(),
            role: get(section, "sso_role_name")?.to_owned(),
        }))
    }
}

impl Plan {
    /// Carries it out.
    pub fn fetch<'a>(
        &'a self,
        caller: &'a Caller,
        sts: &'a str,
    ) -> BoxFuture<'a, Result<Fetched<Keys>, Failure>> {
        async move {
            match self {
                Self::Static(keys) => Ok(Fetched { value: keys.clone(), lifetime: None }),
                Self::Role { role, by } => {
                    let by = by.fetch(caller, sts).await?;
                    role.fetch(caller, sts, &by.value).await
                }
                Self::WebIdentity(identity) => identity.fetch(caller, sts).await,
                Self::SignOn(sign_on) => sign_on.fetch(caller).await,
            }
        }
        .boxed()
    }
}

impl SignOn {
    async fn fetch(&self, caller: &Caller) -> Result<Fetched<Keys>, Failure> {
        let signed_on = tokio::fs::read(&self.token_file).await.ok();
        let signed_on = signed_on.and_then(|text| serde_json::from_slice::<SignedOn>(&text).ok());
        let signed_on = signed_on.ok_or_else(|| missing("nobody has signed in: `aws sso login`"))?;
        if lifetime(&signed_on.expires_at, SIGN_ON)?.is_zero() {
            return Err(refused(SIGN_ON, "the sign-on has expired: `aws sso login`"));
        }
        let url = format!(
            "https://portal.sso.{}.amazonaws.com/federation/credentials?role_name={}&account_id={}",
            self.region,
            segment(&self.role),
            segment(&self.account)
        );
        let ask = Ask::get(&url).header("x-amz-sso_bearer_token", signed_on.access_token.expose_secret());
        let answer = caller.ask(ask, SIGN_ON).await?;
        let answer: SignOnAnswer = serde_json::from_slice(&answer).map_err(|_| unreadable(SIGN_ON))?;
        let SignOnKeys { access_key_id, secret_access_key, session_token, expiration } =
            answer.role_credentials;
        let keys = Keys { id: access_key_id, secret: secret_access_key, session: Some(session_token) };
        let lifetime = Duration::from_millis(expiration).saturating_sub(clock::since_epoch());
        Ok(Fetched { value: keys, lifetime: Some(lifetime) })
    }
}

fn get<'a>(section: &'a Section, key: &str) -> Option<&'a str> {
    section.get(key).map(ExposeSecret::expose_secret).filter(|value| !value.is_empty())
}

fn keys(section: &Section) -> Option<Keys> {
    Some(Keys {
        id: get(section, "aws_access_key_id")?.to_owned(),
        secret: get(section, "aws_secret_access_key")?.into(),
        session: get(section, "aws_session_token").map(Into::into),
    })
}

/// The sections of a file by their titles. Lines that are indented belong to the key above, and none of those is
/// asked for.
fn sections(text: &str) -> Vec<(String, Section)> {
    let mut sections: Vec<(String, Section)> = Vec::new();
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let title = title.0.split_whitespace().collect::<Vec<_>>().join(" ").replace(['"', '\''], "");
            sections.push((title, Section::new()));
        } else if let Some((key, value)) = line.split_once('=')
            && !is_indented
            && !line.starts_with(['#', ';'])
            && let Some((_, section)) = sections.last_mut()
        {
            // A comment may follow after a space.
            let value = value.split(" #").next().unwrap_or_default();
            let value = value.split(" ;").next().unwrap_or_default().trim();
            section.insert(key.trim().to_lowercase(), value.into());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
[default]
aws_access_key_id = AKIDEFAULT
aws_secret_access_key=secret/+= # not mine
[short]
aws_access_key_id = ASIASHORT
aws_secret_access_key = s
aws_session_token = t==
";
    const CONFIG: &str = "\
; mine
[default]
region = eu-west-1
s3 =
  region = us-east-1
[profile role]
role_arn = arn:aws:iam::1:role/r
source_profile = short
external_id = x
[profile \"own role\"]
role_arn = arn:aws:iam::1:role/o
source_profile = own role
aws_access_key_id = AKIDOWN
aws_secret_access_key = o
[profile web]
role_arn = arn:aws:iam::1:role/w
web_identity_token_file = /var/run/token
[profile round]
role_arn = a
source_profile = about
[profile about]
role_arn = b
source_profile = round
[profile process]
credential_process = /bin/true
[profile sso]
sso_session = corp
sso_account_id = 123
sso_role_name = dev
[sso-session corp]
sso_region = us-east-1
sso_start_url = https://corp.awsapps.com/start
";

    fn profiles() -> Profiles {
        Profiles::new(CREDENTIALS, CONFIG, Some("/cache".into()))
    }

    #[test]
    fn keys_of_a_profile() {
        let profiles = profiles();
        let Ok(Plan::Static(keys)) = profiles.plan("default") else { panic!("keys") };
        assert_eq!((keys.id.as_str(), keys.secret.expose_secret()), ("AKIDEFAULT", "secret/+="));
        assert!(keys.session.is_none() && !format!("{keys:?}").contains("secret/"));
        assert_eq!(profiles.region("default"), Some("eu-west-1"));
        let Ok(Plan::Static(keys)) = profiles.plan("short") else { panic!("keys") };
        assert_eq!(keys.session.unwrap().expose_secret(), "t==");
    }

    #[test]
    fn roles_are_opened_by_other_profiles_or_by_their_own_keys() {
        let profiles = profiles();
        let Ok(Plan::Role { role, by }) = profiles.plan("role") else { panic!("a role") };
        assert_eq!((role.arn.as_str(), role.external_id.as_deref()), ("arn:aws:iam::1:role/r", Some("x")));
        assert!(matches!(*by, Plan::Static(keys) if keys.id == "ASIASHORT"));
        let Ok(Plan::Role { by, .. }) = profiles.plan("own role") else { panic!("a role") };
        assert!(matches!(*by, Plan::Static(keys) if keys.id == "AKIDOWN"));
        let Ok(Plan::WebIdentity(identity)) = profiles.plan("web") else { panic!("a web identity") };
        assert_eq!(identity.token_file, Path::new("/var/run/token"));
    }

    #[test]
    fn a_sign_on_is_found_by_the_hash_of_its_session() {
        let Ok(Plan::SignOn(sign_on)) = profiles().plan("sso") else { panic!("a sign-on") };
        // printf corp | sha1sum
        assert_eq!(sign_on.token_file, Path::new("/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json"));
        assert_eq!(
            (sign_on.region.as_str(), sign_on.account.as_str(), sign_on.role.as_str()),
            ("us-east-1", "123", "dev")
        );
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let told = |name: &str| profiles().plan(name).unwrap_err();
        assert_eq!(told("nobody"), "the AWS profile `nobody` is not there");
        assert!(told("round").ends_with("leads in a circle"));
        assert!(told("process").contains("not supported by this version"));
    }
}
