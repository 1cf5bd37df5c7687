//! The clerk's words for regions and operators.
//!
//! Sessions are numbers; times are seconds; `region=0` is the root.

use domain::operators::{
    About, Change as Operators, Grant, GrantState, Operator, Role, Scoped, sessions,
};
use domain::regions::Change as Regions;
use domain::{
    Applied, Change, Device, Done, Fault, MemoryView, Stamp, Table, View, Write, assets, commands,
    operators, regions,
};

use crate::clerk::Words;

/// The verbs of here.
pub fn knows(verb: &str) -> bool {
    REGIONS.contains(&verb) || OPERATORS.contains(&verb)
}

const REGIONS: [&str; 4] = ["region", "rename", "close", "place"];
const OPERATORS: [&str; 18] = [
    "person", "program", "amend", "end", "grant", "approve", "decline", "revoke", "password",
    "factor", "confirm", "unlock", "login", "failed", "used", "logout", "token", "language",
];

/// Somebody with every role in the root, as if granted long ago.
pub fn powerful(name: &str) -> Applied {
    let grant = |(id, role): (u32, Role)| Grant {
        id,
        role,
        region: 0,
        from: Stamp(0),
        until: None,
        by: "admin".into(),
        asked: Stamp(0),
        reason: "set-up".into(),
        state: GrantState::Given { approved_by: None },
    };
    let operator = Operator {
        name: name.into(),
        about: About { full_name: name.into(), language: "en".into() },
        home: 0,
        program: false,
        registered: Stamp(0),
        ended: None,
        password: None,
        factor: None,
        failures: 0,
        locked_until: None,
        last_login: None,
        grants: (1..).zip(Role::ALL).map(grant).collect(),
    };
    let value = Some(postcard::to_allocvec(&operator).unwrap());
    Applied {
        outcome: Ok(Done::Noted),
        writes: vec![Write { table: Table::Operators, key: name.into(), value }],
        rows: Vec::new(),
        seals: Vec::new(),
        compactions: Vec::new(),
        effects: Vec::new(),
        hash: [0; 32],
    }
}

/// The change of a line.
pub fn change(words: &Words<'_>) -> Change {
    if REGIONS.contains(&words.verb()) {
        return Change::Regions(region(words));
    }
    Change::Operators(operator(words))
}

fn region(words: &Words<'_>) -> Regions {
    let name = words.text("name");
    let region = words.number("region", 0);
    match words.verb() {
        "region" => Regions::Add { parent: words.number("in", 0), name },
        "rename" => Regions::Rename { region, name },
        "close" => Regions::Close { region },
        _ => Regions::Place {
            devices: vec![words.device()],
            region,
            reason: words.maybe("reason").unwrap_or("here").to_owned(),
        },
    }
}

fn hash(words: &Words<'_>) -> [u8; 32] {
    [words.number::<u8>("session", 0); 32]
}

fn stamp(words: &Words<'_>, name: &str) -> Option<Stamp> {
    words.maybe(name).map(|_| Stamp::from_seconds(words.number(name, 0)))
}

fn operator(words: &Words<'_>) -> Operators {
    let name = words.text("name");
    let about = || About {
        full_name: words.maybe("called").unwrap_or("Somebody").to_owned(),
        language: words.maybe("language").unwrap_or("en").to_owned(),
    };
    let reason = words.maybe("reason").unwrap_or("because").to_owned();
    let expires = stamp(words, "expires").unwrap_or(Stamp(u64::MAX));
    let (session, address) = (hash(words), "10.0.0.1".to_owned());
    let grant = words.number("grant", 1);
    match words.verb() {
        "person" | "program" => Operators::Register {
            name,
            about: about(),
            home: words.number("home", 0),
            program: words.verb() == "program",
        },
        "amend" => Operators::Amend { name, about: about() },
        "end" => Operators::End { name, reason },
        "grant" => Operators::Grant {
            name,
            role: Role::of(&words.text("role")).unwrap(),
            region: words.number("region", 0),
            from: stamp(words, "from"),
            until: stamp(words, "until"),
            reason,
        },
        "approve" => Operators::Judge { name, grant, approve: true },
        "decline" => Operators::Judge { name, grant, approve: false },
        "revoke" => Operators::Revoke { name, grant, reason },
        "password" => Operators::Password {
            name,
            hash: words.maybe("hash").unwrap_or("$argon2id$v=19$x").to_owned(),
            keep: words.maybe("session").map(|_| session),
        },
        "factor" => Operators::Factor {
            name,
            wrapped: words.maybe("octets").map(|_| vec![7; words.number("octets", 0)]),
        },
        "confirm" => Operators::ConfirmFactor { name, step: words.number("step", 0) },
        "unlock" => Operators::Unlock { name },
        "language" => Operators::Language { name, language: words.text("is") },
        "login" => Operators::Login {
            name,
            session,
            expires,
            step: words.maybe("step").map(|_| words.number("step", 0)),
            address,
        },
        "failed" => Operators::Failed { name, address },
        "used" => Operators::Used { sessions: vec![session] },
        "logout" => Operators::Logout { name, session },
        _ => Operators::Token { name, session, label: words.text("label"), expires },
    }
}

/// What there is to show of regions and operators.
pub fn show_people(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Vec<String>, Fault> {
    let name = words.text("name");
    Ok(match what {
        "regions" => {
            let line = |one: &regions::Region| {
                let closed = if one.closed.is_some() { " closed" } else { "" };
                format!("{} {} in {}{closed}", one.id, one.name, one.parent)
            };
            regions::regions(view)?.iter().map(line).collect()
        }
        "within" => {
            let found = regions::devices(view, words.number("region", 0), None, 100)?;
            found.iter().map(Device::to_string).collect()
        }
        "where" => {
            let device = words.device();
            let at = regions::region_at(view, &device, now)?;
            vec![format!("now {}, at {} {at}", regions::region_of(view, &device)?, now.seconds())]
        }
        "operators" => operators::operators(view, None, 100)?.iter().map(short).collect(),
        "grants_of" => {
            let known = operators::operator(view, &name)?.unwrap();
            known.grants.iter().map(|grant| line_of(grant, now)).collect()
        }
        "language_of" => {
            vec![operators::operator(view, &name)?.unwrap().about.language]
        }
        "sessions" => {
            let line = |(hash, session): &([u8; 32], operators::Session)| {
                let holds = operators::session(view, hash, now).unwrap().is_some();
                format!("{} {:?} {} holds: {holds}", hash[0], session.kind, session.label)
            };
            sessions(view, &name)?.iter().map(line).collect()
        }
        "sees" => sees(view, &name, now)?,
        other => panic!("there is no {other:?} to show"),
    })
}

fn short(one: &Operator) -> String {
    let state = match (one.ended, one.locked_until) {
        (Some(_), _) => "ended",
        (None, Some(_)) => "locked",
        (None, None) => "active",
    };
    let password = match &one.password {
        Some(password) if password.must_change => " must-change",
        Some(_) => " password",
        None => "",
    };
    format!("{} of {} {state}{password} failures {}", one.name, one.home, one.failures)
}

fn line_of(grant: &Grant, now: Stamp) -> String {
    let counts = if grant.counts(now) { "counts" } else { "does not count" };
    let Grant { id, role, region, by, state, .. } = grant;
    format!("{id} {} in {region} by {by}: {state:?}, {counts}", role.name())
}

/// Everything that somebody sees of devices and commands.
fn sees(view: &MemoryView, name: &str, now: Stamp) -> Result<Vec<String>, Fault> {
    let Some(rights) = operators::rights(view, name, now)? else {
        return Ok(vec!["nobody".into()]);
    };
    let scope = rights.scope(view, operators::Permission::Look)?;
    let view = Scoped::new(view, scope);
    let mut seen = Vec::new();
    for one in assets::concentrators(&view, None, 100)? {
        let behind = assets::meters_of(&view, &one.id, None, 100)?;
        let behind: Vec<_> = behind.into_iter().map(|meter| meter.serial).collect();
        seen.push(format!("{} with {}", one.id, behind.join(" ")));
    }
    let meters = assets::meters(&view, None, 100)?;
    let meters: Vec<_> = meters.into_iter().map(|meter| meter.serial).collect();
    seen.push(format!("meters {}", meters.join(" ")));
    // As many as a list that is cut may show.
    let all = commands::recent(&view, None, 100)?.len();
    let cut = commands::recent(&view, None, 2)?;
    assert_eq!(cut.len(), all.min(2));
    let commands: Vec<_> =
        commands::recent(&view, None, 100)?.into_iter().map(|one| one.target).collect();
    seen.push(format!("commands {}", commands.join(" ")));
    let places: Vec<_> = (0..4)
        .filter(|ordinal| assets::place(&view, *ordinal).unwrap().is_some())
        .map(|ordinal| ordinal.to_string())
        .collect();
    seen.push(format!("ordinals {}", places.join(" ")));
    let audit = view.scan(Table::Audit, &[], &[0xff; 65], 10)?.len();
    seen.push(format!("audit records {}", audit.min(1)));
    Ok(seen)
}
