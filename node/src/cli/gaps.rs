//! `holdfast gaps`: which values were due and are not stored.

use clap::Args;
use serde_json::{Value, json};

use super::client::Api;
use super::output::{field, table};
use super::verbs::rows;
use super::{ClusterArgs, ListArgs};
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Whose gaps are to be shown.
#[derive(Args)]
pub struct GapsArgs {
    /// A meter's: each with its bounds.
    #[arg(long, value_name = "SERIAL", required_unless_present = "concentrator")]
    pub meter: Option<String>,
    /// Meters behind a concentrator that have some.
    #[arg(long, value_name = "NAME", conflicts_with = "meter")]
    pub concentrator: Option<String>,
    /// Interval ends after this time (RFC 3339); 62 days back when left out.
    #[arg(long, conflicts_with = "concentrator")]
    pub from: Option<String>,
    /// Interval ends up to this time; now when left out.
    #[arg(long, conflicts_with = "concentrator")]
    pub to: Option<String>,
    /// How the list of meters is cut.
    #[command(flatten)]
    pub list: ListArgs,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Does what `holdfast gaps` says.
pub async fn gaps(args: &GapsArgs) -> Result<(), Failure> {
    let api = Api::of(&args.cluster)?;
    let (items, head, names) = match (&args.meter, &args.concentrator) {
        (Some(serial), _) => (of_meter(&api, args, serial).await?, &METER[..], &OF_METER[..]),
        (None, Some(name)) => (behind(&api, args, name).await?, &BEHIND[..], &OF_BEHIND[..]),
        // The command line asks for one of them.
        (None, None) => return Ok(()),
    };
    if args.cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    table(head, &rows(&items, |one| names.iter().map(|name| field(one, &[name])).collect()));
    Ok(())
}

const METER: [&str; 5] = ["AFTER", "UP TO", "MINUTES", "VALUES", "STATE"];
const OF_METER: [&str; 5] = ["from", "to", "interval_minutes", "values", "state"];
const BEHIND: [&str; 6] = ["METER", "OPEN", "MISSING", "GAPS", "AFTER", "UP TO"];
const OF_BEHIND: [&str; 6] = ["serial", "open", "missing", "gaps", "first", "last"];

async fn of_meter(api: &Api, args: &GapsArgs, serial: &str) -> Result<Value, Failure> {
    let mut path = format!("/api/v1/meters/{}/gaps", encode(serial));
    for (name, value) in [("from", &args.from), ("to", &args.to)] {
        if let Some(value) = value {
            let mark = if path.contains('?') { '&' } else { '?' };
            path.push_str(&format!("{mark}{name}={}", encode(value)));
        }
    }
    Ok(api.get(&path).await?["items"].take())
}

async fn behind(api: &Api, args: &GapsArgs, name: &str) -> Result<Value, Failure> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    while items.len() < args.list.limit {
        let limit = (args.list.limit - items.len()).clamp(1, 1000);
        let path = format!("/api/v1/concentrators/{}/gaps?limit={limit}{cursor}", encode(name));
        let mut page = api.get(&path).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
    }
    Ok(Value::Array(items))
}
