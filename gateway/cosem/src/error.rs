//! What can go wrong between octets and meaning. It is not a report to a peer (that is
//! `apdu::exception`) and it never carries octets of a frame, a key or a secret.
//!
//! Invariant: `code()` is stable, so metrics and refusals can be counted by it.

/// Why octets were refused or a wish could not be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The octets are not what the standard (or a known quirk) says.
    #[error("octet {at}: {what}")]
    Malformed {
        /// Offset from the start of the octets that were given to the decoder.
        at: usize,
        /// What was expected or found, in words.
        what: &'static str,
    },
    /// A frame or an answer is longer than the limit that the caller set.
    #[error("{length} octets where at most {limit} are taken")]
    TooLong {
        /// Length announced or reached, in octets.
        length: usize,
        /// Limit, in octets.
        limit: usize,
    },
    /// The authentication tag does not verify: wrong key, wrong title or changed octets.
    #[error("authentication tag does not verify")]
    BadTag,
    /// The invocation counter is not above the last accepted one.
    #[error("invocation counter {counter} is not above {highest}")]
    Replayed {
        /// Counter of the frame.
        counter: u32,
        /// Highest counter accepted before.
        highest: u32,
    },
    /// The signature is not the peer's, or the octets were changed.
    #[error("signature does not verify")]
    BadSignature,
    /// The security suite is not that of the keys.
    #[error("security suite {0} is not that of the keys")]
    Suite(u8),
    /// Protection is absent or weaker than configured, or of a kind that we do not open.
    #[error("protection refused: {0}")]
    Protection(&'static str),
    /// The sender's system title is not the one that the association is with.
    #[error("the system title is not the peer's")]
    WrongTitle,
    /// No invocation counter is left in the reserved block.
    #[error("no invocation counter is left")]
    NoCounters,
    /// Keys are needed and none are configured.
    #[error("no keys are configured")]
    NoKeys,
    /// The frame is for another association: ports or gateway address differ.
    #[error("the frame is addressed to another association")]
    WrongAddress,
    /// A service of short-name referencing (READ, WRITE): only logical names are spoken here.
    #[error("short-name referencing (READ, WRITE) is not supported")]
    ShortName,
    /// Too many requests wait already.
    #[error("the request queue is full")]
    QueueFull,
    /// The call or the APDU does not fit the state of the association.
    #[error("not possible now: {0}")]
    WrongState(&'static str),
}

impl Error {
    /// A stable name for counters and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLong { .. } => "too_long",
            Self::BadTag => "bad_tag",
            Self::BadSignature => "bad_signature",
            Self::Replayed { .. } => "replayed",
            Self::Suite(_) => "suite",
            Self::Protection(_) => "protection",
            Self::WrongTitle => "wrong_title",
            Self::NoCounters => "no_counters",
            Self::NoKeys => "no_keys",
            Self::WrongAddress => "wrong_address",
            Self::ShortName => "short_name",
            Self::QueueFull => "queue_full",
            Self::WrongState(_) => "wrong_state",
        }
    }

    pub(crate) const fn malformed(at: usize, what: &'static str) -> Self {
        Self::Malformed { at, what }
    }
}
