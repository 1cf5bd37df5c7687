//! Monitoring servers: who of them tells, and what was told.
//!
//! Invariants: whether a lease lasts is judged by the log's stamps; a monitor that asks only looks
//! makes no entry of the log; marks are given out in order of their places, each page bounded.

use axum::Json;
use axum::http::StatusCode;
use domain::senders::{self, Change, MAX_NOTES, Note};
use domain::{Done, apply::last_stamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::random_id;
use crate::areas::time;
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::{hex, unhex};

/// From where marks are wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SenderParams {
    /// Only marks behind this place; 0: all.
    #[serde(default)]
    pub after: u64,
    /// 1 to 1000; 1000 when left out.
    pub limit: Option<usize>,
}

/// Who tells, and what was told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SenderBody {
    /// The monitor that holds the lease or held it last; null before the first.
    pub monitor: Option<String>,
    /// Its instance.
    pub instance: u64,
    /// Raised whenever another takes the lease.
    pub epoch: u64,
    /// Whether the lease lasts, by the log's last stamp.
    pub lasts: bool,
    /// Until when.
    pub until: Option<String>,
    /// Marks behind `after`.
    pub marks: Vec<MarkBody>,
    /// Whether there are more.
    pub more: bool,
}

/// A mark: a hash over what, to whom and on which ways.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MarkBody {
    /// Where a reader goes on.
    pub place: u64,
    /// 32 hex digits.
    pub mark: String,
    /// Whether it says that something is over.
    pub over: bool,
    /// Whether it was told; otherwise it was about to be.
    pub told: bool,
    /// When that became known, Unix milliseconds.
    pub at_ms: u64,
}

/// A wish for the lease.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The monitor's name.
    pub monitor: String,
    /// Drawn once by the monitor.
    pub instance: u64,
    /// How long it lasts, 1000 to 300000.
    pub ttl_ms: u32,
}

/// The lease is held.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// Raised whenever another takes the lease.
    pub epoch: u64,
}

/// The lease is given up.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Yield {
    /// Who.
    pub instance: u64,
    /// Under which epoch.
    pub epoch: u64,
}

/// What is about to be told, or was.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Telling {
    /// Who.
    pub instance: u64,
    /// Under which epoch; of no matter for what was told.
    pub epoch: u64,
    /// Whether it was told.
    pub told: bool,
    /// 1 to 1000.
    pub notes: Vec<NoteBody>,
}

/// A mark to be noted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteBody {
    /// 32 hex digits.
    pub mark: String,
    /// Whether it says that something is over.
    pub over: bool,
}

/// Which monitor tells, and what was told.
#[utoipa::path(get, path = "/api/v1/monitor/sender", tag = "monitor", params(SenderParams),
    responses((status = 200, body = SenderBody)))]
pub async fn show(
    app: Asked,
    Params(params): Params<SenderParams>,
) -> Result<Json<SenderBody>, Problem> {
    let seen = app.fresh_view().await?;
    // The route needs the right in the whole utility: nothing of this is of a region.
    let view = seen.whole();
    let limit = params.limit.unwrap_or(MAX_NOTES).clamp(1, MAX_NOTES);
    let marks = senders::marks(view, params.after, limit)?;
    let lease = senders::lease(view)?;
    let now = last_stamp(view)?;
    let mark = |(mark, kept): &([u8; 16], senders::Mark)| MarkBody {
        place: kept.place,
        mark: hex(mark),
        over: kept.over,
        told: kept.told,
        at_ms: kept.at.0 / 1_000,
    };
    Ok(Json(SenderBody {
        instance: lease.as_ref().map_or(0, |lease| lease.instance),
        epoch: lease.as_ref().map_or(0, |lease| lease.epoch),
        lasts: lease.as_ref().is_some_and(|lease| lease.lasts(now)),
        until: lease.as_ref().map(|lease| time::stamp(lease.until)),
        monitor: lease.map(|lease| lease.monitor),
        more: marks.len() == limit,
        marks: marks.iter().map(mark).collect(),
    }))
}

/// Take the lease of the monitor that tells, or keep it.
#[utoipa::path(post, path = "/api/v1/monitor/sender", tag = "monitor", request_body = Hold,
    responses(
    (status = 200, body = Held),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn hold(app: Asked, Body(wish): Body<Hold>) -> Result<Json<Held>, Problem> {
    let Hold { monitor, instance, ttl_ms } = wish;
    let change = Change::Hold { monitor, instance, ttl_ms };
    match app.propose(random_id()?, domain::Change::Senders(change)).await? {
        (_, Done::Lease { epoch }) => Ok(Json(Held { epoch })),
        _ => Err(Problem::fault()),
    }
}

/// Give the lease up at once: another monitor may take it.
#[utoipa::path(delete, path = "/api/v1/monitor/sender", tag = "monitor", request_body = Yield,
    responses(
    (status = 204),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn give_up(app: Asked, Body(wish): Body<Yield>) -> Result<StatusCode, Problem> {
    let change = Change::Yield { instance: wish.instance, epoch: wish.epoch };
    app.propose(random_id()?, domain::Change::Senders(change)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Note what is about to be told, or was told.
#[utoipa::path(post, path = "/api/v1/monitor/told", tag = "monitor", request_body = Telling,
    responses(
    (status = 204),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn note(app: Asked, Body(telling): Body<Telling>) -> Result<StatusCode, Problem> {
    let Telling { instance, epoch, told, notes } = telling;
    let notes = notes.iter().map(|note| {
        let mark = unhex(&note.mark).and_then(|octets| octets.try_into().ok());
        let mark = mark.ok_or_else(|| Problem::bad("bad_mark", "a mark has 32 hex digits"))?;
        Ok(Note { mark, over: note.over })
    });
    let notes: Vec<Note> = notes.collect::<Result<_, Problem>>()?;
    let change = match told {
        true => Change::Told { notes },
        false => Change::Begin { instance, epoch, notes },
    };
    app.propose(random_id()?, domain::Change::Senders(change)).await?;
    Ok(StatusCode::NO_CONTENT)
}
