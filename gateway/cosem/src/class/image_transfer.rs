//! Class 18, image transfer (Blue Book 4.4.6): a firmware image, block by block. The order of the
//! steps is known to whoever transfers.
//!
//! Verify and activate may answer temporary-failure: attribute 6 is to be polled then.

use bytes::Bytes;

use super::value::{class, codes, structure};
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::BitString;

codes! {
    /// How far the transfer is.
    ImageStatus {
        /// Not initiated.
        0 NotInitiated,
        /// Initiated: blocks are taken.
        1 Initiated,
        /// Verification runs.
        2 VerificationInitiated,
        /// Verified.
        3 Verified,
        /// Verification failed.
        4 VerificationFailed,
        /// Activation runs.
        5 ActivationInitiated,
        /// Activated.
        6 Activated,
        /// Activation failed.
        7 ActivationFailed,
    }
}

structure! {
    /// An image that waits for its activation.
    ImageToActivate {
        /// Octets.
        image_size: u32,
        /// Its identifier.
        image_identification: Bytes,
        /// Its signature.
        image_signature: Bytes,
    }
}

structure! {
    /// The begin of a transfer.
    Initiate {
        /// Identifier of the image.
        image_identifier: Bytes,
        /// Octets.
        image_size: u32,
    }
}

structure! {
    /// A block of the image.
    Block {
        /// Its number, counted from 0.
        image_block_number: u32,
        /// Its octets.
        image_block_value: Bytes,
    }
}

class! {
    /// Class 18, image transfer.
    ImageTransfer, 18, "image transfer", versions 0 to 0;
    attributes {
        /// image_block_size, octets.
        2 BLOCK_SIZE image_block_size: u32,
        /// image_transferred_blocks_status, a bit a block.
        3 BLOCKS_STATUS image_transferred_blocks_status: BitString,
        /// image_first_not_transferred_block_number.
        4 FIRST_NOT_TRANSFERRED image_first_not_transferred_block_number: u32,
        /// image_transfer_enabled.
        5 ENABLED image_transfer_enabled: bool,
        /// image_transfer_status.
        6 STATUS image_transfer_status: ImageStatus,
        /// image_to_activate_info.
        7 TO_ACTIVATE image_to_activate_info: Vec<ImageToActivate>,
    }
    methods {
        /// Method image_transfer_initiate.
        1 INITIATE "image_transfer_initiate",
        /// Method image_block_transfer.
        2 BLOCK "image_block_transfer",
        /// Method image_verify.
        3 VERIFY "image_verify",
        /// Method image_activate.
        4 ACTIVATE "image_activate",
    }
}

/// Begins a transfer; blocks that were there are forgotten.
#[must_use]
pub fn initiate(name: LogicalName, image: &Initiate) -> Call {
    call(ID, name, INITIATE, image)
}

/// Sends a block.
#[must_use]
pub fn block(name: LogicalName, block: &Block) -> Call {
    call(ID, name, BLOCK, block)
}

/// Has the image verified.
#[must_use]
pub fn verify(name: LogicalName) -> Call {
    call(ID, name, VERIFY, &0i8)
}

/// Has the image activated.
#[must_use]
pub fn activate(name: LogicalName) -> Call {
    call(ID, name, ACTIVATE, &0i8)
}
