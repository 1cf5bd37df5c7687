//! Nodes come and go while the cluster works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::{Cluster, Unavailable, Verb};
use tokio::task::JoinHandle;

use crate::support::{
    Authority, Trio, author, concentrator, holds, leads, other, proposal_id, until,
};

const SOON: Duration = Duration::from_secs(60);

/// Writes without a pause through one node until it is told to stop; every write must be done.
struct Writer {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(node: &Cluster, from: u64) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(from)));
        let (node, stopped, number) = (node.clone(), stop.clone(), next.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let write = number.load(Ordering::Relaxed);
                let id = proposal_id(write);
                let answer = node.propose(id, author(), concentrator(write), SOON).await;
                answer.unwrap().1.unwrap();
                number.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, next, task }
    }

    /// Waits until so many more writes are acknowledged.
    async fn more(&self, writes: u64) {
        let from = self.next.load(Ordering::Relaxed);
        until("writes go on", SOON, || self.next.load(Ordering::Relaxed) >= from + writes).await;
    }

    /// The number behind the last acknowledged write.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.next.load(Ordering::Relaxed)
    }
}

fn all_hold(trio: &Trio, nodes: &[usize], to: u64) {
    for at in nodes {
        let missing: Vec<u64> = (0..to).filter(|number| !holds(trio.node(*at), *number)).collect();
        assert!(missing.is_empty(), "node {at} lacks {missing:?} of {to}");
    }
}

async fn join(trio: &Trio, at: usize) {
    trio.wish(0, Verb::Add(trio.described(at))).await.unwrap();
    let name = trio.configs[at].name.clone();
    trio.caught_up(&name).await;
    trio.wish(0, Verb::Promote(name)).await.unwrap();
}

fn code(outcome: domain::Outcome) -> String {
    outcome.unwrap_err().code.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_grows_to_three_and_shrinks_again_under_writes() {
    let mut trio = Trio::found(1, |config| {
        config.snapshot_entries = 100;
        config.keep_entries = 20;
    })
    .await;
    assert_eq!((trio.node(0).status().voters, trio.node(0).status().tolerates), (1, 0));
    let writer = Writer::start(trio.node(0), 0);
    // Enough for a snapshot, so that the newcomers need one.
    writer.more(150).await;
    for expect in [&["n1", "n2"][..], &["n1", "n2", "n3"]] {
        let at = trio.newcomer().await;
        join(&trio, at).await;
        trio.voters(0, expect).await;
        writer.more(20).await;
    }
    assert_eq!(trio.node(0).status().tolerates, 1);
    let to = writer.end().await;
    let index = trio.settled().await;
    trio.same_hash(index);
    all_hold(&trio, &[0, 1, 2], to);
    // The first one dies: the newcomers are a cluster.
    trio.nodes[0].take().unwrap().halt().await;
    let answer = trio.node(1).propose(proposal_id(to), author(), concentrator(to), SOON).await;
    answer.unwrap().1.unwrap();
    trio.start(0).await;
    trio.leader().await;
    // And back to one, by way of two.
    let writer = Writer::start(trio.node(2), to + 1);
    for (gone, expect) in [("n1", &["n2", "n3"][..]), ("n2", &["n3"])] {
        trio.wish(2, Verb::Remove(gone.to_owned())).await.unwrap();
        trio.voters(2, expect).await;
        writer.more(20).await;
    }
    let to = writer.end().await;
    all_hold(&trio, &[2], to);
    assert_eq!(code(trio.wish(2, Verb::Remove("n3".to_owned())).await), "last_voter");
    for at in [0, 1] {
        until("it says that it is out", SOON, || trio.node(at).is_removed()).await;
        let id = proposal_id(900_000 + at as u64);
        let answer = trio.node(at).propose(id, author(), concentrator(900_000), SOON).await;
        assert_eq!(answer, Err(Unavailable::Removed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_become_five_and_bear_two_losses() {
    let mut trio = Trio::found(3, |_| {}).await;
    let writer = Writer::start(trio.node(1), 0);
    for _ in 0..2 {
        let at = trio.newcomer().await;
        join(&trio, at).await;
    }
    trio.voters(0, &["n1", "n2", "n3", "n4", "n5"]).await;
    assert_eq!(trio.node(0).status().tolerates, 2);
    for lost in [0, 2] {
        trio.nodes[lost].take().unwrap().halt().await;
        writer.more(20).await;
    }
    let to = writer.end().await;
    let index = trio.settled().await;
    trio.same_hash(index);
    all_hold(&trio, &[1, 3, 4], to);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_under_load() {
    let mut trio = Trio::found(3, |config| {
        config.snapshot_entries = 100;
        config.keep_entries = 20;
    })
    .await;
    let lost = other(trio.leader().await);
    let alive = (0..3).find(|at| *at != lost).unwrap();
    let writer = Writer::start(trio.node(alive), 0);
    writer.more(150).await;
    trio.nodes[lost].take().unwrap().halt().await;
    writer.more(20).await;
    let new = trio.newcomer().await;
    let name = trio.configs[lost].name.clone();
    let verb = Verb::Replace { lost: name.clone(), by: trio.described(new) };
    trio.wish(alive, verb).await.unwrap();
    let mut expect: Vec<&str> = vec!["n1", "n2", "n3", "n4"];
    expect.retain(|node| *node != name);
    trio.voters(alive, &expect).await;
    let to = writer.end().await;
    let index = trio.settled().await;
    trio.same_hash(index);
    all_hold(&trio, &[alive, new], to);
    // The old one comes back with its disk: nobody hears it, and the term stays.
    let term = trio.node(alive).status().term;
    trio.start(lost).await;
    until("it is told that it is out", SOON, || trio.node(lost).is_removed()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(trio.node(alive).status().term, term, "a removed node's votes are ignored");
    assert!(!leads(trio.node(lost)));
    // Its number is never given again.
    let again = trio.wish(alive, Verb::Add(trio.described(lost))).await;
    assert_eq!(code(again), "node_exists");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_stands_in_the_trail() {
    let mut trio = Trio::found(3, |_| {}).await;
    let new = trio.newcomer().await;
    let node = trio.described(new);
    // Nobody there.
    trio.stop(new).await;
    assert_eq!(code(trio.wish(1, Verb::Add(node.clone())).await), "node_unreachable");
    // Somebody of another authority.
    let stranger = Authority::new().identity_trusting(new as u64 + 1, &trio.authority);
    crate::support::port_is_free(trio.configs[new].listen).await;
    let dir = tempfile::tempdir().unwrap();
    let registry = prometheus::Registry::new();
    let foreign =
        crate::support::open(dir.path(), trio.configs[new].clone(), &stranger, &registry).await;
    // On a busy machine its handshake may take longer than one wish waits.
    let mut told = "node_unreachable".to_owned();
    for _ in 0..10 {
        if told == "node_unreachable" {
            told = code(trio.wish(1, Verb::Add(node.clone())).await);
        }
    }
    assert_eq!(told, "foreign_certificate");
    foreign.stop().await;
    drop(foreign);
    // Somebody who has been in a cluster.
    let mut elsewhere = Trio::found(1, |_| {}).await;
    let mut used = node.clone();
    used.address = elsewhere.configs[0].listen.to_string();
    (used.id, used.name) = (domain::NodeId(1), "n9".to_owned());
    assert_eq!(code(trio.wish(1, Verb::Add(used)).await), "node_exists");
    elsewhere.stop(0).await;
    for (verb, expect) in [
        (Verb::Promote("n2".to_owned()), "already_voter"),
        (Verb::Promote("nobody".to_owned()), "unknown_node"),
        (Verb::Remove("nobody".to_owned()), "unknown_node"),
        (Verb::HandOver(Some("nobody".to_owned())), "unknown_node"),
    ] {
        assert_eq!(code(trio.wish(2, verb.clone()).await), expect, "{verb:?}");
    }
    // One of three is away: another one must stay.
    let leader = trio.leader().await;
    let away = other(leader);
    let third = 3 - leader - away;
    trio.stop(away).await;
    let seen = || !trio.node(leader).status().nodes[away].reachable;
    until("the loss is seen", SOON, seen).await;
    let name = trio.configs[third].name.clone();
    assert_eq!(code(trio.wish(leader, Verb::Remove(name)).await), "would_lose_quorum");
    let view = trio.node(leader).view();
    let trail = domain::audit::records(&view, 0, 100).unwrap();
    let refused = trail.iter().filter_map(|record| record.refused.clone());
    let mut refused: Vec<_> = refused.collect();
    refused.dedup();
    assert_eq!(
        refused,
        [
            "node_unreachable",
            "foreign_certificate",
            "node_exists",
            "already_voter",
            "unknown_node",
            "would_lose_quorum"
        ]
    );
    assert!(trail.iter().all(|record| record.action == "members.object"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_changes_at_once_and_a_lagging_learner_are_refused() {
    let mut trio = Trio::found(3, |_| {}).await;
    let new = trio.newcomer().await;
    trio.wish(0, Verb::Add(trio.described(new))).await.unwrap();
    trio.caught_up("n4").await;
    trio.stop(new).await;
    let leader = trio.leader().await;
    let seen = || !trio.node(leader).status().nodes[new].reachable;
    until("the loss is seen", SOON, seen).await;
    assert_eq!(code(trio.wish(0, Verb::Promote("n4".to_owned())).await), "learner_lags");
    trio.wish(0, Verb::Remove("n4".to_owned())).await.unwrap();
    let last = trio.newcomer().await;
    let verb = Verb::Replace { lost: "n2".to_owned(), by: trio.described(last) };
    trio.wish(0, verb).await.unwrap();
    trio.stop(last).await;
    // Unless the replacement was done before the newcomer went, it waits, and nothing else may go.
    if trio.node(leader).status().moving {
        let answer = trio.wish(leader, Verb::Remove("n3".to_owned())).await;
        assert_eq!(code(answer), "change_in_progress");
        // It is ended by taking the newcomer out again.
        trio.wish(leader, Verb::Remove("n5".to_owned())).await.unwrap();
        trio.voters(leader, &["n1", "n2", "n3"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_office_is_given_to_whom_one_wants_and_away_from_a_drained_node() {
    let trio = Trio::found(3, |_| {}).await;
    let first = trio.leader().await;
    let heir = other(first);
    let name = trio.configs[heir].name.clone();
    trio.wish(first, Verb::HandOver(Some(name.clone()))).await.unwrap();
    assert_eq!(trio.leader().await, heir);
    trio.wish(first, Verb::Drain(name.clone())).await.unwrap();
    until("the office is elsewhere", SOON, || !leads(trio.node(heir))).await;
    let next = trio.leader().await;
    let back = trio.wish(next, Verb::HandOver(Some(name.clone()))).await;
    assert_eq!(code(back), "node_draining");
    assert!(trio.node(next).status().nodes[heir].drained);
    // The other follower takes over when the leader goes, and not the drained one.
    let third = 3 - next - heir;
    assert!(trio.node(next).transfer_leader().await);
    assert_eq!(trio.leader().await, third);
    trio.wish(next, Verb::Undrain(name)).await.unwrap();
    until("it works again", SOON, || !trio.node(next).status().nodes[heir].drained).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grown_node_that_lost_its_disk_founds_nothing() {
    let mut trio = Trio::found(1, |_| {}).await;
    for _ in 0..2 {
        let at = trio.newcomer().await;
        join(&trio, at).await;
    }
    trio.voters(0, &["n1", "n2", "n3"]).await;
    trio.stop(0).await;
    std::fs::remove_dir_all(trio.folder(0)).unwrap();
    // Its file still names itself alone; the others dial it.
    trio.start(0).await;
    let leader = trio.leader().await;
    assert_ne!(leader, 0, "it must not found a cluster of its own");
    let answer = trio.node(0).propose(proposal_id(1), author(), concentrator(1), SOON).await;
    answer.unwrap().1.unwrap();
    let index = trio.settled().await;
    trio.same_hash(index);
}
