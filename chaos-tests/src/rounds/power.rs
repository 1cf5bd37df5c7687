//! The power of a node's disk: what was never synced is lost with it.
//!
//! Nodes run under a library that keeps, beside the data directory, a shadow of what was made
//! durable (`storage/tests/powerloss`). After SIGKILL the data directory becomes what the shadow
//! holds; of the pages that were never synced some may have reached the disk all the same.
//! Invariant: a node whose process alone was killed keeps everything, as the kernel does.

use crate::simulation::Dice;
use anyhow::{Context, ensure};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("../../../storage/tests/powerloss/powerloss.c");
const PAGE: usize = 4096;

/// Builds the library in a folder.
///
/// # Errors
/// There is no gcc, or it refuses.
pub fn library(dir: &Path) -> anyhow::Result<PathBuf> {
    let (source, built) = (dir.join("powerloss.c"), dir.join("powerloss.so"));
    fs::write(&source, SOURCE)?;
    let flags = ["-O2", "-shared", "-fPIC", "-w", "-o"];
    let output = Command::new("gcc")
        .args(flags)
        .args([&built, &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .context("gcc (package gcc) builds the model of lost power")?;
    ensure!(output.status.success(), "gcc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(built)
}

/// The data directory becomes what was synced, and `keep` per cent of the other pages. Gives how
/// many pages were lost.
///
/// # Errors
/// A file cannot be read or written.
pub fn lose(data: &Path, shadow: &Path, keep: u64, dice: &mut Dice) -> anyhow::Result<u64> {
    let lost = settle(data, shadow, keep, dice)?;
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    copy_tree(shadow, data)?;
    Ok(lost)
}

/// Lets some of the pages that the shadow lacks reach it; gives how many do not. Only files that
/// are written in place can get single pages: one that took another's name is the old or the new.
fn settle(data: &Path, shadow: &Path, keep: u64, dice: &mut Dice) -> anyhow::Result<u64> {
    let mut lost = 0;
    let mut entries: Vec<_> = fs::read_dir(shadow)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (real, kept) = (data.join(entry.file_name()), entry.path());
        if !real.exists() {
            continue;
        }
        if entry.file_type()?.is_dir() {
            lost += settle(&real, &kept, keep, dice)?;
            continue;
        }
        let (written, durable) = (fs::read(&real)?, fs::read(&kept)?);
        let in_place = kept.extension().is_some_and(|end| end == "wal") || kept.ends_with("db");
        let keep = if in_place { keep } else { 0 };
        let file = fs::File::options().write(true).open(&kept)?;
        for (number, page) in written.chunks(PAGE).enumerate() {
            let at = number * PAGE;
            let same = durable.get(at..at + page.len()) == Some(page);
            if same {
                continue;
            }
            if dice.throw() % 100 < keep {
                file.write_all_at(page, u64::try_from(at)?)?;
            } else {
                lost += 1;
            }
        }
    }
    Ok(lost)
}

/// Copies a folder.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{lose, settle};
    use crate::simulation::Dice;
    use std::fs;

    #[test]
    fn what_was_not_synced_is_lost_but_for_some_pages() {
        let dir = tempfile::tempdir().unwrap();
        let (data, shadow) = (dir.path().join("data"), dir.path().join("shadow"));
        for (place, octet, pages) in [(&data, 1, 20), (&shadow, 0, 10)] {
            fs::create_dir_all(place.join("log")).unwrap();
            fs::write(place.join("log/1.wal"), vec![octet; pages * 4096]).unwrap();
        }
        fs::write(data.join("new"), "never synced").unwrap();
        let lost = settle(&data, &shadow, 50, &mut Dice::new(3, 1)).unwrap();
        assert!((3..18).contains(&lost), "{lost}");
        assert_eq!(lose(&data, &shadow, 0, &mut Dice::new(3, 2)).unwrap(), lost);
        let held = fs::read(data.join("log/1.wal")).unwrap();
        let old = held.chunks(4096).filter(|page| page[0] == 0).count();
        assert!(old as u64 >= lost.saturating_sub(10), "{old} of {lost}");
        assert!(!data.join("new").exists());
    }
}
