//! Meters on lines: HDLC and IEC 62056-21, behind TCP serial servers and on serial ports, several
//! on one line, and everything that goes wrong on two wires.

use std::time::{Duration, Instant};

use domain::assets::{Attach, Authentication as Kind};
use domain::commands::{Attribute, Failure, Read, Value};
use domain::leases::Role;
use domain::{Device, Obis};
use gateway::{Config, SerialPort};

use crate::bus::{Ascii, Cosem, Line, Meter, Socket, serial_server, serve};
use crate::direct::now_slot;
use crate::support::{House, access, eventually, house_now};

const IMPORT: Attribute = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };

/// Nothing is read by itself, so that only what a test asks is on the line.
fn on_demand_only() -> Config {
    Config { dial_backoff_first_ms: 60_000, dial_backoff_cap_ms: 60_000, ..Config::for_test() }
}

/// Registers a meter and dials it.
async fn dial(house: &House, serial: &str, address: &str, kind: Kind) -> Device {
    let attach = Attach::Direct {
        address: address.to_owned(),
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
        access.address = Some(address.to_owned());
        cluster.meters.insert(serial.to_owned(), access);
        cluster.claim(device.clone(), Role::Dial)
    };
    house.gateway.dial(serial, epoch).await;
    device
}

async fn read(house: &House, meter: &Device, what: Attribute) -> Result<Read, Failure> {
    let Device::Meter(serial) = meter else { panic!("{meter:?}") };
    let deadline = Instant::now() + Duration::from_secs(20);
    let reads = house.gateway.read(meter, serial, vec![what], deadline).await?;
    Ok(reads[0].clone())
}

fn number(read: &Read) -> (Value, Option<i8>, Option<u8>) {
    (read.value.clone(), read.scaler, read.unit)
}

fn port(name: &str, socket: &Socket) -> SerialPort {
    SerialPort { name: name.to_owned(), path: socket.path(), ..SerialPort::default() }
}

fn with_port(port: SerialPort) -> Config {
    Config { serial: vec![port], ..on_demand_only() }
}

/// 4 kWh in 15 minutes, from an hour ago on.
fn load_profile() -> String {
    let first = now_slot() - 3_600;
    let stamp = cosem::DateTime::from_unix_s(first, 0, 0);
    let (date, time) = (stamp.date, stamp.time);
    let year = date.year % 100;
    format!(
        "P.01(2{year:02}{:02}{:02}{:02}{:02}00)(00)(15)(2)(1.5)(kW)(2.5)(kW)\r\n\
         (1.250)(0.00)\r\n(1.300)(0.25)\r\n(1.5)(0.00)\r\n",
        date.month, date.day, time.hour, time.minute
    )
}

#[tokio::test]
async fn hdlc_meters_behind_a_serial_server_are_read_like_any_other() {
    for kind in [Kind::None, Kind::Lls, Kind::Hls5] {
        let line = Line::default();
        let server = serial_server(vec![Meter::hdlc(1, 17, kind)], line.clone()).await;
        let house = house_now(on_demand_only()).await;
        let query = "server=1&physical=17&window=3&size=256";
        let device = dial(&house, "H1", &format!("hdlc+tcp://{server}?{query}"), kind).await;
        let value = read(&house, &device, IMPORT).await.unwrap();
        assert_eq!(number(&value), (Value::Unsigned(4_711), Some(1), Some(30)), "{kind:?}");
        // Long answers go over in many frames of many blocks.
        let (to_s, deadline) = (now_slot(), Instant::now() + Duration::from_secs(20));
        let profile = house.gateway.read_profile(
            &device,
            "H1",
            Obis::LOAD_PROFILE,
            to_s - 99 * 900,
            to_s,
            deadline,
        );
        assert_eq!(profile.await.unwrap().rows.len(), 100, "{kind:?}");
        let missing = Attribute { obis: Obis([0, 0, 9, 9, 9, 255]), ..IMPORT };
        assert_eq!(read(&house, &device, missing).await, Err(Failure::Access(4)));
        house.gateway.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn the_schedule_stores_what_line_meters_say_under_their_ordinals() {
    let profile = load_profile();
    let ascii = Ascii::new("/ABc5Meter", "12345678", Some(b"12345678")).with_profile(&profile);
    let (line, other) = (Line::default(), Line::default());
    let server = serial_server(vec![Meter::Local(Box::new(ascii))], line).await;
    let hdlc = serial_server(vec![Meter::hdlc(1, 17, Kind::None)], other).await;
    let house = house_now(Config::for_test()).await;
    let address = format!("iec+tcp://{server}?device=12345678");
    dial(&house, "A1", &address, Kind::Lls).await;
    dial(&house, "H1", &format!("hdlc+tcp://{hdlc}?physical=17"), Kind::None).await;
    eventually("both sessions have ended well", || {
        house.metric("holdfast_gateway_dials_total", "ok") >= 2.0
    })
    .await;
    let rows = house.cluster.lock().unwrap().rows.clone();
    let of = |ordinal, interval| -> Vec<_> {
        rows.iter().filter(|row| (row.0, row.2) == (ordinal, interval)).cloned().collect()
    };
    let registers = of(0, 0);
    assert_eq!(registers[0].3, [Some(1_234_567), Some(0)]);
    let slots: Vec<_> = of(0, 15).into_iter().map(|row| (row.1, row.3)).collect();
    let first = now_slot() - 3_600;
    let expected = [
        (first, vec![Some(1_250), Some(0)]),
        (first + 900, vec![Some(1_300), Some(25)]),
        (first + 1_800, vec![Some(1_500), Some(0)]),
    ];
    assert_eq!(slots, expected);
    assert_eq!(of(1, 0)[0].3, [Some(4_711)]);
    assert_eq!(of(1, 15).len(), usize::try_from(crate::direct::ROWS).unwrap());
}

#[tokio::test]
async fn a_readout_gives_registers_times_flags_and_a_clock() {
    for identification in ["/XYZ Old", "/ABc5Meter"] {
        let meter = Ascii::new(identification, "12345678", None);
        let server = serial_server(vec![Meter::Local(Box::new(meter))], Line::default()).await;
        let house = house_now(on_demand_only()).await;
        let address = format!("iec+tcp://{server}?device=12345678&utc_offset=60");
        let device = dial(&house, "A1", &address, Kind::None).await;
        let value = read(&house, &device, IMPORT).await;
        let seen = (Value::Integer(1_234_567), Some(0), Some(30));
        assert_eq!(value.as_ref().map(number), Ok(seen), "{identification}");
        let peak = Attribute { class: 4, obis: Obis([1, 0, 1, 6, 1, 255]), attribute: 5 };
        let time = Value::Time { utc_s: None, text: "2026-11-20T18:15:00".to_owned() };
        assert_eq!(read(&house, &device, peak).await.unwrap().value, time);
        let flags = Attribute { class: 1, obis: Obis([0, 0, 97, 97, 0, 255]), attribute: 2 };
        assert_eq!(read(&house, &device, flags).await.unwrap().value, Value::Octets(vec![0; 4]));
        let clock = Attribute { class: 8, obis: Obis([0, 0, 1, 0, 0, 255]), attribute: 2 };
        let eleven = 1_795_345_200;
        let text = "2026-11-22T12:00:00".to_owned();
        let time = Value::Time { utc_s: Some(eleven), text };
        assert_eq!(read(&house, &device, clock).await.unwrap().value, time);
        let missing = Attribute { obis: Obis([1, 0, 9, 8, 0, 255]), ..IMPORT };
        assert_eq!(read(&house, &device, missing).await, Err(Failure::Access(4)));
        house.gateway.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn the_programming_mode_needs_the_right_password_and_says_so() {
    let meter = |password| {
        let meter = Ascii::new("/ABc5Meter", "1", Some(password)).with_profile(&load_profile());
        vec![Meter::Local(Box::new(meter))]
    };
    let right = serial_server(meter(b"12345678"), Line::default()).await;
    let wrong = serial_server(meter(b"00000000"), Line::default()).await;
    let house = house_now(on_demand_only()).await;
    let address = |server: &str| format!("iec+tcp://{server}?mode=c");
    let device = dial(&house, "A1", &address(&right), Kind::Lls).await;
    let value = read(&house, &device, IMPORT).await.unwrap();
    assert_eq!(number(&value), (Value::Integer(1_234_567), Some(0), Some(30)));
    let unknown = Attribute { obis: Obis([1, 0, 9, 8, 0, 255]), ..IMPORT };
    let refused = Failure::Unsupported("the meter refused the command: ER07".to_owned());
    assert_eq!(read(&house, &device, unknown).await, Err(refused));
    let deadline = || Instant::now() + Duration::from_secs(20);
    let (from_s, to_s) = (now_slot() - 3_600, now_slot() - 2_700);
    let profile = |obis| house.gateway.read_profile(&device, "A1", obis, from_s, to_s, deadline());
    let rows = profile(Obis::LOAD_PROFILE).await.unwrap();
    let scaled = (rows.registers[0].scaler, rows.registers[0].unit, rows.interval_minutes);
    assert_eq!((rows.rows.len(), scaled), (2, (0, 27, 15)));
    let other = profile(Obis([0, 0, 99, 98, 0, 255])).await;
    assert!(matches!(other, Err(Failure::Unsupported(_))), "{other:?}");

    let device = dial(&house, "A2", &address(&wrong), Kind::Lls).await;
    let refused = Failure::Rejected("the meter refused the password (B0)".to_owned());
    assert_eq!(read(&house, &device, IMPORT).await, Err(refused));
}

#[tokio::test]
async fn mode_e_signs_on_and_goes_on_in_hdlc() {
    let behind = Cosem::new(cosem::hdlc::Address::one(1).unwrap(), Kind::Lls);
    let meter = Ascii::new("/ABc5\\2Meter", "12345678", None).with_hdlc(behind);
    let socket = Socket::new();
    let mut wire = socket.plug();
    tokio::spawn(async move {
        serve(&mut wire, &mut [Meter::Local(Box::new(meter))], &Line::default()).await;
    });
    let house = house_now(with_port(port("optical", &socket))).await;
    let device = dial(&house, "E1", "mode-e+serial://optical?device=12345678", Kind::Lls).await;
    let value = read(&house, &device, IMPORT).await.unwrap();
    assert_eq!(number(&value), (Value::Unsigned(4_711), Some(1), Some(30)));
    // The next conversation finds the line at the rate of the sign-on again.
    let again = read(&house, &device, IMPORT).await.unwrap();
    assert_eq!(again.value, Value::Unsigned(4_711));
}

#[tokio::test]
async fn meters_that_share_two_wires_speak_in_turns_and_one_that_is_silent_harms_no_other() {
    let socket = Socket::new();
    let mut wire = socket.plug();
    let line = Line::default();
    let far = line.clone();
    tokio::spawn(async move {
        let ascii = Ascii::new("/ABc5Meter", "12345678", None);
        let mut meters = [
            Meter::hdlc(1, 17, Kind::None),
            Meter::hdlc(1, 18, Kind::Lls),
            Meter::Local(Box::new(ascii)),
        ];
        serve(&mut wire, &mut meters, &far).await;
    });
    let echo = SerialPort { echo: true, turnaround_ms: 10, ..port("east", &socket) };
    line.lock().unwrap().echo = true;
    let house = house_now(with_port(echo)).await;
    let first = dial(&house, "H17", "hdlc+serial://east?physical=17", Kind::None).await;
    let second = dial(&house, "H18", "hdlc+serial://east?physical=18", Kind::Lls).await;
    let third = dial(&house, "A1", "iec+serial://east?device=12345678", Kind::None).await;
    let silent = dial(&house, "H99", "hdlc+serial://east?physical=99", Kind::None).await;
    let (a, b, c, d) = tokio::join!(
        read(&house, &first, IMPORT),
        read(&house, &second, IMPORT),
        read(&house, &third, IMPORT),
        read(&house, &silent, IMPORT),
    );
    assert_eq!(a.unwrap().value, Value::Unsigned(4_711));
    assert_eq!(b.unwrap().value, Value::Unsigned(4_711));
    assert_eq!(c.unwrap().value, Value::Integer(1_234_567));
    assert_eq!(d, Err(Failure::NoAnswer));
    assert!(!line.lock().unwrap().collision, "one conversation at a time");
    assert!(house.metric("holdfast_gateway_line_turns_total", "east") >= 4.0);
}

#[tokio::test]
async fn noise_wrong_check_sequences_and_cut_answers_are_repeated_until_they_hold() {
    let line = Line::default();
    let meters = vec![Meter::hdlc(1, 17, Kind::None)];
    let hdlc = serial_server(meters, line.clone()).await;
    let noisy = Line::default();
    let meters = vec![Meter::Local(Box::new(Ascii::new("/ABc5Meter", "1", None)))];
    let ascii = serial_server(meters, noisy.clone()).await;
    let house = house_now(on_demand_only()).await;
    let h = dial(&house, "H1", &format!("hdlc+tcp://{hdlc}?physical=17"), Kind::None).await;
    let a = dial(&house, "A1", &format!("iec+tcp://{ascii}"), Kind::None).await;
    // Let the schedule end, so that the faults meet what is asked here.
    eventually("the schedule has read both", || {
        house.metric("holdfast_gateway_dials_total", "ok") >= 2.0
    })
    .await;
    line.lock().unwrap().junk = b"\x7e\xa0\x07junk".to_vec();
    line.lock().unwrap().cut = 1;
    noisy.lock().unwrap().junk = b"\xff\x00~noise".to_vec();
    assert_eq!(read(&house, &h, IMPORT).await.unwrap().value, Value::Unsigned(4_711));
    assert_eq!(read(&house, &a, IMPORT).await.unwrap().value, Value::Integer(1_234_567));
    line.lock().unwrap().wrong = 1;
    noisy.lock().unwrap().cut = 1;
    assert_eq!(read(&house, &h, IMPORT).await.unwrap().value, Value::Unsigned(4_711));
    assert_eq!(read(&house, &a, IMPORT).await.unwrap().value, Value::Integer(1_234_567));

    line.lock().unwrap().wrong = u32::MAX;
    let failure = read(&house, &h, IMPORT).await.unwrap_err();
    assert!(matches!(&failure, Failure::Malformed(why) if why.contains("FCS")), "{failure:?}");
    // The sign-on comes through, its data never do.
    noisy.lock().unwrap().junk.clear();
    let sent = noisy.lock().unwrap().sent;
    let watch = noisy.clone();
    tokio::spawn(async move {
        while watch.lock().unwrap().sent == sent {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watch.lock().unwrap().wrong = u32::MAX;
    });
    let failure = read(&house, &a, IMPORT).await.unwrap_err();
    assert!(matches!(&failure, Failure::Malformed(why) if why.contains("BCC")), "{failure:?}");
    line.lock().unwrap().dead = true;
    assert_eq!(read(&house, &h, IMPORT).await, Err(Failure::NoAnswer));
}

#[tokio::test]
async fn an_adapter_that_is_pulled_out_is_told_as_such_and_found_again() {
    let socket = Socket::new();
    let config = with_port(port("east", &socket));
    let house = house_now(config).await;
    let device = dial(&house, "H17", "hdlc+serial://east?physical=17", Kind::None).await;
    let failure = read(&house, &device, IMPORT).await.unwrap_err();
    assert!(matches!(&failure, Failure::Line(why) if why.contains("east")), "{failure:?}");
    let up = || house.metric("holdfast_gateway_line_up", "east");
    assert!(house.metric("holdfast_gateway_line_open_failures_total", "east") >= 1.0);
    for _ in 0..2 {
        let mut wire = socket.plug();
        let meter = tokio::spawn(async move {
            serve(&mut wire, &mut [Meter::hdlc(1, 17, Kind::None)], &Line::default()).await;
        });
        eventually("the port is found by itself", || up() >= 1.0).await;
        assert_eq!(read(&house, &device, IMPORT).await.unwrap().value, Value::Unsigned(4_711));
        meter.abort();
        std::fs::remove_file(socket.path()).unwrap();
        eventually("its loss is seen", || up() < 1.0).await;
        let failure = read(&house, &device, IMPORT).await.unwrap_err();
        assert!(matches!(failure, Failure::Line(_)), "{failure:?}");
    }
    assert!(house.metric("holdfast_gateway_line_lost_total", "east") >= 2.0);
    let nowhere = dial(&house, "H2", "hdlc+serial://west", Kind::None).await;
    let failure = Failure::Line("this node has no serial port west".to_owned());
    assert_eq!(read(&house, &nowhere, IMPORT).await, Err(failure));
}

#[tokio::test]
async fn a_line_that_others_hold_too_long_is_busy() {
    let line = Line::default();
    line.lock().unwrap().dead = true;
    let meters = vec![Meter::hdlc(1, 17, Kind::None)];
    let server = serial_server(meters, line).await;
    let house = house_now(Config { line_answer_timeout_ms: 3_000, ..on_demand_only() }).await;
    let address = |physical| format!("hdlc+tcp://{server}?physical={physical}");
    let first = dial(&house, "H17", &address(17), Kind::None).await;
    eventually("the first has the line", || {
        house.metric("holdfast_gateway_line_turns_total", "tcp") >= 1.0
    })
    .await;
    let second = dial(&house, "H18", &address(18), Kind::None).await;
    let soon = Instant::now() + Duration::from_secs(3);
    let read = house.gateway.read(&second, "H18", vec![IMPORT], soon);
    assert_eq!(read.await, Err(Failure::Busy));
    drop(first);
}
