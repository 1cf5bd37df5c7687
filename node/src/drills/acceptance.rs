//! The figures of the customer's specification: what was measured of each, held against its limit.
//!
//! Not how it is measured (`cli::acceptance`) and not how it looks (`paper`, the pages). Pure.
//! Invariants: every figure of [`FIGURES`] stands in every result, once; a figure passes only by
//! enough measurements at the size that it speaks of, and what this cluster is too small, or the
//! run too short to prove, is `not proven here` with the reason; what the cluster knows itself
//! (counts, collection, drills) is never taken from the driver.

mod figures;
mod rules;

use std::collections::BTreeMap;

use domain::drills::Record;
use domain::readings::Collection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use figures::{FIGURES, Figure, Limit, Rule};

/// The scenario under which an acceptance is kept among the drills.
pub const SCENARIO: &str = "acceptance";
/// The most times of one series.
pub const MAX_TIMES: usize = 5_000;
/// The most drills that one acceptance names.
const MAX_DRILLS: usize = 400;
/// The customer's size.
pub const CUSTOMERS_POINTS: u64 = 10_000_000;
/// Reads that must be completed within an hour.
pub const READS: u64 = 10_000;

/// Times of one kind, as the driver took them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// How long each took that came to its end, microseconds.
    pub took_us: Vec<u64>,
    /// Tries that came to none.
    pub failed: u32,
    /// The first reason.
    #[serde(default)]
    pub why: String,
}

/// Reads that were completed one beside the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Reads whose values had been answered and stood in the log.
    pub reads: u64,
    /// Reads that failed.
    pub failed: u64,
    /// From the first order to the last answer, microseconds.
    pub within_us: u64,
    /// Reads under way at a time.
    pub beside: u32,
    /// Meters that were read.
    pub meters: u32,
}

/// The machine of the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Kernel and architecture.
    pub system: String,
    /// Processor.
    pub processor: String,
    /// Cores that the program may use.
    pub cores: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Load of the last minute, in hundredths, when it began.
    pub load_hundredths: u32,
    /// File system of the report's folder, its size and what is free, MiB.
    pub disk: String,
    /// Appends of 4 KiB to a file of that folder, each with fdatasync.
    pub sync: Times,
}

/// What the driver hands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// `quick` or `full`.
    pub trials: String,
    /// How long it took, s.
    pub took_s: u32,
    /// The driver's machine.
    pub machine: Machine,
    /// Times by figure, or by `figure/part` for what is told beside it.
    pub times: BTreeMap<String, Times>,
    /// How fast meters were read; null when none was.
    pub speed: Option<Speed>,
    /// End of the oldest stored interval that was found, Unix time; null when nothing is stored.
    pub oldest_s: Option<i64>,
    /// Numbers of the drills that were run for it, by figure.
    pub drills: BTreeMap<String, Vec<u64>>,
    /// Figures of which less was done than they need, and why.
    pub left_out: BTreeMap<String, String>,
}

/// What the judging node knows itself.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Meters registered.
    pub meters: u64,
    /// Concentrators registered.
    pub concentrators: u64,
    /// Collection of the last 24 hours.
    pub day: Collection,
    /// The node's clock, Unix time.
    pub now_s: i64,
    /// The drills that the evidence names.
    pub drills: Vec<Record>,
    /// Whether the node's program has debug assertions in it.
    pub is_debug: bool,
}

/// How times lie, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Distribution {
    /// What it is of.
    pub of: String,
    /// How many.
    pub n: u32,
    /// How many tries came to no end, beside those.
    pub failed: u32,
    /// The least.
    pub min_us: u64,
    /// The median.
    pub median_us: u64,
    /// 90th percentile, nearest rank, as all.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The greatest.
    pub max_us: u64,
}

/// Whether a figure holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Verdict {
    /// It was shown.
    #[serde(rename = "pass")]
    Pass,
    /// It was missed.
    #[serde(rename = "fail")]
    Fail,
    /// This cluster, or this run, cannot show it.
    #[serde(rename = "not proven here")]
    NotProven,
}

impl Verdict {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::NotProven => "not proven here",
        }
    }
}

/// What came of one figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// Its name.
    pub figure: String,
    /// The same for people.
    pub title: String,
    /// How it was measured.
    pub how: String,
    /// The limit.
    pub limit: String,
    /// What was measured, in words.
    pub result: String,
    /// How the times lie; the first is held against the limit, the others are told beside it.
    pub distributions: Vec<Distribution>,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Why it does not pass; empty when it does.
    pub reason: String,
}

/// An acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acceptance {
    /// `quick` or `full`.
    pub trials: String,
    /// How long it took, s.
    pub took_s: u32,
    /// Meters that the cluster holds.
    pub meters: u64,
    /// Concentrators that it holds.
    pub concentrators: u64,
    /// How the judging node's program was built: `release` or `debug`.
    pub build: String,
    /// The driver's machine.
    pub machine: Machine,
    /// How its syncs lie.
    pub sync: Distribution,
    /// The figures.
    pub figures: Vec<Outcome>,
}

impl Acceptance {
    fn count(&self, verdict: Verdict) -> usize {
        self.figures.iter().filter(|one| one.verdict == verdict).count()
    }

    /// How many figures passed.
    pub fn passed(&self) -> usize {
        self.count(Verdict::Pass)
    }

    /// How many were missed.
    pub fn failed(&self) -> usize {
        self.count(Verdict::Fail)
    }

    /// How many could not be shown.
    pub fn unproven(&self) -> usize {
        self.count(Verdict::NotProven)
    }

    /// The load of the driver's machine in words.
    pub fn load(&self) -> String {
        let load = self.machine.load_hundredths;
        format!("load {}.{:02} at the begin", load / 100, load % 100)
    }

    /// The syncs in words.
    pub fn sync_words(&self) -> String {
        let [n, _, min, median, p90, p99, max] = self.sync.cells();
        format!("n {n}, min {min}, median {median}, p90 {p90}, p99 {p99}, max {max}")
    }
}

impl Outcome {
    /// Whether it was shown.
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Pass
    }

    /// Whether it was missed.
    pub fn failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }
}

/// Why something handed in cannot be judged.
///
/// # Errors
/// The first thing that cannot be.
pub fn check(measured: &Measured) -> Result<(), &'static str> {
    let known = |name: &str| {
        let figure = name.split('/').next().unwrap_or(name);
        FIGURES.iter().any(|one| one.name == figure)
    };
    let names = measured.times.keys().chain(measured.drills.keys()).chain(measured.left_out.keys());
    if !names.into_iter().all(|name| known(name) && name.len() <= 60) {
        return Err("a figure that is none");
    }
    let most = |times: &Times| times.took_us.len() <= MAX_TIMES && times.why.len() <= 500;
    if !measured.times.values().all(most) || !most(&measured.machine.sync) {
        return Err("too much of it");
    }
    let drills: usize = measured.drills.values().map(Vec::len).sum();
    let short = |text: &String| text.len() <= 500;
    let machine = &measured.machine;
    let texts = [&measured.trials, &machine.system, &machine.processor, &machine.disk];
    if drills > MAX_DRILLS
        || measured.times.len() > 3 * FIGURES.len()
        || !measured.left_out.values().all(short)
        || !texts.into_iter().all(short)
    {
        return Err("too much of it");
    }
    Ok(())
}

/// Holds everything that was measured against the figures.
pub fn judge(measured: &Measured, held: &Held) -> Acceptance {
    let mut figures: Vec<Outcome> =
        FIGURES.iter().map(|figure| outcome(figure, measured, held)).collect();
    let missed = figures.iter().any(|one| one.verdict == Verdict::Fail);
    if let Some(users) = figures.iter_mut().find(|one| one.figure == "users")
        && users.verdict == Verdict::Pass
        && missed
    {
        users.verdict = Verdict::Fail;
        users.reason = "another figure was missed at this size".to_owned();
    }
    Acceptance {
        trials: measured.trials.clone(),
        took_s: measured.took_s,
        meters: held.meters,
        concentrators: held.concentrators,
        build: if held.is_debug { "debug" } else { "release" }.to_owned(),
        sync: distribution("fdatasync of 4 KiB", &measured.machine.sync),
        // The times themselves stand in the evidence; here their distribution.
        machine: Machine { sync: Times::default(), ..measured.machine.clone() },
        figures,
    }
}

fn outcome(figure: &Figure, measured: &Measured, held: &Held) -> Outcome {
    let mut found = rules::apply(figure, measured, held);
    let part = format!("{}/", figure.name);
    let beside = measured
        .times
        .iter()
        .filter_map(|(name, times)| name.strip_prefix(&part).map(|of| distribution(of, times)));
    found.distributions.extend(beside);
    if let Some(why) = measured.left_out.get(figure.name) {
        if found.verdict == Verdict::Pass {
            found.verdict = Verdict::NotProven;
        }
        found.reason = [found.reason, why.clone()]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
    }
    Outcome {
        figure: figure.name.to_owned(),
        title: figure.title.to_owned(),
        how: figure.how.to_owned(),
        limit: figure.limit.to_owned(),
        result: found.result,
        distributions: found.distributions,
        verdict: found.verdict,
        reason: found.reason,
    }
}

/// How times lie (nearest rank).
pub fn distribution(of: &str, times: &Times) -> Distribution {
    let mut sorted = times.took_us.clone();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0)
    };
    Distribution {
        of: of.to_owned(),
        n: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
        failed: times.failed,
        min_us: at(0),
        median_us: at(50),
        p90_us: at(90),
        p99_us: at(99),
        max_us: at(100),
    }
}

impl Distribution {
    /// n, min, median, p90, p99, max; times in ms with a tenth.
    pub fn cells(&self) -> [String; 7] {
        let ms = |us: u64| match self.n {
            0 => "-".to_owned(),
            _ => format!("{}.{}", us / 1_000, us % 1_000 / 100),
        };
        [
            self.n.to_string(),
            self.failed.to_string(),
            ms(self.min_us),
            ms(self.median_us),
            ms(self.p90_us),
            ms(self.p99_us),
            ms(self.max_us),
        ]
    }
}

#[cfg(test)]
mod tests;
