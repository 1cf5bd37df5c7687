//! `holdfast clock`: clocks that are off, and what was done about them.

use clap::Subcommand;
use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, table};
use super::verbs::rows;
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Verbs of clocks.
#[derive(Subcommand)]
pub enum ClockCommand {
    /// Clocks that a task found off, or that were set.
    List {
        /// Only those that stand so: right, off, waiting, shifting, day_spent, beyond_limit.
        #[arg(long)]
        standing: Option<String>,
        /// The most clocks that are shown.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// One clock, with its last shifts and settings.
    Show {
        /// A meter's serial, or a concentrator's logical device name.
        device: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

impl ClockCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            ClockCommand::List { cluster, .. } | ClockCommand::Show { cluster, .. } => cluster,
        }
    }
}

/// Does what `holdfast clock` says.
pub async fn clock(verb: ClockCommand) -> Result<(), Failure> {
    match verb {
        ClockCommand::List { standing, limit, cluster } => list(standing, limit, &cluster).await,
        ClockCommand::Show { device, cluster } => show(&device, &cluster).await,
    }
}

async fn list(
    standing: Option<String>,
    limit: usize,
    cluster: &ClusterArgs,
) -> Result<(), Failure> {
    let api = Api::of(cluster)?;
    let standing = standing.map(|one| format!("&standing={}", encode(&one))).unwrap_or_default();
    let (mut items, mut cursor, mut more) = (Vec::new(), String::new(), true);
    while more && items.len() < limit {
        let page = (limit - items.len()).clamp(1, 1000);
        let path = format!("/api/v1/clocks?limit={page}{standing}{cursor}");
        let mut page = api.get(&path).await?;
        if let Value::Array(found) = page["items"].take() {
            items.extend(found);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => more = false,
        }
    }
    let items = Value::Array(items);
    if cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let lines = rows(&items, |one| {
        let names = ["device", "kind", "standing", "offset_s", "measured", "spent_s", "task"];
        let mut cells = names.map(|name| field(one, &[name])).to_vec();
        cells.push(one["shifts"].as_array().map_or(0, Vec::len).to_string());
        cells
    });
    let head = ["DEVICE", "KIND", "STANDING", "OFF BY S", "MEASURED", "SPENT S", "TASK", "SHIFTS"];
    table(&head, &lines);
    if more {
        println!("There are more: --limit");
    }
    Ok(())
}

async fn show(device: &str, cluster: &ClusterArgs) -> Result<(), Failure> {
    let body = Api::of(cluster)?.get(&format!("/api/v1/clocks/{}", encode(device))).await?;
    if cluster.json {
        println!("{body}");
        return Ok(());
    }
    let names = [
        ("device", "device"),
        ("kind", "kind"),
        ("standing", "standing"),
        ("offset_s", "off by, s"),
        ("measured", "measured"),
        ("task", "shifted by task"),
        ("spent_s", "ordered on its last day, s"),
        ("command", "command under way"),
    ];
    for (name, called) in names.into_iter().filter(|(name, _)| !body[*name].is_null()) {
        println!("{called:<28}{}", field(&body, &[name]));
    }
    let lines = rows(&body["shifts"], |one| {
        let names = ["time", "before_s", "after_s", "by", "command"];
        names.map(|name| field(one, &[name])).to_vec()
    });
    if !lines.is_empty() {
        println!();
        table(&["SET", "BEFORE S", "AFTER S", "BY", "COMMAND"], &lines);
    }
    Ok(())
}
