//! The registry: the network, the points that it supplies, who pays for them, and what is built in
//! where, each with the dates from which it counts.
//!
//! An object is never overwritten: a change is a version that counts from a time on, and the
//! versions before stay, so that every report of the past finds the network of then.
//!
//! Not here: how a meter is reached ([`crate::assets`]) and where a device lies
//! ([`crate::regions`]); the registry names meters by their serials.
//!
//! Invariants: 1. An object's versions lie in order of the times from which they count, and none
//! is changed. 2. At any time a point has at most one meter and one contract, and a meter is at one
//! point at most. 3. `Links` has a row for every parent that any version names. 4. Nothing is
//! closed while something that hangs on it is open.

mod bodies;
mod check;
mod install;
mod stock;
mod topology;

use serde::{Deserialize, Serialize};

pub use self::bodies::{Body, Category, Class, Kind, Object, Phases, Purpose};
pub use self::check::{Finding, findings};
pub use self::install::{Installation, installation, occupancy};
pub use self::stock::State;
pub use self::topology::{
    Child, News, changes, children, head, last_change, list, object_at, totals, versions,
};
pub(crate) use self::topology::{object_of, region};

use crate::apply::authorize::authorize;
use crate::apply::table::{Key, Typed};
use crate::apply::{Author, Change as Whole, Done, Effect, Table, Tx, View};
use crate::error::{Fault, Refusal, Stop, refuse};
use crate::regions::{self, check_reason};
use crate::units::{Device, Obis, Stamp};

/// The most rows of one load.
pub const MAX_ROWS: usize = 256;
/// How far ahead a change may be entered: 366 days.
const AHEAD_MS: u64 = 366 * 24 * 3600 * 1000;
/// The most versions of one object that are read.
const MAX_VERSIONS: usize = 10_000;
/// How many of the last changes a reader finds again.
pub const REMEMBERED: u64 = 100_000;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// An object is so from a time on; a new one begins. What is already so is no change.
    Set {
        /// Which: its kind and number.
        object: Object,
        /// What it is.
        body: Body,
        /// From when on; the entry's time if not said.
        from: Option<Stamp>,
        /// Why; up to 500 letters.
        reason: String,
    },
    /// An object is gone from a time on. Nothing may hang on it any more.
    Close {
        /// Which.
        object: Object,
        /// From when on; the entry's time if not said.
        from: Option<Stamp>,
        /// Why; 1 to 500 letters.
        reason: String,
    },
    /// A registered meter is built in at a point.
    Install {
        /// Its serial.
        meter: String,
        /// Number of the point.
        point: String,
        /// From when on; the entry's time if not said.
        from: Option<Stamp>,
        /// What its registers showed.
        registers: Vec<Register>,
        /// Why; up to 500 letters.
        reason: String,
    },
    /// A meter is taken out.
    Remove {
        /// Its serial.
        meter: String,
        /// From when on; the entry's time if not said.
        from: Option<Stamp>,
        /// What its registers showed.
        registers: Vec<Register>,
        /// Why; 1 to 500 letters.
        reason: String,
    },
    /// A meter takes the place of another: both or neither, at one time.
    Exchange {
        /// Number of the point.
        point: String,
        /// Serial of the meter that is there.
        old: String,
        /// Serial of the meter that comes.
        new: String,
        /// From when on; the entry's time if not said.
        from: Option<Stamp>,
        /// What the old one's registers showed at last.
        last: Vec<Register>,
        /// What the new one's registers showed at first.
        first: Vec<Register>,
        /// Why; 1 to 500 letters.
        reason: String,
    },
    /// Rows of an import: each is judged by itself, in order. Answers a verdict for each.
    Load {
        /// Up to 256, no loads and no exchanges.
        rows: Vec<Change>,
    },
}

/// What a register showed when a meter was built in or taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Which.
    pub obis: Obis,
    /// The value as it stands in the meter.
    pub value: i64,
    /// Power of ten that the value is multiplied by.
    pub scaler: i8,
    /// Unit by the table of IEC 62056-6-2 (30 is Wh).
    pub unit: u8,
}

/// What an object is from a time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From when on.
    pub from: Stamp,
    /// What it is; none: it is gone.
    pub body: Option<Body>,
    /// Of a meter that was built in or taken out: what it showed.
    pub registers: Vec<Register>,
    /// Who said so.
    pub by: String,
    /// When it was entered.
    pub entered: Stamp,
    /// Why.
    pub reason: String,
}

/// The newest of an object's versions, which may lie ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What it is, or was at last.
    pub body: Body,
    /// From when on the newest version counts.
    pub from: Stamp,
    /// Whether the newest version closes it.
    pub closed: bool,
    /// How many versions there are.
    pub versions: u32,
}

static VERSIONS: Typed<(Object, u64), Version> = Typed::new(Table::ObjectVersions);
static HEADS: Typed<Object, Head> = Typed::new(Table::Objects);
static LINKS: Typed<(Object, Object), ()> = Typed::new(Table::ObjectLinks);
static CHANGED: Typed<u64, Changed> = Typed::new(Table::ObjectChanges);
static COUNTS: Typed<str, u64> = Typed::new(Table::ObjectCounts);

/// Something that is to be looked at anew by those who keep copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changed {
    /// An object of the registry.
    Object(Object),
    /// A meter or concentrator was registered, placed or retired.
    Device(Device),
}

/// Row of [`COUNTS`]: changes so far.
const CHANGES: &str = "changes";

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Load { rows } => load(tx, rows),
        one => apply_one(tx, one).map(|()| Done::Noted),
    }
}

/// Everything is checked before the first write, so that a refused row of a load leaves nothing.
fn apply_one(tx: &mut Tx<'_>, change: &Change) -> Result<(), Stop> {
    match change {
        Change::Set { object, body, from, reason } => set(tx, object, body, *from, reason),
        Change::Close { object, from, reason } => {
            check_reason(reason)?;
            if object.kind == Kind::Installation {
                return Err(refuse("bad_object", "a meter is taken out by remove"));
            }
            let from = effective(tx, object, *from)?;
            topology::check_nothing_hangs_on(tx, object, from)?;
            close(tx, object, from, &[], reason)
        }
        Change::Install { meter, point, from, registers, reason } => {
            install::check_registers(registers)?;
            install::install(tx, meter, point, *from, registers, reason)
        }
        Change::Remove { meter, from, registers, reason } => {
            install::check_registers(registers)?;
            install::remove(tx, meter, *from, registers, reason)
        }
        Change::Exchange { .. } => install::exchange(tx, change),
        Change::Load { .. } => Err(refuse("bad_load", "a load within a load")),
    }
}

fn load(tx: &mut Tx<'_>, rows: &[Change]) -> Result<Done, Stop> {
    if rows.is_empty() || rows.len() > MAX_ROWS {
        return Err(refuse("bad_load", format!("1 to {MAX_ROWS} rows")));
    }
    let mut verdicts = Vec::with_capacity(rows.len());
    for row in rows {
        verdicts.push(match judge_row(tx, row) {
            Ok(()) => None,
            Err(Stop::Refused(refusal)) => Some(refusal),
            Err(Stop::Fault(fault)) => return Err(fault.into()),
        });
    }
    Ok(Done::Loaded(verdicts))
}

/// Each row needs its own right: a load may touch several regions.
fn judge_row(tx: &mut Tx<'_>, row: &Change) -> Result<(), Stop> {
    if matches!(row, Change::Load { .. } | Change::Exchange { .. }) {
        return Err(refuse("bad_load", "a row sets, closes, installs or removes"));
    }
    authorize(tx, tx.author, &Whole::Registry(row.clone()))?;
    apply_one(tx, row)
}

/// A load that is judged and not done: every row sees what those before it would have done.
pub struct Rehearsal<'a>(Tx<'a>);

impl<'a> Rehearsal<'a> {
    /// Begins with the state as it is, at a time, in somebody's name.
    pub fn new(view: &'a dyn View, stamp: Stamp, author: &'a Author) -> Rehearsal<'a> {
        Rehearsal(Tx::new(view, u64::MAX, stamp, author))
    }

    /// What would become of a row.
    ///
    /// Errors: the state cannot be read.
    pub fn judge(&mut self, row: &Change) -> Result<Option<Refusal>, Fault> {
        match judge_row(&mut self.0, row) {
            Ok(()) => Ok(None),
            Err(Stop::Refused(refusal)) => Ok(Some(refusal)),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }
}

fn set(
    tx: &mut Tx<'_>,
    object: &Object,
    body: &Body,
    from: Option<Stamp>,
    reason: &str,
) -> Result<(), Stop> {
    bodies::check(object, body)?;
    if object.kind == Kind::Installation {
        return Err(refuse("bad_object", "a meter is built in by install"));
    }
    check_optional_reason(reason)?;
    let head = HEADS.get(tx, object)?;
    if head.as_ref().is_some_and(|head| !head.closed && head.body == *body) {
        return Ok(());
    }
    let from = effective(tx, object, from)?;
    if let Some(region) = body.region()
        && region != regions::ROOT
    {
        regions::open(tx, region)?;
    }
    for parent in body.parents() {
        check_parent(tx, &parent, from)?;
    }
    if let Body::Contract { point, .. } = body {
        let point = Object::new(Kind::Point, point);
        if let Some(other) = topology::holder(tx, &point, Kind::Contract, from, object)? {
            return Err(refuse("point_has_contract", format!("{point} has {other}")));
        }
    }
    if let Body::Item { state, .. } = body {
        stock::check_step(head.as_ref(), *state)?;
    }
    write(tx, object, from, Some(body.clone()), &[], reason)
}

/// A parent is there at the time and is not going to be closed.
fn check_parent(view: &dyn View, parent: &Object, from: Stamp) -> Result<(), Stop> {
    let unknown = || refuse("unknown_object", parent.to_string());
    let head = HEADS.get(view, parent)?.ok_or_else(unknown)?;
    if head.closed || object_at(view, parent, from)?.is_none() {
        return Err(refuse("object_not_there", format!("{parent} at that time")));
    }
    Ok(())
}

/// The time from which a change counts: not before the object's last one, and not far ahead.
fn effective(tx: &Tx<'_>, object: &Object, from: Option<Stamp>) -> Result<Stamp, Stop> {
    let from = from.unwrap_or(tx.stamp);
    if from > tx.stamp.plus_ms(AHEAD_MS) {
        return Err(refuse("bad_date", "more than 366 days ahead"));
    }
    match HEADS.get(tx, object)? {
        Some(head) if from <= head.from => {
            let text =
                format!("{object} changed at {} s, this is not behind it", head.from.seconds());
            Err(refuse("not_in_order", text))
        }
        _ => Ok(from),
    }
}

fn close(
    tx: &mut Tx<'_>,
    object: &Object,
    from: Stamp,
    registers: &[Register],
    reason: &str,
) -> Result<(), Stop> {
    match HEADS.get(tx, object)? {
        None => Err(refuse("unknown_object", object.to_string())),
        Some(head) if head.closed => Err(refuse("object_closed", object.to_string())),
        Some(_) => write(tx, object, from, None, registers, reason),
    }
}

fn write(
    tx: &mut Tx<'_>,
    object: &Object,
    from: Stamp,
    body: Option<Body>,
    registers: &[Register],
    reason: &str,
) -> Result<(), Stop> {
    let before = HEADS.get(tx, object)?;
    let was_open = before.as_ref().is_some_and(|head| !head.closed);
    let Some(last) = body.clone().or_else(|| before.as_ref().map(|head| head.body.clone())) else {
        return Err(refuse("unknown_object", object.to_string()));
    };
    let versions = before.map_or(0, |head| head.versions).saturating_add(1);
    for parent in body.iter().flat_map(Body::parents) {
        LINKS.put(tx, &(parent, object.clone()), &())?;
    }
    let head = Head { body: last, from, closed: body.is_none(), versions };
    HEADS.put(tx, object, &head)?;
    count(tx, object.kind, was_open, body.is_some())?;
    let version = Version {
        from,
        body,
        registers: registers.to_vec(),
        by: tx.author.name(),
        entered: tx.stamp,
        reason: reason.to_owned(),
    };
    VERSIONS.put(tx, &(object.clone(), from.0), &version)?;
    note(tx, Changed::Object(object.clone()))?;
    tx.wake(Effect::RegistryChanged);
    Ok(())
}

fn count(tx: &mut Tx<'_>, kind: Kind, was: bool, is: bool) -> Result<(), Fault> {
    let now = COUNTS.get(tx, kind.name())?.unwrap_or(0);
    let now = if is { now + u64::from(!was) } else { now.saturating_sub(u64::from(was)) };
    COUNTS.put(tx, kind.name(), &now)
}

/// Notes that something is to be looked at anew by those who keep copies, such as the search. Of
/// older changes than [`REMEMBERED`] nothing is known: who comes later reads everything.
pub(crate) fn note(tx: &mut Tx<'_>, changed: Changed) -> Result<(), Fault> {
    let number = COUNTS.get(tx, CHANGES)?.unwrap_or(0) + 1;
    COUNTS.put(tx, CHANGES, &number)?;
    CHANGED.put(tx, &number, &changed)?;
    if let Some(old) = number.checked_sub(REMEMBERED) {
        CHANGED.delete(tx, &old);
    }
    Ok(())
}

fn check_optional_reason(reason: &str) -> Result<(), Stop> {
    if reason.is_empty() { Ok(()) } else { check_reason(reason) }
}

/// The regions in which a change needs a right, for [`crate::apply`]. Names that are not known
/// give none: the area refuses them.
pub(crate) fn regions_of(view: &dyn View, change: &Change) -> Result<Vec<u32>, Fault> {
    let mut found = Vec::new();
    let mut add = |object: &Object| -> Result<(), Fault> {
        found.extend(topology::region(view, object)?);
        Ok(())
    };
    match change {
        Change::Set { object, body, .. } => {
            add(object)?;
            match body {
                Body::Contract { point, customer, .. } => {
                    add(&Object::new(Kind::Point, point))?;
                    add(&Object::new(Kind::Customer, customer))?;
                }
                other => found.extend(other.region()),
            }
        }
        Change::Close { object, .. } => add(object)?,
        Change::Install { meter, point, .. } => {
            add(&Object::new(Kind::Point, point))?;
            add(&Object::new(Kind::Installation, meter))?;
        }
        Change::Remove { meter, .. } => add(&Object::new(Kind::Installation, meter))?,
        Change::Exchange { point, old, new, .. } => {
            add(&Object::new(Kind::Point, point))?;
            add(&Object::new(Kind::Installation, old))?;
            add(&Object::new(Kind::Installation, new))?;
        }
        Change::Load { .. } => {}
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

impl Change {
    /// Area and verb.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Set { .. } => "registry.set",
            Change::Close { .. } => "registry.close",
            Change::Install { .. } => "registry.install",
            Change::Remove { .. } => "registry.remove",
            Change::Exchange { .. } => "registry.exchange",
            Change::Load { .. } => "registry.load",
        }
    }

    /// What it is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Change::Set { object, .. } | Change::Close { object, .. } => object.to_string(),
            Change::Install { meter, point, .. } => format!("{meter} at {point}"),
            Change::Remove { meter, .. } => meter.clone(),
            Change::Exchange { point, old, new, .. } => format!("{old} by {new} at {point}"),
            Change::Load { rows } => format!("{} rows", rows.len()),
        }
    }

    /// Whether it is about people, and not about the network and what is built in.
    pub(crate) fn is_of_people(&self) -> bool {
        match self {
            Change::Set { object, .. } | Change::Close { object, .. } => object.kind.is_personal(),
            // A file has rows of one kind.
            Change::Load { rows } => rows.first().is_some_and(Change::is_of_people),
            _ => false,
        }
    }
}

/// The prefix of an object's versions.
fn prefix(object: &Object) -> Vec<u8> {
    object.octets()
}
