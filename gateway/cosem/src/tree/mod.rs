//! Octets of any layer as a tree of named nodes with their offsets, for people who look at a
//! frame. It is not a second decoder: the layer's own decoder judges the octets first, and the
//! walk that follows only names what was accepted.
//!
//! Invariants: octets are accepted exactly when the layer's decoder accepts them; keys, passwords
//! and dedicated keys never stand in a node or a fault; nesting is bounded.

mod acse;
mod data;
mod frame;
mod general;
mod protection;
mod service;
mod walk;

use std::borrow::Cow;
use std::fmt;

use crate::apdu::Apdu;
use crate::data::Data;
use crate::error::Error;
use crate::security::{Keys, SystemTitle};

use walk::Walk;

/// What octets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// One APDU, with or without a gateway header.
    Apdu,
    /// One value of type Data.
    Axdr,
    /// Frames of the wrapper, one after the other.
    Wrapper,
    /// HDLC frames with their flags.
    Hdlc,
}

/// What deciphering needs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The global keys; without them protected content stays closed.
    pub keys: Option<Keys>,
    /// System title of the sender, where the frame does not carry it.
    pub title: Option<SystemTitle>,
}

/// A part of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is, in the words of the standard.
    pub name: Cow<'static, str>,
    /// Offset of its first octet.
    pub at: usize,
    /// Octets.
    pub length: usize,
    /// Its value, when it is not only the sum of its parts.
    pub value: Option<String>,
    /// Offsets below it count from its own first octet: it was deciphered or joined from pieces.
    pub restarts: bool,
    /// Its parts in order.
    pub children: Vec<Node>,
}

/// Why there is no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the octet that makes no sense.
    pub at: usize,
    /// The part that the offset counts from when it is not the whole.
    pub within: Option<&'static str>,
    /// Why.
    pub error: Error,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "octet {}", self.at)?;
        if let Some(within) = self.within {
            write!(f, " of the {within}")?;
        }
        match self.error {
            Error::Malformed { what, .. } => write!(f, ": {what}"),
            error => write!(f, ": {error}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::moved(error, 0)
    }
}

impl Fault {
    /// The fault of a part that begins at `base`.
    const fn moved(error: Error, base: usize) -> Self {
        let at = if let Error::Malformed { at, .. } = error { at } else { 0 };
        Self { at: base + at, within: None, error }
    }

    /// The fault of a part with offsets of its own.
    fn inside(self, part: &'static str) -> Self {
        Self { within: self.within.or(Some(part)), ..self }
    }
}

impl fmt::Display for Node {
    /// One line a node: offset, two spaces a level, name, value. Offsets that restart are marked
    /// with a stroke for each time they did.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(f, 0, "")
    }
}

impl Node {
    fn lines(&self, f: &mut fmt::Formatter<'_>, level: usize, marks: &str) -> fmt::Result {
        let indent = level * 2;
        write!(f, "{:>6}{marks}  {:indent$}{}", self.at, "", self.name)?;
        match &self.value {
            Some(value) => writeln!(f, ": {value}")?,
            None => writeln!(f)?,
        }
        let deeper = format!("{marks}{}", if self.restarts { "'" } else { "" });
        self.children.iter().try_for_each(|child| child.lines(f, level + 1, &deeper))
    }
}

/// The layer that `octets` look like: a flag is HDLC, version 1 the wrapper; else an APDU, unless
/// only A-XDR decodes.
#[must_use]
pub fn layer_of(octets: &[u8]) -> Layer {
    match octets {
        [0x7e, ..] => Layer::Hdlc,
        [0, 1, ..] => Layer::Wrapper,
        _ => match (apdu_of(octets), Data::decode(octets)) {
            (Err(_), Ok(_)) => Layer::Axdr,
            _ => Layer::Apdu,
        },
    }
}

fn apdu_of(octets: &[u8]) -> Result<Apdu, Error> {
    crate::gateway_header::split(octets).and_then(|(_, apdu)| Apdu::decode(apdu))
}

/// The trees of `octets`: one of an APDU or a value, one a frame for the framed layers.
///
/// # Errors
/// A fault with its offset when the layer's decoder refuses the octets, or when a tag does not
/// verify under the keys given.
pub fn decode(layer: Layer, octets: &[u8], options: &Options) -> Result<Vec<Node>, Fault> {
    match layer {
        Layer::Apdu => Ok(vec![apdu(octets, 0, options, 0)?]),
        Layer::Axdr => {
            Data::decode(octets)?;
            let mut walk = Walk::new(octets, 0);
            data::value(&mut walk, "data")?;
            Ok(walk.nodes)
        }
        Layer::Wrapper => frame::wrapper(octets, options),
        Layer::Hdlc => frame::hdlc(octets, options),
    }
}

/// An APDU that begins at offset `base`, `level` protections deep.
fn apdu(octets: &[u8], base: usize, options: &Options, level: usize) -> Result<Node, Fault> {
    let moved = |error| Fault::moved(error, base);
    let (prefix, rest) = crate::gateway_header::split(octets).map_err(moved)?;
    let start = base + octets.len() - rest.len();
    Apdu::decode(rest).map_err(|error| Fault::moved(error, start))?;
    let mut walk = Walk::new(octets, base);
    if prefix.is_some() {
        walk.gateway_header()?;
    }
    service::apdu(&mut walk, options, level)?;
    match (walk.nodes.pop(), walk.nodes.pop()) {
        (Some(inner), Some(mut header)) => {
            header.length = octets.len();
            header.children.push(inner);
            Ok(header)
        }
        (Some(node), None) => Ok(node),
        _ => Err(moved(Error::malformed(0, "no APDU"))),
    }
}
