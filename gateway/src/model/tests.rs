//! Model files as people write them, with and without faults.

use super::{Catalog, GENERIC, Model, ProfileKind, Protocol, Range};
use domain::Obis;
use domain::readings::flag;

const LOAD: Obis = Obis::LOAD_PROFILE;

fn shipped(name: &str) -> std::sync::Arc<Model> {
    Catalog::shipped().get(name).unwrap().clone()
}

#[test]
fn the_shipped_models_are_without_fault_and_print_to_themselves() {
    let catalog = Catalog::shipped();
    let names: Vec<&str> = catalog.entries().map(|(name, _)| name).collect();
    assert_eq!(names, ["generic", "iec62056-21", "single-phase", "three-phase"]);
    for (name, entry) in catalog.entries() {
        assert_eq!(entry.model.name(), name);
        let again = Model::parse(&entry.model.file.to_toml().unwrap()).unwrap();
        let mut lines = entry.model.file.clone();
        lines.object.iter_mut().for_each(|object| object.line = 0);
        let mut other = again.file.clone();
        other.object.iter_mut().for_each(|object| object.line = 0);
        assert_eq!((&again.objects, &again.logs), (&entry.model.objects, &entry.model.logs));
        assert_eq!(lines.object, other.object);
        assert_eq!(again.profiles, entry.model.profiles, "{name}");
    }
}

#[test]
fn the_customers_meters_have_what_the_customer_listed() {
    let wanted: [(&str, u16); 26] = [
        ("1-0:1.8.0", 3),
        ("1-0:2.8.4", 3),
        ("1-0:32.7.0", 3),
        ("1-0:31.7.0", 3),
        ("1-0:91.7.0", 3),
        ("1-0:1.7.0", 3),
        ("1-0:3.7.0", 3),
        ("1-0:13.7.0", 3),
        ("1-0:14.7.0", 3),
        ("1-0:1.4.0", 5),
        ("1-0:1.6.0", 4),
        ("0-0:98.1.0", 7),
        ("1-0:99.1.0", 7),
        ("0-0:99.98.0", 7),
        ("0-0:99.98.1", 7),
        ("0-0:96.3.10", 70),
        ("0-0:17.0.0", 71),
        ("0-0:13.0.0", 20),
        ("0-0:11.0.0", 11),
        ("0-0:19.0.0", 111),
        ("0-0:19.10.0", 112),
        ("0-0:19.20.0", 113),
        ("0-0:19.40.0", 115),
        ("0-0:44.0.0", 18),
        ("0-0:43.0.0", 64),
        ("0-0:25.9.0", 40),
    ];
    for name in ["single-phase", "three-phase"] {
        let model = shipped(name);
        for (obis, class) in wanted {
            let object = model.object(obis.parse().unwrap());
            assert_eq!(object.map(|object| object.class), Some(class), "{name} {obis}");
        }
        let billing = model.profile(model.billing_profile.unwrap()).unwrap();
        assert_eq!((billing.kind, billing.entries), (ProfileKind::Billing, Some(12)));
        let log = "0-0:99.98.1".parse().unwrap();
        assert_eq!(model.event(log, 44), Some("meter_cover_removed"));
        assert_eq!(model.range, Range::OwnDeviation);
    }
    let three = shipped("three-phase");
    for obis in ["1-0:52.7.0", "1-0:72.7.0", "1-0:71.7.0"] {
        assert!(three.object(obis.parse().unwrap()).is_some(), "{obis}");
    }
    let optical = shipped("iec62056-21");
    assert_eq!(optical.protocol, Protocol::Iec62056);
    let import = optical.object(Obis::ACTIVE_IMPORT).unwrap();
    assert_eq!((import.address.as_deref(), import.scaled), (Some("1.8.0"), Some((0, 30))));
}

#[test]
fn status_bits_become_quality_flags() {
    let status = shipped("single-phase").profile(LOAD).unwrap().status.clone().unwrap();
    let of = |word: u64| {
        let set = status.bits.iter().filter(|(mask, _)| word & mask != 0);
        set.fold(0, |all, (_, flag)| all | flag)
    };
    assert_eq!(of(0x80), flag::POWER_FAILURE);
    assert_eq!(of(0x01), flag::ESTIMATED);
    assert_eq!(of(0x2a), flag::CLOCK_DOUBTFUL | flag::DAYLIGHT_SAVING | flag::CLOCK_SET);
}

const GOOD: &str = r#"
name = "mine"
version = 1
protocol = "dlms"
clock = "0-0:1.0.0"
schedule = ["1-0:1.8.0"]
load_profile = "1-0:99.1.0"

[codes.mine]
base = "idis"
shift = [{ from = 76, to = 94, by = 2 }]
events = { 230 = "magnet" }

[[object]]
obis = "0-0:1.0.0"
class = 8

[[object]]
obis = "1-0:1.8.0"
class = 3
scaler = 0
unit = "Wh"

[[object]]
obis = "1-0:99.1.0"
class = 7
version = 1

[[object]]
obis = "0-0:96.11.0"
class = 1

[[profile]]
obis = "1-0:99.1.0"
kind = "load"
columns = ["0-0:1.0.0", "1-0:1.8.0"]

[[log]]
obis = "1-0:99.1.0"
name = "standard"
event = "0-0:96.11.0"
codes = "mine"
"#;

#[test]
fn a_vendor_moves_and_adds_codes() {
    let model = Model::parse(GOOD).unwrap();
    let name = |code| model.event(LOAD, code).map(str::to_owned);
    assert_eq!(name(76), None);
    assert_eq!(name(78).as_deref(), Some("under_voltage_l1"));
    assert_eq!(name(230).as_deref(), Some("magnet"));
    assert_eq!(name(1).as_deref(), Some("power_down"));
}

/// One change of the good file, and the faults that it makes: line, code.
#[test]
fn each_fault_is_found_with_its_line_and_code() {
    let check = |from: &str, to: &str, expect: &[(usize, &str)]| {
        assert!(GOOD.contains(from), "{from}");
        let faults = Model::parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        let found: Vec<(usize, &str)> =
            faults.iter().map(|fault| (fault.line, fault.code)).collect();
        assert_eq!(found, expect, "{from} -> {to}: {faults:?}");
    };
    check("name = \"mine\"", "name = \"Mine!\"", &[(0, "bad_name")]);
    check("version = 1\n", "", &[(0, "bad_value")]);
    check("protocol = \"dlms\"", "protocol = \"modbus\"", &[(0, "bad_value")]);
    check("clock = \"0-0:1.0.0\"", "", &[(0, "no_clock")]);
    check("clock = \"0-0:1.0.0\"", "clock = \"1-0:1.8.0\"", &[(0, "bad_class")]);
    check(
        "clock = \"0-0:1.0.0\"",
        "clocks = 1\nclock = 5",
        &[(0, "no_clock"), (5, "bad_key"), (6, "bad_key")],
    );
    check("[\"1-0:1.8.0\"]", "[\"1-0:2.8.0\"]", &[(0, "unknown_object")]);
    check("[\"1-0:1.8.0\"]", "[\"1-0:1.8.0\", \"1-0:1.8.0\"]", &[(0, "duplicate_object")]);
    check("[\"1-0:1.8.0\"]", "[\"energy\"]", &[(0, "bad_obis")]);
    check("base = \"idis\"", "base = \"none\"", &[(38, "unknown_list")]);
    check("base = \"idis\"", "base = \"mine\"", &[(38, "unknown_list")]);
    check("230 =", "x =", &[(38, "bad_code")]);
    check("scaler = 0", "scaler = 13", &[(18, "bad_scaler")]);
    check("unit = \"Wh\"", "unit = \"kWh\"", &[(18, "bad_unit")]);
    check("unit = \"Wh\"", "", &[(18, "bad_unit")]);
    check(
        "obis = \"0-0:96.11.0\"",
        "obis = \"1-0:1.8.0\"",
        &[(29, "duplicate_object"), (38, "unknown_object")],
    );
    check("class = 3", "class = 3\naccess = \"rwz\"", &[(18, "bad_value")]);
    check("class = 3", "class = \"three\"", &[(18, "bad_class"), (20, "bad_key")]);
    check("\"0-0:1.0.0\", \"1-0:1.8.0\"", "\"1-0:1.8.0\"", &[(33, "profile_without_clock")]);
    check(
        "\"0-0:1.0.0\", \"1-0:1.8.0\"",
        "\"0-0:1.0.0\", \"1-0:1.8.0/0\"",
        &[(33, "bad_attribute")],
    );
    check("kind = \"load\"", "kind = \"day\"", &[(33, "bad_value")]);
    check(
        "kind = \"load\"",
        "kind = \"load\"\nstatus = { obis = \"0-0:96.10.1\", bits = \"x\" }",
        &[(33, "bad_status"), (33, "unknown_list")],
    );
    check(
        "load_profile = \"1-0:99.1.0\"",
        "load_profile = \"1-0:99.2.0\"",
        &[(0, "unknown_object")],
    );
    check("[[profile]]", "[profile]", &[(0, "unknown_object"), (33, "bad_key")]);
    check("name = \"mine\"", "name = ", &[(0, "bad_name"), (2, "bad_toml")]);
}

#[test]
fn all_faults_of_a_file_are_listed_at_once() {
    let text = r#"
name = "A"
version = 0
protocol = "x"
colour = "red"
schedule = ["1-0:1.8.0"]

[limits]
max_power_w = 0
speed = 3

[[object]]
obis = "1-0:1.8"
class = 3

[[object]]
obis = "1-0:2.8.0"
scaler = 99
unit = "kWh"
"#;
    let faults = Model::parse(text).unwrap_err();
    let codes: Vec<&str> = faults.iter().map(|fault| fault.code).collect();
    let expect = [
        "bad_name",
        "bad_value",
        "bad_value",
        "no_clock",
        "bad_value",
        "unknown_object",
        "bad_key",
        "bad_key",
        "bad_obis",
        "bad_class",
        "bad_scaler",
        "bad_unit",
    ];
    assert_eq!(codes, expect, "{faults:#?}");
}

#[test]
fn no_text_makes_a_panic() {
    for text in ["", "[", "object = 1", "[[object]]", "[status]\nx = 1", "\u{0}", "a = [[[["] {
        assert!(Model::parse(text).is_err(), "{text:?}");
    }
    for end in (0..GOOD.len()).filter(|end| GOOD.is_char_boundary(*end)) {
        let _ = Model::parse(&GOOD[..end]);
    }
    let faults = Model::parse(&"#".repeat(2 << 20)).unwrap_err();
    assert!(faults.iter().any(|fault| fault.code == "too_long"), "{faults:?}");
}

#[test]
fn a_folder_adds_models_and_every_broken_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let put = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
    put("mine.toml", GOOD);
    put("notes.txt", "not a model");
    put("generic.toml", &GOOD.replace("\"mine\"\nversion", "\"generic\"\nversion"));
    let catalog = Catalog::with_folder(folder.path()).unwrap();
    assert_eq!(catalog.names(), "generic, iec62056-21, mine, single-phase, three-phase");
    let (generic, known) = catalog.or_generic("nobody");
    assert_eq!((generic.name(), known, generic.file.learn), (GENERIC, false, false));
    assert!(catalog.or_generic("mine").1);
    put("twice.toml", GOOD);
    put("broken.toml", "name = 1");
    let faults = Catalog::with_folder(folder.path()).unwrap_err();
    let named = |file: &str, code: &str| {
        assert!(faults.iter().any(|f| f.contains(file) && f.contains(code)), "{file}: {faults:?}");
    };
    named("twice.toml", "duplicate_model");
    named("broken.toml", "bad_key");
    named("broken.toml", "no_clock");
    assert!(Catalog::with_folder(&folder.path().join("none")).is_err());
}

#[test]
fn the_example_of_the_documents_is_without_fault() {
    let page = include_str!("../../../docs/reference/models.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let model = Model::parse(example.unwrap()).unwrap();
    assert_eq!((model.range, model.objects.len()), (Range::NoDeviation, 6));
    let log = "0-0:99.98.0".parse().unwrap();
    assert_eq!(model.event(log, 230), Some("magnet"));
}
