//! Two nodes that share one cluster in memory, and a simulated concentrator that dials both: data
//! go on when one is killed or may not act, and no row is lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::assets::{Attach, Authentication};
use domain::commands::{Attribute, Failure, Value};
use domain::{Device, NodeId, Obis};
use gateway::{ChannelRole, Config, MeterAccess, MeterKeys};
use simulator::field::Outages;
use simulator::registry::{MeterEntry, Registry};
use simulator::run::Running;
use simulator::tally::Count;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::support::{Clock, Cluster, House, access, eventually, join};

/// A row as the concentrator saw it acknowledged: serial, end, import, export.
type Row = (String, i64, i64, Option<i64>);

/// A cluster that knows nobody yet.
pub fn cluster() -> Arc<Mutex<Cluster>> {
    Arc::new(Mutex::new(Cluster::new(Clock::Real)))
}

fn octets<const N: usize>(hex: &str) -> [u8; N] {
    let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    let octets: Vec<u8> = digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// Takes the concentrators of a field into the registry.
pub fn register_concentrators(cluster: &Mutex<Cluster>, registry: &Registry) {
    let mut cluster = cluster.lock().unwrap();
    for entry in &registry.concentrators {
        let title = octets(&entry.system_title);
        cluster.concentrator(title, &entry.id, octets(&entry.guek), octets(&entry.gak));
    }
}

/// Takes the meters of a field into the registry.
pub fn register_meters(cluster: &Mutex<Cluster>, registry: &Registry) {
    let mut cluster = cluster.lock().unwrap();
    for entry in &registry.meters {
        let concentrator = entry.concentrator.clone().unwrap();
        let ordinal = cluster.meter(&entry.serial, Attach::Behind { concentrator });
        cluster.meters.insert(entry.serial.clone(), access_of(ordinal, entry));
    }
}

fn access_of(ordinal: u32, entry: &MeterEntry) -> MeterAccess {
    let keys = entry.guek.as_ref().zip(entry.gak.as_ref()).map(|(guek, gak)| MeterKeys {
        guek: Zeroizing::new(octets::<16>(guek).to_vec()),
        gak: Zeroizing::new(octets::<16>(gak).to_vec()),
    });
    let authentication = if keys.is_some() { Authentication::Hls5 } else { Authentication::None };
    let (client_sap, server_sap) = (entry.client_sap, entry.server_sap);
    MeterAccess { client_sap, server_sap, keys, ..access(ordinal, authentication) }
}

/// A perfect field of one concentrator and three meters with a backlog of days.
pub fn field(head_ends: Vec<String>, days: u64, journal: &Path) -> simulator::config::Config {
    simulator::config::Config {
        head_ends,
        meters: 3,
        seed: 42,
        history: Duration::from_secs(days * 86_400),
        heartbeat: Duration::from_millis(100),
        outages: Outages::Never,
        journal: Some(journal.to_owned()),
        ..simulator::config::Config::default()
    }
}

/// The addresses are known before anybody dials, so the nodes start first and the registry is
/// filled from the running field: its first dials wait at least 50 ms, and are repeated.
async fn run(cluster: &Mutex<Cluster>, houses: [&House; 2], days: u64, journal: &Path) -> Running {
    let head_ends = houses.map(|house| house.gateway.address().to_string());
    let running = Running::start(&field(head_ends.to_vec(), days, journal)).await.unwrap();
    register_concentrators(cluster, running.registry());
    register_meters(cluster, running.registry());
    running
}

fn has_role(house: &House, role: ChannelRole) -> bool {
    house.gateway.channels().first().is_some_and(|channel| channel.role == role)
}

/// What the concentrator was told to be safe.
fn acknowledged(journal: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(journal).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let rows = lines.flat_map(|line| line["rows"].as_array().unwrap().clone());
    rows.map(|row| {
        let serial = row[0].as_str().unwrap().to_owned();
        (serial, row[1].as_i64().unwrap(), row[3].as_i64().unwrap(), row[4].as_i64())
    })
    .collect()
}

/// Every acknowledged row is stored with its values, and no row has two values.
fn check_nothing_lost(cluster: &Mutex<Cluster>, journal: &Path) -> usize {
    let cluster = cluster.lock().unwrap();
    let mut stored: BTreeMap<(u32, i64), &[Option<i64>]> = BTreeMap::new();
    for (ordinal, end_s, _, values) in &cluster.rows {
        let first = stored.entry((*ordinal, *end_s)).or_insert(values);
        assert_eq!(*first, values, "meter {ordinal} at {end_s} has two values");
    }
    let told = acknowledged(journal);
    for (serial, end_s, import, export) in &told {
        let ordinal = cluster.meters[serial].ordinal;
        let values = stored.get(&(ordinal, *end_s)).copied();
        let expect = [Some(*import), *export];
        assert_eq!(values, Some(&expect[..]), "{serial} at {end_s} was acknowledged");
    }
    told.len()
}

/// Three meters, so many days of quarters of an hour.
fn rows_of(days: u64) -> usize {
    usize::try_from(days).unwrap() * 96 * 3
}

#[test]
fn when_one_node_is_killed_the_other_goes_on_and_nothing_is_lost() {
    const DAYS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let cluster = cluster();
    // Each node has a runtime of its own: dropping it is a kill, nothing is given back.
    let node = |number| {
        let runtime = Runtime::new().unwrap();
        let joined = join(Arc::clone(&cluster), NodeId(number), Config::for_test(), None);
        let house = runtime.block_on(joined);
        (runtime, house)
    };
    let (mut one, mut two) = (node(1), node(2));
    let field = Runtime::new().unwrap();
    field.block_on(async {
        let running = run(&cluster, [&one.1, &two.1], DAYS, &journal).await;
        eventually("one is active, the other stands by", || {
            let roles = |role| has_role(&one.1, role) || has_role(&two.1, role);
            roles(ChannelRole::Active) && roles(ChannelRole::Standby)
        })
        .await;
        if has_role(&two.1, ChannelRole::Active) {
            std::mem::swap(&mut one, &mut two);
        }
        eventually("data flow", || running.tally().get(Count::Acknowledged) >= 5).await;
        assert!(running.tally().get(Count::RowsAcknowledged) < rows_of(DAYS) as u64, "too late");
        one.0.shutdown_background();
        let killed = Instant::now();
        eventually("the standby is active", || has_role(&two.1, ChannelRole::Active)).await;
        assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
        assert!(two.1.metric("holdfast_gateway_switches_total", "promoted") >= 1.0);
        let expect = rows_of(DAYS);
        let told = |n: usize| running.tally().get(Count::RowsAcknowledged) >= n as u64;
        eventually("the whole backlog is acknowledged", || told(expect)).await;
        assert!(check_nothing_lost(&cluster, &journal) >= expect);
        assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
        assert_eq!(two.1.metric("holdfast_gateway_rows_dropped_total", ""), 0.0);
        running.kill().await;
    });
    two.0.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_not_act_hands_over_and_comes_back_as_the_standby() {
    const DAYS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let cluster = cluster();
    let mut one = join(Arc::clone(&cluster), NodeId(1), Config::for_test(), None).await;
    let mut two = join(Arc::clone(&cluster), NodeId(2), Config::for_test(), None).await;
    one.gateway.suspend();
    two.gateway.suspend();
    let running = run(&cluster, [&one, &two], DAYS, &journal).await;
    eventually("both stand by: nobody may act", || {
        has_role(&one, ChannelRole::Standby) && has_role(&two, ChannelRole::Standby)
    })
    .await;
    assert_eq!(running.tally().get(Count::Activations), 0);
    one.gateway.resume();
    two.gateway.resume();
    let active = |house: &House| has_role(house, ChannelRole::Active);
    eventually("one is active", || active(&one) || active(&two)).await;
    if active(&two) {
        std::mem::swap(&mut one, &mut two);
    }
    eventually("data flow", || running.tally().get(Count::Acknowledged) >= 5).await;
    one.gateway.suspend();
    eventually("it steps back", || has_role(&one, ChannelRole::Standby)).await;
    let serial = running.registry().meters[0].serial.clone();
    let device = Device::Concentrator(running.registry().concentrators[0].id.clone());
    let soon = Instant::now() + Duration::from_secs(1);
    let refused = one.gateway.read(&device, &serial, Vec::new(), soon).await;
    assert_eq!(refused, Err(Failure::NoChannel));
    // The concentrator misses its acknowledgement and promotes the other.
    eventually("the other is active", || active(&two)).await;
    one.gateway.resume();
    let expect = rows_of(DAYS) as u64;
    eventually("the whole backlog is acknowledged", || {
        running.tally().get(Count::RowsAcknowledged) >= expect
    })
    .await;
    eventually("the first one stands by", || has_role(&one, ChannelRole::Standby)).await;
    assert!(active(&two), "a living lease stays where it is");
    check_nothing_lost(&cluster, &journal);
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_meter_is_read_through_its_concentrator() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let cluster = cluster();
    let one = join(Arc::clone(&cluster), NodeId(1), Config::for_test(), None).await;
    let two = join(Arc::clone(&cluster), NodeId(2), Config::for_test(), None).await;
    let running = run(&cluster, [&one, &two], 1, &journal).await;
    let active = |house: &House| has_role(house, ChannelRole::Active);
    eventually("one is active", || active(&one) || active(&two)).await;
    let (owner, other) = if active(&one) { (&one, &two) } else { (&two, &one) };
    eventually("the backlog is in", || {
        running.tally().get(Count::RowsAcknowledged) >= rows_of(1) as u64
    })
    .await;
    let device = Device::Concentrator(running.registry().concentrators[0].id.clone());
    let soon = || Instant::now() + Duration::from_secs(5);
    let import = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
    let told = acknowledged(&journal);
    for entry in &running.registry().meters {
        let reads = owner.gateway.read(&device, &entry.serial, vec![import], soon()).await.unwrap();
        let [read] = &reads[..] else { panic!("{reads:?}") };
        assert_eq!((read.obis, read.scaler, read.unit), (Obis::ACTIVE_IMPORT, Some(0), Some(30)));
        let now_wh = match read.value {
            Value::Integer(value) => value,
            Value::Unsigned(value) => i64::try_from(value).unwrap(),
            ref other => panic!("{other:?}"),
        };
        let mine = told.iter().filter(|row| row.0 == entry.serial);
        let (_, end_s, last_wh, _) = mine.max_by_key(|row| row.1).unwrap();
        assert!(now_wh >= *last_wh && now_wh - last_wh < 20_000, "{last_wh} then {now_wh}");
        // By range: what was pushed stands in the meter, too.
        let profile = Obis([1, 0, 99, 1, 0, 255]);
        let from_s = end_s - 3_600;
        let ranged =
            owner.gateway.read_profile(&device, &entry.serial, profile, from_s, *end_s, soon());
        let ranged = ranged.await.unwrap();
        assert_eq!(ranged.rows.len(), 5, "both ends are in");
        let refused = other.gateway.read(&device, &entry.serial, vec![import], soon());
        assert_eq!(refused.await, Err(Failure::NoChannel), "the standby reads nothing");
    }
    let unknown = owner.gateway.read(&device, "NOBODY", vec![import], soon()).await;
    assert_eq!(unknown, Err(Failure::Unsupported("unknown_meter".to_owned())));
    assert_eq!(running.tally().get(Count::MeterAssociations), 3, "one for each, kept");
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meters_that_are_registered_a_moment_late_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let cluster = cluster();
    // Half of it, 2.5 s, is how long a push of unknown meters waits.
    let config = Config { answer_timeout_ms: 5_000, ..Config::for_test() };
    let house = join(Arc::clone(&cluster), NodeId(1), config, None).await;
    let mut field = field(vec![house.gateway.address().to_string()], 1, &journal);
    field.answer = Duration::from_secs(5);
    let running = Running::start(&field).await.unwrap();
    register_concentrators(&cluster, running.registry());
    eventually("pushes come", || running.tally().get(Count::Pushes) >= 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(running.tally().get(Count::Acknowledged), 0, "they wait");
    register_meters(&cluster, running.registry());
    let expect = rows_of(1);
    eventually("all is acknowledged", || {
        running.tally().get(Count::RowsAcknowledged) >= expect as u64
    })
    .await;
    assert!(check_nothing_lost(&cluster, &journal) >= expect);
    assert_eq!(house.metric("holdfast_gateway_rows_dropped_total", ""), 0.0);
    assert_eq!(running.tally().get(Count::Activations), 1, "the channel is not lost over it");
    running.kill().await;
}
