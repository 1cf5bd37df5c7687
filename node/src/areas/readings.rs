//! Stored values: what the cluster holds, with their time and quality; and how much was due.
//!
//! Invariants: a value is the exact decimal number that the meter sent; conflicting later values
//! are shown beside the first, never instead; the collection rate's denominator is what was due
//! and is shown with it.

use axum::Json;
use axum::extract::{Path, State};
use domain::readings::{Collection, Series, flag};
use domain::{Fault, Obis, View, assets};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::segment::Point;
use utoipa::{IntoParams, ToSchema};

use crate::app::{App, now_s};
use crate::areas::{number, time};
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// The most values of one answer.
pub const MAX_VALUES: usize = 50_000;
/// What is asked for when `from` is left out.
const DEFAULT_SPAN_S: i64 = 86_400;

/// What a query takes.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ReadingParams {
    /// OBIS code; `1-0:1.8.0` when left out.
    pub obis: Option<String>,
    /// Values of intervals that end after this time (RFC 3339); a day before `to` when left out.
    pub from: Option<String>,
    /// Values of intervals that end at this time or before (RFC 3339); now when left out.
    pub to: Option<String>,
    /// Minutes of an interval, 0 for irregular readings; the shortest stored when left out.
    pub interval: Option<u16>,
    /// 1 to 50,000 values.
    pub limit: Option<usize>,
}

/// Stored values of one register.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readings {
    /// The meter.
    pub serial: String,
    /// The register.
    pub obis: String,
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// The values in order of time.
    pub values: Vec<Reading>,
    /// When there are more: `from` of the next query.
    pub next: Option<String>,
}

/// One stored value.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reading {
    /// End of the interval.
    pub time: String,
    /// Exact decimal number in `unit`.
    #[schema(value_type = f64)]
    pub value: Box<RawValue>,
    /// Unit.
    pub unit: String,
    /// `measured`, or what speaks against it: clock_doubtful, power_failure, estimated, clock_set,
    /// conflict; several with commas.
    pub quality: String,
}

/// Stored values of a register of a meter.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/readings", tag = "meters",
    params(("serial" = String, Path, description = "serial"), ReadingParams), responses(
    (status = 200, body = Readings),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn query(
    State(app): State<App>,
    Path(serial): Path<String>,
    Params(params): Params<ReadingParams>,
) -> Result<Json<Readings>, Problem> {
    let view = app.view()?;
    let meter = assets::meter(&view, &serial)?
        .ok_or_else(|| Problem::missing("unknown_meter", serial.clone()))?;
    let obis = obis(params.obis.as_deref().unwrap_or("1-0:1.8.0"))?;
    let (from_s, to_s) = span(&params)?;
    let known = domain::readings::series(&view, meter.ordinal)?;
    let Some((interval_minutes, series)) = choose(&known, obis, params.interval) else {
        let interval_minutes = params.interval.unwrap_or(0);
        let obis = obis.to_string();
        let empty = Readings { serial, obis, interval_minutes, values: Vec::new(), next: None };
        return Ok(Json(empty));
    };
    let limit = params.limit.unwrap_or(MAX_VALUES).clamp(1, MAX_VALUES);
    let to_s = to_s.min(window_end(from_s.max(series.first_s - 1), interval_minutes, limit, to_s));
    let points = points(&app, interval_minutes, meter.ordinal, vec![obis], (from_s, to_s)).await?;
    let points = points.into_iter().next().unwrap_or_default();
    let next = (points.len() > limit)
        .then(|| points.get(limit - 1).map(|point| time::rfc3339(point.end_s)))
        .flatten();
    let values = points
        .into_iter()
        .take(limit)
        .map(|point| reading(&series, &point))
        .collect::<Result<_, _>>()?;
    Ok(Json(Readings { serial, obis: obis.to_string(), interval_minutes, values, next }))
}

/// Values of registers of a meter with `from < end <= to`, read beside the request's task.
pub async fn points(
    app: &App,
    interval_minutes: u16,
    ordinal: u32,
    registers: Vec<Obis>,
    (from_s, to_s): (i64, i64),
) -> Result<Vec<Vec<Point>>, Problem> {
    let segments = app.live()?.cluster.readings();
    let run = move || {
        let columns: Vec<_> = registers.iter().map(|obis| obis.0).collect();
        segments.query_columns(interval_minutes, ordinal, &columns, from_s, to_s)
    };
    let found = tokio::task::spawn_blocking(run).await.map_err(|_| Problem::fault())?;
    found.map_err(|error| {
        tracing::error!(%error, "stored values cannot be read");
        Problem::fault()
    })
}

/// The end of a window that surely holds more than `limit` rows of a regular series: a range of
/// years is not read at once when a day is asked for.
fn window_end(from_s: i64, interval_minutes: u16, limit: usize, to_s: i64) -> i64 {
    if interval_minutes == 0 {
        return to_s;
    }
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let width = rows.saturating_mul(i64::from(interval_minutes) * 60);
    // Holes make a window emptier than its width says; a year is the least that is looked at.
    from_s.saturating_add(width.max(366 * 86_400))
}

/// The series that a query means: of the interval asked for, else the shortest regular one, else
/// irregular readings.
pub fn choose(known: &[(u16, Series)], obis: Obis, interval: Option<u16>) -> Option<(u16, Series)> {
    known
        .iter()
        .filter(|(minutes, series)| {
            series.obis == obis && interval.is_none_or(|wanted| wanted == *minutes)
        })
        .min_by_key(|(minutes, _)| if *minutes == 0 { u16::MAX } else { *minutes })
        .copied()
}

fn span(params: &ReadingParams) -> Result<(i64, i64), Problem> {
    let to_s = match &params.to {
        Some(text) => time::parse("to", text)?,
        None => i64::try_from(now_s()).unwrap_or(i64::MAX),
    };
    let from_s = match &params.from {
        Some(text) => time::parse("from", text)?,
        None => to_s - DEFAULT_SPAN_S,
    };
    if from_s >= to_s {
        return Err(Problem::bad("bad_range", "from must be before to"));
    }
    Ok((from_s, to_s))
}

/// Reads an OBIS code.
pub fn obis(text: &str) -> Result<Obis, Problem> {
    text.parse()
        .map_err(|error: domain::Malformed| Problem::bad("bad_obis", format!("{text:?}: {error}")))
}

fn reading(series: &Series, point: &Point) -> Result<Reading, Problem> {
    let text = number::decimal(point.value, series.scaler);
    Ok(Reading {
        time: time::rfc3339(point.end_s),
        value: RawValue::from_string(text).map_err(|_| Problem::fault())?,
        unit: number::unit(series.unit),
        quality: quality(point.flag, point.beside),
    })
}

/// The quality in words; `beside`: a later value unlike the first.
pub fn quality(bits: u8, beside: bool) -> String {
    let mut words = Vec::new();
    for (bit, word) in [
        (flag::CLOCK_DOUBTFUL, "clock_doubtful"),
        (flag::POWER_FAILURE, "power_failure"),
        (flag::ESTIMATED, "estimated"),
        (flag::CLOCK_SET, "clock_set"),
    ] {
        if bits & bit != 0 {
            words.push(word);
        }
    }
    if beside {
        words.push("conflict");
    }
    if words.is_empty() { "measured".to_string() } else { words.join(",") }
}

/// How much of what was due is stored, as the background job reckoned it last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Interval ends of the last 24 hours.
    pub day: Collection,
    /// All interval ends whose slots are kept (62 days).
    pub kept: Collection,
    /// Registered concentrators that are not retired.
    pub concentrators: u64,
}

/// Reckons the collection; reads every meter, so it runs beside the requests.
pub fn collected(view: &dyn View) -> Result<Collected, Fault> {
    let now_s = i64::try_from(now_s()).unwrap_or(i64::MAX);
    Ok(Collected {
        day: domain::readings::collection(view, now_s - 86_400, now_s)?,
        kept: domain::readings::collection(view, i64::MIN / 4, now_s)?,
        concentrators: u64::from(assets::counts(view)?.concentrators),
    })
}

/// The collection as this node reckoned it last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct CollectionBody {
    /// Interval ends of the last 24 hours.
    pub day: WindowBody,
    /// All interval ends whose slots are kept (62 days).
    pub kept: WindowBody,
}

/// The collection of a window: stored of expected, with who is silent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct WindowBody {
    /// Interval values stored of those due.
    pub stored: u64,
    /// Interval values due: of every active meter since its registration or first value.
    pub expected: u64,
    /// Stored by expected in millionths, rounded down; null when nothing was due.
    pub rate_ppm: Option<u64>,
    /// Meters that had something due.
    pub meters: u64,
    /// Of these, meters with nothing stored.
    pub silent: u64,
}

impl From<Collection> for WindowBody {
    fn from(given: Collection) -> WindowBody {
        WindowBody {
            stored: given.stored,
            expected: given.expected,
            rate_ppm: given.rate_ppm(),
            meters: given.meters,
            silent: given.silent,
        }
    }
}

/// How much of what was due is stored, reckoned every few seconds.
#[utoipa::path(get, path = "/api/v1/collection", tag = "collection",
    responses((status = 200, body = CollectionBody)))]
pub async fn collection(State(app): State<App>) -> Result<Json<CollectionBody>, Problem> {
    app.live()?;
    let collected = app.collected();
    Ok(Json(CollectionBody { day: collected.day.into(), kept: collected.kept.into() }))
}
