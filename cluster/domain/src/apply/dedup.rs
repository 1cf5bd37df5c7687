//! Deduplication: a proposal that comes twice is applied once and answered twice.
//!
//! Kept for ten minutes of stamps and for at most [`MAX_IDS`] proposals, whichever is less; every
//! entry drops at most [`MAX_DROPS`] of the oldest, so the window is the same on every replica
//! and no entry pays for a crowd. Invariant: the table is never longer than `MAX_IDS`.

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Typed};
use crate::apply::tx::Tx;
use crate::apply::{Change, Outcome, Proposal, Table, View, hash};
use crate::error::{Fault, Refusal};
use crate::units::{ProposalId, Stamp};

/// The most proposals that are remembered.
pub(crate) const MAX_IDS: u64 = 200_000;

/// How long a proposal is remembered, in microseconds: ten minutes, far above every deadline.
const WINDOW_MICROS: u64 = 600_000_000;

/// The most ids that one entry drops. Above one, so that a full window shrinks.
const MAX_DROPS: usize = 4;

static SEEN: Typed<ProposalId, Seen> = Typed::new(Table::Dedup);
static ORDER: Typed<u64, (ProposalId, Stamp)> = Typed::new(Table::DedupOrder);

/// What became of a proposal.
#[derive(Serialize, Deserialize)]
struct Seen {
    index: u64,
    digest: [u8; 16],
    outcome: Outcome,
}

/// The answer to a proposal that was applied before.
///
/// Another wish under a used id is refused as `id_reused`, whatever became of the first.
pub(crate) fn answered(view: &dyn View, proposal: &Proposal) -> Result<Option<Outcome>, Fault> {
    let Some(seen) = SEEN.get(view, &proposal.id)? else { return Ok(None) };
    #[cfg(feature = "seeded-bugs")]
    if crate::seeded::makes(crate::seeded::Bug::DedupDropped) {
        return Ok(None);
    }
    if seen.digest == digest(proposal)? {
        return Ok(Some(seen.outcome));
    }
    let text = format!("{} was used at index {} for another proposal", proposal.id, seen.index);
    Ok(Some(Err(Refusal::new("id_reused", text))))
}

/// The outcome of a proposal id, while it is remembered.
pub(crate) fn outcome_of(
    view: &dyn View,
    id: &ProposalId,
) -> Result<Option<(u64, Outcome)>, Fault> {
    Ok(SEEN.get(view, id)?.map(|seen| (seen.index, seen.outcome)))
}

/// Remembers an outcome and drops what is too old. Gives the number of ids now remembered.
pub(crate) fn remember(
    tx: &mut Tx<'_>,
    proposal: &Proposal,
    outcome: &Outcome,
    remembered: u64,
) -> Result<u64, Fault> {
    let seen = Seen { index: tx.index, digest: digest(proposal)?, outcome: outcome.clone() };
    let (index, stamp) = (tx.index, tx.stamp);
    let mut left = remembered;
    for (key, (id, at)) in ORDER.scan(tx, &[], END, MAX_DROPS)? {
        let old = stamp.0.saturating_sub(at.0) > WINDOW_MICROS;
        if !old && left < MAX_IDS {
            break;
        }
        SEEN.delete(tx, &id);
        tx.put(Table::DedupOrder, key, None);
        left = left.saturating_sub(1);
    }
    SEEN.put(tx, &proposal.id, &seen)?;
    ORDER.put(tx, &index, &(proposal.id, stamp))?;
    Ok(left + 1)
}

/// Tells one wish from another. Batches of readings are large and only nodes make them, each with
/// a fresh id, so their content is left out.
fn digest(proposal: &Proposal) -> Result<[u8; 16], Fault> {
    let octets = match &proposal.change {
        Change::Readings(_) => hash::encode(&proposal.author)?,
        change => hash::encode(&(&proposal.author, change))?,
    };
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(&octets).as_bytes()[..16]);
    Ok(digest)
}
