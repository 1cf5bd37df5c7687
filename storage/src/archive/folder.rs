//! A folder as a place: files are written under a temporary name, synced and renamed by us,
//! because general object-store libraries do not sync local files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Put;
use crate::error::{Error, Result};
use crate::file;

/// Octets copied at once.
const PIECE: usize = 256 * 1024;
/// What a file is called before it is whole.
const UNFINISHED: &str = ".tmp";

/// A folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder of a path; made with the first file.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The path of a name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// See `Place::put_new`.
    pub fn put_new(&self, name: &str, source: &mut dyn Read) -> Result<Put> {
        let path = self.path(name);
        if path.exists() {
            return Ok(Put::Existed);
        }
        if let Some(parent) = path.parent() {
            file::make_dirs(parent)?;
        }
        // Two writers of one name must not write into one file.
        let temp = path.with_file_name(format!(
            "{}-{}{UNFINISHED}",
            path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            std::process::id()
        ));
        let written = copy(source, &temp).and_then(|handle| {
            handle.sync_all().map_err(Error::io("sync", &temp))?;
            // A link, unlike a rename, does not replace a file that came meanwhile.
            match fs::hard_link(&temp, &path) {
                Ok(()) => Ok(Put::Stored),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Existed),
                Err(error) => Err(Error::io("name", &path)(error)),
            }
        });
        file::remove(&temp)?;
        let put = written?;
        path.parent().map_or(Ok(()), file::sync_dir)?;
        Ok(put)
    }

    /// See `Place::get`.
    pub fn get(&self, name: &str) -> Result<Box<dyn Read>> {
        let path = self.path(name);
        Ok(Box::new(File::open(&path).map_err(Error::io("open", &path))?))
    }

    /// See `Place::list`.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        self.walk(prefix.trim_end_matches('/'), &mut found)?;
        Ok(found)
    }

    fn walk(&self, name: &str, found: &mut Vec<(String, u64)>) -> Result<()> {
        let dir = self.path(name);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("list", &dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &dir))?;
            let Some(own) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let below = if name.is_empty() { own.clone() } else { format!("{name}/{own}") };
            let data = entry.metadata().map_err(Error::io("look at", &dir))?;
            if data.is_dir() {
                self.walk(&below, found)?;
            } else if !own.ends_with(UNFINISHED) {
                found.push((below, data.len()));
            }
        }
        Ok(())
    }

    /// See `Place::remove`.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        file::remove(&path)?;
        let mut parent = path.parent();
        // Folders that became empty go too; one that did not says so and stays.
        while let Some(dir) = parent.filter(|dir| *dir != self.root && dir.starts_with(&self.root))
            && fs::remove_dir(dir).is_ok()
        {
            parent = dir.parent();
        }
        Ok(())
    }
}

fn copy(source: &mut dyn Read, to: &Path) -> Result<File> {
    let mut out = file::create(to)?;
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(out),
            Ok(count) => out
                .write_all(piece.get(..count).unwrap_or_default())
                .map_err(Error::io("write", to))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::source_of(error, to)),
        }
    }
}
