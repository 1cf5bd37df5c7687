//! Debian's Prometheus and Alertmanager with the shipped files: they scrape a real cluster and
//! post to a real monitoring server, and people hear of a killed node once.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::monitor::{Monitor, Server, Three, spawn, until};
use crate::support::{Guard, request};

const CONFIG: &str = r#"
name = "m1"
state_dir = "m1"
[http]
listen = "127.0.0.1:@PORT@"
token_file = "token"
[alertmanager]
token_file = "token"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna"]
[[contact]]
name = "anna"
[[contact.way]]
channel = "hook"
[[channel]]
name = "hook"
kind = "webhook"
url = "http://@HOOK@/"
"#;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

/// A shipped file with this site's words in some places, each of which must be there.
fn shipped(dir: &Path, file: &str, changes: &[(&str, String)]) -> PathBuf {
    let mut text = fs::read_to_string(deploy().join(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from:?} any more");
        text = text.replace(from, to);
    }
    let path = dir.join(file);
    fs::write(&path, text).unwrap();
    path
}

fn program(name: &str, config: &Path, arguments: &[String]) -> Guard {
    let log = fs::File::create(config.with_extension("log")).unwrap();
    let begun = Command::new(name)
        .arg(format!("--config.file={}", config.display()))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Guard(begun.unwrap_or_else(|error| panic!("{name} (see .ci/packages): {error}")))
}

fn alertmanager(dir: &Path, web: u16, monitor: u16) -> Guard {
    let secret = dir.join("token").display().to_string();
    let changes = [
        ("monitor1.example:9780", format!("127.0.0.1:{monitor}")),
        ("mail.example:587", format!("127.0.0.1:{}", free_port())),
        ("/etc/prometheus/holdfast/smtp.password", secret.clone()),
        ("/etc/prometheus/holdfast/monitor.token", secret),
    ];
    let config = shipped(dir, "alertmanager.yml", &changes);
    let arguments = [
        format!("--storage.path={}", dir.join("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{web}"),
        "--cluster.listen-address=".to_owned(),
    ];
    program("prometheus-alertmanager", &config, &arguments)
}

fn prometheus(dir: &Path, web: u16, alertmanager: u16, nodes: u16, monitor: u16) -> Guard {
    let here = |port: u16| format!("127.0.0.1:{port}");
    let changes = [
        ("rules/*.yml", deploy().join("rules/*.yml").display().to_string()),
        ("127.0.0.1:9093", here(alertmanager)),
        ("n1.example:8080", here(nodes)),
        ("n2.example:8080", here(nodes + 1)),
        ("n3.example:8080", here(nodes + 2)),
        ("monitor1.example:9780", here(monitor)),
    ];
    let config = shipped(dir, "prometheus.yml", &changes);
    let arguments = [
        format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{web}"),
    ];
    program("prometheus", &config, &arguments)
}

/// How many nodes Prometheus sees alive.
fn up(web: u16) -> Option<String> {
    let query = "sum(up%7Bjob%3D%22holdfast%22%7D)";
    let path = format!("/api/v1/query?query={query}");
    let answer: Value =
        serde_json::from_str(&request(web, "GET", &path, &[], "").ok()?.body).ok()?;
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

#[test]
fn a_killed_node_goes_the_way_of_prometheus_and_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut three = Three::start(dir, |_| String::new());
    three.wait_ready();
    fs::write(dir.join("token"), "api").unwrap();
    let hook = Server::start();
    let port = free_port();
    let file = dir.join("m1.toml");
    let config = CONFIG.replace("@PORT@", &port.to_string()).replace("@HOOK@", &hook.address);
    fs::write(&file, config).unwrap();
    let monitor = Monitor { child: Guard(spawn(&file)), file, port };
    monitor.wait_ready();
    let (web, alerts) = (free_port(), free_port());
    let _alertmanager = alertmanager(dir, alerts, port);
    let _prometheus = prometheus(dir, web, alerts, three.base, port);
    until("all nodes are scraped", || up(web).filter(|sum| sum == "3"));
    // What else these rules find in a cluster that has no field is told, too.
    let told = |kind: &str| {
        let of = |one: &Value| one["facts"]["kind"] == kind && one.to_string().contains("NodeDown");
        hook.told().iter().filter(|one| of(one)).count()
    };
    let killed = Instant::now();
    three.kill(2);
    until("it is told", || (told("firing") == 1).then_some(()));
    println!("told {:?} after the kill", killed.elapsed());
    three.start_again(dir, 2);
    until("its return is told", || (told("recovered") == 1).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((told("firing"), told("recovered")), (1, 1), "{:?}", hook.told());
}
