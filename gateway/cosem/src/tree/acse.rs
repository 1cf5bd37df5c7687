//! AARQ, AARE, RLRQ and RLRE as nodes. A password is said to be there and not shown.

use super::protection::MAX_LEVEL;
use super::walk::{Walk, hex};
use super::{Fault, Options, apdu};
use crate::apdu::{Apdu, tag};
use crate::ber::{self, Element};

/// The fields behind the tag of an ACSE APDU.
pub(super) fn fields(
    walk: &mut Walk<'_>,
    type_tag: u8,
    options: &Options,
    level: usize,
) -> Result<(), Fault> {
    let length = walk.reader.length()?;
    let end = walk.at() + length;
    let mut options = options.clone();
    let mut mechanism = None;
    while walk.at() < end {
        let at = walk.at();
        let field = ber::element(&mut walk.reader)?;
        let name = name(type_tag, field.tag);
        match name {
            "user-information" => user_information(walk, at, &field, &options, level)?,
            "authentication-value" if mechanism.is_none_or(|arc| arc < 2) => {
                walk.leaf(name, at, "not shown".to_owned());
            }
            _ => {
                if name.ends_with("AP-title")
                    && let Some(title) = field.content.get(2..)
                    && let Ok(title) = title.try_into()
                {
                    options.title = Some(title);
                }
                if name == "mechanism-name" {
                    mechanism = field.content.last().copied();
                }
                walk.leaf(name, at, text(name, &field));
            }
        }
    }
    Ok(())
}

/// An initiate, plain or protected; octets that are no APDU are shown as they are.
fn user_information(
    walk: &mut Walk<'_>,
    at: usize,
    field: &Element<'_>,
    options: &Options,
    level: usize,
) -> Result<(), Fault> {
    let inner = field.inner(0x04)?;
    if level >= MAX_LEVEL || Apdu::decode(inner.content).is_err() {
        walk.leaf("user-information", at, format!("{} octets, no APDU", inner.content.len()));
        return Ok(());
    }
    let node = apdu(inner.content, inner.base, options, level + 1)?;
    walk.group_from("user-information", at, |walk| {
        walk.nodes.push(node);
        Ok(())
    })
}

const fn name(type_tag: u8, field: u8) -> &'static str {
    match (type_tag, field) {
        (tag::AARQ | tag::AARE, 0x80) => "protocol-version",
        (tag::RLRQ | tag::RLRE, 0x80) => "reason",
        (_, 0xa1) => "application-context-name",
        (tag::AARE, 0xa2) => "result",
        (tag::AARE, 0xa3) => "result-source-diagnostic",
        (tag::AARE, 0xa4) => "responding-AP-title",
        (tag::AARQ, 0xa6) => "calling-AP-title",
        (tag::AARQ, 0xa9) => "calling-AE-invocation-id",
        (tag::AARQ, 0x8a) | (tag::AARE, 0x88) => "acse-requirements",
        (tag::AARQ, 0x8b) | (tag::AARE, 0x89) => "mechanism-name",
        (tag::AARQ, 0xac) | (tag::AARE, 0xaa) => "authentication-value",
        (_, 0xbe) => "user-information",
        _ => "field",
    }
}

fn text(name: &str, field: &Element<'_>) -> String {
    let last = field.content.last().copied().unwrap_or_default();
    let said = match (name, last) {
        ("application-context-name", 1) => "logical names",
        ("application-context-name", 2) => "short names",
        ("application-context-name", 3) => "logical names, ciphered",
        ("application-context-name", 4) => "short names, ciphered",
        ("mechanism-name", 0) => "lowest",
        ("mechanism-name", 1) => "low (password)",
        ("mechanism-name", 3) => "high, MD5",
        ("mechanism-name", 4) => "high, SHA-1",
        ("mechanism-name", 5) => "high, GMAC",
        ("mechanism-name", 6) => "high, SHA-256",
        ("mechanism-name", 7) => "high, ECDSA",
        ("result", 0) => "accepted",
        ("result", 1) => "rejected for good",
        ("result", 2) => "rejected for now",
        ("reason", 0) => "normal",
        _ => "",
    };
    if !is_usual(name, field.content) {
        return format!("{} octets", field.content.len());
    }
    let shown = hex(field.content);
    if said.is_empty() { shown } else { format!("{shown} ({said})") }
}

/// Whether the field has the form that it has in the standard. Any other may be a password under
/// a damaged tag, and is not shown.
fn is_usual(name: &str, content: &[u8]) -> bool {
    const DLMS_UA: [u8; 5] = [0x60, 0x85, 0x74, 0x05, 0x08];
    match name {
        "application-context-name" => {
            content.len() == 9 && content.starts_with(&[6, 7]) && content[2..].starts_with(&DLMS_UA)
        }
        "mechanism-name" => content.len() == 7 && content.starts_with(&DLMS_UA),
        "calling-AP-title" | "responding-AP-title" => {
            content.len() == 10 && content.starts_with(&[4, 8])
        }
        "result" | "reason" => content.len() <= 3,
        "result-source-diagnostic" => {
            matches!(content, [0xa1 | 0xa2, 3, 2, 1, _])
        }
        "calling-AE-invocation-id" => content.len() <= 6 && content.first() == Some(&2),
        "protocol-version" | "acse-requirements" => content.len() <= 2,
        // A challenge: of a password this is never asked.
        "authentication-value" => true,
        _ => false,
    }
}
