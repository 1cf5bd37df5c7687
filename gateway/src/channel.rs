//! One task per live byte stream of a concentrator: picks an event, lets the machine decide, writes
//! what it wants written. Every decision is the machine's (`concentrator::Session`).
//!
//! Invariants: 1. the socket is read only while the machine wants input, but for one buffer ahead
//! during a login, so that an end is seen; 2. a write that blocks too
//! long closes; 3. whatever way the task ends, the roster and the gauges are put right and what is
//! held in the cluster is given back.

mod carry;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use domain::Device;
use domain::leases::Reason;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Notice;
use crate::ask::ask;
use crate::concentrator::{Answer, Event as Happened, Request, Session, Settled};
use crate::doorway::Stage;
use crate::error::Cause;
use crate::order::Order;
use crate::roster::{ChannelRole, ChannelStatus, Login};
use crate::shared::{Shared, random};
use crate::upcall::{Claimed, Release, Standby, Upcall};
use carry::{carry, entered};

/// The longest that a drill keeps a line dead.
const LONGEST_HUSH: Duration = Duration::from_secs(120);

/// Octets read from the socket at a time.
const READ_OCTETS: usize = 16 * 1024;

/// What is told to a channel from this node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read something.
    Order(Order),
    /// The lease moved, or the like.
    Notice(Notice),
    /// A newer connection proved the same identity.
    Superseded,
}

/// What the stream runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// TCP.
    Plain,
    /// TLS.
    Tls,
}

enum Event {
    Read(std::io::Result<usize>),
    Answer(Answer),
    Command(Command),
    Timeout,
    Acting(bool),
    Stop,
}

struct Channel<S> {
    shared: Arc<Shared>,
    number: u64,
    stream: S,
    buffer: BytesMut,
    session: Session,
    asks: FuturesUnordered<BoxFuture<'static, Answer>>,
    way: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
    acting: watch::Receiver<bool>,
    status: ChannelStatus,
    is_proven: bool,
    /// Until when a drill keeps the line dead.
    deaf_until: Option<Instant>,
    closed: Option<Cause>,
}

/// Serves a byte stream until it ends.
pub(crate) async fn run<S>(shared: Arc<Shared>, stream: S, remote: SocketAddr, wire: Wire)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let now = Instant::now().into_std();
    let strangers = Arc::clone(&shared.strangers);
    let mut session = Session::new(&shared.config, remote, strangers, random::<32>, now);
    let mut acting = shared.acting.subscribe();
    if !*acting.borrow_and_update() {
        session.suspend(now);
    }
    let (way, commands) = mpsc::channel(shared.config.orders_per_channel + 16);
    shared.metrics.channels.with_label_values(&[ChannelRole::Login.label()]).inc();
    let mut channel = Channel {
        number: shared.next_channel(),
        stop: shared.stop.subscribe(),
        acting,
        stream,
        buffer: BytesMut::with_capacity(READ_OCTETS),
        session,
        asks: FuturesUnordered::new(),
        way,
        commands,
        status: status(remote, wire),
        is_proven: false,
        deaf_until: None,
        closed: None,
        shared,
    };
    while channel.closed.is_none() {
        let event = channel.select().await;
        channel.apply(event);
        channel.act().await;
    }
    channel.end().await;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Channel<S> {
    async fn select(&mut self) -> Event {
        self.deaf_until = self.deaf_until.filter(|until| Instant::now() < *until);
        // One look ahead fills the buffer, and what is in it waits for the session.
        let looks_ahead = self.session.looks_ahead() && self.buffer.is_empty();
        let reads = (self.session.wants_input() || looks_ahead) && self.deaf_until.is_none();
        let timeout = self.session.poll_timeout().map(Instant::from_std);
        let timeout = [timeout, self.deaf_until].into_iter().flatten().min();
        let at = timeout.unwrap_or_else(Instant::now);
        self.buffer.reserve(READ_OCTETS);
        let mut limited = (&mut self.stream).take(READ_OCTETS as u64);
        tokio::select! {
            _ = self.stop.wait_for(|stopped| *stopped) => Event::Stop,
            Ok(()) = self.acting.changed() => Event::Acting(*self.acting.borrow_and_update()),
            Some(answer) = self.asks.next() => Event::Answer(answer),
            Some(command) = self.commands.recv() => Event::Command(command),
            read = limited.read_buf(&mut self.buffer), if reads => Event::Read(read),
            () = sleep_until(at), if timeout.is_some() => Event::Timeout,
        }
    }

    fn apply(&mut self, event: Event) {
        let now = Instant::now().into_std();
        match event {
            Event::Read(Ok(0)) => self.session.handle_end(Cause::ClosedByPeer),
            Event::Read(Err(_)) => self.session.handle_end(Cause::Socket),
            Event::Read(Ok(octets)) => {
                self.shared.metrics.received.inc_by(octets as u64);
                self.status.received_bytes += octets as u64;
                self.status.last_heard = SystemTime::now();
                self.feed(now);
            }
            Event::Answer(answer) => self.session.handle_answer(now, answer),
            Event::Command(Command::Order(order)) => self.session.order(now, order),
            Event::Command(Command::Notice(Notice::Hush { hold })) => {
                self.deaf_until = Instant::now().checked_add(hold.min(LONGEST_HUSH));
            }
            Event::Command(Command::Notice(notice)) => self.session.handle_notice(now, notice),
            Event::Command(Command::Superseded) => self.session.supersede(),
            Event::Acting(true) => self.session.resume(now),
            Event::Acting(false) => self.session.suspend(now),
            Event::Timeout => self.session.handle_timeout(now),
            Event::Stop => self.session.handle_end(Cause::Stopped),
        }
    }

    /// Hands over what was read, when the session takes it.
    fn feed(&mut self, now: std::time::Instant) {
        if self.session.wants_input() && !self.buffer.is_empty() {
            self.session.handle_bytes(now, &self.buffer);
            self.buffer.clear();
        }
    }

    async fn act(&mut self) {
        self.feed(Instant::now().into_std());
        while let Some(request) = self.session.poll_request() {
            self.request(request);
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.session.poll_transmit() {
            frames.extend_from_slice(&frame);
        }
        if !frames.is_empty() {
            self.write(&frames).await;
        }
        let mut changed = false;
        while let Some(event) = self.session.poll() {
            changed = true;
            self.happened(event);
        }
        if changed && self.is_proven {
            self.shared.roster().update(self.number, self.status.clone());
        }
    }

    async fn write(&mut self, frames: &[u8]) {
        if self.deaf_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let limit = Duration::from_millis(self.shared.config.write_timeout_ms);
        let stream = &mut self.stream;
        let written = timeout(limit, async {
            stream.write_all(frames).await?;
            stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => {
                self.shared.metrics.sent.inc_by(frames.len() as u64);
                self.status.sent_bytes += frames.len() as u64;
            }
            Ok(Err(_)) => self.session.handle_end(Cause::Socket),
            Err(_) => self.session.handle_end(Cause::WriteBlocked),
        }
    }

    fn request(&mut self, request: Request) {
        let concentrator = self.session.concentrator().to_owned();
        let shared = Arc::clone(&self.shared);
        let remote = self.session.remote();
        match request {
            // Nobody waits for these answers, and they must outlive the channel.
            Request::Release { epoch } => self.tell(Request::Release { epoch }, concentrator),
            Request::Standby { up } => self.tell(Request::Standby { up }, concentrator),
            request => {
                self.asks.push(Box::pin(carry(shared, concentrator, remote, request)));
            }
        }
    }

    fn tell(&self, request: Request, concentrator: String) {
        let shared = Arc::clone(&self.shared);
        let limit = Duration::from_millis(self.shared.config.upcall_timeout_ms);
        let patience = Duration::from_millis(self.shared.config.login_timeout_ms);
        self.shared.tasks.spawn(async move {
            let entered = timeout(patience, entered(&shared, Stage::Proven));
            let Ok(_pass) = entered.await else { return };
            let device = Device::Concentrator(concentrator);
            let told = async {
                match request {
                    Request::Release { epoch } => {
                        ask(&shared, Release { device, epoch }, Upcall::Release).await
                    }
                    Request::Standby { up } => {
                        ask(&shared, Standby { device, up }, Upcall::Standby).await
                    }
                    _ => Ok(()),
                }
            };
            // Not told in time: the node's own lease ends it, or the next login does.
            let _ = timeout(limit, told).await;
        });
    }

    fn happened(&mut self, event: Happened) {
        let metrics = &self.shared.metrics;
        match event {
            Happened::Proven(login) => self.proven(login),
            Happened::Role(role, epoch) => self.change_role(role, epoch),
            Happened::Switched(reason) => {
                metrics.switches.with_label_values(&[reason_label(reason)]).inc();
            }
            Happened::Heartbeat(online) => self.status.meters_online = Some(online),
            Happened::FrameRefused(cause) => {
                metrics.frames_refused.with_label_values(&[cause]).inc();
                self.complain(cause, "a frame was refused");
            }
            Happened::Duplicate => metrics.pushes.with_label_values(&["duplicate"]).inc(),
            Happened::Settled(settled) => {
                self.status.pushes += 1;
                metrics.pushes.with_label_values(&[settled_label(settled)]).inc();
            }
            Happened::Stored(rows) => {
                self.status.rows += u64::from(rows);
                metrics.rows.inc_by(u64::from(rows));
            }
            Happened::Dropped(dropped) => {
                for (code, rows) in dropped.by_code() {
                    if rows > 0 {
                        metrics.dropped_rows.with_label_values(&[code]).inc_by(rows);
                        self.complain(code, "rows of a push were left out");
                    }
                }
            }
            Happened::PartRefused { code, detail } => {
                metrics.refuse_part(&code);
                let known = crate::metrics::known_code(&code);
                if metrics.may_log(known, Instant::now().into_std()) {
                    let concentrator = self.session.concentrator();
                    tracing::warn!(concentrator, code, detail, "a part of a push was refused");
                }
            }
            Happened::Acknowledged(sequence, took) => {
                self.status.acknowledged = Some(sequence);
                for took in took {
                    metrics.acknowledgement.observe(took.as_secs_f64());
                }
            }
            Happened::Closed(cause) => self.closed = Some(cause),
        }
    }

    fn proven(&mut self, login: Login) {
        self.is_proven = true;
        self.status.concentrator.clone_from(&login.concentrator);
        self.status.since = SystemTime::now();
        self.status.login = login;
        let way = self.way.clone();
        let older = self.shared.roster().prove(self.number, self.status.clone(), way);
        if let Some(older) = older {
            let concentrator = &self.status.concentrator;
            tracing::warn!(
                %concentrator,
                remote = %self.status.remote,
                "a second connection proved the same identity: the older one is closed"
            );
            // Its queue is full only when it is stuck; then its own deadlines end it.
            let _ = older.try_send(Command::Superseded);
        }
    }

    fn change_role(&mut self, role: ChannelRole, epoch: Option<u64>) {
        let metrics = &self.shared.metrics;
        metrics.channels.with_label_values(&[self.status.role.label()]).dec();
        metrics.channels.with_label_values(&[role.label()]).inc();
        if role != ChannelRole::Login {
            metrics.logins.with_label_values(&[role.label()]).inc();
            let concentrator = &self.status.concentrator;
            let (remote, role) = (self.status.remote, role.label());
            tracing::info!(%concentrator, %remote, role, epoch, "channel");
        }
        (self.status.role, self.status.epoch) = (role, epoch);
    }

    /// Logs a cause once a minute, for all channels together.
    fn complain(&self, cause: &'static str, what: &str) {
        if self.shared.metrics.may_log(cause, Instant::now().into_std()) {
            let concentrator = self.session.concentrator();
            tracing::warn!(concentrator, remote = %self.status.remote, cause, "{what}");
        }
    }

    async fn end(mut self) {
        let cause = self.closed.unwrap_or(Cause::Socket);
        let metrics = &self.shared.metrics;
        metrics.channels.with_label_values(&[self.status.role.label()]).dec();
        metrics.closed.with_label_values(&[cause.label()]).inc();
        let (remote, cause_label) = (self.status.remote, cause.label());
        if self.is_proven {
            self.shared.roster().leave(self.number, &self.status.concentrator);
            let concentrator = &self.status.concentrator;
            tracing::info!(%concentrator, %remote, cause = cause_label, "channel closed");
        } else if cause != Cause::ClosedByPeer && cause != Cause::Stopped {
            metrics.logins.with_label_values(&["refused"]).inc();
            self.complain(cause_label, "a login was refused");
        }
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        // A claim that is granted now would be a lease without a channel.
        let limit = Duration::from_millis(self.shared.config.upcall_timeout_ms);
        let mut asks = std::mem::take(&mut self.asks);
        let granted = timeout(limit, async move {
            while let Some(answer) = asks.next().await {
                if let Answer::Claimed { answer: Ok(Claimed::Granted { epoch }), .. } = answer {
                    return Some(epoch);
                }
            }
            None
        });
        if let Ok(Some(epoch)) = granted.await
            && cause != Cause::Superseded
        {
            let concentrator = self.session.concentrator().to_owned();
            self.tell(Request::Release { epoch }, concentrator);
        }
    }
}

fn status(remote: SocketAddr, wire: Wire) -> ChannelStatus {
    ChannelStatus {
        concentrator: String::new(),
        remote,
        tls: wire == Wire::Tls,
        role: ChannelRole::Login,
        epoch: None,
        since: SystemTime::now(),
        last_heard: SystemTime::now(),
        login: Login::default(),
        meters_online: None,
        acknowledged: None,
        pushes: 0,
        rows: 0,
        received_bytes: 0,
        sent_bytes: 0,
    }
}

fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::Login => "login",
        Reason::Promoted => "promoted",
        Reason::OwnerLost => "owner_lost",
        Reason::Ordered => "ordered",
        Reason::Returned => "returned",
    }
}

fn settled_label(settled: Settled) -> &'static str {
    match settled {
        Settled::Stored | Settled::NotYet => "stored",
        Settled::Partly => "partly",
        Settled::Refused => "refused",
    }
}
