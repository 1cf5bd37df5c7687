//! The client's side of an association (IEC 62056-5-3 clauses 4, 7): connect, prove, read, write,
//! invoke, release.
//!
//! | state | awaits | goes to |
//! |---|---|---|
//! | Idle | `connect` | Associating |
//! | Associating | AARE | Open, or Proving (HLS), or Closed |
//! | Proving | pass 4 in an action-response | Open, or Closed |
//! | Open | answers to the one request in flight | Open, or Releasing |
//! | Releasing | RLRE | Closed |
//! | Closed | nothing: a new `Client` is made for a new association | |
//!
//! The driver, after each call that goes in: sends what `poll_transmit` gives, takes what `poll`
//! gives, and calls `handle_timeout` when `poll_timeout` has come. A refused frame (`Err`) is
//! counted by the driver; it changes nothing here.

mod associate;
mod flight;
mod general;
mod incoming;
mod types;
mod wish;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use self::flight::Flight;
pub use self::types::{
    AccessItem, AccessOptions, AccessResult, ClientConfig, Failure, Indication, InvokeId, Rejection,
};
use self::wish::{Service, Wish};
use super::general::General;
use super::protection::{Highest, KeyUse, Protection};
use crate::apdu::{AttributeRef, InitiateResponse, MethodRef, Selection};
use crate::data::Data;
use crate::error::Error;
use crate::security::NewKeys;

/// Counters left at which more are asked for.
const COUNTERS_LOW: u32 = 16;
/// Octets of a block's own head: tag, choice, invoke-id, last, number, choice, length.
const BLOCK_HEAD_OCTETS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Associating,
    Proving,
    Open,
    Releasing,
    Closed,
}

/// The machine.
pub struct Client {
    config: ClientConfig,
    challenge: Bytes,
    server_challenge: Bytes,
    protection: Protection,
    state: State,
    peer: Option<InitiateResponse>,
    waiting: VecDeque<(InvokeId, Wish)>,
    flight: Option<Flight>,
    general: Option<General>,
    /// What the server's block 1 of the exchange before this request held.
    before: Option<Bytes>,
    next_id: u32,
    asked_for_counters: bool,
    /// Keys to use once the request that transfers them has succeeded.
    switching: Option<(InvokeId, NewKeys)>,
    deadline: Option<Instant>,
    transmit: VecDeque<Vec<u8>>,
    indications: VecDeque<Indication>,
}

/// Frames that wait to be sent may hold a password, so they are counted and not shown.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("state", &self.state)
            .field("counters", &self.protection.counters)
            .field("highest", &self.protection.highest)
            .field("outstanding", &self.outstanding())
            .field("transmit", &self.transmit.len())
            .finish_non_exhaustive()
    }
}

/// Wishes.
impl Client {
    /// A client that has not connected yet. `challenge` are 8 to 64 random octets, fresh for each
    /// client (only HLS sends them).
    #[must_use]
    pub fn new(config: ClientConfig, challenge: &[u8]) -> Self {
        let (keys, credentials) = (config.ciphered.clone(), config.credentials.clone());
        let mut protection = Protection::new(config.client_title, keys, credentials);
        protection.outgoing = config.policy.requests;
        protection.incoming = config.policy.responses;
        protection.wrapping = config.wrapping;
        Self {
            config,
            challenge: Bytes::copy_from_slice(challenge),
            server_challenge: Bytes::new(),
            protection,
            state: State::Idle,
            peer: None,
            waiting: VecDeque::new(),
            flight: None,
            general: None,
            before: None,
            next_id: 1,
            asked_for_counters: false,
            switching: None,
            deadline: None,
            transmit: VecDeque::new(),
            indications: VecDeque::new(),
        }
    }

    /// Gives a fresh block of invocation counters, in place of what is left of the last one.
    pub fn set_counters(&mut self, now: Instant, counters: Range<u32>) {
        self.protection.counters = counters;
        self.asked_for_counters = false;
        self.pump(now);
    }

    /// The peer's counters up to and with `highest` are refused from now on.
    pub fn set_server_counter(&mut self, highest: u32) {
        self.protection.highest.raise(KeyUse::Unicast, highest);
    }

    /// Reads an attribute, or the part of it that is selected.
    ///
    /// # Errors
    /// `QueueFull`; `WrongState` when the association is closed.
    pub fn get(
        &mut self,
        now: Instant,
        attribute: AttributeRef,
        selection: Option<Selection>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Get { attribute, selection, encoded: false })
    }

    /// As `get`, but the answer is the octets of the value (for `profile::Rows`).
    ///
    /// # Errors
    /// As `get`.
    pub fn get_encoded(
        &mut self,
        now: Instant,
        attribute: AttributeRef,
        selection: Option<Selection>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Get { attribute, selection, encoded: true })
    }

    /// Reads several attributes with one request.
    ///
    /// # Errors
    /// As `get`.
    pub fn get_list(
        &mut self,
        now: Instant,
        list: Vec<(AttributeRef, Option<Selection>)>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::GetList(list))
    }

    /// Writes an attribute; a long value goes by blocks.
    ///
    /// # Errors
    /// As `get`.
    pub fn set(
        &mut self,
        now: Instant,
        attribute: AttributeRef,
        selection: Option<Selection>,
        value: Data,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Set { attribute, selection, value, service: Service::Confirmed })
    }

    /// Writes an attribute without an answer (`Indication::Sent` when it has gone out); it must
    /// fit one APDU. Whether it was carried out is not known.
    ///
    /// # Errors
    /// As `get`.
    pub fn set_unconfirmed(
        &mut self,
        now: Instant,
        attribute: AttributeRef,
        selection: Option<Selection>,
        value: Data,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Set { attribute, selection, value, service: Service::Unconfirmed })
    }

    /// Writes several attributes with one request; what is long goes by blocks.
    ///
    /// # Errors
    /// As `get`.
    pub fn set_list(
        &mut self,
        now: Instant,
        list: Vec<(AttributeRef, Option<Selection>, Data)>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::SetList(list))
    }

    /// Invokes a method; long parameters go by blocks.
    ///
    /// # Errors
    /// As `get`.
    pub fn action(
        &mut self,
        now: Instant,
        method: MethodRef,
        parameters: Option<Data>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Action { method, parameters, service: Service::Confirmed })
    }

    /// Invokes a method without an answer (`Indication::Sent` when it has gone out); it must fit
    /// one APDU. Whether it was carried out is not known.
    ///
    /// # Errors
    /// As `get`.
    pub fn action_unconfirmed(
        &mut self,
        now: Instant,
        method: MethodRef,
        parameters: Option<Data>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Action { method, parameters, service: Service::Unconfirmed })
    }

    /// Invokes several methods with one request, each with parameters (null-data for none).
    ///
    /// # Errors
    /// As `get`.
    pub fn action_list(
        &mut self,
        now: Instant,
        list: Vec<(MethodRef, Data)>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::ActionList(list))
    }

    /// Reads, writes and invokes with one ACCESS request, where ACCESS is negotiated.
    ///
    /// # Errors
    /// As `get`.
    pub fn access(
        &mut self,
        now: Instant,
        options: AccessOptions,
        items: Vec<AccessItem>,
    ) -> Result<InvokeId, Error> {
        self.wish(now, Wish::Access(options, items))
    }

    /// Releases the association after the requests that wait already.
    ///
    /// # Errors
    /// As `get`.
    pub fn release(&mut self, now: Instant) -> Result<(), Error> {
        self.wish(now, Wish::Release).map(|_| ())
    }

    /// The connection is lost or was closed: whatever is in flight or waits has failed.
    pub fn disconnected(&mut self) {
        match self.state {
            State::Idle | State::Closed => {}
            State::Associating | State::Proving => self.reject(Rejection::Disconnected),
            State::Open | State::Releasing => self.closed(),
        }
    }

    /// Makes a closed client ready to connect again, over a new connection say. Counters go on
    /// where they were, the peer's too. `challenge` are 8 to 64 fresh random octets.
    ///
    /// # Errors
    /// `WrongState` unless the client is closed.
    pub fn renew(&mut self, challenge: &[u8]) -> Result<(), Error> {
        if self.state != State::Closed {
            return Err(Error::WrongState("the association is not closed"));
        }
        self.challenge = Bytes::copy_from_slice(challenge);
        self.server_challenge = Bytes::new();
        self.peer = None;
        self.general = None;
        self.transmit.clear();
        self.state = State::Idle;
        Ok(())
    }

    /// Whether the association is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the association is closed for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Requests that wait or are in flight.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.waiting.len() + usize::from(self.flight.is_some())
    }

    /// Counters that were not used yet.
    #[must_use]
    pub fn counters(&self) -> Range<u32> {
        self.protection.counters.clone()
    }

    /// Highest counter accepted from the peer under the unicast key.
    #[must_use]
    pub fn server_counter(&self) -> Option<u32> {
        self.protection.highest.get(KeyUse::Unicast)
    }

    /// Highest counters accepted from the peer under each kind of key that lasts.
    #[must_use]
    pub const fn server_counters(&self) -> &Highest {
        &self.protection.highest
    }

    /// Transfers new keys with `method`, method 2 of a security setup, wrapped by the configured
    /// key-encryption key. When the server has said that it is done (`Acted` with `Ok`), this
    /// association uses the new keys already; the driver then keeps them for the next ones.
    ///
    /// # Errors
    /// As `get`; `NoKeys` without key-encryption key, `Protection` for keys of another length,
    /// `WrongState` while another transfer waits for its answer.
    pub fn transfer_keys(
        &mut self,
        now: Instant,
        method: MethodRef,
        keys: NewKeys,
    ) -> Result<InvokeId, Error> {
        if self.switching.is_some() {
            return Err(Error::WrongState("keys are being transferred"));
        }
        let kek = self.protection.credentials.kek.as_ref().ok_or(Error::NoKeys)?;
        let parameters = Some(keys.wrapped(kek)?);
        // Known before the request may go out, since its answer can then be told at once.
        self.switching = Some((InvokeId(self.next_id), keys));
        let wished =
            self.wish(now, Wish::Action { method, parameters, service: Service::Confirmed });
        if wished.is_err() {
            self.switching = None;
        }
        wished
    }

    /// Uses transferred keys when `done` says that the server has them.
    fn settle_transfer(&mut self, done: &Indication) {
        let (invoke, succeeded) = match done {
            Indication::Acted { invoke, result } => (*invoke, result.is_ok()),
            Indication::Failed { invoke, .. } => (*invoke, false),
            _ => return,
        };
        let Some((_, keys)) = self.switching.take_if(|(id, _)| *id == invoke) else { return };
        // The keys were of the suite's length when they were wrapped.
        if succeeded && self.protection.switch(&keys).is_err() {
            self.reject(Rejection::Refused(Error::Protection("keys of another suite")));
        }
    }

    fn wish(&mut self, now: Instant, wish: Wish) -> Result<InvokeId, Error> {
        if matches!(self.state, State::Releasing | State::Closed) {
            return Err(Error::WrongState("the association is closed"));
        }
        if self.waiting.len() >= self.config.max_waiting {
            return Err(Error::QueueFull);
        }
        let id = InvokeId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.waiting.push_back((id, wish));
        self.pump(now);
        Ok(id)
    }
}

/// Out.
impl Client {
    /// The next wrapper frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next thing to know.
    pub fn poll(&mut self) -> Option<Indication> {
        self.indications.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Blocks under way have a deadline of their own, and repetitions of a bounded number.
        self.general.as_ref().and_then(General::poll_timeout).or(self.deadline)
    }
}
