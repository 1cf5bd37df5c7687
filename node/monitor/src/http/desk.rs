//! The pages of whoever is on duty: incidents, silences, the delivery log, rules.
//!
//! Server-rendered; a small script of ours swaps the page's middle when the server says that
//! something changed. Invariants: everything works without the script, too; values are escaped by
//! the templates; changes are made under the session's name and answered when they are durable.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, Form, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use futures::Stream;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Deserialize;
use serde_json::{Value, json};

use super::login::User;
use super::{Shared, api, problem};
use crate::engine::Incident;
use crate::exposition::Labels;

/// Rows of a page.
pub(super) const MAX_ROWS: usize = 200;
/// At most so often a page is told that something changed.
const CALM: Duration = Duration::from_millis(500);
/// The longest reason.
const MAX_REASON: usize = 500;
/// The longest silence: a week.
const MAX_HOURS: u32 = 168;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

pub(super) fn page(name: &str, values: &Value) -> Response {
    let mut pages = Environment::new();
    pages.add_filter("clock", clock);
    let templates = [
        ("frame.html", include_str!("../../templates/frame.html")),
        ("login.html", include_str!("../../templates/login.html")),
        ("incidents.html", include_str!("../../templates/incidents.html")),
        ("messages.html", include_str!("../../templates/messages.html")),
        ("silences.html", include_str!("../../templates/silences.html")),
        ("rules.html", include_str!("../../templates/rules.html")),
        ("rule.html", include_str!("../../templates/rule.html")),
    ];
    let shown = templates
        .into_iter()
        .try_for_each(|(name, text)| pages.add_template(name, text))
        .and_then(|()| pages.get_template(name)?.render(minijinja::Value::from(Serde(values))));
    let heads = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("referrer-policy"), "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match shown {
        Ok(shown) => (heads, shown).into_response(),
        Err(error) => {
            tracing::error!(%error, name, "a page cannot be shown");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "fault", "the page cannot be shown")
        }
    }
}

/// RFC 3339 for people: to the second.
fn clock(time: String) -> String {
    let (day, rest) = time.split_once('T').unwrap_or((&time, ""));
    let second = rest.split(['.', 'Z']).next().unwrap_or_default();
    format!("{day} {second} UTC")
}

pub(super) fn login_page(shared: &Shared, wrong: bool) -> Response {
    let name = &shared.config.name;
    let users = !shared.config.users.is_empty();
    page("login.html", &json!({"monitor": name, "wrong": wrong, "users": users}))
}

pub(super) async fn style() -> Response {
    let heads =
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (heads, include_str!("../../assets/desk.css")).into_response()
}

pub(super) async fn script() -> Response {
    let kind = "text/javascript; charset=utf-8";
    let heads = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
    (heads, include_str!("../../assets/desk.js")).into_response()
}

/// Says when something has changed, at most twice a second.
pub(super) async fn changes(
    State(shared): State<Shared>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changed = shared.changed.clone();
    let changes = futures::stream::unfold(changed, |mut changed| async move {
        // The loop has ended: so does the stream.
        changed.changed().await.ok()?;
        tokio::time::sleep(CALM).await;
        let number = *changed.borrow_and_update();
        let event = Event::default().event("changed").id(number.to_string()).data("1");
        Some((Ok(event), changed))
    });
    Sse::new(changes).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

/// What every page shows at its top.
pub(super) fn top(user: &str, here: &str, state: &Value, values: Value) -> Value {
    let mut all = json!({"user": user, "here": here, "top": state});
    if let (Value::Object(all), Value::Object(values)) = (&mut all, values) {
        all.extend(values);
    }
    all
}

pub(super) async fn incidents(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
) -> Response {
    let asked = shared.ask(|engine, now| {
        let mut items: Vec<&Incident> = engine.incidents().filter(|one| one.number > 0).collect();
        let is_open = |one: &Incident| one.state.open_since().is_some();
        items.sort_by_key(|one| (!is_open(one), std::cmp::Reverse((one.severity, one.number))));
        let all = items.len();
        let shown = items.into_iter().take(MAX_ROWS);
        let shown: Vec<Value> = shown
            .map(|one| {
                let mut value = api::incident(one);
                value["open"] = is_open(one).into();
                value["silence"] = silence_link(one).into();
                value
            })
            .collect();
        (api::state_of(engine, now), json!({"items": shown, "all": all}))
    });
    match asked.await {
        Ok((state, values)) => page("incidents.html", &top(&user, "incidents", &state, values)),
        Err(unanswered) => unanswered.into_response(),
    }
}

/// The form for a silence of an incident, with its labels in it.
fn silence_link(incident: &Incident) -> String {
    let mut lines = vec![format!("alarm={}", incident.alarm)];
    lines.extend(incident.labels.iter().map(|(name, value)| format!("{name}={value}")));
    format!("/silences?labels={}", encoded(&lines.join("\n")))
}

/// Percent-encoded for a query (RFC 3986, 2.1).
fn encoded(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(octet).to_string()
        }
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

pub(super) async fn messages(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
) -> Response {
    let asked = shared.ask(|engine, now| {
        let items: Vec<Value> = engine.messages().rev().take(MAX_ROWS).map(api::message).collect();
        (api::state_of(engine, now), json!({"items": items}))
    });
    match asked.await {
        Ok((state, values)) => page("messages.html", &top(&user, "messages", &state, values)),
        Err(unanswered) => unanswered.into_response(),
    }
}

pub(super) async fn silences(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
    axum::extract::Query(wanted): axum::extract::Query<Proposed>,
) -> Response {
    let asked = shared.ask(|engine, now| {
        let items: Vec<Value> = engine.silences().map(api::silence_shown).collect();
        (api::state_of(engine, now), json!({"items": items}))
    });
    match asked.await {
        Ok((state, mut values)) => {
            values["labels"] = wanted.labels.unwrap_or_default().into();
            page("silences.html", &top(&user, "silences", &state, values))
        }
        Err(unanswered) => unanswered.into_response(),
    }
}

/// What an incident's page proposes for a silence.
#[derive(Deserialize)]
pub(super) struct Proposed {
    labels: Option<String>,
}

pub(super) async fn acknowledge(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
    Path(number): Path<u64>,
) -> Response {
    match shared.ask(move |engine, _| engine.acknowledge(number, &user, None)).await {
        // It ended in the meantime: the list shows that.
        Ok(_) => Redirect::to("/incidents").into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}

/// A silence as the form sends it.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// `name=value`, one a line.
    labels: String,
    reason: String,
    hours: u32,
}

pub(super) async fn silence(
    State(shared): State<Shared>,
    Extension(User(user)): Extension<User>,
    Form(wanted): Form<Wanted>,
) -> Response {
    let bad = |text: &str| problem(StatusCode::BAD_REQUEST, "bad_request", text);
    let lines = wanted.labels.lines().map(str::trim).filter(|line| !line.is_empty());
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    let Some(labels) = pairs.collect::<Option<Labels>>().filter(|labels| !labels.is_empty()) else {
        return bad("labels are name=value, one a line");
    };
    let reason = wanted.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > MAX_REASON || !(1..=MAX_HOURS).contains(&wanted.hours) {
        return bad("a reason and 1 to 168 hours are wanted");
    }
    let length = i64::from(wanted.hours) * 3_600_000;
    let asked = shared.ask(move |engine, now| engine.silence(labels, &reason, &user, now + length));
    match asked.await {
        Ok(_) => Redirect::to("/silences").into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}

pub(super) async fn end_silence(State(shared): State<Shared>, Path(id): Path<u64>) -> Response {
    match shared.ask(move |engine, _| engine.end_silence(id)).await {
        Ok(_) => Redirect::to("/silences").into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}

/// Whom a test message goes to.
#[derive(Deserialize)]
pub(super) struct Tested {
    contact: String,
}

pub(super) async fn test(State(shared): State<Shared>, Form(tested): Form<Tested>) -> Response {
    match shared.ask(move |engine, now| engine.test_message(&tested.contact, now)).await {
        Ok(true) => Redirect::to("/rules?sent=yes").into_response(),
        Ok(false) => Redirect::to("/rules?sent=no").into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}
