//! From a model file to a checked model: names, codes, units, and whether what is named is there.
//! Every fault is noted and the search goes on.
//!
//! Invariant: without a fault the model is as the file says; with one it is thrown away, so what
//! stands in for a faulty value does not matter.

use std::collections::HashSet;

use domain::Obis;
use domain::readings::flag;

use super::fault::{At, Faults};
use super::file::{AlarmFile, LogFile, ModelFile, ObjectFile, ProfileFile};
use super::lists::Lists;
use super::{Alarm, Column, Log, Model, Object, Profile, ProfileKind, Protocol, Range, Status};

/// Powers of ten that a meter can mean.
const SCALERS: std::ops::RangeInclusive<i64> = -12..=12;

/// Units by their names, as `cosem::scaler::ScalerUnit::unit_name` has them.
const UNITS: [(&str, u8); 11] = [
    ("W", cosem::scaler::unit::WATT),
    ("VA", cosem::scaler::unit::VOLT_AMPERE),
    ("var", cosem::scaler::unit::VAR),
    ("Wh", cosem::scaler::unit::WATT_HOUR),
    ("VAh", cosem::scaler::unit::VOLT_AMPERE_HOUR),
    ("varh", cosem::scaler::unit::VAR_HOUR),
    ("A", cosem::scaler::unit::AMPERE),
    ("V", cosem::scaler::unit::VOLT),
    ("°", cosem::scaler::unit::DEGREE),
    ("Hz", cosem::scaler::unit::HERTZ),
    ("", cosem::scaler::unit::NONE),
];

/// Quality flags by their names.
const FLAGS: [(&str, u8); 5] = [
    ("clock_doubtful", flag::CLOCK_DOUBTFUL),
    ("daylight_saving", flag::DAYLIGHT_SAVING),
    ("power_failure", flag::POWER_FAILURE),
    ("estimated", flag::ESTIMATED),
    ("clock_set", flag::CLOCK_SET),
];

/// The most columns of a profile, and the most registers read on schedule.
const MAX_COLUMNS: usize = 64;

/// The unit of this code, by its name; None when it has none here.
pub(super) fn unit_name(code: u8) -> Option<&'static str> {
    UNITS.iter().find(|(_, unit)| *unit == code).map(|(name, _)| *name)
}

/// Checks a file.
pub(super) fn check(file: ModelFile, faults: &mut Faults) -> Model {
    top(&file, faults);
    let protocol = match file.protocol.as_str() {
        "iec62056-21" => Protocol::Iec62056,
        _ => Protocol::Dlms,
    };
    let objects = objects(&file, protocol, faults);
    let mut checker = Checker { file: &file, protocol, objects: &objects, faults };
    let clock = checker.clock();
    let schedule = checker.registers("schedule", &file.schedule);
    let instantaneous = checker.registers("instantaneous", &file.instantaneous);
    let profiles: Vec<Profile> =
        file.profile.iter().filter_map(|profile| checker.profile(profile)).collect();
    checker.once("profile", file.profile.iter().map(|profile| (profile.line, &profile.obis)));
    let load_profile = checker.named_profile("load_profile", file.load_profile.as_deref());
    let billing_profile = checker.named_profile("billing_profile", file.billing_profile.as_deref());
    let logs = file.log.iter().filter_map(|log| checker.log(log)).collect();
    checker.once("log", file.log.iter().map(|log| (log.line, &log.obis)));
    let alarms = file.alarm.iter().filter_map(|alarm| checker.alarm(alarm)).collect();
    let range = match file.quirks.range.as_deref() {
        Some("no_deviation") => Range::NoDeviation,
        Some("none") => Range::None,
        _ => Range::OwnDeviation,
    };
    Model {
        protocol,
        clock,
        schedule,
        instantaneous,
        load_profile,
        billing_profile,
        range,
        profiles,
        logs,
        alarms,
        objects,
        file,
    }
}

/// Keys at the top and in the sections.
fn top(file: &ModelFile, faults: &mut Faults) {
    let at = At::top();
    let fits =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if file.name.is_empty() || file.name.len() > 64 || !file.name.chars().all(fits) {
        let text = format!("name {:?}: 1 to 64 of a-z, 0-9 and -", file.name);
        faults.add(&at, "bad_name", text);
    }
    if file.version == 0 {
        faults.add(&at, "bad_value", "version: 1 or higher");
    }
    one_of(&at, "protocol", Some(&file.protocol), &["dlms", "iec62056-21"], faults);
    let access = At::new(0, "access");
    let known = &["none", "lls", "hls3", "hls4", "hls5", "hls6", "hls7"];
    one_of(&access, "authentication", file.access.authentication.as_ref(), known, faults);
    if file.access.suite.is_some_and(|suite| suite > 2) {
        faults.add(&access, "bad_value", "suite: 0, 1 or 2");
    }
    let limits = At::new(0, "limits");
    let numbers = [
        ("response_timeout_ms", file.limits.response_timeout_ms, 1, 600_000),
        ("max_apdu_octets", file.limits.max_apdu_octets.map(u64::from), 64, 65_535),
        ("max_power_w", file.limits.max_power_w, 1, 1_000_000_000_000),
    ];
    for (key, value, least, most) in numbers {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            faults.add(&limits, "bad_value", format!("{key}: {least} to {most}"));
        }
    }
    let quirks = At::new(0, "quirks");
    let ranges = &["own_deviation", "no_deviation", "none"];
    one_of(&quirks, "range", file.quirks.range.as_ref(), ranges, faults);
    if file.quirks.utc_offset_minutes.is_some_and(|minutes| minutes.abs() > 840) {
        faults.add(&quirks, "bad_value", "utc_offset_minutes: -840 to 840");
    }
}

fn one_of(at: &At, key: &str, value: Option<&String>, known: &[&str], faults: &mut Faults) {
    if let Some(value) = value.filter(|value| !known.contains(&value.as_str())) {
        let text = format!("{key} {value:?}: one of {}", known.join(", "));
        faults.add(at, "bad_value", text);
    }
}

fn objects(file: &ModelFile, protocol: Protocol, faults: &mut Faults) -> Vec<Object> {
    let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
    let mut list = Vec::new();
    for written in &file.object {
        let at = At::new(written.line, format!("object {}", written.obis));
        let Some(obis) = obis(&written.obis, &at, faults) else { continue };
        if !names.insert(obis) {
            faults.add(&at, "duplicate_object", "listed before");
            continue;
        }
        if let Some(address) = &written.address
            && !addresses.insert(address.clone())
        {
            faults.add(&at, "duplicate_object", format!("address {address:?} is listed before"));
        }
        list.push(object(written, obis, protocol, &at, faults));
    }
    list
}

fn object(
    written: &ObjectFile,
    obis: Obis,
    protocol: Protocol,
    at: &At,
    faults: &mut Faults,
) -> Object {
    match (protocol, written.class, &written.address) {
        (Protocol::Dlms, None | Some(0), _) => faults.add(at, "bad_class", "class is missing"),
        (Protocol::Dlms, _, Some(_)) => {
            faults.add(at, "bad_address", "an address belongs to iec62056-21");
        }
        (Protocol::Iec62056, Some(_), _) => {
            faults.add(at, "bad_class", "iec62056-21 has no classes");
        }
        (Protocol::Iec62056, None, address) => {
            let fits = |address: &&String| {
                (1..=16).contains(&address.len())
                    && address
                        .bytes()
                        .all(|octet| octet.is_ascii_graphic() && !b"()/!".contains(&octet))
            };
            if address.as_ref().filter(fits).is_none() {
                faults.add(at, "bad_address", "address: 1 to 16 signs without ( ) / !");
            }
        }
        _ => {}
    }
    let access = written.access.as_deref().unwrap_or("r");
    if !["r", "w", "x", "rw", "rx", "wx", "rwx"].contains(&access) {
        faults.add(at, "bad_value", format!("access {access:?}: r, w, x, rw, rx, wx or rwx"));
    }
    Object {
        obis,
        class: written.class.unwrap_or(0),
        version: written.version,
        address: written.address.clone(),
        what: written.what.clone(),
        scaled: scaled(written, at, faults),
        writable: access.contains('w'),
        executable: access.contains('x'),
    }
}

/// Scaler and unit: both or none.
fn scaled(written: &ObjectFile, at: &At, faults: &mut Faults) -> Option<(i8, u8)> {
    let scaler = written.scaler.and_then(|scaler| {
        let fits = SCALERS.contains(&scaler).then(|| i8::try_from(scaler).ok()).flatten();
        if fits.is_none() {
            faults.add(at, "bad_scaler", format!("scaler {scaler}: -12 to 12"));
        }
        fits
    });
    let unit = written.unit.as_ref().and_then(|name| {
        let known = UNITS.iter().find(|(known, _)| known == name);
        if known.is_none() {
            let names: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
            let text = format!("unit {name:?}: one of {}, or \"\"", names.join(" ").trim());
            faults.add(at, "bad_unit", text);
        }
        known.map(|(_, code)| *code)
    });
    if written.scaler.is_some() != written.unit.is_some() {
        faults.add(at, "bad_unit", "scaler and unit go together");
    }
    scaler.zip(unit)
}

fn obis(text: &str, at: &At, faults: &mut Faults) -> Option<Obis> {
    let obis = text.parse().ok();
    if obis.is_none() {
        faults.add(at, "bad_obis", format!("{text:?}: an OBIS code looks like 1-0:1.8.0"));
    }
    obis
}

struct Checker<'m> {
    file: &'m ModelFile,
    protocol: Protocol,
    objects: &'m [Object],
    faults: &'m mut Faults,
}

impl Checker<'_> {
    fn object(&self, obis: Obis) -> Option<&Object> {
        self.objects.iter().find(|object| object.obis == obis)
    }

    /// A name that must be listed as an object, of one of these classes when any are given.
    fn listed(&mut self, text: &str, classes: &[u16], at: &At) -> Option<Obis> {
        let obis = obis(text, at, self.faults)?;
        let Some(object) = self.object(obis) else {
            self.faults.add(at, "unknown_object", format!("{obis} is not listed as an object"));
            return None;
        };
        let class = object.class;
        // A missing class is a fault of the object, and said there.
        let judged = self.protocol == Protocol::Dlms && class != 0 && !classes.is_empty();
        if judged && !classes.contains(&class) {
            self.faults.add(at, "bad_class", format!("{obis} is of class {class}"));
        }
        Some(obis)
    }

    fn once<'t>(&mut self, what: &str, names: impl Iterator<Item = (usize, &'t String)>) {
        let mut seen = HashSet::new();
        for (line, name) in names {
            if !seen.insert(name) {
                let at = At::new(line, format!("{what} {name}"));
                self.faults.add(&at, "duplicate_object", "listed before");
            }
        }
    }

    fn clock(&mut self) -> Option<Obis> {
        let at = At::top();
        let Some(clock) = &self.file.clock else {
            self.faults.add(&at, "no_clock", "clock: a meter without one cannot be read");
            return None;
        };
        self.listed(clock, &[8], &At::new(0, "clock"))
    }

    fn registers(&mut self, key: &str, names: &[String]) -> Vec<Obis> {
        let at = At::new(0, key);
        if names.len() > MAX_COLUMNS {
            self.faults.add(&at, "too_long", format!("more than {MAX_COLUMNS} registers"));
        }
        let mut seen = HashSet::new();
        let mut list = Vec::new();
        for name in names {
            let Some(obis) = self.listed(name, &[1, 3, 4, 5], &at) else { continue };
            if seen.insert(obis) {
                list.push(obis);
            } else {
                self.faults.add(&at, "duplicate_object", format!("{obis} is listed before"));
            }
        }
        list
    }

    fn named_profile(&mut self, key: &str, name: Option<&str>) -> Option<Obis> {
        let at = At::new(0, key);
        let obis = obis(name?, &at, self.faults)?;
        let same = |profile: &ProfileFile| profile.obis.parse() == Ok(obis);
        if !self.file.profile.iter().any(same) {
            self.faults.add(&at, "unknown_object", format!("{obis} has no [[profile]]"));
        }
        Some(obis)
    }

    fn profile(&mut self, written: &ProfileFile) -> Option<Profile> {
        let at = At::new(written.line, format!("profile {}", written.obis));
        let known = &["load", "billing", "log"];
        one_of(&at, "kind", Some(&written.kind), known, self.faults);
        if written.columns.len() > MAX_COLUMNS {
            self.faults.add(&at, "too_long", format!("more than {MAX_COLUMNS} columns"));
        }
        let columns: Vec<Column> =
            written.columns.iter().filter_map(|column| self.column(column, &at)).collect();
        let is_clock = |column: &Column| column.class == 8 && column.attribute == 2;
        if !columns.iter().any(is_clock) {
            let text = "no column is the time of a clock, so its rows have no time";
            self.faults.add(&at, "profile_without_clock", text);
        }
        let status = self.status(written, &columns, &at);
        let obis = self.listed(&written.obis, &[7, 62], &at)?;
        let kind = match written.kind.as_str() {
            "billing" => ProfileKind::Billing,
            "log" => ProfileKind::Log,
            _ => ProfileKind::Load,
        };
        let (period_s, entries) = (written.period_s, written.entries);
        Some(Profile { obis, kind, period_s, entries, columns, status })
    }

    /// `OBIS` or `OBIS/attribute`.
    fn column(&mut self, text: &str, at: &At) -> Option<Column> {
        let (name, attribute) = match text.split_once('/') {
            None => (text, Some(2)),
            Some((name, attribute)) => (name, attribute.parse().ok()),
        };
        let obis = self.listed(name, &[], at)?;
        let attribute = attribute.filter(|attribute: &i8| *attribute > 0);
        if attribute.is_none() {
            self.faults.add(at, "bad_attribute", format!("{text:?}: an attribute is 1 to 127"));
        }
        let class = self.object(obis).map_or(0, |object| object.class);
        Some(Column { obis, class, attribute: attribute? })
    }

    fn status(&mut self, written: &ProfileFile, columns: &[Column], at: &At) -> Option<Status> {
        let status = written.status.as_ref()?;
        let obis = obis(&status.obis, at, self.faults)?;
        if !self.file.learn && !columns.iter().any(|column| column.obis == obis) {
            self.faults.add(at, "bad_status", format!("{obis} is not among the columns"));
        }
        let Some(words) = self.file.status.get(&status.bits) else {
            let text = format!("no [status.{}]", status.bits);
            self.faults.add(at, "unknown_list", text);
            return None;
        };
        let mut bits = Vec::new();
        for (name, mask) in words {
            match FLAGS.iter().find(|(known, _)| known == name) {
                Some((_, flag)) => bits.push((u64::from(*mask), *flag)),
                None => {
                    let names: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
                    let text =
                        format!("{name:?} is no quality flag; there are {}", names.join(", "));
                    let at = At::new(0, format!("status {}", status.bits));
                    self.faults.add(&at, "bad_status", text);
                }
            }
        }
        Some(Status { obis, bits })
    }

    fn log(&mut self, written: &LogFile) -> Option<Log> {
        let at = At::new(written.line, format!("log {}", written.obis));
        if written.name.is_empty() {
            self.faults.add(&at, "bad_name", "name is missing");
        }
        let event = self.listed(&written.event, &[1], &at);
        let lists = Lists { codes: &self.file.codes, bits: &self.file.bits };
        let codes = lists.code_list(&written.codes, &at, self.faults);
        let obis = self.listed(&written.obis, &[7], &at)?;
        let (name, entries) = (written.name.clone(), written.entries);
        Some(Log { obis, name, event: event?, entries, codes })
    }

    fn alarm(&mut self, written: &AlarmFile) -> Option<Alarm> {
        let at = At::new(written.line, format!("alarm {}", written.register));
        let filter = written.filter.as_ref().and_then(|name| self.listed(name, &[1], &at));
        let descriptor = written.descriptor.as_ref().and_then(|name| self.listed(name, &[1], &at));
        let lists = Lists { codes: &self.file.codes, bits: &self.file.bits };
        let bits = lists.bit_list(&written.bits, &at, self.faults);
        let register = self.listed(&written.register, &[1], &at)?;
        Some(Alarm { register, filter, descriptor, bits })
    }
}
