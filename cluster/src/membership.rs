//! The first start of a cluster.
//!
//! A node with empty data cannot know whether the cluster is new or its disk was lost. If two
//! nodes of three lost their disks and began anew, they would form a quorum that forgot
//! everything. So the first membership is written only when every configured voter has answered
//! that it, too, was never part of a cluster, and then by the voter with the lowest number alone;
//! the others hear of it by the log. A node that lost its disk finds that the others are
//! initialised and waits for them to bring it up by log or snapshot.
//!
//! A lost disk is a lost vote and a lost copy: until the node has caught up, an entry may stand on
//! one disk fewer than its quorum had. So lose one disk at a time, and let the node catch up.
//!
//! A node whose configuration names itself alone has nobody to ask: it founds a cluster when no
//! node that is part of one has dialled it for a while. A cluster of one that has grown should
//! list the others in its file; the node warns while it does not.
//!
//! Not here: adding and removing nodes later (`members`).
//! Invariant: nothing is initialised while one configured voter has not answered, or while a node
//! of a cluster knows this one.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::Config,
    raft::{Group, Member},
    rt::{now, sleep},
    transport::{Kind, Links},
};

/// Time for one answer, and the pause between two rounds of questions.
const HELLO: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_millis(100);

/// How long a node that is configured alone listens for a cluster that knows it. The others
/// dial at least every half second.
const ALONE: Duration = Duration::from_millis(1_500);

/// Rounds after which it is told once that this node still waits: about ten seconds.
const TELL_AFTER: u32 = 100;

/// Waits until this node is part of a cluster, and founds one where that is safe.
pub(crate) async fn bootstrap(config: &Config, group: &Group, links: &Links) {
    let lowest = config.peers.iter().map(|peer| peer.id.0).min();
    let founder = lowest == Some(config.node.0) && group.was_fresh();
    let alone = config.peers.len() == 1;
    let started = now();
    let mut rounds = 0_u32;
    while !group.is_initialized().await {
        let waited = !alone || now() - started >= ALONE;
        if founder && waited && all_fresh(links).await {
            match group.initialize(members(config)).await {
                Ok(()) => tracing::info!(voters = config.peers.len(), "a new cluster is founded"),
                Err(error) => tracing::debug!(error, "the cluster was founded meanwhile"),
            }
            return;
        }
        rounds = rounds.saturating_add(1);
        if rounds == TELL_AFTER {
            tracing::warn!(
                "this node is empty and waits: for every configured node to answer, or for a \
                 cluster to take it in (holdfast member add). If its disk was lost, give it a new \
                 number (holdfast member replace)"
            );
        }
        sleep(ROUND).await;
    }
}

/// Whether every other voter, and every node that has dialled us, answered that it is fresh.
async fn all_fresh(links: &Links) -> bool {
    for (id, from) in links.have_met() {
        if links.get(id).is_none() {
            links.ensure(id, &format!("node-{id}"), &from.to_string());
        }
    }
    let links = links.all();
    let questions = links.iter().map(|link| link.call(Kind::Hello, &[], HELLO));
    let answers = futures::future::join_all(questions).await;
    answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.as_ref() == [0]))
}

fn members(config: &Config) -> BTreeMap<u64, Member> {
    let member = |peer: &crate::Peer| Member {
        name: peer.name.clone(),
        address: peer.address.clone(),
        http: peer.http.clone(),
    };
    config.peers.iter().map(|peer| (peer.id.0, member(peer))).collect()
}
