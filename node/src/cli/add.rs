//! `meter add`: one meter with its access.
//!
//! Invariant: no secret is an argument; keys and passwords come from files.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::verbs::{key, show};
use crate::exit::Failure;

/// `meter add`.
#[derive(Args)]
pub struct MeterAdd {
    /// Its serial.
    pub serial: String,
    /// Where it is dialled: host:port, or hdlc, iec or mode-e with +tcp://host:port or
    /// +serial://portname, and ?options (docs/reference/lines.md).
    #[arg(long, required_unless_present = "concentrator", conflicts_with = "concentrator")]
    pub address: Option<String>,
    /// The concentrator that it stands behind.
    #[arg(long)]
    pub concentrator: Option<String>,
    /// Client service access point [16].
    #[arg(long)]
    pub client_sap: Option<u16>,
    /// Server service access point [1].
    #[arg(long)]
    pub server_sap: Option<u16>,
    /// How to log in.
    #[arg(long, value_parser = ["none", "lls", "hls3", "hls4", "hls5", "hls6", "hls7"])]
    pub auth: Option<String>,
    /// Security suite of the keys [0].
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub suite: Option<u8>,
    /// Security policy: 0 to 3, or v1: and the two hex digits of version 1 [3].
    #[arg(long)]
    pub policy: Option<String>,
    /// What protected services are wrapped in [service].
    #[arg(long, value_parser = ["service", "general", "ciphering"])]
    pub wrapping: Option<String>,
    /// Make a key for each association.
    #[arg(long)]
    pub dedicated_key: bool,
    /// System title to show to this meter, 16 hex digits [the node's own].
    #[arg(long)]
    pub client_title: Option<String>,
    /// File of the password (lls) or secret (hls3, hls4, hls6) in hex.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// File of the global unicast encryption key in hex.
    #[arg(long, value_name = "FILE")]
    pub guek_file: Option<PathBuf>,
    /// File of the global authentication key in hex.
    #[arg(long, value_name = "FILE")]
    pub gak_file: Option<PathBuf>,
    /// File of the key encryption key in hex.
    #[arg(long, value_name = "FILE")]
    pub kek_file: Option<PathBuf>,
    /// File of the head-end's private signing key in hex.
    #[arg(long, value_name = "FILE")]
    pub signing_key_file: Option<PathBuf>,
    /// File of the meter's public signing key in hex.
    #[arg(long, value_name = "FILE")]
    pub meter_signing_key_file: Option<PathBuf>,
    /// File of the head-end's private key for agreements in hex.
    #[arg(long, value_name = "FILE")]
    pub agreement_key_file: Option<PathBuf>,
    /// File of the meter's public key for agreements in hex.
    #[arg(long, value_name = "FILE")]
    pub meter_agreement_key_file: Option<PathBuf>,
    /// System title, 16 hex digits.
    #[arg(long)]
    pub system_title: Option<String>,
    /// Its model, one of `holdfast model list`; the generic one when left out.
    #[arg(long, default_value = "")]
    pub model: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Registers it.
pub(super) async fn meter_add(args: &MeterAdd) -> Result<(), Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.to_string(), value);
        }
    };
    put("serial", json!(args.serial));
    put("address", json!(args.address));
    put("concentrator", json!(args.concentrator));
    put("client_sap", json!(args.client_sap));
    put("server_sap", json!(args.server_sap));
    put("auth", json!(args.auth));
    put("suite", json!(args.suite));
    put("policy", json!(args.policy));
    put("wrapping", json!(args.wrapping));
    put("dedicated_key", json!(args.dedicated_key.then_some(true)));
    put("client_title", json!(args.client_title));
    put("system_title", json!(args.system_title));
    put("model", json!(args.model));
    for (name, file) in [
        ("secret", &args.secret_file),
        ("guek", &args.guek_file),
        ("gak", &args.gak_file),
        ("kek", &args.kek_file),
        ("signing_key", &args.signing_key_file),
        ("meter_signing_key", &args.meter_signing_key_file),
        ("agreement_key", &args.agreement_key_file),
        ("meter_agreement_key", &args.meter_agreement_key_file),
    ] {
        if let Some(file) = file {
            put(name, key(file)?);
        }
    }
    let made = Api::of(&args.cluster)?.post("/api/v1/meters", &Value::Object(body)).await?;
    show(&made, args.cluster.json);
    Ok(())
}
