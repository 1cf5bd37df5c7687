//! Server-sent events (WHATWG HTML, 9.2): an answer that goes on, bounded and with a last word.
//!
//! Knows no routes. Who tells puts events into a queue; a comment goes out when nothing was told
//! for a while, so that proxies keep the connection. Invariants: 1. the queue is bounded, who tells
//! never waits for who listens; 2. one place of it is kept for the last word, so a listener who is
//! too slow learns that it was that; 3. who tells learns that nobody listens any more.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;

/// Events that wait for a slow listener.
const QUEUE: usize = 16;
/// A comment goes out after so long without an event.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// After which time a browser asks again when the connection broke, milliseconds.
const RETRY_MS: u32 = 3_000;

/// The telling side.
pub struct Events {
    queue: mpsc::Sender<Bytes>,
    last: mpsc::OwnedPermit<Bytes>,
}

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// Nobody listens any more.
    Left,
    /// The listener has not taken what was told before.
    Slow,
}

/// A stream: the telling side, and the answer to the request.
pub fn open() -> Option<(Events, Response)> {
    open_with(HEARTBEAT)
}

fn open_with(heartbeat: Duration) -> Option<(Events, Response)> {
    let (queue, taken) = mpsc::channel::<Bytes>(QUEUE + 1);
    // An empty queue has room for it.
    let last = queue.clone().try_reserve_owned().ok()?;
    let first = Bytes::from(format!("retry: {RETRY_MS}\n\n"));
    queue.try_send(first).ok()?;
    let body = futures::stream::unfold(taken, move |mut taken| async move {
        let octets = match tokio::time::timeout(heartbeat, taken.recv()).await {
            Ok(Some(octets)) => octets,
            Ok(None) => return None,
            Err(_) => Bytes::from_static(b": still here\n\n"),
        };
        Some((Ok::<Bytes, std::convert::Infallible>(octets), taken))
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that gathers an answer before it passes it on would show nothing.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Some((Events { queue, last }, response))
}

impl Events {
    /// Tells something at once.
    pub fn tell(&self, event: &str, data: &impl Serialize) -> Result<(), Untold> {
        self.queue.try_send(line(event, data)).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => Untold::Left,
            mpsc::error::TrySendError::Full(_) => Untold::Slow,
        })
    }

    /// The last word; the answer ends behind it.
    pub fn end(self, event: &str, data: &impl Serialize) {
        self.last.send(line(event, data));
    }

    /// Waits until nobody listens any more. Safe to cancel.
    pub async fn left(&self) {
        self.queue.closed().await;
    }
}

fn line(event: &str, data: &impl Serialize) -> Bytes {
    // JSON holds no line break that is not escaped, so one line of data is enough.
    let data = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!(%error, event, "an event cannot be written");
        "null".to_owned()
    });
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::{QUEUE, Untold, open, open_with};

    #[tokio::test]
    async fn events_come_in_order_and_the_answer_ends() {
        let (events, response) = open().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        events.tell("round", &serde_json::json!({"text": "a\nb"})).unwrap();
        events.end("end", &"time");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expect = "retry: 3000\n\nevent: round\ndata: {\"text\":\"a\\nb\"}\n\n\
            event: end\ndata: \"time\"\n\n";
        assert_eq!(body, expect);
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_so_and_one_that_left_is_noticed() {
        let (events, response) = open().unwrap();
        let mut told = 0;
        let full = loop {
            match events.tell("round", &told) {
                Ok(()) => told += 1,
                Err(why) => break why,
            }
        };
        assert_eq!((full, told), (Untold::Slow, QUEUE - 1));
        events.end("end", &"slow");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"event: end\ndata: \"slow\"\n\n"), "{body:?}");
        let (events, response) = open().unwrap();
        drop(response);
        events.left().await;
        assert_eq!(events.tell("round", &1), Err(Untold::Left));
    }

    #[tokio::test]
    async fn silence_is_broken_by_a_comment() {
        let heartbeat = Duration::from_millis(30);
        let (events, response) = open_with(heartbeat).unwrap();
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"retry"));
        let begun = tokio::time::Instant::now();
        let next = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&next[..], b": still here\n\n");
        assert!(begun.elapsed() >= heartbeat, "{:?}", begun.elapsed());
        drop(events);
    }
}
