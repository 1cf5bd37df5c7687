//! Classes of plain values: 1 data, 3 register, 4 extended register, 5 demand register, 6
//! register activation, 21 register monitor, 63 status mapping (Blue Book 4.3). What a value
//! means stands in its logical name, not here.

use bytes::Bytes;

use super::value::{Coded, Wrong, class, structure};
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::Data;
use crate::datetime::DateTime;
use crate::scaler::ScalerUnit;

/// Class 1.
pub mod data {
    use super::{Data, class};

    class! {
        /// Class 1, data.
        Value, 1, "data", versions 0 to 0;
        attributes {
            /// value: any type.
            2 VALUE value: Data,
        }
        methods {}
    }
}

/// Class 3.
pub mod register {
    use super::{Call, Data, LogicalName, ScalerUnit, call, class};

    class! {
        /// Class 3, register.
        Register, 3, "register", versions 0 to 0;
        attributes {
            /// value: an integer, or another type.
            2 VALUE value: Data,
            /// scaler_unit.
            3 SCALER_UNIT scaler_unit: ScalerUnit,
        }
        methods {
            /// Method reset.
            1 RESET "reset",
        }
    }

    /// Sets the value back to its default.
    #[must_use]
    pub fn reset(name: LogicalName) -> Call {
        call(ID, name, RESET, &0i8)
    }
}

/// Class 4.
pub mod extended_register {
    use super::{Call, Data, DateTime, LogicalName, ScalerUnit, call, class};

    class! {
        /// Class 4, extended register.
        ExtendedRegister, 4, "extended register", versions 0 to 0;
        attributes {
            /// value: an integer, or another type.
            2 VALUE value: Data,
            /// scaler_unit.
            3 SCALER_UNIT scaler_unit: ScalerUnit,
            /// status: any type.
            4 STATUS status: Data,
            /// capture_time: when the value was captured.
            5 CAPTURE_TIME capture_time: DateTime,
        }
        methods {
            /// Method reset.
            1 RESET "reset",
        }
    }

    /// Sets the value back to its default.
    #[must_use]
    pub fn reset(name: LogicalName) -> Call {
        call(ID, name, RESET, &0i8)
    }
}

/// Class 5.
pub mod demand_register {
    use super::{Call, Data, DateTime, LogicalName, ScalerUnit, call, class};

    class! {
        /// Class 5, demand register.
        DemandRegister, 5, "demand register", versions 0 to 0;
        attributes {
            /// current_average_value: of the period that runs.
            2 CURRENT_AVERAGE current_average_value: Data,
            /// last_average_value: of the periods that are over.
            3 LAST_AVERAGE last_average_value: Data,
            /// scaler_unit.
            4 SCALER_UNIT scaler_unit: ScalerUnit,
            /// status: any type.
            5 STATUS status: Data,
            /// capture_time: end of the last average.
            6 CAPTURE_TIME capture_time: DateTime,
            /// start_time_current: begin of the period that runs.
            7 START_TIME start_time_current: DateTime,
            /// period, seconds.
            8 PERIOD period: u32,
            /// number_of_periods of a sliding average.
            9 NUMBER_OF_PERIODS number_of_periods: u16,
        }
        methods {
            /// Method reset.
            1 RESET "reset",
            /// Method next_period.
            2 NEXT_PERIOD "next_period",
        }
    }

    /// Sets the values back and begins a new period.
    #[must_use]
    pub fn reset(name: LogicalName) -> Call {
        call(ID, name, RESET, &0i8)
    }

    /// Ends the period that runs.
    #[must_use]
    pub fn next_period(name: LogicalName) -> Call {
        call(ID, name, NEXT_PERIOD, &0i8)
    }
}

structure! {
    /// A register that an activation switches.
    RegisterDefinition {
        /// Class of the register.
        class_id: u16,
        /// Logical name of the register.
        logical_name: LogicalName,
    }
}

structure! {
    /// Registers that are active together.
    RegisterMask {
        /// Name of the mask.
        mask_name: Bytes,
        /// Places in the register assignment, counted from 1.
        index_list: Vec<u8>,
    }
}

structure! {
    /// Which attribute is watched.
    MonitoredValue {
        /// Class of the object.
        class_id: u16,
        /// Logical name of the object.
        logical_name: LogicalName,
        /// Attribute.
        attribute_index: i8,
    }
}

structure! {
    /// A script to run.
    Script {
        /// Logical name of the script table.
        script_logical_name: LogicalName,
        /// Which script of it; 0 none.
        script_selector: u16,
    }
}

structure! {
    /// What to do when a value passes a threshold.
    ActionSet {
        /// When it rises above it.
        action_up: Script,
        /// When it falls below it.
        action_down: Script,
    }
}

/// Class 6.
pub mod register_activation {
    use super::{Bytes, Call, LogicalName, RegisterDefinition, RegisterMask, call, class};

    class! {
        /// Class 6, register activation.
        RegisterActivation, 6, "register activation", versions 0 to 0;
        attributes {
            /// register_assignment: the registers.
            2 REGISTER_ASSIGNMENT register_assignment: Vec<RegisterDefinition>,
            /// mask_list: which of them are active together.
            3 MASK_LIST mask_list: Vec<RegisterMask>,
            /// active_mask: name of the mask that holds now.
            4 ACTIVE_MASK active_mask: Bytes,
        }
        methods {
            /// Method add_register.
            1 ADD_REGISTER "add_register",
            /// Method add_mask.
            2 ADD_MASK "add_mask",
            /// Method delete_mask.
            3 DELETE_MASK "delete_mask",
        }
    }

    /// Adds a register.
    #[must_use]
    pub fn add_register(name: LogicalName, register: &RegisterDefinition) -> Call {
        call(ID, name, ADD_REGISTER, register)
    }

    /// Adds a mask.
    #[must_use]
    pub fn add_mask(name: LogicalName, mask: &RegisterMask) -> Call {
        call(ID, name, ADD_MASK, mask)
    }

    /// Takes a mask away.
    #[must_use]
    pub fn delete_mask(name: LogicalName, mask_name: &Bytes) -> Call {
        call(ID, name, DELETE_MASK, mask_name)
    }
}

/// Class 21.
pub mod register_monitor {
    use super::{ActionSet, Data, MonitoredValue, class};

    class! {
        /// Class 21, register monitor.
        RegisterMonitor, 21, "register monitor", versions 0 to 0;
        attributes {
            /// thresholds, of the type of the value.
            2 THRESHOLDS thresholds: Vec<Data>,
            /// monitored_value.
            3 MONITORED_VALUE monitored_value: MonitoredValue,
            /// actions, one set a threshold.
            4 ACTIONS actions: Vec<ActionSet>,
        }
        methods {}
    }
}

/// Where the bits of a status word stand in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum References {
    /// They follow one another from here on.
    From(u16),
    /// Each has its place.
    Each(Vec<u16>),
}

impl Coded for References {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data.as_array() {
            Some(_) => Vec::from_data(data).map(Self::Each),
            None => u16::from_data(data).map(Self::From),
        }
    }

    fn to_data(&self) -> Data {
        match self {
            Self::From(first) => first.to_data(),
            Self::Each(places) => places.to_data(),
        }
    }
}

structure! {
    /// Which table explains the bits.
    MappingTable {
        /// Number of the table.
        ref_table_id: u8,
        /// Places of the bits in it.
        ref_table_mapping: References,
    }
}

/// Class 63.
pub mod status_mapping {
    use super::{Data, MappingTable, class};

    class! {
        /// Class 63, status mapping.
        StatusMapping, 63, "status mapping", versions 0 to 0;
        attributes {
            /// status_word: bit-string or an unsigned integer.
            2 STATUS_WORD status_word: Data,
            /// mapping_table.
            3 MAPPING_TABLE mapping_table: MappingTable,
        }
        methods {}
    }
}
