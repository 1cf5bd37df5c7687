//! `holdfast parameters`: what operators decide for all nodes.

use clap::Subcommand;
use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, table};
use super::verbs::rows;
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Verbs of parameters.
#[derive(Subcommand)]
pub enum ParametersCommand {
    /// List them with the values that count now.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one with its history.
    Show {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Set one.
    Set {
        /// Its name.
        name: String,
        /// Its value.
        value: u32,
        /// From when on it counts (RFC 3339); at once when left out.
        #[arg(long)]
        from: Option<String>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

impl ParametersCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            ParametersCommand::List { cluster }
            | ParametersCommand::Show { cluster, .. }
            | ParametersCommand::Set { cluster, .. } => cluster,
        }
    }
}

/// Does what `holdfast parameters` says.
pub async fn parameters(verb: ParametersCommand) -> Result<(), Failure> {
    match verb {
        ParametersCommand::List { cluster } => {
            let body = Api::of(&cluster)?.get("/api/v1/parameters").await?;
            if cluster.json {
                println!("{body}");
                return Ok(());
            }
            let rows = rows(&body["items"], |one| {
                ["name", "value", "unit", "version", "about"]
                    .map(|name| field(one, &[name]))
                    .to_vec()
            });
            table(&["NAME", "VALUE", "UNIT", "VERSION", "MEANING"], &rows);
            Ok(())
        }
        ParametersCommand::Show { name, cluster } => {
            let path = format!("/api/v1/parameters/{}", encode(&name));
            show(&Api::of(&cluster)?.get(&path).await?, cluster.json);
            Ok(())
        }
        ParametersCommand::Set { name, value, from, reason, cluster } => {
            let api = Api::of(&cluster)?;
            let path = format!("/api/v1/parameters/{}", encode(&name));
            let seen = api.get(&path).await?["last_version"].clone();
            let body = json!({"value": value, "from": from, "seen": seen, "reason": reason});
            show(&api.post(&path, &body).await?, cluster.json);
            Ok(())
        }
    }
}

fn show(body: &Value, json: bool) {
    if json {
        println!("{body}");
        return;
    }
    let get = |name: &str| field(body, &[name]);
    println!("{}: {} {} (version {})", get("name"), get("value"), get("unit"), get("version"));
    println!(
        "{} Default {}, else {} to {}.",
        get("about"),
        get("default"),
        get("least"),
        get("most")
    );
    let rows = rows(&body["history"], |one| {
        ["version", "value", "from", "author", "reason"].map(|name| field(one, &[name])).to_vec()
    });
    table(&["VERSION", "VALUE", "FROM", "AUTHOR", "REASON"], &rows);
}
