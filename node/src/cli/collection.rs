//! `holdfast collection`: how much of what was due is stored, in four numbers.

use clap::Args;
use serde_json::{Value, json};

use super::client::Api;
use super::output::{field, table};
use super::verbs::rows;
use super::{ClusterArgs, ListArgs};
use crate::areas::pages::encode;
use crate::exit::Failure;

/// What is to be shown.
#[derive(Args)]
pub struct CollectionArgs {
    /// Reckon a window that begins after this time (RFC 3339), too.
    #[arg(long, conflicts_with = "concentrators")]
    pub from: Option<String>,
    /// Its end; now when left out.
    #[arg(long, requires = "from")]
    pub to: Option<String>,
    /// Each concentrator by itself, over the last 24 hours.
    #[arg(long)]
    pub concentrators: bool,
    /// How that list is cut.
    #[command(flatten)]
    pub list: ListArgs,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Does what `holdfast collection` says.
pub async fn collection(args: &CollectionArgs) -> Result<(), Failure> {
    let api = Api::of(&args.cluster)?;
    if args.concentrators {
        return each(&api, args).await;
    }
    let mut path = "/api/v1/collection".to_owned();
    for (name, value) in [("from", &args.from), ("to", &args.to)] {
        if let Some(value) = value {
            let mark = if path.contains('?') { '&' } else { '?' };
            path.push_str(&format!("{mark}{name}={}", encode(value)));
        }
    }
    let body = api.get(&path).await?;
    if args.cluster.json {
        println!("{body}");
        return Ok(());
    }
    let lines = [("last 24 hours", "day"), ("last 62 days", "kept"), ("asked for", "window")];
    let shown = lines.iter().filter(|(_, name)| body[*name].is_object());
    let rows: Vec<Vec<String>> =
        shown.clone().map(|(title, name)| line(title, &body[*name])).collect();
    table(&HEAD, &rows);
    for (title, name) in shown {
        let spread = &body[*name]["concentrators"];
        if spread.is_object() {
            let rate = |place: &str| percent(&spread[place]);
            println!(
                "{title}: of {} concentrators the least {}, a tenth up to {}, half up to {}, nine \
                 tenths up to {}, the most {}",
                field(spread, &["count"]),
                rate("least_ppm"),
                rate("tenth_ppm"),
                rate("median_ppm"),
                rate("ninetieth_ppm"),
                rate("most_ppm")
            );
        }
    }
    Ok(())
}

const HEAD: [&str; 8] =
    ["WINDOW", "FIRST PASS", "AFTER REFILL", "OVERALL", "STORED", "EXPECTED", "MISSING", "SILENT"];

async fn each(api: &Api, args: &CollectionArgs) -> Result<(), Failure> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    let query = args.list.query.as_deref().map(|text| format!("&query={}", encode(text)));
    let query = query.unwrap_or_default();
    while items.len() < args.list.limit {
        let limit = (args.list.limit - items.len()).clamp(1, 1000);
        let path = format!("/api/v1/collection/concentrators?limit={limit}{query}{cursor}");
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
    if args.cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let head = [&["CONCENTRATOR"], &HEAD[1..]].concat();
    table(&head, &rows(&items, |one| line(&field(one, &["concentrator"]), one)));
    Ok(())
}

fn line(title: &str, numbers: &Value) -> Vec<String> {
    let rates = ["first_pass_ppm", "after_refill_ppm", "rate_ppm"];
    let rates = rates.iter().map(|name| percent(&numbers[*name]));
    let counts = ["stored", "expected", "missing", "silent"];
    let counts = counts.iter().map(|name| field(numbers, &[name]));
    std::iter::once(title.to_owned()).chain(rates).chain(counts).collect()
}

/// Millionths as per cent, rounded down; a dash when nothing was due.
fn percent(ppm: &Value) -> String {
    match ppm.as_u64() {
        Some(ppm) => format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::percent;
    use serde_json::json;

    #[test]
    fn rates_are_rounded_down() {
        for (ppm, text) in [
            (json!(1_000_000), "100.00 %"),
            (json!(999_999), "99.99 %"),
            (json!(985_012), "98.50 %"),
            (json!(0), "0.00 %"),
            (json!(null), "-"),
        ] {
            assert_eq!(percent(&ppm), text);
        }
    }
}
