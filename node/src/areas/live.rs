//! Live views: what a meter shows now, round after round, as server-sent events.
//!
//! A view is opened in the log, so the node that has the meter's channel reads, whichever that is;
//! here its rounds are passed on to who looks. Invariants: 1. a view ends when its viewer has gone,
//! and every stream ends with a word that says why; 2. whether the viewer may still look is asked
//! again while he does; 3. nothing is told but what the device has just answered.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use cluster::Woken;
use domain::live::{self, Change, End, Round, Session};
use domain::operators::{self, Permission};
use domain::{Device, Effect, NodeId, ProposalId, assets, regions};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::app::{App, random_id};
use crate::areas::commands::{FailureBody, ReadBody, read_body};
use crate::areas::time;
use crate::http::asked::Asked;
use crate::http::auth;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::stream::{self, Events, Untold};

/// Effects may be lost: the state is looked at this often in any case.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A view of which no node could read anything for so long ends.
const NOBODY_READS: Duration = Duration::from_secs(60);
/// How long the end of a view may take to be written; its time ends it all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// The views of those who look at this node.
#[derive(Default)]
pub struct Viewers(Mutex<BTreeSet<ProposalId>>);

impl Viewers {
    /// Whether somebody here looks at this view.
    pub fn has(&self, id: &ProposalId) -> bool {
        self.all().contains(id)
    }

    /// How many look.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<ProposalId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who looks, until it is dropped.
struct Viewer {
    app: App,
    id: ProposalId,
}

impl Viewer {
    fn enter(app: &App, id: ProposalId) -> Viewer {
        app.viewers().all().insert(id);
        Viewer { app: app.clone(), id }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.app.viewers().all().remove(&self.id);
    }
}

/// What a live view takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LiveParams {
    /// Seconds between two rounds; the least that `live.pause_seconds` allows when left out.
    pub pause_s: Option<u32>,
    /// Seconds until it ends; the most that `live.length_seconds` allows when left out.
    pub length_s: Option<u32>,
}

/// The first event, `open`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LiveBody {
    /// The view's id.
    pub id: String,
    /// The meter.
    pub meter: String,
    /// When it ends at the latest (RFC 3339).
    pub until: String,
    /// Seconds between two rounds at least.
    pub pause_s: u32,
}

/// An event `round`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RoundBody {
    /// From 1; a number that is left out was overtaken by the next.
    pub number: u64,
    /// When it was told (RFC 3339).
    pub at: String,
    /// The node that read.
    pub node: String,
    /// How long the round took, milliseconds.
    pub took_ms: u32,
    /// What the meter showed; empty when it was silent.
    pub values: Vec<LiveValue>,
    /// Why it was silent.
    pub failure: Option<FailureBody>,
}

/// A value of a round.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LiveValue {
    /// What it is, such as `U L1`.
    pub name: &'static str,
    /// The value as a read on demand gives it.
    #[serde(flatten)]
    pub read: ReadBody,
}

/// The last event, `end`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndBody {
    /// time, left, silent, no_channel, not_allowed, meter_gone, slow or node_gone.
    pub reason: &'static str,
    /// The same for people.
    pub detail: &'static str,
}

/// Look at a meter live: U, I, P, Q, power factor, f, angles and the switch, read again and again.
/// Events `open`, `round` and `end`, the last of which says why it is over.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/live", tag = "meters",
    params(("serial" = String, Path, description = "meter serial"), LiveParams), responses(
    (status = 200, body = RoundBody, content_type = "text/event-stream"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    headers: HeaderMap,
    Path(serial): Path<String>,
    Params(params): Params<LiveParams>,
) -> Result<Response, Problem> {
    // It makes a device work, though its method is safe: another site may not cause that.
    if !headers.contains_key(header::AUTHORIZATION) && !auth::same_site(&headers) {
        let text = "a request from another site may not look at a meter";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", text));
    }
    if assets::meter(&app.view()?, &serial)?.is_none() {
        // It may have been registered at another node a moment ago.
        let known = assets::meter(&app.fresh_view().await?, &serial)?;
        known.ok_or_else(|| Problem::missing("unknown_meter", serial.clone()))?;
    }
    let id = random_id()?;
    let viewer = Viewer::enter(&app, id);
    let change = Change::Open {
        id,
        meter: serial,
        node: NodeId(app.config().node.id),
        pause_s: params.pause_s,
        length_s: params.length_s,
    };
    app.propose(random_id()?, domain::Change::Live(change)).await?;
    let (events, response) = stream::open().ok_or_else(Problem::fault)?;
    tokio::spawn(follow(app, viewer, events));
    Ok(response)
}

/// Passes a view's rounds on until it is over.
async fn follow(app: Asked, viewer: Viewer, events: Events) {
    let id = viewer.id;
    let why = tell_all(&app, id, &events).await.unwrap_or_else(|problem| {
        tracing::warn!(code = %problem.code, "a live view cannot be shown any more");
        End::NodeGone
    });
    events.end("end", &EndBody { reason: why.name(), detail: detail(why) });
    if let Ok(live) = app.live() {
        let node = NodeId(app.config().node.id);
        let change = domain::Change::Live(Change::Close { id, node, why });
        let author = domain::Author::Node(node);
        // What it ended by itself is refused as over; what cannot be told ends by its time.
        if let Ok(proposal) = random_id() {
            let _ = live.cluster.propose(proposal, author, change, PATIENCE).await;
        }
    }
    drop(viewer);
}

async fn tell_all(app: &Asked, id: ProposalId, events: &Events) -> Result<End, Problem> {
    let cluster = &app.live()?.cluster;
    let mut effects = cluster.effects();
    let (mut opened, mut shown) = (false, 0);
    let (begun, mut heard) = (Instant::now(), Instant::now());
    loop {
        let now = cluster.stamp_now();
        let found = live::session(&app.whole_view()?, &id)?;
        // This node may be a moment behind the one that took the view.
        let waits = found.is_none() && !opened && begun.elapsed() < PATIENCE;
        if let Some(why) = found.is_none().then_some(End::Time).filter(|_| !waits) {
            return Ok(why);
        }
        if let Some(session) = found {
            let told = tell(app, &session, &mut opened, &mut shown, events);
            match told {
                Ok(true) => heard = Instant::now(),
                Ok(false) => {}
                Err(Untold::Left) => return Ok(End::Left),
                Err(Untold::Slow) => return Ok(End::Slow),
            }
            if let Some((_, why)) = session.end(now) {
                return Ok(why);
            }
            if !may_look(app, &session.meter)? {
                return Ok(End::NotAllowed);
            }
        }
        if app.draining() {
            return Ok(End::NodeGone);
        }
        if heard.elapsed() >= NOBODY_READS {
            return Ok(End::NoChannel);
        }
        tokio::select! {
            () = events.left() => return Ok(End::Left),
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = changed(&mut effects, id) => {}
        }
    }
}

/// Tells what is new of a view. True when a round was.
fn tell(
    app: &App,
    session: &Session,
    opened: &mut bool,
    shown: &mut u64,
    events: &Events,
) -> Result<bool, Untold> {
    if !std::mem::replace(opened, true) {
        let (id, meter) = (session.id.to_string(), session.meter.clone());
        let until = time::stamp(session.until);
        events.tell("open", &LiveBody { id, meter, until, pause_s: session.pause_s })?;
    }
    let Some(round) = session.last.as_ref().filter(|round| round.number > *shown) else {
        return Ok(false);
    };
    *shown = round.number;
    events.tell("round", &body(app, round))?;
    Ok(true)
}

/// Waits until a view has changed. Safe to cancel.
async fn changed(effects: &mut cluster::Effects, id: ProposalId) {
    loop {
        match effects.next().await {
            Some(Woken::Effect { effect: Effect::LiveChanged { id: its }, .. }) if its == id => {
                return;
            }
            Some(Woken::Effect { .. }) => {}
            Some(Woken::Lagged(_)) => return,
            None => std::future::pending().await,
        }
    }
}

/// Whether who asked may still read this meter: his session holds, and a role of his counts there.
fn may_look(app: &Asked, meter: &str) -> Result<bool, Problem> {
    let (caller, view) = (app.caller(), app.whole_view()?);
    let now = app.live()?.cluster.stamp_now();
    if let Some(session) = &caller.session
        && operators::session(&view, session, now)?.is_none()
    {
        return Ok(false);
    }
    let Some(rights) = operators::rights(&view, &caller.name, now)? else { return Ok(false) };
    let region = regions::region_of(&view, &Device::Meter(meter.to_owned()))?;
    Ok(rights.may(&view, Permission::Read, region)?)
}

/// A round in the API's words. What the meter refused is left out.
fn body(app: &App, round: &Round) -> RoundBody {
    let (reads, failure) = match &round.result {
        Ok(reads) => (reads.as_slice(), None),
        Err(failure) => {
            let (code, detail) = (failure.code().to_string(), failure.to_string());
            (&[][..], Some(FailureBody { code, detail }))
        }
    };
    RoundBody {
        number: round.number,
        at: time::stamp(round.at),
        node: app.node_name(round.node),
        took_ms: round.took_ms,
        values: reads.iter().filter_map(value).collect(),
        failure,
    }
}

fn value(read: &domain::commands::Read) -> Option<LiveValue> {
    use domain::commands::Value;
    let name = gateway::live_name(read.obis, read.attribute)?;
    let mut body = read_body(read);
    match (name, &read.value) {
        (_, Value::Refused(_) | Value::Null) => return None,
        ("switch", Value::Boolean(closed)) => {
            body.value = if *closed { "closed" } else { "open" }.into();
        }
        // Class 70, attribute 3 (IEC 62056-6-2).
        ("switch control", Value::Unsigned(state)) => {
            body.value = match state {
                0 => "disconnected".into(),
                1 => "connected".into(),
                2 => "ready for reconnection".into(),
                other => other.to_string().into(),
            };
        }
        _ => {}
    }
    Some(LiveValue { name, read: body })
}

fn detail(why: End) -> &'static str {
    match why {
        End::Time => "The time of this view is over.",
        End::Left => "The viewer has gone.",
        End::Silent => "The meter has not answered several times in a row.",
        End::NoChannel => "No node has read the meter for a minute: it has no channel.",
        End::NotAllowed => "The login is over, or the right to read this meter is.",
        End::MeterGone => "The meter is no longer registered.",
        End::Slow => "The viewer did not take what came.",
        End::NodeGone => "This node stops or cannot go on; look again at another one.",
    }
}

#[cfg(test)]
mod tests {
    use domain::Obis;
    use domain::commands::{Read, Value};

    use super::value;

    #[test]
    fn values_are_named_and_what_was_refused_is_left_out() {
        let read = |obis: [u8; 6], attribute, value| Read {
            obis: Obis(obis),
            attribute,
            value,
            scaler: Some(-1),
            unit: Some(35),
        };
        let shown = |one: Read| value(&one).map(|one| (one.name, one.read.value));
        let volts = [1, 0, 32, 7, 0, 255];
        let switch = [0, 0, 96, 3, 10, 255];
        for (one, expect) in [
            (read(volts, 2, Value::Unsigned(2301)), Some(("U L1", "230.1"))),
            (read(volts, 2, Value::Refused(4)), None),
            (read([1, 0, 1, 8, 0, 255], 2, Value::Unsigned(1)), None),
            (read(switch, 2, Value::Boolean(false)), Some(("switch", "open"))),
            (read(switch, 3, Value::Unsigned(1)), Some(("switch control", "connected"))),
        ] {
            let expect = expect.map(|(name, value)| (name, value.into()));
            assert_eq!(shown(one.clone()), expect, "{one:?}");
        }
    }
}
