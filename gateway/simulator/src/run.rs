//! A whole field, started and stopped: devices, their tasks, registry and journal.
//!
//! The order of a start: check what was told, read memories, bind ports, write the registry (so
//! that a head-end can import it before anybody dials), start the tasks. A stop asks every task,
//! waits for it and keeps its memory.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::behind::Carrier;
use crate::concentrator::{Concentrator, Now, Role, Settings, task};
use crate::config::Config;
use crate::direct::{self, DirectField};
use crate::fault::Kind;
use crate::field::{self, ConcentratorModel, FieldConfig, Key};
use crate::journal::Journal;
use crate::registry::{self, ConcentratorEntry, MeterEntry, Registry};
use crate::state::Keeper;
use crate::tally::Tally;

/// Time that the tasks have to stop.
const STOP: Duration = Duration::from_secs(5);

/// A field that runs.
#[derive(Debug)]
pub struct Running {
    settings: Arc<Settings>,
    registry: Registry,
    stop: watch::Sender<bool>,
    tasks: JoinSet<io::Result<()>>,
}

impl Running {
    /// Starts a field.
    ///
    /// # Errors
    /// `InvalidInput` with every fault of the configuration; otherwise what could not be read,
    /// bound or written, by name.
    pub async fn start(config: &Config) -> io::Result<Self> {
        let faults = config.validate();
        if !faults.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, faults.join("; ")));
        }
        if let Some(dir) = &config.state {
            fs::create_dir_all(dir).map_err(|e| named(dir.display(), &e))?;
        }
        let settings = Arc::new(settings(config)?);
        let now = Now::read();
        let field_config = config.field();
        let models = field::concentrators(&field_config);
        let machines = machines(config, &field_config, &settings, &models, now)?;
        let (direct, listeners) = direct_field(config, &field_config, &settings, now).await?;
        let registry = registry_of(config, &models, &direct, &listeners)?;
        if let Some(path) = &config.field_out {
            registry::write(path, &registry).map_err(|e| named(path.display(), &e))?;
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (number, machine) in machines.into_iter().enumerate() {
            let real = if number == 0 { config.behind.as_slice() } else { &[] };
            let carrier = Carrier::new(real.iter().map(|b| b.address.clone()).collect());
            tasks.spawn(task::run(machine, config.head_ends.clone(), carrier, stopped.clone()));
        }
        for (port, listener) in listeners.into_iter().enumerate() {
            tasks.spawn(direct::listen(direct.clone(), port, listener, stopped.clone()));
        }
        Ok(Self { settings, registry, stop, tasks })
    }

    /// The counters.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.settings.tally
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until a task fails; for ever while none does.
    ///
    /// # Errors
    /// The failure of that task.
    pub async fn failed(&mut self) -> io::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            flatten(ended)?;
        }
        std::future::pending().await
    }

    /// Stops all tasks and keeps every memory.
    ///
    /// # Errors
    /// The first failure of a task, or that one did not stop in time.
    pub async fn stop(mut self) -> io::Result<Arc<Settings>> {
        self.stop.send_replace(true);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                flatten(ended)?;
            }
            io::Result::Ok(())
        };
        timeout(STOP, all).await??;
        Ok(self.settings)
    }

    /// Ends all tasks at once, as a kill does: nothing more is kept.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

fn flatten(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    ended.map_err(io::Error::other)?
}

fn settings(config: &Config) -> io::Result<Settings> {
    let journal = match &config.journal {
        Some(path) => Some(Journal::open(path).map_err(|e| named(path.display(), &e))?),
        None => None,
    };
    Ok(Settings {
        seed: config.seed,
        answer: config.answer,
        heartbeat: config.heartbeat,
        window: config.window,
        plc_delay: config.plc_delay,
        interval_s: config.field().interval_s,
        history_s: i64::try_from(config.history.as_secs()).unwrap_or(0),
        speed: config.speed,
        fault_every: config.fault_every,
        fault_hold: config.fault_hold,
        faults: config.plan(),
        behind: config.behind.iter().map(|real| real.serial.clone()).collect(),
        tally: Tally::default(),
        journal,
    })
}

/// The registered concentrators, then those that nobody registered.
fn machines(
    config: &Config,
    field_config: &FieldConfig,
    settings: &Arc<Settings>,
    models: &[ConcentratorModel],
    now: Now,
) -> io::Result<Vec<Concentrator>> {
    let mut machines = Vec::new();
    for model in models {
        let mut model = model.clone();
        if settings.faults.plays(Kind::WrongKey, model.seed) {
            settings.tally.fault(Kind::WrongKey);
            spoil_keys(&mut model);
        }
        let keeper = Keeper::new(config.state.as_deref(), &model.ldn);
        let model = Arc::new(model);
        machines.push(Concentrator::new(settings.clone(), model, Role::Genuine, keeper, now)?);
    }
    let nobody = || Keeper::new(None, "");
    for number in 1..=settings.faults.count(Kind::UnknownConcentrator, config.concentrators) {
        settings.tally.fault(Kind::UnknownConcentrator);
        let model = Arc::new(field::concentrator(field_config, config.concentrators + number));
        machines.push(Concentrator::new(settings.clone(), model, Role::Impostor, nobody(), now)?);
    }
    let doubles = settings.faults.count(Kind::DuplicateIdentity, config.concentrators);
    for model in models.iter().take(doubles as usize) {
        settings.tally.fault(Kind::DuplicateIdentity);
        let mut model = model.clone();
        spoil_keys(&mut model);
        let model = Arc::new(model);
        machines.push(Concentrator::new(settings.clone(), model, Role::Impostor, nobody(), now)?);
    }
    Ok(machines)
}

/// Other keys than the registered ones.
fn spoil_keys(model: &mut ConcentratorModel) {
    model.guek = Key(model.guek.0.map(|octet| !octet));
    model.gak = Key(model.gak.0.map(|octet| !octet));
}

async fn direct_field(
    config: &Config,
    field_config: &FieldConfig,
    settings: &Arc<Settings>,
    now: Now,
) -> io::Result<(Arc<DirectField>, Vec<TcpListener>)> {
    let meters = field::direct_meters(field_config);
    let keeper = Keeper::new(config.state.as_deref(), "direct");
    let ports = if meters.is_empty() { 0 } else { config.direct_ports.min(config.direct) };
    let direct = DirectField::new(settings.clone(), meters, ports as usize, keeper, now)?;
    let mut listeners = Vec::new();
    if let Some(first) = config.direct_listen {
        for number in 0..ports {
            let address = counted_up(first, number)?;
            let bound = TcpListener::bind(address).await;
            listeners.push(bound.map_err(|e| named(address, &e))?);
        }
    }
    Ok((Arc::new(direct), listeners))
}

/// Port `number` places above the first; port 0 stays "any".
fn counted_up(first: SocketAddr, number: u32) -> io::Result<SocketAddr> {
    if first.port() == 0 {
        return Ok(first);
    }
    let port = u32::from(first.port()) + number;
    let port = u16::try_from(port).map_err(|_| io::Error::other("no port above 65535"))?;
    Ok(SocketAddr::new(first.ip(), port))
}

fn registry_of(
    config: &Config,
    models: &[ConcentratorModel],
    direct: &DirectField,
    listeners: &[TcpListener],
) -> io::Result<Registry> {
    let mut registry = Registry::default();
    for model in models {
        registry.concentrators.push(ConcentratorEntry::new(model));
        let meters = model.meters.iter().map(|meter| MeterEntry::behind(&model.ldn, meter));
        registry.meters.extend(meters);
    }
    if let Some(first) = models.first() {
        let real = config.behind.iter().map(|real| MeterEntry::real(&first.ldn, &real.serial));
        registry.meters.extend(real);
    }
    for (place, meter) in direct.meters().iter().enumerate() {
        let (port, sap) = direct.place(place);
        let Some(listener) = listeners.get(port) else { continue };
        let address = listener.local_addr()?.to_string();
        registry.meters.push(MeterEntry::direct(&address, sap, meter));
    }
    Ok(registry)
}

fn named(what: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
