//! The meter's machine (IEC 62056-21 clause 6.4), for the simulator and for tests: it answers a
//! sign-on with its identification, changes the rate, sends the data readout, and in mode C
//! serves the programming mode. What a meter has to say is asked of the driver. A mode C meter
//! that gets no option select goes back to rest; the readout at 300 baud that the standard allows
//! then is not done.
//!
//! Invariants: no read or write is handed on before the password, where there is one; three wrong
//! ones break the session; every state but rest has a deadline.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::check::{End, Parity};
use super::intake::{Intake, Message};
use super::message::{self, Command, Identification, OptionSelect, parse_sign_on};
use super::{ACK, Mode, NAK, Output, SIGN_ON_BAUD};
use crate::error::Error;
use crate::security::Secret;

/// Wrong passwords before the session is broken off.
const MAX_WRONG_PASSWORDS: u8 = 3;

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Who we are and how we talk: the baud character chooses the mode.
    pub identification: Identification,
    /// Our device address; a sign-on without one is for every meter.
    pub address: String,
    /// Password of the programming mode (P1); without one it is open.
    pub password: Option<Secret>,
    /// Operand sent in P0.
    pub operand: String,
    /// Who deals with the parity bit.
    pub parity: Parity,
    /// Pause before an answer (clause 6.4.3: 20 or 200 to 1500 ms).
    pub reaction: Duration,
    /// Wait for the option select, and for a NAK after a readout.
    pub option_timeout: Duration,
    /// Silence after which the programming mode ends.
    pub session_timeout: Duration,
    /// Longest partial block of R3 and R4, octets.
    pub partial_octets: usize,
    /// Longest data of one command, octets.
    pub max_block: usize,
}

impl ServerConfig {
    /// Usual values: 200 ms, 2 s, 60 s, 256 octets, 8 KiB, no password.
    #[must_use]
    pub fn new(identification: Identification, address: &str) -> Self {
        Self {
            identification,
            address: address.into(),
            password: None,
            operand: "00000000".into(),
            parity: Parity::Port,
            reaction: Duration::from_millis(200),
            option_timeout: Duration::from_secs(2),
            session_timeout: Duration::from_secs(60),
            partial_octets: 256,
            max_block: 8192,
        }
    }
}

/// What the driver is asked; all but the last two wait for a `respond`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The data block of the readout, by its mode control character (0 the standard one).
    Readout(u8),
    /// A read, write or execute command, whole.
    Command(Command),
    /// From here on the line carries HDLC at this rate, baud.
    Hdlc(u32),
    /// The session is over.
    Closed,
}

/// What the driver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Data sets as octets (`data::encode`), without the end line.
    Data(Bytes),
    /// Done: ACK.
    Done,
    /// An error text, `ER01` for instance.
    Error(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Rest,
    /// The identification is out; the option select is waited for.
    Offered,
    /// The readout is with the driver.
    Asked,
    /// The readout is out; a NAK would want it again.
    ReadOut,
    /// The programming mode.
    Programming,
    /// A command is with the driver.
    Commanded,
}

/// The machine.
pub struct Server {
    config: ServerConfig,
    state: State,
    intake: Intake,
    outputs: VecDeque<Output>,
    requests: VecDeque<Request>,
    /// What goes out, and when.
    scheduled: Option<(Instant, Vec<Output>)>,
    deadline: Option<Instant>,
    baud: u32,
    authenticated: bool,
    wrong_passwords: u8,
    /// The last message, for a NAK.
    last: Bytes,
    /// The command whose partial blocks arrive.
    arriving: Option<(Command, BytesMut)>,
    /// Partial blocks of an answer that wait for their ACK.
    leaving: VecDeque<Bytes>,
    /// The answer in work goes in partial blocks.
    partial: bool,
}

impl std::fmt::Debug for Server {
    // Octets in and out may be a password, so none are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { state, baud, .. } = self;
        f.debug_struct("Server").field("state", state).field("baud", baud).finish_non_exhaustive()
    }
}

impl Server {
    /// A meter at rest; the line is at 300 baud.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            state: State::Rest,
            intake: Intake::new(config.parity, config.max_block.saturating_add(256)),
            outputs: VecDeque::new(),
            requests: VecDeque::new(),
            scheduled: None,
            deadline: None,
            baud: SIGN_ON_BAUD,
            authenticated: false,
            wrong_passwords: 0,
            last: Bytes::new(),
            arriving: None,
            leaving: VecDeque::new(),
            partial: false,
            config,
        }
    }

    /// Octets from the line.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        // While the reaction time runs nobody else should talk; what comes is noise.
        if self.scheduled.is_some() || matches!(self.state, State::Asked | State::Commanded) {
            return;
        }
        self.intake.feed(octets);
        let state = self.state;
        while self.state == state && self.scheduled.is_none() && self.take(now) {}
    }

    /// The time that `poll_timeout` asked for has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, outputs)) = self.scheduled.take_if(|(at, _)| *at <= now) {
            self.outputs.extend(outputs);
            self.intake.clear();
        }
        if self.scheduled.is_none() && self.deadline.is_some_and(|deadline| deadline <= now) {
            self.rest();
        }
    }

    /// Answers the request in work.
    ///
    /// # Errors
    /// `WrongState` when none is, `Malformed` when the reply does not fit it.
    pub fn respond(&mut self, now: Instant, reply: &Reply) -> Result<(), Error> {
        match (self.state, reply) {
            (State::Asked, Reply::Data(data)) => {
                let block = [data, &b"!\r\n"[..]].concat();
                self.state = State::ReadOut;
                self.answer(now, &message::data_frame(&block, End::Last));
                // The time on the line counts: ten bits a character.
                let octets = u64::try_from(self.last.len()).unwrap_or(u64::MAX);
                let line = octets.saturating_mul(10_000) / u64::from(self.baud);
                let wait = self.config.reaction + self.config.option_timeout;
                self.deadline = Some(now + wait + Duration::from_millis(line));
                Ok(())
            }
            (State::Commanded, reply) => {
                self.state = State::Programming;
                match reply {
                    Reply::Done => self.answer(now, &[ACK]),
                    Reply::Error(text) => self.answer_error(now, text),
                    Reply::Data(data) => self.answer_data(now, data),
                }
                Ok(())
            }
            (State::Asked, _) => Err(Error::malformed(0, "a readout is answered by data")),
            _ => Err(Error::WrongState("no request is in work")),
        }
    }

    /// What the line has to do next.
    pub fn poll_transmit(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What the driver is asked.
    pub fn poll(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.scheduled.as_ref().map(|(at, _)| *at).or(self.deadline)
    }

    /// Takes one message; false when there is none whole.
    fn take(&mut self, now: Instant) -> bool {
        match self.state {
            State::Rest => {
                let line = self.intake.line(b'/');
                if line.as_deref().and_then(parse_sign_on).is_some_and(|a| self.is_ours(a)) {
                    self.identify(now);
                }
                line.is_some()
            }
            State::Offered => {
                let line = self.intake.line(ACK);
                if let Some(select) = line.as_deref().and_then(OptionSelect::parse) {
                    self.selected(now, select);
                }
                line.is_some()
            }
            State::ReadOut => {
                if self.intake.nak() {
                    self.repeat(now);
                    return true;
                }
                // Whoever signs on anew is content with the readout.
                let line = self.intake.line(b'/');
                if line.as_deref().and_then(parse_sign_on).is_some_and(|a| self.is_ours(a)) {
                    self.rest();
                    self.identify(now);
                }
                line.is_some()
            }
            State::Programming => match self.intake.message() {
                Some(message) => {
                    self.deadline = Some(now + self.config.session_timeout);
                    self.take_message(now, message);
                    true
                }
                None => false,
            },
            State::Asked | State::Commanded => false,
        }
    }

    /// Leading zeros of an address do not count (clause 6.3.1).
    fn is_ours(&self, address: &str) -> bool {
        let significant = |address: &str| address.trim_start_matches('0').to_owned();
        address.is_empty() || significant(address) == significant(&self.config.address)
    }

    fn identify(&mut self, now: Instant) {
        let identification = self.config.identification.encode();
        let mut outputs = vec![self.transmit(&identification)];
        let mode = self.config.identification.mode();
        if let Mode::B(baud) = mode {
            outputs.push(Output::ChangeBaud(baud));
            self.baud = baud;
        }
        if let Mode::C(_) = mode {
            self.state = State::Offered;
            self.schedule(now, outputs, self.config.option_timeout);
        } else {
            self.state = State::Asked;
            self.schedule(now, outputs, self.config.session_timeout);
            self.requests.push_back(Request::Readout(b'0'));
        }
    }

    fn selected(&mut self, now: Instant, select: OptionSelect) {
        let Mode::C(offered) = self.config.identification.mode() else { return };
        let baud = match select.baud {
            character if character == self.config.identification.baud => offered,
            _ => SIGN_ON_BAUD,
        };
        // The peer changes the rate once its message is out, so we do it before we answer.
        self.change_baud(baud);
        let hdlc = self.config.identification.offers_hdlc();
        match (select.protocol, select.mode) {
            (b'2', b'2') if hdlc => {
                self.outputs.push_back(self.transmit(&select.encode()));
                self.state = State::Rest;
                self.deadline = None;
                // The rate is HDLC's from here on; after it the driver makes a new machine.
                self.requests.push_back(Request::Hdlc(baud));
            }
            (b'0', b'1') => {
                self.state = State::Programming;
                self.authenticated = self.config.password.is_none();
                self.wrong_passwords = 0;
                let operand = format!("({})", self.config.operand);
                match Command::new('P', '0', operand.as_bytes()) {
                    Ok(command) => self.answer(now, &command.frame(&command.data, End::Last)),
                    Err(_) => self.rest(),
                }
            }
            (b'0' | b'1', mode) => {
                self.state = State::Asked;
                self.deadline = Some(now + self.config.session_timeout);
                self.requests.push_back(Request::Readout(mode));
            }
            _ => self.rest(),
        }
    }

    fn take_message(&mut self, now: Instant, message: Message) {
        match message {
            Message::Corrupt => self.answer(now, &[NAK]),
            Message::Nak => self.repeat(now),
            Message::Ack => {
                if let Some(piece) = self.leaving.pop_front() {
                    self.answer_piece(now, &piece);
                }
            }
            Message::Block { command: Some(command), data, partial } => {
                // A new command ends whatever was under way.
                self.leaving.clear();
                self.arriving = None;
                let [letter, variant] = command.map(char::from);
                match Command::new(letter, variant, &data) {
                    Ok(command) if partial => self.take_piece(now, command),
                    Ok(command) => self.take_command(now, command),
                    Err(_) => self.answer_error(now, "ER01"),
                }
            }
            Message::Block { command: None, data, partial } => self.take_rest(now, &data, partial),
        }
    }

    fn take_piece(&mut self, now: Instant, command: Command) {
        let octets = BytesMut::from(&command.data[..]);
        self.arriving = Some((command, octets));
        self.answer(now, &[ACK]);
    }

    fn take_rest(&mut self, now: Instant, data: &[u8], partial: bool) {
        let Some((command, mut octets)) = self.arriving.take() else {
            return self.answer_error(now, "ER02");
        };
        if octets.len() + data.len() > self.config.max_block {
            return self.answer_error(now, "ER03");
        }
        octets.extend_from_slice(data);
        if partial {
            self.arriving = Some((command, octets));
            return self.answer(now, &[ACK]);
        }
        self.take_command(now, Command { data: octets.to_vec(), ..command });
    }

    fn take_command(&mut self, now: Instant, command: Command) {
        match command.letter {
            b'B' => self.rest(),
            b'P' => self.take_password(now, &command),
            _ if !self.authenticated => self.answer_error(now, "ER04"),
            _ => {
                self.partial = command.is_partial();
                self.state = State::Commanded;
                self.deadline = Some(now + self.config.session_timeout);
                self.requests.push_back(Request::Command(command));
            }
        }
    }

    fn take_password(&mut self, now: Instant, command: &Command) {
        let given = command.data.strip_prefix(b"(").and_then(|data| data.strip_suffix(b")"));
        let right = match &self.config.password {
            None => true,
            Some(secret) => given.is_some_and(|given| secret.matches(given)),
        };
        if right && command.variant == b'1' {
            self.authenticated = true;
            return self.answer(now, &[ACK]);
        }
        self.wrong_passwords = self.wrong_passwords.saturating_add(1);
        if self.wrong_passwords >= MAX_WRONG_PASSWORDS {
            self.put(&message::break_frame());
            return self.rest();
        }
        self.answer_error(now, "ER05");
    }

    fn answer_error(&mut self, now: Instant, text: &str) {
        let data = format!("({text})");
        self.answer(now, &message::data_frame(data.as_bytes(), End::Last));
    }

    fn answer_data(&mut self, now: Instant, data: &Bytes) {
        // A read is answered by the set alone; the line end belongs to the readout.
        let data = data.strip_suffix(b"\r\n").unwrap_or(data);
        if !self.partial {
            return self.answer(now, &message::data_frame(data, End::Last));
        }
        let pieces = data.chunks(self.config.partial_octets.max(1));
        self.leaving = pieces.map(Bytes::copy_from_slice).collect();
        let first = self.leaving.pop_front().unwrap_or_default();
        self.answer_piece(now, &first);
    }

    fn answer_piece(&mut self, now: Instant, piece: &[u8]) {
        let end = if self.leaving.is_empty() { End::Last } else { End::Partial };
        self.answer(now, &message::data_frame(piece, end));
    }

    fn repeat(&mut self, now: Instant) {
        let wait = self.deadline.map_or(Duration::ZERO, |deadline| deadline.duration_since(now));
        let last = Output::Transmit(self.last.clone());
        self.schedule(now, vec![last], wait);
    }

    fn answer(&mut self, now: Instant, characters: &[u8]) {
        let transmit = self.transmit(characters);
        if let Output::Transmit(octets) = &transmit {
            self.last = octets.clone();
        }
        self.schedule(now, vec![transmit], self.config.session_timeout);
    }

    fn schedule(&mut self, now: Instant, outputs: Vec<Output>, wait: Duration) {
        // A second thing to say in one turn follows the first.
        let mut all = self.scheduled.take().map(|(_, outputs)| outputs).unwrap_or_default();
        all.extend(outputs);
        let at = now + self.config.reaction;
        self.scheduled = Some((at, all));
        self.deadline = Some(at + wait);
    }

    fn transmit(&self, characters: &[u8]) -> Output {
        let parity = self.config.parity;
        Output::Transmit(characters.iter().map(|character| parity.add(*character)).collect())
    }

    fn put(&mut self, characters: &[u8]) {
        let transmit = self.transmit(characters);
        self.outputs.push_back(transmit);
    }

    fn change_baud(&mut self, baud: u32) {
        if self.baud != baud {
            self.baud = baud;
            self.outputs.push_back(Output::ChangeBaud(baud));
        }
    }

    fn rest(&mut self) {
        let talked = self.state != State::Rest && self.state != State::Offered;
        self.state = State::Rest;
        self.deadline = None;
        self.scheduled = None;
        self.leaving.clear();
        self.arriving = None;
        self.last = Bytes::new();
        self.authenticated = false;
        self.intake.clear();
        self.change_baud(SIGN_ON_BAUD);
        if talked {
            self.requests.push_back(Request::Closed);
        }
    }
}
