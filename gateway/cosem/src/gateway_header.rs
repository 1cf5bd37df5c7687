//! The gateway header (IEC 62056-5-3, gateway protocol): a prefix before the APDU that names a
//! device behind a concentrator. It stands outside ciphering and outside block transfer, and it
//! routes nothing by itself.

use bytes::Bytes;

use crate::error::Error;

/// First octet of a request through a gateway.
const REQUEST: u8 = 0xe6;
/// First octet of a response through a gateway.
const RESPONSE: u8 = 0xe7;

/// Which way the prefixed APDU goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// E6, from the head-end.
    Request,
    /// E7, back to the head-end.
    Response,
}

/// The prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Request or response.
    pub direction: Direction,
    /// Network id, 0 when there is one network.
    pub network: u8,
    /// Physical device address, at most 255 octets (with us: the meter serial in ASCII).
    pub address: Bytes,
}

/// Splits a prefix off, when there is one.
///
/// # Errors
/// `Malformed` when the address is longer than the frame.
pub fn split(apdu: &[u8]) -> Result<(Option<Prefix>, &[u8]), Error> {
    let direction = match apdu.first() {
        Some(&REQUEST) => Direction::Request,
        Some(&RESPONSE) => Direction::Response,
        _ => return Ok((None, apdu)),
    };
    let mut reader = crate::axdr::Reader::new(apdu);
    reader.u8()?;
    let network = reader.u8()?;
    let length = usize::from(reader.u8()?);
    if length > reader.remaining() {
        return Err(reader.malformed("the gateway address is longer than the frame"));
    }
    let address = Bytes::copy_from_slice(reader.take(length)?);
    Ok((Some(Prefix { direction, network, address }), reader.rest()))
}

/// Appends the prefix; the APDU follows it.
///
/// # Errors
/// `TooLong` when the address has more than 255 octets.
pub fn encode(prefix: &Prefix, out: &mut Vec<u8>) -> Result<(), Error> {
    let too_long = Error::TooLong { length: prefix.address.len(), limit: 255 };
    let length = u8::try_from(prefix.address.len()).map_err(|_| too_long)?;
    let first = match prefix.direction {
        Direction::Request => REQUEST,
        Direction::Response => RESPONSE,
    };
    out.extend_from_slice(&[first, prefix.network, length]);
    out.extend_from_slice(&prefix.address);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Direction, Prefix, encode, split};

    #[test]
    fn a_prefix_goes_both_ways_and_none_is_left_alone() {
        let prefix =
            Prefix { direction: Direction::Response, network: 3, address: b"A77".as_ref().into() };
        let mut out = Vec::new();
        encode(&prefix, &mut out).unwrap();
        out.extend_from_slice(&[0xc4, 1]);
        assert_eq!(split(&out).unwrap(), (Some(prefix), &[0xc4, 1][..]));
        assert_eq!(split(&[0xc4, 1]).unwrap(), (None, &[0xc4, 1][..]));
        assert!(split(&[0xe6, 0, 255, 1]).is_err());
    }
}
