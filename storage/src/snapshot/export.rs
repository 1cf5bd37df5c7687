//! A complete snapshot's files in a folder of their own, for whoever reads them at leisure.
//!
//! The files are linked, not copied: they never change, so a second name costs nothing and keeps
//! the octets when the snapshot or a segment goes meanwhile.

use std::fs;
use std::path::Path;

use super::incoming::flat;
use super::manifest::{Manifest, segment_item};
use super::{Snapshots, folder};
use crate::error::{Error, Result};
use crate::file;

impl Snapshots {
    /// Links every file of a complete snapshot into a new folder, each under its name with `_`
    /// for `/`. The folder must be on the file system of the data directory.
    ///
    /// # Errors
    /// `snapshot_unknown` when there is no such snapshot any more; `not_found` when a file went
    /// meanwhile (try again with the newest); the codes of the disk.
    pub fn export(&self, index: u64, to: &Path) -> Result<Manifest> {
        let manifest = self.list().into_iter().find(|manifest| manifest.index == index);
        let manifest = manifest.ok_or_else(|| {
            Error::misuse("snapshot_unknown", format!("no snapshot at {index} is here"))
        })?;
        file::remove_tree(to)?;
        file::make_dirs(to)?;
        let own = self.inner.dir.join(folder(index));
        let own = manifest.own().map(|item| (own.join(&item.name), item.name.clone()));
        let segments = manifest.segments.iter();
        let segments =
            segments.map(|entry| (self.inner.segments.path(entry), segment_item(entry).name));
        for (path, name) in own.chain(segments) {
            fs::hard_link(&path, to.join(flat(&name))).map_err(Error::io("link", &path))?;
        }
        file::sync_dir(to)?;
        Ok(manifest)
    }
}

/// The file of an item in an exported folder.
pub fn exported(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(flat(name))
}
