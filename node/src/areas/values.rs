//! Stored values of many meters at once: a range, or the newest of each.
//!
//! Invariants: a page holds whole meters in order of their serials; how many it may hold follows
//! from the range before anything is read, so that memory is bounded; a meter without the
//! register is left out.

use axum::Json;
use domain::assets::{self, Meter};
use domain::readings::Series;
use domain::{Fault, Obis};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::areas::cursor::Question;
use crate::areas::readings::{self, DEFAULT_OBIS, Reading, Source};
use crate::areas::{Page, clocks, matches, number, time};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// The most values that one page reads.
pub const PAGE_VALUES: usize = 100_000;
/// Meters that one step of a look goes through.
const CHUNK: usize = 500;

/// What a question about many meters takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ManyParams {
    /// Only meters whose serial or model contains this text, whatever its case.
    pub query: Option<String>,
    /// Only meters behind this concentrator.
    pub concentrator: Option<String>,
    /// OBIS code; `1-0:1.8.0` when left out.
    pub obis: Option<String>,
    /// Values of intervals that end after this time (RFC 3339); a day before `to` when left out.
    pub from: Option<String>,
    /// Values of intervals that end at this time or before (RFC 3339); now when left out.
    pub to: Option<String>,
    /// Minutes of an interval, 0 for irregular readings; the shortest stored when left out.
    pub interval: Option<u16>,
    /// Corrections of entries of the log up to this index only; all when left out.
    pub as_of: Option<u64>,
    /// 1 to 1000 meters; 100 when left out. Long ranges make shorter pages.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// What a question for the newest values takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LatestParams {
    /// Only meters whose serial or model contains this text, whatever its case.
    pub query: Option<String>,
    /// Only meters behind this concentrator.
    pub concentrator: Option<String>,
    /// OBIS code; `1-0:1.8.0` when left out.
    pub obis: Option<String>,
    /// Minutes of an interval, 0 for irregular readings; the shortest stored when left out.
    pub interval: Option<u16>,
    /// 1 to 1000 meters; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Values of one meter of many.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeterValues {
    /// The meter.
    pub serial: String,
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// The values in order of time.
    pub values: Vec<Reading>,
}

/// The newest value of one meter of many, as measured.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeterLatest {
    /// The meter.
    pub serial: String,
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// End of the interval.
    pub time: String,
    /// Exact decimal number in `unit`.
    #[schema(value_type = f64)]
    pub value: Box<RawValue>,
    /// Unit.
    pub unit: String,
    /// `measured`, or what speaks against it.
    pub quality: String,
}

/// One meter of a page, with the series that is meant.
pub struct Chosen {
    /// The meter.
    pub meter: Meter,
    /// Minutes of an interval.
    pub interval_minutes: u16,
    /// The series.
    pub series: Series,
}

/// Which meters, and which of their series.
pub struct Filter<'a> {
    /// Text in serial or model.
    pub query: Option<&'a str>,
    /// The concentrator before them.
    pub concentrator: Option<&'a str>,
    /// The register.
    pub obis: Obis,
    /// Minutes of an interval, if it matters.
    pub interval: Option<u16>,
}

impl Filter<'_> {
    /// The next meters behind a serial that have the series, and whether more may follow: then the
    /// serial behind which they do. `cost` says what a meter adds to a page of [`PAGE_VALUES`].
    pub fn page(
        &self,
        source: &Source,
        after: Option<String>,
        limit: usize,
        cost: impl Fn(&Chosen) -> usize,
    ) -> Result<(Vec<Chosen>, Option<String>), Problem> {
        let (mut page, mut spent, mut after) = (Vec::new(), 0_usize, after);
        loop {
            let meters = self.meters(source, after.as_deref())?;
            let last = meters.len() < CHUNK;
            for meter in meters {
                let serial = meter.serial.clone();
                if let Some(chosen) = self.choose(source, meter)? {
                    let more = cost(&chosen);
                    if more > PAGE_VALUES {
                        let text = "one meter alone has too many values in this range";
                        return Err(Problem::bad("range_too_long", text));
                    }
                    if page.len() == limit || spent + more > PAGE_VALUES {
                        return Ok((page, after));
                    }
                    spent += more;
                    page.push(chosen);
                }
                after = Some(serial);
            }
            if last {
                return Ok((page, None));
            }
        }
    }

    fn meters(&self, source: &Source, after: Option<&str>) -> Result<Vec<Meter>, Fault> {
        match self.concentrator {
            Some(concentrator) => assets::meters_of(&source.view, concentrator, after, CHUNK),
            None => assets::meters(&source.view, after, CHUNK),
        }
    }

    fn choose(&self, source: &Source, meter: Meter) -> Result<Option<Chosen>, Problem> {
        if !matches(self.query, &[&meter.serial, &meter.model]) {
            return Ok(None);
        }
        let chosen = source.series(&meter, self.obis, self.interval)?;
        let with = |(interval_minutes, series)| Chosen { meter, interval_minutes, series };
        Ok(chosen.map(with))
    }
}

/// Measured values of many meters with `from < end <= to`, in the meters' order.
pub fn points_of(
    source: &Source,
    meters: &[Chosen],
    span: (i64, i64),
) -> Result<Vec<Vec<storage::segment::Point>>, Problem> {
    let mut found = vec![Vec::new(); meters.len()];
    let mut intervals: Vec<u16> = meters.iter().map(|chosen| chosen.interval_minutes).collect();
    intervals.sort_unstable();
    intervals.dedup();
    for interval in intervals {
        let of = |chosen: &&Chosen| chosen.interval_minutes == interval;
        let Some(obis) = meters.iter().find(of).map(|chosen| chosen.series.obis) else { continue };
        let ordinals: Vec<u32> =
            meters.iter().filter(of).map(|chosen| chosen.meter.ordinal).collect();
        let many = source.segments.query_many(interval, &ordinals, obis.0, span);
        let mut many = many.map_err(readings::told)?.into_iter();
        for (chosen, out) in meters.iter().zip(&mut found) {
            if chosen.interval_minutes == interval {
                *out = many.next().unwrap_or_default();
            }
        }
    }
    Ok(found)
}

/// How many values a meter can have in a range; of irregular readings as many as come once a
/// minute.
pub fn most_values(interval_minutes: u16, (from_s, to_s): (i64, i64)) -> usize {
    let step_s = i64::from(interval_minutes.max(1)) * 60;
    usize::try_from(to_s.saturating_sub(from_s) / step_s + 1).unwrap_or(usize::MAX)
}

/// Stored values of a register of many meters, in order of their serials.
#[utoipa::path(get, path = "/api/v1/readings", tag = "readings", params(ManyParams), responses(
    (status = 200, body = Page<MeterValues>),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(
    app: Asked,
    Params(params): Params<ManyParams>,
) -> Result<Json<Page<MeterValues>>, Problem> {
    let source = Source::of(&app)?;
    source.ask(move |source| many(source, &params)).await.map(Json)
}

fn many(source: &Source, params: &ManyParams) -> Result<Page<MeterValues>, Problem> {
    let obis = readings::obis(params.obis.as_deref().unwrap_or(DEFAULT_OBIS))?;
    let (from_s, to_s) = readings::span(params.from.as_deref(), params.to.as_deref())?;
    let span = (from_s.max(-1), to_s.min(readings::now() + readings::DAY_S));
    let question = params.question(obis);
    let after = params.cursor.as_ref().map(|cursor| question.place(cursor)).transpose()?;
    let filter = params.filter(obis);
    let cost = |chosen: &Chosen| most_values(chosen.interval_minutes, span);
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let (meters, after) = filter.page(source, after, limit, cost)?;
    let mut items = Vec::with_capacity(meters.len());
    for (chosen, points) in meters.iter().zip(points_of(source, &meters, span)?) {
        let place = (chosen.meter.ordinal, chosen.interval_minutes, obis);
        let counted = source.with_corrections(place, points, span, params.as_of)?;
        items.push(MeterValues {
            serial: chosen.meter.serial.clone(),
            interval_minutes: chosen.interval_minutes,
            values: readings::readings(&chosen.series, counted)?,
        });
    }
    Ok(Page { items, next: after.map(|after| question.cursor(&after)) })
}

impl ManyParams {
    fn question(&self, obis: Obis) -> Question {
        // A range that is left out moves with the clock: then the cursor stands for the meters.
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let interval = self.interval.map(|minutes| minutes.to_string()).unwrap_or_default();
        let as_of = self.as_of.map(|index| index.to_string()).unwrap_or_default();
        let (query, concentrator) = (text(&self.query), text(&self.concentrator));
        let (from, to, obis) = (text(&self.from), text(&self.to), obis.to_string());
        Question::new(&["many", &query, &concentrator, &obis, &from, &to, &interval, &as_of])
    }

    fn filter(&self, obis: Obis) -> Filter<'_> {
        Filter {
            query: self.query.as_deref(),
            concentrator: self.concentrator.as_deref(),
            obis,
            interval: self.interval,
        }
    }
}

/// The newest value of a register of many meters, as measured, in order of their serials.
#[utoipa::path(get, path = "/api/v1/readings/latest", tag = "readings", params(LatestParams),
    responses(
    (status = 200, body = Page<MeterLatest>),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn latest(
    app: Asked,
    Params(params): Params<LatestParams>,
) -> Result<Json<Page<MeterLatest>>, Problem> {
    let source = Source::of(&app)?;
    source.ask(move |source| newest(source, &params)).await.map(Json)
}

fn newest(source: &Source, params: &LatestParams) -> Result<Page<MeterLatest>, Problem> {
    let obis = readings::obis(params.obis.as_deref().unwrap_or(DEFAULT_OBIS))?;
    let interval = params.interval.map(|minutes| minutes.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (query, concentrator) = (text(&params.query), text(&params.concentrator));
    let parts = ["latest", &query, &concentrator, &obis.to_string(), &interval];
    let question = Question::new(&parts);
    let after = params.cursor.as_ref().map(|cursor| question.place(cursor)).transpose()?;
    let filter = Filter {
        query: params.query.as_deref(),
        concentrator: params.concentrator.as_deref(),
        obis,
        interval: params.interval,
    };
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let (meters, after) = filter.page(source, after, limit, |_| 1)?;
    let mut items = Vec::with_capacity(meters.len());
    for Chosen { meter, interval_minutes, series } in meters {
        let found =
            source.segments.latest(interval_minutes, meter.ordinal, series.obis.0, series.last_s);
        let Some(mut point) = found.map_err(readings::told)? else { continue };
        let span = (point.end_s.saturating_sub(1), point.end_s);
        let points = std::slice::from_mut(&mut point);
        clocks::mark(&source.view, (meter.ordinal, interval_minutes), points, span, None)?;
        let text = number::decimal(point.value, series.scaler);
        items.push(MeterLatest {
            serial: meter.serial,
            interval_minutes,
            time: time::rfc3339(point.end_s),
            value: RawValue::from_string(text).map_err(|_| Problem::fault())?,
            unit: number::unit(series.unit),
            quality: readings::quality(point.flag, point.beside),
        });
    }
    Ok(Page { items, next: after.map(|after| question.cursor(&after)) })
}
