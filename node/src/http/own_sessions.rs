//! One's own sessions: where one is logged in, and an end to it (ASVS 5.0, V7.5.2).
//!
//! Invariants: nobody sees or ends another one's sessions here; the session that asks goes on; an
//! end needs the password, so that who finds a screen unlocked cannot lock its owner out.

use axum::Json;
use axum::extract::Extension;
use axum::http::StatusCode;
use domain::operators::{self, Change, SessionHash};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::areas::{Page, time};
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::server::Remote;
use crate::http::session::{own, prove_again};
use crate::secret::hex;

/// A session of the caller's.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnSession {
    /// By which it is named here; it opens nothing.
    pub id: String,
    /// Whether it is the one that asks.
    pub here: bool,
    /// The address from which it was begun, or what a token is for.
    pub from: String,
    /// Since when.
    pub begun: String,
    /// When it was last used, to a minute or so.
    pub used: String,
    /// When it ends at the latest.
    pub expires: String,
}

/// What is to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// The caller's password.
    pub password: String,
    /// Which session; all but the one that asks when left out.
    pub id: Option<String>,
}

/// The caller's sessions, newest first.
#[utoipa::path(get, path = "/api/v1/session/all", tag = "session",
    responses((status = 200, body = Page<OwnSession>)))]
pub async fn list(app: Asked) -> Result<Json<Page<OwnSession>>, Problem> {
    let items = all(&app)?.into_iter().map(|(_, one)| one).collect();
    Ok(Json(Page { items, next: None }))
}

/// The caller's sessions that hold, newest first.
pub fn all(app: &Asked) -> Result<Vec<(SessionHash, OwnSession)>, Problem> {
    let (view, now) = (app.whole_view()?, app.live()?.cluster.stamp_now());
    let caller = app.caller();
    let mut found = Vec::new();
    for (hash, session) in operators::sessions(&view, &caller.name)? {
        if operators::session(&view, &hash, now)?.is_none() {
            continue;
        }
        let one = OwnSession {
            id: hash.get(..8).map(hex).unwrap_or_default(),
            here: caller.session == Some(hash),
            from: session.label,
            begun: time::stamp(session.begun),
            used: time::stamp(session.used),
            expires: time::stamp(session.expires),
        };
        found.push((session.begun, hash, one));
    }
    found.sort_by_key(|(begun, ..)| std::cmp::Reverse(*begun));
    Ok(found.into_iter().map(|(_, hash, one)| (hash, one)).collect())
}

/// End one of the caller's other sessions, or all of them, everywhere.
#[utoipa::path(post, path = "/api/v1/session/all/end", tag = "session", request_body = Ending,
    responses(
    (status = 204, description = "ended"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn end(
    app: Asked,
    Extension(remote): Extension<Remote>,
    Body(ending): Body<Ending>,
) -> Result<StatusCode, Problem> {
    end_others(&app, remote, ending).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends others of the caller's sessions, after his password.
pub async fn end_others(app: &Asked, remote: Remote, ending: Ending) -> Result<(), Problem> {
    let name = app.caller().name.clone();
    let hash = own(app, &name)?.password.map(|password| password.hash);
    prove_again(app, remote, Zeroizing::new(ending.password), hash).await?;
    let meant = |one: &OwnSession| !one.here && ending.id.as_ref().is_none_or(|id| *id == one.id);
    let mut ended = 0;
    for (session, _) in all(app)?.into_iter().filter(|(_, one)| meant(one)) {
        let change = Change::Logout { name: name.clone(), session };
        app.propose_as_node(domain::Change::Operators(change)).await?;
        ended += 1;
    }
    match ending.id {
        Some(id) if ended == 0 => Err(Problem::missing("unknown_session", id)),
        _ => Ok(()),
    }
}
