//! `holdfast backup`: takes backups from a running cluster, lists and checks them.
//!
//! The node hands out files of one snapshot; this side stores them, encrypted if a key is given, so
//! neither the key nor the address of the store reaches the cluster. Invariants: a backup that
//! was not finished is not in the catalogue; a verb ends with 0 only when what it says holds;
//! progress goes to standard error.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use storage::backup::{FileRecord, Kind, Listed, OperatorKey, Origin, Record, Repository};
use storage::snapshot::Manifest;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::client::Api;
use super::output::{field, table};
use super::{ClusterArgs, runtime};
use crate::exit::{Exit, Failure};
use crate::secret;

/// How long a node may take to write its snapshot.
const PREPARE: Duration = Duration::from_secs(1800);
/// Time between two questions whether it is there.
const ROUND: Duration = Duration::from_millis(300);
/// At most one line of progress in this time.
const TELL: Duration = Duration::from_secs(2);

/// `holdfast backup`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BackupArgs {
    #[command(subcommand)]
    verb: Option<BackupCommand>,
    #[command(flatten)]
    take: TakeArgs,
}

#[derive(Args)]
struct TakeArgs {
    /// Where backups are kept: a folder or s3://bucket/prefix (AWS_* in the environment).
    #[arg(long, value_name = "DIR|s3://...")]
    to: Option<String>,
    /// Add to the newest chain only what it does not hold yet.
    #[arg(long)]
    incremental: bool,
    /// File of the key that encrypts them: 32 octets in hex, mode 0600.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Afterwards keep this many full backups with their incremental ones; remove older ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    keep: Option<u32>,
    /// How to reach the cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// List the backups of a place; what is not complete is named with the reason.
    List(FromArgs),
    /// Read every octet of a backup, or of all, and compare it with its hash.
    Verify {
        /// The backup; all when left out.
        #[arg(long)]
        id: Option<String>,
        /// Where it is.
        #[command(flatten)]
        from: FromArgs,
    },
    /// Remove all but the newest full backups and their incremental ones.
    Prune {
        /// How many full backups stay.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        keep: u32,
        /// Where they are.
        #[command(flatten)]
        from: FromArgs,
    },
}

/// Where backups are, and how to read them.
#[derive(Args, Clone)]
pub struct FromArgs {
    /// Where backups are kept: a folder or s3://bucket/prefix (AWS_* in the environment).
    #[arg(long, value_name = "DIR|s3://...")]
    pub from: String,
    /// File of the key that encrypted them: 32 octets in hex.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Results and failures as JSON.
    #[arg(long)]
    pub json: bool,
}

impl FromArgs {
    /// The backups.
    pub fn open(&self) -> Result<Repository, Failure> {
        open(&self.from, self.key_file.as_ref())
    }
}

impl BackupArgs {
    /// Whether results are JSON.
    pub fn json(&self) -> bool {
        match &self.verb {
            None => self.take.cluster.json,
            Some(BackupCommand::List(from)) => from.json,
            Some(BackupCommand::Verify { from, .. } | BackupCommand::Prune { from, .. }) => {
                from.json
            }
        }
    }
}

/// Does what `holdfast backup` says.
pub fn backup(args: &BackupArgs) -> Result<(), Failure> {
    match &args.verb {
        None => take(&args.take),
        Some(BackupCommand::List(from)) => list(from),
        Some(BackupCommand::Verify { id, from }) => verify(id.as_deref(), from),
        Some(BackupCommand::Prune { keep, from }) => {
            let gone = from.open()?.prune(*keep as usize).map_err(told)?;
            if from.json {
                println!("{}", json!({"removed": gone}));
            } else {
                println!("{} chains removed", gone.len());
            }
            Ok(())
        }
    }
}

/// The backups of a place.
pub fn open(place: &str, key_file: Option<&PathBuf>) -> Result<Repository, Failure> {
    let key = key_file.map(|path| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::file("cannot read the backup's key", path, &error))?;
        let text = Zeroizing::new(text);
        let octets = Zeroizing::new(secret::unhex(text.trim()).unwrap_or_default());
        let octets: Result<[u8; 32], _> = octets.as_slice().try_into();
        octets.map(OperatorKey::new).map_err(|_| {
            let text = format!("{} does not hold 64 hexadecimal digits", path.display());
            Failure::failed("bad_key", text)
        })
    });
    Repository::open(place, key.transpose()?).map_err(told)
}

/// A fault of stores and places as a verb's failure.
pub fn told(error: storage::Error) -> Failure {
    let exit = if error.code() == "place_invalid" { Exit::Usage } else { Exit::Failed };
    let report = error.report();
    let text = report.strip_prefix(error.code()).map(|text| text.trim_start_matches(": "));
    Failure::new(exit, error.code(), text.unwrap_or(&report))
}

fn take(args: &TakeArgs) -> Result<(), Failure> {
    let to = args.to.as_deref().ok_or_else(|| Failure::usage("--to says where it goes"))?;
    let repository = open(to, args.key_file.as_ref())?;
    let kind = if args.incremental { Kind::Incremental } else { Kind::Full };
    let runtime = runtime()?;
    let (api, begun) = runtime.block_on(begin(&Api::of(&args.cluster)?))?;
    let path = format!("/api/v1/backups/{}", field(&begun, &["id"]));
    let source = Source { api, handle: runtime.handle().clone(), path };
    let stored = store(&repository, kind, &source, begun);
    // Let go now, or by the node itself after a while: no harm if this is not heard.
    let path = format!("{}?complete={}", source.path, stored.is_ok());
    let _heard = runtime.block_on(source.api.delete(&path));
    let record = stored?;
    if let Some(keep) = args.keep {
        let gone = repository.prune(keep as usize).map_err(told)?;
        eprintln!("{} older chains removed", gone.len());
    }
    if args.cluster.json {
        println!("{}", summary(&record));
    } else {
        println!(
            "backup {} ({}) at index {}: {} files, {} octets, {} of them new",
            record.id,
            word(record.kind),
            record.origin.index,
            record.files.len(),
            record.octets(),
            record.new_octets(),
        );
        println!("state hash {}", record.origin.state_hash);
    }
    Ok(())
}

/// Asks the nodes in turn for a backup, and waits until one has it ready.
async fn begin(api: &Api) -> Result<(Api, Value), Failure> {
    let mut last = Failure::usage("no --url");
    for api in api.each() {
        let begun = match api.post("/api/v1/backups", &json!({})).await {
            Ok(begun) => begun,
            Err(failure) => {
                last = failure;
                continue;
            }
        };
        let path = format!("/api/v1/backups/{}", field(&begun, &["id"]));
        eprintln!("{} writes a snapshot", field(&begun, &["node"]));
        let until = Instant::now() + PREPARE;
        while Instant::now() < until {
            let now = api.get(&path).await?;
            match now["state"].as_str() {
                Some("ready") => return Ok((api, now)),
                Some("preparing") => tokio::time::sleep(ROUND).await,
                _ => {
                    let text = format!("{} could not: its log says why", field(&now, &["node"]));
                    return Err(Failure::failed("backup_failed", text));
                }
            }
        }
        return Err(Failure::failed("backup_failed", "the snapshot is not ready in time"));
    }
    Err(last)
}

/// Where the files come from.
struct Source {
    api: Api,
    handle: Handle,
    path: String,
}

/// One file of a node, fetched in pieces as it is read.
struct Pieces {
    api: Api,
    handle: Handle,
    path: String,
    octets: u64,
    fetched: u64,
    piece: bytes::Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            if self.fetched >= self.octets {
                return Ok(0);
            }
            let path = format!("{}?offset={}", self.path, self.fetched);
            self.piece = self
                .handle
                .block_on(self.api.get_octets(&path))
                .map_err(|failure| io::Error::other(failure.to_string()))?;
            self.fetched += self.piece.len() as u64;
            if self.piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        let count = self.piece.len().min(into.len());
        let given = self.piece.split_to(count);
        for (to, from) in into.iter_mut().zip(given) {
            *to = from;
        }
        Ok(count)
    }
}

fn store(
    repository: &Repository,
    kind: Kind,
    source: &Source,
    begun: Value,
) -> Result<Record, Failure> {
    let path = format!("{}/manifest", source.path);
    let octets = source.handle.block_on(source.api.get_octets(&path))?;
    let manifest = Manifest::decode(&octets).map_err(told)?;
    let origin = origin(&begun, &manifest)?;
    let id = format!("{}-{:012}", stamp_text(origin.created_s)?, origin.index);
    let mut session = repository.begin(&id, kind).map_err(told)?;
    if session.kind() != kind {
        eprintln!("no chain to add to: this is a full backup");
    }
    let mut progress = Progress::new(manifest.octets());
    for (number, item) in manifest.items.iter().enumerate() {
        let open = || {
            Ok(Box::new(Pieces {
                api: source.api.clone(),
                handle: source.handle.clone(),
                path: format!("{}/files/{number}", source.path),
                octets: item.octets,
                fetched: 0,
                piece: bytes::Bytes::new(),
            }) as Box<dyn Read>)
        };
        session.add(&item.name, item.octets, &item.hash, open).map_err(told)?;
        progress.add(&item.name, item.octets);
    }
    session.finish(&octets, origin).map_err(told)
}

fn origin(begun: &Value, manifest: &Manifest) -> Result<Origin, Failure> {
    let state = cluster::describe_backup(&manifest.meta)
        .map_err(|error| Failure::failed("bad_answer", error))?;
    let now = jiff::Timestamp::now();
    Ok(Origin {
        created: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        created_s: now.as_second(),
        index: state.index,
        stamp_micros: state.stamp.0,
        state_hash: secret::hex(&state.state_hash),
        node: field(begun, &["node"]),
        client_titles: vec![field(begun, &["client_title"])],
        program: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
    })
}

/// A time as it stands in an id: `20261122T203000Z`.
fn stamp_text(created_s: i64) -> Result<String, Failure> {
    let time = jiff::Timestamp::from_second(created_s)
        .map_err(|error| Failure::failed("bad_time", error))?;
    Ok(time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// Lines of progress, not too many.
pub struct Progress {
    total: u64,
    done: u64,
    files: u64,
    told: Instant,
}

impl Progress {
    /// Of so many octets.
    pub fn new(total: u64) -> Progress {
        Progress { total, done: 0, files: 0, told: Instant::now() }
    }

    /// One more file is done.
    pub fn add(&mut self, name: &str, octets: u64) {
        (self.done, self.files) = (self.done + octets, self.files + 1);
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let percent = self.done.saturating_mul(100) / self.total.max(1);
            eprintln!("{percent} %, {} files, {} octets, {name}", self.files, self.done);
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Full => "full",
        Kind::Incremental => "incremental",
    }
}

fn summary(record: &Record) -> Value {
    json!({
        "id": record.id,
        "chain": record.chain,
        "kind": word(record.kind),
        "base": record.base,
        "complete": true,
        "created": record.origin.created,
        "index": record.origin.index,
        "state_hash": record.origin.state_hash,
        "node": record.origin.node,
        "files": record.files.len(),
        "octets": record.octets(),
        "new_octets": record.new_octets(),
    })
}

fn list(args: &FromArgs) -> Result<(), Failure> {
    let listed = args.open()?.list().map_err(told)?;
    if args.json {
        let items: Vec<Value> = listed
            .iter()
            .map(|listed| match &listed.record {
                Ok(record) => summary(record),
                Err(why) => json!({
                    "id": listed.id, "chain": listed.chain, "complete": false, "reason": why,
                }),
            })
            .collect();
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    table(&["ID", "KIND", "CREATED", "INDEX", "FILES", "OCTETS", "NEW", "STATE"], &rows);
    Ok(())
}

fn row(listed: &Listed) -> Vec<String> {
    match &listed.record {
        Ok(record) => vec![
            record.id.clone(),
            word(record.kind).to_owned(),
            record.origin.created.clone(),
            record.origin.index.to_string(),
            record.files.len().to_string(),
            record.octets().to_string(),
            record.new_octets().to_string(),
            "complete".to_owned(),
        ],
        Err(why) => {
            let mut row = vec![listed.id.clone()];
            row.extend(std::iter::repeat_n("-".to_owned(), 6));
            row.push(why.clone());
            row
        }
    }
}

fn verify(id: Option<&str>, args: &FromArgs) -> Result<(), Failure> {
    let repository = args.open()?;
    let records: Vec<Record> = match id {
        Some(id) => vec![repository.find(Some(id)).map_err(told)?],
        None => {
            let listed = repository.list().map_err(told)?;
            let ids = listed.iter().map(|listed| repository.find(Some(&listed.id)));
            ids.collect::<storage::Result<_>>().map_err(told)?
        }
    };
    if records.is_empty() {
        return Err(Failure::failed("backup_unknown", format!("no backup in {}", args.from)));
    }
    let mut verified = Vec::new();
    for record in &records {
        read_all(&repository, record)?;
        verified.push(record.id.clone());
        if !args.json {
            println!("{}: good, {} octets read", record.id, record.octets());
        }
    }
    if args.json {
        println!("{}", json!({"verified": verified}));
    }
    Ok(())
}

/// Reads every octet of a backup, with lines of progress.
pub fn read_all(repository: &Repository, record: &Record) -> Result<(), Failure> {
    let mut progress = Progress::new(record.octets());
    let mut hear = |file: &FileRecord| progress.add(&file.name, file.octets);
    repository.verify(record, &mut hear).map_err(told)
}
