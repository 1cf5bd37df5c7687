//! The verbs of `holdfast registry` and `holdfast search`, and what they take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::super::ClusterArgs;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Medium-voltage lines.
    Feeders,
    /// Distribution transformers.
    Transformers,
    /// Places of supply.
    Points,
    /// Who is supplied.
    Customers,
    /// Who is supplied where.
    Contracts,
    /// Meters at points.
    Installations,
    /// Things of the warehouse.
    Items,
}

/// As of when, and how a list is cut.
#[derive(Args, Clone)]
pub struct At {
    /// As it was at this time (RFC 3339) or day; now when left out.
    #[arg(long)]
    pub at: Option<String>,
    /// The most items.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// When a change counts from, and why.
#[derive(Args, Clone)]
pub struct When {
    /// From when on (RFC 3339 or a day); now when left out.
    #[arg(long)]
    pub from: Option<String>,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// Verbs of the registry.
#[derive(Subcommand)]
pub enum RegistryCommand {
    /// List objects of a kind.
    List {
        /// What.
        kind: Kind,
        /// As of when.
        #[command(flatten)]
        at: At,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one with its history.
    Show {
        /// What.
        kind: Kind,
        /// Its number.
        number: String,
        /// As of when.
        #[command(flatten)]
        at: At,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List what hangs on one: points of a transformer, contracts of a customer.
    Below {
        /// What.
        kind: Kind,
        /// Its number.
        number: String,
        /// What of it.
        of: Kind,
        /// As of when.
        #[command(flatten)]
        at: At,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Say what one is: region=1 name='Quay 1' and so on, all of its facts.
    Set {
        /// What.
        kind: Kind,
        /// Its number.
        number: String,
        /// Its facts.
        #[arg(value_name = "NAME=VALUE")]
        facts: Vec<String>,
        /// From when on, and why.
        #[command(flatten)]
        when: When,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Close one; nothing may hang on it.
    Close {
        /// What.
        kind: Kind,
        /// Its number.
        number: String,
        /// From when on, and why.
        #[command(flatten)]
        when: When,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Build a registered meter in at a point.
    Install {
        /// The point's number.
        point: String,
        /// The meter's serial.
        meter: String,
        /// What its register of imported energy shows, Wh.
        #[arg(long)]
        import_wh: Option<i64>,
        /// From when on, and why.
        #[command(flatten)]
        when: When,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Take a meter out of a point.
    Remove {
        /// The point's number.
        point: String,
        /// The meter's serial.
        meter: String,
        /// What its register of imported energy shows, Wh.
        #[arg(long)]
        import_wh: Option<i64>,
        /// From when on, and why.
        #[command(flatten)]
        when: When,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Exchange the meter of a point for another, at one time.
    Exchange {
        /// The point's number.
        point: String,
        /// Serial of the meter that is there.
        old: String,
        /// Serial of the meter that comes.
        new: String,
        /// What the old one's register of imported energy shows at last, Wh.
        #[arg(long)]
        last_wh: Option<i64>,
        /// What the new one's shows at first, Wh.
        #[arg(long)]
        first_wh: Option<i64>,
        /// From when on, and why.
        #[command(flatten)]
        when: When,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Load a CSV file; rows that are refused are listed, the others are in.
    Import {
        /// What.
        kind: Kind,
        /// The file; its head names the columns.
        file: PathBuf,
        /// Judge every row and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Write all of a kind as CSV, as `import` reads it.
    Export {
        /// What.
        kind: Kind,
        /// As of when; the limit is not heeded.
        #[command(flatten)]
        at: At,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List what does not fit together, with what mends it; exit 1 if there is anything.
    Check {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// What `search` takes.
#[derive(Args)]
pub struct SearchArgs {
    /// Part of a name, an address, a number or a telephone, in any alphabet; several words must
    /// all be found.
    #[arg(required = true)]
    pub words: Vec<String>,
    /// The most hits.
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl RegistryCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::List { cluster, .. }
            | Self::Show { cluster, .. }
            | Self::Below { cluster, .. }
            | Self::Set { cluster, .. }
            | Self::Close { cluster, .. }
            | Self::Install { cluster, .. }
            | Self::Remove { cluster, .. }
            | Self::Exchange { cluster, .. }
            | Self::Import { cluster, .. }
            | Self::Export { cluster, .. }
            | Self::Check { cluster } => cluster,
        }
    }
}

impl Kind {
    /// The word of its paths.
    pub fn word(self) -> &'static str {
        match self {
            Self::Feeders => "feeders",
            Self::Transformers => "transformers",
            Self::Points => "points",
            Self::Customers => "customers",
            Self::Contracts => "contracts",
            Self::Installations => "installations",
            Self::Items => "items",
        }
    }

    /// Which of the two routes changes it.
    pub fn side(self) -> &'static str {
        match self {
            Self::Customers | Self::Contracts => "people",
            _ => "network",
        }
    }

    /// Columns of its file, the number first.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Feeders => &["number", "name", "region", "volts", "substation"],
            Self::Transformers => &["number", "name", "region", "feeder", "rating_va"],
            Self::Points => &["number", "region", "address", "transformer", "phases", "purpose"],
            Self::Customers => &["number", "name", "region", "phone", "email", "class", "language"],
            Self::Contracts => &["number", "point", "customer", "tariff"],
            Self::Installations => &["meter", "point"],
            Self::Items => &["number", "category", "maker", "state", "region", "model", "place"],
        }
    }
}
