//! `holdfast drill`: plan, run, list, show and end drills.
//!
//! Invariants: without `--yes` nothing is hurt; exit 0 only for a drill that passed, or a plan
//! that may begin; what Ctrl-C ends is undone before the program is.

mod kept;
mod plans;
mod print;
mod rehearsal;
mod trial;
mod watch;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::field;
use crate::areas::pages::encode;
use crate::drills::drive::{Course, drive, newest_backup};
use crate::drills::evidence::Evidence;
use crate::drills::scenario::{self, Scenario};
use crate::exit::{Exit, Failure};
use crate::run::Signals;
pub use kept::{ReportArgs, VerifyArgs, write};
pub use print::figures;
pub use trial::{Trial, judge_measured};

/// How long the cluster may take to keep a report.
const KEEP: Duration = Duration::from_secs(60);
const ORDER: Duration = Duration::from_secs(10);

/// Verbs of drills.
#[derive(Subcommand)]
pub enum DrillCommand {
    /// Every scenario with its last run, its age and its result.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// The report of a drill.
    Report(ReportArgs),
    /// Whether a report on this machine is the cluster's, by its public key. Asks no node.
    Verify(VerifyArgs),
    /// The public key by which reports are verified.
    Key {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// End the drill that is under way; what lasts is undone.
    Abort {
        /// Why.
        #[arg(long, default_value = "ended by the command line")]
        why: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// The leader hands its office over; nobody should notice.
    GracefulHandOver(RunArgs),
    /// The leader's process dies; a supervisor must start it again.
    LeaderKill(RunArgs),
    /// A follower's process dies; a supervisor must start it again.
    NodeKill(RunArgs),
    /// The leader stands still for a while without dying.
    LeaderHang(RunArgs),
    /// A concentrator's active channel is closed.
    ChannelCut(RunArgs),
    /// A concentrator's active channel goes dead without a word.
    ChannelBlackHole(RunArgs),
    /// A node and its peers lose every datagram between them for a while.
    NetworkCut(RunArgs),
    /// A node behaves as with a full disk for a while.
    FullDisk(RunArgs),
    /// A node reads its certificate again and dials its links anew; nobody should notice.
    CertificateRenewal(RunArgs),
    /// Every node is stopped in order and started again, one after the other, the leader last.
    RollingRestart(RunArgs),
    /// The same behind an exchange of the program: each must come back as another build.
    RollingUpgrade(RunArgs),
    /// Plans: what is drilled by the calendar, when a second person has agreed.
    #[command(subcommand)]
    Plan(plans::PlanCommand),
    /// Carries out plans that are in force, until it is stopped.
    Watch(watch::WatchArgs),
    /// The newest backup is restored into a scratch folder; no node is hurt.
    RestoreFromBackup(rehearsal::RehearsalArgs),
}

/// What a run takes.
#[derive(Args)]
pub struct RunArgs {
    /// The node to hurt, by name or number; whom the scenario means when left out.
    #[arg(long, value_name = "NODE")]
    on: Option<String>,
    /// The concentrator whose channel to hurt; one with a standby when left out.
    #[arg(long, value_name = "ID")]
    concentrator: Option<String>,
    /// How long the failure lasts, where it lasts.
    #[arg(long, value_name = "SECONDS")]
    hold: Option<u32>,
    /// Why; it stands in the audit trail and in the report.
    #[arg(long, default_value = "drill by the command line")]
    reason: String,
    /// The last backup, in your words, or `none`; as the nodes know it when left out.
    #[arg(long, value_name = "TEXT")]
    backup: Option<String>,
    /// Of rolling-upgrade: the version with which every node must come back; any other build than
    /// before when left out.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Do it. Without this only the plan and the answers of the guard rails are shown.
    #[arg(long)]
    yes: bool,
    /// Keep the raw evidence in this file; the report holds its hash.
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// How to reach the cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl DrillCommand {
    fn run(&self) -> Option<(&'static str, &RunArgs)> {
        Some(match self {
            Self::List { .. }
            | Self::Report(_)
            | Self::Verify(_)
            | Self::Key { .. }
            | Self::Abort { .. }
            | Self::Plan(_)
            | Self::Watch(_)
            | Self::RestoreFromBackup(_) => return None,
            Self::GracefulHandOver(args) => ("graceful-hand-over", args),
            Self::LeaderKill(args) => ("leader-kill", args),
            Self::NodeKill(args) => ("node-kill", args),
            Self::LeaderHang(args) => ("leader-hang", args),
            Self::ChannelCut(args) => ("channel-cut", args),
            Self::ChannelBlackHole(args) => ("channel-black-hole", args),
            Self::NetworkCut(args) => ("network-cut", args),
            Self::FullDisk(args) => ("full-disk", args),
            Self::CertificateRenewal(args) => ("certificate-renewal", args),
            Self::RollingRestart(args) => ("rolling-restart", args),
            Self::RollingUpgrade(args) => ("rolling-upgrade", args),
        })
    }

    /// Whether the answer is for programs.
    pub fn json(&self) -> bool {
        match self {
            Self::Verify(args) => args.json,
            other => other.cluster().is_some_and(|cluster| cluster.json),
        }
    }

    /// How to reach the cluster; none for what asks no node.
    fn cluster(&self) -> Option<&ClusterArgs> {
        Some(match self {
            Self::Verify(_) => return None,
            Self::List { cluster } | Self::Abort { cluster, .. } | Self::Key { cluster } => cluster,
            Self::Report(args) => &args.cluster,
            Self::RestoreFromBackup(args) => &args.cluster,
            Self::Plan(verb) => verb.cluster(),
            Self::Watch(args) => &args.cluster,
            Self::GracefulHandOver(args)
            | Self::LeaderKill(args)
            | Self::NodeKill(args)
            | Self::LeaderHang(args)
            | Self::ChannelCut(args)
            | Self::ChannelBlackHole(args)
            | Self::NetworkCut(args)
            | Self::FullDisk(args)
            | Self::CertificateRenewal(args)
            | Self::RollingRestart(args)
            | Self::RollingUpgrade(args) => &args.cluster,
        })
    }
}

/// Does what a verb says.
pub async fn drill(verb: DrillCommand) -> Result<(), Failure> {
    let is_json = verb.json();
    let api = match (&verb, verb.cluster()) {
        (DrillCommand::Verify(args), _) => return kept::verify(args),
        (_, Some(cluster)) => Api::of(cluster)?,
        (_, None) => return Err(Failure::failed("failed", "the verb names no cluster")),
    };
    if let Some((name, args)) = verb.run() {
        return run(&api, name, args).await;
    }
    match verb {
        DrillCommand::Report(args) => kept::report(&api, &args).await,
        DrillCommand::Key { .. } => kept::key(&api, is_json).await,
        DrillCommand::Abort { why, .. } => kept::abort(&api, &why, is_json).await,
        DrillCommand::Plan(verb) => plans::run(&api, verb).await,
        DrillCommand::Watch(args) => watch::run(&api, &args).await,
        DrillCommand::RestoreFromBackup(args) => rehearsal::run(&api, &args).await,
        _ => {
            let body = api.get("/api/v1/drills").await?;
            print::list(&body, is_json);
            Ok(())
        }
    }
}

/// The cluster as one of its nodes shows it: names, addresses and who leads.
struct Cluster {
    names: Vec<String>,
    clients: Vec<Api>,
    leader: usize,
}

async fn cluster(api: &Api) -> Result<Cluster, Failure> {
    let body = api.get("/api/v1/cluster").await?;
    let nodes = body["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<String> = nodes.iter().map(|node| field(node, &["name"])).collect();
    let clients = nodes.iter().map(|node| api.at(&field(node, &["url"]))).collect();
    let leader = body["leader"].as_str().and_then(|leader| names.iter().position(|n| n == leader));
    let Some(leader) = leader else {
        return Err(Failure::new(Exit::TryAgain, "no_leader", "no leader is known just now"));
    };
    Ok(Cluster { names, clients, leader })
}

impl Cluster {
    fn leader(&self) -> Result<&Api, Failure> {
        self.clients.get(self.leader).ok_or_else(|| Failure::failed("no_leader", "no leader"))
    }

    /// Guard rails that only the driver can see: every node answers it, and the target lets itself
    /// be hurt; all of them where none is named.
    async fn own_rails(&self, target: Option<&str>) -> Vec<Value> {
        let mut rails = Vec::new();
        for (name, client) in self.names.iter().zip(&self.clients) {
            let rail = |holds: &str, detail: String| {
                rails_entry("reach", holds, &format!("{name}: {detail}"))
            };
            rails.push(match client.get("/api/v1/drills").await {
                Ok(body) if target.is_none_or(|its| its == name) && body["allowed"] != true => {
                    rail("bad", "`drills.allowed` is false there".to_owned())
                }
                Ok(_) => rail("good", "answers at its address".to_owned()),
                Err(failure) => rail("bad", failure.to_string()),
            });
        }
        rails
    }
}

fn rails_entry(name: &str, holds: &str, detail: &str) -> Value {
    json!({"name": name, "holds": holds, "detail": detail})
}

/// Plan, and with `--yes` the drill itself.
async fn run(api: &Api, name: &str, args: &RunArgs) -> Result<(), Failure> {
    let scenario =
        scenario::find(name).ok_or_else(|| Failure::usage(format!("{name}: no such scenario")))?;
    let cluster = cluster(api).await?;
    let backup = backup(&cluster, args).await;
    let (plan, safe) = plan(&cluster, name, args, backup.as_deref()).await?;
    let is_json = args.cluster.json;
    if !args.yes || !safe {
        print::plan(&plan, is_json);
    }
    if !safe {
        return Err(Failure::failed("drill_unsafe", "a guard rail says no; nothing was done"));
    }
    if !args.yes {
        return Ok(());
    }
    let (drill, target, evidence) = perform(&cluster, scenario, args, backup.as_deref()).await?;
    let how = How { evidence: args.evidence.as_deref(), is_json };
    conclude(&cluster, drill, target, &evidence, &how).await
}

/// What would be done, with every rail's answer, and whether none says no.
async fn plan(
    cluster: &Cluster,
    name: &str,
    args: &RunArgs,
    backup: Option<&str>,
) -> Result<(Value, bool), Failure> {
    let query = query(name, args, backup);
    let mut plan = cluster.leader()?.get(&format!("/api/v1/drills/plan?{query}")).await?;
    let target = plan["target"].as_str().map(str::to_owned);
    let many = plan["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty());
    let target = target.filter(|_| !many);
    let rails = cluster.own_rails(target.as_deref()).await;
    let safe = plan["may_begin"] == true && rails.iter().all(|rail| rail["holds"] != "bad");
    if let Some(all) = plan["rails"].as_array_mut() {
        all.extend(rails);
    }
    plan["may_begin"] = json!(safe);
    Ok((plan, safe))
}

/// Begins a drill that is safe and drives it to its end: its number, the place of the node that
/// was hurt, and the evidence.
async fn perform(
    cluster: &Cluster,
    scenario: &'static Scenario,
    args: &RunArgs,
    backup: Option<&str>,
) -> Result<(u64, usize, Evidence), Failure> {
    let wish = json!({
        "scenario": scenario.name, "on": args.on, "concentrator": args.concentrator,
        "hold_s": args.hold, "reason": args.reason, "backup": backup, "to": args.to,
    });
    let begun = cluster.leader()?.post("/api/v1/drills", &wish).await?;
    let mut signals = Signals::new()?;
    let wish = async {
        signals.next().await;
        "interrupted by its driver".to_owned()
    };
    carry_out(cluster, scenario, &begun, wish).await
}

/// Drives a drill that was begun, until it is over or the wish for its end comes.
async fn carry_out(
    cluster: &Cluster,
    scenario: &'static Scenario,
    begun: &Value,
    wish: impl Future<Output = String>,
) -> Result<(u64, usize, Evidence), Failure> {
    let place = |name: &str| cluster.names.iter().position(|other| other == name);
    let target = begun["target"].as_str().and_then(place);
    let (Some(drill), Some(target)) = (begun["id"].as_u64(), target) else {
        return Err(Failure::failed("bad_answer", "the begin of the drill makes no sense"));
    };
    let named = begun["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let nodes_in_turn = named.iter().filter_map(|name| place(name.as_str()?)).collect();
    let course = Course {
        nodes_in_turn,
        clients: cluster.clients.clone(),
        nodes: cluster.names.clone(),
        drill,
        target,
        target_leads: target == cluster.leader,
        scenario,
        concentrator: field(begun, &["concentrator"]),
        hold: Duration::from_secs(begun["hold_s"].as_u64().unwrap_or(0)),
    };
    let whom = if named.is_empty() { field(begun, &["target"]) } else { "every node".to_owned() };
    eprintln!("drill {drill}: {} on {whom}", scenario.name);
    let evidence = drive(course, wish, |news| eprintln!("drill {drill}: {news}")).await;
    Ok((drill, target, evidence))
}

/// The last backup: in the operator's words, or as the nodes know it.
async fn backup(cluster: &Cluster, args: &RunArgs) -> Option<String> {
    if args.backup.is_some() {
        return args.backup.clone();
    }
    let at = jiff::Timestamp::from_second(newest_backup(&cluster.clients).await?).ok()?;
    Some(format!("taken {at}, as the nodes know"))
}

fn query(name: &str, args: &RunArgs, backup: Option<&str>) -> String {
    let mut query = format!("scenario={}", encode(name));
    let hold = args.hold.map(|hold| hold.to_string());
    for (name, value) in [
        ("on", args.on.as_deref()),
        ("concentrator", args.concentrator.as_deref()),
        ("hold_s", hold.as_deref()),
        ("reason", Some(args.reason.as_str())),
        ("backup", backup),
        ("to", args.to.as_deref()),
    ] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    query
}

/// How a verdict is shown.
struct How<'a> {
    evidence: Option<&'a Path>,
    is_json: bool,
}

/// Undoes what an aborted drill may have left, has the report made and shows it.
async fn conclude(
    cluster: &Cluster,
    drill: u64,
    target: usize,
    evidence: &Evidence,
    how: &How<'_>,
) -> Result<(), Failure> {
    let body = hand_in(cluster, drill, target, evidence, how.evidence).await?;
    print::report(&body, how.is_json);
    let verdict = field(&body, &["report", "verdict"]);
    if verdict == "passed" {
        return Ok(());
    }
    let reasons = body["report"]["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
    Err(Failure::failed(format!("drill_{verdict}"), reasons.join("; ")))
}

/// The same without showing it: what the judge answers.
async fn hand_in(
    cluster: &Cluster,
    drill: u64,
    target: usize,
    evidence: &Evidence,
    kept_in: Option<&Path>,
) -> Result<Value, Failure> {
    if let Some(why) = &evidence.aborted {
        eprintln!("drill {drill}: given up: {why}");
        undo(cluster.clients.get(target), drill).await;
        let end = json!({ "why": why }).to_string();
        let path = format!("/api/v1/drills/{drill}/abort");
        // Refused when it was ended elsewhere; then there is nothing to end.
        for_first(cluster, &path, end.into(), &format!("drill {drill} abort"), ORDER).await.ok();
    }
    let octets = serde_json::to_vec(evidence).map_err(|error| Failure::failed("failed", error))?;
    if let Some(path) = kept_in {
        keep(path, &octets)?;
    }
    let path = format!("/api/v1/drills/{drill}/evidence");
    let key = format!("drill {drill} evidence");
    for_first(cluster, &path, octets.into(), &key, KEEP).await
}

fn keep(path: &Path, octets: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, octets).map_err(|error| Failure::file("cannot write", path, &error))
}

/// Ends what lasts on the target, by its own address: it may not hear its peers.
async fn undo(target: Option<&Api>, drill: u64) {
    let path = format!("/api/v1/drills/{drill}/injection");
    if let Some(target) = target {
        // A node that does not answer undoes it by its own clock.
        target.once(Method::DELETE, &path, (None, "undo"), ORDER).await.ok();
    }
}

/// Posts to the nodes in turn, the leader first, until one has done it.
async fn for_first(
    cluster: &Cluster,
    path: &str,
    body: Bytes,
    key: &str,
    patience: Duration,
) -> Result<Value, Failure> {
    let mut last = Failure::new(Exit::Unreachable, "unreachable", "no node answers");
    let leader = cluster.clients.get(cluster.leader).into_iter();
    for client in leader.chain(&cluster.clients) {
        match client.once(Method::POST, path, (Some(body.clone()), key), patience).await {
            Ok((200..=299, body)) => return Ok(body),
            Ok((status, body)) => {
                let code = body["code"].as_str().unwrap_or("failed").to_owned();
                let detail = format!("{status} {}", field(&body, &["detail"]));
                last = Failure::failed(code, detail);
                if (400..500).contains(&status) {
                    return Err(last);
                }
            }
            Err(no_answer) => {
                last = Failure::new(Exit::Unreachable, "unreachable", format!("{no_answer:?}"));
            }
        }
    }
    Err(last)
}
