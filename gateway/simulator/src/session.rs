//! One association of the head-end with a simulated device, as the device sees it.
//!
//! It is `cosem`'s server with what a device adds: fresh challenges, counters lent for one frame,
//! and the news which counter a client used, for the witness. It answers no request by itself.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::apdu::action::ActionAnswer;
use cosem::apdu::{Apdu, DataNotification, LongInvokePriority, MethodRef};
use cosem::association::{
    AcceptedCounters, Answer, Authentication, Level, Request, Server, ServerConfig,
    ServerIndication,
};
use cosem::security::Policy;
use cosem::wrapper::{self, Header};
use cosem::{AttributeRef, Data, DataAccessError, Error, Keys, Secret, Selection, Suite};

use crate::concentrator::{NOTIFICATION_SAP, SERVER_SAP};
use crate::field::{Access, ConcentratorModel, Hls, Key, MeterModel};
use crate::objects::MAX_PDU;
use crate::objects::catalogue::SECURITY_SETUP;
use crate::objects::memory::{MeterMemory, from_hex};
use crate::suites::{self, Proof};
use crate::witness::{Counters, Title};

/// Counters lent for one frame: AARE, both values of HLS, an exception, and room.
pub const COUNTERS_A_STEP: u32 = 8;
/// Time after which an association that nobody uses is given up.
const IDLE: Duration = Duration::from_secs(600);
/// SAP of the client that reads everything and changes nothing.
pub const READER_SAP: u16 = 32;
/// First octet of an AARQ.
const AARQ: u8 = 0x60;

/// A request of the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Read an attribute.
    Get {
        /// What.
        attribute: AttributeRef,
        /// Which part of it.
        selection: Option<Selection>,
    },
    /// Write an attribute.
    Set {
        /// What.
        attribute: AttributeRef,
        /// The value.
        value: Data,
    },
    /// Invoke a method.
    Action {
        /// Which.
        method: MethodRef,
        /// With what.
        parameters: Option<Data>,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a read.
    Value(Result<Data, DataAccessError>),
    /// To a write.
    Done(Result<(), DataAccessError>),
    /// To a method, with what it returns.
    Acted(Result<Option<Data>, DataAccessError>),
}

/// What a session tells its device.
#[derive(Debug)]
pub enum Event {
    /// A frame of this client with this invocation counter was deciphered and taken.
    Accepted {
        /// Client.
        client: Title,
        /// Its counter.
        counter: u32,
    },
    /// A frame was deciphered, but its counter was not above the last one; it was refused.
    Replayed {
        /// Client.
        client: Title,
        /// Its counter.
        counter: u32,
    },
    /// The association stands.
    Associated,
    /// To be answered with [`Session::respond`].
    Request(Ask),
    /// A frame was refused.
    Refused(Error),
}

/// A session.
#[derive(Debug)]
pub struct Session {
    server: Server,
    /// Title that the client gave in its last AARQ.
    claimed: Option<Title>,
    /// Title that the client has proved or, without HLS, given.
    client: Option<Title>,
    associated: bool,
    events: VecDeque<Event>,
}

impl Session {
    /// A session of a concentrator's logical device 1: HLS 5, ciphered, nobody else.
    ///
    /// # Errors
    /// When the system has no random octets for challenges.
    pub fn concentrator(model: &ConcentratorModel) -> Result<Self, getrandom::Error> {
        let keys = Keys::new(&model.guek.0, &model.gak.0);
        let mut config = ServerConfig::new(SERVER_SAP, model.title);
        config.authentication = Authentication::Hls5(keys.clone());
        config.ciphered = Some(keys);
        config.allow_public = false;
        Self::new(config)
    }

    /// A session of a meter's logical device `sap` with the client `client_sap`: the reading
    /// client shows the reader's password, every other one what the meter asks for.
    ///
    /// # Errors
    /// When the system has no random octets for challenges.
    pub fn meter(
        model: &MeterModel,
        memory: &MeterMemory,
        sap: u16,
        client_sap: u16,
    ) -> Result<Self, getrandom::Error> {
        let mut config = ServerConfig::new(sap, model.title);
        config.idle_timeout = Some(IDLE);
        config.max_pdu = MAX_PDU;
        let changed = memory.keys.secret.as_ref().and_then(|text| from_hex(text));
        match &model.access {
            Access::None => {}
            _ if client_sap == READER_SAP => {
                config.authentication = Authentication::Lls(Secret::new(&model.reader.0));
            }
            Access::Lls(secret) => {
                let secret = changed.unwrap_or_else(|| secret.0.to_vec());
                config.authentication = Authentication::Lls(Secret::new(&secret));
            }
            Access::Secret(hls, secret) => {
                let secret = Secret::new(&changed.unwrap_or_else(|| secret.0.to_vec()));
                config.authentication = match hls {
                    Hls::Md5 => Authentication::Hls3(secret),
                    Hls::Sha1 => Authentication::Hls4(secret),
                    Hls::Sha256 => Authentication::Hls6(secret),
                };
            }
            Access::Hls5 => {
                let keys = keys_of(model, memory, Suite::Zero);
                config.authentication = keys.clone().map_or(REFUSES, Authentication::Hls5);
                config.ciphered = keys;
            }
            Access::Secured(secured) => {
                let keys = keys_of(model, memory, secured.suite);
                config.authentication = match secured.proof {
                    Proof::Gmac => keys.clone().map_or(REFUSES, Authentication::Hls5),
                    Proof::Ecdsa => REFUSES,
                };
                config.ciphered = keys;
                let credentials = suites::of_meter(secured.suite, model.kek);
                config.credentials = credentials.unwrap_or_default();
            }
        }
        if let Ok(policy) = Policy::from_v1(policy(model, memory)) {
            config.policy = policy;
        }
        Self::new(config)
    }

    /// Sends a notification to the client that pushes go to.
    pub fn notify(&mut self, invoke: u32, body: Data) {
        let invoke = LongInvokePriority::confirmed(invoke);
        let notification = DataNotification::new(invoke, None, body);
        if let Err(error) = self.server.notify(NOTIFICATION_SAP, notification) {
            self.events.push_back(Event::Refused(error));
        }
    }

    fn new(config: ServerConfig) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self {
            server: Server::new(config, seed, AcceptedCounters::default()),
            claimed: None,
            client: None,
            associated: false,
            events: VecDeque::new(),
        })
    }

    /// Lends the counters that may be used until [`Self::unused`].
    pub fn lend(&mut self, counters: Range<u32>) {
        self.server.set_counters(counters);
    }

    /// Takes the counters back: the first that was not used.
    pub fn unused(&mut self) -> u32 {
        let first = self.server.counters().start;
        self.server.set_counters(0..0);
        first
    }

    /// System title of the associated client; `None` also for a client without one.
    #[must_use]
    pub fn client(&self) -> Option<Title> {
        self.client.filter(|_| self.associated)
    }

    /// Whether a client is associated.
    #[must_use]
    pub fn is_associated(&self) -> bool {
        self.associated
    }

    /// Whether the client has proved nothing.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.server.level() == Level::Public
    }

    /// Takes a frame; `used` are the counters that the device has seen on all its sessions.
    pub fn receive(&mut self, now: Instant, header: Header, apdu: &[u8], used: &Counters) {
        let mut accepted = AcceptedCounters::default();
        for (title, highest) in used.highests() {
            accepted.raise(title, highest);
        }
        self.server.merge_accepted(&accepted);
        self.server.handle_timeout(now);
        if apdu.first() == Some(&AARQ) {
            self.claimed = claimed_title(apdu);
        }
        let before = self.highest();
        let result = self.server.handle_frame(now, header, apdu);
        let after = self.highest();
        if let (Some(client), Some(counter)) = (self.claimed, after)
            && before != after
        {
            self.events.push_back(Event::Accepted { client, counter });
        }
        if let (Some(client), Err(Error::Replayed { counter, .. })) = (self.claimed, &result) {
            self.events.push_back(Event::Replayed { client, counter: *counter });
        }
        if let Err(error) = result {
            self.events.push_back(Event::Refused(error));
        }
    }

    /// The next thing to know or to do.
    pub fn poll(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        loop {
            match self.server.poll()? {
                ServerIndication::Associated { client_title, .. } => {
                    (self.associated, self.client) = (true, client_title);
                    return Some(Event::Associated);
                }
                ServerIndication::Request(Request::Get { attribute, selection }) => {
                    return Some(Event::Request(Ask::Get { attribute, selection }));
                }
                ServerIndication::Request(Request::Set { attribute, value, .. }) => {
                    return Some(Event::Request(Ask::Set { attribute, value }));
                }
                ServerIndication::Request(Request::Action { method, parameters }) => {
                    return Some(Event::Request(Ask::Action { method, parameters }));
                }
                ServerIndication::Released => (self.associated, self.client) = (false, None),
            }
        }
    }

    /// Answers the request that [`Self::poll`] gave last.
    pub fn respond(&mut self, ask: &Ask, reply: Reply) {
        let acted = |result: Result<Option<Data>, DataAccessError>| {
            let (result, returned) = match result {
                Ok(returned) => (Ok(()), returned.map(Ok)),
                Err(error) => (Err(error), None),
            };
            Answer::Acted(ActionAnswer { result, returned })
        };
        let answer = match (ask, reply) {
            (Ask::Get { .. }, Reply::Value(value)) => Answer::Got(value),
            (Ask::Get { .. }, Reply::Done(result)) => Answer::Got(result.map(|()| Data::Null)),
            (Ask::Get { .. }, Reply::Acted(result)) => {
                Answer::Got(result.map(|data| data.unwrap_or(Data::Null)))
            }
            (Ask::Set { .. }, Reply::Done(result)) => Answer::Set(result),
            (Ask::Set { .. }, Reply::Value(result)) => Answer::Set(result.map(|_| ())),
            (Ask::Set { .. }, Reply::Acted(result)) => Answer::Set(result.map(|_| ())),
            (Ask::Action { .. }, Reply::Value(result)) => acted(result.map(Some)),
            (Ask::Action { .. }, Reply::Done(result)) => acted(result.map(|()| None)),
            (Ask::Action { .. }, Reply::Acted(result)) => acted(result),
        };
        if let Err(error) = self.server.respond(answer) {
            self.events.push_back(Event::Refused(error));
        }
    }

    /// The next whole frame to send.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.server.poll_transmit()
    }

    /// The next APDU to send, with its header, for a device behind a gateway.
    pub fn poll_apdu(&mut self) -> Option<(Header, Bytes)> {
        let frame = Bytes::from(self.server.poll_transmit()?);
        let header = wrapper::decode(&frame).ok()?.0;
        Some((header, frame.slice(wrapper::HEADER_OCTETS..)))
    }

    fn highest(&self) -> Option<u32> {
        self.server.accepted().highest(&self.claimed?)
    }
}

/// HLS 7, which nobody can prove to a meter that has no signing keys.
const REFUSES: Authentication = Authentication::Hls7;

/// The keys that count now; None when what was transferred is no key of the suite.
fn keys_of(model: &MeterModel, memory: &MeterMemory, suite: Suite) -> Option<Keys> {
    let key = |text: &Option<String>, factory: Key| match text {
        Some(text) => from_hex(text).unwrap_or_default(),
        None => suites::symmetric(suite, factory),
    };
    let guek = key(&memory.keys.guek, model.guek);
    let gak = key(&memory.keys.gak, model.gak);
    Keys::in_suite(suite, &guek, &gak).ok()
}

/// The security policy that counts now: what the meter came with, or was strengthened to.
#[must_use]
pub fn policy(model: &MeterModel, memory: &MeterMemory) -> u8 {
    match memory.written(64, SECURITY_SETUP, 2) {
        Some(Data::Enum(policy)) => policy,
        _ => model.access.policy(),
    }
}

/// The title that an AARQ gives, before it is believed.
fn claimed_title(apdu: &[u8]) -> Option<Title> {
    match Apdu::decode(apdu).ok()? {
        Apdu::Aarq(aarq) => aarq.calling_title?.as_ref().try_into().ok(),
        _ => None,
    }
}
