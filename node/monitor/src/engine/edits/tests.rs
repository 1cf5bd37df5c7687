//! Stories of rules that people make while the monitor runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::{self, Edit, RuleKind};
use crate::engine::{Engine, Origin};
use crate::exposition;
use crate::window::Window;

const HOUSE: &str = r#"
state_dir = "state"
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

struct House {
    engine: Engine,
    window: Window,
    now: i64,
}

impl House {
    fn new() -> House {
        let config = config::read(HOUSE, Path::new("/tmp")).unwrap();
        let random = |octets: &mut [u8]| getrandom::fill(octets).unwrap();
        let engine = Engine::new(Arc::new(config), Box::new(random), START).unwrap();
        House { engine, window: Window::new(600_000), now: START }
    }

    fn pass(&mut self, seconds: i64, page: &str) {
        for _ in 0..seconds {
            self.now += 1_000;
            let samples = exposition::parse(page, |_| true).unwrap();
            self.window.put("n1", self.now, samples);
            self.engine.observe_rules(&self.window, self.now);
            self.engine.tick(self.now);
            self.engine.take_jobs(self.now);
        }
    }

    fn edit(&mut self, name: &str, fields: &[(&str, &str)], off: bool) -> Vec<String> {
        let fields = fields.iter().map(|(key, text)| ((*key).into(), (*text).into()));
        let fields: BTreeMap<String, String> = fields.collect();
        let who = ("olga", "because");
        let edit = Engine::edit_of(RuleKind::Rule, name, fields, who, self.now);
        let done = self.engine.edit_rule(Edit { off, ..edit });
        done.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    fn state(&self, alarm: &str) -> &'static str {
        let found = self.engine.incidents().find(|one| one.alarm == alarm);
        found.map_or("none", |one| one.state.word())
    }
}

const HOT: [(&str, &str); 5] = [
    ("expr", "heat > 70"),
    ("for", "5s"),
    ("severity", "critical"),
    ("policy", "duty"),
    ("group_by", "node, room"),
];

#[test]
fn a_rule_is_added_changed_switched_off_and_taken_away() {
    let mut house = House::new();
    assert_eq!(house.edit("hot", &HOT, false), Vec::<String>::new());
    assert_eq!(house.engine.origin("hot"), Origin::Pages);
    assert!(house.engine.wanted_metrics().contains("heat"), "it is read from now on");
    house.pass(10, "lag 9\nheat 80\n");
    assert_eq!((house.state("hot"), house.state("lag")), ("firing", "firing"));
    let hot = house.engine.config().rules.iter().find(|rule| rule.name == "hot").unwrap();
    assert_eq!(hot.group_by, ["node", "room"]);
    // The file's rule is changed: the pages win.
    let lag = [("expr", "lag > 20"), ("severity", "warning"), ("policy", "duty")];
    assert_eq!(house.edit("lag", &lag, false), Vec::<String>::new());
    assert_eq!(house.engine.origin("lag"), Origin::Changed);
    house.pass(60, "lag 9\nheat 80\n");
    assert_eq!((house.state("hot"), house.state("lag")), ("firing", "resolved"));
    // Off: what it had opened is over.
    assert_eq!(house.edit("hot", &HOT, true), Vec::<String>::new());
    house.pass(60, "lag 9\nheat 80\n");
    assert_eq!(house.state("hot"), "resolved");
    // Taken away: the file's is there again.
    assert!(house.engine.remove_edit("lag", "igor", "it was right", house.now));
    assert!(!house.engine.remove_edit("lag", "igor", "twice", house.now));
    house.pass(10, "lag 9\nheat 80\n");
    assert_eq!((house.engine.origin("lag"), house.state("lag")), (Origin::File, "firing"));
    // A rule of the file that is only switched off.
    assert_eq!(house.edit("lag", &[], true), Vec::<String>::new());
    house.pass(60, "lag 9\nheat 80\n");
    assert_eq!(house.state("lag"), "resolved");
    let told: Vec<String> = house
        .engine
        .rule_changes()
        .map(|one| format!("{} {} {}", one.by, one.name, one.what))
        .collect();
    let wanted =
        ["olga hot added", "olga lag changed", "olga hot off", "igor lag removed", "olga lag off"];
    assert_eq!(told, wanted);
    // All of it is there after a restart.
    let disk = house.engine.take_writes();
    let disk = disk.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let mut again = House::new();
    assert!(again.engine.restore(&disk, START).is_empty());
    assert_eq!(again.engine.edits().len(), 2);
    assert_eq!(again.engine.rule_changes().count(), 5);
    assert!(again.engine.config().rules.is_empty(), "both are off");
}

#[test]
fn what_the_file_would_refuse_is_refused_with_the_same_words() {
    let mut house = House::new();
    let with = |key: &'static str, text: &'static str| -> Vec<(&str, &str)> {
        let rest = HOT.iter().copied().filter(|(known, _)| *known != key);
        rest.chain([(key, text)]).collect()
    };
    for (fields, wanted) in [
        (with("expr", "heat >"), "rule \"hot\": expr:"),
        (with("policy", "night"), "rule \"hot\": there is no policy \"night\""),
        (with("for", "soon"), "rule \"hot\": \"soon\" is no time such as 10s"),
        (with("severity", "loud"), "rule \"hot\": unknown variant"),
        (with("summary", "{{ node"), "rule \"hot\": summary:"),
        (with("expr", "rate(heat[1d]) > 1"), "it looks further back than scrape.window"),
        (with("colour", "red"), "there is no key colour"),
        (Vec::new(), "nothing is said of it"),
    ] {
        let faults = house.edit("hot", &fields, false);
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted}: {faults:?}");
    }
    let faults = house.edit("a name", &HOT, false);
    assert!(faults[0].contains("a name is 1 to 64"), "{faults:?}");
    assert_eq!(house.engine.edits().len(), 0);
    assert_eq!(house.engine.rule_changes().count(), 0);
    assert!(house.engine.take_writes().iter().all(|(key, _)| !key.starts_with("edit/")));
}

#[test]
fn a_rule_that_this_file_does_not_bear_changes_nothing_and_is_an_alarm() {
    let mut house = House::new();
    let fields = HOT.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
    let mut edit = Engine::edit_of(RuleKind::Rule, "lag", fields, ("olga", "x"), START);
    edit.fields.insert("policy".into(), "of another house".into());
    house.engine.lay_edit(edit);
    house.pass(5, "lag 9\nheat 80\n");
    assert_eq!(house.state("lag"), "firing", "the file's holds");
    assert_eq!(house.state("rule_refused"), "firing");
    assert!(house.engine.edit_faults()["lag"].contains("of another house"));
}

#[test]
fn a_try_reads_metrics_and_changes_no_rule() {
    let mut house = House::new();
    let before = house.engine.metrics_revision();
    assert!(house.engine.want_metrics(["steam".to_owned()].into()));
    assert!(house.engine.metrics_revision() > before);
    assert!(!house.engine.want_metrics(["steam".to_owned(), "lag".to_owned()].into()));
    assert!(house.engine.take_writes().is_empty());
}
