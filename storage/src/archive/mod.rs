//! Places outside of the data directory where files are kept: a folder, or an object store.
//!
//! Not here: what the files are (backups). Invariants: a file appears under its name whole or
//! not at all, and is never overwritten; memory is bounded whatever a file's size; names are made
//! of plain words, so that no name leads out of its place; credentials come from the environment
//! (`AWS_*`) and stand in no text. All calls block: call them where blocking is allowed.

mod folder;
mod remote;

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use folder::Folder;
use remote::Remote;

/// What became of a file that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
    Stored,
    /// A file of that name was there already and was left alone.
    Existed,
}

/// A place for files.
#[derive(Debug)]
pub struct Place(Kind);

#[derive(Debug)]
enum Kind {
    Folder(Folder),
    Remote(Remote),
}

impl Place {
    /// A folder by its path, or `s3://bucket/prefix`. Nothing is touched yet.
    ///
    /// # Errors
    /// `place_invalid` for an address that cannot be one.
    pub fn open(to: &str) -> Result<Self> {
        if to.starts_with("s3://") {
            return Ok(Self(Kind::Remote(Remote::open(to)?)));
        }
        if to.is_empty() || to.contains("://") {
            let text = format!("{to}: give a folder or s3://bucket/prefix");
            return Err(Error::misuse("place_invalid", text));
        }
        Ok(Self(Kind::Folder(Folder::new(Path::new(to)))))
    }

    /// Stores a file under a new name, durable when it returns.
    ///
    /// # Errors
    /// `place_name`; the codes of the disk; `place_fault` of an object store; what the source
    /// answers.
    pub fn put_new(&self, name: &str, source: &mut dyn Read) -> Result<Put> {
        check(name)?;
        match &self.0 {
            Kind::Folder(folder) => folder.put_new(name, source),
            Kind::Remote(remote) => remote.put_new(name, source),
        }
    }

    /// Reads a file from its beginning.
    ///
    /// # Errors
    /// `not_found` and the other codes of the disk; `place_fault`.
    pub fn get(&self, name: &str) -> Result<Box<dyn Read + '_>> {
        check(name)?;
        match &self.0 {
            Kind::Folder(folder) => folder.get(name),
            Kind::Remote(remote) => remote.get(name),
        }
    }

    /// Names and sizes of all files below a prefix that ends at a `/` or is empty, in order.
    ///
    /// # Errors
    /// The codes of the disk; `place_fault`.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut found = match &self.0 {
            Kind::Folder(folder) => folder.list(prefix)?,
            Kind::Remote(remote) => remote.list(prefix)?,
        };
        found.sort();
        Ok(found)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// The codes of the disk; `place_fault`.
    pub fn remove(&self, name: &str) -> Result<()> {
        check(name)?;
        match &self.0 {
            Kind::Folder(folder) => folder.remove(name),
            Kind::Remote(remote) => remote.remove(name),
        }
    }

    /// The whole name of a file, for people.
    pub fn full_name(&self, name: &str) -> String {
        match &self.0 {
            Kind::Folder(folder) => folder.path(name).display().to_string(),
            Kind::Remote(remote) => remote.url(name),
        }
    }
}

/// Words of letters, digits, `.`, `_`, `-` with `/` between them, and no word of dots alone.
fn check(name: &str) -> Result<()> {
    let word = |word: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        word.bytes().all(plain) && word.bytes().any(|b| b != b'.')
    };
    if name.len() <= 512 && name.split('/').all(word) {
        return Ok(());
    }
    Err(Error::misuse("place_name", format!("{name:?} is no name of a file")))
}

#[cfg(test)]
mod tests {
    use super::{Place, Put, check};
    use std::io::Read;

    #[test]
    fn names_stay_inside() {
        for good in ["a", "a/b.c/d-e_f", "20261122T203000Z-12/objects/ab/abcd"] {
            check(good).unwrap();
        }
        for bad in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a b", "a\\b", "a\0"] {
            assert_eq!(check(bad).unwrap_err().code(), "place_name", "{bad:?}");
        }
        assert_eq!(Place::open("http://x/").unwrap_err().code(), "place_invalid");
        assert_eq!(Place::open("s3://").unwrap_err().code(), "place_invalid");
    }

    #[test]
    fn a_folder_keeps_what_it_was_given_first() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("deep/er");
        let place = Place::open(to.to_str().unwrap()).unwrap();
        assert_eq!(place.list("").unwrap(), []);
        assert_eq!(place.put_new("b/x", &mut &b"one"[..]).unwrap(), Put::Stored);
        assert_eq!(place.put_new("b/x", &mut &b"other"[..]).unwrap(), Put::Existed);
        assert_eq!(place.put_new("a/y", &mut &b""[..]).unwrap(), Put::Stored);
        let expect = [("a/y".to_owned(), 0), ("b/x".to_owned(), 3)];
        assert_eq!(place.list("").unwrap(), expect);
        assert_eq!(place.list("b/").unwrap(), expect[1..]);
        let mut text = String::new();
        place.get("b/x").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one");
        place.remove("b/x").unwrap();
        place.remove("b/x").unwrap();
        let gone = place.get("b/x").map(|_| ()).unwrap_err();
        assert_eq!(gone.code(), "not_found");
    }

    #[test]
    fn a_source_that_breaks_leaves_nothing() {
        struct Breaks(usize);
        impl Read for Breaks {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0 += 1;
                if self.0 > 3 {
                    return Err(std::io::Error::other("the source broke"));
                }
                into.fill(1);
                Ok(into.len())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path().to_str().unwrap()).unwrap();
        assert!(place.put_new("a/x", &mut Breaks(0)).is_err());
        assert_eq!(place.list("").unwrap(), []);
        assert_eq!(place.put_new("a/x", &mut &b"one"[..]).unwrap(), Put::Stored);
    }
}
