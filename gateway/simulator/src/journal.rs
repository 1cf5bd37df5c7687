//! The journal of acknowledged pushes: what a test holds against the head-end.
//!
//! One JSON line for each acknowledgement, written to the file in one call before the concentrator
//! forgets the push. After a kill a push may stand there twice; it can never be missing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use serde_json::json;

use crate::field::Row;

/// An append-only journal, shared by all concentrators of a process.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens or creates a journal.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends one acknowledged push. A row is `[serial, end s, status, A+ Wh, A- Wh or null]`.
    ///
    /// # Errors
    /// When the line cannot be written whole.
    pub fn acknowledged(
        &self,
        concentrator: &str,
        sequence: u32,
        rows: &[(String, Row)],
    ) -> io::Result<()> {
        let rows: Vec<_> = rows
            .iter()
            .map(|(serial, r)| json!([serial, r.end_s, r.status, r.import_wh, r.export_wh]))
            .collect();
        let line = json!({"concentrator": concentrator, "sequence": sequence, "rows": rows});
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        let mut file =
            self.file.lock().map_err(|_| io::Error::other("the journal's writer failed"))?;
        file.write_all(&line)
    }
}
