//! Clocks of devices: which are off, what is done about it, and the marks of what was set.
//!
//! Invariants: a clock that no task has measured is not called right; a mark adds to the quality of
//! a value and takes nothing from what the meter said.

use axum::Json;
use axum::extract::Path;
use domain::clocks::{self, Clock, MAX_MARKS, Standing};
use domain::readings::flag;
use domain::{Device, View, assets};
use serde::{Deserialize, Serialize};
use storage::segment::Point;
use utoipa::{IntoParams, ToSchema};

use crate::areas::{Page, matches, number, time};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};

/// Clocks that one look reads.
const CHUNK: usize = 1_000;
/// Clocks that one question looks at.
const MAX_LOOKED: usize = 100_000;
const STANDINGS: [Standing; 6] = [
    Standing::Right,
    Standing::Off,
    Standing::Waiting,
    Standing::Shifting,
    Standing::Spent,
    Standing::Beyond,
];

/// What the list of clocks takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ClockListParams {
    /// Only devices whose names contain this text, whatever its case.
    pub query: Option<String>,
    /// Only clocks that stand so: right, off, waiting, shifting, day_spent, beyond_limit.
    pub standing: Option<String>,
    /// 1 to 1000 items; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// The clock of a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceClockBody {
    /// A meter's serial, or a concentrator's logical device name.
    pub device: String,
    /// `meter` or `concentrator`.
    pub kind: String,
    /// `right`, `off` (nothing is under way), `waiting`, `shifting`, `day_spent`, `beyond_limit`;
    /// or `unremarked`: no task has found it off and no order has set it.
    pub standing: String,
    /// How far it was off when it was measured last, seconds; ahead of ours is more than 0.
    pub offset_s: Option<String>,
    /// When that was.
    pub measured: Option<String>,
    /// The task that shifts it.
    pub task: Option<String>,
    /// Seconds of shifts that tasks ordered on the last day of which there were any (UTC).
    pub spent_s: u32,
    /// The command that is under way.
    pub command: Option<String>,
    /// The last shifts and settings, newest first.
    pub shifts: Vec<ShiftBody>,
}

/// A shift or setting of a clock.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShiftBody {
    /// When it was known.
    pub time: String,
    /// How far the clock was off before, seconds, if that is known.
    pub before_s: Option<String>,
    /// And behind, as it was read back.
    pub after_s: Option<String>,
    /// Who asked for it.
    pub by: String,
    /// The command.
    pub command: String,
}

/// Clocks of which there is something to say: those that were found off by a task, or were set;
/// concentrators first, in order of the names.
#[utoipa::path(get, path = "/api/v1/clocks", tag = "tasks", params(ClockListParams), responses(
    (status = 200, body = Page<DeviceClockBody>),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(
    app: Asked,
    Params(params): Params<ClockListParams>,
) -> Result<Json<Page<DeviceClockBody>>, Problem> {
    let standing = params.standing.as_deref().map(standing).transpose()?;
    let mut behind = params.cursor.as_deref().map(super::tasks::device).transpose()?;
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let view = app.view()?;
    let mut items = Vec::new();
    let mut looked = 0;
    loop {
        let chunk = clocks::clocks(&view, behind.as_ref(), CHUNK)?;
        let is_last = chunk.len() < CHUNK;
        looked += chunk.len();
        for (device, clock) in chunk {
            let is_wanted = standing.is_none_or(|wanted| wanted == clock.standing)
                && matches(params.query.as_deref(), &[device.name()]);
            behind = Some(device.clone());
            if is_wanted {
                items.push(body(&device, Some(&clock)));
            }
            if items.len() == limit {
                break;
            }
        }
        let is_full = items.len() == limit || looked >= MAX_LOOKED;
        if is_last && items.len() < limit {
            return Ok(Json(Page { items, next: None }));
        }
        if is_full {
            let next = behind.as_ref().map(super::tasks::cursor);
            return Ok(Json(Page { items, next }));
        }
    }
}

/// The clock of one device, with its last shifts and settings.
#[utoipa::path(get, path = "/api/v1/clocks/{device}", tag = "tasks",
    params(("device" = String, Path, description = "serial or logical device name")), responses(
    (status = 200, body = DeviceClockBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(name): Path<String>) -> Result<Json<DeviceClockBody>, Problem> {
    Ok(Json(of(&app.view()?, &name)?))
}

/// The clock of a device by its name.
pub fn of(view: &dyn View, name: &str) -> Result<DeviceClockBody, Problem> {
    let device = if assets::meter(view, name)?.is_some() {
        Device::Meter(name.to_owned())
    } else if assets::concentrator(view, name)?.is_some() {
        Device::Concentrator(name.to_owned())
    } else {
        return Err(Problem::missing("unknown_device", name));
    };
    Ok(body(&device, clocks::clock(view, &device)?.as_ref()))
}

fn standing(text: &str) -> Result<Standing, Problem> {
    let known = STANDINGS.into_iter().find(|one| one.name() == text);
    let names = STANDINGS.map(Standing::name).join(", ");
    known.ok_or_else(|| Problem::bad("bad_standing", format!("{text:?} is none of {names}")))
}

fn body(device: &Device, clock: Option<&Clock>) -> DeviceClockBody {
    let kind = match device {
        Device::Meter(_) => "meter",
        Device::Concentrator(_) => "concentrator",
    };
    let seconds = |ms: i64| number::decimal(ms, -3);
    let shifts = clock.map_or(&[][..], |clock| &clock.shifts).iter().rev();
    // A clock that was set before any task has measured it.
    let measured = clock.filter(|clock| clock.measured.0 > 0);
    DeviceClockBody {
        device: device.name().to_owned(),
        kind: kind.to_owned(),
        standing: clock.map_or("unremarked", |clock| clock.standing.name()).to_owned(),
        offset_s: measured.map(|clock| seconds(clock.offset_ms)),
        measured: measured.map(|clock| time::stamp(clock.measured)),
        task: clock.and_then(|clock| clock.task.clone()),
        spent_s: clock.map_or(0, |clock| clock.spent_s),
        command: clock.and_then(|clock| clock.open).map(|id| id.to_string()),
        shifts: shifts
            .map(|shift| ShiftBody {
                time: time::stamp(shift.at),
                before_s: shift.before_ms.map(seconds),
                after_s: shift.after_ms.map(seconds),
                by: shift.by.clone(),
                command: shift.command.to_string(),
            })
            .collect(),
    }
}

/// Adds to values of a meter with `from < end <= to` that its clock was set in their intervals, as
/// entries up to `as_of` say. Irregular readings have no interval.
///
/// Refused as `range_too_long` where there are too many marks to look at.
pub fn mark(
    view: &dyn View,
    (ordinal, interval_minutes): (u32, u16),
    points: &mut [Point],
    span: (i64, i64),
    as_of: Option<u64>,
) -> Result<(), Problem> {
    if interval_minutes == 0 || points.is_empty() {
        return Ok(());
    }
    let marks = clocks::marks(view, ordinal, interval_minutes, span, as_of)?;
    if marks.len() >= MAX_MARKS {
        let text = "the clock was set too often in this range; ask for a shorter one";
        return Err(Problem::bad("range_too_long", text));
    }
    for point in points {
        if marks.iter().any(|mark| mark.touches(point.end_s, interval_minutes)) {
            point.flag |= flag::CLOCK_SET;
        }
    }
    Ok(())
}
