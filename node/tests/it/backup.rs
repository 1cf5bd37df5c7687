//! Backup and restore by the command line: taken while writes go on, listed, verified, restored to
//! three nodes, compared by API; and refused in every way that an operator may meet.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Guard, command, free_ports, get, holdfast, one_node, post, run, stderr};

/// `holdfast` against a cluster, with its token in the environment as scripts do it.
fn against(port: u16, token: &str, arguments: &[&str]) -> Output {
    command(arguments)
        .env("HOLDFAST_URL", format!("http://127.0.0.1:{port}"))
        .env("HOLDFAST_TOKEN", token)
        .output()
        .unwrap()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The code of a verb that failed with `--json`.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    let text = stderr(output);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    last["code"].as_str().unwrap().to_owned()
}

fn register(port: u16, token: &str, number: u32) {
    let meter = json!({
        "serial": format!("B{number:06}"), "address": format!("10.0.0.1:{}", 4000 + number % 1000),
        "auth": "lls", "secret": "3132333435363738",
    });
    let made = post(port, token, "/api/v1/meters", &meter);
    assert_eq!(made.status, 201, "{}", made.body);
}

fn serials(port: u16, token: &str) -> BTreeSet<String> {
    let list = get(port, token, "/api/v1/meters?limit=1000").json();
    let serial = |meter: &Value| meter["serial"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(serial).collect()
}

/// The new cluster's nodes, started, with the port of the first and the token.
fn start(restored: &Value, base: u16) -> (Vec<Guard>, String) {
    let configs = restored["configs"].as_array().unwrap();
    let mut nodes: Vec<Guard> = Vec::new();
    for config in configs {
        let child = command(&["run", "--config", config.as_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        nodes.push(Guard(child));
    }
    let until = std::time::Instant::now() + Duration::from_secs(60);
    for up in 0..u16::try_from(configs.len()).unwrap() {
        let ready = || crate::support::request(base + up, "GET", "/readyz", &[], "");
        while !ready().is_ok_and(|answer| answer.status == 200) {
            assert!(std::time::Instant::now() < until, "node {up} is not ready in time");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    (nodes, restored["token"].as_str().unwrap().to_owned())
}

fn restore(from: &str, to: &Path, base: u16, more: &[&str]) -> Output {
    let [http, gateway, cluster] = [0, 100, 200].map(|up| (base + up).to_string());
    let to = to.display().to_string();
    let ports = ["--http-port", &http, "--gateway-port", &gateway, "--cluster-port", &cluster];
    let fixed = ["restore", "--json", "--from", from, "--to", &to];
    holdfast(&[&fixed[..], &ports[..], more].concat())
}

#[test]
fn a_cluster_comes_back_from_its_backups() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let mut old = run(&config, port);
    let key_file = dir.path().join("backup.key");
    std::fs::write(&key_file, "5a".repeat(32)).unwrap();
    let (to, key) = (dir.path().join("backups"), key_file.display().to_string());
    let to = to.display().to_string();
    for number in 0..20 {
        register(port, &token, number);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, token) = (stop.clone(), token.clone());
        move || {
            let mut number = 100;
            while !stop.load(Ordering::Acquire) {
                register(port, &token, number);
                number += 1;
            }
        }
    });
    let take = |more: &[&str]| {
        let fixed = ["backup", "--json", "--to", &to, "--key-file", &key];
        answer(&against(port, &token, &[&fixed[..], more].concat()))
    };
    let full = take(&[]);
    assert_eq!((full["kind"].as_str(), full["base"].as_str()), (Some("full"), None));
    let path = format!("/api/v1/cluster?index={}", full["index"]);
    let known = get(port, &token, &path).json()["at"]["state_hash"].clone();
    assert_eq!(known, full["state_hash"], "the backup is of one index");
    take(&["--incremental"]);
    stop.store(true, Ordering::Release);
    writer.join().unwrap();
    let last = take(&["--incremental"]);
    assert_eq!(last["kind"], "incremental");
    let expect = serials(port, &token);
    assert!(expect.len() > 20);
    let points = get(port, &token, "/api/v1/scada/points").json();
    let points = points.as_array().unwrap();
    let point = |name: &str| points.iter().find(|point| point["name"] == name).unwrap();
    assert!(point("last_backup")["value"].as_f64().unwrap() > 1.7e9, "{points:?}");
    assert_eq!(
        (&point("voters")["value"], &point("voters")["quality"]),
        (&1.0.into(), &"good".into())
    );
    assert_eq!(old.stop(Duration::from_secs(60)), Some(0));

    let listed =
        answer(&holdfast(&["backup", "list", "--json", "--from", &to, "--key-file", &key]));
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|item| item["complete"] == true), "{listed:?}");
    let verify = ["backup", "verify", "--json", "--from", &to, "--key-file", &key];
    assert_eq!(answer(&holdfast(&verify))["verified"].as_array().unwrap().len(), 3);

    let master = config.with_file_name("master.key").display().to_string();
    let base = free_ports(3);
    let nodes = ["--node", "a=127.0.0.1", "--node", "b=127.0.0.1", "--node", "c=127.0.0.1"];
    let with_key = [&nodes[..], &["--key-file", &key]].concat();
    let target = dir.path().join("new");
    assert_eq!(refused(&restore(&to, &target, base, &with_key)), "master_key_needed");
    let wrong = ["--master-key-file", key.as_str()];
    let wrong = restore(&to, &target, base, &[&with_key[..], &wrong].concat());
    assert_eq!(refused(&wrong), "master_key_wrong");
    assert!(!target.exists() && !target.with_file_name("new.restoring").exists());
    let good = [&with_key[..], &["--master-key-file", &master]].concat();
    let restored = answer(&restore(&to, &target, base, &good));
    assert_eq!(
        (&restored["index"], &restored["state_hash"]),
        (&last["index"], &last["state_hash"])
    );
    assert!(restored["counters_raised_by"].as_u64().unwrap() > 1_000_000);
    assert_eq!(refused(&restore(&to, &target, base, &good)), "already_exists");

    let (mut new, token) = start(&restored, base);
    for up in 0..3 {
        assert_eq!(serials(base + up, &token), expect, "node {up}");
    }
    register(base + 1, &token, 900_000);
    assert_eq!(serials(base, &token).len(), expect.len() + 1);
    for node in &mut new {
        assert_eq!(node.stop(Duration::from_secs(60)), Some(0));
    }
}

#[test]
fn a_bad_backup_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let _node = run(&config, port);
    register(port, &token, 1);
    let to = dir.path().join("backups");
    let place = to.display().to_string();
    let taken = answer(&against(port, &token, &["backup", "--json", "--to", &place]));
    let target = dir.path().join("new");
    let nodes = ["--node", "a=127.0.0.1"];
    let base = free_ports(1);
    let chain = to.join(taken["chain"].as_str().unwrap());
    let mut files =
        vec![chain.join("chain"), chain.join("backups").join(taken["id"].as_str().unwrap())];
    for folder in std::fs::read_dir(chain.join("objects")).unwrap() {
        let inside = std::fs::read_dir(folder.unwrap().path()).unwrap();
        files.extend(inside.map(|entry| entry.unwrap().path()));
    }
    assert!(files.len() >= 5, "head, record, manifest, tables, open days: {files:?}");
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        let mut octets = whole.clone();
        let middle = octets.len() / 2;
        octets[middle] ^= 1;
        std::fs::write(&path, octets).unwrap();
        let output = restore(&place, &target, base, &nodes);
        assert_eq!(refused(&output), "backup_damaged", "{}", path.display());
        assert!(stderr(&output).contains(path.to_str().unwrap()), "{}", stderr(&output));
        assert!(!target.exists() && !dir.path().join("new.restoring").exists());
        std::fs::write(&path, whole).unwrap();
    }
    let none = dir.path().join("none").display().to_string();
    assert_eq!(refused(&restore(&none, &target, base, &nodes)), "backup_unknown");
    assert_eq!(
        refused(&holdfast(&["backup", "verify", "--json", "--from", &none])),
        "backup_unknown"
    );
    let nowhere = against(port, &token, &["backup"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));
    let stranger = against(port, "wrong", &["backup", "--to", &place]);
    assert_eq!(stranger.status.code(), Some(77), "{}", stderr(&stranger));
}
