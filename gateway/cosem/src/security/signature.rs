//! Digital signatures (IEC 62056-5-3 clause 5.3.4.4): ECDSA with P-256 and SHA-256 in suite 1,
//! with P-384 and SHA-384 in suite 2. It reads no certificates: public keys are configured.
//!
//! Invariants: signing is deterministic (RFC 6979), so that no random number can be bad; private
//! keys are wiped on drop and never printed.

use std::fmt;

use p256::ecdsa::signature::{Signer, Verifier};

use super::suite::Suite;
use crate::error::Error;

#[derive(Clone)]
enum Private {
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
}

/// A private signing key; wiped on drop, never printed.
#[derive(Clone)]
pub struct SigningKey(Private);

#[derive(Clone, PartialEq, Eq)]
enum Public {
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
}

/// A public key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(Public);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey(suite {})", self.suite().number())
    }
}

const NO_CURVE: Error = Error::Protection("suite 0 has no signatures");
const NO_KEY: Error = Error::Protection("the octets are no key of the suite's curve");

impl SigningKey {
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
            Suite::One => Private::P256(Box::new(
                p256::ecdsa::SigningKey::from_slice(scalar).map_err(|_| NO_KEY)?,
            )),
            Suite::Two => Private::P384(Box::new(
                p384::ecdsa::SigningKey::from_slice(scalar).map_err(|_| NO_KEY)?,
            )),
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
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(match &self.0 {
            Private::P256(key) => Public::P256(Box::new(*key.verifying_key())),
            Private::P384(key) => Public::P384(Box::new(*key.verifying_key())),
        })
    }

    /// Signs: r, then s, 64 octets in suite 1, 96 in suite 2.
    ///
    /// # Errors
    /// `Protection` when the primitive refuses, for which no message is known.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let refused = |_| Error::Protection("a message that cannot be signed");
        match &self.0 {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature = key.try_sign(message).map_err(refused)?;
                Ok(signature.to_bytes().to_vec())
            }
            Private::P384(key) => {
                let signature: p384::ecdsa::Signature = key.try_sign(message).map_err(refused)?;
                Ok(signature.to_bytes().to_vec())
            }
        }
    }
}

impl VerifyingKey {
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
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| NO_KEY)?;
            Public::P256(Box::new(key))
        } else {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| NO_KEY)?;
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

    /// Checks a signature.
    ///
    /// # Errors
    /// `BadSignature` when it is not the key's signature of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let bad = |_| Error::BadSignature;
        match &self.0 {
            Public::P256(key) => {
                let signature = p256::ecdsa::Signature::from_slice(signature).map_err(bad)?;
                key.verify(message, &signature).map_err(bad)
            }
            Public::P384(key) => {
                let signature = p384::ecdsa::Signature::from_slice(signature).map_err(bad)?;
                key.verify(message, &signature).map_err(bad)
            }
        }
    }
}

/// Coordinates in the form of SEC 1, when there are as many octets as the suite's curve has.
pub(super) fn uncompressed(suite: Suite, point: &[u8]) -> Option<Vec<u8>> {
    (point.len() == 2 * suite.curve_octets()).then(|| {
        let mut octets = Vec::with_capacity(1 + point.len());
        octets.push(4);
        octets.extend_from_slice(point);
        octets
    })
}
