//! Who may speak on node links: mutual TLS 1.3, one certificate authority, names from node ids.
//!
//! Not here: making certificates (the node's `init` does that).
//! Invariants:
//! 1. Both ends show a certificate of the cluster's authority, and it names the very node that is
//!    meant: its DNS name is `node_dns_name(id)`.
//! 2. Every refusal is counted by reason and logged at most once a minute for each reason.
//! 3. The private key is never printed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::IntCounterVec;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{Error as PemError, PemObject},
};

use crate::error::OpenError;

/// Application protocol of node links; another major wire version gets another name.
const ALPN: &[u8] = b"holdfast-node/1";

/// A refusal of one kind is logged at most once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The DNS name that the certificate of node `id` must carry as subject alternative name.
///
/// Certificates must be usable for both ends of TLS (extended key usage client and server).
pub fn node_dns_name(id: u64) -> String {
    format!("node-{id}.holdfast.internal")
}

/// Certificates and key of one node.
pub struct Identity {
    authority: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// From PEM text: certificate authority, node certificate (with chain), private key.
    pub fn from_pem(authority: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, OpenError> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| OpenError::Identity(format!("private key: {}", told(&error))))?;
        Ok(Self {
            authority: certificates("certificate authority", authority)?,
            chain: certificates("node certificate", chain)?,
            key,
        })
    }

    /// From DER octets.
    pub fn from_der(
        authority: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        Self { authority: vec![authority], chain, key }
    }

    /// The number of the node that the certificate names, if it names one.
    pub(super) fn node(&self) -> Option<u64> {
        self.chain.first().and_then(named_node)
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, OpenError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authority {
            roots
                .add(authority.clone())
                .map_err(|error| OpenError::Identity(format!("certificate authority: {error}")))?;
        }
        Ok(Arc::new(roots))
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(OpenError::Identity(format!("{what}: no certificate in the PEM text")))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(OpenError::Identity(format!("{what}: {}", told(&error)))),
    }
}

/// PEM errors can quote their input; a key file's must not reach a log.
fn told(error: &PemError) -> &'static str {
    match error {
        PemError::NoItemsFound => "nothing of this kind in the PEM text",
        PemError::Base64Decode(_) => "the PEM text is not base64",
        PemError::MissingSectionEnd { .. } => "the PEM text has no end line",
        PemError::IllegalSectionStart { .. } => "the PEM text has a bad start line",
        _ => "the PEM text cannot be read",
    }
}

/// Counts refused peers and logs each cause once a minute.
#[derive(Debug)]
pub struct Refusals {
    counter: IntCounterVec,
    logged: Mutex<HashMap<&'static str, Instant>>,
}

impl Refusals {
    /// Over the counter `holdfast_cluster_peers_refused_total{reason}`.
    pub fn new(counter: IntCounterVec) -> Self {
        Self { counter, logged: Mutex::new(HashMap::new()) }
    }

    /// Counts one refusal; `detail` says which side and what was wrong, in public terms.
    pub fn note(&self, reason: &'static str, detail: &str) {
        self.counter.with_label_values(&[reason]).inc();
        if self.may_log(reason, Instant::now()) {
            tracing::warn!(reason, detail, "a peer was refused; further ones are only counted");
        }
    }

    fn may_log(&self, reason: &'static str, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.get(reason).is_none_or(|last| now.duration_since(*last) >= LOG_EVERY);
        if due {
            logged.insert(reason, now);
        }
        due
    }
}

/// The counter's label for what rustls found wrong with a certificate.
fn reason_of(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(cause) => match cause {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => "foreign_authority",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "wrong_node"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => "out_of_date",
            _ => "bad_certificate",
        },
        _ => "bad_certificate",
    }
}

/// The number of the node that a certificate names, if it names one.
pub fn named_node(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    certificate.valid_dns_names().find_map(node_of_dns_name)
}

/// Reads what `node_dns_name` wrote.
fn node_of_dns_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix("node-")?.strip_suffix(".holdfast.internal")?;
    let id = number.parse().ok()?;
    (id > 0 && node_dns_name(id) == name).then_some(id)
}

/// TLS settings of the dialling side.
pub fn client_config(
    identity: &Identity,
    refusals: &Arc<Refusals>,
) -> Result<ClientConfig, OpenError> {
    let provider = provider();
    let inner = WebPkiServerVerifier::builder_with_provider(identity.roots()?, provider.clone())
        .build()
        .map_err(|error| OpenError::Identity(format!("certificate authority: {error}")))?;
    let verifier = Arc::new(CountedServer { inner, refusals: refusals.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| OpenError::Identity(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| OpenError::Identity(format!("node certificate: {error}")))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the certificate check that counts refusals.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// TLS settings of the accepting side.
pub fn server_config(
    identity: &Identity,
    refusals: &Arc<Refusals>,
) -> Result<ServerConfig, OpenError> {
    let provider = provider();
    let inner = WebPkiClientVerifier::builder_with_provider(identity.roots()?, provider.clone())
        .build()
        .map_err(|error| OpenError::Identity(format!("certificate authority: {error}")))?;
    let verifier = Arc::new(CountedClient { inner, refusals: refusals.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| OpenError::Identity(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| OpenError::Identity(format!("node certificate: {error}")))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct CountedServer {
    inner: Arc<WebPkiServerVerifier>,
    refusals: Arc<Refusals>,
}

impl ServerCertVerifier for CountedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .inspect_err(|error| {
                let detail = format!("dialling {}: {error}", server_name.to_str());
                self.refusals.note(reason_of(error), &detail);
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct CountedClient {
    inner: Arc<dyn ClientCertVerifier>,
    refusals: Arc<Refusals>,
}

impl ClientCertVerifier for CountedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.inner.verify_client_cert(end_entity, intermediates, now).inspect_err(|error| {
            self.refusals.note(reason_of(error), &format!("a dialling peer: {error}"));
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn a_cause_is_logged_once_a_minute_and_counted_always() {
        let counter = IntCounterVec::new(Opts::new("refused", "refused"), &["reason"]).unwrap();
        let refusals = Refusals::new(counter.clone());
        let start = Instant::now();
        assert!(refusals.may_log("wrong_node", start));
        assert!(!refusals.may_log("wrong_node", start + Duration::from_secs(59)));
        assert!(refusals.may_log("foreign_authority", start));
        assert!(refusals.may_log("wrong_node", start + Duration::from_secs(60)));
        refusals.note("wrong_node", "a test");
        assert_eq!(counter.with_label_values(&["wrong_node"]).get(), 1);
    }

    #[test]
    fn a_name_gives_its_number_back() {
        assert_eq!(node_of_dns_name(&node_dns_name(7)), Some(7));
        for wrong in ["node-0.holdfast.internal", "node-07.holdfast.internal", "node-7.example", ""]
        {
            assert_eq!(node_of_dns_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bad_pem_is_told_without_its_text() {
        let error = Identity::from_pem(b"x", b"y", b"-----BEGIN PRIVATE KEY-----\nsecret")
            .expect_err("no key");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
