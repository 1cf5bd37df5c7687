//! Profiles (class 7): load profile, days, billing periods, event logs and tokens, with access by
//! range and by entry.
//!
//! Rows are reckoned from the meter's flows and memory whenever they are read. Invariants: a
//! profile never shows more rows than it keeps; input from the wire only selects, it never sizes
//! an allocation.

use cosem::class::profile::{Access, CaptureObject, Entries};
use cosem::datetime::Date;
use cosem::{AttributeRef, Data, DataAccessError, Selection};

use super::Meter;
use super::catalogue::{BILLING, DAILY, Flow, Name, TOKEN_GATEWAY, TOKEN_LOG, Table};
use super::measure::{Registers, to_u32};
use super::memory::LOG_ENTRIES;
use super::tariff::Rates;
use crate::fault::Kind as Fault;
use crate::field::{PROFILE_DAYS, STATUS_CLOCK_DOUBTFUL, STATUS_POWER_FAILURE};
use crate::push::{self, CLOCK, LOAD_PROFILE, STATUS};

const DAY_S: i64 = 86_400;
/// Billing periods kept.
const PERIODS: usize = 12;
/// Days kept in load profile 2.
const DAYS: i64 = 62;
/// Bits of the status of a row, read from the meter itself (IDIS).
const IDIS_CLOCK_DOUBTFUL: u8 = 0x02;
const IDIS_DAYLIGHT_SAVING: u8 = 0x08;
const IDIS_POWER_DOWN: u8 = 0x80;

/// A row: true time of its capture, its clock, its cells without the clock.
struct TableRow {
    at_s: i64,
    clock_s: i64,
    cells: Vec<Data>,
}

impl Meter<'_> {
    /// Attributes of a profile.
    pub(super) fn profile(
        &self,
        table: Table,
        name: Name,
        attribute: i8,
        selection: Option<&Selection>,
    ) -> Result<Data, DataAccessError> {
        let period_s = match table {
            Table::Load => i64::from(self.moment.interval_s.max(1)),
            Table::Daily => DAY_S,
            _ => 0,
        };
        Ok(match attribute {
            2 => return self.buffer(table, name, selection),
            3 => CaptureObject::list_to_data(&columns(table)),
            4 => Data::U32(to_u32(period_s.unsigned_abs())),
            5 => Data::Enum(1),
            6 => CaptureObject::CLOCK.to_data(),
            7 => {
                let rows = self.rows(table, name, i64::MIN, i64::MAX);
                Data::U32(to_u32(rows.len() as u64))
            }
            8 => Data::U32(self.entries(table)),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    fn entries(&self, table: Table) -> u32 {
        let period = i64::from(self.moment.interval_s.max(1));
        match table {
            Table::Load => to_u32((PROFILE_DAYS * DAY_S / period).unsigned_abs()),
            Table::Daily => to_u32(DAYS.unsigned_abs()),
            Table::Billing => PERIODS as u32,
            Table::Log(_) | Table::Tokens => LOG_ENTRIES as u32,
        }
    }

    fn buffer(
        &self,
        table: Table,
        name: Name,
        selection: Option<&Selection>,
    ) -> Result<Data, DataAccessError> {
        let refused = DataAccessError::ScopeOfAccessViolated;
        let Some(selection) = selection else {
            return Ok(self.array(table, &self.rows(table, name, i64::MIN, i64::MAX), None));
        };
        match Access::from_selection(selection).map_err(|_| refused)? {
            Access::Range(range) => {
                if range.restricting.attribute.logical_name.0 != CLOCK {
                    return Err(refused);
                }
                let default = self.deviation_at(self.moment.now_s);
                let limit = |data: &Data, open: i64| match data.as_date_time() {
                    Some(time) => Ok(time.to_unix_s(default).unwrap_or(open)),
                    None => Err(refused),
                };
                let (from, to) = (limit(&range.from, i64::MIN)?, limit(&range.to, i64::MAX)?);
                let wanted = chosen(&columns(table), &range.columns)?;
                Ok(self.array(table, &self.rows(table, name, from, to), Some(&wanted)))
            }
            Access::Entries(entries) => {
                let rows = self.rows(table, name, i64::MIN, i64::MAX);
                let Entries { from, to, from_column, to_column } = entries;
                let (from, to) = bounds(u64::from(from), u64::from(to), rows.len());
                let count = columns(table).len();
                let (first, last) = bounds(from_column.into(), to_column.into(), count);
                let wanted: Vec<usize> = (first..last).collect();
                Ok(self.array(table, rows.get(from..to).unwrap_or(&[]), Some(&wanted)))
            }
        }
    }

    /// Rows as structures. A clock that is one period after the row before is null-data in the
    /// load profile; with the fault `null-clocks` every clock but the first is.
    fn array(&self, table: Table, rows: &[TableRow], wanted: Option<&[usize]>) -> Data {
        let period = i64::from(self.moment.interval_s);
        let mut before: Option<i64> = None;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let follows = table == Table::Load && before == Some(row.clock_s - period);
            let hidden = before.is_some() && self.plays(Fault::NullClocks);
            let clock = if follows || hidden { Data::Null } else { self.time_cell(row.at_s) };
            before = Some(row.clock_s);
            let cell = |at: &usize| match at.checked_sub(1) {
                None => clock.clone(),
                Some(at) => row.cells.get(at).cloned().unwrap_or(Data::Null),
            };
            list.push(Data::Structure(match wanted {
                Some(wanted) => wanted.iter().map(cell).collect(),
                None => (0..=row.cells.len()).map(|at| cell(&at)).collect(),
            }));
        }
        Data::Array(list)
    }

    /// Rows that the profile still holds and whose clock stands within `from_s..=to_s`.
    fn rows(&self, table: Table, name: Name, from_s: i64, to_s: i64) -> Vec<TableRow> {
        let emptied = self.memory.emptied.get(&super::text_of(name)).copied().unwrap_or(i64::MIN);
        let mut rows = match table {
            Table::Load => self.load_rows(from_s, to_s),
            Table::Daily => self.daily_rows(),
            Table::Billing => self.billing_rows(),
            Table::Log(log) => self.log_rows(log),
            Table::Tokens => self.token_rows(),
        };
        rows.retain(|row| row.at_s > emptied && (from_s..=to_s).contains(&row.clock_s));
        rows
    }

    fn row(&self, at_s: i64, cells: Vec<Data>) -> TableRow {
        TableRow { at_s, clock_s: at_s + self.offset_at(at_s), cells }
    }

    fn load_rows(&self, from_s: i64, to_s: i64) -> Vec<TableRow> {
        let period = i64::from(self.moment.interval_s.max(1));
        let latest = self.moment.now_s.div_euclid(period);
        let oldest = latest - PROFILE_DAYS * DAY_S / period + 1;
        // The clock may have been off by any step, so one day more is looked at on either side.
        let (slack, bound) = (DAY_S, |at: i64| at.clamp(-1 << 40, 1 << 40));
        let first = oldest.max((bound(from_s) - slack).div_euclid(period));
        let last = latest.min((bound(to_s) + slack).div_euclid(period));
        let mut player = self.model.player_after(&self.memory.past);
        let mut rows = Vec::new();
        for slot in first..=last {
            let at_s = slot * period;
            let Some(row) = player.row(at_s, self.moment.interval_s) else { continue };
            let status = self.idis_status(row.status, at_s);
            let cells = vec![
                Data::U8(status),
                push::energy(Some(row.import_wh)),
                push::energy(row.export_wh),
            ];
            rows.push(self.row(at_s, cells));
        }
        if self.plays(Fault::DoubleRows) {
            rows = doubled(rows);
        }
        rows
    }

    fn idis_status(&self, status: u8, at_s: i64) -> u8 {
        let summer = cosem::datetime::status::DAYLIGHT_SAVING;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(status & STATUS_CLOCK_DOUBTFUL != 0, IDIS_CLOCK_DOUBTFUL)
            | bit(status & STATUS_POWER_FAILURE != 0, IDIS_POWER_DOWN)
            | bit(self.date_time(at_s).status & summer != 0, IDIS_DAYLIGHT_SAVING)
    }

    fn daily_rows(&self) -> Vec<TableRow> {
        let shift = i64::from(self.deviation_at(self.moment.now_s)) * 60;
        let today = (self.moment.now_s - shift).div_euclid(DAY_S);
        let ends: Vec<i64> = (today - DAYS + 1..=today).map(|day| day * DAY_S + shift).collect();
        let rates = self.rates_at(&ends);
        let mut player = self.model.player_after(&self.memory.past);
        let mut rows = Vec::with_capacity(ends.len());
        for (end, rates) in ends.iter().zip(&rates) {
            let registers = self.with_reactive(player.registers_wh(*end));
            let mut cells = vec![Data::U8(self.idis_status(0, *end))];
            cells.extend(energies(registers, rates));
            rows.push(self.row(*end, cells));
        }
        rows
    }

    /// The first second of the billing period that a time lies in: months, local.
    #[must_use]
    pub fn period_start(&self, at_s: i64) -> i64 {
        let shift = i64::from(self.deviation_at(at_s)) * 60;
        let day = (at_s - shift).div_euclid(DAY_S);
        let first = Date::from_unix_days(day).map_or(day, |date| day - i64::from(date.day) + 1);
        first * DAY_S + shift
    }

    fn billing_rows(&self) -> Vec<TableRow> {
        let mut ends = vec![self.period_start(self.moment.now_s)];
        while let Some(earliest) = ends.first().filter(|_| ends.len() <= PERIODS) {
            ends.insert(0, self.period_start(earliest - 1));
        }
        // Captures that somebody ordered stand between the ends of the months.
        ends.extend(&self.memory.captures);
        ends.sort_unstable();
        ends.dedup();
        let begin = ends.len().saturating_sub(PERIODS);
        let rates = self.rates_at(&ends);
        let mut player = self.model.player_after(&self.memory.past);
        let mut rows = Vec::with_capacity(PERIODS);
        for at in begin..ends.len() {
            let end = ends[at];
            let before = at.checked_sub(1).map_or(end - 31 * DAY_S, |before| ends[before]);
            let (power, when) = self.maximum_within(Flow::Import, before, end);
            let registers = self.with_reactive(player.registers_wh(end));
            let mut cells: Vec<Data> = energies(registers, &rates[at]).collect();
            cells.extend([Data::U32(to_u32(power)), self.time_cell(when)]);
            rows.push(self.row(end, cells));
        }
        rows
    }

    fn log_rows(&self, log: u8) -> Vec<TableRow> {
        let events = self.log(log);
        events.iter().map(|event| self.row(event.at_s, vec![Data::U8(event.code)])).collect()
    }

    fn token_rows(&self) -> Vec<TableRow> {
        let tokens = &self.memory.tokens;
        let cell = |digits: &String| vec![Data::octets(digits.as_bytes())];
        tokens.iter().map(|token| self.row(token.at_s, cell(&token.digits))).collect()
    }

    /// Methods reset and capture.
    pub(super) fn profile_method(
        &mut self,
        table: Table,
        name: Name,
        method: i8,
    ) -> Result<(), DataAccessError> {
        let now = self.moment.now_s;
        match (method, table) {
            (1, _) => {
                self.memory.emptied.insert(super::text_of(name), now);
                if let Table::Log(log) = table {
                    self.memory.record(log, now + 1, 255);
                }
                Ok(())
            }
            (2, Table::Billing) => {
                self.memory.capture(now);
                Ok(())
            }
            // Everything else is captured by time or event alone.
            _ => Err(DataAccessError::ReadWriteDenied),
        }
    }
}

/// A+, A-, R+, R-, then the rates of A+ and A-.
fn energies(registers: Registers, rates: &Rates) -> impl Iterator<Item = Data> + use<> {
    let flows = [Flow::Import, Flow::Export, Flow::ReactiveImport, Flow::ReactiveExport];
    let totals = flows.map(|flow| registers.of(flow));
    let all = totals.into_iter().chain(rates.import_wh).chain(rates.export_wh);
    all.map(|value| push::energy(Some(value)))
}

/// The rows of 02:00 to 03:00 once more behind themselves, as a meter does whose clock goes back.
fn doubled(rows: Vec<TableRow>) -> Vec<TableRow> {
    let mut list = Vec::with_capacity(rows.len());
    let mut again: Vec<TableRow> = Vec::new();
    for row in rows {
        let hour = row.clock_s.rem_euclid(DAY_S) / 3_600;
        if hour != 2 {
            list.append(&mut again);
        } else {
            let cells = row.cells.clone();
            again.push(TableRow { at_s: row.at_s, clock_s: row.clock_s, cells });
        }
        list.push(row);
    }
    list.append(&mut again);
    list
}

/// What is captured.
fn columns(table: Table) -> Vec<CaptureObject> {
    let object = |class, name, attribute| CaptureObject {
        attribute: AttributeRef::new(class, name, attribute),
        data_index: 0,
    };
    let energies = || {
        let totals = (1..=4).map(|c| [1, 0, c, 8, 0, 255]);
        let rates = (1..=2).flat_map(|c| (1..=4).map(move |e| [1, 0, c, 8, e, 255]));
        totals.chain(rates).map(|name| object(3, name, 2))
    };
    let mut list = vec![CaptureObject::CLOCK];
    match table {
        Table::Load => {
            let rest = push::COLUMNS.iter().skip(1);
            list.extend(rest.map(|(class, name, attribute)| object(*class, *name, *attribute)));
        }
        Table::Daily => {
            list.push(object(1, STATUS, 2));
            list.extend(energies());
        }
        Table::Billing => {
            list.extend(energies());
            let maximum = [1, 0, 1, 6, 0, 255];
            list.extend([object(4, maximum, 2), object(4, maximum, 5)]);
        }
        Table::Log(log) => list.push(object(1, [0, 0, 96, 11, log, 255], 2)),
        Table::Tokens => list.push(object(115, TOKEN_GATEWAY, 2)),
    }
    list
}

/// Places of the columns that a range selection names; none named means all.
fn chosen(
    columns: &[CaptureObject],
    wanted: &[CaptureObject],
) -> Result<Vec<usize>, DataAccessError> {
    if wanted.is_empty() {
        return Ok((0..columns.len()).collect());
    }
    let same = |a: &CaptureObject, b: &CaptureObject| {
        a.attribute.logical_name == b.attribute.logical_name
            && a.attribute.attribute == b.attribute.attribute
    };
    let place = |wanted: &CaptureObject| columns.iter().position(|column| same(column, wanted));
    let places = wanted.iter().map(place);
    places.collect::<Option<_>>().ok_or(DataAccessError::ScopeOfAccessViolated)
}

/// From numbers counted from 1, the last included and 0 = the last, to a range of places.
fn bounds(from: u64, to: u64, count: usize) -> (usize, usize) {
    let most = count as u64;
    let to = if to == 0 { most } else { to.min(most) };
    let from = from.max(1) - 1;
    if from >= to { (0, 0) } else { (from as usize, to as usize) }
}

/// The logical name of a profile.
#[must_use]
pub fn name_of(table: Table) -> Name {
    match table {
        Table::Load => LOAD_PROFILE,
        Table::Daily => DAILY,
        Table::Billing => BILLING,
        Table::Log(log) => [0, 0, 99, 98, log, 255],
        Table::Tokens => TOKEN_LOG,
    }
}
