//! Requests to web servers over HTTP/1.1, with and without TLS.
//!
//! Used for scrapes, webhooks and gateways. Invariants: every request has a deadline; an answer
//! beyond its bound is refused; a token is never shown.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::Secret;

/// How much of an answer to a POST is read.
const MAX_ANSWER: usize = 64 << 10;

/// A request that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server did not get it.
    #[error("{0}")]
    NotSent(String),
    /// It may have got it.
    #[error("{0}")]
    Unknown(String),
}

/// A client with the certificates that it trusts.
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client that trusts a file of certificates, or else what the system trusts.
    pub fn new(ca_file: Option<&Path>) -> Result<Client, String> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca_file {
            None => builder
                .with_provider_and_native_roots(provider)
                .map_err(|error| format!("the system's certificates: {error}"))?,
            Some(path) => builder.with_tls_config(trusting(path, provider)?),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        Ok(Client { inner: legacy::Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// GET: status and body. `max` bounds the body.
    pub async fn get(
        &self,
        url: &str,
        token: Option<&Secret>,
        timeout: Duration,
        max: usize,
    ) -> Result<(u16, Bytes), Failure> {
        let request = request(Method::GET, url, token).body(Full::default());
        self.exchange(request, timeout, max).await
    }

    /// POST: status.
    pub async fn post(
        &self,
        url: &str,
        token: Option<&Secret>,
        content_type: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<u16, Failure> {
        let request = request(Method::POST, url, token)
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body.into()));
        Ok(self.exchange(request, timeout, MAX_ANSWER).await?.0)
    }

    /// Any method with a JSON document or none: status and body.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        token: Option<&Secret>,
        body: Option<Vec<u8>>,
        timeout: Duration,
        max: usize,
    ) -> Result<(u16, Bytes), Failure> {
        let mut request = request(method, url, token);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default().into()));
        self.exchange(request, timeout, max).await
    }

    async fn exchange(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
        timeout: Duration,
        max: usize,
    ) -> Result<(u16, Bytes), Failure> {
        let request = request.map_err(|error| Failure::NotSent(error.to_string()))?;
        let exchange = async {
            let answer =
                self.inner.request(request).await.map_err(|error| match error.is_connect() {
                    true => Failure::NotSent(whole(&error)),
                    false => Failure::Unknown(whole(&error)),
                })?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), max).collect().await;
            let body = body.map_err(|error| Failure::Unknown(whole(&*error)))?;
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(end) => end,
            Err(_) => Err(Failure::Unknown("no answer in time".into())),
        }
    }
}

fn request(method: Method, url: &str, token: Option<&Secret>) -> hyper::http::request::Builder {
    let request = Request::builder().method(method).uri(url);
    let Some(token) = token else { return request };
    let value = header::HeaderValue::try_from(format!("Bearer {}", token.expose()));
    match value {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(header::AUTHORIZATION, value)
        }
        Err(_) => request,
    }
}

/// An error with all that caused it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn trusting(path: &Path, provider: rustls::crypto::CryptoProvider) -> Result<ClientConfig, String> {
    let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))? {
        let certificate = certificate.map_err(|error| fault(&error))?;
        roots.add(certificate).map_err(|error| fault(&error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
