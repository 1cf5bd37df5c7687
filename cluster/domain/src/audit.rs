//! The audit trail: who ordered what, and what came of it.
//!
//! Written by `apply` alone, for every change that an operator asked for, refused ones included,
//! for every login, wrong ones included, and for looks at personal data, which nodes tell.
//! There is no change that edits or removes a record.
//!
//! Invariants: 1. Sequence numbers rise by one without a gap. 2. Every record holds the hash of the
//! one before, so an edited, removed or moved record breaks the chain behind it. 3. No secret.

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Typed, after};
use crate::apply::{Author, Change as Any, Done, Outcome, Proposal, Table, Tx, View, hash};
use crate::error::{Fault, Stop, refuse};
use crate::units::{ProposalId, Stamp};
use crate::{drills, operators};

/// What nodes tell the trail beside changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Somebody looked at personal data through a node.
    Looked {
        /// Who.
        operator: String,
        /// At what: 1 to 32 paths or questions, each of up to 200 octets.
        what: Vec<String>,
    },
    /// A record of the trail as the cluster's key has signed it, and with it all before.
    Signed {
        /// Which.
        sequence: u64,
        /// Its hash.
        hash: [u8; 32],
        /// 64 octets over both. Nodes make and check it; the trail only holds it.
        signature: Vec<u8>,
    },
}

/// Who signs the trail, in its records.
pub const CLUSTER: &str = "(cluster)";
const SIGNED: &str = "audit.signed";
/// So many records without a signature are too many.
const SIGN_RECORDS: u64 = 1000;
/// So long, seconds, none is left without one.
const SIGN_S: i64 = 3600;
/// Octets of a signature.
const SIGNATURE: usize = 64;

/// The most looks of one record.
pub const MAX_LOOKS: usize = 32;
/// The most octets of a look.
pub const MAX_LOOK: usize = 200;

impl Change {
    /// What it is, for the trail.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Looked { .. } => "audit.looked",
            Change::Signed { .. } => SIGNED,
        }
    }

    /// What it is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Change::Looked { what, .. } => what.join(" "),
            Change::Signed { sequence, signature, .. } => {
                let digits = signature.iter().map(|octet| format!("{octet:02x}"));
                format!("{sequence} {}", digits.collect::<String>())
            }
        }
    }
}

/// A look or a signature writes nothing but its record.
pub(crate) fn apply(tx: &Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Looked { what, .. } => {
            let fits = |one: &String| !one.is_empty() && one.len() <= MAX_LOOK;
            if what.is_empty() || what.len() > MAX_LOOKS || !what.iter().all(fits) {
                return Err(refuse("bad_look", "1 to 32 looks of up to 200 octets"));
            }
        }
        Change::Signed { sequence, hash, signature } => {
            let known = TRAIL.get(tx, sequence)?;
            if signature.len() != SIGNATURE || known.is_none_or(|record| record.hash != *hash) {
                return Err(refuse("bad_signature", format!("record {sequence} is another")));
            }
        }
    }
    Ok(Done::Noted)
}

static TRAIL: Typed<u64, Record> = Typed::new(Table::Audit);

/// The most records that one look reads.
const PAGE: usize = 1024;

/// One line of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// From 1, without gaps.
    pub sequence: u64,
    /// Log index of the entry.
    pub index: u64,
    /// When.
    pub stamp: Stamp,
    /// Who.
    pub operator: String,
    /// Under which id.
    pub proposal: ProposalId,
    /// What, such as `assets.register_meter`.
    pub action: String,
    /// To what: a serial, a logical device name, an id.
    pub object: String,
    /// The refusal's code, or none when it was done.
    pub refused: Option<String>,
    /// blake3 of the change in full.
    pub change: [u8; 32],
    /// Hash of the record before; zeros before the first.
    pub previous: [u8; 32],
    /// blake3 over all of the above.
    pub hash: [u8; 32],
}

impl Record {
    /// Which record this one signs, with the signature; none when it is no signature.
    pub fn signed(&self) -> Option<(u64, Vec<u8>)> {
        if self.action != SIGNED || self.refused.is_some() {
            return None;
        }
        let (sequence, digits) = self.object.split_once(' ')?;
        let octet = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let octets: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(octet).collect();
        Some((sequence.parse().ok()?, octets?))
    }
}

/// A trail that is looked through from its first record on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    head: Head,
}

impl Chain {
    /// Takes the next record, if it is the next and as it was written.
    pub fn takes(&mut self, record: &Record) -> Result<bool, Fault> {
        let sequence = self.head.sequence + 1;
        let fits = record.sequence == sequence
            && record.previous == self.head.hash
            && record.hash == digest(record)?;
        if fits {
            self.head = Head { sequence, hash: record.hash };
        }
        Ok(fits)
    }
}

/// What was found to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Records.
    pub records: u64,
    /// Signatures among them.
    pub signed: u64,
}

/// The end of the trail, kept by `apply` so that the next record finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    sequence: u64,
    hash: [u8; 32],
}

/// Where a trail is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail is broken at record {sequence}")]
pub struct Broken {
    /// The first record that does not fit the one before, or is missing.
    pub sequence: u64,
}

/// Whose doing a proposal is, if it belongs into the trail: an operator's, or that of somebody who
/// logs in or out at a node.
pub(crate) fn actor(proposal: &Proposal) -> Option<&str> {
    match (&proposal.author, &proposal.change) {
        // A drill stands in the trail by its begin; its numbered writes would bury everything else.
        (_, Any::Drills(drills::Change::Probe { .. })) => None,
        // A monitor keeps its lease and notes what it tells every few seconds: that is no deed.
        (_, Any::Senders(_)) => None,
        (Author::Operator(name), _) => Some(name),
        (
            Author::Node(_),
            Any::Operators(
                operators::Change::Login { name, .. }
                | operators::Change::Failed { name, .. }
                | operators::Change::Logout { name, .. },
            ),
        ) => Some(name),
        (Author::Node(_), Any::Audit(Change::Looked { operator, .. })) => Some(operator),
        (Author::Node(_), Any::Audit(Change::Signed { .. })) => Some(CLUSTER),
        _ => None,
    }
}

/// Adds a record behind the head. Gives the new head.
pub(crate) fn record(
    tx: &mut Tx<'_>,
    head: &Head,
    operator: &str,
    proposal: &Proposal,
    outcome: &Outcome,
) -> Result<Head, Fault> {
    let change = &proposal.change;
    let mut record = Record {
        sequence: head.sequence + 1,
        index: tx.index,
        stamp: tx.stamp,
        operator: operator.to_owned(),
        proposal: proposal.id,
        action: change.name().to_owned(),
        object: change.object(),
        refused: outcome.as_ref().err().map(|refusal| refusal.code.to_string()),
        change: *blake3::hash(&hash::encode(change)?).as_bytes(),
        previous: head.hash,
        hash: [0; 32],
    };
    #[cfg(feature = "seeded-bugs")]
    if crate::seeded::makes(crate::seeded::Bug::AuditUnchained) && tx.index.is_multiple_of(8) {
        record.previous = [0; 32];
    }
    record.hash = digest(&record)?;
    TRAIL.put(tx, &record.sequence, &record)?;
    Ok(Head { sequence: record.sequence, hash: record.hash })
}

/// At most `limit` records behind a sequence number.
pub fn records(view: &dyn View, behind: u64, limit: usize) -> Result<Vec<Record>, Fault> {
    let from = after(&behind.to_be_bytes());
    let rows = TRAIL.scan(view, &from, END, limit)?;
    Ok(rows.into_iter().map(|(_, record)| record).collect())
}

/// Sequence number of the newest record; 0 when there is none.
pub fn last(view: &dyn View) -> Result<u64, Fault> {
    Ok(crate::apply::audit_head(view)?.sequence)
}

/// The record that is to be signed at a time: the newest, when many or old ones have no signature
/// behind them.
pub fn due_signature(view: &dyn View, now: Stamp) -> Result<Option<Record>, Fault> {
    let behind = last(view)?.saturating_sub(SIGN_RECORDS);
    let newest = records(view, behind, PAGE)?;
    let place = newest.iter().rposition(|record| record.signed().is_some());
    let unsigned = newest.get(place.map_or(0, |place| place + 1)..).unwrap_or_default();
    let many = place.is_none() && behind > 0;
    let old = unsigned.first().is_some_and(|first| {
        // The first of all is signed at once: from then on there is one.
        place.is_none() || now.seconds() - first.stamp.seconds() >= SIGN_S
    });
    Ok(unsigned.last().filter(|_| many || old).cloned())
}

/// Checks the chain from its first record to its end. Gives the number of records, or where it
/// first breaks. Reads the whole trail: an operation of seconds for millions of records.
pub fn verify(view: &dyn View) -> Result<Result<u64, Broken>, Fault> {
    let found = verify_signed(view, |_, _, _| true)?;
    Ok(found.map(|whole| whole.records))
}

/// As [`verify`], and asks of each signature whether it holds: over which record, its hash, and the
/// signature.
pub fn verify_signed(
    view: &dyn View,
    holds: impl Fn(u64, &[u8; 32], &[u8]) -> bool,
) -> Result<Result<Whole, Broken>, Fault> {
    let (mut chain, mut signed) = (Chain::default(), 0);
    loop {
        let page = records(view, chain.head.sequence, PAGE)?;
        for record in &page {
            let sequence = chain.head.sequence + 1;
            if !chain.takes(record)? {
                return Ok(Err(Broken { sequence }));
            }
            if let Some((of, signature)) = record.signed() {
                let known = TRAIL.get(view, &of)?.filter(|known| known.sequence < sequence);
                if !known.is_some_and(|known| holds(of, &known.hash, &signature)) {
                    return Ok(Err(Broken { sequence }));
                }
                signed += 1;
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    let records = chain.head.sequence;
    // A trail cut at its end is whole in itself: only the head that apply keeps gives it away.
    if crate::apply::audit_head(view)? == chain.head {
        return Ok(Ok(Whole { records, signed }));
    }
    Ok(Err(Broken { sequence: records + 1 }))
}

fn digest(record: &Record) -> Result<[u8; 32], Fault> {
    let blank = Record { hash: [0; 32], ..record.clone() };
    Ok(*blake3::hash(&hash::encode(&blank)?).as_bytes())
}
