//! What the clerk of the golden scripts says of tasks: `task do=VERB name=T ...`, and a `report`
//! beside the words of an ingest: `settles=ORDINAL:ok,ORDINAL:REASON`, `marks=ORDINAL@SECONDS,...`.

use domain::readings::{Part, Refill};
use domain::tasks::{Board, Change, Reason, Report, Rule, What, When, Whom};
use domain::{Device, Fault, MemoryView, Obis, Stamp, assets, readings, tasks};

use super::Words;

const BILLING: Obis = Obis([0, 0, 98, 1, 0, 255]);
const EVENTS: Obis = Obis([0, 0, 99, 98, 0, 255]);

/// The change of a line.
pub(super) fn change(words: &Words<'_>) -> Change {
    let name = words.text("name");
    match words.maybe("do").unwrap_or_default() {
        "set" => Change::Set { name, rule: Box::new(rule(words)), seen: words.number("seen", 0) },
        "pause" => Change::Pause { name },
        "resume" => Change::Resume { name },
        "remove" => Change::Remove { name },
        "run" => Change::Run { name },
        "begin" => Change::Begin {
            name,
            version: words.number("version", 1),
            due_s: words.number("due", 0),
            meters: words.number("meters", 0),
        },
        "end" => Change::End { name, run: words.number("run", 1) },
        "sweep" => Change::Sweep { name },
        "report" => {
            let readings::Change::Refill(Refill { part, answered }) =
                super::reading(words, "refill")
            else {
                panic!("a report is worded as a refill")
            };
            let part = Part { mark: None, ..part };
            let settles = words.maybe("settles").unwrap_or_default().split(',');
            let settles = settles.filter(|one| !one.is_empty());
            let marks = words.maybe("marks").unwrap_or_default().split(',');
            let marks = marks.filter(|one| !one.is_empty()).map(|one| {
                let (ordinal, newest_s) = one.split_once('@').unwrap();
                (ordinal.parse().unwrap(), BILLING, newest_s.parse().unwrap())
            });
            Change::Report(Box::new(Report {
                name,
                task: words.number("task", 1),
                run: words.number("run", 1),
                part,
                answered,
                marks: marks.collect(),
                meters: settles.map(settled).collect(),
                offset_ms: words.maybe("offset").map(|_| words.number("offset", 0)),
                is_whole: words.maybe("whole").is_some(),
            }))
        }
        verb => panic!("the clerk does no task {verb:?}"),
    }
}

fn settled(text: &str) -> (u32, Result<(), Reason>) {
    let (ordinal, result) = text.split_once(':').unwrap();
    let result = match result {
        "ok" => Ok(()),
        "no_answer" => Err(Reason::NoAnswer),
        "access" => Err(Reason::Access),
        other => panic!("no such reason here: {other}"),
    };
    (ordinal.parse().unwrap(), result)
}

fn rule(words: &Words<'_>) -> Rule {
    let reach_s = words.number("reach", 86_400);
    let obis = words.maybe("obis").map(|text| text.split(',').map(|one| one.parse().unwrap()));
    let obis: Vec<Obis> = obis.into_iter().flatten().collect();
    let what = match words.maybe("what") {
        Some("billing") => What::Billing { profile: Some(BILLING), reach_s },
        Some("events") => What::Events { logs: vec![EVENTS], reach_s },
        Some("load") => What::Load { profile: None, reach_s },
        Some("clock") => What::Clock,
        Some("clock_shift") => What::ClockShift,
        Some("instantaneous") => What::Instantaneous { registers: obis },
        _ => What::Registers { registers: obis },
    };
    let names = |list: &str| list.split(',').map(str::to_owned).collect();
    let whom = match (words.maybe("of"), words.maybe("behind"), words.maybe("models")) {
        (Some(meters), _, _) => Whom::Meters(names(meters)),
        (_, Some(concentrators), _) => Whom::Concentrators(names(concentrators)),
        (_, _, Some(models)) => Whom::Models(names(models)),
        _ => match words.maybe("in") {
            Some(regions) => Whom::Regions(
                regions.split(',').map(|one| one.parse().expect("a region")).collect(),
            ),
            None => Whom::All,
        },
    };
    Rule {
        what,
        whom,
        when: When {
            // A script's words end at spaces.
            cron: words.text("cron").replace('_', " "),
            zone: "UTC".to_owned(),
            delay_s: words.number("delay", 0),
            spread_s: words.number("spread", 0),
            lasts_s: words.number("lasts", 3_600),
        },
        priority: words.number("priority", 5),
        attempts: words.number("attempts", 3),
        backoff_s: words.number("backoff", 60),
        backoff_cap_s: words.number("cap", 3_600),
    }
}

/// What there is to show of tasks; none when it is of something else.
pub(super) fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Option<Vec<String>>, Fault> {
    let task = tasks::task(view, &words.text("name"))?;
    Ok(Some(match (what, task) {
        ("tasks", _) => tasks::tasks(view)?.iter().map(line).collect(),
        ("work", _) => vec![work(view, &words.device(), words.maybe("past"), now)?],
        ("runs", Some(task)) => tasks::runs(view, &task)?.iter().map(run).collect(),
        ("given_up", Some(task)) => {
            let number = words.number("run", 1);
            let found = tasks::given_up(view, &task, number, None, 100)?;
            found
                .iter()
                .map(|one| format!("{} {} {:?}", one.device, one.ordinal, one.reason))
                .collect()
        }
        ("standing", Some(task)) => {
            let number = words.number("run", 1);
            vec![format!("{:?}", tasks::standing(view, &task, number, &words.device())?)]
        }
        ("read_until", _) => {
            let read = tasks::read_until_s(view, words.number("ordinal", 0), BILLING)?;
            vec![format!("{read:?}")]
        }
        ("clocks", Some(task)) => {
            let found = tasks::clocks(view, &task, None, 100)?;
            let line = |(device, at, offset_ms): &(Device, Stamp, i64)| {
                format!("{device} off by {offset_ms} ms at {}", at.seconds())
            };
            found.iter().map(line).collect()
        }
        ("concerned", Some(task)) => vec![tasks::concerned(view, &task.rule.whom)?.to_string()],
        _ => return Ok(None),
    }))
}

fn line(task: &tasks::Task) -> String {
    let tasks::Task { id, name, version, state, runs, last_due_s, is_running, .. } = task;
    let running = if *is_running { " running" } else { "" };
    let wanted = if task.wanted.is_some() { " wanted" } else { "" };
    let what = task.rule.what.name();
    format!(
        "{id} {name} {what} version {version} {} {runs} runs, last due {last_due_s:?}\
         {running}{wanted}",
        state.name()
    )
}

fn run(run: &tasks::Run) -> String {
    let tasks::Run { number, due_s, meters, done, failed, reasons, retries, rows, devices, .. } =
        run;
    let ended = run
        .ended
        .map_or("open".to_owned(), |(at, how)| format!("{} at {}", how.name(), at.seconds()));
    format!(
        "{number} due {due_s}: {done} done and {failed} failed of {meters} {reasons:?}, \
         {retries} retries, {rows} rows, {devices} devices, {ended}"
    )
}

fn work(
    view: &MemoryView,
    device: &Device,
    from: Option<&str>,
    now: Stamp,
) -> Result<String, Fault> {
    let work = Board::read(view, now)?.next(view, device, now, (from, 2), |_| true)?;
    Ok(work.map_or("nothing".to_owned(), |work| {
        let serials: Vec<&str> =
            work.meters.iter().map(|meter: &assets::Meter| meter.serial.as_str()).collect();
        format!("{} run {} of {serials:?}", work.task.name, work.run.number)
    }))
}
