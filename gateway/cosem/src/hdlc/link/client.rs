//! The client's side (primary station): it opens the link, owns the turn and repeats what got no
//! answer. It is not an association and never retries a service.
//!
//! Invariants: while anything is outstanding there is a deadline; the frames of the last turn are
//! repeated at most `retries` times without a sign of life, and at most `polls` times without
//! progress.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::port::Port;
use super::transfer::{Taken, Transfer};
use super::unnumbered::Unnumbered;
use super::{Indication, LLC_REQUEST, LLC_RESPONSE, Reason};
use crate::apdu::tag;
use crate::error::Error;
use crate::gateway_header;
use crate::hdlc::deframer::Quality;
use crate::hdlc::{Address, Deframer, Frame, Kind, Parameters};

/// Indications held for the driver before arriving frames are dropped.
const MAX_INDICATIONS: usize = 64;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Our address: the client SAP.
    pub client: Address,
    /// The meter's address.
    pub server: Address,
    /// What SNRM proposes.
    pub parameters: Parameters,
    /// Wait for the end of the peer's turn. It contains the time on the line: a frame of 128
    /// octets takes 0.15 s at 9600 baud and 4.7 s at 300.
    pub response_timeout: Duration,
    /// Repetitions without any answer before the link counts as lost.
    pub retries: u16,
    /// Polls that are answered and bring nothing, before we stop polling (or, with frames
    /// unacknowledged, before the link counts as lost).
    pub polls: u16,
    /// Longest APDU in either direction, octets.
    pub max_apdu: usize,
    /// APDUs that wait to be sent.
    pub max_queue: usize,
}

impl ClientConfig {
    /// Usual values: 128 octets, one frame, 5 s, 3 repetitions, 24 polls.
    #[must_use]
    pub fn new(client: Address, server: Address) -> Self {
        Self {
            client,
            server,
            parameters: Parameters::default(),
            response_timeout: Duration::from_secs(5),
            retries: 3,
            polls: 24,
            max_apdu: 65_535,
            max_queue: 8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Disconnected,
    Connecting,
    Connected,
    Disconnecting,
}

/// The machine.
pub struct Client {
    config: ClientConfig,
    state: State,
    deframer: Deframer,
    port: Port,
    transfer: Transfer,
    unnumbered: Unnumbered,
    indications: VecDeque<Indication>,
    deadline: Option<Instant>,
    /// Repetitions since the last sign of life.
    silent: u16,
    /// Timeouts since the last progress.
    fruitless: u16,
    /// The peer has the turn.
    polled: bool,
    /// The peer said RNR.
    peer_busy: bool,
    /// APDUs sent that no APDU has answered; general blocks of one window count once.
    unanswered: usize,
    /// This turn of the peer acknowledged frames.
    acknowledged: bool,
    /// This turn of the peer brought frames.
    brought: bool,
}

impl std::fmt::Debug for Client {
    // APDUs may hold a password, so no octets are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config, state, .. } = self;
        f.debug_struct("Client")
            .field("config", config)
            .field("state", state)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A link that is down.
    #[must_use]
    pub fn new(mut config: ClientConfig) -> Self {
        config.parameters = config.parameters.bounded();
        Self {
            state: State::Disconnected,
            deframer: Deframer::new(),
            port: Port::new(config.client, config.server),
            transfer: Transfer::new(LLC_REQUEST, config.max_apdu, config.max_queue),
            unnumbered: Unnumbered::new(config.max_apdu),
            indications: VecDeque::new(),
            deadline: None,
            silent: 0,
            fruitless: 0,
            polled: false,
            peer_busy: false,
            unanswered: 0,
            acknowledged: false,
            brought: false,
            config,
        }
    }

    /// Wishes the link up; ends in `Connected` or `Disconnected`.
    ///
    /// # Errors
    /// `WrongState` unless the link is down.
    pub fn connect(&mut self, now: Instant) -> Result<(), Error> {
        if self.state != State::Disconnected {
            return Err(Error::WrongState("the link is not down"));
        }
        self.state = State::Connecting;
        self.silent = 0;
        self.put_set_mode(now);
        Ok(())
    }

    /// Wishes an APDU sent.
    ///
    /// # Errors
    /// `WrongState` unless the link is up, `TooLong`, `QueueFull`.
    pub fn send(&mut self, now: Instant, apdu: &[u8]) -> Result<(), Error> {
        if self.state != State::Connected {
            return Err(Error::WrongState("the link is not up"));
        }
        self.transfer.queue(apdu)?;
        if !goes_on(apdu) {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        if !self.polled && !self.peer_busy {
            self.fruitless = 0;
            self.put_burst(now);
        }
        Ok(())
    }

    /// Wishes to know what the server has to send, or that it keeps the link alive.
    ///
    /// # Errors
    /// `WrongState` unless the link is up.
    pub fn enquire(&mut self, now: Instant) -> Result<(), Error> {
        if self.state != State::Connected {
            return Err(Error::WrongState("the link is not up"));
        }
        if !self.polled {
            self.put_ready(now);
        }
        Ok(())
    }

    /// Wishes the link down; ends in `Disconnected`. Nothing happens when it is.
    pub fn disconnect(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting | State::Connected) {
            self.state = State::Disconnecting;
            self.silent = 0;
            self.put_disconnect(now);
        }
    }

    /// Octets from the line.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        self.deframer.feed(octets);
        while let Some(frame) = self.deframer.next_frame() {
            self.take_frame(now, &frame);
        }
    }

    /// The time that `poll_timeout` asked for has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        // A false head may have swallowed the answer.
        self.deframer.abandon();
        while let Some(frame) = self.deframer.next_frame() {
            self.take_frame(now, &frame);
        }
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.polled || self.state != State::Connected {
            self.silent = self.silent.saturating_add(1);
        }
        if self.silent > self.config.retries {
            return self.fail(Reason::NoAnswer);
        }
        match self.state {
            State::Disconnected => self.deadline = None,
            State::Connecting => self.put_set_mode(now),
            State::Disconnecting => self.put_disconnect(now),
            State::Connected => self.repeat(now),
        }
    }

    /// The next frame for the line, flags included.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.port.fetch()
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

    /// Whether APDUs can be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// What the line was like.
    #[must_use]
    pub fn quality(&self) -> Quality {
        self.deframer.quality()
    }

    fn take_frame(&mut self, now: Instant, frame: &Frame) {
        // Our own octets come back on two-wire lines and optical heads. Client 1 and server 1 in
        // one octet each look the same from both ends: there the driver takes the echo away.
        let (client, server) = (self.config.client, self.config.server);
        let echo = client != server && frame.source == client && frame.destination == server;
        if echo || self.indications.len() >= MAX_INDICATIONS || self.port.is_full() {
            return;
        }
        let ours = frame.destination == self.config.client
            && frame.source.same_station(self.config.server);
        match (self.state, frame.control.kind) {
            (_, Kind::Unnumbered) => self.take_push(frame),
            (State::Disconnected, Kind::Information { .. }) if may_be_push(frame) => {
                self.take_push(frame);
            }
            _ if !ours => {}
            (State::Connecting, Kind::Acknowledgement) => self.open(now, &frame.information),
            (State::Connecting, Kind::DisconnectedMode) => self.fail(Reason::Refused),
            (State::Disconnecting, Kind::Acknowledgement | Kind::DisconnectedMode) => {
                self.fail(Reason::Released);
            }
            (State::Connected, _) => self.take_connected(now, frame),
            _ => {}
        }
    }

    fn take_push(&mut self, frame: &Frame) {
        if let Some(apdu) = self.unnumbered.take(frame) {
            self.indications.push_back(Indication::Push { source: frame.source, apdu });
        }
    }

    fn open(&mut self, now: Instant, information: &[u8]) {
        let Ok(granted) = Parameters::decode(information) else {
            self.put_disconnect(now);
            return self.fail(Reason::Parameters);
        };
        let agreed = self.config.parameters.agreed(granted);
        self.transfer.reset(agreed);
        self.state = State::Connected;
        self.deadline = None;
        (self.silent, self.fruitless, self.unanswered) = (0, 0, 0);
        (self.polled, self.peer_busy) = (false, false);
        (self.acknowledged, self.brought) = (false, false);
        self.indications.push_back(Indication::Connected(agreed));
    }

    fn take_connected(&mut self, now: Instant, frame: &Frame) {
        match frame.control.kind {
            Kind::Information { send, receive } => {
                self.peer_busy = false;
                self.acknowledged |= self.transfer.acknowledge(receive);
                match self.transfer.take(send, frame.segmented, &frame.information) {
                    Taken::Apdu(apdu) => {
                        self.brought = true;
                        if !goes_on(&apdu) {
                            self.unanswered = self.unanswered.saturating_sub(1);
                        }
                        self.indications.push_back(Indication::Apdu(apdu));
                    }
                    Taken::Piece => self.brought = true,
                    Taken::OutOfOrder => {}
                    Taken::TooLong => {
                        self.put_disconnect(now);
                        return self.fail(Reason::TooLong);
                    }
                }
            }
            Kind::ReceiveReady { receive } => {
                self.peer_busy = false;
                self.acknowledged |= self.transfer.acknowledge(receive);
            }
            Kind::ReceiveNotReady { receive } => {
                self.peer_busy = true;
                self.acknowledged |= self.transfer.acknowledge(receive);
            }
            Kind::DisconnectedMode => return self.fail(Reason::GivenUp),
            Kind::FrameReject => return self.fail(Reason::Rejected),
            _ => return,
        }
        self.silent = 0;
        if frame.control.poll_final {
            self.take_turn(now);
        } else if self.polled {
            self.wait(now);
        }
    }

    /// The turn is ours.
    fn take_turn(&mut self, now: Instant) {
        self.polled = false;
        let brought = std::mem::take(&mut self.brought);
        let progress = std::mem::take(&mut self.acknowledged) || brought;
        if progress {
            self.fruitless = 0;
        }
        // Unacknowledged frames are repeated at once only after progress. A late second copy of
        // an answer brings none, so it cannot set off a chain of repetitions.
        let fresh = progress || !self.transfer.unacknowledged();
        if self.transfer.has_frames() && !self.peer_busy && fresh {
            self.put_burst(now);
        } else if brought && (self.transfer.is_assembling() || self.unanswered > 0) {
            self.put_ready(now);
        } else if self.is_outstanding() {
            self.wait(now);
        } else {
            self.deadline = None;
        }
    }

    fn is_outstanding(&self) -> bool {
        self.unanswered > 0 || self.transfer.has_frames() || self.transfer.is_assembling()
    }

    /// A deadline passed while connected.
    fn repeat(&mut self, now: Instant) {
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless > self.config.polls {
            if self.transfer.has_frames() || self.transfer.is_assembling() {
                return self.fail(Reason::NoProgress);
            }
            // An APDU that needs no answer was sent, or the association gave up on it long ago.
            self.unanswered = 0;
            self.polled = false;
            self.deadline = None;
            return;
        }
        if self.transfer.has_frames() && !self.peer_busy {
            self.put_burst(now);
        } else {
            self.put_ready(now);
        }
    }

    fn put_set_mode(&mut self, now: Instant) {
        self.port.put(Kind::SetNormalResponseMode, self.config.parameters.encode());
        self.wait(now);
    }

    fn put_disconnect(&mut self, now: Instant) {
        self.port.put(Kind::Disconnect, Vec::new());
        self.wait(now);
    }

    fn put_ready(&mut self, now: Instant) {
        let receive = self.transfer.receive_next();
        self.port.put(Kind::ReceiveReady { receive }, Vec::new());
        self.polled = true;
        self.wait(now);
    }

    fn put_burst(&mut self, now: Instant) {
        for (control, segmented, information) in self.transfer.burst() {
            self.port.put_frame(control, segmented, information);
        }
        self.polled = true;
        self.wait(now);
    }

    fn wait(&mut self, now: Instant) {
        self.deadline = Some(now + self.config.response_timeout);
    }

    fn fail(&mut self, reason: Reason) {
        self.state = State::Disconnected;
        self.deadline = None;
        self.polled = false;
        self.transfer.reset(Parameters::default());
        self.indications.push_back(Indication::Disconnected(reason));
    }
}

/// Whether more follows without an answer in between: a general block that is marked as streaming
/// and not as the last. The only look into APDUs, because a meter says the rest of its window
/// only when it is polled.
fn goes_on(apdu: &[u8]) -> bool {
    let apdu = gateway_header::split(apdu).map_or(apdu, |(_, apdu)| apdu);
    matches!(apdu, [tag::GENERAL_BLOCK_TRANSFER, control, ..] if control & 0xc0 == 0x40)
}

/// Meters are known that push in numbered frames without a connection.
fn may_be_push(frame: &Frame) -> bool {
    frame.segmented || frame.information.starts_with(&LLC_RESPONSE)
}
