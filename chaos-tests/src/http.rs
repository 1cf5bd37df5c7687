//! A small HTTP client for JSON over loopback: one request, one deadline, no retries, no
//! redirects.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;

/// Answers larger than this are an error: nothing that the tests ask for comes near it.
const BODY_LIMIT: usize = 64 << 20;

/// A client that carries the demo's token.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    token: String,
}

/// An answer: the status and the body as text.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The body, UTF-8.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// The body is not JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {}", self.text))
    }
}

impl Http {
    /// A client for one cluster; an empty token is not sent.
    pub fn new(token: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { client, token: token.to_owned() }
    }

    /// The token that requests carry.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// One request with an optional JSON body and an idempotency key, answered before `deadline`.
    ///
    /// # Errors
    /// No connection, no answer in time, a body above 64 MiB.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        key: Option<&str>,
        deadline: Duration,
    ) -> anyhow::Result<Answer> {
        let mut request =
            Request::builder().method(method).uri(url).header("content-type", "application/json");
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let octets = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(octets)))?;
        self.exchange(request, url, deadline).await
    }

    /// POST of a CSV file, answered before `deadline`.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn load(
        &self,
        url: &str,
        file: String,
        deadline: Duration,
    ) -> anyhow::Result<Answer> {
        let request = Request::builder().method(Method::POST).uri(url);
        let request = request.header("content-type", "text/csv");
        let request = request.header("authorization", format!("Bearer {}", self.token));
        self.exchange(request.body(Full::new(Bytes::from(file)))?, url, deadline).await
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        url: &str,
        deadline: Duration,
    ) -> anyhow::Result<Answer> {
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
            let body = body.map_err(|fault| anyhow::anyhow!("body of {url}: {fault}"))?.to_bytes();
            anyhow::Ok(Answer { status, text: String::from_utf8_lossy(&body).into_owned() })
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!("no answer from {url} within {deadline:?}"),
        }
    }

    /// GET that must answer 200 with JSON.
    ///
    /// # Errors
    /// As [`Http::send`], and any status but 200.
    pub async fn get(&self, url: &str) -> anyhow::Result<Value> {
        let answer = self.send(Method::GET, url, None, None, Duration::from_secs(20)).await?;
        if answer.status != 200 {
            bail!("GET {url}: {} {}", answer.status, answer.text);
        }
        answer.json()
    }
}
