//! PDUs of short messages: SMS-SUBMIT out, SMS-DELIVER and SMS-STATUS-REPORT in.
//!
//! 3GPP TS 23.040 section 9.2, addresses by 9.1.2.5, concatenation by 9.2.3.24.1, coding schemes
//! by 23.038 section 4. Octets as the modem gives and takes them, with the service centre's
//! address in front (27.005 section 3.1). Invariants: never panics on input; a text is never cut
//! inside a letter; parts of one message share a reference and are numbered from one.

use super::gsm7;

/// Septets of a part alone, and of one among several (140 octets less the 6 of the header).
const SEPTETS_ALONE: usize = 160;
const SEPTETS_OF_PART: usize = 153;
/// UTF-16 units likewise.
const UNITS_ALONE: usize = 70;
const UNITS_OF_PART: usize = 67;
/// The relative validity period of a day (23.040 section 9.2.3.12.1).
const VALID_ONE_DAY: u8 = 0xa7;

/// What a PDU says that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message from somebody.
    Deliver(Deliver),
    /// What became of one of ours.
    Report(Report),
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Who sent it: `+` and digits, digits, or a name.
    pub from: String,
    /// What it says; of a part, that part.
    pub text: String,
    /// Of a message in parts: reference, how many, which.
    pub part: Option<(u16, u8, u8)>,
}

/// What became of a message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The reference that the modem gave when it was sent.
    pub reference: u8,
    /// Whom it was for.
    pub to: String,
    /// What became of it.
    pub status: Status,
}

/// The meaning of TP-ST (23.040 section 9.2.3.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It reached the telephone (0x00 to 0x1f).
    Delivered,
    /// The centre still tries (0x20 to 0x3f).
    Trying,
    /// The centre has given up (0x40 and above), with its code.
    Failed(u8),
}

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not an even number of hexadecimal digits.
    #[error("not hexadecimal")]
    NotHex,
    /// The octets end inside a field.
    #[error("the PDU ends early")]
    Short,
    /// A type of message that a modem does not give (23.040 section 9.2.3.1).
    #[error("not a delivered message or a report")]
    WrongType,
}

/// A number that cannot be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a telephone number is `+` and 5 to 15 digits, or 3 to 20 digits")]
pub struct BadNumber;

/// A part of a message, ready for `AT+CMGS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// All octets in hexadecimal, the service centre's length (none given: the SIM's) in front.
    pub hex: String,
    /// Octets without the service centre: the number that `AT+CMGS=` wants.
    pub length: usize,
}

/// The parts of a text to a number, each asking for a report. `reference` joins the parts, at
/// most `max_parts`; what does not fit is cut, and the last letter is then `…` or `.`.
pub fn submit(
    to: &str,
    text: &str,
    reference: u8,
    max_parts: u8,
) -> Result<Vec<Submit>, BadNumber> {
    let address = address(to)?;
    let max_parts = usize::from(max_parts.max(1));
    let (coding, mut parts) = match gsm7::encode(text) {
        Some(_) => (0x00, Parts::septets(text, max_parts)),
        None => (0x08, Parts::units(text, max_parts)),
    };
    let several = parts.bodies.len() > 1;
    let count = u8::try_from(parts.bodies.len()).unwrap_or(u8::MAX);
    let made = parts.bodies.drain(..).zip(1_u8..).map(|(body, nth)| {
        let header = several.then_some([0x05, 0x00, 0x03, reference, count, nth]);
        // SMS-SUBMIT, relative validity, a report wanted, with or without a header.
        let first = 0x01 | 0x10 | 0x20 | if several { 0x40 } else { 0 };
        let mut octets = vec![first, 0x00];
        octets.extend(&address);
        octets.extend([0x00, coding, VALID_ONE_DAY]);
        let header = header.as_ref().map_or(&[][..], |header| &header[..]);
        match coding {
            0x00 => {
                let fill = (7 - header.len() * 8 % 7) % 7;
                let header_septets = (header.len() * 8).div_ceil(7);
                octets.push((header_septets + body.len()) as u8);
                octets.extend(header);
                octets.extend(gsm7::pack(&body, fill));
            }
            _ => {
                octets.push((header.len() + body.len()) as u8);
                octets.extend(header);
                octets.extend(&body);
            }
        }
        Submit { hex: format!("00{}", hex(&octets)), length: octets.len() }
    });
    Ok(made.collect())
}

/// Bodies of parts: septets one an octet, or UTF-16 big-endian.
struct Parts {
    bodies: Vec<Vec<u8>>,
}

impl Parts {
    fn septets(text: &str, max: usize) -> Parts {
        let letters = text.chars().filter_map(gsm7::septets_of).map(|(first, second)| {
            let mut septets = vec![first];
            septets.extend(second);
            septets
        });
        let dots = gsm7::encode("...").unwrap_or_default();
        Parts::of(letters.collect(), SEPTETS_ALONE, SEPTETS_OF_PART, max, &dots)
    }

    fn units(text: &str, max: usize) -> Parts {
        let letters = text.chars().map(|letter| {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()).collect()
        });
        Parts::of(letters.collect(), UNITS_ALONE * 2, UNITS_OF_PART * 2, max, &[0x20, 0x26])
    }

    /// Letters go into parts whole; `ending` replaces the last letters when some do not fit.
    fn of(letters: Vec<Vec<u8>>, alone: usize, of_part: usize, max: usize, ending: &[u8]) -> Parts {
        let whole: usize = letters.iter().map(Vec::len).sum();
        if whole <= alone {
            return Parts { bodies: vec![letters.concat()] };
        }
        let room = if max == 1 { alone } else { of_part };
        let mut bodies: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
        let mut used = 0;
        for letter in letters {
            if used + letter.len() > room {
                if bodies.len() == max {
                    shorten(bodies.last_mut(), room, ending);
                    break;
                }
                bodies.push(Vec::new());
                used = 0;
            }
            used += letter.len();
            if let Some(body) = bodies.last_mut() {
                body.push(letter);
            }
        }
        Parts { bodies: bodies.into_iter().map(|body| body.concat()).collect() }
    }
}

fn shorten(body: Option<&mut Vec<Vec<u8>>>, room: usize, ending: &[u8]) {
    let Some(body) = body else { return };
    while body.iter().map(Vec::len).sum::<usize>() + ending.len() > room && body.pop().is_some() {}
    body.push(ending.to_vec());
}

/// TP-DA: digits counted, type of number, digits in swapped pairs.
fn address(number: &str) -> Result<Vec<u8>, BadNumber> {
    let digits = number.strip_prefix('+').unwrap_or(number);
    let international = digits.len() < number.len();
    let wanted = if international { 5..=15 } else { 3..=20 };
    if !wanted.contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(BadNumber);
    }
    let mut octets = vec![digits.len() as u8, if international { 0x91 } else { 0x81 }];
    for pair in digits.as_bytes().chunks(2) {
        let low = pair[0] - b'0';
        let high = pair.get(1).map_or(0x0f, |digit| digit - b'0');
        octets.push(high << 4 | low);
    }
    Ok(octets)
}

/// Whether a number can be dialled.
pub fn check_number(number: &str) -> Result<(), BadNumber> {
    address(number).map(|_| ())
}

/// Reads what a modem gave as a line of hexadecimal digits.
pub fn read(line: &str) -> Result<Incoming, Malformed> {
    let octets = unhex(line.trim()).ok_or(Malformed::NotHex)?;
    let mut rest = Reader { octets: &octets };
    let centre = rest.octet()?;
    rest.take(usize::from(centre))?;
    let first = rest.octet()?;
    match first & 0x03 {
        0 => deliver(first, rest).map(Incoming::Deliver),
        2 => report(rest).map(Incoming::Report),
        _ => Err(Malformed::WrongType),
    }
}

fn deliver(first: u8, mut rest: Reader<'_>) -> Result<Deliver, Malformed> {
    let from = rest.address()?;
    let _protocol = rest.octet()?;
    let coding = Coding::of(rest.octet()?);
    rest.take(7)?;
    let length = usize::from(rest.octet()?);
    let data = rest.octets;
    let header = if first & 0x40 != 0 {
        let size = usize::from(*data.first().ok_or(Malformed::Short)?) + 1;
        data.get(..size).ok_or(Malformed::Short)?
    } else {
        &[]
    };
    let text = match coding {
        Coding::Septets => {
            let fill = (7 - header.len() * 8 % 7) % 7;
            let skipped = (header.len() * 8).div_ceil(7);
            let body = data.get(header.len()..).unwrap_or_default();
            gsm7::decode(&gsm7::unpack(body, fill, length.saturating_sub(skipped)))
        }
        Coding::Units => {
            let body = data.get(header.len()..length.min(data.len())).unwrap_or_default();
            let units = body.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16_lossy(&units.collect::<Vec<_>>())
        }
        Coding::Octets => String::new(),
    };
    Ok(Deliver { from, text, part: part_of(header) })
}

fn report(mut rest: Reader<'_>) -> Result<Report, Malformed> {
    let reference = rest.octet()?;
    let to = rest.address()?;
    rest.take(14)?;
    let status = match rest.octet()? {
        0x00..=0x1f => Status::Delivered,
        0x20..=0x3f => Status::Trying,
        code => Status::Failed(code),
    };
    Ok(Report { reference, to, status })
}

/// Concatenation with a reference of 8 bits (element 0) or 16 bits (element 8).
fn part_of(header: &[u8]) -> Option<(u16, u8, u8)> {
    let mut rest = header.get(1..)?;
    while let [element, length, more @ ..] = rest {
        let body = more.get(..usize::from(*length))?;
        match (element, body) {
            (0, [reference, count, nth]) => return Some((u16::from(*reference), *count, *nth)),
            (8, [high, low, count, nth]) => {
                return Some((u16::from_be_bytes([*high, *low]), *count, *nth));
            }
            _ => rest = more.get(usize::from(*length)..)?,
        }
    }
    None
}

enum Coding {
    Septets,
    Octets,
    Units,
}

impl Coding {
    /// By 23.038 section 4; compressed texts and reserved schemes count as data.
    fn of(scheme: u8) -> Coding {
        match (scheme >> 4, scheme & 0x0c) {
            (0..=1 | 4..=5, 0x00) => Coding::Septets,
            (0..=1 | 4..=5, 0x08) => Coding::Units,
            (0x0c | 0x0d, _) => Coding::Septets,
            (0x0e, _) => Coding::Units,
            (0x0f, bits) if bits & 0x04 == 0 => Coding::Septets,
            _ => Coding::Octets,
        }
    }
}

struct Reader<'a> {
    octets: &'a [u8],
}

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.octets.split_first().ok_or(Malformed::Short)?;
        self.octets = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.octets.split_at_checked(count).ok_or(Malformed::Short)?;
        self.octets = rest;
        Ok(taken)
    }

    /// An address: half-octets counted; alphanumeric ones are septets (23.040 section 9.1.2.5).
    fn address(&mut self) -> Result<String, Malformed> {
        let digits = usize::from(self.octet()?);
        let kind = self.octet()? >> 4 & 0x07;
        let octets = self.take(digits.div_ceil(2))?;
        if kind == 5 {
            return Ok(gsm7::decode(&gsm7::unpack(octets, 0, digits * 4 / 7)));
        }
        let halves = octets.iter().flat_map(|octet| [octet & 0x0f, octet >> 4]).take(digits);
        let number = halves.filter_map(|half| char::from_digit(u32::from(half), 10));
        let plus = if kind == 1 { "+" } else { "" };
        Ok(plus.chars().chain(number).collect())
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    /// The text of a part that we made, read by turning the SUBMIT into a DELIVER.
    fn body(part: &Submit) -> Deliver {
        let octets = unhex(&part.hex).unwrap();
        assert_eq!(octets.len() - 1, part.length);
        let digits = usize::from(octets[3]);
        let after = 5 + digits.div_ceil(2);
        let mut deliver = vec![0, octets[1] & 0x40];
        deliver.extend(&octets[3..after + 2]);
        deliver.extend([0; 7]);
        deliver.extend(&octets[after + 3..]);
        match read(&hex(&deliver)).unwrap() {
            Incoming::Deliver(deliver) => deliver,
            Incoming::Report(_) => unreachable!(),
        }
    }

    #[test]
    fn a_delivered_message_of_the_tutorials() {
        // "SMS and the PDU format" (dreamfabric.com/sms): "hellohello" from 27838890001.
        let line = "07917283010010F5040BC87238880900F10000993092516195800AE8329BFD4697D9EC37";
        let wanted = Deliver { from: "27838890001".into(), text: "hellohello".into(), part: None };
        assert_eq!(read(line), Ok(Incoming::Deliver(wanted)));
    }

    #[test]
    fn a_submitted_message_of_the_tutorials() {
        // The same page sends 0011000B916407281553F80000AA0AE8329BFD4697D9EC37: no report is asked
        // for there (0x11) and the validity is four days (0xAA).
        let parts = submit("+46708251358", "hellohello", 0, 4).unwrap();
        let hex = "0031000B916407281553F80000A70AE8329BFD4697D9EC37";
        assert_eq!(parts, [Submit { hex: hex.into(), length: 23 }]);
    }

    #[test]
    fn a_status_report_is_read() {
        // 23.040 section 9.2.2.3: first octet, reference, address, two times, status.
        let head = "00062A0B916407281553F8";
        let times = "42101512304580421015123055800";
        for (code, status) in
            [("00", Status::Delivered), ("30", Status::Trying), ("46", Status::Failed(0x46))]
        {
            let line = format!("{head}{}{code}", &times[..28]);
            let report = Report { reference: 0x2a, to: "+46708251358".into(), status };
            assert_eq!(read(&line), Ok(Incoming::Report(report)), "{code}");
        }
    }

    #[test]
    fn a_sender_with_a_name_is_read() {
        // "Design@Home" in 11 septets, 20 half-octets (the address example of 23.040's tutorials).
        let line = "0004 14D0C4F23C7D760390EF7619 0000 00000000000000 00".replace(' ', "");
        let Ok(Incoming::Deliver(deliver)) = read(&line) else { panic!("{:?}", read(&line)) };
        assert_eq!(deliver.from, "Design@Home");
    }

    #[test]
    fn long_texts_go_in_parts_that_fit_and_say_all() {
        let cases = [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("ж".repeat(70), 1),
            ("ж".repeat(71), 2),
            ("断电".repeat(67), 2),
            ("🔌".repeat(36), 2),
        ];
        for (text, count) in cases {
            let parts = submit("+79161234567", &text, 7, 9).unwrap();
            assert_eq!(parts.len(), count, "{text}");
            let bodies: Vec<Deliver> = parts.iter().map(body).collect();
            let joined: String = bodies.iter().map(|body| body.text.as_str()).collect();
            assert_eq!(joined, text);
            for (nth, part) in (1_u8..).zip(&bodies) {
                let wanted = (count > 1).then_some((7, count as u8, nth));
                assert_eq!(part.part, wanted);
            }
            assert!(parts.iter().all(|part| part.length <= 7 + 8 + 140 + 1));
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let parts = submit("+79161234567", &"b".repeat(1000), 1, 2).unwrap();
        assert_eq!(parts.len(), 2);
        assert!(body(&parts[1]).text.ends_with("b..."));
        let parts = submit("+79161234567", &"б".repeat(1000), 1, 1).unwrap();
        assert!(body(&parts[0]).text.ends_with("б…"));
    }

    #[test]
    fn numbers_that_cannot_be_dialled_are_refused() {
        for number in ["", "+", "12", "+1234", "+7916a234567", "0123456789012345678901", "+7 916"] {
            assert_eq!(submit(number, "x", 0, 1), Err(BadNumber), "{number}");
        }
        assert!(check_number("112").is_ok());
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&hex(&raw));
        }

        #[test]
        fn any_text_comes_out_as_it_went_in(text in "\\PC{0,400}") {
            let parts = submit("+79161234567", &text, 3, 255).unwrap();
            let joined: String = parts.iter().map(|part| body(part).text).collect();
            assert_eq!(joined, text);
        }
    }
}
