//! TLS of a listening port: certificate texts become a rustls configuration whose certificate can
//! be changed while it is used. Files are the caller's business.
//!
//! Invariants: one provider, aws-lc-rs; TLS 1.2 and 1.3 only; a certificate is shown only with the
//! key that fits it; connections that stand keep what they were shown.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::error::TlsError;

/// The TLS side of a listening port.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

impl ServerTls {
    /// Makes the server side of TLS from PEM texts: our certificate chain, its key and, when
    /// clients must show a certificate too, the authority that signed theirs; and the protocols
    /// that are spoken inside (ALPN, RFC 7301), none where there is no choice.
    ///
    /// # Errors
    /// A text that is not PEM, a key that does not fit, an unusable authority.
    pub fn new(
        chain: &[u8],
        key: &[u8],
        client_authority: Option<&[u8]>,
        protocols: &[&str],
    ) -> Result<ServerTls, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let shown = Arc::new(Shown { now: RwLock::new(certified(chain, key)?) });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Rustls)?;
        let builder = match client_authority {
            None => builder.with_no_client_auth(),
            Some(text) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(text, "the client authority")? {
                    roots.add(certificate).map_err(TlsError::Rustls)?;
                }
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().map_err(TlsError::Verifier)?)
            }
        };
        let resolver: Arc<dyn ResolvesServerCert> = shown.clone();
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(ServerTls { config: Arc::new(config), shown })
    }

    /// What an acceptor takes.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Shows another certificate to whoever connects from now on.
    ///
    /// # Errors
    /// As of [`ServerTls::new`]; the certificate then stays as it was.
    pub fn renew(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let certified = certified(chain, key)?;
        *self.shown.now.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

/// The certificate that is shown.
#[derive(Debug)]
struct Shown {
    now: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A chain with its key, when they fit.
fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let chain = certificates(chain, "the certificate chain")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Pem("the private key"))?;
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(TlsError::Rustls)
}

fn certificates(text: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(TlsError::Pem(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::ServerTls;
    use crate::error::TlsError;

    fn pair() -> (String, String) {
        let names = vec!["head-end.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn texts_that_are_no_certificates_are_refused_by_name() {
        for text in [&b""[..], b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA"] {
            let refused = ServerTls::new(text, b"", None, &[]);
            assert!(matches!(refused, Err(TlsError::Pem("the certificate chain"))));
        }
    }

    #[test]
    fn a_key_of_another_certificate_changes_nothing() {
        let ((chain, key), (other, foreign)) = (pair(), pair());
        assert!(ServerTls::new(chain.as_bytes(), foreign.as_bytes(), None, &[]).is_err());
        let tls = ServerTls::new(chain.as_bytes(), key.as_bytes(), None, &[]).expect("it fits");
        let before = tls.shown.now.read().expect("no panic").cert.clone();
        assert!(tls.renew(other.as_bytes(), key.as_bytes()).is_err());
        assert_eq!(tls.shown.now.read().expect("no panic").cert, before);
        tls.renew(other.as_bytes(), foreign.as_bytes()).expect("it fits");
        assert_ne!(tls.shown.now.read().expect("no panic").cert, before);
    }
}
