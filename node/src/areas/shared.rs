//! What monitoring servers share: acknowledgements, silences, rules that were made at one of them.
//!
//! Invariants: a value is text that monitors understand, and nothing here looks into it; a page is
//! bounded and goes on behind the last place; whoever was away so long that removals are forgotten
//! is told to read everything anew.

use axum::Json;
use axum::http::StatusCode;
use domain::shared::{self, Change, Item, MAX_ITEMS};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::random_id;
use crate::areas::time;
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};

/// The most items of one page.
const MAX_PAGE: usize = 200;

/// From where items are wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SharedParams {
    /// Only items behind this place; 0: all.
    #[serde(default)]
    pub after: u64,
}

/// Items in order of their places.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SharedBody {
    /// The items.
    pub items: Vec<SharedItem>,
    /// The last place that was given. A reader who stands behind it follows another cluster.
    pub last: u64,
    /// Removals up to this place are forgotten: a reader who stands before it reads from 0 on.
    pub forgotten: u64,
    /// Whether there are more.
    pub more: bool,
}

/// A name and what it is now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SharedItem {
    /// Where a reader goes on.
    pub place: u64,
    /// Such as `silence/17a0`.
    pub name: String,
    /// Null after a removal.
    pub value: Option<String>,
    /// When it became that.
    pub at: String,
}

/// What is written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sharing {
    /// 1 to 100.
    pub items: Vec<SharingItem>,
}

/// A name and what it is from now on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SharingItem {
    /// 1 to 400 octets.
    pub name: String,
    /// At most 16 KiB; null removes it.
    pub value: Option<String>,
}

/// What monitors share.
#[utoipa::path(get, path = "/api/v1/monitor/shared", tag = "monitor", params(SharedParams),
    responses((status = 200, body = SharedBody)))]
pub async fn show(
    app: Asked,
    Params(params): Params<SharedParams>,
) -> Result<Json<SharedBody>, Problem> {
    let seen = app.fresh_view().await?;
    // The route needs the right in the whole utility: nothing of this is of a region.
    let view = seen.whole();
    let (last, forgotten) = shared::bounds(view)?;
    let found = shared::behind(view, params.after, MAX_PAGE)?;
    let more = found.len() == MAX_PAGE;
    let items = found.into_iter().map(|(name, kept)| SharedItem {
        place: kept.place,
        name,
        value: kept.value.map(|octets| String::from_utf8_lossy(&octets).into_owned()),
        at: time::stamp(kept.at),
    });
    Ok(Json(SharedBody { items: items.collect(), last, forgotten, more }))
}

/// Write or remove some of it.
#[utoipa::path(post, path = "/api/v1/monitor/shared", tag = "monitor", request_body = Sharing,
    responses(
    (status = 204),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn put(app: Asked, Body(sharing): Body<Sharing>) -> Result<StatusCode, Problem> {
    let items = sharing
        .items
        .into_iter()
        .take(MAX_ITEMS + 1)
        .map(|item| Item { name: item.name, value: item.value.map(String::into_bytes) });
    let change = Change::Put { items: items.collect() };
    app.propose(random_id()?, domain::Change::Shared(change)).await?;
    Ok(StatusCode::NO_CONTENT)
}
