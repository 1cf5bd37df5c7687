//! Which tables there are, and typed access to them.
//!
//! Invariants: 1. a table's number never changes and is never used again. 2. Numbers from 64 up are
//! not ours: the state machine may use them for its own rows. 3. Keys sort as their values do.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::apply::tx::Tx;
use crate::apply::view::View;
use crate::error::Fault;
use crate::units::{Device, NodeId, Obis, ProposalId};

/// A table of the replicated state. Each belongs to one area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Table {
    /// apply: last index, stamp, state hash.
    Meta = 1,
    /// apply: proposal id to its outcome.
    Dedup = 2,
    /// apply: log index to proposal id, so that the oldest can be dropped.
    DedupOrder = 3,
    /// audit: the chained trail by sequence number.
    Audit = 4,
    /// live: views of meters by id.
    LiveViews = 5,
    /// drills: plans by name.
    DrillPlans = 6,
    /// setups: templates, what is wanted and reported of concentrators, rollouts.
    Setups = 7,
    /// assets: concentrators by logical device name.
    Concentrators = 8,
    /// assets: meters by serial.
    Meters = 9,
    /// assets: meters by ordinal.
    Ordinals = 10,
    /// assets: active meters by the device through whose channel they are reached.
    Behind = 11,
    /// assets: system title to the device that has it.
    Titles = 12,
    /// assets: counters of the area.
    AssetCounts = 13,
    /// alarms: what concentrators reported of themselves, by its place and by what it is.
    Reports = 14,
    /// shared: what monitoring servers share, by name and by place.
    Shared = 15,
    /// keys: wrapped keys by device and kind.
    Keys = 16,
    /// keys: next free invocation counter by device.
    Counters = 17,
    /// registry: how many objects of a kind are open; changes so far.
    ObjectCounts = 18,
    /// clocks: those that are off, those that wait, what settings touched.
    Clocks = 19,
    /// readings: series and recent slots by meter ordinal and interval.
    Progress = 20,
    /// readings: stored slots of days that are no longer recent.
    DaySlots = 21,
    /// readings: days with values that no file holds yet.
    OpenDays = 22,
    /// readings: days sealed into files.
    SealedDays = 23,
    /// readings: last push sequence and invocation counter by concentrator.
    Marks = 24,
    /// readings: rows of a day that no seal has taken yet.
    OpenRows = 25,
    /// readings: sealed days of a month that no month file holds.
    OpenMonths = 26,
    /// readings: months folded into files.
    Months = 27,
    /// leases: until when a node is alive.
    NodeLeases = 28,
    /// leases: who owns a device's channel.
    Leases = 29,
    /// leases: operators' orders to switch a channel.
    SwitchOrders = 30,
    /// leases: the last grants of a concentrator's channel.
    Grants = 31,
    /// commands: by id.
    Commands = 32,
    /// commands: open ones by device, in order of arrival.
    Outbox = 33,
    /// commands: all by log index of their arrival.
    CommandLog = 34,
    /// commands: open ones by expiry.
    CommandExpiry = 35,
    /// commands: all by log index turned over, so that the newest comes first.
    CommandRecent = 36,
    /// drills: by log index of their begin.
    Drills = 37,
    /// drills: numbered writes of the open one in blocks, and the reports of those that are over.
    DrillParts = 38,
    /// senders: who tells, and what was told.
    Senders = 39,
    /// regions: by number.
    Regions = 40,
    /// regions: where a device lies now.
    Placed = 41,
    /// regions: where a device lay, by device and time.
    Placements = 42,
    /// regions: what lies in a region now.
    Within = 43,
    /// operators: by name.
    Operators = 44,
    /// operators: sessions and tokens by their hash.
    Sessions = 45,
    /// operators: sessions by operator.
    SessionsOf = 46,
    /// alarms: by place.
    Alarms = 47,
    /// parameters: versions by name.
    Parameters = 48,
    /// tasks: by name.
    Tasks = 49,
    /// tasks: runs by task number and run.
    TaskRuns = 50,
    /// tasks: how far a device is in its last run, by task number.
    TaskProgress = 51,
    /// tasks: how far profiles without slots were read, by meter ordinal; the next task's number.
    TaskMarks = 52,
    /// alarms: place by what makes it this one.
    AlarmsKnown = 53,
    /// readings: months whose file lies in the archive.
    ArchivedMonths = 54,
    /// readings: months that were removed.
    GoneMonths = 55,
    /// readings: corrections and estimates beside what was measured.
    Overlay = 56,
    /// readings: slots of a day that did not come by themselves, and those that nobody holds.
    SlotOrigins = 57,
    /// registry: versions of an object by its kind, number and time.
    ObjectVersions = 58,
    /// registry: the newest version of each object.
    Objects = 59,
    /// members: what is wished of a node.
    Members = 60,
    /// members: nodes that are drained.
    Drained = 61,
    /// registry: what ever hung on an object.
    ObjectLinks = 62,
    /// registry: the last changes by number.
    ObjectChanges = 63,
}

impl Table {
    /// Every table, in order of its number.
    pub const ALL: [Table; 63] = [
        Table::Meta,
        Table::Dedup,
        Table::DedupOrder,
        Table::Audit,
        Table::LiveViews,
        Table::DrillPlans,
        Table::Setups,
        Table::Concentrators,
        Table::Meters,
        Table::Ordinals,
        Table::Behind,
        Table::Titles,
        Table::AssetCounts,
        Table::Reports,
        Table::Shared,
        Table::Keys,
        Table::Counters,
        Table::ObjectCounts,
        Table::Clocks,
        Table::Progress,
        Table::DaySlots,
        Table::OpenDays,
        Table::SealedDays,
        Table::Marks,
        Table::OpenRows,
        Table::OpenMonths,
        Table::Months,
        Table::NodeLeases,
        Table::Leases,
        Table::SwitchOrders,
        Table::Grants,
        Table::Commands,
        Table::Outbox,
        Table::CommandLog,
        Table::CommandExpiry,
        Table::CommandRecent,
        Table::Drills,
        Table::DrillParts,
        Table::Senders,
        Table::Regions,
        Table::Placed,
        Table::Placements,
        Table::Within,
        Table::Operators,
        Table::Sessions,
        Table::SessionsOf,
        Table::Alarms,
        Table::Parameters,
        Table::Tasks,
        Table::TaskRuns,
        Table::TaskProgress,
        Table::TaskMarks,
        Table::AlarmsKnown,
        Table::ArchivedMonths,
        Table::GoneMonths,
        Table::Overlay,
        Table::SlotOrigins,
        Table::ObjectVersions,
        Table::Objects,
        Table::Members,
        Table::Drained,
        Table::ObjectLinks,
        Table::ObjectChanges,
    ];

    /// The number under which the table is kept on disk.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The table of a number, if there is one.
    pub fn from_id(id: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.id() == id)
    }
}

/// What can be the key of a row. Octets sort as the values do.
pub(crate) trait Key {
    /// The key's octets.
    fn octets(&self) -> Vec<u8>;
}

impl Key for str {
    fn octets(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Key for u32 {
    fn octets(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl Key for u64 {
    fn octets(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl Key for [u8; 8] {
    fn octets(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Key for NodeId {
    fn octets(&self) -> Vec<u8> {
        self.0.octets()
    }
}

impl Key for ProposalId {
    fn octets(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl Key for Obis {
    fn octets(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl Key for u16 {
    fn octets(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl Key for i32 {
    /// The sign turned over, so that days before the epoch sort before those behind it.
    fn octets(&self) -> Vec<u8> {
        (self.cast_unsigned() ^ 0x8000_0000).octets()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn octets(&self) -> Vec<u8> {
        Pair(&self.0, &self.1).octets()
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn octets(&self) -> Vec<u8> {
        [self.0.octets(), self.1.octets(), self.2.octets()].concat()
    }
}

impl Key for Device {
    /// Kind and name, closed by a zero that no name contains, so that a key can go on behind it.
    fn octets(&self) -> Vec<u8> {
        let kind = match self {
            Device::Concentrator(_) => b'c',
            Device::Meter(_) => b'm',
        };
        [&[kind], self.name().as_bytes(), &[0]].concat()
    }
}

/// A key of two parts, the first of which ends by itself.
pub(crate) struct Pair<'a, A: Key + ?Sized, B: Key + ?Sized>(pub &'a A, pub &'a B);

impl<A: Key + ?Sized, B: Key + ?Sized> Key for Pair<'_, A, B> {
    fn octets(&self) -> Vec<u8> {
        let mut octets = self.0.octets();
        octets.extend(self.1.octets());
        octets
    }
}

/// One table with its kind of key and of row. Rows are postcard.
pub(crate) struct Typed<K: ?Sized, V> {
    table: Table,
    // Covariant in the key, so that a table of borrowed keys takes keys of any lifetime.
    shape: PhantomData<fn() -> (*const K, V)>,
}

impl<K: Key + ?Sized, V: Serialize + DeserializeOwned> Typed<K, V> {
    /// Typed access to a table; written once, at the head of its area.
    pub(crate) const fn new(table: Table) -> Typed<K, V> {
        Typed { table, shape: PhantomData }
    }

    /// The row of a key.
    pub(crate) fn get(&self, view: &dyn View, key: &K) -> Result<Option<V>, Fault> {
        match view.get(self.table, &key.octets())? {
            Some(row) => Ok(Some(self.decode(&row)?)),
            None => Ok(None),
        }
    }

    /// Writes or replaces the row of a key.
    pub(crate) fn put(&self, tx: &mut Tx<'_>, key: &K, row: &V) -> Result<(), Fault> {
        self.put_raw(tx, &key.octets(), row)
    }

    /// Writes or replaces the row of a key that was read as octets.
    pub(crate) fn put_raw(&self, tx: &mut Tx<'_>, key: &[u8], row: &V) -> Result<(), Fault> {
        let row = postcard::to_allocvec(row)
            .map_err(|_| Fault::Corrupt { table: self.table, why: "a row cannot be written" })?;
        tx.put(self.table, key.to_vec(), Some(row));
        Ok(())
    }

    /// Removes the row of a key, if there is one.
    pub(crate) fn delete(&self, tx: &mut Tx<'_>, key: &K) {
        tx.put(self.table, key.octets(), None);
    }

    /// At most `limit` rows from one key's octets to another's, the second exclusive.
    pub(crate) fn scan(
        &self,
        view: &dyn View,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, V)>, Fault> {
        let rows = view.scan(self.table, from, to, limit)?;
        rows.into_iter().map(|(key, row)| Ok((key, self.decode(&row)?))).collect()
    }

    /// A row of its octets.
    pub(crate) fn decode(&self, row: &[u8]) -> Result<V, Fault> {
        postcard::from_bytes(row)
            .map_err(|_| Fault::Corrupt { table: self.table, why: "the row does not decode" })
    }
}

/// The first key behind every key that starts with a prefix; all of the table when there is none.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    END.to_vec()
}

/// Behind every key: no key of ours is longer than 64 octets of 0xff.
pub(crate) const END: &[u8] = &[0xff; 65];

/// The smallest key behind a key.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_ours_and_found_again() {
        for (position, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(Table::from_id(table.id()), Some(table));
            assert!(table.id() < 64);
            assert!(Table::ALL.iter().skip(position + 1).all(|other| other.id() > table.id()));
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_it() {
        assert_eq!(end_of(b"ab"), b"ac");
        assert_eq!(end_of(&[1, 0xff]), [2]);
        assert_eq!(end_of(&[0xff]), END);
        assert!(after(b"ab") > b"ab".to_vec() && after(b"ab") < end_of(b"ab"));
    }
}
