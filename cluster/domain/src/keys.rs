//! Keys: what a device is keyed with, always wrapped, and which invocation counters are used up.
//!
//! Invariants: 1. No plain key is ever here: who proposes has wrapped it. 2. Of a device's
//! counters no two blocks overlap, whoever asks and whatever fails. 3. Counters never go down.

use serde::{Deserialize, Serialize};

use crate::apply::table::{Key, Pair, Typed, end_of};
use crate::apply::{Done, Effect, Table, Tx, View};
use crate::assets;
use crate::error::{Fault, Stop, refuse};
use crate::restore::Plan;
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
    /// Password of low level security, secret of HLS 3, 4 and 6.
    LlsSecret,
    /// Key that encrypts keys.
    Kek,
    /// The head-end's private key for signatures.
    Signing,
    /// The device's public key for signatures.
    PeerSigning,
    /// The head-end's static private key for agreements.
    Agreement,
    /// The device's static public key for agreements.
    PeerAgreement,
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

static KEYS: Typed<Pair<'_, Device, KeyKind>, WrappedKey> = Typed::new(Table::Keys);
static COUNTERS: Typed<Device, u32> = Typed::new(Table::Counters);
/// The one row of the table that is no device's: see [`Floor`].
static FLOOR: Typed<str, Floor> = Typed::new(Table::Counters);
const FLOOR_KEY: &str = "";

/// Where devices begin that have no row of their own. Raised by a restore: a device that the
/// backup knew nothing of, or that nobody had talked to yet, may have been used meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Floor {
    counter: u32,
    epoch: u64,
}

/// The first counter of a device.
const FIRST_COUNTER: u32 = 1;

/// No counter at or above it is given: a device there needs new keys first. Far enough below the
/// end of 32 bits that a device which counts on by itself does not run over.
const LAST_COUNTER: u32 = u32::MAX - MAX_BLOCK;

impl Key for KeyKind {
    fn octets(&self) -> Vec<u8> {
        vec![match self {
            KeyKind::Guek => 1,
            KeyKind::Gak => 2,
            KeyKind::LlsSecret => 3,
            KeyKind::Kek => 4,
            KeyKind::Signing => 5,
            KeyKind::PeerSigning => 6,
            KeyKind::Agreement => 7,
            KeyKind::PeerAgreement => 8,
        }]
    }
}

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    let (Change::Install { device, .. }
    | Change::Reserve { device, .. }
    | Change::RaiseCounter { device, .. }) = change;
    if !assets::is_active(tx, device)? {
        return Err(refuse("unknown_device", device.to_string()));
    }
    match change {
        Change::Install { device, kind, wrapped, wrap } => {
            if !(16..=128).contains(&wrapped.len()) {
                return Err(refuse("bad_wrapped_key", "a wrapped key has 16 to 128 octets"));
            }
            let (kind, wrapped, wrap) = (*kind, wrapped.clone(), *wrap);
            let key = WrappedKey { kind, wrapped, wrap, installed: tx.stamp };
            KEYS.put(tx, &Pair(device, &kind), &key)?;
            tx.wake(Effect::KeysChanged { device: device.clone() });
            Ok(Done::Noted)
        }
        Change::Reserve { device, count } => reserve(tx, device, *count),
        Change::RaiseCounter { device, at_least } => {
            if *at_least >= LAST_COUNTER {
                return Err(refuse("counter_exhausted", device.to_string()));
            }
            let next = next_counter(tx, device)?.max(*at_least);
            COUNTERS.put(tx, device, &next)?;
            Ok(Done::Noted)
        }
    }
}

fn reserve(tx: &mut Tx<'_>, device: &Device, count: u32) -> Result<Done, Stop> {
    if count == 0 || count > MAX_BLOCK {
        return Err(refuse("bad_count", format!("1 to {MAX_BLOCK} counters at a time")));
    }
    let first = next_counter(tx, device)?;
    #[cfg(feature = "seeded-bugs")]
    if crate::seeded::makes(crate::seeded::Bug::CounterReused) && tx.index.is_multiple_of(7) {
        return Ok(Done::Counters { first, count });
    }
    match first.checked_add(count).filter(|next| *next <= LAST_COUNTER) {
        Some(next) => COUNTERS.put(tx, device, &next)?,
        None => return Err(refuse("counter_exhausted", device.to_string())),
    }
    Ok(Done::Counters { first, count })
}

/// The wrapped keys of a device, in order of kind.
pub fn keys(view: &dyn View, device: &Device) -> Result<Vec<WrappedKey>, Fault> {
    let prefix = device.octets();
    let rows = KEYS.scan(view, &prefix, &end_of(&prefix), 16)?;
    Ok(rows.into_iter().map(|(_, key)| key).collect())
}

/// One wrapped key of a device.
pub fn key(view: &dyn View, device: &Device, kind: KeyKind) -> Result<Option<WrappedKey>, Fault> {
    KEYS.get(view, &Pair(device, &kind))
}

/// The next free invocation counter of a device.
pub fn next_counter(view: &dyn View, device: &Device) -> Result<u32, Fault> {
    match COUNTERS.get(view, device)? {
        Some(next) => Ok(next),
        None => Ok(floor(view)?.counter.max(FIRST_COUNTER)),
    }
}

/// The epoch that stands before the first grant of a device.
pub(crate) fn first_epoch(view: &dyn View) -> Result<u64, Fault> {
    Ok(floor(view)?.epoch)
}

fn floor(view: &dyn View) -> Result<Floor, Fault> {
    Ok(FLOOR.get(view, FLOOR_KEY)?.unwrap_or_default())
}

/// Raises the floor of devices without rows.
pub(crate) fn raise_floor(tx: &mut Tx<'_>, plan: &Plan) -> Result<(), Fault> {
    let before = floor(tx)?;
    let counter = before.counter.max(FIRST_COUNTER).saturating_add(plan.counters);
    let counter = counter.min(LAST_COUNTER);
    let epoch = before.epoch.saturating_add(plan.epochs);
    FLOOR.put(tx, FLOOR_KEY, &Floor { counter, epoch })
}

/// Raises a device's counter; one that reaches the end needs new keys.
pub(crate) fn restored(tx: &mut Tx<'_>, plan: &Plan, key: &[u8], row: &[u8]) -> Result<(), Stop> {
    let next: u32 = COUNTERS.decode(row)?;
    let raised = next.saturating_add(plan.counters).min(LAST_COUNTER);
    COUNTERS.put_raw(tx, key, &raised)?;
    Ok(())
}
