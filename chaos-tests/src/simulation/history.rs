//! What clients and nodes asked for and were told, in the order in which it happened.
//!
//! Not here: the judging (`checks`). Invariant: an answer is noted before its asker asks again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Outcome, ProposalId};

use super::executor::moment;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A value into a register.
    Write {
        /// Which register.
        register: u64,
        /// Unlike every other value.
        value: u64,
    },
    /// A register's value as of now.
    Read {
        /// Which register.
        register: u64,
    },
    /// A block of invocation counters.
    Reserve {
        /// Of which concentrator.
        device: u64,
        /// How many.
        count: u32,
    },
    /// The channel of a concentrator for a node.
    Claim {
        /// Which.
        device: u64,
        /// For whom.
        node: u64,
    },
    /// A node gives a channel up.
    Release {
        /// Which.
        device: u64,
        /// Who.
        node: u64,
        /// Under which grant.
        epoch: u64,
    },
    /// A node is alive.
    Renew {
        /// Which.
        node: u64,
    },
    /// A command to a concentrator.
    Queue {
        /// Its number.
        command: u64,
        /// To whom.
        device: u64,
    },
    /// A node is about to send a command.
    Sent {
        /// Which.
        command: u64,
        /// To whom.
        device: u64,
        /// Who.
        node: u64,
        /// Under which grant.
        epoch: u64,
    },
    /// A value of a meter.
    Ingest {
        /// End of its quarter of an hour, seconds since the Unix epoch.
        end_s: i64,
    },
}

/// One question and its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Under which id; of a read its place alone.
    pub id: ProposalId,
    /// What.
    pub what: What,
    /// When it was asked.
    pub begun: u64,
    /// When it was answered; none when nobody ever answered.
    pub ended: Option<u64>,
    /// Index and outcome that were told.
    pub told: Option<(u64, Outcome)>,
    /// What was read: none is a register that was never written.
    pub read: Option<Option<u64>>,
}

/// All of it. Clones share it.
#[derive(Clone, Default)]
pub struct History {
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl History {
    /// Notes a question; answers its place.
    pub fn ask(&self, id: ProposalId, what: What) -> usize {
        let mut asked = self.lock();
        let begun = moment();
        asked.push(Asked { id, what, begun, ended: None, told: None, read: None });
        asked.len() - 1
    }

    /// Notes the answer of a change.
    pub fn told(&self, place: usize, told: (u64, Outcome)) {
        if let Some(asked) = self.lock().get_mut(place) {
            (asked.ended, asked.told) = (Some(moment()), Some(told));
        }
    }

    /// Notes what was read.
    pub fn read(&self, place: usize, value: Option<u64>) {
        if let Some(asked) = self.lock().get_mut(place) {
            (asked.ended, asked.read) = (Some(moment()), Some(value));
        }
    }

    /// All of it so far.
    pub fn all(&self) -> Vec<Asked> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of the proposal with a number.
pub fn id_of(number: u64) -> ProposalId {
    let mut id = *b"simulated\0\0\0\0\0\0\0";
    let (_, low) = id.split_at_mut(8);
    low.copy_from_slice(&number.to_be_bytes());
    ProposalId(id)
}
