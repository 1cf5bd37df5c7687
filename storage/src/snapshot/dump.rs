//! The tables of a snapshot as files, its parts: one of all keys, then any number with the keys
//! that were written later. Each is checked, compressed blocks of keys and values in order.
//!
//! Invariant: of a key that stands in several parts the last one counts; a part of changes says
//! of a key that it is gone by giving it no value.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::file;
use crate::tables::{Delta, FrozenTables, Visit};

/// A part of all keys.
const MAGIC_ALL: [u8; 8] = *b"HFDUMP\x00\x01";
/// A part of changes.
const MAGIC_CHANGES: [u8; 8] = *b"HFDUMP\x00\x02";
/// Octets of keys and values of one block.
const BLOCK_OCTETS: usize = 128 * 1024;
/// No block is longer, packed or not; more is damage.
const BLOCK_LIMIT: u32 = 64 * 1024 * 1024;

/// Table, key, value.
type Triple = (u8, Vec<u8>, Vec<u8>);
/// Table, key, new value; none: the key is gone.
type Change = (u8, Vec<u8>, Option<Vec<u8>>);

/// Writes all keys as of a freeze; the file is synced, its folder is not.
pub fn write(frozen: FrozenTables, path: &Path) -> Result<()> {
    let mut out = Out::create(path, MAGIC_ALL)?;
    frozen.visit(&mut |table, key, value| out.put_all(table, key, value))?;
    out.finish()
}

/// Writes changes; the file is synced, its folder is not.
pub fn write_changes(delta: Delta, path: &Path) -> Result<()> {
    let mut out = Out::create(path, MAGIC_CHANGES)?;
    for (key, value) in delta {
        let (table, key) = key.split_first().unwrap_or((&0, &[]));
        let octets = key.len() + value.as_ref().map_or(0, Vec::len);
        out.put((*table, key.to_vec(), value), octets)?;
    }
    out.finish()
}

/// Makes one part of all keys out of parts, without a look at the tables.
///
/// # Errors
/// `dump_damaged`; the codes of the disk.
pub fn fold(parts: &[PathBuf], path: &Path) -> Result<()> {
    let mut out = Out::create(path, MAGIC_ALL)?;
    visit(parts, &mut |table, key, value| out.put_all(table, key, value))?;
    out.finish()
}

/// A part that is being written; `T` is what its blocks are made of.
struct Out<'a, T> {
    path: &'a Path,
    out: BufWriter<File>,
    block: Vec<T>,
    octets: usize,
}

impl<'a, T: Serialize> Out<'a, T> {
    fn create(path: &'a Path, magic: [u8; 8]) -> Result<Self> {
        let mut out = BufWriter::new(file::create(path)?);
        out.write_all(&magic).map_err(Error::io("write", path))?;
        Ok(Self { path, out, block: Vec::new(), octets: 0 })
    }

    fn put(&mut self, item: T, octets: usize) -> Result<()> {
        self.block.push(item);
        self.octets += octets + 8;
        if self.octets < BLOCK_OCTETS { Ok(()) } else { self.put_block() }
    }

    fn put_block(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        self.octets = 0;
        let octets = postcard::to_stdvec(&block)
            .map_err(|error| Error::misuse("dump_invalid", error.to_string()))?;
        let packed = lz4_flex::block::compress_prepend_size(&octets);
        let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        if length > BLOCK_LIMIT || octets.len() > BLOCK_LIMIT as usize {
            return Err(Error::misuse("dump_invalid", "one value above 64 MiB"));
        }
        let parts: [&[u8]; 3] =
            [&length.to_le_bytes(), &crc32c::crc32c(&packed).to_le_bytes(), &packed];
        let written = parts.iter().try_for_each(|part| self.out.write_all(part));
        written.map_err(Error::io("write", self.path))
    }

    fn finish(mut self) -> Result<()> {
        if !self.block.is_empty() {
            self.put_block()?;
        }
        // An empty block is the end: a cut file is seen even where its hash is not at hand.
        self.put_block()?;
        let Self { out, path, .. } = self;
        let handle =
            out.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
        handle.sync_all().map_err(Error::io("sync", path))
    }
}

impl Out<'_, Triple> {
    fn put_all(&mut self, table: u8, key: &[u8], value: &[u8]) -> Result<()> {
        self.put((table, key.to_vec(), value.to_vec()), key.len() + value.len())
    }
}

/// Visits every table, key and value in order, as the parts together have them.
///
/// # Errors
/// `dump_damaged`; the codes of the disk; what the visitor answers.
pub fn visit(parts: &[PathBuf], visit: &mut Visit<'_>) -> Result<()> {
    let mut parts = parts.iter().map(|path| Part::open(path)).collect::<Result<Vec<_>>>()?;
    loop {
        let heads = parts.iter().enumerate().filter_map(|(at, part)| Some((at, part.place()?)));
        // Of equal keys the last part's.
        let next = heads.min_by(|(at, one), (later, other)| one.cmp(other).then(later.cmp(at)));
        let Some(part) = next.map(|(at, _)| at).and_then(|at| parts.get_mut(at)) else {
            return Ok(());
        };
        let Some((table, key, value)) = part.next()? else { continue };
        for part in &mut parts {
            if part.place() == Some((table, key.as_slice())) {
                part.next()?;
            }
        }
        if let Some(value) = value {
            visit(table, &key, &value)?;
        }
    }
}

/// A part that is being read.
struct Part<'a> {
    path: &'a Path,
    from: BufReader<File>,
    all: bool,
    block: std::vec::IntoIter<Change>,
    /// The next one; none at the end.
    head: Option<Change>,
}

impl<'a> Part<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let mut from = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
        let mut magic = [0; 8];
        from.read_exact(&mut magic).map_err(|_| damaged(path, "it is cut"))?;
        if magic != MAGIC_ALL && magic != MAGIC_CHANGES {
            return Err(damaged(path, "it does not begin as one"));
        }
        let (all, block) = (magic == MAGIC_ALL, Vec::new().into_iter());
        let mut part = Self { path, from, all, block, head: None };
        part.next()?;
        Ok(part)
    }

    fn place(&self) -> Option<(u8, &[u8])> {
        self.head.as_ref().map(|(table, key, _)| (*table, key.as_slice()))
    }

    /// Takes the head; the one after it becomes the head.
    fn next(&mut self) -> Result<Option<Change>> {
        let mut after = self.block.next();
        if after.is_none() {
            self.block = self.read_block()?.into_iter();
            after = self.block.next();
        }
        Ok(std::mem::replace(&mut self.head, after))
    }

    /// The next block; an empty one is the end, after which there is no head to take.
    fn read_block(&mut self) -> Result<Vec<Change>> {
        let path = self.path;
        let cut = |_| damaged(path, "it is cut");
        let (mut length, mut crc) = ([0; 4], [0; 4]);
        self.from.read_exact(&mut length).map_err(cut)?;
        self.from.read_exact(&mut crc).map_err(cut)?;
        let length = u32::from_le_bytes(length);
        if length > BLOCK_LIMIT {
            return Err(damaged(path, "a block is too long"));
        }
        let mut packed = vec![0; length as usize];
        self.from.read_exact(&mut packed).map_err(cut)?;
        if crc32c::crc32c(&packed) != u32::from_le_bytes(crc) {
            return Err(damaged(path, "a checksum is wrong"));
        }
        let block = if self.all {
            let block = unpack::<Triple>(&packed);
            block.map(|all| all.into_iter().map(|(t, key, value)| (t, key, Some(value))).collect())
        } else {
            unpack::<Change>(&packed)
        };
        block.ok_or_else(|| damaged(path, "a block cannot be read"))
    }
}

fn damaged(path: &Path, detail: &str) -> Error {
    Error::damaged("dump_damaged", "a dump", path, detail)
}

fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Option<Vec<T>> {
    let size = packed.first_chunk::<4>().map(|four| u32::from_le_bytes(*four))?;
    if size > BLOCK_LIMIT {
        return None;
    }
    let octets = lz4_flex::block::decompress_size_prepended(packed).ok()?;
    postcard::from_bytes(&octets).ok()
}
