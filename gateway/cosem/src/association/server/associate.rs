//! How a server opens an association: AARQ to AARE, HLS pass 3 to pass 4.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Level, Server, ServerIndication, State};
use crate::acse::{Aare, Aarq, ApplicationContext, AssociateResult, Diagnostic, Mechanism};
use crate::apdu::action::{ActionAnswer, ActionRequest, ActionResponse};
use crate::apdu::initiate::{DLMS_VERSION, VAA_LOGICAL_NAME};
use crate::apdu::{
    Apdu, ConfirmedServiceError, DataAccessError, ExceptionResponse, InitiateRequest,
    InitiateResponse, ServiceFault,
};
use crate::association::authentication::{ECDSA_CHALLENGE_OCTETS, Handshake, is_challenge};
use crate::association::{Authentication, PUBLIC_CLIENT, REPLY_TO_HLS};
use crate::data::Data;
use crate::error::Error;
use crate::security::SystemTitle;

/// initiate error, class 6, value 1: the DLMS version is too low.
const VERSION_TOO_LOW: ConfirmedServiceError =
    ConfirmedServiceError { service: 1, class: 6, error: 1 };

/// Why an AARQ is refused by an AARE.
struct Refusal(Diagnostic, Error);

impl Server {
    pub(super) fn associate(&mut self, client_sap: u16, octets: &[u8]) -> Result<(), Error> {
        let Apdu::Aarq(aarq) = Apdu::decode(octets)? else {
            return Err(Error::malformed(0, "not an AARQ"));
        };
        self.end();
        self.client_sap = client_sap;
        let level = match self.admit(client_sap, &aarq) {
            Ok(level) => level,
            Err(Refusal(diagnostic, error)) => {
                self.reject(&aarq, diagnostic, None)?;
                return Err(error);
            }
        };
        let initiate = match self.initiate(&aarq) {
            Ok(initiate) => initiate,
            Err(error) => {
                let error = self.refuse(client_sap, error);
                self.end();
                return Err(error);
            }
        };
        if initiate.version < DLMS_VERSION {
            self.reject(&aarq, Diagnostic::NO_REASON, Some(VERSION_TOO_LOW))?;
            return Err(Error::WrongState("a DLMS version that is too low"));
        }
        self.peer_max_pdu = initiate.max_pdu;
        self.conformance = initiate.conformance.both(self.config.conformance);
        self.client_challenge = aarq.authentication.clone().unwrap_or_default();
        self.level = level;
        if let Err(Refusal(diagnostic, error)) = self.prepare(&initiate) {
            self.reject(&aarq, diagnostic, None)?;
            return Err(error);
        }
        self.accept(&aarq)
    }

    /// Judges context, mechanism, title and password.
    fn admit(&mut self, client_sap: u16, aarq: &Aarq) -> Result<Level, Refusal> {
        let wrong_context = Refusal(
            Diagnostic::CONTEXT_NOT_SUPPORTED,
            Error::Protection("another application context"),
        );
        let ciphered = match aarq.context {
            ApplicationContext::LOGICAL_NAME => false,
            ApplicationContext::LOGICAL_NAME_CIPHERED => true,
            _ => return Err(wrong_context),
        };
        let mechanism = aarq.mechanism.unwrap_or(Mechanism::NONE);
        let nothing_proved = !ciphered && mechanism == Mechanism::NONE;
        if nothing_proved && self.config.allow_public && client_sap == PUBLIC_CLIENT {
            return Ok(Level::Public);
        }
        if ciphered != self.config.ciphered.is_some() {
            return Err(wrong_context);
        }
        let authentication = aarq.authentication.as_deref().unwrap_or_default();
        if mechanism == Mechanism::HLS_MANUFACTURER {
            let refusal = Error::Protection("mechanism 2 is the manufacturer's own");
            return Err(Refusal(Diagnostic::MECHANISM_NOT_RECOGNISED, refusal));
        }
        let wanted = self.config.authentication.mechanism();
        let level = level_of(&self.config.authentication);
        if mechanism != wanted {
            let diagnostic = match mechanism {
                Mechanism::NONE => Diagnostic::MECHANISM_REQUIRED,
                _ => Diagnostic::MECHANISM_NOT_RECOGNISED,
            };
            return Err(Refusal(diagnostic, Error::Protection("another mechanism")));
        }
        let failed = |what| Refusal(Diagnostic::AUTHENTICATION_FAILURE, Error::Protection(what));
        if let Authentication::Lls(secret) = &self.config.authentication
            && !secret.matches(authentication)
        {
            return Err(failed("a wrong password"));
        }
        if level.is_high() && !is_challenge(authentication) {
            return Err(failed("a challenge has 8 to 64 octets"));
        }
        if ciphered || self.config.authentication.needs_titles() {
            let title = aarq.calling_title.as_deref().map(SystemTitle::try_from);
            let Some(Ok(title)) = title else {
                let diagnostic = Diagnostic::CALLING_TITLE_NOT_RECOGNISED;
                return Err(Refusal(diagnostic, Error::WrongTitle));
            };
            if title == self.config.system_title || !self.accepted.has_room(&title) {
                let diagnostic = Diagnostic::CALLING_TITLE_NOT_RECOGNISED;
                return Err(Refusal(diagnostic, Error::WrongTitle));
            }
            self.protection.peer_title = Some(title);
        }
        self.protection.keys = if ciphered { self.config.ciphered.clone() } else { None };
        self.protection.outgoing = self.config.policy.responses;
        self.protection.incoming = self.config.policy.requests;
        Ok(level)
    }

    /// The initiate-request within the AARQ.
    fn initiate(&mut self, aarq: &Aarq) -> Result<InitiateRequest, Error> {
        let information = aarq.user_information.as_deref().unwrap_or_default();
        let opened = self.unprotect(information)?;
        if opened.is_none() && self.protection.refuses_plain() {
            return Err(Error::Protection("a plain initiate-request"));
        }
        let apdu = Apdu::decode(opened.as_deref().unwrap_or(information))?;
        match apdu {
            Apdu::InitiateRequest(initiate) => Ok(initiate),
            _ => Err(Error::malformed(0, "no initiate-request in an AARQ")),
        }
    }

    /// Takes the dedicated key and draws the challenge.
    fn prepare(&mut self, initiate: &InitiateRequest) -> Result<(), Refusal> {
        if let Some(key) = &initiate.dedicated_key {
            let dedicated = self.protection.dedicate(key);
            dedicated.map_err(|error| Refusal(Diagnostic::NO_REASON, error))?;
        }
        if self.level.is_high() {
            self.own_challenge = self.next_challenge();
            let failed = |error| Refusal(Diagnostic::AUTHENTICATION_FAILURE, error);
            // A client that sends our challenge would let us prove ourselves to us.
            if self.own_challenge == self.client_challenge {
                return Err(failed(Error::Protection("a reflected challenge")));
            }
            let authentication = &self.config.authentication;
            let checked = authentication.check_own(&self.config.credentials, &self.own_challenge);
            checked.map_err(failed)?;
        }
        Ok(())
    }

    fn accept(&mut self, aarq: &Aarq) -> Result<(), Error> {
        let response = InitiateResponse {
            quality_of_service: None,
            version: DLMS_VERSION,
            conformance: self.conformance,
            max_pdu: self.config.max_pdu,
            vaa_name: VAA_LOGICAL_NAME,
        };
        let information = self.protection.seal(Apdu::InitiateResponse(response).encode())?;
        let proving = self.level.is_high();
        let names_itself =
            self.config.authentication.needs_titles() || self.protection.keys.is_some();
        let title = Bytes::copy_from_slice(&self.config.system_title);
        let aare = Aare {
            context: aarq.context,
            result: AssociateResult::Accepted,
            diagnostic: if proving {
                Diagnostic::AUTHENTICATION_REQUIRED
            } else {
                Diagnostic::NULL
            },
            responding_title: names_itself.then_some(title),
            mechanism: proving.then(|| self.config.authentication.mechanism()),
            authentication: proving.then(|| self.own_challenge.clone()),
            user_information: Some(information.into()),
        };
        self.transmit_apdu(self.client_sap, &Apdu::Aare(aare).encode())?;
        if proving {
            self.state = State::Proving;
        } else {
            self.opened();
        }
        Ok(())
    }

    fn reject(
        &mut self,
        aarq: &Aarq,
        diagnostic: Diagnostic,
        error: Option<ConfirmedServiceError>,
    ) -> Result<(), Error> {
        let error = error.map(|error| Apdu::ConfirmedServiceError(error).encode().into());
        let aare = Aare {
            context: aarq.context,
            result: AssociateResult::RejectedPermanent,
            diagnostic,
            responding_title: None,
            mechanism: None,
            authentication: None,
            user_information: error,
        };
        let client_sap = self.client_sap;
        self.end();
        self.transmit_apdu(client_sap, &Apdu::Aare(aare).encode())
    }

    /// Pass 3: the client's value; pass 4 goes back.
    pub(super) fn proof(&mut self, plain: &[u8]) -> Result<(), Error> {
        let (invoke, value) = match Apdu::decode(plain) {
            Ok(Apdu::ActionRequest(ActionRequest::Normal {
                invoke,
                method: REPLY_TO_HLS,
                parameters: Some(Data::OctetString(value)),
            })) => (invoke, value),
            other => {
                let fault = ServiceFault::OperationNotPossible;
                self.exception(self.client_sap, ExceptionResponse::not_allowed(fault))?;
                let early = Error::WrongState("a request before the proof");
                return Err(other.err().unwrap_or(early));
            }
        };
        let checked = self.config.authentication.verify(&self.handshake(), &value);
        let answer = match checked {
            Ok(()) => self.own_proof()?,
            Err(_) => ActionAnswer { result: Err(DataAccessError::OtherReason), returned: None },
        };
        let response = ActionResponse::Normal { invoke, answer };
        self.send(Apdu::ActionResponse(response).encode())?;
        match checked {
            Ok(()) => self.opened(),
            Err(_) => self.end(),
        }
        checked
    }

    fn own_proof(&mut self) -> Result<ActionAnswer, Error> {
        let needs_counter = self.config.authentication.needs_counter();
        let counter = if needs_counter { self.protection.take_counter()? } else { 0 };
        let reply = self.config.authentication.prove(&self.handshake(), counter)?;
        Ok(ActionAnswer { result: Ok(()), returned: Some(Ok(Data::octets(&reply))) })
    }

    fn handshake(&self) -> Handshake<'_> {
        Handshake {
            own_title: &self.config.system_title,
            peer_title: self.protection.peer_title.as_ref(),
            own_challenge: &self.own_challenge,
            peer_challenge: &self.client_challenge,
            credentials: &self.config.credentials,
        }
    }

    fn opened(&mut self) {
        self.state = State::Open;
        self.indications.push_back(ServerIndication::Associated {
            client_sap: self.client_sap,
            client_title: self.protection.peer_title,
            level: self.level,
        });
    }

    /// The next challenge: the first octets of SHA-256 over the secret seed and the number of the
    /// association, which nobody without the seed can foretell; 32 octets for ECDSA, else 16.
    fn next_challenge(&mut self) -> Bytes {
        self.associations = self.associations.wrapping_add(1);
        let mut hash = Sha256::new();
        hash.update(*self.seed);
        hash.update(self.associations.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let octets = match self.config.authentication {
            Authentication::Hls7 => ECDSA_CHALLENGE_OCTETS,
            _ => 16,
        };
        Bytes::copy_from_slice(&digest[..octets])
    }
}

const fn level_of(authentication: &Authentication) -> Level {
    match authentication {
        Authentication::None => Level::Public,
        Authentication::Lls(_) => Level::Lls,
        Authentication::Hls3(_) => Level::Hls3,
        Authentication::Hls4(_) => Level::Hls4,
        Authentication::Hls5(_) => Level::Hls5,
        Authentication::Hls6(_) => Level::Hls6,
        Authentication::Hls7 => Level::Hls7,
    }
}
