//! Services that only some head-ends use, asked of meters over their sockets: suites 1 and 2,
//! policies, ACCESS, general block transfer, lists in blocks.

use std::time::Instant;

use cosem::apdu::{DataAccessError, ServiceFault};
use cosem::association::{
    AccessItem, AccessOptions, AccessResult, ClientConfig, Failure, GeneralUse, Indication,
    Rejection,
};
use cosem::class::profile::Range;
use cosem::security::Policy;
use cosem::{AttributeRef, Data, DateTime, MethodRef, Selection};
use simulator::registry::MeterEntry;
use simulator::run::Running;
use tokio::net::TcpStream;

use crate::direct::exchange;
use crate::headend::{Meter, got};
use crate::lines::config;
use crate::start;

const REGISTER: (u16, [u8; 6]) = (3, [1, 0, 1, 8, 0, 255]);
const TITLE: [u8; 8] = *b"HFDNODE\x09";

fn register() -> AttributeRef {
    AttributeRef::new(REGISTER.0, REGISTER.1, 2)
}

async fn field(kind: &str, meters: u32) -> (Running, Vec<MeterEntry>) {
    let mut config = config();
    config.direct = meters;
    config.direct_access = vec![kind.parse().unwrap()];
    config.history = std::time::Duration::ZERO;
    let running = start(&config).await;
    let entries = running.registry().meters.clone();
    (running, entries)
}

async fn open(
    entry: &MeterEntry,
    first: u32,
    change: impl FnOnce(&mut ClientConfig),
) -> (TcpStream, Meter, Indication) {
    let mut stream = TcpStream::connect(entry.address.as_ref().unwrap()).await.unwrap();
    let mut meter = Meter::with(entry, TITLE, None, change);
    meter.connect(first..first + 1_000);
    let first = exchange(&mut stream, &mut meter).await;
    (stream, meter, first)
}

#[tokio::test]
async fn suites_1_and_2_read_with_gmac_ecdsa_and_signatures() {
    for suite in [1, 2] {
        for kind in ["hls5", "hls7", "signed"] {
            let kind = format!("{kind}-suite{suite}");
            let (running, entries) = field(&kind, 1).await;
            let (mut stream, mut meter, first) = open(&entries[0], 1, |_| ()).await;
            assert!(matches!(first, Indication::Associated { .. }), "{kind}: {first:?}");
            meter.get(REGISTER.0, REGISTER.1, 2, None);
            let value = got(Some(exchange(&mut stream, &mut meter).await));
            assert!(value.as_u64() > Some(0), "{kind}");
            meter.get(64, [0, 0, 43, 0, 0, 255], 3, None);
            let told = got(Some(exchange(&mut stream, &mut meter).await));
            assert_eq!(told, Data::Enum(suite), "{kind}");
            running.kill().await;
        }
    }
}

#[tokio::test]
async fn less_than_the_policy_demands_is_refused_and_the_meter_goes_on() {
    let cases: [(&str, u8); 3] = [("hls5", 0x00), ("hls5", 0x24), ("signed-suite1", 0x6c)];
    for (kind, policy) in cases {
        let (running, entries) = field(kind, 1).await;
        let weak = |config: &mut ClientConfig| config.policy = Policy::from_v1(policy).unwrap();
        let (_, _, refused) = open(&entries[0], 1, weak).await;
        let is_exception = matches!(refused, Indication::Rejected(Rejection::Exception(_)));
        let is_refused = matches!(refused, Indication::Rejected(Rejection::Server { .. }));
        assert!(is_exception || is_refused, "{kind} {policy:02x}: {refused:?}");
        let (_, _, taken) = open(&entries[0], 2_000, |_| ()).await;
        assert!(matches!(taken, Indication::Associated { .. }), "{kind}: {taken:?}");
        running.kill().await;
    }
}

/// A plain request within a ciphered association, as if somebody had taken over the connection.
#[tokio::test]
async fn a_plain_request_in_a_ciphered_association_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (running, entries) = field("hls5", 1).await;
    let (mut stream, mut meter, first) = open(&entries[0], 1, |_| ()).await;
    assert!(matches!(first, Indication::Associated { .. }), "{first:?}");
    // GET request normal of A+, unprotected, by the management client.
    let plain = [0xc0, 1, 0xc1, 0, 3, 1, 0, 1, 8, 0, 255, 2, 0];
    let header = cosem::wrapper::Header { source: 1, destination: entries[0].server_sap };
    stream.write_all(&cosem::wrapper::encode(header, &plain).unwrap()).await.unwrap();
    let mut buffer = [0; 256];
    let count = stream.read(&mut buffer).await.unwrap();
    let apdu = &buffer[cosem::wrapper::HEADER_OCTETS..count];
    assert_eq!(apdu.first(), Some(&0xd8), "an exception-response and no value: {apdu:02x?}");
    meter.get(REGISTER.0, REGISTER.1, 2, None);
    got(Some(exchange(&mut stream, &mut meter).await));
    running.kill().await;
}

/// A policy that was strengthened counts from the next association on, and is never weakened.
#[tokio::test]
async fn a_strengthened_policy_counts_from_the_next_association_on() {
    let (running, entries) = field("hls7-suite1", 1).await;
    let entry = &entries[0];
    let (mut stream, mut meter, _) = open(entry, 1, |_| ()).await;
    let activate = MethodRef::new(64, [0, 0, 43, 0, 0, 255], 1);
    for (policy, expect) in [(0x20, Err(DataAccessError::ReadWriteDenied)), (0xfc, Ok(None))] {
        meter.client.action(Instant::now(), activate, Some(Data::Enum(policy))).unwrap();
        let answer = exchange(&mut stream, &mut meter).await;
        match answer {
            Indication::Acted { result, .. } => assert_eq!(result, expect, "{policy:02x}"),
            other => panic!("{other:?}"),
        }
    }
    drop(stream);
    let (_, _, refused) = open(entry, 2_000, |_| ()).await;
    assert!(!matches!(refused, Indication::Associated { .. }), "{refused:?}");
    let signed = |config: &mut ClientConfig| config.policy = Policy::from_v1(0xfc).unwrap();
    let (mut stream, mut meter, first) = open(entry, 4_000, signed).await;
    assert!(matches!(first, Indication::Associated { .. }), "{first:?}");
    meter.get(REGISTER.0, REGISTER.1, 2, None);
    got(Some(exchange(&mut stream, &mut meter).await));
    running.kill().await;
}

#[tokio::test]
async fn access_reads_writes_and_invokes_at_once() {
    for kind in ["none", "hls5", "signed-suite2"] {
        let (running, entries) = field(kind, 1).await;
        let (mut stream, mut meter, _) = open(&entries[0], 1, |_| ()).await;
        let zone = AttributeRef::new(8, [0, 0, 1, 0, 0, 255], 3);
        let nothing = AttributeRef::new(1, [0, 0, 9, 9, 9, 255], 2);
        let items = vec![
            AccessItem::Get(register(), None),
            AccessItem::Set(zone, None, Data::I16(-60)),
            AccessItem::Get(zone, None),
            AccessItem::Get(nothing, None),
        ];
        meter.client.access(Instant::now(), AccessOptions::default(), items).unwrap();
        let results = match exchange(&mut stream, &mut meter).await {
            Indication::Accessed { results, .. } => results,
            other => panic!("{kind}: {other:?}"),
        };
        let [AccessResult::Got(Ok(value)), written, zone, missing] = &results[..] else {
            panic!("{kind}: {results:?}")
        };
        assert!(value.as_u64() > Some(0), "{kind}");
        assert_eq!(*written, AccessResult::Set(Ok(())), "{kind}");
        assert_eq!(*zone, AccessResult::Got(Ok(Data::I16(-60))), "{kind}");
        assert!(matches!(missing, AccessResult::Got(Err(_))), "{kind}: {missing:?}");
        running.kill().await;
    }
}

fn last_day() -> Selection {
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let time = |at_s| DateTime::from_unix_s(at_s, 0, 0);
    Range::of_clock(time(now_s - 80_000), time(now_s)).to_selection()
}

#[tokio::test]
async fn a_profile_goes_over_in_general_blocks_also_when_one_is_lost() {
    for fault in [None, Some("lost-block")] {
        let mut config = config();
        config.direct = 1;
        config.direct_access = vec!["hls5".parse().unwrap()];
        config.history = std::time::Duration::ZERO;
        config.faults = fault.iter().map(|fault| fault.parse().unwrap()).collect();
        let running = start(&config).await;
        let entry = running.registry().meters[0].clone();
        let general = |config: &mut ClientConfig| {
            config.general.usage = GeneralUse::Always;
            config.general.wait = std::time::Duration::from_millis(500);
            // Small, so that there are many blocks.
            config.max_pdu = 300;
        };
        let (mut stream, mut meter, first) = open(&entry, 1, general).await;
        assert!(matches!(first, Indication::Associated { .. }), "{fault:?}: {first:?}");
        meter.get(7, [1, 0, 99, 1, 0, 255], 2, Some(last_day()));
        let rows = waiting(&mut stream, &mut meter).await;
        let rows = got(Some(rows));
        assert!(rows.as_array().map_or(0, <[Data]>::len) > 80, "{fault:?}");
        if fault.is_some() {
            let lost = simulator::fault::Kind::LostBlock;
            assert!(running.tally().faults(lost) > 0, "a block was lost on the way");
        }
        running.kill().await;
    }
}

/// As `exchange`, but the client's own deadlines count: it asks again for what was lost.
async fn waiting(stream: &mut TcpStream, meter: &mut Meter) -> Indication {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut deframer = cosem::wrapper::Deframer::new(65_535);
    let mut buffer = vec![0; 65_536];
    let until = Instant::now() + std::time::Duration::from_secs(60);
    loop {
        assert!(Instant::now() < until, "no answer in a minute");
        match meter.client.poll() {
            Some(Indication::NeedCounters { .. }) => continue,
            Some(indication) => return indication,
            None => {}
        }
        while let Some(frame) = meter.client.poll_transmit() {
            stream.write_all(&frame).await.unwrap();
        }
        let at = meter.client.poll_timeout().map_or(until, |at| at.min(until));
        match tokio::time::timeout_at(at.into(), stream.read(&mut buffer)).await {
            Ok(read) => {
                deframer.feed(&buffer[..read.unwrap()]);
                while let Some((header, apdu)) = deframer.next_frame().unwrap() {
                    meter.client.handle_frame(Instant::now(), header, &apdu).unwrap();
                }
            }
            Err(_) => meter.client.handle_timeout(Instant::now()),
        }
    }
}

#[tokio::test]
async fn long_lists_go_over_in_blocks_both_ways() {
    for kind in ["none", "hls5"] {
        let (running, entries) = field(kind, 1).await;
        let small = |config: &mut ClientConfig| config.max_pdu = 200;
        let (mut stream, mut meter, _) = open(&entries[0], 1, small).await;
        // The object list and a profile with an ordinary value: far more than an APDU.
        let list = vec![
            (register(), None),
            (AttributeRef::new(15, [0, 0, 40, 0, 0, 255], 2), None),
            (AttributeRef::new(7, [1, 0, 99, 1, 0, 255], 2), Some(last_day())),
        ];
        meter.client.get_list(Instant::now(), list).unwrap();
        match exchange(&mut stream, &mut meter).await {
            Indication::GotList { results, .. } => {
                let rows = |at: usize| results[at].as_ref().unwrap().as_array().unwrap().len();
                assert!(results[0].is_ok() && rows(1) > 30 && rows(2) > 80, "{kind}");
            }
            other => panic!("{kind}: {other:?}"),
        }
        let zone = AttributeRef::new(8, [0, 0, 1, 0, 0, 255], 3);
        // More than the meter's 2048 octets in one request, as a list.
        let writes: Vec<_> = (0..200).map(|at| (zone, None, Data::I16(at))).collect();
        meter.client.set_list(Instant::now(), writes).unwrap();
        match exchange(&mut stream, &mut meter).await {
            Indication::SetList { results, .. } => {
                assert_eq!((results.len(), results.iter().all(Result::is_ok)), (200, true));
            }
            other => panic!("{kind}: {other:?}"),
        }
        meter.get(8, [0, 0, 1, 0, 0, 255], 3, None);
        assert_eq!(got(Some(exchange(&mut stream, &mut meter).await)), Data::I16(199));
        running.kill().await;
    }
}

/// An answer that a counter too low brings, over the socket: which counter the meter awaits.
#[tokio::test]
async fn a_counter_that_is_too_low_is_answered_with_the_one_awaited() {
    let (running, entries) = field("hls5", 1).await;
    let (mut stream, mut meter, _) = open(&entries[0], 5_000, |_| ()).await;
    meter.get(REGISTER.0, REGISTER.1, 2, None);
    got(Some(exchange(&mut stream, &mut meter).await));
    meter.client.set_counters(Instant::now(), 10..20);
    meter.get(REGISTER.0, REGISTER.1, 2, None);
    let answer = exchange(&mut stream, &mut meter).await;
    let Indication::Failed { failure: Failure::Exception(exception), .. } = answer else {
        panic!("{answer:?}")
    };
    let ServiceFault::InvocationCounter { expected } = exception.fault else {
        panic!("{exception:?}")
    };
    assert!((5_001..6_000).contains(&expected), "{expected}");
    running.kill().await;
}
