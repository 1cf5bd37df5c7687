//! Nothing acknowledged is lost, nothing is applied twice, no counter is given twice.
//!
//! Invariant: an answer that a client got is compared with what stands at every node.

use std::collections::BTreeMap;

use domain::{Done, Outcome, apply::outcome_of, keys};

use super::{Broken, Evidence, broken};
use crate::simulation::{
    clients::{COLUMN, value_of},
    history::{Asked, What},
    town::{DEVICES, device},
};

pub fn check(evidence: &Evidence, all: &mut Vec<Broken>) {
    kept(evidence, all);
    counters(evidence, all);
    once(evidence, all);
    values(evidence, all);
}

/// What was told stands at every node: the outcome, applied at the told index or before it, when
/// the answer was of a repetition.
fn kept(evidence: &Evidence, all: &mut Vec<Broken>) {
    for Asked { id, what, told, .. } in &evidence.asked {
        let Some(told) = told else { continue };
        for (node, view, _) in &evidence.nodes {
            let stands = outcome_of(view, id).ok().flatten();
            let kept = stands.as_ref().is_some_and(|(at, as_it)| *at <= told.0 && *as_it == told.1);
            if !kept {
                let seen = format!("{what:?}: told {told:?}, at n{node} stands {stands:?}");
                all.push(broken("nothing acknowledged is lost", seen));
            }
        }
    }
}

/// Blocks of counters do not overlap.
fn counters(evidence: &Evidence, all: &mut Vec<Broken>) {
    let mut blocks: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
    let told = evidence.asked.iter().flat_map(|one| {
        let known = evidence.known.get(&one.id);
        let outcomes = one.told.iter().chain(known).map(move |(_, outcome)| (one, outcome));
        // Told and known are the same block, unless the state forgot it.
        let mut outcomes: Vec<(&Asked, &Outcome)> = outcomes.collect();
        outcomes.dedup_by(|one, other| one.1 == other.1);
        outcomes
    });
    for (one, outcome) in told {
        if let (What::Reserve { device, .. }, Ok(Done::Counters { first, count })) =
            (&one.what, outcome)
        {
            blocks.entry(*device).or_default().push((*first, *count));
        }
    }
    for (device, mut blocks) in blocks {
        blocks.sort_unstable();
        for pair in blocks.windows(2) {
            if let [(first, count), (next, _)] = pair
                && first + count > *next
            {
                let seen = format!("device {device}: {pair:?} overlap");
                all.push(broken("no counter is given twice", seen));
            }
        }
    }
}

/// As many counters are gone as the proposals that were applied took, each once.
fn once(evidence: &Evidence, all: &mut Vec<Broken>) {
    for number in 0..DEVICES {
        let taken = evidence.asked.iter().filter_map(|one| match &one.what {
            What::Reserve { device, count } if *device == number => {
                let applied = evidence.known.get(&one.id).is_some_and(|(_, o)| o.is_ok());
                applied.then_some(*count)
            }
            _ => None,
        });
        let expect = 1 + taken.sum::<u32>();
        for (node, view, _) in &evidence.nodes {
            let next = keys::next_counter(view, &device(number)).unwrap_or_default();
            if next != expect {
                let seen = format!("device {number} at n{node}: next {next}, expected {expect}");
                all.push(broken("nothing is applied twice", seen));
            }
        }
    }
}

/// Every value that was taken is stored at every node.
fn values(evidence: &Evidence, all: &mut Vec<Broken>) {
    for one in &evidence.asked {
        let What::Ingest { end_s } = one.what else { continue };
        let Some((_, Ok(Done::Ingested(parts)))) = evidence.known.get(&one.id) else { continue };
        if parts.iter().any(Result::is_err) {
            continue;
        }
        for (node, _, segments) in &evidence.nodes {
            let points = segments.query(15, 0, COLUMN, end_s - 1, end_s + 1).unwrap_or_default();
            if !points.iter().any(|p| p.end_s == end_s && p.value == value_of(end_s)) {
                let seen = format!("the value of {end_s} is not at n{node}");
                all.push(broken("every value that was taken is stored", seen));
            }
        }
    }
}
