//! data-access-result and action-result (IEC 62056-5-3 clause 9): the same numbers, named once.

/// Why an attribute or method was refused. Numbers without a name here are kept in `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataAccessError {
    /// 1.
    HardwareFault,
    /// 2.
    TemporaryFailure,
    /// 3.
    ReadWriteDenied,
    /// 4.
    ObjectUndefined,
    /// 9.
    ObjectClassInconsistent,
    /// 11.
    ObjectUnavailable,
    /// 12.
    TypeUnmatched,
    /// 13.
    ScopeOfAccessViolated,
    /// 14.
    DataBlockUnavailable,
    /// 15.
    LongGetAborted,
    /// 16.
    NoLongGet,
    /// 17.
    LongSetAborted,
    /// 18.
    NoLongSet,
    /// 19.
    DataBlockNumberInvalid,
    /// 250.
    OtherReason,
    /// Any other number but 0.
    Other(u8),
}

/// An action-result that is not success has the meaning of the same data-access-result.
pub type ActionResult = Result<(), DataAccessError>;

const NAMES: [(u8, DataAccessError, &str); 15] = [
    (1, DataAccessError::HardwareFault, "hardware-fault"),
    (2, DataAccessError::TemporaryFailure, "temporary-failure"),
    (3, DataAccessError::ReadWriteDenied, "read-write-denied"),
    (4, DataAccessError::ObjectUndefined, "object-undefined"),
    (9, DataAccessError::ObjectClassInconsistent, "object-class-inconsistent"),
    (11, DataAccessError::ObjectUnavailable, "object-unavailable"),
    (12, DataAccessError::TypeUnmatched, "type-unmatched"),
    (13, DataAccessError::ScopeOfAccessViolated, "scope-of-access-violated"),
    (14, DataAccessError::DataBlockUnavailable, "data-block-unavailable"),
    (15, DataAccessError::LongGetAborted, "long-get-aborted"),
    (16, DataAccessError::NoLongGet, "no-long-get-in-progress"),
    (17, DataAccessError::LongSetAborted, "long-set-aborted"),
    (18, DataAccessError::NoLongSet, "no-long-set-in-progress"),
    (19, DataAccessError::DataBlockNumberInvalid, "data-block-number-invalid"),
    (250, DataAccessError::OtherReason, "other-reason"),
];

impl DataAccessError {
    /// A result octet: 0 is success.
    ///
    /// # Errors
    /// The named reason for any other octet.
    pub fn check(octet: u8) -> Result<(), Self> {
        if octet == 0 { Ok(()) } else { Err(Self::from_octet(octet)) }
    }

    /// The reason of an octet that is not 0.
    #[must_use]
    pub fn from_octet(octet: u8) -> Self {
        let named = NAMES.iter().find(|(number, _, _)| *number == octet);
        named.map_or(Self::Other(octet), |(_, reason, _)| *reason)
    }

    /// Its octet.
    #[must_use]
    pub fn to_octet(self) -> u8 {
        if let Self::Other(octet) = self {
            return octet;
        }
        NAMES.iter().find(|(_, reason, _)| *reason == self).map_or(250, |(number, _, _)| *number)
    }

    /// The octet of a result.
    #[must_use]
    pub fn octet_of(result: Result<(), Self>) -> u8 {
        result.map_or_else(Self::to_octet, |()| 0)
    }

    /// The standard's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, reason, _)| *reason == self).map_or("reserved", |(_, _, name)| name)
    }
}

impl std::fmt::Display for DataAccessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.to_octet())
    }
}

impl std::error::Error for DataAccessError {}
