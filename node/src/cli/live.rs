//! `meter live`: what a meter shows now, round after round, until it is over or Ctrl-C.
//!
//! Invariant: it ends with 0 only when the view ran its time, or the rounds that were asked for.

use clap::Args;
use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::{Api, Heard};
use super::output::{field, table};
use super::verbs::rows;
use crate::areas::pages::encode;
use crate::exit::Failure;

/// `meter live`.
#[derive(Args)]
pub struct MeterLive {
    /// Its serial.
    pub serial: String,
    /// Seconds between two rounds; the least that the cluster allows when left out.
    #[arg(long)]
    pub pause: Option<u32>,
    /// Seconds until it ends; the most that the cluster allows when left out.
    #[arg(long)]
    pub length: Option<u32>,
    /// End after so many rounds with an answer.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Looks until the view is over.
pub(super) async fn live(args: &MeterLive) -> Result<(), Failure> {
    let pairs = [("pause_s", args.pause), ("length_s", args.length)];
    let query: Vec<String> =
        pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let path = format!("/api/v1/meters/{}/live?{}", encode(&args.serial), query.join("&"));
    let (mut answered, mut end) = (0, None);
    let told = |event: &str, data: Value| {
        if args.cluster.json {
            println!("{}", json!({"event": event, "data": data}));
        } else {
            print_event(event, &data);
        }
        if event == "end" {
            end = Some((field(&data, &["reason"]), field(&data, &["detail"])));
            return Heard::Enough;
        }
        answered += u32::from(event == "round" && data["failure"].is_null());
        if args.rounds.is_some_and(|wanted| answered >= wanted) {
            return Heard::Enough;
        }
        Heard::More
    };
    Api::of(&args.cluster)?.listen(&path, told).await?;
    match end {
        Some((reason, _)) if reason == "time" => Ok(()),
        Some((reason, detail)) => Err(Failure::failed(format!("live_{reason}"), detail)),
        None if args.rounds.is_some_and(|wanted| answered >= wanted) => Ok(()),
        None => Err(Failure::failed("live_cut", "the node broke off; look again")),
    }
}

fn print_event(event: &str, data: &Value) {
    let get = |name: &str| field(data, &[name]);
    match event {
        "open" => println!(
            "meter {}, every {} s until {}; Ctrl-C ends it",
            get("meter"),
            get("pause_s"),
            get("until")
        ),
        "round" => {
            println!(
                "\n{} round {} by {}, {} ms",
                get("at"),
                get("number"),
                get("node"),
                get("took_ms")
            );
            if data["failure"].is_null() {
                let rows = rows(&data["values"], |one| {
                    let get = |name: &str| field(one, &[name]);
                    let unit = if one["unit"].is_null() { String::new() } else { get("unit") };
                    vec![get("name"), get("value"), unit]
                });
                table(&["WHAT", "VALUE", "UNIT"], &rows);
            } else {
                println!("no values: {}", field(data, &["failure", "detail"]));
            }
        }
        _ => println!("\n{}", get("detail")),
    }
}
