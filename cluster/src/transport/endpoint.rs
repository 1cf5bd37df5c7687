//! The UDP endpoint of a node: accepts its peers and hands their streams to a handler.
//!
//! Not here: dialling (`peer`), certificates (`tls`), what a frame means (the handler).
//! Invariants:
//! 1. A connection is served only after its certificate named a node that was not removed; what
//!    only members may ask is refused to others.
//! 2. Streams of one connection are bounded by QUIC, handshakes by a semaphore.
//! 3. A bad frame closes the connection that sent it and is counted.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint as QuicEndpoint, EndpointConfig,
    IdleTimeout, Incoming, Runtime, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};

#[cfg(feature = "simulation")]
use super::simulated;
use super::{
    LinkError,
    cut::{Cable, Cut},
    links::{Ground, Links, Maker},
    peer::{CODE_REMOVED, Trouble},
    stream::{FrameReceiver, FrameSender},
    tls::{self, Identity, Refusals},
    wire::Kind,
};
use crate::{
    config::Config,
    error::OpenError,
    metrics::Metrics,
    rt::{spawn, timeout},
};

/// Handshakes in progress; more wait in the socket's queue.
const MAX_HANDSHAKES: usize = 64;

/// Streams that one peer may have open towards us.
const MAX_STREAMS: u32 = 1024;

/// Window of one stream: a full append frame must fit without a round trip in its middle.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;

/// A stream whose first frame does not come in this time is dropped.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// First guess of the round trip. The default of 333 ms makes a lost first packet cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// QUIC error codes towards peers.
const CODE_STOPPING: VarInt = VarInt::from_u32(0);
const CODE_REFUSED: VarInt = VarInt::from_u32(2);
const CODE_BAD_FRAME: VarInt = VarInt::from_u32(3);

/// TLS alerts (RFC 8446 section 6) as QUIC error codes (RFC 9001 section 4.8: 0x100 + alert).
const ALERT_CERTIFICATE_REQUIRED: u64 = 0x100 + 116;
const ALERT_NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// Makes the UDP endpoint; tests give one that stands on a simulated network.
pub type EndpointFactory =
    Arc<dyn Fn(ServerConfig, SocketAddr) -> io::Result<QuicEndpoint> + Send + Sync>;

/// The ordinary endpoint: a UDP socket of the system, driven by tokio, with a cable that drills
/// can pull.
pub fn udp_endpoint(cut: &Cut) -> EndpointFactory {
    let cut = cut.clone();
    Arc::new(move |server, address| {
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(std::net::UdpSocket::bind(address)?)?;
        let socket = Arc::new(Cable { socket, cut: cut.clone() });
        let config = EndpointConfig::default();
        QuicEndpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
    })
}

/// What a node does with what its peers send.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call; `None` closes the stream without an answer.
    fn answer(&self, from: u64, kind: Kind, body: Bytes) -> BoxFuture<'static, Option<Bytes>>;

    /// Serves a stream whose first frame is `first`; it ends when the future ends.
    fn serve(
        &self,
        from: u64,
        kind: Kind,
        first: Bytes,
        frames: FrameReceiver,
        answers: FrameSender,
    ) -> BoxFuture<'static, Result<(), LinkError>>;
}

/// Longest trial of a new certificate at one peer, and longest wait for its link to stand anew.
const TRIAL: Duration = Duration::from_secs(3);

/// Where peers come in.
enum Socket {
    Quic {
        endpoint: QuicEndpoint,
        /// What dials show of this node.
        client: watch::Sender<ClientConfig>,
    },
    #[cfg(feature = "simulation")]
    Simulated(simulated::Port),
}

/// A bound endpoint with its dialler tasks.
pub struct Endpoint {
    socket: Socket,
    links: Links,
    group: u32,
    refusals: Arc<Refusals>,
    metrics: Metrics,
    stop: watch::Sender<bool>,
}

impl Endpoint {
    /// Binds the socket and starts one dialler per configured peer. Nothing is accepted before
    /// `serve`.
    pub fn open(
        config: &Config,
        identity: &Identity,
        factory: &EndpointFactory,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let refusals = Arc::new(Refusals::new(metrics.refused.clone()));
        let (server, client) = quic_configs(config, identity, &refusals)?;
        let (client, shown) = watch::channel(client);
        let quic = factory(server, config.listen)
            .map_err(|source| OpenError::Listen { address: config.listen.to_string(), source })?;
        let (stop, stopped) = watch::channel(false);
        let maker = Maker {
            group: config.group,
            ground: Ground::Quic {
                endpoint: quic.clone(),
                config: shown,
                dial_timeout: config.dial_timeout(),
            },
            metrics: metrics.clone(),
            stopped,
        };
        let links = Links::new(config, maker);
        let socket = Socket::Quic { endpoint: quic, client };
        let metrics = metrics.clone();
        Ok(Self { socket, links, group: config.group, refusals, metrics, stop })
    }

    /// An endpoint on a simulated network, at the port of this node.
    #[cfg(feature = "simulation")]
    pub fn simulated(config: &Config, port: simulated::Port, metrics: &Metrics) -> Self {
        let refusals = Arc::new(Refusals::new(metrics.refused.clone()));
        let (stop, stopped) = watch::channel(false);
        let ground = Ground::Simulated(port.clone());
        let maker = Maker { group: config.group, ground, metrics: metrics.clone(), stopped };
        let links = Links::new(config, maker);
        let (socket, metrics) = (Socket::Simulated(port), metrics.clone());
        Self { socket, links, group: config.group, refusals, metrics, stop }
    }

    /// The links to the peers.
    pub fn links(&self) -> Links {
        self.links.clone()
    }

    /// The bound address; of interest when port 0 was asked for.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Quic { endpoint, .. } => endpoint.local_addr(),
            #[cfg(feature = "simulation")]
            Socket::Simulated(port) => Ok(port.address()),
        }
    }

    /// Starts to accept peers, whose calls go to `handler`.
    pub fn serve(&self, handler: Arc<dyn Handler>) {
        let server = Server {
            handler,
            links: self.links.clone(),
            group: self.group,
            refusals: self.refusals.clone(),
            metrics: self.metrics.clone(),
        };
        let server = Arc::new(server);
        let quic = match &self.socket {
            Socket::Quic { endpoint, .. } => endpoint.clone(),
            #[cfg(feature = "simulation")]
            Socket::Simulated(port) => return server.serve_simulated(port),
        };
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        spawn(async move {
            while let Ok(permit) = handshakes.clone().acquire_owned().await {
                let Some(incoming) = quic.accept().await else { break };
                let server = server.clone();
                spawn(async move {
                    let accepted = server.accept(incoming).await;
                    drop(permit);
                    if let Some((from, connection)) = accepted {
                        server.connection(from, connection).await;
                    }
                });
            }
        });
    }

    /// Shows another certificate from now on, after every peer whose link stands has taken it;
    /// answers how many did. Links are dialled anew one after the other.
    ///
    /// Errors, with everything as it was: the identity cannot be used or is another node's, a peer
    /// refuses it, or it does not trust a peer.
    pub async fn renew(&self, config: &Config, identity: &Identity) -> Result<usize, OpenError> {
        // A third node would take it, and nobody would reach this one any more.
        if identity.node() != Some(self.links.own()) {
            return Err(OpenError::Identity("the certificate does not name this node".to_owned()));
        }
        let (server, shown) = quic_configs(config, identity, &self.refusals)?;
        let (endpoint, client) = match &self.socket {
            Socket::Quic { endpoint, client } => (endpoint, client),
            #[cfg(feature = "simulation")]
            Socket::Simulated(_) => return Ok(0),
        };
        let links: Vec<_> = self.links.all().into_iter().filter(|link| link.is_up()).collect();
        let mut taken = 0;
        for link in &links {
            match link.trial(endpoint, shown.clone(), TRIAL).await {
                Ok(()) => taken += 1,
                Err(Trouble::Unreachable(why)) => {
                    tracing::warn!(peer = link.id(), why, "the certificate was not tried there");
                }
                Err(refused) => {
                    let why = format!("node {}: {refused}", link.id());
                    return Err(OpenError::Identity(why));
                }
            }
        }
        endpoint.set_server_config(Some(server));
        client.send_replace(shown);
        for link in links {
            link.redial_within(TRIAL).await;
        }
        Ok(taken)
    }

    /// Closes all links; returns when the peers were told or `limit` has passed.
    pub async fn stop(&self, limit: Duration) {
        self.stop.send_replace(true);
        match &self.socket {
            Socket::Quic { endpoint, .. } => {
                endpoint.close(CODE_STOPPING, b"stopping");
                if timeout(limit, endpoint.wait_idle()).await.is_err() {
                    tracing::debug!("some node links did not close in time");
                }
            }
            #[cfg(feature = "simulation")]
            Socket::Simulated(port) => port.unplug(),
        }
    }
}

/// What this node shows to those that dial it, and to those that it dials.
fn quic_configs(
    config: &Config,
    identity: &Identity,
    refusals: &Arc<Refusals>,
) -> Result<(ServerConfig, ClientConfig), OpenError> {
    let transport = Arc::new(transport_config(config)?);
    let server = QuicServerConfig::try_from(tls::server_config(identity, refusals)?)
        .map_err(|error| OpenError::Identity(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport.clone());
    let client = QuicClientConfig::try_from(tls::client_config(identity, refusals)?)
        .map_err(|error| OpenError::Identity(error.to_string()))?;
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    Ok((server, client))
}

fn transport_config(config: &Config) -> Result<TransportConfig, OpenError> {
    let idle = IdleTimeout::try_from(Duration::from_millis(config.idle_ms))
        .map_err(|error| OpenError::Config(vec![format!("idle_ms: {error}")]))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(Duration::from_millis(config.keep_alive_ms)))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

/// The accepting side's shared parts.
struct Server {
    handler: Arc<dyn Handler>,
    links: Links,
    group: u32,
    refusals: Arc<Refusals>,
    metrics: Metrics,
}

impl Server {
    /// Finishes a handshake and names the peer; `None` when it is refused.
    async fn accept(&self, incoming: Incoming) -> Option<(u64, Connection)> {
        let remote = incoming.remote_address();
        let connecting = incoming.accept().ok()?;
        let connection = match timeout(FIRST_FRAME, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                self.handshake_failed(remote, &error);
                return None;
            }
            Err(_) => return None,
        };
        let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok();
        let identity = identity.unwrap_or_default();
        let named =
            identity.first().and_then(tls::named_node).filter(|from| *from != self.links.own());
        let Some(from) = named else {
            self.refusals.note("unknown_node", &format!("{remote}: its certificate names no node"));
            connection.close(CODE_REFUSED, b"the certificate names no other node");
            return None;
        };
        if self.links.is_removed(from) {
            self.refusals.note("removed_node", &format!("{remote}: node {from} was removed"));
            connection.close(CODE_REMOVED, b"this node was removed from the cluster");
            return None;
        }
        self.links.met(from, remote);
        Some((from, connection))
    }

    /// The verifier counts bad certificates; here are the handshakes that never came to it.
    fn handshake_failed(&self, remote: SocketAddr, error: &ConnectionError) {
        let ConnectionError::TransportError(cause) = error else {
            tracing::debug!(%remote, %error, "a handshake was broken off");
            return;
        };
        match u64::from(cause.code) {
            ALERT_CERTIFICATE_REQUIRED => {
                self.refusals.note("no_certificate", &format!("{remote} showed no certificate"));
            }
            ALERT_NO_APPLICATION_PROTOCOL => {
                self.refusals.note("protocol", &format!("{remote} speaks another protocol"));
            }
            _ => tracing::debug!(%remote, %error, "a handshake failed"),
        }
    }

    async fn connection(self: Arc<Self>, from: u64, connection: Connection) {
        // The peer is alive: our own dial to it need not wait for a slow resend.
        if let Some(link) = self.links.get(from)
            && !link.is_up()
        {
            link.poke();
        }
        while let Ok((send, recv)) = connection.accept_bi().await {
            if self.links.is_removed(from) {
                self.refusals.note("removed_node", &format!("node {from} was removed"));
                connection.close(CODE_REMOVED, b"this node was removed from the cluster");
                break;
            }
            let (server, connection) = (self.clone(), connection.clone());
            spawn(async move {
                let frames = FrameReceiver::new(recv, server.group);
                let answers = |group, kind| FrameSender::new(send, group, kind);
                match server.stream(from, answers, frames).await {
                    Ok(()) => {}
                    Err(LinkError::Malformed(bad)) => {
                        server.metrics.bad_frames.with_label_values(&[bad.reason()]).inc();
                        tracing::warn!(from, %bad, "a peer sent a bad frame; its link is closed");
                        connection.close(CODE_BAD_FRAME, bad.reason().as_bytes());
                    }
                    Err(error) => tracing::debug!(from, %error, "a stream of a peer ended early"),
                }
            });
        }
    }

    /// Serves the streams that come in over a simulated network.
    #[cfg(feature = "simulation")]
    fn serve_simulated(self: Arc<Self>, port: &simulated::Port) {
        let mut incoming = port.accept();
        spawn(async move {
            while let Some(stream) = incoming.recv().await {
                let from = stream.from;
                if self.links.is_removed(from) {
                    stream.refuse();
                    continue;
                }
                self.links.met(from, simulated::address(from));
                let server = self.clone();
                spawn(async move {
                    let frames = FrameReceiver::simulated(stream.frames, server.group);
                    let answers = |group, kind| FrameSender::simulated(stream.answers, group, kind);
                    if let Err(error) = server.stream(from, answers, frames).await {
                        tracing::debug!(from, %error, "a stream of a peer ended early");
                    }
                });
            }
        });
    }

    async fn stream(
        &self,
        from: u64,
        answers: impl FnOnce(u32, Kind) -> FrameSender,
        mut frames: FrameReceiver,
    ) -> Result<(), LinkError> {
        let Some((kind, first)) = frames.next_within(FIRST_FRAME).await? else { return Ok(()) };
        let mut answers = answers(self.group, kind);
        if !kind.open_to_strangers() && self.links.get(from).is_none() {
            self.refusals.note("no_member", &format!("node {from} is no member"));
            answers.finish();
            return Ok(());
        }
        match kind {
            Kind::Append | Kind::Snapshot => {
                self.handler.serve(from, kind, first, frames, answers).await
            }
            Kind::Vote
            | Kind::PreVote
            | Kind::Transfer
            | Kind::Propose
            | Kind::ReadIndex
            | Kind::Hello
            | Kind::Segment
            | Kind::Member => {
                match self.handler.answer(from, kind, first).await {
                    Some(answer) => {
                        answers.send_within(&answer, FIRST_FRAME).await?;
                        answers.finish();
                    }
                    None => answers.finish(),
                }
                Ok(())
            }
        }
    }
}
