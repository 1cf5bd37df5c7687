//! What can be drilled, as data: hypothesis, injection, blast radius, limits, alerts, undo.
//!
//! Not how it is injected (`inject`) or measured (`drive`, `judge`). Invariants: names are a
//! contract and label metrics; a scenario's failure ends by itself or by whoever supervises the
//! processes, never only by the driver.

use std::time::Duration;

/// What is done to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The leader hands its office over.
    HandOver,
    /// The process kills itself: SIGKILL, nothing is saved.
    Kill,
    /// Every thread of the node's runtime stands still for a while.
    Hang,
    /// Whatever the node's links send or receive is lost for a while.
    CutNetwork,
    /// The node takes its disk for full for a while.
    FillDisk,
    /// The node closes the active channel of a concentrator.
    CutChannel,
    /// The node neither hears nor answers a concentrator's active channel for a while.
    HushChannel,
    /// The node reads its certificate again and dials its links anew.
    RenewCertificate,
    /// Nothing is hurt: the driver restores a backup into a scratch folder.
    Restore,
    /// Nothing is hurt: the driver hands in what it measured before.
    Measure,
    /// The node stops in order and is started again; each node in turn.
    Restart,
    /// The same, and it must come back as another build.
    Upgrade,
}

impl Injection {
    /// Whether a node or channel is hurt at all.
    pub fn hurts(self) -> bool {
        !matches!(self, Self::Restore | Self::Measure)
    }

    /// Whether it takes the node's vote away.
    pub fn takes_a_voter(self) -> bool {
        matches!(self, Self::Kill | Self::Hang | Self::CutNetwork | Self::FillDisk) || self.rolls()
    }

    /// Whether it hurts a channel of the field.
    pub fn is_of_a_channel(self) -> bool {
        matches!(self, Self::CutChannel | Self::HushChannel)
    }

    /// Whether it lasts, so that a length can be chosen.
    pub fn lasts(self) -> bool {
        matches!(self, Self::Hang | Self::CutNetwork | Self::FillDisk | Self::HushChannel)
    }

    /// Whether the node cannot answer meanwhile.
    pub fn silences(self) -> bool {
        matches!(self, Self::Kill | Self::Hang) || self.rolls()
    }

    /// Whether it goes from node to node.
    pub fn rolls(self) -> bool {
        matches!(self, Self::Restart | Self::Upgrade)
    }

    /// Whether a plan can have it: it needs nothing that only a person at a command line gives.
    pub fn can_be_planned(self) -> bool {
        !matches!(self, Self::Restore | Self::Measure | Self::Upgrade)
    }
}

/// Which node is hurt when none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The leader.
    Leader,
    /// A voter that does not lead.
    Follower,
    /// The node with the active channel.
    Owner,
    /// Every voter in turn: those that do not lead, then the leader.
    Everyone,
}

/// A promise and the customer's limit, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What we promise (p99).
    pub promise_ms: u32,
    /// What fails the drill.
    pub limit_ms: u32,
}

const fn limit(promise_ms: u32, limit_ms: u32) -> Limit {
    Limit { promise_ms, limit_ms }
}

/// Warm standby: the customer's 30 s, our p99 of 0.7 s.
const FAILOVER: Limit = limit(700, 30_000);
/// A planned hand-over needs no election.
const PLANNED: Limit = limit(200, 30_000);
/// A lost channel: the customer's 5 s, our p99 of 1.5 s.
const CHANNEL: Limit = limit(1_500, 5_000);

/// One scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What is believed and shall be shown.
    pub hypothesis: &'static str,
    /// What is done.
    pub injection: Injection,
    /// The same for people.
    pub does: &'static str,
    /// To whom when nobody is named.
    pub whom: Whom,
    /// What it touches, at most.
    pub blast_radius: &'static str,
    /// How it is undone.
    pub undo: &'static str,
    /// How long it lasts when nothing is said, s; 0 where it does not last.
    pub hold_s: u32,
    /// Writes: longest time without an accepted one.
    pub write: Limit,
    /// Reads: longest time without an answered one.
    pub read: Limit,
    /// The channel, where one is hurt.
    pub channel: Option<Limit>,
    /// Whether another node must lead afterwards, when the leader was hurt.
    pub moves_office: bool,
    /// Counters of `/metrics` of which at least one node's must rise.
    pub signs: &'static [&'static str],
    /// Alerts that a watching system should raise; they are told, not checked.
    pub alerts: &'static [&'static str],
}

const NEW_LEADER: &[&str] = &["holdfast_cluster_leader_changes_total"];
const RENEWED: &[&str] = &["holdfast_certificate_renewals_total"];
const SWITCHED: &[&str] = &["holdfast_gateway_switches_total"];

/// Every scenario.
pub const SCENARIOS: [Scenario; 13] = [
    Scenario {
        name: "graceful-hand-over",
        hypothesis: "The leader hands its office over and nobody who writes or reads notices.",
        injection: Injection::HandOver,
        does: "the leader hands its office to the best of the others",
        whom: Whom::Leader,
        blast_radius: "writes wait for a moment; no node stops",
        undo: "none needed; `holdfast transfer-leader --to NODE` moves the office back",
        hold_s: 0,
        write: PLANNED,
        read: PLANNED,
        channel: None,
        moves_office: true,
        signs: NEW_LEADER,
        alerts: &[],
    },
    Scenario {
        name: "leader-kill",
        hypothesis: "The leader's process dies in the middle of its work, another takes office, \
                     and nothing that was acknowledged is lost.",
        injection: Injection::Kill,
        does: "the leader's process ends itself by SIGKILL and saves nothing",
        whom: Whom::Leader,
        blast_radius: "one node is gone until it is started again; its channels move to standbys",
        undo: "a supervisor (systemd, the demo) starts the process again; without one you do",
        hold_s: 0,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: true,
        signs: NEW_LEADER,
        alerts: &["NodeDown", "NoQuorumMargin"],
    },
    Scenario {
        name: "node-kill",
        hypothesis: "A follower's process dies and the others go on without a pause.",
        injection: Injection::Kill,
        does: "a follower's process ends itself by SIGKILL and saves nothing",
        whom: Whom::Follower,
        blast_radius: "one node is gone until it is started again; its channels move to standbys",
        undo: "a supervisor (systemd, the demo) starts the process again; without one you do",
        hold_s: 0,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: false,
        signs: &[],
        alerts: &["NodeDown", "NoQuorumMargin"],
    },
    Scenario {
        name: "leader-hang",
        hypothesis: "The leader stands still without dying, another takes office, and the old one \
                     does no harm when it wakes.",
        injection: Injection::Hang,
        does: "every thread of the leader's runtime sleeps",
        whom: Whom::Leader,
        blast_radius: "one node answers nobody for the length; its channels move to standbys",
        undo: "the threads wake by themselves",
        hold_s: 5,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: true,
        signs: NEW_LEADER,
        alerts: &["NotReady", "NoQuorumMargin"],
    },
    Scenario {
        name: "channel-cut",
        hypothesis: "A concentrator's active channel breaks and its standby goes on.",
        injection: Injection::CutChannel,
        does: "the node closes the concentrator's active channel",
        whom: Whom::Owner,
        blast_radius: "one concentrator; orders under way to it are answered `channel_lost`",
        undo: "the concentrator dials again; the main channel takes over after \
               `channels.switch_back_seconds`",
        hold_s: 0,
        write: FAILOVER,
        read: FAILOVER,
        channel: Some(CHANNEL),
        moves_office: false,
        signs: SWITCHED,
        alerts: &["StandbyMissing"],
    },
    Scenario {
        name: "channel-black-hole",
        hypothesis: "A concentrator's active channel goes dead without a word, that is noticed, \
                     and its standby goes on.",
        injection: Injection::HushChannel,
        does: "the node neither hears nor answers the concentrator's active channel",
        whom: Whom::Owner,
        blast_radius: "one concentrator; orders under way to it are answered `channel_lost`",
        undo: "the line is alive again after its time; the main channel takes over after \
               `channels.switch_back_seconds`",
        hold_s: 20,
        write: FAILOVER,
        read: FAILOVER,
        channel: Some(CHANNEL),
        moves_office: false,
        signs: SWITCHED,
        alerts: &["StandbyMissing"],
    },
    Scenario {
        name: "network-cut",
        hypothesis: "A node that loses its peers stops acting, the others go on, and it catches \
                     up when it hears them again.",
        injection: Injection::CutNetwork,
        does: "every datagram between the node and its peers is lost, both ways",
        whom: Whom::Leader,
        blast_radius: "one node takes no writes for the length; its channels move to standbys",
        undo: "the cut ends by itself on the node",
        hold_s: 10,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: true,
        signs: NEW_LEADER,
        alerts: &["PeerLinkDown", "NotReady", "NoQuorumMargin"],
    },
    Scenario {
        name: "full-disk",
        hypothesis: "A node short of room steps back before its disk is full, and works again \
                     when there is room.",
        injection: Injection::FillDisk,
        does: "the node behaves as below `storage.low_water_bytes`; nothing is written for it",
        whom: Whom::Leader,
        blast_radius: "one node takes no writes for the length; its channels move to standbys",
        undo: "the pretence ends by itself on the node",
        hold_s: 10,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: true,
        signs: NEW_LEADER,
        alerts: &["DiskFull", "NotReady"],
    },
    Scenario {
        name: "certificate-renewal",
        hypothesis: "A node takes the certificate in its files while it works, every other node \
                     takes it, and nobody who writes or reads notices.",
        injection: Injection::RenewCertificate,
        does: "the node reads `tls.*_file` again, tries what it read at the others, shows it and \
               dials its links anew",
        whom: Whom::Leader,
        blast_radius: "the node's links to the others, one after the other for some milliseconds",
        undo: "none needed; what another node refuses is not taken",
        hold_s: 0,
        write: PLANNED,
        read: PLANNED,
        channel: None,
        moves_office: false,
        signs: RENEWED,
        alerts: &[],
    },
    Scenario {
        name: "rolling-restart",
        hypothesis: "Every node is stopped in order and started again, one after the other, the \
                     leader last, and nobody who writes or reads notices.",
        injection: Injection::Restart,
        does: "the node hands its office and its channels over, stops in order and is started \
               again; each node in turn, the leader last",
        whom: Whom::Everyone,
        blast_radius: "one node at a time; the next only when all work and are caught up; \
                       channels move to standbys",
        undo: "a supervisor (systemd, the demo) starts the process again; without one you do",
        hold_s: 0,
        write: PLANNED,
        read: PLANNED,
        channel: None,
        moves_office: true,
        signs: &[],
        alerts: &["NodeDown", "NoQuorumMargin"],
    },
    Scenario {
        name: "rolling-upgrade",
        hypothesis: "The program is replaced on every node, one after the other, the leader last, \
                     and nobody who writes or reads notices.",
        injection: Injection::Upgrade,
        does: "as rolling-restart, behind an exchange of the program's file on every node; each \
               must come back as another build, or as the version that was named",
        whom: Whom::Everyone,
        blast_radius: "one node at a time; nodes of both versions work together meanwhile",
        undo: "put the old program back and drill again, where the release notes allow the way \
               back",
        hold_s: 0,
        write: PLANNED,
        read: PLANNED,
        channel: None,
        moves_office: true,
        signs: &[],
        alerts: &["NodeDown", "NoQuorumMargin"],
    },
    Scenario {
        name: "restore-from-backup",
        hypothesis: "The last backup is whole, and what is restored from it is the very state \
                     that was backed up.",
        injection: Injection::Restore,
        does: "the driver restores the newest backup into a scratch folder and compares hashes",
        whom: Whom::Leader,
        blast_radius: "nothing: a folder on the driver's machine; no node is hurt",
        undo: "the scratch folder is removed",
        hold_s: 0,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: false,
        signs: &[],
        alerts: &[],
    },
    Scenario {
        name: crate::drills::acceptance::SCENARIO,
        hypothesis: "Every figure of the specification holds on this cluster.",
        injection: Injection::Measure,
        does: "what `holdfast acceptance` measured is held against the customer's figures",
        whom: Whom::Leader,
        blast_radius: "nothing; drills that belong to it are drills of their own",
        undo: "none needed",
        hold_s: 0,
        write: FAILOVER,
        read: FAILOVER,
        channel: None,
        moves_office: false,
        signs: &[],
        alerts: &[],
    },
];

/// Time before the injection in which the usual is measured.
pub const BASELINE: Duration = Duration::from_secs(3);
/// How long it is measured again while not every node works.
pub const CALM_WITHIN: Duration = Duration::from_secs(30);
/// Time behind the recovery in which the usual is measured again.
pub const SETTLE: Duration = Duration::from_secs(2);
/// How long the cluster may take until every node works again, from the end of the failure on.
pub const WHOLE_WITHIN: Duration = Duration::from_secs(90);
/// How long a node of a rolling drill may take until all work again.
pub const EACH_WITHIN: Duration = Duration::from_secs(85);
/// The longest failure that can be chosen, s.
pub const MAX_HOLD_S: u32 = 60;

impl Scenario {
    /// After so many seconds the drill is over whatever happens.
    pub fn limit_s(&self, hold_s: u32, nodes: usize) -> u32 {
        if !self.injection.hurts() {
            return domain::drills::MAX_LIMIT_S;
        }
        let mut rest = CALM_WITHIN + BASELINE + SETTLE + WHOLE_WITHIN;
        if self.injection.rolls() {
            let others = u32::try_from(nodes.saturating_sub(1)).unwrap_or(u32::MAX / 1_000_000);
            rest += EACH_WITHIN * others;
        }
        // A minute for read-back and report on a busy machine.
        hold_s + u32::try_from(rest.as_secs()).unwrap_or(u32::MAX / 2) + 60
    }
}

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_fits_the_log_and_is_named_once() {
        for (place, one) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS.iter().skip(place + 1).all(|other| other.name != one.name));
            let hold_s = if one.injection.lasts() { MAX_HOLD_S } else { 0 };
            assert!(one.limit_s(hold_s, 9) <= domain::drills::MAX_LIMIT_S, "{}", one.name);
            assert_eq!(one.injection.lasts(), one.hold_s > 0, "{}", one.name);
            assert_eq!(one.injection.is_of_a_channel(), one.channel.is_some(), "{}", one.name);
            assert!(one.write.promise_ms < one.write.limit_ms, "{}", one.name);
            assert_eq!(find(one.name), Some(one));
        }
        assert_eq!(find("site-lost"), None);
    }
}
