//! The streams of a simulated connection.
//!
//! Not here: the connection, its ways and its death (`simulated`).
//! Invariants: frames of a stream keep their order; nothing is taken from a dead connection; the
//! end of a dead process tells nobody.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Carried, lock};
use crate::{
    rt::{Instant, now, sleep},
    transport::{Kind, LinkError},
};

/// Frames that one stream holds before its sender waits.
const WINDOW: usize = 32;

/// Opens a stream: the halves of its opener, and what its peer gets.
pub(super) fn open(carried: &Arc<Carried>) -> ((Out, In), Incoming) {
    let there = Pipe::new(carried, (carried.from, carried.to));
    let back = Pipe::new(carried, (carried.to, carried.from));
    let incoming = Incoming {
        from: carried.from,
        frames: In(there.clone()),
        answers: Out(back.clone()),
        carried: carried.clone(),
    };
    ((Out(there), In(back)), incoming)
}

/// A stream that a peer opened.
pub struct Incoming {
    /// Number of the peer.
    pub from: u64,
    /// What it sends.
    pub frames: In,
    /// Where answers go.
    pub answers: Out,
    carried: Arc<Carried>,
}

impl Incoming {
    /// Ends the connection: the peer was removed from the cluster.
    pub fn refuse(self) {
        self.carried.refused.store(true, Ordering::Release);
        self.carried.kill();
    }
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a frame border.
    Finished,
    /// Broken off.
    Reset,
}

enum Item {
    Frame(Kind, Bytes),
    End(End),
}

/// One direction of a stream.
pub(super) struct Pipe {
    carried: Arc<Carried>,
    way: (u64, u64),
    state: Mutex<Flow>,
    arrived: Notify,
    room: Notify,
}

#[derive(Default)]
struct Flow {
    items: VecDeque<(Instant, Item)>,
    last: Option<Instant>,
    ended: bool,
    /// The receiver is gone.
    stopped: bool,
}

enum Look {
    Take(Item),
    At(Instant),
    Wait,
    Dead,
}

impl Pipe {
    fn new(carried: &Arc<Carried>, way: (u64, u64)) -> Arc<Self> {
        let pipe = Arc::new(Self {
            carried: carried.clone(),
            way,
            state: Mutex::default(),
            arrived: Notify::new(),
            room: Notify::new(),
        });
        lock(&carried.pipes).push(Arc::downgrade(&pipe));
        pipe
    }

    pub(super) fn wake(&self) {
        self.arrived.notify_one();
        self.room.notify_one();
    }

    fn push(&self, item: Item) {
        let way = self.carried.net.way();
        let mut flow = lock(&self.state);
        let at = (now() + way).max(flow.last.unwrap_or_else(now));
        flow.last = Some(at);
        flow.items.push_back((at, item));
        drop(flow);
        self.arrived.notify_one();
    }

    fn has_room(&self) -> Result<bool, LinkError> {
        let flow = lock(&self.state);
        if flow.stopped || flow.ended {
            return Err(broken("the stream is closed"));
        }
        Ok(flow.items.len() < WINDOW)
    }

    /// Whether the process at one end still lives the life in which it had this stream.
    fn lives(&self, end: u64) -> bool {
        let carried = &self.carried;
        let life = if end == carried.from { carried.lives.0 } else { carried.lives.1 };
        carried.net.life(end) == Some(life)
    }

    fn look(&self) -> Look {
        if self.carried.is_dead() {
            return Look::Dead;
        }
        let cut = self.carried.net.is_cut(self.way.0, self.way.1);
        let mut flow = lock(&self.state);
        match flow.items.front() {
            None => Look::Wait,
            Some((at, _)) if *at > now() => Look::At(*at),
            Some(_) if cut => Look::Wait,
            Some(_) => flow.items.pop_front().map_or(Look::Wait, |(_, item)| Look::Take(item)),
        }
    }
}

/// The sending half.
pub struct Out(Arc<Pipe>);

/// The receiving half.
pub struct In(Arc<Pipe>);

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Out{:?}", self.0.way)
    }
}

impl std::fmt::Debug for In {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "In{:?}", self.0.way)
    }
}

fn broken(why: &str) -> LinkError {
    LinkError::Broken(why.to_owned())
}

impl Out {
    /// Sends a frame; waits while the window is full.
    pub async fn send(&mut self, kind: Kind, body: Bytes) -> Result<(), LinkError> {
        loop {
            if self.0.carried.is_dead() {
                return Err(broken("the connection is lost"));
            }
            if self.0.has_room()? {
                self.0.push(Item::Frame(kind, body));
                return Ok(());
            }
            self.0.room.notified().await;
        }
    }

    /// Ends the stream.
    pub fn end(&mut self, end: End) {
        let mut flow = lock(&self.0.state);
        if !std::mem::replace(&mut flow.ended, true) {
            drop(flow);
            self.0.push(Item::End(end));
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // A dead process tells nobody.
        if self.0.lives(self.0.way.0) {
            self.end(End::Finished);
        }
    }
}

impl In {
    /// The next frame; none at the end.
    pub async fn next(&mut self) -> Result<Option<(Kind, Bytes)>, LinkError> {
        loop {
            match self.0.look() {
                Look::Take(Item::Frame(kind, body)) => {
                    self.0.room.notify_one();
                    return Ok(Some((kind, body)));
                }
                Look::Take(Item::End(End::Finished)) => {
                    // Whoever asks again is told the same.
                    self.0.push(Item::End(End::Finished));
                    return Ok(None);
                }
                Look::Take(Item::End(End::Reset)) => return Err(broken("the peer broke it off")),
                Look::At(at) => sleep(at - now()).await,
                Look::Wait => self.0.arrived.notified().await,
                Look::Dead => return Err(broken("the connection is lost")),
            }
        }
    }
}

impl Drop for In {
    fn drop(&mut self) {
        if self.0.lives(self.0.way.1) {
            lock(&self.0.state).stopped = true;
            self.0.room.notify_one();
        }
    }
}
