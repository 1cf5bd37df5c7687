//! One peer: its dialler task and the calls that use the warm connection.
//!
//! Not here: accepting; what comes in from this peer arrives over the peer's own connection.
//! Invariant: only the dialler task dials; calls wait for it within their time to live.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus::{Gauge, IntGauge};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint as QuicEndpoint, VarInt};
use tokio::sync::{Notify, watch};

#[cfg(feature = "simulation")]
use super::simulated::Carrier as Simulated;
use super::{
    LinkError,
    stream::{FrameReceiver, FrameSender},
    tls::node_dns_name,
    wire::Kind,
};
use crate::rt::{now, sleep, spawn, timeout};

/// First and longest pause between two dials that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// A dial younger than this is not restarted by a poke.
const FRESH: Duration = Duration::from_millis(200);

/// How often the round trip's metric is renewed.
const RTT_EVERY: Duration = Duration::from_secs(1);

/// QUIC error code towards a node that was removed from the cluster.
pub(super) const CODE_REMOVED: VarInt = VarInt::from_u32(4);

/// QUIC's codes of TLS alerts (RFC 9001 section 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Why a link does not stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers there.
    Unreachable(String),
    /// One side's certificate was refused by the other.
    Certificate(String),
    /// The peer says that this node was removed from the cluster.
    Removed,
}

impl Trouble {
    fn of(error: &ConnectionError) -> Self {
        let text = error.to_string();
        match error {
            ConnectionError::ApplicationClosed(close) if close.error_code == CODE_REMOVED => {
                Self::Removed
            }
            ConnectionError::TransportError(cause)
                if TLS_ALERTS.contains(&u64::from(cause.code)) =>
            {
                Self::Certificate(text)
            }
            ConnectionError::ConnectionClosed(close)
                if TLS_ALERTS.contains(&u64::from(close.error_code)) =>
            {
                Self::Certificate(text)
            }
            _ => Self::Unreachable(text),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "not reached: {why}"),
            Self::Certificate(why) => write!(f, "certificate refused: {why}"),
            Self::Removed => write!(f, "it says that this node was removed"),
        }
    }
}

/// What a link stands on.
#[derive(Clone, Debug)]
pub(super) enum Carrier {
    Quic(Connection),
    #[cfg(feature = "simulation")]
    Simulated(Simulated),
}

impl Carrier {
    fn stands(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.close_reason().is_none(),
            #[cfg(feature = "simulation")]
            Self::Simulated(carrier) => carrier.stands(),
        }
    }

    fn rtt(&self) -> Duration {
        match self {
            Self::Quic(connection) => connection.rtt(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Duration::from_millis(1),
        }
    }

    async fn open(
        &self,
        group: u32,
        kind: Kind,
    ) -> Result<(FrameSender, FrameReceiver), LinkError> {
        match self {
            Self::Quic(connection) => {
                let opened = connection.open_bi().await;
                let (send, recv) = opened.map_err(|error| LinkError::Broken(error.to_string()))?;
                Ok((FrameSender::new(send, group, kind), FrameReceiver::new(recv, group)))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(carrier) => {
                let (send, recv) = carrier.open()?;
                let sender = FrameSender::simulated(send, group, kind);
                Ok((sender, FrameReceiver::simulated(recv, group)))
            }
        }
    }
}

/// The way to one peer. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Link {
    id: u64,
    group: u32,
    connection: watch::Receiver<Option<Carrier>>,
    trouble: watch::Receiver<Option<Trouble>>,
    poke: Arc<Notify>,
    redial: Arc<Notify>,
}

/// Where a dialler tells whether its link stands, and why not.
pub(super) type Tell = (watch::Sender<Option<Carrier>>, watch::Sender<Option<Trouble>>);

impl Link {
    /// A link that does not stand yet, and where its dialler tells.
    pub(super) fn new(id: u64, group: u32) -> (Self, Tell) {
        let (publish, connection) = watch::channel(None);
        let (trouble, troubled) = watch::channel(None);
        let (poke, redial) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let link = Self { id, group, connection, trouble: troubled, poke, redial };
        (link, (publish, trouble))
    }

    /// Somebody wishes another dial.
    #[cfg(feature = "simulation")]
    pub(super) fn redials(&self) -> Arc<Notify> {
        self.redial.clone()
    }

    /// Number of the peer.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether the warm connection stands now.
    pub fn is_up(&self) -> bool {
        self.connection.borrow().as_ref().is_some_and(Carrier::stands)
    }

    /// Why the link does not stand, as the last try told; none while it stands.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    /// Waits until the link stands or a try has failed; true when it stands.
    pub async fn tried(&self, limit: Duration) -> bool {
        let (mut connection, mut trouble) = (self.connection.clone(), self.trouble.clone());
        let either = async {
            tokio::select! {
                biased;
                _ = connection.wait_for(Option::is_some) => {}
                _ = trouble.wait_for(Option::is_some) => {}
            }
        };
        timeout(limit, either).await.is_ok() && self.is_up()
    }

    /// Round trip by QUIC's estimate, while connected.
    pub fn rtt(&self) -> Option<Duration> {
        self.connection.borrow().as_ref().map(Carrier::rtt)
    }

    /// Says that the peer is certainly alive: a dial that waits for an answer starts anew.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }

    /// Drops the connection and dials again; for a link that is up and makes no progress.
    pub fn redial(&self) {
        self.redial.notify_one();
    }

    /// Whether the peer takes this node as `config` shows it, by a connection beside the one that
    /// stands, all within `ttl`. Nothing is tried while the link does not stand.
    pub(super) async fn trial(
        &self,
        endpoint: &QuicEndpoint,
        config: ClientConfig,
        ttl: Duration,
    ) -> Result<(), Trouble> {
        let peer = match self.connection.borrow().as_ref() {
            Some(Carrier::Quic(connection)) => connection.remote_address(),
            #[cfg(feature = "simulation")]
            Some(Carrier::Simulated(_)) => return Ok(()),
            None => return Err(Trouble::Unreachable("the link does not stand".to_owned())),
        };
        let unreachable = |why: String| Trouble::Unreachable(why);
        let trial = async {
            let connecting = endpoint.connect_with(config, peer, &node_dns_name(self.id));
            let connecting = connecting.map_err(|error| unreachable(error.to_string()))?;
            let connection = connecting.await.map_err(|error| Trouble::of(&error))?;
            // The handshake is whole for us before the peer has looked at our certificate: only an
            // answer shows that it was taken.
            let answered = self.greet(&connection).await;
            let refused = connection.close_reason();
            connection.close(VarInt::from_u32(0), b"trial");
            match (answered, refused) {
                (Ok(()), _) => Ok(()),
                (Err(_), Some(refused)) => Err(Trouble::of(&refused)),
                (Err(error), None) => Err(unreachable(error.to_string())),
            }
        };
        timeout(ttl, trial).await.map_err(|_| unreachable("no answer in time".to_owned()))?
    }

    async fn greet(&self, connection: &Connection) -> Result<(), LinkError> {
        let carrier = Carrier::Quic(connection.clone());
        let (mut sender, mut receiver) = carrier.open(self.group, Kind::Hello).await?;
        sender.send(&[]).await?;
        sender.finish();
        receiver.next().await?.map(drop).ok_or(LinkError::NoAnswer)
    }

    /// Dials again and waits until that link stands, or for so long: its task goes on by itself.
    pub(super) async fn redial_within(&self, limit: Duration) {
        let mut connection = self.connection.clone();
        connection.mark_unchanged();
        self.redial();
        let anew = async {
            // First it goes, then another comes; the dialler's end ends both waits.
            if connection.changed().await.is_ok() {
                let _ended = connection.wait_for(Option::is_some).await;
            }
        };
        let _late = timeout(limit, anew).await;
    }

    /// One frame there, one frame back, all within `ttl`.
    pub async fn call(&self, kind: Kind, body: &[u8], ttl: Duration) -> Result<Bytes, LinkError> {
        let started = now();
        let (mut sender, mut receiver) = self.open(kind, ttl).await?;
        let rest = ttl.saturating_sub(now() - started);
        let exchange = async {
            sender.send(body).await?;
            sender.finish();
            match receiver.next().await? {
                Some((_, answer)) => Ok(answer),
                None => Err(LinkError::NoAnswer),
            }
        };
        timeout(rest, exchange).await.map_err(|_| LinkError::Timeout)?
    }

    /// Opens a stream for frames of `kind` within `ttl`.
    pub async fn open(
        &self,
        kind: Kind,
        ttl: Duration,
    ) -> Result<(FrameSender, FrameReceiver), LinkError> {
        let opening = async { self.connected().await?.open(self.group, kind).await };
        timeout(ttl, opening).await.map_err(|_| LinkError::NotConnected)?
    }

    async fn connected(&self) -> Result<Carrier, LinkError> {
        let mut watched = self.connection.clone();
        let found = watched.wait_for(Option::is_some).await;
        let found = found.map_err(|_| LinkError::NotConnected)?;
        found.clone().ok_or(LinkError::NotConnected)
    }
}

/// Everything that one dialler task needs.
pub(super) struct Dialler {
    pub id: u64,
    pub name: String,
    pub address: String,
    pub group: u32,
    pub endpoint: QuicEndpoint,
    pub config: watch::Receiver<ClientConfig>,
    pub dial_timeout: Duration,
    pub up: IntGauge,
    pub rtt: Gauge,
}

impl Dialler {
    /// Starts the dialler task. It ends when `stop` turns true or the sender of `held` is gone.
    pub fn start(self, stop: watch::Receiver<bool>, held: watch::Receiver<bool>) -> Link {
        let (link, (publish, trouble)) = Link::new(self.id, self.group);
        let (poke, redial) = (link.poke.clone(), link.redial.clone());
        spawn(async move {
            let (mut stop, mut held) = (stop, held);
            tokio::select! {
                biased;
                () = self.run(&publish, &trouble, &poke, &redial) => {}
                _ = stop.wait_for(|stop| *stop) => {}
                _ = held.wait_for(|held| !*held) => {}
            }
            publish.send_replace(None);
            self.up.set(0);
        });
        link
    }

    async fn run(
        &self,
        publish: &watch::Sender<Option<Carrier>>,
        trouble: &watch::Sender<Option<Trouble>>,
        poke: &Notify,
        redial: &Notify,
    ) {
        let mut pause = BACKOFF.0;
        loop {
            match self.dial(poke).await {
                Ok(connection) => {
                    trouble.send_replace(None);
                    let stood = now();
                    let lost = self.keep(publish, connection, redial).await;
                    trouble.send_replace(lost);
                    // A peer that hangs up at once is not dialled in a tight loop.
                    if now() - stood > BACKOFF.1 {
                        pause = BACKOFF.0;
                        continue;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                Err(cause) => {
                    tracing::debug!(peer = self.name, %cause, "dial failed");
                    trouble.send_replace(Some(cause));
                    tokio::select! {
                        biased;
                        () = sleep(pause) => {}
                        () = poke.notified() => {}
                    }
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// One handshake with its own deadline. A poke restarts one that has waited for a while: its
    /// first packets went to a process that was not there yet, and QUIC resends ever more slowly.
    async fn dial(&self, poke: &Notify) -> Result<Connection, Trouble> {
        let started = now();
        loop {
            let poked = async {
                poke.notified().await;
                sleep(FRESH.saturating_sub(now() - started)).await;
            };
            tokio::select! {
                biased;
                dialled = timeout(self.dial_timeout, self.dial_once()) => {
                    let late = |_| Trouble::Unreachable("no answer in time".to_owned());
                    return dialled.map_err(late)?;
                }
                () = poked => {}
            }
        }
    }

    async fn dial_once(&self) -> Result<Connection, Trouble> {
        let failed = |why: String| Trouble::Unreachable(format!("{}: {why}", self.address));
        let found = tokio::net::lookup_host(&self.address).await;
        let mut found = found.map_err(|error| failed(error.to_string()))?;
        let ours_v4 = self.endpoint.local_addr().is_ok_and(|address| address.is_ipv4());
        let address = found
            .find(|address| address.is_ipv4() == ours_v4)
            .ok_or_else(|| failed("no address of our family".to_owned()))?;
        let name = node_dns_name(self.id);
        let config = self.config.borrow().clone();
        let connecting = self.endpoint.connect_with(config, address, &name);
        let connecting = connecting.map_err(|error| failed(error.to_string()))?;
        connecting.await.map_err(|error| Trouble::of(&error))
    }

    /// Publishes the connection and holds it until it breaks or a redial is wished; tells why.
    async fn keep(
        &self,
        publish: &watch::Sender<Option<Carrier>>,
        connection: Connection,
        redial: &Notify,
    ) -> Option<Trouble> {
        publish.send_replace(Some(Carrier::Quic(connection.clone())));
        self.up.set(1);
        tracing::info!(peer = self.name, "link to the peer stands");
        let trouble = loop {
            self.rtt.set(connection.rtt().as_secs_f64());
            tokio::select! {
                biased;
                cause = connection.closed() => {
                    tracing::info!(peer = self.name, %cause, "link to the peer is lost");
                    break Some(Trouble::of(&cause));
                }
                () = redial.notified() => {
                    connection.close(VarInt::from_u32(0), b"redial");
                    break None;
                }
                () = sleep(RTT_EVERY) => {}
            }
        };
        publish.send_replace(None);
        self.up.set(0);
        trouble
    }
}
