//! Measures the history on real load shapes, beside DuckDB on the same files and a table that
//! keeps a row a key, in one run: octets a row, values a second, times of questions, memory.
//!
//! `cargo run --release -p storage --example history -- SHAPES [DIR] [PYTHON] [PARTS]`. SHAPES is
//! `gateway/simulator/data/shapes.bin`: those of SimBench, see the notice beside it (ODbL 1.0);
//! PYTHON is one that has the package `duckdb`, and without it (or with `-`) that part is left
//! out; PARTS is one or more of `wide,month,long,naive`, all when left out. Times are of this
//! machine; CPU times are of the asking thread, the best and the median of some rounds. Not a
//! test: nothing is judged.

mod field;
mod naive;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use field::{COLUMNS, Field, Random};
use storage::segment::{Checkpoint, DayKey, MonthKey, RECIPE_DAY, RECIPE_MONTH, month_of};
use storage::{Config, Metrics, Segments};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The first of June 2026, a month of 30 days.
const FIRST: i32 = 20_605;
const DAYS: i32 = 30;
const DAY_S: i64 = 86_400;
const METERS: u32 = 10_000;
/// Meters of the ten years: two blocks.
const LONG_METERS: u32 = 128;
const LONG_MONTHS: i32 = 120;
/// Meters behind a transformer.
const BEHIND: u32 = 100;
/// Rounds of a question whose CPU time is told.
const ROUNDS: usize = 15;
const WAIT: Duration = Duration::from_secs(3600);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let shapes = std::fs::read(arguments.next().ok_or("give the file of shapes")?)?;
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let python = arguments.next().filter(|python| python != "-");
    let parts = arguments.next();
    let wanted =
        |part: &str| parts.as_ref().is_none_or(|parts| parts.split(',').any(|one| one == part));
    let dir = dir.join(format!("holdfast-history-{}", std::process::id()));
    if wanted("wide") {
        a_day_of_100_000(&dir.join("wide"), &shapes)?;
    }
    if wanted("month") {
        a_month(&dir.join("month"), &shapes, python.as_deref())?;
    }
    if wanted("long") {
        ten_years(&dir.join("long"), &shapes)?;
    }
    if wanted("naive") {
        naive::measure(&dir.join("naive"), &shapes)?;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn open(dir: &Path) -> Outcome<Segments> {
    Ok(Segments::open(dir, &Config::default(), &Metrics::unregistered())?)
}

fn start_s(day: i32) -> i64 {
    i64::from(day) * DAY_S
}

/// CPU time of this thread.
fn cpu() -> Outcome<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().ok_or("no schedstat")?.parse()?))
}

/// Resident memory in MB.
fn resident_mb() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Runs a question in some rounds of `repeats` (the clock of a thread's CPU time is coarse) and
/// prints what it takes of the CPU once: the best round and the median one.
fn spent<T>(what: &str, repeats: u32, mut ask: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let mut answer = ask()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = cpu()?;
        for _ in 0..repeats {
            answer = ask()?;
        }
        rounds.push((cpu()? - begun) / repeats);
    }
    rounds.sort();
    let at = |place: usize| rounds.get(place).copied().unwrap_or_default();
    println!("{what}: best {:.2} ms CPU, median {:.2} ms CPU", ms(at(0)), ms(at(ROUNDS / 2)));
    Ok(answer)
}

/// Runs a question many times and prints its best time, median and 99th percentile.
fn times(what: &str, rounds: usize, mut ask: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        ask()?;
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |share: usize| times.get(rounds * share / 100).copied().unwrap_or_default();
    let (best, p50, p99) = (ms(at(0)), ms(at(50)), ms(at(99)));
    println!("{what}: best {best:.3} ms, p50 {p50:.3} ms, p99 {p99:.3} ms");
    Ok(())
}

/// One node takes a day of 100,000 meters: merging, memory, checkpoint, sealing.
fn a_day_of_100_000(dir: &Path, shapes: &[u8]) -> Outcome<()> {
    let segments = open(dir)?;
    let before = resident_mb()?;
    let mut field = Field::new(shapes, 100_000);
    let mut merging = Duration::ZERO;
    for slot in 0..96 {
        let begun = cpu()?;
        field.merge(&segments, 1, FIRST, slot)?;
        merging += cpu()? - begun - field.made;
    }
    let rows = 100_000.0 * 96.0;
    println!("day of 100,000 meters: {:.0} rows/s merged", rows / merging.as_secs_f64());
    let (after, latest) = (resident_mb()?, segments.latest_octets() / (1 << 20));
    println!("open day in memory: {} MB, newest values {latest} MB of it", after - before);
    let path = dir.join("open-days");
    let begun = Instant::now();
    segments.freeze(1).write(&path)?;
    let octets = std::fs::metadata(&path)?.len();
    println!(
        "its checkpoint: {:.1} s, {:.2} octets a row",
        begun.elapsed().as_secs_f64(),
        octets as f64 / rows
    );
    let begun = Instant::now();
    let again = open(&dir.join("again"))?;
    again.restore(Checkpoint::read(&path)?);
    println!("read back at a start: {:.1} s", begun.elapsed().as_secs_f64());
    again.stop();
    drop(again);
    let begun = Instant::now();
    let shards = 100_000_u32.div_ceil(8192);
    for shard in 0..shards {
        segments.seal(2, DayKey { interval_minutes: 15, shard, day: FIRST }, RECIPE_DAY)?;
    }
    segments.settle(WAIT)?;
    let octets: u64 = segments.entries().iter().map(|entry| entry.octets).sum();
    println!(
        "sealed: {:.0} values/s encoded, {:.3} octets a row",
        rows * 3.0 / begun.elapsed().as_secs_f64(),
        octets as f64 / rows
    );
    let mut random = Random(3);
    times("newest value of one of 100,000", 100_000, || {
        let ordinal = u32::try_from(random.below(100_000))?;
        let found = segments.latest(15, ordinal, COLUMNS[0], start_s(FIRST + 1))?;
        found.map(|_| ()).ok_or_else(|| "no value".into())
    })?;
    segments.stop();
    Ok(())
}

/// 10,000 meters for a month: day files, then month files, then DuckDB on them.
fn a_month(dir: &Path, shapes: &[u8], python: Option<&str>) -> Outcome<()> {
    let segments = open(dir)?;
    let mut field = Field::new(shapes, METERS);
    for day in 0..DAYS {
        field.day(&segments, 1 + 2 * u64::try_from(day)?, FIRST + day)?;
    }
    let rows = f64::from(METERS) * 96.0 * f64::from(DAYS);
    let octets: u64 = segments.entries().iter().map(|entry| entry.octets).sum();
    println!("day files: {:.3} octets a row", octets as f64 / rows);
    by_hour(&segments, "day file")?;
    one_meter(&segments, "day files")?;
    if let Some(python) = python {
        duckdb(dir, python, "day")?;
    }
    let begun = Instant::now();
    for shard in [0, 1] {
        let month = MonthKey { interval_minutes: 15, shard, month: month_of(FIRST) };
        segments.compact(1000, month, RECIPE_MONTH)?;
    }
    segments.settle(WAIT)?;
    println!("folded: {:.0} values/s", rows * 3.0 / begun.elapsed().as_secs_f64());
    let octets: u64 = segments.entries().iter().map(|entry| entry.octets).sum();
    println!("month files: {:.3} octets a row", octets as f64 / rows);
    by_hour(&segments, "month file")?;
    one_meter(&segments, "month file")?;
    by_transformer(&segments)?;
    let all: Vec<u32> = (0..METERS).collect();
    let span = (start_s(FIRST), start_s(FIRST + DAYS));
    spent(&format!("{METERS} meters' month, every value"), 1, || {
        let found = segments.query_many(15, &all, COLUMNS[0], span)?;
        let values: usize = found.iter().map(Vec::len).sum();
        if values as f64 == rows { Ok(()) } else { Err("a gap".into()) }
    })?;
    if let Some(python) = python {
        duckdb(dir, python, "month")?;
    }
    segments.stop();
    Ok(())
}

/// Energy of every hour of one day, over all meters.
fn by_hour(segments: &Segments, what: &str) -> Outcome<()> {
    let all: Vec<u32> = (0..METERS).collect();
    let from_s = start_s(FIRST + 12);
    let ask = || -> Outcome<[i64; 24]> {
        let mut hours = [0; 24];
        let found = segments.query_many(15, &all, COLUMNS[0], (from_s - 1, from_s + DAY_S))?;
        for points in &found {
            for pair in points.windows(2) {
                let [before, after] = pair else { continue };
                let hour = usize::try_from((after.end_s - from_s - 1) / 3600)?;
                if let Some(sum) = hours.get_mut(hour) {
                    *sum += after.value - before.value;
                }
            }
        }
        Ok(hours)
    };
    let hours = spent(&format!("{what}: {METERS} meters' day by hour"), 4, ask)?;
    println!("  {} Wh", hours.iter().sum::<i64>());
    Ok(())
}

fn one_meter(segments: &Segments, what: &str) -> Outcome<()> {
    let mut random = Random(7);
    for (name, days) in [("day", 1), ("month", i64::from(DAYS))] {
        times(&format!("{what}: one meter's {name}"), 300, || {
            let ordinal = u32::try_from(random.below(METERS.into()))?;
            let from_s = start_s(FIRST) + if days == 1 { DAY_S * random.below(30) } else { 0 };
            let found = segments.query(15, ordinal, COLUMNS[0], from_s, from_s + days * DAY_S)?;
            if i64::try_from(found.len())? == days * 96 { Ok(()) } else { Err("a gap".into()) }
        })?;
    }
    Ok(())
}

/// The 20 transformers with the most energy of a month, from the pages' statistics.
fn by_transformer(segments: &Segments) -> Outcome<()> {
    let ask = || -> Outcome<Vec<(i64, u32)>> {
        let mut sums = vec![0; METERS.div_ceil(BEHIND) as usize];
        for shard in [0, 1] {
            let month = MonthKey { interval_minutes: 15, shard, month: month_of(FIRST) };
            let bounds = segments.month_bounds(month, COLUMNS[0])?.ok_or("not one file")?;
            for one in bounds {
                let sum: Option<&mut i64> = sums.get_mut((one.ordinal / BEHIND) as usize);
                if let Some(sum) = sum {
                    *sum += one.greatest - one.least;
                }
            }
        }
        let mut top: Vec<(i64, u32)> = sums.into_iter().zip(0..).collect();
        top.sort_unstable_by(|one, next| next.cmp(one));
        top.truncate(20);
        Ok(top)
    };
    let top = spent("month by transformer, top 20, from statistics", 100, ask)?;
    println!("  {} Wh", top.iter().map(|(sum, _)| sum).sum::<i64>());
    Ok(())
}

/// Ten years of one meter: 120 month files.
fn ten_years(dir: &Path, shapes: &[u8]) -> Outcome<()> {
    let segments = open(dir)?;
    let mut field = Field::new(shapes, LONG_METERS);
    let (mut day, mut index) = (FIRST, 1);
    for _ in 0..LONG_MONTHS {
        let month = month_of(day);
        while month_of(day) == month {
            field.day(&segments, index, day)?;
            (day, index) = (day + 1, index + 2);
        }
        let key = MonthKey { interval_minutes: 15, shard: 0, month };
        segments.compact(index, key, RECIPE_MONTH)?;
        segments.settle(WAIT)?;
        index += 1;
    }
    let mut random = Random(11);
    let mut ask = || -> Outcome<()> {
        let ordinal = u32::try_from(random.below(LONG_METERS.into()))?;
        let found = segments.query(15, ordinal, COLUMNS[0], start_s(FIRST), start_s(day))?;
        let expect = i64::from(day - FIRST) * 96;
        if i64::try_from(found.len())? == expect { Ok(()) } else { Err("a gap".into()) }
    };
    let begun = Instant::now();
    ask()?;
    println!(
        "ten years of one meter, 120 files read the first time: {:.1} ms",
        ms(begun.elapsed())
    );
    times("ten years of one meter", 300, &mut ask)?;
    spent("ten years of one meter", 10, ask)?;
    segments.stop();
    Ok(())
}

/// The same questions put to DuckDB, on one thread.
fn duckdb(dir: &Path, python: &str, level: &str) -> Outcome<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/history/ask_duckdb.py");
    let status = Command::new(python).arg(script).arg(dir).arg(level).status()?;
    if status.success() { Ok(()) } else { Err("DuckDB could not answer".into()) }
}
