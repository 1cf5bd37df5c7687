//! Telnet with the com port option (RFC 854, 855, 2217): octets of a line within a connection to a
//! serial server, and the settings of its port. Sans-IO: octets go in and come out.
//!
//! | option | wanted of the server | offered to it |
//! |---|---|---|
//! | 0 binary (RFC 856) | yes | yes |
//! | 3 suppress go-ahead (RFC 858) | yes | yes |
//! | 44 com port control | no | yes |
//! | any other | refused | refused |
//!
//! Invariants: a subnegotiation is bounded, what is longer is dropped; an option is answered once,
//! so that two ends never answer each other for ever; 255 in the data is doubled both ways.

use bytes::{BufMut, BytesMut};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

const BINARY: u8 = 0;
const GO_AHEAD: u8 = 3;
const COM_PORT: u8 = 44;

/// Commands of a client; those of a server are 100 above.
const SET_BAUD_RATE: u8 = 1;
const SET_DATA_SIZE: u8 = 2;
const SET_PARITY: u8 = 3;
const SET_STOP_SIZE: u8 = 4;
const SET_CONTROL: u8 = 5;
const FROM_SERVER: u8 = 100;

/// Value of SET_CONTROL: no flow control, neither way.
const NO_FLOW_CONTROL: u8 = 1;

/// Longest subnegotiation that is taken: a command and its value, with room.
const MAX_PARAMETERS: usize = 64;

/// The parity of a port (RFC 2217: 1 none, 2 odd, 3 even).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parity {
    None = 1,
    Even = 3,
}

/// Whether the server controls its port for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// It has not said yet.
    Open,
    /// It does.
    Agreed,
    /// It does not.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Iac,
    /// Behind DO, DONT, WILL or WONT.
    Verb(u8),
    Parameters,
    ParametersIac,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Telnet {
    state: State,
    parameters: Vec<u8>,
    agreement: Agreement,
    /// Options of ours that were said to be on or off.
    said: Vec<(u8, u8)>,
    baud: Option<u32>,
}

impl Telnet {
    /// A connection, and what to send first.
    pub fn new() -> (Self, BytesMut) {
        let mut telnet = Self {
            state: State::Data,
            parameters: Vec::new(),
            agreement: Agreement::Open,
            said: Vec::new(),
            baud: None,
        };
        let mut out = BytesMut::new();
        let wishes = [(WILL, COM_PORT), (WILL, BINARY), (DO, BINARY), (DO, GO_AHEAD)];
        for (verb, option) in wishes.into_iter().chain([(WILL, GO_AHEAD)]) {
            telnet.say(verb, option, &mut out);
        }
        (telnet, out)
    }

    /// Whether the server controls its port for us.
    pub const fn agreement(&self) -> Agreement {
        self.agreement
    }

    /// The rate that the server confirmed since the last `set_baud`.
    pub const fn baud(&self) -> Option<u32> {
        self.baud
    }

    /// Octets of the line as they go over the connection.
    pub fn encode(octets: &[u8], out: &mut BytesMut) {
        for octet in octets {
            out.put_u8(*octet);
            if *octet == IAC {
                out.put_u8(IAC);
            }
        }
    }

    /// The command that sets the rate.
    pub fn set_baud(&mut self, baud: u32, out: &mut BytesMut) {
        self.baud = None;
        command(SET_BAUD_RATE, &baud.to_be_bytes(), out);
    }

    /// The commands that set the frame of a character, one stop bit, and no flow control.
    pub fn set_frame(data_bits: u8, parity: Parity, out: &mut BytesMut) {
        command(SET_DATA_SIZE, &[data_bits], out);
        command(SET_PARITY, &[parity as u8], out);
        command(SET_STOP_SIZE, &[1], out);
        command(SET_CONTROL, &[NO_FLOW_CONTROL], out);
    }

    /// Takes octets of the connection: those of the line, in place; `out` gets what is to be sent.
    pub fn decode(&mut self, octets: &mut BytesMut, out: &mut BytesMut) {
        let mut data = BytesMut::with_capacity(octets.len());
        for octet in octets.iter().copied() {
            self.take(octet, &mut data, out);
        }
        *octets = data;
    }

    fn take(&mut self, octet: u8, data: &mut BytesMut, out: &mut BytesMut) {
        self.state = match (self.state, octet) {
            (State::Data, IAC) => State::Iac,
            (State::Data, _) => {
                data.put_u8(octet);
                State::Data
            }
            (State::Iac, IAC) => {
                data.put_u8(IAC);
                State::Data
            }
            (State::Iac, DO | DONT | WILL | WONT) => State::Verb(octet),
            (State::Iac, SB) => {
                self.parameters.clear();
                State::Parameters
            }
            // Commands of one octet (no operation, go ahead, break) have no meaning here.
            (State::Iac, _) => State::Data,
            (State::Verb(verb), option) => {
                self.answer(verb, option, out);
                State::Data
            }
            (State::Parameters, IAC) => State::ParametersIac,
            (State::ParametersIac, SE) => {
                self.parameters();
                State::Data
            }
            // A doubled 255 is one; anything else behind 255 is the server's fault and is kept.
            (State::Parameters | State::ParametersIac, _) => {
                if self.parameters.len() <= MAX_PARAMETERS {
                    self.parameters.push(octet);
                }
                State::Parameters
            }
        };
    }

    fn answer(&mut self, verb: u8, option: u8, out: &mut BytesMut) {
        match (verb, option) {
            (DO, COM_PORT) => self.agreement = Agreement::Agreed,
            (DONT, COM_PORT) => self.agreement = Agreement::Refused,
            (DO, BINARY | GO_AHEAD) => self.say(WILL, option, out),
            (WILL, BINARY | GO_AHEAD) => self.say(DO, option, out),
            // Some servers name themselves the ones who will; the roles are the same.
            (WILL, COM_PORT) => self.say(DO, option, out),
            (DO, _) => self.say(WONT, option, out),
            (WILL, _) => self.say(DONT, option, out),
            // What is off stays off.
            _ => {}
        }
    }

    /// Says it unless it was said before.
    fn say(&mut self, verb: u8, option: u8, out: &mut BytesMut) {
        if !self.said.contains(&(verb, option)) {
            // At most two for each of 256 options.
            self.said.push((verb, option));
            out.extend_from_slice(&[IAC, verb, option]);
        }
    }

    /// A subnegotiation is complete.
    fn parameters(&mut self) {
        if let Some(rest) = self.parameters.strip_prefix(&COM_PORT_RATE)
            && let Ok(octets) = <[u8; 4]>::try_from(rest)
        {
            self.baud = Some(u32::from_be_bytes(octets));
        }
    }
}

/// How a server begins to confirm a rate.
const COM_PORT_RATE: [u8; 2] = [COM_PORT, SET_BAUD_RATE + FROM_SERVER];

fn command(command: u8, value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(&[IAC, SB, COM_PORT, command]);
    Telnet::encode(value, out);
    out.extend_from_slice(&[IAC, SE]);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Agreement, MAX_PARAMETERS, Parity, Telnet};

    /// What of these octets is of the line, and what goes back.
    fn decode(telnet: &mut Telnet, octets: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut data, mut out) = (BytesMut::from(octets), BytesMut::new());
        telnet.decode(&mut data, &mut out);
        (data.to_vec(), out.to_vec())
    }

    #[test]
    fn octets_of_the_line_come_through_whole_however_they_are_cut() {
        let line: Vec<u8> = (0..=255).chain([255, 255, 1, 255]).collect();
        let mut wire = BytesMut::new();
        Telnet::encode(&line, &mut wire);
        // A confirmed rate and an option in the middle of them.
        wire.extend_from_slice(&[255, 250, 44, 101, 0, 0, 1, 44, 255, 240, 255, 253, 44]);
        Telnet::encode(b"rest", &mut wire);
        for cut in 1..wire.len() {
            let (mut telnet, _) = Telnet::new();
            let (mut seen, back) = decode(&mut telnet, &wire[..cut]);
            let (rest, more) = decode(&mut telnet, &wire[cut..]);
            seen.extend(rest);
            assert_eq!(seen, [&line[..], b"rest"].concat(), "cut at {cut}");
            assert!(back.is_empty() && more.is_empty());
            assert_eq!((telnet.baud(), telnet.agreement()), (Some(300), Agreement::Agreed));
        }
    }

    #[test]
    fn options_are_answered_once_and_unknown_ones_refused() {
        let (mut telnet, first) = Telnet::new();
        let expect = [255, 251, 44, 255, 251, 0, 255, 253, 0, 255, 253, 3, 255, 251, 3];
        assert_eq!(&first[..], &expect);
        // What we said ourselves is not said again.
        assert_eq!(decode(&mut telnet, &[255, 253, 0, 255, 251, 0]).1, Vec::<u8>::new());
        // Echo (1): do not, and we do not.
        let echo = [255, 251, 1, 255, 253, 1];
        assert_eq!(decode(&mut telnet, &echo).1, [255, 254, 1, 255, 252, 1]);
        assert_eq!(decode(&mut telnet, &echo).1, Vec::<u8>::new(), "no answer for ever");
        assert_eq!(telnet.agreement(), Agreement::Open);
        assert_eq!(decode(&mut telnet, &[255, 254, 44]).1, Vec::<u8>::new());
        assert_eq!(telnet.agreement(), Agreement::Refused);
    }

    #[test]
    fn commands_have_their_values_in_order_and_doubled() {
        let (mut telnet, _) = Telnet::new();
        let mut out = BytesMut::new();
        telnet.set_baud(0x0000_ff2c, &mut out);
        assert_eq!(&out[..], &[255, 250, 44, 1, 0, 0, 255, 255, 0x2c, 255, 240]);
        let mut out = BytesMut::new();
        Telnet::set_frame(7, Parity::Even, &mut out);
        let command = |command, value| [255, 250, 44, command, value, 255, 240];
        let expect = [command(2, 7), command(3, 3), command(4, 1), command(5, 1)].concat();
        assert_eq!(&out[..], &expect[..]);
    }

    #[test]
    fn a_subnegotiation_without_end_costs_nothing() {
        let (mut telnet, _) = Telnet::new();
        decode(&mut telnet, &[255, 250, 44, 101]);
        for _ in 0..1_000 {
            assert!(decode(&mut telnet, &[7; 64]).0.is_empty());
        }
        assert!(telnet.parameters.len() <= MAX_PARAMETERS + 1);
        assert_eq!(decode(&mut telnet, &[255, 240, b'x']).0, b"x");
        assert_eq!(telnet.baud(), None, "too long to be a rate");
    }
}
