//! A concentrator's parameters as a whole set, and its restart, as steps
//! (docs/reference/concentrator.md, parameters).
//!
//! Invariants: 1. a set is written by one request, fitted to the types that stand there; 2. it
//! counts only when the concentrator says that it is permanent and every value stands; 3. a restart
//! is proven by what the concentrator counts, not by a lost connection.

use cosem::{Data, DataAccessError};
use domain::Obis;
use domain::commands::{Attribute, Failure, Read, Value, Wanted};

use crate::translate::{self, fit};

/// The whole set.
pub(super) const SET: Attribute =
    Attribute { class: 1, obis: Obis([0, 0, 94, 86, 136, 255]), attribute: 2 };
/// How often it has started, and why it did last.
pub(super) const RESTARTS: Attribute =
    Attribute { class: 1, obis: Obis([0, 0, 94, 86, 137, 255]), attribute: 2 };
/// Seconds since it has started.
pub(super) const UPTIME: Attribute =
    Attribute { class: 3, obis: Obis([0, 0, 96, 8, 0, 255]), attribute: 2 };
/// Scripts; the first restarts.
pub(super) const SCRIPTS: Obis = Obis([0, 0, 10, 0, 0, 255]);

/// What the last restart was when it was an ordered one.
const ORDERED: u64 = 2;
/// Seconds by which the time since an order may be reckoned wrong.
const UNSURE_S: u64 = 3;

/// The set as a concentrator shows it.
struct Standing<'a> {
    version: u64,
    state: u64,
    left_s: u64,
    entries: Vec<(Obis, i8, &'a Data)>,
}

fn number(data: &Data) -> Option<u64> {
    match data {
        Data::Enum(number) => Some(u64::from(*number)),
        other => other.as_u64(),
    }
}

fn standing(data: &Data) -> Result<Standing<'_>, Failure> {
    let bad = || Failure::Malformed("no set of parameters".to_owned());
    let Some([version, state, left, list]) = data.as_structure() else { return Err(bad()) };
    let numbers = (number(version), number(state), number(left));
    let (Some(version), Some(state), Some(left_s)) = numbers else { return Err(bad()) };
    let entry = |entry: &'_ Data| -> Option<(Obis, i8)> {
        let [_, name, attribute, _] = entry.as_structure()? else { return None };
        let name: [u8; 6] = name.as_octets()?.try_into().ok()?;
        Some((Obis(name), i8::try_from(attribute.as_i64()?).ok()?))
    };
    let mut entries = Vec::new();
    for one in list.as_array().ok_or_else(bad)? {
        let (obis, attribute) = entry(one).ok_or_else(bad)?;
        let value = one.as_structure().and_then(|fields| fields.get(3)).ok_or_else(bad)?;
        entries.push((obis, attribute, value));
    }
    Ok(Standing { version, state, left_s, entries })
}

/// A value as the type of what stands there; a list of texts where an empty one stands.
fn fitted(wanted: &Wanted, held: &Data) -> Result<Data, Failure> {
    if let (Some([]), Value::List(values)) = (held.as_array(), &wanted.value) {
        let octets = |value: &Value| match value {
            Value::Text(text) => Some(Data::octets(text.as_bytes())),
            _ => None,
        };
        let list: Option<Vec<Data>> = values.iter().map(octets).collect();
        return list.map(Data::Array).ok_or_else(|| {
            Failure::Unsupported("an empty array does not show its type".to_owned())
        });
    }
    fit::fit(&wanted.value, held).map_err(|text| {
        Failure::Unsupported(format!(
            "{} {}: {text}",
            wanted.attribute.obis, wanted.attribute.attribute
        ))
    })
}

fn held<'a>(standing: &Standing<'a>, wanted: &Wanted) -> Result<&'a Data, Failure> {
    let Attribute { obis, attribute, .. } = wanted.attribute;
    let is_it = |entry: &&(Obis, i8, &'a Data)| entry.0 == obis && entry.1 == attribute;
    let found = standing.entries.iter().find(is_it).map(|entry| entry.2);
    found.ok_or_else(|| Failure::Unsupported(format!("it has no parameter {obis} {attribute}")))
}

/// What stood there before, and what to write: {version, seconds of trial, parameters}.
pub(super) fn to_write(
    data: &Data,
    (version, trial_s): (u32, u16),
    wanted: &[Wanted],
) -> Result<(Vec<Read>, Data), Failure> {
    let standing = standing(data)?;
    if standing.state == 1 {
        return Err(Failure::Held("another set of parameters is on trial".to_owned()));
    }
    let (mut before, mut entries) = (Vec::new(), Vec::new());
    for one in wanted {
        let held = held(&standing, one)?;
        before.push(translate::read(&one.attribute, held, None));
        entries.push(Data::Structure(vec![
            Data::U16(one.attribute.class),
            Data::octets(&one.attribute.obis.0),
            Data::I8(one.attribute.attribute),
            fitted(one, held)?,
        ]));
    }
    let set = vec![Data::U32(version), Data::U16(trial_s), Data::Array(entries)];
    Ok((before, Data::Structure(set)))
}

/// Whether a set counts for good: what stands there now.
pub(super) fn proven(data: &Data, version: u32, wanted: &[Wanted]) -> Result<Vec<Read>, Failure> {
    let standing = standing(data)?;
    let is_it = standing.version == u64::from(version);
    match standing.state {
        1 if is_it => {
            let text = format!("a new address is on trial for another {} s", standing.left_s);
            return Err(Failure::Pending(text));
        }
        2 if is_it => {
            let text = "no head-end came in by a new address: the old set counts again";
            return Err(Failure::NotDone(text.to_owned()));
        }
        _ if !is_it => {
            let text = format!("it stands at set {}, not {version}", standing.version);
            return Err(Failure::NotDone(text));
        }
        _ => {}
    }
    let mut reads = Vec::new();
    for one in wanted {
        let held = held(&standing, one)?;
        if fitted(one, held)? != *held {
            let Attribute { obis, attribute, .. } = one.attribute;
            return Err(Failure::NotDone(format!("{obis} {attribute} holds another value")));
        }
        reads.push(translate::read(&one.attribute, held, None));
    }
    Ok(reads)
}

/// A refusal of a set, in words where the protocol has some.
pub(super) fn refused(error: DataAccessError) -> Failure {
    match error {
        DataAccessError::TemporaryFailure => {
            Failure::Held("another set of parameters is on trial".to_owned())
        }
        other => translate::refusal(other),
    }
}

/// Whether the last restart was an ordered one and came after an order of so many seconds ago.
pub(super) fn restarted(restarts: &Data, uptime: &Data, since_s: u64) -> Result<(), Failure> {
    let bad = || Failure::Malformed("no count of restarts".to_owned());
    let Some([_, cause]) = restarts.as_structure() else { return Err(bad()) };
    let (cause, up_s) = (number(cause).ok_or_else(bad)?, number(uptime).ok_or_else(bad)?);
    if up_s > since_s.saturating_add(UNSURE_S) {
        return Err(Failure::NotDone(format!("it has been up for {up_s} s")));
    }
    if cause != ORDERED {
        return Err(Failure::NotDone("it restarted, but not by order".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{proven, restarted, to_write};
    use cosem::Data;
    use domain::Obis;
    use domain::commands::{Attribute, Failure, Value, Wanted};

    const HEARTBEAT: [u8; 6] = [0, 0, 94, 86, 133, 255];
    const STANDBY: [u8; 6] = [0, 1, 2, 1, 0, 255];

    fn entry(name: [u8; 6], attribute: i8, value: Data) -> Data {
        Data::Structure(vec![Data::U16(1), Data::octets(&name), Data::I8(attribute), value])
    }

    fn shown(version: u32, state: u8, heartbeat: u16, standby: &[&str]) -> Data {
        let list = standby.iter().map(|address| Data::octets(address.as_bytes())).collect();
        Data::Structure(vec![
            Data::U32(version),
            Data::Enum(state),
            Data::U16(30),
            Data::Array(vec![
                entry(HEARTBEAT, 2, Data::U16(heartbeat)),
                entry(STANDBY, 6, Data::Array(list)),
            ]),
        ])
    }

    fn wanted() -> Vec<Wanted> {
        let at = |obis, attribute| Attribute { class: 1, obis: Obis(obis), attribute };
        let standby = Value::List(vec![Value::Text("b:1".to_owned())]);
        vec![
            Wanted { attribute: at(HEARTBEAT, 2), value: Value::Unsigned(60) },
            Wanted { attribute: at(STANDBY, 6), value: standby },
        ]
    }

    #[test]
    fn a_set_takes_the_types_that_stand_there_and_is_proven_by_all_of_it() {
        let (before, set) = to_write(&shown(1, 0, 9, &[]), (7, 120), &wanted()).unwrap();
        assert_eq!(before[0].value, Value::Unsigned(9));
        let written = Data::Structure(vec![
            Data::U32(7),
            Data::U16(120),
            Data::Array(vec![
                entry(HEARTBEAT, 2, Data::U16(60)),
                entry(STANDBY, 6, Data::Array(vec![Data::octets(b"b:1")])),
            ]),
        ]);
        assert_eq!(set, written);
        assert_eq!(proven(&shown(7, 0, 60, &["b:1"]), 7, &wanted()).unwrap().len(), 2);
        let pending = proven(&shown(7, 1, 60, &["b:1"]), 7, &wanted());
        assert!(matches!(pending, Err(Failure::Pending(_))), "{pending:?}");
        for other in [
            shown(7, 2, 9, &[]),
            shown(6, 0, 60, &["b:1"]),
            shown(7, 0, 61, &["b:1"]),
            shown(7, 0, 60, &["c:1"]),
        ] {
            let missed = proven(&other, 7, &wanted());
            assert!(matches!(missed, Err(Failure::NotDone(_))), "{missed:?}");
        }
        let busy = to_write(&shown(1, 1, 9, &[]), (7, 120), &wanted());
        assert!(matches!(busy, Err(Failure::Held(_))), "{busy:?}");
        let less = Data::Structure(vec![
            Data::U32(1),
            Data::Enum(0),
            Data::U16(0),
            Data::Array(Vec::new()),
        ]);
        assert!(matches!(to_write(&less, (7, 9), &wanted()), Err(Failure::Unsupported(_))));
        assert!(matches!(proven(&Data::Null, 7, &wanted()), Err(Failure::Malformed(_))));
    }

    #[test]
    fn a_restart_is_the_ordered_one_and_a_young_one() {
        let restarts = |cause| Data::Structure(vec![Data::U32(4), Data::Enum(cause)]);
        assert_eq!(restarted(&restarts(2), &Data::U32(5), 8), Ok(()));
        for (cause, up_s, since_s) in [(2, 60, 8), (1, 5, 8)] {
            let missed = restarted(&restarts(cause), &Data::U32(up_s), since_s);
            assert!(matches!(missed, Err(Failure::NotDone(_))), "{missed:?}");
        }
        assert!(matches!(restarted(&Data::Null, &Data::U32(1), 9), Err(Failure::Malformed(_))));
    }
}
