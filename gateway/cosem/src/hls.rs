//! What HLS 3, 4 and 6 prove with (IEC 62056-5-3 clause 5.3.3), and how keys are derived and
//! transferred. HLS 5 stands in `security`, since it needs the keys of the device.
//!
//! HLS 3 and 4 rest on MD5 and SHA-1: they are here to read old meters, not to be chosen.

use aes_kw::KwAes128;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::security::{Secret, SystemTitle};

/// Octets of a wrapped key of 16 octets (RFC 3394).
pub const WRAPPED_OCTETS: usize = 24;

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

/// The key of suite 1 from an agreed secret `z` (NIST SP 800-56A, one step of SHA-256): the first
/// 16 octets of SHA-256 over 00000001, z, algorithm id, party U, party V.
#[must_use]
pub fn agreed_key(
    z: &[u8],
    algorithm: &[u8],
    party_u: &[u8],
    party_v: &[u8],
) -> Zeroizing<[u8; 16]> {
    let digest = Sha256::new()
        .chain_update([0, 0, 0, 1])
        .chain_update(z)
        .chain_update(algorithm)
        .chain_update(party_u)
        .chain_update(party_v)
        .finalize();
    let mut key = Zeroizing::new([0; 16]);
    key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    key
}

/// Wraps a key of 16 octets for its transfer under a key-encryption key (RFC 3394).
///
/// # Errors
/// `Protection` when the primitive refuses, which it does for no key of 16 octets.
pub fn wrap_key(kek: &[u8; 16], key: &[u8; 16]) -> Result<[u8; WRAPPED_OCTETS], Error> {
    use aes_kw::KeyInit;
    let mut wrapped = [0; WRAPPED_OCTETS];
    let wrapping = KwAes128::new(kek.into()).wrap_key(key, &mut wrapped).map(|_| ());
    wrapping.map_err(|_| Error::Protection("a key that cannot be wrapped"))?;
    Ok(wrapped)
}

/// Unwraps a key of 16 octets.
///
/// # Errors
/// `BadTag` when it was wrapped under another key or changed.
pub fn unwrap_key(
    kek: &[u8; 16],
    wrapped: &[u8; WRAPPED_OCTETS],
) -> Result<Zeroizing<[u8; 16]>, Error> {
    use aes_kw::KeyInit;
    let mut key = Zeroizing::new([0; 16]);
    let unwrapping = KwAes128::new(kek.into()).unwrap_key(wrapped, &mut *key).map(|_| ());
    unwrapping.map_err(|_| Error::BadTag)?;
    Ok(key)
}
