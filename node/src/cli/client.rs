//! The API's client of the command line and the demo: HTTP/1.1, JSON, deadlines.
//!
//! Knows no routes. Invariants: every request has a deadline; with several addresses the first
//! that takes a connection is asked; the token is never printed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::{ClusterArgs, exit_of};
use crate::exit::{Exit, Failure};

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The longest event.
const MAX_EVENT_BYTES: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one cluster.
#[derive(Clone)]
pub struct Api {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    urls: Vec<String>,
    token: Option<Zeroizing<String>>,
}

impl Api {
    /// A client as the command line says.
    pub fn of(args: &ClusterArgs) -> Result<Api, Failure> {
        let token = match (&args.token, &args.token_file) {
            (Some(token), _) => Some(Zeroizing::new(token.clone())),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::file("cannot read the token", path, &error))?;
                Some(Zeroizing::new(Zeroizing::new(text).trim().to_string()))
            }
            (None, None) => None,
        };
        let urls = args.url.split(',').map(str::trim).filter(|url| !url.is_empty());
        Api::trusting(urls.map(str::to_string).collect(), token, args.ca_file.as_deref())
    }

    /// A client of these addresses that trusts whom the system trusts.
    pub fn new(urls: Vec<String>, token: Option<Zeroizing<String>>) -> Result<Api, Failure> {
        Api::trusting(urls, token, None)
    }

    /// A client of these addresses that trusts the authorities of a file alone, where one is given.
    pub fn trusting(
        urls: Vec<String>,
        token: Option<Zeroizing<String>>,
        ca_file: Option<&Path>,
    ) -> Result<Api, Failure> {
        for url in &urls {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                let text = format!("{url}: give https://host:port or http://host:port");
                return Err(Failure::usage(text));
            }
        }
        if urls.is_empty() {
            return Err(Failure::usage("no --url"));
        }
        let connector = connector(urls.iter().any(|url| url.starts_with("https://")), ca_file)?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Api { client, urls, token })
    }

    /// The same client for one node alone.
    pub fn at(&self, url: &str) -> Api {
        Api { urls: vec![url.to_string()], ..self.clone() }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await
    }

    /// POST of a JSON body. It may be sent twice by a caller; an `Idempotency-Key` goes along.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// PUT of a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// POST of a CSV file.
    pub async fn post_csv(&self, path: &str, file: Vec<u8>) -> Result<Value, Failure> {
        self.send_octets(Method::POST, path, Some((Bytes::from(file), "text/csv"))).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::DELETE, path, None).await
    }

    /// GET of octets. Asks the first address alone: what is fetched in pieces is one node's.
    pub async fn get_octets(&self, path: &str) -> Result<Bytes, Failure> {
        let url = self.urls.first().map_or("", |url| url.trim_end_matches('/'));
        let url = format!("{url}{path}");
        let request = self.request(&Method::GET, &url, None, "")?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok((status, octets))) if status.is_success() => Ok(octets),
            Ok(Ok((status, octets))) => match judge(status, &String::from_utf8_lossy(&octets)) {
                Err(failure) => Err(failure),
                Ok(_) => Err(Failure::failed("bad_answer", "the answer makes no sense")),
            },
            Ok(Err(reason)) => Err(unreachable(&url, &reason)),
            Err(_) => Err(unreachable(&url, "no answer in time")),
        }
    }

    /// One request to the first address alone: its status and JSON, whatever they are, or why there
    /// was no answer. `key` is the idempotency key; nothing is tried twice.
    pub async fn once(
        &self,
        method: Method,
        path: &str,
        (body, key): (Option<Bytes>, &str),
        patience: Duration,
    ) -> Result<(u16, Value), NoAnswer> {
        let url = self.urls.first().map_or("", |url| url.trim_end_matches('/'));
        let mut request = Request::builder().method(&method).uri(format!("{url}{path}"));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.as_str()));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if method != Method::GET {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| NoAnswer::Down(error.to_string()))?;
        match tokio::time::timeout(patience, self.exchange(request)).await {
            Ok(Ok((status, text))) => {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                Ok((status.as_u16(), value))
            }
            Ok(Err(why)) => Err(NoAnswer::Down(why)),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    /// One client for each address, in their order.
    pub fn each(&self) -> Vec<Api> {
        let one = |url: &String| Api { urls: vec![url.clone()], ..self.clone() };
        self.urls.iter().map(one).collect()
    }

    /// GET of server-sent events: hands each to `told`, until it has enough or the answer ends.
    pub async fn listen(
        &self,
        path: &str,
        mut told: impl FnMut(&str, Value) -> Heard,
    ) -> Result<(), Failure> {
        let mut last = Failure::new(Exit::Unreachable, "unreachable", "no address");
        for url in &self.urls {
            let url = format!("{}{path}", url.trim_end_matches('/'));
            let request = self.request(&Method::GET, &url, None, "")?;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await;
            let response = match answer {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    last = unreachable(&url, &chain(&error));
                    continue;
                }
                Err(_) => {
                    last = unreachable(&url, "no answer in time");
                    continue;
                }
            };
            let status = response.status();
            if !status.is_success() {
                let body = Limited::new(response.into_body(), MAX_EVENT_BYTES).collect().await;
                let octets = body.map(|body| body.to_bytes()).unwrap_or_default();
                match judge(status, &String::from_utf8_lossy(&octets)) {
                    Err(failure) if failure.exit == Exit::TryAgain => last = failure,
                    Err(failure) => return Err(failure),
                    Ok(_) => last = Failure::failed("bad_answer", "the answer makes no sense"),
                }
                continue;
            }
            return hear(response.into_body(), &url, &mut told).await;
        }
        Err(last)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let body = body.map(|body| (Bytes::from(body.to_string()), "application/json"));
        self.send_octets(method, path, body).await
    }

    async fn send_octets(
        &self,
        method: Method,
        path: &str,
        body: Option<(Bytes, &'static str)>,
    ) -> Result<Value, Failure> {
        let key = crate::secret::hex(&crate::secret::random::<16>()?);
        let mut last = Failure::new(Exit::Unreachable, "unreachable", "no address");
        for url in &self.urls {
            let url = format!("{}{path}", url.trim_end_matches('/'));
            let request = self.request(&method, &url, body.clone(), &key)?;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request)).await;
            match answer {
                Ok(Ok((status, text))) => match judge(status, &text) {
                    // Not this node, not now: another may. Repeats carry the same key.
                    Err(failure) if failure.exit == Exit::TryAgain => last = failure,
                    answer => return answer,
                },
                Ok(Err(reason)) => last = unreachable(&url, &reason),
                Err(_) => last = unreachable(&url, "no answer in time"),
            }
        }
        Err(last)
    }

    fn request(
        &self,
        method: &Method,
        url: &str,
        body: Option<(Bytes, &'static str)>,
        key: &str,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut builder = Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {}", token.as_str()));
        }
        if let Some((_, kind)) = &body {
            builder = builder.header(header::CONTENT_TYPE, *kind);
        }
        if method != Method::GET {
            builder = builder.header("idempotency-key", key);
        }
        let octets = body.map(|(octets, _)| octets).unwrap_or_default();
        builder.body(Full::new(octets)).map_err(|error| Failure::usage(format!("{url}: {error}")))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, String), String> {
        let response = self.client.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let octets = body.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, String::from_utf8_lossy(&octets).into_owned()))
    }
}

/// Whether more events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Go on.
    More,
    /// Hang up.
    Enough,
}

/// Reads events to the end. A server that says nothing for long, not even a comment, is gone.
async fn hear(
    mut body: Incoming,
    url: &str,
    told: &mut impl FnMut(&str, Value) -> Heard,
) -> Result<(), Failure> {
    let mut held = Vec::new();
    loop {
        let frame = match tokio::time::timeout(ANSWER_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(unreachable(url, &chain(&error))),
            Err(_) => return Err(unreachable(url, "no event and no sign of life")),
        };
        held.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = held.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = held.drain(..end + 2).collect();
            if let Some((name, data)) = event_of(&String::from_utf8_lossy(&event))
                && told(&name, data) == Heard::Enough
            {
                return Ok(());
            }
        }
        if held.len() > MAX_EVENT_BYTES {
            return Err(Failure::failed("bad_answer", "an event without an end"));
        }
    }
}

/// The name of an event and its data; none for a comment.
fn event_of(text: &str) -> Option<(String, Value)> {
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data = serde_json::from_str(of("data:")?).ok()?;
    Some((of("event:").unwrap_or("message").to_owned(), data))
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection, or it broke.
    Down(String),
    /// Not in time.
    Late,
}

fn unreachable(url: &str, reason: &str) -> Failure {
    Failure::new(Exit::Unreachable, "unreachable", format!("{url}: {reason}"))
}

fn judge(status: StatusCode, text: &str) -> Result<Value, Failure> {
    let body: Result<Value, _> = serde_json::from_str(text);
    if status == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    if status.is_success() {
        return body.map_err(|_| Failure::failed("bad_answer", "the answer is not JSON"));
    }
    let field = |name: &str| {
        let body = body.as_ref().ok();
        body.and_then(|b| b.get(name)).and_then(Value::as_str).map(str::to_string)
    };
    let code = field("code").unwrap_or_else(|| format!("http_{}", status.as_u16()));
    let detail = field("detail").unwrap_or_else(|| text.chars().take(300).collect());
    Err(Failure::new(exit_of(status.as_u16()), code, detail))
}

/// An error with its causes: the outer one alone says only that something failed.
/// Connections with TLS and without. The system's authorities are read only when they are needed.
fn connector(
    has_tls: bool,
    ca_file: Option<&Path>,
) -> Result<HttpsConnector<HttpConnector>, Failure> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = match ca_file {
        None if has_tls => builder.with_provider_and_native_roots(provider).map_err(|error| {
            let text = format!("the system's certificates: {error}; give --ca-file");
            Failure::failed("bad_certificate", text)
        })?,
        _ => builder.with_tls_config(trusting(ca_file, provider)?),
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

fn trusting(ca_file: Option<&Path>, provider: CryptoProvider) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let text = std::fs::read(path)
            .map_err(|error| Failure::file("cannot read the authority", path, &error))?;
        let bad = || {
            let text = format!("{}: no certificate (PEM)", path.display());
            Failure::failed("bad_certificate", text)
        };
        for certificate in CertificateDer::pem_slice_iter(&text) {
            roots.add(certificate.map_err(|_| bad())?).map_err(|_| bad())?;
        }
        if roots.is_empty() {
            return Err(bad());
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::failed("bad_certificate", error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
