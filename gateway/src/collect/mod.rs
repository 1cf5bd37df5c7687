//! Collection tasks: reads of meters behind concentrators and of dialled meters, as the cluster's
//! tasks say. What is read of whom and in which order the replicated state says; here is who visits
//! which device, how many at a time, and what comes of each read.
//!
//! Map: `pieces` words the state's work for a meter by its model; `book` decides which device is
//! visited when; `run` visits one; `read` reads one meter.
//!
//! Invariants: 1. every read makes way for those on demand; 2. a bounded number of devices at a
//! time, and of reads of each; 3. while the node may not act nothing is asked; 4. of one device
//! either gaps are filled or a load profile is read for a task.

mod book;
pub(crate) mod pieces;
mod read;
mod run;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::Device;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use self::book::{Book, Ended};
use self::run::Visit;
use crate::Gateway;
use crate::ask::ask;
use crate::roster::ChannelRole;
use crate::upcall::Upcall;

/// Devices of one question.
const ASKED: usize = 4_096;

struct Visits {
    gateway: Gateway,
    book: Book,
    tasks: JoinSet<Ended>,
    names: HashMap<Id, (Device, u64)>,
    /// Whether devices wait for a visit.
    is_crowded: Arc<AtomicBool>,
}

/// Visits devices for tasks until the stop.
pub(crate) async fn run(gateway: Gateway) {
    let look = Duration::from_millis(gateway.shared.config.task_look_ms);
    let mut tick = tokio::time::interval(look);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = gateway.shared.stop.subscribe();
    let mut visits = Visits {
        gateway,
        book: Book::new(look),
        tasks: JoinSet::new(),
        names: HashMap::new(),
        is_crowded: Arc::default(),
    };
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = visits.tasks.join_next_with_id() => {
                match ended {
                    Ok((id, ended)) => visits.ended(id, ended),
                    Err(error) => visits.ended(error.id(), Ended::Cut),
                }
                continue;
            }
            _ = tick.tick() => {}
        }
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = visits.begin() => {}
        }
    }
    visits.tasks.shutdown().await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard of the value must not live on in the caller.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

impl Visits {
    async fn begin(&mut self) {
        let shared = Arc::clone(&self.gateway.shared);
        if !shared.is_acting() {
            self.tasks.abort_all();
            return;
        }
        let seen = self.seen();
        let asked = self.book.worth(Instant::now().into_std(), seen, ASKED);
        let Ok(found) = ask(&shared, asked.clone(), Upcall::TaskDevices).await else { return };
        let (now, room) =
            (Instant::now().into_std(), found.devices.saturating_sub(self.tasks.len()));
        let (due, is_crowded) = self.book.due(now, &asked, found.board, found.due, room);
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
        for (device, epoch) in due {
            let visit = Visit {
                gateway: self.gateway.clone(),
                device: device.clone(),
                epoch,
                reads: found.reads,
            };
            let visit = run::run(visit, Arc::clone(&self.is_crowded));
            let task = self.tasks.spawn(visit);
            self.names.insert(task.id(), (device, epoch));
        }
        self.gauge();
    }

    /// Devices whose channel is active here.
    fn seen(&self) -> Vec<(Device, u64)> {
        let shared = &self.gateway.shared;
        let active = shared.roster().statuses().into_iter().filter_map(|status| {
            let epoch = status.epoch.filter(|_| status.role == ChannelRole::Active)?;
            Some((Device::Concentrator(status.concentrator), epoch))
        });
        active.chain(shared.dialled()).collect()
    }

    fn ended(&mut self, id: Id, ended: Ended) {
        let Some((device, epoch)) = self.names.remove(&id) else { return };
        self.book.ended(Instant::now().into_std(), &device, epoch, ended);
        self.gauge();
    }

    fn gauge(&self) {
        let running = i64::try_from(self.tasks.len()).unwrap_or(i64::MAX);
        self.gateway.shared.metrics.task_devices.set(running);
    }
}
