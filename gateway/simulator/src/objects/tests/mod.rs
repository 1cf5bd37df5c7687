//! What a meter of the street shows and does, read as a head-end reads it.

mod acts;

use cosem::apdu::MethodRef;
use cosem::datetime::DateTime;
use cosem::{AttributeRef, Data, DataAccessError, Selection};

use super::catalogue::{BILLING, CALENDAR, DISCONNECT, LIMITER, Name};
use super::memory::MeterMemory;
use super::{After, Meter, Moment, Who, catalogue};
use crate::fault::{Kind, Quirks};
use crate::field::{FieldConfig, MeterModel, Outages, concentrators};
use crate::push::{CLOCK, EXPORT, IMPORT, LOAD_PROFILE};

const NOW: i64 = 1_795_305_600 + 12 * 3_600 + 100; // 2026-11-22 12:01:40 UTC

fn meters(count: u32) -> Vec<MeterModel> {
    let config = FieldConfig {
        meters: count,
        dead_ppm: 0,
        gaps_ppm: 0,
        outages: Outages::Never,
        ..FieldConfig::default()
    };
    concentrators(&config).remove(0).meters
}

fn model() -> MeterModel {
    meters(20).into_iter().find(MeterModel::bidirectional).unwrap()
}

/// A meter that is looked at again and again, each time at a later moment.
struct Bench {
    model: MeterModel,
    memory: MeterMemory,
    now_s: i64,
    quirks: Quirks,
    after: Vec<After>,
}

impl Bench {
    fn new() -> Self {
        Self::of(model())
    }

    fn of(model: MeterModel) -> Self {
        let (memory, quirks) = (MeterMemory::default(), Quirks::default());
        Self { model, memory, now_s: NOW, quirks, after: Vec::new() }
    }

    fn with(kind: Kind) -> Self {
        Self { quirks: [kind].into_iter().collect(), ..Self::new() }
    }

    fn meter<T>(&mut self, work: impl FnOnce(&mut Meter<'_>) -> T) -> T {
        let moment = Moment { quirks: self.quirks, ..Moment::at(self.now_s, 900) };
        let mut meter = Meter::new(&self.model, &mut self.memory, moment);
        let result = work(&mut meter);
        self.after = meter.after;
        result
    }

    fn get(&mut self, class: u16, name: Name, attribute: i8) -> Data {
        let wanted = AttributeRef::new(class, name, attribute);
        self.meter(|meter| meter.get(Who::Manager, &wanted, None)).unwrap()
    }

    fn set(&mut self, class: u16, name: Name, at: i8, value: Data) -> Result<(), DataAccessError> {
        let wanted = AttributeRef::new(class, name, at);
        self.meter(|meter| meter.set(Who::Manager, &wanted, &value))
    }

    fn act(
        &mut self,
        class: u16,
        name: Name,
        method: i8,
        parameter: Data,
    ) -> Result<Option<Data>, DataAccessError> {
        let wanted = MethodRef::new(class, name, method);
        self.meter(|meter| meter.act(Who::Manager, &wanted, Some(&parameter)))
    }

    fn rows(&mut self, name: Name, selection: Option<&Selection>) -> Vec<Vec<Data>> {
        let wanted = AttributeRef::new(7, name, 2);
        let rows = self.meter(|meter| meter.get(Who::Manager, &wanted, selection)).unwrap();
        let rows = rows.as_array().unwrap();
        rows.iter().map(|row| row.as_structure().unwrap().to_vec()).collect()
    }

    fn register(&mut self, name: Name) -> u64 {
        self.get(3, name, 2).as_u64().unwrap()
    }

    fn codes(&mut self, log: u8) -> Vec<u64> {
        let rows = self.rows([0, 0, 99, 98, log, 255], None);
        rows.iter().map(|row| row[1].as_u64().unwrap()).collect()
    }
}

fn obis(text: &str) -> Name {
    let parts: Vec<u8> = text.split(['-', ':', '.']).map(|part| part.parse().unwrap()).collect();
    [parts[0], parts[1], parts[2], parts[3], parts[4], 255]
}

/// Every object of the meter models that ship, with class and version, is there and answers with
/// all of its attributes; registers have the model's scaler and unit.
#[test]
fn every_object_of_the_shipped_models_answers() {
    for (phases, text) in [
        (1, include_str!("../../../../models/single-phase.toml")),
        (3, include_str!("../../../../models/three-phase.toml")),
    ] {
        let model = meters(40).into_iter().find(|meter| meter.phases == phases).unwrap();
        let mut bench = Bench::of(model);
        let table: toml::Table = text.parse().unwrap();
        let objects = table["object"].as_array().unwrap();
        assert!(objects.len() >= 80, "{}", objects.len());
        for wanted in objects {
            let name = wanted["obis"].as_str().unwrap();
            let class = wanted["class"].as_integer().unwrap() as u16;
            let version = wanted.get("version").map_or(0, |v| v.as_integer().unwrap()) as u8;
            let object = catalogue::find(phases, obis(name)).expect(name);
            assert_eq!((object.class, object.version), (class, version), "{name}");
            for attribute in 1..=object.attributes {
                let asked = AttributeRef::new(class, object.name, attribute);
                let answer = bench.meter(|meter| meter.get(Who::Manager, &asked, None));
                let secret = class == 15 && attribute == 7;
                assert_eq!(answer.is_err(), secret, "{name} attribute {attribute}: {answer:?}");
            }
            if let Some(scaler) = wanted.get("scaler") {
                let at = if class == 5 { 4 } else { 3 };
                let scaled = bench.get(class, object.name, at);
                let scaled = cosem::scaler::ScalerUnit::from_data(&scaled).unwrap();
                assert_eq!(i64::from(scaled.scaler), scaler.as_integer().unwrap(), "{name}");
                let unit = wanted["unit"].as_str().unwrap();
                assert_eq!(scaled.unit_name().unwrap_or(""), unit, "{name}");
            }
        }
    }
}

#[test]
fn the_captured_columns_are_those_of_the_models() {
    let table: toml::Table = include_str!("../../../../models/single-phase.toml").parse().unwrap();
    let mut bench = Bench::new();
    for profile in table["profile"].as_array().unwrap() {
        let name = obis(profile["obis"].as_str().unwrap());
        let columns = bench.get(7, name, 3);
        let columns = cosem::class::profile::CaptureObject::list_from_data(&columns).unwrap();
        let wanted = profile["columns"].as_array().unwrap();
        assert_eq!(columns.len(), wanted.len(), "{name:?}");
        for (column, wanted) in columns.iter().zip(wanted) {
            let (text, at) =
                wanted.as_str().unwrap().split_once('/').unwrap_or((wanted.as_str().unwrap(), "2"));
            assert_eq!(column.attribute.logical_name.0, obis(text));
            assert_eq!(column.attribute.attribute, at.parse::<i8>().unwrap());
        }
        let entries = bench.get(7, name, 8).as_u64().unwrap();
        assert_eq!(entries, profile["entries"].as_integer().unwrap() as u64);
    }
}

#[test]
fn rates_add_up_to_the_total_and_never_fall() {
    for model in meters(3) {
        let mut bench = Bench::of(model);
        let mut last = [0; 8];
        for hour in 0..8 {
            bench.now_s = NOW + hour * 10_807;
            let mut rates = [0; 8];
            for (at, c) in [(0, 1), (4, 2)] {
                for rate in 1..=4 {
                    rates[at + rate - 1] = bench.register([1, 0, c, 8, rate as u8, 255]);
                }
            }
            let total = |rates: &[u64]| rates.iter().sum::<u64>();
            assert_eq!(total(&rates[..4]), bench.register(IMPORT), "hour {hour}");
            assert_eq!(total(&rates[4..]), bench.register(EXPORT), "hour {hour}");
            assert!(rates.iter().zip(&last).all(|(now, before)| now >= before), "hour {hour}");
            last = rates;
        }
        assert!(last[..4].iter().all(|rate| *rate > 0), "every rate counted: {last:?}");
    }
}

#[test]
fn power_current_and_voltage_fit_each_other() {
    for model in meters(40) {
        let phases = model.phases;
        let mut bench = Bench::of(model);
        let power = bench.register([1, 0, 1, 7, 0, 255]);
        let export = bench.register([1, 0, 2, 7, 0, 255]);
        let factor = bench.register([1, 0, 13, 7, 0, 255]) as f64 / 1_000.0;
        let mut apparent = 0.0;
        for phase in 1..=phases {
            let base = 20 * phase;
            let volts = bench.register([1, 0, base + 12, 7, 0, 255]) as f64 / 10.0;
            let amperes = bench.register([1, 0, base + 11, 7, 0, 255]) as f64 / 100.0;
            assert!((207.0..=253.0).contains(&volts), "{volts} V");
            apparent += volts * amperes;
        }
        let net = power.abs_diff(export) as f64;
        let slack = 10.0 * f64::from(phases) + net * 0.02;
        assert!((apparent * factor - net).abs() < slack, "{apparent} VA * {factor} = {net} W");
        if phases == 3 {
            let sum: u64 = [21, 41, 61].iter().map(|c| bench.register([1, 0, *c, 7, 0, 255])).sum();
            assert_eq!(sum, power);
        }
    }
}

#[test]
fn a_billing_row_is_the_register_at_the_end_of_the_month() {
    let mut bench = Bench::new();
    let rows = bench.rows(BILLING, None);
    assert_eq!(rows.len(), 12);
    let last = rows.last().unwrap();
    assert_eq!(last[0].as_date_time().unwrap().to_unix_s(0), Some(1_793_491_200), "1 November");
    let maximum = last[13].as_u64().unwrap();
    bench.now_s = 1_793_491_200;
    assert_eq!(last[1].as_u64().unwrap(), bench.register(IMPORT));
    assert_eq!(last[5].as_u64().unwrap(), bench.register([1, 0, 1, 8, 1, 255]));
    // One second before the end the running maximum is that of the month.
    bench.now_s -= 1;
    assert!(bench.get(4, [1, 0, 1, 6, 0, 255], 2).as_u64().unwrap() <= maximum);
    assert!(maximum > 0);
    let mut registers = rows.iter().map(|row| row[1].as_u64().unwrap());
    let first = registers.next().unwrap();
    registers.fold(first, |before, now| {
        assert!(now > before);
        now
    });
}

#[test]
fn a_profile_is_read_whole_by_range_and_by_entry() {
    let mut bench = Bench::new();
    assert_eq!(bench.rows(LOAD_PROFILE, None).len(), 3_840);
    let noon = NOW - 100;
    let range = |from, to| {
        let (from, to) = (DateTime::from_unix_s(from, 0, 0), DateTime::from_unix_s(to, 0, 0));
        cosem::class::profile::Range::of_clock(from, to)
    };
    let hour = bench.rows(LOAD_PROFILE, Some(&range(noon - 3_600, noon).to_selection()));
    assert_eq!((hour.len(), hour[0].len()), (5, 4), "both ends belong to the range");
    let mut narrow = range(noon - 3_600, noon);
    narrow.columns = vec![cosem::class::profile::CaptureObject {
        attribute: AttributeRef::new(3, IMPORT, 2),
        data_index: 0,
    }];
    let narrow = bench.rows(LOAD_PROFILE, Some(&narrow.to_selection()));
    assert_eq!(narrow[4], hour[4][2..3]);
    let mut entries = |from, to| {
        let (from_column, to_column) = (1, 0);
        let entries = cosem::class::profile::Entries { from, to, from_column, to_column };
        bench.rows(LOAD_PROFILE, Some(&entries.to_selection()))
    };
    assert_eq!(entries(3_840, 0)[0][2..], hour[4][2..]);
    assert_eq!((entries(1, 3).len(), entries(4_000, 0).len(), entries(5, 2).len()), (3, 0, 0));
    let bad = Selection { selector: 1, parameters: Data::Null };
    let buffer = AttributeRef::new(7, LOAD_PROFILE, 2);
    let answer = bench.meter(|meter| meter.get(Who::Manager, &buffer, Some(&bad)));
    assert_eq!(answer, Err(DataAccessError::ScopeOfAccessViolated));
}

#[test]
fn nonsense_and_strangers_are_refused_by_name() {
    let mut bench = Bench::new();
    let mut get = |who, class, name, attribute| {
        let wanted = AttributeRef::new(class, name, attribute);
        bench.meter(|meter| meter.get(who, &wanted, None)).unwrap_err()
    };
    for (who, class, name, attribute, expect) in [
        (Who::Manager, 3, [9; 6], 2, DataAccessError::ObjectUndefined),
        (Who::Manager, 1, IMPORT, 2, DataAccessError::ObjectClassInconsistent),
        (Who::Manager, 3, EXPORT, 4, DataAccessError::ObjectUndefined),
        (Who::Public, 3, EXPORT, 2, DataAccessError::ReadWriteDenied),
    ] {
        assert_eq!(get(who, class, name, attribute), expect);
    }
    let clock = AttributeRef::new(8, CLOCK, 3);
    let set = |meter: &mut Meter<'_>, who, value: Data| meter.set(who, &clock, &value);
    let denied = Err(DataAccessError::ReadWriteDenied);
    assert_eq!(bench.meter(|meter| set(meter, Who::Reader, Data::I16(-60))), denied);
    let wrong = Err(DataAccessError::TypeUnmatched);
    assert_eq!(bench.meter(|meter| set(meter, Who::Manager, Data::Null)), wrong);
    assert_eq!(bench.meter(|meter| set(meter, Who::Manager, Data::I16(-60))), Ok(()));
    assert_eq!(bench.get(8, CLOCK, 3), Data::I16(-60));
    assert_eq!(bench.get(8, CLOCK, 2).as_date_time().unwrap().deviation, -60);
    let open = MethodRef::new(70, DISCONNECT, 1);
    let act = bench.meter(|meter| meter.act(Who::Reader, &open, None));
    assert_eq!(act, Err(DataAccessError::ReadWriteDenied));
}

#[test]
fn the_clock_is_set_and_shifted_and_its_log_says_so() {
    let mut bench = Bench::new();
    let time = Data::octets(&DateTime::from_unix_s(NOW + 60, 0, 0).to_octets());
    bench.set(8, CLOCK, 2, time).unwrap();
    let shown = |bench: &mut Bench| {
        let time = bench.get(8, CLOCK, 2).as_date_time().unwrap();
        (time.to_unix_s(0).unwrap() - bench.now_s, time.is_doubtful())
    };
    assert_eq!(shown(&mut bench), (60, true));
    bench.now_s += 10;
    bench.act(8, CLOCK, 6, Data::I16(-60)).unwrap();
    assert_eq!(shown(&mut bench), (0, false));
    let refused = bench.act(8, CLOCK, 6, Data::I16(901));
    assert_eq!(refused, Err(DataAccessError::OtherReason));
    assert_eq!(bench.codes(0), [4, 5, 4, 5]);
    assert_eq!(bench.get(1, [0, 0, 96, 11, 0, 255], 2), Data::U8(5));
}

#[test]
fn an_open_switch_stops_the_registers() {
    let mut bench = Bench::new();
    bench.act(70, DISCONNECT, 1, Data::I8(0)).unwrap();
    let before = bench.register(IMPORT);
    assert_eq!(bench.get(70, DISCONNECT, 3), Data::Enum(0));
    bench.now_s += 7_200;
    assert_eq!((bench.register(IMPORT), bench.register([1, 0, 1, 7, 0, 255])), (before, 0));
    // Mode 4 closes at once, mode 3 arms the button, which is pressed a minute later.
    bench.act(70, DISCONNECT, 2, Data::I8(0)).unwrap();
    assert_eq!(bench.get(70, DISCONNECT, 2), Data::Boolean(true));
    bench.set(70, DISCONNECT, 4, Data::Enum(3)).unwrap();
    bench.act(70, DISCONNECT, 1, Data::I8(0)).unwrap();
    bench.act(70, DISCONNECT, 2, Data::I8(0)).unwrap();
    assert_eq!(bench.get(70, DISCONNECT, 3), Data::Enum(2));
    bench.now_s += 60;
    assert_eq!(bench.get(70, DISCONNECT, 3), Data::Enum(1));
    assert_eq!(bench.codes(2), [62, 63, 62, 59, 61]);
    bench.now_s += 7_200;
    assert!(bench.register(IMPORT) > before);
    let rows = bench.rows(LOAD_PROFILE, None);
    assert_eq!(rows[rows.len() - 12][2], rows[rows.len() - 14][2], "nothing while it was open");
}

#[test]
fn a_limit_opens_the_switch_and_a_schedule_closes_it() {
    let mut bench = Bench::of(meters(1).remove(0));
    bench.set(71, LIMITER, 4, Data::U32(1)).unwrap();
    bench.now_s += 600;
    assert_eq!(bench.get(70, DISCONNECT, 3), Data::Enum(0), "above 1 W for a minute");
    assert_eq!(bench.codes(2), [65, 64]);
    bench.set(71, LIMITER, 4, Data::U32(20_000)).unwrap();
    let schedule = [0, 0, 15, 0, 1, 255];
    let script = [Data::octets(&[0, 0, 10, 0, 106, 255]), Data::U16(2)];
    bench.set(22, schedule, 2, Data::Structure(script.to_vec())).unwrap();
    let at = [Data::octets(&[13, 0, 0, 0]), Data::octets(&[0xff, 0xff, 0xff, 0xff, 0xff])];
    bench.set(22, schedule, 4, Data::Array(vec![Data::Structure(at.to_vec())])).unwrap();
    assert_eq!(bench.get(70, DISCONNECT, 3), Data::Enum(0));
    bench.now_s += 3_600;
    assert_eq!(bench.get(70, DISCONNECT, 3), Data::Enum(1), "closed at 13:00");
}

#[test]
fn a_passive_calendar_takes_over_and_loses_nothing() {
    let mut bench = Bench::new();
    let before = bench.register([1, 0, 1, 8, 4, 255]);
    let time = |hour| Data::octets(&[hour, 0, 0, 0]);
    let script = || Data::octets(&[0, 0, 10, 0, 100, 255]);
    let action = Data::Structure(vec![time(0), script(), Data::U16(4)]);
    let days: Vec<Data> = (1..=3)
        .map(|id| Data::Structure(vec![Data::U8(id), Data::Array(vec![action.clone()])]))
        .collect();
    bench.set(20, CALENDAR, 9, Data::Array(days)).unwrap();
    bench.act(20, CALENDAR, 1, Data::I8(0)).unwrap();
    let (total, four) = (bench.register(IMPORT), bench.register([1, 0, 1, 8, 4, 255]));
    assert_eq!(four, before, "what was counted stays");
    bench.now_s += 86_400;
    let moved = bench.register(IMPORT) - total;
    assert!(moved > 0);
    assert_eq!(bench.register([1, 0, 1, 8, 4, 255]) - four, moved, "all at rate 4 now");
    assert_eq!(bench.codes(0), [19, 9]);
    // The month before is read as it was counted then.
    let rows = bench.rows(BILLING, None);
    let row = rows.last().unwrap();
    let sum: u64 = row[5..9].iter().map(|cell| cell.as_u64().unwrap()).sum();
    assert_eq!(sum, row[1].as_u64().unwrap());
}

#[test]
fn outages_stand_in_the_logs() {
    let field = concentrators(&FieldConfig { meters: 60, dead_ppm: 0, ..FieldConfig::default() });
    let seen = |meter: &MeterModel| !meter.outages_within(NOW - 400 * 86_400, NOW, 9).is_empty();
    let model = field[0].meters.iter().find(|meter| seen(meter)).unwrap().clone();
    let phases = model.phases;
    let mut bench = Bench::of(model);
    assert_eq!(bench.codes(0)[..2], [1, 2]);
    assert_eq!(bench.codes(4)[0], 82);
    assert_eq!(bench.codes(4).len(), bench.codes(0).len() * usize::from(phases));
}

#[test]
fn faults_of_a_profile_are_exactly_what_they_say() {
    let mut plain = Bench::new();
    let rows = plain.rows(LOAD_PROFILE, None);
    let mut double = Bench::with(Kind::DoubleRows);
    // Four rows of every day from 02:00 to 02:45 stand twice.
    assert_eq!(double.rows(LOAD_PROFILE, None).len(), rows.len() + 40 * 4);
    let mut unset = Bench::with(Kind::DeviationUnset);
    let time = unset.get(8, CLOCK, 2).as_date_time().unwrap();
    assert_eq!(time.deviation, cosem::datetime::DEVIATION_NOT_SPECIFIED);
    let mut jump = Bench::with(Kind::ClockJump);
    let time = jump.get(8, CLOCK, 2).as_date_time().unwrap();
    assert_eq!(time.to_unix_s(0), Some(NOW + 3_600));
    let mut null = Bench::with(Kind::NullClocks);
    let clocks = null.rows(BILLING, None).iter().filter(|row| row[0] == Data::Null).count();
    assert_eq!(clocks, 11, "all but the first");
    let scaled = |bench: &mut Bench| {
        let body = bench.meter(|meter| meter.push_body(0));
        body.as_structure().unwrap().len()
    };
    assert_eq!((scaled(&mut plain), scaled(&mut Bench::with(Kind::MissingScaler))), (7, 5));
}

#[test]
fn the_object_list_tells_rights_by_client() {
    let mut bench = Bench::new();
    let mut list = |who| {
        let wanted = AttributeRef::new(15, catalogue::ASSOCIATION, 2);
        let list = bench.meter(|meter| meter.get(who, &wanted, None)).unwrap();
        cosem::class::association::Object::list_from_data(&list).unwrap().len()
    };
    let all = list(Who::Manager);
    assert_eq!((list(Who::Public), list(Who::Reader)), (7, all));
    assert_eq!(all, catalogue::objects(bench.model.phases).len());
}
