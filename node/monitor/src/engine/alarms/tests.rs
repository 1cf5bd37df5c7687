//! Stories of alarms of the field: a storm, a flap, what clears and what ages.

use std::path::Path;
use std::sync::Arc;

use super::{Alarm, Counted};
use crate::config::{self, Severity};
use crate::engine::{Engine, Incident, Outcome};

const HOUSE: &str = r#"
state_dir = "state"
[cluster]
urls = ["http://127.0.0.1:1"]
token_file = "t"
[[alarm]]
name = "outage"
kinds = ["power_down"]
cleared_by = ["power_up"]
severity = "critical"
policy = "duty"
summary = "{{ meter }} has no power since {{ time }}"
[[alarm]]
name = "tamper"
at_least = "critical"
lasts = "10m"
policy = "duty"
group_by = ["meter"]
[[alarm]]
name = "flap"
kinds = ["power_down"]
cleared_by = ["power_up"]
regions = ["North"]
for = "30s"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna"]
repeat = "1h"
[[contact]]
name = "anna"
[[contact.way]]
channel = "a"
[[channel]]
name = "a"
kind = "webhook"
url = "http://127.0.0.1:9/"
"#;

const START: i64 = 1_795_431_600_000;

fn engine() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t"), "t").unwrap();
    let config = Arc::new(config::read(HOUSE, Path::new(folder.path())).unwrap());
    let random = |octets: &mut [u8]| getrandom::fill(octets).unwrap();
    let mut engine = Engine::new(config, Box::new(random), START).unwrap();
    engine.set_standing(super::super::Standing::Sender, START);
    engine
}

fn alarm(place: u64, meter: u64, group: u64, kind: &str) -> Alarm {
    Alarm {
        place,
        meter: format!("M{meter}"),
        concentrator: format!("C{group}"),
        group: format!("C{group}"),
        region: String::new(),
        kind: kind.into(),
        severity: Severity::Warning,
        time: "2026-11-23T11:00:00Z".into(),
    }
}

fn of<'e>(engine: &'e Engine, name: &str) -> Vec<&'e Incident> {
    engine.incidents().filter(|one| one.alarm == name).collect()
}

/// Messages that went, each handed over.
fn turn(engine: &mut Engine, now: i64) -> Vec<String> {
    engine.tick(now);
    let jobs = engine.take_jobs(now);
    for job in &jobs {
        engine.settle(job.id, Outcome::Sent(Vec::new()), now);
    }
    jobs.into_iter().map(|job| job.sms).collect()
}

#[test]
fn ten_thousand_meters_without_power_are_one_incident_a_group_and_one_message() {
    let mut engine = engine();
    let alarms: Vec<Alarm> =
        (1..=10_000).map(|place| alarm(place, place, place % 10, "power_down")).collect();
    let mut sent = Vec::new();
    let mut counted = 0;
    for (nth, page) in (0..).zip(alarms.chunks(1_000)) {
        let next = page.last().unwrap().place;
        let done = engine.observe_alarms(page, next, START + nth * 1_000);
        counted += done.taken;
        // The same page again, as after a restart between page and answer.
        assert_eq!(engine.observe_alarms(page, next, START), Counted::default());
        sent.extend(turn(&mut engine, START + nth * 1_000));
    }
    for second in 10..60 {
        sent.extend(turn(&mut engine, START + second * 1_000));
    }
    assert_eq!(counted, 10_000);
    let incidents = of(&engine, "outage");
    assert_eq!(incidents.len(), 10);
    let meters: usize = incidents.iter().map(|one| one.instances.len()).sum();
    assert_eq!(meters, 10_000, "none is lost");
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].starts_with("ALARMS critical: 10 incidents\n"), "{}", sent[0]);
    // Half of a group has power again: still open. All of it: over, told once.
    let up = |meters: &mut dyn Iterator<Item = u64>, from: u64| -> Vec<Alarm> {
        (from..).zip(meters).map(|(place, meter)| alarm(place, meter, 3, "power_up")).collect()
    };
    let half = up(&mut (0..500).map(|nth| 3 + 10 * nth), 10_001);
    assert_eq!(engine.observe_alarms(&half, 10_500, START + 60_000).cleared, 500);
    assert!(turn(&mut engine, START + 61_000).is_empty());
    let rest = up(&mut (500..1_000).map(|nth| 3 + 10 * nth), 10_501);
    engine.observe_alarms(&rest, 11_000, START + 62_000);
    // While nine others are open it is seen first whether they are over, too.
    assert!(turn(&mut engine, START + 63_000).is_empty());
    let over = turn(&mut engine, START + 74_000);
    assert!(over.len() == 1 && over[0].starts_with("OVER critical outage"), "{over:?}");
}

#[test]
fn a_flap_is_not_told_and_severity_and_region_choose() {
    let mut engine = engine();
    let north = |place, kind: &str| Alarm { region: "North".into(), ..alarm(place, 1, 1, kind) };
    engine.observe_alarms(&[north(1, "power_down")], 1, START);
    turn(&mut engine, START + 1_000);
    assert_eq!(of(&engine, "flap")[0].state.word(), "pending");
    engine.observe_alarms(&[north(2, "power_up")], 2, START + 5_000);
    turn(&mut engine, START + 60_000);
    assert!(of(&engine, "flap").is_empty());
    engine.observe_alarms(&[north(3, "power_down")], 3, START + 70_000);
    turn(&mut engine, START + 99_000);
    assert_eq!(of(&engine, "flap")[0].state.word(), "pending");
    turn(&mut engine, START + 101_000);
    assert_eq!(of(&engine, "flap")[0].state.word(), "firing");

    let open = Alarm { severity: Severity::Critical, ..alarm(4, 7, 1, "meter_cover_removed") };
    let counted = engine.observe_alarms(&[open, alarm(5, 8, 1, "battery_low")], 5, START);
    assert_eq!(counted, Counted { taken: 1, cleared: 0, passed: 1 });
    assert_eq!(of(&engine, "tamper").len(), 1);
}

#[test]
fn what_nothing_clears_ends_by_itself_and_the_place_is_kept() {
    let mut engine = engine();
    let open = Alarm { severity: Severity::Critical, ..alarm(9, 7, 1, "replay_attack") };
    engine.observe_alarms(&[open], 12, START);
    turn(&mut engine, START + 1_000);
    assert_eq!(of(&engine, "tamper")[0].state.word(), "firing");
    turn(&mut engine, START + 599_000);
    assert_eq!(of(&engine, "tamper")[0].state.word(), "firing");
    turn(&mut engine, START + 600_000);
    assert_eq!(of(&engine, "tamper")[0].state.word(), "resolved");
    let disk = engine.take_writes();
    let place =
        disk.iter().find(|(key, _)| key == "feed/place").and_then(|(_, value)| value.clone());
    assert_eq!(place.as_deref(), Some(&b"12"[..]));
    let disk = disk.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let mut again = self::engine();
    assert!(again.restore(&disk, START).is_empty());
    assert_eq!(again.feed_place(), Some(12));
    again.note_missed(3, START);
    turn(&mut again, START);
    assert_eq!(of(&again, "alarms_missed")[0].state.word(), "firing");
}
