//! Secrets masked in what people see: a diagnostic prints lines of the file, and a log keeps them.
//!
//! `env:` and `file:` references stay, since they say where the secret is and not what it is. Every masked
//! byte becomes one `*`, so that carets stay under what they point at.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The last part of a key whose text is secret: `api_key`, `x-auth-token`, `PASSWORD`.
const SECRET_KEYS: [&str; 9] =
    ["key", "keys", "secret", "token", "password", "passwd", "credential", "credentials", "authorization"];
/// How vendors begin their keys.
const KEY_PREFIXES: [&str; 14] = [
    "sk-", "sk_", "pk-", "pk_", "gsk_", "xai-", "AIza", "hf_", "nvapi-", "fw_", "tgp_", "csk-", "pplx-",
    "r8_",
];
/// Shorter words with such a beginning are names.
const SHORTEST_KEY: usize = 12;
/// Letters and digits without a break: no model is named like this.
const LONG_RANDOM: usize = 32;

/// A configuration file with its secrets masked, byte for byte as long as before.
pub fn source(text: &str) -> String {
    let mut secret = key_like(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    table(document.get_ref(), false, &mut secret);
    if !errors.is_empty() {
        // The tree may lack what stands on a broken line.
        secret.extend(assigned(text));
    }
    mask(text, &secret)
}

/// Any other text with what looks like a key masked.
pub fn text(text: &str) -> String {
    mask(text, &key_like(text))
}

fn table(table: &DeTable<'_>, secret: bool, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        // `[[keys]]` is a list of tables that hold one secret each; their other members are no secrets.
        let client_keys = key.get_ref() == "keys" && holds_tables(value.get_ref());
        let secret = secret || is_secret_key(key.get_ref()) && !client_keys;
        self::value(value.get_ref(), value.span(), secret, found);
    }
}

fn value(value: &DeValue<'_>, span: Range<usize>, secret: bool, found: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(members) => table(members, secret, found),
        DeValue::Array(items) => {
            for item in items {
                self::value(item.get_ref(), item.span(), secret, found);
            }
        }
        DeValue::String(text) if secret && !is_reference(text) => found.push(span),
        DeValue::Integer(_) | DeValue::Float(_) if secret => found.push(span),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

fn holds_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(|item| item.get_ref().is_table()))
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let last = key.rsplit(['_', '-', '.']).next().unwrap_or(&key);
    key == "headers" || key == "proxy" || last == "apikey" || SECRET_KEYS.contains(&last)
}

fn is_reference(value: &str) -> bool {
    value.starts_with("env:") || value.starts_with("file:")
}

/// What follows `=` after a secret's key, to the end of the line.
fn assigned(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let line_start = text[..equals].rfind('\n').map_or(0, |newline| newline + 1);
        let key = text[line_start..equals].trim_end().trim_end_matches(['"', '\'']);
        let key = key.rsplit([' ', '\t', '{', ',', '"', '\'']).next().unwrap_or(key);
        let line_end = text[equals..].find('\n').map_or(text.len(), |length| equals + length);
        let value = text[equals + 1..line_end].trim_start().trim_start_matches(['"', '\'']);
        if is_secret_key(key) && !is_reference(value) {
            found.push(equals + 1..line_end);
        }
    }
    found
}

/// Words that look like a key, wherever they stand, and what a URL says before its `@`.
fn key_like(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (range, word) in words(text, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        let vendor = word.len() >= SHORTEST_KEY && KEY_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        let before = range.start.checked_sub("bearer ".len()).and_then(|start| text.get(start..range.start));
        let bearer = before.is_some_and(|before| before.eq_ignore_ascii_case("bearer "));
        if vendor || bearer {
            found.push(range);
        }
    }
    for (range, word) in words(text, |c| c.is_ascii_alphanumeric()) {
        let mixed = word.contains(|c: char| c.is_ascii_digit()) && word.contains(|c: char| c.is_alphabetic());
        if word.len() >= LONG_RANDOM && mixed {
            found.push(range);
        }
    }
    for (scheme, separator) in text.match_indices("://") {
        let start = scheme + separator.len();
        let authority = text[start..].split(['/', '"', '\'', ' ', '\n']).next().unwrap_or_default();
        if let Some(end) = authority.rfind('@') {
            found.push(start..start + end);
        }
    }
    found
}

fn words(text: &str, part: fn(char) -> bool) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.split(move |c| !part(c)).filter(|word| !word.is_empty()).map(|word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        (start..start + word.len(), word)
    })
}

/// Quotes and line breaks stay, so that the text keeps its shape.
fn mask(text: &str, secret: &[Range<usize>]) -> String {
    let mut masked = String::with_capacity(text.len());
    for (index, c) in text.char_indices() {
        if !secret.iter().any(|range| range.contains(&index)) || matches!(c, '"' | '\'' | '\n' | '\r') {
            masked.push(c);
        } else {
            masked.extend(std::iter::repeat_n('*', c.len_utf8()));
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_references_stay() {
        let file = r#"
[server]
admin_key = "hunter2"
listen = "127.0.0.1:4000"
[providers.a]
api_key = ["env:A", "plain é"]
headers = { "x-org" = "acme", "x-auth" = "file:/run/auth" }
base_url = "https://user:pass@example.com/v1"
apikey = 12345
[[keys]]
name = "checkout"
secret = 'tiny'
[chains]
a = ["sk-proj-abcdefgh1234", "together/meta-llama/Llama-3.3-70B-Instruct-Turbo"]
"#;
        let masked = source(file);
        assert_eq!(masked.len(), file.len());
        insta::assert_snapshot!(masked, @r#"
        [server]
        admin_key = "*******"
        listen = "127.0.0.1:4000"
        [providers.a]
        api_key = ["env:A", "********"]
        headers = { "x-org" = "****", "x-auth" = "file:/run/auth" }
        base_url = "https://*********@example.com/v1"
        apikey = *****
        [[keys]]
        name = "checkout"
        secret = '****'
        [chains]
        a = ["********************", "together/meta-llama/Llama-3.3-70B-Instruct-Turbo"]
        "#);
    }

    #[test]
    fn broken_lines_are_masked_too() {
        let file = "[providers.a]\napi_key = hunter2 oops\nsecret = \"env:A\nx = { token = \"abc }\n";
        insta::assert_snapshot!(source(file), @r#"
        [providers.a]
        api_key =*************
        secret = "env:A
        x = { token =*"*****
        "#);
    }

    #[test]
    fn keys_in_messages_are_masked_and_names_are_not() {
        assert_eq!(text("no model `sk-ant-api03-abcdefg`"), "no model `********************`");
        assert_eq!(text("Authorization: Bearer abc"), "Authorization: Bearer ***");
        assert_eq!(text("d0763edaa9d9bd2a9516280e9044d885"), "*".repeat(32));
        for plain in ["claude-sonnet-4-5-20250929", "sk-model", "accounts/fireworks/models/llama-v3p1-405b"] {
            assert_eq!(text(plain), plain);
        }
    }
}
