//! Which rate counts when, and the registers of the rates: activity calendar, special days,
//! register activation.
//!
//! The factory's calendar has a day of work (rates 1, 2, 3), a day of rest (1, 2) and a holiday
//! (4). Until [`COMMISSIONED_S`] a meter counted everything at rate 1.
//!
//! Invariants: the four rates of a direction always add up to its total, to the Wh; a rate never
//! falls, also not when another calendar takes over.

use cosem::datetime::{Date, NOT_SPECIFIED, Time, YEAR_NOT_SPECIFIED};
use cosem::{Data, DataAccessError};

use super::Meter;
use super::catalogue::{ACTIVATION, CALENDAR, Flow, SPECIAL_DAYS};
use super::memory::{Settled, from_hex, hex};

/// 1 July 2025: from here on the rates are told apart.
pub const COMMISSIONED_S: i64 = 1_751_328_000;
const DAY_S: i64 = 86_400;
/// Standard log.
const STANDARD: u8 = 0;

/// Registers of the four rates, Wh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// A+.
    pub import_wh: [u64; 4],
    /// A-.
    pub export_wh: [u64; 4],
}

/// A calendar as it is reckoned with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Month, day and name of the week, as they follow in a year.
    seasons: Vec<(u8, u8, Vec<u8>)>,
    weeks: Vec<(Vec<u8>, [u8; 7])>,
    /// Switch times in seconds of the day, with the rate from then on.
    days: Vec<(u8, Vec<(i64, u8)>)>,
    special: Vec<(Date, u8)>,
}

impl Plan {
    /// From structure {seasons, weeks, days, special days}; what cannot be read is left out.
    fn read(calendar: &Data) -> Self {
        let parts = calendar.as_structure().unwrap_or(&[]);
        let list = |at: usize| parts.get(at).and_then(Data::as_array).unwrap_or(&[]);
        let mut plan = Self {
            seasons: list(0).iter().filter_map(season).collect(),
            weeks: list(1).iter().filter_map(week).collect(),
            days: list(2).iter().filter_map(day).collect(),
            special: list(3).iter().filter_map(special).collect(),
        };
        plan.seasons.sort();
        plan
    }

    /// The switch times of a day (days since 1970, local).
    fn day(&self, day: i64) -> &[(i64, u8)] {
        let Some(date) = Date::from_unix_days(day) else { return &[] };
        let holiday = self.special.iter().find(|(pattern, _)| fits(pattern, &date));
        let id = holiday.map(|(_, id)| *id).or_else(|| self.weekday(&date));
        let found = self.days.iter().find(|(known, _)| Some(*known) == id);
        found.map_or(&[], |(_, switches)| switches)
    }

    fn weekday(&self, date: &Date) -> Option<u8> {
        let begun = self.seasons.iter().rfind(|(m, d, _)| (*m, *d) <= (date.month, date.day));
        let (_, _, name) = begun.or(self.seasons.last())?;
        let (_, days) = self.weeks.iter().find(|(known, _)| known == name)?;
        days.get(usize::from(date.weekday).checked_sub(1)?).copied()
    }
}

fn season(data: &Data) -> Option<(u8, u8, Vec<u8>)> {
    let [_, start, week] = data.as_structure()? else { return None };
    let octets = start.as_octets()?;
    let known = |at: usize| octets.get(at).copied().filter(|octet| *octet != NOT_SPECIFIED);
    Some((known(2).unwrap_or(1), known(3).unwrap_or(1), week.as_octets()?.to_vec()))
}

fn week(data: &Data) -> Option<(Vec<u8>, [u8; 7])> {
    let (name, days) = data.as_structure()?.split_first()?;
    let days: Option<Vec<u8>> = days.iter().map(|day| u8::try_from(day.as_u64()?).ok()).collect();
    Some((name.as_octets()?.to_vec(), days?.try_into().ok()?))
}

fn day(data: &Data) -> Option<(u8, Vec<(i64, u8)>)> {
    let [id, actions] = data.as_structure()? else { return None };
    let action = |action: &Data| {
        let [time, _, selector] = action.as_structure()? else { return None };
        let time: [u8; 4] = time.as_octets()?.try_into().ok()?;
        let rate = u8::try_from(selector.as_u64()?).ok().filter(|rate| (1..=4).contains(rate))?;
        Some((Time::from_octets(time).to_seconds()?, rate))
    };
    let mut actions: Vec<_> = actions.as_array()?.iter().filter_map(action).collect();
    actions.sort_unstable();
    Some((u8::try_from(id.as_u64()?).ok()?, actions))
}

fn special(data: &Data) -> Option<(Date, u8)> {
    let [_, date, id] = data.as_structure()? else { return None };
    let date: [u8; 5] = date.as_octets()?.try_into().ok()?;
    Some((Date::from_octets(date), u8::try_from(id.as_u64()?).ok()?))
}

/// Whether a date is meant by a pattern with fields that are not specified.
#[must_use]
pub fn fits(pattern: &Date, date: &Date) -> bool {
    let same = |pattern: u8, value: u8| pattern == NOT_SPECIFIED || pattern == value;
    (pattern.year == YEAR_NOT_SPECIFIED || pattern.year == date.year)
        && same(pattern.month, date.month)
        && same(pattern.day, date.day)
        && same(pattern.weekday, date.weekday)
}

impl Meter<'_> {
    /// Registers of the rates at times, which must not fall.
    #[must_use]
    pub fn rates_at(&self, times: &[i64]) -> Vec<Rates> {
        let mut pass = Pass::new(self);
        times.iter().map(|at_s| pass.until(*at_s)).collect()
    }

    /// The calendar that counts, as structure {seasons, weeks, days, special days}.
    fn calendar(&self) -> Data {
        let attribute = |attribute| self.current(20, CALENDAR, attribute);
        let special = self.current(11, SPECIAL_DAYS, 2);
        Data::Structure(vec![attribute(3), attribute(4), attribute(5), special])
    }

    /// The rate of this moment.
    #[must_use]
    pub fn rate_now(&self) -> u8 {
        let plan = Plan::read(&self.calendar());
        let local = self.moment.now_s - i64::from(self.deviation_at(self.moment.now_s)) * 60;
        let second = local.rem_euclid(DAY_S);
        let switches = plan.day(local.div_euclid(DAY_S));
        switches.iter().rfind(|(from, _)| *from <= second).map_or(1, |(_, rate)| *rate)
    }

    /// Changes the calendar: what was counted so far stays where it was counted.
    pub(super) fn change_calendar(&mut self, change: impl FnOnce(&mut Self)) {
        let now = self.moment.now_s;
        let Rates { import_wh, export_wh } = self.rates_at(&[now]).pop().unwrap_or_default();
        change(self);
        let calendar = hex(&self.calendar().to_axdr());
        self.memory.settle(Settled { at_s: now, import_wh, export_wh, calendar });
    }

    /// Method activate_passive_calendar: attributes 6 to 9 become 2 to 5.
    pub(super) fn activate_passive(&mut self) {
        self.change_calendar(|meter| {
            for attribute in 6..=9 {
                let value = meter.current(20, CALENDAR, attribute);
                meter.memory.write(20, CALENDAR, attribute - 4, &value);
            }
        });
        self.memory.record(STANDARD, self.moment.now_s, 9);
    }

    /// Methods insert and delete of the special days.
    ///
    /// # Errors
    /// `TypeUnmatched` for another parameter.
    pub(super) fn special_days(
        &mut self,
        method: i8,
        parameter: Option<&Data>,
    ) -> Result<(), DataAccessError> {
        let table = self.current(11, SPECIAL_DAYS, 2);
        let mut entries = table.as_array().unwrap_or(&[]).to_vec();
        let number = |entry: &Data| entry.as_structure()?.first()?.as_u64();
        let parameter = parameter.ok_or(DataAccessError::TypeUnmatched)?;
        let index = match method {
            1 => special(parameter).and(number(parameter)),
            _ => parameter.as_u64(),
        };
        let index = index.ok_or(DataAccessError::TypeUnmatched)?;
        entries.retain(|entry| number(entry) != Some(index));
        if method == 1 {
            entries.push(parameter.clone());
        }
        self.change_calendar(|meter| {
            meter.memory.write(11, SPECIAL_DAYS, 2, &Data::Array(entries));
        });
        Ok(())
    }

    /// Attributes of the calendar as they left the factory.
    pub(super) fn factory_calendar(attribute: i8) -> Result<Data, DataAccessError> {
        Ok(match attribute {
            2 | 6 => Data::octets(b"FACTORY"),
            3 | 7 => Data::Array(vec![Data::Structure(vec![
                Data::octets(&[1]),
                Data::octets(&[0xff, 0xff, 1, 1, 0xff, 0, 0, 0, 0, 0x80, 0, 0xff]),
                Data::octets(&[1]),
            ])]),
            4 | 8 => {
                let mut week = vec![Data::octets(&[1])];
                week.extend([1, 1, 1, 1, 1, 2, 2].map(Data::U8));
                Data::Array(vec![Data::Structure(week)])
            }
            5 | 9 => Data::Array(vec![
                day_profile(1, &[(0, 1), (6, 2), (17, 3), (22, 1)]),
                day_profile(2, &[(0, 1), (8, 2)]),
                day_profile(3, &[(0, 4)]),
            ]),
            10 => Data::octets(&cosem::DateTime::NOT_SPECIFIED.to_octets()),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Holidays as they left the factory.
    pub(super) fn factory_special_days() -> Data {
        let holidays: [(u16, u8, u8); 4] = [(1, 1, 1), (2, 5, 1), (3, 12, 25), (4, 12, 26)];
        let entry = |(index, month, day): (u16, u8, u8)| {
            let date = [0xff, 0xff, month, day, 0xff];
            Data::Structure(vec![Data::U16(index), Data::octets(&date), Data::U8(3)])
        };
        Data::Array(holidays.map(entry).to_vec())
    }

    /// Attributes of the register activation: one mask for each rate.
    pub(super) fn activation(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let rates = 1..=4_u8;
        Ok(match attribute {
            2 => {
                let both = rates.flat_map(|rate| [(1, rate), (2, rate)]);
                let register = |(c, e)| {
                    let name = [1, 0, c, 8, e, 255];
                    Data::Structure(vec![Data::U16(3), Data::octets(&name)])
                };
                Data::Array(both.map(register).collect())
            }
            3 => {
                let mask = |rate: u8| {
                    let indices = Data::Array(vec![Data::U8(rate * 2 - 1), Data::U8(rate * 2)]);
                    Data::Structure(vec![Data::octets(&[rate]), indices])
                };
                Data::Array(rates.map(mask).collect())
            }
            4 => Data::octets(&[self.rate_now()]),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Methods of the register activation: its lists are changed, the counting follows the
    /// calendar.
    ///
    /// # Errors
    /// `TypeUnmatched` for another parameter.
    pub(super) fn change_activation(
        &mut self,
        method: i8,
        parameter: Option<&Data>,
    ) -> Result<(), DataAccessError> {
        let parameter = parameter.ok_or(DataAccessError::TypeUnmatched)?;
        let attribute = if method == 1 { 2 } else { 3 };
        let mut list = self.current(6, ACTIVATION, attribute).as_array().unwrap_or(&[]).to_vec();
        if method == 3 {
            let name = parameter.as_octets().ok_or(DataAccessError::TypeUnmatched)?;
            list.retain(|mask| {
                mask.as_structure().and_then(|m| m.first()?.as_octets()) != Some(name)
            });
        } else if parameter.as_structure().is_some_and(|fields| fields.len() == 2) {
            list.push(parameter.clone());
        } else {
            return Err(DataAccessError::TypeUnmatched);
        }
        self.memory.write(6, ACTIVATION, attribute, &Data::Array(list));
        Ok(())
    }
}

fn day_profile(id: u8, switches: &[(u8, u16)]) -> Data {
    let switch = |(hour, rate): &(u8, u16)| {
        let script = Data::octets(&[0, 0, 10, 0, 100, 255]);
        Data::Structure(vec![Data::octets(&[*hour, 0, 0, 0]), script, Data::U16(*rate)])
    };
    Data::Structure(vec![Data::U8(id), Data::Array(switches.iter().map(switch).collect())])
}

/// One walk over the days from the last settlement on.
struct Pass<'a> {
    meter: &'a Meter<'a>,
    player: crate::field::Player<'a>,
    plan: Plan,
    /// Settlements that are still ahead.
    ahead: &'a [Settled],
    rates: Rates,
    at_s: i64,
    registers: [u64; 2],
}

impl<'a> Pass<'a> {
    fn new(meter: &'a Meter<'a>) -> Self {
        let mut player = meter.model.player_after(&meter.memory.past);
        let registers = player.registers_wh(COMMISSIONED_S);
        let special = Meter::factory_special_days();
        let part = |attribute| Meter::factory_calendar(attribute).unwrap_or(Data::Null);
        let calendar = Data::Structure(vec![part(3), part(4), part(5), special]);
        let mut rates = Rates::default();
        (rates.import_wh[0], rates.export_wh[0]) = (registers[0], registers[1]);
        Self {
            player,
            plan: Plan::read(&calendar),
            ahead: &meter.memory.settled,
            rates,
            at_s: COMMISSIONED_S,
            registers,
            meter,
        }
    }

    fn until(&mut self, to_s: i64) -> Rates {
        if to_s <= COMMISSIONED_S {
            let [import, export] = self.player.registers_wh(to_s);
            return Rates { import_wh: [import, 0, 0, 0], export_wh: [export, 0, 0, 0] };
        }
        // Up to a settlement nothing need be walked: its registers are kept.
        while let Some((next, rest)) = self.ahead.split_first().filter(|(s, _)| s.at_s <= to_s) {
            self.ahead = rest;
            let Settled { at_s, import_wh, export_wh, calendar } = next;
            self.at_s = *at_s;
            self.rates = Rates { import_wh: *import_wh, export_wh: *export_wh };
            self.registers = self.player.registers_wh(*at_s);
            let calendar = from_hex(calendar).and_then(|octets| Data::decode(&octets).ok());
            self.plan = Plan::read(&calendar.unwrap_or(Data::Null));
        }
        while self.at_s < to_s {
            self.step(to_s);
        }
        self.rates
    }

    /// Counts to the next switch time, or the end of the day, or the end.
    fn step(&mut self, to_s: i64) {
        let shift = i64::from(self.meter.deviation_at(self.at_s)) * 60;
        let local = self.at_s - shift;
        let (day, second) = (local.div_euclid(DAY_S), local.rem_euclid(DAY_S));
        let switches = self.plan.day(day);
        let rate = switches.iter().rfind(|(from, _)| *from <= second).map_or(1, |(_, rate)| *rate);
        let next =
            switches.iter().find(|(from, _)| *from > second).map_or(DAY_S, |(from, _)| *from);
        self.at_s = to_s.min(day * DAY_S + next + shift);
        let registers = self.player.registers_wh(self.at_s);
        let rate = usize::from(rate.clamp(1, 4)) - 1;
        self.rates.import_wh[rate] += registers[0].saturating_sub(self.registers[0]);
        self.rates.export_wh[rate] += registers[1].saturating_sub(self.registers[1]);
        self.registers = registers;
    }
}

/// Sums to the totals: what tests and people check.
impl Rates {
    /// The total of a direction.
    #[must_use]
    pub fn total(&self, flow: Flow) -> u64 {
        (1..=4).map(|rate| self.of(flow, rate)).sum()
    }
}
