//! What a device can be ordered to do, and what comes back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Value;
use crate::apply::hash;
use crate::error::{Stop, refuse};
use crate::units::Obis;

/// The most attributes of one order.
pub const MAX_ATTRIBUTES: usize = 64;

/// The most octets of the reason of an order.
pub const MAX_REASON: usize = 200;

/// The largest step by which a clock is shifted, in seconds (class 8, method 6).
pub const MAX_SHIFT_S: u16 = 900;

/// The most octets of a value to be written.
const MAX_VALUE_OCTETS: usize = 16 * 1024;

/// What a device is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Read attributes.
    Read {
        /// Which, 1 to 64.
        attributes: Vec<Attribute>,
    },
    /// Read a load profile by range of time.
    Profile {
        /// Which profile.
        obis: Obis,
        /// From, seconds UTC, inclusive.
        from_s: i64,
        /// To, seconds UTC, inclusive.
        to_s: i64,
    },
    /// Write an attribute and read it back.
    Write {
        /// Which.
        attribute: Attribute,
        /// The new value, unscaled.
        value: Value,
        /// The tag of its type (IEC 62056-6-2 clause 4.1.5); none: the type that the attribute
        /// has when it is read.
        tag: Option<u8>,
    },
    /// Open or close the supply switch (class 70) and read its state.
    Switch {
        /// Close (reconnect), or open (disconnect).
        close: bool,
        /// Why, for the record: 1 to 200 octets.
        reason: String,
    },
    /// Measure the clock's offset with half the round trip and bring it to ours.
    Clock {
        /// The largest step in seconds that may be made by shifting, 900 at most; an offset beyond
        /// it is refused unless `set`.
        limit_s: u16,
        /// Set the time whatever the offset is.
        set: bool,
    },
    /// Shift a clock that is off by so much by one small step, and see that it is.
    Shift {
        /// By how much, seconds: 1 to 900 ahead or back.
        by_s: i16,
        /// How far it was off when that was decided, milliseconds; one that stands elsewhere by
        /// now is left alone.
        off_ms: i64,
    },
    /// Set a concentrator's parameters as a whole set, and see that it counts.
    Push {
        /// Tells this set from others.
        version: u32,
        /// So long a new address of a head-end has to prove itself, seconds.
        trial_s: u16,
        /// What is to stand where, 1 to 64.
        wanted: Vec<Wanted>,
    },
    /// Restart a concentrator, and see that it did.
    Restart {
        /// Why, for the record: 1 to 200 octets.
        reason: String,
    },
}

/// An attribute and the value that it is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Which.
    pub attribute: Attribute,
    /// The value, unscaled.
    pub value: Value,
}

/// An attribute of a COSEM object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Interface class.
    pub class: u16,
    /// Logical name.
    pub obis: Obis,
    /// Attribute index.
    pub attribute: i8,
}

/// One attribute as read from the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Logical name.
    pub obis: Obis,
    /// Attribute index.
    pub attribute: i8,
    /// What stood there, unscaled.
    pub value: Value,
    /// Values are in 10^scaler of the unit, when the object has one.
    pub scaler: Option<i8>,
    /// Unit code of IEC 62056-6-2, when the object has one.
    pub unit: Option<u8>,
}

/// Why a command came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// No channel leads to the device.
    NoChannel,
    /// The device did not answer in time.
    NoAnswer,
    /// The device refused the association; why, as far as it said.
    Rejected(String),
    /// The device refused the access: its data-access-result code.
    Access(u8),
    /// The answer does not decode, or does not answer the question.
    Malformed(String),
    /// The answer does not decipher, or the device refused our ciphering.
    Security(String),
    /// The channel was lost to another node while the device was asked.
    ChannelLost,
    /// The head-end cannot do this order to this device.
    Unsupported(String),
    /// Too many orders wait for this device.
    Busy,
    /// The line to the device is not there or went away: a serial port, a serial server.
    Line(String),
    /// Read back, the device does not stand as ordered: what it says.
    NotDone(String),
    /// The order is not carried out by rule: why. Nothing was changed.
    Held(String),
    /// The device could not be reached, so that nothing of the order has left: why.
    Unreached(String),
    /// The device is still at it; what came of it is seen later.
    Pending(String),
}

impl Order {
    /// Whether doing it twice does no more than doing it once.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Order::Read { .. } | Order::Profile { .. } => true,
            Order::Write { .. }
            | Order::Switch { .. }
            | Order::Clock { .. }
            | Order::Shift { .. }
            | Order::Push { .. }
            | Order::Restart { .. } => false,
        }
    }

    /// Whether only a concentrator can do it.
    pub fn is_of_concentrators(&self) -> bool {
        matches!(self, Order::Push { .. } | Order::Restart { .. })
    }

    /// Whether it changes the device, and so is proven by reading back.
    pub fn acts(&self) -> bool {
        !self.is_repeatable()
    }

    /// Refuses what is no order (`bad_order`).
    pub(super) fn check(&self) -> Result<(), Stop> {
        let bad = |text: &str| Err(refuse("bad_order", text));
        match self {
            Order::Read { attributes } if !(1..=MAX_ATTRIBUTES).contains(&attributes.len()) => {
                bad("1 to 64 attributes")
            }
            Order::Profile { from_s, to_s, .. } if from_s >= to_s => {
                bad("the range ends before it begins")
            }
            Order::Write { value, .. } if hash::encode(value)?.len() > MAX_VALUE_OCTETS => {
                bad("a value of more than 16 KiB")
            }
            Order::Push { wanted, .. } if !(1..=MAX_ATTRIBUTES).contains(&wanted.len()) => {
                bad("1 to 64 parameters")
            }
            Order::Switch { reason, .. } | Order::Restart { reason }
                if !(1..=MAX_REASON).contains(&reason.trim().len()) =>
            {
                bad("a reason of 1 to 200 octets")
            }
            Order::Clock { limit_s, .. } if *limit_s > MAX_SHIFT_S => {
                bad("a clock is shifted by 900 s at most")
            }
            Order::Shift { by_s, .. } if !(1..=MAX_SHIFT_S).contains(&by_s.unsigned_abs()) => {
                bad("a clock is shifted by 1 to 900 s")
            }
            _ => Ok(()),
        }
    }
}

impl Failure {
    /// The failure's stable name, as the API gives it.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::NoChannel => "no_channel",
            Failure::NoAnswer => "no_answer",
            Failure::Rejected(_) => "association_rejected",
            Failure::Access(_) => "access_refused",
            Failure::Malformed(_) => "malformed_answer",
            Failure::Security(_) => "security",
            Failure::ChannelLost => "channel_lost",
            Failure::Unsupported(_) => "unsupported",
            Failure::Busy => "busy",
            Failure::Line(_) => "line_gone",
            Failure::NotDone(_) => "not_done",
            Failure::Held(_) => "held_back",
            Failure::Unreached(_) => "unreached",
            Failure::Pending(_) => "pending",
        }
    }

    /// Whether it proves that an order which acts did nothing to the device. Otherwise the order
    /// may have been carried out although no answer came.
    pub fn proves_untouched(&self) -> bool {
        !matches!(
            self,
            Failure::NoAnswer
                | Failure::ChannelLost
                | Failure::Malformed(_)
                | Failure::Line(_)
                | Failure::Pending(_)
        )
    }

    /// The same failure of an order of which no octet has left: what is in doubt otherwise is not.
    pub fn before_sending(self) -> Failure {
        if self.proves_untouched() { self } else { Failure::Unreached(self.to_string()) }
    }
}

/// The failure in words; its name is `code`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Rejected(text)
            | Failure::Malformed(text)
            | Failure::Security(text)
            | Failure::Unsupported(text)
            | Failure::Line(text)
            | Failure::NotDone(text)
            | Failure::Held(text)
            | Failure::Unreached(text)
            | Failure::Pending(text) => f.write_str(text),
            Failure::Access(code) => write!(f, "data-access-result {code}"),
            Failure::Busy => {
                f.write_str("too many orders wait for the device, or its line is busy")
            }
            Failure::NoChannel => f.write_str("no channel leads to the device"),
            Failure::NoAnswer => f.write_str("the device did not answer in time"),
            Failure::ChannelLost => f.write_str("the channel was lost meanwhile"),
        }
    }
}
