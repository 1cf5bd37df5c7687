//! Alertmanager's webhook, version 4 of its document.
//!
//! https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. Invariant: 200 means
//! that the alerts are durable here; anything else makes Alertmanager post again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{Shared, problem};
use crate::engine::Alert;
use crate::exposition::Labels;

/// The most alerts of one post.
const MAX_ALERTS: usize = 20_000;

/// The document; fields that later versions add are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Post {
    version: String,
    group_key: String,
    #[serde(default)]
    group_labels: Labels,
    #[serde(default)]
    alerts: Vec<Posted>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    status: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    fingerprint: String,
}

pub(super) async fn take(State(shared): State<Shared>, Json(post): Json<Post>) -> Response {
    if post.version != "4" || post.alerts.len() > MAX_ALERTS {
        shared.metrics.posted.with_label_values(&["refused"]).inc();
        let text = "version 4 of the document and at most 20000 alerts are taken";
        return problem(StatusCode::BAD_REQUEST, "bad_post", text);
    }
    let Post { group_key, group_labels, alerts, .. } = post;
    let alerts = alerts.into_iter().map(alert).collect();
    let done = shared
        .ask(move |engine, now| engine.observe_alerts(&group_key, group_labels, alerts, now))
        .await;
    let result = if done.is_ok() { "taken" } else { "failed" };
    shared.metrics.posted.with_label_values(&[result]).inc();
    match done {
        Ok(()) => StatusCode::OK.into_response(),
        Err(unanswered) => unanswered.into_response(),
    }
}

fn alert(posted: Posted) -> Alert {
    let Posted { status, labels, mut annotations, fingerprint } = posted;
    let said = annotations.remove("summary").or_else(|| annotations.remove("description"));
    let named = || {
        let pairs: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(" ")
    };
    // Versions before 0.19 have no fingerprint: the labels are one.
    let fingerprint = if fingerprint.is_empty() { named() } else { fingerprint };
    Alert {
        fingerprint,
        firing: status == "firing",
        summary: said.unwrap_or_else(named),
        runbook: annotations.remove("runbook_url").unwrap_or_default(),
        labels,
    }
}
