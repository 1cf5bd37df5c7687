//! The services of xDLMS as nodes, field by field as their decoders read them.

use super::walk::{Walk, hex};
use super::{Fault, Options, acse, data, general, protection};
use crate::apdu::{Conformance, DataAccessError, tag};
use crate::axdr::Reader;
use crate::data::{Data, tag as data_tag};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// One APDU without gateway header, which its decoder has accepted.
pub(super) fn apdu(
    walk: &mut Walk<'_>,
    options: &Options,
    level: usize,
) -> std::result::Result<(), Fault> {
    let at = walk.at();
    let type_tag = walk.reader.u8()?;
    let mut choice = "";
    walk.group_from(name(type_tag), at, |walk| -> std::result::Result<(), Fault> {
        match type_tag {
            tag::AARQ | tag::AARE | tag::RLRQ | tag::RLRE => {
                acse::fields(walk, type_tag, options, level)?;
            }
            tag::INITIATE_REQUEST => initiate_request(walk)?,
            tag::INITIATE_RESPONSE => initiate_response(walk)?,
            tag::CONFIRMED_SERVICE_ERROR => {
                for name in ["service", "error-class", "error"] {
                    walk.u8(name)?;
                }
            }
            tag::EXCEPTION_RESPONSE => exception(walk)?,
            tag::DATA_NOTIFICATION => data_notification(walk)?,
            tag::EVENT_NOTIFICATION => event_notification(walk)?,
            tag::ACCESS_REQUEST => access_request(walk)?,
            tag::ACCESS_RESPONSE => access_response(walk)?,
            tag::GET_REQUEST
            | tag::GET_RESPONSE
            | tag::SET_REQUEST
            | tag::SET_RESPONSE
            | tag::ACTION_REQUEST
            | tag::ACTION_RESPONSE => choice = service(walk, type_tag)?,
            tag::GENERAL_BLOCK_TRANSFER => general::block(walk)?,
            tag::GENERAL_CIPHERING => general::ciphering(walk)?,
            tag::GENERAL_SIGNING => general::signing(walk, options, level)?,
            _ => protection::protected(walk, type_tag, options, level)?,
        }
        Ok(())
    })?;
    if !choice.is_empty() {
        walk.told(choice);
    }
    Ok(())
}

/// GET, SET and ACTION: the choice, the invoke id, and what the choice has.
fn service(walk: &mut Walk<'_>, type_tag: u8) -> Result<&'static str> {
    let choice = walk.u8("choice")?;
    walk.octet("invoke-id-and-priority", |octet| format!("invoke id {}", octet & 0x0f))?;
    Ok(match (type_tag, choice) {
        (tag::GET_REQUEST, 1) => attribute(walk, true).map(|_| "normal")?,
        (tag::SET_REQUEST, 1) => {
            attribute(walk, true)?.value(walk, "value")?;
            "normal"
        }
        (tag::ACTION_REQUEST, 1) => {
            let shown = attribute(walk, false)?;
            if walk.flag("parameters-present")? {
                shown.value(walk, "parameters")?;
            }
            "normal"
        }
        (tag::GET_REQUEST | tag::ACTION_REQUEST, 2)
        | (tag::SET_RESPONSE, 2)
        | (tag::ACTION_RESPONSE, 4) => walk.u32("block-number").map(|_| "next or block taken")?,
        (tag::GET_REQUEST, 3) => {
            list(walk, "attributes", |w| attribute(w, true).map(|_| ())).map(|()| "list")?
        }
        (tag::SET_REQUEST, 2) => {
            attribute(walk, true)?;
            block(walk, type_tag).map(|()| "first block")?
        }
        (tag::ACTION_REQUEST, 4) => {
            attribute(walk, false)?;
            block(walk, type_tag).map(|()| "first block")?
        }
        (tag::SET_REQUEST, 3) | (tag::ACTION_REQUEST, 6) | (tag::ACTION_RESPONSE, 2) => {
            block(walk, type_tag).map(|()| "block")?
        }
        (tag::SET_REQUEST, 4) | (tag::ACTION_REQUEST, 3) => {
            let shown = descriptors(walk, type_tag)?;
            values(walk, &shown).map(|()| "list")?
        }
        (tag::SET_REQUEST, 5) | (tag::ACTION_REQUEST, 5) => {
            descriptors(walk, type_tag)?;
            block(walk, type_tag).map(|()| "list, first block")?
        }
        _ => response(walk, type_tag, choice)?,
    })
}

fn response(walk: &mut Walk<'_>, type_tag: u8, choice: u8) -> Result<&'static str> {
    Ok(match (type_tag, choice) {
        (tag::GET_RESPONSE, 1) => get_result(walk).map(|()| "normal")?,
        (tag::GET_RESPONSE, 2) => {
            walk.flag("last-block")?;
            walk.u32("block-number")?;
            match walk.u8("result-choice")? {
                0 => walk.octets("raw-data").map(|_| ())?,
                _ => access_result(walk)?,
            }
            "block"
        }
        (tag::GET_RESPONSE, 3) => list(walk, "results", get_result).map(|()| "list")?,
        (tag::SET_RESPONSE, 1) => access_result(walk).map(|()| "normal")?,
        (tag::SET_RESPONSE, 3) => {
            access_result(walk)?;
            walk.u32("block-number").map(|_| "last block")?
        }
        (tag::SET_RESPONSE, 4) => {
            list(walk, "results", access_result)?;
            walk.u32("block-number").map(|_| "last block, list")?
        }
        (tag::SET_RESPONSE, 5) => list(walk, "results", access_result).map(|()| "list")?,
        (tag::ACTION_RESPONSE, 1) => action_answer(walk).map(|()| "normal")?,
        (tag::ACTION_RESPONSE, 3) => list(walk, "answers", action_answer).map(|()| "list")?,
        _ => return Err(walk.reader.malformed("unknown choice")),
    })
}

fn list(
    walk: &mut Walk<'_>,
    name: &'static str,
    mut item: impl FnMut(&mut Walk<'_>) -> Result<()>,
) -> Result<()> {
    walk.group(name, |walk| {
        let count = walk.reader.count()?;
        (0..count).try_for_each(|_| item(walk))
    })
}

/// An attribute with its selection, or a method.
fn attribute(walk: &mut Walk<'_>, selects: bool) -> Result<Shown> {
    let shown = descriptor(walk, if selects { "attribute" } else { "method" })?;
    if selects && walk.flag("selection-present")? {
        selection(walk)?;
    }
    Ok(shown)
}

/// An attribute, or a method when it has that name.
fn descriptor(walk: &mut Walk<'_>, name: &'static str) -> Result<Shown> {
    let (mut class, mut id) = (0, 0);
    walk.group(name, |walk| -> Result<()> {
        class = walk.u16("class-id")?;
        let at = walk.at();
        let [a, b, c, d, e, last]: [u8; 6] = walk.reader.array()?;
        walk.leaf("logical-name", at, format!("{a}.{b}.{c}.{d}.{e}.{last}"));
        let at = walk.at();
        id = i8::from_be_bytes(walk.reader.array()?);
        walk.leaf("id", at, id.to_string());
        Ok(())
    })?;
    Ok(Shown::of(class, id, name == "method"))
}

/// Whether what is written to an attribute, or given to a method, is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    /// It is a key or a password.
    No,
}

impl Shown {
    /// Keys and passwords of IEC 62056-6-2: 15 association (secret, change of the HLS secret),
    /// 44 PPP (authentication), 45 GPRS (PIN), 46 SMTP (password), 64 security setup (transfer of
    /// keys, though they are wrapped).
    const fn of(class: u16, id: i8, is_method: bool) -> Self {
        match (class, id, is_method) {
            (15, 7, false) | (44, 5, false) | (45, 3, false) | (46, 4, false) => Self::No,
            (15 | 64, 2, true) => Self::No,
            _ => Self::Yes,
        }
    }

    fn value(self, walk: &mut Walk<'_>, name: &'static str) -> Result<()> {
        if self == Self::Yes {
            return data::value(walk, name);
        }
        let at = walk.at();
        Data::from_axdr(&mut walk.reader)?;
        walk.leaf(if name.is_empty() { "value" } else { name }, at, "not shown".to_owned());
        Ok(())
    }
}

/// Values in the order of what they are for.
fn values(walk: &mut Walk<'_>, shown: &[Shown]) -> Result<()> {
    let mut shown = shown.iter();
    list(walk, "values", |walk| shown.next().copied().unwrap_or(Shown::Yes).value(walk, ""))
}

fn selection(walk: &mut Walk<'_>) -> Result<()> {
    walk.group("selection", |walk| {
        walk.u8("selector")?;
        data::value(walk, "parameters")
    })
}

/// What is written or invoked, and whether its value is shown.
fn descriptors(walk: &mut Walk<'_>, type_tag: u8) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    list(walk, "descriptors", |walk| {
        shown.push(attribute(walk, type_tag == tag::SET_REQUEST)?);
        Ok(())
    })?;
    Ok(shown)
}

/// A block of a request may be a part of a key or a password, whose object stands in another
/// frame, so only its length is shown.
fn block(walk: &mut Walk<'_>, type_tag: u8) -> Result<()> {
    walk.flag("last-block")?;
    walk.u32("block-number")?;
    if type_tag == tag::ACTION_RESPONSE {
        return walk.octets("raw-data").map(|_| ());
    }
    let at = walk.at();
    let octets = walk.reader.octets()?;
    walk.leaf("raw-data", at, format!("{} octets", octets.len()));
    Ok(())
}

fn get_result(walk: &mut Walk<'_>) -> Result<()> {
    match walk.u8("result-choice")? {
        0 => data::value(walk, "value"),
        _ => access_result(walk),
    }
}

fn access_result(walk: &mut Walk<'_>) -> Result<()> {
    let at = walk.at();
    let text = match DataAccessError::check(walk.reader.u8()?) {
        Ok(()) => "success (0)".to_owned(),
        Err(reason) => reason.to_string(),
    };
    walk.leaf("result", at, text);
    Ok(())
}

fn action_answer(walk: &mut Walk<'_>) -> Result<()> {
    access_result(walk)?;
    if walk.flag("return-present")? { get_result(walk) } else { Ok(()) }
}

fn initiate_request(walk: &mut Walk<'_>) -> Result<()> {
    if walk.flag("dedicated-key-present")? {
        let at = walk.at();
        walk.reader.octets()?;
        walk.leaf("dedicated-key", at, "not shown".to_owned());
    }
    if walk.flag("response-allowed-present")? {
        walk.flag("response-allowed")?;
    }
    quality(walk)?;
    walk.u8("dlms-version")?;
    conformance(walk)?;
    walk.u16("client-max-receive-pdu-size").map(|_| ())
}

fn initiate_response(walk: &mut Walk<'_>) -> Result<()> {
    quality(walk)?;
    walk.u8("dlms-version")?;
    conformance(walk)?;
    walk.u16("server-max-receive-pdu-size")?;
    walk.octet("vaa-name-high", |_| String::new())?;
    walk.octet("vaa-name-low", |_| String::new()).map(|_| ())
}

fn quality(walk: &mut Walk<'_>) -> Result<()> {
    if walk.flag("quality-of-service-present")? {
        walk.u8("quality-of-service")?;
    }
    Ok(())
}

fn conformance(walk: &mut Walk<'_>) -> Result<()> {
    let at = walk.at();
    let head: [u8; 2] = walk.reader.array()?;
    if head == [0x5f, 0x1f] {
        walk.reader.u8()?;
    }
    let [_, a, b, c]: [u8; 4] = walk.reader.array()?;
    let bits = Conformance(u32::from_be_bytes([0, a, b, c]));
    let names: Vec<&str> = bits.names().collect();
    walk.leaf("conformance", at, format!("{} ({})", hex(&[a, b, c]), names.join(", ")));
    Ok(())
}

fn exception(walk: &mut Walk<'_>) -> Result<()> {
    walk.octet("state-error", |octet| {
        let text = if octet == 2 { "service unknown" } else { "service not allowed" };
        text.to_owned()
    })?;
    let fault = walk.octet("service-error", |octet| fault_text(octet).to_owned())?;
    if fault == 6 {
        walk.u32("expected-counter")?;
    }
    Ok(())
}

const fn fault_text(octet: u8) -> &'static str {
    match octet {
        1 => "operation not possible",
        2 => "service not supported",
        3 => "other reason",
        4 => "PDU too long",
        5 => "deciphering error",
        6 => "invocation counter error",
        _ => "reserved",
    }
}

/// A date-time of 0 or 12 octets behind its length, with its tag or without.
fn date_time(walk: &mut Walk<'_>) -> Result<()> {
    let at = walk.at();
    if walk.reader.rest().starts_with(&[data_tag::OCTET_STRING, 12]) {
        walk.reader.u8()?;
    }
    let text = match walk.reader.octets()? {
        [] => "none".to_owned(),
        octets => data::string(octets),
    };
    walk.leaf("date-time", at, text);
    Ok(())
}

fn long_invoke(walk: &mut Walk<'_>) -> Result<()> {
    let at = walk.at();
    let value = walk.reader.u32()?;
    let text = format!("{value:08x} (invoke id {})", value & 0x00ff_ffff);
    walk.leaf("long-invoke-id-and-priority", at, text);
    Ok(())
}

fn data_notification(walk: &mut Walk<'_>) -> Result<()> {
    long_invoke(walk)?;
    date_time(walk)?;
    let mut plain: Reader<'_> = walk.reader.clone();
    let is_plain = Data::from_axdr(&mut plain).and_then(|_| plain.finish()).is_ok();
    if is_plain {
        return data::value(walk, "body");
    }
    walk.group("body, descriptors without tags", |walk| {
        walk.reader.take(2)?;
        data::value(walk, "kind")?;
        walk.group("items", |walk| {
            walk.reader.u8()?;
            let count = walk.reader.count()?;
            (0..count).try_for_each(|_| {
                walk.reader.take(2)?;
                descriptor(walk, "attribute")?.value(walk, "value")
            })
        })
    })
}

fn event_notification(walk: &mut Walk<'_>) -> Result<()> {
    let at = walk.at();
    match walk.reader.u8()? {
        0 => walk.leaf("time", at, "none".to_owned()),
        _ => date_time(walk)?,
    }
    descriptor(walk, "attribute")?.value(walk, "value")
}

fn access_request(walk: &mut Walk<'_>) -> Result<()> {
    long_invoke(walk)?;
    let at = walk.at();
    let octets = walk.reader.octets()?;
    walk.leaf("date-time", at, data::string(octets));
    let shown = specifications(walk)?;
    values(walk, &shown)
}

fn access_response(walk: &mut Walk<'_>) -> Result<()> {
    long_invoke(walk)?;
    let at = walk.at();
    let octets = walk.reader.octets()?;
    walk.leaf("date-time", at, data::string(octets));
    let shown =
        if walk.flag("specifications-present")? { specifications(walk)? } else { Vec::new() };
    values(walk, &shown)?;
    list(walk, "outcomes", |walk| {
        walk.octet("choice", |choice| {
            ["", "get", "set", "action"].get(usize::from(choice)).unwrap_or(&"").to_string()
        })?;
        access_result(walk)
    })
}

fn specifications(walk: &mut Walk<'_>) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    list(walk, "specifications", |walk| match walk.u8("choice")? {
        3 => {
            shown.push(descriptor(walk, "method")?);
            Ok(())
        }
        choice => {
            shown.push(descriptor(walk, if matches!(choice, 1 | 4) { "get" } else { "set" })?);
            if choice > 3 { selection(walk) } else { Ok(()) }
        }
    })?;
    Ok(shown)
}

const fn name(type_tag: u8) -> &'static str {
    match type_tag {
        tag::INITIATE_REQUEST => "initiate-request",
        tag::INITIATE_RESPONSE => "initiate-response",
        tag::CONFIRMED_SERVICE_ERROR => "confirmed-service-error",
        tag::DATA_NOTIFICATION => "data-notification",
        tag::AARQ => "AARQ",
        tag::AARE => "AARE",
        tag::RLRQ => "RLRQ",
        tag::RLRE => "RLRE",
        tag::GET_REQUEST => "get-request",
        tag::SET_REQUEST => "set-request",
        tag::EVENT_NOTIFICATION => "event-notification-request",
        tag::ACTION_REQUEST => "action-request",
        tag::GET_RESPONSE => "get-response",
        tag::SET_RESPONSE => "set-response",
        tag::ACTION_RESPONSE => "action-response",
        tag::EXCEPTION_RESPONSE => "exception-response",
        tag::ACCESS_REQUEST => "access-request",
        tag::ACCESS_RESPONSE => "access-response",
        tag::GENERAL_CIPHERING => "general-ciphering",
        tag::GENERAL_SIGNING => "general-signing",
        tag::GENERAL_BLOCK_TRANSFER => "general-block-transfer",
        _ => protection::name(type_tag),
    }
}
