//! The parts of a snapshot's tables: those of the snapshot before, and what changed since.
//!
//! Invariant: a part never changes; snapshots share it by giving it a second name, so that each
//! folder is whole and any of them may go.

use std::fs;
use std::path::{Path, PathBuf};

use super::dump;
use super::item;
use super::manifest::{Item, Kind, TABLES, changes_name};
use crate::error::{Error, Result};
use crate::file;
use crate::tables::Delta;

/// Parts of changes above which they are folded; each one is opened at a load.
const MOST_CHANGES: usize = 16;
/// Changes of fewer octets are not folded for their size.
const SMALL_OCTETS: u64 = 1 << 20;

/// Puts the parts of a snapshot into the folder `to`: those in the folder `from` and one of
/// `delta`, or all of them folded into one.
///
/// # Errors
/// `snapshot_damaged` when a part is not what it was; the codes of the disk.
pub(super) fn add(from: &Path, mut parts: Vec<Item>, delta: Delta, to: &Path) -> Result<Vec<Item>> {
    for part in &parts {
        let path = from.join(&part.name);
        fs::hard_link(&path, to.join(&part.name)).map_err(Error::io("link", &path))?;
    }
    if delta.is_empty() {
        return Ok(parts);
    }
    let name = changes_name(parts.len());
    dump::write_changes(delta, &to.join(&name))?;
    parts.push(item(to, Kind::Changes, &name)?);
    if is_due(&parts) { fold(&parts, to) } else { Ok(parts) }
}

/// Changes are folded when they are half as large as all keys: so the octets that folding writes
/// stay in proportion to the changes themselves, whatever the size of the tables.
fn is_due(parts: &[Item]) -> bool {
    let octets = |kind| -> u64 {
        parts.iter().filter(|part| part.kind == kind).map(|part| part.octets).sum()
    };
    let changes = octets(Kind::Changes);
    parts.len() > MOST_CHANGES || changes > (octets(Kind::Tables) / 2).max(SMALL_OCTETS)
}

fn fold(parts: &[Item], dir: &Path) -> Result<Vec<Item>> {
    let paths: Vec<PathBuf> = parts.iter().map(|part| dir.join(&part.name)).collect();
    for (part, path) in parts.iter().zip(&paths) {
        // The last time that its octets are needed.
        if file::hash(path)? != (part.octets, part.hash) {
            let detail = "its hash is not the manifest's";
            return Err(Error::damaged("snapshot_damaged", "a snapshot", path, detail));
        }
    }
    let folded = dir.join("folded");
    dump::fold(&paths, &folded)?;
    for path in &paths {
        file::remove(path)?;
    }
    fs::rename(&folded, dir.join(TABLES)).map_err(Error::io("rename", &folded))?;
    Ok(vec![item(dir, Kind::Tables, TABLES)?])
}
