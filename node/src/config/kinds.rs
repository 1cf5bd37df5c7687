//! What a key of the configuration file is: its place, what its value must look like, its default.
//!
//! Not the keys themselves (`keys`). Invariant: a kind bounds whatever it lets through.

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Non-empty text of at most 255 octets.
    Text,
    /// A whole number from .0 to .1.
    Integer(i64, i64),
    /// `true` or `false`.
    Flag,
    /// An address and a port to listen on, `127.0.0.1:8080` or `[::]:8080`.
    Listen,
    /// The same, or `none`.
    MaybeListen,
    /// A host name or address and a port, `n1.example:7001`.
    HostPort,
    /// A path; a relative one starts at the folder of the configuration file.
    Path,
    /// So many octets in hexadecimal.
    Hex(usize),
    /// One of a few words.
    Choice(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table that it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its value must look like.
    pub kind: Kind,
    /// The value when the key is left out, as TOML; `None`: the key must be given.
    pub default: Option<&'static str>,
    /// What it means, with its unit, and what a wrong value does.
    pub about: &'static str,
}

/// A key, as the table of keys is written.
pub const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key { section, name, kind, default, about }
}
