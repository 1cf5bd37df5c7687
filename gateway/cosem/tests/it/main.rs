//! The crate's one integration binary: published vectors, machines against each other, properties
//! and a differential test.

#[cfg(test)]
#[path = "../../fuzz/checks.rs"]
mod checks;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod crypto;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod gbt;
#[cfg(test)]
mod hdlc;
#[cfg(test)]
mod hdlc_line;
#[cfg(test)]
mod iec62056_21;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod made;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod octets;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quirks;
#[cfg(test)]
mod security;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod states;
#[cfg(test)]
mod states_ciphered;
#[cfg(test)]
mod transfer;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod vectors;
