//! Three nodes in one process over real QUIC and real files.

use std::{collections::BTreeSet, time::Duration};

use cluster::{Unavailable, Woken};
use domain::{Done, Effect};
use tokio::task::JoinSet;

use crate::support::{
    Authority, Trio, author, concentrator, counted, holds, import_of, ingest, leads, meter, open,
    other, peers, port_is_free, proposal_id, until,
};

const SOON: Duration = Duration::from_secs(60);

/// Proposes numbers on a node, many at once; panics unless every one is answered "done".
async fn write(trio: &Trio, at: usize, numbers: std::ops::Range<u64>) {
    let mut tasks = JoinSet::new();
    for number in numbers {
        let node = trio.node(at).clone();
        tasks.spawn(async move {
            node.propose(proposal_id(number), author(), concentrator(number), SOON).await
        });
    }
    while let Some(answer) = tasks.join_next().await {
        let (_, outcome) = answer.unwrap().unwrap();
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_writes_once_and_all_agree() {
    let trio = Trio::found(3, |_| {}).await;
    let mut effects = trio.node(0).effects();
    for at in 0..3 {
        let from = at as u64 * 100;
        write(&trio, at, from..from + 50).await;
    }
    // The same id again, on every node: the first outcome, and nothing new.
    let change = || concentrator(7);
    for at in 0..3 {
        let (_, outcome) =
            trio.node(at).propose(proposal_id(7), author(), change(), SOON).await.unwrap();
        assert_eq!(outcome, Ok(Done::Noted));
    }
    // Another id and other content for the same thing: refused by rule, on every node alike.
    let mut conflicting = change();
    if let domain::Change::Assets(domain::assets::Change::RegisterConcentrator { name, .. }) =
        &mut conflicting
    {
        *name = "another name".to_owned();
    }
    let (_, outcome) =
        trio.node(1).propose(proposal_id(5_000), author(), conflicting, SOON).await.unwrap();
    assert_eq!(outcome.unwrap_err().code, "concentrator_exists");
    // What was acknowledged is visible to a linearizable read anywhere.
    for at in 0..3 {
        let view = trio.node(at).linearizable(SOON).await.unwrap();
        assert!(domain::assets::concentrator(&view, "HFDTST0000000249").unwrap().is_some());
    }
    let index = trio.settled().await;
    trio.same_hash(index);
    let statuses: Vec<_> = (0..3).map(|at| trio.node(at).status()).collect();
    assert!(statuses.iter().all(|status| status.applied_index == index));
    assert!(statuses.iter().all(|status| status.state_hash == statuses[0].state_hash));
    assert!(statuses.iter().all(|status| status.nodes.iter().all(|node| node.reachable)));
    let mut registered = BTreeSet::new();
    while registered.len() < 150 {
        let woken = tokio::time::timeout(SOON, effects.next()).await.unwrap().unwrap();
        match woken {
            Woken::Effect { effect: Effect::ConcentratorRegistered { id }, .. } => {
                assert!(registered.insert(id), "an effect came twice");
            }
            Woken::Effect { .. } => {}
            Woken::Lagged(missed) => panic!("lagged by {missed}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_is_replaced_and_catches_up_when_it_is_back() {
    let mut trio = Trio::found(3, |_| {}).await;
    write(&trio, 0, 0..50).await;
    let lost = trio.leader().await;
    // No orderly stop: consensus and links end at once, as far as one process can show it.
    let gone = trio.nodes[lost].take().unwrap();
    gone.halt().await;
    drop(gone);
    write(&trio, other(lost), 50..100).await;
    let next = trio.leader().await;
    assert_ne!(next, lost);
    trio.start(lost).await;
    write(&trio, lost, 100..150).await;
    let index = trio.settled().await;
    trio.same_hash(index);
    assert!((0..150).all(|number| holds(trio.node(lost), number)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_an_orderly_stop_is_smooth() {
    let mut trio = Trio::found(3, |_| {}).await;
    write(&trio, 0, 0..10).await;
    let first = trio.leader().await;
    assert!(trio.node(first).transfer_leader().await);
    let second = trio.leader().await;
    assert_ne!(first, second);
    trio.stop(second).await;
    write(&trio, first, 10..20).await;
    trio.start(second).await;
    let index = trio.settled().await;
    trio.same_hash(index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_killed_at_once_keep_every_acknowledged_entry() {
    let mut trio = Trio::found(3, |_| {}).await;
    for round in 0..3_u64 {
        write(&trio, 0, round * 100..round * 100 + 60).await;
        for at in 0..3 {
            let node = trio.nodes[at].take().unwrap();
            node.halt().await;
        }
        for at in 0..3 {
            trio.start(at).await;
        }
        trio.leader().await;
        trio.node(1).linearizable(SOON).await.unwrap();
        let kept = |number| holds(trio.node(1), number);
        assert!((0..=round).all(|round| (round * 100..round * 100 + 60).all(kept)));
    }
    let index = trio.settled().await;
    trio.same_hash(index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_node_is_healed_by_a_snapshot_under_load() {
    let mut trio = Trio::found(3, |config| {
        config.snapshot_entries = 100;
        config.keep_entries = 20;
    })
    .await;
    write(&trio, 0, 0..30).await;
    let lagging = other(trio.leader().await);
    trio.stop(lagging).await;
    let leader = trio.leader().await;
    for round in 0..6 {
        write(&trio, leader, 1_000 + round * 100..1_100 + round * 100).await;
    }
    trio.start(lagging).await;
    // Load goes on while the snapshot is sent and installed.
    write(&trio, leader, 2_000..2_200).await;
    let registry = trio.registries[lagging].clone();
    let installed = || counted(&registry, "holdfast_cluster_snapshots_total", "installed");
    until("a snapshot is installed", SOON, || installed() >= 1.0).await;
    let index = trio.settled().await;
    trio.same_hash(index);
    let node = trio.node(lagging);
    assert!((0..30).chain(1_000..1_600).chain(2_000..2_200).all(|number| holds(node, number)));
    // It stays a full member: it survives a restart and can lead.
    trio.stop(lagging).await;
    trio.start(lagging).await;
    write(&trio, lagging, 3_000..3_010).await;
    let index = trio.settled().await;
    trio.same_hash(index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_join() {
    let mut trio = Trio::found(3, |_| {}).await;
    let at = other(trio.leader().await);
    trio.stop(at).await;
    // The same place in the cluster, with a certificate of another authority and an empty disk.
    let stranger = Authority::new().identity_trusting(at as u64 + 1, &trio.authority);
    port_is_free(trio.configs[at].listen).await;
    let registry = prometheus::Registry::new();
    let dir = tempfile::tempdir().unwrap();
    let joined = open(dir.path(), trio.configs[at].clone(), &stranger, &registry).await;
    let refused = || -> f64 {
        let others = (0..3).filter(|node| *node != at);
        let name = "holdfast_cluster_peers_refused_total";
        others.map(|node| counted(&trio.registries[node], name, "foreign_authority")).sum()
    };
    until("the stranger is refused", SOON, || refused() >= 2.0).await;
    write(&trio, trio.leader().await, 0..20).await;
    assert_eq!(joined.status().applied_index, 0);
    assert!(joined.status().leader.is_none());
    let alone =
        joined.propose(proposal_id(9), author(), concentrator(9), Duration::from_millis(300)).await;
    assert_eq!(alone, Err(Unavailable::NoLeader));
    joined.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_answers_unavailable_and_never_founds_a_cluster() {
    let mut trio = Trio::found(3, |_| {}).await;
    write(&trio, 0, 0..10).await;
    trio.stop(1).await;
    trio.stop(2).await;
    let alone = trio.node(0);
    let limit = Duration::from_millis(800);
    let answer = alone.propose(proposal_id(77), author(), concentrator(77), limit).await;
    assert!(matches!(answer, Err(Unavailable::NoLeader | Unavailable::Deadline)), "{answer:?}");
    assert!(alone.linearizable(limit).await.is_err());
    // Two lost disks: they find an initialised third node and wait for it.
    std::fs::remove_dir_all(trio.folder(1)).unwrap();
    std::fs::remove_dir_all(trio.folder(2)).unwrap();
    trio.start(1).await;
    trio.start(2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let founded = (1..3).any(|at| leads(trio.node(at)));
    assert!(!founded, "nodes without data must not found a cluster that forgot everything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_configurations_and_used_ports_are_told() {
    let trio = Trio::found(1, |_| {}).await;
    write(&trio, 0, 0..10).await;
    let mut config = cluster::Config::for_test(1, peers(&[1, 2, 3]));
    config.heartbeat_ms = 0;
    config.idle_ms = 9_999;
    config.name = "other".to_owned();
    assert!(config.validate().len() >= 3, "{:?}", config.validate());
    let dir = tempfile::tempdir().unwrap();
    let settings = storage::Config::for_test(dir.path());
    let metrics = storage::Metrics::unregistered();
    let (store, opening) = storage::Store::open(&settings, 0, &metrics).unwrap();
    let opened = cluster::Cluster::open(
        trio.configs[0].clone(),
        &trio.authority.identity(1),
        store,
        &opening,
        &prometheus::Registry::new(),
    )
    .await;
    assert!(matches!(opened, Err(cluster::OpenError::Listen { .. })), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_survive_crashes_restarts_and_snapshots_on_every_node() {
    let mut trio = Trio::found(3, |config| config.keep_entries = 5).await;
    let (_, outcome) =
        trio.node(0).propose(proposal_id(1), author(), meter(1), SOON).await.unwrap();
    let Ok(Done::Meter { ordinal }) = outcome else { panic!("{outcome:?}") };
    // Ends on a quarter hour yesterday, so that no slot is in the future.
    let end_s = (trio.node(0).stamp_now().seconds() / 86_400 - 1) * 86_400 + 43_200;
    let day = |trio: &Trio, at: usize| import_of(trio.node(at), ordinal, end_s - 86_400, end_s);
    let expected: Vec<_> = (0..48).map(|slot| end_s - (47 - slot) * 900).collect();
    let expected: Vec<_> = expected.into_iter().map(|end| (end, end / 900)).collect();
    // The same rows twice under two ids, in two halves.
    for (id, slots) in [(2, 24), (3, 48)] {
        let change = ingest(ordinal, end_s - (48 - slots) * 900, slots);
        let at = usize::from(id == 3);
        let answer = trio.node(at).propose(proposal_id(id), author(), change, SOON).await;
        let (_, outcome) = answer.unwrap();
        assert!(
            matches!(outcome, Ok(Done::Ingested(ref parts)) if parts[0].is_ok()),
            "{outcome:?}"
        );
    }
    trio.settled().await;
    (0..3).for_each(|at| assert_eq!(day(&trio, at), expected, "node {at}"));
    // A crash: the open days were only in memory, their markers bring them back from the log.
    for at in 0..3 {
        trio.nodes[at].take().unwrap().halt().await;
    }
    for at in 0..3 {
        trio.start(at).await;
    }
    trio.leader().await;
    trio.node(2).linearizable(SOON).await.unwrap();
    (0..3).for_each(|at| assert_eq!(day(&trio, at), expected, "node {at} after a crash"));
    // A snapshot takes the open days over; then one node loses its disk and gets all from it.
    for at in 0..3 {
        trio.node(at).snapshot().await;
    }
    for at in 0..3 {
        let registry = trio.registries[at].clone();
        let built = || counted(&registry, "holdfast_cluster_snapshots_total", "built");
        until("a snapshot is built", SOON, || built() >= 1.0).await;
    }
    write(&trio, 0, 100..150).await;
    let lost = other(trio.leader().await);
    trio.stop(lost).await;
    std::fs::remove_dir_all(trio.folder(lost)).unwrap();
    trio.start(lost).await;
    write(&trio, 0, 200..220).await;
    let index = trio.settled().await;
    trio.same_hash(index);
    assert_eq!(day(&trio, lost), expected, "the node that lost its disk");
}

/// More is asked than can be applied, by askers who give up and ask again: the log takes no more
/// than what is soon applied, and the leases of the nodes are renewed all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_impatient_askers_leaves_no_backlog() {
    /// Entries that a leader takes ahead of what it has applied, and some renewals.
    const AHEAD: u64 = 1024 + 64;
    let trio = Trio::found(3, |config| config.max_in_flight = 4096).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(6);
    let mut askers = JoinSet::new();
    for number in 0..6_000_u64 {
        let node = trio.node(number as usize % 3).clone();
        askers.spawn(async move {
            let mut turn = 0;
            while tokio::time::Instant::now() < end {
                turn += 1;
                let id = proposal_id(number * 10_000 + turn);
                let patience = Duration::from_millis(150);
                let _given_up = node.propose(id, author(), concentrator(number), patience).await;
            }
        });
    }
    let (mut renewed, mut asked) = (0, 0);
    while tokio::time::Instant::now() < end {
        for at in 0..3 {
            let status = trio.node(at).status();
            if status.role == cluster::Role::Leader {
                let ahead = status.commit_index.saturating_sub(status.applied_index);
                assert!(ahead <= AHEAD, "{ahead} entries are committed and not applied");
            }
            let node = domain::NodeId(at as u64 + 1);
            let change = domain::leases::Change::Renew { node, ttl_ms: 3000 };
            let change = domain::Change::Leases(change);
            let id = proposal_id((1 << 50) + asked);
            asked += 1;
            let patience = Duration::from_millis(2_500);
            let told = trio.node(at).propose(id, domain::Author::Node(node), change, patience);
            renewed += u64::from(told.await.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while askers.join_next().await.is_some() {}
    // A machine that stands still for a while costs one or another; a log that takes whatever is
    // asked costs nearly all.
    let enough = asked > 3 && renewed * 5 >= asked * 4;
    assert!(enough, "{renewed} of {asked} renewals within their lease");
    // What comes behind the flood is served at once.
    let last = trio.node(1).propose(proposal_id(1 << 51), author(), concentrator(9_999), SOON);
    last.await.unwrap().1.unwrap();
}
