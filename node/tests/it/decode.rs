//! `holdfast decode` as a script uses it.

use std::io::Write;
use std::process::Stdio;

use crate::support::{command, holdfast, stderr};

/// GET of 1-0:1.8.0 within a wrapper frame.
const GET: &str = "0001 0010 0001 000d c001c1 0003 0100010800ff 02 00";
/// The Green Book's general-glo example: keys, and the ciphered GET of the clock.
const GUEK: &str = "000102030405060708090a0b0c0d0e0f";
const GAK: &str = "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf";
const TITLE: &str = "4d4d4d0000bc614e";
const GLO_GET: &str = "c81e3001234567411312ff935a47566827c467bc7d825c3be4a77c3fcc056b6b";

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_frame_is_printed_as_a_tree_or_json() {
    let output = holdfast(&["decode", GET]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("    13      "), "{text}");
    assert!(text.contains("logical-name: 1.0.1.8.0.255"), "{text}");

    let output = holdfast(&["decode", "--layer", "wrapper", "--json", GET]);
    let tree: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tree[0]["name"], "wrapper");
    assert_eq!(tree[0]["children"][4]["name"], "get-request");
    assert_eq!(tree[0]["children"][4]["at"], 8);
}

#[test]
fn octets_come_from_standard_input_too() {
    let mut child = command(&["decode", "--layer", "axdr", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"02 02\n12 00 07\n0f ff\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("long-unsigned: 7") && text.contains("integer: -1"), "{text}");
}

#[test]
fn malformed_octets_end_with_their_offset() {
    let output = holdfast(&["decode", "--layer", "axdr", "0202 120007"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error[malformed]: octet 5: "), "{}", stderr(&output));
    let output = holdfast(&["decode", "--json", "--layer", "wrapper", "0002"]);
    assert_eq!(output.status.code(), Some(1));
    let body: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(body["code"], "malformed");
    for wrong in ["c0c", "zz", ""] {
        assert_eq!(holdfast(&["decode", wrong]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn keys_open_and_are_not_echoed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path.display().to_string()
    };
    let (guek, gak) = (file("guek", GUEK), file("gak", GAK));
    let run = |gak: &str, octets: &str| {
        let keys = ["decode", "--guek-file", &guek, "--gak-file", gak];
        holdfast(&[&keys[..], &["--system-title", TITLE, octets]].concat())
    };
    let output = run(&gak, GLO_GET);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("plaintext") && text.contains("logical-name: 0.0.1.0.0.255"), "{text}");

    let output = run(&guek, GLO_GET);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error[bad_tag]: octet 7"), "{}", stderr(&output));

    // Of suite 2, and so no key of this frame; beside one of 16 octets it is no pair.
    let long = file("long", &[GUEK, GAK].concat());
    let output = run(&long, GLO_GET);
    assert!(stderr(&output).contains("error[bad_key]"), "{}", stderr(&output));

    let short = file("short", "d0d1d2d3d4d5");
    let output = run(&short, GLO_GET);
    assert_eq!(output.status.code(), Some(1));
    for secret in [GUEK, GAK, "d0d1d2d3d4d5"] {
        for shown in [stderr(&output), stdout(&output), text.clone()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
