//! Three meters of a street, one of which sends a day twice with other values.

use std::path::Path;
use std::time::Duration;

use domain::assets::{Attach, Authentication};
use domain::readings::{BatchBuilder, Correct, Ingest, Part, Quality, Register, Seal};
use domain::{Author, Change, Entry, MemoryView, Obis, Proposal, ProposalId, Stamp, apply, assets};
use serde_json::{Value, json};
use storage::segment::{DayKey, Row};
use storage::{Config, Metrics, Segments};

use super::{ConflictParams, listed};

const DAY_S: u64 = 86_400;
const EXPORT: Obis = Obis([1, 0, 2, 8, 0, 255]);

struct Street {
    view: MemoryView,
    segments: Segments,
    index: u64,
}

impl Street {
    fn begin(dir: &Path) -> Street {
        let segments = Segments::open(dir, &Config::for_test(dir), &Metrics::unregistered());
        let segments = segments.expect("opened");
        let mut street = Street { view: MemoryView::default(), segments, index: 0 };
        for serial in ["M1", "M2", "M3"] {
            let attach = Attach::Direct {
                address: format!("127.0.0.1:{}", 4059 + street.index),
                client_sap: 16,
                server_sap: 1,
                authentication: Authentication::None,
                security: assets::Security::default(),
                system_title: None,
            };
            let (serial, model) = (serial.to_owned(), String::new());
            let meter = assets::Change::RegisterMeter { serial, attach, model };
            street.change(Change::Assets(meter));
        }
        street
    }

    fn change(&mut self, change: Change) {
        self.index += 1;
        let id = ProposalId(u128::from(self.index).to_be_bytes());
        let author = Author::Operator("admin".into());
        let stamp = Stamp::from_seconds(3 * DAY_S);
        let entry = Entry { stamp, proposal: Proposal { id, author, change } };
        let applied = apply(&self.view, self.index, &entry).expect("no fault");
        applied.outcome.as_ref().expect("taken");
        self.view.apply(&applied);
        for batch in &applied.rows {
            let columns: Vec<_> = batch.registers().iter().map(|one| one.obis.0).collect();
            for row in batch.rows().expect("ours").iter() {
                let (ordinal, end_s, flag, values) = (row.ordinal, row.end_s, row.flag, row.values);
                let row = Row { ordinal, end_s, flag, values };
                let minutes = batch.interval_minutes();
                self.segments.merge(self.index, minutes, &columns, &[row]).expect("merged");
            }
        }
    }

    /// Values of A+ and A- in tenths of a Wh.
    fn bring(&mut self, ordinal: u32, end_s: i64, values: [i64; 2]) {
        let register = |obis| Register { obis, scaler: -1, unit: 30 };
        let registers = vec![register(Obis::ACTIVE_IMPORT), register(EXPORT)];
        let mut batch = BatchBuilder::new(15, registers);
        batch.push(ordinal, end_s, 0, &values.map(Some));
        let part = Part { lease: None, mark: None, batches: vec![batch.finish()] };
        let ingest = domain::readings::Change::Ingest(Ingest { parts: vec![part] });
        self.change(Change::Readings(ingest));
    }

    fn ask(&self, params: &ConflictParams) -> (Vec<Value>, Option<String>) {
        let page = listed(&self.view, &self.segments, params).expect("answered");
        let item = |item| serde_json::to_value(item).expect("JSON");
        (page.items.into_iter().map(item).collect(), page.next)
    }

    fn refused(&self, params: &ConflictParams) -> String {
        listed(&self.view, &self.segments, params).expect_err("refused").code.to_string()
    }
}

fn all() -> ConflictParams {
    ConflictParams { from: Some("0".into()), ..ConflictParams::default() }
}

/// M1 sends both registers otherwise at two times, once before and once after its day is sealed;
/// M3 sends one of them thrice.
fn history(street: &mut Street) {
    for ordinal in 0..3 {
        for slot in 1..=8 {
            street.bring(ordinal, slot * 900, [slot * 10, slot]);
        }
    }
    street.bring(0, 900, [11, 1]);
    let Seal { interval_minutes, shard, day, recipe } =
        Seal { interval_minutes: 15, shard: 0, day: 0, recipe: storage::segment::RECIPE_DAY };
    let key = DayKey { interval_minutes, shard, day };
    street.index += 1;
    street.segments.seal(street.index, key, recipe).expect("sealed");
    street.segments.settle(Duration::from_secs(60)).expect("settled");
    street.bring(0, 1800, [25, 3]);
    street.bring(2, 2700, [31, 3]);
    street.bring(2, 2700, [32, 3]);
    street.bring(1, 3600, [40, 4]);
}

/// Serial, register, time, and the values of a conflict.
fn brief(item: &Value) -> (String, String, String, Vec<f64>) {
    let text = |name: &str| item[name].as_str().expect("text").to_owned();
    let values = item["values"].as_array().expect("a list").iter();
    let values = values.map(|one| one["value"].as_f64().expect("a number")).collect();
    (text("serial"), text("obis"), text("time"), values)
}

fn line(
    serial: &str,
    obis: &str,
    time: &str,
    values: &[f64],
) -> (String, String, String, Vec<f64>) {
    let time = format!("1970-01-01T00:{time}:00Z");
    (serial.to_owned(), obis.to_owned(), time, values.to_vec())
}

#[test]
fn what_came_otherwise_is_listed_by_meter_and_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut street = Street::begin(dir.path());
    assert_eq!(street.ask(&all()), (vec![], None));
    history(&mut street);
    let expect = [
        line("M1", "1-0:1.8.0", "15", &[1.0, 1.1]),
        line("M1", "1-0:1.8.0", "30", &[2.0, 2.5]),
        line("M1", "1-0:2.8.0", "30", &[0.2, 0.3]),
        line("M3", "1-0:1.8.0", "45", &[3.0, 3.1, 3.2]),
    ];
    let (found, next) = street.ask(&all());
    assert_eq!((found.iter().map(brief).collect::<Vec<_>>(), next), (expect.to_vec(), None));
    assert_eq!(found[0]["values"][0]["quality"], "measured");
    assert_eq!(found[0]["values"][1]["quality"], "conflict");
    assert_eq!(
        (&found[0]["interval_minutes"], &found[0]["values"][0]["unit"]),
        (&json!(15), &json!("Wh"))
    );
    // Page by page, and by meter, register and time.
    let mut params = ConflictParams { limit: Some(1), ..all() };
    for line in &expect {
        let (found, next) = street.ask(&params);
        assert_eq!(found.iter().map(brief).collect::<Vec<_>>(), std::slice::from_ref(line));
        params.cursor = next;
    }
    assert_eq!(params.cursor, None, "the last page says so");
    let some = |params: ConflictParams| street.ask(&params).0.iter().map(brief).collect::<Vec<_>>();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(some(ConflictParams { meter: text("M3"), ..all() }), expect[3..]);
    assert_eq!(some(ConflictParams { meter: text("M2"), ..all() }), []);
    assert_eq!(some(ConflictParams { obis: text("1-0:2.8.0"), ..all() }), expect[2..3]);
    assert_eq!(some(ConflictParams { from: text("900"), to: text("1800"), ..all() }), expect[1..3]);
    assert_eq!(some(ConflictParams { interval: Some(0), ..all() }), []);
    assert_eq!(some(ConflictParams::default()), [], "the last 31 days are others");
}

#[test]
fn a_correction_stands_with_the_conflict_it_decides() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut street = Street::begin(dir.path());
    history(&mut street);
    let correct = Correct {
        ordinal: 0,
        interval_minutes: 15,
        obis: Obis::ACTIVE_IMPORT,
        from_s: 1800,
        values: vec![Some(25)],
        quality: Quality::Edited,
        reason: "the display was read".into(),
    };
    street.change(Change::Readings(domain::readings::Change::Correct(correct)));
    let (found, _) = street.ask(&ConflictParams { obis: Some("1-0:1.8.0".into()), ..all() });
    let decided = &found[1]["values"];
    assert_eq!((&decided[0]["value"], &decided[0]["measured"]), (&json!(2.5), &json!(2.0)));
    assert_eq!((&decided[0]["author"], &decided[1]["value"]), (&json!("admin"), &json!(2.5)));
}

#[test]
fn senseless_questions_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut street = Street::begin(dir.path());
    history(&mut street);
    let (_, cursor) = street.ask(&ConflictParams { limit: Some(1), ..all() });
    let text = |text: &str| Some(text.to_owned());
    for (params, code) in [
        (ConflictParams { meter: text("M9"), ..all() }, "unknown_meter"),
        (ConflictParams { obis: text("x"), ..all() }, "bad_obis"),
        (ConflictParams { from: text("900"), to: text("900"), ..all() }, "bad_range"),
        (ConflictParams { from: text("yesterday"), ..all() }, "bad_time"),
        (ConflictParams { cursor: text("M1"), ..all() }, "bad_cursor"),
        (ConflictParams { cursor: cursor.clone(), meter: text("M1"), ..all() }, "bad_cursor"),
    ] {
        assert_eq!(street.refused(&params), code, "{params:?}");
    }
}
