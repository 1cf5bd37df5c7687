//! Encryption of a backup's files: AES-256-GCM in pieces, a key of its own for every file.
//!
//! A sealed file is a head (magic, 32 random octets) and pieces of 64 KiB, each with its tag of
//! 16 octets. The file's key comes from the chain's key and the random octets, so that no key
//! meets a nonce twice, however often a file is written. The nonce is the piece's number and
//! whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár), and
//! the file's name is authenticated with every piece: pieces and files cannot be cut off,
//! swapped, moved or mixed without being found. Memory is bounded by one piece.

use std::io::{self, Read};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"HFSEAL\x00\x01";
const HEAD: usize = 8 + 32;
/// Plain octets of a piece.
pub const PIECE: usize = 64 * 1024;
const TAG: usize = 16;

/// The key of a chain of backups. Prints nothing.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key of a chain, from the operator's key and the chain's salt.
    pub fn new(operators: &[u8; 32], salt: &[u8; 32]) -> Self {
        Self(derive("holdfast 2026 backup chain", operators, salt))
    }

    /// Octets that tell whether a key is the right one, and nothing more.
    pub fn check(&self) -> [u8; 16] {
        let derived = derive("holdfast 2026 backup key check", &self.0, &[0; 32]);
        let mut check = [0; 16];
        check.copy_from_slice(derived.get(..16).unwrap_or_default());
        check
    }

    /// The name of a file's content: keyed, so that a name does not tell what is stored.
    pub fn name(&self, hash: &[u8; 32]) -> [u8; 32] {
        *derive("holdfast 2026 backup object name", &self.0, hash)
    }

    fn cipher(&self, id: &[u8; 32]) -> Aes256Gcm {
        let key = derive("holdfast 2026 backup object", &self.0, id);
        Aes256Gcm::new((&*key).into())
    }
}

fn derive(context: &str, secret: &[u8; 32], more: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut material = Zeroizing::new([0; 64]);
    let (left, right) = material.split_at_mut(32);
    left.copy_from_slice(secret);
    right.copy_from_slice(more);
    Zeroizing::new(blake3::derive_key(context, material.as_slice()))
}

/// Octets of a sealed file of so many plain ones.
pub fn sealed_octets(plain: u64) -> u64 {
    let pieces = plain.div_ceil(PIECE as u64).max(1);
    HEAD as u64 + plain + pieces * TAG as u64
}

/// The number of a piece and whether it is the last, as a nonce.
fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (count, flag) = nonce.split_at_mut(8);
    count.copy_from_slice(&number.to_be_bytes());
    if last && let Some(first) = flag.first_mut() {
        *first = 1;
    }
    nonce
}

/// Reads sealed octets of a plain source.
pub struct Sealing<'a> {
    source: &'a mut dyn Read,
    cipher: Aes256Gcm,
    name: &'a str,
    pieces: u64,
    /// The piece that was read ahead, to know which one is the last.
    ahead: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    done: bool,
}

impl<'a> Sealing<'a> {
    /// Seals what `source` gives, as the file `name`.
    ///
    /// # Errors
    /// `no_random`; what the source answers.
    pub fn new(key: &Key, name: &'a str, source: &'a mut dyn Read) -> Result<Self> {
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(|error| Error::misuse("no_random", error.to_string()))?;
        let ahead = fill(source, PIECE)
            .map_err(|error| Error::source_of(error, std::path::Path::new(name)))?;
        let ready = [&MAGIC[..], &id].concat();
        let cipher = key.cipher(&id);
        Ok(Self { source, cipher, name, pieces: 0, ahead, ready, at: 0, done: false })
    }

    fn next(&mut self) -> io::Result<()> {
        let next = if self.ahead.len() == PIECE { fill(self.source, PIECE)? } else { Vec::new() };
        let last = next.is_empty();
        let mut piece = std::mem::replace(&mut self.ahead, next);
        let nonce = Nonce::from(nonce(self.pieces, last));
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, self.name.as_bytes(), piece.as_mut_slice().into())
            .map_err(|_| io::Error::other("a piece cannot be sealed"))?;
        piece.extend_from_slice(&tag);
        self.pieces += 1;
        (self.ready, self.at, self.done) = (piece, 0, last);
        Ok(())
    }
}

impl Read for Sealing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            if self.done {
                return Ok(0);
            }
            self.next()?;
        }
        Ok(give(&self.ready, &mut self.at, into))
    }
}

/// Reads the plain octets of a sealed source; the first octet that was changed is an error.
pub struct Opening<'a> {
    source: Box<dyn Read + 'a>,
    cipher: Aes256Gcm,
    name: String,
    pieces: u64,
    ahead: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    done: bool,
}

impl<'a> Opening<'a> {
    /// Opens what was sealed as the file `name`.
    ///
    /// # Errors
    /// `InvalidData` for what was not sealed; what the source answers.
    pub fn new(key: &Key, name: &str, mut source: Box<dyn Read + 'a>) -> io::Result<Self> {
        let head = fill(&mut source, HEAD)?;
        let id = head.strip_prefix(&MAGIC).and_then(|id| <[u8; 32]>::try_from(id).ok());
        let id = id.ok_or_else(|| broken("it does not begin as a sealed file"))?;
        let ahead = fill(&mut source, PIECE + TAG)?;
        let name = name.to_owned();
        let cipher = key.cipher(&id);
        Ok(Self { source, cipher, name, pieces: 0, ahead, ready: vec![], at: 0, done: false })
    }

    fn next(&mut self) -> io::Result<()> {
        let whole = self.ahead.len() == PIECE + TAG;
        let next = if whole { fill(&mut self.source, PIECE + TAG)? } else { Vec::new() };
        let last = next.is_empty();
        let mut piece = std::mem::replace(&mut self.ahead, next);
        let at = piece.len().checked_sub(TAG).ok_or_else(|| broken("it is cut"))?;
        let tag = <[u8; TAG]>::try_from(piece.split_off(at)).map_err(|_| broken("it is cut"))?;
        let nonce = Nonce::from(nonce(self.pieces, last));
        self.cipher
            .decrypt_inout_detached(
                &nonce,
                self.name.as_bytes(),
                piece.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| broken("a piece is not what was sealed"))?;
        self.pieces += 1;
        (self.ready, self.at, self.done) = (piece, 0, last);
        Ok(())
    }
}

impl Read for Opening<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() {
            if self.done {
                return Ok(0);
            }
            self.next()?;
        }
        Ok(give(&self.ready, &mut self.at, into))
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads until there are so many octets or the source ends.
fn fill(source: &mut dyn Read, octets: usize) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(octets);
    source.take(octets as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

fn give(ready: &[u8], at: &mut usize, into: &mut [u8]) -> usize {
    let rest = ready.get(*at..).unwrap_or_default();
    let count = rest.len().min(into.len());
    for (to, from) in into.iter_mut().zip(rest) {
        *to = *from;
    }
    *at += count;
    count
}

#[cfg(test)]
mod tests {
    use super::{Key, Opening, PIECE, Sealing, sealed_octets};
    use std::io::Read;

    fn key(octet: u8) -> Key {
        Key::new(&[octet; 32], &[9; 32])
    }

    fn seal(name: &str, plain: &[u8]) -> Vec<u8> {
        let mut source = plain;
        let mut sealed = Vec::new();
        Sealing::new(&key(1), name, &mut source).unwrap().read_to_end(&mut sealed).unwrap();
        sealed
    }

    fn open(key: &Key, name: &str, sealed: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Opening::new(key, name, Box::new(sealed))?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_length_comes_back_and_no_two_seals_are_alike() {
        for length in [0, 1, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let sealed = seal("a/b", &plain);
            assert_eq!(sealed.len() as u64, sealed_octets(length as u64));
            assert_eq!(open(&key(1), "a/b", &sealed).unwrap(), plain, "{length}");
            assert_ne!(seal("a/b", &plain), sealed);
        }
    }

    #[test]
    fn a_changed_cut_renamed_or_rearranged_file_does_not_open() {
        let plain = vec![5; 2 * PIECE + 100];
        let sealed = seal("x", &plain);
        for at in [0, 8, 39, 40, 41, PIECE, PIECE + 60, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&key(1), "x", &changed).is_err(), "octet {at}");
        }
        let piece = PIECE + 16;
        for length in [0, 39, 40, 50, 40 + piece, 40 + 2 * piece, sealed.len() - 1] {
            assert!(open(&key(1), "x", &sealed[..length]).is_err(), "cut at {length}");
        }
        assert!(open(&key(1), "x", &[&sealed[..], &[0]].concat()).is_err(), "longer");
        let (first, second) = (&sealed[40..40 + piece], &sealed[40 + piece..40 + 2 * piece]);
        let swapped = [&sealed[..40], second, first, &sealed[40 + 2 * piece..]].concat();
        assert!(open(&key(1), "x", &swapped).is_err(), "pieces swapped");
        assert!(open(&key(1), "y", &sealed).is_err(), "another name");
        assert!(open(&key(2), "x", &sealed).is_err(), "another key");
        assert!(open(&Key::new(&[1; 32], &[8; 32]), "x", &sealed).is_err(), "another chain");
    }

    #[test]
    fn a_key_prints_nothing() {
        assert_eq!(format!("{:?}", key(7)), "Key(..)");
    }
}
