//! A town loses power: every meter's event from the wire to one message, none lost, each once; what
//! concentrators tell of themselves; and two monitors that share what people do.
//!
//! `HOLDFAST_STORM=200` makes the town one of 200 concentrators and 10,000 meters; 4 without it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::monitor::{Monitor, Server, peer, peers, program, spawn, until, written};
use crate::support::{Guard, get, one_node, post, request, run};

/// Meters behind each concentrator.
const METERS: usize = 50;
/// Meters of a transformer, as far as the registry knows one.
const SUPPLIED: usize = 25;

const CONFIG: &str = r#"
name = "m1"
state_dir = "m1"
[http]
listen = "127.0.0.1:@PORT@"
token_file = "token"
[cluster]
urls = ["http://127.0.0.1:@NODE@"]
token_file = "cluster-token"
[scrape]
interval = "1s"
timeout = "10s"
[own]
digest_wait = "30s"
[[alarm]]
name = "outage"
kinds = ["power_down"]
cleared_by = ["power_up"]
for = "1s"
lasts = "6h"
severity = "critical"
policy = "duty"
[[alarm]]
name = "concentrators"
kinds = ["concentrator_restarted"]
policy = "desk"
group_by = []
[[policy]]
name = "duty"
to = ["anna"]
group_wait = "15s"
[[policy]]
name = "desk"
to = ["desk"]
[[contact]]
name = "anna"
[[contact.way]]
channel = "sms"
to = "+34600111222"
[[contact]]
name = "desk"
[[contact.way]]
channel = "hook"
[[channel]]
name = "sms"
kind = "modem"
device = "modem"
[[channel]]
name = "hook"
kind = "webhook"
url = "http://@HOOK@/"
"#;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The simulator, which is built beside the program.
fn simulator(arguments: &[String]) -> std::process::Command {
    let program = Path::new(env!("CARGO_BIN_EXE_holdfast")).with_file_name("holdfast-simulator");
    assert!(program.is_file(), "cargo build -p simulator first");
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdout(Stdio::null());
    command
}

struct Town {
    port: u16,
    token: String,
    arguments: Vec<String>,
    field: Value,
}

impl Town {
    /// Everything of the field is registered; half of the meters stand in the network, too.
    fn register(dir: &Path, port: u16, token: &str, concentrators: usize) -> Town {
        let file = dir.join("field.json").display().to_string();
        let head_end = format!("127.0.0.1:{}", port + 100);
        let (count, meters) = (concentrators.to_string(), METERS.to_string());
        let words = ["--head-end", &head_end, "--concentrators", &count, "--meters", &meters];
        let more = ["--field-out", &file, "--perfect", "--die-with-parent", "--own-events"];
        let patient = ["--answer-ms", "20000", "--heartbeat-ms", "5000", "--seed", "7"];
        let arguments = [&words[..], &more, &patient].concat();
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        // A run of no length that dials nobody says who there is.
        let mut once = arguments.clone();
        once[1] = "127.0.0.1:1".into();
        once.extend(["--run-for".to_owned(), "1ms".to_owned()]);
        assert!(simulator(&once).status().unwrap().success());
        let field = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let town = Town { port, token: token.to_owned(), arguments, field };
        let keys: [(&str, &[&str]); 2] = [
            ("concentrators", &["id", "system_title", "name", "guek", "gak"]),
            ("meters", &["serial", "concentrator", "guek", "gak", "model"]),
        ];
        for (kind, keys) in keys {
            let of = |item: &Value| {
                let known = keys.iter().filter(|key| !item[**key].is_null());
                known.map(|key| ((*key).to_owned(), item[*key].clone())).collect::<Value>()
            };
            let all: Vec<Value> = town.field[kind].as_array().unwrap().iter().map(of).collect();
            for items in all.chunks(500) {
                let path = format!("/api/v1/{kind}/import");
                let made = post(port, token, &path, &json!({"items": items}));
                assert_eq!(made.status, 200, "{kind}: {made:?}");
                assert_eq!(made.json()["refused"], json!([]), "{kind}");
            }
        }
        town.build_network();
        town
    }

    fn put(&self, path: &str, facts: &Value) {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let path = format!("/api/v1/network/{path}");
        let body = json!({"facts": facts, "from": "2026-01-01", "reason": "as built"}).to_string();
        let made = request(self.port, "PUT", &path, &headers, &body).unwrap();
        assert_eq!(made.status, 200, "{path}: {made:?}");
    }

    /// Serials of the first half of the meters: those of a transformer are of two concentrators.
    fn supplied(&self) -> Vec<(String, String)> {
        let meters = self.field["meters"].as_array().unwrap();
        let half = meters.len() / 2;
        let transformers = half.div_ceil(SUPPLIED);
        let of = |(nth, meter): (usize, &Value)| {
            (meter["serial"].as_str().unwrap().to_owned(), format!("T-{:04}", nth % transformers))
        };
        meters.iter().take(half).enumerate().map(of).collect()
    }

    fn build_network(&self) {
        let feeder = json!({"kind": "feeder", "name": "Line 1", "region": 1, "volts": 10_000});
        self.put("feeders/F-1", &feeder);
        let supplied = self.supplied();
        let transformers: BTreeSet<&String> = supplied.iter().map(|(_, name)| name).collect();
        for name in transformers {
            let facts = json!({"kind": "transformer", "name": name, "region": 1, "feeder": "F-1",
                "rating_va": 250_000});
            self.put(&format!("transformers/{name}"), &facts);
        }
        for (serial, transformer) in &supplied {
            let facts = json!({"kind": "point", "region": 1, "transformer": transformer,
                "phases": "A", "address": "Quay", "purpose": "consumption"});
            self.put(&format!("points/P-{serial}"), &facts);
            let fitting = json!({"meter": serial, "from": "2026-02-01"});
            let path = format!("/api/v1/points/P-{serial}/install");
            let made = post(self.port, &self.token, &path, &fitting);
            assert_eq!(made.status, 200, "{made:?}");
        }
    }

    /// What a meter's alarm must be grouped by.
    fn groups(&self) -> BTreeMap<String, String> {
        let behind = self.field["meters"].as_array().unwrap().iter().map(|meter| {
            let text = |key: &str| meter[key].as_str().unwrap().to_owned();
            (text("serial"), text("concentrator"))
        });
        let mut groups: BTreeMap<String, String> = behind.collect();
        groups.extend(self.supplied());
        groups
    }

    /// The whole feed.
    fn feed(&self) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/api/v1/alarms?after={after}&limit=2000");
            let page = get(self.port, &self.token, &path).json();
            let items = page["items"].as_array().unwrap();
            if items.is_empty() {
                return all;
            }
            all.extend(items.iter().cloned());
            after = page["next"].as_u64().unwrap();
        }
    }
}

fn monitor(dir: &Path, node: u16, hook: &Server) -> Monitor {
    let port = free_port();
    let config = CONFIG
        .replace("@PORT@", &port.to_string())
        .replace("@NODE@", &node.to_string())
        .replace("@HOOK@", &hook.address);
    let file = dir.join("m1.toml");
    std::fs::write(&file, config).unwrap();
    std::fs::write(dir.join("token"), "api").unwrap();
    let monitor = Monitor { child: Guard(spawn(&file)), file, port };
    monitor.wait_ready();
    monitor
}

#[test]
fn a_town_without_power_is_one_incident_a_transformer_and_one_message() {
    let concentrators = std::env::var("HOLDFAST_STORM").ok().and_then(|text| text.parse().ok());
    let concentrators: usize = concentrators.unwrap_or(4);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (config, founder, port) = one_node(dir);
    let _node = run(&config, port);
    let region = json!({"name": "North"});
    assert_eq!(post(port, &founder, "/api/v1/regions", &region).status, 201);
    let town = Town::register(dir, port, &founder, concentrators);
    std::fs::write(dir.join("cluster-token"), program(port, &founder)).unwrap();
    let (hook, sms) = (Server::start(), dir.join("sms.log"));
    let modem: PathBuf = peers().join("modem.py");
    let _modem = peer(Path::new("python3"), &[&modem, &dir.join("modem"), &sms]);
    let monitor = monitor(dir, port, &hook);
    until("it tells, and the modem is ready", || {
        let state = get(monitor.port, "api", "/api/v1/state").json();
        (monitor.is_sender() && state["channels"]["sms"]["trouble"].is_null()).then_some(())
    });
    let after = Duration::from_secs(20);
    let dark = ["--blackout-after", "20s", "--blackout-hold", "6h"].map(str::to_owned);
    let begun = Instant::now() + after;
    let _field =
        Guard(simulator(&[town.arguments.clone(), dark.to_vec()].concat()).spawn().unwrap());
    let meters = concentrators * METERS;
    // Asked for one alarm alone: a reader of everything would be the storm himself.
    let last = || get(port, &founder, "/api/v1/alarms?limit=1").json()["last"].as_u64();
    let wanted = (meters + concentrators) as u64;
    until("the events are in the feed", || (last() >= Some(wanted)).then_some(()));
    println!("{meters} events in the feed {:?} after the first", begun.elapsed());
    until("one SMS", || (!written(&sms).is_empty()).then_some(()));
    println!("told {:?} after the first", begun.elapsed());

    let feed = town.feed();
    let groups = town.groups();
    let down: Vec<&Value> = feed.iter().filter(|one| one["kind"] == "power_down").collect();
    let seen: BTreeSet<&str> = down.iter().map(|one| one["meter"].as_str().unwrap()).collect();
    assert_eq!((down.len(), seen.len()), (meters, meters), "none is lost, none is doubled");
    for one in &down {
        assert_eq!(one["group"], json!(groups[one["meter"].as_str().unwrap()]), "{one}");
    }
    let wanted: BTreeSet<&String> = groups.values().collect();
    let shown = get(monitor.port, "api", "/api/v1/incidents").json();
    let shown = shown["items"].as_array().unwrap().clone();
    let outages: Vec<&Value> = shown.iter().filter(|one| one["alarm"] == "outage").collect();
    assert_eq!(outages.len(), wanted.len());
    let held: u64 = outages.iter().map(|one| one["alarms"].as_u64().unwrap()).sum();
    assert_eq!(held, meters as u64);
    assert!(outages.iter().all(|one| one["state"] == "firing"));
    // Each concentrator told once that it has started; the desk heard of all of them at once.
    let started: Vec<&str> = feed
        .iter()
        .filter(|one| one["kind"] == "concentrator_restarted")
        .map(|one| one["concentrator"].as_str().unwrap())
        .collect();
    let distinct: BTreeSet<&&str> = started.iter().collect();
    assert_eq!((started.len(), distinct.len()), (concentrators, concentrators));
    let path = format!("/api/v1/concentrators/{}/events", started[0]);
    let own = get(port, &founder, &path).json();
    assert_eq!(own["items"][0]["kind"], "concentrator_restarted", "{own}");
    // A few turns more: nothing else is told.
    std::thread::sleep(Duration::from_secs(3));
    let told = written(&sms);
    // One message of some parts: number, how many, which.
    let firsts = told.iter().filter(|one| one["part"].is_null() || one["part"][2] == 1);
    assert_eq!(firsts.count(), 1, "{told:?}");
    let text: String = told.iter().map(|one| one["text"].as_str().unwrap()).collect();
    let head = format!("ALARMS critical: {} incidents\n", wanted.len());
    assert!(text.starts_with(&head), "{text}");
}

fn put(port: u16, path: &str, body: &Value) -> u16 {
    let headers = [("authorization", "Bearer api"), ("content-type", "application/json")];
    request(port, "PUT", path, &headers, &body.to_string()).unwrap().status
}

fn items(monitor: &Monitor, path: &str) -> Vec<Value> {
    get(monitor.port, "api", path).json()["items"].as_array().unwrap().clone()
}

#[test]
fn what_is_done_at_one_monitor_holds_at_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (config, founder, port) = one_node(dir.path());
    let _node = run(&config, port);
    std::fs::write(dir.path().join("cluster-token"), program(port, &founder)).unwrap();
    let (watched, hook) = (Server::start(), Server::start());
    let urls = format!("\"http://127.0.0.1:{port}\"");
    let start = |name| Monitor::start(dir.path(), name, &urls, &watched, &hook);
    let monitors = [start("m1"), start("m2")];
    until("one of them tells", || monitors.iter().any(Monitor::is_sender).then_some(()));
    let sender = usize::from(!monitors[0].is_sender());
    let (teller, follower) = (&monitors[sender], &monitors[1 - sender]);

    // A rule that is made where nobody is told from fires where people are told from.
    let fields = json!({"expr": "ready == 1", "severity": "warning", "policy": "duty"});
    let rule = json!({"kind": "rule", "fields": fields, "by": "olga", "reason": "to try"});
    assert_eq!(put(follower.port, "/api/v1/rules/ready", &rule), 204);
    let wrong = json!({"kind": "rule", "fields": {"expr": "ready =="}, "by": "o", "reason": "r"});
    assert_eq!(put(follower.port, "/api/v1/rules/wrong", &wrong), 422);
    let of_rule = |monitor: &Monitor| {
        items(monitor, "/api/v1/incidents").into_iter().find(|one| one["alarm"] == "ready")
    };
    let open = |monitor: &Monitor, state: &str| {
        of_rule(monitor).filter(|one| one["state"] == state).map(|one| one["number"].clone())
    };
    until("it fires at both", || {
        monitors.iter().all(|one| open(one, "firing").is_some()).then_some(())
    });
    let rules = get(teller.port, "api", "/api/v1/rules").json();
    let known = rules["items"].as_array().unwrap().iter().find(|one| one["name"] == "ready");
    let known = known.unwrap();
    assert_eq!((&known["origin"], &known["by"]), (&json!("pages"), &json!("olga")));
    assert_eq!(rules["changes"][0]["what"], "added");

    // Acknowledged at the one that follows.
    let number = open(follower, "firing").unwrap();
    let path = format!("/api/v1/incidents/{number}/acknowledge");
    assert_eq!(post(follower.port, "api", &path, &json!({"by": "igor"})).status, 204);
    until("it is taken at the other", || open(teller, "acknowledged").map(|_| ()));
    assert_eq!(of_rule(teller).unwrap()["acknowledged_by"], "igor");

    // A silence that is made at one is ended at the other.
    let silence = json!({"labels": {"alarm": "ready"}, "reason": "works", "by": "olga",
        "until": "2099-01-01T00:00:00Z"});
    assert_eq!(post(teller.port, "api", "/api/v1/silences", &silence).status, 201);
    let found = until("it is silenced at the other", || {
        items(follower, "/api/v1/silences").into_iter().next()
    });
    assert_eq!(found["reason"], "works");
    let path = format!("/api/v1/silences/{}", found["id"]);
    let headers = [("authorization", "Bearer api")];
    assert_eq!(request(follower.port, "DELETE", &path, &headers, "").unwrap().status, 204);
    until("it is ended at both", || {
        monitors.iter().all(|one| items(one, "/api/v1/silences").is_empty()).then_some(())
    });

    // Taken away at one, over at both; who did it stands in the log and in the cluster's trail.
    let gone = json!({"by": "igor", "reason": "tried"});
    let headers = [("authorization", "Bearer api"), ("content-type", "application/json")];
    let path = "/api/v1/rules/ready";
    let gone = request(teller.port, "DELETE", path, &headers, &gone.to_string()).unwrap();
    assert_eq!(gone.status, 204);
    until("it is over at both", || {
        monitors.iter().all(|one| open(one, "resolved").is_some()).then_some(())
    });
    let trail = get(port, &founder, "/api/v1/audit?action=shared.put&limit=100").json();
    let told = trail["items"].as_array().unwrap().iter();
    let names: BTreeSet<&str> = told.map(|one| one["object"].as_str().unwrap()).collect();
    assert!(names.contains("rule/ready"), "{names:?}");
}
