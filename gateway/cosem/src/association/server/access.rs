//! ACCESS at a server: one request taken apart into reads, writes and invocations, and one
//! response made of their answers (IEC 62056-5-3 clause 6.10).
//!
//! Invariant: the response has one value for each outcome; when the request breaks on an error,
//! the error is the last outcome and nothing after it was given to the driver.

use std::collections::VecDeque;

use super::{Answer, Request};
use crate::apdu::access::{AccessRequest, AccessSpecification};
use crate::apdu::{DataAccessError, LongInvokePriority, tag};
use crate::axdr::put_length;
use crate::data::{Data, tag as data_tag};
use crate::error::Error;

/// An ACCESS request that the driver is answering.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) invoke: LongInvokePriority,
    asked: Vec<AccessSpecification>,
    /// Encoded values, one for each outcome.
    values: Vec<u8>,
    /// Choice and result of each outcome.
    outcomes: Vec<(u8, u8)>,
}

impl Access {
    /// The parts of a request, and what their answers are gathered in.
    pub(super) fn new(request: AccessRequest) -> (Self, VecDeque<Request>) {
        let AccessRequest { invoke, list: asked, values, .. } = request;
        let part = |(of, value): (&AccessSpecification, Data)| match of.clone() {
            AccessSpecification::Get(attribute, selection) => Request::Get { attribute, selection },
            AccessSpecification::Set(attribute, selection) => {
                Request::Set { attribute, selection, value }
            }
            AccessSpecification::Action(method) => {
                let parameters = if value == Data::Null { None } else { Some(value) };
                Request::Action { method, parameters }
            }
        };
        let parts = asked.iter().zip(values).map(part).collect();
        (Self { invoke, asked, values: Vec::new(), outcomes: Vec::new() }, parts)
    }

    /// Takes the answer to the next part; whether what follows is still to be done.
    pub(super) fn take(&mut self, answer: Answer) -> Result<bool, Error> {
        let asked = self.asked.get(self.outcomes.len());
        let (choice, result) = match (asked, answer) {
            (Some(AccessSpecification::Get(..)), Answer::Got(Ok(data))) => {
                data.encode(&mut self.values);
                (1, Ok(()))
            }
            (Some(AccessSpecification::Get(..)), Answer::Encoded(octets)) => {
                self.values.extend_from_slice(&octets);
                (1, Ok(()))
            }
            (Some(AccessSpecification::Get(..)), Answer::Got(Err(reason))) => {
                (1, self.without_value(Err(reason)))
            }
            (Some(AccessSpecification::Set(..)), Answer::Set(result)) => {
                (2, self.without_value(result))
            }
            (Some(AccessSpecification::Action(_)), Answer::Acted(answer)) => (
                3,
                match (answer.result, answer.returned) {
                    (Ok(()), Some(Ok(data))) => {
                        data.encode(&mut self.values);
                        Ok(())
                    }
                    (Ok(()), None) => self.without_value(Ok(())),
                    (Err(reason), _) | (Ok(()), Some(Err(reason))) => {
                        self.without_value(Err(reason))
                    }
                },
            ),
            _ => return Err(Error::WrongState("an answer to another service")),
        };
        self.outcomes.push((choice, DataAccessError::octet_of(result)));
        Ok(result.is_ok() || !self.invoke.breaks_on_error())
    }

    fn without_value(
        &mut self,
        result: Result<(), DataAccessError>,
    ) -> Result<(), DataAccessError> {
        self.values.push(data_tag::NULL);
        result
    }

    /// The octets of the response. Values are put in as they were answered, so that a long
    /// profile is not built once more.
    pub(super) fn response(self) -> Vec<u8> {
        let mut out = vec![tag::ACCESS_RESPONSE];
        out.extend_from_slice(&self.invoke.0.to_be_bytes());
        // No date-time: the driver's clock is not asked.
        out.push(0);
        if self.invoke.is_self_descriptive() {
            out.push(1);
            put_length(&mut out, self.asked.len());
            self.asked.iter().for_each(|asked| asked.put(&mut out));
        } else {
            out.push(0);
        }
        put_length(&mut out, self.outcomes.len());
        out.extend_from_slice(&self.values);
        put_length(&mut out, self.outcomes.len());
        for (choice, result) in self.outcomes {
            out.extend_from_slice(&[choice, result]);
        }
        out
    }
}
