//! The collection counts against a plain model: a set of the slots that were stored.

use std::collections::{BTreeMap, BTreeSet};

use domain::assets::{self, Attach};
use domain::readings::{self, Answered, BatchBuilder, Ingest, Part, Refill, Register, flag};
use domain::{
    Author, Change, Device, Entry, MemoryView, NodeId, Obis, Proposal, ProposalId, Stamp, apply,
    leases,
};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::{prop_assert_eq, proptest};

const DAY_S: i64 = 86_400;
/// The stamp of every entry: some days into the time that is reckoned.
const NOW_S: i64 = 20_000 * DAY_S;

struct Field {
    view: MemoryView,
    index: u64,
}

impl Field {
    fn propose(&mut self, change: Change) {
        self.propose_by(Author::Operator("admin".into()), change);
    }

    fn propose_by(&mut self, author: Author, change: Change) {
        self.index += 1;
        let id = ProposalId(u128::from(self.index).to_be_bytes());
        let stamp = Stamp::from_seconds(u64::try_from(NOW_S).unwrap());
        let entry = Entry { stamp, proposal: Proposal { id, author, change } };
        let applied = apply(&self.view, self.index, &entry).unwrap();
        assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
        assert!(readings::taken(&applied.outcome).iter().all(|taken| *taken));
        self.view.apply(&applied);
    }

    fn with_a_meter() -> Field {
        let mut field = Field { view: MemoryView::default(), index: 0 };
        field.propose(Change::Assets(assets::Change::RegisterMeter {
            serial: "M1".into(),
            attach: Attach::Direct {
                address: "host:1".into(),
                client_sap: 16,
                server_sap: 1,
                authentication: assets::Authentication::None,
                security: assets::Security::default(),
                system_title: None,
            },
            model: String::new(),
        }));
        field
    }

    /// Its only meter is node 1's; gives the epoch.
    fn claim(&mut self) -> u64 {
        let node = NodeId(1);
        let renew = leases::Change::Renew { node, ttl_ms: 60_000 };
        self.propose_by(Author::Node(node), Change::Leases(renew));
        let claim = leases::Change::Claim {
            device: Device::Meter("M1".into()),
            node,
            channel: leases::Role::Dial,
            reason: leases::Reason::Login,
        };
        self.propose_by(Author::Node(node), Change::Leases(claim));
        leases::lease(&self.view, &Device::Meter("M1".into())).unwrap().unwrap().epoch
    }

    fn part(epoch: Option<u64>, ends_s: &[i64]) -> Part {
        let register = Register { obis: Obis::ACTIVE_IMPORT, scaler: 0, unit: 30 };
        let mut batch = BatchBuilder::new(15, vec![register]);
        for end_s in ends_s {
            batch.push(0, *end_s, 0, &[Some(1)]);
        }
        let lease = epoch.map(|epoch| (Device::Meter("M1".into()), epoch));
        Part { lease, mark: None, batches: vec![batch.finish()] }
    }

    fn store(&mut self, ends_s: &[i64], flag: u8) {
        let register = Register { obis: Obis::ACTIVE_IMPORT, scaler: 0, unit: 30 };
        let mut batch = BatchBuilder::new(15, vec![register]);
        for end_s in ends_s {
            batch.push(0, *end_s, flag, &[Some(1)]);
        }
        let part = Part { lease: None, mark: None, batches: vec![batch.finish()] };
        self.propose(Change::Readings(readings::Change::Ingest(Ingest { parts: vec![part] })));
    }
}

proptest! {
    #[test]
    fn stored_slots_count_once_whatever_their_order(
        batches in vec((vec(0..20 * 96_i64, 1..60), any::<bool>()), 1..12),
        from in 0..20 * 96_i64,
        length in 0..20 * 96_i64,
    ) {
        let mut field = Field::with_a_meter();
        let mut model = BTreeSet::new();
        let mut first_s = NOW_S;
        for (slots, measured) in batches {
            let ends_s: Vec<i64> = slots.iter().map(|slot| NOW_S - slot * 900).collect();
            field.store(&ends_s, if measured { 0 } else { flag::ESTIMATED });
            first_s = first_s.min(ends_s.iter().copied().min().unwrap_or(NOW_S) - 900);
            if measured {
                model.extend(ends_s);
            }
        }
        let (from_s, to_s) = (NOW_S - (from + length) * 900, NOW_S - from * 900);
        let found = readings::collection(&field.view, from_s, to_s).unwrap();
        let stored = model.iter().filter(|end_s| **end_s > from_s && **end_s <= to_s).count();
        prop_assert_eq!(found.stored, stored as u64);
        let due = (to_s - from_s.max(first_s)).max(0) / 900;
        prop_assert_eq!(found.expected, u64::try_from(due).unwrap());
    }
}

/// By which way values come, or what a meter says of them.
#[derive(Clone, Copy, Debug)]
enum Way {
    Push,
    Refill,
    Brought,
    Answered,
}

proptest! {
    #[test]
    fn gaps_are_what_is_due_and_neither_stored_nor_answered_for(
        steps in vec((0..4_u8, 0..8 * 96_i64, 1..120_i64), 1..16),
    ) {
        let mut field = Field::with_a_meter();
        let epoch = field.claim();
        let node = Author::Node(NodeId(1));
        let (mut first, mut origins, mut answered) =
            (NOW_S, BTreeMap::<i64, u8>::new(), BTreeSet::new());
        for (way, slot, length) in steps {
            let way = [Way::Push, Way::Refill, Way::Brought, Way::Answered][usize::from(way)];
            let to_s = NOW_S - slot * 900;
            let ends_s: Vec<i64> = (0..length).map(|slot| to_s - slot * 900).collect();
            let from_s = to_s - length * 900;
            match way {
                Way::Push => {
                    let parts = vec![Field::part(Some(epoch), &ends_s)];
                    let change = readings::Change::Ingest(Ingest { parts });
                    field.propose_by(node.clone(), Change::Readings(change));
                }
                Way::Brought => field.store(&ends_s, 0),
                Way::Refill | Way::Answered => {
                    let ends_s = if matches!(way, Way::Refill) { &ends_s[..] } else { &[] };
                    let part = Field::part(Some(epoch), ends_s);
                    let span = Answered { ordinal: 0, interval_minutes: 15, from_s, to_s };
                    let answered = if ends_s.is_empty() { vec![span] } else { Vec::new() };
                    let change = readings::Change::Refill(Refill { part, answered });
                    field.propose_by(node.clone(), Change::Readings(change));
                }
            }
            if matches!(way, Way::Answered) {
                answered.extend(ends_s);
            } else {
                first = first.min(from_s);
                for end_s in ends_s {
                    origins.entry(end_s).or_insert(way as u8);
                }
            }
        }
        let device = Device::Meter("M1".into());
        let window = (NOW_S - 11 * DAY_S, NOW_S);
        let holes = readings::holes(&field.view, &device, window, None, 9).unwrap();
        let found: Vec<i64> = holes.iter().flat_map(readings::slots_of).collect();
        let due = (0..).map(|slot| NOW_S - slot * 900).take_while(|end_s| *end_s > first);
        let mut gaps: Vec<i64> = due.filter(|end_s| !origins.contains_key(end_s)).collect();
        let missing = gaps.iter().filter(|end_s| answered.contains(end_s)).count();
        gaps.retain(|end_s| !answered.contains(end_s));
        gaps.reverse();
        prop_assert_eq!(found, gaps);
        let counted = readings::collection(&field.view, window.0, window.1).unwrap();
        let meter = assets::meter(&field.view, "M1").unwrap().unwrap();
        let all = readings::gaps_of(&field.view, &meter, window).unwrap();
        let of = |lost| all.iter().filter(|gap| gap.lost == lost).map(readings::Gap::slots).sum();
        let open: u64 = holes.iter().map(readings::Hole::slots).sum();
        prop_assert_eq!((of(true), of(false)), (missing as u64, open));
        let of = |way: Way| origins.values().filter(|origin| **origin == way as u8).count() as u64;
        prop_assert_eq!(
            (counted.first_pass(), counted.refilled, counted.brought, counted.missing),
            (of(Way::Push), of(Way::Refill), of(Way::Brought), missing as u64)
        );
    }
}

#[test]
fn rates_are_spread_by_nearest_rank() {
    let of = |stored| readings::Collection { expected: 10, stored, ..Default::default() };
    let all: Vec<readings::Collection> = (0..=10).map(of).collect();
    let spread = readings::spread(all.iter()).unwrap();
    let seen = [spread.least_ppm, spread.tenth_ppm, spread.median_ppm];
    assert_eq!(seen, [0, 100_000, 500_000]);
    assert_eq!((spread.ninetieth_ppm, spread.most_ppm), (900_000, 1_000_000));
    let nothing_due = readings::Collection::default();
    assert_eq!(readings::spread([&nothing_due].into_iter()), None);
    let one = readings::spread([&of(3), &nothing_due].into_iter()).unwrap();
    assert_eq!((one.concentrators, one.least_ppm, one.most_ppm), (1, 300_000, 300_000));
}

#[test]
fn what_is_kept_of_a_meter_is_bounded() {
    let mut field = Field::with_a_meter();
    for day in (0..200).rev() {
        field.store(&[NOW_S - day * DAY_S], 0);
    }
    assert_eq!(field.view.len(domain::Table::Progress), 1);
    let kept = field.view.len(domain::Table::DaySlots);
    assert!((59..=62).contains(&kept), "{kept}");
    // People brought them all, which is remembered as long as the days are.
    let origins = field.view.len(domain::Table::SlotOrigins);
    assert!((59..=64).contains(&origins), "{origins}");
    // The window is cut to the days that are kept, and says so.
    let found = readings::collection(&field.view, 0, i64::MAX).unwrap();
    assert_eq!((found.from_s, found.to_s), (NOW_S - 60 * DAY_S, NOW_S));
    assert_eq!((found.expected, found.stored), (60 * 96, 60));
    assert_eq!(found.rate_ppm(), Some(60 * 1_000_000 / (60 * 96)));
}
