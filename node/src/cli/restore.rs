//! `holdfast restore`: a new cluster from a backup.
//!
//! Order: the backup is read and checked to its last octet; then certificates, secrets and data
//! are made in a folder beside the target; the target appears last, by a rename. Invariants: a
//! faulty backup or an occupied target is refused before anything is written; what a restored
//! cluster must not use twice is raised as ADR 0017 says; no key and no token is printed but the
//! new admin token.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use cluster::{Peer, Restored};
use domain::keys::WrappedKey;
use domain::restore::Plan;
use domain::{NodeId, Stamp};
use serde_json::json;
use storage::backup::{FileRecord, Record, Repository};
use storage::snapshot::{Manifest, Months};
use storage::{Metrics, Store};

use super::backup::{FromArgs, Progress, read_all, told};
use crate::exit::Failure;
use crate::init::{self, Extra, Made, NodeSpec, host_port};
use crate::secret::MasterKey;

/// `holdfast restore`.
#[derive(Args)]
pub struct RestoreArgs {
    /// Where the backup is.
    #[command(flatten)]
    pub from: FromArgs,
    /// Which backup; the newest when left out.
    #[arg(long)]
    id: Option<String>,
    /// The folder of the new cluster; refused when anything is in it.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A node of the new cluster and its host or address; once for every node.
    #[arg(long = "node", value_name = "NAME=HOST", required = true)]
    nodes: Vec<String>,
    /// The master key of the old cluster, without which no meter key can be read.
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// When the old cluster ended, or will (RFC 3339), if later than now.
    #[arg(long, value_name = "TIME")]
    ran_until: Option<String>,
    /// TCP port of API and page.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    http_port: u16,
    /// TCP port for concentrators.
    #[arg(long, default_value_t = 4059, value_parser = clap::value_parser!(u16).range(1..))]
    gateway_port: u16,
    /// UDP port between nodes.
    #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..))]
    cluster_port: u16,
}

/// Does what `holdfast restore` says.
pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let ports = (args.http_port, args.gateway_port, args.cluster_port);
    let nodes = init::nodes(&args.nodes, ports)?;
    init::refuse_occupied(&args.to)?;
    let building = beside(&args.to)?;
    init::refuse_occupied(&building)?;
    if let Some(path) = &args.master_key_file {
        MasterKey::load(path)?;
    }
    let repository = args.from.open()?;
    let record = repository.find(args.id.as_deref()).map_err(told)?;
    let plan = plan(&record, args.ran_until.as_deref())?;
    eprintln!("reading backup {} to its last octet", record.id);
    read_all(&repository, &record)?;
    let manifest = Manifest::decode(&repository.manifest(&record).map_err(told)?).map_err(told)?;
    let built = build(args, &repository, &record, &manifest, &nodes, &plan, &building);
    let (made, restored) = match built {
        Ok(built) => built,
        Err(failure) => {
            // Only what this run made is here: the folder was empty or not there.
            let _left = fs::remove_dir_all(&building);
            return Err(failure);
        }
    };
    fs::rename(&building, &args.to)
        .map_err(|error| Failure::file("cannot give the new cluster its name", &args.to, &error))?;
    let parent = args.to.parent().filter(|parent| !parent.as_os_str().is_empty());
    storage::file::sync_dir(parent.unwrap_or(Path::new("."))).map_err(told)?;
    report(args, &record, &made, &restored, &plan);
    Ok(())
}

/// Restores the data of one node into an empty folder, for a drill: read to the last octet,
/// installed and begun as a restore does it. What it gives is the state that came out.
pub fn rehearse(repository: &Repository, record: &Record, dir: &Path) -> Result<Restored, Failure> {
    read_all(repository, record)?;
    let manifest = Manifest::decode(&repository.manifest(record).map_err(told)?).map_err(told)?;
    let config = storage::Config { dir: dir.to_path_buf(), ..storage::Config::default() };
    let (store, _) = Store::open(&config, 0, &Metrics::unregistered()).map_err(told)?;
    install(repository, record, &manifest, &store)?;
    let name = "rehearsal".to_owned();
    let (address, http) = ("127.0.0.1:1".to_owned(), String::new());
    let own = Peer { id: NodeId(1), name, address, http };
    let began = cluster::begin_from_backup(&store, NodeId(1), &[own], &plan(record, None)?)
        .map_err(|error| Failure::failed("restore_failed", error))?;
    store.stop().map_err(told)?;
    Ok(began)
}

/// By how much counters and epochs rise.
fn plan(record: &Record, ran_until: Option<&str>) -> Result<Plan, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut until = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    if let Some(text) = ran_until {
        let time: jiff::Timestamp = text
            .parse()
            .map_err(|_| Failure::usage(format!("--ran-until {text}: expected RFC 3339")))?;
        until = until.max(u64::try_from(time.as_microsecond()).unwrap_or(0));
    }
    Plan::new(Stamp(record.origin.stamp_micros), Stamp(until)).ok_or_else(|| {
        let text = "this machine's clock is before the backup; correct it first, because \
                    counters are raised by the time since then";
        Failure::failed("clock_behind", text)
    })
}

/// The folder in which the new cluster is made: on the same file system as the target.
fn beside(to: &Path) -> Result<PathBuf, Failure> {
    let name = to.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::usage(format!("--to {}: no name", to.display())))?;
    Ok(to.with_file_name(format!("{name}.restoring")))
}

fn build(
    args: &RestoreArgs,
    repository: &Repository,
    record: &Record,
    manifest: &Manifest,
    nodes: &[NodeSpec],
    plan: &Plan,
    building: &Path,
) -> Result<(Made, Restored), Failure> {
    let made = init::init(building, nodes, &Extra::default())?;
    let mut restored = None;
    for (position, node) in nodes.iter().enumerate() {
        let folder = building.join(&node.name);
        refuse_old_title(&folder, record)?;
        eprintln!("restoring {} of {}: {}", position + 1, nodes.len(), node.name);
        let config = storage::Config { dir: folder.join("data"), ..storage::Config::default() };
        let (store, _) = Store::open(&config, 0, &Metrics::unregistered()).map_err(told)?;
        install(repository, record, manifest, &store)?;
        let key_file = args.master_key_file.as_deref();
        place_master_key(&store, &folder, key_file)?;
        let id = NodeId(position as u64 + 1);
        let began = cluster::begin_from_backup(&store, id, &peers(nodes), plan)
            .map_err(|error| Failure::failed("restore_failed", error))?;
        if crate::secret::hex(&began.state_hash) != record.origin.state_hash {
            let text = "the restored state has another hash than the backup's record";
            return Err(Failure::failed("restore_failed", text));
        }
        store.stop().map_err(told)?;
        restored = Some(began);
    }
    let restored = restored.ok_or_else(|| Failure::usage("at least one --node NAME=HOST"))?;
    Ok((made, restored))
}

/// A title of the old cluster must not come back by chance: it is half of every nonce.
fn refuse_old_title(folder: &Path, record: &Record) -> Result<(), Failure> {
    let path = folder.join("node.toml");
    let text = fs::read_to_string(&path)
        .map_err(|error| Failure::file("cannot read", &path, &error))?
        .to_lowercase();
    // The last octet is the node's number: the cluster's part is what must differ.
    let clusters = record.origin.client_titles.iter().filter_map(|title| title.get(..14));
    if clusters.into_iter().any(|title| text.contains(&title.to_lowercase())) {
        let text = "the new system titles met those of the old cluster by chance; try again";
        return Err(Failure::failed("title_taken", text));
    }
    Ok(())
}

fn peers(nodes: &[NodeSpec]) -> Vec<Peer> {
    let numbered = nodes.iter().zip(1..);
    numbered
        .map(|(node, id)| Peer {
            id: NodeId(id),
            name: node.name.clone(),
            address: host_port(&node.host, node.cluster_port),
            http: format!("http://{}", host_port(&node.host, node.http_port)),
        })
        .collect()
}

/// Brings every file of the backup into an empty store.
fn install(
    repository: &Repository,
    record: &Record,
    manifest: &Manifest,
    store: &Store,
) -> Result<(), Failure> {
    let mut incoming = store.snapshots.receive(manifest.clone(), Months::Now).map_err(told)?;
    let mut progress = Progress::new(manifest.octets());
    let files: BTreeMap<&str, &FileRecord> =
        record.files.iter().map(|file| (file.name.as_str(), file)).collect();
    for (item, _) in incoming.missing() {
        let file = files.get(item.name.as_str()).ok_or_else(|| {
            let text = format!("the record of {} lacks the file {}", record.id, item.name);
            Failure::failed("backup_damaged", text)
        })?;
        let mut offset = 0;
        let mut take = |piece: &[u8]| {
            incoming.receive(&item.name, offset, piece)?;
            offset += piece.len() as u64;
            Ok(())
        };
        repository.read(record, file, &mut take).map_err(told)?;
        progress.add(&item.name, item.octets);
    }
    store.snapshots.install(incoming).map_err(told)?;
    Ok(())
}

/// Puts the old cluster's master key in the place of the new one, if the state has wrapped keys.
fn place_master_key(store: &Store, folder: &Path, given: Option<&Path>) -> Result<(), Failure> {
    let table = domain::apply::Table::Keys.id();
    let wrapped = store.tables.scan(table, &[], &[0xff; 65], 1).map_err(told)?;
    let sample: Option<WrappedKey> =
        wrapped.first().map(|(_, row)| postcard::from_bytes(row)).transpose().map_err(|error| {
            Failure::failed("restore_failed", format!("a wrapped key: {error}"))
        })?;
    let Some(given) = given else {
        if sample.is_none() {
            return Ok(());
        }
        let text = "the state holds wrapped meter keys: give --master-key-file of the old cluster";
        return Err(Failure::failed("master_key_needed", text));
    };
    let master = MasterKey::load(given)?;
    if sample.is_some_and(|sample| master.unwrap(&sample.wrapped).is_err()) {
        let text = format!("{} did not wrap the meter keys of this state", given.display());
        return Err(Failure::failed("master_key_wrong", text));
    }
    let text = zeroize::Zeroizing::new(
        fs::read(given).map_err(|error| Failure::file("cannot read", given, &error))?,
    );
    let path = folder.join("master.key");
    fs::remove_file(&path).map_err(|error| Failure::file("cannot replace", &path, &error))?;
    init::write_new(&path, &text, 0o600)
}

fn report(args: &RestoreArgs, record: &Record, made: &Made, restored: &Restored, plan: &Plan) {
    let configs: Vec<String> = made
        .configs
        .iter()
        .filter_map(|path| path.parent()?.file_name())
        .map(|name| args.to.join(name).join("node.toml").display().to_string())
        .collect();
    let hash = crate::secret::hex(&restored.state_hash);
    if args.from.json {
        let body = json!({
            "id": record.id, "index": restored.index, "state_hash": hash, "configs": configs,
            "token": made.token.as_str(), "counters_raised_by": plan.counters,
            "epochs_raised_by": plan.epochs,
        });
        println!("{body}");
        return;
    }
    println!("Restored backup {} of index {}, state hash {hash}.", record.id, restored.index);
    println!("Counters rise by {}, epochs by {}.", plan.counters, plan.epochs);
    println!("The old cluster must never talk to the devices again. Start the new one:");
    for config in &configs {
        println!("  holdfast run --config {config}");
    }
    println!("Admin token, shown only now: {}", made.token.as_str());
}
