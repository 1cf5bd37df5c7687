//! All metrics of the gateway. Labels come from closed sets; no concentrator, meter or address is
//! ever one, only the serial ports of this node's own configuration.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::commands::Failure;
use prometheus::{
    Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::doorway::Stage;
use crate::error::Cause;
use crate::line::settings::{SerialPort, TCP};

/// Buckets that contain the promises (0.5 s, 1 s, 5 s) and the fast path.
const SECONDS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 8.0, 15.0];

/// Refusal codes that get a label of their own; any other is counted as `other`.
const CODES: [&str; 9] = [
    "unknown_meter",
    "from_the_future",
    "unaligned",
    "scaler_changed",
    "stale_epoch",
    "malformed",
    "not_permitted",
    "implausible_step",
    "other",
];

/// Results of a read.
pub(crate) const READS: [&str; 12] = [
    "ok",
    "no_channel",
    "no_answer",
    "rejected",
    "access",
    "malformed",
    "security",
    "channel_lost",
    "busy",
    "line",
    "unreached",
    "other",
];

/// Counters, gauges and histograms, shared by every channel.
pub(crate) struct Metrics {
    pub channels: IntGaugeVec,
    pub logins_waiting: IntGaugeVec,
    pub logins: IntCounterVec,
    pub switches: IntCounterVec,
    pub received: IntCounter,
    pub sent: IntCounter,
    pub closed: IntCounterVec,
    pub refused_connections: IntCounterVec,
    pub frames_refused: IntCounterVec,
    pub pushes: IntCounterVec,
    pub rows: IntCounter,
    pub refused_parts: IntCounterVec,
    pub dropped_rows: IntCounterVec,
    pub acknowledgement: Histogram,
    pub reads: IntCounterVec,
    pub read: Histogram,
    pub dials: IntCounterVec,
    pub refill_runs: IntCounterVec,
    pub refill_rows: IntCounterVec,
    pub refill_missing: IntCounter,
    pub refill_running: IntGauge,
    pub task_devices: IntGauge,
    pub task_rows: IntCounterVec,
    pub task_reads: IntCounterVec,
    pub clock_offset: Histogram,
    pub line_up: IntGaugeVec,
    pub line_turns: IntCounterVec,
    pub line_busy: IntCounterVec,
    pub line_open_failures: IntCounterVec,
    pub line_lost: IntCounterVec,
    quiet: Mutex<HashMap<&'static str, Instant>>,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is taken in the registry.
    pub fn new(registry: &Registry, serial: &[SerialPort]) -> Result<Self, Error> {
        let make = Make { registry };
        let ports: Vec<&str> = serial.iter().map(|port| port.name.as_str()).collect();
        let lines = [&ports[..], &[TCP]].concat();
        let closed: Vec<&str> = Cause::ALL.iter().map(|cause| cause.label()).collect();
        Ok(Self {
            channels: make.gauges(
                "channels",
                "Open channels by role.",
                "role",
                &["login", "standby", "active"],
            )?,
            logins_waiting: make.gauges(
                "logins_waiting",
                "Questions of logins and leases that wait for their turn, by stage.",
                "stage",
                &Stage::ALL.map(Stage::label),
            )?,
            logins: make.counters(
                "logins_total",
                "Logins of concentrators by result.",
                "result",
                &["standby", "active", "refused"],
            )?,
            switches: make.counters(
                "switches_total",
                "Channels that became active, by reason.",
                "reason",
                &["login", "promoted", "owner_lost", "ordered", "returned"],
            )?,
            received: make.counter("received_bytes_total", "Octets read from sockets.")?,
            sent: make.counter("sent_bytes_total", "Octets written to sockets.")?,
            closed: make.counters("closed_total", "Closed channels by cause.", "cause", &closed)?,
            refused_connections: make.counters(
                "connections_refused_total",
                "Connections closed at once, by cause.",
                "cause",
                &["total", "address", "tls"],
            )?,
            frames_refused: make.counters(
                "frames_refused_total",
                "Frames not accepted, by cause.",
                "cause",
                &["malformed", "oversized", "undecipherable", "replayed", "unexpected"],
            )?,
            pushes: make.counters(
                "pushes_total",
                "Profile pushes by result.",
                "result",
                &["stored", "partly", "refused", "duplicate"],
            )?,
            rows: make.counter("rows_total", "Rows that the cluster has stored.")?,
            refused_parts: make.counters(
                "parts_refused_total",
                "Parts of pushes that the cluster refused, by code.",
                "code",
                &CODES,
            )?,
            dropped_rows: make.counters(
                "rows_dropped_total",
                "Rows that could not be handed to the cluster, by code.",
                "code",
                &["unknown_meter", "no_time", "value_range", "shape"],
            )?,
            acknowledgement: make.histogram(
                "acknowledgement_seconds",
                "From a whole push to its acknowledgement after the commit.",
            )?,
            reads: make.counters("reads_total", "Reads on demand by result.", "result", &READS)?,
            read: make.histogram("read_seconds", "Duration of reads on demand that succeeded.")?,
            dials: make.counters(
                "dials_total",
                "Sessions with directly addressed meters, by result.",
                "result",
                &[
                    "ok",
                    "unreachable",
                    "association_rejected",
                    "no_answer",
                    "refused",
                    "cluster",
                    "line_busy",
                    "line_gone",
                ],
            )?,
            refill_runs: make.counters(
                "refill_runs_total",
                "Looks at the gaps of a device, by how they ended.",
                "result",
                &["whole", "part", "cut"],
            )?,
            refill_rows: make.counters(
                "refill_rows_total",
                "Rows stored that were asked for as missing, by where they came from.",
                "source",
                &["store", "meter"],
            )?,
            refill_missing: make.counter(
                "refill_missing_total",
                "Slots that a meter was asked for and does not hold.",
            )?,
            refill_running: make
                .gauge("refill_running", "Concentrators whose gaps are being filled now.")?,
            task_devices: make.gauge(
                "task_devices",
                "Concentrators and dialled meters that are read for tasks now.",
            )?,
            task_rows: make.counters(
                "task_rows_total",
                "Rows stored that were read for tasks, by what they are.",
                "what",
                &TASKS,
            )?,
            task_reads: make.task_counters(
                "task_reads_total",
                "Reads for tasks by what they read and result.",
            )?,
            clock_offset: make.offset_histogram(
                "clock_offset_seconds",
                "How far clocks were off that were measured for tasks, either way, in seconds.",
            )?,
            line_up: make.gauges(
                "line_up",
                "1 while a serial port of this node is open, by its name.",
                "line",
                &ports,
            )?,
            line_turns: make.counters(
                "line_turns_total",
                "Conversations on a serial port, or on all serial servers together (tcp).",
                "line",
                &lines,
            )?,
            line_busy: make.counters(
                "line_busy_total",
                "Conversations that did not get their line in time.",
                "line",
                &lines,
            )?,
            line_open_failures: make.counters(
                "line_open_failures_total",
                "Serial ports, or connections to serial servers, that could not be opened.",
                "line",
                &lines,
            )?,
            line_lost: make.counters(
                "line_lost_total",
                "Open serial ports that went away.",
                "line",
                &ports,
            )?,
            quiet: Mutex::new(HashMap::new()),
        })
    }

    /// Counts a refused part under its code.
    pub fn refuse_part(&self, code: &str) {
        self.refused_parts.with_label_values(&[known_code(code)]).inc();
    }

    /// Counts a read on demand, and its duration when it succeeded.
    pub fn count_read(&self, failure: Option<&Failure>, took: Duration) {
        let result = match failure {
            None => {
                self.read.observe(took.as_secs_f64());
                "ok"
            }
            Some(Failure::NoChannel) => "no_channel",
            Some(Failure::NoAnswer) => "no_answer",
            Some(Failure::Rejected(_)) => "rejected",
            Some(Failure::Access(_)) => "access",
            Some(Failure::Malformed(_)) => "malformed",
            Some(Failure::Security(_)) => "security",
            Some(Failure::ChannelLost) => "channel_lost",
            Some(Failure::Busy) => "busy",
            Some(Failure::Line(_)) => "line",
            Some(Failure::Unreached(_)) => "unreached",
            Some(_) => "other",
        };
        self.reads.with_label_values(&[result]).inc();
    }

    /// True at most once a minute for each cause: the caller may log it now.
    pub fn may_log(&self, cause: &'static str, now: Instant) -> bool {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        match quiet.get(cause) {
            Some(last) if now.duration_since(*last) < Duration::from_secs(60) => false,
            _ => {
                quiet.insert(cause, now);
                true
            }
        }
    }
}

/// The code itself when it is one of the closed set, else `other`.
pub(crate) fn known_code(code: &str) -> &'static str {
    CODES.iter().find(|known| **known == code).copied().unwrap_or("other")
}

/// What tasks read.
const TASKS: [&str; 6] = ["billing", "events", "registers", "instantaneous", "clock", "load"];

struct Make<'a> {
    registry: &'a Registry,
}

impl Make<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        let counter = IntCounter::new(full(name), help)?;
        self.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> Result<IntCounterVec, Error> {
        let counters = IntCounterVec::new(Opts::new(full(name), help), &[label])?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        self.registry.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    /// Buckets from what a clock's own seconds hide to a wrong hour and a wrong day.
    fn offset_histogram(&self, name: &str, help: &str) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(full(name), help)
            .buckets(vec![1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0]);
        let histogram = Histogram::with_opts(options)?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    fn task_counters(&self, name: &str, help: &str) -> Result<IntCounterVec, Error> {
        let counters = IntCounterVec::new(Opts::new(full(name), help), &["what", "result"])?;
        for what in TASKS {
            counters.with_label_values(&[what, "ok"]);
        }
        self.registry.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        let gauge = IntGauge::new(full(name), help)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> Result<IntGaugeVec, Error> {
        let gauges = IntGaugeVec::new(Opts::new(full(name), help), &[label])?;
        for value in values {
            gauges.with_label_values(&[value]);
        }
        self.registry.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(full(name), help).buckets(SECONDS.to_vec());
        let histogram = Histogram::with_opts(options)?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }
}

fn full(name: &str) -> String {
    format!("holdfast_gateway_{name}")
}

#[cfg(test)]
mod tests {
    use super::{Metrics, known_code};
    use prometheus::Registry;
    use std::time::{Duration, Instant};

    #[test]
    fn names_are_ours_and_labels_are_closed() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &[]).unwrap();
        metrics.refuse_part("something that a newer node says");
        let mut series = 0;
        for family in registry.gather() {
            assert!(family.name().starts_with("holdfast_gateway_"), "{}", family.name());
            series += family.get_metric().len();
        }
        assert!(series < 120, "{series} series");
        assert_eq!(known_code("unaligned"), "unaligned");
        assert_eq!(known_code("anything"), "other");
        assert!(Metrics::new(&registry, &[]).is_err(), "twice in one registry is a fault");
    }

    #[test]
    fn a_cause_is_logged_once_a_minute() {
        let metrics = Metrics::new(&Registry::new(), &[]).unwrap();
        let start = Instant::now();
        assert!(metrics.may_log("a", start));
        assert!(!metrics.may_log("a", start + Duration::from_secs(59)));
        assert!(metrics.may_log("b", start));
        assert!(metrics.may_log("a", start + Duration::from_secs(60)));
    }
}
