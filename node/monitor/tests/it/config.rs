//! The example that is shipped, and the program's answer to a wrong file.

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_is_good() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let text = std::fs::read_to_string(deploy.join("monitor.example.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The files that it names.
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let file = folder.path().join(value.trim().trim_matches('"'));
        match key.trim() {
            "ca_file" => std::fs::write(file, made.cert.pem()).unwrap(),
            "pin_file" => std::fs::write(file, "1234\n").unwrap(),
            key if key.ends_with("_file") => std::fs::write(file, "secret\n").unwrap(),
            _ => {}
        }
    }
    if let Err(faults) = monitor::config::read(&text, folder.path()) {
        panic!("{faults:#?}");
    }
}

#[test]
fn a_wrong_file_ends_with_64_and_all_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitor.toml");
    std::fs::write(&file, "zone = \"Nowhere\"\n[http]\ncolour = 1\n[[rule]]\nname = \"x\"\n")
        .unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_holdfast-monitor")).args(arguments).output().unwrap()
    };
    let out = run(&["--config", file.to_str().unwrap(), "--check"]);
    assert_eq!(out.status.code(), Some(64));
    let told = String::from_utf8(out.stderr).unwrap();
    for wanted in ["state_dir", "colour", "rule \"x\": missing field `expr`"] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert_eq!(run(&[]).status.code(), Some(2));
}
