//! Faults that a concentrator plays on its running lines, one after the other, each in its turn.
//!
//! Invariant: every fault that is counted was really put on the wire (or the power line).

use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::wrapper::{self, Header, MAX_APDU_OCTETS};

use super::{Concentrator, NOTIFICATION_SAP, Now, Role, SERVER_SAP, Settings};
use crate::fault::Kind;
use crate::mix;

const HEADER: Header = Header { source: SERVER_SAP, destination: NOTIFICATION_SAP };

/// Which faults come when.
#[derive(Debug)]
pub struct Mischief {
    kinds: Vec<Kind>,
    turn: usize,
    noise: u64,
    next_at: Option<Instant>,
}

impl Mischief {
    /// The faults of a concentrator; the first comes within one and a half times the pause.
    pub fn new(settings: &Settings, seed: u64, role: Role, now: Instant) -> Self {
        let kinds = match role {
            Role::Genuine => settings.faults.episodes(seed),
            Role::Impostor => Vec::new(),
        };
        let next_at = (!kinds.is_empty()).then(|| now + pause(settings.fault_every, seed));
        Self { kinds, turn: 0, noise: seed, next_at }
    }

    /// When the next fault is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_at
    }

    fn take(&mut self, settings: &Settings, now: Instant) -> Option<Kind> {
        self.next_at.filter(|at| *at <= now)?;
        self.noise = mix::word(self.noise);
        self.next_at = Some(now + pause(settings.fault_every, self.noise));
        let kind = self.kinds.get(self.turn % self.kinds.len().max(1)).copied();
        self.turn += 1;
        kind
    }
}

/// Half to one and a half times `every`.
fn pause(every: Duration, noise: u64) -> Duration {
    every.mul_f64(0.5 + mix::between(noise, 0, 1_000) as f64 / 1_000.0)
}

impl Concentrator {
    /// Plays a fault when one is due and there is a line to play it on.
    pub(super) fn mischief_if_due(&mut self, now: Now) {
        let settings = self.settings.clone();
        let Some(kind) = self.mischief.take(&settings, now.instant) else { return };
        let Some(line) = self.channel.active() else { return };
        // A line that is about to be closed plays nothing more, or it would never come to that.
        if self.lines.get(line).is_none_or(|state| state.close_at.is_some()) {
            return;
        }
        let until = now.instant + settings.fault_hold;
        let played = match kind {
            Kind::Restart => {
                self.power_cycle(now);
                true
            }
            Kind::Replay => self.replay(line),
            Kind::WrongTag => self.spoiled(line, now, |apdu| {
                if let Some(last) = apdu.last_mut() {
                    *last ^= 0x55;
                }
            }),
            Kind::Truncated => self.spoiled(line, now, |apdu| apdu.truncate(apdu.len() / 2)),
            Kind::HalfAnswer => self.half(line, until, now),
            Kind::Oversize => self.raw(line, &oversize()),
            Kind::Garbage => self.raw(line, &garbage(self.mischief.noise)),
            Kind::Silent => self.on_line(line, |state| state.mute(until)),
            Kind::Slow => self.on_line(line, |state| state.slow_down(until)),
            _ => false,
        };
        if played {
            settings.tally.fault(kind);
            tracing::debug!(concentrator = %self.model.ldn, line, fault = kind.name(), "played");
        }
    }

    fn on_line(&mut self, line: usize, play: impl FnOnce(&mut super::Line)) -> bool {
        self.lines.get_mut(line).map(play).is_some()
    }

    /// A last push or heartbeat again, octet by octet.
    fn replay(&mut self, line: usize) -> bool {
        let Some(frame) = self.last_frame.clone() else { return false };
        self.lines.get_mut(line).is_some_and(|state| state.queue(HEADER, &frame))
    }

    /// A fresh heartbeat, spoiled.
    fn spoiled(&mut self, line: usize, now: Now, spoil: impl FnOnce(&mut Vec<u8>)) -> bool {
        let body = self.heartbeat(now);
        let Some(mut apdu) = self.sealed_notification(body) else { return false };
        spoil(&mut apdu);
        self.lines.get_mut(line).is_some_and(|state| state.queue(HEADER, &apdu))
    }

    fn half(&mut self, line: usize, close_at: Instant, now: Now) -> bool {
        let body = self.heartbeat(now);
        let Some(apdu) = self.sealed_notification(body) else { return false };
        let Ok(frame) = wrapper::encode(HEADER, &apdu) else { return false };
        self.on_line(line, |state| state.send_half(&frame, close_at))
    }

    fn raw(&mut self, line: usize, octets: &Bytes) -> bool {
        self.lines.get_mut(line).is_some_and(|state| state.queue_octets(octets.clone()))
    }
}

/// A frame of the greatest length: a general-glo APDU that claims 4 GiB of content.
fn oversize() -> Bytes {
    let mut apdu = vec![0xDB, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x84, 0xFF, 0xFF, 0xFF, 0xFF];
    apdu.resize(MAX_APDU_OCTETS, 0xA5);
    Bytes::from(wrapper::encode(HEADER, &apdu).unwrap_or_default())
}

fn garbage(mut noise: u64) -> Bytes {
    let mut octets = vec![0xFE];
    for _ in 0..32 {
        noise = mix::word(noise);
        octets.extend_from_slice(&noise.to_be_bytes());
    }
    Bytes::from(octets)
}
