//! The pages for people: the cluster, the meters, one meter's load curve, the login form.
//!
//! Server-rendered; a page renews itself by its head, only the live view of a meter has a script.
//! Invariants: nothing comes
//! from another host; every chart has its table; state is never colour alone; every view is a URL.

mod account;
mod curve;
mod people;
mod registry;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use domain::operators::Permission;
use domain::readings::Collection;
use domain::regions::region_of;
use domain::{Device, Obis, assets};
use serde::Deserialize;

use crate::app::App;
use crate::areas::cluster::NodeBody;
use crate::areas::commands::CommandBody;
use crate::areas::concentrators::{ChannelBody, ConcentratorBody, body as concentrator_body};
use crate::areas::meters::{self, MeterBody, MeterDetail, MeterParams, SeriesBody};
use crate::areas::readings::{choose, points, quality};
use crate::areas::search::{self, RelatedBody};
use crate::areas::{cluster, commands, number, time};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::Params;
use crate::http::problem::Problem;

/// Concentrators and commands that the first page shows.
const SHOWN: usize = 50;
const SHOWN_COMMANDS: usize = 8;
/// Rows of the table below a curve.
const SHOWN_VALUES: usize = 96;

/// Pages behind the login.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(home))
        .route("/meters", get(meter_list))
        .route("/meters/{serial}", get(meter))
        .merge(crate::areas::drills::page::router())
        .route("/me", get(account::show))
        .route("/me/password", post(account::password))
        .route("/me/factor", post(account::factor))
        .route("/me/factor/confirm", post(account::confirm))
        .route("/operators", get(people::operators))
        .route("/audit", get(people::audit))
        .route("/search", get(registry::search))
        .route("/registry/{kind}", get(registry::list))
        .route("/registry/{kind}/{number}", get(registry::show))
}

/// Style and icon, needed before the login.
pub fn assets() -> Router<App> {
    let css = include_str!("../../assets/page.css");
    let icon = include_str!("../../assets/icon.svg");
    let live = include_str!("../../assets/live.js");
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/assets/page.css", file("text/css; charset=utf-8", css))
        .route("/assets/live.js", file("text/javascript; charset=utf-8", live))
        .route("/assets/icon.svg", file("image/svg+xml", icon))
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    failed: &'static str,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    who: Who,
    title: String,
    detail: String,
    again: bool,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    who: Who,
    node: String,
    leader: Option<String>,
    term: u64,
    commit: u64,
    applied: u64,
    hash: String,
    nodes: Vec<NodeBody>,
    stored: String,
    expected: String,
    rate_day: String,
    stored_day: String,
    expected_day: String,
    silent: u64,
    meters_due: u64,
    catching_up: bool,
    on_main: usize,
    on_standby: usize,
    concentrator_count: u64,
    concentrators: Vec<ConcentratorBody>,
    more_concentrators: bool,
    chart: Option<Chart>,
    commands: Vec<CommandBody>,
}

/// Who looks at a page, and which pages his roles open.
#[derive(Default)]
pub struct Who {
    /// The caller's name.
    pub user: String,
    /// Whether the cluster, its devices and drills may be seen.
    pub look: bool,
    /// Whether the registry may be seen.
    pub customers: bool,
    /// Whether operators may be seen.
    pub operators: bool,
    /// Whether the audit trail may be seen.
    pub audit: bool,
}

impl Who {
    /// Of a caller.
    pub fn of(app: &Asked) -> Who {
        Who {
            user: app.caller().name.clone(),
            look: app.may(Permission::Look),
            customers: app.may(Permission::Customers),
            operators: app.may(Permission::Approve),
            audit: app.may(Permission::Audit),
        }
    }
}

struct Chart {
    serial: String,
    svg: String,
}

#[derive(Template)]
#[template(path = "meters.html")]
struct MetersPage {
    who: Who,
    query: String,
    concentrator: String,
    behind: Option<ConcentratorBody>,
    meters: Vec<MeterBody>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "meter.html")]
struct MeterPage {
    who: Who,
    m: MeterDetail,
    belongs: Vec<RelatedBody>,
    hours: i64,
    /// Whether the caller may read it now, and whether he wants to.
    may_look: bool,
    looks: bool,
    svg: Option<String>,
    columns: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    time: String,
    values: Vec<String>,
    power: String,
    quality: String,
}

/// What the login page takes.
#[derive(Deserialize)]
pub struct LoginParams {
    failed: Option<String>,
}

/// The login form.
pub async fn login(Params(params): Params<LoginParams>) -> Response {
    let failed = match params.failed.as_deref() {
        None => "",
        Some("code") => "The code of your second factor is needed, too.",
        Some("wait") => "Too many wrong logins from this address; wait a minute.",
        Some("later") => "The cluster has no leader just now; try again in a moment.",
        Some(_) => {
            "Wrong user, password or code. After several wrong logins an account rests a while."
        }
    };
    render(&LoginPage { failed })
}

async fn home(app: Asked) -> Response {
    home_page(&app).await.map_or_else(problem_page, |page| render(&page))
}

async fn home_page(app: &Asked) -> Result<HomePage, Problem> {
    let live = app.live()?;
    let status = live.cluster.status();
    let body = cluster::body(&status);
    let view = app.view()?;
    let stamp = live.cluster.stamp_now();
    let found = assets::concentrators(&view, None, SHOWN + 1)?;
    let more_concentrators = found.len() > SHOWN;
    let concentrators = found
        .into_iter()
        .take(SHOWN)
        .map(|record| concentrator_body(app, &view, record, stamp))
        .collect::<Result<Vec<_>, _>>()?;
    let on = |role: &str| {
        let has = |c: &&ConcentratorBody| c.channel.as_ref().is_some_and(|ch| ch.role == role);
        concentrators.iter().filter(has).count()
    };
    let collected = app.collected().within(&view)?;
    let commands = domain::commands::recent(&view, None, SHOWN_COMMANDS)?;
    Ok(HomePage {
        who: Who::of(app),
        node: body.node,
        leader: body.leader,
        term: body.term,
        commit: body.commit_index,
        applied: body.applied_index,
        hash: body.state_hash.chars().take(16).collect(),
        nodes: body.nodes,
        stored: grouped(collected.kept.all.stored),
        expected: grouped(collected.kept.all.expected),
        rate_day: rate(&collected.day.all),
        stored_day: grouped(collected.day.all.stored),
        expected_day: grouped(collected.day.all.expected),
        silent: collected.kept.all.silent,
        meters_due: collected.kept.all.meters,
        catching_up: app.catching_up(),
        on_main: on("main"),
        on_standby: on("standby"),
        concentrator_count: collected.concentrators.max(concentrators.len() as u64),
        more_concentrators,
        chart: example(app, &view).await?,
        concentrators,
        commands: commands.iter().map(|command| commands::body(app, command)).collect(),
    })
}

/// The curve of the first meter that has one, so that the first page shows what is collected.
async fn example(app: &Asked, view: &Seen) -> Result<Option<Chart>, Problem> {
    for meter in assets::meters(view, None, 20)? {
        let detail = meters::detail(app, view, &meter.serial)?;
        if let (Some(svg), _) = chart(app, view, &detail, 24).await? {
            return Ok(Some(Chart { serial: meter.serial, svg }));
        }
    }
    Ok(None)
}

async fn meter_list(app: Asked, Params(params): Params<MeterParams>) -> Response {
    meters_page(&app, params).map_or_else(problem_page, |page| render(&page))
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
    let concentrator = concentrator.unwrap_or_default();
    let who = Who::of(app);
    Ok(MetersPage { who, query, concentrator, behind, meters: page.items, next })
}

/// What a meter's page takes.
#[derive(Deserialize)]
pub struct MeterPageParams {
    hours: Option<i64>,
    /// Anything: with the live view.
    live: Option<String>,
}

async fn meter(
    app: Asked,
    Path(serial): Path<String>,
    Params(params): Params<MeterPageParams>,
) -> Response {
    let hours = params.hours.unwrap_or(48).clamp(1, 24 * 31);
    let looks = params.live.is_some();
    meter_page(&app, &serial, hours, looks).await.map_or_else(problem_page, |page| render(&page))
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
    let who = Who::of(app);
    let device = Device::Meter(serial.to_owned());
    let may_look = app.scope(&view, Permission::Read)?.has(region_of(view.whole(), &device)?);
    let looks = looks && may_look;
    Ok(MeterPage { who, m, belongs, hours, may_look, looks, svg, columns, rows })
}

type Table = (Vec<String>, Vec<Row>);

/// The curve of the last hours up to the newest value, and its newest rows.
async fn chart(
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
    Ok((curve::svg(&curves, &detail.meter.serial), Some((columns, rows))))
}

/// A page as the browser gets it.
fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A problem as a page.
pub fn problem_page(problem: Problem) -> Response {
    let again = problem.status == StatusCode::SERVICE_UNAVAILABLE;
    let title = match problem.code.as_ref() {
        "unknown_meter" => "No such meter",
        "unknown_object" | "unknown_kind" => "There is no such thing",
        "not_allowed" => "Your roles do not permit this",
        "not_ready" => "This node is starting",
        _ => "This does not work just now",
    };
    let who = Who::default();
    let page = ProblemPage { who, title: title.to_string(), detail: problem.detail, again };
    (problem.status, render(&page)).into_response()
}

/// `98.7 %`; a dash when nothing was due. Rounded down: 100 % means all.
fn rate(collection: &Collection) -> String {
    match collection.rate_ppm() {
        Some(ppm) => format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1000),
        None => "–".to_string(),
    }
}

/// Digits in groups of three with thin spaces.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `11-22 17:05:09` of an RFC 3339 time in UTC.
fn clock(rfc3339: &str) -> String {
    match (rfc3339.get(5..10), rfc3339.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => rfc3339.to_string(),
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

impl ChannelBody {
    fn since_clock(&self) -> String {
        clock(&self.since)
    }
}

impl MeterBody {
    fn registered_clock(&self) -> String {
        clock(&self.registered)
    }
}

impl SeriesBody {
    fn first_clock(&self) -> String {
        clock(&self.first)
    }

    fn last_clock(&self) -> String {
        clock(&self.last)
    }
}

impl Row {
    fn time_clock(&self) -> String {
        clock(&self.time)
    }
}

impl CommandBody {
    fn queued_clock(&self) -> String {
        clock(&self.queued)
    }

    fn answer(&self) -> String {
        if let Some(failure) = &self.failure {
            return format!("{}: {}", failure.code, failure.detail);
        }
        let Some(values) = &self.values else { return "–".to_string() };
        match values.as_slice() {
            [one] => {
                let value = one.value.as_str().map_or(one.value.to_string(), str::to_string);
                format!("{} {}", value, one.unit.as_deref().unwrap_or(""))
            }
            many => format!("{} values", many.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, expect) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000")] {
            assert_eq!(grouped(number), expect);
        }
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn a_rate_never_rounds_up() {
        let collection = |stored, expected| Collection { stored, expected, ..Default::default() };
        assert_eq!(rate(&collection(9999, 10_000)), "99.9 %");
        assert_eq!(rate(&collection(1, 1)), "100.0 %");
        assert_eq!(rate(&collection(0, 0)), "–");
    }

    #[test]
    fn urls_are_encoded() {
        assert_eq!(encode("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
