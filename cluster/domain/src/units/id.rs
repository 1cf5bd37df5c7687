//! Ids and times. All of them come from outside: nothing here reads a clock or throws dice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Malformed;

/// Microseconds since the Unix epoch, UTC. Made by the leader, judged in the log; never goes back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp(pub u64);

impl Stamp {
    /// A stamp of whole seconds since the Unix epoch.
    pub fn from_seconds(seconds: u64) -> Stamp {
        Stamp(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX)
    }

    /// This stamp moved on by milliseconds; stands at the end of time rather than wrapping.
    pub fn plus_ms(self, milliseconds: u64) -> Stamp {
        Stamp(self.0.saturating_add(milliseconds.saturating_mul(1_000)))
    }
}

/// A node of the cluster, 1 and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of a proposal, made by who proposes. A repeated id is the same proposal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProposalId(pub [u8; 16]);

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ProposalId {
    type Err = Malformed;

    /// 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<ProposalId, Malformed> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(Malformed("an id has 32 hexadecimal digits"));
        }
        let mut id = [0; 16];
        for (octet, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let nibbles = pair.iter().map(|digit| char::from(*digit).to_digit(16));
            for nibble in nibbles {
                let nibble = nibble.ok_or(Malformed("an id has 32 hexadecimal digits"))?;
                *octet = (*octet << 4) | u8::try_from(nibble).unwrap_or(0);
            }
        }
        Ok(ProposalId(id))
    }
}

/// A command has the id of the proposal that asked for it.
pub type CommandId = ProposalId;

/// Something that a node can own the channel of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Device {
    /// A concentrator by its logical device name.
    Concentrator(String),
    /// A meter with an address of its own, by its serial.
    Meter(String),
}

impl Device {
    /// The logical device name or the serial.
    pub fn name(&self) -> &str {
        match self {
            Device::Concentrator(name) | Device::Meter(name) => name,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Concentrator(name) => write!(f, "concentrator {name}"),
            Device::Meter(name) => write!(f, "meter {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposal_id_reads_what_it_prints() {
        let id = ProposalId([0, 1, 2, 0xab, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "00", "zz0102ab0405060708090a0b0c0d0eff", "é".repeat(16).as_str()] {
            assert!(wrong.parse::<ProposalId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn stamps_saturate() {
        assert_eq!(Stamp(u64::MAX).plus_ms(1), Stamp(u64::MAX));
        assert_eq!(Stamp(1_999_999).seconds(), 1);
    }
}
