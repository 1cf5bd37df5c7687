//! What `meter read` takes.

use clap::Args;

use super::ClusterArgs;

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
