//! A UPS asked over NUT's network protocol: text lines over TCP, port 3493.
//!
//! RFC 9271. Only reads: no login, no commands. Invariants: a question has one deadline for all of
//! it; lines and their number are bounded; what is not of the protocol is an error, never a guess.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The port of upsd.
const PORT: u16 = 3493;
/// The longest line, and the most of them.
const MAX_LINE: u64 = 1024;
const MAX_LINES: usize = 512;

/// Which UPS, and where its server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The UPS's name on its server.
    pub ups: String,
    /// The server's host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Address {
    /// Reads `name@host` or `name@host:port`; an IPv6 address stands in brackets.
    pub fn parse(text: &str) -> Option<Address> {
        let (ups, server) = text.split_once('@')?;
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (server, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let word = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        let named = (1..=64).contains(&ups.len()) && ups.chars().all(word);
        let reached = (1..=255).contains(&host.len()) && !host.contains(char::is_whitespace);
        (named && reached && port > 0).then(|| Address {
            ups: ups.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

/// How a UPS fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The flags of `ups.status`, such as `OL CHRG`.
    pub flags: Vec<String>,
    /// Charge of the battery, per cent.
    pub charge: Option<f64>,
    /// How long the battery lasts, seconds.
    pub runtime_s: Option<f64>,
    /// Load, per cent.
    pub load: Option<f64>,
}

impl Status {
    /// Whether mains are gone.
    pub fn on_battery(&self) -> bool {
        self.has("OB")
    }

    /// Whether the battery is nearly empty.
    pub fn is_low(&self) -> bool {
        self.has("LB")
    }

    /// Whether the battery should be replaced.
    pub fn replace_battery(&self) -> bool {
        self.has("RB")
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing in time, or the connection broke.
    #[error("{0}")]
    Unreachable(String),
    /// The server says no, such as `DATA-STALE` or `UNKNOWN-UPS`.
    #[error("the server says {0}")]
    Refused(String),
    /// Not of the protocol.
    #[error("the server does not speak NUT's protocol: {0}")]
    Malformed(&'static str),
}

/// Asks once, on a connection of its own.
pub async fn ask(address: &Address, timeout: Duration) -> Result<Status, Failure> {
    match tokio::time::timeout(timeout, exchange(address)).await {
        Ok(end) => end,
        Err(_) => Err(Failure::Unreachable("no answer in time".into())),
    }
}

async fn exchange(address: &Address) -> Result<Status, Failure> {
    let lost = |error: std::io::Error| Failure::Unreachable(error.to_string());
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(lost)?;
    let (from, mut to) = stream.into_split();
    to.write_all(format!("LIST VAR {}\n", address.ups).as_bytes()).await.map_err(lost)?;
    let mut lines = BufReader::new(from);
    let mut variables = BTreeMap::new();
    for nth in 0..=MAX_LINES {
        let mut line = Vec::new();
        (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line).await.map_err(lost)?;
        if line.pop() != Some(b'\n') {
            return Err(Failure::Malformed("a line without an end, or too long"));
        }
        let line = String::from_utf8(line).map_err(|_| Failure::Malformed("a line is no text"))?;
        let line = line.trim_end_matches('\r');
        if let Some(error) = line.strip_prefix("ERR ") {
            return Err(Failure::Refused(error.chars().take(80).collect()));
        }
        if nth == 0 {
            if line != format!("BEGIN LIST VAR {}", address.ups) {
                return Err(Failure::Malformed("another beginning than of the list"));
            }
            continue;
        }
        if line == format!("END LIST VAR {}", address.ups) {
            // Politeness alone: the answer is whole.
            let _ = to.write_all(b"LOGOUT\n").await;
            return status(&variables);
        }
        let (name, value) = variable(line, &address.ups)?;
        variables.insert(name, value);
    }
    Err(Failure::Malformed("a list without an end"))
}

/// `VAR <ups> <name> "<value>"`, with `\"` and `\\` within.
fn variable(line: &str, ups: &str) -> Result<(String, String), Failure> {
    let broken = || Failure::Malformed("a line is no variable");
    let rest = line.strip_prefix("VAR ").and_then(|rest| rest.strip_prefix(ups));
    let rest = rest.and_then(|rest| rest.strip_prefix(' ')).ok_or_else(broken)?;
    let (name, quoted) = rest.split_once(' ').ok_or_else(broken)?;
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut value = String::new();
    let mut letters = inner.ok_or_else(broken)?.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => value.push(letters.next().ok_or_else(broken)?),
            '"' => return Err(broken()),
            _ => value.push(letter),
        }
    }
    Ok((name.to_owned(), value))
}

fn status(variables: &BTreeMap<String, String>) -> Result<Status, Failure> {
    let flags = variables.get("ups.status").ok_or(Failure::Malformed("no ups.status"))?;
    let number = |name: &str| {
        let value: Option<f64> = variables.get(name).and_then(|value| value.trim().parse().ok());
        value.filter(|value| value.is_finite())
    };
    Ok(Status {
        flags: flags.split_whitespace().map(str::to_owned).collect(),
        charge: number("battery.charge"),
        runtime_s: number("battery.runtime"),
        load: number("ups.load"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[test]
    fn addresses_are_as_nut_writes_them() {
        let address = |ups: &str, host: &str, port| {
            Some(Address { ups: ups.into(), host: host.into(), port })
        };
        for (text, wanted) in [
            ("ups@localhost", address("ups", "localhost", 3493)),
            ("rack-1@10.0.0.1:13493", address("rack-1", "10.0.0.1", 13_493)),
            ("u@[::1]", address("u", "::1", 3493)),
            ("u@[::1]:99", address("u", "::1", 99)),
            ("localhost", None),
            ("@localhost", None),
            ("a b@localhost", None),
            ("u@host:0", None),
            ("u@host:x", None),
            ("u@", None),
        ] {
            assert_eq!(Address::parse(text), wanted, "{text}");
        }
    }

    async fn answered(answer: &'static [u8]) -> Result<Status, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut asked = [0; 64];
            let length = stream.read(&mut asked).await.expect("a question");
            assert_eq!(&asked[..length], b"LIST VAR u\n");
            stream.write_all(answer).await.expect("the answer goes");
            stream.shutdown().await.expect("the end goes");
        });
        let address = Address { ups: "u".into(), host: "127.0.0.1".into(), port };
        let end = ask(&address, Duration::from_secs(20)).await;
        serving.await.expect("served");
        end
    }

    #[tokio::test]
    async fn what_upsd_says_is_read() {
        let status = answered(
            b"BEGIN LIST VAR u\nVAR u battery.charge \"42\"\nVAR u battery.runtime \"90\"\n\
              VAR u ups.mfr \"A \\\"B\\\" \\\\\"\nVAR u ups.status \"OB DISCHRG LB\"\n\
              END LIST VAR u\n",
        );
        let status = status.await.expect("a status");
        assert!(status.on_battery() && status.is_low() && !status.replace_battery());
        assert_eq!((status.charge, status.runtime_s, status.load), (Some(42.0), Some(90.0), None));
    }

    #[tokio::test]
    async fn everything_else_is_an_error() {
        let refused = Err(Failure::Refused("DATA-STALE".into()));
        assert_eq!(answered(b"ERR DATA-STALE\n").await, refused);
        for answer in [
            &b""[..],
            b"BEGIN LIST VAR u\n",
            b"BEGIN LIST VAR other\n",
            b"BEGIN LIST VAR u\nVAR u ups.status OL\nEND LIST VAR u\n",
            b"BEGIN LIST VAR u\nEND LIST VAR u\n",
            b"220 mail.example.com ESMTP\n",
            &[b'x'; 4000],
        ] {
            let end = answered(answer).await;
            assert!(matches!(end, Err(Failure::Malformed(_))), "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,200}") {
            let _ = variable(&line, "u");
            let _ = variable(&format!("VAR u {line}"), "u");
        }
    }
}
