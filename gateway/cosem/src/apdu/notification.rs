//! data-notification and event-notification (IEC 62056-5-3 clauses 6.9, 6.14): what a server
//! sends by itself. Quirks of the field are taken: a date-time sent with its tag, and a body
//! whose attribute descriptors have no tags.

use super::{AttributeRef, LongInvokePriority, tag};
use crate::axdr::{Reader, put_length, put_octets};
use crate::data::{Data, tag as data_tag};
use crate::datetime::DateTime;
use crate::error::Error;

/// The body of a data-notification.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One value, as the standard has it.
    Data(Data),
    /// structure {kind, array of structure {untagged class, logical name, attribute; value}}: a
    /// quirk of EG.D and Sagemcom XT211 pushes that is not A-XDR.
    Described {
        /// First field of the structure.
        kind: Data,
        /// What is pushed.
        items: Vec<(AttributeRef, Data)>,
    },
}

/// data-notification.
#[derive(Debug, Clone, PartialEq)]
pub struct DataNotification {
    /// Invoke id and flags.
    pub invoke: LongInvokePriority,
    /// When it was sent.
    pub date_time: Option<DateTime>,
    /// What is told.
    pub body: Body,
}

/// event-notification-request.
#[derive(Debug, Clone, PartialEq)]
pub struct EventNotification {
    /// When it happened.
    pub time: Option<DateTime>,
    /// What changed.
    pub attribute: AttributeRef,
    /// Its value.
    pub value: Data,
}

impl DataNotification {
    /// A notification of `data`.
    #[must_use]
    pub const fn new(invoke: LongInvokePriority, date_time: Option<DateTime>, data: Data) -> Self {
        Self { invoke, date_time, body: Body::Data(data) }
    }

    /// The one value of a body that is plain A-XDR.
    #[must_use]
    pub const fn data(&self) -> Option<&Data> {
        if let Body::Data(data) = &self.body { Some(data) } else { None }
    }

    /// The octets of the body of an encoded data-notification, for decoders that read rows
    /// without building `Data`.
    ///
    /// # Errors
    /// `Malformed` when it is not a data-notification.
    pub fn body_octets(apdu: &[u8]) -> Result<&[u8], Error> {
        let mut reader = Reader::new(apdu);
        if reader.u8()? != tag::DATA_NOTIFICATION {
            return Err(Error::malformed(0, "not a data-notification"));
        }
        reader.u32()?;
        read_date_time(&mut reader)?;
        Ok(reader.rest())
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let invoke = LongInvokePriority(reader.u32()?);
        let date_time = read_date_time(reader)?;
        // The body is the rest, so a body that does not end with it is not plain A-XDR.
        let mut plain = reader.clone();
        let data = Data::from_axdr(&mut plain).and_then(|data| plain.finish().map(|()| data));
        let body = match data {
            Ok(data) => Body::Data(data),
            Err(error) => match read_described(&mut reader.clone()) {
                Ok(body) => body,
                Err(_) => return Err(error),
            },
        };
        reader.take(reader.remaining())?;
        Ok(Self { invoke, date_time, body })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::DATA_NOTIFICATION);
        out.extend_from_slice(&self.invoke.0.to_be_bytes());
        match self.date_time {
            None => out.push(0),
            Some(date_time) => put_octets(out, &date_time.to_octets()),
        }
        match &self.body {
            Body::Data(data) => data.encode(out),
            Body::Described { kind, items } => {
                out.extend_from_slice(&[data_tag::STRUCTURE, 2]);
                kind.encode(out);
                out.push(data_tag::ARRAY);
                put_length(out, items.len());
                for (attribute, value) in items {
                    out.extend_from_slice(&[data_tag::STRUCTURE, 2]);
                    attribute.put(out);
                    value.encode(out);
                }
            }
        }
    }
}

impl EventNotification {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let time = match reader.u8()? {
            0 => None,
            // 01 announces an optional component; 09 is the tag of an octet-string, which the
            // field sends in its place.
            1 | data_tag::OCTET_STRING => date_time_of(reader)?,
            _ => return Err(reader.malformed("unknown form of the time of an event")),
        };
        let attribute = AttributeRef::read(reader)?;
        Ok(Self { time, attribute, value: Data::from_axdr(reader)? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::EVENT_NOTIFICATION);
        match self.time {
            None => out.push(0),
            Some(time) => {
                out.push(1);
                put_octets(out, &time.to_octets());
            }
        }
        self.attribute.put(out);
        self.value.encode(out);
    }
}

/// Takes an octet-string of 0 or 12 octets; its tag before it (09 0C) is a quirk of the field,
/// and cannot be confused, since no date-time has 9 octets.
fn read_date_time(reader: &mut Reader<'_>) -> Result<Option<DateTime>, Error> {
    if reader.rest().starts_with(&[data_tag::OCTET_STRING, 0x0c]) {
        reader.u8()?;
    }
    date_time_of(reader)
}

fn date_time_of(reader: &mut Reader<'_>) -> Result<Option<DateTime>, Error> {
    match reader.length()? {
        0 => Ok(None),
        12 => Ok(Some(DateTime::from_octets(reader.array()?))),
        _ => Err(reader.malformed("a date-time has 12 octets")),
    }
}

fn read_described(reader: &mut Reader<'_>) -> Result<Body, Error> {
    let refused = "not structure {value, array of described values}";
    if reader.array()? != [data_tag::STRUCTURE, 2] {
        return Err(reader.malformed(refused));
    }
    let kind = Data::from_axdr(reader)?;
    if reader.u8()? != data_tag::ARRAY {
        return Err(reader.malformed(refused));
    }
    let count = reader.count()?;
    let mut items = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        if reader.array()? != [data_tag::STRUCTURE, 2] {
            return Err(reader.malformed(refused));
        }
        items.push((AttributeRef::read(reader)?, Data::from_axdr(reader)?));
    }
    reader.finish()?;
    Ok(Body::Described { kind, items })
}
