//! Lines that several meters share: serial ports of this node and TCP serial servers. One task a
//! line hands its port from conversation to conversation. Not here: what is said on it.
//!
//! Invariants: 1. one conversation at a time on a line, whichever way it ends; 2. whoever waits
//! with an order is next, then whoever waits longest; the queue is bounded and every wait has a
//! deadline; 3. a port is handed out under the settings of the configuration, and after the line
//! was silent; 4. a device that is not there is opened again with a growing pause, an order tries
//! at once.

pub(crate) mod port;
pub(crate) mod settings;
mod task;
mod telnet;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::commands::Failure;
use domain::units::address::Way;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use self::port::{Port, label};
use crate::shared::Shared;

/// Why there is no turn on a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Too many wait for it, or it was not free in time.
    #[error("the line is busy")]
    Busy,
    /// The port or the serial server is not there, or went away.
    #[error("{0}")]
    Gone(String),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy => Self::Busy,
            Fault::Gone(why) => Self::Line(why),
        }
    }
}

/// Whether somebody waits for this conversation. It may become so while the conversation waits
/// for its line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Urgency(Arc<AtomicBool>);

impl Urgency {
    /// Somebody waits from now on.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who waits for a line, as its holder sees it.
#[derive(Default)]
struct Waiting(Mutex<Vec<Urgency>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<Urgency>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wish for a turn. Dropping it takes it out of the waiting list.
struct Ask {
    urgency: Urgency,
    deadline: Instant,
    waiting: Arc<Waiting>,
    reply: Option<oneshot::Sender<Result<Turn, Fault>>>,
}

impl Ask {
    fn is_over(&self) -> bool {
        let left = self.reply.as_ref().is_none_or(oneshot::Sender::is_closed);
        left || self.deadline <= Instant::now()
    }

    /// The turn comes back when nobody listens any more.
    fn answer(mut self, answer: Result<Turn, Fault>) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(answer);
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.waiting.lock().retain(|other| !Arc::ptr_eq(&other.0, &self.urgency.0));
    }
}

/// The port of a line, for one conversation. It goes back when this is dropped.
pub(crate) struct Turn {
    port: Option<Port>,
    waiting: Arc<Waiting>,
    back: Option<oneshot::Sender<Port>>,
}

impl Turn {
    /// Whether somebody waits for the line with an order: scheduled work makes way.
    pub fn is_wanted(&self) -> bool {
        self.waiting.lock().iter().any(Urgency::is_raised)
    }

    /// The port is of no more use: it is not given back, and opened anew for the next.
    pub fn lose(&mut self) {
        self.back = None;
    }
}

impl Deref for Turn {
    type Target = Port;

    fn deref(&self) -> &Port {
        self.port.as_ref().expect("a turn has its port until it is dropped")
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Port {
        self.port.as_mut().expect("a turn has its port until it is dropped")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(back), Some(port)) = (self.back.take(), self.port.take()) {
            let _ = back.send(port);
        }
    }
}

struct Line {
    asks: mpsc::Sender<Ask>,
    waiting: Arc<Waiting>,
}

/// All lines of this node that are in use.
#[derive(Default)]
pub(crate) struct Lines(Mutex<BTreeMap<Way, Line>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Way, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the tasks of the configured serial ports; lines to serial servers start when they
    /// are wanted.
    pub fn start(shared: &Arc<Shared>) {
        for settings in &shared.config.serial {
            let way = Way::Serial { port: settings.name.clone() };
            Self::line(&mut shared.lines.lock(), shared, &way);
        }
    }

    /// A turn on a line.
    ///
    /// # Errors
    /// `Busy` when the queue is full or the deadline comes first, `Gone` when there is no such
    /// port here or it cannot be opened.
    pub async fn turn(
        shared: &Arc<Shared>,
        way: &Way,
        urgency: &Urgency,
        deadline: Instant,
    ) -> Result<Turn, Fault> {
        if let Way::Serial { port } = way
            && !shared.config.serial.iter().any(|known| known.name == *port)
        {
            return Err(Fault::Gone(format!("this node has no serial port {port}")));
        }
        let busy = |shared: &Shared| {
            shared.metrics.line_busy.with_label_values(&[label(way)]).inc();
            Fault::Busy
        };
        let (reply, answer) = oneshot::channel();
        let ask = |waiting| Ask { urgency: urgency.clone(), deadline, waiting, reply: Some(reply) };
        if !shared.lines.queue(shared, way, ask) {
            return Err(busy(shared));
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(busy(shared)),
        }
    }

    /// Queues a wish at a line; false when its queue is full. Under the lock a line is not
    /// forgotten.
    fn queue(
        &self,
        shared: &Arc<Shared>,
        way: &Way,
        ask: impl FnOnce(Arc<Waiting>) -> Ask,
    ) -> bool {
        let mut lines = self.lock();
        let line = Self::line(&mut lines, shared, way);
        let ask = ask(Arc::clone(&line.waiting));
        line.waiting.lock().push(ask.urgency.clone());
        line.asks.try_send(ask).is_ok()
    }

    /// The line, its task running.
    fn line<'a>(lines: &'a mut BTreeMap<Way, Line>, shared: &Arc<Shared>, way: &Way) -> &'a Line {
        lines.entry(way.clone()).or_insert_with(|| {
            let (asks, wishes) = mpsc::channel(shared.config.line_queue);
            let waiting = Arc::<Waiting>::default();
            let task = task::run(Arc::clone(shared), way.clone(), wishes, Arc::clone(&waiting));
            shared.tasks.spawn(task);
            Line { asks, waiting }
        })
    }

    /// Forgets a line that nobody wants any more. False: somebody wants it just now.
    fn forget(&self, way: &Way, wishes: &mut mpsc::Receiver<Ask>) -> bool {
        // Under the lock nobody gets this line, so what is not queued now will not be.
        let mut lines = self.lock();
        if !wishes.is_empty() {
            return false;
        }
        wishes.close();
        lines.remove(way);
        true
    }
}
