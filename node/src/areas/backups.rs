//! The state of the cluster as files, for a backup: made ready, handed out in pieces, let go.
//!
//! Where the files go, and whether they are encrypted, is the business of who fetches them
//! (`holdfast backup`): no key and no address of a store comes here. Invariants: one at a time;
//! what is handed out is one snapshot, of one index, and does not change; what nobody asks for is
//! let go after a while; the links of a node that died are gone at the next backup.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::Path as UrlPath;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cluster::{Cluster, Restored};
use serde::{Deserialize, Serialize};
use storage::snapshot::{Manifest, exported};
use utoipa::{IntoParams, ToSchema};

use crate::app::{App, now_s};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::{hex, random};

/// A backup that nobody asks for any more is let go after this.
const IDLE: Duration = Duration::from_secs(600);
/// How long a quorum may take to say up to where the backup must reach.
const SETTLE: Duration = Duration::from_secs(20);
/// The most octets of one answer.
const PIECE: u64 = 4 << 20;

/// What a node hands out, if anything; cheap to clone.
#[derive(Clone, Default)]
pub struct Exports {
    running: Arc<Mutex<Option<Export>>>,
}

struct Export {
    id: String,
    dir: PathBuf,
    asked: Instant,
    state: Making,
}

#[derive(Clone)]
enum Making {
    Preparing,
    Failed,
    Ready(Arc<Ready>),
}

struct Ready {
    manifest: Manifest,
    state: Restored,
}

impl Exports {
    fn lock(&self) -> MutexGuard<'_, Option<Export>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the one place, also from one that nobody asks for any more.
    fn begin(&self, id: &str, dir: &Path) -> Result<(), Problem> {
        let mut running = self.lock();
        if running.as_ref().is_some_and(|export| export.asked.elapsed() < IDLE) {
            let text = "a backup is being taken from this node; ask another, or wait";
            return Err(Problem::new(StatusCode::CONFLICT, "backup_running", text));
        }
        *running = Some(Export {
            id: id.to_owned(),
            dir: dir.to_path_buf(),
            asked: Instant::now(),
            state: Making::Preparing,
        });
        Ok(())
    }

    fn settle(&self, id: &str, state: Making) {
        if let Some(export) = self.lock().as_mut().filter(|export| export.id == id) {
            (export.state, export.asked) = (state, Instant::now());
        }
    }

    /// The state of a backup, and its folder.
    fn find(&self, id: &str) -> Result<(Making, PathBuf), Problem> {
        match self.lock().as_mut().filter(|export| export.id == id) {
            Some(export) => {
                export.asked = Instant::now();
                Ok((export.state.clone(), export.dir.clone()))
            }
            None => Err(Problem::missing("unknown_backup", "no such backup is being taken here")),
        }
    }

    fn ready(&self, id: &str) -> Result<(Arc<Ready>, PathBuf), Problem> {
        match self.find(id)? {
            (Making::Ready(ready), dir) => Ok((ready, dir)),
            _ => Err(Problem::missing("unknown_backup", "this backup is not ready")),
        }
    }

    /// Ends a backup; its folder, when it was this one.
    fn end(&self, id: &str) -> Option<PathBuf> {
        let mut running = self.lock();
        running.take_if(|export| export.id == id).map(|export| export.dir)
    }
}

/// A backup that is being taken from the answering node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BackupBody {
    /// Names it on this node.
    pub id: String,
    /// preparing, ready or failed.
    pub state: String,
    /// The answering node.
    pub node: String,
    /// DLMS client system title of the answering node, 16 hex digits.
    pub client_title: String,
    /// Index of the last log entry that it holds, once it is ready.
    pub index: Option<u64>,
    /// State hash at that index, 64 hex digits.
    pub state_hash: Option<String>,
    /// The cluster's stamp at that index, microseconds since the epoch.
    pub stamp_micros: Option<u64>,
    /// Number of its files.
    pub files: Option<usize>,
    /// Octets of all files.
    pub octets: Option<u64>,
}

fn body(app: &App, id: &str, state: &Making) -> BackupBody {
    let (word, ready) = match state {
        Making::Preparing => ("preparing", None),
        Making::Failed => ("failed", None),
        Making::Ready(ready) => ("ready", Some(ready)),
    };
    BackupBody {
        id: id.to_owned(),
        state: word.to_owned(),
        node: app.config().node.name.clone(),
        client_title: app.config().keys.system_title.to_lowercase(),
        index: ready.map(|ready| ready.state.index),
        state_hash: ready.map(|ready| hex(&ready.state.state_hash)),
        stamp_micros: ready.map(|ready| ready.state.stamp.0),
        files: ready.map(|ready| ready.manifest.items.len()),
        octets: ready.map(|ready| ready.manifest.octets()),
    }
}

/// Begins a backup from the answering node: a snapshot of everything acknowledged so far.
#[utoipa::path(post, path = "/api/v1/backups", tag = "cluster", responses(
    (status = 202, body = BackupBody),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn begin(app: Asked) -> Result<Response, Problem> {
    let cluster = app.live()?.cluster.clone();
    let id = hex(&random::<8>().map_err(|error| {
        tracing::error!(%error, "no id for a backup");
        Problem::fault()
    })?);
    let root = app.config().node.data_dir.join("backup");
    let dir = root.join(&id);
    app.exports().begin(&id, &dir)?;
    tracing::info!(id, "a backup is prepared");
    tokio::spawn(prepare(app.exports().clone(), cluster, id.clone(), (root, dir)));
    let body = body(&app, &id, &Making::Preparing);
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn prepare(exports: Exports, cluster: Cluster, id: String, (root, dir): (PathBuf, PathBuf)) {
    // Whatever an earlier backup left is nobody's any more.
    let cleared = tokio::task::spawn_blocking(move || storage::file::remove_tree(&root)).await;
    if let Ok(Err(error)) = &cleared {
        tracing::warn!(code = error.code(), %error, "links of an earlier backup are left");
    }
    let state = match cluster.export(dir, SETTLE).await {
        Ok((manifest, state)) => Making::Ready(Arc::new(Ready { manifest, state })),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, id, "no backup can be taken");
            Making::Failed
        }
    };
    exports.settle(&id, state);
    // Nobody may come for the rest; then the links go, so that the disk gets its room back.
    loop {
        tokio::time::sleep(IDLE / 10).await;
        let idle = match exports.lock().as_ref().filter(|export| export.id == id) {
            Some(export) => export.asked.elapsed() >= IDLE,
            None => return,
        };
        if idle && let Some(dir) = exports.end(&id) {
            tracing::warn!(id, "a backup was given up");
            forget(dir).await;
        }
    }
}

async fn forget(dir: PathBuf) {
    let removed = tokio::task::spawn_blocking(move || storage::file::remove_tree(&dir)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(code = error.code(), %error, "links of a backup are left");
    }
}

/// A backup that is being taken from the answering node.
#[utoipa::path(get, path = "/api/v1/backups/{id}", tag = "cluster",
    params(("id" = String, Path, description = "The backup.")), responses(
    (status = 200, body = BackupBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, UrlPath(id): UrlPath<String>) -> Result<Json<BackupBody>, Problem> {
    let (state, _) = app.exports().find(&id)?;
    Ok(Json(body(&app, &id, &state)))
}

/// The snapshot's manifest: the list of the files, in this program's own form.
#[utoipa::path(get, path = "/api/v1/backups/{id}/manifest", tag = "cluster",
    params(("id" = String, Path, description = "The backup.")), responses(
    (status = 200, content_type = "application/octet-stream"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn manifest(app: Asked, UrlPath(id): UrlPath<String>) -> Result<Response, Problem> {
    let (ready, _) = app.exports().ready(&id)?;
    Ok(octets(ready.manifest.encode()))
}

/// Where a piece begins.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PieceParams {
    /// Octets of the file before the piece.
    pub offset: u64,
}

/// A piece of a file, of 4 MiB or up to the file's end.
#[utoipa::path(get, path = "/api/v1/backups/{id}/files/{number}", tag = "cluster",
    params(("id" = String, Path, description = "The backup."),
        ("number" = usize, Path, description = "Place of the file in the manifest, from 0."),
        PieceParams), responses(
    (status = 200, content_type = "application/octet-stream"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn piece(
    app: Asked,
    UrlPath((id, number)): UrlPath<(String, usize)>,
    Params(params): Params<PieceParams>,
) -> Result<Response, Problem> {
    let (ready, dir) = app.exports().ready(&id)?;
    let item = ready.manifest.items.get(number);
    let item = item.ok_or_else(|| Problem::missing("unknown_backup", "no file of this number"))?;
    let path = exported(&dir, &item.name);
    let left = item.octets.saturating_sub(params.offset).min(PIECE);
    let read = move || -> io::Result<Vec<u8>> {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(0)];
        File::open(path)?.read_exact_at(&mut piece, params.offset)?;
        Ok(piece)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(piece)) => Ok(octets(piece)),
        told => {
            tracing::error!(?told, name = item.name, "a file of a backup cannot be read");
            Err(Problem::fault())
        }
    }
}

/// How a backup ended, as who fetched it says.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EndParams {
    /// Whether it lies complete where backups are kept.
    #[serde(default)]
    pub complete: bool,
}

/// Ends a backup: its files are let go, and when it is complete, its time is kept as a metric.
#[utoipa::path(delete, path = "/api/v1/backups/{id}", tag = "cluster",
    params(("id" = String, Path, description = "The backup."), EndParams),
    responses((status = 204)))]
pub async fn end(
    app: Asked,
    UrlPath(id): UrlPath<String>,
    Params(params): Params<EndParams>,
) -> StatusCode {
    let complete = params.complete && app.exports().ready(&id).is_ok();
    if let Some(dir) = app.exports().end(&id) {
        if complete {
            app.metrics().last_backup.set(i64::try_from(now_s()).unwrap_or(i64::MAX));
        }
        forget(dir).await;
    }
    StatusCode::NO_CONTENT
}

fn octets(octets: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from(octets)).into_response()
}
