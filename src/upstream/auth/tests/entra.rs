//! Entra's tokens.

use super::super::entra::{Application, Managed, ManagedAt};
use super::*;

fn application(server: &Server) -> Application {
    Application { authority: server.url(""), tenant: "ten ant".to_owned(), client: "client-id".to_owned() }
}

fn access(source: Entra) -> Access {
    Access::Token { token: Logins::default().entra(source, caller()), quota_project: None }
}

#[tokio::test]
async fn an_application_shows_its_secret() {
    let server = Server::start(|at, _| token(at, 3600)).await;
    let source = Entra::Secret { application: application(&server), secret: "s&cret".into() };
    assert!(!format!("{source:?}").contains("s&cret"));
    let access = access(source);
    let asked = (0..20).map(|_| bearer_of(&access));
    assert!(futures_util::future::join_all(asked).await.iter().all(|shown| shown == "Bearer token-0"));
    let [asked] = &server.received()[..] else { panic!("once") };
    assert_eq!(asked.path, "/ten%20ant/oauth2/v2.0/token");
    let sent = ["grant_type", "client_id", "client_secret", "scope"].map(|name| asked.field(name));
    let scope = "https://cognitiveservices.azure.com/.default";
    assert_eq!(sent, ["client_credentials", "client-id", "s&cret", scope]);
}

#[tokio::test]
async fn a_workload_shows_the_token_of_its_file_as_it_is_then() {
    let server = Server::start(|at, _| token(at, 3600)).await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "federated-1\n").unwrap();
    let access =
        access(Entra::Workload { application: application(&server), token_file: token_file.clone() });
    let (_, shown) = authorized(&access).await.unwrap();
    std::fs::write(&token_file, "federated-2\n").unwrap();
    access.refused(&shown);
    assert_eq!(bearer_of(&access).await, "Bearer token-1");
    let sent: Vec<String> = server.received().iter().map(|asked| asked.field("client_assertion")).collect();
    assert_eq!(sent, ["federated-1", "federated-2"]);
    std::fs::remove_file(&token_file).unwrap();
    let (_, shown) = authorized(&access).await.unwrap();
    access.refused(&shown);
    let failure = authorized(&access).await.unwrap_err();
    assert_eq!((failure.class, failure.credential), (Class::AuthFailed, true));
}

#[tokio::test]
async fn a_managed_identity_asks_its_own_server() {
    let server = Server::start(|at, _| {
        let soon = clock::unix_seconds() + 3600;
        (200, format!(r#"{{"access_token":"token-{at}","expires_on":"{soon}"}}"#))
    })
    .await;
    let resource = "resource=https%3A%2F%2Fcognitiveservices.azure.com";
    let client = Some("id".to_owned());
    let at = ManagedAt::Endpoint { url: server.url("/msi/token"), header: "word".into() };
    let service = access(Entra::Managed(Managed { client, at }));
    assert_eq!(bearer_of(&service).await, "Bearer token-0");
    assert_eq!(bearer_of(&service).await, "Bearer token-0");
    let machine =
        access(Entra::Managed(Managed { client: None, at: ManagedAt::Metadata { root: server.url("") } }));
    assert_eq!(bearer_of(&machine).await, "Bearer token-1");
    let [first, second] = &server.received()[..] else { panic!("twice") };
    assert_eq!(first.path, format!("/msi/token?api-version=2019-08-01&{resource}&client_id=id"));
    assert_eq!(first.header("x-identity-header"), "word");
    assert_eq!(second.path, format!("/metadata/identity/oauth2/token?api-version=2018-02-01&{resource}"));
    assert_eq!(second.header("metadata"), "true");
}
