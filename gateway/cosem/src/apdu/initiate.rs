//! initiate-request and -response (IEC 62056-5-3 clause 6.1): what both sides can do, and how
//! long an APDU may be.

use std::fmt;

use zeroize::Zeroizing;

use super::tag;
use crate::axdr::{Reader, put_octets};
use crate::error::Error;

/// The DLMS version that there is.
pub const DLMS_VERSION: u8 = 6;
/// VAA name of logical-name referencing.
pub const VAA_LOGICAL_NAME: u16 = 0x0007;
/// Tag and length of the conformance block: [APPLICATION 31], 4 octets, no unused bits.
const CONFORMANCE_HEAD: [u8; 4] = [0x5f, 0x1f, 0x04, 0x00];

/// The conformance block: 24 bits, bit 0 the highest of the first octet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Conformance(pub u32);

/// Bit numbers and the standard's names; bits 0 and 7 are reserved.
const NAMES: [(u8, &str); 22] = [
    (1, "general-protection"),
    (2, "general-block-transfer"),
    (3, "read"),
    (4, "write"),
    (5, "unconfirmed-write"),
    (6, "delta-value-encoding"),
    (8, "attribute0-supported-with-set"),
    (9, "priority-mgmt-supported"),
    (10, "attribute0-supported-with-get"),
    (11, "block-transfer-with-get-or-read"),
    (12, "block-transfer-with-set-or-write"),
    (13, "block-transfer-with-action"),
    (14, "multiple-references"),
    (15, "information-report"),
    (16, "data-notification"),
    (17, "access"),
    (18, "parameterised-access"),
    (19, "get"),
    (20, "set"),
    (21, "selective-access"),
    (22, "event-notification"),
    (23, "action"),
];

impl Conformance {
    /// general-glo and its kin may protect services.
    pub const GENERAL_PROTECTION: Self = Self::bit(1);
    /// Any APDU by general block transfer.
    pub const GENERAL_BLOCKS: Self = Self::bit(2);
    /// Long answers of GET by blocks.
    pub const BLOCK_GET: Self = Self::bit(11);
    /// Long values of SET by blocks.
    pub const BLOCK_SET: Self = Self::bit(12);
    /// Long parameters and answers of ACTION by blocks.
    pub const BLOCK_ACTION: Self = Self::bit(13);
    /// Several references in one request.
    pub const MULTIPLE_REFERENCES: Self = Self::bit(14);
    /// Data-notification.
    pub const DATA_NOTIFICATION: Self = Self::bit(16);
    /// ACCESS.
    pub const ACCESS: Self = Self::bit(17);
    /// GET.
    pub const GET: Self = Self::bit(19);
    /// SET.
    pub const SET: Self = Self::bit(20);
    /// Selective access.
    pub const SELECTIVE_ACCESS: Self = Self::bit(21);
    /// Event-notification.
    pub const EVENT_NOTIFICATION: Self = Self::bit(22);
    /// ACTION.
    pub const ACTION: Self = Self::bit(23);

    /// What both our machines do: GET, SET, ACTION, all with blocks and lists, ACCESS, general
    /// block transfer, selective access, notifications.
    pub const OURS: Self = Self(
        Self::GENERAL_BLOCKS.0
            | Self::BLOCK_GET.0
            | Self::BLOCK_SET.0
            | Self::BLOCK_ACTION.0
            | Self::MULTIPLE_REFERENCES.0
            | Self::DATA_NOTIFICATION.0
            | Self::ACCESS.0
            | Self::GET.0
            | Self::SET.0
            | Self::SELECTIVE_ACCESS.0
            | Self::EVENT_NOTIFICATION.0
            | Self::ACTION.0,
    );

    const fn bit(number: u32) -> Self {
        Self(1 << (23 - number))
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both sides have.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The standard's names of the bits that are set, bit 0 first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = move |(bit, name): (u8, &'static str)| {
            self.has(Self::bit(u32::from(bit))).then_some(name)
        };
        NAMES.into_iter().filter_map(set)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        // Some meters leave the second octet of the tag out.
        let head: [u8; 2] = reader.array()?;
        let length = if head == [0x5f, 0x1f] { reader.u8()? } else { head[1] };
        if head[0] != CONFORMANCE_HEAD[0] || length != 4 || reader.u8()? != 0 {
            return Err(reader.malformed("not a conformance block of 24 bits"));
        }
        let [a, b, c] = reader.array()?;
        Ok(Self(u32::from_be_bytes([0, a, b, c])))
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&CONFORMANCE_HEAD);
        out.extend_from_slice(&self.0.to_be_bytes()[1..]);
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// initiate-request.
#[derive(Clone, PartialEq, Eq)]
pub struct InitiateRequest {
    /// Dedicated key, which only a ciphered request may carry.
    pub dedicated_key: Option<Zeroizing<Vec<u8>>>,
    /// Whether an answer is allowed.
    pub response_allowed: bool,
    /// Quality of service, which nobody uses.
    pub quality_of_service: Option<i8>,
    /// DLMS version, 6.
    pub version: u8,
    /// What the client proposes.
    pub conformance: Conformance,
    /// Longest APDU that the client takes, octets; 0 = no limit.
    pub max_pdu: u16,
}

impl fmt::Debug for InitiateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dedicated_key = self.dedicated_key.as_ref().map(|_| "..");
        f.debug_struct("InitiateRequest")
            .field("dedicated_key", &dedicated_key)
            .field("response_allowed", &self.response_allowed)
            .field("quality_of_service", &self.quality_of_service)
            .field("version", &self.version)
            .field("conformance", &self.conformance)
            .field("max_pdu", &self.max_pdu)
            .finish()
    }
}

/// initiate-response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitiateResponse {
    /// Quality of service, which nobody uses.
    pub quality_of_service: Option<i8>,
    /// DLMS version, 6.
    pub version: u8,
    /// What was negotiated.
    pub conformance: Conformance,
    /// Longest APDU that the server takes, octets; 0 = no limit.
    pub max_pdu: u16,
    /// 0007 for logical-name referencing.
    pub vaa_name: u16,
}

impl InitiateRequest {
    /// A request without dedicated key.
    #[must_use]
    pub const fn new(conformance: Conformance, max_pdu: u16) -> Self {
        Self {
            dedicated_key: None,
            response_allowed: true,
            quality_of_service: None,
            version: DLMS_VERSION,
            conformance,
            max_pdu,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let dedicated_key =
            if reader.flag()? { Some(Zeroizing::new(reader.octets()?.to_vec())) } else { None };
        // BOOLEAN DEFAULT TRUE: an absent value means true.
        let response_allowed = if reader.flag()? { reader.flag()? } else { true };
        let quality_of_service = read_quality(reader)?;
        let version = reader.u8()?;
        let conformance = Conformance::read(reader)?;
        let max_pdu = reader.u16()?;
        Ok(Self {
            dedicated_key,
            response_allowed,
            quality_of_service,
            version,
            conformance,
            max_pdu,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::INITIATE_REQUEST);
        match &self.dedicated_key {
            None => out.push(0),
            Some(key) => {
                out.push(1);
                put_octets(out, key);
            }
        }
        if self.response_allowed {
            out.push(0)
        } else {
            out.extend_from_slice(&[1, 0])
        }
        put_quality(self.quality_of_service, out);
        out.push(self.version);
        self.conformance.put(out);
        out.extend_from_slice(&self.max_pdu.to_be_bytes());
    }
}

impl InitiateResponse {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            quality_of_service: read_quality(reader)?,
            version: reader.u8()?,
            conformance: Conformance::read(reader)?,
            max_pdu: reader.u16()?,
            vaa_name: reader.u16()?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::INITIATE_RESPONSE);
        put_quality(self.quality_of_service, out);
        out.push(self.version);
        self.conformance.put(out);
        out.extend_from_slice(&self.max_pdu.to_be_bytes());
        out.extend_from_slice(&self.vaa_name.to_be_bytes());
    }
}

fn read_quality(reader: &mut Reader<'_>) -> Result<Option<i8>, Error> {
    Ok(if reader.flag()? { Some(i8::from_be_bytes(reader.array()?)) } else { None })
}

fn put_quality(quality: Option<i8>, out: &mut Vec<u8>) {
    match quality {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}
