//! What SNRM proposes and UA grants (IEC 62056-46 clause 6.4.4.4.3.2): how long an information
//! field and how many frames before an answer, in each direction, as the sender of the octets
//! sees it. It does not know frames.
//!
//! Invariants: a length is 1..=2030 octets and a window 1..=7, whatever the peer asked for.

use crate::axdr::Reader;
use crate::error::Error;

/// Longest information field of a frame with the longest addresses: 2047 octets that the format
/// field can announce, less format 2, addresses 4 + 4, control 1, check sequences 2 + 2, and
/// rounded down to what the standard names.
pub const MAX_INFORMATION_OCTETS: u16 = 2030;

/// Largest window with sequence numbers of three bits.
pub const MAX_WINDOW: u8 = 7;

/// Format identifier and group identifier before the parameters.
const HEAD: [u8; 2] = [0x81, 0x80];

/// Limits of one side; "transmit" is what that side sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Longest information field that it sends, octets.
    pub transmit_octets: u16,
    /// Longest information field that it takes, octets.
    pub receive_octets: u16,
    /// Frames that it sends before it waits.
    pub transmit_window: u8,
    /// Frames that it takes before it answers.
    pub receive_window: u8,
}

impl Default for Parameters {
    /// What holds for a side that says nothing: 128 octets and one frame.
    fn default() -> Self {
        Self { transmit_octets: 128, receive_octets: 128, transmit_window: 1, receive_window: 1 }
    }
}

impl Parameters {
    /// The same with every number moved into its range.
    #[must_use]
    pub fn bounded(self) -> Self {
        let octets = |value: u16| value.clamp(1, MAX_INFORMATION_OCTETS);
        let window = |value: u8| value.clamp(1, MAX_WINDOW);
        Self {
            transmit_octets: octets(self.transmit_octets),
            receive_octets: octets(self.receive_octets),
            transmit_window: window(self.transmit_window),
            receive_window: window(self.receive_window),
        }
    }

    /// Our limits once the peer's are known: the smaller of what one sends and the other takes.
    #[must_use]
    pub fn agreed(self, peer: Self) -> Self {
        Self {
            transmit_octets: self.transmit_octets.min(peer.receive_octets),
            receive_octets: self.receive_octets.min(peer.transmit_octets),
            transmit_window: self.transmit_window.min(peer.receive_window),
            receive_window: self.receive_window.min(peer.transmit_window),
        }
        .bounded()
    }

    /// From the information field of SNRM or UA. An empty field means the default. Parameters
    /// that are not named keep the default; unknown ones are passed over.
    ///
    /// # Errors
    /// `Malformed` when the field has another head, or lengths that do not fit.
    pub fn decode(information: &[u8]) -> Result<Self, Error> {
        let mut parameters = Self::default();
        if information.is_empty() {
            return Ok(parameters);
        }
        let mut reader = Reader::new(information);
        if reader.array::<2>()? != HEAD {
            return Err(Error::malformed(0, "not the head of HDLC parameters"));
        }
        let length = usize::from(reader.u8()?);
        let mut group = Reader::new(reader.take(length)?);
        while !group.is_empty() {
            let id = group.u8()?;
            let length = usize::from(group.u8()?);
            let octets = group.take(length)?;
            match id {
                0x05 => parameters.transmit_octets = number(octets)?,
                0x06 => parameters.receive_octets = number(octets)?,
                0x07 => parameters.transmit_window = window(octets)?,
                0x08 => parameters.receive_window = window(octets)?,
                _ => {}
            }
        }
        Ok(parameters.bounded())
    }

    /// The information field of SNRM or UA: lengths in one or two octets, windows in four.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(23);
        out.extend_from_slice(&HEAD);
        out.push(0);
        for (id, octets) in [(0x05, self.transmit_octets), (0x06, self.receive_octets)] {
            match u8::try_from(octets) {
                Ok(octet) => out.extend_from_slice(&[id, 1, octet]),
                Err(_) => {
                    out.extend_from_slice(&[id, 2]);
                    out.extend_from_slice(&octets.to_be_bytes());
                }
            }
        }
        for (id, window) in [(0x07, self.transmit_window), (0x08, self.receive_window)] {
            out.extend_from_slice(&[id, 4, 0, 0, 0, window]);
        }
        // Two lengths of at most 4 octets and two windows of 6: it always fits.
        out[2] = u8::try_from(out.len() - 3).unwrap_or(u8::MAX);
        out
    }
}

/// A number of 1, 2 or 4 octets; one beyond 16 bits counts as the largest of them, as every
/// number is bounded afterwards.
fn number(octets: &[u8]) -> Result<u16, Error> {
    match *octets {
        [low] => Ok(u16::from(low)),
        [high, low] => Ok(u16::from_be_bytes([high, low])),
        [0, 0, high, low] => Ok(u16::from_be_bytes([high, low])),
        [_, _, _, _] => Ok(u16::MAX),
        _ => Err(Error::malformed(0, "a parameter of other than 1, 2 or 4 octets")),
    }
}

fn window(octets: &[u8]) -> Result<u8, Error> {
    number(octets).map(|number| u8::try_from(number).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::Parameters;

    fn parameters(octets: [u16; 2], windows: [u8; 2]) -> Parameters {
        Parameters {
            transmit_octets: octets[0],
            receive_octets: octets[1],
            transmit_window: windows[0],
            receive_window: windows[1],
        }
    }

    #[test]
    fn numbers_of_every_length_are_read() {
        let check = |octets: &[u8], expect| {
            assert_eq!(Parameters::decode(octets).unwrap(), expect, "{octets:?}");
        };
        check(&[], Parameters::default());
        check(&[0x81, 0x80, 0], Parameters::default());
        check(&[0x81, 0x80, 3, 5, 1, 200], parameters([200, 128], [1, 1]));
        check(&[0x81, 0x80, 4, 6, 2, 4, 0], parameters([128, 1024], [1, 1]));
        check(&[0x81, 0x80, 6, 5, 4, 0, 1, 0, 0], parameters([2030, 128], [1, 1]));
        check(&[0x81, 0x80, 6, 7, 1, 3, 8, 1, 0], parameters([128, 128], [3, 1]));
        check(&[0x81, 0x80, 6, 7, 1, 200, 9, 1, 0], parameters([128, 128], [7, 1]));
    }

    #[test]
    fn what_is_encoded_decodes() {
        for octets in [1, 128, 255, 256, 2030] {
            for window in 1..=7 {
                let expect = parameters([octets, 300], [window, 1]);
                assert_eq!(Parameters::decode(&expect.encode()).unwrap(), expect);
            }
        }
    }

    #[test]
    fn bad_fields_are_refused() {
        for octets in [
            &[0x81][..],
            &[0x82, 0x80, 0],
            &[0x81, 0x80, 9, 5],
            &[0x81, 0x80, 2, 5, 1],
            &[0x81, 0x80, 5, 5, 3, 0, 0, 0],
            &[0x81, 0x80, 2, 5, 0],
        ] {
            assert!(Parameters::decode(octets).is_err(), "{octets:?}");
        }
    }

    #[test]
    fn each_direction_takes_the_smaller() {
        let ours = parameters([500, 2000], [7, 4]);
        let theirs = parameters([1000, 62], [2, 3]);
        assert_eq!(ours.agreed(theirs), parameters([62, 1000], [3, 2]));
    }
}
