//! Cuts a stream of octets into frames. The length of a frame is in its head and its content may
//! hold the flag octet, so a flag alone says little: a candidate counts once its check sequence
//! verified and its closing flag stands where it must, and a false one is given up at the next
//! flag inside it. Half frames run into the next one, and of 65,536 of those one would verify by
//! chance; the closing flag makes it one of 16 million.
//!
//! Invariants: after any junk the next whole frame that follows a flag is found, unless the junk
//! ends in a head whose header check verifies by chance; of octets that are no frame none are
//! held beyond one frame's length. One flag or two between frames makes no difference.

use bytes::{Buf, BytesMut};

use super::FLAG;
use super::frame::{Frame, announced, plausible};

/// What a line was like, for metrics; counts stop at the top.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// Frames taken.
    pub frames: u64,
    /// Octets outside any frame, flags not counted.
    pub junk_octets: u64,
    /// Frames that were whole by their check sequence and yet not of DLMS.
    pub foreign: u64,
}

/// The cutter.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
    quality: Quality,
}

enum Cut {
    /// A frame of so many octets stands behind the flag.
    Frame(usize),
    /// The flag is not the start of a frame.
    False,
    /// Octets are missing.
    Short,
}

impl Deframer {
    /// Starts outside any frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends octets as they came from the line. The caller reads all frames before it feeds
    /// more, so at most one unfinished frame and one read are held.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Octets held that are not yet a frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Counts since the start.
    #[must_use]
    pub const fn quality(&self) -> Quality {
        self.quality
    }

    /// The next frame, or None when octets are missing.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            self.seek_flag();
            match self.judge() {
                Cut::Short => return None,
                Cut::False => self.give_up_candidate(),
                Cut::Frame(length) => {
                    let frame = self.buffer.get(1..=length).map(Frame::decode);
                    self.buffer.advance(length + 1);
                    if let Some(Ok(frame)) = frame {
                        self.quality.frames = self.quality.frames.saturating_add(1);
                        return Some(frame);
                    }
                    self.quality.foreign = self.quality.foreign.saturating_add(1);
                }
            }
        }
    }

    /// Gives up a frame that began and did not end (the line was silent for too long), so that a
    /// false head cannot swallow what follows. Frames inside it come out of `next_frame`.
    pub fn abandon(&mut self) {
        self.seek_flag();
        if self.buffer.len() > 1 {
            self.give_up_candidate();
        }
    }

    /// Drops what is before the next flag, and all flags of a row but the last.
    fn seek_flag(&mut self) {
        let junk = self.buffer.iter().position(|octet| *octet == FLAG);
        let junk = junk.unwrap_or(self.buffer.len());
        self.count_junk(junk);
        self.buffer.advance(junk);
        while self.buffer.starts_with(&[FLAG, FLAG]) {
            self.buffer.advance(1);
        }
    }

    /// What stands behind the flag at the front.
    fn judge(&self) -> Cut {
        let Some(body) = self.buffer.get(1..).filter(|body| body.len() >= 2) else {
            // One octet of the head is enough to see that it is not of type 3.
            let head = self.buffer.get(1);
            return if head.is_some_and(|octet| octet >> 4 != 0xa) {
                Cut::False
            } else {
                Cut::Short
            };
        };
        let format = body.first_chunk::<2>().map_or(0, |head| u16::from_be_bytes(*head));
        let Ok(length) = announced(format) else { return Cut::False };
        match body.get(..length) {
            _ if !plausible(body.get(..length).unwrap_or(body), length) => Cut::False,
            None => Cut::Short,
            Some(frame) => match body.get(length) {
                None => Cut::Short,
                Some(&FLAG) if super::fcs::verifies(frame) => Cut::Frame(length),
                Some(_) => Cut::False,
            },
        }
    }

    fn give_up_candidate(&mut self) {
        self.buffer.advance(1);
        let next = self.buffer.iter().position(|octet| *octet == FLAG);
        let junk = next.unwrap_or(self.buffer.len());
        self.count_junk(junk);
        self.buffer.advance(junk);
    }

    fn count_junk(&mut self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.quality.junk_octets = self.quality.junk_octets.saturating_add(octets);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Deframer;
    use crate::hdlc::{Address, Control, Frame, Kind};

    fn frame(information: &[u8]) -> Frame {
        Frame {
            segmented: false,
            destination: Address::one(16).unwrap(),
            source: Address::two(1, 17).unwrap(),
            control: Control { kind: Kind::Unnumbered, poll_final: false },
            information: Bytes::copy_from_slice(information),
        }
    }

    fn cut(stream: &[u8], step: usize) -> (Vec<Frame>, Deframer) {
        let mut deframer = Deframer::new();
        let mut got = Vec::new();
        for piece in stream.chunks(step) {
            deframer.feed(piece);
            got.extend(std::iter::from_fn(|| deframer.next_frame()));
        }
        (got, deframer)
    }

    #[test]
    fn frames_come_out_of_any_split_with_one_flag_or_two() {
        let frames = [frame(b""), frame(&[0x7e; 40]), frame(b"abc")];
        let mut stream = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let octets = frame.encode().unwrap();
            // The second shares its first flag with the end of the one before.
            stream.extend_from_slice(if index == 1 { &octets[1..] } else { &octets });
        }
        for step in 1..=stream.len() {
            let (got, deframer) = cut(&stream, step);
            assert_eq!(got, frames, "step {step}");
            assert_eq!(deframer.quality().junk_octets, 0);
        }
    }

    #[test]
    fn junk_and_half_frames_cost_only_themselves() {
        let good = frame(b"reading").encode().unwrap();
        for junk in [
            &b"\x00\xff"[..],
            b"\x7e",
            b"\x7e\xa0",
            b"\x7e\xa7\xff\x21\x23\x13\x00\x00",
            &good[..good.len() / 2],
            &good[3..],
            b"/ABC5meter\r\n",
        ] {
            for step in [1, 3, 100] {
                let stream = [junk, &good, &good].concat();
                let (got, _) = cut(&stream, step);
                assert_eq!(got, [frame(b"reading"), frame(b"reading")], "{junk:02x?}");
            }
        }
    }

    #[test]
    fn a_false_head_is_given_up_when_the_line_is_silent() {
        let good = frame(b"reading").encode().unwrap();
        // A head whose header check is good, and then the frame was cut.
        let long = frame(&[1; 200]).encode().unwrap();
        let (got, mut deframer) = cut(&[&long[..20], &good].concat(), 7);
        assert_eq!(got, []);
        deframer.abandon();
        assert_eq!(deframer.next_frame(), Some(frame(b"reading")));
        assert_eq!(deframer.next_frame(), None);
        assert!(deframer.buffered() <= 1);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut deframer = Deframer::new();
        for _ in 0..1000 {
            deframer.feed(&[0x7e, 0xa7, 0xff, 0, 0, 0, 1, 1, 9, 9, 9, 9, 9, 9]);
            while deframer.next_frame().is_some() {}
            assert!(deframer.buffered() <= 2049);
        }
        deframer.feed(&[0; 100_000]);
        assert_eq!(deframer.next_frame(), None);
        assert_eq!(deframer.buffered(), 0);
    }
}
