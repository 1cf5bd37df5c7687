//! One line every few seconds: what is stored, where the channels stand, who leads.

use serde_json::Value;
use tokio::time::Instant;

use crate::cli::Api;

/// What the last line said.
#[derive(Default)]
pub struct Seen {
    stored: Option<(Instant, u64)>,
}

/// The next line.
pub async fn line(api: &Api, seen: &mut Seen) -> String {
    let cluster = match api.get("/api/v1/cluster").await {
        Ok(cluster) => cluster,
        Err(failure) => return format!("the cluster does not answer: {failure}"),
    };
    let leader = cluster["leader"].as_str().unwrap_or("none");
    let collected = api.get("/api/v1/collection").await.unwrap_or_default();
    let stored = collected["kept"]["stored"].as_u64().unwrap_or(0);
    let expected = collected["kept"]["expected"].as_u64().unwrap_or(0);
    let rate = rate(seen, stored);
    let (main, standby, none) = match api.get("/api/v1/concentrators?limit=1000").await {
        Ok(list) => channels(&list["items"]),
        Err(_) => (0, 0, 0),
    };
    format!(
        "stored {stored} of {expected} interval values due ({rate}); channels: {main} main, \
         {standby} standby, {none} none; leader {leader}, term {}, applied {}",
        cluster["term"], cluster["applied_index"]
    )
}

fn rate(seen: &mut Seen, stored: u64) -> String {
    let now = Instant::now();
    let rate = match seen.stored {
        Some((then, before)) => {
            let seconds = (now - then).as_secs_f64().max(0.001);
            format!("{:.0}/s", stored.saturating_sub(before) as f64 / seconds)
        }
        None => "first look".to_string(),
    };
    seen.stored = Some((now, stored));
    rate
}

fn channels(items: &Value) -> (usize, usize, usize) {
    let roles: Vec<Option<&str>> = items
        .as_array()
        .map(|items| items.iter().map(|item| item["channel"]["role"].as_str()).collect())
        .unwrap_or_default();
    let count = |wanted: Option<&str>| roles.iter().filter(|role| **role == wanted).count();
    (count(Some("main")), count(Some("standby")), count(None))
}
