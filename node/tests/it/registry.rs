//! The registry of one running node: files with bad rows, an exchange, the network of the past,
//! the search, and the verbs of the command line.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, get, holdfast, one_node, post, request, run, stderr};

struct Desk {
    port: u16,
    token: String,
}

impl Desk {
    fn get(&self, path: &str) -> Value {
        let answer = get(self.port, &self.token, path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    fn put(&self, path: &str, facts: &Value, from: Option<&str>) -> Answer {
        let body = json!({"facts": facts, "from": from, "reason": "as built"}).to_string();
        self.send("PUT", path, "application/json", &body)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        post(self.port, &self.token, path, body)
    }

    fn load(&self, path: &str, file: &str) -> Value {
        let answer = self.send("POST", path, "text/csv", file);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        request(self.port, method, path, &headers, body).expect("an answer")
    }

    /// Waits until a search finds a number first of all: names are followed by a moment's delay.
    fn search(&self, text: &str, first: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = get(self.port, &self.token, &format!("/api/v1/search?text={text}"));
            let found = if answer.status == 200 { answer.json() } else { Value::Null };
            if found["items"][0]["number"] == first {
                return;
            }
            assert!(Instant::now() < until, "{text}: {found}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn codes(loaded: &Value) -> Vec<(u64, String)> {
        let one =
            |row: &Value| (row["line"].as_u64().unwrap(), row["code"].as_str().unwrap().into());
        loaded["refused"].as_array().unwrap().iter().map(one).collect()
    }
}

/// 10,000 customers, of which 7 cannot be.
fn file_of_customers() -> (String, Vec<(u64, String)>) {
    let mut file = String::from("number,name,region,phone,email,class\n");
    let mut bad = Vec::new();
    for n in 0..10_000_u64 {
        let (number, mut name) = (format!("K-{n:05}"), format!("Customer {n}"));
        let (mut region, mut phone, mut email, mut class) = ("North", "", "", "residential");
        let code = match n {
            17 => {
                name = String::new();
                "bad_text"
            }
            500 => {
                region = "Nowhere";
                "unknown_region"
            }
            1500 => {
                phone = "call me";
                "bad_phone"
            }
            2500 => {
                email = "nobody";
                "bad_email"
            }
            4000 => {
                class = "royal";
                "bad_word"
            }
            7777 => {
                region = "99";
                "unknown_region"
            }
            9999 => {
                name.push('\u{7}');
                "bad_text"
            }
            1234 => {
                name = "Щербакова Юлия".into();
                ""
            }
            _ => "",
        };
        writeln!(file, "{number},\"{name}\",{region},{phone},{email},{class}").unwrap();
        if !code.is_empty() {
            bad.push((n + 2, code.to_owned()));
        }
    }
    (file, bad)
}

#[test]
fn a_utility_keeps_its_registry() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let mut node = run(&config, port);
    let desk = Desk { port, token };
    assert_eq!(desk.post("/api/v1/regions", &json!({"name": "North"})).status, 201);

    let (file, bad) = file_of_customers();
    let tried = desk.load("/api/v1/people/customers?dry_run=true", &file);
    assert_eq!((&tried["taken"], Desk::codes(&tried)), (&json!(9993), bad.clone()));
    let none = desk.get("/api/v1/registry/customers");
    assert_eq!(none["items"], json!([]), "a rehearsal changes nothing");
    let loaded = desk.load("/api/v1/people/customers", &file);
    assert_eq!((&loaded["taken"], Desk::codes(&loaded)), (&json!(9993), bad.clone()));
    let again = desk.load("/api/v1/people/customers", &file);
    assert_eq!(
        (&again["taken"], Desk::codes(&again)),
        (&json!(9993), bad),
        "a repeat is no change"
    );
    let one = desk.get("/api/v1/registry/customers/K-01234");
    assert_eq!(one["versions"].as_array().map(Vec::len), Some(1));

    // Part of a name in another alphabet, whatever its case; a number exactly; a phone not at all.
    desk.search("%D0%AE%D0%9B%D0%98", "K-01234");
    desk.search("k-04321", "K-04321");
    let wrong = get(port, &desk.token, "/api/v1/search?text=x");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "search_too_short"));

    looks_are_told(&desk);
    exchange(&desk);
    by_command_line(&desk, dir.path());
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));
}

/// Who looked at a customer stands in the trail, once.
fn looks_are_told(desk: &Desk) {
    let look = "/api/v1/registry/customers/K-01234";
    desk.get(look);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let trail = desk.get("/api/v1/audit?action=audit.looked&limit=1000");
        let told = trail["items"].as_array().unwrap().iter();
        let told = told.filter(|one| one["object"].as_str().unwrap().split(' ').any(|o| o == look));
        let told: Vec<&Value> = told.collect();
        assert!(told.len() <= 1, "{told:?}");
        if told.len() == 1 && told[0]["operator"] == "admin" {
            return;
        }
        assert!(Instant::now() < until, "nothing was told: {trail}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A meter is exchanged; the past has the old one.
fn exchange(desk: &Desk) {
    for (path, facts) in [
        ("feeders/F-1", json!({"kind": "feeder", "name": "Line 1", "region": 1, "volts": 10_000})),
        (
            "transformers/T-1",
            json!({"kind": "transformer", "name": "Quay", "region": 1, "feeder": "F-1",
                "rating_va": 250_000}),
        ),
        (
            "points/P-1",
            json!({"kind": "point", "region": 1, "transformer": "T-1", "phases": "A",
                "address": "Quay 1", "purpose": "consumption"}),
        ),
    ] {
        let made = desk.put(&format!("/api/v1/network/{path}"), &facts, Some("2026-01-01"));
        assert_eq!(made.status, 200, "{made:?}");
    }
    let contract = json!({"kind": "contract", "point": "P-1", "customer": "K-00001"});
    let made = desk.put("/api/v1/people/contracts/V-1", &contract, None);
    assert_eq!(made.status, 200, "{made:?}");
    let wrong = desk.put("/api/v1/people/customers/K-1", &contract, None);
    assert_eq!((wrong.status, wrong.code().as_str()), (422, "bad_object"));
    for serial in ["M-1000", "M-2000"] {
        let meter = json!({"serial": serial, "address": "127.0.0.1:1", "auth": "none"});
        let made = desk.post("/api/v1/meters", &meter);
        assert_eq!(made.status, 201, "{made:?}");
    }
    let shows = |value: i64| json!([{"obis": "1-0:1.8.0", "value": value}]);
    let fitting = json!({"meter": "M-1000", "from": "2026-02-01", "registers": shows(0)});
    assert_eq!(desk.post("/api/v1/points/P-1/install", &fitting).status, 200);
    let taken = json!({"meter": "M-2000", "from": "2026-03-01"});
    let refused = desk.post("/api/v1/points/P-1/install", &taken);
    assert_eq!((refused.status, refused.code().as_str()), (422, "point_occupied"));
    let swap = json!({"old": "M-1000", "new": "M-2000", "from": "2026-06-01", "last": shows(5000),
        "first": shows(12), "reason": "display is blind"});
    let done = desk.post("/api/v1/points/P-1/exchange", &swap);
    assert_eq!(done.status, 200, "{done:?}");
    let meters = done.json()["meters"].clone();
    let ends = |at: usize| (meters[at]["meter"].clone(), meters[at]["until"].clone());
    assert_eq!(ends(0), (json!("M-1000"), json!("2026-06-01T00:00:00Z")));
    assert_eq!(ends(1), (json!("M-2000"), Value::Null));
    assert_eq!(
        (&meters[0]["last"][0]["value"], &meters[1]["first"][0]["value"]),
        (&json!(5000), &json!(12))
    );
    for (at, meter) in [("2026-05-31", "M-1000"), ("2026-06-01", "M-2000")] {
        let then = desk.get(&format!("/api/v1/registry/points/P-1/installations?at={at}"));
        assert_eq!(then["items"][0]["number"], meter, "{at}: {then}");
    }
    let before = desk.get("/api/v1/registry/points/P-1?at=2025-12-31");
    assert_eq!(before["object"], Value::Null);
    let closing = json!({"reason": "torn down"});
    let refused = desk.post("/api/v1/network/points/P-1/close", &closing);
    assert_eq!((refused.status, refused.code().as_str()), (422, "object_in_use"));
    // The meter's own page and the search lead to its customer.
    desk.search("M-2000", "M-2000");
    let found = desk.get("/api/v1/search?text=M-2000");
    let related: Vec<&str> = found["items"][0]["related"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["number"].as_str())
        .collect();
    assert_eq!(related, ["P-1", "K-00001"]);
    let page = get(desk.port, &desk.token, "/meters/M-2000").body;
    assert!(page.contains("/registry/points/P-1") && page.contains("/registry/customers/K-00001"));
}

fn by_command_line(desk: &Desk, dir: &std::path::Path) {
    let url = format!("http://127.0.0.1:{}", desk.port);
    let run = |words: &[&str]| {
        let output = holdfast(&[words, &["--url", &url, "--token", &desk.token]].concat());
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        (output.status.success(), said, stderr(&output))
    };
    let said = |words: &[&str]| {
        let (good, said, error) = run(words);
        assert!(good, "{words:?}: {error}");
        said
    };
    assert!(said(&["registry", "list", "transformers"]).contains("T-1"));
    assert!(said(&["registry", "below", "transformers", "T-1", "points"]).contains("Quay 1"));
    let set = ["registry", "set", "points", "P-2", "region=1", "address=Quay 2", "transformer=T-1"];
    assert!(said(&set).contains("Quay 2"));
    let shown = said(&["registry", "show", "points", "P-1", "--at", "2026-03-01"]);
    assert!(shown.contains("meter M-1000 from 2026-02-01T00:00:00Z to 2026-06-01T00:00:00Z"));
    let removal = ["registry", "remove", "P-1", "M-2000", "--import-wh", "99", "--reason", "moved"];
    said(&removal);
    said(&["registry", "install", "P-2", "M-2000", "--import-wh", "99"]);
    said(&[
        "registry",
        "exchange",
        "P-2",
        "M-2000",
        "M-1000",
        "--last-wh",
        "100",
        "--reason",
        "back",
    ]);
    let (good, found, error) = run(&["registry", "check"]);
    assert!(!good && error.contains("does_not_fit"), "{error}");
    assert!(found.contains("point_without_meter") && found.contains("customer_without_contract"));
    said(&["registry", "close", "contracts", "V-1", "--reason", "moved away"]);
    let exported = said(&["registry", "export", "points"]);
    assert!(exported.starts_with("number,region,address,transformer,phases,purpose,from\nP-1,1,"));
    // What was exported is no change when it is read back, but for its own times.
    let file = dir.join("points.csv");
    std::fs::write(&file, &exported).unwrap();
    let path = file.display().to_string();
    assert!(
        said(&["registry", "import", "points", &path, "--dry-run"]).starts_with("2 rows would")
    );
    assert!(said(&["search", "quay"]).contains("P-2"));
}
