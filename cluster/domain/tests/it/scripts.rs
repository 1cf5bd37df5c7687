//! Runs the golden scripts under `tests/scripts/<area>/`.
//!
//! A script is blocks apart by empty lines: what a clerk says, `----`, what happened. Run with
//! `HOLDFAST_REWRITE=1` to write what happened into the files, then read the diff.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::clerk::Clerk;

/// Areas that must have scripts: the files of `src`, and `apply` itself.
const AREAS: [&str; 20] = [
    "alarms",
    "apply",
    "assets",
    "audit",
    "clocks",
    "commands",
    "drills",
    "keys",
    "leases",
    "live",
    "members",
    "operators",
    "parameters",
    "readings",
    "regions",
    "registry",
    "senders",
    "setups",
    "shared",
    "tasks",
];

#[test]
fn scripts_say_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let rewrite = env::var_os("HOLDFAST_REWRITE").is_some();
    let mut wrong = Vec::new();
    for area in AREAS {
        let scripts = scripts_of(&root.join(area));
        assert!(!scripts.is_empty(), "area {area} has no script");
        for path in scripts {
            let script = fs::read_to_string(&path).unwrap();
            let played = play(&script);
            if rewrite {
                fs::write(&path, &played).unwrap();
            } else if played != script {
                wrong.push(difference(&path, &script, &played));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn scripts_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    scripts.sort();
    scripts
}

/// The script with what happens now behind every `----`.
fn play(script: &str) -> String {
    let mut clerk = Clerk::new();
    let blocks = script.trim_end().split("\n\n").map(|block| {
        let said: Vec<&str> = block.lines().take_while(|line| *line != "----").collect();
        let commands = said.iter().filter(|line| !line.starts_with('#'));
        let happened: Vec<String> = commands.flat_map(|line| clerk.hear(line)).collect();
        format!("{}\n----\n{}", said.join("\n"), happened.join("\n"))
    });
    let blocks: Vec<String> = blocks.collect();
    blocks.join("\n\n") + "\n"
}

fn difference(path: &Path, wanted: &str, found: &str) -> String {
    let lines = wanted.lines().zip(found.lines()).enumerate();
    let first = lines.into_iter().find(|(_, (wanted, found))| wanted != found);
    match first {
        Some((line, (wanted, found))) => {
            format!("{}:{}\n  wanted {wanted}\n  found  {found}", path.display(), line + 1)
        }
        None => format!("{}: one is longer than the other", path.display()),
    }
}
