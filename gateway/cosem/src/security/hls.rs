//! The values of HLS passes 3 and 4 (IEC 62056-5-3 clause 5.3.3), for each mechanism. Which one
//! is asked for, and whose challenge is whose, `association` knows.
//!
//! HLS 3 and 4 rest on MD5 and SHA-1: they are here to read old meters, not to be chosen.
//! Invariant: a value that came is compared in constant time.

use aes_gcm::Tag;
use aes_gcm::aead::consts::U12;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::keys::Keys;
use super::seal::nonce;
use super::secret::Secret;
use super::suite::SecurityControl;
use super::{SystemTitle, TAG_OCTETS};
use crate::error::Error;

/// Octets of the value of an HLS 5 pass: security control, counter, tag.
pub const HLS5_OCTETS: usize = 17;

/// HLS 3: MD5 over the other side's challenge, then the secret.
#[must_use]
pub fn md5_reply(secret: &Secret, challenge: &[u8]) -> [u8; 16] {
    Md5::new().chain_update(challenge).chain_update(secret.expose()).finalize().into()
}

/// HLS 4: SHA-1 over the other side's challenge, then the secret.
#[must_use]
pub fn sha1_reply(secret: &Secret, challenge: &[u8]) -> [u8; 20] {
    Sha1::new().chain_update(challenge).chain_update(secret.expose()).finalize().into()
}

/// HLS 6: SHA-256 over the secret, own and the other's title, the other's and own challenge.
#[must_use]
pub fn sha256_reply(
    secret: &Secret,
    titles: [&SystemTitle; 2],
    challenges: [&[u8]; 2],
) -> [u8; 32] {
    let [own_title, other_title] = titles;
    let [other_challenge, own_challenge] = challenges;
    Sha256::new()
        .chain_update(secret.expose())
        .chain_update(own_title)
        .chain_update(other_title)
        .chain_update(other_challenge)
        .chain_update(own_challenge)
        .finalize()
        .into()
}

/// What HLS 7 signs: own and the other's title, the other's and own challenge.
#[must_use]
pub fn ecdsa_message(titles: [&SystemTitle; 2], challenges: [&[u8]; 2]) -> Vec<u8> {
    let [own_title, other_title] = titles;
    let [other_challenge, own_challenge] = challenges;
    [&own_title[..], other_title, other_challenge, own_challenge].concat()
}

/// The value of an HLS 5 pass: security control, counter, GMAC over security control,
/// authentication key and the other side's challenge, under the sender's title.
#[must_use]
pub fn hls5_reply(
    keys: &Keys,
    title: &SystemTitle,
    counter: u32,
    challenge: &[u8],
) -> [u8; HLS5_OCTETS] {
    let control = SecurityControl::AUTHENTICATED.in_suite(keys.suite());
    let nonce = nonce(title, counter);
    let tag = keys
        .cipher(control)
        .and_then(|cipher| {
            keys.with_associated(control, [challenge, &[]], |associated| {
                cipher.encrypt(&nonce, associated, &mut [])
            })
        })
        .expect("the suite is the keys' own, and GCM takes a challenge of any length");
    let mut reply = [0; HLS5_OCTETS];
    reply[0] = control.0;
    reply[1..5].copy_from_slice(&counter.to_be_bytes());
    reply[5..].copy_from_slice(&tag);
    reply
}

/// Checks the value of an HLS 5 pass that came from the side with `title`; gives its counter.
///
/// # Errors
/// `BadTag` when it does not verify, `Malformed` for another shape, `Suite` for another suite
/// than the keys'.
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
    let cipher = keys.cipher(control)?;
    if control != SecurityControl::AUTHENTICATED.in_suite(keys.suite()) {
        return Err(Error::Protection("an HLS 5 value with another security control"));
    }
    let nonce = nonce(title, counter);
    keys.with_associated(control, [challenge, &[]], |associated| {
        cipher.decrypt(&nonce, associated, &mut [], &tag).map(|()| counter)
    })
}

#[cfg(test)]
mod tests {
    use super::{hls5_reply, hls5_verify};
    use crate::error::Error;
    use crate::security::{Keys, Suite};

    const TITLE: [u8; 8] = *b"MMM\0\0\0\0\x01";

    #[test]
    fn hls5_values_verify_under_their_own_title_and_suite_only() {
        let keys = Keys::new(&[1; 16], &[2; 16]);
        let reply = hls5_reply(&keys, &TITLE, 77, b"challenge");
        assert_eq!(hls5_verify(&keys, &TITLE, b"challenge", &reply), Ok(77));
        assert_eq!(hls5_verify(&keys, b"OTHER\0\0\0", b"challenge", &reply), Err(Error::BadTag));
        assert_eq!(hls5_verify(&keys, &TITLE, b"Challenge", &reply), Err(Error::BadTag));
        assert!(hls5_verify(&keys, &TITLE, b"challenge", &reply[..16]).is_err());
        let other = Keys::in_suite(Suite::One, &[1; 16], &[2; 16]).unwrap();
        assert_eq!(hls5_verify(&other, &TITLE, b"challenge", &reply), Err(Error::Suite(0)));
        let reply = hls5_reply(&other, &TITLE, 77, b"challenge");
        assert_eq!(reply[0], 0x11);
        assert_eq!(hls5_verify(&other, &TITLE, b"challenge", &reply), Ok(77));
    }
}
