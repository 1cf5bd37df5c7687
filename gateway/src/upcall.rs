//! What the gateway asks the cluster. One bounded channel carries every question with its deadline
//! and the way back; the node's wiring answers. Nothing here knows how the cluster works.
//!
//! Invariants: 1. `Ingest` is answered Ok only after the commit; 2. an unanswered question counts
//! as `Unavailable` and is asked again with the same content, so every answerer is idempotent;
//! 3. keys
//! are `Zeroizing` and no `Debug` prints them.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use domain::alarms;
use domain::assets::{Authentication, Security};
use domain::leases::{Reason, Role};
use domain::readings::{Hole, Part, Refill};
use domain::tasks::Report;
use domain::{Device, NodeId, Obis};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::collect::pieces::{TaskDevices, TaskQuery, TaskWork};
use crate::error::Denied;
use crate::model::Model;

/// One question with its deadline and its way back.
pub struct Ask<Q, A> {
    /// What is asked.
    pub request: Q,
    /// An answer after this time is not waited for any more.
    pub deadline: Instant,
    reply: oneshot::Sender<Result<A, Denied>>,
}

impl<Q, A> Ask<Q, A> {
    /// A question, and the end on which its answer arrives.
    pub fn new(request: Q, deadline: Instant) -> (Self, oneshot::Receiver<Result<A, Denied>>) {
        let (reply, answer) = oneshot::channel();
        (Self { request, deadline, reply }, answer)
    }

    /// Answers. Nobody may listen any more; that is no fault.
    pub fn answer(self, answer: Result<A, Denied>) {
        let _ = self.reply.send(answer);
    }

    /// Takes the question apart, to answer from another task.
    pub fn into_parts(self) -> (Q, Instant, oneshot::Sender<Result<A, Denied>>) {
        (self.request, self.deadline, self.reply)
    }
}

/// All questions.
pub enum Upcall {
    /// Which concentrator has this system title, and with which keys does it speak?
    Admit(Ask<Admit, Admission>),
    /// How is this meter spoken to?
    Meter(Ask<MeterQuery, MeterAccess>),
    /// Which ordinals have the meters behind this concentrator?
    Roster(Ask<RosterQuery, HashMap<String, u32>>),
    /// A block of invocation counters; answered with the first of `count`.
    Reserve(Ask<Reserve, u32>),
    /// The device reports a higher counter than ours: move the sequence up.
    RaiseCounter(Ask<RaiseCounter, ()>),
    /// The lease of a device.
    Claim(Ask<Claim, Claimed>),
    /// The channel of the lease is gone.
    Release(Ask<Release, ()>),
    /// A standby channel stands or is gone here.
    Standby(Ask<Standby, ()>),
    /// Which values that were due are missing of the meters by a device's channel?
    Holes(Ask<HolesQuery, Vec<MeterHoles>>),
    /// Values that were missing, and what the meters answered for; answered after the commit with
    /// the number of rows.
    Refill(Ask<Refill, u32>),
    /// Which of these devices have something to be read for tasks now?
    TaskDevices(Ask<Vec<Device>, TaskDevices>),
    /// What is to be read next of a device for tasks?
    TaskWork(Ask<TaskQuery, Option<TaskWork>>),
    /// What came of it; answered after the commit with the number of rows.
    TaskReport(Ask<Report, u32>),
    /// Readings to store; answered after the commit with the number of rows.
    Ingest(Ask<Part, u32>),
    /// What a concentrator tells of itself; answered after the commit.
    Report(Ask<alarms::Report, ()>),
}

/// A connection shows a system title, not yet proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// Eight octets from the frame.
    pub system_title: [u8; 8],
    /// Where the connection comes from.
    pub remote: SocketAddr,
}

/// What a registered concentrator is spoken to with.
#[derive(Clone)]
pub struct Admission {
    /// Its logical device name.
    pub concentrator: String,
    /// Global unicast encryption key, 16 octets.
    pub guek: Zeroizing<[u8; 16]>,
    /// Global authentication key, 16 octets.
    pub gak: Zeroizing<[u8; 16]>,
    /// This node's own system title.
    pub client_title: [u8; 8],
    /// Highest counter of the concentrator that was committed with data.
    pub last_counter: u32,
    /// Highest push sequence that was committed.
    pub last_sequence: u32,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("concentrator", &self.concentrator)
            .field("last_counter", &self.last_counter)
            .field("last_sequence", &self.last_sequence)
            .finish_non_exhaustive()
    }
}

/// Asks for a meter's access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterQuery {
    /// The meter's serial.
    pub serial: String,
    /// The concentrator it is reached through; None for a meter with an address of its own.
    pub concentrator: Option<String>,
}

/// How one meter is spoken to and what is read from it.
#[derive(Clone)]
pub struct MeterAccess {
    /// The meter's ordinal in the log.
    pub ordinal: u32,
    /// `host:port`; None behind a concentrator.
    pub address: Option<String>,
    /// Client SAP, 1 management by custom.
    pub client_sap: u16,
    /// Logical device, 1 by custom.
    pub server_sap: u16,
    /// How the association proves itself.
    pub authentication: Authentication,
    /// How services are protected, where there are keys.
    pub security: Security,
    /// Password of LLS, secret of HLS 3, 4 and 6.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// GUEK and GAK: services are protected.
    pub keys: Option<MeterKeys>,
    /// Keys for signatures, agreements and other keys.
    pub credentials: MeterCredentials,
    /// The meter's system title, when it is known.
    pub server_title: Option<[u8; 8]>,
    /// The system title to show: this node's own, unless the meter is registered with another.
    pub client_title: [u8; 8],
    /// What kind of meter it is: what is read on schedule, and what its status words mean.
    pub model: Arc<Model>,
    /// Registers read on schedule instead of the model's. Empty: the model's.
    pub registers: Vec<Obis>,
    /// The load profile read on schedule instead of the model's; None: the model's.
    pub profile: Option<Obis>,
    /// End of the last stored interval, seconds UTC: the load profile is read from here on.
    pub watermark_s: Option<i64>,
}

impl fmt::Debug for MeterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterAccess")
            .field("ordinal", &self.ordinal)
            .field("address", &self.address)
            .field("client_sap", &self.client_sap)
            .field("server_sap", &self.server_sap)
            .field("authentication", &self.authentication)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

/// A meter's two keys, of the length of its suite: 16 octets, 32 in suite 2.
#[derive(Clone)]
pub struct MeterKeys {
    /// Global unicast encryption key.
    pub guek: Zeroizing<Vec<u8>>,
    /// Global authentication key.
    pub gak: Zeroizing<Vec<u8>>,
}

/// What some meters need beside their two keys. Private keys are scalars of the suite's curve (32
/// octets in suite 1, 48 in suite 2), public keys its points without the leading octet (64, 96).
#[derive(Clone, Default)]
pub struct MeterCredentials {
    /// Key that encrypts keys.
    pub kek: Option<Zeroizing<Vec<u8>>>,
    /// Own private key for signatures.
    pub signing: Option<Zeroizing<Vec<u8>>>,
    /// The meter's public key for signatures.
    pub peer_signing: Option<Zeroizing<Vec<u8>>>,
    /// Own private key for agreements.
    pub agreement: Option<Zeroizing<Vec<u8>>>,
    /// The meter's public key for agreements.
    pub peer_agreement: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for MeterCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeterCredentials")
    }
}

impl fmt::Debug for MeterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeterKeys")
    }
}

/// Asks for the meters behind a concentrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterQuery {
    /// The concentrator's logical device name.
    pub concentrator: String,
}

/// Asks for the gaps of the meters by a device's channel, in order of their serials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolesQuery {
    /// A concentrator, or a meter with an address of its own.
    pub device: Device,
    /// Only intervals that ended so many seconds ago or later; as far as the cluster says when
    /// none.
    pub reach_s: Option<i64>,
    /// Only meters behind this serial.
    pub behind: Option<String>,
    /// So many meters with gaps at most.
    pub meters: usize,
}

/// The gaps of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterHoles {
    /// The meter's serial.
    pub serial: String,
    /// Its ordinal.
    pub ordinal: u32,
    /// The load profile that holds them, by the meter's model.
    pub profile: Obis,
    /// Its gaps in order of profile and time; all of this meter.
    pub holes: Vec<Hole>,
}

/// Asks for counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Whose counters: a concentrator, or any meter (behind a concentrator or not).
    pub device: Device,
    /// How many.
    pub count: u32,
}

/// Moves a device's counter sequence up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaiseCounter {
    /// Whose counters.
    pub device: Device,
    /// The next reserved block begins here or later.
    pub at_least: u32,
}

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose channel.
    pub device: Device,
    /// What kind of channel stands here.
    pub role: Role,
    /// Why now.
    pub reason: Reason,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The lease is here, with this epoch.
    Granted {
        /// Higher than any epoch before.
        epoch: u64,
    },
    /// Another node holds it and is alive.
    Held {
        /// The holder, when it is known.
        owner: Option<NodeId>,
    },
}

/// Gives a lease back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Whose channel.
    pub device: Device,
    /// The epoch that was granted.
    pub epoch: u64,
}

/// Tells of a standby channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// Whose channel.
    pub device: Device,
    /// True: it stands at this node. False: it is gone.
    pub up: bool,
}
