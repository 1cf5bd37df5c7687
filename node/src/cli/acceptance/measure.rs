//! What is measured from outside: pages, queries, searches, reads and writes of parameters.
//!
//! Not judged here. Invariants: nodes are asked in turn; a parameter is only written with the value
//! that it has; orders under way at a time are bounded, and so is the time for each kind.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use hyper::Method;
use serde_json::{Value, json};

use super::{Scale, leave_out, tell};
use crate::areas::pages::encode;
use crate::cli::client::{Api, NoAnswer};
use crate::cli::output::field;
use crate::drills::acceptance::{Measured, READS, Speed, Times};
use crate::exit::Failure;
use crate::secret::{hex, random};

/// How long a page or a query may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long an order may take to its end.
const ORDER: Duration = Duration::from_secs(60);
/// How long one question for its end waits; nodes answer a little sooner.
const LOOK: Duration = Duration::from_secs(30);
/// Orders under way at a time where each one's time counts.
const FEW: usize = 4;
/// Orders under way at a time where only their number counts.
const MANY: usize = 128;
/// Meters that are known to the driver, at most.
const METERS: usize = 500;
/// Of them, those that are looked at for the oldest value.
const LOOKED_AT: usize = 20;
const REGISTER: &str = "1-0:1.8.0";
/// The clock's time zone: every meter has it, and nothing else depends on its being written.
const PARAMETER: (&str, u16, i8) = ("0-0:1.0.0", 8, 3);
const DAY_S: i64 = 86_400;

/// A meter that can be asked.
#[derive(Clone)]
struct Meter {
    serial: String,
    behind: bool,
}

/// The cluster as the driver knows it.
pub struct Field {
    clients: Vec<Api>,
    meters: Vec<Meter>,
    /// Words that customers, concentrators and meters are called by.
    words: Vec<String>,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn items(body: &Value) -> &[Value] {
    body["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Field {
    /// Asks for nodes, meters and names.
    pub async fn of(api: &Api) -> Result<Field, Failure> {
        let cluster = api.get("/api/v1/cluster").await?;
        let nodes = cluster["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let clients: Vec<Api> = nodes.iter().map(|node| api.at(&field(node, &["url"]))).collect();
        if clients.is_empty() {
            return Err(Failure::failed("bad_answer", "the cluster has no nodes"));
        }
        let mut meters = Vec::new();
        let mut cursor = String::new();
        while meters.len() < METERS {
            let body = api.get(&format!("/api/v1/meters?limit=100{cursor}")).await?;
            meters.extend(items(&body).iter().filter(|one| one["retired"].is_null()).map(|one| {
                let behind = one["concentrator"].is_string();
                Meter { serial: field(one, &["serial"]), behind }
            }));
            match body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encode(next)),
                None => break,
            }
        }
        let mut words: Vec<String> = meters.iter().map(|meter| meter.serial.clone()).collect();
        for path in ["/api/v1/registry/customers?limit=100", "/api/v1/concentrators?limit=100"] {
            // Who may not see customers still measures the rest.
            let Ok(body) = api.get(path).await else { continue };
            words
                .extend(items(&body).iter().filter_map(|one| one["name"].as_str()).map(Into::into));
        }
        Ok(Field { clients, meters, words })
    }

    fn client(&self, turn: usize) -> &Api {
        // There is at least one.
        &self.clients[turn % self.clients.len()]
    }

    /// Meters behind concentrators, or those of their own address when there are no others.
    fn asked(&self) -> Vec<&str> {
        let behind: Vec<&Meter> = self.meters.iter().filter(|meter| meter.behind).collect();
        let all = if behind.is_empty() { self.meters.iter().collect() } else { behind };
        all.into_iter().map(|meter| meter.serial.as_str()).collect()
    }
}

/// Everything that hurts nobody.
pub async fn harmless(
    field: &Field,
    scale: &Scale,
    measured: &mut Measured,
) -> Result<(), Failure> {
    tell("pages");
    let pages = pages(field);
    let times = asked(field, &pages, scale.answers, scale.patience).await;
    measured.times.insert("interface".to_owned(), times);
    tell("queries");
    let queries = queries(field);
    let times = asked(field, &queries, scale.answers, scale.patience).await;
    measured.times.insert("general-query".to_owned(), times);
    tell("searches");
    let searches = searches(field);
    let times = asked(field, &searches, scale.answers, scale.patience).await;
    measured.times.insert("fuzzy-query".to_owned(), times);
    tell("the oldest day");
    oldest(field, scale, measured).await?;
    if field.meters.is_empty() {
        for name in ["reading-speed", "remote-data", "command-reach", "request-set"] {
            leave_out(measured, name, "the cluster has no meters");
        }
        return Ok(());
    }
    tell("reads of meters, one by one");
    reads(field, scale, measured).await?;
    tell("reads of meters, as many as it takes");
    measured.speed = Some(speed(field, scale).await?);
    Ok(())
}

fn pages(field: &Field) -> Vec<String> {
    let fixed = [
        "/",
        "/meters",
        "/registry/customers",
        "/registry/points",
        "/operators",
        "/audit",
        "/drills",
        "/me",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).to_vec();
    for meter in field.meters.iter().take(LOOKED_AT) {
        all.push(format!("/meters/{}", encode(&meter.serial)));
        all.push(format!("/search?text={}", encode(&meter.serial)));
    }
    all
}

fn queries(field: &Field) -> Vec<String> {
    let mut all = vec![
        "/api/v1/meters?limit=100".to_owned(),
        "/api/v1/readings/latest?limit=100".to_owned(),
        "/api/v1/readings?limit=100".to_owned(),
        "/api/v1/collection/concentrators?limit=100".to_owned(),
    ];
    let one = |meter: &Meter| format!("/api/v1/meters/{}/readings", encode(&meter.serial));
    all.extend(field.meters.iter().take(100).map(one));
    all
}

/// Parts of two to eight letters of what things are called, and words that nothing is called by.
fn searches(field: &Field) -> Vec<String> {
    let mut texts: Vec<String> = vec!["zqxj".to_owned(), "qqzz9".to_owned()];
    for (turn, words) in field.words.iter().enumerate() {
        let runs = words.split(|c: char| !c.is_alphanumeric());
        let Some(run) = runs.max_by_key(|run| run.chars().count()) else { continue };
        let letters: Vec<char> = run.chars().collect();
        let wanted = [2, 3, 4, 6, 8][turn % 5];
        let from = letters.len().saturating_sub(wanted) / 2;
        let part: String = letters.iter().skip(from).take(wanted).collect();
        if part.chars().count() >= 2 {
            texts.push(part);
        }
    }
    texts.into_iter().map(|text| format!("/api/v1/search?text={}", encode(&text))).collect()
}

/// Runs tries one behind the other, up to a number or a time.
async fn timed<F: Future<Output = Result<Duration, String>>>(
    count: usize,
    beside: usize,
    patience: Duration,
    work: impl Fn(usize) -> F,
) -> Times {
    let mut times = Times::default();
    let mut tries = futures::stream::iter((0..count).map(work)).buffer_unordered(beside);
    let until = tokio::time::Instant::now() + patience;
    while let Ok(Some(done)) = tokio::time::timeout_at(until, tries.next()).await {
        match done {
            Ok(took) => times.took_us.push(micros(took)),
            Err(why) => note(&mut times, &why),
        }
    }
    times
}

fn note(times: &mut Times, why: &str) {
    times.failed += 1;
    if times.why.is_empty() {
        times.why = why.chars().take(120).collect();
    }
}

/// GETs the paths in turn, each at the next node.
async fn asked(field: &Field, paths: &[String], count: usize, patience: Duration) -> Times {
    let one = |turn: usize| async move {
        let Some(path) = paths.get(turn % paths.len().max(1)) else { return Err("none".into()) };
        let began = Instant::now();
        let client = field.client(turn);
        match client.once(Method::GET, path, (None, ""), ANSWER).await {
            Ok((200, _)) => Ok(began.elapsed()),
            Ok((status, body)) => Err(format!("{path}: {status} {}", body["code"])),
            Err(failed) => Err(format!("{path}: {}", words(&failed))),
        }
    };
    timed(count, 1, patience, one).await
}

fn words(failed: &NoAnswer) -> String {
    match failed {
        NoAnswer::Down(why) => why.clone(),
        NoAnswer::Late => "no answer in time".to_owned(),
    }
}

/// The oldest value of some meters, and days around it asked for at every node.
async fn oldest(field: &Field, scale: &Scale, measured: &mut Measured) -> Result<(), Failure> {
    let mut oldest: Option<(i64, String)> = None;
    for meter in field.meters.iter().take(LOOKED_AT) {
        let path = format!("/api/v1/meters/{}", encode(&meter.serial));
        let body = field.client(0).get(&path).await?;
        for series in body["series"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let first = series["first"].as_str().and_then(|text| text.parse().ok());
            let Some(first) = first.map(jiff::Timestamp::as_second) else { continue };
            let sooner = oldest.as_ref().is_none_or(|(known, _)| first < *known);
            if sooner && series["interval_minutes"].as_u64().is_some_and(|minutes| minutes > 0) {
                oldest = Some((first, meter.serial.clone()));
            }
        }
    }
    let Some((first, serial)) = oldest else { return Ok(()) };
    measured.oldest_s = Some(first);
    let at = |second: i64| jiff::Timestamp::from_second(second).map(|at| at.to_string());
    let (Ok(from), Ok(to)) = (at(first - 1), at(first + DAY_S)) else { return Ok(()) };
    let (serial, from, to) = (encode(&serial), encode(&from), encode(&to));
    let path = format!("/api/v1/meters/{serial}/readings?from={from}&to={to}");
    let times = asked(field, &[path], scale.answers / 4, scale.patience).await;
    measured.times.insert("online-days".to_owned(), times);
    Ok(())
}

/// Orders something of a meter and waits for its end at another node: the ended command.
async fn order(field: &Field, turn: usize, target: &str, what: &Value) -> Result<Value, String> {
    let key = random::<16>().map_err(|failure| failure.to_string())?;
    let wish = json!({"target": target, "order": what, "expires_in_s": ORDER.as_secs()});
    let body = Some(Bytes::from(wish.to_string()));
    let (until, key) = (Instant::now() + ORDER, hex(&key));
    let queued = field.client(turn).once(Method::POST, "/api/v1/commands", (body, &key), ANSWER);
    let id = match queued.await {
        Ok((202, command)) => field_of(&command, "id"),
        Ok((status, body)) => return Err(format!("{target}: {status} {}", body["code"])),
        Err(failed) => return Err(format!("{target}: {}", words(&failed))),
    };
    let path = format!("/api/v1/commands/{id}?wait=25");
    loop {
        let seen = field.client(turn + 1).once(Method::GET, &path, (None, ""), LOOK).await;
        match seen {
            Ok((200, command)) if !command["settled"].is_null() => {
                return match command["state"].as_str() {
                    Some("acknowledged" | "verified") => Ok(command),
                    state => {
                        let code = field_of(&command["failure"], "code");
                        Err(format!("{target}: {} {code}", state.unwrap_or("?")))
                    }
                };
            }
            _ if Instant::now() > until => return Err(format!("{target}: no end in time")),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn field_of(value: &Value, name: &str) -> String {
    field(value, &[name])
}

fn read_order() -> Value {
    json!({"kind": "read", "attributes": [{"obis": REGISTER}]})
}

/// Microseconds between two stamps of a command. What acts is acknowledged and then verified; a
/// read's answer is its acknowledgement and its end at once.
fn between(command: &Value, from: &str, to: &str) -> Option<u64> {
    let at = |name: &str| {
        let ended = (name == "acknowledged").then(|| command["settled"].as_str()).flatten();
        command[name].as_str().or(ended)?.parse::<jiff::Timestamp>().ok()
    };
    u64::try_from(at(to)?.as_microsecond() - at(from)?.as_microsecond()).ok()
}

/// Reads of one register each, few at a time: the order's way and the value's way back.
async fn reads(field: &Field, scale: &Scale, measured: &mut Measured) -> Result<(), Failure> {
    let meters = field.asked();
    let parts = std::sync::Mutex::new(BTreeMap::<&str, Vec<u64>>::new());
    let one = |turn: usize| {
        let (meters, parts) = (&meters, &parts);
        async move {
            let target = meters[turn % meters.len()];
            let began = Instant::now();
            let command = order(field, turn, target, &read_order()).await?;
            let took = began.elapsed();
            let mut parts = parts.lock().map_err(|_| "a neighbour died".to_owned())?;
            for (name, from, to) in [
                ("command-reach", "queued", "acknowledged"),
                ("command-reach/queued to sent", "queued", "sent"),
                ("command-reach/sent to acknowledged", "sent", "acknowledged"),
            ] {
                parts.entry(name).or_default().extend(between(&command, from, to));
            }
            Ok(took)
        }
    };
    let times = timed(scale.answers, FEW, scale.patience, one).await;
    let (failed, why) = (times.failed, times.why.clone());
    measured.times.insert("remote-data".to_owned(), times);
    for (name, took_us) in parts.into_inner().unwrap_or_default() {
        // A read that failed did not reach its meter either.
        let (failed, why) =
            if name.contains('/') { (0, String::new()) } else { (failed, why.clone()) };
        measured.times.insert(name.to_owned(), Times { took_us, failed, why });
    }
    Ok(())
}

/// Reads of all meters in turn, many at a time, until there are enough or the time is over.
async fn speed(field: &Field, scale: &Scale) -> Result<Speed, Failure> {
    let meters = field.asked();
    let beside = MANY.min(meters.len());
    let began = Instant::now();
    let one = |turn: usize| {
        let meters = &meters;
        async move {
            // Whoever begins behind the end reads nothing.
            if began.elapsed() >= scale.reading {
                return None;
            }
            let done = order(field, turn, meters[turn % meters.len()], &read_order()).await;
            Some((done.is_ok(), began.elapsed()))
        }
    };
    let mut reads = futures::stream::iter((0..usize::MAX).map(one)).buffer_unordered(beside);
    let mut speed = Speed {
        reads: 0,
        failed: 0,
        within_us: 0,
        beside: u32::try_from(beside).unwrap_or(u32::MAX),
        meters: u32::try_from(meters.len()).unwrap_or(u32::MAX),
    };
    let until = tokio::time::Instant::now() + scale.reading + ORDER;
    while let Ok(Some(Some((good, at)))) = tokio::time::timeout_at(until, reads.next()).await {
        speed.reads += u64::from(good);
        speed.failed += u64::from(!good);
        speed.within_us = micros(at);
        if speed.reads >= READS {
            break;
        }
    }
    Ok(speed)
}

/// A parameter is asked for and written with what it holds.
pub async fn sets(field: &Field, scale: &Scale, measured: &mut Measured) -> Result<(), Failure> {
    let meters = field.asked();
    if meters.is_empty() {
        return Ok(());
    }
    let (obis, class, number) = PARAMETER;
    let attribute = json!({"obis": obis, "class": class, "attribute": number});
    let parts = std::sync::Mutex::new(BTreeMap::<&str, Vec<u64>>::new());
    let one = |turn: usize| {
        let (meters, parts, attribute) = (&meters, &parts, &attribute);
        async move {
            // A round of gets before each set, so the value written is the value that it has.
            let target = meters[turn % meters.len()];
            let began = Instant::now();
            let get = json!({"kind": "read", "attributes": [attribute]});
            let command = order(field, turn, target, &get).await?;
            let got = began.elapsed();
            let value = command["values"][0]["value"].as_str();
            let value: i64 = value
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| format!("{target}: {obis} has no value"))?;
            let began = Instant::now();
            let set = json!({"kind": "write", "attribute": attribute, "value": value});
            order(field, turn, target, &set).await?;
            let was_set = began.elapsed();
            let mut parts = parts.lock().map_err(|_| "a neighbour died".to_owned())?;
            parts.entry("request-set/get").or_default().push(micros(got));
            parts.entry("request-set/set").or_default().push(micros(was_set));
            Ok(got.max(was_set))
        }
    };
    let times = timed(scale.answers, FEW, scale.patience, one).await;
    measured.times.insert("request-set".to_owned(), times);
    for (name, took_us) in parts.into_inner().unwrap_or_default() {
        measured.times.insert(name.to_owned(), Times { took_us, ..Times::default() });
    }
    Ok(())
}
