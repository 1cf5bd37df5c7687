//! A cluster that grows from one node to three by the command line, loses the first, and goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Guard, free_ports, get, holdfast, post, request, run, stderr};

/// Runs a verb that must succeed, and reads its JSON.
fn verb(arguments: &[&str]) -> Value {
    let output = holdfast(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Runs a verb that must be refused, and gives the code.
fn refused(arguments: &[&str]) -> String {
    let output = holdfast(arguments);
    assert!(!output.status.success(), "{arguments:?} was done");
    let body: Value = serde_json::from_str(stderr(&output).lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    body["code"].as_str().expect("a code").to_string()
}

struct Cluster {
    dir: PathBuf,
    base: u16,
    token: String,
    urls: String,
}

impl Cluster {
    fn init(dir: &Path) -> (Cluster, PathBuf) {
        let base = free_ports(3);
        let dir = dir.join("c");
        let mut cluster = Cluster { dir, base, token: String::new(), urls: String::new() };
        let made = cluster.make(&["--node", "n1=127.0.0.1"]);
        cluster.token = made["token"].as_str().expect("a token").to_string();
        let urls: Vec<String> = (0..3).map(|n| format!("http://127.0.0.1:{}", base + n)).collect();
        cluster.urls = urls.join(",");
        (cluster, PathBuf::from(made["configs"][0].as_str().expect("a path")))
    }

    fn make(&self, what: &[&str]) -> Value {
        let ports: Vec<String> = [0, 100, 200].map(|up| (self.base + up).to_string()).to_vec();
        let dir = self.dir.display().to_string();
        let mut arguments = vec!["init", "--json", "--dir", &dir, "--http-port", &ports[0]];
        arguments.extend(["--gateway-port", &ports[1], "--cluster-port", &ports[2]]);
        arguments.extend(what);
        verb(&arguments)
    }

    /// Arguments with how to reach the cluster behind them.
    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let tail = ["--url", &self.urls, "--token", &self.token, "--json"];
        [arguments, &tail].concat()
    }
}

fn concentrator(number: u32) -> Value {
    json!({"id": format!("HFDE2E{number:010}"), "system_title": format!("48464401{number:08x}")})
}

#[test]
fn one_node_grows_to_three_by_the_command_line_and_bears_the_loss_of_the_first() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (cluster, config) = Cluster::init(scratch.path());
    let mut nodes = vec![run(&config, cluster.base)];
    let added = post(cluster.base, &cluster.token, "/api/v1/concentrators", &concentrator(1));
    assert_eq!(added.status, 201, "{}", added.body);
    let told = holdfast(&["status", "--url", &cluster.urls, "--token", &cluster.token]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("NO FAILOVER"), "{told}");
    for number in [2, 3] {
        let name = format!("n{number}");
        let made = cluster.make(&["--add", &format!("{name}=127.0.0.1")]);
        assert_eq!(made["nodes"][0]["id"], number);
        let config = made["nodes"][0]["config"].as_str().expect("a path").to_string();
        if number == 2 {
            let add = cluster.with(&["member", "add", "--config", &config]);
            assert_eq!(refused(&add), "node_unreachable", "it does not run yet");
        }
        nodes.push(started(&config));
        let end = verb(&cluster.with(&["member", "add", "--promote", "--config", &config]));
        assert_eq!(end["done"], true, "{end}");
    }
    let list = verb(&cluster.with(&["member", "list"]));
    assert_eq!((&list["voters"], &list["tolerates"]), (&json!(3), &json!(1)), "{list}");
    assert_eq!(refused(&cluster.with(&["member", "remove", "n9"])), "unknown_node");
    verb(&cluster.with(&["transfer-leader", "--to", "n2"]));
    verb(&cluster.with(&["drain", "n2"]));
    let list = verb(&cluster.with(&["member", "list"]));
    assert_eq!(list["items"][1]["drained"], true, "{list}");
    assert_ne!(list["leader"], "n2", "{list}");
    verb(&cluster.with(&["drain", "n2", "--undo"]));
    // The first node is lost for good: the two that joined answer and write.
    let mut first = nodes.remove(0);
    first.0.kill().expect("it runs");
    first.0.wait().expect("it ends");
    let port = cluster.base + 1;
    let until = Instant::now() + Duration::from_secs(120);
    while post(port, &cluster.token, "/api/v1/concentrators", &concentrator(2)).status != 201 {
        assert!(Instant::now() < until, "no write is accepted");
        std::thread::sleep(Duration::from_millis(100));
    }
    let path = "/api/v1/concentrators/HFDE2E0000000001";
    assert_eq!(get(cluster.base + 2, &cluster.token, path).status, 200);
}

/// Starts a node that nobody has taken in yet: it is up and not ready.
fn started(config: &str) -> Guard {
    let child = crate::support::command(&["run", "--config", config])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    let text = std::fs::read_to_string(config).expect("a configuration");
    let line = text.lines().skip_while(|line| *line != "[http]").nth(1).expect("http.listen");
    let port = line.trim_matches(|c| c != '"').trim_matches('"').rsplit(':').next();
    let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
    let until = Instant::now() + Duration::from_secs(120);
    while !request(port, "GET", "/readyz?verbose", &[], "")
        .is_ok_and(|answer| answer.body.contains("no leader is known"))
    {
        assert!(Instant::now() < until, "the node does not come up");
        std::thread::sleep(Duration::from_millis(100));
    }
    Guard(child)
}
