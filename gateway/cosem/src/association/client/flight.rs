//! Answers to a client: putting them together, by blocks where they are long, and what each kind
//! of request makes of them.
//!
//! Invariant: an answer is taken only when its invoke-id is that of the request in flight; one
//! that does not fit the request ends it as failed.

use std::time::Instant;

use bytes::Bytes;

use super::types::AccessResult;
use super::{BLOCK_HEAD_OCTETS, Client, Failure, Indication, InvokeId};
use crate::apdu::access::{AccessOutcome, AccessResponse, AccessSpecification};
use crate::apdu::action::{ActionAnswer, ActionRequest, ActionResponse};
use crate::apdu::get::{GetRequest, GetResponse, read_result, read_results};
use crate::apdu::set::{SetRequest, SetResponse};
use crate::apdu::{Apdu, DataAccessError, InvokePriority, LongInvokePriority, tag};
use crate::association::transfer::{Incoming, Outgoing};
use crate::axdr::Reader;
use crate::data::Data;
use crate::error::Error;

/// What is in flight.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Get,
    GetEncoded,
    GetList(usize),
    Set,
    SetList(usize),
    Action,
    ActionList(usize),
    Access { invoke: LongInvokePriority, asked: Vec<AccessSpecification> },
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
    pub(super) const fn new(
        id: InvokeId,
        kind: Kind,
        invoke: InvokePriority,
        outgoing: Option<Outgoing>,
    ) -> Self {
        Self { id, kind, invoke, incoming: Incoming::new(), outgoing }
    }

    /// The value of a normal get-response, when the driver wants its octets: it is handed on
    /// without building it, and judged by whoever reads it.
    fn encoded_value(&self, octets: &[u8]) -> Option<Indication> {
        match (&self.kind, octets) {
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
            Apdu::AccessResponse(response) => {
                return matches!(&self.kind, Kind::Access { invoke, .. }
                    if invoke.id() == response.invoke.id());
            }
            // An ACCESS has a long id only; its low bits say nothing about other services.
            _ if matches!(self.kind, Kind::Access { .. }) => return false,
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
            Apdu::AccessResponse(response) => self.accessed(response),
            _ => Err(mismatch()),
        }
    }

    fn got(&mut self, response: GetResponse, limit: usize) -> Result<Step, Error> {
        let invoke = self.id;
        match (&self.kind, response) {
            (Kind::Get, GetResponse::Normal { result, .. }) => {
                Ok(Step::Done(Indication::Got { invoke, result }))
            }
            (Kind::GetEncoded, GetResponse::Normal { result, .. }) => {
                let result = result.map(|data| data.to_axdr().into());
                Ok(Step::Done(Indication::GotEncoded { invoke, result }))
            }
            (Kind::GetList(count), GetResponse::WithList { results, .. }) => {
                got_list(invoke, *count, results)
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
                        Indication::GotList { invoke, results: vec![Err(reason); *count] }
                    }
                    _ => Indication::Got { invoke, result: Err(reason) },
                })),
            },
            _ => Err(mismatch()),
        }
    }

    fn written(&mut self, response: SetResponse, size: usize) -> Result<Step, Error> {
        let invoke = self.id;
        match (&self.kind, response) {
            (Kind::Set | Kind::SetList(_), SetResponse::Block { block, .. }) => {
                let block = self.next_block(block, size)?;
                let next = SetRequest::Block { invoke: self.invoke, block };
                Ok(Step::Send(Apdu::SetRequest(next).encode()))
            }
            (
                Kind::Set,
                SetResponse::Normal { result, .. } | SetResponse::LastBlock { result, .. },
            ) => Ok(Step::Done(Indication::Set { invoke, result })),
            // A list whose blocks were refused as a whole is answered as one value would be.
            (
                Kind::SetList(count),
                SetResponse::LastBlock { result: Err(reason), .. }
                | SetResponse::Normal { result: Err(reason), .. },
            ) => {
                let results = vec![Err(reason); *count];
                Ok(Step::Done(Indication::SetList { invoke, results }))
            }
            (
                Kind::SetList(count),
                SetResponse::WithList { results, .. }
                | SetResponse::LastBlockWithList { results, .. },
            ) if results.len() == *count => Ok(Step::Done(Indication::SetList { invoke, results })),
            _ => Err(mismatch()),
        }
    }

    fn acted(
        &mut self,
        response: ActionResponse,
        limit: usize,
        size: usize,
    ) -> Result<Step, Error> {
        match (&self.kind, response) {
            (Kind::Action, ActionResponse::Normal { answer, .. }) => {
                Ok(Step::Done(acted(self.id, answer)))
            }
            (Kind::ActionList(count), ActionResponse::WithList { answers, .. }) => {
                acted_list(self.id, *count, answers)
            }
            (Kind::Action | Kind::ActionList(_), ActionResponse::Next { block, .. }) => {
                let block = self.next_block(block, size)?;
                let next = ActionRequest::Block { invoke: self.invoke, block };
                Ok(Step::Send(Apdu::ActionRequest(next).encode()))
            }
            (Kind::Action | Kind::ActionList(_), ActionResponse::Block { block, .. }) => {
                self.incoming.take(block.number, &block.octets, limit)?;
                if !block.last {
                    let next = ActionRequest::Next { invoke: self.invoke, block: block.number };
                    return Ok(Step::Send(Apdu::ActionRequest(next).encode()));
                }
                let octets = std::mem::take(&mut self.incoming).into_octets();
                match self.kind {
                    Kind::ActionList(count) => acted_list(self.id, count, joined_answers(&octets)?),
                    _ => Ok(Step::Done(acted(self.id, joined_answer(&octets)?))),
                }
            }
            _ => Err(mismatch()),
        }
    }

    fn accessed(&self, response: AccessResponse) -> Result<Step, Error> {
        let Kind::Access { invoke, asked } = &self.kind else { return Err(mismatch()) };
        let AccessResponse { list, values, outcomes, .. } = response;
        let fit = outcomes.iter().zip(asked).all(|(outcome, asked)| outcome.fits(asked));
        // Fewer outcomes than asked for can only be a break, and then the last is the error.
        let broke = invoke.breaks_on_error()
            && outcomes.len() < asked.len()
            && outcomes.last().is_some_and(|outcome| outcome.result().is_err());
        if !fit || (outcomes.len() != asked.len() && !broke) {
            return Err(Error::WrongState("other outcomes than asked for"));
        }
        if list.is_some_and(|list| list != *asked) {
            return Err(Error::WrongState("an answer that describes another request"));
        }
        let result = |(outcome, value): (AccessOutcome, Data)| match outcome {
            AccessOutcome::Get(result) => AccessResult::Got(result.map(|()| value)),
            AccessOutcome::Set(result) => AccessResult::Set(result),
            AccessOutcome::Action(result) => AccessResult::Acted(result.map(|()| value)),
        };
        let results = outcomes.into_iter().zip(values).map(result).collect();
        Ok(Step::Done(Indication::Accessed { invoke: self.id, results }))
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
fn joined(invoke: InvokeId, kind: &Kind, octets: Vec<u8>) -> Result<Step, Error> {
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
            got_list(invoke, *count, results)
        }
        _ => Err(mismatch()),
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
    Indication::Acted { invoke, result: returned(answer) }
}

fn acted_list(invoke: InvokeId, count: usize, answers: Vec<ActionAnswer>) -> Result<Step, Error> {
    if answers.len() == count {
        let results = answers.into_iter().map(returned).collect();
        Ok(Step::Done(Indication::ActedList { invoke, results }))
    } else {
        Err(Error::WrongState("another number of answers than asked for"))
    }
}

fn returned(answer: ActionAnswer) -> Result<Option<Data>, DataAccessError> {
    match (answer.result, answer.returned) {
        (Err(reason), _) | (Ok(()), Some(Err(reason))) => Err(reason),
        (Ok(()), None) => Ok(None),
        (Ok(()), Some(Ok(data))) => Ok(Some(data)),
    }
}

fn joined_answers(octets: &[u8]) -> Result<Vec<ActionAnswer>, Error> {
    let mut reader = Reader::new(octets);
    let count = reader.count()?;
    let mut answers = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        answers.push(ActionAnswer::read(&mut reader)?);
    }
    reader.finish()?;
    Ok(answers)
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
