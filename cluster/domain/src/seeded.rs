//! Mistakes put in on purpose, so that the checkers of the simulation can show that they see them.
//!
//! Compiled with the feature `seeded-bugs` alone, which no product has; switched on for one thread
//! at run time, so that a whole simulated cluster has the mistake and nothing else does.

use std::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The log says that an append is synced before it is.
    AcknowledgeBeforeFlush,
    /// A leader that starts again leads on under its old term.
    LeaderRestored,
    /// A vote is answered and not saved.
    VoteNotSaved,
    /// A leader answers reads without asking a quorum.
    StaleRead,
    /// The log drops entries that no snapshot holds.
    PurgeTooEarly,
    /// What acts under an older grant is taken.
    LeaseNotFenced,
    /// A grant takes the epoch of the one before it.
    EpochNotRaised,
    /// Now and then a block of counters is given and not noted.
    CounterReused,
    /// A repeated proposal is applied again.
    DedupDropped,
    /// Now and then a replica applies a write otherwise than the others.
    ReplicaDiverges,
    /// Audit records do not follow from the one before them.
    AuditUnchained,
}

impl Bug {
    /// Every mistake.
    pub const ALL: [Self; 11] = [
        Self::AcknowledgeBeforeFlush,
        Self::LeaderRestored,
        Self::VoteNotSaved,
        Self::StaleRead,
        Self::PurgeTooEarly,
        Self::LeaseNotFenced,
        Self::EpochNotRaised,
        Self::CounterReused,
        Self::DedupDropped,
        Self::ReplicaDiverges,
        Self::AuditUnchained,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeFlush => "acknowledge-before-flush",
            Self::LeaderRestored => "leader-restored",
            Self::VoteNotSaved => "vote-not-saved",
            Self::StaleRead => "stale-read",
            Self::PurgeTooEarly => "purge-too-early",
            Self::LeaseNotFenced => "lease-not-fenced",
            Self::EpochNotRaised => "epoch-not-raised",
            Self::CounterReused => "counter-reused",
            Self::DedupDropped => "dedup-dropped",
            Self::ReplicaDiverges => "replica-diverges",
            Self::AuditUnchained => "audit-unchained",
        }
    }

    /// The mistake of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// From now on this thread makes this mistake, or none.
pub fn make(bug: Option<Bug>) {
    BUG.set(bug);
}

/// Whether this thread makes this mistake.
pub fn makes(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}
