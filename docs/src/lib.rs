//! The source tree as the tidy test sees it: files, their code without tests, their literals.
//!
//! Not a parser: it knows comments, strings and where tests begin, and no more of Rust. Invariant:
//! it only reads, and only files that belong to the tree.

pub mod manifest;
pub mod text;
pub mod watch;

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not ours, wherever they stand.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "demo-data"];

/// Crates: folder, package, and in which order they build on each other.
pub const CRATES: [(&str, &str); 11] = [
    ("gateway/cosem", "cosem"),
    ("cluster/domain", "domain"),
    ("storage", "storage"),
    ("gateway/simulator", "simulator"),
    ("gateway", "gateway"),
    ("cluster", "cluster"),
    ("node/monitor", "monitor"),
    ("node/search", "search"),
    ("node", "node"),
    ("chaos-tests", "chaos-tests"),
    ("docs", "docs"),
];

/// A file of the tree.
#[derive(Clone, Debug)]
pub struct File {
    /// From the top folder, with `/`.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// The top folder.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or_else(|| own.to_path_buf(), Path::to_path_buf)
}

/// Every file of the tree that ends so, in order of path.
pub fn files(ending: &str) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut |path| {
        let Ok(inside) = path.strip_prefix(&root) else { return };
        let name = inside.to_string_lossy().replace('\\', "/");
        if name.ends_with(ending)
            && let Ok(text) = fs::read_to_string(path)
        {
            found.push(File { path: name, text });
        }
    });
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Every Rust file of a crate's folder, the crates nested in it left out.
pub fn sources_of(folder: &str) -> Vec<File> {
    let mut files = files(".rs");
    files.retain(|file| crate_of(&file.path) == Some(folder));
    files
}

/// The folder of the crate that a path belongs to.
pub fn crate_of(path: &str) -> Option<&'static str> {
    let inside = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let mut folders: Vec<&str> = CRATES.iter().map(|(folder, _)| *folder).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
    folders.into_iter().find(|folder| inside(folder))
}

fn walk(folder: &Path, take: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let name = entry.file_name();
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
            walk(&path, take);
        } else if kind.is_file() {
            take(&path);
        }
    }
}
