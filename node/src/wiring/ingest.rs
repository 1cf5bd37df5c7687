//! Parts of many channels in one proposal.
//!
//! Invariants: one proposal is under way at a time, so the order of a channel's parts is the order
//! of the log, and whatever arrives meanwhile goes together next; a proposal stays within
//! [`MAX_OCTETS`]; every part is answered after the commit, or as unavailable, never before.

use std::time::{Duration, Instant};

use domain::readings::{Change, Ingest, Part};
use domain::{Done, Refusal};
use gateway::{Ask, Denied};
use tokio::sync::mpsc;

use super::{NotDone, Wires};

/// The most octets of parts in one proposal; an entry may have 256 KiB with its frame.
pub const MAX_OCTETS: usize = 240 * 1024;
/// A lone part waits so long for company.
const COMPANY: Duration = Duration::from_millis(3);
/// Octets of a part beside its batches.
const PART_OVERHEAD: usize = 96;
/// Octets of a batch beside its body: signature, counts.
const BATCH_OVERHEAD: usize = 64;

type Waiting = Ask<Part, u32>;

/// Gathers and proposes until the channels' side is dropped.
pub async fn run(wires: Wires, mut parts: mpsc::Receiver<Waiting>) {
    let mut left_over: Option<Waiting> = None;
    loop {
        let first = match left_over.take() {
            Some(part) => part,
            None => match parts.recv().await {
                Some(part) => part,
                None => return,
            },
        };
        let (together, next) = gather(first, &mut parts).await;
        left_over = next;
        propose(&wires, together).await;
    }
}

/// Takes parts until the octets are full or nothing more comes in a moment.
async fn gather(
    first: Waiting,
    parts: &mut mpsc::Receiver<Waiting>,
) -> (Vec<Waiting>, Option<Waiting>) {
    let mut octets = size(&first.request);
    let mut together = vec![first];
    let until = tokio::time::Instant::now() + COMPANY;
    while octets < MAX_OCTETS {
        let Ok(Some(part)) = tokio::time::timeout_at(until, parts.recv()).await else { break };
        let more = size(&part.request);
        if octets + more > MAX_OCTETS {
            return (together, Some(part));
        }
        octets += more;
        together.push(part);
    }
    (together, None)
}

fn size(part: &Part) -> usize {
    let batches = part.batches.iter().map(|batch| batch.octets() + BATCH_OVERHEAD);
    PART_OVERHEAD + batches.sum::<usize>()
}

async fn propose(wires: &Wires, together: Vec<Waiting>) {
    let now = Instant::now();
    let mut parts = Vec::with_capacity(together.len());
    let mut waiting = Vec::with_capacity(together.len());
    let mut patience = Duration::ZERO;
    for ask in together {
        let (part, deadline, reply) = ask.into_parts();
        patience = patience.max(deadline.saturating_duration_since(now));
        parts.push(part);
        waiting.push(reply);
    }
    if patience.is_zero() {
        return;
    }
    let metrics = wires.app.metrics();
    metrics.ingests.inc();
    metrics.ingest_parts.inc_by(parts.len() as u64);
    let change = domain::Change::Readings(Change::Ingest(Ingest { parts }));
    let answers = answers(wires.propose(change, patience).await, waiting.len());
    for (reply, answer) in waiting.into_iter().zip(answers) {
        // A channel that closed meanwhile no longer listens.
        let _ = reply.send(answer);
    }
}

/// One answer for each part, whatever the proposal's was.
fn answers(outcome: Result<Done, NotDone>, count: usize) -> Vec<Result<u32, Denied>> {
    match outcome {
        Ok(Done::Ingested(results)) if results.len() == count => {
            results.into_iter().map(|result| result.map_err(denied)).collect()
        }
        Ok(_) => {
            tracing::error!("an ingest was answered with something else");
            vec![Err(Denied::Unavailable); count]
        }
        Err(NotDone::Refused(refusal)) => vec![Err(denied(refusal)); count],
        Err(NotDone::Unavailable) => vec![Err(Denied::Unavailable); count],
    }
}

/// A refusal in the gateway's words.
pub fn denied(refusal: Refusal) -> Denied {
    Denied::Refused { code: refusal.code.into_owned(), detail: refusal.detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Obis;
    use domain::readings::{BatchBuilder, Register};

    fn part(rows: u32) -> Part {
        let registers = vec![Register { obis: Obis::ACTIVE_IMPORT, scaler: 0, unit: 30 }];
        let mut builder = BatchBuilder::new(15, registers);
        for ordinal in 0..rows {
            // Values far apart, so that octets grow with rows.
            let value = i64::from(ordinal).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 8;
            assert!(builder.push(ordinal * 7, 900, 0, &[Some(value)]));
        }
        Part { lease: None, mark: None, batches: vec![builder.finish()] }
    }

    fn ask(part: Part) -> Waiting {
        Ask::new(part, Instant::now() + Duration::from_secs(1)).0
    }

    #[tokio::test]
    async fn parts_go_together_up_to_the_limit() {
        let (sender, mut receiver) = mpsc::channel(64);
        let one = size(&part(4000));
        let fits = MAX_OCTETS / one;
        assert!((2..40).contains(&fits), "{one} octets make a poor test");
        for _ in 0..fits + 1 {
            assert!(sender.send(ask(part(4000))).await.is_ok());
        }
        let first = receiver.recv().await.expect("sent above");
        let (together, next) = gather(first, &mut receiver).await;
        assert_eq!(together.len(), fits);
        assert!(next.is_some());
        let (alone, none) = gather(next.expect("seen"), &mut receiver).await;
        assert_eq!(alone.len(), 1);
        assert!(none.is_none());
    }

    #[test]
    fn every_part_gets_its_own_answer() {
        let refusal = Refusal::new("stale_epoch", "");
        let done = Done::Ingested(vec![Ok(3), Err(refusal.clone())]);
        let found = answers(Ok(done.clone()), 2);
        assert_eq!(found, [Ok(3), Err(denied(refusal))]);
        assert_eq!(answers(Ok(done), 3), vec![Err(Denied::Unavailable); 3]);
        assert_eq!(answers(Err(NotDone::Unavailable), 1), [Err(Denied::Unavailable)]);
    }
}
