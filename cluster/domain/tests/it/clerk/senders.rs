//! The clerk's words for who tells and for alarms.
//!
//! Marks are small numbers: `marks=1,2`, or `many=` of them `from=` a number.

use domain::senders::{self, Change, Note};
use domain::{Fault, MemoryView, alarms};

use super::Words;

/// The change of a line.
pub fn change(words: &Words<'_>) -> Change {
    let (instance, epoch) = (words.number("instance", 1), words.number("epoch", 1));
    match words.verb() {
        "hold" => Change::Hold {
            monitor: words.text("monitor"),
            instance,
            ttl_ms: words.number("ttl_ms", 10_000),
        },
        "yield" => Change::Yield { instance, epoch },
        "begin" => Change::Begin { instance, epoch, notes: notes(words) },
        _ => Change::Told { notes: notes(words) },
    }
}

fn notes(words: &Words<'_>) -> Vec<Note> {
    let over = words.maybe("over").is_some();
    if words.maybe("many").is_some() {
        let mark = |n: u32| [[0; 12].as_slice(), n.to_be_bytes().as_slice()].concat();
        let note = |n| Note { mark: mark(n).try_into().unwrap(), over };
        let from: u32 = words.number("from", 0);
        return (from..from + words.number::<u32>("many", 0)).map(note).collect();
    }
    let marks = words.text("marks");
    let marks = marks.split(',').filter(|mark| !mark.is_empty());
    marks.map(|mark| Note { mark: [mark.parse().unwrap(); 16], over }).collect()
}

/// What a question about it shows.
pub fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
) -> Result<Option<Vec<String>>, Fault> {
    let behind = words.number("past", 0);
    Ok(Some(match what {
        "sender" => match senders::lease(view)? {
            Some(lease) => {
                let senders::Lease { monitor, instance, epoch, until } = lease;
                vec![format!("{monitor} {instance} epoch {epoch} until {}", until.seconds())]
            }
            None => vec!["nobody".into()],
        },
        "told" => {
            let marks = senders::marks(view, behind, words.number("limit", 100))?;
            let line = |(mark, kept): &([u8; 16], senders::Mark)| {
                let senders::Mark { place, over, told, at } = kept;
                let number = mark[15];
                format!("{place}: {number} over {over} told {told} at {}", at.seconds())
            };
            marks.iter().map(line).collect()
        }
        "alarms" => {
            let (first, last) = alarms::bounds(view)?;
            let found = alarms::behind(view, behind, words.number("limit", 100))?;
            let line = |(place, alarm): &(u64, alarms::Alarm)| {
                let alarms::Alarm { ordinal, object, code, end_s, taken } = alarm;
                let taken = taken.seconds();
                format!("{place}: meter {ordinal} {object} code {code} at {end_s} taken {taken}")
            };
            let bounds = format!("behind {first} to {last}");
            [bounds].into_iter().chain(found.iter().map(line)).collect()
        }
        _ => return Ok(None),
    }))
}
