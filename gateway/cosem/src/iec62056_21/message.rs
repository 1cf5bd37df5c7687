//! The messages of IEC 62056-21 clause 6.3 but the data block: sign-on, identification,
//! acknowledgement with option select, and the commands of the programming mode. It keeps no
//! state.
//!
//! Invariants: what is built is printable ASCII between its control characters; what is parsed
//! and is not that is refused; the data of a command are not shown by Debug, as it may be a
//! password.

use super::baud::Mode;
use super::check::{End, close};
use super::{ACK, SOH, STX};
use crate::error::Error;

/// Longest device address (clause 6.3.1).
const MAX_ADDRESS: usize = 32;

/// Longest identification behind the baud character; the standard says 16, meters say more.
const MAX_IDENTIFICATION: usize = 64;

/// `/ ? address ! CR LF`.
///
/// # Errors
/// `Malformed` when the address is not up to 32 letters, digits and blanks.
pub fn sign_on(address: &str) -> Result<Vec<u8>, Error> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b' ' || c == b'-';
    if address.len() > MAX_ADDRESS || !address.bytes().all(allowed) {
        return Err(Error::malformed(0, "a device address is up to 32 letters and digits"));
    }
    Ok(format!("/?{address}!\r\n").into_bytes())
}

/// The address of a sign-on, given without CR and LF.
pub(super) fn parse_sign_on(line: &[u8]) -> Option<&str> {
    let address = line.strip_prefix(b"/?")?.strip_suffix(b"!")?;
    let printable = address.len() <= MAX_ADDRESS && address.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(address).ok().filter(|_| printable)
}

/// `/ X X X Z identification CR LF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identification {
    /// Three letters of the manufacturer; a small third one means that 20 ms are enough between
    /// messages instead of 200.
    pub manufacturer: [u8; 3],
    /// The baud rate character.
    pub baud: u8,
    /// The character after each backslash: 2 offers HDLC (mode E).
    pub enhanced: Vec<u8>,
    /// The rest, as the manufacturer likes it.
    pub text: String,
}

impl Identification {
    /// From a line without CR and LF.
    ///
    /// # Errors
    /// `Malformed` when it is no identification.
    pub fn parse(line: &[u8]) -> Result<Self, Error> {
        let malformed = || Error::malformed(0, "not an identification");
        let body = line.strip_prefix(b"/").ok_or_else(malformed)?;
        let (head, mut rest) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
        let [first, second, third, baud] = *head;
        let manufacturer = [first, second, third];
        let printable = |c: &u8| (b' '..=b'~').contains(c) && *c != b'!' && *c != b'/';
        if !manufacturer.iter().all(u8::is_ascii_alphabetic)
            || !printable(&baud)
            || rest.len() > MAX_IDENTIFICATION
            || !rest.iter().all(printable)
        {
            return Err(malformed());
        }
        let mut enhanced = Vec::new();
        while let [b'\\', kind, tail @ ..] = rest {
            enhanced.push(*kind);
            rest = tail;
        }
        let text = String::from_utf8(rest.to_vec()).map_err(|_| malformed())?;
        Ok(Self { manufacturer, baud, enhanced, text })
    }

    /// With CR and LF.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![b'/'];
        out.extend_from_slice(&self.manufacturer);
        out.push(self.baud);
        for kind in &self.enhanced {
            out.extend_from_slice(&[b'\\', *kind]);
        }
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(b"\r\n");
        out
    }

    /// How the meter talks.
    #[must_use]
    pub fn mode(&self) -> Mode {
        Mode::from_character(self.baud)
    }

    /// Whether it offers HDLC.
    #[must_use]
    pub fn offers_hdlc(&self) -> bool {
        self.enhanced.contains(&b'2')
    }

    /// Whether it needs only 20 ms between messages.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.manufacturer[2].is_ascii_lowercase()
    }
}

/// `ACK V Z Y CR LF`: protocol control, baud rate, mode control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSelect {
    /// V: 0 normal, 1 secondary, 2 HDLC.
    pub protocol: u8,
    /// Z: the rate character of the identification, or 0 to stay at 300 baud.
    pub baud: u8,
    /// Y: 0 data readout, 1 programming mode, 2 binary (HDLC), others of the manufacturer.
    pub mode: u8,
}

impl OptionSelect {
    /// From a line without CR and LF.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        match *line {
            [ACK, protocol, baud, mode]
                if [protocol, baud, mode].iter().all(u8::is_ascii_alphanumeric) =>
            {
                Some(Self { protocol, baud, mode })
            }
            _ => None,
        }
    }

    /// With CR and LF.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        vec![ACK, self.protocol, self.baud, self.mode, b'\r', b'\n']
    }
}

/// A command of the programming mode (clause 6.3.4): `SOH C D STX data ETX BCC`.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// P password, W write, R read, E execute, B break.
    pub letter: u8,
    /// The variant: 1 ASCII, 2 formatted (E2 executes), 3 and 4 the same with partial blocks, 5
    /// and 6 national.
    pub variant: u8,
    /// The data set, as `address(value*unit)`; it may be a secret.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = [char::from(self.letter), char::from(self.variant)];
        write!(f, "Command({}{}, {} octets)", name[0], name[1], self.data.len())
    }
}

impl Command {
    /// Any command.
    ///
    /// # Errors
    /// `Malformed` when the letter is none of P, W, R, E, B, the variant no digit, or the data
    /// not printable ASCII (CR and LF are taken too).
    pub fn new(letter: char, variant: char, data: &[u8]) -> Result<Self, Error> {
        if !['P', 'W', 'R', 'E', 'B'].contains(&letter) || !variant.is_ascii_digit() {
            return Err(Error::malformed(0, "a command is P, W, R, E or B and a digit"));
        }
        let text = |c: &u8| (b' '..=b'~').contains(c) || *c == b'\r' || *c == b'\n';
        if let Some(at) = data.iter().position(|c| !text(c)) {
            return Err(Error::malformed(at, "the data of a command is printable ASCII"));
        }
        // Lossless: both are ASCII by now.
        Ok(Self { letter: letter as u8, variant: variant as u8, data: data.to_vec() })
    }

    /// R1: reads a value by its address.
    ///
    /// # Errors
    /// `Malformed` for an address that is not printable ASCII.
    pub fn read(address: &str) -> Result<Self, Error> {
        Self::new('R', '1', format!("{address}()").as_bytes())
    }

    /// R5: reads by a formatted code, for meters of the standard's national variants.
    ///
    /// # Errors
    /// `Malformed` for a code that is not printable ASCII.
    pub fn read_formatted(code: &str) -> Result<Self, Error> {
        Self::new('R', '5', format!("{code}()").as_bytes())
    }

    /// W1: writes a value.
    ///
    /// # Errors
    /// `Malformed` for text that is not printable ASCII.
    pub fn write(address: &str, value: &str) -> Result<Self, Error> {
        Self::new('W', '1', format!("{address}({value})").as_bytes())
    }

    /// W5: writes a value by a formatted code.
    ///
    /// # Errors
    /// `Malformed` for text that is not printable ASCII.
    pub fn write_formatted(code: &str, value: &str) -> Result<Self, Error> {
        Self::new('W', '5', format!("{code}({value})").as_bytes())
    }

    /// E2: executes. It is never repeated when its answer is lost.
    ///
    /// # Errors
    /// `Malformed` for text that is not printable ASCII.
    pub fn execute(address: &str, argument: &str) -> Result<Self, Error> {
        Self::new('E', '2', format!("{address}({argument})").as_bytes())
    }

    /// Whether an answer may come in partial blocks, or the data go in them.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        matches!((self.letter, self.variant), (b'R' | b'W', b'3' | b'4'))
    }

    /// The first (or only) message of the command, with this part of its data.
    #[must_use]
    pub(super) fn frame(&self, data: &[u8], end: End) -> Vec<u8> {
        let mut out = vec![SOH, self.letter, self.variant];
        if self.letter != b'B' {
            out.push(STX);
            out.extend_from_slice(data);
        }
        close(&mut out, end);
        out
    }
}

/// `STX data ETX BCC`, or with EOT.
#[must_use]
pub(super) fn data_frame(data: &[u8], end: End) -> Vec<u8> {
    let mut out = vec![STX];
    out.extend_from_slice(data);
    close(&mut out, end);
    out
}

/// `SOH B 0 ETX BCC`.
#[must_use]
pub(super) fn break_frame() -> Vec<u8> {
    let mut out = vec![SOH, b'B', b'0'];
    close(&mut out, End::Last);
    out
}

#[cfg(test)]
mod tests {
    use super::{Command, Identification, OptionSelect, break_frame, parse_sign_on, sign_on};
    use crate::iec62056_21::Mode;
    use crate::iec62056_21::check::End;

    #[test]
    fn sign_on_reads_back() {
        assert_eq!(sign_on("").unwrap(), b"/?!\r\n");
        assert_eq!(sign_on("00123456").unwrap(), b"/?00123456!\r\n");
        assert!(sign_on("12!").is_err());
        assert!(sign_on(&"1".repeat(33)).is_err());
        assert_eq!(parse_sign_on(b"/?77!"), Some("77"));
        assert_eq!(parse_sign_on(b"/ABC5x"), None);
    }

    #[test]
    fn identifications_read_back() {
        let check = |line: &[u8], baud, mode, hdlc, quick, text: &str| {
            let id = Identification::parse(line).unwrap();
            assert_eq!((id.baud, id.mode(), id.text.as_str()), (baud, mode, text));
            assert_eq!((id.offers_hdlc(), id.is_quick()), (hdlc, quick));
            assert_eq!(id.encode(), [line, b"\r\n"].concat());
        };
        check(b"/LGZ4ZMF100AC.M26", b'4', Mode::C(4800), false, false, "ZMF100AC.M26");
        check(b"/ABC5\\2MT382-1000", b'5', Mode::C(9600), true, false, "MT382-1000");
        check(b"/EMh4\\@01LZQJL0014F", b'4', Mode::C(4800), false, true, "01LZQJL0014F");
        check(b"/XYZD", b'D', Mode::B(4800), false, false, "");
        check(b"/XYZ Old meter", b' ', Mode::A, false, false, "Old meter");
        for line in [&b"/?!"[..], b"", b"/AB", b"/A1C5", b"ABC5x", b"/ABC5x\x02", b"/ABC!x"] {
            assert!(Identification::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn option_select_reads_back() {
        let select = OptionSelect { protocol: b'0', baud: b'5', mode: b'1' };
        assert_eq!(select.encode(), b"\x06051\r\n");
        assert_eq!(OptionSelect::parse(b"\x06051"), Some(select));
        assert_eq!(OptionSelect::parse(b"\x0605"), None);
        assert_eq!(OptionSelect::parse(b"\x0605\x01"), None);
    }

    #[test]
    fn commands_have_their_published_octets() {
        let read = Command::read("1.8.0").unwrap();
        assert_eq!(read.frame(&read.data, End::Last), b"\x01R1\x021.8.0()\x03Z");
        let password = Command::new('P', '1', b"(00000000)").unwrap();
        assert_eq!(password.frame(&password.data, End::Last), b"\x01P1\x02(00000000)\x03a");
        assert_eq!(break_frame(), b"\x01B0\x03q");
        assert_eq!(format!("{password:?}"), "Command(P1, 10 octets)");
        assert!(Command::new('X', '1', b"").is_err());
        assert!(Command::new('W', '1', b"\x03").is_err());
        assert!(Command::read("1.8\u{e9}").is_err());
    }
}
