//! Sealed values on three nodes: equal files, months folded by the log, a flipped byte healed.

use std::{fs, time::Duration};

use cluster::Verb;
use domain::{Change, Done, readings};
use storage::segment::Row;

use crate::support::{
    Trio, author, concentrator, counted, import_of, ingest, meter, proposal_id, until,
};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_its_month_files_after_its_vote() {
    let mut trio = Trio::found(1, |config| {
        config.snapshot_entries = 100;
        config.keep_entries = 20;
    })
    .await;
    let (_, done) = propose(&trio, 0, 1, meter(1)).await;
    let Done::Meter { ordinal } = done else { panic!("{done:?}") };
    let day = i32::try_from(trio.node(0).stamp_now().seconds() / DAY_S - 80).unwrap();
    let noon_s = i64::from(day) * DAY_S + DAY_S / 2;
    propose(&trio, 0, 2, ingest(ordinal, noon_s, 40)).await;
    let seal = readings::Seal { interval_minutes: 15, shard: 0, day, recipe: readings::RECIPE };
    propose(&trio, 0, 3, Change::Readings(readings::Change::Seal(seal))).await;
    trio.node(0).readings().settle(SOON).unwrap();
    let due = readings::due_compactions(&trio.node(0).view(), trio.node(0).stamp_now()).unwrap();
    propose(&trio, 0, 4, Change::Readings(readings::Change::Compact(due[0]))).await;
    trio.node(0).readings().settle(SOON).unwrap();
    // So many entries that the newcomer needs a snapshot.
    for number in 0..150 {
        propose(&trio, 0, 100 + number, concentrator(number)).await;
    }
    let built = || counted(&trio.registries[0], "holdfast_cluster_snapshots_total", "built");
    until("a snapshot is built", SOON, || built() >= 1.0).await;
    let at = trio.newcomer().await;
    trio.wish(0, Verb::Add(trio.described(at))).await.unwrap();
    let name = trio.configs[at].name.clone();
    trio.caught_up(&name).await;
    trio.wish(0, Verb::Promote(name)).await.unwrap();
    let healed = || counted(&trio.registries[at], "holdfast_storage_segment_heals_total", "");
    until("the month has come", SOON, || healed() >= 1.0).await;
    assert!(trio.node(at).readings().damaged().is_empty());
    let values = |at: usize| import_of(trio.node(at), ordinal, noon_s - DAY_S, noon_s);
    assert_eq!((values(at).len(), values(at)), (40, values(0)));
    let hash = |at: usize| trio.node(at).readings().entries()[0].file_hash;
    assert_eq!(hash(at), hash(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_content_differs_is_outvoted_and_healed() {
    let trio = Trio::found(3, |_| {}).await;
    let (_, done) = propose(&trio, 0, 1, meter(1)).await;
    let Done::Meter { ordinal } = done else { panic!("{done:?}") };
    let day = i32::try_from(trio.node(0).stamp_now().seconds() / DAY_S - 3).unwrap();
    let noon_s = i64::from(day) * DAY_S + DAY_S / 2;
    let (index, _) = propose(&trio, 0, 2, ingest(ordinal, noon_s, 40)).await;
    trio.settled().await;
    // What a flipped bit in the memory of one node would do: a value that no entry brought.
    let column = [1, 0, 1, 8, 0, 255];
    let row = Row { ordinal, end_s: noon_s + 900, flag: 0, values: &[Some(5)] };
    trio.node(2).readings().merge(index, 15, &[column], &[row]).unwrap();
    let seal = readings::Seal { interval_minutes: 15, shard: 0, day, recipe: readings::RECIPE };
    propose(&trio, 1, 3, Change::Readings(readings::Change::Seal(seal))).await;
    trio.settled().await;
    let hash = |at: usize| trio.node(at).readings().entries().first().map(|e| e.content_hash);
    let equal = || hash(0).is_some() && hash(0) == hash(1) && hash(1) == hash(2);
    let sound = || trio.node(2).readings().damaged().is_empty();
    until("the minority is healed", SOON, || equal() && sound()).await;
    let healed = || counted(&trio.registries[2], "holdfast_storage_segment_heals_total", "");
    assert!(healed() >= 1.0, "it was equal from the beginning: nothing was tested");
    for at in 0..3 {
        assert_eq!(import_of(trio.node(at), ordinal, noon_s - DAY_S, noon_s + 1000).len(), 40);
    }
}
