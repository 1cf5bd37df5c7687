//! What can go wrong with the octets on disk, each kind under a stable code.
//!
//! Not here: refusals by rule (those belong to the domain). A `storage::Error` means that this
//! node cannot read or write its own state, so the caller stops or rebuilds; it never skips.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A fault of the stored octets or of the disk below them. Cheap to clone, so that the first
/// fault of a log can be told to every later caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work; all its faults, one a line.
    #[error("storage configuration: {0}")]
    Config(String),
    /// Another process holds the data directory.
    #[error("data directory is in use by pid {pid}: {}", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it; 0 when it could not be read.
        pid: u32,
    },
    /// The operating system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb: what was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: Arc<io::Error>,
    },
    /// Octets that were once acknowledged no longer match their checksum or their order.
    #[error("{what} is damaged: {detail} ({})", path.display())]
    Damaged {
        /// Stable code of the damaged part, such as `wal_damaged`.
        code: &'static str,
        /// The part in words.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and how.
        detail: String,
    },
    /// An object store said no, or nothing in time.
    #[error("cannot use {url}")]
    Remote {
        /// The object.
        url: String,
        /// What the library answered.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The tables' engine failed while running.
    #[error("tables: {0}")]
    Tables(String),
    /// The caller broke the contract of a call; nothing was stored.
    #[error("{code}: {detail}")]
    Misuse {
        /// Stable code.
        code: &'static str,
        /// What was wrong with the call.
        detail: String,
    },
    /// The part was stopped, or its thread has ended.
    #[error("{0} is stopped")]
    Stopped(&'static str),
}

/// The result of every call in this crate that is not bound to [`io::Result`] by its callers.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The stable code of this fault, for logs, metrics and documents.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "storage_config",
            Self::InUse { .. } => "storage_in_use",
            Self::Io { source, .. } => io_code(source),
            Self::Damaged { code, .. } | Self::Misuse { code, .. } => code,
            Self::Remote { .. } => "place_fault",
            Self::Tables(_) => "tables_fault",
            Self::Stopped(_) => "storage_stopped",
        }
    }

    /// One line for an operator: code, what was done to which file, what the system answered.
    pub fn report(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{}: {self}: {source}", self.code()),
            Self::Remote { source, .. } => format!("{}: {self}: {source}", self.code()),
            _ => format!("{}: {self}", self.code()),
        }
    }

    /// Makes a closure that puts what was being done, and to which file, around an
    /// [`io::Error`].
    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_path_buf(), source: Arc::new(source) }
    }

    /// The fault of a source that was being copied to `to`: our own error when it holds one.
    pub(crate) fn source_of(error: io::Error, to: &Path) -> Self {
        let own = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).cloned();
        own.unwrap_or_else(|| Self::io("read what goes to", to)(error))
    }

    /// A damaged file, under its code.
    pub(crate) fn damaged(
        code: &'static str,
        what: &'static str,
        path: &Path,
        detail: impl Into<String>,
    ) -> Self {
        Self::Damaged { code, what, path: path.to_path_buf(), detail: detail.into() }
    }

    /// A broken contract of a call.
    pub(crate) fn misuse(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Misuse { code, detail: detail.into() }
    }
}

/// Names the common answers of the operating system.
fn io_code(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
        io::ErrorKind::ReadOnlyFilesystem => "read_only",
        io::ErrorKind::PermissionDenied => "no_permission",
        io::ErrorKind::NotFound => "not_found",
        _ => "io_fault",
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            Error::Damaged { .. } => io::ErrorKind::InvalidData,
            Error::Misuse { .. } | Error::Config(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::Error;
    use std::io;
    use std::path::Path;

    #[test]
    fn every_answer_of_the_disk_has_its_code() {
        let path = Path::new("/data");
        let check = |kind: io::ErrorKind, expect: &str| {
            let error = Error::io("write", path)(io::Error::from(kind));
            assert_eq!(error.code(), expect);
            assert_eq!(io::Error::from(error).kind(), kind);
        };
        check(io::ErrorKind::StorageFull, "disk_full");
        check(io::ErrorKind::ReadOnlyFilesystem, "read_only");
        check(io::ErrorKind::PermissionDenied, "no_permission");
        check(io::ErrorKind::NotFound, "not_found");
        check(io::ErrorKind::Interrupted, "io_fault");
    }

    #[test]
    fn a_report_names_code_path_and_cause() {
        let full = Error::io("write", Path::new("/data/x"))(io::Error::from_raw_os_error(28));
        assert_eq!(
            full.report(),
            "disk_full: cannot write /data/x: No space left on device (os error 28)"
        );
    }
}
