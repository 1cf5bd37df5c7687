//! What does not fit together, each with what would mend it.

use super::topology::{linked, list, object_at, region};
use super::{Body, Head, Kind, Object};
use crate::apply::View;
use crate::assets;
use crate::error::Fault;
use crate::regions::region_of;
use crate::units::{Device, Stamp};

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of fault: a stable code.
    pub code: &'static str,
    /// What has it.
    pub object: Object,
    /// What else is concerned, if anything.
    pub other: Option<String>,
}

/// Looks at no more than `limit` objects of a kind behind a number, as they are at a time. Gives
/// what does not fit, and the number behind which to go on, if there is more.
///
/// Kinds: points, contracts' customers, installations and transformers have rules; of meters that
/// are registered and at no point the installations tell.
pub fn findings(
    view: &dyn View,
    kind: Kind,
    when: Stamp,
    behind: Option<&str>,
    limit: usize,
) -> Result<(Vec<Finding>, Option<String>), Fault> {
    if kind == Kind::Item {
        return loose_meters(view, when, behind, limit);
    }
    let page = list(view, kind, behind, limit)?;
    let next = page.last().filter(|_| page.len() == limit).map(|(object, _)| object.id.clone());
    let mut found = Vec::new();
    for (object, head) in page.into_iter().filter(|(_, head)| !head.closed) {
        look(view, &object, &head, when, &mut found)?;
    }
    Ok((found, next))
}

fn look(
    view: &dyn View,
    object: &Object,
    head: &Head,
    when: Stamp,
    found: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let mut add = |code, other: Option<String>| {
        found.push(Finding { code, object: object.clone(), other });
    };
    match &head.body {
        Body::Point { transformer, purpose, .. } => {
            if transformer.is_none() {
                add("point_without_transformer", None);
            }
            if !hangs(view, object, Kind::Installation, when)? {
                add("point_without_meter", None);
            }
            let supplied = *purpose == super::Purpose::Consumption;
            if supplied && !hangs(view, object, Kind::Contract, when)? {
                add("point_without_contract", None);
            }
        }
        Body::Customer { .. } if !hangs(view, object, Kind::Contract, when)? => {
            add("customer_without_contract", None);
        }
        Body::Installation { .. } => {
            let device = Device::Meter(object.id.clone());
            if !assets::is_active(view, &device)? {
                add("retired_meter_installed", None);
            }
            let (lies, point) = (region_of(view, &device)?, region(view, object)?);
            if point.is_some_and(|point| point != lies) {
                add("region_differs", Some(device.to_string()));
            }
        }
        _ => {}
    }
    for parent in head.body.parents() {
        if object_at(view, &parent, when)?.is_none() {
            add("parent_not_there", Some(parent.to_string()));
        }
    }
    Ok(())
}

fn hangs(view: &dyn View, object: &Object, kind: Kind, when: Stamp) -> Result<bool, Fault> {
    for child in linked(view, object, kind)? {
        let version = object_at(view, &child, when)?;
        let here = |body: &Body| body.parents().contains(object);
        if version.and_then(|version| version.body).as_ref().is_some_and(here) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Meters that are read and stand at no point: their energy is nobody's.
fn loose_meters(
    view: &dyn View,
    when: Stamp,
    behind: Option<&str>,
    limit: usize,
) -> Result<(Vec<Finding>, Option<String>), Fault> {
    let meters = assets::meters(view, behind, limit)?;
    let next = meters.last().filter(|_| meters.len() == limit).map(|meter| meter.serial.clone());
    let mut found = Vec::new();
    for meter in meters.into_iter().filter(|meter| meter.retired.is_none()) {
        if super::installation(view, &meter.serial, when)?.is_none() {
            let object = Object::new(Kind::Installation, &meter.serial);
            found.push(Finding { code: "meter_without_point", object, other: None });
        }
    }
    Ok((found, next))
}
