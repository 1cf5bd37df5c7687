//! The address of a meter that is dialled: which way leads to it, and what is spoken there.
//!
//! ```text
//! HOST:PORT, tcp://HOST:PORT        DLMS/COSEM in the wrapper of IEC 62056-47
//! hdlc+WAY?server=&physical=&octets=&window=&size=
//! iec+WAY?device=&mode=&bits=&read=&utc_offset=
//! mode-e+WAY?device=&bits= and what hdlc takes
//! WAY = tcp://HOST:PORT, rfc2217://HOST:PORT or serial://PORTNAME
//! ```
//!
//! It opens nothing and does not know which ports a node has. Invariants: what is printed parses
//! to the same; the form without a scheme stays as it was when only it was known, because the log
//! holds such addresses.

mod options;

// A value without a socket, so of the pure part of the library.
use core::net::Ipv6Addr;
use std::fmt;

use self::options::{Options, option_fault};
use crate::error::Refusal;

/// Longest address, octets.
pub const MAX_ADDRESS_OCTETS: usize = 255;

/// What an address looks like, for people.
pub const GRAMMAR: &str = "HOST:PORT, tcp://HOST:PORT, or one of hdlc, iec, mode-e, then \
     +tcp://HOST:PORT, +rfc2217://HOST:PORT or +serial://PORTNAME, then ?option=value&option=value";

/// Where a meter is and what it speaks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What leads to it.
    pub way: Way,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What leads to a meter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A TCP connection: to the meter, or to a serial server with meters behind it.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// 1 and up.
        port: u16,
    },
    /// A serial server that is told the settings of its port (RFC 2217).
    Rfc2217 {
        /// As of TCP.
        host: String,
        /// 1 and up.
        port: u16,
    },
    /// A serial port of a node.
    Serial {
        /// Its name in the node's configuration.
        port: String,
    },
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// DLMS/COSEM in the wrapper of IEC 62056-47; TCP only.
    Wrapper,
    /// DLMS/COSEM over HDLC (IEC 62056-46).
    Hdlc(Station),
    /// Readout and programming mode of IEC 62056-21.
    Local(Local),
    /// Signed on by IEC 62056-21 mode E, then HDLC.
    ModeE(SignOn, Station),
}

/// A station on an HDLC line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Logical device; the meter's server access point when left out.
    pub server: Option<u16>,
    /// Physical device, where several meters share a line.
    pub physical: Option<u16>,
    /// Octets of the address, 1, 2 or 4; the fewest that hold it when left out.
    pub octets: Option<u8>,
    /// Frames that may be sent before an answer, 1 to 7.
    pub window: u8,
    /// Octets of the longest information field, 32 to 2030.
    pub size: u16,
}

impl Default for Station {
    /// What every meter can do: one frame of 128 octets.
    fn default() -> Self {
        Self { server: None, physical: None, octets: None, window: 1, size: 128 }
    }
}

/// How a meter is signed on to (IEC 62056-21 clause 6.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignOn {
    /// Device address of up to 32 letters and digits; empty for the only meter on a line.
    pub device: String,
    /// What the port gives.
    pub bits: Bits,
}

/// Characters as a port gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bits {
    /// Seven bits, the parity was taken off by the port.
    #[default]
    SevenEven,
    /// Eight bits, the parity bit is one of them.
    EightNone,
}

/// How a meter of IEC 62056-21 is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// How it is signed on to.
    pub sign_on: SignOn,
    /// Which of its modes is used.
    pub mode: Mode,
    /// Which read command the programming mode takes.
    pub read: ReadCommand,
    /// Minutes by which the meter's normal time is ahead of UTC, -720 to 840.
    pub utc_offset_minutes: i16,
}

/// Modes of IEC 62056-21.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The data readout in whichever of A, B, C the meter talks; the programming mode for what the
    /// readout does not hold.
    #[default]
    Auto,
    /// The data readout; a meter of another mode is refused.
    A,
    /// The data readout; a meter of another mode is refused.
    B,
    /// The programming mode.
    C,
    /// What the meter sends unasked.
    D,
}

/// Read commands of the programming mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadCommand {
    /// As the standard has it.
    R1,
    /// Formatted communication of the standard.
    R2,
    /// Formatted, as national standards have it.
    #[default]
    R5,
    /// As R5, in partial blocks.
    R6,
}

const MODES: [(&str, Mode); 5] =
    [("auto", Mode::Auto), ("a", Mode::A), ("b", Mode::B), ("c", Mode::C), ("d", Mode::D)];
const BITS: [(&str, Bits); 2] = [("7e1", Bits::SevenEven), ("8n1", Bits::EightNone)];
const READS: [(&str, ReadCommand); 4] = [
    ("r1", ReadCommand::R1),
    ("r2", ReadCommand::R2),
    ("r5", ReadCommand::R5),
    ("r6", ReadCommand::R6),
];
const OCTETS: [(&str, u8); 3] = [("1", 1), ("2", 2), ("4", 4)];

/// Options of HDLC, of 62056-21, and those that mode E takes before HDLC's.
const HDLC_OPTIONS: [&str; 5] = ["server", "physical", "octets", "window", "size"];
const LOCAL_OPTIONS: [&str; 5] = ["device", "mode", "bits", "read", "utc_offset"];
const SIGN_ON_OPTIONS: [&str; 2] = ["device", "bits"];

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// `bad_address`, `bad_address_scheme`, `bad_address_host`, `bad_address_port`,
    /// `bad_address_option`, with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_ADDRESS_OCTETS {
            return Err(plain_fault());
        }
        let Some((scheme, rest)) = text.split_once("://") else { return plain(text) };
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let (protocol, way) = match scheme.split_once('+') {
            Some((protocol, way)) => (protocol, way),
            None => ("", scheme),
        };
        if !["", "hdlc", "iec", "mode-e"].contains(&protocol) {
            return Err(scheme_fault(scheme));
        }
        let way = match (way, protocol) {
            ("tcp", _) => tcp(place)?,
            ("serial", "hdlc" | "iec" | "mode-e") => serial(place)?,
            ("rfc2217", "hdlc" | "iec" | "mode-e") => match tcp(place)? {
                Way::Tcp { host, port } => Way::Rfc2217 { host, port },
                other => other,
            },
            _ => return Err(scheme_fault(scheme)),
        };
        let options = Options::split(query)?;
        let protocol = match protocol {
            "hdlc" => {
                options.only(&HDLC_OPTIONS)?;
                Protocol::Hdlc(station(&options)?)
            }
            "iec" => {
                options.only(&LOCAL_OPTIONS)?;
                Protocol::Local(local(&options)?)
            }
            "mode-e" => {
                options.only(&[&SIGN_ON_OPTIONS[..], &HDLC_OPTIONS[..]].concat())?;
                Protocol::ModeE(sign_on(&options)?, station(&options)?)
            }
            _ => {
                options.only(&[])?;
                Protocol::Wrapper
            }
        };
        Ok(Self { way, protocol })
    }

    /// The transport in a few words, for people.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        match (&self.protocol, &self.way) {
            (Protocol::Wrapper, _) => "COSEM wrapper on TCP",
            (Protocol::Hdlc(_), Way::Tcp { .. }) => "HDLC on TCP",
            (Protocol::Hdlc(_), Way::Rfc2217 { .. }) => "HDLC on a serial server (RFC 2217)",
            (Protocol::Local(_), Way::Rfc2217 { .. }) => {
                "IEC 62056-21 on a serial server (RFC 2217)"
            }
            (Protocol::ModeE(..), Way::Rfc2217 { .. }) => {
                "HDLC by mode E on a serial server (RFC 2217)"
            }
            (Protocol::Hdlc(_), Way::Serial { .. }) => "HDLC on a serial port",
            (Protocol::Local(_), Way::Tcp { .. }) => "IEC 62056-21 on TCP",
            (Protocol::Local(_), Way::Serial { .. }) => "IEC 62056-21 on a serial port",
            (Protocol::ModeE(..), Way::Tcp { .. }) => "HDLC by mode E on TCP",
            (Protocol::ModeE(..), Way::Serial { .. }) => "HDLC by mode E on a serial port",
        }
    }

    /// The name of the serial port that leads there; only a node that has it can read the meter.
    #[must_use]
    pub fn serial_port(&self) -> Option<&str> {
        match &self.way {
            Way::Serial { port } => Some(port),
            Way::Tcp { .. } | Way::Rfc2217 { .. } => None,
        }
    }
}

/// Whether a text can name a serial port.
#[must_use]
pub fn is_port_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
}

/// `host:port` under the rule that held before there were schemes.
fn plain(text: &str) -> Result<Address, Refusal> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let host_fits = !host.is_empty()
        && host.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/' && octet != b'@');
    let port_fits = port.bytes().all(|octet| octet.is_ascii_digit());
    let port = port.parse().ok().filter(|port: &u16| port_fits && *port > 0);
    let (true, Some(port)) = (host_fits, port) else {
        return Err(plain_fault());
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.filter(|host| host.contains(':')).unwrap_or(host).to_owned();
    Ok(Address { way: Way::Tcp { host, port }, protocol: Protocol::Wrapper })
}

/// Its words are hashed with the results of logs from before there were schemes.
fn plain_fault() -> Refusal {
    Refusal::new("bad_address", "an address looks like meter.example:4059")
}

fn scheme_fault(scheme: &str) -> Refusal {
    let text = format!("{scheme:?} is none of tcp, hdlc, iec, mode-e with +tcp or +serial");
    Refusal::new("bad_address_scheme", text)
}

fn tcp(place: &str) -> Result<Way, Refusal> {
    let host_fault = |why: &str| Refusal::new("bad_address_host", why);
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| host_fault("the bracket of an IPv6 address does not close"))?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| host_fault("between the brackets stands no IPv6 address"))?;
            (host, port.strip_prefix(':'))
        }
        None => match place.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(host_fault("an IPv6 address stands in brackets: [::1]:4059"));
            }
            Some((host, port)) => (is_host(host)?, Some(port)),
            None => (is_host(place)?, None),
        },
    };
    let digits = port.filter(|port| port.bytes().all(|octet| octet.is_ascii_digit()));
    match digits.and_then(|port| port.parse().ok()).filter(|port: &u16| *port > 0) {
        Some(port) => Ok(Way::Tcp { host: host.to_owned(), port }),
        None => Err(Refusal::new("bad_address_port", "a TCP port is a number from 1 to 65535")),
    }
}

fn is_host(host: &str) -> Result<&str, Refusal> {
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(letters) {
        let text = "a host is a name or an IP address: letters, digits, -, . and _";
        return Err(Refusal::new("bad_address_host", text));
    }
    Ok(host)
}

fn serial(place: &str) -> Result<Way, Refusal> {
    if is_port_name(place) {
        return Ok(Way::Serial { port: place.to_owned() });
    }
    let text = "a serial port is named as in [[gateway.serial]]: 1 to 32 letters, digits, -, _, .";
    Err(Refusal::new("bad_address_port", text))
}

fn station(options: &Options<'_>) -> Result<Station, Refusal> {
    let usual = Station::default();
    let half = |name| {
        let number = options.number(name, 0, 0x3fff)?;
        Ok::<_, Refusal>(number.and_then(|number| u16::try_from(number).ok()))
    };
    let (server, physical) = (half("server")?, half("physical")?);
    let octets = options.word("octets", &OCTETS)?;
    let long = |half: Option<u16>| half.is_some_and(|half| half > 0x7f);
    let fits = match octets {
        Some(1) => physical.is_none() && !long(server),
        Some(2) => physical.is_some() && !long(server) && !long(physical),
        Some(_) => physical.is_some(),
        None => physical.is_some() || !long(server),
    };
    if !fits {
        let text = "octets: 1 holds a server up to 127 alone, 2 server and physical up to 127 \
                    each, 4 server and physical up to 16383 each";
        return Err(option_fault(text));
    }
    let window = options.number("window", 1, 7)?.and_then(|number| u8::try_from(number).ok());
    let size = options.number("size", 32, 2030)?.and_then(|number| u16::try_from(number).ok());
    Ok(Station {
        server,
        physical,
        octets,
        window: window.unwrap_or(usual.window),
        size: size.unwrap_or(usual.size),
    })
}

fn sign_on(options: &Options<'_>) -> Result<SignOn, Refusal> {
    let device = options.get("device").unwrap_or_default();
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    if device.len() > 32 || !device.bytes().all(letters) {
        return Err(option_fault("device is up to 32 letters, digits and -"));
    }
    let bits = options.word("bits", &BITS)?.unwrap_or_default();
    Ok(SignOn { device: device.to_owned(), bits })
}

fn local(options: &Options<'_>) -> Result<Local, Refusal> {
    let offset = options.number("utc_offset", -720, 840)?;
    Ok(Local {
        sign_on: sign_on(options)?,
        mode: options.word("mode", &MODES)?.unwrap_or_default(),
        read: options.word("read", &READS)?.unwrap_or_default(),
        utc_offset_minutes: offset.and_then(|minutes| i16::try_from(minutes).ok()).unwrap_or(0),
    })
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Rfc2217 { host, port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Rfc2217 { host, port } => write!(f, "{host}:{port}"),
            Self::Serial { port } => f.write_str(port),
        }
    }
}

/// In the shortest form: what is as usual is left out.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Tcp { .. } => "tcp",
            Way::Rfc2217 { .. } => "rfc2217",
            Way::Serial { .. } => "serial",
        };
        let mut query = Query::default();
        let scheme = match &self.protocol {
            Protocol::Wrapper => return self.way.fmt(f),
            Protocol::Hdlc(station) => {
                query.station(station);
                "hdlc"
            }
            Protocol::Local(local) => {
                query.sign_on(&local.sign_on);
                query.word("mode", &MODES, local.mode);
                query.word("read", &READS, local.read);
                let offset = local.utc_offset_minutes;
                query.put("utc_offset", Some(offset).filter(|minutes| *minutes != 0));
                "iec"
            }
            Protocol::ModeE(sign_on, station) => {
                query.sign_on(sign_on);
                query.station(station);
                "mode-e"
            }
        };
        write!(f, "{scheme}+{way}://{}{}", self.way, query.0)
    }
}

#[derive(Default)]
struct Query(String);

impl Query {
    fn put(&mut self, name: &str, value: Option<impl fmt::Display>) {
        let Some(value) = value else { return };
        let mark = if self.0.is_empty() { '?' } else { '&' };
        self.0.push_str(&format!("{mark}{name}={value}"));
    }

    fn word<T: PartialEq + Default>(&mut self, name: &str, words: &[(&str, T)], value: T) {
        let word = words.iter().find(|(_, meaning)| *meaning == value && value != T::default());
        self.put(name, word.map(|(word, _)| *word));
    }

    fn sign_on(&mut self, sign_on: &SignOn) {
        self.put("device", Some(&sign_on.device).filter(|device| !device.is_empty()));
        self.word("bits", &BITS, sign_on.bits);
    }

    fn station(&mut self, station: &Station) {
        let usual = Station::default();
        self.put("server", station.server);
        self.put("physical", station.physical);
        self.put("octets", station.octets);
        self.put("window", Some(station.window).filter(|window| *window != usual.window));
        self.put("size", Some(station.size).filter(|size| *size != usual.size));
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Local, Mode, Protocol, SignOn, Station, Way};

    fn code(text: &str) -> String {
        match Address::parse(text) {
            Err(refusal) => refusal.code.into_owned(),
            Ok(address) => panic!("{text} is {address}"),
        }
    }

    #[test]
    fn every_form_says_what_it_means() {
        let tcp = |host: &str, port| Way::Tcp { host: host.to_owned(), port };
        let check = |text: &str, way: Way, protocol: Protocol| {
            assert_eq!(Address::parse(text), Ok(Address { way, protocol }), "{text}");
        };
        check("meter.example:4059", tcp("meter.example", 4059), Protocol::Wrapper);
        check("tcp://meter.example:4059", tcp("meter.example", 4059), Protocol::Wrapper);
        check("[2001:db8::1]:4059", tcp("2001:db8::1", 4059), Protocol::Wrapper);
        check("tcp://[2001:db8::1]:4059", tcp("2001:db8::1", 4059), Protocol::Wrapper);
        let station = Station { server: Some(1), physical: Some(17), ..Station::default() };
        let hdlc = Protocol::Hdlc(station);
        check("hdlc+tcp://10.0.0.7:4001?server=1&physical=17", tcp("10.0.0.7", 4001), hdlc);
        let east = Way::Serial { port: "east".to_owned() };
        check("hdlc+serial://east", east.clone(), Protocol::Hdlc(Station::default()));
        let sign_on = SignOn { device: "12345678".to_owned(), ..SignOn::default() };
        let local = Local { sign_on: sign_on.clone(), mode: Mode::C, ..Local::default() };
        check("iec+serial://east?device=12345678&mode=c", east.clone(), Protocol::Local(local));
        let hybrid = Protocol::ModeE(sign_on, Station { window: 3, ..Station::default() });
        check("mode-e+serial://east?device=12345678&window=3", east, hybrid);
    }

    #[test]
    fn every_fault_has_its_code() {
        let long = format!("tcp://{}:1", "a".repeat(255));
        for text in ["", "meter", ":4059", "meter:0", "meter:65536", "me ter:1", "a@b:1", &long] {
            assert_eq!(code(text), "bad_address", "{text}");
        }
        for text in ["http://a:1", "hdlc://a:1", "hdlc+udp://a:1", "serial://east", "x+tcp://a:1"] {
            assert_eq!(code(text), "bad_address_scheme", "{text}");
        }
        for text in ["tcp://:1", "tcp://a b:1", "tcp://::1:4", "tcp://[::1:4", "tcp://[x]:4"] {
            assert_eq!(code(text), "bad_address_host", "{text}");
        }
        for text in ["tcp://a", "tcp://a:", "tcp://a:+1", "tcp://[::1]4", "hdlc+serial:///dev/x"] {
            assert_eq!(code(text), "bad_address_port", "{text}");
        }
        for query in [
            "",
            "server",
            "server=",
            "server=-1",
            "server=16384",
            "server=1&server=1",
            "speed=9600",
            "window=0",
            "size=31",
            "octets=3",
            "octets=1&physical=1",
            "octets=2&physical=128",
            "octets=4",
            "server=128",
            "device=1",
        ] {
            assert_eq!(code(&format!("hdlc+tcp://a:1?{query}")), "bad_address_option", "{query}");
        }
        for query in ["device=a!b", "mode=e", "bits=8e1", "read=r9", "utc_offset=841", "size=64"] {
            assert_eq!(code(&format!("iec+tcp://a:1?{query}")), "bad_address_option", "{query}");
        }
        assert_eq!(code("tcp://a:1?server=1"), "bad_address_option");
    }
}
