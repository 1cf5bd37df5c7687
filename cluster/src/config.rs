//! What a node of the cluster is told at start: who it is, who its peers are, and its limits.
//!
//! It is not the node's whole configuration: HTTP, gateway and storage have their own.
//! Invariant: a `Config` that passed `validate` never makes `Cluster::open` fail for a reason
//! that stands in the configuration itself.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use domain::NodeId;

/// A node of the cluster, as a node's configuration lists it: a founder, or where to find the
/// cluster. Who is a member says the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Number of the node, from 1. Two nodes with one number destroy the log.
    pub id: NodeId,
    /// Name for people, `[A-Za-z0-9-]`, at most 63 octets.
    pub name: String,
    /// `host:port` (UDP) where the others reach this node; resolved again for every dial.
    pub address: String,
    /// URL of its HTTP side; carried for status pages only.
    pub http: String,
}

/// Settings of one cluster member. Times are milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of this node; it must stand in `peers`.
    pub node: NodeId,
    /// Name of this node; it must be the name that `peers` gives.
    pub name: String,
    /// UDP address for the node-to-node endpoint. A wrong one leaves the node alone.
    pub listen: SocketAddr,
    /// This node and those that it looks for. At the first start of a cluster: every voter, the
    /// same list on every node.
    pub peers: Vec<Peer>,
    /// Raft group in frames and folder names; 0 today.
    pub group: u32,
    /// Heartbeat of the leader. Too long and followers vote needlessly.
    pub heartbeat_ms: u64,
    /// Shortest and longest election time-out. The pause after a lost leader is about the longest
    /// plus a random part; shorter than ten round trips makes leaders flap.
    pub election_ms: (u64, u64),
    /// Time for one TLS handshake of a node link. Seconds: a busy machine must not dial for ever.
    pub dial_ms: u64,
    /// Silence after which a node link is dead; at most 1000.
    pub idle_ms: u64,
    /// Keep-alive of node links; several must fit into `idle_ms`.
    pub keep_alive_ms: u64,
    /// Largest number of log entries in one append.
    pub max_payload_entries: u64,
    /// Largest encoded change in octets; larger ones are refused before the log.
    pub max_entry_octets: usize,
    /// Proposals that may wait at one node; more are answered "busy".
    pub max_in_flight: usize,
    /// Entries after which a new snapshot is due. Small values cost a table dump each.
    pub snapshot_entries: u64,
    /// Least time between two snapshots that nobody waits for.
    pub snapshot_pause_ms: u64,
    /// Entries kept in the log behind the last snapshot, so that a short absence is healed by log.
    pub keep_entries: u64,
    /// Time between two comparisons of sealed contents with those of the peers.
    pub compare_ms: u64,
    /// Effects kept for a slow receiver before it is told that it lagged.
    pub effects_kept: usize,
    /// Entries that a node may be behind and still be given a vote. Too many: writes wait for it.
    pub promote_lag_entries: u64,
    /// With proposals waiting and no commit for so long, a leader gives its office up.
    pub stall_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            name: "n1".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7001)),
            peers: Vec::new(),
            group: 0,
            heartbeat_ms: 50,
            election_ms: (150, 300),
            dial_ms: 3000,
            idle_ms: 1000,
            keep_alive_ms: 200,
            max_payload_entries: 300,
            max_entry_octets: 256 * 1024,
            max_in_flight: 4096,
            snapshot_entries: 20_000,
            snapshot_pause_ms: 60_000,
            keep_entries: 5_000,
            compare_ms: 600_000,
            effects_kept: 4096,
            promote_lag_entries: 1_000,
            stall_ms: 3000,
        }
    }
}

impl Config {
    /// Small limits, so that tests meet snapshots, purges and full queues within seconds.
    pub fn for_test(node: u64, peers: Vec<Peer>) -> Self {
        let own = peers.iter().find(|peer| peer.id.0 == node);
        let name = own.map(|peer| peer.name.clone()).unwrap_or_default();
        let listen = own.and_then(|peer| peer.address.parse().ok());
        Self {
            node: NodeId(node),
            name,
            listen: listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            peers,
            max_in_flight: 512,
            snapshot_entries: 2_000,
            snapshot_pause_ms: 0,
            keep_entries: 200,
            compare_ms: 500,
            effects_kept: 256,
            promote_lag_entries: 100,
            ..Self::default()
        }
    }

    /// Every fault of this configuration, one sentence each; empty when it is sound.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.validate_peers(&mut faults);
        self.validate_times(&mut faults);
        self.validate_limits(&mut faults);
        faults
    }

    fn validate_peers(&self, faults: &mut Vec<String>) {
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        for peer in &self.peers {
            if peer.id.0 == 0 {
                faults.push(format!("peer {}: node ids start at 1", peer.name));
            }
            if !ids.insert(peer.id.0) {
                faults.push(format!("peer {}: node id {} is used twice", peer.name, peer.id.0));
            }
            if !names.insert(peer.name.as_str()) {
                faults.push(format!("peer {}: the name is used twice", peer.name));
            }
            if !sound_name(&peer.name) {
                faults.push(format!(
                    "peer {:?}: a name is 1 to 63 of letters, digits and -",
                    peer.name
                ));
            }
            if !sound_address(&peer.address) {
                faults.push(format!(
                    "peer {}: address {:?} is not host:port",
                    peer.name, peer.address
                ));
            }
        }
        match self.peers.iter().find(|peer| peer.id == self.node) {
            None => faults.push(format!("node {} does not stand in peers", self.node.0)),
            Some(own) if own.name != self.name => faults.push(format!(
                "node {} is called {} here and {} in peers",
                self.node.0, self.name, own.name
            )),
            Some(_) => {}
        }
    }

    fn validate_times(&self, faults: &mut Vec<String>) {
        let (least, most) = self.election_ms;
        if self.heartbeat_ms == 0 || self.heartbeat_ms * 2 > least {
            faults.push(format!(
                "heartbeat_ms {} must be 1 to half of the shorter election_ms {least}",
                self.heartbeat_ms
            ));
        }
        if least >= most {
            faults.push(format!("election_ms {least} must be shorter than {most}"));
        }
        if self.idle_ms == 0 || self.idle_ms > 1000 {
            faults.push(format!("idle_ms {} must be 1 to 1000", self.idle_ms));
        }
        if self.keep_alive_ms == 0 || self.keep_alive_ms * 3 > self.idle_ms {
            faults.push(format!(
                "keep_alive_ms {} must fit three times into idle_ms {}",
                self.keep_alive_ms, self.idle_ms
            ));
        }
        if self.dial_ms < 1000 {
            faults.push(format!("dial_ms {} must be at least 1000", self.dial_ms));
        }
        if self.stall_ms < most * 2 {
            faults.push(format!("stall_ms {} must be at least twice election_ms", self.stall_ms));
        }
    }

    fn validate_limits(&self, faults: &mut Vec<String>) {
        if self.max_payload_entries == 0 {
            faults.push("max_payload_entries must be at least 1".to_owned());
        }
        if !(1024..=MAX_ENTRY_OCTETS).contains(&self.max_entry_octets) {
            faults.push(format!(
                "max_entry_octets {} must be 1024 to {MAX_ENTRY_OCTETS}",
                self.max_entry_octets
            ));
        }
        if self.max_in_flight == 0 || self.max_in_flight > 65_536 {
            faults.push(format!("max_in_flight {} must be 1 to 65536", self.max_in_flight));
        }
        if self.snapshot_entries == 0 {
            faults.push("snapshot_entries must be at least 1".to_owned());
        }
        if self.effects_kept == 0 || self.effects_kept > 1 << 20 {
            faults.push(format!("effects_kept {} must be 1 to 1048576", self.effects_kept));
        }
    }

    /// Time after which a handshake is given up.
    pub fn dial_timeout(&self) -> Duration {
        Duration::from_millis(self.dial_ms)
    }

    /// The peers without this node.
    pub fn others(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.id != self.node)
    }
}

/// No entry may be larger than what several of them in one append frame leave room for.
pub const MAX_ENTRY_OCTETS: usize = 1024 * 1024;

fn sound_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

fn sound_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Peer> {
        (1..=3)
            .map(|id| Peer {
                id: NodeId(id),
                name: format!("n{id}"),
                address: format!("127.0.0.1:{}", 7000 + id),
                http: format!("http://127.0.0.1:{}", 8079 + id),
            })
            .collect()
    }

    #[test]
    fn sound_configuration_has_no_fault() {
        assert_eq!(Config::for_test(2, three()).validate(), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut peers = three();
        peers[1].id = NodeId(1);
        peers[2].address = "nowhere".to_owned();
        let config = Config {
            heartbeat_ms: 200,
            election_ms: (300, 150),
            idle_ms: 5000,
            max_in_flight: 0,
            ..Config::for_test(7, peers)
        };
        let faults = config.validate();
        for part in ["used twice", "host:port", "stand in peers", "heartbeat", "shorter", "idle_ms"]
        {
            assert!(faults.iter().any(|fault| fault.contains(part)), "{part} in {faults:?}");
        }
        assert!(faults.len() >= 7, "{faults:?}");
    }
}
