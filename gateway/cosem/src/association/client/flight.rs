//! Requests and answers of a client: sending the next wish, by blocks where it is long, and
//! putting the answer together.
//!
//! Invariant: an answer is taken only when its invoke-id is that of the request in flight; one
//! that does not fit the request ends it as failed.

use std::time::Instant;

use bytes::Bytes;

use super::{BLOCK_HEAD_OCTETS, COUNTERS_LOW, Client, Failure, Indication, InvokeId, State};
use crate::acse::Release;
use crate::apdu::action::{ActionAnswer, ActionRequest, ActionResponse};
use crate::apdu::get::{GetRequest, GetResponse, read_result, read_results};
use crate::apdu::set::{SetRequest, SetResponse};
use crate::apdu::{Apdu, AttributeRef, Conformance, InvokePriority, MethodRef, Selection, tag};
use crate::association::transfer::{Incoming, Outgoing};
use crate::association::{frame, room};
use crate::axdr::Reader;
use crate::data::Data;
use crate::error::Error;
use crate::gateway_header::Direction;
use crate::wrapper::Header;

/// What a driver asked for.
#[derive(Debug)]
pub(super) enum Wish {
    Get { attribute: AttributeRef, selection: Option<Selection>, encoded: bool },
    GetList(Vec<(AttributeRef, Option<Selection>)>),
    Set { attribute: AttributeRef, selection: Option<Selection>, value: Data },
    Action { method: MethodRef, parameters: Option<Data> },
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    GetEncoded,
    GetList(usize),
    Set,
    Action,
}

/// The request in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: InvokeId,
    kind: Kind,
    invoke: InvokePriority,
    incoming: Incoming,
    outgoing: Option<Outgoing>,
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
            if matches!(wish, Wish::Release) {
                let release = Release { reason: Some(0), user_information: None };
                self.state = State::Releasing;
                self.deadline = Some(now + self.config.response_timeout);
                if self.send_plain(&Apdu::Rlrq(release).encode()).is_err() {
                    self.closed();
                }
                return;
            }
            match self.begin(id, wish) {
                Ok(()) => self.deadline = Some(now + self.config.response_timeout),
                Err(error) => {
                    let failure = Failure::Refused(error);
                    self.indications.push_back(Indication::Failed { invoke: id, failure });
                }
            }
        }
    }

    fn begin(&mut self, id: InvokeId, wish: Wish) -> Result<(), Error> {
        let invoke = InvokePriority::confirmed(id.0.to_be_bytes()[3]);
        let mut outgoing = None;
        let (kind, apdu) = match wish {
            Wish::Get { attribute, selection, encoded } => {
                let request = GetRequest::Normal { invoke, attribute, selection };
                let kind = if encoded { Kind::GetEncoded } else { Kind::Get };
                (kind, Apdu::GetRequest(request))
            }
            Wish::GetList(list) => {
                let kind = Kind::GetList(list.len());
                (kind, Apdu::GetRequest(GetRequest::WithList { invoke, list }))
            }
            Wish::Set { attribute, selection, value } => {
                let apdu = self.set_request(invoke, attribute, selection, value, &mut outgoing)?;
                (Kind::Set, apdu)
            }
            Wish::Action { method, parameters } => {
                let apdu = self.action_request(invoke, method, parameters, &mut outgoing)?;
                (Kind::Action, apdu)
            }
            Wish::Release => return Err(Error::WrongState("a release is not a request")),
        };
        let apdu = apdu.encode();
        if apdu.len() > self.room() {
            return Err(Error::TooLong { length: apdu.len(), limit: self.room() });
        }
        self.send(apdu)?;
        self.flight = Some(Flight { id, kind, invoke, incoming: Incoming::default(), outgoing });
        Ok(())
    }

    fn set_request(
        &self,
        invoke: InvokePriority,
        attribute: AttributeRef,
        selection: Option<Selection>,
        value: Data,
        outgoing: &mut Option<Outgoing>,
    ) -> Result<Apdu, Error> {
        let octets = value.to_axdr();
        let empty = SetRequest::Normal {
            invoke,
            attribute,
            selection: selection.clone(),
            value: Data::Null,
        };
        let head = Apdu::SetRequest(empty).encode().len();
        if head + octets.len() <= self.room() {
            let request = SetRequest::Normal { invoke, attribute, selection, value };
            return Ok(Apdu::SetRequest(request));
        }
        let size = self.block_size(Conformance::BLOCK_SET, head)?;
        let block = outgoing.insert(Outgoing::new(octets.into())).next(size);
        Ok(Apdu::SetRequest(SetRequest::FirstBlock { invoke, attribute, selection, block }))
    }

    fn action_request(
        &self,
        invoke: InvokePriority,
        method: MethodRef,
        parameters: Option<Data>,
        outgoing: &mut Option<Outgoing>,
    ) -> Result<Apdu, Error> {
        let octets = parameters.as_ref().map(Data::to_axdr).unwrap_or_default();
        let head = Apdu::ActionRequest(ActionRequest::Normal { invoke, method, parameters: None });
        let head = head.encode().len();
        if head + octets.len() <= self.room() {
            return Ok(Apdu::ActionRequest(ActionRequest::Normal { invoke, method, parameters }));
        }
        let size = self.block_size(Conformance::BLOCK_ACTION, head)?;
        let block = outgoing.insert(Outgoing::new(octets.into())).next(size);
        Ok(Apdu::ActionRequest(ActionRequest::FirstBlock { invoke, method, block }))
    }

    /// Octets of a value that fit a block after a head of `head` octets.
    fn block_size(&self, needed: Conformance, head: usize) -> Result<usize, Error> {
        let limit = self.room();
        let size = limit.saturating_sub(head + BLOCK_HEAD_OCTETS);
        if size == 0 || !self.peer.as_ref().is_some_and(|peer| peer.conformance.has(needed)) {
            return Err(Error::TooLong { length: head, limit });
        }
        Ok(size)
    }

    fn room(&self) -> usize {
        let max_pdu = self.peer.as_ref().map_or(0, |peer| peer.max_pdu);
        room(max_pdu, self.protection.overhead())
    }

    pub(super) fn send(&mut self, apdu: Vec<u8>) -> Result<(), Error> {
        let sealed = self.protection.seal(apdu)?;
        if self.protection.keys.is_some() && self.protection.counters_left() < COUNTERS_LOW {
            self.ask_for_counters();
        }
        self.send_plain(&sealed)
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

/// What an answer leads to.
enum Step {
    /// The request is finished.
    Done(Indication),
    /// This goes out next: octets of an APDU.
    Send(Vec<u8>),
}

impl Client {
    /// Takes an answer to the request in flight.
    pub(super) fn answer(&mut self, now: Instant, octets: &[u8]) -> Result<(), Error> {
        let limit = self.config.max_answer_octets;
        let size = self.room().saturating_sub(BLOCK_HEAD_OCTETS);
        let flight = self.flight.as_mut().ok_or(Error::WrongState("an answer to no request"))?;
        let invoke = flight.id;
        let step = match flight.encoded_value(octets) {
            Some(indication) => Step::Done(indication),
            None => {
                let apdu = Apdu::decode(octets)?;
                if !flight.is_answered_by(&apdu) {
                    return Err(Error::WrongState("an answer to another request"));
                }
                let step = flight.step(apdu, limit, size);
                step.unwrap_or_else(|error| Step::Done(failed(invoke, error)))
            }
        };
        let done = match step {
            Step::Done(indication) => indication,
            Step::Send(apdu) => match self.send(apdu) {
                Ok(()) => {
                    self.deadline = Some(now + self.config.response_timeout);
                    return Ok(());
                }
                Err(error) => failed(invoke, error),
            },
        };
        self.flight = None;
        self.deadline = None;
        self.settle_transfer(&done);
        self.indications.push_back(done);
        self.pump(now);
        Ok(())
    }
}

const fn failed(invoke: InvokeId, error: Error) -> Indication {
    Indication::Failed { invoke, failure: Failure::Refused(error) }
}

const fn mismatch() -> Error {
    Error::WrongState("an answer that does not fit the request")
}

impl Flight {
    /// The value of a normal get-response, when the driver wants its octets: it is handed on
    /// without building it, and judged by whoever reads it.
    fn encoded_value(&self, octets: &[u8]) -> Option<Indication> {
        match (self.kind, octets) {
            (Kind::GetEncoded, [tag::GET_RESPONSE, 1, invoke, 0, value @ ..])
                if InvokePriority(*invoke).id() == self.invoke.id() =>
            {
                let result = Ok(Bytes::copy_from_slice(value));
                Some(Indication::GotEncoded { invoke: self.id, result })
            }
            _ => None,
        }
    }

    fn is_answered_by(&self, apdu: &Apdu) -> bool {
        let invoke = match apdu {
            Apdu::GetResponse(response) => response.invoke(),
            Apdu::SetResponse(response) => response.invoke(),
            Apdu::ActionResponse(response) => response.invoke(),
            _ => return false,
        };
        invoke.id() == self.invoke.id()
    }

    fn step(&mut self, apdu: Apdu, limit: usize, size: usize) -> Result<Step, Error> {
        match apdu {
            Apdu::GetResponse(response) => self.got(response, limit),
            Apdu::SetResponse(response) => self.written(response, size),
            Apdu::ActionResponse(response) => self.acted(response, limit, size),
            _ => Err(mismatch()),
        }
    }

    fn got(&mut self, response: GetResponse, limit: usize) -> Result<Step, Error> {
        let invoke = self.id;
        match (self.kind, response) {
            (Kind::Get, GetResponse::Normal { result, .. }) => {
                Ok(Step::Done(Indication::Got { invoke, result }))
            }
            (Kind::GetEncoded, GetResponse::Normal { result, .. }) => {
                let result = result.map(|data| data.to_axdr().into());
                Ok(Step::Done(Indication::GotEncoded { invoke, result }))
            }
            (Kind::GetList(count), GetResponse::WithList { results, .. }) => {
                got_list(invoke, count, results)
            }
            (kind, GetResponse::Block { last, block, result, .. }) => match result {
                Ok(octets) => {
                    self.incoming.take(block, &octets, limit)?;
                    if !last {
                        let next = GetRequest::Next { invoke: self.invoke, block };
                        return Ok(Step::Send(Apdu::GetRequest(next).encode()));
                    }
                    let octets = std::mem::take(&mut self.incoming).into_octets();
                    joined(invoke, kind, octets)
                }
                Err(reason) => Ok(Step::Done(match kind {
                    Kind::GetEncoded => Indication::GotEncoded { invoke, result: Err(reason) },
                    Kind::GetList(count) => {
                        Indication::GotList { invoke, results: vec![Err(reason); count] }
                    }
                    _ => Indication::Got { invoke, result: Err(reason) },
                })),
            },
            _ => Err(mismatch()),
        }
    }

    fn written(&mut self, response: SetResponse, size: usize) -> Result<Step, Error> {
        let invoke = self.id;
        match response {
            _ if self.kind != Kind::Set => Err(mismatch()),
            SetResponse::Normal { result, .. } | SetResponse::LastBlock { result, .. } => {
                Ok(Step::Done(Indication::Set { invoke, result }))
            }
            SetResponse::Block { block, .. } => {
                let block = self.next_block(block, size)?;
                let next = SetRequest::Block { invoke: self.invoke, block };
                Ok(Step::Send(Apdu::SetRequest(next).encode()))
            }
            _ => Err(mismatch()),
        }
    }

    fn acted(
        &mut self,
        response: ActionResponse,
        limit: usize,
        size: usize,
    ) -> Result<Step, Error> {
        match response {
            _ if self.kind != Kind::Action => Err(mismatch()),
            ActionResponse::Normal { answer, .. } => Ok(Step::Done(acted(self.id, answer))),
            ActionResponse::Next { block, .. } => {
                let block = self.next_block(block, size)?;
                let next = ActionRequest::Block { invoke: self.invoke, block };
                Ok(Step::Send(Apdu::ActionRequest(next).encode()))
            }
            ActionResponse::Block { block, .. } => {
                self.incoming.take(block.number, &block.octets, limit)?;
                if !block.last {
                    let next = ActionRequest::Next { invoke: self.invoke, block: block.number };
                    return Ok(Step::Send(Apdu::ActionRequest(next).encode()));
                }
                let octets = std::mem::take(&mut self.incoming).into_octets();
                Ok(Step::Done(acted(self.id, joined_answer(&octets)?)))
            }
            ActionResponse::WithList { .. } => Err(mismatch()),
        }
    }

    /// The block after the one that the server took.
    fn next_block(&mut self, taken: u32, size: usize) -> Result<crate::apdu::set::Block, Error> {
        match &mut self.outgoing {
            Some(outgoing) if outgoing.number() == taken && !outgoing.is_finished() => {
                Ok(outgoing.next(size))
            }
            _ => Err(mismatch()),
        }
    }
}

/// The answer that the blocks of a get-response make.
fn joined(invoke: InvokeId, kind: Kind, octets: Vec<u8>) -> Result<Step, Error> {
    match kind {
        Kind::Get => {
            let result = Ok(Data::decode(&octets)?);
            Ok(Step::Done(Indication::Got { invoke, result }))
        }
        Kind::GetEncoded => {
            Ok(Step::Done(Indication::GotEncoded { invoke, result: Ok(octets.into()) }))
        }
        Kind::GetList(count) => {
            let mut reader = Reader::new(&octets);
            let results = read_results(&mut reader)?;
            reader.finish()?;
            got_list(invoke, count, results)
        }
        Kind::Set | Kind::Action => Err(mismatch()),
    }
}

fn got_list(
    invoke: InvokeId,
    count: usize,
    results: Vec<crate::apdu::get::GetResult>,
) -> Result<Step, Error> {
    if results.len() == count {
        Ok(Step::Done(Indication::GotList { invoke, results }))
    } else {
        Err(Error::WrongState("another number of results than asked for"))
    }
}

fn acted(invoke: InvokeId, answer: ActionAnswer) -> Indication {
    let result = match (answer.result, answer.returned) {
        (Err(reason), _) => Err(reason),
        (Ok(()), None) => Ok(None),
        (Ok(()), Some(Ok(data))) => Ok(Some(data)),
        (Ok(()), Some(Err(reason))) => Err(reason),
    };
    Indication::Acted { invoke, result }
}

/// What the blocks of an action-response hold: the whole answer, or, with some servers, only the
/// result of the return parameters, or only their value.
fn joined_answer(octets: &[u8]) -> Result<ActionAnswer, Error> {
    let mut reader = Reader::new(octets);
    if let Ok(answer) = ActionAnswer::read(&mut reader)
        && reader.is_empty()
    {
        return Ok(answer);
    }
    let mut reader = Reader::new(octets);
    if let Ok(returned) = read_result(&mut reader)
        && reader.is_empty()
    {
        return Ok(ActionAnswer { result: Ok(()), returned: Some(returned) });
    }
    Ok(ActionAnswer { result: Ok(()), returned: Some(Ok(Data::decode(octets)?)) })
}
