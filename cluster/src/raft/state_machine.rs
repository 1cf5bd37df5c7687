//! Consensus's state machine over the domain and the stores.
//!
//! Not here: what an entry means (`domain::apply`), the files of a snapshot (`storage`).
//! Invariants:
//! 1. The writes of a run of entries, the applied id, the membership, the state hash and the
//!    markers of accepted rows are committed in one atomic batch of the tables.
//! 2. Rows go into the open days after that commit. A crash between the two is healed at start:
//!    every marker above the open days' floor has its entry merged again.
//! 3. No entry is applied before the own log has synced it, though a quorum without this node may
//!    have committed it: the tables reach the disk by themselves, and a power cut must not leave
//!    them further than the log from which rows are merged again.
//! 4. A fault is kept and told, and the node halts; an entry is never skipped.
//! 5. A snapshot is frozen between two runs, so it is of exactly one applied index. Apply waits
//!    for the freeze alone (milliseconds); its files are written beside it.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot,
    storage::{EntryResponder, RaftStateMachine},
};
use storage::{Put, Segments, Snapshots, Space, Store, Tables};

use super::{
    accepted,
    durable::Durable,
    log_store::LogStore,
    overlay::Overlay,
    snapshot::{Owner, SnapshotFile},
    synced::Synced,
    types::{Answer, EntryId, LogEntry, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::{effects::Publisher, metrics::Metrics, raft::applied::Applied, rt};

/// Most entries of one atomic batch.
const RUN_ENTRIES: usize = 256;

/// The state machine of a node. Clones share it.
#[derive(Clone)]
pub struct StateMachine {
    core: Arc<Mutex<Core>>,
    synced: Synced,
    /// Held while snapshot files are written or installed: one at a time.
    files: Owner,
    snapshots: Snapshots,
    space: Space,
    snapshot_pause: Duration,
    metrics: Metrics,
}

struct Core {
    tables: Tables,
    segments: Segments,
    durable: Durable,
    /// Markers up to this index are gone.
    markers_dropped: u64,
    applied: Arc<Applied>,
    publisher: Publisher,
    metrics: Metrics,
    last_snapshot: Option<rt::Instant>,
}

impl StateMachine {
    /// Over open stores: reads what is applied and merges again what the open days lack.
    ///
    /// Blocks on the disk. Errors when the state cannot be read or the log lacks an entry.
    pub fn open(
        store: &Store,
        log: &LogStore,
        synced: Synced,
        applied: Arc<Applied>,
        publisher: Publisher,
        metrics: &Metrics,
        snapshot_pause: Duration,
    ) -> io::Result<Self> {
        let durable = Durable::load(&store.tables)?;
        accepted::replay(&store.tables, &store.segments, log, durable.index())?;
        applied.jump(durable.index(), durable.hash, durable.stamp);
        let core = Core {
            tables: store.tables.clone(),
            segments: store.segments.clone(),
            durable,
            markers_dropped: 0,
            applied,
            publisher,
            metrics: metrics.clone(),
            last_snapshot: None,
        };
        Ok(Self {
            core: Arc::new(Mutex::new(core)),
            synced,
            files: Arc::default(),
            snapshots: store.snapshots.clone(),
            space: store.space.clone(),
            snapshot_pause,
            metrics: metrics.clone(),
        })
    }

    /// Calls `work` between two runs of entries, with the applied index.
    pub fn between_runs<T>(&self, work: impl FnOnce(u64) -> T) -> T {
        let core = self.lock();
        work(core.durable.index())
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under this lock is a bug; the poisoned core still holds what is committed.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Freezes and writes a snapshot; blocks on the disk.
    fn build(&self) -> io::Result<Built> {
        let _one_at_a_time = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let (frozen, durable) = {
            let mut core = self.lock();
            let durable = core.durable.clone();
            core.last_snapshot = Some(rt::now());
            (self.snapshots.freeze(durable.index(), durable.encode()?)?, durable)
        };
        let manifest = self.snapshots.write(frozen)?;
        self.metrics.snapshots.with_label_values(&["built"]).inc();
        tracing::info!(index = manifest.index, files = manifest.items.len(), "snapshot written");
        let file = SnapshotFile::local(manifest, self.snapshots.clone(), self.files.clone());
        Ok(Snapshot { meta: durable.meta()?, snapshot: file })
    }

    /// Writes a snapshot of what is applied now; blocks on the disk and answers its index.
    pub fn snapshot_now(&self) -> io::Result<u64> {
        self.build().map(|built| built.snapshot.manifest().index)
    }

    /// Replaces the state by a snapshot; blocks on the disk.
    fn install(&self, file: SnapshotFile) -> io::Result<()> {
        let _one_at_a_time = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut core = self.lock();
        let manifest = file.install(&self.snapshots, &self.files)?;
        core.durable = Durable::load(&core.tables)?;
        core.markers_dropped = 0;
        let durable = &core.durable;
        core.applied.jump(durable.index(), durable.hash, durable.stamp);
        core.publisher.publish_jump();
        self.metrics.snapshots.with_label_values(&["installed"]).inc();
        tracing::info!(index = manifest.index, "snapshot installed");
        Ok(())
    }

    fn current(&self) -> io::Result<Option<Built>> {
        let Some(manifest) = self.snapshots.newest() else { return Ok(None) };
        let meta = Durable::decode(&manifest.meta)?.meta()?;
        let snapshot = SnapshotFile::local(manifest, self.snapshots.clone(), self.files.clone());
        Ok(Some(Snapshot { meta, snapshot }))
    }
}

/// Consensus's snapshot with our data.
type Built = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// What a run of entries leaves to do after its commit.
struct Later {
    index: u64,
    work: Option<accepted::Work>,
    effects: Vec<domain::Effect>,
}

impl Core {
    /// Applies a run of entries in order; all or nothing in the tables.
    fn apply_run(&mut self, entries: &[LogEntry]) -> io::Result<Vec<Answer>> {
        let started = rt::now();
        let mut durable = self.durable.clone();
        let tables = self.tables.clone();
        let mut overlay = Overlay::new(&tables);
        let mut markers = Vec::new();
        let mut answers = Vec::with_capacity(entries.len());
        let mut later = Vec::new();
        let mut hashes = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.log_id.index;
            durable.applied = Some(entry.log_id);
            let answer = match &entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Membership(membership) => {
                    durable.set_membership(entry.log_id, membership);
                    None
                }
                EntryPayload::Normal(payload) => {
                    let change = domain::Entry::decode(&payload.0).map_err(told)?;
                    #[cfg(feature = "seeded-bugs")]
                    let change = self.diverged(index, change);
                    let applied = domain::apply(&overlay, index, &change).map_err(told)?;
                    durable.hash = applied.hash;
                    durable.stamp = durable.stamp.max(change.stamp.0);
                    overlay.absorb(applied.writes);
                    let work = accepted::work(
                        &applied.outcome,
                        applied.rows,
                        applied.seals,
                        applied.compactions,
                    );
                    markers.extend(work.as_ref().map(|work| work.marker(index)));
                    later.push(Later { index, work, effects: applied.effects });
                    Some(applied.outcome)
                }
            };
            hashes.push((index, durable.hash));
            answers.push(Answer(answer));
        }
        let mut puts = overlay.into_puts();
        puts.extend(markers);
        puts.push(durable.put()?);
        let dropped = self.drop_markers(&mut puts)?;
        self.tables.commit(&puts)?;
        self.markers_dropped = dropped;
        self.durable = durable;
        self.finish_run(later, &hashes)?;
        self.metrics.apply_seconds.observe((rt::now() - started).as_secs_f64());
        self.metrics.entries_applied.inc_by(entries.len() as u64);
        Ok(answers)
    }

    /// A mistake of one replica: its stamp of an entry differs.
    #[cfg(feature = "seeded-bugs")]
    fn diverged(&self, index: u64, mut entry: domain::Entry) -> domain::Entry {
        let makes = domain::seeded::makes(domain::seeded::Bug::ReplicaDiverges);
        if makes && index.is_multiple_of(50) && rt::world::throw(4) == 0 {
            entry.stamp.0 += 1;
        }
        entry
    }

    /// After the commit: rows into the open days, then those who wait are told.
    fn finish_run(&mut self, later: Vec<Later>, hashes: &[(u64, [u8; 32])]) -> io::Result<()> {
        let mut effects = Vec::new();
        for one in later {
            if let Some(work) = one.work {
                work.carry_out(one.index, &self.segments)?;
            }
            effects.push((one.index, one.effects));
        }
        self.applied.advance(hashes, self.durable.stamp);
        for (index, effects) in effects {
            self.publisher.publish(index, effects);
        }
        Ok(())
    }

    /// Adds the deletion of markers that the open days no longer need, a bounded few a run.
    fn drop_markers(&self, puts: &mut Vec<Put>) -> io::Result<u64> {
        let floor = self.segments.floor().min(self.durable.index());
        if floor <= self.markers_dropped {
            return Ok(self.markers_dropped);
        }
        accepted::drop_markers(&self.tables, self.markers_dropped, floor, puts)
    }
}

/// A fault or malformed entry as the error that makes consensus stop this node.
fn told(error: impl std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Runs work that blocks on the disk; a fault is kept so that status can tell it.
async fn blocking<T: Send + 'static>(
    machine: &StateMachine,
    doing: &'static str,
    work: impl FnOnce(&StateMachine) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let shared = machine.clone();
    let done = rt::blocking(move || work(&shared)).await;
    let result = done.and_then(|result| result);
    result.inspect_err(|error| {
        let core = machine.lock();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<storage::Error>());
        let fault = inner.map_or_else(|| error.to_string(), storage::Error::report);
        // A fault of the tables themselves was told where it was met.
        if core.tables.fault().is_none() {
            let code = inner.map_or("state_fault", storage::Error::code);
            tracing::error!(code, doing, fault, "this node halts: its state cannot be kept");
        }
        core.applied.halt(format!("{doing}: {fault}"));
    })
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<EntryId>, StoredMembership), io::Error> {
        let durable = self.lock().durable.clone();
        Ok((durable.applied, durable.stored_membership()?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut runs = entries.ready_chunks(RUN_ENTRIES);
        while let Some(run) = runs.next().await {
            let mut entries = Vec::with_capacity(run.len());
            let mut responders = Vec::with_capacity(run.len());
            for item in run {
                let (entry, responder) = item?;
                entries.push(entry);
                responders.push(responder);
            }
            if let Some(last) = entries.last() {
                self.synced.reached(last.log_id.index).await?;
            }
            let work = move |machine: &StateMachine| machine.lock().apply_run(&entries);
            let answers = blocking(self, "apply", work).await?;
            for (responder, answer) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self> {
        let rested = {
            let core = self.lock();
            core.last_snapshot.is_none_or(|last| rt::now() - last >= self.snapshot_pause)
        };
        // A snapshot on a full disk would take the room that it is to give back.
        ((force || rested) && !self.space.is_full()).then(|| self.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        blocking(self, "install snapshot", move |machine| machine.install(snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Built>, io::Error> {
        self.current()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Built, io::Error> {
        blocking(self, "build snapshot", |machine| machine.build()).await
    }
}
