//! One piece of work with a meter of COSEM: the conversation's frames over the link, its questions
//! to the cluster. It decides nothing about sessions.
//!
//! Invariant: it ends at the deadline of the work at the latest, as the conversation does.

use domain::Device;
use domain::commands::Failure;
use tokio::time::{Instant, sleep_until};

use super::link::{Event, Link};
use crate::ask::ask;
use crate::meter::{Conversation, Question};
use crate::order::Outcome;
use crate::shared::Shared;
use crate::upcall::{MeterAccess, RaiseCounter, Reserve, Upcall};

/// The meter of a conversation.
pub(super) struct Meter<'a> {
    pub shared: &'a Shared,
    pub serial: &'a str,
    pub access: &'a MeterAccess,
}

impl Meter<'_> {
    /// Drives the conversation to the end of its work.
    pub async fn converse(
        &self,
        link: &mut Link,
        conversation: &mut Conversation,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        loop {
            while let Some(question) = conversation.poll_question() {
                self.question(conversation, question).await;
            }
            let mut written = Ok(());
            while let Some(frame) = conversation.poll_transmit().filter(|_| written.is_ok()) {
                written = link.send(self.shared, &frame).await;
            }
            if written.is_err() && !self.reconnect(link, conversation).await {
                continue;
            }
            if let Some(result) = conversation.poll_outcome() {
                return result;
            }
            let at = conversation.poll_timeout().map_or(deadline, Instant::from_std);
            let now = || Instant::now().into_std();
            tokio::select! {
                event = link.next(self.shared) => match event {
                    Event::Frame(header, apdu) => {
                        if let Err(error) = conversation.handle_frame(now(), header, &apdu) {
                            self.count(&error);
                        }
                    }
                    Event::Broken(error) => {
                        self.count(&error);
                        conversation.handle_broken();
                    }
                    Event::Closed => {
                        self.reconnect(link, conversation).await;
                    }
                    Event::Lost(failure) => conversation.handle_lost(failure),
                },
                () = sleep_until(at) => conversation.handle_timeout(now()),
            }
        }
    }

    /// False when the conversation has given up.
    async fn reconnect(&self, link: &mut Link, conversation: &mut Conversation) -> bool {
        if !conversation.handle_closed() {
            return false;
        }
        match link.again(self.shared).await {
            Ok(()) => {
                conversation.handle_reconnected(Instant::now().into_std());
                true
            }
            Err(_) => conversation.handle_closed(),
        }
    }

    async fn question(&self, conversation: &mut Conversation, question: Question) {
        let device = Device::Meter(self.serial.to_owned());
        let shared = self.shared;
        let count = shared.config.meter_counter_block;
        match question {
            Question::Access => {
                let now = Instant::now().into_std();
                conversation.handle_access(now, Ok(self.access.clone()));
            }
            Question::Reserve => {
                let first = ask(shared, Reserve { device, count }, Upcall::Reserve).await;
                conversation.handle_reserved(Instant::now().into_std(), first);
            }
            Question::Raise { at_least } => {
                let raise = RaiseCounter { device, at_least };
                let raised = ask(shared, raise, Upcall::RaiseCounter).await;
                conversation.handle_raised(raised);
            }
        }
    }

    fn count(&self, error: &cosem::Error) {
        let cause = match error {
            cosem::Error::Malformed { .. } => "malformed",
            cosem::Error::TooLong { .. } => "oversized",
            cosem::Error::Replayed { .. } => "replayed",
            cosem::Error::BadTag | cosem::Error::Protection(_) => "undecipherable",
            _ => "unexpected",
        };
        self.shared.metrics.frames_refused.with_label_values(&[cause]).inc();
        tracing::debug!(serial = self.serial, %error, "a frame of a meter was refused");
    }
}
