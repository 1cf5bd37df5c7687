//! Alerts, their cases, their runbooks and what they are made of belong together. Each test names
//! what does not. Prometheus' own tools are asked whether they take the files.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use docs::text::{links, quoted};
use docs::watch::{Alert, alerts, cases, metrics, records, verbs};
use docs::{File, files, root};

use crate::panels::queries;

/// What every page says, in this order.
const PARTS: [&str; 6] = [
    "## Meaning",
    "## What customers feel",
    "## How to look",
    "## What to do",
    "## When to escalate",
    "## How it is tested",
];

const PAGES: &str = "docs/operations/runbooks/";

fn hold(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn of(folder: &str, ending: &str) -> Vec<File> {
    let mut found = files(ending);
    found.retain(|file| file.path.starts_with(folder));
    assert!(!found.is_empty(), "{folder} has no {ending}: the search is broken");
    found
}

fn rules() -> Vec<Alert> {
    let found: Vec<Alert> =
        of("deploy/prometheus/rules/", ".yml").iter().flat_map(|file| alerts(&file.text)).collect();
    assert!(found.len() > 40, "only {} alerts found: the search is broken", found.len());
    found
}

/// Pages by the name of their alert, the index left out.
fn pages() -> BTreeMap<String, String> {
    let name = |path: &str| path.trim_start_matches(PAGES).trim_end_matches(".md").to_owned();
    let pages = of(PAGES, ".md").into_iter().map(|file| (name(&file.path), file.text));
    pages.filter(|(name, _)| name != "README").collect()
}

fn severities(rules: &[Alert]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        found.entry(&rule.name).or_default().insert(&rule.severity);
    }
    found
}

#[test]
fn every_alert_says_what_it_is() {
    let mut broken = Vec::new();
    for rule in rules() {
        if !["critical", "warning", "info"].contains(&&*rule.severity) {
            broken.push(format!("{}: severity {:?}", rule.name, rule.severity));
        }
        let named: BTreeMap<_, _> = rule.annotations.iter().cloned().collect();
        for name in ["summary", "description", "runbook_url"] {
            if named.get(name).is_none_or(String::is_empty) {
                broken.push(format!("{}: no {name}", rule.name));
            }
        }
        let page = format!("/{PAGES}{}.md", rule.name);
        if !named.get("runbook_url").is_some_and(|link| link.ends_with(&page)) {
            broken.push(format!("{}: its link does not end in {page}", rule.name));
        }
    }
    hold(broken, "alerts that say too little");
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let (rules, pages) = (rules(), pages());
    let index = std::fs::read_to_string(root().join(PAGES).join("README.md")).unwrap_or_default();
    let listed: BTreeSet<String> = links(&index).into_iter().collect();
    let mut broken = Vec::new();
    for (name, severities) in severities(&rules) {
        let Some(page) = pages.get(name) else {
            broken.push(format!("{name} has no page"));
            continue;
        };
        let places: Vec<_> = PARTS.iter().map(|part| page.find(&format!("{part}\n\n"))).collect();
        if places.iter().any(Option::is_none) || !places.is_sorted() {
            broken.push(format!("{name}: its page lacks one of {PARTS:?}, or has it elsewhere"));
        }
        let head = page.lines().nth(2).unwrap_or_default();
        let told = head.trim_start_matches("Severity ").split(". ").next().unwrap_or_default();
        if told.split(", ").collect::<BTreeSet<_>>() != severities {
            broken.push(format!("{name}: the page says {told:?}, the rules {severities:?}"));
        }
        if !listed.contains(&format!("{name}.md")) {
            broken.push(format!("{name} is not in the index"));
        }
    }
    let known = severities(&rules);
    let stale = pages.keys().filter(|name| !known.contains_key(name.as_str()));
    broken.extend(stale.map(|name| format!("{name} has a page and no alert")));
    hold(broken, "alerts and runbooks that do not fit");
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_is_quiet() {
    let mut fires = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for file in of("deploy/prometheus/tests/", ".yml") {
        for case in cases(&file.text) {
            let words: Vec<&str> = case.name.split(' ').collect();
            let [alert, severity, ..] = words[..] else { panic!("{}: {}", file.path, case.name) };
            assert_eq!(alert, case.alert, "{}: {} asks for another", file.path, case.name);
            let own = (case.alert.clone(), severity.to_owned());
            let wanted = case.wanted.contains(&own.1);
            assert_eq!(case.name.ends_with(" fires"), wanted, "{}: {}", file.path, case.name);
            if wanted {
                fires.insert(own)
            } else {
                quiet.insert(own)
            };
        }
    }
    let mut broken = Vec::new();
    for rule in rules() {
        let own = (rule.name.clone(), rule.severity.clone());
        if !fires.contains(&own) {
            broken.push(format!("{} {}: no case in which it fires", own.0, own.1));
        }
        if !quiet.contains(&own) && rule.name != "Watchdog" {
            broken.push(format!("{} {}: no case in which it is quiet", own.0, own.1));
        }
    }
    hold(broken, "alerts without their cases");
}

#[test]
fn drills_expect_alerts_that_exist() {
    let scenarios = std::fs::read_to_string(root().join("node/src/drills/scenario.rs")).unwrap();
    let rules = rules();
    let known = severities(&rules);
    let lists = scenarios.lines().filter_map(|line| line.trim().strip_prefix("alerts: &["));
    let named: Vec<&str> = lists.flat_map(|list| list.split('"').skip(1).step_by(2)).collect();
    assert!(named.len() > 5, "only {named:?} found: the search is broken");
    let stale = named.iter().filter(|name| !known.contains_key(**name));
    hold(stale.map(|name| (*name).to_owned()).collect(), "alerts that drills wait for in vain");
}

#[test]
fn every_metric_is_a_documented_one() {
    let page = std::fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let rules = of("deploy/prometheus/rules/", ".yml");
    let recorded: BTreeMap<String, String> =
        rules.iter().flat_map(|file| records(&file.text)).collect();
    let mut broken = Vec::new();
    let mut used = BTreeSet::new();
    let mut look = |path: &str, text: &str| {
        for name in metrics(text) {
            // The end of a name stands for more of them.
            let known = page.contains(&format!("`{name}`")) || recorded.contains_key(&name);
            if !known {
                broken.push(format!("{path}: {name}"));
            }
            used.insert(name);
        }
    };
    for file in &rules {
        for rule in alerts(&file.text) {
            look(&file.path, &rule.expression);
        }
    }
    for expression in recorded.values() {
        look("recorded", expression);
    }
    for (path, expression) in queries() {
        look(&path, &expression);
    }
    for file in of(PAGES, ".md") {
        look(&file.path, &file.text);
    }
    hold(broken, "metrics that docs/reference/metrics.md does not have");
    let idle = recorded.keys().filter(|name| !used.contains(*name));
    hold(idle.cloned().collect(), "recorded series that nothing uses");
}

#[test]
fn every_verb_of_a_runbook_exists() {
    let page = std::fs::read_to_string(root().join("docs/reference/cli.md")).unwrap();
    let known: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `holdfast ")).collect();
    let exists = |verb: &str| {
        known.iter().any(|row| {
            let words = row.split('`').next().unwrap_or_default();
            words == verb || words.starts_with(&format!("{verb} "))
        })
    };
    let mut broken = Vec::new();
    let mut count = 0;
    for file in of("docs/operations/", ".md").iter().chain(&of("deploy/prometheus/", ".md")) {
        for verb in verbs(&file.text) {
            count += 1;
            if !exists(&verb) {
                broken.push(format!("{}: holdfast {verb}", file.path));
            }
        }
    }
    assert!(count > 60, "only {count} verbs found: the search is broken");
    hold(broken, "verbs that docs/reference/cli.md does not have");
}

#[test]
fn every_test_that_a_runbook_names_exists() {
    let sources: String = files(".rs").into_iter().map(|file| file.text).collect();
    let mut broken = Vec::new();
    let mut count = 0;
    for (name, page) in pages() {
        let told = page.split("## How it is tested").nth(1).unwrap_or_default();
        let tests = quoted(told).into_iter().filter(|word| {
            word.matches('_').count() > 2
                && !word.contains(|c: char| !c.is_alphanumeric() && c != '_')
        });
        for test in tests {
            count += 1;
            if !sources.contains(&format!("fn {test}(")) {
                broken.push(format!("{name}: {test}"));
            }
        }
    }
    assert!(count > 30, "only {count} tests found: the search is broken");
    hold(broken, "tests that a runbook names and that are not there");
}

/// Runs a tool in the folder of the rules; its words when it is not content.
fn ask(tool: &str, arguments: &[String]) -> Option<String> {
    let folder = root().join("deploy/prometheus");
    let told = Command::new(tool).args(arguments).current_dir(folder).output();
    let told = told.unwrap_or_else(|error| panic!("{tool} (see .ci/packages): {error}"));
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    (!told.status.success()).then_some(format!("{tool} {}:\n{said}", arguments.join(" ")))
}

fn arguments(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

#[test]
fn prometheus_and_alertmanager_take_the_files() {
    let mut broken = Vec::new();
    broken.extend(ask("promtool", &arguments("check config prometheus.yml")));
    broken.extend(ask("amtool", &arguments("check-config alertmanager.yml")));
    for file in of("deploy/prometheus/rules/", ".yml") {
        let path = file.path.trim_start_matches("deploy/prometheus/").to_owned();
        broken.extend(ask("promtool", &["check".into(), "rules".into(), path]));
    }
    hold(broken, "files that Prometheus' own tools refuse");
}

#[test]
fn every_case_holds() {
    let paths = of("deploy/prometheus/tests/", ".yml").into_iter().map(|file| file.path);
    let paths = paths.map(|path| path.trim_start_matches("deploy/prometheus/").to_owned());
    let runs: Vec<_> = paths
        .map(|path| std::thread::spawn(|| ask("promtool", &["test".into(), "rules".into(), path])))
        .collect();
    hold(runs.into_iter().filter_map(|run| run.join().unwrap()).collect(), "cases that fail");
}
