//! `holdfast init`: a cluster's certificates, secrets and configuration files.
//!
//! Starts nothing and dials nobody. Invariants: an existing folder with anything in it is refused,
//! so no key is ever overwritten; every secret file is born with mode 0600; every node's folder is
//! complete in itself, to be carried to its host; the admin token is returned once and stored as a
//! hash only.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::secret;

/// Ten years: clusters live long; renewal needs no stop.
const CERTIFICATE_YEARS: i64 = 10;

/// One node as the operator names it, with its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// The node's name: letters, digits and `-`.
    pub name: String,
    /// The host name or address where the others and the operators reach it.
    pub host: String,
    /// TCP port of API and page.
    pub http_port: u16,
    /// TCP port for concentrators.
    pub gateway_port: u16,
    /// UDP port for the other nodes.
    pub cluster_port: u16,
}

/// What `init` made.
pub struct Made {
    /// Configuration file of each node, in order.
    pub configs: Vec<PathBuf>,
    /// The admin token. It stands nowhere else.
    pub token: Zeroizing<String>,
}

/// Extra lines for the configurations, used by the demo to play fast.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// TOML lines for `[gateway]`.
    pub gateway: String,
    /// Whether drills are allowed.
    pub drills: bool,
}

/// Parses `NAME=HOST` options; nodes that share a host count their ports up (gateway by tens).
pub fn nodes(pairs: &[String], ports: (u16, u16, u16)) -> Result<Vec<NodeSpec>, Failure> {
    nodes_beside(Vec::new(), pairs, ports)
}

/// The same, beside nodes that are there already; they come first in the answer.
pub fn nodes_beside(
    mut nodes: Vec<NodeSpec>,
    pairs: &[String],
    ports: (u16, u16, u16),
) -> Result<Vec<NodeSpec>, Failure> {
    for pair in pairs {
        let (name, host) = pair
            .split_once('=')
            .filter(|(name, host)| !name.is_empty() && !host.is_empty())
            .ok_or_else(|| Failure::usage(format!("--node {pair}: expected NAME=HOST")))?;
        let name_good =
            name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !name_good {
            let text = format!("--node {pair}: a name has letters, digits and -, at most 63");
            return Err(Failure::usage(text));
        }
        if !crate::config::check::is_host_port(&host_port(host, 1)) {
            return Err(Failure::usage(format!("--node {pair}: {host} is no host or address")));
        }
        if nodes.iter().any(|node| node.name == name) {
            return Err(Failure::usage(format!("--node {pair}: the name stands twice")));
        }
        let before = nodes.iter().filter(|node| node.host == host).count();
        let step = u16::try_from(before).unwrap_or(u16::MAX);
        let port = |base: u16, factor: u16| {
            step.checked_mul(factor)
                .and_then(|up| base.checked_add(up))
                .ok_or_else(|| Failure::usage(format!("--node {pair}: no port is left")))
        };
        nodes.push(NodeSpec {
            name: name.to_string(),
            host: host.to_string(),
            http_port: port(ports.0, 1)?,
            gateway_port: port(ports.1, 10)?,
            cluster_port: port(ports.2, 1)?,
        });
    }
    Ok(nodes)
}

/// Writes everything under `dir`.
pub fn init(dir: &Path, nodes: &[NodeSpec], extra: &Extra) -> Result<Made, Failure> {
    if nodes.is_empty() {
        return Err(Failure::usage("at least one --node NAME=HOST"));
    }
    refuse_occupied(dir)?;
    make_dir(dir)?;
    let token = secret::new_token()?;
    let token_hash = secret::token_hash(&token);
    let master = Zeroizing::new(secret::hex(Zeroizing::new(secret::random::<32>()?).as_slice()));
    let title_base = secret::random::<4>()?;
    let authority = authority()?;
    let ca_dir = dir.join("ca");
    make_dir(&ca_dir)?;
    write_new(&ca_dir.join("ca.pem"), authority.pem().as_bytes(), 0o644)?;
    let ca_key = Zeroizing::new(authority.key().serialize_pem());
    write_new(&ca_dir.join("ca.key"), ca_key.as_bytes(), 0o600)?;
    let mut configs = Vec::new();
    let shared =
        Shared { authority: &authority, pem: authority.pem(), title_base, master, token_hash };
    let numbered: Vec<(usize, NodeSpec)> = (1..).zip(nodes.iter().cloned()).collect();
    for (id, node) in &numbered {
        configs.push(write_node(dir, *id, node, &numbered, &shared, extra)?);
    }
    sync_dir(dir)?;
    Ok(Made { configs, token })
}

/// What all nodes of a cluster have in common.
pub(crate) struct Shared<'a> {
    /// Signs certificates.
    pub authority: &'a Issuer<'a, KeyPair>,
    /// The authority's certificate.
    pub pem: String,
    /// The middle of every system title.
    pub title_base: [u8; 4],
    /// The master key, hex.
    pub master: Zeroizing<String>,
    /// Hash of the admin token.
    pub token_hash: String,
}

/// Writes the folder of one node; answers its configuration file.
pub(crate) fn write_node(
    dir: &Path,
    id: usize,
    node: &NodeSpec,
    nodes: &[(usize, NodeSpec)],
    shared: &Shared<'_>,
    extra: &Extra,
) -> Result<PathBuf, Failure> {
    let folder = dir.join(&node.name);
    make_dir(&folder)?;
    let (certificate, key) = node_certificate(id, node, shared.authority)?;
    write_new(&folder.join("ca.pem"), shared.pem.as_bytes(), 0o644)?;
    write_new(&folder.join("node.pem"), certificate.as_bytes(), 0o644)?;
    write_new(&folder.join("node.key"), key.as_bytes(), 0o600)?;
    write_new(&folder.join("master.key"), format!("{}\n", *shared.master).as_bytes(), 0o600)?;
    let title = system_title(shared.title_base, id);
    let text = config_text(id, node, nodes, &title, &shared.token_hash, extra);
    let path = folder.join("node.toml");
    write_new(&path, text.as_bytes(), 0o600)?;
    sync_dir(&folder)?;
    Ok(path)
}

/// A node's configuration file.
pub fn config_text(
    id: usize,
    node: &NodeSpec,
    nodes: &[(usize, NodeSpec)],
    system_title: &str,
    token_hash: &str,
    extra: &Extra,
) -> String {
    let listen = listen_address(&node.host);
    let mut peers = String::new();
    for (number, peer) in nodes {
        peers.push_str(&format!(
            "\n[[cluster.peers]]\nid = {}\nname = \"{}\"\naddress = \"{}\"\nhttp = \"http://{}\"\n",
            number,
            peer.name,
            host_port(&peer.host, peer.cluster_port),
            host_port(&peer.host, peer.http_port),
        ));
    }
    format!(
        "# Node {name} of a Holdfast cluster, written by `holdfast init`.
# Every key: docs/reference/configuration.md. `holdfast check-config` lists all faults at once.

[node]
id = {id}
name = \"{name}\"
data_dir = \"data\"

[tls]
ca_file = \"ca.pem\"
certificate_file = \"node.pem\"
key_file = \"node.key\"

[keys]
master_key_file = \"master.key\"
system_title = \"{system_title}\"

[http]
listen = \"{http}\"
admin_token_hash = \"{token_hash}\"

[gateway]
listen = \"{gateway}\"
{gateway_extra}
[cluster]
listen = \"{cluster}\"
{peers}{drills}",
        name = node.name,
        http = host_port(&listen, node.http_port),
        gateway = host_port(&listen, node.gateway_port),
        gateway_extra = extra.gateway,
        cluster = host_port(&listen, node.cluster_port),
        drills = if extra.drills { "\n[drills]\nallowed = true\n" } else { "" },
    )
}

/// Joins host and port, with brackets around an IPv6 address.
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An address is listened on as it is; a name might be a balancer's, so all addresses are.
fn listen_address(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if host == "localhost" => Ipv4Addr::LOCALHOST.to_string(),
        Err(_) => Ipv4Addr::UNSPECIFIED.to_string(),
    }
}

/// `HFH`, four random octets of the cluster, the node's number: never two alike.
fn system_title(base: [u8; 4], id: usize) -> String {
    let id = u8::try_from(id).unwrap_or(u8::MAX);
    secret::hex(&[b'H', b'F', b'H', base[0], base[1], base[2], base[3], id])
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, Failure> {
    let key = KeyPair::generate().map_err(|error| certificate_failed(&error))?;
    CertifiedIssuer::self_signed(authority_params(), key)
        .map_err(|error| certificate_failed(&error))
}

/// What every authority that `init` makes says of itself.
pub(crate) fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Holdfast cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params);
    params
}

/// A certificate for both ends of a node link: it carries the name that the transport asks for,
/// the node's name and its host.
pub(crate) fn node_certificate(
    id: usize,
    node: &NodeSpec,
    authority: &Issuer<'_, KeyPair>,
) -> Result<(String, Zeroizing<String>), Failure> {
    let mut names = vec![format!("node-{id}.holdfast.internal"), node.name.clone()];
    if !names.contains(&node.host) {
        names.push(node.host.clone());
    }
    let mut params = CertificateParams::new(names).map_err(|error| certificate_failed(&error))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, node.name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params);
    let key = KeyPair::generate().map_err(|error| certificate_failed(&error))?;
    let certificate =
        params.signed_by(&key, authority).map_err(|error| certificate_failed(&error))?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

/// From yesterday (clocks differ) for ten years.
fn set_validity(params: &mut CertificateParams) {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        let month = u8::try_from(date.month()).unwrap_or(1);
        let day = u8::try_from(date.day()).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    if let Ok(yesterday) = now.yesterday() {
        params.not_before = day(yesterday);
    }
    if let Ok(end) = now.checked_add(jiff::Span::new().years(CERTIFICATE_YEARS)) {
        params.not_after = day(end);
    }
}

pub(crate) fn certificate_failed(error: &rcgen::Error) -> Failure {
    Failure::failed("certificate_failed", format!("cannot make a certificate: {error}"))
}

/// Refuses a folder with anything in it.
pub fn refuse_occupied(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                let text = format!("{} is not empty; init never overwrites", dir.display());
                Err(Failure::failed("already_exists", text))
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file("cannot look into", dir, &error)),
    }
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .map_err(|error| Failure::file("cannot make the folder", path, &error))
}

/// Writes a file that must not be there yet, and syncs it.
pub fn write_new(path: &Path, octets: &[u8], mode: u32) -> Result<(), Failure> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(octets)?;
            file.sync_all()
        })
        .map_err(|error| Failure::file("cannot write", path, &error))
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), Failure> {
    fs::File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| Failure::file("cannot sync", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_on_one_host_count_their_ports_up() {
        let pairs: Vec<String> =
            ["a=10.0.0.1", "b=10.0.0.1", "c=::1"].iter().map(|s| s.to_string()).collect();
        let nodes = nodes(&pairs, (8080, 4059, 7001)).expect("good pairs");
        let ports: Vec<_> =
            nodes.iter().map(|n| (n.http_port, n.gateway_port, n.cluster_port)).collect();
        assert_eq!(ports, [(8080, 4059, 7001), (8081, 4069, 7002), (8080, 4059, 7001)]);
        assert_eq!(host_port(&nodes[2].host, 1), "[::1]:1");
    }

    #[test]
    fn bad_pairs_are_refused() {
        for wrong in ["a", "=h", "a=", "a b=h", "a=h h", "a=h:1"] {
            let found = nodes(&[wrong.to_string()], (1, 1, 1));
            assert!(found.is_err(), "{wrong}");
        }
        let twice = ["a=h".to_string(), "a=i".to_string()];
        assert!(nodes(&twice, (1, 1, 1)).is_err());
        let no_port = ["a=h".to_string(), "b=h".to_string()];
        assert!(nodes(&no_port, (65535, 1, 1)).is_err());
    }
}
