//! The verdict: evidence and the cluster's own record in, report and summary out. Pure.
//!
//! Invariants: 1. `passed` needs every promise shown: what was not seen is a doubt, and a doubt
//! never passes. 2. A broken promise is `failed`, however the drill ended. 3. The cluster's own
//! state is asked for every acknowledged write, not the driver's word alone.

mod rolling;
mod timeline;

use std::collections::BTreeSet;

use domain::drills::{Record, Summary, Verdict};

use crate::areas::time;
use crate::drills::acceptance::{self, Acceptance};
use crate::drills::evidence::{Answer, Evidence, Held, Kind, MAX_OPERATIONS};
use crate::drills::measure::{Pause, chart, count, latencies, ms, pause};
use crate::drills::report::{FORMAT, Identity, Kept, Proof, Recovery, Report};
use crate::drills::scenario::{EACH_WITHIN, Injection, Limit, Scenario, WHOLE_WITHIN};

/// Writes that must have been acknowledged before the injection, or nothing can be said.
const ENOUGH_BEFORE: usize = 10;
/// Numbers that are named in a report.
const NAMED: usize = 50;
/// Fewer kinds of counters than this are named by any scenario.
const MAX_SIGNS: usize = 16;
/// The most entries of what the nodes said.
const MAX_SEEN: usize = 20_000;

/// What the judging node knows by itself.
pub struct Facts<'a> {
    /// The drill's record.
    pub record: &'a Record,
    /// What was drilled.
    pub scenario: &'a Scenario,
    /// The name of the node that was hurt.
    pub target: String,
    /// Names of the members.
    pub members: Vec<String>,
    /// The judging node's name.
    pub judge: String,
    /// The writes in the state that a quorum has confirmed.
    pub held: Held,
    /// What it holds of the customer's figures, in an acceptance.
    pub figures: acceptance::Held,
    /// The nodes of a drill that goes from node to node, as the log has them.
    pub roll: Option<Rolled>,
    /// BLAKE3 of the evidence's octets.
    pub blake3: String,
}

/// What the log knows of a drill that goes from node to node.
pub struct Rolled {
    /// Each node, and whether its injection was noted.
    pub nodes: Vec<(String, bool)>,
    /// The version with which they are to come back; empty: another build than before.
    pub to: String,
}

/// Why evidence cannot be judged at all.
///
/// # Errors
/// The first thing that cannot be.
pub fn check(evidence: &Evidence, members: &[String]) -> Result<(), &'static str> {
    let named: BTreeSet<&String> = evidence.nodes.iter().collect();
    if named.len() != evidence.nodes.len() || named != members.iter().collect() {
        return Err("its nodes are not the members");
    }
    let nodes = evidence.nodes.len();
    if evidence.operations.len() > MAX_OPERATIONS || evidence.signs.len() > MAX_SIGNS {
        return Err("too much of it");
    }
    if evidence.seen.len() > MAX_SEEN || evidence.channel.len() > MAX_SEEN {
        return Err("too much of it");
    }
    let is_node = |node: u8| usize::from(node) < nodes;
    let good = |one: &crate::drills::evidence::Operation| {
        is_node(one.node)
            && one.number < domain::drills::MAX_PROBES
            && one.sent_us <= one.ended_us
            && one.ended_us <= u64::from(domain::drills::MAX_LIMIT_S) * 2_000_000
    };
    if !evidence.operations.iter().all(good) {
        return Err("an attempt that cannot be");
    }
    if !evidence.seen.iter().all(|seen| is_node(seen.node))
        || !evidence.channel.iter().all(|seen| is_node(seen.node))
    {
        return Err("a node that is none");
    }
    let order = [evidence.injected_us, evidence.taken_us, evidence.undone_us, evidence.whole_us];
    if order.iter().flatten().any(|at| *at > evidence.ended_us) {
        return Err("something after the end");
    }
    if evidence.steps.len() > nodes
        || !evidence.steps.iter().all(|step| is_node(step.node) && step.fits(evidence.ended_us))
    {
        return Err("a turn that cannot be");
    }
    if evidence.held.len() > nodes || evidence.replicas.len() > nodes {
        return Err("more nodes than there are");
    }
    evidence.measured.as_ref().map_or(Ok(()), acceptance::check)
}

/// Judges checked evidence.
pub fn judge(evidence: &Evidence, facts: &Facts<'_>) -> (Report, Summary) {
    let mut findings = Findings::default();
    let injected_us = evidence.injected_us.unwrap_or(evidence.ended_us);
    let identity = identity(evidence, facts, injected_us);
    let (recovery, recovered_us) = match facts.scenario.injection {
        Injection::Restore => (restored(evidence, &mut findings), injected_us),
        Injection::Measure => (Vec::new(), injected_us),
        _ => {
            was_injected(evidence, facts, injected_us, &identity, &mut findings);
            rolling::steps(evidence, facts, &mut findings);
            recovery(evidence, facts.scenario, injected_us, &mut findings)
        }
    };
    let acceptance = accepted(evidence, facts, &mut findings);
    let kept = kept(evidence, facts, &mut findings);
    replicas(evidence, &mut findings);
    for sign in facts.scenario.signs {
        let rose = evidence.signs.iter().any(|one| one.metric == *sign && one.rose_by > 0);
        if !rose {
            findings.deviations.push(format!("{sign} did not rise on any node"));
        }
    }
    if evidence.skipped > 0 {
        let text = format!("{} attempts were not made for want of room", evidence.skipped);
        findings.deviations.push(text);
    }
    let verdict = findings.verdict();
    let measured =
        |kind: &str| recovery.iter().find(|one| one.kind == kind).and_then(|one| one.measured_ms);
    let summary = Summary {
        verdict,
        write_ms: measured("write"),
        read_ms: measured("read"),
        channel_ms: measured("channel"),
        lost: kept.lost,
        doubled: kept.doubled,
        deviations: count(findings.deviations.len()),
    };
    let report = Report {
        format: FORMAT.to_owned(),
        verdict: verdict.name().to_owned(),
        reasons: [findings.broken, findings.doubts].concat(),
        deviations: findings.deviations,
        timeline: timeline::timeline(evidence, &identity, injected_us, &recovery),
        identity,
        recovery,
        kept,
        replicas: evidence.replicas.clone(),
        latency: latencies(&evidence.operations, injected_us, recovered_us),
        signs: evidence.signs.clone(),
        restored: evidence.restored.clone(),
        steps: evidence.steps.clone(),
        acceptance,
        chart: chart(evidence, injected_us),
        evidence: Proof {
            operations: count(evidence.operations.len()),
            skipped: evidence.skipped,
            blake3: facts.blake3.clone(),
        },
    };
    (report, summary)
}

#[derive(Default)]
struct Findings {
    /// Promises that were broken.
    broken: Vec<String>,
    /// What was not shown.
    doubts: Vec<String>,
    /// What was otherwise, and harmless.
    deviations: Vec<String>,
}

impl Findings {
    fn verdict(&self) -> Verdict {
        match (self.broken.is_empty(), self.doubts.is_empty()) {
            (false, _) => Verdict::Failed,
            (true, false) => Verdict::Inconclusive,
            (true, true) => Verdict::Passed,
        }
    }
}

fn identity(evidence: &Evidence, facts: &Facts<'_>, injected_us: u64) -> Identity {
    let begin = &facts.record.begin;
    let leader = |until_us: u64| {
        let known = evidence.seen.iter().filter(|seen| seen.at_us <= until_us && seen.up);
        known.filter(|seen| seen.leader.is_some()).max_by_key(|seen| (seen.term, seen.at_us))
    };
    Identity {
        drill: facts.record.id,
        scenario: facts.scenario.name.to_owned(),
        hypothesis: facts.scenario.hypothesis.to_owned(),
        injection: facts.scenario.does.to_owned(),
        undo: facts.scenario.undo.to_owned(),
        operator: facts.record.by.clone(),
        reason: begin.reason.clone(),
        backup: begin.backup.clone(),
        target: facts.target.clone(),
        concentrator: begin.concentrator.clone(),
        hold_ms: begin.hold_ms,
        begun: time::stamp(facts.record.begun),
        injected: facts.record.injected.map(time::stamp),
        judge: facts.judge.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: crate::REVISION.to_owned(),
        nodes: facts.members.clone(),
        leader_before: leader(injected_us).and_then(|seen| seen.leader.clone()),
        leader_after: leader(u64::MAX).and_then(|seen| seen.leader.clone()),
        alerts_expected: facts.scenario.alerts.iter().map(|alert| (*alert).to_owned()).collect(),
    }
}

/// Whether there was a failure at all, and enough before it to compare with.
fn was_injected(
    evidence: &Evidence,
    facts: &Facts<'_>,
    injected_us: u64,
    identity: &Identity,
    findings: &mut Findings,
) {
    if let Some(why) = &evidence.aborted {
        findings.doubts.push(format!("it was given up: {why}"));
    }
    if evidence.taken_us.is_none() || facts.record.injected.is_none() {
        findings.doubts.push("no failure was injected".to_owned());
        return;
    }
    let target = evidence.nodes.iter().position(|name| *name == facts.target);
    let at_target = |node: u8| Some(usize::from(node)) == target;
    let before = evidence.operations.iter().filter(|one| {
        one.kind == Kind::Write && one.answer == Answer::Good && one.ended_us < injected_us
    });
    let before = before.count();
    if before < ENOUGH_BEFORE {
        findings.doubts.push(format!("only {before} writes were accepted before the injection"));
    }
    if facts.scenario.injection.silences() && !facts.scenario.injection.rolls() {
        let felt = evidence.operations.iter().any(|one| {
            at_target(one.node) && one.answer != Answer::Good && one.ended_us > injected_us
        });
        if !felt {
            let text = format!("{} answered all the time: the failure was not seen", facts.target);
            findings.doubts.push(text);
        }
    }
    let led = identity.leader_before.as_ref() == Some(&facts.target);
    if facts.scenario.moves_office && led && !facts.scenario.injection.rolls() {
        let other = evidence.seen.iter().any(|seen| {
            seen.at_us >= injected_us
                && seen.leader.as_ref().is_some_and(|leader| *leader != facts.target)
        });
        if !other {
            findings.doubts.push(format!("nobody but {} was seen to lead", facts.target));
        }
    }
}

/// Whether the restored state is the one that was backed up, and the cluster's own of that time.
fn restored(evidence: &Evidence, findings: &mut Findings) -> Vec<Recovery> {
    findings.doubts.extend(evidence.aborted.iter().map(|why| format!("it was given up: {why}")));
    let limit_ms = domain::drills::MAX_LIMIT_S * 1000;
    let limit = Limit { promise_ms: limit_ms, limit_ms };
    let Some(found) = &evidence.restored else {
        findings.doubts.push("no backup was restored".to_owned());
        return vec![held_against("restore", None, None, limit)];
    };
    if found.restored != found.recorded {
        findings.broken.push("the restored state is not the one that was backed up".to_owned());
    }
    match &found.live {
        Some(live) if *live != found.restored => {
            let text = format!("the cluster had another state at index {}", found.index);
            findings.broken.push(text);
        }
        Some(_) => {}
        None => {
            let text = "the cluster no longer knows its hash at that index: only the backup's own \
                        record was compared";
            findings.deviations.push(text.to_owned());
        }
    }
    vec![held_against("restore", Some(found.took_ms), None, limit)]
}

/// The customer's figures, where they were measured.
fn accepted(evidence: &Evidence, facts: &Facts<'_>, findings: &mut Findings) -> Option<Acceptance> {
    if facts.scenario.injection != Injection::Measure {
        return None;
    }
    let Some(measured) = &evidence.measured else {
        findings.doubts.push("nothing was measured".to_owned());
        return None;
    };
    let judged = acceptance::judge(measured, &facts.figures);
    for one in &judged.figures {
        let text = format!("{}: {}", one.title, one.reason);
        match one.verdict {
            acceptance::Verdict::Pass => {}
            acceptance::Verdict::Fail => findings.broken.push(text),
            acceptance::Verdict::NotProven => findings.doubts.push(text),
        }
    }
    Some(judged)
}

/// Times without service, and when all service was back.
fn recovery(
    evidence: &Evidence,
    scenario: &Scenario,
    injected_us: u64,
    findings: &mut Findings,
) -> (Vec<Recovery>, u64) {
    let mut all = Vec::new();
    let mut recovered_us = evidence.undone_us.or(evidence.taken_us).unwrap_or(injected_us);
    for (kind, limit) in [(Kind::Write, scenario.write), (Kind::Read, scenario.read)] {
        let of = |from_us, to_us| pause(&evidence.operations, kind, from_us, to_us);
        let during: Pause = of(injected_us, evidence.ended_us);
        let first = evidence.operations.iter().map(|one| one.ended_us).min().unwrap_or(0);
        let before = of(first.min(injected_us), injected_us);
        recovered_us = recovered_us.max(during.ended_us);
        let measured = during.back.then_some(ms(during.us));
        let before = before.back.then_some(ms(before.us));
        all.push(held_against(kind.name(), measured, before, limit));
    }
    if let Some(limit) = scenario.channel {
        let back = channel_back(evidence, injected_us);
        let measured = back.map(|at| ms(at - injected_us));
        all.push(held_against("channel", measured, None, limit));
    }
    let whole_from = evidence.undone_us.unwrap_or(injected_us);
    let (whole, within) = match scenario.injection.rolls() {
        // Of each node's turn, not of all together.
        true => (rolling::longest_us(evidence), EACH_WITHIN),
        false => (evidence.whole_us.map(|at| at.saturating_sub(whole_from)), WHOLE_WITHIN),
    };
    let (whole, within) = (whole.map(ms), u32::try_from(within.as_millis()).unwrap_or(u32::MAX));
    let limit = Limit { promise_ms: within, limit_ms: within };
    all.push(held_against("whole", whole, None, limit));
    for one in &all {
        let what = if one.kind == "whole" { "all nodes" } else { &one.kind };
        match one.measured_ms {
            // An aborted drill did not wait for it.
            None if one.kind == "whole" && evidence.aborted.is_some() => {}
            None => findings.broken.push(format!("{what} did not come back")),
            Some(measured) if !one.within_limit => {
                let text = format!("{what} came back after {measured} ms, limit {}", one.limit_ms);
                findings.broken.push(text);
            }
            Some(measured) if !one.promise_kept => {
                let promise = one.promise_ms;
                let text = format!("{what} came back after {measured} ms, promised {promise} ms");
                findings.deviations.push(text);
            }
            Some(_) => {}
        }
    }
    (all, recovered_us)
}

fn held_against(kind: &str, measured: Option<u32>, before: Option<u32>, limit: Limit) -> Recovery {
    let within = |limit_ms: u32| measured.is_some_and(|measured| measured <= limit_ms);
    Recovery {
        kind: kind.to_owned(),
        measured_ms: measured,
        before_ms: before,
        promise_ms: limit.promise_ms,
        limit_ms: limit.limit_ms,
        promise_kept: within(limit.promise_ms),
        within_limit: within(limit.limit_ms),
    }
}

/// When a socket was first seen active under an epoch that is newer than all before the injection.
fn channel_back(evidence: &Evidence, injected_us: u64) -> Option<u64> {
    let seen = &evidence.channel;
    let before = seen.iter().filter(|one| one.at_us < injected_us).map(|one| one.epoch).max()?;
    let back = seen.iter().filter(|one| one.at_us >= injected_us && one.active_here);
    back.filter(|one| one.epoch > before).map(|one| one.at_us).min()
}

/// Recovery point: every acknowledged write on every node and in the confirmed state, once.
fn kept(evidence: &Evidence, facts: &Facts<'_>, findings: &mut Findings) -> Kept {
    let of_kind = |kind: Kind, answer: Answer| {
        evidence.operations.iter().filter(move |one| one.kind == kind && one.answer == answer)
    };
    let acknowledged: BTreeSet<u32> =
        of_kind(Kind::Write, Answer::Good).map(|one| one.number).collect();
    let mut lost = BTreeSet::new();
    let mut doubled = BTreeSet::new();
    for held in evidence.held.values().chain([&facts.held]) {
        lost.extend(acknowledged.iter().filter(|number| !held.has(**number)));
        doubled.extend(&held.again);
    }
    let stale_reads = count(of_kind(Kind::Read, Answer::Stale).count());
    let named = |numbers: &BTreeSet<u32>| numbers.iter().take(NAMED).copied().collect::<Vec<_>>();
    let kept = Kept {
        acknowledged: count(acknowledged.len()),
        lost: count(lost.len()),
        lost_numbers: named(&lost),
        doubled: count(doubled.len()),
        doubled_numbers: named(&doubled),
        stale_reads,
        nodes_asked: count(evidence.held.len()),
    };
    if kept.lost > 0 {
        findings.broken.push(format!("{} acknowledged writes are lost", kept.lost));
    }
    if kept.doubled > 0 {
        findings.broken.push(format!("{} writes were applied twice", kept.doubled));
    }
    if stale_reads > 0 {
        findings.broken.push(format!("{stale_reads} reads missed acknowledged writes"));
    }
    for node in evidence.nodes.iter().filter(|node| !evidence.held.contains_key(*node)) {
        findings.doubts.push(format!("{node} was not asked for what it holds"));
    }
    kept
}

fn replicas(evidence: &Evidence, findings: &mut Findings) {
    let hashes: BTreeSet<(u64, &String)> = evidence
        .replicas
        .iter()
        .filter_map(|one| one.hash.as_ref().map(|hash| (one.index, hash)))
        .collect();
    let indexes: BTreeSet<u64> = hashes.iter().map(|(index, _)| *index).collect();
    if indexes.len() < hashes.len() {
        findings.broken.push("state hashes differ at one index".to_owned());
    }
    for node in &evidence.nodes {
        let told = evidence.replicas.iter().any(|one| one.node == *node && one.hash.is_some());
        if !told {
            findings.doubts.push(format!("{node} did not tell its state hash"));
        }
    }
    if indexes.len() > 1 {
        findings.doubts.push("state hashes are of several indexes".to_owned());
    }
}

#[cfg(test)]
mod tests;
