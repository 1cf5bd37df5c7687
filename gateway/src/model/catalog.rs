//! The models that a node knows: those that ship with the program, and those of a folder beside
//! them. A model of the folder goes before a shipped one of the same name.
//!
//! Invariants: 1. the generic model is always there; 2. a folder with a broken file gives every
//! fault of every file and no catalog; 3. nothing is read again after the start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::fault::Fault;
use super::file::MAX_OCTETS;
use super::{GENERIC, Model};

/// The files that ship with the program.
const SHIPPED: [(&str, &str); 4] = [
    ("generic", include_str!("../../models/generic.toml")),
    ("iec62056-21", include_str!("../../models/iec62056-21.toml")),
    ("single-phase", include_str!("../../models/single-phase.toml")),
    ("three-phase", include_str!("../../models/three-phase.toml")),
];

/// The most files of a folder.
const MAX_FILES: usize = 1_024;

/// A model of a catalog.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The model.
    pub model: Arc<Model>,
    /// The file it comes from; None when it ships with the program.
    pub file: Option<String>,
}

/// The models that a node knows, by name.
#[derive(Debug, Clone)]
pub struct Catalog {
    entries: BTreeMap<String, Entry>,
}

impl Catalog {
    /// The shipped models alone.
    #[must_use]
    pub fn shipped() -> Self {
        let mut entries = BTreeMap::new();
        for (name, text) in SHIPPED {
            // A test parses each of them, so a broken one never ships.
            let model = Model::parse(text).expect("a shipped model has no fault");
            entries.insert(name.to_owned(), Entry { model: Arc::new(model), file: None });
        }
        Self { entries }
    }

    /// The shipped models and those of a folder: every file whose name ends in `.toml`.
    ///
    /// # Errors
    /// One line a fault: the file, then what is wrong with it. Never empty.
    pub fn with_folder(folder: &Path) -> Result<Self, Vec<String>> {
        let mut catalog = Self::shipped();
        let shown = folder.display();
        let listing = std::fs::read_dir(folder).map_err(|e| vec![format!("{shown}: {e}")])?;
        let mut faults = Vec::new();
        let mut files = Vec::new();
        for file in listing {
            match file {
                Ok(file) if file.path().extension().is_some_and(|end| end == "toml") => {
                    files.push(file.path());
                }
                Ok(_) => {}
                Err(error) => faults.push(format!("{shown}: {error}")),
            }
        }
        files.sort();
        if files.len() > MAX_FILES {
            faults.push(format!("{shown}: more than {MAX_FILES} models"));
            files.truncate(MAX_FILES);
        }
        for file in files {
            let shown = file.display().to_string();
            match read(&file) {
                Ok(model) => catalog.take(model, shown, &mut faults),
                Err(list) => faults.extend(list.into_iter().map(|why| format!("{shown}: {why}"))),
            }
        }
        if faults.is_empty() { Ok(catalog) } else { Err(faults) }
    }

    fn take(&mut self, model: Model, file: String, faults: &mut Vec<String>) {
        let name = model.name().to_owned();
        let before = self.entries.get(&name).and_then(|entry| entry.file.as_ref());
        if let Some(before) = before {
            faults.push(format!("{file}: duplicate_model: {name:?} is in {before} already"));
            return;
        }
        self.entries.insert(name, Entry { model: Arc::new(model), file: Some(file) });
    }

    /// The model of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.entries.get(name).map(|entry| &entry.model)
    }

    /// The model of this name, or the generic one for an empty or unknown name; true when it is
    /// the one that was asked for.
    #[must_use]
    pub fn or_generic(&self, name: &str) -> (Arc<Model>, bool) {
        let found = self.get(name).or_else(|| self.get(GENERIC));
        let model = found.expect("the generic model is always there");
        (Arc::clone(model), model.name() == name)
    }

    /// Every model, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The names, for people.
    #[must_use]
    pub fn names(&self) -> String {
        self.entries.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn read(file: &Path) -> Result<Model, Vec<String>> {
    let size = std::fs::metadata(file).map_err(|error| vec![error.to_string()])?.len();
    if size > MAX_OCTETS as u64 {
        return Err(vec![format!("too_long: more than {MAX_OCTETS} octets")]);
    }
    let text = std::fs::read_to_string(file).map_err(|error| vec![error.to_string()])?;
    let shown = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect::<Vec<_>>();
    Model::parse(&text).map_err(shown)
}
