//! Who may ask for which change, and about what: deny by default.
//!
//! Invariants: 1. A node speaks for itself alone; no node can claim, renew or send in another's
//! name. 2. An operator does what one of his roles permits, in a region where he has it. 3. What
//! lies where he may not even look does not exist for him: the answer is the same as for a name
//! that there is not.

use crate::apply::{Author, Change, Tx, View};
use crate::assets::{self, Attach};
use crate::commands::Order;
use crate::error::{Fault, Refusal, Stop};
use crate::operators::{FOUNDER, Permission, Rights};
use crate::regions::{ROOT, region_of};
use crate::units::{Device, NodeId, Stamp};
use crate::{
    commands, drills, keys, leases, live, members, operators, readings, regions, registry, setups,
};

/// Refuses what an author may not do.
pub(crate) fn authorize(tx: &Tx<'_>, author: &Author, change: &Change) -> Result<(), Stop> {
    let allowed = match author {
        Author::Operator(name) if name == FOUNDER => by_operator(change),
        Author::Operator(name) => return by_person(tx, name, change),
        Author::Node(node) => by_node(*node, change),
        Author::Bootstrap => by_bootstrap(change),
    };
    if allowed { Ok(()) } else { Err(not_allowed(author, change).into()) }
}

fn not_allowed(author: &Author, change: &Change) -> Refusal {
    let who = match author {
        Author::Operator(_) => "an operator".to_owned(),
        Author::Node(node) => format!("node {node}"),
        Author::Bootstrap => "the first set-up".to_owned(),
    };
    Refusal::new("not_allowed", format!("{who} may not do {}", change.name()))
}

/// What a change needs, where, and what is answered to somebody who may not look there.
struct Need {
    what: Permission,
    regions: Vec<u32>,
    missing: Option<Refusal>,
}

impl Need {
    /// Something of the whole cluster.
    fn cluster(what: Permission) -> Need {
        Need { what, regions: vec![ROOT], missing: None }
    }

    fn region(what: Permission, region: u32) -> Need {
        let missing = Some(Refusal::new("unknown_region", region.to_string()));
        Need { what, regions: vec![region], missing }
    }

    fn device(view: &dyn View, what: Permission, device: &Device) -> Result<Need, Fault> {
        let missing = Some(Refusal::new("unknown_device", device.to_string()));
        Ok(Need { what, regions: vec![region_of(view, device)?], missing })
    }

    fn or(self, code: &'static str, detail: impl Into<String>) -> Need {
        Need { missing: Some(Refusal::new(code, detail)), ..self }
    }
}

fn by_person(tx: &Tx<'_>, name: &str, change: &Change) -> Result<(), Stop> {
    let refused = || not_allowed(tx.author, change);
    let known = operators::operator(tx, name)?.filter(|known| known.ended.is_none());
    let Some(known) = known else { return Err(refused().into()) };
    if is_own(name, change) {
        return Ok(());
    }
    let rights = Rights::of(&known, tx.stamp);
    let Some(need) = need(tx, change)? else { return Err(refused().into()) };
    // Nothing that is known is concerned: whoever has the right somewhere learns that.
    let mut allowed = !need.regions.is_empty() || rights.may_somewhere(need.what);
    for region in &need.regions {
        if rights.may(tx, need.what, *region)? {
            continue;
        }
        allowed = false;
        if !rights.may(tx, Permission::Look, *region)?
            && let Some(missing) = need.missing
        {
            return Err(missing.into());
        }
        break;
    }
    if allowed { Ok(()) } else { Err(refused().into()) }
}

/// What everybody does for himself: password, second factor, language.
fn is_own(me: &str, change: &Change) -> bool {
    match change {
        Change::Operators(
            operators::Change::Password { name, .. }
            | operators::Change::Factor { name, wrapped: Some(_) }
            | operators::Change::ConfirmFactor { name, .. }
            | operators::Change::Language { name, .. },
        ) => name == me,
        _ => false,
    }
}

/// What a change needs; none when it is not for people.
fn need(tx: &Tx<'_>, change: &Change) -> Result<Option<Need>, Fault> {
    let view: &dyn View = tx;
    Ok(match change {
        Change::Assets(change) => Some(of_assets(view, change)?),
        Change::Keys(change) => of_keys(view, change)?,
        Change::Readings(readings::Change::Correct(correct)) => {
            let text = format!("ordinal {}", correct.ordinal);
            let place = assets::place(view, correct.ordinal)?;
            let device = place.map_or(Device::Meter(String::new()), |p| Device::Meter(p.serial));
            let need = Need::device(view, Permission::Correct, &device)?;
            Some(need.or("unknown_meter", text))
        }
        Change::Readings(_) => None,
        Change::Leases(leases::Change::Switch { device, .. }) => {
            Some(Need::device(view, Permission::Channels, device)?)
        }
        Change::Leases(_) => None,
        Change::Commands(change) => of_commands(view, change)?,
        Change::Members(members::Change::Gone { .. }) => None,
        Change::Members(_) => Some(Need::cluster(Permission::Cluster)),
        Change::Parameters(_) => Some(Need::cluster(Permission::Parameters)),
        Change::Drills(change) => drills::needs(change).map(Need::cluster),
        Change::Tasks(change) if change.is_of_nodes() => None,
        // A task may concern every meter.
        Change::Tasks(_) => Some(Need::cluster(Permission::Tasks)),
        Change::Regions(change) => Some(of_regions(view, change)?),
        Change::Operators(change) => of_operators(tx, tx.stamp, change)?,
        Change::Registry(change) => Some(of_registry(view, change)?),
        Change::Audit(_) => None,
        // A monitor tells of the whole cluster.
        Change::Senders(_) | Change::Shared(_) => Some(Need::cluster(Permission::Watch)),
        Change::Alarms(_) => None,
        Change::Live(live::Change::Open { meter, .. }) => {
            let device = Device::Meter(meter.clone());
            Some(Need::device(view, Permission::Read, &device)?.or("unknown_meter", meter))
        }
        Change::Live(_) | Change::Clocks(_) => None,
        Change::Setups(change) => of_setups(view, change)?,
    })
}

fn of_assets(view: &dyn View, change: &assets::Change) -> Result<Need, Fault> {
    Ok(match change {
        assets::Change::RegisterMeter { attach: Attach::Behind { concentrator }, .. } => {
            let device = Device::Concentrator(concentrator.clone());
            let need = Need::device(view, Permission::Assets, &device)?;
            need.or("unknown_concentrator", concentrator)
        }
        // Whatever is registered by itself lies in the root until somebody places it.
        assets::Change::RegisterMeter { .. } | assets::Change::RegisterConcentrator { .. } => {
            Need::cluster(Permission::Assets)
        }
        assets::Change::Retire { device } => {
            let need = Need::device(view, Permission::Assets, device)?;
            match device {
                Device::Meter(serial) => need.or("unknown_meter", serial),
                Device::Concentrator(id) => need.or("unknown_concentrator", id),
            }
        }
    })
}

/// First keys come with the device; to replace keys is another right.
fn of_keys(view: &dyn View, change: &keys::Change) -> Result<Option<Need>, Fault> {
    Ok(match change {
        keys::Change::Install { device, kind, .. } => {
            let known = keys::keys(view, device)?.iter().any(|key| key.kind == *kind);
            let what = if known { Permission::Keys } else { Permission::Assets };
            Some(Need::device(view, what, device)?)
        }
        keys::Change::RaiseCounter { device, .. } => {
            Some(Need::device(view, Permission::Keys, device)?)
        }
        keys::Change::Reserve { .. } => None,
    })
}

fn of_commands(view: &dyn View, change: &commands::Change) -> Result<Option<Need>, Fault> {
    let what = |order: &Order| match order {
        Order::Read { .. } | Order::Profile { .. } => Permission::Read,
        Order::Write { .. }
        | Order::Clock { .. }
        | Order::Shift { .. }
        | Order::Push { .. }
        | Order::Restart { .. } => Permission::Configure,
        Order::Switch { .. } => Permission::Control,
    };
    let device = |target: &str| -> Result<Device, Fault> {
        let meter = assets::meter(view, target)?.is_some();
        let name = target.to_owned();
        Ok(if meter { Device::Meter(name) } else { Device::Concentrator(name) })
    };
    Ok(match change {
        commands::Change::Queue { target, order, .. } => {
            let need = Need::device(view, what(order), &device(target)?)?;
            Some(need.or("unknown_target", target))
        }
        commands::Change::Cancel { id } => {
            let unknown = || Need::cluster(Permission::Read).or("unknown_command", id.to_string());
            Some(match commands::command(view, id)? {
                Some(command) => {
                    let device = device(&command.target)?;
                    let need = Need::device(view, what(&command.order), &device)?;
                    need.or("unknown_command", id.to_string())
                }
                None => unknown(),
            })
        }
        _ => None,
    })
}

/// A template may count for every concentrator; a rollout concerns those it names.
fn of_setups(view: &dyn View, change: &setups::Change) -> Result<Option<Need>, Fault> {
    let what = Permission::Configure;
    let many = |names: Vec<String>| -> Result<Need, Fault> {
        let mut regions = Vec::new();
        for name in names {
            regions.push(region_of(view, &Device::Concentrator(name))?);
        }
        regions.sort_unstable();
        regions.dedup();
        let missing = Some(Refusal::new("unknown_concentrator", "one of them"));
        Ok(Need { what, regions, missing })
    };
    Ok(match change {
        setups::Change::Template { .. } => Some(Need::cluster(what)),
        setups::Change::Want { concentrator, .. } | setups::Change::Push { concentrator, .. } => {
            let device = Device::Concentrator(concentrator.clone());
            let need = Need::device(view, what, &device)?;
            Some(need.or("unknown_concentrator", concentrator))
        }
        setups::Change::Roll { targets, .. } => {
            Some(many(targets.iter().take(setups::MAX_TARGETS).cloned().collect())?)
        }
        setups::Change::Steer { id, .. } => {
            let found = setups::targets(view, *id, 0, setups::MAX_TARGETS)?;
            let names = found.into_iter().map(|(_, target)| target.concentrator);
            Some(many(names.collect())?.or("unknown_rollout", id.to_string()))
        }
        setups::Change::Step { .. } => None,
    })
}

fn of_regions(view: &dyn View, change: &regions::Change) -> Result<Need, Fault> {
    Ok(match change {
        regions::Change::Add { parent, .. } => Need::region(Permission::Operators, *parent),
        regions::Change::Rename { region, .. } | regions::Change::Close { region } => {
            Need::region(Permission::Operators, *region)
        }
        regions::Change::Place { devices, region, .. } => {
            let mut regions = vec![*region];
            for device in devices.iter().take(regions::MAX_PLACED) {
                regions.push(region_of(view, device)?);
            }
            regions.sort_unstable();
            regions.dedup();
            let missing = Some(Refusal::new("unknown_device", "one of them"));
            Need { what: Permission::Assets, regions, missing }
        }
    })
}

fn of_registry(view: &dyn View, change: &registry::Change) -> Result<Need, Fault> {
    let what = if change.is_of_people() { Permission::Contracts } else { Permission::Assets };
    let missing = match change {
        registry::Change::Set { object, body, .. } if registry::head(view, object)?.is_none() => {
            let region = body.region().map(|region| region.to_string());
            region.map(|region| Refusal::new("unknown_region", region))
        }
        _ => None,
    };
    let missing = missing.unwrap_or_else(|| Refusal::new("unknown_object", change.object()));
    // Of a load the area asks for every row's own right. Of what is not known it says so.
    let regions = registry::regions_of(view, change)?;
    Ok(Need { what, regions, missing: Some(missing) })
}

fn of_operators(
    view: &dyn View,
    stamp: Stamp,
    change: &operators::Change,
) -> Result<Option<Need>, Fault> {
    use operators::Change as C;
    let name = match change {
        C::Register { home, .. } => {
            return Ok(Some(Need::region(Permission::Operators, *home)));
        }
        C::Grant { region, .. } => {
            return Ok(Some(Need::region(Permission::Operators, *region)));
        }
        C::Judge { name, grant, .. } | C::Revoke { name, grant, .. } => {
            let known = operators::operator(view, name)?;
            let found = known.and_then(|known| known.grants.into_iter().find(|g| g.id == *grant));
            let region = found.map_or(ROOT, |grant| grant.region);
            let judged = matches!(change, C::Judge { .. });
            let what = if judged { Permission::Approve } else { Permission::Operators };
            let text = format!("{name} {grant}");
            return Ok(Some(Need::region(what, region).or("unknown_grant", text)));
        }
        C::Login { .. } | C::Failed { .. } | C::Used { .. } | C::Logout { .. } => return Ok(None),
        C::Amend { name, .. }
        | C::End { name, .. }
        | C::Password { name, .. }
        | C::Factor { name, .. }
        | C::ConfirmFactor { name, .. }
        | C::Unlock { name }
        | C::Token { name, .. }
        | C::Language { name, .. } => name,
    };
    // Whoever can become somebody, by a new password or token, has to have his rights' regions.
    let known = operators::operator(view, name)?;
    let mut regions = vec![known.as_ref().map_or(ROOT, |known| known.home)];
    // What waits may count tomorrow, when the new password is still known.
    let over = |grant: &operators::Grant| (!grant.is_over(stamp)).then_some(grant.region);
    regions.extend(known.iter().flat_map(|known| known.grants.iter().filter_map(over)));
    let missing = Some(Refusal::new("unknown_operator", name.clone()));
    Ok(Some(Need { what: Permission::Operators, regions, missing }))
}

/// Everything but what only a node can know: that it lives, what it is about to send, and that
/// somebody has proved who he is.
fn by_operator(change: &Change) -> bool {
    !matches!(
        change,
        Change::Leases(leases::Change::Renew { .. } | leases::Change::Standby { .. })
            | Change::Commands(
                commands::Change::Sent { .. }
                    | commands::Change::Unsent { .. }
                    | commands::Change::Acknowledge { .. }
                    | commands::Change::Acted { .. }
                    | commands::Change::Settle { .. }
            )
            | Change::Members(members::Change::Gone { .. })
            | Change::Audit(_)
            | Change::Alarms(_)
            | Change::Clocks(_)
            | Change::Setups(setups::Change::Step { .. })
            | Change::Readings(
                readings::Change::Archive(_)
                    | readings::Change::Forget(_)
                    | readings::Change::Refill(_)
            )
            | Change::Operators(
                operators::Change::Login { .. }
                    | operators::Change::Failed { .. }
                    | operators::Change::Used { .. }
                    | operators::Change::Logout { .. }
            )
    ) && !matches!(change, Change::Tasks(change) if change.is_of_nodes())
        && !matches!(change, Change::Drills(change) if drills::needs(change).is_none())
        && !matches!(change, Change::Live(change) if live::is_of_nodes(change))
}

fn by_node(own: NodeId, change: &Change) -> bool {
    match change {
        Change::Assets(_) | Change::Regions(_) | Change::Registry(_) => false,
        Change::Keys(change) => !matches!(change, keys::Change::Install { .. }),
        Change::Readings(_) | Change::Audit(_) => true,
        Change::Leases(change) => match change {
            leases::Change::Switch { .. } => false,
            // Whether a switch was ordered, the area looks at.
            leases::Change::Claim { node, .. }
            | leases::Change::Renew { node, .. }
            | leases::Change::Release { node, .. }
            | leases::Change::Standby { node, .. } => *node == own,
        },
        Change::Commands(change) => match change {
            commands::Change::Sent { node, .. } | commands::Change::Unsent { node, .. } => {
                *node == own
            }
            commands::Change::Acknowledge { .. }
            | commands::Change::Acted { .. }
            | commands::Change::Settle { .. }
            | commands::Change::Expire { .. } => true,
            commands::Change::Queue { .. } | commands::Change::Cancel { .. } => false,
        },
        Change::Members(change) => matches!(change, members::Change::Gone { .. }),
        Change::Parameters(_) | Change::Senders(_) | Change::Shared(_) => false,
        // Whether the node holds the channel, the area looks at.
        Change::Alarms(_) => true,
        // Whether a clock waits for a step, too.
        Change::Clocks(_) => true,
        // Whether a step is due, too.
        Change::Setups(change) => matches!(change, setups::Change::Step { .. }),
        Change::Drills(change) => match change {
            drills::Change::Inject { node, .. } | drills::Change::Finish { node, .. } => {
                *node == own
            }
            _ => drills::needs(change).is_none(),
        },
        Change::Tasks(change) => change.is_of_nodes(),
        Change::Live(change) => live::is_own(change, own),
        Change::Operators(change) => matches!(
            change,
            operators::Change::Login { .. }
                | operators::Change::Failed { .. }
                | operators::Change::Used { .. }
                | operators::Change::Logout { .. }
        ),
    }
}

fn by_bootstrap(change: &Change) -> bool {
    match change {
        Change::Assets(change) => !matches!(change, assets::Change::Retire { .. }),
        Change::Keys(change) => matches!(change, keys::Change::Install { .. }),
        Change::Readings(_)
        | Change::Leases(_)
        | Change::Commands(_)
        | Change::Members(_)
        | Change::Parameters(_)
        | Change::Drills(_)
        | Change::Tasks(_)
        | Change::Regions(_)
        | Change::Registry(_)
        | Change::Audit(_)
        | Change::Operators(_)
        | Change::Senders(_)
        | Change::Alarms(_)
        | Change::Shared(_)
        | Change::Live(_)
        | Change::Clocks(_)
        | Change::Setups(_) => false,
    }
}
