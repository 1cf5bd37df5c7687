//! What the texts of a data block mean: codes in OBIS forms, decimals kept exactly, units as
//! DLMS numbers them. It does not know which code a meter uses for what.
//!
//! Invariants: no floats; a number keeps its text; what is not understood is None, never zero.

use std::fmt;

use super::data::{DataSet, Value};

/// A code `A-B:C.D.E*F` (IEC 62056-61): A and B, E and F may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    /// A, the medium (1 electricity) and B, the channel.
    pub medium_channel: Option<(u8, u8)>,
    /// C, the quantity.
    pub quantity: u8,
    /// D, the processing.
    pub processing: u8,
    /// E, the tariff.
    pub tariff: Option<u8>,
    /// F, the billing period.
    pub period: Option<u8>,
}

/// Letters that stand for numbers in C and D of short codes: general, error, list, profile.
const LETTERS: [(&str, u8); 4] = [("C", 96), ("F", 97), ("L", 98), ("P", 99)];

impl Code {
    /// From the address of a data set; `&` in place of `*` (a reset by hand) counts the same.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        let (medium_channel, rest) = match address.split_once(':') {
            Some((head, rest)) => {
                let (medium, channel) = head.split_once('-')?;
                (Some((number(medium)?, number(channel)?)), rest)
            }
            None => (None, address),
        };
        let (rest, period) = match rest.split_once(['*', '&']) {
            Some((rest, period)) => (rest, Some(number(period)?)),
            None => (rest, None),
        };
        let mut parts = rest.split('.');
        let quantity = part(parts.next()?)?;
        let processing = part(parts.next()?)?;
        let tariff = match parts.next() {
            Some(tariff) => Some(number(tariff)?),
            None => None,
        };
        let code = Self { medium_channel, quantity, processing, tariff, period };
        parts.next().is_none().then_some(code)
    }

    /// As six octets of a logical name. What is left out is: the given medium and channel, tariff
    /// 0, period 255.
    #[must_use]
    pub fn logical_name(self, medium: u8, channel: u8) -> [u8; 6] {
        let (medium, channel) = self.medium_channel.unwrap_or((medium, channel));
        let tariff = self.tariff.unwrap_or(0);
        [medium, channel, self.quantity, self.processing, tariff, self.period.unwrap_or(255)]
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((medium, channel)) = self.medium_channel {
            write!(f, "{medium}-{channel}:")?;
        }
        write!(f, "{}.{}", self.quantity, self.processing)?;
        if let Some(tariff) = self.tariff {
            write!(f, ".{tariff}")?;
        }
        self.period.map_or(Ok(()), |period| write!(f, "*{period}"))
    }
}

/// One to three digits up to 255.
fn number(text: &str) -> Option<u8> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn part(text: &str) -> Option<u8> {
    let letter = LETTERS.iter().find(|(letter, _)| *letter == text);
    letter.map_or_else(|| number(text), |(_, number)| Some(*number))
}

/// A number as the meter wrote it: `integer` x 10^`scaler`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    /// The text, leading zeros included.
    pub text: String,
    /// All digits, the point left out.
    pub integer: i64,
    /// Minus the number of digits behind the point.
    pub scaler: i8,
}

impl Decimal {
    /// From a sign, digits and a point; None for anything else, and beyond 63 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = [whole, fraction].concat();
        if all.is_empty() || !all.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let sign = if text.starts_with('-') { "-" } else { "" };
        let integer = format!("{sign}{all}").parse().ok()?;
        let scaler = i8::try_from(fraction.len()).ok()?.checked_neg()?;
        Some(Self { text: text.into(), integer, scaler })
    }
}

/// A unit as DLMS numbers it (IEC 62056-62 table of units), and the power of ten of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The number: 30 Wh, 27 W, 35 V ...
    pub code: u8,
    /// 3 for kilo, 6 for mega.
    pub scaler: i8,
}

/// Units without prefix, in small letters.
const UNITS: [(&str, u8); 14] = [
    ("w", 27),
    ("va", 28),
    ("var", 29),
    ("wh", 30),
    ("vah", 31),
    ("varh", 32),
    ("a", 33),
    ("v", 35),
    ("hz", 44),
    ("m3", 13),
    ("j", 25),
    ("c", 9),
    ("%", 56),
    ("min", 6),
];

impl Unit {
    /// From the text behind the asterisk. Meters mix capitals freely (`KVArh`), so only the
    /// prefix m is told from M by its case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |text: &str| {
            let text = text.to_ascii_lowercase();
            UNITS.iter().find(|(name, _)| *name == text).map(|(_, code)| *code)
        };
        if let Some(code) = plain(text) {
            return Some(Self { code, scaler: 0 });
        }
        let scaler = match text.bytes().next()? {
            b'k' | b'K' => 3,
            b'M' => 6,
            b'G' => 9,
            b'm' => -3,
            _ => return None,
        };
        plain(text.get(1..)?).map(|code| Self { code, scaler })
    }
}

/// A data set whose code and first value are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Of what.
    pub code: Code,
    /// How much, in `unit_text`.
    pub value: Decimal,
    /// The unit, when it is one that DLMS knows.
    pub unit: Option<Unit>,
    /// The unit as it was written.
    pub unit_text: Option<String>,
    /// Further values, the time of a maximum for instance.
    pub further: Vec<Value>,
}

impl Reading {
    /// From a data set; None when the address is no code or the first value no decimal.
    #[must_use]
    pub fn of(set: &DataSet) -> Option<Self> {
        let (first, further) = set.values.split_first()?;
        Some(Self {
            code: Code::parse(&set.address)?,
            value: Decimal::parse(&first.text)?,
            unit: first.unit.as_deref().and_then(Unit::parse),
            unit_text: first.unit.clone(),
            further: further.to_vec(),
        })
    }

    /// The value in the unit without prefix: integer and power of ten.
    #[must_use]
    pub fn scaled(&self) -> (i64, i8) {
        let prefix = self.unit.map_or(0, |unit| unit.scaler);
        (self.value.integer, self.value.scaler.saturating_add(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Decimal, Unit};

    #[test]
    fn codes_of_every_form() {
        let check = |text: &str, expect: [u8; 6]| {
            let code = Code::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(code.logical_name(1, 0), expect, "{text}");
            assert_eq!(Code::parse(&code.to_string()), Some(code), "{text}");
        };
        check("1-0:1.8.0*255", [1, 0, 1, 8, 0, 255]);
        check("1-1:1.8.1", [1, 1, 1, 8, 1, 255]);
        check("1.8.0", [1, 0, 1, 8, 0, 255]);
        check("1.8", [1, 0, 1, 8, 0, 255]);
        check("1.8.1*03", [1, 0, 1, 8, 1, 3]);
        check("1.6.1&12", [1, 0, 1, 6, 1, 12]);
        check("32.7", [1, 0, 32, 7, 0, 255]);
        check("F.F", [1, 0, 97, 97, 0, 255]);
        check("C.1.0", [1, 0, 96, 1, 0, 255]);
        check("0-0:C.1.0", [0, 0, 96, 1, 0, 255]);
        check("P.01", [1, 0, 99, 1, 0, 255]);
        check("0.9.1", [1, 0, 0, 9, 1, 255]);
        for text in
            ["", "1", "1.8.0.0", "x.8.0", "1:1.8.0", "1-0-0:1.8", "256.8.0", "1.8.*1", "+1.8"]
        {
            assert_eq!(Code::parse(text), None, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        let check = |text: &str, expect: Option<(i64, i8)>| {
            let decimal = Decimal::parse(text);
            assert_eq!(decimal.as_ref().map(|d| (d.integer, d.scaler)), expect, "{text}");
            assert!(decimal.is_none_or(|d| d.text == text));
        };
        check("0001234.567", Some((1_234_567, -3)));
        check("-12.50", Some((-1250, -2)));
        check("+7", Some((7, 0)));
        check(".5", Some((5, -1)));
        check("5.", Some((5, 0)));
        check("9223372036854775807", Some((i64::MAX, 0)));
        check("-9223372036854775808", Some((i64::MIN, 0)));
        for text in ["", ".", "-", "9223372036854775808", "1.2.3", "1e5", "12:30", "--5", "+-5"] {
            check(text, None);
        }
        check(&format!("0.{}1", "0".repeat(200)), None);
    }

    #[test]
    fn units_with_their_prefixes() {
        let check = |text: &str, expect: Option<(u8, i8)>| {
            assert_eq!(Unit::parse(text).map(|u| (u.code, u.scaler)), expect, "{text}");
        };
        check("kWh", Some((30, 3)));
        check("KVArh", Some((32, 3)));
        check("MW", Some((27, 6)));
        check("mA", Some((33, -3)));
        check("V", Some((35, 0)));
        check("Hz", Some((44, 0)));
        check("min", Some((6, 0)));
        check("m3", Some((13, 0)));
        check("GWh", Some((30, 9)));
        for text in ["", "k", "furlong", "kk", "\u{e9}W"] {
            check(text, None);
        }
    }
}
