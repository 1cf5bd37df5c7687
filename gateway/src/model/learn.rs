//! A model out of what a meter said of itself: its object list, the capture objects and periods of
//! its profiles, scalers and units of its registers. It asks nothing: whoever reads the meter
//! brings the answers.
//!
//! Invariant: what comes out passes the check of every model file.

use std::collections::HashMap;

use domain::Obis;

use super::check::unit_name;
use super::file::{ModelFile, ObjectFile, ProfileFile, StatusFile};

/// Registers that a head-end wants on schedule, where a meter has them.
const WANTED: [u8; 4] = [1, 2, 3, 4];

/// The most registers of a schedule that is learnt.
const MAX_SCHEDULE: usize = 32;

/// A column of a profile: class, logical name, attribute.
pub type LearntColumn = (u16, Obis, i8);

/// What a meter said.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Object list: class, version, logical name.
    pub objects: Vec<(u16, u8, Obis)>,
    /// Scaler and unit of registers.
    pub scaled: HashMap<Obis, (i8, u8)>,
    /// Columns and capture period of profiles.
    pub profiles: HashMap<Obis, (Vec<LearntColumn>, u32)>,
    /// Entries that a profile keeps.
    pub entries: HashMap<Obis, u32>,
}

/// A model that was learnt, and what was left out of it.
#[derive(Debug, Clone)]
pub struct Learnt {
    /// The file.
    pub file: ModelFile,
    /// One line a thing that could not be taken over.
    pub notes: Vec<String>,
}

/// Builds a model of this name.
#[must_use]
pub fn learn(name: &str, source: &Source) -> Learnt {
    let mut notes = Vec::new();
    let mut object = Vec::new();
    for (class, version, obis) in &source.objects {
        if object.iter().any(|known: &ObjectFile| known.obis == obis.to_string()) {
            notes.push(format!("{obis} is listed twice by the meter; the first is taken"));
            continue;
        }
        object.push(learnt_object(*class, *version, *obis, source, &mut notes));
    }
    let has = |obis: Obis| source.objects.iter().any(|(_, _, known)| *known == obis);
    let clock = source.objects.iter().find(|(class, ..)| *class == 8).map(|(_, _, obis)| *obis);
    if clock.is_none() {
        notes.push("the meter lists no clock".to_owned());
    }
    let mut profile: Vec<ProfileFile> = Vec::new();
    for (class, _, obis) in &source.objects {
        if *class == 7 && !profile.iter().any(|known| known.obis == obis.to_string()) {
            profile.extend(learnt_profile(*obis, source, &has, &mut notes));
        }
    }
    let by_kind = |kind: &str| profile.iter().find(|p| p.kind == kind).map(|p| p.obis.clone());
    let status = [("clock_doubtful", 0x02), ("daylight_saving", 0x08), ("power_failure", 0x80)]
        .into_iter()
        .chain([("estimated", 0x05), ("clock_set", 0x20)])
        .map(|(name, mask)| (name.to_owned(), mask))
        .collect();
    let has_status = profile.iter().any(|profile| profile.status.is_some());
    let file = ModelFile {
        name: name.to_owned(),
        version: 1,
        maker: "unknown".to_owned(),
        description: "Learnt from a meter's object list".to_owned(),
        protocol: "dlms".to_owned(),
        clock: clock.map(|obis| obis.to_string()),
        load_profile: by_kind("load"),
        billing_profile: by_kind("billing"),
        schedule: registers(source, is_energy),
        instantaneous: registers(source, |obis| obis.0[3] == 7),
        status: if has_status { [("idis".to_owned(), status)].into() } else { Default::default() },
        object,
        profile,
        ..ModelFile::default()
    };
    Learnt { file, notes }
}

fn learnt_object(
    class: u16,
    version: u8,
    obis: Obis,
    source: &Source,
    notes: &mut Vec<String>,
) -> ObjectFile {
    let scaled = source.scaled.get(&obis).and_then(|(scaler, unit)| {
        let name = unit_name(*unit).filter(|_| (-12..=12).contains(scaler));
        if name.is_none() {
            notes.push(format!("{obis}: scaler {scaler}, unit {unit} have no name here"));
        }
        name.map(|name| (i64::from(*scaler), name.to_owned()))
    });
    let what = cosem::class::name(class).unwrap_or("unknown class").to_owned();
    ObjectFile {
        obis: obis.to_string(),
        class: Some(class),
        version,
        what,
        scaler: scaled.as_ref().map(|(scaler, _)| *scaler),
        unit: scaled.map(|(_, unit)| unit),
        ..ObjectFile::default()
    }
}

fn learnt_profile(
    obis: Obis,
    source: &Source,
    has: &dyn Fn(Obis) -> bool,
    notes: &mut Vec<String>,
) -> Option<ProfileFile> {
    let Some((columns, period_s)) = source.profiles.get(&obis) else {
        notes.push(format!("{obis}: its capture objects could not be read"));
        return None;
    };
    if !columns.iter().any(|(class, _, attribute)| *class == 8 && *attribute == 2) {
        notes.push(format!("{obis}: its rows have no time"));
        return None;
    }
    if let Some((_, unlisted, _)) = columns.iter().find(|(_, column, _)| !has(*column)) {
        notes.push(format!("{obis}: it captures {unlisted}, which the meter does not list"));
        return None;
    }
    let column = |(_, obis, attribute): &(u16, Obis, i8)| match attribute {
        2 => obis.to_string(),
        other => format!("{obis}/{other}"),
    };
    let is_status = |(_, column, _): &&(u16, Obis, i8)| matches!(column.0, [_, _, 96, 10, ..]);
    let status = columns
        .iter()
        .find(is_status)
        .map(|(_, column, _)| StatusFile { obis: column.to_string(), bits: "idis".to_owned() });
    let kind = match obis.0 {
        [_, _, 98, ..] => "billing",
        [_, _, 99, 97 | 98 | 17, ..] => "log",
        _ => "load",
    };
    Some(ProfileFile {
        obis: obis.to_string(),
        kind: kind.to_owned(),
        period_s: Some(*period_s),
        entries: source.entries.get(&obis).copied(),
        columns: columns.iter().map(column).collect(),
        status,
        line: 0,
    })
}

/// Whether a register is one of the energies that a head-end wants: A+, A-, R+, R-, by tariff.
pub(super) fn is_energy(obis: Obis) -> bool {
    let [a, _, c, d, _, f] = obis.0;
    a == 1 && WANTED.contains(&c) && d == 8 && f == 255
}

fn registers(source: &Source, wanted: impl Fn(Obis) -> bool) -> Vec<String> {
    let mut list: Vec<Obis> = source
        .objects
        .iter()
        .filter(|(class, _, obis)| matches!(class, 3..=5) && obis.0[0] == 1 && wanted(*obis))
        .map(|(_, _, obis)| *obis)
        .collect();
    list.sort();
    list.dedup();
    list.iter().take(MAX_SCHEDULE).map(Obis::to_string).collect()
}
