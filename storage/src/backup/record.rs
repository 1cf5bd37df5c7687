//! What stands in the catalogue: one record a backup, one head a chain.
//!
//! Both are JSON with the blake3 of the text behind it, so that a damaged one is told from a
//! whole one also where nothing is encrypted; a record of an encrypted chain is sealed besides.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::hex;

/// Version of both forms.
pub const FORMAT: u16 = 1;

/// Whether a backup stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Begins a chain; every file is its own.
    Full,
    /// Adds what the chain does not hold yet.
    Incremental,
}

/// The head of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u16,
    /// The chain: id of its full backup.
    pub chain: String,
    /// 32 random octets in hex.
    pub salt: String,
    /// Tells the right key from a wrong one; none: the chain is not encrypted.
    pub key_check: Option<String>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Name in the snapshot.
    pub name: String,
    /// Plain octets.
    pub octets: u64,
    /// blake3 of the plain octets, hex.
    pub hash: String,
    /// True when this backup brought it into the chain.
    pub new: bool,
}

/// What the caller says of the cluster that was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// When it was taken, RFC 3339.
    pub created: String,
    /// The same, Unix time in seconds.
    pub created_s: i64,
    /// Index of the last entry of the log that it holds.
    pub index: u64,
    /// The cluster's stamp at that entry, microseconds since the epoch.
    pub stamp_micros: u64,
    /// State hash at that entry, hex.
    pub state_hash: String,
    /// Node that was asked.
    pub node: String,
    /// DLMS client system titles known to be in use then, hex.
    pub client_titles: Vec<String>,
    /// Program that took it.
    pub program: String,
}

/// A complete backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u16,
    /// Names the backup, in order of time.
    pub id: String,
    /// The chain that it belongs to.
    pub chain: String,
    /// Whether it begins the chain.
    pub kind: Kind,
    /// The backup before it in the chain.
    pub base: Option<String>,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The snapshot's manifest, itself a file of the chain.
    pub manifest: FileRecord,
    /// All other files, in the manifest's order.
    pub files: Vec<FileRecord>,
}

impl Record {
    /// Manifest and files.
    pub fn all(&self) -> impl Iterator<Item = &FileRecord> {
        std::iter::once(&self.manifest).chain(&self.files)
    }

    /// Plain octets of all files.
    pub fn octets(&self) -> u64 {
        self.all().map(|file| file.octets).sum()
    }

    /// Plain octets that this backup added to its chain.
    pub fn new_octets(&self) -> u64 {
        self.all().filter(|file| file.new).map(|file| file.octets).sum()
    }
}

/// A record or head as octets: JSON, then the hash of it.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("plain structs always encode");
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{text}\nblake3 {hash}\n").into_bytes()
}

/// Reads octets back; what is wrong with them when they are not whole.
pub fn decode<T: DeserializeOwned>(octets: &[u8]) -> std::result::Result<T, String> {
    let text = std::str::from_utf8(octets).map_err(|_| "it is not text".to_owned())?;
    let (body, hash) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once("\nblake3 "))
        .ok_or("it is cut, or its hash is missing")?;
    if hex(blake3::hash(body.as_bytes()).as_bytes()) != hash {
        return Err("its hash is wrong".to_owned());
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}
