//! A month's whole way: stored, folded, archived by a parameter, read from there, forgotten; the
//! log and the files of two nodes played by hand.

use std::path::Path;
use std::time::Duration;

use domain::assets::{Attach, Authentication};
use domain::readings::{BatchBuilder, Compact, Ingest, Part, Register, Seal};
use domain::{
    Author, Change, Entry as LogEntry, MemoryView, NodeId, Obis, Proposal, ProposalId, Stamp,
    apply, assets, parameters, readings,
};
use storage::segment::{DayKey, LEVEL_MONTH, MonthKey, Row};
use storage::{Config, Metrics, Segments};

use super::{carry_out, settle};

const DAY_S: u64 = 86_400;
const WAIT: Duration = Duration::from_secs(60);

/// Nodes fed with one log.
struct Nodes {
    view: MemoryView,
    segments: Vec<Segments>,
    index: u64,
    now_s: u64,
}

impl Nodes {
    fn propose(&mut self, author: Author, change: Change) -> Result<(), String> {
        self.index += 1;
        let id = ProposalId(u128::from(self.index).to_be_bytes());
        let proposal = Proposal { id, author, change };
        let entry = LogEntry { stamp: Stamp::from_seconds(self.now_s), proposal };
        let applied = apply(&self.view, self.index, &entry).expect("no fault");
        self.view.apply(&applied);
        for segments in &self.segments {
            for batch in &applied.rows {
                let rows = batch.rows().expect("ours");
                let columns: Vec<_> = batch.registers().iter().map(|one| one.obis.0).collect();
                for row in rows.iter() {
                    let row = Row {
                        ordinal: row.ordinal,
                        end_s: row.end_s,
                        flag: row.flag,
                        values: row.values,
                    };
                    let minutes = batch.interval_minutes();
                    segments.merge(self.index, minutes, &columns, &[row]).expect("merged");
                }
            }
            for Seal { interval_minutes, shard, day, recipe } in applied.seals.iter().copied() {
                let key = DayKey { interval_minutes, shard, day };
                segments.seal(self.index, key, recipe).expect("sealed");
            }
            for Compact { interval_minutes, shard, month, recipe, .. } in
                applied.compactions.iter().copied()
            {
                let month = MonthKey { interval_minutes, shard, month };
                segments.compact(self.index, month, recipe).expect("noted");
            }
            segments.settle(WAIT).expect("settled");
        }
        applied.outcome.map(drop).map_err(|refusal| refusal.code.to_string())
    }

    fn by_operator(&mut self, change: Change) {
        self.propose(Author::Operator("admin".into()), change).expect("granted");
    }

    fn by_node(&mut self, change: readings::Change) -> Result<(), String> {
        self.propose(Author::Node(NodeId(1)), Change::Readings(change))
    }

    fn set(&mut self, name: &str, value: u32) {
        let reason = "a test".to_owned();
        let change =
            parameters::Change::Set { name: name.to_owned(), value, from: None, seen: 0, reason };
        self.by_operator(Change::Parameters(change));
    }

    fn due(&self) -> Vec<readings::Due> {
        readings::due_tiers(&self.view, Stamp::from_seconds(self.now_s), 10).expect("no fault")
    }

    fn values(&self) -> Vec<usize> {
        let query = |one: &Segments| one.query(15, 0, Obis::ACTIVE_IMPORT.0, 0, i64::MAX);
        self.segments.iter().map(|one| query(one).expect("whole").len()).collect()
    }
}

fn start(dir: &Path) -> Nodes {
    let segments = ["one", "two"].map(|name| {
        let dir = dir.join(name);
        Segments::open(&dir, &Config::for_test(&dir), &Metrics::unregistered()).expect("opened")
    });
    let segments = segments.to_vec();
    Nodes { view: MemoryView::default(), segments, index: 0, now_s: DAY_S }
}

/// A folded January 1970 with two values.
fn january(nodes: &mut Nodes) {
    let attach = Attach::Direct {
        address: "127.0.0.1:4059".into(),
        client_sap: 16,
        server_sap: 1,
        authentication: Authentication::None,
        security: assets::Security::default(),
        system_title: None,
    };
    let meter = assets::Change::RegisterMeter { serial: "M1".into(), attach, model: String::new() };
    nodes.by_operator(Change::Assets(meter));
    let register = Register { obis: Obis::ACTIVE_IMPORT, scaler: 0, unit: 30 };
    let mut batch = BatchBuilder::new(15, vec![register]);
    batch.push(0, 900, 0, &[Some(100)]);
    batch.push(0, 1800, 0, &[Some(160)]);
    let part = Part { lease: None, mark: None, batches: vec![batch.finish()] };
    let ingest = readings::Change::Ingest(Ingest { parts: vec![part] });
    nodes.by_operator(Change::Readings(ingest));
    nodes.now_s = 3 * DAY_S;
    let due = readings::due_seals(&nodes.view, Stamp::from_seconds(nodes.now_s)).expect("due");
    nodes.by_node(readings::Change::Seal(due[0])).expect("sealed");
    nodes.now_s = 70 * DAY_S;
    let due = readings::due_compactions(&nodes.view, Stamp::from_seconds(nodes.now_s));
    nodes.by_node(readings::Change::Compact(due.expect("due")[0])).expect("folded");
}

#[test]
fn a_month_goes_to_the_archive_and_in_the_end_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut nodes = start(dir.path());
    january(&mut nodes);
    let place = dir.path().join("archive");
    nodes.now_s = 200 * DAY_S;
    assert_eq!(nodes.due(), [], "nothing is said of retention");
    nodes.set(parameters::PROFILES_ONLINE, 3);
    let due = nodes.due();
    assert_eq!(due.len(), 1);
    let none = carry_out(&nodes.segments[0], due[0]).expect("no fault");
    assert_eq!(none, None, "without an archive nothing is copied");
    for segments in &nodes.segments {
        segments.set_archive(place.to_str().expect("text"), 1 << 20).expect("a place");
    }
    let change = carry_out(&nodes.segments[0], due[0]).expect("copied").expect("a change");
    // Before the entry every local file stays.
    for segments in &nodes.segments {
        settle(&nodes.view, segments).expect("settled");
        assert!(segments.entries().iter().any(|entry| entry.level == LEVEL_MONTH));
    }
    let copied = std::fs::read_dir(place.join("lp15/shard-00000")).expect("copied").count();
    assert_eq!(copied, 1);
    nodes.by_node(change.clone()).expect("archived");
    assert_eq!(nodes.by_node(change), Err("already_archived".into()));
    for segments in &nodes.segments {
        assert_eq!(settle(&nodes.view, segments).expect("settled"), Vec::<String>::new());
        assert_eq!(segments.entries(), [], "both nodes let it go");
    }
    assert_eq!(nodes.values(), [2, 2], "and both read it");
    assert_eq!((nodes.due(), nodes.segments[0].digest()), (vec![], nodes.segments[1].digest()));
    nodes.set(parameters::PROFILES_KEPT, 13);
    assert_eq!(nodes.due(), [], "not yet");
    nodes.now_s = 500 * DAY_S;
    let due = nodes.due();
    let change = carry_out(&nodes.segments[0], due[0]).expect("no fault").expect("a change");
    nodes.by_node(change).expect("forgotten");
    for segments in &nodes.segments {
        settle(&nodes.view, segments).expect("settled");
    }
    assert_eq!((nodes.values(), nodes.due()), (vec![0, 0], vec![]));
    let left = std::fs::read_dir(place.join("lp15/shard-00000")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the archive's file is gone too");
}
