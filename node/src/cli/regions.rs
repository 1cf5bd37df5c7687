//! `holdfast region`: the tree of the utility.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Api;
use super::output::{field, table, text};
use super::verbs::{fetch, print_list, rows};
use super::{ClusterArgs, ListArgs};
use crate::exit::Failure;

/// Verbs of regions.
#[derive(Subcommand)]
pub enum RegionCommand {
    /// List those that you see.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Add one.
    Add {
        /// Its name, unlike its neighbours'.
        name: String,
        /// Number of the region that it lies in; 0: the whole utility.
        #[arg(long = "in", default_value_t = 0)]
        parent: u32,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Give it another name.
    Rename {
        /// Its number.
        id: u32,
        /// The name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Close it; it must be empty.
    Close {
        /// Its number.
        id: u32,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List what was placed in it.
    Devices {
        /// Its number.
        id: u32,
        /// How the list is cut.
        #[command(flatten)]
        list: ListArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Place devices in it, from now on.
    Place {
        /// Its number; 0: the whole utility.
        id: u32,
        /// A concentrator with the meters behind it; several with several of these.
        #[arg(long)]
        concentrator: Vec<String>,
        /// A meter; several with several of these.
        #[arg(long)]
        meter: Vec<String>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

impl RegionCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::List { cluster }
            | Self::Add { cluster, .. }
            | Self::Rename { cluster, .. }
            | Self::Close { cluster, .. }
            | Self::Devices { cluster, .. }
            | Self::Place { cluster, .. } => cluster,
        }
    }
}

/// Does what `holdfast region` says.
pub async fn region(verb: RegionCommand) -> Result<(), Failure> {
    let cluster = verb.cluster().clone();
    let api = Api::of(&cluster)?;
    let one = |id: u32, rest: &str| format!("/api/v1/regions/{id}{rest}");
    match verb {
        RegionCommand::List { .. } => {
            let body = api.get("/api/v1/regions").await?;
            if cluster.json {
                println!("{body}");
                return Ok(());
            }
            let rows = rows(&body["items"], |region| {
                let path = region["path"].as_array().into_iter().flatten().map(text);
                let closed = field(region, &["closed"]);
                vec![field(region, &["id"]), path.collect::<Vec<_>>().join(" / "), closed]
            });
            table(&["NUMBER", "REGION", "CLOSED"], &rows);
        }
        RegionCommand::Add { name, parent, .. } => {
            let body = json!({"name": name, "parent": parent});
            said(&api.post("/api/v1/regions", &body).await?, cluster.json);
        }
        RegionCommand::Rename { id, name, .. } => {
            said(&api.post(&one(id, "/rename"), &json!({"name": name})).await?, cluster.json);
        }
        RegionCommand::Close { id, .. } => {
            said(&api.post(&one(id, "/close"), &Value::Null).await?, cluster.json);
        }
        RegionCommand::Devices { id, list, .. } => {
            let items = fetch(&one(id, "/devices?"), &list, &cluster).await?;
            print_list(
                &items,
                cluster.json,
                &["KIND", "NAME", "SINCE", "BY", "REASON"],
                |placed| {
                    ["kind", "name", "since", "by", "reason"]
                        .map(|name| field(placed, &[name]))
                        .to_vec()
                },
            );
        }
        RegionCommand::Place { id, concentrator, meter, reason, .. } => {
            let body = json!({"concentrators": concentrator, "meters": meter, "reason": reason});
            api.post(&one(id, "/devices"), &body).await?;
        }
    }
    Ok(())
}

fn said(region: &Value, json: bool) {
    if json {
        println!("{region}");
        return;
    }
    let path = region["path"].as_array().into_iter().flatten().map(text);
    println!("{} {}", field(region, &["id"]), path.collect::<Vec<_>>().join(" / "));
}
