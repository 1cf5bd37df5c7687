//! A scripted concentrator: login, activation, pushes, acknowledgement after the commit.

use cosem::apdu::{DataNotification, LongInvokePriority};
use cosem::association::{AcceptedCounters, Answer, Authentication, Request, Server, ServerConfig};
use cosem::{Data, DateTime, Keys};
use domain::assets::Attach;
use gateway::{ChannelRole, Config};
use tokio::net::TcpStream;

use crate::support::{GAK, GUEK, House, LDN, NOON, Peer, TITLE, access, eventually, house};

/// Connects and sends the identity.
pub async fn dial(house: &House, counters: u32) -> Peer {
    let stream = TcpStream::connect(house.gateway.address()).await.unwrap();
    let keys = Keys::new(&GUEK, &GAK);
    let mut config = ServerConfig::new(1, TITLE);
    config.authentication = Authentication::Hls5(keys.clone());
    config.ciphered = Some(keys);
    let mut server = Server::new(config, [7; 32], AcceptedCounters::default());
    server.set_counters(counters..counters + 1_000);
    let mut peer = Peer::new(stream, server);
    let rest =
        vec![Data::octets(&TITLE), Data::text("S1"), Data::text("1.0"), Data::U16(2), Data::U32(1)];
    notify(&mut peer, [0, 7, 25, 9, 0, 255], rest);
    peer.flush().await;
    peer
}

fn notify(peer: &mut Peer, setup: [u8; 6], rest: Vec<Data>) {
    let mut fields = vec![Data::octets(LDN.as_bytes()), Data::octets(&setup)];
    fields.extend(rest);
    let body = Data::Structure(fields);
    let invoke = LongInvokePriority::confirmed(1);
    peer.server.notify(102, DataNotification::new(invoke, None, body)).unwrap();
}

fn push(peer: &mut Peer, sequence: u32, rows: &[(&str, i64, u32)]) {
    let column = |class, name: [u8; 6], unit| {
        Data::Structure(vec![
            Data::U16(class),
            Data::octets(&name),
            Data::I8(2),
            Data::U16(0),
            Data::I8(0),
            Data::Enum(unit),
        ])
    };
    let columns = vec![column(8, [0, 0, 1, 0, 0, 255], 255), column(3, [1, 0, 1, 8, 0, 255], 30)];
    let meters = rows.iter().map(|(serial, end_s, value)| {
        let clock = Data::octets(&DateTime::from_unix_s(*end_s, 0, 0).to_octets());
        let row = Data::Structure(vec![clock, Data::U32(*value)]);
        Data::Structure(vec![Data::octets(serial.as_bytes()), Data::Array(vec![row])])
    });
    let rest = vec![
        Data::U32(sequence),
        Data::octets(&[1, 0, 99, 1, 0, 255]),
        Data::U32(900),
        Data::Array(columns),
        Data::Array(meters.collect()),
    ];
    notify(peer, [0, 5, 25, 9, 0, 255], rest);
}

/// Answers every SET; true in the second place when `last` is written.
fn accept(request: &Request, last: Option<u32>) -> (Answer, bool) {
    match request {
        Request::Set { attribute, value, .. } => {
            let number = attribute.logical_name.0[4];
            let enough = match last {
                None => number == 131,
                Some(sequence) => number == 130 && *value == Data::U32(sequence),
            };
            (Answer::Set(Ok(())), enough)
        }
        _ => (Answer::done(), false),
    }
}

fn behind() -> Attach {
    Attach::Behind { concentrator: LDN.to_owned() }
}

fn register(house: &House) {
    let mut cluster = house.cluster.lock().unwrap();
    for serial in ["M1", "M2"] {
        let ordinal = cluster.meter(serial, behind());
        let access = access(ordinal, domain::assets::Authentication::Hls5);
        cluster.meters.insert(serial.to_owned(), access);
    }
}

#[tokio::test]
async fn pushes_are_acknowledged_after_the_commit_and_one_bad_meter_holds_nobody_back() {
    let house = house(Config::for_test()).await;
    register(&house);
    let mut peer = dial(&house, 1).await;
    assert!(peer.serve(|request| accept(request, None)).await, "the channel becomes active");
    eventually("the roster shows it", || {
        house.gateway.channels().first().is_some_and(|channel| channel.role == ChannelRole::Active)
    })
    .await;
    house.cluster.lock().unwrap().refuse_ingests = 2;
    push(&mut peer, 5, &[("M1", NOON, 10), ("M2", NOON, 20)]);
    // Ten days ahead: the domain refuses the whole part, and only M2's row is bad.
    push(&mut peer, 6, &[("M1", NOON + 900, 11), ("M2", NOON + 864_000, 21)]);
    push(&mut peer, 7, &[("M1", NOON + 937, 12), ("stranger", NOON, 1)]);
    assert!(peer.serve(|request| accept(request, Some(7))).await, "all are acknowledged");
    let rows = house.cluster.lock().unwrap().rows.clone();
    let ends = |interval| {
        let mut ends: Vec<_> = rows
            .iter()
            .filter(|row| row.2 == interval)
            .map(|row| (row.1 - NOON, row.3.first().copied().flatten()))
            .collect();
        ends.sort_unstable();
        ends
    };
    assert_eq!(ends(15), [(0, Some(10)), (0, Some(20)), (900, Some(11))]);
    assert_eq!(ends(0), [(937, Some(12))], "an unaligned row is an irregular read");
    let refused = house.metric("holdfast_gateway_parts_refused_total", "from_the_future");
    let dropped = house.metric("holdfast_gateway_rows_dropped_total", "unknown_meter");
    assert_eq!((refused, dropped), (1.0, 1.0));
    assert!(house.gateway.stop(std::time::Duration::from_secs(5)).await);
}

#[tokio::test]
async fn the_newest_proven_identity_wins() {
    let house = house(Config::for_test()).await;
    let mut first = dial(&house, 1).await;
    assert!(first.serve(|request| accept(request, None)).await);
    let mut second = dial(&house, 2_000).await;
    assert!(second.serve(|request| accept(request, None)).await);
    assert!(!first.serve(|request| accept(request, None)).await, "the older one is closed");
    assert_eq!(house.gateway.channels().len(), 1);
    assert_eq!(house.metric("holdfast_gateway_closed_total", "superseded"), 1.0);
}

#[tokio::test]
async fn a_silent_channel_is_lost_and_gives_its_lease_back() {
    let house = house(Config { heartbeat_interval_ms: 100, ..Config::for_test() }).await;
    let mut peer = dial(&house, 1).await;
    assert!(peer.serve(|request| accept(request, None)).await);
    assert!(!peer.serve(|request| accept(request, None)).await, "four heartbeats are missing");
    assert_eq!(house.metric("holdfast_gateway_closed_total", "silent"), 1.0);
    eventually("the lease is free", || {
        let cluster = house.cluster.lock().unwrap();
        let device = domain::Device::Concentrator(LDN.to_owned());
        let lease = domain::leases::lease(&cluster.view, &device).unwrap();
        lease.is_some_and(|lease| lease.owner.is_none())
    })
    .await;
}

/// What a field does whose logins last too long: it hangs up and dials again.
#[tokio::test]
async fn who_hangs_up_while_its_login_waits_is_not_waited_for() {
    let house =
        house(Config { logins_at_once: 1, login_timeout_ms: 60_000, ..Config::for_test() }).await;
    house.cluster.lock().unwrap().has_no_quorum = true;
    let waiting = |stage| house.metric("holdfast_gateway_logins_waiting", stage);
    let mut impatient = Vec::new();
    for again in 0..4 {
        impatient.push(dial(&house, 1 + again * 2_000).await);
    }
    eventually("one asks and three wait", || waiting("named") == 3.0).await;
    impatient.clear();
    eventually("nobody waits", || waiting("named") == 0.0).await;
    assert_eq!(house.metric("holdfast_gateway_closed_total", "closed_by_peer"), 4.0);
    let mut patient = dial(&house, 10_000).await;
    house.cluster.lock().unwrap().has_no_quorum = false;
    assert!(patient.serve(|request| accept(request, None)).await, "the place is free");
}
