//! Consensus's calls to its peers, over node links.
//!
//! Not here: dialling and frames (`transport`), the answering side (`server`).
//! Invariants:
//! 1. A unary call keeps its hard time to live.
//! 2. The request stream of appends lives and dies inside the response stream: no task survives.
//! 3. The end of the response stream at a frame border is `None`.
//! 4. Append requests in flight are answered in order; none waits longer than `STALL`.

use std::{future::Future, io, time::Duration};

use futures::{Stream, StreamExt, stream};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    snapshot::SnapshotFile,
    types::{self, Member, TypeConfig, Vote},
    wire::{Answer, Offer, Piece, Wants},
};
use crate::{
    metrics::Metrics,
    rt,
    transport::{FrameReceiver, FrameSender, Kind, Link, LinkError, Links},
};

/// Longest wait for one step of a snapshot's receiver.
const STALL: Duration = Duration::from_secs(5);

/// Longest wait for the receiver of a snapshot to install it.
const INSTALL: Duration = Duration::from_secs(600);

/// Pause before an unreachable peer is tried again. The link itself is dialled all the time.
const RETRY: Duration = Duration::from_millis(50);

/// Octets of one piece of a snapshot's file.
const PIECE_OCTETS: usize = 256 * 1024;

type AppendStream<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// Makes the ways to the peers.
#[derive(Clone)]
pub struct Network {
    links: Links,
    metrics: Metrics,
}

impl Network {
    /// Over the links of an endpoint.
    pub fn new(links: Links, metrics: &Metrics) -> Self {
        Self { links, metrics: metrics.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &Member) -> Way {
        let link = self.links.ensure(target, &node.name, &node.address);
        Way { link, metrics: self.metrics.clone() }
    }
}

/// The way to one peer.
pub struct Way {
    /// None for this node itself.
    link: Option<Link>,
    metrics: Metrics,
}

impl Way {
    fn link(&self) -> Result<&Link, Unreachable<TypeConfig>> {
        self.link.as_ref().ok_or_else(|| Unreachable::new(&LinkError::NotConnected))
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        request: &Q,
        ttl: Duration,
    ) -> Result<A, RPCError<TypeConfig>> {
        let body = types::encode(request).map_err(|error| NetworkError::new(&error))?;
        let answer = self.link()?.call(kind, &body, ttl).await.map_err(|error| rpc(&error))?;
        types::decode(&answer).map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }
}

/// How long an append may stay without its answer before its stream is opened anew. Above any
/// ordinary sync, and below the watchdog's patience: a new leader must not lose seconds to a
/// stream that a dying connection swallowed. Sending an append again is harmless.
const APPEND_STALL: Duration = Duration::from_millis(1500);

/// A broken link is "unreachable", so that consensus pauses instead of spinning.
fn rpc(error: &LinkError) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ttl = option.hard_ttl();
        let once = Box::pin(stream::iter([rpc]));
        let exchange = async {
            let mut answers = self.stream_append(once, option).await?;
            let closed = || RPCError::Unreachable(Unreachable::new(&LinkError::NoAnswer));
            answers.next().await.unwrap_or_else(|| Err(closed()))
        };
        let answer = rt::timeout(ttl, exchange).await;
        let answer =
            answer.unwrap_or(Err(RPCError::Unreachable(Unreachable::new(&LinkError::Timeout))));
        answer.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendStream<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let opened = self.link()?.open(Kind::Append, option.hard_ttl()).await;
            let (sender, receiver) = opened.map_err(|error| rpc(&error))?;
            Ok(pipeline(input, sender, receiver))
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::Vote, &rpc, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::PreVote, &rpc, option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::Transfer, &req, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Offered,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let opened = self.link()?.open(Kind::Snapshot, option.hard_ttl()).await;
        let (sender, receiver) = opened.map_err(|error| Unreachable::new(&error))?;
        let sending = send_snapshot(vote, snapshot, sender, receiver, &self.metrics);
        tokio::select! {
            biased;
            sent = sending => sent,
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY)))
    }
}

type Offered = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// What the two halves of an append stream report.
enum Event {
    Sent,
    Answer(StreamAppendResult<TypeConfig>),
    Broken(LinkError),
    End,
}

/// Requests go out while answers come in; both are polled by whoever reads the answers.
fn pipeline<'s, S>(input: S, sender: FrameSender, receiver: FrameReceiver) -> AppendStream<'s>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let requests = stream::unfold(Some((input, sender)), |state| async {
        let (mut input, mut sender) = state?;
        let Some(request) = input.next().await else {
            sender.finish();
            return None;
        };
        let sent = match types::encode(&request) {
            Ok(body) => sender.send_within(&body, APPEND_STALL).await,
            Err(error) => Err(LinkError::Broken(error.to_string())),
        };
        match sent {
            Ok(()) => Some((Event::Sent, Some((input, sender)))),
            Err(error) => Some((Event::Broken(error), None)),
        }
    });
    let answers = stream::unfold(Some(receiver), |state| async {
        let mut receiver = state?;
        match receiver.next().await {
            Ok(Some((_, body))) => match types::decode(&body) {
                Ok(answer) => Some((Event::Answer(answer), Some(receiver))),
                Err(error) => Some((Event::Broken(LinkError::Broken(error.to_string())), None)),
            },
            Ok(None) => Some((Event::End, None)),
            Err(error) => Some((Event::Broken(error), None)),
        }
    });
    let events = stream::select(requests.boxed(), answers.boxed());
    Box::pin(stream::unfold(Some((events, 0_u64)), |state| async {
        let (mut events, mut waiting) = state?;
        loop {
            let next = events.next();
            // With nothing in flight the wait is for a request, which may take for ever.
            let event = if waiting == 0 {
                next.await
            } else {
                let stalled = Event::Broken(LinkError::Timeout);
                rt::timeout(APPEND_STALL, next).await.unwrap_or(Some(stalled))
            };
            match event? {
                Event::Sent => waiting += 1,
                Event::Answer(answer) => {
                    waiting = waiting.saturating_sub(1);
                    let go_on = answer.is_ok().then_some((events, waiting));
                    return Some((Ok(answer), go_on));
                }
                Event::End => return None,
                Event::Broken(error) => return Some((Err(rpc(&error)), None)),
            }
        }
    }))
}

/// Offers a snapshot, sends the files that the receiver lacks, waits until it is installed.
async fn send_snapshot(
    vote: Vote,
    snapshot: Offered,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    metrics: &Metrics,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let file = std::sync::Arc::new(snapshot.snapshot);
    let offer = Offer { vote, meta: snapshot.meta, manifest: file.manifest().encode() };
    send(&mut sender, &offer).await?;
    let wants: Wants = receive(&mut receiver, STALL).await?;
    tracing::info!(
        index = file.manifest().index,
        files = wants.files.len(),
        of = file.manifest().items.len(),
        "a peer receives a snapshot"
    );
    for (name, from) in wants.files {
        let lacking = || io::Error::new(io::ErrorKind::NotFound, "the peer wants another file");
        let item = file.manifest().items.iter().find(|item| item.name == name);
        let octets = item.ok_or_else(|| network(&lacking()))?.octets;
        let mut offset = from;
        while offset < octets {
            let (source, of) = (file.clone(), name.clone());
            let read = move || source.read(&of, offset, PIECE_OCTETS);
            let read = rt::blocking(read).await;
            let piece = read.and_then(|piece| piece);
            let octets = piece.map_err(|error| network(&error))?;
            if octets.is_empty() {
                return Err(network(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            metrics.snapshot_octets.inc_by(octets.len() as u64);
            let next = offset + octets.len() as u64;
            send(&mut sender, &Piece { name: name.clone(), offset, octets: octets.into() }).await?;
            offset = next;
        }
    }
    sender.finish();
    let answer: Answer = receive(&mut receiver, INSTALL).await?;
    metrics.snapshots.with_label_values(&["sent"]).inc();
    Ok(SnapshotResponse { vote: answer.vote })
}

async fn send<T: Serialize>(
    sender: &mut FrameSender,
    message: &T,
) -> Result<(), StreamingError<TypeConfig>> {
    let body = types::encode(message).map_err(|error| network(&error))?;
    let sent = sender.send_within(&body, STALL).await;
    sent.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
}

async fn receive<T: DeserializeOwned>(
    receiver: &mut FrameReceiver,
    limit: Duration,
) -> Result<T, StreamingError<TypeConfig>> {
    let frame = receiver.next_within(limit).await;
    let frame = frame.and_then(|frame| frame.ok_or(LinkError::NoAnswer));
    let (_, body) = frame.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
    types::decode(&body).map_err(|error| network(&error))
}

fn network(error: &io::Error) -> StreamingError<TypeConfig> {
    StreamingError::Unreachable(Unreachable::new(error))
}
