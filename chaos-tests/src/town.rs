//! A registry of a whole utility in a cluster of three real nodes: how long it takes to load, what
//! pages and searches then take, the memory of a node, and how long a killed one takes to be back.
//!
//! Invariants: everything goes the way of a clerk's files and a person's pages, over HTTP; every
//! wait has a limit; what is measured is printed with its distribution.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hyper::Method;
use serde_json::json;

use crate::demo::{Demo, Signal, signal};

/// Rows of one file.
const ROWS: u32 = 20_000;
/// The longest that one file may take.
const FILE: Duration = Duration::from_secs(300);
/// Points of a transformer.
const BELOW: u32 = 100;
/// Transformers of a feeder.
const LINES: u32 = 50;
const REGIONS: u32 = 20;

/// The path that is asked for with a number.
type PathOf = fn(u32) -> String;

/// What was loaded, and in which time.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Which kind.
    pub kind: &'static str,
    /// How many.
    pub rows: u32,
    /// In which time.
    pub took: Duration,
}

/// The times of one question, sorted.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What was asked.
    pub what: &'static str,
    /// Sorted.
    pub times: Vec<Duration>,
}

impl Asked {
    /// The time that so many hundredths of all do not exceed (nearest rank).
    #[must_use]
    pub fn at(&self, hundredths: usize) -> Duration {
        let rank = (self.times.len() * hundredths).div_ceil(100).max(1);
        self.times.get(rank - 1).copied().unwrap_or_default()
    }
}

/// Loads regions, feeders, transformers, points, customers and contracts: one of the last three a
/// point.
///
/// # Errors
/// A row was refused, or a file took too long.
pub async fn load(demo: &Demo, points: u32) -> anyhow::Result<Vec<Loaded>> {
    let url = &demo.nodes.first().context("a node")?.1;
    for region in 0..REGIONS {
        let body = json!({"name": format!("District {region}")});
        let path = format!("{url}/api/v1/regions");
        let made = demo.http.send(Method::POST, &path, Some(&body), None, FILE).await?;
        ensure!(made.status == 201, "a region: {made:?}");
    }
    let transformers = points.div_ceil(BELOW);
    let feeders = transformers.div_ceil(LINES);
    let district = |number: u32| format!("District {}", number % REGIONS);
    let mut all = Vec::new();
    let feeder = |n: u32| format!("LF-{n:05},Line {n},{},11000", district(n));
    all.push(files(demo, "network/feeders", "number,name,region,volts", feeders, feeder).await?);
    let head = "number,name,region,feeder,rating_va";
    let line = |n: u32| {
        let of = n / LINES;
        format!("LT-{n:06},Station {n},{},LF-{of:05},400000", district(of))
    };
    all.push(files(demo, "network/transformers", head, transformers, line).await?);
    let point = |n: u32| {
        let (of, street) = (n / BELOW, street(n));
        format!("LP-{n:08},{},{street},LT-{of:06},ABC", district(of / LINES))
    };
    let head = "number,region,address,transformer,phases";
    all.push(files(demo, "network/points", head, points, point).await?);
    let customer = |n: u32| {
        let region = district(n / BELOW / LINES);
        format!("LC-{n:08},{},{region},+34 6{:08},residential", name(n), n)
    };
    let head = "number,name,region,phone,class";
    all.push(files(demo, "people/customers", head, points, customer).await?);
    let contract = |n: u32| format!("LK-{n:08},LP-{n:08},LC-{n:08}");
    let head = "number,point,customer";
    all.push(files(demo, "people/contracts", head, points, contract).await?);
    Ok(all)
}

async fn files(
    demo: &Demo,
    kind: &'static str,
    head: &str,
    rows: u32,
    row: impl Fn(u32) -> String,
) -> anyhow::Result<Loaded> {
    let begun = Instant::now();
    let url = &demo.nodes.first().context("a node")?.1;
    for first in (0..rows).step_by(ROWS as usize) {
        let mut file = format!("{head}\n");
        for n in first..rows.min(first + ROWS) {
            writeln!(file, "{}", row(n))?;
        }
        let answer = demo.http.load(&format!("{url}/api/v1/{kind}"), file, FILE).await?;
        ensure!(answer.status == 200, "{kind} from {first}: {answer:?}");
        let told = answer.json()?;
        let refused = told["refused"].as_array().map_or(0, Vec::len);
        ensure!(refused == 0, "{kind} from {first}: {}", told["refused"][0]);
    }
    Ok(Loaded { kind, rows, took: begun.elapsed() })
}

fn pick<'a>(all: &[&'a str], number: u32) -> &'a str {
    all.get(number as usize % all.len().max(1)).copied().unwrap_or("")
}

/// A believable name, a third each in Latin, Cyrillic and Chinese letters.
fn name(n: u32) -> String {
    let (latin, families) =
        (["Ana", "Luis", "Marta", "Ivo", "Greta"], ["García", "Moreno", "Kerr", "Novák", "Silva"]);
    let (cyrillic, surnames) =
        (["Юлия", "Пётр", "Анна", "Игорь"], ["Щербакова", "Орлов", "Соколова", "Белый"]);
    let (family, given) = (["王", "李", "陈", "赵"], ["小明", "丽华", "国强", "芳"]);
    match n % 3 {
        0 => format!("{} {} {n}", pick(&latin, n / 3), pick(&families, n / 15)),
        1 => format!("{} {} {n}", pick(&cyrillic, n / 3), pick(&surnames, n / 12)),
        _ => format!("{}{} {n}", pick(&family, n / 3), pick(&given, n / 12)),
    }
}

fn street(n: u32) -> String {
    let names = ["Calle Mayor", "High Street", "ул. Ленина", "北京路", "Harbour Road", "Elm Lane"];
    let street = names.get((n / BELOW) as usize % names.len()).copied().unwrap_or("");
    format!("{street} {}", n % 997)
}

/// Waits until a node's search knows the last customer.
///
/// # Errors
/// It does not within the limit.
pub async fn searchable(demo: &Demo, url: &str, points: u32) -> anyhow::Result<Duration> {
    let (begun, last) = (Instant::now(), points.saturating_sub(1));
    let path = format!("{url}/api/v1/search?text=LC-{last:08}");
    loop {
        let second = Duration::from_secs(5);
        let answer = demo.http.send(Method::GET, &path, None, None, second).await;
        if let Ok(answer) = answer
            && answer.status == 200
            && answer.json()?["items"][0]["number"] == format!("LC-{last:08}")
        {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < FILE, "the search of {url} does not find the last customer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks for pages and searches, each so often, one after the other, of every node in turn.
///
/// # Errors
/// An answer is no good one.
pub async fn ask(demo: &Demo, points: u32, times: u32) -> anyhow::Result<Vec<Asked>> {
    let kinds: [(&'static str, PathOf); 9] = [
        ("page of the cluster", |_| "/".to_owned()),
        ("page of a region's topology", |n| format!("/topology?region={}", 1 + n % REGIONS)),
        ("page of points", |_| "/registry/points".to_owned()),
        ("page of one point", |n| format!("/registry/points/LP-{n:08}")),
        ("page of one transformer", |n| format!("/registry/transformers/LT-{:06}", n / BELOW)),
        ("page of a search by a part of a name", |n| {
            let parts = ["рбак", "orlo", "garc", "丽华", "moren", "сокол"];
            format!("/search?text={}", encoded(parts.get(n as usize % 6).copied().unwrap_or("")))
        }),
        ("search by a part of a name", |n| {
            let parts = ["рбак", "novák", "garc", "国强", "silv", "белы"];
            let part = parts.get(n as usize % 6).copied().unwrap_or("");
            format!("/api/v1/search?text={}", encoded(part))
        }),
        ("search by a number", |n| format!("/api/v1/search?text=LC-{n:08}")),
        ("search by a telephone", |n| format!("/api/v1/search?text=6{n:08}")),
    ];
    let mut found = Vec::new();
    for (what, path) in kinds {
        let mut all = Vec::new();
        for turn in 0..times {
            let node = turn as usize % demo.nodes.len();
            let url = &demo.nodes.get(node).context("a node")?.1;
            // Numbers that lie far apart and come again in no order that helps.
            let n = turn.wrapping_mul(2_654_435_761) % points.max(1);
            let begun = Instant::now();
            let url = format!("{url}{}", path(n));
            let answer = demo.http.send(Method::GET, &url, None, None, FILE).await?;
            let took = begun.elapsed();
            ensure!(answer.status == 200, "{url}: {answer:?}");
            // The first of all warms what the others find warm.
            if turn >= 3 {
                all.push(took);
            }
        }
        all.sort_unstable();
        found.push(Asked { what, times: all });
    }
    Ok(found)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

/// Memory that a node's process holds, octets.
///
/// # Errors
/// There is no such process.
pub fn memory(demo: &Demo, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", demo.pid(name)?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Kills a node that does not lead and waits until it is ready and its search is whole again.
///
/// # Errors
/// It is not within the limit.
pub async fn restart(demo: &Demo, points: u32) -> anyhow::Result<(Duration, Duration)> {
    let leader = demo.wait_leader(FILE).await?;
    let other = demo.nodes.iter().find(|(name, _)| *name != leader);
    let (name, url) = other.context("a follower")?.clone();
    signal(demo.pid(&name)?, Signal::Kill)?;
    let begun = Instant::now();
    let ready = format!("{url}/readyz");
    tokio::time::sleep(Duration::from_millis(200)).await;
    loop {
        let second = Duration::from_secs(1);
        let answer = demo.http.send(Method::GET, &ready, None, None, second).await;
        if answer.is_ok_and(|answer| answer.status == 200) {
            break;
        }
        ensure!(begun.elapsed() < FILE, "{name} is not back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = begun.elapsed();
    searchable(demo, &url, points).await?;
    Ok((ready, begun.elapsed()))
}
