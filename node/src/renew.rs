//! `holdfast init --renew`: another certificate and key for nodes whose folders `init` once made.
//!
//! Starts nothing and dials nobody; a node reads them again at SIGHUP, without a stop.
//! Invariants: a pair is whole on the disk before it takes its names; the pair before it stays
//! beside it as `*.old`; nothing else in the folder is changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::extend::{authority, read};
use crate::init::{node_certificate, sync_dir, write_new};

/// What `init` calls a node's certificate and its key, and their modes.
const FILES: [(&str, u32); 2] = [("node.key", 0o600), ("node.pem", 0o644)];

/// Makes a pair for each of the named nodes; answers their folders.
///
/// Fails with `file_missing` when the folder lacks the authority's key or a node's configuration,
/// `bad_cluster_folder` when that is none.
pub fn renew(dir: &Path, names: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let (_, issuer) = authority(dir)?;
    let mut folders = Vec::new();
    for name in names {
        let folder = dir.join(name);
        let known = read(&folder.join("node.toml"))?;
        let (certificate, key) = node_certificate(known.id, &known.spec, &issuer)?;
        for ((file, mode), text) in FILES.iter().zip([key.as_str(), certificate.as_str()]) {
            let new = folder.join(format!("{file}.new"));
            // Of a renewal that was cut off.
            let _none = fs::remove_file(&new);
            write_new(&new, text.as_bytes(), *mode)?;
        }
        for (file, _) in FILES {
            let at = |end: &str| folder.join(format!("{file}{end}"));
            let named =
                fs::rename(at(""), at(".old")).and_then(|()| fs::rename(at(".new"), at("")));
            named.map_err(|error| Failure::file("cannot rename", &at(""), &error))?;
        }
        sync_dir(&folder)?;
        folders.push(folder);
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{Extra, init, nodes};

    #[test]
    fn a_pair_is_made_anew_and_the_old_one_stays_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let cluster = dir.path().join("cluster");
        let pairs = ["n1=10.0.0.1".to_owned(), "n2=10.0.0.2".to_owned()];
        let specs = nodes(&pairs, (8080, 4059, 7001)).expect("good pairs");
        init(&cluster, &specs, &Extra::default()).expect("made");
        let text = |file: &str| fs::read_to_string(cluster.join(file)).expect(file);
        let before = (text("n1/node.pem"), text("n1/node.key"), text("n2/node.pem"));
        let folders = renew(&cluster, &["n1".to_owned()]).expect("renewed");
        assert_eq!(folders, [cluster.join("n1")]);
        assert_ne!(
            (text("n1/node.pem"), text("n1/node.key")),
            (before.0.clone(), before.1.clone())
        );
        assert_eq!((text("n1/node.pem.old"), text("n1/node.key.old")), (before.0, before.1));
        assert_eq!(text("n2/node.pem"), before.2, "the others are as they were");
        renew(&cluster, &["n1".to_owned()]).expect("again");
        assert!(renew(&cluster, &["n3".to_owned()]).is_err(), "no such node");
        fs::remove_file(cluster.join("ca/ca.key")).expect("gone");
        let failure = renew(&cluster, &["n1".to_owned()]).expect_err("no authority");
        assert_eq!(failure.code, "file_missing");
    }
}
