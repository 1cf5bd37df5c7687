//! Drills: failures on purpose, one at a time, and what came of each.
//!
//! Not here: what a scenario does to a node, how a recovery is measured, what a report says (the
//! node knows). Here stands who drills what against which node until when, which numbered writes
//! of the drill were applied, and the sealed report.
//!
//! Invariants: 1. At most one drill is open at a time. 2. A drill is over when its report is kept,
//! when it was aborted, or when its time has passed, whichever comes first; nothing is injected
//! after that. 3. A drill injects once. 4. A numbered write that is applied a second time is never
//! forgotten: it stands in `again`. 5. A report is kept once and never changed. 6. A rolling drill
//! has an injection for each of its nodes, each once, and is of the nodes that it began with.

mod changes;
mod planned;
mod plans;
mod roll;

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Typed};
use crate::apply::{Done, Effect, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::{NodeId, Stamp};
pub(crate) use changes::needs;
pub use planned::{Answer, Came, Plan, PlanChange, Planned, Standing, Timing, Turn};
pub use plans::{KEPT_TURNS, MAX_APPROVED_DAYS, MAX_PLANS, MAX_WINDOW_S, plan, plans, standing};
pub use roll::{MAX_ROLLED, Roll, roll};

/// Drills that are kept; the last good one of each scenario stays beyond that. Two hundred are an
/// acceptance's: 100 lost channels and 100 killed leaders.
pub const MAX_KEPT: usize = 256;
/// Numbers of the writes of one drill: 0 up to this, exclusive.
pub const MAX_PROBES: u32 = 65_536;
/// The longest that a drill may be open.
pub const MAX_LIMIT_S: u32 = 900;
/// The longest that an injected failure may last.
pub const MAX_HOLD_MS: u32 = 120_000;
/// The most octets of a report.
pub const MAX_REPORT_OCTETS: usize = 160 * 1024;
/// The most letters of a text.
const MAX_TEXT: usize = 500;
/// Numbers of one row.
const BLOCK: u32 = 256;
/// Where a drill's report stands among its rows.
const REPORT: u32 = u32::MAX;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Open a drill.
    Begin(Begin),
    /// Its failure is about to be injected: nodes tell this of themselves.
    Inject {
        /// Which drill.
        drill: u64,
        /// The node that injects it into itself.
        node: NodeId,
    },
    /// A numbered write, by which a drill sees whether the cluster takes writes.
    Probe {
        /// Which drill.
        drill: u64,
        /// Below [`MAX_PROBES`].
        number: u32,
    },
    /// End a drill before its time.
    Abort {
        /// Which drill.
        drill: u64,
        /// Why; for people.
        why: String,
    },
    /// Keep its report.
    Finish {
        /// Which drill.
        drill: u64,
        /// The node that judged and sealed it.
        node: NodeId,
        /// What lists and metrics show.
        summary: Summary,
        /// The report's octets, as they were sealed.
        report: Vec<u8>,
        /// The cluster's seal over them.
        seal: [u8; 32],
    },
    /// Ask for plans, answer them, carry them out.
    Plans(PlanChange),
    /// Open a drill that has a plan's turn, or that goes from node to node.
    BeginAs(Box<BeginAs>),
}

/// What is to be drilled beyond one failure of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginAs {
    /// The drill; its target is the first of the nodes where there are some.
    pub begin: Begin,
    /// The nodes that are restarted, in the order in which this is meant; empty: only the target
    /// is hurt.
    pub nodes: Vec<NodeId>,
    /// The version with which nodes are to come back; empty: nothing is asked of it.
    pub to: String,
    /// The plan and the due time of the turn that the author has claimed.
    pub turn: Option<(String, i64)>,
}

/// What is to be drilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The scenario's name: 1 to 40 of a-z, 0-9 and -.
    pub scenario: String,
    /// The node that is hurt.
    pub target: NodeId,
    /// The concentrator whose channel is hurt; empty when none is.
    pub concentrator: String,
    /// How long the failure lasts, where it lasts.
    pub hold_ms: u32,
    /// After so many seconds the drill is over whatever happens.
    pub limit_s: u32,
    /// Why; for people.
    pub reason: String,
    /// The last backup in the operator's words; empty when nothing was said.
    pub backup: String,
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every promise was kept.
    Passed,
    /// A promise was broken.
    Failed,
    /// Aborted, or not enough was seen to say.
    Inconclusive,
}

impl Verdict {
    /// Lower-case word for pages and interfaces.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// A report in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The verdict.
    pub verdict: Verdict,
    /// Longest time without an accepted write, ms; none when writes did not come back.
    pub write_ms: Option<u32>,
    /// Longest time without an answered read, ms; none when reads did not come back.
    pub read_ms: Option<u32>,
    /// Time until the channel worked again, ms; none when no channel was hurt, or it did not.
    pub channel_ms: Option<u32>,
    /// Acknowledged writes that a node does not have.
    pub lost: u32,
    /// Writes that were applied twice.
    pub doubled: u32,
    /// Points in which it went otherwise than the scenario says.
    pub deviations: u32,
}

/// Where a drill stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Under way until its time is over.
    Open,
    /// Ended before its time.
    Aborted {
        /// By whom.
        by: String,
        /// Why.
        why: String,
    },
    /// Its report is kept.
    Finished,
}

/// One drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Log index of its begin.
    pub id: u64,
    /// What was drilled.
    pub begin: Begin,
    /// Who began it.
    pub by: String,
    /// When.
    pub begun: Stamp,
    /// Over from then on.
    pub until: Stamp,
    /// When its failure was injected.
    pub injected: Option<Stamp>,
    /// When it ended by a report or an abort.
    pub ended: Option<Stamp>,
    /// Where it stands.
    pub state: State,
    /// Its report in numbers, once that is kept.
    pub summary: Option<Summary>,
}

impl Record {
    /// Whether it is under way at a time.
    pub fn is_open(&self, at: Stamp) -> bool {
        self.state == State::Open && at < self.until
    }
}

/// A report as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The node that judged it.
    pub node: NodeId,
    /// Its octets.
    pub report: Vec<u8>,
    /// The cluster's seal over them.
    pub seal: [u8; 32],
}

/// The numbered writes that were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Runs of numbers that were applied, from and to, both inclusive, rising.
    pub runs: Vec<(u32, u32)>,
    /// Of them, those that were applied more than once.
    pub again: Vec<u32>,
}

/// 256 numbers, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Block {
    once: [u64; 4],
    again: [u64; 4],
}

static DRILLS: Typed<u64, Record> = Typed::new(Table::Drills);
static BLOCKS: Typed<(u64, u32), Block> = Typed::new(Table::DrillParts);
static REPORTS: Typed<(u64, u32), Sealed> = Typed::new(Table::DrillParts);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Begin(wish) => begin(tx, wish)?,
        Change::BeginAs(wish) => {
            if let Some(turn) = &wish.turn {
                plans::begin(tx, turn, &wish.begin.scenario)?;
            }
            begin(tx, &wish.begin)?;
            roll::begin(tx, wish)?;
        }
        Change::Plans(change) => return plans::apply(tx, change),
        Change::Inject { drill, node } => {
            let mut record = open(tx, *drill)?;
            if roll::inject(tx, *drill, *node)? {
                record.injected = record.injected.or(Some(tx.stamp));
                DRILLS.put(tx, drill, &record)?;
                return Ok(Done::Noted);
            }
            if record.begin.target != *node {
                let text = format!("drill {drill} is for node {}", record.begin.target);
                return Err(refuse("drill_elsewhere", text));
            }
            if record.injected.is_some() {
                return Err(refuse("drill_injected", format!("drill {drill} has had its failure")));
            }
            record.injected = Some(tx.stamp);
            DRILLS.put(tx, drill, &record)?;
        }
        Change::Probe { drill, number } => probe(tx, *drill, *number)?,
        Change::Abort { drill, why } => {
            check_text("why", why)?;
            let mut record = open(tx, *drill)?;
            record.state = State::Aborted { by: tx.author.name(), why: why.clone() };
            record.ended = Some(tx.stamp);
            DRILLS.put(tx, drill, &record)?;
            plans::ended(tx, *drill, None)?;
            tx.wake(Effect::DrillEnded { drill: *drill });
        }
        Change::Finish { drill, node, summary, report, seal } => {
            let sealed = Sealed { node: *node, report: report.clone(), seal: *seal };
            finish(tx, *drill, summary, &sealed)?;
        }
    }
    Ok(Done::Noted)
}

fn begin(tx: &mut Tx<'_>, wish: &Begin) -> Result<(), Stop> {
    let bad = |what: &str| Err(refuse("bad_drill", what.to_owned()));
    check_scenario(&wish.scenario)?;
    if !(1..=MAX_LIMIT_S).contains(&wish.limit_s) || wish.hold_ms > MAX_HOLD_MS {
        return bad("a drill lasts 1 to 900 s, its failure 120 s at most");
    }
    if wish.concentrator.len() > 16 {
        return bad("a concentrator's name has 16 octets at most");
    }
    check_text("reason", &wish.reason)?;
    if wish.backup.chars().count() > MAX_TEXT {
        return bad("the words on the backup are too long");
    }
    let kept = list(tx)?;
    if let Some(running) = kept.iter().find(|record| record.is_open(tx.stamp)) {
        let text = format!("drill {} ({}) is under way", running.id, running.begin.scenario);
        return Err(refuse("drill_running", text));
    }
    // Only the last drill can have left writes behind: each begin and each report clears them.
    if let Some(last) = kept.last() {
        clear_blocks(tx, last.id)?;
    }
    drop_old(tx, &kept)?;
    let limit = u64::from(wish.limit_s) * 1_000_000;
    let record = Record {
        id: tx.index,
        begin: wish.clone(),
        by: tx.author.name(),
        begun: tx.stamp,
        until: Stamp(tx.stamp.0.saturating_add(limit)),
        injected: None,
        ended: None,
        state: State::Open,
        summary: None,
    };
    Ok(DRILLS.put(tx, &record.id, &record)?)
}

/// Removes the oldest but for the last good one of each scenario, until there is room.
fn drop_old(tx: &mut Tx<'_>, kept: &[Record]) -> Result<(), Fault> {
    let mut over = (kept.len() + 1).saturating_sub(MAX_KEPT);
    let last_good = |record: &Record| {
        let alike = |other: &&Record| other.begin.scenario == record.begin.scenario;
        kept.iter().rfind(|other| alike(other) && passed(other)) == Some(record)
    };
    for record in kept {
        if over == 0 {
            break;
        }
        if !last_good(record) {
            DRILLS.delete(tx, &record.id);
            REPORTS.delete(tx, &(record.id, REPORT));
            roll::delete(tx, record.id);
            over -= 1;
        }
    }
    Ok(())
}

/// Whether a drill has shown what it was to show.
pub fn passed(record: &Record) -> bool {
    record.summary.as_ref().is_some_and(|summary| summary.verdict == Verdict::Passed)
}

fn probe(tx: &mut Tx<'_>, drill: u64, number: u32) -> Result<(), Stop> {
    open(tx, drill)?;
    if number >= MAX_PROBES {
        return Err(refuse("bad_drill", format!("a number is below {MAX_PROBES}")));
    }
    let key = (drill, number / BLOCK);
    let mut block = BLOCKS.get(tx, &key)?.unwrap_or_default();
    let (word, bit) = ((number % BLOCK / 64) as usize, 1_u64 << (number % 64));
    let before = block.once.get(word).is_some_and(|once| once & bit != 0);
    let bits = if before { &mut block.again } else { &mut block.once };
    if let Some(bits) = bits.get_mut(word) {
        *bits |= bit;
    }
    Ok(BLOCKS.put(tx, &key, &block)?)
}

fn finish(tx: &mut Tx<'_>, id: u64, summary: &Summary, sealed: &Sealed) -> Result<(), Stop> {
    let kept = list(tx)?;
    let newest = kept.last().map(|record| record.id);
    let Some(mut record) = kept.into_iter().find(|record| record.id == id) else {
        return Err(unknown(id));
    };
    // Behind a newer drill the writes are gone by which it was judged.
    if record.summary.is_some() || newest != Some(id) {
        return Err(over(id));
    }
    if sealed.report.is_empty() || sealed.report.len() > MAX_REPORT_OCTETS {
        let text = format!("a report has 1 to {MAX_REPORT_OCTETS} octets");
        return Err(refuse("bad_drill", text));
    }
    if record.state == State::Open {
        record.state = State::Finished;
        record.ended = Some(tx.stamp);
    }
    record.summary = Some(summary.clone());
    clear_blocks(tx, id)?;
    DRILLS.put(tx, &id, &record)?;
    REPORTS.put(tx, &(id, REPORT), sealed)?;
    plans::ended(tx, id, Some(summary.verdict))?;
    tx.wake(Effect::DrillEnded { drill: id });
    Ok(())
}

fn check_scenario(name: &str) -> Result<(), Stop> {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if !(1..=40).contains(&name.len()) || !name.bytes().all(letter) {
        return Err(refuse("bad_drill", "a scenario's name has 1 to 40 of a-z, 0-9 and -"));
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> Result<(), Stop> {
    if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
        return Err(refuse("bad_reason", format!("{what}: 1 to {MAX_TEXT} letters")));
    }
    Ok(())
}

fn unknown(id: u64) -> Stop {
    refuse("unknown_drill", id.to_string())
}

fn over(id: u64) -> Stop {
    refuse("drill_over", format!("drill {id} is over"))
}

fn open(tx: &Tx<'_>, id: u64) -> Result<Record, Stop> {
    let record = DRILLS.get(tx, &id)?.ok_or_else(|| unknown(id))?;
    if record.is_open(tx.stamp) { Ok(record) } else { Err(over(id)) }
}

fn clear_blocks(tx: &mut Tx<'_>, drill: u64) -> Result<(), Fault> {
    for (number, _) in blocks(tx, drill)? {
        BLOCKS.delete(tx, &(drill, number));
    }
    Ok(())
}

fn blocks(view: &dyn View, drill: u64) -> Result<Vec<(u32, Block)>, Fault> {
    let octets = |block: u32| [&drill.to_be_bytes()[..], &block.to_be_bytes()].concat();
    let most = (MAX_PROBES / BLOCK) as usize;
    let rows = BLOCKS.scan(view, &octets(0), &octets(MAX_PROBES / BLOCK), most)?;
    let number = |key: &[u8]| {
        let last = key.get(8..).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
        last.map_or(0, u32::from_be_bytes)
    };
    Ok(rows.into_iter().map(|(key, block)| (number(&key), block)).collect())
}

/// Every drill that is kept, oldest first.
pub fn list(view: &dyn View) -> Result<Vec<Record>, Fault> {
    // Beyond the kept ones stand the last good ones of scenarios, of which there are few.
    let rows = DRILLS.scan(view, &[], END, MAX_KEPT * 2)?;
    Ok(rows.into_iter().map(|(_, record)| record).collect())
}

/// One drill.
pub fn drill(view: &dyn View, id: u64) -> Result<Option<Record>, Fault> {
    DRILLS.get(view, &id)
}

/// The report of a drill, once it is kept.
pub fn report(view: &dyn View, id: u64) -> Result<Option<Sealed>, Fault> {
    REPORTS.get(view, &(id, REPORT))
}

/// Whether a numbered write was applied.
pub fn has_probe(view: &dyn View, drill: u64, number: u32) -> Result<bool, Fault> {
    let block = BLOCKS.get(view, &(drill, number / BLOCK))?.unwrap_or_default();
    let word = block.once.get((number % BLOCK / 64) as usize).copied().unwrap_or_default();
    Ok(word & (1 << (number % 64)) != 0)
}

/// The numbered writes of a drill that were applied; none after its report is kept.
pub fn probed(view: &dyn View, drill: u64) -> Result<Probed, Fault> {
    let mut probed = Probed::default();
    for (block, bits) in blocks(view, drill)? {
        for at in 0..BLOCK {
            let has = |words: &[u64; 4]| {
                words.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
            };
            let number = block * BLOCK + at;
            if has(&bits.again) {
                probed.again.push(number);
            }
            if !has(&bits.once) {
                continue;
            }
            match probed.runs.last_mut() {
                Some((_, to)) if *to + 1 == number => *to = number,
                _ => probed.runs.push((number, number)),
            }
        }
    }
    Ok(probed)
}
