//! What a run of the simulator is told, with every fault of it found at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::direct::Placement;
use crate::fault::{Fault, Kind, Plan};
use crate::field::{AccessKind, FieldConfig, Outages};

/// Most meters behind one concentrator.
pub const MAX_METERS: u32 = 1_024;
/// Server SAP of the first direct meter on a shared port.
pub const FIRST_DIRECT_SAP: u16 = 1;

/// A run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of the head-end: main, then standby if there is one.
    pub head_ends: Vec<String>,
    /// Number that the first concentrator bears; fields that share a head-end differ in it.
    pub first: u32,
    /// Number of concentrators.
    pub concentrators: u32,
    /// Meters behind each concentrator.
    pub meters: u32,
    /// Capture period.
    pub interval: Duration,
    /// Seed of the field.
    pub seed: u64,
    /// How much faster history plays than the real clock.
    pub speed: u32,
    /// History before now that the field holds at its first start.
    pub history: Duration,
    /// Folder of the concentrators' memories; without it nothing is remembered.
    pub state: Option<PathBuf>,
    /// Time for an acknowledgement before a channel counts as lost.
    pub answer: Duration,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Most pushes sent and not yet acknowledged.
    pub window: usize,
    /// Time that an exchange with a meter takes on the power line.
    pub plc_delay: Duration,
    /// Number of meters with an address of their own, over the wrapper.
    pub direct: u32,
    /// Number of meters on HDLC lines.
    pub direct_hdlc: u32,
    /// Number of meters on IEC 62056-21 lines.
    pub direct_iec: u32,
    /// Where they listen: the ports of the wrapper, then one for each line, counting up.
    pub direct_listen: Option<SocketAddr>,
    /// Symlink to a pseudo-terminal that carries the first line.
    pub pty: Option<PathBuf>,
    /// How the direct meters authenticate, in turn.
    pub direct_access: Vec<AccessKind>,
    /// Ports that the direct meters are spread over, counting up from the one given.
    pub direct_ports: u32,
    /// Real meters behind concentrator 1: `tcp://host:port`, optionally `=SERIAL`.
    pub behind: Vec<Behind>,
    /// Faults to play.
    pub faults: Vec<Fault>,
    /// Time between the faults of a concentrator.
    pub fault_every: Duration,
    /// How long a fault lasts.
    pub fault_hold: Duration,
    /// How long an outage in the history lasts.
    pub outage_hold: Duration,
    /// Whether concentrators report events of their own.
    pub own_events: bool,
    /// After how long all meters lose power, and for how long.
    pub blackout: Option<(Duration, Duration)>,
    /// Whether the street has gaps, outages and dead meters by itself.
    pub outages: Outages,
    /// Where to write the registry.
    pub field_out: Option<PathBuf>,
    /// Where to append acknowledged pushes.
    pub journal: Option<PathBuf>,
}

/// A real meter behind concentrator 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// `host:port` of any DLMS server with wrapper framing.
    pub address: String,
    /// Physical device address for the gateway header.
    pub serial: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_ends: vec!["127.0.0.1:4059".to_owned()],
            first: 1,
            concentrators: 1,
            meters: 50,
            interval: Duration::from_secs(900),
            seed: 1,
            speed: 1,
            history: Duration::ZERO,
            state: None,
            answer: Duration::from_millis(700),
            heartbeat: Duration::from_millis(500),
            window: 4,
            plc_delay: Duration::ZERO,
            direct: 0,
            direct_hdlc: 0,
            direct_iec: 0,
            direct_listen: None,
            pty: None,
            direct_access: AccessKind::DEFAULT.to_vec(),
            direct_ports: 1,
            behind: Vec::new(),
            faults: Vec::new(),
            fault_every: Duration::from_secs(15),
            fault_hold: Duration::from_secs(5),
            outage_hold: Duration::from_secs(6 * 3_600),
            own_events: false,
            blackout: None,
            outages: Outages::Natural,
            field_out: None,
            journal: None,
        }
    }
}

impl Config {
    /// Every fault of the configuration, each a sentence; none means that it can run.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let seconds = self.interval.as_secs();
        let whole = self.interval.subsec_nanos() == 0;
        let spread = u64::from(self.direct.max(1)).div_ceil(u64::from(self.direct_ports.max(1)));
        let day = Duration::from_secs(86_400);
        let checks = [
            (self.concentrators > 0 && self.head_ends.is_empty(), "no head-end is given"),
            (self.head_ends.len() > 2, "a concentrator knows two head-ends, main and standby"),
            (
                self.head_ends.iter().any(|address| !has_port(address)),
                "a head-end is given as HOST:PORT",
            ),
            (self.first == 0, "concentrators are numbered from 1"),
            (
                self.first.saturating_add(self.concentrators) > 0xF_FFF0,
                "more concentrators than system titles",
            ),
            (self.meters > MAX_METERS, "a concentrator has at most 1024 meters"),
            (
                !whole || seconds == 0 || !seconds.is_multiple_of(60) || seconds > 86_400,
                "the interval is a whole number of minutes, at most a day",
            ),
            (self.speed == 0, "the speed is at least 1"),
            (self.history > day * 40, "meters hold 40 days of history"),
            (self.answer.is_zero(), "the answer time is more than nothing"),
            (self.heartbeat < Duration::from_millis(10), "heartbeats are at least 10 ms apart"),
            (self.window == 0 || self.window > 64, "the window is 1 to 64 pushes"),
            (self.plc_delay > Duration::from_secs(60), "the power line's delay is at most 60 s"),
            (
                self.direct > 0 && self.direct_listen.is_none(),
                "meters over the wrapper need --direct-listen",
            ),
            (
                self.lines() > 0 && self.direct_listen.is_none() && self.pty.is_none(),
                "meters on lines need --direct-listen or --pty",
            ),
            (self.pty.is_some() && self.lines() == 0, "--pty needs --direct-hdlc or --direct-iec"),
            (self.lines() > 10_000, "at most 10,000 meters stand on lines"),
            (self.direct_access.is_empty(), "direct meters need a way to authenticate"),
            (self.direct_ports == 0, "direct meters need at least one port"),
            (spread > 16_000, "at most 16,000 direct meters share a port"),
            (!self.behind.is_empty() && self.concentrators == 0, "--behind needs a concentrator"),
            (self.fault_every.is_zero(), "faults need time between them"),
            (
                self.plan().share_ppm(Kind::Outage).is_some_and(|share| share > 0)
                    && self.outage_hold + 3 * self.interval > self.history,
                "an outage needs a history that is three intervals longer",
            ),
        ];
        checks.iter().filter(|(bad, _)| *bad).map(|(_, text)| (*text).to_owned()).collect()
    }

    /// Meters on lines.
    fn lines(&self) -> u32 {
        self.direct_hdlc.saturating_add(self.direct_iec)
    }

    /// Where the direct meters stand.
    #[must_use]
    pub fn placement(&self) -> Placement {
        Placement {
            wrapper: self.direct as usize,
            ports: self.direct_ports.min(self.direct) as usize,
            hdlc: self.direct_hdlc as usize,
            iec: self.direct_iec as usize,
        }
    }

    /// The field that is meant.
    #[must_use]
    pub fn field(&self) -> FieldConfig {
        let plan = self.plan();
        let natural = |ppm: u32| if self.outages == Outages::Natural { ppm } else { 0 };
        FieldConfig {
            seed: self.seed,
            first: self.first,
            concentrators: self.concentrators,
            meters: self.meters,
            direct: self.direct.saturating_add(self.lines()),
            direct_access: self.direct_access.clone(),
            interval_s: u32::try_from(self.interval.as_secs()).unwrap_or(900),
            dead_ppm: plan.share_ppm(Kind::DeadMeters).unwrap_or(natural(10_000)),
            gaps_ppm: plan.share_ppm(Kind::Gaps).unwrap_or(natural(30_000)),
            skew_ppm: plan.share_ppm(Kind::ClockSkew).unwrap_or(0),
            outages: self.outages,
        }
    }

    /// The faults, ready to be asked.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::new(self.faults.clone())
    }
}

fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// Reads a duration: a number with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// A sentence for people when it is none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no duration such as 15m or 500ms"))?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` needs a unit: ms, s, m, h or d")),
    };
    let ms = number.checked_mul(ms).ok_or_else(|| format!("`{text}` is too long"))?;
    Ok(Duration::from_millis(ms))
}

/// Reads `tcp://HOST:PORT` or `tcp://HOST:PORT=SERIAL`.
///
/// # Errors
/// A sentence for people when it is neither.
pub fn parse_behind(text: &str) -> Result<Behind, String> {
    let wrong = || format!("`{text}` is not tcp://HOST:PORT or tcp://HOST:PORT=SERIAL");
    let rest = text.strip_prefix("tcp://").ok_or_else(wrong)?;
    let (address, serial) = match rest.split_once('=') {
        Some((address, serial)) => (address, serial.to_owned()),
        None => (rest, format!("REAL-{}", rest.replace([':', '.'], "-"))),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !has_port(address) || serial.is_empty() || serial.len() > 32 || !serial.chars().all(fits) {
        return Err(wrong());
    }
    Ok(Behind { address: address.to_owned(), serial })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Config, parse_behind, parse_duration};

    #[test]
    fn every_fault_is_found_at_once() {
        assert!(Config::default().validate().is_empty());
        let config = Config {
            head_ends: vec!["nowhere".to_owned()],
            meters: 2_000,
            interval: Duration::from_millis(1_500),
            ..Config::default()
        };
        assert_eq!(config.validate().len(), 3);
    }

    #[test]
    fn words_of_the_command_line_are_read() {
        for (text, ms) in [("15m", 900_000), ("36h", 129_600_000), ("500ms", 500), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "15", "m", "-1s", "1w", "99999999999999999999d", "999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        let real = parse_behind("tcp://127.0.0.1:7000=A-77").unwrap();
        assert_eq!((real.address.as_str(), real.serial.as_str()), ("127.0.0.1:7000", "A-77"));
        assert_eq!(parse_behind("tcp://127.0.0.1:7000").unwrap().serial, "REAL-127-0-0-1-7000");
        for bad in ["127.0.0.1:1", "tcp://x", "tcp://x:1=", "tcp://x:1=a b"] {
            assert!(parse_behind(bad).is_err(), "{bad}");
        }
    }
}
