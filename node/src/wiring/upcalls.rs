//! Answers the gateway's questions from the replicated state.
//!
//! Invariants: keys are unwrapped for the answer alone and travel zeroised; a refusal carries its
//! code; whatever needs the log is asked of the log, with the question's own deadline; at most
//! [`AT_A_TIME`] questions are worked on, the rest wait in the gateway's bounded queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::assets::{self, Attach, Authentication, Security};
use domain::keys::KeyKind;
use domain::{Change, Device, Done, Obis, View, keys, leases, readings};
use gateway::{
    Admission, Admit, Ask, Claim, Claimed, Denied, HolesQuery, MeterAccess, MeterCredentials,
    MeterHoles, MeterKeys, MeterQuery, RosterQuery, Upcall,
};
use tokio::sync::{Semaphore, mpsc};
use zeroize::Zeroizing;

use super::ingest::{self, denied};
use super::{NotDone, Wires};

/// Questions that are worked on at a time.
const AT_A_TIME: usize = 512;
/// Parts of readings that wait for the proposal before theirs.
const PARTS_WAITING: usize = 512;
/// A meter behind a concentrator is spoken to as management client, logical device 1.
const BEHIND_SAPS: (u16, u16) = (1, 1);

/// Answers until the gateway is gone.
pub async fn run(wires: Wires, mut questions: mpsc::Receiver<Upcall>) {
    let (parts, gathered) = mpsc::channel(PARTS_WAITING);
    let gatherer = tokio::spawn(ingest::run(wires.clone(), gathered));
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    while let Some(question) = questions.recv().await {
        if let Upcall::Ingest(ask) = question {
            if parts.send(ask).await.is_err() {
                break;
            }
            continue;
        }
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let wires = wires.clone();
        tokio::spawn(async move {
            answer(&wires, question).await;
            drop(place);
        });
    }
    drop(parts);
    if let Err(error) = gatherer.await {
        tracing::error!(%error, "the gathering of readings ended badly");
    }
}

async fn answer(wires: &Wires, question: Upcall) {
    match question {
        Upcall::Admit(ask) => {
            let answer = admit(wires, &ask.request, left(ask.deadline)).await;
            ask.answer(answer);
        }
        Upcall::Meter(ask) => {
            let answer = meter(wires, &ask.request, left(ask.deadline)).await;
            ask.answer(answer);
        }
        Upcall::Roster(ask) => {
            let answer = roster(wires, &ask.request);
            ask.answer(answer);
        }
        Upcall::Reserve(ask) => {
            let change = keys::Change::Reserve {
                device: ask.request.device.clone(),
                count: ask.request.count,
            };
            let answer = log(wires, Change::Keys(change), ask.deadline, |done| match done {
                Done::Counters { first, .. } => Some(first),
                _ => None,
            });
            let answer = answer.await;
            ask.answer(answer);
        }
        Upcall::RaiseCounter(ask) => {
            let change = keys::Change::RaiseCounter {
                device: ask.request.device.clone(),
                at_least: ask.request.at_least,
            };
            noted(wires, ask, Change::Keys(change)).await;
        }
        Upcall::Claim(ask) => {
            let answer = claim(wires, &ask.request, left(ask.deadline)).await;
            ask.answer(answer);
        }
        Upcall::Release(ask) => {
            let device = ask.request.device.clone();
            let change =
                leases::Change::Release { device, node: wires.node, epoch: ask.request.epoch };
            noted(wires, ask, Change::Leases(change)).await;
        }
        Upcall::Standby(ask) => {
            let device = ask.request.device.clone();
            let change = leases::Change::Standby { device, node: wires.node, up: ask.request.up };
            noted(wires, ask, Change::Leases(change)).await;
        }
        Upcall::Holes(ask) => {
            let answer = holes(wires, ask.request.clone()).await;
            ask.answer(answer);
        }
        Upcall::Refill(ask) => {
            let change = readings::Change::Refill(ask.request.clone());
            let answer = log(wires, Change::Readings(change), ask.deadline, one_part).await;
            ask.answer(answer);
        }
        Upcall::TaskDevices(ask) => {
            let answer = super::tasks::devices(wires, ask.request.clone()).await;
            ask.answer(answer);
        }
        Upcall::TaskWork(ask) => {
            let patience = left(ask.deadline);
            let answer = super::tasks::work(wires, ask.request.clone(), patience).await;
            ask.answer(answer);
        }
        Upcall::TaskReport(ask) => {
            let change = domain::tasks::Change::Report(Box::new(ask.request.clone()));
            let answer = log(wires, Change::Tasks(change), ask.deadline, one_part).await;
            ask.answer(answer);
        }
        Upcall::Report(ask) => {
            let change = domain::alarms::Change::Report(ask.request.clone());
            noted(wires, ask, Change::Alarms(change)).await;
        }
        // Parts are gathered before this point.
        Upcall::Ingest(ask) => ask.answer(Err(Denied::Unavailable)),
    }
}

/// Rows of an entry that has one part.
fn one_part(done: Done) -> Option<u32> {
    match done {
        Done::Ingested(parts) => parts.into_iter().next()?.ok(),
        _ => None,
    }
}

/// Asks the log and answers with nothing but that it is done.
async fn noted<Q>(wires: &Wires, ask: Ask<Q, ()>, change: Change) {
    let answer = log(wires, change, ask.deadline, |_| Some(())).await;
    ask.answer(answer);
}

async fn log<A>(
    wires: &Wires,
    change: Change,
    deadline: Instant,
    take: impl Fn(Done) -> Option<A>,
) -> Result<A, Denied> {
    match wires.propose(change, left(deadline)).await {
        Ok(done) => take(done).ok_or(Denied::Unavailable),
        Err(NotDone::Refused(refusal)) => Err(denied(refusal)),
        Err(NotDone::Unavailable) => Err(Denied::Unavailable),
    }
}

async fn claim(wires: &Wires, claim: &Claim, patience: Duration) -> Result<Claimed, Denied> {
    // Dying leases are not extended by new ones: without a licence there is no quorum.
    let change = leases::Change::Claim {
        device: claim.device.clone(),
        node: wires.node,
        channel: claim.role,
        reason: claim.reason,
    };
    match wires.propose(Change::Leases(change), patience).await {
        Ok(Done::Lease { epoch }) => Ok(Claimed::Granted { epoch }),
        Ok(_) => Err(Denied::Unavailable),
        Err(NotDone::Refused(refusal)) if refusal.code == "held" => {
            // The detail is the owner's number alone.
            Ok(Claimed::Held { owner: refusal.detail.parse().ok().map(domain::NodeId) })
        }
        // Another node was quicker, or the time was over: the channel stays the standby it is.
        Err(NotDone::Refused(refusal)) if ["not_due", "not_ordered"].contains(&&*refusal.code) => {
            Ok(Claimed::Held { owner: None })
        }
        Err(NotDone::Refused(refusal)) => Err(denied(refusal)),
        Err(NotDone::Unavailable) => Err(Denied::Unavailable),
    }
}

/// Counters and sequences decide about replays here, so the view must hold all that is committed.
async fn admit(wires: &Wires, admit: &Admit, patience: Duration) -> Result<Admission, Denied> {
    let view = wires.cluster.linearizable(patience).await.map_err(|_| Denied::Unavailable)?;
    let device =
        assets::by_system_title(&view, &admit.system_title).map_err(|f| fault(wires, &f))?;
    let Some(Device::Concentrator(concentrator)) = device else {
        return Err(Denied::refused("unknown_concentrator"));
    };
    let device = Device::Concentrator(concentrator.clone());
    if !assets::is_active(&view, &device).map_err(|f| fault(wires, &f))? {
        return Err(Denied::refused("retired"));
    }
    let guek = fixed(unwrapped(wires, &view, &device, KeyKind::Guek)?)?;
    let gak = fixed(unwrapped(wires, &view, &device, KeyKind::Gak)?)?;
    let (Some(guek), Some(gak)) = (guek, gak) else {
        return Err(Denied::refused("no_keys"));
    };
    let mark = readings::mark(&view, &concentrator).map_err(|f| fault(wires, &f))?;
    Ok(Admission {
        concentrator,
        guek,
        gak,
        client_title: wires.client_title,
        last_counter: mark.as_ref().map_or(0, |mark| mark.counter),
        last_sequence: mark.as_ref().map_or(0, |mark| mark.sequence),
    })
}

async fn meter(
    wires: &Wires,
    query: &MeterQuery,
    patience: Duration,
) -> Result<MeterAccess, Denied> {
    let local = wires.cluster.view();
    match meter_in(wires, &local, query) {
        // Registered a moment ago, perhaps, and not yet applied here.
        Err(Denied::Refused { code, .. }) if code == "unknown_meter" || code == "no_keys" => {}
        known => return known,
    }
    let view = wires.cluster.linearizable(patience).await.map_err(|_| Denied::Unavailable)?;
    meter_in(wires, &view, query)
}

fn meter_in(wires: &Wires, view: &dyn View, query: &MeterQuery) -> Result<MeterAccess, Denied> {
    let found = assets::meter(view, &query.serial).map_err(|f| fault(wires, &f))?;
    let meter = found
        .filter(|meter| meter.retired.is_none())
        .ok_or_else(|| Denied::refused("unknown_meter"))?;
    let device = Device::Meter(query.serial.clone());
    let keys = device_keys(wires, view, &device)?;
    let secret = unwrapped(wires, view, &device, KeyKind::LlsSecret)?;
    let series = readings::series(view, meter.ordinal).map_err(|f| fault(wires, &f))?;
    let watermark_s = crate::areas::readings::choose(&series, Obis::ACTIVE_IMPORT, None)
        .filter(|(minutes, _)| *minutes > 0)
        .map(|(_, series)| series.last_s);
    let way = way(&meter.attach, query, keys.is_some())?;
    let credentials = credentials(wires, view, &device)?;
    let lacks = match way.authentication {
        Authentication::Hls5 => keys.is_none(),
        Authentication::Hls7 => credentials.signing.is_none(),
        Authentication::Hls3 | Authentication::Hls4 | Authentication::Hls6 => secret.is_none(),
        Authentication::None | Authentication::Lls => false,
    };
    if lacks {
        return Err(Denied::refused("no_keys"));
    }
    let (model, known) = wires.app.models().or_generic(&meter.model);
    if !known && !meter.model.is_empty() {
        // Another node may know it. The generic model reads what nearly every meter has.
        tracing::debug!(serial = query.serial, model = meter.model, "no such meter model here");
    }
    Ok(MeterAccess {
        ordinal: meter.ordinal,
        address: way.address,
        client_sap: way.client_sap,
        server_sap: way.server_sap,
        authentication: way.authentication,
        security: way.security,
        secret,
        keys,
        credentials,
        server_title: way.server_title,
        // Counters come out of the log in blocks, so a title that nodes share repeats no nonce.
        client_title: way.security.client_title.unwrap_or(wires.client_title),
        model,
        registers: Vec::new(),
        profile: None,
        watermark_s,
    })
}

/// How a meter is reached and talked to, keys apart.
struct Way {
    address: Option<String>,
    client_sap: u16,
    server_sap: u16,
    authentication: Authentication,
    security: Security,
    server_title: Option<[u8; 8]>,
}

fn way(attach: &Attach, query: &MeterQuery, is_keyed: bool) -> Result<Way, Denied> {
    match attach {
        Attach::Behind { concentrator } if query.concentrator.as_ref() == Some(concentrator) => {
            Ok(Way {
                address: None,
                client_sap: BEHIND_SAPS.0,
                server_sap: BEHIND_SAPS.1,
                authentication: if is_keyed { Authentication::Hls5 } else { Authentication::None },
                security: Security::default(),
                server_title: None,
            })
        }
        Attach::Direct {
            address,
            client_sap,
            server_sap,
            authentication,
            security,
            system_title,
        } if query.concentrator.is_none() => Ok(Way {
            address: Some(address.clone()),
            client_sap: *client_sap,
            server_sap: *server_sap,
            authentication: *authentication,
            security: *security,
            server_title: *system_title,
        }),
        _ => Err(Denied::refused("not_behind")),
    }
}

fn credentials(
    wires: &Wires,
    view: &dyn View,
    device: &Device,
) -> Result<MeterCredentials, Denied> {
    let key = |kind| unwrapped(wires, view, device, kind);
    Ok(MeterCredentials {
        kek: key(KeyKind::Kek)?,
        signing: key(KeyKind::Signing)?,
        peer_signing: key(KeyKind::PeerSigning)?,
        agreement: key(KeyKind::Agreement)?,
        peer_agreement: key(KeyKind::PeerAgreement)?,
    })
}

fn roster(wires: &Wires, query: &RosterQuery) -> Result<HashMap<String, u32>, Denied> {
    const CHUNK: usize = 1024;
    let view = wires.cluster.view();
    let mut ordinals = HashMap::new();
    let mut behind: Option<String> = None;
    loop {
        let chunk = assets::meters_of(&view, &query.concentrator, behind.as_deref(), CHUNK)
            .map_err(|f| fault(wires, &f))?;
        behind = chunk.last().map(|meter| meter.serial.clone());
        let full = chunk.len() == CHUNK;
        ordinals.extend(chunk.into_iter().map(|meter| (meter.serial, meter.ordinal)));
        if !full {
            return Ok(ordinals);
        }
    }
}

/// The gaps of a device's meters, read beside the tasks of the runtime: a concentrator has a
/// thousand meters.
async fn holes(wires: &Wires, query: HolesQuery) -> Result<Vec<MeterHoles>, Denied> {
    let reader = wires.clone();
    match tokio::task::spawn_blocking(move || holes_of(&reader, &query)).await {
        Ok(found) => found.map_err(|no| fault(wires, &no)),
        Err(_) => Err(Denied::Unavailable),
    }
}

/// The gaps within the reach of the refill.
fn holes_of(wires: &Wires, query: &HolesQuery) -> Result<Vec<MeterHoles>, domain::Fault> {
    let (view, now) = (wires.cluster.view(), wires.cluster.stamp_now());
    let Some(window) = readings::refill_window(&view, now)? else { return Ok(Vec::new()) };
    let HolesQuery { device, reach_s, behind, meters } = query;
    let from_s = reach_s.map_or(window.0, |reach_s| window.0.max(now.seconds() - reach_s));
    let mut found: Vec<MeterHoles> = Vec::new();
    for hole in readings::holes(&view, device, (from_s, window.1), behind.as_deref(), *meters)? {
        if let Some(last) = found.last_mut().filter(|last| last.ordinal == hole.ordinal) {
            last.holes.push(hole);
            continue;
        }
        let model = assets::meter(&view, &hole.serial)?.map(|meter| meter.model);
        let (model, _) = wires.app.models().or_generic(&model.unwrap_or_default());
        found.push(MeterHoles {
            serial: hole.serial.clone(),
            ordinal: hole.ordinal,
            profile: model.load_profile.unwrap_or(Obis::LOAD_PROFILE),
            holes: vec![hole],
        });
    }
    Ok(found)
}

fn device_keys(
    wires: &Wires,
    view: &dyn View,
    device: &Device,
) -> Result<Option<MeterKeys>, Denied> {
    let guek = unwrapped(wires, view, device, KeyKind::Guek)?;
    let gak = unwrapped(wires, view, device, KeyKind::Gak)?;
    Ok(guek.zip(gak).map(|(guek, gak)| MeterKeys { guek, gak }))
}

fn unwrapped(
    wires: &Wires,
    view: &dyn View,
    device: &Device,
    kind: KeyKind,
) -> Result<Option<Zeroizing<Vec<u8>>>, Denied> {
    let key = keys::key(view, device, kind).map_err(|f| fault(wires, &f))?;
    let Some(key) = key else { return Ok(None) };
    match wires.app.master().unwrap(&key.wrapped) {
        Ok(plain) => Ok(Some(plain)),
        Err(error) => {
            tracing::error!(%device, %error, "is the master key that of the other nodes?");
            Err(Denied::refused("key_does_not_unwrap"))
        }
    }
}

fn fixed(key: Option<Zeroizing<Vec<u8>>>) -> Result<Option<Zeroizing<[u8; 16]>>, Denied> {
    let Some(key) = key else { return Ok(None) };
    let octets = key.as_slice().try_into().map_err(|_| Denied::refused("bad_key_length"))?;
    Ok(Some(Zeroizing::new(octets)))
}

fn fault(wires: &Wires, fault: &domain::Fault) -> Denied {
    wires.fault("upcall", fault);
    Denied::Unavailable
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
