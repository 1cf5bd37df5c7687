//! One meter's reads for a task, and what of the answers is stored.
//!
//! Invariants: 1. of a profile that has the same register twice the first column is kept; 2. how
//! far a profile was read is said only with the rows that say so; 3. a meter with several profiles
//! is done when one of them was read and none is left that may still answer.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use domain::commands::{Failure, Read, Value};
use domain::readings::{Answered, Batch, Hole};
use domain::tasks::Reason;
use domain::{Device, Obis};
use tokio::time::Instant;

use super::pieces::{TaskMeter, TaskRead};
use super::run::{Cut, Settled, is_lost};
use crate::Gateway;
use crate::order::{Anchor, Outcome, Pace, ProfileRead, Work};
use crate::refill::plan;
use crate::translate;

/// What is stored of a meter's answers.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub batches: Vec<Batch>,
    /// Spans of a load profile for which the meter has answered.
    pub answered: Vec<Answered>,
    /// How far profiles without slots were read.
    pub marks: Vec<(Obis, i64)>,
}

impl Came {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }
}

/// Reads of one device's meters.
pub(super) struct Reader {
    pub gateway: Gateway,
    pub device: Device,
    pub epoch: u64,
    pub what: &'static str,
}

impl Reader {
    /// Reads what is to be read of a meter.
    pub async fn meter(&self, meter: TaskMeter) -> Result<Settled, Cut> {
        let mut came = Came::default();
        let TaskMeter { serial, ordinal, reads } = meter;
        let reads = match reads {
            Ok(reads) => reads,
            Err(reason) => {
                return Ok(Settled { ordinal, result: Some(Err(reason)), came });
            }
        };
        let (mut succeeded, mut failed) = (reads.is_empty(), None);
        for read in reads {
            let result = match read {
                TaskRead::Registers(attributes) => {
                    self.registers(&serial, ordinal, attributes, &mut came).await
                }
                TaskRead::Rows { profile, from_s, to_s } => {
                    self.rows(&serial, ordinal, (profile, from_s, to_s), &mut came).await
                }
                TaskRead::Clock => self.clock(&serial, ordinal, &mut came).await,
                TaskRead::Load { profile, holes } => {
                    self.load(&serial, ordinal, profile, &holes, &mut came).await
                }
            };
            let label = match &result {
                Ok(()) => "ok",
                Err(failure) if is_lost(failure) => return Err(Cut),
                Err(failure) => {
                    tracing::debug!(serial, ?failure, what = self.what, "a task's read failed");
                    Reason::of(failure).name()
                }
            };
            let metrics = &self.gateway.shared.metrics;
            metrics.task_reads.with_label_values(&[self.what, label]).inc();
            match result {
                Ok(()) => succeeded = true,
                // What is worth another try decides over what is not.
                Err(failure) => {
                    let reason = Reason::of(&failure);
                    if failed.is_none_or(|known: Reason| known.is_final()) {
                        failed = Some(reason);
                    }
                    if !reason.is_final() {
                        break;
                    }
                }
            }
        }
        let result = match failed {
            None => Ok(()),
            Some(reason) if succeeded && reason.is_final() => Ok(()),
            Some(reason) => Err(reason),
        };
        Ok(Settled { ordinal, result: Some(result), came })
    }

    async fn registers(
        &self,
        serial: &str,
        ordinal: u32,
        attributes: Vec<domain::commands::Attribute>,
        came: &mut Came,
    ) -> Result<(), Failure> {
        let reads = match self.carry(serial, Work::Attributes(attributes)).await? {
            Outcome::Reads(reads) => reads,
            _ => return Err(Failure::Malformed("rows instead of values".to_owned())),
        };
        let nothing = || Failure::Unsupported("the meter has none of these registers".to_owned());
        let batch = translate::registers_batch(ordinal, unix_s(), &reads).ok_or_else(nothing)?;
        came.batches.push(batch);
        Ok(())
    }

    async fn clock(&self, serial: &str, ordinal: u32, came: &mut Came) -> Result<(), Failure> {
        let reads = self.offset(serial).await?;
        came.batches.extend(translate::registers_batch(ordinal, unix_s(), &reads));
        Ok(())
    }

    /// Measures how far the clock of a meter, or of the concentrator itself, is off: the clock as
    /// it stands, and the offset in milliseconds.
    pub async fn offset(&self, target: &str) -> Result<Vec<Read>, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let anchor = Anchor { at: Instant::now().into_std(), unix_ms };
        let reads = match self.carry(target, Work::Offset { anchor }).await? {
            Outcome::Reads(reads) => reads,
            _ => return Err(Failure::Malformed("no time of a clock".to_owned())),
        };
        if let Some(offset_ms) = offset_of(&reads) {
            let offset = Duration::from_millis(offset_ms.unsigned_abs());
            self.gateway.shared.metrics.clock_offset.observe(offset.as_secs_f64());
        }
        Ok(reads)
    }

    async fn rows(
        &self,
        serial: &str,
        ordinal: u32,
        (profile, from_s, to_s): (Obis, i64, i64),
        came: &mut Came,
    ) -> Result<(), Failure> {
        let mut read = self.profile(serial, (profile, from_s, to_s)).await?;
        // Such rows owe nothing to an interval: none is missed between two of them.
        read.interval_minutes = 0;
        read.rows.retain(|row| (from_s..=to_s).contains(&row.end_s));
        read.rows.sort_by_key(|row| row.end_s);
        let newest = read.rows.iter().map(|row| row.end_s).max();
        let read = distinct(read);
        if !read.registers.is_empty() {
            came.batches.extend(translate::part_of(ordinal, None, &read).batches);
        }
        came.marks.extend(newest.map(|newest_s| (profile, newest_s)));
        Ok(())
    }

    async fn load(
        &self,
        serial: &str,
        ordinal: u32,
        profile: Obis,
        holes: &[Hole],
        came: &mut Came,
    ) -> Result<(), Failure> {
        // A meter that has delivered nothing yet owes the default interval and may have another.
        let is_new = holes.iter().all(|hole| hole.newest_s.is_none());
        let wanted = plan::slots(holes);
        let chunk_s = self.gateway.shared.config.refill_chunk_s;
        for asked in plan::meter_asks(holes, i64::try_from(chunk_s).unwrap_or(i64::MAX)) {
            let read = self.profile(serial, (profile, asked.from_s, asked.to_s)).await?;
            let fits = read.interval_minutes == asked.interval_minutes;
            if !fits && !is_new {
                let other = "the profile has another interval than before".to_owned();
                return Err(Failure::Unsupported(other));
            }
            let batches = translate::part_of(ordinal, None, &read).batches;
            came.batches.extend(if fits {
                plan::wanted_rows(&batches, &wanted).0
            } else {
                batches
            });
            came.answered.extend(asked.gaps);
        }
        Ok(())
    }

    async fn profile(
        &self,
        serial: &str,
        (obis, from_s, to_s): (Obis, i64, i64),
    ) -> Result<ProfileRead, Failure> {
        match self.carry(serial, Work::Profile { obis, from_s, to_s }).await? {
            Outcome::Profile(read) => Ok(read),
            _ => Err(Failure::Malformed("values instead of rows".to_owned())),
        }
    }

    async fn carry(&self, serial: &str, work: Work) -> Result<Outcome, Failure> {
        let limit = Duration::from_millis(self.gateway.shared.config.task_read_timeout_ms);
        let deadline = (Instant::now() + limit).into_std();
        let epoch = Some(self.epoch);
        self.gateway.carry(&self.device, serial, work, epoch, deadline, Pace::Background).await
    }
}

/// The offset among what was read of a clock, milliseconds.
pub(super) fn offset_of(reads: &[Read]) -> Option<i64> {
    // It is no attribute of the clock.
    reads.iter().find(|read| read.attribute == 0).and_then(|read| match read.value {
        Value::Integer(offset_ms) => Some(offset_ms),
        _ => None,
    })
}

/// The rows without columns whose register stands in an earlier one.
fn distinct(mut read: ProfileRead) -> ProfileRead {
    let mut known = BTreeSet::new();
    let kept: Vec<bool> = read.registers.iter().map(|one| known.insert(one.obis)).collect();
    let is_kept = |place: usize| kept.get(place).copied().unwrap_or(false);
    for row in &mut read.rows {
        let values = std::mem::take(&mut row.values).into_iter().enumerate();
        row.values = values.filter(|(at, _)| is_kept(*at)).map(|(_, value)| value).collect();
    }
    let registers = std::mem::take(&mut read.registers).into_iter().enumerate();
    read.registers = registers.filter(|(at, _)| is_kept(*at)).map(|(_, one)| one).collect();
    read
}

fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::distinct;
    use crate::order::{ProfileRead, ProfileRow};
    use domain::Obis;
    use domain::readings::Register;

    #[test]
    fn a_register_that_stands_twice_in_a_profile_is_taken_once() {
        let register = |c: u8| Register { obis: Obis([1, 0, c, 8, 0, 255]), scaler: 0, unit: 30 };
        let values = vec![Some(1), Some(2), Some(3)];
        let read = distinct(ProfileRead {
            obis: Obis([0, 0, 98, 1, 0, 255]),
            interval_minutes: 0,
            registers: vec![register(1), register(1), register(2)],
            rows: vec![ProfileRow { end_s: 60, flag: 0, values }],
        });
        assert_eq!(read.registers, [register(1), register(2)]);
        assert_eq!(read.rows[0].values, [Some(1), Some(3)]);
    }
}
