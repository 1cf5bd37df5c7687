//! A backup that is being written, file by file; in the catalogue when it is finished.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::record::{self, FORMAT};
use super::seal::Sealing;
use super::{Chain, FileRecord, Kind, Origin, Record, Repository, hex};
use crate::archive::Put;
use crate::error::{Error, Result};

/// Name of a manifest among the files of a backup.
const MANIFEST: &str = "manifest";

/// A backup that is being written.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) repository: &'a Repository,
    pub(super) chain: Chain,
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) base: Option<String>,
    /// Names and sizes of the chain's objects.
    pub(super) held: BTreeMap<String, u64>,
    pub(super) files: Vec<FileRecord>,
}

impl Session<'_> {
    /// Full, or incremental with a chain to add to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Adds a file; its source is only asked when the chain does not hold the content yet. True:
    /// it was stored now.
    ///
    /// # Errors
    /// `backup_source` when the source gave other octets; the codes of the place; what the source
    /// answers.
    pub fn add(
        &mut self,
        name: &str,
        octets: u64,
        hash: &[u8; 32],
        source: impl FnOnce() -> Result<Box<dyn Read>>,
    ) -> Result<bool> {
        let object = self.chain.object(hash);
        let held = self.held.get(&object) == Some(&self.chain.stored_octets(octets));
        if !held {
            let mut counted =
                Counted { source: source()?, hasher: blake3::Hasher::new(), octets: 0 };
            let place = &self.repository.place;
            // What a broken try left under this name is worth nothing.
            place.remove(&object)?;
            match &self.chain.key {
                Some(key) => {
                    place.put_new(&object, &mut Sealing::new(key, &object, &mut counted)?)?
                }
                None => place.put_new(&object, &mut counted)?,
            };
            if (counted.octets, counted.hasher.finalize().as_bytes()) != (octets, hash) {
                place.remove(&object)?;
                let text = format!("{name} is not what it was said to be");
                return Err(Error::misuse("backup_source", text));
            }
            self.held.insert(object, self.chain.stored_octets(octets));
        }
        let (name, hash) = (name.to_owned(), hex(hash));
        self.files.push(FileRecord { name, octets, hash, new: !held });
        Ok(!held)
    }

    /// Ends the backup with the snapshot's manifest: from here on it is in the catalogue.
    ///
    /// # Errors
    /// `backup_exists`; the codes of the place.
    pub fn finish(mut self, manifest: &[u8], origin: Origin) -> Result<Record> {
        let octets = manifest.to_vec();
        let hash = *blake3::hash(manifest).as_bytes();
        let source = move || Ok(Box::new(io::Cursor::new(octets)) as Box<dyn Read>);
        self.add(MANIFEST, manifest.len() as u64, &hash, source)?;
        let manifest = self.files.pop().ok_or(Error::Stopped("the backup"))?;
        let record = Record {
            format: FORMAT,
            id: self.id,
            chain: self.chain.id.clone(),
            kind: self.kind,
            base: self.base,
            origin,
            manifest,
            files: self.files,
        };
        let name = format!("{}/backups/{}", record.chain, record.id);
        let encoded = record::encode(&record);
        let mut plain = encoded.as_slice();
        let place = &self.repository.place;
        let put = match &self.chain.key {
            Some(key) => place.put_new(&name, &mut Sealing::new(key, &name, &mut plain)?)?,
            None => place.put_new(&name, &mut plain)?,
        };
        match put {
            Put::Stored => Ok(record),
            Put::Existed => {
                let text = format!("{} is there already", place.full_name(&name));
                Err(Error::misuse("backup_exists", text))
            }
        }
    }
}

/// A source whose octets are hashed as they pass.
struct Counted {
    source: Box<dyn Read>,
    hasher: blake3::Hasher,
    octets: u64,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.hasher.update(into.get(..count).unwrap_or_default());
        self.octets += count as u64;
        Ok(count)
    }
}
