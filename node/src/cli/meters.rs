//! What `meter add` and `meter read` take.
//!
//! Invariant: no secret is an argument; keys and passwords come from files.

use std::path::PathBuf;

use clap::Args;

use super::ClusterArgs;

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
    #[arg(long, value_parser = ["none", "lls", "hls5"])]
    pub auth: Option<String>,
    /// File of the password in hex.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// File of the global unicast encryption key in hex.
    #[arg(long, value_name = "FILE")]
    pub guek_file: Option<PathBuf>,
    /// File of the global authentication key in hex.
    #[arg(long, value_name = "FILE")]
    pub gak_file: Option<PathBuf>,
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

/// `meter read`.
#[derive(Args)]
pub struct MeterRead {
    /// Its serial.
    pub serial: String,
    /// A register or the clock; 1-0:1.8.0 when nothing is asked for.
    #[arg(long)]
    pub obis: Vec<String>,
    /// A load profile instead.
    #[arg(long, requires_all = ["from", "to"], conflicts_with = "obis")]
    pub profile: Option<String>,
    /// First interval end of the profile (RFC 3339).
    #[arg(long, requires = "profile")]
    pub from: Option<String>,
    /// Last interval end of the profile (RFC 3339).
    #[arg(long, requires = "profile")]
    pub to: Option<String>,
    /// Seconds until it is given up.
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
