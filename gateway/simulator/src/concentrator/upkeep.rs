//! What a concentrator keeps and what it says by itself: counters, memory, sealed notifications.
//!
//! Invariant: a counter or a plan is in the kept memory before a frame with it is queued; when the
//! memory cannot be kept, nothing more is sent.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use cosem::apdu::{Apdu, DataNotification, EventNotification, LongInvokePriority};
use cosem::wrapper::Header;
use cosem::{Data, SecurityControl, security};

use super::channel::Channel;
use super::meters::MeterPort;
use super::{Concentrator, NOTIFICATION_SAP, Now, SERVER_SAP};
use crate::session::COUNTERS_A_STEP;
use crate::state::BLOCK;
use crate::witness::Title;

impl Concentrator {
    /// Seals and queues a notification. False when it could not be queued.
    pub(super) fn notify(&mut self, line: usize, body: Data) -> bool {
        let Some(apdu) = self.sealed_notification(body) else { return false };
        self.queue_sealed(line, apdu)
    }

    /// The same for an event-notification.
    pub(super) fn notify_event(&mut self, line: usize, event: EventNotification) -> bool {
        let Some(apdu) = self.sealed(Apdu::EventNotification(event)) else { return false };
        self.queue_sealed(line, apdu)
    }

    fn queue_sealed(&mut self, line: usize, apdu: Vec<u8>) -> bool {
        let header = Header { source: SERVER_SAP, destination: NOTIFICATION_SAP };
        tracing::trace!(concentrator = %self.model.ldn, line, octets = apdu.len(), "notify");
        let queued = self.lines.get_mut(line).is_some_and(|state| state.queue(header, &apdu));
        if queued && self.channel.active() == Some(line) {
            self.last_frame = Some(Bytes::from(apdu));
        }
        queued
    }

    /// A general-glo-ciphered data-notification under the next counter.
    pub(super) fn sealed_notification(&mut self, body: Data) -> Option<Vec<u8>> {
        self.next_invoke = (self.next_invoke + 1) & 0x00FF_FFFF;
        let invoke = LongInvokePriority(self.next_invoke);
        self.sealed(Apdu::DataNotification(DataNotification::new(invoke, None, body)))
    }

    fn sealed(&mut self, apdu: Apdu) -> Option<Vec<u8>> {
        let plain = apdu.encode();
        let counter = self.take_counter()?;
        let title = &self.model.title;
        let sealed = security::seal_apdu(&self.keys, SecurityControl::BOTH, title, counter, &plain);
        sealed.ok().map(|sealed| Apdu::Protected(sealed).encode())
    }

    /// The next own invocation counter, from a block that is kept before it is used.
    fn take_counter(&mut self) -> Option<u32> {
        let counter = self.lend_counters()?.start;
        self.next_counter = counter + 1;
        Some(counter)
    }

    /// Own invocation counters that are kept as reserved; what is used of them is entered by the
    /// caller.
    pub(super) fn lend_counters(&mut self) -> Option<Range<u32>> {
        if self.fault.is_some() {
            return None;
        }
        let end = self.next_counter.checked_add(COUNTERS_A_STEP)?;
        if end > self.memory.counter_high {
            self.memory.counter_high = end.checked_add(BLOCK)?;
            if !self.keep() {
                return None;
            }
        }
        Some(self.next_counter..end)
    }

    /// Writes the memory. False when that failed: then nothing more is sent.
    pub(super) fn keep(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        self.memory.epoch = self.epochs.highest;
        self.memory.epoch_holder = self.epochs.holder.map(title_text);
        let highests = self.clients.highests().map(|(title, n)| (title_text(title), n));
        self.memory.clients = highests.collect();
        self.meters.remember(&mut self.memory);
        self.kept_at = None;
        match self.keeper.save(&self.memory) {
            Ok(()) => true,
            Err(error) => {
                self.fault = Some(error);
                false
            }
        }
    }

    /// Asks for the memory to be kept soon.
    pub(super) fn keep_soon(&mut self, now: Now) {
        self.kept_at.get_or_insert(now.instant + Duration::from_millis(500));
    }

    pub(super) fn keep_if_due(&mut self, now: Now) {
        if self.kept_at.is_some_and(|at| at <= now.instant) {
            self.keep();
        }
    }

    /// Loses power: everything that is not kept is gone.
    pub(super) fn power_cycle(&mut self, now: Now) {
        self.keep();
        for line in 0..self.lines.len() {
            if let Some(state) = self.lines.get_mut(line).filter(|state| state.up) {
                state.close_at = Some(now.instant);
            }
        }
        self.channel = Channel::default();
        self.meters = MeterPort::new(&self.settings, &self.model, &self.memory);
        self.next_counter = self.memory.counter_high.max(1);
    }
}

/// Where counters and sequences start when no memory is kept: 32 a second since 2026, so that a
/// second run uses none again as long as it sends less than that.
#[must_use]
pub fn counter_base(real_us: i64) -> u32 {
    const Y2026_S: i64 = 1_767_225_600;
    u32::try_from((real_us / 1_000_000 - Y2026_S).max(0) * 32 % 0xE000_0000).unwrap_or(0)
}

/// A system title in hex.
#[must_use]
pub fn title_text(title: Title) -> String {
    title.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// A system title from hex.
#[must_use]
pub fn parse_title(text: &str) -> Option<Title> {
    let digits = text.as_bytes();
    if digits.len() != 16 || !text.is_ascii() {
        return None;
    }
    u64::from_str_radix(text, 16).ok().map(u64::to_be_bytes)
}
