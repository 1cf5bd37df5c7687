//! Conflicts: times for which a meter's register came with several values. The first one is
//! stored and counts, the others stand beside it; people look at them and correct where it matters.
//!
//! Not here: the corrections (`history`). Invariants: every value that came is shown, in the order
//! in which they came; a conflict stays listed after a correction, which is shown with it.

use axum::Json;
use domain::{Obis, View, assets};
use serde::{Deserialize, Serialize};
use storage::segment::{Conflict, Search, Segments, Spot};
use utoipa::{IntoParams, ToSchema};

use crate::areas::cursor::Question;
use crate::areas::readings::{self, DAY_S, Reading, Source};
use crate::areas::{Page, history, time};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::{hex, unhex};

/// How far back is looked when nothing is said.
const DEFAULT_DAYS: i64 = 31;

/// What a question for conflicts takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ConflictParams {
    /// Only those of this meter, by its serial.
    pub meter: Option<String>,
    /// Only those of this register, an OBIS code.
    pub obis: Option<String>,
    /// Only those of intervals of so many minutes; 0: of irregular readings.
    pub interval: Option<u16>,
    /// Of intervals that end after this time (RFC 3339); 31 days before `to` when left out.
    pub from: Option<String>,
    /// Of intervals that end at this time or before (RFC 3339); now when left out.
    pub to: Option<String>,
    /// 1 to 1000 conflicts; 100 when left out. A page may be shorter, even empty, and still have
    /// a next one: what one page looks at is bounded.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Several values of one time.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConflictBody {
    /// The meter.
    pub serial: String,
    /// The register.
    pub obis: String,
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// End of the interval.
    pub time: String,
    /// The value that counts, then those beside it as they came.
    pub values: Vec<Reading>,
}

/// Times for which several values came, by interval, in the order in which the meters were
/// registered, then by time.
#[utoipa::path(get, path = "/api/v1/conflicts", tag = "readings", params(ConflictParams),
    responses(
    (status = 200, body = Page<ConflictBody>),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(
    app: Asked,
    Params(params): Params<ConflictParams>,
) -> Result<Json<Page<ConflictBody>>, Problem> {
    let source = Source::of(&app)?;
    let run = move |source: &Source| listed(&source.view, &source.segments, &params);
    source.ask(run).await.map(Json)
}

fn listed(
    view: &dyn View,
    segments: &Segments,
    params: &ConflictParams,
) -> Result<Page<ConflictBody>, Problem> {
    let search = params.search(view)?;
    let question = params.question();
    let after = params.cursor.as_ref().map(|cursor| spot(&question.place(cursor)?));
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let found = segments.conflicts(&search, after.transpose()?, limit);
    let (found, next) = found.map_err(readings::told)?;
    let mut items = Vec::with_capacity(found.len());
    for conflict in found {
        items.extend(told(view, conflict)?);
    }
    Ok(Page { items, next: next.map(|next| question.cursor(&place(&next))) })
}

impl ConflictParams {
    fn search(&self, view: &dyn View) -> Result<Search, Problem> {
        let default = |to_s: i64| to_s.saturating_sub(DEFAULT_DAYS * DAY_S);
        let to_s = self.to.as_ref().map(|text| time::parse("to", text)).transpose()?;
        let from = match &self.from {
            Some(text) => text.clone(),
            None => default(to_s.unwrap_or_else(readings::now)).to_string(),
        };
        let (from_s, to_s) = readings::span(Some(&from), self.to.as_deref())?;
        let ordinal = match &self.meter {
            Some(serial) => {
                let unknown = || Problem::missing("unknown_meter", serial.clone());
                Some(assets::meter(view, serial)?.ok_or_else(unknown)?.ordinal)
            }
            None => None,
        };
        let column = self.obis.as_deref().map(readings::obis).transpose()?;
        Ok(Search {
            interval_minutes: self.interval,
            ordinal,
            column: column.map(|obis| obis.0),
            // Nothing is stored before the beginning of time or after tomorrow.
            span: (from_s.max(-1), to_s.min(readings::now() + DAY_S)),
        })
    }

    fn question(&self) -> Question {
        // A range that is left out moves with the clock: then the cursor stands for a place alone.
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let interval = self.interval.map(|minutes| minutes.to_string()).unwrap_or_default();
        let (meter, obis) = (text(&self.meter), text(&self.obis));
        let (from, to) = (text(&self.from), text(&self.to));
        Question::new(&["conflicts", &meter, &obis, &interval, &from, &to])
    }
}

/// A spot as it stands in a cursor.
fn place(spot: &Spot) -> String {
    let Spot { interval_minutes, ordinal, end_s, column } = spot;
    format!("{interval_minutes} {ordinal} {end_s} {}", hex(column))
}

fn spot(place: &str) -> Result<Spot, Problem> {
    let read = || {
        let mut parts = place.split(' ');
        Some(Spot {
            interval_minutes: parts.next()?.parse().ok()?,
            ordinal: parts.next()?.parse().ok()?,
            end_s: parts.next()?.parse().ok()?,
            column: unhex(parts.next()?)?.try_into().ok()?,
        })
    };
    read().ok_or_else(|| Problem::bad("bad_cursor", "it holds no place"))
}

/// A conflict as the API tells it; none of a meter or series that is not known (any more).
fn told(view: &dyn View, conflict: Conflict) -> Result<Option<ConflictBody>, Problem> {
    let Conflict { spot, points } = conflict;
    let Spot { interval_minutes, ordinal, end_s, column } = spot;
    let obis = Obis(column);
    let Some(place) = assets::place(view, ordinal)? else { return Ok(None) };
    let known = domain::readings::series(view, ordinal)?;
    let Some((_, series)) = readings::choose(&known, obis, Some(interval_minutes)) else {
        return Ok(None);
    };
    let span = (end_s.saturating_sub(1), end_s);
    let counting = history::counting(view, (ordinal, interval_minutes, obis), span, None)?;
    Ok(Some(ConflictBody {
        serial: place.serial,
        obis: obis.to_string(),
        interval_minutes,
        time: time::rfc3339(end_s),
        values: readings::readings(&series, readings::merged(points, counting))?,
    }))
}

#[cfg(test)]
mod tests;
