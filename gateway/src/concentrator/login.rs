//! From the identity to the active channel, and back to the standby: the edges of the session that
//! concern who it is and who owns it.

use cosem::apdu::ServiceFault;
use cosem::association::{
    Authentication, Client, ClientConfig, InvokeId, Rejection, open_notification, peek_sender,
};
use cosem::{AttributeRef, Data, Keys};
use domain::leases::{Reason, Role};

use super::notification::{self, Notification};
use super::{Event, Request, Session, State};
use crate::concentrator::pushes::Pushes;
use crate::error::{Cause, Denied};
use crate::roster::ChannelRole;
use crate::upcall::{Admission, Claimed};

use bytes::Bytes;
use std::time::{Duration, Instant};

/// The head-end's SAP and the concentrator's logical device.
const MANAGEMENT: u16 = 1;
const LOGICAL_DEVICE: u16 = 1;
/// Octets of a challenge.
const CHALLENGE_OCTETS: usize = 16;

/// Written with the epoch to make this channel the active one.
const ACTIVE_CHANNEL: AttributeRef = AttributeRef::new(1, [0, 0, 94, 86, 131, 255], 2);

impl Session {
    /// The first frame. Only its title is believed so far as to look the keys up.
    pub(super) fn identity(&mut self, apdu: &Bytes) {
        match peek_sender(apdu) {
            Err(_) => self.close(Cause::IdentityExpected),
            Ok((system_title, _)) => {
                let ticket = self.next_ticket();
                self.requests.push_back(Request::Admit { ticket, system_title });
                self.state = State::Admitting { frame: apdu.clone() };
            }
        }
    }

    pub(super) fn admitted(&mut self, answer: Result<Admission, Denied>) {
        let State::Admitting { frame } = &self.state else { return };
        let frame = frame.clone();
        match answer {
            Err(Denied::Refused { .. }) => self.close(Cause::NotAdmitted),
            Err(Denied::Unavailable) => self.close(Cause::ClusterUnavailable),
            Ok(admission) => match self.check_identity(admission, &frame) {
                Err(cause) => self.close(cause),
                Ok(()) => self.ask_counters(),
            },
        }
    }

    fn check_identity(&mut self, admission: Admission, frame: &Bytes) -> Result<(), Cause> {
        let keys = Keys::new(&admission.guek, &admission.gak);
        let opened = open_notification(|_| Some(&keys), frame).map_err(|error| match error {
            cosem::Error::Malformed { .. } => Cause::IdentityExpected,
            _ => Cause::Undecipherable,
        })?;
        let counter = opened.counter.unwrap_or(0);
        if counter <= admission.last_counter {
            return Err(Cause::Replayed);
        }
        let body = opened.body().map_err(|_| Cause::IdentityExpected)?;
        let Ok(Notification::Identity(login)) = notification::decode(body) else {
            return Err(Cause::IdentityExpected);
        };
        let is_its_own = login.concentrator == admission.concentrator
            && Some(login.system_title) == opened.title;
        if !is_its_own {
            return Err(Cause::IdentityMismatch);
        }
        self.login = login;
        self.identity_counter = counter;
        self.keys = Some(keys);
        self.admission = Some(admission);
        Ok(())
    }

    fn ask_counters(&mut self) {
        let ticket = self.next_ticket();
        self.requests.push_back(Request::Reserve { ticket, is_granted: false });
        self.state = State::Counters;
    }

    pub(super) fn reserved(&mut self, now: Instant, answer: Result<u32, Denied>) {
        let first = match answer {
            Ok(first) => first,
            Err(Denied::Refused { .. }) => return self.close(Cause::ClusterRefused),
            Err(Denied::Unavailable) => return self.close(Cause::ClusterUnavailable),
        };
        let block = first..first.saturating_add(self.config.counter_block);
        match self.state {
            State::Counters => self.associate(now, block),
            State::Renewing { epoch, reason } => self.activate(now, block, epoch, reason),
            _ => {}
        }
    }

    pub(super) fn refilled(&mut self, now: Instant, answer: Result<u32, Denied>) {
        // An activation has brought a block of its own meanwhile: the older one is not used.
        if !self.refilling {
            return;
        }
        self.refilling = false;
        let used_up_to = self.client.as_ref().map_or(0, |client| client.counters().start);
        match answer {
            Ok(first) if first < used_up_to => {
                self.refilling = true;
                self.requests.push_back(Request::Refill);
            }
            Ok(first) => {
                let block = first..first.saturating_add(self.config.counter_block);
                if let Some(client) = &mut self.client {
                    client.set_counters(now, block);
                }
            }
            Err(Denied::Refused { .. }) => self.close(Cause::ClusterRefused),
            Err(Denied::Unavailable) => self.close(Cause::ClusterUnavailable),
        }
    }

    fn associate(&mut self, now: Instant, counters: std::ops::Range<u32>) {
        let (Some(admission), Some(keys)) = (&self.admission, &self.keys) else { return };
        let mut config = ClientConfig::new(MANAGEMENT, LOGICAL_DEVICE, admission.client_title);
        config.authentication = Authentication::Hls5(keys.clone());
        config.ciphered = Some(keys.clone());
        config.server_title = Some(self.login.system_title);
        config.response_timeout = Duration::from_millis(self.config.answer_timeout_ms);
        let mut client = Client::new(config, &(self.random)()[..CHALLENGE_OCTETS]);
        client.set_counters(now, counters);
        client.set_server_counter(self.identity_counter);
        match client.connect(now) {
            Ok(()) => {
                self.client = Some(client);
                self.state = State::Associating;
            }
            Err(_) => self.close(Cause::AssociationRejected),
        }
    }

    /// The identity is proven.
    pub(super) fn associated(&mut self) {
        if matches!(self.state, State::Associating) {
            self.events.push_back(Event::Proven(self.login.clone()));
            self.claim(Reason::Login);
        }
    }

    /// A concentrator whose counter memory is above ours says the least that it takes.
    pub(super) fn rejected(&mut self, rejection: Rejection) {
        if let Rejection::Exception(exception) = rejection
            && let ServiceFault::InvocationCounter { expected } = exception.fault
            && !self.raised
        {
            self.raised = true;
            self.client = None;
            let ticket = self.next_ticket();
            self.requests.push_back(Request::Raise { ticket, at_least: expected });
            self.state = State::Raising;
            return;
        }
        self.close(match rejection {
            Rejection::Timeout => Cause::AnswerLate,
            _ => Cause::AssociationRejected,
        });
    }

    pub(super) fn counter_raised(&mut self, answer: Result<(), Denied>) {
        match (&self.state, answer) {
            (State::Raising, Ok(())) => self.ask_counters(),
            (State::Raising, Err(_)) => self.close(Cause::ClusterRefused),
            _ => {}
        }
    }

    /// Somebody wants this channel to be the active one.
    pub(super) fn wish(&mut self, reason: Reason) {
        match &mut self.state {
            State::Standby => self.claim(reason),
            // The claim under way may end as held; then this reason is tried. The concentrator's
            // own word counts most.
            State::Claiming { next, .. } if *next != Some(Reason::Promoted) => {
                *next = Some(reason);
            }
            _ => {}
        }
    }

    /// Asks for the lease, or remembers to ask when the node may act again. What is remembered is
    /// asked politely: by then another node may own the channel and serve it well, and a
    /// concentrator without a head-end says *promote* again by itself.
    pub(super) fn claim(&mut self, reason: Reason) {
        if self.suspended {
            match reason {
                Reason::Login => self.deferred = Some(Reason::Login),
                Reason::Promoted | Reason::OwnerLost => self.deferred = Some(Reason::OwnerLost),
                Reason::Ordered | Reason::Returned => {}
            }
            if !matches!(self.state, State::Standby) {
                self.stand_by();
            }
            return;
        }
        let ticket = self.next_ticket();
        // Who does not say which address it dialled logs in on its main one.
        let inferred = if reason == Reason::Login { Role::Main } else { Role::Standby };
        let channel = self.login.address.unwrap_or(inferred);
        self.requests.push_back(Request::Claim { ticket, channel, reason });
        self.state = State::Claiming { reason, next: None };
        self.events.push_back(Event::Role(ChannelRole::Login, None));
    }

    pub(super) fn claimed(&mut self, answer: Result<Claimed, Denied>) {
        let State::Claiming { reason, next } = self.state else { return };
        match answer {
            Ok(Claimed::Granted { epoch }) if self.suspended => {
                self.requests.push_back(Request::Release { epoch });
                self.claim(reason);
            }
            Ok(Claimed::Granted { epoch }) => {
                self.state = State::Renewing { epoch, reason };
                let ticket = self.next_ticket();
                self.requests.push_back(Request::Reserve { ticket, is_granted: true });
            }
            Ok(Claimed::Held { .. }) => match next {
                Some(reason) => self.claim(reason),
                None => self.stand_by(),
            },
            Err(Denied::Refused { .. }) => self.close(Cause::ClusterRefused),
            Err(Denied::Unavailable) => self.close(Cause::ClusterUnavailable),
        }
    }

    fn stand_by(&mut self) {
        self.state = State::Standby;
        self.requests.push_back(Request::Standby { up: true });
        self.events.push_back(Event::Role(ChannelRole::Standby, None));
    }

    fn activate(
        &mut self,
        now: Instant,
        counters: std::ops::Range<u32>,
        epoch: u64,
        reason: Reason,
    ) {
        let Some(client) = &mut self.client else { return };
        self.refilling = false;
        client.set_counters(now, counters);
        // The wire's epoch has 32 bits; a lease that has moved four thousand million times is none.
        let Ok(on_the_wire) = u32::try_from(epoch) else {
            return self.close(Cause::ClusterRefused);
        };
        let value = Data::Structure(vec![Data::U32(on_the_wire)]);
        match client.set(now, ACTIVE_CHANNEL, None, value) {
            Ok(set) => self.state = State::Activating { epoch, reason, set },
            Err(_) => self.close(Cause::ActivationRefused),
        }
    }

    /// A SET was answered: the activation or an acknowledgement.
    pub(super) fn set_done(&mut self, now: Instant, invoke: InvokeId, accepted: bool) {
        match self.state {
            State::Activating { epoch, reason, set } if set == invoke => {
                if accepted {
                    self.activated(now, epoch, reason);
                } else {
                    self.close(Cause::ActivationRefused);
                }
            }
            _ => self.acknowledged(now, invoke, accepted),
        }
    }

    fn activated(&mut self, now: Instant, epoch: u64, reason: Reason) {
        self.state = State::Active { epoch };
        self.pushes = Pushes::new(self.config.push_window);
        self.acknowledging = None;
        self.parked.clear();
        self.events.push_back(Event::Role(ChannelRole::Active, Some(epoch)));
        self.events.push_back(Event::Switched(reason));
        self.ask_roster(now);
    }

    /// Another node has the lease: this channel is a standby again.
    pub(super) fn lease_moved(&mut self, newer: u64) {
        match self.state {
            State::Active { epoch }
            | State::Activating { epoch, .. }
            | State::Renewing { epoch, .. }
                if epoch < newer =>
            {
                self.step_back();
            }
            _ => {}
        }
    }

    /// The node may not act: what is owned is given up without a word to the cluster, which would
    /// not hear it; the lease ends with the node's.
    pub(super) fn hold_still(&mut self) {
        if let State::Active { .. } | State::Activating { .. } | State::Renewing { .. } = self.state
        {
            self.deferred = Some(Reason::OwnerLost);
            self.step_back();
        }
    }

    pub(super) fn step_back(&mut self) {
        self.abandon();
        self.pushes = Pushes::new(self.config.push_window);
        self.parked.clear();
        self.acknowledging = None;
        self.stand_by();
    }
}
