//! `holdfast drill watch`: carries out plans that are in force, until it is stopped.
//!
//! A client like every driver, best on a machine that runs no node, with a token of the role
//! `driller`. Invariants: a turn is driven only when the log has given it to this watcher; what
//! cannot begin within its window is told with the reason; Ctrl-C or SIGTERM in a drill aborts it.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Cluster, carry_out, cluster, hand_in, newest_backup};
use crate::areas::pages::encode;
use crate::cli::ClusterArgs;
use crate::cli::client::Api;
use crate::cli::output::field;
use crate::drills::scenario;
use crate::exit::Failure;
use crate::run::Signals;

/// How often a turn that a guard rail holds back is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What it takes.
#[derive(Args)]
pub struct WatchArgs {
    /// How often it looks for what is due, 1 to 60 s.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// A turn that the log has given to this watcher.
struct Turn {
    plan: String,
    due: String,
    until: jiff::Timestamp,
}

/// Watches until a signal comes.
pub async fn run(api: &Api, args: &WatchArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    // Whoever may not even look is told so at once, not in the middle of a night.
    let all = api.get("/api/v1/drills/plans").await?;
    let count = all["items"].as_array().map_or(0, Vec::len);
    eprintln!("watching {count} plans");
    loop {
        match look(api).await {
            Ok(turns) => {
                for turn in turns {
                    if let Err(failure) = carry(api, &turn, &mut signals).await {
                        eprintln!("plan {}: {failure}", turn.plan);
                        if failure.code == "interrupted" {
                            return Ok(());
                        }
                    }
                }
            }
            Err(failure) => eprintln!("{failure}"),
        }
        if timeout(Duration::from_secs(args.every), signals.next()).await.is_ok() {
            return Ok(());
        }
    }
}

/// Claims what is due.
async fn look(api: &Api) -> Result<Vec<Turn>, Failure> {
    let body = api.get("/api/v1/drills/plans").await?;
    let plans = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for plan in plans.iter().filter(|plan| plan["state"] == "in_force") {
        let name = field(plan, &["name"]);
        let path = format!("/api/v1/drills/plans/{}/claim", encode(&name));
        match api.post(&path, &Value::Null).await {
            // One at a time: the next is claimed when this one is over.
            Ok(claimed) => {
                let until = field(&claimed, &["until"]);
                let until = until.parse().map_err(|error| Failure::failed("bad_answer", error))?;
                let due = field(&claimed, &["due"]);
                eprintln!("plan {name}: the turn of {due} is ours");
                return Ok(vec![Turn { plan: name, due, until }]);
            }
            // Not due, or another watcher has it.
            Err(failure) if matches!(failure.code.as_str(), "turn_not_due" | "turn_taken") => {}
            Err(failure) => eprintln!("plan {name}: {failure}"),
        }
    }
    Ok(Vec::new())
}

/// Begins a turn's drill as soon as the guard rails let it, drives it and has it judged.
async fn carry(api: &Api, turn: &Turn, signals: &mut Signals) -> Result<(), Failure> {
    let (found, begun) = loop {
        match begin(api, turn).await {
            Ok(begun) => break begun,
            Err(failure) => {
                let tried = failure.code == "drill_unsafe"
                    || failure.code == "drill_running"
                    || failure.exit == crate::exit::Exit::TryAgain
                    || failure.exit == crate::exit::Exit::Unreachable;
                let left = turn.until.as_second() - jiff::Timestamp::now().as_second();
                let stopped = timeout(AGAIN, signals.next()).await.is_ok();
                let ends = !tried || left <= i64::try_from(AGAIN.as_secs() * 3).unwrap_or(0);
                if ends || stopped {
                    refuse(api, turn, &failure, stopped).await?;
                    let code = if stopped { "interrupted" } else { "turn_refused" };
                    return Err(Failure::failed(code, failure));
                }
            }
        }
    };
    let name = field(&begun, &["scenario", "name"]);
    let scenario = scenario::find(&name)
        .ok_or_else(|| Failure::failed("bad_answer", format!("{name}: no such scenario here")))?;
    let wish = async {
        signals.next().await;
        "its watcher was stopped".to_owned()
    };
    let (drill, target, evidence) = carry_out(&found, scenario, &begun, wish).await?;
    let body = hand_in(&found, drill, target, &evidence, None).await?;
    println!("plan {}: drill {drill} {}", turn.plan, field(&body, &["report", "verdict"]));
    if evidence.aborted.as_deref().is_some_and(|why| why.contains("watcher was stopped")) {
        return Err(Failure::failed("interrupted", "stopped in the middle of a drill"));
    }
    Ok(())
}

/// Has the leader begin the drill, when every node answers this machine.
async fn begin(api: &Api, turn: &Turn) -> Result<(Cluster, Value), Failure> {
    let found = cluster(api).await?;
    let own = found.own_rails(None).await;
    let bad: Vec<String> = own
        .iter()
        .filter(|rail| rail["holds"] == "bad")
        .map(|rail| field(rail, &["detail"]))
        .collect();
    if !bad.is_empty() {
        return Err(Failure::failed("drill_unsafe", format!("reach: {}", bad.join("; "))));
    }
    let at = newest_backup(&found.clients).await;
    let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
    let backup = at.map(|at| format!("taken {at}, as the nodes know"));
    let path = format!("/api/v1/drills/plans/{}/begin", encode(&turn.plan));
    let wish = json!({ "due": turn.due, "backup": backup });
    let begun = found.leader()?.post(&path, &wish).await?;
    Ok((found, begun))
}

/// Tells the log why a turn could not begin; tried for as long as somebody may yet hear it.
async fn refuse(api: &Api, turn: &Turn, why: &Failure, stopped: bool) -> Result<(), Failure> {
    let why = match stopped {
        true => format!("its watcher was stopped; before that: {why}"),
        false => why.to_string(),
    };
    let why: String = why.chars().take(500).collect();
    let path = format!("/api/v1/drills/plans/{}/refuse", encode(&turn.plan));
    let wish = json!({ "due": turn.due, "why": why });
    let mut last = Ok(());
    for _ in 0..3 {
        match api.post(&path, &wish).await {
            Ok(_) => return Ok(()),
            Err(failure) => last = Err(failure),
        }
        sleep(Duration::from_secs(1)).await;
    }
    last
}
