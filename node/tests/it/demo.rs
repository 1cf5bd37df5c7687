//! A whole demo for some seconds: collection, one state on all nodes, a second start.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Guard, command, free_ports, get};

fn start(dir: &Path, port: u16) -> Guard {
    let simulator = Path::new(env!("CARGO_BIN_EXE_holdfast")).with_file_name("holdfast-simulator");
    assert!(
        simulator.is_file(),
        "{} is missing: cargo build -p simulator first",
        simulator.display()
    );
    let log = std::fs::File::create(dir.join("demo.out")).unwrap();
    let field = ["--concentrators", "2", "--meters", "5", "--direct", "3"];
    let child = command(&["demo", "--nodes", "3"])
        .args(field)
        .args(["--history", "6h", "--dir", &dir.join("d").display().to_string()])
        .args(["--http", &format!("127.0.0.1:{port}"), "--seconds", "120"])
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    Guard(child)
}

fn said(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("demo.out")).unwrap_or_default()
}

/// Waits until something holds, while the demo runs.
fn until(demo: &mut Guard, dir: &Path, what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds() {
        if let Some(status) = demo.0.try_wait().unwrap() {
            panic!("the demo ended with {status}:\n{}", said(dir));
        }
        assert!(Instant::now() < limit, "{what}: not in time\n{}", said(dir));
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn description(dir: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(dir.join("d/demo.json")).ok()?).ok()
}

fn stored(port: u16, token: &str) -> u64 {
    get(port, token, "/api/v1/collection").json()["kept"]["stored"].as_u64().unwrap_or(0)
}

#[test]
fn a_demo_collects_stops_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_ports(3);
    let mut demo = start(dir.path(), port);
    until(&mut demo, dir.path(), "demo.json", || {
        description(dir.path()).is_some_and(|d| d["simulator"]["pid"].is_u64())
    });
    let file = dir.path().join("d/demo.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let described = description(dir.path()).unwrap();
    let token = described["token"].as_str().unwrap().to_string();
    assert_eq!(described["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(described["nodes"][1]["url"], format!("http://127.0.0.1:{}", port + 1));
    until(&mut demo, dir.path(), "values", || stored(port, &token) > 100);
    same_state_everywhere(port, &token);
    values_everywhere(&mut demo, dir.path(), port, &token);
    direct_meters(&mut demo, dir.path(), port, &token);
    metrics_are_well_made(port);
    let before = stored(port, &token);
    assert_eq!(demo.stop(Duration::from_secs(60)), Some(0), "{}", said(dir.path()));
    let mut again = start(dir.path(), port);
    until(&mut again, dir.path(), "its values again", || {
        let answer = crate::support::request(port, "GET", "/readyz", &[], "");
        answer.is_ok_and(|a| a.status == 200) && stored(port, &token) >= before
    });
    assert_eq!(again.stop(Duration::from_secs(60)), Some(0), "{}", said(dir.path()));
}

fn same_state_everywhere(port: u16, token: &str) {
    let mut compared = 0;
    for _ in 0..50 {
        let applied = |up: u16| {
            get(port + up, token, "/api/v1/cluster").json()["applied_index"].as_u64().unwrap()
        };
        let index = (0..3).map(applied).min().unwrap();
        let hash = |up: u16| {
            let path = format!("/api/v1/cluster?index={index}");
            get(port + up, token, &path).json()["at"]["state_hash"].clone()
        };
        let hashes: Vec<Value> = (0..3).map(hash).collect();
        if hashes.iter().all(Value::is_string) {
            assert!(hashes.iter().all(|hash| *hash == hashes[0]), "at {index}: {hashes:?}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no index was known to all nodes");
}

fn values_everywhere(demo: &mut Guard, dir: &Path, port: u16, token: &str) {
    let meters = get(port, token, "/api/v1/meters?limit=100").json();
    let serials: Vec<String> = meters["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|meter| meter["serial"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(serials.len(), 13);
    until(demo, dir, "a series on every node", || {
        serials.iter().any(|serial| {
            (0..3).all(|up| {
                let path = format!("/api/v1/meters/{serial}/readings?obis=1-0:1.8.0");
                let answer = get(port + up, token, &path).json();
                answer["values"].as_array().is_some_and(|values| {
                    values.first().is_some_and(|v| v["unit"] == "Wh" && v["value"].is_number())
                })
            })
        })
    });
}

/// Meters without, with low and with high security are dialled: their profiles get stored, and a
/// read on demand is answered.
fn direct_meters(demo: &mut Guard, dir: &Path, port: u16, token: &str) {
    let meters = get(port, token, "/api/v1/meters?limit=100").json();
    let meters = meters["items"].as_array().unwrap();
    let direct: Vec<&Value> = meters.iter().filter(|m| m["address"].is_string()).collect();
    assert_eq!(direct.len(), 3, "{meters:?}");
    let limit = "--timeout=30";
    for meter in direct {
        let address = meter["address"].as_str().unwrap();
        let expect = (300..303).map(|up| format!("127.0.0.1:{}", port + up));
        assert!(expect.into_iter().any(|expect| expect == address), "{address}");
        let serial = meter["serial"].as_str().unwrap();
        until(demo, dir, "the profile of a dialled meter", || {
            let path = format!("/api/v1/meters/{serial}/readings?obis=1-0:1.8.0");
            let answer = get(port, token, &path).json();
            answer["values"].as_array().is_some_and(|values| values.len() > 10)
        });
        let url = format!("http://127.0.0.1:{port}");
        let read = command(&["meter", "read", serial, limit, "--json", "--url", &url])
            .args(["--token", token])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&read.stdout);
        assert!(read.status.success(), "{serial}: {said}{}", crate::support::stderr(&read));
        let body: Value = serde_json::from_str(&said).unwrap();
        assert!(body.to_string().contains("\"1-0:1.8.0\""), "{serial}: {body}");
    }
}

/// What every node tells is what Prometheus wants to be told.
fn metrics_are_well_made(port: u16) {
    for up in 0..3 {
        let metrics = crate::support::request(port + up, "GET", "/metrics", &[], "").unwrap();
        assert_eq!(metrics.status, 200);
        assert!(metrics.body.contains("holdfast_ingest_proposals_total"), "{}", metrics.body);
        // Figures of the state are reckoned every few seconds.
        for figure in ["holdfast_cluster_voters 3", "holdfast_commands_open 0"] {
            let told = || {
                let metrics = crate::support::request(port + up, "GET", "/metrics", &[], "");
                metrics.is_ok_and(|metrics| metrics.body.contains(figure))
            };
            let end = Instant::now() + Duration::from_secs(90);
            while !told() {
                assert!(Instant::now() < end, "{figure} is not told by node {up}");
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        let mut promtool = std::process::Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool of the package prometheus");
        promtool.stdin.take().unwrap().write_all(metrics.body.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}
