//! Class 15, association LN (Blue Book 4.4.4): what a client may see and do, and as whom. How an
//! association is opened stands in `crate::association`.
//!
//! Invariant: the secret of attribute 7 is never printed.

use bytes::Bytes;

use super::value::{Coded, Hidden, VisibleText, Wrong, class, codes, field, structure};
use super::{Call, call};
use crate::apdu::{AttributeRef, LogicalName};
use crate::data::{BitString, Data};
use crate::error::Error;

/// Logical name of the current association.
pub const CURRENT: [u8; 6] = [0, 0, 40, 0, 0, 255];
/// The object list of the current association.
pub const OBJECTS: AttributeRef = AttributeRef::new(ID, CURRENT, OBJECT_LIST);

/// One object that the client sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Interface class.
    pub class: u16,
    /// Version of the class.
    pub version: u8,
    /// Logical name.
    pub logical_name: LogicalName,
    /// What the client may do with it.
    pub access: AccessRights,
}

structure! {
    /// What a client may do with an object.
    AccessRights {
        /// With its attributes.
        attributes: Vec<AttributeAccess>,
        /// With its methods.
        methods: Vec<MethodAccess>,
    }
}

structure! {
    /// What a client may do with an attribute.
    AttributeAccess {
        /// The attribute.
        attribute_id: i8,
        /// Mode, as the version of the association has it: see `may_read`.
        access_mode: Mode,
        /// Selectors of selective access; none when it is null-data.
        access_selectors: Option<Vec<i8>>,
    }
}

structure! {
    /// What a client may do with a method.
    MethodAccess {
        /// The method.
        method_id: i8,
        /// Mode: a boolean in version 0, an enum in 1 and 2, bits in 3.
        access_mode: Mode,
    }
}

/// An access mode as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A boolean: methods of version 0.
    Boolean(bool),
    /// An enum: a number in versions 0 to 2, bits in version 3.
    Code(u8),
}

impl Coded for Mode {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data {
            Data::Boolean(value) => Ok(Self::Boolean(*value)),
            _ => u8::from_data(data)
                .map(Self::Code)
                .map_err(|_| Wrong::expected("an access mode: an enum or a boolean")),
        }
    }

    fn to_data(&self) -> Data {
        match self {
            Self::Boolean(value) => Data::Boolean(*value),
            Self::Code(code) => Data::Enum(*code),
        }
    }
}

impl Mode {
    /// Whether an attribute may be read. `version` is that of the association.
    #[must_use]
    pub const fn may_read(self, version: u8) -> bool {
        match self {
            Self::Boolean(value) => value,
            Self::Code(code) if version >= 3 => code & 0x01 != 0,
            Self::Code(code) => matches!(code, 1 | 3 | 4 | 6),
        }
    }

    /// Whether an attribute may be written.
    #[must_use]
    pub const fn may_write(self, version: u8) -> bool {
        match self {
            Self::Boolean(value) => value,
            Self::Code(code) if version >= 3 => code & 0x02 != 0,
            Self::Code(code) => matches!(code, 2 | 3 | 5 | 6),
        }
    }

    /// Whether a method may be invoked.
    #[must_use]
    pub const fn may_invoke(self, version: u8) -> bool {
        match self {
            Self::Boolean(value) => value,
            Self::Code(code) if version >= 3 => code & 0x01 != 0,
            Self::Code(code) => matches!(code, 1 | 2),
        }
    }

    /// Whether the request must be authenticated. For a method in versions 1 and 2 this is mode
    /// 2, for an attribute modes 4 to 6; 2 of an attribute is plain writing.
    #[must_use]
    pub const fn wants_authentication(self, version: u8, of_method: Kind) -> bool {
        match (self, of_method) {
            (Self::Boolean(_), _) => false,
            (Self::Code(code), _) if version >= 3 => code & 0x04 != 0,
            (Self::Code(code), Kind::Method) => code == 2,
            (Self::Code(code), Kind::Attribute) => matches!(code, 4..=6),
        }
    }
}

/// Of what a mode speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of an attribute.
    Attribute,
    /// Of a method.
    Method,
}

impl Coded for Object {
    /// Access rights of another shape, or none, are an object without any: the list is wanted
    /// most for what is in it.
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let fields = data.as_structure().ok_or(Wrong::expected("an element of an object list"))?;
        let class = field(fields.first(), "class_id")?;
        let version = field(fields.get(1), "version")?;
        let logical_name = field(fields.get(2), "logical_name")?;
        let none = AccessRights { attributes: Vec::new(), methods: Vec::new() };
        let access = fields.get(3).and_then(|access| Coded::from_data(access).ok());
        Ok(Self { class, version, logical_name, access: access.unwrap_or(none) })
    }

    fn to_data(&self) -> Data {
        Data::Structure(vec![
            self.class.to_data(),
            self.version.to_data(),
            self.logical_name.to_data(),
            self.access.to_data(),
        ])
    }
}

impl Object {
    /// The attribute object_list.
    ///
    /// # Errors
    /// `Malformed` for another shape.
    pub fn list_from_data(data: &Data) -> Result<Vec<Self>, Error> {
        data.as_array().ok_or(Error::malformed(0, "not an array"))?;
        Vec::from_data(data).map_err(|wrong| Error::malformed(0, wrong.expected))
    }
}

structure! {
    /// The two ends of the association.
    Partners {
        /// Client SAP.
        client_sap: i8,
        /// Server SAP.
        server_sap: u16,
    }
}

structure! {
    /// What was agreed on.
    XdlmsContext {
        /// Conformance, 24 bits.
        conformance: BitString,
        /// The longest APDU that the server takes, octets.
        max_receive_pdu_size: u16,
        /// The longest APDU that the server sends, octets.
        max_send_pdu_size: u16,
        /// DLMS version: 6.
        dlms_version_number: u8,
        /// Not used.
        quality_of_service: i8,
        /// Dedicated key.
        cyphering_info: Hidden,
    }
}

structure! {
    /// A user of the association.
    User {
        /// Number.
        user_id: u8,
        /// Name.
        user_name: VisibleText,
    }
}

codes! {
    /// How far the association is.
    Status {
        /// Not associated.
        0 NonAssociated,
        /// Waits for the HLS passes.
        1 Pending,
        /// Associated.
        2 Associated,
    }
}

class! {
    /// Class 15, association LN.
    AssociationLn, 15, "association LN", versions 0 to 3;
    attributes {
        /// object_list.
        2 OBJECT_LIST object_list: Vec<Object>,
        /// associated_partners_id.
        3 PARTNERS associated_partners_id: Partners,
        /// application_context_name: a structure, or an octet-string.
        4 CONTEXT_NAME application_context_name: Data,
        /// xDLMS_context_info.
        5 XDLMS_CONTEXT xdlms_context_info: XdlmsContext,
        /// authentication_mechanism_name: a structure, or an octet-string.
        6 MECHANISM_NAME authentication_mechanism_name: Data,
        /// secret: LLS password or HLS secret.
        7 SECRET secret: Hidden,
        /// association_status.
        8 STATUS association_status: Status,
        /// security_setup_reference.
        9 / 1 SECURITY_SETUP security_setup_reference: LogicalName,
        /// user_list.
        10 / 2 USER_LIST user_list: Vec<User>,
        /// current_user; null-data when there is none.
        11 / 2 CURRENT_USER current_user: Option<User>,
    }
    methods {
        /// Method reply_to_HLS_authentication.
        1 REPLY_TO_HLS "reply_to_HLS_authentication",
        /// Method change_HLS_secret.
        2 CHANGE_HLS_SECRET "change_HLS_secret",
        /// Method add_object.
        3 ADD_OBJECT "add_object",
        /// Method remove_object.
        4 REMOVE_OBJECT "remove_object",
        /// Method add_user.
        5 / 2 ADD_USER "add_user",
        /// Method remove_user.
        6 / 2 REMOVE_USER "remove_user",
    }
}

/// Pass 3 of an HLS authentication; the answer is pass 4.
#[must_use]
pub fn reply_to_hls_authentication(name: LogicalName, answer: &Bytes) -> Call {
    call(ID, name, REPLY_TO_HLS, answer)
}

/// Another HLS secret.
#[must_use]
pub fn change_hls_secret(name: LogicalName, secret: &Hidden) -> Call {
    call(ID, name, CHANGE_HLS_SECRET, secret)
}

/// Adds an object to what the client sees.
#[must_use]
pub fn add_object(name: LogicalName, object: &Object) -> Call {
    call(ID, name, ADD_OBJECT, object)
}

/// Takes an object out of what the client sees.
#[must_use]
pub fn remove_object(name: LogicalName, object: &Object) -> Call {
    call(ID, name, REMOVE_OBJECT, object)
}

/// Adds a user.
#[must_use]
pub fn add_user(name: LogicalName, user: &User) -> Call {
    call(ID, name, ADD_USER, user)
}

/// Takes a user away.
#[must_use]
pub fn remove_user(name: LogicalName, user: &User) -> Call {
    call(ID, name, REMOVE_USER, user)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Mode, Object};
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

    #[test]
    fn modes_mean_what_their_version_says() {
        let of = |code: u8, version| {
            let mode = Mode::Code(code);
            let proof = mode.wants_authentication(version, Kind::Attribute);
            [mode.may_read(version), mode.may_write(version), proof]
        };
        let check = |code, version, expect: [bool; 3]| {
            assert_eq!(of(code, version), expect, "mode {code} of version {version}");
        };
        check(0, 1, [false; 3]);
        check(1, 0, [true, false, false]);
        check(2, 1, [false, true, false]);
        check(3, 1, [true, true, false]);
        check(4, 1, [true, false, true]);
        check(5, 2, [false, true, true]);
        check(6, 2, [true, true, true]);
        check(0x05, 3, [true, false, true]);
        check(0x02, 3, [false, true, false]);
        assert!(Mode::Code(2).wants_authentication(1, Kind::Method));
        assert!(Mode::Boolean(true).may_invoke(0) && !Mode::Code(0).may_invoke(1));
    }
}
