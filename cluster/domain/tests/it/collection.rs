//! The collection counts against a plain model: a set of the slots that were stored.

use std::collections::BTreeSet;

use domain::assets::{self, Attach};
use domain::readings::{self, BatchBuilder, Ingest, Part, Register, flag};
use domain::{Author, Change, Entry, MemoryView, Obis, Proposal, ProposalId, Stamp, apply};
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
        self.index += 1;
        let id = ProposalId(u128::from(self.index).to_be_bytes());
        let author = Author::Operator("olga".into());
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

#[test]
fn what_is_kept_of_a_meter_is_bounded() {
    let mut field = Field::with_a_meter();
    for day in (0..200).rev() {
        field.store(&[NOW_S - day * DAY_S], 0);
    }
    assert_eq!(field.view.len(domain::Table::Progress), 1);
    let kept = field.view.len(domain::Table::DaySlots);
    assert!((59..=62).contains(&kept), "{kept}");
    // The window is cut to the days that are kept, and says so.
    let found = readings::collection(&field.view, 0, i64::MAX).unwrap();
    assert_eq!((found.from_s, found.to_s), (NOW_S - 60 * DAY_S, NOW_S));
    assert_eq!((found.expected, found.stored), (60 * 96, 60));
    assert_eq!(found.rate_ppm(), Some(60 * 1_000_000 / (60 * 96)));
}
