//! What the simulator counts. One tally is shared by all devices of a process.
//!
//! Counters only rise and are read without order: they are figures for people and tests, not a
//! means of coordination.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use crate::fault::Kind;

/// Violations whose text is kept; more are counted only.
const VIOLATIONS_KEPT: usize = 100;

/// A thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Connections dialled.
    Dials,
    /// Connections made.
    Connects,
    /// Connections lost or closed.
    Closes,
    /// Associations of the head-end with a concentrator.
    Associations,
    /// Associations of the head-end with a meter.
    MeterAssociations,
    /// Activations accepted.
    Activations,
    /// Activations refused because of an older epoch.
    StaleEpochs,
    /// Promote notifications sent.
    Promotes,
    /// Heartbeats sent.
    Heartbeats,
    /// Profile pushes sent for the first time.
    Pushes,
    /// Profile pushes sent again.
    Retransmissions,
    /// Profile pushes acknowledged.
    Acknowledged,
    /// Rows in pushes that were acknowledged.
    RowsAcknowledged,
    /// Acknowledgements refused, because the connection is not active or nothing was due.
    AcknowledgementsRefused,
    /// Requests forwarded to meters.
    MeterRequests,
    /// Requests to meters refused because the queue was full.
    MeterBusy,
    /// Requests to addresses that no meter has.
    UnknownMeters,
    /// Requests served by direct meters.
    DirectRequests,
    /// Frames refused: malformed, not ciphered, replayed or before an association.
    FramesRefused,
    /// Rows that fell out of a meter's memory before they were collected.
    RowsExpired,
    /// Events of meters in pushes that were acknowledged.
    MeterEvents,
    /// Own events that were acknowledged.
    OwnEvents,
}

const COUNTS: [(Count, &str); 22] = [
    (Count::Dials, "dials"),
    (Count::Connects, "connects"),
    (Count::Closes, "closes"),
    (Count::Associations, "associations"),
    (Count::MeterAssociations, "meter_associations"),
    (Count::Activations, "activations"),
    (Count::StaleEpochs, "stale_epochs_refused"),
    (Count::Promotes, "promotes"),
    (Count::Heartbeats, "heartbeats"),
    (Count::Pushes, "pushes"),
    (Count::Retransmissions, "retransmissions"),
    (Count::Acknowledged, "acknowledged"),
    (Count::RowsAcknowledged, "rows_acknowledged"),
    (Count::AcknowledgementsRefused, "acknowledgements_refused"),
    (Count::MeterRequests, "meter_requests"),
    (Count::MeterBusy, "meter_busy"),
    (Count::UnknownMeters, "unknown_meters"),
    (Count::DirectRequests, "direct_requests"),
    (Count::FramesRefused, "frames_refused"),
    (Count::RowsExpired, "rows_expired"),
    (Count::MeterEvents, "meter_events_acknowledged"),
    (Count::OwnEvents, "own_events_acknowledged"),
];

/// The counters of a process.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; COUNTS.len()],
    faults: Mutex<BTreeMap<&'static str, u64>>,
    violations: Mutex<Vec<String>>,
    violation_count: AtomicU64,
}

impl Tally {
    /// Counts one.
    pub fn one(&self, what: Count) {
        self.add(what, 1);
    }

    /// Counts several.
    pub fn add(&self, what: Count, n: u64) {
        if let Some(counter) = self.counts.get(what as usize) {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Reads a counter.
    #[must_use]
    pub fn get(&self, what: Count) -> u64 {
        self.counts.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Counts a fault that was played.
    pub fn fault(&self, kind: Kind) {
        if let Ok(mut faults) = self.faults.lock() {
            *faults.entry(kind.name()).or_default() += 1;
        }
    }

    /// How often a fault was played.
    #[must_use]
    pub fn faults(&self, kind: Kind) -> u64 {
        self.faults.lock().map_or(0, |faults| faults.get(kind.name()).copied().unwrap_or(0))
    }

    /// Records that the head-end broke a promise, and says so loudly.
    pub fn violation(&self, text: String) {
        tracing::error!(violation = %text, "VIOLATION by the head-end");
        self.violation_count.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut violations) = self.violations.lock()
            && violations.len() < VIOLATIONS_KEPT
        {
            violations.push(text);
        }
    }

    /// Number of violations.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.violation_count.load(Ordering::Relaxed)
    }

    /// The first violations, as text.
    #[must_use]
    pub fn violation_texts(&self) -> Vec<String> {
        self.violations.lock().map(|texts| texts.clone()).unwrap_or_default()
    }

    /// All counters by name, with `violations` and one `fault_*` for each fault played.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (what, name) in COUNTS {
            map.insert(name.to_owned(), self.get(what).into());
        }
        map.insert("violations".to_owned(), self.violations().into());
        if let Ok(faults) = self.faults.lock() {
            for (name, n) in faults.iter() {
                map.insert(format!("fault_{}", name.replace('-', "_")), (*n).into());
            }
        }
        Value::Object(map)
    }

    /// One line for people: every counter that is not zero, and always the violations.
    #[must_use]
    pub fn summary(&self) -> String {
        let Value::Object(map) = self.to_json() else { return String::new() };
        let shown = |(name, value): (String, Value)| {
            (value != 0 || name == "violations").then(|| format!("{name}={value}"))
        };
        map.into_iter().filter_map(shown).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTS, Count, Tally};
    use crate::fault::Kind;

    #[test]
    fn every_counter_stands_at_its_place() {
        for (at, (what, _)) in COUNTS.iter().enumerate() {
            assert_eq!(*what as usize, at);
        }
        let tally = Tally::default();
        tally.add(Count::RowsExpired, 3);
        tally.fault(Kind::HalfAnswer);
        assert_eq!(tally.summary(), "fault_half_answer=1 rows_expired=3 violations=0");
    }
}
