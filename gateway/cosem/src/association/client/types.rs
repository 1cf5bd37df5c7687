//! What goes into a client and what comes out of it: its configuration and its indications.

use std::time::Duration;

use bytes::Bytes;

use crate::acse::{AssociateResult, Diagnostic};
use crate::apdu::get::GetResult;
use crate::apdu::{
    AttributeRef, ConfirmedServiceError, Conformance, DataAccessError, ExceptionResponse,
    MethodRef, Selection,
};
use crate::association::{
    Authentication, DEFAULT_CONFORMANCE, GeneralBlocks, Notification, Wrapping,
};
use crate::data::Data;
use crate::datetime::DateTime;
use crate::error::Error;
use crate::security::{Credentials, Keys, Policy, Secret, SystemTitle};

/// How a client associates.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Own wPort: 16 public, 1 management.
    pub client_sap: u16,
    /// Peer's wPort: logical device.
    pub server_sap: u16,
    /// How this side proves who it is.
    pub authentication: Authentication,
    /// Keys when services are ciphered; their suite is that of the association.
    pub ciphered: Option<Keys>,
    /// What must be protected how, when services are ciphered. It must be the server's.
    pub policy: Policy,
    /// What protected services are wrapped in.
    pub wrapping: Wrapping,
    /// A dedicated key for the services of this association: fresh random octets of the suite's
    /// length, given once and never again. Only when services are ciphered.
    pub dedicated_key: Option<Secret>,
    /// Keys for signatures, for agreements and for other keys.
    pub credentials: Credentials,
    /// Own system title.
    pub client_title: SystemTitle,
    /// The peer's system title, when it is known; another one is then rejected.
    pub server_title: Option<SystemTitle>,
    /// Physical device address behind a gateway; None without a gateway.
    pub gateway: Option<Bytes>,
    /// Conformance to propose.
    pub conformance: Conformance,
    /// Longest APDU that this side takes, octets; 0 = no limit.
    pub max_pdu: u16,
    /// Longest answer that is put together from blocks, octets.
    pub max_answer_octets: usize,
    /// How general block transfer is done, where it is negotiated.
    pub general: GeneralBlocks,
    /// How many requests may wait behind the one in flight.
    pub max_waiting: usize,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

impl ClientConfig {
    /// A client without authentication and ciphering.
    #[must_use]
    pub const fn new(client_sap: u16, server_sap: u16, client_title: SystemTitle) -> Self {
        Self {
            client_sap,
            server_sap,
            authentication: Authentication::None,
            ciphered: None,
            policy: Policy::BOTH,
            wrapping: Wrapping::Service,
            dedicated_key: None,
            credentials: Credentials::NONE,
            client_title,
            server_title: None,
            gateway: None,
            conformance: DEFAULT_CONFORMANCE,
            max_pdu: 0xffff,
            max_answer_octets: 4 << 20,
            general: GeneralBlocks::DEFAULT,
            max_waiting: 64,
            response_timeout: Duration::from_secs(5),
        }
    }
}

/// Names a request of this client; the low four bits go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvokeId(pub u32);

/// One thing to do in an ACCESS request.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessItem {
    /// Read, with a selection or whole.
    Get(AttributeRef, Option<Selection>),
    /// Write, with a selection or whole.
    Set(AttributeRef, Option<Selection>, Data),
    /// Invoke with parameters (null-data for none).
    Action(MethodRef, Data),
}

/// How an ACCESS request is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccessOptions {
    /// The response repeats what was asked for.
    pub self_descriptive: bool,
    /// The server stops at the first error.
    pub break_on_error: bool,
    /// When it is sent.
    pub date_time: Option<DateTime>,
}

/// What one thing of an ACCESS request led to.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessResult {
    /// Value or reason.
    Got(GetResult),
    /// Written or reason.
    Set(Result<(), DataAccessError>),
    /// What the method returned (null-data for nothing), or why it was not done.
    Acted(Result<Data, DataAccessError>),
}

/// What the machine tells its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Indication {
    /// The association is open.
    Associated {
        /// The peer's system title, when it told one.
        server_title: Option<SystemTitle>,
        /// What was negotiated.
        conformance: Conformance,
        /// Longest APDU that the peer takes, octets; 0 = no limit.
        max_pdu: u16,
    },
    /// The association was not opened; the client is closed.
    Rejected(Rejection),
    /// Answer to `get`.
    Got {
        /// Which request.
        invoke: InvokeId,
        /// Value or reason.
        result: GetResult,
    },
    /// Answer to `get_encoded`: the octets of the value.
    GotEncoded {
        /// Which request.
        invoke: InvokeId,
        /// Octets of the value, or reason.
        result: Result<Bytes, DataAccessError>,
    },
    /// Answer to `get_list`.
    GotList {
        /// Which request.
        invoke: InvokeId,
        /// Value or reason of each, in the order of the request.
        results: Vec<GetResult>,
    },
    /// Answer to `set`.
    Set {
        /// Which request.
        invoke: InvokeId,
        /// Written or reason.
        result: Result<(), DataAccessError>,
    },
    /// Answer to `set_list`.
    SetList {
        /// Which request.
        invoke: InvokeId,
        /// Written or reason, for each in the order of the request.
        results: Vec<Result<(), DataAccessError>>,
    },
    /// Answer to `action_list`.
    ActedList {
        /// Which request.
        invoke: InvokeId,
        /// What each method returned, or why it was not done, in the order of the request.
        results: Vec<Result<Option<Data>, DataAccessError>>,
    },
    /// Answer to `access`.
    Accessed {
        /// Which request.
        invoke: InvokeId,
        /// What came of each, in the order of the request; fewer when it broke on an error, which
        /// is then the last.
        results: Vec<AccessResult>,
    },
    /// A request without an answer has gone out.
    Sent {
        /// Which request.
        invoke: InvokeId,
    },
    /// Answer to `action`.
    Acted {
        /// Which request.
        invoke: InvokeId,
        /// What the method returned, or why it was not done.
        result: Result<Option<Data>, DataAccessError>,
    },
    /// A request got no usable answer; whether it was carried out is not known.
    Failed {
        /// Which request.
        invoke: InvokeId,
        /// Why.
        failure: Failure,
    },
    /// The server told something by itself.
    Notified(Notification),
    /// The reserved counters run out: `set_counters` is needed.
    NeedCounters {
        /// How many are left.
        left: u32,
    },
    /// The association was released, or the peer did not answer the release.
    Released,
}

/// Why an association was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The server said no.
    Server {
        /// Permanent or transient.
        result: AssociateResult,
        /// Why.
        diagnostic: Diagnostic,
        /// The error in its user information.
        error: Option<ConfirmedServiceError>,
    },
    /// The server answered with an exception.
    Exception(ExceptionResponse),
    /// The server answered with a confirmed-service-error.
    ServiceError(ConfirmedServiceError),
    /// The connection was lost.
    Disconnected,
    /// The server's answer is not acceptable, or it did not prove that it has the keys.
    Refused(Error),
    /// No answer in time.
    Timeout,
}

/// Why a request got no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time.
    Timeout,
    /// The server answered with an exception.
    Exception(ExceptionResponse),
    /// The server answered with a confirmed-service-error.
    ServiceError(ConfirmedServiceError),
    /// The request cannot be sent, or the answer does not fit it.
    Refused(Error),
    /// The association closed before it was sent or answered.
    Closed,
}
