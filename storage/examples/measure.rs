//! Measures the stores on this machine, in a few seconds, and prints the figures.
//!
//! `cargo run --release -p storage --example measure [DIR]`. Not a test: nothing is judged.
//! The load is made up: cumulative registers of 8,192 meters with steps of 0-400 Wh.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::log::Record;
use storage::segment::{DayKey, RECIPE_DAY, Row};
use storage::{Config, Log, Metrics, Segments};

type Outcome<T> = Result<T, Box<dyn Error>>;

const COLUMNS: [[u8; 6]; 3] = [[1, 0, 1, 8, 0, 255], [1, 0, 2, 8, 0, 255], [1, 0, 32, 7, 0, 255]];
const METERS: u32 = 8192;
const SLOTS: i64 = 96;

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("holdfast-measure-{}", std::process::id()));
    for (octets, count, batch) in [(200, 100_000, 256), (4096, 50_000, 256), (65_536, 4000, 8)] {
        measure_log(&dir.join(format!("wal-{octets}")), octets, count, batch)?;
    }
    measure_single(&dir.join("wal-single"))?;
    measure_segments(&dir.join("segments"))?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn measure_log(dir: &Path, octets: usize, count: u64, batch: u64) -> Outcome<()> {
    let (log, _) = Log::open(dir, &Config::default(), 0, &Metrics::unregistered())?;
    let payload = Bytes::from(vec![0x5a; octets]);
    let (send, receive) = mpsc::channel();
    let begun = Instant::now();
    for from in (1..=count).step_by(usize::try_from(batch)?) {
        let to = (from + batch).min(count + 1);
        let records: Vec<Record> =
            (from..to).map(|index| Record { index, payload: payload.clone() }).collect();
        let send = send.clone();
        log.append(records, Box::new(move |result| drop(send.send(result))));
    }
    drop(send);
    for result in receive {
        result?;
    }
    let time = begun.elapsed();
    let megabytes = per_second(count * octets as u64, time) / 1e6;
    println!(
        "log: {count} records of {octets} octets, {batch} a call: {:.0} records/s, \
         {megabytes:.0} MB/s",
        per_second(count, time)
    );
    Ok(())
}

/// One record at a time, each waited for: what a sync costs.
fn measure_single(dir: &Path) -> Outcome<()> {
    let (log, _) = Log::open(dir, &Config::default(), 0, &Metrics::unregistered())?;
    let mut times = Vec::new();
    for index in 1..=500 {
        let (send, receive) = mpsc::channel();
        let record = Record { index, payload: Bytes::from_static(&[7; 256]) };
        let begun = Instant::now();
        log.append(vec![record], Box::new(move |result| drop(send.send(result))));
        receive.recv()??;
        times.push(begun.elapsed());
    }
    times.sort();
    println!(
        "log: one record of 256 octets, waited for: p50 {:?}, p99 {:?}",
        times[250], times[495]
    );
    Ok(())
}

fn measure_segments(dir: &Path) -> Outcome<()> {
    let segments = Segments::open(dir, &Config::default(), &Metrics::unregistered())?;
    let mut registers = vec![[0_i64; 2]; usize::try_from(METERS)?];
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        i64::try_from((random >> 11) % bound).unwrap_or_default()
    };
    let mut spent = Duration::ZERO;
    for slot in 1..=SLOTS {
        let values: Vec<[Option<i64>; 3]> = registers
            .iter_mut()
            .enumerate()
            .map(|(meter, [import, export])| {
                *import += next(400);
                *export += if meter % 8 == 0 { next(300) } else { 0 };
                [Some(*import), Some(*export), Some(2300 + next(60))]
            })
            .collect();
        let rows: Vec<Row<'_>> = (0..)
            .zip(&values)
            .map(|(ordinal, values)| Row { ordinal, end_s: slot * 900, flag: 0, values })
            .collect();
        let begun = Instant::now();
        for chunk in rows.chunks(1024) {
            segments.merge(1, 15, &COLUMNS, chunk)?;
        }
        spent += begun.elapsed();
    }
    let rows = u64::from(METERS) * 96;
    println!("merge: {rows} rows of 3 values: {:.0} rows/s", per_second(rows, spent));
    let begun = Instant::now();
    segments.freeze(1).write(&dir.join("open-days"))?;
    let octets = std::fs::metadata(dir.join("open-days"))?.len();
    println!("checkpoint: {:?}, {:.2} octets a row", begun.elapsed(), octets as f64 / rows as f64);
    let begun = Instant::now();
    segments.seal(2, DayKey { interval_minutes: 15, shard: 0, day: 0 }, RECIPE_DAY)?;
    segments.settle(Duration::from_secs(300))?;
    let time = begun.elapsed();
    let entry = segments.entries().pop().ok_or("nothing was sealed")?;
    println!(
        "day file: {:?}, {:.0} rows/s, {:.2} octets a row ({} octets)",
        time,
        per_second(rows, time),
        entry.octets as f64 / rows as f64,
        entry.octets
    );
    let begun = Instant::now();
    segments.query(15, 0, COLUMNS[0], 0, 86_400)?;
    println!("query: the first, with the hash of the file: {:?}", begun.elapsed());
    let mut times = Vec::new();
    for _ in 0..2000 {
        let ordinal = u32::try_from(next(u64::from(METERS)))?;
        let begun = Instant::now();
        let points = segments.query(15, ordinal, COLUMNS[0], 0, 86_400)?;
        times.push(begun.elapsed());
        if points.len() != 96 {
            return Err("values are missing".into());
        }
    }
    times.sort();
    println!("query: one meter's day from the file: p50 {:?}, p99 {:?}", times[1000], times[1980]);
    if std::env::var_os("HOLDFAST_KEEP").is_some() {
        std::fs::copy(dir.join(entry.name()), "/tmp/holdfast-day.parquet")?;
    }
    Ok(())
}
