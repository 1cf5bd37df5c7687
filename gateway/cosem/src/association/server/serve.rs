//! Requests within an open association: taking them apart, putting blocks together, and putting
//! the answers together again.
//!
//! Invariant: one request is served at a time; its answer goes out when the driver has answered
//! each of its parts.

use std::collections::VecDeque;

use bytes::Bytes;

use super::access::Access;
use super::{Answer, Request, Server, ServerIndication};
use crate::apdu::action::ActionRequest;
use crate::apdu::get::{GetRequest, GetResponse};
use crate::apdu::set::{Block, SetRequest, SetResponse, read_values};
use crate::apdu::{
    AccessRequest, ActionResponse, Apdu, AttributeRef, Conformance, DataAccessError,
    ExceptionResponse, InvokePriority, MethodRef, Selection, ServiceFault, tag,
};
use crate::association::general::GeneralUse;
use crate::association::transfer::{Incoming, Outgoing};
use crate::axdr::{Reader, put_length};
use crate::data::Data;
use crate::error::Error;

/// Octets of a response around a block: tag, choice, invoke-id, last, number, choice, length.
const BLOCK_HEAD_OCTETS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Get,
    Set,
    Action,
}

/// A request that the driver is answering.
#[derive(Debug)]
pub(super) struct Job {
    reply: Reply,
    parts: VecDeque<Request>,
}

/// What the answers to the parts are gathered in.
#[derive(Debug)]
enum Reply {
    Plain(Plain),
    Access(Access),
}

/// GET, SET or ACTION.
#[derive(Debug)]
struct Plain {
    service: Service,
    invoke: InvokePriority,
    /// Number of parts, when the request came with a list.
    list: Option<usize>,
    /// Number of the last block, when the request came in blocks.
    blocks: Option<u32>,
    results: Vec<u8>,
}

/// A long answer on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    service: Service,
    outgoing: Outgoing,
}

/// A long request on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    target: Target,
    incoming: Incoming,
}

/// What a long request is about.
#[derive(Debug)]
enum Target {
    Set(AttributeRef, Option<Selection>),
    SetList(Vec<(AttributeRef, Option<Selection>)>),
    Action(MethodRef),
    ActionList(Vec<MethodRef>),
}

impl Server {
    /// Whether a request is being served or its answer is not all sent yet.
    pub(super) fn is_answering(&self) -> bool {
        let sending = self.sending.as_ref();
        self.job.is_some() || sending.is_some_and(|sending| !sending.outgoing.is_finished())
    }

    pub(super) fn serve(&mut self, plain: &[u8]) -> Result<(), Error> {
        let refusal = match Apdu::decode(plain) {
            Ok(_) if self.job.is_some() => Error::WrongState("a request is being served"),
            Ok(Apdu::GetRequest(request)) => return self.serve_get(request),
            Ok(Apdu::SetRequest(request)) => return self.serve_set(request),
            Ok(Apdu::ActionRequest(request)) => return self.serve_action(request),
            Ok(Apdu::AccessRequest(request)) if self.has(Conformance::ACCESS) => {
                return self.serve_access(request);
            }
            Ok(_) => Error::WrongState("a service that is not served"),
            Err(error) => error,
        };
        let fault = match refusal {
            Error::ShortName => ServiceFault::NotSupported,
            _ => ServiceFault::OtherReason,
        };
        let service_unknown = self.job.is_none();
        self.exception(self.client_sap, ExceptionResponse { service_unknown, fault })?;
        Err(refusal)
    }

    fn serve_get(&mut self, request: GetRequest) -> Result<(), Error> {
        match request {
            GetRequest::Normal { invoke, attribute, selection } => {
                let part = Request::Get { attribute, selection };
                self.begin(Service::Get, invoke, None, None, [part].into())
            }
            GetRequest::WithList { invoke, list } => {
                let part = |(attribute, selection)| Request::Get { attribute, selection };
                let count = list.len();
                let parts = list.into_iter().map(part).collect();
                self.begin(Service::Get, invoke, Some(count), None, parts)
            }
            GetRequest::Next { invoke, block } => self.send_next(Service::Get, invoke, block),
        }
    }

    fn serve_set(&mut self, request: SetRequest) -> Result<(), Error> {
        match request {
            SetRequest::Normal { invoke, attribute, selection, value } => {
                let part = Request::Set { attribute, selection, value };
                self.begin(Service::Set, invoke, None, None, [part].into())
            }
            SetRequest::WithList { invoke, list, values } => {
                let count = list.len();
                let parts = set_parts(list, values);
                self.begin(Service::Set, invoke, Some(count), None, parts)
            }
            SetRequest::FirstBlock { invoke, attribute, selection, block } => {
                self.receive_first(invoke, Target::Set(attribute, selection), block)
            }
            SetRequest::WithListFirstBlock { invoke, list, block } => {
                self.receive_first(invoke, Target::SetList(list), block)
            }
            SetRequest::Block { invoke, block } => self.receive(Service::Set, invoke, block),
        }
    }

    fn serve_action(&mut self, request: ActionRequest) -> Result<(), Error> {
        match request {
            ActionRequest::Normal { invoke, method, parameters } => {
                let part = Request::Action { method, parameters };
                self.begin(Service::Action, invoke, None, None, [part].into())
            }
            ActionRequest::WithList { invoke, list, parameters } => {
                let count = list.len();
                let parts = action_parts(list, parameters);
                self.begin(Service::Action, invoke, Some(count), None, parts)
            }
            ActionRequest::FirstBlock { invoke, method, block } => {
                self.receive_first(invoke, Target::Action(method), block)
            }
            ActionRequest::WithListFirstBlock { invoke, list, block } => {
                self.receive_first(invoke, Target::ActionList(list), block)
            }
            ActionRequest::Block { invoke, block } => self.receive(Service::Action, invoke, block),
            ActionRequest::Next { invoke, block } => self.send_next(Service::Action, invoke, block),
        }
    }

    fn serve_access(&mut self, request: AccessRequest) -> Result<(), Error> {
        let (access, parts) = Access::new(request);
        (self.sending, self.receiving) = (None, None);
        self.job = Some(Job { reply: Reply::Access(access), parts });
        self.advance()
    }

    fn begin(
        &mut self,
        service: Service,
        invoke: InvokePriority,
        list: Option<usize>,
        blocks: Option<u32>,
        parts: VecDeque<Request>,
    ) -> Result<(), Error> {
        (self.sending, self.receiving) = (None, None);
        let plain = Plain { service, invoke, list, blocks, results: Vec::new() };
        self.job = Some(Job { reply: Reply::Plain(plain), parts });
        self.advance()
    }

    /// Asks the driver for the next part, or sends the answer when there is none left.
    fn advance(&mut self) -> Result<(), Error> {
        let Some(job) = &mut self.job else { return Ok(()) };
        if let Some(part) = job.parts.pop_front() {
            self.indications.push_back(ServerIndication::Request(part));
            return Ok(());
        }
        match self.job.take().map(|job| job.reply) {
            Some(Reply::Plain(plain)) => self.finish(plain),
            Some(Reply::Access(access)) => self.finish_access(access),
            None => Ok(()),
        }
    }

    /// Answers the request that `poll` gave last.
    ///
    /// # Errors
    /// `WrongState` when no request waits (it may have been given up) or the answer is to another
    /// service; `NoCounters` when the answer cannot be protected.
    pub fn respond(&mut self, answer: Answer) -> Result<(), Error> {
        let job = self.job.as_mut().ok_or(Error::WrongState("no request waits"))?;
        match &mut job.reply {
            Reply::Plain(plain) => plain.take(answer)?,
            Reply::Access(access) => {
                if !access.take(answer)? {
                    job.parts.clear();
                }
            }
        }
        self.advance()
    }

    fn finish(&mut self, plain: Plain) -> Result<(), Error> {
        let Plain { service, invoke, list, blocks, results } = plain;
        if service != Service::Get && !invoke.is_confirmed() {
            return Ok(());
        }
        if service == Service::Set {
            let apdu = Apdu::SetResponse(set_response(invoke, list, blocks, &results));
            return self.send(apdu.encode());
        }
        let (first, own) = match service {
            Service::Get => (tag::GET_RESPONSE, Conformance::BLOCK_GET),
            _ => (tag::ACTION_RESPONSE, Conformance::BLOCK_ACTION),
        };
        let mut apdu = vec![first, if list.is_some() { 3 } else { 1 }, invoke.0];
        if let Some(count) = list {
            put_length(&mut apdu, count);
        }
        let head = apdu.len();
        apdu.extend_from_slice(&results);
        if apdu.len() <= self.room() || self.general.is_some() {
            return self.send(apdu);
        }
        let prefers = self.config.general.usage != GeneralUse::WhenNeeded;
        if self.has(Conformance::GENERAL_BLOCKS) && (prefers || !self.has(own)) {
            return self.send_in_blocks(apdu);
        }
        if !self.has(own) {
            return self.too_long(apdu.len());
        }
        // What goes by blocks is the value itself, or the list with its count, or the answer of
        // the method: a normal get-response leaves its choice octet out.
        let skip = match (service, list) {
            (_, Some(_)) => 3,
            (Service::Get, None) => head + 1,
            (_, None) => head,
        };
        let octets = Bytes::from(apdu).slice(skip..);
        self.sending = Some(Sending { service, outgoing: Outgoing::new(octets) });
        self.send_block(invoke)
    }

    fn finish_access(&mut self, access: Access) -> Result<(), Error> {
        if !access.invoke.is_confirmed() {
            return Ok(());
        }
        let apdu = access.response();
        if apdu.len() <= self.room() || self.general.is_some() {
            return self.send(apdu);
        }
        if self.has(Conformance::GENERAL_BLOCKS) {
            return self.send_in_blocks(apdu);
        }
        self.too_long(apdu.len())
    }

    /// No block transfer that could carry the answer was negotiated.
    fn too_long(&mut self, length: usize) -> Result<(), Error> {
        let fault = ServiceFault::PduTooLong;
        self.exception(self.client_sap, ExceptionResponse::not_allowed(fault))?;
        Err(Error::TooLong { length, limit: self.room() })
    }

    fn send_next(
        &mut self,
        service: Service,
        invoke: InvokePriority,
        taken: u32,
    ) -> Result<(), Error> {
        let fits = self.sending.as_ref().is_some_and(|sending| {
            sending.service == service
                && sending.outgoing.number() == taken
                && !sending.outgoing.is_finished()
        });
        if fits {
            return self.send_block(invoke);
        }
        self.sending = None;
        if service == Service::Get {
            let result = Err(DataAccessError::DataBlockNumberInvalid);
            let response = GetResponse::Block { invoke, last: true, block: taken, result };
            return self.send(Apdu::GetResponse(response).encode());
        }
        let fault = ServiceFault::OperationNotPossible;
        self.exception(self.client_sap, ExceptionResponse::not_allowed(fault))
    }

    fn send_block(&mut self, invoke: InvokePriority) -> Result<(), Error> {
        let size = self.room().saturating_sub(BLOCK_HEAD_OCTETS).max(1);
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let block = sending.outgoing.next(size);
        let apdu = match sending.service {
            Service::Get => Apdu::GetResponse(GetResponse::Block {
                invoke,
                last: block.last,
                block: block.number,
                result: Ok(block.octets),
            }),
            _ => Apdu::ActionResponse(ActionResponse::Block { invoke, block }),
        };
        self.send(apdu.encode())
    }

    fn receive_first(
        &mut self,
        invoke: InvokePriority,
        target: Target,
        block: Block,
    ) -> Result<(), Error> {
        let service = match target {
            Target::Set(..) | Target::SetList(_) => Service::Set,
            Target::Action(_) | Target::ActionList(_) => Service::Action,
        };
        self.sending = None;
        self.receiving = Some(Receiving { target, incoming: Incoming::default() });
        self.receive(service, invoke, block)
    }

    fn receive(
        &mut self,
        service: Service,
        invoke: InvokePriority,
        block: Block,
    ) -> Result<(), Error> {
        let limit = self.config.max_request_octets;
        let taken = match &mut self.receiving {
            Some(receiving) if receiving.target.service() == service => {
                receiving.incoming.take(block.number, &block.octets, limit)
            }
            _ => Err(Error::WrongState("a block of no request")),
        };
        if let Err(error) = taken {
            self.receiving = None;
            self.refuse_block(service, invoke, block.number)?;
            return Err(error);
        }
        if !block.last {
            let number = block.number;
            return self.send(match service {
                Service::Set => {
                    Apdu::SetResponse(SetResponse::Block { invoke, block: number }).encode()
                }
                _ => Apdu::ActionResponse(ActionResponse::Next { invoke, block: number }).encode(),
            });
        }
        let Some(receiving) = self.receiving.take() else { return Ok(()) };
        let octets = receiving.incoming.into_octets();
        match parts(receiving.target, &octets) {
            Ok((list, parts)) => self.begin(service, invoke, list, Some(block.number), parts),
            Err(error) => {
                self.refuse_block(service, invoke, block.number)?;
                Err(error)
            }
        }
    }

    fn refuse_block(
        &mut self,
        service: Service,
        invoke: InvokePriority,
        block: u32,
    ) -> Result<(), Error> {
        if service == Service::Set {
            let result = Err(DataAccessError::LongSetAborted);
            let response = SetResponse::LastBlock { invoke, result, block };
            return self.send(Apdu::SetResponse(response).encode());
        }
        let fault = ServiceFault::OperationNotPossible;
        self.exception(self.client_sap, ExceptionResponse::not_allowed(fault))
    }
}

impl Plain {
    fn take(&mut self, answer: Answer) -> Result<(), Error> {
        match (self.service, answer) {
            (Service::Get, Answer::Got(Ok(data))) => {
                self.results.push(0);
                data.encode(&mut self.results);
            }
            (Service::Get, Answer::Got(Err(reason))) => {
                self.results.extend_from_slice(&[1, reason.to_octet()]);
            }
            (Service::Get, Answer::Encoded(octets)) => {
                self.results.push(0);
                self.results.extend_from_slice(&octets);
            }
            (Service::Set, Answer::Set(result)) => {
                self.results.push(DataAccessError::octet_of(result));
            }
            (Service::Action, Answer::Acted(answer)) => answer.put(&mut self.results),
            _ => return Err(Error::WrongState("an answer to another service")),
        }
        Ok(())
    }
}

impl Target {
    const fn service(&self) -> Service {
        match self {
            Self::Set(..) | Self::SetList(_) => Service::Set,
            Self::Action(_) | Self::ActionList(_) => Service::Action,
        }
    }
}

/// The parts of a request whose values came in blocks.
fn parts(target: Target, octets: &[u8]) -> Result<(Option<usize>, VecDeque<Request>), Error> {
    match target {
        Target::Set(attribute, selection) => {
            let value = Data::decode(octets)?;
            Ok((None, [Request::Set { attribute, selection, value }].into()))
        }
        Target::Action(method) => {
            let parameters = Some(Data::decode(octets)?);
            Ok((None, [Request::Action { method, parameters }].into()))
        }
        Target::SetList(list) => {
            let values = all_values(octets, list.len())?;
            Ok((Some(list.len()), set_parts(list, values)))
        }
        Target::ActionList(list) => {
            let parameters = all_values(octets, list.len())?;
            Ok((Some(list.len()), action_parts(list, parameters)))
        }
    }
}

fn all_values(octets: &[u8], count: usize) -> Result<Vec<Data>, Error> {
    let mut reader = Reader::new(octets);
    let values = read_values(&mut reader)?;
    reader.finish()?;
    if values.len() == count {
        Ok(values)
    } else {
        Err(Error::malformed(0, "as many values as references are needed"))
    }
}

fn set_parts(list: Vec<(AttributeRef, Option<Selection>)>, values: Vec<Data>) -> VecDeque<Request> {
    let part = |((attribute, selection), value)| Request::Set { attribute, selection, value };
    list.into_iter().zip(values).map(part).collect()
}

fn action_parts(list: Vec<MethodRef>, parameters: Vec<Data>) -> VecDeque<Request> {
    let part = |(method, parameters)| Request::Action { method, parameters: Some(parameters) };
    list.into_iter().zip(parameters).map(part).collect()
}

fn set_response(
    invoke: InvokePriority,
    list: Option<usize>,
    blocks: Option<u32>,
    octets: &[u8],
) -> SetResponse {
    let results = || octets.iter().map(|octet| DataAccessError::check(*octet)).collect();
    let single = || {
        let octet = octets.first().copied();
        octet.map_or(Err(DataAccessError::OtherReason), DataAccessError::check)
    };
    match (list, blocks) {
        (None, None) => SetResponse::Normal { invoke, result: single() },
        (None, Some(block)) => SetResponse::LastBlock { invoke, result: single(), block },
        (Some(_), None) => SetResponse::WithList { invoke, results: results() },
        (Some(_), Some(block)) => {
            SetResponse::LastBlockWithList { invoke, results: results(), block }
        }
    }
}
