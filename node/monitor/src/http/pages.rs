//! Health, metrics, and the page behind a message's link.
//!
//! Invariants: opening a link changes nothing, since mail programs open links by themselves; only
//! its button acknowledges. The pages need no script and load nothing.

use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Shared, problem};
use crate::alarm;
use crate::config::{Severity, Span};
use crate::engine::Incident;
use crate::run::now_ms;
use crate::texts::word;

/// A loop that has not turned for so long hangs.
const TURN: Span = Span(std::time::Duration::from_secs(15));

pub(super) async fn ready(State(shared): State<Shared>) -> Response {
    let turned = now_ms() - shared.turned.load(Ordering::Relaxed) < TURN.millis();
    let durable = shared.durable.load(Ordering::Relaxed);
    let line = |good: bool, name: &str, bad: &str| match good {
        true => format!("[+]{name} ok\n"),
        false => format!("[-]{name} {bad}\n"),
    };
    let text =
        line(turned, "loop", "does not turn") + &line(durable, "journal", "cannot be written");
    let status = if turned && durable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page)
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be shown");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics cannot be shown")
        }
    }
}

/// What the page shows.
struct Shown {
    language: String,
    title: String,
    items: Vec<String>,
    open: bool,
    taken_by: Option<String>,
}

async fn shown(shared: &Shared, token: String, take: bool) -> Response {
    let asked = shared.ask(move |engine, _| {
        let (incidents, message) = engine.by_token(&token)?;
        let numbers: Vec<u64> = incidents.iter().map(|one| one.number).collect();
        let (by, language) = (message.contact.clone(), message.language.clone());
        if take {
            for number in numbers {
                // Not open any more is what the page then shows.
                let _ = engine.acknowledge(number, &by, None);
            }
        }
        let (incidents, _) = engine.by_token(&token)?;
        Some(shown_of(language, &incidents))
    });
    match asked.await {
        Ok(Some(shown)) => html(StatusCode::OK, page(&shown)),
        Ok(None) => html(StatusCode::NOT_FOUND, "<!DOCTYPE html><p>404</p>".into()),
        Err(unanswered) => unanswered.into_response(),
    }
}

/// A storm is shown as its incidents, one incident as its alarms.
fn shown_of(language: String, incidents: &[&Incident]) -> Shown {
    let titles = incidents.iter().map(|one| title(one.number, &one.alarm, one.severity));
    let mut titles: Vec<String> = titles.collect();
    let untaken = incidents.iter().any(|one| matches!(one.state, alarm::State::Firing { .. }));
    let taken_by = incidents.iter().find_map(|one| match &one.state {
        alarm::State::Acknowledged { by, .. } => Some(by.clone()),
        _ => None,
    });
    let (title, items) = match incidents {
        [one] => (titles.remove(0), one.last_items.0.clone()),
        many => (format!("{} {}", many.len(), word(&language, "incidents")), titles),
    };
    Shown {
        title,
        items,
        open: incidents.iter().any(|one| one.state.open_since().is_some()),
        taken_by: taken_by.filter(|_| !untaken),
        language,
    }
}

fn title(number: u64, alarm: &str, severity: Severity) -> String {
    format!("#{number} {alarm} ({})", severity.word())
}

pub(super) async fn acknowledge_page(
    State(shared): State<Shared>,
    Path(token): Path<String>,
) -> Response {
    shown(&shared, token, false).await
}

pub(super) async fn acknowledge(
    State(shared): State<Shared>,
    Path(token): Path<String>,
) -> Response {
    shown(&shared, token, true).await
}

fn html(status: StatusCode, page: String) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                  base-uri 'none'; frame-ancestors 'none'";
    let heads = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ];
    (status, heads, page).into_response()
}

fn page(shown: &Shown) -> String {
    let language = &shown.language;
    let items: String =
        shown.items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
    let end = match (&shown.taken_by, shown.open) {
        (Some(by), _) => format!("<p>{}: {}</p>", word(language, "taken"), escape(by)),
        (None, true) => {
            format!("<form method=\"post\"><button>{}</button></form>", word(language, "take"))
        }
        (None, false) => format!("<p>{}</p>", word(language, "gone")),
    };
    let title = escape(&shown.title);
    format!(
        "<!DOCTYPE html><html lang=\"{language}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>body{{font-family:sans-serif;margin:2em}}\
         button{{font-size:1.4em;padding:.6em 1.2em}}</style></head>\
         <body><h1>{title}</h1><ul>{items}</ul>{end}</body></html>"
    )
}

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&#39;")
}
