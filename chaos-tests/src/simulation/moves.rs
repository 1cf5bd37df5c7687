//! Members that come and go while a town is hurt: one joins and votes, one leaves, or one takes
//! the place of another that is lost for ever.
//!
//! Not here: what a wish about the members means (`cluster::Verb`).
//! Invariants:
//! 1. A wish is asked for under one id until it is answered; a refusal is a new wish later.
//! 2. What was granted must come about, at the latest a while after the faults are over.
//! 3. At most one node leaves: with the one that joined there are as many as at first.

use std::{sync::Arc, time::Duration};

use cluster::{Verb, rt::world::sleep};
use domain::{Author, members::Node, operators};

use super::{
    checks::{Broken, broken},
    executor::{spawn_on, tell, throw, time},
    history::id_of,
    machine::{Machine, on, peer},
    town::Town,
};

/// How long after the end of the faults a wish may still be refused, or be on its way.
const SETTLES_WITHIN: Duration = Duration::from_secs(25);

/// What becomes of the members.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// The guest joins and votes.
    Join,
    /// Then another leaves.
    JoinAndLeave,
    /// The guest takes the place of one that is lost.
    Replace,
}

/// Starts the changes of a story, if it has some.
pub fn begin(town: &Town) {
    let plan = match throw(6) {
        0 => Move::Join,
        1 => Move::JoinAndLeave,
        2 => Move::Replace,
        _ => return,
    };
    let town = town.clone();
    town.begin_move();
    spawn_on(0, async move {
        sleep(Duration::from_millis(200 + throw(6000))).await;
        let end = make(&town, plan).await;
        tell(|| format!("the members are changed: {end:?}"));
        town.end_move(end.err());
    });
}

async fn make(town: &Town, plan: Move) -> Result<(), Broken> {
    let guest = town.guest().clone();
    match plan {
        Move::Join | Move::JoinAndLeave => {
            tell(|| format!("n{} shall join", guest.node));
            guest.start();
            wish(town, Verb::Add(node(guest.node))).await?;
            town.admit(guest.node);
            wish(town, Verb::Promote(peer(guest.node).name)).await?;
            until_voters(town).await?;
            if matches!(plan, Move::JoinAndLeave) {
                sleep(Duration::from_millis(throw(3000))).await;
                leave(town).await?;
            }
        }
        Move::Replace => {
            let lost = town.any().clone();
            tell(|| format!("n{} is lost for ever, n{} comes for it", lost.node, guest.node));
            // From now on nobody starts it again.
            town.dismiss(lost.node);
            lost.crash();
            guest.start();
            let lost = peer(lost.node).name;
            wish(town, Verb::Replace { lost, by: node(guest.node) }).await?;
            town.admit(guest.node);
            until_voters(town).await?;
        }
    }
    Ok(())
}

async fn leave(town: &Town) -> Result<(), Broken> {
    let leaves = town.any().clone();
    tell(|| format!("n{} shall leave", leaves.node));
    wish(town, Verb::Remove(peer(leaves.node).name)).await?;
    town.dismiss(leaves.node);
    until_voters(town).await?;
    leaves.stop().await;
    Ok(())
}

fn node(number: u64) -> Node {
    let peer = peer(number);
    Node { id: peer.id, name: peer.name, address: peer.address, http: peer.http }
}

/// When patience ends: it is counted from the end of the faults.
fn is_late(town: &Town, over_since: &mut Option<Duration>) -> bool {
    if !town.is_over() {
        return false;
    }
    time() - *over_since.get_or_insert(time()) > SETTLES_WITHIN
}

/// Asks until it is granted.
async fn wish(town: &Town, verb: Verb) -> Result<(), Broken> {
    let (mut id, mut over_since, mut last) = (id_of(town.number()), None, String::new());
    while !is_late(town, &mut over_since) {
        sleep(Duration::from_millis(50 + throw(300))).await;
        let machine = town.any().clone();
        let Some(cluster) = machine.cluster() else { continue };
        let (author, asked) = (Author::Operator(operators::FOUNDER.to_owned()), verb.clone());
        let deadline = Duration::from_millis(500 + throw(8000));
        let answer =
            on(
                machine.node,
                async move { cluster.change_members(id, author, asked, deadline).await },
            );
        match answer.await {
            Some(Ok((_, Ok(_)))) => {
                tell(|| format!("granted: {}", verb.words()));
                return Ok(());
            }
            // What was refused stands refused under its id: it is wished for anew.
            Some(Ok((_, Err(refusal)))) => {
                last = refusal.to_string();
                tell(|| format!("n{} refuses {}: {last}", machine.node, verb.words()));
                id = id_of(town.number());
            }
            Some(Err(unavailable)) => {
                last = format!("{unavailable:?}");
                tell(|| format!("n{} knows not: {last}", machine.node));
            }
            None => {}
        }
    }
    Err(broken("a wish about the members is granted", format!("{}: {last}", verb.words())))
}

/// Waits until those who vote are those who should.
async fn until_voters(town: &Town) -> Result<(), Broken> {
    let mut over_since = None;
    let mut seen = Vec::new();
    while !is_late(town, &mut over_since) {
        sleep(Duration::from_millis(50)).await;
        let Some(leader) = town.leader() else { continue };
        let Some(status) = voters(&leader) else { continue };
        let wanted = names(town);
        if status == wanted {
            return Ok(());
        }
        seen = status;
    }
    Err(broken("a granted change of the members comes about", format!("voters {seen:?}")))
}

/// Names of the voters as a node sees them, when no change is under way.
fn voters(machine: &Arc<Machine>) -> Option<Vec<String>> {
    let status = machine.cluster()?.status();
    let voting = status.nodes.iter().filter(|node| node.voter);
    let mut names: Vec<String> = voting.map(|node| node.name.clone()).collect();
    names.sort();
    (!status.moving).then_some(names)
}

fn names(town: &Town) -> Vec<String> {
    let mut names: Vec<String> =
        town.machines().iter().map(|machine| peer(machine.node).name).collect();
    names.sort();
    names
}
