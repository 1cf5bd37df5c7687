//! `holdfast init --add`: one more node for a cluster whose folder `init` once made.
//!
//! Starts nothing and dials nobody; the cluster takes the node in by `holdfast member add`.
//! Invariants: nothing that is there is changed; a number is never given twice; the new node has
//! the secrets that all nodes share, and a certificate of the same authority.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair};
use toml::{Table, Value};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::init::write_node;
use crate::init::{Extra, NodeSpec, Shared, authority_params, certificate_failed, nodes_beside};
use crate::secret::unhex;

/// A node of the folder, as its configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub id: usize,
    /// `host:port` of its node link.
    pub address: String,
    /// URL of its HTTP side.
    pub http: String,
    /// Name, host and ports; the port for concentrators is not known here.
    pub spec: NodeSpec,
}

/// What was made.
#[derive(Debug)]
pub struct Added {
    /// The new node's number.
    pub id: usize,
    /// Its configuration file.
    pub config: PathBuf,
    /// How the others reach it.
    pub known: Known,
}

/// Adds nodes to the folder of a cluster.
///
/// Fails with `file_missing` when the folder lacks the authority or every node's folder,
/// `bad_cluster_folder` when they do not fit.
pub fn extend(dir: &Path, pairs: &[String], ports: (u16, u16, u16)) -> Result<Vec<Added>, Failure> {
    let mut known = read_all(dir)?;
    let Some(first) = known.first() else {
        let text = format!("{} holds no node's folder with a node.toml", dir.display());
        return Err(Failure::failed("bad_cluster_folder", text));
    };
    let like = dir.join(&first.spec.name);
    let before: Vec<NodeSpec> = known.iter().map(|node| node.spec.clone()).collect();
    let specs = nodes_beside(before, pairs, ports)?;
    let (pem, issuer) = authority(dir)?;
    let shared = shared(&like, pem, &issuer)?;
    let mut added = Vec::new();
    for spec in specs.into_iter().skip(known.len()) {
        let id = known.iter().map(|node| node.id).max().unwrap_or(0) + 1;
        let mut all: Vec<(usize, NodeSpec)> =
            known.iter().map(|node| (node.id, node.spec.clone())).collect();
        all.push((id, spec.clone()));
        let config = write_node(dir, id, &spec, &all, &shared, &Extra::default())?;
        let node = read(&config)?;
        known.push(node.clone());
        added.push(Added { id, config, known: node });
    }
    Ok(added)
}

/// Reads what a node's configuration says of the node itself.
///
/// Fails with `bad_cluster_folder` when it is no configuration of a node.
pub fn read(config: &Path) -> Result<Known, Failure> {
    let wrong =
        |what: &str| Failure::failed("bad_cluster_folder", format!("{}: {what}", config.display()));
    let table = table(config)?;
    let node = table.get("node");
    let id = node.and_then(|node| node.get("id")).and_then(Value::as_integer);
    let id = id.and_then(|id| usize::try_from(id).ok()).ok_or_else(|| wrong("no node.id"))?;
    let peers = table.get("cluster").and_then(|cluster| cluster.get("peers"));
    let peers = peers.and_then(Value::as_array).ok_or_else(|| wrong("no cluster.peers"))?;
    let own = |peer: &&Value| peer.get("id").and_then(Value::as_integer) == i64::try_from(id).ok();
    let peer = peers.iter().find(own).ok_or_else(|| wrong("the node is not among its peers"))?;
    let text = |name: &str| {
        let text = peer.get(name).and_then(Value::as_str);
        text.map(str::to_string).ok_or_else(|| wrong(&format!("cluster.peers: no {name}")))
    };
    let (name, address, http) = (text("name")?, text("address")?, text("http")?);
    let split = |text: &str| -> Option<(String, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_string(), port.parse().ok()?))
    };
    let (host, cluster_port) = split(&address).ok_or_else(|| wrong("cluster.peers.address"))?;
    let bare = http.trim_start_matches("http://").trim_start_matches("https://");
    let (_, http_port) = split(bare).ok_or_else(|| wrong("cluster.peers.http"))?;
    let spec = NodeSpec { name, host, http_port, gateway_port: 0, cluster_port };
    Ok(Known { id, address, http, spec })
}

fn read_all(dir: &Path) -> Result<Vec<Known>, Failure> {
    let failed = |error: std::io::Error| Failure::file("cannot look into", dir, &error);
    let mut known = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let config = entry.map_err(failed)?.path().join("node.toml");
        if config.is_file() {
            known.push(read(&config)?);
        }
    }
    known.sort_by_key(|node| node.id);
    Ok(known)
}

fn table(config: &Path) -> Result<Table, Failure> {
    let text =
        fs::read_to_string(config).map_err(|error| Failure::file("cannot read", config, &error))?;
    text.parse().map_err(|error: toml::de::Error| {
        // The error quotes the file, and the file holds a hash that is nobody else's business.
        let text = format!("{}: {}", config.display(), error.message());
        Failure::failed("bad_cluster_folder", text)
    })
}

/// The authority, ready to sign; its parameters are those that `init` gives it.
pub(crate) fn authority(dir: &Path) -> Result<(String, Issuer<'static, KeyPair>), Failure> {
    let text = |name: &str| {
        let path = dir.join("ca").join(name);
        fs::read_to_string(&path).map_err(|error| Failure::file("cannot read", &path, &error))
    };
    let (pem, key) = (text("ca.pem")?, Zeroizing::new(text("ca.key")?));
    let key = KeyPair::from_pem(&key).map_err(|error| certificate_failed(&error))?;
    Ok((pem, Issuer::new(authority_params(), key)))
}

/// What the new node has in common with one that is there.
fn shared<'a>(
    like: &Path,
    pem: String,
    authority: &'a Issuer<'static, KeyPair>,
) -> Result<Shared<'a>, Failure> {
    let config = like.join("node.toml");
    let wrong = |what: &str| {
        Failure::failed("bad_cluster_folder", format!("{}: no {what}", config.display()))
    };
    let table = table(&config)?;
    let text = |section: &str, name: &str| {
        table.get(section).and_then(|section| section.get(name)).and_then(Value::as_str)
    };
    let title = text("keys", "system_title").and_then(unhex);
    let title = title.ok_or_else(|| wrong("keys.system_title"))?;
    let base = title.get(3..7).and_then(|base| base.try_into().ok());
    let hash = text("http", "admin_token_hash").ok_or_else(|| wrong("http.admin_token_hash"))?;
    let master_file = like.join(text("keys", "master_key_file").unwrap_or("master.key"));
    let master = fs::read_to_string(&master_file)
        .map_err(|error| Failure::file("cannot read", &master_file, &error))?;
    let master = Zeroizing::new(master);
    Ok(Shared {
        authority,
        pem,
        title_base: base.ok_or_else(|| wrong("keys.system_title of 8 octets"))?,
        master: Zeroizing::new(master.trim().to_string()),
        token_hash: hash.to_string(),
    })
}
