//! The ciphering state of one side of an association: own title and counters, the peer's title
//! and highest counter. It decides nothing about states.
//!
//! Invariant: a counter is given out once and never goes back; the peer's counter is accepted
//! only after the tag has verified, and only when it rose.

use std::ops::Range;

use crate::apdu::{Apdu, Protected, tag};
use crate::error::Error;
use crate::security::{self, Keys, SecurityControl, SystemTitle};

/// Ciphering state of one side.
#[derive(Debug)]
pub(super) struct Protection {
    /// Keys, when services are ciphered.
    pub(super) keys: Option<Keys>,
    pub(super) own_title: SystemTitle,
    pub(super) peer_title: Option<SystemTitle>,
    /// Own counters that may still be used.
    pub(super) counters: Range<u32>,
    /// Highest counter accepted from the peer.
    pub(super) highest: Option<u32>,
    /// Send general-glo in place of glo-, as the peer does.
    pub(super) general: bool,
}

impl Protection {
    pub(super) const fn new(own_title: SystemTitle, keys: Option<Keys>) -> Self {
        Self { keys, own_title, peer_title: None, counters: 0..0, highest: None, general: false }
    }

    /// The next own counter.
    pub(super) fn take_counter(&mut self) -> Result<u32, Error> {
        self.counters.next().ok_or(Error::NoCounters)
    }

    pub(super) fn counters_left(&self) -> u32 {
        self.counters.end.saturating_sub(self.counters.start)
    }

    /// Protects an APDU, when services are ciphered.
    pub(super) fn seal(&mut self, apdu: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.keys.is_none() {
            return Ok(apdu);
        }
        let counter = self.take_counter()?;
        let keys = self.keys.as_ref().ok_or(Error::NoKeys)?;
        let control = SecurityControl::BOTH;
        let mut protected = security::seal_apdu(keys, control, &self.own_title, counter, &apdu)?;
        let is_initiate = matches!(protected.tag, 0x21 | 0x28);
        if self.general && !is_initiate {
            protected.tag = tag::GENERAL_GLO;
            protected.title = Some(self.own_title);
        }
        Ok(Apdu::Protected(protected).encode())
    }

    /// Opens a protected APDU of the peer: the plain octets.
    pub(super) fn open(&mut self, protected: &Protected) -> Result<Vec<u8>, Error> {
        let keys = self.keys.as_ref().ok_or(Error::NoKeys)?;
        let title = match (protected.title, self.peer_title) {
            (Some(title), Some(peer)) if title != peer => return Err(Error::WrongTitle),
            (Some(title), _) | (None, Some(title)) => title,
            (None, None) => return Err(Error::WrongTitle),
        };
        if protected.tag == tag::GENERAL_DED || matches!(protected.tag, 0x41 | 0x48 | 0xd0..=0xd7) {
            return Err(Error::Protection("under a dedicated key"));
        }
        let plain = security::open_apdu(keys, SecurityControl::BOTH, &title, protected)?;
        if let Some(highest) = self.highest
            && protected.counter <= highest
        {
            return Err(Error::Replayed { counter: protected.counter, highest });
        }
        self.highest = Some(protected.counter);
        Ok(plain)
    }
}
