//! The application protocol data units of xDLMS (IEC 62056-5-3): octets to an `Apdu` and back. It
//! opens no ciphering (that is `security`) and keeps no state (that is `association`).
//!
//! Invariants: every decoder is bounded by its input and refuses octets left over; what decodes
//! encodes to an APDU of the same meaning, and to the same octets when those were canonical.

pub mod access;
pub mod action;
pub mod block;
pub mod ciphered;
pub mod exception;
pub mod get;
pub mod initiate;
pub mod notification;
pub mod reference;
pub mod result;
pub mod set;

use crate::acse::{Aare, Aarq, Release};
use crate::axdr::Reader;
use crate::error::Error;

pub use access::{AccessRequest, AccessResponse};
pub use action::{ActionRequest, ActionResponse};
pub use block::GeneralBlock;
pub use ciphered::{GeneralCiphering, GeneralHeader, GeneralSigning, KeyInfo, Protected};
pub use exception::{ConfirmedServiceError, ExceptionResponse, ServiceFault};
pub use get::{GetRequest, GetResponse};
pub use initiate::{Conformance, InitiateRequest, InitiateResponse};
pub use notification::{Body, DataNotification, EventNotification};
pub use reference::Selection;
pub use reference::{AttributeRef, InvokePriority, LogicalName, LongInvokePriority, MethodRef};
pub use result::{ActionResult, DataAccessError};
pub use set::{SetRequest, SetResponse};

/// Tags of APDUs.
pub mod tag {
    /// initiate-request.
    pub const INITIATE_REQUEST: u8 = 0x01;
    /// initiate-response.
    pub const INITIATE_RESPONSE: u8 = 0x08;
    /// confirmed-service-error.
    pub const CONFIRMED_SERVICE_ERROR: u8 = 0x0e;
    /// data-notification.
    pub const DATA_NOTIFICATION: u8 = 0x0f;
    /// AARQ.
    pub const AARQ: u8 = 0x60;
    /// AARE.
    pub const AARE: u8 = 0x61;
    /// RLRQ.
    pub const RLRQ: u8 = 0x62;
    /// RLRE.
    pub const RLRE: u8 = 0x63;
    /// get-request.
    pub const GET_REQUEST: u8 = 0xc0;
    /// set-request.
    pub const SET_REQUEST: u8 = 0xc1;
    /// event-notification-request.
    pub const EVENT_NOTIFICATION: u8 = 0xc2;
    /// action-request.
    pub const ACTION_REQUEST: u8 = 0xc3;
    /// get-response.
    pub const GET_RESPONSE: u8 = 0xc4;
    /// set-response.
    pub const SET_RESPONSE: u8 = 0xc5;
    /// action-response.
    pub const ACTION_RESPONSE: u8 = 0xc7;
    /// exception-response.
    pub const EXCEPTION_RESPONSE: u8 = 0xd8;
    /// access-request.
    pub const ACCESS_REQUEST: u8 = 0xd9;
    /// access-response.
    pub const ACCESS_RESPONSE: u8 = 0xda;
    /// general-glo-ciphering.
    pub const GENERAL_GLO: u8 = 0xdb;
    /// general-ded-ciphering.
    pub const GENERAL_DED: u8 = 0xdc;
    /// general-ciphering.
    pub const GENERAL_CIPHERING: u8 = 0xdd;
    /// general-signing.
    pub const GENERAL_SIGNING: u8 = 0xdf;
    /// general-block-transfer.
    pub const GENERAL_BLOCK_TRANSFER: u8 = 0xe0;
}

/// An APDU.
#[derive(Debug, Clone, PartialEq)]
pub enum Apdu {
    /// initiate-request.
    InitiateRequest(InitiateRequest),
    /// initiate-response.
    InitiateResponse(InitiateResponse),
    /// confirmed-service-error.
    ConfirmedServiceError(ConfirmedServiceError),
    /// AARQ.
    Aarq(Aarq),
    /// AARE.
    Aare(Aare),
    /// RLRQ.
    Rlrq(Release),
    /// RLRE.
    Rlre(Release),
    /// get-request.
    GetRequest(GetRequest),
    /// get-response.
    GetResponse(GetResponse),
    /// set-request.
    SetRequest(SetRequest),
    /// set-response.
    SetResponse(SetResponse),
    /// action-request.
    ActionRequest(ActionRequest),
    /// action-response.
    ActionResponse(ActionResponse),
    /// event-notification-request.
    EventNotification(EventNotification),
    /// data-notification.
    DataNotification(DataNotification),
    /// exception-response.
    ExceptionResponse(ExceptionResponse),
    /// access-request.
    AccessRequest(AccessRequest),
    /// access-response.
    AccessResponse(AccessResponse),
    /// glo-, ded-, general-glo- and general-ded-ciphering.
    Protected(Protected),
    /// general-ciphering.
    GeneralCiphering(GeneralCiphering),
    /// general-signing.
    GeneralSigning(GeneralSigning),
    /// general-block-transfer.
    GeneralBlock(GeneralBlock),
}

impl Apdu {
    /// Decodes one APDU that must fill `octets`. A gateway header is split off before.
    ///
    /// # Errors
    /// `Malformed` with the offset at which the octets stop making sense.
    pub fn decode(octets: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(octets);
        let apdu = Self::from_axdr(&mut reader)?;
        reader.finish()?;
        Ok(apdu)
    }

    fn from_axdr(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let tag = reader.u8()?;
        Ok(match tag {
            tag::INITIATE_REQUEST => Self::InitiateRequest(InitiateRequest::read(reader)?),
            tag::INITIATE_RESPONSE => Self::InitiateResponse(InitiateResponse::read(reader)?),
            tag::CONFIRMED_SERVICE_ERROR => {
                Self::ConfirmedServiceError(ConfirmedServiceError::read(reader)?)
            }
            tag::DATA_NOTIFICATION => Self::DataNotification(DataNotification::read(reader)?),
            tag::AARQ => Self::Aarq(Aarq::read(reader)?),
            tag::AARE => Self::Aare(Aare::read(reader)?),
            tag::RLRQ => Self::Rlrq(Release::read(reader)?),
            tag::RLRE => Self::Rlre(Release::read(reader)?),
            tag::GET_REQUEST => Self::GetRequest(GetRequest::read(reader)?),
            tag::GET_RESPONSE => Self::GetResponse(GetResponse::read(reader)?),
            tag::SET_REQUEST => Self::SetRequest(SetRequest::read(reader)?),
            tag::SET_RESPONSE => Self::SetResponse(SetResponse::read(reader)?),
            tag::ACTION_REQUEST => Self::ActionRequest(ActionRequest::read(reader)?),
            tag::ACTION_RESPONSE => Self::ActionResponse(ActionResponse::read(reader)?),
            tag::EVENT_NOTIFICATION => Self::EventNotification(EventNotification::read(reader)?),
            tag::EXCEPTION_RESPONSE => Self::ExceptionResponse(ExceptionResponse::read(reader)?),
            tag::ACCESS_REQUEST => Self::AccessRequest(AccessRequest::read(reader)?),
            tag::ACCESS_RESPONSE => Self::AccessResponse(AccessResponse::read(reader)?),
            tag::GENERAL_CIPHERING => Self::GeneralCiphering(GeneralCiphering::read(reader)?),
            tag::GENERAL_SIGNING => Self::GeneralSigning(GeneralSigning::read(reader)?),
            tag::GENERAL_BLOCK_TRANSFER => Self::GeneralBlock(GeneralBlock::read(reader)?),
            _ => match Protected::read(tag, reader)? {
                Some(protected) => Self::Protected(protected),
                None if is_short_name(tag) => return Err(Error::ShortName),
                None => return Err(Error::malformed(0, "unknown APDU tag")),
            },
        })
    }

    /// The octets of the APDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::InitiateRequest(apdu) => apdu.put(&mut out),
            Self::InitiateResponse(apdu) => apdu.put(&mut out),
            Self::ConfirmedServiceError(apdu) => apdu.put(&mut out),
            Self::Aarq(apdu) => apdu.put(&mut out),
            Self::Aare(apdu) => apdu.put(&mut out),
            Self::Rlrq(apdu) => apdu.put(tag::RLRQ, &mut out),
            Self::Rlre(apdu) => apdu.put(tag::RLRE, &mut out),
            Self::GetRequest(apdu) => apdu.put(&mut out),
            Self::GetResponse(apdu) => apdu.put(&mut out),
            Self::SetRequest(apdu) => apdu.put(&mut out),
            Self::SetResponse(apdu) => apdu.put(&mut out),
            Self::ActionRequest(apdu) => apdu.put(&mut out),
            Self::ActionResponse(apdu) => apdu.put(&mut out),
            Self::EventNotification(apdu) => apdu.put(&mut out),
            Self::DataNotification(apdu) => apdu.put(&mut out),
            Self::ExceptionResponse(apdu) => apdu.put(&mut out),
            Self::AccessRequest(apdu) => apdu.put(&mut out),
            Self::AccessResponse(apdu) => apdu.put(&mut out),
            Self::Protected(apdu) => apdu.put(&mut out),
            Self::GeneralCiphering(apdu) => apdu.put(&mut out),
            Self::GeneralSigning(apdu) => apdu.put(&mut out),
            Self::GeneralBlock(apdu) => apdu.put(&mut out),
        }
        out
    }
}

/// Whether a tag belongs to the services of short-name referencing, plain or protected: read,
/// write, unconfirmed write and information report.
#[must_use]
pub const fn is_short_name(tag: u8) -> bool {
    const PLAIN: [u8; 6] = [0x05, 0x06, 0x0c, 0x0d, 0x16, 0x18];
    let mut at = 0;
    while at < PLAIN.len() {
        if tag == PLAIN[at] || tag == PLAIN[at] + 0x20 {
            return true;
        }
        at += 1;
    }
    false
}
