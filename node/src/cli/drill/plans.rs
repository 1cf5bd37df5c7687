//! `holdfast drill plan`: what is drilled by the calendar, asked for by one, approved by another.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::areas::pages::encode;
use crate::cli::ClusterArgs;
use crate::cli::client::Api;
use crate::cli::output::{field, table};
use crate::exit::Failure;

/// Verbs of plans.
#[derive(Subcommand)]
pub enum PlanCommand {
    /// Ask for a plan, or for a change of one with --change; it counts when another approves it.
    Add(Box<PlanAdd>),
    /// Every plan with its state, next time and last result.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Say yes to a plan as the second person.
    Approve {
        /// Its name.
        name: String,
        /// The version that you have looked at, see `drill plan list`.
        #[arg(long)]
        version: u32,
        /// It counts so many days, a year at most.
        #[arg(long, default_value_t = 366)]
        days: u32,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Say no to a plan as the second person, also to one that was approved.
    Decline {
        /// Its name.
        name: String,
        /// Why, for the record.
        #[arg(long)]
        why: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Take a plan back.
    Revoke {
        /// Its name.
        name: String,
        /// Why, for the record.
        #[arg(long)]
        why: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// What `add` takes.
#[derive(Args)]
pub struct PlanAdd {
    /// Its name: letters, digits, dots, dashes and underscores.
    name: String,
    /// The scenario, see `drill list`.
    #[arg(long)]
    scenario: String,
    /// Again and again: minute, hour, day of month, month, day of week, as cron has them.
    #[arg(long, value_name = "FIELDS", conflicts_with = "at", required_unless_present = "at")]
    cron: Option<String>,
    /// The time zone of --cron.
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// Once, RFC 3339.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// It begins within so many seconds of its time, or not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    window: u32,
    /// The node to hurt; whom the scenario means when left out.
    #[arg(long, value_name = "NODE")]
    on: Option<String>,
    /// The concentrator whose channel to hurt; one with a standby when left out.
    #[arg(long, value_name = "ID")]
    concentrator: Option<String>,
    /// How long the failure lasts, where it lasts.
    #[arg(long, value_name = "SECONDS")]
    hold: Option<u32>,
    /// The last backup in your words, or `none`; the nodes must know one when left out.
    #[arg(long, value_name = "TEXT")]
    backup: Option<String>,
    /// Why; it stands in the audit trail and in each report.
    #[arg(long)]
    reason: String,
    /// Change the plan of this name, which was seen in this version.
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    change: u32,
    /// How to reach the cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl PlanCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::Add(args) => &args.cluster,
            Self::List { cluster }
            | Self::Approve { cluster, .. }
            | Self::Decline { cluster, .. }
            | Self::Revoke { cluster, .. } => cluster,
        }
    }
}

/// Does what a verb says.
pub async fn run(api: &Api, verb: PlanCommand) -> Result<(), Failure> {
    let is_json = verb.cluster().json;
    let path = |name: &str, deed: &str| format!("/api/v1/drills/plans/{}/{deed}", encode(name));
    let body = match verb {
        PlanCommand::List { .. } => {
            let body = api.get("/api/v1/drills/plans").await?;
            list(&body, is_json);
            return Ok(());
        }
        PlanCommand::Add(args) => {
            let zone = args.cron.as_ref().map(|_| &args.zone);
            let wish = json!({
                "name": args.name, "seen": args.change, "scenario": args.scenario,
                "cron": args.cron, "zone": zone, "at": args.at, "window_s": args.window,
                "on": args.on, "concentrator": args.concentrator, "hold_s": args.hold,
                "backup": args.backup, "reason": args.reason,
            });
            api.post("/api/v1/drills/plans", &wish).await?
        }
        PlanCommand::Approve { name, version, days, .. } => {
            let wish = json!({ "version": version, "days": days });
            api.post(&path(&name, "approve"), &wish).await?
        }
        PlanCommand::Decline { name, why, .. } => {
            api.post(&path(&name, "decline"), &json!({ "why": why })).await?
        }
        PlanCommand::Revoke { name, why, .. } => {
            api.post(&path(&name, "revoke"), &json!({ "why": why })).await?
        }
    };
    if is_json {
        println!("{body}");
        return Ok(());
    }
    let get = |name: &str| field(&body, &[name]);
    let (name, version, state) = (get("name"), get("version"), get("state"));
    println!("plan {name}, version {version}: {state}");
    match state.as_str() {
        "waiting" => println!(
            "Another operator approves it until {}: holdfast drill plan approve {name} \
             --version {version}",
            get("until")
        ),
        "in_force" => println!("next {}, until {}", get("next"), get("until")),
        _ => {}
    }
    Ok(())
}

fn list(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        println!(
            "no plans: holdfast drill plan add NAME --scenario NAME --cron FIELDS --reason WHY"
        );
        return;
    }
    let rows = items.iter().map(|plan| {
        let get = |name: &str| field(plan, &[name]);
        let when = match plan["cron"].as_str() {
            Some(cron) => format!("{cron} {}", get("zone")),
            None => get("at"),
        };
        let last = &plan["turns"][0];
        let came = match last["drill"].as_u64() {
            Some(drill) => format!("{} (drill {drill})", field(last, &["came"])),
            None => field(last, &["came"]),
        };
        vec![
            get("name"),
            get("version"),
            get("state"),
            get("scenario"),
            when,
            get("next"),
            came,
            field(last, &["due"]),
            get("asked_by"),
            get("answered_by"),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head = [
        "PLAN", "VERSION", "STATE", "SCENARIO", "WHEN", "NEXT", "LAST", "DUE", "ASKED", "ANSWERED",
    ];
    table(&head, &rows);
    for plan in items {
        let why = &plan["turns"][0]["why"];
        if let Some(why) = why.as_str() {
            println!("{}: {why}", field(plan, &["name"]));
        }
    }
}
