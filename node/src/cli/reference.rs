//! The page of all verbs, written from the command line itself.
//!
//! Invariant: `docs/reference/cli.md` is this text; a test holds the two equal.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Cli;

const HEAD: &str = "\
# The command line

Written from the program itself (`HOLDFAST_WRITE_DOCS=1 cargo nextest run -p node`). `--help` after
a verb tells its options; most take `--json`, and those that talk to a cluster `--url` and
`--token-file`, or `HOLDFAST_URL` and `HOLDFAST_TOKEN`.

| verb | does |
|---|---|
";

/// `docs/reference/cli.md`: a row for each verb, with what must be given by place.
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    rows(&Cli::command(), "", &mut text);
    text
}

fn rows(command: &Command, before: &str, text: &mut String) {
    let name = format!("{before}{}", command.get_name());
    let below = || command.get_subcommands().filter(|verb| verb.get_name() != "help");
    if below().next().is_none() || !command.is_subcommand_required_set() {
        let mut verb = name.clone();
        for value in command.get_positionals().filter_map(|value| value.get_value_names()) {
            let _written = write!(verb, " {}", value.join(" "));
        }
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _written = writeln!(text, "| `{verb}` | {} |", about.replace('|', "\\|"));
    }
    for verb in below() {
        rows(verb, &format!("{name} "), text);
    }
}
