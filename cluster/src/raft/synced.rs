//! How far this node's own log is on its disk, for whoever must not come further than that.
//!
//! Not here: the disk. The log calls back when it has synced.
//! Invariants:
//! 1. Whoever is let pass for an index stands on a log that holds it on the disk.
//! 2. Nobody waits for a log that has failed or is gone.

use std::io;

use tokio::sync::watch;

/// The last index on the disk, or that no more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// `None` before the first entry.
    To(Option<u64>),
    Failed,
}

/// The log's side.
#[derive(Debug)]
pub struct Mark(watch::Sender<Reach>);

impl Mark {
    /// Everything up to this index was found on the disk.
    pub fn new(last: Option<u64>) -> Self {
        Self(watch::Sender::new(Reach::To(last)))
    }

    /// What waits on it.
    pub fn subscribe(&self) -> Synced {
        Synced(self.0.subscribe())
    }

    /// Everything up to an index is on the disk now.
    pub fn raise(&self, index: u64) {
        self.0.send_if_modified(|reach| match reach {
            Reach::To(last) if *last < Some(index) => {
                *last = Some(index);
                true
            }
            _ => false,
        });
    }

    /// What stood behind this entry is gone; other entries will take its indexes.
    pub fn lower(&self, last: Option<u64>) {
        self.0.send_if_modified(|reach| match reach {
            Reach::To(reached) if *reached > last => {
                *reached = last;
                true
            }
            _ => false,
        });
    }

    /// The disk has refused: nothing more will come.
    pub fn fail(&self) {
        self.0.send_replace(Reach::Failed);
    }
}

/// The side of who waits.
#[derive(Clone, Debug)]
pub struct Synced(watch::Receiver<Reach>);

impl Synced {
    /// Waits until the log holds an index on its disk.
    ///
    /// It has no deadline of its own: consensus waits for the same sync, and an entry that comes
    /// here was given to the log before.
    ///
    /// # Errors
    /// The log has failed or is gone.
    pub async fn reached(&mut self, index: u64) -> io::Result<()> {
        let over = |reach: &Reach| match reach {
            Reach::To(last) => *last >= Some(index),
            Reach::Failed => true,
        };
        match self.0.wait_for(over).await.as_deref() {
            Ok(Reach::To(_)) => Ok(()),
            Ok(Reach::Failed) | Err(_) => Err(io::Error::other("the log does not sync any more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn waits(synced: &Synced, index: u64) -> Option<bool> {
        let mut synced = synced.clone();
        let reached = tokio::time::timeout(Duration::from_millis(20), synced.reached(index)).await;
        reached.ok().map(|reached| reached.is_ok())
    }

    #[tokio::test]
    async fn it_follows_the_log_up_and_down() {
        let mark = Mark::new(None);
        let synced = mark.subscribe();
        assert_eq!(waits(&synced, 0).await, None, "the first entry has index 0");
        mark.raise(0);
        assert_eq!(waits(&synced, 0).await, Some(true));
        mark.raise(9);
        mark.raise(7);
        assert_eq!(waits(&synced, 9).await, Some(true));
        mark.lower(Some(5));
        mark.lower(Some(8));
        assert_eq!((waits(&synced, 5).await, waits(&synced, 6).await), (Some(true), None));
        mark.raise(6);
        assert_eq!(waits(&synced, 6).await, Some(true));
        mark.lower(None);
        assert_eq!(waits(&synced, 0).await, None);
        mark.fail();
        mark.raise(100);
        assert_eq!(waits(&synced, 0).await, Some(false));
    }

    #[tokio::test]
    async fn a_log_that_is_gone_lets_nobody_wait() {
        let mark = Mark::new(Some(3));
        let synced = mark.subscribe();
        drop(mark);
        assert_eq!(waits(&synced, 3).await, Some(true), "what is there is there");
        assert_eq!(waits(&synced, 4).await, Some(false));
    }
}
