//! Real processes killed under load, and a modelled power cut: nothing that was acknowledged
//! may be missing, no batch torn, damaged tables moved aside and rebuilt.
//!
//! Rounds go on from each other's remains. `HOLDFAST_ROUNDS` and `HOLDFAST_SEED` change how
//! many and which; the power-cut library is built with gcc from `tests/powerloss`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use storage::Backend;

const PROGRAM: &str = env!("CARGO_BIN_EXE_storage-crash");

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    setting("HOLDFAST_SEED", u64::from(now.subsec_nanos()) / 1000 + 1)
}

/// What a worker said before it ended: W, T, C, S.
#[derive(Default, Clone, Copy)]
struct Said {
    written: u64,
    flushed: u64,
    checkpointed: u64,
    complete: u64,
}

impl Said {
    fn hear(&mut self, text: &str) {
        // The last line may be cut; it was not said then.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let (what, index) = line.split_once(' ').unwrap();
            let index: u64 = index.parse().unwrap();
            match what {
                "W" => self.written = index,
                "X" => self.written = index,
                "T" => self.flushed = index,
                "C" => self.checkpointed = index,
                "S" => self.complete = index,
                other => panic!("a worker says {other}"),
            }
        }
    }
}

#[derive(Default)]
struct Totals {
    rounds: u64,
    acknowledged: u64,
    cut: u64,
    rebuilt: u64,
    folded: u64,
}

/// Waits for the end; kills when `limit` is over, counted from the first word.
fn wait(mut child: Child, limit: Duration) -> (String, String, Option<i32>) {
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let heard = Arc::new(AtomicBool::new(false));
    let hears = heard.clone();
    let out = thread::spawn(move || {
        let mut text = vec![0];
        let first = stdout.read(&mut text).unwrap();
        text.truncate(first);
        hears.store(true, Ordering::Release);
        stdout.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    let err = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut end = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if heard.load(Ordering::Acquire) {
            end = end.min(Instant::now() + limit);
        }
        if Instant::now() > end {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    };
    (out.join().unwrap(), err.join().unwrap(), status.code())
}

fn command(engine: Backend, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("HOLDFAST_TABLES", engine.name());
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Opens what is left and compares it with what was said.
fn check(engine: Backend, dir: &Path, said: Said, totals: &mut Totals, context: &str) {
    let numbers = [said.written, said.flushed, said.checkpointed, said.complete];
    let numbers = numbers.map(|number| number.to_string());
    let [written, flushed, checkpointed, complete] = numbers.each_ref().map(String::as_str);
    let dir_text = dir.to_str().unwrap();
    let arguments = ["check", dir_text, written, flushed, checkpointed, complete];
    let child = command(engine, &arguments).spawn();
    let (out, err, code) = wait(child.unwrap(), Duration::from_secs(120));
    assert_eq!(code, Some(0), "{context}: {out}{err}");
    totals.rounds += 1;
    totals.acknowledged = said.written.max(totals.acknowledged);
    totals.cut += u64::from(!out.contains("cut=0 "));
    totals.folded += u64::from(!out.contains("months=0"));
    let rebuilt = out.contains("rebuilt=true");
    totals.rebuilt += u64::from(rebuilt);
    if rebuilt {
        assert!(err.contains("REBUILD"), "{context}: the caller was not told");
    }
}

/// Keeps the folder small: what was moved aside has been looked at.
fn tidy(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains("tables.damaged-") {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn killed_processes_lose_nothing_on_sled() {
    killed_processes(Backend::Sled);
}

#[test]
fn killed_processes_lose_nothing_on_fjall() {
    killed_processes(Backend::Fjall);
}

fn killed_processes(engine: Backend) {
    let (rounds, seed) = (setting("HOLDFAST_ROUNDS", 50), seed());
    println!("seed {seed}");
    let mut totals = Totals::default();
    let root = tempfile::tempdir().unwrap();
    let mut dir = PathBuf::new();
    let mut said = Said::default();
    for round in 0..rounds {
        // A new folder now and then: the first moments of a store are a case of their own.
        if round % 10 == 0 {
            (dir, said) = (root.path().join(format!("{round}")), Said::default());
        }
        let seed = seed + round;
        let arguments = ["work", dir.to_str().unwrap(), &seed.to_string()];
        let child = command(engine, &arguments).spawn().unwrap();
        let life = Duration::from_millis(5 + seed * 7919 % 300);
        // Child::kill is SIGKILL.
        let (out, err, code) = wait(child, life);
        assert_eq!(code, None, "round {round}, seed {seed}: it ended by itself: {err}");
        said.hear(&out);
        let context = format!("round {round}, seed {seed}");
        if round % 10 == 9 {
            spoil_tables(&dir, seed);
        }
        check(engine, &dir, said, &mut totals, &context);
        tidy(&dir);
    }
    let Totals { rounds, acknowledged, cut, rebuilt, folded } = totals;
    println!(
        "kill -9: {rounds} rounds, last index {acknowledged}, {cut} tails cut, \
         {rebuilt} tables rebuilt, {folded} with month files, 0 lost"
    );
    assert!(acknowledged > rounds, "no load");
    assert!(folded > 0 || rounds < 10, "no month was folded");
    assert!(rebuilt > 0 || rounds < 10, "no spoilt tables were rebuilt");
}

/// What a bad disk may do to the tables: a part of their largest file reads as something else.
fn spoil_tables(dir: &Path, seed: u64) {
    let path = largest(&dir.join("tables")).unwrap().1;
    let mut octets = fs::read(&path).unwrap();
    // A journal is mostly room that was never written.
    let used = octets.iter().rposition(|octet| *octet != 0).unwrap_or(0) + 1;
    let from = usize::try_from(seed).unwrap() * 4096 % used;
    for octet in octets.iter_mut().take(used).skip(from / 2).step_by(61) {
        *octet ^= 0x5a;
    }
    fs::write(&path, octets).unwrap();
}

/// The largest file below a folder.
fn largest(dir: &Path) -> Option<(u64, PathBuf)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let sized = entries.filter_map(|path| match fs::metadata(&path).unwrap() {
        data if data.is_dir() => largest(&path),
        data => Some((data.len(), path)),
    });
    sized.max()
}

fn library(root: &Path) -> PathBuf {
    let built = root.join("powerloss.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/powerloss/powerloss.c");
    let flags = ["-O2", "-shared", "-fPIC", "-w", "-o"];
    let libraries = ["-ldl", "-lpthread"];
    let done = Command::new("gcc").args(flags).arg(&built).arg(source).args(libraries).status();
    assert!(done.unwrap().success(), "gcc could not build the power-cut model");
    built
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Rounds of a modelled power cut; `keep` percent of the unsynced pages reach the disk anyway.
fn power_cuts(engine: Backend, keep: u64) {
    let (rounds, seed) = (setting("HOLDFAST_ROUNDS", 50).div_ceil(2), seed());
    println!("seed {seed}, keep {keep} %");
    let mut totals = Totals::default();
    let root = tempfile::tempdir().unwrap();
    let library = library(root.path());
    let (mut real, mut said) = (PathBuf::new(), Said::default());
    let shadow = root.path().join("shadow");
    for round in 0..rounds {
        if round % 8 == 0 {
            (real, said) = (root.path().join(format!("{round}")), Said::default());
            fs::create_dir_all(&real).unwrap();
        }
        let seed = seed + round;
        copy_tree(&real, &shadow);
        let child = command(engine, &["work", real.to_str().unwrap(), &seed.to_string()])
            .env("LD_PRELOAD", &library)
            .env("PL_ROOT", &real)
            .env("PL_SHADOW", &shadow)
            .env("PL_CRASH_MS", (60 + seed * 7919 % 500).to_string())
            .env("PL_KEEP", keep.to_string())
            .env("PL_SEED", seed.to_string())
            .spawn()
            .unwrap();
        let (out, err, code) = wait(child, Duration::from_secs(60));
        assert_eq!(code, Some(137), "round {round}, seed {seed}: no crash: {err}");
        said.hear(&out);
        fs::remove_dir_all(&real).unwrap();
        fs::rename(&shadow, &real).unwrap();
        let context = format!("round {round}, seed {seed}, keep {keep}");
        check(engine, &real, said, &mut totals, &context);
        tidy(&real);
    }
    let Totals { rounds, acknowledged, cut, rebuilt, folded } = totals;
    println!(
        "power cut, keep {keep} %: {rounds} rounds, last index {acknowledged}, {cut} tails cut, \
         {rebuilt} tables rebuilt, {folded} with month files, 0 lost"
    );
    assert!(acknowledged > rounds, "no load");
    assert!(folded > 0 || rounds < 10, "no month was folded");
}

#[test]
fn power_cuts_lose_nothing_on_sled() {
    power_cuts(Backend::Sled, 0);
}

#[test]
fn power_cuts_with_reordered_pages_lose_nothing_on_sled() {
    power_cuts(Backend::Sled, 50);
}

#[test]
fn power_cuts_lose_nothing_on_fjall() {
    power_cuts(Backend::Fjall, 0);
}

#[test]
fn power_cuts_with_reordered_pages_lose_nothing_on_fjall() {
    power_cuts(Backend::Fjall, 50);
}
