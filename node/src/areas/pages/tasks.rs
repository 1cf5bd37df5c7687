//! The pages of the collection: how much of what was due is stored, the tasks, and one with its
//! runs.
//!
//! Invariants: a rate stands beside what was due; an order goes the way of the API's, with the same
//! refusals, and is answered by a redirection.

use askama::Template;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};

use super::{Who, clock, encode, grouped, refused, render};
use crate::areas::ListParams;
use crate::areas::collection::{ConcentratorRate, NumbersBody, SpreadBody, WindowBody};
use crate::areas::gaps::{self, MeterGaps};
use crate::areas::tasks::{self, GivenUpBody, GivenUpParams, RunBody, TaskBody, WhomBody};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::Problem;
use crate::texts::Language;

/// Concentrators that the page of the collection shows, those with the lowest rates.
const SHOWN: usize = 50;
/// Runs and given-up meters that the page of a task shows.
const SHOWN_RUNS: usize = 20;
/// Names that a line says of those whom a task concerns.
const SHOWN_NAMES: usize = 3;

#[derive(Template)]
#[template(path = "collection.html")]
struct CollectionPage {
    who: Who,
    t: Language,
    /// The last day and all that is kept.
    windows: [(&'static str, NumbersBody); 2],
    spread: Option<SpreadBody>,
    /// Lowest rate first.
    concentrators: Vec<ConcentratorRate>,
    more: bool,
}

#[derive(Template)]
#[template(path = "gaps.html")]
struct GapsPage {
    who: Who,
    t: Language,
    concentrator: String,
    meters: Vec<MeterGaps>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "tasks.html")]
struct TasksPage {
    who: Who,
    t: Language,
    tasks: Vec<TaskBody>,
}

#[derive(Template)]
#[template(path = "task.html")]
struct TaskPage {
    who: Who,
    t: Language,
    task: TaskBody,
    runs: Vec<RunBody>,
    given_up: Vec<GivenUpBody>,
    next: Option<String>,
}

/// Millionths as `98.7 %`, rounded down: 100 % means all.
pub(super) fn share(ppm: Option<u64>) -> String {
    ppm.map_or("–".to_owned(), |ppm| format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1000))
}

impl NumbersBody {
    fn counts(&self) -> [(&'static str, String); 7] {
        [
            ("expected", grouped(self.expected)),
            ("stored", grouped(self.stored)),
            ("first_pass", grouped(self.first_pass)),
            ("refilled", grouped(self.refilled)),
            ("brought", grouped(self.brought)),
            ("missing", grouped(self.missing)),
            ("silent", grouped(self.silent)),
        ]
    }

    fn shares(&self) -> [(&'static str, String); 3] {
        [
            ("first_pass", share(self.first_pass_ppm)),
            ("after_refill", share(self.after_refill_ppm)),
            ("overall", share(self.rate_ppm)),
        ]
    }

    /// What was due, is not stored and may still be asked for.
    fn gaps(&self) -> String {
        grouped(self.expected.saturating_sub(self.stored).saturating_sub(self.missing))
    }

    fn given_up(&self) -> String {
        grouped(self.missing)
    }

    fn due(&self) -> String {
        grouped(self.expected)
    }

    fn overall(&self) -> String {
        share(self.rate_ppm)
    }
}

impl SpreadBody {
    fn points(&self) -> [(&'static str, String); 5] {
        [
            ("least", share(Some(self.least_ppm))),
            ("tenth", share(Some(self.tenth_ppm))),
            ("median", share(Some(self.median_ppm))),
            ("ninetieth", share(Some(self.ninetieth_ppm))),
            ("most", share(Some(self.most_ppm))),
        ]
    }
}

impl TaskBody {
    fn whom_words(&self, t: &Language) -> String {
        let numbers = |all: &[u32]| all.iter().map(u32::to_string).collect::<Vec<_>>();
        let (kind, names) = match &self.whom {
            WhomBody::All => ("all", Vec::new()),
            WhomBody::Concentrators(names) => ("concentrators", names.clone()),
            WhomBody::Meters(serials) => ("meters", serials.clone()),
            WhomBody::Models(names) => ("models", names.clone()),
            WhomBody::Regions(all) => ("regions", numbers(all)),
        };
        let word = t.word("whom", kind);
        if names.is_empty() {
            return word;
        }
        let more = if names.len() > SHOWN_NAMES { ", …" } else { "" };
        let shown: Vec<_> = names.into_iter().take(SHOWN_NAMES).collect();
        format!("{word} {}{more}", shown.join(", "))
    }

    fn next_clock(&self) -> String {
        self.next.as_deref().map_or_else(|| "–".to_owned(), clock)
    }
}

impl RunBody {
    fn begun_clock(&self) -> String {
        clock(&self.begun)
    }

    fn ended_clock(&self) -> String {
        self.ended.as_deref().map_or_else(|| "–".to_owned(), clock)
    }

    /// Settled meters of those it concerned when it began.
    fn progress(&self) -> String {
        let settled = u64::from(self.done) + u64::from(self.failed);
        format!("{} / {}", grouped(settled), grouped(u64::from(self.meters)))
    }

    fn got(&self) -> String {
        grouped(self.rows)
    }
}

/// How much of what was due is stored.
pub async fn collection(app: Asked) -> Response {
    collected(&app).map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

fn collected(app: &Asked) -> Result<CollectionPage, Problem> {
    let collected = app.collected().within(&app.view()?)?;
    let (day, kept) = (WindowBody::from(&collected.day), WindowBody::from(&collected.kept));
    let mut found: Vec<_> = collected.day.concentrators.iter().collect();
    // Of what nothing was due stands last.
    found.sort_by_key(|(name, own)| (own.rate_ppm().unwrap_or(u64::MAX), name.as_str()));
    let more = found.len() > SHOWN;
    let one = |(name, own): (&String, &domain::readings::Collection)| ConcentratorRate {
        concentrator: name.clone(),
        numbers: (*own).into(),
    };
    Ok(CollectionPage {
        who: Who::of(app),
        t: app.language(),
        windows: [("day", day.numbers), ("kept", kept.numbers)],
        spread: day.concentrators,
        concentrators: found.into_iter().take(SHOWN).map(one).collect(),
        more,
    })
}

/// The meters behind a concentrator that have gaps.
pub async fn gaps(
    app: Asked,
    Path(id): Path<String>,
    Params(params): Params<ListParams>,
) -> Response {
    let page = gaps_page(&app, id, params).await;
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

async fn gaps_page(app: &Asked, id: String, params: ListParams) -> Result<GapsPage, Problem> {
    let page = gaps::of_concentrator(app, &id, params).await?;
    let of = encode(&id);
    let next = page.next.map(|next| format!("/concentrators/{of}/gaps?cursor={}", encode(&next)));
    let (who, t) = (Who::of(app), app.language());
    Ok(GapsPage { who, t, concentrator: id, meters: page.items, next })
}

/// Every task with its last run.
pub async fn list(app: Asked) -> Response {
    match tasks::found(&app, None) {
        Ok(tasks) => {
            let (who, t) = (Who::of(&app), app.language());
            render(&TasksPage { who, t, tasks })
        }
        Err(problem) => refused(&app, problem),
    }
}

/// One task with its runs, and the meters that were given up in the last one.
pub async fn show(
    app: Asked,
    Path(name): Path<String>,
    Params(params): Params<GivenUpParams>,
) -> Response {
    let page = task_page(&app, &name, params);
    page.map_or_else(|problem| refused(&app, problem), |page| render(&page))
}

fn task_page(app: &Asked, name: &str, mut params: GivenUpParams) -> Result<TaskPage, Problem> {
    params.limit = Some(params.limit.unwrap_or(SHOWN_RUNS));
    let (task, mut runs) = tasks::with_runs(app, name)?;
    runs.truncate(SHOWN_RUNS);
    let page = tasks::given_up(app, name, &params)?;
    let url = |next: String| format!("/tasks/{}?cursor={}", encode(name), encode(&next));
    let (who, t) = (Who::of(app), app.language());
    Ok(TaskPage { who, t, task, runs, given_up: page.items, next: page.next.map(url) })
}

/// Begins a run now.
pub async fn run(app: Asked, Path(name): Path<String>) -> Response {
    let ordered = tasks::run(app.clone(), Path(name.clone()), HeaderMap::new()).await;
    back(&app, &name, ordered.map(drop))
}

/// Begins no run until it is resumed.
pub async fn pause(app: Asked, Path(name): Path<String>) -> Response {
    let ordered = tasks::pause(app.clone(), Path(name.clone()), HeaderMap::new()).await;
    back(&app, &name, ordered.map(drop))
}

/// Goes on.
pub async fn resume(app: Asked, Path(name): Path<String>) -> Response {
    let ordered = tasks::resume(app.clone(), Path(name.clone()), HeaderMap::new()).await;
    back(&app, &name, ordered.map(drop))
}

fn back(app: &Asked, name: &str, ordered: Result<(), Problem>) -> Response {
    match ordered {
        Ok(()) => Redirect::to(&format!("/tasks/{}", encode(name))).into_response(),
        Err(problem) => refused(app, problem),
    }
}
