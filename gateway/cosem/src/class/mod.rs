//! Interface classes (Blue Book, IEC 62056-6-2): every class that a meter of the field has, as a
//! typed object with its attributes and methods, versions told apart. Client and server use the
//! same types. A class or version that is not known here is kept raw, so nothing is lost.
//!
//! Each class is a table in its module: constants of its attributes and methods, an object whose
//! attributes are `None` until they are set, and a builder for each method. No object knows how
//! it is read; no method is executed here.
//!
//! Invariants: 1. a typed object that is written and read again is the same; 2. a value of a
//! wrong shape is refused with the attribute named, and changes nothing; 3. what a class of that
//! version does not have is kept as it came.

pub mod association;
pub mod clock;
pub mod image_transfer;
mod network;
mod payment;
pub mod profile;
pub mod push_setup;
pub mod sap;
mod schedule;
pub mod security_setup;
mod supply;
pub mod value;
mod values;

use std::collections::BTreeMap;

pub use self::network::{
    GprsQualities, GprsQuality, IpOption, gprs_setup, ipv4_setup, tcp_udp_setup,
};
pub use self::payment::{
    AccountMode, AccountStatus, ChargeRow, ChargeScaling, ChargeType, CreditCharge, CreditStatus,
    CreditType, Currency, CurrencyUnit, DeliveryMethod, ModeAndStatus, TokenShare, TokenStatus,
    TokenStatusCode, UnitCharge, account, charge, credit, token_gateway,
};
pub use self::profile::compact as compact_data;
pub use self::schedule::{
    Day, DayAction, ExecutionTime, ScheduleType, ScriptAction, ScriptEntry, Season, Service,
    SpecialDay, Week, activity_calendar, script_table, single_action, special_days,
};
pub use self::security_setup::data_protection;
pub use self::supply::{
    ControlMode, ControlState, EmergencyProfile, LimiterActions, disconnect_control, limiter,
};
pub use self::value::{Coded, Wrong};
pub use self::values::{
    ActionSet, MappingTable, MonitoredValue, References, RegisterDefinition, RegisterMask, Script,
    data, demand_register, extended_register, register, register_activation, register_monitor,
    status_mapping,
};
use crate::apdu::{AttributeRef, LogicalName, MethodRef};
use crate::data::Data;

/// A method with its parameter, ready for an action-request.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method.
    pub method: MethodRef,
    /// Its parameter.
    pub parameter: Data,
}

/// A call of a method.
pub(crate) fn call<P: Coded>(class: u16, name: LogicalName, method: i8, parameter: &P) -> Call {
    let method = MethodRef { class, logical_name: name, method };
    Call { method, parameter: parameter.to_data() }
}

/// What the standard says of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Class id.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// First version that is known here.
    pub first: u8,
    /// Last version that is known here.
    pub last: u8,
    /// Attributes behind the logical name, which is attribute 1 of every class.
    pub attributes: &'static [Member],
    /// Methods.
    pub methods: &'static [Member],
}

/// An attribute or a method of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub number: i8,
    /// Its name.
    pub name: &'static str,
    /// The version since which it is there.
    pub since: u8,
}

impl Class {
    /// The attribute of this number, if this version has it.
    #[must_use]
    pub fn attribute(&self, version: u8, number: i8) -> Option<&'static Member> {
        self.attributes.iter().find(|member| member.number == number && member.since <= version)
    }

    /// The method of this number, if this version has it.
    #[must_use]
    pub fn method(&self, version: u8, number: i8) -> Option<&'static Member> {
        self.methods.iter().find(|member| member.number == number && member.since <= version)
    }

    fn mismatch(&self, version: u8, attribute: i8, wrong: Wrong) -> Mismatch {
        let name = self.attribute(version, attribute).map_or("", |member| member.name);
        let wrong = wrong.within(name);
        Mismatch { class: self.id, version, attribute, name, wrong }
    }
}

/// An attribute whose value is of another shape than its class says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("class {class} version {version}, attribute {attribute} ({name}): {wrong}")]
pub struct Mismatch {
    /// Class id.
    pub class: u16,
    /// Version of the class.
    pub version: u8,
    /// Attribute.
    pub attribute: i8,
    /// Name of the attribute.
    pub name: &'static str,
    /// The field that does not fit.
    pub wrong: Wrong,
}

/// An object of a class or version that is not known here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Raw {
    /// Class id.
    pub class: u16,
    /// Version of the class.
    pub version: u8,
    /// Attributes as they came.
    pub attributes: BTreeMap<i8, Data>,
}

macro_rules! objects {
    ($($variant:ident: $module:ident,)+) => {
        /// Every class that is known here, in order of their ids.
        pub const CLASSES: &[Class] = &[$($module::CLASS,)+];

        /// An object of any class.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Object {
            $(
                #[doc = concat!("An object of `", stringify!($module), "`.")]
                $variant(Box<$module::$variant>),
            )+
            /// Of a class or version that is not known here.
            Raw(Raw),
        }

        impl Object {
            /// An object of which nothing is known but class and version.
            #[must_use]
            pub fn new(class: u16, version: u8) -> Self {
                let known = of(class).is_some_and(|c| (c.first..=c.last).contains(&version));
                match class {
                    $($module::ID if known => {
                        Self::$variant(Box::new($module::$variant::new(version)))
                    })+
                    _ => Self::Raw(Raw { class, version, ..Raw::default() }),
                }
            }

            /// Class id and version.
            #[must_use]
            pub fn class(&self) -> (u16, u8) {
                match self {
                    $(Self::$variant(object) => ($module::ID, object.version),)+
                    Self::Raw(raw) => (raw.class, raw.version),
                }
            }

            /// Takes an attribute as it came from the wire.
            ///
            /// # Errors
            /// `Mismatch` with the attribute's name; nothing is changed.
            pub fn set(&mut self, attribute: i8, data: &Data) -> Result<(), Mismatch> {
                match self {
                    $(Self::$variant(object) => object.set(attribute, data),)+
                    Self::Raw(raw) => {
                        raw.attributes.insert(attribute, data.clone());
                        Ok(())
                    }
                }
            }

            /// An attribute as it goes to the wire; None when it is not known.
            #[must_use]
            pub fn attribute(&self, attribute: i8) -> Option<Data> {
                match self {
                    $(Self::$variant(object) => object.attribute(attribute),)+
                    Self::Raw(raw) => raw.attributes.get(&attribute).cloned(),
                }
            }
        }

        #[cfg(test)]
        impl tests::Sample for Object {
            fn sample(seeds: &mut tests::Seeds) -> Self {
                let all: &[fn(&mut tests::Seeds) -> Self] = &[
                    $(|seeds| Self::$variant(Box::new(tests::Sample::sample(seeds))),)+
                    |seeds| Self::Raw(tests::Sample::sample(seeds)),
                ];
                let last = u8::try_from(all.len() - 1).unwrap();
                all[usize::from(seeds.within(0, last))](seeds)
            }
        }
    };
}

objects! {
    Value: data,
    Register: register,
    ExtendedRegister: extended_register,
    DemandRegister: demand_register,
    RegisterActivation: register_activation,
    Profile: profile,
    Clock: clock,
    ScriptTable: script_table,
    SpecialDays: special_days,
    AssociationLn: association,
    SapAssignment: sap,
    ImageTransfer: image_transfer,
    ActivityCalendar: activity_calendar,
    RegisterMonitor: register_monitor,
    SingleActionSchedule: single_action,
    DataProtection: data_protection,
    PushSetup: push_setup,
    TcpUdpSetup: tcp_udp_setup,
    Ipv4Setup: ipv4_setup,
    GprsSetup: gprs_setup,
    CompactData: compact_data,
    StatusMapping: status_mapping,
    SecuritySetup: security_setup,
    DisconnectControl: disconnect_control,
    Limiter: limiter,
    Account: account,
    Credit: credit,
    Charge: charge,
    TokenGateway: token_gateway,
}

/// What the standard says of a class; None for one that is not known here.
#[must_use]
pub fn of(class: u16) -> Option<&'static Class> {
    CLASSES.iter().find(|known| known.id == class)
}

/// The name of a class, for people.
#[must_use]
pub fn name(class: u16) -> Option<&'static str> {
    of(class).map(|known| known.name)
}

/// The name of an attribute, for people; None when class or attribute are not known.
#[must_use]
pub fn attribute_name(class: u16, version: u8, attribute: i8) -> Option<&'static str> {
    match (of(class)?, attribute) {
        (_, 1) => Some("logical_name"),
        (known, _) => known.attribute(version, attribute).map(|member| member.name),
    }
}

/// The name of a method, for people; None when class or method are not known.
#[must_use]
pub fn method_name(class: u16, version: u8, method: i8) -> Option<&'static str> {
    of(class)?.method(version, method).map(|member| member.name)
}

/// Invocation counter of security setup `e`, readable by the public client.
#[must_use]
pub const fn invocation_counter(e: u8) -> AttributeRef {
    AttributeRef::new(data::ID, [0, 0, 43, 1, e, 255], data::VALUE)
}

#[cfg(test)]
mod tests;
