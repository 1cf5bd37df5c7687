//! The same values as a row a key in a table, as a head-end without files of columns keeps them.

use std::path::Path;
use std::time::Instant;

use storage::tables::Put;
use storage::{Config, Metrics, Tables};

use crate::field::{Field, Random};
use crate::{DAY_S, FIRST, Outcome, cpu, ms, start_s, times};

const METERS: u32 = 2000;
const TABLE: u8 = 1;

fn key(ordinal: u32, end_s: i64) -> Vec<u8> {
    [ordinal.to_be_bytes().as_slice(), end_s.to_be_bytes().as_slice()].concat()
}

/// A day of 2,000 meters: how fast it is written, how large it is, how fast it is read.
pub fn measure(dir: &Path, shapes: &[u8]) -> Outcome<()> {
    let (tables, _) = Tables::open(dir, &Config::default(), &Metrics::unregistered())?;
    let mut field = Field::new(shapes, METERS);
    let begun = Instant::now();
    for slot in 0..96 {
        let end_s = start_s(FIRST) + (i64::try_from(slot)? + 1) * 900;
        let values = field.slot(FIRST, slot);
        let row = |(ordinal, values): (u32, &[Option<i64>; 3])| {
            let mut row = vec![0];
            values.iter().flatten().for_each(|value| row.extend(value.to_be_bytes()));
            Put { table: TABLE, key: key(ordinal, end_s), value: Some(row) }
        };
        let puts: Vec<Put> = (0..).zip(&values).map(row).collect();
        tables.commit(&puts)?;
    }
    tables.flush()?;
    let rows = f64::from(METERS) * 96.0;
    println!("a row a key: {:.0} rows/s written", rows / begun.elapsed().as_secs_f64());
    println!("a row a key: {:.1} octets a row", octets(dir)? as f64 / rows);
    let mut random = Random(5);
    let until_s = start_s(FIRST) + DAY_S + 1;
    times("a row a key: one meter's day", 300, || {
        let ordinal = u32::try_from(random.below(METERS.into()))?;
        let (from, to) = (key(ordinal, 0), key(ordinal, until_s));
        if tables.scan(TABLE, &from, &to, 1000)?.len() == 96 { Ok(()) } else { Err("gap".into()) }
    })?;
    let begun = cpu()?;
    let mut hours = [0_i64; 24];
    for ordinal in 0..METERS {
        let mut before = None;
        for (key, row) in tables.scan(TABLE, &key(ordinal, 0), &key(ordinal, until_s), 1000)? {
            let number = |octets: Option<&[u8]>| -> Outcome<i64> {
                Ok(i64::from_be_bytes(octets.ok_or("a short row")?.try_into()?))
            };
            let (end_s, value) = (number(key.get(4..12))?, number(row.get(1..9))?);
            let hour = usize::try_from((end_s - start_s(FIRST) - 1) / 3600)?;
            if let (Some(before), Some(sum)) = (before, hours.get_mut(hour)) {
                *sum += value - before;
            }
            before = Some(value);
        }
    }
    let spent = ms(cpu()? - begun) * 10_000.0 / f64::from(METERS);
    let total: i64 = hours.iter().sum();
    println!("a row a key: 10,000 meters' day by hour: {spent:.0} ms CPU ({total} Wh of 2,000)");
    Ok(())
}

/// Octets of all files below a folder.
fn octets(dir: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            octets(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(sum)
}
