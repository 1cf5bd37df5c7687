//! The demo's town: regions with their concentrators, its network and customers, and people who
//! work there.
//!
//! Invariant: made once, at the first start; a second start changes nothing, also where somebody
//! has moved things since.

use serde_json::{Value, json};

use super::network::{self, Built};
use crate::areas::pages::encode;
use crate::cli::Api;
use crate::exit::Failure;

/// Concentrators are dealt out to these in turn.
const REGIONS: [&str; 3] = ["North", "Harbour", "Old Town"];

/// Login name, full name, language, role, and whose staff: a region by its place above, or the
/// whole utility.
const PEOPLE: [(&str, &str, &str, &str, Option<usize>); 4] = [
    ("ana", "Ana Núñez", "es", "operator", Some(0)),
    ("petrova", "Анна Петрова", "ru", "metering_engineer", Some(1)),
    ("lin", "林小雨", "zh", "auditor", None),
    ("kerr", "Morag Kerr", "en", "administrator", None),
];

/// Somebody who was registered: login name, role, region, password for the first login.
pub struct Settled {
    /// To log in with.
    pub name: String,
    /// What he is.
    pub role: String,
    /// Where.
    pub place: String,
    /// For the first login.
    pub password: String,
}

/// The network and customers behind the meters of these concentrators.
async fn connect(api: &Api, regions: &[u64], concentrators: &[&Value]) -> Result<(), Failure> {
    let mut serials = Vec::new();
    for (place, id) in concentrators.iter().enumerate() {
        let path = format!("/api/v1/meters?limit=1000&concentrator={}", encode(&text(id)));
        let mut cursor = String::new();
        loop {
            let page = api.get(&format!("{path}{cursor}")).await?;
            let items = page["items"].as_array().into_iter().flatten();
            serials.extend(items.map(|meter| (text(&meter["serial"]), place)));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encode(next)),
                None => break,
            }
        }
    }
    let built = serials.iter().map(|(serial, concentrator)| Built {
        serial,
        concentrator: *concentrator,
        region: regions.get(concentrator % regions.len().max(1)).copied().unwrap_or(0),
    });
    let built: Vec<Built<'_>> = built.collect();
    network::build(api, regions, concentrators.len(), &built).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Makes the town, unless there are regions already. Gives the people who were registered.
pub async fn settle(api: &Api) -> Result<Vec<Settled>, Failure> {
    let known = api.get("/api/v1/regions").await?;
    if known["items"].as_array().is_some_and(|all| !all.is_empty()) {
        return Ok(Vec::new());
    }
    let mut numbers = Vec::new();
    for name in REGIONS {
        let made = api.post("/api/v1/regions", &json!({"name": name})).await?;
        numbers.push(made["id"].as_u64().unwrap_or(0));
    }
    let concentrators = api.get("/api/v1/concentrators?limit=1000").await?;
    let ids: Vec<&Value> =
        concentrators["items"].as_array().into_iter().flatten().map(|one| &one["id"]).collect();
    for (place, number) in numbers.iter().enumerate() {
        let here: Vec<&&Value> = ids.iter().skip(place).step_by(REGIONS.len()).collect();
        if !here.is_empty() {
            let body = json!({"concentrators": here, "reason": "where it was built"});
            api.post(&format!("/api/v1/regions/{number}/devices"), &body).await?;
        }
    }
    connect(api, &numbers, &ids).await?;
    let mut settled = Vec::new();
    for (name, full_name, language, role, place) in PEOPLE {
        let home = place.and_then(|place| numbers.get(place)).copied().unwrap_or(0);
        let body =
            json!({"name": name, "full_name": full_name, "language": language, "home": home});
        api.post("/api/v1/operators", &body).await?;
        let one = format!("/api/v1/operators/{}", encode(name));
        let body = json!({"role": role, "region": home, "reason": "works here"});
        api.post(&format!("{one}/grants"), &body).await?;
        let made = api.post(&format!("{one}/password"), &Value::Null).await?;
        settled.push(Settled {
            name: name.to_owned(),
            role: role.replace('_', " "),
            place: place.map_or("the whole utility", |place| REGIONS[place]).to_owned(),
            password: made["password"].as_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(settled)
}
