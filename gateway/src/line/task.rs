//! The task of one line: it opens the port, hands it out, takes it back, and closes it when it is
//! idle (serial servers) or gone.
//!
//! Invariant: between two conversations the port is here; while it is out only its return, or the
//! loss of it, is waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::units::address::Way;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::port::{Port, label};
use super::{Ask, Fault, Turn, Waiting};
use crate::shared::Shared;

/// The longest talk of others that is waited out before a conversation.
const NOISE: Duration = Duration::from_secs(10);

struct Task {
    shared: Arc<Shared>,
    way: Way,
    queue: VecDeque<Ask>,
    waiting: Arc<Waiting>,
    port: Option<Port>,
    failures: u32,
    /// Nothing but an order opens the port before.
    not_before: Instant,
    /// What the last try to open it said.
    why: String,
    idle_since: Instant,
}

enum Event {
    Asked(Ask),
    /// The port had to say something although nobody asked, or is gone.
    Heard(std::io::Result<()>),
    Timer,
    Stop,
}

pub(super) async fn run(
    shared: Arc<Shared>,
    way: Way,
    mut wishes: mpsc::Receiver<Ask>,
    waiting: Arc<Waiting>,
) {
    let mut stop = shared.stop.subscribe();
    let now = Instant::now();
    let mut task = Task {
        shared,
        way,
        queue: VecDeque::new(),
        waiting,
        port: None,
        failures: 0,
        not_before: now,
        why: String::new(),
        idle_since: now,
    };
    loop {
        task.take(&mut wishes);
        if let Some(ask) = task.next() {
            task.serve(ask, &mut stop).await;
            continue;
        }
        match task.idle(&mut wishes, &mut stop).await {
            Event::Asked(ask) => task.queue.push_back(ask),
            Event::Heard(Ok(())) => {}
            Event::Heard(Err(error)) => task.lost(&error.to_string()),
            Event::Timer if task.is_serial() => task.open().await,
            Event::Timer => {
                if task.shared.lines.forget(&task.way, &mut wishes) {
                    return;
                }
            }
            Event::Stop => return,
        }
    }
}

impl Task {
    fn is_serial(&self) -> bool {
        matches!(self.way, Way::Serial { .. })
    }

    /// Takes in who came meanwhile, as many as may wait; the others are told that it is busy.
    fn take(&mut self, wishes: &mut mpsc::Receiver<Ask>) {
        while let Ok(ask) = wishes.try_recv() {
            if self.queue.len() < self.shared.config.line_queue {
                self.queue.push_back(ask);
            } else {
                self.shared.metrics.line_busy.with_label_values(&[label(&self.way)]).inc();
                ask.answer(Err(Fault::Busy));
            }
        }
    }

    fn next(&mut self) -> Option<Ask> {
        self.queue.retain(|ask| !ask.is_over());
        let urgent = self.queue.iter().position(|ask| ask.urgency.is_raised()).unwrap_or(0);
        self.queue.remove(urgent)
    }

    /// Nobody waits: watches the port, and opens it or closes it when it is time.
    async fn idle(
        &mut self,
        wishes: &mut mpsc::Receiver<Ask>,
        stop: &mut watch::Receiver<bool>,
    ) -> Event {
        let idle = Duration::from_millis(self.shared.config.line_idle_ms);
        let at = match (self.is_serial(), &self.port) {
            (true, Some(_)) => None,
            (true, None) => Some(self.not_before),
            (false, _) => Some(self.idle_since + idle),
        };
        let heard = async {
            match &mut self.port {
                Some(port) => port.read().await.map(|_| ()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => Event::Stop,
            Some(ask) = wishes.recv() => Event::Asked(ask),
            heard = heard => Event::Heard(heard),
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => Event::Timer,
        }
    }

    /// One conversation from the opening of the port to its return.
    async fn serve(&mut self, ask: Ask, stop: &mut watch::Receiver<bool>) {
        let may_open = ask.urgency.is_raised() || self.not_before <= Instant::now();
        if self.port.is_none() && may_open {
            self.open().await;
        }
        if let Some(port) = &mut self.port {
            let ready = async {
                port.restore()?;
                port.quiet(NOISE).await
            };
            match ready.await {
                Ok(0) => {}
                Ok(dropped) => tracing::debug!(line = %self.way, dropped, "octets of strangers"),
                Err(error) => {
                    self.lost(&error.to_string());
                    // A serial server closes an idle connection: that is no fault of the line.
                    self.open().await;
                }
            }
        }
        let Some(port) = self.port.take() else {
            return ask.answer(Err(Fault::Gone(self.why.clone())));
        };
        let metrics = &self.shared.metrics;
        metrics.line_turns.with_label_values(&[label(&self.way)]).inc();
        let (back, returned) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        ask.answer(Ok(Turn { port: Some(port), waiting, back: Some(back) }));
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => {}
            returned = returned => match returned {
                Ok(port) => self.port = Some(port),
                Err(_) => self.lost("it failed in a conversation"),
            }
        }
        self.idle_since = Instant::now();
    }

    async fn open(&mut self) {
        let config = &self.shared.config;
        let limit = Duration::from_millis(config.dial_connect_timeout_ms);
        let opened = match &self.way {
            Way::Tcp { host, port } => Port::tcp(host, *port, limit).await,
            Way::Rfc2217 { host, port } => Port::rfc2217(host, *port, limit).await,
            Way::Serial { port } => match config.serial.iter().find(|one| one.name == *port) {
                Some(settings) => Port::serial(settings),
                None => Err(std::io::ErrorKind::NotFound.into()),
            },
        };
        match opened {
            Ok(port) => {
                if self.is_serial() {
                    tracing::info!(line = %self.way, "the serial port is open");
                }
                (self.port, self.failures) = (Some(port), 0);
                self.not_before = Instant::now();
                self.show(1);
            }
            Err(error) => self.failed(&error.to_string()),
        }
        self.idle_since = Instant::now();
    }

    /// It could not be opened: the next try by itself comes later each time.
    fn failed(&mut self, why: &str) {
        let config = &self.shared.config;
        self.failures = self.failures.saturating_add(1);
        let first = Duration::from_millis(config.line_backoff_first_ms);
        let cap = Duration::from_millis(config.line_backoff_cap_ms);
        let doublings = self.failures.saturating_sub(1).min(16);
        self.not_before = Instant::now() + first.saturating_mul(1 << doublings).min(cap);
        let what = if self.is_serial() { "serial port" } else { "serial server" };
        self.why = format!("{what} {}: {why}", self.way);
        let metrics = &self.shared.metrics;
        metrics.line_open_failures.with_label_values(&[label(&self.way)]).inc();
        if self.failures == 1 && self.is_serial() {
            tracing::warn!(line = %self.way, why, "a serial port cannot be opened");
        } else {
            tracing::debug!(line = %self.way, why, "a line cannot be opened");
        }
        self.show(0);
    }

    /// The open port is gone.
    fn lost(&mut self, why: &str) {
        self.port = None;
        self.not_before = Instant::now();
        self.show(0);
        if self.is_serial() {
            let metrics = &self.shared.metrics;
            metrics.line_lost.with_label_values(&[label(&self.way)]).inc();
            tracing::warn!(line = %self.way, why, "a serial port was lost");
        } else {
            tracing::debug!(line = %self.way, why, "a serial server closed its connection");
        }
    }

    /// Serial ports alone are shown as there or not there.
    fn show(&self, up: i64) {
        if self.is_serial() {
            self.shared.metrics.line_up.with_label_values(&[label(&self.way)]).set(up);
        }
    }
}
