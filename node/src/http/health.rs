//! `/livez`, `/readyz`, `/leaderz`, `/metrics`: no login, cheap, plain text.
//!
//! Invariants: `/livez` looks at nothing, so that a sick store makes no restart loop; readiness
//! drops first at a drain; the metrics carry the content type that Prometheus 3 asks for.

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use cluster::Role;

use crate::app::App;

/// A node may be so many entries behind and still call itself caught up.
const READY_LAG: u64 = 1000;

/// 200 while the process turns its loop.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// 200 when the node may get traffic; `?verbose` lists the checks, `?local` leaves the leader out.
pub async fn readyz(State(app): State<App>, uri: Uri) -> Response {
    let asked = |word: &str| {
        let query = uri.query().unwrap_or("");
        query.split('&').any(|part| part.split('=').next() == Some(word))
    };
    let mut checks = checks(&app);
    if asked("local") {
        checks.retain(|(name, _)| *name != "leader");
    }
    let ready = checks.iter().all(|(_, verdict)| verdict.is_ok());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !asked("verbose") {
        return (status, if ready { "ok\n" } else { "not ready\n" }).into_response();
    }
    let mut text = String::new();
    for (name, verdict) in checks {
        match verdict {
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => text.push_str(&format!("[-]{name} {reason}\n")),
        }
    }
    (status, text).into_response()
}

/// Whether `/readyz` would answer 200.
pub fn is_ready(app: &App) -> bool {
    checks(app).iter().all(|(_, verdict)| verdict.is_ok())
}

fn checks(app: &App) -> Vec<(&'static str, Result<(), String>)> {
    let verdict = |good: bool, reason: &str| if good { Ok(()) } else { Err(reason.to_string()) };
    let mut list = vec![("running", verdict(!app.draining(), "the node is about to stop"))];
    let Ok(live) = app.live() else {
        list.push(("cluster", Err("not open yet".to_string())));
        return list;
    };
    let status = live.cluster.status();
    list.push(("store", status.fault.map_or(Ok(()), Err)));
    let joined = matches!(status.role, Role::Follower | Role::Leader | Role::Learner);
    list.push(("joined", verdict(joined, "no place in the cluster yet")));
    list.push(("member", verdict(!status.removed, "this node was removed from the cluster")));
    list.push(("disk", verdict(!status.disk_full, "the disk is almost full")));
    let low = app.power().yields();
    list.push(("power", verdict(!low, "the UPS is on battery and nearly empty")));
    list.push(("leader", verdict(status.leader.is_some(), "no leader is known")));
    let lag = status.commit_index.saturating_sub(status.applied_index);
    list.push(("caught-up", verdict(lag <= READY_LAG, &format!("{lag} entries behind"))));
    list
}

/// 200 on the leader only.
pub async fn leaderz(State(app): State<App>) -> Response {
    let leads = app.live().is_ok_and(|live| live.cluster.status().role == Role::Leader);
    if leads {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not the leader\n").into_response()
    }
}

/// All metrics of the process.
pub async fn metrics(State(app): State<App>) -> Response {
    let text = app.metrics().text(&app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
