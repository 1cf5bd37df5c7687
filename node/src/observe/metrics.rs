//! Every metric of the node itself, and the registry of all crates.
//!
//! Invariants: one registry a process; names are a contract (`docs/reference/metrics.md`); labels
//! come from closed sets: route patterns, methods, status codes, fixed words.

use std::time::Duration;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::power_metrics::PowerGauges;
use crate::app::App;
use crate::areas::figures;
use crate::http::limits::Kind;

/// Seconds; they contain the promises of reads, commands and pages.
const SECONDS: [f64; 12] = [0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 8.0, 15.0, 30.0];

/// Handles of the node's metrics; clones share their values.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    limited: IntCounterVec,
    request_seconds: HistogramVec,
    stored: IntGaugeVec,
    expected: IntGaugeVec,
    by_way: IntGaugeVec,
    spread: GaugeVec,
    ready: IntGauge,
    /// Proposals of readings made here, and the parts in them.
    pub ingests: IntCounter,
    /// Parts of readings proposed here.
    pub ingest_parts: IntCounter,
    /// Commands executed here, by result.
    pub commands: IntCounterVec,
    /// Live views that go on, of the whole cluster.
    pub live_views: IntGauge,
    /// Streams of changes that this node tells.
    pub change_streams: IntGauge,
    /// Rounds of live views read here, by result.
    pub live_rounds: IntCounterVec,
    /// Runs of the background jobs, by job and result.
    pub jobs: IntCounterVec,
    /// Seconds of validity left are computed by who scrapes: this is the end of the certificate.
    pub certificate_end: IntGauge,
    /// How often the certificate was read again and taken.
    pub certificate_renewals: IntCounter,
    devices: IntGaugeVec,
    figures: Figures,
    /// When the last backup of this node was fetched to its end, Unix time.
    pub last_backup: IntGauge,
    drills: Drills,
    /// This node's UPS.
    pub power: PowerGauges,
}

/// Channels and open commands of the replicated state.
#[derive(Clone)]
struct Figures {
    concentrators: IntGaugeVec,
    alone: IntGauge,
    open_commands: IntGauge,
    oldest_command: IntGauge,
    clocks: IntGaugeVec,
    clock_shifts: IntGaugeVec,
}

impl Figures {
    fn new(make: &Make<'_>) -> Result<Figures, prometheus::Error> {
        Ok(Figures {
            concentrators: make.gauges(
                "concentrators",
                "Registered concentrators by the channel that they have now",
                &["channel"],
            )?,
            alone: make.gauge(
                "concentrators_without_standby",
                "Concentrators with an active channel and no warm standby",
            )?,
            open_commands: make.gauge("commands_open", "Commands that are not at their end")?,
            oldest_command: make.gauge(
                "commands_oldest_timestamp_seconds",
                "When the oldest open command came, Unix time; 0 when none is open",
            )?,
            clocks: make.gauges(
                "clocks_off",
                "Clocks of devices beyond the tolerance, by what is done about them",
                &["standing"],
            )?,
            clock_shifts: make.gauges(
                "clock_shifts",
                "Shifts and settings of clocks since the cluster began, by what came of them",
                &["result"],
            )?,
        })
    }

    fn refresh(&self, now: &figures::Figures) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (channel, count) in
            [("main", now.on_main), ("standby", now.on_standby), ("none", now.offline)]
        {
            self.concentrators.with_label_values(&[channel]).set(number(count));
        }
        self.alone.set(number(now.alone));
        self.open_commands.set(number(now.commands));
        self.oldest_command.set(number(now.oldest_command_s));
        let clocks = [(&self.clocks, now.clocks.standing), (&self.clock_shifts, now.clocks.done)];
        for (gauges, figures) in clocks {
            for (name, count) in figures.into_iter().filter(|(name, _)| !name.is_empty()) {
                gauges.with_label_values(&[name]).set(number(count));
            }
        }
    }
}

/// What the replicated state knows of drills.
#[derive(Clone)]
struct Drills {
    last_success: IntGaugeVec,
    last_run: IntGaugeVec,
    last_passed: IntGaugeVec,
    last_recovery: GaugeVec,
    open: IntGauge,
    plans: IntGaugeVec,
    troubled: IntGauge,
}

impl Metrics {
    /// Makes the registry and the node's metrics.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let make = Make(&registry);
        let build = make.gauges("build_info", "1; what is running", &["version", "revision"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), crate::REVISION]).set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        let labels = ["route", "method", "code"];
        let seconds = HistogramOpts::new(
            "holdfast_http_request_seconds",
            "Duration of HTTP requests by route pattern",
        )
        .buckets(SECONDS.to_vec());
        let request_seconds = HistogramVec::new(seconds, &["route", "method"])?;
        registry.register(Box::new(request_seconds.clone()))?;
        let commands = make.counters("commands_total", "Commands executed here", &["result"])?;
        for result in ["acknowledged", "failed", "refused"] {
            commands.with_label_values(&[result]);
        }
        let limited = make.counters("http_limited_total", "HTTP requests too many", &["kind"])?;
        for kind in Kind::ALL {
            limited.with_label_values(&[kind.name()]);
        }
        Ok(Metrics {
            limited,
            requests: make.counters("http_requests_total", "HTTP requests answered", &labels)?,
            request_seconds,
            stored: make.gauges(
                "collection_values_stored",
                "Interval values stored of those due, by window (day: 24 h, kept: 62 days)",
                &["window"],
            )?,
            expected: make.gauges(
                "collection_values_expected",
                "Interval values due since each meter's registration or first value, by window",
                &["window"],
            )?,
            by_way: make.gauges(
                "collection_values",
                "Interval values stored of those due by the way they came, and those that nobody \
                 holds, by window",
                &["window", "way"],
            )?,
            spread: make.floats(
                "collection_concentrator_rate",
                "Overall collection rate of the last 24 hours of concentrators, by place in order",
                &["place"],
            )?,
            ready: make.gauge("ready", "1 while /readyz answers 200")?,
            ingests: make.counter("ingest_proposals_total", "Proposals of readings made here")?,
            ingest_parts: make.counter("ingest_parts_total", "Parts in those proposals")?,
            commands,
            live_views: make.gauge("live_views", "Live views of meters that go on")?,
            change_streams: make.gauge("change_streams", "Streams of changes told here")?,
            live_rounds: make.counters(
                "live_rounds_total",
                "Rounds of live views read here",
                &["result"],
            )?,
            jobs: make.counters("jobs_total", "Runs of background jobs", &["job", "result"])?,
            certificate_end: make.gauge(
                "certificate_not_after_timestamp_seconds",
                "When this node's certificate ends, Unix time",
            )?,
            certificate_renewals: make.counter(
                "certificate_renewals_total",
                "How often this node read its certificate again and took it",
            )?,
            devices: make.gauges("devices", "Registered devices", &["kind"])?,
            figures: Figures::new(&make)?,
            last_backup: make.gauge(
                "backup_last_timestamp_seconds",
                "When a backup was last fetched from this node to its end, Unix time",
            )?,
            drills: Drills::new(&make)?,
            power: PowerGauges::new(&make)?,
            registry,
        })
    }

    /// The registry that every crate registers with.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a request.
    pub fn http(&self, route: &str, method: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// Counts a request that was one too many, by what is limited.
    pub fn limited(&self, kind: &str) {
        self.limited.with_label_values(&[kind]).inc();
    }

    /// All metrics of the process in text format 0.0.4.
    pub fn text(&self, app: &App) -> Vec<u8> {
        self.refresh(app);
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        out
    }

    /// All gauges of the process as they are now.
    pub fn gauges(&self, app: &App) -> Gauges {
        self.refresh(app);
        Gauges::of(&self.registry)
    }

    /// Takes over what stands in the replicated state.
    fn refresh(&self, app: &App) {
        self.drills.refresh(app);
        let ready = crate::http::health::is_ready(app);
        self.ready.set(i64::from(ready));
        let collected = app.collected();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (window, part) in [("day", &collected.day.all), ("kept", &collected.kept.all)] {
            for (way, count) in [
                ("first_pass", part.first_pass()),
                ("refill", part.refilled),
                ("brought", part.brought),
                ("missing", part.missing),
            ] {
                self.by_way.with_label_values(&[window, way]).set(number(count));
            }
            self.stored.with_label_values(&[window]).set(number(part.stored));
            self.expected.with_label_values(&[window]).set(number(part.expected));
        }
        let spread = collected.day.spread().unwrap_or_default();
        for (place, ppm) in [
            ("least", spread.least_ppm),
            ("tenth", spread.tenth_ppm),
            ("median", spread.median_ppm),
            ("ninetieth", spread.ninetieth_ppm),
            ("most", spread.most_ppm),
        ] {
            let rate = u32::try_from(ppm).map_or(0.0, |ppm| f64::from(ppm) / 1e6);
            self.spread.with_label_values(&[place]).set(rate);
        }
        for (kind, count) in
            [("meter", collected.kept.all.meters), ("concentrator", collected.concentrators)]
        {
            self.devices.with_label_values(&[kind]).set(number(count));
        }
        self.figures.refresh(&collected.figures);
    }
}

/// What the gauges of a registry said at a moment.
pub struct Gauges(Vec<MetricFamily>);

impl Gauges {
    /// Takes them now.
    pub fn of(registry: &Registry) -> Gauges {
        let mut families = registry.gather();
        families.retain(|family| family.get_field_type() == MetricType::GAUGE);
        Gauges(families)
    }

    /// The value of a gauge, of the series with this label where one is given.
    pub fn value(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let family = self.0.iter().find(|family| family.name() == name)?;
        let chosen = |one: &&Metric| {
            let has = |(name, value): (&str, &str)| {
                one.get_label().iter().any(|own| own.name() == name && own.value() == value)
            };
            label.is_none_or(has)
        };
        family.get_metric().iter().find(chosen).map(|one| one.get_gauge().get_value())
    }
}

impl Drills {
    fn new(make: &Make<'_>) -> Result<Drills, prometheus::Error> {
        Ok(Drills {
            last_success: make.gauges(
                "drill_last_success_timestamp_seconds",
                "When a scenario passed last, Unix time; 0: never",
                &["scenario"],
            )?,
            last_run: make.gauges(
                "drill_last_run_timestamp_seconds",
                "When a scenario was judged last, Unix time; 0: never",
                &["scenario"],
            )?,
            last_passed: make.gauges(
                "drill_last_passed",
                "1 when the last judged run of a scenario passed",
                &["scenario"],
            )?,
            last_recovery: make.floats(
                "drill_last_recovery_seconds",
                "Longest time without service in the last judged run of a scenario",
                &["scenario", "kind"],
            )?,
            open: make.gauge("drill_open", "1 while a drill is under way")?,
            plans: make.gauges("drill_plans", "Plans of drills by where they stand", &["state"])?,
            troubled: make.gauge(
                "drill_plans_troubled",
                "Plans whose last turn was not carried out, or did not pass",
            )?,
        })
    }

    fn refresh(&self, app: &App) {
        let Ok(live) = app.live() else { return };
        let kept = match domain::drills::list(&live.cluster.view()) {
            Ok(kept) => kept,
            Err(fault) => {
                tracing::error!(%fault, "the drills cannot be read");
                return;
            }
        };
        let now = live.cluster.stamp_now();
        match crate::areas::drills::due::counts(&live.cluster.view(), now) {
            Ok(found) => {
                for (state, count) in found.states {
                    self.plans.with_label_values(&[state]).set(count);
                }
                self.troubled.set(found.troubled);
            }
            Err(fault) => tracing::error!(%fault, "the plans of drills cannot be read"),
        }
        self.open.set(i64::from(kept.iter().any(|record| record.is_open(now))));
        for scenario in crate::drills::scenario::SCENARIOS {
            let label = [scenario.name];
            let of = || kept.iter().rev().filter(|record| record.begin.scenario == scenario.name);
            let last = of().find(|record| record.summary.is_some());
            let good = of().find(|record| domain::drills::passed(record));
            let ended = |record: Option<&domain::drills::Record>| {
                record.and_then(|record| record.ended).map_or(0, domain::Stamp::seconds)
            };
            self.last_success.with_label_values(&label).set(ended(good));
            self.last_run.with_label_values(&label).set(ended(last));
            let passed = last.is_some_and(domain::drills::passed);
            self.last_passed.with_label_values(&label).set(i64::from(passed));
            let Some(summary) = last.and_then(|record| record.summary.as_ref()) else { continue };
            for (kind, ms) in [
                ("write", summary.write_ms),
                ("read", summary.read_ms),
                ("channel", summary.channel_ms),
            ] {
                // What did not come back has no length: the verdict tells.
                let labels = [scenario.name, kind];
                match ms {
                    Some(ms) => {
                        let seconds = f64::from(ms) / 1000.0;
                        self.last_recovery.with_label_values(&labels).set(seconds);
                    }
                    // An error only says that there was none.
                    None => drop(self.last_recovery.remove_label_values(&labels)),
                }
            }
        }
    }
}

pub(super) struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("holdfast_{name}"), help)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(Self::opts(name, help))?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn floats(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let metric = GaugeVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        let metric = Gauge::with_opts(Self::opts(name, help))?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::with_opts(Self::opts(name, help))?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
