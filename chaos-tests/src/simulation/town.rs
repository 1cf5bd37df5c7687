//! A simulated cluster with its machines and its network, and the set-up that every story begins
//! with.
//!
//! Not here: faults (`faults`), clients (`clients`), judging (`checks`).

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::{
    Cluster, Config, Role,
    rt::world::sleep,
    transport::simulated::{Net, Weather},
};
use domain::{Author, Change, Device, Outcome, ProposalId, assets, operators};

use super::{
    checks::Broken,
    executor::{tell, throw, time},
    history::{History, id_of},
    machine::{Machine, QUICK_US, on, peer},
};

/// Concentrators of a town; each is a register, has counters, a channel and commands.
pub const DEVICES: u64 = 3;

/// The town. Clones share it.
#[derive(Clone)]
pub struct Town {
    inner: Arc<Inner>,
}

struct Inner {
    /// The founders, and behind them the guest.
    machines: Vec<Arc<Machine>>,
    members: Mutex<Members>,
    net: Net,
    history: History,
    numbers: AtomicU64,
    over: AtomicBool,
}

/// Who is of the cluster.
#[derive(Default)]
struct Members {
    of: BTreeSet<u64>,
    moving: bool,
    broken: Option<Broken>,
}

/// Name of a concentrator.
pub fn name(number: u64) -> String {
    format!("HFDSIM{number:010}")
}

/// A concentrator.
pub fn device(number: u64) -> Device {
    Device::Concentrator(name(number))
}

fn config(node: u64, founders: u64) -> Config {
    let mut config = Config::for_test(node, (1..=founders).map(peer).collect());
    if node > founders {
        config.peers.push(peer(node));
        config.name = peer(node).name;
    }
    config.snapshot_entries = 40 + throw(200);
    config.keep_entries = throw(60);
    config
}

impl Town {
    /// A town of so many machines and a guest, none of which runs.
    pub fn new(dir: &Path, nodes: u64) -> Self {
        let net = Net::default();
        let machine = |node| Arc::new(Machine::new(node, config(node, nodes), dir, &net));
        let machines = (1..=nodes + 1).map(machine).collect();
        let members = Mutex::new(Members { of: (1..=nodes).collect(), ..Members::default() });
        let history = History::default();
        let inner = Inner {
            machines,
            members,
            net: net.clone(),
            history,
            numbers: AtomicU64::new(1),
            over: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The machines of the cluster's members.
    pub fn machines(&self) -> Vec<Arc<Machine>> {
        let members = self.members();
        let of = |machine: &&Arc<Machine>| members.of.contains(&machine.node);
        self.inner.machines.iter().filter(of).cloned().collect()
    }

    /// The machine that may join.
    pub fn guest(&self) -> &Arc<Machine> {
        // There is always a guest behind the founders.
        &self.inner.machines[self.inner.machines.len() - 1]
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.inner.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine is of the cluster from now on.
    pub fn admit(&self, node: u64) {
        self.members().of.insert(node);
    }

    /// A machine is of the cluster no more.
    pub fn dismiss(&self, node: u64) {
        self.members().of.remove(&node);
    }

    /// Whether a machine is of the cluster.
    pub fn is_member(&self, node: u64) -> bool {
        self.members().of.contains(&node)
    }

    /// A change of the members is under way, which the story waits for.
    pub fn begin_move(&self) {
        self.members().moving = true;
    }

    /// It is over, well or not.
    pub fn end_move(&self, broken: Option<Broken>) {
        let mut members = self.members();
        members.moving = false;
        members.broken = broken;
    }

    /// Whether a change of the members is under way.
    pub fn is_moving(&self) -> bool {
        self.members().moving
    }

    /// What went wrong with a change of the members.
    pub fn move_broken(&self) -> Option<Broken> {
        self.members().broken.clone()
    }

    /// One machine by its node's number.
    pub fn machine(&self, node: u64) -> Option<&Arc<Machine>> {
        self.inner.machines.iter().find(|machine| machine.node == node)
    }

    /// Some machine.
    pub fn any(&self) -> Arc<Machine> {
        let machines = self.machines();
        let at = usize::try_from(throw(machines.len() as u64)).unwrap_or(0);
        machines[at.min(machines.len() - 1)].clone()
    }

    /// The machine whose node believes that it leads, if there is one.
    pub fn leader(&self) -> Option<Arc<Machine>> {
        let leads = |node: &Cluster| node.status().role == Role::Leader;
        let mut machines = self.machines().into_iter();
        machines.find(|machine| machine.cluster().is_some_and(|node| leads(&node)))
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.inner.net
    }

    /// What was asked and told.
    pub fn history(&self) -> &History {
        &self.inner.history
    }

    /// A number that nobody else has.
    pub fn number(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether faults and questions have ended.
    pub fn is_over(&self) -> bool {
        self.inner.over.load(Ordering::Relaxed)
    }

    /// Ends faults and questions: ways mended, clocks and disks as they should be, all machines up.
    pub fn calm_down(&self) {
        self.inner.over.store(true, Ordering::Relaxed);
        self.net().mend_all();
        self.net().set_weather(Weather::default());
        for machine in self.machines() {
            machine.set_disk(QUICK_US);
            machine.start();
        }
    }

    /// Founds the cluster and registers what the stories are about.
    pub async fn found(&self) -> bool {
        for machine in self.machines() {
            machine.start();
        }
        let admin = || Author::Operator(operators::FOUNDER.to_owned());
        let meter = assets::Change::RegisterMeter {
            serial: "M00000001".to_owned(),
            attach: assets::Attach::Direct {
                address: "10.1.0.1:4059".to_owned(),
                client_sap: 16,
                server_sap: 1,
                authentication: assets::Authentication::None,
                security: assets::Security::default(),
                system_title: None,
            },
            model: "simulated".to_owned(),
        };
        let concentrators = (0..DEVICES).map(|number| assets::Change::RegisterConcentrator {
            id: name(number),
            system_title: (0x4846_5300_0000_0000 + number).to_be_bytes(),
            name: format!("station {number}"),
        });
        for change in concentrators.chain([meter]) {
            let id = id_of(self.number());
            let change = Change::Assets(change);
            let done = self.submit(id, admin(), change, Duration::from_secs(20), None).await;
            if !matches!(done, Some((_, Ok(_)))) {
                tell(|| format!("the set-up failed: {done:?}"));
                return false;
            }
        }
        true
    }

    /// Proposes until somebody answers or the patience is over, at this node or at any; each
    /// attempt carries the same id.
    pub async fn submit(
        &self,
        id: ProposalId,
        author: Author,
        change: Change,
        patience: Duration,
        at: Option<u64>,
    ) -> Option<(u64, Outcome)> {
        let end = time() + patience;
        while time() < end {
            let machine =
                at.and_then(|node| self.machine(node).cloned()).unwrap_or_else(|| self.any());
            let Some(node) = machine.cluster() else {
                sleep(Duration::from_millis(10 + throw(100))).await;
                continue;
            };
            let (author, change) = (author.clone(), change.clone());
            let deadline = Duration::from_millis(50 + throw(1500));
            let asked =
                on(machine.node, async move { node.propose(id, author, change, deadline).await });
            if let Some(Ok(answer)) = asked.await {
                return Some(answer);
            }
            sleep(Duration::from_millis(throw(100))).await;
        }
        None
    }
}
