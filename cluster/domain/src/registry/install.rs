//! Meters at points: built in, taken out, exchanged.

use super::stock::{self, State};
use super::topology::{self, linked, object_at, versions};
use super::{
    Body, Change, HEADS, Kind, Object, Register, check_optional_reason, check_parent, close,
    effective, write,
};
use crate::apply::{Tx, View};
use crate::assets;
use crate::error::{Fault, Stop, refuse};
use crate::regions::check_reason;
use crate::units::{Device, Stamp};

/// The most registers of one reading at a point.
const MAX_REGISTERS: usize = 32;

/// A meter at a point for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The meter's serial.
    pub meter: String,
    /// Number of the point.
    pub point: String,
    /// Since when.
    pub from: Stamp,
    /// Until when, if it was taken out.
    pub until: Option<Stamp>,
    /// What it showed when it was built in.
    pub first: Vec<Register>,
    /// What it showed when it was taken out.
    pub last: Vec<Register>,
}

pub(super) fn check_registers(registers: &[Register]) -> Result<(), Stop> {
    let text = || format!("up to {MAX_REGISTERS} registers, each once");
    if registers.len() > MAX_REGISTERS {
        return Err(refuse("bad_registers", text()));
    }
    for (position, one) in registers.iter().enumerate() {
        if registers.iter().skip(position + 1).any(|other| other.obis == one.obis) {
            return Err(refuse("bad_registers", text()));
        }
    }
    Ok(())
}

pub(super) fn install(
    tx: &mut Tx<'_>,
    meter: &str,
    point: &str,
    from: Option<Stamp>,
    registers: &[Register],
    reason: &str,
) -> Result<(), Stop> {
    check_optional_reason(reason)?;
    let object = Object::new(Kind::Installation, meter);
    let place = Object::new(Kind::Point, point);
    if let Some(head) = HEADS.get(tx, &object)?.filter(|head| !head.closed) {
        let there = head.body == Body::Installation { point: point.to_owned() };
        return if there { Ok(()) } else { Err(refuse("meter_installed", at(&head.body))) };
    }
    let from = effective(tx, &object, from)?;
    check_new(tx, meter, &place, from)?;
    if let Some(other) = topology::holder(tx, &place, Kind::Installation, from, &object)? {
        return Err(refuse("point_occupied", format!("{place} has {other}")));
    }
    put(tx, meter, point, from, registers, reason)
}

/// What must be so before a meter comes to a point.
fn check_new(tx: &Tx<'_>, meter: &str, place: &Object, from: Stamp) -> Result<(), Stop> {
    if !assets::is_active(tx, &Device::Meter(meter.to_owned()))? {
        return Err(refuse("unknown_meter", meter));
    }
    check_parent(tx, place, from)?;
    stock::check_meter(tx, meter, State::Installed, from)
}

fn put(
    tx: &mut Tx<'_>,
    meter: &str,
    point: &str,
    from: Stamp,
    registers: &[Register],
    reason: &str,
) -> Result<(), Stop> {
    let object = Object::new(Kind::Installation, meter);
    let body = Body::Installation { point: point.to_owned() };
    write(tx, &object, from, Some(body), registers, reason)?;
    stock::move_on(tx, meter, State::Installed, (from, point), reason)
}

pub(super) fn remove(
    tx: &mut Tx<'_>,
    meter: &str,
    from: Option<Stamp>,
    registers: &[Register],
    reason: &str,
) -> Result<(), Stop> {
    check_reason(reason)?;
    let object = Object::new(Kind::Installation, meter);
    if HEADS.get(tx, &object)?.is_none_or(|head| head.closed) {
        return Err(refuse("meter_not_installed", meter));
    }
    let from = effective(tx, &object, from)?;
    stock::check_meter(tx, meter, State::Removed, from)?;
    close(tx, &object, from, registers, reason)?;
    stock::move_on(tx, meter, State::Removed, (from, ""), reason)
}

pub(super) fn exchange(tx: &mut Tx<'_>, change: &Change) -> Result<(), Stop> {
    let Change::Exchange { point, old, new, from, last, first, reason } = change else {
        return Err(refuse("bad_object", "an exchange"));
    };
    check_registers(last)?;
    check_registers(first)?;
    let gone = Object::new(Kind::Installation, old);
    let there = HEADS.get(tx, &gone)?.filter(|head| !head.closed);
    if there.is_none_or(|head| head.body != Body::Installation { point: point.clone() }) {
        return Err(refuse("meter_not_installed", format!("{old} at {point}")));
    }
    // One time for both: the energy of an interval belongs to one of them and not to neither.
    let from = Some(from.unwrap_or(tx.stamp));
    remove(tx, old, from, last, reason)?;
    install(tx, new, point, from, first, reason)
}

fn at(body: &Body) -> String {
    match body {
        Body::Installation { point } => format!("it is at {point}"),
        _ => String::new(),
    }
}

/// Where a meter is built in at a time, if anywhere.
pub fn installation(view: &dyn View, meter: &str, when: Stamp) -> Result<Option<String>, Fault> {
    let object = Object::new(Kind::Installation, meter);
    Ok(object_at(view, &object, when)?.and_then(|version| match version.body {
        Some(Body::Installation { point }) => Some(point),
        _ => None,
    }))
}

/// Every meter that was ever at a point, oldest first.
pub fn occupancy(view: &dyn View, point: &str) -> Result<Vec<Installation>, Fault> {
    let place = Object::new(Kind::Point, point);
    let mut found = Vec::new();
    for object in linked(view, &place, Kind::Installation)? {
        let all = versions(view, &object)?;
        for (number, version) in all.iter().enumerate() {
            let here = Body::Installation { point: point.to_owned() };
            if version.body.as_ref() != Some(&here) {
                continue;
            }
            let end = all.get(number + 1);
            found.push(Installation {
                meter: object.id.clone(),
                point: point.to_owned(),
                from: version.from,
                until: end.map(|end| end.from),
                first: version.registers.clone(),
                last: end.map(|end| end.registers.clone()).unwrap_or_default(),
            });
        }
    }
    found.sort_by_key(|one| one.from);
    Ok(found)
}
