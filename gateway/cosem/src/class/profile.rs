//! Class 7, profile generic, and class 62, compact data (Blue Book 4.3.6, 4.3.10): capture
//! objects and selective access. The buffer itself is read by `crate::profile`.

use bytes::Bytes;

use super::value::{Coded, Wrong, class, codes};
use super::{Call, call, clock};
use crate::apdu::{AttributeRef, LogicalName, Selection};
use crate::data::Data;
use crate::datetime::DateTime;
use crate::error::Error;

codes! {
    /// How the rows of a buffer are ordered.
    SortMethod {
        /// First in, first out.
        1 Fifo,
        /// Last in, first out.
        2 Lifo,
        /// Largest first.
        3 Largest,
        /// Smallest first.
        4 Smallest,
        /// Nearest to zero first.
        5 NearestToZero,
        /// Farthest from zero first.
        6 FarthestFromZero,
    }
}

class! {
    /// Class 7, profile generic.
    Profile, 7, "profile generic", versions 0 to 1;
    attributes {
        /// buffer: rows; `crate::profile` reads them fast.
        2 BUFFER buffer: Data,
        /// capture_objects.
        3 CAPTURE_OBJECTS capture_objects: Vec<CaptureObject>,
        /// capture_period, seconds.
        4 CAPTURE_PERIOD capture_period: u32,
        /// sort_method.
        5 SORT_METHOD sort_method: SortMethod,
        /// sort_object; null-data when there is none.
        6 SORT_OBJECT sort_object: Option<CaptureObject>,
        /// entries_in_use.
        7 ENTRIES_IN_USE entries_in_use: u32,
        /// profile_entries.
        8 PROFILE_ENTRIES profile_entries: u32,
    }
    methods {
        /// Method reset.
        1 RESET "reset",
        /// Method capture.
        2 CAPTURE "capture",
    }
}

/// Empties the buffer.
#[must_use]
pub fn reset(name: LogicalName) -> Call {
    call(ID, name, RESET, &0i8)
}

/// Captures a row now.
#[must_use]
pub fn capture(name: LogicalName) -> Call {
    call(ID, name, CAPTURE, &0i8)
}

/// Class 62.
pub mod compact {
    use super::{Bytes, Call, CaptureObject, LogicalName, call, class, codes};

    codes! {
        /// When a row is captured.
        CaptureMethod {
            /// When the method is invoked.
            0 Invoked,
            /// When the buffer is read.
            1 Implicit,
        }
    }

    class! {
        /// Class 62, compact data.
        CompactData, 62, "compact data", versions 0 to 1;
        attributes {
            /// compact_buffer: values without their types.
            2 BUFFER compact_buffer: Bytes,
            /// capture_objects.
            3 CAPTURE_OBJECTS capture_objects: Vec<CaptureObject>,
            /// template_id.
            4 TEMPLATE_ID template_id: u8,
            /// template_description: the types of the values.
            5 TEMPLATE_DESCRIPTION template_description: Bytes,
            /// capture_method.
            6 CAPTURE_METHOD capture_method: CaptureMethod,
        }
        methods {
            /// Method reset.
            1 RESET "reset",
            /// Method capture.
            2 CAPTURE "capture",
        }
    }

    /// Empties the buffer.
    #[must_use]
    pub fn reset(name: LogicalName) -> Call {
        call(ID, name, RESET, &0i8)
    }

    /// Captures the values now.
    #[must_use]
    pub fn capture(name: LogicalName) -> Call {
        call(ID, name, CAPTURE, &0i8)
    }
}

/// Selector of access by range.
const BY_RANGE: u8 = 1;
/// Selector of access by entry.
const BY_ENTRY: u8 = 2;

/// A column of a profile, or an object of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaptureObject {
    /// What is captured.
    pub attribute: AttributeRef,
    /// Which element of it; 0 = all of it.
    pub data_index: u16,
}

/// Rows whose restricting object lies between two values, both included.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The column that restricts, as a rule the clock.
    pub restricting: CaptureObject,
    /// Lowest value.
    pub from: Data,
    /// Highest value.
    pub to: Data,
    /// Columns wanted; none = all.
    pub columns: Vec<CaptureObject>,
}

/// Rows by their number, counted from 1; 0 = the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// First row.
    pub from: u32,
    /// Last row, 0 = the last.
    pub to: u32,
    /// First column, counted from 1.
    pub from_column: u16,
    /// Last column, 0 = the last.
    pub to_column: u16,
}

impl CaptureObject {
    /// The time of the clock.
    pub const CLOCK: Self = Self { attribute: clock::TIME_OF_CLOCK, data_index: 0 };

    /// From structure {class, logical name, attribute, data index}.
    ///
    /// # Errors
    /// `Malformed` for another shape.
    pub fn from_data(data: &Data) -> Result<Self, Error> {
        Coded::from_data(data).map_err(|wrong: Wrong| Error::malformed(0, wrong.expected))
    }

    /// To structure {class, logical name, attribute, data index}.
    #[must_use]
    pub fn to_data(self) -> Data {
        Coded::to_data(&self)
    }

    /// A list of them: attribute capture_objects, or the object list of a push setup.
    ///
    /// # Errors
    /// `Malformed` for another shape.
    pub fn list_from_data(data: &Data) -> Result<Vec<Self>, Error> {
        let list = data.as_array().ok_or(Error::malformed(0, "not an array"))?;
        list.iter().map(Self::from_data).collect()
    }

    /// The attribute capture_objects.
    #[must_use]
    pub fn list_to_data(list: &[Self]) -> Data {
        Data::Array(list.iter().map(|object| object.to_data()).collect())
    }
}

impl Coded for CaptureObject {
    /// Further fields, which compact data and newer push setups have, are passed over.
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let Some([class, name, attribute, data_index, ..]) = data.as_structure() else {
            return Err(Wrong::expected("a capture object"));
        };
        let class = u16::from_data(class).map_err(|wrong| wrong.within("class_id"))?;
        let logical_name: LogicalName =
            Coded::from_data(name).map_err(|wrong: Wrong| wrong.within("logical_name"))?;
        let attribute =
            i8::from_data(attribute).map_err(|wrong| wrong.within("attribute_index"))?;
        let data_index = u16::from_data(data_index).map_err(|wrong| wrong.within("data_index"))?;
        Ok(Self { attribute: AttributeRef { class, logical_name, attribute }, data_index })
    }

    fn to_data(&self) -> Data {
        let AttributeRef { class, logical_name, attribute } = self.attribute;
        Data::Structure(vec![
            Data::U16(class),
            Data::octets(&logical_name.0),
            Data::I8(attribute),
            Data::U16(self.data_index),
        ])
    }
}

impl Range {
    /// All columns of the rows from one time to another, both included.
    #[must_use]
    pub fn of_clock(from: DateTime, to: DateTime) -> Self {
        Self {
            restricting: CaptureObject::CLOCK,
            from: Data::clock(from),
            to: Data::clock(to),
            columns: Vec::new(),
        }
    }

    /// As it stands in a get-request.
    #[must_use]
    pub fn to_selection(&self) -> Selection {
        let parameters = Data::Structure(vec![
            self.restricting.to_data(),
            self.from.clone(),
            self.to.clone(),
            CaptureObject::list_to_data(&self.columns),
        ]);
        Selection { selector: BY_RANGE, parameters }
    }

    /// Whether a row with this time is selected: limits without a date bound nothing.
    #[must_use]
    pub fn takes(&self, end_s: i64, default_deviation: i16) -> bool {
        let limit = |data: &Data| data.as_date_time().and_then(|t| t.to_unix_s(default_deviation));
        limit(&self.from).is_none_or(|from| from <= end_s)
            && limit(&self.to).is_none_or(|to| end_s <= to)
    }
}

impl Entries {
    /// As it stands in a get-request.
    #[must_use]
    pub fn to_selection(&self) -> Selection {
        let parameters = Data::Structure(vec![
            Data::U32(self.from),
            Data::U32(self.to),
            Data::U16(self.from_column),
            Data::U16(self.to_column),
        ]);
        Selection { selector: BY_ENTRY, parameters }
    }
}

/// Selective access to a buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    /// Selector 1.
    Range(Range),
    /// Selector 2.
    Entries(Entries),
}

impl Access {
    /// From what a get-request carries.
    ///
    /// # Errors
    /// `Malformed` for another selector or shape.
    pub fn from_selection(selection: &Selection) -> Result<Self, Error> {
        match (selection.selector, selection.parameters.as_structure()) {
            (BY_RANGE, Some([restricting, from, to, columns])) => Ok(Self::Range(Range {
                restricting: CaptureObject::from_data(restricting)?,
                from: from.clone(),
                to: to.clone(),
                columns: CaptureObject::list_from_data(columns)?,
            })),
            (
                BY_ENTRY,
                Some([Data::U32(from), Data::U32(to), Data::U16(first), Data::U16(last)]),
            ) => {
                let (from, to, from_column, to_column) = (*from, *to, *first, *last);
                Ok(Self::Entries(Entries { from, to, from_column, to_column }))
            }
            _ => Err(Error::malformed(0, "not a selective access of class 7")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Entries, Range};
    use crate::datetime::DateTime;

    #[test]
    fn selections_go_both_ways() {
        let (from, to) = (DateTime::from_unix_s(900, 0, 0), DateTime::from_unix_s(1800, 0, 0));
        let range = Range::of_clock(from, to);
        let selection = range.to_selection();
        assert_eq!(Access::from_selection(&selection).unwrap(), Access::Range(range.clone()));
        assert_eq!([899, 900, 1800, 1801].map(|t| range.takes(t, 0)), [false, true, true, false]);
        let entries = Entries { from: 1, to: 0, from_column: 1, to_column: 0 };
        let mut selection = entries.to_selection();
        assert_eq!(Access::from_selection(&selection).unwrap(), Access::Entries(entries));
        selection.selector = 1;
        assert!(Access::from_selection(&selection).is_err());
    }
}
