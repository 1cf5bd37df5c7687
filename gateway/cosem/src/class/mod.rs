//! Interface classes (Blue Book): the attribute and method numbers that a head-end uses, and the
//! typed forms of what those attributes hold. Classes that are not named here stay raw `Data`.

pub mod association;
pub mod profile;
pub mod sap;

use crate::apdu::AttributeRef;
use crate::data::Data;
use crate::error::Error;

/// Class 1, data.
pub mod data {
    /// Class id.
    pub const ID: u16 = 1;
    /// value.
    pub const VALUE: i8 = 2;
}

/// Class 3, register.
pub mod register {
    /// Class id.
    pub const ID: u16 = 3;
    /// value.
    pub const VALUE: i8 = 2;
    /// scaler_unit.
    pub const SCALER_UNIT: i8 = 3;
    /// Method reset.
    pub const RESET: i8 = 1;
}

/// Class 4, extended register.
pub mod extended_register {
    /// Class id.
    pub const ID: u16 = 4;
    /// value.
    pub const VALUE: i8 = 2;
    /// scaler_unit.
    pub const SCALER_UNIT: i8 = 3;
    /// status.
    pub const STATUS: i8 = 4;
    /// capture_time.
    pub const CAPTURE_TIME: i8 = 5;
    /// Method reset.
    pub const RESET: i8 = 1;
}

/// Class 8, clock.
pub mod clock {
    use crate::apdu::AttributeRef;

    /// Class id.
    pub const ID: u16 = 8;
    /// Logical name of the clock.
    pub const NAME: [u8; 6] = [0, 0, 1, 0, 0, 255];
    /// The time attribute of the clock, first column of most profiles.
    pub const TIME_OF_CLOCK: AttributeRef = AttributeRef::new(ID, NAME, TIME);
    /// time.
    pub const TIME: i8 = 2;
    /// time_zone: minutes from local time to UTC.
    pub const TIME_ZONE: i8 = 3;
    /// status.
    pub const STATUS: i8 = 4;
    /// daylight_savings_begin.
    pub const DST_BEGIN: i8 = 5;
    /// daylight_savings_end.
    pub const DST_END: i8 = 6;
    /// daylight_savings_deviation.
    pub const DST_DEVIATION: i8 = 7;
    /// daylight_savings_enabled.
    pub const DST_ENABLED: i8 = 8;
    /// clock_base.
    pub const CLOCK_BASE: i8 = 9;
    /// Method shift_time, -900 to 900 seconds.
    pub const SHIFT_TIME: i8 = 6;
}

/// Class 40, push setup.
pub mod push_setup {
    /// Class id.
    pub const ID: u16 = 40;
    /// push_object_list: array of capture objects.
    pub const OBJECT_LIST: i8 = 2;
    /// send_destination_and_method.
    pub const DESTINATION: i8 = 3;
    /// communication_window.
    pub const WINDOW: i8 = 4;
    /// randomisation_start_interval.
    pub const RANDOMISATION: i8 = 5;
    /// number_of_retries.
    pub const RETRIES: i8 = 6;
    /// repetition_delay.
    pub const REPETITION_DELAY: i8 = 7;
    /// Method push.
    pub const PUSH: i8 = 1;
}

/// Invocation counter of security setup `e`, readable by the public client.
#[must_use]
pub const fn invocation_counter(e: u8) -> AttributeRef {
    AttributeRef::new(data::ID, [0, 0, 43, 1, e, 255], data::VALUE)
}

/// The six octets of a logical name.
fn logical_name(data: &Data) -> Result<[u8; 6], Error> {
    let name = data.as_octets().and_then(|octets| octets.try_into().ok());
    name.ok_or(Error::malformed(0, "a logical name is an octet-string of 6"))
}
