//! What a concentrator remembers over a restart, in one small file each.
//!
//! It is written before anything that depends on it is sent: invocation counters are reserved in
//! blocks, and a push is in the file with its sequence before its first octet leaves. The file is
//! replaced by rename, so a kill at any moment leaves the old or the new content. It is not synced
//! to the disk: a killed process is simulated, a power cut of the computer is not.
//!
//! Invariants: no own counter at or above `counter_high` and no meter's counter at or above
//! `meter_counter_high` was ever used; sequences in `unacknowledged` rise by one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::concentrator::trial::Kept;
use crate::happenings::{Blackout, Waiting, What};
use crate::objects::memory::MeterMemory;

/// Counters reserved at once.
pub const BLOCK: u32 = 4_096;

/// A stretch of the field that one push carries: computed again whenever it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Sequence number.
    pub sequence: u32,
    /// First interval end, true time.
    pub from_s: i64,
    /// Last interval end, inclusive.
    pub to_s: i64,
    /// Capture period when it was planned, seconds.
    pub interval_s: u32,
    /// Place of the first meter in the concentrator's list.
    pub first_meter: u32,
    /// Number of meters.
    pub meters: u32,
    /// What it carries.
    #[serde(default)]
    pub what: What,
}

/// What a concentrator remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Seed of the field: a state of another field is refused.
    pub seed: u64,
    /// Own invocation counters below this may have been used.
    pub counter_high: u32,
    /// Invocation counters of meters below this may have been used.
    pub meter_counter_high: u32,
    /// Sequence of the next push that is planned.
    pub next_sequence: u32,
    /// Last interval end that is planned for all meters; `None` before the first.
    pub planned_to_s: Option<i64>,
    /// First second of what was ever collected.
    #[serde(default)]
    pub first_s: Option<i64>,
    /// Interval ends, exclusive and inclusive, at which the concentrator was off.
    #[serde(default)]
    pub off: Option<(i64, i64)>,
    /// The stretch of time that is being planned, if some meters are still missing.
    pub unfinished: Option<Stretch>,
    /// Own events that wait for a sequence, oldest first.
    #[serde(default)]
    pub happened: Vec<Waiting>,
    /// A power cut of the meters.
    #[serde(default)]
    pub blackout: Option<Blackout>,
    /// Planned and not yet acknowledged, oldest first.
    pub unacknowledged: Vec<Stretch>,
    /// Highest epoch accepted.
    pub epoch: u32,
    /// Title (hex) of the client that holds it.
    pub epoch_holder: Option<String>,
    /// Highest counter accepted, by client title (hex).
    pub clients: BTreeMap<String, u32>,
    /// Highest counter that meters accepted, by serial and client title (hex).
    pub meter_clients: BTreeMap<String, BTreeMap<String, u32>>,
    /// Seconds that the own clock is ahead, since it was set; `None` as it came.
    #[serde(default)]
    pub ahead_s: Option<i64>,
    /// Its parameters.
    #[serde(default)]
    pub setup: Kept,
    /// What was done to meters, by serial; a meter that nobody touched is not in it.
    #[serde(default)]
    pub meters: BTreeMap<String, MeterMemory>,
}

impl Memory {
    /// A factory-new memory. `base` is where counters and sequences start.
    #[must_use]
    pub fn new(seed: u64, base: u32) -> Self {
        Self {
            seed,
            counter_high: base,
            meter_counter_high: base,
            next_sequence: base.max(1),
            planned_to_s: None,
            first_s: None,
            off: None,
            unfinished: None,
            happened: Vec::new(),
            blackout: None,
            unacknowledged: Vec::new(),
            epoch: 0,
            epoch_holder: None,
            clients: BTreeMap::new(),
            meter_clients: BTreeMap::new(),
            ahead_s: None,
            setup: Kept::default(),
            meters: BTreeMap::new(),
        }
    }
}

/// Where a memory is kept.
#[derive(Clone, Debug)]
pub struct Keeper {
    path: Option<PathBuf>,
}

impl Keeper {
    /// Keeps the memory of concentrator `name` in `dir`; without a folder nothing is kept.
    #[must_use]
    pub fn new(dir: Option<&Path>, name: &str) -> Self {
        Self { path: dir.map(|dir| dir.join(format!("{name}.json"))) }
    }

    /// The memory as it was left, or a new one.
    ///
    /// # Errors
    /// When the file cannot be read, is not a memory, or belongs to another field.
    pub fn load(&self, seed: u64, base: u32) -> io::Result<Memory> {
        let Some(path) = &self.path else { return Ok(Memory::new(seed, base)) };
        let octets = match fs::read(path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Memory::new(seed, 0));
            }
            Err(error) => return Err(named(path, &error)),
        };
        let memory: Memory =
            serde_json::from_slice(&octets).map_err(|error| named(path, &error.into()))?;
        if memory.seed != seed {
            let other = format!("it belongs to the field of seed {}", memory.seed);
            return Err(named(path, &io::Error::other(other)));
        }
        Ok(memory)
    }

    /// Replaces what is kept.
    ///
    /// # Errors
    /// When the file cannot be written; nothing that depends on it may be sent then.
    pub fn save(&self, memory: &Memory) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let octets = serde_json::to_vec(memory)?;
        let new = path.with_extension("new");
        fs::write(&new, octets).and_then(|()| fs::rename(&new, path)).map_err(|e| named(path, &e))
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Keeper, Memory};

    #[test]
    fn a_memory_comes_back_and_a_strange_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(Some(dir.path()), "HFDSIM0000000001");
        let mut memory = keeper.load(7, 900).unwrap();
        assert_eq!(memory, Memory::new(7, 0), "the base is for memories that are not kept");
        memory.counter_high = 8_192;
        memory.clients.insert("4846440000000001".to_owned(), 77);
        keeper.save(&memory).unwrap();
        assert_eq!(keeper.load(7, 0).unwrap(), memory);
        assert!(keeper.load(8, 0).unwrap_err().to_string().contains("seed 7"));
        std::fs::write(dir.path().join("HFDSIM0000000001.json"), "{").unwrap();
        assert!(keeper.load(7, 0).is_err());
        assert_eq!(Keeper::new(None, "x").load(7, 900).unwrap().next_sequence, 900);
    }
}
