//! Gaps: which values were due and are not stored, of a meter, and of the meters behind a
//! concentrator.
//!
//! Invariants: a gap is `open` while its values may still come by themselves or be asked for, and
//! `missing` when the meter has answered that it does not hold them. Slots are kept for 62 days;
//! older gaps are not known.

use axum::Json;
use axum::extract::Path;
use domain::assets::{self, Meter};
use domain::readings::{self, Gap};
use domain::{Fault, View};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::now_s;
use crate::areas::{ListParams, Page, time};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// How far back gaps are known, seconds.
const KEPT_S: i64 = 62 * 86_400;
/// Meters that one answer about a concentrator looks at.
const LOOKED_AT: usize = 256;

/// Values in a row that were due and are not stored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GapBody {
    /// Which profile, minutes.
    pub interval_minutes: u16,
    /// End of the last interval before it.
    pub from: String,
    /// End of its last interval.
    pub to: String,
    /// How many values.
    pub values: u64,
    /// `open` or `missing`.
    pub state: String,
}

/// The gaps of a meter in short.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeterGaps {
    /// Serial.
    pub serial: String,
    /// How many values are due and may still come.
    pub open: u64,
    /// How many values the meter does not hold.
    pub missing: u64,
    /// How many gaps that makes.
    pub gaps: u64,
    /// End of the last interval before the first of them.
    pub first: String,
    /// End of the last interval of the last of them.
    pub last: String,
}

/// What a question for a meter's gaps takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct GapParams {
    /// Interval ends after this time (RFC 3339); 62 days back when left out.
    pub from: Option<String>,
    /// Interval ends up to this time (RFC 3339); now when left out.
    pub to: Option<String>,
}

impl GapParams {
    fn span(&self) -> Result<(i64, i64), Problem> {
        let now_s = i64::try_from(now_s()).unwrap_or(i64::MAX);
        let from = self.from.as_deref().map(|from| time::parse("from", from)).transpose()?;
        let to = self.to.as_deref().map(|to| time::parse("to", to)).transpose()?;
        let (from_s, to_s) = (from.unwrap_or(now_s - KEPT_S), to.unwrap_or(now_s));
        if from_s >= to_s {
            return Err(Problem::bad("bad_range", "from must be before to"));
        }
        Ok((from_s, to_s))
    }
}

/// The gaps of a meter, by profile and time.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/gaps", tag = "collection",
    params(("serial" = String, Path, description = "serial"), GapParams), responses(
    (status = 200, body = Page<GapBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn of_meter(
    app: Asked,
    Path(serial): Path<String>,
    Params(params): Params<GapParams>,
) -> Result<Json<Page<GapBody>>, Problem> {
    found(&app.view()?, &serial, &params).map(|items| Json(Page { items, next: None }))
}

/// The gaps of a meter that is seen.
pub fn found(view: &Seen, serial: &str, params: &GapParams) -> Result<Vec<GapBody>, Problem> {
    let unknown = || Problem::missing("unknown_meter", serial.to_owned());
    let meter = assets::meter(view, serial)?.ok_or_else(unknown)?;
    let gaps = readings::gaps_of(view, &meter, params.span()?)?;
    Ok(gaps.iter().map(body).collect())
}

/// The meters behind a concentrator that have gaps within 62 days, in order of their serials. A
/// page looks at 256 meters and may hold none though there are more pages.
#[utoipa::path(get, path = "/api/v1/concentrators/{id}/gaps", tag = "collection",
    params(("id" = String, Path, description = "logical device name"), ListParams), responses(
    (status = 200, body = Page<MeterGaps>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn behind(
    app: Asked,
    Path(id): Path<String>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<MeterGaps>>, Problem> {
    of_concentrator(&app, &id, params).await.map(Json)
}

/// The page of the meters behind a concentrator that have gaps.
pub async fn of_concentrator(
    app: &Asked,
    id: &str,
    params: ListParams,
) -> Result<Page<MeterGaps>, Problem> {
    let (view, id) = (app.view()?, id.to_owned());
    // It reads hundreds of rows: beside the requests.
    let found = tokio::task::spawn_blocking(move || page(&view, &id, &params)).await;
    found.map_err(|_| Problem::fault())?
}

fn page(view: &Seen, id: &str, params: &ListParams) -> Result<Page<MeterGaps>, Problem> {
    if assets::concentrator(view, id)?.is_none() {
        return Err(Problem::missing("unknown_concentrator", id.to_owned()));
    }
    let (limit, mut cursor) = (params.limit(), params.cursor.clone());
    let span = GapParams::default().span()?;
    let meters = assets::meters_of(view, id, cursor.as_deref(), LOOKED_AT)?;
    let more = meters.len() == LOOKED_AT;
    let mut items = Vec::new();
    for meter in &meters {
        if items.len() == limit {
            return Ok(Page { items, next: cursor });
        }
        cursor = Some(meter.serial.clone());
        items.extend(in_short(view, meter, span)?);
    }
    Ok(Page { items, next: cursor.filter(|_| more) })
}

fn in_short(view: &dyn View, meter: &Meter, span: (i64, i64)) -> Result<Option<MeterGaps>, Fault> {
    let gaps = readings::gaps_of(view, meter, span)?;
    let values = |lost: bool| gaps.iter().filter(|gap| gap.lost == lost).map(Gap::slots).sum();
    let first = gaps.iter().map(|gap| gap.from_s).min();
    let last = gaps.iter().map(|gap| gap.to_s).max();
    Ok(first.zip(last).map(|(first_s, last_s)| MeterGaps {
        serial: meter.serial.clone(),
        open: values(false),
        missing: values(true),
        gaps: gaps.len() as u64,
        first: time::rfc3339(first_s),
        last: time::rfc3339(last_s),
    }))
}

fn body(gap: &Gap) -> GapBody {
    GapBody {
        interval_minutes: gap.interval_minutes,
        from: time::rfc3339(gap.from_s),
        to: time::rfc3339(gap.to_s),
        values: gap.slots(),
        state: if gap.lost { "missing" } else { "open" }.to_owned(),
    }
}
