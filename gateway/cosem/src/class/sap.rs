//! Class 17, SAP assignment: which logical device has which wPort.

use bytes::Bytes;

use super::value::{Coded, class, structure};
use super::{Call, call};
use crate::apdu::{AttributeRef, LogicalName};
use crate::data::Data;
use crate::error::Error;

/// The list of the physical device.
pub const ASSIGNMENTS: AttributeRef = AttributeRef::new(ID, [0, 0, 41, 0, 0, 255], LIST);

structure! {
    /// One logical device.
    Assignment {
        /// Its wPort.
        sap: u16,
        /// Its logical device name.
        name: Bytes,
    }
}

class! {
    /// Class 17, SAP assignment.
    SapAssignment, 17, "SAP assignment", versions 0 to 0;
    attributes {
        /// SAP_assignment_list.
        2 LIST sap_assignment_list: Vec<Assignment>,
    }
    methods {
        /// Method connect_logical_device.
        1 CONNECT "connect_logical_device",
    }
}

/// Connects a logical device to a wPort; an empty name disconnects it.
#[must_use]
pub fn connect_logical_device(name: LogicalName, assignment: &Assignment) -> Call {
    call(ID, name, CONNECT, assignment)
}

impl Assignment {
    /// The attribute SAP_assignment_list.
    ///
    /// # Errors
    /// `Malformed` for another shape.
    pub fn list_from_data(data: &Data) -> Result<Vec<Self>, Error> {
        Vec::from_data(data).map_err(|wrong| Error::malformed(0, wrong.expected))
    }
}

#[cfg(test)]
mod tests {
    use super::Assignment;
    use crate::data::Data;

    #[test]
    fn assignments_are_read() {
        let one = Data::Structure(vec![Data::U16(1), Data::octets(b"HFD1")]);
        let list = Assignment::list_from_data(&Data::Array(vec![one])).unwrap();
        assert_eq!((list[0].sap, list[0].name.as_ref()), (1, &b"HFD1"[..]));
        assert!(Assignment::list_from_data(&Data::Array(vec![Data::U16(1)])).is_err());
    }
}
