//! TLS for the second port: certificate texts become a rustls configuration. Files are the
//! caller's business. Invariant: one provider, aws-lc-rs; TLS 1.2 and 1.3 only.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::error::TlsError;

/// Makes the server side of TLS from PEM texts: our certificate chain, its key and, when clients
/// must show a certificate too, the authority that signed theirs.
///
/// # Errors
/// A text that is not PEM, a key that does not fit, an unusable authority.
pub fn server_config(
    chain: &[u8],
    key: &[u8],
    client_authority: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(chain, "the certificate chain")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Pem("the private key"))?;
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
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(TlsError::Verifier)?)
        }
    };
    builder.with_single_cert(chain, key).map(Arc::new).map_err(TlsError::Rustls)
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
    use super::server_config;
    use crate::error::TlsError;

    #[test]
    fn texts_that_are_no_certificates_are_refused_by_name() {
        for text in [&b""[..], b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA"] {
            let refused = server_config(text, b"", None);
            assert!(matches!(refused, Err(TlsError::Pem("the certificate chain"))));
        }
    }
}
