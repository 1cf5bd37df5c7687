//! Tells the binary its revision and that revision's date.
//!
//! Invariants: no build fails or differs for want of git or of a repository; the same sources give
//! the same words, so the date is the commit's and never the clock's. Debug builds do not ask: else
//! every commit would build them anew.

use std::path::Path;
use std::process::Command;

fn main() {
    for name in ["HOLDFAST_REVISION", "HOLDFAST_DATE"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let (revision, date) = if release { (describe(), date()) } else { (None, None) };
    let otherwise = if release { "unknown" } else { "debug" };
    say("HOLDFAST_REVISION", revision, otherwise);
    say("HOLDFAST_DATE", date, "unknown");
}

/// What the environment says comes first: a package is built from sources without history.
fn say(name: &str, found: Option<String>, otherwise: &str) {
    let given = std::env::var(name).ok().filter(|text| !text.is_empty());
    let word = given.or(found).unwrap_or_else(|| otherwise.to_string());
    // One word: it stands in a label of a metric.
    let word: String = word.chars().filter(|letter| letter.is_ascii_graphic()).collect();
    println!("cargo:rustc-env={name}={word}");
}

fn describe() -> Option<String> {
    git(&["describe", "--always", "--dirty", "--tags"])
}

fn date() -> Option<String> {
    git(&["log", "-1", "--format=%cs"])
}

/// Git's answer, if the workspace is a repository itself and not merely inside of another.
fn git(arguments: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let head = root.join(".git/logs/HEAD");
    if !head.is_file() {
        return None;
    }
    println!("cargo:rerun-if-changed={}", head.display());
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_string())
}
