//! Stored values from the command line: of one meter (`meter readings`, `sums`, `latest`,
//! `correct`) and of many (`readings list`, `sums`, `latest`, `conflicts`).
//!
//! Invariant: what is printed is whole: pages are followed to the last one, or to `--limit`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Api;
use super::output::{field, table};
use super::verbs::{rows, show};
use super::{ClusterArgs, ListArgs};
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Which values.
#[derive(Args, Clone)]
pub struct RangeArgs {
    /// The register.
    #[arg(long, default_value = "1-0:1.8.0")]
    pub obis: String,
    /// After this time (RFC 3339).
    #[arg(long)]
    pub from: String,
    /// Up to this time (RFC 3339).
    #[arg(long)]
    pub to: String,
    /// Minutes of an interval; the shortest stored when left out.
    #[arg(long)]
    pub interval: Option<u16>,
    /// With the corrections up to this index of the log only.
    #[arg(long)]
    pub as_of: Option<u64>,
    /// As CSV.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// Over what is summed.
#[derive(Args, Clone)]
pub struct PeriodArgs {
    /// Over hours, days or months.
    #[arg(long, default_value = "day", value_parser = ["hour", "day", "month"])]
    pub period: String,
    /// Whose days they are: a time zone of IANA, such as Europe/Berlin.
    #[arg(long, default_value = "UTC")]
    pub zone: String,
}

/// `meter readings`.
#[derive(Args)]
pub struct MeterReadings {
    /// Its serial.
    pub serial: String,
    /// Which values.
    #[command(flatten)]
    pub range: RangeArgs,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `meter sums`.
#[derive(Args)]
pub struct MeterSums {
    /// Its serial.
    pub serial: String,
    /// Which values.
    #[command(flatten)]
    pub range: RangeArgs,
    /// Over what.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `meter latest`.
#[derive(Args)]
pub struct MeterLatest {
    /// Its serial.
    pub serial: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `meter correct`.
#[derive(Args)]
pub struct MeterCorrect {
    /// Its serial.
    pub serial: String,
    /// The register.
    #[arg(long)]
    pub obis: String,
    /// Minutes of an interval; the shortest stored when left out.
    #[arg(long)]
    pub interval: Option<u16>,
    /// End of the first interval (RFC 3339).
    #[arg(long)]
    pub from: String,
    /// Whole numbers as the meter counts, one an interval, with commas; `-` leaves one alone.
    #[arg(long, value_delimiter = ',', required = true, allow_hyphen_values = true)]
    pub values: Vec<String>,
    /// How they came about.
    #[arg(long, default_value = "edited", value_parser = [
        "edited", "estimated_linear", "estimated_own_profile", "estimated_class_profile",
        "estimated_other",
    ])]
    pub quality: String,
    /// Why, for the record.
    #[arg(long)]
    pub reason: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Which meters.
#[derive(Args, Clone)]
pub struct MetersArgs {
    /// Only meters behind this concentrator.
    #[arg(long)]
    pub concentrator: Option<String>,
    /// How the list is cut: serials or models with a text, and the most meters.
    #[command(flatten)]
    pub list: ListArgs,
}

/// Verbs of stored values of many meters.
#[derive(Subcommand)]
pub enum ReadingsCommand {
    /// Values of many meters.
    List {
        /// Which meters.
        #[command(flatten)]
        meters: MetersArgs,
        /// Which values.
        #[command(flatten)]
        range: RangeArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Sums of many meters.
    Sums {
        /// Which meters.
        #[command(flatten)]
        meters: MetersArgs,
        /// Which values.
        #[command(flatten)]
        range: RangeArgs,
        /// Over what.
        #[command(flatten)]
        period: PeriodArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// The newest value of many meters.
    Latest {
        /// Which meters.
        #[command(flatten)]
        meters: MetersArgs,
        /// The register.
        #[arg(long, default_value = "1-0:1.8.0")]
        obis: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Times for which several values came.
    Conflicts {
        /// Which of them.
        #[command(flatten)]
        which: ConflictsArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// Which conflicts.
#[derive(Args, Clone)]
pub struct ConflictsArgs {
    /// Only those of this meter.
    #[arg(long)]
    pub meter: Option<String>,
    /// Only those of this register.
    #[arg(long)]
    pub obis: Option<String>,
    /// Only those of intervals of so many minutes; 0: of irregular readings.
    #[arg(long)]
    pub interval: Option<u16>,
    /// After this time (RFC 3339); 31 days before --to when left out.
    #[arg(long)]
    pub from: Option<String>,
    /// Up to this time (RFC 3339); now when left out.
    #[arg(long)]
    pub to: Option<String>,
    /// The most conflicts.
    #[arg(long, default_value_t = 1000)]
    pub limit: usize,
    /// As CSV.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

impl ConflictsArgs {
    fn query(&self) -> String {
        let interval = self.interval.map(|minutes| minutes.to_string());
        let parts = [
            ("meter", &self.meter),
            ("obis", &self.obis),
            ("interval", &interval),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let parts = parts.into_iter().filter_map(|(name, value)| {
            value.as_ref().map(|value| format!("&{name}={}", encode(value)))
        });
        parts.collect()
    }
}

impl ReadingsCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            ReadingsCommand::List { cluster, .. }
            | ReadingsCommand::Sums { cluster, .. }
            | ReadingsCommand::Latest { cluster, .. }
            | ReadingsCommand::Conflicts { cluster, .. } => cluster,
        }
    }
}

impl RangeArgs {
    fn query(&self) -> String {
        let mut text = format!(
            "obis={}&from={}&to={}",
            encode(&self.obis),
            encode(&self.from),
            encode(&self.to)
        );
        if let Some(minutes) = self.interval {
            text.push_str(&format!("&interval={minutes}"));
        }
        if let Some(index) = self.as_of {
            text.push_str(&format!("&as_of={index}"));
        }
        text
    }
}

impl PeriodArgs {
    fn query(&self) -> String {
        format!("&period={}&zone={}", encode(&self.period), encode(&self.zone))
    }
}

/// Follows the pages of an answer whose list has a name, up to `limit` items.
async fn follow(
    api: &Api,
    path: &str,
    list: &str,
    limit: usize,
) -> Result<(Value, Vec<Value>), Failure> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = api.get(&format!("{path}{cursor}")).await?;
        if let Value::Array(more) = page[list].take() {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) if items.len() < limit => cursor = format!("&cursor={}", encode(next)),
            _ => {
                items.truncate(limit);
                return Ok((page, items));
            }
        }
    }
}

const VALUE: [&str; 4] = ["time", "value", "unit", "quality"];
const SUM: [&str; 8] = ["period", "sum", "min", "mean", "max", "stored", "expected", "complete"];

/// The fields of each item, behind those that they share.
fn lines(items: &[Value], before: &[&str], names: &[&str]) -> Vec<Vec<String>> {
    let line = |item: &Value| {
        let own = names.iter().map(|name| field(item, &[name]));
        before.iter().map(|text| (*text).to_string()).chain(own).collect()
    };
    items.iter().map(line).collect()
}

/// A table for people, or CSV.
fn print(head: &[&str], rows: &[Vec<String>], csv: bool) {
    if !csv {
        let head: Vec<String> = head.iter().map(|name| name.to_uppercase()).collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        return table(&head, rows);
    }
    println!("{}", head.join(","));
    for row in rows {
        let cell = |cell: &String| match cell.as_str() {
            "-" => String::new(),
            text if text.contains(',') => format!("\"{text}\""),
            text => text.to_string(),
        };
        println!("{}", row.iter().map(cell).collect::<Vec<_>>().join(","));
    }
}

/// `holdfast meter readings`.
pub async fn readings(args: &MeterReadings) -> Result<(), Failure> {
    let MeterReadings { serial, range, cluster } = args;
    let path = format!("/api/v1/meters/{}/readings?{}", encode(serial), range.query());
    let (_, values) = follow(&Api::of(cluster)?, &path, "values", usize::MAX).await?;
    if cluster.json {
        println!("{}", json!({"serial": serial, "obis": range.obis, "values": values}));
        return Ok(());
    }
    print(&VALUE, &lines(&values, &[], &VALUE), range.csv);
    Ok(())
}

/// `holdfast meter sums`.
pub async fn sums(args: &MeterSums) -> Result<(), Failure> {
    let MeterSums { serial, range, period, cluster } = args;
    let (range_query, period) = (range.query(), period.query());
    let path = format!("/api/v1/meters/{}/sums?{range_query}{period}", encode(serial));
    let (mut body, sums) = follow(&Api::of(cluster)?, &path, "sums", usize::MAX).await?;
    if cluster.json {
        body["sums"] = Value::Array(sums);
        println!("{body}");
        return Ok(());
    }
    if !range.csv {
        let get = |name: &str| field(&body, &[name]);
        println!("{} {} ({}), {}", serial, get("obis"), get("kind"), get("unit"));
    }
    print(&SUM, &lines(&sums, &[], &SUM), range.csv);
    Ok(())
}

/// `holdfast meter latest`.
pub async fn latest(args: &MeterLatest) -> Result<(), Failure> {
    let path = format!("/api/v1/meters/{}/latest", encode(&args.serial));
    let body = Api::of(&args.cluster)?.get(&path).await?;
    if args.cluster.json {
        println!("{body}");
        return Ok(());
    }
    let rows = rows(&body["values"], |one| {
        let get = |path: &[&str]| field(one, path);
        let value = ["time", "value", "unit", "quality"].map(|name| get(&["value", name]));
        [vec![get(&["obis"]), get(&["interval_minutes"])], value.to_vec()].concat()
    });
    table(&["OBIS", "INTERVAL", "TIME", "VALUE", "UNIT", "QUALITY"], &rows);
    Ok(())
}

/// `holdfast meter correct`.
pub async fn correct(args: &MeterCorrect) -> Result<(), Failure> {
    let number = |text: &String| match text.trim() {
        "-" | "" => Ok(Value::Null),
        text => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| Failure::usage(format!("--values: {text:?} is no whole number"))),
    };
    let values = args.values.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let body = json!({
        "obis": args.obis, "interval": args.interval, "from": args.from, "values": values,
        "quality": args.quality, "reason": args.reason,
    });
    let path = format!("/api/v1/meters/{}/corrections", encode(&args.serial));
    Api::of(&args.cluster)?.post(&path, &body).await?;
    let corrected = values.iter().filter(|value| !value.is_null()).count();
    let done = json!({"serial": args.serial, "corrected": corrected});
    show(&done, args.cluster.json);
    Ok(())
}

/// `holdfast readings …`.
pub async fn many(verb: ReadingsCommand) -> Result<(), Failure> {
    match verb {
        ReadingsCommand::List { meters, range, cluster } => {
            let path = format!("/api/v1/readings?{}{}", range.query(), meters.query());
            let items = of_meters(&path, &meters, &cluster).await?;
            each(&items, "values", &VALUE, range.csv, &cluster);
        }
        ReadingsCommand::Sums { meters, range, period, cluster } => {
            let query = [range.query(), period.query(), meters.query()].concat();
            let path = format!("/api/v1/readings/sums?{query}");
            let items = of_meters(&path, &meters, &cluster).await?;
            each(&items, "sums", &SUM, range.csv, &cluster);
        }
        ReadingsCommand::Latest { meters, obis, cluster } => {
            let query = meters.query();
            let path = format!("/api/v1/readings/latest?obis={}{query}", encode(&obis));
            let items = of_meters(&path, &meters, &cluster).await?;
            if cluster.json {
                println!("{}", json!({"items": items}));
                return Ok(());
            }
            let names = ["serial", "time", "value", "unit", "quality"];
            print(&names, &lines(&items, &[], &names), false);
        }
        ReadingsCommand::Conflicts { which, cluster } => conflicts(&which, &cluster).await?,
    }
    Ok(())
}

/// A line for each value that came for one time: the one that counts first.
async fn conflicts(which: &ConflictsArgs, cluster: &ClusterArgs) -> Result<(), Failure> {
    let limit = which.limit.clamp(1, 1000);
    let path = format!("/api/v1/conflicts?limit={limit}{}", which.query());
    let (_, items) = follow(&Api::of(cluster)?, &path, "items", which.limit).await?;
    if cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let names = ["time", "value", "unit", "quality", "measured"];
    let mut all = Vec::new();
    for item in &items {
        let before = ["serial", "obis", "interval_minutes"].map(|name| field(item, &[name]));
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        let own = item["values"].as_array().map_or(&[][..], Vec::as_slice);
        all.extend(lines(own, &before, &names));
    }
    let head = ["serial", "obis", "interval", "time", "value", "unit", "quality", "measured"];
    print(&head, &all, which.csv);
    Ok(())
}

impl MetersArgs {
    fn query(&self) -> String {
        let mut text = format!("&limit={}", self.list.limit.clamp(1, 1000));
        if let Some(concentrator) = &self.concentrator {
            text.push_str(&format!("&concentrator={}", encode(concentrator)));
        }
        if let Some(query) = &self.list.query {
            text.push_str(&format!("&query={}", encode(query)));
        }
        text
    }
}

async fn of_meters(
    path: &str,
    meters: &MetersArgs,
    cluster: &ClusterArgs,
) -> Result<Vec<Value>, Failure> {
    Ok(follow(&Api::of(cluster)?, path, "items", meters.list.limit).await?.1)
}

/// A line for each value of each meter.
fn each(items: &[Value], list: &str, names: &[&str], csv: bool, cluster: &ClusterArgs) {
    if cluster.json {
        println!("{}", json!({"items": items}));
        return;
    }
    let mut all = Vec::new();
    for item in items {
        let serial = field(item, &["serial"]);
        let own = item[list].as_array().map_or(&[][..], Vec::as_slice);
        all.extend(lines(own, &[&serial], names));
    }
    print(&[&["serial"], names].concat(), &all, csv);
}
