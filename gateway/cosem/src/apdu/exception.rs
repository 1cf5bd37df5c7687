//! exception-response and confirmed-service-error (IEC 62056-5-3 clauses 6.11, 6.12): how a
//! server says that it cannot serve an APDU at all.

use super::tag;
use crate::axdr::Reader;
use crate::error::Error;

/// State of the server that makes the service impossible.
const SERVICE_NOT_ALLOWED: u8 = 1;
/// The service is not known to the server.
const SERVICE_UNKNOWN: u8 = 2;

/// Why the service failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceFault {
    /// 1: operation not possible.
    OperationNotPossible,
    /// 2: service not supported.
    NotSupported,
    /// 3: another reason.
    OtherReason,
    /// 4: the PDU is too long.
    PduTooLong,
    /// 5: deciphering failed.
    Deciphering,
    /// 6: the invocation counter was not above the last one; `expected` is the least accepted.
    InvocationCounter {
        /// Least counter that would be accepted.
        expected: u32,
    },
    /// A number without a name here.
    Other(u8),
}

/// exception-response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExceptionResponse {
    /// Whether the service is unknown (2) rather than not allowed now (1).
    pub service_unknown: bool,
    /// Why.
    pub fault: ServiceFault,
}

/// confirmed-service-error, numbers as sent (6 = initiate error, value 1 = version too low).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConfirmedServiceError {
    /// Service: 1 initiate, 5 read, 6 write.
    pub service: u8,
    /// Error class: 0 application reference to 6 initiate.
    pub class: u8,
    /// Error within the class.
    pub error: u8,
}

impl ExceptionResponse {
    /// The service is not allowed in the present state, because of `fault`.
    #[must_use]
    pub const fn not_allowed(fault: ServiceFault) -> Self {
        Self { service_unknown: false, fault }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let service_unknown = match reader.u8()? {
            SERVICE_NOT_ALLOWED => false,
            SERVICE_UNKNOWN => true,
            _ => return Err(reader.malformed("unknown state error of an exception-response")),
        };
        let fault = match reader.u8()? {
            1 => ServiceFault::OperationNotPossible,
            2 => ServiceFault::NotSupported,
            3 => ServiceFault::OtherReason,
            4 => ServiceFault::PduTooLong,
            5 => ServiceFault::Deciphering,
            6 => ServiceFault::InvocationCounter { expected: reader.u32()? },
            other => ServiceFault::Other(other),
        };
        Ok(Self { service_unknown, fault })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let state = if self.service_unknown { SERVICE_UNKNOWN } else { SERVICE_NOT_ALLOWED };
        out.extend_from_slice(&[tag::EXCEPTION_RESPONSE, state]);
        match self.fault {
            ServiceFault::OperationNotPossible => out.push(1),
            ServiceFault::NotSupported => out.push(2),
            ServiceFault::OtherReason => out.push(3),
            ServiceFault::PduTooLong => out.push(4),
            ServiceFault::Deciphering => out.push(5),
            ServiceFault::InvocationCounter { expected } => {
                out.push(6);
                out.extend_from_slice(&expected.to_be_bytes());
            }
            ServiceFault::Other(octet) => out.push(octet),
        }
    }
}

impl ConfirmedServiceError {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { service: reader.u8()?, class: reader.u8()?, error: reader.u8()? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[
            tag::CONFIRMED_SERVICE_ERROR,
            self.service,
            self.class,
            self.error,
        ]);
    }
}
