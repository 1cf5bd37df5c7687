//! Regions: the tree of the utility and its subsystems, and what lies where since when.
//!
//! The root has the number 0 and is never written: it is the whole utility. A meter behind a
//! concentrator lies where its concentrator does, unless it was placed itself; whatever was never
//! placed lies in the root.
//!
//! Invariants: 1. A region's number is never reused; the tree has no loop and at most
//! [`MAX_DEPTH`] levels. 2. Where a device lay at a past time is never changed: a placement begins
//! with its entry. 3. `Within` names exactly the current placements.

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Key, Typed, after, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::assets::{self, Attach};
use crate::error::{Fault, Stop, refuse};
use crate::registry;
use crate::units::{Device, Stamp};

/// The whole utility.
pub const ROOT: u32 = 0;
/// The most regions.
pub const MAX_REGIONS: usize = 4096;
/// The most levels below the root.
pub const MAX_DEPTH: usize = 8;
/// The most devices that one change places.
pub const MAX_PLACED: usize = 1000;
/// The most octets of a region's name.
const MAX_NAME: usize = 128;
/// The most placements of one device that are remembered.
const MAX_PLACEMENTS: usize = 1000;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new region. Answers its number.
    Add {
        /// In which region it lies.
        parent: u32,
        /// What people call it; unlike its neighbours' names.
        name: String,
    },
    /// Another name.
    Rename {
        /// Which.
        region: u32,
        /// What people call it from now on.
        name: String,
    },
    /// It takes nothing new from now on; it must be empty.
    Close {
        /// Which.
        region: u32,
    },
    /// Devices lie in a region from now on.
    Place {
        /// Which, up to 1000. A meter behind a concentrator may lie elsewhere than its
        /// concentrator.
        devices: Vec<Device>,
        /// Where.
        region: u32,
        /// Why; 1 to 500 letters.
        reason: String,
    },
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its number.
    pub id: u32,
    /// In which region it lies.
    pub parent: u32,
    /// What people call it.
    pub name: String,
    /// Since when there is such a region.
    pub since: Stamp,
    /// Since when it is closed.
    pub closed: Option<Stamp>,
}

/// Where a device lies, since when, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Where.
    pub region: u32,
    /// Since when.
    pub since: Stamp,
    /// Who placed it.
    pub by: String,
    /// Why.
    pub reason: String,
}

static REGIONS: Typed<u32, Region> = Typed::new(Table::Regions);
static PLACED: Typed<Device, Placement> = Typed::new(Table::Placed);
static PLACEMENTS: Typed<(Device, u64), Placement> = Typed::new(Table::Placements);
static WITHIN: Typed<(u32, Device), ()> = Typed::new(Table::Within);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Add { parent, name } => add(tx, *parent, name),
        Change::Rename { region, name } => {
            let mut known = open(tx, *region)?;
            check_name(tx, known.parent, name)?;
            known.name.clone_from(name);
            REGIONS.put(tx, region, &known)?;
            Ok(Done::Noted)
        }
        Change::Close { region } => close(tx, *region),
        Change::Place { devices, region, reason } => place(tx, devices, *region, reason),
    }
}

fn add(tx: &mut Tx<'_>, parent: u32, name: &str) -> Result<Done, Stop> {
    if parent != ROOT {
        open(tx, parent)?;
    }
    check_name(tx, parent, name)?;
    if path(tx, parent)?.len() > MAX_DEPTH {
        return Err(refuse("bad_region", format!("more than {MAX_DEPTH} levels")));
    }
    let all = regions(tx)?;
    if all.len() >= MAX_REGIONS {
        return Err(refuse("bad_region", format!("there are {MAX_REGIONS} regions")));
    }
    let id = all.last().map_or(1, |last| last.id + 1);
    let region = Region { id, parent, name: name.to_owned(), since: tx.stamp, closed: None };
    REGIONS.put(tx, &id, &region)?;
    Ok(Done::Region { id })
}

fn close(tx: &mut Tx<'_>, region: u32) -> Result<Done, Stop> {
    let mut known = open(tx, region)?;
    let below = regions(tx)?.iter().any(|one| one.parent == region && one.closed.is_none());
    if below || !devices(tx, region, None, 1)?.is_empty() {
        return Err(refuse("region_not_empty", known.name));
    }
    known.closed = Some(tx.stamp);
    REGIONS.put(tx, &region, &known)?;
    Ok(Done::Noted)
}

fn place(tx: &mut Tx<'_>, devices: &[Device], region: u32, reason: &str) -> Result<Done, Stop> {
    if region != ROOT {
        open(tx, region)?;
    }
    if devices.is_empty() || devices.len() > MAX_PLACED {
        return Err(refuse("bad_placement", format!("1 to {MAX_PLACED} devices")));
    }
    check_reason(reason)?;
    for device in devices {
        if !assets::is_active(tx, device)? {
            return Err(refuse("unknown_device", device.to_string()));
        }
        let before = PLACED.get(tx, device)?;
        if before.as_ref().is_some_and(|placed| placed.region == region) {
            continue;
        }
        if let Some(before) = before {
            WITHIN.delete(tx, &(before.region, device.clone()));
        }
        let by = tx.author.name();
        let placed = Placement { region, since: tx.stamp, by, reason: reason.to_owned() };
        PLACED.put(tx, device, &placed)?;
        PLACEMENTS.put(tx, &(device.clone(), tx.stamp.0), &placed)?;
        WITHIN.put(tx, &(region, device.clone()), &())?;
        registry::note(tx, registry::Changed::Device(device.clone()))?;
    }
    Ok(Done::Noted)
}

/// Refuses a reason that says nothing or too much.
pub(crate) fn check_reason(reason: &str) -> Result<(), Stop> {
    if reason.trim().is_empty() || reason.chars().count() > 500 {
        return Err(refuse("bad_reason", "a reason of 1 to 500 letters"));
    }
    Ok(())
}

fn check_name(view: &dyn View, parent: u32, name: &str) -> Result<(), Stop> {
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(refuse("bad_name", format!("a name of 1 to {MAX_NAME} octets")));
    }
    let same = |one: &Region| one.parent == parent && one.name == name && one.closed.is_none();
    if regions(view)?.iter().any(same) {
        return Err(refuse("region_exists", name));
    }
    Ok(())
}

pub(crate) fn open(view: &dyn View, region: u32) -> Result<Region, Stop> {
    let known = REGIONS.get(view, &region)?.filter(|known| known.closed.is_none());
    known.ok_or_else(|| refuse("unknown_region", region.to_string()))
}

/// A region by its number; the root is none.
pub fn region(view: &dyn View, id: u32) -> Result<Option<Region>, Fault> {
    REGIONS.get(view, &id)
}

/// Every region in order of the numbers, closed ones included.
pub fn regions(view: &dyn View) -> Result<Vec<Region>, Fault> {
    let rows = REGIONS.scan(view, &[], END, MAX_REGIONS)?;
    Ok(rows.into_iter().map(|(_, region)| region).collect())
}

/// A region and all above it, the root last. A number that is none gives the root alone.
pub fn path(view: &dyn View, region: u32) -> Result<Vec<u32>, Fault> {
    let (mut path, mut at) = (Vec::new(), region);
    while at != ROOT && path.len() <= MAX_DEPTH {
        let Some(known) = REGIONS.get(view, &at)? else { break };
        path.push(at);
        at = known.parent;
    }
    path.push(ROOT);
    Ok(path)
}

/// Where a device lies now.
pub fn region_of(view: &dyn View, device: &Device) -> Result<u32, Fault> {
    if let Some(placed) = PLACED.get(view, device)? {
        return Ok(placed.region);
    }
    let Device::Meter(serial) = device else { return Ok(ROOT) };
    match assets::meter(view, serial)?.map(|meter| meter.attach) {
        Some(Attach::Behind { concentrator }) => {
            let placed = PLACED.get(view, &Device::Concentrator(concentrator))?;
            Ok(placed.map_or(ROOT, |placed| placed.region))
        }
        _ => Ok(ROOT),
    }
}

/// Every placement of a device itself, oldest first.
pub fn placements(view: &dyn View, device: &Device) -> Result<Vec<Placement>, Fault> {
    let prefix = device.octets();
    let rows = PLACEMENTS.scan(view, &prefix, &end_of(&prefix), MAX_PLACEMENTS)?;
    Ok(rows.into_iter().map(|(_, placement)| placement).collect())
}

/// Where a device lay at a time.
pub fn region_at(view: &dyn View, device: &Device, at: Stamp) -> Result<u32, Fault> {
    let then = |device: &Device| -> Result<Option<u32>, Fault> {
        let all = placements(view, device)?;
        Ok(all.iter().rev().find(|one| one.since <= at).map(|one| one.region))
    };
    if let Some(region) = then(device)? {
        return Ok(region);
    }
    let Device::Meter(serial) = device else { return Ok(ROOT) };
    match assets::meter(view, serial)?.map(|meter| meter.attach) {
        Some(Attach::Behind { concentrator }) => {
            Ok(then(&Device::Concentrator(concentrator))?.unwrap_or(ROOT))
        }
        _ => Ok(ROOT),
    }
}

/// At most `limit` devices that were placed in a region itself, behind `behind`.
pub fn devices(
    view: &dyn View,
    region: u32,
    behind: Option<&Device>,
    limit: usize,
) -> Result<Vec<Device>, Fault> {
    let prefix = region.octets();
    let from = behind.map_or_else(
        || prefix.clone(),
        |device| after(&[prefix.as_slice(), &device.octets()].concat()),
    );
    let rows = WITHIN.scan(view, &from, &end_of(&prefix), limit)?;
    rows.into_iter().map(|(key, ())| device(key.get(4..).unwrap_or_default())).collect()
}

/// A device of its key's octets: kind, name, zero.
pub(crate) fn device(key: &[u8]) -> Result<Device, Fault> {
    let corrupt = Fault::Corrupt { table: Table::Within, why: "the key names no device" };
    let (Some((kind, rest)), Some(end)) = (key.split_first(), key.iter().position(|o| *o == 0))
    else {
        return Err(corrupt);
    };
    let name = rest.get(..end - 1).and_then(|name| String::from_utf8(name.to_vec()).ok());
    match (kind, name) {
        (b'c', Some(name)) => Ok(Device::Concentrator(name)),
        (b'm', Some(name)) => Ok(Device::Meter(name)),
        _ => Err(corrupt),
    }
}
