//! What stays of a demo from start to start: ports, seed, token, and the files that hold them.
//!
//! Invariants: every file is private and replaced whole; a layout never changes but for its HTTP
//! address.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Options;
use crate::exit::Failure;
use crate::init::{Extra, NodeSpec, host_port};

const FILE: &str = "layout.json";
const TOKEN: &str = "cluster/admin.token";

/// Ports of a demo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The nodes, main head-end first.
    pub nodes: Vec<Node>,
    /// Seed of the simulated field: it must stay, or keys and serials change.
    pub seed: u64,
    /// First port of the meters with an address: it is registered with them and stays as well.
    #[serde(default)]
    pub direct_port: u16,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub host: String,
    /// HTTP port.
    pub http_port: u16,
    /// Port for concentrators.
    pub gateway_port: u16,
    /// Port for nodes.
    pub cluster_port: u16,
}

impl Node {
    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", host_port(&self.host, self.http_port))
    }

    /// Where concentrators dial it.
    pub fn gateway(&self) -> String {
        host_port(&self.host, self.gateway_port)
    }

    /// What `init` takes.
    pub fn spec(&self) -> NodeSpec {
        NodeSpec {
            name: self.name.clone(),
            host: self.host.clone(),
            http_port: self.http_port,
            gateway_port: self.gateway_port,
            cluster_port: self.cluster_port,
        }
    }
}

impl Layout {
    /// Where the first meter with an address listens.
    pub fn direct(&self) -> String {
        let host = self.nodes.first().map_or("127.0.0.1", |node| node.host.as_str());
        host_port(host, self.direct_port)
    }

    /// Ports counted from the HTTP address.
    pub fn new(options: &Options) -> Result<Layout, Failure> {
        let base = options.http.port();
        if base == 0 || options.http.ip().is_unspecified() {
            return Err(Failure::usage("--http needs one address and a port, 127.0.0.1:8080"));
        }
        let port = |up: u16, position: u16| {
            base.checked_add(up + position)
                .ok_or_else(|| Failure::usage("--http: no ports are left above this one"))
        };
        let mut nodes = Vec::new();
        for position in 0..u16::from(options.nodes) {
            nodes.push(Node {
                name: format!("n{}", position + 1),
                host: options.http.ip().to_string(),
                http_port: port(0, position)?,
                gateway_port: port(100, position)?,
                cluster_port: port(200, position)?,
            });
        }
        Ok(Layout { nodes, seed: 1, direct_port: port(300, 0)? })
    }

    /// The layout of an earlier start.
    pub fn load(dir: &Path) -> Result<Option<Layout>, Failure> {
        let path = dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
                Failure::failed("bad_layout", format!("{}: {error}", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file("cannot read", &path, &error)),
        }
    }

    /// Writes it for the next start.
    pub fn save(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed("bad_layout", error))?;
        replace(&dir.join(FILE), text.as_bytes())
    }

    /// Takes a new HTTP address over; another number of nodes is another cluster.
    pub fn adapt(mut self, dir: &Path, options: &Options) -> Result<Layout, Failure> {
        if self.nodes.len() != usize::from(options.nodes) {
            let text = format!(
                "{} holds a cluster of {} nodes; give --nodes {0} or another --dir",
                self.nodes.len(),
                dir.display()
            );
            return Err(Failure::usage(text));
        }
        let wanted = Layout::new(options)?;
        if self.direct_port == 0 {
            self.direct_port = wanted.direct_port;
            self.save(dir)?;
        }
        if wanted.nodes == self.nodes {
            return Ok(self);
        }
        for (node, new) in self.nodes.iter_mut().zip(&wanted.nodes) {
            for (old_port, new_port) in [
                (node.http_port, new.http_port),
                (node.gateway_port, new.gateway_port),
                (node.cluster_port, new.cluster_port),
            ] {
                let old = host_port(&node.host, old_port);
                let new = host_port(&new.host, new_port);
                replace_in_configs(dir, options, &old, &new)?;
            }
        }
        self.nodes = wanted.nodes;
        self.save(dir)?;
        Ok(self)
    }
}

/// The ports of a configuration stand in quotes or behind `http://`, so they are found as text.
fn replace_in_configs(dir: &Path, options: &Options, old: &str, new: &str) -> Result<(), Failure> {
    for position in 1..=options.nodes {
        let path = dir.join(format!("cluster/n{position}/node.toml"));
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::file("cannot read", &path, &error))?;
        let changed = text.replace(&format!("{old}\""), &format!("{new}\""));
        replace(&path, changed.as_bytes())?;
    }
    Ok(())
}

/// How long devices and nodes wait for each other's answers. Less would take a busy machine for a
/// dead one, and both ends must agree: a node may hold back an acknowledgement for half of it.
pub const ANSWER_MS: u32 = 2_000;

/// Fast links: loopback answers at once, and the demo shows failover rather than patience.
pub fn extra() -> Extra {
    let gateway = format!(
        "answer_timeout_ms = {ANSWER_MS}\nmeter_timeout_ms = 5000\nheartbeat_interval_ms = 500\n\
         heartbeat_misses = 4\nprofile_every_s = 60\nregisters_every_s = 60\n"
    );
    Extra { gateway, drills: true }
}

/// Keeps the token for the next start, as private as the keys beside it.
pub fn save_token(dir: &Path, token: &Zeroizing<String>) -> Result<(), Failure> {
    replace(&dir.join(TOKEN), token.as_bytes())
}

/// The token of an earlier start.
pub fn load_token(dir: &Path) -> Result<Zeroizing<String>, Failure> {
    let path = dir.join(TOKEN);
    let text =
        fs::read_to_string(&path).map_err(|error| Failure::file("cannot read", &path, &error))?;
    Ok(Zeroizing::new(text))
}

/// Makes a folder that only its owner can look into.
pub fn make_private_dir(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .map_err(|error| Failure::file("cannot make the folder", path, &error))
}

/// Replaces a private file whole: whoever reads it sees the old one or the new one.
pub fn replace(path: &Path, octets: &[u8]) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    let write = || {
        // An interrupted start may have left one.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|error| Failure::file("cannot write", path, &error))
}
