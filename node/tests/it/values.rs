//! Stored values by API and command line: pages, sums over local days, many meters, the newest,
//! corrections, and what makes no sense. On a demo whose meters bring ten hours along.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Guard, command, free_ports, get, post, stderr};

const REGISTER: &str = "1-0:1.8.0";

pub struct Demo {
    _child: Guard,
    pub port: u16,
    pub token: String,
}

impl Demo {
    pub fn get(&self, path: &str) -> Value {
        let answer = get(self.port, &self.token, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub fn refused(&self, path: &str) -> (u16, String) {
        let answer = get(self.port, &self.token, path);
        (answer.status, answer.code())
    }

    pub fn cli(&self, arguments: &[&str]) -> Output {
        let url = format!("http://127.0.0.1:{}", self.port);
        let environment = [("HOLDFAST_URL", &url), ("HOLDFAST_TOKEN", &self.token)];
        command(arguments).envs(environment).output().unwrap()
    }

    /// Values of a meter as (end, whole number), over all pages of some size.
    fn values(&self, serial: &str, more: &str) -> (Vec<(i64, i64)>, usize) {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/api/v1/meters/{serial}/readings?{more}{cursor}");
            let page = self.get(&path);
            let own = page["values"].as_array().unwrap();
            found.extend(own.iter().map(|one| (end(one), one["value"].as_i64().unwrap())));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (found, pages),
            }
        }
    }
}

fn seconds(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

fn end(one: &Value) -> i64 {
    seconds(one["time"].as_str().unwrap())
}

pub fn start(dir: &Path) -> Demo {
    let port = free_ports(3);
    let log = std::fs::File::create(dir.join("demo.out")).unwrap();
    let child = command(&["demo", "--nodes", "1", "--concentrators", "1", "--meters", "3"])
        .args(["--direct", "0", "--history", "10h", "--seconds", "300"])
        .args(["--dir", &dir.join("d").display().to_string()])
        .args(["--http", &format!("127.0.0.1:{port}")])
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let mut child = Guard(child);
    let limit = Instant::now() + Duration::from_secs(120);
    let said = || std::fs::read_to_string(dir.join("demo.out")).unwrap_or_default();
    loop {
        assert!(Instant::now() < limit, "no values in time:\n{}", said());
        assert!(child.0.try_wait().unwrap().is_none(), "the demo ended:\n{}", said());
        std::thread::sleep(Duration::from_millis(250));
        let text = std::fs::read_to_string(dir.join("d/demo.json")).unwrap_or_default();
        let Ok(described) = serde_json::from_str::<Value>(&text) else { continue };
        let Some(token) = described["token"].as_str() else { continue };
        let stored = get(port, token, "/api/v1/collection").json();
        // Three meters, nine hours of quarters of an hour.
        if stored["kept"]["stored"].as_u64().is_some_and(|stored| stored > 3 * 9 * 4) {
            return Demo { _child: child, port, token: token.to_string() };
        }
    }
}

fn the_collection_is_told_in_four_numbers(demo: &Demo) {
    let body = demo.get("/api/v1/collection?from=2020-01-01T00:00:00Z");
    for window in ["day", "kept", "window"] {
        let of = |name: &str| body[window][name].as_u64().unwrap_or_else(|| panic!("{body}"));
        let ways = of("first_pass") + of("refilled") + of("brought");
        assert!(ways == of("stored") && of("stored") <= of("expected"), "{window}: {body}");
        let rate = |count: u64| count * 1_000_000 / of("expected");
        assert_eq!(of("first_pass_ppm"), rate(of("first_pass")), "{body}");
        assert_eq!(of("after_refill_ppm"), rate(of("first_pass") + of("refilled")), "{body}");
        assert_eq!(of("rate_ppm"), rate(of("stored")), "{body}");
        // One concentrator: all rates are its.
        let spread = &body[window]["concentrators"];
        assert_eq!((&spread["count"], &spread["least_ppm"]), (&json!(1), &spread["most_ppm"]));
    }
    let list = demo.get("/api/v1/collection/concentrators?limit=1");
    assert!(list["items"][0]["expected"].as_u64().is_some_and(|due| due > 0), "{list}");
    assert!(list["next"].is_null(), "{list}");
    let none = demo.get("/api/v1/collection/concentrators?query=nobody");
    assert_eq!(none["items"], json!([]));
    for wrong in ["to=2020-01-01T00:00:00Z", "from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z"] {
        let path = format!("/api/v1/collection?{wrong}");
        let refused = get(demo.port, &demo.token, &path);
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad_range"));
    }
}

/// What was due and is not stored is in the gaps, each value once.
fn gaps_are_what_is_not_stored(demo: &Demo, serials: &[&str]) {
    let to = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let window = format!("from=2020-01-01T00:00:00Z&to={to}");
        let all = demo.get(&format!("/api/v1/collection?{window}"))["window"].clone();
        let (mut open, mut missing) = (0, 0);
        for serial in serials {
            let gaps = demo.get(&format!("/api/v1/meters/{serial}/gaps?{window}"));
            for gap in gaps["items"].as_array().unwrap() {
                let values = gap["values"].as_u64().unwrap();
                *(if gap["state"] == "missing" { &mut missing } else { &mut open }) += values;
            }
        }
        let of = |name: &str| all[name].as_u64().unwrap();
        if (open + missing, missing) == (of("expected") - of("stored"), of("missing")) {
            println!("{open} open and {missing} missing of {}", of("expected"));
            break;
        }
        // Values come in meanwhile.
        assert!(Instant::now() < until, "{open} open, {missing} missing, but {all}");
    }
    let told = demo.cli(&["gaps", "--concentrator", "HFDSIM0000000001", "--json"]);
    assert!(told.status.success(), "{}", stderr(&told));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    for one in told["items"].as_array().unwrap() {
        assert!(serials.contains(&one["serial"].as_str().unwrap()), "{told}");
    }
    for (path, code) in [
        ("/api/v1/meters/NONE/gaps", "unknown_meter"),
        ("/api/v1/concentrators/NONE/gaps", "unknown_concentrator"),
    ] {
        assert_eq!(get(demo.port, &demo.token, path).code(), code);
    }
}

#[test]
fn stored_values_are_asked_for_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path());
    let list = demo.get("/api/v1/meters?limit=10");
    let serials: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["serial"].as_str().unwrap())
        .collect();
    assert_eq!(serials.len(), 3);
    the_collection_is_told_in_four_numbers(&demo);
    gaps_are_what_is_not_stored(&demo, &serials);
    // A range that no value is added to any more.
    let (whole, _) = demo.values(serials[0], "from=2000-01-01T00:00:00Z");
    let (first_s, last_s) = (whole[0].0, whole[whole.len() - 2].0);
    let range = format!("obis={REGISTER}&from={first_s}&to={last_s}");
    let (values, pages) = demo.values(serials[0], &range);
    assert!(values.len() > 30 && pages == 1, "{} values", values.len());
    pages_follow_each_other(&demo, serials[0], &range, &values);
    many_meters(&demo, &serials, &range);
    local_days(&demo, serials[0], (first_s, last_s), &values);
    newest_values(&demo, &serials);
    corrections(&demo, serials[0], &values);
    conflicts(&demo, serials[0]);
    senseless_questions(&demo, serials[0]);
    let verify = demo.cli(&["verify", "--json"]);
    assert!(verify.status.success(), "{}", stderr(&verify));
    let told: Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!((&told["nodes"], &told["differences"]), (&json!(1), &json!([])), "{told}");
}

fn pages_follow_each_other(demo: &Demo, serial: &str, range: &str, values: &[(i64, i64)]) {
    let (found, pages) = demo.values(serial, &format!("{range}&limit=7"));
    assert_eq!((found.as_slice(), pages), (values, values.len().div_ceil(7)));
    let path = format!("/api/v1/meters/{serial}/readings?{range}&limit=7");
    let cursor = demo.get(&path)["next"].as_str().unwrap().to_owned();
    let other = format!("/api/v1/meters/{serial}/readings?obis=1-0:2.8.0&cursor={cursor}");
    assert_eq!(demo.refused(&other), (400, "bad_cursor".into()));
    let changed = format!("{path}&cursor={}", cursor.replace('0', "1"));
    assert_eq!(demo.refused(&changed), (400, "bad_cursor".into()));
}

fn many_meters(demo: &Demo, serials: &[&str], range: &str) {
    let (mut found, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = demo.get(&format!("/api/v1/readings?{range}&limit=2{cursor}"));
        for item in page["items"].as_array().unwrap() {
            let own = item["values"].as_array().unwrap();
            let values: Vec<(i64, i64)> =
                own.iter().map(|one| (end(one), one["value"].as_i64().unwrap())).collect();
            assert_eq!(found.insert(item["serial"].as_str().unwrap().to_owned(), values), None);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let alone: BTreeMap<String, Vec<(i64, i64)>> =
        serials.iter().map(|one| ((*one).to_owned(), demo.values(one, range).0)).collect();
    assert_eq!(found, alone);
}

/// Sums over days of Tehran, which begin at 20:30 of UTC, held against the readings themselves.
fn local_days(demo: &Demo, serial: &str, (from_s, to_s): (i64, i64), values: &[(i64, i64)]) {
    let at: BTreeMap<i64, i64> = values.iter().copied().collect();
    let range = format!("obis={REGISTER}&from={from_s}&to={to_s}");
    for (period, zone) in
        [("day", "Asia/Tehran"), ("hour", "Europe/Berlin"), ("day", "UTC"), ("month", "UTC")]
    {
        let more = format!("{range}&period={period}&zone={zone}");
        let body = demo.get(&format!("/api/v1/meters/{serial}/sums?{more}"));
        assert_eq!((&body["kind"], &body["unit"]), (&json!("register"), &json!("Wh")), "{body}");
        let sums = body["sums"].as_array().unwrap();
        assert!(!sums.is_empty());
        let mut complete = 0;
        for sum in sums {
            let side = |name: &str| seconds(sum[name].as_str().unwrap());
            let (start_s, end_s) = (side("start"), side("end"));
            if zone == "Asia/Tehran" {
                assert_eq!(start_s.rem_euclid(86_400), (20 * 60 + 30) * 60, "{sum}");
            }
            let (Some(first), Some(last)) = (at.get(&start_s), at.get(&end_s)) else { continue };
            assert_eq!(sum["sum"], last - first, "{sum}");
            assert_eq!(sum["complete"], true, "{sum}");
            assert_eq!(sum["stored"], sum["expected"], "{sum}");
            complete += 1;
        }
        assert!(period != "hour" || complete > 0, "{period} {zone}: {body}");
        let many = demo.get(&format!("/api/v1/readings/sums?{more}&query={serial}"));
        assert_eq!(many["items"][0]["sums"], body["sums"], "{period} {zone}");
    }
    let (from, to) = (from_s.to_string(), to_s.to_string());
    let zone = ["--period", "day", "--zone", "Asia/Tehran", "--csv"];
    let fixed = ["meter", "sums", serial, "--from", &from, "--to", &to];
    let told = demo.cli(&[&fixed[..], &zone[..]].concat());
    assert!(told.status.success(), "{}", stderr(&told));
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.starts_with("period,sum,min,mean,max,stored,expected,complete\n"), "{text}");
    assert!(text.lines().count() > 1, "{text}");
    // These meters have no irregular readings.
    let irregular = format!("/api/v1/meters/{serial}/sums?{range}&interval=0");
    assert_eq!(demo.refused(&irregular).0, 404);
}

fn newest_values(demo: &Demo, serials: &[&str]) {
    let all = demo.get(&format!("/api/v1/readings/latest?obis={REGISTER}"));
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), serials.len());
    for serial in serials {
        let one = demo.get(&format!("/api/v1/meters/{serial}/latest"));
        let of = |one: &&Value| one["obis"] == REGISTER && one["interval_minutes"] == 15;
        let newest = one["values"].as_array().unwrap().iter().find(of).unwrap()["value"].clone();
        let from = end(&newest) - 1;
        let (values, _) = demo.values(serial, &format!("obis={REGISTER}&from={from}"));
        assert!(values.contains(&(end(&newest), newest["value"].as_i64().unwrap())), "{values:?}");
    }
}

fn corrections(demo: &Demo, serial: &str, values: &[(i64, i64)]) {
    let (end_s, measured) = values[10];
    let path = format!("/api/v1/meters/{serial}/corrections");
    let body = json!({"obis": REGISTER, "from": end_s.to_string(), "quality": "edited",
        "values": [measured + 7], "reason": "display was photographed"});
    for _ in 0..2 {
        assert_eq!(post(demo.port, &demo.token, &path, &body).status, 204);
    }
    let from = end_s - 1;
    let range = format!("obis={REGISTER}&from={from}&to={end_s}");
    let shown = demo.get(&format!("/api/v1/meters/{serial}/readings?{range}"));
    let shown = &shown["values"][0];
    assert_eq!((&shown["value"], &shown["measured"]), (&json!(measured + 7), &json!(measured)));
    assert_eq!((&shown["quality"], &shown["author"]), (&json!("edited"), &json!("admin")));
    let before = demo.get(&format!("/api/v1/meters/{serial}/readings?{range}&as_of=1"));
    assert_eq!(before["values"][0]["value"], measured, "as it was: {before}");
    for (change, code) in [
        (json!({"quality": "guessed"}), "bad_quality"),
        (json!({"reason": " "}), "bad_reason"),
        (json!({"values": []}), "bad_correction"),
        (json!({"from": (end_s + 1).to_string()}), "unaligned"),
        (json!({"from": "2999-01-01T00:00:00Z"}), "from_the_future"),
        (json!({"obis": "1-0:99.99.99"}), "unknown_series"),
    ] {
        let mut wrong = body.clone();
        wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = post(demo.port, &demo.token, &path, &wrong);
        assert_eq!(answer.code(), code, "{wrong}: {answer:?}");
    }
    let from = values[11].0.to_string();
    let told = demo.cli(&[
        "meter", "correct", serial, "--obis", REGISTER, "--from", &from, "--values", "-,5",
        "--reason", "test", "--json",
    ]);
    assert!(told.status.success(), "{}", stderr(&told));
    let range = format!("obis={REGISTER}&from={from}&to={}", values[12].0);
    let shown = demo.get(&format!("/api/v1/meters/{serial}/readings?{range}"));
    assert_eq!(shown["values"][0]["value"], 5, "the first was left alone: {shown}");
}

/// The meters of the demo send each value once.
fn conflicts(demo: &Demo, serial: &str) {
    let path = format!("/api/v1/conflicts?meter={serial}&from=0");
    assert_eq!(demo.get(&path), json!({"items": [], "next": null}));
    let told = demo.cli(&["readings", "conflicts", "--meter", serial, "--from", "0", "--json"]);
    assert!(told.status.success(), "{}", stderr(&told));
    assert_eq!(serde_json::from_slice::<Value>(&told.stdout).unwrap(), json!({"items": []}));
    let told = demo.cli(&["readings", "conflicts", "--meter", "nobody"]);
    assert_eq!(told.status.code(), Some(1), "{}", stderr(&told));
}

fn senseless_questions(demo: &Demo, serial: &str) {
    let meter = format!("/api/v1/meters/{serial}");
    for (path, status, code) in [
        (
            format!("{meter}/readings?from=2999-01-01T00:00:00Z&to=2999-01-02T00:00:00Z"),
            400,
            "bad_range",
        ),
        (
            format!("{meter}/readings?from=1960-01-01T00:00:00Z&to=1961-01-01T00:00:00Z"),
            400,
            "bad_range",
        ),
        (format!("{meter}/readings?from=5&to=5"), 400, "bad_range"),
        (
            format!("{meter}/sums?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"),
            400,
            "bad_range",
        ),
        (format!("{meter}/sums?from=1&to=90000&zone=Mars/Olympus"), 400, "bad_zone"),
        (format!("{meter}/sums?from=1&to=90000&period=week"), 400, "bad_query"),
        (format!("{meter}/sums?from=1&to=90000&obis=1-0:99.8.0"), 404, "unknown_series"),
        (format!("{meter}/sums?to=90000"), 400, "bad_query"),
        ("/api/v1/meters/NONE/sums?from=1&to=90000".into(), 404, "unknown_meter"),
        ("/api/v1/readings?from=1&to=2000000000".into(), 400, "range_too_long"),
        ("/api/v1/readings/sums?from=1&to=2000000000&period=hour".into(), 400, "range_too_long"),
        ("/api/v1/readings/sums?from=1&to=90000&interval=0".into(), 400, "no_interval"),
        ("/api/v1/readings/latest?cursor=00".into(), 400, "bad_cursor"),
    ] {
        assert_eq!(demo.refused(&path), (status, code.to_string()), "{path}");
    }
}
