//! One visit to a device for tasks: a few meters at a time, what goes first before the rest; what
//! was read and what it settles are reported together, and not later than a few seconds after.
//!
//! Invariants: 1. a bounded number of reads at a time, none of which anybody waits for; 2. a meter
//! is reported once with what came of it; one whose channel was lost is not reported; 3. of a
//! report that is refused nothing is lost but the meter that is the cause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::commands::Failure;
use domain::readings::{Answered, Batch, BatchBuilder, Part, Register};
use domain::tasks::{Reason, Report};
use domain::{Device, Obis};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::book::Ended;
use super::pieces::{TaskMeter, TaskQuery, TaskRead, TaskWork};
use super::read::{Came, Reader, offset_of};
use crate::Gateway;
use crate::ask::ask;
use crate::error::Denied;
use crate::refill::plan;
use crate::refill::run::Run as Refill;
use crate::shared::{Filling, Shared};
use crate::upcall::{MeterHoles, Upcall};

/// Meters of one question.
const PAGE: usize = 32;
/// What was read is reported after so long, so that a slow line loses little to a failover.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Rows of one report: well below the longest entry of the log.
const REPORT_ROWS: usize = 2_048;

/// The channel is lost, or the lease, or the cluster.
#[derive(Debug)]
pub(super) struct Cut;

/// A device that is visited.
pub(super) struct Visit {
    pub gateway: Gateway,
    pub device: Device,
    pub epoch: u64,
    /// Reads at a time.
    pub reads: usize,
}

/// What came of a meter.
#[derive(Debug)]
pub(super) struct Settled {
    pub ordinal: u32,
    /// None: rows of the concentrator's store, which settle nothing by themselves.
    pub result: Option<Result<(), Reason>>,
    pub came: Came,
}

/// Reads what is to be read of a device, until nothing is left for now, or others wait.
pub(super) async fn run(visit: Visit, is_crowded: Arc<AtomicBool>) -> Ended {
    let mut behind = None;
    loop {
        match visit.page(&mut behind, &is_crowded).await {
            Ok(true) if is_crowded.load(Ordering::Relaxed) => return Ended::Turn,
            Ok(true) => {}
            Ok(false) => return Ended::Idle,
            Err(Cut) => return Ended::Cut,
        }
    }
}

impl Visit {
    fn shared(&self) -> &Arc<Shared> {
        &self.gateway.shared
    }

    /// The next few meters, and those behind them. False when there is nothing to do.
    async fn page(
        &self,
        behind: &mut Option<String>,
        is_crowded: &AtomicBool,
    ) -> Result<bool, Cut> {
        // Gaps and load profiles are the same rows: one of both at a time.
        let filling = Filling::begin(self.shared(), &self.device);
        let Some(mut work) = self.work(PAGE, behind, filling.is_some()).await? else {
            return Ok(false);
        };
        let filling = filling.filter(|_| work.what == "load");
        if work.is_first {
            self.own_clock(&work).await?;
        }
        if work.meters.is_empty() {
            // Nothing in it can be refused but the visit itself.
            let whole = self.worded(&work, &[], true);
            return self.propose(&work, whole).await?.map(|()| true).map_err(|_| Cut);
        }
        let mut waiting = Vec::new();
        if filling.is_some() {
            waiting.extend(self.search_store(&mut work).await?);
        }
        let meters = std::mem::take(&mut work.meters);
        // Behind a page of gaps the store is searched again.
        let goes_on = filling.is_none();
        let goes_on = || goes_on && !is_crowded.load(Ordering::Relaxed);
        self.read_all(&work, meters, waiting, behind, goes_on).await?;
        drop(filling);
        Ok(true)
    }

    /// What is to be read next, from behind the last meter that was given on.
    async fn work(
        &self,
        meters: usize,
        behind: &mut Option<String>,
        load: bool,
    ) -> Result<Option<TaskWork>, Cut> {
        let device = self.device.clone();
        let query = TaskQuery { device, meters, behind: behind.clone(), load };
        let work = ask(self.shared(), query, Upcall::TaskWork).await.map_err(|_| Cut)?;
        let last = work.as_ref().and_then(|work| work.meters.last());
        *behind = last.map(|meter| meter.serial.clone());
        Ok(work)
    }

    /// Meters of the same run behind those of a page, without those that are being read.
    async fn more(
        &self,
        work: &TaskWork,
        read: &BTreeSet<u32>,
        behind: &mut Option<String>,
    ) -> Result<Vec<TaskMeter>, Cut> {
        let more = self.work(PAGE + read.len(), behind, false).await?;
        let same = |more: &TaskWork| (more.task, more.run) == (work.task, work.run);
        let mut meters = more.filter(same).map(|more| more.meters).unwrap_or_default();
        meters.retain(|meter| !read.contains(&meter.ordinal));
        Ok(meters)
    }

    /// Reads these meters, a few at a time, and reports what came as it comes. While it goes on,
    /// others follow before the last of them has answered, so that a silent meter takes one place
    /// and not all.
    async fn read_all(
        &self,
        work: &TaskWork,
        meters: Vec<TaskMeter>,
        mut waiting: Vec<Settled>,
        behind: &mut Option<String>,
        goes_on: impl Fn() -> bool,
    ) -> Result<(), Cut> {
        let (mut left, mut reads) = (meters.into_iter(), JoinSet::new());
        let (mut read, mut reported) = (BTreeSet::new(), Instant::now());
        loop {
            while reads.len() < self.reads
                && let Some(meter) = left.next()
            {
                let reader = self.reader(work);
                read.insert(meter.ordinal);
                reads.spawn(async move { reader.meter(meter).await });
            }
            if !reads.is_empty() && reads.len() < self.reads && !waiting.is_empty() && goes_on() {
                // What is settled must not be given once more.
                self.report(work, std::mem::take(&mut waiting)).await?;
                reported = Instant::now();
                left = self.more(work, &read, behind).await?.into_iter();
                if left.len() > 0 {
                    continue;
                }
            }
            let Some(ended) = reads.join_next().await else { break };
            match ended {
                Ok(Ok(settled)) => {
                    read.remove(&settled.ordinal);
                    waiting.push(settled);
                }
                // What is being read elsewhere on this channel is lost, too.
                Ok(Err(Cut)) | Err(_) => {
                    self.report(work, waiting).await?;
                    return Err(Cut);
                }
            }
            let rows: usize = waiting.iter().map(|settled| settled.came.rows()).sum();
            if rows >= REPORT_ROWS || reported.elapsed() >= REPORT_EVERY {
                self.report(work, std::mem::take(&mut waiting)).await?;
                reported = Instant::now();
            }
        }
        self.report(work, waiting).await
    }

    /// Reports how far the concentrator's own clock is off, for a task of clocks.
    async fn own_clock(&self, work: &TaskWork) -> Result<(), Cut> {
        let Device::Concentrator(name) = &self.device else { return Ok(()) };
        if !["clock", "clock_shift"].contains(&work.what) {
            return Ok(());
        }
        match self.reader(work).offset(name).await {
            Ok(reads) => {
                let offset_ms = offset_of(&reads);
                let report = Report { offset_ms, ..self.worded(work, &[], false) };
                self.propose(work, report).await?.map_err(|_| Cut)
            }
            Err(failure) if is_lost(&failure) => Err(Cut),
            Err(failure) => {
                tracing::info!(device = %self.device, ?failure, "its clock was not read");
                Ok(())
            }
        }
    }

    fn reader(&self, work: &TaskWork) -> Reader {
        Reader {
            gateway: self.gateway.clone(),
            device: self.device.clone(),
            epoch: self.epoch,
            what: work.what,
        }
    }

    /// Takes what the concentrator's store has out of the gaps of a page.
    async fn search_store(&self, work: &mut TaskWork) -> Result<Vec<Settled>, Cut> {
        if !matches!(self.device, Device::Concentrator(_)) {
            return Ok(Vec::new());
        }
        let with_gaps = work.meters.iter().filter_map(|meter| match meter.reads.as_deref() {
            Ok([TaskRead::Load { profile, holes }]) => Some(MeterHoles {
                serial: meter.serial.clone(),
                ordinal: meter.ordinal,
                profile: *profile,
                holes: holes.clone(),
            }),
            _ => None,
        });
        let page: Vec<MeterHoles> = with_gaps.collect();
        let mut store = Refill::of(self.gateway.clone(), self.device.clone(), self.epoch);
        let mut found = Vec::new();
        let mut filled = BTreeSet::new();
        for asked in plan::store_asks(&page) {
            let Some(meters) = page.get(asked.meters.clone()) else { continue };
            let wanted = meters.iter().flat_map(|meter| plan::slots(&meter.holes)).collect();
            let rows = store.ask_store(&asked, meters).await.map_err(|_| Cut)?;
            let Some(rows) = rows else { break };
            let (batches, slots) = plan::wanted_rows(&rows, &wanted);
            if slots.is_empty() {
                break;
            }
            filled.extend(slots);
            let ordinal = meters.first().map_or(0, |meter| meter.ordinal);
            let came = Came { batches, ..Came::default() };
            found.push(Settled { ordinal, result: None, came });
        }
        for meter in &mut work.meters {
            if let Ok(reads) = &mut meter.reads {
                for read in reads.iter_mut() {
                    if let TaskRead::Load { holes, .. } = read {
                        *holes = plan::without(holes, &filled);
                    }
                }
                reads.retain(
                    |read| !matches!(read, TaskRead::Load { holes, .. } if holes.is_empty()),
                );
            }
        }
        Ok(found)
    }

    async fn report(&self, work: &TaskWork, settled: Vec<Settled>) -> Result<(), Cut> {
        if settled.is_empty() {
            return Ok(());
        }
        let report = self.worded(work, &settled, false);
        match self.propose(work, report).await? {
            Ok(()) => Ok(()),
            // One bad row refuses all of them: each meter by itself then.
            Err(_) => self.report_each(work, settled).await,
        }
    }

    async fn report_each(&self, work: &TaskWork, settled: Vec<Settled>) -> Result<(), Cut> {
        for one in settled {
            let ordinal = one.ordinal;
            let report = self.worded(work, std::slice::from_ref(&one), false);
            if let Err(code) = self.propose(work, report).await? {
                let device = &self.device;
                tracing::warn!(%device, ordinal, code, "values of a task were refused");
                let result = one.result.is_some().then_some(Err(Reason::NotStored));
                let refused = Settled { ordinal, result, came: Came::default() };
                let report = self.worded(work, std::slice::from_ref(&refused), false);
                if let Err(code) = self.propose(work, report).await? {
                    tracing::warn!(device = %self.device, code, "a task's report was refused");
                    return Err(Cut);
                }
            }
        }
        Ok(())
    }

    /// Proposes a report; the code when it was refused.
    async fn propose(&self, work: &TaskWork, report: Report) -> Result<Result<(), String>, Cut> {
        let metrics = &self.shared().metrics;
        match ask(self.shared(), report, Upcall::TaskReport).await {
            Ok(rows) => {
                metrics.task_rows.with_label_values(&[work.what]).inc_by(u64::from(rows));
                metrics.rows.inc_by(u64::from(rows));
                Ok(Ok(()))
            }
            Err(Denied::Refused { code, .. }) if code != "stale_epoch" => {
                metrics.refuse_part(&code);
                Ok(Err(code))
            }
            Err(_) => Err(Cut),
        }
    }

    fn worded(&self, work: &TaskWork, settled: &[Settled], is_whole: bool) -> Report {
        let batches = settled.iter().flat_map(|one| &one.came.batches);
        let answered = settled.iter().flat_map(|one| one.came.answered.iter().copied());
        let marks = settled.iter().flat_map(|one| {
            one.came.marks.iter().map(|(profile, newest_s)| (one.ordinal, *profile, *newest_s))
        });
        let meters = settled.iter().filter_map(|one| Some((one.ordinal, one.result?)));
        Report {
            name: work.name.clone(),
            task: work.task,
            run: work.run,
            part: Part {
                lease: Some((self.device.clone(), self.epoch)),
                mark: None,
                batches: together(batches),
            },
            answered: answered.collect::<Vec<Answered>>(),
            marks: marks.collect(),
            meters: meters.collect(),
            offset_ms: None,
            is_whole,
        }
    }
}

/// Rows of many meters in few batches: one for each interval and list of registers.
fn together<'a>(batches: impl Iterator<Item = &'a Batch>) -> Vec<Batch> {
    type Kind = (u16, Vec<(Obis, i8, u8)>);
    let mut kinds: BTreeMap<Kind, BatchBuilder> = BTreeMap::new();
    let mut full = Vec::new();
    for batch in batches {
        let registers: Vec<Register> = batch.registers().to_vec();
        let kind = registers.iter().map(|one| (one.obis, one.scaler, one.unit)).collect();
        let interval = batch.interval_minutes();
        let fresh = || BatchBuilder::new(interval, registers.clone());
        let Ok(rows) = batch.rows() else { continue };
        let builder = kinds.entry((interval, kind)).or_insert_with(fresh);
        for row in rows.iter() {
            if !builder.push(row.ordinal, row.end_s, row.flag, row.values) {
                full.push(std::mem::replace(builder, fresh()).finish());
                builder.push(row.ordinal, row.end_s, row.flag, row.values);
            }
        }
    }
    full.extend(kinds.into_values().filter(|rest| !rest.is_empty()).map(BatchBuilder::finish));
    full
}

/// Whether a failure means that nothing can be read on this channel any more.
pub(super) fn is_lost(failure: &Failure) -> bool {
    matches!(failure, Failure::ChannelLost | Failure::NoChannel)
}
