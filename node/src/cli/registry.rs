//! `holdfast registry` and `holdfast search`: the network, its points and customers.
//!
//! Facts are given as `name=value`, as the API names them; see `docs/guide/registry.md`.

mod verbs;

use serde_json::{Map, Value, json};

use self::verbs::{At, Kind, When};
pub use self::verbs::{RegistryCommand, SearchArgs};
use super::client::Api;
use super::output::{field, pairs, table, text};
use super::verbs::{fetch, print_list, rows};
use super::{ClusterArgs, ListArgs};
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Facts that are numbers.
const NUMBERS: [&str; 3] = ["region", "volts", "rating_va"];

/// Does what `holdfast registry` says.
pub async fn registry(verb: RegistryCommand) -> Result<(), Failure> {
    let cluster = verb.cluster().clone();
    let api = Api::of(&cluster)?;
    match verb {
        RegistryCommand::List { kind, at, .. } => list(kind.word(), kind, &at, &cluster).await,
        RegistryCommand::Below { kind, number, of, at, .. } => {
            let path = format!("{}/{}/{}", kind.word(), encode(&number), of.word());
            list(&path, of, &at, &cluster).await
        }
        RegistryCommand::Show { kind, number, at, .. } => {
            let path = format!("/api/v1/registry/{}/{}", kind.word(), encode(&number));
            let at = at.at.map_or_else(String::new, |at| format!("?at={}", encode(&at)));
            tell(&api.get(&format!("{path}{at}")).await?, cluster.json);
            Ok(())
        }
        RegistryCommand::Set { kind, number, facts, when, .. } => {
            let facts = facts_of(kind, &facts)?;
            let body = json!({"facts": facts, "from": when.from, "reason": when.reason});
            let path = format!("/api/v1/{}/{}/{}", kind.side(), kind.word(), encode(&number));
            tell(&api.put(&path, &body).await?, cluster.json);
            Ok(())
        }
        RegistryCommand::Close { kind, number, when, .. } => {
            let body = json!({"from": when.from, "reason": when.reason});
            let path = format!("/api/v1/{}/{}/{}", kind.side(), kind.word(), encode(&number));
            tell(&api.post(&format!("{path}/close"), &body).await?, cluster.json);
            Ok(())
        }
        RegistryCommand::Install { point, meter, import_wh, when, .. } => {
            fit(&api, &point, "install", fitting(&meter, import_wh, &when), cluster.json).await
        }
        RegistryCommand::Remove { point, meter, import_wh, when, .. } => {
            fit(&api, &point, "remove", fitting(&meter, import_wh, &when), cluster.json).await
        }
        RegistryCommand::Exchange { point, old, new, last_wh, first_wh, when, .. } => {
            let body = json!({"old": old, "new": new, "from": when.from, "reason": when.reason,
                "last": registers(last_wh), "first": registers(first_wh)});
            fit(&api, &point, "exchange", body, cluster.json).await
        }
        RegistryCommand::Import { kind, file, dry_run, .. } => {
            import(&api, kind, &file, dry_run, cluster.json).await
        }
        RegistryCommand::Export { kind, at, .. } => export(kind, &at, &cluster).await,
        RegistryCommand::Check { .. } => check(&cluster).await,
    }
}

async fn list(path: &str, kind: Kind, at: &At, cluster: &ClusterArgs) -> Result<(), Failure> {
    let items = all(path, at, cluster).await?;
    let facts = kind.columns().get(1..).unwrap_or_default();
    let upper: Vec<String> =
        facts.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
    let head: Vec<&str> =
        ["NUMBER"].into_iter().chain(upper.iter().map(String::as_str)).chain(["SINCE"]).collect();
    print_list(&items, cluster.json, &head, |item| {
        let mut row = vec![field(item, &["number"])];
        row.extend(facts.iter().map(|name| field(item, &["facts", name])));
        row.push(field(item, &["from"]).chars().take(10).collect());
        row
    });
    Ok(())
}

async fn all(path: &str, at: &At, cluster: &ClusterArgs) -> Result<Vec<Value>, Failure> {
    let when = at.at.as_ref().map_or_else(String::new, |at| format!("at={}&", encode(at)));
    let list = ListArgs { query: None, limit: at.limit };
    fetch(&format!("/api/v1/registry/{path}?{when}"), &list, cluster).await
}

fn facts_of(kind: Kind, given: &[String]) -> Result<Value, Failure> {
    let mut facts = Map::new();
    let singular = kind.word().trim_end_matches('s');
    facts.insert("kind".to_owned(), json!(singular));
    for pair in given {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("{pair:?}: give facts as name=value")));
        };
        let value = match NUMBERS.contains(&name) {
            true => match value.parse::<u32>() {
                Ok(number) => json!(number),
                Err(_) => return Err(Failure::usage(format!("{name}: {value:?} is no number"))),
            },
            false => json!(value),
        };
        facts.insert(name.to_owned(), value);
    }
    if kind == Kind::Points {
        facts.entry("phases").or_insert(json!("A"));
        facts.entry("purpose").or_insert(json!("consumption"));
    }
    if kind == Kind::Customers {
        facts.entry("class").or_insert(json!("residential"));
    }
    Ok(Value::Object(facts))
}

fn registers(import_wh: Option<i64>) -> Value {
    let one = |value| json!({"obis": "1-0:1.8.0", "value": value, "scaler": 0, "unit": 30});
    Value::Array(import_wh.map(one).into_iter().collect())
}

fn fitting(meter: &str, import_wh: Option<i64>, when: &When) -> Value {
    json!({"meter": meter, "from": when.from, "reason": when.reason,
        "registers": registers(import_wh)})
}

async fn fit(api: &Api, point: &str, verb: &str, body: Value, json: bool) -> Result<(), Failure> {
    let path = format!("/api/v1/points/{}/{verb}", encode(point));
    tell(&api.post(&path, &body).await?, json);
    Ok(())
}

async fn import(
    api: &Api,
    kind: Kind,
    file: &std::path::Path,
    dry_run: bool,
    json: bool,
) -> Result<(), Failure> {
    let octets = std::fs::read(file).map_err(|error| Failure::file("cannot read", file, &error))?;
    let path = format!("/api/v1/{}/{}?dry_run={dry_run}", kind.side(), kind.word());
    let body = api.post_csv(&path, octets).await?;
    if json {
        println!("{body}");
    } else {
        let would = if dry_run { "would be taken" } else { "taken" };
        let refused = rows(&body["refused"], |one| {
            ["line", "number", "code", "detail"].map(|name| field(one, &[name])).to_vec()
        });
        println!("{} rows {would}, {} refused", field(&body, &["taken"]), refused.len());
        if !refused.is_empty() {
            table(&["LINE", "NUMBER", "CODE", "WHY"], &refused);
        }
    }
    match body["refused"].as_array() {
        Some(refused) if !refused.is_empty() => {
            let text = format!("{} rows were refused", refused.len());
            Err(Failure::failed("rows_refused", text))
        }
        _ => Ok(()),
    }
}

async fn export(kind: Kind, at: &At, cluster: &ClusterArgs) -> Result<(), Failure> {
    let whole = At { at: at.at.clone(), limit: usize::MAX };
    let items = all(kind.word(), &whole, cluster).await?;
    let mut out = csv::Writer::from_writer(std::io::stdout());
    let wrong = |error: csv::Error| Failure::failed("cannot_write", error);
    out.write_record(kind.columns().iter().chain(&["from"])).map_err(wrong)?;
    for item in &items {
        let facts = kind.columns().iter().skip(1).map(|name| match &item["facts"][*name] {
            Value::Null => String::new(),
            value => text(value),
        });
        let row = [field(item, &["number"])].into_iter().chain(facts);
        out.write_record(row.chain([field(item, &["from"])])).map_err(wrong)?;
    }
    out.flush().map_err(|error| Failure::failed("cannot_write", error))
}

async fn check(cluster: &ClusterArgs) -> Result<(), Failure> {
    let list = ListArgs { query: None, limit: usize::MAX };
    let mut found = Vec::new();
    for kind in ["transformers", "points", "customers", "contracts", "installations", "items"] {
        found.extend(fetch(&format!("/api/v1/registry/check/{kind}?"), &list, cluster).await?);
    }
    print_list(&found, cluster.json, &["KIND", "NUMBER", "FAULT", "WITH", "REPAIR"], |one| {
        ["kind", "number", "code", "other", "repair"].map(|name| field(one, &[name])).to_vec()
    });
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::failed("does_not_fit", format!("{} findings", found.len())))
}

/// Tells an object with its history.
fn tell(detail: &Value, json: bool) {
    if json {
        println!("{detail}");
        return;
    }
    if detail["object"].is_null() {
        println!("not there at that time");
    } else {
        println!("number    {}", field(detail, &["object", "number"]));
        pairs(&detail["object"]["facts"]);
    }
    for meter in detail["meters"].as_array().into_iter().flatten() {
        let until =
            if meter["until"].is_null() { "today".into() } else { field(meter, &["until"]) };
        println!("meter {} from {} to {until}", field(meter, &["meter"]), field(meter, &["from"]));
    }
    for contract in detail["contracts"].as_array().into_iter().flatten() {
        let (point, customer) =
            (field(contract, &["facts", "point"]), field(contract, &["facts", "customer"]));
        println!("contract {}: {customer} at {point}", field(contract, &["number"]));
    }
    let versions = rows(&detail["versions"], |version| {
        let state = if version["facts"].is_null() { "closed" } else { "set" };
        vec![
            field(version, &["from"]),
            state.to_owned(),
            field(version, &["by"]),
            field(version, &["reason"]),
        ]
    });
    table(&["FROM", "WAS", "BY", "REASON"], &versions);
}

/// Does what `holdfast search` says.
pub async fn search(args: &SearchArgs) -> Result<(), Failure> {
    let words = encode(&args.words.join(" "));
    let list = ListArgs { query: None, limit: args.limit };
    let items = fetch(&format!("/api/v1/search?text={words}&"), &list, &args.cluster).await?;
    print_list(&items, args.cluster.json, &["KIND", "NUMBER", "WHO OR WHERE", "WITH"], |hit| {
        let with = hit["related"].as_array().into_iter().flatten();
        let with: Vec<String> = with
            .map(|one| format!("{} {}", field(one, &["kind"]), field(one, &["number"])))
            .collect();
        let get = |name: &str| field(hit, &[name]);
        vec![get("kind"), get("number"), get("title"), with.join(", ")]
    });
    Ok(())
}
