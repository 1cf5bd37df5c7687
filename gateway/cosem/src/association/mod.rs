//! Associations (IEC 62056-5-3 clause 4): the client's and the server's machine, and sealed
//! notifications, which need none. Sans-IO: after every call that goes in, the driver asks
//! `poll_transmit`, `poll` and `poll_timeout`.
//!
//! Invariants of both machines: at most one request is in flight; every queue and every
//! reassembly is bounded; a frame that is refused changes no state but the caller's counters; a
//! protected frame is believed only after its tag verified and its counter rose.

mod authentication;
pub mod client;
mod general;
mod protection;
pub mod sealed;
pub mod server;
mod transfer;

use bytes::Bytes;

use crate::apdu::{Conformance, MethodRef};
use crate::error::Error;
use crate::gateway_header::{self, Direction, Prefix};
use crate::wrapper::{self, Header};

pub use authentication::Authentication;
pub use client::{
    AccessItem, AccessOptions, AccessResult, Client, ClientConfig, Failure, Indication, InvokeId,
    Rejection,
};
pub use general::{GeneralBlocks, GeneralUse};
pub use protection::{Highest, KeyUse, Wrapping};
pub use sealed::{Notification, open_notification, peek_sender, seal_encoded, seal_notification};
pub use server::{
    AcceptedCounters, Answer, Level, Request, Server, ServerConfig, ServerIndication,
};

/// Method `reply_to_HLS_authentication` of the current association object.
pub const REPLY_TO_HLS: MethodRef = MethodRef::new(15, [0, 0, 40, 0, 0, 255], 1);

/// Client SAP of the public client, which reads without authentication.
pub const PUBLIC_CLIENT: u16 = 16;

/// Octets by which protection can lengthen an APDU: tag 1, title 9, length 3, security header 5,
/// authentication tag 12; rounded up.
const PROTECTION_OCTETS: usize = 32;

/// Puts gateway prefix and wrapper around an APDU.
fn frame(
    header: Header,
    direction: Direction,
    gateway: Option<&Bytes>,
    apdu: &[u8],
) -> Result<Vec<u8>, Error> {
    let Some(address) = gateway else {
        return wrapper::encode(header, apdu);
    };
    let mut prefixed = Vec::with_capacity(3 + address.len() + apdu.len());
    let prefix = Prefix { direction, network: 0, address: address.clone() };
    gateway_header::encode(&prefix, &mut prefixed)?;
    prefixed.extend_from_slice(apdu);
    wrapper::encode(header, &prefixed)
}

/// The APDU behind the gateway prefix, which must be there exactly when an address is configured.
fn unframe<'a>(gateway: Option<&Bytes>, octets: &'a [u8]) -> Result<&'a [u8], Error> {
    let (prefix, apdu) = gateway_header::split(octets)?;
    if prefix.as_ref().map(|prefix| &prefix.address) == gateway {
        Ok(apdu)
    } else {
        Err(Error::WrongAddress)
    }
}

/// Longest unprotected APDU that fits a peer's limit when protection adds `overhead` octets; 0 is
/// no limit but the wrapper's.
fn room(max_pdu: u16, overhead: usize) -> usize {
    let limit = if max_pdu == 0 { wrapper::MAX_APDU_OCTETS } else { usize::from(max_pdu) };
    // A frame also carries the gateway prefix, at most 3 + 255 octets outside the APDU.
    let limit = limit.min(wrapper::MAX_APDU_OCTETS - 258);
    limit.saturating_sub(overhead)
}

/// What our machines propose and accept by default.
const DEFAULT_CONFORMANCE: Conformance =
    Conformance(Conformance::OURS.0 | Conformance::GENERAL_PROTECTION.0);
