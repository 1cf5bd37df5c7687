//! OBIS codes (IEC 62056-6-1): six value groups A-B:C.D.E*F. What a code means is not known here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Malformed;

/// Six value groups, A to F.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Obis(pub [u8; 6]);

impl Obis {
    /// Active energy import, total: 1-0:1.8.0.
    pub const ACTIVE_IMPORT: Obis = Obis([1, 0, 1, 8, 0, 255]);
    /// Active energy export, total: 1-0:2.8.0.
    pub const ACTIVE_EXPORT: Obis = Obis([1, 0, 2, 8, 0, 255]);
    /// Load profile with recording period 1: 1-0:99.1.0.
    pub const LOAD_PROFILE: Obis = Obis([1, 0, 99, 1, 0, 255]);
}

impl fmt::Display for Obis {
    /// `1-0:1.8.0`, with `*F` behind it when F is not 255.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.0;
        write!(f, "{a}-{b}:{c}.{d}.{e}")?;
        if last == 255 { Ok(()) } else { write!(f, "*{last}") }
    }
}

impl fmt::Debug for Obis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Obis {
    type Err = Malformed;

    /// Reads `1-0:1.8.0`, `1-0:1.8.0*255` and the dotted form `1.0.1.8.0.255`.
    fn from_str(text: &str) -> Result<Obis, Malformed> {
        const WANTED: Malformed = Malformed("an OBIS code looks like 1-0:1.8.0");
        let dotted = text.split('.').count() == 6;
        let borders: &[char] = if dotted { &['.'] } else { &['-', ':', '.', '.', '*'] };
        let mut groups = [255; 6];
        let mut rest = Some(text);
        for (position, group) in groups.iter_mut().enumerate() {
            let Some(left) = rest else {
                if position == 5 {
                    break;
                }
                return Err(WANTED);
            };
            let border = if dotted { borders.first() } else { borders.get(position) };
            let (digits, after) = match border.and_then(|border| left.split_once(*border)) {
                Some((digits, after)) => (digits, Some(after)),
                None => (left, None),
            };
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(WANTED);
            }
            *group = digits.parse().map_err(|_| WANTED)?;
            rest = after;
        }
        if rest.is_some() { Err(WANTED) } else { Ok(Obis(groups)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<[u8; 6]>) {
        assert_eq!(text.parse::<Obis>().ok(), expect.map(Obis), "{text}");
    }

    #[test]
    fn reads_the_usual_spellings() {
        check("1-0:1.8.0", Some([1, 0, 1, 8, 0, 255]));
        check("1-0:1.8.0*255", Some([1, 0, 1, 8, 0, 255]));
        check("1-0:1.8.0*1", Some([1, 0, 1, 8, 0, 1]));
        check("1.0.99.1.0.255", Some([1, 0, 99, 1, 0, 255]));
    }

    #[test]
    fn refuses_everything_else() {
        for text in
            ["", "1", "1-0:1.8", "1-0:1.8.256", "1-0:1.8.0*", "1-0:1.8.+1", "1-0:1.8.0.1", "a-b:c"]
        {
            check(text, None);
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for code in [Obis::ACTIVE_IMPORT, Obis::LOAD_PROFILE, Obis([0, 1, 2, 3, 4, 5])] {
            assert_eq!(code.to_string().parse(), Ok(code));
        }
    }
}
