//! A network and mount namespace of our own, and nftables in it: packets are dropped by the kernel,
//! and nobody is told.
//!
//! Invariant: rules are never made in the machine's own namespace; a program asks for one of its
//! own first, by running itself anew, and does without where there is none to be had.

use anyhow::{Context, ensure};
use std::ffi::OsString;
use std::process::{Command, ExitCode};

const OWN: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];
const CHAIN: [&str; 3] = ["inet", "holdfast", "out"];

/// Runs this program anew in a namespace of its own, with these words; none where there is none to
/// be had, which the caller tells.
pub fn again_inside(words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let up = "ip link set lo up && nft list tables >/dev/null";
    let probe = Command::new("unshare").args(OWN).args(["sh", "-c", up]).output().ok()?;
    if !probe.status.success() {
        return None;
    }
    let own = std::env::current_exe().ok()?;
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--kill-child"])
        .args(OWN)
        .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(own)
        .args(words)
        .status()
        .ok()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the chain that cuts stand in.
///
/// # Errors
/// nftables cannot be used here.
pub fn prepare() -> anyhow::Result<()> {
    nft(&["add", "table", "inet", "holdfast"])?;
    let hook = "{ type filter hook output priority 0; }";
    nft(&[&["add", "chain"][..], &CHAIN, &[hook]].concat())
}

/// From now on packets of a protocol are dropped whose port on one side is this; `side` is `sport`
/// or `dport`.
///
/// # Errors
/// nftables refuses the rule.
pub fn drop_packets(protocol: &str, side: &str, port: u16) -> anyhow::Result<()> {
    let port = port.to_string();
    nft(&[&["add", "rule"][..], &CHAIN, &[protocol, side, &port, "counter", "drop"]].concat())
}

/// Nothing is dropped any more; the counts end with the rules.
///
/// # Errors
/// nftables refuses it.
pub fn drop_nothing() -> anyhow::Result<()> {
    nft(&[&["flush", "chain"][..], &CHAIN].concat())
}

/// Packets that the rules of now have dropped.
///
/// # Errors
/// nftables does not say.
pub fn dropped() -> anyhow::Result<u64> {
    let output = Command::new("nft").args(["list", "chain"]).args(CHAIN).output();
    let said = String::from_utf8_lossy(&output.context(NEEDS)?.stdout).into_owned();
    let counts = said.split("counter packets ").skip(1);
    Ok(counts.filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).sum())
}

const NEEDS: &str = "nft (package nftables)";

fn nft(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("nft").args(words).output().context(NEEDS)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "nft {words:?}: {said}");
    Ok(())
}
