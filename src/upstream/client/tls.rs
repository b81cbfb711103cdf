//! Whom Piton believes: the certificate authorities of the system, and those of the public web.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_platform_verifier::Verifier;

/// The trust store, read when it is first needed: that takes longer than the rest of a start.
#[derive(Debug, Default)]
pub struct Trust(Mutex<Option<Arc<ClientConfig>>>);

/// The trust store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unusable(#[from] rustls::Error);

impl Trust {
    /// How TLS is spoken, the same for all connections: its sessions are resumed.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Unusable> {
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*built {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(build()?);
        *built = Some(Arc::clone(&config));
        Ok(config)
    }
}

fn build() -> Result<ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    // With roots of its own Piton starts even where the system has none.
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // One HTTP/2 connection per host would make calls beyond its stream limit wait in silence.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
