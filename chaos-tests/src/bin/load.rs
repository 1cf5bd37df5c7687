//! Pushes days of load profile through a whole demo as fast as it takes them, and prints interval
//! values a second from socket to committed, each second and over the run; or, with `--reads`, lets
//! a collection task read the registers of every meter again and again, and prints meters a second.
//!
//! `cargo run --release -p chaos-tests --bin load`
//!
//! The simulator runs on the same machine: its work (sealing pushes, the meters' curves) is in
//! the figure. A value counts when the commit that holds it has been acknowledged.

use anyhow::{Context, bail, ensure};
use chaos_tests::demo::{Demo, Options};
use clap::Parser;
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A+ and A- of each interval.
const VALUES_A_ROW: f64 = 2.0;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Command line.
#[derive(Parser)]
#[command(about = "Interval values a second, from the concentrators' sockets to the commit")]
struct Arguments {
    /// Concentrators in the field.
    #[arg(long, default_value_t = 8)]
    concentrators: u32,
    /// Meters behind each.
    #[arg(long, default_value_t = 500)]
    meters: u32,
    /// Load profile that every meter holds.
    #[arg(long, default_value = "96h")]
    history: String,
    /// Runs of a task that reads all meters, instead of pushes.
    #[arg(long, default_value_t = 0)]
    reads: u32,
    /// Meters of one concentrator that the task reads at a time.
    #[arg(long, default_value_t = 8)]
    reads_per_device: u32,
    /// The longest the run may take, seconds.
    #[arg(long, default_value_t = 180)]
    limit: u32,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 17080)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir()?;
    // Meters that are asked push next to nothing meanwhile.
    let (speed, history) =
        if arguments.reads > 0 { ("1", "1h") } else { ("100000000", &arguments.history[..]) };
    let more = ["--speed", speed, "--history", history];
    let options = Options {
        dir: scratch.path().join("demo"),
        port: arguments.port,
        concentrators: arguments.concentrators,
        meters: arguments.meters,
        seconds: arguments.limit + 120,
        more: more.iter().map(|text| (*text).to_owned()).collect(),
    };
    let demo = Demo::start(options).await?;
    if arguments.reads > 0 {
        read_all(&demo, &arguments).await?;
        let code = demo.stop().await?;
        anyhow::ensure!(code == 0, "the demo ended with exit code {code}");
        return Ok(());
    }
    let (rows, busy) = watch(&demo, Duration::from_secs(arguments.limit.into())).await?;
    let values = rows * VALUES_A_ROW;
    println!(
        "{values:.0} values in {:.1} s: {:.0} values/s from socket to committed, on three nodes",
        busy.as_secs_f64(),
        values / busy.as_secs_f64()
    );
    demo.wait_equal(Duration::from_secs(60)).await?;
    let code = demo.stop().await?;
    anyhow::ensure!(code == 0, "the demo ended with exit code {code}");
    Ok(())
}

/// Watches until no more rows come, or the limit; returns rows committed and the time they took.
async fn watch(demo: &Demo, limit: Duration) -> anyhow::Result<(f64, Duration)> {
    let (began, mut last) = (Instant::now(), (Instant::now(), committed(demo).await?));
    let first = last.1;
    let mut idle = 0;
    while began.elapsed() < limit && idle < 4 {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = (Instant::now(), committed(demo).await?);
        let rate = (now.1 - last.1) * VALUES_A_ROW / (now.0 - last.0).as_secs_f64();
        println!("{:5.1} s  {rate:9.0} values/s", began.elapsed().as_secs_f64());
        idle = if now.1 > last.1 { 0 } else { idle + 1 };
        if now.1 > last.1 {
            last = now;
        }
    }
    let rows = last.1 - first;
    if rows <= 0.0 {
        bail!("nothing was committed within {limit:?}");
    }
    Ok((rows, last.0 - began))
}

/// Rows that the gateways of all nodes have acknowledged after their commit.
async fn committed(demo: &Demo) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for (_, url) in &demo.nodes {
        let url = format!("{url}/metrics");
        let answer = demo.http.send(Method::GET, &url, None, None, Duration::from_secs(10)).await?;
        let family = "holdfast_gateway_rows_total ";
        let line = answer.text.lines().find_map(|line| line.strip_prefix(family));
        sum += line.context("the node has no holdfast_gateway_rows_total")?.parse::<f64>()?;
    }
    Ok(sum)
}

/// Runs of a task that reads two registers of every meter, one after the other.
async fn read_all(demo: &Demo, arguments: &Arguments) -> anyhow::Result<()> {
    let url = &demo.nodes[0].1;
    let limit = Duration::from_secs(arguments.limit.into());
    let post = async |path: &str, body: Value| {
        let url = format!("{url}/api/v1/{path}");
        let answer = demo.http.send(Method::POST, &url, Some(&body), None, limit).await?;
        ensure!(answer.status < 300, "{path}: {} {}", answer.status, answer.text);
        anyhow::Ok(())
    };
    let wide = json!({ "value": arguments.reads_per_device, "seen": 0, "reason": "load" });
    post("parameters/collection.tasks.reads_per_device", wide).await?;
    let task = json!({
        "name": "load", "what": "registers", "registers": ["1-0:1.8.0", "1-0:2.8.0"],
        "cron": "0 0 1 1 *", "spread_s": 0, "lasts_s": arguments.limit, "attempts": 1,
    });
    post("tasks", task).await?;
    for _ in 0..arguments.reads {
        let began = Instant::now();
        post("tasks/load/run", json!({})).await?;
        let (mut last, mut seen) = ((Instant::now(), 0.0), json!({}));
        while seen["ended"].is_null() {
            ensure!(began.elapsed() < limit, "a run did not end within {limit:?}: {seen}");
            tokio::time::sleep(LOOK_EVERY).await;
            let runs = demo.http.get(&format!("{url}/api/v1/tasks/load/runs")).await?;
            seen = runs["items"][0].clone();
            let now = (Instant::now(), seen["done"].as_f64().unwrap_or(0.0));
            let rate = (now.1 - last.1) / (now.0 - last.0).as_secs_f64();
            println!("{:5.1} s  {rate:6.0} meters/s", began.elapsed().as_secs_f64());
            last = now;
        }
        let took = began.elapsed().as_secs_f64();
        let (done, failed, left) = (&seen["done"], &seen["failed"], &seen["left"]);
        let rate = done.as_f64().unwrap_or(0.0) / took;
        let number = &seen["number"];
        println!("run {number}: {done} read, {failed} failed, {left} left: {rate:.0} a second");
    }
    Ok(())
}
