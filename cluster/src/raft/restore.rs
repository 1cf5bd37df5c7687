//! A state from a backup becomes the beginning of a new cluster.
//!
//! Not here: how its files get into the stores (`storage`), what is raised (`domain::restore`).
//! Invariants:
//! 1. Works on a data directory that no node has run on yet; run once for each node of the new
//!    cluster, with the same members and the same plan, it leaves equal states.
//! 2. The log begins behind the state: everything up to its index counts as purged, and the vote
//!    stands at the state's term, so that terms and ids go on rising.
//! 3. The state as it is afterwards is a complete snapshot, and the only one: nothing can be
//!    rebuilt from the state before the raise.

use std::io;

use domain::restore::{self, Plan};
use domain::{NodeId, Stamp};
use storage::{Put, Store};

use super::durable::Durable;
use super::log_store;
use super::types::Vote;
use crate::config::Peer;
use crate::view::LocalView;

/// Rows of one step of the raise.
const STEP_ROWS: usize = 1000;

/// What a state from a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Index of the last entry of the log that it holds.
    pub index: u64,
    /// The state hash at that index: that of the cluster that was backed up.
    pub state_hash: [u8; 32],
    /// Its last stamp.
    pub stamp: Stamp,
}

/// What a snapshot's manifest says of its state.
///
/// Errors when its meta cannot be read.
pub fn describe_backup(meta: &[u8]) -> io::Result<Restored> {
    Ok(of(&Durable::decode(meta)?))
}

fn of(durable: &Durable) -> Restored {
    Restored { index: durable.index(), state_hash: durable.hash, stamp: Stamp(durable.stamp) }
}

/// Makes the installed state in `store` the beginning of node `own` of a cluster of `members`.
/// Blocks on the disk.
///
/// Errors when the stores cannot be read or written, or hold no state.
pub fn begin_from_backup(
    store: &Store,
    own: NodeId,
    members: &[Peer],
    plan: &Plan,
) -> io::Result<Restored> {
    let tables = &store.tables;
    let mut durable = Durable::load(tables)?;
    let Some(applied) = durable.applied else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the backup holds no state"));
    };
    let before = of(&durable);
    let view = LocalView::new(tables.clone(), before.index);
    let mut place = None;
    loop {
        let (writes, next) = restore::step(&view, plan, place, STEP_ROWS)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
        let puts: Vec<Put> = writes
            .into_iter()
            .map(|write| Put { table: write.table.id(), key: write.key, value: write.value })
            .collect();
        tables.commit(&puts)?;
        match next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    durable.found(applied, members);
    tables.commit(&[durable.put()?])?;
    // The log before the snapshot: with the snapshot alone the folder is whole.
    let vote = Vote::new(applied.leader_id.term, own.0);
    log_store::begin_behind(&store.log, applied, &vote)?;
    let frozen = store.snapshots.freeze(before.index, durable.encode()?)?;
    store.snapshots.write(frozen)?;
    Ok(before)
}
