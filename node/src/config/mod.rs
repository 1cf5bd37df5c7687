//! A node's configuration: one TOML file, the environment over it.
//!
//! Not where defaults stand (`keys`) nor how kinds are checked (`check`). Invariants: `load` gives
//! either a configuration that every room accepts or all faults at once; paths are absolute after
//! `load`; nothing here reads a secret file, except to see that it can be read.

pub mod check;
pub mod document;
pub mod keys;
mod kinds;
mod ports;
mod sections;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gateway::model::Catalog;
use serde::Deserialize;
use toml::Table;

use crate::exit::{Exit, Failure};
pub use check::Fault;

/// Everything in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this process is.
    pub node: Node,
    /// The shared log.
    pub cluster: Cluster,
    /// Certificates between nodes.
    pub tls: Tls,
    /// Secrets for meter keys.
    pub keys: Keys,
    /// API, page, health and metrics.
    pub http: Http,
    /// Channels to the field.
    pub gateway: Gateway,
    /// Bytes on disk.
    pub storage: Storage,
    /// Failures on purpose.
    pub drills: Drills,
    /// This node's power.
    pub ups: Ups,
    /// Lines on standard output.
    pub log: Log,
}

/// `[node]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's number.
    pub id: u64,
    /// The node's name.
    pub name: String,
    /// The folder of everything that must survive.
    pub data_dir: PathBuf,
}

/// `[cluster]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// UDP address for the other nodes.
    pub listen: SocketAddr,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Lower end of the election time.
    pub election_min_ms: u64,
    /// Upper end of the election time.
    pub election_max_ms: u64,
    /// How long a write may look for a leader.
    pub propose_timeout_ms: u64,
    /// Log entries between snapshots.
    pub snapshot_entries: u64,
    /// Log entries kept behind a snapshot.
    pub keep_entries: u64,
    /// Every node, this one included.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// `[[cluster.peers]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The peer's number.
    pub id: u64,
    /// The peer's name.
    pub name: String,
    /// `host:port` of its UDP address.
    pub address: String,
    /// Its HTTP address for operators.
    pub http: String,
}

/// `[tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authority (PEM).
    pub ca_file: PathBuf,
    /// This node's certificate (PEM).
    pub certificate_file: PathBuf,
    /// This node's private key (PEM).
    pub key_file: PathBuf,
}

/// `[keys]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The file of the master key.
    pub master_key_file: PathBuf,
    /// The node's system title, 16 hex digits.
    pub system_title: String,
}

/// `[http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// TCP address to listen on.
    pub listen: SocketAddr,
    /// BLAKE3 of the admin token, 64 hex digits.
    pub admin_token_hash: String,
    /// Connections at a time.
    pub max_connections: usize,
    /// The longest a request may take.
    pub request_timeout_ms: u64,
    /// The longest request body.
    pub max_body_bytes: usize,
    /// How long a login lasts.
    pub session_hours: u64,
    /// The certificate that the port shows, or `none`.
    pub tls_certificate_file: PathBuf,
    /// Its private key, or `none`.
    pub tls_key_file: PathBuf,
    /// Whether cookies go over HTTPS only, because a proxy in front speaks TLS.
    pub secure_cookie: bool,
    /// Requests of one address a second; 0: no limit.
    pub requests_per_second: u32,
    /// Logins of one address a minute; 0: no limit.
    pub logins_per_minute: u32,
    /// Reads of one caller a second; 0: no limit.
    pub reads_per_second: u32,
    /// Writes of one caller a second; 0: no limit.
    pub writes_per_second: u32,
    /// Exports of one caller a second; 0: no limit.
    pub exports_per_second: u32,
}

impl Http {
    /// What the port shows; none: it speaks plain HTTP.
    pub fn pair(&self) -> Option<Pair> {
        Pair::of(&self.tls_certificate_file, &self.tls_key_file)
    }

    /// Whether browsers come by HTTPS alone, to this port or to a proxy in front of it.
    pub fn is_secure(&self) -> bool {
        self.secure_cookie || self.pair().is_some()
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The chain (PEM), the own certificate first.
    pub certificate_file: PathBuf,
    /// The private key (PEM).
    pub key_file: PathBuf,
}

impl Pair {
    fn of(certificate: &Path, key: &Path) -> Option<Pair> {
        let (certificate_file, key_file) = (given(certificate)?, given(key)?);
        Some(Pair { certificate_file, key_file })
    }
}

/// A path that is not left out.
fn given(path: &Path) -> Option<PathBuf> {
    (path != Path::new("none")).then(|| path.to_path_buf())
}

/// `[gateway]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// TCP address that concentrators dial.
    pub listen: SocketAddr,
    /// TCP address that they dial with TLS, or `none`.
    pub tls_listen: String,
    /// The certificate that they are shown there, or `none`.
    pub tls_certificate_file: PathBuf,
    /// Its private key, or `none`.
    pub tls_key_file: PathBuf,
    /// Who signed theirs, or `none`.
    pub tls_client_ca_file: PathBuf,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections of one remote address.
    pub max_connections_per_address: usize,
    /// How long a concentrator's answer may take.
    pub answer_timeout_ms: u64,
    /// How long a meter's answer may take.
    pub meter_timeout_ms: u64,
    /// The concentrators' heartbeat interval.
    pub heartbeat_interval_ms: u64,
    /// Heartbeats that may be missed.
    pub heartbeat_misses: u32,
    /// Seconds between two register readings of a direct meter.
    pub registers_every_s: u64,
    /// Seconds between two load profile readings of a direct meter.
    pub profile_every_s: u64,
    /// Seconds between two clock readings of a direct meter.
    pub clock_every_s: u64,
    /// How far back the first profile reading reaches, seconds.
    pub profile_reach_s: u64,
    /// How long an answer on a line may take.
    pub line_answer_timeout_ms: u64,
    /// Serial ports with meters.
    #[serde(default)]
    pub serial: Vec<gateway::SerialPort>,
    /// Folder of added meter models.
    pub models: PathBuf,
}

impl Gateway {
    /// Where concentrators dial with TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_listen.parse().ok()
    }

    /// What they are shown there.
    pub fn pair(&self) -> Option<Pair> {
        Pair::of(&self.tls_certificate_file, &self.tls_key_file)
    }

    /// Who signed theirs; none: they show none.
    pub fn tls_client_ca(&self) -> Option<PathBuf> {
        given(&self.tls_client_ca_file)
    }
}

/// `[storage]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Size of one file of the log.
    pub wal_segment_bytes: u64,
    /// Engine of the tables: `sled` or `fjall`.
    pub tables_backend: String,
    /// Free bytes below which the node takes no writes.
    pub low_water_bytes: u64,
    /// Bytes held back and given free below the mark.
    pub reserve_bytes: u64,
    /// Memory for pages of the tables.
    pub tables_cache_bytes: u64,
    /// Where old months go: a folder that all nodes share, `s3://bucket/prefix`, or `none`.
    pub archive: String,
    /// What may be held here of the archive.
    pub archive_cache_bytes: u64,
}

/// `[drills]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drills {
    /// Whether this node hurts itself when a drill says so.
    pub allowed: bool,
}

/// `[ups]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ups {
    /// `name@host` or `name@host:port` of a NUT server, or `none`.
    pub at: String,
    /// Seconds between two questions.
    pub interval_s: u64,
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The least severe level that is written.
    pub level: String,
    /// `json` or `human`.
    pub format: String,
}

/// Reads a file and the process's environment.
pub fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Fault::new(path.display().to_string(), "", error.to_string())])?;
    let folder = std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf))
        .unwrap_or_default();
    parse(&text, &folder, std::env::vars_os().filter_map(text_pair))
}

/// The failure of a faulty configuration: one line a fault.
pub fn failure(path: &Path, faults: &[Fault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    let what = if faults.len() == 1 { "1 fault" } else { &format!("{} faults", faults.len()) };
    let text = format!("{}: {what}\n{}", path.display(), lines.join("\n"));
    Failure::new(Exit::Config, "config", text)
}

/// Parses a file's text; `folder` is where relative paths start.
pub fn parse(
    text: &str,
    folder: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, Vec<Fault>> {
    let mut table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| vec![Fault::new("file", "", error.to_string())])?;
    let mut faults = Vec::new();
    check::overlay(&mut table, environment, &mut faults);
    let checked = check::check(&table, &mut faults);
    between_values(&checked, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut config: Config = checked
        .try_into()
        .map_err(|error: toml::de::Error| vec![Fault::new("file", "", error.to_string())])?;
    absolute(&mut config, folder);
    let mut faults = files(&config);
    let rooms = crate::run::room_faults(&config);
    faults.extend(rooms.into_iter().map(|fault| Fault::new("config", "", fault)));
    if let Err(models) = self::models(&config) {
        faults.extend(models.into_iter().map(|fault| Fault::new("gateway.models", "", fault)));
    }
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

/// The meter models of this configuration: those that ship, and those of its folder. A folder of
/// the default name may be absent; one that was named must be there.
///
/// # Errors
/// Every fault of every file.
pub fn models(config: &Config) -> Result<Catalog, Vec<String>> {
    let folder = &config.gateway.models;
    if folder.ends_with("models") && !folder.exists() {
        return Ok(Catalog::shipped());
    }
    Catalog::with_folder(folder)
}

/// Rules that span several keys. Works on whatever survived the checks of single values.
fn between_values(table: &Table, faults: &mut Vec<Fault>) {
    let number = |section: &str, name: &str| {
        table.get(section).and_then(|s| s.get(name)).and_then(toml::Value::as_integer)
    };
    let (beat, low, high) = (
        number("cluster", "heartbeat_ms"),
        number("cluster", "election_min_ms"),
        number("cluster", "election_max_ms"),
    );
    if let (Some(beat), Some(low)) = (beat, low)
        && low < beat * 2
    {
        let reason = format!("must be at least twice cluster.heartbeat_ms ({beat})");
        faults.push(Fault::new("cluster.election_min_ms", low, reason));
    }
    if let (Some(low), Some(high)) = (low, high)
        && high <= low
    {
        let reason = format!("must be above cluster.election_min_ms ({low})");
        faults.push(Fault::new("cluster.election_max_ms", high, reason));
    }
    let ups = table.get("ups").and_then(|s| s.get("at")).and_then(toml::Value::as_str);
    if let Some(at) = ups.filter(|at| *at != "none" && monitor::nut::Address::parse(at).is_none()) {
        let reason = "must be name@host, name@host:port or none";
        faults.push(Fault::new("ups.at", at, reason));
    }
    between_certificates(table, faults);
    let peers = table.get("cluster").and_then(|c| c.get("peers")).and_then(toml::Value::as_array);
    let given = peers.map(Vec::as_slice).unwrap_or_default();
    between_peers(given, number("node", "id"), faults);
}

/// A certificate needs its key, and a port for TLS needs both.
fn between_certificates(table: &Table, faults: &mut Vec<Fault>) {
    let is_given = |section: &str, name: &str| {
        let value = table.get(section).and_then(|s| s.get(name)).and_then(toml::Value::as_str);
        value.is_some_and(|text| text != "none")
    };
    let mut needs = |section: &str, name: &str, other: &str| {
        if is_given(section, name) && !is_given(section, other) {
            let reason = format!("is needed beside {section}.{name}");
            faults.push(Fault::new(format!("{section}.{other}"), "none", reason));
        }
    };
    for section in ["http", "gateway"] {
        needs(section, "tls_certificate_file", "tls_key_file");
        needs(section, "tls_key_file", "tls_certificate_file");
    }
    needs("gateway", "tls_listen", "tls_certificate_file");
    needs("gateway", "tls_certificate_file", "tls_listen");
    needs("gateway", "tls_client_ca_file", "tls_listen");
}

fn between_peers(peers: &[toml::Value], own: Option<i64>, faults: &mut Vec<Fault>) {
    for name in ["id", "name", "address"] {
        let mut seen = Vec::new();
        for value in peers.iter().filter_map(|peer| peer.get(name)) {
            if seen.contains(&value) {
                let key = format!("cluster.peers.{name}");
                faults.push(Fault::new(key, value, "stands twice; every node needs its own"));
            }
            seen.push(value);
        }
    }
    let has_own = peers
        .iter()
        .any(|peer| peer.get("id").and_then(toml::Value::as_integer) == own && own.is_some());
    if own.is_some() && !has_own {
        let reason = "no [[cluster.peers]] table has this id; every node lists itself too";
        faults.push(Fault::new("node.id", own.unwrap_or_default(), reason));
    }
}

fn absolute(config: &mut Config, folder: &Path) {
    for path in [
        &mut config.node.data_dir,
        &mut config.tls.ca_file,
        &mut config.tls.certificate_file,
        &mut config.tls.key_file,
        &mut config.keys.master_key_file,
        &mut config.gateway.models,
        &mut config.http.tls_certificate_file,
        &mut config.http.tls_key_file,
        &mut config.gateway.tls_certificate_file,
        &mut config.gateway.tls_key_file,
        &mut config.gateway.tls_client_ca_file,
    ] {
        if path.is_relative() && given(path).is_some() {
            *path = folder.join(&*path);
        }
    }
    for port in config.gateway.serial.iter_mut().filter(|port| port.path.is_relative()) {
        port.path = folder.join(&port.path);
    }
}

fn files(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, path) in [
        ("tls.ca_file", &config.tls.ca_file),
        ("tls.certificate_file", &config.tls.certificate_file),
        ("tls.key_file", &config.tls.key_file),
        ("keys.master_key_file", &config.keys.master_key_file),
        ("http.tls_certificate_file", &config.http.tls_certificate_file),
        ("http.tls_key_file", &config.http.tls_key_file),
        ("gateway.tls_certificate_file", &config.gateway.tls_certificate_file),
        ("gateway.tls_key_file", &config.gateway.tls_key_file),
        ("gateway.tls_client_ca_file", &config.gateway.tls_client_ca_file),
    ] {
        if given(path).is_none() {
            continue;
        }
        if let Err(error) = std::fs::File::open(path) {
            faults.push(Fault::new(key, path.display(), error.to_string()));
        }
    }
    faults
}

fn text_pair(pair: (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((pair.0.into_string().ok()?, pair.1.into_string().ok()?))
}
