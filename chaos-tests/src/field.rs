//! One concentrator with a few meters that dials two proxies and pushes all the time.

use crate::demo::programs;
use crate::nodes::Nodes;
use crate::proxy::Proxy;
use anyhow::{Context, ensure};
use hyper::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
/// Devices of one request.
const AT_ONCE: usize = 1_000;

/// Starts the concentrator; it goes on from the state in `dir`, where its journal stands, too. The
/// fast setting of the promise: 700 ms for an answer, heartbeats each 500 ms.
///
/// # Errors
/// The program cannot be started.
pub fn simulator(dir: &Path, proxies: &[Proxy; 2]) -> anyhow::Result<Child> {
    let head_ends = format!("{},{}", proxies[0].address(), proxies[1].address());
    let log = std::fs::File::options().create(true).append(true).open(dir.join("simulator.log"))?;
    Ok(Command::new(programs()?.join("holdfast-simulator"))
        .args(["--head-end", &head_ends, "--meters", "5", "--perfect", "--die-with-parent"])
        // A push each tenth of a second, for more than an hour.
        .args(["--interval", "1m", "--speed", "600", "--history", "40d"])
        .args(["--answer-ms", "700", "--heartbeat-ms", "500", "--state"])
        .arg(dir.join("state"))
        .arg("--journal")
        .arg(dir.join("journal"))
        .arg("--field-out")
        .arg(dir.join("field.json"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?)
}

/// Registers what the simulator in `dir` has, at a node.
///
/// # Errors
/// It wrote no field, or the node takes it not.
pub async fn register(nodes: &Nodes, node: usize, dir: &Path) -> anyhow::Result<()> {
    let file = dir.join("field.json");
    let until = Instant::now() + LIMIT;
    while !file.exists() {
        ensure!(Instant::now() < until, "the simulator wrote no field");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let field: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let known = ["id", "system_title", "name", "serial", "concentrator", "guek", "gak"];
    for kind in ["concentrators", "meters"] {
        let pick = |item: &Value| -> Value {
            let is_serial = |name: &str| name == "serial" && kind == "concentrators";
            let known = known.into_iter().filter(|name| !is_serial(name));
            let picked = known.map(|name| (name.to_owned(), item[name].clone()));
            Value::Object(picked.filter(|(_, value)| !value.is_null()).collect())
        };
        let items: Vec<Value> =
            field[kind].as_array().context("a list")?.iter().map(pick).collect();
        let url = format!("{}/api/v1/{kind}/import", nodes.urls[node]);
        for items in items.chunks(AT_ONCE) {
            let body = json!({ "items": items });
            let answer = nodes.http.send(Method::POST, &url, Some(&body), None, LIMIT).await?;
            ensure!(answer.status == 200, "{kind}: {} {}", answer.status, answer.text);
        }
    }
    Ok(())
}

/// The simulated devices saw no two nodes at one of them, no counter and no order twice; `log` is
/// what their program wrote.
///
/// # Errors
/// They did.
pub fn check_violations(log: &Path) -> anyhow::Result<()> {
    let log = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let violation = log.lines().find(|line| line.contains("VIOLATION"));
    ensure!(violation.is_none(), "{violation:?}");
    // It tells its own count again and again, and may be killed before its summary.
    let mut told = log.lines().filter(|line| line.ends_with(" violations"));
    let status = told.find(|line| !line.ends_with(" 0 violations"));
    ensure!(status.is_none(), "{status:?}");
    Ok(())
}
