//! What an operator can set about channels, dialling and limits. Not here: certificates (the caller
//! reads them and hands over a ready TLS configuration) and anything about the cluster.
//!
//! Invariant: a configuration that `validate` accepts makes every queue bounded and gives every
//! wait a deadline.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::line::settings::{self, SerialPort};

/// Every setting of the gateway. Times carry their unit in the name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// TCP address for concentrators (registered port 4059). Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// TLS address for concentrators (4060 by custom). Needs a TLS configuration at the start.
    pub tls_listen: Option<SocketAddr>,
    /// Open sockets in total. Too low: concentrators stay out. Too high: file handles run out.
    pub max_connections: usize,
    /// Open sockets of one remote address. Too low: concentrators behind one NAT stay out.
    pub max_connections_per_address: usize,
    /// Time for the TLS handshake and the identity notification, milliseconds. Too high: silent
    /// sockets fill the table.
    pub identity_timeout_ms: u64,
    /// Time from the identity to its admission, and again from there to a standby or active
    /// channel, milliseconds.
    pub login_timeout_ms: u64,
    /// Time for an answer of a concentrator to one request, milliseconds. Fast links 700, GPRS
    /// 20,000. Too low: a slow link is called lost while it works.
    pub answer_timeout_ms: u64,
    /// Time for an answer of a meter behind a concentrator, milliseconds. Power lines are slow.
    pub meter_timeout_ms: u64,
    /// Time a write to a socket may block before the channel is closed, milliseconds.
    pub write_timeout_ms: u64,
    /// The concentrators' heartbeat interval, milliseconds. Fast links 500, GPRS 60,000.
    pub heartbeat_interval_ms: u64,
    /// Heartbeats that may be missed before a channel is lost. Fast links 2, GPRS 3.
    pub heartbeat_misses: u32,
    /// Octets of one APDU. A longer frame closes the channel.
    pub max_apdu_octets: usize,
    /// Pushes of one channel that wait for their commit at a time.
    pub push_window: usize,
    /// Requests to the cluster that wait at a time, all channels together.
    pub upcall_queue: usize,
    /// Questions about logins and leases that are with the cluster at a time; the rest waits, and
    /// who is further in its login goes first. Too low: logins wait for nothing. Too high: when a
    /// whole field logs in, nobody is served before everybody is.
    pub logins_at_once: usize,
    /// Time for one answer of the cluster, milliseconds.
    pub upcall_timeout_ms: u64,
    /// Pause before a request that the cluster could not take is made again, milliseconds.
    pub upcall_retry_ms: u64,
    /// Invocation counters reserved at a time for a concentrator's channel.
    pub counter_block: u32,
    /// Invocation counters reserved at a time for a meter's association.
    pub meter_counter_block: u32,
    /// Associations with meters that one channel keeps open.
    pub meters_open_per_channel: usize,
    /// Requests to meters in flight on one channel.
    pub reads_in_flight_per_channel: usize,
    /// Orders that wait on one channel or for one dialled meter. More are answered `busy`.
    pub orders_per_channel: usize,
    /// Directly addressed meters in a session at a time.
    pub dial_sessions: usize,
    /// Time to open a connection to a meter, milliseconds.
    pub dial_connect_timeout_ms: u64,
    /// Time of one whole session with a meter, milliseconds.
    pub dial_session_timeout_ms: u64,
    /// First pause after a failed session with a meter, milliseconds. Doubles with each failure.
    pub dial_backoff_first_ms: u64,
    /// Longest pause after failed sessions, milliseconds.
    pub dial_backoff_cap_ms: u64,
    /// Time between two register readings of a dialled meter, seconds.
    pub registers_every_s: u64,
    /// Time between two readings of a dialled meter's clock, seconds.
    pub clock_every_s: u64,
    /// Time between two readings of a dialled meter's load profile, seconds.
    pub profile_every_s: u64,
    /// How far back the first load profile reading of a meter reaches, seconds.
    pub profile_reach_s: u64,
    /// The longest range of one load profile request, seconds.
    pub profile_chunk_s: u64,
    /// After an activation, and after a push, gaps are left alone for so long, milliseconds: a
    /// concentrator that comes back pushes what it holds by itself.
    pub refill_settle_ms: u64,
    /// Between two looks at the gaps of a concentrator, milliseconds.
    pub refill_every_ms: u64,
    /// Concentrators whose gaps are filled at a time. Of each, one read at a time.
    pub refill_devices: usize,
    /// Time range of one read of missing rows, seconds. Too high: on a slow power line somebody
    /// who reads on demand waits long.
    pub refill_chunk_s: u64,
    /// Time for one read of missing rows, milliseconds.
    pub refill_read_timeout_ms: u64,
    /// A meter that failed so often in a row is not asked any more before it is heard again.
    pub refill_attempts: u32,
    /// Pause after the first failure of a meter, milliseconds; doubles.
    pub refill_backoff_first_ms: u64,
    /// The longest such pause, milliseconds.
    pub refill_backoff_cap_ms: u64,
    /// Between two looks for what tasks want to be read, milliseconds.
    pub task_look_ms: u64,
    /// Time for one read for a task, milliseconds.
    pub task_read_timeout_ms: u64,
    /// Serial ports of this node.
    pub serial: Vec<SerialPort>,
    /// Conversations that wait for one line at a time. More are told that it is busy.
    pub line_queue: usize,
    /// Time for an answer on a serial line or behind a serial server, milliseconds, without the
    /// time of the octets on the line. Too low: slow meters are called silent.
    pub line_answer_timeout_ms: u64,
    /// First pause before a serial port that is not there is tried again, milliseconds.
    pub line_backoff_first_ms: u64,
    /// Longest pause before a serial port is tried again, milliseconds.
    pub line_backoff_cap_ms: u64,
    /// Time after which an idle connection to a serial server is closed, milliseconds.
    pub line_idle_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4059),
            tls_listen: None,
            max_connections: 8_192,
            max_connections_per_address: 2_048,
            identity_timeout_ms: 10_000,
            login_timeout_ms: 30_000,
            answer_timeout_ms: 20_000,
            meter_timeout_ms: 20_000,
            write_timeout_ms: 10_000,
            heartbeat_interval_ms: 60_000,
            heartbeat_misses: 3,
            max_apdu_octets: 65_535,
            push_window: 16,
            upcall_queue: 1_024,
            logins_at_once: 128,
            upcall_timeout_ms: 5_000,
            upcall_retry_ms: 200,
            counter_block: 4_096,
            meter_counter_block: 128,
            meters_open_per_channel: 32,
            reads_in_flight_per_channel: 8,
            orders_per_channel: 256,
            dial_sessions: 256,
            dial_connect_timeout_ms: 10_000,
            dial_session_timeout_ms: 300_000,
            dial_backoff_first_ms: 5_000,
            dial_backoff_cap_ms: 900_000,
            registers_every_s: 900,
            clock_every_s: 86_400,
            profile_every_s: 900,
            profile_reach_s: 31 * 86_400,
            profile_chunk_s: 7 * 86_400,
            refill_settle_ms: 30_000,
            refill_every_ms: 900_000,
            refill_devices: 64,
            refill_chunk_s: 86_400,
            refill_read_timeout_ms: 120_000,
            refill_attempts: 8,
            refill_backoff_first_ms: 60_000,
            refill_backoff_cap_ms: 21_600_000,
            task_look_ms: 1_000,
            task_read_timeout_ms: 120_000,
            serial: Vec::new(),
            line_queue: 256,
            line_answer_timeout_ms: 3_000,
            line_backoff_first_ms: 1_000,
            line_backoff_cap_ms: 30_000,
            line_idle_ms: 5_000,
        }
    }
}

impl Config {
    /// Small limits and short times on loopback, any free port.
    #[must_use]
    pub fn for_test() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            max_connections: 64,
            max_connections_per_address: 32,
            identity_timeout_ms: 1_000,
            login_timeout_ms: 5_000,
            answer_timeout_ms: 2_000,
            meter_timeout_ms: 2_000,
            write_timeout_ms: 1_000,
            heartbeat_interval_ms: 500,
            heartbeat_misses: 4,
            push_window: 4,
            upcall_queue: 16,
            logins_at_once: 4,
            upcall_timeout_ms: 2_000,
            upcall_retry_ms: 20,
            counter_block: 64,
            meter_counter_block: 16,
            meters_open_per_channel: 2,
            reads_in_flight_per_channel: 2,
            orders_per_channel: 8,
            dial_sessions: 8,
            dial_connect_timeout_ms: 1_000,
            dial_session_timeout_ms: 10_000,
            dial_backoff_first_ms: 100,
            dial_backoff_cap_ms: 1_000,
            refill_settle_ms: 200,
            refill_every_ms: 1_000,
            refill_devices: 4,
            refill_read_timeout_ms: 10_000,
            refill_attempts: 3,
            refill_backoff_first_ms: 100,
            refill_backoff_cap_ms: 1_000,
            task_look_ms: 50,
            task_read_timeout_ms: 10_000,
            line_queue: 8,
            line_answer_timeout_ms: 500,
            line_backoff_first_ms: 20,
            line_backoff_cap_ms: 100,
            line_idle_ms: 200,
            ..Self::default()
        }
    }

    /// Names every fault at once: one sentence each, beginning with the key.
    ///
    /// # Errors
    /// The list of faults, never empty.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        self.check_times(&mut faults);
        self.check_counts(&mut faults);
        if self.tls_listen == Some(self.listen) && self.listen.port() != 0 {
            faults.push("tls_listen: must differ from listen".to_owned());
        }
        if self.max_connections_per_address > self.max_connections {
            faults.push("max_connections_per_address: must not exceed max_connections".to_owned());
        }
        // 2,048 octets hold the longest login frame; 65,535 is what the wrapper's length can say.
        if !(2_048..=65_535).contains(&self.max_apdu_octets) {
            faults.push("max_apdu_octets: must be 2048 to 65535".to_owned());
        }
        if self.dial_backoff_cap_ms < self.dial_backoff_first_ms {
            faults.push(
                "dial_backoff_cap_ms: must not be less than dial_backoff_first_ms".to_owned(),
            );
        }
        if self.refill_backoff_cap_ms < self.refill_backoff_first_ms {
            faults.push(
                "refill_backoff_cap_ms: must not be less than refill_backoff_first_ms".to_owned(),
            );
        }
        if self.line_backoff_cap_ms < self.line_backoff_first_ms {
            faults.push(
                "line_backoff_cap_ms: must not be less than line_backoff_first_ms".to_owned(),
            );
        }
        faults.extend(settings::faults(&self.serial));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn check_times(&self, faults: &mut Vec<String>) {
        const DAY_MS: u64 = 86_400_000;
        let times = [
            ("identity_timeout_ms", self.identity_timeout_ms, DAY_MS),
            ("login_timeout_ms", self.login_timeout_ms, DAY_MS),
            ("answer_timeout_ms", self.answer_timeout_ms, DAY_MS),
            ("meter_timeout_ms", self.meter_timeout_ms, DAY_MS),
            ("write_timeout_ms", self.write_timeout_ms, DAY_MS),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms, DAY_MS),
            ("upcall_timeout_ms", self.upcall_timeout_ms, DAY_MS),
            ("upcall_retry_ms", self.upcall_retry_ms, DAY_MS),
            ("dial_connect_timeout_ms", self.dial_connect_timeout_ms, DAY_MS),
            ("dial_session_timeout_ms", self.dial_session_timeout_ms, DAY_MS),
            ("dial_backoff_first_ms", self.dial_backoff_first_ms, DAY_MS),
            ("dial_backoff_cap_ms", self.dial_backoff_cap_ms, DAY_MS),
            ("line_answer_timeout_ms", self.line_answer_timeout_ms, DAY_MS),
            ("line_backoff_first_ms", self.line_backoff_first_ms, DAY_MS),
            ("line_backoff_cap_ms", self.line_backoff_cap_ms, DAY_MS),
            ("line_idle_ms", self.line_idle_ms, DAY_MS),
            ("registers_every_s", self.registers_every_s, 366 * 86_400),
            ("clock_every_s", self.clock_every_s, 366 * 86_400),
            ("profile_every_s", self.profile_every_s, 366 * 86_400),
            ("profile_reach_s", self.profile_reach_s, 3_660 * 86_400),
            ("profile_chunk_s", self.profile_chunk_s, 366 * 86_400),
            ("refill_settle_ms", self.refill_settle_ms, DAY_MS),
            ("refill_every_ms", self.refill_every_ms, DAY_MS),
            ("refill_chunk_s", self.refill_chunk_s, 7 * 86_400),
            ("refill_read_timeout_ms", self.refill_read_timeout_ms, DAY_MS),
            ("refill_backoff_first_ms", self.refill_backoff_first_ms, DAY_MS),
            ("refill_backoff_cap_ms", self.refill_backoff_cap_ms, 7 * DAY_MS),
            ("task_look_ms", self.task_look_ms, 60_000),
            ("task_read_timeout_ms", self.task_read_timeout_ms, DAY_MS),
        ];
        for (key, value, most) in times {
            if value == 0 || value > most {
                faults.push(format!("{key}: must be 1 to {most}"));
            }
        }
    }

    fn check_counts(&self, faults: &mut Vec<String>) {
        let counts = [
            ("max_connections", self.max_connections, 1_000_000),
            ("max_connections_per_address", self.max_connections_per_address, 1_000_000),
            ("heartbeat_misses", self.heartbeat_misses as usize, 100),
            ("push_window", self.push_window, 1_024),
            ("upcall_queue", self.upcall_queue, 65_536),
            ("logins_at_once", self.logins_at_once, 65_536),
            ("counter_block", self.counter_block as usize, 1 << 20),
            ("meter_counter_block", self.meter_counter_block as usize, 1 << 20),
            ("meters_open_per_channel", self.meters_open_per_channel, 1_024),
            ("reads_in_flight_per_channel", self.reads_in_flight_per_channel, 1_024),
            ("orders_per_channel", self.orders_per_channel, 65_536),
            ("line_queue", self.line_queue, 65_536),
            ("dial_sessions", self.dial_sessions, 65_536),
            ("refill_devices", self.refill_devices, 65_536),
            ("refill_attempts", self.refill_attempts as usize, 1_000),
        ];
        for (key, value, most) in counts {
            if value == 0 || value > most {
                faults.push(format!("{key}: must be 1 to {most}"));
            }
        }
        // Association, activation and a first acknowledgement need a dozen frames.
        if self.counter_block < 16 || self.meter_counter_block < 16 {
            faults.push("counter_block, meter_counter_block: must be at least 16".to_owned());
        }
    }

    /// How long an active channel may be silent before it is lost.
    #[must_use]
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms) * self.heartbeat_misses
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert_eq!(Config::for_test().validate(), Ok(()));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let config = Config {
            push_window: 0,
            max_apdu_octets: 100,
            heartbeat_interval_ms: 0,
            dial_backoff_first_ms: 20,
            dial_backoff_cap_ms: 10,
            tls_listen: Some(Config::default().listen),
            ..Config::default()
        };
        let faults = config.validate().unwrap_err();
        let keys: Vec<&str> = faults.iter().filter_map(|f| f.split(':').next()).collect();
        assert_eq!(
            keys,
            [
                "heartbeat_interval_ms",
                "push_window",
                "tls_listen",
                "max_apdu_octets",
                "dial_backoff_cap_ms"
            ]
        );
    }
}
