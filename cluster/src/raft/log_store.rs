//! Consensus's log over `storage::Log`.
//!
//! Not here: how octets reach the disk.
//! Invariants:
//! 1. An append returns when its records are readable; its callback comes after fdatasync, in
//!    order, because the log's one writer thread calls it.
//! 2. A vote is durable before `save_vote` returns, and so is the id of what was purged before
//!    anything is purged.
//! 3. Entries never leave a gap, save behind a purge.
//! 4. Whoever asks how far the log is synced is told of no index before its fdatasync.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use storage::{Log, Record};
use tokio::sync::oneshot;

use super::{
    synced::{Mark, Synced},
    types::{self, EntryId, LogEntry, TypeConfig, Vote},
};
use crate::{metrics::Metrics, rt};

/// Keys of the log's small values.
const META_VOTE: u8 = 1;
const META_COMMITTED: u8 = 2;
const META_PURGED: u8 = 3;

/// Octets of records read at once, for a follower's append or for one piece of an apply.
const READ_OCTETS: usize = 2 * 1024 * 1024;

/// The log of one group. Clones share it.
#[derive(Clone, Debug)]
pub struct LogStore {
    log: Log,
    metrics: Arc<Metrics>,
    mark: Arc<Mark>,
}

/// A committed id on disk, with room for "none".
#[derive(Serialize, Deserialize)]
struct Committed(Option<EntryId>);

impl LogStore {
    /// Over an open log. Finishes a purge that a crash cut off after its id was saved.
    pub fn open(log: Log, metrics: &Metrics) -> io::Result<Self> {
        // What an open log holds is on the disk: opening syncs what a kill left in memory.
        let mark = Arc::new(Mark::new(log.last_index().or(log.purged_index())));
        let store = Self { log, metrics: Arc::new(metrics.clone()), mark };
        if let Some(purged) = store.meta::<EntryId>(META_PURGED)?
            && store.log.purged_index().is_none_or(|index| index < purged.index)
        {
            store.log.purge_to(purged.index)?;
        }
        Ok(store)
    }

    /// How far the log is on the disk, for whoever waits for it.
    pub fn synced(&self) -> Synced {
        self.mark.subscribe()
    }

    fn meta<T: DeserializeOwned>(&self, key: u8) -> io::Result<Option<T>> {
        self.log.meta(key).map(|octets| types::decode(&octets)).transpose()
    }

    /// Saves a small value; durable when it returns, without holding a thread of the runtime.
    async fn save_meta(&self, key: u8, octets: Vec<u8>) -> io::Result<()> {
        let (told, wait) = oneshot::channel();
        let done = Box::new(move |result| {
            // Nobody waits any more when consensus has stopped.
            let _gone = told.send(result);
        });
        self.log.save_meta_then(key, &octets, done);
        wait.await.map_err(|_| io::Error::other("the log has stopped"))?
    }

    /// The first records of a range. The newest stand in memory and need no other thread: a hop
    /// for each append and each apply is felt.
    async fn read(&self, from: u64, to: u64) -> io::Result<Vec<Record>> {
        if let Some(records) = self.log.read_cached(from..to, READ_OCTETS)? {
            return Ok(records);
        }
        let log = self.log.clone();
        blocking(move || log.read(from..to, READ_OCTETS)).await
    }

    /// The entry of an index, if the log holds it.
    pub fn entry(&self, index: u64) -> io::Result<Option<LogEntry>> {
        let records = self.log.read(index..index + 1, READ_OCTETS)?;
        records.first().map(types::from_record).transpose()
    }

    /// The index behind which this log will begin under a state applied so far: what was purged,
    /// or the state itself when the log ends before it. 0 when it begins at the first entry.
    pub fn begins_behind(&self, applied: u64) -> u64 {
        let purged = self.log.purged_index();
        let last = self.log.last_index().or(purged).unwrap_or(0);
        let hole = if last < applied { applied } else { 0 };
        hole.max(purged.unwrap_or(0))
    }

    /// Whether nothing was ever written here.
    pub fn is_fresh(&self) -> bool {
        self.log.last_index().is_none()
            && self.log.purged_index().is_none()
            && self.log.meta(META_VOTE).is_none()
    }
}

/// Lets a fresh log begin behind an entry that only a snapshot holds, under a vote. Blocks.
pub fn begin_behind(log: &Log, last: EntryId, vote: &Vote) -> io::Result<()> {
    log.save_meta(META_VOTE, &types::encode(vote)?)?;
    // The id first, as in every purge.
    log.save_meta(META_PURGED, &types::encode(&last)?)?;
    log.purge_to(last.index)
}

/// Runs a call that waits for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    rt::blocking(work).await?
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut next = from;
        while next < to {
            let records = self.read(next, to).await?;
            let Some(last) = records.last() else { break };
            next = last.index + 1;
            for record in &records {
                entries.push(types::from_record(record)?);
            }
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start, end).await?.iter().map(types::from_record).collect()
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl futures::Stream<Item = Result<LogEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let pieces =
            futures::stream::try_unfold((self.clone(), from), move |(store, from)| async move {
                if from >= to {
                    return Ok::<_, io::Error>(None);
                }
                let records = store.read(from, to).await?;
                let Some(last) = records.last() else { return Ok(None) };
                let next = last.index + 1;
                Ok(Some((records, (store, next))))
            });
        let pieces = futures::StreamExt::map(pieces, |piece: io::Result<Vec<Record>>| {
            let entries: Vec<io::Result<LogEntry>> = match piece {
                Ok(records) => records.iter().map(types::from_record).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(entries)
        });
        Box::pin(futures::StreamExt::flatten(pieces))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.meta(META_VOTE)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged: Option<EntryId> = self.meta(META_PURGED)?;
        let last = match self.log.last_index() {
            Some(index) => {
                let records = self.log.read(index..index + 1, READ_OCTETS)?;
                records.first().map(types::id_of).transpose()?
            }
            None => None,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        #[cfg(feature = "seeded-bugs")]
        if domain::seeded::makes(domain::seeded::Bug::VoteNotSaved) {
            return self.log.note_meta(META_VOTE, &types::encode(vote)?);
        }
        self.save_meta(META_VOTE, types::encode(vote)?).await
    }

    async fn save_committed(&mut self, committed: Option<EntryId>) -> Result<(), io::Error> {
        // Goes to disk with the next append and is not waited for: a committed id that is lost in
        // a crash is found again by asking the others, and a sync for each would halve the pace.
        let octets = types::encode(&Committed(committed))?;
        #[cfg(feature = "seeded-bugs")]
        if domain::seeded::makes(domain::seeded::Bug::PurgeTooEarly)
            && let Some(id) = committed.filter(|id| id.index.is_multiple_of(16))
        {
            self.log.note_meta(META_PURGED, &types::encode(&id)?)?;
            self.log.purge_to_then(id.index, Box::new(|_| {}));
        }
        self.log.note_meta(META_COMMITTED, &octets)
    }

    async fn read_committed(&mut self) -> Result<Option<EntryId>, io::Error> {
        Ok(self.meta::<Committed>(META_COMMITTED)?.and_then(|committed| committed.0))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<Record> =
            entries.into_iter().map(|entry| types::to_record(&entry)).collect::<io::Result<_>>()?;
        let started = rt::now();
        let histogram = self.metrics.append_seconds.clone();
        let (mark, last) = (self.mark.clone(), records.last().map(|record| record.index));
        #[cfg(feature = "seeded-bugs")]
        if domain::seeded::makes(domain::seeded::Bug::AcknowledgeBeforeFlush) {
            self.log.append(records, Box::new(|_| {}));
            last.inspect(|last| mark.raise(*last));
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let done = Box::new(move |result: io::Result<()>| {
            histogram.observe((rt::now() - started).as_secs_f64());
            match (&result, last) {
                (Ok(()), Some(last)) => mark.raise(last),
                (Ok(()), None) => {}
                (Err(_), _) => mark.fail(),
            }
            callback.io_completed(result);
        });
        self.log.append(records, done);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<EntryId>) -> Result<(), io::Error> {
        let log = self.log.clone();
        let keep = last_log_id.map(|id| id.index);
        // Nothing is appended before this returns, so no index is promised for an entry to come.
        blocking(move || log.truncate_after(keep)).await?;
        self.mark.lower(keep);
        Ok(())
    }

    async fn purge(&mut self, log_id: EntryId) -> Result<(), io::Error> {
        // The id first: a log that begins at an index must know which entry stood before it.
        self.save_meta(META_PURGED, types::encode(&log_id)?).await?;
        let log = self.log.clone();
        blocking(move || log.purge_to(log_id.index)).await
    }
}
