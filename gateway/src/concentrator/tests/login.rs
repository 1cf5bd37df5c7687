//! The login: a counter that is too low, and strangers.

use std::sync::Arc;
use std::time::Duration;

use cosem::association::AcceptedCounters;

use super::{Bench, admission, check, granted};
use crate::concentrator::strangers::Strangers;
use crate::error::Denied;

#[test]
fn a_counter_that_is_too_low_is_raised_once() {
    check(&[
        ("raised", Bench::raising, |b| b.raised(Ok(())), &["reserve"]),
        (
            "a block from there on is taken",
            Bench::raising,
            |b| {
                b.raised(Ok(()));
                b.counters = 501;
                b.reserve()
            },
            &["claim Login", "proven", "role login"],
        ),
        (
            "a second refusal is the end",
            Bench::raising,
            |b| {
                b.raised(Ok(()));
                b.reserve()
            },
            &["closed association_rejected"],
        ),
        (
            "the cluster refuses to raise",
            Bench::raising,
            |b| b.raised(Err(Denied::refused("counter_exhausted"))),
            &["closed cluster_refused"],
        ),
        (
            "the cluster raises too late",
            Bench::raising,
            |b| b.wait(Duration::from_secs(5)),
            &["closed login_late"],
        ),
    ]);
}

#[test]
fn a_stranger_costs_one_wait_however_often_its_concentrator_comes_back() {
    let strangers: Arc<Strangers> = Arc::default();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut bench = Bench::with(Arc::clone(&strangers), AcceptedCounters::default());
        // The second login comes when the first has waited enough.
        bench.now += Duration::from_secs(3) * u32::try_from(seen.len()).unwrap();
        bench.identify();
        bench.admit(Ok(admission(0)));
        bench.reserve();
        bench.claimed(granted(1));
        bench.reserve();
        bench.roster(&["M1"]);
        seen.push(bench.push(5, &["M1", "M3"]));
    }
    let expect: [&[&str]; 2] = [&[], &["ingest 5: 1", "dropped 1"]];
    assert_eq!(seen, expect, "the concentrator may have lost patience before us");
}
