//! Rounds of faults on real processes, drawn from one seed, while clients write and meters push.
//!
//! Three `holdfast run` processes, one concentrator before two of them, a writer of numbers at
//! every node. A round: something is broken, or two things are; it is mended; everything must come
//! together within a bound; then what was acknowledged is held against what every node has.
//! The nodes speak through a relay, write through a model of lost power and tell the time by a
//! library that can be made to err.
//!
//! What is replayed by a seed is the list of faults, not the instant at which the machine does a
//! step: this is no simulation. Invariants: at most one of three nodes is away at a time, but for
//! the power cut that takes all; what was injected is undone before a round is judged; rules of
//! nftables and small disks are those of a namespace of our own.

mod fault;
mod house;
mod power;
mod writers;

use crate::agree;
use crate::field;
use crate::journal::Journal;
use crate::simulation::Dice;
use anyhow::{Context, ensure};
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub use fault::{Fault, KINDS, draw, each};
pub use house::{House, Means};
use writers::Writers;

/// The longest that everything may take to come together behind the last fault.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(5);

/// What a round came to.
#[derive(Debug)]
pub struct Told {
    /// What was done, in order.
    pub story: String,
    /// Its kinds, in the same order.
    pub kinds: Vec<&'static str>,
    /// Numbered writes that were acknowledged, each held by every node afterwards, once.
    pub acknowledged: usize,
    /// Numbers that were read back during the round and were there.
    pub read: usize,
    /// Values of the field that were acknowledged so far, when they were compared.
    pub values: Option<u64>,
    /// From the mending to the moment at which all was together.
    pub settled: Duration,
}

impl House {
    /// One round of its number's faults, of some kinds or of all where none is named, or of those
    /// that are given. With `whole` every value that
    /// the field saw acknowledged is looked for, too.
    ///
    /// # Errors
    /// A promise was broken, with the story.
    pub async fn round(
        &mut self,
        seed: u64,
        number: u32,
        only: &[String],
        given: Option<Vec<Fault>>,
        whole: bool,
    ) -> anyhow::Result<Told> {
        let mut dice = Dice::new(seed, u64::from(number));
        let drawn = draw(&mut dice, self.means, only);
        let faults = given.unwrap_or(drawn);
        let kinds = faults.iter().map(Fault::kind).collect();
        let story: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let story = story.join(", then ");
        self.played(&mut dice, &faults, whole)
            .await
            .map(|told| Told { story: story.clone(), kinds, ..told })
            .with_context(|| format!("seed {seed}, round {number}: {story}"))
    }

    async fn played(
        &mut self,
        dice: &mut Dice,
        faults: &[Fault],
        whole: bool,
    ) -> anyhow::Result<Told> {
        let book = self.open_book().await?;
        let writers = Writers::start(&self.nodes.http, &self.nodes.urls, book);
        tokio::time::sleep(Duration::from_millis(300)).await;
        for fault in faults {
            self.inject(fault).await?;
            // The next one comes while the one before is being got over, or soon behind that.
            tokio::time::sleep(Duration::from_millis(fault::below(dice, 1_500))).await;
        }
        self.mend()?;
        let mended = Instant::now();
        for node in 0..3 {
            self.nodes.wait_ready(node, SETTLED_WITHIN).await?;
        }
        writers.wait_for_more(SETTLED_WITHIN).await?;
        let seen = writers.stop().await;
        let urls = self.nodes.urls.clone();
        agree::wait(&self.nodes.http, &urls, SETTLED_WITHIN).await?;
        let settled = mended.elapsed();
        ensure!(settled < SETTLED_WITHIN, "all came together only after {settled:?}");
        ensure!(seen.stale.is_empty(), "acknowledged and not read back: {:?}", seen.stale);
        self.compare_book(book, &seen.acknowledged).await?;
        field::check_violations(&self.dir.join("simulator.log"))?;
        let values = if whole { Some(self.compare_field().await?) } else { None };
        self.close_book(book).await?;
        let (acknowledged, read) = (seen.acknowledged.len(), seen.read);
        Ok(Told { story: String::new(), kinds: Vec::new(), acknowledged, read, values, settled })
    }

    /// A drill in which nobody is hurt by the cluster itself: its numbered writes are the book.
    async fn open_book(&self) -> anyhow::Result<u64> {
        let until = Instant::now() + SETTLED_WITHIN;
        let body = json!({"scenario": "acceptance", "reason": "rounds", "backup": "none"});
        let mut last = String::new();
        while Instant::now() < until {
            for url in &self.nodes.urls {
                let url = format!("{url}/api/v1/drills");
                let sent = self.nodes.http.send(Method::POST, &url, Some(&body), None, ANSWER);
                match sent.await {
                    // Only the leader knows how far the others are, so only it begins one.
                    Ok(answer) if answer.status == 201 => {
                        return answer.json()?["id"].as_u64().context("a drill without number");
                    }
                    Ok(answer) => last = answer.text,
                    Err(fault) => last = fault.to_string(),
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("no node opens a book: {last}")
    }

    async fn close_book(&self, book: u64) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/drills/{book}/abort", self.nodes.urls[0]);
        let body = json!({"why": "the round is over"});
        let answer =
            self.nodes.http.send(Method::POST, &url, Some(&body), None, 4 * ANSWER).await?;
        ensure!(answer.status == 200, "the book stays open: {}", answer.text);
        Ok(())
    }

    /// Every acknowledged number stands on every node, and none stands twice.
    async fn compare_book(&self, book: u64, acknowledged: &[u32]) -> anyhow::Result<()> {
        for (name, url) in self.nodes.names.iter().zip(&self.nodes.urls) {
            let held = self.nodes.http.get(&format!("{url}/api/v1/drills/{book}/probes")).await?;
            check_book(&held, acknowledged).with_context(|| name.clone())?;
        }
        Ok(())
    }

    async fn compare_field(&self) -> anyhow::Result<u64> {
        let journal = Journal::read(&self.dir.join("journal"))?;
        let mut compared = 0;
        for (name, url) in self.nodes.names.iter().zip(&self.nodes.urls) {
            let verdict = journal.compare(&self.nodes.http, url).await?;
            ensure!(verdict.clean(), "{name} against the field's journal: {verdict:?}");
            compared = verdict.acknowledged;
        }
        Ok(compared)
    }
}

/// Holds what a node has of a book against what was acknowledged.
///
/// # Errors
/// Something is lost or was applied twice.
pub fn check_book(held: &Value, acknowledged: &[u32]) -> anyhow::Result<()> {
    let again = held["again"].as_array().context("again")?;
    ensure!(again.is_empty(), "applied twice: {again:?}");
    let runs = held["runs"].as_array().context("runs")?;
    let runs: Vec<(u64, u64)> = runs
        .iter()
        .map(|run| Some((run[0].as_u64()?, run[1].as_u64()?)))
        .collect::<Option<_>>()
        .context("a run")?;
    let has = |number: u32| runs.iter().any(|(from, to)| (*from..=*to).contains(&number.into()));
    let lost: Vec<u32> = acknowledged.iter().copied().filter(|number| !has(*number)).collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Fault, KINDS, Means, check_book, draw, each};
    use crate::simulation::Dice;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn a_book_that_lacks_a_number_or_has_one_twice_is_broken() {
        let whole = json!({"runs": [[0, 4], [7, 9]], "again": []});
        assert!(check_book(&whole, &[0, 4, 7, 9]).is_ok());
        assert!(check_book(&whole, &[0, 5]).is_err());
        assert!(check_book(&json!({"runs": [[0, 4]], "again": [3]}), &[0]).is_err());
        assert!(check_book(&json!({}), &[]).is_err());
    }

    #[test]
    fn a_seed_is_one_list_and_never_takes_two_nodes_at_once() {
        let all = Means { namespace: true, clocks: true };
        let mut kinds = BTreeSet::new();
        for seed in 0..500 {
            let faults = draw(&mut Dice::new(seed, 1), all, &[]);
            let again = draw(&mut Dice::new(seed, 1), all, &[]);
            assert_eq!(faults, again);
            kinds.extend(faults.iter().map(Fault::kind));
            let away: Vec<usize> = faults.iter().filter_map(Fault::node).collect();
            assert!(away.windows(2).all(|pair| pair[0] == pair[1]), "{faults:?}");
            let bare = Means { namespace: false, clocks: false };
            let bare = draw(&mut Dice::new(seed, 1), bare, &[]);
            let needs = |one: &Fault| matches!(one, Fault::DiskFull(_) | Fault::Clock(..));
            assert!(!bare.iter().any(needs), "{bare:?}");
            let some = ["kill".to_owned(), "cut".to_owned()];
            let some = draw(&mut Dice::new(seed, 1), all, &some);
            assert!(!some.is_empty());
            assert!(some.iter().all(|one| ["kill", "cut"].contains(&one.kind())), "{some:?}");
        }
        let listed: BTreeSet<_> = each(all).concat().iter().map(Fault::kind).collect();
        assert_eq!(kinds, listed, "every kind is drawn, and is played by `--each`");
        assert_eq!(kinds, KINDS.into(), "every kind can be asked for");
    }
}
