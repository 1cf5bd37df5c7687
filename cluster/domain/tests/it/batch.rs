//! The encoding of batches: nothing is lost, nothing panics, and it is small.

use domain::readings::{Batch, BatchBuilder, MAX_REGISTERS, MAX_ROWS, Register};
use domain::{Entry, Obis};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

type Row = (u32, i64, u8, Vec<Option<i64>>);

fn registers(count: usize) -> Vec<Register> {
    let register = |position: usize| Register {
        obis: Obis([1, 0, u8::try_from(position).unwrap(), 8, 0, 255]),
        scaler: 0,
        unit: 30,
    };
    (0..count).map(register).collect()
}

fn build(interval_minutes: u16, columns: usize, rows: &[Row]) -> Batch {
    let mut batch = BatchBuilder::new(interval_minutes, registers(columns));
    for (ordinal, end_s, flag, values) in rows {
        assert!(batch.push(*ordinal, *end_s, *flag, values));
    }
    batch.finish()
}

fn read(batch: &Batch) -> Vec<Row> {
    let rows = batch.rows().unwrap();
    rows.iter().map(|row| (row.ordinal, row.end_s, row.flag, row.values.to_vec())).collect()
}

/// Rows as they come and rows as nobody sends them: few meters and dense times, or anything.
fn rows(columns: usize) -> impl Strategy<Value = Vec<Row>> {
    let usual = (0..4_u32, (0..40_i64).prop_map(|slot| slot * 900));
    let values = option::of(prop_oneof![0..2000_i64, any::<i64>()]);
    let row = (prop_oneof![usual, (any::<u32>(), any::<i64>())], prop_oneof![0..2_u8, any::<u8>()])
        .prop_map(|((ordinal, end_s), flag)| (ordinal, end_s, flag));
    let row = (row, vec(values, columns))
        .prop_map(|((ordinal, end_s, flag), values)| (ordinal, end_s, flag, values));
    vec(row, 0..120)
}

proptest! {
    #[test]
    fn rows_come_back_sorted(interval in 0..61_u16, mut rows in rows(2)) {
        let batch = build(interval, 2, &rows);
        let octets = batch_octets(&batch);
        rows.sort_by_key(|row| (row.0, row.1));
        prop_assert_eq!(batch.len(), rows.len());
        prop_assert_eq!(read(&batch), rows.clone());
        let again: Batch = decode(&octets).unwrap();
        prop_assert_eq!(read(&again), rows);
    }

    #[test]
    fn no_octets_panic(octets in vec(any::<u8>(), 0..300), claimed in 0..40_u32) {
        if let Some(batch) = decode(&octets) {
            _ = batch.rows();
        }
        // A plausible head before the garbage, so that it gets as far as the columns.
        let head = [&[15, 1, 1, 0, 1, 8, 0, 255, 0, 30, u8::try_from(claimed).unwrap()][..]];
        let mut framed = head.concat();
        framed.extend(u8::try_from(octets.len().min(127)).ok());
        framed.extend(octets.iter().take(127));
        let batch = decode(&framed).unwrap();
        prop_assert_eq!(batch.len(), claimed as usize);
        if let Ok(rows) = batch.rows() {
            prop_assert_eq!(rows.len(), claimed as usize);
        }
        _ = Entry::decode(&octets);
        _ = Entry::decode(&[&[1][..], &octets].concat());
    }

    #[test]
    fn a_damaged_batch_is_refused_or_has_its_rows(
        rows in rows(2), at in any::<proptest::sample::Index>(), octet in any::<u8>()
    ) {
        let mut octets = batch_octets(&build(15, 2, &rows));
        let at = at.index(octets.len());
        octets[at] = octet;
        if let Some(batch) = decode(&octets)
            && let Ok(rows) = batch.rows() {
                prop_assert_eq!(rows.len(), batch.len());
            }
    }
}

#[test]
fn a_batch_is_bounded() {
    let mut batch = BatchBuilder::new(15, registers(40));
    for row in 0..MAX_ROWS {
        assert!(batch.push(1, i64::try_from(row).unwrap() * 900, 0, &[Some(1)]));
    }
    assert!(!batch.push(1, 0, 0, &[]));
    let batch = batch.finish();
    assert_eq!((batch.registers().len(), batch.len()), (MAX_REGISTERS, MAX_ROWS));
    assert_eq!(batch.rows().unwrap().len(), MAX_ROWS);
    // A few octets that claim a full batch of constants hold no more than a full batch.
    let bomb = [&[15, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0][..]].concat();
    assert!(decode(&bomb).unwrap().rows().is_err());
}

#[test]
fn steady_rows_are_small() {
    // A day of 50 meters: import with a daily shape and noise, in Wh; export at rest.
    let mut seed = 12_345_u64;
    let mut noise = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(seed >> 33).unwrap()
    };
    for slots in [1, 4, 16, 96] {
        let mut batch = BatchBuilder::new(15, registers(2));
        for ordinal in 0..50 {
            let (mut import, export) = (10_000_000 + noise() % 10_000_000, noise() % 100_000);
            for slot in 1..=slots {
                let shape = if (28..40).contains(&slot) || slot > 68 { 250 } else { 40 };
                import += shape + noise() % (2 * shape);
                batch.push(ordinal, slot * 900, 0, &[Some(import), Some(export)]);
            }
        }
        let (rows, octets) = (batch.len(), batch.finish().octets());
        println!("{slots} rows a meter: {} millioctets a row", octets * 1000 / rows);
        assert!(slots < 4 || octets <= 5 * rows, "{octets} octets for {rows} rows");
    }
}

fn batch_octets(batch: &Batch) -> Vec<u8> {
    postcard::to_allocvec(batch).unwrap()
}

fn decode(octets: &[u8]) -> Option<Batch> {
    postcard::from_bytes(octets).ok()
}
