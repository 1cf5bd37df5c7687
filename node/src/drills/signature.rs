//! The cluster's signature over a report of a drill, or over the audit trail, for people who trust
//! none of its nodes.
//!
//! Ed25519 (RFC 8032) with a key that every node derives from the master key, so that it stays the
//! same while certificates and nodes come and go. The seal tells nodes that a report is theirs;
//! the signature tells it to whoever has the public key, without a node and without a secret.
//! Invariants: pure; what is signed names its purpose and the drill's number, so a signature fits
//! one report of one drill and nothing else that is ever signed with the key.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Begins what is signed: no other use of the key has it.
const PURPOSE: &[u8] = b"holdfast drill report 1\0";

/// A key pair that cannot be made of 32 octets: the library refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key can be made of the seed")]
pub struct NoKey;

/// The same for the audit trail.
const TRAIL: &[u8] = b"holdfast audit trail 1\0";

/// Makes signatures.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The signer of a secret seed of 32 octets.
    ///
    /// # Errors
    /// The library takes no such key.
    pub fn new(seed: &[u8; 32]) -> Result<Signer, NoKey> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Signer).map_err(|_| NoKey)
    }

    /// The key by which everybody can check: 32 octets.
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// A signature of 64 octets over a drill's number and its report.
    pub fn sign(&self, drill: u64, report: &[u8]) -> Vec<u8> {
        self.0.sign(&message(drill, report)).as_ref().to_vec()
    }

    /// A signature of 64 octets over a record of the audit trail, and so over all before it.
    pub fn sign_trail(&self, sequence: u64, hash: &[u8; 32]) -> Vec<u8> {
        self.0.sign(&record(sequence, hash)).as_ref().to_vec()
    }
}

/// Whether a signature is of this key, over this report of this drill.
pub fn holds(public: &[u8], drill: u64, report: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(&message(drill, report), signature).is_ok()
}

/// Whether a signature is of this key, over this record of an audit trail.
pub fn trail_holds(public: &[u8], sequence: u64, hash: &[u8; 32], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(&record(sequence, hash), signature).is_ok()
}

fn record(sequence: u64, hash: &[u8; 32]) -> Vec<u8> {
    [TRAIL, &sequence.to_be_bytes(), hash].concat()
}

fn message(drill: u64, report: &[u8]) -> Vec<u8> {
    [PURPOSE, &drill.to_be_bytes(), report].concat()
}

#[cfg(test)]
mod tests {
    use super::{Signer, holds, trail_holds};

    #[test]
    fn a_record_of_the_trail_is_signed_for_nothing_else() {
        let signer = Signer::new(&[7; 32]).expect("a key");
        let (public, hash) = (signer.public(), [9; 32]);
        let signature = signer.sign_trail(12, &hash);
        assert!(trail_holds(&public, 12, &hash, &signature));
        assert!(!trail_holds(&public, 13, &hash, &signature), "another record");
        assert!(!trail_holds(&public, 12, &[8; 32], &signature), "changed");
        assert!(!holds(&public, 12, &hash, &signature), "no report of a drill");
    }

    #[test]
    fn a_signature_fits_one_report_of_one_drill_of_one_cluster() {
        let signer = Signer::new(&[7; 32]).expect("a key");
        let (public, signature) = (signer.public(), signer.sign(12, b"passed"));
        assert_eq!((public.len(), signature.len()), (32, 64));
        assert!(holds(&public, 12, b"passed", &signature));
        assert_eq!(signature, signer.sign(12, b"passed"), "every node makes the same");
        assert!(!holds(&public, 12, b"failed", &signature), "changed");
        assert!(!holds(&public, 13, b"passed", &signature), "of another drill");
        let other = Signer::new(&[8; 32]).expect("a key").public();
        assert!(!holds(&other, 12, b"passed", &signature), "another cluster");
        assert!(!holds(&public, 12, b"passed", &signature[1..]), "short");
        assert!(!holds(&public[1..], 12, b"passed", &signature), "no key");
    }

    /// The key of RFC 8032, 7.1, TEST 1: another program makes the same public key of the seed.
    #[test]
    fn the_public_key_is_the_standards() {
        let seed = crate::secret::unhex(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        );
        let seed: [u8; 32] = seed.and_then(|octets| octets.try_into().ok()).expect("32 octets");
        let public = crate::secret::hex(&Signer::new(&seed).expect("a key").public());
        assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    }
}
