//! What an operator says about a serial port of this node.
//!
//! Invariant: settings that `faults` has nothing to say about can be set on a port that can do
//! them; whether this one can is only known when it is opened.

use std::path::PathBuf;

use domain::units::address::is_port_name;
use serde::Deserialize;

/// One `[[gateway.serial]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SerialPort {
    /// Its name in the addresses of meters and in metrics.
    pub name: String,
    /// The device, `/dev/serial/by-id/...` for instance.
    pub path: PathBuf,
    /// Rate of HDLC on this line, baud. IEC 62056-21 signs on at 300 whatever stands here.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Whether what is sent comes back, as from two-wire adapters and optical heads.
    pub echo: bool,
    /// Silence between the last octet heard and the next one sent, milliseconds.
    pub turnaround_ms: u64,
}

/// The parity bit of a character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// There is none.
    #[default]
    None,
    /// Even number of ones.
    Even,
    /// Odd number of ones.
    Odd,
}

impl Default for SerialPort {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: PathBuf::new(),
            baud: 9_600,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            echo: false,
            turnaround_ms: 20,
        }
    }
}

/// Names every fault of these ports at once: one sentence each, beginning with the key.
pub(crate) fn faults(ports: &[SerialPort]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut say = |key: &str, why: &str| faults.push(format!("serial.{key}: {why}"));
    for (at, port) in ports.iter().enumerate() {
        if !is_port_name(&port.name) {
            say("name", "must be 1 to 32 letters, digits, -, _ or .");
        }
        let before = ports.get(..at).unwrap_or_default();
        if before.iter().any(|other| other.name == port.name) {
            say("name", "stands twice");
        }
        if port.name == TCP {
            say("name", "must not be tcp, which stands for all serial servers");
        }
        if port.path.as_os_str().is_empty() {
            say("path", "is missing");
        }
        if before.iter().any(|other| other.path == port.path) {
            say("path", "stands twice: one device is one line");
        }
        if !(300..=1_000_000).contains(&port.baud) {
            say("baud", "must be 300 to 1000000");
        }
        if !(7..=8).contains(&port.data_bits) {
            say("data_bits", "must be 7 or 8");
        }
        if !(1..=2).contains(&port.stop_bits) {
            say("stop_bits", "must be 1 or 2");
        }
        if port.turnaround_ms > 2_000 {
            say("turnaround_ms", "must be at most 2000");
        }
    }
    faults
}

/// The label of all lines that are no serial port of this node.
pub(crate) const TCP: &str = "tcp";

#[cfg(test)]
mod tests {
    use super::{SerialPort, faults};

    #[test]
    fn every_fault_of_every_port_is_named() {
        let good = SerialPort {
            name: "east".to_owned(),
            path: "/dev/ttyUSB0".into(),
            ..SerialPort::default()
        };
        let west =
            SerialPort { name: "west".to_owned(), path: "/dev/ttyS1".into(), ..good.clone() };
        assert_eq!(faults(&[good.clone(), west]), Vec::<String>::new());
        let bad = SerialPort {
            baud: 110,
            data_bits: 9,
            stop_bits: 0,
            turnaround_ms: 3_000,
            ..good.clone()
        };
        let nameless = SerialPort { name: "a b".to_owned(), path: "".into(), ..good.clone() };
        let tcp = SerialPort { name: "tcp".to_owned(), path: "/dev/x".into(), ..good.clone() };
        let found = faults(&[good, bad, nameless, tcp]);
        let keys: Vec<&str> = found.iter().filter_map(|fault| fault.split(':').next()).collect();
        let expected = [
            "serial.name",
            "serial.path",
            "serial.baud",
            "serial.data_bits",
            "serial.stop_bits",
            "serial.turnaround_ms",
            "serial.name",
            "serial.path",
            "serial.name",
        ];
        assert_eq!(keys, expected);
    }
}
