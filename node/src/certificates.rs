//! The certificates that this node shows to those who are no nodes: to browsers and programs at
//! the HTTP port, to concentrators at the TLS port.
//!
//! Not those between nodes (`run`, `cluster`). Invariants: what cannot be used is told with the
//! key of the configuration, and changes nothing; a private key is wiped when it was read.

use std::path::Path;

use gateway::ServerTls;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::config::{Config, Pair};
use crate::exit::Failure;

/// What the ports show; none: the port speaks without TLS, or is not there.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// At the HTTP port.
    pub http: Option<ServerTls>,
    /// To concentrators.
    pub field: Option<ServerTls>,
    /// When the first of them ends, Unix time.
    pub end_s: Option<i64>,
}

impl Certificates {
    /// Reads what the configuration names.
    pub fn read(config: &Config) -> Result<Certificates, Failure> {
        let mut ends = Vec::new();
        let mut read = |section, pair: Option<Pair>, authority: Option<&Path>, inside: &[&str]| {
            let Some(pair) = pair else { return Ok(None) };
            let (chain, key) = texts(section, &pair)?;
            let authority = authority.map(file).transpose()?;
            let tls = ServerTls::new(&chain, &key, authority.as_deref(), inside);
            ends.push(certificate_end(&chain).ok_or_else(|| bad(section, &"it has no end"))?);
            tls.map(Some).map_err(|error| bad(section, &chained(&error)))
        };
        let http = read("http", config.http.pair(), None, &["http/1.1"])?;
        let authority = config.gateway.tls_client_ca();
        let field = read("gateway", config.gateway.pair(), authority.as_deref(), &[])?;
        Ok(Certificates { http, field, end_s: ends.into_iter().min() })
    }

    /// Reads the same files again and shows what they hold from now on. Tells when the first ends.
    pub fn renew(&self, config: &Config) -> Result<Option<i64>, Failure> {
        // All of them are tried before the first is taken.
        let new = Certificates::read(config)?;
        let pairs = [
            ("http", &self.http, config.http.pair()),
            ("gateway", &self.field, config.gateway.pair()),
        ];
        for (section, tls, pair) in pairs {
            let Some((tls, pair)) = tls.as_ref().zip(pair) else { continue };
            let (chain, key) = texts(section, &pair)?;
            tls.renew(&chain, &key).map_err(|error| bad(section, &chained(&error)))?;
        }
        Ok(new.end_s)
    }
}

fn texts(section: &str, pair: &Pair) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), Failure> {
    let chain = file(&pair.certificate_file)?;
    if certificate_end(&chain).is_none() {
        return Err(bad(section, &"the certificate is no certificate"));
    }
    Ok((chain, Zeroizing::new(file(&pair.key_file)?)))
}

fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::file("cannot read", path, &error))
}

fn bad(section: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::failed("bad_certificate", format!("{why} ({section}.tls_*_file)"))
}

fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// End of the first certificate of a PEM chain, Unix time: notAfter (RFC 5280, 4.1.2.5) as UTCTime
/// or GeneralizedTime. The first is the server's own, those behind it are its issuers.
pub fn certificate_end(chain: &[u8]) -> Option<i64> {
    let own = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&own).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
