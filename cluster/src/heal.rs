//! Damaged segment files, fetched from whichever peer has them; and the answers to peers.
//!
//! Not here: what is damaged and how a file is judged (`storage::segment`), whose content is
//! wrong (`crate::compare`).
//! Invariants: a peer is only believed by the hash of what it sends; one file at a time; a piece
//! is bounded, and every call has a deadline.

use std::{io, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::{
    Segments,
    segment::{Entry, Healing, Place, Sealed, Want},
};
use tokio::sync::watch;

use crate::rt::{blocking, sleep, unless};
use crate::transport::{Kind, Link, LinkError, Links};

/// How often a node looks whether it lacks a file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Longest wait for one answer of a peer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Octets of one piece.
const PIECE_OCTETS: usize = 256 * 1024;

/// Lines of a digest in one answer.
const DIGEST_LINES: usize = 2000;

/// What a node asks of a peer.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// Have you this file?
    Offer(Want),
    /// A piece of a file that was offered.
    Piece { entry: Entry, offset: u64 },
    /// The next of your sealed files, by content.
    Digest { after: Option<Place> },
}

/// What the peer answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// The file as the peer has it, if it has.
    Offer(Option<Entry>),
    /// The octets; none when the file is gone meanwhile.
    Piece(Option<Vec<u8>>),
    /// In order; fewer than asked for at the end.
    Digest(Vec<Sealed>),
}

/// Answers a peer's call; none refuses it.
pub(crate) async fn answer(segments: &Segments, body: &[u8]) -> Option<Bytes> {
    let ask: Ask = postcard::from_bytes(body).ok()?;
    let segments = segments.clone();
    let read = move || match ask {
        Ask::Offer(want) => Answer::Offer(segments.offer(&want)),
        Ask::Piece { entry, offset } => {
            let piece = segments.read_piece(&entry, offset, PIECE_OCTETS);
            Answer::Piece(piece.inspect_err(|error| tracing::info!(%error, "no piece")).ok())
        }
        Ask::Digest { after } => Answer::Digest(segments.digest_after(after, DIGEST_LINES)),
    };
    let answer = blocking(read).await.ok()?;
    postcard::to_stdvec(&answer).ok().map(Bytes::from)
}

/// Looks for damage and heals it.
pub(crate) struct Healer {
    pub segments: Segments,
    pub links: Links,
}

impl Healer {
    /// Runs until this node begins to stop.
    pub async fn run(self, mut leaving: watch::Receiver<bool>) {
        let look = async {
            loop {
                sleep(LOOK_EVERY).await;
                for want in self.segments.wants() {
                    self.seek(&want).await;
                }
            }
        };
        unless(leaving.wait_for(|leaving| *leaving), look).await;
    }

    /// Asks one peer after the other.
    async fn seek(&self, want: &Want) {
        for link in self.links.all().iter().filter(|link| link.is_up()) {
            match self.fetch(link, want).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(peer = link.id(), %error, ?want, "a file is not healed yet");
                }
            }
        }
    }

    /// Fetches a file from a peer; false when the peer has it not.
    async fn fetch(&self, link: &Link, want: &Want) -> io::Result<bool> {
        let Answer::Offer(offer) = call(link, &Ask::Offer(want.clone())).await? else {
            return Err(io::Error::other("another answer than was asked for"));
        };
        let Some(entry) = offer else { return Ok(false) };
        let (segments, wanted, offered) = (self.segments.clone(), want.clone(), entry.clone());
        let mut healing = on_disk(move || segments.heal(&wanted, offered)).await?;
        while let Some(offset) = healing.next_offset() {
            let ask = Ask::Piece { entry: entry.clone(), offset };
            let Answer::Piece(Some(octets)) = call(link, &ask).await? else { return Ok(false) };
            healing = on_disk(move || {
                healing.receive(&octets)?;
                Ok(healing)
            })
            .await?;
        }
        on_disk(move || Healing::finish(healing)).await?;
        Ok(true)
    }
}

/// Everything that a peer has sealed, by content.
pub(crate) async fn digest_of(link: &Link) -> io::Result<Vec<Sealed>> {
    let mut all: Vec<Sealed> = Vec::new();
    loop {
        let after = all.last().map(Sealed::place);
        let Answer::Digest(lines) = call(link, &Ask::Digest { after }).await? else {
            return Err(io::Error::other("another answer than was asked for"));
        };
        let end = lines.len() < DIGEST_LINES;
        // Each answer goes on behind the one before, so the talk ends.
        if lines.first().map(Sealed::place).is_some_and(|first| after >= Some(first)) {
            return Err(io::Error::other("a digest that goes back"));
        }
        all.extend(lines);
        if end {
            return Ok(all);
        }
    }
}

async fn call(link: &Link, ask: &Ask) -> io::Result<Answer> {
    let body = postcard::to_stdvec(ask).map_err(io::Error::other)?;
    let answer = link.call(Kind::Segment, &body, PATIENCE).await;
    let answer = answer.map_err(|error: LinkError| io::Error::other(error.to_string()))?;
    postcard::from_bytes(&answer).map_err(io::Error::other)
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> storage::Result<T> + Send + 'static,
) -> io::Result<T> {
    Ok(crate::rt::blocking(work).await??)
}
