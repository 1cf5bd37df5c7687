//! Class 17, SAP assignment: which logical device has which wPort.

use bytes::Bytes;

use crate::apdu::AttributeRef;
use crate::data::Data;
use crate::error::Error;

/// Class id.
pub const ID: u16 = 17;
/// SAP_assignment_list.
pub const LIST: i8 = 2;
/// The list of the physical device.
pub const ASSIGNMENTS: AttributeRef = AttributeRef::new(ID, [0, 0, 41, 0, 0, 255], LIST);

/// One logical device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its wPort.
    pub sap: u16,
    /// Its logical device name.
    pub name: Bytes,
}

impl Assignment {
    /// The attribute SAP_assignment_list.
    ///
    /// # Errors
    /// `Malformed` for another shape.
    pub fn list_from_data(data: &Data) -> Result<Vec<Self>, Error> {
        let list = data.as_array().ok_or(Error::malformed(0, "not an array"))?;
        let assignment = |assignment: &Data| match assignment.as_structure() {
            Some([Data::U16(sap), name]) => {
                let name = name.as_octets().ok_or(Error::malformed(0, "not a device name"))?;
                Ok(Self { sap: *sap, name: Bytes::copy_from_slice(name) })
            }
            _ => Err(Error::malformed(0, "not an element of a SAP assignment")),
        };
        list.iter().map(assignment).collect()
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
