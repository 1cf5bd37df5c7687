//! The answering side of consensus's calls.
//!
//! Not here: forwarded proposals and reads (`crate::serve`).
//! Invariant: an answer is given only by a running consensus; otherwise the stream is closed
//! without one, and the caller tries again.

use std::io;

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use storage::{
    Snapshots, Space,
    snapshot::{Incoming, Manifest, Months},
};

use super::{
    snapshot::SnapshotFile,
    types::{self, Raft, TypeConfig},
    wire::{Answer, Offer, Piece, Wants},
};
use crate::{
    rt,
    transport::{FrameReceiver, FrameSender, Kind, LinkError},
};

use std::time::Duration;

/// Longest wait for the next frame of a snapshot, and for an answer's place in the window.
const STALL: Duration = Duration::from_secs(5);

/// A leader whose entries a full disk does not take is answered no sooner than this.
const FULL_PAUSE: Duration = Duration::from_millis(250);

type Appended = openraft::raft::AppendEntriesRequest<TypeConfig>;

/// Files that a snapshot may have; more are a mistake of the sender.
const MAX_FILES: usize = 1_000_000;

/// Serves consensus's calls.
#[derive(Clone)]
pub struct Server {
    raft: Raft,
    snapshots: Snapshots,
    space: Space,
}

impl Server {
    /// For a running consensus.
    pub fn new(raft: Raft, snapshots: Snapshots, space: Space) -> Self {
        Self { raft, snapshots, space }
    }

    /// Answers a vote, a pre-vote or a hand-over; `None` refuses.
    pub async fn answer(&self, kind: Kind, body: &[u8]) -> Option<Bytes> {
        match kind {
            Kind::Vote => reply(&self.raft.vote(request(body)?).await.ok()?),
            Kind::PreVote => reply(&self.raft.pre_vote(request(body)?).await.ok()?),
            Kind::Transfer => reply(&self.raft.handle_transfer_leader(request(body)?).await.ok()?),
            _ => None,
        }
    }

    /// Serves a stream of appends: answers in the order of the requests.
    pub async fn appends(
        &self,
        first: Bytes,
        frames: FrameReceiver,
        mut answers: FrameSender,
    ) -> Result<(), LinkError> {
        // A broken link ends the input; what was read before is still answered or dropped whole.
        let rest = stream::unfold(frames, |mut frames| async {
            let (_, body) = frames.next().await.ok()??;
            Some((body, frames))
        });
        let bodies = stream::once(async { first }).chain(rest);
        // A disk that is almost full takes heartbeats and no entries; the leader tries again.
        let space = self.space.clone();
        let requests = bodies.map(|body| request(&body)).take_while(move |request| {
            let heartbeat = request.as_ref().map(|request: &Appended| request.entries.is_empty());
            let full = space.is_full();
            async move {
                let taken = heartbeat.is_some_and(|heartbeat| heartbeat || !full);
                if heartbeat.is_some() && !taken {
                    rt::sleep(FULL_PAUSE).await;
                }
                taken
            }
        });
        let requests = requests.filter_map(|request| async { request });
        let results = self.raft.stream_append(requests.boxed());
        futures::pin_mut!(results);
        while let Some(result) = results.next().await {
            // A fatal result means that consensus stopped: break the stream, do not end it.
            let Ok(result) = result else {
                answers.reset();
                return Ok(());
            };
            let body = reply(&result).ok_or(LinkError::NoAnswer)?;
            answers.send_within(&body, STALL).await?;
        }
        answers.finish();
        Ok(())
    }

    /// Receives a snapshot's files and installs it.
    pub async fn snapshot(
        &self,
        first: Bytes,
        mut frames: FrameReceiver,
        mut answers: FrameSender,
    ) -> Result<(), LinkError> {
        let Some(offer) = request::<Offer>(&first) else { return Err(LinkError::NoAnswer) };
        let manifest = Manifest::decode(&offer.manifest).map_err(|error| disk(&error))?;
        if manifest.items.len() > MAX_FILES {
            return Err(LinkError::NoAnswer);
        }
        // A leader that sends an older one than ours does not know how far we are: refused, it
        // would send it again for ever. Told that it is here, it goes on behind it.
        let newer = self.snapshots.newest().is_some_and(|ours| ours.index > manifest.index);
        let file = if newer {
            let nothing = reply(&Wants { files: Vec::new() }).ok_or(LinkError::NoAnswer)?;
            answers.send_within(&nothing, STALL).await?;
            SnapshotFile::overtaken(manifest)
        } else {
            SnapshotFile::received(self.pull(manifest, &mut frames, &mut answers).await?)
        };
        let snapshot = openraft::type_config::alias::SnapshotOf::<TypeConfig, _> {
            meta: offer.meta,
            snapshot: file,
        };
        let installed = self.raft.install_full_snapshot(offer.vote, snapshot).await;
        let installed = installed.map_err(|error| LinkError::Broken(error.to_string()))?;
        let body = reply(&Answer { vote: installed.vote }).ok_or(LinkError::NoAnswer)?;
        answers.send_within(&body, STALL).await?;
        answers.finish();
        Ok(())
    }

    /// Pulls what is missing of a snapshot.
    async fn pull(
        &self,
        manifest: Manifest,
        frames: &mut FrameReceiver,
        answers: &mut FrameSender,
    ) -> Result<Incoming, LinkError> {
        let incoming = self.snapshots.receive(manifest, Months::Later);
        let mut incoming = incoming.map_err(|error| disk(&error))?;
        let missing = incoming.missing();
        let files = missing.into_iter().map(|(item, from)| (item.name, from)).collect();
        let wants = reply(&Wants { files }).ok_or(LinkError::NoAnswer)?;
        answers.send_within(&wants, STALL).await?;
        while let Some((_, body)) = frames.next_within(STALL).await? {
            let Some(piece) = request::<Piece>(&body) else { return Err(LinkError::NoAnswer) };
            let write = move || -> io::Result<_> {
                incoming.receive(&piece.name, piece.offset, piece.octets.get())?;
                Ok(incoming)
            };
            let written = rt::blocking(write).await;
            let written = written.and_then(|written| written);
            incoming = written.map_err(|error| LinkError::Broken(error.to_string()))?;
        }
        if !incoming.missing().is_empty() {
            return Err(LinkError::Broken("the snapshot ended before its files".to_owned()));
        }
        // It may wait before it is installed, and another leader may send another one meanwhile.
        incoming.seal().map_err(|error| disk(&error))?;
        Ok(incoming)
    }
}

fn disk(error: &storage::Error) -> LinkError {
    LinkError::Broken(error.to_string())
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    types::decode(body).inspect_err(|error| tracing::warn!(%error, "a peer's call")).ok()
}

fn reply<T: Serialize>(answer: &T) -> Option<Bytes> {
    types::encode(answer)
        .inspect_err(|error| tracing::error!(%error, "an answer"))
        .ok()
        .map(Bytes::from)
}
