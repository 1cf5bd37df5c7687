//! Backups: complete copies of a state in a folder or an object store, with a catalogue.
//!
//! A full backup begins a chain; incremental ones add to the newest chain the files that it does
//! not hold yet. Files are named by their content (`CHAIN/objects/ab/abcd…`), a record
//! (`CHAIN/backups/ID`) is written last, so what has no record never was a backup. With a key
//! everything but the chain's head is encrypted ([`seal`]).
//!
//! Not here: what the files mean and how they get here. Invariants: nothing is overwritten;
//! nothing is trusted that was not hashed while it was read; every fault names its file; a
//! record that can be read names only files that were stored before it.

mod record;
pub mod seal;
mod session;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::archive::Place;
use crate::error::{Error, Result};
use record::{FORMAT, Head};
use seal::{Key, Opening};

pub use record::{FileRecord, Kind, Origin, Record};
pub use session::Session;

/// The largest record or head that is read: a million files.
const RECORD_LIMIT: u64 = 512 * 1024 * 1024;

/// The operator's key. Prints nothing.
#[derive(Clone)]
pub struct OperatorKey(Zeroizing<[u8; 32]>);

impl OperatorKey {
    /// A key of these octets.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorKey(..)")
    }
}

/// A place with backups in it.
#[derive(Debug)]
pub struct Repository {
    place: Place,
    key: Option<OperatorKey>,
}

/// What the catalogue says of one backup.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The chain.
    pub chain: String,
    /// The backup.
    pub id: String,
    /// Its record; or why it cannot be restored, and which file is to blame.
    pub record: std::result::Result<Record, String>,
}

#[derive(Debug)]
struct Chain {
    id: String,
    key: Option<Key>,
}

impl Chain {
    fn object(&self, hash: &[u8; 32]) -> String {
        let name = hex(&self.key.as_ref().map_or(*hash, |key| key.name(hash)));
        let folder = name.get(..2).unwrap_or_default();
        format!("{}/objects/{folder}/{name}", self.id)
    }

    fn stored_octets(&self, plain: u64) -> u64 {
        if self.key.is_some() { seal::sealed_octets(plain) } else { plain }
    }
}

impl Repository {
    /// The backups in a place: a folder or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// `place_invalid`.
    pub fn open(to: &str, key: Option<OperatorKey>) -> Result<Self> {
        Ok(Self { place: Place::open(to)?, key })
    }

    /// Begins a backup under an id that sorts by time. Without a chain to add to (none, or its
    /// newest backup is not complete) an incremental one becomes a full one.
    ///
    /// # Errors
    /// `backup_exists`; `backup_key` when the newest chain has another key or none; the codes of
    /// the place.
    pub fn begin(&self, id: &str, kind: Kind) -> Result<Session<'_>> {
        let newest = match kind {
            Kind::Full => None,
            Kind::Incremental => self.newest_chain()?,
        };
        if let Some((chain, base)) = newest {
            let objects = self.place.list(&format!("{}/objects/", chain.id))?;
            return Ok(Session {
                repository: self,
                chain,
                id: id.to_owned(),
                kind: Kind::Incremental,
                base: Some(base),
                held: objects.into_iter().collect(),
                files: Vec::new(),
            });
        }
        Ok(Session {
            repository: self,
            chain: self.new_chain(id)?,
            id: id.to_owned(),
            kind: Kind::Full,
            base: None,
            held: BTreeMap::new(),
            files: Vec::new(),
        })
    }

    /// The newest chain and its newest backup, when that is complete.
    fn newest_chain(&self) -> Result<Option<(Chain, String)>> {
        let Some(last) = self.list()?.pop() else { return Ok(None) };
        let chain = self.chain(&last.chain)?;
        if chain.key.is_none() && self.key.is_some() {
            let text = "the newest chain is not encrypted; begin a new one with a full backup";
            return Err(Error::misuse("backup_key", text));
        }
        Ok(last.record.is_ok().then_some((chain, last.id)))
    }

    fn new_chain(&self, id: &str) -> Result<Chain> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)
            .map_err(|error| Error::misuse("no_random", error.to_string()))?;
        let key = self.key.as_ref().map(|key| Key::new(&key.0, &salt));
        let head = Head {
            format: FORMAT,
            chain: id.to_owned(),
            salt: hex(&salt),
            key_check: key.as_ref().map(|key| hex(&key.check())),
        };
        let name = format!("{id}/chain");
        match self.place.put_new(&name, &mut record::encode(&head).as_slice())? {
            crate::archive::Put::Stored => Ok(Chain { id: id.to_owned(), key }),
            crate::archive::Put::Existed => {
                let text = format!("{} is there already", self.place.full_name(&name));
                Err(Error::misuse("backup_exists", text))
            }
        }
    }

    /// Reads a chain's head and tries the key on it.
    fn chain(&self, id: &str) -> Result<Chain> {
        let name = format!("{id}/chain");
        let head: Head = record::decode(&self.small(&name)?)
            .map_err(|why| self.damaged(&name, "the head of a chain", why))?;
        if head.format != FORMAT || head.chain != id {
            let why = format!("it is of chain {}, format {}", head.chain, head.format);
            return Err(self.damaged(&name, "the head of a chain", why));
        }
        let Some(check) = head.key_check else {
            return Ok(Chain { id: id.to_owned(), key: None });
        };
        let salt = unhex(&head.salt)
            .ok_or_else(|| self.damaged(&name, "the head of a chain", "its salt is no salt"))?;
        let full = self.place.full_name(&name);
        let Some(key) = &self.key else {
            return Err(Error::misuse("backup_key", format!("{full}: it needs a key")));
        };
        let key = Key::new(&key.0, &salt);
        if hex(&key.check()) != check {
            return Err(Error::misuse("backup_key", format!("{full}: the key is another one")));
        }
        Ok(Chain { id: id.to_owned(), key: Some(key) })
    }

    /// Every backup that has a record, oldest first; each is complete, or says why it is not.
    /// Looks at names and sizes; [`Repository::verify`] reads every octet.
    ///
    /// # Errors
    /// The codes of the place. A faulty chain is listed, not an error.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let all: BTreeMap<String, u64> = self.place.list("")?.into_iter().collect();
        let mut listed = Vec::new();
        for name in all.keys() {
            let Some((chain, id)) = name.split_once("/backups/") else { continue };
            let record = self.listed(chain, id, &all).map_err(|error| error.report());
            listed.push(Listed { chain: chain.to_owned(), id: id.to_owned(), record });
        }
        listed.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(listed)
    }

    fn listed(&self, chain: &str, id: &str, all: &BTreeMap<String, u64>) -> Result<Record> {
        let chain = self.chain(chain)?;
        let record = self.record(&chain, id)?;
        for file in record.all() {
            let object = self.object(&chain, &record, file)?;
            let expect = chain.stored_octets(file.octets);
            match all.get(&object) {
                Some(octets) if *octets == expect => {}
                Some(octets) => {
                    let why = format!("{octets} octets of {expect} ({})", file.name);
                    return Err(self.damaged(&object, "a file of a backup", why));
                }
                None => {
                    let why = format!("it is missing ({})", file.name);
                    return Err(self.damaged(&object, "a file of a backup", why));
                }
            }
        }
        Ok(record)
    }

    fn object(&self, chain: &Chain, record: &Record, file: &FileRecord) -> Result<String> {
        let hash = unhex(&file.hash).ok_or_else(|| {
            let name = format!("{}/backups/{}", record.chain, record.id);
            self.damaged(&name, "a record", format!("{} has no hash", file.name))
        })?;
        Ok(chain.object(&hash))
    }

    fn record(&self, chain: &Chain, id: &str) -> Result<Record> {
        let name = format!("{}/backups/{id}", chain.id);
        let damaged = |why: String| self.damaged(&name, "a record", why);
        let octets = match &chain.key {
            None => self.small(&name)?,
            Some(key) => {
                let mut octets = Vec::new();
                let stored = self.place.get(&name)?.take(RECORD_LIMIT);
                let read = Opening::new(key, &name, Box::new(stored))
                    .and_then(|mut opening| opening.read_to_end(&mut octets));
                read.map_err(|error| self.read_fault(&name, "a record", error))?;
                octets
            }
        };
        let record: Record = record::decode(&octets).map_err(damaged)?;
        if (record.format, record.id.as_str(), record.chain.as_str()) != (FORMAT, id, &chain.id) {
            let why = format!("it is of backup {} of chain {}", record.id, record.chain);
            return Err(damaged(why));
        }
        Ok(record)
    }

    /// The record of a backup; the newest one when no id is given.
    ///
    /// # Errors
    /// `backup_unknown`; `backup_damaged` with the file to blame.
    pub fn find(&self, id: Option<&str>) -> Result<Record> {
        let listed = self.list()?;
        let found = match id {
            Some(id) => listed.into_iter().find(|listed| listed.id == id),
            None => listed.into_iter().next_back(),
        };
        let found = found.ok_or_else(|| {
            let what = id.map_or("no complete backup is here".to_owned(), |id| {
                format!("no complete backup {id} is here")
            });
            Error::misuse("backup_unknown", format!("{what}: {}", self.place.full_name("")))
        })?;
        match found.record {
            Ok(record) => Ok(record),
            // Once more, for the error itself and not only its text.
            Err(_) => {
                let all = self.place.list(&format!("{}/", found.chain))?.into_iter().collect();
                self.listed(&found.chain, &found.id, &all)
            }
        }
    }

    /// Reads every octet of a backup and compares it with what was recorded. `told` hears of
    /// every file that was found good.
    ///
    /// # Errors
    /// `backup_damaged` with the file to blame; `backup_key`; the codes of the place.
    pub fn verify(&self, record: &Record, told: &mut dyn FnMut(&FileRecord)) -> Result<()> {
        for file in record.all() {
            self.read(record, file, &mut |_| Ok(()))?;
            told(file);
        }
        Ok(())
    }

    /// Hands the plain octets of a file over, piece by piece. When it returns an error, what was
    /// handed over is not to be trusted.
    ///
    /// # Errors
    /// `backup_damaged` with the file to blame; `backup_key`; what `take` answers.
    pub fn read(
        &self,
        record: &Record,
        file: &FileRecord,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let chain = self.chain(&record.chain)?;
        let object = self.object(&chain, record, file)?;
        let what = "a file of a backup";
        let stored = self.place.get(&object).map_err(|error| match error.code() {
            "not_found" => self.damaged(&object, what, format!("it is missing ({})", file.name)),
            _ => error,
        })?;
        let fault = |error| self.read_fault(&object, what, error);
        let mut plain: Box<dyn Read + '_> = match &chain.key {
            Some(key) => Box::new(Opening::new(key, &object, stored).map_err(fault)?),
            None => stored,
        };
        let (mut hasher, mut octets) = (blake3::Hasher::new(), 0);
        let mut piece = vec![0; seal::PIECE];
        loop {
            let count = plain.read(&mut piece).map_err(fault)?;
            let got = piece.get(..count).unwrap_or_default();
            octets += count as u64;
            if count == 0 || octets > file.octets {
                break;
            }
            hasher.update(got);
            take(got)?;
        }
        if octets != file.octets || hex(hasher.finalize().as_bytes()) != file.hash {
            let why = format!("its octets are not those that were stored ({})", file.name);
            return Err(self.damaged(&object, what, why));
        }
        Ok(())
    }

    /// The octets of a backup's manifest.
    ///
    /// # Errors
    /// Those of [`Repository::read`].
    pub fn manifest(&self, record: &Record) -> Result<Vec<u8>> {
        let mut octets = Vec::new();
        self.read(record, &record.manifest, &mut |piece| {
            octets.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(octets)
    }

    /// Removes all but the newest `keep` chains that hold a complete backup; answers what went.
    /// A chain without one that is older than all kept ones goes too.
    ///
    /// # Errors
    /// `backup_keep` for 0; the codes of the place.
    pub fn prune(&self, keep: usize) -> Result<Vec<String>> {
        if keep == 0 {
            return Err(Error::misuse("backup_keep", "at least one full backup is kept"));
        }
        let listed = self.list()?;
        let mut good: Vec<&str> = Vec::new();
        for listed in listed.iter().filter(|listed| listed.record.is_ok()) {
            if !good.contains(&listed.chain.as_str()) {
                good.push(&listed.chain);
            }
        }
        good.sort_unstable();
        let Some(oldest) = good.len().checked_sub(keep).and_then(|at| good.get(at)) else {
            return Ok(Vec::new());
        };
        let mut gone = Vec::new();
        let all = self.place.list("")?;
        // Records first: what is half removed must not look like a backup.
        let records = all.iter().filter(|(name, _)| name.contains("/backups/"));
        let others = all.iter().filter(|(name, _)| !name.contains("/backups/"));
        for (name, _) in records.chain(others) {
            let Some((chain, _)) = name.split_once('/') else { continue };
            if chain < *oldest && self.place_is_chain(name) {
                self.place.remove(name)?;
                if gone.last().is_none_or(|last| last != chain) {
                    gone.push(chain.to_owned());
                }
            }
        }
        gone.sort();
        gone.dedup();
        Ok(gone)
    }

    /// Whether a name is one that we give: nothing else in the place is ours to remove.
    fn place_is_chain(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        matches!(parts.as_slice(), [_, "chain"] | [_, "backups", _] | [_, "objects", _, _])
    }

    fn small(&self, name: &str) -> Result<Vec<u8>> {
        let mut octets = Vec::new();
        let read = self.place.get(name)?.take(RECORD_LIMIT).read_to_end(&mut octets);
        read.map_err(|error| self.read_fault(name, "a file of the catalogue", error))?;
        Ok(octets)
    }

    fn read_fault(&self, name: &str, what: &'static str, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::InvalidData && error.get_ref().is_some() {
            return self.damaged(name, what, error.to_string());
        }
        Error::source_of(error, Path::new(&self.place.full_name(name)))
    }

    fn damaged(&self, name: &str, what: &'static str, why: impl Into<String>) -> Error {
        Error::damaged("backup_damaged", what, Path::new(&self.place.full_name(name)), why)
    }
}

/// Octets as hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// 32 octets of 64 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut octets = [0; 32];
    for (at, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests;
