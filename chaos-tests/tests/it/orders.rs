//! Meters of every kind are added, read and ordered on a cluster of three; and a leader that is
//! killed in the middle of orders neither loses one nor has one done twice.

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::programs;
use chaos_tests::nodes::Nodes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// An order that acts waits for leases to move, and is then read back.
const LONG: Duration = Duration::from_secs(180);

/// A simulator that is killed when the story ends.
struct Simulator {
    child: Child,
    meters: Vec<Value>,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Simulator {
    async fn start(field: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(programs()?.join("holdfast-simulator"))
            .args(["--concentrators", "0", "--head-end", "127.0.0.1:9", "--seed", "7"])
            .args(["--perfect", "--die-with-parent"])
            .args(arguments)
            .arg("--field-out")
            .arg(field)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut simulator = Self { child, meters: Vec::new() };
        let until = Instant::now() + PATIENCE;
        // The file is put in place whole.
        while !field.exists() {
            anyhow::ensure!(Instant::now() < until, "the simulator wrote no field");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let registry: Value = serde_json::from_slice(&std::fs::read(field)?)?;
        simulator.meters = registry["meters"].as_array().context("meters")?.clone();
        Ok(simulator)
    }
}

/// A cluster of three and the command line that talks to it.
struct House {
    nodes: Nodes,
    scratch: PathBuf,
}

impl House {
    /// `more` stands in the configuration of node 1 alone: a serial port is of one machine, and
    /// nodes that share one here would hold it against each other.
    async fn start(scratch: &Path, port: u16, more: &str) -> anyhow::Result<Self> {
        let mut nodes = Nodes::init(&scratch.join("cluster"), port)?;
        for node in 0..3 {
            let file = nodes.config(node);
            let own = if node == 0 { more } else { "" };
            let config = std::fs::read_to_string(&file)? + own;
            std::fs::write(&file, config)?;
            nodes.start(node, &[])?;
        }
        for node in 0..3 {
            nodes.wait_ready(node, PATIENCE).await?;
        }
        std::fs::write(scratch.join("token"), nodes.http.token())?;
        Ok(Self { nodes, scratch: scratch.to_owned() })
    }

    /// Runs `holdfast` against node 1 and gives what it printed as JSON.
    fn holdfast(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(programs()?.join("holdfast"))
            .args(arguments)
            .args(["--json", "--url", &self.nodes.urls[0], "--token-file"])
            .arg(self.scratch.join("token"))
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "holdfast {arguments:?}: {error}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The same, again while the meter has no turn on a busy machine, or no node has its lease.
    /// Reads alone: they may be repeated. Any other failure counts at once.
    async fn patiently(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.holdfast(arguments) {
                Err(error) if is_passing(&error) && Instant::now() < until => {
                    println!("{error}: once more");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                printed => return printed,
            }
        }
    }

    /// `holdfast meter add` with the keys of the field's registry in files.
    fn add(&self, serial: &str, meter: &Value, address: &str) -> anyhow::Result<()> {
        let text = |name: &str| meter[name].as_str().unwrap_or_default().to_owned();
        let (client, server) = (meter["client_sap"].to_string(), meter["server_sap"].to_string());
        let (auth, suite) = (text("authentication"), meter["suite"].to_string());
        let mut arguments: Vec<String> =
            ["meter", "add", serial, "--address", address, "--auth"].map(str::to_owned).to_vec();
        arguments.extend([auth, "--client-sap".into(), client, "--server-sap".into(), server]);
        arguments.extend(["--suite".into(), suite]);
        if meter["policy"].is_string() {
            arguments.extend(["--policy".into(), text("policy")]);
        }
        for (name, option) in [
            ("lls_secret", "--secret-file"),
            ("guek", "--guek-file"),
            ("gak", "--gak-file"),
            ("signing_key", "--signing-key-file"),
            ("meter_signing_key", "--meter-signing-key-file"),
        ] {
            if meter[name].is_string() {
                let file = self.scratch.join(format!("{serial}.{name}"));
                std::fs::write(&file, text(name))?;
                arguments.extend([option.to_owned(), file.display().to_string()]);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let made = self.holdfast(&arguments)?;
        anyhow::ensure!(made["serial"] == serial, "{made}");
        Ok(())
    }
}

fn address_of(meter: &Value) -> anyhow::Result<&str> {
    meter["address"].as_str().context("address")
}

/// Reads a register now and the profile of the last two hours, after whose columns the rows come.
async fn reads(house: &House, serial: &str) -> anyhow::Result<()> {
    let read = house.patiently(&["meter", "read", serial, "--obis", "1-0:1.8.0"]).await?;
    let energy = read["values"][0]["value"].as_str().context("value")?.parse::<f64>()?;
    anyhow::ensure!(energy > 0.0, "{serial}: {read}");
    let now = jiff::Timestamp::now();
    let from = jiff::Timestamp::from_second(now.as_second() - 2 * 3_600)?.to_string();
    let now = now.to_string();
    let profile = ["meter", "read", serial, "--profile", "1-0:99.1.0", "--from", &from, "--to"];
    let read = house.patiently(&[&profile[..], &[now.as_str()]].concat()).await?;
    let rows = read["values"].as_array().context("rows")?.len().saturating_sub(1);
    anyhow::ensure!((7..=9).contains(&rows), "{serial}: {rows} rows of two hours: {read}");
    Ok(())
}

/// An order that acts ends as verified, which the meter itself has told.
fn verified(house: &House, arguments: &[&str]) -> anyhow::Result<()> {
    let ended = house.holdfast(&[arguments, &["--timeout", "120"]].concat())?;
    anyhow::ensure!(ended["state"] == "verified", "{arguments:?}: {ended}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meters_of_every_kind_are_added_read_and_ordered() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let (terminal, file) = (scratch.path().join("line"), |name| scratch.path().join(name));
    let kinds = "hls3,hls4,hls6,hls7-suite2,signed-suite1";
    let listen = ["--direct-listen", "127.0.0.1:18790", "--direct-access", kinds];
    let tcp = ["--direct", "5", "--direct-hdlc", "1", "--direct-iec", "1"];
    let street = Simulator::start(&file("tcp.json"), &[&listen[..], &tcp[..]].concat()).await?;
    let path = terminal.display().to_string();
    let pty = ["--pty", &path, "--direct-iec", "1", "--direct-access", "lls"];
    let cellar = Simulator::start(&file("pty.json"), &pty).await?;
    let more = format!("\n[[gateway.serial]]\nname = \"cellar\"\npath = \"{path}\"\n");
    let house = House::start(scratch.path(), 18_780, &more).await?;
    anyhow::ensure!(street.meters.len() == 7, "{}", street.meters.len());
    for meter in &street.meters {
        let serial = meter["serial"].as_str().context("serial")?;
        house.add(serial, meter, address_of(meter)?)?;
        reads(&house, serial).await.with_context(|| address_of(meter).unwrap_or("").to_owned())?;
        if address_of(meter)?.starts_with("iec") {
            verified(
                &house,
                &["meter", "write", serial, "--obis", "1-0:0.0.1", "--value", "4711"],
            )?;
        } else {
            verified(&house, &["meter", "switch", serial, "open", "--reason", "moved out"])?;
            let zone = ["--obis", "0-0:1.0.0", "--attribute", "3", "--value=-60"];
            verified(&house, &[&["meter", "write", serial], &zone[..]].concat())?;
        }
    }
    let [meter] = &cellar.meters[..] else { anyhow::bail!("{}", cellar.meters.len()) };
    let (_, query) = address_of(meter)?.split_once('?').context("query")?;
    house.add("CELLAR-1", meter, &format!("iec+serial://cellar?{query}"))?;
    reads(&house, "CELLAR-1").await?;
    verified(&house, &["meter", "write", "CELLAR-1", "--obis", "1-0:0.0.1", "--value", "4712"])?;
    verified(&house, &["meter", "clock", "CELLAR-1", "--set"])?;
    Ok(())
}

/// What is ordered of a meter, and the event that it writes into which log for each time it is
/// done.
fn order_of(number: usize) -> (Value, &'static str, &'static str) {
    let zone = json!({"obis": "0-0:1.0.0", "class": 8, "attribute": 3});
    match number % 3 {
        0 => {
            let order = json!({"kind": "switch", "to": "open", "reason": "a test"});
            (order, "0-0:99.98.2", "62")
        }
        1 => (json!({"kind": "write", "attribute": zone, "value": -60}), "0-0:99.98.0", "47"),
        // Every clock is 37 seconds ahead, so each is set.
        _ => (json!({"kind": "clock", "limit_s": 900, "set": true}), "0-0:99.98.0", "5"),
    }
}

/// Queues an order with its key at a node, or at the next one that takes it.
async fn queue(nodes: &Nodes, first: usize, target: &str, order: &Value) -> anyhow::Result<String> {
    let body = json!({"target": target, "order": order, "expires_in_s": 150});
    let key = format!("order for {target}");
    let until = Instant::now() + LONG;
    for turn in 0.. {
        let url = format!("{}/api/v1/commands", nodes.urls[(first + turn) % 3]);
        let second = Duration::from_secs(5);
        let sent = nodes.http.send(hyper::Method::POST, &url, Some(&body), Some(&key), second);
        match sent.await {
            Ok(answer) if answer.status == 202 => {
                let id = answer.json()?["id"].as_str().context("id")?.to_owned();
                return Ok(id);
            }
            Ok(answer) if answer.status < 500 => anyhow::bail!("{target}: {}", answer.text),
            // Killed, or without a leader: the same key makes it one command.
            _ => anyhow::ensure!(Instant::now() < until, "{target}: nobody takes the order"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("{target}: no turn left")
}

/// The state in which a command ended.
async fn end_of(nodes: &Nodes, id: &str) -> anyhow::Result<String> {
    let until = Instant::now() + LONG;
    loop {
        let mut last = String::new();
        for url in &nodes.urls {
            let seen = nodes.http.get(&format!("{url}/api/v1/commands/{id}?wait=5")).await;
            let Ok(seen) = seen else { continue };
            last = seen.to_string();
            if !seen["settled"].is_null() {
                return Ok(seen["state"].as_str().context("state")?.to_owned());
            }
        }
        anyhow::ensure!(Instant::now() < until, "command {id} has no end: {last}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How often the meter wrote an event into a log of its own.
async fn times(house: &House, serial: &str, log: &str, event: &str) -> anyhow::Result<usize> {
    let body = json!({"kind": "read", "attributes": [{"obis": log, "class": 7, "attribute": 2}]});
    let until = Instant::now() + LONG;
    for turn in 0.. {
        let target = json!({"target": serial, "order": body, "expires_in_s": 60});
        let key = format!("log of {serial} {turn}");
        let url = format!("{}/api/v1/commands", house.nodes.urls[turn % 3]);
        let limit = Duration::from_secs(10);
        let http = &house.nodes.http;
        let answer = http.send(hyper::Method::POST, &url, Some(&target), Some(&key), limit).await;
        if let Ok(answer) = answer.and_then(|answer| answer.json())
            && let Some(id) = answer["id"].as_str()
            && end_of(&house.nodes, id).await? == "acknowledged"
        {
            let url = format!("{}/api/v1/commands/{id}", house.nodes.urls[turn % 3]);
            let seen = http.get(&url).await?;
            let rows = seen["values"][0]["value"].as_array().context("rows")?.clone();
            return Ok(rows.iter().filter(|row| row[1] == event).count());
        }
        anyhow::ensure!(Instant::now() < until, "{serial}: its log is not read");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    anyhow::bail!("{serial}: no turn left")
}

fn is_passing(error: &anyhow::Error) -> bool {
    let text = error.to_string();
    let passing = ["no_answer", "unreached", "unavailable"];
    passing.iter().any(|code| text.contains(code))
}

async fn leader(nodes: &Nodes) -> anyhow::Result<usize> {
    let until = Instant::now() + PATIENCE;
    loop {
        for url in &nodes.urls {
            let seen = nodes.http.get(&format!("{url}/api/v1/cluster")).await;
            let name = seen.ok().and_then(|seen| seen["leader"].as_str().map(str::to_owned));
            if let Some(node) = name.and_then(|name| nodes.names.iter().position(|n| *n == name)) {
                return Ok(node);
            }
        }
        anyhow::ensure!(Instant::now() < until, "nobody leads");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_amid_orders_has_none_done_twice() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let listen = ["--direct-listen", "127.0.0.1:18890", "--direct-access", "hls5"];
    let nine = ["--direct", "9", "--fault", "clock-skew:1"];
    let field = scratch.path().join("field.json");
    let street = Simulator::start(&field, &[&listen[..], &nine[..]].concat()).await?;
    let mut house = House::start(scratch.path(), 18_880, "").await?;
    for meter in &street.meters {
        house.add(meter["serial"].as_str().context("serial")?, meter, address_of(meter)?)?;
    }
    let mut queued = Vec::new();
    let mut killed = None;
    for (number, meter) in street.meters.iter().enumerate() {
        let serial = meter["serial"].as_str().context("serial")?;
        let (order, log, event) = order_of(number);
        let id = queue(&house.nodes, number, serial, &order).await?;
        queued.push((serial, id, order, log, event));
        if number == 4 {
            // In the middle: some are done, some under way, some not asked for yet.
            let node = leader(&house.nodes).await?;
            house.nodes.kill(node)?;
            killed = Some(node);
        }
    }
    let killed = killed.context("nobody was killed")?;
    house.nodes.start(killed, &[])?;
    house.nodes.wait_ready(killed, PATIENCE).await?;
    let mut verified = 0;
    for (number, (serial, id, order, log, event)) in queued.iter().enumerate() {
        let again = queue(&house.nodes, number + 1, serial, order).await?;
        anyhow::ensure!(again == *id, "{serial}: the same key is the same command");
        let state = end_of(&house.nodes, id).await?;
        let times = times(&house, serial, log, event).await?;
        println!("{serial} {}: {state}, done {times} times", order["kind"]);
        match state.as_str() {
            "verified" => anyhow::ensure!(times == 1, "{serial}: done {times} times"),
            "unknown" => anyhow::ensure!(times <= 1, "{serial}: done {times} times"),
            // Its owner died before it was sent, or the meter was not reached in time.
            "failed" => anyhow::ensure!(times == 0, "{serial}: failed, and done {times} times"),
            other => anyhow::bail!("{serial}: ended as {other}"),
        }
        verified += usize::from(state == "verified");
    }
    anyhow::ensure!(verified > 0, "no order was done: nothing was tested");
    Ok(())
}
