//! The verdict on a drill that goes from node to node: every node had its turn, was away, came back
//! and is what it was to become. Pure.

use super::{Facts, Findings};
use crate::drills::evidence::{Answer, Evidence, Step};
use crate::drills::scenario::Injection;

impl Step {
    /// Whether its times can be.
    pub(super) fn fits(&self, ended_us: u64) -> bool {
        self.ordered_us <= ended_us
            && self.back_us.is_none_or(|back| self.ordered_us <= back && back <= ended_us)
    }
}

/// The longest turn; none when not every node that had one came back.
pub(super) fn longest_us(evidence: &Evidence) -> Option<u64> {
    let took = |step: &Step| step.back_us.map(|back| back.saturating_sub(step.ordered_us));
    let all: Option<Vec<u64>> = evidence.steps.iter().map(took).collect();
    all?.into_iter().max()
}

/// Holds the turns against what the log noted and what each node was to become.
pub(super) fn steps(evidence: &Evidence, facts: &Facts<'_>, findings: &mut Findings) {
    if !facts.scenario.injection.rolls() {
        return;
    }
    let Some(roll) = &facts.roll else {
        findings.doubts.push("the log knows no nodes of it".to_owned());
        return;
    };
    for (name, noted) in &roll.nodes {
        let place = evidence.nodes.iter().position(|node| node == name);
        let found = evidence.steps.iter().find(|step| Some(usize::from(step.node)) == place);
        let Some(step) = found.filter(|_| *noted) else {
            findings.doubts.push(format!("{name} had no turn"));
            continue;
        };
        let Some(back_us) = step.back_us else { continue };
        let silent = evidence.operations.iter().any(|one| {
            one.node == step.node
                && one.answer != Answer::Good
                && (step.ordered_us..=back_us).contains(&one.ended_us)
        });
        if !silent {
            findings.doubts.push(format!("{name} answered all the time: it was not restarted"));
        }
        build(name, step, (facts.scenario.injection, &roll.to), findings);
    }
}

/// Whether what runs is what was to run.
fn build(name: &str, step: &Step, (injection, to): (Injection, &str), findings: &mut Findings) {
    let (Some(before), Some(after)) = (&step.before, &step.after) else {
        findings.doubts.push(format!("{name} did not tell its version"));
        return;
    };
    match (injection, to) {
        (Injection::Upgrade, "") if before == after => {
            findings.broken.push(format!("{name} came back as the build that it was: {after}"));
        }
        (Injection::Upgrade, to) if !to.is_empty() && after.version != to => {
            findings.broken.push(format!("{name} came back with {after}, not {to}"));
        }
        (Injection::Restart, _) if before != after => {
            findings.deviations.push(format!("{name} was {before} and is {after}"));
        }
        _ => {}
    }
}

/// What happened in the turns, for the timeline; where builds were mixed, it is told.
pub(super) fn moments(evidence: &Evidence) -> Vec<(u64, String)> {
    let mut moments = Vec::new();
    let name = |step: &Step| {
        evidence.nodes.get(usize::from(step.node)).map_or("?", String::as_str).to_owned()
    };
    for (at, step) in evidence.steps.iter().enumerate() {
        moments.push((step.ordered_us, format!("{} is told to start anew", name(step))));
        let Some(back_us) = step.back_us else { continue };
        let runs = step.after.as_ref().map_or_else(String::new, |build| format!(" with {build}"));
        moments.push((back_us, format!("{} works again{runs}", name(step))));
        let rest = evidence.steps.iter().skip(at + 1);
        let old: Vec<String> = rest.filter(|other| other.before != step.after).map(&name).collect();
        if !old.is_empty() {
            let text = format!("mixed versions: {} still as before", old.join(", "));
            moments.push((back_us, text));
        }
    }
    moments
}
