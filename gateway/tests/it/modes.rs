//! The modes of IEC 62056-21 with the simulator's meters, behind a serial server and on a serial
//! port: readout, programming mode, values and clock written and read back.

use std::time::{Duration, Instant, SystemTime};

use domain::commands::{Attribute, Failure, Order, Read, Value};
use domain::{Device, Obis};
use gateway::{Anchor, Config, Outcome, SerialPort, Work};
use simulator::config::Config as Street;
use simulator::registry::MeterEntry;

use crate::field::{Field, IMPORT, on_demand, street};

/// The owner's mark, which the simulator's meters let be written.
const MARK: Attribute = Attribute { class: 1, obis: Obis([1, 0, 0, 0, 1, 255]), attribute: 2 };
const CLOCK: Attribute = Attribute { class: 8, obis: Obis([0, 0, 1, 0, 0, 255]), attribute: 2 };
const PORT: &str = "optical";

/// Meters of modes C, E, A, B and D, in this order.
fn lines(meters: u32) -> Street {
    Street { direct_iec: meters, direct_access: vec!["lls".parse().unwrap()], ..street() }
}

/// The same on a pseudo-terminal, and the port that leads there.
fn terminal(meters: u32, folder: &std::path::Path) -> (Street, Config) {
    let path = folder.join("meter");
    let port = SerialPort { name: PORT.to_owned(), path: path.clone(), ..SerialPort::default() };
    let street = Street { direct_listen: None, pty: Some(path), ..lines(meters) };
    (street, Config { serial: vec![port], ..on_demand() })
}

/// The address as we write it: a port by its name, not by its device file.
fn on_port(entry: &MeterEntry) -> MeterEntry {
    let address = entry.address.clone().unwrap();
    let (scheme, rest) = address.split_once("://").unwrap();
    let (_, query) = rest.split_once('?').unwrap();
    MeterEntry { address: Some(format!("{scheme}://{PORT}?{query}")), ..entry.clone() }
}

fn anchor() -> Anchor {
    let unix_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    Anchor { at: Instant::now(), unix_ms: i64::try_from(unix_ms).unwrap() }
}

async fn execute(field: &Field, entry: &MeterEntry, work: Work) -> Result<Vec<Read>, Failure> {
    let device = Device::Meter(entry.serial.clone());
    let deadline = Instant::now() + Duration::from_secs(60);
    let outcome = field.house.gateway.execute(&device, &entry.serial, work, None, deadline);
    outcome.await.map(Outcome::into_reads)
}

async fn act(field: &Field, entry: &MeterEntry, order: &Order) -> Result<Vec<Read>, Failure> {
    execute(field, entry, Work::Act { order: order.clone(), anchor: anchor() }).await
}

async fn read_back(field: &Field, entry: &MeterEntry, order: &Order) -> Result<(), Failure> {
    let work = Work::ReadBack { order: order.clone(), anchor: anchor(), since_s: 0 };
    execute(field, entry, work).await.map(drop)
}

fn write(value: Value) -> Order {
    Order::Write { attribute: MARK, value, tag: None }
}

#[tokio::test]
async fn a_meter_of_every_mode_is_read_behind_a_serial_server() {
    let field = Field::start(&lines(5), on_demand()).await;
    for (entry, mode) in field.meters().iter().zip(["c", "e", "a", "b", "d"]) {
        field.dial(entry, |_| ()).await;
        let read = field.read(entry, IMPORT).await.unwrap_or_else(|e| panic!("{mode}: {e:?}"));
        assert!(
            matches!(read.value, Value::Integer(1..) | Value::Unsigned(1..)),
            "{mode} {read:?}"
        );
    }
    field.stop().await;
}

#[tokio::test]
async fn a_meter_of_every_mode_is_read_on_a_serial_port() {
    let folder = tempfile::tempdir().unwrap();
    let (street, config) = terminal(4, folder.path());
    let field = Field::start(&street, config).await;
    for (entry, mode) in field.meters().iter().map(on_port).zip(["c", "e", "a", "b"]) {
        field.dial(&entry, |_| ()).await;
        let read = field.read(&entry, IMPORT).await.unwrap_or_else(|e| panic!("{mode}: {e:?}"));
        assert!(
            matches!(read.value, Value::Integer(1..) | Value::Unsigned(1..)),
            "{mode} {read:?}"
        );
    }
    field.stop().await;
}

#[tokio::test]
async fn a_value_is_written_and_read_back_on_both_kinds_of_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (port_street, port_config) = terminal(1, folder.path());
    for (street, config, is_port) in
        [(lines(1), on_demand(), false), (port_street, port_config, true)]
    {
        let field = Field::start(&street, config).await;
        let entry = &field.meters()[0];
        let entry = if is_port { on_port(entry) } else { entry.clone() };
        field.dial(&entry, |_| ()).await;
        let before = act(&field, &entry, &write(Value::Unsigned(12_345))).await.unwrap();
        assert_eq!(before[0].value, Value::Integer(0), "what stood there before");
        let read = field.read(&entry, MARK).await.unwrap();
        assert_eq!((read.value, read.scaler), (Value::Integer(12_345), Some(-2)));
        read_back(&field, &entry, &write(Value::Unsigned(12_345))).await.unwrap();
        let other = read_back(&field, &entry, &write(Value::Unsigned(12_346))).await;
        assert!(matches!(other, Err(Failure::NotDone(_))), "{other:?}");
        let text = write(Value::Text("HOUSE 7".to_owned()));
        act(&field, &entry, &text).await.unwrap();
        read_back(&field, &entry, &text).await.unwrap();
        field.stop().await;
    }
}

#[tokio::test]
async fn what_a_meter_does_not_let_be_written_is_told_in_its_words() {
    let field = Field::start(&lines(3), on_demand()).await;
    let (entry, only_read) = (&field.meters()[0], &field.meters()[2]);
    field.dial(entry, |_| ()).await;
    field.dial(only_read, |_| ()).await;
    let register = Order::Write { attribute: IMPORT, value: Value::Unsigned(0), tag: None };
    let refused = act(&field, entry, &register).await;
    let Err(Failure::Unsupported(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("ER0"), "the meter's own error: {text}");
    let switch = Order::Switch { close: false, reason: "test".to_owned() };
    let refused = act(&field, entry, &switch).await;
    assert!(matches!(refused, Err(Failure::Unsupported(_))), "{refused:?}");
    let refused = act(&field, only_read, &write(Value::Unsigned(1))).await;
    assert!(matches!(refused, Err(Failure::Unsupported(_))), "mode A: {refused:?}");
    field.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_held_back_or_set_and_read_back() {
    let street = Street { faults: vec!["clock-skew:1".parse().unwrap()], ..lines(1) };
    let field = Field::start(&street, on_demand()).await;
    let entry = &field.meters()[0];
    field.dial(entry, |_| ()).await;
    let off = |reads: &[Read]| match reads[1].value {
        Value::Integer(offset_ms) => offset_ms,
        ref other => panic!("{other:?}"),
    };
    let held = act(&field, entry, &Order::Clock { limit_s: 10, set: false }).await;
    assert!(matches!(held, Err(Failure::Held(_))), "37 s are too many: {held:?}");
    let set = Order::Clock { limit_s: 10, set: true };
    let before = act(&field, entry, &set).await.unwrap();
    // How long the line took decides about the seconds.
    assert!((30_000..44_000).contains(&off(&before)), "{before:?}");
    let until = Instant::now() + Duration::from_secs(60);
    // A machine that stalls between measuring and writing leaves more than is allowed: again.
    while let Err(failure) = read_back(&field, entry, &set).await {
        assert!(matches!(failure, Failure::NotDone(_)) && Instant::now() < until, "{failure:?}");
        act(&field, entry, &set).await.unwrap();
    }
    let clock = field.read(entry, CLOCK).await.unwrap();
    assert!(matches!(clock.value, Value::Time { utc_s: Some(_), .. }), "{clock:?}");
    field.stop().await;
}
