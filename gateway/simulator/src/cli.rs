//! The words of the command line and what they mean. It starts nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::config::{Behind, Config, parse_behind, parse_duration};
use crate::fault::Fault;
use crate::field::{AccessKind, Outages};

/// Concentrators and meters in software that speak DLMS/COSEM over real sockets.
#[derive(Debug, Parser)]
#[command(name = "holdfast-simulator", version)]
pub struct Cli {
    /// Head-end addresses HOST:PORT, main and standby
    #[arg(long, value_name = "H:P[,H:P]", value_delimiter = ',')]
    pub head_end: Vec<String>,
    /// Number of concentrators
    #[arg(long, default_value_t = 1)]
    pub concentrators: u32,
    /// Number of the first concentrator, in its id and those of its meters: fields that share a
    /// head-end need numbers of their own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub first: u32,
    /// Meters behind each concentrator, at most 1024
    #[arg(long, default_value_t = 50)]
    pub meters: u32,
    /// Capture period of the load profile
    #[arg(long, default_value = "15m", value_parser = parse_duration)]
    pub interval: Duration,
    /// Seed of the field: the same seed is the same field
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much faster history plays until it meets the real clock
    #[arg(long, default_value_t = 1)]
    pub speed: u32,
    /// History before now at the first start
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub history: Duration,
    /// Folder of what the devices remember over a restart
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Milliseconds for an acknowledgement before a channel counts as lost
    #[arg(long, default_value_t = 700)]
    pub answer_ms: u64,
    /// Milliseconds between heartbeats
    #[arg(long, default_value_t = 500)]
    pub heartbeat_ms: u64,
    /// Most pushes sent and not yet acknowledged
    #[arg(long, default_value_t = 4)]
    pub window: usize,
    /// Milliseconds that an exchange with a meter takes on the power line
    #[arg(long, default_value_t = 0)]
    pub plc_delay_ms: u64,
    /// Number of meters with an address of their own, DLMS over TCP
    #[arg(long, default_value_t = 0)]
    pub direct: u32,
    /// Number of meters on HDLC lines, 32 on each, as serial servers show them; the physical
    /// address from 17 on tells them apart
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub direct_hdlc: u32,
    /// Number of meters on IEC 62056-21 lines, 32 on each, in modes C, E, A, B in turn; the device
    /// address is the serial; every fifth is of mode D and has a line of its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub direct_iec: u32,
    /// Where the direct meters listen: --direct-ports ports told apart by the server SAP, then one
    /// port for each HDLC line, then for each IEC 62056-21 line, counting up
    #[arg(long, value_name = "H:P")]
    pub direct_listen: Option<SocketAddr>,
    /// Puts the first line on a pseudo-terminal and a symlink to it here
    #[arg(long, value_name = "PATH")]
    pub pty: Option<PathBuf>,
    /// How direct meters authenticate, in turn: none, lls, hls3, hls4, hls5, hls6, and in suite 1
    /// or 2 hls5, hls7, signed with -suite1 or -suite2
    #[arg(
        long,
        value_name = "KIND[,KIND]",
        value_delimiter = ',',
        default_value = "none,lls,hls5"
    )]
    pub direct_access: Vec<AccessKind>,
    /// Ports that the direct meters are spread over, counting up
    #[arg(long, default_value_t = 1)]
    pub direct_ports: u32,
    /// A real meter behind concentrator 1: tcp://HOST:PORT[=SERIAL]
    #[arg(long, value_parser = parse_behind)]
    pub behind: Vec<Behind>,
    /// A fault to play
    #[arg(long, value_name = "KIND[:SHARE]", help = crate::fault::help())]
    pub fault: Vec<Fault>,
    /// Time between the faults of a concentrator
    #[arg(long, default_value = "15s", value_parser = parse_duration)]
    pub fault_every: Duration,
    /// How long a fault lasts
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub fault_hold: Duration,
    /// How long the fault outage lasts
    #[arg(long, default_value = "6h", value_parser = parse_duration)]
    pub outage_hold: Duration,
    /// Concentrators report events of their own: restarts, channels lost and restored
    #[arg(long)]
    pub own_events: bool,
    /// All meters lose power so long after the start, within ten seconds, and report it
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub blackout_after: Option<Duration>,
    /// How long they have none
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub blackout_hold: Duration,
    /// A field without gaps, outages and dead meters, so that expected values can be counted
    #[arg(long)]
    pub perfect: bool,
    /// File for the registry with all keys (readable by its owner only): one JSON document
    /// {"concentrators":[{id, system_title, serial, guek, gak, name}], "meters":[{serial,
    /// concentrator or address, client_sap, server_sap, authentication, lls_secret, guek, gak, kek,
    /// reader_secret, system_title, model}]}, octets as hex
    #[arg(long)]
    pub field_out: Option<PathBuf>,
    /// File to append every acknowledged push to: JSON lines {"concentrator", "sequence",
    /// "rows": [[serial, end s, status, A+ Wh, A- Wh or null]]}
    #[arg(long)]
    pub journal: Option<PathBuf>,
    /// Stop after this time
    #[arg(long, value_parser = parse_duration)]
    pub run_for: Option<Duration>,
    /// Status and summary as JSON lines on standard output
    #[arg(long)]
    pub json: bool,
    /// Stop when the parent process ends
    #[arg(long)]
    pub die_with_parent: bool,
}

impl Cli {
    /// The run that is meant.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            head_ends: self.head_end.clone(),
            first: self.first,
            concentrators: self.concentrators,
            meters: self.meters,
            interval: self.interval,
            seed: self.seed,
            speed: self.speed,
            history: self.history,
            state: self.state.clone(),
            answer: Duration::from_millis(self.answer_ms),
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            window: self.window,
            plc_delay: Duration::from_millis(self.plc_delay_ms),
            direct: self.direct,
            direct_hdlc: self.direct_hdlc,
            direct_iec: self.direct_iec,
            direct_listen: self.direct_listen,
            pty: self.pty.clone(),
            direct_access: self.direct_access.clone(),
            direct_ports: self.direct_ports,
            behind: self.behind.clone(),
            faults: self.fault.clone(),
            fault_every: self.fault_every,
            fault_hold: self.fault_hold,
            outage_hold: self.outage_hold,
            own_events: self.own_events,
            blackout: self.blackout_after.map(|after| (after, self.blackout_hold)),
            outages: if self.perfect { Outages::Never } else { Outages::Natural },
            field_out: self.field_out.clone(),
            journal: self.journal.clone(),
        }
    }
}
