//! The services that carry other APDUs, as nodes: general blocks, general-signing and
//! general-ciphering. Blocks of one sender are joined when all of them stand in the octets.
//!
//! Invariants: what is carried is shown only as the APDU that it is, for pieces may hold a key;
//! what is kept of blocks is never more than the octets that were given.

use std::collections::BTreeMap;

use super::walk::Walk;
use super::{Fault, Node, Options, apdu, protection};
use crate::apdu::{Apdu, GeneralBlock};
use crate::error::Error;
use crate::hdlc::Address;

type Result<T> = std::result::Result<T, Error>;

/// The general blocks of a capture that are not joined yet, by who sent them.
#[derive(Default)]
pub(super) struct Blocks {
    senders: BTreeMap<u64, Pieces>,
}

#[derive(Default)]
struct Pieces {
    octets: Vec<u8>,
    /// Number of the last block taken; 0 before the first.
    last: u16,
}

impl Blocks {
    /// Takes an APDU of a sender, which begins at `at`; the whole one when it is a general block
    /// that ends one. Blocks of which one is missing are not joined.
    pub(super) fn take(
        &mut self,
        sender: u64,
        octets: &[u8],
        at: usize,
        options: &Options,
    ) -> std::result::Result<Option<Node>, Fault> {
        let carried = crate::gateway_header::split(octets).map_or(octets, |(_, apdu)| apdu);
        let Ok(Apdu::GeneralBlock(block)) = Apdu::decode(carried) else { return Ok(None) };
        let pieces = self.senders.entry(sender).or_default();
        if !pieces.add(&block) {
            return Ok(None);
        }
        let whole = std::mem::take(pieces).octets;
        let inner = apdu(&whole, 0, options, 0).map_err(|fault| fault.inside("joined blocks"))?;
        Ok(Some(Node {
            name: "joined blocks".into(),
            at,
            length: whole.len(),
            value: None,
            restarts: true,
            children: vec![inner],
        }))
    }
}

impl Pieces {
    /// Whether the block, with those before it, ends an APDU.
    fn add(&mut self, block: &GeneralBlock) -> bool {
        if block.block == 1 {
            *self = Self::default();
        }
        if block.block == 0 || self.last.checked_add(1) != Some(block.block) {
            return false;
        }
        self.last = block.block;
        self.octets.extend_from_slice(&block.octets);
        block.is_last() && !block.octets.is_empty()
    }
}

/// The sender of an HDLC frame as a number.
pub(super) fn sender(address: Address) -> u64 {
    let physical = address.physical().map_or(0, |physical| u64::from(physical) + 1);
    u64::from(address.logical()) << 32 | physical
}

pub(super) fn block(walk: &mut Walk<'_>) -> Result<()> {
    walk.octet("block-control", |octet| {
        let last = if octet & 0x80 != 0 { "last, " } else { "" };
        let streaming = if octet & 0x40 != 0 { "streaming, " } else { "" };
        format!("{last}{streaming}window {}", octet & 0x3f)
    })?;
    walk.u16("block-number")?;
    walk.u16("block-number-acknowledged")?;
    let at = walk.at();
    let octets = walk.reader.octets()?;
    // A piece of any APDU, so perhaps of one that holds a key.
    walk.leaf("block-data", at, format!("{} octets", octets.len()));
    Ok(())
}

const GENERAL_HEADER: [&str; 5] =
    ["transaction-id", "originator", "recipient", "date-time", "other-information"];

/// The signature is shown and not checked: a tree has no public keys.
pub(super) fn signing(walk: &mut Walk<'_>, options: &Options, level: usize) -> Result<()> {
    for name in GENERAL_HEADER {
        walk.octets(name)?;
    }
    let at = walk.at();
    let length = walk.reader.length()?;
    let from = walk.at();
    let content = walk.reader.take(length)?;
    // What is signed may be no APDU that is known; then it may hold a key, so only its length.
    walk.leaf("content", at, format!("{length} octets"));
    if level < protection::MAX_LEVEL
        && let Ok(inner) = apdu(content, from, options, level + 1)
        && let Some(node) = walk.nodes.last_mut()
    {
        node.children.push(inner);
    }
    walk.octets("signature").map(|_| ())
}

pub(super) fn ciphering(walk: &mut Walk<'_>) -> std::result::Result<(), Fault> {
    for name in GENERAL_HEADER {
        walk.octets(name)?;
    }
    if walk.flag("key-info-present")? {
        walk.group("key-info", |walk| -> Result<()> {
            match walk.u8("choice")? {
                0 => walk.u8("key-id").map(|_| ()),
                1 => {
                    walk.u8("kek-id")?;
                    let at = walk.at();
                    let octets = walk.reader.octets()?;
                    walk.leaf("wrapped-key", at, format!("{} octets", octets.len()));
                    Ok(())
                }
                _ => {
                    walk.octets("key-parameters")?;
                    walk.octets("key-ciphered-data").map(|_| ())
                }
            }
        })?;
    }
    protection::header(walk).map(|_| ())
}
