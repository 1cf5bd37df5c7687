//! Octets on disk: the log, the tables, the segments of values, and snapshots of all of it.
//!
//! This crate knows nothing of meters, of Raft's rules or of what the octets mean.
//!
//! * [`log`]: an append-only, synced log; what it acknowledged survives a power cut.
//! * [`tables`]: sled or fjall, as state that can always be rebuilt; never the only copy.
//! * [`segment`]: interval values: open days in memory, sealed days as plain Parquet files.
//! * [`snapshot`]: a manifest of immutable, hashed files, made, sent in pieces and installed.
//! * [`backup`]: a catalogue of full and incremental copies in a folder or an object store.
//! * [`Store`]: all of it, opened from one data directory under one lock.
//!
//! Invariants: what is acknowledged is synced; a fault of the disk is sticky and told, never
//! retried in silence; every file is written under a temporary name, synced, then renamed; the
//! newest complete snapshot plus the log after it always rebuild everything else.

pub mod archive;
pub mod backup;
pub mod config;
pub mod error;
pub mod file;
pub mod log;
pub mod metrics;
pub mod segment;
pub mod snapshot;
pub mod space;
pub mod store;
pub mod tables;

pub use config::Config;
pub use error::{Error, Result};
pub use log::{Log, Record};
pub use metrics::Metrics;
pub use segment::Segments;
pub use snapshot::Snapshots;
pub use space::Space;
pub use store::{Opening, Store};
pub use tables::{Backend, Put, Tables};
