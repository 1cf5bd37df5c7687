//! Which objects a meter has: class, version, logical name, what may be written and invoked, and
//! what stands behind it. It reads and writes nothing.
//!
//! Invariant: a logical name stands in a catalogue once.

use std::sync::LazyLock;

use crate::push::{CLOCK, LOAD_PROFILE, STATUS};

/// A logical name.
pub type Name = [u8; 6];

/// Logical device name.
pub const DEVICE_NAME: Name = [0, 0, 42, 0, 0, 255];
/// SAP assignment.
pub const SAP_ASSIGNMENT: Name = [0, 0, 41, 0, 0, 255];
/// Current association.
pub const ASSOCIATION: Name = [0, 0, 40, 0, 0, 255];
/// Security setup.
pub const SECURITY_SETUP: Name = [0, 0, 43, 0, 0, 255];
/// Invocation counter.
pub const INVOCATION_COUNTER: Name = [0, 0, 43, 1, 0, 255];
/// Device id 1: the serial.
pub const SERIAL: Name = [0, 0, 96, 1, 0, 255];
/// Active firmware id.
pub const FIRMWARE_ID: Name = [1, 0, 0, 2, 0, 255];
/// Disconnect control.
pub const DISCONNECT: Name = [0, 0, 96, 3, 10, 255];
/// Limiter.
pub const LIMITER: Name = [0, 0, 17, 0, 0, 255];
/// Activity calendar.
pub const CALENDAR: Name = [0, 0, 13, 0, 0, 255];
/// Special days.
pub const SPECIAL_DAYS: Name = [0, 0, 11, 0, 0, 255];
/// Register activation.
pub const ACTIVATION: Name = [0, 0, 14, 0, 0, 255];
/// Billing profile.
pub const BILLING: Name = [0, 0, 98, 1, 0, 255];
/// Load profile 2: days.
pub const DAILY: Name = [1, 0, 99, 2, 0, 255];
/// Token transfer log.
pub const TOKEN_LOG: Name = [0, 0, 99, 17, 0, 255];
/// Token gateway.
pub const TOKEN_GATEWAY: Name = [0, 0, 19, 40, 0, 255];
/// Account.
pub const ACCOUNT: Name = [0, 0, 19, 0, 0, 255];
/// Consumption charge.
pub const CHARGE: Name = [0, 0, 19, 20, 0, 255];
/// Image transfer.
pub const IMAGE: Name = [0, 0, 44, 0, 0, 255];

/// Direction and kind of energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A+.
    Import,
    /// A-.
    Export,
    /// R+.
    ReactiveImport,
    /// R-.
    ReactiveExport,
}

/// A measured quantity of a class 3 register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Energy; rate 0 is the total.
    Energy(Flow, u8),
    /// Power of all phases, or of phase 1 to 3.
    Power(Flow, u8),
    /// Voltage of a phase.
    Voltage(u8),
    /// Current of a phase; 0 is the neutral.
    Current(u8),
    /// Power factor; 0 is all phases.
    PowerFactor(u8),
    /// Frequency.
    Frequency,
    /// Angle from the voltage of this phase to that of phase 1.
    VoltageAngle(u8),
    /// Angle from the current of a phase to its voltage.
    CurrentAngle(u8),
}

/// A profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Load profile 1.
    Load,
    /// Load profile 2, days.
    Daily,
    /// Billing periods.
    Billing,
    /// Event log number.
    Log(u8),
    /// Tokens.
    Tokens,
}

/// What stands behind an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Serial, name, firmware, counter, status word, message: class 1.
    Plain,
    /// Last event of a log.
    LastEvent(u8),
    /// Error register.
    Errors,
    /// Alarm register 0 or 1.
    Alarm(u8),
    /// Alarm descriptor 0 or 1.
    Descriptor(u8),
    /// Alarm filter.
    Filter,
    /// A measured value.
    Register(Quantity),
    /// Average demand.
    Demand(Flow),
    /// Maximum demand.
    Maximum(Flow),
    /// A profile.
    Profile(Table),
    /// The clock.
    Clock,
    /// The association.
    Association,
    /// SAP assignment.
    Saps,
    /// Security setup.
    Security,
    /// Image transfer.
    Image,
    /// Disconnect control.
    Switch,
    /// Limiter.
    Limiter,
    /// Register monitor.
    Monitor,
    /// Activity calendar.
    Calendar,
    /// Special days.
    SpecialDays,
    /// Register activation.
    Activation,
    /// Script table: value group E of its name.
    Script(u8),
    /// Single action schedule: value group E of its name.
    Schedule(u8),
    /// Account.
    Account,
    /// Credit 0 (paid in) or 1 (emergency).
    Credit(u8),
    /// Charge.
    Charge,
    /// Token gateway.
    Tokens,
    /// Push setup: value group B of its name.
    Push(u8),
    /// Compact data.
    Compact,
    /// Status mapping.
    Mapping,
}

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Interface class.
    pub class: u16,
    /// Version of the class.
    pub version: u8,
    /// Logical name.
    pub name: Name,
    /// Number of attributes.
    pub attributes: i8,
    /// Number of methods.
    pub methods: i8,
    /// Attributes that a manager may write.
    pub writable: &'static [i8],
    /// What stands behind it.
    pub kind: Kind,
}

impl Object {
    /// Whether an attribute may be written by a manager.
    #[must_use]
    pub fn takes(&self, attribute: i8) -> bool {
        self.writable.contains(&attribute)
    }
}

/// The objects of a meter with one phase or with three.
#[must_use]
pub fn objects(phases: u8) -> &'static [Object] {
    static ONE: LazyLock<Vec<Object>> = LazyLock::new(|| build(1));
    static THREE: LazyLock<Vec<Object>> = LazyLock::new(|| build(3));
    if phases == 3 { &THREE } else { &ONE }
}

/// An object by its name.
#[must_use]
pub fn find(phases: u8, name: Name) -> Option<&'static Object> {
    objects(phases).iter().find(|object| object.name == name)
}

/// Class, version, attributes, methods and writable attributes that a kind has.
fn object(name: Name, kind: Kind) -> Object {
    let (class, version, attributes, methods, writable): (_, _, _, _, &'static [i8]) = match kind {
        Kind::Plain if name == CONSUMER_MESSAGE => (1, 0, 2, 0, &[2]),
        Kind::Plain | Kind::LastEvent(_) => (1, 0, 2, 0, &[]),
        Kind::Errors | Kind::Alarm(_) | Kind::Descriptor(_) | Kind::Filter => (1, 0, 2, 0, &[2]),
        Kind::Register(_) => (3, 0, 3, 1, &[]),
        Kind::Maximum(_) => (4, 0, 5, 1, &[]),
        Kind::Demand(_) => (5, 0, 9, 2, &[]),
        Kind::Activation => (6, 0, 4, 3, &[2, 3, 4]),
        Kind::Profile(_) => (7, 1, 8, 2, &[]),
        Kind::Clock => (8, 0, 9, 6, &[2, 3, 5, 6, 7, 8]),
        Kind::Script(_) => (9, 0, 2, 1, &[2]),
        Kind::SpecialDays => (11, 0, 2, 2, &[2]),
        Kind::Association => (15, 1, 9, 2, &[7]),
        Kind::Saps => (17, 0, 2, 0, &[]),
        Kind::Image => (18, 0, 7, 4, &[5]),
        Kind::Calendar => (20, 0, 10, 1, &[6, 7, 8, 9, 10]),
        Kind::Monitor => (21, 0, 4, 0, &[2, 3, 4]),
        Kind::Schedule(_) => (22, 0, 4, 0, &[2, 3, 4]),
        Kind::Push(_) => (40, 1, 10, 1, &[2, 3, 4, 5, 6, 7, 8, 9, 10]),
        Kind::Compact => (62, 1, 6, 2, &[3, 4, 6]),
        Kind::Mapping => (63, 0, 3, 0, &[]),
        Kind::Security => (64, 1, 6, 2, &[]),
        Kind::Switch => (70, 0, 4, 2, &[4]),
        Kind::Limiter => (71, 0, 11, 0, &[2, 4, 5, 6, 7, 8, 9, 11]),
        Kind::Account => (111, 0, 19, 3, &[7, 11, 16, 17, 18, 19]),
        Kind::Credit(_) => (112, 0, 11, 3, &[4, 5, 6, 7, 9, 10, 11]),
        Kind::Charge => (113, 0, 13, 5, &[4, 5, 6, 7, 8, 9, 13]),
        Kind::Tokens => (115, 0, 6, 1, &[]),
    };
    Object { class, version, name, attributes, methods, writable, kind }
}

/// Consumer message.
pub const CONSUMER_MESSAGE: Name = [0, 0, 96, 13, 0, 255];
/// Internal operating status, mapped.
pub const STATUS_WORD: Name = [0, 0, 96, 5, 0, 255];
/// Compact data.
pub const COMPACT: Name = [0, 0, 66, 0, 0, 255];

fn build(phases: u8) -> Vec<Object> {
    let mut list: Vec<(Name, Kind)> = vec![
        (CLOCK, Kind::Clock),
        (DEVICE_NAME, Kind::Plain),
        (SERIAL, Kind::Plain),
        (FIRMWARE_ID, Kind::Plain),
        (SAP_ASSIGNMENT, Kind::Saps),
        (ASSOCIATION, Kind::Association),
        (SECURITY_SETUP, Kind::Security),
        (INVOCATION_COUNTER, Kind::Plain),
        (IMAGE, Kind::Image),
        (STATUS, Kind::Plain),
        (LOAD_PROFILE, Kind::Profile(Table::Load)),
        (DAILY, Kind::Profile(Table::Daily)),
        (BILLING, Kind::Profile(Table::Billing)),
        (DISCONNECT, Kind::Switch),
        (LIMITER, Kind::Limiter),
        ([0, 0, 16, 1, 0, 255], Kind::Monitor),
        (CALENDAR, Kind::Calendar),
        (SPECIAL_DAYS, Kind::SpecialDays),
        (ACTIVATION, Kind::Activation),
        (ACCOUNT, Kind::Account),
        ([0, 0, 19, 10, 0, 255], Kind::Credit(0)),
        ([0, 0, 19, 10, 1, 255], Kind::Credit(1)),
        (CHARGE, Kind::Charge),
        (TOKEN_GATEWAY, Kind::Tokens),
        (TOKEN_LOG, Kind::Profile(Table::Tokens)),
        (CONSUMER_MESSAGE, Kind::Plain),
        (COMPACT, Kind::Compact),
        (STATUS_WORD, Kind::Mapping),
        ([0, 0, 97, 97, 0, 255], Kind::Errors),
    ];
    measured(phases, &mut list);
    for log in 0..=5 {
        list.push(([0, 0, 96, 11, log, 255], Kind::LastEvent(log)));
        list.push(([0, 0, 99, 98, log, 255], Kind::Profile(Table::Log(log))));
    }
    for alarm in 0..=1 {
        list.push(([0, 0, 97, 98, alarm, 255], Kind::Alarm(alarm)));
        list.push(([0, 0, 97, 98, 10 + alarm, 255], Kind::Filter));
        list.push(([0, 0, 97, 98, 20 + alarm, 255], Kind::Descriptor(alarm)));
    }
    for script in [100, 106, 107, 108] {
        list.push(([0, 0, 10, 0, script, 255], Kind::Script(script)));
    }
    for schedule in [0, 1, 2, 4] {
        list.push(([0, 0, 15, 0, schedule, 255], Kind::Schedule(schedule)));
    }
    for purpose in [0, 4, 7] {
        list.push(([0, purpose, 25, 9, 0, 255], Kind::Push(purpose)));
    }
    list.into_iter().map(|(name, kind)| object(name, kind)).collect()
}

/// Value group C of the direction of a flow.
const FLOWS: [(u8, Flow); 4] =
    [(1, Flow::Import), (2, Flow::Export), (3, Flow::ReactiveImport), (4, Flow::ReactiveExport)];

fn measured(phases: u8, list: &mut Vec<(Name, Kind)>) {
    let mut register =
        |c: u8, d: u8, e: u8, q: Quantity| list.push(([1, 0, c, d, e, 255], Kind::Register(q)));
    for (c, flow) in FLOWS {
        register(c, 8, 0, Quantity::Energy(flow, 0));
        register(c, 7, 0, Quantity::Power(flow, 0));
    }
    for (c, flow) in FLOWS.into_iter().take(2) {
        (1..=4).for_each(|rate| register(c, 8, rate, Quantity::Energy(flow, rate)));
    }
    for phase in 1..=phases {
        let base = 20 * phase;
        register(base + 12, 7, 0, Quantity::Voltage(phase));
        register(base + 11, 7, 0, Quantity::Current(phase));
        if phases == 3 {
            register(base + 1, 7, 0, Quantity::Power(Flow::Import, phase));
            register(base + 2, 7, 0, Quantity::Power(Flow::Export, phase));
            register(base + 13, 7, 0, Quantity::PowerFactor(phase));
        }
    }
    register(91, 7, 0, Quantity::Current(0));
    register(13, 7, 0, Quantity::PowerFactor(0));
    register(14, 7, 0, Quantity::Frequency);
    // IEC 62056-6-1, table 15: tens and units of E are the two sides, currents from 4 up.
    for phase in 1..=phases {
        if phase > 1 {
            register(81, 7, phase - 1, Quantity::VoltageAngle(phase));
        }
        register(81, 7, 11 * (phase - 1) + 4, Quantity::CurrentAngle(phase));
    }
    for (c, flow) in FLOWS.into_iter().take(2) {
        list.push(([1, 0, c, 4, 0, 255], Kind::Demand(flow)));
        list.push(([1, 0, c, 6, 0, 255], Kind::Maximum(flow)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::objects;

    #[test]
    fn every_name_stands_once() {
        for (phases, count) in [(1, 84), (3, 101)] {
            let names: BTreeSet<_> = objects(phases).iter().map(|object| object.name).collect();
            assert_eq!((names.len(), objects(phases).len()), (count, count), "{phases} phases");
        }
    }
}
