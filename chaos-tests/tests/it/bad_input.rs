//! Strangers, liars and broken links at the gateway: each is refused and counted, nobody panics,
//! nothing acknowledged is lost.

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::{Demo, Options, Signal, logs, programs, signal};
use chaos_tests::drill;
use chaos_tests::journal::Journal;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Faults that one concentrator after the other plays on a running line.
const LINE_FAULTS: [&str; 7] = [
    "garbage:1",
    "truncated:1",
    "oversize:1",
    "half-answer:1",
    "wrong-tag:1",
    "replay:1",
    "restart:1",
];

struct Field {
    child: Child,
    journal: PathBuf,
    registry: PathBuf,
}

/// A field beside the demo's own, numbered from `first`, with faults.
fn field(
    dir: &Path,
    name: &str,
    first: u32,
    head_ends: &str,
    faults: &[&str],
) -> anyhow::Result<Field> {
    let (journal, registry) =
        (dir.join(format!("{name}.journal")), dir.join(format!("{name}.json")));
    let mut command = Command::new(programs()?.join("holdfast-simulator"));
    command
        .args(["--head-end", head_ends, "--concentrators", "3", "--meters", "10"])
        .args(["--first", &first.to_string(), "--seed", &first.to_string()])
        .args(["--history", "6h", "--speed", "900"])
        .args(["--die-with-parent", "--state"])
        .arg(dir.join(format!("{name}.state")))
        .arg("--journal")
        .arg(&journal)
        .arg("--field-out")
        .arg(&registry);
    for fault in faults {
        command.args(["--fault", fault]);
    }
    let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(Field { child, journal, registry })
}

impl Field {
    fn stop(&mut self) -> anyhow::Result<()> {
        signal(i32::try_from(self.child.id())?, Signal::Interrupt)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Registers a field's concentrators and meters through the API of the demo's first node.
async fn register(demo: &Demo, registry: &Path) -> anyhow::Result<()> {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !registry.exists() {
        anyhow::ensure!(std::time::Instant::now() < until, "no registry was written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let written: Value = serde_json::from_slice(&std::fs::read(registry)?)?;
    let pick = |item: &Value, names: &[&str]| -> Value {
        let picked = names.iter().map(|name| ((*name).to_owned(), item[*name].clone()));
        Value::Object(picked.filter(|(_, value)| !value.is_null()).collect())
    };
    let concentrators = written["concentrators"].as_array().context("concentrators")?;
    let meters = written["meters"].as_array().context("meters")?;
    let known = ["id", "system_title", "name", "guek", "gak"];
    let concentrators: Vec<Value> = concentrators.iter().map(|item| pick(item, &known)).collect();
    let known = ["serial", "concentrator", "guek", "gak", "system_title", "model"];
    let meters: Vec<Value> = meters.iter().map(|item| pick(item, &known)).collect();
    for (kind, items) in [("concentrators", concentrators), ("meters", meters)] {
        let url = format!("{}/api/v1/{kind}/import", demo.nodes[0].1);
        let body = json!({ "items": items });
        let deadline = Duration::from_secs(120);
        let answer = demo.http.send(Method::POST, &url, Some(&body), None, deadline).await?;
        anyhow::ensure!(answer.status == 200, "{kind}: {} {}", answer.status, answer.text);
        let verdicts: Value = serde_json::from_str(&answer.text)?;
        let refused = &verdicts["refused"];
        anyhow::ensure!(refused.as_array().is_some_and(Vec::is_empty), "{kind}: {refused}");
    }
    Ok(())
}

/// Why frames were refused and channels closed.
const CAUSES: [&str; 5] =
    ["not_admitted", "identity_expected", "undecipherable", "replayed", "malformed"];
const ENOUGH_ROWS: usize = 100;

fn counted(sums: &BTreeMap<String, f64>, word: &str) -> f64 {
    sums.iter().filter(|(labels, _)| labels.contains(word)).map(|(_, value)| value).sum()
}

/// Waits until every cause was counted and the broken field delivered what it can, at most four
/// minutes; the caller looks at what there is then.
async fn told_and_delivered(demo: &Demo, journal: &Path) -> anyhow::Result<()> {
    let until = std::time::Instant::now() + Duration::from_secs(240);
    while std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = metric(demo, "holdfast_gateway_frames_refused_total").await?;
        let closed = metric(demo, "holdfast_gateway_closed_total").await?;
        let told = |cause: &&str| counted(&refused, cause) + counted(&closed, cause) > 0.0;
        let rows = Journal::read(journal).map(|journal| journal.rows()).unwrap_or_default();
        if CAUSES.iter().all(told) && rows > ENOUGH_ROWS {
            break;
        }
    }
    Ok(())
}

/// The gateway addresses of the demo's nodes, from their configuration files.
fn gateways(demo: &Demo) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, _) in &demo.nodes {
        let path = demo.dir().join("cluster").join(name).join("node.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let config: toml::Table = text.parse()?;
        found.push(config["gateway"]["listen"].as_str().context("gateway.listen")?.to_owned());
    }
    Ok(found)
}

/// Sums of a metric family over all nodes by its label text.
async fn metric(demo: &Demo, family: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut sums = BTreeMap::new();
    for (_, url) in &demo.nodes {
        let url = format!("{url}/metrics");
        let second = Duration::from_secs(5);
        let text = demo.http.send(Method::GET, &url, None, None, second).await?.text;
        for line in text.lines().filter(|line| line.starts_with(family)) {
            let (name, value) = line.rsplit_once(' ').context("a line without a value")?;
            let labels = name.strip_prefix(family).unwrap_or_default().to_owned();
            *sums.entry(labels).or_insert(0.0) += value.parse::<f64>()?;
        }
    }
    Ok(sums)
}

/// Octets that are no concentrator's: what a scanner, a browser, a broken modem and a liar send.
fn strangers(address: &str) -> anyhow::Result<()> {
    let huge = [&[0, 1, 0, 1, 0, 102, 0xFF, 0xFF][..], &[0xDB; 70_000]].concat();
    let lying_length =
        [0, 1, 0, 1, 0, 102, 0, 12, 0xDB, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x84, 0xFF, 0xFF, 0xFF];
    let frames: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
        &[0xFF; 4096],
        &huge,
        &lying_length,
        &[0, 1, 0, 1, 0],
    ];
    for frame in frames {
        let mut socket = TcpStream::connect(address)?;
        // The gateway may close while we still write: that is its right.
        let _ = socket.write_all(frame);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liars_are_refused_and_counted() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path();
    let options = Options {
        dir: dir.join("demo"),
        port: 18_280,
        concentrators: 2,
        meters: 10,
        seconds: 300,
        more: Vec::new(),
    };
    let demo = Demo::start(options).await?;
    let pids: Vec<i32> =
        demo.nodes.iter().map(|(name, _)| demo.pid(name)).collect::<anyhow::Result<_>>()?;
    let addresses = gateways(&demo)?;
    let both = addresses[..2].join(",");
    for address in &addresses {
        strangers(address)?;
    }

    let mut unknown = field(dir, "unknown", 901, &both, &[])?;
    let mut liar = field(dir, "liar", 911, &both, &["wrong-key:1"])?;
    let mut broken = field(dir, "broken", 921, &both, &LINE_FAULTS)?;
    register(&demo, &liar.registry).await?;
    register(&demo, &broken.registry).await?;
    told_and_delivered(&demo, &broken.journal).await?;
    for field in [&mut unknown, &mut liar, &mut broken] {
        field.stop()?;
    }

    let logins = metric(&demo, "holdfast_gateway_logins_total").await?;
    let refused = metric(&demo, "holdfast_gateway_frames_refused_total").await?;
    let closed = metric(&demo, "holdfast_gateway_closed_total").await?;
    println!("logins {logins:?}\nframes refused {refused:?}\nclosed {closed:?}");
    for cause in CAUSES {
        let times = counted(&refused, cause) + counted(&closed, cause);
        anyhow::ensure!(times > 0.0, "{cause} was not counted");
    }
    anyhow::ensure!(!unknown.journal.exists() || Journal::read(&unknown.journal)?.rows() == 0);

    let journal = Journal::read(&broken.journal)?;
    anyhow::ensure!(
        journal.rows() > ENOUGH_ROWS,
        "the broken field delivered {} rows",
        journal.rows()
    );
    demo.wait_equal(Duration::from_secs(120)).await?;
    for (name, url) in &demo.nodes {
        let verdict = journal.compare(&demo.http, url).await?;
        println!("broken field at {name}: {verdict:?}");
        anyhow::ensure!(verdict.clean(), "{name}: {verdict:?}");
    }
    for (node, verdict) in drill::nothing_lost(&demo).await? {
        anyhow::ensure!(verdict.clean(), "{node}: {verdict:?}");
    }
    let after: Vec<i32> =
        demo.nodes.iter().map(|(name, _)| demo.pid(name)).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(pids == after, "a node did not live through it: {pids:?} {after:?}");
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");
    let log = logs(&dir.join("demo"))?;
    anyhow::ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}
