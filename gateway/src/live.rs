//! What a live view reads of a meter, by its model: voltage, current, power, reactive power, power
//! factor, frequency, angles, and where the supply switch stands. It reads nothing itself.
//!
//! Invariant: of a model that lists its objects nothing is asked that it does not list; of the
//! generic model everything is tried, and who asks leaves out what the meter refused.

use domain::Obis;
use domain::commands::Attribute;

use crate::model::{Model, Protocol};

/// The supply switch (class 70): attribute 2 is the state of its output, 3 that of its control.
const SWITCH: Obis = Obis([0, 0, 96, 3, 10, 255]);
const SWITCH_CLASS: u16 = 70;

/// Value groups C, D and E of what is shown, in order, and its name for people. The angles are
/// those of IEC 62056-6-1, table 15: from a voltage or current to a voltage.
const SHOWN: [([u8; 3], &str); 30] = [
    ([32, 7, 0], "U L1"),
    ([52, 7, 0], "U L2"),
    ([72, 7, 0], "U L3"),
    ([31, 7, 0], "I L1"),
    ([51, 7, 0], "I L2"),
    ([71, 7, 0], "I L3"),
    ([91, 7, 0], "I N"),
    ([1, 7, 0], "P import"),
    ([2, 7, 0], "P export"),
    ([21, 7, 0], "P import L1"),
    ([41, 7, 0], "P import L2"),
    ([61, 7, 0], "P import L3"),
    ([22, 7, 0], "P export L1"),
    ([42, 7, 0], "P export L2"),
    ([62, 7, 0], "P export L3"),
    ([3, 7, 0], "Q import"),
    ([4, 7, 0], "Q export"),
    ([23, 7, 0], "Q import L1"),
    ([43, 7, 0], "Q import L2"),
    ([63, 7, 0], "Q import L3"),
    ([13, 7, 0], "PF"),
    ([33, 7, 0], "PF L1"),
    ([53, 7, 0], "PF L2"),
    ([73, 7, 0], "PF L3"),
    ([14, 7, 0], "f"),
    ([81, 7, 1], "angle U L2 to U L1"),
    ([81, 7, 2], "angle U L3 to U L1"),
    ([81, 7, 4], "angle I L1 to U L1"),
    ([81, 7, 15], "angle I L2 to U L2"),
    ([81, 7, 26], "angle I L3 to U L3"),
];

fn obis([c, d, e]: [u8; 3]) -> Obis {
    Obis([1, 0, c, d, e, 255])
}

/// What of a meter of this model a live view reads, in the order in which it is shown.
#[must_use]
pub fn live_attributes(model: &Model) -> Vec<Attribute> {
    let has = |obis: Obis| {
        model.file.learn || model.object(obis).is_some() || model.instantaneous.contains(&obis)
    };
    let registers = SHOWN.iter().map(|(place, _)| obis(*place)).filter(|obis| has(*obis));
    let register = |obis| {
        // IEC 62056-21 has no classes: whatever it has is read as a register.
        let class = model.class_of(obis).max(3);
        Attribute { class, obis, attribute: 2 }
    };
    let mut attributes: Vec<Attribute> = registers.map(register).collect();
    if model.protocol == Protocol::Dlms && has(SWITCH) {
        let part = |attribute| Attribute { class: SWITCH_CLASS, obis: SWITCH, attribute };
        attributes.extend([2, 3].map(part));
    }
    attributes
}

/// What a live view calls an attribute; none when it does not show it.
#[must_use]
pub fn live_name(of: Obis, attribute: i8) -> Option<&'static str> {
    match (of, attribute) {
        (SWITCH, 2) => Some("switch"),
        (SWITCH, 3) => Some("switch control"),
        _ => SHOWN.iter().find(|(place, _)| obis(*place) == of).map(|(_, name)| *name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{live_attributes, live_name};
    use crate::model::Catalog;

    #[test]
    fn every_shipped_model_shows_what_it_has() {
        let catalog = Catalog::shipped();
        for (name, count, with) in [
            ("three-phase", 29, "angle I L3 to U L3"),
            ("single-phase", 12, "switch"),
            ("iec62056-21", 10, "U L3"),
            ("generic", 32, "f"),
        ] {
            let attributes = live_attributes(&catalog.or_generic(name).0);
            let of = |one: &domain::commands::Attribute| live_name(one.obis, one.attribute);
            let names: BTreeSet<&str> = attributes.iter().filter_map(of).collect();
            assert_eq!((attributes.len(), names.len()), (count, count), "{name}: {names:?}");
            assert!(names.contains(with), "{name}: {names:?}");
            assert!(attributes.iter().all(|one| one.class >= 3), "{name}");
        }
    }
}
