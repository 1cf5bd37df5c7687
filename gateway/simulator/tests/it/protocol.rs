//! Identity, association, activation, push, acknowledgement, heartbeat, objects.

use std::collections::BTreeSet;
use std::time::Duration;

use cosem::{Data, DataAccessError};
use simulator::tally::Count;

use crate::headend::{Node, Said};
use crate::{field, start};

#[tokio::test]
async fn a_session_goes_in_the_order_of_the_protocol() {
    let mut node = Node::start(1).await;
    let running = start(&field(&[&node])).await;
    let mut conn = node.accept(running.registry()).await;
    let silence = conn.said_within(Duration::from_millis(400)).await;
    assert_eq!(silence, None, "nothing but the identity before the association");
    let block = node.block();
    conn.associate(block).await.unwrap();
    let heartbeat = conn.said_within(Duration::from_secs(2)).await;
    assert_eq!(heartbeat, Some(Said::Heartbeat { online: 3 }), "no push before the activation");
    conn.activate(7).await.unwrap();
    let (sequence, rows) = conn.push().await;
    assert_eq!(sequence, conn_first(&rows, sequence));
    conn.acknowledge(sequence).await.unwrap();
    assert_eq!(conn.get(1, [0, 0, 94, 86, 130, 255]).await, Ok(Data::U32(sequence)));
    let epoch = conn.get(1, [0, 0, 94, 86, 131, 255]).await;
    assert_eq!(epoch, Ok(Data::Structure(vec![Data::U32(7)])));
    let list = conn.get(1, [0, 0, 94, 86, 128, 255]).await.unwrap();
    assert_eq!(list.as_array().map(<[Data]>::len), Some(3));
    assert_eq!(conn.get(8, [9; 6]).await, Err(DataAccessError::ObjectUndefined));
    let name = conn.get(1, [0, 0, 42, 0, 0, 255]).await.unwrap();
    assert_eq!(name.as_octets(), Some(conn.id.as_bytes()));
    let settings = running.stop().await.unwrap();
    assert_eq!(settings.tally.get(Count::Acknowledged), 1);
    assert_eq!(settings.tally.violations(), 0, "{:?}", settings.tally.violation_texts());
}

/// Checks the rows of the first push: an hour of three meters, each slot once.
fn conn_first(rows: &[crate::headend::PushedRow], sequence: u32) -> u32 {
    let slots: BTreeSet<_> = rows.iter().map(|row| (&row.serial, row.end_s)).collect();
    assert_eq!(slots.len(), rows.len());
    assert!(rows.len() == 12 || rows.len() == 15, "{} rows of an hour", rows.len());
    assert!(rows.iter().all(|row| row.end_s % 900 == 0 && row.status == 0));
    sequence
}

#[tokio::test]
async fn pushes_wait_in_a_window_and_go_on_when_acknowledged() {
    let mut node = Node::start(1).await;
    let mut config = field(&[&node]);
    config.history = Duration::from_secs(12 * 3_600);
    config.window = 2;
    config.answer = Duration::from_secs(5);
    let running = start(&config).await;
    let mut conn = node.login(running.registry()).await;
    conn.activate(1).await.unwrap();
    let (first, mut rows) = conn.push().await;
    let (second, more) = conn.push().await;
    assert_eq!(second, first + 1);
    rows.extend(more);
    let third = conn.said_within(Duration::from_millis(50)).await;
    assert!(!matches!(third, Some(Said::Push { .. })), "two in the window");
    conn.acknowledge(second).await.unwrap();
    let (sequence, more) = conn.push().await;
    rows.extend(more);
    assert_eq!(sequence, first + 2);
    let slots: BTreeSet<_> = rows.iter().map(|row| (row.serial.clone(), row.end_s)).collect();
    assert_eq!(slots.len(), rows.len(), "no row twice");
    assert!(rows.len() >= 47 * 3, "{}", rows.len());
    running.kill().await;
}

#[tokio::test]
async fn epochs_never_go_back() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let mut config = field(&[&one, &two]);
    config.answer = Duration::from_secs(30);
    let running = start(&config).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    main.activate(5).await.unwrap();
    assert_eq!(standby.activate(4).await, Err(DataAccessError::ReadWriteDenied));
    assert_eq!(running.tally().violations(), 0, "an older epoch is refused, not a violation");
    let (sequence, _) = main.push().await;
    assert_eq!(standby.acknowledge(sequence).await, Err(DataAccessError::ReadWriteDenied));
    assert_eq!(standby.activate(5).await, Err(DataAccessError::ReadWriteDenied));
    assert_eq!(running.tally().violations(), 1, "two holders of one epoch");
    standby.activate(6).await.unwrap();
    let (again, _) = standby.push().await;
    assert_eq!(again, sequence, "everything unacknowledged goes to the new channel");
    assert_eq!(main.acknowledge(sequence).await, Err(DataAccessError::ReadWriteDenied));
    assert_eq!(main.activate(5).await, Err(DataAccessError::ReadWriteDenied));
    standby.activate(6).await.unwrap();
    standby.activate(7).await.unwrap();
    let (again, _) = standby.push().await;
    assert_eq!(again, sequence, "a new epoch gets everything anew, the same epoch does not");
    standby.acknowledge(sequence).await.unwrap();
    assert_eq!(running.tally().get(Count::StaleEpochs), 2);
    assert_eq!(running.tally().get(Count::Retransmissions), 2);
    running.kill().await;
}

#[tokio::test]
async fn a_client_counter_that_comes_twice_is_a_violation() {
    let mut node = Node::start(1).await;
    let running = start(&field(&[&node])).await;
    let mut conn = node.accept(running.registry()).await;
    conn.associate(500..600).await.unwrap();
    drop(conn);
    let mut conn = node.accept(running.registry()).await;
    assert!(conn.associate(500..600).await.is_err(), "old counters open nothing");
    assert!(running.tally().violations() > 0);
    drop(conn);
    let mut conn = node.accept(running.registry()).await;
    conn.associate(600..700).await.unwrap();
    running.kill().await;
}

#[tokio::test]
async fn nonsense_is_refused_and_the_concentrator_lives_on() {
    use tokio::io::AsyncWriteExt;
    let mut node = Node::start(1).await;
    let running = start(&field(&[&node])).await;
    // A plain GET before the association, then an association on the same connection.
    let mut conn = node.accept(running.registry()).await;
    let get = [0xC0, 1, 0xC1, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0];
    let header = cosem::wrapper::Header { source: 1, destination: 1 };
    let frame = cosem::wrapper::encode(header, &get).unwrap();
    conn.stream.write_all(&frame).await.unwrap();
    let (_, refusal) = conn.raw(Duration::from_secs(2)).await.unwrap();
    assert_eq!(refusal[..], [0xD8, 1, 1], "service not allowed");
    let block = node.block();
    conn.associate(block).await.unwrap();
    // Octets that are no frame close the connection; the concentrator dials again.
    conn.stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut conn = node.login(running.registry()).await;
    conn.activate(1).await.unwrap();
    let (sequence, _) = conn.push().await;
    conn.acknowledge(sequence).await.unwrap();
    assert!(running.tally().get(Count::FramesRefused) >= 2);
    assert_eq!(running.tally().violations(), 0);
    running.kill().await;
}
