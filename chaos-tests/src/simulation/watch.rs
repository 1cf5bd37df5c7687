//! What is judged while a story runs: equal hashes at equal indexes, and no node that halts.
//!
//! Invariants: a hash once seen at an index is the only one that may be seen there, for ever; a
//! node's term never falls, for a vote that was given must be on its disk.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster::rt::world::sleep;

use super::{
    checks::{Broken, broken},
    executor::{spawn_on, throw, time},
    town::Town,
};

/// What the watch has seen. Clones share it.
#[derive(Clone, Default)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Of each index: who showed which hash first, and when.
    hashes: BTreeMap<u64, (u64, [u8; 32], Duration)>,
    /// Of each node: the latest term it was in.
    terms: BTreeMap<u64, u64>,
    broken: Vec<Broken>,
}

impl Watch {
    /// Begins to look at a town.
    pub fn begin(town: &Town) -> Self {
        let watch = Self::default();
        let (watching, town) = (watch.clone(), town.clone());
        spawn_on(0, async move {
            loop {
                sleep(Duration::from_millis(10 + throw(100))).await;
                watching.look(&town);
            }
        });
        watch
    }

    /// Looks at every node once.
    pub fn look(&self, town: &Town) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for machine in town.machines() {
            let Some(node) = machine.cluster() else { continue };
            let status = node.status();
            if let Some(fault) = status.fault {
                let line = format!("n{} halted: {fault}", machine.node);
                seen.note(broken("no node halts", line));
            }
            let latest = seen.terms.entry(machine.node).or_default();
            let before = *latest;
            *latest = before.max(status.term);
            // None is known for a moment when a node starts.
            if status.term > 0 && status.term < before {
                let line = format!("n{}: term {} after {before}", machine.node, status.term);
                seen.note(broken("no vote is forgotten", line));
            }
            // The last entries too: a run of entries is applied between two looks.
            for index in status.applied_index.saturating_sub(20)..=status.applied_index {
                let Some(hash) = node.hash_at(index) else { continue };
                let (other, expect, at) =
                    *seen.hashes.entry(index).or_insert((machine.node, hash, time()));
                if hash != expect {
                    let line = format!("entry {index}: n{} and n{other} ({at:?})", machine.node);
                    seen.note(broken("equal index, equal hash", line));
                }
            }
        }
    }

    /// Everything that was seen to be broken.
    pub fn broken(&self) -> Vec<Broken> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).broken.clone()
    }
}

impl Seen {
    fn note(&mut self, broken: Broken) {
        if !self.broken.contains(&broken) {
            super::executor::tell(|| format!("BROKEN: {}: {}", broken.promise, broken.seen));
            self.broken.push(broken);
        }
    }
}
