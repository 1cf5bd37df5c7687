//! Class 40, push setup (Blue Book 4.4.8): what a device sends by itself, when, and to whom. What
//! is done with a push is not known here.
//!
//! Invariant: an element of the object list keeps the fields that its version has, so it is
//! written as it was read.

use bytes::Bytes;

use super::profile::CaptureObject;
use super::value::{Coded, Wrong, class, codes, field, structure};
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::Data;
use crate::datetime::DateTime;

/// An object that is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct PushObject {
    /// What is sent.
    pub object: CaptureObject,
    /// Which rows of it, since version 1.
    pub restriction: Option<Restriction>,
    /// Which columns of it, since version 2.
    pub columns: Option<Vec<CaptureObject>>,
}

codes! {
    /// How rows are chosen.
    RestrictionType {
        /// All.
        0 None,
        /// By date.
        1 Date,
        /// By entry.
        2 Entry,
    }
}

structure! {
    /// Which rows are sent.
    Restriction {
        /// How they are chosen.
        restriction_type: RestrictionType,
        /// Null-data, or a structure of two limits.
        restriction_value: Data,
    }
}

impl Coded for PushObject {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        let object = Coded::from_data(data)?;
        let fields = data.as_structure().unwrap_or_default();
        if fields.len() > 6 {
            return Err(Wrong::expected("at most six fields"));
        }
        let restriction =
            fields.get(4).map(|data| field(Some(data), "restriction_element")).transpose()?;
        let columns = fields.get(5).map(|data| field(Some(data), "columns")).transpose()?;
        Ok(Self { object, restriction, columns })
    }

    fn to_data(&self) -> Data {
        let object = Coded::to_data(&self.object);
        let mut fields = object.as_structure().unwrap_or_default().to_vec();
        let none =
            Restriction { restriction_type: RestrictionType::None, restriction_value: Data::Null };
        match (&self.restriction, &self.columns) {
            (None, None) => {}
            (Some(restriction), None) => fields.push(restriction.to_data()),
            (restriction, Some(columns)) => {
                fields.push(restriction.as_ref().unwrap_or(&none).to_data());
                fields.push(columns.to_data());
            }
        }
        Data::Structure(fields)
    }
}

codes! {
    /// How a push travels.
    Transport {
        /// TCP.
        0 Tcp,
        /// UDP.
        1 Udp,
        /// FTP.
        2 Ftp,
        /// SMTP.
        3 Smtp,
        /// SMS.
        4 Sms,
        /// HDLC.
        5 Hdlc,
        /// M-Bus.
        6 MBus,
        /// ZigBee.
        7 Zigbee,
        /// The DLMS gateway.
        8 Gateway,
    }
}

structure! {
    /// Where a push goes.
    Destination {
        /// How it travels.
        transport_service: Transport,
        /// To whom, as the transport writes it.
        destination: Bytes,
        /// How it is encoded: 0 an A-XDR xDLMS APDU, 1 XML.
        message: Message,
    }
}

codes! {
    /// How a push is encoded.
    Message {
        /// A-XDR.
        0 Axdr,
        /// XML.
        1 Xml,
    }
}

structure! {
    /// A span in which pushes may be sent.
    Window {
        /// From.
        start_time: DateTime,
        /// To.
        end_time: DateTime,
    }
}

/// The pause before a push is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepetitionDelay {
    /// Always the same, seconds: versions 0 and 1.
    Fixed(u16),
    /// Growing: version 2.
    Growing {
        /// The first one, seconds.
        min_s: u16,
        /// Growth, in hundredths.
        exponent: u16,
        /// The longest one, seconds.
        max_s: u16,
    },
}

impl Coded for RepetitionDelay {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data.as_structure() {
            None => u16::from_data(data).map(Self::Fixed),
            Some([min_s, exponent, max_s]) => Ok(Self::Growing {
                min_s: field(Some(min_s), "repetition_delay_min")?,
                exponent: field(Some(exponent), "repetition_delay_exponent")?,
                max_s: field(Some(max_s), "repetition_delay_max")?,
            }),
            Some(_) => Err(Wrong::expected("a structure of three")),
        }
    }

    fn to_data(&self) -> Data {
        match self {
            Self::Fixed(seconds) => seconds.to_data(),
            Self::Growing { min_s, exponent, max_s } => {
                Data::Structure([min_s, exponent, max_s].map(Coded::to_data).to_vec())
            }
        }
    }
}

/// The port that a push leaves by; a device with one port names none, by an empty octet-string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortReference(pub Option<LogicalName>);

impl Coded for PortReference {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data.as_octets() {
            Some([]) => Ok(Self(None)),
            _ => Option::from_data(data).map(Self),
        }
    }

    fn to_data(&self) -> Data {
        self.0.map_or_else(|| Data::octets(&[]), |name| name.to_data())
    }
}

codes! {
    /// Whether a push wants an answer.
    OperationMethod {
        /// Sent, no answer, sent again only when it could not be sent.
        0 UnconfirmedRetryOnLower,
        /// Sent, no answer, sent again when the other end did not take it.
        1 UnconfirmedRetryOnMissing,
        /// Sent, confirmed, sent again without confirmation.
        2 Confirmed,
    }
}

structure! {
    /// What of the rows is sent again without a confirmation.
    ConfirmationParameters {
        /// From this time on.
        confirmation_start_date: DateTime,
        /// So many seconds at most.
        confirmation_interval: u32,
    }
}

class! {
    /// Class 40, push setup.
    PushSetup, 40, "push setup", versions 0 to 2;
    attributes {
        /// push_object_list.
        2 OBJECT_LIST push_object_list: Vec<PushObject>,
        /// send_destination_and_method.
        3 DESTINATION send_destination_and_method: Destination,
        /// communication_window.
        4 WINDOW communication_window: Vec<Window>,
        /// randomisation_start_interval, seconds.
        5 RANDOMISATION randomisation_start_interval: u16,
        /// number_of_retries.
        6 RETRIES number_of_retries: u8,
        /// repetition_delay.
        7 REPETITION_DELAY repetition_delay: RepetitionDelay,
        /// port_reference.
        8 / 1 PORT_REFERENCE port_reference: PortReference,
        /// push_client_SAP.
        9 / 1 PUSH_CLIENT_SAP push_client_sap: i8,
        /// push_protection_parameters.
        10 / 1 PROTECTION push_protection_parameters: Vec<Data>,
        /// push_operation_method.
        11 / 2 OPERATION_METHOD push_operation_method: OperationMethod,
        /// confirmation_parameters.
        12 / 2 CONFIRMATION confirmation_parameters: ConfirmationParameters,
        /// last_confirmation_date_time.
        13 / 2 LAST_CONFIRMATION last_confirmation_date_time: DateTime,
    }
    methods {
        /// Method push.
        1 PUSH "push",
        /// Method reset.
        2 / 2 RESET "reset",
    }
}

/// Pushes now.
#[must_use]
pub fn push(name: LogicalName) -> Call {
    call(ID, name, PUSH, &0i8)
}

/// Forgets what is to be sent again.
#[must_use]
pub fn reset(name: LogicalName) -> Call {
    call(ID, name, RESET, &0i8)
}
