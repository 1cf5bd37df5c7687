//! A UDP relay before each of three nodes, through which they speak: datagrams are lost, late, out
//! of order or there twice, each way by itself, without rights on the machine's network.
//!
//! A datagram of node `a` to node `b` goes to the relay before `b`, which knows `a` by its port and
//! hands it on from a socket of its own for that pair, so that the answer comes back the same way.
//! Invariants: nothing is delivered that was sent while the way was cut; at most [`MOST_LATE`]
//! datagrams of a way wait, more are lost.

use crate::simulation::Dice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Datagrams of one way that may be late at once.
pub const MOST_LATE: usize = 4096;
const NODES: usize = 3;
/// The longest datagram.
const LONGEST: usize = 65_535;

/// What happens on the way from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Of a hundred datagrams so many are lost; at 100 the way is cut.
    pub lost: u64,
    /// Each is up to so many milliseconds late, by dice: they overtake each other.
    pub late_ms: u64,
    /// Of a hundred so many come twice.
    pub twice: u64,
}

/// One way's state.
struct Way {
    wire: Mutex<(Wire, Dice)>,
    waiting: Arc<Semaphore>,
    lost: AtomicU64,
    late: AtomicU64,
}

/// What is to be done with a datagram: when each of its copies leaves, none of them if it is lost.
type Fate = ([Option<Duration>; 2], bool);

impl Way {
    fn fate(&self) -> Fate {
        let mut guard = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let (wire, dice) = &mut *guard;
        let hundred = |dice: &mut Dice| dice.throw() % 100;
        if hundred(dice) < wire.lost {
            return ([None, None], true);
        }
        let copies = [true, hundred(dice) < wire.twice];
        let most = wire.late_ms;
        let delay = |dice: &mut Dice| Duration::from_millis(dice.throw() % (most + 1));
        (copies.map(|goes| goes.then(|| delay(dice))), false)
    }
}

/// The relays; they end when dropped.
pub struct Relay {
    ways: Arc<Vec<Way>>,
    fronts: [SocketAddr; NODES],
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Relays before three nodes that listen at `nodes`; every way is sound at first.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(nodes: [SocketAddr; NODES], seed: u64) -> anyhow::Result<Self> {
        let way = |number: usize| Way {
            wire: Mutex::new((Wire::default(), Dice::new(seed, 1_000 + number as u64))),
            waiting: Arc::new(Semaphore::new(MOST_LATE)),
            lost: AtomicU64::new(0),
            late: AtomicU64::new(0),
        };
        let ways: Arc<Vec<Way>> = Arc::new((0..NODES * NODES).map(way).collect());
        let mut tasks = JoinSet::new();
        let mut fronts = nodes;
        for (to, place) in fronts.iter_mut().enumerate() {
            let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
            *place = front.local_addr()?;
            let mut legs = Vec::new();
            for from in 0..NODES {
                let leg = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
                // Answers of node `to` to node `from` leave from the front that `from` knows.
                let back = Hop { ways: ways.clone(), from: to, to: from };
                let (front, at) = (front.clone(), nodes[from]);
                tasks.spawn(answers(leg.clone(), nodes[to], back, front, at));
                legs.push(leg);
            }
            tasks.spawn(questions(front, legs, nodes, to, ways.clone()));
        }
        Ok(Self { ways, fronts, _tasks: tasks })
    }

    /// Where others reach the nodes, node 1 first.
    pub fn fronts(&self) -> [SocketAddr; NODES] {
        self.fronts
    }

    /// The way from one node to another, by their places, is so from now on.
    pub fn set(&self, from: usize, to: usize, wire: Wire) {
        let way = &self.ways[from * NODES + to];
        way.wire.lock().unwrap_or_else(PoisonError::into_inner).0 = wire;
    }

    /// All ways from and to a node.
    pub fn set_around(&self, node: usize, out: Wire, back: Wire) {
        for other in (0..NODES).filter(|other| *other != node) {
            self.set(node, other, out);
            self.set(other, node, back);
        }
    }

    /// Datagrams that were lost, and that were late, since the start.
    pub fn told(&self) -> (u64, u64) {
        let sum = |of: fn(&Way) -> &AtomicU64| {
            self.ways.iter().map(|way| of(way).load(Ordering::Relaxed)).sum()
        };
        (sum(|way| &way.lost), sum(|way| &way.late))
    }
}

/// A way that datagrams go.
#[derive(Clone)]
struct Hop {
    ways: Arc<Vec<Way>>,
    from: usize,
    to: usize,
}

impl Hop {
    async fn carry(&self, datagram: &[u8], through: &Arc<UdpSocket>, at: SocketAddr) {
        let way = &self.ways[self.from * NODES + self.to];
        let (copies, lost) = way.fate();
        way.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        for delay in copies.into_iter().flatten() {
            if delay.is_zero() {
                let _ = through.send_to(datagram, at).await;
                continue;
            }
            let Ok(place) = way.waiting.clone().try_acquire_owned() else { continue };
            way.late.fetch_add(1, Ordering::Relaxed);
            let (hop, through, datagram) = (self.clone(), through.clone(), datagram.to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                if !hop.is_cut() {
                    let _ = through.send_to(&datagram, at).await;
                }
                drop(place);
            });
        }
    }

    fn is_cut(&self) -> bool {
        let way = &self.ways[self.from * NODES + self.to];
        way.wire.lock().unwrap_or_else(PoisonError::into_inner).0.lost >= 100
    }
}

/// What comes to the relay before a node goes to that node.
async fn questions(
    front: Arc<UdpSocket>,
    legs: Vec<Arc<UdpSocket>>,
    nodes: [SocketAddr; NODES],
    to: usize,
    ways: Arc<Vec<Way>>,
) {
    let mut octets = vec![0; LONGEST];
    loop {
        // An error is of an earlier datagram that found nobody: the node is down.
        let Ok((length, sender)) = front.recv_from(&mut octets).await else { continue };
        let Some(from) = nodes.iter().position(|node| *node == sender) else { continue };
        let hop = Hop { ways: ways.clone(), from, to };
        hop.carry(&octets[..length], &legs[from], nodes[to]).await;
    }
}

/// What the node answers goes back to who asked.
async fn answers(
    leg: Arc<UdpSocket>,
    of: SocketAddr,
    hop: Hop,
    front: Arc<UdpSocket>,
    at: SocketAddr,
) {
    let mut octets = vec![0; LONGEST];
    loop {
        let Ok((length, sender)) = leg.recv_from(&mut octets).await else { continue };
        if sender == of {
            hop.carry(&octets[..length], &front, at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Relay, Wire};
    use std::collections::BTreeSet;
    use std::time::Duration;
    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    const CUT: Wire = Wire { lost: 100, late_ms: 0, twice: 0 };

    /// Numbers that arrive until nothing has come for a while.
    async fn heard(at: &UdpSocket) -> Vec<u8> {
        let (mut octets, mut all) = ([0; 8], Vec::new());
        while timeout(Duration::from_millis(300), at.recv_from(&mut octets)).await.is_ok() {
            all.push(octets[0]);
        }
        all
    }

    #[tokio::test]
    async fn datagrams_are_cut_one_way_late_and_twice() {
        let mut sockets = Vec::new();
        for _ in 0..3 {
            sockets.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses: Vec<_> = sockets.iter().map(|one| one.local_addr().unwrap()).collect();
        let nodes = [addresses[0], addresses[1], addresses[2]];
        let relay = Relay::start(nodes, 7).await.unwrap();
        let fronts = relay.fronts();

        sockets[0].send_to(&[1], fronts[1]).await.unwrap();
        let (mut octets, limit) = ([0; 8], Duration::from_secs(5));
        let (_, leg) = timeout(limit, sockets[1].recv_from(&mut octets)).await.unwrap().unwrap();
        sockets[1].send_to(&[2], leg).await.unwrap();
        let (_, back) = timeout(limit, sockets[0].recv_from(&mut octets)).await.unwrap().unwrap();
        assert_eq!((octets[0], back), (2, fronts[1]), "an answer comes from where it was asked");

        relay.set(0, 1, CUT);
        sockets[0].send_to(&[3], fronts[1]).await.unwrap();
        assert!(heard(&sockets[1]).await.is_empty(), "cut one way");
        sockets[1].send_to(&[4], leg).await.unwrap();
        assert_eq!(heard(&sockets[0]).await, [4], "and whole the other");
        assert_eq!(relay.told().0, 1);

        relay.set(0, 1, Wire { lost: 0, late_ms: 60, twice: 50 });
        for number in 0..40 {
            sockets[0].send_to(&[number], fronts[1]).await.unwrap();
        }
        let came = heard(&sockets[1]).await;
        assert!(came.len() > 45, "some come twice: {came:?}");
        assert!(!came.is_sorted(), "they overtake each other: {came:?}");
        assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), 40, "none is lost: {came:?}");
    }
}
