//! How typed values stand in `Data`: the integers, strings, times, lists and structures of which
//! attributes and parameters are made, and the macros that make structures, codes and classes out
//! of a table. No class is described here.
//!
//! Invariants: 1. `from_data(to_data(x))` is `x`; 2. reading is tolerant only where meters are
//! known to differ (any integer type that holds the value, any string type for octets, null-data
//! for an empty list or an unset time), writing is as the standard says; 3. what does not fit is
//! refused with the name of the field.

use bytes::Bytes;

use crate::apdu::LogicalName;
use crate::data::{BitString, Data};
use crate::datetime::{Date, DateTime, Time};
use crate::scaler::ScalerUnit;
use crate::security::Secret;

/// A value that does not fit: which field, and what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected is {expected}")]
pub struct Wrong {
    /// The innermost field, or the type when there is no field.
    pub field: &'static str,
    /// What should stand there.
    pub expected: &'static str,
}

impl Wrong {
    /// A value that is not of the kind expected, not yet in a field.
    #[must_use]
    pub const fn expected(expected: &'static str) -> Self {
        Self { field: "value", expected }
    }

    /// The same, in a field: the innermost name stays.
    #[must_use]
    pub fn within(self, field: &'static str) -> Self {
        if self.field == "value" { Self { field, ..self } } else { self }
    }
}

/// A type that stands in an attribute, a field or a parameter.
pub trait Coded: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// `Wrong` with the field that does not fit.
    fn from_data(data: &Data) -> Result<Self, Wrong>;

    /// Writes it as the standard says.
    fn to_data(&self) -> Data;
}

macro_rules! integers {
    ($($kind:ty, $variant:ident, $words:literal;)+) => {$(
        impl Coded for $kind {
            fn from_data(data: &Data) -> Result<Self, Wrong> {
                let value = data.as_integer().and_then(|value| Self::try_from(value).ok());
                value.ok_or(Wrong::expected($words))
            }

            fn to_data(&self) -> Data {
                Data::$variant(*self)
            }
        }
    )+};
}

integers! {
    i8, I8, "an integer of 8 bits";
    i16, I16, "an integer of 16 bits";
    i32, I32, "an integer of 32 bits";
    i64, I64, "an integer of 64 bits";
    u8, U8, "an unsigned integer of 8 bits";
    u16, U16, "an unsigned integer of 16 bits";
    u32, U32, "an unsigned integer of 32 bits";
    u64, U64, "an unsigned integer of 64 bits";
}

impl Coded for bool {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match (data, data.as_integer()) {
            (Data::Boolean(value), _) => Ok(*value),
            (_, Some(0)) => Ok(false),
            (_, Some(1)) => Ok(true),
            _ => Err(Wrong::expected("a boolean")),
        }
    }

    fn to_data(&self) -> Data {
        Data::Boolean(*self)
    }
}

impl Coded for Data {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        Ok(data.clone())
    }

    fn to_data(&self) -> Data {
        self.clone()
    }
}

impl Coded for Bytes {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data {
            Data::OctetString(octets) | Data::VisibleString(octets) | Data::Utf8(octets) => {
                Ok(octets.clone())
            }
            Data::Null => Ok(Self::new()),
            _ => Err(Wrong::expected("an octet-string")),
        }
    }

    fn to_data(&self) -> Data {
        Data::OctetString(self.clone())
    }
}

/// A visible-string; kept as octets, since meters put anything into it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct VisibleText(pub Bytes);

impl Coded for VisibleText {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        Bytes::from_data(data).map(Self).map_err(|_| Wrong::expected("a visible-string"))
    }

    fn to_data(&self) -> Data {
        Data::VisibleString(self.0.clone())
    }
}

/// A utf8-string; kept as octets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Utf8Text(pub Bytes);

impl Coded for Utf8Text {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        Bytes::from_data(data).map(Self).map_err(|_| Wrong::expected("a utf8-string"))
    }

    fn to_data(&self) -> Data {
        Data::Utf8(self.0.clone())
    }
}

/// An octet-string that no Debug prints.
#[derive(Debug, Clone)]
pub struct Hidden(pub Secret);

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(other.0.expose())
    }
}

impl Coded for Hidden {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        Ok(Self(Secret::new(&Bytes::from_data(data)?)))
    }

    fn to_data(&self) -> Data {
        Data::octets(self.0.expose())
    }
}

impl Coded for BitString {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data {
            Data::BitString(bits) => Ok(bits.clone()),
            _ => Err(Wrong::expected("a bit-string")),
        }
    }

    fn to_data(&self) -> Data {
        Data::BitString(self.clone())
    }
}

impl Coded for LogicalName {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let name = data.as_octets().and_then(|octets| octets.try_into().ok());
        name.map(Self).ok_or(Wrong::expected("a logical name: an octet-string of 6"))
    }

    fn to_data(&self) -> Data {
        Data::octets(&self.0)
    }
}

impl Coded for DateTime {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data {
            Data::Null => Ok(Self::NOT_SPECIFIED),
            Data::OctetString(octets) if octets.is_empty() => Ok(Self::NOT_SPECIFIED),
            _ => data.as_date_time().ok_or(Wrong::expected("a date-time: an octet-string of 12")),
        }
    }

    fn to_data(&self) -> Data {
        Data::clock(*self)
    }
}

impl Coded for Date {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let octets = data.as_octets().and_then(|octets| octets.try_into().ok());
        match (data, octets) {
            (Data::Date(date), _) => Ok(*date),
            (_, Some(octets)) => Ok(Self::from_octets(octets)),
            _ => Err(Wrong::expected("a date: an octet-string of 5")),
        }
    }

    fn to_data(&self) -> Data {
        Data::octets(&self.to_octets())
    }
}

impl Coded for Time {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let octets = data.as_octets().and_then(|octets| octets.try_into().ok());
        match (data, octets) {
            (Data::Time(time), _) => Ok(*time),
            (_, Some(octets)) => Ok(Self::from_octets(octets)),
            _ => Err(Wrong::expected("a time: an octet-string of 4")),
        }
    }

    fn to_data(&self) -> Data {
        Data::octets(&self.to_octets())
    }
}

impl Coded for ScalerUnit {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let expected = Wrong::expected("a structure {scaler, unit}");
        let Some([scaler, unit]) = data.as_structure() else { return Err(expected) };
        let scaler = i8::from_data(scaler).map_err(|wrong| wrong.within("scaler"))?;
        let unit = u8::from_data(unit).map_err(|wrong| wrong.within("unit"))?;
        Ok(Self { scaler, unit })
    }

    fn to_data(&self) -> Data {
        ScalerUnit::to_data(*self)
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match (data, data.as_array()) {
            (Data::Null, _) => Ok(Self::new()),
            (_, Some(elements)) => elements.iter().map(T::from_data).collect(),
            _ => Err(Wrong::expected("an array")),
        }
    }

    fn to_data(&self) -> Data {
        Data::Array(self.iter().map(T::to_data).collect())
    }
}

impl<T: Coded> Coded for Option<T> {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data {
            Data::Null => Ok(None),
            data => T::from_data(data).map(Some),
        }
    }

    fn to_data(&self) -> Data {
        self.as_ref().map_or(Data::Null, T::to_data)
    }
}

/// The next field of a structure.
pub(super) fn field<T: Coded>(data: Option<&Data>, name: &'static str) -> Result<T, Wrong> {
    let data =
        data.ok_or(Wrong { field: name, expected: "a field, the structure is too short" })?;
    T::from_data(data).map_err(|wrong| wrong.within(name))
}

/// A structure whose fields stand in this order.
macro_rules! structure {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)+
        }

        impl $crate::class::value::Coded for $name {
            fn from_data(
                data: &$crate::data::Data,
            ) -> Result<Self, $crate::class::value::Wrong> {
                let expected = $crate::class::value::Wrong::expected("a structure");
                let mut fields = data.as_structure().ok_or(expected)?.iter();
                let read = Self {
                    $($field: $crate::class::value::field(fields.next(), stringify!($field))?,)+
                };
                match fields.next() {
                    None => Ok(read),
                    Some(_) => Err($crate::class::value::Wrong::expected("fewer fields")),
                }
            }

            fn to_data(&self) -> $crate::data::Data {
                $crate::data::Data::Structure(vec![
                    $($crate::class::value::Coded::to_data(&self.$field),)+
                ])
            }
        }

        #[cfg(test)]
        impl $crate::class::tests::Sample for $name {
            fn sample(seeds: &mut $crate::class::tests::Seeds) -> Self {
                Self { $($field: $crate::class::tests::Sample::sample(seeds),)+ }
            }
        }
    };
}

/// An enum of the standard; a code without a name is kept.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$code_doc:meta])* $code:literal $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$code_doc])* $variant,)+
            /// A code that has no name here.
            Other(u8),
        }

        impl $name {
            /// From the code.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Other(other),
                }
            }

            /// The code.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Other(other) => other,
                }
            }
        }

        impl $crate::class::value::Coded for $name {
            fn from_data(
                data: &$crate::data::Data,
            ) -> Result<Self, $crate::class::value::Wrong> {
                let code = <u8 as $crate::class::value::Coded>::from_data(data);
                code.map(Self::from_code)
                    .map_err(|_| $crate::class::value::Wrong::expected("an enum"))
            }

            fn to_data(&self) -> $crate::data::Data {
                $crate::data::Data::Enum(self.code())
            }
        }

        #[cfg(test)]
        impl $crate::class::tests::Sample for $name {
            fn sample(seeds: &mut $crate::class::tests::Seeds) -> Self {
                Self::from_code($crate::class::tests::Sample::sample(seeds))
            }
        }
    };
}

/// A class as a table: attributes with their numbers (`number / version` when they are there
/// since that version only), methods with theirs. Makes constants, a typed object and the
/// description of the class.
macro_rules! class {
    ($(#[$doc:meta])* $name:ident, $id:literal, $words:literal,
        versions $first:literal to $last:literal;
        attributes {
            $($(#[$attribute_doc:meta])* $number:literal $(/ $since:literal)?
                $constant:ident $field:ident: $kind:ty,)+
        }
        methods {
            $($(#[$method_doc:meta])* $method:literal $(/ $method_since:literal)?
                $method_constant:ident $method_name:literal,)*
        }
    ) => {
        /// Class id.
        pub const ID: u16 = $id;
        $($(#[$attribute_doc])* pub const $constant: i8 = $number;)+
        $($(#[$method_doc])* pub const $method_constant: i8 = $method;)*

        /// What the standard says of this class.
        pub const CLASS: $crate::class::Class = $crate::class::Class {
            id: $id,
            name: $words,
            first: $first,
            last: $last,
            attributes: &[$($crate::class::Member {
                number: $number,
                name: stringify!($field),
                since: 0 $(+ $since)?,
            },)+],
            methods: &[$($crate::class::Member {
                number: $method,
                name: $method_name,
                since: 0 $(+ $method_since)?,
            },)*],
        };

        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            /// Version of the class.
            pub version: u8,
            $($(#[$attribute_doc])* pub $field: Option<$kind>,)+
            /// Attributes that the class of this version does not have, as they came.
            pub others: std::collections::BTreeMap<i8, $crate::data::Data>,
        }

        impl $name {
            /// An object of which nothing is known but the version.
            #[must_use]
            pub fn new(version: u8) -> Self {
                Self { version, ..Self::default() }
            }

            /// Takes an attribute as it came from the wire.
            ///
            /// # Errors
            /// `Mismatch` with the attribute's name; nothing is changed.
            pub fn set(
                &mut self,
                attribute: i8,
                data: &$crate::data::Data,
            ) -> Result<(), $crate::class::Mismatch> {
                let known = CLASS.attribute(self.version, attribute).is_some();
                match attribute {
                    $($number if known => {
                        let value = $crate::class::value::Coded::from_data(data);
                        let wrong = |wrong| CLASS.mismatch(self.version, attribute, wrong);
                        self.$field = Some(value.map_err(wrong)?);
                    })+
                    _ => {
                        self.others.insert(attribute, data.clone());
                    }
                }
                Ok(())
            }

            /// An attribute as it goes to the wire; None when it is not known.
            #[must_use]
            pub fn attribute(&self, attribute: i8) -> Option<$crate::data::Data> {
                let known = CLASS.attribute(self.version, attribute).is_some();
                match attribute {
                    $($number if known => {
                        self.$field.as_ref().map($crate::class::value::Coded::to_data)
                    })+
                    _ => self.others.get(&attribute).cloned(),
                }
            }
        }

        #[cfg(test)]
        impl $crate::class::tests::Sample for $name {
            fn sample(seeds: &mut $crate::class::tests::Seeds) -> Self {
                let mut object = Self::new(seeds.within($first, $last));
                $(if CLASS.attribute(object.version, $number).is_some() && seeds.often() {
                    object.$field = Some($crate::class::tests::Sample::sample(seeds));
                })+
                object.others.insert(-1, $crate::data::Data::U8(seeds.within(0, 255)));
                object
            }
        }
    };
}

pub(super) use {class, codes, structure};
