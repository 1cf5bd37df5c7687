//! The clerk of the golden scripts: hears a line, proposes or asks, and says what happened.
//!
//! A line is a verb and `name=value` words. Every line may say `by=` (an operator's name,
//! `node:N` or `bootstrap`), `at=` (seconds of the stamp, kept from then on) and `id=` (a number;
//! else each line has a fresh one). Devices are `c:NAME` and `m:SERIAL`.

mod clocks;
mod drills;
mod live;
mod registry;
mod senders;
mod setups;
mod tasks;

use std::collections::BTreeMap;
use std::fmt::Debug;

use domain::apply::{last_hash, last_stamp};
use domain::assets::{Attach, Authentication, Policy, Security, Suite};
use domain::commands::{Attribute, Failure, Order, Read, Value};
use domain::keys::{KeyKind, WrapId};
use domain::leases::{Reason, Role};
use domain::operators::FOUNDER;
use domain::readings::{BatchBuilder, Ingest, Mark, Part, Register, Seal};
use domain::{
    Author, Change, Device, Entry, Fault, MemoryView, NodeId, Obis, Proposal, ProposalId, Stamp,
    apply, assets, audit, commands, keys, leases, members, parameters, readings,
};

use crate::people::{self, show_people};

/// State, and what the next line is proposed with.
pub struct Clerk {
    view: MemoryView,
    index: u64,
    fresh: u128,
    now_s: u64,
}

/// The words of a line.
pub struct Words<'a> {
    verb: &'a str,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Words<'a> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let named = verb.contains('=').then_some(verb).into_iter().chain(words);
        let named = named.map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
        Words { verb, named }
    }

    /// What is to be done.
    pub fn verb(&self) -> &'a str {
        self.verb
    }

    /// What a name stands for, if it is there.
    pub fn maybe(&self, name: &str) -> Option<&'a str> {
        self.named.get(name).copied()
    }

    /// The same, or nothing.
    pub fn text(&self, name: &str) -> String {
        self.maybe(name).unwrap_or_default().to_owned()
    }

    /// A number, or what else it is.
    pub fn number<T: TryFrom<i64>>(&self, name: &str, otherwise: i64) -> T {
        let number = self.maybe(name).map_or(otherwise, |text| text.parse().unwrap());
        T::try_from(number).ok().unwrap_or_else(|| panic!("{name} does not fit"))
    }

    /// The device of a line.
    pub fn device(&self) -> Device {
        match self.text("device").split_once(':') {
            Some(("c", name)) => Device::Concentrator(name.to_owned()),
            Some(("m", name)) => Device::Meter(name.to_owned()),
            _ => panic!("a device is c:NAME or m:SERIAL"),
        }
    }

    fn id(&self) -> ProposalId {
        ProposalId(self.number::<u128>("id", 0).to_be_bytes())
    }

    fn command(&self) -> ProposalId {
        ProposalId(self.number::<u128>("command", 0).to_be_bytes())
    }
}

impl Clerk {
    /// A clerk of a new cluster in which some people may do everything that roles permit.
    pub fn new() -> Clerk {
        let mut clerk = Clerk { view: MemoryView::default(), index: 0, fresh: 0, now_s: 0 };
        for name in ["olga", "igor", "ivan"] {
            clerk.view.apply(&people::powerful(name));
        }
        clerk
    }

    /// Hears one line and says what happened, in lines.
    pub fn hear(&mut self, line: &str) -> Vec<String> {
        let words = Words::of(line);
        self.now_s = words.number("at", i64::try_from(self.now_s).unwrap());
        if words.verb == "show" {
            return self.show(&words).unwrap();
        }
        let change = change(&words);
        let id = if words.maybe("id").is_some() {
            words.id()
        } else {
            self.fresh += 1;
            ProposalId((u128::MAX - self.fresh).to_be_bytes())
        };
        let author = match words.maybe("by") {
            Some("bootstrap") => Author::Bootstrap,
            Some(who) => match who.strip_prefix("node:") {
                Some(node) => Author::Node(NodeId(node.parse().unwrap())),
                None => Author::Operator(who.to_owned()),
            },
            None => Author::Operator(FOUNDER.into()),
        };
        let stamp = Stamp::from_seconds(self.now_s);
        self.propose(Entry { stamp, proposal: Proposal { id, author, change } })
    }

    fn propose(&mut self, entry: Entry) -> Vec<String> {
        self.index += 1;
        let applied = apply(&self.view, self.index, &entry).unwrap();
        self.view.apply(&applied);
        let mut said = vec![match &applied.outcome {
            Ok(done) => format!("ok {done:?}"),
            Err(refusal) => format!("refused {refusal}"),
        }];
        if applied.writes.is_empty() {
            said.push("  writes nothing".into());
        }
        said.extend(applied.effects.iter().map(|effect| format!("  wakes {effect:?}")));
        said.extend(applied.rows.iter().map(|batch| format!("  stores {} rows", batch.len())));
        said.extend(applied.seals.iter().map(|seal| format!("  seals {seal}")));
        said.extend(applied.compactions.iter().map(|month| format!("  folds {month}")));
        said
    }

    fn show(&self, words: &Words<'_>) -> Result<Vec<String>, Fault> {
        let view = &self.view;
        let now = Stamp::from_seconds(self.now_s);
        let (from_s, to_s) = (words.number("from", 0), words.number("to", 0));
        let what = words.named.keys().find(|name| words.named[*name].is_empty());
        let what_name = what.copied().unwrap_or_default();
        if let Some(said) = registry::show(view, what_name, words, now)? {
            return Ok(said);
        }
        let of_tasks = tasks::show(view, what.copied().unwrap_or_default(), words, now)?;
        if let Some(said) = of_tasks {
            return Ok(said);
        }
        if let Some(said) = senders::show(view, what.copied().unwrap_or_default(), words)? {
            return Ok(said);
        }
        if let Some(said) = setups::show(view, what_name, words, now)? {
            return Ok(said);
        }
        if let Some(said) = clocks::show(view, what_name, words)? {
            return Ok(said);
        }
        if let Some(said) = live::show(view, what_name, words, now)? {
            return Ok(said);
        }
        Ok(match what.copied().unwrap_or_default() {
            "meters" => lines(assets::meters(view, None, 100)?),
            "concentrators" => lines(assets::concentrators(view, None, 100)?),
            "behind" => {
                let meters = assets::meters_of(view, words.device().name(), None, 100)?;
                meters.into_iter().map(|meter| meter.serial).collect()
            }
            "keys" => lines(keys::keys(view, &words.device())?),
            "counter" => lines([keys::next_counter(view, &words.device())?]),
            "holder" => lines([leases::holder(view, &words.device(), now)?]),
            "leases" => lines(leases::list(view, None, 100)?),
            "grants" => lines(leases::grants(view, &words.device())?),
            "ordered" => lines([leases::ordered(view, &words.device(), now)?]),
            "outbox" => {
                let open = commands::outbox(view, &words.device(), 100)?;
                open.iter().map(|c| format!("{} {}", c.id, c.state.name())).collect()
            }
            "direct" => {
                let after = words.maybe("behind_serial");
                let meters = assets::direct_meters(view, after, 100)?;
                meters.into_iter().map(|meter| meter.serial).collect()
            }
            "counts" => lines([assets::counts(view)?]),
            "recent" => {
                let before = words.maybe("before").map(|_| words.number("before", 0));
                let found = commands::recent(view, before, 100)?;
                found.iter().map(|c| format!("{} at {}", c.id, c.index)).collect()
            }
            "open" => commands::open(view, 100)?.iter().map(|c| c.id.to_string()).collect(),
            "command" => lines(commands::command(view, &words.id())?),
            "expiries" => lines(commands::due_expiries(view, now, 100)?),
            "series" => lines(readings::series(view, words.number("ordinal", 0))?),
            "mark" => lines(readings::mark(view, words.device().name())?),
            "due" => lines(readings::due_seals(view, now)?),
            "months" => lines(readings::due_compactions(view, now)?),
            "corrections" => corrections(view, words)?,
            "collection" => lines([readings::collection(view, from_s, to_s)?]),
            "holes" => {
                let meters = words.number("meters", 100);
                let after = words.maybe("behind_serial");
                let found = readings::holes(view, &words.device(), (from_s, to_s), after, meters)?;
                let line = |hole: &readings::Hole| {
                    let readings::Hole { serial, interval_minutes, from_s, to_s, .. } = hole;
                    let slots = readings::slots_of(hole).count() as u64;
                    assert_eq!(slots, hole.slots());
                    format!("{serial} {interval_minutes} min {from_s}..{to_s} {slots} slots")
                };
                found.iter().map(line).collect()
            }
            "members" => {
                let members = members::members(view)?;
                members
                    .iter()
                    .map(|m| format!("{} {} {:?}", m.node.id, m.node.name, m.wish))
                    .collect()
            }
            "drained" => lines(members::drained(view)?),
            "parameter" => parameter_history(view, words, now)?,
            "drills" | "probed" | "report" | "roll" | "plans" | "turns" => {
                drills::show(view, what_name, words, now)?
            }
            "tiers" => lines(readings::due_tiers(view, now, 100)?),
            "archived" => {
                let found = readings::archived(view)?;
                found.iter().map(|one| format!("{} {}", one.month, one.file.octets)).collect()
            }
            "gone" => {
                let line = |one: &readings::Gone| {
                    format!("{} at {}, archived {}", one.month, one.index, one.file.is_some())
                };
                readings::gone(view)?.iter().map(line).collect()
            }
            "stamp" => lines([last_stamp(view)?.seconds()]),
            "index" => lines([last_hash(view)?.0]),
            "audit" => audit::records(view, 0, 100)?.iter().map(record).collect(),
            "verify" => lines([audit::verify(view)?]),
            other => show_people(view, other, words, now)?,
        })
    }
}

/// What stands beside the measured values of a register, and which of it counts.
fn corrections(view: &MemoryView, words: &Words<'_>) -> Result<Vec<String>, Fault> {
    let place = (words.number("ordinal", 0), words.number("interval", 15), Obis::ACTIVE_IMPORT);
    let span = (words.number("from", 0), words.number("to", 1_000_000));
    let as_of = words.maybe("as_of").map(|_| words.number("as_of", 0));
    let all = readings::corrections(view, place, span, as_of, 100)?;
    let counting = readings::counting(all.clone());
    let line = |one: &readings::Corrected| {
        let counts = if counting.get(&one.end_s) == Some(one) { "counts" } else { "stays" };
        let readings::Corrected { end_s, value, quality, author, reason, index, .. } = one;
        format!("{end_s}: {value} {quality:?} by {author} ({reason}) at {index}: {counts}")
    };
    Ok(all.iter().map(line).collect())
}

/// Every version of a parameter, and which counts now.
fn parameter_history(
    view: &MemoryView,
    words: &Words<'_>,
    now: Stamp,
) -> Result<Vec<String>, Fault> {
    let name = words.text("name");
    let all = parameters::history(view, &name)?;
    let counts = parameters::counting(&all, now).map(|setting| setting.version);
    let line = |one: &parameters::Setting| {
        let state = if counts == Some(one.version) { " counts" } else { "" };
        let parameters::Setting { version, value, author, reason, .. } = one;
        format!("{version}: {value} from {} by {author} ({reason}){state}", one.from.seconds())
    };
    let mut said: Vec<String> = all.iter().map(line).collect();
    said.push(format!("value {}", parameters::value(view, &name, now)?));
    Ok(said)
}

fn lines<T: Debug>(things: impl IntoIterator<Item = T>) -> Vec<String> {
    things.into_iter().map(|thing| format!("{thing:?}")).collect()
}

fn record(record: &audit::Record) -> String {
    let refused = record.refused.as_deref().unwrap_or("done");
    let audit::Record { sequence, operator, action, object, .. } = record;
    format!("{sequence} {} {operator} {action} {object}: {refused}", record.stamp.seconds())
}

fn change(words: &Words<'_>) -> Change {
    match words.verb {
        "drill" | "inject" | "probe" | "abort" | "finish" | "plan" => {
            Change::Drills(drills::change(words))
        }
        "concentrator" | "meter" | "retire" => Change::Assets(asset(words)),
        "install" | "reserve" | "raise" => Change::Keys(key(words)),
        "ingest" | "refill" | "seal" | "compact" | "correct" | "archive" | "forget" => {
            Change::Readings(reading(words, words.verb))
        }
        "parameter" => Change::Parameters(parameters::Change::Set {
            name: words.text("name"),
            value: words.number("value", 0),
            from: words.maybe("from").map(|_| Stamp::from_seconds(words.number("from", 0))),
            seen: words.number("seen", 0),
            reason: words.text("reason"),
        }),
        "share" | "report" => senders::watched(words),
        "look" | "round" | "leave" => Change::Live(live::change(words)),
        "step" => Change::Clocks(clocks::change(words)),
        verb if verb.starts_with("setup=") => Change::Setups(setups::change(words)),
        "task" => Change::Tasks(tasks::change(words)),
        "registry" => Change::Registry(registry::change(words)),
        "hold" | "yield" | "begin" | "told" => Change::Senders(senders::change(words)),
        verb if people::knows(verb) => people::change(words),
        "renew" | "claim" | "release" | "standby" | "switch" => Change::Leases(lease(words)),
        "add" | "promote" | "remove" | "replace" | "drain" | "undrain" | "hand_over" | "object"
        | "gone" => Change::Members(member(words)),
        _ => Change::Commands(command(words)),
    }
}

fn asset(words: &Words<'_>) -> assets::Change {
    match words.verb {
        "concentrator" => assets::Change::RegisterConcentrator {
            id: words.text("name"),
            system_title: words.number::<u64>("title", 0).to_be_bytes(),
            name: words.text("called"),
        },
        "meter" => assets::Change::RegisterMeter {
            serial: words.text("serial"),
            attach: match words.maybe("behind") {
                Some(concentrator) => Attach::Behind { concentrator: concentrator.into() },
                None => Attach::Direct {
                    address: words.text("address"),
                    client_sap: 16,
                    server_sap: 1,
                    authentication: match words.maybe("auth") {
                        Some("lls") => Authentication::Lls,
                        Some("hls6") => Authentication::Hls6,
                        Some("hls7") => Authentication::Hls7,
                        _ => Authentication::Hls5,
                    },
                    security: security(words),
                    system_title: words
                        .maybe("title")
                        .map(|_| words.number::<u64>("title", 0).to_be_bytes()),
                },
            },
            model: words.text("model"),
        },
        _ => assets::Change::Retire { device: words.device() },
    }
}

fn security(words: &Words<'_>) -> Security {
    let title = words.maybe("client").map(|_| words.number::<u64>("client", 0).to_be_bytes());
    Security {
        suite: Suite::of(words.number("suite", 0)).unwrap(),
        policy: Policy(words.number("policy", 0x6c)),
        dedicated_key: words.maybe("dedicated").is_some(),
        client_title: title,
        ..Security::default()
    }
}

fn key(words: &Words<'_>) -> keys::Change {
    let device = words.device();
    match words.verb {
        "install" => keys::Change::Install {
            device,
            kind: match words.maybe("kind") {
                Some("gak") => KeyKind::Gak,
                Some("lls") => KeyKind::LlsSecret,
                _ => KeyKind::Guek,
            },
            wrapped: vec![7; words.number("octets", 24)],
            wrap: WrapId([1; 8]),
        },
        "reserve" => keys::Change::Reserve { device, count: words.number("count", 0) },
        _ => keys::Change::RaiseCounter { device, at_least: words.number("at_least", 0) },
    }
}

fn lease(words: &Words<'_>) -> leases::Change {
    let node = NodeId(words.number("node", 1));
    match words.verb {
        "renew" => leases::Change::Renew { node, ttl_ms: words.number("ttl_ms", 3000) },
        "claim" => leases::Change::Claim {
            device: words.device(),
            node,
            channel: match words.maybe("channel") {
                Some("standby") => Role::Standby,
                Some("dial") => Role::Dial,
                _ => Role::Main,
            },
            reason: match words.maybe("reason") {
                Some("promoted") => Reason::Promoted,
                Some("owner_lost") => Reason::OwnerLost,
                Some("ordered") => Reason::Ordered,
                Some("returned") => Reason::Returned,
                _ => Reason::Login,
            },
        },
        "switch" => {
            leases::Change::Switch { device: words.device(), to: words.maybe("node").map(|_| node) }
        }
        "release" => leases::Change::Release {
            device: words.device(),
            node,
            epoch: words.number("epoch", 0),
        },
        _ => leases::Change::Standby {
            device: words.device(),
            node,
            up: words.maybe("up") != Some("no"),
        },
    }
}

fn member(words: &Words<'_>) -> members::Change {
    let node = NodeId(words.number("node", 1));
    let described = || members::Node {
        id: node,
        name: words.text("name"),
        address: words.maybe("address").unwrap_or("host:7001").to_owned(),
        http: "http://host:8080".to_owned(),
    };
    match words.verb {
        "add" => members::Change::Add { node: described() },
        "promote" => members::Change::Promote { node },
        "remove" => members::Change::Remove { node: described() },
        "gone" => members::Change::Gone { node: described() },
        "replace" => {
            members::Change::Replace { lost: NodeId(words.number("lost", 1)), by: described() }
        }
        "drain" => members::Change::Drain { node },
        "undrain" => members::Change::Undrain { node },
        "hand_over" => members::Change::HandOver { to: words.maybe("node").map(|_| node) },
        _ => members::Change::Object {
            wish: words.text("wish"),
            code: words.text("code"),
            detail: words.text("detail"),
        },
    }
}

fn command(words: &Words<'_>) -> commands::Change {
    let id = words.command();
    match words.verb {
        "queue" => commands::Change::Queue {
            id,
            target: words.text("target"),
            order: order(words),
            expires: Stamp::from_seconds(words.number("expires", 0)),
        },
        "sent" => commands::Change::Sent {
            id,
            node: NodeId(words.number("node", 1)),
            epoch: words.number("epoch", 0),
        },
        "settle" => commands::Change::Settle {
            id,
            epoch: words.number("epoch", 0),
            result: match words.maybe("value") {
                Some(_) => Ok(vec![Read {
                    obis: Obis::ACTIVE_IMPORT,
                    attribute: 2,
                    value: Value::Unsigned(words.number("value", 0)),
                    scaler: Some(0),
                    unit: Some(30),
                }]),
                None => setups::read(words)
                    .or_else(|| clocks::read(words))
                    .ok_or_else(|| clocks::failure(words)),
            },
        },
        "unsent" => commands::Change::Unsent {
            id,
            node: NodeId(words.number("node", 0)),
            epoch: words.number("epoch", 0),
            failure: Failure::NoChannel,
        },
        "acknowledge" => commands::Change::Acknowledge { id, epoch: words.number("epoch", 0) },
        "acted" => commands::Change::Acted {
            id,
            epoch: words.number("epoch", 0),
            before: clocks::read(words).unwrap_or_default(),
        },
        "expire" => commands::Change::Expire { id },
        "cancel" => commands::Change::Cancel { id },
        verb => panic!("the clerk does not know {verb:?}"),
    }
}

fn order(words: &Words<'_>) -> Order {
    let register = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
    let text = |word| words.maybe(word).map(str::to_owned);
    if let Some(obis) = words.maybe("profile") {
        let (from_s, to_s) = (words.number("from", 0), words.number("to", 0));
        return Order::Profile { obis: obis.parse().unwrap(), from_s, to_s };
    }
    if let Some(wanted) = words.maybe("switch") {
        let reason = text("reason").unwrap_or_default();
        return Order::Switch { close: wanted == "close", reason };
    }
    if let Some(reason) = text("restart") {
        return Order::Restart { reason };
    }
    if words.maybe("write").is_some() {
        let value = Value::Octets(vec![7; words.number("write", 1)]);
        return Order::Write { attribute: register, value, tag: None };
    }
    if words.maybe("shift").is_some() {
        let (limit_s, set) = (words.number("shift", 0), words.maybe("set").is_some());
        return Order::Clock { limit_s, set };
    }
    Order::Read { attributes: vec![register; words.number("attributes", 1)] }
}

/// `rows=ORDINAL@END:VALUE,...` with `-` for no value; `flag=`, `obis=` for all of them; of a
/// refill `answered=ORDINAL@FROM..TO,...`.
fn reading(words: &Words<'_>, verb: &str) -> readings::Change {
    let interval_minutes = words.number("interval", 15);
    if verb == "seal" {
        return readings::Change::Seal(Seal {
            interval_minutes,
            shard: words.number("shard", 0),
            day: words.number("day", 0),
            recipe: readings::RECIPE,
        });
    }
    if verb == "compact" {
        return readings::Change::Compact(readings::Compact {
            interval_minutes,
            shard: words.number("shard", 0),
            month: words.number("month", 0),
            recipe: words.number("recipe", 2),
            up_to_index: words.number("up_to", 0),
        });
    }
    if matches!(verb, "archive" | "forget") {
        let month = readings::MonthOf {
            interval_minutes,
            shard: words.number("shard", 0),
            month: words.number("month", 0),
        };
        if verb == "forget" {
            return readings::Change::Forget(month);
        }
        let file = readings::ArchivedFile {
            sealed_index: words.number("folded", 0),
            recipe: readings::MONTH_RECIPE,
            days: 31,
            rows: 1,
            besides: 0,
            octets: 1000,
            columns: vec![Obis::ACTIVE_IMPORT],
            blocks: vec![0; words.number("blocks", 1)],
            content_hash: [1; 32],
            file_hash: [2; 32],
        };
        return readings::Change::Archive(readings::Archive { month, file });
    }
    if verb == "correct" {
        let values = words.text("values");
        let values = values.split(',').map(|value| value.parse().ok());
        return readings::Change::Correct(readings::Correct {
            ordinal: words.number("ordinal", 0),
            interval_minutes,
            obis: Obis::ACTIVE_IMPORT,
            from_s: words.number("from", 0),
            values: values.collect(),
            quality: match words.maybe("method") {
                Some("linear") => readings::Quality::Estimated(readings::Method::Linear),
                _ => readings::Quality::Edited,
            },
            reason: words.text("reason"),
        });
    }
    let scaler = words.number("scaler", 0);
    let obis = words.maybe("obis").map_or(Obis::ACTIVE_IMPORT, |obis| obis.parse().unwrap());
    let register = Register { obis, scaler, unit: 30 };
    let mut batch = BatchBuilder::new(interval_minutes, vec![register]);
    for row in words.text("rows").split(',').filter(|row| !row.is_empty()) {
        let (ordinal, rest) = row.split_once('@').unwrap();
        let (end_s, value) = rest.split_once(':').unwrap();
        let flag = words.number("flag", 0);
        batch.push(ordinal.parse().unwrap(), end_s.parse().unwrap(), flag, &[value.parse().ok()]);
    }
    let lease = words.maybe("device").map(|_| (words.device(), words.number("epoch", 0)));
    let mark = words.maybe("sequence").map(|_| Mark {
        concentrator: words.device().name().to_owned(),
        sequence: words.number("sequence", 0),
        counter: words.number("counter", 0),
    });
    let part = Part { lease, mark, batches: vec![batch.finish()] };
    if verb == "refill" {
        let answered = words.maybe("answered").unwrap_or_default().split(',');
        let answered = answered.filter(|span| !span.is_empty()).map(|span| {
            let (ordinal, rest) = span.split_once('@').unwrap();
            let (from_s, to_s) = rest.split_once("..").unwrap();
            readings::Answered {
                ordinal: ordinal.parse().unwrap(),
                interval_minutes,
                from_s: from_s.parse().unwrap(),
                to_s: to_s.parse().unwrap(),
            }
        });
        return readings::Change::Refill(readings::Refill { part, answered: answered.collect() });
    }
    readings::Change::Ingest(Ingest { parts: vec![part] })
}
