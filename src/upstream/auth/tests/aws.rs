//! AWS's keys.

use super::super::aws::{Container, ContainerToken, Keys, ProfileFiles, WebIdentity};
use super::*;

fn access(source: Aws) -> Access {
    Access::Signature {
        keys: Logins::default().aws(source, caller()),
        region: "us-east-1".to_owned(),
        service: "bedrock",
    }
}

/// The key id that a request is signed with, and the session that it shows.
async fn signed(access: &Access) -> (String, String) {
    let (headers, _) = authorized(access).await.unwrap();
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let line = header("authorization");
    let id = line.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap().split('/').next().unwrap();
    assert!(line.contains("/us-east-1/bedrock/aws4_request, SignedHeaders="), "{line}");
    assert_eq!(header("x-amz-date").len(), 16);
    (id.to_owned(), header("x-amz-security-token").to_owned())
}

fn pair(id: &str, session: &str) -> (String, String) {
    (id.to_owned(), session.to_owned())
}

/// Keys as the servers of machines and containers give them, good until the end of the century.
fn keys(at: usize) -> (u16, String) {
    let end = "2099-12-31T23:59:59Z";
    (
        200,
        format!(
            r#"{{"Code":"Success","AccessKeyId":"ASIA{at}","SecretAccessKey":"s","Token":"t{at}","Expiration":"{end}"}}"#
        ),
    )
}

/// Keys as the token service gives them.
fn role_keys(at: usize) -> (u16, String) {
    (
        200,
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{at}</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>t{at}</SessionToken>\
         <Expiration>2099-12-31T23:59:59.000Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ),
    )
}

#[tokio::test]
async fn keys_that_are_written_sign_at_once() {
    let keys = Keys { id: "AKID".to_owned(), secret: "hunter2".into(), session: Some("session".into()) };
    let access = access(Aws::Static(keys));
    assert_eq!(signed(&access).await, pair("AKID", "session"));
    assert!(!format!("{access:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_ec2_machine_must_put_before_it_may_get() {
    let server = Server::start(|at, asked| match asked.path.as_str() {
        "/latest/api/token" => (200, "right".to_owned()),
        "/latest/meta-data/iam/security-credentials/" => (200, "the-role\n".to_owned()),
        _ => keys(at),
    })
    .await;
    let access = access(Aws::Metadata { root: server.url("") });
    assert_eq!(signed(&access).await, pair("ASIA2", "t2"));
    let asked = (0..20).map(|_| signed(&access));
    assert!(futures_util::future::join_all(asked).await.iter().all(|it| *it == pair("ASIA2", "t2")));
    let [token, roles, role] = &server.received()[..] else { panic!("three") };
    assert_eq!((token.method.as_str(), token.header("x-aws-ec2-metadata-token-ttl-seconds")), ("PUT", "300"));
    assert_eq!(roles.header("x-aws-ec2-metadata-token"), "right");
    assert_eq!(role.path, "/latest/meta-data/iam/security-credentials/the-role");
}

#[tokio::test]
async fn a_container_shows_its_token() {
    let server = Server::start(|at, _| keys(at)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "pod-token\n").unwrap();
    let access = access(Aws::Container(Container {
        url: server.url("/v1/credentials"),
        token: Some(ContainerToken::File(file)),
    }));
    assert_eq!(signed(&access).await, pair("ASIA0", "t0"));
    let (_, shown) = authorized(&access).await.unwrap();
    access.refused(&shown);
    assert_eq!(signed(&access).await, pair("ASIA1", "t1"));
    assert!(server.received().iter().all(|asked| asked.header("authorization") == "pod-token"));
}

#[tokio::test]
async fn a_web_identity_opens_a_role() {
    let server = Server::start(|at, _| role_keys(at)).await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "web.token").unwrap();
    let role = "arn:aws:iam::1:role/r".to_owned();
    let identity = WebIdentity { role, token_file, session: None };
    let access = access(Aws::WebIdentity { identity, sts: server.url("/") });
    assert_eq!(signed(&access).await, pair("ASIA0", "t0"));
    let asked = &server.received()[0];
    let sent = ["Action", "RoleArn", "RoleSessionName", "WebIdentityToken"].map(|name| asked.field(name));
    assert_eq!(sent, ["AssumeRoleWithWebIdentity", "arn:aws:iam::1:role/r", "piton", "web.token"]);
    assert_eq!(asked.header("authorization"), "");
}

#[tokio::test]
async fn a_profile_is_read_anew_whenever_keys_are_needed() {
    let server = Server::start(|at, _| role_keys(at)).await;
    let folder = tempfile::tempdir().unwrap();
    let files = ProfileFiles {
        credentials: folder.path().join("credentials"),
        config: folder.path().join("config"),
        sso_cache: None,
    };
    let write = |text: &str| std::fs::write(&files.credentials, text).unwrap();
    write("[work]\naws_access_key_id = AKID1\naws_secret_access_key = s\n");
    let source =
        |name: &str| Aws::Profile { files: files.clone(), name: name.to_owned(), sts: server.url("/") };
    let work = access(source("work"));
    assert_eq!(signed(&work).await, pair("AKID1", ""));
    write("[work]\naws_access_key_id = AKID2\naws_secret_access_key = s\n");
    let (_, shown) = authorized(&work).await.unwrap();
    work.refused(&shown);
    assert_eq!(signed(&work).await, pair("AKID2", ""));

    std::fs::write(&files.config, "[profile role]\nrole_arn = arn:r\nsource_profile = work\n").unwrap();
    let role = access(source("role"));
    assert_eq!(signed(&role).await, pair("ASIA0", "t0"));
    let asked = &server.received()[0];
    assert_eq!(
        (asked.field("Action"), asked.field("RoleArn")),
        ("AssumeRole".to_owned(), "arn:r".to_owned())
    );
    assert!(asked.header("authorization").contains("Credential=AKID2/"), "{asked:?}");
    assert!(asked.header("authorization").contains("/us-east-1/sts/aws4_request"), "{asked:?}");

    write("[other]\n");
    let gone = authorized(&access(source("work"))).await.unwrap_err();
    assert_eq!(gone.message, "No credential: the AWS profile `work` is not there.");
    assert_eq!((gone.class, gone.credential), (Class::AuthFailed, true));
}
