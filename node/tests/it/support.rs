//! Helpers of the tests: the binary, folders, free ports, and small HTTP by hand.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Runs `holdfast` to its end, without what the environment of the tests might set.
pub fn holdfast(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

/// The program with arguments.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(arguments);
    for name in ["HOLDFAST_URL", "HOLDFAST_TOKEN", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// What a finished program wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A base port B with B.., B+100.., B+200.., B+300.. free at this moment, for so many nodes.
pub fn free_ports(nodes: u16) -> u16 {
    // Tests of one process ask side by side and bind later: each is given another base.
    static TURN: AtomicU16 = AtomicU16::new(0);
    let first = 21_000 + TURN.fetch_add(1, Ordering::Relaxed) % 8 * 1_000;
    for base in (first..29_000).step_by(313) {
        let tcp = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let udp = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
        let start = base + u16::try_from(std::process::id() % 97).expect("small") * 3;
        if (start..start + nodes).all(|p| tcp(p) && tcp(p + 100) && udp(p + 200) && tcp(p + 300)) {
            return start;
        }
    }
    panic!("no free ports");
}

/// A process that is killed when a test fails.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    /// Asks the process to end and gives its exit code.
    pub fn stop(&mut self, limit: Duration) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.wait(limit)
    }

    /// Waits for the process's own end.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the process did not end within {limit:?}");
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_string()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_string())
            .next()
    }
}

/// One request on a connection of its own.
pub fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(40)))?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    // A server that refuses a long body may close before it has read all of it.
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body)
    } else {
        body.to_string()
    };
    Ok(Answer { status, head: head.to_string(), body })
}

fn unchunk(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        out.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    out
}

/// GET with a token.
pub fn get(port: u16, token: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    request(port, "GET", path, &[("authorization", &bearer)], "").expect("an answer")
}

/// POST of JSON with a token.
pub fn post(port: u16, token: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(port, "POST", path, &headers, &body.to_string()).expect("an answer")
}

/// A cluster of one node made by `init`: its configuration, its token, its HTTP port.
pub fn one_node(dir: &Path) -> (PathBuf, String, u16) {
    let base = free_ports(1);
    let made = holdfast(&[
        "init",
        "--json",
        "--dir",
        &dir.join("c").display().to_string(),
        "--node",
        "n1=127.0.0.1",
        "--http-port",
        &base.to_string(),
        "--gateway-port",
        &(base + 100).to_string(),
        "--cluster-port",
        &(base + 200).to_string(),
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let config = PathBuf::from(made["configs"][0].as_str().expect("a path"));
    (config, made["token"].as_str().expect("a token").to_string(), base)
}

/// Starts a node and waits until it is ready.
pub fn run(config: &Path, port: u16) -> Guard {
    let child = command(&["run", "--config", &config.display().to_string()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut guard = Guard(child);
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = guard.0.try_wait().expect("a child") {
            panic!("the node ended with {status}");
        }
        if request(port, "GET", "/readyz", &[], "").is_ok_and(|answer| answer.status == 200) {
            return guard;
        }
        assert!(Instant::now() < until, "the node is not ready in time");
        std::thread::sleep(Duration::from_millis(100));
    }
}
