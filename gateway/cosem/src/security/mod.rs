//! Security of DLMS/COSEM (IEC 62056-5-3 clause 5): suites 0, 1 and 2, the keys of a device,
//! protection of APDUs, signatures, key agreement and key transfer, what HLS proves with, and
//! policies. It keeps no counters and no states: that is `association`.
//!
//! Map: `suite` (numbers and the control octet) - `keys`, `secret` - `seal` (AES-GCM) - `hls` -
//! `signature` and `agreement` (P-256, P-384) - `transfer` (new keys) - `general`
//! (general-ciphering and general-signing) - `policy`.
//!
//! Invariants: the primitives come from RustCrypto; nothing draws random numbers (nonces of
//! signatures are those of RFC 6979, ephemeral keys are arguments); secrets are wiped on drop and
//! never printed; what proves something is compared in constant time.

pub mod agreement;
pub mod general;
pub mod hls;
mod keys;
pub mod policy;
mod seal;
mod secret;
pub mod signature;
mod suite;
pub mod transfer;

pub use agreement::{AgreementKey, AgreementPublic};
pub use general::Credentials;
pub use hls::{HLS5_OCTETS, hls5_reply, hls5_verify};
pub use keys::{Kek, KeyId, Keys};
pub use policy::{Policy, Required};
pub use seal::{open, open_apdu, seal, seal_apdu};
pub(crate) use seal::{open_owned, seal_encoded};
pub use secret::Secret;
pub use signature::{SigningKey, VerifyingKey};
pub use suite::{SecurityControl, Suite};
pub use transfer::NewKeys;

/// System title: three letters of the manufacturer and a number, 8 octets.
pub type SystemTitle = [u8; 8];

/// Octets of an authentication tag.
pub const TAG_OCTETS: usize = 12;

#[cfg(test)]
mod tests {
    use super::{AgreementKey, Credentials, Kek, KeyId, Keys, NewKeys, Secret, SigningKey, Suite};

    #[test]
    fn secrets_are_not_printed() {
        let signing = SigningKey::new(Suite::One, &[7; 32]).unwrap();
        let agreement = AgreementKey::new(Suite::Two, &[7; 48]).unwrap();
        let kek = Kek::new(Suite::Zero, &[7; 16]).unwrap();
        let new = NewKeys::default().with(KeyId::Unicast, &[7; 16]);
        let keys = Keys::new(&[7; 16], &[7; 16]);
        let shown = format!(
            "{keys:?} {:?} {signing:?} {agreement:?} {kek:?} {new:?}",
            Secret::new(b"hunter2")
        );
        let expect =
            "Keys(..) Secret(..) SigningKey(..) AgreementKey(..) Kek(..) NewKeys([Unicast])";
        assert_eq!(shown, expect);
        let credentials = Credentials {
            kek: Some(kek),
            peer_signing: Some(signing.public()),
            signing: Some(signing),
            peer_agreement: Some(agreement.public()),
            agreement: Some(agreement),
        };
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("0707") && !shown.contains("7, 7"), "{shown}");
    }
}
