//! Registers are linearizable: every read and write seems to happen at one moment between its
//! question and its answer.
//!
//! Two judges look at each register, and each finds what the other finds. The first (Wing and Gong,
//! with the memory of states by Lowe) tries orders of the operations and knows nothing of the log.
//! The second needs linear time: the log says in which order the writes were applied.
//!
//! Invariants: a write without an answer may have happened at any time after its question, or
//! never; a read without an answer says nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Evidence, broken};
use crate::simulation::{history::What, town::DEVICES};

/// Most states that the first judge looks at before it says that it does not know: some seconds
/// and 100 MB. A site without power leaves many writes without an answer; each doubles them.
const MOST_STATES: usize = 50_000;

/// An operation on one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    /// When it was asked for.
    begun: u64,
    /// When it was answered.
    ended: Option<u64>,
    /// What it did.
    did: Did,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    /// Wrote a value that no other operation writes; where the log has it.
    Write(u64, Option<u64>),
    /// Read a value, or none.
    Read(Option<u64>),
}

pub fn check(evidence: &Evidence, all: &mut Vec<Broken>) {
    let promise = "registers are linearizable";
    for number in 0..DEVICES {
        let operations = operations(evidence, number);
        match linearizable(&operations) {
            Some(true) => {}
            Some(false) => {
                let seen = format!("register {number}: no order of its operations explains it");
                all.push(broken(promise, seen));
            }
            None => tell_unknown(number),
        }
        if let Err(seen) = linear(&operations) {
            all.push(broken(promise, format!("register {number}: {seen}")));
        }
    }
}

/// The second judge still judges.
fn tell_unknown(number: u64) {
    crate::simulation::executor::tell(|| format!("register {number}: too many orders to try"));
}

fn operations(evidence: &Evidence, number: u64) -> Vec<Operation> {
    let mut operations = Vec::new();
    for one in &evidence.asked {
        let did = match (&one.what, &one.read) {
            (What::Write { register, value }, _) if *register == number => {
                let known = evidence.known.get(&one.id).map(|(index, _)| *index);
                // Nobody was told of it and the log has not got it: it did not happen.
                if known.is_none() && one.told.is_none() {
                    continue;
                }
                Did::Write(*value, known.or(one.told.as_ref().map(|(index, _)| *index)))
            }
            (What::Read { register }, Some(value)) if *register == number => Did::Read(*value),
            _ => continue,
        };
        operations.push(Operation { begun: one.begun, ended: one.ended, did });
    }
    operations
}

/// The first judge; none when there are too many orders to try.
fn linearizable(operations: &[Operation]) -> Option<bool> {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|one| one.begun);
    let all = operations.len();
    // What was done: everything before `from`, and those in `beyond`. What the register holds.
    let mut seen: BTreeSet<(usize, Vec<usize>, Option<u64>)> = BTreeSet::new();
    let mut waiting = vec![(0_usize, Vec::<usize>::new(), None::<u64>)];
    while let Some((from, beyond, holds)) = waiting.pop() {
        let left = (from..all).filter(|at| !beyond.contains(at));
        if left.clone().all(|at| operations[at].ended.is_none()) {
            return Some(true);
        }
        let first_end = left.clone().filter_map(|at| operations[at].ended).min();
        for at in left {
            let one = &operations[at];
            // Whatever was asked for after another's answer comes after it.
            if first_end.is_some_and(|end| one.begun > end) {
                break;
            }
            let after = match one.did {
                Did::Write(value, _) => Some(value),
                Did::Read(value) if value == holds => holds,
                Did::Read(_) => continue,
            };
            let (mut from, mut beyond) = (from, beyond.clone());
            let place = beyond.partition_point(|other| *other < at);
            beyond.insert(place, at);
            while beyond.first() == Some(&from) {
                beyond.remove(0);
                from += 1;
            }
            if seen.len() > MOST_STATES {
                return None;
            }
            if seen.insert((from, beyond.clone(), after)) {
                waiting.push((from, beyond, after));
            }
        }
    }
    Some(false)
}

/// The second judge: what it says is wrong, if anything.
///
/// The log orders the writes. Between two operations of which one was answered before the other
/// was asked for, the order of time must be the order of the log.
fn linear(operations: &[Operation]) -> Result<(), String> {
    let index_of: BTreeMap<u64, u64> = operations
        .iter()
        .filter_map(|one| match one.did {
            Did::Write(value, index) => Some((value, index?)),
            Did::Read(_) => None,
        })
        .collect();
    let place = |one: &Operation| match one.did {
        Did::Write(value, _) => index_of.get(&value).copied().ok_or(value),
        Did::Read(Some(value)) => index_of.get(&value).copied().ok_or(value),
        Did::Read(None) => Ok(0),
    };
    // Events in the order of time: an answer raises the floor, a question remembers it.
    let mut events = Vec::new();
    for (at, one) in operations.iter().enumerate() {
        events.push((one.begun, at, false));
        events.extend(one.ended.map(|ended| (ended, at, true)));
    }
    events.sort_unstable();
    let (mut floor, mut floors) = (0, BTreeMap::new());
    for (_, at, answer) in events {
        let one = &operations[at];
        let is_write = matches!(one.did, Did::Write(..));
        let index = place(one).map_err(|value| format!("{value} is read and was never written"))?;
        if !answer {
            floors.insert(at, floor);
            continue;
        }
        let before = floors.get(&at).copied().unwrap_or(0);
        // A write has an entry of its own; a read may see what was seen before.
        if index < before || (is_write && index == before) {
            return Err(format!("{one:?} is of entry {index}, but {before} was answered before"));
        }
        floor = floor.max(index);
    }
    // A value is not read before somebody asked for it to be written.
    for one in operations {
        if let (Did::Read(Some(value)), Some(ended)) = (one.did, one.ended) {
            let written =
                operations.iter().find(|w| matches!(w.did, Did::Write(v, _) if v == value));
            if written.is_none_or(|written| written.begun > ended) {
                return Err(format!("{value} is read before it is written"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(begun: u64, ended: u64, value: u64) -> Operation {
        // In these stories the value is its place in the log too.
        let ended = (ended > 0).then_some(ended);
        Operation { begun, ended, did: Did::Write(value, Some(value)) }
    }

    fn read(begun: u64, ended: u64, value: u64) -> Operation {
        let value = (value > 0).then_some(value);
        Operation { begun, ended: Some(ended), did: Did::Read(value) }
    }

    #[test]
    fn both_judges_see_what_is_wrong_and_what_is_not() {
        for (what, good, operations) in [
            ("nothing", true, vec![]),
            ("one after the other", true, vec![write(1, 2, 1), read(3, 4, 1)]),
            ("a read beside a write sees it", true, vec![write(1, 9, 1), read(2, 3, 1)]),
            ("or not", true, vec![write(1, 9, 1), read(2, 3, 0)]),
            ("a write without answer is seen", true, vec![write(1, 0, 1), read(2, 3, 1)]),
            ("late", true, vec![write(1, 0, 1), read(2, 3, 0), read(4, 5, 1)]),
            ("a stale read", false, vec![write(1, 2, 1), write(3, 4, 2), read(5, 6, 1)]),
            ("a lost write", false, vec![write(1, 2, 1), read(3, 4, 0)]),
            (
                "back in time",
                false,
                vec![write(1, 2, 1), write(3, 9, 2), read(4, 5, 2), read(6, 7, 1)],
            ),
            ("a value from nowhere", false, vec![write(1, 2, 1), read(3, 4, 7)]),
            ("from the future", false, vec![read(1, 2, 1), write(3, 4, 1)]),
        ] {
            assert_eq!(linearizable(&operations), Some(good), "{what}");
            assert_eq!(linear(&operations).is_ok(), good, "{what}: {:?}", linear(&operations));
        }
    }
}
