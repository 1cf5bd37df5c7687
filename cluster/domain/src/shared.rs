//! Shared: what monitoring servers share, so that what one of them was told holds at the other.
//!
//! Acknowledgements, silences and rules that people made at one monitor. Here they are octets under
//! a name: what they mean, monitors know. Not here: who tells (see `senders`), what was told.
//!
//! Invariants: 1. The last write of a name in the order of the log is what it is. 2. A removal
//! stays as a name without octets until it is old, so that whoever reads behind a place learns of
//! it. 3. Places rise by one. 4. What is kept is bounded by number and by octets of each; beyond
//! that a new name is refused, and nothing is lost in silence.

use serde::{Deserialize, Serialize};

use crate::apply::table::{Key, Typed, after};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::Stamp;

/// The most names.
pub const MAX_NAMES: u64 = 20_000;
/// The most octets of one value.
pub const MAX_OCTETS: usize = 16 << 10;
/// The most items of one change.
pub const MAX_ITEMS: usize = 100;
/// How long a removal is remembered: whoever was away for longer reads everything anew.
pub const REMOVED_S: u64 = 30 * 86_400;
/// The most letters of a name.
const MAX_NAME: usize = 400;
/// How many old removals go with each write at the most.
const DROPPED: usize = 4;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Write or remove some.
    Put {
        /// What; at most [`MAX_ITEMS`].
        items: Vec<Item>,
    },
}

impl Change {
    /// What it is about.
    pub fn object(&self) -> String {
        let Change::Put { items } = self;
        match items.as_slice() {
            [one] => one.name.clone(),
            many => format!("{} items", many.len()),
        }
    }
}

/// A name and what it is from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Such as `silence/17a0`.
    pub name: String,
    /// None removes it.
    pub value: Option<Vec<u8>>,
}

/// A name as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Rises with every write: where a reader goes on.
    pub place: u64,
    /// None after a removal.
    pub value: Option<Vec<u8>>,
    /// When.
    pub at: Stamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    place: u64,
    names: u64,
    /// Up to here removals were dropped.
    forgotten: u64,
}

/// Rows of one table: the head, what is kept by name, names by place, removals by place.
struct Row(u8, Vec<u8>);

impl Key for Row {
    fn octets(&self) -> Vec<u8> {
        [&[self.0], self.1.as_slice()].concat()
    }
}

impl Row {
    fn head() -> Row {
        Row(0, Vec::new())
    }

    fn name(name: &str) -> Row {
        Row(1, name.as_bytes().to_vec())
    }

    fn place(place: u64) -> Row {
        Row(2, place.to_be_bytes().to_vec())
    }

    fn removal(place: u64) -> Row {
        Row(3, place.to_be_bytes().to_vec())
    }
}

static HEAD: Typed<Row, Head> = Typed::new(Table::Shared);
static NAMES: Typed<Row, Kept> = Typed::new(Table::Shared);
static PLACES: Typed<Row, String> = Typed::new(Table::Shared);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    let Change::Put { items } = change;
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        return Err(refuse("bad_shared", format!("1 to {MAX_ITEMS} items")));
    }
    let mut head = HEAD.get(tx, &Row::head())?.unwrap_or_default();
    for item in items {
        put(tx, &mut head, item)?;
    }
    drop_old(tx, &mut head)?;
    HEAD.put(tx, &Row::head(), &head)?;
    Ok(Done::Noted)
}

fn put(tx: &mut Tx<'_>, head: &mut Head, item: &Item) -> Result<(), Stop> {
    let named = (1..=MAX_NAME).contains(&item.name.len());
    if !named || item.name.chars().any(char::is_control) {
        return Err(refuse("bad_shared", "a name has 1 to 400 octets and no control characters"));
    }
    if item.value.as_ref().is_some_and(|value| value.len() > MAX_OCTETS) {
        return Err(refuse("bad_shared", format!("{}: at most {MAX_OCTETS} octets", item.name)));
    }
    match NAMES.get(tx, &Row::name(&item.name))? {
        // Twice removed is once removed.
        Some(known) if known.value.is_none() && item.value.is_none() => return Ok(()),
        Some(known) => {
            PLACES.delete(tx, &Row::place(known.place));
            PLACES.delete(tx, &Row::removal(known.place));
        }
        None if item.value.is_none() => return Ok(()),
        None if head.names >= MAX_NAMES => {
            return Err(refuse("shared_full", format!("{MAX_NAMES} names are kept")));
        }
        None => head.names += 1,
    }
    head.place += 1;
    let kept = Kept { place: head.place, value: item.value.clone(), at: tx.stamp };
    NAMES.put(tx, &Row::name(&item.name), &kept)?;
    PLACES.put(tx, &Row::place(head.place), &item.name)?;
    if kept.value.is_none() {
        PLACES.put(tx, &Row::removal(head.place), &item.name)?;
    }
    Ok(())
}

fn drop_old(tx: &mut Tx<'_>, head: &mut Head) -> Result<(), Fault> {
    let (from, end) = (Row::removal(0).octets(), Row(4, Vec::new()).octets());
    let kept = Stamp(tx.stamp.0.saturating_sub(REMOVED_S * 1_000_000));
    for (_, name) in PLACES.scan(tx, &from, &end, DROPPED)? {
        let Some(known) = NAMES.get(tx, &Row::name(&name))? else { continue };
        if known.at >= kept {
            break;
        }
        PLACES.delete(tx, &Row::removal(known.place));
        PLACES.delete(tx, &Row::place(known.place));
        NAMES.delete(tx, &Row::name(&name));
        head.names -= 1;
        head.forgotten = head.forgotten.max(known.place);
    }
    Ok(())
}

/// The last place that was given, and up to which removals are forgotten: a reader who stands
/// before that reads everything anew.
pub fn bounds(view: &dyn View) -> Result<(u64, u64), Fault> {
    let head = HEAD.get(view, &Row::head())?.unwrap_or_default();
    Ok((head.place, head.forgotten))
}

/// At most `limit` names that were written or removed behind a place, in order of their places.
pub fn behind(view: &dyn View, place: u64, limit: usize) -> Result<Vec<(String, Kept)>, Fault> {
    let (from, end) = (after(&Row::place(place).octets()), Row(3, Vec::new()).octets());
    let mut found = Vec::new();
    for (_, name) in PLACES.scan(view, &from, &end, limit)? {
        if let Some(kept) = NAMES.get(view, &Row::name(&name))? {
            found.push((name, kept));
        }
    }
    Ok(found)
}
