//! What a round breaks, drawn from dice, and how it is broken and mended.

use super::house::SMALL;
use super::{House, Means, SETTLED_WITHIN, power};
use crate::demo::{Signal, signal};
use crate::field;
use crate::namespace;
use crate::proxy::Line;
use crate::relay::Wire;
use crate::simulation::Dice;
use anyhow::ensure;
use std::fmt;
use std::time::{Duration, Instant};

/// Which way a link is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both.
    Both,
    /// The node is not heard.
    Out,
    /// The node does not hear.
    In,
}

/// One thing that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a node, started again after a while.
    Kill(Away),
    /// SIGSTOP of a node, SIGCONT after a while.
    Hang(Away),
    /// Datagrams between a node and both others are dropped for a while.
    CutNode(Away, Way),
    /// So many in a hundred of them are.
    Lossy(Away, u64),
    /// Of each datagram from and to a node a copy is late, up to so many milliseconds, so that they
    /// overtake each other, and some come twice.
    Late(Away, u64),
    /// SIGKILL of a node with the loss of what it has not synced, but for so many in a hundred
    /// pages; started again after a while.
    PowerLoss(Away, u64),
    /// The same of all three at once.
    PowerCut(u64),
    /// The disk of a node is full for a while.
    DiskFull(Away),
    /// A node's clock jumps by so many seconds.
    Clock(usize, i64),
    /// The concentrator's line to node 1 or 2 is closed.
    LineClosed(usize),
    /// It goes dead, or carries one way.
    LineDead(usize, Line),
    /// SIGKILL of the concentrator, started again.
    KillField,
}

/// Which node is away for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// Its place, from 0 on.
    pub node: usize,
    /// Milliseconds.
    pub ms: u64,
}

impl Away {
    async fn over(self) {
        tokio::time::sleep(Duration::from_millis(self.ms)).await;
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.ms)
    }
}

impl Fault {
    /// The node that is away by it.
    pub fn node(&self) -> Option<usize> {
        match self {
            Self::Kill(away) | Self::Hang(away) | Self::DiskFull(away) => Some(away.node),
            Self::CutNode(away, _) | Self::Lossy(away, _) => Some(away.node),
            Self::Late(away, _) | Self::PowerLoss(away, _) => Some(away.node),
            Self::PowerCut(_) | Self::LineClosed(_) | Self::LineDead(..) => None,
            Self::KillField | Self::Clock(..) => None,
        }
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Hang(_) => "hang",
            Self::CutNode(..) => "cut",
            Self::Lossy(..) => "lossy",
            Self::Late(..) => "late",
            Self::PowerLoss(..) => "power loss",
            Self::PowerCut(_) => "power cut",
            Self::DiskFull(_) => "disk full",
            Self::Clock(..) => "clock",
            Self::LineClosed(_) => "line closed",
            Self::LineDead(..) => "line dead",
            Self::KillField => "field killed",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.node().map(|node| format!("n{}", node + 1)).unwrap_or_default();
        match self {
            Self::Kill(away) => write!(f, "{name} killed, started after {away}"),
            Self::Hang(away) => write!(f, "{name} stopped for {away}"),
            Self::CutNode(away, Way::Both) => write!(f, "{name} cut off for {away}"),
            Self::CutNode(away, Way::Out) => write!(f, "{name} not heard for {away}"),
            Self::CutNode(away, Way::In) => write!(f, "{name} deaf for {away}"),
            Self::Lossy(away, percent) => write!(f, "{name} loses {percent} % for {away}"),
            Self::Late(away, most) => write!(f, "{name} up to {most} ms late for {away}"),
            Self::PowerLoss(away, keep) => {
                write!(f, "{name} without power, {keep} % kept, started after {away}")
            }
            Self::PowerCut(keep) => write!(f, "all nodes without power, {keep} % kept"),
            Self::DiskFull(away) => write!(f, "{name}'s disk full for {away}"),
            Self::Clock(node, by) => write!(f, "n{}'s clock jumps by {by:+} s", node + 1),
            Self::LineClosed(line) => write!(f, "line {} closed", line + 1),
            Self::LineDead(line, how) => write!(f, "line {}: {how:?}", line + 1),
            Self::KillField => write!(f, "the concentrator killed"),
        }
    }
}

/// A throw below a number.
pub(super) fn below(dice: &mut Dice, most: u64) -> u64 {
    dice.throw() % most
}

/// Names of all kinds.
pub const KINDS: [&str; 12] = [
    "kill",
    "hang",
    "cut",
    "lossy",
    "late",
    "power loss",
    "power cut",
    "disk full",
    "clock",
    "line closed",
    "line dead",
    "field killed",
];

/// One to three faults, of some kinds where some are named; those that take a node take the same
/// one.
pub fn draw(dice: &mut Dice, means: Means, only: &[String]) -> Vec<Fault> {
    let count = 1 + below(dice, 3);
    let node = usize::try_from(below(dice, 3)).unwrap_or(0);
    let wanted = |fault: &Fault| only.is_empty() || only.iter().any(|kind| *kind == fault.kind());
    let mut drawn = Vec::new();
    // What this machine cannot do is never drawn: a bound, so that the wish for it ends.
    for _ in 0..10_000 {
        if drawn.len() as u64 == count {
            break;
        }
        drawn.extend(Some(one(dice, means, node)).filter(wanted));
    }
    drawn
}

fn one(dice: &mut Dice, means: Means, node: usize) -> Fault {
    let away = Away { node, ms: 100 + below(dice, 3_000) };
    let line = usize::try_from(below(dice, 2)).unwrap_or(0);
    let first = below(dice, 2) == 0;
    let keep = if first { 0 } else { 50 };
    let jump = i64::try_from(below(dice, 60)).unwrap_or(0) + 1;
    match below(dice, 18) {
        0..=2 => Fault::Kill(away),
        3 => Fault::Hang(away),
        4..=5 => Fault::PowerCut(keep),
        6..=7 => Fault::PowerLoss(away, keep),
        8 => Fault::LineClosed(line),
        9 => Fault::LineDead(line, if first { Line::BlackHole } else { Line::OneWay }),
        10 => Fault::KillField,
        11 => Fault::CutNode(away, Way::Both),
        12 => Fault::CutNode(away, if first { Way::Out } else { Way::In }),
        13 => Fault::Lossy(away, 5 + below(dice, 40)),
        14 => Fault::Late(away, 20 + below(dice, 200)),
        15 if means.clocks => Fault::Clock(node, if first { jump } else { -jump }),
        16 if means.clocks => Fault::Clock((node + 1) % 3, if first { jump } else { -jump }),
        17 if means.namespace && node == SMALL => Fault::DiskFull(away),
        _ => Fault::Kill(away),
    }
}

/// Every kind once, three a round: what of it this machine lets us do.
pub fn each(means: Means) -> Vec<Vec<Fault>> {
    let away = |node: usize, ms: u64| Away { node, ms };
    let mut rounds = vec![
        vec![Fault::Kill(away(0, 300)), Fault::LineClosed(0), Fault::Hang(away(0, 900))],
        vec![Fault::PowerLoss(away(1, 300), 0), Fault::KillField],
        vec![Fault::PowerCut(0), Fault::LineDead(0, Line::BlackHole)],
        vec![Fault::PowerCut(50), Fault::PowerLoss(away(0, 100), 50)],
        vec![
            Fault::CutNode(away(1, 1_500), Way::Both),
            Fault::CutNode(away(1, 1_500), Way::Out),
            Fault::CutNode(away(1, 1_500), Way::In),
        ],
        vec![Fault::Lossy(away(0, 1_500), 30), Fault::Late(away(0, 2_000), 150)],
    ];
    if means.clocks {
        rounds.push(vec![Fault::Clock(0, 60), Fault::Clock(1, -60), Fault::Kill(away(0, 300))]);
    }
    if means.namespace {
        rounds.push(vec![Fault::DiskFull(away(SMALL, 2_000))]);
    }
    rounds
}

impl House {
    /// Breaks one thing; what takes a node away is over when this returns.
    pub(super) async fn inject(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(away) => {
                self.nodes.kill(away.node)?;
                away.over().await;
                self.back(away.node).await?;
            }
            Fault::PowerLoss(away, keep) => {
                self.nodes.kill(away.node)?;
                self.lose_power(away.node, *keep, away.ms)?;
                away.over().await;
                self.back(away.node).await?;
            }
            Fault::Hang(away) => {
                let pid = self.nodes.pid(away.node)?;
                signal(pid, Signal::Stop)?;
                away.over().await;
                signal(pid, Signal::Continue)?;
            }
            Fault::CutNode(away, way) => {
                // One that is not up yet says nothing that could be cut.
                self.nodes.wait_ready(away.node, SETTLED_WITHIN).await?;
                let before = self.dropped()?;
                self.cut(away.node, *way)?;
                away.over().await;
                let dropped = self.dropped()?.saturating_sub(before);
                self.join()?;
                // Nodes speak several times in half a second: a cut that drops nothing is none.
                ensure!(away.ms < 500 || dropped > 0, "the cut dropped no datagram");
            }
            Fault::Lossy(away, lost) => {
                let wire = Wire { lost: *lost, ..Wire::default() };
                self.relay.set_around(away.node, wire, wire);
                away.over().await;
                self.join()?;
            }
            Fault::Late(away, late_ms) => {
                let wire = Wire { lost: 0, late_ms: *late_ms, twice: 5 };
                self.relay.set_around(away.node, wire, wire);
                away.over().await;
                self.join()?;
            }
            Fault::PowerCut(keep) => {
                (0..3).try_for_each(|node| self.nodes.kill(node))?;
                (0..3).try_for_each(|node| self.lose_power(node, *keep, 0))?;
                (0..3).try_for_each(|node| self.start_node(node))?;
            }
            Fault::DiskFull(away) => self.full_disk(*away).await?,
            Fault::Clock(node, by) => {
                self.set_clock(*node, *by)?;
                // It is looked at once a second.
                tokio::time::sleep(Duration::from_millis(1_100)).await;
            }
            Fault::LineClosed(line) => self.proxies[*line].cut(),
            Fault::LineDead(line, how) => self.proxies[*line].set(*how),
            Fault::KillField => {
                signal(i32::try_from(self.simulator.id())?, Signal::Kill)?;
                self.simulator.wait()?;
                self.simulator = field::simulator(&self.dir, &self.proxies)?;
            }
        }
        Ok(())
    }

    /// Lines are sound and clocks right again; everything else was undone when its time was over.
    pub(super) fn mend(&self) -> anyhow::Result<()> {
        self.proxies.iter().for_each(|proxy| proxy.cut());
        (0..3).try_for_each(|node| self.set_clock(node, 0))
    }

    /// A node that is not back yet must not be joined by another that goes.
    async fn back(&mut self, node: usize) -> anyhow::Result<()> {
        self.start_node(node)?;
        self.nodes.wait_ready(node, SETTLED_WITHIN).await
    }

    fn lose_power(&self, node: usize, keep: u64, salt: u64) -> anyhow::Result<()> {
        let mut dice = Dice::new(salt, 7 + node as u64);
        power::lose(&self.nodes.data(node), &self.shadow(node), keep, &mut dice)?;
        Ok(())
    }

    /// Fills the disk, sees that the node knows, and gives the space back.
    async fn full_disk(&self, away: Away) -> anyhow::Result<()> {
        self.nodes.wait_ready(away.node, SETTLED_WITHIN).await?;
        let (data, until) = (self.nodes.data(away.node), Instant::now() + SETTLED_WITHIN);
        let space = rustix::fs::statvfs(&data)?;
        let filler = std::fs::File::create(data.join("filler"))?;
        let take = (space.f_bavail * space.f_frsize).saturating_sub(1 << 20);
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, take)?;
        let url = format!("{}/api/v1/cluster", self.nodes.urls[away.node]);
        while self.nodes.http.get(&url).await?["disk_full"] != true {
            ensure!(Instant::now() < until, "the node does not see that its disk is full");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        away.over().await;
        Ok(std::fs::remove_file(data.join("filler"))?)
    }

    /// Datagrams between a node and both others are lost: by nftables, or by the relay.
    fn cut(&self, node: usize, way: Way) -> anyhow::Result<()> {
        let (out, back) = (way != Way::In, way != Way::Out);
        if !self.means.namespace {
            let wire = |lost: bool| Wire { lost: if lost { 100 } else { 0 }, ..Wire::default() };
            self.relay.set_around(node, wire(out), wire(back));
            return Ok(());
        }
        // A node's port speaks with nodes alone.
        let port = self.port + 200 + u16::try_from(node)?;
        for (side, wanted) in [("sport", out), ("dport", back)] {
            if wanted {
                namespace::drop_packets("udp", side, port)?;
            }
        }
        Ok(())
    }

    /// Every link is whole again.
    fn join(&self) -> anyhow::Result<()> {
        (0..3).for_each(|node| self.relay.set_around(node, Wire::default(), Wire::default()));
        if self.means.namespace {
            namespace::drop_nothing()?;
        }
        Ok(())
    }

    /// Datagrams that cuts have dropped; the rules' counts end with the rules.
    fn dropped(&self) -> anyhow::Result<u64> {
        if !self.means.namespace {
            return Ok(self.relay.told().0);
        }
        namespace::dropped()
    }
}
