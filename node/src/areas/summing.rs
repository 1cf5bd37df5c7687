//! Sums over local hours, days and months: of one meter, or of many.
//!
//! Invariants: a sum is of what counts, corrections included; periods come whole, from the one
//! that holds `from` to the one that holds the last moment before `to`; no more values are held
//! at once than [`AT_ONCE`].

use axum::Json;
use axum::extract::Path;
use domain::Obis;
use domain::readings::Series;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::segment::Point;
use utoipa::{IntoParams, ToSchema};

use crate::areas::cursor::Question;
use crate::areas::periods::{Period, Span, check_aligned, spans, zone};
use crate::areas::readings::{self, DEFAULT_OBIS, Place, Source};
use crate::areas::sums::{self, Kind, Sum};
use crate::areas::values::{Chosen, Filter, PAGE_VALUES, most_values, points_of};
use crate::areas::{Page, number, time};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// Values of one meter that are held at once.
const AT_ONCE: usize = 50_000;
/// The most periods of one meter in one answer.
const MAX_PERIODS: usize = 4000;

/// What a question for sums takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SumParams {
    /// OBIS code; `1-0:1.8.0` when left out.
    pub obis: Option<String>,
    /// The first period is the one that holds this time (RFC 3339).
    pub from: String,
    /// The last period is the one that holds the last moment before this time (RFC 3339).
    pub to: String,
    /// hour, day or month; day when left out.
    pub period: Option<Period>,
    /// Time zone of IANA whose days they are, such as `Europe/Berlin`; UTC when left out.
    pub zone: Option<String>,
    /// Minutes of an interval; the shortest stored when left out.
    pub interval: Option<u16>,
    /// Corrections of entries of the log up to this index only; all when left out.
    pub as_of: Option<u64>,
    /// 1 to 4000 periods; 1000 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// What a question for the sums of many meters takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ManySumParams {
    /// Only meters whose serial or model contains this text, whatever its case.
    pub query: Option<String>,
    /// Only meters behind this concentrator.
    pub concentrator: Option<String>,
    /// OBIS code; `1-0:1.8.0` when left out.
    pub obis: Option<String>,
    /// The first period is the one that holds this time (RFC 3339).
    pub from: String,
    /// The last period is the one that holds the last moment before this time (RFC 3339).
    pub to: String,
    /// hour, day or month; day when left out.
    pub period: Option<Period>,
    /// Time zone of IANA whose days they are, such as `Europe/Berlin`; UTC when left out.
    pub zone: Option<String>,
    /// Minutes of an interval; the shortest stored when left out.
    pub interval: Option<u16>,
    /// Corrections of entries of the log up to this index only; all when left out.
    pub as_of: Option<u64>,
    /// 1 to 1000 meters; 100 when left out. Long ranges make shorter pages.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Sums of one register.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sums {
    /// The meter.
    pub serial: String,
    /// The register.
    pub obis: String,
    /// Minutes of an interval.
    pub interval_minutes: u16,
    /// amount: values of intervals are added. register: differences of readings are. level: least,
    /// mean and greatest.
    pub kind: String,
    /// Unit.
    pub unit: String,
    /// The time zone.
    pub zone: String,
    /// The periods in order of time.
    pub sums: Vec<SumBody>,
    /// `cursor` of the next page; null on the last one.
    pub next: Option<String>,
}

/// Sums of one meter of many.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeterSums {
    /// The meter.
    pub serial: String,
    /// Minutes of an interval.
    pub interval_minutes: u16,
    /// amount, register or level.
    pub kind: String,
    /// Unit.
    pub unit: String,
    /// The periods in order of time.
    pub sums: Vec<SumBody>,
}

/// One period.
#[derive(Debug, Serialize, ToSchema)]
pub struct SumBody {
    /// The period in its zone: `2026-03`, `2026-03-29`, `2026-03-29T03:00:00+02:00`.
    pub period: String,
    /// Its first moment, UTC.
    pub start: String,
    /// The first moment after it, UTC.
    pub end: String,
    /// Values that it should have.
    pub expected: u64,
    /// Values that it has.
    pub stored: u64,
    /// Whether the sum is the whole truth.
    pub complete: bool,
    /// What passed, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub sum: Option<Box<RawValue>>,
    /// How often the register went back; such a step adds nothing.
    #[serde(skip_serializing_if = "is_none")]
    pub resets: u64,
    /// Least value of a level.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub min: Option<Box<RawValue>>,
    /// Mean value of a level, rounded to the meter's digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub mean: Option<Box<RawValue>>,
    /// Greatest value of a level.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub max: Option<Box<RawValue>>,
}

/// Serde asks by reference.
fn is_none(resets: &u64) -> bool {
    *resets == 0
}

/// Sums of a register of a meter over local hours, days or months.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/sums", tag = "meters",
    params(("serial" = String, Path, description = "serial"), SumParams), responses(
    (status = 200, body = Sums),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    Path(serial): Path<String>,
    Params(params): Params<SumParams>,
) -> Result<Json<Sums>, Problem> {
    let source = Source::of(&app)?;
    source.ask(move |source| of_one(source, serial, &params)).await.map(Json)
}

fn of_one(source: &Source, serial: String, params: &SumParams) -> Result<Sums, Problem> {
    let meter = source.meter(&serial)?;
    let obis = readings::obis(params.obis.as_deref().unwrap_or(DEFAULT_OBIS))?;
    let (mut from_s, to_s) = readings::span(Some(&params.from), Some(&params.to))?;
    let period = params.period.unwrap_or(Period::Day);
    let zone = zone(params.zone.as_deref())?;
    let (interval_minutes, series) = source
        .series(&meter, obis, params.interval)?
        .ok_or_else(|| Problem::missing("unknown_series", format!("{serial} {obis}")))?;
    refuse_irregular(interval_minutes)?;
    let as_of = params.as_of.map(|index| index.to_string()).unwrap_or_default();
    let zone_name = zone.iana_name().unwrap_or("UTC").to_string();
    let minutes = interval_minutes.to_string();
    let parts = ["sums", &serial, &obis.to_string(), &minutes, &zone_name, word(period), &as_of];
    let question = Question::new(&parts);
    if let Some(cursor) = &params.cursor {
        from_s = question.number(cursor)?;
    }
    let limit = params.limit.unwrap_or(1000).clamp(1, MAX_PERIODS);
    // Periods before the first value and after tomorrow are empty for certain.
    let range = (from_s.max(series.first_s - 1), to_s.min(readings::now() + readings::DAY_S));
    let mut all = spans(period, &zone, range, limit + 1)?;
    let more = all.len() > limit;
    all.truncate(limit);
    check_aligned(&all, interval_minutes, &zone)?;
    let place = (meter.ordinal, interval_minutes, obis);
    let found = reckon(source, place, &series, &all, params.as_of)?;
    let next = all.last().filter(|_| more).map(|last| question.cursor(&last.end_s.to_string()));
    Ok(Sums {
        serial,
        obis: obis.to_string(),
        interval_minutes,
        kind: kind_word(sums::kind(obis, series.unit)).to_string(),
        unit: number::unit(series.unit),
        zone: zone_name,
        sums: bodies(&series, &all, &found)?,
        next,
    })
}

/// Sums of a register of many meters over local hours, days or months, in order of their serials.
#[utoipa::path(get, path = "/api/v1/readings/sums", tag = "readings", params(ManySumParams),
    responses(
    (status = 200, body = Page<MeterSums>),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(
    app: Asked,
    Params(params): Params<ManySumParams>,
) -> Result<Json<Page<MeterSums>>, Problem> {
    let source = Source::of(&app)?;
    source.ask(move |source| of_many(source, &params)).await.map(Json)
}

fn of_many(source: &Source, params: &ManySumParams) -> Result<Page<MeterSums>, Problem> {
    let obis = readings::obis(params.obis.as_deref().unwrap_or(DEFAULT_OBIS))?;
    let (from_s, to_s) = readings::span(Some(&params.from), Some(&params.to))?;
    if params.interval == Some(0) {
        refuse_irregular(0)?;
    }
    let zone = zone(params.zone.as_deref())?;
    let range = (from_s.max(0), to_s.min(readings::now() + readings::DAY_S));
    let all = spans(params.period.unwrap_or(Period::Day), &zone, range, MAX_PERIODS + 1)?;
    if all.len() > MAX_PERIODS {
        let text = format!("more than {MAX_PERIODS} periods; ask for a shorter range");
        return Err(Problem::bad("range_too_long", text));
    }
    let question = params.question(obis);
    let after = params.cursor.as_ref().map(|cursor| question.place(cursor)).transpose()?;
    let filter = Filter {
        query: params.query.as_deref(),
        concentrator: params.concentrator.as_deref(),
        obis,
        interval: params.interval,
    };
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let span = whole(&all).unwrap_or((0, 0));
    // A period in an answer weighs about as much as ten values that are read.
    let cost = |chosen: &Chosen| {
        most_values(chosen.interval_minutes, span).max(all.len() * 10).min(PAGE_VALUES)
    };
    let (meters, after) = filter.page(source, after, limit, cost)?;
    let meters: Vec<Chosen> =
        meters.into_iter().filter(|chosen| chosen.interval_minutes != 0).collect();
    let items = sums_of(source, &meters, &all, &zone, params.as_of)?;
    Ok(Page { items, next: after.map(|after| question.cursor(&after)) })
}

fn sums_of(
    source: &Source,
    meters: &[Chosen],
    all: &[Span],
    zone: &TimeZone,
    as_of: Option<u64>,
) -> Result<Vec<MeterSums>, Problem> {
    let mut items = Vec::with_capacity(meters.len());
    let Some(span) = whole(all) else { return Ok(items) };
    // One meter with more values than are held at once is reckoned piece by piece.
    let together = meters.len() > 1;
    let points = if together { points_of(source, meters, span)? } else { Vec::new() };
    let mut points = points.into_iter();
    for Chosen { meter, interval_minutes, series } in meters {
        check_aligned(all, *interval_minutes, zone)?;
        let place = (meter.ordinal, *interval_minutes, series.obis);
        let found = match points.next() {
            Some(points) => {
                let values = values(source, place, points, span, as_of)?;
                let kind = sums::kind(series.obis, series.unit);
                sums::sums(kind, &values, all, i64::from(*interval_minutes) * 60)
            }
            None => reckon(source, place, series, all, as_of)?,
        };
        items.push(MeterSums {
            serial: meter.serial.clone(),
            interval_minutes: *interval_minutes,
            kind: kind_word(sums::kind(series.obis, series.unit)).to_string(),
            unit: number::unit(series.unit),
            sums: bodies(series, all, &found)?,
        });
    }
    Ok(items)
}

impl ManySumParams {
    fn question(&self, obis: Obis) -> Question {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let interval = self.interval.map(|minutes| minutes.to_string()).unwrap_or_default();
        let as_of = self.as_of.map(|index| index.to_string()).unwrap_or_default();
        let (query, concentrator, zone) =
            (text(&self.query), text(&self.concentrator), text(&self.zone));
        let (period, obis) = (word(self.period.unwrap_or(Period::Day)), obis.to_string());
        Question::new(&[
            "many sums",
            &query,
            &concentrator,
            &obis,
            &self.from,
            &self.to,
            &interval,
            &as_of,
            &zone,
            period,
        ])
    }
}

fn refuse_irregular(interval_minutes: u16) -> Result<(), Problem> {
    if interval_minutes != 0 {
        return Ok(());
    }
    let text = "irregular readings have no interval to sum over";
    Err(Problem::bad("no_interval", text))
}

/// From just before the first period, so that a reading at its beginning is in, to the last end.
fn whole(all: &[Span]) -> Option<(i64, i64)> {
    Some((all.first()?.start_s - 1, all.last()?.end_s))
}

/// The sums of periods, of which no more are read at once than memory should hold.
fn reckon(
    source: &Source,
    place: Place,
    series: &Series,
    all: &[Span],
    as_of: Option<u64>,
) -> Result<Vec<Sum>, Problem> {
    let kind = sums::kind(series.obis, series.unit);
    let mut found = Vec::with_capacity(all.len());
    let mut rest = all;
    while let Some(first) = rest.first() {
        let fits = |span: &Span| most_values(place.1, (first.start_s, span.end_s)) <= AT_ONCE;
        let (now, later) = rest.split_at(rest.partition_point(fits).max(1));
        rest = later;
        let Some(span) = whole(now) else { break };
        let (ordinal, interval_minutes, obis) = place;
        let points = source.segments.query(interval_minutes, ordinal, obis.0, span.0, span.1);
        let values = values(source, place, points.map_err(readings::told)?, span, as_of)?;
        found.extend(sums::sums(kind, &values, now, i64::from(interval_minutes) * 60));
    }
    Ok(found)
}

/// What counts, one value for each end.
fn values(
    source: &Source,
    place: Place,
    points: Vec<Point>,
    span: (i64, i64),
    as_of: Option<u64>,
) -> Result<Vec<(i64, i64)>, Problem> {
    let counted = source.with_corrections(place, points, span, as_of)?.into_iter();
    let value = counted.filter_map(|(end_s, point, corrected)| {
        let measured = point.filter(|point| !point.beside).map(|point| point.value);
        Some((end_s, corrected.map(|one| one.value).or(measured)?))
    });
    Ok(value.collect())
}

fn bodies(series: &Series, all: &[Span], found: &[Sum]) -> Result<Vec<SumBody>, Problem> {
    let exact = |value: i128| {
        let text = number::decimal(value, series.scaler);
        RawValue::from_string(text).map_err(|_| Problem::fault())
    };
    let body = |(span, sum): (&Span, &Sum)| {
        let level = sum.level;
        let mean = level.map(|(_, _, all)| rounded(all, i128::from(sum.stored)));
        Ok(SumBody {
            period: span.name.clone(),
            start: time::rfc3339(span.start_s),
            end: time::rfc3339(span.end_s),
            expected: sum.expected,
            stored: sum.stored,
            complete: sum.complete,
            sum: sum.sum.map(exact).transpose()?,
            resets: sum.resets,
            min: level.map(|(least, ..)| exact(least.into())).transpose()?,
            mean: mean.map(exact).transpose()?,
            max: level.map(|(_, greatest, _)| exact(greatest.into())).transpose()?,
        })
    };
    all.iter().zip(found).map(body).collect()
}

/// A quotient rounded to the nearest whole number, halves away from zero.
fn rounded(all: i128, count: i128) -> i128 {
    let count = count.max(1);
    let half = if all < 0 { -count } else { count };
    (all * 2 + half) / (count * 2)
}

fn word(period: Period) -> &'static str {
    match period {
        Period::Hour => "hour",
        Period::Day => "day",
        Period::Month => "month",
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Amount => "amount",
        Kind::Register => "register",
        Kind::Level => "level",
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn means_are_rounded_to_the_nearest() {
        for (all, count, expect) in
            [(7, 2, 4), (-7, 2, -4), (6, 4, 2), (5, 4, 1), (-5, 4, -1), (0, 3, 0), (9, 0, 9)]
        {
            assert_eq!(rounded(all, count), expect, "{all}/{count}");
        }
    }
}
