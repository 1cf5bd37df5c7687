//! Every fault shows on the wire, is counted, and leaves a field that goes on.

use std::time::{Duration, Instant};

use simulator::fault::Kind;
use simulator::tally::Count;

use crate::headend::{Conn, Node, Said};
use crate::{field, start};

/// What a test looks for after it has acknowledged everything so far.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sign {
    Refused(&'static str),
    Broken,
    Closed,
}

/// Reads on until the first thing that is wrong with the connection.
async fn sign(conn: &mut Conn) -> Sign {
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        while let Some(Said::Push { sequence, .. }) =
            conn.said_within(Duration::from_millis(1)).await
        {
            conn.acknowledge(sequence).await.unwrap();
        }
        match conn.raw(Duration::from_millis(700)).await {
            Some((header, apdu)) => {
                if let Err(error) = conn.frame(header, &apdu) {
                    return Sign::Refused(error.code());
                }
            }
            None => return if conn.is_broken() { Sign::Broken } else { Sign::Closed },
        }
    }
    panic!("nothing happened")
}

async fn played(fault: &str) -> (Sign, u64) {
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.faults = vec![fault.parse().unwrap()];
    config.fault_every = Duration::from_millis(800);
    config.fault_hold = Duration::from_millis(1_500);
    let kind = config.faults[0].kind;
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    conn.activate(1).await.unwrap();
    let (sequence, _) = conn.push().await;
    conn.acknowledge(sequence).await.unwrap();
    let mut seen = sign(&mut conn).await;
    let mut epoch = 2;
    // On a machine that is busy elsewhere a line may be given up for an answer that came late,
    // before the fault is played on it; then the next line is watched.
    while seen == Sign::Closed && running.tally().faults(kind) == 0 && epoch < 6 {
        conn = node.login(running.registry()).await;
        conn.activate(epoch).await.unwrap();
        seen = sign(&mut conn).await;
        epoch += 1;
    }
    drop(conn);
    // The field goes on after it.
    let mut conn = node.login(running.registry()).await;
    conn.activate(epoch).await.unwrap();
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    let times = running.tally().faults(kind);
    running.kill().await;
    (seen, times)
}

#[tokio::test]
async fn frames_that_are_wrong() {
    for (fault, expect) in [
        ("wrong-tag", Sign::Refused("bad_tag")),
        ("replay", Sign::Refused("replayed")),
        ("truncated", Sign::Refused("malformed")),
        ("oversize", Sign::Refused("malformed")),
        ("garbage", Sign::Broken),
    ] {
        let (sign, times) = played(fault).await;
        assert_eq!(sign, expect, "{fault}");
        assert!(times >= 1, "{fault}");
    }
}

#[tokio::test]
async fn lines_that_fail() {
    for fault in ["half-answer", "silent", "restart"] {
        let (sign, times) = played(fault).await;
        assert_eq!(sign, Sign::Closed, "{fault}");
        assert!(times >= 1, "{fault}");
    }
}

#[tokio::test]
async fn a_slow_line_still_delivers() {
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.faults = vec!["slow".parse().unwrap()];
    config.fault_every = Duration::from_millis(200);
    config.fault_hold = Duration::from_secs(2);
    config.answer = Duration::from_secs(20);
    config.meters = 30;
    config.interval = Duration::from_secs(60);
    config.history = Duration::from_secs(86_400);
    config.speed = 1_000;
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    conn.activate(1).await.unwrap();
    let begun = Instant::now();
    while running.tally().faults(Kind::Slow) == 0 || running.tally().get(Count::Acknowledged) < 3 {
        let (sequence, _) = conn.push().await;
        conn.acknowledge(sequence).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(120));
    }
    running.kill().await;
}

#[tokio::test]
async fn strangers_dial() {
    for (fault, expect) in [
        ("unknown-concentrator:1", "no keys"),
        ("wrong-key:1", "bad tag"),
        ("duplicate-identity:1", "bad tag"),
    ] {
        let node = Node::start(1).await;
        let mut config = field(&[&node]);
        config.faults = vec![fault.parse().unwrap()];
        let kind = config.faults[0].kind;
        let running = start(&config).await;
        let (mut good, mut bad) = (0, 0);
        for _ in 0..if kind == Kind::WrongKey { 1 } else { 2 } {
            match node.first_frame(running.registry()).await {
                Ok(()) => good += 1,
                Err(error) => {
                    assert_eq!(error, expect, "{fault}");
                    bad += 1;
                }
            }
        }
        assert_eq!(bad, 1, "{fault}");
        assert_eq!(good, u32::from(kind != Kind::WrongKey), "{fault}");
        assert_eq!(running.tally().faults(kind), 1);
        running.kill().await;
    }
}

#[tokio::test]
async fn meters_with_a_wrong_clock_and_with_holes() {
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.meters = 40;
    config.history = Duration::from_secs(86_400);
    config.faults = vec!["clock-skew:0.5".parse().unwrap(), "gaps:1".parse().unwrap()];
    config.answer = Duration::from_secs(5);
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    conn.activate(1).await.unwrap();
    let mut rows = Vec::new();
    let mut quiet = 0;
    while quiet < 8 {
        match conn.said_within(crate::headend::LONG).await {
            Some(Said::Push { sequence, rows: more }) => {
                quiet = 0;
                rows.extend(more);
                conn.acknowledge(sequence).await.unwrap();
            }
            Some(_) => quiet += 1,
            None => panic!("the concentrator fell silent"),
        }
    }
    let expected = 40 * 96;
    assert!(rows.len() < expected && rows.len() > expected / 2, "{} rows", rows.len());
    let skewed = rows.iter().filter(|row| row.status & 1 != 0).count();
    assert!(skewed > 0 && skewed < rows.len());
    assert!(rows.iter().all(|row| (row.end_s % 900 != 0) == (row.status & 1 != 0)));
    running.kill().await;
}
