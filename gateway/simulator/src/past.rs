//! What happened to a meter that its registers and rows depend on: times when its switch was open,
//! and steps of its clock.
//!
//! It measures nothing itself. Invariants: spans follow each other without overlap; what fell out
//! of the list stays in the sum, so a register never jumps back up.

use serde::{Deserialize, Serialize};

/// Switchings kept one by one.
const SPANS: usize = 64;
/// Clock steps kept.
const STEPS: usize = 64;

/// A time when the switch was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Opened.
    pub from_s: i64,
    /// Closed; `None` while it is open.
    pub to_s: Option<i64>,
}

/// A step of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// True time of the step.
    pub at_s: i64,
    /// Seconds that the clock is ahead from then on.
    pub offset_s: i64,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    off: Vec<Span>,
    /// Energy, A+ and A- in mWh, that the spans which fell out of the list kept back.
    kept_back: [u64; 2],
    clock: Vec<Step>,
}

impl Past {
    /// Whether the switch is open at a time.
    #[must_use]
    pub fn is_off(&self, at_s: i64) -> bool {
        let within = |span: &Span| span.from_s <= at_s && span.to_s.is_none_or(|to| at_s < to);
        self.off.iter().any(within)
    }

    /// Whether nothing happened to the supply.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.off.is_empty()
    }

    /// Opens the switch. `measure` gives A+ and A- in mWh at a time, as without any switching.
    pub fn open(&mut self, at_s: i64, measure: impl Fn(i64) -> [u64; 2]) {
        if self.off.last().is_some_and(|span| span.to_s.is_none()) {
            return;
        }
        if self.off.len() >= SPANS {
            let oldest = self.off.remove(0);
            let lost = lost_in(oldest, at_s, &measure);
            self.kept_back = [self.kept_back[0] + lost[0], self.kept_back[1] + lost[1]];
        }
        self.off.push(Span { from_s: at_s, to_s: None });
    }

    /// Closes the switch.
    pub fn close(&mut self, at_s: i64) {
        if let Some(span) = self.off.last_mut().filter(|span| span.to_s.is_none()) {
            span.to_s = Some(at_s.max(span.from_s));
        }
    }

    /// Energy, A+ and A- in mWh, that open switches kept back until a time.
    #[must_use]
    pub fn kept_back(&self, at_s: i64, measure: impl Fn(i64) -> [u64; 2]) -> [u64; 2] {
        self.off.iter().fold(self.kept_back, |sum, span| {
            let lost = lost_in(*span, at_s, &measure);
            [sum[0] + lost[0], sum[1] + lost[1]]
        })
    }

    /// Seconds that the clock was ahead at a time; `factory` until it was first set.
    #[must_use]
    pub fn offset_s(&self, at_s: i64, factory: i64) -> i64 {
        self.clock.iter().rfind(|step| step.at_s <= at_s).map_or(factory, |step| step.offset_s)
    }

    /// Sets the clock.
    pub fn step(&mut self, at_s: i64, offset_s: i64) {
        if self.clock.len() >= STEPS {
            self.clock.remove(0);
        }
        self.clock.push(Step { at_s, offset_s });
    }

    /// The times at which the clock was set.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.clock.iter()
    }
}

fn lost_in(span: Span, at_s: i64, measure: &impl Fn(i64) -> [u64; 2]) -> [u64; 2] {
    let to_s = span.to_s.unwrap_or(at_s).min(at_s);
    if to_s <= span.from_s {
        return [0, 0];
    }
    let (before, after) = (measure(span.from_s), measure(to_s));
    [after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])]
}

#[cfg(test)]
mod tests {
    use super::{Past, SPANS};

    /// 3 mWh and 1 mWh a second.
    fn measure(at_s: i64) -> [u64; 2] {
        [at_s as u64 * 3, at_s as u64]
    }

    #[test]
    fn an_open_switch_keeps_energy_back() {
        let mut past = Past::default();
        past.open(100, measure);
        past.open(110, measure);
        assert!(past.is_off(105) && !past.is_off(99));
        assert_eq!(past.kept_back(90, measure), [0, 0]);
        assert_eq!(past.kept_back(120, measure), [60, 20]);
        past.close(200);
        assert!(!past.is_off(200));
        assert_eq!(past.kept_back(500, measure), [300, 100]);
    }

    #[test]
    fn what_falls_out_of_the_list_stays_in_the_sum() {
        let mut past = Past::default();
        for at_s in 0..2 * SPANS as i64 {
            past.open(at_s * 10, measure);
            past.close(at_s * 10 + 5);
        }
        assert_eq!(past.off.len(), SPANS);
        assert_eq!(past.kept_back(10_000, measure), [2 * 64 * 15, 2 * 64 * 5]);
    }

    #[test]
    fn the_clock_remembers_when_it_was_set() {
        let mut past = Past::default();
        past.step(100, -5);
        past.step(200, 0);
        assert_eq!([50, 100, 199, 200].map(|at| past.offset_s(at, 37)), [37, -5, -5, 0]);
    }
}
