//! What the clerk of the golden scripts says of clocks: `step device=D`, and `off=MS` for what a
//! command read of a clock; `show clocks`, `show waiting`, `show touched ordinal=N ends=S,S,...`.

use domain::clocks::{self, CLOCK, Change, Clock};
use domain::commands::{Failure, Read, Value};
use domain::{Device, Fault, MemoryView};

use super::Words;

pub(super) fn change(words: &Words<'_>) -> Change {
    Change::Step { target: words.device() }
}

/// What was read of a clock, if the line says so.
pub(super) fn read(words: &Words<'_>) -> Option<Vec<Read>> {
    words.maybe("off")?;
    let value = Value::Integer(words.number("off", 0));
    Some(vec![Read { obis: CLOCK, attribute: 0, value, scaler: Some(-3), unit: Some(7) }])
}

/// Why a command failed, if the line says so.
pub(super) fn failure(words: &Words<'_>) -> Failure {
    match words.maybe("failed") {
        Some("held") => Failure::Held("it stands elsewhere".to_owned()),
        Some("not_done") => Failure::NotDone("it stands where it stood".to_owned()),
        _ => Failure::NoAnswer,
    }
}

/// What there is to show of clocks; none when it is of something else.
pub(super) fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
) -> Result<Option<Vec<String>>, Fault> {
    Ok(Some(match what {
        "clocks" => {
            let mut said: Vec<String> = clocks::clocks(view, None, 100)?.iter().map(line).collect();
            said.push(format!("{:?}", clocks::counts(view)?));
            said
        }
        "waiting" => clocks::waiting(view, 100)?.iter().map(Device::to_string).collect(),
        "touched" => {
            let ends = words.text("ends");
            let ends = ends.split(',').map(|end| end.parse::<i64>().unwrap());
            let ends: Vec<i64> = ends.collect();
            let span = (ends[0] - 1, ends[ends.len() - 1]);
            let as_of = words.maybe("as_of").map(|_| words.number("as_of", 0));
            let found = clocks::marks(view, words.number("ordinal", 0), 15, span, as_of)?;
            let of = |end: &i64| {
                let touched = found.iter().any(|mark| mark.touches(*end, 15));
                format!("{end} {}", if touched { "touched" } else { "untouched" })
            };
            ends.iter().map(of).collect()
        }
        _ => return Ok(None),
    }))
}

fn line((device, clock): &(Device, Clock)) -> String {
    let Clock { standing, offset_ms, spent_s, open, shifts, .. } = clock;
    let shifts = shifts.iter().map(|shift| {
        let clocks::Shift { before_ms, after_ms, by, .. } = shift;
        format!("\n  from {before_ms:?} to {after_ms:?} by {by}")
    });
    let shifts: String = shifts.collect();
    let open = if open.is_some() { ", a shift is open" } else { "" };
    let name = standing.name();
    format!("{device} {name}: {offset_ms} ms, {spent_s} s today{open}{shifts}")
}
