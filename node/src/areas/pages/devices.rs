//! The pages of devices: the meters, one meter with its values, a concentrator with its channels,
//! and what is ordered there: a read on demand, a switch of the channel.
//!
//! Invariants: an order goes the way of the API's, with the same refusals; it is answered by a
//! redirection, so that a page that is loaded again orders nothing.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use domain::operators::Permission;
use domain::regions::region_of;
use domain::{Device, Obis, assets};
use serde::Deserialize;

use super::{SHOWN_COMMANDS, Who, curve, encode, refused, render};
use crate::areas::channels::{self, GrantBody, Switch};
use crate::areas::clocks::{self, DeviceClockBody};
use crate::areas::commands::{self, AttributeBody, CommandBody, NewCommand, OrderBody};
use crate::areas::concentrators::{ConcentratorBody, body as concentrator_body};
use crate::areas::gaps::{self, GapBody, GapParams};
use crate::areas::meters::{self, MeterBody, MeterDetail, MeterParams};
use crate::areas::readings::{choose, points, quality};
use crate::areas::search::{self, RelatedBody};
use crate::areas::{alarms, history, number, time};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::Language;

/// Rows of the table below a curve.
const SHOWN_VALUES: usize = 96;
/// Events that a meter's page shows.
const SHOWN_EVENTS: usize = 20;
/// How far before the newest event of a log others are looked for, seconds.
const EVENTS_BACK_S: i64 = 31 * 86_400;
/// Gaps that a meter's page shows.
const SHOWN_GAPS: usize = 20;
/// Grants of a channel that its page shows.
const SHOWN_GRANTS: usize = 16;
/// How many of the newest commands are looked through for a meter's own.
const LOOKED_THROUGH: usize = 500;

#[derive(Template)]
#[template(path = "meters.html")]
struct MetersPage {
    who: Who,
    t: Language,
    query: String,
    concentrator: String,
    behind: Option<ConcentratorBody>,
    ordered: Option<String>,
    may_switch: bool,
    history: Vec<GrantBody>,
    meters: Vec<MeterBody>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "meter.html")]
struct MeterPage {
    who: Who,
    t: Language,
    m: MeterDetail,
    may_read: bool,
    /// Whether the caller may look at it live, and whether he wants to.
    may_look: bool,
    looks: bool,
    commands: Vec<CommandBody>,
    /// When there is something to say about it.
    clock: Option<DeviceClockBody>,
    belongs: Vec<RelatedBody>,
    hours: i64,
    svg: Option<String>,
    columns: Vec<String>,
    rows: Vec<Row>,
    registers: Vec<Register>,
    events: Vec<Event>,
    /// The newest first.
    gaps: Vec<GapBody>,
    more_gaps: bool,
}

struct Register {
    obis: String,
    value: String,
    unit: String,
    time: String,
}

struct Event {
    time: String,
    kind: String,
    code: u32,
}

impl Event {
    fn time_clock(&self) -> String {
        super::clock(&self.time)
    }
}

pub(super) struct Row {
    pub(super) time: String,
    values: Vec<String>,
    power: String,
    pub(super) quality: String,
}

/// The meters, or those behind a concentrator with its channels.
pub async fn meter_list(app: Asked, Params(params): Params<MeterParams>) -> Response {
    let page = meters_page(&app, params);
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

fn meters_page(app: &Asked, params: MeterParams) -> Result<MetersPage, Problem> {
    let live = app.live()?;
    let view = app.view()?;
    let page = meters::find(&view, &params)?;
    let query = params.query.unwrap_or_default();
    let concentrator = params.concentrator.filter(|text| !text.is_empty());
    let behind = match &concentrator {
        Some(name) => assets::concentrator(&view, name)?,
        None => None,
    };
    let stamp = live.cluster.stamp_now();
    let behind = behind.map(|record| concentrator_body(app, &view, record, stamp)).transpose()?;
    let next = page.next.map(|next| {
        let mut url = format!("/meters?cursor={}&query={}", encode(&next), encode(&query));
        if let Some(concentrator) = &concentrator {
            url.push_str(&format!("&concentrator={}", encode(concentrator)));
        }
        url
    });
    let channels = behind.as_ref().map(|one| channels::body(app, &one.id)).transpose()?;
    let (ordered, history) = channels.map_or((None, Vec::new()), |channels| {
        let history = channels.history.into_iter().take(SHOWN_GRANTS).collect();
        (channels.ordered.map(|order| order.to), history)
    });
    Ok(MetersPage {
        who: Who::of(app),
        t: app.language(),
        query,
        concentrator: concentrator.unwrap_or_default(),
        behind,
        ordered,
        may_switch: app.may(Permission::Channels),
        history,
        meters: page.items,
        next,
    })
}

/// What a meter's page takes.
#[derive(Deserialize)]
pub struct MeterPageParams {
    hours: Option<i64>,
    /// Anything: with the live view.
    live: Option<String>,
}

/// One meter.
pub async fn meter(
    app: Asked,
    Path(serial): Path<String>,
    Params(params): Params<MeterPageParams>,
) -> Response {
    let hours = params.hours.unwrap_or(48).clamp(1, 24 * 31);
    let page = meter_page(&app, &serial, hours, params.live.is_some()).await;
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

async fn meter_page(
    app: &Asked,
    serial: &str,
    hours: i64,
    looks: bool,
) -> Result<MeterPage, Problem> {
    let view = app.view()?;
    let m = meters::detail(app, &view, serial)?;
    let (svg, table) = chart(app, &view, &m, hours).await?;
    let (columns, rows) = table.unwrap_or_default();
    let belongs = search::of_meter(app, &view, serial)?;
    let events = events(app, &view, &m).await?;
    let mut gaps = gaps::found(&view, serial, &GapParams::default())?;
    gaps.sort_by(|one, other| other.from.cmp(&one.from));
    let more_gaps = gaps.len() > SHOWN_GAPS;
    gaps.truncate(SHOWN_GAPS);
    let found = domain::commands::recent(&view, None, LOOKED_THROUGH)?;
    let own = found.iter().filter(|command| command.target == serial).take(SHOWN_COMMANDS);
    let own: Vec<_> = own.collect();
    let device = Device::Meter(serial.to_owned());
    let may_look = app.scope(&view, Permission::Read)?.has(region_of(view.whole(), &device)?);
    Ok(MeterPage {
        who: Who::of(app),
        t: app.language(),
        m,
        may_read: app.may(Permission::Read),
        may_look,
        looks: looks && may_look,
        commands: own.into_iter().map(|command| commands::body(app, command)).collect(),
        clock: Some(clocks::of(&view, serial)?).filter(|one| one.standing != "unremarked"),
        belongs,
        hours,
        svg,
        columns,
        rows,
        registers: registers(app, serial).await?,
        events,
        gaps,
        more_gaps,
    })
}

/// What the form of a read on demand sends.
#[derive(Deserialize)]
pub struct ReadForm {
    obis: String,
}

/// Orders a register to be read now, and shows the meter's page, where the answer will stand.
pub async fn read(app: Asked, Path(serial): Path<String>, Form(form): Form<ReadForm>) -> Response {
    let obis = form.obis.trim().to_owned();
    let attributes = vec![AttributeBody { obis, class: None, attribute: None }];
    let new = NewCommand {
        target: serial.clone(),
        order: OrderBody::Read { attributes },
        expires_in_s: None,
    };
    let asked = async { commands::ask(&app, crate::app::random_id()?, new).await };
    match asked.await {
        Ok(_) => Redirect::to(&format!("/meters/{}", encode(&serial))).into_response(),
        Err(problem) => refused(&app, problem),
    }
}

/// What the form of a switch sends.
#[derive(Deserialize)]
pub struct SwitchForm {
    to: String,
}

/// Orders a concentrator's channel to a standby, and shows its page.
pub async fn switch(app: Asked, Path(id): Path<String>, Form(form): Form<SwitchForm>) -> Response {
    let wish = Switch { to: Some(form.to) };
    let asked = async { channels::order(&app, &id, crate::app::random_id()?, wish).await };
    match asked.await {
        Ok(()) => Redirect::to(&format!("/meters?concentrator={}", encode(&id))).into_response(),
        Err(problem) => refused(&app, problem),
    }
}

/// The newest value of every register.
async fn registers(app: &Asked, serial: &str) -> Result<Vec<Register>, Problem> {
    let found = history::newest_of(app, serial.to_owned()).await?;
    let one = |one: history::Latest| Register {
        obis: one.obis,
        value: one.value.value.get().to_owned(),
        unit: one.value.unit,
        time: super::clock(&one.value.time),
    };
    // Codes of events have a list of their own.
    let all = found.values.into_iter().map(one);
    Ok(all.filter(|one| !one.obis.contains(":96.11.")).collect())
}

/// The newest events of the meter's logs, by its model's names.
async fn events(app: &Asked, view: &Seen, detail: &MeterDetail) -> Result<Vec<Event>, Problem> {
    let known = domain::readings::series(view, detail.meter.ordinal)?;
    let is_log = |obis: Obis| matches!(obis.0, [_, _, 96, 11, _, _]);
    let logs = known.iter().filter(|(interval, series)| *interval == 0 && is_log(series.obis));
    let mut found = Vec::new();
    for (_, series) in logs {
        let range = (series.last_s - EVENTS_BACK_S, series.last_s);
        let points = points(app, 0, detail.meter.ordinal, vec![series.obis], range).await?;
        for point in points.into_iter().flatten() {
            let code = u32::try_from(point.value).unwrap_or(u32::MAX);
            let model = &detail.meter.model;
            let kind = alarms::kind_of(app.models(), model, series.obis, code);
            found.push((point.end_s, Event { time: time::rfc3339(point.end_s), kind, code }));
        }
    }
    found.sort_by_key(|(at_s, _)| std::cmp::Reverse(*at_s));
    Ok(found.into_iter().take(SHOWN_EVENTS).map(|(_, event)| event).collect())
}

pub(super) type Table = (Vec<String>, Vec<Row>);

/// The curve of the last hours up to the newest value, and its newest rows.
pub(super) async fn chart(
    app: &Asked,
    view: &Seen,
    detail: &MeterDetail,
    hours: i64,
) -> Result<(Option<String>, Option<Table>), Problem> {
    let known = domain::readings::series(view, detail.meter.ordinal)?;
    let Some((minutes, import)) =
        choose(&known, Obis::ACTIVE_IMPORT, None).filter(|(minutes, _)| *minutes > 0)
    else {
        return Ok((None, None));
    };
    let export = choose(&known, Obis::ACTIVE_EXPORT, Some(minutes)).map(|(_, series)| series);
    let step_s = i64::from(minutes) * 60;
    // One value more at the front: a mean power needs the register at both ends.
    let range = (import.last_s - hours * 3600 - step_s, import.last_s);
    let mut registers = vec![import.obis];
    registers.extend(export.map(|series| series.obis));
    let found = points(app, minutes, detail.meter.ordinal, registers, range).await?;
    let mut found = found.into_iter();
    let import_points = found.next().unwrap_or_default();
    let export_points = found.next().unwrap_or_default();
    let curves = curve::Curves {
        step_s,
        import: curve::powers(&import_points, import.scaler, step_s),
        export: export
            .map_or_else(Vec::new, |series| curve::powers(&export_points, series.scaler, step_s)),
    };
    let mut columns = vec![format!("{} {}", import.obis, number::unit(import.unit))];
    columns.extend(export.map(|s| format!("{} {}", s.obis, number::unit(s.unit))));
    let rows = import_points.iter().rev().take(SHOWN_VALUES).map(|point| {
        let mut values = vec![number::decimal(point.value, import.scaler)];
        if let Some(series) = export {
            let other = export_points.iter().find(|other| other.end_s == point.end_s);
            values.push(other.map_or("–".into(), |o| number::decimal(o.value, series.scaler)));
        }
        let power = curves.import.iter().find(|(end_s, _)| *end_s == point.end_s);
        Row {
            time: time::rfc3339(point.end_s),
            values,
            power: power.map_or("–".to_string(), |(_, watts)| format!("{} W", watts.round())),
            quality: quality(point.flag, point.beside),
        }
    });
    let rows = rows.collect();
    let svg = curve::svg(&curves, &detail.meter.serial, app.language());
    Ok((svg, Some((columns, rows))))
}
