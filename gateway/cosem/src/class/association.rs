//! Class 15, association LN: the list of objects that a client sees.

use super::logical_name;
use crate::apdu::{AttributeRef, LogicalName};
use crate::data::Data;
use crate::error::Error;

/// Class id.
pub const ID: u16 = 15;
/// Logical name of the current association.
pub const CURRENT: [u8; 6] = [0, 0, 40, 0, 0, 255];
/// object_list.
pub const OBJECT_LIST: i8 = 2;
/// The object list of the current association.
pub const OBJECTS: AttributeRef = AttributeRef::new(ID, CURRENT, OBJECT_LIST);
/// Method reply_to_HLS_authentication.
pub const REPLY_TO_HLS: i8 = 1;

/// One object; its access rights, whose shape differs by version, are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    /// Interface class.
    pub class: u16,
    /// Version of the class.
    pub version: u8,
    /// Logical name.
    pub logical_name: LogicalName,
}

impl Object {
    /// The attribute object_list.
    ///
    /// # Errors
    /// `Malformed` for another shape.
    pub fn list_from_data(data: &Data) -> Result<Vec<Self>, Error> {
        let list = data.as_array().ok_or(Error::malformed(0, "not an array"))?;
        let object = |object: &Data| match object.as_structure() {
            Some([Data::U16(class), Data::U8(version), name, ..]) => Ok(Self {
                class: *class,
                version: *version,
                logical_name: LogicalName(logical_name(name)?),
            }),
            _ => Err(Error::malformed(0, "not an element of an object list")),
        };
        list.iter().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Object;
    use crate::data::Data;

    #[test]
    fn an_object_list_is_read_and_another_shape_refused() {
        let name = Data::octets(&[1, 0, 1, 8, 0, 255]);
        let rights = Data::Structure(vec![Data::Array(vec![]), Data::Array(vec![])]);
        let fields = vec![Data::U16(3), Data::U8(0), name, rights];
        let list = Object::list_from_data(&Data::Array(vec![Data::Structure(fields)])).unwrap();
        assert_eq!((list[0].class, list[0].logical_name.to_string()), (3, "1.0.1.8.0.255".into()));
        assert!(Object::list_from_data(&Data::Array(vec![Data::Null])).is_err());
        assert!(Object::list_from_data(&Data::Null).is_err());
    }
}
