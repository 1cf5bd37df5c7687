//! What the stories need: the monitor's process, the other programs, waiting for what must come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What must come comes within this on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
pub const TOKEN: &str = "token-of-the-tests";

/// A process that is killed when the story ends.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// The Python of an environment that holds exactly the pinned packages.
pub fn python() -> PathBuf {
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).status().unwrap();
    assert!(made.success(), "python3 -m venv failed: install python3-venv");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(peers().join("requirements.txt"))
        .status()
        .unwrap();
    assert!(installed.success(), "pip could not install tests/peers/requirements.txt");
    std::fs::write(stamp, wanted).unwrap();
    python
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something holds.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn wait_ready(child: &mut Child) {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
}

/// A modem on a pseudo-terminal.
pub struct Modem {
    child: Guard,
    orders: ChildStdin,
    pub link: PathBuf,
    log: PathBuf,
}

impl Modem {
    pub fn start(folder: &Path) -> Modem {
        let (link, log) = (folder.join("modem"), folder.join("sms.log"));
        let mut child = Command::new("python3")
            .arg(peers().join("modem.py"))
            .args([&link, &log])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_ready(&mut child);
        let orders = child.stdin.take().unwrap();
        Modem { child: Guard(child), orders, link, log }
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        self.orders.flush().unwrap();
    }

    /// The parts that were sent, oldest first.
    pub fn sent(&self) -> Vec<Value> {
        lines(&self.log)
    }

    pub fn unplug(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
        std::fs::remove_file(&self.link).unwrap();
    }
}

/// A mail server that wants STARTTLS and a password.
pub struct Mail {
    _child: Guard,
    log: PathBuf,
}

pub struct MailSettings {
    pub port: u16,
    folder: PathBuf,
}

impl MailSettings {
    /// A port, a certificate for `localhost`, a password.
    pub fn new(folder: &Path) -> MailSettings {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("mail.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("mail.key"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.join("password"), "s3cret\n").unwrap();
        MailSettings { port: free_port(), folder: folder.to_owned() }
    }

    pub fn start(&self) -> Mail {
        let log = self.folder.join("mail.log");
        let mut child = Command::new(python())
            .arg(peers().join("smtp.py"))
            .arg(self.port.to_string())
            .args([self.folder.join("mail.crt"), self.folder.join("mail.key")])
            .args(["holdfast", "s3cret"])
            .arg(&log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_ready(&mut child);
        Mail { _child: Guard(child), log }
    }
}

impl Mail {
    pub fn got(&self) -> Vec<Value> {
        lines(&self.log)
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // A line that is being written is not whole yet.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A node's `/metrics`, which can go away.
pub struct Node {
    pub url: String,
    up: Arc<AtomicBool>,
}

impl Node {
    pub fn start(page: &'static str) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let up = Arc::new(AtomicBool::new(true));
        let is_up = up.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                // One that is away takes the connection and closes it, as a dead host's proxy
                // would.
                if is_up.load(Ordering::Relaxed) {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request);
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
                    let length = page.len();
                    let answer = format!(
                        "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{page}"
                    );
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        Node { url, up }
    }

    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}

/// The monitor's process.
pub struct Monitor {
    child: Guard,
    file: PathBuf,
    pub address: String,
}

impl Monitor {
    /// Writes the configuration and starts; `@HTTP@` becomes a free address.
    pub fn start(folder: &Path, config: &str) -> Monitor {
        let address = format!("127.0.0.1:{}", free_port());
        let file = folder.join("monitor.toml");
        std::fs::write(folder.join("token"), TOKEN).unwrap();
        std::fs::write(&file, config.replace("@HTTP@", &address)).unwrap();
        let child = Guard(spawn(&file));
        let monitor = Monitor { child, file, address };
        monitor.wait_ready();
        monitor
    }

    fn wait_ready(&self) {
        until("the monitor is ready", || {
            exchange(&self.address, "GET /readyz", None).filter(|(status, _)| *status == 200)
        });
    }

    /// kill -9, and started again.
    pub fn kill_and_start(&mut self) {
        self.kill();
        self.child = Guard(spawn(&self.file));
        self.wait_ready();
    }

    pub fn kill(&mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = exchange(&self.address, &format!("GET {path}"), None).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn send(&self, what: &str, body: Value) -> u16 {
        exchange(&self.address, what, Some(&body.to_string())).unwrap().0
    }

    pub fn metrics(&self) -> String {
        exchange(&self.address, "GET /metrics", None).unwrap().1
    }

    /// The state of the newest incident of an alarm.
    pub fn state(&self, alarm: &str) -> Option<String> {
        let incidents = self.get("/api/v1/incidents");
        let found = incidents["items"].as_array()?.iter().find(|one| one["alarm"] == alarm)?;
        Some(found["state"].as_str()?.to_owned())
    }
}

/// What it wrote is shown when a story fails.
impl Drop for Monitor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.file.with_extension("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

fn spawn(file: &Path) -> Child {
    let log = file.with_extension("log");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(env!("CARGO_BIN_EXE_holdfast-monitor"))
        .arg("--config")
        .arg(file)
        .stdout(log)
        .spawn()
        .unwrap()
}

/// One HTTP exchange with the token; `None` when nobody answers.
pub fn exchange(address: &str, what: &str, body: Option<&str>) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let body = body.unwrap_or_default();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}
