//! Collection tasks with the simulator's concentrators and meters: what goes first, who waits for
//! whom, how many at a time, when a meter is given up, and a node that stops in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::tasks::{Ending, Reason, Rule, What, When, Whom};
use domain::{Device, NodeId, Obis, parameters};
use gateway::{ChannelRole, Config};
use simulator::run::Running;
use simulator::tally::Count;

use crate::field::{Field, IMPORT};
use crate::pair;
use crate::refill::{self, Street};
use crate::support::{Cluster, House, eventually, join};

const BILLING: Obis = Obis([0, 0, 98, 1, 0, 255]);
const EVENTS: Obis = Obis([0, 0, 99, 98, 0, 255]);
/// What the standard log's rows bear.
const CODE: Obis = Obis([0, 0, 96, 11, 0, 255]);
/// What a clock is called; a reading of that name is its offset in milliseconds.
const CLOCK: Obis = Obis([0, 0, 1, 0, 0, 255]);
const DAY_S: u32 = 86_400;

fn rule(what: What) -> Rule {
    let when = When {
        cron: String::new(),
        zone: "UTC".to_owned(),
        delay_s: 0,
        spread_s: 0,
        lasts_s: 3_600,
    };
    let whom = Whom::All;
    Rule { what, whom, when, priority: 5, attempts: 3, backoff_s: 1, backoff_cap_s: 1 }
}

fn registers() -> What {
    What::Registers { registers: vec![Obis::ACTIVE_IMPORT] }
}

/// Nothing but tasks reads anything.
fn quiet(cluster: &mut Cluster) {
    cluster.set(parameters::REFILL_REACH, 0);
}

fn is_over(cluster: &Mutex<Cluster>, name: &str) -> bool {
    cluster.lock().unwrap().run(name).ended.is_some()
}

/// Readings of a register at no interval, by meter.
fn readings(cluster: &Mutex<Cluster>) -> BTreeMap<u32, usize> {
    let cluster = cluster.lock().unwrap();
    let mut found = BTreeMap::new();
    for (ordinal, ..) in cluster.rows.iter().filter(|(_, _, interval, _)| *interval == 0) {
        *found.entry(*ordinal).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billing_goes_first_then_events_then_registers_then_what_is_missing() {
    let field = simulator::config::Config {
        meters: 6,
        history: Duration::from_secs(40 * 86_400),
        plc_delay: Duration::from_millis(5),
        ..refill::field()
    };
    // A day of two meters was lost on its way.
    let street = Street::prepare(field, refill::config(), |cluster, from_s| {
        quiet(cluster);
        for ordinal in [2, 4] {
            cluster.lose.push((ordinal, from_s, from_s + 40 * 86_400));
        }
    })
    .await;
    let pushed = 4 * 40 * 96;
    street.wait("the concentrator pushes", |street| street.rows() >= pushed).await;
    let before = street.rows();
    {
        let mut cluster = street.house.cluster.lock().unwrap();
        cluster.lose.clear();
        // Nothing is begun before all of them stand.
        cluster.set(parameters::TASK_DEVICES, 0);
        let reach_s = 2 * DAY_S;
        cluster.task("missing", rule(What::Load { profile: None, reach_s }));
        cluster.task("daily", rule(registers()));
        let reach_s = 60 * DAY_S;
        cluster.task("log", rule(What::Events { logs: vec![EVENTS], reach_s }));
        cluster.task("bills", rule(What::Billing { profile: Some(BILLING), reach_s }));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(street.house.cluster.lock().unwrap().reports.is_empty(), "tasks are switched off");
    {
        let mut cluster = street.house.cluster.lock().unwrap();
        let change = parameters::Change::Set {
            name: parameters::TASK_DEVICES.to_owned(),
            value: 1,
            from: None,
            seen: 1,
            reason: "a test".to_owned(),
        };
        let admin = domain::Author::Operator("admin".to_owned());
        cluster.propose(admin, domain::Change::Parameters(change)).unwrap();
    }
    for name in ["bills", "log", "daily", "missing"] {
        street.wait(name, |street| is_over(&street.house.cluster, name)).await;
    }
    all_came_in_order(&street, before);
    // A second run finds no bill that it has not read.
    {
        let mut cluster = street.house.cluster.lock().unwrap();
        let reach_s = 60 * DAY_S;
        cluster.task("again", rule(What::Billing { profile: Some(BILLING), reach_s }));
    }
    street.wait("again", |street| is_over(&street.house.cluster, "again")).await;
    let again = street.house.cluster.lock().unwrap().run("again");
    assert_eq!((again.done, again.rows), (6, 0), "{again:?}");
    street.stop().await;
}

/// Every run is complete, in the order of what it reads, and nothing was read that was there.
fn all_came_in_order(street: &Street, before: usize) {
    let cluster = street.house.cluster.lock().unwrap();
    let mut order: Vec<&str> = cluster.reports.iter().map(|one| one.name.as_str()).collect();
    order.dedup();
    assert_eq!(order, ["bills", "log", "daily", "missing"]);
    for name in order {
        let run = cluster.run(name);
        assert_eq!((run.meters, run.done, run.failed), (6, 6, 0), "{name}: {run:?}");
        assert_eq!(run.ended.map(|(_, how)| how), Some(Ending::Complete));
    }
    // Two meters lacked two days; the others nothing, so of them nothing was fetched.
    let missing: Vec<_> = cluster.rows[before..].iter().filter(|row| row.2 == 15).collect();
    let reached = 2 * 96;
    assert!((2 * (reached - 1)..=2 * reached).contains(&missing.len()), "{}", missing.len());
    assert!(missing.iter().all(|row| [2, 4].contains(&row.0)));
    let once: BTreeSet<(u32, i64)> = missing.iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(once.len(), missing.len(), "nothing came twice");
    // Every meter was billed for the month that ended within the history.
    let bills = cluster.run("bills");
    assert!(bills.rows >= 6, "{bills:?}");
    for ordinal in 1..=6 {
        let series = domain::readings::series_of(&cluster.view, ordinal - 1, 0).unwrap();
        assert!(series.iter().any(|one| one.obis == Obis::ACTIVE_IMPORT), "{ordinal}");
        let read = domain::tasks::read_until_s(&cluster.view, ordinal - 1, BILLING).unwrap();
        assert!(read.is_some(), "{ordinal}");
    }
    let logged = domain::readings::series_of(&cluster.view, 0, 0).unwrap();
    let has_codes = logged.iter().any(|one| one.obis == CODE);
    assert_eq!(has_codes, cluster.run("log").rows > 0, "{logged:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_on_demand_does_not_wait_for_a_task() {
    let field = simulator::config::Config {
        meters: 200,
        history: Duration::from_secs(7_200),
        plc_delay: Duration::from_millis(20),
        ..refill::field()
    };
    let config = Config { reads_in_flight_per_channel: 2, ..refill::config() };
    let street = Street::prepare(field, config, |cluster, _| quiet(cluster)).await;
    street.wait("the concentrator pushes", |street| street.rows() >= 200 * 8).await;
    street.house.cluster.lock().unwrap().task("daily", rule(registers()));
    let device = Device::Concentrator(street.models[0].ldn.clone());
    let mut overtaken = 0;
    for part in 1..6_u32 {
        let done = |street: &Street| street.house.cluster.lock().unwrap().run("daily").done;
        street.wait("meters are read", |street| done(street) > 30 * part).await;
        let serial = &street.models[0].meters[199].serial;
        let (before, deadline) = (done(&street), Instant::now() + Duration::from_secs(60));
        let answer = street.house.gateway.read(&device, serial, vec![IMPORT], deadline).await;
        assert!(answer.is_ok(), "{answer:?}");
        overtaken += u32::from(before < 200);
    }
    assert!(overtaken >= 4, "the task was over too soon: nobody read meanwhile");
    street.wait("the run ends", |street| is_over(&street.house.cluster, "daily")).await;
    let run = street.house.cluster.lock().unwrap().run("daily");
    assert_eq!((run.done, run.failed, run.rows), (200, 0, 200), "{run:?}");
    assert!(readings(&street.house.cluster).values().all(|count| *count == 1));
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_views_without_a_pause_starve_neither_a_task_nor_who_reads_on_demand() {
    let field = simulator::config::Config {
        meters: 120,
        history: Duration::from_secs(7_200),
        plc_delay: Duration::from_millis(20),
        ..refill::field()
    };
    let config = Config { reads_in_flight_per_channel: 2, ..refill::config() };
    let street = Street::prepare(field, config, |cluster, _| quiet(cluster)).await;
    street.wait("the concentrator pushes", |street| street.rows() >= 120 * 8).await;
    let device = Device::Concentrator(street.models[0].ldn.clone());
    let active = |street: &Street| street.house.gateway.channels().iter().find_map(|c| c.epoch);
    let epoch = active(&street).unwrap();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let look = |nth: usize| {
        let (gateway, device) = (street.house.gateway.clone(), device.clone());
        let (serial, over) = (street.models[0].meters[nth].serial.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut rounds = 0_u32;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let deadline = Instant::now() + Duration::from_secs(30);
                let read = gateway.look(&device, &serial, vec![IMPORT], epoch, deadline).await;
                assert!(read.is_ok(), "{read:?}");
                rounds += 1;
            }
            rounds
        })
    };
    let looks: Vec<_> = [100, 110, 119].map(look).into_iter().collect();
    street.house.cluster.lock().unwrap().task("daily", rule(registers()));
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    while !is_over(&street.house.cluster, "daily") {
        let (asked, serial) = (Instant::now(), &street.models[0].meters[90].serial);
        let deadline = asked + Duration::from_secs(30);
        let answer = street.house.gateway.read(&device, serial, vec![IMPORT], deadline).await;
        assert!(answer.is_ok(), "{answer:?}");
        slowest = slowest.max(asked.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(120), "the task is starved");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = begun.elapsed();
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut rounds = Vec::new();
    for look in looks {
        rounds.push(look.await.unwrap());
    }
    println!("the task took {took:?}, rounds {rounds:?}, on demand at most {slowest:?}");
    let run = street.house.cluster.lock().unwrap().run("daily");
    assert_eq!((run.done, run.failed), (120, 0), "{run:?}");
    assert!(rounds.iter().all(|rounds| *rounds > 5), "a view is starved: {rounds:?}");
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_devices_are_read_at_a_time_than_is_allowed() {
    let field = simulator::config::Config {
        concentrators: 5,
        meters: 4,
        history: Duration::from_secs(3_600),
        plc_delay: Duration::from_millis(20),
        ..refill::field()
    };
    let street = Street::prepare(field, refill::config(), |cluster, _| {
        quiet(cluster);
        cluster.set(parameters::TASK_DEVICES, 2);
        cluster.set(parameters::TASK_READS, 1);
    })
    .await;
    let active = |street: &Street| {
        let channels = street.house.gateway.channels();
        channels.iter().filter(|one| one.role == ChannelRole::Active).count()
    };
    street.wait("all are active", |street| active(street) == 5).await;
    street.house.cluster.lock().unwrap().task("daily", rule(registers()));
    let mut most = 0.0_f64;
    let until = Instant::now() + Duration::from_secs(120);
    while !is_over(&street.house.cluster, "daily") {
        assert!(Instant::now() < until, "the run does not end");
        most = most.max(street.house.metric("holdfast_gateway_task_devices", ""));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(most > 0.0 && most <= 2.0, "{most} devices at a time");
    let run = street.house.cluster.lock().unwrap().run("daily");
    assert_eq!((run.done, run.failed), (20, 0));
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_that_never_answers_is_tried_again_and_given_up() {
    let field = simulator::config::Config {
        meters: 3,
        history: Duration::from_secs(3_600),
        faults: vec!["dead-meters:1".parse().unwrap()],
        ..refill::field()
    };
    let config = Config { meter_timeout_ms: 300, ..refill::config() };
    let street = Street::prepare(field, config, |cluster, _| quiet(cluster)).await;
    street.house.cluster.lock().unwrap().task("daily", rule(registers()));
    street.wait("they are given up", |street| is_over(&street.house.cluster, "daily")).await;
    let run = street.house.cluster.lock().unwrap().run("daily");
    assert_eq!((run.done, run.failed, run.retries), (0, 3, 6), "{run:?}");
    assert_eq!(run.reasons, [(Reason::NoAnswer, 3)]);
    // Two pauses of a second less a quarter at most lie between the three attempts.
    let asked = street.running.tally().get(Count::MeterRequests);
    let looks = || street.house.metric("holdfast_gateway_task_reads_total", "no_answer");
    assert_eq!(looks(), 9.0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(street.running.tally().get(Count::MeterRequests), asked, "asked again");
    street.stop().await;
}

/// Two of a hundred are silent, for longer than the test lasts: the others are read meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_meters_hold_nobody_back() {
    let field = simulator::config::Config {
        meters: 100,
        history: Duration::from_secs(3_600),
        faults: vec!["dead-meters:0.02".parse().unwrap()],
        ..refill::field()
    };
    let config = Config { meter_timeout_ms: 600_000, ..refill::config() };
    let config = Config { task_read_timeout_ms: 600_000, ..config };
    let config = Config { reads_in_flight_per_channel: 9, meters_open_per_channel: 32, ..config };
    let street = Street::prepare(field, config, |cluster, _| {
        quiet(cluster);
        cluster.set(parameters::TASK_READS, 8);
    })
    .await;
    street.house.cluster.lock().unwrap().task("daily", rule(registers()));
    let run = |street: &Street| street.house.cluster.lock().unwrap().run("daily");
    street.wait("the others are read", |street| run(street).done >= 93).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let run = run(&street);
    assert!(run.ended.is_none() && run.failed == 0 && run.done < 100, "{run:?}");
    assert!(readings(&street.house.cluster).values().all(|count| *count == 1), "read twice");
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialled_meters_are_read_for_tasks_too() {
    let config = Config { profile_every_s: 86_400, registers_every_s: 86_400, ..refill::config() };
    let street =
        Field::start(&simulator::config::Config { direct: 2, ..crate::field::street() }, config)
            .await;
    street.house.cluster.lock().unwrap().set(parameters::REFILL_REACH, 0);
    for meter in street.meters() {
        street.dial(&meter, |_| {}).await;
    }
    let cluster = &street.house.cluster;
    let reach_s = 40 * DAY_S;
    cluster.lock().unwrap().task("bills", rule(What::Billing { profile: Some(BILLING), reach_s }));
    let moment = What::Instantaneous { registers: Vec::new() };
    cluster.lock().unwrap().task("moment", rule(moment));
    eventually("both runs end", || is_over(cluster, "bills") && is_over(cluster, "moment")).await;
    {
        let cluster = cluster.lock().unwrap();
        for name in ["bills", "moment"] {
            let run = cluster.run(name);
            assert!(run.done == 2 && run.failed == 0 && run.rows >= 2, "{name}: {run:?}");
        }
        let voltage = Obis([1, 0, 32, 7, 0, 255]);
        let series = domain::readings::series_of(&cluster.view, 0, 0).unwrap();
        assert!(series.iter().any(|one| one.obis == voltage), "{series:?}");
    }
    street.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_are_measured_of_meters_and_of_their_concentrator() {
    let field = simulator::config::Config {
        meters: 6,
        history: Duration::from_secs(3_600),
        // Every clock of a meter is 37 seconds ahead.
        faults: vec!["clock-skew:1".parse().unwrap()],
        ..refill::field()
    };
    let street = Street::prepare(field, refill::config(), |cluster, _| quiet(cluster)).await;
    street.house.cluster.lock().unwrap().task("clocks", rule(What::Clock));
    street.wait("the run ends", |street| is_over(&street.house.cluster, "clocks")).await;
    let (offsets, own) = {
        let cluster = street.house.cluster.lock().unwrap();
        let run = cluster.run("clocks");
        assert_eq!((run.done, run.failed, run.rows), (6, 0, 6), "{run:?}");
        // The street's own pushes have no place in slots either, by such clocks.
        let batches = cluster.reports.iter().flat_map(|report| &report.part.batches);
        let clocks = batches.filter(|batch| batch.registers()[0].obis == CLOCK);
        let offset = |batch: &domain::readings::Batch| {
            let rows = batch.rows().unwrap();
            rows.iter().map(|row| row.values[0].unwrap()).collect::<Vec<i64>>()
        };
        let offsets: Vec<i64> = clocks.flat_map(offset).collect();
        let task = domain::tasks::task(&cluster.view, "clocks").unwrap().unwrap();
        (offsets, domain::tasks::clocks(&cluster.view, &task, None, 10).unwrap())
    };
    // A clock shows whole seconds, and a busy machine's round trip is not the same both ways.
    let is_ahead = |offset_ms: &i64| (34_000..40_000).contains(offset_ms);
    assert!(offsets.len() == 6 && offsets.iter().all(is_ahead), "{offsets:?}");
    let is_right = |offset_ms: i64| offset_ms.abs() < 3_000;
    assert!(
        matches!(own.as_slice(), [(device, _, offset_ms)]
            if device.name() == street.models[0].ldn && is_right(*offset_ms)),
        "{own:?}"
    );
    street.stop().await;
}

/// Two nodes and a slow street of one concentrator that dials both.
async fn two_nodes(cluster: &Arc<Mutex<Cluster>>) -> (House, House, Running) {
    let config = || Config { task_look_ms: 20, ..Config::for_test() };
    let one = join(Arc::clone(cluster), NodeId(1), config(), None).await;
    let two = join(Arc::clone(cluster), NodeId(2), config(), None).await;
    let field = simulator::config::Config {
        head_ends: [&one, &two].map(|house| house.gateway.address().to_string()).to_vec(),
        meters: 100,
        seed: 42,
        history: Duration::from_secs(3_600),
        heartbeat: Duration::from_millis(100),
        outages: simulator::field::Outages::Never,
        plc_delay: Duration::from_millis(20),
        ..simulator::config::Config::default()
    };
    let running = Running::start(&field).await.unwrap();
    pair::register_concentrators(cluster, running.registry());
    pair::register_meters(cluster, running.registry());
    quiet(&mut cluster.lock().unwrap());
    (one, two, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_in_the_middle_leaves_the_rest_to_the_other() {
    let cluster = pair::cluster();
    let (one, two, running) = two_nodes(&cluster).await;
    let channels = || [one.gateway.channels(), two.gateway.channels()].concat();
    let has = |role| channels().iter().any(|one| one.role == role);
    eventually("main and standby", || has(ChannelRole::Active) && has(ChannelRole::Standby)).await;
    cluster.lock().unwrap().set(parameters::TASK_READS, 1);
    cluster.lock().unwrap().task("daily", rule(registers()));
    let done = || cluster.lock().unwrap().run("daily").done;
    eventually("some meters are reported", || done() > 0).await;
    let is_first = one.gateway.channels().iter().any(|own| own.role == ChannelRole::Active);
    let (stopped, other) = if is_first { (&one, &two) } else { (&two, &one) };
    stopped.gateway.suspend();
    stopped.gateway.stop(Duration::from_secs(5)).await;
    let settled = done();
    assert!(settled < 100, "nothing was left for the other one");
    eventually("the other one ends the run", || is_over(&cluster, "daily")).await;
    let run = cluster.lock().unwrap().run("daily");
    assert_eq!((run.done, run.failed, run.meters), (100, 0, 100), "{run:?}");
    // What was reported was not read again: one reading of every meter, however often it was asked.
    let found = readings(&cluster);
    assert_eq!(found.len(), 100);
    assert!(found.values().all(|count| *count == 1), "{found:?}, {settled} before");
    let rows = other.metric("holdfast_gateway_task_rows_total", "registers");
    assert_eq!(rows, f64::from(100 - settled), "{settled} before");
    other.gateway.stop(Duration::from_secs(5)).await;
    running.kill().await;
}
