//! General block transfer (IEC 62056-5-3 clause 6.13): one exchange of APDUs in numbered blocks,
//! with windows, streaming and recovery of lost blocks, both directions. Sans-IO: blocks and
//! times go in, blocks and APDUs come out. It neither opens protection nor knows what an APDU
//! means.
//!
//! Both sides number every block that they send, acknowledgements (blocks without data) included,
//! and keep it until the other side has acknowledged it. A side sends a window of blocks, all but
//! the last marked as streaming; at the end of a window the turn passes. A block that repeats an
//! older number is answered by repeating what was said, a gap by a new acknowledgement of what
//! came before it, upon which the other side sends again from there.
//!
//! Invariants: an APDU comes out once, whole and in order; nothing beyond `max_apdu` octets and
//! two windows of blocks is held; an exchange that makes no progress ends after `tries`.
//!
//! Either side may give an exchange up with an empty last block of window 0 (our reading of the
//! standard's abort); an exception-response ends it too, one layer above.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::apdu::GeneralBlock;
use crate::error::Error;

/// Most blocks in a window: the control octet has six bits for it.
pub const MAX_WINDOW: u8 = 63;

/// Control: nothing follows this block.
const LAST: u8 = 0x80;
/// Control: more of the window follows.
const STREAMING: u8 = 0x40;

/// Which end of a service this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It asks, or takes what is pushed: a whole APDU is acknowledged at once.
    Asks,
    /// It answers: the answer itself acknowledges the request, so that a quick answer costs no
    /// block more; an answer that takes longer than `wait` is preceded by an acknowledgement.
    Answers,
}

/// The limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Which end of the service this side is.
    pub role: Role,
    /// Blocks that we take before we must answer, 1..=63.
    pub window: u8,
    /// Octets of an APDU in one block of ours, at least 1.
    pub block_octets: usize,
    /// Longest APDU that is taken, octets.
    pub max_apdu: usize,
    /// Silence after which we repeat what we said.
    pub wait: Duration,
    /// Repetitions without progress before the exchange has failed.
    pub tries: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::Asks,
            window: 8,
            block_octets: 1_024,
            max_apdu: 1 << 20,
            wait: Duration::from_secs(5),
            tries: 5,
        }
    }
}

/// One exchange on one side: it begins with block 1 in both directions.
#[derive(Debug)]
pub struct Exchange {
    config: Config,
    /// What was not cut into blocks yet.
    rest: Bytes,
    /// Blocks that the peer has not acknowledged; the first has the number `first`.
    unacknowledged: VecDeque<Bytes>,
    first: u16,
    /// Blocks that the peer takes before it answers.
    peer_window: usize,
    /// Highest number received without a gap.
    received: u16,
    incoming: Vec<u8>,
    transmit: VecDeque<GeneralBlock>,
    whole: VecDeque<Bytes>,
    deadline: Option<Instant>,
    silent: u8,
    /// Our acknowledgement of a whole APDU waits for the answer.
    held: bool,
    failed: bool,
}

impl Exchange {
    /// Nothing was sent or received yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            rest: Bytes::new(),
            unacknowledged: VecDeque::new(),
            first: 1,
            peer_window: 1,
            received: 0,
            incoming: Vec::new(),
            transmit: VecDeque::new(),
            whole: VecDeque::new(),
            deadline: None,
            silent: 0,
            held: false,
            failed: false,
        }
    }

    /// Sends an APDU in blocks.
    ///
    /// # Errors
    /// `WrongState` while another one is being sent or after a failure, `TooLong` when the blocks
    /// left have no numbers for it, `Malformed` for an empty APDU.
    pub fn send(&mut self, now: Instant, apdu: Bytes) -> Result<(), Error> {
        if self.failed || self.is_sending() {
            return Err(Error::WrongState("an APDU is being sent, or the exchange has failed"));
        }
        if apdu.is_empty() {
            return Err(Error::malformed(0, "an empty APDU"));
        }
        // Acknowledgements need numbers too; half of them are kept back.
        let left = usize::from(u16::MAX - self.first) / 2;
        let limit = left.saturating_mul(self.block_octets());
        if apdu.len() > limit {
            return Err(Error::TooLong { length: apdu.len(), limit });
        }
        self.rest = apdu;
        // Acknowledgements of before have most likely arrived; if not, the peer will see a gap.
        self.say_from(now, self.unacknowledged.len());
        Ok(())
    }

    /// Takes a block of the peer.
    ///
    /// # Errors
    /// `Malformed` when it acknowledges what was never sent, `TooLong` when the APDU grows beyond
    /// the limit (the exchange has failed then), `WrongState` after a failure.
    pub fn handle_block(&mut self, now: Instant, block: &GeneralBlock) -> Result<(), Error> {
        if self.failed {
            return Err(Error::WrongState("the exchange has failed"));
        }
        if block.is_abort() {
            self.fail();
            return Err(Error::WrongState("the peer has aborted the block transfer"));
        }
        let progress = self.acknowledge(block.acknowledged)?;
        self.peer_window = usize::from(block.window().max(1));
        let is_next = self.received.checked_add(1) == Some(block.block);
        let is_repeated = block.block <= self.received;
        if is_next {
            self.received = block.block;
            self.take(block)?;
        }
        // Repetitions do not move the deadline: they could do so for ever.
        if is_next || progress {
            self.silent = 0;
            self.arm(now);
        }
        if block.is_streaming() {
            return Ok(());
        }
        // The turn is ours. A block without data only acknowledges, and is not acknowledged.
        let has_data = !block.octets.is_empty();
        match (is_next, is_repeated) {
            (true, _) if has_data && block.is_last() && self.config.role == Role::Answers => {
                self.held = true;
                self.arm(now);
            }
            (true, _) if has_data => self.acknowledge_peer(now),
            (true, _) if self.is_sending() => self.say(now),
            (false, true) if has_data => self.repeat(now),
            (false, true) if progress && self.is_sending() => self.say(now),
            (false, false) => self.acknowledge_peer(now),
            _ => {}
        }
        Ok(())
    }

    /// Acts on a deadline that has come: what was said last is said again.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.deadline = None;
        self.silent = self.silent.saturating_add(1);
        if self.silent > self.config.tries {
            self.fail();
        } else {
            self.repeat(now);
        }
    }

    /// The next block to send.
    pub fn poll_transmit(&mut self) -> Option<GeneralBlock> {
        self.transmit.pop_front()
    }

    /// The next APDU that is whole.
    pub fn poll(&mut self) -> Option<Bytes> {
        self.whole.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether a part of our APDU is not acknowledged yet.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        !self.rest.is_empty() || self.unacknowledged.iter().any(|octets| !octets.is_empty())
    }

    /// Whether the exchange was given up.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Forgets what the peer has sent; what we send stays as it is.
    pub fn restart(&mut self) {
        self.received = 0;
        self.incoming = Vec::new();
        self.whole.clear();
        self.held = false;
    }

    /// Highest number received in order, and how many of ours were acknowledged: whoever waits
    /// sees by them whether anything moves.
    #[must_use]
    pub const fn progress(&self) -> (u16, u16) {
        (self.received, self.first.saturating_sub(1))
    }

    /// Gives the exchange up and tells the peer so.
    pub fn abort(&mut self) {
        let number = self.first;
        let acknowledged = self.received;
        self.fail();
        self.transmit.push_back(GeneralBlock::abort(number, acknowledged));
    }

    fn block_octets(&self) -> usize {
        self.config.block_octets.max(1)
    }

    fn fail(&mut self) {
        self.failed = true;
        self.deadline = None;
        self.rest = Bytes::new();
        self.unacknowledged.clear();
        self.incoming = Vec::new();
        self.transmit.clear();
    }

    /// Forgets blocks up to `number`; whether there were any.
    fn acknowledge(&mut self, number: u16) -> Result<bool, Error> {
        let Some(count) = (u32::from(number) + 1).checked_sub(u32::from(self.first)) else {
            return Ok(false);
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.unacknowledged.len() {
            return Err(Error::malformed(4, "a block acknowledged that was never sent"));
        }
        self.unacknowledged.drain(..count);
        // Not beyond u16::MAX: `number` itself is not.
        self.first = self.first.saturating_add(u16::try_from(count).unwrap_or(u16::MAX));
        Ok(count > 0)
    }

    /// The data of the next block in order.
    fn take(&mut self, block: &GeneralBlock) -> Result<(), Error> {
        let length = self.incoming.len() + block.octets.len();
        if length > self.config.max_apdu {
            self.abort();
            return Err(Error::TooLong { length, limit: self.config.max_apdu });
        }
        self.incoming.extend_from_slice(&block.octets);
        if block.is_last() && !block.octets.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.incoming).into());
        }
        Ok(())
    }

    /// Tells the peer how far its blocks came: with data of ours where there is some, else with
    /// an empty block.
    fn acknowledge_peer(&mut self, now: Instant) {
        if !self.is_sending() && self.unacknowledged.len() < usize::from(MAX_WINDOW) {
            self.unacknowledged.push_back(Bytes::new());
        }
        self.say(now);
    }

    /// Says again what is not acknowledged; when all is, how far the peer's blocks came.
    fn repeat(&mut self, now: Instant) {
        if self.unacknowledged.is_empty() {
            self.acknowledge_peer(now);
        } else {
            self.say(now);
        }
    }

    /// Sends a window: first what is not acknowledged, then more of the APDU.
    fn say(&mut self, now: Instant) {
        self.say_from(now, 0);
    }

    /// The same without the first `skipped` blocks. The window counts blocks with data: were it
    /// filled with old acknowledgements, which nobody answers, the data would never follow.
    fn say_from(&mut self, now: Instant, skipped: usize) {
        self.held = false;
        let empty = |octets: &&Bytes| octets.is_empty();
        let old = self.unacknowledged.iter().take_while(empty).count();
        let end = old.max(skipped) + self.peer_window;
        while self.unacknowledged.len() < end && !self.rest.is_empty() {
            let piece = self.rest.split_to(self.rest.len().min(self.block_octets()));
            self.unacknowledged.push_back(piece);
        }
        let end = self.unacknowledged.len().min(end);
        let all = self.rest.is_empty() && end == self.unacknowledged.len();
        self.transmit.clear();
        for (at, octets) in self.unacknowledged.iter().enumerate().take(end).skip(skipped) {
            let Some(number) = u16::try_from(at).ok().and_then(|at| self.first.checked_add(at))
            else {
                self.fail();
                return;
            };
            let ends = at + 1 == end;
            let mut control = self.config.window.clamp(1, MAX_WINDOW);
            control |= if ends { 0 } else { STREAMING };
            control |= if ends && all { LAST } else { 0 };
            self.transmit.push_back(GeneralBlock {
                control,
                block: number,
                acknowledged: self.received,
                octets: octets.clone(),
            });
        }
        self.arm(now);
    }

    /// Waits when the peer owes something: an acknowledgement of data, or the rest of an APDU.
    fn arm(&mut self, now: Instant) {
        let owed = self.is_sending() || self.held || !self.incoming.is_empty();
        self.deadline = if owed { now.checked_add(self.config.wait) } else { None };
    }
}
