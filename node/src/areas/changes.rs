//! What changed, as server-sent events: which kinds of things, so that a page or a program asks
//! again for what it shows.
//!
//! Kinds are told, never objects or values: what somebody may see is judged when he asks.
//! Invariants: 1. streams are bounded, for a caller and for the node, and each has an end; 2. a
//! storm of changes is one event a moment, one of values every few seconds; 3. whether the login
//! still holds is asked again while a stream goes on; 4. every stream ends with a word that says
//! why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cluster::Woken;
use domain::Effect;
use domain::operators::{self, Permission};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::areas::{cluster as nodes, time};
use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::stream::{self, Events, Untold};

/// Streams of one caller at one node: a browser holds one for each page in sight.
const MOST_OF_A_CALLER: usize = 16;
/// Streams of a node.
const MOST: usize = 256;
/// How often what changed is told at the most.
const PAUSE: Duration = Duration::from_millis(250);
/// Values come all the time: they are told of this often at the most.
const PAUSE_OF_VALUES: Duration = Duration::from_secs(5);
/// How often it is looked whether other nodes lead, came or went.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked whether the login still holds.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// After so long a stream ends, and who still listens opens another.
const LENGTH: Duration = Duration::from_secs(3600);

/// What may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Who leads, which nodes are reachable, who is a member.
    Cluster,
    /// Which node has the channel of a concentrator or a meter.
    Channels,
    /// Commands were queued or came to their end.
    Commands,
    /// Concentrators, meters or their keys.
    Devices,
    /// A drill is over.
    Drills,
    /// Anything of the registry.
    Registry,
    /// Values were stored.
    Values,
}

const TOPICS: [Topic; 7] = [
    Topic::Cluster,
    Topic::Channels,
    Topic::Commands,
    Topic::Devices,
    Topic::Drills,
    Topic::Registry,
    Topic::Values,
];

/// Who listens at this node: streams by caller.
#[derive(Default)]
pub struct Listeners(Mutex<BTreeMap<String, usize>>);

impl Listeners {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One stream more, unless there are too many.
    fn enter(&self, caller: &str) -> bool {
        let mut all = self.all();
        let own = all.get(caller).copied().unwrap_or(0);
        if own >= MOST_OF_A_CALLER || all.values().sum::<usize>() >= MOST {
            return false;
        }
        all.insert(caller.to_owned(), own + 1);
        true
    }

    fn leave(&self, caller: &str) {
        let mut all = self.all();
        match all.get_mut(caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                all.remove(caller);
            }
        }
    }
}

/// A stream's place among the listeners, until it is dropped.
struct Place {
    app: App,
    caller: String,
}

impl Place {
    fn take(app: &Asked) -> Option<Place> {
        let caller = app.caller().name.clone();
        app.listeners().enter(&caller).then(|| {
            app.metrics().change_streams.inc();
            let app: &App = app;
            Place { app: app.clone(), caller }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.listeners().leave(&self.caller);
        self.app.metrics().change_streams.dec();
    }
}

/// What a stream takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ChangesParams {
    /// Which kinds, with commas between them; all when left out: cluster, channels, commands,
    /// devices, drills, registry, values.
    pub topics: Option<String>,
}

/// The first event, `open`: from here on every change is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangesOpen {
    /// The node that tells.
    pub node: String,
    /// The kinds that are told.
    pub topics: BTreeSet<Topic>,
    /// The entry of the log up to which this node's state goes.
    pub applied_index: u64,
}

/// An event `changed`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangedBody {
    /// What kinds.
    pub topics: BTreeSet<Topic>,
    /// The entry of the log up to which this node's state goes now.
    pub applied_index: u64,
    /// When it was told (RFC 3339).
    pub at: String,
}

/// The last event, `end`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangesEnd {
    /// time, slow, not_allowed or node_gone.
    pub reason: &'static str,
}

/// What changes, by its kind: an event when something did, so that a page or a program asks again.
/// Events `open`, `changed` and `end`; after each `open` ask for what you show, for what happened
/// before it is not told.
#[utoipa::path(get, path = "/api/v1/changes", tag = "cluster", params(ChangesParams), responses(
    (status = 200, body = ChangedBody, content_type = "text/event-stream"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Params(params): Params<ChangesParams>) -> Result<Response, Problem> {
    let wanted = topics(params.topics.as_deref())?;
    app.live()?;
    let place = Place::take(&app).ok_or_else(|| {
        let text = format!(
            "a caller may listen {MOST_OF_A_CALLER} times at one node, all together {MOST} times"
        );
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", text)
    })?;
    let (events, response) = stream::open().ok_or_else(Problem::fault)?;
    tokio::spawn(follow(app, place, wanted, events));
    Ok(response)
}

fn topics(asked: Option<&str>) -> Result<BTreeSet<Topic>, Problem> {
    let Some(asked) = asked.filter(|text| !text.is_empty()) else {
        return Ok(TOPICS.into_iter().collect());
    };
    let known = |name: &str| {
        let found = TOPICS.into_iter().find(|topic| word(*topic) == name);
        let known = TOPICS.map(word).join(", ");
        let text = || format!("there is no topic {name:?}; there are {known}");
        found.ok_or_else(|| Problem::bad("unknown_topic", text()))
    };
    asked.split(',').map(known).collect()
}

fn word(topic: Topic) -> &'static str {
    match topic {
        Topic::Cluster => "cluster",
        Topic::Channels => "channels",
        Topic::Commands => "commands",
        Topic::Devices => "devices",
        Topic::Drills => "drills",
        Topic::Registry => "registry",
        Topic::Values => "values",
    }
}

/// The kinds that an effect changes.
fn of_effect(effect: &Effect) -> &'static [Topic] {
    match effect {
        Effect::ConcentratorRegistered { .. }
        | Effect::MeterRegistered { .. }
        | Effect::Retired { .. } => &[Topic::Devices, Topic::Registry],
        Effect::KeysChanged { .. } => &[Topic::Devices],
        Effect::LeaseChanged { .. } | Effect::SwitchOrdered { .. } => &[Topic::Channels],
        Effect::CommandQueued { .. } | Effect::CommandSettled { .. } => &[Topic::Commands],
        Effect::ReadingsStored { .. } => &[Topic::Values],
        Effect::MembersChanged => &[Topic::Cluster],
        Effect::DrillEnded { .. } => &[Topic::Drills],
        Effect::RegistryChanged => &[Topic::Registry],
        // A live view has a stream of its own.
        Effect::LiveChanged { .. } => &[],
    }
}

/// The nodes as people see them: who leads, and each one's name, role and whether it is reachable.
#[derive(PartialEq, Eq)]
struct Sight {
    leader: Option<String>,
    nodes: Vec<(String, String, bool)>,
}

/// What waits to be told.
#[derive(Default)]
struct Pending {
    topics: BTreeSet<Topic>,
    values_told: Option<Instant>,
}

impl Pending {
    fn note(&mut self, wanted: &BTreeSet<Topic>, changed: impl IntoIterator<Item = Topic>) {
        self.topics.extend(changed.into_iter().filter(|topic| wanted.contains(topic)));
    }

    /// What is to be told now; values that were told a moment ago wait.
    fn due(&mut self, now: Instant) -> BTreeSet<Topic> {
        let mut due = std::mem::take(&mut self.topics);
        let early = self.values_told.is_some_and(|told| now - told < PAUSE_OF_VALUES);
        if early && due.remove(&Topic::Values) {
            self.topics.insert(Topic::Values);
        } else if due.contains(&Topic::Values) {
            self.values_told = Some(now);
        }
        due
    }
}

async fn follow(app: Asked, place: Place, wanted: BTreeSet<Topic>, events: Events) {
    let told = tell_all(&app, wanted, &events).await.unwrap_or_else(|problem| {
        tracing::warn!(code = %problem.code, "changes cannot be told any more");
        Some("node_gone")
    });
    if let Some(reason) = told {
        events.end("end", &ChangesEnd { reason });
    }
    drop(place);
}

/// Tells until it is over: the reason, or none when nobody listens any more.
async fn tell_all(
    app: &Asked,
    wanted: BTreeSet<Topic>,
    events: &Events,
) -> Result<Option<&'static str>, Problem> {
    let cluster = &app.live()?.cluster;
    let mut effects = cluster.effects();
    let open = ChangesOpen {
        node: app.config().node.name.clone(),
        topics: wanted.clone(),
        applied_index: cluster.status().applied_index,
    };
    if events.tell("open", &open).is_err() {
        return Ok(None);
    }
    let (begun, mut pending) = (Instant::now(), Pending::default());
    let (mut looked, mut asked, mut seen) = (begun, begun, sight(app)?);
    let mut tick = tokio::time::interval(PAUSE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = events.left() => return Ok(None),
            woken = effects.next() => match woken {
                Some(Woken::Effect { effect, .. }) => {
                    pending.note(&wanted, of_effect(&effect).iter().copied());
                }
                Some(Woken::Lagged(_)) => pending.note(&wanted, TOPICS),
                None => return Ok(Some("node_gone")),
            },
            _ = tick.tick() => {
                let now = Instant::now();
                if app.draining() {
                    return Ok(Some("node_gone"));
                }
                if now - begun >= LENGTH {
                    return Ok(Some("time"));
                }
                if now - asked >= ASK_EVERY {
                    asked = now;
                    if !may_listen(app)? {
                        return Ok(Some("not_allowed"));
                    }
                }
                if now - looked >= LOOK_EVERY {
                    looked = now;
                    let before = std::mem::replace(&mut seen, sight(app)?);
                    pending.note(&wanted, (before != seen).then_some(Topic::Cluster));
                }
                match tell(app, pending.due(now), events)? {
                    Ok(()) => {}
                    Err(Untold::Left) => return Ok(None),
                    Err(Untold::Slow) => return Ok(Some("slow")),
                }
            }
        }
    }
}

fn tell(app: &App, due: BTreeSet<Topic>, events: &Events) -> Result<Result<(), Untold>, Problem> {
    if due.is_empty() {
        return Ok(Ok(()));
    }
    let cluster = &app.live()?.cluster;
    let applied_index = cluster.status().applied_index;
    let at = time::stamp(cluster.stamp_now());
    Ok(events.tell("changed", &ChangedBody { topics: due, applied_index, at }))
}

/// What people see of the nodes now, without what moves all the time.
fn sight(app: &App) -> Result<Sight, Problem> {
    let body = nodes::body(&app.live()?.cluster.status());
    let node = |one: nodes::NodeBody| (one.name, one.role.to_string(), one.reachable);
    Ok(Sight { leader: body.leader, nodes: body.nodes.into_iter().map(node).collect() })
}

/// Whether who asked may still look at anything: his session holds, and so do his roles.
fn may_listen(app: &Asked) -> Result<bool, Problem> {
    let caller = app.caller();
    if caller.rights.is_founder() {
        return Ok(true);
    }
    let (view, now) = (app.whole_view()?, app.live()?.cluster.stamp_now());
    if let Some(session) = &caller.session
        && operators::session(&view, session, now)?.is_none()
    {
        return Ok(false);
    }
    let rights = operators::rights(&view, &caller.name, now)?;
    Ok(rights.is_some_and(|rights| rights.may_somewhere(Permission::Look)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_words_and_unknown_ones_are_named() {
        assert_eq!(topics(None).unwrap().len(), TOPICS.len());
        let two = topics(Some("values,cluster")).unwrap();
        assert_eq!(two, BTreeSet::from([Topic::Cluster, Topic::Values]));
        let problem = topics(Some("values,weather")).unwrap_err();
        assert_eq!(problem.code, "unknown_topic");
        assert!(problem.detail.contains("weather") && problem.detail.contains("registry"));
        for topic in TOPICS {
            assert_eq!(serde_json::json!(topic), word(topic));
        }
    }

    #[test]
    fn a_storm_is_one_event_and_values_wait() {
        let wanted = BTreeSet::from([Topic::Commands, Topic::Values]);
        let (mut pending, begun) = (Pending::default(), Instant::now());
        for _ in 0..1000 {
            pending.note(&wanted, [Topic::Commands, Topic::Values, Topic::Channels]);
        }
        let after = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(pending.due(after(0)), wanted);
        assert!(pending.due(after(250)).is_empty());
        pending.note(&wanted, [Topic::Values, Topic::Commands]);
        assert_eq!(pending.due(after(500)), BTreeSet::from([Topic::Commands]));
        assert!(pending.due(after(4750)).is_empty());
        assert_eq!(pending.due(after(5000)), BTreeSet::from([Topic::Values]));
        assert!(pending.due(after(5250)).is_empty());
    }

    #[test]
    fn streams_are_bounded_for_a_caller_and_for_the_node() {
        let listeners = Listeners::default();
        let taken = (0..MOST_OF_A_CALLER + 3).filter(|_| listeners.enter("ana")).count();
        assert_eq!(taken, MOST_OF_A_CALLER);
        assert!(listeners.enter("kerr"));
        listeners.leave("ana");
        assert!(listeners.enter("ana") && !listeners.enter("ana"));
        let others = (0..MOST).filter(|n| listeners.enter(&format!("p{n}"))).count();
        assert_eq!(others, MOST - MOST_OF_A_CALLER - 1);
        for _ in 0..MOST_OF_A_CALLER {
            listeners.leave("ana");
        }
        assert!(!listeners.all().contains_key("ana"));
    }
}
