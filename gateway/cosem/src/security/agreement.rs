//! Key agreement (IEC 62056-5-3 clause 5.3.4.6, NIST SP 800-56A): Diffie-Hellman over P-256 in
//! suite 1 and P-384 in suite 2, the key derivation, and the signed ephemeral keys of security
//! setup method 3. Ephemeral keys are arguments: nothing is drawn here.
//!
//! Invariants: a public key is checked to be on the curve before it is used; private keys and
//! shared secrets are wiped on drop and never printed.

use std::fmt;

use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

use super::SystemTitle;
use super::keys::KeyId;
use super::signature::{SigningKey, VerifyingKey, uncompressed};
use super::suite::Suite;
use crate::error::Error;

#[derive(Clone)]
enum Private {
    P256(Box<p256::SecretKey>),
    P384(Box<p384::SecretKey>),
}

/// A private key for agreements, static or ephemeral; wiped on drop, never printed.
#[derive(Clone)]
pub struct AgreementKey(Private);

#[derive(Clone, PartialEq, Eq)]
enum Public {
    P256(Box<p256::PublicKey>),
    P384(Box<p384::PublicKey>),
}

/// A public key for agreements: a point of the curve.
#[derive(Clone, PartialEq, Eq)]
pub struct AgreementPublic(Public);

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreementKey(..)")
    }
}

impl fmt::Debug for AgreementPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementPublic(suite {})", self.suite().number())
    }
}

const NO_CURVE: Error = Error::Protection("suite 0 has no key agreement");
const NO_KEY: Error = Error::Protection("the octets are no key of the suite's curve");

/// What an agreed key is for; its identifier goes into the derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Encrypting and authenticating APDUs: 03 00 (AES-GCM-128), 03 01 (AES-GCM-256).
    Gcm,
    /// Wrapping keys: 03 02 (AES-128), 03 03 (AES-256).
    Wrap,
}

impl Algorithm {
    /// What the key with this id is for.
    #[must_use]
    pub const fn of_key(id: KeyId) -> Self {
        match id {
            KeyId::Kek => Self::Wrap,
            KeyId::Unicast | KeyId::Broadcast | KeyId::Authentication => Self::Gcm,
        }
    }

    /// Its object identifier without tag and length.
    #[must_use]
    pub const fn id(self, suite: Suite) -> [u8; 7] {
        let last = match (self, suite) {
            (Self::Gcm, Suite::Zero | Suite::One) => 0,
            (Self::Gcm, Suite::Two) => 1,
            (Self::Wrap, Suite::Zero | Suite::One) => 2,
            (Self::Wrap, Suite::Two) => 3,
        };
        [0x60, 0x85, 0x74, 0x05, 0x08, 0x03, last]
    }
}

impl AgreementKey {
    /// From the private scalar: 32 octets in suite 1, 48 in suite 2.
    ///
    /// # Errors
    /// `Protection` for suite 0 and for octets that are no scalar of the curve.
    pub fn new(suite: Suite, scalar: &[u8]) -> Result<Self, Error> {
        // The crates take shorter scalars too; the standard does not.
        if suite != Suite::Zero && scalar.len() != suite.curve_octets() {
            return Err(NO_KEY);
        }
        Ok(Self(match suite {
            Suite::Zero => return Err(NO_CURVE),
            Suite::One => {
                Private::P256(Box::new(p256::SecretKey::from_slice(scalar).map_err(|_| NO_KEY)?))
            }
            Suite::Two => {
                Private::P384(Box::new(p384::SecretKey::from_slice(scalar).map_err(|_| NO_KEY)?))
            }
        }))
    }

    /// The suite whose curve it is on.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        match self.0 {
            Private::P256(_) => Suite::One,
            Private::P384(_) => Suite::Two,
        }
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> AgreementPublic {
        AgreementPublic(match &self.0 {
            Private::P256(key) => Public::P256(Box::new(key.public_key())),
            Private::P384(key) => Public::P384(Box::new(key.public_key())),
        })
    }

    /// The shared secret Z with the other side: a coordinate, 32 or 48 octets.
    ///
    /// # Errors
    /// `Suite` when the other key is on another curve.
    pub fn shared(&self, other: &AgreementPublic) -> Result<Zeroizing<Vec<u8>>, Error> {
        match (&self.0, &other.0) {
            (Private::P256(own), Public::P256(other)) => {
                Ok(Zeroizing::new(own.diffie_hellman(other).raw_secret_bytes().to_vec()))
            }
            (Private::P384(own), Public::P384(other)) => {
                Ok(Zeroizing::new(own.diffie_hellman(other).raw_secret_bytes().to_vec()))
            }
            _ => Err(Error::Suite(other.suite().number())),
        }
    }
}

impl AgreementPublic {
    /// From the coordinates x and y: 64 octets in suite 1, 96 in suite 2.
    ///
    /// # Errors
    /// `Protection` for suite 0 and for octets that are no point of the curve.
    pub fn new(suite: Suite, point: &[u8]) -> Result<Self, Error> {
        if suite == Suite::Zero {
            return Err(NO_CURVE);
        }
        let point = uncompressed(suite, point).ok_or(NO_KEY)?;
        Ok(Self(if suite == Suite::One {
            let key = p256::PublicKey::from_sec1_bytes(&point).map_err(|_| NO_KEY)?;
            Public::P256(Box::new(key))
        } else {
            let key = p384::PublicKey::from_sec1_bytes(&point).map_err(|_| NO_KEY)?;
            Public::P384(Box::new(key))
        }))
    }

    /// The suite whose curve it is on.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        match self.0 {
            Public::P256(_) => Suite::One,
            Public::P384(_) => Suite::Two,
        }
    }

    /// The coordinates x and y.
    #[must_use]
    pub fn point(&self) -> Vec<u8> {
        match &self.0 {
            Public::P256(key) => key.to_sec1_point(false).as_bytes()[1..].to_vec(),
            Public::P384(key) => key.to_sec1_point(false).as_bytes()[1..].to_vec(),
        }
    }
}

/// The key from a shared secret `z` (NIST SP 800-56A, one step): the first octets of SHA-256
/// (suite 1) or SHA-384 (suite 2) over 00000001, z, algorithm id, party U, party V.
#[must_use]
pub fn derive_key(
    suite: Suite,
    z: &[u8],
    algorithm: Algorithm,
    party_u: &[u8],
    party_v: &[u8],
) -> Zeroizing<Vec<u8>> {
    let id = algorithm.id(suite);
    let parts = [&[0, 0, 0, 1], z, &id, party_u, party_v];
    let mut digest = Zeroizing::new(match suite {
        Suite::Zero | Suite::One => parts
            .iter()
            .fold(Sha256::new(), |hash, part| hash.chain_update(part))
            .finalize()
            .to_vec(),
        Suite::Two => parts
            .iter()
            .fold(Sha384::new(), |hash, part| hash.chain_update(part))
            .finalize()
            .to_vec(),
    });
    digest.truncate(suite.key_octets());
    digest
}

/// What one side offers to agree a key (security setup method 3, ephemeral unified model
/// C(2e, 0s)): the point of its ephemeral key and its signature over key id and point.
///
/// # Errors
/// `Suite` when the signing key is of another suite than the ephemeral one.
pub fn offer(id: KeyId, ephemeral: &AgreementKey, signing: &SigningKey) -> Result<Vec<u8>, Error> {
    if signing.suite() != ephemeral.suite() {
        return Err(Error::Suite(signing.suite().number()));
    }
    let mut offer = ephemeral.public().point();
    let signature = signing.sign(&signed_offer(id, &offer))?;
    offer.extend_from_slice(&signature);
    Ok(offer)
}

/// The ephemeral key that the other side offers, once its signature has verified.
///
/// # Errors
/// `BadSignature` when it does not verify, `Malformed` for another length, `Protection` for a
/// point that is not on the curve.
pub fn accept_offer(
    id: KeyId,
    offer: &[u8],
    verifying: &VerifyingKey,
) -> Result<AgreementPublic, Error> {
    let suite = verifying.suite();
    let (point, signature) = split_offer(suite, offer)?;
    verifying.verify(&signed_offer(id, point), signature)?;
    AgreementPublic::new(suite, point)
}

/// The key that both sides of method 3 come to. Party U is the client, party V the server.
///
/// # Errors
/// `Suite` when the two keys are on different curves.
pub fn agree(
    id: KeyId,
    own: &AgreementKey,
    other: &AgreementPublic,
    client: &SystemTitle,
    server: &SystemTitle,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let z = own.shared(other)?;
    Ok(derive_key(own.suite(), &z, Algorithm::of_key(id), client, server))
}

/// Point and signature, which have the same length.
pub(super) fn split_offer(suite: Suite, offer: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let half = 2 * suite.curve_octets();
    match offer.split_at_checked(half) {
        Some((point, signature)) if signature.len() == half => Ok((point, signature)),
        _ => Err(Error::malformed(0, "not an ephemeral key and its signature")),
    }
}

fn signed_offer(id: KeyId, point: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(1 + point.len());
    signed.push(id.number());
    signed.extend_from_slice(point);
    signed
}
