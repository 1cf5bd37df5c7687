//! `decode`: any frame as a tree. Nothing is sent anywhere; no cluster is asked.
//!
//! Invariants: keys come from files, are wiped, and stand in no output; octets that make no sense
//! end with exit 1 and their offset.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gateway::Suite;
use gateway::tree::{self, Node};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::secret::unhex;

/// The most hexadecimal text that is read, octets: far more than any frame has.
const MAX_TEXT: u64 = 4 << 20;

/// `decode`.
#[derive(Args)]
pub struct DecodeArgs {
    /// What the octets are; without it, what they look like.
    #[arg(long, value_enum)]
    layer: Option<Layer>,
    /// File of the global unicast encryption key in hex: 32 digits, 64 of suite 2.
    #[arg(long, value_name = "FILE", requires = "gak_file")]
    guek_file: Option<PathBuf>,
    /// File of the global authentication key in hex, as long as the other.
    #[arg(long, value_name = "FILE", requires = "guek_file")]
    gak_file: Option<PathBuf>,
    /// The sender's system title, 16 hex digits, where the frame does not carry it.
    #[arg(long, value_name = "HEX")]
    system_title: Option<String>,
    /// The tree as JSON.
    #[arg(long)]
    pub json: bool,
    /// The octets, spaces allowed; `-` reads them from standard input.
    #[arg(required = true, value_name = "HEX", allow_hyphen_values = true)]
    octets: Vec<String>,
}

/// The layers by name.
#[derive(Clone, Copy, ValueEnum)]
enum Layer {
    Apdu,
    Axdr,
    Wrapper,
    Hdlc,
}

impl From<Layer> for tree::Layer {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Apdu => Self::Apdu,
            Layer::Axdr => Self::Axdr,
            Layer::Wrapper => Self::Wrapper,
            Layer::Hdlc => Self::Hdlc,
        }
    }
}

/// Prints the tree of the octets.
pub fn decode(args: &DecodeArgs) -> Result<(), Failure> {
    let octets = octets(&args.octets)?;
    let layer = args.layer.map_or_else(|| tree::layer_of(&octets), tree::Layer::from);
    let nodes = tree::decode(layer, &octets, &options(args)?)
        .map_err(|fault| Failure::failed(fault.error.code(), fault))?;
    if args.json {
        println!("{}", Value::Array(nodes.iter().map(node).collect()));
    } else {
        nodes.iter().for_each(|node| print!("{node}"));
    }
    Ok(())
}

fn octets(words: &[String]) -> Result<Vec<u8>, Failure> {
    let text = if words == ["-"] {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_TEXT)
            .read_to_string(&mut text)
            .map_err(|error| Failure::failed("file_failed", format!("standard input: {error}")))?;
        text
    } else {
        words.concat()
    };
    let digits: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    if digits.is_empty() {
        return Err(Failure::usage("no octets are given"));
    }
    unhex(&digits).ok_or_else(|| Failure::usage("octets are pairs of hexadecimal digits"))
}

fn options(args: &DecodeArgs) -> Result<tree::Options, Failure> {
    let mut options = tree::Options::default();
    if let (Some(guek), Some(gak)) = (&args.guek_file, &args.gak_file) {
        let (guek, gak) = (key(guek)?, key(gak)?);
        let suite = if guek.len() == 32 { Suite::Two } else { Suite::Zero };
        let keys = gateway::Keys::in_suite(suite, &guek, &gak);
        let unlike = |_| Failure::failed("bad_key", "the two keys are of unequal length");
        options.keys = Some(keys.map_err(unlike)?);
    }
    if let Some(title) = &args.system_title {
        let title = unhex(title).and_then(|octets| octets.try_into().ok());
        let wrong = || Failure::usage("a system title is 16 hexadecimal digits");
        options.title = Some(title.ok_or_else(wrong)?);
    }
    Ok(options)
}

/// The key in a file of 32 hexadecimal digits, or of the 64 of suite 2.
fn key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::file("cannot read the key", path, &error))?;
    let text = Zeroizing::new(text);
    let octets = Zeroizing::new(unhex(text.trim()).unwrap_or_default());
    if !matches!(octets.len(), 16 | 32) {
        let text = format!("{} does not hold 32 or 64 hexadecimal digits", path.display());
        return Err(Failure::failed("bad_key", text));
    }
    Ok(octets)
}

/// A node as JSON; `own_offsets` marks one whose parts count from its own first octet.
fn node(node: &Node) -> Value {
    let mut out = json!({"name": node.name, "at": node.at, "length": node.length});
    if let Some(value) = &node.value {
        out["value"] = json!(value);
    }
    if node.restarts {
        out["own_offsets"] = json!(true);
    }
    if !node.children.is_empty() {
        out["children"] = node.children.iter().map(self::node).collect();
    }
    out
}
