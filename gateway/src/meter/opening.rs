//! How an association with a meter is opened: with which level of security, and what is done when
//! the meter does not take our invocation counter.
//!
//! Invariants: the counters are raised, and a busy meter is asked again, at most once for one piece
//! of work; challenge and dedicated key are drawn for each association.

use std::time::{Duration, Instant};

use cosem::AttributeRef;
use cosem::acse::{AssociateResult, Diagnostic};
use cosem::apdu::ServiceFault;
use cosem::association::{Authentication, Client, ClientConfig, PUBLIC_CLIENT, Rejection};
use domain::commands::Failure;

use super::{Conversation, Question, State};
use crate::keying::Fresh;
use crate::upcall::MeterAccess;

/// The meter's invocation counter for our keys, readable by the public client.
pub(super) const COUNTER: AttributeRef = AttributeRef::new(1, [0, 0, 43, 1, 0, 255], 2);

/// Octets of a challenge, but for ECDSA, which needs 32.
const CHALLENGE_OCTETS: usize = 16;

impl Conversation {
    /// Associates, with counters where services are protected.
    pub(super) fn try_to_associate(&mut self, now: Instant) {
        if self.access.as_ref().is_some_and(|access| access.keys.is_some()) {
            self.ask(State::Reserving, Question::Reserve);
        } else {
            self.associate(now, 0..0);
        }
    }

    pub(super) fn associate(&mut self, now: Instant, counters: std::ops::Range<u32>) {
        let Some(access) = &self.access else { return };
        let mut config = self.config(access.client_sap, access);
        config.server_title = access.server_title;
        let fresh = Fresh::draw(self.random);
        if let Err(error) = access.keying().apply(&mut config, &fresh) {
            self.fail(Failure::Security(error.to_string()));
            return;
        }
        let challenge = match config.authentication {
            Authentication::Hls7 => &fresh.challenge[..],
            // Some meters take no longer one where the standard's examples have 8 and 16 octets.
            _ => &fresh.challenge[..CHALLENGE_OCTETS],
        };
        let mut client = Client::new(config, challenge);
        client.set_counters(now, counters);
        self.open(now, client, State::Associating);
    }

    /// Reads the meter's counter as the public client, who needs none.
    pub(super) fn ask_counter(&mut self, now: Instant) {
        let Some(access) = &self.access else { return };
        let client = Client::new(self.config(PUBLIC_CLIENT, access), &[]);
        self.open(now, client, State::Counter);
    }

    fn config(&self, client_sap: u16, access: &MeterAccess) -> ClientConfig {
        let mut config = ClientConfig::new(client_sap, access.server_sap, access.client_title);
        config.gateway.clone_from(&self.gateway);
        config.response_timeout = self.limits.response;
        let limits = &access.model.file.limits;
        if let Some(own_ms) = limits.response_timeout_ms {
            config.response_timeout = Duration::from_millis(own_ms) + self.limits.line_time;
        }
        if let Some(octets) = limits.max_apdu_octets {
            config.max_pdu = octets;
        }
        config
    }

    fn open(&mut self, now: Instant, mut client: Client, state: State) {
        self.refilling = false;
        let connected = client.connect(now);
        self.client = Some(client);
        self.state = state;
        match connected {
            Ok(()) => self.collect(now),
            Err(error) => self.fail(Failure::Security(error.to_string())),
        }
    }

    /// A rejected association may be one whose counter was too low: the meter says so, or it is
    /// asked. Anything else is the answer.
    pub(super) fn rejected(&mut self, now: Instant, rejection: Rejection) {
        if is_busy(&rejection) && !self.repeated {
            self.repeated = true;
            self.client = None;
            self.try_to_associate(now);
            return;
        }
        let is_ciphered = self.access.as_ref().is_some_and(|access| access.keys.is_some());
        if is_ciphered && !self.raised {
            if let Rejection::Exception(exception) = rejection
                && let ServiceFault::InvocationCounter { expected } = exception.fault
            {
                self.raised = true;
                self.client = None;
                self.ask(State::Raising, Question::Raise { at_least: expected });
                return;
            }
            // On its own address a silent meter is there: it may drop what has a low counter.
            if rejection != Rejection::Timeout || self.gateway.is_none() {
                self.raised = true;
                self.ask_counter(now);
                return;
            }
        }
        self.fail(rejected(rejection));
    }

    /// Releases the public association: many meters hold one at a time.
    pub(super) fn part_from_public(&mut self, now: Instant) {
        let Some(client) = &mut self.client else { return };
        let _ = client.release(now);
        while let Some(frame) = client.poll_transmit() {
            self.transmit.push_back(frame);
        }
    }

    pub(super) fn counter_known(&mut self, counter: Option<u32>) {
        self.client = None;
        match counter.and_then(|counter| counter.checked_add(1)) {
            Some(at_least) => self.ask(State::Raising, Question::Raise { at_least }),
            None => self.fail(Failure::Rejected("the association was refused".to_owned())),
        }
    }
}

/// Not now, and for no reason that has to do with keys or counters.
fn is_busy(rejection: &Rejection) -> bool {
    let Rejection::Server { result, diagnostic, .. } = rejection else { return false };
    let is_general = [Diagnostic::NULL, Diagnostic::NO_REASON].contains(diagnostic);
    *result == AssociateResult::RejectedTransient && is_general
}

fn rejected(rejection: Rejection) -> Failure {
    match rejection {
        Rejection::Timeout => Failure::NoAnswer,
        Rejection::Disconnected => Failure::ChannelLost,
        Rejection::ServiceError(error) => Failure::Rejected(format!("{error:?}")),
        Rejection::Server { diagnostic, .. } => Failure::Rejected(format!("{diagnostic:?}")),
        Rejection::Exception(exception) => Failure::Rejected(format!("{:?}", exception.fault)),
        Rejection::Refused(error) => Failure::Security(error.to_string()),
    }
}
