//! Every key of the configuration file, once: name, kind, default, meaning, harm of a wrong value.
//!
//! Not the values in use (those are the structs of `config`). Invariants: a key that is not here
//! is refused by name; `docs/reference/configuration.md` is written from this table, and a test
//! holds the two equal.

use super::kinds::key;
pub use super::kinds::{Key, Kind};
use super::ports::PORTS;
pub use super::sections::SECTIONS;

/// The words that `log.level` takes.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// The words that `log.format` takes.
pub const FORMATS: &[&str] = &["json", "human"];
/// The words that `storage.tables_backend` takes.
pub const BACKENDS: &[&str] = &["sled", "fjall"];

/// Every key but those of the ports.
const KEYS: &[Key] = &[
    key(
        "node",
        "id",
        Kind::Integer(1, 1 << 16),
        None,
        "The node's number, 1 and up, different on every node and never changed: the log names \
         nodes by it.",
    ),
    key(
        "node",
        "name",
        Kind::Text,
        None,
        "The node's name, as in its certificate. Shown everywhere an operator looks.",
    ),
    key(
        "node",
        "data_dir",
        Kind::Path,
        None,
        "The folder of everything that must survive. Two processes on one folder are refused. \
         Moving a node means moving this folder.",
    ),
    key("cluster", "listen", Kind::Listen, None, "UDP address for the other nodes."),
    key(
        "cluster",
        "heartbeat_ms",
        Kind::Integer(10, 10_000),
        Some("50"),
        "Milliseconds between two heartbeats of the leader. Must be well below \
         `election_min_ms`, or followers revolt against a healthy leader.",
    ),
    key(
        "cluster",
        "election_min_ms",
        Kind::Integer(30, 60_000),
        Some("150"),
        "A follower that heard nothing so long may stand for election. Too small: elections on \
         every pause; too large: slow failover.",
    ),
    key(
        "cluster",
        "election_max_ms",
        Kind::Integer(31, 120_000),
        Some("300"),
        "Upper end of the random election time; must be above `election_min_ms`, or two \
         candidates keep meeting.",
    ),
    key(
        "cluster",
        "propose_timeout_ms",
        Kind::Integer(100, 120_000),
        Some("5000"),
        "How long a write may look for a leader before the caller is told to try again.",
    ),
    key("cluster.peers", "id", Kind::Integer(1, 1 << 16), None, "The peer's `node.id`."),
    key(
        "cluster.peers",
        "name",
        Kind::Text,
        None,
        "The peer's `node.name`: its certificate must carry it.",
    ),
    key(
        "cluster.peers",
        "address",
        Kind::HostPort,
        None,
        "Host and UDP port of the peer's `cluster.listen` as seen from here.",
    ),
    key(
        "cluster.peers",
        "http",
        Kind::Text,
        None,
        "The peer's HTTP address as operators reach it, `http://host:port`; shown in lists, not \
         dialled by nodes.",
    ),
    key(
        "tls",
        "ca_file",
        Kind::Path,
        None,
        "The authority that all nodes trust (PEM). A node with a certificate of another \
         authority is refused.",
    ),
    key("tls", "certificate_file", Kind::Path, None, "This node's certificate (PEM)."),
    key("tls", "key_file", Kind::Path, None, "This node's private key (PEM), mode 0600."),
    key(
        "keys",
        "master_key_file",
        Kind::Path,
        None,
        "32 octets in hex, mode 0600: wraps every meter key in the log (AES key wrap, RFC \
         5649). The same on every node. Lost: no meter key can be read again.",
    ),
    key(
        "keys",
        "system_title",
        Kind::Hex(8),
        None,
        "This node's DLMS client system title. Must differ from node to node, or two nodes \
         could use one nonce twice.",
    ),
    key(
        "cluster",
        "snapshot_entries",
        Kind::Integer(100, 100_000_000),
        Some("20000"),
        "Log entries between two snapshots. Many: long replay at start; few: work for nothing.",
    ),
    key(
        "cluster",
        "keep_entries",
        Kind::Integer(0, 100_000_000),
        Some("5000"),
        "Log entries kept behind the last snapshot, so that a short absence is healed by the \
         log alone.",
    ),
    key(
        "storage",
        "wal_segment_bytes",
        Kind::Integer(1 << 16, 1 << 32),
        Some("67108864"),
        "Size of one preallocated file of the log. Small: a file change every few moments; \
         large: disk held long after a purge.",
    ),
    key(
        "storage",
        "tables_backend",
        Kind::Choice(BACKENDS),
        Some("\"sled\""),
        "Engine of the tables. A node whose tables another engine wrote refuses to start and \
         says so. To change it: stop the node, remove `tables` in its data directory, start it; \
         the tables are rebuilt from snapshot and log. Nodes of one cluster may differ.",
    ),
    key(
        "storage",
        "low_water_bytes",
        Kind::Integer(0, 1 << 50),
        Some("268435456"),
        "Free bytes on the disk of `node.data_dir` below which the node takes no writes, hands \
         the leadership over and gives its channels up; it works again when there is room. Too \
         small: a write may fail in its middle, which stops the node.",
    ),
    key(
        "storage",
        "reserve_bytes",
        Kind::Integer(0, 1 << 50),
        Some("134217728"),
        "Bytes held back in the file `reserve` and given free below `low_water_bytes`, so that \
         what was taken can be written.",
    ),
    key(
        "storage",
        "tables_cache_bytes",
        Kind::Integer(1 << 20, 1 << 40),
        Some("67108864"),
        "Memory for pages of the tables.",
    ),
    key(
        "storage",
        "archive",
        Kind::Text,
        Some("\"none\""),
        "Where months go that the retention parameters send away: the absolute path of a folder \
         that all nodes share, `s3://bucket/prefix` with `AWS_*` in the environment, or `none`. \
         The same on every node; a folder that is not shared makes other nodes refuse its \
         months.",
    ),
    key(
        "storage",
        "archive_cache_bytes",
        Kind::Integer(1 << 20, 1 << 44),
        Some("4294967296"),
        "Disk for files of the archive that were asked for. Small: they are fetched again and \
         again.",
    ),
    key(
        "drills",
        "allowed",
        Kind::Flag,
        Some("false"),
        "Whether this node takes part in drills and hurts itself when one says so: ends its \
         process, loses its network, closes channels. Where it is false no drill begins on this \
         node and none can hurt it.",
    ),
    key(
        "ups",
        "at",
        Kind::Text,
        Some("\"none\""),
        "Where a NUT server (upsd) tells of this node's UPS: `name@host` or `name@host:port`. On \
         battery and low, the node hands over leadership and channels before it is dry. `none`: \
         there is no UPS, or nobody asks it.",
    ),
    key(
        "ups",
        "interval_s",
        Kind::Integer(1, 300),
        Some("5"),
        "Seconds between two questions. Longer than what the battery lasts after `low`: nothing is \
         handed over.",
    ),
    key(
        "log",
        "level",
        Kind::Choice(LEVELS),
        Some("\"info\""),
        "The least severe level that is written.",
    ),
    key(
        "log",
        "format",
        Kind::Choice(FORMATS),
        Some("\"json\""),
        "`json`: one object a line; `human`: for a terminal.",
    ),
];

/// Every key.
pub fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(PORTS)
}

/// Finds a key by section and name.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    all().find(|k| k.section == section && k.name == name)
}

/// What a kind takes, for people.
pub fn describe(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Integer(low, high) => format!("{low} to {high}"),
        Kind::Flag => "true or false".into(),
        Kind::Listen => "address:port".into(),
        Kind::MaybeListen => "address:port or none".into(),
        Kind::HostPort => "host:port".into(),
        Kind::Path => "path".into(),
        Kind::Hex(octets) => format!("{octets} octets in hex"),
        Kind::Choice(words) => words.join(", "),
    }
}
