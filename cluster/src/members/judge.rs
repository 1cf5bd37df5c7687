//! Whether the leader grants a wish about the members. Pure.
//!
//! Not here: carrying it out (`keeper`), what the log itself refuses (`domain::members`).
//! Invariant: nothing is granted that would leave fewer living voters than a majority.

use domain::{
    NodeId,
    members::{Change, Node, Wish, check},
};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Sight};

/// What an operator asks for. Nodes are named by name or number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// A new node joins and receives the log.
    Add(Node),
    /// A node that has caught up votes.
    Promote(String),
    /// A node leaves.
    Remove(String),
    /// A new node takes the place of another.
    Replace {
        /// Who goes.
        lost: String,
        /// Who comes.
        by: Node,
    },
    /// A node gives its channels and its office away.
    Drain(String),
    /// A drained node works again.
    Undrain(String),
    /// Another node leads; the best one when nobody is named.
    HandOver(Option<String>),
}

/// What a look at a node that is to join found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It answers and was never part of a cluster.
    Fresh,
    /// It has been part of a cluster.
    Used,
    /// Its certificate, or ours, is not of one authority, or names another node.
    Foreign(String),
    /// It does not answer.
    Silent(String),
}

/// A no: stable code and text.
pub type No = (&'static str, String);

impl Verb {
    /// The node that is to join, if one is.
    pub fn newcomer(&self) -> Option<&Node> {
        match self {
            Self::Add(node) | Self::Replace { by: node, .. } => Some(node),
            _ => None,
        }
    }

    /// In words, for the audit trail.
    pub fn words(&self) -> String {
        match self {
            Self::Add(node) => format!("add {} {}", node.name, node.id),
            Self::Promote(name) => format!("promote {name}"),
            Self::Remove(name) => format!("remove {name}"),
            Self::Replace { lost, by } => format!("replace {lost} by {} {}", by.name, by.id),
            Self::Drain(name) => format!("drain {name}"),
            Self::Undrain(name) => format!("undrain {name}"),
            Self::HandOver(to) => format!("hand over to {}", to.as_deref().unwrap_or("any")),
        }
    }
}

/// Grants a wish as the change to propose, or says why not.
pub fn judge(verb: &Verb, sight: &Sight, probe: Option<&Probe>) -> Result<Change, No> {
    match verb {
        Verb::Add(node) => {
            newcomer(node, sight, probe)?;
            at_rest(sight)?;
            Ok(Change::Add { node: node.clone() })
        }
        Verb::Promote(name) => promote(&known(name, sight)?, sight),
        Verb::Remove(name) => remove(known(name, sight)?, sight),
        Verb::Replace { lost, by } => replace(&known(lost, sight)?, by, sight, probe),
        Verb::Drain(name) => drain(&known(name, sight)?, sight),
        Verb::Undrain(name) => Ok(Change::Undrain { node: known(name, sight)?.id }),
        Verb::HandOver(None) => match sight.heir() {
            Some(_) => Ok(Change::HandOver { to: None }),
            None => Err(("no_heir", "no other voter is reachable and not drained".to_owned())),
        },
        Verb::HandOver(Some(name)) => hand_over(&known(name, sight)?, sight),
    }
}

fn known(name: &str, sight: &Sight) -> Result<Node, No> {
    sight.find(name).ok_or_else(|| ("unknown_node", format!("{name} is no member")))
}

fn at_rest(sight: &Sight) -> Result<(), No> {
    match sight.plan() {
        Plan::Idle => Ok(()),
        Plan::Wait(why) => Err(("change_in_progress", why)),
        Plan::Do(_) => Err(("change_in_progress", "another change is being made".to_owned())),
    }
}

fn newcomer(node: &Node, sight: &Sight, probe: Option<&Probe>) -> Result<(), No> {
    check(node).map_err(|refusal| ("bad_node", refusal.detail))?;
    let wished = sight.wishes.iter().filter(|wished| wished.wish != Wish::Gone);
    let mut names = wished
        .map(|wished| (wished.node.id.0, wished.node.name.as_str()))
        .chain(sight.progress.members.iter().map(|(id, member)| (*id, member.name.as_str())));
    let taken = names.any(|(id, name)| id == node.id.0 || name == node.name);
    let gone = sight.wish_of(node.id.0).is_some_and(|wished| wished.wish == Wish::Gone);
    if taken || gone {
        let text = format!("{} or number {} is taken, or was once", node.name, node.id);
        return Err(("node_exists", text));
    }
    let name = &node.name;
    match probe {
        Some(Probe::Fresh) => Ok(()),
        Some(Probe::Used) => {
            let text = format!("{name} has been part of a cluster; give it an empty data folder");
            Err(("node_not_empty", text))
        }
        Some(Probe::Foreign(why)) => Err(("foreign_certificate", format!("{name}: {why}"))),
        Some(Probe::Silent(why)) => Err(("node_unreachable", format!("{name}: {why}"))),
        None => Err(("node_unreachable", format!("{name} was not asked"))),
    }
}

fn promote(node: &Node, sight: &Sight) -> Result<Change, No> {
    let (id, name) = (node.id.0, &node.name);
    if sight.progress.voters.contains(&id) {
        return Err(("already_voter", format!("{name} votes already")));
    }
    at_rest(sight)?;
    if !sight.caught_up(id) {
        let text = match sight.lag(id).filter(|_| sight.up.contains(&id)) {
            Some(lag) => format!("{name} is {lag} entries behind, {} may be", sight.lag_entries),
            None => format!("{name} does not answer"),
        };
        return Err(("learner_lags", text));
    }
    if !sight.keeps_quorum(Some(id), None) {
        return Err(too_few(sight, Some(id), None));
    }
    Ok(Change::Promote { node: node.id })
}

fn remove(node: Node, sight: &Sight) -> Result<Change, No> {
    let id = node.id.0;
    if !sight.progress.voters.contains(&id) {
        // A learner may always go: it ends a replacement that came to nothing.
        return if sight.progress.moving {
            at_rest(sight).map(|()| Change::Remove { node })
        } else {
            Ok(Change::Remove { node })
        };
    }
    at_rest(sight)?;
    if sight.progress.voters.len() == 1 {
        return Err(("last_voter", format!("{} is the only voter", node.name)));
    }
    if !sight.keeps_quorum(None, Some(id)) {
        return Err(too_few(sight, None, Some(id)));
    }
    if id == sight.own && sight.heir().is_none() {
        return Err(("no_heir", "no other voter is reachable and not drained".to_owned()));
    }
    Ok(Change::Remove { node })
}

fn replace(lost: &Node, by: &Node, sight: &Sight, probe: Option<&Probe>) -> Result<Change, No> {
    newcomer(by, sight, probe)?;
    at_rest(sight)?;
    let mut joined = sight.clone();
    joined.up.insert(by.id.0);
    if !joined.keeps_quorum(Some(by.id.0), Some(lost.id.0)) {
        return Err(too_few(sight, Some(by.id.0), Some(lost.id.0)));
    }
    Ok(Change::Replace { lost: lost.id, by: by.clone() })
}

fn drain(node: &Node, sight: &Sight) -> Result<Change, No> {
    let others = sight.progress.members.keys().filter(|id| **id != node.id.0);
    if !others.into_iter().any(|id| sight.up.contains(id) && !sight.drained.contains(id)) {
        let text = format!("{} is the last node that answers and is not drained", node.name);
        return Err(("last_serving", text));
    }
    Ok(Change::Drain { node: node.id })
}

fn hand_over(node: &Node, sight: &Sight) -> Result<Change, No> {
    let (id, name) = (node.id.0, &node.name);
    if !sight.progress.voters.contains(&id) {
        return Err(("not_voter", format!("{name} does not vote")));
    }
    if sight.drained.contains(&id) {
        return Err(("node_draining", format!("{name} is drained")));
    }
    if !sight.up.contains(&id) {
        return Err(("node_unreachable", format!("{name} does not answer")));
    }
    Ok(Change::HandOver { to: Some(NodeId(id)) })
}

fn too_few(sight: &Sight, join: Option<u64>, leave: Option<u64>) -> No {
    let mut after = sight.progress.voters.clone();
    after.extend(join);
    if let Some(leave) = leave {
        after.remove(&leave);
    }
    let living = after.intersection(&sight.up).count();
    ("would_lose_quorum", format!("{living} of {} voters would answer", after.len()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::raft::{Member, Progress};

    /// Node 1 leads voters 1 to `voters`; node 9 is a learner; `down` do not answer.
    fn sight(voters: u64, down: &[u64]) -> Sight {
        let all: Vec<u64> = (1..=voters).chain([9]).collect();
        let member = |id: &u64| Member {
            name: format!("n{id}"),
            address: format!("h{id}:7001"),
            http: String::new(),
        };
        let progress = Progress {
            voters: (1..=voters).collect(),
            matched: all.iter().map(|id| (*id, 100)).collect::<BTreeMap<_, _>>(),
            members: Arc::new(all.iter().map(|id| (*id, member(id))).collect()),
            commit: 100,
            ..Progress::default()
        };
        let up = all.into_iter().filter(|id| !down.contains(id)).collect();
        Sight { own: 1, progress, up, lag_entries: 10, ..Sight::default() }
    }

    fn new(id: u64) -> Node {
        Node { id: NodeId(id), name: format!("n{id}"), address: "h:1".into(), http: String::new() }
    }

    fn no(verb: &Verb, sight: &Sight, probe: Option<&Probe>) -> &'static str {
        judge(verb, sight, probe).map_or_else(|(code, _)| code, |_| "granted")
    }

    #[test]
    fn what_would_lose_the_quorum_is_refused() {
        let remove = |name: &str| Verb::Remove(name.to_owned());
        let promote = Verb::Promote("n9".to_owned());
        for (voters, down, verb, expect) in [
            (3, &[][..], remove("n2"), "granted"),
            (3, &[3], remove("n3"), "granted"),
            (3, &[3], remove("n2"), "would_lose_quorum"),
            (2, &[], remove("n2"), "granted"),
            (2, &[], remove("n1"), "granted"),
            (1, &[], remove("n1"), "last_voter"),
            (3, &[2, 3], remove("n2"), "would_lose_quorum"),
            (3, &[], remove("n8"), "unknown_node"),
            (3, &[9], remove("9"), "granted"),
            (3, &[], promote.clone(), "granted"),
            (3, &[9], promote.clone(), "learner_lags"),
            (3, &[2, 3], promote.clone(), "would_lose_quorum"),
            (3, &[], Verb::Promote("n2".into()), "already_voter"),
        ] {
            assert_eq!(no(&verb, &sight(voters, down), None), expect, "{voters} {down:?} {verb:?}");
        }
        let mut lags = sight(3, &[]);
        lags.progress.matched.insert(9, 50);
        assert_eq!(no(&promote, &lags, None), "learner_lags");
        let mut moving = sight(3, &[]);
        moving.progress.moving = true;
        for verb in [remove("n2"), promote, Verb::Add(new(4))] {
            assert_eq!(no(&verb, &moving, Some(&Probe::Fresh)), "change_in_progress", "{verb:?}");
        }
    }

    #[test]
    fn who_may_join() {
        let add = |id| Verb::Add(new(id));
        let why = || "x".to_owned();
        for (verb, probe, expect) in [
            (add(4), Probe::Fresh, "granted"),
            (add(2), Probe::Fresh, "node_exists"),
            (add(4), Probe::Used, "node_not_empty"),
            (add(4), Probe::Foreign(why()), "foreign_certificate"),
            (add(4), Probe::Silent(why()), "node_unreachable"),
            (add(70_000), Probe::Fresh, "bad_node"),
            (Verb::Replace { lost: "n2".into(), by: new(4) }, Probe::Fresh, "granted"),
            (Verb::Replace { lost: "n8".into(), by: new(4) }, Probe::Fresh, "unknown_node"),
            (Verb::Replace { lost: "n2".into(), by: new(3) }, Probe::Fresh, "node_exists"),
        ] {
            assert_eq!(no(&verb, &sight(3, &[2]), Some(&probe)), expect, "{verb:?}");
        }
        let verb = Verb::Replace { lost: "n2".into(), by: new(6) };
        assert_eq!(no(&verb, &sight(5, &[2, 3, 4]), Some(&Probe::Fresh)), "granted");
        assert_eq!(no(&verb, &sight(5, &[2, 3, 4, 5]), Some(&Probe::Fresh)), "would_lose_quorum");
    }

    #[test]
    fn somebody_always_serves() {
        let mut seen = sight(2, &[9]);
        let drain = |name: &str| Verb::Drain(name.to_owned());
        assert_eq!(no(&drain("n1"), &seen, None), "granted");
        seen.drained.insert(1);
        assert_eq!(no(&drain("n2"), &seen, None), "last_serving");
        assert_eq!(no(&Verb::HandOver(Some("n1".into())), &seen, None), "node_draining");
        assert_eq!(no(&Verb::HandOver(Some("n9".into())), &seen, None), "not_voter");
        assert_eq!(no(&Verb::HandOver(None), &sight(1, &[]), None), "no_heir");
    }
}
