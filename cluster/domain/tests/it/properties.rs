//! Random logs: what must hold whatever is proposed, by whom and in which order.

use std::collections::BTreeMap;

use domain::apply::{last_hash, last_stamp};
use domain::assets::{self, Attach, Authentication};
use domain::commands::{self, Attribute, Failure, Order, State};
use domain::keys::{self, KeyKind, WrapId};
use domain::leases::{self, Reason, Role};
use domain::readings::{self, BatchBuilder, Ingest, Mark, Part, Register, Seal};
use domain::{
    Applied, Author, Change, Device, Done, Entry, Fault, MemoryView, NodeId, Obis, Proposal,
    ProposalId, Stamp, Table, apply, audit,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use proptest::{option, prop_assert, prop_assert_eq, proptest};

/// A table that an area owns; the others belong to `apply` and hold its bookkeeping.
fn is_of_an_area(table: Table) -> bool {
    !matches!(table, Table::Meta | Table::Dedup | Table::DedupOrder | Table::Audit)
}

fn device() -> impl Strategy<Value = Device> {
    let concentrators = ["C1", "C2"].map(|name| Device::Concentrator(name.into()));
    let meters = ["M1", "M2", "D1"].map(|name| Device::Meter(name.into()));
    select([concentrators.to_vec(), meters.to_vec()].concat())
}

fn node() -> impl Strategy<Value = NodeId> {
    (1..4_u64).prop_map(NodeId)
}

fn asset() -> impl Strategy<Value = Change> {
    let concentrator = (select(vec!["C1", "C2"]), 0..3_u8).prop_map(|(id, title)| {
        let id = id.to_owned();
        let system_title = [title; 8];
        assets::Change::RegisterConcentrator { id, system_title, name: String::new() }
    });
    let attach = prop_oneof![
        select(vec!["C1", "C2"]).prop_map(|name| Attach::Behind { concentrator: name.into() }),
        option::of(0..3_u8).prop_map(|title| Attach::Direct {
            address: "host:4059".into(),
            client_sap: 16,
            server_sap: 1,
            authentication: Authentication::None,
            security: assets::Security::default(),
            system_title: title.map(|title| [title; 8]),
        }),
    ];
    let meter = (select(vec!["M1", "M2", "D1"]), attach).prop_map(|(serial, attach)| {
        assets::Change::RegisterMeter { serial: serial.into(), attach, model: String::new() }
    });
    let retire = device().prop_map(|device| assets::Change::Retire { device });
    prop_oneof![4 => concentrator, 6 => meter, 1 => retire].prop_map(Change::Assets)
}

fn key() -> impl Strategy<Value = Change> {
    let install = (device(), 10..30_usize).prop_map(|(device, octets)| keys::Change::Install {
        device,
        kind: KeyKind::Guek,
        wrapped: vec![1; octets],
        wrap: WrapId([0; 8]),
    });
    let count = prop_oneof![0..5_u32, Just(1_000_000), any::<u32>()];
    let reserve =
        (device(), count).prop_map(|(device, count)| keys::Change::Reserve { device, count });
    let raise = (device(), prop_oneof![0..1000_u32, any::<u32>()])
        .prop_map(|(device, at_least)| keys::Change::RaiseCounter { device, at_least });
    prop_oneof![1 => install, 4 => reserve, 1 => raise].prop_map(Change::Keys)
}

fn lease() -> impl Strategy<Value = Change> {
    let renew =
        (node(), 0..5000_u32).prop_map(|(node, ttl_ms)| leases::Change::Renew { node, ttl_ms });
    let reason = select(vec![
        Reason::Login,
        Reason::Promoted,
        Reason::OwnerLost,
        Reason::Ordered,
        Reason::Returned,
    ]);
    let claim = (device(), node(), reason).prop_map(|(device, node, reason)| {
        leases::Change::Claim { device, node, channel: Role::Main, reason }
    });
    let release = (device(), node(), 0..6_u64)
        .prop_map(|(device, node, epoch)| leases::Change::Release { device, node, epoch });
    let standby = (device(), node(), any::<bool>())
        .prop_map(|(device, node, up)| leases::Change::Standby { device, node, up });
    let switch = (device(), option::of(node()))
        .prop_map(|(device, to)| leases::Change::Switch { device, to });
    prop_oneof![2 => renew, 5 => claim, 1 => release, 1 => standby, 1 => switch]
        .prop_map(Change::Leases)
}

fn command() -> impl Strategy<Value = Change> {
    let id = || (1..5_u8).prop_map(|id| ProposalId([id; 16]));
    let queue = (id(), select(vec!["C1", "M1", "D1"]), 0..40_u64).prop_map(|(id, target, s)| {
        let attributes = vec![Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 }];
        let order = Order::Read { attributes };
        let expires = Stamp::from_seconds(s);
        commands::Change::Queue { id, target: target.into(), order, expires }
    });
    let sent = (id(), node(), 0..6_u64).prop_map(|(id, node, epoch)| commands::Change::Sent {
        id,
        node,
        epoch,
    });
    let result = prop_oneof![Just(Ok(Vec::new())), Just(Err(Failure::NoAnswer))];
    let settle = (id(), 0..6_u64, result)
        .prop_map(|(id, epoch, result)| commands::Change::Settle { id, epoch, result });
    let unsent = (id(), node(), 0..6_u64).prop_map(|(id, node, epoch)| commands::Change::Unsent {
        id,
        node,
        epoch,
        failure: Failure::NoChannel,
    });
    let expire = id().prop_map(|id| commands::Change::Expire { id });
    let cancel = id().prop_map(|id| commands::Change::Cancel { id });
    prop_oneof![3 => queue, 3 => sent, 2 => settle, 1 => unsent, 1 => expire, 1 => cancel]
        .prop_map(Change::Commands)
}

fn reading() -> impl Strategy<Value = Change> {
    let row = (0..5_u32, (0..8_i64).prop_map(|slot| slot * 450), option::of(any::<i64>()));
    let part = (option::of((device(), 0..6_u64)), any::<u32>(), 0..2_i8, vec(row, 0..6));
    let ingest = vec(part, 0..4).prop_map(|parts| {
        let parts = parts.into_iter().map(|(lease, sequence, scaler, rows)| {
            let register = Register { obis: Obis::ACTIVE_IMPORT, scaler, unit: 30 };
            let mut batch = BatchBuilder::new(15, vec![register]);
            for (ordinal, end_s, value) in rows {
                batch.push(ordinal, end_s, 0, &[value]);
            }
            let concentrator = "C1".to_owned();
            let mark = Some(Mark { concentrator, sequence, counter: sequence });
            Part { lease, mark, batches: vec![batch.finish()] }
        });
        readings::Change::Ingest(Ingest { parts: parts.collect() })
    });
    let seal = (0..2_u32, 0..2_i32).prop_map(|(shard, day)| {
        readings::Change::Seal(Seal { interval_minutes: 15, shard, day, recipe: 1 })
    });
    prop_oneof![6 => ingest, 1 => seal].prop_map(Change::Readings)
}

fn entry() -> impl Strategy<Value = Entry> {
    let author = prop_oneof![
        4 => Just(Author::Operator("admin".into())),
        4 => node().prop_map(Author::Node),
        1 => Just(Author::Bootstrap),
    ];
    let change = prop_oneof![asset(), key(), lease(), command(), reading()];
    // Few ids, so that they repeat; stamps that go forth and back.
    (0..400_u128, 0..50_u64, author, change).prop_map(|(id, seconds, author, change)| Entry {
        stamp: Stamp::from_seconds(seconds),
        proposal: Proposal { id: ProposalId(id.to_be_bytes()), author, change },
    })
}

/// What must stay true from entry to entry.
#[derive(Default)]
struct Witness {
    ordinals: BTreeMap<u32, String>,
    counters: BTreeMap<Device, u32>,
    owners: BTreeMap<(Device, u64), NodeId>,
    ends: BTreeMap<ProposalId, State>,
    stamp: Stamp,
}

impl Witness {
    fn see(&mut self, view: &MemoryView, entry: &Entry, applied: &Applied) -> Result<(), Fault> {
        if applied.outcome.is_err() {
            assert!(applied.writes.iter().all(|write| !is_of_an_area(write.table)));
            assert!(applied.rows.is_empty() && applied.seals.is_empty());
            assert!(applied.effects.is_empty());
        }
        let stamp = last_stamp(view)?;
        assert!(stamp >= self.stamp, "the stamp went back");
        self.stamp = stamp;
        // A repeated answer is no second grant.
        if !applied.writes.is_empty() {
            self.see_outcome(entry, applied);
        }
        for command in commands::recent(view, None, 100)? {
            if let Some(end) = self.ends.get(&command.id) {
                assert_eq!(*end, command.state, "an end state was left");
            }
            if matches!(
                command.state,
                State::Acknowledged | State::Failed | State::Expired | State::Cancelled
            ) {
                self.ends.insert(command.id, command.state);
            }
        }
        Ok(())
    }

    fn see_outcome(&mut self, entry: &Entry, applied: &Applied) {
        match (&entry.proposal.change, &applied.outcome) {
            (
                Change::Assets(assets::Change::RegisterMeter { serial, .. }),
                Ok(Done::Meter { ordinal }),
            ) => {
                let owner = self.ordinals.entry(*ordinal).or_insert_with(|| serial.clone());
                assert_eq!(owner, serial, "an ordinal was given twice");
            }
            (
                Change::Keys(keys::Change::Reserve { device, .. }),
                Ok(Done::Counters { first, count }),
            ) => {
                let next = self.counters.entry(device.clone()).or_insert(1);
                assert!(first >= next, "a counter was given twice");
                *next = first.checked_add(*count).unwrap();
            }
            (
                Change::Leases(leases::Change::Claim { device, node, .. }),
                Ok(Done::Lease { epoch }),
            ) => {
                let before = self.owners.insert((device.clone(), *epoch), *node);
                assert_eq!(before, None, "an epoch was granted twice");
            }
            _ => {}
        }
    }
}

fn run(entries: &[Entry]) -> Result<(), TestCaseError> {
    let (mut one, mut other) = (MemoryView::default(), MemoryView::default());
    let mut witness = Witness::default();
    for (position, entry) in entries.iter().enumerate() {
        let index = 3 * position as u64 + 1;
        let applied = apply(&one, index, entry).unwrap();
        // The other replica reads the entry from its log.
        let octets = entry.encode().unwrap();
        let again = apply(&other, index, &Entry::decode(&octets).unwrap()).unwrap();
        prop_assert_eq!(&applied, &again);
        one.apply(&applied);
        other.apply(&again);
        witness.see(&one, entry, &applied).unwrap();
        prop_assert!(apply(&one, last_hash(&one).unwrap().0, entry).is_err());
    }
    prop_assert!(audit::verify(&one).unwrap().is_ok());
    prop_assert_eq!(one, other);
    Ok(())
}

proptest! {
    #[test]
    fn every_log_keeps_the_promises(entries in vec(entry(), 1..150)) {
        run(&entries)?;
    }

    #[test]
    fn damaged_entries_never_panic(
        entry in entry(), at in any::<proptest::sample::Index>(), octet in any::<u8>()
    ) {
        let mut octets = entry.encode().unwrap();
        let at = at.index(octets.len());
        octets[at] = octet;
        if let Ok(entry) = Entry::decode(&octets) {
            _ = apply(&MemoryView::default(), 1, &entry);
        }
    }
}

#[test]
fn another_history_has_another_hash() {
    let change = |serial: &str| {
        Change::Assets(assets::Change::RegisterConcentrator {
            id: serial.into(),
            system_title: [1; 8],
            name: String::new(),
        })
    };
    let hash = |index: u64, seconds: u64, serial: &str| {
        let proposal =
            Proposal { id: ProposalId([1; 16]), author: Author::Bootstrap, change: change(serial) };
        let entry = Entry { stamp: Stamp::from_seconds(seconds), proposal };
        apply(&MemoryView::default(), index, &entry).unwrap().hash
    };
    let base = hash(1, 10, "C1");
    assert_eq!(base, hash(1, 10, "C1"));
    for other in [hash(2, 10, "C1"), hash(1, 11, "C1"), hash(1, 10, "C2")] {
        assert_ne!(base, other);
    }
}

#[test]
fn an_edited_trail_is_found_out() {
    let mut view = MemoryView::default();
    for index in 1..=5 {
        let change = Change::Assets(assets::Change::RegisterConcentrator {
            id: format!("C{index}"),
            system_title: u64::to_be_bytes(index),
            name: String::new(),
        });
        let id = ProposalId(u128::from(index).to_be_bytes());
        let proposal = Proposal { id, author: Author::Operator("admin".into()), change };
        let applied = apply(&view, index, &Entry { stamp: Stamp(index), proposal }).unwrap();
        view.apply(&applied);
    }
    assert_eq!(audit::verify(&view).unwrap(), Ok(5));
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        view.rows(Table::Audit).map(|(key, row)| (key.to_vec(), row.to_vec())).collect();
    let tamper = |at: usize, value: Option<Vec<u8>>| {
        let mut tampered = view.clone();
        let write = domain::Write { table: Table::Audit, key: rows[at].0.clone(), value };
        tampered.apply(&Applied {
            outcome: Ok(Done::Noted),
            writes: vec![write],
            rows: Vec::new(),
            seals: Vec::new(),
            compactions: Vec::new(),
            effects: Vec::new(),
            hash: [0; 32],
        });
        audit::verify(&tampered).unwrap().map_err(|broken| broken.sequence)
    };
    assert_eq!(tamper(1, None), Err(2), "removed in the middle");
    assert_eq!(tamper(4, None), Err(5), "cut at the end");
    assert_eq!(tamper(2, Some(rows[1].1.clone())), Err(3), "moved");
    let record = audit::records(&view, 2, 1).unwrap().remove(0);
    let edited = audit::Record { operator: "igor".into(), ..record };
    assert_eq!(tamper(2, Some(postcard::to_allocvec(&edited).unwrap())), Err(3), "edited");
}

/// The cluster's signatures stand in the trail; what they are not about, they are refused for.
#[test]
fn a_trail_is_signed_by_the_hour_and_by_the_thousand() {
    let mut view = MemoryView::default();
    let mut index = 0;
    let mut go = |view: &mut MemoryView, at_s: u64, author: Author, change: Change| {
        index += 1;
        let proposal = Proposal { id: ProposalId(u128::from(index).to_be_bytes()), author, change };
        let entry = Entry { stamp: Stamp::from_seconds(at_s), proposal };
        let applied = apply(view, index, &entry).unwrap();
        view.apply(&applied);
        applied.outcome.map_err(|refusal| refusal.code.to_string())
    };
    let deed = |n: u64| {
        Change::Assets(assets::Change::RegisterConcentrator {
            id: format!("C{n}"),
            system_title: u64::to_be_bytes(n),
            name: String::new(),
        })
    };
    let sign = |record: &audit::Record, octets: usize| {
        let (sequence, hash) = (record.sequence, record.hash);
        Change::Audit(audit::Change::Signed { sequence, hash, signature: vec![7; octets] })
    };
    let due = |view: &MemoryView, at_s: u64| {
        audit::due_signature(view, Stamp::from_seconds(at_s)).unwrap()
    };
    let (admin, node) = (|| Author::Operator("admin".into()), || Author::Node(NodeId(1)));
    assert_eq!(due(&view, 0), None, "nothing there");
    go(&mut view, 10, admin(), deed(1)).unwrap();
    let first = due(&view, 10).expect("the first of all at once");
    assert_eq!(go(&mut view, 11, node(), sign(&first, 63)), Err("bad_signature".into()));
    let other = audit::Record { hash: [1; 32], ..first.clone() };
    assert_eq!(go(&mut view, 11, node(), sign(&other, 64)), Err("bad_signature".into()));
    assert_eq!(go(&mut view, 11, admin(), sign(&first, 64)), Err("not_allowed".into()));
    go(&mut view, 11, node(), sign(&first, 64)).unwrap();
    assert_eq!(due(&view, 90_000), None, "nothing new behind the signature");
    go(&mut view, 100, admin(), deed(2)).unwrap();
    assert_eq!(due(&view, 3_699), None);
    assert_eq!(due(&view, 3_700).map(|record| record.operator), Some("admin".to_owned()));
    for n in 3..1_001 {
        go(&mut view, 100, admin(), deed(n)).unwrap();
    }
    assert_eq!(due(&view, 101), None);
    go(&mut view, 100, admin(), deed(1_001)).unwrap();
    let thousandth = due(&view, 101).expect("a thousand without one");
    go(&mut view, 101, node(), sign(&thousandth, 64)).unwrap();
    let whole = audit::verify_signed(&view, |_, _, signature| signature == [7; 64]).unwrap();
    assert_eq!(whole.map(|whole| whole.signed), Ok(2));
    let found = audit::verify_signed(&view, |sequence, _, _| sequence == first.sequence).unwrap();
    let last = audit::last(&view).unwrap();
    assert_eq!(found.map_err(|broken| broken.sequence), Err(last), "the second does not hold");
}
