//! Two monitors and a cluster that is a map: whatever moment the sender dies in, people hear once,
//! or twice with the second marked, and never not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Kept, Note, Standing};
use crate::config;
use crate::engine::{Engine, Job, Outcome};
use crate::exposition;
use crate::window::Window;

const HOUSE: &str = r#"
state_dir = "state"
[cluster]
urls = ["http://127.0.0.1:1"]
token_file = "Cargo.toml.token"
[[node]]
name = "n1"
url = "http://127.0.0.1:1/metrics"
[[rule]]
name = "node_down"
expr = "up == 0"
for = "2s"
severity = "critical"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna", "boris"]
repeat = "1h"
[[contact]]
name = "anna"
tell = "all"
[[contact.way]]
channel = "a"
[[contact.way]]
channel = "b"
[[contact]]
name = "boris"
[[contact.way]]
channel = "a"
[[channel]]
name = "a"
kind = "webhook"
url = "http://127.0.0.1:9/"
[[channel]]
name = "b"
kind = "webhook"
url = "http://127.0.0.1:9/"
"#;

const START: i64 = 1_795_431_600_000;

/// What has come to whom: contact's place and channel, kind, whether it was marked.
type Heard = Vec<(String, String, bool)>;

struct Monitor {
    engine: Engine,
    window: Window,
}

struct Town {
    monitors: [Monitor; 2],
    alive: [bool; 2],
    kept: BTreeMap<String, Kept>,
    up: bool,
    now: i64,
    heard: Heard,
    /// Steps until the sender dies: a step is each thing that it does with a message.
    fuse: Option<usize>,
}

fn engine() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Cargo.toml.token"), "t").unwrap();
    let config = Arc::new(config::read(HOUSE, Path::new(folder.path())).unwrap());
    let mut next = 0_u8;
    let random = move |octets: &mut [u8]| {
        next = next.wrapping_add(41);
        octets.iter_mut().for_each(|octet| *octet = next);
    };
    Engine::new(config, Box::new(random), START).unwrap()
}

impl Town {
    fn new() -> Town {
        let monitor = || Monitor { engine: engine(), window: Window::new(600_000) };
        let mut town = Town {
            monitors: [monitor(), monitor()],
            alive: [true, true],
            kept: BTreeMap::new(),
            up: true,
            now: START,
            heard: Vec::new(),
            fuse: None,
        };
        town.monitors[0].engine.set_standing(Standing::Sender, START);
        town.pass(30);
        town
    }

    fn pass(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.now += 1_000;
            for nth in 0..2 {
                if self.alive[nth] {
                    self.turn(nth);
                }
            }
        }
    }

    /// Whether the sender dies right here.
    fn burns(&mut self, nth: usize) -> bool {
        let Some(left) = self.fuse.filter(|_| nth == 0) else { return false };
        self.fuse = left.checked_sub(1);
        if left == 0 {
            self.alive[0] = false;
        }
        left == 0
    }

    fn turn(&mut self, nth: usize) {
        let (now, up) = (self.now, self.up);
        let Monitor { engine, window } = &mut self.monitors[nth];
        // Marks reach a monitor before anything that it decides with them.
        for (mark, kept) in &self.kept {
            engine.adopt(mark.clone(), *kept, now);
        }
        match up {
            true => window.put("n1", now, exposition::parse("x 1\n", |_| true).unwrap()),
            false => window.lost("n1", now),
        }
        engine.observe_rules(window, now);
        engine.tick(now);
        let jobs = engine.take_jobs(now);
        drop(engine.take_writes());
        for job in jobs {
            self.send(nth, &job);
            if !self.alive[nth] {
                return;
            }
        }
    }

    /// Begun, sent, noted: the sender may die before and after each.
    fn send(&mut self, nth: usize, job: &Job) {
        if self.burns(nth) {
            return;
        }
        let mut note = |told| {
            let kept = Kept { over: job.over, told, at: self.now };
            self.kept.extend(job.marks.iter().map(|mark| (mark.clone(), kept)));
        };
        note(false);
        if self.burns(nth) {
            return;
        }
        let kind = job.subject.split(']').next().unwrap_or_default();
        let kind = kind.rsplit(['[', ' ']).next().unwrap_or_default().to_owned();
        self.heard.push((format!("{} {}", job.channel, job.mark), kind, job.repeat));
        if self.burns(nth) {
            return;
        }
        let engine = &mut self.monitors[nth].engine;
        engine.settle(job.id, Outcome::Sent(Vec::new()), self.now);
        for Note { mark, over } in engine.take_notes() {
            self.kept.insert(mark, Kept { over, told: true, at: self.now });
        }
    }

    /// The lease of the dead has ended.
    fn take_over(&mut self) {
        for (mark, kept) in &self.kept {
            self.monitors[1].engine.adopt(mark.clone(), *kept, self.now);
        }
        self.monitors[1].engine.set_standing(Standing::Sender, self.now);
    }

    /// How often each was heard, and how often without the mark.
    fn counts(&self, kind: &str) -> Vec<(usize, usize)> {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (to, _, repeat) in self.heard.iter().filter(|(_, its, _)| its == kind) {
            let count = counts.entry(to).or_default();
            count.0 += 1;
            count.1 += usize::from(!repeat);
        }
        counts.into_values().collect()
    }
}

#[test]
fn a_follower_says_nothing_while_the_sender_lives() {
    let mut town = Town::new();
    town.up = false;
    town.pass(100);
    town.up = true;
    town.pass(100);
    assert_eq!(town.counts("ALARM"), [(1, 1); 3]);
    assert_eq!(town.counts("OVER"), [(1, 1); 3]);
}

#[test]
fn wherever_the_sender_dies_all_hear_once_or_with_a_mark() {
    // Three messages of three steps each when it begins, and as many when it is over.
    for fuse in 0..18 {
        let mut town = Town::new();
        town.fuse = Some(fuse);
        town.up = false;
        town.pass(8);
        if !town.alive[0] {
            town.pass(10);
            town.take_over();
        }
        town.pass(100);
        town.up = true;
        town.pass(8);
        if fuse >= 9 {
            assert!(!town.alive[0], "the fuse of {fuse} steps has burnt");
            town.pass(10);
            town.take_over();
        }
        town.pass(100);
        for kind in ["ALARM", "OVER"] {
            let counts = town.counts(kind);
            assert_eq!(counts.len(), 3, "died at {fuse}: {kind} {counts:?}");
            // Unmarked at most once; twice only where the first was cut off behind its sending.
            assert!(
                counts.iter().all(|(all, plain)| *all <= 2 && *plain <= 1),
                "{fuse}: {counts:?}"
            );
            let twice = counts.iter().filter(|(all, _)| *all == 2).count();
            assert!(twice <= 1, "died at {fuse}: {kind} {counts:?}");
        }
    }
}

#[test]
fn a_reminder_comes_at_its_time_whoever_tells() {
    let mut town = Town::new();
    town.up = false;
    town.pass(1_800);
    town.alive[0] = false;
    town.take_over();
    town.pass(1_700);
    assert_eq!(town.counts("ALARM"), [(1, 1); 3], "before the hour");
    town.pass(200);
    let all = town.heard.len();
    assert_eq!(all, 6, "{:?}", town.heard);
}

#[test]
fn alone_everything_is_told_and_marked() {
    let mut town = Town::new();
    town.monitors[1].engine.set_standing(Standing::Alone, town.now);
    town.alive[0] = false;
    town.up = false;
    town.pass(100);
    assert_eq!(town.counts("ALARM"), [(1, 0); 3]);
    let silent = town.monitors[1].engine.incidents().any(|one| one.alarm == "cluster_silent");
    assert!(silent, "and that is an alarm itself");
}

#[test]
fn what_waits_here_and_was_told_there_goes_no_more() {
    let mut town = Town::new();
    town.alive[1] = false;
    town.up = false;
    town.pass(3);
    // The lease is lost before anything has left.
    let sender = &mut town.monitors[0].engine;
    let waiting: Vec<String> = sender.messages().map(|one| one.mark.clone()).collect();
    assert!(!waiting.is_empty());
    let heard = town.heard.len();
    let engine = &mut town.monitors[0].engine;
    engine.set_standing(Standing::Follower, town.now);
    for mark in waiting {
        let kept = Kept { over: false, told: true, at: town.now };
        town.kept.insert(mark, kept);
    }
    town.pass(5);
    town.monitors[0].engine.set_standing(Standing::Sender, town.now);
    town.pass(20);
    assert_eq!(town.heard.len(), heard, "{:?}", town.heard);
}
