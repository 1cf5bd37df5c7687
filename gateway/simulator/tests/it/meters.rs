//! Reading meters through the gateway header.

use std::time::{Duration, Instant};

use cosem::apdu::ServiceFault;
use cosem::association::Indication;
use cosem::{Data, Selection};
use simulator::tally::Count;

use crate::headend::{Meter, Node, exception, got};
use crate::{field, start};

fn range(from_s: i64, to_s: i64) -> Selection {
    let clock = Data::Structure(vec![
        Data::U16(8),
        Data::octets(&[0, 0, 1, 0, 0, 255]),
        Data::I8(2),
        Data::U16(0),
    ]);
    let time = |at| Data::octets(&cosem::DateTime::from_unix_s(at, 0, 0).to_octets());
    let fields = vec![clock, time(from_s), time(to_s), Data::Array(Vec::new())];
    Selection { selector: 1, parameters: Data::Structure(fields) }
}

#[tokio::test]
async fn a_meter_is_read_through_its_concentrator() {
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.plc_delay = Duration::from_millis(40);
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    let entry = running.registry().meters[1].clone();
    let mut meter = conn.meter(&entry);
    meter.connect(node.block());
    let begun = Instant::now();
    assert!(matches!(conn.through(&mut meter).await, Some(Indication::Associated { .. })));
    assert!(begun.elapsed() >= Duration::from_millis(80), "two exchanges on the power line");
    meter.get(3, [1, 0, 1, 8, 0, 255], 2, None);
    let import = got(conn.through(&mut meter).await).as_u64().unwrap();
    assert!(import > 0);
    meter.get(3, [1, 0, 32, 7, 0, 255], 2, None);
    let volts = got(conn.through(&mut meter).await).as_u64().unwrap();
    assert!((2_070..2_530).contains(&volts));
    // Ten days of profile are far longer than the meter's PDU of 2 KiB.
    let now = now_s();
    meter.get(7, [1, 0, 99, 1, 0, 255], 2, Some(range(now - 10 * 86_400, now)));
    let rows = got(conn.through(&mut meter).await);
    let rows = rows.as_array().unwrap();
    assert!((959..=960).contains(&rows.len()), "{} rows", rows.len());
    let last = rows[rows.len() - 1].as_structure().unwrap()[2].as_u64().unwrap();
    assert!(last <= import && import - last < 20_000, "{last} against {import}");
    assert_eq!(running.tally().get(Count::MeterAssociations), 1);
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    running.kill().await;
}

#[tokio::test]
async fn meters_and_clients_do_not_mix() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let running = start(&field(&[&one, &two])).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    let entry = running.registry().meters[0].clone();
    let (mut a, mut b) = (main.meter(&entry), standby.meter(&entry));
    a.connect(one.block());
    b.connect(two.block());
    assert!(matches!(main.through(&mut a).await, Some(Indication::Associated { .. })));
    assert!(matches!(standby.through(&mut b).await, Some(Indication::Associated { .. })));
    a.get(1, [0, 0, 96, 1, 0, 255], 2, None);
    assert_eq!(got(main.through(&mut a).await).as_octets(), Some(entry.serial.as_bytes()));
    // The keys of one meter do not open another.
    let mut wrong = running.registry().meters[2].clone();
    wrong.serial = entry.serial.clone();
    let mut c = main.meter(&wrong);
    c.connect(one.block());
    let answer = main.through(&mut c).await;
    assert!(!matches!(answer, Some(Indication::Associated { .. })), "{answer:?}");
    running.kill().await;
}

#[tokio::test]
async fn unknown_and_dead_meters() {
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.faults = vec!["dead-meters:1".parse().unwrap()];
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    let mut entry = running.registry().meters[0].clone();
    let mut dead = conn.meter(&entry);
    dead.connect(node.block());
    assert_eq!(conn.through(&mut dead).await, None, "a dead meter is silent");
    entry.serial = "NOBODY".to_owned();
    let mut nobody = conn.meter(&entry);
    nobody.connect(node.block());
    let fault = exception(conn.through(&mut nobody).await);
    assert_eq!(fault, ServiceFault::OperationNotPossible);
    assert_eq!(running.tally().get(Count::UnknownMeters), 1);
    running.kill().await;
}

#[tokio::test]
async fn a_real_meter_stands_behind_the_first_concentrator() {
    // The "real" meter is a direct meter of another field: any DLMS server on TCP will do.
    let mut other = field(&[]);
    other.concentrators = 0;
    other.direct = 3;
    other.direct_listen = Some("127.0.0.1:0".parse().unwrap());
    let real = start(&other).await;
    let mut entry = real.registry().meters[2].clone();
    assert_eq!(entry.authentication, "hls5");
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.behind = vec![simulator::config::Behind {
        address: entry.address.clone().unwrap(),
        serial: "REAL-1".to_owned(),
    }];
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    let known = running.registry().meters.iter().find(|m| m.serial == "REAL-1").unwrap();
    assert_eq!(known.concentrator.as_deref(), Some(conn.id.as_str()));
    let serial = std::mem::replace(&mut entry.serial, "REAL-1".to_owned());
    let mut meter: Meter = conn.meter(&entry);
    meter.connect(node.block());
    assert!(matches!(conn.through(&mut meter).await, Some(Indication::Associated { .. })));
    meter.get(1, [0, 0, 96, 1, 0, 255], 2, None);
    assert_eq!(got(conn.through(&mut meter).await).as_octets(), Some(serial.as_bytes()));
    running.kill().await;
    real.kill().await;
}

fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as i64
}
