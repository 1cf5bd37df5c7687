//! New keys for a device: the parameter of security setup method 2 (key transfer, IEC 62056-6-2
//! clause 4.4.7.3), both ways, and putting them in place. When they are put in place,
//! `association` decides.
//!
//! Invariants: a key is named once; keys travel wrapped; they are wiped on drop, never printed.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::general::Credentials;
use super::keys::{Kek, KeyId, Keys};
use crate::data::Data;
use crate::error::Error;

/// New keys by their ids; wiped on drop, only the ids are printed.
#[derive(Clone, Default)]
pub struct NewKeys(BTreeMap<KeyId, Zeroizing<Vec<u8>>>);

impl fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKeys({:?})", self.ids().collect::<Vec<_>>())
    }
}

impl NewKeys {
    /// With one more key, in place of one with the same id.
    #[must_use]
    pub fn with(mut self, id: KeyId, key: &[u8]) -> Self {
        self.0.insert(id, Zeroizing::new(key.to_vec()));
        self
    }

    /// The new key with this id.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&[u8]> {
        self.0.get(&id).map(|key| &key[..])
    }

    /// Which keys there are.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.keys().copied()
    }

    /// The parameter of method 2: an array of structures {enum key id, octet-string wrapped key}.
    ///
    /// # Errors
    /// `Protection` when a key has another length than the suite's, or there is none.
    pub fn wrapped(&self, kek: &Kek) -> Result<Data, Error> {
        if self.0.is_empty() {
            return Err(Error::Protection("no keys to transfer"));
        }
        let entry = |(id, key): (&KeyId, &Zeroizing<Vec<u8>>)| {
            let wrapped = kek.wrap(key)?;
            Ok(Data::Structure(vec![Data::Enum(id.number()), Data::octets(&wrapped)]))
        };
        self.0.iter().map(entry).collect::<Result<_, _>>().map(Data::Array)
    }

    /// The keys in a parameter of method 2.
    ///
    /// # Errors
    /// `Malformed` for another shape, `Protection` for an unknown id, a key named twice or of
    /// another length, `BadTag` when a key was wrapped under another one.
    pub fn unwrap_from(kek: &Kek, parameter: &Data) -> Result<Self, Error> {
        let shape = Error::malformed(0, "not an array of key ids and wrapped keys");
        let Data::Array(entries) = parameter else { return Err(shape) };
        let mut keys = Self::default();
        for entry in entries {
            let Data::Structure(fields) = entry else { return Err(shape) };
            let [Data::Enum(id), Data::OctetString(wrapped)] = &fields[..] else {
                return Err(shape);
            };
            let id = KeyId::of(*id)?;
            if keys.0.insert(id, kek.unwrap_key(wrapped)?).is_some() {
                return Err(Error::Protection("a key that is transferred twice"));
            }
        }
        if keys.0.is_empty() {
            return Err(Error::Protection("no keys to transfer"));
        }
        Ok(keys)
    }

    /// Puts the new keys in place of the old ones; the key-encryption key is none of `keys`.
    ///
    /// # Errors
    /// `Protection` when a key has another length than the suite's; nothing has changed then.
    pub fn apply(&self, keys: &mut Keys) -> Result<(), Error> {
        let mut changed = keys.clone();
        for (id, key) in &self.0 {
            changed.replace(*id, key)?;
        }
        *keys = changed;
        Ok(())
    }

    /// Puts a new key-encryption key in place of the old one, when there is one among these.
    ///
    /// # Errors
    /// `Protection` when it has another length than the old one's suite.
    pub fn apply_kek(&self, credentials: &mut Credentials) -> Result<(), Error> {
        if let (Some(key), Some(old)) = (self.get(KeyId::Kek), &credentials.kek) {
            credentials.kek = Some(Kek::new(old.suite(), key)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::NewKeys;
    use crate::data::Data;
    use crate::error::Error;
    use crate::security::{Kek, KeyId, Keys, SecurityControl, Suite, open, seal};

    #[test]
    fn keys_come_out_as_they_went_in_and_a_changed_one_does_not() {
        for suite in [Suite::Zero, Suite::One, Suite::Two] {
            let length = suite.key_octets();
            let kek = Kek::new(suite, &vec![9; length]).unwrap();
            let keys = NewKeys::default()
                .with(KeyId::Unicast, &vec![1; length])
                .with(KeyId::Broadcast, &vec![2; length])
                .with(KeyId::Authentication, &vec![3; length])
                .with(KeyId::Kek, &vec![4; length]);
            let parameter = keys.wrapped(&kek).unwrap();
            let found = NewKeys::unwrap_from(&kek, &parameter).unwrap();
            assert!(found.ids().eq(keys.ids()));
            assert!(keys.ids().all(|id| found.get(id) == keys.get(id)));
            let octets = parameter.to_axdr();
            // Array head 2, structure head 2, enum 2, string head 2: then the wrapped octets.
            for at in 8..8 + length + 8 {
                let mut bad = octets.clone();
                bad[at] ^= 0x10;
                let bad = Data::decode(&bad).unwrap();
                assert_eq!(NewKeys::unwrap_from(&kek, &bad).unwrap_err(), Error::BadTag);
            }
            let other = Kek::new(suite, &vec![8; length]).unwrap();
            assert_eq!(NewKeys::unwrap_from(&other, &parameter).unwrap_err(), Error::BadTag);
        }
    }

    #[test]
    fn shapes_that_are_no_key_transfer_are_refused() {
        let kek = Kek::new(Suite::Zero, &[9; 16]).unwrap();
        let wrapped = Data::octets(&kek.wrap(&[1; 16]).unwrap());
        let entry = |id: u8| Data::Structure(vec![Data::Enum(id), wrapped.clone()]);
        let cases = [
            (Data::Null, "malformed"),
            (Data::Array(vec![]), "protection"),
            (Data::Array(vec![Data::Null]), "malformed"),
            (Data::Array(vec![Data::Structure(vec![Data::Enum(0)])]), "malformed"),
            (Data::Array(vec![entry(0), entry(0)]), "protection"),
            (Data::Array(vec![entry(4)]), "protection"),
            (
                Data::Array(vec![Data::Structure(vec![Data::Enum(0), Data::octets(&[1; 23])])]),
                "protection",
            ),
        ];
        for (parameter, code) in cases {
            let refused = NewKeys::unwrap_from(&kek, &parameter).unwrap_err();
            assert_eq!(refused.code(), code, "{parameter:?}");
        }
        assert!(NewKeys::default().wrapped(&kek).is_err());
        assert!(NewKeys::default().with(KeyId::Kek, &[1; 32]).wrapped(&kek).is_err());
    }

    #[test]
    fn applied_keys_open_what_the_new_keys_sealed() {
        let title = *b"HFD\0\0\0\0\x01";
        let mut keys = Keys::new(&[1; 16], &[2; 16]);
        let new = Keys::new(&[5; 16], &[6; 16]).with_broadcast(&[7; 16]).unwrap();
        let fresh = NewKeys::default()
            .with(KeyId::Unicast, &[5; 16])
            .with(KeyId::Authentication, &[6; 16])
            .with(KeyId::Broadcast, &[7; 16]);
        fresh.apply(&mut keys).unwrap();
        for control in [SecurityControl::BOTH, SecurityControl::BOTH.under_broadcast_key()] {
            let sealed = seal(&new, control, &title, 1, b"x").unwrap();
            assert_eq!(open(&keys, control, &title, 1, &sealed).unwrap(), b"x");
        }
        let wrong = fresh.with(KeyId::Broadcast, &[7; 32]);
        assert!(wrong.apply(&mut keys).is_err());
    }
}
