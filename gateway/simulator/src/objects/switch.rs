//! Disconnect control, limiter, scripts and single action schedules.
//!
//! The switch is what the energy registers see: while it is open nothing is counted. Who has armed
//! a reconnection finds the button pressed by the customer after [`BUTTON_S`] seconds.
//!
//! Invariant: output and control state follow from the switchings alone; what was due while nobody
//! looked is carried out, in its order, before the next request is answered.

use cosem::datetime::{Date, Time};
use cosem::{Data, DataAccessError};

use super::catalogue::{DISCONNECT, Flow, LIMITER, Table};
use super::events::SWITCH;
use super::tariff::fits;
use super::{After, Meter};

/// Time until the customer presses the button of a meter that is ready.
pub const BUTTON_S: i64 = 60;
/// Schedules are looked at this far back at most.
const LOOK_BACK_S: i64 = 40 * 86_400;
const DAY_S: i64 = 86_400;

/// State of the disconnect control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// 0.
    Disconnected,
    /// 1.
    Connected,
    /// 2: the customer may close it.
    Ready,
}

impl Meter<'_> {
    /// The control state.
    #[must_use]
    pub fn switch_state(&self) -> State {
        match (self.memory.past.is_off(self.moment.now_s), self.memory.ready_since_s) {
            (false, _) => State::Connected,
            (true, Some(_)) => State::Ready,
            (true, None) => State::Disconnected,
        }
    }

    fn mode(&self) -> u8 {
        let mode = self.memory.written(70, DISCONNECT, 4).unwrap_or(Data::Enum(4));
        if let Data::Enum(mode) = mode { mode } else { 4 }
    }

    /// Attributes of the disconnect control.
    pub(super) fn switch(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let state = self.switch_state();
        Ok(match attribute {
            2 => Data::Boolean(state == State::Connected),
            3 => Data::Enum(state as u8),
            4 => Data::Enum(self.mode()),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Methods remote_disconnect and remote_reconnect.
    pub(super) fn remote(&mut self, method: i8) -> Result<(), DataAccessError> {
        let mode = self.mode();
        if mode == 0 {
            self.happened(SWITCH, 68);
            return Err(DataAccessError::ReadWriteDenied);
        }
        if method == 1 {
            self.open(62, self.moment.now_s);
        } else if self.switch_state() == State::Disconnected {
            // Modes 2, 4 and 7 close at once, the others arm the button.
            if matches!(mode, 2 | 4 | 7) {
                self.close(63, self.moment.now_s);
            } else {
                self.memory.ready_since_s = Some(self.moment.now_s);
                self.happened(SWITCH, 59);
            }
        }
        Ok(())
    }

    fn open(&mut self, code: u8, at_s: i64) {
        self.memory.ready_since_s = None;
        if !self.memory.past.is_off(at_s) {
            let model = self.model;
            self.memory.past.open(at_s, |at| model.flows_mwh(at));
            self.memory.record(SWITCH, at_s, code);
        }
    }

    fn close(&mut self, code: u8, at_s: i64) {
        self.memory.past.close(at_s);
        self.memory.ready_since_s = None;
        self.memory.record(SWITCH, at_s, code);
    }

    /// Attributes of the limiter as they left the factory.
    pub(super) fn limiter(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let most_w = 18_400 * u32::from(self.model.phases);
        let script = |selector| {
            let name = Data::octets(&[0, 0, 10, 0, 106, 255]);
            Data::Structure(vec![name, Data::U16(selector)])
        };
        Ok(match attribute {
            2 => Data::Structure(vec![
                Data::U16(3),
                Data::octets(&[1, 0, 1, 7, 0, 255]),
                Data::I8(2),
            ]),
            3 => self.current(71, LIMITER, if self.in_emergency() { 5 } else { 4 }),
            4 | 5 => Data::U32(most_w),
            6 => Data::U32(60),
            7 => Data::U32(0),
            8 => Data::Structure(vec![
                Data::U16(0),
                Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets()),
                Data::U32(0),
            ]),
            9 => Data::Array(Vec::new()),
            10 => Data::Boolean(self.in_emergency()),
            11 => Data::Structure(vec![script(1), script(0)]),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    fn in_emergency(&self) -> bool {
        let profile = self.memory.written(71, LIMITER, 8);
        let Some([_, from, seconds]) = profile.as_ref().and_then(Data::as_structure) else {
            return false;
        };
        let from = from.as_date_time().and_then(|time| time.to_unix_s(0));
        let seconds = seconds.as_i64().unwrap_or(0);
        from.is_some_and(|from| (from..from.saturating_add(seconds)).contains(&self.clock_s()))
    }

    /// Opens the switch when the power has been above its limit for long enough.
    fn limit(&mut self) {
        let now = self.moment.now_s;
        let touched = (4..=8).any(|at| self.memory.written(71, LIMITER, at).is_some());
        if !touched || self.switch_state() != State::Connected || self.mode() == 0 {
            return;
        }
        let number = |data: Data| data.as_u64().unwrap_or(u64::MAX);
        let limit = number(self.current(71, LIMITER, 3));
        let over_s = number(self.current(71, LIMITER, 6)).min(DAY_S as u64) as i64;
        if limit == 0 {
            return;
        }
        // Every minute of the time has to be above the limit.
        let minutes = (0..=over_s / 60).map(|minute| now - minute * 60);
        if minutes.take(1_441).all(|at| self.power_w(Flow::Import, at) > limit) {
            self.memory.record(SWITCH, now, 65);
            self.open(64, now);
        }
    }

    /// Carries out what has become due since somebody looked last.
    pub(super) fn catch_up(&mut self) {
        let now = self.moment.now_s;
        if let Some(since) = self.memory.ready_since_s.filter(|since| since + BUTTON_S <= now) {
            self.close(61, since + BUTTON_S);
        }
        self.limit();
        self.passive_if_due();
        let from = self.memory.looked_s.unwrap_or(now).max(now - LOOK_BACK_S);
        for schedule in [1, 2, 4] {
            let name = [0, 0, 15, 0, schedule, 255];
            if self.memory.written(22, name, 4).is_some() && self.was_due(name, from) {
                self.run_schedule(name);
            }
        }
        // A meter that has no written schedule needs no memory of when it was looked at.
        let scheduled =
            [1, 2, 4].iter().any(|e| self.memory.written(22, [0, 0, 15, 0, *e, 255], 4).is_some());
        self.memory.looked_s = scheduled.then_some(now);
    }

    fn passive_if_due(&mut self) {
        let name = super::catalogue::CALENDAR;
        let Some(due) = self.memory.written(20, name, 10) else { return };
        let due = due.as_date_time().and_then(|time| time.to_unix_s(0));
        if due.is_some_and(|due| due <= self.clock_s()) {
            self.activate_passive();
            let never = Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets());
            self.memory.write(20, name, 10, &never);
        }
    }

    /// Whether a time of a schedule lies after `from_s` and not after now.
    fn was_due(&self, name: [u8; 6], from_s: i64) -> bool {
        let times = self.current(22, name, 4);
        let offset = self.offset_at(self.moment.now_s)
            - i64::from(self.deviation_at(self.moment.now_s)) * 60;
        let (from, to) = (from_s + offset, self.moment.now_s + offset);
        let due = |entry: &Data| {
            let [time, date] = entry.as_structure()? else { return None };
            let time = Time::from_octets(time.as_octets()?.try_into().ok()?).to_seconds()?;
            let pattern = Date::from_octets(date.as_octets()?.try_into().ok()?);
            let mut days = from.div_euclid(DAY_S)..=to.div_euclid(DAY_S);
            days.find(|day| {
                let at = day * DAY_S + time;
                let date = Date::from_unix_days(*day);
                at > from && at <= to && date.is_some_and(|date| fits(&pattern, &date))
            })
        };
        times.as_array().unwrap_or(&[]).iter().any(|entry| due(entry).is_some())
    }

    fn run_schedule(&mut self, name: [u8; 6]) {
        let script = self.current(22, name, 2);
        let Some([table, selector]) = script.as_structure() else { return };
        let table = table.as_octets().and_then(|name| name.get(4).copied());
        let selector = selector.as_u64().and_then(|n| u16::try_from(n).ok());
        if let (Some(table), Some(selector)) = (table, selector) {
            // A script that cannot be run now is not run later either, as in a real meter.
            let _refused = self.run_script(table, selector);
        }
    }

    /// Executes a script of table `0.0.10.0.e`.
    ///
    /// # Errors
    /// `OtherReason` when the table has no such script; what the script is refused with.
    pub(super) fn run_script(&mut self, e: u8, script: u16) -> Result<(), DataAccessError> {
        match (e, script) {
            // The calendar alone decides the rate, so that the rates can be reckoned again; an
            // order from outside is refused, as by meters whose tariff input is closed.
            (100, 1..=4) => Err(DataAccessError::ReadWriteDenied),
            (106, 1 | 2) => self.remote(script as i8),
            (107, 1) => self.image_method(4, None),
            (108, 1) => {
                self.after.push(After::Push(0));
                Ok(())
            }
            _ => Err(DataAccessError::OtherReason),
        }
    }

    /// The scripts of a table.
    pub(super) fn scripts(e: u8) -> Data {
        let script = |id: u16, kind: u8, class: u16, name: [u8; 6], index: i8, parameter: Data| {
            let specification = Data::Structure(vec![
                Data::Enum(kind),
                Data::U16(class),
                Data::octets(&name),
                Data::I8(index),
                parameter,
            ]);
            Data::Structure(vec![Data::U16(id), Data::Array(vec![specification])])
        };
        let zero = || Data::I8(0);
        Data::Array(match e {
            100 => (1..=4)
                .map(|rate: u8| {
                    let mask = Data::octets(&[rate]);
                    script(rate.into(), 1, 6, super::catalogue::ACTIVATION, 4, mask)
                })
                .collect(),
            106 => vec![
                script(1, 2, 70, DISCONNECT, 1, zero()),
                script(2, 2, 70, DISCONNECT, 2, zero()),
            ],
            107 => vec![script(1, 2, 18, super::catalogue::IMAGE, 4, zero())],
            _ => vec![script(1, 2, 40, [0, 0, 25, 9, 0, 255], 1, zero())],
        })
    }

    /// Attributes of a schedule as they left the factory.
    pub(super) fn schedule(e: u8, attribute: i8) -> Result<Data, DataAccessError> {
        let table = match e {
            0 => super::profile::name_of(Table::Billing),
            1 => [0, 0, 10, 0, 106, 255],
            2 => [0, 0, 10, 0, 107, 255],
            _ => [0, 0, 10, 0, 108, 255],
        };
        Ok(match attribute {
            2 => Data::Structure(vec![Data::octets(&table), Data::U16(1)]),
            3 => Data::Enum(1),
            // The billing period ends with the month; nothing else is scheduled.
            4 if e == 0 => Data::Array(vec![Data::Structure(vec![
                Data::octets(&[0, 0, 0, 0]),
                Data::octets(&[0xff, 0xff, 0xff, 1, 0xff]),
            ])]),
            4 => Data::Array(Vec::new()),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }
}
