//! Incidents, silences, messages and state as JSON.
//!
//! Invariants: times are RFC 3339; a silence has a reason and an end; texts of messages are
//! shown, tokens of links are not.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, problem};
use crate::alarm;
use crate::engine::{Engine, Incident, Message, Silence};
use crate::exposition::Labels;
use crate::oncall::{from_rfc3339, rfc3339};

/// The most messages of one answer, and how many without `limit`.
const MAX_MESSAGES: usize = 1000;
const SOME_MESSAGES: usize = 100;
/// The longest reason or name.
const MAX_TEXT: usize = 500;

pub(super) async fn state(State(shared): State<Shared>) -> Response {
    answer(shared.ask(|engine, now| state_of(engine, now)).await)
}

/// Who is on call, how channels fare, how many messages there are.
pub(super) fn state_of(engine: &Engine, now: i64) -> Value {
    let channels: BTreeMap<&String, Value> = engine
        .health()
        .iter()
        .map(|(name, health)| {
            let trouble = health.trouble.as_ref().map(|(what, _)| what);
            (name, json!({"failures": health.failures, "trouble": trouble}))
        })
        .collect();
    json!({
        "time": rfc3339(now),
        "sender": engine.is_sender(),
        "alone": engine.is_alone(),
        "on_call": engine.on_call(now),
        "channels": channels,
        "messages": engine.stages(),
        "untold_incidents": engine.untold(now),
        "queue_full": engine.is_queue_full(),
    })
}

fn answer(given: Result<Value, super::Unanswered>) -> Response {
    match given {
        Ok(value) => Json(value).into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}

pub(super) async fn incidents(State(shared): State<Shared>) -> Response {
    let asked = shared.ask(|engine, _| {
        let mut items: Vec<&Incident> = engine.incidents().collect();
        items.sort_by_key(|one| std::cmp::Reverse(one.number));
        let items: Vec<Value> = items.into_iter().map(incident).collect();
        json!({ "items": items })
    });
    answer(asked.await)
}

pub(super) fn incident(incident: &Incident) -> Value {
    let (since, until, by) = match &incident.state {
        alarm::State::Resolved { since, at } => (Some(*since), Some(*at), None),
        alarm::State::Pending { since } => (Some(*since), None, None),
        alarm::State::Acknowledged { since, by, .. } => (Some(*since), None, Some(by)),
        state => (state.open_since(), None, None),
    };
    let told: BTreeMap<&String, Value> = incident
        .told
        .iter()
        .map(|(name, told)| (name, json!({"at": rfc3339(told.at), "count": told.count})))
        .collect();
    json!({
        "number": incident.number,
        "alarm": incident.alarm,
        "state": incident.state.word(),
        "severity": incident.severity,
        "region": incident.region,
        "labels": incident.labels,
        "since": since.map(rfc3339),
        "until": until.map(rfc3339),
        "acknowledged_by": by,
        "alarms": incident.instances.len(),
        "summaries": incident.last_items.0,
        "runbook": incident.runbook,
        "told": told,
    })
}

/// Who takes an incident.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Take {
    by: String,
    #[serde(default)]
    until: Option<String>,
}

pub(super) async fn acknowledge(
    State(shared): State<Shared>,
    Path(number): Path<u64>,
    Json(take): Json<Take>,
) -> Response {
    let until = take.until.as_deref().map(from_rfc3339);
    if until == Some(None) || take.by.is_empty() || take.by.len() > MAX_TEXT {
        return bad("by is a name, until an RFC 3339 time");
    }
    let until = until.flatten();
    match shared.ask(move |engine, _| engine.acknowledge(number, &take.by, until)).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => problem(StatusCode::CONFLICT, "not_open", &error.to_string()),
        Err(unanswered) => unanswered.into_response(),
    }
}

fn bad(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "bad_request", detail)
}

pub(super) async fn silences(State(shared): State<Shared>) -> Response {
    let asked = shared.ask(|engine, _| {
        let items: Vec<Value> = engine.silences().map(silence_shown).collect();
        json!({ "items": items })
    });
    answer(asked.await)
}

pub(super) fn silence_shown(silence: &Silence) -> Value {
    json!({
        "id": silence.id,
        "labels": silence.labels,
        "reason": silence.reason,
        "by": silence.by,
        "until": rfc3339(silence.until),
    })
}

/// A silence that somebody wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    labels: Labels,
    reason: String,
    by: String,
    until: String,
}

pub(super) async fn silence(State(shared): State<Shared>, Json(wanted): Json<Wanted>) -> Response {
    let Wanted { labels, reason, by, until } = wanted;
    let texts = [&reason, &by];
    let Some(until) = from_rfc3339(&until) else { return bad("until is an RFC 3339 time") };
    if labels.is_empty() || texts.iter().any(|text| text.is_empty() || text.len() > MAX_TEXT) {
        return bad("labels, reason and by are wanted");
    }
    let asked = shared
        .ask(move |engine, now| (until > now).then(|| engine.silence(labels, &reason, &by, until)));
    match asked.await {
        Ok(Some(id)) => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
        Ok(None) => bad("until has passed"),
        Err(unanswered) => unanswered.into_response(),
    }
}

pub(super) async fn end_silence(State(shared): State<Shared>, Path(id): Path<u64>) -> Response {
    match shared.ask(move |engine, _| engine.end_silence(id)).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => problem(StatusCode::NOT_FOUND, "unknown_silence", "there is none"),
        Err(unanswered) => unanswered.into_response(),
    }
}

/// How the log is cut.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cut {
    limit: Option<usize>,
}

/// The newest first.
pub(super) async fn messages(State(shared): State<Shared>, Query(cut): Query<Cut>) -> Response {
    let limit = cut.limit.unwrap_or(SOME_MESSAGES).min(MAX_MESSAGES);
    let asked = shared.ask(move |engine, _| {
        let items: Vec<Value> = engine.messages().rev().take(limit).map(message).collect();
        json!({ "items": items })
    });
    answer(asked.await)
}

pub(super) fn message(message: &Message) -> Value {
    let path = message.current();
    json!({
        "id": message.id,
        "kind": message.kind,
        "contact": message.contact,
        "incident": message.incident.as_ref().map(|(_, number)| number),
        "channel": path.map(|path| &path.channel),
        "to": path.map(|path| &path.to),
        "stage": message.stage,
        "repeat": message.repeat,
        "tries": message.tries,
        "created": rfc3339(message.created),
        "next": (!message.stage.is_finished()).then(|| rfc3339(message.next_at)),
        "ended": message.ended.map(rfc3339),
        "error": message.error,
        "subject": message.subject,
    })
}

/// Whom a test message goes to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tested {
    contact: String,
}

pub(super) async fn test(State(shared): State<Shared>, Json(tested): Json<Tested>) -> Response {
    match shared.ask(move |engine, now| engine.test_message(&tested.contact, now)).await {
        Ok(true) => StatusCode::ACCEPTED.into_response(),
        Ok(false) => {
            let text = "nobody is called so, or the queue has no room";
            problem(StatusCode::NOT_FOUND, "unknown_contact", text)
        }
        Err(unanswered) => unanswered.into_response(),
    }
}
