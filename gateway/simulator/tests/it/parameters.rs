//! Parameters as a whole set, new addresses on trial, and the ordered restart.

use std::time::{Duration, Instant};

use cosem::{Data, DataAccessError};

use crate::headend::{Conn, Node};
use crate::{field, start};

const SET: [u8; 6] = [0, 0, 94, 86, 136, 255];
const RESTARTS: [u8; 6] = [0, 0, 94, 86, 137, 255];
const MAIN: [u8; 6] = [0, 0, 2, 1, 0, 255];
const HEARTBEAT: [u8; 6] = [0, 0, 94, 86, 133, 255];

fn entry(class: u16, name: [u8; 6], attribute: i8, value: Data) -> Data {
    Data::Structure(vec![Data::U16(class), Data::octets(&name), Data::I8(attribute), value])
}

fn main_at(address: &str) -> Data {
    entry(29, MAIN, 6, Data::Array(vec![Data::octets(address.as_bytes())]))
}

fn heartbeat(seconds: u16) -> Data {
    entry(1, HEARTBEAT, 2, Data::U16(seconds))
}

fn set(version: u32, trial_s: u16, entries: Vec<Data>) -> Data {
    Data::Structure(vec![Data::U32(version), Data::U16(trial_s), Data::Array(entries)])
}

/// Version, state and main address of the set as it stands.
async fn standing(conn: &mut Conn) -> (u64, u64, String) {
    let set = conn.get(1, SET).await.unwrap();
    let fields = set.as_structure().unwrap();
    let number = |place: usize| match &fields[place] {
        Data::Enum(number) => u64::from(*number),
        other => other.as_u64().unwrap(),
    };
    let first = &fields[3].as_array().unwrap()[0];
    let list = first.as_structure().unwrap()[3].clone();
    let address = list.as_array().unwrap()[0].as_octets().unwrap().to_vec();
    (number(0), number(1), String::from_utf8(address).unwrap())
}

#[tokio::test]
async fn a_new_main_address_is_permanent_when_a_head_end_came_in_by_it() {
    let (mut one, mut two, mut new) =
        (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    let running = start(&field(&[&one, &two])).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    main.activate(1).await.unwrap();
    let wish = set(7, 60, vec![main_at(&new.address()), heartbeat(9)]);
    main.set(SET, wish).await.expect("the answer leaves before the line is closed");
    // Connected is not come in: it is still on trial.
    let mut third = new.accept(running.registry()).await;
    assert_eq!(standing(&mut standby).await, (7, 1, new.address()));
    let busy = standby.set(SET, set(8, 60, vec![heartbeat(8)])).await;
    assert_eq!(busy, Err(DataAccessError::TemporaryFailure), "one trial at a time");
    third.associate(new.block()).await.unwrap();
    assert_eq!(standing(&mut third).await, (7, 0, new.address()));
    assert_eq!(third.get(1, HEARTBEAT).await, Ok(Data::U16(9)));
    running.kill().await;
}

#[tokio::test]
async fn a_wrong_main_address_falls_back_and_takes_the_rest_of_its_set_with_it() {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let running = start(&field(&[&one, &two])).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    main.activate(1).await.unwrap();
    // Somebody listens there who does not know the concentrator's keys.
    let stranger = Node::start(9).await;
    let begun = Instant::now();
    let wish = set(3, 5, vec![main_at(&stranger.address()), heartbeat(9)]);
    main.set(SET, wish).await.unwrap();
    assert_eq!(standing(&mut standby).await.1, 1);
    // The standby stays, and the old main address is dialled again.
    let mut back = one.login(running.registry()).await;
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(standing(&mut back).await, (3, 2, one.address()));
    assert_eq!(standing(&mut standby).await, (3, 2, one.address()));
    assert_eq!(back.get(1, HEARTBEAT).await, Ok(Data::U16(1)), "old or new, never a mix");
    running.kill().await;
}

#[tokio::test]
async fn a_restart_is_seen_and_ends_a_trial() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    let mut config = field(&[&one, &two]);
    config.state = Some(dir.path().to_owned());
    let running = start(&config).await;
    let mut main = one.login(running.registry()).await;
    let mut standby = two.login(running.registry()).await;
    let once = Data::Structure(vec![Data::U32(1), Data::Enum(1)]);
    assert_eq!(main.get(1, RESTARTS).await, Ok(once));
    let nowhere = set(4, 600, vec![main_at("127.0.0.1:1")]);
    main.set(SET, nowhere).await.unwrap();
    standby.invoke(9, [0, 0, 10, 0, 0, 255], 1, Data::U16(1)).await.unwrap();
    let mut main = one.login(running.registry()).await;
    let twice = Data::Structure(vec![Data::U32(2), Data::Enum(2)]);
    assert_eq!(main.get(1, RESTARTS).await, Ok(twice));
    let uptime = main.get(3, [0, 0, 96, 8, 0, 255]).await.unwrap().as_u64().unwrap();
    assert!(uptime < 5, "{uptime}");
    assert_eq!(standing(&mut main).await, (4, 2, one.address()));
    // Killed within a trial it comes up with the old set as well.
    main.set(SET, set(5, 600, vec![main_at("127.0.0.1:1"), heartbeat(9)])).await.unwrap();
    running.kill().await;
    let running = start(&config).await;
    let mut main = one.login(running.registry()).await;
    assert_eq!(standing(&mut main).await, (5, 2, one.address()));
    assert_eq!(main.get(1, HEARTBEAT).await, Ok(Data::U16(1)));
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    running.kill().await;
}

#[tokio::test]
async fn a_set_with_one_wrong_parameter_changes_nothing() {
    let mut one = Node::start(1).await;
    let running = start(&field(&[&one])).await;
    let mut main = one.login(running.registry()).await;
    let port = entry(41, [0, 0, 25, 0, 0, 255], 2, Data::U16(1));
    let typed = entry(1, HEARTBEAT, 2, Data::U32(9));
    for (wrong, why) in [
        (port, DataAccessError::ObjectUndefined),
        (typed, DataAccessError::TypeUnmatched),
        (heartbeat(0), DataAccessError::OtherReason),
        (main_at("nowhere"), DataAccessError::OtherReason),
    ] {
        let refused = main.set(SET, set(2, 60, vec![heartbeat(30), wrong])).await;
        assert_eq!(refused, Err(why));
    }
    assert_eq!(standing(&mut main).await, (0, 0, one.address()));
    assert_eq!(main.get(1, HEARTBEAT).await, Ok(Data::U16(1)));
    main.set(SET, set(2, 60, vec![heartbeat(30)])).await.unwrap();
    assert_eq!(standing(&mut main).await, (2, 0, one.address()), "no new address, no trial");
    assert_eq!(main.get(1, HEARTBEAT).await, Ok(Data::U16(30)));
    running.kill().await;
}
