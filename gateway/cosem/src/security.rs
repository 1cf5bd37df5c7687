//! Protection of APDUs with security suite 0 (IEC 62056-5-3 clause 5.3): AES-GCM-128 with a tag of
//! 12 octets, GMAC, the values of HLS passes 3 and 4. The primitives come from RustCrypto; nothing
//! here is a cipher of its own, and nothing draws random numbers.
//!
//! Invariants: keys are wiped on drop and never printed; a tag is checked in constant time and
//! before any plaintext leaves; the caller never reuses a pair of title and counter.

use std::fmt;

use aes::Aes128;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, Nonce, Tag};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::apdu::Protected;
use crate::apdu::tag as apdu_tag;
use crate::error::Error;

/// System title: three letters of the manufacturer and a number, 8 octets.
pub type SystemTitle = [u8; 8];

/// Octets of an authentication tag.
pub const TAG_OCTETS: usize = 12;
/// Octets of the value of an HLS 5 pass: security control, counter, tag.
pub const HLS5_OCTETS: usize = 17;

type Gcm = AesGcm<Aes128, U12, U12>;

/// Security control: the low 4 bits are the suite.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecurityControl(pub u8);

impl SecurityControl {
    /// Suite 0 without protection.
    pub const NONE: Self = Self(0x00);
    /// Suite 0, authenticated.
    pub const AUTHENTICATED: Self = Self(0x10);
    /// Suite 0, encrypted.
    pub const ENCRYPTED: Self = Self(0x20);
    /// Suite 0, authenticated and encrypted.
    pub const BOTH: Self = Self(0x30);

    /// The suite.
    #[must_use]
    pub const fn suite(self) -> u8 {
        self.0 & 0x0f
    }

    /// Whether there is a tag.
    #[must_use]
    pub const fn is_authenticated(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Whether the content is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Whether the broadcast key is used.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Whether the content is compressed.
    #[must_use]
    pub const fn is_compressed(self) -> bool {
        self.0 & 0x80 != 0
    }
}

impl fmt::Debug for SecurityControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecurityControl({:02x})", self.0)
    }
}

/// A secret of any length (LLS password); wiped on drop, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a copy of the secret.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self(Zeroizing::new(octets.to_vec()))
    }

    /// The octets, for the frame that has to carry them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `octets` are the secret, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, octets: &[u8]) -> bool {
        self.0.ct_eq(octets).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The two global keys of a device for suite 0; wiped on drop, never printed.
#[derive(Clone)]
pub struct Keys {
    // Boxed so that moving keys leaves no copies of them behind on the stack.
    cipher: Box<Gcm>,
    gak: Zeroizing<[u8; 16]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// From the global unicast encryption key and the global authentication key.
    #[must_use]
    pub fn new(guek: &[u8; 16], gak: &[u8; 16]) -> Self {
        Self { cipher: Box::new(Gcm::new(guek.into())), gak: Zeroizing::new(*gak) }
    }

    /// Security control and authentication key, the head of the authenticated data.
    fn associated(&self, control: SecurityControl) -> Zeroizing<[u8; 17]> {
        let mut associated = Zeroizing::new([control.0; 17]);
        associated[1..].copy_from_slice(&*self.gak);
        associated
    }

    /// The same, followed by octets that are authenticated but not encrypted.
    fn associated_with(&self, control: SecurityControl, octets: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut associated = Zeroizing::new(Vec::with_capacity(17 + octets.len()));
        associated.extend_from_slice(&*self.associated(control));
        associated.extend_from_slice(octets);
        associated
    }
}

/// The initialisation vector: system title, then invocation counter.
fn nonce(title: &SystemTitle, counter: u32) -> Nonce<U12> {
    let mut nonce = Nonce::<U12>::default();
    let (head, tail) = nonce.split_at_mut(8);
    head.copy_from_slice(title);
    tail.copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// Only suite 0 with the unicast key and without compression can be handled.
fn supported(control: SecurityControl) -> Result<(), Error> {
    match control {
        _ if control.suite() != 0 => Err(Error::Suite(control.suite())),
        _ if control.is_compressed() => Err(Error::Protection("compressed")),
        _ if control.is_broadcast() => Err(Error::Protection("under the broadcast key")),
        _ => Ok(()),
    }
}

/// Protects `plaintext`: content, followed by the tag when `control` authenticates.
///
/// # Errors
/// `Suite` or `Protection` for what suite 0 with a unicast key cannot do.
pub fn seal(
    keys: &Keys,
    control: SecurityControl,
    title: &SystemTitle,
    counter: u32,
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    supported(control)?;
    let mut content = Vec::with_capacity(plaintext.len() + TAG_OCTETS);
    content.extend_from_slice(plaintext);
    let nonce = nonce(title, counter);
    let too_long = |_| Error::TooLong { length: plaintext.len(), limit: u32::MAX as usize };
    if control.is_encrypted() {
        let associated = keys.associated(control);
        let associated = if control.is_authenticated() { &associated[..] } else { &[] };
        let buffer = content.as_mut_slice().into();
        let tag = keys.cipher.encrypt_inout_detached(&nonce, associated, buffer);
        let tag = tag.map_err(too_long)?;
        if control.is_authenticated() {
            content.extend_from_slice(&tag);
        }
    } else if control.is_authenticated() {
        let associated = keys.associated_with(control, plaintext);
        let tag = keys.cipher.encrypt_inout_detached(&nonce, &associated, (&mut [][..]).into());
        content.extend_from_slice(&tag.map_err(too_long)?);
    }
    Ok(content)
}

/// Opens what `seal` made: the plaintext.
///
/// # Errors
/// `BadTag` when the tag does not verify, `Malformed` when there is none though `control` says
/// so, `Suite` or `Protection` for what suite 0 with a unicast key cannot do.
pub fn open(
    keys: &Keys,
    control: SecurityControl,
    title: &SystemTitle,
    counter: u32,
    content: &[u8],
) -> Result<Vec<u8>, Error> {
    supported(control)?;
    let nonce = nonce(title, counter);
    if !control.is_authenticated() {
        let mut plaintext = content.to_vec();
        if control.is_encrypted() {
            // GCM encrypts with a key stream, so encrypting again opens; there is no tag.
            let buffer = plaintext.as_mut_slice().into();
            let opened = keys.cipher.encrypt_inout_detached(&nonce, &[], buffer);
            opened.map_err(|_| Error::BadTag)?;
        }
        return Ok(plaintext);
    }
    let Some((body, tag)) = content.split_last_chunk::<TAG_OCTETS>() else {
        return Err(Error::malformed(0, "an authenticated APDU shorter than its tag"));
    };
    let tag = Tag::<U12>::from(*tag);
    if control.is_encrypted() {
        let mut plaintext = body.to_vec();
        let associated = keys.associated(control);
        let buffer = plaintext.as_mut_slice().into();
        let opened = keys.cipher.decrypt_inout_detached(&nonce, &associated[..], buffer, &tag);
        opened.map_err(|_| Error::BadTag)?;
        return Ok(plaintext);
    }
    let associated = keys.associated_with(control, body);
    let empty = (&mut [][..]).into();
    let opened = keys.cipher.decrypt_inout_detached(&nonce, &associated, empty, &tag);
    opened.map_err(|_| Error::BadTag)?;
    Ok(body.to_vec())
}

/// Opens a protected APDU that must be protected at least as `required`.
///
/// # Errors
/// As `open`; `Protection` when a protection that is required is missing.
pub fn open_apdu(
    keys: &Keys,
    required: SecurityControl,
    title: &SystemTitle,
    protected: &Protected,
) -> Result<Vec<u8>, Error> {
    let Protected { control, counter, content, .. } = protected;
    if required.is_authenticated() && !control.is_authenticated() {
        return Err(Error::Protection("not authenticated"));
    }
    if required.is_encrypted() && !control.is_encrypted() {
        return Err(Error::Protection("not encrypted"));
    }
    open(keys, *control, title, *counter, content)
}

/// Protects a whole APDU under the glo- tag of its service, or as general-glo when it has none.
///
/// # Errors
/// As `seal`; `Malformed` for an empty APDU.
pub fn seal_apdu(
    keys: &Keys,
    control: SecurityControl,
    title: &SystemTitle,
    counter: u32,
    apdu: &[u8],
) -> Result<Protected, Error> {
    let plain = *apdu.first().ok_or(Error::malformed(0, "an empty APDU"))?;
    let content = seal(keys, control, title, counter, apdu)?.into();
    let service = crate::apdu::ciphered::glo_tag(plain);
    let tag = service.unwrap_or(apdu_tag::GENERAL_GLO);
    let title = if service.is_some() { None } else { Some(*title) };
    Ok(Protected { tag, title, control, counter, content })
}

/// The value of an HLS 5 pass: 10, counter, GMAC over security control, authentication key and
/// the other side's challenge, under the sender's title (IEC 62056-5-3 clause 5.3.3).
#[must_use]
pub fn hls5_reply(
    keys: &Keys,
    title: &SystemTitle,
    counter: u32,
    challenge: &[u8],
) -> [u8; HLS5_OCTETS] {
    let control = SecurityControl::AUTHENTICATED;
    let associated = keys.associated_with(control, challenge);
    let nonce = nonce(title, counter);
    let tag = keys
        .cipher
        .encrypt_inout_detached(&nonce, &associated, (&mut [][..]).into())
        .expect("a challenge is far shorter than the 2^36 octets that GCM can take");
    let mut reply = [0; HLS5_OCTETS];
    reply[0] = control.0;
    reply[1..5].copy_from_slice(&counter.to_be_bytes());
    reply[5..].copy_from_slice(&tag);
    reply
}

/// Checks the value of an HLS 5 pass that came from the side with `title`; gives its counter.
///
/// # Errors
/// `BadTag` when it does not verify, `Malformed` for another shape.
pub fn hls5_verify(
    keys: &Keys,
    title: &SystemTitle,
    challenge: &[u8],
    reply: &[u8],
) -> Result<u32, Error> {
    let mut reader = crate::axdr::Reader::new(reply);
    let control = SecurityControl(reader.u8()?);
    let counter = reader.u32()?;
    let tag = Tag::<U12>::from(reader.array::<TAG_OCTETS>()?);
    reader.finish()?;
    if control != SecurityControl::AUTHENTICATED {
        return Err(Error::Protection("an HLS 5 value with another security control"));
    }
    let associated = keys.associated_with(control, challenge);
    let nonce = nonce(title, counter);
    let empty = (&mut [][..]).into();
    let checked = keys.cipher.decrypt_inout_detached(&nonce, &associated, empty, &tag);
    checked.map(|()| counter).map_err(|_| Error::BadTag)
}

#[cfg(test)]
mod tests {
    use super::{Keys, Secret, SecurityControl, hls5_reply, hls5_verify, open, seal};
    use crate::error::Error;

    const TITLE: [u8; 8] = *b"MMM\0\0\0\0\x01";

    fn keys() -> Keys {
        Keys::new(&[1; 16], &[2; 16])
    }

    #[test]
    fn every_kind_of_protection_goes_both_ways_and_refuses_a_changed_bit() {
        for control in [0x00, 0x10, 0x20, 0x30].map(SecurityControl) {
            for plaintext in [&b""[..], b"x", &[7; 1000]] {
                let sealed = seal(&keys(), control, &TITLE, 9, plaintext).unwrap();
                assert_eq!(open(&keys(), control, &TITLE, 9, &sealed).unwrap(), plaintext);
                if control.is_authenticated() {
                    for at in 0..sealed.len() {
                        let mut bad = sealed.clone();
                        bad[at] ^= 1;
                        assert_eq!(open(&keys(), control, &TITLE, 9, &bad), Err(Error::BadTag));
                    }
                    assert_eq!(open(&keys(), control, &TITLE, 8, &sealed), Err(Error::BadTag));
                }
            }
        }
        for refused in [0x31, 0x70, 0xb0].map(SecurityControl) {
            assert!(seal(&keys(), refused, &TITLE, 1, b"x").is_err());
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!("{:?} {:?}", keys(), Secret::new(b"hunter2"));
        assert_eq!(shown, "Keys(..) Secret(..)");
    }

    #[test]
    fn hls5_values_verify_under_their_own_title_only() {
        let reply = hls5_reply(&keys(), &TITLE, 77, b"challenge");
        assert_eq!(hls5_verify(&keys(), &TITLE, b"challenge", &reply), Ok(77));
        assert_eq!(hls5_verify(&keys(), b"OTHER\0\0\0", b"challenge", &reply), Err(Error::BadTag));
        assert_eq!(hls5_verify(&keys(), &TITLE, b"Challenge", &reply), Err(Error::BadTag));
        assert!(hls5_verify(&keys(), &TITLE, b"challenge", &reply[..16]).is_err());
    }
}
