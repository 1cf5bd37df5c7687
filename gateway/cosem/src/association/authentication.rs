//! How a side proves who it is: the mechanisms, their values in passes 3 and 4 of HLS, and their
//! checks (IEC 62056-5-3 clause 5.3.3). Which APDU carries them, the machines know.
//!
//! | mechanism | needs | system titles |
//! |---|---|---|
//! | 0 none, 1 LLS | nothing, a password | no |
//! | 2 | the manufacturer's own: refused | |
//! | 3 MD5, 4 SHA-1 | a secret | no |
//! | 5 GMAC | the global keys | yes |
//! | 6 SHA-256 | a secret | yes |
//! | 7 ECDSA | own private and the peer's public signing key | yes |
//!
//! Invariant: values are compared in constant time.

use subtle::ConstantTimeEq;

use crate::acse::Mechanism;
use crate::error::Error;
use crate::security::{self, Credentials, Keys, Secret, SystemTitle, hls};

/// Octets of a challenge (IEC 62056-5-3 clause 7.3.2).
const CHALLENGE_OCTETS: std::ops::RangeInclusive<usize> = 8..=64;
/// Fewest octets of an own challenge with ECDSA.
pub(super) const ECDSA_CHALLENGE_OCTETS: usize = 32;

/// How a side proves who it is. MD5 and SHA-1 are here to read old meters, not to be chosen.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By a password.
    Lls(Secret),
    /// By MD5 over challenges and a secret (HLS mechanism 3).
    Hls3(Secret),
    /// By SHA-1 over challenges and a secret (HLS mechanism 4).
    Hls4(Secret),
    /// By GMAC over challenges under the device's keys (HLS mechanism 5).
    Hls5(Keys),
    /// By SHA-256 over titles, challenges and a secret (HLS mechanism 6).
    Hls6(Secret),
    /// By signatures over titles and challenges with the signing keys of the configured
    /// credentials: P-256 in suite 1, P-384 in suite 2 (HLS mechanism 7).
    Hls7,
}

/// What both sides know when one proves.
pub(super) struct Handshake<'a> {
    pub(super) own_title: &'a SystemTitle,
    pub(super) peer_title: Option<&'a SystemTitle>,
    pub(super) own_challenge: &'a [u8],
    pub(super) peer_challenge: &'a [u8],
    pub(super) credentials: &'a Credentials,
}

impl Authentication {
    /// The mechanism's number.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::None => Mechanism::NONE,
            Self::Lls(_) => Mechanism::LLS,
            Self::Hls3(_) => Mechanism::HLS_MD5,
            Self::Hls4(_) => Mechanism::HLS_SHA1,
            Self::Hls5(_) => Mechanism::HLS_GMAC,
            Self::Hls6(_) => Mechanism::HLS_SHA256,
            Self::Hls7 => Mechanism::HLS_ECDSA,
        }
    }

    /// Whether passes 3 and 4 follow.
    #[must_use]
    pub const fn is_high(&self) -> bool {
        !matches!(self, Self::None | Self::Lls(_))
    }

    /// Whether both sides must tell their system titles.
    #[must_use]
    pub const fn needs_titles(&self) -> bool {
        matches!(self, Self::Hls5(_) | Self::Hls6(_) | Self::Hls7)
    }

    /// Whether an own value uses up an invocation counter.
    pub(super) const fn needs_counter(&self) -> bool {
        matches!(self, Self::Hls5(_))
    }

    /// Whether this side has what it needs to prove itself with `challenge` as its own.
    pub(super) fn check_own(
        &self,
        credentials: &Credentials,
        challenge: &[u8],
    ) -> Result<(), Error> {
        if self.is_high() && !is_challenge(challenge) {
            return Err(Error::Protection("a challenge has 8 to 64 octets"));
        }
        if !matches!(self, Self::Hls7) {
            return Ok(());
        }
        let (Some(own), Some(peer)) = (&credentials.signing, &credentials.peer_signing) else {
            return Err(Error::NoKeys);
        };
        if own.suite() != peer.suite() {
            return Err(Error::Suite(peer.suite().number()));
        }
        if challenge.len() < ECDSA_CHALLENGE_OCTETS {
            return Err(Error::Protection("an own challenge for ECDSA has 32 to 64 octets"));
        }
        Ok(())
    }

    /// The own value of pass 3 or 4; `counter` is used by GMAC only.
    pub(super) fn prove(&self, with: &Handshake<'_>, counter: u32) -> Result<Vec<u8>, Error> {
        let challenge = with.peer_challenge;
        let peer_title = || with.peer_title.ok_or(Error::WrongTitle);
        let challenges = [challenge, with.own_challenge];
        Ok(match self {
            Self::None | Self::Lls(_) => return Err(Error::WrongState("no proof is awaited")),
            Self::Hls3(secret) => hls::md5_reply(secret, challenge).to_vec(),
            Self::Hls4(secret) => hls::sha1_reply(secret, challenge).to_vec(),
            Self::Hls5(keys) => {
                security::hls5_reply(keys, with.own_title, counter, challenge).to_vec()
            }
            Self::Hls6(secret) => {
                hls::sha256_reply(secret, [with.own_title, peer_title()?], challenges).to_vec()
            }
            Self::Hls7 => {
                let message = hls::ecdsa_message([with.own_title, peer_title()?], challenges);
                with.credentials.signing.as_ref().ok_or(Error::NoKeys)?.sign(&message)?
            }
        })
    }

    /// Checks the peer's value.
    pub(super) fn verify(&self, with: &Handshake<'_>, value: &[u8]) -> Result<(), Error> {
        let peer_title = || with.peer_title.ok_or(Error::WrongTitle);
        let challenges = [with.own_challenge, with.peer_challenge];
        match self {
            Self::None | Self::Lls(_) => Err(Error::WrongState("no proof is awaited")),
            Self::Hls3(secret) => same(&hls::md5_reply(secret, with.own_challenge), value),
            Self::Hls4(secret) => same(&hls::sha1_reply(secret, with.own_challenge), value),
            Self::Hls5(keys) => {
                security::hls5_verify(keys, peer_title()?, with.own_challenge, value).map(|_| ())
            }
            Self::Hls6(secret) => {
                same(&hls::sha256_reply(secret, [peer_title()?, with.own_title], challenges), value)
            }
            Self::Hls7 => {
                let message = hls::ecdsa_message([peer_title()?, with.own_title], challenges);
                let verifying = with.credentials.peer_signing.as_ref().ok_or(Error::NoKeys)?;
                verifying.verify(&message, value)
            }
        }
    }
}

/// Whether the octets can be a challenge.
pub(super) fn is_challenge(octets: &[u8]) -> bool {
    CHALLENGE_OCTETS.contains(&octets.len())
}

fn same(expected: &[u8], value: &[u8]) -> Result<(), Error> {
    if expected.ct_eq(value).into() { Ok(()) } else { Err(Error::BadTag) }
}
