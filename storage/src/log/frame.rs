//! One frame of the log's files: how it is laid out, written and recognised again.
//!
//! Layout, little endian: magic u32, payload octets u32, crc32c u32, kind u8, 3 zero octets,
//! group u32, synced u32, index u64, payload, zeros up to a multiple of 8. The checksum covers
//! everything behind itself and is seeded with the number of the file, so that a frame of one
//! file is no frame in another.
//!
//! `synced` is what makes a torn tail and a damaged file two things: it is the offset up to
//! which this file was known to be on disk when the frame was written. A broken frame below
//! the `synced` of a later, whole frame was acknowledged once; one above every such mark was not.

use crate::error::{Error, Result};

/// Octets before the payload.
pub const HEAD_OCTETS: usize = 32;
const MAGIC: u32 = 0x314c_4648;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// First frame of a file: `index` is the file's number, the payload the state before it.
    Head,
    /// A record of the caller.
    Record,
    /// A small value; `index` is its key.
    Meta,
    /// Records after `index` are gone.
    Truncate,
    /// All records are gone.
    Clear,
    /// Records up to `index` are gone.
    Purge,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Record => 2,
            Self::Meta => 3,
            Self::Truncate => 4,
            Self::Clear => 5,
            Self::Purge => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Head, Self::Record, Self::Meta, Self::Truncate, Self::Clear, Self::Purge]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// The file that a frame stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// Raft group.
    pub group: u32,
    /// Number of the file.
    pub segment: u32,
}

/// A frame that was found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub kind: Kind,
    /// See [`Kind`].
    pub index: u64,
    /// This file was on disk up to here when the frame was written.
    pub synced: u32,
    /// The caller's octets.
    pub payload: &'a [u8],
}

/// What stands at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look<'a> {
    /// A whole frame, and the offset behind it.
    Frame(Frame<'a>, usize),
    /// Zeros or the end of the file.
    End,
    /// Neither; why.
    Bad(&'static str),
}

/// Octets of a frame with that payload, padding included.
pub fn octets(payload: usize) -> usize {
    (HEAD_OCTETS + payload).next_multiple_of(8)
}

/// Writes a frame behind what the buffer holds.
///
/// # Errors
/// [`Error::Misuse`] when the payload is longer than a u32 tells.
pub fn encode(buffer: &mut Vec<u8>, home: Home, frame: &Frame<'_>) -> Result<()> {
    let length = u32::try_from(frame.payload.len())
        .map_err(|_| Error::misuse("record_too_large", "a payload of 4 GiB and more"))?;
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC.to_le_bytes());
    buffer.extend_from_slice(&length.to_le_bytes());
    let mut rest = [0; HEAD_OCTETS - 12];
    rest[0] = frame.kind.code();
    rest[4..8].copy_from_slice(&home.group.to_le_bytes());
    rest[8..12].copy_from_slice(&frame.synced.to_le_bytes());
    rest[12..20].copy_from_slice(&frame.index.to_le_bytes());
    buffer.extend_from_slice(&checksum(home, length, &rest, frame.payload).to_le_bytes());
    buffer.extend_from_slice(&rest);
    buffer.extend_from_slice(frame.payload);
    buffer.resize(start + octets(frame.payload.len()), 0);
    Ok(())
}

/// Looks at what stands at an offset of a file's octets; never panics.
pub fn look(file: &[u8], offset: usize, home: Home) -> Look<'_> {
    let Some(head) = file.get(offset..offset.saturating_add(HEAD_OCTETS)) else {
        let rest = file.get(offset..).unwrap_or_default();
        return if rest.iter().all(|octet| *octet == 0) { Look::End } else { Look::Bad("cut") };
    };
    if head.iter().all(|octet| *octet == 0) {
        return Look::End;
    }
    if u32_at(head, 0) != MAGIC {
        return Look::Bad("no frame begins here");
    }
    let length = u32_at(head, 4);
    let from = offset + HEAD_OCTETS;
    let Some(payload) = file.get(from..from.saturating_add(length as usize)) else {
        return Look::Bad("longer than the file");
    };
    let rest = head.get(12..).unwrap_or_default();
    if checksum(home, length, rest, payload) != u32_at(head, 8) {
        return Look::Bad("checksum");
    }
    if u32_at(head, 16) != home.group {
        return Look::Bad("of another group");
    }
    let Some(kind) = head.get(12).copied().and_then(Kind::from_code) else {
        return Look::Bad("of an unknown kind");
    };
    let index = u64::from(u32_at(head, 24)) | u64::from(u32_at(head, 28)) << 32;
    let frame = Frame { kind, index, synced: u32_at(head, 20), payload };
    Look::Frame(frame, offset + octets(payload.len()))
}

fn checksum(home: Home, length: u32, rest: &[u8], payload: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&home.segment.to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, rest), payload)
}

/// A u32 of octets that are known to be there; 0 otherwise.
fn u32_at(octets: &[u8], at: usize) -> u32 {
    octets.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Frame, Home, Kind, Look, encode, look, octets};

    const HOME: Home = Home { group: 0, segment: 7 };

    fn one(payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let frame = Frame { kind: Kind::Record, index: 42, synced: 96, payload };
        encode(&mut buffer, HOME, &frame).unwrap();
        buffer
    }

    #[test]
    fn frames_come_back() {
        for length in [0, 1, 7, 8, 9, 4096] {
            let payload = vec![0xa5; length];
            let mut file = one(&payload);
            file.resize(file.len() + 64, 0);
            let expect = Frame { kind: Kind::Record, index: 42, synced: 96, payload: &payload };
            let next = octets(length);
            assert_eq!(look(&file, 0, HOME), Look::Frame(expect, next));
            assert_eq!(look(&file, next, HOME), Look::End);
            assert_eq!(look(&file, file.len() + 100, HOME), Look::End);
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let whole = one(b"the payload");
        for at in 0..whole.len() - 5 {
            for bit in 0..8 {
                let mut file = whole.clone();
                file[at] ^= 1 << bit;
                assert!(matches!(look(&file, 0, HOME), Look::Bad(_)), "octet {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_file_or_group_is_none() {
        let file = one(b"x");
        let segment = Home { segment: 8, ..HOME };
        assert_eq!(look(&file, 0, segment), Look::Bad("checksum"));
        let group = Home { group: 1, ..HOME };
        assert_eq!(look(&file, 0, group), Look::Bad("of another group"));
    }

    #[test]
    fn cut_frames_are_bad() {
        let whole = one(b"the payload of a frame that is cut somewhere");
        for length in 1..whole.len() - 8 {
            assert!(matches!(look(&whole[..length], 0, HOME), Look::Bad(_)), "cut at {length}");
        }
    }
}
