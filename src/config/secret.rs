//! Secrets: the file says where one is (`env:`, `file:`), and it is fetched when the configuration is compiled.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Located};
use super::reader::{FromToml, Reader, Refusal, Value};
use super::value::inline_schema;

/// Where a secret is, or (discouraged) what it is.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// `env:NAME`: an environment variable, read at start.
    Env(String),
    /// `file:PATH`: a file, relative to the configuration file's directory, watched for changes.
    File(PathBuf),
    /// The secret itself.
    Literal(SecretString),
}

/// One secret, or a list of at least one.
#[derive(Debug, Clone)]
pub struct SecretRefs(pub Vec<Located<SecretRef>>);

/// A client's secret: Piton only compares it, so its hash is enough.
#[derive(Debug, Clone)]
pub enum ClientSecret {
    Reference(SecretRef),
    /// `sha256:HEX`
    Sha256([u8; 32]),
}

/// A text that may hold a secret, so that it can be fetched like one; written out it is fine too.
#[derive(Debug, Clone)]
pub struct Indirect(pub SecretRef);

/// A file that holds a credential among other things: `file:PATH`.
#[derive(Debug, Clone)]
pub struct CredentialsFile(pub PathBuf);

/// A secret that could not be fetched. Never says what was found, only where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} {problem}")]
pub struct MissingSecret {
    /// For example `environment variable OPENAI_API_KEY`.
    pub place: String,
    /// For example `is not set`.
    pub problem: String,
}

impl SecretRef {
    /// Reads `env:`, `file:`, or the secret itself.
    pub fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some(name) = text.strip_prefix("env:") {
            let well_formed = !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace());
            let refusal = || Refusal::new("`env:` needs the name of an environment variable");
            return well_formed.then(|| Self::Env(name.to_owned())).ok_or_else(refusal);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let refusal = || Refusal::new("`file:` needs a path");
            return (!path.is_empty()).then(|| Self::File(path.into())).ok_or_else(refusal);
        }
        if text.trim().is_empty() {
            return Err(Refusal::new("an empty secret").help(HOW));
        }
        if text.starts_with("sha256:") {
            return Err(Refusal::new("a hash cannot be sent: the secret itself is needed here").help(HOW));
        }
        Ok(Self::Literal(SecretString::from(text)))
    }

    /// The secret. `base` is the directory of the configuration file; `env` looks up an environment variable.
    pub fn resolve(
        &self,
        base: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, MissingSecret> {
        let (place, found) = match self {
            Self::Literal(secret) => return Ok(secret.clone()),
            Self::Env(name) => {
                (format!("environment variable {name}"), env(name).ok_or_else(|| "is not set".to_owned()))
            }
            Self::File(path) => {
                let path = base.join(path);
                let text = std::fs::read_to_string(&path);
                (format!("file {}", path.display()), text.map_err(|error| format!("cannot be read: {error}")))
            }
        };
        match found {
            Ok(text) => {
                // Editors and `echo` end a file with a newline that is no part of the secret.
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.trim().is_empty() {
                    return Err(MissingSecret { place, problem: "is empty".to_owned() });
                }
                Ok(SecretString::from(secret))
            }
            Err(problem) => Err(MissingSecret { place, problem }),
        }
    }

    /// The file that is to be watched, if it is one.
    pub fn file(&self, base: &Path) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(base.join(path)),
            Self::Env(_) | Self::Literal(_) => None,
        }
    }
}

impl ClientSecret {
    /// The file that is to be watched, if it is one.
    pub fn file(&self, base: &Path) -> Option<PathBuf> {
        match self {
            Self::Reference(secret) => secret.file(base),
            Self::Sha256(_) => None,
        }
    }
}

/// The place only.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Literal(_) => f.write_str("a secret in the file itself"),
        }
    }
}

const EXPECTED: &str = "a secret such as \"env:OPENAI_API_KEY\" or \"file:/run/secrets/openai\"";
const HOW: &str = "write \"env:NAME\" for an environment variable or \"file:PATH\" for a file";

fn read(value: &Value<'_>, reader: &mut Reader) -> Option<SecretRef> {
    match value.get_ref() {
        DeValue::String(text) => {
            SecretRef::from_text(text).map_or_else(|refusal| reader.refuse(value, refusal), Some)
        }
        _ => reader.expected(EXPECTED, value),
    }
}

fn discourage(secret: &SecretRef, value: &Value<'_>, reader: &mut Reader) {
    if matches!(secret, SecretRef::Literal(_)) {
        let at = reader.at(value.span());
        let warning = "a secret stands in the file itself, and goes wherever the file goes";
        reader.report(Diagnostic::warning(&at, warning).help(HOW));
    }
}

impl FromToml for SecretRef {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let secret = read(value, reader)?;
        discourage(&secret, value, reader);
        Some(secret)
    }
}

impl FromToml for SecretRefs {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref().as_array() {
            Some(items) if items.is_empty() => {
                reader.refuse(value, Refusal::new("an empty list of secrets").help(HOW))
            }
            Some(_) => Vec::from_toml(value, reader).map(Self),
            None => {
                let at = reader.at(value.span());
                SecretRef::from_toml(value, reader).map(|value| Self(vec![Located { value, at }]))
            }
        }
    }
}

impl FromToml for Indirect {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        read(value, reader).map(Self)
    }
}

impl FromToml for ClientSecret {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let hex = value.get_ref().as_str().and_then(|text| text.strip_prefix("sha256:"));
        let Some(hex) = hex else {
            return SecretRef::from_toml(value, reader).map(Self::Reference);
        };
        let refusal = || {
            Refusal::new("`sha256:` needs 64 hexadecimal digits")
                .help("`printf %s \"$SECRET\" | sha256sum` prints them")
        };
        sha256(hex).map(Self::Sha256).or_else(|| reader.refuse(value, refusal()))
    }
}

fn sha256(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(hash)
}

impl FromToml for CredentialsFile {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const EXPECTED: &str = "a file such as \"file:/run/secrets/account.json\"";
        let Some(text) = value.get_ref().as_str() else { return reader.expected(EXPECTED, value) };
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Some(Self(path.into())),
            // What was written may be the credential itself.
            Some(_) | None => reader.refuse(value, Refusal::new(format!("expected {EXPECTED}"))),
        }
    }
}

inline_schema!(CredentialsFile, { "type": "string", "pattern": "^file:." });
inline_schema!(SecretRef, { "type": "string", "minLength": 1 });
inline_schema!(SecretRefs, {
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
    ],
});
inline_schema!(ClientSecret, { "type": "string", "minLength": 1 });
inline_schema!(Indirect, { "type": "string", "minLength": 1 });

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn resolve(text: &str, base: &Path) -> Result<String, String> {
        let env = |name: &str| match name {
            "SET" => Some("from env\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let secret = SecretRef::from_text(text).unwrap();
        match secret.resolve(base, &env) {
            Ok(secret) => Ok(secret.expose_secret().to_owned()),
            Err(missing) => Err(missing.to_string()),
        }
    }

    #[test]
    fn a_secret_is_fetched_from_where_the_file_says() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("key"), "from file \r\n").unwrap();
        std::fs::write(base.path().join("blank"), "\n").unwrap();
        assert_eq!(resolve("env:SET", base.path()).unwrap(), "from env");
        assert_eq!(resolve("file:key", base.path()).unwrap(), "from file ");
        assert_eq!(resolve("plain", base.path()).unwrap(), "plain");
        assert_eq!(resolve("env:UNSET", base.path()).unwrap_err(), "environment variable UNSET is not set");
        assert_eq!(resolve("env:EMPTY", base.path()).unwrap_err(), "environment variable EMPTY is empty");
        assert!(resolve("file:blank", base.path()).unwrap_err().ends_with("blank is empty"));
        assert!(resolve("file:none", base.path()).unwrap_err().contains("none cannot be read: "));
    }

    #[test]
    fn a_literal_is_never_printed() {
        let secret = SecretRef::from_text("hunter2").unwrap();
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
    }

    #[test]
    fn malformed_references_are_refused() {
        for wrong in ["", " ", "env:", "env:A B", "file:", "sha256:00"] {
            assert!(SecretRef::from_text(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        assert_eq!(sha256(&"0f".repeat(32)), Some([15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(sha256(wrong), None);
        }
    }
}
