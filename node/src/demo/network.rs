//! The network and the customers of the demo's town: feeders, a transformer before each
//! concentrator, and behind every meter a point, a contract and somebody who pays.
//!
//! Invariant: the same meters give the same town, by their places in the list alone.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::Api;
use crate::exit::Failure;

/// Rows of one file.
const ROWS: usize = 5000;

/// A meter of the town: its serial, its concentrator, and the place of that in the list.
pub struct Built<'a> {
    /// The meter's serial.
    pub serial: &'a str,
    /// Which concentrator, counted from 0.
    pub concentrator: usize,
    /// Number of the region.
    pub region: u64,
}

const STREETS: [[&str; 4]; 3] = [
    ["Calle Mayor", "Avenida del Norte", "Plaza de la Fuente", "Calle Ñandú"],
    ["Портовая улица", "Набережная", "Якорный переулок", "улица Маяка"],
    ["老街", "钟楼路", "Market Lane", "Bell Street"],
];
const FAMILIES: [[&str; 6]; 3] = [
    ["Núñez", "García", "O'Connor", "Jiménez", "Müller", "Peña"],
    ["Иванова", "Петров", "Семёнова", "Kowalski", "Яковлев", "Щербакова"],
    ["王", "李", "陈", "Morgan", "Campbell", "赵"],
];
const NAMES: [[&str; 5]; 3] = [
    ["Lucía", "Mateo", "Aoife", "José", "Inés"],
    ["Анна", "Пётр", "Ольга", "Илья", "Юлия"],
    ["小雨", "伟", "Rhona", "Alasdair", "芳"],
];
const LANGUAGES: [&str; 3] = ["es", "ru", "zh"];

/// What a file says: the path to which it goes, its head, its rows.
struct File {
    path: &'static str,
    head: &'static str,
    rows: Vec<String>,
}

/// Fills the registry. `regions` are numbers of the regions, `concentrators` is how many.
pub async fn build(
    api: &Api,
    regions: &[u64],
    concentrators: usize,
    meters: &[Built<'_>],
) -> Result<(), Failure> {
    for file in files(regions, concentrators, meters) {
        for part in file.rows.chunks(ROWS) {
            let mut text = format!("{}\n", file.head);
            for row in part {
                let _written = writeln!(text, "{row}");
            }
            let loaded = api.post_csv(file.path, text.into_bytes()).await?;
            if let Some(Value::Object(first)) = loaded["refused"].get(0) {
                let text = format!("{}: {first:?}", file.path);
                return Err(Failure::failed("rows_refused", text));
            }
        }
    }
    println!(
        "{} feeders, {concentrators} transformers and {} customers are in the registry",
        regions.len(),
        meters.len()
    );
    Ok(())
}

fn files(regions: &[u64], concentrators: usize, meters: &[Built<'_>]) -> Vec<File> {
    let count = regions.len().max(1);
    let place = |region: u64| regions.iter().position(|one| *one == region).unwrap_or(0);
    let feeders = regions.iter().enumerate();
    let feeders =
        feeders.map(|(n, region)| format!("F-{:02},Line {},{region},10000", n + 1, n + 1));
    let transformers = (0..concentrators).map(|n| {
        let at = n % count;
        let region = regions.get(at).copied().unwrap_or(0);
        let kva = [250, 400, 630][n % 3];
        format!(
            "T-{:03},{} {},{region},F-{:02},{}",
            n + 1,
            street(at, n),
            n + 1,
            at + 1,
            kva * 1000
        )
    });
    let (mut points, mut customers) = (Vec::new(), Vec::new());
    let (mut contracts, mut installations) = (Vec::new(), Vec::new());
    for (n, meter) in meters.iter().enumerate() {
        let (number, at) = (n + 1, place(meter.region) % 3);
        let (region, transformer) = (meter.region, meter.concentrator + 1);
        let phases = if n % 7 == 3 { "ABC" } else { ["A", "B", "C"][n % 3] };
        let address = format!("{} {}", street(at, n / 9), n % 40 + 1);
        points.push(format!("P-{number:05},{region},\"{address}\",T-{transformer:03},{phases}"));
        let name = format!("{} {}", FAMILIES[at][n * 7 % 6], NAMES[at][n * 3 % 5]);
        let class = if n % 11 == 5 { "commercial" } else { "residential" };
        let (phone, language) = (format!("+44 20 {:07}", 5_550_000 + n), LANGUAGES[at]);
        customers.push(format!("K-{number:05},\"{name}\",{region},{phone},{class},{language}"));
        contracts.push(format!("V-{number:05},P-{number:05},K-{number:05},DAY-NIGHT"));
        installations.push(format!("{},P-{number:05},0", meter.serial));
    }
    let network = |path, head, rows| File { path, head, rows };
    vec![
        network("/api/v1/network/feeders", "number,name,region,volts", feeders.collect()),
        network(
            "/api/v1/network/transformers",
            "number,name,region,feeder,rating_va",
            transformers.collect(),
        ),
        network("/api/v1/network/points", "number,region,address,transformer,phases", points),
        network("/api/v1/people/customers", "number,name,region,phone,class,language", customers),
        network("/api/v1/people/contracts", "number,point,customer,tariff", contracts),
        network("/api/v1/network/installations", "meter,point,import_wh", installations),
    ]
}

fn street(region: usize, number: usize) -> &'static str {
    STREETS[region % 3][number % 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_has_a_point_a_contract_and_a_payer() {
        let serials: Vec<String> = (0..30).map(|n| format!("M{n}")).collect();
        let built = |(n, serial): (usize, &'static str)| Built {
            serial,
            concentrator: n / 10,
            region: [1, 2, 3][n / 10],
        };
        let leaked: Vec<&'static str> =
            serials.into_iter().map(|one| &*Box::leak(one.into_boxed_str())).collect();
        let meters: Vec<Built<'_>> = leaked.into_iter().enumerate().map(built).collect();
        let files = files(&[1, 2, 3], 3, &meters);
        let rows: Vec<usize> = files.iter().map(|file| file.rows.len()).collect();
        assert_eq!(rows, [3, 3, 30, 30, 30, 30]);
        for file in files {
            let columns = file.head.split(',').count();
            for row in &file.rows {
                assert_eq!(row.split(',').count(), columns, "{row}");
            }
        }
    }
}
