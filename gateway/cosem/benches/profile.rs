//! The load profile of the performance anchors: 1,920 rows of octet-string 12, u8, u32, u32, that
//! is 7,680 values in 53,764 octets. Each line says nanoseconds a value; criterion's own reports
//! follow. `dlms-cosem-rs` walks the same octets in the same run.

use std::hint::black_box;

use cosem::data::Data;
use cosem::datetime::DateTime;
use cosem::profile::{Cell, Layout, Rows};
use cosem::{Keys, SecurityControl, security};
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dlms_cosem_rs::axdr::Data as Theirs;
use dlms_cosem_rs::codec::{Decode, Reader};

const ROWS: u32 = 1_920;
const VALUES: u64 = 4 * ROWS as u64;
const LAYOUT: Layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };
const TITLE: [u8; 8] = *b"HFD\0\0\0\0\x01";

fn profile() -> Data {
    let row = |at: u32| {
        let end_s = 1_700_000_100 + i64::from(at) * 900;
        Data::Structure(vec![
            Data::clock(DateTime::from_unix_s(end_s, -60, 0)),
            Data::U8(0),
            Data::U32(1_000_000 + at * 37),
            Data::U32(2_000 + at),
        ])
    };
    Data::Array((0..ROWS).map(row).collect())
}

/// Reads every value of every row into a sum, which is compared with the one expected.
fn typed_rows(octets: &[u8]) -> i64 {
    let mut sum = 0i64;
    let mut rows = Rows::new(octets, LAYOUT).expect("our own encoding");
    while let Some(row) = rows.next_row().expect("our own encoding") {
        sum += row.end_s.unwrap_or_default();
        for cell in &row.cells {
            if let Cell::Integer(value) = cell {
                sum += value;
            }
        }
    }
    sum
}

/// The same through the other crate's borrowed walk; it does not reckon times.
fn their_walk(octets: &[u8]) -> i64 {
    let mut sum = 0i64;
    let data = Theirs::decode(&mut Reader::new(octets)).expect("our own encoding");
    let Theirs::Array(rows) = data else { return 0 };
    for row in rows.iter() {
        let Ok(Theirs::Structure(cells)) = row else { return 0 };
        for cell in cells.iter() {
            match cell {
                Ok(Theirs::DoubleLongUnsigned(value)) => sum += i64::from(value),
                Ok(Theirs::Unsigned(value)) => sum += i64::from(value),
                Ok(Theirs::OctetString(octets)) => sum += octets.len() as i64,
                _ => return 0,
            }
        }
    }
    sum
}

/// Prints the best of many runs in nanoseconds a value, then lets criterion measure.
fn measure<T>(group: &mut Group<'_>, name: &str, mut run: impl FnMut() -> T) {
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = WallTime.start();
        black_box(run());
        best = best.min(WallTime.end(start).as_secs_f64());
    }
    println!("{name:<44} {:>7.2} ns a value", best * 1e9 / VALUES as f64);
    group.bench_function(name, |bencher| bencher.iter(&mut run));
}

type Group<'a> = criterion::BenchmarkGroup<'a, WallTime>;

fn profiles(criterion: &mut Criterion) {
    let data = profile();
    let octets = data.to_axdr();
    assert_eq!(octets.len(), 53_764);
    let expect: i64 = (0..i64::from(ROWS))
        .map(|at| 1_700_000_100 + at * 900 + 1_000_000 + at * 37 + 2_000 + at)
        .sum();
    assert_eq!(typed_rows(&octets), expect);
    assert_ne!(their_walk(&octets), 0);

    let keys = Keys::new(&[1; 16], &[2; 16]);
    let both = SecurityControl::BOTH;
    let seal = |plain: &[u8]| security::seal(&keys, both, &TITLE, 7, plain).expect("suite 0");
    let open = |sealed: &[u8]| security::open(&keys, both, &TITLE, 7, sealed).expect("sealed");
    let sealed = seal(&octets);

    let mut group = criterion.benchmark_group("profile of 7,680 values");
    group.throughput(Throughput::Elements(VALUES)).sample_size(30);
    measure(&mut group, "encode Data", || data.to_axdr());
    measure(&mut group, "encode Data, authenticate and encrypt", || seal(&data.to_axdr()));
    measure(&mut group, "authenticate and encrypt alone", || seal(&octets));
    measure(&mut group, "decode to typed rows", || typed_rows(&octets));
    measure(&mut group, "open, decode to typed rows", || typed_rows(&open(&sealed)));
    measure(&mut group, "open alone", || open(&sealed));
    measure(&mut group, "decode to Data", || Data::decode(&octets).expect("our own encoding"));
    measure(&mut group, "open, decode to Data", || {
        Data::decode(&open(&sealed)).expect("our own encoding")
    });
    measure(&mut group, "dlms-cosem-rs: borrowed walk", || their_walk(&octets));
    group.finish();
}

criterion_group!(benches, profiles);
criterion_main!(benches);
