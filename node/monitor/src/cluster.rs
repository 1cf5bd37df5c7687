//! The nodes' API as a monitor uses it: whichever node answers.
//!
//! Invariants: the node that answered last is asked first; every node is asked at most once for a
//! question; a refusal is an answer and is not asked for elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Cluster, Secret};
use crate::web::Client;

/// The largest answer: a page of the feed.
const MAX_ANSWER: usize = 8 << 20;

/// What a node says.
#[derive(Debug)]
pub enum Answer {
    /// Done.
    Yes(Bytes),
    /// Refused by rule, with its code.
    No(String),
}

/// The nodes and the token for them.
pub struct Api {
    client: Client,
    urls: Vec<String>,
    token: Option<Secret>,
    timeout: Duration,
    first: AtomicUsize,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Api {
    /// From the section of the configuration.
    pub fn new(config: &Cluster) -> Result<Api, String> {
        let client = Client::new(config.ca_file.as_deref());
        let client = client.map_err(|error| format!("cluster: {error}"))?;
        let urls = config.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Ok(Api {
            client,
            urls,
            token: config.token.clone(),
            timeout: config.timeout.0,
            first: AtomicUsize::new(0),
        })
    }

    /// GET, and what it gives.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        match self.ask(Method::GET, path, None).await? {
            Answer::Yes(body) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            Answer::No(code) => Err(code),
        }
    }

    /// POST of a document.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// DELETE with a document.
    pub async fn delete(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.ask(Method::DELETE, path, Some(body)).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let body = body.map(|body| body.to_string().into_bytes());
        let mut why = String::from("there is no node to ask");
        let first = self.first.load(Ordering::Relaxed);
        for nth in 0..self.urls.len() {
            let at = (first + nth) % self.urls.len();
            let Some(url) = self.urls.get(at) else { continue };
            let url = format!("{url}{path}");
            let (token, body) = (self.token.as_ref(), body.clone());
            let asked =
                self.client.ask(method.clone(), &url, token, body, self.timeout, MAX_ANSWER);
            match asked.await {
                Ok((status, body)) if (200..300).contains(&status) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(Answer::Yes(body));
                }
                // A node that cannot just now, and one that does not know our token (yet).
                Ok((status, _)) if status >= 500 || matches!(status, 401 | 408 | 429) => {
                    why = format!("{url}: status {status}");
                }
                Ok((_, body)) => {
                    let problem: Result<Problem, _> = serde_json::from_slice(&body);
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(Answer::No(
                        problem.map_or_else(|_| "unknown".into(), |one| one.code),
                    ));
                }
                Err(error) => why = format!("{url}: {error}"),
            }
        }
        Err(why)
    }
}
