//! Clouds are called by credentials that open the way to a token: fetched once, kept, dropped when refused.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::chain::{PATH, ask};
use crate::support::gateway::{Builder, Gateway};
use crate::support::replies;
use crate::support::upstream::Upstream;

/// A server of numbered tokens.
async fn tokens() -> Upstream {
    Upstream::start(|at, _| {
        replies::json_reply(200, &json!({ "access_token": format!("token-{at}"), "expires_in": 3600 }))
    })
    .await
}

/// The key file of a service account whose tokens come from there.
fn account(token_uri: &str) -> String {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let file = json!({
        "type": "service_account", "project_id": "pro", "private_key_id": "swordfish", "private_key": pem,
        "client_email": "piton@pro.iam.gserviceaccount.com", "token_uri": token_uri,
    });
    file.to_string()
}

/// A chain of Vertex and another server.
fn vertex(cloud: &Upstream, other: &Upstream) -> String {
    format!(
        "[defaults]\nretries = 0\n[providers.vertex]\nbase_url = \"{}\"\nlocation = \"us-central1\"\n\
         credentials = \"file:account.json\"\nbreaker = false\n\
         [providers.other]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [chains]\nchain = [\"vertex/gemini-2.5-flash\", \"other/m\"]\n",
        cloud.url(),
        other.url()
    )
}

/// A gateway on a machine of no cloud.
fn nowhere(config: &str) -> Builder {
    let machines =
        ["GCE_METADATA_HOST", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"];
    machines.iter().fold(Gateway::with(config), |gateway, name| gateway.env(name, ""))
}

async fn target(gateway: &Gateway) -> String {
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-piton-target").unwrap().to_owned()
}

/// The credentials that an upstream was shown, in order.
fn shown(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.requests();
    requests.iter().map(|request| request.header("authorization").unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_token_is_fetched_once_and_outlives_a_reload() {
    let (google, other) = (tokens().await, Upstream::always(replies::openai_json("other")).await);
    let cloud = Upstream::always(replies::gemini_json("cloud")).await;
    let config = vertex(&cloud, &other);
    let gateway = nowhere(&config).file("account.json", &account(&google.url())).start().await;
    let gateway = std::sync::Arc::new(gateway);
    let mut asking = JoinSet::new();
    for _ in 0..24 {
        let gateway = std::sync::Arc::clone(&gateway);
        asking.spawn(async move { target(&gateway).await });
    }
    assert!(asking.join_all().await.iter().all(|target| target == "vertex/gemini-2.5-flash"));
    gateway.rewrite_config(&format!("{config}# changed\n"));
    let reloaded = gateway.post_json("/piton/api/reload", &json!({})).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    target(&gateway).await;
    assert_eq!((google.hits(), cloud.hits(), other.hits()), (1, 25, 0));
    assert!(shown(&cloud).iter().all(|shown| shown == "Bearer token-0"));
    assert_eq!(
        cloud.request(0).path,
        "/v1/projects/pro/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent"
    );
}

#[tokio::test]
async fn a_refused_token_is_dropped_and_a_refused_credential_falls_back_without_a_word_of_it() {
    let google = Upstream::start(|at, _| match at {
        0 | 1 => {
            replies::json_reply(200, &json!({ "access_token": format!("token-{at}"), "expires_in": 3600 }))
        }
        _ => replies::json_reply(400, &json!({ "error": "invalid_grant", "error_description": "swordfish" })),
    })
    .await;
    let other = Upstream::always(replies::openai_json("other")).await;
    let cloud = Upstream::start(|at, _| match at {
        0 => replies::gemini_json("cloud"),
        1 | 3 => {
            replies::gemini_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        }
        _ => replies::gemini_json("cloud again"),
    })
    .await;
    let config = vertex(&cloud, &other);
    let gateway = nowhere(&config).file("account.json", &account(&google.url())).start().await;
    let mut targets = Vec::new();
    for _ in 0..4 {
        targets.push(target(&gateway).await);
    }
    assert_eq!(targets, ["vertex/gemini-2.5-flash", "other/m", "vertex/gemini-2.5-flash", "other/m"]);
    let tokens = ["token-0", "token-0", "token-1", "token-1"].map(|token| format!("Bearer {token}"));
    assert_eq!(shown(&cloud), tokens);

    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(answer.header("x-piton-target"), Some("other/m"));
    assert_eq!(answer.header("x-piton-fallback-reason"), Some("auth_failed"));
    assert_eq!((google.hits(), cloud.hits()), (3, 4));
    for secret in ["swordfish", "token-1", "PRIVATE KEY"] {
        assert!(!gateway.stderr().contains(secret), "{}", gateway.stderr());
    }
}

#[tokio::test]
async fn without_a_credential_a_cloud_is_skipped_and_the_warning_names_what_to_set() {
    let other = Upstream::always(replies::openai_json("other")).await;
    let config = format!(
        "[providers.other]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [chains]\nchain = [\"vertex/gemini-2.5-flash\", \"bedrock/amazon.nova-lite-v1:0\", \"azure/x\", \"other/m\"]\n",
        other.url()
    );
    let gateway = nowhere(&config).start().await;
    let answer = gateway.post_json(PATH, &ask()).await;
    assert_eq!(answer.header("x-piton-target"), Some("other/m"), "{}", answer.text());
    let trail = answer.header("x-piton-trail").unwrap();
    assert_eq!(trail.matches("skip:no_credential").count(), 3, "{trail}");
    let told = gateway.stderr();
    for name in ["GOOGLE_APPLICATION_CREDENTIALS", "AWS_ACCESS_KEY_ID", "AZURE_OPENAI_API_KEY"] {
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[tokio::test]
async fn azure_takes_a_key_or_entras_token() {
    let classic = "[providers.azure]\napi_version = \"2024-06-01\"\n[chains]\nchain = [\"azure/my-4o\"]\n";
    let cloud = Upstream::always(replies::openai_json("cloud")).await;
    let with_key =
        nowhere(classic).env("AZURE_OPENAI_ENDPOINT", &cloud.url()).env("AZURE_OPENAI_API_KEY", "azure-key");
    let gateway = with_key.start().await;
    let mut body = ask();
    body["max_completion_tokens"] = json!(5);
    assert_eq!(gateway.post_json(PATH, &body).await.status, 200);
    let sent = cloud.request(0);
    assert_eq!(sent.path, "/openai/deployments/my-4o/chat/completions?api-version=2024-06-01");
    assert_eq!((sent.header("api-key"), sent.header("authorization")), (Some("azure-key"), None));
    assert_eq!((&sent.json()["max_tokens"], sent.json().get("max_completion_tokens")), (&json!(5), None));

    let entra = tokens().await;
    let with_entra = nowhere("[chains]\nchain = [\"azure/my-4o\"]\n")
        .env("AZURE_OPENAI_ENDPOINT", &cloud.url())
        .env("AZURE_AUTHORITY_HOST", &entra.url())
        .env("AZURE_TENANT_ID", "tenant")
        .env("AZURE_CLIENT_ID", "client")
        .env("AZURE_CLIENT_SECRET", "secret");
    let gateway = with_entra.start().await;
    for _ in 0..2 {
        assert_eq!(gateway.post_json(PATH, &body).await.status, 200);
    }
    let sent = cloud.request(1);
    assert_eq!(sent.path, "/openai/v1/chat/completions");
    assert_eq!((sent.header("api-key"), sent.header("authorization")), (None, Some("Bearer token-0")));
    assert_eq!(sent.json()["max_completion_tokens"], 5);
    assert_eq!((entra.hits(), entra.request(0).path.as_str()), (1, "/tenant/oauth2/v2.0/token"));
}

#[tokio::test]
async fn bedrock_is_signed_for_or_takes_its_own_key() {
    let cloud = Upstream::always(replies::status(503, "{}", &[])).await;
    let other = Upstream::always(replies::openai_json("other")).await;
    let config = format!(
        "[defaults]\nretries = 0\n[providers.bedrock]\nbase_url = \"{}\"\n\
         [providers.other]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [chains]\nchain = [\"bedrock/anthropic.claude-haiku-4-5-20251001-v1:0\", \"other/m\"]\n",
        cloud.url(),
        other.url()
    );
    let signing = nowhere(&config)
        .env("AWS_REGION", "eu-west-3")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "swordfish")
        .env("AWS_SESSION_TOKEN", "session");
    let gateway = signing.start().await;
    assert_eq!(target(&gateway).await, "other/m");
    let sent = cloud.request(0);
    assert_eq!(sent.path, "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse");
    let authorization = sent.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/eu-west-3/bedrock/aws4_request"), "{authorization}");
    assert_eq!(sent.header("x-amz-security-token"), Some("session"));
    assert!(!gateway.stderr().contains("swordfish"));

    let gateway = nowhere(&config).env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key").start().await;
    assert_eq!(target(&gateway).await, "other/m");
    assert_eq!(cloud.request(1).header("authorization"), Some("Bearer bedrock-key"));
}
