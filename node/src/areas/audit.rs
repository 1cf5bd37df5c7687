//! The audit trail, newest first: who asked for what, and what came of it.
//!
//! Invariant: it is read only; there is no route that changes or removes a record.

use axum::Json;
use domain::View;
use domain::audit::{self, Record};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::areas::{Page, time};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// Records that one request looks through at most, whatever the filter leaves of them.
const LOOKED: u64 = 100_000;
const CHUNK: usize = 1024;

/// What a search of the trail takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct AuditParams {
    /// Only what this operator asked for.
    pub operator: Option<String>,
    /// Only actions that begin so, such as `commands.` or `operators.login`.
    pub action: Option<String>,
    /// Only where action, object or operator contains this text, whatever its case.
    pub query: Option<String>,
    /// `true`: only what was refused; `false`: only what was done.
    pub refused: Option<bool>,
    /// Not before this time (RFC 3339).
    pub from: Option<String>,
    /// Not after this time (RFC 3339).
    pub to: Option<String>,
    /// Oldest first, for a copy of the whole trail.
    #[serde(default)]
    pub oldest_first: bool,
    /// 1 to 1000 records; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// A record of the trail.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordBody {
    /// From 1, without gaps.
    pub sequence: u64,
    /// When.
    pub time: String,
    /// Who.
    pub operator: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// The refusal's code; null when it was done.
    pub refused: Option<String>,
    /// Index of the log's entry.
    pub index: u64,
    /// blake3 of the change in full, 64 hex digits.
    pub change: String,
    /// Id of the proposal, 32 hex digits.
    #[serde(default)]
    pub proposal: String,
    /// The log's stamp: milliseconds of Unix time, and a count below them.
    #[serde(default)]
    pub stamp: u64,
    /// Hash of the record before, 64 hex digits.
    #[serde(default)]
    pub previous: String,
    /// Hash of the record, 64 hex digits; the next one holds it, too.
    pub hash: String,
}

/// What a search wants.
struct Wanted<'a> {
    params: &'a AuditParams,
    query: Option<String>,
    from_s: i64,
    to_s: i64,
}

impl<'a> Wanted<'a> {
    fn of(params: &'a AuditParams) -> Result<Wanted<'a>, Problem> {
        let parse = |name: &str, text: &Option<String>, otherwise: i64| {
            text.as_deref().map_or(Ok(otherwise), |text| time::parse(name, text))
        };
        Ok(Wanted {
            params,
            query: params.query.as_ref().map(|text| text.to_lowercase()),
            from_s: parse("from", &params.from, i64::MIN)?,
            to_s: parse("to", &params.to, i64::MAX)?,
        })
    }

    fn takes(&self, record: &Record) -> bool {
        let at = record.stamp.seconds();
        let AuditParams { operator, action, refused, .. } = self.params;
        let contains = |query: &String| {
            [&record.operator, &record.action, &record.object]
                .into_iter()
                .any(|text| text.to_lowercase().contains(query))
        };
        (self.from_s..=self.to_s).contains(&at)
            && operator.as_ref().is_none_or(|name| record.operator == *name)
            && action.as_ref().is_none_or(|action| record.action.starts_with(action))
            && refused.is_none_or(|refused| record.refused.is_some() == refused)
            && self.query.as_ref().is_none_or(contains)
    }
}

/// Records of the trail, newest first. A page may be short, or empty, and yet have a next one:
/// one request looks through 100,000 records.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditParams), responses(
    (status = 200, body = Page<RecordBody>),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(
    app: Asked,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<RecordBody>>, Problem> {
    let view = app.view()?;
    let look = move || find(&view, &params);
    tokio::task::spawn_blocking(look).await.map_err(|_| Problem::fault())?.map(Json)
}

/// A page of the trail.
pub fn find(view: &dyn View, params: &AuditParams) -> Result<Page<RecordBody>, Problem> {
    let wanted = Wanted::of(params)?;
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let bad = |_| Problem::bad("bad_cursor", "not a cursor of this list");
    let cursor: Option<u64> = params.cursor.as_deref().map(str::parse).transpose().map_err(bad)?;
    if params.oldest_first {
        return oldest(view, &wanted, cursor.unwrap_or(0), limit);
    }
    let before = match cursor {
        Some(before) => before,
        None => audit::last(view)?.saturating_add(1),
    };
    let (mut items, mut at) = (Vec::new(), before);
    let floor = before.saturating_sub(LOOKED);
    while at > 1 && at > floor {
        let behind = at.saturating_sub(1 + CHUNK as u64);
        let wanted_here = usize::try_from(at - 1 - behind).unwrap_or(CHUNK);
        for record in audit::records(view, behind, wanted_here)?.into_iter().rev() {
            if items.len() == limit {
                return Ok(Page { items, next: Some(at.to_string()) });
            }
            at = record.sequence;
            // The trail is in order of time: nothing older can be wanted any more.
            if record.stamp.seconds() < wanted.from_s {
                return Ok(Page { items, next: None });
            }
            if wanted.takes(&record) {
                items.push(RecordBody::of(record));
            }
        }
        at = at.min(behind + 1);
    }
    let next = (at > 1).then(|| at.to_string());
    Ok(Page { items, next })
}

fn oldest(
    view: &dyn View,
    wanted: &Wanted<'_>,
    behind: u64,
    limit: usize,
) -> Result<Page<RecordBody>, Problem> {
    let (mut items, mut at) = (Vec::new(), behind);
    let end = behind.saturating_add(LOOKED);
    while at < end {
        let found = audit::records(view, at, CHUNK)?;
        let last = found.len() < CHUNK;
        for record in found {
            if items.len() == limit || record.stamp.seconds() > wanted.to_s {
                let next = (items.len() == limit).then(|| at.to_string());
                return Ok(Page { items, next });
            }
            at = record.sequence;
            if wanted.takes(&record) {
                items.push(RecordBody::of(record));
            }
        }
        if last {
            return Ok(Page { items, next: None });
        }
    }
    Ok(Page { items, next: Some(at.to_string()) })
}

impl RecordBody {
    /// A record in the API's words.
    pub fn of(record: Record) -> RecordBody {
        RecordBody {
            sequence: record.sequence,
            time: time::stamp(record.stamp),
            operator: record.operator,
            action: record.action,
            object: record.object,
            refused: record.refused,
            index: record.index,
            change: hex(&record.change),
            proposal: record.proposal.to_string(),
            stamp: record.stamp.0,
            previous: hex(&record.previous),
            hash: hex(&record.hash),
        }
    }
}
