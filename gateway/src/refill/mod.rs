//! Asks for values that were due and are missing: first of the concentrator's own store, then of
//! each meter's load profile by range. The cluster says what is missing; nothing is decided about
//! that here. Dialled meters fill their gaps in their own sessions (`dial`), with `fill`.
//!
//! Map: `book` decides which concentrator is looked at when, `rests` which meter, `plan` what is
//! asked; `run` asks.
//!
//! Invariants: 1. of one concentrator one read of missing rows at a time, and it makes way for
//! reads on demand; 2. a bounded number of concentrators at a time; 3. a slot for which a meter has
//! answered is told to the cluster, so that nobody asks for it again; 4. while the node may not
//! act nothing is asked.

mod book;
pub(crate) mod plan;
pub(crate) mod rests;
pub(crate) mod run;

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use domain::Device;
use domain::readings::{Part, Refill};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use self::book::{Book, Ended, Seen};
use self::plan::MeterAsk;
use crate::Gateway;
use crate::ask::ask;
use crate::error::Denied;
use crate::order::ProfileRead;
use crate::roster::ChannelRole;
use crate::shared::{Shared, random};
use crate::upcall::{MeterHoles, Upcall};

/// Which runs there are.
struct Runs {
    gateway: Gateway,
    book: Book,
    tasks: JoinSet<Ended>,
    names: HashMap<Id, (String, u64)>,
}

/// Looks for gaps until the stop.
pub(crate) async fn run(gateway: Gateway) {
    let config = &gateway.shared.config;
    let settle = Duration::from_millis(config.refill_settle_ms);
    let every = Duration::from_millis(config.refill_every_ms);
    let look = (settle.min(every) / 4).clamp(Duration::from_millis(50), Duration::from_secs(2));
    let mut tick = tokio::time::interval(look);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = gateway.shared.stop.subscribe();
    let book = Book::new(settle, every);
    let mut runs = Runs { gateway, book, tasks: JoinSet::new(), names: HashMap::new() };
    loop {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => break,
            Some(ended) = runs.tasks.join_next_with_id() => match ended {
                Ok((id, ended)) => runs.ended(id, ended),
                Err(error) => runs.ended(error.id(), Ended::Cut),
            },
            _ = tick.tick() => runs.begin(),
        }
    }
    runs.tasks.shutdown().await;
}

impl Runs {
    fn begin(&mut self) {
        let shared = &self.gateway.shared;
        if !shared.is_acting() {
            self.tasks.abort_all();
            return;
        }
        let active = shared.roster().statuses().into_iter().filter_map(|status| {
            let epoch = status.epoch.filter(|_| status.role == ChannelRole::Active)?;
            Some(Seen { concentrator: status.concentrator, epoch, pushes: status.pushes })
        });
        let room = shared.config.refill_devices.saturating_sub(self.tasks.len());
        let now = Instant::now().into_std();
        let due = self.book.due(now, active.collect(), room, || random::<1>()[0]);
        for look in due {
            let task = self.tasks.spawn(run::run(self.gateway.clone(), look.clone()));
            self.names.insert(task.id(), (look.concentrator, look.epoch));
        }
        self.gauge();
    }

    fn ended(&mut self, id: Id, ended: Ended) {
        let Some((name, epoch)) = self.names.remove(&id) else { return };
        let result = match ended {
            Ended::Whole => "whole",
            Ended::Part => "part",
            Ended::Cut => "cut",
        };
        self.gateway.shared.metrics.refill_runs.with_label_values(&[result]).inc();
        let [jitter] = random::<1>();
        self.book.ended(Instant::now().into_std(), &name, epoch, ended, jitter);
        self.gauge();
    }

    fn gauge(&self) {
        let running = i64::try_from(self.tasks.len()).unwrap_or(i64::MAX);
        self.gateway.shared.metrics.refill_running.set(running);
    }
}

/// What an answer of a meter has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It is stored, and what is not in it the meter does not hold.
    Answered,
    /// The meter's profile has another interval: it has not answered for these gaps.
    OtherProfile,
    /// The cluster refused the rows for good.
    Refused,
}

/// Stores what a meter has answered of its gaps, and for which of them it has.
///
/// # Errors
/// The cluster has no answer, or the lease is another's.
pub(crate) async fn fill(
    shared: &Shared,
    lease: (Device, u64),
    meter: &MeterHoles,
    asked: &MeterAsk,
    read: Option<&ProfileRead>,
) -> Result<Filled, Denied> {
    // A meter that has delivered nothing yet owes the default interval and may have another.
    let is_new = meter.holes.iter().all(|hole| hole.newest_s.is_none());
    let fits = read.is_none_or(|read| read.interval_minutes == asked.interval_minutes);
    let batches = read.map(|read| crate::translate::part_of(meter.ordinal, None, read).batches);
    let wanted = plan::slots(&meter.holes);
    let (batches, filled) = plan::wanted_rows(&batches.unwrap_or_default(), &wanted);
    let answered = if fits || is_new { asked.gaps.clone() } else { Vec::new() };
    let step_s = i64::from(asked.interval_minutes.max(1)) * 60;
    let slots: i64 = answered.iter().map(|gap| (gap.to_s - gap.from_s) / step_s).sum();
    let part = Part { lease: Some(lease), mark: None, batches };
    match ask(shared, Refill { part, answered }, Upcall::Refill).await {
        Ok(rows) => {
            let missing = slots.saturating_sub(i64::try_from(filled.len()).unwrap_or(i64::MAX));
            shared.metrics.refill_missing.inc_by(u64::try_from(missing).unwrap_or(0));
            shared.metrics.refill_rows.with_label_values(&["meter"]).inc_by(u64::from(rows));
            shared.metrics.rows.inc_by(u64::from(rows));
            Ok(if fits || is_new { Filled::Answered } else { Filled::OtherProfile })
        }
        Err(Denied::Refused { code, detail }) if code != "stale_epoch" => {
            shared.metrics.refuse_part(&code);
            tracing::warn!(serial = meter.serial, code, detail, "missing rows were refused");
            Ok(Filled::Refused)
        }
        Err(denied) => Err(denied),
    }
}

impl Shared {
    /// Whether a meter may be asked for missing rows now.
    pub(crate) fn may_refill(&self, meter: &MeterHoles) -> rests::May {
        let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        rests.may_ask(Instant::now().into_std(), &meter.serial, newest(meter))
    }

    /// Remembers how a meter took being asked for missing rows.
    pub(crate) fn note_refill(&self, meter: &MeterHoles, answered: bool) {
        let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            rests.answered(&meter.serial);
        } else {
            let [jitter] = random::<1>();
            rests.failed(Instant::now().into_std(), &meter.serial, newest(meter), jitter);
        }
    }
}

fn newest(meter: &MeterHoles) -> Option<i64> {
    meter.holes.iter().filter_map(|hole| hole.newest_s).max()
}
