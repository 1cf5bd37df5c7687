//! A backup of a cluster that goes on writing becomes a new cluster, of one node or of three: the
//! same counts, values, audit trail and state hash, and nothing that could be used twice.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cluster::{Cluster, Peer, Restored, begin_from_backup};
use domain::{
    Author, Change, Device, Done, NodeId, Obis, Stamp, assets, audit, commands, keys, leases,
    restore::Plan,
};
use storage::{
    Metrics, Store,
    backup::{Kind, OperatorKey, Origin, Record, Repository},
    snapshot::{Manifest, exported},
};

use crate::support::{Trio, author, concentrator, holds, import_of, ingest, meter, proposal_id};

const SOON: Duration = Duration::from_secs(60);
const METERS: u32 = 8;

async fn propose(node: &Cluster, id: u64, author: Author, change: Change) -> Done {
    let (_, outcome) = node.propose(proposal_id(id), author, change, SOON).await.unwrap();
    outcome.unwrap()
}

fn device(number: u32) -> Device {
    Device::Meter(format!("M{number:08}"))
}

/// Takes a block of counters and a grant of the channel.
async fn use_device(node: &Cluster, id: u64, number: u32) -> (u32, u64) {
    let own = || Author::Node(NodeId(1));
    let reserve = Change::Keys(keys::Change::Reserve { device: device(number), count: 500 });
    let Done::Counters { first, .. } = propose(node, id, own(), reserve).await else {
        panic!("no counters");
    };
    let claim = Change::Leases(leases::Change::Claim {
        device: device(number),
        node: NodeId(1),
        channel: leases::Role::Dial,
        reason: leases::Reason::Login,
    });
    let Done::Lease { epoch } = propose(node, id + 1, own(), claim).await else {
        panic!("no lease");
    };
    (first, epoch)
}

/// Takes a backup as `holdfast backup` does.
async fn take(node: &Cluster, backups: &Repository, id: &str, dir: &Path) -> (Record, Restored) {
    let (manifest, state) = node.export(dir.to_path_buf(), SOON).await.unwrap();
    let mut session = backups.begin(id, Kind::Incremental).unwrap();
    for item in &manifest.items {
        let open = || Ok(Box::new(File::open(exported(dir, &item.name)).unwrap()) as Box<dyn Read>);
        session.add(&item.name, item.octets, &item.hash, open).unwrap();
    }
    let origin = Origin { index: state.index, stamp_micros: state.stamp.0, ..Origin::default() };
    (session.finish(&manifest.encode(), origin).unwrap(), state)
}

/// Brings a backup into the folders of a new cluster's nodes, as `holdfast restore` does.
fn restore(backups: &Repository, record: &Record, root: &Path, peers: &[Peer], plan: &Plan) {
    backups.verify(record, &mut |_| ()).unwrap();
    let manifest = Manifest::decode(&backups.manifest(record).unwrap()).unwrap();
    for peer in peers {
        let config = storage::Config::for_test(root.join(&peer.name));
        let (store, _) = Store::open(&config, 0, &Metrics::unregistered()).unwrap();
        let mut incoming =
            store.snapshots.receive(manifest.clone(), storage::snapshot::Months::Now).unwrap();
        for (item, _) in incoming.missing() {
            let file = record.files.iter().find(|file| file.name == item.name).unwrap();
            let mut offset = 0;
            let mut piece = |piece: &[u8]| {
                incoming.receive(&item.name, offset, piece)?;
                offset += piece.len() as u64;
                Ok(())
            };
            backups.read(record, file, &mut piece).unwrap();
        }
        store.snapshots.install(incoming).unwrap();
        begin_from_backup(&store, peer.id, peers, plan).unwrap();
        let kept: Vec<u64> = store.snapshots.list().iter().map(|one| one.index).collect();
        assert_eq!(kept, [record.origin.index], "only the raised state is left");
        store.stop().unwrap();
    }
}

/// What can be counted and summed of a node.
fn figures(node: &Cluster) -> (assets::Counts, usize, BTreeMap<u32, (usize, i64)>) {
    let view = node.view();
    let audited = audit::records(&view, 0, 100_000).unwrap().len();
    let sums = (0..METERS).map(|ordinal| {
        let values = import_of(node, ordinal, 0, 2_000_000_000);
        (ordinal, (values.len(), values.iter().map(|(_, value)| value).sum()))
    });
    (assets::counts(&view).unwrap(), audited, sums.collect())
}

/// Meters with values, and one open command.
async fn filled() -> Trio {
    let trio = Trio::found(3, |_| {}).await;
    for number in 0..METERS {
        propose(trio.node(0), 10 + u64::from(number), author(), meter(number.into())).await;
        let end_s = 1_790_000_100 / 900 * 900;
        let change = ingest(number, end_s, 96);
        propose(trio.node(1), 50 + u64::from(number), author(), change).await;
    }
    let order = commands::Order::Read {
        attributes: vec![commands::Attribute {
            class: 3,
            obis: Obis([1, 0, 1, 8, 0, 255]),
            attribute: 2,
        }],
    };
    let expires = Stamp(trio.node(0).stamp_now().0 + 3_600_000_000);
    let id = proposal_id(90);
    let target = "M00000000".to_owned();
    let queue = Change::Commands(commands::Change::Queue { id, target, order, expires });
    propose(trio.node(0), 90, author(), queue).await;
    trio
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_becomes_an_equal_cluster_that_uses_nothing_twice() {
    let old = filled().await;
    let place = tempfile::tempdir().unwrap();
    let key = Some(OperatorKey::new([5; 32]));
    let backups = Repository::open(place.path().join("b").to_str().unwrap(), key).unwrap();
    use_device(old.node(0), 200, 0).await;
    // Writes go on while two backups are taken.
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (old.node(2).clone(), stop.clone());
    let load = tokio::spawn(async move {
        let mut number = 10_000;
        while !stopped.load(Ordering::Acquire) {
            propose(&writer, number, author(), concentrator(number)).await;
            number += 1;
        }
        number
    });
    let link = |name: &str| old.folder(0).join("backup").join(name);
    for id in ["1", "2"] {
        let (record, state) = take(old.node(0), &backups, id, &link(id)).await;
        assert_eq!(old.node(0).hash_at(state.index), Some(state.state_hash));
        assert!(record.origin.index > 0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Release);
    let end = load.await.unwrap();
    let (record, state) = take(old.node(1), &backups, "3", &old.folder(1).join("backup/3")).await;
    assert_eq!((record.kind, record.base.as_deref()), (Kind::Incremental, Some("2")));
    let expect = figures(old.node(1));
    assert_eq!(expect.2[&0].0, 96);
    // The old cluster goes on: what it uses now, the new one must not.
    let mut used = (0, 0);
    for round in 0..5 {
        used = use_device(old.node(0), 300 + 2 * round, 0).await;
    }
    let unknown_yet = use_device(old.node(0), 400, 3).await;
    let until = old.node(0).stamp_now();
    let plan = Plan::new(Stamp(record.origin.stamp_micros), until).unwrap();
    let hash = old.node(1).hash_at(state.index).unwrap();
    drop(old);

    for count in [1, 3] {
        let prepare = |root: &Path, peers: &[Peer]| restore(&backups, &record, root, peers, &plan);
        let new = tempfile::tempdir().unwrap();
        let mut new = Trio::found_on(new, count, prepare, |_| {}).await;
        assert_eq!(new.node(0).hash_at(state.index), Some(hash), "the state hash");
        for at in 0..count {
            assert_eq!(figures(new.node(at)), expect, "node {at}");
            assert!(holds(new.node(at), end - 1));
            audit::verify(&new.node(at).view()).unwrap().unwrap();
        }
        let id = proposal_id(90);
        let command = commands::command(&new.node(0).view(), &id).unwrap().unwrap();
        assert_eq!(command.state.name(), "unknown", "an open command is not sent again");
        assert!(commands::open(&new.node(0).view(), 10).unwrap().is_empty());
        let again = use_device(new.node(0), 500, 0).await;
        assert!(again.0 >= used.0 + 500 && again.1 > used.1, "{again:?} after {used:?}");
        let fresh = use_device(new.node(0), 510, 3).await;
        assert!(fresh.0 >= unknown_yet.0 + 500 && fresh.1 > unknown_yet.1, "{fresh:?}");
        // It is a cluster like any other: it writes, restarts and keeps what it has.
        propose(new.node(count - 1), 600, author(), concentrator(77)).await;
        for at in 0..count {
            new.stop(at).await;
        }
        for at in 0..count {
            new.start(at).await;
        }
        new.leader().await;
        let index = new.settled().await;
        new.same_hash(index);
        assert!(holds(new.node(0), 77));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_restore_of_one_backup_is_above_the_first() {
    let old = filled().await;
    use_device(old.node(0), 200, 0).await;
    let place = tempfile::tempdir().unwrap();
    let backups = Repository::open(place.path().join("b").to_str().unwrap(), None).unwrap();
    let (record, _) = take(old.node(0), &backups, "1", &old.folder(0).join("backup/1")).await;
    let taken = Stamp(record.origin.stamp_micros);
    drop(old);
    let mut used = (0, 0);
    for hours in [1, 2] {
        let now = Stamp(taken.0 + hours * 3_600_000_000);
        let plan = Plan::new(taken, now).unwrap();
        let prepare = |root: &Path, peers: &[Peer]| restore(&backups, &record, root, peers, &plan);
        let new = Trio::found_on(tempfile::tempdir().unwrap(), 1, prepare, |_| {}).await;
        for round in 0..20 {
            let next = use_device(new.node(0), 300 + 2 * round, 0).await;
            assert!(next.0 >= used.0 + 500 && next.1 > used.1, "{next:?} after {used:?}");
            used = next;
        }
    }
}
