//! `holdfast drill report`, `drill verify` and `drill abort`: what is kept, whether it is genuine,
//! and an end before its time.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{print, undo};
use crate::areas::drills::page;
use crate::cli::ClusterArgs;
use crate::cli::client::Api;
use crate::cli::output::field;
use crate::drills::paper::{self, Proof};
use crate::drills::report::Report;
use crate::drills::signature;
use crate::exit::Failure;
use crate::secret::unhex;

/// What `report` takes.
#[derive(Args)]
pub struct ReportArgs {
    /// Number of the drill; the newest that has a report when left out.
    id: Option<u64>,
    /// As a page that needs nothing besides itself.
    #[arg(long, conflicts_with = "json")]
    html: bool,
    /// Writes the report's files into this folder: as sealed, what proves it, a page.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["json", "html"])]
    out: Option<PathBuf>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// What `verify` takes.
#[derive(Args)]
pub struct VerifyArgs {
    /// Where `report.json` and `seal.json` are.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The cluster's public key, 64 hexadecimal digits, as you had it from `holdfast drill key`
    /// before: a key that came with the report proves nothing.
    #[arg(long, value_name = "HEX")]
    key: String,
    /// One JSON document instead of words.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn report(api: &Api, args: &ReportArgs) -> Result<(), Failure> {
    let id = match args.id {
        Some(id) => id,
        None => newest(api).await?,
    };
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::file("cannot make", folder, &error))?;
        for file in write(api, id, folder).await?.1 {
            println!("{}", file.display());
        }
        return Ok(());
    }
    let body = api.get(&format!("/api/v1/drills/{id}")).await?;
    if !args.html {
        print::report(&body, args.cluster.json);
        return Ok(());
    }
    let (report, seal) = sealed(&body)?;
    let html = page::standalone(&report, seal).map_err(|error| Failure::failed("failed", error))?;
    println!("{html}");
    Ok(())
}

/// The report of an answer, with its seal.
fn sealed(body: &Value) -> Result<(Report, page::Seal), Failure> {
    if body["report"].is_null() {
        let text = format!("drill {} has no report", field(body, &["id"]));
        return Err(Failure::failed("no_report", text));
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let report: Report = serde_json::from_value(body["report"].clone())
        .map_err(|error| Failure::failed("bad_answer", error))?;
    let seal = page::Seal {
        seal: text("seal"),
        holds: body["seal_holds"] == true,
        judge: text("judge"),
        signature: text("signature"),
        public_key: text("public_key"),
    };
    Ok((report, seal))
}

/// A kept report with its octets as they were sealed.
#[derive(Deserialize)]
struct Kept {
    report: Box<RawValue>,
}

/// What stands beside a report's octets and proves them.
#[derive(Deserialize)]
struct Proven {
    drill: u64,
    signature: String,
}

/// Writes a report's files: as it was sealed, what proves it, as a page, and an acceptance on
/// paper too.
pub async fn write(api: &Api, id: u64, folder: &Path) -> Result<(Report, Vec<PathBuf>), Failure> {
    let octets = api.get_octets(&format!("/api/v1/drills/{id}")).await?;
    let bad = |error| Failure::failed("bad_answer", error);
    let (report, seal) = sealed(&serde_json::from_slice(&octets).map_err(bad)?)?;
    let kept: Kept = serde_json::from_slice(&octets).map_err(bad)?;
    let proof = json!({
        "drill": id, "seal": seal.seal, "seal_holds": seal.holds, "judge": seal.judge,
        "signature": seal.signature, "public_key": seal.public_key,
        "report_blake3": blake3::hash(kept.report.get().as_bytes()).to_hex().to_string(),
    });
    let printed = Proof {
        judge: &seal.judge,
        seal: &seal.seal,
        signature: &seal.signature,
        public_key: &seal.public_key,
    };
    let paper = paper::pdf(&report, printed);
    let html = page::standalone(&report, seal).map_err(|error| Failure::failed("failed", error))?;
    let mut files = vec![
        ("report.json", kept.report.get().as_bytes().to_vec()),
        ("seal.json", format!("{proof}\n").into_bytes()),
        ("report.html", html.into_bytes()),
    ];
    files.extend(paper.map(|octets| ("report.pdf", octets)));
    let mut written = Vec::new();
    for (name, octets) in files {
        let path = folder.join(name);
        std::fs::write(&path, octets)
            .map_err(|error| Failure::file("cannot write", &path, &error))?;
        written.push(path);
    }
    Ok((report, written))
}

/// Whether the report of a folder is the cluster's whose public key is given. Asks no node.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let read = |name: &str| {
        let path = args.folder.join(name);
        std::fs::read(&path).map_err(|error| Failure::file("cannot read", &path, &error))
    };
    let key = unhex(args.key.trim())
        .filter(|key| key.len() == 32)
        .ok_or_else(|| Failure::failed("bad_key", "--key is not 64 hexadecimal digits"))?;
    let (octets, proof) = (read("report.json")?, read("seal.json")?);
    let proof: Proven = serde_json::from_slice(&proof)
        .map_err(|error| Failure::failed("bad_seal", format!("seal.json: {error}")))?;
    let signature = unhex(&proof.signature).unwrap_or_default();
    if !signature::holds(&key, proof.drill, &octets, &signature) {
        let text = format!("report.json is not what this key signed for drill {}", proof.drill);
        return Err(Failure::failed("bad_signature", text));
    }
    let report: Value = serde_json::from_slice(&octets)
        .map_err(|error| Failure::failed("bad_report", format!("report.json: {error}")))?;
    let get = |path: &[&str]| field(&report, path);
    let (scenario, begun) = (get(&["identity", "scenario"]), get(&["identity", "begun"]));
    if args.json {
        println!("{}", json!({ "drill": proof.drill, "signature_holds": true }));
    } else {
        println!("drill {}, {scenario}, {begun}: the signature holds", proof.drill);
        println!("verdict: {}", get(&["verdict"]).to_uppercase());
    }
    Ok(())
}

/// `drill key`: the public key of the cluster's reports.
pub(super) async fn key(api: &Api, is_json: bool) -> Result<(), Failure> {
    let body = api.get("/api/v1/drills").await?;
    let key = body["public_key"].as_str();
    let key = key.ok_or_else(|| Failure::failed("bad_answer", "no public key"))?;
    if is_json {
        println!("{}", json!({ "public_key": key }));
    } else {
        println!("{key}");
    }
    Ok(())
}

async fn newest(api: &Api) -> Result<u64, Failure> {
    let body = api.get("/api/v1/drills").await?;
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = items.iter().find(|item| item["verdict"].is_string());
    let id = found.and_then(|item| item["id"].as_u64());
    id.ok_or_else(|| Failure::failed("no_report", "no drill has a report"))
}

pub(super) async fn abort(api: &Api, why: &str, is_json: bool) -> Result<(), Failure> {
    let body = api.get("/api/v1/drills").await?;
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let open = items.iter().find(|item| item["state"] == "open");
    let Some((open, id)) = open.and_then(|open| Some((open, open["id"].as_u64()?))) else {
        return Err(Failure::failed("no_drill", "no drill is under way"));
    };
    let members = api.get("/api/v1/cluster").await?;
    let nodes = members["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let target = nodes.iter().find(|node| node["name"] == open["target"]);
    undo(target.map(|node| api.at(&field(node, &["url"]))).as_ref(), id).await;
    let ended = api.post(&format!("/api/v1/drills/{id}/abort"), &json!({ "why": why })).await?;
    if is_json {
        println!("{ended}");
    } else {
        println!("drill {id} ({}) is ended", field(open, &["scenario"]));
    }
    Ok(())
}
