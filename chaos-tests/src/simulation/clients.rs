//! What is asked of a town while it is hurt: by people at any node, and by nodes for themselves.
//!
//! A client that gets no answer asks again under the same id, at another node. A node's agent
//! keeps what it was granted even when it is long over: that is what fencing is for.
//!
//! Invariant: every question stands in the history before it is asked, its answer before the next.

use std::time::Duration;

use cluster::rt::world::sleep;
use domain::{
    Author, Change, CommandId, Done, NodeId, Obis, Outcome, Stamp, View,
    commands::{self, Attribute, Order},
    keys::{self, KeyKind, WrapId},
    leases, operators, readings,
};

use super::{
    executor::{spawn_on, throw},
    history::{What, id_of},
    machine::{EPOCH_US, on},
    town::{DEVICES, Town, device, name},
};

/// How long a client goes on asking.
const PATIENCE: Duration = Duration::from_secs(4);

/// A+ of the meter.
pub const COLUMN: [u8; 6] = [1, 0, 1, 8, 0, 255];

/// Starts so many clients, and an agent at each node.
pub fn begin(town: &Town, clients: u64) {
    for _ in 0..clients {
        let town = town.clone();
        spawn_on(0, async move {
            while !town.is_over() {
                sleep(Duration::from_millis(throw(250))).await;
                client(&town).await;
            }
        });
    }
    // The guest's agent, too: it asks in vain until its node is a member.
    for machine in town.machines().iter().chain([town.guest()]) {
        let agent = Agent { town: town.clone(), node: machine.node, held: Vec::new() };
        spawn_on(0, agent.work());
    }
}

fn admin() -> Author {
    Author::Operator(operators::FOUNDER.to_owned())
}

/// Octets of a value in a register.
fn octets(value: u64) -> Vec<u8> {
    [value.to_be_bytes(), value.to_be_bytes()].concat()
}

/// The value that stands in a register of a view.
pub fn register(view: &dyn View, number: u64) -> Option<u64> {
    let key = keys::key(view, &device(number), KeyKind::Guek).ok()??;
    key.wrapped.first_chunk().map(|octets| u64::from_be_bytes(*octets))
}

/// End of the quarter of an hour of a number, seconds since the Unix epoch.
fn end_of(number: u64) -> i64 {
    let last = i64::try_from(EPOCH_US / 1_000_000 / 900 * 900).unwrap_or(0);
    last - 86_400 - i64::try_from(number % 2000).unwrap_or(0) * 900
}

/// The value that was brought for a quarter of an hour.
pub fn value_of(end_s: i64) -> i64 {
    end_s / 900
}

async fn client(town: &Town) {
    let number = town.number();
    let target = throw(DEVICES);
    match throw(10) {
        0..=2 => {
            let change = keys::Change::Install {
                device: device(target),
                kind: KeyKind::Guek,
                wrapped: octets(number),
                wrap: WrapId([1; 8]),
            };
            let what = What::Write { register: target, value: number };
            ask(town, number, what, admin(), Change::Keys(change), None).await;
        }
        3..=5 => read(town, number, target).await,
        6 | 7 => {
            let count = u32::try_from(1 + throw(50)).unwrap_or(1);
            let change = keys::Change::Reserve { device: device(target), count };
            let what = What::Reserve { device: target, count };
            // A node of the cluster, whichever answers.
            let author = Author::Node(NodeId(1));
            ask(town, number, what, author, Change::Keys(change), None).await;
        }
        8 => {
            let attribute = Attribute { class: 8, obis: Obis([0, 0, 1, 0, 0, 255]), attribute: 2 };
            let change = commands::Change::Queue {
                id: id_of(number),
                target: name(target),
                order: Order::Read { attributes: vec![attribute] },
                expires: Stamp(EPOCH_US + 3_600_000_000),
            };
            let what = What::Queue { command: number, device: target };
            ask(town, number, what, admin(), Change::Commands(change), None).await;
        }
        _ => {
            let end_s = end_of(number);
            let what = What::Ingest { end_s };
            ask(town, number, what, admin(), ingest(end_s), None).await;
        }
    }
}

fn ingest(end_s: i64) -> Change {
    let register = readings::Register { obis: Obis(COLUMN), scaler: 0, unit: 30 };
    let mut batch = readings::BatchBuilder::new(15, vec![register]);
    // One row of a fresh batch always fits.
    let _fits = batch.push(0, end_s, 0, &[Some(value_of(end_s))]);
    let part = readings::Part { lease: None, mark: None, batches: vec![batch.finish()] };
    Change::Readings(readings::Change::Ingest(readings::Ingest { parts: vec![part] }))
}

async fn ask(
    town: &Town,
    number: u64,
    what: What,
    author: Author,
    change: Change,
    at: Option<u64>,
) -> Option<Outcome> {
    let place = town.history().ask(id_of(number), what);
    let told = town.submit(id_of(number), author, change, PATIENCE, at).await?;
    town.history().told(place, told.clone());
    Some(told.1)
}

async fn read(town: &Town, number: u64, target: u64) {
    let place = town.history().ask(id_of(number), What::Read { register: target });
    for _ in 0..3 {
        let machine = town.any();
        let Some(node) = machine.cluster() else { continue };
        let deadline = Duration::from_millis(50 + throw(1500));
        let answer = on(machine.node, async move {
            let view = node.linearizable(deadline).await.ok()?;
            Some(register(&view, target))
        });
        if let Some(Some(value)) = answer.await {
            return town.history().read(place, value);
        }
    }
}

/// What a node does for itself.
struct Agent {
    town: Town,
    node: u64,
    /// Grants that it had at some time: device and epoch.
    held: Vec<(u64, u64)>,
}

impl Agent {
    async fn work(mut self) {
        while !self.town.is_over() {
            sleep(Duration::from_millis(20 + throw(300))).await;
            let target = throw(DEVICES);
            match throw(10) {
                0..=3 => self.renew().await,
                4 | 5 => self.claim(target).await,
                6 => self.release().await,
                _ => self.send().await,
            }
        }
    }

    async fn ask(&self, number: u64, what: What, change: Change) -> Option<Outcome> {
        let author = Author::Node(NodeId(self.node));
        ask(&self.town, number, what, author, change, Some(self.node)).await
    }

    async fn renew(&self) {
        let ttl_ms = u32::try_from(300 + throw(3000)).unwrap_or(300);
        let node = NodeId(self.node);
        let change = Change::Leases(leases::Change::Renew { node, ttl_ms });
        let what = What::Renew { node: self.node };
        self.ask(self.town.number(), what, change).await;
    }

    async fn claim(&mut self, target: u64) {
        let reason = match throw(3) {
            0 => leases::Reason::Login,
            1 => leases::Reason::OwnerLost,
            _ => leases::Reason::Promoted,
        };
        let change = leases::Change::Claim {
            device: device(target),
            node: NodeId(self.node),
            channel: leases::Role::Main,
            reason,
        };
        let what = What::Claim { device: target, node: self.node };
        let told = self.ask(self.town.number(), what, Change::Leases(change)).await;
        if let Some(Ok(Done::Lease { epoch })) = told {
            self.held.push((target, epoch));
        }
    }

    /// One of its grants, mostly the newest.
    fn grant(&self) -> Option<(u64, u64)> {
        let back = if throw(3) == 0 { throw(self.held.len() as u64) } else { 0 };
        self.held.iter().rev().nth(usize::try_from(back).ok()?).copied()
    }

    async fn release(&self) {
        let Some((target, epoch)) = self.grant() else { return };
        let node = NodeId(self.node);
        let change = leases::Change::Release { device: device(target), node, epoch };
        let what = What::Release { device: target, node: self.node, epoch };
        self.ask(self.town.number(), what, Change::Leases(change)).await;
    }

    /// A command that waits, by what this node has applied. The handle of a node must not be kept
    /// over a wait: its process may have ended since.
    fn waiting(&self, target: u64) -> Option<CommandId> {
        let node = self.town.machine(self.node)?.cluster()?;
        let waiting = commands::outbox(&node.view(), &device(target), 64).ok()?;
        let lot = usize::try_from(throw(waiting.len() as u64)).ok()?;
        waiting.get(lot).map(|command| command.id)
    }

    async fn send(&self) {
        let Some((target, epoch)) = self.grant() else { return };
        let Some(id) = self.waiting(target) else { return };
        let number = id.0.last_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
        let change = commands::Change::Sent { id, node: NodeId(self.node), epoch };
        let what = What::Sent { command: number, device: target, node: self.node, epoch };
        self.ask(self.town.number(), what, Change::Commands(change)).await;
    }
}
