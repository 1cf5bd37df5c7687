//! General block transfer within an association: when it is used, and where one exchange ends and
//! the next begins. It puts no frames together and opens no protection: blocks carry parts of the
//! APDU as it would go alone, ciphered where it is ciphered; the gateway prefix stands outside,
//! before each block (IEC 62056-5-3 clauses 6.13, gateway protocol).
//!
//! Invariants: one exchange at a time on each side; what it reassembles is bounded; a block 1
//! with other octets begins a new exchange, the same octets are a repetition.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::apdu::GeneralBlock;
use crate::error::Error;
use crate::gbt::{Config, Exchange, Role};

/// Octets of a block around its piece: tag, control, two numbers, length.
const BLOCK_OCTETS: usize = 9;

/// When general block transfer is used, once it is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneralUse {
    /// For what does not fit one APDU and has no block transfer of its own.
    WhenNeeded,
    /// For whatever does not fit one APDU.
    Preferred,
    /// For every request (a client tells its window with the first); a server takes it as
    /// `Preferred`.
    Always,
}

/// How general block transfer is done.
#[derive(Debug, Clone, Copy)]
pub struct GeneralBlocks {
    /// When.
    pub usage: GeneralUse,
    /// Blocks that this side takes before it answers, 1..=63.
    pub window: u8,
    /// Silence after which what was said last is said again.
    pub wait: Duration,
    /// Repetitions without progress before the exchange has failed.
    pub tries: u8,
}

impl GeneralBlocks {
    /// When needed, windows of 8, three repetitions two seconds apart.
    pub const DEFAULT: Self =
        Self { usage: GeneralUse::WhenNeeded, window: 8, wait: Duration::from_secs(2), tries: 3 };
}

impl Default for GeneralBlocks {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The present exchange of one side.
#[derive(Debug)]
pub(super) struct General {
    exchange: Exchange,
    /// What the peer's block 1 held, once it came; nothing, when it was an acknowledgement.
    first: Option<Bytes>,
    /// Whether an APDU of ours went into it.
    used: bool,
    /// What the peer's block 1 of the exchange before held, once it came.
    before: Option<Bytes>,
}

impl General {
    /// An exchange in blocks of at most `room` octets each, for APDUs of at most `max_apdu`.
    pub(super) fn new(blocks: &GeneralBlocks, role: Role, room: usize, max_apdu: usize) -> Self {
        let exchange = Exchange::new(Config {
            role,
            window: blocks.window,
            block_octets: room.saturating_sub(BLOCK_OCTETS).max(1),
            max_apdu,
            wait: blocks.wait,
            tries: blocks.tries,
        });
        Self { exchange, first: None, used: false, before: None }
    }

    /// The same behind another exchange, whose block 1 of the peer held `before`; the peer may
    /// still repeat blocks of it.
    pub(super) fn behind(mut self, before: Option<Bytes>) -> Self {
        self.before = before;
        self
    }

    /// What the peer's block 1 held, once it came.
    pub(super) fn into_first(self) -> Option<Bytes> {
        self.first
    }

    /// Whether `block` is one of the exchange before: our last acknowledgement was lost, and so
    /// was what we have sent since. Blocks do not say their exchange, so taking it would
    /// acknowledge what never arrived. It is known by its octets, or by a number behind a
    /// block 1 that has not come; if that one was lost after all, it is repeated upon our
    /// repetition.
    pub(super) fn is_stale(&self, block: &GeneralBlock) -> bool {
        let Some(before) = &self.before else { return false };
        let is_old = block.block > 1 || (!block.octets.is_empty() && *before == block.octets);
        self.used && self.first.is_none() && is_old && !block.is_abort()
    }

    pub(super) fn send(&mut self, now: Instant, apdu: Vec<u8>) -> Result<(), Error> {
        self.used = true;
        self.exchange.send(now, apdu.into())
    }

    /// Whether an APDU of ours went into it.
    pub(super) const fn is_used(&self) -> bool {
        self.used
    }

    /// The peer begins anew while our request stands: what came before was a late answer.
    pub(super) fn restart(&mut self) {
        self.first = None;
        self.exchange.restart();
    }

    /// Whether `block` begins another exchange than this one.
    pub(super) fn is_ended_by(&self, block: &GeneralBlock) -> bool {
        let other = self.first.as_ref().is_some_and(|first| *first != block.octets);
        block.block == 1 && other && !block.is_abort()
    }

    /// Takes a block; whether anything moved.
    pub(super) fn handle(&mut self, now: Instant, block: &GeneralBlock) -> Result<bool, Error> {
        let before = self.exchange.progress();
        self.exchange.handle_block(now, block)?;
        if block.block == 1 {
            self.first.get_or_insert_with(|| block.octets.clone());
        }
        Ok(self.exchange.progress() != before)
    }

    /// Acts on a deadline that has come; whether the exchange has failed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.exchange.handle_timeout(now);
        self.exchange.has_failed()
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.exchange.has_failed()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.exchange.poll_timeout()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<GeneralBlock> {
        self.exchange.poll_transmit()
    }

    /// The next APDU that is whole.
    pub(super) fn poll(&mut self) -> Option<Bytes> {
        self.exchange.poll()
    }
}
