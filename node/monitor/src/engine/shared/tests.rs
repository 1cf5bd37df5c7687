//! Stories of two monitors that share what people did, with a cluster between that is a list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::{self, RuleKind};
use crate::engine::{Engine, Share, Standing};
use crate::exposition::{self, Labels};
use crate::window::Window;

const HOUSE: &str = r#"
state_dir = "state"
[cluster]
urls = ["http://127.0.0.1:1"]
token_file = "t"
[[node]]
name = "n1"
url = "http://127.0.0.1:1/metrics"
[[rule]]
name = "lag"
expr = "lag > 5"
severity = "warning"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna"]
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

struct Town {
    monitors: [(Engine, Window); 2],
    /// Name, value: the last of a name counts.
    log: Vec<Share>,
    up: bool,
    now: i64,
}

fn monitor() -> (Engine, Window) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t"), "t").unwrap();
    let config = config::read(HOUSE, Path::new(folder.path())).unwrap();
    let random = |octets: &mut [u8]| getrandom::fill(octets).unwrap();
    let engine = Engine::new(Arc::new(config), Box::new(random), START).unwrap();
    (engine, Window::new(600_000))
}

impl Town {
    fn new() -> Town {
        let mut town =
            Town { monitors: [monitor(), monitor()], log: Vec::new(), up: true, now: START };
        town.monitors[0].0.set_standing(Standing::Sender, START);
        town
    }

    /// A second: both look, decide, and hand over what they have to share.
    fn pass(&mut self, seconds: i64, page: &str) {
        for _ in 0..seconds {
            self.now += 1_000;
            for (engine, window) in &mut self.monitors {
                window.put("n1", self.now, exposition::parse(page, |_| true).unwrap());
                engine.observe_rules(window, self.now);
                engine.tick(self.now);
                engine.take_jobs(self.now);
                if !self.up {
                    continue;
                }
                let waiting = engine.waiting_shares(50);
                self.log.extend(waiting.iter().cloned());
                engine.shares_done(&waiting, None);
                let place = usize::try_from(engine.shared_place()).unwrap();
                let news = self.log[place..].to_vec();
                engine.adopt_shares(news, self.log.len() as u64, None, self.now);
            }
        }
    }

    fn states(&self, alarm: &str) -> [&'static str; 2] {
        [0, 1].map(|nth: usize| {
            let found = self.monitors[nth].0.incidents().find(|one| one.alarm == alarm);
            found.map_or("none", |one| one.state.word())
        })
    }

    fn take(&mut self, nth: usize, by: &str) {
        let engine = &mut self.monitors[nth].0;
        let number = engine.incidents().find(|one| one.alarm == "lag").unwrap().number;
        engine.acknowledge(number, by, None).unwrap();
    }
}

#[test]
fn what_is_acknowledged_at_one_is_at_the_other_and_not_for_the_next_time() {
    let mut town = Town::new();
    town.pass(3, "lag 9\n");
    assert_eq!(town.states("lag"), ["firing"; 2]);
    // At the one that follows: the one that tells knows.
    town.take(1, "olga");
    town.pass(2, "lag 9\n");
    assert_eq!(town.states("lag"), ["acknowledged"; 2]);
    town.pass(60, "lag 1\n");
    assert_eq!(town.states("lag"), ["resolved"; 2]);
    town.pass(3, "lag 9\n");
    assert_eq!(town.states("lag"), ["firing"; 2], "a new one is told");
    assert!(town.monitors.iter().all(|(engine, _)| engine.waiting_shares(50).is_empty()));
}

#[test]
fn what_was_done_while_the_cluster_was_away_is_shared_when_it_is_back_over_a_restart() {
    let mut town = Town::new();
    town.pass(3, "lag 9\n");
    town.up = false;
    town.take(0, "olga");
    let labels = Labels::from([("alarm".to_owned(), "other".to_owned())]);
    town.monitors[0].0.silence(labels, "works", "olga", town.now + 3_600_000);
    town.pass(3, "lag 9\n");
    assert_eq!(town.states("lag"), ["acknowledged", "firing"]);
    let disk = town.monitors[0].0.take_writes();
    let disk: BTreeMap<String, Vec<u8>> =
        disk.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let (mut again, window) = monitor();
    assert!(again.restore(&disk, town.now).is_empty());
    town.monitors[0] = (again, window);
    town.up = true;
    town.pass(3, "lag 9\n");
    assert_eq!(town.states("lag"), ["acknowledged"; 2]);
    let silences: Vec<&str> =
        town.monitors[1].0.silences().map(|one| one.reason.as_str()).collect();
    assert_eq!(silences, ["works"]);
}

#[test]
fn a_silence_is_shared_and_whoever_ends_it_ends_it_for_both() {
    let mut town = Town::new();
    let labels = Labels::from([("alarm".to_owned(), "lag".to_owned())]);
    town.monitors[1].0.silence(labels, "works", "olga", town.now + 3_600_000);
    town.pass(3, "lag 9\n");
    assert_eq!(town.states("lag"), ["silenced"; 2]);
    let id = town.monitors[0].0.silences().next().unwrap().id;
    assert!(town.monitors[0].0.end_silence(id));
    town.pass(3, "lag 9\n");
    assert_eq!(town.states("lag"), ["firing"; 2]);
    assert_eq!(town.monitors[1].0.silences().count(), 0);
}

#[test]
fn a_rule_of_the_pages_holds_at_both_with_who_made_it() {
    let mut town = Town::new();
    let fields = [("expr", "heat > 7"), ("severity", "critical"), ("policy", "duty")];
    let fields = fields.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
    let edit = Engine::edit_of(RuleKind::Rule, "hot", fields, ("olga", "summer"), town.now);
    town.monitors[0].0.edit_rule(edit).unwrap();
    town.pass(3, "lag 1\nheat 9\n");
    assert_eq!(town.states("hot"), ["firing"; 2]);
    let last = town.monitors[1].0.rule_changes().next_back().unwrap();
    assert_eq!((last.by.as_str(), last.what.as_str()), ("olga", "added"));
    let now = town.now;
    assert!(town.monitors[1].0.remove_edit("hot", "igor", "autumn", now));
    town.pass(60, "lag 1\nheat 9\n");
    assert_eq!(town.states("hot"), ["resolved"; 2]);
    assert!(town.monitors.iter().all(|(engine, _)| engine.edits().is_empty()));
}

#[test]
fn who_opens_it_a_little_later_finds_it_taken_and_much_later_not() {
    for (late, wanted) in [(300, "acknowledged"), (900, "firing")] {
        let mut town = Town::new();
        town.pass(3, "lag 9\n");
        town.take(0, "olga");
        town.pass(1, "lag 9\n");
        let (log, now) = (town.log.clone(), town.now);
        let (mut fresh, mut window) = monitor();
        fresh.adopt_shares(log, 1, None, now);
        let now = now + late * 1_000;
        window.put("n1", now, exposition::parse("lag 9\n", |_| true).unwrap());
        fresh.observe_rules(&window, now);
        let state = fresh.incidents().find(|one| one.alarm == "lag").unwrap().state.word();
        assert_eq!(state, wanted, "{late} s later");
    }
}

#[test]
fn after_reading_anew_what_is_not_there_is_gone_but_for_our_own() {
    let mut town = Town::new();
    let labels = Labels::from([("alarm".to_owned(), "lag".to_owned())]);
    let until = town.now + 3_600_000;
    town.monitors[0].0.silence(labels.clone(), "shared", "olga", until);
    town.pass(2, "lag 1\n");
    town.up = false;
    town.monitors[1].0.silence(labels, "own", "igor", until);
    let now = town.now;
    let engine = &mut town.monitors[1].0;
    engine.adopt_shares(Vec::new(), 0, Some(&BTreeSet::new()), now);
    let left: Vec<&str> = engine.silences().map(|one| one.reason.as_str()).collect();
    assert_eq!(left, ["own"], "it is on its way to the cluster still");
}

#[test]
fn what_the_cluster_refuses_is_an_alarm() {
    let mut town = Town::new();
    town.up = false;
    let labels = Labels::from([("alarm".to_owned(), "lag".to_owned())]);
    town.monitors[0].0.silence(labels, "works", "olga", town.now + 3_600_000);
    let waiting = town.monitors[0].0.waiting_shares(50);
    assert_eq!(waiting.len(), 1);
    town.monitors[0].0.shares_done(&waiting, Some("shared_full".into()));
    town.pass(2, "lag 1\n");
    assert_eq!(town.states("sharing_failing"), ["firing", "none"]);
    assert_eq!(town.monitors[0].0.silences().count(), 1, "here it holds");
}
