//! The reader's machine (IEC 62056-21 clause 6.4): sign-on, rate change, readout, the programming
//! mode and the hand-over to HDLC. Sans-IO: after every call that goes in, the driver asks
//! `poll_transmit`, `poll` and `poll_timeout`; the reaction time before each message is a timeout
//! like any other.
//!
//! A write may reach the meter twice when its ACK was lost; it is the same value both times. The
//! standard guards its single characters by parity alone, so noise that is an ACK counts as one.
//!
//! Invariants: a wait that ends in silence is repeated at most `retries` times, and characters
//! without meaning end it after `max_block` of them; an execute command is never sent twice
//! unless the meter refused it by NAK; whatever the end, the line goes back to the sign-on rate
//! (but for HDLC, which keeps the rate).

mod answers;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{ClientConfig, Failure, Indication, Wish};
use crate::error::Error;
use crate::iec62056_21::data;
use crate::iec62056_21::intake::Intake;
use crate::iec62056_21::message::{self, Command, Identification, OptionSelect};
use crate::iec62056_21::{ACK, Mode, Output, SIGN_ON_BAUD, baud};
use crate::security::Secret;

/// Indications held for the driver; beyond them arriving octets are dropped.
const MAX_INDICATIONS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Unasked telegrams are taken.
    Listening,
    /// The sign-on is out.
    SignedOn,
    /// The reaction time runs; then what is scheduled goes out and the state is the named one.
    Pausing(Next),
    Waiting(Next),
    /// The operand is with the driver.
    Reckoning,
    Ready,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Readout,
    /// The meter's repetition of the option select.
    Confirmation,
    Operand,
    Authentication,
    Answer,
    /// Nothing: the break is out.
    End,
}

/// The machine.
pub struct Client {
    config: ClientConfig,
    state: State,
    intake: Intake,
    outputs: VecDeque<Output>,
    indications: VecDeque<Indication>,
    deadline: Option<Instant>,
    baud: u32,
    quick: bool,
    /// Repetitions of the present message.
    attempts: u8,
    /// Times that the sign-on was sent.
    sign_ons: u8,
    /// Octets taken in the present wait.
    taken: usize,
    /// What goes out after the reaction time.
    scheduled: Vec<Output>,
    /// The message that a NAK asks for again.
    last: Bytes,
    /// The command in work, and how much of its data is out.
    command: Option<(Command, usize)>,
    /// Partial blocks of an answer.
    assembly: BytesMut,
    /// What we sent last, and how much of it came back: optical heads and two-wire lines echo.
    echo: (Bytes, usize),
}

impl std::fmt::Debug for Client {
    // Octets in and out may be a password, so none are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { state, baud, .. } = self;
        f.debug_struct("Client").field("state", state).field("baud", baud).finish_non_exhaustive()
    }
}

impl Client {
    /// A client at rest; the line is at 300 baud.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            state: State::Idle,
            intake: Intake::new(config.parity, config.max_block.saturating_add(256)),
            outputs: VecDeque::new(),
            indications: VecDeque::new(),
            deadline: None,
            baud: SIGN_ON_BAUD,
            quick: false,
            attempts: 0,
            sign_ons: 0,
            taken: 0,
            scheduled: Vec::new(),
            last: Bytes::new(),
            command: None,
            assembly: BytesMut::new(),
            echo: (Bytes::new(), 0),
            config,
        }
    }

    /// Begins with the sign-on.
    ///
    /// # Errors
    /// `WrongState` while a session runs, `Malformed` for a bad device address.
    pub fn start(&mut self, now: Instant) -> Result<(), Error> {
        if self.state != State::Idle {
            return Err(Error::WrongState("a session runs"));
        }
        let sign_on = message::sign_on(&self.config.address)?;
        self.sign_ons = 0;
        self.last = Bytes::from(sign_on);
        self.sign_on(now);
        Ok(())
    }

    /// Takes telegrams that a meter sends unasked (mode D), until `finish`.
    ///
    /// # Errors
    /// `WrongState` while a session runs.
    pub fn listen(&mut self) -> Result<(), Error> {
        if self.state != State::Idle {
            return Err(Error::WrongState("a session runs"));
        }
        self.change_baud(baud::RATE_D);
        self.intake.clear();
        self.state = State::Listening;
        Ok(())
    }

    /// Gives the operand's answer (P2).
    ///
    /// # Errors
    /// `WrongState` unless an operand waits, `Malformed` when it is not printable ASCII.
    pub fn answer_operand(&mut self, now: Instant, answer: &Secret) -> Result<(), Error> {
        if self.state != State::Reckoning {
            return Err(Error::WrongState("no operand waits"));
        }
        self.authenticate(now, '2', answer)
    }

    /// Wishes a command carried out.
    ///
    /// # Errors
    /// `WrongState` unless the programming mode is open and no command is in work.
    pub fn command(&mut self, now: Instant, command: Command) -> Result<(), Error> {
        if self.state != State::Ready {
            return Err(Error::WrongState("not ready for a command"));
        }
        self.attempts = 0;
        self.command = Some((command, 0));
        self.begin_command(now);
        Ok(())
    }

    /// Ends the session: with a break in the programming mode, at once elsewhere.
    pub fn finish(&mut self, now: Instant) {
        match self.state {
            State::Idle => {}
            State::Ready | State::Reckoning => self.break_off(now),
            _ => self.close(Indication::Closed),
        }
    }

    /// Octets from the line.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        if matches!(self.state, State::Idle | State::Pausing(_)) {
            return;
        }
        let octets = self.take_echo(octets);
        self.intake.feed(octets);
        self.taken = self.taken.saturating_add(octets.len());
        if self.state == State::Listening {
            return self.take_telegrams();
        }
        while self.indications.len() < MAX_INDICATIONS && self.take(now) {}
        if matches!(self.state, State::SignedOn | State::Waiting(_)) {
            if self.taken > self.config.max_block.saturating_add(256) {
                return self.fail(Failure::TooLong);
            }
            self.deadline = Some(now + self.config.answer_timeout);
        }
    }

    /// The time that `poll_timeout` asked for has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.state {
            State::Idle | State::Listening => self.deadline = None,
            State::Pausing(next) => self.release(now, next),
            State::SignedOn => self.sign_on_again(now),
            State::Ready | State::Reckoning => self.break_off(now),
            State::Waiting(next) => self.wait_ended(now, next),
        }
    }

    /// What the line has to do next.
    pub fn poll_transmit(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What happened.
    pub fn poll(&mut self) -> Option<Indication> {
        self.indications.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether a command can be given.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    // Sign-on and what follows it.

    fn sign_on(&mut self, now: Instant) {
        self.change_baud(SIGN_ON_BAUD);
        let sign_on = message::sign_on(&self.config.address).unwrap_or_default();
        self.put(&sign_on);
        self.sign_ons = self.sign_ons.saturating_add(1);
        self.attempts = 0;
        self.wait(now, State::SignedOn);
    }

    fn sign_on_again(&mut self, now: Instant) {
        if self.sign_ons > self.config.retries {
            return self.fail(Failure::NoAnswer);
        }
        self.sign_on(now);
    }

    /// Takes one message; false when there is none whole.
    fn take(&mut self, now: Instant) -> bool {
        match self.state {
            State::SignedOn => match self.intake.line(b'/') {
                Some(line) => {
                    // Our own sign-on comes back from optical heads; it does not parse.
                    if let Ok(identification) = Identification::parse(&line) {
                        self.identified(now, identification);
                    }
                    true
                }
                None => false,
            },
            State::Waiting(Next::Confirmation) => match self.intake.line(ACK) {
                Some(line) => {
                    if OptionSelect::parse(&line).is_some_and(|select| select.protocol == b'2') {
                        self.hand_over(true);
                    }
                    true
                }
                None => false,
            },
            State::Waiting(next) => match self.intake.message() {
                Some(message) => {
                    self.take_message(now, next, message);
                    true
                }
                None => false,
            },
            _ => {
                self.intake.clear();
                false
            }
        }
    }

    fn identified(&mut self, now: Instant, identification: Identification) {
        self.quick = identification.is_quick();
        let mode = identification.mode();
        let offers_hdlc = identification.offers_hdlc();
        let character = identification.baud;
        self.indications.push_back(Indication::Identified(identification));
        let (baud, character) = match mode {
            Mode::C(baud) if baud <= self.config.max_baud => (baud, character),
            _ => (SIGN_ON_BAUD, b'0'),
        };
        let select = |protocol, mode| OptionSelect { protocol, baud: character, mode };
        let (select, next) = match (self.config.wish, mode) {
            (Wish::Readout, Mode::A) => return self.wait(now, State::Waiting(Next::Readout)),
            (Wish::Readout, Mode::B(baud)) => {
                self.change_baud(baud);
                return self.wait(now, State::Waiting(Next::Readout));
            }
            (Wish::Readout, Mode::C(_)) => (select(b'0', b'0'), Next::Readout),
            (Wish::Special(option), Mode::C(_)) => (select(b'0', option), Next::Readout),
            (Wish::Programming, Mode::C(_)) => (select(b'0', b'1'), Next::Operand),
            (Wish::Hdlc, Mode::C(_)) if offers_hdlc => (select(b'2', b'2'), Next::Confirmation),
            _ => return self.fail(Failure::NotOffered),
        };
        let transmit = self.transmit(&select.encode());
        let mut outputs = vec![transmit];
        if baud != self.baud {
            outputs.push(Output::ChangeBaud(baud));
            // Taken as done once it is scheduled; nothing else goes out before it.
            self.baud = baud;
        }
        self.schedule(now, outputs, next);
    }

    fn hand_over(&mut self, confirmed: bool) {
        let baud = self.baud;
        self.state = State::Idle;
        self.deadline = None;
        self.intake.clear();
        self.indications.push_back(Indication::Hdlc { baud, confirmed });
    }

    fn take_telegrams(&mut self) {
        while self.indications.len() < MAX_INDICATIONS {
            let Some(telegram) = self.intake.telegram() else { return };
            // One that does not verify is dropped: the meter sends the next by itself.
            let Ok((line, block)) = telegram else { continue };
            let parsed = Identification::parse(&line).and_then(|id| Ok((id, data::parse(&block)?)));
            if let Ok((identification, sets)) = parsed {
                self.indications.push_back(Indication::Identified(identification));
                self.indications.push_back(Indication::Readout(sets));
            }
        }
    }

    // The line.

    fn break_off(&mut self, now: Instant) {
        self.attempts = 0;
        let transmit = self.transmit(&message::break_frame());
        self.schedule(now, vec![transmit], Next::End);
    }

    /// Clause 6.4.3: 200 ms between a message and its answer, 20 ms for quick meters.
    fn schedule(&mut self, now: Instant, outputs: Vec<Output>, next: Next) {
        let reaction = if self.quick { 20 } else { 200 };
        if let Some(Output::Transmit(octets)) = outputs.first() {
            self.last = octets.clone();
        }
        self.scheduled = outputs;
        self.state = State::Pausing(next);
        self.deadline = Some(now + Duration::from_millis(reaction));
    }

    fn release(&mut self, now: Instant, next: Next) {
        let outputs = std::mem::take(&mut self.scheduled);
        // The confirmation of HDLC has the octets of its own request, so it cannot be told from
        // an echo.
        if let Some(Output::Transmit(octets)) = outputs.first()
            && next != Next::Confirmation
        {
            self.echo = (octets.clone(), 0);
        }
        self.outputs.extend(outputs);
        self.wait(now, State::Waiting(next));
        if next == Next::End {
            // Nothing answers a break.
            self.close(Indication::Closed);
        }
    }

    fn wait(&mut self, now: Instant, state: State) {
        if state != State::Waiting(Next::Readout) || self.baud != SIGN_ON_BAUD {
            // In mode A the data may stand behind the identification already.
            self.intake.clear();
        }
        self.taken = 0;
        self.state = state;
        self.deadline = Some(now + self.config.answer_timeout);
    }

    /// Takes away what is our own message come back. A beginning that goes on otherwise was the
    /// meter's.
    fn take_echo<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let (sent, matched) = &mut self.echo;
        let mut rest = octets;
        while let (Some(expect), Some((octet, tail))) = (sent.get(*matched), rest.split_first()) {
            if octet != expect {
                self.intake.feed(sent.get(..*matched).unwrap_or_default());
                self.echo = (Bytes::new(), 0);
                return rest;
            }
            *matched += 1;
            rest = tail;
        }
        rest
    }

    fn transmit(&self, characters: &[u8]) -> Output {
        let parity = self.config.parity;
        Output::Transmit(characters.iter().map(|character| parity.add(*character)).collect())
    }

    fn put(&mut self, characters: &[u8]) {
        let transmit = self.transmit(characters);
        if let Output::Transmit(octets) = &transmit {
            self.echo = (octets.clone(), 0);
        }
        self.outputs.push_back(transmit);
    }

    fn change_baud(&mut self, baud: u32) {
        if self.baud != baud {
            self.baud = baud;
            self.outputs.push_back(Output::ChangeBaud(baud));
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.close(Indication::Failed(failure));
    }

    fn close(&mut self, indication: Indication) {
        self.state = State::Idle;
        self.deadline = None;
        self.command = None;
        self.last = Bytes::new();
        self.echo = (Bytes::new(), 0);
        self.scheduled.clear();
        self.assembly.clear();
        self.intake.clear();
        self.change_baud(SIGN_ON_BAUD);
        self.indications.push_back(indication);
    }
}
