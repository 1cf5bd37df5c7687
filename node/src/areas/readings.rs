//! Stored values: what the cluster holds, with their time and quality.
//!
//! Invariants: a value is the exact decimal number that the meter sent; conflicting later values
//! are shown beside the first, never instead.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use domain::assets::Meter;
use domain::readings::{Corrected, Series, flag};
use domain::{Obis, assets};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::segment::{Point, Segments};
use utoipa::{IntoParams, ToSchema};

use crate::app::now_s;
use crate::areas::cursor::Question;
use crate::areas::{clocks, history, number, time};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// The most values of one answer.
pub const MAX_VALUES: usize = 50_000;
/// Seconds of a day of UTC.
pub const DAY_S: i64 = 86_400;
/// What is asked for when no register is named.
pub const DEFAULT_OBIS: &str = "1-0:1.8.0";

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
    /// 1 to 50,000 values; a page may be a little longer, to end where an interval does.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Corrections of entries of the log up to this index only; all when left out.
    pub as_of: Option<u64>,
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
    /// `cursor` of the next page; null on the last one.
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
    /// conflict; several with commas. Of a corrected value: edited, estimated_linear,
    /// estimated_own_profile, estimated_class_profile, estimated_other.
    pub quality: String,
    /// What the meter said, where a corrected value counts instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub measured: Option<Box<RawValue>>,
    /// Who corrected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why it was corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where values are read from: what this node has applied. For threads that may block.
#[derive(Clone)]
pub struct Source {
    /// The tables.
    pub view: Seen,
    /// The values.
    pub segments: Segments,
}

/// One register of one meter: ordinal, minutes of an interval, register.
pub type Place = (u32, u16, Obis);

/// What is known of one time: its end, what was measured, what counts instead.
pub type Counted = (i64, Option<Point>, Option<Corrected>);

impl Source {
    /// What this node has, as the caller may see it.
    pub fn of(app: &Asked) -> Result<Source, Problem> {
        Ok(Source { view: app.view()?, segments: app.live()?.cluster.readings() })
    }

    /// Runs a question beside the request's task: it reads files.
    pub async fn ask<T: Send + 'static>(
        self,
        question: impl FnOnce(&Source) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let run = move || question(&self);
        tokio::task::spawn_blocking(run).await.map_err(|_| Problem::fault())?
    }

    /// Values of a register with `from < end <= to`, with the corrections that count, in order of
    /// time; later values unlike the first one follow it.
    pub fn counted(
        &self,
        (ordinal, interval_minutes, obis): Place,
        span: (i64, i64),
        as_of: Option<u64>,
    ) -> Result<Vec<Counted>, Problem> {
        let found = self.segments.query(interval_minutes, ordinal, obis.0, span.0, span.1);
        self.with_corrections((ordinal, interval_minutes, obis), found.map_err(told)?, span, as_of)
    }

    /// The same for values that are read already.
    pub fn with_corrections(
        &self,
        place: Place,
        mut points: Vec<Point>,
        span: (i64, i64),
        as_of: Option<u64>,
    ) -> Result<Vec<Counted>, Problem> {
        clocks::mark(&self.view, (place.0, place.1), &mut points, span, as_of)?;
        Ok(merged(points, history::counting(&self.view, place, span, as_of)?))
    }

    /// A meter by its serial.
    pub fn meter(&self, serial: &str) -> Result<Meter, Problem> {
        assets::meter(&self.view, serial)?
            .ok_or_else(|| Problem::missing("unknown_meter", serial.to_string()))
    }

    /// The series of a meter that a question means, with its interval.
    pub fn series(
        &self,
        meter: &Meter,
        obis: Obis,
        interval: Option<u16>,
    ) -> Result<Option<(u16, Series)>, Problem> {
        Ok(choose(&domain::readings::series(&self.view, meter.ordinal)?, obis, interval))
    }
}

/// Stored values of a register of a meter.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/readings", tag = "meters",
    params(("serial" = String, Path, description = "serial"), ReadingParams), responses(
    (status = 200, body = Readings),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn query(
    app: Asked,
    Path(serial): Path<String>,
    Params(params): Params<ReadingParams>,
) -> Result<Json<Readings>, Problem> {
    let source = Source::of(&app)?;
    source.ask(move |source| one_page(source, serial, &params)).await.map(Json)
}

fn one_page(source: &Source, serial: String, params: &ReadingParams) -> Result<Readings, Problem> {
    let meter = source.meter(&serial)?;
    let register = obis(params.obis.as_deref().unwrap_or(DEFAULT_OBIS))?;
    let (mut from_s, to_s) = span(params.from.as_deref(), params.to.as_deref())?;
    let chosen = source.series(&meter, register, params.interval)?;
    let interval_minutes = chosen.map_or(params.interval.unwrap_or(0), |(minutes, _)| minutes);
    let minutes = interval_minutes.to_string();
    let as_of = params.as_of.map(|index| index.to_string()).unwrap_or_default();
    let name = register.to_string();
    let question = Question::new(&["readings", &serial, &name, &minutes, &as_of]);
    if let Some(cursor) = &params.cursor {
        from_s = question.number(cursor)?;
    }
    let limit = params.limit.unwrap_or(MAX_VALUES).clamp(1, MAX_VALUES);
    let mut found: Vec<Counted> = Vec::new();
    let mut series = None;
    if let Some((_, known)) = chosen {
        let place = (meter.ordinal, interval_minutes, register);
        // Nothing is stored before the beginning of time or after tomorrow.
        let (mut at_s, to_s) = (from_s.max(-1), to_s.min(now() + DAY_S));
        while at_s < to_s && found.len() <= limit {
            let until_s = window_end(at_s, interval_minutes, limit, to_s);
            found.extend(source.counted(place, (at_s, until_s), params.as_of)?);
            at_s = until_s;
        }
        series = Some(known);
    }
    // A page ends where an interval does, so that values beside each other stay together.
    let last_s = found.get(limit - 1).map(|(end_s, ..)| *end_s);
    let cut =
        last_s.map_or(found.len(), |last_s| found.partition_point(|(end_s, ..)| *end_s <= last_s));
    let more = cut < found.len();
    found.truncate(cut);
    let next = last_s.filter(|_| more).map(|last_s| question.cursor(&last_s.to_string()));
    let values = series.map_or(Ok(Vec::new()), |series| readings(&series, found))?;
    Ok(Readings { serial, obis: name, interval_minutes, values, next })
}

/// Values as the API tells them.
pub fn readings(series: &Series, found: Vec<Counted>) -> Result<Vec<Reading>, Problem> {
    found.into_iter().map(|(_, point, corrected)| reading(series, point, corrected)).collect()
}

/// A fault of the segments as a problem; its cause stands in the log.
pub fn told(error: storage::Error) -> Problem {
    tracing::error!(code = error.code(), %error, "stored values cannot be read");
    // What another node, or the same one later, can answer is no fault of the program.
    let (code, text) = match error.code() {
        "segment_damaged" => (
            "segment_damaged",
            "a file of this range is damaged and waits for a sound copy of a peer",
        ),
        "archive_unset" => {
            ("archive_unset", "values of this range lie in the archive, and this node has none")
        }
        "archive_damaged" => {
            ("archive_damaged", "a file of this range in the archive is not what was put there")
        }
        "place_fault" => ("archive_unreachable", "the archive does not answer"),
        _ => return Problem::fault(),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, text)
}

/// Values of registers of a meter with `from < end <= to`, read beside the request's task.
pub async fn points(
    app: &Asked,
    interval_minutes: u16,
    ordinal: u32,
    registers: Vec<Obis>,
    (from_s, to_s): (i64, i64),
) -> Result<Vec<Vec<Point>>, Problem> {
    let source = Source::of(app)?;
    let run = move |source: &Source| {
        let columns: Vec<_> = registers.iter().map(|obis| obis.0).collect();
        let segments = &source.segments;
        let found = segments.query_columns(interval_minutes, ordinal, &columns, from_s, to_s);
        let (mut found, span) = (found.map_err(told)?, (from_s, to_s));
        for points in &mut found {
            clocks::mark(&source.view, (ordinal, interval_minutes), points, span, None)?;
        }
        Ok(found)
    };
    source.ask(run).await
}

/// The end of a window that a whole page fits into, where there are no holes: a range of years
/// is not read at once when a day is asked for.
fn window_end(from_s: i64, interval_minutes: u16, limit: usize, to_s: i64) -> i64 {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let width = rows.saturating_mul(i64::from(interval_minutes.max(1)) * 60);
    from_s.saturating_add(width.max(31 * DAY_S)).min(to_s)
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

/// A range of time as it was asked for, seconds UTC: the last day when nothing is said.
///
/// Refused as `bad_range`: one that ends before it begins, begins after tomorrow, or ends before
/// 1970.
pub fn span(from: Option<&str>, to: Option<&str>) -> Result<(i64, i64), Problem> {
    let to_s = to.map_or_else(|| Ok(now()), |text| time::parse("to", text))?;
    let from_s = from.map_or(Ok(to_s.saturating_sub(DAY_S)), |text| time::parse("from", text))?;
    if from_s >= to_s {
        return Err(Problem::bad("bad_range", "from must be before to"));
    }
    if from_s > now() + DAY_S {
        return Err(Problem::bad("bad_range", "the range begins in the future"));
    }
    if to_s <= 0 {
        return Err(Problem::bad("bad_range", "the range ends before 1970"));
    }
    Ok((from_s, to_s))
}

/// This node's clock, seconds UTC.
pub fn now() -> i64 {
    i64::try_from(now_s()).unwrap_or(i64::MAX / 2)
}

/// Reads an OBIS code.
pub fn obis(text: &str) -> Result<Obis, Problem> {
    text.parse()
        .map_err(|error: domain::Malformed| Problem::bad("bad_obis", format!("{text:?}: {error}")))
}

/// What was measured with what counts instead, in order of time; either may be missing.
pub fn merged(points: Vec<Point>, mut corrected: BTreeMap<i64, Corrected>) -> Vec<Counted> {
    let mut merged: Vec<_> = points
        .into_iter()
        .map(|point| {
            let counts = if point.beside { None } else { corrected.remove(&point.end_s) };
            (point.end_s, Some(point), counts)
        })
        .collect();
    merged.extend(corrected.into_iter().map(|(end_s, one)| (end_s, None, Some(one))));
    merged.sort_by_key(|(end_s, ..)| *end_s);
    merged
}

/// One value as the API tells it.
pub fn reading(
    series: &Series,
    point: Option<Point>,
    corrected: Option<Corrected>,
) -> Result<Reading, Problem> {
    let exact = |value: i64| {
        let text = number::decimal(value, series.scaler);
        RawValue::from_string(text).map_err(|_| Problem::fault())
    };
    let unit = number::unit(series.unit);
    if let Some(one) = corrected {
        return Ok(Reading {
            time: time::rfc3339(one.end_s),
            value: exact(one.value)?,
            unit,
            quality: history::quality_word(one.quality).to_string(),
            measured: point.map(|point| exact(point.value)).transpose()?,
            author: Some(one.author),
            reason: Some(one.reason),
        });
    }
    let point = point.ok_or_else(Problem::fault)?;
    Ok(Reading {
        time: time::rfc3339(point.end_s),
        value: exact(point.value)?,
        unit,
        quality: quality(point.flag, point.beside),
        measured: None,
        author: None,
        reason: None,
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::told;

    #[test]
    fn what_the_operator_can_mend_is_told_and_the_rest_is_a_fault() {
        let damaged = |code| {
            let (path, detail) = (PathBuf::from("m"), "hash".to_owned());
            storage::Error::Damaged { code, what: "a file", path, detail }
        };
        let away = std::io::Error::other("no route");
        let misuse = |code| storage::Error::Misuse { code, detail: String::new() };
        let cases = [
            (damaged("segment_damaged"), 503, "segment_damaged"),
            (damaged("archive_damaged"), 503, "archive_damaged"),
            (misuse("archive_unset"), 503, "archive_unset"),
            (
                storage::Error::Remote { url: "s3://m".to_owned(), source: Arc::new(away) },
                503,
                "archive_unreachable",
            ),
            (misuse("unsorted"), 500, "fault"),
        ];
        for (error, status, code) in cases {
            let name = error.code();
            let problem = told(error);
            assert_eq!((problem.status.as_u16(), &*problem.code), (status, code), "{name}");
        }
    }
}
