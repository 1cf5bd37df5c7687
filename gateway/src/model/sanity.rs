//! The sanity rule: no meter counts more energy than its largest power can make in the time. A
//! step above that is a wrong scaler, a wrong column or a damaged value, and is refused before it
//! is stored. It does not judge whether a possible value is likely.
//!
//! Invariants: 1. only energy that grows (Wh, varh, VAh with time integral 8) or that is counted by
//! interval (29) is judged; 2. a step down is no fault here: registers roll over and meters are
//! exchanged.

use cosem::scaler::unit;
use domain::readings::Register;

use crate::order::ProfileRow;

/// How far the largest power may be passed for a while, percent: 1.2 Imax at 1.15 Un, rounded up.
const MARGIN_PERCENT: i128 = 150;

/// A step that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implausible {
    /// The register, printed.
    pub register: String,
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// The step, in steps of the register.
    pub step: i64,
    /// The largest possible one.
    pub most: i64,
}

/// Looks for the first step that no meter of `max_power_w` can count. Rows are in order of time.
///
/// # Errors
/// The step.
pub fn check_rows(
    max_power_w: u64,
    period_s: u32,
    registers: &[Register],
    rows: &[ProfileRow],
) -> Result<(), Implausible> {
    for (at, register) in registers.iter().enumerate() {
        let Some(kind) = Kind::of(register) else { continue };
        let mut last: Option<(i64, i64)> = None;
        for row in rows {
            let Some(value) = row.values.get(at).copied().flatten() else { continue };
            let (step, seconds) = match (kind, last) {
                (Kind::Interval, _) => (value, i64::from(period_s)),
                (Kind::Total, Some((end_s, before))) => {
                    (value.saturating_sub(before), row.end_s.saturating_sub(end_s))
                }
                (Kind::Total, None) => (0, 0),
            };
            last = Some((row.end_s, value));
            let most = most(max_power_w, seconds, register.scaler);
            if step > most {
                let (register, end_s) = (register.obis.to_string(), row.end_s);
                return Err(Implausible { register, end_s, step, most });
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Total,
    Interval,
}

impl Kind {
    fn of(register: &Register) -> Option<Self> {
        let [_, _, _, integral, ..] = register.obis.0;
        let energy = [unit::WATT_HOUR, unit::VAR_HOUR, unit::VOLT_AMPERE_HOUR];
        match integral {
            _ if !energy.contains(&register.unit) => None,
            8 => Some(Self::Total),
            29 => Some(Self::Interval),
            _ => None,
        }
    }
}

/// The largest step of a register with this scaler in this time, at least 1: a register may just
/// have been about to step.
fn most(max_power_w: u64, seconds: i64, scaler: i8) -> i64 {
    let seconds = i128::from(seconds.max(0));
    let watt_seconds = i128::from(max_power_w).saturating_mul(seconds);
    let watt_hours_percent = watt_seconds.saturating_mul(MARGIN_PERCENT) / 3_600;
    let power = 10i128.saturating_pow(u32::from(scaler.unsigned_abs()));
    let steps = if scaler < 0 {
        watt_hours_percent.saturating_mul(power) / 100
    } else {
        watt_hours_percent / power / 100
    };
    i64::try_from(steps).unwrap_or(i64::MAX).max(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::{Implausible, check_rows};
    use crate::order::ProfileRow;
    use domain::Obis;
    use domain::readings::Register;

    fn rows(values: &[i64]) -> Vec<ProfileRow> {
        let row = |(at, value): (usize, &i64)| ProfileRow {
            end_s: 900 * (at as i64 + 1),
            flag: 0,
            values: vec![Some(*value)],
        };
        values.iter().enumerate().map(row).collect()
    }

    fn check(obis: [u8; 6], scaler: i8, unit: u8, values: &[i64]) -> Result<(), Implausible> {
        let register = Register { obis: Obis(obis), scaler, unit };
        check_rows(18_400, 900, &[register], &rows(values))
    }

    #[test]
    fn a_meter_counts_no_more_than_its_power_allows() {
        let import = [1, 0, 1, 8, 0, 255];
        // 18.4 kW for a quarter of an hour is 4,600 Wh; with the margin 6,900 Wh.
        assert_eq!(check(import, 0, 30, &[1_000, 5_600, 12_500]), Ok(()));
        let wrong = check(import, 0, 30, &[1_000, 5_600, 56_000]).unwrap_err();
        assert_eq!((wrong.end_s, wrong.step, wrong.most), (2_700, 50_400, 6_901));
        assert_eq!(check(import, -1, 30, &[0, 69_000]), Ok(()), "tenths of Wh");
        assert!(check(import, 3, 30, &[0, 460]).is_err(), "kWh where Wh were meant");
        assert_eq!(check(import, 0, 30, &[1_000_000, 3]), Ok(()), "exchanged or rolled over");
    }

    #[test]
    fn interval_energy_is_judged_by_itself_and_other_units_not_at_all() {
        assert!(check([1, 0, 1, 29, 0, 255], 0, 30, &[7_000]).is_err());
        assert_eq!(check([1, 0, 1, 29, 0, 255], 0, 30, &[6_900, 6_900]), Ok(()));
        assert_eq!(check([1, 0, 32, 7, 0, 255], -1, 35, &[1, 1_000_000]), Ok(()));
    }
}
