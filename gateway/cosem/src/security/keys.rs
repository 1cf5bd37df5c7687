//! The symmetric keys of a device: global unicast and broadcast encryption keys, authentication
//! key, and the key that encrypts keys. It protects no APDU: that is `seal`.
//!
//! Invariants: every key has the length of the suite; keys are wiped on drop and never printed.

use std::fmt;

use aes::{Aes128, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, Nonce, Tag};
use aes_kw::{KwAes128, KwAes256};
use zeroize::Zeroizing;

use super::suite::{SecurityControl, Suite};
use crate::error::Error;

/// Octets by which wrapping lengthens a key (RFC 3394).
const WRAP_OCTETS: usize = 8;

/// Octets of the longest key, that of suite 2.
const MAX_KEY_OCTETS: usize = 32;

type Gcm<A> = AesGcm<A, U12, U12>;

/// AES-GCM with a tag of 12 octets. Boxed, so that moving it leaves no copies behind on the
/// stack.
#[derive(Clone)]
pub(super) enum Cipher {
    Aes128(Box<Gcm<Aes128>>),
    Aes256(Box<Gcm<Aes256>>),
}

impl Cipher {
    /// `key` has the length of the suite's keys.
    fn new(suite: Suite, key: &[u8]) -> Result<Self, Error> {
        let wrong = |_| Error::Protection(WRONG_LENGTH);
        Ok(match suite {
            Suite::Zero | Suite::One => {
                Self::Aes128(Box::new(Gcm::<Aes128>::new_from_slice(key).map_err(wrong)?))
            }
            Suite::Two => {
                Self::Aes256(Box::new(Gcm::<Aes256>::new_from_slice(key).map_err(wrong)?))
            }
        })
    }

    /// Encrypts in place; the tag.
    pub(super) fn encrypt(
        &self,
        nonce: &Nonce<U12>,
        associated: &[u8],
        octets: &mut [u8],
    ) -> Result<Tag<U12>, Error> {
        let length = octets.len();
        let sealed = match self {
            Self::Aes128(gcm) => gcm.encrypt_inout_detached(nonce, associated, octets.into()),
            Self::Aes256(gcm) => gcm.encrypt_inout_detached(nonce, associated, octets.into()),
        };
        sealed.map_err(|_| Error::TooLong { length, limit: u32::MAX as usize })
    }

    /// Decrypts in place once the tag has verified.
    pub(super) fn decrypt(
        &self,
        nonce: &Nonce<U12>,
        associated: &[u8],
        octets: &mut [u8],
        tag: &Tag<U12>,
    ) -> Result<(), Error> {
        let opened = match self {
            Self::Aes128(gcm) => gcm.decrypt_inout_detached(nonce, associated, octets.into(), tag),
            Self::Aes256(gcm) => gcm.decrypt_inout_detached(nonce, associated, octets.into(), tag),
        };
        opened.map_err(|_| Error::BadTag)
    }
}

const WRONG_LENGTH: &str = "a key of another length than the suite's";
const NO_BROADCAST: &str = "under the broadcast key, and none is configured";

/// Names a key in key transfer, key agreement and key information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyId {
    /// 0: global unicast encryption key.
    Unicast,
    /// 1: global broadcast encryption key.
    Broadcast,
    /// 2: global authentication key.
    Authentication,
    /// 3: key encryption key, the master key.
    Kek,
}

impl KeyId {
    /// The key with a number.
    ///
    /// # Errors
    /// `Protection` for a number that the standard does not have.
    pub const fn of(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Unicast),
            1 => Ok(Self::Broadcast),
            2 => Ok(Self::Authentication),
            3 => Ok(Self::Kek),
            _ => Err(Error::Protection("an unknown key id")),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unicast => 0,
            Self::Broadcast => 1,
            Self::Authentication => 2,
            Self::Kek => 3,
        }
    }
}

/// The global keys of a device in one suite; wiped on drop, never printed.
#[derive(Clone)]
pub struct Keys {
    suite: Suite,
    unicast: Cipher,
    broadcast: Option<Cipher>,
    authentication: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Suite 0, from the global unicast encryption key and the global authentication key.
    #[must_use]
    pub fn new(guek: &[u8; 16], gak: &[u8; 16]) -> Self {
        Self {
            suite: Suite::Zero,
            unicast: Cipher::Aes128(Box::new(Gcm::<Aes128>::new(guek.into()))),
            broadcast: None,
            authentication: Zeroizing::new(gak.to_vec()),
        }
    }

    /// Any suite: keys of 16 octets in suites 0 and 1, of 32 in suite 2.
    ///
    /// # Errors
    /// `Protection` when a key has another length.
    pub fn in_suite(suite: Suite, guek: &[u8], gak: &[u8]) -> Result<Self, Error> {
        Ok(Self {
            suite,
            unicast: Cipher::new(suite, guek)?,
            broadcast: None,
            authentication: of_length(suite, gak)?,
        })
    }

    /// With the global broadcast encryption key.
    ///
    /// # Errors
    /// `Protection` when it has another length than the suite's keys.
    pub fn with_broadcast(mut self, gbek: &[u8]) -> Result<Self, Error> {
        self.broadcast = Some(Cipher::new(self.suite, gbek)?);
        Ok(self)
    }

    /// The same with another encryption key: dedicated, wrapped or agreed for a message.
    ///
    /// # Errors
    /// `Protection` when it has another length than the suite's keys.
    pub fn under(&self, key: &[u8]) -> Result<Self, Error> {
        Ok(Self {
            suite: self.suite,
            unicast: Cipher::new(self.suite, key)?,
            broadcast: None,
            authentication: self.authentication.clone(),
        })
    }

    /// The broadcast key in the unicast key's place, for a sender that names the key elsewhere
    /// than in the security control.
    pub(super) fn broadcast_as_unicast(&self) -> Result<Self, Error> {
        let broadcast = self.broadcast.clone().ok_or(Error::Protection(NO_BROADCAST))?;
        let authentication = self.authentication.clone();
        Ok(Self { suite: self.suite, unicast: broadcast, broadcast: None, authentication })
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The same keys in another suite, when its keys are as long.
    pub(crate) fn in_other_suite(&self, suite: Suite) -> Option<Self> {
        let fits = suite.key_octets() == self.suite.key_octets();
        fits.then(|| Self { suite, ..self.clone() })
    }

    /// Puts one key in place of another; `Kek` is none of these keys and changes nothing.
    ///
    /// # Errors
    /// `Protection` when it has another length than the suite's keys.
    pub(super) fn replace(&mut self, id: KeyId, key: &[u8]) -> Result<(), Error> {
        match id {
            KeyId::Unicast => self.unicast = Cipher::new(self.suite, key)?,
            KeyId::Broadcast => self.broadcast = Some(Cipher::new(self.suite, key)?),
            KeyId::Authentication => self.authentication = of_length(self.suite, key)?,
            KeyId::Kek => {}
        }
        Ok(())
    }

    /// The cipher that `control` asks for, when these keys can do what it says.
    pub(super) fn cipher(&self, control: SecurityControl) -> Result<&Cipher, Error> {
        match control {
            _ if control.suite() != self.suite.number() => Err(Error::Suite(control.suite())),
            _ if control.is_compressed() => {
                Err(Error::Protection("compressed: V.44 is not supported"))
            }
            _ if control.is_broadcast() => {
                self.broadcast.as_ref().ok_or(Error::Protection(NO_BROADCAST))
            }
            _ => Ok(&self.unicast),
        }
    }

    /// Calls `with` with the authenticated data: security control, authentication key, and what
    /// follows them. Without anything to follow they stand on the stack.
    pub(super) fn with_associated<T>(
        &self,
        control: SecurityControl,
        parts: [&[u8]; 2],
        with: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let [first, second] = parts;
        let mut head = Zeroizing::new([0; 1 + MAX_KEY_OCTETS]);
        let length = 1 + self.authentication.len();
        for (to, from) in head.iter_mut().zip([&control.0].into_iter().chain(&*self.authentication))
        {
            *to = *from;
        }
        let head = head.get(..length).unwrap_or_default();
        if first.is_empty() && second.is_empty() {
            return with(head);
        }
        let size = head.len() + first.len() + second.len();
        let mut associated = Zeroizing::new(Vec::with_capacity(size));
        associated.extend_from_slice(head);
        associated.extend_from_slice(first);
        associated.extend_from_slice(second);
        with(&associated)
    }
}

fn of_length(suite: Suite, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    if key.len() != suite.key_octets() {
        return Err(Error::Protection(WRONG_LENGTH));
    }
    Ok(Zeroizing::new(key.to_vec()))
}

/// The key that encrypts keys (AES key wrap, RFC 3394); wiped on drop, never printed.
#[derive(Clone)]
pub struct Kek {
    suite: Suite,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

impl Kek {
    /// A key of 16 octets in suites 0 and 1, of 32 in suite 2.
    ///
    /// # Errors
    /// `Protection` when it has another length.
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, Error> {
        Ok(Self { suite, key: of_length(suite, key)? })
    }

    /// Its suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Wraps a key of the suite's length: 8 octets more.
    ///
    /// # Errors
    /// `Protection` when the key has another length.
    pub fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        use aes_kw::KeyInit;
        let key = of_length(self.suite, key)?;
        let mut wrapped = vec![0; key.len() + WRAP_OCTETS];
        let wrong = |_| Error::Protection(WRONG_LENGTH);
        let wrapping = match self.suite {
            Suite::Zero | Suite::One => {
                let kek = KwAes128::new_from_slice(&self.key).map_err(wrong)?;
                kek.wrap_key(&key, &mut wrapped).map(|_| ())
            }
            Suite::Two => {
                let kek = KwAes256::new_from_slice(&self.key).map_err(wrong)?;
                kek.wrap_key(&key, &mut wrapped).map(|_| ())
            }
        };
        wrapping.map_err(|_| Error::Protection("a key that cannot be wrapped"))?;
        Ok(wrapped)
    }

    /// Unwraps a key of the suite's length.
    ///
    /// # Errors
    /// `Protection` when it has another length, `BadTag` when it was wrapped under another key or
    /// changed.
    pub fn unwrap_key(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        use aes_kw::KeyInit;
        if wrapped.len() != self.suite.key_octets() + WRAP_OCTETS {
            return Err(Error::Protection(WRONG_LENGTH));
        }
        let mut key = Zeroizing::new(vec![0; self.suite.key_octets()]);
        let wrong = |_| Error::Protection(WRONG_LENGTH);
        let unwrapping = match self.suite {
            Suite::Zero | Suite::One => {
                let kek = KwAes128::new_from_slice(&self.key).map_err(wrong)?;
                kek.unwrap_key(wrapped, &mut key).map(|_| ())
            }
            Suite::Two => {
                let kek = KwAes256::new_from_slice(&self.key).map_err(wrong)?;
                kek.unwrap_key(wrapped, &mut key).map(|_| ())
            }
        };
        unwrapping.map_err(|_| Error::BadTag)?;
        Ok(key)
    }
}
