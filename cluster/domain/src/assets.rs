//! Assets: which concentrators and meters there are, and how each meter is reached.
//!
//! Invariants: 1. An ordinal is given once and never reused. 2. A serial, a logical device name
//! and a system title each belong to one thing, retired ones included. 3. To register the very
//! same thing again is no change.

use serde::{Deserialize, Serialize};

use crate::units::{Device, Stamp};

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A concentrator may log in from now on.
    RegisterConcentrator {
        /// Logical device name, ASCII, 1 to 16 octets.
        id: String,
        /// DLMS system title: the first half of its nonces.
        system_title: [u8; 8],
        /// What people call it, up to 128 octets.
        name: String,
    },
    /// A meter may be read from now on. Answers its ordinal.
    RegisterMeter {
        /// 1 to 32 of A-Z, a-z, 0-9 and -.
        serial: String,
        /// How it is reached.
        attach: Attach,
        /// Its model, up to 64 octets.
        model: String,
    },
    /// It is gone for good; its data stay.
    Retire {
        /// Which.
        device: Device,
    },
}

/// How a meter is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attach {
    /// Through a concentrator.
    Behind {
        /// Its logical device name.
        concentrator: String,
    },
    /// At an address of its own: it is dialled.
    Direct {
        /// `host:port`.
        address: String,
        /// Client service access point (wPort), 16 for a public client.
        client_sap: u16,
        /// Server service access point, usually 1.
        server_sap: u16,
        /// How to log in.
        authentication: Authentication,
        /// Its system title, when known beforehand.
        system_title: Option<[u8; 8]>,
    },
}

/// How an association proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Lowest level: not at all.
    None,
    /// Low level: a password.
    Lls,
    /// High level, mechanism 5: GMAC.
    Hls5,
}

/// A concentrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concentrator {
    /// Logical device name.
    pub id: String,
    /// DLMS system title.
    pub system_title: [u8; 8],
    /// What people call it.
    pub name: String,
    /// Since when it is known.
    pub registered: Stamp,
    /// Since when it is gone.
    pub retired: Option<Stamp>,
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Its serial.
    pub serial: String,
    /// Its place in every column; never reused.
    pub ordinal: u32,
    /// How it is reached.
    pub attach: Attach,
    /// Its model.
    pub model: String,
    /// Since when it is known.
    pub registered: Stamp,
    /// Since when it is gone.
    pub retired: Option<Stamp>,
}

pub(crate) fn apply(
    _tx: &mut crate::apply::Tx<'_>,
    _change: &Change,
) -> Result<crate::Done, crate::error::Stop> {
    Ok(crate::Done::Noted)
}
