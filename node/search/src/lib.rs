//! Finding by a part of a name, an address or a number, in any alphabet, among millions.
//!
//! A room that knows none of the others: documents are keys, texts, regions and classes, and what
//! they stand for is the caller's affair. The map, from in to out: `text` makes what people would
//! call the same the same, `letters` writes it with an octet a letter, `grams` takes it to pieces,
//! `pieces` sorts them, `postings` leads from them to documents, `segment` holds what does not
//! change, `dead` marks what is no more, `query` and `scan` look through one segment, `plan`
//! chooses what to merge, `index` is the whole, and `fill` replaces it.
//!
//! Invariants: what is handed out was compared letter by letter; what is outside of the asker's
//! regions is neither handed out nor counted; searches wait for changes no longer than it takes to
//! write one down. What is absent: disk, clocks, tasks, threads of its own, logs.

mod dead;
mod fill;
mod grams;
mod index;
mod letters;
mod pieces;
mod plan;
mod postings;
mod query;
mod scan;
mod segment;
mod text;

pub use fill::{Fill, OutOfOrder, Superseded};
pub use index::{Doc, Index, Stats};
pub use query::{ALL_CLASSES, After, Hit, MAX_LIMIT, MAX_MATCHED, Page, Query, QueryError};
pub use text::normalise;
