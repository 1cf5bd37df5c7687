//! The conversation with a modem that may hang, as a machine without IO.
//!
//! After `opened`, `handle_bytes`, `handle_timeout` or `send`, ask `poll_transmit`, `poll` and
//! `poll_timeout`. Not the port and not the queue. Invariants: one command is under way at a time
//! and each has a deadline; one message is under way at a time and its end is told exactly once;
//! a PIN that was refused is not tried again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::command::{BEGINNING, Command, Failure, Line, signal_dbm, sort};
use super::pdu::{self, Incoming, Report, Submit};
pub use super::told::{Event, Trouble};

/// Pause between two looks at network and signal.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// What a modem takes to start anew.
const RESTART_TIME: Duration = Duration::from_secs(15);
/// Pause before a failed beginning is tried again.
const BEGIN_AGAIN: Duration = Duration::from_secs(5);
/// The longest line; a PDU has at most 2 * 176 digits.
const MAX_LINE: usize = 1024;
/// The most lines of one answer.
const MAX_LINES: usize = 512;
/// The most events and commands that wait.
const MAX_WAITING: usize = 512;

struct Running {
    command: Command,
    deadline: Instant,
    lines: Vec<String>,
}

struct Sending {
    id: u64,
    parts: VecDeque<Submit>,
    references: Vec<u8>,
    /// Reports of its first parts that came before its last part went.
    early: Vec<Report>,
}

/// The machine.
pub struct Modem {
    pin: Option<Zeroizing<String>>,
    pin_refused: bool,
    open: bool,
    running: Option<Running>,
    plan: VecDeque<Command>,
    sending: Option<Sending>,
    line: Vec<u8>,
    pdu_follows: bool,
    /// Commands in a row that had no answer.
    silent: u32,
    begun: bool,
    next_look: Option<Instant>,
    restart: Option<Instant>,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    trouble: Option<Trouble>,
    signal_dbm: Option<i32>,
    resets: u64,
}

impl Modem {
    /// A modem whose port is not open yet.
    pub fn new(pin: Option<Zeroizing<String>>) -> Modem {
        Modem {
            pin,
            pin_refused: false,
            open: false,
            running: None,
            plan: VecDeque::new(),
            sending: None,
            line: Vec::new(),
            pdu_follows: false,
            silent: 0,
            begun: false,
            next_look: None,
            restart: None,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            trouble: Some(Trouble::Starting),
            signal_dbm: None,
            resets: 0,
        }
    }

    /// What keeps it from sending.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Signal strength as last heard.
    pub fn signal_dbm(&self) -> Option<i32> {
        self.signal_dbm
    }

    /// How often it was told to start anew.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Whether a message is under way.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// The port is open: begin.
    pub fn opened(&mut self, now: Instant) {
        self.open = true;
        self.line.clear();
        self.pdu_follows = false;
        self.transmit.clear();
        self.restart = None;
        self.begin(now);
    }

    /// The port went away: what was under way failed.
    pub fn closed(&mut self, now: Instant) {
        self.open = false;
        let running = self.running.take();
        self.plan.clear();
        self.next_look = None;
        self.restart = None;
        if let Some(running) = running {
            self.lose(Failure::Lost, &running.command);
        } else {
            self.lose(Failure::Lost, &Command::Attention);
        }
        self.set_trouble(Some(Trouble::Silent));
        self.go_on(now);
    }

    /// Sends a message in its parts. False, and nothing is done, when one is under way or the
    /// modem cannot send.
    pub fn send(&mut self, now: Instant, id: u64, parts: Vec<Submit>) -> bool {
        if self.sending.is_some() || self.trouble.is_some() || parts.is_empty() {
            return false;
        }
        self.sending =
            Some(Sending { id, parts: parts.into(), references: Vec::new(), early: Vec::new() });
        self.go_on(now);
        true
    }

    /// Octets came.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        for &octet in bytes {
            match octet {
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let line = String::from_utf8_lossy(&line).trim().to_owned();
                    if !line.is_empty() {
                        self.on_line(now, &line);
                    }
                }
                _ if self.line.len() < MAX_LINE => self.line.push(octet),
                _ => {}
            }
        }
        // The prompt has no end of line (27.005 section 4.3).
        let announced =
            self.running.as_ref().is_some_and(|run| matches!(run.command, Command::Announce(_)));
        if announced && self.line.trim_ascii() == b">" {
            self.line.clear();
            self.finish(now, Ok(()));
        }
    }

    /// A deadline came.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.restart.is_some_and(|at| at <= now) {
            self.restart = None;
            self.tell(Event::Reopen);
        }
        if self.running.as_ref().is_some_and(|run| run.deadline <= now) {
            self.finish(now, Err(Failure::Silent));
        } else if self.next_look.is_some_and(|at| at <= now) {
            self.next_look = None;
            if self.begun {
                self.plan.extend([Command::Registration, Command::Signal]);
                self.go_on(now);
            } else {
                self.begin(now);
            }
        }
    }

    /// What goes to the modem next.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// What happened.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let running = self.running.as_ref().map(|run| run.deadline);
        [running, self.next_look, self.restart].into_iter().flatten().min()
    }

    fn begin(&mut self, now: Instant) {
        self.begun = false;
        self.next_look = None;
        self.running = None;
        self.plan = BEGINNING.into();
        self.go_on(now);
    }

    fn tell(&mut self, event: Event) {
        // Events are few; a modem that floods loses what it says by itself, never an answer of
        // ours.
        let ours = matches!(event, Event::Sent(..) | Event::NotSent(..) | Event::Reopen);
        if ours || self.events.len() < MAX_WAITING {
            self.events.push_back(event);
        }
    }

    fn set_trouble(&mut self, trouble: Option<Trouble>) {
        if self.trouble != trouble {
            self.trouble = trouble;
            self.tell(Event::Changed);
        }
    }

    /// Begins the next command, if none is under way.
    fn go_on(&mut self, now: Instant) {
        if self.running.is_some() || !self.open || self.restart.is_some() {
            return;
        }
        let command = match self.plan.pop_front() {
            Some(command) => command,
            None if !self.begun && self.next_look.is_none() => {
                self.begun = true;
                if self.trouble != Some(Trouble::NoNetwork) {
                    self.set_trouble(None);
                }
                return self.go_on(now);
            }
            None => match self.sending.as_ref().and_then(|sending| sending.parts.front()) {
                Some(part) if self.begun => Command::Announce(part.length),
                _ => {
                    let lost = self.trouble == Some(Trouble::NoNetwork);
                    let pause = if lost { BEGIN_AGAIN } else { HEALTH_INTERVAL };
                    self.next_look.get_or_insert(now + pause);
                    return;
                }
            },
        };
        self.run(now, command);
    }

    fn run(&mut self, now: Instant, command: Command) {
        self.transmit.push_back(command.text().into_bytes());
        let deadline = now + command.patience();
        self.running = Some(Running { command, deadline, lines: Vec::new() });
    }

    fn on_line(&mut self, now: Instant, line: &str) {
        if std::mem::take(&mut self.pdu_follows) {
            return self.on_pdu(line);
        }
        let echo = self.running.as_ref().is_some_and(|run| run.command.text().trim_end() == line);
        match sort(line) {
            _ if echo => {}
            // The end of an earlier command, of an earlier process perhaps, came late.
            Line::Ok if self.is_unanswered() => {}
            Line::Ok => self.finish(now, Ok(())),
            Line::Failed(failure) => self.finish(now, Err(failure)),
            Line::Stored(index) => {
                if self.plan.len() < MAX_WAITING {
                    self.plan.push_back(Command::Read(index));
                }
                self.go_on(now);
            }
            Line::PduFollows => self.pdu_follows = true,
            Line::Chatter => {}
            Line::Answer(text) => {
                let prompt = text.trim() == ">";
                let announced = self
                    .running
                    .as_ref()
                    .is_some_and(|run| matches!(run.command, Command::Announce(_)));
                if prompt && announced {
                    self.finish(now, Ok(()));
                } else if let Some(running) = &mut self.running
                    && running.lines.len() < MAX_LINES
                {
                    running.lines.push(text.to_owned());
                }
            }
        }
    }

    /// Whether the command under way has an answer of its own that has not come. The first of them
    /// is early in every beginning: answers and commands are in step from there on.
    fn is_unanswered(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let wanted = match running.command {
            Command::PinState => "+CPIN:",
            Command::Registration => "+CREG:",
            Command::Pdu(_) => "+CMGS:",
            _ => return false,
        };
        !running.lines.iter().any(|line| line.starts_with(wanted))
    }

    fn on_pdu(&mut self, line: &str) {
        match pdu::read(line) {
            Ok(Incoming::Deliver(message)) => self.tell(Event::Received(message)),
            Ok(Incoming::Report(report)) => match &mut self.sending {
                Some(sending) if sending.references.contains(&report.reference) => {
                    sending.early.push(report);
                }
                _ => self.tell(Event::Reported(report)),
            },
            Err(error) => tracing::debug!(%error, "the modem gave a PDU that makes no sense"),
        }
    }

    fn finish(&mut self, now: Instant, end: Result<(), Failure>) {
        let Some(Running { command, lines, .. }) = self.running.take() else { return };
        match end {
            Err(failure @ (Failure::Silent | Failure::Lost)) => {
                return self.on_silence(now, &command, failure);
            }
            _ => self.silent = 0,
        }
        match end {
            Ok(()) => self.on_done(now, command, &lines),
            Err(failure) => self.on_failed(now, &command, failure),
        }
        self.go_on(now);
    }

    fn on_done(&mut self, now: Instant, command: Command, lines: &[String]) {
        match command {
            Command::PinState => self.on_pin_state(now, lines),
            Command::Registration => self.on_registration(lines),
            Command::Signal => self.on_signal(lines),
            Command::List => self.on_list(lines),
            Command::Read(index) => {
                if let Some(line) = lines.iter().find(|line| !line.starts_with('+')) {
                    self.on_pdu(line);
                }
                self.plan.push_front(Command::Delete(index));
            }
            Command::Announce(_) => {
                let part = self.sending.as_ref().and_then(|sending| sending.parts.front());
                let hex = part.map(|part| part.hex.clone()).unwrap_or_default();
                self.run(now, Command::Pdu(hex));
            }
            Command::Pdu(_) => self.on_part_sent(lines),
            Command::Reset => self.wait_for_restart(now),
            _ => {}
        }
    }

    fn on_pin_state(&mut self, now: Instant, lines: &[String]) {
        let state = lines.iter().find_map(|line| line.strip_prefix("+CPIN:")).unwrap_or_default();
        match state.trim() {
            "READY" => {}
            "SIM PIN" => match self.pin.clone().filter(|_| !self.pin_refused) {
                Some(pin) => {
                    self.plan.push_front(Command::PinState);
                    self.plan.push_front(Command::EnterPin(pin));
                }
                None => self.give_up(now, Trouble::Pin),
            },
            "SIM PUK" => self.give_up(now, Trouble::Puk),
            _ => {}
        }
    }

    /// Ends the beginning; it is tried again after a while.
    fn give_up(&mut self, now: Instant, trouble: Trouble) {
        self.plan.clear();
        self.next_look = Some(now + BEGIN_AGAIN);
        self.set_trouble(Some(trouble));
    }

    fn on_registration(&mut self, lines: &[String]) {
        let answer = lines.iter().find_map(|line| line.strip_prefix("+CREG:")).unwrap_or_default();
        let state = answer.split(',').nth(1).map(str::trim).unwrap_or_default();
        // 1 is home, 5 is roaming (27.007 section 7.2).
        match (state, self.trouble) {
            ("1" | "5", Some(Trouble::NoNetwork | Trouble::Silent)) => self.set_trouble(None),
            ("1" | "5", _) => {}
            (_, None | Some(Trouble::Starting | Trouble::Silent)) => {
                self.set_trouble(Some(Trouble::NoNetwork));
            }
            _ => {}
        }
    }

    fn on_signal(&mut self, lines: &[String]) {
        let dbm = signal_dbm(lines);
        if dbm != self.signal_dbm {
            self.signal_dbm = dbm;
            self.tell(Event::Changed);
        }
    }

    /// `+CMGL: index,state,…` and the PDU below it.
    fn on_list(&mut self, lines: &[String]) {
        for pair in lines.windows(2) {
            let Some(head) = pair[0].strip_prefix("+CMGL:") else { continue };
            let index = head.split(',').next().and_then(|index| index.trim().parse().ok());
            if let Some(index) = index {
                self.on_pdu(&pair[1]);
                self.plan.push_back(Command::Delete(index));
            }
        }
    }

    fn on_part_sent(&mut self, lines: &[String]) {
        let Some(sending) = &mut self.sending else { return };
        let answer = lines.iter().find_map(|line| line.strip_prefix("+CMGS:"));
        let reference = answer.and_then(|text| text.split(',').next()?.trim().parse().ok());
        sending.references.extend::<Option<u8>>(reference);
        sending.parts.pop_front();
        if sending.parts.is_empty()
            && let Some(Sending { id, references, early, .. }) = self.sending.take()
        {
            self.tell(Event::Sent(id, references));
            early.into_iter().for_each(|report| self.tell(Event::Reported(report)));
        }
    }

    fn on_failed(&mut self, now: Instant, command: &Command, failure: Failure) {
        match (command, failure) {
            (Command::Announce(_) | Command::Pdu(_), _) => {
                // The modem may still wait for octets: escape out of the prompt.
                self.transmit.push_back(vec![0x1b]);
                if failure == Failure::Message(322) {
                    self.plan.push_back(Command::List);
                }
                self.lose(failure, command);
            }
            (Command::EnterPin(_), _) => {
                self.pin_refused = true;
                self.give_up(now, Trouble::Pin);
            }
            (Command::PinState, Failure::Equipment(code)) => {
                self.give_up(now, Trouble::Sim(code));
            }
            (Command::PduMode | Command::Indicate, _) => {
                self.give_up(now, Trouble::Unfit);
            }
            (Command::Reset, _) => self.wait_for_restart(now),
            _ => {}
        }
    }

    /// The message under way, if any, has failed.
    fn lose(&mut self, failure: Failure, command: &Command) {
        if let Some(Sending { id, .. }) = self.sending.take() {
            self.tell(Event::NotSent(id, failure.meaning(command), failure));
        }
    }

    fn wait_for_restart(&mut self, now: Instant) {
        self.resets += 1;
        self.plan.clear();
        self.restart = Some(now + RESTART_TIME);
    }

    /// First asked again, then the port is opened anew, then the modem is told to start anew.
    fn on_silence(&mut self, now: Instant, command: &Command, failure: Failure) {
        self.silent = self.silent.saturating_add(1);
        self.lose(failure, command);
        if *command == Command::Reset {
            return self.wait_for_restart(now);
        }
        if self.silent >= 2 {
            self.set_trouble(Some(Trouble::Silent));
        }
        match self.silent {
            1 => {
                self.transmit.push_back(vec![0x1b]);
                self.begin(now);
            }
            silent if silent % 2 == 0 => {
                self.plan.clear();
                self.restart = Some(now + BEGIN_AGAIN);
            }
            _ => self.run(now, Command::Reset),
        }
    }
}

#[cfg(test)]
mod tests;
