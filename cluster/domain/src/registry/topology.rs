//! Questions to the registry: what was when, and what hangs on what.

use super::{
    Body, CHANGED, CHANGES, COUNTS, Changed, HEADS, Head, Kind, LINKS, MAX_VERSIONS, Object,
    VERSIONS, Version, prefix,
};
use crate::apply::table::{END, Key, after, end_of};
use crate::apply::{Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::Stamp;

/// The most objects that ever hung on one and are looked at.
const MAX_LINKED: usize = 100_000;

/// Something that hangs on an object at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Which.
    pub object: Object,
    /// What it is then.
    pub version: Version,
}

/// Every version of an object, oldest first.
pub fn versions(view: &dyn View, object: &Object) -> Result<Vec<Version>, Fault> {
    let prefix = prefix(object);
    let rows = VERSIONS.scan(view, &prefix, &end_of(&prefix), MAX_VERSIONS)?;
    Ok(rows.into_iter().map(|(_, version)| version).collect())
}

/// What an object is at a time; none when it is not there then.
pub fn object_at(view: &dyn View, object: &Object, when: Stamp) -> Result<Option<Version>, Fault> {
    // Most objects have not changed since the time that is asked for.
    let Some(head) = head(view, object)? else { return Ok(None) };
    if head.from <= when {
        let row = VERSIONS.get(view, &(object.clone(), head.from.0))?;
        return Ok(row.filter(|version| version.body.is_some()));
    }
    let all = versions(view, object)?;
    let then = all.into_iter().rev().find(|version| version.from <= when);
    Ok(then.filter(|version| version.body.is_some()))
}

/// The newest version of an object, in short.
pub fn head(view: &dyn View, object: &Object) -> Result<Option<Head>, Fault> {
    HEADS.get(view, object)
}

/// At most `limit` objects of a kind behind a number, closed ones included.
pub fn list(
    view: &dyn View,
    kind: Kind,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<(Object, Head)>, Fault> {
    let all = [kind.octet()];
    let from = behind.map_or_else(|| all.to_vec(), |id| after(&Object::new(kind, id).octets()));
    let rows = HEADS.scan(view, &from, &end_of(&all), limit)?;
    rows.into_iter().map(|(key, head)| Ok((object_of(&key, Table::Objects)?, head))).collect()
}

/// At most `limit` objects of a kind that hang on an object at a time, behind a number.
pub fn children(
    view: &dyn View,
    parent: &Object,
    kind: Kind,
    when: Stamp,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<Child>, Fault> {
    let all = [parent.octets(), vec![kind.octet()]].concat();
    let mut from = match behind {
        Some(id) => after(&[parent.octets(), Object::new(kind, id).octets()].concat()),
        None => all.clone(),
    };
    let mut found = Vec::new();
    loop {
        let rows = LINKS.scan(view, &from, &end_of(&all), limit.clamp(16, 1024))?;
        let Some((last, ())) = rows.last() else { return Ok(found) };
        from = after(last);
        for (key, ()) in rows {
            let object = object_of(
                key.get(parent.octets().len()..).unwrap_or_default(),
                Table::ObjectLinks,
            )?;
            let version = object_at(view, &object, when)?;
            let hangs = |version: &Version| {
                version.body.as_ref().is_some_and(|body| body.parents().contains(parent))
            };
            if let Some(version) = version.filter(hangs) {
                found.push(Child { object, version });
            }
            if found.len() == limit {
                return Ok(found);
            }
        }
    }
}

/// How many objects of a kind are open, as of the newest versions.
pub fn totals(view: &dyn View) -> Result<Vec<(Kind, u64)>, Fault> {
    let count = |kind: Kind| Ok((kind, COUNTS.get(view, kind.name())?.unwrap_or(0)));
    Kind::ALL.into_iter().map(count).collect()
}

/// What changed, each with its number, and the number of the last change of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// In order of the numbers.
    pub changed: Vec<(u64, Changed)>,
    /// The number of the last change of all, which may be behind those.
    pub last: u64,
}

/// The number of the last change of all.
pub fn last_change(view: &dyn View) -> Result<u64, Fault> {
    Ok(COUNTS.get(view, CHANGES)?.unwrap_or(0))
}

/// What changed behind a number of change, at most `limit`; and the number of the last change of
/// all. None: so much happened since that not all of it is remembered, everything is to be read.
pub fn changes(view: &dyn View, behind: u64, limit: usize) -> Result<Option<News>, Fault> {
    let last = COUNTS.get(view, CHANGES)?.unwrap_or(0);
    if last.saturating_sub(behind) >= super::REMEMBERED {
        return Ok(None);
    }
    let rows = CHANGED.scan(view, &after(&behind.to_be_bytes()), END, limit)?;
    let number = |key: &[u8]| {
        let octets = key.try_into().map(u64::from_be_bytes);
        octets.map_err(|_| Fault::Corrupt { table: Table::ObjectChanges, why: "no number" })
    };
    let rows: Result<Vec<_>, Fault> =
        rows.into_iter().map(|(key, changed)| Ok((number(&key)?, changed))).collect();
    Ok(Some(News { changed: rows?, last }))
}

/// Where an object lies: a contract and an installation where their point does.
pub(crate) fn region(view: &dyn View, object: &Object) -> Result<Option<u32>, Fault> {
    let Some(head) = head(view, object)? else { return Ok(None) };
    match &head.body {
        Body::Contract { point, .. } | Body::Installation { point } => {
            let point = HEADS.get(view, &Object::new(Kind::Point, point))?;
            Ok(point.and_then(|head| head.body.region()))
        }
        other => Ok(other.region()),
    }
}

/// Everything of a kind that ever hung on an object.
pub(super) fn linked(view: &dyn View, parent: &Object, kind: Kind) -> Result<Vec<Object>, Fault> {
    let all = [parent.octets(), vec![kind.octet()]].concat();
    let rows = LINKS.scan(view, &all, &end_of(&all), MAX_LINKED)?;
    let start = parent.octets().len();
    let object = |(key, ()): (Vec<u8>, ())| {
        object_of(key.get(start..).unwrap_or_default(), Table::ObjectLinks)
    };
    rows.into_iter().map(object).collect()
}

/// Who of a kind, other than `but`, hangs on an object at any time from `from` on.
pub(super) fn holder(
    view: &dyn View,
    parent: &Object,
    kind: Kind,
    from: Stamp,
    but: &Object,
) -> Result<Option<Object>, Fault> {
    for object in linked(view, parent, kind)? {
        if object == *but {
            continue;
        }
        let all = versions(view, &object)?;
        for (number, version) in all.iter().enumerate() {
            let hangs = version.body.iter().any(|body| body.parents().contains(parent));
            if hangs && all.get(number + 1).is_none_or(|next| next.from > from) {
                return Ok(Some(object));
            }
        }
    }
    Ok(None)
}

/// Refuses to close what something hangs on.
pub(super) fn check_nothing_hangs_on(
    tx: &Tx<'_>,
    object: &Object,
    from: Stamp,
) -> Result<(), Stop> {
    for kind in Kind::ALL {
        if let Some(child) = holder(tx, object, kind, from, object)? {
            return Err(refuse("object_in_use", format!("{object} by {child}")));
        }
    }
    Ok(())
}

/// The object that a key begins with.
pub(crate) fn object_of(key: &[u8], table: Table) -> Result<Object, Fault> {
    let found = Object::of_key(key).map(|(object, _)| object);
    found.ok_or(Fault::Corrupt { table, why: "the key names no object" })
}
