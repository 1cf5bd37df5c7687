//! What the reader's machine does with messages that it waited for, and with waits that ended in
//! silence. It does not sign on and does not know the line.
//!
//! Invariant: each way out of a wait either schedules a message, ends the command, or closes the
//! session; repetitions count in `attempts` until the next command.

use std::time::Instant;

use bytes::Bytes;

use super::{Client, Next, State};
use crate::error::Error;
use crate::iec62056_21::check::End;
use crate::iec62056_21::client::{Answer, Failure, Indication, Password};
use crate::iec62056_21::data::{self, DataSet};
use crate::iec62056_21::intake::Message;
use crate::iec62056_21::message::{self, Command};
use crate::iec62056_21::{ACK, NAK, Output};
use crate::security::Secret;

/// Octets of a partial block that we send (W3, W4).
const PARTIAL_OCTETS: usize = 256;

impl Client {
    pub(super) fn take_message(&mut self, now: Instant, next: Next, message: Message) {
        match (next, message) {
            (Next::End | Next::Confirmation, _) => {}
            (_, Message::Corrupt) => self.ask_again(now, next),
            (_, Message::Block { command: Some(command), .. }) if command == *b"B0" => {
                let password = next == Next::Authentication;
                self.fail(if password { Failure::Password } else { Failure::Broken });
            }
            (Next::Readout, Message::Block { command: None, data, partial }) => {
                if let Some(data) = self.assemble(now, next, &data, partial) {
                    match data::parse(&data) {
                        Ok(sets) => self.close(Indication::Readout(sets)),
                        Err(_) => self.ask_again(now, next),
                    }
                }
            }
            (Next::Operand, Message::Block { command: Some(command), data, .. })
                if command == *b"P0" =>
            {
                self.take_operand(now, data);
            }
            (Next::Authentication, Message::Ack) => self.ready(now),
            (Next::Authentication, Message::Block { command: None, .. }) => {
                self.fail(Failure::Password);
            }
            (Next::Authentication | Next::Answer, Message::Nak) => self.repeat_refused(now, next),
            (Next::Answer, message) => self.take_answer(now, message),
            _ => {}
        }
    }

    fn take_operand(&mut self, now: Instant, operand: Bytes) {
        let operand = match data::parse(&operand).ok().as_deref() {
            Some([set]) => set.values.first().map_or(operand, |v| Bytes::from(v.text.clone())),
            _ => operand,
        };
        self.indications.push_back(Indication::Operand(operand));
        match self.config.password.clone() {
            Password::None => self.ready(now),
            Password::Plain(secret) => {
                if self.authenticate(now, '1', &secret).is_err() {
                    self.fail(Failure::Password);
                }
            }
            Password::Reckoned => {
                self.state = State::Reckoning;
                self.deadline = Some(now + self.config.session_timeout);
            }
        }
    }

    pub(super) fn authenticate(
        &mut self,
        now: Instant,
        variant: char,
        secret: &Secret,
    ) -> Result<(), Error> {
        let data = [b"(", secret.expose(), b")"].concat();
        let command = Command::new('P', variant, &data)?;
        self.attempts = 0;
        let transmit = self.transmit(&command.frame(&command.data, End::Last));
        self.schedule(now, vec![transmit], Next::Authentication);
        Ok(())
    }

    fn ready(&mut self, now: Instant) {
        // The password may be in the message that a NAK would ask for again.
        self.last = Bytes::new();
        self.echo = (Bytes::new(), 0);
        self.state = State::Ready;
        self.deadline = Some(now + self.config.session_timeout);
        self.indications.push_back(Indication::Ready);
    }

    fn take_answer(&mut self, now: Instant, message: Message) {
        let Some((command, sent)) = self.command.clone() else { return };
        match message {
            Message::Ack if sent < command.data.len() => self.send_piece(now),
            Message::Ack if command.letter != b'R' => self.answered(now, Answer::Done),
            // A block with a command is our own come back.
            Message::Block { command: None, data, partial } => {
                if let Some(data) = self.assemble(now, Next::Answer, &data, partial) {
                    match data::parse(&data) {
                        Ok(sets) => self.answered(now, answer_of(sets)),
                        Err(_) => self.ask_again(now, Next::Answer),
                    }
                }
            }
            _ => {}
        }
    }

    /// Joins partial blocks; None while more are to come.
    fn assemble(&mut self, now: Instant, next: Next, data: &[u8], partial: bool) -> Option<Bytes> {
        if self.assembly.len() + data.len() > self.config.max_block {
            self.fail(Failure::TooLong);
            return None;
        }
        self.assembly.extend_from_slice(data);
        if partial {
            let transmit = self.transmit(&[ACK]);
            self.schedule(now, vec![transmit], next);
            return None;
        }
        Some(self.assembly.split().freeze())
    }

    fn answered(&mut self, now: Instant, answer: Answer) {
        self.command = None;
        self.assembly.clear();
        self.state = State::Ready;
        self.deadline = Some(now + self.config.session_timeout);
        self.indications.push_back(Indication::Answered(answer));
    }

    // Repetition.

    /// A block came and does not verify: NAK asks for the same block again.
    fn ask_again(&mut self, now: Instant, next: Next) {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts > self.config.retries {
            return self.fail(Failure::BadCheck);
        }
        let transmit = self.transmit(&[NAK]);
        self.schedule(now, vec![transmit], next);
    }

    /// The meter did not understand our message.
    fn repeat_refused(&mut self, now: Instant, next: Next) {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts <= self.config.retries {
            let transmit = Output::Transmit(self.last.clone());
            return self.schedule(now, vec![transmit], next);
        }
        match next {
            Next::Answer => self.answered(now, Answer::Refused("NAK".into())),
            _ => self.fail(Failure::Password),
        }
    }

    /// Silence. A readout is asked for anew from the sign-on, an operand too after one NAK. A
    /// command is begun anew as a whole: blocks have no numbers, so one of several cannot be
    /// asked for.
    pub(super) fn wait_ended(&mut self, now: Instant, next: Next) {
        match next {
            Next::Confirmation => self.hand_over(false),
            Next::End => self.close(Indication::Closed),
            Next::Readout => {
                self.assembly.clear();
                self.sign_on_again(now);
            }
            Next::Operand if self.attempts == 0 => self.ask_again(now, next),
            Next::Operand => {
                // A meter that is in the programming mode hears no sign-on.
                self.put(&message::break_frame());
                self.sign_on_again(now);
            }
            Next::Authentication | Next::Answer => {
                self.attempts = self.attempts.saturating_add(1);
                let execute = self.command.as_ref().is_some_and(|(c, _)| c.letter == b'E');
                if execute || self.attempts > self.config.retries {
                    if self.command.is_some() {
                        self.indications.push_back(Indication::Answered(Answer::Unknown));
                    }
                    return self.fail(Failure::NoAnswer);
                }
                if next == Next::Answer {
                    return self.begin_command(now);
                }
                let transmit = Output::Transmit(self.last.clone());
                self.schedule(now, vec![transmit], next);
            }
        }
    }

    pub(super) fn begin_command(&mut self, now: Instant) {
        self.assembly.clear();
        if let Some((_, sent)) = &mut self.command {
            *sent = 0;
        }
        self.send_piece(now);
    }

    /// Sends the next piece of the command's data: all of it, or for W3 and W4 a partial block.
    fn send_piece(&mut self, now: Instant) {
        let Some((command, sent)) = &mut self.command else { return };
        let rest = command.data.get(*sent..).unwrap_or_default();
        let partial = command.is_partial() && rest.len() > PARTIAL_OCTETS;
        let end = if partial { End::Partial } else { End::Last };
        let piece = rest.get(..PARTIAL_OCTETS).filter(|_| partial).unwrap_or(rest);
        let frame =
            if *sent == 0 { command.frame(piece, end) } else { message::data_frame(piece, end) };
        *sent += piece.len();
        let transmit = self.transmit(&frame);
        self.schedule(now, vec![transmit], Next::Answer);
    }
}

/// Meters tell errors as a data set whose only text begins with ER.
fn answer_of(sets: Vec<DataSet>) -> Answer {
    match sets.as_slice() {
        [set] if set.address.is_empty() => match set.values.as_slice() {
            [value] if value.text.starts_with("ER") => Answer::Refused(value.text.clone()),
            _ => Answer::Data(sets),
        },
        _ => Answer::Data(sets),
    }
}
