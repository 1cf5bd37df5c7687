//! The monitor's own HTTP: health, metrics, incidents, silences, the delivery log, links of
//! messages, Alertmanager's posts, and the pages of whoever is on duty.
//!
//! Every question goes to the one loop that owns the engine, and is answered after what it
//! changed is durable. Invariants: only health, metrics and links of messages go without a token
//! or a session; without a configured token or user the rest is closed; bodies, connections and
//! waits are bounded.

mod api;
mod desk;
mod login;
mod pages;
mod posted;
mod rules;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{delete, get, post, put};
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Config, Secret};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::window::Window;

pub use login::Sessions;
pub use server::Server;

/// The largest body: an Alertmanager group of thousands of alerts.
const MAX_BODY: usize = 16 << 20;
/// The largest form of a page.
const MAX_FORM: usize = 64 << 10;
/// How long the loop may take for a question.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the loop is asked to do, with the time; it answers by what the closure captured.
pub type Ask = Box<dyn FnOnce(&mut Engine, &Window, i64) -> Reply + Send>;

/// Called when the writes of the turn are durable (or could not be made so).
pub type Reply = Box<dyn FnOnce(bool) + Send>;

/// What handlers share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// Questions to the loop.
    pub asks: mpsc::Sender<Ask>,
    /// The metrics.
    pub metrics: Metrics,
    /// When the loop last turned, Unix milliseconds.
    pub turned: Arc<AtomicI64>,
    /// Whether decisions are durable.
    pub durable: Arc<AtomicBool>,
    /// Raised whenever something has changed.
    pub changed: watch::Receiver<u64>,
    /// Who uses the pages.
    pub sessions: Sessions,
}

/// What is said when the loop does not answer.
#[derive(Clone, Copy, Debug)]
pub enum Unanswered {
    /// It is too busy, or stopping.
    Busy,
    /// It did it, and the disk did not take it.
    NotDurable,
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let (code, text) = match self {
            Unanswered::Busy => ("busy", "no answer in time; try again"),
            Unanswered::NotDurable => ("not_durable", "it was taken, but the disk failed"),
        };
        problem(StatusCode::SERVICE_UNAVAILABLE, code, text)
    }
}

impl Shared {
    /// Asks the loop, and waits until what it did is durable.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine, i64) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.ask_window(move |engine, _, now| question(engine, now)).await
    }

    /// The same for a question that looks at the scraped series, too.
    pub async fn ask_window<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine, &Window, i64) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let ask: Ask = Box::new(move |engine, window, now| {
            let given = question(engine, window, now);
            Box::new(move |durable| {
                // Nobody waits any more: what was done stays done.
                let _ = answer.send((given, durable));
            })
        });
        let exchange = async {
            self.asks.send(ask).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Some((given, true))) => Ok(given),
            Ok(Some((_, false))) => Err(Unanswered::NotDurable),
            _ => Err(Unanswered::Busy),
        }
    }
}

/// RFC 9457.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(),
        "code": code, "detail": detail,
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
}

/// All routes.
pub fn router(shared: Shared) -> Router {
    let api = Router::new()
        .route("/api/v1/state", get(api::state))
        .route("/api/v1/incidents", get(api::incidents))
        .route("/api/v1/incidents/{number}/acknowledge", post(api::acknowledge))
        .route("/api/v1/silences", get(api::silences).post(api::silence))
        .route("/api/v1/silences/{id}", delete(api::end_silence))
        .route("/api/v1/rules", get(rules::as_json))
        .route("/api/v1/rules/{name}", put(rules::put).delete(rules::remove))
        .route("/api/v1/messages", get(api::messages))
        .route("/api/v1/test", post(api::test))
        .layer(middleware::from_fn_with_state(shared.clone(), api_token));
    let posts = Router::new()
        .route("/api/v1/alertmanager", post(posted::take))
        .layer(middleware::from_fn_with_state(shared.clone(), posted_token));
    let desk = Router::new()
        .route("/incidents", get(desk::incidents))
        .route("/incidents/{number}/acknowledge", post(desk::acknowledge))
        .route("/silences", get(desk::silences).post(desk::silence))
        .route("/silences/{id}/end", post(desk::end_silence))
        .route("/messages", get(desk::messages))
        .route("/rules", get(rules::list))
        .route("/rules/edit", get(rules::edit).post(rules::act))
        .route("/test", post(desk::test))
        .route("/changes", get(desk::changes))
        .route("/logout", post(login::log_out))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(middleware::from_fn_with_state(shared.clone(), login::guard));
    Router::new()
        .route("/", get(async || Redirect::to("/incidents")))
        .route("/login", get(login::show).post(login::log_in))
        .route("/assets/desk.css", get(desk::style))
        .route("/assets/desk.js", get(desk::script))
        .merge(desk)
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/ack/{token}", get(pages::acknowledge_page).post(pages::acknowledge))
        .merge(api)
        .merge(posts)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

async fn api_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    guarded(shared.config.http.token.as_ref(), request, next).await
}

async fn posted_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let section = shared.config.alertmanager.as_ref();
    guarded(section.and_then(|section| section.token.as_ref()), request, next).await
}

async fn guarded(token: Option<&Secret>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let right = token
        .is_some_and(|token| bool::from(token.expose().as_bytes().ct_eq(given.trim().as_bytes())));
    match right {
        true => next.run(request).await,
        false => problem(StatusCode::UNAUTHORIZED, "unauthorized", "the bearer token is not right"),
    }
}
