//! Who may do what: security setup, association object, SAP assignment, and the changes of keys
//! and secrets.
//!
//! Invariants: a key enters only wrapped under the meter's key-encryption key; keys and secrets
//! are never read out; a new key counts from the next association on.

use cosem::apdu::Conformance;
use cosem::data::BitString;
use cosem::security::{Kek, KeyId, NewKeys, Policy};
use cosem::{Data, DataAccessError, Suite};

use super::catalogue::{ASSOCIATION, Kind, Object, SECURITY_SETUP, objects};
use super::events::{FRAUD, STANDARD};
use super::memory::{from_hex, hex, key_of};
use super::{After, Meter, Who};
use crate::field::{Access, Key};
use crate::session;
use crate::suites::{Proof, symmetric};

/// Longest PDU that a meter takes.
pub const MAX_PDU: u16 = 2_048;

impl Meter<'_> {
    /// The global unicast encryption key that counts now.
    #[must_use]
    pub fn guek(&self) -> Key {
        key_of(self.memory.keys.guek.as_ref()).unwrap_or(self.model.guek)
    }

    /// The global authentication key that counts now.
    #[must_use]
    pub fn gak(&self) -> Key {
        key_of(self.memory.keys.gak.as_ref()).unwrap_or(self.model.gak)
    }

    fn kek(&self, suite: Suite) -> Vec<u8> {
        let changed = self.memory.keys.kek.as_ref().and_then(|text| from_hex(text));
        changed.unwrap_or_else(|| symmetric(suite, self.model.kek))
    }

    /// Attributes of the security setup.
    pub(super) fn security(&self, attribute: i8) -> Result<Data, DataAccessError> {
        Ok(match attribute {
            2 => Data::Enum(session::policy(self.model, self.memory)),
            3 => Data::Enum(self.model.access.suite().map_or(0, Suite::number)),
            4 => Data::octets(self.moment.client.as_ref().map_or(&[][..], |title| &title[..])),
            5 => Data::octets(&self.model.title),
            6 => Data::Array(Vec::new()),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Methods security_activate and key_transfer.
    pub(super) fn security_method(
        &mut self,
        method: i8,
        parameter: Option<&Data>,
    ) -> Result<(), DataAccessError> {
        if method == 1 {
            let Some(Data::Enum(policy)) = parameter else {
                return Err(DataAccessError::TypeUnmatched);
            };
            let Data::Enum(old) = self.current(64, SECURITY_SETUP, 2) else {
                return Err(DataAccessError::OtherReason);
            };
            // A policy is strengthened only (Blue Book, class 64), and suite 0 cannot sign.
            let is_zero = self.model.access.suite() == Some(Suite::Zero);
            let cannot = Policy::from_v1(*policy).is_err() || (is_zero && policy & 0x90 != 0);
            if policy & old != old || cannot {
                return Err(DataAccessError::ReadWriteDenied);
            }
            self.memory.write(64, SECURITY_SETUP, 2, &Data::Enum(*policy));
            self.happened(STANDARD, 47);
            return Ok(());
        }
        self.transfer_keys(parameter)
    }

    /// All keys of a transfer are taken, or none.
    fn transfer_keys(&mut self, parameter: Option<&Data>) -> Result<(), DataAccessError> {
        let parameter = parameter.ok_or(DataAccessError::TypeUnmatched)?;
        let suite = self.model.access.suite().unwrap_or(Suite::Zero);
        let kek = Kek::new(suite, &self.kek(suite));
        let kek = kek.map_err(|_| DataAccessError::HardwareFault)?;
        let new = match NewKeys::unwrap_from(&kek, parameter) {
            Ok(new) => new,
            Err(cosem::Error::BadTag) => {
                self.happened(FRAUD, 49);
                return Err(DataAccessError::OtherReason);
            }
            Err(_) => return Err(DataAccessError::TypeUnmatched),
        };
        let keys = &mut self.memory.keys;
        for (id, place) in [
            (KeyId::Unicast, &mut keys.guek),
            (KeyId::Broadcast, &mut keys.gbek),
            (KeyId::Authentication, &mut keys.gak),
            (KeyId::Kek, &mut keys.kek),
        ] {
            if let Some(key) = new.get(id) {
                *place = Some(hex(key));
            }
        }
        self.happened(FRAUD, 48);
        self.after.push(After::KeysChanged);
        Ok(())
    }

    /// Attributes of the current association.
    pub(super) fn association(&self, who: Who, attribute: i8) -> Result<Data, DataAccessError> {
        let ciphered = self.model.access.suite().is_some() && who == Who::Manager;
        let name = |last: [u8; 2]| {
            let [kind, id] = last;
            Data::octets(&[0x60, 0x85, 0x74, 0x05, 0x08, kind, id])
        };
        Ok(match attribute {
            2 => self.object_list(who),
            3 => {
                let client = i8::try_from(self.moment.client_sap).unwrap_or(i8::MAX);
                Data::Structure(vec![Data::I8(client), Data::U16(self.moment.sap)])
            }
            4 => name([1, if ciphered { 3 } else { 1 }]),
            5 => {
                let bits: Vec<bool> =
                    (0..24).map(|bit| Conformance::OURS.0 >> (23 - bit) & 1 == 1).collect();
                Data::Structure(vec![
                    Data::BitString(BitString::new(&bits)),
                    Data::U16(MAX_PDU),
                    Data::U16(MAX_PDU),
                    Data::U8(6),
                    Data::I8(0),
                    Data::octets(&[]),
                ])
            }
            6 => name([2, self.mechanism(who)]),
            // The secret is never shown.
            7 => return Err(DataAccessError::ReadWriteDenied),
            8 => Data::Enum(2),
            9 => Data::octets(&SECURITY_SETUP),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    fn mechanism(&self, who: Who) -> u8 {
        match (who, &self.model.access) {
            (Who::Public, _) | (_, Access::None) => 0,
            (Who::Reader, _) | (_, Access::Lls(_)) => 1,
            (Who::Manager, Access::Secret(hls, _)) => *hls as u8,
            (Who::Manager, Access::Hls5) => 5,
            (Who::Manager, Access::Secured(secured)) => match secured.proof {
                Proof::Gmac => 5,
                Proof::Ecdsa => 7,
            },
        }
    }

    /// Attribute secret of the association, and method change_HLS_secret.
    pub(super) fn change_secret(&mut self, value: Option<&Data>) -> Result<(), DataAccessError> {
        let octets = value.and_then(Data::as_octets).ok_or(DataAccessError::TypeUnmatched)?;
        if !(1..=64).contains(&octets.len()) {
            return Err(DataAccessError::OtherReason);
        }
        self.memory.keys.secret = Some(hex(octets));
        self.happened(STANDARD, 47);
        self.after.push(After::KeysChanged);
        Ok(())
    }

    fn object_list(&self, who: Who) -> Data {
        let entry = |object: &Object| {
            let right = |attribute: i8| {
                let reads = !(object.name == ASSOCIATION && attribute == 7);
                let writes = who == Who::Manager && object.takes(attribute);
                let mode = u8::from(reads) | u8::from(writes) << 1;
                Data::Structure(vec![Data::I8(attribute), Data::Enum(mode), Data::Null])
            };
            let call = |method: i8| {
                // Energy registers are never reset.
                let manages = who == Who::Manager && !matches!(object.kind, Kind::Register(_));
                let allowed = manages || (object.name == ASSOCIATION && method == 1);
                Data::Structure(vec![Data::I8(method), Data::Enum(u8::from(allowed))])
            };
            let rights = Data::Structure(vec![
                Data::Array((1..=object.attributes).map(right).collect()),
                Data::Array((1..=object.methods).map(call).collect()),
            ]);
            Data::Structure(vec![
                Data::U16(object.class),
                Data::U8(object.version),
                Data::octets(&object.name),
                rights,
            ])
        };
        let seen = objects(self.model.phases).iter().filter(|object| who.sees(object.name));
        Data::Array(seen.map(entry).collect())
    }

    /// The logical devices: this one.
    pub(super) fn saps(&self) -> Data {
        let name = Data::octets(self.model.serial.as_bytes());
        Data::Array(vec![Data::Structure(vec![Data::U16(self.moment.sap), name])])
    }
}
