//! Every metric of this crate, named `holdfast_storage_<noun>_<unit|total>`. No meter is ever
//! a label.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::{Error, Result};

/// Seconds: from a tenth of a millisecond (a fast disk's sync) to seconds (a stalled one).
const LATENCY_S: [f64; 14] =
    [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.015, 0.03, 0.06, 0.12, 0.25, 1.0, 4.0];

/// The handles; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Month files in the archive.
    pub cold_files: IntGauge,
    /// Files fetched from the archive.
    pub cold_fetches: IntCounter,
    /// From the call of an append to its durable end.
    pub wal_append_s: Histogram,
    /// One sync of the log.
    pub wal_flush_s: Histogram,
    /// Octets written to the log, frames and headers included.
    pub wal_octets: IntCounter,
    /// Files of the log.
    pub wal_segments: IntGauge,
    /// One flush and sync of the tables.
    pub tables_flush_s: Histogram,
    /// Octets of the tables' folder.
    pub tables_octets: IntGauge,
    /// Octets of memory of the open days.
    pub open_days_octets: IntGauge,
    /// Sealed segment files.
    pub segments_files: IntGauge,
    /// Octets of the sealed segment files.
    pub segments_octets: IntGauge,
    /// Sealings that failed and wait for another try.
    pub seal_faults: IntCounter,
    /// Months folded into one file.
    pub compactions: IntCounter,
    /// Days and months that wait for their files.
    pub segments_waiting: IntGauge,
    /// Damaged segment files whose range is not served.
    pub segments_damaged: IntGauge,
    /// Segment files found damaged.
    pub segment_damages: IntCounter,
    /// Segment files healed from a peer.
    pub segment_heals: IntCounter,
    /// Octets read again by the scrubber.
    pub scrubbed_octets: IntCounter,
    /// Whole passes of the scrubber.
    pub scrubs: IntCounter,
    /// Octets that are free on the disk of the data directory.
    pub disk_free_octets: IntGauge,
    /// 1 while the node takes no writes because the disk is almost full.
    pub disk_full: IntGauge,
    /// Rows merged, by `result`: `stored`, `same`, `conflicting`.
    pub rows: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// [`Error::Config`] when a metric of that name is already registered.
    pub fn register(registry: &Registry) -> Result<Self> {
        Self::build(registry).map_err(|error| Error::Config(format!("metrics: {error}")))
    }

    /// Metrics that nobody scrapes, for tests and tools.
    pub fn unregistered() -> Self {
        Self::build(&Registry::new()).expect("a new registry holds no name twice")
    }

    fn build(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            wal_append_s: histogram(
                registry,
                "wal_append_seconds",
                "From the call of an append to its durable end.",
            )?,
            wal_flush_s: histogram(registry, "wal_flush_seconds", "One sync of the log.")?,
            wal_octets: keep(
                registry,
                IntCounter::with_opts(opts("wal_bytes_total", "Bytes written to the log."))?,
            )?,
            disk_free_octets: gauge(
                registry,
                "disk_free_bytes",
                "Bytes that are free on the disk of the data directory.",
            )?,
            disk_full: gauge(
                registry,
                "disk_full",
                "1 while no writes are taken because the disk is almost full.",
            )?,
            wal_segments: gauge(registry, "wal_segments", "Files of the log.")?,
            tables_flush_s: histogram(
                registry,
                "tables_flush_seconds",
                "One flush and sync of the tables.",
            )?,
            tables_octets: gauge(registry, "tables_bytes", "Bytes of the tables' folder.")?,
            open_days_octets: gauge(
                registry,
                "open_values_bytes",
                "Bytes of memory of the values that stand in no file yet.",
            )?,
            segments_files: gauge(registry, "segments_files", "Sealed segment files.")?,
            segments_octets: gauge(
                registry,
                "segments_bytes",
                "Bytes of the sealed segment files.",
            )?,
            seal_faults: keep(
                registry,
                IntCounter::with_opts(opts(
                    "seal_faults_total",
                    "Sealings that failed and wait for another try.",
                ))?,
            )?,
            compactions: counter(registry, "compactions_total", "Months folded into one file.")?,
            cold_files: gauge(registry, "cold_files", "Month files that lie in the archive.")?,
            cold_fetches: counter(
                registry,
                "cold_fetches_total",
                "Files fetched from the archive for an answer.",
            )?,
            segments_waiting: gauge(
                registry,
                "segments_waiting",
                "Days and months that wait for their files.",
            )?,
            segments_damaged: gauge(
                registry,
                "segments_damaged",
                "Damaged segment files, whose range is not served.",
            )?,
            segment_damages: counter(
                registry,
                "segment_damages_total",
                "Segment files found damaged.",
            )?,
            segment_heals: counter(
                registry,
                "segment_heals_total",
                "Segment files healed from a peer.",
            )?,
            scrubbed_octets: counter(
                registry,
                "scrubbed_bytes_total",
                "Bytes of segment files read again by the scrubber.",
            )?,
            scrubs: counter(registry, "scrubs_total", "Whole passes of the scrubber.")?,
            rows: keep(
                registry,
                IntCounterVec::new(
                    opts("rows_total", "Rows merged into the open days, by result."),
                    &["result"],
                )?,
            )?,
        })
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("holdfast_storage_{name}"), help)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    keep(registry, IntCounter::with_opts(opts(name, help))?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    keep(registry, IntGauge::with_opts(opts(name, help))?)
}

fn histogram(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Histogram> {
    let opts = HistogramOpts::from(opts(name, help)).buckets(LATENCY_S.to_vec());
    keep(registry, Histogram::with_opts(opts)?)
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use prometheus::{Registry, TextEncoder};
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn prometheus_own_checker_has_no_objection() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.rows.with_label_values(&["stored"]).inc();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("holdfast_storage_open_values_bytes 0"), "{text}");
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is among the packages that the tests need");
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let told = promtool.wait_with_output().unwrap();
        let said = [told.stdout, told.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(told.status.success() && said.trim().is_empty(), "{said}");
    }

    #[test]
    fn names_carry_the_prefix_and_none_stands_twice() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.rows.with_label_values(&["stored"]).inc();
        let families = registry.gather();
        assert!(families.len() >= 11);
        assert!(families.iter().all(|family| family.name().starts_with("holdfast_storage_")));
        assert_eq!(Metrics::register(&registry).unwrap_err().code(), "storage_config");
    }
}
