//! The few BER shapes that ACSE needs (X.690): one-octet tags and definite lengths. It is not a
//! general BER codec.
//!
//! Invariant: as in `axdr`, no length is believed before the octets are there.

use crate::axdr::{Reader, put_octets};
use crate::error::Error;

/// One tag with its content; `base` is the offset of the content in the whole.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Tag octet.
    pub tag: u8,
    /// Content octets.
    pub content: &'a [u8],
    /// Offset of the content, for errors.
    pub base: usize,
}

impl<'a> Element<'a> {
    /// A reader over the content.
    #[must_use]
    pub const fn reader(&self) -> Reader<'a> {
        Reader::with_base(self.content, self.base)
    }

    /// The one element that the content consists of, which must have `tag`.
    ///
    /// # Errors
    /// `Malformed` when the tag differs or octets are left over.
    pub fn inner(&self, tag: u8) -> Result<Element<'a>, Error> {
        let mut reader = self.reader();
        let inner = element(&mut reader)?;
        if inner.tag != tag {
            return Err(Error::malformed(self.base, "an ACSE field of another type"));
        }
        reader.finish()?;
        Ok(inner)
    }
}

/// Takes one element.
///
/// # Errors
/// `Malformed` when the length goes beyond the octets.
pub fn element<'a>(reader: &mut Reader<'a>) -> Result<Element<'a>, Error> {
    let tag = reader.u8()?;
    let length = reader.length()?;
    let base = reader.position();
    let content = reader.take(length)?;
    Ok(Element { tag, content, base })
}

/// Appends one element.
pub fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_octets(out, content);
}
