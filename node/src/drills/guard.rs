//! Guard rails: whether a drill may begin, and against whom. Pure; the answering node's own sight.
//!
//! Invariants: a rail that is `bad` stops the drill, whatever else is well; what cannot be known
//! here is never taken for good.

use cluster::{NodeStatus, Role, Status};
use domain::drills::Record;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::drills::scenario::{Injection, Scenario, Whom};

/// A voter may be so many entries behind and still be caught up.
const LAG: u64 = 1000;

/// Whether a rail holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It does.
    Good,
    /// A person should look; the drill may begin.
    Warning,
    /// It does not: no drill.
    Bad,
}

/// One guard rail and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rail {
    /// permission, one-drill, target, quorum, voters, members, backup, channels.
    pub name: String,
    /// Whether it holds.
    pub holds: Holds,
    /// What was found.
    pub detail: String,
}

fn rail(name: &str, good: bool, detail: impl Into<String>) -> Rail {
    let holds = if good { Holds::Good } else { Holds::Bad };
    Rail { name: name.to_owned(), holds, detail: detail.into() }
}

fn warning(name: &str, detail: impl Into<String>) -> Rail {
    Rail { name: name.to_owned(), holds: Holds::Warning, detail: detail.into() }
}

/// The channel that is to be hurt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The concentrator.
    pub concentrator: String,
    /// The node with its active channel.
    pub owner: Option<String>,
    /// Nodes with a standby.
    pub standbys: Vec<String>,
}

/// What is known besides the cluster's status.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// Whether the answering node's configuration allows drills.
    pub allowed: bool,
    /// The drill under way, if any.
    pub open: Option<Record>,
    /// The last backup in the operator's words.
    pub backup: String,
    /// The channel, where one is to be hurt; none when there is no such concentrator.
    pub channel: Option<Channel>,
    /// Concentrators whose active channel is at the target and that have no standby.
    pub without_standby: usize,
}

/// The node that is to be hurt: the named one, or whom the scenario means.
pub fn target<'a>(
    scenario: &Scenario,
    status: &'a Status,
    named: Option<&str>,
    channel: Option<&Channel>,
) -> Option<&'a NodeStatus> {
    let find = |name: &str| {
        status.nodes.iter().find(|node| node.name == name || node.id.0.to_string() == name)
    };
    let leader = || status.leader.as_deref().and_then(find);
    if let Some(name) = named {
        return find(name);
    }
    match scenario.whom {
        Whom::Everyone => order(scenario, status).first().copied(),
        Whom::Leader => leader(),
        Whom::Follower => {
            let lead = leader().map(|node| node.id);
            status.nodes.iter().find(|node| node.voter && node.reachable && Some(node.id) != lead)
        }
        Whom::Owner => channel.and_then(|channel| channel.owner.as_deref()).and_then(find),
    }
}

/// The nodes of a drill that goes from node to node: voters that do not lead, then the leader.
/// Empty for another.
pub fn order<'a>(scenario: &Scenario, status: &'a Status) -> Vec<&'a NodeStatus> {
    if !scenario.injection.rolls() {
        return Vec::new();
    }
    let mut nodes: Vec<&NodeStatus> = status.nodes.iter().filter(|node| node.voter).collect();
    nodes.sort_by_key(|node| status.leader.as_ref() == Some(&node.name));
    nodes
}

/// Every rail's answer.
pub fn rails(
    scenario: &Scenario,
    status: &Status,
    situation: &Situation,
    target: Option<&NodeStatus>,
) -> Vec<Rail> {
    let own = &status.name;
    let allowed = match situation.allowed {
        true => format!("{own} allows drills"),
        false => format!("`drills.allowed` is false on {own}"),
    };
    let mut all = vec![rail("permission", situation.allowed, allowed)];
    all.push(match &situation.open {
        None => rail("one-drill", true, "no other drill is under way"),
        Some(open) => {
            let text = format!("drill {} ({}) is under way", open.id, open.begin.scenario);
            rail("one-drill", false, text)
        }
    });
    all.push(aim(scenario, status, situation, target));
    all.push(quorum(scenario, status, target));
    all.push(voters(status));
    let text = if status.moving { "a change of the members is under way" } else { "no change" };
    all.push(rail("members", !status.moving, text));
    all.push(backup(scenario, &situation.backup));
    all.extend(channels(scenario, situation));
    all
}

/// Whether the target is one for this scenario.
fn aim(
    scenario: &Scenario,
    status: &Status,
    situation: &Situation,
    target: Option<&NodeStatus>,
) -> Rail {
    let Some(target) = target else {
        return rail("target", false, "no such node, or none that it could be");
    };
    let leads = status.leader.as_ref() == Some(&target.name);
    let owner = situation.channel.as_ref().and_then(|channel| channel.owner.as_ref());
    let name = &target.name;
    let only_leader = matches!(scenario.injection, Injection::HandOver | Injection::Hang)
        || (scenario.injection == Injection::Kill && scenario.whom == Whom::Leader);
    match scenario.whom {
        Whom::Everyone => many(status),
        _ if !target.reachable => rail("target", false, format!("{name} is not reached")),
        Whom::Leader if only_leader && !leads => {
            rail("target", false, format!("{name} does not lead"))
        }
        Whom::Follower if leads => rail("target", false, format!("{name} leads: see leader-kill")),
        Whom::Owner if owner != Some(name) => {
            rail("target", false, format!("{name} does not have the active channel"))
        }
        _ if leads => rail("target", true, format!("{name}, which leads")),
        _ => rail("target", true, name.clone()),
    }
}

/// Whether there are as many nodes as a drill can go through.
fn many(status: &Status) -> Rail {
    let nodes = status.nodes.iter().filter(|node| node.voter).count();
    let most = domain::drills::MAX_ROLLED;
    rail("target", nodes <= most, format!("{nodes} nodes in turn, {most} at most"))
}

fn quorum(scenario: &Scenario, status: &Status, target: Option<&NodeStatus>) -> Rail {
    let up = status.nodes.iter().filter(|node| node.voter && node.reachable).count();
    let takes = scenario.injection.takes_a_voter() && target.is_some_and(|node| node.voter);
    let left = up.saturating_sub(usize::from(takes));
    let needed = status.voters / 2 + 1;
    // An office can only be handed to somebody.
    let alone = status.voters < 2 && scenario.moves_office;
    let text = format!("{left} of {} voters are left, {needed} are needed", status.voters);
    rail("quorum", left >= needed && status.voters > 0 && !alone, text)
}

fn voters(status: &Status) -> Rail {
    if status.role != Role::Leader {
        let leader = status.leader.as_deref().unwrap_or("the leader");
        let text = format!("only {leader} knows how far the others are: ask there");
        return rail("voters", false, text);
    }
    let trouble = |node: &NodeStatus| {
        let lag = node.matched.map(|matched| status.commit_index.saturating_sub(matched));
        let what = match node {
            _ if !node.reachable => "is not reached".to_owned(),
            _ if node.drained => "is drained".to_owned(),
            _ if node.wish.is_some() => "joins or leaves".to_owned(),
            _ => match lag {
                None => "is not known to have anything".to_owned(),
                Some(lag) if lag > LAG => format!("is {lag} entries behind"),
                Some(_) => return None,
            },
        };
        Some(format!("{} {what}", node.name))
    };
    let voters = status.nodes.iter().filter(|node| node.voter);
    let troubles: Vec<String> = voters.filter_map(trouble).collect();
    let own = status.fault.iter().cloned();
    let full = status.disk_full.then(|| format!("{} is short of disk", status.name));
    let troubles: Vec<String> = troubles.into_iter().chain(own).chain(full).collect();
    if troubles.is_empty() {
        return rail("voters", true, format!("all {} are reached and caught up", status.voters));
    }
    rail("voters", false, troubles.join("; "))
}

fn backup(scenario: &Scenario, said: &str) -> Rail {
    let needed = scenario.injection.takes_a_voter();
    match (said.trim().is_empty(), needed) {
        (false, _) => rail("backup", true, format!("said to be: {said}")),
        (true, true) => {
            rail("backup", false, "name the last backup with --backup TEXT, or say --backup none")
        }
        (true, false) => warning("backup", "the last backup was not named (--backup TEXT)"),
    }
}

fn channels(scenario: &Scenario, situation: &Situation) -> Option<Rail> {
    if !scenario.injection.is_of_a_channel() {
        let count = situation.without_standby;
        let hurts = scenario.injection.takes_a_voter();
        return hurts.then(|| match count {
            0 => rail("channels", true, "every channel of the target has a standby elsewhere"),
            _ => warning("channels", format!("{count} channels of the target have no standby")),
        });
    }
    let Some(channel) = &situation.channel else {
        return Some(rail("channels", false, "no such concentrator, or none has a standby"));
    };
    let Channel { concentrator, owner, standbys } = channel;
    Some(match owner {
        None => rail("channels", false, format!("{concentrator} has no active channel")),
        Some(owner) if standbys.iter().all(|node| node == owner) => {
            rail("channels", false, format!("{concentrator} has no standby beside {owner}"))
        }
        Some(owner) => {
            let text = format!("{concentrator} is at {owner}, standby at {}", standbys.join(", "));
            rail("channels", true, text)
        }
    })
}

#[cfg(test)]
mod tests {
    use domain::NodeId;

    use super::*;
    use crate::drills::scenario::find;

    fn node(id: u64, role: Role) -> NodeStatus {
        NodeStatus {
            id: NodeId(id),
            name: format!("n{id}"),
            address: String::new(),
            http: String::new(),
            role,
            matched: Some(500),
            reachable: true,
            trouble: None,
            voter: true,
            drained: false,
            wish: None,
        }
    }

    fn status() -> Status {
        Status {
            node: NodeId(1),
            name: "n1".to_owned(),
            role: Role::Leader,
            leader: Some("n1".to_owned()),
            term: 3,
            commit_index: 500,
            applied_index: 500,
            state_hash: [0; 32],
            fault: None,
            removed: false,
            disk_full: false,
            voters: 3,
            tolerates: 1,
            moving: false,
            nodes: vec![node(1, Role::Leader), node(2, Role::Follower), node(3, Role::Follower)],
        }
    }

    fn situation() -> Situation {
        let channel = Channel {
            concentrator: "C1".to_owned(),
            owner: Some("n2".to_owned()),
            standbys: vec!["n3".to_owned()],
        };
        Situation {
            allowed: true,
            backup: "none".to_owned(),
            channel: Some(channel),
            ..Situation::default()
        }
    }

    /// Names of the rails that stop a drill.
    fn stopped(
        name: &str,
        on: Option<&str>,
        status: &Status,
        situation: &Situation,
    ) -> Vec<String> {
        let scenario = find(name).unwrap();
        let target = target(scenario, status, on, situation.channel.as_ref());
        let rails = rails(scenario, status, situation, target);
        rails.into_iter().filter(|one| one.holds == Holds::Bad).map(|one| one.name).collect()
    }

    #[test]
    fn a_healthy_cluster_stops_no_drill() {
        for scenario in crate::drills::scenario::SCENARIOS {
            let found = stopped(scenario.name, None, &status(), &situation());
            assert!(found.is_empty(), "{}: {found:?}", scenario.name);
        }
    }

    #[test]
    fn each_rail_stops_by_itself() {
        type Change = fn(&mut Status, &mut Situation);
        let all: [(&str, &str, Change); 13] = [
            ("permission", "leader-kill", |_, here| here.allowed = false),
            ("quorum", "leader-kill", |now, _| now.nodes[2].reachable = false),
            ("voters", "graceful-hand-over", |now, _| now.nodes[2].reachable = false),
            ("voters", "leader-kill", |now, _| now.nodes[2].matched = None),
            ("voters", "leader-kill", |now, _| now.commit_index = 2000),
            ("voters", "leader-kill", |now, _| now.nodes[1].drained = true),
            ("voters", "leader-kill", |now, _| now.disk_full = true),
            ("voters", "leader-kill", |now, _| now.role = Role::Follower),
            ("members", "leader-kill", |now, _| now.moving = true),
            ("backup", "leader-kill", |_, here| here.backup = " ".to_owned()),
            ("channels", "channel-cut", |_, here| here.channel = None),
            ("channels", "channel-cut", |_, here| {
                here.channel.as_mut().unwrap().standbys.clear();
            }),
            ("quorum", "graceful-hand-over", |now, _| {
                now.nodes.truncate(1);
                now.voters = 1;
            }),
        ];
        for (name, scenario, change) in all {
            let (mut status, mut situation) = (status(), situation());
            change(&mut status, &mut situation);
            let found = stopped(scenario, None, &status, &situation);
            assert!(found.contains(&name.to_owned()), "{scenario}: {name} is not in {found:?}");
        }
    }

    #[test]
    fn the_target_must_be_one_for_the_scenario() {
        let aimed = |name: &str, on: &str| stopped(name, Some(on), &status(), &situation());
        assert_eq!(aimed("leader-kill", "n2"), ["target"]);
        assert_eq!(aimed("leader-hang", "n2"), ["target"]);
        assert_eq!(aimed("graceful-hand-over", "3"), ["target"]);
        assert_eq!(aimed("node-kill", "n1"), ["target"]);
        assert_eq!(aimed("channel-cut", "n1"), ["target"]);
        assert_eq!(aimed("network-cut", "n9"), ["target"]);
        assert!(aimed("network-cut", "n3").is_empty(), "any node's network may be cut");
        assert!(aimed("leader-kill", "1").is_empty());
    }
}
