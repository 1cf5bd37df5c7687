//! The data of a snapshot as consensus passes it around: a handle to files, not the files.
//!
//! Invariant: a handle is of complete local files, of a wholly received snapshot, or of nothing
//! that would have to be installed.

use std::{
    io,
    sync::{Arc, Mutex},
};

use storage::{
    Snapshots,
    snapshot::{Incoming, Manifest, Months},
};

/// Octets read at once when files are copied between two stores of one machine.
const COPY_OCTETS: usize = 256 * 1024;

/// Says whose files they are: held while files are written or installed, one at a time.
pub type Owner = Arc<Mutex<()>>;

/// A handle to a snapshot's files.
#[derive(Debug)]
pub struct SnapshotFile {
    manifest: Manifest,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Local(Snapshots, Owner),
    Received(Incoming),
    Overtaken,
}

impl SnapshotFile {
    /// Of files that lie complete in the store of `owner`.
    pub fn local(manifest: Manifest, snapshots: Snapshots, owner: Owner) -> Self {
        Self { manifest, source: Source::Local(snapshots, owner) }
    }

    /// Of files that were received and verified.
    pub fn received(incoming: Incoming) -> Self {
        Self { manifest: incoming.manifest().clone(), source: Source::Received(incoming) }
    }

    /// Of no files: what it would bring is here already, and consensus, which knows that, does not
    /// install it.
    pub fn overtaken(manifest: Manifest) -> Self {
        Self { manifest, source: Source::Overtaken }
    }

    /// Names, sizes and hashes of the files.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A piece of a file, for a receiver. Only local files can be read.
    pub fn read(&self, name: &str, offset: u64, max_octets: usize) -> io::Result<Vec<u8>> {
        match &self.source {
            Source::Local(files, _) => {
                Ok(files.read(self.manifest.index, name, offset, max_octets)?)
            }
            Source::Received(_) | Source::Overtaken => {
                Err(io::Error::other("a received snapshot is not installed"))
            }
        }
    }

    /// Installs the files into `snapshots`, whose tables and open days they replace. `owner` is
    /// the owner of `snapshots`: its own newest files are only loaded again.
    pub fn install(self, snapshots: &Snapshots, owner: &Owner) -> io::Result<Manifest> {
        match self.source {
            Source::Received(incoming) => Ok(snapshots.install(incoming)?),
            Source::Overtaken => Err(io::Error::other("a newer snapshot is here already")),
            Source::Local(_, of) if Arc::ptr_eq(&of, owner) => {
                let lost = || io::Error::other("the newest snapshot is gone");
                snapshots.rebuild()?.ok_or_else(lost)
            }
            Source::Local(files, _) => {
                let mut incoming = snapshots.receive(self.manifest, Months::Now)?;
                copy(&files, &mut incoming)?;
                Ok(snapshots.install(incoming)?)
            }
        }
    }
}

fn copy(files: &Snapshots, incoming: &mut Incoming) -> io::Result<()> {
    let index = incoming.manifest().index;
    for (item, mut offset) in incoming.missing() {
        while offset < item.octets {
            let piece = files.read(index, &item.name, offset, COPY_OCTETS)?;
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            incoming.receive(&item.name, offset, &piece)?;
            offset += piece.len() as u64;
        }
    }
    Ok(())
}
