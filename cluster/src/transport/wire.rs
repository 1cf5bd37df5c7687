//! Frames on a node link: a fixed head and a bounded body.
//!
//! Not here: what a body means; that is `raft`'s and `propose`'s matter.
//! Invariants:
//! 1. A body is at most `MAX_BODY` octets; a longer length is an error before any allocation.
//! 2. The end of a stream at a frame border is the end (`None`), never an error. An error there
//!    makes a leader drop the rest of its payload and stall for ever.
//! 3. A frame of another group or an unknown kind is an error that names the cause.

use bytes::{BufMut, Bytes, BytesMut};

/// Largest body of a frame: a few of the largest entries.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// Octets before a body: length (4), group (4), kind (1), version (1); big-endian.
pub const HEAD: usize = 10;

/// Version of the frames; raised when a body's meaning changes.
const VERSION: u8 = 1;

/// What a frame, and the stream that it opens, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A vote asked for; one frame each way.
    Vote = 1,
    /// A vote asked for without effect; one frame each way.
    PreVote = 2,
    /// Leadership handed over; one frame each way.
    Transfer = 3,
    /// Appends and heartbeats: many frames each way, answers in order.
    Append = 4,
    /// A snapshot: offer, wants, files, answer.
    Snapshot = 5,
    /// A proposal for the leader; one frame each way.
    Propose = 6,
    /// The read index of the leader; one frame each way.
    ReadIndex = 7,
    /// "Have you been initialised?", asked before a bootstrap; one frame each way.
    Hello = 8,
    /// A segment file, asked for by its place and content; one frame each way.
    Segment = 9,
    /// A wish about the members, for the leader; one frame each way.
    Member = 10,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        Some(match octet {
            1 => Self::Vote,
            2 => Self::PreVote,
            3 => Self::Transfer,
            4 => Self::Append,
            5 => Self::Snapshot,
            6 => Self::Propose,
            7 => Self::ReadIndex,
            8 => Self::Hello,
            9 => Self::Segment,
            10 => Self::Member,
            _ => return None,
        })
    }

    /// Whether a node of our authority may send it though the membership does not name it (yet):
    /// what consensus itself judges, and what a node needs to join.
    pub fn open_to_strangers(self) -> bool {
        !matches!(self, Self::Propose | Self::ReadIndex | Self::Segment | Self::Member)
    }

    /// Priority of the stream in its connection: votes and heartbeats overtake appends, which
    /// overtake snapshot files.
    pub fn priority(self) -> i32 {
        match self {
            Self::Vote | Self::PreVote | Self::Transfer => 3,
            Self::Append | Self::ReadIndex | Self::Hello => 2,
            Self::Propose | Self::Member => 1,
            Self::Snapshot | Self::Segment => 0,
        }
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The length is above `MAX_BODY`.
    #[error("a frame of {0} octets is above the limit")]
    TooLong(usize),
    /// The kind is not known.
    #[error("frame kind {0} is not known")]
    Kind(u8),
    /// The frame belongs to another Raft group.
    #[error("the frame is for group {0}")]
    Group(u32),
    /// The frame has another version.
    #[error("frame version {0} is not known")]
    Version(u8),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Torn,
}

impl Malformed {
    /// Label for the counter of bad frames.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong(_) => "too_long",
            Self::Kind(_) => "kind",
            Self::Group(_) => "group",
            Self::Version(_) => "version",
            Self::Torn => "torn",
        }
    }
}

/// Builds one frame. Errors when the body is above `MAX_BODY`.
pub fn encode(group: u32, kind: Kind, body: &[u8]) -> Result<Bytes, Malformed> {
    if body.len() > MAX_BODY {
        return Err(Malformed::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).map_err(|_| Malformed::TooLong(body.len()))?;
    let mut frame = BytesMut::with_capacity(HEAD + body.len());
    frame.put_u32(length);
    frame.put_u32(group);
    frame.put_u8(kind as u8);
    frame.put_u8(VERSION);
    frame.put_slice(body);
    Ok(frame.freeze())
}

/// Reads a head: the kind and the length of the body that follows.
pub fn decode_head(group: u32, head: &[u8; HEAD]) -> Result<(Kind, usize), Malformed> {
    let [l0, l1, l2, l3, g0, g1, g2, g3, kind, version] = *head;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let of_group = u32::from_be_bytes([g0, g1, g2, g3]);
    if of_group != group {
        return Err(Malformed::Group(of_group));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_BODY {
        return Err(Malformed::TooLong(length));
    }
    let kind = Kind::from_octet(kind).ok_or(Malformed::Kind(kind))?;
    Ok((kind, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(frame: &[u8]) -> [u8; HEAD] {
        frame[..HEAD].try_into().unwrap()
    }

    #[test]
    fn a_frame_comes_back() {
        for octet in 1..=10 {
            let kind = Kind::from_octet(octet).unwrap();
            let frame = encode(7, kind, b"body").unwrap();
            assert_eq!(decode_head(7, &head(&frame)), Ok((kind, 4)));
            assert_eq!(&frame[HEAD..], b"body");
        }
    }

    #[test]
    fn bad_heads_are_named() {
        let good = head(&encode(0, Kind::Append, b"").unwrap());
        let with = |at: usize, octet: u8| {
            let mut bad = good;
            bad[at] = octet;
            decode_head(0, &bad).unwrap_err()
        };
        assert_eq!(with(0, 0xff), Malformed::TooLong(0xff00_0000));
        assert_eq!(with(7, 1), Malformed::Group(1));
        assert_eq!(with(8, 99), Malformed::Kind(99));
        assert_eq!(with(9, 2), Malformed::Version(2));
        assert_eq!(
            encode(0, Kind::Vote, &vec![0; MAX_BODY + 1]),
            Err(Malformed::TooLong(MAX_BODY + 1))
        );
    }
}
