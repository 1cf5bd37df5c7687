//! Octets in, frames sorted: which go to the association, which to a meter's conversation, which
//! are refused; and what the association says of them.
//!
//! Invariant: input that is not understood is counted and, when it shows a broken or foreign peer,
//! closes the channel; it never changes anything else.

use std::time::Instant;

use bytes::Bytes;
use cosem::Data;
use cosem::association::{Failure as Lost, Indication, InvokeId};
use cosem::wrapper::Header;
use domain::commands::Failure;

use super::{Event, Request, Session, State};
use crate::error::Cause;

impl Session {
    /// Reads what is buffered, as far as the window allows, and collects what comes of it.
    pub(super) fn turn(&mut self, now: Instant) {
        loop {
            self.collect(now);
            if !self.wants_input() {
                self.paused = true;
                return;
            }
            if std::mem::take(&mut self.paused) {
                self.heard = now;
                self.resumed = Some(now);
            }
            match self.deframer.next_frame() {
                Ok(Some((header, apdu))) => self.frame(now, header, &apdu),
                Ok(None) => return,
                Err(cosem::Error::TooLong { .. }) => self.close(Cause::Oversized),
                Err(_) => self.close(Cause::Malformed),
            }
        }
    }

    fn frame(&mut self, now: Instant, header: Header, apdu: &Bytes) {
        if let State::Identity = self.state {
            self.identity(apdu);
            return;
        }
        let taken = match cosem::gateway_header::split(apdu) {
            Ok((Some(prefix), _)) => self.meters.handle_frame(now, &prefix.address, header, apdu),
            Ok((None, _)) => match &mut self.client {
                Some(client) => client.handle_frame(now, header, apdu),
                None => Err(cosem::Error::WrongState("no association")),
            },
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => self.heard = now,
            Err(error) => self.refuse(error),
        }
    }

    /// A frame that was refused. What shows a broken or foreign peer closes; the rest is counted.
    pub(super) fn refuse(&mut self, error: cosem::Error) {
        use cosem::Error as E;
        let (label, cause) = match error {
            E::Malformed { .. } => ("malformed", Some(Cause::Malformed)),
            E::TooLong { .. } => ("oversized", Some(Cause::Oversized)),
            E::BadTag | E::WrongTitle | E::Suite(_) | E::Protection(_) => {
                ("undecipherable", Some(Cause::Undecipherable))
            }
            E::Replayed { .. } => ("replayed", None),
            _ => ("unexpected", None),
        };
        self.events.push_back(Event::FrameRefused(label));
        if let Some(cause) = cause {
            self.close(cause);
        }
    }

    /// Takes everything out of the association and the meters' conversations.
    fn collect(&mut self, now: Instant) {
        while let Some(client) = &mut self.client {
            while let Some(frame) = client.poll_transmit() {
                self.transmit.push_back(frame);
            }
            let Some(indication) = client.poll() else { break };
            self.indicated(now, indication);
        }
        while let Some(frame) = self.meters.poll_transmit() {
            self.transmit.push_back(frame);
        }
        while let Some((serial, question)) = self.meters.poll_question() {
            self.requests.push_back(Request::Meter { serial, question });
        }
    }

    fn indicated(&mut self, now: Instant, indication: Indication) {
        match indication {
            Indication::Associated { .. } => self.associated(),
            Indication::Rejected(rejection) => self.rejected(rejection),
            Indication::Notified(notification) => self.notified(now, notification),
            Indication::Set { invoke, result } if self.is_own(invoke) => {
                self.got(now, invoke, result.map(|()| Data::Null));
            }
            Indication::Set { invoke, result } => self.set_done(now, invoke, result.is_ok()),
            Indication::Got { invoke, result } => self.got(now, invoke, result),
            Indication::Acted { invoke, result } => {
                self.got(now, invoke, result.map(|returned| returned.unwrap_or(Data::Null)));
            }
            Indication::Failed { invoke, failure } => self.failed(now, invoke, failure),
            Indication::NeedCounters { .. } if !self.refilling => {
                self.refilling = true;
                self.requests.push_back(Request::Refill);
            }
            Indication::Released => self.close(Cause::ClosedByPeer),
            _ => {}
        }
    }

    /// Whether a request belongs to an order for the concentrator itself.
    fn is_own(&self, invoke: InvokeId) -> bool {
        self.own.as_ref().is_some_and(|own| own.invoke == invoke)
    }

    /// A request without a usable answer: the concentrator is lost, except when it only refused a
    /// read.
    fn failed(&mut self, now: Instant, invoke: InvokeId, failure: Lost) {
        let is_own = self.is_own(invoke);
        if is_own && let Some(own) = self.own.take() {
            own.order.answer(Err(match failure {
                Lost::Timeout => Failure::NoAnswer,
                other => Failure::Rejected(format!("{other:?}")),
            }));
        }
        match failure {
            Lost::Timeout => self.close(Cause::AnswerLate),
            _ if is_own => self.own_due(now),
            _ => self.close(Cause::ActivationRefused),
        }
    }
}
