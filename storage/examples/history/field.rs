//! Meters that follow real load shapes.
//!
//! Each follows one of five shapes of customers with a size and a noise of its own and counts whole
//! Wh; every eighth feeds in by a shape of a solar plant; U swings by 3 V in steps of 0.1 V.

use std::time::Duration;

use storage::Segments;
use storage::segment::{DayKey, RECIPE_DAY, Row};

use crate::{Outcome, WAIT, cpu};

/// A+, A- and U.
pub const COLUMNS: [[u8; 6]; 3] =
    [[1, 0, 1, 8, 0, 255], [1, 0, 2, 8, 0, 255], [1, 0, 32, 7, 0, 255]];

const BLOCKS: usize = 13;
const WEEK: usize = 672;

/// Small numbers that look random.
pub struct Random(pub u64);

impl Random {
    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from((self.0 >> 11) % bound).unwrap_or_default()
    }
}

struct Meter {
    profile: usize,
    most_w: i64,
    import_mwh: i64,
    export_mwh: i64,
}

/// Many meters.
pub struct Field<'a> {
    shapes: &'a [u8],
    meters: Vec<Meter>,
    random: Random,
    /// CPU time that the last slot's values took to make up.
    pub made: Duration,
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

fn share_ppm(shapes: &[u8], profile: usize, slot: usize) -> i64 {
    // The stored week of each of 13 blocks of four weeks stands for all four.
    let block = slot / (4 * WEEK) % BLOCKS;
    let at = (profile * BLOCKS + block) * WEEK + slot % WEEK;
    let octet = i64::from(shapes.get(at).copied().unwrap_or_default());
    octet * octet * 1_000_000 / (255 * 255)
}

impl<'a> Field<'a> {
    /// So many meters.
    pub fn new(shapes: &'a [u8], count: u32) -> Self {
        let mut random = Random(88_172_645_463_325_252);
        let meter = |number: u32| Meter {
            profile: if number.is_multiple_of(8) { 0 } else { (number % 5) as usize },
            most_w: 1500 + random.below(9000),
            import_mwh: random.below(40_000_000_000),
            export_mwh: 0,
        };
        let meters = (0..count).map(meter).collect();
        Self { shapes, meters, random: Random(99), made: Duration::ZERO }
    }

    /// What all meters count in one slot of a day.
    pub fn slot(&mut self, day: i32, slot: usize) -> Vec<[Option<i64>; 3]> {
        let at = usize::try_from(day).unwrap_or(0) * 96 + slot;
        let (shapes, random) = (self.shapes, &mut self.random);
        self.meters.iter_mut().map(|meter| meter.step(shapes, at, random)).collect()
    }

    /// Merges one slot.
    pub fn merge(&mut self, segments: &Segments, index: u64, day: i32, slot: usize) -> Outcome<()> {
        let begun = cpu()?;
        let values = self.slot(day, slot);
        let end_s = (i64::from(day) * 96 + i64::try_from(slot)? + 1) * 900;
        let row = |(ordinal, values)| Row { ordinal, end_s, flag: 0, values };
        let rows: Vec<Row<'_>> =
            (0..).zip(values.iter().map(|all| all.as_slice())).map(row).collect();
        self.made = cpu()? - begun;
        for chunk in rows.chunks(1024) {
            segments.merge(index, 15, &COLUMNS, chunk)?;
        }
        Ok(())
    }

    /// Merges and seals one day.
    pub fn day(&mut self, segments: &Segments, index: u64, day: i32) -> Outcome<()> {
        for slot in 0..96 {
            self.merge(segments, index, day, slot)?;
        }
        let shards = u32::try_from(self.meters.len())?.div_ceil(8192);
        for shard in 0..shards {
            segments.seal(index + 1, DayKey { interval_minutes: 15, shard, day }, RECIPE_DAY)?;
        }
        Ok(segments.settle(WAIT)?)
    }
}
