//! Protection of APDUs (IEC 62056-5-3 clause 5.3): AES-GCM with a tag of 12 octets under the
//! unicast or the broadcast key. The primitives come from RustCrypto; nothing here is a cipher of
//! its own, and nothing draws random numbers.
//!
//! Invariants: a tag is checked in constant time and before any plaintext leaves; an APDU of
//! another suite than the keys' is refused; the caller never reuses a pair of title and counter.

use aes_gcm::aead::consts::U12;
use aes_gcm::{Nonce, Tag};
use bytes::Bytes;

use super::keys::Keys;
use super::suite::SecurityControl;
use super::{SystemTitle, TAG_OCTETS};
use crate::apdu::Protected;
use crate::apdu::tag as apdu_tag;
use crate::error::Error;

/// The initialisation vector: system title, then invocation counter.
pub(super) fn nonce(title: &SystemTitle, counter: u32) -> Nonce<U12> {
    let mut nonce = Nonce::<U12>::default();
    let (head, tail) = nonce.split_at_mut(8);
    head.copy_from_slice(title);
    tail.copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// Protects `plaintext`: content, followed by the tag when `control` authenticates.
///
/// # Errors
/// `Suite` when `control` names another suite than the keys', `Protection` for compression and
/// for a broadcast key that is not there.
pub fn seal(
    keys: &Keys,
    control: SecurityControl,
    title: &SystemTitle,
    counter: u32,
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    seal_with(keys, control, (title, counter), &[], plaintext)
}

/// As `seal`, with the octets of a header that are authenticated too (general-ciphering).
pub(super) fn seal_with(
    keys: &Keys,
    control: SecurityControl,
    sender: (&SystemTitle, u32),
    header: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut content = Vec::with_capacity(control.content_octets(plaintext.len()));
    seal_into(keys, control, sender, header, plaintext, &mut content)?;
    Ok(content)
}

/// Appends what `seal_with` gives to `out`, encrypted where it stands.
fn seal_into(
    keys: &Keys,
    control: SecurityControl,
    (title, counter): (&SystemTitle, u32),
    header: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let cipher = keys.cipher(control)?;
    let start = out.len();
    out.extend_from_slice(plaintext);
    let content = out.get_mut(start..).unwrap_or_default();
    let nonce = nonce(title, counter);
    let tag = match (control.is_authenticated(), control.is_encrypted()) {
        (true, true) => Some(keys.with_associated(control, [header, &[]], |associated| {
            cipher.encrypt(&nonce, associated, content)
        })?),
        (true, false) => {
            Some(keys.with_associated(control, [header, plaintext], |associated| {
                cipher.encrypt(&nonce, associated, &mut [])
            })?)
        }
        (false, true) => {
            cipher.encrypt(&nonce, &[], content)?;
            None
        }
        (false, false) => None,
    };
    if let Some(tag) = tag {
        out.extend_from_slice(&tag);
    }
    Ok(())
}

/// A whole protected APDU: `tag`, the title when it is shown, security header, content. It is
/// made in one piece of memory.
///
/// # Errors
/// As `seal`.
pub(crate) fn seal_encoded(
    keys: &Keys,
    control: SecurityControl,
    (title, counter): (&SystemTitle, u32),
    (tag, shown): (u8, Option<&SystemTitle>),
    apdu: &[u8],
) -> Result<Vec<u8>, Error> {
    let octets = control.content_octets(apdu.len());
    let mut out = crate::apdu::ciphered::head(tag, shown, control, counter, octets);
    seal_into(keys, control, (title, counter), &[], apdu, &mut out)?;
    Ok(out)
}

/// Opens what `seal` made: the plaintext.
///
/// # Errors
/// `BadTag` when the tag does not verify, `Malformed` when there is none though `control` says
/// so, `Suite` when `control` names another suite than the keys', `Protection` for compression
/// and for a broadcast key that is not there.
pub fn open(
    keys: &Keys,
    control: SecurityControl,
    title: &SystemTitle,
    counter: u32,
    content: &[u8],
) -> Result<Vec<u8>, Error> {
    open_with(keys, control, (title, counter), &[], content)
}

/// As `open`, with the octets of a header that are authenticated too (general-ciphering).
pub(super) fn open_with(
    keys: &Keys,
    control: SecurityControl,
    sender: (&SystemTitle, u32),
    header: &[u8],
    content: &[u8],
) -> Result<Vec<u8>, Error> {
    // The octets of the tag are not copied, so that decrypting in place ends with the plaintext.
    let (body, tag) = split_tag(control, content)?;
    let mut plaintext = body.to_vec();
    open_in_place(keys, control, sender, header, &mut plaintext, tag)?;
    Ok(plaintext)
}

/// As `open`, where the content is no longer needed: opened where it stands when nobody else has
/// it.
///
/// # Errors
/// As `open`.
pub(crate) fn open_owned(
    keys: &Keys,
    control: SecurityControl,
    title: &SystemTitle,
    counter: u32,
    content: Bytes,
) -> Result<Vec<u8>, Error> {
    let (body, tag) = split_tag(control, &content)?;
    let length = body.len();
    let mut plaintext = Vec::from(content);
    plaintext.truncate(length);
    open_in_place(keys, control, (title, counter), &[], &mut plaintext, tag)?;
    Ok(plaintext)
}

/// The content and its tag, when `control` says that there is one.
fn split_tag(control: SecurityControl, content: &[u8]) -> Result<(&[u8], Option<Tag<U12>>), Error> {
    if !control.is_authenticated() {
        return Ok((content, None));
    }
    let Some((body, tag)) = content.split_last_chunk::<TAG_OCTETS>() else {
        return Err(Error::malformed(0, "an authenticated APDU shorter than its tag"));
    };
    Ok((body, Some(Tag::<U12>::from(*tag))))
}

/// Ciphertext to plaintext; on an error nothing was deciphered.
fn open_in_place(
    keys: &Keys,
    control: SecurityControl,
    (title, counter): (&SystemTitle, u32),
    header: &[u8],
    octets: &mut [u8],
    tag: Option<Tag<U12>>,
) -> Result<(), Error> {
    let cipher = keys.cipher(control)?;
    let nonce = nonce(title, counter);
    match (tag, control.is_encrypted()) {
        (Some(tag), true) => keys.with_associated(control, [header, &[]], |associated| {
            cipher.decrypt(&nonce, associated, octets, &tag)
        }),
        (Some(tag), false) => keys.with_associated(control, [header, octets], |associated| {
            cipher.decrypt(&nonce, associated, &mut [], &tag)
        }),
        // GCM encrypts with a key stream, so encrypting again opens; there is no tag.
        (None, true) => cipher.encrypt(&nonce, &[], octets).map(|_| ()),
        (None, false) => Ok(()),
    }
}

/// Opens a protected APDU that must be protected at least as `required`, whose suite is of no
/// interest: the keys have one.
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

#[cfg(test)]
mod tests {
    use super::{open, seal};
    use crate::error::Error;
    use crate::security::{Keys, SecurityControl, Suite};

    const TITLE: [u8; 8] = *b"MMM\0\0\0\0\x01";
    const SUITES: [Suite; 3] = [Suite::Zero, Suite::One, Suite::Two];

    fn keys(suite: Suite) -> Keys {
        let length = suite.key_octets();
        let keys = Keys::in_suite(suite, &vec![1; length], &vec![2; length]).unwrap();
        keys.with_broadcast(&vec![3; length]).unwrap()
    }

    #[test]
    fn every_kind_of_protection_goes_both_ways_and_refuses_a_changed_bit() {
        let controls = [0x00, 0x10, 0x20, 0x30, 0x50, 0x60, 0x70].map(SecurityControl);
        for (suite, control) in SUITES.iter().flat_map(|s| controls.map(|c| (*s, c))) {
            let (keys, control) = (keys(suite), control.in_suite(suite));
            for plaintext in [&b""[..], b"x", &[7; 300]] {
                let sealed = seal(&keys, control, &TITLE, 9, plaintext).unwrap();
                assert_eq!(open(&keys, control, &TITLE, 9, &sealed).unwrap(), plaintext);
                if control.is_authenticated() {
                    for at in 0..sealed.len() {
                        let mut bad = sealed.clone();
                        bad[at] ^= 1;
                        assert_eq!(open(&keys, control, &TITLE, 9, &bad), Err(Error::BadTag));
                    }
                    assert_eq!(open(&keys, control, &TITLE, 8, &sealed), Err(Error::BadTag));
                    assert_eq!(open(&keys, control, b"OTHER001", 9, &sealed), Err(Error::BadTag));
                }
            }
        }
    }

    #[test]
    fn another_suite_compression_and_a_missing_broadcast_key_are_refused_by_name() {
        let refused = |keys: &Keys, control: u8| {
            let control = SecurityControl(control);
            let sealed = seal(keys, control, &TITLE, 1, b"x").unwrap_err();
            assert_eq!(open(keys, control, &TITLE, 1, &[0; 13]), Err(sealed));
            sealed.to_string()
        };
        for (suite, control) in [(Suite::Zero, 0x31), (Suite::One, 0x32), (Suite::Two, 0x30)] {
            let said = refused(&keys(suite), control);
            assert!(said.starts_with(&format!("security suite {}", control & 0x0f)), "{said}");
        }
        let said = refused(&keys(Suite::Zero), 0xb0);
        assert_eq!(said, "protection refused: compressed: V.44 is not supported");
        let without = Keys::new(&[1; 16], &[2; 16]);
        let said = refused(&without, 0x70);
        assert_eq!(said, "protection refused: under the broadcast key, and none is configured");
    }

    #[test]
    fn broadcast_and_unicast_keys_do_not_open_each_others_apdus() {
        let keys = keys(Suite::Zero);
        let broadcast = SecurityControl::BOTH.under_broadcast_key();
        let sealed = seal(&keys, broadcast, &TITLE, 1, b"to all").unwrap();
        assert_eq!(open(&keys, broadcast, &TITLE, 1, &sealed).unwrap(), b"to all");
        let opened = open(&keys, SecurityControl::BOTH, &TITLE, 1, &sealed);
        assert_eq!(opened, Err(Error::BadTag));
    }
}
