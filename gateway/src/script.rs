//! A read as steps: which attribute is asked next, given what the device has answered so far. Pure:
//! it sends nothing and knows no association.
//!
//! Invariants: 1. one step at a time; 2. what does not change in a meter (scalers, capture objects,
//! period) is asked once and kept in `Known`; 3. a refusal of the device ends the read with its
//! data-access-result, except where other attributes of the same order can still be read.

mod act;
mod setup;

pub(crate) use self::act::{offset_read, seconds};

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use cosem::association::{Client, InvokeId};
use cosem::datetime::DEVIATION_NOT_SPECIFIED;
use cosem::{AttributeRef, Data, DataAccessError, DateTime, MethodRef, Selection};
use domain::Obis;
use domain::commands::{Attribute, Failure, Read, Value};

use crate::model::{self, Model};
use crate::order::{Outcome, ProfileRead, Work};
use crate::translate::{self, Column, Shape, StatusBits};

/// The most scalers, and the most profiles, that are kept of one meter.
const MAX_KNOWN: usize = 128;

/// The concentrator's store (docs/reference/concentrator.md).
const STORE: Attribute = Attribute { class: 1, obis: Obis([0, 0, 94, 86, 132, 255]), attribute: 2 };

/// Its selection: meters and a range.
const STORE_SELECTOR: u8 = 128;

const CLOCK: Attribute = Attribute { class: 8, obis: Obis([0, 0, 1, 0, 0, 255]), attribute: 2 };

/// What stays true of a meter between reads.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    scalers: HashMap<(u16, Obis, i8), (i8, u8)>,
    shapes: HashMap<Obis, Shape>,
    range: Range,
    status: StatusBits,
    model: Option<Arc<Model>>,
    /// What the meter lists of itself: class, version, logical name; None until it was asked.
    listed: Option<Vec<(u16, u8, Obis)>>,
}

impl Known {
    /// Nothing known; `status` says what the bits of a profile's status column mean.
    pub fn new(status: StatusBits) -> Self {
        Self {
            scalers: HashMap::new(),
            shapes: HashMap::new(),
            range: Range::OwnZone,
            status,
            model: None,
            listed: None,
        }
    }

    /// Goes by this model from now on. A model that is the same as before changes nothing, so what
    /// the meter has taught meanwhile (how it takes a range) stays.
    pub fn follow(&mut self, model: &Arc<Model>) {
        if self.model.as_ref() == Some(model) {
            return;
        }
        // The generic model knows no more of status words than who made the channel.
        if !model.file.learn {
            let status = |profile: &model::Profile| {
                profile.status.as_ref().map(|status| (profile.obis, status.bits.clone()))
            };
            self.status = StatusBits::Listed(model.profiles.iter().filter_map(status).collect());
        }
        self.range = match model.range {
            model::Range::OwnDeviation => Range::OwnZone,
            model::Range::NoDeviation => Range::NoDeviation,
            model::Range::None => Range::Whole,
        };
        self.model = Some(Arc::clone(model));
    }

    /// What the meter lists of itself, once it was asked.
    pub fn listed(&self) -> Option<&[(u16, u8, Obis)]> {
        self.listed.as_deref()
    }

    /// Keeps what the meter lists of itself; empty when it does not tell.
    pub fn keep_listed(&mut self, objects: Vec<(u16, u8, Obis)>) {
        self.listed = Some(objects);
    }

    /// Whether the model says that the clock never tells its deviation, whatever it shows.
    fn deviation_is_unset(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.file.quirks.deviation_unset)
    }

    /// Minutes from local time to UTC where the meter does not specify them.
    fn default_deviation(&self) -> i16 {
        let quirks = self.model.as_ref().map(|model| &model.file.quirks);
        let east = quirks.and_then(|quirks| quirks.utc_offset_minutes).unwrap_or(0);
        east.saturating_neg()
    }

    /// Rows in order of time and each once, where the model says that they come otherwise.
    fn put_in_order(&self, read: &mut ProfileRead) {
        if self.model.as_ref().is_some_and(|model| model.file.quirks.unordered_rows) {
            read.rows.sort_by_key(|row| row.end_s);
            read.rows.dedup();
        }
    }

    fn keep_scaler(&mut self, key: (u16, Obis, i8), scaled: (i8, u8)) {
        if self.scalers.len() < MAX_KNOWN {
            self.scalers.insert(key, scaled);
        }
    }
}

/// How a meter takes a range. Some refuse a deviation, some demand one, some know no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// In the meter's own deviation.
    OwnZone,
    /// In the meter's local time, deviation not specified.
    NoDeviation,
    /// The whole buffer, cut to the range here.
    Whole,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Read this attribute.
    Get(AttributeRef, Option<Selection>),
    /// Write this attribute; null-data answers.
    Set(AttributeRef, Data),
    /// Invoke this method; what it returns answers, null-data for nothing.
    Action(MethodRef, Data),
    /// All is read.
    Done(Outcome),
}

/// The answer to the last step; null-data for what was written, or returned nothing.
pub(crate) type GetResult = Result<Data, DataAccessError>;

/// Sends the next step through an association: the request that is in flight, or how the work
/// ended.
pub(crate) fn ask(
    client: &mut Client,
    now: Instant,
    next: Result<Next, Failure>,
) -> Result<InvokeId, Result<Outcome, Failure>> {
    let asked = match next {
        Ok(Next::Get(attribute, selection)) => client.get(now, attribute, selection),
        Ok(Next::Set(attribute, value)) => client.set(now, attribute, None, value),
        Ok(Next::Action(method, parameter)) => client.action(now, method, Some(parameter)),
        Ok(Next::Done(outcome)) => return Err(Ok(outcome)),
        Err(failure) => return Err(Err(failure)),
    };
    asked.map_err(|error| Err(Failure::Malformed(error.to_string())))
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Script {
    plan: Plan,
    asked: Option<Asked>,
}

#[derive(Debug)]
enum Plan {
    Attributes { left: VecDeque<Attribute>, single: bool, reads: Vec<Read> },
    Profile(ProfilePlan),
    Store { from_s: i64, to_s: i64, meters: Vec<String>, rows: Option<Vec<u8>> },
    Act(act::Plan),
}

#[derive(Debug)]
struct ProfilePlan {
    obis: Obis,
    from_s: i64,
    to_s: i64,
    columns: Option<Vec<Column>>,
    /// What the clock shows; None until it was read.
    clock: Option<DateTime>,
    result: Option<ProfileRead>,
}

#[derive(Debug)]
enum Asked {
    Value(Attribute),
    Scaler { of: (u16, Obis, i8) },
    Objects,
    Period,
    Clock,
    Buffer(Range),
    Store,
}

impl Script {
    /// A read that has asked nothing yet.
    pub fn new(work: &Work) -> Self {
        let plan = match work {
            Work::Attributes(attributes) => Plan::Attributes {
                left: attributes.iter().copied().collect(),
                single: attributes.len() == 1,
                reads: Vec::new(),
            },
            Work::Profile { obis, from_s, to_s } => Plan::Profile(ProfilePlan {
                obis: *obis,
                from_s: *from_s,
                to_s: *to_s,
                columns: None,
                clock: None,
                result: None,
            }),
            Work::Store { from_s, to_s, meters } => {
                Plan::Store { from_s: *from_s, to_s: *to_s, meters: meters.clone(), rows: None }
            }
            Work::Act { order, anchor } => {
                Plan::Act(act::Plan::new(order, act::Aim::Act, *anchor, 0))
            }
            Work::Offset { anchor } => Plan::Act(act::Plan::measure(*anchor)),
            Work::ReadBack { order, anchor, since_s } => {
                Plan::Act(act::Plan::new(order, act::Aim::ReadBack, *anchor, *since_s))
            }
        };
        Self { plan, asked: None }
    }

    /// The first step.
    ///
    /// # Errors
    /// As `answer`.
    pub fn start(&mut self, now: Instant, known: &Known) -> Result<Next, Failure> {
        match &mut self.plan {
            Plan::Act(plan) => plan.start(now),
            _ => self.next(known),
        }
    }

    /// Takes the answer to the last step and says the next.
    ///
    /// # Errors
    /// The device refused (`Access`) or its answer does not fit the question (`Malformed`).
    pub fn answer(
        &mut self,
        now: Instant,
        known: &mut Known,
        result: GetResult,
    ) -> Result<Next, Failure> {
        if let Plan::Act(plan) = &mut self.plan {
            return plan.answer(now, result);
        }
        match self.asked.take() {
            None => return Err(Failure::Malformed("an answer to nothing".to_owned())),
            Some(Asked::Value(attribute)) => self.value(known, attribute, result)?,
            Some(Asked::Scaler { of }) => {
                // A register without a readable scaler counts in units: missing in some pushes
                // and refused by some meters.
                let scaled = result.ok().and_then(|data| {
                    cosem::scaler::ScalerUnit::from_data(&data).ok().map(|s| (s.scaler, s.unit))
                });
                known.keep_scaler(of, scaled.unwrap_or((0, cosem::scaler::unit::NONE)));
            }
            Some(Asked::Store) => {
                if let Plan::Store { rows, .. } = &mut self.plan {
                    *rows = Some(result.map_err(translate::refusal)?.to_axdr());
                }
            }
            Some(asked) => self.profile(known, asked, result)?,
        }
        self.next(known)
    }

    fn next(&mut self, known: &Known) -> Result<Next, Failure> {
        match &mut self.plan {
            Plan::Attributes { left, reads, .. } => {
                let Some(attribute) = left.front() else {
                    return Ok(Next::Done(Outcome::Reads(std::mem::take(reads))));
                };
                let of = (attribute.class, attribute.obis, attribute.attribute);
                if let Some(scaler) = scaler_of(attribute)
                    && !known.scalers.contains_key(&of)
                    && known.scalers.len() < MAX_KNOWN
                {
                    self.asked = Some(Asked::Scaler { of });
                    return Ok(get(scaler));
                }
                self.asked = Some(Asked::Value(*attribute));
                Ok(get(*attribute))
            }
            Plan::Profile(plan) => {
                if let Some(read) = plan.result.take() {
                    return Ok(Next::Done(Outcome::Profile(read)));
                }
                let (asked, next) = plan.next(known)?;
                self.asked = Some(asked);
                Ok(next)
            }
            Plan::Store { rows: Some(rows), .. } => {
                let value = Value::Octets(std::mem::take(rows));
                let read = Read { value, ..translate::read(&STORE, &Data::Null, None) };
                Ok(Next::Done(Outcome::Reads(vec![read])))
            }
            Plan::Store { from_s, to_s, meters, rows: None } => {
                self.asked = Some(Asked::Store);
                let selection = store_selection(*from_s, *to_s, meters);
                Ok(Next::Get(translate::attribute_ref(&STORE), Some(selection)))
            }
            Plan::Act(_) => Err(Failure::Malformed("an order that acts has no next read".into())),
        }
    }

    fn value(
        &mut self,
        known: &Known,
        attribute: Attribute,
        result: GetResult,
    ) -> Result<(), Failure> {
        let Plan::Attributes { left, single, reads } = &mut self.plan else { return Ok(()) };
        left.pop_front();
        let scaled = known.scalers.get(&(attribute.class, attribute.obis, attribute.attribute));
        match result {
            Ok(data) => reads.push(translate::read(&attribute, &data, scaled.copied())),
            Err(error) if *single => return Err(translate::refusal(error)),
            Err(error) => reads.push(Read {
                value: Value::Refused(error.to_octet()),
                ..translate::read(&attribute, &Data::Null, None)
            }),
        }
        Ok(())
    }

    fn profile(
        &mut self,
        known: &mut Known,
        asked: Asked,
        result: GetResult,
    ) -> Result<(), Failure> {
        let Plan::Profile(plan) = &mut self.plan else { return Ok(()) };
        match asked {
            Asked::Objects => {
                let objects = result.map_err(translate::refusal)?;
                plan.columns = Some(translate::shape_of(&objects)?);
            }
            Asked::Period => {
                let period = result.map_err(translate::refusal)?.as_integer();
                let period = period.and_then(|period| u32::try_from(period).ok());
                let missing = || Failure::Malformed("the capture period is no number".to_owned());
                let shape = Shape {
                    columns: plan.columns.take().unwrap_or_default(),
                    period_s: period.ok_or_else(missing)?,
                };
                if known.shapes.len() < MAX_KNOWN {
                    known.shapes.insert(plan.obis, shape);
                }
            }
            Asked::Clock => {
                // A meter without a readable clock is asked in UTC.
                let time = result.ok().and_then(|data| data.as_date_time());
                let in_utc = DateTime { deviation: 0, ..DateTime::NOT_SPECIFIED };
                let clock = time.unwrap_or(in_utc);
                plan.clock = Some(match known.deviation_is_unset() {
                    true => DateTime { deviation: DEVIATION_NOT_SPECIFIED, ..clock },
                    false => clock,
                });
            }
            Asked::Buffer(range) => plan.buffer(known, range, result)?,
            Asked::Value(_) | Asked::Scaler { .. } | Asked::Store => {}
        }
        Ok(())
    }
}

impl ProfilePlan {
    fn next(&self, known: &Known) -> Result<(Asked, Next), Failure> {
        let own = |attribute| Attribute { class: 7, obis: self.obis, attribute };
        let Some(shape) = known.shapes.get(&self.obis) else {
            return Ok(match self.columns {
                None => (Asked::Objects, get(own(3))),
                Some(_) => (Asked::Period, get(own(4))),
            });
        };
        let missing = shape.columns.iter().find_map(|column| {
            let of = (column.class, column.obis, column.attribute);
            let scaler = column.scaler_attribute()?;
            let attribute = Attribute { class: column.class, obis: column.obis, attribute: scaler };
            (!known.scalers.contains_key(&of)).then_some((of, attribute))
        });
        if let Some((of, attribute)) = missing
            && known.scalers.len() < MAX_KNOWN
        {
            return Ok((Asked::Scaler { of }, get(attribute)));
        }
        let Some(clock) = self.clock else { return Ok((Asked::Clock, get(CLOCK))) };
        let zone = clock.deviation_or(known.default_deviation());
        let selection = match known.range {
            Range::Whole => None,
            Range::OwnZone => Some(range(self.from_s, self.to_s, zone, clock.deviation)),
            Range::NoDeviation => {
                Some(range(self.from_s, self.to_s, zone, DEVIATION_NOT_SPECIFIED))
            }
        };
        let buffer = translate::attribute_ref(&own(2));
        Ok((Asked::Buffer(known.range), Next::Get(buffer, selection)))
    }

    fn buffer(
        &mut self,
        known: &mut Known,
        range: Range,
        result: GetResult,
    ) -> Result<(), Failure> {
        let data = match (result, range) {
            (Ok(data), _) => data,
            // No range of this form: the next one. A refusal of the whole buffer is the answer.
            (Err(error), Range::OwnZone) if is_about_the_range(error) => {
                known.range = Range::NoDeviation;
                return Ok(());
            }
            (Err(error), Range::NoDeviation) if is_about_the_range(error) => {
                known.range = Range::Whole;
                return Ok(());
            }
            (Err(error), _) => return Err(translate::refusal(error)),
        };
        let missing = || Failure::Malformed("rows without capture objects".to_owned());
        let mut shape = known.shapes.get(&self.obis).cloned().ok_or_else(missing)?;
        for column in &mut shape.columns {
            let of = (column.class, column.obis, column.attribute);
            column.scaled = known.scalers.get(&of).copied();
        }
        let standard = self.clock.and_then(DateTime::standard_deviation);
        let standard = standard.unwrap_or_else(|| known.default_deviation());
        let read = translate::profile_read(self.obis, &shape, &data, standard, &known.status);
        let (mut read, _) = read.inspect_err(|_| {
            // Another width than the capture objects: they were changed. Ask them again next time.
            known.shapes.remove(&self.obis);
        })?;
        known.put_in_order(&mut read);
        read.rows.retain(|row| (self.from_s..=self.to_s).contains(&row.end_s));
        self.result = Some(read);
        Ok(())
    }
}

/// Refusals that a meter gives to a selection it does not know, and not to the object itself.
fn is_about_the_range(error: DataAccessError) -> bool {
    !matches!(error, DataAccessError::ObjectUndefined | DataAccessError::TemporaryFailure)
}

fn get(attribute: Attribute) -> Next {
    Next::Get(translate::attribute_ref(&attribute), None)
}

/// Where scaler and unit of a register stand.
fn scaler_of(attribute: &Attribute) -> Option<Attribute> {
    let column = Column {
        class: attribute.class,
        obis: attribute.obis,
        attribute: attribute.attribute,
        scaled: None,
    };
    column.scaler_attribute().map(|scaler| Attribute { attribute: scaler, ..*attribute })
}

/// Selective access by range (class 7, selector 1): restricting object clock, from, to, all
/// columns. `zone` turns UTC into the meter's local time, `written` is the deviation in the octets.
fn range(from_s: i64, to_s: i64, zone: i16, written: i16) -> Selection {
    let time = |at_s| {
        let local = DateTime::from_unix_s(at_s, zone, 0);
        Data::octets(&DateTime { deviation: written, ..local }.to_octets())
    };
    let clock = Data::Structure(vec![
        Data::U16(CLOCK.class),
        Data::octets(&CLOCK.obis.0),
        Data::I8(CLOCK.attribute),
        Data::U16(0),
    ]);
    let all_columns = Data::Array(Vec::new());
    let parameters = Data::Structure(vec![clock, time(from_s), time(to_s), all_columns]);
    Selection { selector: 1, parameters }
}

/// Rows of these meters whose intervals end from `from_s` to `to_s`, both inclusive.
fn store_selection(from_s: i64, to_s: i64, meters: &[String]) -> Selection {
    let time = |at_s| Data::octets(&DateTime::from_unix_s(at_s, 0, 0).to_octets());
    let meters = meters.iter().map(|serial| Data::octets(serial.as_bytes())).collect();
    let parameters = Data::Structure(vec![time(from_s), time(to_s), Data::Array(meters)]);
    Selection { selector: STORE_SELECTOR, parameters }
}

#[cfg(test)]
mod tests;
