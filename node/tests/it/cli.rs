//! Exit codes and failures of the command line.

use std::path::Path;

use crate::support::{command, holdfast, one_node, run, stderr};

#[test]
fn exit_codes_are_a_contract() {
    for (arguments, code) in [
        (vec!["--version"], 0),
        (vec!["--help"], 0),
        (vec!["fly"], 2),
        (vec!["meter", "add", "M1"], 2),
        (vec!["meter", "read", "M1", "--profile", "1-0:99.1.0"], 2),
        (vec!["status", "--url", "ftp://127.0.0.1:1"], 2),
        (vec!["status", "--url", "http://127.0.0.1:1"], 69),
        (vec!["check-config", "/nowhere/node.toml"], 64),
        (vec!["run", "--config", "/nowhere/node.toml"], 64),
        (vec!["status", "--token-file", "/nowhere/token"], 1),
    ] {
        let output = holdfast(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    }
}

/// `holdfast ... | head -1`: the reader goes while there is more to print.
#[test]
fn who_stops_reading_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster").display().to_string();
    let mut verb = command(&["init", "--node", "n1=127.0.0.1", "--dir", &path]);
    let (ours, theirs) = std::io::pipe().unwrap();
    // Gone before it prints: it makes keys first.
    drop(ours);
    let output = verb.stdout(theirs).stderr(std::process::Stdio::piped()).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(141), "{said}");
    assert_eq!(said, "", "not a word");
}

#[test]
fn every_verb_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    let wanted = node::cli::reference::document();
    assert!(wanted.contains("| `holdfast meter read SERIAL` |"), "{wanted}");
    if std::env::var_os("HOLDFAST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, wanted, "write it anew: HOLDFAST_WRITE_DOCS=1 cargo nextest run -p node");
}

#[test]
fn failures_are_json_where_asked() {
    let output = holdfast(&["status", "--json", "--url", "http://127.0.0.1:1"]);
    let body: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(body["code"], "unreachable");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _, port) = one_node(dir.path());
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let path = config.display().to_string();
    let output = holdfast(&["run", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("error[port_in_use]") && text.contains("http.listen"), "{text}");
    drop(taken);
    let taken = std::net::TcpListener::bind(("127.0.0.1", port + 100)).unwrap();
    let output = holdfast(&["run", "--config", &path]);
    let text = stderr(&output);
    assert!(text.contains("error[port_in_use]") && text.contains("gateway.listen"), "{text}");
    drop(taken);
    let taken = std::net::UdpSocket::bind(("127.0.0.1", port + 200)).unwrap();
    let output = holdfast(&["run", "--config", &path]);
    let text = stderr(&output);
    assert!(text.contains("error[port_in_use]") && text.contains("cluster.listen"), "{text}");
    drop(taken);
}

#[test]
fn an_unusable_folder_or_certificate_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _, _) = one_node(dir.path());
    let path = config.display().to_string();
    for (name, value, code) in [
        ("HOLDFAST_NODE__DATA_DIR", "/proc/holdfast", "error[file_"),
        ("HOLDFAST_TLS__CERTIFICATE_FILE", "master.key", "error[bad_certificate]"),
        ("HOLDFAST_KEYS__MASTER_KEY_FILE", "node.pem", "error[master_key_malformed]"),
    ] {
        let output = command(&["run", "--config", &path]).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(code), "{name}: {}", stderr(&output));
    }
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let _node = run(&config, port);
    let free = |up: u16| format!("127.0.0.1:{}", port + up);
    let output = command(&["run", "--config", &config.display().to_string()])
        .env("HOLDFAST_HTTP__LISTEN", free(1))
        .env("HOLDFAST_GATEWAY__LISTEN", free(101))
        .env("HOLDFAST_CLUSTER__LISTEN", free(201))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error[storage_in_use]"), "{}", stderr(&output));
    let url = format!("http://127.0.0.1:{port}");
    let good = holdfast(&["status", "--url", &url, "--token", &token]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(String::from_utf8_lossy(&good.stdout).contains("leader n1"));
    let wrong = holdfast(&["status", "--url", &url, "--token", "hfa_wrong"]);
    assert_eq!(wrong.status.code(), Some(77), "{}", stderr(&wrong));
    // The first address is dead, the second answers.
    let both = format!("http://127.0.0.1:1,{url}");
    let second = holdfast(&["status", "--json", "--url", &both, "--token", &token]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
}
