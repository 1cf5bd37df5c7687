//! What happened in a drill, in order, for people. Pure.
//!
//! Invariant: bounded; what is told stands in the evidence.

use std::collections::BTreeSet;

use super::{channel_back, rolling};
use crate::drills::evidence::{Answer, Evidence, Kind};
use crate::drills::measure::{pause, relative_ms};
use crate::drills::report::{Identity, Moment, Recovery};

/// Moments of a timeline.
const MOMENTS: usize = 60;

/// The moments of a drill.
pub(super) fn timeline(
    evidence: &Evidence,
    identity: &Identity,
    injected_us: u64,
    recovery: &[Recovery],
) -> Vec<Moment> {
    let mut moments: Vec<(u64, String)> = Vec::new();
    let name = |node: u8| evidence.nodes.get(usize::from(node)).map_or("?", String::as_str);
    let one = evidence.injected_us.filter(|_| evidence.steps.is_empty());
    if let Some(at) = one {
        moments.push((at, format!("injected into {}: {}", identity.target, identity.injection)));
    }
    for (at, what) in
        [(evidence.undone_us, "the failure is over"), (evidence.whole_us, "every node works again")]
    {
        moments.extend(at.map(|at| (at, what.to_owned())));
    }
    for kind in [Kind::Write, Kind::Read] {
        let of = || evidence.operations.iter().filter(move |one| one.kind == kind);
        let behind = || of().filter(move |one| one.ended_us > injected_us);
        if let Some(one) = behind().find(|one| one.answer != Answer::Good) {
            let text = format!("first {} without an answer, at {}", kind.name(), name(one.node));
            moments.push((one.ended_us, text));
        }
        let longest = pause(&evidence.operations, kind, injected_us, evidence.ended_us);
        let measured = recovery.iter().find(|one| one.kind == kind.name());
        if let Some(took) = measured.and_then(|one| one.measured_ms) {
            let text = format!("first {} behind the longest pause ({took} ms)", kind.name());
            moments.push((longest.ended_us, text));
        }
    }
    let mut led = BTreeSet::new();
    for seen in evidence.seen.iter().filter(|seen| seen.up) {
        let Some(leader) = &seen.leader else { continue };
        if led.insert((seen.term, leader)) {
            let text = format!("{leader} leads in term {}, says {}", seen.term, name(seen.node));
            moments.push((seen.at_us, text));
        }
    }
    for pair in rolling::moments(evidence).into_iter().chain(changes(evidence)) {
        moments.push(pair);
    }
    if let Some(at) = channel_back(evidence, injected_us) {
        moments.push((at, format!("{} has an active channel again", identity.concentrator)));
    }
    if let Some(found) = &evidence.restored {
        let text = format!("backup {} of index {} is restored", found.backup, found.index);
        moments.push((evidence.ended_us, text));
    }
    if let Some(why) = &evidence.aborted {
        moments.push((evidence.ended_us, format!("given up: {why}")));
    }
    moments.sort();
    let told = moments.into_iter().take(MOMENTS);
    told.map(|(at, what)| Moment { at_ms: relative_ms(at, injected_us), what }).collect()
}

/// When nodes fell silent, came back, were not ready and were again.
fn changes(evidence: &Evidence) -> Vec<(u64, String)> {
    let mut moments = Vec::new();
    for (place, name) in evidence.nodes.iter().enumerate() {
        let of = evidence.seen.iter().filter(|seen| usize::from(seen.node) == place);
        let mut before: Option<(bool, bool)> = None;
        for seen in of {
            let now = (seen.up, seen.ready);
            let what = match (before, now) {
                (Some((true, _)), (false, _)) => Some("does not answer"),
                (Some((false, _)), (true, _)) => Some("answers again"),
                (Some((true, true)), (true, false)) => Some("is not ready"),
                (Some((true, false)), (true, true)) => Some("is ready"),
                _ => None,
            };
            moments.extend(what.map(|what| (seen.at_us, format!("{name} {what}"))));
            before = Some(now);
        }
    }
    moments
}
