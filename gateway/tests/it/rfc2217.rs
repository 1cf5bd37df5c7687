//! Meters behind a serial server that is told the rate of its port (RFC 2217). The server is
//! written here, against the standard's octets, and leads to a line of the simulator.

use std::sync::{Arc, Mutex};

use domain::commands::{Failure, Value};
use simulator::config::Config as Street;
use simulator::registry::MeterEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::field::{Field, IMPORT, on_demand, street};

/// What a serial server is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// As the standard has it.
    Standard,
    /// It knows no port control: IAC DONT COM-PORT-OPTION.
    Refuses,
    /// It never confirms a rate.
    Mute,
}

/// Rates that were set, in order.
type Rates = Arc<Mutex<Vec<u32>>>;

/// A serial server before `line`; its address.
async fn server(kind: Server, line: String, rates: Rates) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let line = TcpStream::connect(&line).await.unwrap();
            tokio::spawn(relay(kind, client, line, Arc::clone(&rates)));
        }
    });
    address
}

async fn relay(kind: Server, mut client: TcpStream, mut line: TcpStream, rates: Rates) {
    let (mut from_client, mut from_line) = ([0; 1024], [0; 1024]);
    let mut held: Vec<u8> = Vec::new();
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                held.extend_from_slice(&from_client[..read]);
                let (data, back) = understand(kind, &mut held, &rates);
                if client.write_all(&back).await.is_err() || line.write_all(&data).await.is_err() {
                    return;
                }
            }
            read = line.read(&mut from_line) => {
                let Ok(read @ 1..) = read else { return };
                let doubled = |octet: &u8| vec![*octet; if *octet == 255 { 2 } else { 1 }];
                let octets: Vec<u8> = from_line[..read].iter().flat_map(doubled).collect();
                if client.write_all(&octets).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes whole pieces out of `held`: octets for the line, and answers.
fn understand(kind: Server, held: &mut Vec<u8>, rates: &Rates) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut back) = (Vec::new(), Vec::new());
    loop {
        let used = match &held[..] {
            [255, 255, ..] => {
                data.push(255);
                2
            }
            // WILL COM-PORT-OPTION.
            [255, 251, 44, ..] => {
                let verb = if kind == Server::Refuses { 254 } else { 253 };
                back.extend_from_slice(&[255, verb, 44]);
                3
            }
            [255, 251..=254, _, ..] => 3,
            [255, 250, rest @ ..] => {
                let Some(end) = rest.windows(2).position(|pair| pair == [255, 240]) else { break };
                if let [44, 1, a, b, c, d] = rest[..end] {
                    rates.lock().unwrap().push(u32::from_be_bytes([a, b, c, d]));
                    if kind != Server::Mute {
                        back.extend_from_slice(&[255, 250, 44, 101, a, b, c, d, 255, 240]);
                    }
                }
                end + 4
            }
            [255, ..] | [] => break,
            [octet, ..] => {
                data.push(*octet);
                1
            }
        };
        held.drain(..used);
    }
    (data, back)
}

/// A field of meters of mode C, E and on HDLC, its first two lines each behind a server.
async fn field(kind: Server) -> (Field, Vec<MeterEntry>, Rates) {
    let lines = Street {
        direct_iec: 2,
        direct_hdlc: 1,
        direct_access: vec!["lls".parse().unwrap()],
        ..street()
    };
    let field = Field::start(&lines, on_demand()).await;
    let rates = Rates::default();
    let mut entries = Vec::new();
    for entry in field.meters() {
        let address = entry.address.clone().unwrap();
        let (scheme, rest) = address.split_once("+tcp://").unwrap();
        let (at, query) = rest.split_once('?').unwrap();
        let server = server(kind, at.to_owned(), Arc::clone(&rates)).await;
        let address = Some(format!("{scheme}+rfc2217://{server}?{query}"));
        entries.push(MeterEntry { address, ..entry });
    }
    (field, entries, rates)
}

#[tokio::test]
async fn the_rate_behind_a_serial_server_follows_the_sign_on() {
    let (field, entries, rates) = field(Server::Standard).await;
    let mut seen = Vec::new();
    for entry in &entries {
        rates.lock().unwrap().clear();
        field.dial(entry, |_| ()).await;
        let address = entry.address.clone().unwrap();
        let read = field.read(entry, IMPORT).await.unwrap_or_else(|e| panic!("{address}: {e:?}"));
        assert!(matches!(read.value, Value::Integer(1..) | Value::Unsigned(1..)), "{read:?}");
        let mut set = rates.lock().unwrap().clone();
        set.dedup();
        seen.push((address.split('+').next().unwrap().to_owned(), set));
    }
    let of = |protocol: &str| {
        let found = seen.iter().find(|(known, _)| known == protocol);
        found.unwrap_or_else(|| panic!("{protocol}: {seen:?}")).1.clone()
    };
    assert_eq!(of("hdlc"), [9_600], "as it was");
    for protocol in ["iec", "mode-e"] {
        let set = of(protocol);
        // The line's own rate, that of the sign-on, then the one that the meter offers.
        assert!(set.starts_with(&[9_600, 300, 9_600]), "{protocol}: {set:?}");
    }
    field.stop().await;
}

#[tokio::test]
async fn a_serial_server_that_cannot_be_told_is_named_as_such() {
    for (kind, text) in
        [(Server::Refuses, "does not speak RFC 2217"), (Server::Mute, "does not confirm the rate")]
    {
        let (field, entries, _) = field(kind).await;
        let meter = entries.iter().find(|entry| entry.address.as_ref().unwrap().starts_with("iec"));
        let meter = meter.unwrap();
        field.dial(meter, |_| ()).await;
        match field.read(meter, IMPORT).await {
            Err(Failure::Line(why)) => assert!(why.contains(text), "{kind:?}: {why}"),
            other => panic!("{kind:?}: {other:?}"),
        }
        field.stop().await;
    }
}
