//! Two monitoring servers beside real nodes: one of them tells; it is killed, and nobody hears
//! nothing. And a node whose UPS runs dry.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Guard, command, free_ports, get, holdfast, one_node, post, request, run, stderr,
};

const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Somebody at a port who answers every request; nothing while he is away.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) there: Arc<AtomicBool>,
    posts: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let there = Arc::new(AtomicBool::new(true));
        let posts = Arc::new(Mutex::new(Vec::new()));
        let (is_there, taken) = (there.clone(), posts.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if !is_there.load(Ordering::Relaxed) {
                    continue;
                }
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut octets = Vec::new();
                let mut piece = [0; 4096];
                let whole = |octets: &[u8]| {
                    let text = String::from_utf8_lossy(octets).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head.to_lowercase();
                    let length = length.split("content-length: ").nth(1);
                    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
                    (body.len() >= length.unwrap_or(0)).then(|| body.to_owned())
                };
                while whole(&octets).is_none() {
                    match stream.read(&mut piece) {
                        Ok(count) if count > 0 => octets.extend(&piece[..count]),
                        _ => break,
                    }
                }
                let body = whole(&octets).unwrap_or_default();
                if let Ok(post) = serde_json::from_str(&body) {
                    taken.lock().unwrap().push(post);
                }
                let page = "ready 1\n";
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
                let length = page.len();
                let _ = write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{page}");
            }
        });
        Server { address, there, posts }
    }

    pub(crate) fn told(&self) -> Vec<Value> {
        self.posts.lock().unwrap().clone()
    }
}

/// A monitoring server as a process.
pub(crate) struct Monitor {
    pub(crate) child: Guard,
    pub(crate) file: PathBuf,
    pub(crate) port: u16,
}

const CONFIG: &str = r#"
name = "@NAME@"
state_dir = "@NAME@"
[http]
listen = "127.0.0.1:@PORT@"
token_file = "token"
[cluster]
urls = [@URLS@]
token_file = "cluster-token"
lease = "2s"
alone_after = "20s"
[scrape]
interval = "500ms"
timeout = "10s"
[[node]]
name = "n1"
url = "http://@NODE@/metrics"
[[rule]]
name = "node_down"
expr = "up == 0"
for = "1s"
severity = "critical"
policy = "duty"
[[alarm]]
name = "events"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna"]
[[contact]]
name = "anna"
[[contact.way]]
channel = "hook"
[[channel]]
name = "hook"
kind = "webhook"
url = "http://@HOOK@/"
"#;

impl Monitor {
    pub(crate) fn start(
        dir: &Path,
        name: &str,
        urls: &str,
        node: &Server,
        hook: &Server,
    ) -> Monitor {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = CONFIG
            .replace("@NAME@", name)
            .replace("@PORT@", &port.to_string())
            .replace("@URLS@", urls)
            .replace("@NODE@", &node.address)
            .replace("@HOOK@", &hook.address);
        let file = dir.join(format!("{name}.toml"));
        std::fs::write(&file, config).unwrap();
        std::fs::write(dir.join("token"), "api").unwrap();
        let monitor = Monitor { child: Guard(spawn(&file)), file, port };
        monitor.wait_ready();
        monitor
    }

    pub(crate) fn wait_ready(&self) {
        until("the monitor is ready", || {
            let answer = request(self.port, "GET", "/readyz", &[], "").ok()?;
            (answer.status == 200).then_some(())
        });
    }

    fn kill(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = Guard(spawn(&self.file));
        self.wait_ready();
    }

    pub(crate) fn is_sender(&self) -> bool {
        get(self.port, "api", "/api/v1/state").json()["sender"] == true
    }

    /// Whether nothing of the rule is open and nothing waits.
    fn is_calm(&self) -> bool {
        let items = get(self.port, "api", "/api/v1/incidents").json();
        let mut items = items["items"].as_array().unwrap().iter();
        let stages = get(self.port, "api", "/api/v1/state").json()["messages"].clone();
        items.all(|one| one["state"] == "resolved" || one["state"] == "inactive")
            && stages["queued"] == 0
            && stages["sending"] == 0
    }
}

/// What it wrote is shown when a story fails.
impl Drop for Monitor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.file.with_extension("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

pub(crate) fn spawn(file: &Path) -> std::process::Child {
    let log = file.with_extension("log");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let arguments = ["monitor", "--config", &file.display().to_string()];
    command(&arguments).stdout(log).spawn().unwrap()
}

/// A program of the cluster with the role of a monitoring server; gives its token.
pub(crate) fn program(port: u16, founder: &str) -> String {
    let body = json!({"name": "ms", "full_name": "Monitoring", "program": true});
    assert_eq!(post(port, founder, "/api/v1/operators", &body).status, 201);
    let body = json!({"role": "monitor", "reason": "tells of alarms"});
    assert_eq!(post(port, founder, "/api/v1/operators/ms/grants", &body).status, 201);
    let body = json!({"label": "m1 and m2", "days": 30});
    let made = post(port, founder, "/api/v1/operators/ms/tokens", &body);
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["token"].as_str().unwrap().to_owned()
}

fn of_kind(told: &[Value], kind: &str) -> Vec<bool> {
    let of = told.iter().filter(|one| one["facts"]["kind"] == kind);
    of.map(|one| one["repeat"] == true).collect()
}

#[test]
fn one_of_two_monitors_tells_and_killing_it_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, founder, port) = one_node(dir.path());
    let mut node = run(&config, port);
    let token = program(port, &founder);
    std::fs::write(dir.path().join("cluster-token"), &token).unwrap();
    let (watched, hook) = (Server::start(), Server::start());
    let urls = format!("\"http://127.0.0.1:{port}\"");
    let start = |name| Monitor::start(dir.path(), name, &urls, &watched, &hook);
    let mut monitors = [start("m1"), start("m2")];
    until("one of them tells", || {
        let senders = monitors.iter().filter(|monitor| monitor.is_sender()).count();
        assert!(senders <= 1, "never both");
        (senders == 1).then_some(())
    });
    let page = request(monitors[0].port, "GET", "/metrics", &[], "").unwrap().body;
    assert!(page.contains("\nholdfast_monitor_sender "), "{page}");
    // Before it tells, while it tells, and after.
    for pause_ms in [300, 1_900, 3_000] {
        let before = hook.told().len();
        let sender = usize::from(!monitors[0].is_sender());
        watched.there.store(false, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(pause_ms));
        monitors[sender].kill();
        let other = &monitors[1 - sender];
        until("the other tells", || other.is_sender().then_some(()));
        until("it is told", || {
            let told = hook.told().split_off(before);
            (!of_kind(&told, "firing").is_empty() && !other.is_calm()).then_some(())
        });
        monitors[sender].start_again();
        watched.there.store(true, Ordering::Relaxed);
        until("it is over, and that is told", || {
            let told = hook.told().split_off(before);
            let over = !of_kind(&told, "recovered").is_empty();
            (over && monitors.iter().all(Monitor::is_calm)).then_some(())
        });
        let told = hook.told().split_off(before);
        for kind in ["firing", "recovered"] {
            let marks = of_kind(&told, kind);
            let unmarked = marks.iter().filter(|marked| !**marked).count();
            assert!(unmarked <= 1 && marks.len() <= 2, "{pause_ms} ms: {kind} {told:?}");
        }
        // What the other two minutes ago said must not hold the next one back.
        std::thread::sleep(Duration::from_millis(500));
    }
    // Without the cluster each tells by itself and says that it may be a repeat.
    let before = hook.told().len();
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));
    watched.there.store(false, Ordering::Relaxed);
    until("both tell, marked", || {
        let told = hook.told().split_off(before);
        let marks = of_kind(&told, "firing");
        let alone =
            |monitor: &Monitor| get(monitor.port, "api", "/api/v1/state").json()["alone"] == true;
        (monitors.iter().all(alone) && marks.contains(&true)).then_some(())
    });
}

/// A cluster of three nodes, each with something more in its configuration.
pub(crate) struct Three {
    pub(crate) base: u16,
    token: String,
    nodes: Vec<Guard>,
}

impl Three {
    pub(crate) fn start(dir: &Path, more: impl Fn(usize) -> String) -> Three {
        let base = free_ports(3);
        let ports: Vec<String> = [0, 100, 200].map(|up| (base + up).to_string()).to_vec();
        let folder = dir.join("c").display().to_string();
        let mut arguments = vec!["init", "--json", "--dir", &folder, "--http-port", &ports[0]];
        arguments.extend(["--gateway-port", &ports[1], "--cluster-port", &ports[2]]);
        for node in ["n1=127.0.0.1", "n2=127.0.0.1", "n3=127.0.0.1"] {
            arguments.extend(["--node", node]);
        }
        let made = holdfast(&arguments);
        assert!(made.status.success(), "{}", stderr(&made));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let token = made["token"].as_str().unwrap().to_owned();
        let start = |nth: usize| {
            let config = made["configs"][nth - 1].as_str().unwrap();
            let mut text = std::fs::read_to_string(config).unwrap();
            text.push_str(&more(nth));
            std::fs::write(config, text).unwrap();
            let child = command(&["run", "--config", config]).stdout(Stdio::null()).spawn();
            Guard(child.unwrap())
        };
        let nodes = (1..=3).map(start).collect();
        Three { base, token, nodes }
    }

    pub(crate) fn kill(&mut self, nth: usize) {
        self.nodes[nth].0.kill().unwrap();
        self.nodes[nth].0.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self, dir: &Path, nth: usize) {
        let config = dir.join(format!("c/n{}/node.toml", nth + 1)).display().to_string();
        let child = command(&["run", "--config", &config]).stdout(Stdio::null()).spawn();
        self.nodes[nth] = Guard(child.unwrap());
    }

    pub(crate) fn wait_ready(&self) {
        let is_ready = |nth| {
            let answer = request(self.base + nth, "GET", "/readyz", &[], "");
            answer.is_ok_and(|answer| answer.status == 200)
        };
        until("all are ready", || (0..3).all(is_ready).then_some(()));
    }
}

/// NUT's server with a UPS for each node that says what a file says.
struct Nut {
    dir: PathBuf,
    port: u16,
    _programs: Vec<Guard>,
}

impl Nut {
    fn start(dir: &Path, names: &[&str]) -> Nut {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = dir.join("nut");
        std::fs::create_dir_all(&dir).unwrap();
        let of = |name: &&str| {
            format!("[{name}]\n driver = dummy-ups\n port = {name}.dev\n mode = dummy-loop\n")
        };
        let write = |file: &str, text: &str| std::fs::write(dir.join(file), text).unwrap();
        write("ups.conf", &format!("maxretry = 3\n{}", names.iter().map(of).collect::<String>()));
        write("upsd.conf", &format!("LISTEN 127.0.0.1 {port}\n"));
        write("upsd.users", "");
        write("nut.conf", "MODE=netserver\n");
        use std::os::unix::fs::PermissionsExt;
        for file in ["ups.conf", "upsd.conf", "upsd.users"] {
            let mode = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(dir.join(file), mode).unwrap();
        }
        let mut nut = Nut { dir, port, _programs: Vec::new() };
        for name in names {
            nut.say(name, "OL CHRG");
        }
        let user =
            String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let user = user.trim();
        for name in names {
            nut.begin("/lib/nut/dummy-ups", &["-D", "-a", name, "-u", user]);
        }
        nut.begin("/lib/nut/upsd", &["-D", "-u", user]);
        nut
    }

    fn begin(&mut self, program: &str, arguments: &[&str]) {
        let log = std::fs::File::create(self.dir.join(format!("log{}", self._programs.len())));
        let child = Command::new(program)
            .args(arguments)
            .env("NUT_CONFPATH", &self.dir)
            .env("NUT_STATEPATH", &self.dir)
            .env("NUT_ALTPIDPATH", &self.dir)
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: install nut-server"));
        self._programs.push(Guard(child));
    }

    fn say(&self, name: &str, status: &str) {
        let charge = if status.contains("LB") { 8 } else { 100 };
        let text = format!(
            "ups.status: {status}\nbattery.charge: {charge}\nbattery.runtime: 240\nTIMER 1\n"
        );
        // Whole at once: the driver may read at any moment.
        let whole = self.dir.join(format!("{name}.new"));
        std::fs::write(&whole, text).unwrap();
        std::fs::rename(whole, self.dir.join(format!("{name}.dev"))).unwrap();
    }
}

#[test]
fn a_node_on_a_dying_battery_hands_over_and_comes_back_with_the_mains() {
    let dir = tempfile::tempdir().unwrap();
    let nut = Nut::start(dir.path(), &["n1", "n2", "n3"]);
    let ups = |nth| format!("\n[ups]\nat = \"n{nth}@127.0.0.1:{}\"\ninterval_s = 1\n", nut.port);
    let Three { base, token, nodes: _nodes } = Three::start(dir.path(), ups);
    let cluster = |nth: u16| -> Option<Value> {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer = request(base + nth, "GET", "/api/v1/cluster", &headers, "").ok()?;
        (answer.status == 200).then(|| answer.json())
    };
    let ready = |nth: u16| {
        request(base + nth, "GET", "/readyz?verbose", &[], "").ok().map(|answer| answer.status)
    };
    until("all are ready", || (0..3).all(|nth| ready(nth) == Some(200)).then_some(()));
    let has = |nth: u16, line: &str| {
        let page = request(base + nth, "GET", "/metrics", &[], "").ok()?.body;
        page.lines().any(|one| one == line).then_some(())
    };
    let leader = || cluster(0)?["leader"].as_str()?.strip_prefix('n')?.parse::<u16>().ok();
    let first = until("a leader", leader);
    let (name, nth) = (format!("n{first}"), first - 1);
    until("its UPS answers", || has(nth, "holdfast_ups_up 1"));

    // Mains are gone: nothing is given up yet.
    nut.say(&name, "OB DISCHRG");
    until("it is on battery", || has(nth, "holdfast_ups_on_battery 1"));
    assert_eq!(cluster(nth).map(|one| one["power"].clone()), Some(json!("battery")));
    assert_eq!(ready(nth), Some(200));

    nut.say(&name, "OB DISCHRG LB");
    until("another leads, and it says why it is not ready", || {
        let other = leader().filter(|leader| *leader != first)?;
        let power = cluster(nth)?["power"] == "low";
        let page = request(base + nth, "GET", "/readyz?verbose", &[], "").ok()?;
        let said = page.status == 503 && page.body.contains("[-]power");
        (power && said && has(nth, "holdfast_ups_low 1").is_some()).then_some(other)
    });
    let written = post(base + nth, &token, "/api/v1/regions", &json!({"name": "North"}));
    assert_eq!(written.status, 201, "the cluster works on: {written:?}");

    nut.say(&name, "OL CHRG");
    until("it works again by itself", || (ready(nth) == Some(200)).then_some(()));
    until("and says so", || has(nth, "holdfast_ups_low 0"));
    assert_eq!(cluster(nth).map(|one| one["power"].clone()), Some(json!("mains")));
}

const TOLD: &str = r#"
name = "m1"
state_dir = "m1"
[http]
listen = "127.0.0.1:@PORT@"
token_file = "token"
[cluster]
urls = [@URLS@]
token_file = "cluster-token"
[scrape]
interval = "1s"
timeout = "10s"
@NODES@
[[rule]]
name = "node_down"
expr = "up == 0"
for = "10s"
severity = "critical"
policy = "duty"
group_by = ["node"]
summary = "{{ node }} does not answer"
[[policy]]
name = "duty"
to = ["anna"]
[[contact]]
name = "anna"
tell = "all"
[[contact.way]]
channel = "sms"
to = "+34600111222"
[[contact.way]]
channel = "mail"
to = "anna@example.com"
[[channel]]
name = "sms"
kind = "modem"
device = "modem"
[[channel]]
name = "mail"
kind = "smtp"
host = "localhost"
port = @MAIL@
ca_file = "mail.crt"
user = "holdfast"
password_file = "password"
from = "m1@example.com"
timeout = "60s"
"#;

pub(crate) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitor/tests/peers")
}

/// The Python of an environment that holds exactly the pinned packages.
fn python() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitor-peers");
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = std::fs::File::create(home.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let python = home.join("bin/python");
    let wanted = std::fs::read(peers().join("requirements.txt")).unwrap();
    let stamp = home.join("installed.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).status();
    assert!(made.unwrap().success(), "python3 -m venv failed: install python3-venv");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(peers().join("requirements.txt"))
        .status();
    assert!(installed.unwrap().success(), "pip could not install the peers");
    std::fs::write(stamp, wanted).unwrap();
    python
}

/// A program that says `ready` when it is.
pub(crate) fn peer(program: &Path, arguments: &[&Path]) -> Guard {
    let child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut guard = Guard(child.unwrap());
    let mut said = [0; 5];
    guard.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ready");
    guard
}

/// What a peer wrote down, a line each.
pub(crate) fn written(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_killed_node_is_one_sms_and_one_mail_and_one_recovery_each() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut three = Three::start(dir, |_| String::new());
    three.wait_ready();
    std::fs::write(dir.join("cluster-token"), program(three.base, &three.token)).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("mail.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("mail.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("password"), "s3cret\n").unwrap();
    std::fs::write(dir.join("token"), "api").unwrap();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mail_port, http) = (port(), port());
    let (sms, mail) = (dir.join("sms.log"), dir.join("mail.log"));
    let modem = peers().join("modem.py");
    let _modem = peer(Path::new("python3"), &[&modem, &dir.join("modem"), &sms]);
    let number = PathBuf::from(mail_port.to_string());
    let (user, password) = (Path::new("holdfast"), Path::new("s3cret"));
    let (smtp, crt, key) = (peers().join("smtp.py"), dir.join("mail.crt"), dir.join("mail.key"));
    let _mail = peer(&python(), &[&smtp, &number, &crt, &key, user, password, &mail]);
    let url = |nth: u16| format!("http://127.0.0.1:{}", three.base + nth);
    let node =
        |nth: u16| format!("[[node]]\nname = \"n{}\"\nurl = \"{}/metrics\"\n", nth + 1, url(nth));
    let urls: Vec<String> = (0..3).map(|nth| format!("{:?}", url(nth))).collect();
    let config = TOLD
        .replace("@PORT@", &http.to_string())
        .replace("@URLS@", &urls.join(", "))
        .replace("@NODES@", &(0..3).map(node).collect::<String>())
        .replace("@MAIL@", &mail_port.to_string());
    let file = dir.join("m1.toml");
    std::fs::write(&file, config).unwrap();
    let monitor = Monitor { child: Guard(spawn(&file)), file, port: http };
    monitor.wait_ready();
    until("it tells", || monitor.is_sender().then_some(()));
    // A modem is prepared first, and every node was seen alive.
    until("all is well", || {
        let state = get(http, "api", "/api/v1/state").json();
        let page = request(http, "GET", "/metrics", &[], "").ok()?.body;
        let up = (1..=3).all(|n| page.contains(&format!("node_up{{node=\"n{n}\"}} 1")));
        (state["channels"]["sms"]["trouble"].is_null() && up).then_some(())
    });
    let texts = |kind: &str| {
        let told = written(&sms);
        let of = told.iter().filter(|one| one["text"].as_str().unwrap().starts_with(kind));
        of.count()
    };
    let mails = |kind: &str| {
        let told = written(&mail);
        let of = told.iter().filter(|one| one["subject"].as_str().unwrap().contains(kind));
        of.count()
    };
    let killed = Instant::now();
    three.kill(2);
    until("one SMS", || (texts("ALARM") == 1).then_some(()));
    let by_sms = killed.elapsed();
    until("one mail", || (mails("[ALARM]") == 1).then_some(()));
    println!("SMS after {by_sms:?}, both after {:?}", killed.elapsed());
    three.start_again(dir, 2);
    until("one recovery each", || (texts("OVER") == 1 && mails("[OVER]") == 1).then_some(()));
    // Nothing more comes: a few turns of everything show it.
    std::thread::sleep(Duration::from_secs(3));
    let all = (texts("ALARM"), mails("[ALARM]"), texts("OVER"), mails("[OVER]"));
    assert_eq!(all, (1, 1, 1, 1), "{:?} {:?}", written(&sms), written(&mail));
}
