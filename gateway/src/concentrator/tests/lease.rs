//! Who is active: claims, promotions, losses and suspensions.

use std::time::Duration;

use domain::commands::Failure;

use super::{Bench, admission, check, granted, held};
use crate::Notice;
use crate::error::Denied;

#[test]
fn the_lease_decides_who_is_active() {
    let stepped_back: &[&str] = &["standby true", "role standby"];
    check(&[
        ("held at login", Bench::claiming, |b| b.claimed(held()), stepped_back),
        ("promote", Bench::standby, Bench::promote, &["claim Promoted", "role login"]),
        (
            "the owner is lost",
            Bench::standby,
            |b| b.notice(Notice::OwnerLost),
            &["claim OwnerLost", "role login"],
        ),
        (
            "an operator's wish",
            Bench::standby,
            |b| b.notice(Notice::Switch),
            &["claim Ordered", "role login"],
        ),
        (
            "promote is granted",
            Bench::standby,
            |b| {
                b.promote();
                b.claimed(granted(4));
                b.reserve()
            },
            &["roster", "role active 4", "switched Promoted"],
        ),
        (
            "promote is held",
            Bench::standby,
            |b| {
                b.promote();
                b.claimed(held())
            },
            stepped_back,
        ),
        (
            "promote during a claim that is held",
            Bench::claiming,
            |b| {
                assert!(b.promote().is_empty());
                b.claimed(held())
            },
            &["claim Promoted", "role login"],
        ),
        (
            "a wish does not displace a promote",
            Bench::claiming,
            |b| {
                b.promote();
                b.notice(Notice::OwnerLost);
                b.claimed(held())
            },
            &["claim Promoted", "role login"],
        ),
        (
            "a newer lease elsewhere",
            Bench::active,
            |b| b.notice(Notice::LeaseMoved { epoch: 2 }),
            stepped_back,
        ),
        (
            "a newer lease elsewhere while activating",
            Bench::activating,
            |b| b.notice(Notice::LeaseMoved { epoch: 2 }),
            stepped_back,
        ),
        ("its own lease", Bench::active, |b| b.notice(Notice::LeaseMoved { epoch: 1 }), &[]),
        ("owner lost when active", Bench::active, |b| b.notice(Notice::OwnerLost), &[]),
        ("promote when active", Bench::active, Bench::promote, &[]),
        ("a switch when active", Bench::active, |b| b.notice(Notice::Switch), &[]),
        (
            "no lease moves a standby",
            Bench::standby,
            |b| b.notice(Notice::LeaseMoved { epoch: 9 }),
            &[],
        ),
        (
            "a stale epoch in an answer",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.stored(Err(Denied::refused("stale_epoch")))
            },
            stepped_back,
        ),
        (
            "an older channel of the same concentrator keeps nothing and gives nothing back",
            Bench::active,
            |b| {
                b.session.supersede();
                b.turn()
            },
            &["closed superseded"],
        ),
        (
            "a drill breaks it off",
            Bench::active,
            |b| b.notice(Notice::Cut),
            &["release 1", "closed drilled"],
        ),
        (
            "the cluster refuses the claim",
            Bench::claiming,
            |b| b.claimed(Err(Denied::refused("unknown_device"))),
            &["standby false", "closed cluster_refused"],
        ),
    ]);
}

#[test]
fn a_node_that_may_not_act_owns_nothing() {
    check(&[
        ("active", Bench::active, Bench::suspend, &["standby true", "role standby"]),
        ("activating", Bench::activating, Bench::suspend, &["standby true", "role standby"]),
        ("standby", Bench::standby, Bench::suspend, &[]),
        (
            "a claim that is granted after all",
            Bench::claiming,
            |b| {
                assert!(b.suspend().is_empty());
                b.claimed(granted(3))
            },
            &["release 3", "standby true", "role standby"],
        ),
        (
            "wishes wait",
            Bench::standby,
            |b| {
                b.suspend();
                [b.promote(), b.notice(Notice::OwnerLost), b.notice(Notice::Switch)].concat()
            },
            &[],
        ),
        (
            "a login stays a standby and claims later",
            Bench::new,
            |b| {
                b.suspend();
                b.identify();
                b.admit(Ok(admission(0)));
                assert_eq!(b.reserve(), ["standby true", "proven", "role standby"]);
                b.resume()
            },
            &["claim Login", "role login"],
        ),
        (
            "a promote is asked politely later",
            Bench::standby,
            |b| {
                b.suspend();
                b.promote();
                b.resume()
            },
            &["claim OwnerLost", "role login"],
        ),
        (
            "a standby stays one",
            Bench::standby,
            |b| {
                b.suspend();
                b.resume()
            },
            &[],
        ),
        (
            "heartbeats keep a suspended channel",
            Bench::active,
            |b| {
                b.suspend();
                b.wait(Duration::from_secs(60));
                b.heartbeat();
                b.wait(Duration::from_secs(60));
                b.push(5, &["M1"])
            },
            &["refused unexpected"],
        ),
    ]);
}

#[test]
fn after_a_suspension_the_channel_is_active_again_under_a_new_epoch() {
    let mut bench = Bench::active();
    let mut answer = bench.order();
    bench.turn();
    bench.push(5, &["M1"]);
    bench.suspend();
    assert!(matches!(answer.try_recv(), Ok(Err(Failure::ChannelLost))));
    let mut late = bench.order();
    assert!(matches!(late.try_recv(), Ok(Err(Failure::NoChannel))));
    assert!(bench.stored(Ok(1)).is_empty(), "nothing is acknowledged without a licence");
    assert_eq!(bench.resume(), ["claim OwnerLost", "role login"]);
    assert_eq!(bench.claimed(granted(2)), ["reserve"]);
    assert_eq!(bench.reserve(), ["roster", "role active 2", "switched OwnerLost"]);
    assert_eq!(bench.push(5, &["M1"]), ["ingest 5: 1"], "it comes again");
    assert_eq!(bench.stored(Ok(1)), ["acknowledged 5"]);
    assert_eq!(bench.suspend(), ["standby true", "role standby"], "and again");
}

#[test]
fn a_step_back_forgets_the_pushes_that_wait() {
    let mut bench = Bench::active();
    bench.push(5, &["M3"]);
    assert_eq!(bench.notice(Notice::LeaseMoved { epoch: 2 }), ["standby true", "role standby"]);
    assert!(bench.wait(Duration::from_secs(10)).is_empty());
}

/// What the concentrator says of the address it dialled counts, whatever the reason of the claim.
#[test]
fn the_address_that_was_dialled_is_claimed() {
    let cases: [(Option<u8>, &str, &str); 3] = [
        (None, "claim Login", "claim Promoted"),
        (Some(1), "claim Login", "claim Promoted, of the other address"),
        (Some(2), "claim Login, of the other address", "claim Promoted"),
    ];
    for (address, login, promoted) in cases {
        let mut bench = Bench::new();
        bench.identify_at(address);
        bench.admit(Ok(admission(0)));
        assert_eq!(bench.reserve(), [login, "proven", "role login"]);
        bench.claimed(held());
        assert_eq!(bench.promote(), [promoted, "role login"]);
    }
}

#[test]
fn a_main_channel_that_stands_again_asks_for_its_place() {
    let mut bench = Bench::standby();
    assert_eq!(bench.notice(Notice::Return), ["claim Returned", "role login"]);
    assert_eq!(bench.claimed(held()), ["standby true", "role standby"], "too early");
    bench.notice(Notice::Return);
    bench.claimed(granted(7));
    assert_eq!(bench.reserve(), ["roster", "role active 7", "switched Returned"]);
}
