//! The verbs about the nodes of the cluster, and how far a change is.
//!
//! Not the rules: the leader grants or refuses. Invariants: a verb that waits ends with 0 only when
//! what it asked for is so; progress goes to standard error, the end to standard output.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Api;
use super::output::{field, table};
use super::{ClusterArgs, verbs};
use crate::areas::pages::encode;
use crate::exit::{Exit, Failure};

const LIST: &str = "/api/v1/cluster/members";
/// How often a change is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Entries that a learner may be behind and be called caught up.
const CAUGHT_UP: u64 = 100;

/// Verbs of members.
#[derive(Subcommand)]
pub enum MemberCommand {
    /// List the nodes of the cluster.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Take a new, empty node in; it receives the log and has no vote yet.
    Add {
        /// Which node.
        #[command(flatten)]
        new: NewNode,
        /// Give it a vote as soon as it has caught up.
        #[arg(long)]
        promote: bool,
        /// How long to wait for the end.
        #[command(flatten)]
        wait: Wait,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Give a node that has caught up a vote.
    Promote {
        /// Its name or number.
        name: String,
        /// How long to wait for the end.
        #[command(flatten)]
        wait: Wait,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Take a node out of the cluster.
    Remove {
        /// Its name or number.
        name: String,
        /// How long to wait for the end.
        #[command(flatten)]
        wait: Wait,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Let a new, empty node take the place of another, dead or alive.
    Replace {
        /// Name or number of the node that goes.
        lost: String,
        /// Which node comes.
        #[command(flatten)]
        new: NewNode,
        /// How long to wait for the end.
        #[command(flatten)]
        wait: Wait,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// A node that is to join.
#[derive(Args)]
pub struct NewNode {
    /// Its configuration, as `init --add` made it; says all that follows.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "id", "address", "http"])]
    config: Option<PathBuf>,
    /// Its name.
    #[arg(long, required_unless_present = "config")]
    name: Option<String>,
    /// Its number, as in its certificate.
    #[arg(long, required_unless_present = "config")]
    id: Option<u64>,
    /// Host and UDP port of its node link.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "config")]
    address: Option<String>,
    /// Its HTTP address.
    #[arg(long, value_name = "URL", default_value = "")]
    http: String,
}

/// How long to wait.
#[derive(Args)]
pub struct Wait {
    /// Seconds to wait for the end; the change goes on without the one who waits. 0: not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

/// `transfer-leader`.
#[derive(Args)]
pub struct TransferArgs {
    /// Name or number of the node that shall lead; the best one when left out.
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `drain`.
#[derive(Args)]
pub struct DrainArgs {
    /// Name or number of the node.
    pub name: String,
    /// Let it work again.
    #[arg(long)]
    pub undo: bool,
    /// How long to wait for the end.
    #[command(flatten)]
    pub wait: Wait,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl MemberCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::List { cluster }
            | Self::Add { cluster, .. }
            | Self::Promote { cluster, .. }
            | Self::Remove { cluster, .. }
            | Self::Replace { cluster, .. } => cluster,
        }
    }
}

impl NewNode {
    /// Name, and the body of the request.
    fn body(&self) -> Result<(String, Value), Failure> {
        if let Some(path) = &self.config {
            let known = crate::extend::read(path)?;
            let (name, id) = (known.spec.name, known.id);
            let body = json!({"id": id, "name": name, "address": known.address, "url": known.http});
            return Ok((name, body));
        }
        let name = self.name.clone().unwrap_or_default();
        let body = json!({"id": self.id, "name": name, "address": self.address, "url": self.http});
        Ok((name, body))
    }
}

/// `holdfast init --add`.
pub fn extend(
    dir: &Path,
    pairs: &[String],
    ports: (u16, u16, u16),
    json: bool,
) -> Result<(), Failure> {
    let added = crate::extend::extend(dir, pairs, ports)?;
    if json {
        let nodes = added.iter().map(|node| {
            json!({
                "id": node.id, "name": node.known.spec.name, "address": node.known.address,
                "url": node.known.http, "config": node.config.display().to_string(),
            })
        });
        println!("{}", json!({"nodes": nodes.collect::<Vec<_>>()}));
        return Ok(());
    }
    for node in &added {
        let config = node.config.display();
        println!("Made node {} (number {}).", node.known.spec.name, node.id);
        println!("Carry its folder to its host, start it, then take it in:");
        println!("  holdfast run --config {config}");
        println!("  holdfast member add --config {config}");
    }
    Ok(())
}

/// `holdfast init --renew`.
pub fn renew(dir: &Path, names: &[String], json: bool) -> Result<(), Failure> {
    let folders = crate::renew::renew(dir, names)?;
    if json {
        let folders: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
        println!("{}", json!({"folders": folders}));
        return Ok(());
    }
    for folder in &folders {
        let folder = folder.display();
        println!("Made {folder}/node.pem and {folder}/node.key; the pair before ends in .old.");
    }
    println!("Carry both to their host and have the node read them: systemctl reload holdfast");
    println!("(SIGHUP). It takes them when every node that it reaches does, and logs what it did.");
    Ok(())
}

/// `holdfast member …`.
pub async fn member(verb: MemberCommand) -> Result<(), Failure> {
    let args = verb.cluster().clone();
    let api = Api::of(&args)?;
    match verb {
        MemberCommand::List { .. } => list(&api, &args).await,
        MemberCommand::Add { new, promote, wait, .. } => {
            let (name, body) = new.body()?;
            let granted = api.post(LIST, &body).await?;
            let end = follow(&api, &granted, &wait, |members| learner(members, &name)).await?;
            if !promote || wait.wait == 0 {
                return tell(&args, &end);
            }
            self::promote(&api, &name, &wait, &args).await
        }
        MemberCommand::Promote { name, wait, .. } => self::promote(&api, &name, &wait, &args).await,
        MemberCommand::Remove { name, wait, .. } => {
            let granted = api.delete(&format!("{LIST}/{}", encode(&name))).await?;
            let end = follow(&api, &granted, &wait, |members| match find(members, &name) {
                Some(_) => Err(format!("{name} is being taken out")),
                None => Ok(format!("{name} is out of the cluster")),
            });
            tell(&args, &end.await?)
        }
        MemberCommand::Replace { lost, new, wait, .. } => {
            let (name, body) = new.body()?;
            let granted = api.post(&format!("{LIST}/{}/replace", encode(&lost)), &body).await?;
            let end = follow(&api, &granted, &wait, |members| {
                match (find(members, &name), find(members, &lost)) {
                    (Some(new), None) if new["voter"] == true => {
                        Ok(format!("{name} has taken the place of {lost}"))
                    }
                    (Some(new), _) => Err(progress(new)),
                    (None, _) => Err(format!("{name} is being taken in")),
                }
            });
            tell(&args, &end.await?)
        }
    }
}

async fn promote(api: &Api, name: &str, wait: &Wait, args: &ClusterArgs) -> Result<(), Failure> {
    let path = format!("{LIST}/{}/promote", encode(name));
    let granted = api.post(&path, &json!({})).await?;
    let end = follow(api, &granted, wait, |members| match find(members, name) {
        Some(node) if node["voter"] == true => Ok(format!("{name} votes")),
        Some(node) => Err(progress(node)),
        None => Err(format!("{name} is no member")),
    });
    tell(args, &end.await?)
}

fn learner(members: &Value, name: &str) -> Result<String, String> {
    match find(members, name) {
        Some(node) if node["voter"] == true => Ok(format!("{name} votes")),
        Some(node) if node["lag"].as_u64().is_some_and(|lag| lag <= CAUGHT_UP) => {
            Ok(format!("{name} has caught up; promote it to give it a vote"))
        }
        Some(node) => Err(progress(node)),
        None => Err(format!("{name} is being taken in")),
    }
}

/// `holdfast transfer-leader`.
pub async fn transfer(args: &TransferArgs) -> Result<(), Failure> {
    let api = Api::of(&args.cluster)?;
    let before = field(&api.get(LIST).await?, &["leader"]);
    let granted = api.post("/api/v1/cluster/leader", &json!({"to": args.to})).await?;
    let wait = Wait { wait: 15 };
    let end = follow(&api, &granted, &wait, |members| {
        let leader = field(members, &["leader"]);
        let named =
            |to: &String| find(members, to).is_some_and(|node| field(node, &["name"]) == leader);
        let done = match &args.to {
            Some(to) => named(to),
            None => leader != before && leader != "-",
        };
        if done { Ok(format!("{leader} leads")) } else { Err(format!("{leader} leads still")) }
    });
    tell(&args.cluster, &end.await?)
}

/// `holdfast drain`.
pub async fn drain(args: &DrainArgs) -> Result<(), Failure> {
    let api = Api::of(&args.cluster)?;
    let (name, path) = (&args.name, format!("{LIST}/{}/drain", encode(&args.name)));
    let granted =
        if args.undo { api.delete(&path).await? } else { api.post(&path, &json!({})).await? };
    let end = follow(&api, &granted, &args.wait, |members| {
        let Some(node) = find(members, name) else { return Err(format!("{name} is no member")) };
        let drained = node["drained"] == true;
        if args.undo {
            return if drained {
                Err(format!("{name} is drained still"))
            } else {
                Ok(format!("{name} works again"))
            };
        }
        let (channels, role) = (node["channels"].as_u64().unwrap_or(0), field(node, &["role"]));
        if drained && channels == 0 && role != "leader" {
            return Ok(format!("{name} is drained: it owns no channel and does not lead"));
        }
        Err(format!("{name}: {role}, {channels} channels to give up"))
    });
    tell(&args.cluster, &end.await?)
}

/// Looks at the members until `done` says so; tells every piece of news on the way.
async fn follow(
    api: &Api,
    granted: &Value,
    wait: &Wait,
    done: impl Fn(&Value) -> Result<String, String>,
) -> Result<Value, Failure> {
    let until = Instant::now() + Duration::from_secs(wait.wait);
    let mut told = String::new();
    if wait.wait == 0 {
        return Ok(json!({"index": granted["index"], "done": false, "detail": "granted"}));
    }
    loop {
        // A node that stops or loses its leader in between is no reason to give up.
        match seen_best(api).await {
            Ok(members) => match done(&members) {
                Ok(end) => {
                    return Ok(json!({"index": granted["index"], "done": true, "detail": end}));
                }
                Err(news) if news != told => {
                    eprintln!("{news}");
                    told = news;
                }
                Err(_) => {}
            },
            Err(failure) if matches!(failure.exit, Exit::TryAgain | Exit::Unreachable) => {}
            Err(failure) => return Err(failure),
        }
        if Instant::now() >= until {
            let text = format!("granted, and not done within {} s: {told}", wait.wait);
            return Err(Failure::new(Exit::TryAgain, "not_done_yet", text));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The members as the leader sees them, who alone knows how far the others are; as any node sees
/// them when the leader cannot be asked.
async fn seen_best(api: &Api) -> Result<Value, Failure> {
    let members = api.get(LIST).await?;
    let leader = members["leader"].as_str().and_then(|name| find(&members, name));
    let Some(url) = leader.and_then(|node| node["url"].as_str()) else { return Ok(members) };
    if !url.starts_with("http") {
        return Ok(members);
    }
    Ok(api.at(url).get(LIST).await.unwrap_or(members))
}

fn tell(args: &ClusterArgs, end: &Value) -> Result<(), Failure> {
    if args.json {
        println!("{end}");
    } else {
        println!("{}", field(end, &["detail"]));
    }
    Ok(())
}

/// A member by name or number.
fn find<'a>(members: &'a Value, name: &str) -> Option<&'a Value> {
    let mut items = members["items"].as_array()?.iter();
    items.find(|node| node["name"] == name || field(node, &["id"]) == name)
}

fn progress(node: &Value) -> String {
    let lag = match node["lag"].as_u64() {
        Some(lag) => format!("{lag} entries behind"),
        None => "receives the state".to_string(),
    };
    let name = field(node, &["name"]);
    if node["reachable"] == true {
        format!("{name}: {}, {lag}", field(node, &["role"]))
    } else {
        format!("{name}: {}", field(node, &["trouble"]))
    }
}

async fn list(api: &Api, args: &ClusterArgs) -> Result<(), Failure> {
    let body = api.get(LIST).await?;
    if args.json {
        println!("{body}");
        return Ok(());
    }
    let rows = verbs::rows(&body["items"], |node| {
        let get = |name: &str| field(node, &[name]);
        let up = if node["reachable"] == true { "up" } else { "down" };
        let state = match (node["drained"] == true, node["wish"].as_str()) {
            (_, Some("gone")) => "leaving".to_string(),
            (_, Some("voter")) => "joining".to_string(),
            (true, _) => "drained".to_string(),
            (false, _) => String::new(),
        };
        let link = up.to_string();
        vec![
            get("id"),
            get("name"),
            get("role"),
            link,
            get("lag"),
            get("channels"),
            state,
            get("address"),
        ]
    });
    table(&["ID", "NODE", "ROLE", "LINK", "LAG", "CHANNELS", "STATE", "ADDRESS"], &rows);
    tell_failover(&body);
    Ok(())
}

/// Says loudly what a cluster of one or two cannot do.
pub fn tell_failover(body: &Value) {
    match body["power"].as_str() {
        Some("battery") => println!("ON BATTERY: the answering node's UPS has no mains"),
        Some("low") => println!("BATTERY LOW: the answering node handed over and takes nothing"),
        _ => {}
    }
    match body["voters"].as_u64() {
        Some(1) => println!("NO FAILOVER: one voter; its disk is the only copy"),
        Some(2) => println!("NO FAILOVER: two voters; without either, no writes"),
        _ => {}
    }
}
