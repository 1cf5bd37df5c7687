//! How a client opens and closes its association: AARQ to AARE, HLS passes 3 and 4, release.

use std::time::Instant;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{Client, Failure, Indication, Rejection, State, Wish};
use crate::acse::{Aare, Aarq, ApplicationContext, AssociateResult, Mechanism};
use crate::apdu::action::{ActionAnswer, ActionRequest, ActionResponse};
use crate::apdu::{Apdu, Conformance, InitiateRequest, InvokePriority};
use crate::association::authentication::{Handshake, is_challenge};
use crate::association::protection::check_dedicated;
use crate::association::{Authentication, REPLY_TO_HLS};
use crate::data::Data;
use crate::error::Error;
use crate::security::SystemTitle;

impl Client {
    /// Sends the AARQ.
    ///
    /// # Errors
    /// `WrongState` unless it is the first call, `NoCounters` when counters are needed,
    /// `Protection` when the challenge for HLS has not 8 to 64 octets (32 to 64 for ECDSA) or the
    /// dedicated key has not the suite's length, `NoKeys` when keys for that are not there.
    pub fn connect(&mut self, now: Instant) -> Result<(), Error> {
        if self.state != State::Idle {
            return Err(Error::WrongState("connected before"));
        }
        let authentication = &self.config.authentication;
        authentication.check_own(&self.config.credentials, &self.challenge)?;
        let mut initiate = InitiateRequest::new(self.config.conformance, self.config.max_pdu);
        if let Some(key) = &self.config.dedicated_key {
            check_dedicated(self.protection.keys.as_ref(), key)?;
            initiate.dedicated_key = Some(Zeroizing::new(key.expose().to_vec()));
        }
        let (mechanism, value) = match authentication {
            Authentication::None => (None, None),
            Authentication::Lls(secret) => {
                (Some(Mechanism::LLS), Some(Bytes::copy_from_slice(secret.expose())))
            }
            high => (Some(high.mechanism()), Some(self.challenge.clone())),
        };
        let ciphered = self.protection.keys.is_some();
        let context = self.context();
        let needs_title = ciphered || authentication.needs_titles();
        let initiate = self.protection.seal(Apdu::InitiateRequest(initiate).encode())?;
        let title = Bytes::copy_from_slice(&self.config.client_title);
        let aarq = Aarq {
            context,
            calling_title: needs_title.then_some(title),
            calling_user: None,
            mechanism,
            authentication: value,
            user_information: Some(initiate.into()),
        };
        self.send_plain(&Apdu::Aarq(aarq).encode())?;
        self.state = State::Associating;
        self.protection.peer_title = self.config.server_title;
        self.deadline = Some(now + self.config.response_timeout);
        Ok(())
    }

    pub(super) fn associate(&mut self, now: Instant, aare: Aare) -> Result<(), Rejection> {
        let refused = |error| Err(Rejection::Refused(error));
        if aare.result != AssociateResult::Accepted {
            let (result, diagnostic) = (aare.result, aare.diagnostic);
            let error = match aare.user_information.as_deref().map(Apdu::decode) {
                Some(Ok(Apdu::ConfirmedServiceError(error))) => Some(error),
                _ => None,
            };
            return Err(Rejection::Server { result, diagnostic, error });
        }
        if aare.context != self.context() {
            return refused(Error::WrongState("an AARE of another application context"));
        }
        if let Some(title) = &aare.responding_title {
            let Ok(title) = SystemTitle::try_from(title.as_ref()) else {
                return refused(Error::WrongTitle);
            };
            if self.config.server_title.is_some_and(|expected| expected != title) {
                return refused(Error::WrongTitle);
            }
            self.protection.peer_title = Some(title);
        }
        let information = aare.user_information.unwrap_or_default();
        let opened = self.protection.open_frame(&information).map_err(Rejection::Refused)?;
        if opened.is_none() && self.protection.refuses_plain() {
            return refused(Error::Protection("a plain initiate-response"));
        }
        let plain = opened.as_ref().map_or(&information[..], |opened| &opened.plain[..]);
        let initiate = Apdu::decode(plain).map_err(Rejection::Refused)?;
        let Apdu::InitiateResponse(initiate) = initiate else {
            return refused(Error::WrongState("no initiate-response in an accepted AARE"));
        };
        self.peer = Some(initiate);
        if let Some(key) = self.config.dedicated_key.clone() {
            self.protection.dedicate(key.expose()).map_err(Rejection::Refused)?;
        }
        if !self.config.authentication.is_high() {
            self.open(now);
            return Ok(());
        }
        // An AARE may leave the mechanism out; another one than asked for is an error.
        let asked = self.config.authentication.mechanism();
        if aare.mechanism.is_some_and(|mechanism| mechanism != asked) {
            return refused(Error::Protection("another mechanism than asked for"));
        }
        self.server_challenge = aare.authentication.unwrap_or_default();
        // A server that echoes our own challenge would let us prove it to itself.
        if !is_challenge(&self.server_challenge) || self.server_challenge == self.challenge {
            return refused(Error::Protection("an unusable challenge"));
        }
        self.prove(now).map_err(Rejection::Refused)
    }

    /// Logical names, ciphered when there are keys.
    fn context(&self) -> ApplicationContext {
        match self.protection.keys {
            Some(_) => ApplicationContext::LOGICAL_NAME_CIPHERED,
            None => ApplicationContext::LOGICAL_NAME,
        }
    }

    fn handshake(&self) -> Handshake<'_> {
        Handshake {
            own_title: &self.config.client_title,
            peer_title: self.protection.peer_title.as_ref(),
            own_challenge: &self.challenge,
            peer_challenge: &self.server_challenge,
            credentials: &self.config.credentials,
        }
    }

    /// Pass 3.
    fn prove(&mut self, now: Instant) -> Result<(), Error> {
        let needs_counter = self.config.authentication.needs_counter();
        let counter = if needs_counter { self.protection.take_counter()? } else { 0 };
        let reply = self.config.authentication.prove(&self.handshake(), counter)?;
        let request = ActionRequest::Normal {
            invoke: InvokePriority::confirmed(1),
            method: REPLY_TO_HLS,
            parameters: Some(Data::octets(&reply)),
        };
        self.send(Apdu::ActionRequest(request).encode())?;
        self.state = State::Proving;
        self.deadline = Some(now + self.config.response_timeout);
        Ok(())
    }

    /// Pass 4.
    pub(super) fn proven(&mut self, now: Instant, octets: &[u8]) -> Result<(), Error> {
        let Apdu::ActionResponse(ActionResponse::Normal { answer, .. }) = Apdu::decode(octets)?
        else {
            return Err(Error::WrongState("an APDU that is not awaited"));
        };
        let reply = match &answer {
            ActionAnswer { result: Ok(()), returned: Some(Ok(data)) } => data.as_octets(),
            _ => None,
        };
        let checked = match reply {
            Some(reply) => self.config.authentication.verify(&self.handshake(), reply),
            None => Err(Error::Protection("the server did not accept or prove")),
        };
        match checked {
            Ok(()) => self.open(now),
            Err(error) => self.reject(Rejection::Refused(error)),
        }
        Ok(())
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open;
        self.deadline = None;
        self.protection.use_dedicated();
        let (conformance, max_pdu) =
            self.peer.as_ref().map_or((Conformance(0), 0), |peer| (peer.conformance, peer.max_pdu));
        let server_title = self.protection.peer_title;
        self.indications.push_back(Indication::Associated { server_title, conformance, max_pdu });
        self.pump(now);
    }

    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.indications.push_back(Indication::Rejected(rejection));
        self.close();
    }

    pub(super) fn closed(&mut self) {
        self.indications.push_back(Indication::Released);
        self.close();
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.deadline = None;
        let flight = self.flight.take().map(|flight| flight.id);
        let waiting = std::mem::take(&mut self.waiting);
        let waiting = waiting.into_iter().filter(|(_, wish)| !matches!(wish, Wish::Release));
        for invoke in flight.into_iter().chain(waiting.map(|(id, _)| id)) {
            self.indications.push_back(Indication::Failed { invoke, failure: Failure::Closed });
        }
    }
}
