//! Meters and clients whose octets others' code makes (Python packages dlms-cosem, gurux-dlms and
//! iec62056-21, pinned in `interop/requirements.txt`, installed into a throw-away environment
//! beside the build).

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::programs;
use chaos_tests::nodes::Nodes;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
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
    let mut child = Command::new(python()?)
        .arg(interop().join("meter.py"))
        .args(["--port", &port.to_string(), "--auth", authentication, "--secret", SECRET])
        .args(["--guek", GUEK, "--gak", GAK, "--title", TITLE])
        .stdout(Stdio::piped())
        .spawn()?;
    let said = child.stdout.take().context("no output")?;
    let meter = Guard(child);
    // A fresh environment compiles its packages first: the meter says when it listens.
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    anyhow::ensure!(line.starts_with("listening"), "the meter said {line:?}");
    Ok(meter)
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

/// As `holdfast`, once more when the meter did not answer: on a busy machine the Python meter gets
/// no turn within the cluster's answer time. Any other failure counts at once.
async fn patiently(nodes: &Nodes, token: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match holdfast(nodes, token, arguments) {
            Err(error) if error.to_string().contains("no_answer") && Instant::now() < until => {
                println!("{error}: once more");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            printed => return printed,
        }
    }
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
        let printed = patiently(&nodes, &scratch.path().join("token"), &arguments).await?;
        println!("{authentication}: {printed}");
        let wanted = a_plus(jiff::Timestamp::now())?;
        let (now, before) = (wanted.to_string(), (wanted - 250).to_string());
        anyhow::ensure!(printed.contains(&now) || printed.contains(&before), "{printed}, {wanted}");
        assert_profile(&nodes, &serial).await?;
    }
    Ok(())
}

/// Meters over the wrapper with every way to authenticate, then on an HDLC line, then on an IEC
/// 62056-21 line.
const FIELD: [&str; 12] = [
    "--concentrators",
    "0",
    "--direct",
    "6",
    "--direct-access",
    "none,lls,hls5,hls3,hls4,hls6",
    "--direct-hdlc",
    "3",
    "--direct-iec",
    "2",
    "--direct-listen",
    "127.0.0.1:18690",
];

async fn simulated(scratch: &Path) -> anyhow::Result<(Guard, Value)> {
    let field = scratch.join("field.json");
    let simulator = Command::new(programs()?.join("holdfast-simulator"))
        .args(FIELD)
        .args(["--head-end", "127.0.0.1:9", "--seed", "7", "--perfect", "--die-with-parent"])
        .args(["--field-out"])
        .arg(&field)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let guard = Guard(simulator);
    let until = Instant::now() + PATIENCE;
    while !field.exists() {
        anyhow::ensure!(Instant::now() < until, "the simulator wrote no field");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok((guard, serde_json::from_slice(&std::fs::read(&field)?)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_others_made_read_our_meters() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let (_simulator, registry) = simulated(scratch.path()).await?;
    let mut seen = Vec::new();
    for meter in registry["meters"].as_array().context("meters")? {
        let place = Place::of(meter)?;
        if place.scheme.contains("iec") {
            assert_local(meter, &place)?;
            seen.push(format!("iec62056-21 {}", place.scheme));
            continue;
        }
        if place.scheme.contains("mode-e") {
            // None of the packages enters HDLC by a sign-on; our own tests do.
            continue;
        }
        for client in ["client.py", "dlms_cosem_client.py"] {
            let authentication = meter["authentication"].as_str().unwrap_or_default();
            let known = matches!(authentication, "none" | "lls" | "hls5");
            // dlms-cosem has no mechanism but none, LLS and GMAC.
            if client == "client.py" || known {
                let read = foreign_client(client, meter, &place)?;
                println!("{client} {}{authentication}: {read}", place.scheme);
                anyhow::ensure!(read["rows"].as_u64() >= Some(38), "10 hours have 40 rows: {read}");
                anyhow::ensure!(read["register"].as_f64() > Some(0.0), "{read}");
                anyhow::ensure!(read["shifted"] == true && read["denied"] == true, "{read}");
                seen.push(format!("{client} {}{authentication}", place.scheme));
            }
        }
    }
    seen.sort();
    let expect = [
        "client.py hdlc+tcp hls5",
        "client.py hdlc+tcp lls",
        "client.py hdlc+tcp none",
        "client.py hls3",
        "client.py hls4",
        "client.py hls5",
        "client.py hls6",
        "client.py lls",
        "client.py none",
        "dlms_cosem_client.py hdlc+tcp hls5",
        "dlms_cosem_client.py hdlc+tcp lls",
        "dlms_cosem_client.py hdlc+tcp none",
        "dlms_cosem_client.py hls5",
        "dlms_cosem_client.py lls",
        "dlms_cosem_client.py none",
        "iec62056-21 iec+tcp ",
    ];
    anyhow::ensure!(seen == expect, "who read what: {seen:#?}");
    Ok(())
}

/// Where a meter of the registry is.
struct Place {
    /// Empty for the wrapper on TCP, else the scheme and a blank.
    scheme: String,
    port: String,
    query: Vec<(String, String)>,
}

impl Place {
    fn of(meter: &Value) -> anyhow::Result<Self> {
        let address = meter["address"].as_str().context("address")?;
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme} "), rest),
            None => (String::new(), address),
        };
        let (at, query) = rest.split_once('?').unwrap_or((rest, ""));
        let port = at.rsplit(':').next().context("port")?.to_owned();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Self { scheme, port, query })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// Times that a client may wait in vain. dlms-cosem's `recv_until` takes an octet 7E inside an HDLC
/// frame for its end, and then waits for a rest that never comes: ciphered frames have one now and
/// then, other octets the next time. Any other failure counts at once.
const WAITS: usize = 4;

/// Runs one of the Python clients and gives the line that it prints last.
fn run_client(script: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut waited = 0;
    let output = loop {
        let run = Command::new(python()?).arg(interop().join(script)).args(arguments).output()?;
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        if run.status.success() {
            break run;
        }
        waited += 1;
        let again = error.contains("TimeoutError") && waited <= WAITS;
        anyhow::ensure!(again, "{script}: {error}");
        println!("{script} waited in vain: once more");
    };
    let printed = String::from_utf8(output.stdout)?;
    let line = printed.lines().last().context("the client printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

fn foreign_client(script: &str, meter: &Value, place: &Place) -> anyhow::Result<Value> {
    let text = |key: &str| meter[key].as_str().unwrap_or_default().to_owned();
    let secret = hex_text(&text("lls_secret"))?;
    let (authentication, guek, gak) = (text("authentication"), text("guek"), text("gak"));
    let (client, server) = (meter["client_sap"].to_string(), meter["server_sap"].to_string());
    let mut arguments = vec!["--port", &place.port, "--auth", &authentication];
    arguments.extend(["--secret", &secret, "--client-sap", &client, "--server-sap", &server]);
    arguments.extend(["--guek", &guek, "--gak", &gak]);
    if let Some(physical) = place.get("physical") {
        arguments.extend(["--hdlc", physical]);
    }
    run_client(script, &arguments).with_context(|| format!("{}{authentication}", place.scheme))
}

/// Readout, password, a read, a write and a refused read by IEC 62056-21.
fn assert_local(meter: &Value, place: &Place) -> anyhow::Result<()> {
    let device = place.get("device").context("device")?;
    let password = hex_text(meter["lls_secret"].as_str().unwrap_or_default())?;
    let mut arguments = vec!["--port", &place.port, "--device", device];
    if !password.is_empty() {
        arguments.extend(["--password", &password]);
    }
    let read = run_client("iec62056_client.py", &arguments)?;
    println!("iec62056_client.py: {read}");
    anyhow::ensure!(read["serial"] == meter["serial"] && read["written"] == true, "{read}");
    anyhow::ensure!(read["sets"].as_u64() >= Some(40), "{read}");
    let total: f64 = read["total"].as_str().context("total")?.parse()?;
    anyhow::ensure!(total > 0.0, "{read}");
    anyhow::ensure!(read["refused"].as_str().is_some_and(|text| text.starts_with("ER")), "{read}");
    Ok(())
}

fn hex_text(hex: &str) -> anyhow::Result<String> {
    let octets: Result<Vec<u8>, _> =
        (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16)).collect();
    Ok(String::from_utf8(octets?)?)
}
