//! Scaler and unit of registers (Blue Book 4.3.2): value = integer x 10^scaler, in the unit. It
//! multiplies nothing: integers stay integers.

use crate::data::Data;
use crate::error::Error;

/// Units that the head-end names; the code of any other stays a number.
pub mod unit {
    /// Time, s.
    pub const SECOND: u8 = 7;
    /// Plane angle, degrees.
    pub const DEGREE: u8 = 8;
    /// Active power, W.
    pub const WATT: u8 = 27;
    /// Apparent power, VA.
    pub const VOLT_AMPERE: u8 = 28;
    /// Reactive power, var.
    pub const VAR: u8 = 29;
    /// Active energy, Wh.
    pub const WATT_HOUR: u8 = 30;
    /// Apparent energy, VAh.
    pub const VOLT_AMPERE_HOUR: u8 = 31;
    /// Reactive energy, varh.
    pub const VAR_HOUR: u8 = 32;
    /// Current, A.
    pub const AMPERE: u8 = 33;
    /// Voltage, V.
    pub const VOLT: u8 = 35;
    /// Frequency, Hz.
    pub const HERTZ: u8 = 44;
    /// No unit.
    pub const NONE: u8 = 255;
}

/// The attribute `scaler_unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScalerUnit {
    /// Power of ten.
    pub scaler: i8,
    /// Unit code.
    pub unit: u8,
}

impl ScalerUnit {
    /// The name of the unit, or None for one without a name here.
    #[must_use]
    pub const fn unit_name(self) -> Option<&'static str> {
        Some(match self.unit {
            unit::SECOND => "s",
            unit::DEGREE => "°",
            unit::WATT => "W",
            unit::VOLT_AMPERE => "VA",
            unit::VAR => "var",
            unit::WATT_HOUR => "Wh",
            unit::VOLT_AMPERE_HOUR => "VAh",
            unit::VAR_HOUR => "varh",
            unit::AMPERE => "A",
            unit::VOLT => "V",
            unit::HERTZ => "Hz",
            unit::NONE => "",
            _ => return None,
        })
    }

    /// From structure {integer, enum}.
    ///
    /// # Errors
    /// `Malformed` for any other shape.
    pub fn from_data(data: &Data) -> Result<Self, Error> {
        match data.as_structure() {
            Some([Data::I8(scaler), Data::Enum(unit)]) => Ok(Self { scaler: *scaler, unit: *unit }),
            _ => Err(Error::malformed(0, "scaler_unit is not structure {integer, enum}")),
        }
    }

    /// To structure {integer, enum}.
    #[must_use]
    pub fn to_data(self) -> Data {
        Data::Structure(vec![Data::I8(self.scaler), Data::Enum(self.unit)])
    }
}
