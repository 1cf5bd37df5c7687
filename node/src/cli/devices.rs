//! What can be said of concentrators, meters and commands; `verbs` does it.

use std::path::PathBuf;

use clap::Subcommand;

use super::{ClusterArgs, ListArgs, add, live, meters, orders, values};

/// Verbs of concentrators.
#[derive(Subcommand)]
pub enum ConcentratorCommand {
    /// Register one; its keys come from files that hold hex.
    Add {
        /// Logical device name.
        id: String,
        /// System title, 16 hex digits.
        #[arg(long)]
        system_title: String,
        /// What people call it.
        #[arg(long, default_value = "")]
        name: String,
        /// File of the global unicast encryption key.
        #[arg(long, value_name = "FILE")]
        guek_file: PathBuf,
        /// File of the global authentication key.
        #[arg(long, value_name = "FILE")]
        gak_file: PathBuf,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Register many from CSV: id,system_title,name,guek,gak.
    Import {
        /// The file; its first line names the columns.
        file: PathBuf,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List them with their channels.
    List {
        /// How the list is cut.
        #[command(flatten)]
        list: ListArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one.
    Show {
        /// Logical device name.
        id: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show its channels: the active one, standbys, the one of the asked node, and the last grants.
    Channels {
        /// Logical device name.
        id: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Restart it, and wait until it says that it did.
    Restart {
        /// Logical device name.
        id: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Seconds until it is not sent any more.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Switch the active channel to a standby, and wait until it is so.
    Switch {
        /// Logical device name.
        id: String,
        /// Name or number of the node; the standby that stands longest when left out.
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// Verbs of meters.
#[derive(Subcommand)]
pub enum MeterCommand {
    /// Register one at its own address, or behind a concentrator.
    Add(Box<add::MeterAdd>),
    /// Register many from CSV: serial and any of the options of `meter add`, with _ for -, and
    /// keys as hex where that has files (docs/reference/access.md).
    Import {
        /// The file; its first line names the columns.
        file: PathBuf,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List them.
    List {
        /// Only meters behind this concentrator.
        #[arg(long)]
        concentrator: Option<String>,
        /// How the list is cut.
        #[command(flatten)]
        list: ListArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one with its channel and stored series.
    Show {
        /// Its serial.
        serial: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Read from the device now; never a stored value.
    Read(meters::MeterRead),
    /// Look at it live: voltage, current, power, switch, read again and again.
    Live(live::MeterLive),
    /// Open or close the supply switch and read its state back.
    Switch(orders::MeterSwitch),
    /// Measure the clock's offset and bring the clock to the cluster's time.
    Clock(orders::MeterClock),
    /// Write an attribute and read it back.
    Write(orders::MeterWrite),
    /// Stored values.
    Readings(values::MeterReadings),
    /// Sums over local hours, days or months.
    Sums(values::MeterSums),
    /// The newest value of each register.
    Latest(values::MeterLatest),
    /// Put values beside what was measured; nothing measured is changed.
    Correct(values::MeterCorrect),
}

/// Verbs of commands.
#[derive(Subcommand)]
pub enum CommandCommand {
    /// Show one.
    Show {
        /// Its id.
        id: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List the newest.
    List {
        /// How the list is cut.
        #[command(flatten)]
        list: ListArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

impl ConcentratorCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::Add { cluster, .. }
            | Self::Import { cluster, .. }
            | Self::List { cluster, .. }
            | Self::Show { cluster, .. }
            | Self::Channels { cluster, .. }
            | Self::Restart { cluster, .. }
            | Self::Switch { cluster, .. } => cluster,
        }
    }
}

impl MeterCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::Add(args) => &args.cluster,
            Self::Read(args) => &args.cluster,
            Self::Live(args) => &args.cluster,
            Self::Switch(args) => &args.cluster,
            Self::Clock(args) => &args.cluster,
            Self::Write(args) => &args.cluster,
            Self::Readings(args) => &args.cluster,
            Self::Sums(args) => &args.cluster,
            Self::Latest(args) => &args.cluster,
            Self::Correct(args) => &args.cluster,
            Self::Import { cluster, .. }
            | Self::List { cluster, .. }
            | Self::Show { cluster, .. } => cluster,
        }
    }
}

impl CommandCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::Show { cluster, .. } | Self::List { cluster, .. } => cluster,
        }
    }
}
