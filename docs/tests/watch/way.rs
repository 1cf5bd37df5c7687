//! The way from a node that dies to who tells people, with the shipped files and periods.

use crate::parts::{Node, Part, TARGETS, Taker};

#[test]
fn a_dead_node_is_told_once_and_so_is_its_return() {
    let nodes = TARGETS.map(|(_, name)| Node::start(name));
    let taker = Taker::start();
    let alertmanager = Part::alertmanager(&taker, "a-token");
    let prometheus = Part::prometheus(&nodes, Some(&alertmanager), false);
    prometheus.wait("all nodes up", || {
        prometheus.holds(r#"sum(up{job="holdfast"}) == 3"#) && prometheus.holds("ALERTS")
    });
    nodes[1].live(false);
    let told = prometheus.wait("the alert", || !taker.of("NodeDown", "firing").is_empty());
    nodes[1].live(true);
    let over = prometheus.wait("its end", || !taker.of("NodeDown", "resolved").is_empty());
    println!("told after {told:.1?}, its end {over:.1?} after the return");

    let fired = taker.of("NodeDown", "firing");
    assert_eq!(fired.len(), 1, "one fault is told once: {fired:?}");
    let post = &fired[0];
    assert_eq!(post.line, "POST /api/v1/alertmanager HTTP/1.1");
    assert_eq!(post.by, "Bearer a-token");
    let alerts = post.body["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let labels = &alerts[0]["labels"];
    assert_eq!((&labels["node"], &labels["cluster"]), (&"n2".into(), &"main".into()));
    assert_eq!(labels["severity"], "critical");
    let link = alerts[0]["annotations"]["runbook_url"].as_str().unwrap();
    assert!(link.ends_with("/docs/operations/runbooks/NodeDown.md"), "{link}");
    assert!(alerts[0]["annotations"]["summary"].as_str().unwrap().contains("n2"), "{alerts:?}");
    assert_eq!(taker.of("NodeDown", "resolved").len(), 1);
    // Sent again each minute by Prometheus; the first one may have come before Alertmanager ran.
    prometheus.wait("the proof that the way works", || !taker.of("Watchdog", "firing").is_empty());
}
