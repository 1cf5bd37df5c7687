//! The simulated field of the demo: how the simulator is started, and its devices registered.
//!
//! Invariants: keys go from the simulator's private file to the API and nowhere else; devices that
//! are registered already are no failure, so that a second start is like the first.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Options;
use super::children::Child;
use super::layout::{self, Layout};
use crate::cli::Api;
use crate::exit::{Exit, Failure};

/// The simulator's name in messages.
pub const NAME: &str = "simulator";
/// How long the simulator may take to write its registry.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(30);
/// Port 9 is discard: nobody listens there.
const NOBODY: &str = "127.0.0.1:9";
/// How long registering may take while the cluster is not there.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);
/// Meters with an address share so many ports; the server SAP tells those of one port apart.
const DIRECT_PORTS: u32 = 8;
/// Devices of one request.
const AT_ONCE: usize = 1_000;

/// How the simulator is started: the first node is its main head-end, the second its standby.
pub fn simulator(program: &Path, options: &Options, layout: &Layout) -> Child {
    let folder = options.dir.join("simulator");
    let head_ends: Vec<String> = layout.nodes.iter().take(2).map(layout::Node::gateway).collect();
    let path = |name: &str| folder.join(name).display().to_string();
    let mut arguments = field_arguments(options, layout);
    for (name, value) in [
        ("--head-end", head_ends.join(",")),
        ("--history", options.history.clone()),
        ("--speed", options.speed.to_string()),
        ("--journal", path("journal.jsonl")),
        ("--state", path("state")),
        ("--answer-ms", layout::ANSWER_MS.to_string()),
    ] {
        arguments.push(name.to_string());
        arguments.push(value);
    }
    arguments.push("--die-with-parent".to_string());
    Child { name: NAME.to_string(), program: program.to_path_buf(), arguments }
}

/// What decides who there is in the field.
fn field_arguments(options: &Options, layout: &Layout) -> Vec<String> {
    let mut pairs = vec![
        ("--concentrators", options.concentrators.to_string()),
        ("--meters", options.meters.to_string()),
        ("--interval", options.interval.clone()),
        ("--seed", layout.seed.to_string()),
    ];
    if options.direct > 0 {
        pairs.extend([
            ("--direct", options.direct.to_string()),
            ("--direct-listen", layout.direct()),
            ("--direct-ports", options.direct.min(DIRECT_PORTS).to_string()),
        ]);
    }
    pairs.into_iter().flat_map(|(name, value)| [name.to_string(), value]).collect()
}

/// Has the simulator write down who there is: a run of no length that dials nobody's port.
pub async fn describe(program: &Path, options: &Options, layout: &Layout) -> Result<(), Failure> {
    let folder = options.dir.join("simulator");
    layout::make_private_dir(&folder)?;
    let mut command = tokio::process::Command::new(program);
    command
        .args(field_arguments(options, layout))
        .args(["--head-end", NOBODY, "--run-for", "1ms", "--field-out"])
        .arg(folder.join("field.json"))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let failed = |why: String| Failure::failed("no_registry", format!("the simulator: {why}"));
    let output = tokio::time::timeout(DESCRIBE_LIMIT, command.output()).await;
    let output = output
        .map_err(|_| failed("did not describe its field in time".to_string()))?
        .map_err(|error| Failure::file("cannot start", program, &error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_string()))
}

/// Registers what the simulator says it has.
pub async fn register(api: &Api, dir: &Path) -> Result<(), Failure> {
    let registry = registry(&dir.join("simulator/field.json"))?;
    let concentrators = items(&registry["concentrators"], |item| {
        pick(item, &["id", "system_title", "name", "guek", "gak"])
    });
    let meters = items(&registry["meters"], meter);
    import(api, "/api/v1/concentrators/import", &concentrators).await?;
    import(api, "/api/v1/meters/import", &meters).await?;
    println!("{} concentrators and {} meters are registered", concentrators.len(), meters.len());
    Ok(())
}

fn registry(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::file("cannot read the registry", path, &error))?;
    let text = Zeroizing::new(text);
    serde_json::from_str(&text)
        .map_err(|error| Failure::failed("no_registry", format!("{}: {error}", path.display())))
}

fn items(list: &Value, item: impl Fn(&Value) -> Value) -> Vec<Value> {
    list.as_array().map(|all| all.iter().map(item).collect()).unwrap_or_default()
}

fn pick(item: &Value, names: &[&str]) -> Value {
    let present = |name: &&&str| item.get(**name).is_some_and(|value| !value.is_null());
    let pairs = names.iter().filter(present).map(|name| ((*name).to_string(), item[*name].clone()));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

/// A meter of the registry as the API takes it: access points only with an address.
fn meter(item: &Value) -> Value {
    let mut out = pick(item, &["serial", "concentrator", "guek", "gak", "model"]);
    if item["concentrator"].is_null() {
        let names = ["address", "client_sap", "server_sap", "system_title", "suite", "policy"];
        let keys = ["signing_key", "meter_signing_key"];
        let more = pick(item, &[&names[..], &keys[..]].concat());
        if let (Some(out), Value::Object(more)) = (out.as_object_mut(), more) {
            out.extend(more);
        }
        out["auth"] = item["authentication"].clone();
        if !item["lls_secret"].is_null() {
            out["secret"] = item["lls_secret"].clone();
        }
    }
    out
}

/// Imports; a cluster that elects a leader just now is asked again.
async fn import(api: &Api, path: &str, all: &[Value]) -> Result<(), Failure> {
    let until = Instant::now() + REGISTER_LIMIT;
    for chunk in all.chunks(AT_ONCE) {
        loop {
            match api.post(path, &json!({"items": chunk})).await {
                Ok(answer) => {
                    if let Some(first) = answer["refused"].as_array().and_then(|all| all.first()) {
                        let text = format!("{path}: {first}");
                        return Err(Failure::failed("field_refused", text));
                    }
                    break;
                }
                Err(failure)
                    if matches!(failure.exit, Exit::TryAgain | Exit::Unreachable)
                        && Instant::now() < until =>
                {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_entries_become_api_entries() {
        let behind = json!({"serial": "M1", "concentrator": "C1", "address": null,
            "client_sap": 1, "server_sap": 1, "authentication": "hls5", "lls_secret": null,
            "guek": "00", "gak": "11", "model": "m"});
        let expect = json!({"serial": "M1", "concentrator": "C1", "guek": "00", "gak": "11",
            "model": "m"});
        assert_eq!(meter(&behind), expect);
        let direct = json!({"serial": "M2", "concentrator": null, "address": "h:1",
            "client_sap": 16, "server_sap": 3, "authentication": "lls", "lls_secret": "22",
            "suite": 0, "policy": null});
        let expect = json!({"serial": "M2", "address": "h:1", "client_sap": 16, "server_sap": 3,
            "auth": "lls", "secret": "22", "suite": 0});
        assert_eq!(meter(&direct), expect);
    }
}
