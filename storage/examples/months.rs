//! Measures day and month files on real load shapes: octets a row, rows a second, queries.
//!
//! `cargo run --release -p storage --example months gateway/simulator/data/shapes.bin [METERS]
//! [DIR]`. The shapes are those of SimBench, see the notice beside the file (ODbL 1.0). Each meter
//! follows one of five shapes of customers with a size and a noise of its own and counts whole
//! Wh; every eighth feeds in by a shape of a solar plant; U swings by 3 V in steps of 0.1 V.
//! Not a test: nothing is judged.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use storage::segment::{DayKey, MonthKey, RECIPE_DAY, RECIPE_MONTH, Row, month_of};
use storage::{Config, Metrics, Segments};

type Outcome<T> = Result<T, Box<dyn Error>>;

const COLUMNS: [[u8; 6]; 3] = [[1, 0, 1, 8, 0, 255], [1, 0, 2, 8, 0, 255], [1, 0, 32, 7, 0, 255]];
/// The first of June 2026, a month of 30 days.
const FIRST: i32 = 20_605;
const DAYS: i32 = 30;
const BLOCKS: usize = 13;
const WEEK: usize = 672;
const WAIT: Duration = Duration::from_secs(3600);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from((self.0 >> 11) % bound).unwrap_or_default()
    }
}

/// What a meter counts.
struct Meter {
    profile: usize,
    most_w: i64,
    import_mwh: i64,
    export_mwh: i64,
}

fn share_ppm(shapes: &[u8], profile: usize, slot: usize) -> i64 {
    // Block 5 of 13 is in May and June.
    let at = (profile * BLOCKS + 5) * WEEK + slot % WEEK;
    let octet = i64::from(shapes.get(at).copied().unwrap_or_default());
    octet * octet * 1_000_000 / (255 * 255)
}

impl Meter {
    fn step(&mut self, shapes: &[u8], slot: usize, random: &mut Random) -> [Option<i64>; 3] {
        let noise = 600 + random.below(800);
        let energy = |share: i64, most: i64| share * most / 1_000_000 * noise / 1000 * 250;
        self.import_mwh += energy(share_ppm(shapes, self.profile, slot), self.most_w);
        if self.profile == 0 {
            self.export_mwh += energy(share_ppm(shapes, 5, slot), 4000);
        }
        let wh = |mwh: i64| Some(mwh / 1000);
        [wh(self.import_mwh), wh(self.export_mwh), Some(2285 + random.below(30))]
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let shapes = std::fs::read(arguments.next().ok_or("give the file of shapes")?)?;
    let count: u32 = arguments.next().map_or(Ok(8192), |text| text.parse())?;
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("holdfast-months-{}", std::process::id()));
    let segments = Segments::open(&dir, &Config::default(), &Metrics::unregistered())?;
    let rows = u64::from(count) * 96 * u64::try_from(DAYS)?;
    fill(&segments, &shapes, count)?;
    let octets: u64 = segments.entries().iter().map(|entry| entry.octets).sum();
    println!("day files: {rows} rows, {:.3} octets a row", octets as f64 / rows as f64);
    ask(&segments, count, "day files")?;
    let begun = Instant::now();
    let month = MonthKey { interval_minutes: 15, shard: 0, month: month_of(FIRST) };
    segments.compact(1000, month, RECIPE_MONTH)?;
    segments.settle(WAIT)?;
    let entry = segments.entries().pop().ok_or("nothing was folded")?;
    println!(
        "month file: {} rows folded in {:?}, {:.3} octets a row",
        entry.rows,
        begun.elapsed(),
        entry.octets as f64 / entry.rows as f64
    );
    ask(&segments, count, "month file")?;
    segments.stop();
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn fill(segments: &Segments, shapes: &[u8], count: u32) -> Outcome<()> {
    let mut random = Random(88_172_645_463_325_252);
    let meter = |number: u32, random: &mut Random| Meter {
        profile: if number.is_multiple_of(8) {
            0
        } else {
            usize::try_from(number % 5).unwrap_or(0)
        },
        most_w: 1500 + random.below(9000),
        import_mwh: random.below(40_000_000_000),
        export_mwh: 0,
    };
    let mut meters: Vec<Meter> = (0..count).map(|number| meter(number, &mut random)).collect();
    let (mut merging, mut sealing) = (Duration::ZERO, Duration::ZERO);
    for day in 0..DAYS {
        for slot in 0..96_usize {
            let at = usize::try_from(day)? * 96 + slot;
            let values: Vec<_> =
                meters.iter_mut().map(|meter| meter.step(shapes, at, &mut random)).collect();
            let end_s = (i64::from(FIRST + day) * 96 + i64::try_from(slot)? + 1) * 900;
            let row = |(ordinal, values)| Row { ordinal, end_s, flag: 0, values };
            let rows: Vec<Row<'_>> =
                (0..).zip(values.iter().map(|all| all.as_slice())).map(row).collect();
            let begun = Instant::now();
            for chunk in rows.chunks(1024) {
                segments.merge(1, 15, &COLUMNS, chunk)?;
            }
            merging += begun.elapsed();
        }
        let begun = Instant::now();
        let key = DayKey { interval_minutes: 15, shard: 0, day: FIRST + day };
        segments.seal(2 + u64::try_from(day)?, key, RECIPE_DAY)?;
        segments.settle(WAIT)?;
        sealing += begun.elapsed();
    }
    let rows = f64::from(count) * 96.0 * f64::from(DAYS);
    println!("merged {:.0} rows/s", rows / merging.as_secs_f64());
    println!("sealed {:.0} rows/s", rows / sealing.as_secs_f64());
    Ok(())
}

fn ask(segments: &Segments, count: u32, what: &str) -> Outcome<()> {
    let mut random = Random(7);
    let start_s = i64::from(FIRST) * 86_400;
    for (name, days, rounds) in [("day", 1_i64, 500), ("month", i64::from(DAYS), 200)] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let ordinal = u32::try_from(random.below(u64::from(count)))?;
            let from_s = start_s + if days == 1 { 86_400 * random.below(30) } else { 0 };
            let begun = Instant::now();
            let found = segments.query(15, ordinal, COLUMNS[0], from_s, from_s + days * 86_400)?;
            times.push(begun.elapsed());
            if i64::try_from(found.len())? != days * 96 {
                return Err("values are missing".into());
            }
        }
        times.sort();
        let (p50, p99) = (times.get(rounds / 2), times.get(rounds * 99 / 100));
        println!("{what}: one meter's {name}: p50 {p50:?}, p99 {p99:?}");
    }
    Ok(())
}
