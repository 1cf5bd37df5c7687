//! What a head-end sees of a meter with a fault: exactly that, and the meter goes on after it.

use std::time::{Duration, Instant};

use cosem::Data;
use cosem::acse::AssociateResult;
use cosem::apdu::{DataAccessError, MethodRef};
use cosem::association::{Indication, Rejection};
use cosem::iec62056_21::{self as iec, Wish};
use simulator::fault::Kind;
use simulator::registry::MeterEntry;
use simulator::run::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::direct::{exchange, open};
use crate::headend::{Meter, got};
use crate::lines::{AsciiLine, HdlcLine, ascii_client, config, parts};
use crate::start;

const REGISTER: (u16, [u8; 6]) = (3, [1, 0, 1, 8, 0, 255]);

async fn with(fault: &str, access: &str) -> (Running, MeterEntry) {
    let mut config = config();
    config.direct = 1;
    config.direct_access = vec![access.parse().unwrap()];
    config.faults = vec![fault.parse().unwrap()];
    config.fault_hold = Duration::from_millis(1_200);
    let running = start(&config).await;
    let entry = running.registry().meters[0].clone();
    (running, entry)
}

/// What a head-end sees.
#[derive(Debug)]
enum Seen {
    Said(Indication),
    Refused(&'static str),
    Closed,
}

/// Associates (two requests with HLS 5), reads once, then gives what the fourth request brings.
async fn fourth(entry: &MeterEntry) -> (Seen, Duration) {
    let (mut stream, mut meter, first) = open(entry, 1..400).await;
    assert!(matches!(first, Indication::Associated { .. }), "{first:?}");
    meter.get(REGISTER.0, REGISTER.1, 2, None);
    got(Some(exchange(&mut stream, &mut meter).await));
    meter.get(REGISTER.0, REGISTER.1, 2, None);
    let begun = Instant::now();
    (seen(&mut stream, &mut meter).await, begun.elapsed())
}

/// The next thing that happens, be it a frame that the client refuses.
async fn seen(stream: &mut TcpStream, meter: &mut Meter) -> Seen {
    let mut deframer = cosem::wrapper::Deframer::new(65_535);
    let mut buffer = vec![0; 65_536];
    while let Some(frame) = meter.client.poll_transmit() {
        stream.write_all(&frame).await.unwrap();
    }
    loop {
        match meter.client.poll() {
            Some(Indication::NeedCounters { .. }) | None => {}
            Some(indication) => return Seen::Said(indication),
        }
        let read = tokio::time::timeout(Duration::from_secs(8), stream.read(&mut buffer)).await;
        let count = read.expect("nothing happened").unwrap_or(0);
        if count == 0 {
            return Seen::Closed;
        }
        deframer.feed(&buffer[..count]);
        while let Some((header, apdu)) = deframer.next_frame().unwrap() {
            if let Err(error) = meter.client.handle_frame(Instant::now(), header, &apdu) {
                return Seen::Refused(error.code());
            }
        }
    }
}

#[tokio::test]
async fn answers_that_are_wrong() {
    for (fault, expect) in
        [("answer-tag", "bad_tag"), ("answer-counter", "replayed"), ("answer-replay", "replayed")]
    {
        let (running, entry) = with(fault, "hls5").await;
        let (seen, _) = fourth(&entry).await;
        assert!(matches!(seen, Seen::Refused(code) if code == expect), "{fault}: {seen:?}");
        let kind = fault.parse::<simulator::fault::Fault>().unwrap().kind;
        assert_eq!(running.tally().faults(kind), 1, "{fault}");
        let (_, _, again) = open(&entry, 500..600).await;
        assert!(matches!(again, Indication::Associated { .. }), "{fault}: it goes on");
        running.kill().await;
    }
}

#[tokio::test]
async fn answers_that_stop_or_come_late() {
    for fault in ["half-frame", "meter-restart"] {
        let (running, entry) = with(fault, "hls5").await;
        let (seen, _) = fourth(&entry).await;
        assert!(matches!(seen, Seen::Closed), "{fault}: {seen:?}");
        running.kill().await;
    }
    let (running, entry) = with("late-answer", "hls5").await;
    let (seen, took) = fourth(&entry).await;
    assert!(matches!(seen, Seen::Said(Indication::Got { result: Ok(_), .. })), "{seen:?}");
    assert!(took >= Duration::from_millis(1_200), "{took:?}");
    running.kill().await;
}

#[tokio::test]
async fn a_busy_meter_refuses_for_now_and_takes_the_next_association() {
    let (running, entry) = with("busy", "hls5").await;
    let (mut stream, _, first) = open(&entry, 1..400).await;
    match first {
        Indication::Rejected(Rejection::Server { result, .. }) => {
            assert_eq!(result, AssociateResult::RejectedTransient);
        }
        other => panic!("{other:?}"),
    }
    let mut meter = Meter::new(&entry, *b"HFDNODE\x09", None);
    meter.connect(400..500);
    let second = exchange(&mut stream, &mut meter).await;
    assert!(matches!(second, Indication::Associated { .. }), "{second:?}");
    running.kill().await;
}

#[tokio::test]
async fn an_image_that_is_busy_says_temporary_failure() {
    let (running, entry) = with("image-busy", "none").await;
    let (mut stream, mut meter, _) = open(&entry, 1..2).await;
    let image = |method| MethodRef::new(18, [0, 0, 44, 0, 0, 255], method);
    let begin = Data::Structure(vec![Data::octets(b"HFD-SIM 2"), Data::U32(2)]);
    let block = Data::Structure(vec![Data::U32(0), Data::octets(b"ab")]);
    let mut last = None;
    for (method, parameter) in [(1, begin), (2, block), (3, Data::I8(0))] {
        meter.client.action(Instant::now(), image(method), Some(parameter)).unwrap();
        match exchange(&mut stream, &mut meter).await {
            Indication::Acted { result, .. } => last = Some(result),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last, Some(Err(DataAccessError::TemporaryFailure)));
    running.kill().await;
}

#[tokio::test]
async fn a_push_that_was_ordered_comes_and_may_lack_its_scaler() {
    for (faults, values) in [(None, 7), (Some("missing-scaler"), 5)] {
        let (running, entry) = with(faults.unwrap_or("gaps:0"), "none").await;
        let (mut stream, mut meter, _) = open(&entry, 1..2).await;
        let push = MethodRef::new(40, [0, 0, 25, 9, 0, 255], 1);
        meter.client.action(Instant::now(), push, Some(Data::I8(0))).unwrap();
        let (mut body, mut done) = (None, false);
        while body.is_none() || !done {
            match exchange(&mut stream, &mut meter).await {
                Indication::Acted { result, .. } => done = result.is_ok(),
                Indication::Notified(notification) => {
                    body = notification.decode().unwrap().data().cloned();
                }
                other => panic!("{other:?}"),
            }
        }
        let body = body.unwrap();
        assert_eq!(body.as_structure().unwrap().len(), values, "{faults:?}");
        running.kill().await;
    }
}

#[tokio::test]
async fn frames_of_a_line_that_are_wrong_are_repeated() {
    for fault in ["wrong-check", "junk"] {
        let mut config = config();
        (config.direct_hdlc, config.direct_iec) = (1, 1);
        config.direct_access = vec!["none".parse().unwrap()];
        config.faults = vec![fault.parse().unwrap()];
        let running = start(&config).await;
        let meters = running.registry().meters.clone();
        let (_, at, physical) = parts(meters[0].address.as_ref().unwrap(), "physical");
        let mut line = HdlcLine::open(&at, meters[0].client_sap, &physical).await;
        let mut meter = Meter::new(&meters[0], *b"HFDNODE\x09", None);
        meter.connect(1..2);
        let first = line.ask(&mut meter).await;
        assert!(matches!(first, Some(Indication::Associated { .. })), "{fault}: {first:?}");
        for _ in 0..4 {
            meter.get(REGISTER.0, REGISTER.1, 2, None);
            assert!(got(line.ask(&mut meter).await).as_u64() > Some(0), "{fault}");
        }
        let quality = line.link.quality();
        // A frame whose check sequence fails is junk as well.
        assert!(quality.junk_octets > 0, "{fault}: {quality:?}");
        let (_, at, device) = parts(meters[1].address.as_ref().unwrap(), "device");
        let stream = TcpStream::connect(&at).await.unwrap();
        let client = ascii_client(&device, Wish::Readout, &meters[1]);
        let outcome = AsciiLine { stream, client }.outcome().await;
        assert!(matches!(outcome, Some(iec::Indication::Readout(_))), "{fault}: {outcome:?}");
        let kind = if fault == "junk" { Kind::Junk } else { Kind::WrongCheck };
        assert!(running.tally().faults(kind) > 1, "{fault}");
        running.kill().await;
    }
}
