//! A network of a simulated world: streams of frames with delay, loss, cuts and dead peers.
//!
//! It behaves as QUIC links do towards whoever uses them: the frames of one stream stay in order,
//! those of two need not; what is lost is sent again and so comes later; a way that is cut for
//! about a second, in one direction or both, kills the connection and every stream in it; a dead
//! process is noticed by silence alone, or at once when it is there again. Frames are never
//! doubled or damaged, because QUIC does not hand such on.
//!
//! Not here: who cuts what and when; the streams themselves (`stream`).
//! Invariant: every random number and every wait is the world's.

mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, watch};

use super::{
    LinkError,
    peer::{Carrier as Standing, Link, Trouble},
};
use crate::rt::{sleep, spawn, world::throw};
use stream::Pipe;
pub use stream::{End, In, Incoming, Out};

/// Silence after which a connection is dead: `idle_ms` of the configuration, as it is by default.
const IDLE: Duration = Duration::from_millis(1000);

/// What the network does to frames that it carries.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Shortest way of a frame, in microseconds.
    pub least_us: u64,
    /// Longest way of a frame that is not lost, in microseconds.
    pub most_us: u64,
    /// Frames of a thousand that are lost and sent again.
    pub lost_permille: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self { least_us: 50, most_us: 500, lost_permille: 0 }
    }
}

impl Weather {
    fn way(&self) -> Duration {
        let span = self.most_us.saturating_sub(self.least_us).max(1);
        let way = self.least_us + throw(span);
        // QUIC sends a lost frame again after a probe time-out, which doubles.
        let lost = throw(1000) < self.lost_permille;
        let again = if lost { 20_000 + throw(150_000) } else { 0 };
        Duration::from_micros(way + again)
    }
}

/// The network. Clones are the same one.
#[derive(Clone, Default)]
pub struct Net {
    inner: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    weather: Weather,
    /// Ways from one node to another on which nothing comes through.
    cuts: BTreeSet<(u64, u64)>,
    plugged: BTreeMap<u64, Plugged>,
    lives: u64,
    carriers: Vec<Weak<Carried>>,
}

struct Plugged {
    life: u64,
    door: mpsc::UnboundedSender<Incoming>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of a node, for those who want one.
pub fn address(node: u64) -> SocketAddr {
    let last = u8::try_from(node % 250).unwrap_or(0);
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 7001))
}

impl Net {
    /// Sets what happens to frames from now on.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.inner).weather = weather;
    }

    /// Cuts the way from one node to another.
    pub fn cut(&self, from: u64, to: u64) {
        lock(&self.inner).cuts.insert((from, to));
        self.reconsider();
    }

    /// Mends the way from one node to another.
    pub fn mend(&self, from: u64, to: u64) {
        lock(&self.inner).cuts.remove(&(from, to));
        self.reconsider();
    }

    /// Mends every way.
    pub fn mend_all(&self) {
        lock(&self.inner).cuts.clear();
        self.reconsider();
    }

    /// The port of a node's new life.
    pub fn plug(&self, node: u64) -> Port {
        let (door, incoming) = mpsc::unbounded_channel();
        let mut state = lock(&self.inner);
        state.lives += 1;
        let life = state.lives;
        state.plugged.insert(node, Plugged { life, door });
        drop(state);
        // Who still talks to the life before hears that it is over.
        self.reconsider();
        Port { net: self.clone(), node, life, incoming: Arc::new(Mutex::new(Some(incoming))) }
    }

    /// A node is not there any more; nobody is told.
    pub fn unplug(&self, node: u64) {
        lock(&self.inner).plugged.remove(&node);
        self.reconsider();
    }

    fn life(&self, node: u64) -> Option<u64> {
        lock(&self.inner).plugged.get(&node).map(|plugged| plugged.life)
    }

    /// Where streams to this life of a node go in.
    fn door(&self, node: u64, life: u64) -> Option<mpsc::UnboundedSender<Incoming>> {
        let state = lock(&self.inner);
        let plugged = state.plugged.get(&node).filter(|plugged| plugged.life == life);
        plugged.map(|plugged| plugged.door.clone())
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        lock(&self.inner).cuts.contains(&(from, to))
    }

    /// Whether both ways between two nodes are open and the other one is there.
    fn is_open(&self, one: u64, other: u64) -> bool {
        let state = lock(&self.inner);
        let cut = state.cuts.contains(&(one, other)) || state.cuts.contains(&(other, one));
        !cut && state.plugged.contains_key(&other)
    }

    fn way(&self) -> Duration {
        let weather = lock(&self.inner).weather;
        weather.way()
    }

    /// Lets connections die, later, whose ways are cut or whose ends are gone.
    fn reconsider(&self) {
        let mut alive = Vec::new();
        lock(&self.inner).carriers.retain(|carried| match carried.upgrade() {
            Some(carried) => {
                alive.push(carried);
                true
            }
            None => false,
        });
        for carried in alive {
            carried.wake();
            match carried.broken() {
                None => carried.recovers(),
                Some(after) => {
                    let number = carried.begins_to_die();
                    let weak = Arc::downgrade(&carried);
                    spawn(async move {
                        sleep(after).await;
                        let Some(carried) = weak.upgrade() else { return };
                        if carried.still(number) {
                            carried.kill();
                        }
                    });
                }
            }
        }
    }
}

/// A connection, dialled by `from`.
struct Carried {
    net: Net,
    from: u64,
    to: u64,
    lives: (u64, u64),
    dying: Mutex<Dying>,
    dead: watch::Sender<bool>,
    refused: AtomicBool,
    pipes: Mutex<Vec<Weak<Pipe>>>,
}

#[derive(Default)]
struct Dying {
    since: bool,
    number: u64,
}

impl Carried {
    /// After what time it is dead, if it is broken.
    fn broken(&self) -> Option<Duration> {
        let lives = (self.net.life(self.from), self.net.life(self.to));
        let spread = Duration::from_millis(throw(200));
        if lives == (Some(self.lives.0), Some(self.lives.1)) {
            let cut = self.net.is_cut(self.from, self.to) || self.net.is_cut(self.to, self.from);
            return cut.then_some(IDLE + spread);
        }
        let reborn = |now: Option<u64>, then: u64| now.is_some_and(|now| now != then);
        let reset = reborn(lives.0, self.lives.0) || reborn(lives.1, self.lives.1);
        Some(if reset { spread / 4 } else { IDLE + spread })
    }

    fn recovers(&self) {
        let mut state = lock(&self.dying);
        state.since = false;
        state.number += 1;
    }

    /// Answers a number that holds until it recovers.
    fn begins_to_die(&self) -> u64 {
        let mut state = lock(&self.dying);
        if !std::mem::replace(&mut state.since, true) {
            state.number += 1;
        }
        state.number
    }

    fn still(&self, number: u64) -> bool {
        let state = lock(&self.dying);
        state.since && state.number == number
    }

    fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    fn kill(&self) {
        self.dead.send_replace(true);
        self.wake();
    }

    fn wake(&self) {
        lock(&self.pipes).retain(|pipe| match pipe.upgrade() {
            Some(pipe) => {
                pipe.wake();
                true
            }
            None => false,
        });
    }
}

/// A connection as its dialler has it.
#[derive(Clone)]
pub struct Carrier(Arc<Carried>);

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Carrier({} to {})", self.0.from, self.0.to)
    }
}

impl Carrier {
    /// Whether it is alive, as far as its dialler knows.
    pub fn stands(&self) -> bool {
        !self.0.is_dead()
    }

    /// Opens a stream; the peer hears of it with the first frame.
    pub fn open(&self) -> Result<(Out, In), LinkError> {
        if !self.stands() {
            return Err(LinkError::Broken("the connection is lost".to_owned()));
        }
        let (halves, incoming) = stream::open(&self.0);
        let door = self.0.net.door(self.0.to, self.0.lives.1);
        if let Some(door) = door {
            // A node that does not accept any more closes what comes.
            let _closed = door.send(incoming);
        }
        Ok(halves)
    }
}

/// Where a node's life is plugged in.
#[derive(Clone)]
pub struct Port {
    net: Net,
    node: u64,
    life: u64,
    incoming: Arc<Mutex<Option<mpsc::UnboundedReceiver<Incoming>>>>,
}

impl Port {
    /// The node's address.
    pub fn address(&self) -> SocketAddr {
        address(self.node)
    }

    /// The streams that come in; the second call gets none.
    pub fn accept(&self) -> mpsc::UnboundedReceiver<Incoming> {
        lock(&self.incoming).take().unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// Leaves the network, if no later life is in it.
    pub fn unplug(&self) {
        if self.net.life(self.node) == Some(self.life) {
            self.net.unplug(self.node);
        }
    }

    /// Starts the dialler task to a peer.
    pub(super) fn dial(
        &self,
        peer: u64,
        group: u32,
        mut stop: watch::Receiver<bool>,
        mut held: watch::Receiver<bool>,
    ) -> Link {
        let (link, (publish, trouble)) = Link::new(peer, group);
        let (port, redial) = (self.clone(), link.redials());
        spawn(async move {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                _ = held.wait_for(|held| !*held) => {}
                () = port.keep_dialling(peer, &publish, &trouble, &redial) => {}
            }
            publish.send_replace(None);
        });
        link
    }

    async fn keep_dialling(
        &self,
        peer: u64,
        publish: &watch::Sender<Option<Standing>>,
        trouble: &watch::Sender<Option<Trouble>>,
        redial: &Notify,
    ) {
        loop {
            let Some(carried) = self.handshake(peer).await else {
                trouble.send_replace(Some(Trouble::Unreachable("no answer".to_owned())));
                sleep(Duration::from_millis(50 + throw(400))).await;
                continue;
            };
            trouble.send_replace(None);
            publish.send_replace(Some(Standing::Simulated(Carrier(carried.clone()))));
            let mut dead = carried.dead.subscribe();
            tokio::select! {
                biased;
                _ = dead.wait_for(|dead| *dead) => {}
                () = redial.notified() => carried.kill(),
            }
            publish.send_replace(None);
            let why = match carried.refused.load(Ordering::Acquire) {
                true => Trouble::Removed,
                false => Trouble::Unreachable("the connection was lost".to_owned()),
            };
            trouble.send_replace(Some(why));
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A connection after two ways there and back, if all of them are open.
    async fn handshake(&self, peer: u64) -> Option<Arc<Carried>> {
        for _ in 0..2 {
            if !self.net.is_open(self.node, peer) {
                return None;
            }
            sleep(self.net.way() + self.net.way()).await;
        }
        if !self.net.is_open(self.node, peer) {
            return None;
        }
        let lives = (self.net.life(self.node)?, self.net.life(peer)?);
        let carried = Arc::new(Carried {
            net: self.net.clone(),
            from: self.node,
            to: peer,
            lives,
            dying: Mutex::default(),
            dead: watch::Sender::new(false),
            refused: AtomicBool::new(false),
            pipes: Mutex::default(),
        });
        lock(&self.net.inner).carriers.push(Arc::downgrade(&carried));
        Some(carried)
    }
}
