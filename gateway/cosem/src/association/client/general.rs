//! General block transfer at a client: its requests cut into blocks, the server's blocks joined.
//! When it is used is decided in `wish`; what a joined APDU means, in the client itself.

use std::time::Instant;

use super::{Client, Failure, Indication};
use crate::apdu::{Apdu, Conformance, GeneralBlock};
use crate::association::general::General;
use crate::error::Error;
use crate::gbt::Role;

impl Client {
    /// Sends an APDU, which is protected already, in blocks of a new exchange.
    pub(super) fn send_general(&mut self, now: Instant, apdu: Vec<u8>) -> Result<(), Error> {
        let mut general = self.new_general().behind(self.before.take());
        general.send(now, apdu)?;
        self.general = Some(general);
        self.flush_general()
    }

    /// Takes a block; what is whole with it is taken as if it had come alone.
    pub(super) fn general_block(
        &mut self,
        now: Instant,
        octets: &[u8],
        for_us: bool,
    ) -> Result<(), Error> {
        if !self.config.conformance.has(Conformance::GENERAL_BLOCKS) {
            return Err(Error::WrongState("general block transfer is not offered"));
        }
        let Apdu::GeneralBlock(block) = Apdu::decode(octets)? else {
            return Err(Error::malformed(0, "not a block"));
        };
        if self.general.as_ref().is_some_and(|general| general.is_stale(&block)) {
            return Err(Error::WrongState("a block of the exchange before"));
        }
        let begins = self.general.as_ref().is_none_or(|general| general.is_ended_by(&block));
        if begins && (block.block != 1 || block.is_abort()) {
            return Err(Error::WrongState("a block of no exchange"));
        }
        match &mut self.general {
            Some(general) if begins && general.is_used() && self.flight.is_some() => {
                general.restart();
            }
            _ if begins => self.general = Some(self.new_general()),
            _ => {}
        }
        let handled = self.exchange_block(now, &block);
        self.flush_general()?;
        match handled {
            // What moves is not silent: the answer may take as long as its blocks come.
            Ok(true) if self.flight.is_some() => {
                self.deadline = now.checked_add(self.config.response_timeout);
            }
            Ok(_) => {}
            Err(error) => {
                if self.general.as_mut().is_some_and(|general| general.has_failed()) {
                    self.general = None;
                    self.fail_flight(now, Failure::Refused(error));
                }
                return Err(error);
            }
        }
        while let Some(apdu) = self.general.as_mut().and_then(General::poll) {
            self.apdu(now, &apdu, for_us)?;
        }
        Ok(())
    }

    /// Acts on a deadline of the exchange.
    pub(super) fn general_timeout(&mut self, now: Instant) {
        let Some(general) = &mut self.general else { return };
        let failed = general.handle_timeout(now);
        // A frame that cannot be queued is a lost block, which the next deadline repeats.
        let _queued = self.flush_general();
        if failed {
            self.general = None;
            self.fail_flight(now, Failure::Timeout);
        }
    }

    fn exchange_block(&mut self, now: Instant, block: &GeneralBlock) -> Result<bool, Error> {
        match &mut self.general {
            Some(general) => general.handle(now, block),
            None => Err(Error::WrongState("a block of no exchange")),
        }
    }

    fn flush_general(&mut self) -> Result<(), Error> {
        while let Some(block) = self.general.as_mut().and_then(General::poll_transmit) {
            self.send_plain(&Apdu::GeneralBlock(block).encode())?;
        }
        Ok(())
    }

    fn new_general(&self) -> General {
        // A block is an APDU of its own and carries protection inside, so all room is its.
        let max_pdu = self.peer.as_ref().map_or(0, |peer| peer.max_pdu);
        let room = crate::association::room(max_pdu, 0);
        let limit = self.config.max_answer_octets;
        General::new(&self.config.general, Role::Asks, room, limit)
    }

    /// Ends the request in flight without an answer.
    pub(super) fn fail_flight(&mut self, now: Instant, failure: Failure) {
        if let Some(flight) = self.flight.take() {
            self.deadline = None;
            self.indications.push_back(Indication::Failed { invoke: flight.id, failure });
            self.pump(now);
        }
    }
}
