//! The driver's machine: what it is and how fast its disk syncs.
//!
//! Invariant: what the system does not tell is told as unknown, and stops nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::drills::acceptance::{Machine, Times};
use crate::exit::Failure;

/// Syncs that are timed, and for how long at most.
const SYNCS: usize = 100;
const WITHIN: Duration = Duration::from_secs(10);

/// Looks at the machine and at the disk of a folder.
pub async fn look(folder: &Path) -> Result<Machine, Failure> {
    let folder = folder.to_owned();
    let looking = move || {
        let sync =
            syncs(&folder).map_err(|error| Failure::file("cannot write into", &folder, &error))?;
        Ok(Machine { sync, disk: disk(&folder), ..told() })
    };
    let looked = tokio::task::spawn_blocking(looking).await;
    looked.map_err(|error| Failure::failed("failed", error))?
}

fn told() -> Machine {
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (processors, memory, load) =
        (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|model| model.trim_start_matches(['\t', ' ', ':']).to_owned());
    let memory_kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let memory_kib = memory_kib.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Machine {
        system: format!(
            "{} {} {}",
            word(system.sysname()),
            word(system.release()),
            word(system.machine())
        ),
        processor: model.unwrap_or_else(|| "processor unknown".to_owned()),
        cores: std::thread::available_parallelism()
            .map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        memory_mib: memory_kib.unwrap_or(0_u64) / 1024,
        load_hundredths: hundredths(load.split_whitespace().next().unwrap_or("")),
        disk: String::new(),
        sync: Times::default(),
    }
}

/// `1.25` as 125.
fn hundredths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part: u32 = format!("{part:0<2}").get(..2).and_then(|two| two.parse().ok()).unwrap_or(0);
    whole.parse::<u32>().unwrap_or(0).saturating_mul(100).saturating_add(part)
}

fn disk(folder: &Path) -> String {
    let kind = fs::canonicalize(folder).ok().and_then(|folder| file_system(&folder));
    let kind = kind.unwrap_or_else(|| "file system unknown".to_owned());
    match rustix::fs::statvfs(folder) {
        Ok(space) => {
            let mib = |blocks: u64| blocks.saturating_mul(space.f_frsize) >> 20;
            format!("{kind}, {} MiB, {} MiB free", mib(space.f_blocks), mib(space.f_bavail))
        }
        Err(_) => kind,
    }
}

/// Kind of the file system of a folder: of the longest mount point above it.
fn file_system(folder: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let parsed = mounts.lines().filter_map(|line| {
        let (own, of) = line.split_once(" - ")?;
        Some((own.split_whitespace().nth(4)?, of.split_whitespace().next()?))
    });
    let above = parsed.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

/// Appends 4 KiB again and again to a file of its own, each with fdatasync.
fn syncs(folder: &Path) -> std::io::Result<Times> {
    let path = folder.join(format!(".sync-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let timed = (|| {
        let (piece, began) = ([0x5a_u8; 4096], Instant::now());
        let mut times = Times::default();
        while times.took_us.len() < SYNCS && began.elapsed() < WITHIN {
            file.write_all(&piece)?;
            let from = Instant::now();
            file.sync_data()?;
            times.took_us.push(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        Ok(times)
    })();
    fs::remove_file(&path)?;
    timed
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn a_load_keeps_its_hundredths() {
        for (text, number) in [("1.25", 125), ("0.5", 50), ("12", 1200), ("", 0), ("6.789", 678)] {
            assert_eq!(hundredths(text), number, "{text:?}");
        }
    }
}
