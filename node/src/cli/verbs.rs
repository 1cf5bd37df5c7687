//! The verbs that talk to a running cluster through its API.
//!
//! Invariant: a verb ends with 0 only when it did what it says; a device's failure is exit 1.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::Api;
use super::devices::{CommandCommand, ConcentratorCommand, MeterCommand};
use super::meters::MeterRead;
use super::output::{field, pairs, table, text};
use super::{ClusterArgs, ListArgs};
use super::{add, channels, import, live, orders, values};
use crate::areas::pages::encode;
use crate::exit::{Exit, Failure};

/// `holdfast status`.
pub async fn status(args: &ClusterArgs) -> Result<(), Failure> {
    let body = Api::of(args)?.get("/api/v1/cluster").await?;
    if args.json {
        println!("{body}");
        return Ok(());
    }
    println!(
        "leader {}, term {}, commit {}, applied {} at {}",
        field(&body, &["leader"]),
        field(&body, &["term"]),
        field(&body, &["commit_index"]),
        field(&body, &["applied_index"]),
        field(&body, &["node"]),
    );
    println!("state hash {}", field(&body, &["state_hash"]));
    super::members::tell_failover(&body);
    let rows = rows(&body["nodes"], |node| {
        let up = if node["reachable"] == true { "up" } else { "down" };
        let get = |name: &str| field(node, &[name]);
        vec![get("name"), get("role"), up.to_string(), get("matched"), get("lag"), get("url")]
    });
    table(&["NODE", "ROLE", "LINK", "MATCHED", "LAG", "URL"], &rows);
    Ok(())
}

/// `holdfast concentrator …`.
pub async fn concentrator(verb: ConcentratorCommand) -> Result<(), Failure> {
    match verb {
        ConcentratorCommand::Add { id, system_title, name, guek_file, gak_file, cluster } => {
            let mut body = json!({"id": id, "system_title": system_title, "name": name});
            body["guek"] = key(&guek_file)?;
            body["gak"] = key(&gak_file)?;
            let made = Api::of(&cluster)?.post("/api/v1/concentrators", &body).await?;
            show(&made, cluster.json);
            Ok(())
        }
        ConcentratorCommand::Import { file, cluster } => {
            let items = import::read(&file, import::CONCENTRATOR)?;
            import_all("/api/v1/concentrators/import", items, &cluster).await
        }
        ConcentratorCommand::List { list, cluster } => {
            let items = fetch("/api/v1/concentrators?", &list, &cluster).await?;
            let head = ["ID", "NAME", "CHANNEL", "NODE", "EPOCH", "SINCE", "STANDBY"];
            print_list(&items, cluster.json, &head, |item| {
                let channel = |name: &str| field(item, &["channel", name]);
                let standbys = item["standbys"]
                    .as_array()
                    .map(|all| all.iter().map(text).collect::<Vec<_>>().join(" "));
                vec![
                    field(item, &["id"]),
                    field(item, &["name"]),
                    channel("role"),
                    channel("node"),
                    channel("epoch"),
                    channel("since"),
                    standbys.unwrap_or_default(),
                ]
            });
            Ok(())
        }
        ConcentratorCommand::Show { id, cluster } => {
            let path = format!("/api/v1/concentrators/{}", encode(&id));
            show(&Api::of(&cluster)?.get(&path).await?, cluster.json);
            Ok(())
        }
        ConcentratorCommand::Channels { id, cluster } => channels::show(&id, &cluster).await,
        ConcentratorCommand::Restart { id, reason, timeout, cluster } => {
            let order = json!({"kind": "restart", "reason": reason});
            order_device(&id, order, timeout, &cluster).await
        }
        ConcentratorCommand::Switch { id, to, cluster } => {
            channels::switch(&id, to.as_deref(), &cluster).await
        }
    }
}

/// `holdfast meter …`.
pub async fn meter(verb: MeterCommand) -> Result<(), Failure> {
    match verb {
        MeterCommand::Add(args) => add::meter_add(&args).await,
        MeterCommand::Import { file, cluster } => {
            let items = import::read(&file, import::METER)?;
            import_all("/api/v1/meters/import", items, &cluster).await
        }
        MeterCommand::List { concentrator, list, cluster } => {
            let filter = concentrator.map_or_else(String::new, |concentrator| {
                format!("concentrator={}&", encode(&concentrator))
            });
            let items = fetch(&format!("/api/v1/meters?{filter}"), &list, &cluster).await?;
            print_list(&items, cluster.json, &["SERIAL", "MODEL", "REACHED BY"], |item| {
                let way = if item["address"].is_null() { "concentrator" } else { "address" };
                vec![field(item, &["serial"]), field(item, &["model"]), field(item, &[way])]
            });
            Ok(())
        }
        MeterCommand::Show { serial, cluster } => {
            let path = format!("/api/v1/meters/{}", encode(&serial));
            show(&Api::of(&cluster)?.get(&path).await?, cluster.json);
            Ok(())
        }
        MeterCommand::Read(args) => meter_read(&args).await,
        MeterCommand::Live(args) => live::live(&args).await,
        MeterCommand::Switch(args) => orders::switch(&args).await,
        MeterCommand::Clock(args) => orders::clock(&args).await,
        MeterCommand::Write(args) => orders::write(&args).await,
        MeterCommand::Readings(args) => values::readings(&args).await,
        MeterCommand::Sums(args) => values::sums(&args).await,
        MeterCommand::Latest(args) => values::latest(&args).await,
        MeterCommand::Correct(args) => values::correct(&args).await,
    }
}

/// `holdfast command …`.
pub async fn command(verb: CommandCommand) -> Result<(), Failure> {
    match verb {
        CommandCommand::Show { id, cluster } => {
            let path = format!("/api/v1/commands/{}", encode(&id));
            show(&Api::of(&cluster)?.get(&path).await?, cluster.json);
            Ok(())
        }
        CommandCommand::List { list, cluster } => {
            let items = fetch("/api/v1/commands?", &list, &cluster).await?;
            print_list(&items, cluster.json, &["ID", "QUEUED", "TARGET", "STATE"], |item| {
                let get = |name: &str| field(item, &[name]);
                vec![get("id"), get("queued"), get("target"), get("state")]
            });
            Ok(())
        }
    }
}

async fn meter_read(args: &MeterRead) -> Result<(), Failure> {
    let order = match &args.profile {
        Some(obis) => json!({"kind": "profile", "obis": obis, "from": args.from, "to": args.to}),
        None => {
            let default = vec!["1-0:1.8.0".to_string()];
            let asked = if args.obis.is_empty() { &default } else { &args.obis };
            let attributes: Vec<Value> = asked.iter().map(|o| json!({"obis": o})).collect();
            json!({"kind": "read", "attributes": attributes})
        }
    };
    order_device(&args.serial, order, args.timeout, &args.cluster).await
}

/// Queues an order, waits for what becomes of it, and prints that.
pub(super) async fn order_device(
    target: &str,
    order: Value,
    timeout_s: u64,
    args: &ClusterArgs,
) -> Result<(), Failure> {
    let ended = execute(&Api::of(args)?, target, &order, timeout_s).await?;
    report(&ended, args)
}

/// Queues an order and waits for its end, or for the end of its time.
pub(super) async fn execute(
    api: &Api,
    target: &str,
    order: &Value,
    timeout_s: u64,
) -> Result<Value, Failure> {
    let body = json!({"target": target, "order": order, "expires_in_s": timeout_s});
    let queued = api.post("/api/v1/commands", &body).await?;
    wait_for(api, &field(&queued, &["id"]), timeout_s).await
}

/// Waits for the end of a command, or for the end of its time.
pub(super) async fn wait_for(api: &Api, id: &str, timeout_s: u64) -> Result<Value, Failure> {
    // The outbox may end a command a moment after its time.
    let until = Instant::now() + Duration::from_secs(timeout_s.saturating_add(5));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = left.as_secs().clamp(1, 20);
        let command = api.get(&format!("/api/v1/commands/{id}?wait={wait}")).await?;
        let over = command["settled"].is_string() || command["state"] == "unknown";
        if over || left.is_zero() {
            return Ok(command);
        }
    }
}

/// Fails with why a command has no answer.
pub(super) fn answered(command: &Value) -> Result<(), Failure> {
    let state = field(command, &["state"]);
    if !command["settled"].is_string() || !matches!(&*state, "acknowledged" | "verified") {
        let (code, detail) = match command["failure"].as_object() {
            Some(_) => {
                (field(command, &["failure", "code"]), field(command, &["failure", "detail"]))
            }
            None => (state.clone(), format!("command {} is {state}", field(command, &["id"]))),
        };
        let exit = if state == "queued" || state == "sent" { Exit::TryAgain } else { Exit::Failed };
        return Err(Failure::new(exit, code, detail));
    }
    Ok(())
}

/// Prints what the device answered, or fails with why it did not.
fn report(command: &Value, args: &ClusterArgs) -> Result<(), Failure> {
    if args.json {
        println!("{command}");
    }
    answered(command)?;
    if !args.json {
        let time = field(command, &["settled"]);
        let rows = rows(&command["values"], |read| {
            let get = |name: &str| field(read, &[name]);
            let unit = if read["unit"].is_null() { String::new() } else { get("unit") };
            vec![get("obis"), get("value"), unit, time.clone()]
        });
        table(&["OBIS", "VALUE", "UNIT", "READ AT"], &rows);
    }
    Ok(())
}

async fn import_all(path: &str, items: Vec<Value>, args: &ClusterArgs) -> Result<(), Failure> {
    const AT_ONCE: usize = 2_000;
    let api = Api::of(args)?;
    let total = items.len();
    let (mut done, mut added, mut refused) = (0, 0, Vec::new());
    for chunk in items.chunks(AT_ONCE) {
        let answer = api.post(path, &json!({"items": chunk})).await?;
        done += chunk.len();
        added += answer["added"].as_u64().unwrap_or(0);
        refused.extend(answer["refused"].as_array().cloned().unwrap_or_default());
        if total > AT_ONCE {
            eprintln!("{done} of {total}");
        }
    }
    if args.json {
        println!("{}", json!({"added": added, "refused": refused}));
    } else {
        println!("{added} of {total} are in");
        for item in &refused {
            let get = |name: &str| field(item, &[name]);
            println!("  {}: {}: {}", get("name"), get("code"), get("detail"));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::failed("refused", format!("{} of {total} were refused", refused.len())))
}

/// Collects pages until the limit.
pub(super) async fn fetch(
    path: &str,
    list: &ListArgs,
    args: &ClusterArgs,
) -> Result<Vec<Value>, Failure> {
    let api = Api::of(args)?;
    let mut items = Vec::new();
    let mut cursor = String::new();
    while items.len() < list.limit {
        let limit = (list.limit - items.len()).min(1000);
        let query =
            list.query.as_deref().map_or(String::new(), |q| format!("&query={}", encode(q)));
        let mut page = api.get(&format!("{path}limit={limit}{query}{cursor}")).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
    }
    Ok(items)
}

/// Prints a list: as JSON, or as a table.
pub(super) fn print_list(
    items: &[Value],
    json: bool,
    head: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) {
    if json {
        println!("{}", json!({"items": items}));
    } else {
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        table(head, &rows);
    }
}

/// Rows of a list in an answer.
pub(super) fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().map(|items| items.iter().map(row).collect()).unwrap_or_default()
}

/// Prints an answer: as it came, or as pairs.
pub(super) fn show(value: &Value, json: bool) {
    if json { println!("{value}") } else { pairs(value) }
}

/// A key file's hex; the API checks its length.
pub(super) fn key(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::file("cannot read the key", path, &error))?;
    let text = Zeroizing::new(text);
    let hex: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    if crate::secret::unhex(&hex).is_none() {
        let text = format!("{} does not hold hexadecimal digits", path.display());
        return Err(Failure::failed("bad_key", text));
    }
    Ok(Value::from(hex))
}
