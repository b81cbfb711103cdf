//! Who may come in.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};

use super::error::ApiError;
use crate::config::gateway::{CallerKey, Gateway};

/// The caller of a `/v1` route: one of the keys; nobody in particular where there are none.
pub fn caller<'a>(
    gateway: &'a Gateway,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Option<&'a CallerKey>, ApiError> {
    if gateway.keys.is_empty() {
        without_keys(gateway, headers, uri)?;
        return Ok(None);
    }
    let Some(secret) = secret(headers) else {
        return Err(ApiError::unauthorized(
            "An API key is needed: send it as `Authorization: Bearer <key>`.",
        ));
    };
    gateway.caller(secret).map(Some).ok_or_else(|| ApiError::unauthorized("This API key is not known here."))
}

/// Who reads what Piton tells of itself.
pub enum Reader<'a> {
    Admin,
    /// A caller, who may read its own receipts.
    Caller(&'a CallerKey),
}

/// Somebody on this machine, or with the admin key, or with a caller's key.
pub fn reader<'a>(
    gateway: &'a Gateway,
    headers: &HeaderMap,
    uri: &Uri,
    peer: SocketAddr,
) -> Result<Reader<'a>, ApiError> {
    let secret = secret(headers);
    if let (Some(admin), Some(secret)) = (&gateway.admin_key, secret)
        && admin.matches(secret)
    {
        return Ok(Reader::Admin);
    }
    if let Some(key) = secret.and_then(|secret| gateway.caller(secret)) {
        return Ok(Reader::Caller(key));
    }
    // A proxy on this machine, or a web page that found its way here, shows in the names.
    let local = peer.ip().to_canonical().is_loopback() && host(headers, uri).is_some_and(is_loopback);
    let relayed =
        ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    if local && !relayed && !has_foreign_origin(headers, uri) {
        return Ok(Reader::Admin);
    }
    Err(ApiError::unauthorized("The admin key is needed: send it as `Authorization: Bearer <key>`."))
}

/// The same where only the admin will do.
pub fn admin(gateway: &Gateway, headers: &HeaderMap, uri: &Uri, peer: SocketAddr) -> Result<(), ApiError> {
    match reader(gateway, headers, uri, peer)? {
        Reader::Admin => Ok(()),
        Reader::Caller(_) => Err(ApiError::forbidden("admin_only", "A caller's key does not open this.")),
    }
}

/// Without keys anybody who reaches the address may call; but no web page, which could spend the owner's money.
fn without_keys(gateway: &Gateway, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let is_local = host(headers, uri).is_some_and(is_loopback);
    if !is_local && !gateway.server.allow_anonymous {
        let message =
            "Without [[keys]] Piton answers on this machine only: the Host must be a loopback address.";
        return Err(ApiError::forbidden("host_not_allowed", message));
    }
    if has_foreign_origin(headers, uri) {
        let message = "Web pages of other origins may not call Piton without [[keys]].";
        return Err(ApiError::forbidden("origin_not_allowed", message));
    }
    Ok(())
}

/// The secret that a request brings, in any of the usual places.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, secret) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    });
    let named = || ["x-api-key", "api-key"].into_iter().find_map(|name| headers.get(name)?.to_str().ok());
    bearer.or_else(named)
}

/// The name under which the client reached Piton, without a port.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.host());
    }
    Some(without_port(headers.get(HOST)?.to_str().ok()?))
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether a web page of another place sends this.
fn has_foreign_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let Some(authority) = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1)) else {
        return true;
    };
    let name = without_port(authority);
    !is_loopback(name) && host(headers, uri) != Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_names_that_look_like_it() {
        for good in ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "LOCALHOST", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["localhost.evil.com", "127.0.0.1.evil.com", "0.0.0.0", "example.com", ""] {
            assert!(!is_loopback(bad), "{bad}");
        }
        assert_eq!(without_port("[::1]:4000"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("localhost:1"), "localhost");
    }
}
