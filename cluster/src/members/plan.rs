//! What is to be done next so that the members become what the operators wish. Pure.
//!
//! Not here: doing it (`keeper`), granting a wish (`judge`).
//! Invariants: one step at a time; a node votes only when it has caught up; the leader never takes
//! itself out while another can lead.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    NodeId,
    members::{Member as Wished, Node, Wish},
};

use crate::raft::{Member, Progress};

/// Everything that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// This node.
    pub own: u64,
    /// Where consensus stands.
    pub progress: Progress,
    /// Nodes whose link stands, this one included.
    pub up: BTreeSet<u64>,
    /// What is wished.
    pub wishes: Vec<Wished>,
    /// Nodes that are drained.
    pub drained: BTreeSet<u64>,
    /// Entries that a node may be behind and still count as caught up.
    pub lag_entries: u64,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Finish a change that was left between its two halves.
    Settle,
    /// Let a node receive the log.
    Admit(Node),
    /// Let `join` vote and take `leave` out.
    Change {
        /// The new voter.
        join: Option<u64>,
        /// The node to take out.
        leave: Option<u64>,
    },
    /// Let another node lead.
    HandOver(u64),
    /// Note that a replaced node is out.
    NoteGone(Node),
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Idle,
    /// Something is under way, in words.
    Wait(String),
    /// This.
    Do(Step),
}

impl Sight {
    /// Whether a node is a member.
    pub fn is_member(&self, id: u64) -> bool {
        self.progress.members.contains_key(&id)
    }

    /// Entries that a node is behind the commit index; none while that is not known.
    pub fn lag(&self, id: u64) -> Option<u64> {
        let matched = self.progress.matched.get(&id)?;
        Some(self.progress.commit.saturating_sub(*matched))
    }

    /// Whether a node may vote without slowing the others down.
    pub fn caught_up(&self, id: u64) -> bool {
        self.up.contains(&id) && self.lag(id).is_some_and(|lag| lag <= self.lag_entries)
    }

    /// Whether so many voters would answer after a change that they are a majority.
    pub fn keeps_quorum(&self, join: Option<u64>, leave: Option<u64>) -> bool {
        let mut after = self.progress.voters.clone();
        after.extend(join);
        if let Some(leave) = leave {
            after.remove(&leave);
        }
        after.intersection(&self.up).count() > after.len() / 2
    }

    /// Who should lead instead of this node: the voter with the longest log, not drained and not
    /// about to go.
    pub fn heir(&self) -> Option<u64> {
        let going = |id: &u64| self.wish_of(*id).is_some_and(|wished| wished.wish == Wish::Gone);
        let voters = self.progress.voters.iter().copied().filter(|id| *id != self.own);
        let fit =
            voters.filter(|id| self.up.contains(id) && !self.drained.contains(id) && !going(id));
        fit.max_by_key(|id| self.progress.matched.get(id).copied())
    }

    /// What is wished of a node.
    pub fn wish_of(&self, id: u64) -> Option<&Wished> {
        self.wishes.iter().find(|wished| wished.node.id.0 == id)
    }

    /// A member by name or number.
    pub fn find(&self, name: &str) -> Option<Node> {
        let members: &BTreeMap<u64, Member> = &self.progress.members;
        let found =
            members.iter().find(|(id, member)| member.name == name || id.to_string() == name);
        found.map(|(id, member)| node(*id, member))
    }

    /// The next step of the leader.
    pub fn plan(&self) -> Plan {
        if self.progress.joint && !self.progress.voters.is_empty() {
            return Plan::Do(Step::Settle);
        }
        if self.progress.moving {
            return Plan::Wait("a change of the members is being committed".to_owned());
        }
        let mut waits = None;
        for wished in &self.wishes {
            match self.plan_for(wished) {
                Plan::Idle => {}
                Plan::Wait(why) => waits = Some(why),
                plan => return plan,
            }
        }
        if self.drained.contains(&self.own)
            && let Some(heir) = self.heir()
        {
            return Plan::Do(Step::HandOver(heir));
        }
        waits.map_or(Plan::Idle, Plan::Wait)
    }

    fn plan_for(&self, wished: &Wished) -> Plan {
        let id = wished.node.id.0;
        let replaced = wished.replaces.filter(|lost| self.is_member(lost.0));
        match wished.wish {
            Wish::Gone if self.is_member(id) => self.leave(None, id),
            Wish::Learner | Wish::Voter if !self.is_member(id) => {
                Plan::Do(Step::Admit(wished.node.clone()))
            }
            Wish::Voter if !self.progress.voters.contains(&id) => {
                if !self.caught_up(id) {
                    let lag = self
                        .lag(id)
                        .map_or("an unknown number of".to_owned(), |lag| lag.to_string());
                    return Plan::Wait(format!("{} is {lag} entries behind", wished.node.name));
                }
                match replaced {
                    Some(lost) => self.leave(Some(id), lost.0),
                    None => Plan::Do(Step::Change { join: Some(id), leave: None }),
                }
            }
            Wish::Voter => match replaced {
                // Its vote came by another way; the lost one still has to go.
                Some(lost) => self.leave(None, lost.0),
                None => self.note_replaced(wished),
            },
            Wish::Gone | Wish::Learner => Plan::Idle,
        }
    }

    fn leave(&self, join: Option<u64>, leave: u64) -> Plan {
        if leave == self.own && self.progress.voters.contains(&leave) {
            return match self.heir() {
                Some(heir) => Plan::Do(Step::HandOver(heir)),
                None if join.is_some() => Plan::Do(Step::Change { join, leave: None }),
                None => Plan::Wait("nobody else can lead".to_owned()),
            };
        }
        if !self.keeps_quorum(join, Some(leave)) {
            return Plan::Wait(format!("without node {leave} too few voters would answer"));
        }
        Plan::Do(Step::Change { join, leave: Some(leave) })
    }

    fn note_replaced(&self, wished: &Wished) -> Plan {
        let Some(lost) = wished.replaces else { return Plan::Idle };
        match self.wish_of(lost.0) {
            Some(known) if known.wish == Wish::Gone => Plan::Idle,
            Some(known) => Plan::Do(Step::NoteGone(known.node.clone())),
            None => {
                let name = format!("node-{lost}");
                let (address, http) = ("gone:1".to_owned(), String::new());
                Plan::Do(Step::NoteGone(Node { id: lost, name, address, http }))
            }
        }
    }
}

/// A member in the words of the log.
pub fn node(id: u64, member: &Member) -> Node {
    let Member { name, address, http } = member.clone();
    Node { id: NodeId(id), name, address, http }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::Stamp;

    use super::*;

    fn member(id: u64) -> Member {
        Member { name: format!("n{id}"), address: format!("h{id}:7001"), http: String::new() }
    }

    fn wish(id: u64, wish: Wish, replaces: Option<u64>) -> Wished {
        let node = node(id, &member(id));
        Wished { node, wish, replaces: replaces.map(NodeId), since: Stamp(0) }
    }

    /// Node 1 leads voters; learners are members too; all are up and at index 100.
    fn sight(voters: &[u64], learners: &[u64]) -> Sight {
        let all: BTreeSet<u64> = voters.iter().chain(learners).copied().collect();
        let members = all.iter().map(|id| (*id, member(*id))).collect();
        let progress = Progress {
            voters: voters.iter().copied().collect(),
            matched: all.iter().map(|id| (*id, 100)).collect(),
            members: Arc::new(members),
            commit: 100,
            ..Progress::default()
        };
        Sight { own: 1, progress, up: all, lag_entries: 10, ..Sight::default() }
    }

    fn change(join: Option<u64>, leave: Option<u64>) -> Plan {
        Plan::Do(Step::Change { join, leave })
    }

    #[test]
    fn a_wish_becomes_steps() {
        let mut seen = sight(&[1, 2, 3], &[]);
        assert_eq!(seen.plan(), Plan::Idle);
        seen.wishes = vec![wish(4, Wish::Learner, None)];
        assert!(matches!(seen.plan(), Plan::Do(Step::Admit(node)) if node.id.0 == 4));
        let mut seen = sight(&[1, 2, 3], &[4]);
        seen.wishes = vec![wish(4, Wish::Learner, None)];
        assert_eq!(seen.plan(), Plan::Idle, "a learner stays one until it is promoted");
        seen.wishes = vec![wish(4, Wish::Voter, None)];
        assert_eq!(seen.plan(), change(Some(4), None));
        seen.progress.matched = BTreeMap::from([(4, 89)].map(|(id, at): (u64, u64)| (id, at)));
        assert!(matches!(seen.plan(), Plan::Wait(why) if why.contains("n4 is 11 entries behind")));
    }

    #[test]
    fn a_node_goes_unless_the_others_would_be_too_few() {
        let mut seen = sight(&[1, 2, 3], &[]);
        seen.wishes = vec![wish(3, Wish::Gone, None)];
        assert_eq!(seen.plan(), change(None, Some(3)));
        seen.up.remove(&2);
        assert!(matches!(seen.plan(), Plan::Wait(_)), "1 of 2 is no majority");
        let mut seen = sight(&[1, 2, 3], &[]);
        seen.wishes = vec![wish(1, Wish::Gone, None), wish(2, Wish::Gone, None)];
        assert_eq!(seen.plan(), Plan::Do(Step::HandOver(3)), "the leader hands over first");
    }

    #[test]
    fn a_lost_node_is_replaced_in_one_change() {
        let mut seen = sight(&[1, 2, 3], &[4]);
        seen.up.remove(&2);
        seen.wishes = vec![wish(4, Wish::Voter, Some(2))];
        assert_eq!(seen.plan(), change(Some(4), Some(2)));
        let mut seen = sight(&[1, 3, 4], &[]);
        seen.wishes = vec![wish(4, Wish::Voter, Some(2))];
        assert!(matches!(seen.plan(), Plan::Do(Step::NoteGone(node)) if node.id.0 == 2));
        seen.wishes.push(wish(2, Wish::Gone, None));
        assert_eq!(seen.plan(), Plan::Idle);
    }

    #[test]
    fn a_cluster_of_one_is_replaced_in_two_changes() {
        let mut seen = sight(&[1], &[2]);
        seen.wishes = vec![wish(2, Wish::Voter, Some(1))];
        assert_eq!(seen.plan(), change(Some(2), None), "nobody else can lead yet");
        let mut seen = sight(&[1, 2], &[]);
        seen.wishes = vec![wish(2, Wish::Voter, Some(1))];
        assert_eq!(seen.plan(), Plan::Do(Step::HandOver(2)));
    }

    #[test]
    fn a_drained_leader_hands_over_and_half_a_change_is_finished() {
        let mut seen = sight(&[1, 2, 3], &[]);
        seen.drained = BTreeSet::from([1, 3]);
        assert_eq!(seen.plan(), Plan::Do(Step::HandOver(2)));
        seen.drained = BTreeSet::from([1, 2, 3]);
        assert_eq!(seen.plan(), Plan::Idle, "nobody is left to lead instead");
        seen.progress.moving = true;
        assert!(matches!(seen.plan(), Plan::Wait(_)));
        seen.progress.joint = true;
        assert_eq!(seen.plan(), Plan::Do(Step::Settle));
    }
}
