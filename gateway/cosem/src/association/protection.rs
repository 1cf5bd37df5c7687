//! The ciphering state of one side of an association: own title and counters, the peer's title
//! and highest counters, the dedicated key, what the policy demands. It decides nothing about
//! states.
//!
//! Invariants: a counter is given out once and never goes back; the peer's counter is accepted
//! only after everything has verified and the policy is met, and only when it rose; each key has
//! counters of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::apdu::ciphered::{ded_tag, glo_tag};
use crate::apdu::{Apdu, GeneralCiphering, GeneralHeader, GeneralSigning, KeyInfo, Protected, tag};
use crate::error::Error;
use crate::security::general::{
    MessageKey, open_general, seal_general, sign_general, verify_general,
};
use crate::security::{self, Credentials, KeyId, Keys, NewKeys, Required, Secret, SystemTitle};

/// Protections within protections that are opened: signature, end-to-end and access security.
const MAX_LAYERS: usize = 3;

/// Kinds of keys, each with counters of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyUse {
    /// The global unicast encryption key.
    Unicast,
    /// The global broadcast encryption key.
    Broadcast,
    /// Keys that came with their message, wrapped or agreed.
    Message,
    /// Signatures without ciphering; their transaction ids are the counters.
    Signature,
}

/// Highest counter accepted from a peer under each kind of key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Highest(BTreeMap<KeyUse, u32>);

impl Highest {
    /// The highest counter accepted.
    #[must_use]
    pub fn get(&self, key: KeyUse) -> Option<u32> {
        self.0.get(&key).copied()
    }

    /// Remembers a counter; a lower one than before changes nothing.
    pub fn raise(&mut self, key: KeyUse, counter: u32) {
        let highest = self.0.entry(key).or_insert(counter);
        *highest = (*highest).max(counter);
    }

    /// Remembers all that the other has.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(key, counter)| self.raise(*key, *counter));
    }

    /// The key was changed: its counters begin anew.
    pub(super) fn forget(&mut self, key: KeyUse) {
        self.0.remove(&key);
    }

    fn check(&self, key: KeyUse, counter: u32) -> Result<(), Error> {
        rises(self.get(key), counter)
    }
}

/// What protected services are wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrapping {
    /// The glo- or ded- tag of the service; general-glo or -ded for services without one.
    Service,
    /// general-glo-ciphering or general-ded-ciphering.
    General,
    /// general-ciphering under the global unicast key.
    Ciphering,
}

/// A dedicated key with its counters, which begin at 0 with the key.
#[derive(Debug)]
struct Dedicated {
    keys: Keys,
    next: u32,
    highest: Option<u32>,
}

/// A frame whose protections were taken off.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) plain: Vec<u8>,
    /// The sender's title, when the frame told it or the association knows it.
    pub(super) title: Option<SystemTitle>,
    pub(super) counter: Option<u32>,
    /// None for a signature without ciphering.
    wrapping: Option<Wrapping>,
    dedicated: bool,
    required: Required,
    transaction: Bytes,
}

/// What was found while protections were taken off.
#[derive(Default)]
struct Found {
    required: Required,
    counter: Option<u32>,
    rise: Option<(Option<KeyUse>, u32)>,
    wrapping: Option<Wrapping>,
    dedicated: bool,
    title: Option<SystemTitle>,
    transaction: Bytes,
}

/// Ciphering state of one side.
#[derive(Debug)]
pub(super) struct Protection {
    /// Keys, when services are ciphered.
    pub(super) keys: Option<Keys>,
    pub(super) credentials: Credentials,
    pub(super) own_title: SystemTitle,
    pub(super) peer_title: Option<SystemTitle>,
    /// Own counters that may still be used.
    pub(super) counters: Range<u32>,
    /// Highest counters accepted from the peer.
    pub(super) highest: Highest,
    /// What the policy demands of what is sent, and of what comes.
    pub(super) outgoing: Required,
    pub(super) incoming: Required,
    pub(super) wrapping: Wrapping,
    /// Protection of the peer's last request, which an answer is not below.
    mirrored: Required,
    /// Transaction id of the peer's last request, which an answer repeats.
    transaction: Bytes,
    dedicated: Option<Dedicated>,
    under_dedicated: bool,
}

impl Protection {
    pub(super) const fn new(
        own_title: SystemTitle,
        keys: Option<Keys>,
        credentials: Credentials,
    ) -> Self {
        Self {
            keys,
            credentials,
            own_title,
            peer_title: None,
            counters: 0..0,
            highest: Highest(BTreeMap::new()),
            outgoing: Required::BOTH,
            incoming: Required::BOTH,
            wrapping: Wrapping::Service,
            mirrored: Required::NONE,
            transaction: Bytes::new(),
            dedicated: None,
            under_dedicated: false,
        }
    }

    /// Back to no association; own counters and highest counters of keys that last remain.
    pub(super) fn end(&mut self) {
        self.keys = None;
        self.peer_title = None;
        self.highest = Highest::default();
        self.wrapping = Wrapping::Service;
        self.mirrored = Required::NONE;
        self.transaction = Bytes::new();
        self.dedicated = None;
        self.under_dedicated = false;
    }

    /// The next own counter under the global keys.
    pub(super) fn take_counter(&mut self) -> Result<u32, Error> {
        self.counters.next().ok_or(Error::NoCounters)
    }

    /// Counters left under the key in use.
    pub(super) fn counters_left(&self) -> u32 {
        match &self.dedicated {
            // What is signed without ciphering takes a global counter too.
            Some(dedicated) if self.under_dedicated => u32::MAX - dedicated.next,
            _ => self.counters.end.saturating_sub(self.counters.start),
        }
    }

    /// Octets by which protection can lengthen an APDU.
    pub(super) fn overhead(&self) -> usize {
        if self.keys.is_none() {
            return 0;
        }
        let signing = self.credentials.signing.as_ref();
        let signature = match (self.outgoing.and(self.mirrored).signed, signing) {
            // Tag 1, header 5 lengths, 8 + 8 + 8, two lengths of 3, r and s.
            (true, Some(key)) => 1 + 29 + 6 + 2 * key.suite().curve_octets(),
            _ => 0,
        };
        super::PROTECTION_OCTETS + signature
    }

    /// Whether frames without protection are refused.
    pub(super) fn refuses_plain(&self) -> bool {
        self.keys.is_some() && self.incoming != Required::NONE
    }

    /// Takes a dedicated key for what follows.
    pub(super) fn dedicate(&mut self, key: &[u8]) -> Result<(), Error> {
        let keys = self.keys.as_ref().ok_or(Error::NoKeys)?.under(key)?;
        self.dedicated = Some(Dedicated { keys, next: 0, highest: None });
        Ok(())
    }

    /// Sends under the dedicated key from now on, when there is one.
    pub(super) const fn use_dedicated(&mut self) {
        self.under_dedicated = self.dedicated.is_some();
    }

    /// Puts new keys in place; the counters of a changed key begin anew.
    pub(super) fn switch(&mut self, new: &NewKeys) -> Result<(), Error> {
        if let Some(keys) = &mut self.keys {
            new.apply(keys)?;
        }
        new.apply_kek(&mut self.credentials)?;
        for id in new.ids() {
            match id {
                KeyId::Unicast => self.highest.forget(KeyUse::Unicast),
                KeyId::Broadcast => self.highest.forget(KeyUse::Broadcast),
                KeyId::Authentication | KeyId::Kek => {}
            }
        }
        Ok(())
    }

    /// Protects an APDU as the policy demands, when services are ciphered. An initiate-request
    /// with a dedicated key is always encrypted.
    pub(super) fn seal(&mut self, apdu: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.keys.is_none() {
            return Ok(apdu);
        }
        let carries_key = matches!(apdu[..], [tag::INITIATE_REQUEST, 1, ..]);
        let wanted = self.outgoing.and(self.mirrored);
        let wanted = if carries_key { wanted.and(Required::BOTH) } else { wanted };
        let mut counter = None;
        let mut apdu = apdu;
        if wanted.is_ciphered() {
            (apdu, counter) = self.cipher(wanted, &apdu)?;
        }
        if !wanted.signed {
            return Ok(apdu);
        }
        let counter = match counter {
            Some(counter) => counter,
            None => self.take_counter()?,
        };
        let header = self.header(counter);
        let signing = self.credentials.signing.as_ref().ok_or(Error::NoKeys)?;
        Ok(Apdu::GeneralSigning(sign_general(signing, header, apdu)?).encode())
    }

    fn cipher(&mut self, wanted: Required, apdu: &[u8]) -> Result<(Vec<u8>, Option<u32>), Error> {
        let plain = *apdu.first().ok_or(Error::malformed(0, "an empty APDU"))?;
        let is_initiate = matches!(plain, tag::INITIATE_REQUEST | tag::INITIATE_RESPONSE);
        if self.under_dedicated
            && !is_initiate
            && let Some(dedicated) = &mut self.dedicated
        {
            let counter = dedicated.next;
            dedicated.next = counter.checked_add(1).ok_or(Error::NoCounters)?;
            let keys = &dedicated.keys;
            let control = wanted.control(keys.suite());
            let service = ded_tag(plain).filter(|_| self.wrapping == Wrapping::Service);
            let shown = shown(service, tag::GENERAL_DED, &self.own_title);
            let sender = (&self.own_title, counter);
            let sealed = security::seal_encoded(keys, control, sender, shown, apdu)?;
            return Ok((sealed, Some(counter)));
        }
        let counter = self.take_counter()?;
        let keys = self.keys.as_ref().ok_or(Error::NoKeys)?;
        let control = wanted.control(keys.suite());
        if self.wrapping == Wrapping::Ciphering && !is_initiate {
            let (key, header) = (MessageKey::Unicast, self.header(counter));
            let with = (control, counter);
            let sealed = seal_general(keys, &self.credentials, key, header, with, apdu)?;
            return Ok((Apdu::GeneralCiphering(sealed).encode(), Some(counter)));
        }
        let as_service = self.wrapping == Wrapping::Service || is_initiate;
        let shown = shown(glo_tag(plain).filter(|_| as_service), tag::GENERAL_GLO, &self.own_title);
        let sender = (&self.own_title, counter);
        Ok((security::seal_encoded(keys, control, sender, shown, apdu)?, Some(counter)))
    }

    fn header(&self, counter: u32) -> GeneralHeader {
        let transaction = if self.transaction.is_empty() {
            Bytes::copy_from_slice(&u64::from(counter).to_be_bytes())
        } else {
            self.transaction.clone()
        };
        GeneralHeader {
            transaction,
            originator: Bytes::copy_from_slice(&self.own_title),
            recipient: self.peer_title.map(|title| title.to_vec().into()).unwrap_or_default(),
            ..GeneralHeader::default()
        }
    }

    /// Takes the protections off a frame of the peer; None when it has none. Nothing is
    /// remembered of a frame that is refused.
    pub(super) fn open_frame(&mut self, octets: &[u8]) -> Result<Option<Opened>, Error> {
        let mut found = Found { title: self.peer_title, ..Found::default() };
        let mut plain = None;
        for _ in 0..MAX_LAYERS {
            let current = plain.as_deref().unwrap_or(octets);
            match self.peel(current, &mut found)? {
                Some(inner) => plain = Some(inner),
                None => break,
            }
        }
        let Some(plain) = plain else { return Ok(None) };
        self.incoming.check(found.required)?;
        if !found.required.is_ciphered() {
            let counter = transaction_counter(&found.transaction)?;
            self.highest.check(KeyUse::Signature, counter)?;
            found.rise = Some((Some(KeyUse::Signature), counter));
        }
        match found.rise {
            Some((Some(key), counter)) => self.highest.raise(key, counter),
            Some((None, counter)) => {
                if let Some(dedicated) = &mut self.dedicated {
                    dedicated.highest = Some(counter);
                }
            }
            None => {}
        }
        let Found { required, wrapping, dedicated, title, counter, transaction, .. } = found;
        Ok(Some(Opened { plain, title, counter, wrapping, dedicated, required, transaction }))
    }

    /// Answers as the peer asks: in the same wrapping, under the same kind of key, with the same
    /// transaction id, and protected no less.
    pub(super) fn answer_in_kind(&mut self, opened: &Opened) {
        self.wrapping = opened.wrapping.unwrap_or(Wrapping::Service);
        self.under_dedicated = opened.dedicated;
        self.mirrored = opened.required;
        self.transaction = opened.transaction.clone();
    }

    fn peel(&self, octets: &[u8], found: &mut Found) -> Result<Option<Vec<u8>>, Error> {
        match octets.first() {
            Some(&tag::GENERAL_SIGNING) => match Apdu::decode(octets)? {
                Apdu::GeneralSigning(signed) => self.unsign(&signed, found).map(Some),
                _ => Ok(None),
            },
            Some(&tag::GENERAL_CIPHERING) => match Apdu::decode(octets)? {
                Apdu::GeneralCiphering(sealed) => self.uncipher(&sealed, found).map(Some),
                _ => Ok(None),
            },
            _ => match Protected::decode(octets)? {
                Some(protected) => self.unseal(protected, found).map(Some),
                None => Ok(None),
            },
        }
    }

    fn unsign(&self, signed: &GeneralSigning, found: &mut Found) -> Result<Vec<u8>, Error> {
        let verifying = self.credentials.peer_signing.as_ref().ok_or(Error::NoKeys)?;
        found.title = Some(self.judge(&signed.header)?);
        verify_general(verifying, signed)?;
        found.required.signed = true;
        found.transaction = signed.header.transaction.clone();
        Ok(signed.content.to_vec())
    }

    fn uncipher(&self, sealed: &GeneralCiphering, found: &mut Found) -> Result<Vec<u8>, Error> {
        let keys = self.keys.as_ref().ok_or(Error::NoKeys)?;
        found.title = Some(self.judge(&sealed.header)?);
        let plain = open_general(keys, &self.credentials, Required::NONE, sealed)?;
        let key = match sealed.key {
            Some(KeyInfo::Wrapped(..) | KeyInfo::Agreed { .. }) => KeyUse::Message,
            Some(KeyInfo::Identified(1)) => KeyUse::Broadcast,
            _ if sealed.control.is_broadcast() => KeyUse::Broadcast,
            _ => KeyUse::Unicast,
        };
        self.highest.check(key, sealed.counter)?;
        found.rise = Some((Some(key), sealed.counter));
        found.counter = Some(sealed.counter);
        found.required = found.required.and(Required::of(sealed.control));
        found.wrapping = Some(Wrapping::Ciphering);
        found.transaction = sealed.header.transaction.clone();
        Ok(plain)
    }

    fn unseal(&self, protected: Protected, found: &mut Found) -> Result<Vec<u8>, Error> {
        let keys = self.keys.as_ref().ok_or(Error::NoKeys)?;
        let title = match (protected.title, self.peer_title) {
            (Some(title), Some(peer)) if title != peer => return Err(Error::WrongTitle),
            (Some(title), _) | (None, Some(title)) => title,
            (None, None) => return Err(Error::WrongTitle),
        };
        let dedicated = match (protected.is_dedicated(), &self.dedicated) {
            (false, _) => None,
            (true, Some(dedicated)) => Some(dedicated),
            (true, None) => {
                return Err(Error::Protection("under a dedicated key that was not given"));
            }
        };
        let is_general = protected.is_general();
        let Protected { tag, control, counter, content, .. } = protected;
        let keys = dedicated.map_or(keys, |dedicated| &dedicated.keys);
        let plain = security::open_owned(keys, control, &title, counter, content)?;
        // The tag is not authenticated: a get-request under the tag of set-request is forged.
        let service = plain.first().and_then(|first| match dedicated {
            Some(_) => ded_tag(*first),
            None => glo_tag(*first),
        });
        if !is_general && service != Some(tag) {
            return Err(Error::Protection("a service under another one's tag"));
        }
        let key = if control.is_broadcast() { KeyUse::Broadcast } else { KeyUse::Unicast };
        match dedicated {
            Some(dedicated) => rises(dedicated.highest, counter)?,
            None => self.highest.check(key, counter)?,
        }
        found.rise = Some((dedicated.is_none().then_some(key), counter));
        found.counter = Some(counter);
        found.required = found.required.and(Required::of(control));
        found.wrapping = Some(if is_general { Wrapping::General } else { Wrapping::Service });
        found.dedicated = dedicated.is_some();
        found.title = Some(title);
        Ok(plain)
    }

    /// The originator, when the message is from the peer and to this side.
    fn judge(&self, header: &GeneralHeader) -> Result<SystemTitle, Error> {
        let originator = SystemTitle::try_from(&header.originator[..]);
        let originator = originator.map_err(|_| Error::WrongTitle)?;
        let is_peer = self.peer_title.is_none_or(|peer| peer == originator);
        let is_for_us = header.recipient.is_empty() || header.recipient[..] == self.own_title;
        if is_peer && is_for_us { Ok(originator) } else { Err(Error::WrongTitle) }
    }
}

/// The tag of a protected APDU: that of its service, or the general one, which shows the title.
fn shown(service: Option<u8>, general: u8, title: &SystemTitle) -> (u8, Option<&SystemTitle>) {
    service.map_or((general, Some(title)), |service| (service, None))
}

fn rises(highest: Option<u32>, counter: u32) -> Result<(), Error> {
    match highest {
        Some(highest) if counter <= highest => Err(Error::Replayed { counter, highest }),
        _ => Ok(()),
    }
}

/// A transaction id as the counter of a message that has no other.
fn transaction_counter(transaction: &[u8]) -> Result<u32, Error> {
    let no_counter = Error::Protection("a signature alone whose transaction id is no counter");
    if transaction.is_empty() || transaction.len() > 8 {
        return Err(no_counter);
    }
    let value = transaction.iter().fold(0u64, |value, octet| value << 8 | u64::from(*octet));
    u32::try_from(value).map_err(|_| no_counter)
}

/// A dedicated key as the driver gives it, checked against the suite.
pub(super) fn check_dedicated(keys: Option<&Keys>, key: &Secret) -> Result<(), Error> {
    keys.ok_or(Error::NoKeys)?.under(key.expose()).map(|_| ())
}
