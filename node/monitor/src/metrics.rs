//! The monitor's own metrics.
//!
//! Invariants: names are a contract (`docs/reference/metrics.md`); labels come from closed sets
//! and from the configuration's names.

use std::collections::BTreeMap;

use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::config::Severity;
use crate::engine::Engine;

/// Handles; clones share their values.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// 1 for a node whose last page came.
    pub node_up: IntGaugeVec,
    /// How long its last page took.
    pub scrape_seconds: GaugeVec,
    /// Pages by node and result.
    pub scrapes: IntCounterVec,
    incidents: IntGaugeVec,
    untold: IntGauge,
    messages: IntGaugeVec,
    oldest: Gauge,
    queue_full: IntGauge,
    /// Tries to hand a message over, by channel and result.
    pub deliveries: IntCounterVec,
    channel_failures: IntGaugeVec,
    channel_trouble: IntGaugeVec,
    /// A modem's signal.
    pub modem_signal: IntGaugeVec,
    /// How often a modem was told to start anew.
    pub modem_resets: IntGaugeVec,
    /// Messages that came in, by result.
    pub answers: IntCounterVec,
    /// What Alertmanager posted, by result.
    pub posted: IntCounterVec,
    journal_bytes: IntGauge,
    /// 1 when what is decided is not durable.
    pub journal_failed: IntGauge,
    heartbeat: Gauge,
    sender: IntGauge,
    alone: IntGauge,
    /// Alarms of the field by what became of them.
    pub alarms: IntCounterVec,
    ups: BTreeMap<&'static str, GaugeVec>,
    /// When rules were last evaluated.
    pub evaluated: Gauge,
    /// Evaluations.
    pub evaluations: IntCounter,
}

impl Metrics {
    /// All of them, in a registry of their own.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let whole = Registry::new();
        let registry = &whole;
        Ok(Metrics {
            node_up: gauges(registry, "node_up", "1 for a node whose last page came", &["node"])?,
            scrape_seconds: floats(
                registry,
                "scrape_seconds",
                "How long the last page took",
                &["node"],
            )?,
            scrapes: counters(registry, "scrapes_total", "Pages asked for", &["node", "result"])?,
            incidents: gauges(registry, "incidents", "Incidents", &["state", "severity"])?,
            untold: gauge(
                registry,
                "untold_incidents",
                "Firing incidents that nobody can be told of",
            )?,
            messages: gauges(registry, "messages", "Messages kept", &["stage"])?,
            oldest: float(
                registry,
                "oldest_waiting_message_timestamp_seconds",
                "When the oldest message that waits was made; 0 when none does",
            )?,
            queue_full: gauge(registry, "queue_full", "1 when messages are held back")?,
            deliveries: counters(registry, "deliveries_total", "Tries", &["channel", "result"])?,
            channel_failures: gauges(
                registry,
                "channel_failures",
                "Failures in a row",
                &["channel"],
            )?,
            channel_trouble: gauges(
                registry,
                "channel_trouble",
                "1 when it cannot send",
                &["channel"],
            )?,
            modem_signal: gauges(
                registry,
                "modem_signal_dbm",
                "Signal; 0 is unknown",
                &["channel"],
            )?,
            modem_resets: gauges(registry, "modem_resets", "Restarts", &["channel"])?,
            answers: counters(registry, "answers_total", "Messages that came in", &["result"])?,
            posted: counters(registry, "posted_total", "Posts of Alertmanager", &["result"])?,
            journal_bytes: gauge(registry, "journal_bytes", "Length of the memory on disk")?,
            journal_failed: gauge(registry, "journal_failed", "1 when decisions are not durable")?,
            heartbeat: float(
                registry,
                "heartbeat_timestamp_seconds",
                "When the last daily message was handed over; 0 when none was",
            )?,
            sender: gauge(registry, "sender", "1 when this monitor is the one that tells")?,
            alone: gauge(registry, "alone", "1 when it tells because no node answers")?,
            alarms: counters(registry, "alarms_total", "Alarms of the field", &["result"])?,
            ups: ups(registry)?,
            evaluated: float(
                registry,
                "evaluation_timestamp_seconds",
                "When rules were last evaluated",
            )?,
            evaluations: counter(registry, "evaluations_total", "Evaluations of all rules")?,
            registry: whole,
        })
    }

    /// Takes what the engine knows.
    pub fn set(&self, engine: &Engine, journal_bytes: u64, now: i64) {
        self.incidents.reset();
        let severities = [Severity::Info, Severity::Warning, Severity::Critical];
        let states = ["pending", "firing", "acknowledged", "silenced", "resolved"];
        let counts: BTreeMap<_, _> = engine.counts();
        for (state, severity) in
            states.iter().flat_map(|state| severities.map(|severity| (*state, severity)))
        {
            let count = counts.get(&(state, severity)).copied().unwrap_or(0);
            self.incidents.with_label_values(&[state, severity.word()]).set(count);
        }
        self.untold.set(i64::try_from(engine.untold(now)).unwrap_or(i64::MAX));
        for (stage, count) in engine.stages() {
            self.messages.with_label_values(&[stage]).set(count);
        }
        let waiting = engine.messages().find(|one| !one.stage.is_finished());
        self.oldest.set(waiting.map_or(0.0, |one| one.created as f64 / 1000.0));
        self.queue_full.set(i64::from(engine.is_queue_full()));
        for (channel, health) in engine.health() {
            let labels = [channel.as_str()];
            self.channel_failures.with_label_values(&labels).set(i64::from(health.failures));
            let trouble = i64::from(health.trouble.is_some());
            self.channel_trouble.with_label_values(&labels).set(trouble);
        }
        self.journal_bytes.set(i64::try_from(journal_bytes).unwrap_or(i64::MAX));
        self.heartbeat.set(engine.last_heartbeat().map_or(0.0, |at| at as f64 / 1000.0));
        self.sender.set(i64::from(engine.is_sender()));
        self.alone.set(i64::from(engine.is_alone()));
    }

    /// Takes what a UPS told; what it does not tell any more is not shown any more.
    pub fn set_ups(&self, ups: &str, figures: &[(&'static str, f64)]) {
        for (name, gauge) in &self.ups {
            match figures.iter().find(|(known, _)| known == name) {
                Some((_, value)) => gauge.with_label_values(&[ups]).set(*value),
                // There may be none: then there is nothing to remove.
                None => drop(gauge.remove_label_values(&[ups])),
            }
        }
    }

    /// The page, format 0.0.4.
    pub fn page(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(page)
    }
}

fn ups(registry: &Registry) -> Result<BTreeMap<&'static str, GaugeVec>, prometheus::Error> {
    let ups_floats = |name, help| floats(registry, name, help, &["ups"]);
    Ok(BTreeMap::from([
        (
            "holdfast_monitor_ups_up",
            ups_floats("ups_up", "1 when the UPS's server answers for it")?,
        ),
        ("holdfast_monitor_ups_on_battery", ups_floats("ups_on_battery", "1 when mains are gone")?),
        ("holdfast_monitor_ups_low", ups_floats("ups_low", "1 when the battery is nearly empty")?),
        (
            "holdfast_monitor_ups_replace_battery",
            ups_floats("ups_replace_battery", "1 when the battery should be replaced")?,
        ),
        (
            "holdfast_monitor_ups_charge_ratio",
            ups_floats("ups_charge_ratio", "Charge of the battery")?,
        ),
        (
            "holdfast_monitor_ups_runtime_seconds",
            ups_floats("ups_runtime_seconds", "How long the battery lasts")?,
        ),
        ("holdfast_monitor_ups_load_ratio", ups_floats("ups_load_ratio", "Load")?),
    ]))
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("holdfast_monitor_{name}"), help)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let made = IntGauge::with_opts(opts(name, help))?;
    registry.register(Box::new(made.clone())).map(|()| made)
}

fn float(registry: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let made = Gauge::with_opts(opts(name, help))?;
    registry.register(Box::new(made.clone())).map(|()| made)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let made = IntCounter::with_opts(opts(name, help))?;
    registry.register(Box::new(made.clone())).map(|()| made)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let made = IntGaugeVec::new(opts(name, help), labels)?;
    registry.register(Box::new(made.clone())).map(|()| made)
}

fn floats(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let made = GaugeVec::new(opts(name, help), labels)?;
    registry.register(Box::new(made.clone())).map(|()| made)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let made = IntCounterVec::new(opts(name, help), labels)?;
    registry.register(Box::new(made.clone())).map(|()| made)
}
