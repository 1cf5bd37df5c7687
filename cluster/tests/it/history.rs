//! Sealed values on three nodes: equal files, months folded by the log, a flipped byte healed.

use std::{fs, time::Duration};

use domain::{Change, Done, readings};

use crate::support::{Trio, author, import_of, ingest, meter, proposal_id, until};

const SOON: Duration = Duration::from_secs(60);
const DAY_S: i64 = 86_400;

async fn propose(trio: &Trio, at: usize, id: u64, change: Change) -> (u64, Done) {
    let answer = trio.node(at).propose(proposal_id(id), author(), change, SOON).await;
    let (index, outcome) = answer.unwrap();
    (index, outcome.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_healed_from_a_peer_and_months_are_equal() {
    let trio = Trio::found(3, |_| {}).await;
    let (_, done) = propose(&trio, 0, 1, meter(1)).await;
    let Done::Meter { ordinal } = done else { panic!("{done:?}") };
    // A noon 80 days ago: its month has been over for more than 35 days.
    let day = i32::try_from(trio.node(0).stamp_now().seconds() / DAY_S - 80).unwrap();
    let noon_s = i64::from(day) * DAY_S + DAY_S / 2;
    propose(&trio, 0, 2, ingest(ordinal, noon_s, 40)).await;
    let (interval_minutes, shard) = (15, 0);
    let seal = readings::Seal { interval_minutes, shard, day, recipe: readings::RECIPE };
    let (sealed, _) = propose(&trio, 1, 3, Change::Readings(readings::Change::Seal(seal))).await;
    trio.settled().await;
    let values = |at: usize| import_of(trio.node(at), ordinal, noon_s - DAY_S, noon_s);
    let expect = values(0);
    assert_eq!(expect.len(), 40);
    let settle = || (0..3).for_each(|at| trio.node(at).readings().settle(SOON).unwrap());
    settle();
    let name = trio.node(2).readings().entries()[0].name();
    let path = trio.folder(2).join("segments/g0").join(name);
    let sound = fs::read(&path).unwrap();
    let mut spoilt = sound.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 0x10;
    fs::write(&path, &spoilt).unwrap();
    // The scrubber finds it, the healer fetches it, and the range is served again.
    let healed = || fs::read(&path).is_ok_and(|octets| octets == sound);
    until("the file is healed", Duration::from_secs(60), healed).await;
    let served = || trio.node(2).readings().damaged().is_empty();
    until("the range is served", SOON, served).await;
    assert_eq!(values(2), expect);
    let due = readings::due_compactions(&trio.node(1).view(), trio.node(1).stamp_now()).unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].up_to_index, sealed);
    propose(&trio, 1, 4, Change::Readings(readings::Change::Compact(due[0]))).await;
    trio.settled().await;
    settle();
    let files = |at: usize| {
        let entries = trio.node(at).readings().entries();
        entries.iter().map(|entry| (entry.name(), entry.file_hash)).collect::<Vec<_>>()
    };
    assert_eq!(files(0).len(), 1);
    for at in 0..3 {
        assert_eq!((values(at), files(at)), (expect.clone(), files(0)));
        assert_eq!(trio.node(at).readings().digest(), trio.node(0).readings().digest());
    }
}
