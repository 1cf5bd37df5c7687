//! What is applied here, for readers outside consensus: index, hash, stamp, fault.
//!
//! Invariants: index and hash always belong together; the ring holds the last `RING` hashes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::stamp::Stamper;

/// Hashes kept by index.
const RING: usize = 4096;

/// The applied point of a node.
#[derive(Debug)]
pub struct Applied {
    inner: Mutex<Inner>,
    stamper: Stamper,
    index: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    index: u64,
    hash: [u8; 32],
    ring: VecDeque<(u64, [u8; 32])>,
    fault: Option<String>,
}

impl Applied {
    /// Nothing applied; stamps come from `stamper`.
    pub fn new(stamper: Stamper) -> Self {
        Self { inner: Mutex::default(), stamper, index: watch::Sender::new(0) }
    }

    /// The maker of stamps, which follows what is applied.
    pub fn stamper(&self) -> &Stamper {
        &self.stamper
    }

    /// A run of entries was applied: indexes in order, with the hash after each.
    pub fn advance(&self, hashes: &[(u64, [u8; 32])], stamp: u64) {
        self.stamper.observe(stamp);
        let mut inner = self.lock();
        for (index, hash) in hashes {
            inner.index = *index;
            inner.hash = *hash;
            // Before the first entry stands index 0, and the first entry has index 0 too.
            if inner.ring.back().is_some_and(|(last, _)| last >= index) {
                inner.ring.pop_back();
            }
            if inner.ring.len() == RING {
                inner.ring.pop_front();
            }
            inner.ring.push_back((*index, *hash));
        }
        let index = inner.index;
        drop(inner);
        self.index.send_replace(index);
    }

    /// The state jumped to an index: at start, and when a snapshot is installed.
    pub fn jump(&self, index: u64, hash: [u8; 32], stamp: u64) {
        self.lock().ring.clear();
        self.advance(&[(index, hash)], stamp);
    }

    /// Keeps the first fault.
    pub fn halt(&self, fault: String) {
        self.lock().fault.get_or_insert(fault);
    }

    /// Why this node halted, if it did.
    pub fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    /// Applied index and the hash at it.
    pub fn point(&self) -> (u64, [u8; 32]) {
        let inner = self.lock();
        (inner.index, inner.hash)
    }

    /// Waits until an index is applied here.
    pub async fn reached(&self, index: u64) {
        // The sender lives in `self`, so waiting cannot fail.
        let mut applied = self.index.subscribe();
        let _never = applied.wait_for(|applied| *applied >= index).await;
    }

    /// The hash at an index, while it stands in the ring.
    pub fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        let inner = self.lock();
        let (first, _) = *inner.ring.front()?;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        inner.ring.get(at).filter(|(found, _)| *found == index).map(|(_, hash)| *hash)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_holds_the_last_hashes() {
        let applied = Applied::new(Stamper::new(|| 5));
        applied.jump(0, [0; 32], 0);
        applied.advance(&[(0, [9; 32]), (1, [8; 32])], 0);
        assert_eq!((applied.hash_at(0), applied.hash_at(1)), (Some([9; 32]), Some([8; 32])));
        applied.jump(10, [1; 32], 0);
        for index in 11..=10 + RING as u64 {
            applied.advance(&[(index, [2; 32])], index);
        }
        assert_eq!(applied.hash_at(10), None);
        assert_eq!(applied.hash_at(11), Some([2; 32]));
        assert_eq!(applied.hash_at(11 + RING as u64), None);
        assert_eq!(applied.point(), (10 + RING as u64, [2; 32]));
        applied.jump(99_999, [3; 32], 0);
        assert_eq!(applied.hash_at(11), None);
        assert_eq!(applied.hash_at(99_999), Some([3; 32]));
        applied.halt("first".into());
        applied.halt("second".into());
        assert_eq!(applied.fault(), Some("first".into()));
    }
}
