//! How the program ends: exit codes and failures that an operator can act on.
//!
//! Not the HTTP problem type (see `http::problem`). Invariants: the numbers are a contract with
//! scripts; a failure's code is stable, its text may change; no secret enters a text.

use std::fmt;

/// The exit codes of every verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The verb did what it says.
    Done = 0,
    /// It failed, and trying again the same way will not help by itself.
    Failed = 1,
    /// The command line is wrong (clap uses the same number).
    Usage = 2,
    /// The configuration is wrong.
    Config = 64,
    /// No node of the cluster could be reached.
    Unreachable = 69,
    /// The cluster answered, but cannot do it just now.
    TryAgain = 75,
    /// The token is missing, wrong or may not do this.
    NotAllowed = 77,
}

/// A verb's failure: exit code, stable code, text for a person.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// A stable, documented word for programs.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
}

impl Failure {
    /// A failure with its code and text.
    pub fn new(exit: Exit, code: impl Into<String>, message: impl fmt::Display) -> Failure {
        Failure { exit, code: code.into(), message: message.to_string() }
    }

    /// A failure that exits with 1.
    pub fn failed(code: impl Into<String>, message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Failed, code, message)
    }

    /// A failure of the command line that clap could not see.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, "usage", message)
    }

    /// A file or folder that could not be used; the text names it and the system's reason.
    pub fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => "file_missing",
            std::io::ErrorKind::PermissionDenied => "file_denied",
            std::io::ErrorKind::ReadOnlyFilesystem => "disk_read_only",
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "disk_full",
            std::io::ErrorKind::AlreadyExists => "file_exists",
            _ => "file_failed",
        };
        Failure::failed(code, format!("{what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}
