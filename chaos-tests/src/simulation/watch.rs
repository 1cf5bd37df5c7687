//! What is judged while a story runs: equal hashes at equal indexes, and no node that halts.
//!
//! Invariant: a hash once seen at an index is the only one that may be seen there, for ever.

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
