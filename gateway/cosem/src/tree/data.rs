//! Values of type Data as nodes. What a value means is not known here; dates, logical names and
//! text are shown beside their octets because they look like them.

use super::walk::{Walk, hex};
use crate::compact::TypeDescription;
use crate::data::{Data, tag};
use crate::datetime::{Date, DateTime, Time};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// One value with its tag. The caller has decoded the octets before, which bounds the depth.
pub(super) fn value(walk: &mut Walk<'_>, name: &'static str) -> Result<()> {
    let at = walk.at();
    let type_tag = walk.reader.u8()?;
    match type_tag {
        tag::ARRAY | tag::STRUCTURE => {
            let count = walk.reader.count()?;
            walk.group_from(title(name, type_tag), at, |walk| {
                (0..count).try_for_each(|_| value(walk, ""))
            })?;
            walk.told(elements(count));
        }
        tag::COMPACT_ARRAY => walk.group_from(title(name, type_tag), at, compact)?,
        _ => simple(walk, name, type_tag, at)?,
    }
    Ok(())
}

fn compact(walk: &mut Walk<'_>) -> Result<()> {
    let at = walk.at();
    let description = TypeDescription::from_axdr(&mut walk.reader)?;
    let mut text = String::new();
    describe(&description, &mut text);
    walk.leaf("type-description", at, text);
    let at = walk.at();
    let length = walk.reader.length()?;
    let end = walk.at() + length;
    walk.group_from("contents", at, |walk| {
        while walk.at() < end {
            content(walk, &description)?;
        }
        Ok(())
    })
}

/// One value without tags.
fn content(walk: &mut Walk<'_>, description: &TypeDescription) -> Result<()> {
    let at = walk.at();
    match description {
        TypeDescription::Simple(type_tag) => simple(walk, "", *type_tag, at),
        TypeDescription::Array(count, of) => {
            walk.group("array", |walk| (0..*count).try_for_each(|_| content(walk, of)))?;
            walk.told(elements(usize::from(*count)));
            Ok(())
        }
        TypeDescription::Structure(fields) => {
            walk.group("structure", |walk| fields.iter().try_for_each(|of| content(walk, of)))?;
            walk.told(elements(fields.len()));
            Ok(())
        }
    }
}

fn simple(walk: &mut Walk<'_>, name: &'static str, type_tag: u8, at: usize) -> Result<()> {
    let Some(value) = Data::simple(type_tag, &mut walk.reader)? else {
        return Err(walk.reader.malformed("unknown data tag before this octet"));
    };
    walk.leaf(title(name, type_tag), at, text(&value));
    Ok(())
}

fn elements(count: usize) -> String {
    if count == 1 { "1 element".to_owned() } else { format!("{count} elements") }
}

fn describe(description: &TypeDescription, out: &mut String) {
    match description {
        TypeDescription::Simple(type_tag) => out.push_str(type_name(*type_tag)),
        TypeDescription::Array(count, of) => {
            out.push_str(&format!("array of {count} "));
            describe(of, out);
        }
        TypeDescription::Structure(fields) => {
            out.push_str("structure {");
            for (at, field) in fields.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                describe(field, out);
            }
            out.push('}');
        }
    }
}

/// The role of a value and its type in one name.
fn title(name: &'static str, type_tag: u8) -> String {
    let of = type_name(type_tag);
    if name.is_empty() { of.to_owned() } else { format!("{name} {of}") }
}

const fn type_name(type_tag: u8) -> &'static str {
    match type_tag {
        tag::NULL => "null-data",
        tag::ARRAY => "array",
        tag::STRUCTURE => "structure",
        tag::BOOLEAN => "boolean",
        tag::BIT_STRING => "bit-string",
        tag::I32 => "double-long",
        tag::U32 => "double-long-unsigned",
        tag::OCTET_STRING => "octet-string",
        tag::VISIBLE_STRING => "visible-string",
        tag::UTF8 => "utf8-string",
        tag::BCD => "bcd",
        tag::I8 => "integer",
        tag::I16 => "long",
        tag::U8 => "unsigned",
        tag::U16 => "long-unsigned",
        tag::COMPACT_ARRAY => "compact-array",
        tag::I64 => "long64",
        tag::U64 => "long64-unsigned",
        tag::ENUM => "enum",
        tag::F32 => "float32",
        tag::F64 => "float64",
        tag::DATE_TIME => "date-time",
        tag::DATE => "date",
        tag::TIME => "time",
        tag::DELTA_I8 => "delta-integer",
        tag::DELTA_I16 => "delta-long",
        tag::DELTA_I32 => "delta-double-long",
        tag::DELTA_U8 => "delta-unsigned",
        tag::DELTA_U16 => "delta-long-unsigned",
        tag::DELTA_U32 => "delta-double-long-unsigned",
        _ => "don't-care",
    }
}

fn text(value: &Data) -> String {
    match value {
        Data::Null | Data::DontCare | Data::Array(_) | Data::Structure(_) => String::new(),
        Data::CompactArray(_) => String::new(),
        Data::Boolean(value) => value.to_string(),
        Data::BitString(bits) => bits.iter().map(|bit| if bit { '1' } else { '0' }).collect(),
        Data::I32(value) | Data::DeltaI32(value) => value.to_string(),
        Data::U32(value) | Data::DeltaU32(value) => value.to_string(),
        Data::OctetString(octets) => string(octets),
        Data::VisibleString(octets) | Data::Utf8(octets) => {
            std::str::from_utf8(octets).map_or_else(|_| hex(octets), |text| format!("{text:?}"))
        }
        Data::Bcd(value) => format!("{value:02x}"),
        Data::I8(value) | Data::DeltaI8(value) => value.to_string(),
        Data::I16(value) | Data::DeltaI16(value) => value.to_string(),
        Data::U8(value) | Data::DeltaU8(value) | Data::Enum(value) => value.to_string(),
        Data::U16(value) | Data::DeltaU16(value) => value.to_string(),
        Data::I64(value) => value.to_string(),
        Data::U64(value) => value.to_string(),
        Data::F32(value) => value.to_string(),
        Data::F64(value) => value.to_string(),
        Data::DateTime(value) => date_time(*value),
        Data::Date(value) => date(*value),
        Data::Time(value) => time(*value),
    }
}

/// Octets in hex, and what they look like in brackets.
pub(super) fn string(octets: &[u8]) -> String {
    let shown = hex(octets);
    if let Ok(value) = DateTime::from_slice(octets)
        && value.to_unix_s(0).is_some()
    {
        return format!("{shown} ({})", date_time(value));
    }
    if let Ok([a, b, c, d, e, last @ 255]) = <[u8; 6]>::try_from(octets) {
        return format!("{shown} ({a}.{b}.{c}.{d}.{e}.{last})");
    }
    let printable = octets.iter().all(|octet| (0x20..0x7f).contains(octet));
    match std::str::from_utf8(octets) {
        Ok(text) if printable && octets.len() > 1 => format!("{shown} ({text:?})"),
        _ => shown,
    }
}

/// Local date and time, then what the clock says of itself; `*` = not specified.
pub(super) fn date_time(value: DateTime) -> String {
    let deviation = match value.deviation {
        crate::datetime::DEVIATION_NOT_SPECIFIED => "*".to_owned(),
        minutes => format!("{minutes} min"),
    };
    let DateTime { date: day, time: of_day, status, .. } = value;
    format!("{} {}, deviation {deviation}, status {status:02x}", date(day), time(of_day))
}

fn date(value: Date) -> String {
    let year = match value.year {
        crate::datetime::YEAR_NOT_SPECIFIED => "*".to_owned(),
        year => format!("{year:04}"),
    };
    format!("{year}-{}-{}", two(value.month), two(value.day))
}

fn time(value: Time) -> String {
    format!("{}:{}:{}", two(value.hour), two(value.minute), two(value.second))
}

fn two(value: u8) -> String {
    if value == crate::datetime::NOT_SPECIFIED { "*".to_owned() } else { format!("{value:02}") }
}
