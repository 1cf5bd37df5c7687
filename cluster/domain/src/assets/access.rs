//! How an association with a meter of its own address proves itself and is protected, and how that
//! is kept.
//!
//! Invariants: 1. What an older version kept is read as it was meant, and what an older version
//! could say is written in its octets: rows and entries are hashed. 2. No key is here.

use serde::{Deserialize, Serialize};

use super::Attach;
use crate::error::{Stop, refuse};

/// How an association proves itself (IEC 62056-5-3 clause 5.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Lowest level: not at all.
    None,
    /// Low level: a password.
    Lls,
    /// High level, mechanism 5: GMAC under the meter's keys.
    Hls5,
    /// High level, mechanism 3: MD5 over a secret. For old meters.
    Hls3,
    /// High level, mechanism 4: SHA-1 over a secret. For old meters.
    Hls4,
    /// High level, mechanism 6: SHA-256 over a secret.
    Hls6,
    /// High level, mechanism 7: ECDSA with the signing keys of suite 1 or 2.
    Hls7,
}

/// A security suite (IEC 62056-5-3 clause 5.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suite {
    /// 0: AES-128.
    #[default]
    Zero,
    /// 1: AES-128 and P-256.
    One,
    /// 2: AES-256 and P-384.
    Two,
}

/// What requests and responses are protected with: bits of the security policy in version 1 of the
/// security setup (IEC 62056-6-2 clause 4.4.7): 04 authenticated, 08 encrypted, 10 signed requests,
/// 20, 40, 80 the same of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy(pub u8);

/// What protected services are wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wrapping {
    /// The tag of the service: glo- or ded-.
    #[default]
    Service,
    /// general-glo-ciphering or general-ded-ciphering.
    General,
    /// general-ciphering.
    Ciphering,
}

/// How services are protected once the meter's keys are installed; without keys they are plain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Suite of the keys.
    pub suite: Suite,
    /// What must be protected how; the meter's own.
    pub policy: Policy,
    /// What protected services are wrapped in.
    pub wrapping: Wrapping,
    /// Services go under a key that is made for the association alone.
    pub dedicated_key: bool,
    /// The system title that the head-end shows to this meter; each node's own when left out.
    pub client_title: Option<[u8; 8]>,
}

/// Bits of a policy that demand a signature.
const SIGNED: u8 = 0x90;
/// Bits of a policy that version 1 of the security setup reserves.
const RESERVED: u8 = 0x03;
/// Bit of a policy: requests are encrypted.
const ENCRYPTED_REQUESTS: u8 = 0x08;

impl Default for Policy {
    /// Everything authenticated and encrypted.
    fn default() -> Self {
        Self(0x6c)
    }
}

impl Policy {
    /// From version 0 of the security setup: 0 nothing, 1 authenticated, 2 encrypted, 3 both, each
    /// for requests and responses alike. None for another number.
    pub fn from_v0(number: u8) -> Option<Self> {
        (number < 4).then_some(Self(number << 2 | number << 5))
    }

    /// As version 0 has it, when it can say it.
    pub fn to_v0(self) -> Option<u8> {
        (0..4).find(|number| Self::from_v0(*number) == Some(self))
    }
}

impl Suite {
    /// The suite of a number.
    pub fn of(number: u8) -> Option<Self> {
        [Self::Zero, Self::One, Self::Two].into_iter().find(|suite| suite.number() == number)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// Refuses what no meter can be: `bad_security` with the reason.
pub(super) fn check(
    authentication: Authentication,
    security: &Security,
    server_title: Option<&[u8; 8]>,
) -> Result<(), Stop> {
    let Security { suite, policy, dedicated_key, client_title, .. } = security;
    let why = if policy.0 & RESERVED != 0 {
        "the two lowest bits of a security policy are reserved"
    } else if *suite == Suite::Zero && authentication == Authentication::Hls7 {
        "hls7 needs suite 1 or 2"
    } else if *suite == Suite::Zero && policy.0 & SIGNED != 0 {
        "suite 0 has no signatures, and the policy demands them"
    } else if *dedicated_key && policy.0 & ENCRYPTED_REQUESTS == 0 {
        "a dedicated key needs a policy that encrypts requests"
    } else if client_title.is_some() && client_title.as_ref() == server_title {
        // One title on both sides of one key is one nonce for two messages.
        "the client's system title is the meter's own"
    } else {
        return Ok(());
    };
    Err(refuse("bad_security", why))
}

/// [`Attach`] as it is kept. Variants are only added: their order is their octets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "Attach")]
pub(super) enum Stored {
    Behind {
        concentrator: String,
    },
    Direct {
        address: String,
        client_sap: u16,
        server_sap: u16,
        authentication: Authentication,
        system_title: Option<[u8; 8]>,
    },
    /// The same with a security other than the first version knew.
    Secured {
        address: String,
        client_sap: u16,
        server_sap: u16,
        authentication: Authentication,
        system_title: Option<[u8; 8]>,
        security: Security,
    },
}

impl From<Stored> for Attach {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Behind { concentrator } => Self::Behind { concentrator },
            Stored::Direct { address, client_sap, server_sap, authentication, system_title } => {
                let security = Security::default();
                Self::Direct {
                    address,
                    client_sap,
                    server_sap,
                    authentication,
                    security,
                    system_title,
                }
            }
            Stored::Secured {
                address,
                client_sap,
                server_sap,
                authentication,
                system_title,
                security,
            } => Self::Direct {
                address,
                client_sap,
                server_sap,
                authentication,
                security,
                system_title,
            },
        }
    }
}

impl From<Attach> for Stored {
    fn from(attach: Attach) -> Self {
        match attach {
            Attach::Behind { concentrator } => Self::Behind { concentrator },
            Attach::Direct {
                address,
                client_sap,
                server_sap,
                authentication,
                security,
                system_title,
            } if security == Security::default() => {
                Self::Direct { address, client_sap, server_sap, authentication, system_title }
            }
            Attach::Direct {
                address,
                client_sap,
                server_sap,
                authentication,
                security,
                system_title,
            } => Self::Secured {
                address,
                client_sap,
                server_sap,
                authentication,
                system_title,
                security,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attach, Authentication, Policy, Security, Suite, Wrapping, check};

    fn direct(authentication: Authentication, security: Security) -> Attach {
        Attach::Direct {
            address: "h:1".to_owned(),
            client_sap: 1,
            server_sap: 1,
            authentication,
            security,
            system_title: Some([7; 8]),
        }
    }

    #[test]
    fn what_the_first_version_kept_is_read_and_written_in_its_octets() {
        // Written by the first version: variant 1, text, 1, 1, HLS 5, Some title.
        let mut kept = vec![1, 3, b'h', b':', b'1', 1, 1, 2, 1];
        kept.extend_from_slice(&[7; 8]);
        let attach: Attach = postcard::from_bytes(&kept).unwrap();
        assert_eq!(attach, direct(Authentication::Hls5, Security::default()));
        assert_eq!(postcard::to_allocvec(&attach).unwrap(), kept);
        let behind: Attach = postcard::from_bytes(&[0, 2, b'C', b'1']).unwrap();
        assert_eq!(behind, Attach::Behind { concentrator: "C1".to_owned() });
        assert_eq!(postcard::to_allocvec(&behind).unwrap(), [0, 2, b'C', b'1']);
    }

    #[test]
    fn any_other_security_is_kept_whole() {
        let security = Security {
            suite: Suite::Two,
            policy: Policy(0xfc),
            wrapping: Wrapping::Ciphering,
            dedicated_key: true,
            client_title: Some([9; 8]),
        };
        let attach = direct(Authentication::Hls7, security);
        let octets = postcard::to_allocvec(&attach).unwrap();
        assert_eq!(octets[0], 2);
        assert_eq!(postcard::from_bytes::<Attach>(&octets).unwrap(), attach);
    }

    #[test]
    fn what_no_meter_can_be_is_refused() {
        let base = Security::default();
        let one = Security { suite: Suite::One, ..base };
        let hls7 = Authentication::Hls7;
        let cases = [
            (Authentication::Hls5, base, true),
            (hls7, base, false),
            (hls7, one, true),
            (hls7, Security { policy: Policy(0xfc), ..one }, true),
            (Authentication::Hls5, Security { policy: Policy(0x10), ..base }, false),
            (Authentication::Hls5, Security { policy: Policy(0x6d), ..base }, false),
            (Authentication::Lls, Security { dedicated_key: true, ..base }, true),
            (
                Authentication::Lls,
                Security { dedicated_key: true, policy: Policy(0x24), ..base },
                false,
            ),
            (Authentication::Hls5, Security { client_title: Some([7; 8]), ..base }, false),
            (Authentication::Hls5, Security { client_title: Some([8; 8]), ..base }, true),
        ];
        for (authentication, security, is_taken) in cases {
            let judged = check(authentication, &security, Some(&[7; 8]));
            assert_eq!(judged.is_ok(), is_taken, "{authentication:?} {security:?}");
        }
    }

    #[test]
    fn policies_of_both_versions_are_one() {
        let known: Vec<_> = (0..=5).map(Policy::from_v0).collect();
        let expect = [Some(Policy(0)), Some(Policy(0x24)), Some(Policy(0x48)), Some(Policy(0x6c))];
        assert_eq!(known, [&expect[..], &[None, None]].concat());
        assert_eq!((Policy(0x6c).to_v0(), Policy(0x7c).to_v0()), (Some(3), None));
    }
}
