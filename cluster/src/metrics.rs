//! Every metric of this crate. Names start with `holdfast_cluster_`.
//!
//! Invariant: labels are peers' names and fixed words; never a device, a customer or a change.

use prometheus::{
    Error, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// Handles of the crate's metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// 0 learner, 1 follower, 2 candidate, 3 leader, 4 halted.
    pub role: IntGauge,
    /// Current Raft term.
    pub term: IntGauge,
    /// Nodes that vote, as this node knows the membership.
    pub voters: IntGauge,
    /// Highest log index known to be committed.
    pub commit_index: IntGauge,
    /// Highest log index applied here.
    pub applied_index: IntGauge,
    /// Entries committed and not yet applied here.
    pub apply_lag: IntGauge,
    /// Terms in which this node stood for election.
    pub elections: IntCounter,
    /// Leaders that this node saw take office.
    pub leader_changes: IntCounter,
    /// Proposals answered at this node, by result.
    pub proposals: IntCounterVec,
    /// Proposals waiting at this node.
    pub proposals_waiting: IntGauge,
    /// From `append` to the completion after fdatasync.
    pub append_seconds: Histogram,
    /// One apply batch: decode, apply, commit.
    pub apply_seconds: Histogram,
    /// From `propose` to its answer.
    pub propose_seconds: Histogram,
    /// Entries applied.
    pub entries_applied: IntCounter,
    /// Snapshots, by what was done (built, installed, sent).
    pub snapshots: IntCounterVec,
    /// Octets of snapshot files sent.
    pub snapshot_octets: IntCounter,
    /// 1 while the warm connection to a peer stands.
    pub peer_up: IntGaugeVec,
    /// Round trip to a peer, seconds, by QUIC's own estimate.
    pub peer_rtt: GaugeVec,
    /// Handshakes that this node refused, by reason.
    pub refused: IntCounterVec,
    /// Frames that broke the wire's rules, by reason.
    pub bad_frames: IntCounterVec,
    /// Times the watchdog found proposals waiting and no commit.
    pub stalls: IntCounter,
    /// Sealed files whose content a peer has otherwise.
    pub segments_differing: IntGauge,
    /// Effects dropped because a receiver lagged.
    pub effects_lagged: IntCounter,
}

impl Metrics {
    /// Registers all metrics; fails when the registry holds them already.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let by = Builder { registry };
        Ok(Self {
            role: by.gauge(
                "role",
                "Raft role: 0 learner, 1 follower, 2 candidate, 3 leader, 4 halted",
            )?,
            term: by.gauge("term", "Current Raft term")?,
            voters: by.gauge("voters", "Nodes that vote, as this node knows it")?,
            commit_index: by.gauge("commit_index", "Highest committed log index known here")?,
            applied_index: by.gauge("applied_index", "Highest log index applied here")?,
            apply_lag: by.gauge("apply_lag_entries", "Entries committed and not yet applied")?,
            elections: by.counter("elections_total", "Terms in which this node was a candidate")?,
            leader_changes: by.counter("leader_changes_total", "Leaders seen to take office")?,
            proposals: by.counters("proposals_total", "Proposals answered here", "result")?,
            proposals_waiting: by.gauge("proposals_waiting", "Proposals waiting at this node")?,
            append_seconds: by.histogram("append_seconds", "Log append until synced")?,
            apply_seconds: by.histogram("apply_seconds", "One apply batch until committed")?,
            propose_seconds: by.histogram("propose_seconds", "Proposal until answered")?,
            entries_applied: by.counter("entries_applied_total", "Log entries applied here")?,
            snapshots: by.counters("snapshots_total", "Snapshots by what was done", "event")?,
            snapshot_octets: by.counter("snapshot_sent_bytes_total", "Snapshot octets sent")?,
            peer_up: by.gauges("peer_up", "1 while the link to the peer stands", "peer")?,
            peer_rtt: by.floats("peer_rtt_seconds", "Round trip to the peer", "peer")?,
            refused: by.counters("peers_refused_total", "Node handshakes refused", "reason")?,
            bad_frames: by.counters("bad_frames_total", "Frames against the rules", "reason")?,
            stalls: by.counter("stalls_total", "Watchdog alarms: waiting and no commit")?,
            segments_differing: by.gauge(
                "segments_differing",
                "Sealed files whose content a peer has otherwise, at the last comparison",
            )?,
            effects_lagged: by.counter("effects_lagged_total", "Effects lost to slow receivers")?,
        })
    }
}

struct Builder<'a> {
    registry: &'a Registry,
}

impl Builder<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("holdfast_cluster_{name}"), help)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        let metric = IntGauge::with_opts(Self::opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        let metric = IntCounter::with_opts(Self::opts(name, help))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, Error> {
        let metric = IntGaugeVec::new(Self::opts(name, help), &[label])?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn floats(&self, name: &str, help: &str, label: &str) -> Result<GaugeVec, Error> {
        let metric = GaugeVec::new(Self::opts(name, help), &[label])?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec, Error> {
        let metric = IntCounterVec::new(Self::opts(name, help), &[label])?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, Error> {
        let opts = HistogramOpts::new(format!("holdfast_cluster_{name}"), help)
            .buckets(LATENCY_SECONDS.to_vec());
        let metric = Histogram::with_opts(opts)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// From a fast fdatasync (0.1 ms) to a pause that must be noticed (5 s).
const LATENCY_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn prometheus_own_checker_has_no_objection() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        for vector in [&metrics.proposals, &metrics.snapshots, &metrics.refused] {
            vector.with_label_values(&["x"]).inc();
        }
        metrics.bad_frames.with_label_values(&["x"]).inc();
        metrics.peer_up.with_label_values(&["n2"]).set(1);
        metrics.peer_rtt.with_label_values(&["n2"]).set(0.000_25);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("holdfast_cluster_peer_rtt_seconds{peer=\"n2\"} 0.00025"), "{text}");
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
    fn a_registry_takes_the_metrics_once() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.refused.with_label_values(&["foreign_authority"]).inc();
        assert!(Metrics::new(&registry).is_err());
        let names: Vec<_> = registry.gather().iter().map(|one| one.name().to_owned()).collect();
        assert!(names.iter().all(|name| name.starts_with("holdfast_cluster_")), "{names:?}");
    }
}
