//! Google's tokens.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;

fn key() -> (KeyPair, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    (pair, pem)
}

fn service_account(token_uri: &str) -> (KeyPair, Google) {
    let (pair, pem) = key();
    let file = json!({
        "type": "service_account",
        "project_id": "pro",
        "private_key_id": "kid-1",
        "private_key": pem,
        "client_email": "piton@pro.iam.gserviceaccount.com",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    });
    (pair, Google::from_json(&file.to_string()).unwrap())
}

fn access(source: Google) -> Access {
    let quota_project = source.quota_project().map(str::to_owned);
    Access::Token { token: Logins::default().google(source, caller()), quota_project }
}

#[tokio::test]
async fn a_service_account_signs_who_it_is_once_for_everyone() {
    let server = Server::start(|at, _| token(at, 3600)).await;
    let (pair, source) = service_account(&server.url("/token"));
    assert_eq!((source.project(), source.quota_project()), (Some("pro"), None));
    let access = access(source);
    let asked = (0..50).map(|_| bearer_of(&access));
    let shown = futures_util::future::join_all(asked).await;
    assert!(shown.iter().all(|shown| shown == "Bearer token-0"));
    assert_eq!(server.count(), 1);
    let [asked] = &server.received()[..] else { panic!("once") };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(asked.field("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let assertion = asked.field("assertion");
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let parts: Vec<Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT", "kid": "kid-1" }));
    let claims = &parts[1];
    assert_eq!(claims["iss"], "piton@pro.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], server.url("/token").as_str());
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    let now = clock::unix_seconds();
    assert!(claims["iat"].as_u64().unwrap().abs_diff(now) <= 5);
    assert_eq!(claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() + 3600);
}

#[tokio::test]
async fn a_token_that_has_ended_or_was_refused_is_replaced() {
    let server = Server::start(|at, _| token(at, if at == 0 { 1 } else { 3600 })).await;
    let access = access(service_account(&server.url("/")).1);
    assert_eq!(bearer_of(&access).await, "Bearer token-0");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (headers, shown) = authorized(&access).await.unwrap();
    assert_eq!(headers["authorization"], "Bearer token-1");
    assert_eq!(bearer_of(&access).await, "Bearer token-1");
    access.refused(&shown);
    assert_eq!(bearer_of(&access).await, "Bearer token-2");
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_user_refreshes_and_says_who_pays() {
    let server = Server::start(|at, _| token(at, 3600)).await;
    let file = json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "client/secret", "refresh_token": "1//re",
        "quota_project_id": "pays", "token_uri": server.url("/t"), "account": "",
    });
    let source = Google::from_json(&file.to_string()).unwrap();
    assert!(!format!("{source:?}").contains("1//re"));
    let (headers, _) = authorized(&access(source)).await.unwrap();
    assert_eq!(headers["authorization"], "Bearer token-0");
    assert_eq!(headers["x-goog-user-project"], "pays");
    let asked = &server.received()[0];
    let sent = ["grant_type", "client_id", "client_secret", "refresh_token"].map(|name| asked.field(name));
    assert_eq!(sent, ["refresh_token", "id", "client/secret", "1//re"]);
}

#[tokio::test]
async fn a_machine_asks_its_metadata_server() {
    let server = Server::start(|at, _| token(at, 3600)).await;
    let access = access(Google::Metadata { host: server.address.to_string() });
    assert_eq!(bearer_of(&access).await, "Bearer token-0");
    let asked = &server.received()[0];
    assert_eq!(asked.path, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!((asked.method.as_str(), asked.header("metadata-flavor")), ("GET", "Google"));
}

#[tokio::test]
async fn failures_say_whose_fault_it_is_and_nothing_else() {
    let server = Server::start(|at, _| match at {
        0 => (400, r#"{"error":"invalid_grant","error_description":"hunter2 is no assertion"}"#.to_owned()),
        1 => (503, "hunter2".to_owned()),
        2 => (200, r#"{"id_token":"hunter2"}"#.to_owned()),
        _ => token(at, 3600),
    })
    .await;
    let account = access(service_account(&server.url("/")).1);
    let mut told = Vec::new();
    for _ in 0..3 {
        let failure = authorized(&account).await.unwrap_err();
        assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        told.push((failure.class, failure.credential, failure.message));
    }
    assert_eq!((told[0].0, told[0].1), (Class::AuthFailed, true));
    assert!(told[0].2.contains("status 400: invalid_grant"), "{}", told[0].2);
    assert_eq!((told[1].0, told[2].0), (Class::ConnectFailed, Class::ConnectFailed));
    assert_eq!(bearer_of(&account).await, "Bearer token-3");
    let nobody = access(Google::Metadata { host: "127.0.0.1:1".to_owned() });
    assert_eq!(authorized(&nobody).await.unwrap_err().class, Class::ConnectFailed);
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let told = |file: Value| Google::from_json(&file.to_string()).unwrap_err();
    assert_eq!(told(json!([])), "is no credentials file in JSON");
    assert_eq!(told(json!({})), "has no `type`");
    assert_eq!(told(json!({ "type": "authorized_user", "client_id": "x" })), "has no `client_secret`");
    assert!(
        told(json!({ "type": "external_account" })).contains("\"external_account\", which is not supported")
    );
    let bad = told(json!({ "type": "service_account", "private_key": "hunter2" }));
    assert_eq!(bad, "has a `private_key` that is no RSA key in PEM");
}
