//! Plans, lists and reports of drills for people; with `--json` the API's own answer.

use serde_json::Value;

use crate::cli::output::{field, table};
use crate::drills::acceptance::{Acceptance, Outcome};

fn items<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn ms(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
}

/// A length of time as `3 d`, `4 h`, `5 min` or `6 s`.
fn age(seconds: Option<u64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(seconds @ 0..=119) => format!("{seconds} s"),
        Some(seconds @ 120..=7_199) => format!("{} min", seconds / 60),
        Some(seconds @ 7_200..=172_799) => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}

/// `drill list`.
pub fn list(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    let rows = items(body, "scenarios").iter().map(|scenario| {
        let last = &scenario["last"];
        let get = |name: &str| field(last, &[name]);
        vec![
            field(scenario, &["name"]),
            age(scenario["age_s"].as_u64()),
            get("verdict"),
            ms(&last["write_ms"]),
            ms(&last["read_ms"]),
            ms(&last["channel_ms"]),
            get("lost"),
            get("doubled"),
            get("id"),
            field(scenario, &["does"]),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head = [
        "SCENARIO", "PASSED", "LAST", "WRITE", "READ", "CHANNEL", "LOST", "DOUBLED", "DRILL",
        "DOES",
    ];
    table(&head, &rows);
    if body["allowed"] != true {
        println!("\nThe asked node takes part in no drill: `drills.allowed` is false there.");
    }
    if let Some(open) = items(body, "items").iter().find(|item| item["state"] == "open") {
        let get = |name: &str| field(open, &[name]);
        println!("\ndrill {} ({}) of {} is under way", get("id"), get("scenario"), get("by"));
    }
}

/// What would be done, and the guard rails.
pub fn plan(plan: &Value, is_json: bool) {
    if is_json {
        println!("{plan}");
        return;
    }
    let scenario = &plan["scenario"];
    let get = |name: &str| field(scenario, &[name]);
    println!("{}: {}", get("name"), get("hypothesis"));
    println!("  does          {}", get("does"));
    let nodes = items(plan, "nodes").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    match nodes.is_empty() {
        true => println!("  to            {}", field(plan, &["target"])),
        false => println!("  to            {}, one after the other", nodes.join(", ")),
    }
    if plan["concentrator"].as_str().is_some_and(|id| !id.is_empty()) {
        println!("  concentrator  {}", field(plan, &["concentrator"]));
    }
    if plan["hold_s"].as_u64().is_some_and(|hold| hold > 0) {
        println!("  lasts         {} s", plan["hold_s"]);
    }
    println!("  touches       {}", get("blast_radius"));
    println!("  undone by     {}", get("undo"));
    println!("  over after    {} s whatever happens", plan["limit_s"]);
    for limit in items(scenario, "limits") {
        let (promise, limit_ms) = (ms(&limit["promise_ms"]), ms(&limit["limit_ms"]));
        println!("  {:<13} promised {promise}, fails above {limit_ms}", field(limit, &["kind"]));
    }
    println!("\nguard rails");
    for rail in items(plan, "rails") {
        let mark = match rail["holds"].as_str() {
            Some("good") => "ok",
            Some("warning") => "look",
            _ => "NO",
        };
        println!("  {mark:<5} {:<11} {}", field(rail, &["name"]), field(rail, &["detail"]));
    }
    if plan["may_begin"] == true {
        println!("\nNothing was done. It may begin: the same with --yes does it.");
    }
}

/// The figures of an acceptance with their verdicts and reasons.
pub fn figures(found: &Acceptance) {
    let row =
        |one: &Outcome| vec![one.title.clone(), one.verdict.name().to_owned(), one.result.clone()];
    let rows: Vec<Vec<String>> = found.figures.iter().map(row).collect();
    table(&["FIGURE", "VERDICT", "RESULT"], &rows);
    println!();
    for one in found.figures.iter().filter(|one| !one.reason.is_empty()) {
        println!("{}: {}", one.title, one.reason);
    }
    let (passed, failed, unproven) = (found.passed(), found.failed(), found.unproven());
    println!("\n{passed} passed, {failed} failed, {unproven} not proven here");
}

/// A drill and its report.
pub fn report(body: &Value, is_json: bool) {
    if is_json {
        println!("{body}");
        return;
    }
    let report = &body["report"];
    let get = |name: &str| field(body, &[name]);
    println!("drill {}: {} on {}, {}", get("id"), get("scenario"), get("target"), get("state"));
    println!("  by {} ({}), begun {}", get("by"), get("reason"), get("begun"));
    if report.is_null() {
        println!("  no report is kept");
        return;
    }
    let accepted = report.get("acceptance").filter(|accepted| !accepted.is_null());
    if let Some(found) = accepted.and_then(|one| serde_json::from_value(one.clone()).ok()) {
        figures(&found);
        return;
    }
    println!("  verdict: {}", field(report, &["verdict"]).to_uppercase());
    for (name, word) in [("reasons", "because"), ("deviations", "besides")] {
        for text in items(report, name).iter().filter_map(Value::as_str) {
            println!("  {word}: {text}");
        }
    }
    println!();
    let recovery = items(report, "recovery").iter().map(|one| {
        let kept = |name: &str| if one[name] == true { "kept" } else { "BROKEN" };
        vec![
            field(one, &["kind"]),
            ms(&one["measured_ms"]),
            ms(&one["before_ms"]),
            format!("{} {}", ms(&one["promise_ms"]), kept("promise_kept")),
            format!("{} {}", ms(&one["limit_ms"]), kept("within_limit")),
        ]
    });
    let recovery: Vec<Vec<String>> = recovery.collect();
    table(&["LONGEST PAUSE OF", "MEASURED", "USUAL", "PROMISE", "LIMIT"], &recovery);
    let kept = |name: &str| field(report, &["kept", name]);
    println!(
        "\n{} writes acknowledged, {} lost, {} applied twice, {} stale reads; {} nodes asked",
        kept("acknowledged"),
        kept("lost"),
        kept("doubled"),
        kept("stale_reads"),
        kept("nodes_asked"),
    );
    let replicas = items(report, "replicas").iter().map(|one| {
        let hash = field(one, &["hash"]).chars().take(16).collect::<String>();
        format!("{} {hash} at {}", field(one, &["node"]), field(one, &["index"]))
    });
    println!("state hashes: {}\n", replicas.collect::<Vec<_>>().join(", "));
    tell_rest(body, report);
}

fn tell_rest(body: &Value, report: &Value) {
    let found = &report["restored"];
    if !found.is_null() {
        let get = |name: &str| field(found, &[name]);
        println!("restored {} of index {}, {} octets", get("backup"), get("index"), get("octets"));
        println!(
            "  taken {}, {} s old; what was acknowledged since is not in it",
            get("created"),
            get("age_s")
        );
        for name in ["recorded", "restored", "live"] {
            println!("  {name:<9} {}", get(name));
        }
        println!();
    }
    let us = |value: &Value| format!("{:.1}", value.as_u64().unwrap_or(0) as f64 / 1000.0);
    let rows = items(report, "latency").iter().map(|one| {
        let get = |name: &str| field(one, &[name]);
        vec![
            get("kind"),
            get("phase"),
            get("answered"),
            get("failed"),
            us(&one["median_us"]),
            us(&one["p99_us"]),
            us(&one["max_us"]),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["KIND", "PHASE", "ANSWERED", "FAILED", "MEDIAN MS", "P99", "MAX"], &rows);
    println!();
    for moment in items(report, "timeline") {
        let at = moment["at_ms"].as_i64().unwrap_or(0);
        println!("  {at:>8} ms  {}", field(moment, &["what"]));
    }
    let seal = field(body, &["seal"]).chars().take(16).collect::<String>();
    let holds = if body["seal_holds"] == true { "holds" } else { "DOES NOT HOLD" };
    println!("\nsealed by {}: {seal}.. {holds}", field(body, &["judge"]));
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_short() {
        for (seconds, expect) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min")] {
            assert_eq!(age(Some(seconds)), expect);
        }
        assert_eq!((age(Some(7_200)), age(Some(172_800))), ("2 h".to_owned(), "2 d".to_owned()));
        assert_eq!(age(None), "never");
    }
}
