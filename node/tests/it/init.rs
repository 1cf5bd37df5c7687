//! `init`: private files, nothing overwritten, configurations that check clean.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{holdfast, stderr};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn secrets_are_private_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("cluster");
    let path = made.display().to_string();
    let arguments =
        ["init", "--dir", &path, "--node", "n1=127.0.0.1", "--node", "n2=node2.example"];
    let first = holdfast(&arguments);
    assert!(first.status.success(), "{}", stderr(&first));
    let text = String::from_utf8_lossy(&first.stdout).into_owned();
    let token = text.split("only now: ").nth(1).unwrap().trim().to_string();
    assert!(token.starts_with("hfa_") && token.len() == 68, "{token}");
    for node in ["n1", "n2"] {
        for file in ["node.key", "master.key", "node.toml"] {
            assert_eq!(mode(&made.join(node).join(file)), 0o600, "{node}/{file}");
        }
        assert_eq!(mode(&made.join(node)), 0o700);
        let config = std::fs::read_to_string(made.join(node).join("node.toml")).unwrap();
        assert!(!config.contains(&token), "the token stands nowhere");
        let file = made.join(node).join("node.toml").display().to_string();
        let checked = holdfast(&["check-config", &file]);
        assert!(checked.status.success(), "{}", stderr(&checked));
    }
    assert_eq!(mode(&made.join("ca/ca.key")), 0o600);
    let titles: Vec<String> = ["n1", "n2"]
        .iter()
        .map(|node| std::fs::read_to_string(made.join(node).join("node.toml")).unwrap())
        .map(|text| text.split("system_title = ").nth(1).unwrap()[1..17].to_string())
        .collect();
    assert_ne!(titles[0], titles[1], "two nodes must never share a nonce");
    let before = std::fs::read(made.join("ca/ca.key")).unwrap();
    let again = holdfast(&arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("error[already_exists]"), "{}", stderr(&again));
    assert_eq!(std::fs::read(made.join("ca/ca.key")).unwrap(), before);
}

#[test]
fn wrong_use_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c").display().to_string();
    for node in ["n1", "n 1=h", "n1=h:1"] {
        let output = holdfast(&["init", "--dir", &path, "--node", node]);
        assert_eq!(output.status.code(), Some(2), "{node}: {}", stderr(&output));
        assert!(!Path::new(&path).exists(), "nothing half-made");
    }
}

#[test]
fn a_read_only_folder_is_a_clear_error() {
    let output = holdfast(&["init", "--dir", "/proc/holdfast", "--node", "n1=h"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error[file_"), "{}", stderr(&output));
}
