//! Main and standby, restarts, and the promise that no row is lost or made twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use simulator::tally::Count;

use crate::headend::{Conn, Node, PushedRow, Said};
use crate::{field, start};

async fn promote(conn: &mut Conn) -> (u64, u64) {
    loop {
        match conn.said().await {
            Some(Said::Promote { epoch, reason }) => return (epoch, reason),
            Some(_) => {}
            None => panic!("no promote"),
        }
    }
}

#[tokio::test]
async fn the_standby_is_promoted_when_the_main_closes() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let running = start(&field(&[&one, &two])).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    main.activate(3).await.unwrap();
    let (lost, rows) = main.push().await;
    let cut = Instant::now();
    drop(main);
    assert_eq!(promote(&mut standby).await, (3, 1));
    assert!(cut.elapsed() < Duration::from_millis(500), "{:?}", cut.elapsed());
    standby.activate(4).await.unwrap();
    let (again, same) = standby.push().await;
    assert_eq!((again, same), (lost, rows), "the same sequence, the same rows");
    standby.acknowledge(again).await.unwrap();
    // The lost address is dialled again and is the standby now.
    let mut back = one.login(running.registry()).await;
    assert!(matches!(back.said_within(Duration::from_secs(2)).await, Some(Said::Heartbeat { .. })));
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    running.kill().await;
}

#[tokio::test]
async fn the_standby_is_promoted_when_the_main_goes_silent() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let mut config = field(&[&one, &two]);
    config.answer = Duration::from_millis(300);
    let running = start(&config).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    main.activate(1).await.unwrap();
    let silent = Instant::now();
    // The main keeps its connection open and acknowledges nothing.
    assert_eq!(promote(&mut standby).await, (1, 2));
    let took = silent.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_millis(900), "{took:?}");
    standby.activate(2).await.unwrap();
    let (sequence, _) = standby.push().await;
    standby.acknowledge(sequence).await.unwrap();
    assert_eq!(running.tally().get(Count::Acknowledged), 1);
    running.kill().await;
}

#[tokio::test]
async fn promote_is_repeated_until_somebody_activates() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let mut config = field(&[&one, &two]);
    config.answer = Duration::from_millis(100);
    let running = start(&config).await;
    let mut main = one.login(running.registry()).await;
    main.activate(1).await.unwrap();
    drop(main);
    // The standby comes up only after the loss.
    let mut standby = two.login(running.registry()).await;
    assert_eq!(promote(&mut standby).await, (1, 1));
    assert_eq!(promote(&mut standby).await, (1, 1));
    running.kill().await;
}

/// Acknowledges what comes for a while; all rows by meter and time.
async fn collect(
    conn: &mut Conn,
    span: Duration,
    seen: &mut BTreeMap<(String, i64), PushedRow>,
    acknowledged: &mut BTreeSet<u32>,
    doubled: &mut usize,
) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        let Some(Said::Push { sequence, rows }) = conn.said_within(left).await else { continue };
        let fresh = acknowledged.insert(sequence);
        for row in rows {
            let known = seen.insert((row.serial.clone(), row.end_s), row.clone());
            *doubled += usize::from(fresh && known.is_some());
            assert!(known.is_none_or(|known| known == row), "another value for the same slot");
        }
        conn.acknowledge(sequence).await.unwrap();
    }
}

fn journal(path: &Path) -> BTreeMap<(String, i64), u64> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for row in line["rows"].as_array().unwrap() {
            let key = (row[0].as_str().unwrap().to_owned(), row[1].as_i64().unwrap());
            rows.insert(key, row[3].as_u64().unwrap());
        }
    }
    rows
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped_and_no_row_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.meters = 20;
    config.history = Duration::from_secs(10 * 86_400);
    config.speed = 200_000;
    config.answer = Duration::from_secs(5);
    config.state = Some(dir.path().join("state"));
    config.journal = Some(dir.path().join("journal"));
    let (mut seen, mut acknowledged, mut doubled) = (BTreeMap::new(), BTreeSet::new(), 0);
    let mut last_counter = 0;
    for round in 1..=4_u32 {
        let running = start(&config).await;
        let mut conn = node.login(running.registry()).await;
        conn.activate(round).await.unwrap();
        assert!(conn.last_counter > last_counter, "counters go on after a kill");
        let span = Duration::from_millis(600);
        collect(&mut conn, span, &mut seen, &mut acknowledged, &mut doubled).await;
        last_counter = conn.last_counter;
        running.kill().await;
    }
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    conn.activate(9).await.unwrap();
    while !running.tally().get(Count::Acknowledged).ge(&1) || seen.len() < 20 * 950 {
        let span = Duration::from_secs(1);
        let before = seen.len();
        collect(&mut conn, span, &mut seen, &mut acknowledged, &mut doubled).await;
        assert!(seen.len() > before, "the field stopped at {before} rows");
    }
    assert_eq!(doubled, 0, "rows in two sequences");
    let sequences: Vec<u32> = acknowledged.iter().copied().collect();
    let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
    assert_eq!(last - first + 1, sequences.len() as u32, "sequences rise by one");
    for serial in seen.keys().map(|(serial, _)| serial).collect::<BTreeSet<_>>() {
        let ends: Vec<i64> = seen.keys().filter(|(s, _)| s == serial).map(|(_, e)| *e).collect();
        assert!(ends.windows(2).all(|w| w[1] - w[0] == 900), "{serial} has a hole");
        let values: Vec<_> = ends.iter().map(|e| seen[&(serial.clone(), *e)].import_wh).collect();
        assert!(values.windows(2).all(|w| w[0] <= w[1]), "{serial} goes back");
    }
    for (key, value) in journal(&dir.path().join("journal")) {
        assert_eq!(seen[&key].import_wh, Some(value), "{key:?}");
    }
    let settings = running.stop().await.unwrap();
    assert_eq!(settings.tally.violations(), 0, "{:?}", settings.tally.violation_texts());
}

#[tokio::test]
async fn a_concentrator_without_memory_goes_on_above_what_is_stored() {
    let mut node = Node::start(1).await;
    let running = start(&field(&[&node])).await;
    let mut conn = node.login(running.registry()).await;
    conn.acknowledge(1).await.unwrap_err();
    conn.activate(1).await.unwrap();
    let (sequence, _) = conn.push().await;
    assert!(conn.acknowledge(sequence + 1_000).await.is_err(), "with pushes in flight");
    conn.acknowledge(sequence).await.unwrap();
    conn.acknowledge(sequence + 1_000).await.unwrap();
    let stored = conn.get(1, [0, 0, 94, 86, 130, 255]).await.unwrap();
    assert_eq!(stored.as_u64(), Some(u64::from(sequence) + 1_000));
    running.kill().await;
}
