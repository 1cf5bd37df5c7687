//! What a round breaks, drawn from dice, and how it is broken and mended.

use super::{ENVIRONMENT, House, SETTLED_WITHIN};
use crate::demo::{Signal, signal};
use crate::field;
use crate::proxy::Line;
use crate::simulation::Dice;
use anyhow::{Context, ensure};
use std::fmt;
use std::process::Command;
use std::time::Duration;

/// Whether links between nodes can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// By nftables: the program runs in a network namespace of its own.
    Rules,
    /// Not here.
    None,
}

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
    /// SIGKILL of all three at once, started again.
    PowerCut,
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
            Self::Kill(away) | Self::Hang(away) => Some(away.node),
            Self::CutNode(away, _) | Self::Lossy(away, _) => Some(away.node),
            Self::PowerCut | Self::LineClosed(_) | Self::LineDead(..) | Self::KillField => None,
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
            Self::PowerCut => write!(f, "all nodes killed at once"),
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

/// One to three faults; those that take a node take the same one.
pub fn draw(dice: &mut Dice, cuts: Cuts) -> Vec<Fault> {
    let count = 1 + below(dice, 3);
    let node = usize::try_from(below(dice, 3)).unwrap_or(0);
    (0..count).map(|_| one(dice, cuts, node)).collect()
}

fn one(dice: &mut Dice, cuts: Cuts, node: usize) -> Fault {
    let away = Away { node, ms: 100 + below(dice, 3_000) };
    let line = usize::try_from(below(dice, 2)).unwrap_or(0);
    let first = below(dice, 2) == 0;
    let kinds = if cuts == Cuts::Rules { 11 } else { 8 };
    match below(dice, kinds) {
        0..=2 => Fault::Kill(away),
        3 => Fault::Hang(away),
        4 => Fault::PowerCut,
        5 => Fault::LineClosed(line),
        6 => Fault::LineDead(line, if first { Line::BlackHole } else { Line::OneWay }),
        7 => Fault::KillField,
        8 => Fault::CutNode(away, Way::Both),
        9 => Fault::CutNode(away, if first { Way::Out } else { Way::In }),
        _ => Fault::Lossy(away, 5 + below(dice, 40)),
    }
}

impl House {
    /// Breaks one thing; what takes a node away is over when this returns.
    pub(super) async fn inject(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(away) => {
                self.nodes.kill(away.node)?;
                away.over().await;
                self.nodes.start(away.node, &ENVIRONMENT)?;
                // A node that is not back yet must not be joined by another that goes.
                self.nodes.wait_ready(away.node, SETTLED_WITHIN).await?;
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
                self.rules(away.node, *way, "")?;
                away.over().await;
                let dropped = dropped()?;
                nft(&["flush", "chain", "inet", "holdfast", "out"])?;
                // Nodes speak several times in half a second: a cut that drops nothing is none.
                ensure!(away.ms < 500 || dropped > 0, "the cut dropped no datagram");
            }
            Fault::Lossy(away, percent) => {
                let chance = format!("numgen random mod 100 < {percent}");
                self.rules(away.node, Way::Both, &chance)?;
                away.over().await;
                nft(&["flush", "chain", "inet", "holdfast", "out"])?;
            }
            Fault::PowerCut => {
                (0..3).try_for_each(|node| self.nodes.kill(node))?;
                (0..3).try_for_each(|node| self.nodes.start(node, &ENVIRONMENT))?;
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

    /// Lines are sound again; everything else was undone when its time was over.
    pub(super) fn mend(&self) {
        self.proxies.iter().for_each(|proxy| proxy.cut());
    }

    /// Drops datagrams between a node's port and the others'.
    fn rules(&self, node: usize, way: Way, chance: &str) -> anyhow::Result<()> {
        let port = |place: usize| anyhow::Ok((self.port + 200 + u16::try_from(place)?).to_string());
        let own = port(node)?;
        for other in (0..3).filter(|other| *other != node) {
            let other = port(other)?;
            for (from, to, wanted) in [(&own, &other, Way::Out), (&other, &own, Way::In)] {
                if way == Way::Both || way == wanted {
                    let rule = ["add", "rule", "inet", "holdfast", "out", "udp", "sport", from];
                    let chance: Vec<&str> = chance.split_whitespace().collect();
                    let rule =
                        [&rule[..], &["udp", "dport", to], &chance, &["counter", "drop"]].concat();
                    nft(&rule)?;
                }
            }
        }
        Ok(())
    }
}

/// Makes the chain that cuts stand in.
///
/// # Errors
/// nftables cannot be used here.
pub fn prepare() -> anyhow::Result<()> {
    nft(&["add", "table", "inet", "holdfast"])?;
    let hook = "{ type filter hook output priority 0; }";
    nft(&["add", "chain", "inet", "holdfast", "out", hook])
}

/// Datagrams that the rules have dropped.
fn dropped() -> anyhow::Result<u64> {
    let chain = ["list", "chain", "inet", "holdfast", "out"];
    let output = Command::new("nft").args(chain).output().context("nft (package nftables)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = said.split("counter packets ").skip(1);
    Ok(counts.filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).sum())
}

fn nft(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("nft").args(words).output().context("nft (package nftables)")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "nft {words:?}: {said}");
    Ok(())
}
