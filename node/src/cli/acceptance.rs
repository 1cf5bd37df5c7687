//! `holdfast acceptance`: every figure of the specification, measured on the cluster at hand.
//!
//! The driver measures from outside, as clients see it; a node holds what was measured against the
//! limits, seals the report and keeps it among the drills. Invariants: without `--yes` no process
//! or channel is hurt and no parameter written; what is hurt is hurt by drills, behind their guard
//! rails; every step ends in bounded time; what was not done stands in the report with the reason.

mod machine;
mod measure;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::ClusterArgs;
use super::client::Api;
use super::drill::{Trial, figures, judge_measured, write};
use super::output::field;
use crate::drills::acceptance::{Acceptance, Measured};
use crate::exit::Failure;
use measure::Field;

/// How long a drill waits until the cluster is whole again behind the one before.
const BETWEEN: Duration = Duration::from_secs(120);
/// Trials that could not be made or did not pass end a series.
const MOST_BAD: u32 = 3;

/// What it takes.
#[derive(Args)]
pub struct AcceptanceArgs {
    /// Few trials, some minutes; this is the default.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The customer's 100 trials of each failure and a thousand of each answer: hours.
    #[arg(long)]
    full: bool,
    /// Hurt processes and channels by drills, and write parameters with the values that they have.
    /// Without this those figures are left out.
    #[arg(long)]
    yes: bool,
    /// The folder for the report as JSON, HTML and PDF and for the raw evidence; made if missing.
    #[arg(long, value_name = "DIR", default_value = "./acceptance")]
    out: PathBuf,
    /// The last backup, in your words, or `none`; as the nodes know it when left out.
    #[arg(long, value_name = "TEXT")]
    backup: Option<String>,
    /// Why; it stands in the audit trail and in the report.
    #[arg(long, default_value = "acceptance by the command line")]
    reason: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// How much is done of everything.
pub(super) struct Scale {
    /// Answers of each kind.
    answers: usize,
    /// Reads one beside the other, for so long at most.
    reading: Duration,
    /// Drills of each kind.
    trials: u32,
    /// Every wait for answers of one kind ends after this.
    patience: Duration,
}

const QUICK: Scale = Scale {
    answers: 120,
    reading: Duration::from_secs(15),
    trials: 2,
    patience: Duration::from_secs(120),
};
const FULL: Scale = Scale {
    answers: 1_000,
    reading: Duration::from_secs(3_600),
    trials: 100,
    patience: Duration::from_secs(1_800),
};

/// Measures, has it judged, writes the report.
pub async fn acceptance(args: AcceptanceArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let (trials, scale) = if args.full { ("full", FULL) } else { ("quick", QUICK) };
    let api = Api::of(&args.cluster)?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::file("cannot make the folder", &args.out, &error))?;
    let mut measured = Measured { trials: trials.to_owned(), ..Measured::default() };
    tell("the machine");
    measured.machine = machine::look(&args.out).await?;
    let field = Field::of(&api).await?;
    measure::harmless(&field, &scale, &mut measured).await?;
    if args.yes {
        tell("parameters, written with what they hold");
        measure::sets(&field, &scale, &mut measured).await?;
        drills(&api, &args, &scale, &mut measured).await?;
    } else {
        for name in ["channel-switch", "warm-standby", "request-set"] {
            leave_out(&mut measured, name, "not done without --yes");
        }
    }
    measured.took_s = u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX);
    tell("handing in");
    let evidence = args.out.join("evidence.json");
    let body = judge_measured(&api, measured, &args.reason, &evidence).await?;
    let id = body["id"].as_u64().ok_or_else(|| Failure::failed("bad_answer", "no number"))?;
    let (report, files) = write(&api, id, &args.out).await?;
    let none = || Failure::failed("bad_answer", "the report has no figures");
    let found = report.acceptance.as_ref().ok_or_else(none)?;
    print(found, &files, &body, args.cluster.json);
    match found.failed() {
        0 => Ok(()),
        failed => Err(Failure::failed("acceptance_failed", format!("{failed} figures failed"))),
    }
}

fn tell(news: &str) {
    eprintln!("acceptance: {news}");
}

fn leave_out(measured: &mut Measured, name: &str, why: &str) {
    let why: String = why.chars().take(120).collect();
    let known = measured.left_out.entry(name.to_owned()).or_default();
    if !known.is_empty() {
        known.push_str("; ");
    }
    known.push_str(&why);
}

/// Channels that are cut and leaders that are killed, by drills of their own.
async fn drills(
    api: &Api,
    args: &AcceptanceArgs,
    scale: &Scale,
    measured: &mut Measured,
) -> Result<(), Failure> {
    for (figure, scenario) in [("channel-switch", "channel-cut"), ("warm-standby", "leader-kill")] {
        tell(&format!("{} drills of {scenario}", scale.trials));
        let trial = Trial::new(scenario, args.backup.as_deref(), &args.reason, &args.cluster);
        let mut bad = 0;
        for _ in 0..scale.trials {
            match trial.run(api, BETWEEN).await {
                Ok((drill, verdict)) => {
                    measured.drills.entry(figure.to_owned()).or_default().push(drill);
                    bad += u32::from(verdict != "passed");
                }
                Err(failure) if failure.code == "interrupted" => return Err(failure),
                Err(failure) => {
                    leave_out(measured, figure, &failure.to_string());
                    bad = MOST_BAD;
                }
            }
            if bad >= MOST_BAD {
                break;
            }
        }
    }
    Ok(())
}

fn print(found: &Acceptance, files: &[PathBuf], body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    figures(found);
    println!("drill {}, seal {}", field(body, &["id"]), field(body, &["seal"]));
    for file in files {
        println!("{}", file.display());
    }
}
