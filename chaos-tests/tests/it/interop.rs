//! Meters and clients whose octets others' code makes (Python packages dlms-cosem and gurux-dlms,
//! pinned in `interop/requirements.txt`, installed into a throw-away environment beside the
//! build).

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::programs;
use chaos_tests::nodes::Nodes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(40);
const GUEK: &str = "000102030405060708090a0b0c0d0e0f";
const GAK: &str = "101112131415161718191a1b1c1d1e1f";
const TITLE: &str = "4d54520000000001";
const SECRET: &str = "12345678";

/// Kills what it holds when dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn interop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// The Python of an environment that holds exactly the pinned packages.
fn python() -> anyhow::Result<PathBuf> {
    let home = programs()?.join("interop-environment");
    let python = home.join("bin/python");
    let wanted = std::fs::read(interop().join("requirements.txt"))?;
    let stamp = home.join("installed.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).status()?;
    anyhow::ensure!(made.success(), "python3 -m venv failed: install python3-venv");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(interop().join("requirements.txt"))
        .status()?;
    anyhow::ensure!(installed.success(), "pip could not install interop/requirements.txt");
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

fn foreign_meter(port: u16, authentication: &str) -> anyhow::Result<Guard> {
    let child = Command::new(python()?)
        .arg(interop().join("meter.py"))
        .args(["--port", &port.to_string(), "--auth", authentication, "--secret", SECRET])
        .args(["--guek", GUEK, "--gak", GAK, "--title", TITLE])
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Guard(child))
}

/// Runs `holdfast` against node 1 and gives its standard output.
fn holdfast(nodes: &Nodes, token: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(programs()?.join("holdfast"))
        .args(arguments)
        .args(["--url", &nodes.urls[0], "--token-file"])
        .arg(token)
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "holdfast {arguments:?}: {error}");
    Ok(String::from_utf8(output.stdout)?)
}

fn add_meter(nodes: &Nodes, dir: &Path, serial: &str, port: u16, auth: &str) -> anyhow::Result<()> {
    let file = |name: &str, hex: &str| -> anyhow::Result<String> {
        let path = dir.join(name);
        std::fs::write(&path, hex)?;
        Ok(path.display().to_string())
    };
    let secret_hex: String = SECRET.bytes().map(|octet| format!("{octet:02x}")).collect();
    let (secret, guek, gak) = (file("s", &secret_hex)?, file("g", GUEK)?, file("a", GAK)?);
    let address = format!("127.0.0.1:{port}");
    let mut arguments =
        vec!["meter", "add", serial, "--address", &address, "--auth", auth, "--client-sap", "1"];
    match auth {
        "lls" => arguments.extend(["--secret-file", &secret]),
        "hls5" => {
            let keys = ["--guek-file", &guek, "--gak-file", &gak, "--system-title", TITLE];
            arguments.extend(keys);
        }
        _ => {}
    }
    holdfast(nodes, &dir.join("token"), &arguments)?;
    Ok(())
}

/// A+ that the foreign meter has for an interval end: see `interop/meter.py`.
fn a_plus(end: jiff::Timestamp) -> anyhow::Result<i64> {
    let epoch: jiff::Timestamp = "2026-01-01T00:00:00Z".parse()?;
    Ok((1_000_000 + 25 * ((end.as_second() - epoch.as_second()) / 900)) * 10)
}

async fn assert_profile(nodes: &Nodes, serial: &str) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let now = jiff::Timestamp::now();
    let from = jiff::Timestamp::from_second(now.as_second() - 3 * 86_400)?;
    let query = format!("obis=1-0:1.8.0&interval=15&from={from}&to={now}");
    let url = format!("{}/api/v1/meters/{serial}/readings?{query}", nodes.urls[2]);
    loop {
        let answer = nodes.http.get(&url).await?;
        let values = answer["values"].as_array().context("values")?;
        if values.len() >= 280 {
            for value in values {
                let end: jiff::Timestamp = value["time"].as_str().context("time")?.parse()?;
                let wanted = a_plus(end)?;
                anyhow::ensure!(value["value"].as_i64() == Some(wanted), "{end}: {value}");
            }
            return Ok(());
        }
        let count = values.len();
        anyhow::ensure!(Instant::now() < until, "{serial}: {count} of some 287 rows");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meters_that_others_made_are_read() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes::init(&scratch.path().join("cluster"), 18_580)?;
    for node in 0..3 {
        nodes.start(node, &[])?;
    }
    for node in 0..3 {
        nodes.wait_ready(node, PATIENCE).await?;
    }
    std::fs::write(scratch.path().join("token"), nodes.http.token())?;
    let kinds = [("none", 18_590), ("lls", 18_591), ("hls5", 18_592)];
    let _meters: Vec<Guard> = kinds
        .iter()
        .map(|(authentication, port)| foreign_meter(*port, authentication))
        .collect::<anyhow::Result<_>>()?;
    for (authentication, port) in kinds {
        let serial = format!("FOREIGN-{authentication}");
        add_meter(&nodes, scratch.path(), &serial, port, authentication)?;
        let arguments = ["meter", "read", &serial, "--obis", "1-0:1.8.0", "--json"];
        let printed = holdfast(&nodes, &scratch.path().join("token"), &arguments)?;
        println!("{authentication}: {printed}");
        let wanted = a_plus(jiff::Timestamp::now())?;
        let (now, before) = (wanted.to_string(), (wanted - 250).to_string());
        anyhow::ensure!(printed.contains(&now) || printed.contains(&before), "{printed}, {wanted}");
        assert_profile(&nodes, &serial).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_others_made_reads_our_meters() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let field = scratch.path().join("field.json");
    let simulator = Command::new(programs()?.join("holdfast-simulator"))
        .args(["--concentrators", "0", "--direct", "3", "--direct-listen", "127.0.0.1:18690"])
        .args(["--head-end", "127.0.0.1:9", "--seed", "7", "--perfect", "--die-with-parent"])
        .args(["--field-out"])
        .arg(&field)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _simulator = Guard(simulator);
    let until = Instant::now() + PATIENCE;
    while !field.exists() {
        anyhow::ensure!(Instant::now() < until, "the simulator wrote no field");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let registry: Value = serde_json::from_slice(&std::fs::read(&field)?)?;
    let meters = registry["meters"].as_array().context("meters")?;
    let mut seen = Vec::new();
    for meter in meters {
        let read = foreign_client(meter)?;
        println!("{} {read}", meter["authentication"]);
        anyhow::ensure!(read["rows"].as_u64() >= Some(38), "10 hours have 40 rows: {read}");
        anyhow::ensure!(read["register"].as_f64() > Some(0.0), "{read}");
        seen.push(meter["authentication"].as_str().unwrap_or_default().to_owned());
    }
    seen.sort();
    anyhow::ensure!(seen == ["hls5", "lls", "none"], "kinds of login: {seen:?}");
    Ok(())
}

fn foreign_client(meter: &Value) -> anyhow::Result<Value> {
    let text = |key: &str| meter[key].as_str().unwrap_or_default().to_owned();
    let address = text("address");
    let port = address.rsplit(':').next().context("port")?;
    let secret = hex_text(&text("lls_secret"))?;
    let output = Command::new(python()?)
        .arg(interop().join("client.py"))
        .args(["--port", port, "--auth", &text("authentication"), "--secret", &secret])
        .args(["--client-sap", &meter["client_sap"].to_string()])
        .args(["--server-sap", &meter["server_sap"].to_string()])
        .args(["--guek", &text("guek"), "--gak", &text("gak")])
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{meter}: {error}");
    let printed = String::from_utf8(output.stdout)?;
    let line = printed.lines().last().context("the client printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

fn hex_text(hex: &str) -> anyhow::Result<String> {
    let octets: Result<Vec<u8>, _> =
        (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16)).collect();
    Ok(String::from_utf8(octets?)?)
}
