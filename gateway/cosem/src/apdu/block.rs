//! general-block-transfer (IEC 62056-5-3 clause 6.13): one block, as octets and back. Putting
//! blocks together with window and recovery is not done here.

use bytes::Bytes;

use super::tag;
use crate::axdr::{Reader, put_octets};
use crate::error::Error;

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralBlock {
    /// Control octet: 80 last block, 40 streaming, low 6 bits the window.
    pub control: u8,
    /// Block number.
    pub block: u16,
    /// Highest block acknowledged.
    pub acknowledged: u16,
    /// A piece of the APDU.
    pub octets: Bytes,
}

impl GeneralBlock {
    /// Whether it is the last block.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.control & 0x80 != 0
    }

    /// Whether more blocks follow without an acknowledgement.
    #[must_use]
    pub const fn is_streaming(&self) -> bool {
        self.control & 0x40 != 0
    }

    /// How many blocks may be sent before an acknowledgement.
    #[must_use]
    pub const fn window(&self) -> u8 {
        self.control & 0x3f
    }

    /// The block that gives an exchange up: last, not streaming, window 0, empty.
    #[must_use]
    pub const fn abort(block: u16, acknowledged: u16) -> Self {
        Self { control: 0x80, block, acknowledged, octets: Bytes::new() }
    }

    /// Whether it gives the exchange up. Acknowledgements are empty too, but have a window.
    #[must_use]
    pub const fn is_abort(&self) -> bool {
        self.control == 0x80 && self.octets.is_empty()
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let control = reader.u8()?;
        let block = reader.u16()?;
        let acknowledged = reader.u16()?;
        let octets = Bytes::copy_from_slice(reader.octets()?);
        Ok(Self { control, block, acknowledged, octets })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[tag::GENERAL_BLOCK_TRANSFER, self.control]);
        out.extend_from_slice(&self.block.to_be_bytes());
        out.extend_from_slice(&self.acknowledged.to_be_bytes());
        put_octets(out, &self.octets);
    }
}
