//! Debian's Prometheus and Alertmanager as processes of a test, nodes that say what was recorded,
//! and somebody who takes what Alertmanager posts.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use docs::root;
use serde_json::Value;

/// A machine with two busy cores needs its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Scraped of each node until anything is asked, so that rates have what they need.
pub const SCRAPES: usize = 4;

/// The targets of the shipped configuration and who is recorded in their place.
pub const TARGETS: [(&str, &str); 4] = [
    ("n1.example:8080", "n1"),
    ("n2.example:8080", "n2"),
    ("n3.example:8080", "n3"),
    (MONITOR, "monitor"),
];

/// Where the shipped files have the monitoring server.
const MONITOR: &str = "monitor1.example:9780";

/// Somebody at a port of this machine who answers every request of HTTP.
struct Server {
    port: u16,
}

impl Server {
    /// `answer` gets the request's head and body; none hangs up without a word.
    fn start(answer: impl Fn(&str, &str) -> Option<String> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let Some((head, body)) = request(&mut stream) else { continue };
                let Some(body) = answer(&head, &body) else { continue };
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close");
                let length = body.len();
                let _gone = write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}");
            }
        });
        Server { port }
    }
}

/// Head and body of a request; none when the other side goes away or says nothing.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let (mut octets, mut piece) = (Vec::new(), [0; 16_384]);
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => octets.extend(&piece[..count]),
            _ => return None,
        }
    }
}

/// A node, or the monitoring server, that says what was recorded: first the first scrape, then
/// the second.
pub struct Node {
    server: Server,
    alive: Arc<AtomicBool>,
}

impl Node {
    /// By the name of its recording.
    pub fn start(name: &str) -> Node {
        let folder = root().join("docs/tests/metrics");
        let read =
            |number| fs::read_to_string(folder.join(format!("{name}-{number}.txt"))).unwrap();
        let scrapes: [String; 2] = [read(1), read(2)];
        let alive = Arc::new(AtomicBool::new(true));
        let (asked, lives) = (AtomicUsize::new(0), alive.clone());
        let server = Server::start(move |_, _| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let scrape = &scrapes[usize::from(number >= SCRAPES / 2)];
            lives.load(Ordering::Relaxed).then(|| scrape.clone())
        });
        Node { server, alive }
    }

    /// Whether it answers from now on.
    pub fn live(&self, alive: bool) {
        self.alive.store(alive, Ordering::Relaxed);
    }
}

/// What was posted: path, the line of who posts, and the body.
#[derive(Clone, Debug)]
pub struct Post {
    /// First line of the request.
    pub line: String,
    /// The value of `Authorization`.
    pub by: String,
    /// The body.
    pub body: Value,
}

/// Somebody who takes posts in the place of the monitoring server.
pub struct Taker {
    server: Server,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Taker {
    /// Takes everything.
    pub fn start() -> Taker {
        let posts = Arc::new(Mutex::new(Vec::new()));
        let kept = posts.clone();
        let server = Server::start(move |head, body| {
            let by = head.lines().find_map(|line| line.strip_prefix("Authorization: "));
            kept.lock().unwrap().push(Post {
                line: head.lines().next().unwrap_or_default().to_owned(),
                by: by.unwrap_or_default().to_owned(),
                body: serde_json::from_str(body).unwrap_or(Value::Null),
            });
            Some(String::new())
        });
        Taker { server, posts }
    }

    /// What came of an alert in a status, in order.
    pub fn of(&self, alert: &str, status: &str) -> Vec<Post> {
        let mut posts = self.posts.lock().unwrap().clone();
        posts.retain(|post| {
            post.body["groupLabels"]["alertname"] == alert && post.body["status"] == status
        });
        posts
    }
}

/// A program; ended, and its folder removed, when it goes out of scope.
pub struct Part {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder of this process for a program.
fn folder(name: &str) -> PathBuf {
    let own = format!("{name}{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(own);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A shipped file with other words in some places, each of which must be there.
fn shipped(file: &str, changes: &[(&str, String)]) -> String {
    let mut text = fs::read_to_string(root().join("deploy/prometheus").join(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from:?} any more");
        text = text.replace(from, to);
    }
    text
}

impl Part {
    /// Prometheus with the shipped configuration, but for hosts and where the rules lie; `fast`:
    /// with shorter periods, too.
    pub fn prometheus(nodes: &[Node; 4], alertmanager: Option<&Part>, fast: bool) -> Part {
        let folder = folder(if fast { "fast" } else { "slow" });
        let rules = root().join("deploy/prometheus/rules/*.yml").display().to_string();
        let here = |port: u16| format!("127.0.0.1:{port}");
        let mut changes = vec![
            ("rules/*.yml", rules),
            ("127.0.0.1:9093", here(alertmanager.map_or_else(free_port, |part| part.port))),
        ];
        for ((target, _), node) in TARGETS.iter().zip(nodes) {
            changes.push((target, here(node.server.port)));
        }
        if fast {
            changes.push(("scrape_interval: 5s", "scrape_interval: 1s".to_owned()));
            changes.push(("scrape_timeout: 4s", "scrape_timeout: 1s".to_owned()));
            changes.push(("evaluation_interval: 5s", "evaluation_interval: 1s".to_owned()));
        }
        let config = folder.join("prometheus.yml");
        fs::write(&config, shipped("prometheus.yml", &changes)).unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
        ];
        Part::start("prometheus", folder, &arguments)
    }

    /// Alertmanager with the shipped configuration, but for where the monitoring server is and
    /// where secrets lie. No mail server answers.
    pub fn alertmanager(taker: &Taker, token: &str) -> Part {
        let folder = folder("alertmanager");
        let secret = folder.join("secret");
        fs::write(&secret, token).unwrap();
        let secret = secret.display().to_string();
        let changes = [
            (MONITOR, format!("127.0.0.1:{}", taker.server.port)),
            ("mail.example:587", format!("127.0.0.1:{}", free_port())),
            ("/etc/prometheus/holdfast/smtp.password", secret.clone()),
            ("/etc/prometheus/holdfast/monitor.token", secret),
        ];
        let config = folder.join("alertmanager.yml");
        fs::write(&config, shipped("alertmanager.yml", &changes)).unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", folder.join("data").display()),
            "--cluster.listen-address=".to_owned(),
        ];
        let part = Part::start("prometheus-alertmanager", folder, &arguments);
        part.wait("Alertmanager", || !part.get("status").is_null());
        part
    }

    fn start(program: &str, folder: PathBuf, arguments: &[String]) -> Part {
        let port = free_port();
        let process = Command::new(program)
            .args(arguments)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} (see .ci/packages): {error}"));
        Part { process, port, folder }
    }

    /// An answer of its API; null while it does not answer.
    pub fn get(&self, path: &str) -> Value {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return Value::Null;
        };
        let mut text = String::new();
        let asked = write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: here\r\n\r\n");
        if asked.and_then(|()| stream.read_to_string(&mut text)).is_err() {
            return Value::Null;
        }
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// The series that answer a query of Prometheus, or what it has against it.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let escaped: String = query.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let answer = self.get(&format!("query?query={escaped}"));
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => Err(answer["error"].as_str().unwrap_or("no answer").to_owned()),
        }
    }

    /// Whether a query has an answer now.
    pub fn holds(&self, query: &str) -> bool {
        self.query(query).is_ok_and(|series| !series.is_empty())
    }

    /// Waits until something is so, not longer than the patience lasts; how long it took.
    pub fn wait(&self, what: &str, so: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        while !so() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{what} not within {PATIENCE:?}: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        begun.elapsed()
    }
}
