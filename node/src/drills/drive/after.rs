//! What is asked of every node when the tries are over: what it holds, its state, its counters.
//!
//! Invariant: a node that does not answer in time is left out, and so is a doubt of the verdict.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Course;
use crate::cli::Api;
use crate::drills::evidence::{Build, Held, Replica, Sign};

/// How long a node may take to answer at all.
const WITHIN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// The scenario's counters by node, each summed over its labels.
pub type Counters = Vec<Vec<Option<f64>>>;

async fn get(client: &Api, path: &str, patience: Duration) -> Option<Value> {
    match client.once(Method::GET, path, (None, ""), patience).await {
        Ok((200, body)) => Some(body),
        _ => None,
    }
}

/// The writes that each node holds.
pub async fn held(course: &Course) -> Vec<(String, Held)> {
    let path = format!("/api/v1/drills/{}/probes", course.drill);
    let mut all = Vec::new();
    for (client, name) in course.clients.iter().zip(&course.nodes) {
        let until = Instant::now() + WITHIN;
        while Instant::now() < until {
            let told = get(client, &path, PATIENCE).await;
            if let Some(held) = told.and_then(|body| serde_json::from_value(body).ok()) {
                all.push((name.clone(), held));
                break;
            }
            sleep(PAUSE).await;
        }
    }
    all
}

/// The state hash of each node at one index that all have reached.
pub async fn replicas(course: &Course) -> Vec<Replica> {
    let until = Instant::now() + WITHIN;
    loop {
        let found = replicas_now(course).await;
        let known = found.iter().filter(|replica| replica.hash.is_some()).count();
        if known == course.nodes.len() || Instant::now() >= until {
            return found;
        }
        sleep(PAUSE).await;
    }
}

async fn replicas_now(course: &Course) -> Vec<Replica> {
    let mut index = u64::MAX;
    for client in &course.clients {
        let told = get(client, "/api/v1/cluster", PATIENCE).await;
        index = index.min(told.and_then(|body| body["applied_index"].as_u64()).unwrap_or(index));
    }
    let path = format!("/api/v1/cluster?index={index}");
    let mut all = Vec::new();
    for (client, name) in course.clients.iter().zip(&course.nodes) {
        let told = get(client, &path, PATIENCE).await;
        let hash = told.and_then(|body| body["at"]["state_hash"].as_str().map(str::to_owned));
        all.push(Replica { node: name.clone(), index, hash });
    }
    all
}

/// What runs on a node.
pub async fn build(client: &Api) -> Option<Build> {
    let told = get(client, "/metrics", PATIENCE).await?;
    let line = told.as_str()?.lines().find(|line| line.starts_with("holdfast_build_info{"))?;
    let label = |name: &str| {
        let rest = line.split_once(&format!("{name}=\""))?.1;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    Some(Build { version: label("version")?, revision: label("revision")? })
}

/// When a node's process began, Unix time in seconds, as its system tells it.
pub async fn began(client: &Api) -> Option<f64> {
    let told = get(client, "/metrics", PATIENCE).await?;
    let line =
        told.as_str()?.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "))?;
    line.trim().parse().ok()
}

/// The scenario's counters now.
pub async fn counters(course: &Course) -> Counters {
    let mut all = Vec::new();
    for client in &course.clients {
        let told = get(client, "/metrics", PATIENCE).await;
        let text = told.as_ref().and_then(Value::as_str).map(str::to_owned);
        let of = |name: &&str| text.as_deref().map(|text| summed(text, name));
        all.push(course.scenario.signs.iter().map(of).collect());
    }
    all
}

/// What the counters rose by since an earlier look; a node that began anew is left out.
pub async fn signs(course: &Course, before: &Counters) -> Vec<Sign> {
    let after = counters(course).await;
    let rise = |place: usize| {
        let pairs = before.iter().zip(&after);
        let rises = pairs.filter_map(|(before, after)| {
            let (before, after) = (before.get(place)?.as_ref()?, after.get(place)?.as_ref()?);
            (after >= before).then_some(after - before)
        });
        rises.fold(0.0, f64::max)
    };
    let names = course.scenario.signs.iter().enumerate();
    names
        .map(|(place, name)| Sign { metric: (*name).to_owned(), rose_by: rise(place) as u64 })
        .collect()
}

/// When a node last handed out a backup that was stored complete, Unix time; none is known when
/// the nodes have begun anew since.
pub async fn newest_backup(clients: &[Api]) -> Option<i64> {
    let mut newest = None;
    for client in clients {
        let told = get(client, "/metrics", PATIENCE).await;
        let text = told.as_ref().and_then(Value::as_str);
        let at = text.map(|text| summed(text, "holdfast_backup_last_timestamp_seconds") as i64);
        newest = newest.max(at.filter(|at| *at > 0));
    }
    newest
}

/// The sum of a metric's series in Prometheus text.
fn summed(text: &str, name: &str) -> f64 {
    let of = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_whole = rest.starts_with('{') || rest.starts_with(' ');
        let value = rest.rsplit(' ').next()?.parse::<f64>().ok()?;
        is_whole.then_some(value)
    };
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::summed;

    #[test]
    fn series_are_summed_and_other_names_are_not() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\n\
                    a_total_more 7\nb 1\n";
        assert_eq!(summed(text, "a_total"), 5.0);
        assert_eq!(summed(text, "b"), 1.0);
        assert_eq!(summed(text, "c"), 0.0);
    }
}
