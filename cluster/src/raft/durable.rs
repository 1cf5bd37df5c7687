//! What the state machine keeps in the tables beside the domain's rows.
//!
//! Invariant: it is written in the same atomic batch as the rows of the entry it names, so it is
//! always of the very state that it stands beside; a snapshot carries the same octets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use openraft::Membership;
use serde::{Deserialize, Serialize};
use storage::{Put, Tables};

use super::types::{self, EntryId, Member, SnapshotMeta, StoredMembership};
use crate::config::Peer;

/// Our table; the domain leaves numbers from 64 up to the state machine.
const TABLE: u8 = 64;
const KEY: &[u8] = b"state";

/// Applied id, membership, state hash and stamp.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Id of the last entry applied.
    pub applied: Option<EntryId>,
    membership_id: Option<EntryId>,
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, Member>,
    /// State hash after the last entry applied.
    pub hash: [u8; 32],
    /// Latest stamp of an applied entry.
    pub stamp: u64,
}

impl Durable {
    /// What the tables hold; the default when they are empty.
    pub fn load(tables: &Tables) -> io::Result<Self> {
        match tables.get(TABLE, KEY)? {
            Some(octets) => Self::decode(&octets),
            None => Ok(Self::default()),
        }
    }

    /// From the octets of the tables or of a manifest.
    pub fn decode(octets: &[u8]) -> io::Result<Self> {
        types::decode(octets)
    }

    /// Octets for the tables and for a manifest.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        types::encode(self)
    }

    /// The write that keeps it.
    pub fn put(&self) -> io::Result<Put> {
        Ok(Put { table: TABLE, key: KEY.to_vec(), value: Some(self.encode()?) })
    }

    /// Log index of the last entry applied; 0 before the first.
    pub fn index(&self) -> u64 {
        self.applied.map_or(0, |id| id.index)
    }

    /// Takes a membership entry over.
    pub fn set_membership(&mut self, id: EntryId, membership: &Membership<u64, Member>) {
        self.membership_id = Some(id);
        self.configs = membership.get_joint_config().clone();
        self.nodes = membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
    }

    /// Makes these nodes the members, all voting, as of an entry.
    pub fn found(&mut self, id: EntryId, members: &[Peer]) {
        let member = |peer: &Peer| Member {
            name: peer.name.clone(),
            address: peer.address.clone(),
            http: peer.http.clone(),
        };
        self.membership_id = Some(id);
        self.configs = vec![members.iter().map(|peer| peer.id.0).collect()];
        self.nodes = members.iter().map(|peer| (peer.id.0, member(peer))).collect();
    }

    /// The membership in consensus's form.
    pub fn stored_membership(&self) -> io::Result<StoredMembership> {
        if self.membership_id.is_none() {
            return Ok(StoredMembership::default());
        }
        let membership = Membership::new(self.configs.clone(), self.nodes.clone());
        let membership = membership
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(StoredMembership::new(self.membership_id, membership))
    }

    /// The meta of a snapshot of this state.
    pub fn meta(&self) -> io::Result<SnapshotMeta> {
        Ok(SnapshotMeta { last_log_id: self.applied, last_membership: self.stored_membership()? })
    }
}
