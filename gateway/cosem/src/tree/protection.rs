//! Protected APDUs as nodes: the security header, and the plaintext where keys open it. What the
//! keys cannot open by their nature (dedicated keys, suites with keys of another length) is said
//! and stays closed; a tag that does not verify is a fault.

use super::walk::{Walk, hex};
use super::{Fault, Node, Options, apdu};
use crate::apdu::tag;
use crate::error::Error;
use crate::security::{self, SecurityControl, Suite, SystemTitle};

/// Protections within protections that are opened.
pub(super) const MAX_LEVEL: usize = 4;

/// A glo-, ded-, general-glo- or general-ded-ciphered APDU behind its tag.
pub(super) fn protected(
    walk: &mut Walk<'_>,
    type_tag: u8,
    options: &Options,
    level: usize,
) -> Result<(), Fault> {
    let mut title = options.title;
    if matches!(type_tag, tag::GENERAL_GLO | tag::GENERAL_DED) {
        title = walk.octets("system-title")?.try_into().ok().or(title);
    }
    let sealed = header(walk)?;
    if is_dedicated(type_tag) {
        sealed.stays_closed(walk, "dedicated key");
        return Ok(());
    }
    open(walk, &sealed, title, options, level)
}

/// The parts of a protected APDU that opening needs.
pub(super) struct Sealed<'a> {
    control: SecurityControl,
    counter: u32,
    content: &'a [u8],
    at: usize,
}

/// Length, security control, invocation counter, content.
pub(super) fn header<'a>(walk: &mut Walk<'a>) -> Result<Sealed<'a>, Fault> {
    let length = walk.reader.length()?;
    let control = SecurityControl(walk.octet("security-control", control_text)?);
    let counter = walk.u32("invocation-counter")?;
    let at = walk.at();
    let content = walk.reader.take(length.saturating_sub(5))?;
    let sealed = Sealed { control, counter, content, at };
    walk.leaf("content", at, sealed.text());
    Ok(sealed)
}

impl Sealed<'_> {
    /// Ciphertext in hex. Content in clear may hold a dedicated key, so only its length.
    fn text(&self) -> String {
        if self.control.is_encrypted() {
            return hex(self.content);
        }
        format!("{} octets in clear", self.content.len())
    }

    fn stays_closed(&self, walk: &mut Walk<'_>, why: &str) {
        walk.told(format!("{} (not opened: {why})", self.text()));
    }
}

fn open(
    walk: &mut Walk<'_>,
    sealed: &Sealed<'_>,
    title: Option<SystemTitle>,
    options: &Options,
    level: usize,
) -> Result<(), Fault> {
    let Some(keys) = &options.keys else { return Ok(()) };
    let Some(title) = title else {
        sealed.stays_closed(walk, "the sender's system title is not known");
        return Ok(());
    };
    if level >= MAX_LEVEL {
        sealed.stays_closed(walk, "protected too many times");
        return Ok(());
    }
    let Sealed { control, counter, content, at } = *sealed;
    // Whoever looks at a frame has keys, and the frame says the suite.
    let other = Suite::of(control.suite()).ok().and_then(|suite| keys.in_other_suite(suite));
    let keys = other.as_ref().unwrap_or(keys);
    let plain = match security::open(keys, control, &title, counter, content) {
        Ok(plain) => plain,
        Err(error @ (Error::Suite(_) | Error::Protection(_))) => {
            sealed.stays_closed(walk, &error.to_string());
            return Ok(());
        }
        Err(error) => return Err(Fault { at, within: None, error }),
    };
    let inner = apdu(&plain, 0, options, level + 1);
    let inner = inner.map_err(|fault| fault.inside("plaintext"))?;
    walk.nodes.push(Node {
        name: "plaintext".into(),
        at,
        length: plain.len(),
        value: None,
        restarts: true,
        children: vec![inner],
    });
    Ok(())
}

const fn is_dedicated(type_tag: u8) -> bool {
    matches!(type_tag, 0x41 | 0x48 | 0xd0..=0xd7 | tag::GENERAL_DED)
}

fn control_text(octet: u8) -> String {
    let control = SecurityControl(octet);
    let mut text = format!("suite {}", control.suite());
    for (is, name) in [
        (control.is_authenticated(), ", authenticated"),
        (control.is_encrypted(), ", encrypted"),
        (control.is_broadcast(), ", broadcast key"),
        (control.is_compressed(), ", compressed"),
    ] {
        if is {
            text.push_str(name);
        }
    }
    text
}

/// The name of a protected APDU.
pub(super) const fn name(type_tag: u8) -> &'static str {
    match type_tag {
        0x21 => "glo-initiate-request",
        0x28 => "glo-initiate-response",
        0x41 => "ded-initiate-request",
        0x48 => "ded-initiate-response",
        0xc8 => "glo-get-request",
        0xc9 => "glo-set-request",
        0xca => "glo-event-notification-request",
        0xcb => "glo-action-request",
        0xcc => "glo-get-response",
        0xcd => "glo-set-response",
        0xcf => "glo-action-response",
        0xd0 => "ded-get-request",
        0xd1 => "ded-set-request",
        0xd2 => "ded-event-notification-request",
        0xd3 => "ded-action-request",
        0xd4 => "ded-get-response",
        0xd5 => "ded-set-response",
        0xd7 => "ded-action-response",
        tag::GENERAL_GLO => "general-glo-ciphering",
        tag::GENERAL_DED => "general-ded-ciphering",
        _ => "protected",
    }
}
