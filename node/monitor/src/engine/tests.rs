//! Stories of incidents and messages, with time as an argument.

use std::path::Path;

use super::*;
use crate::config;
use crate::exposition;
use crate::sms::pdu::Status;
use crate::window::Window;

const HOUSE: &str = r#"
state_dir = "state"
zone = "Europe/Madrid"
name = "m1"

[[node]]
name = "n1"
url = "http://127.0.0.1:1/metrics"
[[node]]
name = "n2"
url = "http://127.0.0.1:2/metrics"

[[rule]]
name = "node_down"
expr = "up == 0"
for = "10s"
severity = "critical"
policy = "duty"
group_by = ["node"]
summary = "{{ node }} does not answer"

[[rule]]
name = "lag"
expr = "lag > 5"
severity = "warning"
policy = "office"

[[policy]]
name = "duty"
to = ["anna"]
repeat = "1h"
[[policy.escalate]]
after = "10m"
to = ["boris"]

[[policy]]
name = "office"
to = ["night"]
quiet = "22:00-07:00"

[[policy]]
name = "own"
to = ["boris"]

[own]
policy = "own"

[heartbeat]
at = "08:00"
to = ["anna"]

[[schedule]]
name = "night"
start = "2026-11-23T09:00"
shift_hours = 24
members = ["anna", "boris"]

[[contact]]
name = "anna"
tell = "all"
[[contact.way]]
channel = "sms"
to = "+34600111222"
[[contact.way]]
channel = "mail"
to = "anna@example.com"

[[contact]]
name = "boris"
language = "ru"
[[contact.way]]
channel = "sms"
to = "+79161234567"
[[contact.way]]
channel = "mail"
to = "boris@example.com"

[[channel]]
name = "sms"
kind = "modem"
device = "/dev/null"
[[channel]]
name = "mail"
kind = "smtp"
host = "localhost"
from = "m1@example.com"
"#;

/// 12:00 in Madrid on 23 November 2026.
const NOON: i64 = 1_795_431_600_000;

struct House {
    engine: Engine,
    window: Window,
    now: i64,
    disk: BTreeMap<String, Vec<u8>>,
    sent: Vec<Job>,
}

fn engine(now: i64) -> Engine {
    let config = Arc::new(config::read(HOUSE, Path::new("/")).unwrap());
    let mut next = 0_u8;
    let random: Random = Box::new(move |octets| {
        next = next.wrapping_add(41);
        octets.iter_mut().for_each(|octet| *octet = next);
    });
    Engine::new(config, random, now).unwrap()
}

impl House {
    fn new() -> House {
        let now = NOON;
        let window = Window::new(600_000);
        House { engine: engine(now), window, now, disk: BTreeMap::new(), sent: Vec::new() }
    }

    /// Seconds pass, a second at a time; the nodes are up or not, and the lag is so much.
    fn pass(&mut self, seconds: i64, up: [bool; 2], lag: u32) {
        for _ in 0..seconds {
            self.now += 1000;
            for (node, up) in ["n1", "n2"].into_iter().zip(up) {
                let page = format!("lag {lag}\n");
                match up {
                    true => {
                        let samples = exposition::parse(&page, |_| true).unwrap();
                        self.window.put(node, self.now, samples);
                    }
                    false => self.window.lost(node, self.now),
                }
            }
            self.engine.observe_rules(&self.window, self.now);
            self.turn();
        }
    }

    /// A turn; every message goes.
    fn turn(&mut self) {
        self.turn_with(|_| Outcome::Sent(vec![7]));
    }

    fn turn_with(&mut self, outcome: impl Fn(&Job) -> Outcome) {
        self.engine.tick(self.now);
        for job in self.engine.take_jobs(self.now) {
            let end = outcome(&job);
            if matches!(end, Outcome::Sent(_)) {
                self.sent.push(job.clone());
            }
            self.engine.settle(job.id, end, self.now);
        }
        for (key, value) in self.engine.take_writes() {
            match value {
                Some(value) => self.disk.insert(key, value),
                None => self.disk.remove(&key),
            };
        }
    }

    /// The process dies and another begins with what was durable.
    fn die(&mut self) {
        self.engine = engine(self.now);
        self.window = Window::new(600_000);
        assert_eq!(self.engine.restore(&self.disk, self.now), Vec::<String>::new());
    }

    /// What was sent since the last time: channel and first words.
    fn heard(&mut self) -> Vec<String> {
        let heard = std::mem::take(&mut self.sent).into_iter().map(|job| {
            let text = if job.channel == "sms" { job.sms } else { job.subject };
            let words: Vec<&str> = text.split([':', '.']).next().unwrap().split(' ').collect();
            format!("{} {}", job.to, words.join(" "))
        });
        let mut heard: Vec<String> = heard.collect();
        heard.sort();
        heard
    }

    fn state(&self, alarm: &str) -> &'static str {
        self.engine
            .incidents()
            .find(|one| one.alarm == alarm)
            .map_or("none", |one| one.state.word())
    }
}

const DOWN: [&str; 2] =
    ["+34600111222 ALARM critical node_down", "anna@example.com [ALARM] critical"];
const OVER: [&str; 2] =
    ["+34600111222 OVER critical node_down", "anna@example.com [OVER] critical"];

/// A house after its first day's heartbeat.
fn settled() -> House {
    let mut house = House::new();
    house.pass(30, [true, true], 0);
    house.heard();
    house
}

#[test]
fn a_node_goes_and_comes_one_message_each_way_and_one_recovery() {
    let mut house = settled();
    house.pass(10, [true, false], 0);
    assert_eq!(house.state("node_down"), "pending");
    assert!(house.heard().is_empty());
    house.pass(300, [true, false], 0);
    assert_eq!(house.heard(), DOWN);
    house.pass(300, [true, true], 0);
    assert_eq!(house.heard(), OVER);
    assert_eq!(house.state("node_down"), "resolved");
}

#[test]
fn a_short_gap_tells_nobody() {
    let mut house = settled();
    house.pass(9, [true, false], 0);
    house.pass(60, [true, true], 0);
    assert!(house.heard().is_empty());
}

#[test]
fn it_is_told_again_each_period_and_to_others_when_nobody_takes_it() {
    let mut house = settled();
    house.pass(2 * 3600, [true, false], 0);
    let heard = house.heard();
    let count = |word: &str| heard.iter().filter(|text| text.contains(word)).count();
    // Boris hears by escalation, on the first way alone; reminders of the first hour come to both.
    assert_eq!(count("ALARM"), 2, "{heard:?}");
    assert_eq!(count("ЭСКАЛАЦИЯ"), 1, "{heard:?}");
    assert_eq!((count("STILL"), count("ВСЁ")), (2, 1), "{heard:?}");
    house.pass(30, [true, true], 0);
    assert_eq!(house.heard().len(), 3, "all who heard hear that it is over");
}

#[test]
fn whoever_acknowledges_by_code_ends_the_reminders() {
    let mut house = settled();
    house.pass(20, [true, false], 0);
    let sms = house.sent.iter().find(|job| job.channel == "sms").unwrap();
    let code = sms.sms.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(code.len(), 5, "{}", sms.sms);
    assert_eq!(house.engine.answer("+34999999999", &code), None, "a stranger");
    assert_eq!(house.engine.answer("+34600111222", "no"), None);
    assert!(house.engine.answer("600111222", &format!("Ok {code}")).is_some());
    house.heard();
    house.pass(3 * 3600, [true, false], 0);
    assert_eq!(house.state("node_down"), "acknowledged");
    assert!(house.heard().is_empty());
    house.pass(30, [true, true], 0);
    assert_eq!(house.heard(), OVER);
}

#[test]
fn a_silence_holds_for_its_labels_and_its_time() {
    let mut house = settled();
    let labels = |value: &str| Labels::from([("node".to_owned(), value.to_owned())]);
    house.engine.silence(labels("n1"), "other node", "boris", house.now + 600_000);
    let id = house.engine.silence(labels("n2"), "works", "boris", house.now + 600_000);
    house.pass(300, [true, false], 0);
    assert_eq!(house.state("node_down"), "silenced");
    assert!(house.heard().is_empty());
    house.pass(310, [true, false], 0);
    assert_eq!(house.heard(), DOWN, "it is told when the silence ends");
    assert!(!house.engine.end_silence(id), "it is gone");
}

#[test]
fn quiet_hours_put_off_what_is_not_critical() {
    let mut house = settled();
    // 22:30: the warning waits, the critical one does not.
    house.now = NOON + 10 * 3_600_000 + 1_800_000;
    house.pass(600, [true, true], 9);
    house.heard();
    assert_eq!(house.state("lag"), "firing");
    house.pass(60, [true, false], 9);
    assert_eq!(house.heard(), DOWN);
    house.now = NOON + 19 * 3_600_000;
    house.pass(1, [true, false], 9);
    let heard = house.heard();
    assert!(heard.iter().any(|text| text.contains("warning lag")), "{heard:?}");
}

#[test]
fn a_death_at_any_moment_tells_once_or_marks_the_repeat() {
    for fatal in 0..60 {
        let mut house = settled();
        for second in 0..60 {
            house.pass(1, [true, false], 0);
            if second == fatal {
                house.die();
            }
        }
        assert_eq!(house.heard(), DOWN, "died after {fatal} s");
        for second in 0..60 {
            house.pass(1, [true, true], 0);
            if second == fatal {
                house.die();
            }
        }
        assert_eq!(house.heard(), OVER, "died after {fatal} s");
    }
}

#[test]
fn a_death_while_sending_repeats_and_says_so() {
    let mut house = settled();
    house.pass(9, [true, false], 0);
    house.now += 2000;
    house.window.lost("n2", house.now);
    house.engine.observe_rules(&house.window, house.now);
    house.engine.tick(house.now);
    assert_eq!(house.engine.take_jobs(house.now).len(), 2);
    for (key, value) in house.engine.take_writes() {
        house.disk.insert(key, value.unwrap());
    }
    house.die();
    house.turn();
    let sms = house.sent.iter().find(|job| job.channel == "sms").unwrap();
    assert!(sms.repeat && sms.sms.starts_with("(repeat) ALARM"), "{}", sms.sms);
    assert_eq!(house.sent.len(), 2);
}

#[test]
fn what_one_way_does_not_take_goes_the_next_and_the_failing_way_is_an_alarm() {
    let mut house = settled();
    house.engine.test_message("boris", house.now);
    house.heard();
    house.turn();
    house.heard();
    // The modem is unplugged; Boris is told of Anna's failing channel on his second way.
    let broken = |job: &Job| match job.channel.as_str() {
        "sms" => Outcome::Again("unplugged".into()),
        _ => Outcome::Sent(Vec::new()),
    };
    house.now += 11_000;
    house.window.lost("n2", house.now - 11_000);
    for _ in 0..120 {
        house.now += 1000;
        house.window.lost("n2", house.now);
        house.engine.observe_rules(&house.window, house.now);
        house.turn_with(broken);
    }
    let heard = house.heard();
    assert!(heard.contains(&"anna@example.com [ALARM] critical".to_owned()), "{heard:?}");
    assert!(heard.contains(&"boris@example.com [ТРЕВОГА] критическая".to_owned()), "{heard:?}");
    assert_eq!(house.state("channel_failing"), "firing");
    // Plugged in again: what waited arrives, and the alarm is over.
    for _ in 0..400 {
        house.now += 1000;
        house.turn();
    }
    let heard = house.heard();
    assert!(heard.contains(&DOWN[0].to_owned()), "{heard:?}");
    assert_eq!(house.state("channel_failing"), "resolved");
}

#[test]
fn over_never_comes_before_begun() {
    let mut house = settled();
    let closed = |_: &Job| Outcome::Again("closed".into());
    for second in 0..60 {
        house.now += 1000;
        match second < 30 {
            true => house.window.lost("n2", house.now),
            false => house.window.put("n2", house.now, Vec::new()),
        }
        house.engine.observe_rules(&house.window, house.now);
        house.turn_with(closed);
    }
    for _ in 0..1200 {
        house.now += 1000;
        house.turn();
    }
    let anna: Vec<String> = house
        .sent
        .iter()
        .filter(|job| job.to == "anna@example.com")
        .map(|job| job.subject.clone())
        .collect();
    assert!(anna[0].starts_with("[ALARM]") && anna[1].starts_with("[OVER]"), "{anna:?}");
    assert_eq!(anna.len(), 2, "{anna:?}");
}

#[test]
fn reports_make_a_message_delivered_or_send_it_the_next_way() {
    let mut house = settled();
    house.engine.test_message("anna", house.now);
    house.turn();
    let message = |house: &House, channel: &str| {
        let found = house
            .engine
            .messages()
            .rev()
            .find(|one| one.current().is_some_and(|path| path.channel == channel));
        found.map(|one| one.stage)
    };
    assert_eq!(message(&house, "sms"), Some(Stage::Sent));
    house.engine.report("sms", 9, "+34600111222", Status::Delivered, house.now);
    house.engine.report("sms", 7, "+34600999999", Status::Delivered, house.now);
    assert_eq!(message(&house, "sms"), Some(Stage::Sent), "not ours");
    house.engine.report("sms", 7, "600111222", Status::Trying, house.now);
    assert_eq!(message(&house, "sms"), Some(Stage::Sent));
    house.engine.report("sms", 7, "+34600111222", Status::Delivered, house.now);
    assert_eq!(message(&house, "sms"), Some(Stage::Delivered));
}

#[test]
fn a_flood_is_one_message() {
    let mut house = settled();
    house.engine.config = {
        let posted = "[alertmanager]\ntoken_file = \"Cargo.toml\"\npolicy = \"duty\"\n";
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = format!("{HOUSE}\n{posted}").replace("Cargo.toml", "tests/data/token");
        Arc::new(config::read(&text, folder).unwrap())
    };
    let alert = |nth: u32, firing| Alert {
        fingerprint: format!("{nth}"),
        firing,
        labels: Labels::from([("severity".to_owned(), "critical".to_owned())]),
        summary: format!("meter {nth} has no power"),
        runbook: String::new(),
    };
    let group = || Labels::from([("alertname".to_owned(), "power_down".to_owned())]);
    for firing in [true, false] {
        for part in 0..10 {
            let alerts = (part * 1000..(part + 1) * 1000).map(|nth| alert(nth, firing)).collect();
            house.engine.observe_alerts("g", group(), alerts, house.now);
            house.now += 1000;
            if part == 9 || !firing {
                house.turn();
            }
        }
        let mail = house.sent.iter().find(|job| job.channel == "mail").unwrap();
        assert!(mail.mail.contains("+9995"), "{}", mail.mail);
        assert_eq!(house.heard().len(), 2);
    }
    assert_eq!(house.state("power_down"), "resolved");
}

#[test]
fn who_takes_over_hears_what_is_open() {
    let mut house = settled();
    house.pass(30, [true, false], 0);
    house.engine.acknowledge(1, "anna", None).unwrap();
    house.heard();
    // 09:00 the next day: Boris.
    house.now = NOON + 21 * 3_600_000;
    house.pass(5, [true, false], 0);
    let heard = house.heard();
    assert!(heard.contains(&"+79161234567 Вы дежурите".to_owned()), "{heard:?}");
}

#[test]
fn the_heartbeat_comes_once_a_day() {
    let mut house = House::new();
    house.pass(100, [true, true], 0);
    house.die();
    house.pass(100, [true, true], 0);
    assert_eq!(house.heard().len(), 2, "once on each way of Anna");
    house.now += 86_400_000;
    house.pass(5, [true, true], 0);
    let heard = house.heard();
    assert_eq!(heard.iter().filter(|text| text.contains("m1")).count(), 2, "{heard:?}");
    assert_eq!(house.engine.last_heartbeat().map(|at| at > NOON + 86_400_000), Some(true));
}

#[test]
fn whoever_may_not_send_follows_and_tells_later() {
    let mut house = settled();
    house.engine.set_standing(Standing::Follower, house.now);
    house.pass(60, [true, false], 0);
    assert!(house.heard().is_empty());
    assert_eq!(house.state("node_down"), "firing");
    house.engine.set_standing(Standing::Sender, house.now);
    house.pass(2, [true, false], 0);
    assert_eq!(house.heard(), DOWN);
}

#[test]
fn records_that_cannot_be_read_are_named() {
    let mut engine = engine(NOON);
    let records = BTreeMap::from([
        ("incident/x".to_owned(), b"{".to_vec()),
        ("message/1".to_owned(), b"[]".to_vec()),
        ("other/1".to_owned(), Vec::new()),
        ("heartbeat/day".to_owned(), b"2026-11-23".to_vec()),
    ]);
    assert_eq!(engine.restore(&records, NOON), ["incident/x", "message/1", "other/1"]);
}
