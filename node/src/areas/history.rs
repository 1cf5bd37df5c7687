//! What stands beside stored values and behind them: corrections, the latest values, and
//! whether this node's files and audit trail are whole.
//!
//! Invariants: a correction is asked for by a person and has a reason; integrity is told as this
//! node sees itself, and whoever compares nodes asks each of them.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::readings::{Correct, Corrected, Method, Quality};
use domain::{View, assets, audit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::readings::{Reading, Source, choose, obis, reading, told};
use crate::areas::{clocks, keys, time};
use crate::drills::signature;
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// A correction of one register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCorrection {
    /// OBIS code.
    pub obis: String,
    /// Minutes of an interval; the shortest stored when left out.
    pub interval: Option<u16>,
    /// End of the first interval (RFC 3339).
    pub from: String,
    /// One whole number an interval, in the series' own scaler (as the meter counts); null
    /// leaves an interval alone.
    pub values: Vec<Option<i64>>,
    /// `edited`, `estimated_linear`, `estimated_own_profile`, `estimated_class_profile` or
    /// `estimated_other`.
    pub quality: String,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// The newest value of a register.
#[derive(Debug, Serialize, ToSchema)]
pub struct Latest {
    /// The register.
    pub obis: String,
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// The value.
    pub value: Reading,
}

/// The newest values of a meter.
#[derive(Debug, Serialize, ToSchema)]
pub struct LatestBody {
    /// The meter.
    pub serial: String,
    /// One for each register and interval.
    pub values: Vec<Latest>,
}

/// What this node holds, by content.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Integrity {
    /// The answering node.
    pub node: String,
    /// Log index applied here.
    pub applied_index: u64,
    /// State hash at it, 64 hex digits.
    pub state_hash: String,
    /// Records of the audit trail; null when its chain or a signature in it is broken.
    pub audit_records: Option<u64>,
    /// Signatures of the cluster among them.
    #[serde(default)]
    pub audit_signed: u64,
    /// The first record that is missing, moved or changed, or whose signature does not hold.
    #[serde(default)]
    pub audit_broken_at: Option<u64>,
    /// Days and months that wait for their files.
    pub waiting: usize,
    /// Damaged files, whose range is not served.
    pub damaged: Vec<String>,
    /// Sealed files.
    pub sealed: Vec<SealedBody>,
}

/// One sealed file by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealedBody {
    /// Minutes of an interval; 0: irregular readings.
    pub interval_minutes: u16,
    /// Ordinal / 8192.
    pub shard: u32,
    /// First day, days since 1970-01-01.
    pub day: i32,
    /// Days that it covers.
    pub days: u16,
    /// 1: a day; 2: a month.
    pub level: u8,
    /// Index of the log's entry that sealed it.
    pub index: u64,
    /// Rows.
    pub rows: u64,
    /// blake3 of the canonical content, 64 hex digits.
    pub content_hash: String,
}

/// The word for how a corrected value came about.
pub fn quality_word(quality: Quality) -> &'static str {
    match quality {
        Quality::Edited => "edited",
        Quality::Estimated(Method::Linear) => "estimated_linear",
        Quality::Estimated(Method::OwnProfile) => "estimated_own_profile",
        Quality::Estimated(Method::ClassProfile) => "estimated_class_profile",
        Quality::Estimated(Method::Other) => "estimated_other",
    }
}

fn quality_of(word: &str) -> Result<Quality, Problem> {
    let methods = [Method::Linear, Method::OwnProfile, Method::ClassProfile, Method::Other];
    let all = methods.into_iter().map(Quality::Estimated).chain([Quality::Edited]);
    let mut known = all.filter(|quality| quality_word(*quality) == word);
    known.next().ok_or_else(|| Problem::bad("bad_quality", format!("{word:?}")))
}

/// Put values beside what was measured. Nothing measured is changed; a later correction of the
/// same time counts instead of this one, and both stay.
#[utoipa::path(post, path = "/api/v1/meters/{serial}/corrections", tag = "meters",
    request_body = NewCorrection,
    params(("serial" = String, Path, description = "serial"),
        ("Idempotency-Key" = Option<String>, Header, description = "repeats are one correction")),
    responses(
    (status = 204, description = "stored"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn correct(
    app: Asked,
    Path(serial): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewCorrection>,
) -> Result<StatusCode, Problem> {
    let view = app.view()?;
    let meter = assets::meter(&view, &serial)?
        .ok_or_else(|| Problem::missing("unknown_meter", serial.clone()))?;
    let register = obis(&new.obis)?;
    let known = domain::readings::series(&view, meter.ordinal)?;
    let (interval_minutes, _) = choose(&known, register, new.interval)
        .ok_or_else(|| Problem::missing("unknown_series", format!("{serial} {}", new.obis)))?;
    let key = headers
        .get("idempotency-key")
        .map(|value| value.to_str().map_err(|_| Problem::bad("bad_idempotency_key", "not ASCII")));
    let id = keys::request_id("correction", key.transpose()?)?;
    let correct = Correct {
        ordinal: meter.ordinal,
        interval_minutes,
        obis: register,
        from_s: time::parse("from", &new.from)?,
        values: new.values,
        quality: quality_of(&new.quality)?,
        reason: new.reason,
    };
    let change = domain::Change::Readings(domain::readings::Change::Correct(correct));
    app.propose(id, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The most corrections that are looked at in one range: many for each of its values.
const MAX_LOOKED: usize = 4 * crate::areas::readings::MAX_VALUES;

/// The corrections that count in a range, by the end of their interval.
///
/// Refused as `range_too_long` where there are too many to look at.
pub fn counting(
    view: &dyn View,
    series: (u32, u16, domain::Obis),
    span: (i64, i64),
    as_of: Option<u64>,
) -> Result<std::collections::BTreeMap<i64, Corrected>, Problem> {
    let all = domain::readings::corrections(view, series, span, as_of, MAX_LOOKED)?;
    if all.len() >= MAX_LOOKED {
        let text = "too many corrections in this range; ask for a shorter one";
        return Err(Problem::bad("range_too_long", text));
    }
    Ok(domain::readings::counting(all))
}

/// The newest value of every register of a meter, as measured.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/latest", tag = "meters",
    params(("serial" = String, Path, description = "serial")), responses(
    (status = 200, body = LatestBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn latest(app: Asked, Path(serial): Path<String>) -> Result<Json<LatestBody>, Problem> {
    newest_of(&app, serial).await.map(Json)
}

/// The newest value of every register of a meter that is seen.
pub async fn newest_of(app: &Asked, serial: String) -> Result<LatestBody, Problem> {
    let source = Source::of(app)?;
    let run = move |source: &Source| newest(source, serial);
    source.ask(run).await
}

fn newest(source: &Source, serial: String) -> Result<LatestBody, Problem> {
    let meter = source.meter(&serial)?;
    let mut values = Vec::new();
    for (interval_minutes, series) in domain::readings::series(&source.view, meter.ordinal)? {
        let (ordinal, column) = (meter.ordinal, series.obis.0);
        let found = source.segments.latest(interval_minutes, ordinal, column, series.last_s);
        let Some(mut point) = found.map_err(told)? else { continue };
        let span = (point.end_s.saturating_sub(1), point.end_s);
        let points = std::slice::from_mut(&mut point);
        clocks::mark(&source.view, (ordinal, interval_minutes), points, span, None)?;
        let value = reading(&series, Some(point), None)?;
        values.push(Latest { obis: series.obis.to_string(), interval_minutes, value });
    }
    Ok(LatestBody { serial, values })
}

/// What this node holds, by content: to be compared with other nodes. Reads the whole audit
/// trail.
#[utoipa::path(get, path = "/api/v1/integrity", tag = "cluster", responses(
    (status = 200, body = Integrity),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn integrity(app: Asked) -> Result<Json<Integrity>, Problem> {
    let cluster = app.live()?.cluster.clone();
    let key = app.master().signer().map_err(|error| {
        tracing::error!(%error, "signatures cannot be checked");
        Problem::fault()
    })?;
    let key = key.public();
    let read = move || {
        let digest = cluster.readings().digest();
        let status = cluster.status();
        let holds = |sequence: u64, hash: &[u8; 32], signature: &[u8]| {
            signature::trail_holds(&key, sequence, hash, signature)
        };
        let trail = audit::verify_signed(&cluster.view(), holds)?;
        let (audit_records, audit_signed, audit_broken_at) = match trail {
            Ok(whole) => (Some(whole.records), whole.signed, None),
            Err(broken) => (None, 0, Some(broken.sequence)),
        };
        let sealed = digest.sealed.into_iter().map(|one| SealedBody {
            interval_minutes: one.key.interval_minutes,
            shard: one.key.shard,
            day: one.key.day,
            days: one.days,
            level: one.level,
            index: one.index,
            rows: one.rows,
            content_hash: hex(&one.content_hash),
        });
        Ok::<_, domain::Fault>(Integrity {
            node: status.name,
            applied_index: status.applied_index,
            state_hash: hex(&status.state_hash),
            audit_records,
            audit_signed,
            audit_broken_at,
            waiting: digest.waiting,
            damaged: digest.damaged,
            sealed: sealed.collect(),
        })
    };
    let found = tokio::task::spawn_blocking(read).await.map_err(|_| Problem::fault())?;
    Ok(Json(found?))
}
