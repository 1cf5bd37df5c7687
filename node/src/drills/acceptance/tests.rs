//! Each figure: shown, missed, and what is not enough to show it.

use domain::drills::{Begin, State, Summary, Verdict as Drilled};
use domain::{NodeId, Stamp};

use super::*;

const SECOND: u64 = 1_000_000;

fn some(n: usize, us: u64) -> Times {
    Times { took_us: vec![us; n], ..Times::default() }
}

fn record(id: u64, scenario: &str, summary: Summary) -> Record {
    Record {
        id,
        begin: Begin {
            scenario: scenario.to_owned(),
            target: NodeId(1),
            concentrator: String::new(),
            hold_ms: 0,
            limit_s: 60,
            reason: "r".to_owned(),
            backup: String::new(),
        },
        by: "olga".to_owned(),
        begun: Stamp(1),
        until: Stamp(2),
        injected: Some(Stamp(1)),
        ended: Some(Stamp(2)),
        state: State::Finished,
        summary: Some(summary),
    }
}

fn summary(write_ms: u32, channel_ms: Option<u32>) -> Summary {
    Summary {
        verdict: Drilled::Passed,
        write_ms: Some(write_ms),
        read_ms: Some(100),
        channel_ms,
        lost: 0,
        doubled: 0,
        deviations: 0,
    }
}

/// A cluster of the customer's size on which everything holds.
fn whole() -> (Measured, Held) {
    let mut measured = Measured {
        trials: "full".to_owned(),
        speed: Some(Speed {
            reads: READS,
            failed: 0,
            within_us: 60 * SECOND,
            beside: 64,
            meters: 500,
        }),
        oldest_s: Some(0),
        ..Measured::default()
    };
    for figure in FIGURES {
        if matches!(figure.rule, Rule::Times { .. } | Rule::Online) {
            measured.times.insert(figure.name.to_owned(), some(100, SECOND));
        }
    }
    measured.drills.insert("channel-switch".to_owned(), (1..=100).collect());
    measured.drills.insert("warm-standby".to_owned(), (101..=200).collect());
    let cuts = (1..=100).map(|id| record(id, "channel-cut", summary(90, Some(400))));
    let kills = (101..=200).map(|id| record(id, "leader-kill", summary(600, None)));
    let held = Held {
        meters: CUSTOMERS_POINTS,
        concentrators: 20_000,
        day: Collection { expected: 1_000, stored: 990, meters: 10, ..Collection::default() },
        now_s: 4_000 * 86_400,
        drills: cuts.chain(kills).collect(),
        is_debug: false,
    };
    (measured, held)
}

fn verdict(name: &str, measured: &Measured, held: &Held) -> Verdict {
    let judged = judge(measured, held);
    judged.figures.iter().find(|one| one.figure == name).unwrap().verdict
}

#[test]
fn a_cluster_of_the_customers_size_passes_every_figure() {
    let (measured, held) = whole();
    let judged = judge(&measured, &held);
    for one in &judged.figures {
        assert_eq!((one.verdict, one.reason.as_str()), (Verdict::Pass, ""), "{}", one.figure);
    }
    let names: Vec<&str> = judged.figures.iter().map(|one| one.figure.as_str()).collect();
    assert_eq!(names, FIGURES.map(|figure| figure.name));
    assert_eq!(check(&measured), Ok(()));
}

#[test]
fn each_figure_can_be_missed() {
    type Change = fn(&mut Measured, &mut Held);
    let all: [(&str, Change); 17] = [
        ("online-days", |given, _| given.times.get_mut("online-days").unwrap().failed = 1),
        ("collection", |_, held| held.day.stored = 984),
        ("reading-speed", |given, _| given.speed.as_mut().unwrap().reads = 166),
        ("interface", |given, _| {
            drop(given.times.insert("interface".into(), some(100, 4 * SECOND)))
        }),
        ("interface", |given, _| {
            let slow = given.times.get_mut("interface").unwrap();
            slow.took_us[98] = 6 * SECOND;
            slow.took_us[99] = 6 * SECOND;
        }),
        ("channel-switch", |_, held| {
            held.drills[3].summary.as_mut().unwrap().channel_ms = Some(5_001)
        }),
        ("channel-switch", |_, held| held.drills[3].summary.as_mut().unwrap().lost = 1),
        ("warm-standby", |_, held| {
            held.drills[103].summary.as_mut().unwrap().write_ms = Some(30_000)
        }),
        ("warm-standby", |_, held| held.drills[103].summary.as_mut().unwrap().write_ms = None),
        ("warm-standby", |_, held| held.drills[103].summary.as_mut().unwrap().doubled = 1),
        ("warm-standby", |_, held| {
            held.drills[103].summary.as_mut().unwrap().verdict = Drilled::Inconclusive;
        }),
        ("remote-data", |given, _| {
            drop(given.times.insert("remote-data".into(), some(100, 5 * SECOND)))
        }),
        ("command-reach", |given, _| {
            drop(given.times.insert("command-reach".into(), some(100, 5 * SECOND + 1)));
        }),
        ("request-set", |given, _| given.times.get_mut("request-set").unwrap().failed = 1),
        ("general-query", |given, _| {
            drop(given.times.insert("general-query".into(), some(100, 10 * SECOND)));
        }),
        ("fuzzy-query", |given, _| {
            drop(given.times.insert("fuzzy-query".into(), some(100, 15 * SECOND)));
        }),
        ("users", |_, held| held.day.stored = 1),
    ];
    for (name, change) in all {
        let (mut measured, mut held) = whole();
        change(&mut measured, &mut held);
        assert_eq!(verdict(name, &measured, &held), Verdict::Fail, "{name}");
    }
}

#[test]
fn what_is_too_small_or_too_short_proves_nothing() {
    type Change = fn(&mut Measured, &mut Held);
    let all: [(&str, Change); 16] = [
        ("users", |_, held| held.meters = CUSTOMERS_POINTS - 1),
        ("general-query", |_, held| held.meters = 200),
        ("fuzzy-query", |_, held| held.meters = 200),
        ("online-days", |given, _| given.oldest_s = None),
        ("online-days", |given, held| given.oldest_s = Some(held.now_s - 90 * 86_400)),
        ("collection", |given, held| given.oldest_s = Some(held.now_s - 7_200)),
        ("collection", |_, held| held.day = Collection::default()),
        ("reading-speed", |given, _| given.speed = None),
        ("reading-speed", |given, _| given.speed.as_mut().unwrap().reads = READS - 1),
        ("interface", |given, _| drop(given.times.remove("interface"))),
        ("interface", |given, _| drop(given.times.insert("interface".into(), some(99, 1)))),
        ("channel-switch", |_, held| drop(held.drills.remove(0))),
        ("channel-switch", |given, _| drop(given.drills.remove("channel-switch"))),
        // Another scenario's drill is no trial of this figure.
        ("warm-standby", |_, held| held.drills[103].begin.scenario = "full-disk".into()),
        ("warm-standby", |given, _| drop(given.left_out.insert("warm-standby".into(), "x".into()))),
        ("request-set", |given, _| drop(given.times.insert("request-set".into(), some(5, 1)))),
    ];
    for (name, change) in all {
        let (mut measured, mut held) = whole();
        change(&mut measured, &mut held);
        let judged = judge(&measured, &held);
        let one = judged.figures.iter().find(|one| one.figure == name).unwrap();
        assert_eq!(one.verdict, Verdict::NotProven, "{name}: {one:?}");
        assert!(!one.reason.is_empty(), "{name}");
    }
}

#[test]
fn what_is_no_figure_or_too_much_is_not_judged() {
    let (mut measured, _) = whole();
    measured.times.insert("users/extra".to_owned(), some(1, 1));
    assert_eq!(check(&measured), Ok(()));
    measured.times.insert("dreams".to_owned(), some(1, 1));
    assert_eq!(check(&measured), Err("a figure that is none"));
    let (mut measured, _) = whole();
    measured.times.insert("interface".to_owned(), some(MAX_TIMES + 1, 1));
    assert_eq!(check(&measured), Err("too much of it"));
}

#[test]
fn times_lie_by_nearest_rank() {
    let lies = distribution("x", &Times { took_us: (1..=200).rev().collect(), ..Times::default() });
    assert_eq!(
        (lies.min_us, lies.median_us, lies.p90_us, lies.p99_us, lies.max_us),
        (1, 100, 180, 198, 200)
    );
    assert_eq!(distribution("x", &Times::default()).cells()[2], "-");
}
