//! What the clerk of the golden scripts says of the registry: `registry do=VERB ...`. Times are
//! seconds, `+` stands for a space in names.

use domain::operators::{Permission, Scoped, rights};
use domain::registry::{
    Body, Category, Change, Class, Kind, Object, Phases, Purpose, Register, State, children,
    findings, installation, list, object_at, occupancy, totals, versions,
};
use domain::{Fault, MemoryView, Obis, Stamp, View};

use super::Words;

/// The change of a line.
pub(super) fn change(words: &Words<'_>) -> Change {
    let (from, reason) = (time(words, "from"), spaced(words, "reason"));
    let (meter, point) = (words.text("meter"), words.text("point"));
    match words.maybe("do").unwrap_or_default() {
        "close" => Change::Close { object: object(words), from, reason },
        "install" => {
            Change::Install { meter, point, from, registers: shown(words, "shows"), reason }
        }
        "remove" => Change::Remove { meter, from, registers: shown(words, "shows"), reason },
        "exchange" => Change::Exchange {
            point,
            old: words.text("old"),
            new: words.text("new"),
            from,
            last: shown(words, "last"),
            first: shown(words, "first"),
            reason,
        },
        "load" => Change::Load { rows: rows(words) },
        kind => {
            let kind = kind.parse().unwrap_or_else(|_| panic!("the registry does no {kind:?}"));
            Change::Set {
                object: Object::new(kind, &words.text("name")),
                body: body(kind, words),
                from,
                reason,
            }
        }
    }
}

/// `rows=F1@1,F2@9`: feeders, each in a region.
fn rows(words: &Words<'_>) -> Vec<Change> {
    let row = |text: &str| {
        let (id, region) = text.split_once('@').unwrap();
        let body = Body::Feeder {
            name: id.to_owned(),
            region: region.parse().unwrap(),
            substation: String::new(),
            volts: 10_000,
        };
        let object = Object::new(Kind::Feeder, id);
        Change::Set { object, body, from: None, reason: String::new() }
    };
    words.text("rows").split(',').filter(|one| !one.is_empty()).map(row).collect()
}

fn body(kind: Kind, words: &Words<'_>) -> Body {
    let (name, region) = (spaced(words, "called"), words.number("region", 0));
    match kind {
        Kind::Feeder => Body::Feeder { name, region, substation: "S".into(), volts: 10_000 },
        Kind::Transformer => Body::Transformer {
            name,
            region,
            feeder: words.text("feeder"),
            rating_va: words.number("va", 250_000),
        },
        Kind::Point => Body::Point {
            region,
            transformer: words.maybe("transformer").map(str::to_owned),
            phases: Phases(words.number("phases", 1)),
            address: spaced(words, "address"),
            purpose: Purpose::Consumption,
        },
        Kind::Customer => Body::Customer {
            region,
            name,
            phone: spaced(words, "phone"),
            email: words.text("email"),
            class: Class::Residential,
            language: words.maybe("language").unwrap_or("en").to_owned(),
        },
        Kind::Contract => Body::Contract {
            point: words.text("point"),
            customer: words.text("customer"),
            tariff: words.text("tariff"),
        },
        Kind::Installation => Body::Installation { point: words.text("point") },
        Kind::Item => Body::Item {
            category: Category::Meter,
            maker: "Maker".into(),
            model: String::new(),
            state: state(&words.text("state")),
            place: spaced(words, "place"),
            region,
        },
    }
}

fn state(name: &str) -> State {
    State::ALL.into_iter().find(|state| state.name() == name).unwrap()
}

fn spaced(words: &Words<'_>, name: &str) -> String {
    words.text(name).replace('+', " ")
}

fn time(words: &Words<'_>, name: &str) -> Option<Stamp> {
    words.maybe(name).map(|_| Stamp::from_seconds(words.number(name, 0)))
}

fn object(words: &Words<'_>) -> Object {
    Object::new(words.text("kind").parse().unwrap(), &words.text("name"))
}

/// `1234`: active energy, in Wh.
fn shown(words: &Words<'_>, name: &str) -> Vec<Register> {
    let one = |_| Register {
        obis: Obis::ACTIVE_IMPORT,
        value: words.number(name, 0),
        scaler: 0,
        unit: 30,
    };
    words.maybe(name).map(one).into_iter().collect()
}

/// What there is to show of the registry.
pub(super) fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Option<Vec<String>>, Fault> {
    let when = time(words, "when").unwrap_or(now);
    Ok(Some(match what {
        "versions" => {
            let all = versions(view, &object(words))?;
            all.iter()
                .map(|one| format!("{} {:?} by {}", one.from.seconds(), one.body, one.by))
                .collect()
        }
        "hanging" => {
            let kind = words.text("of").parse().unwrap();
            let all = children(view, &object(words), kind, when, words.maybe("behind"), 100)?;
            all.iter().map(|child| child.object.to_string()).collect()
        }
        "was" => vec![match object_at(view, &object(words), when)? {
            Some(version) => format!("{:?}", version.body),
            None => "not there".into(),
        }],
        "built_in" => vec![format!("{:?}", installation(view, &words.text("meter"), when)?)],
        "occupancy" => {
            let all = occupancy(view, &words.text("point"))?;
            let value = |all: &[Register]| all.first().map(|one| one.value);
            let line = |one: &domain::registry::Installation| {
                let until = one.until.map(Stamp::seconds);
                let (first, last) = (value(&one.first), value(&one.last));
                format!("{} {}..{until:?} {first:?} {last:?}", one.meter, one.from.seconds())
            };
            all.iter().map(line).collect()
        }
        "faults" => {
            let mut said = Vec::new();
            for kind in Kind::ALL {
                let (found, next) = findings(view, kind, when, None, 100)?;
                assert_eq!(next, None);
                said.extend(
                    found.iter().map(|one| format!("{} {} {:?}", one.code, one.object, one.other)),
                );
            }
            said
        }
        "totals" => totals(view)?.iter().map(|(kind, n)| format!("{} {n}", kind.name())).collect(),
        "registry_of" => {
            let rights = rights(view, &words.text("name"), now)?.unwrap();
            let view = Scoped::new(view, rights.scope(view, Permission::Customers)?);
            seen(&view)?
        }
        _ => return Ok(None),
    }))
}

/// Everything that somebody sees of the registry, with what hangs on it.
fn seen(view: &dyn View) -> Result<Vec<String>, Fault> {
    let mut said = Vec::new();
    for kind in Kind::ALL {
        for (object, _) in list(view, kind, None, 100)? {
            let mut hanging = Vec::new();
            for below in Kind::ALL {
                let all = children(view, &object, below, Stamp(u64::MAX), None, 100)?;
                hanging.extend(all.into_iter().map(|child| child.object.to_string()));
            }
            let versions = versions(view, &object)?.len();
            said.push(format!("{object} ({versions}): {}", hanging.join(", ")));
        }
    }
    Ok(said)
}
