//! One holder for each lease and epoch, epochs that rise, and nothing done under an old one.
//!
//! The log gives an order: every change that was applied has an index, told or not. In that order
//! the grants are gone through once more by rules of our own.

use std::collections::{BTreeMap, BTreeSet};

use domain::Done;

use super::{Broken, Known, broken};
use crate::simulation::history::{Asked, What};

#[derive(Default)]
struct Channel {
    epoch: u64,
    owner: Option<u64>,
}

pub fn check(asked: &[Asked], known: &Known, all: &mut Vec<Broken>) {
    let applied = asked.iter().filter_map(|one| match known.get(&one.id) {
        Some((index, Ok(done))) => Some((*index, done, &one.what)),
        _ => None,
    });
    let mut applied: Vec<_> = applied.collect();
    applied.sort_by_key(|(index, ..)| *index);
    let mut channels: BTreeMap<u64, Channel> = BTreeMap::new();
    let mut sent = BTreeSet::new();
    for (index, done, what) in applied {
        match (what, done) {
            (What::Claim { device, node }, Done::Lease { epoch }) => {
                let channel = channels.entry(*device).or_default();
                if *epoch <= channel.epoch {
                    let seen =
                        format!("entry {index}: {what:?} got {epoch} after {}", channel.epoch);
                    all.push(broken("one holder for each lease and epoch", seen));
                }
                *channel = Channel { epoch: *epoch, owner: Some(*node) };
            }
            (What::Release { device, node, epoch }, _) => {
                let channel = channels.entry(*device).or_default();
                fenced(index, what, (*node, *epoch), channel, all);
                channel.owner = None;
            }
            (What::Sent { device, node, epoch, command }, _) => {
                let channel = channels.entry(*device).or_default();
                fenced(index, what, (*node, *epoch), channel, all);
                if !sent.insert((*command, *epoch)) {
                    let seen = format!("entry {index}: {what:?} once more");
                    all.push(broken("a command is sent once under one epoch", seen));
                }
            }
            _ => {}
        }
    }
}

fn fenced(
    index: u64,
    what: &What,
    (node, epoch): (u64, u64),
    channel: &Channel,
    all: &mut Vec<Broken>,
) {
    if (Some(node), epoch) != (channel.owner, channel.epoch) {
        let Channel { owner, epoch } = channel;
        let seen = format!("entry {index}: {what:?} was taken; owner {owner:?}, epoch {epoch}");
        all.push(broken("nothing is done under an old grant", seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::history::id_of;

    fn judge(log: &[(What, Option<u64>)]) -> Vec<&'static str> {
        let (mut asked, mut known) = (Vec::new(), Known::new());
        for (at, (what, epoch)) in (1_u64..).zip(log) {
            let done = epoch.map_or(Done::Noted, |epoch| Done::Lease { epoch });
            known.insert(id_of(at), (at, Ok(done)));
            asked.push(Asked {
                id: id_of(at),
                what: what.clone(),
                begun: at,
                ended: None,
                told: None,
                read: None,
            });
        }
        let mut all = Vec::new();
        check(&asked, &known, &mut all);
        all.into_iter().map(|broken| broken.promise).collect()
    }

    #[test]
    fn grants_are_gone_through_in_the_order_of_the_log() {
        let claim = |node| What::Claim { device: 0, node };
        let sent = |node, epoch| What::Sent { command: 9, device: 0, node, epoch };
        let release = |node, epoch| What::Release { device: 0, node, epoch };
        let holder = "one holder for each lease and epoch";
        let old = "nothing is done under an old grant";
        let once = "a command is sent once under one epoch";
        for (log, expect) in [
            (vec![(claim(1), Some(1)), (sent(1, 1), None), (claim(2), Some(2))], vec![]),
            (vec![(claim(1), Some(1)), (claim(2), Some(1))], vec![holder]),
            (vec![(claim(1), Some(1)), (claim(2), Some(2)), (sent(1, 1), None)], vec![old]),
            (vec![(claim(1), Some(1)), (release(1, 1), None), (sent(1, 1), None)], vec![old]),
            (vec![(claim(1), Some(1)), (sent(1, 1), None), (sent(1, 1), None)], vec![once]),
        ] {
            assert_eq!(judge(&log), expect, "{log:?}");
        }
    }
}
