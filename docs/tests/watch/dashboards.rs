//! Rules and dashboards before Debian's Prometheus: it loads the shipped configuration, scrapes
//! what nodes of a demo said (`tests/metrics`, made by `record.sh`), and is asked every question
//! that a rule or a panel asks.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use docs::watch::{alerts, metrics, records, selectors};
use docs::{files, root};
use serde_json::Value;

use crate::panels::queries;

/// A machine with two busy cores needs its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Scraped of each node until anything is asked, so that rates have what they need.
const SCRAPES: usize = 4;

/// The targets of the shipped configuration and who is recorded in their place.
const TARGETS: [(&str, &str); 3] =
    [("n1.example:8080", "n1"), ("n2.example:8080", "n2"), ("n3.example:8080", "n3")];

/// Answers every request with a recorded scrape: first the first one, then the second.
fn serve(name: &str) -> u16 {
    let folder = root().join("docs/tests/metrics");
    let read =
        |number: u8| fs::read_to_string(folder.join(format!("{name}-{number}.txt"))).unwrap();
    let scrapes = [read(1), read(2)];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let _request = stream.read(&mut request);
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let body = &scrapes[usize::from(number >= SCRAPES / 2)];
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close");
            let length = body.len();
            let _gone = write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        }
    });
    port
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Prometheus of its own; ended when it goes out of scope.
struct Prometheus {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

impl Prometheus {
    /// With the shipped configuration, but for hosts, periods and where the rules lie.
    fn start() -> Prometheus {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("p{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let shipped = root().join("deploy/prometheus");
        let mut text = fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
        let rules = shipped.join("rules/*.yml").display().to_string();
        let dead = format!("127.0.0.1:{}", free_port());
        for (from, to) in [
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("scrape_timeout: 4s", "scrape_timeout: 1s"),
            ("evaluation_interval: 5s", "evaluation_interval: 1s"),
            ("rules/*.yml", &rules),
            ("127.0.0.1:9093", &dead),
            ("monitor1.example:9780", &dead),
        ] {
            assert!(text.contains(from), "prometheus.yml has no {from:?} any more");
            text = text.replace(from, to);
        }
        for (target, name) in TARGETS {
            assert!(text.contains(target), "prometheus.yml has no {target} any more");
            text = text.replace(target, &format!("127.0.0.1:{}", serve(name)));
        }
        let config = folder.join("prometheus.yml");
        fs::write(&config, text).unwrap();
        let port = free_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .expect("prometheus is among the packages that the tests need");
        Prometheus { process, port, folder }
    }

    /// An answer of its API; null while it does not answer.
    fn get(&self, path: &str) -> Value {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return Value::Null;
        };
        let mut text = String::new();
        let asked = write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: prometheus\r\n\r\n");
        if asked.and_then(|()| stream.read_to_string(&mut text)).is_err() {
            return Value::Null;
        }
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// The series that answer a query, or what it has against it.
    fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("query?query={}", escaped(query)));
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => Err(answer["error"].as_str().unwrap_or("no answer").to_owned()),
        }
    }

    /// Waits until something is so, not longer than the patience lasts.
    fn wait(&self, what: &str, so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{what} not within {PATIENCE:?}: {}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

/// A panel's query as Grafana would send it.
fn filled(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$cluster", "main").replace("$node", ".*")
}

/// What is asked: where it stands, the query, and whether an empty answer is a fault.
fn questions() -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for file in files(".yml").iter().filter(|f| f.path.starts_with("deploy/prometheus/rules/")) {
        for (name, expression) in records(&file.text) {
            found.push((name, expression, true));
        }
        for rule in alerts(&file.text) {
            let place = format!("{} {}", rule.name, rule.severity);
            for selector in selectors(&rule.expression) {
                found.push((place.clone(), selector, true));
            }
            found.push((place, rule.expression, false));
        }
    }
    let panels = queries().into_iter();
    found.extend(panels.map(|(place, query)| (place, filled(&query), true)));
    found
}

/// Queries that are right to be empty while all is well: no job has failed, no command is open.
const MAY_BE_EMPTY: [&str; 2] = [
    r#"holdfast_jobs_total{result!="ok"}"#,
    r#"time() - (max(holdfast_commands_oldest_timestamp_seconds{cluster="main"}) > 0)"#,
];

#[test]
fn every_question_of_rules_and_dashboards_is_answered() {
    let prometheus = Prometheus::start();
    let enough = format!("min(count_over_time(holdfast_ready[1h])) >= {SCRAPES}");
    let all = format!("count(holdfast_ready) == {}", TARGETS.len());
    prometheus.wait("scrapes of all nodes", || {
        [&all, &enough].iter().all(|one| prometheus.query(one).is_ok_and(|told| !told.is_empty()))
    });
    prometheus.wait("rules that were reckoned", || {
        let answer = prometheus.get("rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let mut rules =
            groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let sick = rules.clone().find(|rule| rule["health"] == "err");
        assert!(sick.is_none(), "{sick:?}");
        groups.len() > 4 && rules.all(|rule| rule["health"] == "ok")
    });
    let recorded = recorded_names();
    let (mut broken, mut answered, mut unknown) = (Vec::new(), 0, BTreeSet::new());
    let questions = questions();
    assert!(questions.len() > 200, "only {} questions: the search is broken", questions.len());
    for (place, query, wanted) in questions {
        let series = match prometheus.query(&query) {
            Ok(series) => series.len(),
            Err(error) => {
                broken.push(format!("{place}: {query}: {error}"));
                continue;
            }
        };
        let foreign: Vec<String> =
            metrics(&query).into_iter().filter(|name| !recorded.contains(name)).collect();
        match series {
            0 if !wanted || MAY_BE_EMPTY.contains(&query.as_str()) => {}
            0 if !foreign.is_empty() => unknown.extend(foreign),
            0 => broken.push(format!("{place}: {query}: no answer")),
            _ => answered += 1,
        }
    }
    println!("{answered} questions answered; not in the recording: {unknown:?}");
    assert!(broken.is_empty(), "questions without an answer:\n  {}", broken.join("\n  "));
    assert!(answered > 150, "only {answered} questions were answered");
}

/// Metrics of the recording, and what is recorded from them.
fn recorded_names() -> BTreeSet<String> {
    let folder = root().join("docs/tests/metrics");
    let mut names = BTreeSet::new();
    for (_, node) in TARGETS {
        let text = fs::read_to_string(folder.join(format!("{node}-2.txt"))).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names.extend(types.filter_map(|line| line.split(' ').next()).map(str::to_owned));
    }
    assert!(names.len() > 80, "only {} metrics in the recording", names.len());
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules/recording.yml")).unwrap();
    names.extend(records(&rules).into_iter().map(|(name, _)| name));
    names
}
