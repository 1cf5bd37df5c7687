//! ACSE: AARQ, AARE, RLRQ and RLRE (IEC 62056-5-3 clauses 7.3, 8), which open and close an
//! association. It judges nothing: `association` does.
//!
//! Quirk taken: an accepted AARE without mechanism name (the Green Book's own example has none).

use bytes::Bytes;

use crate::apdu::tag;
use crate::axdr::{Reader, put_octets};
use crate::ber;
use crate::error::Error;

/// Object identifiers of DLMS UA up to the last two arcs: {2 16 756 5 8}.
const DLMS_UA: [u8; 5] = [0x60, 0x85, 0x74, 0x05, 0x08];
/// Arc of application contexts.
const ARC_CONTEXT: u8 = 1;
/// Arc of mechanism names.
const ARC_MECHANISM: u8 = 2;
/// acse-requirements with the authentication bit: BIT STRING of 1 bit.
const REQUIREMENTS: [u8; 2] = [0x07, 0x80];

/// An application context, by its last arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApplicationContext(pub u8);

impl ApplicationContext {
    /// Logical-name referencing without ciphering.
    pub const LOGICAL_NAME: Self = Self(1);
    /// Short-name referencing without ciphering.
    pub const SHORT_NAME: Self = Self(2);
    /// Logical-name referencing with ciphering.
    pub const LOGICAL_NAME_CIPHERED: Self = Self(3);
    /// Short-name referencing with ciphering.
    pub const SHORT_NAME_CIPHERED: Self = Self(4);
}

/// An authentication mechanism, by its last arc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mechanism(pub u8);

impl Mechanism {
    /// No authentication.
    pub const NONE: Self = Self(0);
    /// Password.
    pub const LLS: Self = Self(1);
    /// The manufacturer's own.
    pub const HLS_MANUFACTURER: Self = Self(2);
    /// MD5.
    pub const HLS_MD5: Self = Self(3);
    /// SHA-1.
    pub const HLS_SHA1: Self = Self(4);
    /// GMAC.
    pub const HLS_GMAC: Self = Self(5);
    /// SHA-256.
    pub const HLS_SHA256: Self = Self(6);
    /// ECDSA.
    pub const HLS_ECDSA: Self = Self(7);
}

/// AARQ.
#[derive(Clone, PartialEq, Eq)]
pub struct Aarq {
    /// Application context.
    pub context: ApplicationContext,
    /// System title of the client.
    pub calling_title: Option<Bytes>,
    /// Client user, a BER integer.
    pub calling_user: Option<Bytes>,
    /// Mechanism, when it authenticates.
    pub mechanism: Option<Mechanism>,
    /// Password (LLS) or challenge (HLS).
    pub authentication: Option<Bytes>,
    /// initiate-request, plain or ciphered.
    pub user_information: Option<Bytes>,
}

/// AARE.
#[derive(Clone, PartialEq, Eq)]
pub struct Aare {
    /// Application context.
    pub context: ApplicationContext,
    /// Accepted or not.
    pub result: AssociateResult,
    /// Why.
    pub diagnostic: Diagnostic,
    /// System title of the server.
    pub responding_title: Option<Bytes>,
    /// Mechanism, when the server names it.
    pub mechanism: Option<Mechanism>,
    /// Challenge (HLS).
    pub authentication: Option<Bytes>,
    /// initiate-response or confirmed-service-error, plain or ciphered.
    pub user_information: Option<Bytes>,
}

/// Result of an AARE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssociateResult {
    /// 0.
    Accepted,
    /// 1.
    RejectedPermanent,
    /// 2.
    RejectedTransient,
}

/// Diagnostic of an AARE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Diagnostic {
    /// From the service user: 0 null, 1 no reason, 2 context not supported, 11 mechanism not
    /// recognised, 12 mechanism required, 13 authentication failure, 14 authentication required.
    User(u8),
    /// From the service provider: 0 null, 1 no reason, 2 no common version.
    Provider(u8),
}

impl Diagnostic {
    /// Nothing to say.
    pub const NULL: Self = Self::User(0);
    /// No reason is given.
    pub const NO_REASON: Self = Self::User(1);
    /// The application context is not supported.
    pub const CONTEXT_NOT_SUPPORTED: Self = Self::User(2);
    /// The system title of the client is not known.
    pub const CALLING_TITLE_NOT_RECOGNISED: Self = Self::User(3);
    /// The mechanism is not recognised.
    pub const MECHANISM_NOT_RECOGNISED: Self = Self::User(11);
    /// A mechanism is required.
    pub const MECHANISM_REQUIRED: Self = Self::User(12);
    /// Authentication failed.
    pub const AUTHENTICATION_FAILURE: Self = Self::User(13);
    /// Passes 3 and 4 of HLS follow.
    pub const AUTHENTICATION_REQUIRED: Self = Self::User(14);
}

/// RLRQ or RLRE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// 0 normal, 1 urgent (or not finished), 30 user defined.
    pub reason: Option<u8>,
    /// initiate-request or -response, as a rule ciphered.
    pub user_information: Option<Bytes>,
}

/// Passwords travel in AARQ, so Debug shows that they are there and not what they are.
macro_rules! debug_without_authentication {
    ($name:ident, $($field:ident),+) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))+
                    .field("authentication", &self.authentication.as_ref().map(|_| ".."))
                    .finish()
            }
        }
    };
}
debug_without_authentication!(Aarq, context, calling_title, mechanism, user_information);
debug_without_authentication!(
    Aare,
    context,
    result,
    diagnostic,
    responding_title,
    mechanism,
    user_information
);

impl Aarq {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut body = body(reader)?;
        let mut context = None;
        let mut apdu = Self {
            context: ApplicationContext::LOGICAL_NAME,
            calling_title: None,
            calling_user: None,
            mechanism: None,
            authentication: None,
            user_information: None,
        };
        while !body.is_empty() {
            let field = ber::element(&mut body)?;
            match field.tag {
                0xa1 => context = Some(ApplicationContext(oid(&field.inner(0x06)?, ARC_CONTEXT)?)),
                0xa6 => apdu.calling_title = Some(octets(&field.inner(0x04)?)),
                0xa9 => apdu.calling_user = Some(octets(&field.inner(0x02)?)),
                0x8b => apdu.mechanism = Some(Mechanism(oid(&field, ARC_MECHANISM)?)),
                0xac => apdu.authentication = Some(octets(&field.inner(0x80)?)),
                0xbe => apdu.user_information = Some(octets(&field.inner(0x04)?)),
                // Protocol version, requirements, called and calling titles and qualifiers.
                0x80 | 0x8a | 0xa2..=0xa5 | 0xa7 | 0xa8 | 0xbd => {}
                _ => return Err(Error::malformed(field.base, "unknown field of an AARQ")),
            }
        }
        apdu.context = context.ok_or_else(|| body.malformed("an AARQ without context"))?;
        Ok(apdu)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        put_oid(&mut body, 0xa1, ARC_CONTEXT, self.context.0);
        put_inner(&mut body, 0xa6, 0x04, self.calling_title.as_deref());
        put_inner(&mut body, 0xa9, 0x02, self.calling_user.as_deref());
        if let Some(mechanism) = self.mechanism {
            ber::put(&mut body, 0x8a, &REQUIREMENTS);
            ber::put(&mut body, 0x8b, &full_oid(ARC_MECHANISM, mechanism.0));
        }
        put_inner(&mut body, 0xac, 0x80, self.authentication.as_deref());
        put_inner(&mut body, 0xbe, 0x04, self.user_information.as_deref());
        ber::put(out, tag::AARQ, &body);
    }
}

impl Aare {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut body = body(reader)?;
        let (mut context, mut result, mut diagnostic) = (None, None, None);
        let (mut responding_title, mut mechanism) = (None, None);
        let (mut authentication, mut user_information) = (None, None);
        while !body.is_empty() {
            let field = ber::element(&mut body)?;
            match field.tag {
                0xa1 => context = Some(ApplicationContext(oid(&field.inner(0x06)?, ARC_CONTEXT)?)),
                0xa2 => result = Some(associate_result(&field.inner(0x02)?)?),
                0xa3 => diagnostic = Some(read_diagnostic(&field)?),
                0xa4 => responding_title = Some(octets(&field.inner(0x04)?)),
                0x89 => mechanism = Some(Mechanism(oid(&field, ARC_MECHANISM)?)),
                0xaa => authentication = Some(octets(&field.inner(0x80)?)),
                0xbe => user_information = Some(octets(&field.inner(0x04)?)),
                // Protocol version, requirements, qualifiers.
                0x80 | 0x88 | 0xa5..=0xa7 | 0xbd => {}
                _ => return Err(Error::malformed(field.base, "unknown field of an AARE")),
            }
        }
        let missing = |what| Error::malformed(body.position(), what);
        Ok(Self {
            context: context.ok_or_else(|| missing("an AARE without context"))?,
            result: result.ok_or_else(|| missing("an AARE without result"))?,
            diagnostic: diagnostic.ok_or_else(|| missing("an AARE without diagnostic"))?,
            responding_title,
            mechanism,
            authentication,
            user_information,
        })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        put_oid(&mut body, 0xa1, ARC_CONTEXT, self.context.0);
        let result = match self.result {
            AssociateResult::Accepted => 0,
            AssociateResult::RejectedPermanent => 1,
            AssociateResult::RejectedTransient => 2,
        };
        ber::put(&mut body, 0xa2, &[0x02, 1, result]);
        let (source, value) = match self.diagnostic {
            Diagnostic::User(value) => (0xa1, value),
            Diagnostic::Provider(value) => (0xa2, value),
        };
        ber::put(&mut body, 0xa3, &[source, 3, 0x02, 1, value]);
        put_inner(&mut body, 0xa4, 0x04, self.responding_title.as_deref());
        if let Some(mechanism) = self.mechanism {
            ber::put(&mut body, 0x88, &REQUIREMENTS);
            ber::put(&mut body, 0x89, &full_oid(ARC_MECHANISM, mechanism.0));
        }
        put_inner(&mut body, 0xaa, 0x80, self.authentication.as_deref());
        put_inner(&mut body, 0xbe, 0x04, self.user_information.as_deref());
        ber::put(out, tag::AARE, &body);
    }
}

impl Release {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut body = body(reader)?;
        let mut release = Self::default();
        while !body.is_empty() {
            let field = ber::element(&mut body)?;
            match field.tag {
                0x80 => release.reason = Some(field.reader().u8()?),
                0xbe => release.user_information = Some(octets(&field.inner(0x04)?)),
                _ => return Err(Error::malformed(field.base, "unknown field of a release")),
            }
        }
        Ok(release)
    }

    pub(crate) fn put(&self, tag: u8, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        if let Some(reason) = self.reason {
            ber::put(&mut body, 0x80, &[reason]);
        }
        put_inner(&mut body, 0xbe, 0x04, self.user_information.as_deref());
        ber::put(out, tag, &body);
    }
}

fn body<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, Error> {
    let length = reader.length()?;
    let base = reader.position();
    Ok(Reader::with_base(reader.take(length)?, base))
}

fn octets(element: &ber::Element<'_>) -> Bytes {
    Bytes::copy_from_slice(element.content)
}

/// The last arc of an object identifier of DLMS UA under `arc`.
fn oid(element: &ber::Element<'_>, arc: u8) -> Result<u8, Error> {
    match element.content.strip_prefix(&DLMS_UA) {
        Some(&[found, last]) if found == arc => Ok(last),
        _ => Err(Error::malformed(element.base, "an object identifier that is not DLMS UA's")),
    }
}

fn full_oid(arc: u8, last: u8) -> [u8; 7] {
    let [a, b, c, d, e] = DLMS_UA;
    [a, b, c, d, e, arc, last]
}

fn put_oid(out: &mut Vec<u8>, tag: u8, arc: u8, last: u8) {
    put_inner(out, tag, 0x06, Some(&full_oid(arc, last)));
}

fn put_inner(out: &mut Vec<u8>, tag: u8, inner: u8, content: Option<&[u8]>) {
    if let Some(content) = content {
        let mut field = vec![inner];
        put_octets(&mut field, content);
        ber::put(out, tag, &field);
    }
}

fn associate_result(element: &ber::Element<'_>) -> Result<AssociateResult, Error> {
    match element.content {
        [0] => Ok(AssociateResult::Accepted),
        [1] => Ok(AssociateResult::RejectedPermanent),
        [2] => Ok(AssociateResult::RejectedTransient),
        _ => Err(Error::malformed(element.base, "unknown result of an AARE")),
    }
}

fn read_diagnostic(field: &ber::Element<'_>) -> Result<Diagnostic, Error> {
    let mut reader = field.reader();
    let source = ber::element(&mut reader)?;
    match (source.tag, source.inner(0x02)?.content) {
        (0xa1, [value]) => Ok(Diagnostic::User(*value)),
        (0xa2, [value]) => Ok(Diagnostic::Provider(*value)),
        _ => Err(Error::malformed(field.base, "unknown diagnostic of an AARE")),
    }
}
