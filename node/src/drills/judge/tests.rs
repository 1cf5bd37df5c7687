//! A checker that cannot fail is none: each broken promise, alone, in evidence that passes without.

use std::collections::BTreeMap;

use domain::drills::{Begin, State};
use domain::{NodeId, Stamp};

use super::*;
use crate::drills::evidence::{Build, ChannelSeen, Operation, Replica, Restored, Seen, Sign, Step};
use crate::drills::paper;
use crate::drills::scenario::find;

const SECOND: u64 = 1_000_000;
const INJECTED: u64 = 3 * SECOND;
const BACK: u64 = INJECTED + 400_000;
const ENDED: u64 = 12 * SECOND;

/// Three nodes; n1 leads, is killed at 3 s, is back at 8 s; writes pause for 0.4 s.
fn evidence() -> Evidence {
    let mut operations = Vec::new();
    for number in 0..240_u32 {
        let sent_us = u64::from(number) * 50_000;
        let silent = (INJECTED..BACK).contains(&sent_us);
        let node = u8::try_from(number % 3).unwrap();
        let gone = node == 0 && (INJECTED..8 * SECOND).contains(&sent_us);
        for kind in [Kind::Write, Kind::Read] {
            let answer = if silent || gone { Answer::Down } else { Answer::Good };
            let ended_us = sent_us + 5_000;
            operations.push(Operation { kind, node, number, sent_us, ended_us, answer });
        }
    }
    let seen = |at_us, node, leader: &str, term, up| {
        let leader = Some(leader.to_owned());
        Seen { at_us, node, leader, term, ready: up, up }
    };
    let good = Held { runs: vec![(0, 59), (68, 239)], again: Vec::new() };
    let names: Vec<String> = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
    let replica = |node: &String| Replica { node: node.clone(), index: 9, hash: Some("aa".into()) };
    Evidence {
        began: "2026-11-23T07:00:00Z".to_owned(),
        injected_us: Some(INJECTED),
        taken_us: Some(INJECTED + 2_000),
        undone_us: None,
        whole_us: Some(9 * SECOND),
        ended_us: ENDED,
        aborted: None,
        operations,
        skipped: 0,
        seen: vec![
            seen(0, 0, "n1", 4, true),
            seen(0, 1, "n1", 4, true),
            seen(INJECTED + 100_000, 0, "n1", 4, false),
            seen(INJECTED + 300_000, 1, "n2", 5, true),
        ],
        channel: Vec::new(),
        held: names.iter().map(|name| (name.clone(), good.clone())).collect(),
        replicas: names.iter().map(replica).collect(),
        signs: vec![Sign { metric: "holdfast_cluster_leader_changes_total".into(), rose_by: 1 }],
        nodes: names,
        restored: None,
        measured: None,
        steps: Vec::new(),
    }
}

fn record() -> Record {
    Record {
        id: 77,
        begin: Begin {
            scenario: "leader-kill".to_owned(),
            target: NodeId(1),
            concentrator: String::new(),
            hold_ms: 0,
            limit_s: 155,
            reason: "test".to_owned(),
            backup: "none".to_owned(),
        },
        by: "olga".to_owned(),
        begun: Stamp::from_seconds(1000),
        until: Stamp::from_seconds(1155),
        injected: Some(Stamp::from_seconds(1003)),
        ended: None,
        state: State::Open,
        summary: None,
    }
}

fn judged(evidence: &Evidence, name: &str, record: &Record, held: Held) -> (Report, Summary) {
    check(evidence, &evidence.nodes).unwrap();
    let facts = Facts {
        record,
        scenario: find(name).unwrap(),
        target: "n1".to_owned(),
        members: evidence.nodes.clone(),
        judge: "n2".to_owned(),
        held,
        figures: acceptance::Held::default(),
        roll: None,
        blake3: "00".to_owned(),
    };
    judge(evidence, &facts)
}

fn whole() -> Held {
    Held { runs: vec![(0, 59), (68, 239)], again: Vec::new() }
}

/// The verdict after one change of evidence that passes without it.
fn after(change: impl FnOnce(&mut Evidence)) -> (Verdict, String) {
    let mut evidence = evidence();
    change(&mut evidence);
    let (report, summary) = judged(&evidence, "leader-kill", &record(), whole());
    (summary.verdict, report.reasons.join("; "))
}

#[test]
fn a_leader_lost_and_replaced_in_time_passes() {
    let evidence = evidence();
    let (report, summary) = judged(&evidence, "leader-kill", &record(), whole());
    assert_eq!((report.reasons.as_slice(), summary.verdict), (&[][..], Verdict::Passed));
    // From the injection (2.955 s + 50 ms was the last good answer) to the first good one.
    assert_eq!(summary.write_ms, Some(405));
    assert_eq!((summary.lost, summary.doubled, summary.deviations), (0, 0, 0));
    assert_eq!(report.identity.leader_before.as_deref(), Some("n1"));
    assert_eq!(report.identity.leader_after.as_deref(), Some("n2"));
    let told: Vec<&str> = report.timeline.iter().map(|moment| moment.what.as_str()).collect();
    assert!(told.contains(&"n2 leads in term 5, says n2"), "{told:?}");
    assert!(told.contains(&"n1 does not answer"), "{told:?}");
    assert!(report.timeline.is_sorted_by_key(|moment| moment.at_ms));
    let json = serde_json::to_vec(&report).unwrap();
    assert!(json.len() < 60_000, "{} octets", json.len());
}

#[test]
fn every_broken_promise_fails() {
    type Change = fn(&mut Evidence);
    let all: [(&str, &str, Change); 7] = [
        ("a lost acknowledged write", "1 acknowledged writes are lost", |e| {
            let held = e.held.get_mut("n3").unwrap();
            held.runs = vec![(0, 59), (68, 99), (101, 239)];
        }),
        ("a double", "1 writes were applied twice", |e| {
            e.held.get_mut("n2").unwrap().again = vec![70];
        }),
        ("a stale read", "1 reads missed acknowledged writes", |e| {
            e.operations.last_mut().unwrap().answer = Answer::Stale;
        }),
        ("hashes differ", "state hashes differ at one index", |e| {
            e.replicas[2].hash = Some("bb".to_owned());
        }),
        ("writes stay away", "write did not come back", |e| {
            let bad = |one: &&mut Operation| one.kind == Kind::Write && one.sent_us > INJECTED;
            e.operations.iter_mut().filter(bad).for_each(|one| one.answer = Answer::Late);
        }),
        ("reads stay away", "read did not come back", |e| {
            let bad = |one: &&mut Operation| one.kind == Kind::Read && one.sent_us > INJECTED;
            e.operations.iter_mut().filter(bad).for_each(|one| one.answer = Answer::Late);
        }),
        ("a node stays away", "all nodes did not come back", |e| e.whole_us = None),
    ];
    for (what, reason, change) in all {
        let (verdict, reasons) = after(change);
        assert_eq!(verdict, Verdict::Failed, "{what}: {reasons}");
        assert!(reasons.contains(reason), "{what}: {reasons}");
    }
}

#[test]
fn a_late_recovery_fails_and_a_slow_one_is_told() {
    let delayed = |by_us: u64| {
        after(move |e| {
            for one in e.operations.iter_mut().filter(|one| one.sent_us >= INJECTED) {
                (one.sent_us, one.ended_us) = (one.sent_us + by_us, one.ended_us + by_us);
            }
            e.ended_us += by_us;
        })
    };
    let (verdict, reasons) = delayed(30 * SECOND);
    assert_eq!(verdict, Verdict::Failed);
    assert!(reasons.contains("write came back after 30405 ms, limit 30000"), "{reasons}");
    assert!(reasons.contains("read came back after 30405 ms"), "{reasons}");
    let (verdict, reasons) = delayed(29 * SECOND);
    assert_eq!((verdict, reasons.as_str()), (Verdict::Passed, ""));
    let mut slow = evidence();
    for one in slow.operations.iter_mut().filter(|one| one.sent_us >= INJECTED) {
        (one.sent_us, one.ended_us) = (one.sent_us + SECOND, one.ended_us + SECOND);
    }
    slow.ended_us += SECOND;
    let (report, summary) = judged(&slow, "leader-kill", &record(), whole());
    assert_eq!((summary.verdict, summary.deviations), (Verdict::Passed, 2));
    assert!(report.deviations[0].contains("promised 700 ms"), "{:?}", report.deviations);
}

#[test]
fn what_was_not_seen_does_not_pass() {
    type Change = fn(&mut Evidence);
    let all: [(&str, Change); 8] = [
        ("no failure was injected", |e| (e.injected_us, e.taken_us) = (Some(INJECTED), None)),
        ("only 0 writes were accepted before", |e| e.operations.retain(|o| o.sent_us >= INJECTED)),
        ("the failure was not seen", |e| {
            e.operations.retain(|one| one.node != 0);
        }),
        ("nobody but n1 was seen to lead", |e| {
            e.seen.pop();
        }),
        ("n3 was not asked for what it holds", |e| {
            e.held.remove("n3");
        }),
        ("n3 did not tell its state hash", |e| e.replicas[2].hash = None),
        ("state hashes are of several indexes", |e| e.replicas[2].index = 10),
        ("it was given up: storm", |e| e.aborted = Some("storm".to_owned())),
    ];
    for (doubt, change) in all {
        let (verdict, reasons) = after(change);
        assert_eq!(verdict, Verdict::Inconclusive, "{doubt}: {reasons}");
        assert!(reasons.contains(doubt), "{doubt}: {reasons}");
    }
    let never = Record { injected: None, ..record() };
    let (_, summary) = judged(&evidence(), "leader-kill", &never, whole());
    assert_eq!(summary.verdict, Verdict::Inconclusive, "the log knows of no injection");
}

#[test]
fn the_clusters_own_state_is_asked_too() {
    let forgetful = Held { runs: vec![(0, 59), (68, 238)], again: Vec::new() };
    let (report, summary) = judged(&evidence(), "leader-kill", &record(), forgetful);
    assert_eq!((summary.verdict, summary.lost), (Verdict::Failed, 1));
    assert_eq!(report.kept.lost_numbers, [239]);
}

#[test]
fn a_channel_is_back_under_a_newer_epoch_only() {
    let seen = |at_us, node, epoch, active_here| ChannelSeen { at_us, node, epoch, active_here };
    let judge_with = |channel: Vec<ChannelSeen>| {
        let mut evidence = evidence();
        evidence.channel = channel;
        let record =
            Record { begin: Begin { concentrator: "C1".into(), ..record().begin }, ..record() };
        judged(&evidence, "channel-cut", &record, whole()).1
    };
    let before = seen(SECOND, 0, 3, true);
    let old = seen(INJECTED + 100_000, 0, 3, true);
    let not_yet = seen(INJECTED + 200_000, 1, 4, false);
    let summary = judge_with(vec![before.clone(), old.clone(), not_yet.clone()]);
    assert_eq!((summary.verdict, summary.channel_ms), (Verdict::Failed, None));
    let back = seen(INJECTED + 900_000, 1, 4, true);
    let summary = judge_with(vec![before.clone(), old.clone(), not_yet, back]);
    assert_eq!((summary.verdict, summary.channel_ms), (Verdict::Passed, Some(900)));
    let late = seen(INJECTED + 5_001_000, 1, 4, true);
    assert_eq!(judge_with(vec![before, late]).verdict, Verdict::Failed);
}

#[test]
fn a_restored_state_must_be_the_one_that_was_backed_up() {
    let good = Restored {
        backup: "b1".to_owned(),
        created: "2026-11-23T01:00:00Z".to_owned(),
        age_s: 3600,
        index: 500,
        recorded: "aa".to_owned(),
        restored: "aa".to_owned(),
        live: Some("aa".to_owned()),
        octets: 1000,
        took_ms: 1200,
    };
    let judge_with = |found: Option<Restored>| {
        let mut evidence = evidence();
        evidence.operations.clear();
        evidence.held.values_mut().for_each(|held| *held = Held::default());
        evidence.restored = found;
        let (report, summary) =
            judged(&evidence, "restore-from-backup", &record(), Held::default());
        (summary.verdict, summary.deviations, report)
    };
    let (verdict, deviations, report) = judge_with(Some(good.clone()));
    assert_eq!((verdict, deviations), (Verdict::Passed, 0), "{:?}", report.reasons);
    assert_eq!(report.recovery("restore").and_then(|one| one.measured_ms), Some(1200));
    let unknown = Restored { live: None, ..good.clone() };
    assert_eq!(judge_with(Some(unknown)).0, Verdict::Passed);
    assert_eq!(judge_with(None).0, Verdict::Inconclusive);
    let other = Restored { restored: "bb".to_owned(), live: Some("bb".to_owned()), ..good.clone() };
    assert_eq!(judge_with(Some(other)).0, Verdict::Failed, "not what was backed up");
    let foreign = Restored { live: Some("bb".to_owned()), ..good };
    assert_eq!(judge_with(Some(foreign)).0, Verdict::Failed, "not this cluster's");
}

#[test]
fn evidence_that_cannot_be_is_not_judged() {
    type Change = fn(&mut Evidence);
    let all: [Change; 6] = [
        |e| e.nodes.push("n1".to_owned()),
        |e| e.nodes[0] = "n9".to_owned(),
        |e| e.operations[0].node = 3,
        |e| e.operations[0].sent_us = e.operations[0].ended_us + 1,
        |e| e.operations[0].number = domain::drills::MAX_PROBES,
        |e| e.whole_us = Some(e.ended_us + 1),
    ];
    let members = evidence().nodes;
    assert_eq!(check(&evidence(), &members), Ok(()));
    for (place, change) in all.into_iter().enumerate() {
        let mut evidence = evidence();
        change(&mut evidence);
        assert!(check(&evidence, &members).is_err(), "{place}");
    }
    let empty: BTreeMap<String, Held> = BTreeMap::new();
    let mut bare = evidence();
    bare.held = empty;
    assert_eq!(check(&bare, &members), Ok(()), "what is missing is judged");
}

#[test]
fn an_acceptance_passes_only_with_every_figure() {
    let nobody_hurt = |measured: Option<acceptance::Measured>| Evidence {
        injected_us: None,
        taken_us: None,
        whole_us: None,
        operations: Vec::new(),
        seen: Vec::new(),
        signs: Vec::new(),
        measured,
        ..evidence()
    };
    let judged_of = |measured| judged(&nobody_hurt(measured), "acceptance", &record(), whole());
    let (report, summary) = judged_of(None);
    assert_eq!(summary.verdict, Verdict::Inconclusive);
    assert!(report.acceptance.is_none() && report.reasons == ["nothing was measured"]);
    let (report, summary) = judged_of(Some(acceptance::Measured::default()));
    assert_eq!(summary.verdict, Verdict::Inconclusive, "{:?}", report.reasons);
    let found = report.acceptance.clone().unwrap();
    assert_eq!(found.unproven(), acceptance::FIGURES.len());
    let proof =
        paper::Proof { judge: "n1", seal: "aa", signature: &"b".repeat(128), public_key: "cc" };
    let paper = paper::pdf(&report, proof).unwrap();
    assert!(paper.starts_with(b"%PDF-"));
    let slow = acceptance::Times { took_us: vec![9 * SECOND], ..Default::default() };
    let times = [("interface".to_owned(), slow)].into();
    let (report, summary) = judged_of(Some(acceptance::Measured { times, ..Default::default() }));
    assert_eq!(summary.verdict, Verdict::Failed, "{:?}", report.reasons);
}

/// A rolling drill of three nodes, each away for a moment and back as it was.
fn rolled(to: &str, change: impl FnOnce(&mut Evidence, &mut Rolled)) -> (Verdict, String) {
    let build =
        |version: &str| Some(Build { version: version.to_owned(), revision: "abc".to_owned() });
    let mut evidence = evidence();
    evidence.operations.iter_mut().for_each(|one| one.answer = Answer::Good);
    for node in 0..3_u8 {
        let ordered_us = INJECTED + u64::from(node) * 2 * SECOND;
        let away = (ordered_us + 200_000)..(ordered_us + 900_000);
        for one in &mut evidence.operations {
            if one.node == node && away.contains(&one.sent_us) {
                one.answer = Answer::Down;
            }
        }
        evidence.steps.push(Step {
            node,
            ordered_us,
            back_us: Some(ordered_us + 2 * SECOND),
            before: build("1.0.0"),
            after: build("1.1.0"),
        });
    }
    let acknowledged = |one: &&Operation| one.kind == Kind::Write && one.answer == Answer::Good;
    let runs = evidence.operations.iter().filter(acknowledged).map(|one| (one.number, one.number));
    let held = Held { runs: runs.collect(), again: Vec::new() };
    evidence.held.values_mut().for_each(|its| its.clone_from(&held));
    let nodes = evidence.nodes.iter().map(|name| (name.clone(), true)).collect();
    let mut roll = Rolled { nodes, to: to.to_owned() };
    change(&mut evidence, &mut roll);
    check(&evidence, &evidence.nodes.clone()).unwrap();
    let record = record();
    let facts = Facts {
        record: &record,
        scenario: find("rolling-upgrade").unwrap(),
        target: "n1".to_owned(),
        members: evidence.nodes.clone(),
        judge: "n2".to_owned(),
        held,
        figures: acceptance::Held::default(),
        roll: Some(roll),
        blake3: "00".to_owned(),
    };
    let (report, summary) = judge(&evidence, &facts);
    (summary.verdict, report.reasons.join("; "))
}

#[test]
fn a_rolling_upgrade_needs_every_node_back_as_what_it_was_to_become() {
    assert_eq!(rolled("", |_, _| ()), (Verdict::Passed, String::new()));
    assert_eq!(rolled("1.1.0", |_, _| ()), (Verdict::Passed, String::new()));
    let (verdict, why) = rolled("1.2.0", |_, _| ());
    assert_eq!(verdict, Verdict::Failed);
    assert!(why.contains("n3 came back with 1.1.0 (abc), not 1.2.0"), "{why}");
    let (verdict, why) = rolled("", |seen, _| seen.steps[1].after = seen.steps[1].before.clone());
    assert_eq!(
        (verdict, why.contains("n2 came back as the build that it was")),
        (Verdict::Failed, true)
    );
    let (verdict, why) = rolled("", |seen, _| seen.steps[2].back_us = None);
    assert_eq!((verdict, why.contains("all nodes did not come back")), (Verdict::Failed, true));
    for (said, change) in [
        ("n3 had no turn", (|seen, _| drop(seen.steps.pop())) as fn(&mut Evidence, &mut Rolled)),
        ("n2 had no turn", |_, roll| roll.nodes[1].1 = false),
        ("n1 did not tell its version", |seen, _| seen.steps[0].after = None),
        ("n1 answered all the time", |seen, _| {
            let of_first = seen.operations.iter_mut().filter(|one| one.node == 0);
            of_first.for_each(|one| one.answer = Answer::Refused);
            let kept = seen.operations.len();
            seen.operations.retain(|one| {
                one.node != 0 || one.ended_us < INJECTED || one.ended_us > INJECTED + 2 * SECOND
            });
            assert!(seen.operations.len() < kept);
            let of_first = seen.operations.iter_mut().filter(|one| one.node == 0);
            of_first.for_each(|one| one.answer = Answer::Good);
            let numbers = seen.operations.iter().map(|one| one.number);
            let held = Held { runs: numbers.map(|n| (n, n)).collect(), again: Vec::new() };
            seen.held.values_mut().for_each(|its| its.clone_from(&held));
        }),
    ] {
        let (verdict, why) = rolled("", change);
        assert_ne!(verdict, Verdict::Passed, "{said}");
        assert!(why.contains(said), "{said}: {why}");
    }
}
