//! The engines that the tables can stand on, behind one small interface.
//!
//! Invariants: an engine's batch is atomic, also over a crash; `flush` makes durable everything
//! applied before it, and its number with it; nothing above this module knows which engine runs.
//! Which engine wrote a folder stands beside it (`<dir>.backend`): one engine never touches the
//! files of another.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(feature = "simulation")]
use super::on_memory;
use super::types::Pair;
use super::{on_fjall, on_sled};
use crate::error::{Error, Result};
use crate::file;

/// The threads of an engine that was just closed may hold its files for a moment longer.
const LET_GO: Duration = Duration::from_secs(3);

/// Writes of a batch: full keys, each with its value or none to delete it.
pub type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// An open engine: ordered keys, atomic batches, numbered flushes.
pub trait Engine: Send + Sync {
    /// One value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Keys between two bounds in order with their values, at most `limit`.
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>>;

    /// Writes a batch, all or nothing. The last write of a key wins.
    fn apply(&self, writes: Writes) -> Result<()>;

    /// Notes the number of a flush behind everything applied, and makes all of it durable.
    fn flush(&self, number: u64) -> Result<()>;
}

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// sled 0.34: small and quick to open.
    #[default]
    Sled,
    /// fjall 3: a log-structured tree, several times quicker under load.
    Fjall,
    /// Memory that outlives the tables, and loses what was not flushed when it is told to.
    #[cfg(feature = "simulation")]
    Memory,
}

/// Why an engine could not be opened.
pub enum Unopened {
    /// Somebody else holds it; it is not damaged.
    Held(String),
    /// Its files cannot be trusted.
    Damaged(String),
}

impl Unopened {
    /// The reason in words.
    pub fn why(self) -> String {
        match self {
            Self::Held(why) | Self::Damaged(why) => why,
        }
    }
}

impl Backend {
    /// Every engine of a disk.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Fjall];

    /// The word for it in configurations and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
            #[cfg(feature = "simulation")]
            Self::Memory => "memory",
        }
    }

    /// Whether a thread flushes it in a steady rhythm.
    pub fn flushes_by_itself(self) -> bool {
        match self {
            Self::Sled | Self::Fjall => true,
            #[cfg(feature = "simulation")]
            Self::Memory => false,
        }
    }

    /// The engine of a word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// Opens the engine and reads every page once, because damage is better met now; a panic is
    /// caught. An engine that counted fewer flushes than `flushes` lost what was synced.
    pub fn open(
        self,
        dir: &Path,
        cache_octets: u64,
        flushes: u64,
    ) -> std::result::Result<Box<dyn Engine>, Unopened> {
        let end = Instant::now() + LET_GO;
        loop {
            match self.try_open(dir, cache_octets, flushes) {
                Err(Unopened::Held(_)) if Instant::now() < end => std::thread::sleep(LET_GO / 100),
                done => return done,
            }
        }
    }

    fn try_open(
        self,
        dir: &Path,
        cache_octets: u64,
        flushes: u64,
    ) -> std::result::Result<Box<dyn Engine>, Unopened> {
        let open = || match self {
            Self::Sled => on_sled::open(dir, cache_octets),
            Self::Fjall => on_fjall::open(dir, cache_octets),
            #[cfg(feature = "simulation")]
            Self::Memory => on_memory::open(dir),
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok((engine, counted))) if counted >= flushes => Ok(engine),
            Ok(Ok((_, counted))) => {
                let why = format!("flush {flushes} is lost, {counted} is the last");
                Err(Unopened::Damaged(why))
            }
            Ok(Err(why)) => Err(why),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(Unopened::Damaged(format!("panic: {}", text.unwrap_or_default())))
            }
        }
    }

    /// Notes this engine as the writer of a folder, or refuses a folder of another's.
    ///
    /// # Errors
    /// `tables_backend`; the codes of the disk.
    pub fn claim(self, dir: &Path) -> Result<()> {
        let path = noted_at(dir);
        let noted = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        // Folders from before there was a choice are sled's.
        let writer = noted.as_deref().unwrap_or(Self::Sled.name());
        if dir.exists() && writer != self.name() {
            let detail = format!(
                "{} was written by {writer}, but {} is configured: configure {writer} again, or \
                 stop the node, remove that folder and start, and the tables are rebuilt from \
                 snapshot and log",
                dir.display(),
                self.name()
            );
            return Err(Error::misuse("tables_backend", detail));
        }
        if noted.as_deref() == Some(self.name()) {
            return Ok(());
        }
        file::write_atomic(&path, format!("{}\n", self.name()).as_bytes())
    }
}

/// The file beside a folder that names its writer.
fn noted_at(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".backend");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::Backend;
    use std::fs;

    #[test]
    fn a_folder_stays_with_the_engine_that_wrote_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("tables");
        Backend::Fjall.claim(&dir).unwrap();
        // Nothing was written yet, so the choice is still free.
        Backend::Sled.claim(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        Backend::Sled.claim(&dir).unwrap();
        let refused = Backend::Fjall.claim(&dir).unwrap_err();
        assert_eq!(refused.code(), "tables_backend");
        let text = refused.to_string();
        assert!(text.contains("written by sled, but fjall is configured"), "{text}");
        // Data from before the choice existed are sled's.
        fs::remove_file(root.path().join("tables.backend")).unwrap();
        assert!(Backend::Fjall.claim(&dir).is_err());
        Backend::Sled.claim(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
        Backend::Fjall.claim(&dir).unwrap();
    }

    #[test]
    fn every_engine_has_its_word() {
        for backend in Backend::ALL {
            assert_eq!(Backend::from_name(backend.name()), Some(backend));
        }
        assert_eq!(Backend::from_name("rocksdb"), None);
    }
}
