//! The figures as data: names, words, limits, and by which rule each is judged.
//!
//! Source: chapter 6 of the customer's specification. Where it gives no unit or no window, the
//! words in `how` say what we take. Invariant: names are a contract of the report's format.

use super::Distribution;

/// A limit of a percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// 90, 99, or 100 for the greatest.
    pub percent: u8,
    /// Microseconds.
    pub us: u64,
    /// Whether the limit itself is within.
    pub inclusive: bool,
}

impl Limit {
    /// Whether a time is within.
    pub fn holds(self, us: u64) -> bool {
        us < self.us || (self.inclusive && us == self.us)
    }

    /// The percentile that it is of.
    pub fn of(self, lies: &Distribution) -> u64 {
        match self.percent {
            90 => lies.p90_us,
            99 => lies.p99_us,
            _ => lies.max_us,
        }
    }
}

/// By what a figure is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Meters that the cluster holds.
    Users,
    /// The age of the oldest value that is answered.
    Online,
    /// The cluster's own rate of the last day.
    Collection,
    /// Reads completed.
    Speed,
    /// Percentiles of times.
    Times {
        /// All must hold.
        limits: &'static [Limit],
        /// So many measurements are needed.
        least: u32,
        /// Whether it counts only at the customer's size.
        at_size: bool,
    },
    /// Each of a number of drills.
    Drills {
        /// Of each.
        limit: Limit,
        /// So many trials are needed.
        least: u32,
    },
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// How it is measured.
    pub how: &'static str,
    /// The limit in words.
    pub limit: &'static str,
    /// What its times are of.
    pub of: &'static str,
    /// The drills that count for it.
    pub scenarios: &'static [&'static str],
    /// By what it is judged.
    pub rule: Rule,
}

const fn under(percent: u8, seconds: u64) -> Limit {
    Limit { percent, us: seconds * 1_000_000, inclusive: false }
}

const fn up_to(percent: u8, seconds: u64) -> Limit {
    Limit { percent, us: seconds * 1_000_000, inclusive: true }
}

const fn times(limits: &'static [Limit]) -> Rule {
    Rule::Times { limits, least: 100, at_size: false }
}

/// A query, which counts at the customer's size alone.
const fn query(limits: &'static [Limit]) -> Rule {
    Rule::Times { limits, least: 100, at_size: true }
}

const fn figure(name: &'static str, title: &'static str, rule: Rule) -> Figure {
    Figure { name, title, how: "", limit: "", of: "", scenarios: &[], rule }
}

/// Every figure, in the specification's order.
pub const FIGURES: [Figure; 12] = [
    Figure {
        how: "meters in the cluster's registry, as the judging node counts them",
        limit: "more than 10 million users, all other figures holding at that size",
        ..figure("users", "Users", Rule::Users)
    },
    Figure {
        how: "the oldest stored value among the meters that were looked at, and whole days around \
              it, queried at every node without a restore",
        limit: "more than 10 years (3653 days) online, answered as a general query",
        ..figure("online-days", "Days online", Rule::Online)
    },
    Figure {
        how: "the cluster's own formula: interval values stored of those due in the last 24 hours, \
              by pushes, reads on schedule and refill; estimates do not count. How many meters are \
              out of order in the field the cluster does not know; silent ones are told",
        limit: "at least 98.5 %",
        ..figure("collection", "Periodic collection", Rule::Collection)
    },
    Figure {
        how: "reads on demand of one register each, from the order at any node to the value in the \
              replicated log, many at a time. The specification gives no window: 10,000 within any \
              one hour is taken",
        limit: "more than 10,000 meter reads an hour",
        ..figure("reading-speed", "Reading speed", Rule::Speed)
    },
    Figure {
        how: "pages of the web interface asked for at every node in turn: from the request to the \
              last octet (server and rendering, no browser)",
        limit: "p90 at most 3 s, p99 at most 5 s",
        of: "a page",
        ..figure("interface", "Interface change", times(&[up_to(90, 3), up_to(99, 5)]))
    },
    Figure {
        how: "drills that close, or hush, the active channel of a concentrator: from the fault to \
              the first exchange on its standby, by the drills' own records in the log",
        limit: "each of 100 trials at most 5 s",
        of: "fault to standby active",
        scenarios: &["channel-cut", "channel-black-hole"],
        ..figure(
            "channel-switch",
            "Channel switch",
            Rule::Drills { limit: up_to(100, 5), least: 100 },
        )
    },
    Figure {
        how: "drills that kill the leading process: longest time without an accepted write or an \
              answered read, every node tried each 50 ms, by the drills' own records in the log; \
              each acknowledged write is looked for on every node",
        limit: "each of 100 trials under 30 s, nothing lost, nothing twice",
        of: "longest pause of writes and reads",
        scenarios: &["leader-kill", "node-kill"],
        ..figure("warm-standby", "Warm standby", Rule::Drills { limit: under(100, 30), least: 100 })
    },
    Figure {
        how: "an upper bound, by one clock: from the order of a read at one node to the read's \
              value in the answer of another node. It holds the order's way and the meter's \
              answer, which the figure itself does not count",
        limit: "p99 under 5 s",
        of: "order to value at another node",
        ..figure("remote-data", "Remote net data", times(&[under(99, 5)]))
    },
    Figure {
        how: "from the order's entry in the log to the device's acknowledgement, by the cluster's \
              stamps; the way to the channel and the part behind it (concentrator, power line, \
              meter) are told apart",
        limit: "p99 at most 5 s",
        of: "queued to acknowledged",
        ..figure("command-reach", "Command reach", times(&[up_to(99, 5)]))
    },
    Figure {
        how: "a parameter of a device is read, and written with the very value that it has and \
              read back by the cluster: each from the order to its end at the asking client",
        limit: "p99 under 8 s",
        of: "get or set, whole round",
        ..figure("request-set", "Request and set", times(&[under(99, 8)]))
    },
    Figure {
        how: "stored values of the last day of meters in turn, lists of meters and the collection, \
              at every node in turn; caches are as they are, not emptied",
        limit: "p99 under 10 s, at 10 million points",
        of: "a query",
        ..figure("general-query", "General query", query(&[under(99, 10)]))
    },
    Figure {
        how: "searches for parts of names and numbers that the cluster holds, two letters to \
              eight, and for what it does not hold, at every node in turn",
        limit: "p99 under 15 s, at 10 million points",
        of: "a search",
        ..figure("fuzzy-query", "Fuzzy query", query(&[under(99, 15)]))
    },
];
