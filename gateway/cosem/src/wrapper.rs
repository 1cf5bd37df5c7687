//! The wrapper sub-layer for TCP and UDP (IEC 62056-47): eight octets before each APDU. It does
//! not look into the APDU.
//!
//! Invariants: a frame is announced before it is buffered, and one longer than the limit, or of
//! another version, is an error at once; after an error the stream cannot be resynchronised (the
//! layer has no flags), so the caller closes it, and the deframer repeats the error.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::Error;

/// Octets before the APDU.
pub const HEADER_OCTETS: usize = 8;

/// Longest APDU that the length field can announce.
pub const MAX_APDU_OCTETS: usize = 65_535;

/// The wrapper's only version.
const VERSION: u16 = 1;

/// Who speaks to whom: client side a client SAP, server side a logical device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// Source wPort.
    pub source: u16,
    /// Destination wPort.
    pub destination: u16,
}

impl Header {
    /// The header of an answer: source and destination swapped.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// One whole frame around `apdu`.
///
/// # Errors
/// `TooLong` when the APDU has more than 65,535 octets.
pub fn encode(header: Header, apdu: &[u8]) -> Result<Vec<u8>, Error> {
    let too_long = Error::TooLong { length: apdu.len(), limit: MAX_APDU_OCTETS };
    let length = u16::try_from(apdu.len()).map_err(|_| too_long)?;
    let mut frame = Vec::with_capacity(HEADER_OCTETS + apdu.len());
    for field in [VERSION, header.source, header.destination, length] {
        frame.extend_from_slice(&field.to_be_bytes());
    }
    frame.extend_from_slice(apdu);
    Ok(frame)
}

/// Exactly one frame (a UDP datagram, a line of a log).
///
/// # Errors
/// `Malformed` when the version is not 1 or the length field does not fit the octets.
pub fn decode(frame: &[u8]) -> Result<(Header, &[u8]), Error> {
    let mut reader = crate::axdr::Reader::new(frame);
    if reader.u16()? != VERSION {
        return Err(Error::malformed(0, "the wrapper version is not 1"));
    }
    let header = Header { source: reader.u16()?, destination: reader.u16()? };
    let length = usize::from(reader.u16()?);
    let apdu = reader.take(length)?;
    reader.finish()?;
    Ok((header, apdu))
}

/// Cuts a stream of octets into frames.
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    max_apdu: usize,
    broken: Option<Error>,
}

impl Deframer {
    /// Takes APDUs of at most `max_apdu` octets (never more than 65,535).
    #[must_use]
    pub fn new(max_apdu: usize) -> Self {
        Self { buffer: BytesMut::new(), max_apdu: max_apdu.min(MAX_APDU_OCTETS), broken: None }
    }

    /// Appends octets as they came from the socket. The caller reads all frames before it feeds
    /// more, so at most one unfinished frame and one read are held.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// Octets held that are not yet a whole frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, or None when octets are missing.
    ///
    /// # Errors
    /// `Malformed` for another version than 1, `TooLong` for an APDU over the limit; from then on
    /// the same error for ever, as the stream has no mark to find the next frame by.
    pub fn next_frame(&mut self) -> Result<Option<(Header, Bytes)>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        match self.cut() {
            Ok(frame) => Ok(frame),
            Err(error) => {
                self.broken = Some(error);
                self.buffer = BytesMut::new();
                Err(error)
            }
        }
    }

    fn cut(&mut self) -> Result<Option<(Header, Bytes)>, Error> {
        // The version is judged on its first octets, so garbage is refused without waiting for
        // the rest of a header.
        if !VERSION.to_be_bytes().starts_with(self.buffer.get(..2).unwrap_or(&self.buffer)) {
            return Err(Error::malformed(0, "the wrapper version is not 1"));
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_OCTETS>().copied() else {
            return Ok(None);
        };
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let length = usize::from(field(6));
        if length > self.max_apdu {
            return Err(Error::TooLong { length, limit: self.max_apdu });
        }
        if self.buffer.len() < HEADER_OCTETS + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_OCTETS);
        let apdu = self.buffer.split_to(length).freeze();
        Ok(Some((Header { source: field(2), destination: field(4) }, apdu)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Deframer, Header, encode};
    use crate::error::Error;

    const HEADER: Header = Header { source: 1, destination: 102 };

    #[test]
    fn frames_come_out_of_any_split() {
        let mut stream = encode(HEADER, b"abc").unwrap();
        stream.extend(encode(HEADER.reversed(), b"").unwrap());
        stream.extend(encode(HEADER, &[7; 300]).unwrap());
        for step in 1..=stream.len() {
            let mut deframer = Deframer::new(300);
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                deframer.feed(piece);
                while let Some((header, apdu)) = deframer.next_frame().unwrap() {
                    got.push((header, apdu.to_vec()));
                }
            }
            assert_eq!(got.len(), 3, "step {step}");
            assert_eq!(got[0], (HEADER, b"abc".to_vec()));
            assert_eq!(got[1], (HEADER.reversed(), vec![]));
            assert_eq!(got[2].1.len(), 300);
            assert_eq!(deframer.buffered(), 0);
        }
    }

    #[test]
    fn garbage_and_oversize_are_refused_for_ever() {
        let mut deframer = Deframer::new(100);
        deframer.feed(&encode(HEADER, &[0; 101]).unwrap()[..8]);
        assert_eq!(deframer.next_frame(), Err(Error::TooLong { length: 101, limit: 100 }));
        deframer.feed(&encode(HEADER, b"good").unwrap());
        assert!(deframer.next_frame().is_err());
        assert_eq!(deframer.buffered(), 0);

        let mut deframer = Deframer::new(100);
        deframer.feed(b"G");
        assert!(deframer.next_frame().is_err());
        assert!(encode(HEADER, &vec![0; 65_536]).is_err());
    }
}
