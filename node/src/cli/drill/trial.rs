//! Drills as parts of something larger: an acceptance runs some and then has its figures judged.
//!
//! Invariant: the guard rails are those of a drill by hand; a trial waits until they let it begin,
//! up to an end.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{RunArgs, backup, cluster, hand_in, perform, plan};
use crate::cli::ClusterArgs;
use crate::cli::client::Api;
use crate::cli::output::field;
use crate::drills::acceptance::{Measured, SCENARIO};
use crate::drills::drive::{Course, examine};
use crate::drills::evidence::Evidence;
use crate::drills::scenario;
use crate::exit::Failure;

const LOOK: Duration = Duration::from_millis(500);

/// Drills of one scenario after another.
pub struct Trial {
    name: &'static str,
    args: RunArgs,
}

impl Trial {
    /// Of a scenario's name.
    pub fn new(
        name: &'static str,
        backup: Option<&str>,
        reason: &str,
        given: &ClusterArgs,
    ) -> Trial {
        let args = RunArgs {
            on: None,
            concentrator: None,
            hold: None,
            reason: reason.to_owned(),
            backup: backup.map(str::to_owned),
            to: None,
            yes: true,
            evidence: None,
            cluster: given.clone(),
        };
        Trial { name, args }
    }

    /// Which rails say no just now.
    pub async fn obstacles(&self, api: &Api) -> Result<Vec<String>, Failure> {
        let cluster = cluster(api).await?;
        let backup = backup(&cluster, &self.args).await;
        let (plan, _) = plan(&cluster, self.name, &self.args, backup.as_deref()).await?;
        let rails = plan["rails"].as_array().map(Vec::as_slice).unwrap_or_default();
        let bad = rails.iter().filter(|rail| rail["holds"] == "bad");
        Ok(bad
            .map(|rail| format!("{}: {}", field(rail, &["name"]), field(rail, &["detail"])))
            .collect())
    }

    /// One drill, begun when the rails allow it: its number and its verdict.
    pub async fn run(&self, api: &Api, patience: Duration) -> Result<(u64, String), Failure> {
        let until = Instant::now() + patience;
        loop {
            let found = self.obstacles(api).await;
            match found {
                Ok(bad) if bad.is_empty() => break,
                Ok(bad) if Instant::now() > until => {
                    return Err(Failure::failed("drill_unsafe", bad.join("; ")));
                }
                Err(failure) if Instant::now() > until => return Err(failure),
                _ => sleep(LOOK).await,
            }
        }
        let scenario = scenario::find(self.name)
            .ok_or_else(|| Failure::usage(format!("{}: no such scenario", self.name)))?;
        let cluster = cluster(api).await?;
        let backup = backup(&cluster, &self.args).await;
        let done = perform(&cluster, scenario, &self.args, backup.as_deref()).await?;
        let (drill, target, evidence) = done;
        let body = hand_in(&cluster, drill, target, &evidence, None).await?;
        if evidence.aborted.as_deref().is_some_and(|why| why.contains("interrupted")) {
            return Err(Failure::failed("interrupted", "ended by its driver"));
        }
        Ok((drill, field(&body, &["report", "verdict"])))
    }
}

/// Has what was measured judged, sealed and kept: the answer holds the report.
pub async fn judge_measured(
    api: &Api,
    measured: Measured,
    reason: &str,
    kept_in: &Path,
) -> Result<Value, Failure> {
    let cluster = cluster(api).await?;
    let wish = json!({"scenario": SCENARIO, "reason": reason, "backup": "none"});
    let begun = cluster.leader()?.post("/api/v1/drills", &wish).await?;
    let target = begun["target"].as_str();
    let target = target.and_then(|target| cluster.names.iter().position(|name| name == target));
    let (Some(drill), Some(target), Some(scenario)) =
        (begun["id"].as_u64(), target, scenario::find(SCENARIO))
    else {
        return Err(Failure::failed("bad_answer", "the begin of the acceptance makes no sense"));
    };
    let course = Course {
        clients: cluster.clients.clone(),
        nodes: cluster.names.clone(),
        drill,
        target,
        nodes_in_turn: Vec::new(),
        target_leads: true,
        scenario,
        concentrator: String::new(),
        hold: Duration::ZERO,
    };
    let evidence = Evidence { measured: Some(measured), ..examine(&course, None).await };
    hand_in(&cluster, drill, target, &evidence, Some(kept_in)).await
}
