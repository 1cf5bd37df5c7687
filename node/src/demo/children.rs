//! The demo's child processes: started, watched, started again, stopped.
//!
//! Invariants: a child is a process of its own group, so that Ctrl-C in a terminal reaches the
//! demo alone and the stop has an order; it asks the kernel to end it with the demo; its output
//! goes to a log file; stopping has a limit, after which it is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::field;
use super::layout::{self, Node};
use crate::exit::Failure;

/// Pause before a dead child is started again.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// Time for a clean stop of all children.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How a child is started.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its name in messages and log files.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Child {
    /// A node.
    pub fn node(program: &Path, dir: &Path, node: &Node) -> Child {
        let config = dir.join("cluster").join(&node.name).join("node.toml");
        let arguments = ["run", "--die-with-parent", "--config"];
        let mut arguments: Vec<String> = arguments.iter().map(|a| (*a).to_string()).collect();
        arguments.push(config.display().to_string());
        Child { name: node.name.clone(), program: program.to_path_buf(), arguments }
    }
}

struct Running {
    child: Child,
    process: Option<tokio::process::Child>,
    pid: Option<u32>,
    again: Option<Instant>,
}

/// All children.
pub struct Children {
    logs: PathBuf,
    running: BTreeMap<String, Running>,
}

impl Children {
    /// None yet; their logs go below this folder.
    pub fn new(dir: &Path) -> Result<Children, Failure> {
        let logs = dir.join("logs");
        layout::make_private_dir(&logs)?;
        Ok(Children { logs, running: BTreeMap::new() })
    }

    /// Starts one.
    pub fn start(&mut self, child: Child) -> Result<(), Failure> {
        let process = self.spawn(&child)?;
        let pid = process.id();
        let name = child.name.clone();
        self.running.insert(name, Running { child, process: Some(process), pid, again: None });
        Ok(())
    }

    fn spawn(&self, child: &Child) -> Result<tokio::process::Child, Failure> {
        let path = self.log_path(&child.name);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| Failure::file("cannot write", &path, &error))?;
        let errors = log.try_clone().map_err(|error| Failure::file("cannot use", &path, &error))?;
        Command::new(&child.program)
            .args(&child.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::file("cannot start", &child.program, &error))
    }

    /// Where a child's output goes.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The last lines of a child's output.
    pub fn log_tail(&self, name: &str) -> String {
        let text = fs::read(self.log_path(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().map(|line| format!("  {line}\n")).collect()
    }

    /// The process id of a child that runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.running.get(name).and_then(|running| running.pid)
    }

    /// Names of children that have ended.
    pub fn dead(&mut self) -> Vec<String> {
        let ended = |running: &mut Running| match &mut running.process {
            Some(process) => !matches!(process.try_wait(), Ok(None)),
            None => true,
        };
        let all = self.running.iter_mut();
        all.filter_map(|(name, running)| ended(running).then(|| name.clone())).collect()
    }

    /// Notices deaths and starts dead children again after a pause. True when a process id changed.
    pub fn mind(&mut self, restart: bool) -> Result<bool, Failure> {
        let mut changed = false;
        for name in self.dead() {
            let tail = self.log_tail(&name);
            let Some(running) = self.running.get_mut(&name) else { continue };
            if let Some(mut process) = running.process.take() {
                let status = process.try_wait().ok().flatten();
                let how = status.map(|status| status.to_string()).unwrap_or_default();
                println!("{name} ended ({how})");
                // A kill from outside needs no log lines to be understood.
                if status.is_some_and(|status| status.code().is_some()) {
                    print!("{tail}");
                }
                running.pid = None;
                changed = true;
                if restart {
                    println!("{name} is started again in {} s", RESTART_AFTER.as_secs());
                    running.again = Some(Instant::now() + RESTART_AFTER);
                }
            }
            if running.again.is_some_and(|again| Instant::now() >= again) {
                running.again = None;
                let child = running.child.clone();
                self.start(child)?;
                println!("{name} runs again, pid {}", self.pid(&name).unwrap_or(0));
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Stops the field first, then the nodes; kills what does not end in time.
    pub async fn stop_all(&mut self) {
        let field = self.running.remove(field::NAME);
        if let Some(mut field) = field {
            terminate(&field);
            end(&mut field, Duration::from_secs(10)).await;
        }
        for running in self.running.values() {
            terminate(running);
        }
        let until = Instant::now() + STOP_LIMIT;
        for running in self.running.values_mut() {
            end(running, until.saturating_duration_since(Instant::now())).await;
        }
        self.running.clear();
    }
}

fn terminate(running: &Running) {
    let pid = running.process.as_ref().and_then(tokio::process::Child::id);
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended a moment ago.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

async fn end(running: &mut Running, limit: Duration) {
    let Some(process) = &mut running.process else { return };
    match tokio::time::timeout(limit, process.wait()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => println!("{} ended with {status}", running.child.name),
        Ok(Err(error)) => println!("{}: {error}", running.child.name),
        Err(_) => {
            println!("{} did not end in time and is killed", running.child.name);
            // It is waited for by the kill itself; a failure means that it is gone.
            let _ = process.kill().await;
        }
    }
}

/// This program's own file.
pub fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed("no_program", format!("own program: {error}")))
}

/// A program in the same folder.
pub fn beside(own: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = own.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let text = format!(
        "{} is missing; the demo needs it beside {}: cargo build -p simulator",
        path.display(),
        own.display()
    );
    Err(Failure::failed("simulator_missing", text))
}
