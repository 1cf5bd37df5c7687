//! Live views over the simulator, on a demo of three nodes: asked at any node, bounded, ended with
//! a word, and carried on by another node when the one that reads is killed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Guard, command, free_ports, get, post, request, stderr};

const LIMIT: Duration = Duration::from_secs(90);

struct Demo {
    _child: Guard,
    port: u16,
    token: String,
    described: Value,
}

/// A stream of events by hand.
struct Stream(BufReader<TcpStream>);

impl Demo {
    fn start(dir: &Path) -> Demo {
        let port = free_ports(3);
        let log = std::fs::File::create(dir.join("demo.out")).unwrap();
        let child = command(&["demo", "--nodes", "3", "--concentrators", "1", "--meters", "3"])
            .args(["--direct", "1", "--history", "1h", "--seconds", "300"])
            .args(["--dir", &dir.join("d").display().to_string()])
            .args(["--http", &format!("127.0.0.1:{port}")])
            .stdout(log.try_clone().unwrap())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let child = Guard(child);
        let limit = Instant::now() + LIMIT;
        loop {
            let said = || std::fs::read_to_string(dir.join("demo.out")).unwrap_or_default();
            assert!(Instant::now() < limit, "no channel in time:\n{}", said());
            std::thread::sleep(Duration::from_millis(250));
            let text = std::fs::read_to_string(dir.join("d/demo.json")).unwrap_or_default();
            let Ok(described) = serde_json::from_str::<Value>(&text) else { continue };
            let Some(token) = described["token"].as_str().map(str::to_owned) else { continue };
            let demo = Demo { _child: child, port, token, described };
            let limit = Instant::now() + LIMIT;
            while demo.owner().is_none() {
                let seen = || demo.get("/api/v1/concentrators");
                assert!(Instant::now() < limit, "no channel in time: {}\n{}", seen(), said());
                std::thread::sleep(Duration::from_millis(100));
            }
            return demo;
        }
    }

    fn get(&self, path: &str) -> Value {
        get(self.port, &self.token, path).json()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = post(self.port, &self.token, path, body);
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// The node that owns the concentrator's active channel, once another one stands by: before
    /// that it may still move. Which of the two is active does not matter: where a busy machine
    /// was slow to answer at the main address, the standby took over and keeps it for a while.
    fn owner(&self) -> Option<String> {
        let item = self.get("/api/v1/concentrators")["items"][0].clone();
        let settled = item["standbys"].as_array().is_some_and(|standbys| !standbys.is_empty());
        item["channel"]["node"].as_str().filter(|_| settled).map(str::to_owned)
    }

    /// Meters behind the concentrator.
    fn serials(&self) -> Vec<String> {
        let list = self.get("/api/v1/meters");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let behind = items.iter().filter(|one| one["concentrator"].is_string());
        behind.map(|one| one["serial"].as_str().unwrap().to_owned()).collect()
    }

    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let limit = Instant::now() + LIMIT;
        while !holds() {
            assert!(Instant::now() < limit, "{what}: not in time");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn look(&self, node: u16, token: &str, path: &str) -> Stream {
        let limit = Instant::now() + LIMIT;
        loop {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port + node)).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let text = format!(
                "GET /api/v1/meters/{path} HTTP/1.1\r\nhost: x\r\n\
                 authorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line.contains(" 200 ") {
                return Stream(stream);
            }
            // A node that has not applied yet who may look says no.
            assert!(line.contains(" 40") && Instant::now() < limit, "{line}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn refused(&self, token: &str, path: &str) -> (u16, String) {
        let answer = get(self.port, token, &format!("/api/v1/meters/{path}"));
        (answer.status, answer.code())
    }

    fn views(&self) -> String {
        let metrics = request(self.port, "GET", "/metrics", &[], "").unwrap().body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("holdfast_live_views "));
        line.unwrap_or_default().to_owned()
    }

    fn set(&self, name: &str, value: u32) {
        let seen = self.get(&format!("/api/v1/parameters/{name}"))["version"].as_u64().unwrap_or(0);
        let body = json!({"value": value, "seen": seen, "reason": "a test"});
        self.post(&format!("/api/v1/parameters/{name}"), &body);
    }
}

impl Stream {
    /// The next event: its name and data.
    fn next(&mut self) -> (String, Value) {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ends without a word");
            if let Some(found) = line.strip_prefix("event: ") {
                name = found.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next round with values.
    fn round(&mut self) -> Value {
        loop {
            let (name, data) = self.next();
            assert_ne!(name, "end", "{data}");
            if name == "round" && data["failure"].is_null() {
                return data;
            }
        }
    }

    /// The word at the end.
    fn end(&mut self) -> String {
        loop {
            let (name, data) = self.next();
            if name == "end" {
                return data["reason"].as_str().unwrap().to_owned();
            }
        }
    }
}

#[test]
fn a_meter_is_looked_at_from_any_node() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path());
    let serials = demo.serials();
    every_node_shows_it(&demo, &serials);
    by_command_line(&demo, &serials[0]);
    views_are_bounded(&demo, &serials);
    a_silent_meter_ends_it(&demo);
    who_may_not_look_any_more(&demo, &serials[1]);
    the_reader_is_killed(&demo, &serials[2]);
    demo.wait("every view is over", || demo.views() == "0");
    let trail = demo.get("/api/v1/audit?limit=200").to_string();
    assert!(trail.contains("live.open") && trail.contains("audit.looked"), "{trail}");
    assert!(trail.contains(&format!("/meters/{}/live", serials[1])), "{trail}");
}

fn every_node_shows_it(demo: &Demo, serials: &[String]) {
    let owner = demo.owner().unwrap();
    for node in 0..3 {
        let begun = Instant::now();
        let mut stream = demo.look(node, &demo.token, &format!("{}/live", serials[0]));
        let (name, open) = stream.next();
        assert_eq!((name.as_str(), &open["pause_s"]), ("open", &json!(2)));
        let (first, second) = (stream.round(), stream.round());
        assert!(begun.elapsed() >= Duration::from_secs(2), "faster than it may be");
        assert_eq!((first["node"].as_str(), &first["number"]), (Some(owner.as_str()), &json!(1)));
        assert_eq!(second["number"], json!(2));
        let values = second["values"].as_array().unwrap();
        let of = |name: &str| values.iter().find(|one| one["name"] == name).cloned();
        let volts = of("U L1").unwrap();
        let number: f64 = volts["value"].as_str().unwrap().parse().unwrap();
        assert!((200.0..260.0).contains(&number) && volts["unit"] == "V", "{volts}");
        for name in ["I L1", "P import", "Q import", "PF", "f", "angle I L1 to U L1"] {
            assert!(of(name).is_some(), "{name}: {second}");
        }
        assert_eq!(of("switch").unwrap()["value"], "closed", "{second}");
        // The connection closes here: the view ends by that.
    }
    demo.wait("who left looks no more", || demo.views() == "0");
    // Meters of their own address, whatever they are.
    let direct = demo.get("/api/v1/meters")["items"].as_array().unwrap().clone();
    let direct = direct.iter().find(|one| one["address"].is_string()).unwrap()["serial"].clone();
    let mut stream = demo.look(1, &demo.token, &format!("{}/live", direct.as_str().unwrap()));
    stream.round();
    stream.round();
}

fn by_command_line(demo: &Demo, serial: &str) {
    let url = format!("http://127.0.0.1:{}", demo.port + 1);
    let run = |arguments: &[&str]| {
        let environment = [("HOLDFAST_URL", &url), ("HOLDFAST_TOKEN", &demo.token)];
        let told = command(arguments).envs(environment).output().unwrap();
        let text = String::from_utf8(told.stdout.clone()).unwrap();
        (told.status.code(), text, stderr(&told))
    };
    let (code, text, told) = run(&["meter", "live", serial, "--rounds", "2"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        text.contains("round 2 by") && text.contains("U L1") && text.contains("closed"),
        "{text}"
    );
    let (code, text, told) = run(&["meter", "live", serial, "--length", "3", "--json"]);
    assert_eq!(code, Some(0), "its time is over: {told}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["data"]["reason"]), (&json!("end"), &json!("time")));
    let (code, _, told) = run(&["meter", "live", "NOBODY"]);
    assert!(code == Some(1) && told.contains("unknown_meter"), "{code:?} {told}");
    let (code, _, told) = run(&["meter", "live", serial, "--pause", "1"]);
    assert!(code == Some(1) && told.contains("bad_live"), "{code:?} {told}");
}

fn views_are_bounded(demo: &Demo, serials: &[String]) {
    let path = |nth: usize| format!("{}/live", serials[nth]);
    let mut first = demo.look(0, &demo.token, &path(0));
    let mut second = demo.look(1, &demo.token, &path(1));
    first.round();
    second.round();
    assert_eq!(demo.refused(&demo.token, &path(2)), (422, "live_full".into()));
    // Who reads on demand gets his answer while both are looked at.
    let order = json!({"kind": "read", "attributes": [{"obis": "1-0:1.8.0"}]});
    let queued = demo.post("/api/v1/commands", &json!({"target": serials[2], "order": order}));
    let id = queued["id"].as_str().unwrap();
    let read = demo.get(&format!("/api/v1/commands/{id}?wait=10"));
    assert_eq!(read["state"], "acknowledged", "{read}");
    first.round();
    second.round();
    drop((first, second));
    demo.wait("both are over", || demo.views() == "0");
}

fn a_silent_meter_ends_it(demo: &Demo) {
    demo.set("live.silent_rounds", 2);
    let list = demo.get("/api/v1/concentrators");
    let key = "000102030405060708090a0b0c0d0e0f";
    let body = json!({"serial": "GHOST1", "concentrator": list["items"][0]["id"],
        "guek": key, "gak": key, "model": "three-phase"});
    demo.post("/api/v1/meters", &body);
    let mut stream = demo.look(0, &demo.token, "GHOST1/live");
    assert_eq!(stream.next().0, "open");
    for number in 1..=2 {
        let (name, data) = stream.next();
        assert_eq!((name.as_str(), &data["number"]), ("round", &json!(number)), "{data}");
        assert!(data["failure"]["code"].is_string(), "{data}");
    }
    assert_eq!(stream.end(), "silent");
}

fn who_may_not_look_any_more(demo: &Demo, serial: &str) {
    let body = json!({"name": "nora", "full_name": "Nora", "home": 0});
    demo.post("/api/v1/operators", &body);
    let body = json!({"role": "dispatcher", "region": 0, "reason": "hired"});
    let grant = demo.post("/api/v1/operators/nora/grants", &body)["grant"].clone();
    let made = demo.post("/api/v1/operators/nora/password", &Value::Null);
    let first = made["password"].as_str().unwrap();
    let login = |password: &str| {
        let body = json!({"user": "nora", "password": password});
        demo.post("/api/v1/session", &body)["token"].as_str().unwrap().to_owned()
    };
    let token = login(first);
    let body = json!({"old": first, "new": "a phrase that is long"});
    assert_eq!(post(demo.port, &token, "/api/v1/session/password", &body).status, 204);
    let path = format!("{serial}/live");
    let mut stream = demo.look(2, &token, &path);
    stream.round();
    let revoke = format!("/api/v1/operators/nora/grants/{grant}/revoke");
    demo.post(&revoke, &json!({"reason": "has left"}));
    assert_eq!(stream.end(), "not_allowed");
    assert_eq!(demo.refused(&token, &path).0, 403);
}

fn the_reader_is_killed(demo: &Demo, serial: &str) {
    let owner = demo.owner().unwrap();
    let nodes = demo.described["nodes"].as_array().unwrap();
    let place = nodes.iter().position(|node| node["name"] == owner.as_str()).unwrap();
    let viewer = (0..3).find(|other| *other != place).unwrap();
    let node = u16::try_from(viewer).unwrap();
    let mut stream = demo.look(node, &demo.token, &format!("{serial}/live"));
    let before = stream.round();
    assert_eq!(before["node"], owner.as_str());
    let pid = i32::try_from(nodes[place]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let killed = Instant::now();
    let after = loop {
        let round = stream.round();
        if round["node"] != owner.as_str() {
            break round;
        }
    };
    println!(
        "the view went on after {:?}: {} then {}",
        killed.elapsed(),
        before["node"],
        after["node"]
    );
    assert!(after["number"].as_u64() > before["number"].as_u64());
    demo.wait("the killed node answers again", || {
        let port = demo.port + u16::try_from(place).unwrap();
        request(port, "GET", "/readyz", &[], "").is_ok_and(|answer| answer.status == 200)
    });
}
