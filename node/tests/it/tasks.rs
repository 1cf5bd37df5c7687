//! Collection tasks by command line and API, on a demo whose meters bring ten hours along: made,
//! run, paused, changed, removed; what was read is stored, and what makes no sense is refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{post, stderr};
use crate::values::{Demo, start};

const LIMIT: Duration = Duration::from_secs(120);

fn json_of(demo: &Demo, arguments: &[&str]) -> Value {
    let told = demo.cli(&[arguments, &["--json"]].concat());
    assert!(told.status.success(), "{arguments:?}: {}", stderr(&told));
    serde_json::from_slice(&told.stdout).unwrap()
}

fn code_of(demo: &Demo, arguments: &[&str]) -> (Option<i32>, String) {
    let told = demo.cli(arguments);
    (told.status.code(), stderr(&told))
}

/// Waits until the last run of a task has ended, and gives it.
fn run_of(demo: &Demo, name: &str) -> Value {
    let until = Instant::now() + LIMIT;
    loop {
        let body = demo.get(&format!("/api/v1/tasks/{name}"));
        if body["run"]["ended"].is_string() && !body["wanted"].as_bool().unwrap() {
            return body["run"].clone();
        }
        assert!(Instant::now() < until, "the run does not end: {body}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn registers_are_read_when_somebody_says_so(demo: &Demo) {
    let made = json_of(
        demo,
        &["task", "add", "daily", "--what", "registers", "--obis", "1-0:1.8.0", "--spread", "0"],
    );
    assert_eq!(
        (&made["version"], &made["next"], &made["run"]),
        (&json!(1), &json!(null), &json!(null))
    );
    json_of(demo, &["task", "run", "daily"]);
    let run = run_of(demo, "daily");
    assert_eq!(
        (&run["state"], &run["meters"], &run["done"]),
        (&json!("complete"), &json!(3), &json!(3))
    );
    assert_eq!((&run["left"], &run["failed"], &run["rows"]), (&json!(0), &json!(0), &json!(3)));
    let meters = demo.get("/api/v1/meters");
    for meter in meters["items"].as_array().unwrap() {
        let serial = meter["serial"].as_str().unwrap();
        let latest = demo.get(&format!("/api/v1/meters/{serial}/latest"));
        let latest = latest["values"].as_array().unwrap();
        let is_irregular = |one: &&Value| one["interval_minutes"] == 0;
        assert!(latest.iter().any(|one| is_irregular(&one)), "{latest:?}");
    }
    let failures = json_of(demo, &["task", "failures", "daily"]);
    assert_eq!(failures["items"], json!([]));
}

fn logs_and_bills_come_by_the_models(demo: &Demo) {
    json_of(demo, &["task", "add", "log", "--what", "events", "--spread", "0s"]);
    json_of(demo, &["task", "add", "bills", "--what", "billing", "--spread", "0s"]);
    json_of(demo, &["task", "add", "gaps", "--what", "load", "--reach", "10h", "--spread", "0s"]);
    for name in ["log", "bills", "gaps"] {
        json_of(demo, &["task", "run", name]);
        let run = run_of(demo, name);
        assert_eq!((&run["state"], &run["done"]), (&json!("complete"), &json!(3)), "{name}: {run}");
    }
    json_of(demo, &["task", "add", "clocks", "--what", "clock", "--spread", "0s"]);
    json_of(demo, &["task", "run", "clocks"]);
    let run = run_of(demo, "clocks");
    assert_eq!((&run["done"], &run["rows"]), (&json!(3), &json!(3)), "{run}");
    let clocks = json_of(demo, &["task", "clocks", "clocks"]);
    let clocks = clocks["items"].as_array().unwrap();
    assert_eq!(clocks.len(), 1, "{clocks:?}");
    let off: f64 = clocks[0]["offset_s"].as_str().unwrap().parse().unwrap();
    assert!(off.abs() < 5.0, "the simulator's clock is this machine's: {off}");
    let list = json_of(demo, &["task", "list"]);
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bills", "clocks", "daily", "gaps", "log"]);
}

/// An octet-string of 12 of a time in seconds UTC, as class 8 takes it, in hex.
fn date_time(at_s: i64) -> String {
    let (days, second) = (at_s.div_euclid(86_400), at_s.rem_euclid(86_400));
    // Days to a civil date, by years that begin in March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04x}{month:02x}{day:02x}ff{hour:02x}{minute:02x}{second:02x}00000000")
}

fn now_s() -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// Sets a meter's clock to so many seconds beside ours, behind the back of whoever keeps clocks.
fn put_off(demo: &Demo, serial: &str, by_s: i64) {
    let attribute = json!({"obis": "0-0:1.0.0", "class": 8, "attribute": 2});
    let value = json!({"hex": date_time(now_s() + by_s)});
    let order = json!({"kind": "write", "attribute": attribute, "value": value,
        "type": "octet-string"});
    let body = json!({"target": serial, "order": order});
    let made = post(demo.port, &demo.token, "/api/v1/commands", &body);
    assert_eq!(made.status, 202, "{}", made.body);
    let path = format!("/api/v1/commands/{}?wait=25", made.json()["id"].as_str().unwrap());
    // A clock goes on while it is read back, so what was written no longer stands there.
    let ended = demo.get(&path);
    assert!(ended["acknowledged"].is_string(), "{ended}");
}

fn clocks_that_are_off_are_shifted_or_set_and_what_that_touched_is_marked(demo: &Demo) {
    let meters = demo.get("/api/v1/meters");
    let serial = |at: usize| meters["items"][at]["serial"].as_str().unwrap().to_owned();
    let (drifted, far) = (serial(0), serial(1));
    put_off(demo, &drifted, 27);
    put_off(demo, &far, -2_400);
    json_of(demo, &["task", "add", "right", "--what", "clock_shift", "--spread", "0s"]);
    json_of(demo, &["task", "run", "right"]);
    let run = run_of(demo, "right");
    assert_eq!(run["done"], json!(3), "{run}");
    let until = Instant::now() + LIMIT;
    let clock = loop {
        let clock = json_of(demo, &["clock", "show", &drifted]);
        if clock["standing"] == "right" {
            break clock;
        }
        assert!(Instant::now() < until, "it is not right: {clock}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let shifts = clock["shifts"].as_array().unwrap();
    assert_eq!(shifts.len(), 3, "27 s in steps of 10: {clock}");
    assert!(shifts.iter().all(|shift| shift["by"] == "task right"), "{clock}");
    assert!((25..=29).contains(&clock["spent_s"].as_u64().unwrap()), "{clock}");
    // Forty minutes behind is nothing for a task, but for the feed of alarms and for a person.
    let beyond = json_of(demo, &["clock", "list", "--standing", "beyond_limit"]);
    assert_eq!((&beyond["items"][0]["device"], &beyond["items"][1]), (&json!(far), &json!(null)));
    let alarms = demo.get("/api/v1/alarms?after=0");
    let told = |alarm: &&Value| alarm["kind"] == "clock_beyond_limit" && alarm["meter"] == far;
    assert_eq!(alarms["items"].as_array().unwrap().iter().filter(told).count(), 1, "{alarms}");
    let stood_s = now_s() - 2_400;
    let set = demo.cli(&["meter", "clock", &far, "--set"]);
    assert!(set.status.success(), "{}", stderr(&set));
    let shown = demo.cli(&["clock", "show", &far]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("right") && shown.contains("-24"), "{shown}");
    // The interval in which it stood is stored already, and bears the mark with its value.
    let values = demo.get(&format!("/api/v1/meters/{far}/readings"));
    let values = values["values"].as_array().unwrap();
    let is_marked = |one: &&Value| one["quality"].as_str().unwrap().contains("clock_set");
    let marked: Vec<&Value> = values.iter().filter(is_marked).collect();
    assert!(!marked.is_empty() && marked.len() <= 2, "at {stood_s}: {values:?}");
    let (code, told) = code_of(demo, &["clock", "show", "NOBODY"]);
    assert!(code == Some(1) && told.contains("unknown_device"), "{code:?} {told}");
    let refused = demo.refused("/api/v1/clocks?standing=odd");
    assert_eq!(refused, (400, "bad_standing".to_owned()));
    json_of(demo, &["task", "list"]);
}

fn a_task_is_paused_changed_and_removed(demo: &Demo) {
    let paused = json_of(demo, &["task", "pause", "daily"]);
    assert_eq!(paused["state"], "paused");
    let (code, told) = code_of(demo, &["task", "run", "daily"]);
    assert!(code == Some(1) && told.contains("task_paused"), "{code:?} {told}");
    json_of(demo, &["task", "resume", "daily"]);
    let again = ["task", "add", "daily", "--what", "registers"];
    let (code, told) = code_of(demo, &again);
    assert!(code == Some(1) && told.contains("task_changed"), "{code:?} {told}");
    let (cron, zone) = (["--cron", "30 2 * * *"], ["--zone", "Europe/Berlin"]);
    let changed = json_of(demo, &[&again[..], &["--change"], &cron, &zone].concat());
    assert_eq!((&changed["version"], &changed["zone"]), (&json!(2), &json!("Europe/Berlin")));
    let next = changed["next"].as_str().unwrap();
    assert!(next.ends_with("T01:30:00Z") || next.ends_with("T00:30:00Z"), "{next}");
    let shown = json_of(demo, &["task", "show", "daily"]);
    assert_eq!(shown["runs"].as_array().unwrap().len(), 1, "{shown}");
    let text = demo.cli(&["task", "show", "daily"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("3 of 3 done") && text.contains("complete"), "{text}");
    let removed = demo.cli(&["task", "remove", "daily"]);
    assert!(removed.status.success(), "{}", stderr(&removed));
    let until = Instant::now() + LIMIT;
    while demo.refused("/api/v1/tasks/daily") != (404, "unknown_task".to_owned()) {
        assert!(Instant::now() < until, "it is not cleared away");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn what_makes_no_sense_is_refused(demo: &Demo) {
    for (body, status, code) in [
        (json!({"name": "x", "what": "weather"}), 400, "bad_task"),
        (json!({"name": "x", "what": "load", "registers": ["1-0:1.8.0"]}), 400, "bad_task"),
        (json!({"name": "x", "what": "registers", "registers": ["1.8"]}), 400, "bad_obis"),
        (json!({"name": "x", "what": "registers", "zone": "Mars/Olympus"}), 400, "bad_zone"),
        (json!({"name": "x", "what": "registers", "cron": "61 * * * *"}), 422, "bad_task"),
        (json!({"name": "x/y", "what": "registers"}), 422, "bad_task"),
        (json!({"name": "x", "what": "registers", "whom": {"meters": []}}), 422, "bad_task"),
        (json!({"name": "x", "what": "registers", "seen": 3}), 422, "task_changed"),
    ] {
        let answer = post(demo.port, &demo.token, "/api/v1/tasks", &body);
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{body}");
    }
    let answer = post(demo.port, &demo.token, "/api/v1/tasks/nobody/run", &json!({}));
    assert_eq!((answer.status, answer.code()), (404, "unknown_task".to_owned()));
}

#[test]
fn tasks_are_made_run_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path());
    registers_are_read_when_somebody_says_so(&demo);
    logs_and_bills_come_by_the_models(&demo);
    clocks_that_are_off_are_shifted_or_set_and_what_that_touched_is_marked(&demo);
    a_task_is_paused_changed_and_removed(&demo);
    what_makes_no_sense_is_refused(&demo);
}
