//! The corpus of the fuzz targets replayed, each file whole, cut short and with a changed octet.
//! The only place of this crate that reads files; the library has no IO.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::path::Path;

use crate::checks;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let mut octets = Vec::new();
        let mut file = OpenOptions::new().read(true).open(entry.unwrap().path()).unwrap();
        file.read_to_end(&mut octets).unwrap();
        check(&octets);
        for at in (0..octets.len()).step_by(1 + octets.len() / 64) {
            check(&octets[..at]);
            let mut changed = octets.clone();
            changed[at] ^= 0x80;
            check(&changed);
        }
        files += 1;
    }
    assert!(files >= 4, "{target} has {files} files");
}

#[test]
fn the_corpus_holds() {
    replay("wrapper", checks::wrapper);
    replay("hdlc", checks::hdlc);
    replay("apdu", checks::apdu);
    replay("axdr", checks::axdr);
    replay("ciphered", checks::ciphered);
    replay("iec62056_21", checks::iec62056_21);
}
