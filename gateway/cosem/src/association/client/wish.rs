//! What a driver asks a client for, as APDUs: whole, in blocks of its own service, or by general
//! block transfer. Sending the next wish; it takes no answers.

use std::time::Instant;

use bytes::Bytes;

use super::flight::{Flight, Kind};
use super::types::{AccessItem, AccessOptions};
use super::{BLOCK_HEAD_OCTETS, COUNTERS_LOW, Client, Failure, Indication, InvokeId, State};
use crate::acse::Release;
use crate::apdu::access::AccessSpecification;
use crate::apdu::action::ActionRequest;
use crate::apdu::get::GetRequest;
use crate::apdu::set::{SetRequest, put_values};
use crate::apdu::{
    AccessRequest, Apdu, AttributeRef, Conformance, InvokePriority, LongInvokePriority, MethodRef,
    Selection,
};
use crate::association::general::{General, GeneralUse};
use crate::association::transfer::Outgoing;
use crate::association::{frame, room};
use crate::data::Data;
use crate::error::Error;
use crate::gateway_header::Direction;
use crate::wrapper::Header;

/// Whether an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Confirmed,
    Unconfirmed,
}

/// What a driver asked for.
#[derive(Debug)]
pub(super) enum Wish {
    Get { attribute: AttributeRef, selection: Option<Selection>, encoded: bool },
    GetList(Vec<(AttributeRef, Option<Selection>)>),
    Set { attribute: AttributeRef, selection: Option<Selection>, value: Data, service: Service },
    SetList(Vec<(AttributeRef, Option<Selection>, Data)>),
    Action { method: MethodRef, parameters: Option<Data>, service: Service },
    ActionList(Vec<(MethodRef, Data)>),
    Access(AccessOptions, Vec<AccessItem>),
    Release,
}

/// A request, ready to go.
struct Request {
    kind: Kind,
    apdu: Apdu,
    outgoing: Option<Outgoing>,
    way: Way,
}

/// How a request goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As one APDU.
    Whole,
    /// By its service's own blocks of so many octets.
    Blocks(usize),
    /// By general block transfer.
    General,
}

impl Client {
    /// Sends the next wish, when the association is open and nothing is in flight.
    pub(super) fn pump(&mut self, now: Instant) {
        while self.state == State::Open && self.flight.is_none() {
            if self.protection.keys.is_some() && self.protection.counters_left() == 0 {
                self.ask_for_counters();
                return;
            }
            let Some((id, wish)) = self.waiting.pop_front() else { return };
            self.before = self.general.take().and_then(General::into_first);
            if matches!(wish, Wish::Release) {
                let release = Release { reason: Some(0), user_information: None };
                self.state = State::Releasing;
                self.deadline = Some(now + self.config.response_timeout);
                if self.send_plain(&Apdu::Rlrq(release).encode()).is_err() {
                    self.closed();
                }
                return;
            }
            match self.begin(now, id, wish) {
                Ok(()) if self.flight.is_some() => {
                    self.deadline = Some(now + self.config.response_timeout);
                }
                Ok(()) => self.indications.push_back(Indication::Sent { invoke: id }),
                Err(error) => {
                    let failure = Failure::Refused(error);
                    self.indications.push_back(Indication::Failed { invoke: id, failure });
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, id: InvokeId, wish: Wish) -> Result<(), Error> {
        let service = match &wish {
            Wish::Set { service, .. } | Wish::Action { service, .. } => *service,
            _ => Service::Confirmed,
        };
        let octet = id.0.to_be_bytes()[3];
        let invoke = match service {
            Service::Confirmed => InvokePriority::confirmed(octet),
            Service::Unconfirmed => InvokePriority::unconfirmed(octet),
        };
        let Request { kind, apdu, outgoing, way } = self.request(id, invoke, wish)?;
        let sealed = self.seal(apdu.encode())?;
        match way {
            Way::General => self.send_general(now, sealed)?,
            Way::Whole | Way::Blocks(_) => self.send_plain(&sealed)?,
        }
        if service == Service::Confirmed {
            self.flight = Some(Flight::new(id, kind, invoke, outgoing));
        }
        Ok(())
    }

    /// The request of a wish; what has no blocks of its own goes whole or by general blocks.
    fn request(&self, id: InvokeId, invoke: InvokePriority, wish: Wish) -> Result<Request, Error> {
        let (kind, apdu) = match wish {
            Wish::Set { attribute, selection, value, .. } => {
                return self.set_request(invoke, attribute, selection, value);
            }
            Wish::SetList(list) => return self.set_list_request(invoke, list),
            Wish::Action { method, parameters, .. } => {
                return self.action_request(invoke, method, parameters);
            }
            Wish::ActionList(list) => return self.action_list_request(invoke, list),
            Wish::Get { attribute, selection, encoded } => {
                let request = GetRequest::Normal { invoke, attribute, selection };
                let kind = if encoded { Kind::GetEncoded } else { Kind::Get };
                (kind, Apdu::GetRequest(request))
            }
            Wish::GetList(list) => {
                let kind = Kind::GetList(list.len());
                (kind, Apdu::GetRequest(GetRequest::WithList { invoke, list }))
            }
            Wish::Access(options, items) => {
                let request = self.access_request(id, options, items)?;
                let kind = Kind::Access { invoke: request.invoke, asked: request.list.clone() };
                (kind, Apdu::AccessRequest(request))
            }
            Wish::Release => return Err(Error::WrongState("a release is not a request")),
        };
        let way = self.way(None, apdu.encode().len(), 0, invoke)?;
        Ok(Request { kind, apdu, outgoing: None, way })
    }

    fn set_request(
        &self,
        invoke: InvokePriority,
        attribute: AttributeRef,
        selection: Option<Selection>,
        value: Data,
    ) -> Result<Request, Error> {
        let octets = value.to_axdr();
        let head = Apdu::SetRequest(SetRequest::Normal {
            invoke,
            attribute,
            selection: selection.clone(),
            value: Data::Null,
        });
        let head = head.encode().len();
        let way = self.way(Some(Conformance::BLOCK_SET), head, octets.len(), invoke)?;
        let (request, outgoing) = match way {
            Way::Blocks(size) => {
                let (block, outgoing) = first_block(octets, size);
                let request = SetRequest::FirstBlock { invoke, attribute, selection, block };
                (request, Some(outgoing))
            }
            _ => (SetRequest::Normal { invoke, attribute, selection, value }, None),
        };
        Ok(Request { kind: Kind::Set, apdu: Apdu::SetRequest(request), outgoing, way })
    }

    fn set_list_request(
        &self,
        invoke: InvokePriority,
        items: Vec<(AttributeRef, Option<Selection>, Data)>,
    ) -> Result<Request, Error> {
        let part = |(attribute, selection, value)| ((attribute, selection), value);
        let (list, values): (Vec<_>, Vec<_>) = items.into_iter().map(part).unzip();
        let kind = Kind::SetList(list.len());
        let mut octets = Vec::new();
        put_values(&values, &mut octets);
        let request = SetRequest::WithList { invoke, list: list.clone(), values: Vec::new() };
        let head = Apdu::SetRequest(request).encode().len();
        let way = self.way(Some(Conformance::BLOCK_SET), head, octets.len(), invoke)?;
        let (request, outgoing) = match way {
            Way::Blocks(size) => {
                let (block, outgoing) = first_block(octets, size);
                (SetRequest::WithListFirstBlock { invoke, list, block }, Some(outgoing))
            }
            _ => (SetRequest::WithList { invoke, list, values }, None),
        };
        Ok(Request { kind, apdu: Apdu::SetRequest(request), outgoing, way })
    }

    fn action_request(
        &self,
        invoke: InvokePriority,
        method: MethodRef,
        parameters: Option<Data>,
    ) -> Result<Request, Error> {
        let octets = parameters.as_ref().map(Data::to_axdr).unwrap_or_default();
        let head = Apdu::ActionRequest(ActionRequest::Normal { invoke, method, parameters: None });
        let head = head.encode().len();
        let way = self.way(Some(Conformance::BLOCK_ACTION), head, octets.len(), invoke)?;
        let (request, outgoing) = match way {
            Way::Blocks(size) => {
                let (block, outgoing) = first_block(octets, size);
                (ActionRequest::FirstBlock { invoke, method, block }, Some(outgoing))
            }
            _ => (ActionRequest::Normal { invoke, method, parameters }, None),
        };
        Ok(Request { kind: Kind::Action, apdu: Apdu::ActionRequest(request), outgoing, way })
    }

    fn action_list_request(
        &self,
        invoke: InvokePriority,
        items: Vec<(MethodRef, Data)>,
    ) -> Result<Request, Error> {
        let (list, parameters): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let kind = Kind::ActionList(list.len());
        let mut octets = Vec::new();
        put_values(&parameters, &mut octets);
        let request = ActionRequest::WithList { invoke, list: list.clone(), parameters: vec![] };
        let head = Apdu::ActionRequest(request).encode().len();
        let way = self.way(Some(Conformance::BLOCK_ACTION), head, octets.len(), invoke)?;
        let (request, outgoing) = match way {
            Way::Blocks(size) => {
                let (block, outgoing) = first_block(octets, size);
                (ActionRequest::WithListFirstBlock { invoke, list, block }, Some(outgoing))
            }
            _ => (ActionRequest::WithList { invoke, list, parameters }, None),
        };
        Ok(Request { kind, apdu: Apdu::ActionRequest(request), outgoing, way })
    }

    fn access_request(
        &self,
        id: InvokeId,
        options: AccessOptions,
        items: Vec<AccessItem>,
    ) -> Result<AccessRequest, Error> {
        if !self.has(Conformance::ACCESS) {
            return Err(Error::WrongState("ACCESS was not negotiated"));
        }
        let mut invoke = LongInvokePriority::confirmed(id.0);
        if options.self_descriptive {
            invoke = invoke.self_descriptive();
        }
        if options.break_on_error {
            invoke = invoke.breaking_on_error();
        }
        let part = |item| match item {
            AccessItem::Get(of, selection) => (AccessSpecification::Get(of, selection), Data::Null),
            AccessItem::Set(of, selection, value) => {
                (AccessSpecification::Set(of, selection), value)
            }
            AccessItem::Action(of, parameters) => (AccessSpecification::Action(of), parameters),
        };
        let (list, values) = items.into_iter().map(part).unzip();
        let date_time = options.date_time.map(|time| Bytes::copy_from_slice(&time.to_octets()));
        Ok(AccessRequest { invoke, date_time: date_time.unwrap_or_default(), list, values })
    }

    /// How a request of `head` octets and a value of `octets` goes out, whose service has blocks
    /// of its own when the conformance bit `own` is negotiated.
    fn way(
        &self,
        own: Option<Conformance>,
        head: usize,
        octets: usize,
        invoke: InvokePriority,
    ) -> Result<Way, Error> {
        let (limit, usage) = (self.room(), self.config.general.usage);
        let general = self.has(Conformance::GENERAL_BLOCKS) && invoke.is_confirmed();
        if general && usage == GeneralUse::Always {
            return Ok(Way::General);
        }
        if head + octets <= limit {
            return Ok(Way::Whole);
        }
        let size = limit.saturating_sub(head + BLOCK_HEAD_OCTETS);
        let by_own = size > 0 && invoke.is_confirmed() && own.is_some_and(|own| self.has(own));
        match usage {
            _ if by_own && (!general || usage == GeneralUse::WhenNeeded) => Ok(Way::Blocks(size)),
            _ if general => Ok(Way::General),
            _ => Err(Error::TooLong { length: head + octets, limit }),
        }
    }

    /// Whether the association was opened with `conformance`.
    pub(super) fn has(&self, conformance: Conformance) -> bool {
        self.peer
            .as_ref()
            .is_some_and(|peer| peer.conformance.both(self.config.conformance).has(conformance))
    }

    pub(super) fn room(&self) -> usize {
        let max_pdu = self.peer.as_ref().map_or(0, |peer| peer.max_pdu);
        room(max_pdu, self.protection.overhead())
    }

    pub(super) fn send(&mut self, apdu: Vec<u8>) -> Result<(), Error> {
        let sealed = self.seal(apdu)?;
        self.send_plain(&sealed)
    }

    fn seal(&mut self, apdu: Vec<u8>) -> Result<Vec<u8>, Error> {
        let sealed = self.protection.seal(apdu)?;
        if self.protection.keys.is_some() && self.protection.counters_left() < COUNTERS_LOW {
            self.ask_for_counters();
        }
        Ok(sealed)
    }

    pub(super) fn send_plain(&mut self, apdu: &[u8]) -> Result<(), Error> {
        let super::ClientConfig { client_sap, server_sap, gateway, .. } = &self.config;
        let header = Header { source: *client_sap, destination: *server_sap };
        self.transmit.push_back(frame(header, Direction::Request, gateway.as_ref(), apdu)?);
        Ok(())
    }

    fn ask_for_counters(&mut self) {
        if !self.asked_for_counters {
            self.asked_for_counters = true;
            let left = self.protection.counters_left();
            self.indications.push_back(Indication::NeedCounters { left });
        }
    }
}

fn first_block(octets: Vec<u8>, size: usize) -> (crate::apdu::set::Block, Outgoing) {
    let mut outgoing = Outgoing::new(octets.into());
    (outgoing.next(size), outgoing)
}
