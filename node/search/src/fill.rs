//! Replacing all documents of an index, at a start or after a snapshot.
//!
//! Not a change of single documents. Invariant: nothing of a fill is found before it is finished;
//! from then on its documents are found and whatever was changed since it began, and no others.

use thiserror::Error;

use crate::index::{Doc, Index};
use crate::segment::{Builder, Facet, Segment};
use crate::{letters, text};

/// A key that is not above the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the key of document {position} is not above the one before")]
pub struct OutOfOrder {
    /// Which document of the fill, the first one being 0.
    pub position: u64,
}

/// Another fill was begun since: this one's documents are not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another fill was begun")]
pub struct Superseded;

/// A fill that goes on. Dropped without [`Fill::finish`] it leaves everything as it was.
pub struct Fill<'a> {
    index: &'a Index,
    number: u64,
    builder: Builder,
    full: Vec<Segment>,
    position: u64,
    last: Vec<u8>,
}

impl<'a> Fill<'a> {
    pub(crate) fn of(index: &'a Index, number: u64) -> Self {
        let (builder, full, last) = Default::default();
        Self { index, number, builder, full, position: 0, last }
    }

    /// Takes the next document.
    ///
    /// # Errors
    ///
    /// [`OutOfOrder`] if its key is not above the one before; the document is not taken.
    pub fn push(&mut self, doc: &Doc) -> Result<(), OutOfOrder> {
        if self.position > 0 && doc.key <= self.last {
            return Err(OutOfOrder { position: self.position });
        }
        let text = letters::document(&text::normalise(&doc.text));
        if !self.builder.fits(&doc.key, &text) {
            self.full.extend(std::mem::take(&mut self.builder).finish());
        }
        self.builder.push(&doc.key, &text, Facet { region: doc.region, class: doc.class });
        self.position += 1;
        self.last.clone_from(&doc.key);
        Ok(())
    }

    /// Builds the index and puts it in the place of the old one. Takes a thread for 2 to 3 s a
    /// million documents, and the memory of both.
    ///
    /// # Errors
    ///
    /// [`Superseded`] if another fill was begun after this one; nothing is changed then.
    pub fn finish(mut self) -> Result<(), Superseded> {
        let last = std::mem::take(&mut self.builder).finish();
        self.full.extend(last);
        let mut state = self.index.write();
        if state.fills != self.number {
            return Err(Superseded);
        }
        state.replace(std::mem::take(&mut self.full));
        Ok(())
    }
}

impl Drop for Fill<'_> {
    fn drop(&mut self) {
        let mut state = self.index.write();
        if state.fills == self.number {
            state.touched = None;
        }
    }
}
