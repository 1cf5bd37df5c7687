//! What goes into a server and what comes out of it: its configuration, the requests that its
//! driver answers, and the counters that it must remember.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::apdu::action::ActionAnswer;
use crate::apdu::get::GetResult;
use crate::apdu::{AttributeRef, Conformance, DataAccessError, MethodRef, Selection};
use crate::association::{Authentication, DEFAULT_CONFORMANCE, GeneralBlocks, Highest, KeyUse};
use crate::data::Data;
use crate::security::{Credentials, Keys, Policy, SystemTitle};

/// Most client titles whose counters are remembered; a further one is refused, since forgetting
/// one would open it to replay.
const MAX_TITLES: usize = 64;

/// How a server lets clients in.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Own wPort: the logical device.
    pub server_sap: u16,
    /// Own system title.
    pub system_title: SystemTitle,
    /// How a client has to prove who it is.
    pub authentication: Authentication,
    /// Keys when services are ciphered; their suite is that of the association.
    pub ciphered: Option<Keys>,
    /// What must be protected how, when services are ciphered. An answer is protected no less
    /// than its request.
    pub policy: Policy,
    /// Keys for signatures, for agreements and for other keys.
    pub credentials: Credentials,
    /// Whether the public client (SAP 16) may associate without authentication and ciphering;
    /// the driver judges what it may read.
    pub allow_public: bool,
    /// Own physical device address behind a gateway; None without a gateway.
    pub gateway: Option<Bytes>,
    /// What this side can do.
    pub conformance: Conformance,
    /// Longest APDU that this side takes, octets; 0 = no limit.
    pub max_pdu: u16,
    /// Longest request that is put together from blocks, octets.
    pub max_request_octets: usize,
    /// How general block transfer is done, where it is negotiated.
    pub general: GeneralBlocks,
    /// After how long without a frame an association is given up; None = never.
    pub idle_timeout: Option<Duration>,
}

impl ServerConfig {
    /// A server without authentication and ciphering.
    #[must_use]
    pub const fn new(server_sap: u16, system_title: SystemTitle) -> Self {
        Self {
            server_sap,
            system_title,
            authentication: Authentication::None,
            ciphered: None,
            policy: Policy::BOTH,
            credentials: Credentials::NONE,
            allow_public: true,
            gateway: None,
            conformance: DEFAULT_CONFORMANCE,
            max_pdu: 0xffff,
            max_request_octets: 1 << 20,
            general: GeneralBlocks::DEFAULT,
            idle_timeout: None,
        }
    }
}

/// Highest counters accepted from each client title, under each kind of key. They belong to the
/// device, not to the connection: the driver carries them from one `Server` to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedCounters(BTreeMap<SystemTitle, Highest>);

impl AcceptedCounters {
    /// Highest counter accepted from `title` under the unicast key.
    #[must_use]
    pub fn highest(&self, title: &SystemTitle) -> Option<u32> {
        self.0.get(title).and_then(|highest| highest.get(KeyUse::Unicast))
    }

    /// Highest counters accepted from `title`.
    #[must_use]
    pub fn of(&self, title: &SystemTitle) -> Highest {
        self.0.get(title).cloned().unwrap_or_default()
    }

    /// Whether a counter of `title` could be remembered.
    #[must_use]
    pub fn has_room(&self, title: &SystemTitle) -> bool {
        self.0.len() < MAX_TITLES || self.0.contains_key(title)
    }

    /// Remembers a counter of the unicast key; a lower one than before changes nothing.
    pub fn raise(&mut self, title: SystemTitle, counter: u32) {
        let mut highest = Highest::default();
        highest.raise(KeyUse::Unicast, counter);
        self.raise_all(title, &highest);
    }

    /// Remembers counters of any keys; lower ones than before change nothing.
    pub fn raise_all(&mut self, title: SystemTitle, counters: &Highest) {
        if self.has_room(&title) {
            self.0.entry(title).or_default().merge(counters);
        }
    }

    /// Takes over all counters that another connection of the same device has seen.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(title, counters)| self.raise_all(*title, counters));
    }

    /// A key was changed: its counters begin anew with every client.
    pub fn forget(&mut self, key: KeyUse) {
        self.0.values_mut().for_each(|highest| highest.forget(key));
    }
}

/// How much a client has proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Nothing: the public client, or a server that asks for nothing.
    Public,
    /// The password.
    Lls,
    /// A secret, by MD5.
    Hls3,
    /// A secret, by SHA-1.
    Hls4,
    /// The keys.
    Hls5,
    /// A secret, by SHA-256.
    Hls6,
    /// Its private signing key.
    Hls7,
}

impl Level {
    /// Whether a challenge was answered, which a recorded association cannot do.
    #[must_use]
    pub const fn is_high(self) -> bool {
        !matches!(self, Self::Public | Self::Lls)
    }
}

/// What the machine tells its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerIndication {
    /// A client is associated.
    Associated {
        /// Its wPort.
        client_sap: u16,
        /// Its system title, when it told one.
        client_title: Option<SystemTitle>,
        /// What it has proved.
        level: Level,
    },
    /// To be answered by `respond`; the next one comes only after that.
    Request(Request),
    /// The association has ended.
    Released,
}

/// One thing to do; a request with a list comes as several, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Read; answered by `Answer::Got` or `Answer::Encoded`.
    Get {
        /// What.
        attribute: AttributeRef,
        /// Which part of it.
        selection: Option<Selection>,
    },
    /// Write; answered by `Answer::Set`.
    Set {
        /// What.
        attribute: AttributeRef,
        /// Which part of it.
        selection: Option<Selection>,
        /// The new value.
        value: Data,
    },
    /// Invoke; answered by `Answer::Acted`.
    Action {
        /// What.
        method: MethodRef,
        /// With what.
        parameters: Option<Data>,
    },
}

/// The driver's answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A value or a reason.
    Got(GetResult),
    /// The octets of a value, encoded already (a long profile).
    Encoded(Vec<u8>),
    /// Written or a reason.
    Set(Result<(), DataAccessError>),
    /// Done, with what it returns, or a reason.
    Acted(ActionAnswer),
}

impl Answer {
    /// A method was done and returns nothing.
    #[must_use]
    pub const fn done() -> Self {
        Self::Acted(ActionAnswer { result: Ok(()), returned: None })
    }

    /// A request that is refused, whatever it is.
    #[must_use]
    pub const fn refused(request: &Request, reason: DataAccessError) -> Self {
        match request {
            Request::Get { .. } => Self::Got(Err(reason)),
            Request::Set { .. } => Self::Set(Err(reason)),
            Request::Action { .. } => {
                Self::Acted(ActionAnswer { result: Err(reason), returned: None })
            }
        }
    }
}
