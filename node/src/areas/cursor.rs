//! Cursors of paged answers: opaque to whoever gets them, bound to the question they came from.
//!
//! A cursor holds where the next page begins and a mark of the question. It is no secret and
//! grants nothing. Invariant: a cursor of another question, a changed one or a made-up one is
//! refused as `bad_cursor`, never answered with a page that has gaps.

use crate::http::problem::Problem;
use crate::secret::{hex, unhex};

/// The first octet of every cursor.
const VERSION: u8 = 1;

/// A question: what must be the same from page to page.
pub struct Question(u64);

impl Question {
    /// A question of these parts, in their order.
    pub fn new(parts: &[&str]) -> Question {
        // FNV-1a, 64 bits; lengths stand between the parts.
        let mut mark = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |octet: u8| {
            mark = (mark ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        };
        for part in parts {
            part.bytes().for_each(&mut take);
            (part.len() as u64).to_be_bytes().into_iter().for_each(&mut take);
        }
        Question(mark)
    }

    /// The cursor of a page that begins behind `place`.
    pub fn cursor(&self, place: &str) -> String {
        let body = [self.0.to_be_bytes().as_slice(), place.as_bytes()].concat();
        let check = crc(&body);
        hex(&[&[VERSION], check.to_be_bytes().as_slice(), body.as_slice()].concat())
    }

    /// The place behind which a page begins.
    pub fn place(&self, cursor: &str) -> Result<String, Problem> {
        let bad = |why: &str| Problem::bad("bad_cursor", why.to_owned());
        let octets = unhex(cursor).ok_or_else(|| bad("it is no cursor"))?;
        let (version, rest) = octets.split_first().ok_or_else(|| bad("it is empty"))?;
        let parts = rest.split_at_checked(4);
        let (check, body) =
            parts.filter(|_| *version == VERSION).ok_or_else(|| bad("it is cut"))?;
        if check != crc(body).to_be_bytes() {
            return Err(bad("it was changed"));
        }
        let (mark, place) = body.split_at_checked(8).ok_or_else(|| bad("it is cut"))?;
        if mark != self.0.to_be_bytes() {
            return Err(bad("it is the cursor of another question"));
        }
        String::from_utf8(place.to_vec()).map_err(|_| bad("it is no text"))
    }

    /// The same for a place that is a number.
    pub fn number(&self, cursor: &str) -> Result<i64, Problem> {
        let place = self.place(cursor)?;
        place.parse().map_err(|_| Problem::bad("bad_cursor", "it holds no number"))
    }
}

/// CRC-32 (IEEE), bit by bit: cursors are short.
fn crc(octets: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !octets.iter().fold(!0_u32, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step))
}

#[cfg(test)]
mod tests {
    use super::{Question, crc};

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let question = Question::new(&["1-0:1.8.0", "15"]);
        for place in ["", "M-1", "äö", "-1700000000"] {
            assert_eq!(question.place(&question.cursor(place)).as_deref(), Ok(place));
        }
        assert_eq!(question.number(&question.cursor("-17")), Ok(-17));
        assert!(question.number(&question.cursor("x")).is_err());
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn anything_else_is_refused() {
        let question = Question::new(&["a", "bc"]);
        let cursor = question.cursor("M-1");
        for other in [Question::new(&["ab", "c"]), Question::new(&["a"]), Question::new(&[])] {
            assert_eq!(other.place(&cursor).map_err(|p| p.code), Err("bad_cursor".into()));
        }
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("hex");
            assert!(question.place(&changed).is_err(), "{at}");
        }
        for text in ["", "M-1", "01", "zz", &cursor[2..], &cursor[..cursor.len() - 2]] {
            assert!(question.place(text).is_err(), "{text}");
        }
    }
}
