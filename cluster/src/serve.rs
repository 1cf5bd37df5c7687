//! What a node answers to its peers: each kind of frame to the room that understands it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use storage::Segments;

use crate::{
    heal,
    members::Office,
    propose::Proposer,
    raft::{Group, Server},
    read::Reader,
    transport::{FrameReceiver, FrameSender, Handler, Kind, LinkError},
};

/// The handler of a member.
pub(crate) struct Served {
    pub group: Group,
    pub server: Server,
    pub proposer: Arc<Proposer>,
    pub reader: Arc<Reader>,
    pub segments: Segments,
    pub office: Arc<Office>,
}

impl Handler for Served {
    fn answer(&self, _from: u64, kind: Kind, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        let (proposer, reader) = (self.proposer.clone(), self.reader.clone());
        let (server, group) = (self.server.clone(), self.group.clone());
        let segments = self.segments.clone();
        let office = self.office.clone();
        Box::pin(async move {
            match kind {
                Kind::Propose => proposer.answer(&body).await,
                Kind::Segment => heal::answer(&segments, &body).await,
                Kind::ReadIndex => reader.answer().await,
                Kind::Member => office.answer(&body).await,
                Kind::Hello => {
                    Some(Bytes::copy_from_slice(&[u8::from(group.is_initialized().await)]))
                }
                _ => server.answer(kind, &body).await,
            }
        })
    }

    fn serve(
        &self,
        _from: u64,
        kind: Kind,
        first: Bytes,
        frames: FrameReceiver,
        answers: FrameSender,
    ) -> BoxFuture<'static, Result<(), LinkError>> {
        let server = self.server.clone();
        Box::pin(async move {
            match kind {
                Kind::Append => server.appends(first, frames, answers).await,
                Kind::Snapshot => server.snapshot(first, frames, answers).await,
                _ => Ok(()),
            }
        })
    }
}
