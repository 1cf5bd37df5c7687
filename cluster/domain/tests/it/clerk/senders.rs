//! The clerk's words for who tells and for alarms.
//!
//! Marks are small numbers: `marks=1,2`, or `many=` of them `from=` a number.

use domain::alarms::{Event, Report};
use domain::senders::{self, Change, Note};
use domain::shared::{self, Item};
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

/// The change of a line about what concentrators report or monitors share.
pub fn watched(words: &Words<'_>) -> domain::Change {
    if words.verb() == "share" {
        let names = words.text("names");
        let value = words.maybe("value").map(|value| value.as_bytes().to_vec());
        let items = names.split(',').filter(|name| !name.is_empty());
        let items = items.map(|name| Item { name: name.to_owned(), value: value.clone() });
        return domain::Change::Shared(shared::Change::Put { items: items.collect() });
    }
    let many: u32 = words.number("many", 1);
    let event = |nth: u32| Event {
        object: words.maybe("object").unwrap_or("0-0:96.11.0").parse().unwrap(),
        code: words.number("code", 1),
        about: words.text("about"),
        end_s: words.number::<i64>("when", 0) + i64::from(nth),
    };
    domain::Change::Alarms(alarms::Change::Report(Report {
        concentrator: words.text("of"),
        epoch: words.number("epoch", 1),
        events: (0..many).map(event).collect(),
    }))
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
                if *ordinal == alarms::CONCENTRATOR {
                    return format!("{place}: concentrator {object} code {code} at {end_s}");
                }
                format!("{place}: meter {ordinal} {object} code {code} at {end_s} taken {taken}")
            };
            let bounds = format!("behind {first} to {last}");
            [bounds].into_iter().chain(found.iter().map(line)).collect()
        }
        "reports" => {
            let line = |one: &alarms::Reported| {
                let Event { object, code, about, end_s } = &one.event;
                let place = one.place.map_or("none".into(), |place| place.to_string());
                format!("{object} code {code} about {about:?} at {end_s} place {place}")
            };
            let found = alarms::reports(view, &words.text("of"), words.number("limit", 9))?;
            found.iter().map(line).collect()
        }
        "shared" => {
            let (last, forgotten) = shared::bounds(view)?;
            let line = |(name, kept): &(String, shared::Kept)| {
                let value = kept.value.as_ref().map(|value| String::from_utf8_lossy(value));
                format!("{}: {name} {value:?} at {}", kept.place, kept.at.seconds())
            };
            let found = shared::behind(view, behind, words.number("limit", 100))?;
            let bounds = format!("to {last}, forgotten to {forgotten}");
            [bounds].into_iter().chain(found.iter().map(line)).collect()
        }
        _ => return Ok(None),
    }))
}
