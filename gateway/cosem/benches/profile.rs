//! The load profile of the performance anchors: 1,920 rows of octet-string 12, u8, u32, u32, that
//! is 7,680 values in 53,764 octets, against AES-GCM alone and against `dlms-cosem-rs` in the
//! same run. Everything runs once a round and the rounds are compared, because a machine is never
//! idle throughout; criterion's own reports follow.

use std::hint::black_box;
use std::time::Duration;

use aes::Aes128;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, Nonce, Tag};
use cosem::association::seal_encoded;
use cosem::data::Data;
use cosem::datetime::DateTime;
use cosem::profile::{Cell, Layout, Rows};
use cosem::{Keys, SecurityControl, security};
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dlms_cosem_rs::axdr::Data as Theirs;
use dlms_cosem_rs::codec::{Decode, Reader};
use dlms_cosem_rs::security::{
    KeyRing, Protector, RustCryptoProvider, SecurityPolicy, SecuritySuite, SystemTitle,
};
use dlms_cosem_rs::xdlms::SecurityControl as TheirControl;

const ROWS: u32 = 1_920;
const VALUES: u64 = 4 * ROWS as u64;
const LAYOUT: Layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };
const TITLE: [u8; 8] = *b"HFD\0\0\0\0\x01";
const COUNTER: u32 = 7;
const GUEK: [u8; 16] = [1; 16];
const GAK: [u8; 16] = [2; 16];
/// Rounds that count, and rounds before them.
const ROUNDS: usize = 300;
const WARM_UP: usize = 20;

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

/// What is measured: it prepares, does its work once, and says how long the work took.
struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> Duration + 'a>,
    took: Vec<Duration>,
}

impl<'a> Contender<'a> {
    fn new<T>(name: &'static str, mut work: impl FnMut() -> T + 'a) -> Self {
        Self::prepared(name, || (), move |()| work())
    }

    fn prepared<P, T>(
        name: &'static str,
        mut prepare: impl FnMut() -> P + 'a,
        mut work: impl FnMut(P) -> T + 'a,
    ) -> Self {
        let run = move || {
            let prepared = black_box(prepare());
            let start = WallTime.start();
            let done = black_box(work(prepared));
            let took = WallTime.end(start);
            drop(done);
            took
        };
        Self { name, run: Box::new(run), took: Vec::new() }
    }

    /// The share `part` of the rounds took so long or less, nanoseconds a value.
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() - 1) as f64 * part) as usize;
        sorted[at].as_secs_f64() * 1e9 / VALUES as f64
    }
}

/// Median over all rounds of how much longer one took than another in the same round; `less` is
/// taken off the first, when it is given.
fn ratio(all: &[Contender<'_>], of: &str, less: Option<&str>, to: &str) -> f64 {
    let find = |name| &all.iter().find(|one| one.name == name).expect("a name of the list").took;
    let seconds = |name, round: usize| find(name)[round].as_secs_f64();
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let off = less.map_or(0.0, |less| seconds(less, round));
            (seconds(of, round) - off) / seconds(to, round)
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

type Gcm = AesGcm<Aes128, U12, U12>;

const GCM_SEALS: &str = "AES-GCM alone, in place: encrypt and tag";
const GCM_OPENS: &str = "AES-GCM alone, in place: check tag, decrypt";
const SEAL: &str = "authenticate and encrypt alone";
const OPEN: &str = "open alone";
const ROWS_PLAIN: &str = "decode to typed rows";
const ROWS_CIPHERED: &str = "open, decode to typed rows";
const THEIR_WALK: &str = "dlms-cosem-rs: borrowed walk";

fn ours<'a>(data: &'a Data, octets: &'a [u8], sealed: &'a [u8]) -> Vec<Contender<'a>> {
    let keys = Keys::new(&GUEK, &GAK);
    let both = SecurityControl::BOTH;
    let (seal_keys, open_keys, all_keys) = (keys.clone(), keys.clone(), keys);
    let open =
        move || security::open(&open_keys, both, &TITLE, COUNTER, sealed).expect("what was sealed");
    let (open_rows, open_data) = (open.clone(), open.clone());
    let seal = move |plain: &[u8]| {
        security::seal(&seal_keys, both, &TITLE, COUNTER, plain).expect("suite 0")
    };
    let seal_data = seal.clone();
    vec![
        Contender::new("encode Data", || data.to_axdr()),
        Contender::new("encode Data, authenticate and encrypt", move || seal_data(&data.to_axdr())),
        Contender::new(SEAL, move || seal(octets)),
        Contender::new("the same as a general-glo APDU", move || {
            seal_encoded(&all_keys, &TITLE, COUNTER, octets).expect("suite 0")
        }),
        Contender::new(ROWS_PLAIN, || typed_rows(octets)),
        Contender::new(ROWS_CIPHERED, move || typed_rows(&open_rows())),
        Contender::new(OPEN, open),
        Contender::new("decode to Data", || Data::decode(octets).expect("our own encoding")),
        Contender::new("open, decode to Data", move || {
            Data::decode(&open_data()).expect("our own encoding")
        }),
    ]
}

/// The cipher under ours without anything around it, and the other crate.
fn others<'a>(octets: &'a [u8], sealed: &'a [u8]) -> Vec<Contender<'a>> {
    let gcm = Gcm::new((&GUEK).into());
    let mut nonce = Nonce::<U12>::default();
    nonce[..8].copy_from_slice(&TITLE);
    nonce[8..].copy_from_slice(&COUNTER.to_be_bytes());
    let mut associated = vec![SecurityControl::BOTH.0];
    associated.extend_from_slice(&GAK);
    let (body, tag) = sealed.split_last_chunk::<12>().expect("a tag");
    let tag = Tag::<U12>::from(*tag);
    let (opening, opened_with) = (gcm.clone(), associated.clone());
    let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
    let theirs = Protector::new(RustCryptoProvider::new(KeyRing::new(GUEK, GAK)), policy);
    let title = SystemTitle::new(TITLE);
    vec![
        Contender::prepared(
            GCM_SEALS,
            move || octets.to_vec(),
            move |mut buffer| {
                let text = buffer.as_mut_slice().into();
                gcm.encrypt_inout_detached(&nonce, &associated, text).expect("a short text");
                buffer
            },
        ),
        Contender::prepared(
            GCM_OPENS,
            move || body.to_vec(),
            move |mut buffer| {
                let text = buffer.as_mut_slice().into();
                opening.decrypt_inout_detached(&nonce, &opened_with, text, &tag).expect("sealed");
                buffer
            },
        ),
        Contender::prepared(
            "dlms-cosem-rs: open in place",
            move || sealed.to_vec(),
            move |mut buffer| {
                let control = TheirControl(SecurityControl::BOTH.0);
                let opened = theirs.unprotect(control, &title, COUNTER, &GAK, &mut buffer);
                opened.expect("sealed").len()
            },
        ),
        Contender::new(THEIR_WALK, || their_walk(octets)),
    ]
}

/// Each round runs everything once, so that whatever else the machine does falls on all alike.
fn rounds(all: &mut [Contender<'_>]) {
    for round in 0..ROUNDS + WARM_UP {
        for one in all.iter_mut() {
            let took = (one.run)();
            if round >= WARM_UP {
                one.took.push(took);
            }
        }
    }
    println!("nanoseconds a value, {ROUNDS} rounds       best  median     p90");
    for one in all.iter() {
        let [best, median, p90] = [0.0, 0.5, 0.9].map(|part| one.quantile(part));
        println!("{:<44} {best:>7.2} {median:>7.2} {p90:>7.2}", one.name);
    }
    println!("ratios, median of the rounds");
    for (of, less, to) in [
        (SEAL, None, GCM_SEALS),
        (OPEN, None, GCM_OPENS),
        (ROWS_CIPHERED, Some(ROWS_PLAIN), GCM_OPENS),
        (ROWS_PLAIN, None, THEIR_WALK),
    ] {
        let off = less.map_or(String::new(), |less| format!(" - {less}"));
        println!("{:.2} = ({of}{off}) / {to}", ratio(all, of, less, to));
    }
}

fn profiles(criterion: &mut Criterion) {
    let data = profile();
    let octets = data.to_axdr();
    assert_eq!(octets.len(), 53_764);
    let expect: i64 = (0..i64::from(ROWS))
        .map(|at| 1_700_000_100 + at * 900 + 1_000_000 + at * 37 + 2_000 + at)
        .sum();
    assert_eq!(typed_rows(&octets), expect);
    assert_ne!(their_walk(&octets), 0);
    let keys = Keys::new(&GUEK, &GAK);
    let sealed = security::seal(&keys, SecurityControl::BOTH, &TITLE, COUNTER, &octets);
    let sealed = sealed.expect("suite 0");

    let mut all = ours(&data, &octets, &sealed);
    all.extend(others(&octets, &sealed));
    rounds(&mut all);

    let mut group = criterion.benchmark_group("profile of 7,680 values");
    group.throughput(Throughput::Elements(VALUES)).sample_size(20);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for one in &mut all {
        group.bench_function(one.name, |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| (one.run)()).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, profiles);
criterion_main!(benches);
