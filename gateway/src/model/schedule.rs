//! What is read from a meter on schedule: by its model, and for a meter of the generic model by
//! what the meter lists of itself. It decides what, never when.
//!
//! Invariant: what a meter of the generic model does not tell is replaced by the two energy
//! registers and the load profile that nearly every meter has.

use cosem::class::association;
use domain::Obis;
use domain::commands::{Attribute, Value};

use super::sanity::{Implausible, check_rows};
use crate::order::ProfileRead;
use crate::script::Known;
use crate::upcall::MeterAccess;

/// The object list of the current association.
pub(crate) const OBJECT_LIST: Attribute = Attribute {
    class: association::ID,
    obis: Obis(association::CURRENT),
    attribute: association::OBJECT_LIST,
};

/// The most registers that are read on schedule from a meter that lists many.
const MAX_REGISTERS: usize = 32;

/// Load profiles, the first that a meter has is read.
const LOAD_PROFILES: [Obis; 2] = [Obis::LOAD_PROFILE, Obis([1, 0, 99, 2, 0, 255])];

/// The registers of a scheduled read, with their classes. `known` is None for a meter without an
/// object model (IEC 62056-21).
pub(crate) fn registers(access: &MeterAccess, known: Option<&Known>) -> Vec<Attribute> {
    // IEC 62056-21 has no classes: whatever it has is read as a register.
    let of = |class: u16, obis| Attribute {
        class: if class == 0 { 3 } else { class },
        obis,
        attribute: 2,
    };
    let listed = known.and_then(Known::listed).unwrap_or_default();
    let found: Vec<Attribute> = listed
        .iter()
        .filter(|(class, _, obis)| matches!(class, 3 | 4) && super::is_energy(*obis))
        .map(|(class, _, obis)| of(*class, *obis))
        .take(MAX_REGISTERS)
        .collect();
    let model = &access.model;
    match (access.registers.as_slice(), found.is_empty()) {
        ([], false) => found,
        ([], true) => model.schedule.iter().map(|obis| of(model.class_of(*obis), *obis)).collect(),
        (given, _) => given.iter().map(|obis| of(model.class_of(*obis), *obis)).collect(),
    }
}

/// The load profile of a scheduled read; None when the meter has none.
pub(crate) fn profile(access: &MeterAccess, known: Option<&Known>) -> Option<Obis> {
    if known.is_none() {
        // A meter without an object model has one load profile, which has no name on the wire.
        return access.profile.or(access.model.load_profile).or(Some(Obis::LOAD_PROFILE));
    }
    let listed = known.and_then(Known::listed).unwrap_or_default();
    let has = |wanted: &&Obis| listed.iter().any(|(class, _, obis)| *class == 7 && obis == *wanted);
    let found = LOAD_PROFILES.iter().find(has).copied();
    access.profile.or(found).or_else(|| {
        // A meter that told what it has, and has no load profile, is not asked for one.
        access.model.load_profile.filter(|_| listed.is_empty())
    })
}

/// An object list as a read gives it; elements of another shape are passed over.
pub(crate) fn listed(value: &Value) -> Vec<(u16, u8, Obis)> {
    let Value::List(objects) = value else { return Vec::new() };
    let object = |object: &Value| {
        let Value::List(fields) = object else { return None };
        match fields.as_slice() {
            [Value::Unsigned(class), Value::Unsigned(version), Value::Octets(name), ..] => Some((
                u16::try_from(*class).ok()?,
                u8::try_from(*version).ok()?,
                Obis(name.as_slice().try_into().ok()?),
            )),
            _ => None,
        }
    };
    objects.iter().filter_map(object).collect()
}

/// Whether rows hold no step that the meter cannot have counted.
///
/// # Errors
/// The first impossible step.
pub(crate) fn plausible(access: &MeterAccess, read: &ProfileRead) -> Result<(), Implausible> {
    let Some(max_power_w) = access.model.file.limits.max_power_w else { return Ok(()) };
    let period_s = u32::from(read.interval_minutes) * 60;
    check_rows(max_power_w, period_s, &read.registers, &read.rows)
}

#[cfg(test)]
mod tests {
    use super::{listed, profile, registers};
    use crate::model::Catalog;
    use crate::script::Known;
    use crate::translate::StatusBits;
    use crate::upcall::{MeterAccess, MeterCredentials};
    use domain::Obis;
    use domain::assets::{Authentication, Security};
    use domain::commands::Value;

    fn access(model: &str) -> MeterAccess {
        MeterAccess {
            ordinal: 0,
            address: None,
            client_sap: 1,
            server_sap: 1,
            authentication: Authentication::None,
            security: Security::default(),
            secret: None,
            keys: None,
            credentials: MeterCredentials::default(),
            server_title: None,
            client_title: [0; 8],
            model: Catalog::shipped().or_generic(model).0,
            registers: Vec::new(),
            profile: None,
            watermark_s: None,
        }
    }

    #[test]
    fn a_meter_is_read_by_its_model_and_an_unknown_one_by_what_it_lists() {
        let mut known = Known::new(StatusBits::Idis);
        let read = |model: &str, known: &Known| {
            let list = registers(&access(model), Some(known));
            let names: Vec<String> = list.iter().map(|a| a.obis.to_string()).collect();
            (names.len(), names.first().cloned(), profile(&access(model), Some(known)))
        };
        let import = Some("1-0:1.8.0".to_owned());
        assert_eq!(read("single-phase", &known), (12, import.clone(), Some(Obis::LOAD_PROFILE)));
        assert_eq!(read("generic", &known), (2, import.clone(), Some(Obis::LOAD_PROFILE)));
        assert_eq!(read("iec62056-21", &known).2, None);
        let optical = access("iec62056-21");
        assert_eq!(profile(&optical, None), Some(Obis::LOAD_PROFILE));
        assert!(registers(&optical, None).iter().all(|register| register.class == 3));
        let object = |class: u64, name: [u8; 6]| {
            Value::List(vec![
                Value::Unsigned(class),
                Value::Unsigned(0),
                Value::Octets(name.to_vec()),
                Value::Null,
            ])
        };
        let list = Value::List(vec![
            object(3, [1, 0, 1, 8, 0, 255]),
            object(3, [1, 0, 1, 8, 2, 255]),
            object(3, [1, 0, 32, 7, 0, 255]),
            object(7, [1, 0, 99, 2, 0, 255]),
            Value::Null,
        ]);
        known.keep_listed(listed(&list));
        let second = Some(Obis([1, 0, 99, 2, 0, 255]));
        assert_eq!(read("nobody knows", &known), (2, import.clone(), second));
        known.keep_listed(listed(&Value::Null));
        assert_eq!(read("", &known), (2, import, Some(Obis::LOAD_PROFILE)));
    }
}
