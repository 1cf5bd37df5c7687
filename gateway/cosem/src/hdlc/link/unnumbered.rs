//! APDUs that need no link: UI frames, and numbered frames that meters push without a connection.
//! It does not join the blocks of general block transfer; each of them is an APDU.
//!
//! Invariant: one APDU of at most `max_apdu` octets from one source is being put together; a
//! piece from another source, or one piece too many, drops it.

use bytes::{Bytes, BytesMut};

use super::without_llc;
use crate::hdlc::{Address, Frame};

pub(super) struct Unnumbered {
    max_apdu: usize,
    assembly: Option<(Address, BytesMut)>,
}

impl Unnumbered {
    pub(super) fn new(max_apdu: usize) -> Self {
        Self { max_apdu, assembly: None }
    }

    /// Takes a frame; the APDU that it ends, if it ends one.
    pub(super) fn take(&mut self, frame: &Frame) -> Option<Bytes> {
        let held = self.assembly.take().filter(|(source, _)| *source == frame.source);
        let apdu = match held {
            None => without_llc(&frame.information),
            Some((_, mut octets)) => {
                octets.extend_from_slice(&frame.information);
                octets.freeze()
            }
        };
        if apdu.len() > self.max_apdu {
            return None;
        }
        if frame.segmented {
            self.assembly = Some((frame.source, BytesMut::from(&apdu[..])));
            return None;
        }
        Some(apdu).filter(|apdu| !apdu.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Unnumbered;
    use crate::hdlc::{Address, Control, Frame, Kind};

    fn frame(source: u8, segmented: bool, information: &'static [u8]) -> Frame {
        Frame {
            segmented,
            destination: Address::one(16).unwrap(),
            source: Address::one(source).unwrap(),
            control: Control { kind: Kind::Unnumbered, poll_final: false },
            information: Bytes::from_static(information),
        }
    }

    #[test]
    fn pieces_of_one_source_are_joined() {
        let mut unnumbered = Unnumbered::new(10);
        let mut take = |source, segmented, octets| {
            unnumbered.take(&frame(source, segmented, octets)).map(|apdu| apdu.to_vec())
        };
        assert_eq!(take(1, false, b"\xe6\xe7\x00whole"), Some(b"whole".to_vec()));
        assert_eq!(take(1, true, b"\xe6\xe7\x00ab"), None);
        assert_eq!(take(1, false, b"cd"), Some(b"abcd".to_vec()));
        assert_eq!(take(1, true, b"lost"), None);
        assert_eq!(take(2, false, b"other"), Some(b"other".to_vec()));
        assert_eq!(take(1, false, b"rest"), Some(b"rest".to_vec()));
        assert_eq!(take(1, true, b"123456"), None);
        assert_eq!(take(1, true, b"123456"), None);
        assert_eq!(take(1, false, b""), None);
    }
}
