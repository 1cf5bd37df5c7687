//! `holdfast demo`: a whole cluster and a simulated field on one machine, as real processes.
//!
//! Layout of its folder: `demo.json` (URLs, process ids, token; mode 0600), `layout.json` (ports
//! and seed, written once), `cluster/` as `init` makes it, one folder a node, `logs/` and
//! `simulator/` (registry, memory, journal). Ports count up from the HTTP port H: node k (0, 1, 2)
//! has HTTP H+k, concentrators H+100+k (TCP), nodes H+200+k (UDP); the first node is the field's
//! main head-end, the second its standby. Meters with an address of their own listen on H+300 to
//! H+307 (TCP), counted from the H of the first start.
//!
//! Invariants: children end with the demo, however it ends; a second start on the same folder goes
//! on with its data, keys and ports; a child that dies is started again unless that was forbidden.

mod children;
mod field;
mod layout;
mod network;
mod progress;
mod town;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cli::Api;
use crate::exit::Failure;
use crate::init;
use crate::run::Signals;
use children::{Child, Children};
use layout::Layout;

/// How long a cluster on one machine may take to elect its first leader.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often a line of progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What `demo` takes.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder of everything; a second start on it goes on where the first stopped.
    #[arg(long, default_value = "./demo")]
    pub dir: PathBuf,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Concentrators of the simulated field.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub concentrators: u32,
    /// Meters behind each concentrator.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub meters: u32,
    /// Meters with an address of their own: no, low and high security in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub direct: u32,
    /// HTTP address of the first node; all other ports are counted from it.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Stop after so many seconds; without it at Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Do not start nodes again that died.
    #[arg(long)]
    pub no_restart: bool,
    /// Load profile that the meters hold before now, played at once and then on.
    #[arg(long, default_value = "36h")]
    pub history: String,
    /// How much faster than the real clock history plays.
    #[arg(long, default_value_t = 900)]
    pub speed: u32,
    /// Capture period of the meters.
    #[arg(long, default_value = "15m")]
    pub interval: String,
}

/// Starts everything, watches it, stops it.
pub async fn demo(options: Options) -> Result<(), Failure> {
    let began = Instant::now();
    let mut signals = Signals::new()?;
    let node_program = children::own_program()?;
    let simulator_program = children::beside(&node_program, "holdfast-simulator")?;
    let (layout, token) = prepare(&options)?;
    let mut children = Children::new(&options.dir)?;
    for node in &layout.nodes {
        children.start(Child::node(&node_program, &options.dir, node))?;
    }
    let urls: Vec<String> = layout.nodes.iter().map(layout::Node::url).collect();
    let api = Api::new(urls, Some(token.clone()))?;
    let setup = async {
        ready(&api, &mut children).await?;
        // First who there is, then the field itself: a push of an unknown meter would be lost.
        field::describe(&simulator_program, &options, &layout).await?;
        field::register(&api, &options.dir).await?;
        children.start(field::simulator(&simulator_program, &options, &layout))?;
        write_description(&options.dir, &layout, &children, &token)?;
        Ok::<_, Failure>(town::settle(&api).await.unwrap_or_else(|failure| {
            println!("the town is not complete: {failure}");
            Vec::new()
        }))
    };
    let set_up = tokio::select! {
        set_up = setup => set_up,
        () = signals.next() => Err(Failure::failed("stopped", "stopped while starting")),
    };
    let people = match set_up {
        Ok(people) => people,
        Err(failure) => {
            children.stop_all().await;
            return Err(failure);
        }
    };
    greet(&options, &layout, &children, &token, &people);
    let watched = watch(&options, &layout, &mut children, &api, &token, &mut signals, began).await;
    println!("stopping");
    children.stop_all().await;
    println!("stopped; the data stays in {}", options.dir.display());
    watched
}

/// Makes the cluster's files, or takes up those of an earlier start.
fn prepare(options: &Options) -> Result<(Layout, Zeroizing<String>), Failure> {
    let dir = &options.dir;
    match Layout::load(dir)? {
        Some(layout) => {
            let layout = layout.adapt(dir, options)?;
            let token = layout::load_token(dir)?;
            println!("going on with the data in {}", dir.display());
            Ok((layout, token))
        }
        None => {
            let layout = Layout::new(options)?;
            layout::make_private_dir(dir)?;
            let specs: Vec<init::NodeSpec> = layout.nodes.iter().map(|n| n.spec()).collect();
            let made = init::init(&dir.join("cluster"), &specs, &layout::extra())?;
            layout::save_token(dir, &made.token)?;
            layout.save(dir)?;
            Ok((layout, made.token))
        }
    }
}

/// Waits until a leader is known and the cluster takes writes.
async fn ready(api: &Api, children: &mut Children) -> Result<(), Failure> {
    let until = Instant::now() + READY_LIMIT;
    loop {
        if let Some(dead) = children.dead().first() {
            let text = format!(
                "{dead} ended while starting; the end of its log {}:\n{}",
                children.log_path(dead).display(),
                children.log_tail(dead)
            );
            return Err(Failure::failed("child_ended", text));
        }
        let answer = api.get("/api/v1/cluster").await;
        if answer.is_ok_and(|body| body["leader"].is_string()) {
            return Ok(());
        }
        if Instant::now() >= until {
            let text = format!("no leader within {READY_LIMIT:?}; see the logs folder");
            return Err(Failure::failed("not_ready", text));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn watch(
    options: &Options,
    layout: &Layout,
    children: &mut Children,
    api: &Api,
    token: &Zeroizing<String>,
    signals: &mut Signals,
    began: Instant,
) -> Result<(), Failure> {
    let end = options.seconds.map(|seconds| began + Duration::from_secs(seconds));
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut next_line = Instant::now() + PROGRESS_EVERY;
    let mut last = progress::Seen::default();
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            () = at(end) => return Ok(()),
            _ = look.tick() => {}
        }
        if children.mind(!options.no_restart)? {
            write_description(&options.dir, layout, children, token)?;
        }
        if Instant::now() >= next_line {
            next_line = Instant::now() + PROGRESS_EVERY;
            // A stop must not wait for a cluster that does not answer.
            tokio::select! {
                () = signals.next() => return Ok(()),
                () = at(end) => return Ok(()),
                line = progress::line(api, &mut last) => println!("{line}"),
            }
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn greet(
    options: &Options,
    layout: &Layout,
    children: &Children,
    token: &Zeroizing<String>,
    people: &[town::Settled],
) {
    println!(
        "\nHoldfast runs: {} nodes, {} concentrators with {} meters each, {} meters on their own",
        layout.nodes.len(),
        options.concentrators,
        options.meters,
        options.direct
    );
    for node in &layout.nodes {
        let pid = children.pid(&node.name).unwrap_or(0);
        println!(
            "  {}  {}  concentrators dial {}  pid {pid}",
            node.name,
            node.url(),
            node.gateway()
        );
    }
    println!("  simulator  pid {}", children.pid(field::NAME).unwrap_or(0));
    println!(
        "  the last {} are played {} times faster than the clock; until then much is missing",
        options.history, options.speed
    );
    println!(
        "  the field plays its last {} {} times as fast: until it meets the real clock its \
         meters' clocks are behind, and the nodes say so",
        options.history, options.speed
    );
    println!("  log in as admin with password {}", token.as_str());
    println!(
        "  also in {} (and HOLDFAST_TOKEN of your shell, if you like)",
        options.dir.join("demo.json").display()
    );
    for town::Settled { name, role, place, password } in people {
        println!("  or as {name}, {role} of {place}, at first with {password}");
    }
    match options.seconds {
        Some(seconds) => println!("  stops after {seconds} s or at Ctrl-C\n"),
        None => println!("  Ctrl-C stops it\n"),
    }
}

/// Writes `demo.json`: whole or not at all, readable by its owner only.
fn write_description(
    dir: &Path,
    layout: &Layout,
    children: &Children,
    token: &Zeroizing<String>,
) -> Result<(), Failure> {
    let nodes: Vec<Value> = layout
        .nodes
        .iter()
        .map(|node| {
            let pid = children.pid(&node.name);
            json!({"name": node.name, "url": node.url(), "pid": pid})
        })
        .collect();
    let simulator = json!({"pid": children.pid(field::NAME)});
    let body = json!({"nodes": nodes, "simulator": simulator, "token": token.as_str()});
    layout::replace(&dir.join("demo.json"), format!("{body:#}\n").as_bytes())
}
