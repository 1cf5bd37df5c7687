//! What stands beside the tables' folder and tells whether they can be trusted: the mark of an
//! unfinished load (`<dir>.loading`), the number of the last flush (`<dir>.synced`), and the
//! folders that were moved aside (`<dir>.damaged-N`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file;

/// The file that says that a load has not finished.
fn mark(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".loading");
    PathBuf::from(name)
}

/// Whether the tables of a folder wait to be rebuilt.
pub fn waits(dir: &Path) -> bool {
    mark(dir).exists()
}

/// From here on the tables are not whole, until the mark is removed.
pub fn set_mark(dir: &Path) -> Result<()> {
    file::write_atomic(&mark(dir), b"the tables wait to be loaded\n")
}

/// The tables are whole again.
pub fn remove_mark(dir: &Path) -> Result<()> {
    file::remove(&mark(dir))?;
    dir.parent().map_or(Ok(()), file::sync_dir)
}

/// Gives a damaged folder the next free name `<dir>.damaged-N`.
pub fn move_aside(dir: &Path) -> Result<PathBuf> {
    let free = (1u32..)
        .map(|number| {
            let mut name = dir.as_os_str().to_owned();
            name.push(format!(".damaged-{number}"));
            PathBuf::from(name)
        })
        .find(|path| !path.exists())
        .ok_or_else(|| Error::misuse("tables_names", "no name is free to move tables to"))?;
    if dir.exists() {
        fs::rename(dir, &free).map_err(Error::io("move aside", dir))?;
    } else {
        file::make_dirs(&free)?;
    }
    dir.parent().map_or(Ok(()), file::sync_dir)?;
    Ok(free)
}

/// The file outside that holds the number of the last finished flush.
fn flushes_path(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".synced");
    PathBuf::from(name)
}

/// Number of the last finished flush; 0: none yet.
pub fn read_flushes(dir: &Path) -> Result<u64> {
    let path = flushes_path(dir);
    match fs::read_to_string(&path) {
        // An unreadable number is no reason to distrust the tables more than they deserve.
        Ok(text) => Ok(text.trim().parse().unwrap_or_default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// Notes the number of a finished flush, durably.
pub fn write_flushes(dir: &Path, number: u64) -> Result<()> {
    file::write_atomic(&flushes_path(dir), format!("{number}\n").as_bytes())
}
