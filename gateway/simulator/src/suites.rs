//! Meters of suites 1 and 2: which of them there are, and their keys, derived from those of suite 0
//! so that a run can be repeated; that is right for a simulation and for nothing else.
//!
//! Invariant: the private keys of both sides are known here, because the registry gives the
//! head-end its own; no `Debug` shows one.

use cosem::security::{Credentials, SigningKey};
use cosem::{Error, Suite};

use crate::field::Key;

/// A meter of suite 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secured {
    /// Its suite.
    pub suite: Suite,
    /// How its clients prove themselves.
    pub proof: Proof,
    /// Security policy in version 1 of the security setup.
    pub policy: u8,
}

/// How clients prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// HLS 5.
    Gmac,
    /// HLS 7.
    Ecdsa,
}

/// Requests and answers authenticated and encrypted.
pub const CIPHERED: u8 = 0x6c;
/// The same, and signed.
const SIGNED: u8 = 0xfc;

/// Every kind, by name.
const KINDS: [(&str, Secured); 6] = [
    ("hls5-suite1", Secured { suite: Suite::One, proof: Proof::Gmac, policy: CIPHERED }),
    ("hls5-suite2", Secured { suite: Suite::Two, proof: Proof::Gmac, policy: CIPHERED }),
    ("hls7-suite1", Secured { suite: Suite::One, proof: Proof::Ecdsa, policy: CIPHERED }),
    ("hls7-suite2", Secured { suite: Suite::Two, proof: Proof::Ecdsa, policy: CIPHERED }),
    ("signed-suite1", Secured { suite: Suite::One, proof: Proof::Ecdsa, policy: SIGNED }),
    ("signed-suite2", Secured { suite: Suite::Two, proof: Proof::Ecdsa, policy: SIGNED }),
];

impl Secured {
    /// The kind of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, secured)| *secured)
    }
}

/// A symmetric key in the length of a suite.
#[must_use]
pub fn symmetric(suite: Suite, key: Key) -> Vec<u8> {
    match suite {
        Suite::Zero | Suite::One => key.0.to_vec(),
        Suite::Two => derive("symmetric", key, suite.key_octets()),
    }
}

/// The private scalar for signatures of a side, from a key of the meter.
fn scalar(suite: Suite, side: &str, key: Key) -> Vec<u8> {
    let mut scalar = derive(side, key, suite.curve_octets());
    // Below the order of either curve, which begins with ones.
    if let Some(first) = scalar.first_mut() {
        *first &= 0x7f;
    }
    scalar
}

/// The head-end's private signing key and the meter's public one, as a head-end is told them.
///
/// # Errors
/// Suite 0 has no signatures.
pub fn of_head_end(suite: Suite, key: Key) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let meter = SigningKey::new(suite, &scalar(suite, "meter", key))?;
    Ok((scalar(suite, "head-end", key), meter.public().point()))
}

/// The meter's own keys for signatures.
///
/// # Errors
/// Suite 0 has no signatures.
pub fn of_meter(suite: Suite, key: Key) -> Result<Credentials, Error> {
    let head_end = SigningKey::new(suite, &scalar(suite, "head-end", key))?;
    Ok(Credentials {
        signing: Some(SigningKey::new(suite, &scalar(suite, "meter", key))?),
        peer_signing: Some(head_end.public()),
        ..Credentials::NONE
    })
}

fn derive(purpose: &str, key: Key, octets: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast simulator suite keys v1");
    hasher.update(&key.0);
    hasher.update(purpose.as_bytes());
    let mut derived = vec![0; octets];
    hasher.finalize_xof().fill(&mut derived);
    derived
}

#[cfg(test)]
mod tests {
    use cosem::Suite;
    use cosem::security::{SigningKey, VerifyingKey};

    use super::{of_head_end, of_meter, symmetric};
    use crate::field::Key;

    #[test]
    fn both_sides_know_each_other() {
        for suite in [Suite::One, Suite::Two] {
            let key = Key([7; 16]);
            let (private, public) = of_head_end(suite, key).unwrap();
            let meter = of_meter(suite, key).unwrap();
            let private = SigningKey::new(suite, &private).unwrap();
            let message = b"who goes there";
            meter.peer_signing.unwrap().verify(message, &private.sign(message).unwrap()).unwrap();
            let signature = meter.signing.unwrap().sign(message).unwrap();
            VerifyingKey::new(suite, &public).unwrap().verify(message, &signature).unwrap();
            assert_eq!(symmetric(suite, key).len(), suite.key_octets());
        }
    }
}
