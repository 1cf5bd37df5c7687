//! Every edge of the session, against a COSEM server in memory, under a clock of its own. The
//! driver is the test: it carries octets both ways and answers the session's questions. The edges
//! stand by step of the session in the modules below.

mod endings;
mod lease;
mod login;
mod pushes;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosem::apdu::{DataNotification, EventNotification, LongInvokePriority};
use cosem::association::{
    AcceptedCounters, Answer as Reply, Authentication, Request as Asked, Server, ServerConfig,
    ServerIndication,
};
use cosem::wrapper::Deframer;
use cosem::{Data, DataAccessError, DateTime, Keys};
use domain::commands::Failure;
use domain::leases::{Reason, Role};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::strangers::Strangers;
use super::{Answer, Event, Request, Session};
use crate::error::Denied;
use crate::order::{Order, Outcome, Pace, Work};
use crate::upcall::{Admission, Claimed};
use crate::{Config, Notice};

const NAME: &str = "HFDSIM0000000001";
const TITLE: [u8; 8] = *b"HFDSIM01";
const NOON: i64 = 1_795_305_600;
const HEARTBEAT: [u8; 6] = [0, 6, 25, 9, 0, 255];
const IDENTITY: [u8; 6] = [0, 7, 25, 9, 0, 255];
const PROMOTE: [u8; 6] = [0, 8, 25, 9, 0, 255];
const PUSH: [u8; 6] = [0, 5, 25, 9, 0, 255];

/// How the concentrator answers a SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Accepts,
    Refuses,
    Silent,
}

struct Bench {
    session: Session,
    server: Server,
    deframer: Deframer,
    mood: Mood,
    now: Instant,
    counters: u32,
    /// What the session asked and nobody has answered.
    asked: Vec<Request>,
    /// The last frame of the concentrator, to be played again.
    last_frame: Vec<u8>,
}

fn config() -> Config {
    let (answer_timeout_ms, heartbeat_interval_ms) = (20_000, 60_000);
    Config { answer_timeout_ms, heartbeat_interval_ms, ..Config::for_test() }
}

fn keys() -> Keys {
    Keys::new(&[1; 16], &[2; 16])
}

impl Bench {
    fn new() -> Self {
        Self::with(Arc::default(), AcceptedCounters::default())
    }

    fn with(strangers: Arc<Strangers>, accepted: AcceptedCounters) -> Self {
        let now = Instant::now();
        let remote = SocketAddr::from(([127, 0, 0, 1], 4059));
        let mut server_config = ServerConfig::new(1, TITLE);
        server_config.authentication = Authentication::Hls5(keys());
        server_config.ciphered = Some(keys());
        let mut server = Server::new(server_config, [7; 32], accepted);
        server.set_counters(10..10_000);
        Self {
            session: Session::new(&config(), remote, strangers, || [3; 32], now),
            server,
            deframer: Deframer::new(65_535),
            mood: Mood::Accepts,
            now,
            counters: 1,
            asked: Vec::new(),
            last_frame: Vec::new(),
        }
    }

    /// Carries octets until both ends are quiet, then says what the session asked and what
    /// happened to it.
    fn turn(&mut self) -> Vec<String> {
        loop {
            let mut moved = false;
            while let Some(frame) = self.session.poll_transmit() {
                self.deframer.feed(&frame);
                moved = true;
            }
            while let Ok(Some((header, apdu))) = self.deframer.next_frame() {
                match self.server.handle_frame(self.now, header, &apdu) {
                    // It answers a counter that is too low by naming the least that it takes.
                    Ok(()) | Err(cosem::Error::Replayed { .. }) => {}
                    Err(error) => panic!("the concentrator does not understand: {error}"),
                }
                self.serve();
            }
            while let Some(frame) = self.server.poll_transmit() {
                self.session.handle_bytes(self.now, &frame);
                self.last_frame = frame;
                moved = true;
            }
            if !moved {
                break;
            }
        }
        let mut seen = Vec::new();
        while let Some(request) = self.session.poll_request() {
            seen.push(request_text(&request));
            self.asked.push(request);
        }
        while let Some(event) = self.session.poll() {
            seen.extend(event_text(&event));
        }
        seen
    }

    fn serve(&mut self) {
        while let Some(indication) = self.server.poll() {
            let ServerIndication::Request(request) = indication else { continue };
            let is_set = matches!(request, Asked::Set { .. });
            match (is_set, self.mood) {
                (false, _) => self.server.respond(Reply::done()).unwrap(),
                (true, Mood::Accepts) => self.server.respond(Reply::Set(Ok(()))).unwrap(),
                (true, Mood::Refuses) => {
                    let denied = Err(DataAccessError::ReadWriteDenied);
                    self.server.respond(Reply::Set(denied)).unwrap();
                }
                (true, Mood::Silent) => {}
            }
        }
    }

    /// The concentrator says something by itself.
    fn say(&mut self, setup: [u8; 6], rest: Vec<Data>) -> Vec<String> {
        let mut fields = vec![Data::octets(NAME.as_bytes()), Data::octets(&setup)];
        fields.extend(rest);
        let body = Data::Structure(fields);
        let invoke = LongInvokePriority::confirmed(1);
        self.server.notify(102, DataNotification::new(invoke, None, body)).unwrap();
        self.turn()
    }

    /// The concentrator tells of itself.
    fn report(&mut self, sequence: u32, code: u16) -> Vec<String> {
        self.report_at(Some(cosem::DateTime::from_unix_s(1_795_305_600, 0, 0)), sequence, code)
    }

    fn report_at(
        &mut self,
        time: Option<cosem::DateTime>,
        sequence: u32,
        code: u16,
    ) -> Vec<String> {
        let event = EventNotification {
            time,
            attribute: cosem::AttributeRef::new(1, [0, 0, 96, 11, 0, 255], 2),
            value: Data::Structure(vec![
                Data::octets(NAME.as_bytes()),
                Data::U32(sequence),
                Data::U16(code),
                Data::octets(b""),
            ]),
        };
        self.server.notify_event(102, event).unwrap();
        self.turn()
    }

    fn reported(&mut self, answer: Result<(), Denied>) -> Vec<String> {
        let (epoch, sequence) = self.take("report", |asked| match asked {
            Request::Report { sequence, report } => Some((report.epoch, *sequence)),
            _ => None,
        });
        self.tell(Answer::Reported { epoch, sequence, answer })
    }

    fn identify(&mut self) -> Vec<String> {
        self.identify_at(None)
    }

    /// With the address that it says it dialled: 1 main, 2 standby.
    fn identify_at(&mut self, address: Option<u8>) -> Vec<String> {
        let (serial, firmware) = (Data::text("S1"), Data::text("1.0"));
        let mut rest = vec![Data::octets(&TITLE), serial, firmware, Data::U16(2), Data::U32(1)];
        rest.extend(address.map(Data::Enum));
        self.say(IDENTITY, rest)
    }

    fn promote(&mut self) -> Vec<String> {
        self.say(PROMOTE, vec![Data::U32(1), Data::Enum(1)])
    }

    fn heartbeat(&mut self) -> Vec<String> {
        let clock = Data::octets(&DateTime::from_unix_s(NOON, 0, 0).to_octets());
        self.say(HEARTBEAT, vec![clock, Data::U32(1), Data::U16(2)])
    }

    fn push(&mut self, sequence: u32, serials: &[&str]) -> Vec<String> {
        let column = |class, name: [u8; 6], unit| {
            let (class, name) = (Data::U16(class), Data::octets(&name));
            let unit = Data::Enum(unit);
            Data::Structure(vec![class, name, Data::I8(2), Data::U16(0), Data::I8(0), unit])
        };
        let columns =
            vec![column(8, [0, 0, 1, 0, 0, 255], 255), column(3, [1, 0, 1, 8, 0, 255], 30)];
        let meters = serials.iter().map(|serial| {
            let clock = Data::octets(&DateTime::from_unix_s(NOON, 0, 0).to_octets());
            let row = Data::Structure(vec![clock, Data::U32(7)]);
            Data::Structure(vec![Data::octets(serial.as_bytes()), Data::Array(vec![row])])
        });
        let rest = vec![
            Data::U32(sequence),
            Data::octets(&[1, 0, 99, 1, 0, 255]),
            Data::U32(900),
            Data::Array(columns),
            Data::Array(meters.collect()),
        ];
        self.say(PUSH, rest)
    }

    fn tell(&mut self, answer: Answer) -> Vec<String> {
        self.session.handle_answer(self.now, answer);
        self.turn()
    }

    fn take<T>(&mut self, what: &str, pick: impl Fn(&Request) -> Option<T>) -> T {
        let found = self.asked.iter().enumerate().find_map(|(at, asked)| Some((at, pick(asked)?)));
        let (at, picked) = found.unwrap_or_else(|| panic!("nobody asked: {what}"));
        self.asked.remove(at);
        picked
    }

    fn admit(&mut self, answer: Result<Admission, Denied>) -> Vec<String> {
        let ticket = self.take("admit", |asked| match asked {
            Request::Admit { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.tell(Answer::Admitted { ticket, answer })
    }

    fn reserve(&mut self) -> Vec<String> {
        let ticket = self.take("reserve", |asked| match asked {
            Request::Reserve { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let first = self.counters;
        self.counters += config().counter_block;
        self.tell(Answer::Reserved { ticket, answer: Ok(first) })
    }

    fn raised(&mut self, answer: Result<(), Denied>) -> Vec<String> {
        let ticket = self.take("raise", |asked| match asked {
            Request::Raise { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.tell(Answer::Raised { ticket, answer })
    }

    fn claimed(&mut self, answer: Result<Claimed, Denied>) -> Vec<String> {
        let ticket = self.take("claim", |asked| match asked {
            Request::Claim { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.tell(Answer::Claimed { ticket, answer })
    }

    fn roster(&mut self, serials: &[&str]) -> Vec<String> {
        self.take("roster", |asked| matches!(asked, Request::Roster).then_some(()));
        let ordinals = serials.iter().zip(1..).map(|(serial, at)| ((*serial).to_owned(), at));
        self.tell(Answer::Roster(Ok(ordinals.collect::<HashMap<_, _>>())))
    }

    fn stored(&mut self, answer: Result<u32, Denied>) -> Vec<String> {
        let (epoch, sequence, part) = self.take("ingest", |asked| match asked {
            Request::Ingest { epoch, sequence, part } => Some((*epoch, *sequence, part.clone())),
            _ => None,
        });
        self.tell(Answer::Stored { epoch, sequence, part, answer })
    }

    fn notice(&mut self, notice: Notice) -> Vec<String> {
        self.session.handle_notice(self.now, notice);
        self.turn()
    }

    /// Lets time pass up to each deadline of the session, as the driver does.
    fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut seen = Vec::new();
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            seen.extend(self.turn());
            let next = self.session.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a deadline that does not pass");
        }
        self.now = end;
        seen
    }

    fn suspend(&mut self) -> Vec<String> {
        self.session.suspend(self.now);
        self.turn()
    }

    fn resume(&mut self) -> Vec<String> {
        self.session.resume(self.now);
        self.turn()
    }

    fn order(&mut self) -> oneshot::Receiver<Result<Outcome, Failure>> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Attributes(Vec::new());
        let deadline = self.now + Duration::from_secs(5);
        let meter = Some("M1".to_owned());
        let order = Order { meter, work, pace: Pace::OnDemand, epoch: None, deadline, reply };
        self.session.order(self.now, order);
        answer
    }

    /// Up to the first claim.
    fn claiming() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.identify(), ["admit"]);
        assert_eq!(bench.admit(Ok(admission(0))), ["reserve"]);
        assert_eq!(bench.reserve(), ["claim Login", "proven", "role login"]);
        bench
    }

    /// The concentrator has seen higher counters of ours than the cluster knows of.
    fn raising() -> Self {
        let mut accepted = AcceptedCounters::default();
        accepted.raise(*b"HFDNODE1", 500);
        let mut bench = Self::with(Arc::default(), accepted);
        bench.identify();
        bench.admit(Ok(admission(0)));
        assert_eq!(bench.reserve(), ["raise 501"]);
        bench
    }

    fn standby() -> Self {
        let mut bench = Self::claiming();
        assert_eq!(bench.claimed(held()), ["standby true", "role standby"]);
        bench
    }

    /// Granted, but not yet accepted by the concentrator.
    fn activating() -> Self {
        let mut bench = Self::claiming();
        bench.mood = Mood::Silent;
        assert_eq!(bench.claimed(granted(1)), ["reserve"]);
        assert!(bench.reserve().is_empty());
        bench
    }

    fn active() -> Self {
        let mut bench = Self::claiming();
        assert_eq!(bench.claimed(granted(1)), ["reserve"]);
        assert_eq!(bench.reserve(), ["roster", "role active 1", "switched Login"]);
        assert!(bench.roster(&["M1", "M2"]).is_empty());
        bench
    }
}

fn admission(last_counter: u32) -> Admission {
    Admission {
        concentrator: NAME.to_owned(),
        guek: Zeroizing::new([1; 16]),
        gak: Zeroizing::new([2; 16]),
        client_title: *b"HFDNODE1",
        last_counter,
        last_sequence: 0,
    }
}

fn granted(epoch: u64) -> Result<Claimed, Denied> {
    Ok(Claimed::Granted { epoch })
}

fn held() -> Result<Claimed, Denied> {
    Ok(Claimed::Held { owner: None })
}

fn request_text(request: &Request) -> String {
    match request {
        Request::Admit { .. } => "admit".to_owned(),
        Request::Reserve { .. } => "reserve".to_owned(),
        Request::Raise { at_least, .. } => format!("raise {at_least}"),
        Request::Claim { channel, reason, .. } => {
            let usual = if *reason == Reason::Login { Role::Main } else { Role::Standby };
            let unusual = if *channel == usual { "" } else { ", of the other address" };
            format!("claim {reason:?}{unusual}")
        }
        Request::Refill => "refill".to_owned(),
        Request::Roster => "roster".to_owned(),
        Request::Standby { up } => format!("standby {up}"),
        Request::Release { epoch } => format!("release {epoch}"),
        Request::Ingest { sequence, part, .. } => {
            let rows: usize = part.batches.iter().map(|batch| batch.len()).sum();
            format!("ingest {sequence}: {rows}")
        }
        Request::Report { sequence, report } => {
            let codes: Vec<u32> = report.events.iter().map(|event| event.code).collect();
            format!("report {sequence}: {codes:?}")
        }
        Request::Meter { serial, .. } => format!("meter {serial}"),
    }
}

fn event_text(event: &Event) -> Option<String> {
    Some(match event {
        Event::Proven(_) => "proven".to_owned(),
        Event::Role(role, None) => format!("role {}", role.label()),
        Event::Role(role, Some(epoch)) => format!("role {} {epoch}", role.label()),
        Event::Switched(reason) => format!("switched {reason:?}"),
        Event::Heartbeat(_) | Event::Settled(_) | Event::Stored(_) => return None,
        Event::FrameRefused(cause) => format!("refused {cause}"),
        Event::Duplicate => "duplicate".to_owned(),
        Event::Dropped(dropped) => format!("dropped {}", dropped.unknown_meter),
        Event::PartRefused { code, .. } => format!("part refused {code}"),
        Event::Acknowledged(sequence, _) => format!("acknowledged {sequence}"),
        Event::Closed(cause) => format!("closed {}", cause.label()),
    })
}

type Edge = (&'static str, fn() -> Bench, fn(&mut Bench) -> Vec<String>, &'static [&'static str]);

fn check(edges: &[Edge]) {
    for (name, start, happens, expect) in edges {
        let mut bench = start();
        assert_eq!(happens(&mut bench), *expect, "{name}");
    }
}
