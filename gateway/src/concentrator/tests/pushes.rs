//! Pushes: taken in order, once, on the active channel, and after a step back not at all.

use std::time::Duration;

use super::{Bench, Mood, check};
use crate::Notice;
use crate::error::Denied;

#[test]
fn pushes_are_taken_in_order_on_the_active_channel_only() {
    check(&[
        (
            "stored and acknowledged",
            Bench::active,
            |b| {
                assert_eq!(b.push(5, &["M1", "M2"]), ["ingest 5: 2"]);
                b.stored(Ok(2))
            },
            &["acknowledged 5"],
        ),
        ("a push on the standby", Bench::standby, |b| b.push(5, &["M1"]), &["refused unexpected"]),
        (
            "a gap in the sequence",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.push(7, &["M1"])
            },
            &["release 1", "closed sequence_gap"],
        ),
        (
            "a jump upwards before the first push of an activation is none",
            Bench::active,
            |b| b.push(700, &["M1"]),
            &["ingest 700: 1"],
        ),
        (
            "a push again, before it is stored",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.push(5, &["M1"])
            },
            &["duplicate"],
        ),
        (
            "a push again, after it is acknowledged",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.stored(Ok(1));
                b.push(5, &["M1"])
            },
            &["duplicate", "acknowledged 5"],
        ),
        (
            "the concentrator takes no acknowledgement",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.mood = Mood::Refuses;
                b.stored(Ok(1))
            },
            &["release 1", "acknowledged 5", "closed activation_refused"],
        ),
        (
            "a replayed frame changes nothing",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                let frame = b.last_frame.clone();
                b.session.handle_bytes(b.now, &frame);
                b.turn()
            },
            &["refused replayed"],
        ),
        (
            "a heartbeat after a replayed frame is heard",
            Bench::standby,
            |b| {
                b.heartbeat();
                let frame = b.last_frame.clone();
                b.session.handle_bytes(b.now, &frame);
                b.turn();
                b.heartbeat()
            },
            &[],
        ),
    ]);
}

#[test]
fn own_events_stand_in_the_sequence_of_pushes() {
    check(&[
        (
            "stored, then acknowledged",
            Bench::active,
            |b| {
                assert_eq!(b.report(5, 3), ["report 5: [3]"]);
                b.reported(Ok(()))
            },
            &["acknowledged 5"],
        ),
        (
            "not acknowledged before the push in front",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.report(6, 3);
                assert!(b.reported(Ok(())).is_empty());
                b.stored(Ok(1))
            },
            &["acknowledged 6"],
        ),
        (
            "again, after it is acknowledged",
            Bench::active,
            |b| {
                b.report(5, 3);
                b.reported(Ok(()));
                b.report(5, 3)
            },
            &["duplicate", "acknowledged 5"],
        ),
        ("on the standby", Bench::standby, |b| b.report(5, 3), &["refused unexpected"]),
        (
            "a gap",
            Bench::active,
            |b| {
                b.report(5, 3);
                b.report(7, 3)
            },
            &["release 1", "closed sequence_gap"],
        ),
        (
            "refused for good, it holds back nothing",
            Bench::active,
            |b| {
                b.report(5, 0);
                b.reported(Err(Denied::refused("bad_event")))
            },
            &["part refused bad_event", "acknowledged 5"],
        ),
        (
            "without a time it is refused and holds back nothing",
            Bench::active,
            |b| {
                assert_eq!(b.report_at(None, 5, 3), ["part refused malformed", "acknowledged 5"]);
                b.report(6, 3);
                b.reported(Ok(()))
            },
            &["acknowledged 6"],
        ),
        (
            "no cluster",
            Bench::active,
            |b| {
                b.report(5, 3);
                b.reported(Err(Denied::Unavailable))
            },
            &["release 1", "closed cluster_unavailable"],
        ),
    ]);
}

#[test]
fn a_meter_that_is_registered_in_time_loses_nothing() {
    let mut bench = Bench::active();
    assert!(bench.push(5, &["M1", "M3"]).is_empty(), "held: the roster was asked just now");
    assert_eq!(bench.push(6, &["M1"]), ["ingest 6: 1"], "the others are not held");
    assert!(bench.stored(Ok(1)).is_empty(), "not acknowledged before the one in front");
    assert_eq!(bench.wait(Duration::from_millis(1_500)), ["roster"]);
    assert!(bench.roster(&["M1", "M2"]).is_empty());
    assert_eq!(bench.wait(Duration::from_millis(500)), ["roster"], "once a second");
    assert_eq!(bench.roster(&["M1", "M2", "M3"]), ["ingest 5: 2"]);
    assert_eq!(bench.stored(Ok(2)), ["acknowledged 6"]);
}

#[test]
fn a_stranger_is_waited_for_once_and_then_dropped_and_counted() {
    let mut bench = Bench::active();
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.push(5, &["M1", "M3"]), ["roster"], "held, and asked at once");
    for _ in 0..2 {
        assert!(bench.roster(&["M1", "M2"]).is_empty());
        assert_eq!(bench.wait(Duration::from_secs(1)), ["roster"]);
    }
    bench.roster(&["M1", "M2"]);
    assert_eq!(bench.wait(Duration::from_secs(1)), ["roster"], "a last look at the end");
    assert_eq!(bench.roster(&["M1", "M2"]), ["ingest 5: 1", "dropped 1"]);
    assert_eq!(bench.stored(Ok(1)), ["acknowledged 5"]);
    assert_eq!(bench.push(6, &["M1", "M3"]), ["ingest 6: 1", "dropped 1"], "not held again");
    bench.stored(Ok(1));
    assert_eq!(bench.notice(Notice::MetersChanged), ["roster"]);
    assert!(bench.push(7, &["M3"]).is_empty(), "the roster under way is waited for");
    assert_eq!(bench.roster(&["M1", "M2", "M3"]), ["ingest 7: 1"]);
}

#[test]
fn a_change_of_meters_while_the_roster_is_asked_is_not_missed() {
    let mut bench = Bench::active();
    assert_eq!(bench.notice(Notice::MetersChanged), ["roster"]);
    assert!(bench.notice(Notice::MetersChanged).is_empty());
    assert_eq!(bench.roster(&["M1"]), ["roster"], "the first answer may be too old");
    assert!(bench.push(5, &["M9"]).is_empty());
    assert_eq!(bench.roster(&["M9"]), ["ingest 5: 1"]);
}
