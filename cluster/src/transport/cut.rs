//! A cable that can be pulled: the node's socket, which loses every datagram for a while.
//!
//! For failure drills. Nobody is told: what is sent goes nowhere and what comes is thrown away, as
//! behind a dead switch. Not here: who may pull it (the node's drills).
//! Invariant: a cut carries its end with it; when that is past the socket works, whoever has
//! forgotten about it.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

/// The longest cut.
const LONGEST: Duration = Duration::from_secs(120);

/// Pulls the cable of one node; clones pull the same one.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Cut {
    /// Loses everything for so long, two minutes at most.
    pub fn pull(&self, hold: Duration) {
        *self.lock() = Instant::now().checked_add(hold.min(LONGEST));
    }

    /// Plugs it in again.
    pub fn mend(&self) {
        *self.lock() = None;
    }

    /// Whether everything is lost now.
    pub fn is_cut(&self) -> bool {
        let mut until = self.lock();
        if until.is_some_and(|until| Instant::now() >= until) {
            *until = None;
        }
        until.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket with such a cable.
#[derive(Debug)]
pub(super) struct Cable {
    pub socket: Arc<dyn AsyncUdpSocket>,
    pub cut: Cut,
}

impl AsyncUdpSocket for Cable {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.cut.is_cut() { Ok(()) } else { self.socket.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = self.socket.poll_recv(context, buffers, meta);
            match received {
                Poll::Ready(Ok(count)) if count > 0 && self.cut.is_cut() => {}
                received => return received,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_ends_by_itself_and_by_hand() {
        let cut = Cut::default();
        assert!(!cut.is_cut());
        cut.pull(Duration::from_secs(60));
        assert!(cut.clone().is_cut(), "clones share the cable");
        cut.mend();
        assert!(!cut.is_cut());
        cut.pull(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(5));
        assert!(!cut.is_cut(), "nobody mended it");
    }
}
