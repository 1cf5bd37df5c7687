//! Protected APDUs (IEC 62056-5-3 clauses 5.3, 6.17): their headers as octets and back. Opening
//! them is `security`'s work.

use std::fmt;

use bytes::Bytes;

use super::tag;
use crate::axdr::{Reader, length_size, put_length, put_octets};
use crate::error::Error;
use crate::security::{SecurityControl, SystemTitle};

/// Octets of the security header: security control and invocation counter.
const HEADER_OCTETS: usize = 5;

/// A glo-, ded-, general-glo- or general-ded-ciphered APDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Tag of the APDU, which says the service (glo, ded) or that the title is inside (general).
    pub tag: u8,
    /// Sender's system title: only in general-glo and general-ded, and there some leave it out.
    pub title: Option<SystemTitle>,
    /// Suite and kind of protection.
    pub control: SecurityControl,
    /// Invocation counter.
    pub counter: u32,
    /// Content, followed by the tag when it is authenticated.
    pub content: Bytes,
}

/// How the key of a general-ciphering APDU is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyInfo {
    /// 0: 0 global unicast, 1 global broadcast encryption key.
    Identified(u8),
    /// 1: a key wrapped by the key with this id (0 = KEK).
    Wrapped(u8, Bytes),
    /// 2: agreed, with parameters and the data of the agreement.
    Agreed {
        /// Key agreement parameters.
        parameters: Bytes,
        /// Ciphered key data (ephemeral public key and signature).
        data: Bytes,
    },
}

/// What stands before the content in general-ciphering and general-signing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GeneralHeader {
    /// Transaction id.
    pub transaction: Bytes,
    /// Originator's system title.
    pub originator: Bytes,
    /// Recipient's system title.
    pub recipient: Bytes,
    /// Date-time, or empty.
    pub date_time: Bytes,
    /// Other information, or empty.
    pub other: Bytes,
}

/// general-ciphering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralCiphering {
    /// From whom, to whom.
    pub header: GeneralHeader,
    /// How the key is found.
    pub key: Option<KeyInfo>,
    /// Suite and kind of protection.
    pub control: SecurityControl,
    /// Invocation counter.
    pub counter: u32,
    /// Content, followed by the tag when it is authenticated.
    pub content: Bytes,
}

/// general-signing.
#[derive(Clone, PartialEq, Eq)]
pub struct GeneralSigning {
    /// From whom, to whom.
    pub header: GeneralHeader,
    /// The APDU that is signed, ciphered or plain.
    pub content: Bytes,
    /// r and s.
    pub signature: Bytes,
}

impl fmt::Debug for GeneralSigning {
    /// A signed initiate-request may hold a dedicated key, so the content is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneralSigning")
            .field("header", &self.header)
            .field("content_octets", &self.content.len())
            .field("signature", &self.signature)
            .finish()
    }
}

/// The glo- tag of a service, or None when the service has none.
#[must_use]
pub const fn glo_tag(plain: u8) -> Option<u8> {
    match plain {
        tag::INITIATE_REQUEST | tag::INITIATE_RESPONSE => Some(plain + 0x20),
        tag::GET_REQUEST..=tag::ACTION_RESPONSE if plain != 0xc6 => Some(plain + 0x08),
        _ => None,
    }
}

/// The ded- tag of a service, or None when the service has none.
#[must_use]
pub const fn ded_tag(plain: u8) -> Option<u8> {
    match plain {
        tag::INITIATE_REQUEST | tag::INITIATE_RESPONSE => Some(plain + 0x40),
        tag::GET_REQUEST..=tag::ACTION_RESPONSE if plain != 0xc6 => Some(plain + 0x10),
        _ => None,
    }
}

const fn is_service_tag(protected: u8) -> bool {
    matches!(protected, 0x21 | 0x28 | 0x41 | 0x48 | 0xc8..=0xcd | 0xcf..=0xd5 | 0xd7)
}

impl Protected {
    /// Decodes `octets` when they are a protected APDU; None for any other tag.
    ///
    /// # Errors
    /// `Malformed` when the header is.
    pub fn decode(octets: &[u8]) -> Result<Option<Self>, Error> {
        let mut reader = Reader::new(octets);
        let tag = reader.u8()?;
        let protected = Self::read(tag, &mut reader)?;
        if protected.is_some() {
            reader.finish()?;
        }
        Ok(protected)
    }

    pub(super) fn read(tag: u8, reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        let title = match tag {
            tag::GENERAL_GLO | tag::GENERAL_DED => match reader.octets()? {
                [] => None,
                title => Some(
                    title
                        .try_into()
                        .map_err(|_| reader.malformed("a system title has 8 octets"))?,
                ),
            },
            _ if is_service_tag(tag) => None,
            _ => return Ok(None),
        };
        let (control, counter, content) = read_content(reader)?;
        Ok(Some(Self { tag, title, control, counter, content }))
    }

    /// Whether it is general-glo or general-ded, which carry the title.
    #[must_use]
    pub const fn is_general(&self) -> bool {
        matches!(self.tag, tag::GENERAL_GLO | tag::GENERAL_DED)
    }

    /// Whether it is under a dedicated key.
    #[must_use]
    pub const fn is_dedicated(&self) -> bool {
        matches!(self.tag, tag::GENERAL_DED | 0x41 | 0x48 | 0xd0..=0xd7)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let title = self.title.as_ref();
        put_head(self.tag, title, self.control, self.counter, self.content.len(), out);
        out.extend_from_slice(&self.content);
    }
}

/// What stands before the content of a protected APDU, with room for the content behind it. The
/// general ones show a title, if only an empty one.
pub(crate) fn head(
    tag: u8,
    title: Option<&SystemTitle>,
    control: SecurityControl,
    counter: u32,
    content_octets: usize,
) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(tag, title, control, counter, content_octets, &mut out);
    out
}

fn put_head(
    tag: u8,
    title: Option<&SystemTitle>,
    control: SecurityControl,
    counter: u32,
    content_octets: usize,
    out: &mut Vec<u8>,
) {
    let length = HEADER_OCTETS + content_octets;
    out.reserve(2 + title.map_or(0, |title| title.len()) + length_size(length) + length);
    out.push(tag);
    if matches!(tag, tag::GENERAL_GLO | tag::GENERAL_DED) {
        put_octets(out, title.map_or(&[], |title| title));
    }
    put_length(out, length);
    out.push(control.0);
    out.extend_from_slice(&counter.to_be_bytes());
}

impl GeneralHeader {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut field = || reader.octets().map(Bytes::copy_from_slice);
        let (transaction, originator, recipient) = (field()?, field()?, field()?);
        let (date_time, other) = (field()?, field()?);
        Ok(Self { transaction, originator, recipient, date_time, other })
    }

    /// Appends the fields, each with its length.
    pub fn put(&self, out: &mut Vec<u8>) {
        let fields =
            [&self.transaction, &self.originator, &self.recipient, &self.date_time, &self.other];
        for field in fields {
            put_octets(out, field);
        }
    }
}

impl GeneralCiphering {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let header = GeneralHeader::read(reader)?;
        // Stricter than elsewhere: this octet is not authenticated, so a changed one is refused.
        let key = match reader.u8()? {
            0 => None,
            1 | 0xff => Some(KeyInfo::read(reader)?),
            _ => return Err(reader.malformed("neither with nor without key information")),
        };
        let (control, counter, content) = read_content(reader)?;
        Ok(Self { header, key, control, counter, content })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::GENERAL_CIPHERING);
        self.header.put(out);
        match &self.key {
            None => out.push(0),
            Some(key) => {
                out.push(1);
                key.put(out);
            }
        }
        put_content(self.control, self.counter, &self.content, out);
    }
}

impl GeneralSigning {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let header = GeneralHeader::read(reader)?;
        let content = Bytes::copy_from_slice(reader.octets()?);
        Ok(Self { header, content, signature: Bytes::copy_from_slice(reader.octets()?) })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::GENERAL_SIGNING);
        self.header.put(out);
        put_octets(out, &self.content);
        put_octets(out, &self.signature);
    }
}

impl KeyInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.u8()? {
            0 => Ok(Self::Identified(reader.u8()?)),
            1 => Ok(Self::Wrapped(reader.u8()?, Bytes::copy_from_slice(reader.octets()?))),
            2 => {
                let parameters = Bytes::copy_from_slice(reader.octets()?);
                Ok(Self::Agreed { parameters, data: Bytes::copy_from_slice(reader.octets()?) })
            }
            _ => Err(reader.malformed("unknown choice of key info")),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Identified(id) => out.extend_from_slice(&[0, *id]),
            Self::Wrapped(id, key) => {
                out.extend_from_slice(&[1, *id]);
                put_octets(out, key);
            }
            Self::Agreed { parameters, data } => {
                out.push(2);
                put_octets(out, parameters);
                put_octets(out, data);
            }
        }
    }
}

fn read_content(reader: &mut Reader<'_>) -> Result<(SecurityControl, u32, Bytes), Error> {
    let at = reader.position();
    let length = reader.length()?;
    if length < HEADER_OCTETS {
        return Err(Error::malformed(at, "a protected APDU shorter than its security header"));
    }
    let base = reader.position();
    let mut part = Reader::with_base(reader.take(length)?, base);
    let control = SecurityControl(part.u8()?);
    let counter = part.u32()?;
    Ok((control, counter, Bytes::copy_from_slice(part.rest())))
}

fn put_content(control: SecurityControl, counter: u32, content: &[u8], out: &mut Vec<u8>) {
    let length = HEADER_OCTETS + content.len();
    out.reserve(length + length_size(length));
    put_length(out, length);
    out.push(control.0);
    out.extend_from_slice(&counter.to_be_bytes());
    out.extend_from_slice(content);
}
