//! Clocks of devices: which are off, what is done about it, and which intervals a setting touched.
//!
//! Tasks measure (`tasks`), the outbox acts (`commands`); here is what follows from a measurement.
//! A clock that is off by more than the tolerance is shifted in small steps by orders that the
//! leader asks for one by one; above the limit nothing is done but to say so. Not here: how an
//! offset is measured, and the rows that are marked, which are never touched.
//!
//! Invariants: 1. One shift of a device is open at a time. 2. What is ordered on a day of UTC for
//! one device is within the day's limit; a shift that never left counts no longer. 3. A clock
//! above the limit is shifted by no task. 4. A mark is never changed or removed. 5. Devices whose
//! clock was right all the time have no row.

use serde::{Deserialize, Serialize};

use crate::apply::table::{Key, Typed};
use crate::apply::{Done, Table, Tx, View};
use crate::assets;
use crate::commands::{self, Command, Failure, MAX_SHIFT_S, Order, Read, State, Value};
use crate::error::{Fault, Stop, refuse};
use crate::parameters;
use crate::readings::Batch;
use crate::units::{CommandId, Device, Obis, Stamp};

mod marks;
mod queries;

pub use marks::{MAX_MARKS, Mark, marks};
pub(crate) use queries::{Whose, whose};
pub use queries::{clock, clocks, counts, waiting};

/// The clock of every device (IEC 62056-6-1).
pub const CLOCK: Obis = Obis([0, 0, 1, 0, 0, 255]);

/// How many shifts of a device are remembered.
pub const KEPT_SHIFTS: usize = 16;

/// A shift is ordered so long after the clock was measured at the latest, in microseconds.
const STALE_MICROS: u64 = 30 * 60 * 1_000_000;

/// Nothing of a shift is sent so long after it was ordered, in milliseconds.
const EXPIRY_MS: u64 = 15 * 60_000;

/// The offset of a reading is in 10^-3 seconds.
const MILLI: i8 = -3;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The next step of a clock that waits for one.
    Step {
        /// Whose clock: a meter, or a concentrator itself.
        target: Device,
    },
}

/// How a clock stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Within the tolerance.
    #[default]
    Right,
    /// Beyond the tolerance, and nothing is under way: no task shifts it, or the last try failed.
    Off,
    /// It is to be shifted.
    Waiting,
    /// A shift is under way.
    Shifting,
    /// It is off, and what may be shifted on this day is used up.
    Spent,
    /// Above the limit: nothing is done unless somebody orders it.
    Beyond,
}

/// The clock of a device, as far as there is something to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// How it stands.
    pub standing: Standing,
    /// When its offset was measured last.
    pub measured: Stamp,
    /// How far it was off, milliseconds; ahead of ours is more than 0.
    pub offset_ms: i64,
    /// The task that measured it, if that one shifts clocks.
    pub task: Option<String>,
    /// The day for which `spent_s` counts, days since 1970 UTC.
    pub day: i64,
    /// Seconds of shifts that tasks ordered on that day.
    pub spent_s: u32,
    /// The shift that is under way.
    pub open: Option<CommandId>,
    /// The last shifts and settings, oldest first.
    pub shifts: Vec<Shift>,
}

/// One shift or setting of a clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// The command that did it.
    pub command: CommandId,
    /// When the device said so, or when it was known that it acted.
    pub at: Stamp,
    /// How far the clock was off before, milliseconds, if that is known.
    pub before_ms: Option<i64>,
    /// And behind, as it was read back.
    pub after_ms: Option<i64>,
    /// Who asked for it.
    pub by: String,
}

/// Clocks in numbers: how many stand how now, and what was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Beyond the tolerance with nothing under way.
    pub off: u32,
    /// To be shifted, or being shifted.
    pub shifting: u32,
    /// Their day's limit is used up.
    pub spent: u32,
    /// Above the limit.
    pub beyond: u32,
    /// Shifts ordered for tasks so far.
    pub ordered: u64,
    /// Shifts and settings that were made, whoever ordered them.
    pub made: u64,
    /// Shifts for tasks that came to nothing.
    pub failed: u64,
    /// Clocks that were found above the limit and left alone.
    pub refused: u64,
}

/// A key of this table: what kind of row, and which.
struct Row(u8, Vec<u8>);

impl Key for Row {
    fn octets(&self) -> Vec<u8> {
        [&[self.0], self.1.as_slice()].concat()
    }
}

const COUNTS_ROW: u8 = 0;
const CLOCK_ROW: u8 = 1;
const WAITING_ROW: u8 = 2;
const MARK_ROW: u8 = 3;

static COUNTS: Typed<Row, Counts> = Typed::new(Table::Clocks);
static CLOCKS: Typed<Row, Clock> = Typed::new(Table::Clocks);
/// Devices that wait for a step.
static WAITING: Typed<Row, Device> = Typed::new(Table::Clocks);

/// What parameters say at a stamp, in seconds.
struct Limits {
    tolerance_s: u32,
    limit_s: u32,
    step_s: u32,
    day_s: u32,
}

impl Limits {
    fn read(tx: &Tx<'_>) -> Result<Limits, Fault> {
        let value = |name| parameters::value(tx, name, tx.stamp);
        Ok(Limits {
            tolerance_s: value(parameters::CLOCK_TOLERANCE)?,
            limit_s: value(parameters::CLOCK_LIMIT)?,
            step_s: value(parameters::CLOCK_STEP)?,
            day_s: value(parameters::CLOCK_DAY)?,
        })
    }

    fn tolerates(&self, offset_ms: i64) -> bool {
        // Clocks count in seconds: what is less than two is no offset, whatever is wanted.
        offset_ms.unsigned_abs() <= u64::from(self.tolerance_s).max(2) * 1_000
    }

    fn is_beyond(&self, offset_ms: i64) -> bool {
        self.limit_s > 0 && offset_ms.unsigned_abs() > u64::from(self.limit_s) * 1_000
    }
}

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    let Change::Step { target } = change;
    let row = clock_row(target);
    let mut clock = CLOCKS.get(tx, &row)?.unwrap_or_default();
    if clock.standing != Standing::Waiting {
        return Err(refuse("clock_not_waiting", target.to_string()));
    }
    clock.standing = step(tx, target, &mut clock)?;
    put(tx, target, clock)?;
    Ok(Done::Noted)
}

/// Orders the next step of a clock that waits for one; how it stands then.
fn step(tx: &mut Tx<'_>, target: &Device, clock: &mut Clock) -> Result<Standing, Stop> {
    let limits = Limits::read(tx)?;
    let Some(task) = clock.task.clone() else { return Ok(Standing::Off) };
    if limits.limit_s == 0 || tx.stamp.0.saturating_sub(clock.measured.0) > STALE_MICROS {
        return Ok(Standing::Off);
    }
    let today = tx.stamp.seconds().div_euclid(86_400);
    if clock.day != today {
        (clock.day, clock.spent_s) = (today, 0);
    }
    let off_s = u32::try_from((clock.offset_ms.unsigned_abs() + 500) / 1_000).unwrap_or(u32::MAX);
    let left_s = limits.day_s.saturating_sub(clock.spent_s);
    let by_s = off_s.min(limits.step_s.max(1)).min(left_s).min(u32::from(MAX_SHIFT_S));
    if by_s == 0 {
        return Ok(Standing::Spent);
    }
    let by = i16::try_from(by_s).unwrap_or(i16::MAX);
    let by = if clock.offset_ms > 0 { -by } else { by };
    let order = Order::Shift { by_s: by, off_ms: clock.offset_ms };
    let expires = tx.stamp.plus_ms(EXPIRY_MS);
    let by = format!("task {task}");
    match commands::raise(tx, target.name(), &order, expires, by) {
        Ok(id) => {
            clock.open = Some(id);
            clock.spent_s += by_s;
            count(tx, |counts| counts.ordered += 1)?;
            Ok(Standing::Shifting)
        }
        // Its outbox is full, or it is retired: the next measurement looks again.
        Err(Stop::Refused(_)) => Ok(Standing::Off),
        Err(stop) => Err(stop),
    }
}

/// What a task of clocks measured of meters: offsets are readings of their clock.
pub(crate) fn measured_of(
    tx: &mut Tx<'_>,
    batches: &[Batch],
    device: &Device,
    task: Option<&str>,
) -> Result<(), Stop> {
    for batch in batches.iter().filter(|batch| batch.interval_minutes() == 0) {
        let is_offset = |register: &crate::readings::Register| {
            register.obis == CLOCK && register.scaler == MILLI
        };
        let Some(column) = batch.registers().iter().position(is_offset) else { continue };
        let Ok(rows) = batch.rows() else { continue };
        for row in rows.iter() {
            let Some(offset_ms) = row.values.get(column).copied().flatten() else { continue };
            let place = assets::place(tx, row.ordinal)?.filter(|place| place.device == *device);
            if let Some(place) = place {
                measured(tx, &Device::Meter(place.serial), offset_ms, task)?;
            }
        }
    }
    Ok(())
}

/// The clock of a device was measured, by a task that shifts clocks or by one that does not.
pub(crate) fn measured(
    tx: &mut Tx<'_>,
    target: &Device,
    offset_ms: i64,
    task: Option<&str>,
) -> Result<(), Stop> {
    let known = CLOCKS.get(tx, &clock_row(target))?;
    let limits = Limits::read(tx)?;
    if known.is_none() && limits.tolerates(offset_ms) {
        return Ok(());
    }
    let mut clock = known.unwrap_or_default();
    (clock.measured, clock.offset_ms) = (tx.stamp, offset_ms);
    clock.task = task.map(str::to_owned);
    let before = clock.standing;
    if clock.open.is_none() {
        clock.standing = stands(&limits, &clock);
        if clock.standing == Standing::Beyond && before != Standing::Beyond {
            count(tx, |counts| counts.refused += 1)?;
            crate::alarms::raise(tx, target, crate::alarms::CLOCK_BEYOND)?;
        }
    }
    put(tx, target, clock)?;
    Ok(())
}

fn stands(limits: &Limits, clock: &Clock) -> Standing {
    if limits.tolerates(clock.offset_ms) {
        Standing::Right
    } else if limits.is_beyond(clock.offset_ms) {
        Standing::Beyond
    } else if clock.task.is_some() && limits.limit_s > 0 {
        Standing::Waiting
    } else {
        Standing::Off
    }
}

/// A device said that it did what a command ordered: marks what a clock's order touched. `before`
/// is what the clock showed, as far as it was told.
pub(crate) fn acted(tx: &mut Tx<'_>, command: &Command, before: &[Read]) -> Result<(), Stop> {
    let Some(target) = of_clock(tx, command)? else { return Ok(()) };
    made(tx, command, &target, offset_in(before))
}

/// A command has ended in a state.
pub(crate) fn ended(tx: &mut Tx<'_>, command: &Command, state: State) -> Result<(), Stop> {
    let Some(target) = of_clock(tx, command)? else { return Ok(()) };
    let acted = match (&command.result, state) {
        _ if command.acknowledged.is_some() => true,
        (_, State::Verified | State::Unknown { .. }) => true,
        (Some(Err(failure)), State::Failed) => {
            matches!(failure, Failure::NotDone(_)) || !failure.proves_untouched()
        }
        _ => false,
    };
    if acted && command.acknowledged.is_none() {
        made(tx, command, &target, None)?;
    }
    let Some(mut clock) = CLOCKS.get(tx, &clock_row(&target))? else { return Ok(()) };
    let after_ms = match &command.result {
        Some(Ok(reads)) if state == State::Verified => offset_in(reads),
        _ => None,
    };
    let shift = clock.shifts.iter_mut().find(|shift| shift.command == command.id);
    if let Some(shift) = shift {
        shift.after_ms = after_ms;
    }
    let is_ours = clock.open == Some(command.id);
    if is_ours {
        clock.open = None;
        clock.standing = Standing::Off;
        if !acted && let Order::Shift { by_s, .. } = command.order {
            clock.spent_s = clock.spent_s.saturating_sub(u32::from(by_s.unsigned_abs()));
        }
        if state != State::Verified {
            count(tx, |counts| counts.failed += 1)?;
        }
    }
    if let Some(after_ms) = after_ms {
        (clock.measured, clock.offset_ms) = (tx.stamp, after_ms);
        if clock.open.is_none() {
            // Step by step, until it is right or the day's limit is used up.
            clock.standing = stands(&Limits::read(tx)?, &clock);
        }
    }
    put(tx, &target, clock)?;
    Ok(())
}

/// Remembers a shift and marks the intervals that it touched.
fn made(
    tx: &mut Tx<'_>,
    command: &Command,
    target: &Device,
    told_ms: Option<i64>,
) -> Result<(), Stop> {
    let known = CLOCKS.get(tx, &clock_row(target))?;
    // What was not told is what was measured last, if that is not long ago.
    let recent = known.as_ref().filter(|clock| {
        clock.measured > Stamp(0) && tx.stamp.0.saturating_sub(clock.measured.0) < STALE_MICROS
    });
    let (before_ms, after_ms) = match command.order {
        Order::Shift { by_s, off_ms } => {
            let before_ms = told_ms.unwrap_or(off_ms);
            (Some(before_ms), before_ms.saturating_add(i64::from(by_s) * 1_000))
        }
        _ => (told_ms.or(recent.map(|clock| clock.offset_ms)), 0),
    };
    if before_ms.is_some_and(|before_ms| before_ms.abs() <= marks::RIGHT_MS) {
        return Ok(());
    }
    if let Device::Meter(serial) = target
        && let Some(meter) = assets::meter(tx, serial)?
    {
        marks::touched(tx, meter.ordinal, command, before_ms, after_ms)?;
    }
    let mut clock = known.unwrap_or_default();
    if clock.shifts.len() >= KEPT_SHIFTS {
        clock.shifts.remove(0);
    }
    let (command, by, at) = (command.id, command.by.clone(), tx.stamp);
    clock.shifts.push(Shift { command, at, before_ms, after_ms: None, by });
    put(tx, target, clock)?;
    count(tx, |counts| counts.made += 1)?;
    Ok(())
}

/// A device is retired: nothing is to be done about its clock any more. Its marks stay.
pub(crate) fn retired(tx: &mut Tx<'_>, device: &Device) -> Result<(), Fault> {
    let row = clock_row(device);
    if let Some(clock) = CLOCKS.get(tx, &row)? {
        put(tx, device, Clock { standing: Standing::Right, ..clock })?;
        CLOCKS.delete(tx, &row);
    }
    Ok(())
}

fn of_clock(view: &dyn View, command: &Command) -> Result<Option<Device>, Fault> {
    if !matches!(command.order, Order::Shift { .. } | Order::Clock { .. }) {
        return Ok(None);
    }
    let name = command.target.clone();
    let is_meter = assets::meter(view, &name)?.is_some();
    Ok(Some(if is_meter { Device::Meter(name) } else { Device::Concentrator(name) }))
}

/// The offset among what was read of a clock, milliseconds: it is no attribute.
fn offset_in(reads: &[Read]) -> Option<i64> {
    let offset = reads.iter().find(|read| read.obis == CLOCK && read.attribute == 0)?;
    match offset.value {
        Value::Integer(offset_ms) if offset.scaler == Some(MILLI) => Some(offset_ms),
        _ => None,
    }
}

fn clock_row(device: &Device) -> Row {
    Row(CLOCK_ROW, device.octets())
}

/// Writes a clock, keeps the numbers and the list of those that wait.
fn put(tx: &mut Tx<'_>, device: &Device, clock: Clock) -> Result<(), Fault> {
    let (row, waiting) = (clock_row(device), Row(WAITING_ROW, device.octets()));
    let before = CLOCKS.get(tx, &row)?.map_or(Standing::Right, |known| known.standing);
    if before != clock.standing {
        count(tx, |counts| {
            counts.step(before, -1);
            counts.step(clock.standing, 1);
        })?;
    }
    match clock.standing {
        Standing::Waiting => WAITING.put(tx, &waiting, device)?,
        _ => WAITING.delete(tx, &waiting),
    }
    if clock.standing == Standing::Right && clock.shifts.is_empty() && clock.open.is_none() {
        CLOCKS.delete(tx, &row);
        return Ok(());
    }
    CLOCKS.put(tx, &row, &clock)
}

fn count(tx: &mut Tx<'_>, change: impl FnOnce(&mut Counts)) -> Result<(), Fault> {
    let mut counts = counts(tx)?;
    change(&mut counts);
    COUNTS.put(tx, &Row(COUNTS_ROW, Vec::new()), &counts)
}

impl Counts {
    fn step(&mut self, standing: Standing, step: i32) {
        let of = match standing {
            Standing::Right => return,
            Standing::Off => &mut self.off,
            Standing::Waiting | Standing::Shifting => &mut self.shifting,
            Standing::Spent => &mut self.spent,
            Standing::Beyond => &mut self.beyond,
        };
        *of = of.saturating_add_signed(step);
    }
}

impl Standing {
    /// Its name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Right => "right",
            Standing::Off => "off",
            Standing::Waiting => "waiting",
            Standing::Shifting => "shifting",
            Standing::Spent => "day_spent",
            Standing::Beyond => "beyond_limit",
        }
    }
}

impl Change {
    /// Area and verb.
    pub(crate) fn name(&self) -> &'static str {
        "clocks.step"
    }

    /// Whose clock.
    pub(crate) fn object(&self) -> String {
        let Change::Step { target } = self;
        target.to_string()
    }
}
