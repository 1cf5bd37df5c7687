//! A meter with an address of its own: every authentication, a long profile in blocks, a counter
//! that is too low, and what happens when nobody is there.

use std::time::{Duration, Instant};

use cosem::association::{
    AcceptedCounters, Answer, Authentication, Level, Request, Server, ServerConfig,
};
use cosem::{Data, DataAccessError, DateTime, Keys, Secret};
use domain::assets::{Attach, Authentication as Kind};
use domain::commands::{Attribute, Failure, Order, Value};
use domain::leases::Role;
use domain::{Device, Obis};
use gateway::{Anchor, Config, Work};
use tokio::net::TcpListener;

use crate::support::{GAK, GUEK, House, Peer, access, eventually, house_now};

/// Rows of the meter's profile: long enough for many blocks.
pub const ROWS: i64 = 400;

pub fn now_slot() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() / 900 * 900
}

fn clock(at_s: i64) -> Data {
    Data::octets(&DateTime::from_unix_s(at_s, 0, 0).to_octets())
}

pub fn answer(request: &Request, level: Level, highest: u32) -> Answer {
    let Request::Get { attribute, selection } = request else { return Answer::done() };
    let object = |class, name: [u8; 6]| {
        Data::Structure(vec![Data::U16(class), Data::octets(&name), Data::I8(2), Data::U16(0)])
    };
    let name = attribute.logical_name.0;
    if level == Level::Public && name[..3] == [0, 0, 43] {
        return Answer::Got(Ok(Data::U32(highest)));
    }
    let import = [1, 0, 1, 8, 0, 255];
    Answer::Got(match (attribute.class, attribute.attribute) {
        (8, 2) => Ok(clock(now_slot())),
        (3, 2) if name == import => Ok(Data::U32(4_711)),
        (3, 3) => Ok(Data::Structure(vec![Data::I8(1), Data::Enum(30)])),
        (7, 3) => Ok(Data::Array(vec![object(8, [0, 0, 1, 0, 0, 255]), object(3, import)])),
        (7, 4) => Ok(Data::U32(900)),
        (7, 2) => {
            let range = selection.as_ref().and_then(|s| s.parameters.as_structure());
            let bound = |at: usize| {
                let time = range.and_then(|range| range.get(at)).and_then(Data::as_date_time);
                time.and_then(|time| time.to_unix_s(0)).unwrap_or(0)
            };
            let ends = (0..ROWS).map(|slot| now_slot() - (ROWS - 1 - slot) * 900);
            let rows = ends.filter(|end_s| (bound(1)..=bound(2)).contains(end_s));
            let row = |end_s| Data::Structure(vec![clock(end_s), Data::U32(7)]);
            Ok(Data::Array(rows.map(row).collect()))
        }
        _ => Err(DataAccessError::ObjectUndefined),
    })
}

/// Registers and dials a meter at an address.
async fn dial(house: &House, serial: &str, kind: Kind, address: &str) -> Device {
    let address = address.to_owned();
    let attach = Attach::Direct {
        address: address.clone(),
        client_sap: 1,
        server_sap: 1,
        authentication: kind,
        security: domain::assets::Security::default(),
        system_title: None,
    };
    let device = Device::Meter(serial.to_owned());
    let epoch = {
        let mut cluster = house.cluster.lock().unwrap();
        let ordinal = cluster.meter(serial, attach);
        let mut access = access(ordinal, kind);
        access.address = Some(address);
        cluster.meters.insert(serial.to_owned(), access);
        cluster.claim(device.clone(), Role::Dial)
    };
    house.gateway.dial(serial, epoch).await;
    device
}

/// A meter that has accepted counters up to `highest` before.
async fn meter(house: &House, serial: &str, kind: Kind, highest: u32) -> Device {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut accepted = AcceptedCounters::default();
    accepted.raise(*b"HFDNODE1", highest);
    tokio::spawn(async move {
        let mut given = 1;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut config = ServerConfig::new(1, *b"TSTMETER");
            // Small blocks: the profile goes over in many.
            config.max_pdu = 400;
            config.authentication = match kind {
                Kind::None => Authentication::None,
                Kind::Lls => Authentication::Lls(Secret::new(b"12345678")),
                Kind::Hls5 => Authentication::Hls5(Keys::new(&GUEK, &GAK)),
                // The simulator's meters speak these, see `field`.
                other => panic!("{other:?}"),
            };
            config.ciphered = (kind == Kind::Hls5).then(|| Keys::new(&GUEK, &GAK));
            let mut server = Server::new(config, [3; 32], accepted.clone());
            server.set_counters(given..given + 100_000);
            given += 100_000;
            let mut peer = Peer::new(stream, server);
            // The level is only known inside the server: the public client asks the counter alone.
            peer.serve(|request| {
                let public = matches!(request, Request::Get { attribute, .. }
                    if attribute.logical_name.0[..3] == [0, 0, 43]);
                let level = if public { Level::Public } else { Level::Hls5 };
                (answer(request, level, highest), false)
            })
            .await;
            accepted.merge(peer.server.accepted());
        }
    });
    dial(house, serial, kind, &address).await
}

async fn collects(kind: Kind, highest: u32) {
    let house = house_now(Config::for_test()).await;
    let device = meter(&house, "D1", kind, highest).await;
    let attribute = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
    let deadline = Instant::now() + Duration::from_secs(60);
    let reads = house.gateway.read(&device, "D1", vec![attribute], deadline).await.unwrap();
    let seen = (&reads[0].value, reads[0].scaler, reads[0].unit);
    assert_eq!(seen, (&Value::Unsigned(4_711), Some(1), Some(30)), "{kind:?}");
    let to_s = now_slot();
    let from_s = to_s - 99 * 900;
    let deadline = Instant::now() + Duration::from_secs(60);
    let profile = Obis::LOAD_PROFILE;
    let read = house.gateway.read_profile(&device, "D1", profile, from_s, to_s, deadline);
    assert_eq!(read.await.unwrap().rows.len(), 100, "{kind:?}");
    let missing = Attribute { class: 1, obis: Obis([0, 0, 9, 9, 9, 255]), attribute: 2 };
    let deadline = Instant::now() + Duration::from_secs(60);
    let refused = house.gateway.read(&device, "D1", vec![missing], deadline).await;
    assert_eq!(refused, Err(Failure::Access(4)));
    house.gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn reads_without_authentication() {
    collects(Kind::None, 0).await;
}

#[tokio::test]
async fn reads_with_a_password() {
    collects(Kind::Lls, 0).await;
}

#[tokio::test]
async fn reads_with_hls5_and_ciphering() {
    collects(Kind::Hls5, 0).await;
}

#[tokio::test]
async fn a_counter_that_is_too_low_is_raised_by_what_the_meter_says() {
    collects(Kind::Hls5, 1_000_000).await;
}

#[tokio::test]
async fn a_meter_that_is_not_there_or_not_ours_is_told_as_such() {
    let house = house_now(Config::for_test()).await;
    let attribute = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
    let deadline = Instant::now() + Duration::from_secs(60);
    let stranger = Device::Meter("X".to_owned());
    let read = house.gateway.read(&stranger, "X", vec![attribute], deadline).await;
    assert_eq!(read, Err(Failure::NoChannel));
    let away = Device::Concentrator("AWAY".to_owned());
    let read = house.gateway.read(&away, "M", vec![attribute], deadline).await;
    assert_eq!(read, Err(Failure::NoChannel));
}

/// An order that acts and never left is told as such, so that it may be sent when the meter is
/// there; one that reads is told what is wrong.
#[tokio::test]
async fn an_order_that_never_left_is_told_as_such() {
    let house = house_now(Config { meter_timeout_ms: 300, ..Config::for_test() }).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let (mute_at, closed_at) = (at(&mute), at(&closed));
    drop(closed);
    let silent = Failure::NoAnswer;
    let untold = Failure::Unreached(silent.to_string());
    for (serial, address) in [("MUTE", mute_at), ("CLOSED", closed_at)] {
        let device = dial(&house, serial, Kind::None, &address).await;
        let deadline = || Instant::now() + Duration::from_secs(20);
        let order = Order::Switch { close: false, reason: "debt".to_owned() };
        let work = Work::Act { order, anchor: Anchor { at: Instant::now(), unix_ms: 0 } };
        let acted = house.gateway.execute(&device, serial, work, None, deadline()).await;
        let attribute = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
        let read = house.gateway.read(&device, serial, vec![attribute], deadline()).await;
        match serial {
            "MUTE" => assert_eq!((acted, read), (Err(untold.clone()), Err(silent.clone()))),
            _ => {
                assert!(matches!(acted, Err(Failure::Unreached(_))), "{acted:?}");
                assert!(matches!(read, Err(Failure::Unreached(_))), "{read:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_schedule_reads_a_new_meter_at_once() {
    let house = house_now(Config { profile_chunk_s: 86_400, ..Config::for_test() }).await;
    let _ = meter(&house, "D2", Kind::None, 0).await;
    eventually("the session has ended well", || {
        house.metric("holdfast_gateway_dials_total", "ok") >= 1.0
    })
    .await;
    let rows = house.cluster.lock().unwrap().rows.clone();
    let of_profile = rows.iter().filter(|row| row.2 == 15).count();
    assert_eq!(of_profile, usize::try_from(ROWS).unwrap(), "every row the meter holds");
    let register = rows.iter().find(|row| row.2 == 0).map(|row| row.3.clone());
    assert_eq!(register, Some(vec![Some(4_711)]));
}

#[tokio::test]
async fn a_node_that_may_not_act_dials_nobody_until_it_may() {
    let house = house_now(Config::for_test()).await;
    house.gateway.suspend();
    let device = meter(&house, "D1", Kind::None, 0).await;
    let attribute = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
    let soon = || Instant::now() + Duration::from_secs(60);
    let refused = house.gateway.read(&device, "D1", vec![attribute], soon()).await;
    assert_eq!(refused, Err(Failure::NoChannel));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(house.cluster.lock().unwrap().rows.is_empty(), "the schedule stands still, too");
    house.gateway.resume();
    eventually("the schedule goes on", || !house.cluster.lock().unwrap().rows.is_empty()).await;
    assert!(house.gateway.read(&device, "D1", vec![attribute], soon()).await.is_ok());
}
