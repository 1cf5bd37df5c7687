//! The server's side of an association: what a meter or a concentrator does. It holds no objects:
//! requests go out by `poll` and their answers come in by `respond`.
//!
//! | state | takes | goes to |
//! |---|---|---|
//! | Idle | AARQ | Open, or Proving (HLS) |
//! | Proving | ACTION reply_to_HLS | Open, or Idle |
//! | Open | requests, RLRQ | Open, or Idle |
//! | any | AARQ | a new association in place of the old one |
//!
//! Invariants: in a ciphered association nothing but an AARQ, and a release, is taken
//! unprotected; a counter that is not above the highest one of its title is refused with
//! exception-response invocation-counter-error; challenges are never used twice.

mod access;
mod associate;
mod general;
mod serve;
mod types;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use zeroize::Zeroizing;

use self::serve::{Job, Receiving, Sending};
pub use self::types::{AcceptedCounters, Answer, Level, Request, ServerConfig, ServerIndication};
use super::general::General;
use super::protection::{KeyUse, Protection};
use super::sealed::seal_encoded;
use super::{Authentication, frame, room, unframe};
use crate::acse::Release;
use crate::apdu::{
    Apdu, Conformance, DataNotification, EventNotification, ExceptionResponse, ServiceFault,
    is_short_name, tag,
};
use crate::error::Error;
use crate::gateway_header::Direction;
use crate::security::{KeyId, NewKeys};
use crate::wrapper::{self, Header};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Proving,
    Open,
}

/// The machine.
pub struct Server {
    config: ServerConfig,
    seed: Zeroizing<[u8; 32]>,
    associations: u32,
    accepted: AcceptedCounters,
    protection: Protection,
    state: State,
    level: Level,
    client_sap: u16,
    client_challenge: Bytes,
    own_challenge: Bytes,
    peer_max_pdu: u16,
    conformance: Conformance,
    job: Option<Job>,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
    /// Keys to use once the answer that accepts them is sent.
    switching: Option<NewKeys>,
    general: Option<General>,
    /// When the driver last called: the base of the deadlines of an answer.
    now: Option<Instant>,
    deadline: Option<Instant>,
    transmit: VecDeque<Vec<u8>>,
    indications: VecDeque<ServerIndication>,
}

/// What a client sent to prove itself may be a password, so it is not shown.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("state", &self.state)
            .field("level", &self.level)
            .field("client_sap", &self.client_sap)
            .field("counters", &self.protection.counters)
            .field("accepted", &self.accepted)
            .field("transmit", &self.transmit.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server without an association. `seed` are 32 secret random octets, fresh for each
    /// server, from which the challenges are derived; `accepted` are the counters that the device
    /// has accepted before.
    #[must_use]
    pub fn new(config: ServerConfig, seed: [u8; 32], accepted: AcceptedCounters) -> Self {
        let credentials = config.credentials.clone();
        let protection = Protection::new(config.system_title, None, credentials);
        Self {
            config,
            seed: Zeroizing::new(seed),
            associations: 0,
            accepted,
            protection,
            state: State::Idle,
            level: Level::Public,
            client_sap: 0,
            client_challenge: Bytes::new(),
            own_challenge: Bytes::new(),
            peer_max_pdu: 0,
            conformance: Conformance(0),
            job: None,
            sending: None,
            receiving: None,
            switching: None,
            general: None,
            now: None,
            deadline: None,
            transmit: VecDeque::new(),
            indications: VecDeque::new(),
        }
    }

    /// Gives the invocation counters that may be used from now on.
    pub fn set_counters(&mut self, counters: Range<u32>) {
        self.protection.counters = counters;
    }

    /// Counters that were not used yet.
    #[must_use]
    pub fn counters(&self) -> Range<u32> {
        self.protection.counters.clone()
    }

    /// Counters accepted from clients, to be kept for the device.
    #[must_use]
    pub const fn accepted(&self) -> &AcceptedCounters {
        &self.accepted
    }

    /// Takes over counters that other connections of the same device have accepted.
    pub fn merge_accepted(&mut self, others: &AcceptedCounters) {
        self.accepted.merge(others);
    }

    /// Whether a client is associated.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// What the associated client has proved.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Sends a notification to a client's wPort: as general-glo when keys are configured, plain
    /// otherwise. It needs no association.
    ///
    /// # Errors
    /// `NoCounters` when none is left, `TooLong` when it does not fit a frame.
    pub fn notify(
        &mut self,
        destination: u16,
        notification: DataNotification,
    ) -> Result<(), Error> {
        self.notify_apdu(destination, Apdu::DataNotification(notification).encode())
    }

    /// The same for an event-notification.
    ///
    /// # Errors
    /// As `notify`.
    pub fn notify_event(
        &mut self,
        destination: u16,
        notification: EventNotification,
    ) -> Result<(), Error> {
        self.notify_apdu(destination, Apdu::EventNotification(notification).encode())
    }

    fn notify_apdu(&mut self, destination: u16, mut apdu: Vec<u8>) -> Result<(), Error> {
        if let Some(keys) = &self.config.ciphered {
            let limit = wrapper::MAX_APDU_OCTETS - super::PROTECTION_OCTETS;
            if apdu.len() > limit {
                return Err(Error::TooLong { length: apdu.len(), limit });
            }
            let counter = self.protection.take_counter()?;
            apdu = seal_encoded(keys, &self.config.system_title, counter, &apdu)?;
        }
        self.transmit_apdu(destination, &apdu)
    }

    /// The next wrapper frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next thing to know or to do.
    pub fn poll(&mut self) -> Option<ServerIndication> {
        self.indications.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let blocks = self.general.as_ref().and_then(General::poll_timeout);
        self.deadline.into_iter().chain(blocks).min()
    }

    /// Repeats blocks that are not acknowledged, and gives an association up that has been silent
    /// for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        self.general_timeout(now);
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.end();
        }
    }

    /// The connection is lost or was closed: the association is over.
    pub fn disconnected(&mut self) {
        self.end();
        self.transmit.clear();
    }

    /// Takes one frame: wrapper header and what follows it (with its gateway prefix, if any).
    ///
    /// # Errors
    /// The frame was refused: count it by `Error::code`. An exception-response may have been
    /// queued for the client.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        header: Header,
        octets: &[u8],
    ) -> Result<(), Error> {
        if header.destination != self.config.server_sap {
            return Err(Error::WrongAddress);
        }
        let octets = unframe(self.config.gateway.as_ref(), octets)?;
        let first = *octets.first().ok_or(Error::malformed(0, "an empty APDU"))?;
        if first != tag::AARQ && self.state != State::Idle && header.source != self.client_sap {
            return Err(Error::WrongAddress);
        }
        self.now = Some(now);
        let handled = self.dispatch(now, header.source, first, octets);
        if handled.is_ok() {
            self.deadline = match (self.state, self.config.idle_timeout) {
                (State::Idle, _) | (_, None) => None,
                (_, Some(idle)) => Some(now + idle),
            };
        }
        handled
    }

    fn dispatch(
        &mut self,
        now: Instant,
        client_sap: u16,
        first: u8,
        octets: &[u8],
    ) -> Result<(), Error> {
        match first {
            tag::AARQ => return self.associate(client_sap, octets),
            tag::RLRQ => return self.release(octets),
            tag::GENERAL_BLOCK_TRANSFER => return self.general_block(now, client_sap, octets),
            _ if is_short_name(first) => {
                let fault = ServiceFault::NotSupported;
                self.exception(client_sap, ExceptionResponse { service_unknown: true, fault })?;
                return Err(Error::ShortName);
            }
            _ => {}
        }
        let plain = self.opened_apdu(client_sap, octets)?;
        match self.state {
            State::Idle => {
                let fault = ServiceFault::OperationNotPossible;
                self.exception(client_sap, ExceptionResponse::not_allowed(fault))?;
                Err(Error::WrongState("no association"))
            }
            State::Proving => self.proof(&plain),
            State::Open => {
                // Whoever asks anew has what was sent before, or does not want it any more.
                self.general = None;
                self.serve(&plain)
            }
        }
    }

    /// The plain octets of an APDU, which must be protected as the association is.
    fn opened_apdu(&mut self, client_sap: u16, octets: &[u8]) -> Result<Vec<u8>, Error> {
        let opened = match self.unprotect(octets) {
            Ok(None) if self.protection.refuses_plain() => {
                Err(Error::Protection("a plain request in a ciphered association"))
            }
            opened => opened,
        };
        let opened = opened.map_err(|error| self.refuse(client_sap, error))?;
        Ok(opened.unwrap_or_else(|| octets.to_vec()))
    }

    /// Takes the protections off; None when there are none.
    fn unprotect(&mut self, octets: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(title) = self.protection.peer_title {
            self.protection.highest = self.accepted.of(&title);
        }
        let Some(opened) = self.protection.open_frame(octets)? else { return Ok(None) };
        if let Some(title) = self.protection.peer_title {
            self.accepted.raise_all(title, &self.protection.highest);
        }
        self.protection.answer_in_kind(&opened);
        Ok(Some(opened.plain))
    }

    /// Uses new keys from the moment at which the answer to the request being served is sent, at
    /// once when none is: until then the old ones stay valid. The driver keeps them for the
    /// device's other connections. Counters of a changed key begin anew.
    ///
    /// # Errors
    /// `NoKeys` when nothing is ciphered, `Protection` when a key has not the suite's length.
    pub fn switch_keys(&mut self, keys: NewKeys) -> Result<(), Error> {
        let mut changed = self.config.ciphered.clone().ok_or(Error::NoKeys)?;
        keys.apply(&mut changed)?;
        keys.apply_kek(&mut self.config.credentials.clone())?;
        self.switching = Some(keys);
        self.switch_when_answered()
    }

    fn switch_when_answered(&mut self) -> Result<(), Error> {
        if self.is_answering() {
            return Ok(());
        }
        let Some(keys) = self.switching.take() else { return Ok(()) };
        if let Some(ciphered) = &mut self.config.ciphered {
            keys.apply(ciphered)?;
        }
        if let Authentication::Hls5(own) = &mut self.config.authentication {
            keys.apply(own)?;
        }
        keys.apply_kek(&mut self.config.credentials)?;
        for id in keys.ids() {
            match id {
                KeyId::Unicast => self.accepted.forget(KeyUse::Unicast),
                KeyId::Broadcast => self.accepted.forget(KeyUse::Broadcast),
                KeyId::Authentication | KeyId::Kek => {}
            }
        }
        self.protection.switch(&keys)
    }

    /// Tells the client why its frame was refused, and hands the error on.
    fn refuse(&mut self, client_sap: u16, error: Error) -> Error {
        let fault = match error {
            Error::Replayed { highest, .. } => {
                ServiceFault::InvocationCounter { expected: highest.saturating_add(1) }
            }
            Error::BadTag | Error::BadSignature | Error::Suite(_) => ServiceFault::Deciphering,
            _ => ServiceFault::OperationNotPossible,
        };
        // The frame is refused for `error`; that its exception could not be queued adds nothing.
        let _queued = self.exception(client_sap, ExceptionResponse::not_allowed(fault));
        error
    }

    fn release(&mut self, octets: &[u8]) -> Result<(), Error> {
        let Apdu::Rlrq(_) = Apdu::decode(octets)? else {
            return Err(Error::malformed(0, "not an RLRQ"));
        };
        if self.state == State::Idle {
            return Err(Error::WrongState("no association"));
        }
        let release = Release { reason: Some(0), user_information: None };
        let client_sap = self.client_sap;
        self.end();
        self.transmit_apdu(client_sap, &Apdu::Rlre(release).encode())
    }

    /// Back to no association.
    fn end(&mut self) {
        if self.state == State::Open {
            self.indications.clear();
            self.indications.push_back(ServerIndication::Released);
        }
        self.state = State::Idle;
        self.level = Level::Public;
        self.protection.end();
        (self.job, self.sending, self.receiving, self.deadline) = (None, None, None, None);
        self.general = None;
    }

    fn exception(&mut self, client_sap: u16, response: ExceptionResponse) -> Result<(), Error> {
        self.transmit_apdu(client_sap, &Apdu::ExceptionResponse(response).encode())
    }

    /// Protects an APDU as the association demands and queues it.
    fn send(&mut self, apdu: Vec<u8>) -> Result<(), Error> {
        let sealed = self.protection.seal(apdu)?;
        if self.general.is_some() {
            self.send_general(sealed)?;
        } else {
            self.transmit_apdu(self.client_sap, &sealed)?;
        }
        self.switch_when_answered()
    }

    /// The same in general blocks, though the request came alone.
    fn send_in_blocks(&mut self, apdu: Vec<u8>) -> Result<(), Error> {
        let sealed = self.protection.seal(apdu)?;
        self.send_general(sealed)?;
        self.switch_when_answered()
    }

    fn transmit_apdu(&mut self, client_sap: u16, apdu: &[u8]) -> Result<(), Error> {
        let header = Header { source: self.config.server_sap, destination: client_sap };
        let gateway = self.config.gateway.as_ref();
        self.transmit.push_back(frame(header, Direction::Response, gateway, apdu)?);
        Ok(())
    }

    fn room(&self) -> usize {
        room(self.peer_max_pdu, self.protection.overhead())
    }
}
