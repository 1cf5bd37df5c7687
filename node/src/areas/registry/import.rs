//! Files of the registry: CSV in, a verdict for each row, also without doing anything.
//!
//! Invariants: a row that is refused hinders no other; a rehearsal judges every row as the load
//! itself would, behind the rows before it; nothing is read into memory beyond the body's limit.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use domain::registry::{Change, Kind, MAX_ROWS, Object, Register, Rehearsal};
use domain::{Author, Done, Obis, regions};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{self, Facts};
use super::{network, people};
use crate::areas::MAX_IMPORT;
use crate::http::asked::{Asked, Seen};
use crate::http::extract::{Octets, Params};
use crate::http::problem::Problem;

/// What an import takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ImportParams {
    /// Judge every row and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of a row that was not taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RowVerdict {
    /// Line of the file, the head being line 1.
    pub line: u64,
    /// Number of the object.
    pub number: String,
    /// A stable code.
    pub code: String,
    /// Why not.
    pub detail: String,
}

/// What became of a file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Loaded {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Rows that were taken, or would be.
    pub taken: usize,
    /// Rows that were not; the others are in nonetheless.
    pub refused: Vec<RowVerdict>,
}

/// Load a file of the network: feeders, transformers, points, items, or installations. The head
/// names the columns; a region is a number or a name.
#[utoipa::path(post, path = "/api/v1/network/{kind}", tag = "registry",
    params(("kind" = String, Path, description = "feeders, transformers, points, items or \
        installations"), ImportParams),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = Loaded)))]
pub async fn load_network(
    app: Asked,
    Path(kind): Path<String>,
    Params(params): Params<ImportParams>,
    Octets(file): Octets,
) -> Result<Json<Loaded>, Problem> {
    let kind = if kind == "installations" { Kind::Installation } else { network(&kind)? };
    load(&app, kind, &params, &file).await.map(Json)
}

/// Load a file of customers or contracts.
#[utoipa::path(post, path = "/api/v1/people/{kind}", tag = "registry",
    params(("kind" = String, Path, description = "customers or contracts"), ImportParams),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = Loaded)))]
pub async fn load_people(
    app: Asked,
    Path(kind): Path<String>,
    Params(params): Params<ImportParams>,
    Octets(file): Octets,
) -> Result<Json<Loaded>, Problem> {
    load(&app, people(&kind)?, &params, &file).await.map(Json)
}

/// A row of a file: its line, its number, and what it asks for or why it cannot be read.
struct Row {
    line: u64,
    number: String,
    change: Result<Change, Problem>,
}

async fn load(
    app: &Asked,
    kind: Kind,
    params: &ImportParams,
    file: &[u8],
) -> Result<Loaded, Problem> {
    let rows = read(kind, file, &Regions::of(&app.view()?)?)?;
    let mut loaded = Loaded { dry_run: params.dry_run, taken: 0, refused: Vec::new() };
    let mut good = Vec::new();
    for row in rows {
        match row.change {
            Ok(change) => good.push((row.line, row.number, change)),
            Err(problem) => loaded.refused.push(verdict(row.line, row.number, problem)),
        }
    }
    if params.dry_run {
        rehearse(app, good, &mut loaded).await?;
    } else {
        for part in good.chunks(MAX_ROWS) {
            carry_out(app, part, &mut loaded).await?;
        }
    }
    loaded.refused.sort_by_key(|verdict| verdict.line);
    Ok(loaded)
}

async fn carry_out(
    app: &Asked,
    part: &[(u64, String, Change)],
    loaded: &mut Loaded,
) -> Result<(), Problem> {
    let rows = part.iter().map(|(_, _, change)| change.clone()).collect();
    let change = domain::Change::Registry(Change::Load { rows });
    let (_, done) = app.propose(crate::app::random_id()?, change).await?;
    let Done::Loaded(verdicts) = done else { return Err(Problem::fault()) };
    for ((line, number, _), refusal) in part.iter().zip(verdicts) {
        match refusal {
            None => loaded.taken += 1,
            Some(refusal) => {
                loaded.refused.push(verdict(*line, number.clone(), Problem::from(refusal)));
            }
        }
    }
    Ok(())
}

async fn rehearse(
    app: &Asked,
    good: Vec<(u64, String, Change)>,
    loaded: &mut Loaded,
) -> Result<(), Problem> {
    let view = app.fresh_whole_view().await?;
    let stamp = app.live()?.cluster.stamp_now();
    let author = Author::Operator(app.caller().name.clone());
    let judge = move || -> Result<Vec<_>, Problem> {
        let mut rehearsal = Rehearsal::new(&view, stamp, &author);
        let mut judged = Vec::with_capacity(good.len());
        for (line, number, change) in good {
            judged.push((line, number, rehearsal.judge(&change)?));
        }
        Ok(judged)
    };
    let judged = tokio::task::spawn_blocking(judge).await.map_err(|_| Problem::fault())??;
    for (line, number, refusal) in judged {
        match refusal {
            None => loaded.taken += 1,
            Some(refusal) => loaded.refused.push(verdict(line, number, Problem::from(refusal))),
        }
    }
    Ok(())
}

fn verdict(line: u64, number: String, problem: Problem) -> RowVerdict {
    RowVerdict { line, number, code: problem.code.into_owned(), detail: problem.detail }
}

/// Regions by number and by name, as the caller sees them.
struct Regions(Vec<regions::Region>);

impl Regions {
    fn of(view: &Seen) -> Result<Regions, Problem> {
        let all = regions::regions(view)?;
        Ok(Regions(all.into_iter().filter(|one| view.scope().has(one.id)).collect()))
    }

    /// A number, or a name that one region alone has.
    fn find(&self, text: &str) -> Result<u32, Problem> {
        if let Ok(number) = text.parse() {
            return Ok(number);
        }
        let mut named = self.0.iter().filter(|one| one.name == text && one.closed.is_none());
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one.id),
            (Some(_), Some(_)) => {
                let text = format!("several regions are called {text:?}: use a number");
                Err(Problem::bad("bad_region", text))
            }
            _ => Err(Problem::missing("unknown_region", text.to_owned())),
        }
    }
}

/// Columns of a file: those that must be there, and those that may.
fn columns(kind: Kind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        Kind::Feeder => (&["number", "name", "region", "volts"], &["substation"]),
        Kind::Transformer => (&["number", "name", "region", "feeder", "rating_va"], &[]),
        Kind::Point => (&["number", "region", "address"], &["transformer", "phases", "purpose"]),
        Kind::Customer => (&["number", "name", "region"], &["phone", "email", "class", "language"]),
        Kind::Contract => (&["number", "point", "customer"], &["tariff"]),
        Kind::Installation => (&["meter", "point"], &["import_wh"]),
        Kind::Item => (&["number", "category", "maker", "state", "region"], &["model", "place"]),
    }
}

fn read(kind: Kind, file: &[u8], regions: &Regions) -> Result<Vec<Row>, Problem> {
    let file = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file);
    let bad = |text: String| Problem::bad("bad_csv", text);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let head = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
    let (needed, optional) = columns(kind);
    let common = ["from", "reason"];
    for name in needed {
        if !head.iter().any(|column| column == *name) {
            return Err(bad(format!("there is no column {name}")));
        }
    }
    for column in &head {
        if ![needed, optional, &common].concat().contains(&column) {
            let known = [needed, optional, &common].concat().join(", ");
            return Err(bad(format!("no such column {column:?}; known are {known}")));
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        if rows.len() == MAX_IMPORT {
            let text = format!("{MAX_IMPORT} rows at a time");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_entries", text));
        }
        rows.push(match record {
            Ok(record) => {
                let cells = Cells { head: &head, record: &record };
                let line = record.position().map_or(0, csv::Position::line);
                let number = cells.text(needed[0]).to_owned();
                Row { line, change: row(kind, &cells, regions), number }
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                Row { line, number: String::new(), change: Err(bad(error.to_string())) }
            }
        });
    }
    Ok(rows)
}

/// The cells of a row by the names of their columns.
struct Cells<'a> {
    head: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl<'a> Cells<'a> {
    fn text(&self, name: &str) -> &'a str {
        let at = self.head.iter().position(|column| column == name);
        at.and_then(|at| self.record.get(at)).unwrap_or_default()
    }

    fn or(&self, name: &str, otherwise: &str) -> String {
        let text = self.text(name);
        if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Problem> {
        let text = self.text(name);
        let wrong = |_| Problem::bad("bad_number", format!("{name}: {text:?} is no number"));
        text.parse().map_err(wrong)
    }
}

fn row(kind: Kind, cells: &Cells<'_>, regions: &Regions) -> Result<Change, Problem> {
    let from = body::at("from", Some(cells.text("from")))?;
    let reason = cells.or("reason", "");
    let region = || regions.find(cells.text("region"));
    let own = |name: &str| cells.or(name, "");
    if kind == Kind::Installation {
        let registers = match cells.text("import_wh") {
            "" => Vec::new(),
            _ => vec![Register {
                obis: Obis::ACTIVE_IMPORT,
                value: cells.number("import_wh")?,
                scaler: 0,
                unit: 30,
            }],
        };
        let (meter, point) = (own("meter"), own("point"));
        return Ok(Change::Install { meter, point, from, registers, reason });
    }
    let facts = match kind {
        Kind::Feeder => Facts::Feeder {
            name: own("name"),
            region: region()?,
            substation: own("substation"),
            volts: cells.number("volts")?,
        },
        Kind::Transformer => Facts::Transformer {
            name: own("name"),
            region: region()?,
            feeder: own("feeder"),
            rating_va: cells.number("rating_va")?,
        },
        Kind::Point => Facts::Point {
            region: region()?,
            transformer: Some(own("transformer")),
            phases: cells.or("phases", "A"),
            address: own("address"),
            purpose: cells.or("purpose", "consumption"),
        },
        Kind::Customer => Facts::Customer {
            region: region()?,
            name: own("name"),
            phone: own("phone"),
            email: own("email"),
            class: cells.or("class", "residential"),
            language: cells.or("language", "en"),
        },
        Kind::Contract => Facts::Contract {
            point: own("point"),
            customer: own("customer"),
            tariff: own("tariff"),
        },
        Kind::Installation => Facts::Installation { point: own("point") },
        Kind::Item => Facts::Item {
            category: own("category"),
            maker: own("maker"),
            model: own("model"),
            state: own("state"),
            place: own("place"),
            region: region()?,
        },
    };
    let object = Object::new(kind, cells.text("number"));
    Ok(Change::Set { object, body: facts.body()?, from, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line, and what it asks for or the code of why not.
    type Told = (u64, Result<Change, String>);

    fn rows(kind: Kind, file: &str) -> Result<Vec<Told>, String> {
        let all = read(kind, file.as_bytes(), &Regions(Vec::new()));
        let all = all.map_err(|problem| problem.code.into_owned())?;
        let plain = |row: Row| (row.line, row.change.map_err(|p| p.code.into_owned()));
        Ok(all.into_iter().map(plain).collect())
    }

    #[test]
    fn rows_are_read_each_by_itself() {
        let file = "\u{feff}number, name ,region,volts\nF1,\"Harbour, east\",1,10000\n\
            F2,Hill,1,high\nF3,Hill,Nowhere,10000\nF4,Hill\n";
        let found = rows(Kind::Feeder, file).expect("a file");
        let codes: Vec<_> =
            found.iter().map(|(line, row)| (*line, row.as_ref().err().cloned())).collect();
        let bad = |code: &str| Some(code.to_owned());
        let wanted =
            [(2, None), (3, bad("bad_number")), (4, bad("unknown_region")), (5, bad("bad_csv"))];
        assert_eq!(codes, wanted);
        assert!(format!("{:?}", found[0].1).contains("Harbour, east"));
    }

    #[test]
    fn a_head_names_what_there_is() {
        for file in ["", "number,name,region\n", "number,name,region,volts,colour\n"] {
            assert_eq!(rows(Kind::Feeder, file), Err("bad_csv".to_owned()), "{file}");
        }
        assert_eq!(rows(Kind::Contract, "number,point,customer\n"), Ok(Vec::new()));
    }
}
