//! Channels to concentrators and meters: they dial in or are dialled, prove themselves, push
//! readings and are read on demand. The gateway knows no Raft, no disk and no HTTP; it asks the
//! cluster through one bounded channel of [`Upcall`]s and is told things through [`Gateway`].
//!
//! Map: `listen` accepts, `channel` runs one task per live byte stream around the sans-IO machine
//! `concentrator`; `dial` runs sessions with meters of their own address as `schedule` says, over
//! TCP or in turns on a `line` that meters share; both speak to a COSEM meter with `meter`
//! (association, counters) and `script` (a read as steps);
//! `refill` asks for values that are missing, `collect` for what tasks say;
//! `translate` alone turns the wire's types into the domain's; `roster` knows who is connected.
//!
//! Invariants: 1. a push is acknowledged only after its Ingest upcall was answered, and only up to
//! the highest sequence without a gap; 2. nothing is trusted before the association has proven the
//! identity; 3. no invocation counter is used twice: every channel and every lease epoch reserves
//! its own block; 4. every queue is bounded and every wait has a deadline; a full window stops the
//! socket from being read; 5. input from the wire never panics, it closes its channel with a
//! counted cause; 6. a read never answers with a stored value; 7. between `suspend` and
//! `resume` nothing is claimed, activated, acknowledged, read or dialled.

mod ask;
mod channel;
mod collect;
mod concentrator;
mod config;
mod dial;
mod doorway;
mod error;
mod keying;
mod line;
mod listen;
mod live;
mod meter;
mod metrics;
pub mod model;
mod order;
mod refill;
mod roster;
mod schedule;
mod script;
mod shared;
mod tls;
mod translate;
mod upcall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::commands::{Attribute, Failure, Read};
use domain::{Device, Obis};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

pub use collect::pieces::{
    TaskDevices, TaskMeter, TaskQuery, TaskRead, TaskWork, task_devices, task_work,
};
pub use config::Config;
/// Any frame of the field as a tree, for people.
pub use cosem::{Keys, Suite, tree};
pub use error::{Cause, Denied, StartError, TlsError};
pub use keying::{Keying, Unfit};
pub use line::settings::{Parity, SerialPort};
pub use live::{live_attributes, live_name};
pub use order::{Anchor, Outcome, Pace, ProfileRead, ProfileRow, Work};
pub use roster::{ChannelRole, ChannelStatus, Login};
pub use tls::ServerTls;
pub use upcall::{
    Admission, Admit, Ask, Claim, Claimed, HolesQuery, MeterAccess, MeterCredentials, MeterHoles,
    MeterKeys, MeterQuery, RaiseCounter, Release, Reserve, RosterQuery, Standby, Upcall,
};

use crate::metrics::Metrics;
use crate::order::Order;
use crate::shared::Shared;

/// What the cluster tells a channel without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The owner's node lease ended or was given back: a standby here may claim.
    OwnerLost,
    /// Another node holds the lease since this epoch: an active channel here steps back.
    LeaseMoved {
        /// Epoch of the other node's grant.
        epoch: u64,
    },
    /// An operator wants the channel of this node to be the active one.
    Switch,
    /// The main channel stands here for long enough to be the active one again.
    Return,
    /// Meters were registered or retired behind this concentrator.
    MetersChanged,
    /// The channel here shall break off, as a cut line would; for drills.
    Cut,
    /// The channel here shall neither hear nor say anything for so long, as behind a dead switch;
    /// for drills.
    Hush {
        /// How long.
        hold: Duration,
    },
}

/// The handle: cheap to clone, dropped without effect. `stop` ends the tasks.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    dialler: mpsc::Sender<dial::Command>,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
}

impl Gateway {
    /// Listens and starts the dialler. The receiver carries every question to the cluster; without
    /// an answerer no concentrator gets in.
    ///
    /// # Errors
    /// Faults of the configuration, an address in use, `tls_listen` without `tls`, metrics
    /// registered twice.
    pub async fn start(
        config: Config,
        tls: Option<Arc<rustls::ServerConfig>>,
        registry: &prometheus::Registry,
    ) -> Result<(Self, mpsc::Receiver<Upcall>), StartError> {
        config.validate().map_err(StartError::Config)?;
        let listener = listen::bind(config.listen).await?;
        let address = local(&listener, config.listen)?;
        let secure = match (config.tls_listen, tls) {
            (None, _) => None,
            (Some(_), None) => return Err(StartError::NoCertificate),
            (Some(wanted), Some(tls)) => {
                Some((listen::bind(wanted).await?, wanted, TlsAcceptor::from(tls)))
            }
        };
        let metrics = Metrics::new(registry, &config.serial).map_err(StartError::Metrics)?;
        let (upcalls, questions) = mpsc::channel(config.upcall_queue);
        let shared = Arc::new(Shared::new(config, metrics, upcalls));
        line::Lines::start(&shared);
        let stop = || shared.stop.subscribe();
        let plain = listen::run(Arc::clone(&shared), listener, None, stop());
        shared.tasks.spawn(plain);
        let mut tls_address = None;
        if let Some((listener, wanted, acceptor)) = secure {
            tls_address = Some(local(&listener, wanted)?);
            let run = listen::run(Arc::clone(&shared), listener, Some(acceptor), stop());
            shared.tasks.spawn(run);
        }
        let dialler = dial::start(&shared);
        let gateway = Self { shared, dialler, address, tls_address };
        gateway.shared.tasks.spawn(refill::run(gateway.clone()));
        gateway.shared.tasks.spawn(collect::run(gateway.clone()));
        Ok((gateway, questions))
    }

    /// The address that is listened on (the port is the real one when 0 was asked for).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The TLS address that is listened on.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Whether this node has the way to a meter of this address: every TCP address, and the serial
    /// ports of its own configuration. An address that cannot be read is nobody's.
    #[must_use]
    pub fn reaches(&self, address: &str) -> bool {
        let parsed = domain::Address::parse(address);
        parsed.is_ok_and(|address| match address.serial_port() {
            Some(name) => self.shared.config.serial.iter().any(|port| port.name == name),
            None => true,
        })
    }

    /// False between `suspend` and `resume`.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        self.shared.is_acting()
    }

    /// Every proven channel of this node, by name of the concentrator.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelStatus> {
        self.shared.roster().statuses()
    }

    /// Reads attributes now from a device: from `meter` behind the concentrator, from the
    /// concentrator itself when `meter` is its own name, or from a dialled meter. Registers come
    /// with scaler and unit.
    ///
    /// # Errors
    /// Why there is no value; never a stored one instead.
    pub async fn read(
        &self,
        device: &Device,
        meter: &str,
        attributes: Vec<Attribute>,
        deadline: Instant,
    ) -> Result<Vec<Read>, Failure> {
        let work = Work::Attributes(attributes);
        match self.execute(device, meter, work, None, deadline).await? {
            Outcome::Reads(reads) => Ok(reads),
            _ => Err(Failure::Malformed("rows instead of values".to_owned())),
        }
    }

    /// Reads rows of a load profile by range now; `from_s` and `to_s` are interval ends in seconds
    /// UTC, both inclusive.
    ///
    /// # Errors
    /// As `read`.
    pub async fn read_profile(
        &self,
        device: &Device,
        meter: &str,
        obis: Obis,
        from_s: i64,
        to_s: i64,
        deadline: Instant,
    ) -> Result<ProfileRead, Failure> {
        let work = Work::Profile { obis, from_s, to_s };
        match self.execute(device, meter, work, None, deadline).await? {
            Outcome::Profile(read) => Ok(read),
            _ => Err(Failure::Malformed("values instead of rows".to_owned())),
        }
    }

    /// Executes an order under a lease epoch (None: whatever epoch is here now). A command's
    /// `Sent` is to be committed before this is called, its `Settle` after.
    ///
    /// # Errors
    /// `NoChannel` when the device is not connected or dialled here under that epoch and no octet
    /// of the order has left, `ChannelLost` when the channel closes meanwhile, `NoAnswer` at the
    /// deadline, and what the device or its association said.
    pub async fn execute(
        &self,
        device: &Device,
        meter: &str,
        work: Work,
        epoch: Option<u64>,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        let started = tokio::time::Instant::now();
        let result = self.carry(device, meter, work, epoch, deadline, Pace::OnDemand).await;
        self.shared.metrics.count_read(result.as_ref().err(), started.elapsed());
        result
    }

    /// Reads what a live view shows of a meter, as `execute` does under this epoch, but it makes
    /// way for reads on demand and takes turns with work in the background.
    ///
    /// # Errors
    /// As `execute`.
    pub async fn look(
        &self,
        device: &Device,
        meter: &str,
        attributes: Vec<Attribute>,
        epoch: u64,
        deadline: Instant,
    ) -> Result<Vec<Read>, Failure> {
        let work = Work::Attributes(attributes);
        match self.carry(device, meter, work, Some(epoch), deadline, Pace::Live).await? {
            Outcome::Reads(reads) => Ok(reads),
            _ => Err(Failure::Malformed("rows instead of values".to_owned())),
        }
    }

    /// Carries an order to its device and the answer back.
    async fn carry(
        &self,
        device: &Device,
        meter: &str,
        work: Work,
        epoch: Option<u64>,
        deadline: Instant,
        pace: Pace,
    ) -> Result<Outcome, Failure> {
        let (reply, answer) = oneshot::channel();
        let own = matches!(device, Device::Concentrator(name) if name == meter);
        let meter = (!own).then(|| meter.to_owned());
        self.hand_over(device, Order { meter, work, pace, epoch, deadline, reply })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::ChannelLost),
            Err(_) => Err(Failure::NoAnswer),
        }
    }

    /// Tells a concentrator's channel something. Without a channel here it has no effect.
    pub fn notice(&self, concentrator: &str, notice: Notice) {
        if let Some(way) = self.shared.roster().commands(concentrator) {
            // A full queue means that the channel is stuck in a write and will close by itself.
            let _ = way.try_send(channel::Command::Notice(notice));
        }
    }

    /// This node lost its own lease, or is about to: every active channel becomes a standby at once
    /// (no requests, no acknowledgements, no activation; it stays associated), orders are answered
    /// `ChannelLost`, new ones `NoChannel`, sessions with dialled meters are cut. What a socket has
    /// taken already is not called back; the epoch makes it harmless. To be called before the
    /// lease ends; calling again changes nothing.
    pub fn suspend(&self) {
        self.act(false);
    }

    /// This node has its lease again: channels that stepped back, or logged in meanwhile, ask for
    /// their leases politely (another node's living lease stays), dialling goes on.
    pub fn resume(&self) {
        self.act(true);
    }

    fn act(&self, acting: bool) {
        self.shared.acting.send_if_modified(|now| std::mem::replace(now, acting) != acting);
    }

    /// Dials this meter on schedule from now on, under the lease epoch that this node was granted.
    /// Everything else comes from the `Meter` upcall, at each session anew. Calling again renews
    /// the epoch.
    pub async fn dial(&self, serial: &str, epoch: u64) {
        let serial = serial.to_owned();
        let _ = self.dialler.send(dial::Command::Dial { serial, epoch }).await;
    }

    /// Ends dialling a meter; a session that runs is cut.
    pub async fn hang_up(&self, serial: &str) {
        let _ = self.dialler.send(dial::Command::HangUp { serial: serial.to_owned() }).await;
    }

    /// Closes every channel, gives leases back, and returns when all tasks have ended or the time
    /// is over. True when all have ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.shared.stop.send_replace(true);
        tokio::time::timeout(limit, self.shared.tasks.wait()).await.is_ok()
    }

    fn hand_over(&self, device: &Device, order: Order) -> Result<(), Failure> {
        if !self.shared.is_acting() {
            return Err(Failure::NoChannel);
        }
        let busy = || Failure::Unsupported("too many orders wait for this device".to_owned());
        match device {
            Device::Concentrator(name) => {
                let way = self.shared.roster().commands(name).ok_or(Failure::NoChannel)?;
                way.try_send(channel::Command::Order(order)).map_err(|_| busy())
            }
            Device::Meter(serial) => {
                let command = dial::Command::Order { serial: serial.clone(), order };
                self.dialler.try_send(command).map_err(|_| busy())
            }
        }
    }
}

fn local(listener: &tokio::net::TcpListener, wanted: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address: wanted, source })
}
