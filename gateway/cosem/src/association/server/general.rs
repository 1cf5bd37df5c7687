//! General block transfer at a server: requests that come in blocks, answers that go in blocks.
//! A request that came in blocks is answered in the same exchange; when else blocks are used is
//! decided where the answer is finished.

use std::time::Instant;

use super::{Server, State};
use crate::apdu::{Apdu, Conformance, ExceptionResponse, ServiceFault};
use crate::association::general::General;
use crate::association::room;
use crate::error::Error;
use crate::gbt::Role;

impl Server {
    /// Takes a block of the associated client.
    pub(super) fn general_block(
        &mut self,
        now: Instant,
        client_sap: u16,
        octets: &[u8],
    ) -> Result<(), Error> {
        let Apdu::GeneralBlock(block) = Apdu::decode(octets)? else {
            return Err(Error::malformed(0, "not a block"));
        };
        if self.state != State::Open || !self.has(Conformance::GENERAL_BLOCKS) {
            let fault = ServiceFault::NotSupported;
            self.exception(client_sap, ExceptionResponse { service_unknown: true, fault })?;
            return Err(Error::WrongState("general block transfer was not negotiated"));
        }
        let begins = self.general.as_ref().is_none_or(|general| general.is_ended_by(&block));
        if begins && (block.block != 1 || block.is_abort()) {
            return Err(Error::WrongState("a block of no exchange"));
        }
        if begins {
            self.general = Some(self.new_general());
        }
        let handled = match &mut self.general {
            Some(general) => general.handle(now, &block),
            None => return Ok(()),
        };
        self.flush_general()?;
        if let Err(error) = handled {
            if self.general.as_ref().is_some_and(General::has_failed) {
                self.general = None;
            }
            return Err(error);
        }
        while let Some(apdu) = self.general.as_mut().and_then(General::poll) {
            let plain = self.opened_apdu(client_sap, &apdu)?;
            self.serve(&plain)?;
        }
        Ok(())
    }

    /// Sends an APDU, which is protected already, in blocks: in the exchange in which the request
    /// came, or in a new one.
    pub(super) fn send_general(&mut self, apdu: Vec<u8>) -> Result<(), Error> {
        let now = self.now.ok_or(Error::WrongState("nothing was received yet"))?;
        let mut general = self.general.take().unwrap_or_else(|| self.new_general());
        let sent = general.send(now, apdu);
        self.general = Some(general);
        sent?;
        self.flush_general()
    }

    /// Acts on a deadline of the exchange.
    pub(super) fn general_timeout(&mut self, now: Instant) {
        let Some(general) = &mut self.general else { return };
        if general.poll_timeout().is_none_or(|deadline| deadline > now) {
            return;
        }
        let failed = general.handle_timeout(now);
        // A frame that cannot be queued is a lost block, which the next deadline repeats.
        let _queued = self.flush_general();
        if failed {
            self.general = None;
        }
    }

    fn flush_general(&mut self) -> Result<(), Error> {
        while let Some(block) = self.general.as_mut().and_then(General::poll_transmit) {
            self.transmit_apdu(self.client_sap, &Apdu::GeneralBlock(block).encode())?;
        }
        Ok(())
    }

    fn new_general(&self) -> General {
        let room = room(self.peer_max_pdu, 0);
        General::new(&self.config.general, Role::Answers, room, self.config.max_request_octets)
    }

    /// Whether the association was opened with `conformance`.
    pub(super) const fn has(&self, conformance: Conformance) -> bool {
        self.conformance.has(conformance)
    }
}
