//! `holdfast verify`: asks every node what it holds and names every difference.
//!
//! Invariants: nodes that are at work are not called different for what one has not done yet;
//! whatever cannot be compared is said, and is no success.

use serde_json::{Value, json};

use super::ClusterArgs;
use super::client::Api;
use crate::areas::history::{Integrity, SealedBody};
use crate::exit::Failure;

/// Asks every node of the cluster; fails when anything is damaged, different or unknown.
pub async fn verify(args: &ClusterArgs) -> Result<(), Failure> {
    let cluster = Api::of(args)?.get("/api/v1/cluster").await?;
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for node in cluster["nodes"].as_array().into_iter().flatten() {
        let (name, url) = (node["name"].as_str(), node["url"].as_str());
        let (Some(name), Some(url)) = (name, url) else { continue };
        match integrity(args, url).await {
            Ok(one) => found.push(one),
            Err(failure) => wrong.push(format!("{name}: cannot be asked: {failure}")),
        }
    }
    wrong.extend(differences(&found));
    let files: usize = found.iter().map(|one| one.sealed.len()).sum();
    if args.json {
        println!("{}", json!({"nodes": found.len(), "files": files, "differences": wrong}));
    } else {
        wrong.iter().for_each(|line| println!("{line}"));
    }
    if !wrong.is_empty() {
        return Err(Failure::failed("not_equal", format!("{} differences", wrong.len())));
    }
    if !args.json {
        println!("{} nodes, {files} files: no difference", found.len());
    }
    Ok(())
}

async fn integrity(args: &ClusterArgs, url: &str) -> Result<Integrity, Failure> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let args = ClusterArgs { url, ..args.clone() };
    let body: Value = Api::of(&args)?.get("/api/v1/integrity").await?;
    serde_json::from_value(body)
        .map_err(|error| Failure::failed("bad_answer", format!("an integrity: {error}")))
}

/// Every fault of one node and every difference between two, in words.
pub fn differences(nodes: &[Integrity]) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in nodes {
        let damaged = one.damaged.iter().map(|name| format!("{}: {name} is damaged", one.node));
        wrong.extend(damaged);
        if one.audit_records.is_none() {
            let at = one.audit_broken_at.map_or_else(String::new, |at| format!(" at record {at}"));
            wrong.push(format!("{}: the audit trail is broken{at}", one.node));
        }
    }
    for (at, one) in nodes.iter().enumerate() {
        for other in nodes.iter().skip(at + 1) {
            if one.applied_index == other.applied_index && one.state_hash != other.state_hash {
                let index = one.applied_index;
                let text = format!("{} and {}: state hashes at {index}", one.node, other.node);
                wrong.push(text);
            }
            wrong.extend(files(one, other));
            wrong.extend(files(other, one));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// Files of one node that another should have and has not, or otherwise.
fn files(one: &Integrity, other: &Integrity) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in &one.sealed {
        let place = |known: &&SealedBody| {
            (known.interval_minutes, known.shard, known.level, known.day, known.index)
                == (file.interval_minutes, file.shard, file.level, file.day, file.index)
        };
        let name = || {
            let SealedBody { interval_minutes, shard, day, days, index, .. } = file;
            format!("interval {interval_minutes} shard {shard} day {day} +{days} sealed at {index}")
        };
        match other.sealed.iter().find(place) {
            Some(known) if known.content_hash == file.content_hash => {}
            Some(_) => {
                let (first, second) = if one.node < other.node {
                    (&one.node, &other.node)
                } else {
                    (&other.node, &one.node)
                };
                wrong.push(format!("{first} and {second}: contents of {}", name()));
            }
            None if other.waiting > 0 || other.applied_index < file.index => {}
            None if folded(file, other) => {
                // The other has done more; one may still be at it.
                let ahead = one.waiting == 0 && one.applied_index >= other.applied_index;
                if ahead {
                    wrong.push(format!("{}: {} is not folded", one.node, name()));
                }
            }
            None => wrong.push(format!("{}: {} is missing", other.node, name())),
        }
    }
    wrong
}

/// Whether a later month file of a node holds what another has as a file of its own.
fn folded(file: &SealedBody, other: &Integrity) -> bool {
    other.sealed.iter().any(|month| {
        let covers = month.day <= file.day && file.day < month.day + i32::from(month.days);
        let same = (month.interval_minutes, month.shard) == (file.interval_minutes, file.shard);
        month.level == 2 && month.index > file.index && covers && same
    })
}

#[cfg(test)]
mod tests {
    use super::{Integrity, SealedBody, differences};

    fn sealed(level: u8, day: i32, index: u64, hash: &str) -> SealedBody {
        SealedBody {
            interval_minutes: 15,
            shard: 0,
            day,
            days: if level == 2 { 30 } else { 1 },
            level,
            index,
            rows: 5,
            content_hash: hash.to_owned(),
        }
    }

    fn node(name: &str, applied_index: u64, sealed: Vec<SealedBody>) -> Integrity {
        Integrity {
            node: name.to_owned(),
            applied_index,
            state_hash: "h".to_owned(),
            audit_records: Some(1),
            audit_signed: 0,
            audit_broken_at: None,
            waiting: 0,
            damaged: Vec::new(),
            sealed,
        }
    }

    fn check(one: Integrity, other: Integrity, expect: &[&str]) {
        assert_eq!(differences(&[one, other]), expect);
    }

    #[test]
    fn equal_nodes_have_no_difference() {
        let files = || vec![sealed(1, 5, 10, "a"), sealed(2, 30, 20, "b")];
        check(node("n1", 30, files()), node("n2", 31, files()), &[]);
    }

    #[test]
    fn what_is_under_way_is_no_difference() {
        let day = || node("n1", 30, vec![sealed(1, 5, 10, "a")]);
        check(day(), node("n2", 9, vec![]), &[]);
        check(day(), Integrity { waiting: 1, ..node("n2", 30, vec![]) }, &[]);
        let month = || node("n2", 30, vec![sealed(2, 0, 20, "m")]);
        check(Integrity { waiting: 1, ..day() }, month(), &[]);
    }

    #[test]
    fn differences_are_named() {
        let day = || node("n1", 30, vec![sealed(1, 5, 10, "a")]);
        let missing = ["n2: interval 15 shard 0 day 5 +1 sealed at 10 is missing"];
        check(day(), node("n2", 30, vec![]), &missing);
        let other = ["n1 and n2: contents of interval 15 shard 0 day 5 +1 sealed at 10"];
        check(day(), node("n2", 30, vec![sealed(1, 5, 10, "b")]), &other);
        let mut bad = node("n2", 30, vec![sealed(1, 5, 10, "a")]);
        bad.damaged.push("lp15/x".to_owned());
        (bad.audit_records, bad.state_hash) = (None, "other".to_owned());
        bad.audit_broken_at = Some(7);
        let all = [
            "n1 and n2: state hashes at 30",
            "n2: lp15/x is damaged",
            "n2: the audit trail is broken at record 7",
        ];
        check(day(), bad, &all);
    }
}
