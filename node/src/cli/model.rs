//! `holdfast model …`: the meter models of this program, of a file, of a node and of a meter.
//!
//! Invariants: `list`, `show` and `check` need no cluster unless one is named; what `learn` prints
//! passes `check`; what could not be learnt is said on standard error.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Subcommand;
use domain::Obis;
use gateway::model::{Catalog, Entry, Model, Source, learn};
use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, table};
use super::verbs::{answered, execute};
use crate::areas::{models, pages::encode};
use crate::exit::{Exit, Failure};

/// The most attributes of one order.
const AT_ONCE: usize = 32;

/// Verbs of models.
#[derive(Subcommand)]
pub enum ModelCommand {
    /// List the models that ship with this program, or those that a node knows.
    List {
        /// Ask the node of --url instead.
        #[arg(long)]
        node: bool,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Print a model as TOML.
    Show {
        /// Its name.
        name: String,
        /// Ask the node of --url instead.
        #[arg(long)]
        node: bool,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List every fault of a model file; exit 64 if there is one.
    Check {
        /// The file.
        file: PathBuf,
        /// Results as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read a meter's object list now and print a model of it.
    Learn {
        /// The meter's serial.
        serial: String,
        /// Name of the model; made of the serial when left out.
        #[arg(long)]
        name: Option<String>,
        /// Seconds for each read.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

impl ModelCommand {
    /// Whether results are wanted as JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::List { cluster, .. } | Self::Show { cluster, .. } => cluster.json,
            Self::Learn { cluster, .. } => cluster.json,
            Self::Check { json, .. } => *json,
        }
    }
}

/// Does what the verb says.
pub async fn model(verb: ModelCommand) -> Result<(), Failure> {
    match verb {
        ModelCommand::List { node, cluster } => list(node, &cluster).await,
        ModelCommand::Show { name, node, cluster } => show(&name, node, &cluster).await,
        ModelCommand::Check { file, json } => check(&file, json),
        ModelCommand::Learn { serial, name, timeout, cluster } => {
            learn_meter(&serial, name, timeout, &cluster).await
        }
    }
}

async fn list(node: bool, cluster: &ClusterArgs) -> Result<(), Failure> {
    let items = if node {
        Api::of(cluster)?.get("/api/v1/models").await?["items"].take()
    } else {
        let catalog = Catalog::shipped();
        let items: Vec<models::ModelBody> =
            catalog.entries().map(|(_, entry)| models::body(entry)).collect();
        json!(items)
    };
    if cluster.json {
        println!("{}", json!({"items": items}));
        return Ok(());
    }
    let row = |item: &Value| {
        ["name", "version", "protocol", "objects", "description"]
            .map(|name| field(item, &[name]))
            .to_vec()
    };
    let rows: Vec<Vec<String>> = items.as_array().into_iter().flatten().map(row).collect();
    table(&["NAME", "VERSION", "PROTOCOL", "OBJECTS", "DESCRIPTION"], &rows);
    Ok(())
}

async fn show(name: &str, node: bool, cluster: &ClusterArgs) -> Result<(), Failure> {
    let detail = if node {
        Api::of(cluster)?.get(&format!("/api/v1/models/{}", encode(name))).await?
    } else {
        let catalog = Catalog::shipped();
        let found = catalog.entries().find(|(known, _)| *known == name);
        let Some((_, entry)) = found else {
            let text = format!("{name:?}; there are {}", catalog.names());
            return Err(Failure::failed("unknown_model", text));
        };
        json!(models::detail(entry))
    };
    if cluster.json {
        println!("{detail}");
    } else {
        print!("{}", field(&detail, &["toml"]));
    }
    Ok(())
}

fn check(file: &std::path::Path, json: bool) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::file("cannot read the model", file, &error))?;
    match Model::parse(&text) {
        Ok(model) => {
            if json {
                let entry = Entry { model: std::sync::Arc::new(model), file: None };
                println!("{}", json!(models::body(&entry)));
            } else {
                println!("{}: good, {} objects", file.display(), model.objects.len());
            }
            Ok(())
        }
        Err(faults) => {
            if json {
                let of = |fault: &gateway::model::Fault| {
                    json!({"line": fault.line, "place": fault.place, "code": fault.code,
                        "text": fault.text})
                };
                let list: Vec<Value> = faults.iter().map(of).collect();
                println!("{}", json!({"faults": list}));
            }
            let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
            let text = format!("{}: {} faults\n{}", file.display(), faults.len(), lines.join("\n"));
            Err(Failure::new(Exit::Config, "model", text))
        }
    }
}

/// Reads a meter and prints a model of it.
async fn learn_meter(
    serial: &str,
    name: Option<String>,
    timeout_s: u64,
    cluster: &ClusterArgs,
) -> Result<(), Failure> {
    let api = Api::of(cluster)?;
    let reader = Reader { api: &api, serial, timeout_s };
    let name = name.unwrap_or_else(|| format!("learnt-{}", serial.to_ascii_lowercase()));
    let source = reader.source().await?;
    let learnt = learn(&name, &source);
    let text = learnt.file.to_toml().map_err(|e| Failure::failed("model", e.to_string()))?;
    if let Err(faults) = Model::parse(&text) {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Err(Failure::failed("model", lines.join("; ")));
    }
    for note in &learnt.notes {
        eprintln!("{note}");
    }
    if cluster.json {
        println!("{}", json!({"toml": text, "file": learnt.file, "notes": learnt.notes}));
    } else {
        print!("{text}");
    }
    Ok(())
}

/// An attribute to read, and what came.
type Wanted = (u16, Obis, i8);

struct Reader<'a> {
    api: &'a Api,
    serial: &'a str,
    timeout_s: u64,
}

impl Reader<'_> {
    async fn source(&self) -> Result<Source, Failure> {
        let association = (15, Obis([0, 0, 40, 0, 0, 255]), 2);
        let list = self.read(&[association]).await?;
        let objects: Vec<(u16, u8, Obis)> = list
            .first()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(object)
            .collect();
        if objects.is_empty() {
            let text = "the meter's object list is empty, or of another shape";
            return Err(Failure::failed("malformed", text));
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        for (class, _, obis) in &objects {
            match class {
                3 | 4 => wanted.push((*class, *obis, 3)),
                5 => wanted.push((*class, *obis, 4)),
                7 => wanted.extend([3, 4, 8].map(|attribute| (*class, *obis, attribute))),
                _ => {}
            }
        }
        let mut source = Source { objects, ..Source::default() };
        let (mut columns, mut periods) = (HashMap::new(), HashMap::new());
        for (at, chunk) in wanted.chunks(AT_ONCE).enumerate() {
            eprintln!("{} of {} attributes", at * AT_ONCE, wanted.len());
            let values = self.read(chunk).await?;
            for ((class, obis, attribute), value) in chunk.iter().zip(&values) {
                match (class, attribute) {
                    (7, 3) => {
                        let list = value.as_array().into_iter().flatten();
                        columns.insert(*obis, list.filter_map(column).collect::<Vec<_>>());
                    }
                    (7, 4) => {
                        periods.insert(*obis, number(value).unwrap_or(0));
                    }
                    (7, _) => {
                        source.entries.extend(number(value).map(|entries| (*obis, entries)));
                    }
                    _ => {
                        source.scaled.extend(scaled(value).map(|scaled| (*obis, scaled)));
                    }
                }
            }
        }
        for (obis, columns) in columns.into_iter().filter(|(_, columns)| !columns.is_empty()) {
            let period_s = periods.get(&obis).copied().unwrap_or(0);
            source.profiles.insert(obis, (columns, period_s));
        }
        Ok(source)
    }

    /// One value an attribute; null for one that the meter refused.
    async fn read(&self, wanted: &[Wanted]) -> Result<Vec<Value>, Failure> {
        let attribute = |(class, obis, attribute): &Wanted| {
            let obis = obis.to_string();
            json!({"class": class, "obis": obis, "attribute": attribute})
        };
        let attributes: Vec<Value> = wanted.iter().map(attribute).collect();
        let order = json!({"kind": "read", "attributes": attributes});
        let command = execute(self.api, self.serial, &order, self.timeout_s).await?;
        answered(&command)?;
        let values = command["values"].as_array().cloned().unwrap_or_default();
        Ok(values.into_iter().map(|mut read| read["value"].take()).collect())
    }
}

/// An element of an object list: class, version, logical name, rights.
fn object(value: &Value) -> Option<(u16, u8, Obis)> {
    let fields = value.as_array()?;
    let class = number(fields.first()?)?;
    Some((class, number(fields.get(1)?)?, name(fields.get(2)?)?))
}

/// A capture object: class, logical name, attribute, data index.
fn column(value: &Value) -> Option<(u16, Obis, i8)> {
    let fields = value.as_array()?;
    Some((number(fields.first()?)?, name(fields.get(1)?)?, number(fields.get(2)?)?))
}

fn scaled(value: &Value) -> Option<(i8, u8)> {
    let fields = value.as_array()?;
    Some((number(fields.first()?)?, number(fields.get(1)?)?))
}

/// A number as the API writes it: as text, or as a number.
fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    }
}

/// A logical name as the API writes octets: twelve hex digits.
fn name(value: &Value) -> Option<Obis> {
    let octets = crate::secret::unhex(value.as_str()?)?;
    Some(Obis(octets.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{column, object, scaled};
    use domain::Obis;
    use serde_json::json;

    #[test]
    fn answers_of_the_api_are_read_in_both_spellings_of_a_number() {
        let import = Obis([1, 0, 1, 8, 0, 255]);
        assert_eq!(object(&json!(["3", "0", "0100010800ff", []])), Some((3, 0, import)));
        assert_eq!(object(&json!([3, 0, "0100010800ff"])), Some((3, 0, import)));
        assert_eq!(column(&json!(["3", "0100010800ff", "2", "0"])), Some((3, import, 2)));
        assert_eq!(scaled(&json!(["-1", "30"])), Some((-1, 30)));
        for wrong in [json!(null), json!([]), json!(["3"]), json!(["x", "0", "01"])] {
            assert_eq!((object(&wrong), column(&wrong)), (None, None), "{wrong}");
        }
    }
}
