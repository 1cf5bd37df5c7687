//! The one door into the state: an entry of the log comes in, what to write comes out.
//!
//! Done here once, for every change of every area: decoding, deduplication by proposal id, the
//! effective stamp, authorization, roll-back of what is refused, the audit row, the state hash.
//! No area does any of them itself.
//!
//! Invariants: 1. same view, index and entry: same [`Applied`], on every replica. 2. A [`Fault`]
//! is not an outcome: the node halts and the entry stays unapplied.

pub(crate) mod authorize;
mod dedup;
mod entry;
pub(crate) mod hash;
pub(crate) mod table;
pub(crate) mod tx;
pub(crate) mod view;

use serde::{Deserialize, Serialize};

pub use entry::{Author, Change, Entry, MAX_ENTRY_OCTETS, Proposal};
pub use table::Table;
pub use tx::Tx;
pub use view::{KeyValue, MemoryView, View, Write};

use crate::error::{Fault, Refusal, Stop};
use crate::readings::{Batch, Compact, Seal};
use crate::units::{CommandId, Device, NodeId, ProposalId, Stamp};
use crate::{
    alarms, assets, audit, clocks, commands, drills, keys, leases, live, members, operators,
    parameters, readings, regions, registry, senders, setups, shared, tasks,
};
use table::Typed;

/// What an entry does to the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer to who proposed it.
    pub outcome: Outcome,
    /// Rows to write, in order of table and key, in one step with the applied index.
    pub writes: Vec<Write>,
    /// Values to merge into the open days.
    pub rows: Vec<Batch>,
    /// Days to seal into files.
    pub seals: Vec<Seal>,
    /// Months to fold into files.
    pub compactions: Vec<Compact>,
    /// Wake-ups, which may be lost.
    pub effects: Vec<Effect>,
    /// The state hash after this entry. Equal index, equal hash, on every replica.
    pub hash: [u8; 32],
}

/// Yes, with what there is to tell, or a refusal.
pub type Outcome = Result<Done, Refusal>;

/// A yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// Done, and there is nothing more to tell.
    Noted,
    /// A meter is registered under this ordinal, now or before.
    Meter {
        /// Never reused.
        ordinal: u32,
    },
    /// A block of invocation counters that nobody else has or will have.
    Counters {
        /// The first of them.
        first: u32,
        /// How many.
        count: u32,
    },
    /// What became of each part of an ingest, in order: rows taken, or why none.
    Ingested(Vec<Result<u32, Refusal>>),
    /// The channel of a device is granted.
    Lease {
        /// Higher than every epoch granted for the device before.
        epoch: u64,
    },
    /// A region has this number.
    Region {
        /// Never reused.
        id: u32,
    },
    /// A role is granted.
    Granted {
        /// The grant's number with its operator.
        grant: u32,
        /// Whether it waits for a second person.
        waits: bool,
    },
    /// What became of each row of a load, in order: why not, or none if it is done.
    Loaded(Vec<Option<Refusal>>),
    /// A rollout has begun.
    Rollout {
        /// Its number.
        id: u64,
    },
}

/// A wake-up for those who listen on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// A concentrator was registered.
    ConcentratorRegistered {
        /// Its logical device name.
        id: String,
    },
    /// A meter was registered.
    MeterRegistered {
        /// Its serial.
        serial: String,
        /// Its ordinal.
        ordinal: u32,
    },
    /// A meter or a concentrator was retired.
    Retired {
        /// Which.
        device: Device,
    },
    /// A key was installed.
    KeysChanged {
        /// Of which device.
        device: Device,
    },
    /// The channel of a device was granted or given up.
    LeaseChanged {
        /// Which device.
        device: Device,
        /// Who owns its channel now.
        owner: Option<NodeId>,
        /// The epoch of the last grant.
        epoch: u64,
    },
    /// An operator wants the channel of a device at another node.
    SwitchOrdered {
        /// Which device.
        device: Device,
        /// Where its standby is to take over.
        to: NodeId,
    },
    /// A command waits in the outbox.
    CommandQueued {
        /// Which.
        id: CommandId,
        /// Meter serial or logical device name that it is for.
        target: String,
        /// Whose channel leads there.
        device: Device,
    },
    /// A command has reached its end, whatever that is.
    CommandSettled {
        /// Which.
        id: CommandId,
    },
    /// Values were committed.
    ReadingsStored {
        /// How many rows.
        rows: u32,
    },
    /// What is wished of the cluster's nodes changed.
    MembersChanged,
    /// A drill is over: whatever it did to a node is undone.
    DrillEnded {
        /// Which.
        drill: u64,
    },
    /// Something of the registry, or a device that is searched for, changed.
    RegistryChanged,
    /// A live view began, got a round or ended.
    LiveChanged {
        /// Which.
        id: ProposalId,
    },
}

/// What `apply` itself keeps from entry to entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    index: u64,
    stamp: Stamp,
    hash: [u8; 32],
    remembered: u64,
    audit: audit::Head,
}

static META: Typed<str, Meta> = Typed::new(Table::Meta);
const META_KEY: &str = "apply";

/// Applies an entry to the committed view: says what to write, and writes nothing.
///
/// `index` is the entry's place in the log and rises from call to call; gaps are allowed.
///
/// Errors: a fault when the view cannot be read; the node must halt, for the entry has no outcome.
pub fn apply(view: &dyn View, index: u64, entry: &Entry) -> Result<Applied, Fault> {
    let meta = meta(view)?;
    if index <= meta.index {
        return Err(Fault::OutOfOrder { offered: index, applied: meta.index });
    }
    let proposal = &entry.proposal;
    if let Some(outcome) = dedup::answered(view, proposal)? {
        return Ok(Applied::unchanged(outcome, meta.hash));
    }
    let stamp = entry.stamp.max(meta.stamp);
    let mut tx = Tx::new(view, index, stamp, &proposal.author);
    let outcome = match judge(&mut tx, proposal) {
        Ok(done) => Ok(done),
        Err(Stop::Fault(fault)) => return Err(fault),
        Err(Stop::Refused(refusal)) => {
            tx = Tx::new(view, index, stamp, &proposal.author);
            Err(refusal)
        }
    };
    finish(tx, meta, proposal, outcome)
}

/// The stamp of the last applied entry: the cluster's idea of now, as far as the log knows it.
pub fn last_stamp(view: &dyn View) -> Result<Stamp, Fault> {
    Ok(meta(view)?.stamp)
}

/// Index of the last entry that changed anything, and the state hash after it.
pub fn last_hash(view: &dyn View) -> Result<(u64, [u8; 32]), Fault> {
    let meta = meta(view)?;
    Ok((meta.index, meta.hash))
}

/// Index and outcome of a proposal that was applied in the last ten minutes.
pub fn outcome_of(view: &dyn View, id: &ProposalId) -> Result<Option<(u64, Outcome)>, Fault> {
    dedup::outcome_of(view, id)
}

pub(crate) fn audit_head(view: &dyn View) -> Result<audit::Head, Fault> {
    Ok(meta(view)?.audit)
}

fn meta(view: &dyn View) -> Result<Meta, Fault> {
    Ok(META.get(view, META_KEY)?.unwrap_or_default())
}

fn judge(tx: &mut Tx<'_>, proposal: &Proposal) -> Result<Done, Stop> {
    authorize::authorize(tx, &proposal.author, &proposal.change)?;
    match &proposal.change {
        Change::Assets(change) => assets::apply(tx, change),
        Change::Keys(change) => keys::apply(tx, change),
        Change::Readings(change) => readings::apply(tx, change),
        Change::Leases(change) => leases::apply(tx, change),
        Change::Commands(change) => commands::apply(tx, change),
        Change::Members(change) => members::apply(tx, change),
        Change::Parameters(change) => parameters::apply(tx, change),
        Change::Drills(change) => drills::apply(tx, change),
        Change::Tasks(change) => tasks::apply(tx, change),
        Change::Regions(change) => regions::apply(tx, change),
        Change::Operators(change) => operators::apply(tx, change),
        Change::Registry(change) => registry::apply(tx, change),
        Change::Audit(change) => audit::apply(tx, change),
        Change::Senders(change) => senders::apply(tx, change),
        Change::Alarms(change) => alarms::apply(tx, change),
        Change::Shared(change) => shared::apply(tx, change),
        Change::Live(change) => live::apply(tx, change),
        Change::Clocks(change) => clocks::apply(tx, change),
        Change::Setups(change) => setups::apply(tx, change),
    }
}

/// The bookkeeping behind every outcome, yes or no.
fn finish(
    mut tx: Tx<'_>,
    mut meta: Meta,
    proposal: &Proposal,
    outcome: Outcome,
) -> Result<Applied, Fault> {
    meta.remembered = dedup::remember(&mut tx, proposal, &outcome, meta.remembered)?;
    if let Some(operator) = audit::actor(proposal) {
        meta.audit = audit::record(&mut tx, &meta.audit, operator, proposal, &outcome)?;
    }
    (meta.index, meta.stamp) = (tx.index, tx.stamp);
    let (rows, seals) = (std::mem::take(&mut tx.rows), std::mem::take(&mut tx.seals));
    let compactions = std::mem::take(&mut tx.compactions);
    let effects = std::mem::take(&mut tx.effects);
    // The hash covers every write but the row that holds it; that row's other fields follow from
    // the rest.
    let mut writes = tx.into_writes();
    let done = hash::Done {
        index: meta.index,
        outcome: &outcome,
        writes: &writes,
        rows: &rows,
        seals: &seals,
        compactions: &compactions,
    };
    meta.hash = hash::next(&meta.hash, &done)?;
    let value = Some(hash::encode(&meta)?);
    writes.push(Write { table: Table::Meta, key: META_KEY.into(), value });
    Ok(Applied { outcome, writes, rows, seals, compactions, effects, hash: meta.hash })
}

impl Applied {
    /// An answer that changes nothing.
    fn unchanged(outcome: Outcome, hash: [u8; 32]) -> Applied {
        Applied {
            outcome,
            writes: Vec::new(),
            rows: Vec::new(),
            seals: Vec::new(),
            compactions: Vec::new(),
            effects: Vec::new(),
            hash,
        }
    }
}
