//! A reader that leaves a node for everything that it takes. It knows no service.

use std::borrow::Cow;

use super::Node;
use crate::axdr::Reader;
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// The reader and the nodes of the present level.
pub(super) struct Walk<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) nodes: Vec<Node>,
}

impl<'a> Walk<'a> {
    /// Starts at the first octet, whose offset is `base`.
    pub(super) const fn new(octets: &'a [u8], base: usize) -> Self {
        Self { reader: Reader::with_base(octets, base), nodes: Vec::new() }
    }

    pub(super) const fn at(&self) -> usize {
        self.reader.position()
    }

    /// Leaves a node for what was taken since `at`.
    pub(super) fn leaf(&mut self, name: impl Into<Cow<'static, str>>, at: usize, value: String) {
        let length = self.at() - at;
        let (name, value) = (name.into(), Some(value));
        self.nodes.push(Node { name, at, length, value, restarts: false, children: Vec::new() });
    }

    /// Leaves a node whose parts are what `parts` takes.
    pub(super) fn group<E>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        parts: impl FnOnce(&mut Self) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let at = self.at();
        self.group_from(name, at, parts)
    }

    /// The same for a node that began at `at`.
    pub(super) fn group_from<E>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        at: usize,
        parts: impl FnOnce(&mut Self) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let outer = std::mem::take(&mut self.nodes);
        let done = parts(self);
        let children = std::mem::replace(&mut self.nodes, outer);
        let (name, length) = (name.into(), self.at() - at);
        self.nodes.push(Node { name, at, length, value: None, restarts: false, children });
        done
    }

    /// Gives the last node a value beside its parts.
    pub(super) fn told(&mut self, value: impl Into<String>) {
        if let Some(node) = self.nodes.last_mut() {
            node.value = Some(value.into());
        }
    }

    pub(super) fn u8(&mut self, name: &'static str) -> Result<u8> {
        let at = self.at();
        let value = self.reader.u8()?;
        self.leaf(name, at, value.to_string());
        Ok(value)
    }

    pub(super) fn u16(&mut self, name: &'static str) -> Result<u16> {
        let at = self.at();
        let value = self.reader.u16()?;
        self.leaf(name, at, value.to_string());
        Ok(value)
    }

    pub(super) fn u32(&mut self, name: &'static str) -> Result<u32> {
        let at = self.at();
        let value = self.reader.u32()?;
        self.leaf(name, at, value.to_string());
        Ok(value)
    }

    /// One octet in hex, with what it says.
    pub(super) fn octet(
        &mut self,
        name: &'static str,
        say: impl FnOnce(u8) -> String,
    ) -> Result<u8> {
        let at = self.at();
        let value = self.reader.u8()?;
        let said = say(value);
        let text =
            if said.is_empty() { format!("{value:02x}") } else { format!("{value:02x} ({said})") };
        self.leaf(name, at, text);
        Ok(value)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool> {
        let at = self.at();
        let value = self.reader.flag()?;
        self.leaf(name, at, value.to_string());
        Ok(value)
    }

    /// A length and that many octets, in hex.
    pub(super) fn octets(&mut self, name: &'static str) -> Result<&'a [u8]> {
        let at = self.at();
        let octets = self.reader.octets()?;
        self.leaf(name, at, hex(octets));
        Ok(octets)
    }

    /// The prefix that names a device behind a concentrator.
    pub(super) fn gateway_header(&mut self) -> Result<()> {
        let at = self.at();
        let name = if self.reader.u8()? == 0xe6 { "gateway-request" } else { "gateway-response" };
        self.group_from(name, at, |walk| {
            walk.u8("network-id")?;
            let at = walk.at();
            let length = usize::from(walk.reader.u8()?);
            let address = walk.reader.take(length)?;
            walk.leaf("physical-device-address", at, super::data::string(address));
            Ok(())
        })
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(octets: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]).collect()
}
