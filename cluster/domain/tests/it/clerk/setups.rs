//! What the clerk of the golden scripts says of setups: `setup=template|want|push|roll|steer|step`
//! with `set=NAME:VALUE,...`; what a command read of parameters, `reported=NAME:VALUE,...`; and
//! `show setup`, `show reported`, `show waves rollout=N`, `show rolling`, `show templates`.

use domain::commands::{Read, Value};
use domain::setups::{self, Change, Plan, Setting, Steering, Work};
use domain::{Fault, MemoryView, Stamp};

use super::Words;

fn value(text: &str) -> Value {
    match (text.parse::<u64>(), text.parse::<bool>()) {
        (Ok(number), _) => Value::Unsigned(number),
        (_, Ok(yes)) => Value::Boolean(yes),
        _ => Value::Text(text.replace('@', ":")),
    }
}

fn settings(words: &Words<'_>, name: &str) -> Vec<Setting> {
    let text = words.text(name);
    let named = text.split(',').filter_map(|one| one.split_once(':'));
    named.map(|(name, text)| Setting { name: name.to_owned(), value: value(text) }).collect()
}

pub(super) fn change(words: &Words<'_>) -> Change {
    let seen = words.number("seen", 0);
    let reason = words.maybe("reason").unwrap_or("because").to_owned();
    let concentrator = words.text("of");
    match &*words.text("setup") {
        "template" => {
            let (name, settings) = (words.text("name"), settings(words, "set"));
            Change::Template { name, seen, settings, reason }
        }
        "want" => {
            let template = words.maybe("template").map(str::to_owned);
            let settings = settings(words, "set");
            Change::Want { concentrator, seen, template, settings, reason }
        }
        "push" => Change::Push {
            id: words.command(),
            concentrator,
            trial_s: words.number("trial", 60),
            expires: Stamp::from_seconds(words.number("expires", 0)),
        },
        "roll" => {
            let trial_s = words.number("trial", 60);
            let plan = Plan {
                work: match words.maybe("restart") {
                    Some(_) => Work::Restart,
                    None if words.maybe("read").is_some() => Work::Read,
                    None => Work::Push { trial_s },
                },
                wave: words.number("wave", 2),
                stop_percent: words.number("stop", 50),
                wait_s: words.number("wait", 60),
            };
            let targets = words.text("targets").split(',').map(str::to_owned).collect();
            Change::Roll { targets, plan, reason }
        }
        "steer" => Change::Steer {
            id: words.number("rollout", 0),
            to: match &*words.text("to") {
                "pause" => Steering::Pause,
                "resume" => Steering::Resume,
                _ => Steering::Abort,
            },
            reason,
        },
        _ => Change::Step { id: words.number("rollout", 0) },
    }
}

/// What was read of parameters, if the line says so.
pub(super) fn read(words: &Words<'_>) -> Option<Vec<Read>> {
    words.maybe("reported")?;
    let one = |setting: Setting| {
        let at = setups::definition(&setting.name).unwrap().attribute;
        let value = match setting.value {
            Value::Text(text) => Value::List(vec![Value::Octets(text.into_bytes())]),
            other => other,
        };
        Read { obis: at.obis, attribute: at.attribute, value, scaler: None, unit: None }
    };
    Some(settings(words, "reported").into_iter().map(one).collect())
}

fn said(settings: &[Setting]) -> String {
    let one = |setting: &Setting| format!("{}={:?}", setting.name, setting.value);
    settings.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// What there is to show of setups; none when it is of something else.
pub(super) fn show(
    view: &MemoryView,
    what: &str,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Option<Vec<String>>, Fault> {
    let of = words.text("of");
    let version = |one: &setups::Version| {
        let setups::Version { version, template, settings, author, reason, .. } = one;
        format!("{version} on {template:?}: {} by {author} ({reason})", said(settings))
    };
    Ok(Some(match what {
        "templates" => {
            let found = setups::templates(view)?;
            found.iter().map(|(name, one)| format!("{name} {}", version(one))).collect()
        }
        "history" => {
            let name = words.text("name");
            let found = match name.is_empty() {
                true => setups::wanted_history(view, &of, 0, 10)?,
                false => setups::template_history(view, &name, 0, 10)?,
            };
            found.iter().map(version).collect()
        }
        "setup" => vec![said(&setups::effective(view, &of)?)],
        "reported" => {
            let found = setups::reported(view, &of)?;
            let line = |(name, (value, at)): (&String, &(Value, Stamp))| {
                format!("{name}={value:?} at {}", at.seconds())
            };
            found.iter().map(line).collect()
        }
        "rolling" => {
            setups::due(view, now)?.iter().map(|id| format!("step of {id} is due")).collect()
        }
        "waves" => rollout(view, words.number("rollout", 0))?,
        _ => return Ok(None),
    }))
}

fn rollout(view: &MemoryView, id: u64) -> Result<Vec<String>, Fault> {
    let Some(rollout) = setups::rollout(view, id)? else { return Ok(vec!["none".to_owned()]) };
    let setups::Rollout { phase, total, next, wave, open, verified, failed, .. } = rollout;
    let mut said = vec![format!(
        "{phase:?} wave {wave}: {next} of {total}, {open} open, {verified} verified, \
         {failed} failed"
    )];
    for (place, target) in setups::targets(view, id, 0, 100)? {
        said.push(format!("  {place} {} {:?}", target.concentrator, target.fate));
    }
    Ok(said)
}
