//! The verbs about the channels of a concentrator.
//!
//! Invariant: `switch` ends with 0 only when the channel is active where it was wanted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, pairs, table};
use crate::areas::pages::encode;
use crate::exit::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(200);

fn path(id: &str, what: &str) -> String {
    format!("/api/v1/concentrators/{}/{what}", encode(id))
}

/// `holdfast concentrator channels ID`.
pub async fn show(id: &str, args: &ClusterArgs) -> Result<(), Failure> {
    let body = Api::of(args)?.get(&path(id, "channels")).await?;
    print(&body, args.json);
    Ok(())
}

/// `holdfast concentrator switch ID`: orders it and waits for it.
pub async fn switch(id: &str, to: Option<&str>, args: &ClusterArgs) -> Result<(), Failure> {
    let api = Api::of(args)?;
    let ordered = api.post(&path(id, "switch"), &json!({ "to": to })).await?;
    // An order that was carried out at once stands in the answer as the active channel already.
    let wanted = match &ordered["ordered"]["to"] {
        Value::String(node) => node.clone(),
        _ => field(&ordered, &["active", "node"]),
    };
    let until = Instant::now() + Duration::from_millis(domain::leases::ORDER_MS);
    loop {
        let body = api.get(&path(id, "channels")).await?;
        if field(&body, &["active", "node"]) == wanted && body["ordered"].is_null() {
            print(&body, args.json);
            return Ok(());
        }
        if Instant::now() >= until {
            let text = format!("{id}: the standby at {wanted} has not taken over");
            return Err(Failure::failed("not_switched", text));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn print(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    match &body["active"] {
        Value::Null => println!("no active channel"),
        active => println!(
            "active at {} on its {} address, epoch {}, {} since {}",
            field(active, &["node"]),
            field(active, &["role"]),
            field(active, &["epoch"]),
            field(active, &["reason"]),
            field(active, &["since"]),
        ),
    }
    let standbys: Vec<&str> =
        body["standbys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    println!(
        "standby at {}",
        if standbys.is_empty() { "no node".to_owned() } else { standbys.join(", ") }
    );
    if !body["returns"].is_null() {
        println!("the main channel takes over from {} on", field(body, &["returns"]));
    }
    if !body["ordered"].is_null() {
        let (to, by) = (field(body, &["ordered", "to"]), field(body, &["ordered", "by"]));
        println!("ordered to {to} by {by}");
    }
    if !body["here"].is_null() {
        println!();
        pairs(&body["here"]);
    }
    println!();
    let grants = body["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = grants
        .iter()
        .map(|grant| {
            ["epoch", "node", "role", "reason", "since", "until"]
                .map(|name| field(grant, &[name]))
                .to_vec()
        })
        .collect();
    table(&["EPOCH", "NODE", "ADDRESS", "REASON", "SINCE", "UNTIL"], &rows);
}
