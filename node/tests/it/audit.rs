//! The audit trail carried out of a cluster: signed, and looked through without it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{get, holdfast, one_node, post, run, stderr};

/// Looks through a file: what is said, or the fault.
fn checked(file: &Path, more: &[&str]) -> Result<Value, String> {
    let file = file.display().to_string();
    let output = holdfast(&[&["audit", "--check", &file, "--json"], more].concat());
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(stderr(&output)),
    }
}

#[test]
fn a_trail_is_signed_exported_and_every_change_to_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let mut node = run(&config, port);
    for name in ["North", "South", "East"] {
        assert_eq!(post(port, &token, "/api/v1/regions", &json!({"name": name})).status, 201);
    }
    let refused = post(port, &token, "/api/v1/regions", &json!({"name": "North"}));
    assert_eq!(refused.status, 409, "{refused:?}");
    let until = Instant::now() + Duration::from_secs(60);
    let signed = "/api/v1/audit?action=audit.signed";
    while get(port, &token, signed).json()["items"].as_array().unwrap().is_empty() {
        assert!(Instant::now() < until, "nobody signs");
        std::thread::sleep(Duration::from_millis(200));
    }
    let (url, file) = (format!("http://127.0.0.1:{port}"), dir.path().join("trail.jsonl"));
    let with = |words: &[&str]| {
        let output = holdfast(&[words, &["--url", &url, "--token", &token]].concat());
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    with(&["audit", "--export", &file.display().to_string()]);
    let key: Value = serde_json::from_str(&with(&["drill", "key", "--json"])).unwrap();
    let key = key["public_key"].as_str().unwrap().to_owned();
    assert!(with(&["verify"]).contains("no difference"));
    let integrity = get(port, &token, "/api/v1/integrity").json();
    assert_eq!(integrity["audit_broken_at"], Value::Null);
    assert!(integrity["audit_signed"].as_u64() > Some(0), "{integrity}");
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));

    // From here on there is no cluster.
    let whole = checked(&file, &["--key", &key]).unwrap();
    assert!(whole["records"].as_u64() > Some(4) && whole["signed"] == 1, "{whole}");
    assert!(checked(&file, &[]).is_ok_and(|told| told["judged"] == false));
    every_change_is_named(&file, &key, whole["records"].as_u64().unwrap());
}

fn every_change_is_named(file: &Path, key: &str, records: u64) {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let sign = lines.iter().position(|line| line.contains("audit.signed")).unwrap();
    let try_with = |lines: &[String], more: &[&str]| {
        std::fs::write(file, lines.join("\n") + "\n").unwrap();
        checked(file, more).expect_err("it was changed")
    };
    let own = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let edited = |from: &str, to: &str| {
        let mut lines = own();
        let at = lines.iter().position(|line| line.contains(from)).unwrap();
        lines[at] = lines[at].replacen(from, to, 1);
        (lines, at + 1)
    };
    for (from, to) in [("South", "Sauth"), ("\"admin\"", "\"nadia\""), (":00Z", ":01Z")] {
        let (from, to) =
            if from == ":00Z" { ("\"time\":\"20", "\"time\":\"19") } else { (from, to) };
        let (lines, at) = edited(from, to);
        let told = try_with(&lines, &[]);
        assert!(told.contains(&format!("record {at}: ")), "{from}: {told}");
    }
    let mut removed = own();
    removed.remove(1);
    assert!(try_with(&removed, &[]).contains("record 2: it is missing, moved or changed"));
    let mut moved = own();
    moved.swap(1, 2);
    assert!(try_with(&moved, &[]).contains("record 2: "));
    let mut cut = own();
    cut.pop();
    let told = try_with(&cut, &["--least", &records.to_string()]);
    assert!(told.contains(&format!("it ends at record {} of {records}", records - 1)), "{told}");
    let strange = format!("{}{}", if key.starts_with('0') { "1" } else { "0" }, &key[1..]);
    let told = try_with(&own(), &["--key", &strange]);
    assert!(told.contains(&format!("record {}: the signature does not hold", sign + 1)), "{told}");
    assert!(try_with(&own(), &["--key", "12"]).contains("64 hex digits"));
}
