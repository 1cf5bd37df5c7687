//! Frames of the wrapper and of HDLC as nodes. It keeps no link state: pieces of one APDU are
//! joined in the order in which they stand, and so are general blocks.

use super::general::{Blocks, sender};
use super::walk::{Walk, hex};
use super::{Fault, Node, Options, apdu};
use crate::axdr::Reader;
use crate::error::Error;
use crate::hdlc::frame::{Frame, Kind};
use crate::hdlc::link::{LLC_REQUEST, LLC_RESPONSE};
use crate::hdlc::{Address, FLAG, parameters::Parameters};
use crate::wrapper;

/// Frames of the wrapper until the octets end.
pub(super) fn wrapper(octets: &[u8], options: &Options) -> Result<Vec<Node>, Fault> {
    let mut walk = Walk::new(octets, 0);
    let mut blocks = Blocks::default();
    loop {
        let at = walk.at();
        let mut length_of = Reader::with_base(walk.reader.rest(), at);
        length_of.take(wrapper::HEADER_OCTETS - 2)?;
        let frame = wrapper::HEADER_OCTETS + usize::from(length_of.u16()?);
        let given = walk.reader.rest();
        let frame = given.get(..frame).unwrap_or(given);
        let (header, _) = wrapper::decode(frame).map_err(|error| Fault::moved(error, at))?;
        walk.group("wrapper", |walk| -> Result<(), Fault> {
            walk.u16("version")?;
            walk.u16("source-wport")?;
            walk.u16("destination-wport")?;
            let length = walk.u16("length")?;
            let base = walk.at();
            let content = walk.reader.take(usize::from(length))?;
            walk.nodes.push(apdu(content, base, options, 0)?);
            let joined = blocks.take(u64::from(header.source), content, base, options)?;
            walk.nodes.extend(joined);
            Ok(())
        })?;
        if walk.reader.is_empty() {
            return Ok(walk.nodes);
        }
    }
}

/// The pieces of an APDU so far.
#[derive(Default)]
struct Pieces {
    octets: Vec<u8>,
    at: usize,
    count: usize,
}

/// What frames have begun and later ones end.
#[derive(Default)]
struct Begun {
    pieces: Pieces,
    blocks: Blocks,
}

/// HDLC frames until the octets end; one flag or more between them.
pub(super) fn hdlc(octets: &[u8], options: &Options) -> Result<Vec<Node>, Fault> {
    let mut walk = Walk::new(octets, 0);
    let mut begun = Begun::default();
    flag(&mut walk)?;
    loop {
        while walk.reader.peek() == Some(FLAG) {
            walk.reader.u8()?;
        }
        if walk.reader.is_empty() && !walk.nodes.is_empty() {
            return Ok(walk.nodes);
        }
        let at = walk.at();
        let rest = walk.reader.rest();
        let format = Reader::with_base(rest, at).u16()?;
        let length = usize::from(format & 0x07ff).min(rest.len());
        let frame = walk.reader.take(length)?;
        let decoded = Frame::decode(frame).map_err(|error| Fault::moved(error, at))?;
        flag(&mut walk)?;
        let mut parts = Walk::new(frame, at);
        fields(&mut parts, &decoded)?;
        content(&mut parts, &decoded, &mut begun, options)?;
        let node = Node {
            name: name(decoded.control.kind).into(),
            at,
            length,
            value: decoded.segmented.then(|| "segmented".to_owned()),
            restarts: false,
            children: parts.nodes,
        };
        walk.nodes.push(node);
    }
}

fn flag(walk: &mut Walk<'_>) -> Result<(), Fault> {
    let at = walk.at();
    match walk.reader.u8()? {
        FLAG => Ok(()),
        _ => Err(Error::malformed(at, "no flag where a frame begins or ends").into()),
    }
}

fn fields(walk: &mut Walk<'_>, frame: &Frame) -> Result<(), Fault> {
    let at = walk.at();
    let format = walk.reader.u16()?;
    walk.leaf("format", at, format!("{format:04x} (length {})", format & 0x07ff));
    for (name, address) in [("destination", frame.destination), ("source", frame.source)] {
        let at = walk.at();
        walk.reader.take(address.octets())?;
        walk.leaf(name, at, address_text(address));
    }
    let is_final = frame.control.poll_final;
    walk.octet("control", |_| {
        let text = match frame.control.kind {
            Kind::Information { send, receive } => format!("N(S) {send}, N(R) {receive}"),
            Kind::ReceiveReady { receive } | Kind::ReceiveNotReady { receive } => {
                format!("N(R) {receive}")
            }
            _ => String::new(),
        };
        let between = if text.is_empty() || !is_final { "" } else { ", " };
        format!("{text}{between}{}", if is_final { "poll/final" } else { "" })
    })?;
    check(walk, if frame.information.is_empty() { "frame-check" } else { "header-check" })
}

fn check(walk: &mut Walk<'_>, name: &'static str) -> Result<(), Fault> {
    let at = walk.at();
    let octets: [u8; 2] = walk.reader.array()?;
    walk.leaf(name, at, hex(&octets));
    Ok(())
}

/// The information field, the APDU in it or completed by it, and the check sequence after it.
fn content(
    walk: &mut Walk<'_>,
    frame: &Frame,
    begun: &mut Begun,
    options: &Options,
) -> Result<(), Fault> {
    if frame.information.is_empty() {
        return Ok(());
    }
    walk.group("information", |walk| carried(walk, frame, begun, options))?;
    check(walk, "frame-check")
}

fn carried(
    walk: &mut Walk<'_>,
    frame: &Frame,
    begun: &mut Begun,
    options: &Options,
) -> Result<(), Fault> {
    let at = walk.at();
    let information = walk.reader.take(frame.information.len())?;
    match frame.control.kind {
        Kind::Information { .. } | Kind::Unnumbered => {
            let pieces = &mut begun.pieces;
            if pieces.count == 0 {
                pieces.at = at;
            }
            pieces.octets.extend_from_slice(information);
            pieces.count += 1;
            if !frame.segmented {
                let whole = std::mem::take(pieces);
                let from = sender(frame.source);
                return joined(walk, &whole, (from, &mut begun.blocks), options);
            }
            // An AARQ in pieces holds a password in one of them.
            walk.leaf("piece", at, format!("{} octets", information.len()));
        }
        Kind::SetNormalResponseMode | Kind::Acknowledgement => {
            let text = match Parameters::decode(information) {
                Ok(parameters) => format!("{parameters:?}"),
                Err(_) => format!("{} octets, no parameters", information.len()),
            };
            walk.leaf("parameters", at, text);
        }
        _ => walk.leaf("octets", at, format!("{} octets", information.len())),
    }
    Ok(())
}

/// A whole APDU. Without LLC before it, it may be the end of one that began elsewhere, so that
/// octets which do not decode are no fault; as they may hold a key, only their number is shown.
fn joined(
    walk: &mut Walk<'_>,
    &Pieces { ref octets, at, count }: &Pieces,
    (sender, blocks): (u64, &mut Blocks),
    options: &Options,
) -> Result<(), Fault> {
    let body = octets.strip_prefix(&LLC_REQUEST).or_else(|| octets.strip_prefix(&LLC_RESPONSE));
    let content = body.unwrap_or(octets);
    let restarts = count > 1;
    let skipped = octets.len() - content.len();
    let base = if restarts { skipped } else { at + skipped };
    let children = match apdu(content, base, options, 0) {
        Ok(node) => vec![node],
        Err(Fault { error: Error::Malformed { .. }, .. }) if body.is_none() => Vec::new(),
        Err(fault) if restarts => return Err(fault.inside("joined information")),
        Err(fault) => return Err(fault),
    };
    let whole = blocks.take(sender, content, at, options)?;
    let value = match (body.is_some(), children.is_empty()) {
        (_, true) => Some(format!("{} octets, no APDU", content.len())),
        (true, false) => Some(format!("LLC {}", hex(octets.get(..3).unwrap_or_default()))),
        (false, false) => None,
    };
    let name = if restarts { "joined information" } else { "content" };
    walk.nodes.push(Node {
        name: name.into(),
        at,
        length: octets.len(),
        value,
        restarts,
        children,
    });
    walk.nodes.extend(whole);
    Ok(())
}

fn address_text(address: Address) -> String {
    match address.physical() {
        None => format!("{}", address.logical()),
        Some(physical) => format!("logical {}, physical {physical}", address.logical()),
    }
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Information { .. } => "I",
        Kind::ReceiveReady { .. } => "RR",
        Kind::ReceiveNotReady { .. } => "RNR",
        Kind::SetNormalResponseMode => "SNRM",
        Kind::Acknowledgement => "UA",
        Kind::Disconnect => "DISC",
        Kind::DisconnectedMode => "DM",
        Kind::FrameReject => "FRMR",
        Kind::Unnumbered => "UI",
    }
}
