//! `holdfast task`: what is read again and again, and what came of it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, table, text};
use super::verbs::rows;
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Verbs of tasks.
#[derive(Subcommand)]
pub enum TaskCommand {
    /// Make a task, or change one with --change.
    Add(Box<TaskAdd>),
    /// List them with their last runs.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one with its runs.
    Show {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// The meters that were given up in a run, and why.
    Failures {
        /// Its name.
        name: String,
        /// Which run; the last one when left out.
        #[arg(long)]
        run: Option<u64>,
        /// The most meters that are shown.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// How far the clocks of concentrators are off, as a task of clocks measured them last.
    Clocks {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Begin no run and go on with none.
    Pause {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Go on.
    Resume {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Begin a run now.
    Run {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Remove one with its runs; what was read stays.
    Remove {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// `task add`.
#[derive(Args)]
pub struct TaskAdd {
    /// Its name.
    pub name: String,
    /// Change a task that is there.
    #[arg(long)]
    pub change: bool,
    /// What is read.
    #[arg(long, value_parser = [
        "billing", "events", "registers", "instantaneous", "clock", "clock_shift", "load",
    ])]
    pub what: String,
    /// A register, several with several; the models' when left out.
    #[arg(long = "obis", value_name = "OBIS")]
    pub registers: Vec<String>,
    /// The profile, of billing and load; the models' when left out.
    #[arg(long, value_name = "OBIS")]
    pub profile: Option<String>,
    /// An event log, several with several; the models' when left out.
    #[arg(long = "log", value_name = "OBIS")]
    pub logs: Vec<String>,
    /// How far back, as 2d: of load from the due time, else when nothing was read yet.
    #[arg(long, value_parser = seconds)]
    pub reach: Option<u32>,
    /// A concentrator whose meters are read, several with several; all when nothing is named.
    #[arg(
        long = "concentrator",
        value_name = "NAME",
        conflicts_with_all = ["meters", "models", "regions"]
    )]
    pub concentrators: Vec<String>,
    /// A meter that is read, several with several.
    #[arg(long = "meter", value_name = "SERIAL", conflicts_with_all = ["models", "regions"])]
    pub meters: Vec<String>,
    /// A model whose meters are read, several with several.
    #[arg(long = "model", value_name = "NAME", conflicts_with = "regions")]
    pub models: Vec<String>,
    /// A region whose meters are read, and those below it, by its number; several with several.
    #[arg(long = "region", value_name = "NUMBER")]
    pub regions: Vec<u32>,
    /// When, in local time: minute, hour, day of month, month, day of week, as cron has them; only
    /// by `task run` when left out.
    #[arg(long)]
    pub cron: Option<String>,
    /// The time zone, as Europe/Berlin.
    #[arg(long, default_value = "UTC")]
    pub zone: String,
    /// A run begins so long after it was due, as 5m.
    #[arg(long, default_value = "0s", value_parser = seconds)]
    pub delay: u32,
    /// Devices begin spread over so long, as 1m.
    #[arg(long, value_parser = seconds)]
    pub spread: Option<u32>,
    /// A run ends so long after it began, as 6h.
    #[arg(long, default_value = "6h", value_parser = seconds)]
    pub lasts: u32,
    /// Among tasks that read the same kind of thing the lower number goes first.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub priority: u8,
    /// How often a meter that fails is asked in one run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub attempts: u8,
    /// Pause after a meter's first failure; doubles.
    #[arg(long, default_value = "5m", value_parser = seconds)]
    pub backoff: u32,
    /// The longest such pause.
    #[arg(long, value_parser = seconds)]
    pub backoff_cap: Option<u32>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl TaskCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            TaskCommand::Add(add) => &add.cluster,
            TaskCommand::List { cluster }
            | TaskCommand::Show { cluster, .. }
            | TaskCommand::Failures { cluster, .. }
            | TaskCommand::Clocks { cluster, .. }
            | TaskCommand::Pause { cluster, .. }
            | TaskCommand::Resume { cluster, .. }
            | TaskCommand::Run { cluster, .. }
            | TaskCommand::Remove { cluster, .. } => cluster,
        }
    }
}

/// Does what `holdfast task` says.
pub async fn task(verb: TaskCommand) -> Result<(), Failure> {
    match verb {
        TaskCommand::Add(add) => self::add(&add).await,
        TaskCommand::List { cluster } => list(&cluster).await,
        TaskCommand::Show { name, cluster } => show(&name, &cluster).await,
        TaskCommand::Failures { name, run, limit, cluster } => {
            failures(&name, run, limit, &cluster).await
        }
        TaskCommand::Clocks { name, cluster } => clocks(&name, &cluster).await,
        TaskCommand::Pause { name, cluster } => turn(&name, "pause", &cluster).await,
        TaskCommand::Resume { name, cluster } => turn(&name, "resume", &cluster).await,
        TaskCommand::Run { name, cluster } => turn(&name, "run", &cluster).await,
        TaskCommand::Remove { name, cluster } => {
            Api::of(&cluster)?.delete(&path(&name)).await?;
            if !cluster.json {
                println!("removed");
            }
            Ok(())
        }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/tasks/{}", encode(name))
}

async fn add(add: &TaskAdd) -> Result<(), Failure> {
    let api = Api::of(&add.cluster)?;
    let seen = match add.change {
        true => api.get(&path(&add.name)).await?["version"].clone(),
        false => json!(0),
    };
    let whom = match (&add.concentrators, &add.meters, &add.models) {
        (names, _, _) if !names.is_empty() => json!({"concentrators": names}),
        (_, serials, _) if !serials.is_empty() => json!({"meters": serials}),
        (_, _, names) if !names.is_empty() => json!({"models": names}),
        _ if !add.regions.is_empty() => json!({"regions": add.regions}),
        _ => json!("all"),
    };
    let body = json!({
        "name": add.name, "seen": seen, "what": add.what, "registers": add.registers,
        "profile": add.profile, "logs": add.logs, "reach_s": add.reach, "whom": whom,
        "cron": add.cron.as_deref().unwrap_or_default(), "zone": add.zone, "delay_s": add.delay,
        "spread_s": add.spread, "lasts_s": add.lasts, "priority": add.priority,
        "attempts": add.attempts, "backoff_s": add.backoff, "backoff_cap_s": add.backoff_cap,
    });
    told(&api.post("/api/v1/tasks", &body).await?, add.cluster.json);
    Ok(())
}

async fn turn(name: &str, verb: &str, cluster: &ClusterArgs) -> Result<(), Failure> {
    let path = format!("{}/{verb}", path(name));
    told(&Api::of(cluster)?.post(&path, &json!({})).await?, cluster.json);
    Ok(())
}

async fn list(cluster: &ClusterArgs) -> Result<(), Failure> {
    let body = Api::of(cluster)?.get("/api/v1/tasks").await?;
    if cluster.json {
        println!("{body}");
        return Ok(());
    }
    let rows = rows(&body["items"], |one| {
        let get = |path: &[&str]| field(one, path);
        vec![
            get(&["name"]),
            get(&["what"]),
            get(&["state"]),
            get(&["cron"]),
            get(&["zone"]),
            get(&["next"]),
            progress(&one["run"]),
        ]
    });
    table(&["NAME", "WHAT", "STATE", "WHEN", "ZONE", "NEXT", "LAST RUN"], &rows);
    Ok(())
}

async fn show(name: &str, cluster: &ClusterArgs) -> Result<(), Failure> {
    let api = Api::of(cluster)?;
    let body = api.get(&path(name)).await?;
    let runs = api.get(&format!("{}/runs", path(name))).await?;
    if cluster.json {
        println!("{}", json!({"task": body, "runs": runs["items"]}));
        return Ok(());
    }
    told(&body, false);
    let rows = rows(&runs["items"], |one| {
        let names = ["number", "due", "state", "meters", "done", "failed", "left", "rows"];
        let reasons = rows(&one["reasons"], |one| {
            vec![format!("{} {}", field(one, &["meters"]), field(one, &["reason"]))]
        });
        let mut cells = names.map(|name| field(one, &[name])).to_vec();
        cells.push(reasons.concat().join(", "));
        cells
    });
    let head = ["RUN", "DUE", "STATE", "METERS", "DONE", "FAILED", "LEFT", "ROWS", "WHY"];
    table(&head, &rows);
    Ok(())
}

async fn failures(
    name: &str,
    run: Option<u64>,
    limit: usize,
    cluster: &ClusterArgs,
) -> Result<(), Failure> {
    let api = Api::of(cluster)?;
    let run = run.map(|run| format!("&run={run}")).unwrap_or_default();
    let (mut items, mut cursor) = (Vec::new(), String::new());
    while items.len() < limit {
        let page = (limit - items.len()).clamp(1, 1000);
        let path = format!("{}/failures?limit={page}{run}{cursor}", path(name));
        let mut page = api.get(&path).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
    }
    let items = Value::Array(items);
    if cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let rows = rows(&items, |one| {
        ["serial", "concentrator", "reason"].map(|name| field(one, &[name])).to_vec()
    });
    table(&["SERIAL", "CONCENTRATOR", "REASON"], &rows);
    Ok(())
}

async fn clocks(name: &str, cluster: &ClusterArgs) -> Result<(), Failure> {
    let api = Api::of(cluster)?;
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = api.get(&format!("{}/clocks?limit=1000{cursor}", path(name))).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
    }
    let items = Value::Array(items);
    if cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let rows = rows(&items, |one| {
        ["concentrator", "offset_s", "measured"].map(|name| field(one, &[name])).to_vec()
    });
    table(&["CONCENTRATOR", "OFF BY S", "MEASURED"], &rows);
    Ok(())
}

fn told(body: &Value, json: bool) {
    if json {
        println!("{body}");
        return;
    }
    let get = |name: &str| field(body, &[name]);
    let whom = match body["whom"].as_object().and_then(|whom| whom.iter().next()) {
        Some((kind, names)) => {
            let names = rows(names, |name| vec![text(name)]).concat();
            format!("{kind} {}", names.join(", "))
        }
        None => "all meters".to_owned(),
    };
    println!(
        "{}: {} of {whom} (version {}, {})",
        get("name"),
        get("what"),
        get("version"),
        get("state")
    );
    let when = match body["cron"].as_str() {
        Some("") | None => "when it is told to".to_owned(),
        Some(cron) => format!("at {cron} ({}), next {}", get("zone"), get("next")),
    };
    println!("Runs {when}; last run: {}", progress(&body["run"]));
}

fn progress(run: &Value) -> String {
    if run.is_null() {
        return "none".to_owned();
    }
    let get = |name: &str| field(run, &[name]);
    format!("{} of {} done, {} failed, {}", get("done"), get("meters"), get("failed"), get("state"))
}

/// A time as 90, 90s, 15m, 6h or 31d, in seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let wanted = || "a time looks like 90s, 15m, 6h or 31d".to_owned();
    let (digits, unit) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    let number: u32 = digits.parse().map_err(|_| wanted())?;
    number.checked_mul(unit).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        for (text, expect) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("6h", Some(21_600)),
            ("31d", Some(31 * 86_400)),
            ("", None),
            ("h", None),
            ("-1s", None),
            ("1w", None),
            ("99999999d", None),
        ] {
            assert_eq!(seconds(text).ok(), expect, "{text}");
        }
    }
}
