//! The corpus of the fuzz targets replayed, each file whole, cut short and with a changed octet.
//! The only place of this crate that reads files; the library has no IO.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::path::Path;

use crate::checks;
use crate::clock::start;

/// Mutations of the corpus for each target: what the fuzzer does, bounded, on every build.
const ROUNDS: usize = 20_000;

/// The same where each round seals and opens: ciphers are slow without optimisation.
const CIPHERED_ROUNDS: usize = 500;

/// Another seed is as good; it is printed, so that a finding can be had again.
const SEED: u64 = 0x686f_6c64_6661_7374;

/// splitmix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit.max(1)).unwrap();
        usize::try_from((z ^ (z >> 31)) % limit).unwrap()
    }
}

pub(crate) fn files(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let read = |name| {
        let mut octets = Vec::new();
        let mut file = OpenOptions::new().read(true).open(name).unwrap();
        file.read_to_end(&mut octets).unwrap();
        octets
    };
    names.into_iter().map(read).collect()
}

/// One to eight changes of the kinds that find most: bits, octets that are limits, pieces cut
/// out, doubled, or taken from another file.
pub(crate) fn mutate(octets: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let mut below = |limit: usize| chance.below(limit);
    for _ in 0..=below(8) {
        let at = below(octets.len() + 1);
        let end = (at + 1 + below(16)).min(octets.len());
        match below(6) {
            0 if at < octets.len() => octets[at] ^= 1 << below(8),
            1 if at < octets.len() => {
                octets[at] = [0, 1, 0x7f, 0x80, 0x82, 0x84, 0xfe, 0xff][below(8)];
            }
            2 if at < end => drop(octets.drain(at..end)),
            3 if at < end => {
                let piece = octets[at..end].to_vec();
                octets.splice(at..at, piece);
            }
            4 => octets.insert(at, u8::try_from(below(256)).unwrap()),
            _ if !other.is_empty() => {
                let from = below(other.len());
                let piece = other[from..(from + 1 + below(32)).min(other.len())].to_vec();
                octets.splice(at..at, piece);
            }
            _ => {}
        }
    }
    octets.truncate(2_048);
}

fn replay(target: &str, rounds: usize, check: impl Fn(&[u8])) {
    let all = files(target);
    for octets in &all {
        check(octets);
        for at in (0..octets.len()).step_by(1 + octets.len() / 64) {
            check(&octets[..at]);
            let mut changed = octets.clone();
            changed[at] ^= 0x80;
            check(&changed);
        }
    }
    assert!(all.len() >= 4, "{target} has {} files", all.len());
    println!("{target}: {rounds} mutations with the seed {SEED:#x}");
    let mut chance = Chance(SEED);
    for _ in 0..rounds {
        let mut octets = all[chance.below(all.len())].clone();
        let other = &all[chance.below(all.len())];
        mutate(&mut octets, other, &mut chance);
        check(&octets);
    }
}

#[test]
fn the_corpus_of_wrapper_holds() {
    replay("wrapper", ROUNDS, checks::wrapper);
}

#[test]
fn the_corpus_of_hdlc_holds() {
    replay("hdlc", ROUNDS, checks::hdlc);
}

#[test]
fn the_corpus_of_link_holds() {
    replay("link", ROUNDS, |octets| checks::link(start(), octets));
}

#[test]
fn the_corpus_of_apdu_holds() {
    replay("apdu", ROUNDS, checks::apdu);
}

#[test]
fn the_corpus_of_axdr_holds() {
    replay("axdr", ROUNDS, checks::axdr);
}

#[test]
fn the_corpus_of_ciphered_holds() {
    replay("ciphered", CIPHERED_ROUNDS, checks::ciphered);
}

#[test]
fn the_corpus_of_iec62056_21_holds() {
    replay("iec62056_21", ROUNDS, checks::iec62056_21);
}

#[test]
fn the_corpus_of_association_holds() {
    replay("association", ROUNDS, |octets| checks::association(start(), octets));
}
