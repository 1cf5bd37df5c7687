//! What goes into the tables and comes out of them.

use std::path::PathBuf;

use crate::error::Result;

/// One write of a batch; a missing value deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Table.
    pub table: u8,
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Option<Vec<u8>>,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Is handed every table, key and value of a dump.
pub type Visit<'a> = dyn FnMut(u8, &[u8], &[u8]) -> Result<()> + 'a;

/// How the tables were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// None were there.
    Fresh,
    /// They were there and could be read.
    Existing,
    /// They were damaged or half loaded and have been moved aside; these are empty. Rebuild
    /// them from the newest snapshot and the log.
    Rebuild {
        /// Where the damaged folder is kept.
        moved_to: PathBuf,
    },
}
