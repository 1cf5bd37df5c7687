//! The COSEM objects of a meter: what GET answers, SET changes and ACTION does.
//!
//! Map: [`catalogue`] says which objects there are, [`memory`] what a meter remembers. Values come
//! from `measure`, `tariff`, `clock`, `profile`, `events`, `switch`, `image`, `payment`, `access`
//! and `plain`. Measured values are pure functions of meter, memory and time; whatever is written
//! is in the memory.
//!
//! Invariants: an attribute that is written reads as it was written; input from the wire only
//! selects or is kept in bounded places; an answer never has more rows than the meter keeps.

mod access;
pub mod catalogue;
mod clock;
mod events;
pub mod image;
mod measure;
pub mod memory;
pub mod payment;
mod plain;
mod profile;
pub mod switch;
pub mod tariff;
#[cfg(test)]
mod tests;

use cosem::apdu::MethodRef;
use cosem::{AttributeRef, Data, DataAccessError, Selection};

pub use self::access::MAX_PDU;
pub use self::catalogue::{
    ASSOCIATION, DEVICE_NAME, FIRMWARE_ID, INVOCATION_COUNTER, SAP_ASSIGNMENT, SERIAL,
};
use self::catalogue::{Kind, Name, Object};
use self::events::{Bits, STANDARD};
use self::memory::MeterMemory;
use crate::fault::{self, Quirks};
use crate::field::{Access, MeterModel};
use crate::push::CLOCK;
use crate::session::{Ask, Reply};
use crate::witness::Title;

/// Firmware id that every simulated device gives.
pub const FIRMWARE: &str = "HFD-SIM 1";
/// Longest value that is kept when it is written, octets.
const MAX_WRITTEN: usize = 4_096;

/// What the public client may read.
const PUBLIC: [Name; 7] =
    [DEVICE_NAME, SERIAL, FIRMWARE_ID, INVOCATION_COUNTER, CLOCK, SAP_ASSIGNMENT, ASSOCIATION];

/// What a meter's answer depends on besides the meter.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// True time, seconds UTC.
    pub now_s: i64,
    /// Capture period, seconds.
    pub interval_s: u32,
    /// Highest invocation counter accepted from the asking client.
    pub counter: u32,
    /// Server SAP that was asked.
    pub sap: u16,
    /// SAP of the asking client.
    pub client_sap: u16,
    /// Title of the asking client.
    pub client: Option<Title>,
    /// Faults that the meter plays.
    pub quirks: Quirks,
}

impl Moment {
    /// A moment at which nobody in particular looks.
    #[must_use]
    pub fn at(now_s: i64, interval_s: u32) -> Self {
        let (counter, sap, client_sap) = (0, 1, 1);
        Self {
            now_s,
            interval_s,
            counter,
            sap,
            client_sap,
            client: None,
            quirks: Quirks::default(),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody who proved nothing to a meter that asks for proof.
    Public,
    /// The reading client: reads all, changes nothing.
    Reader,
    /// The managing client, or anybody where no proof is asked for.
    Manager,
}

impl Who {
    /// Whether an object is shown to this client.
    #[must_use]
    pub fn sees(self, name: Name) -> bool {
        self != Self::Public || PUBLIC.contains(&name)
    }

    /// Who a client of a meter is, by what it proved and its SAP.
    #[must_use]
    pub fn of(meter: &MeterModel, public: bool, client_sap: u16) -> Self {
        match (&meter.access, public) {
            (Access::None, _) => Self::Manager,
            (_, true) => Self::Public,
            (_, false) if client_sap == crate::session::READER_SAP => Self::Reader,
            _ => Self::Manager,
        }
    }
}

/// What is to be done once the answer is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Send the push of this purpose.
    Push(u8),
    /// Use the new keys: the association ends.
    KeysChanged,
    /// Restart: the associations end.
    Restart,
}

/// A meter at a moment.
#[derive(Debug)]
pub struct Meter<'a> {
    /// As it was built.
    pub model: &'a MeterModel,
    /// What it remembers.
    pub memory: &'a mut MeterMemory,
    /// When, and for whom.
    pub moment: Moment,
    /// What is to be done once the answer is out.
    pub after: Vec<After>,
}

impl<'a> Meter<'a> {
    /// A meter at a moment; what was due before is carried out.
    #[must_use]
    pub fn new(model: &'a MeterModel, memory: &'a mut MeterMemory, moment: Moment) -> Self {
        let mut meter = Self { model, memory, moment, after: Vec::new() };
        meter.catch_up();
        meter.image_catch_up();
        meter
    }

    /// Whether the meter plays a fault.
    #[must_use]
    pub fn plays(&self, kind: fault::Kind) -> bool {
        self.moment.quirks.plays(kind)
    }

    /// Serves one request.
    pub fn serve(&mut self, who: Who, ask: &Ask) -> Reply {
        match ask {
            Ask::Get { attribute, selection } => {
                Reply::Value(self.get(who, attribute, selection.as_ref()))
            }
            Ask::Set { attribute, value } => Reply::Done(self.set(who, attribute, value)),
            Ask::Action { method, parameters } => {
                Reply::Acted(self.act(who, method, parameters.as_ref()))
            }
        }
    }

    /// Reads an attribute.
    ///
    /// # Errors
    /// `ObjectUndefined` for what a meter does not have, `ObjectClassInconsistent` for a wrong
    /// class, `ReadWriteDenied` for what the client may not see, `ScopeOfAccessViolated` for a
    /// selection that makes no sense there.
    pub fn get(
        &self,
        who: Who,
        wanted: &AttributeRef,
        selection: Option<&Selection>,
    ) -> Result<Data, DataAccessError> {
        let object = self.object(wanted.class, wanted.logical_name.0)?;
        if !who.sees(object.name) {
            return Err(DataAccessError::ReadWriteDenied);
        }
        if !(1..=object.attributes).contains(&wanted.attribute) {
            return Err(DataAccessError::ObjectUndefined);
        }
        self.value(who, object, wanted.attribute, selection)
    }

    fn object(&self, class: u16, name: Name) -> Result<&'static Object, DataAccessError> {
        let object = catalogue::find(self.model.phases, name);
        let object = object.ok_or(DataAccessError::ObjectUndefined)?;
        if object.class != class {
            return Err(DataAccessError::ObjectClassInconsistent);
        }
        Ok(object)
    }

    /// The value of an attribute that the meter has; null-data otherwise.
    #[must_use]
    pub fn current(&self, class: u16, name: Name, attribute: i8) -> Data {
        let value = self.object(class, name);
        let value = value.and_then(|object| self.value(Who::Manager, object, attribute, None));
        value.unwrap_or(Data::Null)
    }

    fn value(
        &self,
        who: Who,
        object: &Object,
        attribute: i8,
        selection: Option<&Selection>,
    ) -> Result<Data, DataAccessError> {
        let name = object.name;
        if attribute == 1 {
            return Ok(Data::octets(&name));
        }
        if let Some(written) = self.memory.written(object.class, name, attribute) {
            return Ok(written);
        }
        match object.kind {
            Kind::Plain => self.plain(name),
            Kind::LastEvent(log) => Ok(self.last_event(log)),
            Kind::Errors => Ok(Data::U32(self.errors())),
            Kind::Alarm(at) => Ok(Data::U32(self.memory.alarms[usize::from(at.min(1))])),
            Kind::Descriptor(at) => Ok(Data::U32(self.memory.descriptors[usize::from(at.min(1))])),
            Kind::Filter => Ok(Data::U32(u32::MAX)),
            Kind::Register(quantity) => self.register(quantity, attribute),
            Kind::Demand(flow) => self.demand(flow, attribute),
            Kind::Maximum(flow) => self.maximum(flow, attribute),
            Kind::Profile(table) => self.profile(table, name, attribute, selection),
            Kind::Clock => self.clock(attribute),
            Kind::Association => self.association(who, attribute),
            Kind::Saps => Ok(self.saps()),
            Kind::Security => self.security(attribute),
            Kind::Image => self.image(attribute),
            Kind::Switch => self.switch(attribute),
            Kind::Limiter => self.limiter(attribute),
            Kind::Monitor => Self::monitor(attribute),
            Kind::Calendar => Self::factory_calendar(attribute),
            Kind::SpecialDays => Ok(Self::factory_special_days()),
            Kind::Activation => self.activation(attribute),
            Kind::Script(e) => Ok(Self::scripts(e)),
            Kind::Schedule(e) => Self::schedule(e, attribute),
            Kind::Account => self.account(attribute),
            Kind::Credit(which) => self.credit(which, attribute),
            Kind::Charge => self.charge(attribute),
            Kind::Tokens => self.tokens(attribute),
            Kind::Push(purpose) => Self::push_setup(purpose, attribute),
            Kind::Compact => self.compact(attribute),
            Kind::Mapping => self.mapping(attribute),
        }
    }

    /// Writes an attribute.
    ///
    /// # Errors
    /// As `get`; `TypeUnmatched` for a value of another shape.
    pub fn set(
        &mut self,
        who: Who,
        wanted: &AttributeRef,
        value: &Data,
    ) -> Result<(), DataAccessError> {
        let name = wanted.logical_name.0;
        let object = self.object(wanted.class, name)?;
        if who != Who::Manager || !object.takes(wanted.attribute) {
            return Err(DataAccessError::ReadWriteDenied);
        }
        match (object.kind, wanted.attribute) {
            (Kind::Clock, 2) => return self.set_clock(value),
            (Kind::Errors, _) => return self.clear_bits(Bits::Errors, value),
            (Kind::Alarm(at), _) => return self.clear_bits(Bits::Alarm(at), value),
            (Kind::Descriptor(at), _) => return self.clear_bits(Bits::Descriptor(at), value),
            (Kind::Association, _) => return self.change_secret(Some(value)),
            _ => {}
        }
        let old = self.value(Who::Manager, object, wanted.attribute, None)?;
        if !same_shape(&old, value) || value.to_axdr().len() > MAX_WRITTEN {
            return Err(DataAccessError::TypeUnmatched);
        }
        if object.kind == Kind::SpecialDays {
            let (class, attribute) = (object.class, wanted.attribute);
            self.change_calendar(|meter| meter.memory.write(class, name, attribute, value));
        } else {
            self.memory.write(object.class, name, wanted.attribute, value);
        }
        // 19: a passive tariff was programmed, 47: another part of the configuration changed.
        let passive = object.kind == Kind::Calendar;
        self.happened(STANDARD, if passive { 19 } else { 47 });
        Ok(())
    }

    /// Invokes a method.
    ///
    /// # Errors
    /// As `get`, and what the method is refused with.
    pub fn act(
        &mut self,
        who: Who,
        wanted: &MethodRef,
        parameter: Option<&Data>,
    ) -> Result<Option<Data>, DataAccessError> {
        let object = self.object(wanted.class, wanted.logical_name.0)?;
        if who != Who::Manager {
            return Err(DataAccessError::ReadWriteDenied);
        }
        let method = wanted.method;
        if !(1..=object.methods).contains(&method) {
            return Err(DataAccessError::ObjectUndefined);
        }
        let none = |()| None;
        match object.kind {
            Kind::Clock => self.adjust(method, parameter).map(none),
            Kind::Switch => self.remote(method).map(none),
            Kind::Image => self.image_method(method, parameter).map(none),
            Kind::Security => self.security_method(method, parameter).map(none),
            Kind::Association if method == 2 => self.change_secret(parameter).map(none),
            Kind::SpecialDays => self.special_days(method, parameter).map(none),
            Kind::Activation => self.change_activation(method, parameter).map(none),
            Kind::Calendar => {
                self.activate_passive();
                Ok(None)
            }
            Kind::Script(e) => {
                let script = parameter.and_then(Data::as_u64).and_then(|n| u16::try_from(n).ok());
                self.run_script(e, script.ok_or(DataAccessError::TypeUnmatched)?).map(none)
            }
            Kind::Push(purpose) => {
                self.after.push(After::Push(purpose));
                Ok(None)
            }
            Kind::Profile(table) => self.profile_method(table, object.name, method).map(none),
            Kind::Maximum(_) | Kind::Demand(_) => {
                self.memory.demand_reset_s = Some(self.moment.now_s);
                Ok(None)
            }
            Kind::Account => self.account_method(method).map(none),
            Kind::Credit(which) => self.credit_method(which, method, parameter),
            Kind::Charge => self.charge_method(method).map(none),
            Kind::Tokens => self.enter(parameter).map(none),
            // Energy registers are not reset, and compact data follow the clock.
            _ => Err(DataAccessError::ReadWriteDenied),
        }
    }
}

/// Whether a value may stand where another stood: the same types, lists of any length.
fn same_shape(old: &Data, new: &Data) -> bool {
    match (old, new) {
        (Data::Array(old), Data::Array(new)) => match old.first() {
            Some(old) => new.iter().all(|new| same_shape(old, new)),
            None => true,
        },
        (Data::Structure(old), Data::Structure(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same_shape(old, new))
        }
        // Thresholds are of the type of what is monitored.
        (
            Data::U32(_) | Data::U16(_) | Data::I32(_),
            Data::U32(_) | Data::U16(_) | Data::I32(_),
        ) => true,
        _ => old.tag() == new.tag(),
    }
}

/// A logical name as text.
fn text_of(name: Name) -> String {
    name.map(|group| group.to_string()).join(".")
}
