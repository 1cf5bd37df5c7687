//! The pages for people: the cluster, the meters, one meter's load curve, the login form.
//!
//! Server-rendered; a script swaps the parts of a page that changed, another one shows a meter
//! live. Without them every page is whole, of the moment when it was loaded.
//! Invariants: nothing comes from another host; every chart has its table; state is never colour
//! alone; every view is a URL.

mod account;
mod curve;
mod devices;
mod orders;
mod parameters;
mod people;
mod registry;
mod tasks;
mod topology;
mod words;

use askama::Template;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use domain::assets;
use domain::operators::Permission;
use domain::readings::Collection;
use serde::Deserialize;

use crate::app::App;
use crate::areas::alarms::{self, AlarmBody};
use crate::areas::cluster::NodeBody;
use crate::areas::commands::CommandBody;
use crate::areas::concentrators::{ConcentratorBody, body as concentrator_body};
use crate::areas::{cluster, commands, meters};
use crate::http::asked::{Asked, Seen};
use crate::http::auth;
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::Language;

/// Concentrators and commands that the first page shows.
const SHOWN: usize = 50;
const SHOWN_COMMANDS: usize = 8;
/// Alarms on the first page.
const SHOWN_ALARMS: usize = 8;

/// Pages behind the login.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(home))
        .route("/meters", get(devices::meter_list))
        .route("/meters/{serial}", get(devices::meter))
        .route("/meters/{serial}/read", post(devices::read))
        .route("/concentrators/{id}/switch", post(devices::switch))
        .merge(crate::areas::drills::page::router())
        .route("/me", get(account::show))
        .route("/me/language", post(account::language))
        .route("/me/password", post(account::password))
        .route("/me/factor", post(account::factor))
        .route("/me/factor/confirm", post(account::confirm))
        .route("/me/sessions/end", post(account::end_sessions))
        .route("/operators", get(people::operators))
        .route("/audit", get(people::audit))
        .route("/collection", get(tasks::collection))
        .route("/concentrators/{id}/gaps", get(tasks::gaps))
        .route("/topology", get(topology::topology))
        .route("/commands", get(orders::list))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{name}", get(tasks::show))
        .route("/tasks/{name}/run", post(tasks::run))
        .route("/tasks/{name}/pause", post(tasks::pause))
        .route("/tasks/{name}/resume", post(tasks::resume))
        .route("/parameters", get(parameters::list))
        .route("/parameters/{name}", get(parameters::show).post(parameters::set))
        .route("/search", get(registry::search))
        .route("/registry/{kind}", get(registry::list))
        .route("/registry/{kind}/{number}", get(registry::show))
}

/// Style and icon, needed before the login.
pub fn assets() -> Router<App> {
    let css = include_str!("../../assets/page.css");
    let icon = include_str!("../../assets/icon.svg");
    let live = include_str!("../../assets/live.js");
    let fresh = include_str!("../../assets/fresh.js");
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/assets/page.css", file("text/css; charset=utf-8", css))
        .route("/assets/live.js", file("text/javascript; charset=utf-8", live))
        .route("/assets/fresh.js", file("text/javascript; charset=utf-8", fresh))
        .route("/assets/icon.svg", file("image/svg+xml", icon))
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    t: Language,
    failed: String,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    who: Who,
    t: Language,
    title: String,
    code: String,
    detail: String,
    again: bool,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    who: Who,
    t: Language,
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
    /// Newest first.
    alarms: Vec<AlarmBody>,
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
    /// Whether collection tasks may be seen.
    pub tasks: bool,
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
            tasks: app.may_everywhere(Permission::Tasks),
            operators: app.may(Permission::Approve),
            audit: app.may_everywhere(Permission::Audit),
        }
    }
}

struct Chart {
    serial: String,
    svg: String,
}

/// What the login page takes.
#[derive(Deserialize)]
pub struct LoginParams {
    failed: Option<String>,
}

/// The login form.
pub async fn login(headers: HeaderMap, Params(params): Params<LoginParams>) -> Response {
    let t = auth::accepted(&headers);
    let failed = match params.failed.as_deref() {
        None => String::new(),
        Some("code") => t.word("refusal", "code_needed"),
        Some("wait") => t.word("refusal", "too_many_logins"),
        Some("later") => t.say("login.later").to_string(),
        Some(_) => t.say("login.wrong").to_string(),
    };
    render(&LoginPage { t, failed })
}

async fn home(app: Asked) -> Response {
    home_page(&app).await.map_or_else(|problem| refused(&app, problem), |page| render(&page))
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
        t: app.language(),
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
        alarms: alarms::newest(app, &view, SHOWN_ALARMS)?,
        commands: commands.iter().map(|command| commands::body(app, command)).collect(),
    })
}

/// The curve of the first meter that has one, so that the first page shows what is collected.
async fn example(app: &Asked, view: &Seen) -> Result<Option<Chart>, Problem> {
    for meter in assets::meters(view, None, 20)? {
        let detail = meters::detail(app, view, &meter.serial)?;
        if let (Some(svg), _) = devices::chart(app, view, &detail, 24).await? {
            return Ok(Some(Chart { serial: meter.serial, svg }));
        }
    }
    Ok(None)
}

/// A page as the browser gets it.
pub fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A problem as the page of somebody who is logged in.
pub fn refused(app: &Asked, problem: Problem) -> Response {
    problem_page(problem, Who::of(app), app.language())
}

/// A problem as a page.
pub fn problem_page(problem: Problem, who: Who, t: Language) -> Response {
    let again = problem.status == StatusCode::SERVICE_UNAVAILABLE;
    let title = match problem.code.as_ref() {
        "unknown_meter" => "problem.no_meter",
        "not_allowed" => "problem.not_allowed",
        "not_ready" => "problem.not_ready",
        code if code.starts_with("unknown_") => "problem.nothing",
        _ => "problem.other",
    };
    let title = t.say(title).to_string();
    let (code, detail) = (problem.code.into_owned(), problem.detail);
    let page = ProblemPage { who, t, title, code, detail, again };
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

/// `2026-11-22 17:05:09` of an RFC 3339 time in UTC.
fn clock(rfc3339: &str) -> String {
    rfc3339.get(..19).map_or_else(|| rfc3339.to_owned(), |time| time.replace('T', " "))
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
