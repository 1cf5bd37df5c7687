//! Configurations: every fault at once, with key, value and reason; the documents in step.

use std::path::Path;

use node::config::{self, document};

use crate::support;

const GOOD: &str = r#"
[node]
id = 1
name = "n1"
data_dir = "data"
[tls]
ca_file = "ca.pem"
certificate_file = "node.pem"
key_file = "node.key"
[keys]
master_key_file = "master.key"
system_title = "4846480000000001"
[http]
listen = "127.0.0.1:8080"
admin_token_hash = "0000000000000000000000000000000000000000000000000000000000000000"
[gateway]
listen = "127.0.0.1:4059"
[cluster]
listen = "127.0.0.1:7001"
[[cluster.peers]]
id = 1
name = "n1"
address = "127.0.0.1:7001"
http = "http://127.0.0.1:8080"
"#;

fn faults(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for file in ["ca.pem", "node.pem", "node.key", "master.key"] {
        std::fs::write(dir.path().join(file), "x").unwrap();
    }
    let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    match config::parse(text, dir.path(), environment) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_good_file_has_no_fault() {
    assert_eq!(faults(GOOD, &[]), Vec::<String>::new());
}

#[test]
fn three_faults_are_listed_at_once() {
    let text = GOOD
        .replace("127.0.0.1:8080\"\nadmin", "everywhere\"\nadmin")
        .replace("[cluster]\n", "[cluster]\nheartbeat_ms = 500\ncolour = \"red\"\n");
    let found = faults(&text, &[]);
    assert_eq!(found.len(), 3, "{found:#?}");
    for part in [
        "http.listen = \"everywhere\": must be an IP address and a port",
        "cluster.colour = \"red\": no such key",
        "cluster.election_min_ms = 150: must be at least twice cluster.heartbeat_ms (500)",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(part)), "{part} in {found:#?}");
    }
}

#[test]
fn single_faults_name_key_value_and_reason() {
    for (from, to, expect) in [
        ("id = 1\nname = \"n1\"\ndata", "id = 0\nname = \"n1\"\ndata", "node.id = 0: must be"),
        ("[http]", "[https]", "https: no such section; did you mean `http`?"),
        ("4846480000000001", "48", "keys.system_title = \"48\": must be 8 octets in hex"),
        ("data_dir = \"data\"\n", "", "node.data_dir: is missing"),
        ("[gateway]\n", "[gateway]\nmax_connections = \"many\"\n", "gateway.max_connections ="),
        ("127.0.0.1:7001\"\nhttp", "nowhere\"\nhttp", "cluster.peers.address = \"nowhere\""),
        ("[log]", "[log]", ""),
    ] {
        let found = faults(&GOOD.replace(from, to), &[]);
        if expect.is_empty() {
            assert!(found.is_empty(), "{found:?}");
        } else {
            assert!(found.iter().any(|f| f.starts_with(expect)), "{expect} in {found:#?}");
        }
    }
    assert!(faults("node = [", &[])[0].starts_with("file"), "not TOML at all");
}

#[test]
fn the_environment_goes_over_the_file() {
    let over =
        [("HOLDFAST_HTTP__LISTEN", "0.0.0.0:1"), ("HOLDFAST_GATEWAY__MAX_CONNECTIONS", "9000")];
    assert_eq!(faults(GOOD, &over), Vec::<String>::new());
    let wrong = [("HOLDFAST_HTTP__COLOUR", "red"), ("HOLDFAST_HTTP__SECURE_COOKIE", "perhaps")];
    let found = faults(GOOD, &wrong);
    assert!(found.contains(&"HOLDFAST_HTTP__COLOUR: no such key".to_string()), "{found:?}");
    assert!(found.iter().any(|f| f.starts_with("http.secure_cookie = \"perhaps\"")), "{found:?}");
    assert_eq!(faults(GOOD, &[("HOLDFAST_URL", "x")]), Vec::<String>::new(), "not a key");
}

#[test]
fn secrets_are_not_shown() {
    let found = faults(&GOOD.replace("admin_token_hash = \"00", "admin_token_hash = \"zz"), &[]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("http.admin_token_hash = ***:"), "{found:?}");
}

#[test]
fn check_config_lists_faults_and_exits_with_64() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, "[node]\nid = 0\n[http]\nlisten = \"x\"\n[colour]\n").unwrap();
    let output = support::holdfast(&["check-config", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(64));
    let text = support::stderr(&output);
    for part in ["node.id = 0", "http.listen = \"x\"", "colour: no such section"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn every_key_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/configuration.md");
    let wanted = document::document();
    if std::env::var_os("HOLDFAST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, wanted, "write it anew: HOLDFAST_WRITE_DOCS=1 cargo nextest run -p node");
}

/// The fenced block of this kind in the page about lines.
fn lines_example(kind: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/lines.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_examples_of_serial_lines_are_good() {
    let ports = lines_example("toml");
    assert_eq!(faults(&format!("{GOOD}\n{ports}"), &[]), Vec::<String>::new());
    let mut addresses = 0;
    for line in lines_example("sh").lines() {
        let (_, rest) = line.split_once("--address ").unwrap();
        let text = rest.split(' ').next().unwrap();
        let address = domain::Address::parse(text).unwrap_or_else(|no| panic!("{text}: {no}"));
        let known = |name: &str| ports.contains(&format!("name = \"{name}\""));
        assert!(address.serial_port().is_none_or(known), "{text}");
        addresses += 1;
    }
    assert!(addresses > 3);
}

#[test]
fn faults_of_serial_ports_are_listed_with_all_others() {
    let port = "[[gateway.serial]]\nname = \"east\"\npath = \"/dev/ttyUSB0\"\n";
    let bad = "[[gateway.serial]]\nname = \"west\"\nbaud = 110\nparity = \"mark\"\n";
    let found = faults(&format!("{GOOD}\n{bad}"), &[]);
    for part in
        ["gateway.serial.path: is missing", "gateway.serial.baud = 110", "gateway.serial.parity"]
    {
        assert!(found.iter().any(|fault| fault.starts_with(part)), "{part} in {found:#?}");
    }
    let found = faults(&format!("{GOOD}\n{port}{port}"), &[]);
    assert_eq!(found.len(), 2, "name and path stand twice: {found:#?}");
}
