//! Clocks that are shifted for a task, with the simulator's concentrator and meters: measured, set
//! right step by step, each step read back, and left alone where the rule says so.

use std::time::{Duration, Instant, SystemTime};

use domain::clocks::{self, Standing};
use domain::commands::{self, Command, Failure, Order};
use domain::tasks::{Rule, What, When, Whom};
use domain::{Author, Change, Device, leases, parameters};
use gateway::{Anchor, Outcome, Work};

use crate::refill::{self, Street};
use crate::support::NODE;

/// So many steps at the most: 37 s in steps of 10 are four of each meter, 11 s two.
const MOST_STEPS: usize = 40;

fn rule() -> Rule {
    let when = When {
        cron: String::new(),
        zone: "UTC".to_owned(),
        delay_s: 0,
        spread_s: 0,
        lasts_s: 3_600,
    };
    let (what, whom) = (What::ClockShift, Whom::All);
    Rule { what, whom, when, priority: 5, attempts: 3, backoff_s: 1, backoff_cap_s: 1 }
}

fn anchor() -> Anchor {
    let unix_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    Anchor { at: Instant::now(), unix_ms: unix_ms.try_into().unwrap() }
}

fn propose(street: &Street, change: Change) {
    let outcome = street.house.cluster.lock().unwrap().propose(Author::Node(NODE), change);
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// What the outbox of a node does for one command; what the device was found to be off by then.
async fn carry(street: &Street, command: &Command, epoch: u64) -> Result<(), Failure> {
    let of = |change| propose(street, Change::Commands(change));
    let id = command.id;
    of(commands::Change::Sent { id, node: NODE, epoch });
    let ask = |work| {
        let deadline = Instant::now() + Duration::from_secs(20);
        let (device, target) = (&command.device, &command.target);
        street.house.gateway.execute(device, target, work, Some(epoch), deadline)
    };
    let order = command.order.clone();
    match ask(Work::Act { order: order.clone(), anchor: anchor() }).await? {
        Outcome::Acted(before) => of(commands::Change::Acted { id, epoch, before }),
        other => panic!("{other:?}"),
    }
    let read = ask(Work::ReadBack { order, anchor: anchor(), since_s: 0 }).await?;
    of(commands::Change::Settle { id, epoch, result: Ok(read.into_reads()) });
    Ok(())
}

/// The next step that waits, ordered.
fn next_step(street: &Street) -> Option<(Command, u64)> {
    let target = {
        let cluster = street.house.cluster.lock().unwrap();
        clocks::waiting(&cluster.view, 1).unwrap().pop()?
    };
    propose(street, Change::Clocks(clocks::Change::Step { target }));
    let cluster = street.house.cluster.lock().unwrap();
    let device = Device::Concentrator(street.models[0].ldn.clone());
    let command = commands::outbox(&cluster.view, &device, 1).unwrap().pop()?;
    let lease = leases::holder(&cluster.view, &device, cluster.now()).unwrap().unwrap();
    Some((command, lease.epoch))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_of_meters_and_of_their_concentrator_are_shifted_step_by_step() {
    let field = simulator::config::Config {
        meters: 3,
        history: Duration::from_secs(3_600),
        // Meters are 37 s ahead, the concentrator 11 s behind.
        faults: ["clock-skew:1", "concentrator-skew:1"].map(|one| one.parse().unwrap()).to_vec(),
        ..refill::field()
    };
    let prepare = |cluster: &mut crate::support::Cluster, _| {
        cluster.set(parameters::REFILL_REACH, 0);
    };
    let street = Street::prepare(field, refill::config(), prepare).await;
    street.house.cluster.lock().unwrap().task("clocks", rule());
    let is_over =
        |street: &Street| street.house.cluster.lock().unwrap().run("clocks").ended.is_some();
    street.wait("the run ends", is_over).await;
    let counts = || clocks::counts(&street.house.cluster.lock().unwrap().view).unwrap();
    assert_eq!((counts().shifting, counts().ordered), (4, 0));

    // A step that was decided by another offset than the clock has is held back.
    let (command, epoch) = next_step(&street).expect("one waits");
    let Order::Shift { by_s, off_ms } = command.order else { panic!("{command:?}") };
    let stale = Order::Shift { by_s, off_ms: off_ms * 2 };
    let act = Work::Act { order: stale, anchor: anchor() };
    let deadline = Instant::now() + Duration::from_secs(20);
    let (device, target) = (&command.device, &command.target);
    let held = street.house.gateway.execute(device, target, act, Some(epoch), deadline).await;
    assert!(matches!(held, Err(Failure::Held(_))), "{held:?}");

    carry(&street, &command, epoch).await.unwrap();
    let mut steps = 1;
    while let Some((command, epoch)) = next_step(&street) {
        carry(&street, &command, epoch).await.unwrap();
        steps += 1;
        assert!(steps < MOST_STEPS, "it does not end");
    }
    let found = clocks::clocks(&street.house.cluster.lock().unwrap().view, None, 10).unwrap();
    assert_eq!(found.len(), 4);
    for (device, clock) in &found {
        assert_eq!(clock.standing, Standing::Right, "{device}: {clock:?}");
        assert!(clock.offset_ms.abs() <= 3_000, "{device}: {clock:?}");
        let by_s = if matches!(device, Device::Meter(_)) { 37 } else { 11 };
        assert!((by_s - 3..=by_s + 3).contains(&clock.spent_s), "{device}: {clock:?}");
    }
    let counts = counts();
    assert_eq!((counts.made, counts.failed), (steps as u64, 0), "{counts:?}");
    assert!(steps > 3 * 4, "in small steps: {steps} {found:?}");

    // A meter's interval in which that was is touched; a concentrator has none.
    let now_s = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let span = (now_s - 7_200, now_s + 3_600);
    let marks = clocks::marks(&street.house.cluster.lock().unwrap().view, 0, 15, span, None);
    let marks = marks.unwrap();
    assert!(marks.len() >= 4 && marks[0].touches(marks[0].to_s, 15), "{marks:?}");
    street.stop().await;
}
