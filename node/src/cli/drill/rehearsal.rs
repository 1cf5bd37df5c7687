//! `holdfast drill restore-from-backup`: the newest backup, restored where nobody lives.
//!
//! The backup's key and the way to it stay on this machine, as with `holdfast restore`. Invariants:
//! nothing is restored beside or over anything; the scratch folder is gone afterwards, whatever
//! came of it; the hash is compared with the backup's record and with the running cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use storage::backup::Repository;

use super::{Cluster, How, cluster, conclude, print};
use crate::cli::client::Api;
use crate::cli::{ClusterArgs, backup, restore};
use crate::drills::drive::{Course, examine};
use crate::drills::evidence::Restored;
use crate::drills::scenario;
use crate::exit::Failure;
use crate::secret::hex;

const NAME: &str = "restore-from-backup";

/// What it takes.
#[derive(Args)]
pub struct RehearsalArgs {
    /// Where backups are kept: a folder or s3://bucket/prefix (AWS_* in the environment).
    #[arg(long, value_name = "DIR|s3://...")]
    from: String,
    /// File of the key that encrypted them: 32 octets in hex.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Which backup; the newest when left out.
    #[arg(long)]
    id: Option<String>,
    /// A folder with room for the data, where a new one is made and removed; the system's
    /// temporary folder when left out.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Why; it stands in the audit trail and in the report.
    #[arg(long, default_value = "drill by the command line")]
    reason: String,
    /// Do it. Without this only the plan and the answers of the guard rails are shown.
    #[arg(long)]
    yes: bool,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Plan, and with `--yes` the restore.
pub async fn run(api: &Api, args: &RehearsalArgs) -> Result<(), Failure> {
    let found = cluster(api).await?;
    let leader = found.leader()?;
    let plan = leader.get(&format!("/api/v1/drills/plan?scenario={NAME}")).await?;
    let (is_json, safe) = (args.cluster.json, plan["may_begin"] == true);
    if !args.yes || !safe {
        print::plan(&plan, is_json);
    }
    if !safe {
        return Err(Failure::failed("drill_unsafe", "a guard rail says no; nothing was done"));
    }
    if !args.yes {
        return Ok(());
    }
    let wish = json!({"scenario": NAME, "reason": args.reason, "backup": args.from});
    let begun = leader.post("/api/v1/drills", &wish).await?;
    let (Some(drill), Some(course)) = (begun["id"].as_u64(), course(&found, &begun)) else {
        return Err(Failure::failed("bad_answer", "the begin of the drill makes no sense"));
    };
    eprintln!("drill {drill}: {NAME} from {}", args.from);
    let root = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let place = (args.from.clone(), args.key_file.clone(), args.id.clone());
    let scratch = root.join(format!("holdfast-drill-{drill}-{}", std::process::id()));
    let work = move || rehearse(&place, &scratch);
    let restored = tokio::task::spawn_blocking(work).await;
    let restored = restored.map_err(|error| Failure::failed("failed", error))?;
    let restored = match restored {
        Ok(mut restored) => {
            let path = format!("/api/v1/cluster?index={}", restored.index);
            let told = leader.get(&path).await.unwrap_or(Value::Null);
            restored.live = told["at"]["state_hash"].as_str().map(str::to_owned);
            Ok(restored)
        }
        Err(failure) => Err(failure.to_string()),
    };
    let evidence = examine(&course, Some(restored)).await;
    let how = How { evidence: None, is_json };
    conclude(&found, drill, course.target, &evidence, &how).await
}

fn course(found: &Cluster, begun: &Value) -> Option<Course> {
    let target = begun["target"].as_str()?;
    Some(Course {
        clients: found.clients.clone(),
        nodes: found.names.clone(),
        drill: begun["id"].as_u64()?,
        target: found.names.iter().position(|name| name == target)?,
        nodes_in_turn: Vec::new(),
        target_leads: true,
        scenario: scenario::find(NAME)?,
        concentrator: String::new(),
        hold: Duration::ZERO,
    })
}

type Place = (String, Option<PathBuf>, Option<String>);

/// Restores into a folder of its own, which is removed.
fn rehearse((from, key_file, id): &Place, scratch: &Path) -> Result<Restored, Failure> {
    let repository: Repository = backup::open(from, key_file.as_ref())?;
    let record = repository.find(id.as_deref()).map_err(backup::told)?;
    fs::create_dir(scratch)
        .map_err(|error| Failure::file("cannot make the scratch folder", scratch, &error))?;
    let began = Instant::now();
    let done = restore::rehearse(&repository, &record, scratch);
    let took_ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
    // Only what this run made is in it.
    let removed = fs::remove_dir_all(scratch);
    let state = done?;
    removed.map_err(|error| Failure::file("cannot remove the scratch folder", scratch, &error))?;
    let age_s = jiff::Timestamp::now().as_second().saturating_sub(record.origin.created_s);
    Ok(Restored {
        backup: record.id.clone(),
        created: record.origin.created.clone(),
        age_s: u64::try_from(age_s).unwrap_or(0),
        index: state.index,
        recorded: record.origin.state_hash.clone(),
        restored: hex(&state.state_hash),
        live: None,
        octets: record.octets(),
        took_ms,
    })
}
