//! `holdfast audit`: who did what; the trail carried out of the cluster, and looked through without
//! it.
//!
//! Invariant: what `--check` says needs no node: the file, and the public key of who signed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use domain::audit::{Chain, Record};
use domain::{ProposalId, Stamp};
use serde_json::json;

use super::client::Api;
use super::output::field;
use super::verbs::{fetch, print_list};
use super::{ClusterArgs, ListArgs};
use crate::areas::audit::RecordBody;
use crate::areas::pages::encode;
use crate::drills::signature;
use crate::exit::Failure;
use crate::secret::{hex, unhex};

/// The longest line of a file: a record is far shorter.
const MAX_LINE: u64 = 64 << 10;

/// What `audit` takes.
#[derive(Args)]
pub struct AuditArgs {
    /// Only what this operator asked for.
    #[arg(long)]
    pub operator: Option<String>,
    /// Only actions that begin so, such as `commands.`.
    #[arg(long)]
    pub action: Option<String>,
    /// Only what was refused.
    #[arg(long)]
    pub refused: bool,
    /// Not before this time (RFC 3339).
    #[arg(long)]
    pub from: Option<String>,
    /// Not after this time (RFC 3339).
    #[arg(long)]
    pub to: Option<String>,
    /// Write the whole trail to a new file, oldest first, a record a line (JSON).
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub export: Option<PathBuf>,
    /// Look through such a file, without a cluster: whether every record is there and as it was.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// The cluster's public key (`holdfast drill key`), by which signatures in the file are judged.
    #[arg(long, value_name = "HEX", requires = "check")]
    pub key: Option<String>,
    /// The file must reach this record at least: the last that is known from elsewhere.
    #[arg(long, value_name = "NUMBER", requires = "check")]
    pub least: Option<u64>,
    /// How the list is cut; the text is looked for in operator, action and object.
    #[command(flatten)]
    pub list: ListArgs,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Does what `holdfast audit` says.
pub async fn audit(args: &AuditArgs) -> Result<(), Failure> {
    if let Some(path) = &args.export {
        return export(args, path).await;
    }
    if let Some(path) = &args.check {
        return check(args, path);
    }
    let mut query = String::new();
    let mut add = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            query.push_str(&format!("{name}={}&", encode(value)));
        }
    };
    add("operator", args.operator.as_ref());
    add("action", args.action.as_ref());
    add("from", args.from.as_ref());
    add("to", args.to.as_ref());
    if args.refused {
        query.push_str("refused=true&");
    }
    let items = fetch(&format!("/api/v1/audit?{query}"), &args.list, &args.cluster).await?;
    let head = ["NO", "TIME", "WHO", "ACTION", "OBJECT", "REFUSED"];
    print_list(&items, args.cluster.json, &head, |record| {
        ["sequence", "time", "operator", "action", "object", "refused"]
            .map(|name| field(record, &[name]))
            .to_vec()
    });
    Ok(())
}

async fn export(args: &AuditArgs, path: &Path) -> Result<(), Failure> {
    let api = Api::of(&args.cluster)?;
    let failed = |error| Failure::file("cannot write", path, &error);
    let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
    let (mut cursor, mut records) = (String::new(), 0_u64);
    loop {
        let page = format!("/api/v1/audit?oldest_first=true&limit=1000{cursor}");
        let page = api.get(&page).await?;
        for record in page["items"].as_array().into_iter().flatten() {
            writeln!(file, "{record}").map_err(failed)?;
            records += 1;
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    if args.cluster.json {
        println!("{}", json!({"records": records}));
    } else {
        println!("{records} records");
    }
    Ok(())
}

/// What a file of the trail holds.
struct Looked {
    records: u64,
    /// Signatures that hold, or, without a key, that there are.
    signed: u64,
    /// The last record that a signature is about.
    up_to: u64,
}

fn check(args: &AuditArgs, path: &Path) -> Result<(), Failure> {
    let key = args.key.as_deref().map(|text| {
        let octets = unhex(text).filter(|octets| octets.len() == 32);
        octets.ok_or_else(|| Failure::usage("--key: 64 hex digits, as `holdfast drill key` says"))
    });
    let key = key.transpose()?;
    let looked = look(path, key.as_deref())?;
    if let Some(least) = args.least.filter(|least| looked.records < *least) {
        let text = format!("it ends at record {} of {least}", looked.records);
        return Err(Failure::failed("audit_broken", text));
    }
    let Looked { records, signed, up_to } = looked;
    if args.cluster.json {
        let mut told = json!({"records": records, "signed": signed, "up_to": up_to});
        told["judged"] = json!(key.is_some());
        println!("{told}");
        return Ok(());
    }
    let signatures = match key {
        Some(_) => format!("{signed} signatures up to record {up_to} hold"),
        None => format!("{signed} signatures not judged: give --key"),
    };
    println!("{records} records, none missing or changed; {signatures}");
    Ok(())
}

fn look(path: &Path, key: Option<&[u8]>) -> Result<Looked, Failure> {
    let failed = |error| Failure::file("cannot read", path, &error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let broken = |sequence: u64, why: &str| {
        Failure::failed("audit_broken", format!("record {sequence}: {why}"))
    };
    let mut chain = Chain::default();
    let mut looked = Looked { records: 0, signed: 0, up_to: 0 };
    let mut hashes: Vec<[u8; 32]> = Vec::new();
    loop {
        let mut line = Vec::new();
        let octets = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if octets == 0 {
            return Ok(looked);
        }
        let next = looked.records + 1;
        let record = read(&line).ok_or_else(|| broken(next, "it cannot be read"))?;
        let fits = chain.takes(&record).map_err(|_| broken(next, "it cannot be hashed"))?;
        if !fits {
            return Err(broken(next, "it is missing, moved or changed"));
        }
        hashes.push(record.hash);
        looked.records = next;
        let Some((sequence, signed)) = record.signed() else { continue };
        let at = usize::try_from(sequence).unwrap_or(usize::MAX).wrapping_sub(1);
        let hash = hashes.get(at).ok_or_else(|| broken(next, "it signs no record"))?;
        if key.is_some_and(|key| !signature::trail_holds(key, sequence, hash, &signed)) {
            return Err(broken(next, "the signature does not hold"));
        }
        (looked.signed, looked.up_to) = (looked.signed + 1, sequence);
    }
}

/// A line as the record that it was; what was not there must not come in.
fn read(line: &[u8]) -> Option<Record> {
    let body: RecordBody = serde_json::from_slice(line).ok()?;
    let hash = |text: &str| unhex(text).and_then(|octets| <[u8; 32]>::try_from(octets).ok());
    let record = Record {
        sequence: body.sequence,
        index: body.index,
        stamp: Stamp(body.stamp),
        operator: body.operator.clone(),
        proposal: body.proposal.parse::<ProposalId>().ok()?,
        action: body.action.clone(),
        object: body.object.clone(),
        refused: body.refused.clone(),
        change: hash(&body.change)?,
        previous: hash(&body.previous)?,
        hash: hash(&body.hash)?,
    };
    // Written again it is the same: the time that people read is the stamp's, digits are small.
    let again = RecordBody::of(record.clone());
    let same = serde_json::to_value(&again).ok()? == serde_json::to_value(&body).ok()?;
    (same && hex(&record.hash) == body.hash).then_some(record)
}
