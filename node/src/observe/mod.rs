//! What a node tells of itself: log lines and metrics.
//!
//! Invariants: log lines hold no secret and no reading; metric labels come from closed sets.

pub mod logs;
pub mod metrics;
pub mod power_metrics;

pub use metrics::Metrics;
