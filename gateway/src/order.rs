//! What is to be read from a device, and what came of it. Not here: how (see `script`).
//!
//! Invariant: every order is answered exactly once, at its deadline at the latest; an order whose
//! answer is dropped counts as `ChannelLost`.

use std::time::Instant;

use domain::Obis;
use domain::commands::{Attribute, Failure, Read};
use domain::readings::Register;
use tokio::sync::oneshot;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Attributes as they stand; registers come with their scaler and unit.
    Attributes(Vec<Attribute>),
    /// Rows of a load profile by range, both ends inclusive, seconds UTC.
    Profile {
        /// The profile's logical name.
        obis: Obis,
        /// First interval end.
        from_s: i64,
        /// Last interval end.
        to_s: i64,
    },
    /// What the concentrator's own store has of its meters, both ends inclusive, seconds UTC: the
    /// answer is one value, the octets of the store's rows.
    Store {
        /// First interval end.
        from_s: i64,
        /// Last interval end.
        to_s: i64,
        /// Serials of the meters.
        meters: Vec<String>,
    },
    /// How far the clock is off, measured with half the round trip: the clock as it stands, and the
    /// offset in milliseconds. Nothing is changed.
    Offset {
        /// What time it is.
        anchor: Anchor,
    },
    /// Carry out an order that acts.
    Act {
        /// Which.
        order: domain::commands::Order,
        /// What time it is.
        anchor: Anchor,
    },
    /// See whether the device stands as such an order wants it.
    ReadBack {
        /// Which.
        order: domain::commands::Order,
        /// What time it is.
        anchor: Anchor,
        /// Seconds since it was about to be sent.
        since_s: u64,
    },
}

impl Work {
    /// Whether it changes the device.
    #[must_use]
    pub fn acts(&self) -> bool {
        matches!(self, Self::Act { .. })
    }
}

/// One instant on two clocks: ours that only counts, and the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The instant.
    pub at: Instant,
    /// Milliseconds since 1970 UTC at that instant.
    pub unix_ms: i64,
}

impl Anchor {
    /// The same instant on a clock that is so many milliseconds ahead.
    #[must_use]
    pub fn later(self, ms: i64) -> Self {
        Self { unix_ms: self.unix_ms.saturating_add(ms), ..self }
    }

    /// The time of day at another instant.
    #[must_use]
    pub fn unix_ms(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.at).as_millis();
        self.unix_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// One value an attribute, in the order asked.
    Reads(Vec<Read>),
    /// Rows of a profile.
    Profile(ProfileRead),
    /// The device took the order; what was read of it before.
    Acted(Vec<Read>),
}

impl Outcome {
    /// The values for the record of a command. Rows of a profile become one value: a list of
    /// {time, flag, one value a register}, scaled as the first register.
    #[must_use]
    pub fn into_reads(self) -> Vec<Read> {
        match self {
            Self::Reads(reads) | Self::Acted(reads) => reads,
            Self::Profile(read) => crate::translate::reads_of(&read),
        }
    }
}

/// Rows of a load profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRead {
    /// The profile's logical name.
    pub obis: Obis,
    /// Minutes between two rows; 0 when the rows have no fixed interval.
    pub interval_minutes: u16,
    /// One register a column of values.
    pub registers: Vec<Register>,
    /// The rows, as the meter ordered them.
    pub rows: Vec<ProfileRow>,
}

/// One row of a load profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRow {
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// Quality bits as in `domain::readings::flag`.
    pub flag: u8,
    /// One value a register; None where the meter has none.
    pub values: Vec<Option<i64>>,
}

/// Who waits for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Somebody, now.
    OnDemand,
    /// Somebody who looks again and again: it makes way for those on demand, and takes turns with
    /// those in the background.
    Live,
    /// Nobody: it makes way for those on demand.
    Background,
}

/// An order on its way to a channel or a dialled meter.
#[derive(Debug)]
pub struct Order {
    /// The meter; None for the concentrator itself.
    pub meter: Option<String>,
    /// What to read.
    pub work: Work,
    /// Who waits for it.
    pub pace: Pace,
    /// Lease epoch under which the order was made; with another one it ends as `NoChannel`.
    pub epoch: Option<u64>,
    /// No answer is of use after it.
    pub deadline: Instant,
    /// The way back.
    pub reply: oneshot::Sender<Result<Outcome, Failure>>,
}

impl Order {
    /// Answers the order. Nobody may wait any more; that is no fault.
    pub fn answer(self, result: Result<Outcome, Failure>) {
        let _ = self.reply.send(result);
    }
}
