//! The two halves of a stream of frames.
//!
//! Invariants: a receiver's clean end at a frame border is `Ok(None)`; an end inside a frame is
//! `Torn`. Dropping a half tells the other end at once.

use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream};

#[cfg(feature = "simulation")]
use super::simulated;
use super::{
    LinkError,
    wire::{self, Kind, Malformed},
};
use crate::rt::timeout;

/// What carries frames away.
#[derive(Debug)]
enum Out {
    Quic(SendStream),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Out),
}

/// What frames come from.
#[derive(Debug)]
enum In {
    Quic(RecvStream),
    #[cfg(feature = "simulation")]
    Simulated(simulated::In),
}

/// Writes frames of one kind.
#[derive(Debug)]
pub struct FrameSender {
    stream: Out,
    group: u32,
    kind: Kind,
}

impl FrameSender {
    pub(super) fn new(stream: SendStream, group: u32, kind: Kind) -> Self {
        // An error here means that the stream is closed; the next write tells it better.
        let _closed = stream.set_priority(kind.priority());
        Self { stream: Out::Quic(stream), group, kind }
    }

    #[cfg(feature = "simulation")]
    pub(super) fn simulated(stream: simulated::Out, group: u32, kind: Kind) -> Self {
        Self { stream: Out::Simulated(stream), group, kind }
    }

    /// Sends one frame; waits while the peer's window is full.
    pub async fn send(&mut self, body: &[u8]) -> Result<(), LinkError> {
        let frame = wire::encode(self.group, self.kind, body)?;
        match &mut self.stream {
            Out::Quic(stream) => {
                let sent = stream.write_chunk(frame).await;
                sent.map_err(|error| LinkError::Broken(error.to_string()))
            }
            #[cfg(feature = "simulation")]
            Out::Simulated(stream) => stream.send(self.kind, Bytes::copy_from_slice(body)).await,
        }
    }

    /// Sends one frame within `limit`.
    pub async fn send_within(&mut self, body: &[u8], limit: Duration) -> Result<(), LinkError> {
        timeout(limit, self.send(body)).await.map_err(|_| LinkError::Timeout)?
    }

    /// Ends the stream at this frame border.
    pub fn finish(&mut self) {
        // Closed already means that the peer gave up; there is nothing left to end.
        match &mut self.stream {
            Out::Quic(stream) => drop(stream.finish()),
            #[cfg(feature = "simulation")]
            Out::Simulated(stream) => stream.end(simulated::End::Finished),
        }
    }

    /// Breaks the stream off: the peer sees an error, not an end.
    pub fn reset(&mut self) {
        match &mut self.stream {
            Out::Quic(stream) => drop(stream.reset(quinn::VarInt::from_u32(1))),
            #[cfg(feature = "simulation")]
            Out::Simulated(stream) => stream.end(simulated::End::Reset),
        }
    }
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: In,
    group: u32,
}

impl FrameReceiver {
    pub(super) fn new(stream: RecvStream, group: u32) -> Self {
        Self { stream: In::Quic(stream), group }
    }

    #[cfg(feature = "simulation")]
    pub(super) fn simulated(stream: simulated::In, group: u32) -> Self {
        Self { stream: In::Simulated(stream), group }
    }

    /// The next frame; `None` when the peer ended the stream at a frame border.
    pub async fn next(&mut self) -> Result<Option<(Kind, Bytes)>, LinkError> {
        match &mut self.stream {
            In::Quic(stream) => next_of(stream, self.group).await,
            #[cfg(feature = "simulation")]
            In::Simulated(stream) => stream.next().await,
        }
    }

    /// The next frame, which must come within `limit`.
    pub async fn next_within(
        &mut self,
        limit: Duration,
    ) -> Result<Option<(Kind, Bytes)>, LinkError> {
        timeout(limit, self.next()).await.map_err(|_| LinkError::Timeout)?
    }
}

async fn next_of(stream: &mut RecvStream, group: u32) -> Result<Option<(Kind, Bytes)>, LinkError> {
    let mut head = [0; wire::HEAD];
    match stream.read_exact(&mut head).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(broken(error)),
    }
    let (kind, length) = wire::decode_head(group, &head)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(broken)?;
    Ok(Some((kind, body.into())))
}

fn broken(error: ReadExactError) -> LinkError {
    match error {
        ReadExactError::FinishedEarly(_) => LinkError::Malformed(Malformed::Torn),
        ReadExactError::ReadError(error) => LinkError::Broken(error.to_string()),
    }
}
