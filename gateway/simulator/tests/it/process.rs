//! The program itself: exit codes, signals, files, and a kill -9.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use simulator::registry::Registry;

use crate::headend::Node;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-simulator"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn field(node: &Node, dir: &Path) -> Child {
    program()
        .args(["--head-end", &node.address(), "--meters", "4", "--history", "2h", "--perfect"])
        .args(["--heartbeat-ms", "100", "--json", "--die-with-parent", "--seed", "9"])
        .arg("--state")
        .arg(dir.join("state"))
        .arg("--field-out")
        .arg(dir.join("field.json"))
        .arg("--journal")
        .arg(dir.join("journal"))
        .spawn()
        .unwrap()
}

async fn registry(path: &Path) -> Registry {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(octets) = std::fs::read(path) {
            return serde_json::from_slice(&octets).unwrap();
        }
        assert!(Instant::now() < end, "no registry");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn a_wrong_command_line_is_said_in_full() {
    for (args, faults) in [
        (vec!["--nonsense"], 1),
        (vec!["--fault", "laziness"], 1),
        (vec!["--head-end", "nowhere", "--meters", "2000", "--interval", "90s"], 3),
    ] {
        let output = program().args(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.lines().count() >= faults, "{text}");
    }
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--head-end"));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = ["--concentrators", "0", "--direct", "1", "--direct-listen", &address];
    let output = program().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&address));
}

#[tokio::test]
async fn a_killed_program_goes_on_and_a_terminated_one_sums_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(1).await;
    let mut child = field(&node, dir.path());
    let field_out = registry(&dir.path().join("field.json")).await;
    let mut conn = node.login(&field_out).await;
    conn.activate(1).await.unwrap();
    let (first, rows) = conn.push().await;
    let last_counter = conn.last_counter;
    child.kill().unwrap();
    child.wait().unwrap();
    drop(conn);

    let mut child = field(&node, dir.path());
    let mut conn = node.login(&field_out).await;
    assert!(conn.last_counter > last_counter, "no counter comes twice after a kill -9");
    conn.activate(2).await.unwrap();
    assert_eq!(conn.push().await, (first, rows.clone()), "what was not acknowledged comes again");
    conn.acknowledge(first).await.unwrap();
    terminate(&child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    let summary: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(summary["summary"]["rows_acknowledged"], rows.len());
    assert_eq!(summary["summary"]["violations"], 0);
    let journal = std::fs::read_to_string(dir.path().join("journal")).unwrap();
    assert_eq!(journal.lines().count(), 1);
}

#[tokio::test]
async fn a_broken_promise_is_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(1).await;
    let mut child = field(&node, dir.path());
    let field_out = registry(&dir.path().join("field.json")).await;
    let mut conn = node.accept(&field_out).await;
    conn.associate(10..200).await.unwrap();
    drop(conn);
    let mut conn = node.accept(&field_out).await;
    conn.associate(10..200).await.unwrap_err();
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("VIOLATION: HFDSIM0000000001: client 4846444E4F444501"), "{text}");
    assert!(!text.contains(&field_out.concentrators[0].guek), "keys are not logged");
}
