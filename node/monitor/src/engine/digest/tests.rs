//! Stories of storms: many incidents at once are one message, few are one each.

use std::path::Path;
use std::sync::Arc;

use crate::config::{self, Severity};
use crate::engine::{Alarm, Engine, Job, Outcome, Stage, Standing};

const HOUSE: &str = r#"
state_dir = "state"
[http]
public_url = "https://m1"
[cluster]
urls = ["http://127.0.0.1:1"]
token_file = "t"
[[alarm]]
name = "outage"
kinds = ["power_down"]
cleared_by = ["power_up"]
severity = "critical"
policy = "duty"
for = "@FOR@"
[[alarm]]
name = "cover"
kinds = ["cover"]
severity = "warning"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna", "boris"]
repeat = "30m"
[[contact]]
name = "anna"
[[contact.way]]
channel = "a"
to = "+34600111222"
min_severity = "critical"
[[contact.way]]
channel = "b"
[[contact]]
name = "boris"
language = "ru"
min_severity = "critical"
[[contact.way]]
channel = "b"
[[channel]]
name = "a"
kind = "modem"
device = "/dev/null"
[[channel]]
name = "b"
kind = "webhook"
url = "http://127.0.0.1:9/"
"#;

const START: i64 = 1_795_431_600_000;

struct House {
    engine: Engine,
    now: i64,
    place: u64,
}

impl House {
    fn new(hold: &str) -> House {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t"), "t").unwrap();
        let text = HOUSE.replace("@FOR@", hold);
        let config = Arc::new(config::read(&text, Path::new(folder.path())).unwrap());
        let random = |octets: &mut [u8]| getrandom::fill(octets).unwrap();
        let mut engine = Engine::new(config, Box::new(random), START).unwrap();
        engine.set_standing(Standing::Sender, START);
        House { engine, now: START, place: 0 }
    }

    /// An event of a meter of each of these transformers.
    fn events(&mut self, kind: &str, transformers: std::ops::Range<u64>) {
        let mut alarms = Vec::new();
        for nth in transformers {
            self.place += 1;
            alarms.push(Alarm {
                place: self.place,
                meter: format!("M{nth}"),
                concentrator: "C1".into(),
                group: format!("T-{nth:03}"),
                region: String::new(),
                kind: kind.into(),
                severity: Severity::Warning,
                time: "2026-11-23T11:00:00Z".into(),
            });
        }
        self.engine.observe_alarms(&alarms, self.place, self.now);
    }

    /// So many seconds go by; what went, each handed over.
    fn pass(&mut self, seconds: i64) -> Vec<Job> {
        let mut gone = Vec::new();
        for _ in 0..seconds {
            self.now += 1_000;
            self.engine.tick(self.now);
            while let jobs = self.engine.take_jobs(self.now)
                && !jobs.is_empty()
            {
                for job in jobs {
                    self.engine.settle(job.id, Outcome::Sent(Vec::new()), self.now);
                    gone.push(job);
                }
            }
        }
        gone
    }

    fn open(&self) -> usize {
        self.engine.incidents().filter(|one| one.state.word() == "firing").count()
    }
}

#[test]
fn two_hundred_transformers_that_fail_within_ten_seconds_are_one_message_each_contact() {
    let mut house = House::new("30s");
    for second in 0..10 {
        house.events("power_down", second * 20..second * 20 + 20);
        assert!(house.pass(1).is_empty());
    }
    let told = house.pass(60);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(house.open(), 200);
    let of = |channel: &str| told.iter().find(|job| job.channel == channel).unwrap();
    let (sms, web) = (of("a"), of("b"));
    let head = "ALARMS critical: 200 incidents\n#1 outage T-000: power_down M0";
    assert!(sms.sms.starts_with(head) && sms.sms.contains("\n(+195)\n"), "{}", sms.sms);
    assert!(web.sms.starts_with("ТРЕВОГИ критическая: 200 событий"), "{}", web.sms);
    assert_eq!((sms.marks.len(), web.marks.len()), (200, 200));
    assert_eq!(sms.facts["incidents"].as_array().unwrap().len(), 200);
    // All have power again, over ten seconds: one message each.
    for second in 0..10 {
        house.events("power_up", second * 20..second * 20 + 20);
        assert!(house.pass(1).len() <= 2);
    }
    house.pass(20);
    let over = house.engine.messages().filter(|one| one.kind.is_over());
    let over: Vec<usize> = over.map(|one| one.incidents().count()).collect();
    assert!(over.len() <= 4 && over.iter().sum::<usize>() == 400, "{over:?}");
    assert_eq!(house.open(), 0);
}

#[test]
fn the_code_of_a_storm_acknowledges_all_of_it_and_so_does_its_link() {
    for by_link in [false, true] {
        let mut house = House::new("0s");
        house.events("power_down", 0..12);
        let told = house.pass(30);
        assert_eq!(told.len(), 2, "{told:?}");
        let storm = house.engine.messages().find(|one| one.contact == "anna").unwrap();
        let (code, token) = (storm.code.clone(), storm.token.clone());
        assert!(storm.sms.contains(&code) && storm.mail.contains(&token));
        if by_link {
            let (incidents, _) = house.engine.by_token(&token).unwrap();
            let numbers: Vec<u64> = incidents.iter().map(|one| one.number).collect();
            assert_eq!(numbers.len(), 12);
            numbers.iter().for_each(|one| house.engine.acknowledge(*one, "anna", None).unwrap());
        } else {
            assert_eq!(house.engine.answer("+34999999999", &code), None, "nobody's number");
            assert_eq!(house.engine.answer("+34600111222", &format!("ok {code}")), Some(1));
        }
        assert_eq!(house.open(), 0);
        assert!(house.pass(3_000).is_empty(), "nobody is told again");
    }
}

#[test]
fn few_are_told_one_by_one_and_more_within_a_minute_are_gathered() {
    let mut house = House::new("0s");
    house.events("power_down", 0..2);
    let first = house.pass(1);
    assert_eq!(first.len(), 4, "two incidents to two contacts: {first:?}");
    for nth in 2..40 {
        house.events("power_down", nth..nth + 1);
        house.pass(1);
    }
    house.pass(15);
    let anna = house.engine.messages().filter(|one| one.contact == "anna");
    let sizes: Vec<usize> = anna.map(|one| one.incidents().count()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 40, "each once: {sizes:?}");
    assert!(sizes.len() <= 10, "four by themselves, then one in ten seconds: {sizes:?}");
}

#[test]
fn incidents_of_other_ways_are_messages_of_their_own() {
    let mut house = House::new("0s");
    house.events("power_down", 0..6);
    house.events("cover", 10..16);
    house.pass(15);
    let of = |name: &str| -> Vec<(usize, usize)> {
        let own = house.engine.messages().filter(|one| one.contact == name);
        own.map(|one| (one.paths.len(), one.incidents().count())).collect()
    };
    let mut anna = of("anna");
    anna.sort_unstable();
    assert_eq!(anna, [(1, 6), (2, 6)], "warnings on the web alone");
    assert_eq!(of("boris"), [(1, 6)]);
}

#[test]
fn another_monitor_knows_each_incident_of_a_storm() {
    let mut teller = House::new("0s");
    let mut other = House::new("0s");
    other.engine.set_standing(Standing::Follower, START);
    for house in [&mut teller, &mut other] {
        house.events("power_down", 0..10);
    }
    let told = teller.pass(12);
    assert_eq!((told.len(), other.pass(12).len()), (2, 0));
    for job in &told {
        for mark in &job.marks {
            let kept = super::super::Kept { over: false, told: true, at: teller.now };
            other.engine.adopt(mark.clone(), kept, other.now);
        }
    }
    other.events("power_down", 10..12);
    other.engine.set_standing(Standing::Sender, other.now);
    let more = other.pass(15);
    let told: usize = more.iter().map(|job| job.marks.len()).sum();
    assert_eq!(told, 4, "the two new ones to two contacts: {more:?}");
    // One that was cut off in the middle comes again and says so.
    let mut third = House::new("0s");
    third.engine.set_standing(Standing::Follower, START);
    third.events("power_down", 0..10);
    third.pass(12);
    for mark in teller.engine.messages().flat_map(|one| one.marks().to_vec()) {
        let kept = super::super::Kept { over: false, told: false, at: third.now };
        third.engine.adopt(mark, kept, third.now);
    }
    third.engine.set_standing(Standing::Sender, third.now);
    let again = third.pass(15);
    assert!(again.len() == 2 && again.iter().all(|job| job.repeat), "{again:?}");
    assert!(third.engine.messages().all(|one| one.stage == Stage::Sent));
}
