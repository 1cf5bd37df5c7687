//! A session with a meter of IEC 62056-21: the data readout, the programming mode, what mode D
//! sends unasked, and the sign-on of mode E. It drives cosem's machine over a turn on a line.
//!
//! Invariants: 1. what is answered was read in this session; a readout serves all that is asked
//! in the same session; 2. the rate of the line follows the machine, or, where it is not in our
//! hands, the machine is told to stay; 3. a password goes into the machine alone.

mod act;

use std::time::Duration;

use cosem::Secret;
use cosem::iec62056_21::{
    Answer, Client, ClientConfig, Command, DataSet, Failure as Lost, Identification, Indication,
    Mode as Talk, Output, Parity, Password, SIGN_ON_BAUD, Wish,
};
use domain::Obis;
use domain::commands::{Attribute, Failure, Read, Value};
use domain::units::address::{Bits, Local, Mode, ReadCommand, SignOn};
use tokio::time::{Instant, sleep_until};

use crate::line::{Fault, Turn};
use crate::order::{Outcome, ProfileRead, Work};
use crate::shared::Shared;
use crate::translate::local as translate;
use crate::upcall::MeterAccess;

/// Fastest rate that is asked for.
const MAX_BAUD: u32 = 19_200;

/// The time of the longest message that we send, at the rate of the sign-on.
const OUR_OCTETS: usize = 40;

/// Longest answer, octets: a profile of months.
const MAX_BLOCK: usize = 1 << 20;

/// What a data-access-result of COSEM says for an object that is not there.
const UNDEFINED: u8 = 4;

/// What any other refusal of a meter counts as among several values.
const OTHER_REASON: u8 = 250;

/// A meter and the line to it.
pub(super) struct LocalMeter {
    turn: Turn,
    local: Local,
    password: Password,
    /// For one answer, when the meter's model says it.
    answer: Option<Duration>,
    /// The data readout of this session.
    readout: Option<Vec<DataSet>>,
    /// The programming mode, once it is open.
    programming: Option<Client>,
}

impl LocalMeter {
    /// Nothing said yet.
    pub fn new(turn: Turn, local: Local, access: &MeterAccess) -> Self {
        let password = match &access.secret {
            Some(secret) => Password::Plain(Secret::new(secret)),
            None => Password::None,
        };
        let answer = access.model.file.limits.response_timeout_ms.map(Duration::from_millis);
        Self { turn, local, password, answer, readout: None, programming: None }
    }

    /// Whether somebody waits for the line.
    pub fn is_wanted(&self) -> bool {
        self.turn.is_wanted()
    }

    /// One piece of work.
    ///
    /// # Errors
    /// What the meter or the line said; `NoAnswer` at the deadline.
    pub async fn read(
        &mut self,
        shared: &Shared,
        work: &Work,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        match work {
            Work::Attributes(attributes) => {
                self.attributes(shared, attributes, deadline).await.map(Outcome::Reads)
            }
            Work::Profile { obis, from_s, to_s } => {
                let read = self.profile(shared, *obis, *from_s, *to_s, deadline).await?;
                Ok(Outcome::Profile(read))
            }
            Work::Store { .. } => {
                Err(Failure::Unsupported("a meter has no store of a concentrator".to_owned()))
            }
            Work::Offset { anchor } => self.offset(shared, *anchor, deadline).await,
            Work::Act { order, anchor } => self.act(shared, order, *anchor, deadline).await,
            Work::ReadBack { order, anchor, .. } => {
                self.read_back(shared, order, *anchor, deadline).await
            }
        }
    }

    /// Ends the programming mode, so that the meter and the line are free.
    pub async fn part(mut self, shared: &Shared) {
        if let Some(mut client) = self.programming.take() {
            client.finish(now());
            let deadline = Instant::now() + Duration::from_secs(2);
            let _ = drive(shared, &mut self.turn, &mut client, deadline).await;
        }
    }

    async fn attributes(
        &mut self,
        shared: &Shared,
        attributes: &[Attribute],
        deadline: Instant,
    ) -> Result<Vec<Read>, Failure> {
        if self.local.mode != Mode::C {
            self.read_out(shared, deadline).await?;
        }
        let mut reads = Vec::with_capacity(attributes.len());
        for attribute in attributes {
            let read = match self.local.mode {
                Mode::C => self.ask_one(shared, attribute, deadline).await,
                _ => self.look_up(attribute),
            };
            reads.push(match read {
                Ok(read) => read,
                Err(failure) if attributes.len() == 1 => return Err(failure),
                Err(Failure::Access(code)) => refused(attribute, code),
                Err(Failure::Unsupported(_)) => refused(attribute, OTHER_REASON),
                Err(failure) => return Err(failure),
            });
        }
        Ok(reads)
    }

    /// An attribute out of the readout.
    fn look_up(&self, attribute: &Attribute) -> Result<Read, Failure> {
        let sets = self.readout.as_deref().unwrap_or_default();
        let set = |obis| translate::find(sets, obis).ok_or(Failure::Access(UNDEFINED));
        if is_clock(attribute) {
            let (time, date) = (set(translate::CLOCK_TIME)?, set(translate::CLOCK_DATE)?);
            return translate::clock(attribute, time, date, self.local.utc_offset_minutes);
        }
        translate::read(attribute, set(attribute.obis)?)
    }

    /// An attribute by a read command.
    async fn ask_one(
        &mut self,
        shared: &Shared,
        attribute: &Attribute,
        deadline: Instant,
    ) -> Result<Read, Failure> {
        if is_clock(attribute) {
            let time = self.set_of(shared, translate::CLOCK_TIME, deadline).await?;
            let date = self.set_of(shared, translate::CLOCK_DATE, deadline).await?;
            return translate::clock(attribute, &time, &date, self.local.utc_offset_minutes);
        }
        let set = self.set_of(shared, attribute.obis, deadline).await?;
        translate::read(attribute, &set)
    }

    async fn set_of(
        &mut self,
        shared: &Shared,
        obis: Obis,
        deadline: Instant,
    ) -> Result<DataSet, Failure> {
        let data = format!("{}()", translate::code_of(obis));
        let sets = self.command(shared, &data, deadline).await?;
        let found = translate::find(&sets, obis).cloned();
        // Many meters leave the address away: the answer is to what was asked.
        let bare = || sets.into_iter().find(|set| set.address.is_empty());
        found.or_else(bare).ok_or(Failure::Access(UNDEFINED))
    }

    async fn profile(
        &mut self,
        shared: &Shared,
        obis: Obis,
        from_s: i64,
        to_s: i64,
        deadline: Instant,
    ) -> Result<ProfileRead, Failure> {
        let [a, b, c, _, e, f] = obis.0;
        if (a, b, c, e, f) != (1, 0, 99, 0, 255) {
            let text = format!("{obis} is no load profile of an IEC 62056-21 meter: 1-0:99.x.0");
            return Err(Failure::Unsupported(text));
        }
        if !matches!(self.local.mode, Mode::Auto | Mode::C) {
            let text = "a load profile is read in the programming mode: mode=auto or mode=c";
            return Err(Failure::Unsupported(text.to_owned()));
        }
        let offset = self.local.utc_offset_minutes;
        // The meter may take the range in its summer time.
        let from = translate::stamp_of(from_s.saturating_sub(3_600), offset);
        let to = translate::stamp_of(to_s.saturating_add(3_600), offset);
        let data = format!("{}({from};{to})", translate::code_of(obis));
        let sets = self.command(shared, &data, deadline).await?;
        let mut read = translate::profile(obis, &sets, offset)?;
        read.rows.retain(|row| (from_s..=to_s).contains(&row.end_s));
        Ok(read)
    }

    /// Carries out one read command, in the programming mode.
    async fn command(
        &mut self,
        shared: &Shared,
        data: &str,
        deadline: Instant,
    ) -> Result<Vec<DataSet>, Failure> {
        let variant = match self.local.read {
            ReadCommand::R1 => '1',
            ReadCommand::R2 => '2',
            ReadCommand::R5 => '5',
            ReadCommand::R6 => '6',
        };
        match self.answer_to(shared, ('R', variant), data, deadline).await? {
            Answer::Data(sets) => Ok(sets),
            Answer::Refused(text) => Err(no(&text)),
            Answer::Done => Err(Failure::Malformed("an ACK in answer to a read".to_owned())),
            Answer::Unknown => Err(Failure::NoAnswer),
        }
    }

    /// Carries out one write command, in the programming mode.
    async fn write_command(
        &mut self,
        shared: &Shared,
        variant: char,
        data: &str,
        deadline: Instant,
    ) -> Result<(), Failure> {
        // Opened before, so that what fails from here on may have changed the meter.
        let client = self.programming(shared, deadline).await?;
        self.programming = Some(client);
        match self.answer_to(shared, ('W', variant), data, deadline).await {
            Ok(Answer::Done) => Ok(()),
            // Some meters repeat what was written in place of the ACK.
            Ok(Answer::Data(_)) => Ok(()),
            Ok(Answer::Refused(text)) => Err(no(&text)),
            Ok(Answer::Unknown) | Err(Failure::Rejected(_)) => Err(Failure::NoAnswer),
            Err(failure) => Err(failure),
        }
    }

    async fn answer_to(
        &mut self,
        shared: &Shared,
        (letter, variant): (char, char),
        data: &str,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut client = self.programming(shared, deadline).await?;
        let unfit = |error: cosem::Error| Failure::Unsupported(error.to_string());
        let command = Command::new(letter, variant, data.as_bytes()).map_err(unfit)?;
        client.command(now(), command).map_err(unfit)?;
        let answer = loop {
            match drive(shared, &mut self.turn, &mut client, deadline).await? {
                Indication::Answered(answer) => break answer,
                Indication::Failed(lost) => return Err(failure(lost)),
                _ => {}
            }
        };
        // Only a session that is still open is kept.
        self.programming = Some(client).filter(Client::is_ready);
        Ok(answer)
    }

    /// The programming mode, opened when it is not.
    async fn programming(&mut self, shared: &Shared, deadline: Instant) -> Result<Client, Failure> {
        if let Some(client) = self.programming.take() {
            return Ok(client);
        }
        let sign_on = &self.local.sign_on;
        let answer = self.answer;
        let mut config = config(shared, &mut self.turn, sign_on, Wish::Programming, answer).await?;
        config.password = self.password.clone();
        let mut client = Client::new(config);
        start(&mut client)?;
        loop {
            match drive(shared, &mut self.turn, &mut client, deadline).await? {
                Indication::Ready => return Ok(client),
                Indication::Failed(lost) => return Err(failure(lost)),
                Indication::Closed => return Err(failure(Lost::Broken)),
                _ => {}
            }
        }
    }

    /// Reads the meter out, once a session.
    async fn read_out(&mut self, shared: &Shared, deadline: Instant) -> Result<(), Failure> {
        if self.readout.is_some() {
            return Ok(());
        }
        if let Some(mut client) = self.programming.take() {
            client.finish(now());
            drive(shared, &mut self.turn, &mut client, deadline).await?;
        }
        let (sign_on, answer) = (&self.local.sign_on, self.answer);
        let config = config(shared, &mut self.turn, sign_on, Wish::Readout, answer).await?;
        let mut client = Client::new(config);
        if self.local.mode == Mode::D {
            client.listen().map_err(|error| Failure::Malformed(error.to_string()))?;
        } else {
            start(&mut client)?;
        }
        let sets = loop {
            match drive(shared, &mut self.turn, &mut client, deadline).await? {
                Indication::Identified(identification) => self.check_mode(&identification)?,
                Indication::Readout(sets) => break sets,
                Indication::Failed(lost) => return Err(failure(lost)),
                Indication::Closed => return Err(failure(Lost::Broken)),
                _ => {}
            }
        };
        if translate::is_other(&sets, &self.local.sign_on.device) {
            let text = "another meter answers to this device address";
            return Err(Failure::Rejected(text.to_owned()));
        }
        self.readout = Some(sets);
        Ok(())
    }

    fn check_mode(&self, identification: &Identification) -> Result<(), Failure> {
        let (is, fits) = match identification.mode() {
            Talk::A => ("A", self.local.mode != Mode::B),
            Talk::B(_) => ("B", self.local.mode != Mode::A),
            Talk::C(_) => ("C", !matches!(self.local.mode, Mode::A | Mode::B)),
        };
        // The letter of a telegram of mode D says nothing.
        if fits || self.local.mode == Mode::D {
            return Ok(());
        }
        let text = format!("the meter talks in mode {is}, and its address says another");
        Err(Failure::Unsupported(text))
    }
}

/// Signs on for HDLC (mode E) and leaves the line at its rate, eight bits without parity.
///
/// # Errors
/// As `LocalMeter::read`.
pub(super) async fn enter_hdlc(
    shared: &Shared,
    turn: &mut Turn,
    sign_on: &SignOn,
    deadline: Instant,
) -> Result<(), Failure> {
    let mut client = Client::new(config(shared, turn, sign_on, Wish::Hdlc, None).await?);
    start(&mut client)?;
    loop {
        match drive(shared, turn, &mut client, deadline).await? {
            Indication::Hdlc { .. } => break,
            Indication::Failed(lost) => return Err(failure(lost)),
            _ => {}
        }
    }
    turn.set_bits(Bits::EightNone).map_err(|error| gone(turn, &error))
}

/// The settings of a machine, the line made ready for a sign-on.
async fn config(
    shared: &Shared,
    turn: &mut Turn,
    sign_on: &SignOn,
    wish: Wish,
    answer: Option<Duration>,
) -> Result<ClientConfig, Failure> {
    turn.set_bits(sign_on.bits).map_err(|error| gone(turn, &error))?;
    turn.set_baud(SIGN_ON_BAUD).await.map_err(|error| gone(turn, &error))?;
    let mut config = ClientConfig::new(&sign_on.device, wish);
    config.parity = match sign_on.bits {
        Bits::SevenEven => Parity::Port,
        Bits::EightNone => Parity::Octet,
    };
    // Without the rate in our hands the meter is asked to stay where it is.
    config.max_baud = if turn.has_rate() { MAX_BAUD } else { SIGN_ON_BAUD };
    let ours = Duration::from_millis(shared.config.line_answer_timeout_ms);
    let answer = answer.unwrap_or(ours);
    config.answer_timeout = answer + turn.line_time(OUR_OCTETS);
    config.max_block = MAX_BLOCK;
    Ok(config)
}

fn start(client: &mut Client) -> Result<(), Failure> {
    client.start(now()).map_err(|error| Failure::Unsupported(error.to_string()))
}

/// Drives the machine to its next indication.
async fn drive(
    shared: &Shared,
    turn: &mut Turn,
    client: &mut Client,
    deadline: Instant,
) -> Result<Indication, Failure> {
    loop {
        while let Some(output) = client.poll_transmit() {
            let done = match output {
                Output::Transmit(octets) => {
                    shared.metrics.sent.inc_by(octets.len() as u64);
                    turn.put(&octets);
                    turn.flush().await
                }
                Output::ChangeBaud(baud) => turn.set_baud(baud).await,
            };
            done.map_err(|error| gone(turn, &error))?;
        }
        if let Some(indication) = client.poll() {
            return Ok(indication);
        }
        let at = client.poll_timeout().map_or(deadline, Instant::from_std).min(deadline);
        tokio::select! {
            octets = turn.read() => match octets {
                Ok(octets) => {
                    shared.metrics.received.inc_by(octets.len() as u64);
                    client.handle_bytes(now(), &octets);
                }
                Err(error) => return Err(gone(turn, &error)),
            },
            () = sleep_until(at) => {
                if Instant::now() >= deadline {
                    return Err(Failure::NoAnswer);
                }
                client.handle_timeout(now());
            }
        }
    }
}

fn gone(turn: &mut Turn, error: &std::io::Error) -> Failure {
    turn.lose();
    Fault::Gone(format!("the line went away: {error}")).into()
}

fn failure(lost: Lost) -> Failure {
    match lost {
        Lost::NoAnswer => Failure::NoAnswer,
        Lost::BadCheck => Failure::Malformed("the block check (BCC) never held".to_owned()),
        Lost::TooLong => Failure::Malformed("the answer is too long".to_owned()),
        Lost::NotOffered => Failure::Unsupported("the meter does not offer this mode".to_owned()),
        Lost::Password => Failure::Rejected("the meter refused the password (B0)".to_owned()),
        Lost::Broken => Failure::Rejected("the meter broke the session off (B0)".to_owned()),
    }
}

fn no(text: &str) -> Failure {
    Failure::Unsupported(format!("the meter refused the command: {text}"))
}

fn refused(attribute: &Attribute, code: u8) -> Read {
    let Attribute { obis, attribute, .. } = *attribute;
    Read { obis, attribute, value: Value::Refused(code), scaler: None, unit: None }
}

fn is_clock(attribute: &Attribute) -> bool {
    attribute.obis == translate::CLOCK && attribute.attribute == 2
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
