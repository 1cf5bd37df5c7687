//! Orders that act, as steps: what is written or invoked, and how it is read back. Pure, but for
//! the instants that come with the answers.
//!
//! Invariants: 1. an order acts by one request at most; 2. a clock's offset is measured with half
//! the round trip of the reading; 3. `Acted` says that the device took the request; only reading
//! back says that it stands as ordered.

use std::time::{Duration, Instant};

use cosem::{Data, DateTime, MethodRef};
use domain::Obis;
use domain::commands::{Attribute, Failure, Order, Read, Value};

use super::{GetResult, Next, setup};
use crate::order::{Anchor, Outcome};
use crate::translate::{self, fit};

/// The supply switch of a meter (IEC 62056-6-1: disconnect control).
const SWITCH: Obis = Obis([0, 0, 96, 3, 10, 255]);
const CLOCK: Obis = Obis([0, 0, 1, 0, 0, 255]);

/// A clock that is off by less is right, in milliseconds: its own reading counts in seconds.
const RIGHT_MS: i64 = 1_000;
/// Offset that may be left after a clock was brought to ours, beside half the round trip.
const LEFT_MS: i64 = 2_000;

/// `control_state` of class 70: armed, a press of the button closes.
const READY: u64 = 2;

/// What to do with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Carry it out.
    Act,
    /// See whether the device stands as ordered.
    ReadBack,
    /// See how far its clock is off.
    Measure,
}

/// An order under way.
#[derive(Debug)]
pub(super) struct Plan {
    order: Order,
    aim: Aim,
    anchor: Anchor,
    asked_at: Option<Instant>,
    /// Seconds since the order was about to be sent.
    since_s: u64,
    /// What an earlier step was answered.
    earlier: Option<Data>,
    /// What was written or invoked has gone out.
    is_sent: bool,
    reads: Vec<Read>,
}

impl Plan {
    pub(super) fn new(order: &Order, aim: Aim, anchor: Anchor, since_s: u64) -> Self {
        let (order, reads, earlier) = (order.clone(), Vec::new(), None);
        Self { order, aim, anchor, asked_at: None, since_s, earlier, is_sent: false, reads }
    }

    /// How far the clock is off, and nothing else.
    pub(super) fn measure(anchor: Anchor) -> Self {
        Self::new(&Order::Clock { limit_s: 0, set: false }, Aim::Measure, anchor, 0)
    }

    /// The first step.
    pub(super) fn start(&mut self, now: Instant) -> Result<Next, Failure> {
        self.asked_at = Some(now);
        let next = match (&self.order, self.aim) {
            (Order::Write { attribute, value, tag: Some(tag) }, Aim::Act) => {
                let like = fit::like(*tag)
                    .ok_or_else(|| Failure::Unsupported(format!("type {tag} is not written")))?;
                self.is_sent = true;
                set(attribute, fit::fit(value, &like).map_err(Failure::Unsupported)?)
            }
            (Order::Write { attribute, .. }, _) => get(attribute),
            (Order::Switch { close, .. }, Aim::Act) => {
                self.is_sent = true;
                // Method 1 opens, 2 closes; both take integer 0.
                invoke(70, SWITCH, if *close { 2 } else { 1 }, Data::I8(0))
            }
            (Order::Switch { .. }, _) => get(&switch(2)),
            (Order::Clock { .. } | Order::Shift { .. }, _) => get(&clock()),
            (Order::Push { .. }, _) => get(&setup::SET),
            (Order::Restart { .. }, Aim::Act) => {
                self.is_sent = true;
                invoke(9, setup::SCRIPTS, 1, Data::U16(1))
            }
            (Order::Restart { .. }, _) => get(&setup::RESTARTS),
            (Order::Read { .. } | Order::Profile { .. }, _) => {
                return Err(Failure::Unsupported("an order that only reads".to_owned()));
            }
        };
        Ok(next)
    }

    /// The step behind an answer; a write or an invocation answers null-data when it was taken.
    pub(super) fn answer(&mut self, now: Instant, result: GetResult) -> Result<Next, Failure> {
        let refused = match (&self.order, self.is_sent) {
            (Order::Push { .. }, true) => setup::refused,
            _ => translate::refusal,
        };
        let data = result.map_err(refused)?;
        if self.is_sent {
            return Ok(Next::Done(Outcome::Acted(std::mem::take(&mut self.reads))));
        }
        let next = match (&self.order, self.aim) {
            (Order::Write { attribute, value, .. }, Aim::Act) => {
                let fitted = fit::fit(value, &data).map_err(Failure::Unsupported)?;
                // What stood there before, for the record.
                self.reads.push(translate::read(attribute, &data, None));
                self.is_sent = true;
                set(attribute, fitted)
            }
            (Order::Write { attribute, value, .. }, Aim::ReadBack) => {
                let stands = fit::fit(value, &data).is_ok_and(|fitted| fitted == data);
                let read = translate::read(attribute, &data, None);
                return proof(stands, vec![read], "it holds another value");
            }
            (Order::Switch { close, .. }, Aim::ReadBack) => return self.switch(*close, &data),
            (Order::Push { version, trial_s, wanted }, Aim::Act) => {
                let (before, written) = setup::to_write(&data, (*version, *trial_s), wanted)?;
                (self.reads, self.is_sent) = (before, true);
                set(&setup::SET, written)
            }
            (Order::Push { version, wanted, .. }, Aim::ReadBack) => {
                return Ok(Next::Done(Outcome::Reads(setup::proven(&data, *version, wanted)?)));
            }
            (Order::Restart { .. }, Aim::ReadBack) => return self.restarted(data),
            (Order::Clock { limit_s, set }, aim) => {
                let (limit_s, set) = (*limit_s, *set);
                return self.clock(now, &data, aim, limit_s, set);
            }
            (Order::Shift { by_s, off_ms }, aim) => {
                let (by_s, off_ms) = (*by_s, *off_ms);
                return self.shift(now, &data, aim, by_s, off_ms);
            }
            _ => return Err(Failure::Malformed("an answer to nothing".to_owned())),
        };
        Ok(next)
    }

    /// The count of restarts first, then the time of operation.
    fn restarted(&mut self, data: Data) -> Result<Next, Failure> {
        let Some(restarts) = self.earlier.take() else {
            self.reads.push(translate::read(&setup::RESTARTS, &data, None));
            self.earlier = Some(data);
            return Ok(get(&setup::UPTIME));
        };
        setup::restarted(&restarts, &data, self.since_s)?;
        // Scaler 0, unit second.
        self.reads.push(translate::read(&setup::UPTIME, &data, Some((0, 7))));
        Ok(Next::Done(Outcome::Reads(std::mem::take(&mut self.reads))))
    }

    /// Output state first, then control state; both say together what the switch does.
    fn switch(&mut self, close: bool, data: &Data) -> Result<Next, Failure> {
        if self.reads.is_empty() {
            self.reads.push(translate::read(&switch(2), data, None));
            return Ok(get(&switch(3)));
        }
        let is_closed = self.reads.first().map(|read| &read.value) == Some(&Value::Boolean(true));
        let control = data.as_u64();
        self.reads.push(translate::read(&switch(3), data, None));
        // Where a reconnection only arms the button, the head-end can bring about no more.
        let stands = if close { is_closed || control == Some(READY) } else { !is_closed };
        let reads = std::mem::take(&mut self.reads);
        let text = if close { "the switch is open" } else { "the switch is closed" };
        proof(stands, reads, text)
    }

    /// What the clock shows and how far it is off, with half the round trip, both in milliseconds;
    /// kept as read.
    fn measured(&mut self, now: Instant, data: &Data) -> Result<(DateTime, i64, i64), Failure> {
        let trip =
            self.asked_at.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked));
        let half_ms = i64::try_from(trip.as_millis() / 2).unwrap_or(i64::MAX);
        let time = data.as_date_time().ok_or_else(no_time)?;
        // A clock without a deviation is taken to show UTC, as its load profile is.
        let shown_s = time.to_unix_s(0).ok_or_else(no_time)?;
        let hundredths = i64::from(time.time.hundredths);
        let shown_ms = shown_s * 1000 + if hundredths < 100 { hundredths * 10 } else { 0 };
        let offset_ms = shown_ms - (self.anchor.unix_ms(now) - half_ms);
        self.reads.push(translate::read(&clock(), data, None));
        self.reads.push(offset_read(offset_ms));
        Ok((time, offset_ms, half_ms))
    }

    /// One small step of a clock that still stands where it stood when the step was decided.
    fn shift(
        &mut self,
        now: Instant,
        data: &Data,
        aim: Aim,
        by_s: i16,
        off_ms: i64,
    ) -> Result<Next, Failure> {
        let (_, offset_ms, half_ms) = self.measured(now, data)?;
        let goal_ms = match aim {
            Aim::ReadBack => off_ms.saturating_add(i64::from(by_s) * 1_000),
            _ => off_ms,
        };
        let is_there = (offset_ms - goal_ms).abs() <= LEFT_MS.saturating_add(half_ms);
        if aim == Aim::ReadBack {
            let text = format!("the clock is off by {} s", seconds(offset_ms));
            return proof(is_there, std::mem::take(&mut self.reads), &text);
        }
        if !is_there {
            let (now_s, then_s) = (seconds(offset_ms), seconds(off_ms));
            let text = format!("the clock is off by {now_s} s, no longer by {then_s} s");
            return Err(Failure::Held(text));
        }
        self.is_sent = true;
        Ok(invoke(8, CLOCK, 6, Data::I16(by_s)))
    }

    fn clock(
        &mut self,
        now: Instant,
        data: &Data,
        aim: Aim,
        limit_s: u16,
        set_it: bool,
    ) -> Result<Next, Failure> {
        let (time, offset_ms, half_ms) = self.measured(now, data)?;
        if aim == Aim::Measure {
            return Ok(Next::Done(Outcome::Reads(std::mem::take(&mut self.reads))));
        }
        if aim == Aim::ReadBack {
            let stands = offset_ms.abs() <= LEFT_MS.saturating_add(half_ms);
            let text = format!("the clock is off by {} s", seconds(offset_ms));
            return proof(stands, std::mem::take(&mut self.reads), &text);
        }
        if offset_ms.abs() <= RIGHT_MS {
            return Ok(Next::Done(Outcome::Acted(std::mem::take(&mut self.reads))));
        }
        let shift_s = -(offset_ms + offset_ms.signum() * 500) / 1000;
        match i16::try_from(shift_s) {
            Ok(shift) if shift.unsigned_abs() <= limit_s => {
                self.is_sent = true;
                Ok(invoke(8, CLOCK, 6, Data::I16(shift)))
            }
            _ if set_it => {
                self.is_sent = true;
                let ours_ms = self.anchor.unix_ms(now).saturating_add(half_ms);
                let local = DateTime::from_unix_s((ours_ms + 500) / 1000, zone(time), time.status);
                let written = DateTime { deviation: time.deviation, ..local };
                Ok(set(&clock(), Data::octets(&written.to_octets())))
            }
            _ => Err(Failure::Held(format!(
                "the clock is off by {} s; a shift may be {limit_s} s at most",
                seconds(offset_ms)
            ))),
        }
    }
}

fn proof(stands: bool, reads: Vec<Read>, otherwise: &str) -> Result<Next, Failure> {
    if stands {
        return Ok(Next::Done(Outcome::Reads(reads)));
    }
    Err(Failure::NotDone(otherwise.to_owned()))
}

fn no_time() -> Failure {
    Failure::Malformed("the clock shows no time".to_owned())
}

fn zone(time: DateTime) -> i16 {
    match time.deviation {
        cosem::datetime::DEVIATION_NOT_SPECIFIED => 0,
        deviation => deviation,
    }
}

/// Milliseconds as seconds with one decimal.
pub(crate) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{}", ms.abs() / 1000, ms.abs() % 1000 / 100)
}

/// The measured offset, seconds by 10^-3: no attribute of the clock, so attribute 0.
pub(crate) fn offset_read(offset_ms: i64) -> Read {
    let value = Value::Integer(offset_ms);
    Read {
        obis: CLOCK,
        attribute: 0,
        value,
        scaler: Some(-3),
        unit: Some(cosem::scaler::unit::SECOND),
    }
}

fn switch(attribute: i8) -> Attribute {
    Attribute { class: 70, obis: SWITCH, attribute }
}

fn clock() -> Attribute {
    Attribute { class: 8, obis: CLOCK, attribute: 2 }
}

fn get(attribute: &Attribute) -> Next {
    Next::Get(translate::attribute_ref(attribute), None)
}

fn set(attribute: &Attribute, value: Data) -> Next {
    Next::Set(translate::attribute_ref(attribute), value)
}

fn invoke(class: u16, obis: Obis, method: i8, parameter: Data) -> Next {
    Next::Action(MethodRef::new(class, obis.0, method), parameter)
}

#[cfg(test)]
mod tests;
