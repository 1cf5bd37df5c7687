//! Image transfer (class 18): block map, verification, activation.
//!
//! The rule of the simulator: an image verifies when all blocks came and the first does not begin
//! with `BAD!`; after activation its identifier is the firmware id and the meter restarts. The
//! blocks themselves are not kept, only a hash.
//!
//! Invariants: an image is at most [`MAX_OCTETS`]; a block that came once is not counted again.

use cosem::data::BitString;
use cosem::{Data, DataAccessError};

use super::events::{FRAUD, STANDARD};
use super::memory::{Image, from_hex, hex};
use super::{After, Meter};
use crate::fault::Kind as Fault;

/// Octets of a block.
pub const BLOCK_OCTETS: u32 = 192;
/// Longest image taken.
pub const MAX_OCTETS: u32 = 4 * 1024 * 1024;
/// How long verification and activation take with the fault `image-busy`.
pub const BUSY_S: i64 = 5;

const INITIATED: u8 = 1;
const VERIFYING: u8 = 2;
const VERIFIED: u8 = 3;
const VERIFICATION_FAILED: u8 = 4;
const ACTIVATING: u8 = 5;
const ACTIVATED: u8 = 6;

impl Image {
    fn is_complete(&self) -> bool {
        !self.blocks.is_empty() && !self.blocks.contains('0')
    }
}

impl Meter<'_> {
    /// Firmware id that the meter shows.
    #[must_use]
    pub fn firmware(&self) -> Vec<u8> {
        let active = self.memory.image.active.as_ref().and_then(|text| from_hex(text));
        active.unwrap_or_else(|| super::FIRMWARE.as_bytes().to_vec())
    }

    /// Attributes of the image transfer.
    pub(super) fn image(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let image = &self.memory.image;
        Ok(match attribute {
            2 => Data::U32(BLOCK_OCTETS),
            3 => {
                let bits: Vec<bool> = image.blocks.bytes().map(|block| block == b'1').collect();
                Data::BitString(BitString::new(&bits))
            }
            4 => {
                let first = image.blocks.find('0').unwrap_or(image.blocks.len());
                Data::U32(u32::try_from(first).unwrap_or(u32::MAX))
            }
            5 => Data::Boolean(true),
            6 => Data::Enum(image.status),
            7 if image.status == VERIFIED || image.status >= ACTIVATING => {
                let octets = |text: &str| Data::octets(&from_hex(text).unwrap_or_default());
                Data::Array(vec![Data::Structure(vec![
                    Data::U32(image.size),
                    octets(&image.identifier),
                    octets(&image.digest),
                ])])
            }
            7 => Data::Array(Vec::new()),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Methods initiate, block, verify and activate.
    pub(super) fn image_method(
        &mut self,
        method: i8,
        parameter: Option<&Data>,
    ) -> Result<(), DataAccessError> {
        if self.current(18, super::catalogue::IMAGE, 5) != Data::Boolean(true) {
            return Err(DataAccessError::ReadWriteDenied);
        }
        match method {
            1 => self.initiate(parameter),
            2 => self.block(parameter),
            3 => self.verify(),
            _ => self.activate(),
        }
    }

    fn initiate(&mut self, parameter: Option<&Data>) -> Result<(), DataAccessError> {
        let wrong = DataAccessError::TypeUnmatched;
        let Some([identifier, size]) = parameter.and_then(Data::as_structure) else {
            return Err(wrong);
        };
        let identifier = identifier.as_octets().filter(|id| (1..=64).contains(&id.len()));
        let (Some(identifier), Data::U32(size)) = (identifier, size) else { return Err(wrong) };
        if *size == 0 || *size > MAX_OCTETS {
            return Err(DataAccessError::OtherReason);
        }
        self.memory.image = Image {
            identifier: hex(identifier),
            size: *size,
            blocks: "0".repeat(size.div_ceil(BLOCK_OCTETS) as usize),
            status: INITIATED,
            active: self.memory.image.active.take(),
            ..Image::default()
        };
        Ok(())
    }

    fn block(&mut self, parameter: Option<&Data>) -> Result<(), DataAccessError> {
        let image = &mut self.memory.image;
        let Some([Data::U32(number), octets]) = parameter.and_then(Data::as_structure) else {
            return Err(DataAccessError::TypeUnmatched);
        };
        let octets = octets.as_octets().ok_or(DataAccessError::TypeUnmatched)?;
        if image.status != INITIATED {
            return Err(DataAccessError::OtherReason);
        }
        let place = *number as usize;
        let begin = u64::from(*number) * u64::from(BLOCK_OCTETS);
        let left = u64::from(image.size).saturating_sub(begin);
        if left == 0 || octets.len() as u64 != left.min(u64::from(BLOCK_OCTETS)) {
            return Err(DataAccessError::OtherReason);
        }
        if image.blocks.as_bytes().get(place) == Some(&b'1') {
            return Ok(());
        }
        image.blocks.replace_range(place..=place, "1");
        image.bad |= *number == 0 && octets.starts_with(b"BAD!");
        // Blocks come in any order, so their hashes are added octet by octet.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&number.to_be_bytes()).update(octets);
        let sum = from_hex(&image.digest).unwrap_or_default();
        let mut added = *hasher.finalize().as_bytes();
        added.iter_mut().zip(&sum).for_each(|(octet, sum)| *octet ^= sum);
        image.digest = hex(&added);
        Ok(())
    }

    /// Whether an order has to wait: temporary-failure, with the status that says why.
    fn busy(&mut self, status: u8) -> bool {
        let now = self.moment.now_s;
        if !self.plays(Fault::ImageBusy) {
            return false;
        }
        let image = &mut self.memory.image;
        if image.status != status {
            image.status = status;
            image.busy_until_s = now + BUSY_S;
        }
        now < image.busy_until_s
    }

    fn verify(&mut self) -> Result<(), DataAccessError> {
        let image = &self.memory.image;
        if !matches!(image.status, INITIATED | VERIFYING | VERIFIED) || !image.is_complete() {
            return Err(DataAccessError::OtherReason);
        }
        if image.status == VERIFIED {
            return Ok(());
        }
        if self.busy(VERIFYING) {
            return Err(DataAccessError::TemporaryFailure);
        }
        if self.memory.image.bad {
            self.memory.image.status = VERIFICATION_FAILED;
            self.happened(FRAUD, 51);
            return Err(DataAccessError::OtherReason);
        }
        self.memory.image.status = VERIFIED;
        self.happened(STANDARD, 17);
        Ok(())
    }

    fn activate(&mut self) -> Result<(), DataAccessError> {
        if !matches!(self.memory.image.status, VERIFIED | ACTIVATING) {
            return Err(DataAccessError::OtherReason);
        }
        if self.busy(ACTIVATING) {
            return Err(DataAccessError::TemporaryFailure);
        }
        self.memory.image.active = Some(self.memory.image.identifier.clone());
        self.memory.image.status = ACTIVATED;
        self.happened(STANDARD, 18);
        self.after.push(After::Restart);
        Ok(())
    }

    /// Finishes what the fault `image-busy` made slow, so that polling the status sees it end.
    pub(super) fn image_catch_up(&mut self) {
        let image = &self.memory.image;
        if image.busy_until_s == 0 || self.moment.now_s < image.busy_until_s {
            return;
        }
        let status = image.status;
        // The outcome stands in the status; that the order itself came earlier is known.
        let _outcome = match status {
            VERIFYING => self.verify(),
            ACTIVATING => self.activate(),
            _ => Ok(()),
        };
        self.memory.image.busy_until_s = 0;
    }
}
