//! The AT commands that the driver uses, their deadlines, and what answers mean.
//!
//! 3GPP TS 27.007 and 27.005. Not the conversation (see `at`). Invariant: a PIN is never shown.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// A command to the modem.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Are you there.
    Attention,
    /// `ATE0`: do not repeat what is said to you.
    EchoOff,
    /// `AT+CMEE=1`: errors as numbers.
    Errors,
    /// `AT+CPIN?`: does the SIM want its PIN.
    PinState,
    /// `AT+CPIN="…"`.
    EnterPin(Zeroizing<String>),
    /// `AT+CMGF=0`: PDU mode.
    PduMode,
    /// `AT+CSMS?`: which phase the modem speaks.
    Service,
    /// `AT+CNMI=2,1,0,1,0`: say when messages come, give reports.
    Indicate,
    /// `AT+CPMS="SM","SM","SM"`: keep messages in the SIM.
    Storage,
    /// `AT+CREG?`: registered in a network.
    Registration,
    /// `AT+CSQ`: signal.
    Signal,
    /// `AT+CMGL=4`: all stored messages.
    List,
    /// `AT+CMGR=n`.
    Read(u16),
    /// `AT+CMGD=n`.
    Delete(u16),
    /// `AT+CMGS=n`: a message of so many octets comes; the answer is a prompt.
    Announce(usize),
    /// The PDU itself, with Ctrl-Z.
    Pdu(String),
    /// `AT+CFUN=1,1`: start anew.
    Reset,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::EnterPin(_) => f.write_str("AT+CPIN=\"…\""),
            Command::Pdu(hex) => write!(f, "a PDU of {} digits", hex.len()),
            other => f.write_str(other.text().trim_end()),
        }
    }
}

impl Command {
    /// What goes to the modem.
    pub fn text(&self) -> String {
        let text = match self {
            Command::Attention => "AT",
            Command::EchoOff => "ATE0",
            Command::Errors => "AT+CMEE=1",
            Command::PinState => "AT+CPIN?",
            Command::EnterPin(pin) => return format!("AT+CPIN=\"{}\"\r", pin.as_str()),
            Command::PduMode => "AT+CMGF=0",
            Command::Service => "AT+CSMS?",
            Command::Indicate => "AT+CNMI=2,1,0,1,0",
            Command::Storage => "AT+CPMS=\"SM\",\"SM\",\"SM\"",
            Command::Registration => "AT+CREG?",
            Command::Signal => "AT+CSQ",
            Command::List => "AT+CMGL=4",
            Command::Read(index) => return format!("AT+CMGR={index}\r"),
            Command::Delete(index) => return format!("AT+CMGD={index}\r"),
            Command::Announce(length) => return format!("AT+CMGS={length}\r"),
            Command::Pdu(hex) => return format!("{hex}\u{1a}"),
            Command::Reset => "AT+CFUN=1,1",
        };
        format!("{text}\r")
    }

    /// How long the modem may take. Handing a message over waits for the network, which 27.005
    /// does not bound; makers state up to a minute.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            Command::Pdu(_) => 60,
            Command::List | Command::EnterPin(_) => 20,
            Command::Read(_) | Command::Delete(_) | Command::Announce(_) => 10,
            _ => 5,
        })
    }
}

/// What prepares a modem, in this order.
pub const BEGINNING: [Command; 11] = [
    Command::Attention,
    Command::EchoOff,
    Command::Errors,
    Command::PinState,
    Command::PduMode,
    Command::Service,
    Command::Indicate,
    Command::Storage,
    Command::Registration,
    Command::Signal,
    Command::List,
];

/// What `+CSQ` says (27.007 section 8.5): 0 is -113 dBm, a step is 2 dB, 99 is unknown.
pub fn signal_dbm(lines: &[String]) -> Option<i32> {
    let answer = lines.iter().find_map(|line| line.strip_prefix("+CSQ:"))?;
    let steps: i32 = answer.split(',').next()?.trim().parse().ok()?;
    (0..=31).contains(&steps).then_some(2 * steps - 113)
}

/// How a command ended otherwise than with `OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// `ERROR`, with no reason.
    #[error("ERROR")]
    Plain,
    /// `+CMS ERROR`: of messages (27.005 section 3.2.5).
    #[error("+CMS ERROR: {0}")]
    Message(u16),
    /// `+CME ERROR`: of the equipment (27.007 section 9.2).
    #[error("+CME ERROR: {0}")]
    Equipment(u16),
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
    /// The port went away.
    #[error("the port was lost")]
    Lost,
}

/// What a failure to send means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Another time it may go.
    Again,
    /// It will never go: the number, the subscription, the PDU.
    Never,
    /// The modem or its SIM needs a person; another time it may go.
    Modem,
    /// Nobody knows whether it went.
    Unknown,
}

impl Failure {
    /// What it means for a message: causes of 24.011 annex E-2 below 128, of 27.005 from 300.
    pub fn meaning(self, command: &Command) -> Meaning {
        match self {
            Failure::Message(1 | 8 | 10 | 21 | 28 | 30 | 304 | 305) => Meaning::Never,
            Failure::Message(310 | 311 | 313 | 322 | 330) => Meaning::Modem,
            Failure::Equipment(10..=18) => Meaning::Modem,
            Failure::Silent | Failure::Lost if matches!(command, Command::Pdu(_)) => {
                Meaning::Unknown
            }
            _ => Meaning::Again,
        }
    }
}

/// What a line means whatever was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The command is done.
    Ok,
    /// The command failed.
    Failed(Failure),
    /// A message was stored at an index.
    Stored(u16),
    /// The next line is a PDU that came by itself.
    PduFollows,
    /// Something that the modem says by itself and that means nothing to us.
    Chatter,
    /// Part of an answer.
    Answer(&'a str),
}

/// Sorts a line. `^BOOT`, `RING` and their like may come at any point.
pub fn sort(line: &str) -> Line<'_> {
    let number = |rest: &str| rest.trim().parse().unwrap_or(u16::MAX);
    if let Some(rest) = line.strip_prefix("+CMS ERROR:") {
        return Line::Failed(Failure::Message(number(rest)));
    }
    if let Some(rest) = line.strip_prefix("+CME ERROR:") {
        return Line::Failed(Failure::Equipment(number(rest)));
    }
    if line.starts_with("+CMTI:") || line.starts_with("+CDSI:") {
        let index = line.rsplit(',').next().and_then(|index| index.trim().parse().ok());
        return index.map_or(Line::Chatter, Line::Stored);
    }
    if line.starts_with("+CDS:") || line.starts_with("+CMT:") {
        return Line::PduFollows;
    }
    match line {
        "OK" => Line::Ok,
        "ERROR" => Line::Failed(Failure::Plain),
        "RING" | "NO CARRIER" | "BUSY" => Line::Chatter,
        _ if line.starts_with('^') || line.starts_with("+CRING") || line.starts_with('*') => {
            Line::Chatter
        }
        _ => Line::Answer(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted() {
        let cases = [
            ("OK", Line::Ok),
            ("ERROR", Line::Failed(Failure::Plain)),
            ("+CMS ERROR: 38", Line::Failed(Failure::Message(38))),
            ("+CME ERROR: 10", Line::Failed(Failure::Equipment(10))),
            ("+CMTI: \"SM\",12", Line::Stored(12)),
            ("+CMTI: rubbish", Line::Chatter),
            ("+CDS: 25", Line::PduFollows),
            ("^BOOT:15,0", Line::Chatter),
            ("RING", Line::Chatter),
            ("+CSQ: 20,99", Line::Answer("+CSQ: 20,99")),
        ];
        for (line, wanted) in cases {
            assert_eq!(sort(line), wanted, "{line}");
        }
    }

    #[test]
    fn failures_mean_what_the_list_says() {
        let pdu = Command::Pdu(String::new());
        for code in [38, 41, 42, 47, 314, 331, 332, 500, 512] {
            assert_eq!(Failure::Message(code).meaning(&pdu), Meaning::Again, "{code}");
        }
        for code in [1, 8, 10, 21, 28, 30, 304, 305] {
            assert_eq!(Failure::Message(code).meaning(&pdu), Meaning::Never, "{code}");
        }
        for code in [310, 311, 313, 322, 330] {
            assert_eq!(Failure::Message(code).meaning(&pdu), Meaning::Modem, "{code}");
        }
        assert_eq!(Failure::Silent.meaning(&pdu), Meaning::Unknown);
        assert_eq!(Failure::Silent.meaning(&Command::Announce(9)), Meaning::Again);
    }

    #[test]
    fn a_pin_is_not_shown() {
        let command = Command::EnterPin(Zeroizing::new("4711".into()));
        assert!(!format!("{command:?}").contains("4711"));
    }
}
