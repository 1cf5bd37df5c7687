//! What comes over the wire and is no concentrator: each closed with its counted cause.

use std::time::Duration;

use cosem::Keys;
use cosem::apdu::{DataNotification, LongInvokePriority};
use cosem::association::seal_notification;
use cosem::wrapper::{Header, encode};
use gateway::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{GAK, GUEK, TITLE, house};

fn identity(title: [u8; 8], guek: [u8; 16]) -> Vec<u8> {
    let body = cosem::Data::Null;
    let notification = DataNotification::new(LongInvokePriority::confirmed(1), None, body);
    let keys = Keys::new(&guek, &GAK);
    let apdu = seal_notification(&keys, &title, 9, notification).unwrap();
    encode(Header { source: 1, destination: 102 }, &apdu).unwrap()
}

#[tokio::test]
async fn every_fault_is_closed_with_its_cause() {
    let frame = |apdu: &[u8]| encode(Header { source: 1, destination: 102 }, apdu).unwrap();
    let table: [(&str, Vec<u8>); 8] = [
        ("malformed", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("oversized", vec![0, 1, 0, 1, 0, 102, 0xff, 0xff]),
        ("identity_expected", frame(&[0x0f, 0, 0, 0, 1, 0, 0])),
        ("identity_expected", frame(&[0xdb, 8, 1, 2])),
        ("not_admitted", identity(*b"STRANGER", GUEK)),
        ("undecipherable", identity(TITLE, [9; 16])),
        ("identity_expected", identity(TITLE, GUEK)),
        ("identity_late", vec![0, 1, 0]),
    ];
    let config = Config { max_apdu_octets: 4_096, identity_timeout_ms: 300, ..Config::for_test() };
    for (cause, octets) in table {
        let house = house(config.clone()).await;
        let mut stream = TcpStream::connect(house.gateway.address()).await.unwrap();
        stream.write_all(&octets).await.unwrap();
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        let closed = tokio::time::timeout(Duration::from_secs(5), closed).await;
        assert!(closed.is_ok(), "{cause}: still open");
        assert!(answer.is_empty(), "{cause}: nothing is told to a stranger");
        assert_eq!(house.metric("holdfast_gateway_closed_total", cause), 1.0, "{cause}");
        assert!(house.gateway.channels().is_empty());
    }
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let house = house(Config::for_test()).await;
    let config = Config { listen: house.gateway.address(), ..Config::for_test() };
    let second = gateway::Gateway::start(config, None, &prometheus::Registry::new()).await;
    let error = second.err().unwrap().to_string();
    assert_eq!(error, format!("cannot listen on {}", house.gateway.address()));
}
