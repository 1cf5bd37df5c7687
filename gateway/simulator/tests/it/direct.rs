//! Meters with an address of their own: none, LLS and HLS 5.

use std::time::{Duration, Instant};

use cosem::association::{Indication, Rejection};
use cosem::security::{Kek, KeyId, NewKeys};
use cosem::wrapper::Deframer;
use cosem::{AttributeRef, Data, DataAccessError, MethodRef, Suite};
use simulator::registry::MeterEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::headend::{LONG, Meter, got, octets};
use crate::{field, start};

pub async fn exchange(stream: &mut TcpStream, meter: &mut Meter) -> Indication {
    let mut deframer = Deframer::new(65_535);
    let mut buffer = vec![0; 65_536];
    loop {
        match meter.client.poll() {
            Some(Indication::NeedCounters { .. }) => continue,
            Some(indication) => return indication,
            None => {}
        }
        while let Some(frame) = meter.client.poll_transmit() {
            stream.write_all(&frame).await.unwrap();
        }
        let octets = timeout(LONG, stream.read(&mut buffer)).await.expect("no answer").unwrap();
        assert!(octets > 0, "closed");
        deframer.feed(&buffer[..octets]);
        while let Some((header, apdu)) = deframer.next_frame().unwrap() {
            meter.client.handle_frame(Instant::now(), header, &apdu).unwrap();
        }
    }
}

pub async fn open(
    entry: &MeterEntry,
    counters: std::ops::Range<u32>,
) -> (TcpStream, Meter, Indication) {
    let mut stream = TcpStream::connect(entry.address.as_ref().unwrap()).await.unwrap();
    let mut meter = Meter::new(entry, *b"HFDNODE\x09", None);
    meter.connect(counters);
    let first = exchange(&mut stream, &mut meter).await;
    (stream, meter, first)
}

#[tokio::test]
async fn every_kind_of_authentication_reads_registers_and_profile() {
    let mut config = field(&[]);
    config.concentrators = 0;
    config.direct = 6;
    config.direct_ports = 2;
    config.direct_listen = Some("127.0.0.1:0".parse().unwrap());
    let running = start(&config).await;
    let mut kinds = Vec::new();
    for entry in &running.registry().meters {
        let (mut stream, mut meter, first) = open(entry, 1..500).await;
        assert!(matches!(first, Indication::Associated { .. }), "{}: {first:?}", entry.serial);
        meter.get(1, [0, 0, 96, 1, 0, 255], 2, None);
        let serial = got(Some(exchange(&mut stream, &mut meter).await));
        assert_eq!(serial.as_octets(), Some(entry.serial.as_bytes()));
        meter.get(7, [1, 0, 99, 1, 0, 255], 2, None);
        let rows = got(Some(exchange(&mut stream, &mut meter).await));
        assert_eq!(rows.as_array().map(<[cosem::Data]>::len), Some(3_840), "40 days by blocks");
        kinds.push(entry.authentication.clone());
    }
    assert_eq!(kinds, ["none", "lls", "hls5", "none", "lls", "hls5"]);
    assert_eq!(running.tally().violations(), 0);
    running.kill().await;
}

#[tokio::test]
async fn secrets_are_proved_by_every_hash() {
    let mut config = field(&[]);
    config.concentrators = 0;
    config.direct = 3;
    config.direct_access = ["hls3", "hls4", "hls6"].map(|kind| kind.parse().unwrap()).to_vec();
    config.direct_listen = Some("127.0.0.1:0".parse().unwrap());
    let running = start(&config).await;
    let meters = running.registry().meters.clone();
    for entry in &meters {
        let (mut stream, mut meter, first) = open(entry, 1..500).await;
        assert!(matches!(first, Indication::Associated { .. }), "{}: {first:?}", entry.serial);
        meter.get(3, [1, 0, 1, 8, 0, 255], 2, None);
        assert!(got(Some(exchange(&mut stream, &mut meter).await)).as_u64() > Some(0));
        let mut wrong = entry.clone();
        wrong.lls_secret = Some("00".repeat(16));
        let (_, _, first) = open(&wrong, 1..500).await;
        assert!(!matches!(first, Indication::Associated { .. }), "{}: {first:?}", entry.serial);
    }
    running.kill().await;
}

/// The reading client sees the registers and changes nothing; new keys count from the next
/// association on, also after a restart of the simulator.
#[tokio::test]
async fn a_reader_changes_nothing_and_new_keys_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = field(&[]);
    config.concentrators = 0;
    config.direct = 1;
    config.direct_access = vec!["hls5".parse().unwrap()];
    config.direct_listen = Some("127.0.0.1:0".parse().unwrap());
    config.state = Some(dir.path().to_path_buf());
    let running = start(&config).await;
    let entry = running.registry().meters[0].clone();
    let mut reader = entry.clone();
    (reader.client_sap, reader.guek, reader.gak) = (32, None, None);
    reader.lls_secret = entry.reader_secret.clone();
    let (mut stream, mut client, first) = open(&reader, 1..2).await;
    assert!(matches!(first, Indication::Associated { .. }), "{first:?}");
    let zone = AttributeRef::new(8, [0, 0, 1, 0, 0, 255], 3);
    client.client.set(Instant::now(), zone, None, Data::I16(-60)).unwrap();
    let answer = exchange(&mut stream, &mut client).await;
    let denied = Err(DataAccessError::ReadWriteDenied);
    assert!(matches!(answer, Indication::Set { result, .. } if result == denied));

    let (mut stream, mut client, _) = open(&entry, 1..500).await;
    let kek: [u8; 16] = octets(entry.kek.as_ref().unwrap()).try_into().unwrap();
    let new =
        NewKeys::default().with(KeyId::Unicast, &[7; 16]).with(KeyId::Authentication, &[8; 16]);
    let wrapped = new.wrapped(&Kek::new(Suite::Zero, &kek).unwrap()).unwrap();
    let transfer = MethodRef::new(64, [0, 0, 43, 0, 0, 255], 2);
    client.client.action(Instant::now(), transfer, Some(wrapped)).unwrap();
    let answer = exchange(&mut stream, &mut client).await;
    assert!(matches!(&answer, Indication::Acted { result: Ok(_), .. }), "{answer:?}");
    running.stop().await.unwrap();
    let running = start(&config).await;
    let mut entry = running.registry().meters[0].clone();
    let (_, _, first) = open(&entry, 600..700).await;
    assert!(!matches!(first, Indication::Associated { .. }), "the old keys open nothing");
    (entry.guek, entry.gak) = (Some("07".repeat(16)), Some("08".repeat(16)));
    let (_, _, first) = open(&entry, 700..800).await;
    assert!(matches!(first, Indication::Associated { .. }), "{first:?}");
    running.kill().await;
}

#[tokio::test]
async fn a_wrong_secret_opens_nothing_and_a_used_counter_is_seen() {
    let mut config = field(&[]);
    config.concentrators = 0;
    config.direct = 3;
    config.direct_listen = Some("127.0.0.1:0".parse().unwrap());
    let running = start(&config).await;
    let meters = running.registry().meters.clone();
    let mut lls = meters[1].clone();
    lls.lls_secret = Some("00".repeat(16));
    let (_, _, first) = open(&lls, 1..100).await;
    assert!(matches!(first, Indication::Rejected(Rejection::Server { .. })), "{first:?}");
    let (_, _, first) = open(&meters[2], 10..100).await;
    assert!(matches!(first, Indication::Associated { .. }), "{first:?}");
    assert_eq!(running.tally().violations(), 0);
    let (_, _, first) = open(&meters[2], 10..100).await;
    assert!(!matches!(first, Indication::Associated { .. }), "{first:?}");
    assert_eq!(running.tally().violations(), 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    running.kill().await;
}
