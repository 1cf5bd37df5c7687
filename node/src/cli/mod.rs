//! The command line: what there is to say, and who does it.
//!
//! Invariants: results go to standard output, everything else to standard error; exit codes are
//! those of `exit`; with `--json` results and failures are JSON.

mod acceptance;
mod add;
mod audit;
mod backup;
mod channels;
mod client;
mod clocks;
mod collection;
mod decode;
mod devices;
mod dictionaries;
mod drill;
mod gaps;
mod import;
mod live;
mod login;
mod members;
mod meters;
mod model;
mod monitor;
mod operators;
mod orders;
mod output;
mod parameters;
pub mod reference;
mod regions;
mod registry;
mod restore;
mod setups;
mod tasks;
mod values;
mod verbs;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use client::{Api, NoAnswer};
use devices::{CommandCommand, ConcentratorCommand, MeterCommand};

use crate::exit::{Exit, Failure};
use crate::{config, init, observe};

/// Head-end for electricity meters that runs as a Raft cluster.
#[derive(Parser)]
#[command(name = "holdfast", version = version(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A whole cluster with a simulated field on this machine.
    Demo(crate::demo::Options),
    /// Make certificates, secrets and configurations of a new cluster.
    Init(InitArgs),
    /// Run one node.
    Run(RunArgs),
    /// List every fault of a configuration; exit 64 if there is one.
    CheckConfig {
        /// The configuration file.
        file: PathBuf,
    },
    /// The cluster: leader, nodes, indexes.
    Status {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Nodes of the cluster.
    #[command(subcommand)]
    Member(members::MemberCommand),
    /// Hand the leadership to another node.
    TransferLeader(members::TransferArgs),
    /// Let a node give its channels and its office to others and take none.
    Drain(members::DrainArgs),
    /// Ask every node what it holds and name every difference; exit 1 if there is one.
    Verify {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Concentrators.
    #[command(subcommand)]
    Concentrator(ConcentratorCommand),
    /// Meters.
    #[command(subcommand)]
    Meter(MeterCommand),
    /// Commands to devices.
    #[command(subcommand, name = "command")]
    Order(CommandCommand),
    /// Meter models.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// What operators decide for all nodes.
    #[command(subcommand)]
    Parameters(parameters::ParametersCommand),
    /// Log in as an operator.
    Login(login::LoginArgs),
    /// End the session whose token is given.
    Logout {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Who is logged in, and what he may do.
    Whoami {
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Change your own password.
    Passwd(login::PasswdArgs),
    /// People and programs, their roles, passwords and tokens.
    #[command(subcommand)]
    Operator(operators::OperatorCommand),
    /// Regions of the utility, and what lies in them.
    #[command(subcommand)]
    Region(regions::RegionCommand),
    /// Network, points, customers, contracts and meters at points, as they are and were.
    #[command(subcommand)]
    Registry(Box<registry::RegistryCommand>),
    /// Find a customer, point, meter or part of the network by any part of what it is called.
    Search(registry::SearchArgs),
    /// Who did what: the audit trail, newest first.
    Audit(audit::AuditArgs),
    /// Stored values of many meters.
    #[command(subcommand)]
    Readings(values::ReadingsCommand),
    /// How much of what was due is stored: first pass, after refill, overall, by concentrator.
    Collection(collection::CollectionArgs),
    /// The codes that answers use, with their words in a language.
    Dictionary(dictionaries::DictionaryArgs),
    /// Which values were due and are not stored: of a meter, or of a concentrator's meters.
    Gaps(gaps::GapsArgs),
    /// What is read again and again, of whom, when; and what came of it.
    #[command(subcommand)]
    Task(tasks::TaskCommand),
    /// Clocks of devices that are off, and what was done about them.
    #[command(subcommand)]
    Clock(clocks::ClockCommand),
    /// Parameters of concentrators: wanted, read, pushed; templates of them.
    #[command(subcommand)]
    Setup(setups::SetupCommand),
    /// The same done to many concentrators, wave by wave.
    #[command(subcommand)]
    Rollout(setups::RolloutCommand),
    /// Take a backup of the running cluster; list, verify and prune backups.
    Backup(Box<backup::BackupArgs>),
    /// Failures on purpose: hurt the cluster, measure how it takes it, keep a sealed report.
    #[command(subcommand)]
    Drill(drill::DrillCommand),
    /// Every figure of the specification, measured on this cluster: report as JSON, HTML, PDF.
    Acceptance(acceptance::AcceptanceArgs),
    /// Make a new cluster from a backup.
    Restore(Box<restore::RestoreArgs>),
    /// The monitoring server: metrics of the nodes become SMS and mail.
    Monitor(monitor::MonitorArgs),
    /// Octets of a frame as a tree; exit 1 and the offset when they make no sense.
    Decode(decode::DecodeArgs),
}

#[derive(Args)]
struct InitArgs {
    /// The folder to make; refused when anything is in it, unless with --add or --renew.
    #[arg(long)]
    dir: PathBuf,
    /// A node and the host or address where it is reached; once for every node.
    #[arg(long = "node", value_name = "NAME=HOST", required_unless_present_any = ["add", "renew"])]
    nodes: Vec<String>,
    /// One more node for a cluster whose folder is there already.
    #[arg(long, value_name = "NAME=HOST", conflicts_with = "nodes")]
    add: Vec<String>,
    /// Another certificate and key for a node of a folder that is there already.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["nodes", "add"])]
    renew: Vec<String>,
    /// TCP port of API and page.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    http_port: u16,
    /// TCP port for concentrators.
    #[arg(long, default_value_t = 4059, value_parser = clap::value_parser!(u16).range(1..))]
    gateway_port: u16,
    /// UDP port between nodes.
    #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..))]
    cluster_port: u16,
    /// Results as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RunArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// End when the parent process ends; used by `demo`.
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

/// How to reach the cluster.
#[derive(Args, Clone)]
pub struct ClusterArgs {
    /// Address of a node, or several with commas: the first that answers is asked.
    #[arg(long, env = "HOLDFAST_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The admin token or a session token.
    #[arg(long, env = "HOLDFAST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file that holds the token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Authorities to trust (PEM) instead of the system's.
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Results and failures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How a list is cut.
#[derive(Args, Clone)]
pub struct ListArgs {
    /// Only names that contain this text.
    #[arg(long)]
    pub query: Option<String>,
    /// The most items.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.command.json();
    if !matches!(cli.command, Command::Run(_) | Command::Monitor(_)) {
        end_with_the_reader();
    }
    let Err(failure) = dispatch(cli.command) else { return ExitCode::SUCCESS };
    if json {
        let body = serde_json::json!({"code": failure.code, "detail": failure.message});
        eprintln!("{body}");
    } else {
        eprintln!("{failure}");
    }
    ExitCode::from(failure.exit as u8)
}

/// Who reads what a verb prints may stop reading (`| head`): the verb ends then as other programs
/// do, by the number of the signal that they get, and does not call it a fault.
fn end_with_the_reader() {
    const BROKEN_PIPE: i32 = 128 + 13;
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(BROKEN_PIPE);
        }
        usual(panic);
    }));
}

impl Command {
    fn json(&self) -> bool {
        match self {
            Command::Demo(_) | Command::Run(_) | Command::CheckConfig { .. } => false,
            Command::Monitor(_) => false,
            Command::Init(args) => args.json,
            Command::Status { cluster }
            | Command::Verify { cluster }
            | Command::Logout { cluster }
            | Command::Whoami { cluster } => cluster.json,
            Command::Login(args) => args.cluster.json,
            Command::Passwd(args) => args.cluster.json,
            Command::Operator(verb) => verb.cluster().json,
            Command::Region(verb) => verb.cluster().json,
            Command::Audit(args) => args.cluster.json,
            Command::Registry(verb) => verb.cluster().json,
            Command::Search(args) => args.cluster.json,
            Command::Member(verb) => verb.cluster().json,
            Command::TransferLeader(args) => args.cluster.json,
            Command::Drain(args) => args.cluster.json,
            Command::Concentrator(verb) => verb.cluster().json,
            Command::Meter(verb) => verb.cluster().json,
            Command::Order(verb) => verb.cluster().json,
            Command::Model(verb) => verb.json(),
            Command::Parameters(verb) => verb.cluster().json,
            Command::Readings(verb) => verb.cluster().json,
            Command::Collection(args) => args.cluster.json,
            Command::Gaps(args) => args.cluster.json,
            Command::Dictionary(args) => args.cluster.json,
            Command::Task(verb) => verb.cluster().json,
            Command::Clock(verb) => verb.cluster().json,
            Command::Setup(verb) => verb.cluster().json,
            Command::Rollout(verb) => verb.cluster().json,
            Command::Backup(args) => args.json(),
            Command::Drill(verb) => verb.json(),
            Command::Acceptance(args) => args.cluster.json,
            Command::Restore(args) => args.from.json,
            Command::Decode(args) => args.json,
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => {
            observe::logs::install_human("info");
            runtime()?.block_on(crate::demo::demo(options))
        }
        Command::Init(args) => init_verb(&args),
        Command::Run(args) => run_verb(&args),
        Command::CheckConfig { file } => match config::load(&file) {
            Ok(_) => {
                println!("{}: good", file.display());
                Ok(())
            }
            Err(faults) => Err(config::failure(&file, &faults)),
        },
        Command::Status { cluster } => runtime()?.block_on(verbs::status(&cluster)),
        Command::Member(verb) => runtime()?.block_on(members::member(verb)),
        Command::TransferLeader(args) => runtime()?.block_on(members::transfer(&args)),
        Command::Drain(args) => runtime()?.block_on(members::drain(&args)),
        Command::Verify { cluster } => runtime()?.block_on(verify::verify(&cluster)),
        Command::Concentrator(verb) => runtime()?.block_on(verbs::concentrator(verb)),
        Command::Meter(verb) => runtime()?.block_on(verbs::meter(verb)),
        Command::Order(verb) => runtime()?.block_on(verbs::command(verb)),
        Command::Model(verb) => runtime()?.block_on(model::model(verb)),
        Command::Parameters(verb) => runtime()?.block_on(parameters::parameters(verb)),
        Command::Login(args) => runtime()?.block_on(login::login(&args)),
        Command::Logout { cluster } => runtime()?.block_on(login::logout(&cluster)),
        Command::Whoami { cluster } => runtime()?.block_on(login::whoami(&cluster)),
        Command::Passwd(args) => runtime()?.block_on(login::passwd(&args)),
        Command::Operator(verb) => runtime()?.block_on(operators::operator(verb)),
        Command::Region(verb) => runtime()?.block_on(regions::region(verb)),
        Command::Audit(args) => runtime()?.block_on(audit::audit(&args)),
        Command::Registry(verb) => runtime()?.block_on(registry::registry(*verb)),
        Command::Search(args) => runtime()?.block_on(registry::search(&args)),
        Command::Readings(verb) => runtime()?.block_on(values::many(verb)),
        Command::Collection(args) => runtime()?.block_on(collection::collection(&args)),
        Command::Dictionary(args) => runtime()?.block_on(dictionaries::dictionary(&args)),
        Command::Gaps(args) => runtime()?.block_on(gaps::gaps(&args)),
        Command::Task(verb) => runtime()?.block_on(tasks::task(verb)),
        Command::Clock(verb) => runtime()?.block_on(clocks::clock(verb)),
        Command::Setup(verb) => runtime()?.block_on(setups::setup(verb)),
        Command::Rollout(verb) => runtime()?.block_on(setups::rollout(verb)),
        Command::Backup(args) => backup::backup(&args),
        Command::Drill(verb) => runtime()?.block_on(drill::drill(verb)),
        Command::Acceptance(args) => runtime()?.block_on(acceptance::acceptance(args)),
        Command::Restore(args) => restore::restore(&args),
        Command::Monitor(args) => monitor::monitor(&args),
        Command::Decode(args) => decode::decode(&args),
    }
}

fn init_verb(args: &InitArgs) -> Result<(), Failure> {
    let ports = (args.http_port, args.gateway_port, args.cluster_port);
    if !args.add.is_empty() {
        return members::extend(&args.dir, &args.add, ports, args.json);
    }
    if !args.renew.is_empty() {
        return members::renew(&args.dir, &args.renew, args.json);
    }
    let nodes = init::nodes(&args.nodes, ports)?;
    let made = init::init(&args.dir, &nodes, &init::Extra::default())?;
    if args.json {
        let configs: Vec<String> = made.configs.iter().map(|p| p.display().to_string()).collect();
        println!("{}", serde_json::json!({"configs": configs, "token": made.token.as_str()}));
        return Ok(());
    }
    println!("Made {} nodes under {}.", nodes.len(), args.dir.display());
    println!("Carry each node's folder to its host and start it there:");
    for config in &made.configs {
        println!("  holdfast run --config {}", config.display());
    }
    println!("Keep {}/ca safe and apart; only new nodes need it.", args.dir.display());
    println!("Admin token, shown only now: {}", made.token.as_str());
    Ok(())
}

fn run_verb(args: &RunArgs) -> Result<(), Failure> {
    if args.die_with_parent {
        end_with_parent()?;
    }
    let config =
        config::load(&args.config).map_err(|faults| config::failure(&args.config, &faults))?;
    observe::logs::install(&config.log, &config.node.name);
    runtime()?.block_on(crate::run::run(config))
}

/// Asks the kernel for SIGTERM when the parent is gone (PR_SET_PDEATHSIG).
fn end_with_parent() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed("prctl_failed", error);
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| failed(error.into()))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("no_runtime", error))
}

const fn version() -> &'static str {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (revision ",
        env!("HOLDFAST_REVISION"),
        ", ",
        env!("HOLDFAST_DATE"),
        "; API v1)"
    )
}

/// A failure of the cluster's answer as an exit code.
pub fn exit_of(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::NotAllowed,
        429 | 503 => Exit::TryAgain,
        _ => Exit::Failed,
    }
}
