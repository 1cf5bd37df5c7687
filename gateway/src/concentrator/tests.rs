//! Every edge of the session, against a COSEM server in memory, under a clock of its own. The
//! driver is the test: it carries octets both ways and answers the session's questions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosem::apdu::{DataNotification, LongInvokePriority};
use cosem::association::{
    AcceptedCounters, Answer as Reply, Authentication, Request as Asked, Server, ServerConfig,
    ServerIndication,
};
use cosem::wrapper::Deframer;
use cosem::{Data, DataAccessError, DateTime, Keys};
use domain::commands::Failure;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::strangers::Strangers;
use super::{Answer, Event, Request, Session};
use crate::error::Denied;
use crate::order::{Order, Outcome, Work};
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
            session: Session::new(&config(), remote, strangers, || [3; 16], now),
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

    fn identify(&mut self) -> Vec<String> {
        let (serial, firmware) = (Data::text("S1"), Data::text("1.0"));
        let rest = vec![Data::octets(&TITLE), serial, firmware, Data::U16(2), Data::U32(1)];
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
            Request::Reserve { ticket } => Some(*ticket),
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
        let order = Order { meter, work, epoch: None, deadline, reply };
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
        Request::Claim { reason, .. } => format!("claim {reason:?}"),
        Request::Refill => "refill".to_owned(),
        Request::Roster => "roster".to_owned(),
        Request::Standby { up } => format!("standby {up}"),
        Request::Release { epoch } => format!("release {epoch}"),
        Request::Ingest { sequence, part, .. } => {
            let rows: usize = part.batches.iter().map(|batch| batch.len()).sum();
            format!("ingest {sequence}: {rows}")
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

#[test]
fn the_lease_decides_who_is_active() {
    let stepped_back: &[&str] = &["standby true", "role standby"];
    check(&[
        ("held at login", Bench::claiming, |b| b.claimed(held()), stepped_back),
        ("promote", Bench::standby, Bench::promote, &["claim Promoted", "role login"]),
        (
            "the owner is lost",
            Bench::standby,
            |b| b.notice(Notice::OwnerLost),
            &["claim OwnerLost", "role login"],
        ),
        (
            "an operator's wish",
            Bench::standby,
            |b| b.notice(Notice::Switch),
            &["claim Ordered", "role login"],
        ),
        (
            "promote is granted",
            Bench::standby,
            |b| {
                b.promote();
                b.claimed(granted(4));
                b.reserve()
            },
            &["roster", "role active 4", "switched Promoted"],
        ),
        (
            "promote is held",
            Bench::standby,
            |b| {
                b.promote();
                b.claimed(held())
            },
            stepped_back,
        ),
        (
            "promote during a claim that is held",
            Bench::claiming,
            |b| {
                assert!(b.promote().is_empty());
                b.claimed(held())
            },
            &["claim Promoted", "role login"],
        ),
        (
            "a wish does not displace a promote",
            Bench::claiming,
            |b| {
                b.promote();
                b.notice(Notice::OwnerLost);
                b.claimed(held())
            },
            &["claim Promoted", "role login"],
        ),
        (
            "a newer lease elsewhere",
            Bench::active,
            |b| b.notice(Notice::LeaseMoved { epoch: 2 }),
            stepped_back,
        ),
        (
            "a newer lease elsewhere while activating",
            Bench::activating,
            |b| b.notice(Notice::LeaseMoved { epoch: 2 }),
            stepped_back,
        ),
        ("its own lease", Bench::active, |b| b.notice(Notice::LeaseMoved { epoch: 1 }), &[]),
        ("owner lost when active", Bench::active, |b| b.notice(Notice::OwnerLost), &[]),
        ("promote when active", Bench::active, Bench::promote, &[]),
        ("a switch when active", Bench::active, |b| b.notice(Notice::Switch), &[]),
        (
            "no lease moves a standby",
            Bench::standby,
            |b| b.notice(Notice::LeaseMoved { epoch: 9 }),
            &[],
        ),
        (
            "a stale epoch in an answer",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.stored(Err(Denied::refused("stale_epoch")))
            },
            stepped_back,
        ),
        (
            "an older channel of the same concentrator keeps nothing and gives nothing back",
            Bench::active,
            |b| {
                b.session.supersede();
                b.turn()
            },
            &["closed superseded"],
        ),
        (
            "the cluster refuses the claim",
            Bench::claiming,
            |b| b.claimed(Err(Denied::refused("unknown_device"))),
            &["standby false", "closed cluster_refused"],
        ),
    ]);
}

#[test]
fn pushes_are_taken_in_order_on_the_active_channel_only() {
    check(&[
        (
            "stored and acknowledged",
            Bench::active,
            |b| {
                assert_eq!(b.push(5, &["M1", "M2"]), ["ingest 5: 2"]);
                b.stored(Ok(2))
            },
            &["acknowledged 5"],
        ),
        ("a push on the standby", Bench::standby, |b| b.push(5, &["M1"]), &["refused unexpected"]),
        (
            "a gap in the sequence",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.push(7, &["M1"])
            },
            &["release 1", "closed sequence_gap"],
        ),
        (
            "a jump upwards before the first push of an activation is none",
            Bench::active,
            |b| b.push(700, &["M1"]),
            &["ingest 700: 1"],
        ),
        (
            "a push again, before it is stored",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.push(5, &["M1"])
            },
            &["duplicate"],
        ),
        (
            "a push again, after it is acknowledged",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.stored(Ok(1));
                b.push(5, &["M1"])
            },
            &["duplicate", "acknowledged 5"],
        ),
        (
            "the concentrator takes no acknowledgement",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.mood = Mood::Refuses;
                b.stored(Ok(1))
            },
            &["release 1", "acknowledged 5", "closed activation_refused"],
        ),
        (
            "a replayed frame changes nothing",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                let frame = b.last_frame.clone();
                b.session.handle_bytes(b.now, &frame);
                b.turn()
            },
            &["refused replayed"],
        ),
        (
            "a heartbeat after a replayed frame is heard",
            Bench::standby,
            |b| {
                b.heartbeat();
                let frame = b.last_frame.clone();
                b.session.handle_bytes(b.now, &frame);
                b.turn();
                b.heartbeat()
            },
            &[],
        ),
    ]);
}

#[test]
fn what_is_late_or_refused_closes() {
    check(&[
        ("no identity", Bench::new, |b| b.wait(Duration::from_millis(999)), &[]),
        (
            "identity late",
            Bench::new,
            |b| b.wait(Duration::from_secs(1)),
            &["closed identity_late"],
        ),
        (
            "the cluster does not admit in time",
            Bench::new,
            |b| {
                b.identify();
                b.wait(Duration::from_secs(5))
            },
            &["closed login_late"],
        ),
        (
            "a replayed identity",
            Bench::new,
            |b| {
                b.identify();
                b.admit(Ok(admission(10)))
            },
            &["closed replayed"],
        ),
        (
            "nobody knows it",
            Bench::new,
            |b| {
                b.identify();
                b.admit(Err(Denied::refused("unknown_concentrator")))
            },
            &["closed not_admitted"],
        ),
        (
            "another's name",
            Bench::new,
            |b| {
                b.identify();
                b.admit(Ok(Admission { concentrator: "OTHER".to_owned(), ..admission(0) }))
            },
            &["closed identity_mismatch"],
        ),
        ("the activation waits", Bench::activating, |b| b.wait(Duration::from_secs(19)), &[]),
        (
            "the activation's answer is late",
            Bench::activating,
            |b| b.wait(Duration::from_secs(20)),
            &["release 1", "closed answer_late"],
        ),
        (
            "the concentrator refuses the activation",
            Bench::claiming,
            |b| {
                b.mood = Mood::Refuses;
                b.claimed(granted(1));
                b.reserve()
            },
            &["release 1", "closed activation_refused"],
        ),
        (
            "an acknowledgement's answer is late",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.mood = Mood::Silent;
                assert_eq!(b.stored(Ok(1)), ["acknowledged 5"]);
                b.wait(Duration::from_secs(20))
            },
            &["release 1", "closed answer_late"],
        ),
        (
            "a silent standby",
            Bench::standby,
            |b| b.wait(config().silence()),
            &["standby false", "closed silent"],
        ),
        (
            "an answer of an earlier state",
            Bench::standby,
            |b| b.tell(Answer::Claimed { ticket: 3, answer: granted(9) }),
            &[],
        ),
    ]);
}

#[test]
fn a_counter_that_is_too_low_is_raised_once() {
    check(&[
        ("raised", Bench::raising, |b| b.raised(Ok(())), &["reserve"]),
        (
            "a block from there on is taken",
            Bench::raising,
            |b| {
                b.raised(Ok(()));
                b.counters = 501;
                b.reserve()
            },
            &["claim Login", "proven", "role login"],
        ),
        (
            "a second refusal is the end",
            Bench::raising,
            |b| {
                b.raised(Ok(()));
                b.reserve()
            },
            &["closed association_rejected"],
        ),
        (
            "the cluster refuses to raise",
            Bench::raising,
            |b| b.raised(Err(Denied::refused("counter_exhausted"))),
            &["closed cluster_refused"],
        ),
        (
            "the cluster raises too late",
            Bench::raising,
            |b| b.wait(Duration::from_secs(5)),
            &["closed login_late"],
        ),
    ]);
}

#[test]
fn a_stranger_costs_one_wait_however_often_its_concentrator_comes_back() {
    let strangers: Arc<Strangers> = Arc::default();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut bench = Bench::with(Arc::clone(&strangers), AcceptedCounters::default());
        // The second login comes when the first has waited enough.
        bench.now += Duration::from_secs(3) * u32::try_from(seen.len()).unwrap();
        bench.identify();
        bench.admit(Ok(admission(0)));
        bench.reserve();
        bench.claimed(granted(1));
        bench.reserve();
        bench.roster(&["M1"]);
        seen.push(bench.push(5, &["M1", "M3"]));
    }
    let expect: [&[&str]; 2] = [&[], &["ingest 5: 1", "dropped 1"]];
    assert_eq!(seen, expect, "the concentrator may have lost patience before us");
}

#[test]
fn a_node_that_may_not_act_owns_nothing() {
    check(&[
        ("active", Bench::active, Bench::suspend, &["standby true", "role standby"]),
        ("activating", Bench::activating, Bench::suspend, &["standby true", "role standby"]),
        ("standby", Bench::standby, Bench::suspend, &[]),
        (
            "a claim that is granted after all",
            Bench::claiming,
            |b| {
                assert!(b.suspend().is_empty());
                b.claimed(granted(3))
            },
            &["release 3", "standby true", "role standby"],
        ),
        (
            "wishes wait",
            Bench::standby,
            |b| {
                b.suspend();
                [b.promote(), b.notice(Notice::OwnerLost), b.notice(Notice::Switch)].concat()
            },
            &[],
        ),
        (
            "a login stays a standby and claims later",
            Bench::new,
            |b| {
                b.suspend();
                b.identify();
                b.admit(Ok(admission(0)));
                assert_eq!(b.reserve(), ["standby true", "proven", "role standby"]);
                b.resume()
            },
            &["claim Login", "role login"],
        ),
        (
            "a promote is asked politely later",
            Bench::standby,
            |b| {
                b.suspend();
                b.promote();
                b.resume()
            },
            &["claim OwnerLost", "role login"],
        ),
        (
            "a standby stays one",
            Bench::standby,
            |b| {
                b.suspend();
                b.resume()
            },
            &[],
        ),
        (
            "heartbeats keep a suspended channel",
            Bench::active,
            |b| {
                b.suspend();
                b.wait(Duration::from_secs(60));
                b.heartbeat();
                b.wait(Duration::from_secs(60));
                b.push(5, &["M1"])
            },
            &["refused unexpected"],
        ),
    ]);
}

#[test]
fn after_a_suspension_the_channel_is_active_again_under_a_new_epoch() {
    let mut bench = Bench::active();
    let mut answer = bench.order();
    bench.turn();
    bench.push(5, &["M1"]);
    bench.suspend();
    assert!(matches!(answer.try_recv(), Ok(Err(Failure::ChannelLost))));
    let mut late = bench.order();
    assert!(matches!(late.try_recv(), Ok(Err(Failure::NoChannel))));
    assert!(bench.stored(Ok(1)).is_empty(), "nothing is acknowledged without a licence");
    assert_eq!(bench.resume(), ["claim OwnerLost", "role login"]);
    assert_eq!(bench.claimed(granted(2)), ["reserve"]);
    assert_eq!(bench.reserve(), ["roster", "role active 2", "switched OwnerLost"]);
    assert_eq!(bench.push(5, &["M1"]), ["ingest 5: 1"], "it comes again");
    assert_eq!(bench.stored(Ok(1)), ["acknowledged 5"]);
    assert_eq!(bench.suspend(), ["standby true", "role standby"], "and again");
}

#[test]
fn a_meter_that_is_registered_in_time_loses_nothing() {
    let mut bench = Bench::active();
    assert!(bench.push(5, &["M1", "M3"]).is_empty(), "held: the roster was asked just now");
    assert_eq!(bench.push(6, &["M1"]), ["ingest 6: 1"], "the others are not held");
    assert!(bench.stored(Ok(1)).is_empty(), "not acknowledged before the one in front");
    assert_eq!(bench.wait(Duration::from_millis(1_500)), ["roster"]);
    assert!(bench.roster(&["M1", "M2"]).is_empty());
    assert_eq!(bench.wait(Duration::from_millis(500)), ["roster"], "once a second");
    assert_eq!(bench.roster(&["M1", "M2", "M3"]), ["ingest 5: 2"]);
    assert_eq!(bench.stored(Ok(2)), ["acknowledged 6"]);
}

#[test]
fn a_stranger_is_waited_for_once_and_then_dropped_and_counted() {
    let mut bench = Bench::active();
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.push(5, &["M1", "M3"]), ["roster"], "held, and asked at once");
    for _ in 0..2 {
        assert!(bench.roster(&["M1", "M2"]).is_empty());
        assert_eq!(bench.wait(Duration::from_secs(1)), ["roster"]);
    }
    bench.roster(&["M1", "M2"]);
    assert_eq!(bench.wait(Duration::from_secs(1)), ["roster"], "a last look at the end");
    assert_eq!(bench.roster(&["M1", "M2"]), ["ingest 5: 1", "dropped 1"]);
    assert_eq!(bench.stored(Ok(1)), ["acknowledged 5"]);
    assert_eq!(bench.push(6, &["M1", "M3"]), ["ingest 6: 1", "dropped 1"], "not held again");
    bench.stored(Ok(1));
    assert_eq!(bench.notice(Notice::MetersChanged), ["roster"]);
    assert!(bench.push(7, &["M3"]).is_empty(), "the roster under way is waited for");
    assert_eq!(bench.roster(&["M1", "M2", "M3"]), ["ingest 7: 1"]);
}

#[test]
fn a_change_of_meters_while_the_roster_is_asked_is_not_missed() {
    let mut bench = Bench::active();
    assert_eq!(bench.notice(Notice::MetersChanged), ["roster"]);
    assert!(bench.notice(Notice::MetersChanged).is_empty());
    assert_eq!(bench.roster(&["M1"]), ["roster"], "the first answer may be too old");
    assert!(bench.push(5, &["M9"]).is_empty());
    assert_eq!(bench.roster(&["M9"]), ["ingest 5: 1"]);
}

#[test]
fn a_step_back_forgets_the_pushes_that_wait() {
    let mut bench = Bench::active();
    bench.push(5, &["M3"]);
    assert_eq!(bench.notice(Notice::LeaseMoved { epoch: 2 }), ["standby true", "role standby"]);
    assert!(bench.wait(Duration::from_secs(10)).is_empty());
}
