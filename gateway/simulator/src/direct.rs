//! Meters with an address of their own: DLMS servers on TCP that are dialled.
//!
//! Several meters may share a port; the server SAP tells them apart, as behind a serial server.
//! Invariants: at most [`CONNECTIONS`] connections a port; every wait has a deadline; a meter's
//! counters are never used twice, also not over a restart when a memory is kept.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cosem::wrapper::{Deframer, Header, MAX_APDU_OCTETS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::clock::FieldClock;
use crate::concentrator::{Now, Settings, parse_title, title_text};
use crate::config::FIRST_DIRECT_SAP;
use crate::field::MeterModel;
use crate::objects::{Moment, serve};
use crate::session::{COUNTERS_A_STEP, Event, Session};
use crate::state::{BLOCK, Keeper, Memory};
use crate::tally::Count;
use crate::witness::Counters;

/// Connections that a port takes at once.
const CONNECTIONS: usize = 1_024;
/// Associations that a connection may hold.
const SESSIONS: usize = 256;
const IDLE: Duration = Duration::from_secs(1_800);
const WRITE: Duration = Duration::from_secs(10);

/// Client SAP and server SAP.
type Pair = (u16, u16);

/// Meters with addresses of their own.
#[derive(Debug)]
pub struct DirectField {
    settings: Arc<Settings>,
    meters: Vec<MeterModel>,
    ports: usize,
    clock: FieldClock,
    keeper: Keeper,
    devices: Mutex<Devices>,
}

#[derive(Debug)]
struct Devices {
    memory: Memory,
    used: HashMap<usize, Counters>,
    next: HashMap<usize, u32>,
    base: u32,
}

impl DirectField {
    /// A field that goes on from the memory that `keeper` holds, spread over `ports` ports.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub fn new(
        settings: Arc<Settings>,
        meters: Vec<MeterModel>,
        ports: usize,
        keeper: Keeper,
        now: Now,
    ) -> io::Result<Self> {
        let memory = keeper.load(settings.seed, crate::concentrator::counter_base(now.real_us))?;
        let start_us = now.real_us - settings.history_s * 1_000_000;
        let mut used: HashMap<usize, Counters> = HashMap::new();
        for (place, meter) in meters.iter().enumerate() {
            for (title, highest) in memory.meter_clients.get(&meter.serial).into_iter().flatten() {
                if let Some(title) = parse_title(title) {
                    used.entry(place).or_default().restore(title, *highest);
                }
            }
        }
        let base = memory.meter_counter_high.max(1);
        Ok(Self {
            clock: FieldClock::new(now.real_us, start_us, settings.speed),
            ports: ports.max(1),
            devices: Mutex::new(Devices { memory, used, next: HashMap::new(), base }),
            settings,
            meters,
            keeper,
        })
    }

    /// Port (counted from 0) and server SAP of a meter.
    #[must_use]
    pub fn place(&self, meter: usize) -> (usize, u16) {
        let sap = u16::try_from(meter / self.ports).unwrap_or(u16::MAX - FIRST_DIRECT_SAP);
        (meter % self.ports, FIRST_DIRECT_SAP + sap)
    }

    /// The meters.
    #[must_use]
    pub fn meters(&self) -> &[MeterModel] {
        &self.meters
    }

    fn find(&self, port: usize, sap: u16) -> Option<(usize, &MeterModel)> {
        let row = usize::from(sap.checked_sub(FIRST_DIRECT_SAP)?);
        let place = row.checked_mul(self.ports)?.checked_add(port)?;
        Some((place, self.meters.get(place)?))
    }

    /// Takes one frame; gives the frames that answer it.
    fn frame(
        &self,
        port: usize,
        sessions: &mut HashMap<Pair, Session>,
        header: Header,
        apdu: &[u8],
        now: Now,
    ) -> io::Result<Vec<Vec<u8>>> {
        let Some((place, meter)) = self.find(port, header.destination) else {
            self.settings.tally.one(Count::UnknownMeters);
            return Ok(Vec::new());
        };
        // A dead meter answers nobody.
        if meter.dead {
            return Ok(Vec::new());
        }
        let pair = (header.source, header.destination);
        if !sessions.contains_key(&pair) {
            if sessions.len() >= SESSIONS {
                self.settings.tally.one(Count::MeterBusy);
                return Ok(Vec::new());
            }
            let session = Session::meter(meter, header.destination).map_err(io::Error::other)?;
            sessions.insert(pair, session);
        }
        let Some(session) = sessions.get_mut(&pair) else { return Ok(Vec::new()) };
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        session.lend(devices.lend(place, &self.keeper)?);
        let used = devices.used.entry(place).or_default();
        session.receive(now.instant, header, apdu, used);
        while let Some(event) = session.poll() {
            self.event(meter, used, session, event, header.destination, now);
        }
        devices.next.insert(place, session.unused());
        let frames = std::iter::from_fn(|| session.poll_frame()).collect();
        Ok(frames)
    }

    fn event(
        &self,
        meter: &MeterModel,
        used: &mut Counters,
        session: &mut Session,
        event: Event,
        sap: u16,
        now: Now,
    ) {
        match event {
            Event::Accepted { client, counter } | Event::Replayed { client, counter } => {
                if !used.mark(client, counter) {
                    let (serial, client) = (&meter.serial, title_text(client));
                    self.settings.tally.violation(format!(
                        "meter {serial}: client {client} used invocation counter {counter} twice"
                    ));
                }
            }
            Event::Associated => self.settings.tally.one(Count::MeterAssociations),
            Event::Refused(error) => {
                self.settings.tally.one(Count::FramesRefused);
                tracing::debug!(meter = %meter.serial, %error, "refused");
            }
            Event::Request(ask) => {
                self.settings.tally.one(Count::DirectRequests);
                let moment = Moment {
                    now_s: self.clock.at_us(now.real_us).div_euclid(1_000_000),
                    interval_s: self.settings.interval_s,
                    counter: used.of(session.client()),
                    sap,
                };
                let reply = serve(meter, moment, session.is_public(), &ask);
                session.respond(&ask, reply);
            }
        }
    }

    /// Keeps what clients have used.
    ///
    /// # Errors
    /// When the memory cannot be written.
    pub fn keep(&self) -> io::Result<()> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, meter) in self.meters.iter().enumerate() {
            let Some(used) = devices.used.get(&place) else { continue };
            let highests = used.highests().map(|(title, n)| (title_text(title), n)).collect();
            devices.memory.meter_clients.insert(meter.serial.clone(), highests);
        }
        self.keeper.save(&devices.memory)
    }
}

impl Devices {
    /// Counters of a meter that are kept as reserved.
    fn lend(&mut self, place: usize, keeper: &Keeper) -> io::Result<Range<u32>> {
        let first = self.next.get(&place).copied().unwrap_or(self.base);
        let spent = || io::Error::other("a meter's invocation counters are spent");
        let end = first.checked_add(COUNTERS_A_STEP).ok_or_else(spent)?;
        if end > self.memory.meter_counter_high {
            self.memory.meter_counter_high = end.checked_add(BLOCK).ok_or_else(spent)?;
            keeper.save(&self.memory)?;
        }
        Ok(first..end)
    }
}

/// Listens on one port until told to stop.
///
/// # Errors
/// When the listener fails for good.
pub async fn listen(
    field: Arc<DirectField>,
    port: usize,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a direct meter could not take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (field, mut stop) = (field.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                served = connection(&field, port, stream) => log_end(peer, served),
            }
        });
    }
    field.keep()
}

fn log_end(peer: SocketAddr, served: io::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a direct meter closed a connection");
    }
}

async fn connection(field: &DirectField, port: usize, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut deframer = Deframer::new(MAX_APDU_OCTETS);
    let mut sessions = HashMap::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        while let Some((header, apdu)) = deframer.next_frame().map_err(io::Error::other)? {
            for frame in field.frame(port, &mut sessions, header, &apdu, Now::read())? {
                timeout(WRITE, stream.write_all(&frame)).await??;
            }
        }
        let octets = timeout(IDLE, stream.read(&mut buffer)).await??;
        if octets == 0 {
            return Ok(());
        }
        deframer.feed(buffer.get(..octets).unwrap_or(&[]));
    }
}
