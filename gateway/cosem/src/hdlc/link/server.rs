//! The server's side (secondary station), for the simulator and for tests: it answers SNRM and
//! DISC, takes APDUs and sends its own when the client passes the turn. It never repeats by
//! itself. One client at a time; another is answered DM.
//!
//! Invariants: a frame to another station changes nothing; without a link only SNRM opens one; a
//! silent client is dropped after the inactivity time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::port::Port;
use super::transfer::{Taken, Transfer};
use super::unnumbered::Unnumbered;
use super::{Indication, LLC_RESPONSE, Reason};
use crate::error::Error;
use crate::hdlc::deframer::Quality;
use crate::hdlc::parameters::MAX_INFORMATION_OCTETS;
use crate::hdlc::{Address, Control, Deframer, Frame, Kind, Parameters};

/// Indications held for the driver before arriving frames are dropped.
const MAX_INDICATIONS: usize = 64;

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Our address. It is known by its logical part alone when a client leaves the rest out.
    pub server: Address,
    /// What we can do; UA grants the smaller of this and the client's wish.
    pub parameters: Parameters,
    /// Silence after which the client counts as gone (IEC 62056-46: 120 s).
    pub inactivity: Duration,
    /// Longest APDU in either direction, octets.
    pub max_apdu: usize,
    /// APDUs that wait to be sent.
    pub max_queue: usize,
}

impl ServerConfig {
    /// Usual values: 128 octets, one frame, 120 s.
    #[must_use]
    pub fn new(server: Address) -> Self {
        Self {
            server,
            parameters: Parameters::default(),
            inactivity: Duration::from_secs(120),
            max_apdu: 65_535,
            max_queue: 8,
        }
    }
}

/// The machine.
pub struct Server {
    config: ServerConfig,
    connected: bool,
    deframer: Deframer,
    port: Port,
    transfer: Transfer,
    unnumbered: Unnumbered,
    indications: VecDeque<Indication>,
    deadline: Option<Instant>,
    /// The client passed the turn and waits for the answer that the driver is making.
    turn: bool,
}

impl std::fmt::Debug for Server {
    // APDUs may hold a password, so no octets are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config, connected, .. } = self;
        f.debug_struct("Server")
            .field("config", config)
            .field("connected", connected)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server without a link.
    #[must_use]
    pub fn new(mut config: ServerConfig) -> Self {
        config.parameters = config.parameters.bounded();
        Self {
            connected: false,
            deframer: Deframer::new(),
            port: Port::new(config.server, config.server),
            transfer: Transfer::new(LLC_RESPONSE, config.max_apdu, config.max_queue),
            unnumbered: Unnumbered::new(config.max_apdu),
            indications: VecDeque::new(),
            deadline: None,
            turn: false,
            config,
        }
    }

    /// Wishes an APDU sent: at once when the client waits for it, else at its next poll.
    ///
    /// # Errors
    /// `WrongState` without a link, `TooLong`, `QueueFull`.
    pub fn send(&mut self, apdu: &[u8]) -> Result<(), Error> {
        if !self.connected {
            return Err(Error::WrongState("the link is not up"));
        }
        self.transfer.queue(apdu)?;
        if self.turn {
            self.put_burst();
        }
        Ok(())
    }

    /// There is no answer to the last APDU: gives the turn back, so that the client need not
    /// wait. While more APDUs of the client's turn wait in `poll` it stays ours: they may be
    /// answered.
    pub fn pass(&mut self) {
        let more = self.indications.iter().any(|next| matches!(next, Indication::Apdu(_)));
        if self.turn && !more {
            self.put_ready();
        }
    }

    /// Pushes an APDU in one UI frame; no link is needed and nothing is repeated.
    ///
    /// # Errors
    /// `TooLong` when it does not fit one frame (general block transfer cuts it), `QueueFull`.
    pub fn push(&mut self, client: Address, apdu: &[u8]) -> Result<(), Error> {
        let limit = usize::from(MAX_INFORMATION_OCTETS) - LLC_RESPONSE.len();
        if apdu.len() > limit {
            return Err(Error::TooLong { length: apdu.len(), limit });
        }
        if self.port.is_full() {
            return Err(Error::QueueFull);
        }
        let information = Bytes::from([&LLC_RESPONSE, apdu].concat());
        let ends = (self.port.ours, self.port.theirs);
        (self.port.ours, self.port.theirs) = (self.config.server, client);
        let control = Control { kind: Kind::Unnumbered, poll_final: false };
        self.port.put_frame(control, false, information);
        (self.port.ours, self.port.theirs) = ends;
        Ok(())
    }

    /// Octets from the line.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        self.deframer.feed(octets);
        while let Some(frame) = self.deframer.next_frame() {
            self.take_frame(now, &frame);
        }
    }

    /// The line was silent for longer than a frame may pause: a frame that began and did not end
    /// is given up. Drivers call it when they see such a gap; without it the next frames push
    /// the false one out.
    pub fn handle_gap(&mut self, now: Instant) {
        self.deframer.abandon();
        while let Some(frame) = self.deframer.next_frame() {
            self.take_frame(now, &frame);
        }
    }

    /// The time that `poll_timeout` asked for has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.close(Reason::Inactive);
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

    /// Whether a client has the link.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The client that has, or last had, the link.
    #[must_use]
    pub fn client(&self) -> Address {
        self.port.theirs
    }

    /// What the line was like.
    #[must_use]
    pub fn quality(&self) -> Quality {
        self.deframer.quality()
    }

    fn take_frame(&mut self, now: Instant, frame: &Frame) {
        if self.indications.len() >= MAX_INDICATIONS || self.port.is_full() {
            return;
        }
        let kind = frame.control.kind;
        if kind == Kind::Unnumbered {
            if self.is_ours(frame) || frame.destination.is_all_stations() {
                self.take_push(frame);
            }
            return;
        }
        if !self.is_ours(frame) {
            return;
        }
        let known = self.connected && frame.source == self.port.theirs;
        match kind {
            _ if self.connected && !known => self.refuse(frame),
            Kind::SetNormalResponseMode => self.open(now, frame),
            Kind::Disconnect if known => {
                self.port.put(Kind::Acknowledgement, Vec::new());
                self.close(Reason::Released);
            }
            Kind::Information { .. } | Kind::ReceiveReady { .. } | Kind::ReceiveNotReady { .. }
                if known =>
            {
                self.deadline = Some(now + self.config.inactivity);
                self.take_connected(frame);
            }
            _ if !known && frame.control.poll_final => self.refuse(frame),
            _ => {}
        }
    }

    fn is_ours(&self, frame: &Frame) -> bool {
        frame.destination.same_station(self.config.server)
    }

    fn take_push(&mut self, frame: &Frame) {
        if let Some(apdu) = self.unnumbered.take(frame) {
            self.indications.push_back(Indication::Push { source: frame.source, apdu });
        }
    }

    fn open(&mut self, now: Instant, frame: &Frame) {
        let Ok(wish) = Parameters::decode(&frame.information) else {
            return self.refuse(frame);
        };
        let agreed = self.config.parameters.agreed(wish);
        // We answer in the form of address that the client used.
        (self.port.ours, self.port.theirs) = (frame.destination, frame.source);
        self.port.clear();
        self.transfer.reset(agreed);
        self.turn = false;
        self.connected = true;
        self.deadline = Some(now + self.config.inactivity);
        self.port.put(Kind::Acknowledgement, agreed.encode());
        self.indications.push_back(Indication::Connected(agreed));
    }

    /// DM to whom the link does not belong.
    fn refuse(&mut self, frame: &Frame) {
        let ends = (self.port.ours, self.port.theirs);
        (self.port.ours, self.port.theirs) = (frame.destination, frame.source);
        self.port.put(Kind::DisconnectedMode, Vec::new());
        (self.port.ours, self.port.theirs) = ends;
    }

    fn take_connected(&mut self, frame: &Frame) {
        let mut complete = false;
        match frame.control.kind {
            Kind::Information { send, receive } => {
                self.transfer.acknowledge(receive);
                match self.transfer.take(send, frame.segmented, &frame.information) {
                    Taken::Apdu(apdu) => {
                        complete = true;
                        self.indications.push_back(Indication::Apdu(apdu));
                    }
                    Taken::Piece | Taken::OutOfOrder => {}
                    Taken::TooLong => {
                        self.port.put(Kind::DisconnectedMode, Vec::new());
                        return self.close(Reason::TooLong);
                    }
                }
            }
            Kind::ReceiveReady { receive } | Kind::ReceiveNotReady { receive } => {
                self.transfer.acknowledge(receive);
            }
            _ => {}
        }
        if !frame.control.poll_final {
            return;
        }
        let busy = matches!(frame.control.kind, Kind::ReceiveNotReady { .. });
        if self.transfer.has_frames() && !busy {
            self.put_burst();
        } else if complete {
            // The answer is being made; the client waits for it.
            self.turn = true;
        } else {
            self.put_ready();
        }
    }

    fn put_burst(&mut self) {
        self.turn = false;
        for (control, segmented, information) in self.transfer.burst() {
            self.port.put_frame(control, segmented, information);
        }
    }

    fn put_ready(&mut self) {
        self.turn = false;
        let receive = self.transfer.receive_next();
        self.port.put(Kind::ReceiveReady { receive }, Vec::new());
    }

    fn close(&mut self, reason: Reason) {
        self.connected = false;
        self.turn = false;
        self.deadline = None;
        self.transfer.reset(Parameters::default());
        self.indications.push_back(Indication::Disconnected(reason));
    }
}
