//! Safe files: what is written here is on disk under its name, whole, or not at all.
//!
//! Invariants: a file appears under its name only after its octets are synced; the folder is
//! synced before the call returns. All calls go through the C library (std), so that the
//! power-cut model of the tests sees them. Not here: the log, which syncs in its own rhythm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Syncs a folder, so that names made, changed or removed in it survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let handle = File::open(dir).map_err(Error::io("open folder", dir))?;
    handle.sync_all().map_err(Error::io("sync folder", dir))
}

/// Makes a folder and its missing parents, each synced into its parent.
pub fn make_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dirs(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("make folder", dir)(error)),
    }
    parent.map_or(Ok(()), sync_dir)
}

/// The name under which a file is written before it is whole.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writes a whole file: temporary name, sync, rename, sync of the folder.
pub fn write_atomic(path: &Path, octets: &[u8]) -> Result<()> {
    let temp = temporary(path);
    let mut file = create(&temp)?;
    file.write_all(octets).map_err(Error::io("write", &temp))?;
    publish(&file, &temp, path)
}

/// Makes an empty file for writing and reading, emptying an older one of that name.
pub fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(Error::io("create", path))
}

/// Gives a written temporary file its name: sync, rename, sync of the folder.
pub fn publish(file: &File, temp: &Path, path: &Path) -> Result<()> {
    file.sync_all().map_err(Error::io("sync", temp))?;
    fs::rename(temp, path).map_err(Error::io("rename", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file if it is there; the caller syncs the folder.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// Removes a folder with all it holds, if it is there, and syncs the parent.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove folder", path)(error)),
    }
}

/// Octets and blake3 hash of a file, read in pieces.
pub fn hash(path: &Path) -> Result<(u64, [u8; 32])> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 256 * 1024];
    let mut octets = 0;
    loop {
        let count = file.read(&mut piece).map_err(Error::io("read", path))?;
        if count == 0 {
            return Ok((octets, *hasher.finalize().as_bytes()));
        }
        hasher.update(piece.get(..count).unwrap_or_default());
        octets += count as u64;
    }
}

/// Octets of all files below a folder; 0 when it is not there.
pub fn tree_octets(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => tree_octets(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{hash, make_dirs, remove_tree, tree_octets, write_atomic};

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        make_dirs(&deep).unwrap();
        let path = deep.join("x");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second!").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second!");
        assert_eq!(hash(&path).unwrap(), (7, *blake3::hash(b"second!").as_bytes()));
        assert_eq!(tree_octets(dir.path()), 7);
        remove_tree(&deep).unwrap();
        assert_eq!(tree_octets(dir.path()), 0);
    }

    #[test]
    fn a_missing_right_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plain");
        std::fs::write(&file, b"x").unwrap();
        let error = make_dirs(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("make folder"), "{error}");
    }
}
