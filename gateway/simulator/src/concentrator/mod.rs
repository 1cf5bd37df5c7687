//! A concentrator, sans-IO (docs/reference/concentrator.md): octets and times in, octets out.
//!
//! It opens no socket and waits for nothing: [`task`] does. After every call that goes in, the
//! driver asks [`Concentrator::transmit`] and [`Concentrator::poll_timeout`].
//!
//! Invariants:
//! 1. At most one line is active, by construction; it carries all pushes.
//! 2. A counter or a sequence is in the kept memory before a frame with it is queued.
//! 3. A push is forgotten only when its acknowledgement came and stands in the journal.
//! 4. Nothing but the identity is sent on a line before the head-end has associated there.

mod channel;
mod line;
mod meters;
mod mischief;
mod server;
pub mod setup;
mod store;
pub mod task;
pub mod trial;
mod upkeep;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::Keys;
use cosem::wrapper::Header;

use self::channel::Channel;
use self::line::Line;
use self::meters::MeterPort;
use self::mischief::Mischief;
use self::trial::Trial;
use crate::clock::FieldClock;
use crate::fault::{Kind, Plan};
use crate::field::ConcentratorModel;
use crate::happenings::{self, Blackout, code};
use crate::journal::Journal;
use crate::session::{Event, Session};
use crate::state::{Keeper, Memory};
use crate::tally::{Count, Tally};
use crate::witness::{Counters, Epochs, Title};

pub use self::store::outage;
pub use self::upkeep::{counter_base, parse_title, title_text};

/// wPort of the concentrator's own logical device.
pub const SERVER_SAP: u16 = 1;
/// wPort that notifications go to.
pub const NOTIFICATION_SAP: u16 = 102;
/// Time in which the head-end must have associated.
const ASSOCIATE: Duration = Duration::from_secs(10);

/// Real time, both ways that it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// Microseconds since the Unix epoch, UTC.
    pub real_us: i64,
}

/// What all concentrators of a process share.
#[derive(Debug)]
pub struct Settings {
    /// Seed of the field.
    pub seed: u64,
    /// Time for an acknowledgement before the channel counts as lost.
    pub answer: Duration,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Most pushes sent and not yet acknowledged.
    pub window: usize,
    /// Time that an exchange with a meter takes on the power line.
    pub plc_delay: Duration,
    /// Capture period in seconds.
    pub interval_s: u32,
    /// Seconds of history at a first start.
    pub history_s: i64,
    /// How much faster history plays.
    pub speed: u32,
    /// Time between faults of a concentrator that plays some.
    pub fault_every: Duration,
    /// How long a fault lasts.
    pub fault_hold: Duration,
    /// Seconds that an outage in the history lasts.
    pub outage_s: i64,
    /// The faults.
    pub faults: Plan,
    /// Whether concentrators report events of their own.
    pub own_events: bool,
    /// All meters lose power so many seconds after the first start, for so many seconds.
    pub blackout_s: Option<(i64, i64)>,
    /// Serials of real meters behind the first concentrator.
    pub behind: Vec<String>,
    /// The counters.
    pub tally: Tally,
    /// The journal, if one is wanted.
    pub journal: Option<Journal>,
}

/// Who a concentrator is besides its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As registered.
    Genuine,
    /// Somebody with the name of a registered one or of none, and keys of his own.
    Impostor,
}

/// An APDU for a real meter behind the concentrator.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Place in [`Settings::behind`].
    pub meter: usize,
    /// Line that the request came from, with its generation.
    pub line: (usize, u32),
    /// Header of the request.
    pub header: Header,
    /// Serial, for the header of the answer.
    pub address: Bytes,
    /// APDU without prefix.
    pub apdu: Bytes,
}

/// A concentrator.
#[derive(Debug)]
pub struct Concentrator {
    settings: Arc<Settings>,
    model: Arc<ConcentratorModel>,
    role: Role,
    keys: Keys,
    keeper: Keeper,
    memory: Memory,
    clock: FieldClock,
    first_s: i64,
    next_counter: u32,
    next_invoke: u32,
    revision: u32,
    online: u16,
    lines: [Line; 2],
    sessions: [Option<Session>; 2],
    associate_by: [Option<Instant>; 2],
    clients: Counters,
    epochs: Epochs,
    channel: Channel,
    meters: MeterPort,
    mischief: Mischief,
    head_ends: [String; 2],
    trial: Trial,
    last_frame: Option<Bytes>,
    kept_at: Option<Instant>,
    fault: Option<io::Error>,
}

impl Concentrator {
    /// A concentrator that goes on from the memory that `keeper` holds.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub fn new(
        settings: Arc<Settings>,
        model: Arc<ConcentratorModel>,
        role: Role,
        keeper: Keeper,
        now: Now,
    ) -> io::Result<Self> {
        let mut memory = keeper.load(settings.seed, counter_base(now.real_us))?;
        let now_s = now.real_us / 1_000_000;
        let first_s = memory.planned_to_s.map_or(now_s - settings.history_s, |s| s.min(now_s));
        if memory.planned_to_s.is_none() {
            let plays = role == Role::Genuine && settings.faults.plays(Kind::Outage, model.seed);
            let span = (first_s, now_s, i64::from(settings.interval_s.max(1)));
            memory.off = plays.then(|| outage(span, settings.outage_s, model.seed));
            memory.first_s = Some(first_s);
        }
        if role == Role::Genuine {
            if let (None, Some((after_s, for_s))) = (memory.blackout, settings.blackout_s) {
                let down_s = now_s + after_s;
                let up_s = down_s + for_s.max(happenings::SPREAD_S);
                memory.blackout = Some(Blackout { down_s, up_s, planned_to_s: now_s });
            }
            if settings.own_events {
                happenings::note(&mut memory, now_s, code::RESTARTED, None);
            }
        }
        memory.setup.powered();
        let clock = FieldClock::new(now.real_us, first_s * 1_000_000, settings.speed);
        let mut clients = Counters::default();
        for (title, highest) in &memory.clients {
            if let Some(title) = parse_title(title) {
                clients.restore(title, *highest);
            }
        }
        let holder = memory.epoch_holder.as_deref().and_then(parse_title);
        let epochs = Epochs { highest: memory.epoch, holder };
        let meters = MeterPort::new(&settings, &model, &memory);
        let mischief = Mischief::new(&settings, model.seed, role, now.instant);
        Ok(Self {
            keys: Keys::new(&model.guek.0, &model.gak.0),
            next_counter: memory.counter_high.max(1),
            next_invoke: 0,
            revision: server::list_revision(&model),
            online: server::meters_online(&model),
            lines: Default::default(),
            sessions: [None, None],
            associate_by: [None, None],
            channel: Channel::default(),
            head_ends: Default::default(),
            trial: Trial::new(now.instant),
            last_frame: None,
            kept_at: None,
            fault: None,
            settings,
            model,
            role,
            keeper,
            memory,
            clock,
            first_s,
            clients,
            epochs,
            meters,
            mischief,
        })
    }

    /// A connection was made; the identity is queued.
    pub fn connected(&mut self, line: usize, now: Now) {
        self.settings.tally.one(Count::Connects);
        let Some(state) = self.lines.get_mut(line) else { return };
        state.connected();
        match Session::concentrator(&self.model) {
            Ok(session) => self.set_session(line, Some(session)),
            Err(error) => self.fault = Some(io::Error::other(error)),
        }
        self.set_associate_by(line, Some(now.instant + ASSOCIATE));
        self.try_line(line, true, false);
        let identity = self.identity(line);
        self.notify(line, identity);
    }

    /// A connection ended, by whomever.
    pub fn closed(&mut self, line: usize, now: Now) {
        self.settings.tally.one(Count::Closes);
        if let Some(state) = self.lines.get_mut(line) {
            state.closed();
        }
        self.set_session(line, None);
        self.set_associate_by(line, None);
        self.meters.line_closed(line);
        self.try_line(line, false, false);
        if self.channel.active() == Some(line) {
            self.happened(code::CHANNEL_LOST, now);
        }
        self.channel.line_closed(line, now.instant);
    }

    /// Octets came. False when the connection must be closed.
    pub fn received(&mut self, line: usize, octets: &[u8], now: Now) -> bool {
        let Some(state) = self.lines.get_mut(line) else { return false };
        if state.is_muted(now.instant) {
            return true;
        }
        state.feed(octets);
        loop {
            let Some(state) = self.lines.get_mut(line) else { return false };
            match state.next_frame() {
                Ok(Some((header, apdu))) => self.frame(line, header, &apdu, now),
                Ok(None) => break,
                Err(error) => {
                    self.settings.tally.one(Count::FramesRefused);
                    tracing::debug!(concentrator = %self.model.ldn, line, %error, "bad stream");
                    return false;
                }
            }
        }
        self.pump(now);
        true
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for line in 0..self.lines.len() {
            self.heartbeat_if_due(line, now);
        }
        self.mischief_if_due(now);
        self.trial_if_due(now);
        self.channel_if_due(now);
        self.meters_if_due(now);
        self.pump(now);
        self.keep_if_due(now);
    }

    /// When [`Self::handle_timeout`] is wanted next.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        let lines = self.lines.iter().filter_map(|line| line.poll_timeout(now.instant));
        let others = [
            self.associate_by.iter().flatten().min().copied(),
            self.channel.poll_timeout(self.answer_time()),
            self.meters.poll_timeout(),
            self.mischief.poll_timeout(),
            self.trial.poll_timeout(),
            self.kept_at,
            self.next_capture(now),
        ];
        lines.chain(others.into_iter().flatten()).min()
    }

    /// Octets to send on a line now.
    #[must_use]
    pub fn transmit(&self, line: usize, now: Now) -> Option<Bytes> {
        self.lines.get(line)?.transmit(now.instant)
    }

    /// Tells how many of these octets the socket took.
    pub fn sent(&mut self, line: usize, octets: usize, now: Now) {
        if let Some(state) = self.lines.get_mut(line) {
            state.sent(octets, now.instant);
        }
    }

    /// Whether the line's socket should be read.
    #[must_use]
    pub fn reads(&self, line: usize, now: Now) -> bool {
        self.lines.get(line).is_some_and(|state| state.reads(now.instant))
    }

    /// Whether the concentrator wants this connection closed now.
    #[must_use]
    pub fn wants_close(&self, line: usize, now: Now) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        let state = self.lines.get(line);
        state.is_some_and(|state| state.up && due(state.close_at))
            || due(self.associate_by.get(line).copied().flatten())
            || self.fault.is_some()
    }

    /// A request for a real meter that the driver has to carry there.
    pub fn poll_forward(&mut self) -> Option<Forward> {
        self.meters.poll_forward()
    }

    /// The answer of a real meter.
    pub fn forwarded(&mut self, request: &Forward, apdu: &[u8]) {
        self.answer_for_meter(request.line, request.header.reversed(), &request.address, apdu);
    }

    /// Why the concentrator cannot go on (its memory cannot be kept), once.
    pub fn take_fault(&mut self) -> Option<io::Error> {
        self.fault.take()
    }

    /// Whether everything captured so far has been acknowledged.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.memory.unacknowledged.is_empty() && self.memory.unfinished.is_none()
    }

    /// The line that carries pushes, if one does.
    #[must_use]
    pub fn active_line(&self) -> Option<usize> {
        self.channel.active()
    }

    /// Whether the head-end is associated on a line.
    #[must_use]
    pub fn is_associated(&self, line: usize) -> bool {
        self.client(line).is_some()
    }

    /// How long TCP may wait for an acknowledgement before the connection counts as lost.
    #[must_use]
    pub fn tcp_limit(&self) -> Duration {
        (self.heartbeat_every() * 2).max(self.answer_time())
    }

    /// Counts something that the driver did.
    pub fn count(&self, what: Count) {
        self.settings.tally.one(what);
    }

    /// Writes the memory a last time.
    pub fn stop(&mut self) {
        self.keep();
    }

    fn field_now_s(&self, now: Now) -> i64 {
        self.clock.at_us(now.real_us).div_euclid(1_000_000)
    }

    fn set_session(&mut self, line: usize, session: Option<Session>) {
        if let Some(place) = self.sessions.get_mut(line) {
            *place = session;
        }
    }

    fn set_associate_by(&mut self, line: usize, at: Option<Instant>) {
        if let Some(place) = self.associate_by.get_mut(line) {
            *place = at;
        }
    }

    /// System title of the client that is associated on a line.
    fn client(&self, line: usize) -> Option<Title> {
        self.sessions.get(line)?.as_ref()?.client()
    }

    fn frame(&mut self, line: usize, header: Header, apdu: &[u8], now: Now) {
        match cosem::gateway_header::split(apdu) {
            Ok((None, _)) => self.own_frame(line, header, apdu, now),
            Ok((Some(prefix), rest)) => self.meter_frame(line, header, &prefix, rest, now),
            Err(_) => self.settings.tally.one(Count::FramesRefused),
        }
    }

    /// A frame for logical device 1.
    fn own_frame(&mut self, line: usize, header: Header, apdu: &[u8], now: Now) {
        let Some(counters) = self.lend_counters() else { return };
        let Some(mut session) = self.sessions.get_mut(line).and_then(Option::take) else { return };
        session.lend(counters);
        session.receive(now.instant, header, apdu, &self.clients);
        while let Some(event) = session.poll() {
            match event {
                Event::Accepted { client, counter } | Event::Replayed { client, counter } => {
                    self.witness_counter(client, counter);
                    self.keep_soon(now);
                }
                Event::Associated => self.associated(line, now),
                Event::Request(ask) => {
                    let reply = self.serve(line, session.client(), &ask, now);
                    session.respond(&ask, reply);
                }
                Event::Refused(error) => {
                    self.settings.tally.one(Count::FramesRefused);
                    tracing::debug!(concentrator = %self.model.ldn, line, %error, "refused");
                }
            }
        }
        while let Some(frame) = session.poll_frame() {
            if let Some(state) = self.lines.get_mut(line) {
                state.queue_octets(Bytes::from(frame));
            }
        }
        self.next_counter = self.next_counter.max(session.unused());
        self.set_session(line, Some(session));
    }

    fn witness_counter(&mut self, client: Title, counter: u32) {
        if self.role == Role::Genuine && !self.clients.mark(client, counter) {
            let (ldn, client) = (&self.model.ldn, title_text(client));
            self.settings.tally.violation(format!(
                "{ldn}: client {client} used invocation counter {counter} twice"
            ));
        }
    }

    fn associated(&mut self, line: usize, now: Now) {
        self.settings.tally.one(Count::Associations);
        self.set_associate_by(line, None);
        let every = self.heartbeat_every();
        if let Some(state) = self.lines.get_mut(line) {
            state.heartbeat_at = Some(now.instant + every);
        }
        self.try_line(line, true, true);
        self.channel.line_associated(now.instant);
    }

    fn heartbeat_if_due(&mut self, line: usize, now: Now) {
        let every = self.heartbeat_every();
        let Some(state) = self.lines.get_mut(line) else { return };
        if state.heartbeat_at.is_none_or(|at| at > now.instant) {
            return;
        }
        state.heartbeat_at = Some(now.instant + every);
        if self.client(line).is_some() {
            self.settings.tally.one(Count::Heartbeats);
            let heartbeat = self.heartbeat(now);
            self.notify(line, heartbeat);
        }
    }
}
