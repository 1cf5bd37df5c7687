//! The objects of a concentrator's logical device 1, and the bodies of its own notifications.
//!
//! It answers; it starts nothing. Writing is limited to the two objects that the head-end owns,
//! the set of parameters as a whole, and the clock, which can be shifted, too. The own clock stamps
//! what it tells of itself; rows of meters bear the meters' clocks.

use cosem::{AttributeRef, Data, DataAccessError, DateTime, MethodRef};

use super::trial::{PARAMETER_SET, RESTART_SCRIPT, RESTARTS, SCRIPTS, UPTIME};
use super::{Concentrator, Now, SERVER_SAP, setup};
use crate::fault::Kind;
use crate::field::ConcentratorModel;
use crate::happenings::{self, code};
use crate::mix;
use crate::objects::{
    ASSOCIATION, DEVICE_NAME, FIRMWARE, FIRMWARE_ID, INVOCATION_COUNTER, SAP_ASSIGNMENT, SERIAL,
};
use crate::push::CLOCK;
use crate::session::{Ask, Reply};
use crate::witness::Title;

/// Push setup of *identity*.
const IDENTITY: [u8; 6] = [0, 7, 25, 9, 0, 255];
/// Push setup of *heartbeat*.
const HEARTBEAT: [u8; 6] = [0, 6, 25, 9, 0, 255];
/// Meter list.
const METER_LIST: [u8; 6] = [0, 0, 94, 86, 128, 255];
/// Last stored sequence.
pub const LAST_STORED: [u8; 6] = [0, 0, 94, 86, 130, 255];
/// Active channel.
pub const ACTIVE_CHANNEL: [u8; 6] = [0, 0, 94, 86, 131, 255];

/// Furthest that the clock is shifted, seconds.
const MAX_SHIFT_S: i64 = 900;
/// Unit second (IEC 62056-6-2).
const SECOND: u8 = 7;
/// Seconds that a clock is ahead that is off.
const SKEW_S: i64 = -11;

/// What it holds of its meters.
pub const STORE: [u8; 6] = [0, 0, 94, 86, 132, 255];

/// Objects with class and number of attributes.
const OBJECTS: [(u16, [u8; 6], i8); 15] = [
    (1, DEVICE_NAME, 2),
    (1, SERIAL, 2),
    (1, FIRMWARE_ID, 2),
    (1, INVOCATION_COUNTER, 2),
    (1, METER_LIST, 2),
    (1, LAST_STORED, 2),
    (1, ACTIVE_CHANNEL, 2),
    (1, STORE, 2),
    (1, PARAMETER_SET, 2),
    (1, RESTARTS, 2),
    (3, UPTIME, 3),
    (8, CLOCK, 4),
    (9, SCRIPTS, 2),
    (15, ASSOCIATION, 2),
    (17, SAP_ASSIGNMENT, 2),
];

impl Concentrator {
    /// Serves one request of the client that is associated on a line.
    pub(super) fn serve(
        &mut self,
        line: usize,
        client: Option<Title>,
        ask: &Ask,
        now: Now,
    ) -> Reply {
        let Some(client) = client else {
            return Reply::Done(Err(DataAccessError::ReadWriteDenied));
        };
        match ask {
            Ask::Get { attribute, selection: Some(selection) } => {
                Reply::Value(known(attribute).and_then(|()| {
                    let is_store = attribute.logical_name.0 == STORE && attribute.attribute == 2;
                    let refused = Err(DataAccessError::ScopeOfAccessViolated);
                    if is_store { self.stored_rows(selection, now) } else { refused }
                }))
            }
            Ask::Get { attribute, selection: None } => {
                Reply::Value(self.read(client, attribute, now))
            }
            Ask::Set { attribute, value } => {
                Reply::Done(self.write(line, client, attribute, value, now))
            }
            Ask::Action { method, parameters } => {
                Reply::Acted(self.invoke(method, parameters.as_ref(), now).map(|()| None))
            }
        }
    }

    fn write(
        &mut self,
        line: usize,
        client: Title,
        attribute: &AttributeRef,
        value: &Data,
        now: Now,
    ) -> Result<(), DataAccessError> {
        known(attribute)?;
        match (attribute.logical_name.0, attribute.attribute) {
            (ACTIVE_CHANNEL, 2) => self.activate(line, client, value, now),
            (LAST_STORED, 2) => self.acknowledged(line, value, now),
            (CLOCK, 2) => self.set_clock(value, now),
            (PARAMETER_SET, 2) => self.set_parameters(value, now),
            _ => Err(DataAccessError::ReadWriteDenied),
        }
    }

    /// Besides the association's methods: shifting the clock (class 8, method 6), and the script
    /// that restarts (class 9, method 1).
    fn invoke(
        &mut self,
        method: &MethodRef,
        parameters: Option<&Data>,
        now: Now,
    ) -> Result<(), DataAccessError> {
        match (method.class, method.logical_name.0, method.method) {
            (8, CLOCK, 6) => {}
            (9, SCRIPTS, 1) => {
                let script = parameters.and_then(Data::as_u64);
                if script != Some(RESTART_SCRIPT) {
                    return Err(DataAccessError::ObjectUndefined);
                }
                self.restart_soon(now);
                return Ok(());
            }
            _ => return Err(DataAccessError::ObjectUndefined),
        }
        let by_s = parameters.and_then(Data::as_i64).ok_or(DataAccessError::TypeUnmatched)?;
        if !(-MAX_SHIFT_S..=MAX_SHIFT_S).contains(&by_s) {
            return Err(DataAccessError::OtherReason);
        }
        self.step_clock(self.ahead_s() + by_s, now)
    }

    fn set_clock(&mut self, value: &Data, now: Now) -> Result<(), DataAccessError> {
        let given = value.as_date_time().and_then(|given| given.to_unix_s(0));
        let to_s = given.ok_or(DataAccessError::TypeUnmatched)?;
        self.step_clock(to_s - self.field_now_s(now), now)
    }

    fn step_clock(&mut self, ahead_s: i64, now: Now) -> Result<(), DataAccessError> {
        self.memory.ahead_s = Some(ahead_s);
        if self.settings.own_events {
            let at_s = self.field_now_s(now) + ahead_s;
            happenings::note(&mut self.memory, at_s, code::CLOCK_SET, None);
        }
        if self.keep() { Ok(()) } else { Err(DataAccessError::TemporaryFailure) }
    }

    /// Seconds that the own clock is ahead of the field's time.
    fn ahead_s(&self) -> i64 {
        let is_off = self.settings.faults.plays(Kind::ConcentratorSkew, self.model.seed);
        self.memory.ahead_s.unwrap_or(if is_off { SKEW_S } else { 0 })
    }

    fn read(
        &self,
        client: Title,
        attribute: &AttributeRef,
        now: Now,
    ) -> Result<Data, DataAccessError> {
        known(attribute)?;
        let name = attribute.logical_name.0;
        if attribute.attribute == 1 {
            return Ok(Data::octets(&name));
        }
        Ok(match (name, attribute.attribute) {
            (DEVICE_NAME, _) => Data::octets(self.model.ldn.as_bytes()),
            (SERIAL, _) => Data::octets(self.model.serial.as_bytes()),
            (FIRMWARE_ID, _) => Data::octets(FIRMWARE.as_bytes()),
            (INVOCATION_COUNTER, _) => Data::U32(self.clients.highest(client).unwrap_or(0)),
            (METER_LIST, _) => self.meter_list(now),
            (LAST_STORED, _) => Data::U32(self.last_stored()),
            (STORE, _) => self.store_bounds(now),
            (PARAMETER_SET, _) => self.parameter_set(now),
            (RESTARTS, _) => self.restarts(),
            (UPTIME, 2) => self.uptime(now),
            (UPTIME, _) => Data::Structure(vec![Data::I8(0), Data::Enum(SECOND)]),
            (SCRIPTS, _) => restart_script(),
            (ACTIVE_CHANNEL, _) => Data::Structure(vec![Data::U32(self.epochs.highest)]),
            (CLOCK, 2) => self.clock_value(now),
            (CLOCK, 3) => Data::I16(0),
            (CLOCK, _) => Data::U8(0),
            (ASSOCIATION, _) => object_list(),
            (SAP_ASSIGNMENT, _) => Data::Array(vec![Data::Structure(vec![
                Data::U16(SERVER_SAP),
                Data::octets(self.model.ldn.as_bytes()),
            ])]),
            (name, attribute) => {
                let value = self.setup().get(name, attribute);
                return value.ok_or(DataAccessError::ObjectUndefined);
            }
        })
    }

    /// Everything up to this sequence has been acknowledged.
    fn last_stored(&self) -> u32 {
        let oldest = self.memory.unacknowledged.first().map(|stretch| stretch.sequence);
        oldest.unwrap_or(self.memory.next_sequence).saturating_sub(1)
    }

    fn clock_value(&self, now: Now) -> Data {
        Data::octets(
            &DateTime::from_unix_s(self.field_now_s(now) + self.ahead_s(), 0, 0).to_octets(),
        )
    }

    fn meter_list(&self, now: Now) -> Data {
        let contact = self.clock_value(now);
        let never = Data::octets(&DateTime::NOT_SPECIFIED.to_octets());
        let entry = |(place, meter): (usize, &crate::field::MeterModel)| {
            Data::Structure(vec![
                Data::U16(u16::try_from(place + 1).unwrap_or(u16::MAX)),
                Data::octets(meter.serial.as_bytes()),
                Data::octets(&meter.title),
                Data::octets(meter.serial.as_bytes()),
                Data::Enum(1),
                Data::Enum((place % 3) as u8 + 1),
                Data::U8(u8::from(!meter.dead)),
                if meter.dead { never.clone() } else { contact.clone() },
            ])
        };
        Data::Array(self.model.meters.iter().enumerate().map(entry).collect())
    }

    /// Body of *identity*.
    pub(super) fn identity(&self, line: usize) -> Data {
        let address = if line == 0 { 1 } else { 2 };
        let meters = u16::try_from(self.model.meters.len()).unwrap_or(u16::MAX);
        Data::Structure(vec![
            Data::octets(self.model.ldn.as_bytes()),
            Data::octets(&IDENTITY),
            Data::octets(&self.model.title),
            Data::text(&self.model.serial),
            Data::text(FIRMWARE),
            Data::U16(meters),
            Data::U32(self.revision),
            Data::Enum(address),
        ])
    }

    /// Body of *heartbeat*.
    pub(super) fn heartbeat(&self, now: Now) -> Data {
        Data::Structure(vec![
            Data::octets(self.model.ldn.as_bytes()),
            Data::octets(&HEARTBEAT),
            self.clock_value(now),
            Data::U32(self.revision),
            Data::U16(self.online),
        ])
    }
}

/// Changes whenever the list of meters does.
pub fn list_revision(model: &ConcentratorModel) -> u32 {
    let fold = |sum: u64, octet: u8| mix::word(sum ^ u64::from(octet));
    let serials = model.meters.iter().flat_map(|meter| meter.serial.bytes());
    (serials.fold(1, fold) >> 33) as u32
}

/// Meters that answer.
pub fn meters_online(model: &ConcentratorModel) -> u16 {
    let online = model.meters.iter().filter(|meter| !meter.dead).count();
    u16::try_from(online).unwrap_or(u16::MAX)
}

fn known(wanted: &AttributeRef) -> Result<(), DataAccessError> {
    let mut objects = OBJECTS.iter().chain(&setup::OBJECTS);
    let object = objects.find(|(_, name, _)| *name == wanted.logical_name.0);
    let (class, _, attributes) = object.ok_or(DataAccessError::ObjectUndefined)?;
    if *class != wanted.class {
        return Err(DataAccessError::ObjectClassInconsistent);
    }
    let exists = (1..=*attributes).contains(&wanted.attribute);
    if exists { Ok(()) } else { Err(DataAccessError::ObjectUndefined) }
}

fn object_list() -> Data {
    let entry = |(class, name, attributes): &(u16, [u8; 6], i8)| {
        let owned = matches!(*name, LAST_STORED | ACTIVE_CHANNEL | CLOCK | PARAMETER_SET);
        let mode = |attribute: i8| if owned && attribute == 2 { 3 } else { 1 };
        let access = (1..=*attributes)
            .map(|a| Data::Structure(vec![Data::I8(a), Data::Enum(mode(a)), Data::Null]))
            .collect();
        let method = |number| Data::Structure(vec![Data::I8(number), Data::Boolean(true)]);
        let methods = match *name {
            CLOCK => vec![method(6)],
            SCRIPTS => vec![method(1)],
            _ => Vec::new(),
        };
        Data::Structure(vec![
            Data::U16(*class),
            Data::U8(0),
            Data::octets(name),
            Data::Structure(vec![Data::Array(access), Data::Array(methods)]),
        ])
    };
    Data::Array(OBJECTS.iter().chain(&setup::OBJECTS).map(entry).collect())
}

/// The one script: its action is the concentrator's own.
fn restart_script() -> Data {
    let number = u16::try_from(RESTART_SCRIPT).unwrap_or(u16::MAX);
    Data::Array(vec![Data::Structure(vec![Data::U16(number), Data::Array(Vec::new())])])
}
