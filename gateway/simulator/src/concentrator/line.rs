//! One of a concentrator's two lines to the head-end: octets in, frames out.
//!
//! It knows framing, what is queued, and how a faulty line behaves; it knows no COSEM object.
//!
//! Invariants: at most [`OUT_OCTETS`] and one frame wait to be sent, and beyond that nothing new is
//! read; a muted line neither reads nor sends and is not closed before its time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use cosem::wrapper::{self, Deframer, Header, MAX_APDU_OCTETS};

/// Octets that may wait before the line stops reading.
pub const OUT_OCTETS: usize = 512 * 1024;
/// Octets that a slow line sends at once, and how often.
const SLOW: (usize, Duration) = (64, Duration::from_millis(20));

/// A line.
#[derive(Debug)]
pub struct Line {
    /// Counts connections, so that what belongs to an older one is known.
    pub generation: u32,
    /// Whether there is a connection.
    pub up: bool,
    /// Next heartbeat.
    pub heartbeat_at: Option<Instant>,
    /// Closes the connection at this time.
    pub close_at: Option<Instant>,
    deframer: Deframer,
    out: VecDeque<Bytes>,
    out_octets: usize,
    muted_until: Option<Instant>,
    slow_until: Option<Instant>,
    slow_next: Option<Instant>,
    stuck: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            generation: 0,
            up: false,
            heartbeat_at: None,
            close_at: None,
            deframer: Deframer::new(MAX_APDU_OCTETS),
            out: VecDeque::new(),
            out_octets: 0,
            muted_until: None,
            slow_until: None,
            slow_next: None,
            stuck: false,
        }
    }
}

impl Line {
    /// Starts a new connection.
    pub fn connected(&mut self) {
        *self = Self { generation: self.generation + 1, up: true, ..Self::default() };
    }

    /// Ends the connection; what was queued is gone.
    pub fn closed(&mut self) {
        *self = Self { generation: self.generation, ..Self::default() };
    }

    /// Takes octets from the socket.
    pub fn feed(&mut self, octets: &[u8]) {
        self.deframer.feed(octets);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// When the stream is no wrapper stream: the connection must be closed.
    pub fn next_frame(&mut self) -> Result<Option<(Header, Bytes)>, cosem::Error> {
        self.deframer.next_frame()
    }

    /// Queues an APDU. False when it is too long for a frame, or the line takes nothing more.
    pub fn queue(&mut self, header: Header, apdu: &[u8]) -> bool {
        match wrapper::encode(header, apdu) {
            Ok(frame) => self.queue_octets(Bytes::from(frame)),
            Err(_) => false,
        }
    }

    /// Queues octets as they are.
    pub fn queue_octets(&mut self, octets: Bytes) -> bool {
        if !self.up || self.stuck || self.out_octets > OUT_OCTETS {
            return false;
        }
        self.out_octets += octets.len();
        self.out.push_back(octets);
        true
    }

    /// Whether there is room for a push.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.up && !self.stuck && self.out_octets <= OUT_OCTETS / 2
    }

    /// Whether the socket should be read.
    #[must_use]
    pub fn reads(&self, now: Instant) -> bool {
        self.up && !self.is_muted(now) && self.out_octets <= OUT_OCTETS
    }

    /// Octets to send now.
    #[must_use]
    pub fn transmit(&self, now: Instant) -> Option<Bytes> {
        if self.is_muted(now) {
            return None;
        }
        let front = self.out.front()?;
        if self.slow_until.is_some_and(|until| now < until) {
            let wait = self.slow_next.is_some_and(|next| now < next);
            return (!wait).then(|| front.slice(..front.len().min(SLOW.0)));
        }
        Some(front.clone())
    }

    /// Tells how many of the octets to send were taken.
    pub fn sent(&mut self, octets: usize, now: Instant) {
        if let Some(front) = self.out.front_mut() {
            let taken = octets.min(front.len());
            front.advance(taken);
            self.out_octets -= taken;
            if front.is_empty() {
                self.out.pop_front();
            }
        }
        self.slow_next = Some(now + SLOW.1);
    }

    /// Becomes a black hole until a time.
    pub fn mute(&mut self, until: Instant) {
        self.muted_until = Some(until);
        self.close_at = Some(until);
    }

    /// Whether the line is a black hole.
    #[must_use]
    pub fn is_muted(&self, now: Instant) -> bool {
        self.muted_until.is_some_and(|until| now < until)
    }

    /// Sends only a few octets at a time until a time.
    pub fn slow_down(&mut self, until: Instant) {
        self.slow_until = Some(until);
    }

    /// Sends the first half of a frame, then nothing, then closes.
    pub fn send_half(&mut self, frame: &[u8], close_at: Instant) {
        let half = frame.get(..frame.len() / 2).unwrap_or(&[]);
        self.queue_octets(Bytes::copy_from_slice(half));
        self.stuck = true;
        self.close_at = Some(close_at);
    }

    /// When the line itself wants to be looked at again.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let slow = self.slow_next.filter(|next| {
            !self.out.is_empty() && *next > now && self.slow_until.is_some_and(|u| now < u)
        });
        let muted = self.muted_until.filter(|until| *until > now);
        [self.close_at, self.heartbeat_at, slow, muted].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use cosem::wrapper::Header;

    use super::{Line, OUT_OCTETS};

    #[test]
    fn queues_are_bounded_and_a_muted_line_does_nothing() {
        let (now, mut line) = (Instant::now(), Line::default());
        assert!(!line.queue(Header { source: 1, destination: 1 }, b"x"), "not connected");
        line.connected();
        let mut taken = 0;
        while line.queue_octets(Bytes::from(vec![0; 60_000])) {
            taken += 60_000;
        }
        assert!(taken > OUT_OCTETS && taken <= OUT_OCTETS + 60_000);
        assert!(!line.reads(now) && !line.has_room());
        line.sent(60_000, now);
        assert!(line.reads(now));
        line.mute(now + Duration::from_secs(1));
        assert!(line.transmit(now).is_none() && !line.reads(now));
        assert!(line.transmit(now + Duration::from_secs(1)).is_some());
        line.slow_down(now + Duration::from_secs(9));
        assert_eq!(line.transmit(now + Duration::from_secs(2)).map(|b| b.len()), Some(64));
    }
}
