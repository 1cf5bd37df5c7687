//! The field's clock: history played fast until it meets the real clock, then the real clock.
//!
//! It keeps no timer; the real time is an argument. Invariants: field time never goes back and
//! never passes the real clock; once they have met they stay together.

/// Maps real time to field time, both in microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug)]
pub struct FieldClock {
    real_start_us: i64,
    field_start_us: i64,
    speed: u32,
}

impl FieldClock {
    /// A clock that stands at `field_start_us` when the real clock stands at `real_start_us` and
    /// runs `speed` times as fast. At speed 1 the field is live and history is a mere backlog.
    #[must_use]
    pub fn new(real_start_us: i64, field_start_us: i64, speed: u32) -> Self {
        let speed = speed.max(1);
        let field_start_us =
            if speed == 1 { real_start_us } else { field_start_us.min(real_start_us) };
        Self { real_start_us, field_start_us, speed }
    }

    /// Field time at a real time.
    #[must_use]
    pub fn at_us(&self, real_us: i64) -> i64 {
        let passed = real_us.saturating_sub(self.real_start_us).max(0);
        let played = passed.saturating_mul(i64::from(self.speed));
        self.field_start_us.saturating_add(played).min(real_us)
    }

    /// Real microseconds from `real_us` until field time reaches `field_us`; 0 when it has.
    #[must_use]
    pub fn until_us(&self, real_us: i64, field_us: i64) -> i64 {
        let gap = field_us - self.at_us(real_us);
        if gap <= 0 {
            return 0;
        }
        if field_us <= self.meeting_us() {
            return gap / i64::from(self.speed) + 1;
        }
        field_us - real_us
    }

    /// The time at which field time and real time meet.
    fn meeting_us(&self) -> i64 {
        if self.speed == 1 {
            return self.real_start_us;
        }
        let behind = self.real_start_us - self.field_start_us;
        self.real_start_us + behind / i64::from(self.speed - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::FieldClock;

    const S: i64 = 1_000_000;

    #[test]
    fn history_runs_fast_and_then_the_clocks_are_one() {
        let clock = FieldClock::new(10_000 * S, 6_400 * S, 61);
        assert_eq!(clock.at_us(10_000 * S), 6_400 * S);
        assert_eq!(clock.at_us(10_030 * S), (6_400 + 30 * 61) * S);
        assert_eq!(clock.at_us(10_060 * S), 10_060 * S);
        assert_eq!(clock.at_us(10_061 * S), 10_061 * S);
        assert_eq!(clock.until_us(10_000 * S, 6_400 * S + 610 * S), 10 * S + 1);
        assert_eq!(clock.until_us(10_000 * S, 10_100 * S), 100 * S);
        assert_eq!(clock.until_us(10_090 * S, 10_080 * S), 0);
    }

    #[test]
    fn a_live_field_has_the_real_clock() {
        let clock = FieldClock::new(10_000 * S, 1, 1);
        assert_eq!(clock.at_us(10_000 * S), 10_000 * S);
        assert_eq!(clock.until_us(10_000 * S, 10_007 * S), 7 * S);
    }
}
