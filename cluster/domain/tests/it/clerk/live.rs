//! The clerk's words for live views: `look` opens one, `round` reports, `leave` ends one.
//!
//! `nr=` is the view's number; a round has `value=`, `failed=`, or `octets=` of one long value.

use domain::commands::{Failure, Read, Value};
use domain::live::{self, Change, End};
use domain::{Fault, MemoryView, NodeId, Obis, ProposalId, Stamp};

use super::Words;

/// The change of a line.
pub fn change(words: &Words<'_>) -> Change {
    let id = id(words);
    let node = NodeId(words.number("node", 1));
    match words.verb() {
        "look" => Change::Open {
            id,
            meter: words.text("meter"),
            node,
            pause_s: words.maybe("pause").map(|_| words.number("pause", 0)),
            length_s: words.maybe("length").map(|_| words.number("length", 0)),
        },
        "round" => Change::Report {
            id,
            node,
            epoch: words.number("epoch", 1),
            took_ms: 40,
            result: match words.maybe("failed") {
                Some(_) => Err(Failure::NoAnswer),
                None => Ok(vec![read(words)]),
            },
        },
        _ => Change::Close {
            id,
            node,
            why: match words.maybe("why") {
                Some("no_channel") => End::NoChannel,
                Some("time") => End::Time,
                _ => End::Left,
            },
        },
    }
}

fn id(words: &Words<'_>) -> ProposalId {
    ProposalId(words.number::<u128>("nr", 1).to_be_bytes())
}

fn read(words: &Words<'_>) -> Read {
    let value = match words.maybe("octets") {
        Some(_) => Value::Octets(vec![7; words.number("octets", 0)]),
        None => Value::Integer(words.number("value", 230)),
    };
    let obis = Obis([1, 0, 32, 7, 0, 255]);
    Read { obis, attribute: 2, value, scaler: Some(0), unit: Some(35) }
}

/// What a question about it shows.
pub fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Option<Vec<String>>, Fault> {
    let ended = |one: &live::Session| match one.end(now) {
        Some((at, why)) => format!("ended at {} {}", at.seconds(), why.name()),
        None => format!("until {}", one.until.seconds()),
    };
    Ok(Some(match what {
        "views" => {
            let number = |one: &live::Session| u128::from_be_bytes(one.id.0);
            let line = |one: &live::Session| {
                format!("{} {} of {} {}", number(one), one.meter, one.by, ended(one))
            };
            live::all(view)?.iter().map(line).collect()
        }
        "view" => match live::session(view, &id(words))? {
            Some(one) => {
                let last = one.last.as_ref().map(|last| {
                    let values = last.result.as_ref().map(Vec::len);
                    format!("round {} at {} {values:?}", last.number, last.at.seconds())
                });
                let last = last.unwrap_or("no round".into());
                vec![format!(
                    "{last}, silent {}, pause {}, {}",
                    one.silent,
                    one.pause_s,
                    ended(&one)
                )]
            }
            None => vec!["none".into()],
        },
        _ => return Ok(None),
    }))
}
