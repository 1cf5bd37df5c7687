//! The clerk's words for drills (`drill`, `inject`, `probe`, `abort`, `finish`; with `nodes=1,2` or
//! `plan=NAME due=SECONDS` a drill is more than one failure) and for their plans: `plan do=VERB`.

use domain::drills::{self, Plan, PlanChange, Timing};
use domain::{Fault, MemoryView, NodeId, Stamp};

use super::{Words, lines};

/// The change of a line.
pub(super) fn change(words: &Words<'_>) -> drills::Change {
    if words.verb() == "plan" {
        return drills::Change::Plans(of_plan(words));
    }
    match of_drill(words) {
        drills::Change::Begin(begin)
            if words.maybe("nodes").is_some() || words.maybe("plan").is_some() =>
        {
            let nodes = words.maybe("nodes").unwrap_or_default().split(',');
            let nodes = nodes.filter_map(|node| node.parse().ok()).map(NodeId).collect();
            let turn = words.maybe("plan");
            let turn = turn.map(|name| (name.to_owned(), words.number("due", 0)));
            let to = words.text("to");
            drills::Change::BeginAs(Box::new(drills::BeginAs { begin, nodes, to, turn }))
        }
        change => change,
    }
}

fn of_plan(words: &Words<'_>) -> PlanChange {
    let (name, why) = (words.text("name"), words.text("why"));
    let (version, due_s) = (words.number("version", 1), words.number("due", 0));
    match words.text("do").as_str() {
        "ask" => {
            let timing = match words.maybe("once") {
                Some(at) => Timing::Once { at_s: at.parse().unwrap() },
                None => Timing::Repeats {
                    cron: words.text("cron").replace('_', " "),
                    zone: words.maybe("zone").unwrap_or("UTC").to_owned(),
                },
            };
            let plan = Plan {
                scenario: words.maybe("scenario").unwrap_or("leader-kill").to_owned(),
                on: words.text("on"),
                concentrator: words.text("concentrator"),
                hold_s: words.number("hold", 0),
                timing,
                window_s: words.number("window", 600),
                reason: words.text("reason"),
                backup: "none".to_owned(),
            };
            PlanChange::Ask { name, plan: Box::new(plan), seen: words.number("seen", 0) }
        }
        "approve" => PlanChange::Approve { name, version, days: words.number("days", 366) },
        "decline" => PlanChange::Decline { name, why },
        "revoke" => PlanChange::Revoke { name, why },
        "claim" => PlanChange::Claim { name, version, due_s },
        "refuse" => PlanChange::Refuse { name, due_s, why },
        "miss" => PlanChange::Miss { name, due_s },
        verb => panic!("the clerk does no plan {verb:?}"),
    }
}

/// What is asked for.
pub(super) fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Vec<String>, Fault> {
    let drill = words.number("drill", 0);
    Ok(match what {
        "drills" => drills::list(view)?.iter().map(drill_line).collect(),
        "probed" => lines([drills::probed(view, drill)?]),
        "roll" => lines([drills::roll(view, drill)?]),
        "report" => lines([drills::report(view, drill)?]),
        "plans" => {
            let mut said = Vec::new();
            for one in drills::plans(view)? {
                let standing = drills::standing(view, &one, now)?.name();
                let drills::Planned { name, version, plan, by, answer, .. } = &one;
                let scenario = &plan.scenario;
                said.push(format!("{name} {version} {scenario} by {by} {standing} {answer:?}"));
            }
            said
        }
        _ => {
            let found = drills::plan(view, &words.text("name"))?;
            let turns = found.map_or_else(Vec::new, |plan| plan.turns);
            let line = |turn: &drills::Turn| {
                let drills::Turn { due_s, version, by, came, .. } = turn;
                let trouble = if turn.is_trouble(false) { " trouble" } else { "" };
                format!("{due_s} version {version} by {by:?} {came:?}{trouble}")
            };
            turns.iter().map(line).collect()
        }
    })
}

fn drill_line(record: &drills::Record) -> String {
    let drills::Record { id, begin, by, state, .. } = record;
    let injected = record.injected.map(Stamp::seconds);
    let verdict = record.summary.as_ref().map(|summary| summary.verdict.name());
    let until = record.until.seconds();
    format!(
        "{id} {} by {by} until {until} injected {injected:?} {state:?} {verdict:?}",
        begin.scenario
    )
}

fn of_drill(words: &Words<'_>) -> drills::Change {
    let drill = words.number("drill", 0);
    let node = NodeId(words.number("node", 1));
    match words.verb() {
        "drill" => drills::Change::Begin(drills::Begin {
            scenario: words.text("scenario"),
            target: node,
            concentrator: words.text("concentrator"),
            hold_ms: words.number("hold_ms", 0),
            limit_s: words.number("limit", 100),
            reason: words.text("reason"),
            backup: words.text("backup"),
        }),
        "inject" => drills::Change::Inject { drill, node },
        "probe" => drills::Change::Probe { drill, number: words.number("number", 0) },
        "abort" => drills::Change::Abort { drill, why: words.text("why") },
        _ => drills::Change::Finish {
            drill,
            node,
            summary: drills::Summary {
                verdict: match words.maybe("verdict") {
                    Some("failed") => drills::Verdict::Failed,
                    Some("inconclusive") => drills::Verdict::Inconclusive,
                    _ => drills::Verdict::Passed,
                },
                write_ms: Some(300),
                read_ms: None,
                channel_ms: None,
                lost: 0,
                doubled: 0,
                deviations: 0,
            },
            report: vec![7; words.number("octets", 2)],
            seal: [9; 32],
        },
    }
}
