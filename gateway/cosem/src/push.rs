//! The body of a push as values with the names of their objects (class 40, Blue Book 4.4.8). What
//! meters send differs from one maker to the next: the list of objects in front or not, scalers
//! beside the values or not, logical names among the values, descriptors without tags. Here they
//! become one list. It stores nothing and knows no model.
//!
//! Invariants: every value of the body comes out once, in order, also one whose name is not
//! known; no scaler is made up.

use crate::apdu::notification::Body;
use crate::apdu::{AttributeRef, LogicalName};
use crate::class::profile::CaptureObject;
use crate::data::Data;
use crate::scaler::ScalerUnit;

/// Class and attribute of the list of objects in a push setup.
const OBJECT_LIST: (u16, i8) = (40, 2);

/// What is known of where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An attribute, by the list of objects or by its descriptor.
    Attribute(AttributeRef),
    /// A logical name that stands before the value.
    Name(LogicalName),
    /// Nothing: the list of objects that the push setup has is needed.
    Unknown,
}

/// One value of a push.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item<'a> {
    /// Where it comes from.
    pub origin: Origin,
    /// The value as it was sent.
    pub value: &'a Data,
    /// Scaler and unit, when the push has them; else they are read from the meter or its model.
    pub scaler_unit: Option<ScalerUnit>,
}

/// The values of a body. `objects` is the list of objects of the push setup as it was read from
/// the meter, empty when it was not; a list in front of the body goes before it.
#[must_use]
pub fn items<'a>(body: &'a Body, objects: &[CaptureObject]) -> Vec<Item<'a>> {
    match body {
        Body::Described { items, .. } => {
            items.iter().map(|(attribute, value)| named(*attribute, value)).collect()
        }
        Body::Data(data) => of_data(data, objects),
    }
}

fn named(attribute: AttributeRef, value: &Data) -> Item<'_> {
    Item { origin: Origin::Attribute(attribute), value, scaler_unit: None }
}

fn of_data<'a>(data: &'a Data, objects: &[CaptureObject]) -> Vec<Item<'a>> {
    let Some(values) = data.as_structure().or_else(|| data.as_array()) else {
        return match objects {
            [only] => vec![named(only.attribute, data)],
            _ => vec![Item { origin: Origin::Unknown, value: data, scaler_unit: None }],
        };
    };
    if let Some((first, rest)) = values.split_first()
        && let Some(list) = list_of(first)
        && let Some(items) = paired(&list, rest)
    {
        return items;
    }
    paired(objects, values).unwrap_or_else(|| named_within(values))
}

/// The list of objects, when `data` is one: an array of {class, logical name, attribute, index}.
fn list_of(data: &Data) -> Option<Vec<CaptureObject>> {
    let list = data.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(|object| CaptureObject::from_data(object).ok()).collect()
}

/// Each value with its object. The list itself is an object of the list as a rule, and may stand
/// in front of the values or not.
fn paired<'a>(objects: &[CaptureObject], values: &'a [Data]) -> Option<Vec<Item<'a>>> {
    let objects = match objects.split_first() {
        Some((first, rest)) if rest.len() == values.len() && is_list(first.attribute) => rest,
        _ => objects,
    };
    if objects.is_empty() || objects.len() != values.len() {
        return None;
    }
    Some(objects.iter().zip(values).map(|(of, value)| named(of.attribute, value)).collect())
}

fn is_list(attribute: AttributeRef) -> bool {
    (attribute.class, attribute.attribute) == OBJECT_LIST
}

/// Values among which logical names stand, flat or as structures {name, value, scaler and unit}.
fn named_within(values: &[Data]) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut name = None;
    for value in values {
        if let Some(next) = name_of(value).filter(|_| name.is_none()) {
            name = Some((next, value));
            continue;
        }
        if name.is_none()
            && let Ok(scaler_unit) = ScalerUnit::from_data(value)
            && let Some(last) = items.last_mut().filter(|last| takes_scaler(last))
        {
            last.scaler_unit = Some(scaler_unit);
            continue;
        }
        match (name.take(), value.as_structure()) {
            (Some((name, _)), _) => {
                items.push(Item { origin: Origin::Name(name), value, scaler_unit: None });
            }
            (None, Some([first, _, ..])) if name_of(first).is_some() => {
                items.extend(named_within(value.as_structure().unwrap_or_default()));
            }
            (None, _) => items.push(Item { origin: Origin::Unknown, value, scaler_unit: None }),
        }
    }
    // Six octets at the end name nothing, so they are a value.
    items.extend(name.map(|(_, value)| Item { origin: Origin::Unknown, value, scaler_unit: None }));
    items
}

fn takes_scaler(item: &Item<'_>) -> bool {
    matches!(item.origin, Origin::Name(_))
        && item.scaler_unit.is_none()
        && item.value.as_integer().is_some()
}

/// A logical name as an octet-string of six, whose last octet is FF in every push that is known.
fn name_of(data: &Data) -> Option<LogicalName> {
    match data {
        Data::OctetString(octets) => match <[u8; 6]>::try_from(&octets[..]) {
            Ok(name @ [.., 0xff]) => Some(LogicalName(name)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, Origin, items};
    use crate::apdu::notification::Body;
    use crate::apdu::{AttributeRef, LogicalName};
    use crate::class::profile::CaptureObject;
    use crate::data::Data;
    use crate::scaler::ScalerUnit;

    const CLOCK: AttributeRef = AttributeRef::new(8, [0, 0, 1, 0, 0, 255], 2);
    const ENERGY: AttributeRef = AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
    const LIST: AttributeRef = AttributeRef::new(40, [0, 1, 25, 9, 0, 255], 2);
    const KWH: ScalerUnit = ScalerUnit { scaler: 3, unit: 30 };

    fn objects(list: &[AttributeRef]) -> Vec<CaptureObject> {
        list.iter()
            .map(|attribute| CaptureObject { attribute: *attribute, data_index: 0 })
            .collect()
    }

    fn list(of: &[AttributeRef]) -> Data {
        Data::Array(objects(of).iter().map(|object| object.to_data()).collect())
    }

    fn name(of: AttributeRef) -> Data {
        Data::octets(&of.logical_name.0)
    }

    fn check(body: Data, known: &[AttributeRef], expect: &[(Origin, Data, Option<ScalerUnit>)]) {
        let body = Body::Data(body);
        let got = items(&body, &objects(known));
        let expect: Vec<Item<'_>> = expect
            .iter()
            .map(|(origin, value, scaler_unit)| Item {
                origin: *origin,
                value,
                scaler_unit: *scaler_unit,
            })
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn the_list_in_front_names_the_values_behind_it() {
        let (time, energy) = (Data::octets(&[7; 12]), Data::U32(5));
        let expect = [
            (Origin::Attribute(CLOCK), time.clone(), None),
            (Origin::Attribute(ENERGY), energy.clone(), None),
        ];
        // The list names itself first, or it does not; what the push setup says does not matter.
        for front in [list(&[LIST, CLOCK, ENERGY]), list(&[CLOCK, ENERGY])] {
            let body = Data::Structure(vec![front, time.clone(), energy.clone()]);
            check(body.clone(), &[], &expect);
            check(body, &[ENERGY, CLOCK], &expect);
        }
    }

    #[test]
    fn without_a_list_in_front_the_push_setup_names_the_values() {
        let (time, energy) = (Data::octets(&[7; 12]), Data::U32(5));
        let body = Data::Structure(vec![time.clone(), energy.clone()]);
        let expect = [
            (Origin::Attribute(CLOCK), time.clone(), None),
            (Origin::Attribute(ENERGY), energy.clone(), None),
        ];
        check(body.clone(), &[CLOCK, ENERGY], &expect);
        check(body.clone(), &[LIST, CLOCK, ENERGY], &expect);
        // It was not read, or it was changed since: the values are kept, their names are not known.
        let unknown = [(Origin::Unknown, time, None), (Origin::Unknown, energy, None)];
        check(body.clone(), &[], &unknown);
        check(body, &[CLOCK], &unknown);
        check(Data::U32(5), &[ENERGY], &[(Origin::Attribute(ENERGY), Data::U32(5), None)]);
        check(Data::U32(5), &[], &[(Origin::Unknown, Data::U32(5), None)]);
    }

    #[test]
    fn names_among_the_values_count_with_scalers_or_without() {
        let named = |of: AttributeRef| Origin::Name(of.logical_name);
        let expect = |scaler| {
            [
                (named(CLOCK), Data::octets(&[7; 12]), None),
                (named(ENERGY), Data::U32(5), scaler),
                (named(ENERGY), Data::U32(6), None),
            ]
        };
        let (time, energy) = (Data::octets(&[7; 12]), Data::U32(5));
        let flat = |scaler: &[Data]| {
            let head = [name(CLOCK), time.clone(), name(ENERGY), energy.clone()];
            Data::Structure([&head, scaler, &[name(ENERGY), Data::U32(6)]].concat())
        };
        check(flat(&[]), &[], &expect(None));
        check(flat(&[KWH.to_data()]), &[], &expect(Some(KWH)));
        let nested = |scaler: &[Data]| {
            Data::Array(vec![
                Data::Structure(vec![name(CLOCK), time.clone()]),
                Data::Structure([&[name(ENERGY), energy.clone()], scaler].concat()),
                Data::Structure(vec![name(ENERGY), Data::U32(6)]),
            ])
        };
        check(nested(&[]), &[], &expect(None));
        check(nested(&[KWH.to_data()]), &[], &expect(Some(KWH)));
    }

    #[test]
    fn every_value_comes_out_once() {
        // A name as a value, a name at the end, a scaler of nothing, an empty body.
        let six = Data::octets(&[0, 0, 1, 0, 0, 255]);
        let body = Data::Structure(vec![six.clone(), six.clone(), KWH.to_data(), six.clone()]);
        let name = Origin::Name(LogicalName([0, 0, 1, 0, 0, 255]));
        let unknown = Origin::Unknown;
        let expect =
            [(name, six.clone(), None), (unknown, KWH.to_data(), None), (unknown, six, None)];
        check(body, &[], &expect);
        check(Data::Structure(vec![]), &[], &[]);
    }
}
