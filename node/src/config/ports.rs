//! Keys of the ports to the world: HTTP, concentrators and meters.
//!
//! The other keys stand in `keys`. Invariant: a key stands in one of the two tables.

use super::kinds::{Key, Kind, key};

/// The words that `gateway.serial.parity` takes.
pub const PARITIES: &[&str] = &["none", "even", "odd"];

/// Keys of `[http]`, `[gateway]` and `[[gateway.serial]]`.
pub const PORTS: &[Key] = &[
    key("http", "listen", Kind::Listen, None, "TCP address of API, page, health and metrics."),
    key(
        "http",
        "admin_token_hash",
        Kind::Hex(32),
        None,
        "BLAKE3 of the admin token. The token itself stands nowhere on the node.",
    ),
    key(
        "http",
        "max_connections",
        Kind::Integer(8, 1_000_000),
        Some("1024"),
        "Connections at a time; more wait in the kernel's queue.",
    ),
    key(
        "http",
        "request_timeout_ms",
        Kind::Integer(100, 600_000),
        Some("30000"),
        "The longest a request may take, `?wait=` included.",
    ),
    key(
        "http",
        "max_body_bytes",
        Kind::Integer(1024, 1 << 30),
        Some("8388608"),
        "The longest request body. Bulk imports need about 300 octets a meter.",
    ),
    key(
        "http",
        "session_hours",
        Kind::Integer(1, 24 * 7),
        Some("12"),
        "How long a login lasts, when the parameter `operators.session_hours` is 0.",
    ),
    key(
        "http",
        "tls_certificate_file",
        Kind::Path,
        Some("\"none\""),
        "Certificate chain (PEM) that the port shows; with it the port speaks TLS alone, and \
         `cluster.peers` name it `https://`. `none`: plain HTTP, for a proxy on the same host or a \
         demonstration. Read again at SIGHUP.",
    ),
    key("http", "tls_key_file", Kind::Path, Some("\"none\""), "Its private key (PEM), mode 0600."),
    key(
        "http",
        "secure_cookie",
        Kind::Flag,
        Some("false"),
        "Set it when a TLS proxy stands in front: the cookie is then sent over HTTPS only, \
         under a `__Host-` name.",
    ),
    key(
        "http",
        "requests_per_second",
        Kind::Integer(0, 1_000_000),
        Some("2000"),
        "Requests of one address (of IPv6: of one /64) a second at this node, ten seconds' \
         worth at once; 0: no limit. Behind a proxy all have its address: too low, and they \
         stand in each other's way.",
    ),
    key(
        "http",
        "logins_per_minute",
        Kind::Integer(0, 1_000_000),
        Some("600"),
        "Logins of one address a minute, right or wrong, as many at once; 0: no limit. Wrong ones \
         are held to 20 a minute besides.",
    ),
    key(
        "http",
        "reads_per_second",
        Kind::Integer(0, 1_000_000),
        Some("1000"),
        "Reads of one operator or program a second at this node, ten seconds' worth at once; 0: no \
         limit. Too low: pages and control rooms are refused.",
    ),
    key(
        "http",
        "writes_per_second",
        Kind::Integer(0, 1_000_000),
        Some("1000"),
        "The same for changes and orders. Too low: programs that register meters are refused.",
    ),
    key(
        "http",
        "exports_per_second",
        Kind::Integer(0, 1_000_000),
        Some("100"),
        "The same for long answers: values of many meters, the registry's lists, the audit trail, \
         conflicts, integrity.",
    ),
    key(
        "gateway",
        "listen",
        Kind::Listen,
        None,
        "TCP address that concentrators dial (registered port 4059).",
    ),
    key(
        "gateway",
        "tls_listen",
        Kind::MaybeListen,
        Some("\"none\""),
        "TCP address that concentrators dial with TLS (4060 by custom), beside `listen`.",
    ),
    key(
        "gateway",
        "tls_certificate_file",
        Kind::Path,
        Some("\"none\""),
        "Certificate chain (PEM) that concentrators are shown there. Read again at SIGHUP.",
    ),
    key(
        "gateway",
        "tls_key_file",
        Kind::Path,
        Some("\"none\""),
        "Its private key (PEM), mode 0600.",
    ),
    key(
        "gateway",
        "tls_client_ca_file",
        Kind::Path,
        Some("\"none\""),
        "Authorities (PEM) that signed the concentrators' certificates: who shows none of theirs \
         is refused. `none`: concentrators show no certificate and prove themselves by DLMS alone.",
    ),
    key(
        "gateway",
        "max_connections",
        Kind::Integer(8, 1_000_000),
        Some("8192"),
        "Connections of concentrators at a time; more are closed at once and counted.",
    ),
    key(
        "gateway",
        "max_connections_per_address",
        Kind::Integer(1, 1_000_000),
        Some("2048"),
        "The same for one remote address. Too low: concentrators behind one NAT stay out.",
    ),
    key(
        "gateway",
        "answer_timeout_ms",
        Kind::Integer(50, 120_000),
        Some("20000"),
        "A request to a concentrator that is not answered so long means a lost channel. Fast \
         links 700, GPRS 20000. Too low: a slow link is called lost while it works.",
    ),
    key(
        "gateway",
        "meter_timeout_ms",
        Kind::Integer(50, 600_000),
        Some("20000"),
        "The same for a meter behind a concentrator; power-line links are slow.",
    ),
    key(
        "gateway",
        "heartbeat_interval_ms",
        Kind::Integer(50, 3_600_000),
        Some("60000"),
        "The concentrators' heartbeat interval. Fast links 500, GPRS 60000.",
    ),
    key(
        "gateway",
        "heartbeat_misses",
        Kind::Integer(1, 100),
        Some("3"),
        "Heartbeats that may be missed before a channel is lost.",
    ),
    key(
        "gateway",
        "registers_every_s",
        Kind::Integer(1, 2_592_000),
        Some("900"),
        "Seconds between two register readings of a meter with an address of its own.",
    ),
    key(
        "gateway",
        "profile_every_s",
        Kind::Integer(1, 2_592_000),
        Some("900"),
        "Seconds between two readings of its load profile.",
    ),
    key(
        "gateway",
        "clock_every_s",
        Kind::Integer(1, 2_592_000),
        Some("86400"),
        "Seconds between two readings of its clock.",
    ),
    key(
        "gateway",
        "profile_reach_s",
        Kind::Integer(900, 315_360_000),
        Some("2678400"),
        "How far back its first load profile reading reaches, seconds.",
    ),
    key(
        "gateway",
        "models",
        Kind::Path,
        Some("\"models\""),
        "Folder of added meter models, read at start; the default may be absent. A broken file \
         stops the start.",
    ),
    key(
        "gateway",
        "line_answer_timeout_ms",
        Kind::Integer(50, 120_000),
        Some("3000"),
        "Time for an answer on a serial port or behind a serial server, without the time that \
         the octets are on the line. Too low: slow meters are called silent; too high: a silent \
         meter holds its line for long.",
    ),
    key(
        "gateway.serial",
        "name",
        Kind::Text,
        None,
        "The port's name in the addresses of meters and in metrics: 1 to 32 letters, digits, \
         `-`, `_` and `.`. A meter at `...+serial://NAME` is read by a node that has a port of \
         this name.",
    ),
    key(
        "gateway.serial",
        "path",
        Kind::Path,
        None,
        "The device. `/dev/serial/by-id/...` stays the same when adapters are plugged in anew.",
    ),
    key(
        "gateway.serial",
        "baud",
        Kind::Integer(300, 1_000_000),
        Some("9600"),
        "Rate of HDLC. IEC 62056-21 signs on at 300 and goes up from there, whatever stands \
         here. Wrong: nobody answers.",
    ),
    key("gateway.serial", "data_bits", Kind::Integer(7, 8), Some("8"), "Data bits of HDLC."),
    key(
        "gateway.serial",
        "parity",
        Kind::Choice(PARITIES),
        Some("\"none\""),
        "Parity of HDLC. IEC 62056-21 has even parity of its own.",
    ),
    key("gateway.serial", "stop_bits", Kind::Integer(1, 2), Some("1"), "Stop bits of HDLC."),
    key(
        "gateway.serial",
        "echo",
        Kind::Flag,
        Some("false"),
        "Whether the adapter gives back what it sends, as some two-wire adapters and optical \
         heads do. The echo is taken away.",
    ),
    key(
        "gateway.serial",
        "turnaround_ms",
        Kind::Integer(0, 2_000),
        Some("20"),
        "Silence between the last octet heard and the next one sent, milliseconds. Too low: the \
         sender of an RS485 meter is still on.",
    ),
];
