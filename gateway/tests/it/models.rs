//! The shipped models against the simulator's meters: what a model says is there, is there, and is
//! of the shape that its class says; and a model that was learnt says the same as the shipped one.

use cosem::class::{self, Object, association};
use cosem::{AttributeRef, Data, DataAccessError};
use domain::Obis;
use gateway::model::{Catalog, Model, ProfileKind, Source, learn};
use simulator::field::{FieldConfig, MeterModel, Outages, concentrators};
use simulator::objects::memory::MeterMemory;
use simulator::objects::{Meter, Moment, Who};

const NOW: i64 = 1_795_305_600 + 12 * 3_600 + 100; // 2026-11-22 12:01:40 UTC

fn meters() -> Vec<MeterModel> {
    let config = FieldConfig {
        meters: 40,
        dead_ppm: 0,
        gaps_ppm: 0,
        outages: Outages::Never,
        ..FieldConfig::default()
    };
    concentrators(&config).remove(0).meters
}

fn read(of: &MeterModel, class: u16, obis: Obis, at: i8) -> Result<Data, DataAccessError> {
    let mut memory = MeterMemory::default();
    let meter = Meter::new(of, &mut memory, Moment::at(NOW, 900));
    meter.get(Who::Manager, &AttributeRef::new(class, obis.0, at), None)
}

/// What the meter lists, by the typed object list of its association.
fn listed(of: &MeterModel) -> Vec<association::Object> {
    let list = read(of, 15, Obis(association::CURRENT), association::OBJECT_LIST).unwrap();
    association::Object::list_from_data(&list).unwrap()
}

#[test]
fn every_object_of_a_shipped_model_is_in_the_meter_and_of_its_class() {
    let catalog = Catalog::shipped();
    for (name, phases) in [("single-phase", 1), ("three-phase", 3)] {
        let model = catalog.get(name).unwrap();
        let meter = meters().into_iter().find(|meter| meter.phases == phases).unwrap();
        let list = listed(&meter);
        for object in &model.objects {
            let found = list.iter().find(|known| known.logical_name.0 == object.obis.0);
            let found = found.unwrap_or_else(|| panic!("{name}: {} is missing", object.obis));
            assert_eq!((found.class, found.version), (object.class, object.version), "{found:?}");
            let mut typed = Object::new(object.class, object.version);
            let mut read_some = false;
            for attribute in class::of(object.class).unwrap().attributes {
                let at = attribute.number;
                if attribute.since > object.version {
                    continue;
                }
                if let Ok(data) = read(&meter, object.class, object.obis, at) {
                    typed.set(at, &data).unwrap_or_else(|e| panic!("{name} {}: {e}", object.obis));
                    read_some = true;
                }
            }
            assert!(read_some, "{name}: nothing of {} can be read", object.obis);
            if let Some((scaler, unit)) = object.scaled {
                let at = if object.class == 5 { 4 } else { 3 };
                let data = read(&meter, object.class, object.obis, at).unwrap();
                let said = cosem::scaler::ScalerUnit::from_data(&data).unwrap();
                assert_eq!((said.scaler, said.unit), (scaler, unit), "{name} {}", object.obis);
            }
        }
        for profile in model.profiles.iter().filter(|p| p.kind != ProfileKind::Log) {
            let data = read(&meter, 7, profile.obis, 3).unwrap();
            let columns = cosem::class::profile::CaptureObject::list_from_data(&data).unwrap();
            let said: Vec<_> = columns
                .iter()
                .map(|c| (c.attribute.class, c.attribute.logical_name.0, c.attribute.attribute))
                .collect();
            let expect: Vec<_> =
                profile.columns.iter().map(|c| (c.class, c.obis.0, c.attribute)).collect();
            assert_eq!(said, expect, "{name} {}", profile.obis);
        }
    }
}

/// What `model learn` asks a meter.
fn source(of: &MeterModel) -> Source {
    let mut source = Source::default();
    for object in listed(of) {
        let obis = Obis(object.logical_name.0);
        source.objects.push((object.class, object.version, obis));
        match object.class {
            3..=5 => {
                let at = if object.class == 5 { 4 } else { 3 };
                let data = read(of, object.class, obis, at).unwrap();
                let said = cosem::scaler::ScalerUnit::from_data(&data).unwrap();
                source.scaled.insert(obis, (said.scaler, said.unit));
            }
            7 => {
                let data = read(of, 7, obis, 3).unwrap();
                let columns = cosem::class::profile::CaptureObject::list_from_data(&data).unwrap();
                let column = |c: &cosem::class::profile::CaptureObject| {
                    let of = c.attribute;
                    (of.class, Obis(of.logical_name.0), of.attribute)
                };
                let period_s = read(of, 7, obis, 4).unwrap().as_u64().unwrap();
                let columns = columns.iter().map(column).collect();
                source.profiles.insert(obis, (columns, u32::try_from(period_s).unwrap()));
            }
            _ => {}
        }
    }
    source
}

#[test]
fn a_learnt_model_reads_what_the_shipped_one_reads() {
    let meter = meters().into_iter().find(|meter| meter.phases == 1).unwrap();
    let learnt = learn("learnt", &source(&meter));
    let text = learnt.file.to_toml().unwrap();
    let model = Model::parse(&text).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
    let shipped = Catalog::shipped().get("single-phase").unwrap().clone();
    assert_eq!(model.clock, shipped.clock);
    assert_eq!(model.load_profile, shipped.load_profile);
    assert_eq!(model.billing_profile, shipped.billing_profile);
    for obis in &shipped.schedule {
        assert!(model.schedule.contains(obis), "{obis}");
        let (ours, theirs) = (shipped.object(*obis).unwrap(), model.object(*obis).unwrap());
        assert_eq!((ours.class, ours.scaled), (theirs.class, theirs.scaled), "{obis}");
        let value = |class| read(&meter, class, *obis, 2).unwrap();
        assert_eq!(value(ours.class), value(theirs.class));
    }
    let load = model.profile(Obis::LOAD_PROFILE).unwrap();
    let expect = shipped.profile(Obis::LOAD_PROFILE).unwrap();
    assert_eq!((&load.columns, load.period_s), (&expect.columns, expect.period_s));
}
