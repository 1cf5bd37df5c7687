//! One look at the gaps of one concentrator's meters: page by page, its store first, then each
//! meter; every answer is stored before the next is asked for.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use domain::Device;
use domain::commands::{Failure, Value};
use domain::readings::{Batch, Part, Refill};
use tokio::time::Instant;

use super::book::{Depth, Ended, Look};
use super::plan::{self, Slot, StoreAsk};
use super::rests::May;
use super::{Filled, fill};
use crate::Gateway;
use crate::ask::ask;
use crate::error::Denied;
use crate::order::{Outcome, Pace, Work};
use crate::shared::{Filling, Shared};
use crate::translate;
use crate::upcall::{HolesQuery, MeterHoles, Upcall};

/// Meters whose gaps are held at a time.
const PAGE: usize = 128;
/// How far back a look at recent gaps goes: the days whose slots stand in one row.
const RECENT_S: i64 = 2 * 86_400;
/// So many answers of the store in a row without a wanted row, and it is not asked any more.
const BARREN: u32 = 2;
/// So many meters in a row that do not answer, and the power line is left alone for now.
const SILENT: u32 = 16;

pub(crate) struct Run {
    gateway: Gateway,
    device: Device,
    epoch: u64,
    /// How far back it goes, seconds; as far as the cluster says when none.
    reach_s: Option<i64>,
    barren: u32,
    silent: u32,
    /// Something is left for later.
    left: bool,
}

/// The channel is lost, or the lease, or the cluster.
pub(crate) struct Cut;

/// Fills what can be filled of a concentrator's gaps.
pub(super) async fn run(gateway: Gateway, look: Look) -> Ended {
    let Look { concentrator, epoch, depth } = look;
    let device = Device::Concentrator(concentrator);
    let reach_s = match depth {
        Depth::Recent => Some(RECENT_S),
        Depth::Whole => None,
    };
    let shared = gateway.shared.clone();
    // A task reads load profiles of its meters: what is missing then is soon looked for again.
    let Some(_filling) = Filling::begin(&shared, &device) else { return Ended::Part };
    let mut run = Run { reach_s, ..Run::of(gateway, device, epoch) };
    match run.all().await {
        Err(Cut) => Ended::Cut,
        Ok(()) if run.left => Ended::Part,
        Ok(()) => Ended::Whole,
    }
}

impl Run {
    /// A look at all of a device.
    pub(crate) fn of(gateway: Gateway, device: Device, epoch: u64) -> Self {
        Self { gateway, device, epoch, reach_s: None, barren: 0, silent: 0, left: false }
    }

    fn shared(&self) -> &Shared {
        &self.gateway.shared
    }

    async fn all(&mut self) -> Result<(), Cut> {
        let mut behind = None;
        loop {
            let query = HolesQuery {
                device: self.device.clone(),
                reach_s: self.reach_s,
                behind,
                meters: PAGE,
            };
            let mut page = ask(self.shared(), query, Upcall::Holes).await.map_err(|_| Cut)?;
            let is_last = page.len() < PAGE;
            behind = page.last().map(|meter| meter.serial.clone());
            self.search_store(&mut page).await?;
            for meter in page.iter().filter(|meter| !meter.holes.is_empty()) {
                if self.silent >= SILENT {
                    self.left = true;
                    return Ok(());
                }
                self.ask_meter(meter).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Asks the concentrator's store, and takes what came out of the gaps.
    async fn search_store(&mut self, page: &mut [MeterHoles]) -> Result<(), Cut> {
        for asked in plan::store_asks(page) {
            if self.barren >= BARREN {
                return Ok(());
            }
            let Some(meters) = page.get(asked.meters.clone()) else { continue };
            let wanted: BTreeSet<Slot> =
                meters.iter().flat_map(|meter| plan::slots(&meter.holes)).collect();
            let (batches, filled) = match self.ask_store(&asked, meters).await? {
                Some(batches) => plan::wanted_rows(&batches, &wanted),
                None => return Ok(()),
            };
            if filled.is_empty() {
                self.barren += 1;
                continue;
            }
            self.barren = 0;
            if self.store(batches).await? {
                for meter in page.get_mut(asked.meters).into_iter().flatten() {
                    meter.holes = plan::without(&meter.holes, &filled);
                }
            }
        }
        Ok(())
    }

    /// What the store has; None when it is not to be asked again now.
    pub(crate) async fn ask_store(
        &mut self,
        asked: &StoreAsk,
        meters: &[MeterHoles],
    ) -> Result<Option<Vec<Batch>>, Cut> {
        let serials = meters.iter().map(|meter| meter.serial.clone()).collect();
        let work = Work::Store { from_s: asked.from_s, to_s: asked.to_s, meters: serials };
        let name = self.device.name().to_owned();
        let reads = match self.read(&name, work).await? {
            Ok(Outcome::Reads(reads)) => reads,
            Ok(_) => Vec::new(),
            Err(failure) => {
                // A concentrator without a store says so once in a look.
                tracing::debug!(device = %self.device, ?failure, "the store was not read");
                self.barren = BARREN;
                return Ok(None);
            }
        };
        let ordinals: HashMap<String, u32> =
            meters.iter().map(|meter| (meter.serial.clone(), meter.ordinal)).collect();
        let octets = reads.first().and_then(|read| match &read.value {
            Value::Octets(octets) => Some(octets.as_slice()),
            _ => None,
        });
        match translate::store(octets.unwrap_or_default(), &ordinals) {
            Ok(pushed) => Ok(Some(pushed.batches)),
            Err(error) => {
                tracing::info!(device = %self.device, %error, "the store answered another shape");
                self.barren = BARREN;
                Ok(None)
            }
        }
    }

    /// Stores rows of the concentrator's store. False when they were refused.
    async fn store(&self, batches: Vec<Batch>) -> Result<bool, Cut> {
        let lease = Some((self.device.clone(), self.epoch));
        let part = Part { lease, mark: None, batches };
        let metrics = &self.shared().metrics;
        match ask(self.shared(), Refill { part, answered: Vec::new() }, Upcall::Refill).await {
            Ok(rows) => {
                metrics.refill_rows.with_label_values(&["store"]).inc_by(u64::from(rows));
                metrics.rows.inc_by(u64::from(rows));
                Ok(true)
            }
            Err(Denied::Refused { code, detail }) if code != "stale_epoch" => {
                metrics.refuse_part(&code);
                tracing::warn!(device = %self.device, code, detail, "stored rows were refused");
                Ok(false)
            }
            Err(_) => Err(Cut),
        }
    }

    /// Asks one meter for what is missing of it.
    async fn ask_meter(&mut self, meter: &MeterHoles) -> Result<(), Cut> {
        match self.shared().may_refill(meter) {
            May::Now => {}
            May::Later => {
                self.left = true;
                return Ok(());
            }
            May::NoMore => return Ok(()),
        }
        let chunk_s = i64::try_from(self.shared().config.refill_chunk_s).unwrap_or(i64::MAX);
        for asked in plan::meter_asks(&meter.holes, chunk_s) {
            let (from_s, to_s) = (asked.from_s, asked.to_s);
            let work = Work::Profile { obis: meter.profile, from_s, to_s };
            let filled = match self.read(&meter.serial, work).await? {
                Ok(Outcome::Profile(read)) => {
                    self.silent = 0;
                    let lease = (self.device.clone(), self.epoch);
                    let filled = fill(self.shared(), lease, meter, &asked, Some(&read)).await;
                    filled.map_err(|_| Cut)?
                }
                Ok(_) => Filled::Refused,
                Err(failure) => {
                    let is_silent = failure == Failure::NoAnswer;
                    self.silent = if is_silent { self.silent + 1 } else { 0 };
                    tracing::debug!(serial = meter.serial, ?failure, "missing rows were not read");
                    Filled::Refused
                }
            };
            self.shared().note_refill(meter, filled == Filled::Answered);
            if filled != Filled::Answered {
                self.left = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// One read, for which nobody waits.
    async fn read(&self, target: &str, work: Work) -> Result<Result<Outcome, Failure>, Cut> {
        let limit = Duration::from_millis(self.shared().config.refill_read_timeout_ms);
        let deadline = (Instant::now() + limit).into_std();
        let epoch = Some(self.epoch);
        let carried =
            self.gateway.carry(&self.device, target, work, epoch, deadline, Pace::Background);
        match carried.await {
            Err(Failure::ChannelLost | Failure::NoChannel) => Err(Cut),
            read => Ok(read),
        }
    }
}
