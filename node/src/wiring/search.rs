//! Keeps this node's index of names: filled from the state at the start, then following what
//! changes.
//!
//! Invariants: the index is a copy and never the truth, so whoever finds something asks the state
//! for it; a change is not missed: the state numbers the last ones, and who lags behind further
//! than it remembers fills anew; while a fill runs, what was there before answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::registry::{self, Changed, Object};
use domain::{Device, Fault, View, assets};
use search::{Doc, Index};

use super::Wires;
use crate::areas::search::{Named, class_of, key_of, text_of};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Changes that one look takes.
const CHANGES: usize = 500;
/// Rows that one step of a fill reads.
const ROWS: usize = 1000;

/// Fills, then follows.
pub async fn run(wires: Wires) {
    let mut seen: Option<u64> = None;
    while wires.pause(LOOK_EVERY).await {
        let (view, index) = (wires.cluster.view(), wires.app.names().index().clone());
        let step = move || match seen {
            None => fill(&view, &index).map(Some),
            Some(behind) => follow(&view, &index, behind),
        };
        match tokio::task::spawn_blocking(step).await {
            Ok(Ok(next)) => {
                if seen.is_none() && next.is_some() {
                    wires.app.names().set_ready();
                }
                seen = next;
            }
            Ok(Err(fault)) => wires.fault("search", &fault),
            Err(error) => tracing::error!(%error, "the names were not followed"),
        }
    }
}

/// Everything, in order of the keys. Gives the number of the last change that it may hold.
fn fill(view: &dyn View, index: &Index) -> Result<u64, Fault> {
    let begun = Instant::now();
    // What changes from here on comes once more behind this number.
    let last = registry::last_change(view)?;
    let mut fill = index.fill();
    let mut put = |doc: Option<Doc>| {
        if doc.is_some_and(|doc| fill.push(&doc).is_err()) {
            tracing::error!("names came out of order: one is left out of the search");
        }
    };
    for place in Named::ORDER {
        let mut behind: Option<String> = None;
        loop {
            let names = names(view, place, behind.as_deref())?;
            for name in &names {
                put(doc(view, &Named::new(place, name))?);
            }
            let more = names.len() == ROWS;
            behind = names.into_iter().next_back();
            if !more {
                break;
            }
        }
    }
    if fill.finish().is_err() {
        tracing::warn!("the names were filled twice at once: the later fill counts");
    }
    let stats = index.stats();
    let took = begun.elapsed();
    tracing::info!(documents = stats.docs, ?took, "names can be searched for");
    Ok(last)
}

/// At most [`ROWS`] names of a kind behind one, in order.
fn names(view: &dyn View, place: char, behind: Option<&str>) -> Result<Vec<String>, Fault> {
    Ok(match Named::kind(place) {
        Some(kind) => {
            let found = registry::list(view, kind, behind, ROWS)?;
            found.into_iter().map(|(object, _)| object.id).collect()
        }
        None if place == Named::METER => {
            assets::meters(view, behind, ROWS)?.into_iter().map(|one| one.serial).collect()
        }
        None => assets::concentrators(view, behind, ROWS)?.into_iter().map(|one| one.id).collect(),
    })
}

/// Follows what changed behind a number; none: fill anew.
fn follow(view: &dyn View, index: &Index, behind: u64) -> Result<Option<u64>, Fault> {
    let Some(news) = registry::changes(view, behind, CHANGES)? else { return Ok(None) };
    let registry::News { changed, last } = news;
    if last < behind {
        // Another state than the one that was followed: a restored one.
        return Ok(None);
    }
    let next = changed.last().map_or(last, |(number, _)| *number);
    for (_, changed) in changed {
        match changed {
            Changed::Object(object) => note(view, index, &object)?,
            Changed::Device(Device::Meter(serial)) => {
                put(view, index, &Named::new(Named::METER, &serial))?;
            }
            Changed::Device(Device::Concentrator(id)) => {
                put(view, index, &Named::new(Named::CONCENTRATOR, &id))?;
                // Meters lie where their concentrator does.
                let mut after: Option<String> = None;
                loop {
                    let meters = assets::meters_of(view, &id, after.as_deref(), ROWS)?;
                    for meter in &meters {
                        put(view, index, &Named::new(Named::METER, &meter.serial))?;
                    }
                    let more = meters.len() == ROWS;
                    after = meters.into_iter().next_back().map(|meter| meter.serial);
                    if !more {
                        break;
                    }
                }
            }
        }
    }
    while index.due() && index.maintain() {}
    Ok(Some(next))
}

fn note(view: &dyn View, index: &Index, object: &Object) -> Result<(), Fault> {
    match Named::of_kind(object.kind) {
        Some(place) => put(view, index, &Named::new(place, &object.id)),
        None => Ok(()),
    }
}

fn put(view: &dyn View, index: &Index, named: &Named) -> Result<(), Fault> {
    match doc(view, named)? {
        Some(doc) => index.upsert(&doc),
        None => {
            index.remove(&key_of(named));
        }
    }
    Ok(())
}

/// What is searched for of a thing; none when it is gone.
fn doc(view: &dyn View, named: &Named) -> Result<Option<Doc>, Fault> {
    let Some((text, region)) = text_of(view, named)? else { return Ok(None) };
    Ok(Some(Doc { key: key_of(named), text, region, class: class_of(named) }))
}

/// The index of a node, and whether it was filled once.
#[derive(Default)]
pub struct Names {
    index: Arc<Index>,
    ready: std::sync::atomic::AtomicBool,
}

impl Names {
    /// The index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Whether everything that was there at the start can be found.
    pub fn is_ready(&self) -> bool {
        self.ready.load(std::sync::atomic::Ordering::Acquire)
    }

    fn set_ready(&self) {
        self.ready.store(true, std::sync::atomic::Ordering::Release);
    }
}
