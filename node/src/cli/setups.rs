//! `holdfast setup`, `holdfast rollout`: parameters of concentrators, of one and of many.
//!
//! Invariant: `push` and `read` end with 0 only when the concentrator was read back as it should
//! stand; `rollout begin` only begins.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, table};
use super::verbs::{answered, execute, rows, wait_for};
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Verbs of setups.
#[derive(Subcommand)]
pub enum SetupCommand {
    /// Parameters of a concentrator: wanted, read, and where they differ.
    Show {
        /// Logical device name.
        id: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Read all parameters from a concentrator now.
    Read {
        /// Logical device name.
        id: String,
        /// Seconds until it is not sent any more.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Say what is wanted of concentrators: a new version of each. Nothing is sent by that.
    Want(Want),
    /// Set a concentrator to what is wanted of it, and read it back.
    Push {
        /// Logical device name.
        id: String,
        /// So long a new address has to prove itself, seconds.
        #[arg(long, default_value_t = 120)]
        trial: u16,
        /// Seconds until it is not sent any more.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List the templates.
    Templates {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show a template with its history.
    Template {
        /// Its name.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Set a template: a new version of it.
    Save {
        /// Its name.
        name: String,
        /// A parameter and its value; all that the template sets.
        #[arg(long = "set", value_name = "NAME=VALUE", required = true)]
        set: Vec<String>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// `setup want`.
#[derive(Args)]
pub struct Want {
    /// Logical device names.
    #[arg(required = true)]
    ids: Vec<String>,
    /// The template that counts where the settings say nothing; kept when left out.
    #[arg(long, conflicts_with = "no_template")]
    template: Option<String>,
    /// No template any more.
    #[arg(long)]
    no_template: bool,
    /// A parameter and its value; the others stay.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A parameter that is not set by itself any more.
    #[arg(long = "unset", value_name = "NAME")]
    unset: Vec<String>,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
    /// How to reach the cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Verbs of rollouts.
#[derive(Subcommand)]
pub enum RolloutCommand {
    /// Begin one: set many concentrators to what is wanted of each, restart or read them, in waves.
    Begin(Box<Begin>),
    /// List them, newest first.
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one with what became of each concentrator.
    Show {
        /// Its number.
        id: u64,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Order nothing more for now.
    Pause(Steer),
    /// Go on, also after it stopped because too much failed.
    Resume(Steer),
    /// End it, and take back what was not sent.
    Abort(Steer),
}

/// `rollout begin`.
#[derive(Args)]
pub struct Begin {
    /// Logical device names.
    ids: Vec<String>,
    /// All concentrators of which this template is wanted.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// push, restart, or read all parameters.
    #[arg(long, default_value = "push", value_parser = ["push", "restart", "read"])]
    work: String,
    /// So many at a time, 1 to 256.
    #[arg(long, default_value_t = 10)]
    wave: u16,
    /// When more than this share of a wave failed, nothing more is ordered.
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    stop_above: u8,
    /// Seconds that an order waits for its concentrator.
    #[arg(long, default_value_t = 300)]
    wait: u32,
    /// So long a new address has to prove itself, seconds.
    #[arg(long, default_value_t = 120)]
    trial: u16,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
    /// How to reach the cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What steers a rollout.
#[derive(Args)]
pub struct Steer {
    /// Its number.
    id: u64,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
    /// How to reach the cluster.
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl SetupCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::Want(want) => &want.cluster,
            Self::Show { cluster, .. }
            | Self::Read { cluster, .. }
            | Self::Push { cluster, .. }
            | Self::Templates { cluster }
            | Self::Template { cluster, .. }
            | Self::Save { cluster, .. } => cluster,
        }
    }
}

impl RolloutCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::Begin(begin) => &begin.cluster,
            Self::List { cluster } | Self::Show { cluster, .. } => cluster,
            Self::Pause(steer) | Self::Resume(steer) | Self::Abort(steer) => &steer.cluster,
        }
    }
}

/// Does what `holdfast setup` says.
pub async fn setup(verb: SetupCommand) -> Result<(), Failure> {
    match verb {
        SetupCommand::Show { id, cluster } => {
            print_setup(&Api::of(&cluster)?.get(&path(&id, "")).await?, cluster.json);
            Ok(())
        }
        SetupCommand::Read { id, timeout, cluster } => {
            let api = Api::of(&cluster)?;
            let ended = execute(&api, &id, &json!({"kind": "read_setup"}), timeout).await?;
            stands(&api, &id, &ended, &cluster).await
        }
        SetupCommand::Want(want) => self::want(&want).await,
        SetupCommand::Push { id, trial, timeout, cluster } => {
            let api = Api::of(&cluster)?;
            let body = json!({"trial_s": trial, "expires_in_s": timeout});
            let queued = api.post(&path(&id, "/push"), &body).await?;
            let limit_s = timeout.saturating_add(u64::from(trial)).saturating_add(60);
            let ended = wait_for(&api, &field(&queued, &["id"]), limit_s).await?;
            stands(&api, &id, &ended, &cluster).await
        }
        SetupCommand::Templates { cluster } => {
            let body = Api::of(&cluster)?.get("/api/v1/setups").await?;
            if cluster.json {
                println!("{body}");
                return Ok(());
            }
            let lines = rows(&body["items"], |one| {
                let get = |name: &str| field(one, &[name]);
                vec![get("name"), get("version"), get("author"), settings(&one["settings"])]
            });
            table(&["TEMPLATE", "VERSION", "SET BY", "SETTINGS"], &lines);
            Ok(())
        }
        SetupCommand::Template { name, cluster } => {
            let body = Api::of(&cluster)?.get(&format!("/api/v1/setups/{}", encode(&name))).await?;
            print_template(&body, cluster.json);
            Ok(())
        }
        SetupCommand::Save { name, set, reason, cluster } => {
            let api = Api::of(&cluster)?;
            let at = format!("/api/v1/setups/{}", encode(&name));
            let listed = api.get("/api/v1/setups").await?;
            let mut items = listed["items"].as_array().into_iter().flatten();
            let known = items.find(|one| one["name"] == name.as_str());
            let seen = known.map_or(json!(0), |one| one["version"].clone());
            let body = json!({"seen": seen, "settings": given(&set)?, "reason": reason});
            print_template(&api.post(&at, &body).await?, cluster.json);
            Ok(())
        }
    }
}

/// Fails with why an order came to nothing, or prints the parameters as they were read.
async fn stands(api: &Api, id: &str, ended: &Value, cluster: &ClusterArgs) -> Result<(), Failure> {
    if cluster.json {
        println!("{ended}");
        return answered(ended);
    }
    answered(ended)?;
    print_setup(&api.get(&path(id, "")).await?, false);
    Ok(())
}

fn path(id: &str, what: &str) -> String {
    format!("/api/v1/concentrators/{}/setup{what}", encode(id))
}

/// `NAME=VALUE`: what is no number, true or false is text.
fn given(set: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut values = Map::new();
    for one in set {
        let Some((name, value)) = one.split_once('=') else {
            return Err(Failure::failed("bad_setting", format!("{one}: not NAME=VALUE")));
        };
        let value = match (value.parse::<u64>(), value.parse::<bool>()) {
            (Ok(number), _) => json!(number),
            (_, Ok(yes)) => json!(yes),
            _ => json!(value),
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

async fn want(want: &Want) -> Result<(), Failure> {
    let api = Api::of(&want.cluster)?;
    let set = given(&want.set)?;
    for id in &want.ids {
        let now = api.get(&path(id, "")).await?;
        let wanted = &now["wanted"];
        let mut settings = wanted["settings"].as_object().cloned().unwrap_or_default();
        settings.extend(set.clone());
        settings.retain(|name, _| !want.unset.contains(name));
        let template = match (&want.template, want.no_template) {
            (Some(name), _) => json!(name),
            (None, true) => Value::Null,
            (None, false) => wanted["template"].clone(),
        };
        let seen = wanted["version"].as_u64().unwrap_or(0);
        let body = json!({
            "seen": seen, "template": template, "settings": settings, "reason": want.reason,
        });
        let body = api.post(&path(id, ""), &body).await?;
        print_setup(&body, want.cluster.json);
    }
    Ok(())
}

fn settings(settings: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let all = settings.as_object().into_iter().flatten();
    all.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

fn print_setup(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    let id = field(body, &["concentrator"]);
    match &body["wanted"] {
        Value::Null => println!("{id}: nothing is wanted of it"),
        wanted => {
            let get = |name: &str| field(wanted, &[name]);
            let template = match &wanted["template"] {
                Value::Null => "no template".to_owned(),
                _ => format!("template {}", get("template")),
            };
            println!(
                "{id}: wanted version {}, {template}, by {} at {}: {}",
                get("version"),
                get("author"),
                get("set"),
                get("reason")
            );
        }
    }
    let lines = rows(&body["parameters"], |one| {
        ["name", "wanted", "from", "reported", "read", "standing"]
            .map(|name| field(one, &[name]))
            .to_vec()
    });
    table(&["PARAMETER", "WANTED", "BY", "REPORTED", "READ", "STANDING"], &lines);
    println!("{} differ", field(body, &["differ"]));
}

fn print_template(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    println!("template {}, version {}", field(body, &["name"]), field(body, &["version"]));
    for (name, value) in body["settings"].as_object().into_iter().flatten() {
        println!("  {name} = {}", value.as_str().map_or(value.to_string(), str::to_owned));
    }
    let lines = rows(&body["history"], |one| {
        let get = |name: &str| field(one, &[name]);
        vec![get("version"), get("set"), get("author"), get("reason"), settings(&one["settings"])]
    });
    table(&["VERSION", "SET", "BY", "REASON", "SETTINGS"], &lines);
}

/// Does what `holdfast rollout` says.
pub async fn rollout(verb: RolloutCommand) -> Result<(), Failure> {
    match verb {
        RolloutCommand::Begin(begin) => {
            let body = json!({
                "work": begin.work, "concentrators": begin.ids, "template": begin.template,
                "wave": begin.wave, "stop_percent": begin.stop_above, "wait_s": begin.wait,
                "trial_s": begin.trial, "reason": begin.reason,
            });
            let begun = Api::of(&begin.cluster)?.post("/api/v1/rollouts", &body).await?;
            print_rollout(&begun, begin.cluster.json);
            Ok(())
        }
        RolloutCommand::List { cluster } => {
            let body = Api::of(&cluster)?.get("/api/v1/rollouts").await?;
            if cluster.json {
                println!("{body}");
                return Ok(());
            }
            let lines = rows(&body["items"], |one| {
                ["id", "work", "phase", "total", "verified", "failed", "open", "by", "begun"]
                    .map(|name| field(one, &[name]))
                    .to_vec()
            });
            let head =
                ["ROLLOUT", "WORK", "PHASE", "OF", "VERIFIED", "FAILED", "OPEN", "BY", "BEGUN"];
            table(&head, &lines);
            Ok(())
        }
        RolloutCommand::Show { id, cluster } => {
            let body = whole(&Api::of(&cluster)?, id).await?;
            print_rollout(&body, cluster.json);
            Ok(())
        }
        RolloutCommand::Pause(args) => steer("pause", &args).await,
        RolloutCommand::Resume(args) => steer("resume", &args).await,
        RolloutCommand::Abort(args) => steer("abort", &args).await,
    }
}

/// A rollout with all its devices.
async fn whole(api: &Api, id: u64) -> Result<Value, Failure> {
    let mut body = api.get(&format!("/api/v1/rollouts/{id}")).await?;
    while let Some(next) = body["next"].as_u64() {
        let mut page = api.get(&format!("/api/v1/rollouts/{id}?from={next}")).await?;
        let more = page["targets"].take();
        if let (Some(all), Value::Array(more)) = (body["targets"].as_array_mut(), more) {
            all.extend(more);
        }
        body["next"] = page["next"].take();
    }
    Ok(body)
}

async fn steer(to: &str, args: &Steer) -> Result<(), Failure> {
    let body = json!({"to": to, "reason": args.reason});
    let path = format!("/api/v1/rollouts/{}", args.id);
    let body = Api::of(&args.cluster)?.post(&path, &body).await?;
    print_rollout(&body, args.cluster.json);
    Ok(())
}

fn print_rollout(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    let get = |name: &str| field(body, &[name]);
    println!(
        "rollout {} ({}): {}, begun by {} at {}: {}",
        get("id"),
        get("work"),
        get("phase"),
        get("by"),
        get("begun"),
        get("reason")
    );
    if !body["steered_by"].is_null() {
        println!("last steered by {}: {}", get("steered_by"), get("steered_reason"));
    }
    println!(
        "wave {} of {} at a time, stops above {} % failed",
        get("wave"),
        get("wave_size"),
        get("stop_percent")
    );
    println!(
        "{} of {} ordered: {} verified, {} failed, {} open",
        get("ordered"),
        get("total"),
        get("verified"),
        get("failed"),
        get("open")
    );
    let lines = rows(&body["targets"], |one| {
        ["concentrator", "fate", "code", "command"].map(|name| field(one, &[name])).to_vec()
    });
    table(&["CONCENTRATOR", "FATE", "WHY", "COMMAND"], &lines);
}

#[cfg(test)]
mod tests {
    use super::given;
    use serde_json::json;

    #[test]
    fn words_become_numbers_flags_and_text() {
        let set = ["a=60", "b=true", "c=host:4059", "d=", "e=10.0.0.1"].map(str::to_owned);
        let values = given(&set).expect("good ones");
        let wanted = json!({"a": 60, "b": true, "c": "host:4059", "d": "", "e": "10.0.0.1"});
        assert_eq!(json!(values), wanted);
        assert!(given(&["x".to_owned()]).is_err());
    }
}
