//! Months that go to the archive, and months that go for good.
//!
//! The tables say where each month lies; every node makes its disk agree with them. The leader
//! looks what is due, copies a month to the archive, reads it back, and only then proposes it.
//! Invariants: a node that has no archive copies nothing and lets nothing go; two leaders for a
//! moment do no harm: the name in the archive is made of the content, and the second entry is
//! refused; what fails is tried again at the next look.

use std::time::Duration;

use cluster::Role;
use domain::readings::{self, Archive, ArchivedFile, Due, MonthOf};
use domain::{Change, Fault, Obis, View};
use storage::Segments;
use storage::segment::{DayKey, Entry, LEVEL_MONTH, MonthKey, first_day};

use super::{NotDone, Wires};

const EVERY: Duration = Duration::from_secs(60);
/// Months that one look copies or removes: the next finds the rest.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// What kept a look from its end.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The tables cannot be read.
    #[error("the tables: {0}")]
    Tables(Fault),
    /// The files or the archive cannot be used.
    #[error("the files: {0}")]
    Files(storage::Error),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Tables(fault)
    }
}

impl From<storage::Error> for Trouble {
    fn from(error: storage::Error) -> Trouble {
        Trouble::Files(error)
    }
}

/// Looks in turn until the node stops.
pub async fn run(wires: Wires) {
    while wires.pause(EVERY).await {
        let (view, segments) = (wires.cluster.view(), wires.cluster.readings());
        let settled = tokio::task::spawn_blocking(move || settle(&view, &segments)).await;
        told(&wires, settled.map(|unlike| unlike.map(drop)));
        if wires.cluster.status().role == Role::Leader {
            look(&wires).await;
        }
    }
}

/// Does what is due, one month after the other.
async fn look(wires: &Wires) {
    let (view, stamp) = (wires.cluster.view(), wires.cluster.stamp_now());
    let found = move || readings::due_tiers(&view, stamp, AT_ONCE);
    let due = match tokio::task::spawn_blocking(found).await {
        Ok(Ok(due)) => due,
        Ok(Err(fault)) => return wires.fault("tiers", &fault),
        Err(error) => return tracing::error!(%error, "no month was looked for"),
    };
    for due in due {
        if wires.stopping() {
            return;
        }
        let segments = wires.cluster.readings();
        let change = tokio::task::spawn_blocking(move || carry_out(&segments, due)).await;
        match change {
            Ok(Ok(Some(change))) => {
                let outcome = wires.propose(Change::Readings(change), PATIENCE).await;
                count(wires, &outcome);
            }
            Ok(Ok(None)) => return,
            other => told(wires, other.map(|done| done.map(drop))),
        }
    }
}

fn count(wires: &Wires, outcome: &Result<domain::Done, NotDone>) {
    let result = match outcome {
        Ok(_) => "ok",
        Err(NotDone::Refused(_)) => "refused",
        Err(NotDone::Unavailable) => "unavailable",
    };
    wires.app.metrics().jobs.with_label_values(&["tiers", result]).inc();
}

fn told(wires: &Wires, done: Result<Result<(), Trouble>, tokio::task::JoinError>) {
    let reason = match done {
        Ok(Ok(())) => return,
        Ok(Err(trouble)) => trouble.to_string(),
        Err(error) => error.to_string(),
    };
    wires.app.metrics().jobs.with_label_values(&["tiers", "fault"]).inc();
    tracing::error!(reason, "months cannot be moved now");
}

/// Makes this node's files agree with the tables; answers local files that are unlike what was
/// archived, which stay. Blocks on the disk and, where a month goes for good, on the archive.
pub fn settle(view: &dyn View, segments: &Segments) -> Result<Vec<String>, Trouble> {
    for gone in readings::gone(view)? {
        // Every node that knew the file removes it, the first one does. A failure comes again.
        let known = segments.is_cold(key(gone.month)) && segments.has_archive();
        if let Some(entry) = gone.file.filter(|_| known).and_then(|file| entry(gone.month, &file)) {
            segments.remove_archived(&entry)?;
        }
        if segments.forget(key(gone.month), gone.index)? {
            tracing::info!(month = %gone.month, "a month is over its retention and removed");
        }
    }
    find_cold(view, segments)
}

/// Says which months lie in the archive, and lets local copies go; answers as [`settle`].
pub fn find_cold(view: &dyn View, segments: &Segments) -> Result<Vec<String>, Trouble> {
    let cold: Vec<Entry> =
        readings::archived(view)?.iter().filter_map(|one| entry(one.month, &one.file)).collect();
    let unlike = segments.cool(&cold)?;
    for name in &unlike {
        tracing::error!(
            code = "archive_unlike",
            file = name,
            "a month here has other content than the archive's: compare nodes with `verify`"
        );
    }
    Ok(unlike)
}

/// Prepares what is due: copies to the archive first. None when there is no archive.
pub fn carry_out(segments: &Segments, due: Due) -> Result<Option<readings::Change>, Trouble> {
    let (month, sealed_index) = match due {
        Due::Forget(month) => return Ok(Some(readings::Change::Forget(month))),
        Due::Archive { month, sealed_index } => (month, sealed_index),
    };
    if !segments.has_archive() {
        return Ok(None);
    }
    let entry = segments.archive(key(month), sealed_index)?;
    tracing::info!(%month, octets = entry.octets, "a month is in the archive");
    let file = ArchivedFile {
        sealed_index: entry.sealed_index,
        recipe: entry.recipe,
        days: entry.days,
        rows: entry.rows,
        besides: entry.besides,
        octets: entry.octets,
        columns: entry.columns.iter().map(|name| Obis(*name)).collect(),
        blocks: entry.blocks,
        content_hash: entry.content_hash,
        file_hash: entry.file_hash,
    };
    Ok(Some(readings::Change::Archive(Archive { month, file })))
}

fn key(month: MonthOf) -> MonthKey {
    let MonthOf { interval_minutes, shard, month } = month;
    MonthKey { interval_minutes, shard, month }
}

/// The file as the segments know it; none for a month that no calendar has.
fn entry(month: MonthOf, file: &ArchivedFile) -> Option<Entry> {
    let MonthOf { interval_minutes, shard, month } = month;
    Some(Entry {
        key: DayKey { interval_minutes, shard, day: first_day(month)? },
        days: file.days,
        level: LEVEL_MONTH,
        generation: file.sealed_index,
        sealed_index: file.sealed_index,
        recipe: file.recipe,
        rows: file.rows,
        besides: file.besides,
        octets: file.octets,
        columns: file.columns.iter().map(|obis| obis.0).collect(),
        blocks: file.blocks.clone(),
        content_hash: file.content_hash,
        file_hash: file.file_hash,
    })
}

#[cfg(test)]
mod tests;
