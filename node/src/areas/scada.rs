//! Figures for a control room as a flat list that any gateway can map to its points.
//!
//! Invariants: a number never gets another name and a name never another meaning
//! (`docs/reference/scada.md`, which a test holds equal to `POINTS`); every figure is one of the
//! node's own metrics; nothing of a single device, customer or meter is ever one.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::now_s;
use crate::areas::time;
use crate::http::asked::Asked;
use crate::http::health::is_ready;
use crate::observe::metrics::Gauges;

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Of the answering node.
    Node,
    /// The same on every node that has caught up.
    Cluster,
}

/// A figure: its number, its name, and which metric it is.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Stable, for the gateway's mapping.
    pub number: u16,
    /// Stable, for people.
    pub name: &'static str,
    /// The metric.
    pub metric: &'static str,
    /// The one label that chooses among its series.
    pub label: Option<(&'static str, &'static str)>,
    /// Whose it is.
    pub of: Of,
}

const fn node(number: u16, name: &'static str, metric: &'static str) -> Figure {
    Figure { number, name, metric, label: None, of: Of::Node }
}

const fn cluster(number: u16, name: &'static str, metric: &'static str) -> Figure {
    Figure { number, name, metric, label: None, of: Of::Cluster }
}

const fn with(mut figure: Figure, name: &'static str, value: &'static str) -> Figure {
    figure.label = Some((name, value));
    figure
}

/// All figures in order of their numbers.
pub const POINTS: [Figure; 24] = [
    node(1, "ready", "holdfast_ready"),
    node(2, "role", "holdfast_cluster_role"),
    node(3, "term", "holdfast_cluster_term"),
    cluster(4, "voters", "holdfast_cluster_voters"),
    node(5, "apply_lag", "holdfast_cluster_apply_lag_entries"),
    node(6, "proposals_waiting", "holdfast_cluster_proposals_waiting"),
    node(7, "segments_differing", "holdfast_cluster_segments_differing"),
    node(8, "disk_full", "holdfast_storage_disk_full"),
    node(9, "disk_free", "holdfast_storage_disk_free_bytes"),
    node(10, "segments_damaged", "holdfast_storage_segments_damaged"),
    node(11, "certificate_end", "holdfast_certificate_not_after_timestamp_seconds"),
    node(12, "last_backup", "holdfast_backup_last_timestamp_seconds"),
    with(cluster(20, "meters", "holdfast_devices"), "kind", "meter"),
    with(cluster(21, "concentrators", "holdfast_devices"), "kind", "concentrator"),
    with(cluster(22, "on_main", "holdfast_concentrators"), "channel", "main"),
    with(cluster(23, "on_standby", "holdfast_concentrators"), "channel", "standby"),
    with(cluster(24, "offline", "holdfast_concentrators"), "channel", "none"),
    cluster(25, "without_standby", "holdfast_concentrators_without_standby"),
    with(node(26, "channels_active", "holdfast_gateway_channels"), "role", "active"),
    with(cluster(30, "values_due", "holdfast_collection_values_expected"), "window", "day"),
    with(cluster(31, "values_stored", "holdfast_collection_values_stored"), "window", "day"),
    with(cluster(32, "rate_least", "holdfast_collection_concentrator_rate"), "place", "least"),
    cluster(40, "commands_open", "holdfast_commands_open"),
    cluster(41, "oldest_command", "holdfast_commands_oldest_timestamp_seconds"),
];

/// One figure now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PointBody {
    /// Its stable number.
    pub number: u16,
    /// Its stable name.
    pub name: String,
    /// Its value; null when the node does not have it yet.
    pub value: Option<f64>,
    /// `good`; `old`: of the cluster, and the node is not ready, so others may know better;
    /// `invalid`: no value.
    pub quality: String,
    /// When it was taken, RFC 3339.
    pub time: String,
}

/// The figures of this node, and of the cluster as this node knows it, in order of their numbers.
#[utoipa::path(get, path = "/api/v1/scada/points", tag = "cluster", responses(
    (status = 200, body = Vec<PointBody>),
))]
pub async fn points(app: Asked) -> Json<Vec<PointBody>> {
    let gauges = app.metrics().gauges(&app);
    Json(taken(&gauges, is_ready(&app), &time::rfc3339(now_s().try_into().unwrap_or(i64::MAX))))
}

fn taken(gauges: &Gauges, ready: bool, time: &str) -> Vec<PointBody> {
    let point = |figure: &Figure| {
        let value = gauges.value(figure.metric, figure.label);
        let quality = match value {
            None => "invalid",
            Some(_) if figure.of == Of::Cluster && !ready => "old",
            Some(_) => "good",
        };
        PointBody {
            number: figure.number,
            name: figure.name.to_owned(),
            value,
            quality: quality.to_owned(),
            time: time.to_owned(),
        }
    };
    POINTS.iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

    /// A registry with one metric of the node and one of the cluster.
    fn gauges() -> Gauges {
        let registry = Registry::new();
        let ready = IntGauge::new("holdfast_ready", "x").unwrap();
        ready.set(1);
        registry.register(Box::new(ready)).unwrap();
        let devices = IntGaugeVec::new(Opts::new("holdfast_devices", "x"), &["kind"]).unwrap();
        devices.with_label_values(&["meter"]).set(7);
        devices.with_label_values(&["concentrator"]).set(2);
        registry.register(Box::new(devices)).unwrap();
        Gauges::of(&registry)
    }

    #[test]
    fn a_figure_has_its_value_or_says_that_it_has_none() {
        let list = taken(&gauges(), false, "t");
        let of = |name: &str| {
            let point = list.iter().find(|point| point.name == name).unwrap();
            (point.value, point.quality.as_str())
        };
        assert_eq!(of("ready"), (Some(1.0), "good"));
        assert_eq!(of("meters"), (Some(7.0), "old"));
        assert_eq!(of("concentrators"), (Some(2.0), "old"));
        assert_eq!(of("term"), (None, "invalid"));
        let ready = taken(&gauges(), true, "t");
        assert!(ready.iter().all(|point| point.quality != "old"));
    }

    #[test]
    fn the_page_for_control_rooms_has_these_figures() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/scada.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter(|line| {
            line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit)
        });
        let rows: Vec<String> =
            rows.map(|row| row.split(" | ").take(3).collect::<Vec<_>>().join(" | ")).collect();
        let wanted: Vec<String> = POINTS
            .iter()
            .map(|figure| {
                let label = figure.label.map(|(name, value)| format!("{{{name}=\"{value}\"}}"));
                let label = label.unwrap_or_default();
                format!("| {} | {} | `{}{label}`", figure.number, figure.name, figure.metric)
            })
            .collect();
        assert_eq!(rows, wanted);
    }

    #[test]
    fn numbers_rise_and_names_stand_once() {
        assert!(POINTS.windows(2).all(|pair| pair[0].number < pair[1].number));
        let mut names: Vec<_> = POINTS.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), POINTS.len());
    }
}
