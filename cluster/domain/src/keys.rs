//! Keys: what a device is keyed with, always wrapped, and which invocation counters are used up.
//!
//! Invariants: 1. No plain key is ever here: who proposes has wrapped it. 2. Of a device's
//! counters no two blocks overlap, whoever asks and whatever fails. 3. Counters never go down.

use serde::{Deserialize, Serialize};

use crate::units::{Device, Stamp};

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Keep a wrapped key; it replaces the one of the same kind.
    Install {
        /// Whose. A meter behind a concentrator is `Device::Meter` too.
        device: Device,
        /// Which of its keys.
        kind: KeyKind,
        /// AES key wrap (RFC 3394, RFC 5649) of the key: 16 to 128 octets.
        wrapped: Vec<u8>,
        /// What it was wrapped with.
        wrap: WrapId,
    },
    /// Take the next `count` invocation counters.
    Reserve {
        /// For frames to whom.
        device: Device,
        /// 1 to [`MAX_BLOCK`].
        count: u32,
    },
    /// The device has seen a higher counter than we gave: go on from there.
    RaiseCounter {
        /// Which.
        device: Device,
        /// Every counter given from now on is at least this.
        at_least: u32,
    },
}

/// Which key of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyKind {
    /// Global unicast encryption key.
    Guek,
    /// Global authentication key.
    Gak,
    /// Password of low level security.
    LlsSecret,
}

/// Names the key that wraps others, without saying anything about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WrapId(pub [u8; 8]);

/// The most counters of one block.
pub const MAX_BLOCK: u32 = 1_000_000;

/// A wrapped key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Which of the device's keys.
    pub kind: KeyKind,
    /// The wrapped octets.
    pub wrapped: Vec<u8>,
    /// What it was wrapped with.
    pub wrap: WrapId,
    /// Since when.
    pub installed: Stamp,
}

pub(crate) fn apply(
    _tx: &mut crate::apply::Tx<'_>,
    _change: &Change,
) -> Result<crate::Done, crate::error::Stop> {
    Ok(crate::Done::Noted)
}
