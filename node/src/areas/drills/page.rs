//! Drills for people: what was drilled, and a report with its picture, in the pages of a node or
//! as one file to print.
//!
//! Invariants: server-rendered, no script; the picture carries a label and its numbers stand in
//! the tables; a page of its own needs nothing besides itself; what a report holds is escaped.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use domain::View;

use crate::app::App;
use crate::areas::drills::plans::{self, DrillPlanBody};
use crate::areas::drills::{DrillBody, ScenarioBody, body, report_body};
use crate::areas::pages::{Who, refused, render};
use crate::drills::report::{Chart, Latency, Moment, Recovery, Report};
use crate::http::asked::Asked;
use crate::http::problem::Problem;
use crate::texts::{Language, escaped};

const WIDTH: f64 = 1160.0;
const LANE: f64 = 90.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 16.0;
const GAP: f64 = 26.0;

/// Pages of drills, behind the login.
pub fn router() -> Router<App> {
    Router::new().route("/drills", get(list)).route("/drills/{id}", get(one))
}

#[derive(Template)]
#[template(path = "drills.html")]
struct ListPage {
    who: Who,
    t: Language,
    allowed: bool,
    scenarios: Vec<ScenarioBody>,
    items: Vec<DrillBody>,
    plans: Vec<DrillPlanBody>,
}

/// What is known of a report's seal.
#[derive(Clone, Debug)]
pub struct Seal {
    /// In hex.
    pub seal: String,
    /// Whether a node found it to be the cluster's.
    pub holds: bool,
    /// The node that judged.
    pub judge: String,
    /// The signature for whoever is no node, in hex; empty where the seal does not hold.
    pub signature: String,
    /// The key by which it is checked, in hex.
    pub public_key: String,
}

#[derive(Template)]
#[template(path = "drill.html")]
struct ReportPage<'a> {
    who: Who,
    t: Language,
    r: &'a Report,
    s: Seal,
    svg: String,
}

#[derive(Template)]
#[template(path = "drill_alone.html")]
struct AlonePage<'a> {
    t: Language,
    r: &'a Report,
    s: Seal,
    svg: String,
    css: &'static str,
}

/// A report as one file.
///
/// # Errors
/// It cannot be rendered.
pub fn standalone(report: &Report, seal: Seal) -> Result<String, askama::Error> {
    let css = include_str!("../../../assets/page.css");
    let t = Language::English;
    AlonePage { t, r: report, s: seal, svg: svg(report, t), css }.render()
}

async fn list(app: Asked) -> Response {
    let found = body(&app).and_then(|all| Ok((all, plans::bodies(&app)?)));
    let page = found.map(|(all, plans)| ListPage {
        plans,
        who: Who::of(&app),
        t: app.language(),
        allowed: all.allowed,
        scenarios: all.scenarios,
        items: all.items.into_iter().take(50).collect(),
    });
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

async fn one(app: Asked, Path(id): Path<u64>) -> Response {
    let found = app.view().and_then(|view| found(&app, &view, id));
    match found {
        Ok((report, seal)) => {
            let (who, t) = (Who::of(&app), app.language());
            let svg = svg(&report, t);
            render(&ReportPage { who, t, r: &report, s: seal, svg })
        }
        Err(problem) => refused(&app, problem),
    }
}

fn found(app: &App, view: &dyn View, id: u64) -> Result<(Report, Seal), Problem> {
    let found = report_body(app, view, id)?;
    let none = || Problem::missing("no_report", format!("drill {id} has no report"));
    let raw = found.report.ok_or_else(none)?;
    let report = serde_json::from_str(raw.get()).map_err(|error| {
        tracing::error!(%error, id, "a report cannot be read");
        Problem::fault()
    })?;
    let seal = Seal {
        seal: found.seal.unwrap_or_default(),
        holds: found.seal_holds == Some(true),
        judge: found.judge.unwrap_or_default(),
        signature: found.signature.unwrap_or_default(),
        public_key: found.public_key.unwrap_or_default(),
    };
    Ok((report, seal))
}

/// Writes above reads, each tenth of a second or more a bar: answered upwards in the line's
/// colour, given up in the other, with the injection and what came back.
fn svg(report: &Report, t: Language) -> String {
    let Chart { from_ms, step_ms, slices } = &report.chart;
    if slices.is_empty() {
        return String::new();
    }
    let height = TOP + 2.0 * LANE + GAP + 30.0;
    let width = (WIDTH - LEFT - 8.0) / slices.len() as f64;
    let most = |count: fn(&crate::drills::report::Slice) -> u16| {
        slices.iter().map(count).max().unwrap_or(0).max(1)
    };
    let x = |ms: i64| LEFT + (ms - from_ms) as f64 / f64::from(*step_ms) * width;
    let mut out = format!(
        "<div class=\"chart\"><svg class=\"curve\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{}\">",
        escaped(&t.say("drill.chart_label").to_string())
    );
    let most_writes = most(|one| one.writes + one.failed_writes);
    let most_reads = most(|one| one.reads + one.failed_reads);
    for (place, slice) in slices.iter().enumerate() {
        let left = LEFT + place as f64 * width;
        for (lane, good, bad, most) in [
            (0.0, slice.writes, slice.failed_writes, most_writes),
            (LANE + GAP, slice.reads, slice.failed_reads, most_reads),
        ] {
            let foot = TOP + lane + LANE;
            let tall = |count: u16| f64::from(count) / f64::from(most) * LANE;
            out.push_str(&bar("good", left, foot - tall(good), width, tall(good)));
            let bad_top = foot - tall(good) - tall(bad);
            out.push_str(&bar("gone", left, bad_top, width, tall(bad)));
        }
    }
    for (text, foot) in [("drill.writes", TOP + LANE), ("drill.reads", TOP + 2.0 * LANE + GAP)] {
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{foot}\" y2=\"{foot}\"/>\
             <text x=\"0\" y=\"{}\">{}</text>",
            foot - LANE / 2.0,
            escaped(&t.say(text).to_string())
        ));
    }
    out.push_str(&marks(report, &x, height));
    out.push_str("</svg></div>");
    out
}

fn bar(class: &str, x: f64, y: f64, width: f64, height: f64) -> String {
    if height <= 0.0 {
        return String::new();
    }
    let width = (width - 0.3).max(0.3);
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\"/>"
    )
}

/// Seconds below, and upright lines at the injection and at the longest pauses' ends.
fn marks(report: &Report, x: &dyn Fn(i64) -> f64, height: f64) -> String {
    let Chart { from_ms, step_ms, slices } = &report.chart;
    let to_ms = from_ms + i64::from(*step_ms) * i64::try_from(slices.len()).unwrap_or(0);
    let mut out = String::new();
    let step = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000];
    let step = step.into_iter().find(|step| (to_ms - from_ms) / step <= 24).unwrap_or(120_000);
    let mut at = from_ms.div_euclid(step) * step + step;
    while at < to_ms {
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            x(at),
            height - 6.0,
            at / 1_000
        ));
        at += step;
    }
    let mut line = |at_ms: i64, class: &str| {
        let at = x(at_ms);
        out.push_str(&format!(
            "<line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            height - 24.0
        ));
    };
    line(0, "mark");
    let ends = report.timeline.iter().filter(|moment| moment.what.contains("longest pause"));
    ends.for_each(|moment| line(moment.at_ms, "back"));
    out
}

impl Recovery {
    fn measured(&self, t: &Language) -> String {
        let missed = || t.say("drill.not_back").to_string();
        self.measured_ms.map_or_else(missed, |ms| format!("{ms} ms"))
    }

    fn before(&self) -> String {
        self.before_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
    }
}

impl Latency {
    fn ms(&self) -> [String; 3] {
        [self.median_us, self.p99_us, self.max_us]
            .map(|us| format!("{:.1}", f64::from(us) / 1000.0))
    }
}

impl Moment {
    fn seconds(&self) -> String {
        format!("{:+.3}", self.at_ms as f64 / 1000.0)
    }
}

impl DrillBody {
    fn write(&self) -> String {
        self.write_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
    }

    fn read(&self) -> String {
        self.read_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
    }

    fn channel(&self) -> String {
        self.channel_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
    }

    fn begun_clock(&self) -> String {
        self.begun.chars().take(19).collect::<String>().replace('T', " ")
    }
}

impl DrillPlanBody {
    /// Cron with its zone, or one time.
    fn when(&self) -> String {
        let zone = self.zone.as_deref().unwrap_or_default();
        let once = || self.at.clone().unwrap_or_default();
        self.cron.as_ref().map_or_else(once, |cron| format!("{cron} {zone}"))
    }

    fn next_clock(&self) -> String {
        let none = || "–".to_owned();
        self.next.as_ref().map_or_else(none, |at| at.replace('T', " ").replace('Z', ""))
    }
}

impl ScenarioBody {
    fn age(&self, t: &Language) -> String {
        let said = match self.age_s {
            None => t.say("drills.never"),
            Some(seconds @ 0..=7_199) => t.say("drills.minutes_ago").with("n", seconds / 60),
            Some(seconds @ 7_200..=172_799) => t.say("drills.hours_ago").with("n", seconds / 3_600),
            Some(seconds) => t.say("drills.days_ago").with("n", seconds / 86_400),
        };
        said.to_string()
    }
}
