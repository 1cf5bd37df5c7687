//! Rules and dashboards before Debian's Prometheus: it loads the shipped configuration, scrapes
//! what nodes of a demo said (`tests/metrics`, made by `record.sh`), and is asked every question
//! that a rule or a panel asks.

use std::collections::BTreeSet;
use std::fs;

use docs::watch::{alerts, metrics, records, selectors};
use docs::{files, root};

use crate::panels::queries;
use crate::parts::{Node, Part, SCRAPES, TARGETS};

/// A panel's query as Grafana would send it.
fn filled(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$cluster", "main").replace("$node", ".*")
}

/// What is asked: where it stands, the query, and whether an empty answer is a fault.
fn questions() -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for file in files(".yml").iter().filter(|f| f.path.starts_with("deploy/prometheus/rules/")) {
        for (name, expression) in records(&file.text) {
            found.push((name, expression, true));
        }
        for rule in alerts(&file.text) {
            let place = format!("{} {}", rule.name, rule.severity);
            for selector in selectors(&rule.expression) {
                found.push((place.clone(), selector, true));
            }
            found.push((place, rule.expression, false));
        }
    }
    let panels = queries().into_iter();
    found.extend(panels.map(|(place, query)| (place, filled(&query), true)));
    found
}

/// Queries that are right to be empty while all is well: no job has failed, no command is open.
const MAY_BE_EMPTY: [&str; 2] = [
    r#"holdfast_jobs_total{result!="ok"}"#,
    r#"time() - (max(holdfast_commands_oldest_timestamp_seconds{cluster="main"}) > 0)"#,
];

#[test]
fn every_question_of_rules_and_dashboards_is_answered() {
    let nodes = TARGETS.map(|(_, name)| Node::start(name));
    let prometheus = Part::prometheus(&nodes, None, true);
    let enough = format!("min(count_over_time(holdfast_ready[1h])) >= {SCRAPES}");
    let all = format!("sum(up) == {}", TARGETS.len());
    prometheus.wait("scrapes of all nodes", || prometheus.holds(&all) && prometheus.holds(&enough));
    prometheus.wait("rules that were reckoned", || {
        let answer = prometheus.get("rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let mut rules =
            groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let sick = rules.clone().find(|rule| rule["health"] == "err");
        assert!(sick.is_none(), "{sick:?}");
        groups.len() > 4 && rules.all(|rule| rule["health"] == "ok")
    });
    let recorded = recorded_names();
    let (mut broken, mut answered, mut unknown) = (Vec::new(), 0, BTreeSet::new());
    let questions = questions();
    assert!(questions.len() > 200, "only {} questions: the search is broken", questions.len());
    for (place, query, wanted) in questions {
        let series = match prometheus.query(&query) {
            Ok(series) => series.len(),
            Err(error) => {
                broken.push(format!("{place}: {query}: {error}"));
                continue;
            }
        };
        let foreign: Vec<String> =
            metrics(&query).into_iter().filter(|name| !recorded.contains(name)).collect();
        match series {
            0 if !wanted || MAY_BE_EMPTY.contains(&query.as_str()) => {}
            0 if !foreign.is_empty() => unknown.extend(foreign),
            0 => broken.push(format!("{place}: {query}: no answer")),
            _ => answered += 1,
        }
    }
    println!("{answered} questions answered; not in the recording: {unknown:?}");
    assert!(broken.is_empty(), "questions without an answer:\n  {}", broken.join("\n  "));
    assert!(answered > 150, "only {answered} questions were answered");
}

/// Metrics of the recording, and what is recorded from them.
fn recorded_names() -> BTreeSet<String> {
    let folder = root().join("docs/tests/metrics");
    let mut names = BTreeSet::new();
    for (_, node) in TARGETS {
        let text = fs::read_to_string(folder.join(format!("{node}-2.txt"))).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names.extend(types.filter_map(|line| line.split(' ').next()).map(str::to_owned));
    }
    assert!(names.len() > 80, "only {} metrics in the recording", names.len());
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules/recording.yml")).unwrap();
    names.extend(records(&rules).into_iter().map(|(name, _)| name));
    names
}
