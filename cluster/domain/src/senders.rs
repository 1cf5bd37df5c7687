//! Senders: which monitoring server tells people, and what was told.
//!
//! Two monitors watch one cluster; one of them holds the lease and tells. Beside the lease stands a
//! bounded record of what was told or is about to be, by hashes that both monitors reckon alike, so
//! that the next sender neither repeats nor leaves out. Not here: alarms, texts, people.
//!
//! Invariants: 1. At most one holder at a time; a new one gets a higher epoch. 2. Whether a lease
//! has ended is judged by the entry's stamp. 3. Nothing is begun under an older epoch or an ended
//! lease. 4. A mark that was told is never taken back to begun by the same beginning. 5. At most
//! [`MAX_MARKS`] marks are kept, the oldest go first.

use serde::{Deserialize, Serialize};

use crate::apply::table::{Key, Typed, after};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::Stamp;

/// The most marks that are kept.
pub const MAX_MARKS: u64 = 20_000;
/// The most marks of one change.
pub const MAX_NOTES: usize = 1_000;
/// The shortest and the longest lease, milliseconds.
pub const TTL_MS: (u32, u32) = (1_000, 300_000);
/// The most letters of a monitor's name.
const MAX_NAME: usize = 64;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Take the lease, or keep it.
    Hold {
        /// The monitor's name.
        monitor: String,
        /// Drawn once by the monitor: two of one name are two.
        instance: u64,
        /// How long it lasts from the stamp.
        ttl_ms: u32,
    },
    /// Give the lease up at once.
    Yield {
        /// Who.
        instance: u64,
        /// Under which epoch.
        epoch: u64,
    },
    /// Something is about to be told.
    Begin {
        /// Who.
        instance: u64,
        /// Under which epoch.
        epoch: u64,
        /// What.
        notes: Vec<Note>,
    },
    /// Something was told. Any monitor may say so: it is a fact.
    Told {
        /// What.
        notes: Vec<Note>,
    },
}

impl Change {
    /// Area and verb.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Hold { .. } => "senders.hold",
            Change::Yield { .. } => "senders.yield",
            Change::Begin { .. } => "senders.begin",
            Change::Told { .. } => "senders.told",
        }
    }

    /// What it is about.
    pub fn object(&self) -> String {
        match self {
            Change::Hold { monitor, .. } => monitor.clone(),
            Change::Yield { epoch, .. } => format!("epoch {epoch}"),
            Change::Begin { notes, .. } | Change::Told { notes } => {
                format!("{} marks", notes.len())
            }
        }
    }
}

/// Something told, or about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// A hash over what, to whom and on which ways.
    pub mark: [u8; 16],
    /// Whether it says that something is over.
    pub over: bool,
}

/// Who holds the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The monitor's name.
    pub monitor: String,
    /// Its number.
    pub instance: u64,
    /// Raised whenever another takes it.
    pub epoch: u64,
    /// Until when.
    pub until: Stamp,
}

impl Lease {
    /// Whether it lasts at a time.
    pub fn lasts(&self, at: Stamp) -> bool {
        at < self.until
    }
}

/// A mark as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Rises with every change of any mark: where a reader goes on.
    pub place: u64,
    /// Whether it says that something is over.
    pub over: bool,
    /// Whether it was told; otherwise it was about to be.
    pub told: bool,
    /// When that became known.
    pub at: Stamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    lease: Option<Lease>,
    /// Given to the last mark that was written.
    place: u64,
    kept: u64,
}

/// Rows of one table: the head, marks by hash, hashes by place.
struct Row(u8, Vec<u8>);

impl Key for Row {
    fn octets(&self) -> Vec<u8> {
        [&[self.0], self.1.as_slice()].concat()
    }
}

impl Row {
    fn head() -> Row {
        Row(0, Vec::new())
    }

    fn mark(mark: &[u8; 16]) -> Row {
        Row(1, mark.to_vec())
    }

    fn place(place: u64) -> Row {
        Row(2, place.to_be_bytes().to_vec())
    }
}

static HEAD: Typed<Row, Head> = Typed::new(Table::Senders);
static MARKS: Typed<Row, Mark> = Typed::new(Table::Senders);
static PLACES: Typed<Row, [u8; 16]> = Typed::new(Table::Senders);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    let mut head = HEAD.get(tx, &Row::head())?.unwrap_or_default();
    let done = match change {
        Change::Hold { monitor, instance, ttl_ms } => {
            let epoch = hold(tx, &mut head, monitor, *instance, *ttl_ms)?;
            Done::Lease { epoch }
        }
        Change::Yield { instance, epoch } => {
            check(tx, &head, *instance, *epoch)?;
            let now = tx.stamp;
            if let Some(lease) = &mut head.lease {
                lease.until = now;
            }
            Done::Noted
        }
        Change::Begin { instance, epoch, notes } => {
            check(tx, &head, *instance, *epoch)?;
            note(tx, &mut head, notes, false)?;
            Done::Noted
        }
        Change::Told { notes } => {
            note(tx, &mut head, notes, true)?;
            Done::Noted
        }
    };
    HEAD.put(tx, &Row::head(), &head)?;
    Ok(done)
}

fn hold(
    tx: &Tx<'_>,
    head: &mut Head,
    monitor: &str,
    instance: u64,
    ttl_ms: u32,
) -> Result<u64, Stop> {
    let named = (1..=MAX_NAME).contains(&monitor.chars().count());
    if !named || monitor.chars().any(char::is_control) {
        return Err(refuse("bad_sender", "a monitor's name has 1 to 64 letters"));
    }
    if !(TTL_MS.0..=TTL_MS.1).contains(&ttl_ms) {
        return Err(refuse("bad_sender", "a lease lasts 1 to 300 s"));
    }
    let epoch = match &head.lease {
        Some(lease) if lease.instance == instance && lease.lasts(tx.stamp) => lease.epoch,
        Some(lease) if lease.lasts(tx.stamp) => {
            return Err(refuse("sender_held", lease.monitor.clone()));
        }
        Some(lease) => lease.epoch + 1,
        None => 1,
    };
    let until = Stamp(tx.stamp.0.saturating_add(u64::from(ttl_ms) * 1_000));
    head.lease = Some(Lease { monitor: monitor.to_owned(), instance, epoch, until });
    Ok(epoch)
}

/// Whether somebody holds the lease under an epoch.
fn check(tx: &Tx<'_>, head: &Head, instance: u64, epoch: u64) -> Result<(), Stop> {
    let holds = head.lease.as_ref().is_some_and(|lease| {
        lease.instance == instance && lease.epoch == epoch && lease.lasts(tx.stamp)
    });
    if holds { Ok(()) } else { Err(refuse("stale_sender", format!("epoch {epoch}"))) }
}

fn note(tx: &mut Tx<'_>, head: &mut Head, notes: &[Note], told: bool) -> Result<(), Stop> {
    if notes.is_empty() || notes.len() > MAX_NOTES {
        return Err(refuse("bad_sender", format!("1 to {MAX_NOTES} marks")));
    }
    for note in notes {
        match MARKS.get(tx, &Row::mark(&note.mark))? {
            Some(known) => PLACES.delete(tx, &Row::place(known.place)),
            None => head.kept += 1,
        }
        head.place += 1;
        let mark = Mark { place: head.place, over: note.over, told, at: tx.stamp };
        MARKS.put(tx, &Row::mark(&note.mark), &mark)?;
        PLACES.put(tx, &Row::place(head.place), &note.mark)?;
    }
    let over = usize::try_from(head.kept.saturating_sub(MAX_MARKS)).unwrap_or(usize::MAX);
    let (first, end) = (Row::place(0).octets(), Row(3, Vec::new()).octets());
    for (key, mark) in PLACES.scan(tx, &first, &end, over)? {
        tx.put(Table::Senders, key, None);
        MARKS.delete(tx, &Row::mark(&mark));
        head.kept -= 1;
    }
    Ok(())
}

/// Who holds the lease, or held it last.
pub fn lease(view: &dyn View) -> Result<Option<Lease>, Fault> {
    Ok(HEAD.get(view, &Row::head())?.and_then(|head| head.lease))
}

/// At most `limit` marks behind a place, in order of their places.
pub fn marks(view: &dyn View, behind: u64, limit: usize) -> Result<Vec<([u8; 16], Mark)>, Fault> {
    let (from, end) = (after(&Row::place(behind).octets()), Row(3, Vec::new()).octets());
    let mut found = Vec::new();
    for (_, mark) in PLACES.scan(view, &from, &end, limit)? {
        if let Some(kept) = MARKS.get(view, &Row::mark(&mark))? {
            found.push((mark, kept));
        }
    }
    Ok(found)
}
