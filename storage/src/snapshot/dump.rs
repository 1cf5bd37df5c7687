//! The dump of the tables as a file: checked, compressed blocks of keys and values in order.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::file;
use crate::tables::{FrozenTables, Load};

const MAGIC: [u8; 8] = *b"HFDUMP\x00\x01";
/// Octets of keys and values of one block.
const BLOCK_OCTETS: usize = 128 * 1024;
/// No block is longer, packed or not; more is damage.
const BLOCK_LIMIT: u32 = 64 * 1024 * 1024;

type Triple = (u8, Vec<u8>, Vec<u8>);

/// Writes what was frozen; the file is synced, its folder is not.
pub fn write(frozen: FrozenTables, path: &Path) -> Result<()> {
    let mut out = BufWriter::new(file::create(path)?);
    out.write_all(&MAGIC).map_err(Error::io("write", path))?;
    let mut block: Vec<Triple> = Vec::new();
    let mut octets = 0;
    frozen.visit(&mut |table, key, value| {
        octets += key.len() + value.len() + 8;
        block.push((table, key.to_vec(), value.to_vec()));
        if octets < BLOCK_OCTETS {
            return Ok(());
        }
        octets = 0;
        put_block(&mut out, &std::mem::take(&mut block), path)
    })?;
    if !block.is_empty() {
        put_block(&mut out, &block, path)?;
    }
    // An empty block is the end: a cut file is seen even where its hash is not at hand.
    put_block(&mut out, &[], path)?;
    let handle = out.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
    handle.sync_all().map_err(Error::io("sync", path))
}

fn put_block(out: &mut BufWriter<File>, block: &[Triple], path: &Path) -> Result<()> {
    let octets = postcard::to_stdvec(block)
        .map_err(|error| Error::misuse("dump_invalid", error.to_string()))?;
    let packed = lz4_flex::block::compress_prepend_size(&octets);
    let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    if length > BLOCK_LIMIT || octets.len() > BLOCK_LIMIT as usize {
        return Err(Error::misuse("dump_invalid", "one value above 64 MiB"));
    }
    let parts: [&[u8]; 3] =
        [&length.to_le_bytes(), &crc32c::crc32c(&packed).to_le_bytes(), &packed];
    parts.iter().try_for_each(|part| out.write_all(part)).map_err(Error::io("write", path))
}

/// Loads a file into emptied tables.
///
/// # Errors
/// `dump_damaged`; the codes of the disk; `tables_fault`.
pub fn load(path: &Path, into: &mut Load<'_>) -> Result<()> {
    let damaged = |detail: &str| Error::damaged("dump_damaged", "a dump", path, detail);
    let mut from = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
    let mut magic = [0; 8];
    from.read_exact(&mut magic).map_err(|_| damaged("it is cut"))?;
    if magic != MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    loop {
        let (mut length, mut crc) = ([0; 4], [0; 4]);
        from.read_exact(&mut length).map_err(|_| damaged("it is cut"))?;
        from.read_exact(&mut crc).map_err(|_| damaged("it is cut"))?;
        let length = u32::from_le_bytes(length);
        if length > BLOCK_LIMIT {
            return Err(damaged("a block is too long"));
        }
        let mut packed = vec![0; length as usize];
        from.read_exact(&mut packed).map_err(|_| damaged("it is cut"))?;
        if crc32c::crc32c(&packed) != u32::from_le_bytes(crc) {
            return Err(damaged("a checksum is wrong"));
        }
        let block = unpack(&packed).ok_or_else(|| damaged("a block cannot be read"))?;
        if block.is_empty() {
            return Ok(());
        }
        for (table, key, value) in &block {
            into.put(*table, key, value)?;
        }
    }
}

fn unpack(packed: &[u8]) -> Option<Vec<Triple>> {
    let size = packed.first_chunk::<4>().map(|four| u32::from_le_bytes(*four))?;
    if size > BLOCK_LIMIT {
        return None;
    }
    let octets = lz4_flex::block::decompress_size_prepended(packed).ok()?;
    postcard::from_bytes(&octets).ok()
}
