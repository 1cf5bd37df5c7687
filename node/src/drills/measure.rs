//! Figures out of attempts: pauses, latencies, slices of time. Pure.
//!
//! Invariant: a pause is never measured shorter than it was: it runs from one good answer (or the
//! injection) to the next, whoever gave them.

use crate::drills::evidence::{Answer, Evidence, Kind, Operation};
use crate::drills::report::{Chart, Latency, Slice};

/// Without a good answer in the last so many microseconds service is not back.
const BACK_WITHIN_US: u64 = 3_000_000;
/// The most slices of a picture, and the shortest one.
const MAX_SLICES: u64 = 600;
const STEP_MS: u64 = 100;

/// The longest time without a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// How long.
    pub us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// Whether good answers went on until the end.
    pub back: bool,
}

/// The longest pause of a kind between two moments, the second included.
pub fn pause(operations: &[Operation], kind: Kind, from_us: u64, to_us: u64) -> Pause {
    let good = |one: &&Operation| one.kind == kind && one.answer == Answer::Good;
    let ended = operations.iter().filter(good).map(|one| one.ended_us);
    let mut times: Vec<u64> = ended.filter(|at| (from_us..=to_us).contains(at)).collect();
    times.sort_unstable();
    let last = times.last().copied().unwrap_or(from_us);
    let back = !times.is_empty() && to_us.saturating_sub(last) <= BACK_WITHIN_US;
    let mut longest = Pause { us: 0, ended_us: from_us, back };
    let mut before = from_us;
    for at in times.into_iter().chain([to_us]) {
        if at - before > longest.us {
            (longest.us, longest.ended_us) = (at - before, at);
        }
        before = at;
    }
    longest
}

/// Milliseconds, rounded up.
pub fn ms(us: u64) -> u32 {
    u32::try_from(us.div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Milliseconds of a moment from the injection on.
pub fn relative_ms(at_us: u64, injected_us: u64) -> i64 {
    let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
    (signed(at_us) - signed(injected_us)).div_euclid(1000)
}

/// How long answers took before, during and after.
pub fn latencies(operations: &[Operation], injected_us: u64, recovered_us: u64) -> Vec<Latency> {
    let phase = |one: &Operation| match one.sent_us {
        sent if sent < injected_us => "before",
        sent if sent < recovered_us => "during",
        _ => "after",
    };
    let mut all = Vec::new();
    for kind in [Kind::Write, Kind::Read] {
        for name in ["before", "during", "after"] {
            let of = operations.iter().filter(|one| one.kind == kind && phase(one) == name);
            let (good, bad): (Vec<&Operation>, Vec<&Operation>) =
                of.partition(|one| one.answer == Answer::Good);
            let mut took: Vec<u64> = good.iter().map(|one| one.ended_us - one.sent_us).collect();
            took.sort_unstable();
            all.push(Latency {
                kind: kind.name().to_owned(),
                phase: name.to_owned(),
                answered: count(good.len()),
                failed: count(bad.len()),
                median_us: percentile(&took, 50),
                p99_us: percentile(&took, 99),
                max_us: percentile(&took, 100),
            });
        }
    }
    all
}

/// The value below which so many per cent of sorted values lie (nearest rank); 0 without any.
fn percentile(sorted: &[u64], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0, |us| u32::try_from(*us).unwrap_or(u32::MAX))
}

/// A count that fits.
pub fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Attempts by the time at which they ended.
pub fn chart(evidence: &Evidence, injected_us: u64) -> Chart {
    let operations = &evidence.operations;
    let first = operations.iter().map(|one| one.ended_us).min().unwrap_or(0);
    let last = operations.iter().map(|one| one.ended_us).max().unwrap_or(0);
    let span_ms = (last - first) / 1000 + 1;
    let step_ms = span_ms.div_ceil(MAX_SLICES).next_multiple_of(STEP_MS).max(STEP_MS);
    let slices = usize::try_from(span_ms.div_ceil(step_ms)).unwrap_or(0);
    let mut slices = vec![Slice::default(); slices];
    for one in operations {
        let at = usize::try_from((one.ended_us - first) / 1000 / step_ms).unwrap_or(usize::MAX);
        let Some(slice) = slices.get_mut(at) else { continue };
        let tally = match (one.kind, one.answer == Answer::Good) {
            (Kind::Write, true) => &mut slice.writes,
            (Kind::Write, false) => &mut slice.failed_writes,
            (Kind::Read, true) => &mut slice.reads,
            (Kind::Read, false) => &mut slice.failed_reads,
        };
        *tally = tally.saturating_add(1);
    }
    let step_ms = u32::try_from(step_ms).unwrap_or(u32::MAX);
    Chart { from_ms: relative_ms(first, injected_us), step_ms, slices }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sent_us: u64, ended_us: u64, answer: Answer) -> Operation {
        Operation { kind: Kind::Write, node: 0, number: 0, sent_us, ended_us, answer }
    }

    #[test]
    fn a_pause_runs_from_the_injection_to_the_next_good_answer() {
        let good = |at| write(at - 10, at, Answer::Good);
        let all = [good(50), good(100), write(110, 130, Answer::Down), good(900), good(950)];
        let of = |from, to| pause(&all, Kind::Write, from, to);
        assert_eq!(of(105, 1000), Pause { us: 795, ended_us: 900, back: true });
        assert_eq!(of(0, 100), Pause { us: 50, ended_us: 50, back: true });
        assert_eq!(of(105, 899), Pause { us: 794, ended_us: 899, back: false }, "none came");
        let far = 950 + BACK_WITHIN_US + 1;
        assert_eq!(of(105, far), Pause { us: far - 950, ended_us: far, back: false });
        assert!(!pause(&all, Kind::Read, 0, 10).back);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (50, 99));
        assert_eq!((percentile(&values, 100), percentile(&[], 99)), (100, 0));
        assert_eq!((ms(1), ms(1000), ms(1001)), (1, 1, 2));
        assert_eq!((relative_ms(500, 1500), relative_ms(2500, 1500)), (-1, 1));
    }

    #[test]
    fn a_picture_is_bounded_and_holds_every_attempt() {
        let every = |step: u64| -> Vec<Operation> {
            (0..1000).map(|n| write(n * step, n * step + 1, Answer::Good)).collect()
        };
        for step in [1_000, 60_000, 400_000] {
            let evidence = Evidence {
                began: String::new(),
                nodes: vec!["n1".to_owned()],
                injected_us: Some(0),
                taken_us: None,
                undone_us: None,
                whole_us: None,
                ended_us: 0,
                aborted: None,
                operations: every(step),
                skipped: 0,
                seen: Vec::new(),
                channel: Vec::new(),
                held: Default::default(),
                replicas: Vec::new(),
                signs: Vec::new(),
                restored: None,
                measured: None,
                steps: Vec::new(),
            };
            let chart = chart(&evidence, 0);
            assert!(chart.slices.len() <= 600, "{}", chart.slices.len());
            let drawn: u32 = chart.slices.iter().map(|slice| u32::from(slice.writes)).sum();
            assert_eq!(drawn, 1000, "step {step}");
        }
    }
}
