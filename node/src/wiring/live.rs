//! Reads for live views: of every meter whose channel this node owns, round after round; and ends
//! views of this node that nobody looks at any more.
//!
//! Not here: what is read (`gateway`), and who sees it (`areas::live`). Invariants: 1. one round of
//! a view at a time, and between two rounds at least its pause and as long as the round took; 2.
//! nothing is read of a view that is over, or whose viewer's node is gone; 3. a round that the
//! channel lost is nobody's silence: the next owner of the channel goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::Woken;
use domain::commands::{Attribute, Failure, Read, Value};
use domain::live::{self, Change, End, Session};
use domain::{Device, Effect, Fault, ProposalId, Stamp, assets, leases};
use gateway::live_attributes;

use super::{NotDone, Wires};

/// Effects may be lost: the state is looked at this often in any case.
const RESCAN: Duration = Duration::from_secs(1);
/// The longest that one round may take.
const LONGEST_ROUND: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(5);
/// A view of this node that nobody looks at so long after it was opened is over.
const GRACE_MS: u64 = 10_000;

/// Views that are read here.
type UnderWay = Arc<Mutex<BTreeSet<ProposalId>>>;

/// Reads until the stop; a round that is under way then has its own deadline.
pub async fn run(wires: Wires) {
    let mut effects = wires.cluster.effects();
    let mut rescan = tokio::time::interval(RESCAN);
    rescan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let under_way = UnderWay::default();
    loop {
        tokio::select! {
            () = wires.stopped() => return,
            woken = effects.next() => match woken {
                Some(Woken::Effect {
                    effect: Effect::LiveChanged { .. } | Effect::LeaseChanged { .. }, ..
                } | Woken::Lagged(_)) => {}
                Some(Woken::Effect { .. }) => continue,
                None => return,
            },
            _ = rescan.tick() => {}
        }
        if let Err(fault) = look(&wires, &under_way) {
            wires.fault("live", &fault);
        }
    }
}

/// Begins what is to be read here, and ends what nobody looks at.
fn look(wires: &Wires, under_way: &UnderWay) -> Result<(), Fault> {
    let (view, now) = (wires.cluster.view(), wires.cluster.stamp_now());
    let mut open = 0;
    for session in live::all(&view)?.into_iter().filter(|session| session.is_open(now)) {
        open += 1;
        let own = session.node == wires.node;
        let left = own && !wires.app.viewers().has(&session.id);
        if left && now >= session.opened.plus_ms(GRACE_MS) {
            close(wires, session.id, End::Left);
        } else if turn(wires, &session, now)?.is_some() && begin(under_way, session.id) {
            let (wires, under_way) = (wires.clone(), Arc::clone(under_way));
            tokio::spawn(async move {
                if let Err(fault) = rounds(&wires, session.id).await {
                    wires.fault("live", &fault);
                }
                under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.id);
            });
        }
    }
    wires.app.metrics().live_views.set(open);
    Ok(())
}

/// False: it is read already.
fn begin(under_way: &UnderWay, id: ProposalId) -> bool {
    under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
}

/// The device through whose channel a view's meter is read, and the epoch, if that is ours to do.
fn turn(wires: &Wires, session: &Session, now: Stamp) -> Result<Option<(Device, u64)>, Fault> {
    let view = wires.cluster.view();
    let Some(device) = live::reached_by(&view, &session.meter)? else { return Ok(None) };
    let lease = leases::holder(&view, &device, now)?;
    let mine = lease.filter(|lease| lease.owner == Some(wires.node) && wires.licence.holds());
    Ok(mine.map(|lease| (device, lease.epoch)))
}

/// Reads a view's meter until the view is over or is no longer ours.
async fn rounds(wires: &Wires, id: ProposalId) -> Result<(), Fault> {
    let mut attributes: Option<Vec<Attribute>> = None;
    loop {
        let (view, now) = (wires.cluster.view(), wires.cluster.stamp_now());
        let session = live::session(&view, &id)?.filter(|session| session.is_open(now));
        let Some(session) = session else { return Ok(()) };
        let Some((device, epoch)) = turn(wires, &session, now)? else { return Ok(()) };
        if !leases::is_alive(&view, session.node, now)? {
            close(wires, id, End::NodeGone);
            return Ok(());
        }
        let asked = attributes.get_or_insert(shown(wires, &session.meter)?);
        let begun = Instant::now();
        let deadline = begun + LONGEST_ROUND;
        let gateway = &wires.gateway;
        let result = gateway.look(&device, &session.meter, asked.clone(), epoch, deadline).await;
        let took = begun.elapsed();
        let label = result.as_ref().map_or_else(Failure::code, |_| "ok");
        wires.app.metrics().live_rounds.with_label_values(&[label]).inc();
        if !matches!(result, Err(Failure::NoChannel | Failure::ChannelLost)) {
            if let Ok(reads) = &result {
                leave_out_refused(asked, reads);
            }
            let took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
            let change = Change::Report { id, node: wires.node, epoch, took_ms, result };
            let told = wires.propose(domain::Change::Live(change), PATIENCE).await;
            if let Err(NotDone::Refused(refusal)) = told {
                tracing::debug!(view = %id, %refusal, "a round of a live view is not taken");
                return Ok(());
            }
        }
        let pause = Duration::from_secs(u64::from(session.pause_s));
        if !wires.pause(pause.max(took)).await {
            return Ok(());
        }
    }
}

/// What is read of a meter, by its model.
fn shown(wires: &Wires, meter: &str) -> Result<Vec<Attribute>, Fault> {
    let known = assets::meter(&wires.cluster.view(), meter)?;
    let model = known.map_or_else(String::new, |meter| meter.model);
    Ok(live_attributes(&wires.app.models().or_generic(&model).0))
}

/// What a meter refuses it refuses again: the next round leaves it out, unless it refused all.
fn leave_out_refused(asked: &mut Vec<Attribute>, reads: &[Read]) {
    let refused = |one: &Attribute| {
        reads.iter().any(|read| {
            (read.obis, read.attribute) == (one.obis, one.attribute)
                && matches!(read.value, Value::Refused(_))
        })
    };
    if !asked.iter().all(refused) {
        asked.retain(|one| !refused(one));
    }
}

/// Says that a view is over. What cannot be told is said again by the next look, or by its time.
fn close(wires: &Wires, id: ProposalId, why: End) {
    let wires = wires.clone();
    tokio::spawn(async move {
        let change = Change::Close { id, node: wires.node, why };
        if let Err(NotDone::Refused(refusal)) =
            wires.propose(domain::Change::Live(change), PATIENCE).await
        {
            tracing::debug!(view = %id, %refusal, "a live view was over already");
        }
    });
}

#[cfg(test)]
mod tests {
    use domain::Obis;
    use domain::commands::{Attribute, Read, Value};

    use super::leave_out_refused;

    #[test]
    fn what_was_refused_is_not_asked_for_again() {
        let obis = |c: u8| Obis([1, 0, c, 7, 0, 255]);
        let one = |c: u8| Attribute { class: 3, obis: obis(c), attribute: 2 };
        let read = |c: u8, value: Value| Read {
            obis: obis(c),
            attribute: 2,
            value,
            scaler: None,
            unit: None,
        };
        let mut asked = vec![one(32), one(52), one(72)];
        let reads = [
            read(32, Value::Unsigned(1)),
            read(52, Value::Refused(4)),
            read(72, Value::Refused(4)),
        ];
        leave_out_refused(&mut asked, &reads);
        assert_eq!(asked, [one(32)]);
        leave_out_refused(&mut asked, &[read(32, Value::Refused(3))]);
        assert_eq!(asked, [one(32)], "a meter that refuses all may have its reasons");
    }
}
