//! What comes to a client: frames, APDUs and deadlines, each to where the state wants it.

use std::time::Instant;

use bytes::Bytes;

use super::{Client, Failure, Indication, Rejection, State};
use crate::apdu::{Apdu, tag};
use crate::association::sealed::{Notification, is_notification};
use crate::association::unframe;
use crate::error::Error;
use crate::security::SystemTitle;
use crate::wrapper::Header;

impl Client {
    /// Takes one frame: wrapper header and what follows it (with its gateway prefix, if any).
    ///
    /// # Errors
    /// The frame was refused and changed nothing: count it by `Error::code`.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        header: Header,
        octets: &[u8],
    ) -> Result<(), Error> {
        if header.source != self.config.server_sap {
            return Err(Error::WrongAddress);
        }
        let octets = unframe(self.config.gateway.as_ref(), octets)?;
        let for_us = header.destination == self.config.client_sap;
        if octets.first() == Some(&tag::GENERAL_BLOCK_TRANSFER) {
            return self.general_block(now, octets, for_us);
        }
        self.apdu(now, octets, for_us)
    }

    /// Takes one APDU, which came alone or in blocks.
    pub(super) fn apdu(&mut self, now: Instant, octets: &[u8], for_us: bool) -> Result<(), Error> {
        let Some(opened) = self.protection.open_frame(octets)? else {
            if is_notification(octets) {
                return self.notified(None, None, Bytes::copy_from_slice(octets));
            }
            return if for_us { self.plain(now, octets) } else { Err(Error::WrongAddress) };
        };
        if is_notification(&opened.plain) {
            return self.notified(opened.title, opened.counter, opened.plain.into());
        }
        if !for_us {
            return Err(Error::WrongAddress);
        }
        self.service(now, &opened.plain)
    }

    /// Acts on a deadline that has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.general.as_ref().is_some_and(|general| general.poll_timeout().is_some()) {
            return self.general_timeout(now);
        }
        self.deadline = None;
        match self.state {
            State::Associating | State::Proving => self.reject(Rejection::Timeout),
            State::Releasing => self.closed(),
            State::Open => {
                self.general = None;
                self.fail_flight(now, Failure::Timeout);
            }
            State::Idle | State::Closed => {}
        }
    }

    fn notified(
        &mut self,
        title: Option<SystemTitle>,
        counter: Option<u32>,
        apdu: Bytes,
    ) -> Result<(), Error> {
        if title.is_none() && self.protection.refuses_plain() {
            return Err(Error::Protection("a plain notification in a ciphered association"));
        }
        Apdu::decode(&apdu)?;
        self.indications.push_back(Indication::Notified(Notification { title, counter, apdu }));
        Ok(())
    }

    /// APDUs that are never ciphered, and, in a plain association, all services.
    fn plain(&mut self, now: Instant, octets: &[u8]) -> Result<(), Error> {
        match octets.first() {
            Some(&(tag::AARE | tag::RLRE | tag::EXCEPTION_RESPONSE))
            | Some(&tag::CONFIRMED_SERVICE_ERROR) => {}
            _ if self.protection.refuses_plain() => {
                return Err(Error::Protection("a plain answer in a ciphered association"));
            }
            _ => return self.service(now, octets),
        }
        let (rejection, failure) = match (self.state, Apdu::decode(octets)?) {
            (State::Associating, Apdu::Aare(aare)) => {
                if let Err(rejection) = self.associate(now, aare) {
                    self.reject(rejection);
                }
                return Ok(());
            }
            (State::Releasing, Apdu::Rlre(_)) => {
                self.closed();
                return Ok(());
            }
            (_, Apdu::ExceptionResponse(exception)) => {
                (Rejection::Exception(exception), Failure::Exception(exception))
            }
            (_, Apdu::ConfirmedServiceError(error)) => {
                (Rejection::ServiceError(error), Failure::ServiceError(error))
            }
            _ => return Err(Error::WrongState("an APDU that is not awaited")),
        };
        self.refused(now, rejection, failure)
    }

    /// The server could not serve what was sent last.
    fn refused(
        &mut self,
        now: Instant,
        rejection: Rejection,
        failure: Failure,
    ) -> Result<(), Error> {
        match self.state {
            State::Associating | State::Proving => self.reject(rejection),
            State::Releasing => self.closed(),
            State::Open if self.flight.is_some() => {
                self.general = None;
                self.fail_flight(now, failure);
            }
            _ => return Err(Error::WrongState("an exception to no request")),
        }
        Ok(())
    }

    fn service(&mut self, now: Instant, octets: &[u8]) -> Result<(), Error> {
        match self.state {
            State::Proving => self.proven(now, octets),
            State::Open => self.answer(now, octets),
            _ => Err(Error::WrongState("an APDU that is not awaited")),
        }
    }
}
