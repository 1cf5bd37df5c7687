//! What stands in the frames of a snapshot's stream.
//!
//! Order: `Offer` there, `Wants` back, one `Piece` after another there, `Answer` back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Payload, SnapshotMeta, Vote};

/// The leader offers a snapshot.
#[derive(Serialize, Deserialize)]
pub struct Offer {
    /// The leader's vote.
    pub vote: Vote,
    /// Last entry and membership in it.
    pub meta: SnapshotMeta,
    /// `storage`'s manifest, encoded.
    pub manifest: Vec<u8>,
}

/// The receiver names the files that it lacks, with the octets of each that it has already.
#[derive(Serialize, Deserialize)]
pub struct Wants {
    /// Name and offset to go on from.
    pub files: Vec<(String, u64)>,
}

/// A piece of a file.
#[derive(Serialize, Deserialize)]
pub struct Piece {
    /// File.
    pub name: String,
    /// Where the piece begins.
    pub offset: u64,
    /// The octets.
    pub octets: PieceOctets,
}

/// Octets of a piece, encoded as one run.
#[derive(Serialize, Deserialize)]
pub struct PieceOctets(Payload);

impl From<Vec<u8>> for PieceOctets {
    fn from(octets: Vec<u8>) -> Self {
        Self(Payload(octets.into()))
    }
}

impl PieceOctets {
    /// The octets.
    pub fn get(&self) -> &Bytes {
        &self.0.0
    }
}

/// The snapshot is installed, or the receiver follows another leader.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    /// The receiver's vote.
    pub vote: Vote,
}
