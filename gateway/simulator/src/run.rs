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
use crate::direct::DirectField;
use crate::direct::line::Role as Station;
use crate::direct::serial::{Pty, address, serve_pty};
use crate::direct::tcp::{self, Port};
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
        let pty = match &config.pty {
            Some(path) => Some(Pty::open(path).map_err(|e| named(path.display(), &e))?),
            None => None,
        };
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
        for (port, listener) in listeners {
            tasks.spawn(tcp::listen(direct.clone(), port, listener, stopped.clone()));
        }
        if let Some(pty) = pty {
            tasks.spawn(serve_pty(direct.clone(), 0, pty, stopped.clone()));
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
        outage_s: i64::try_from(config.outage_hold.as_secs()).unwrap_or(0),
        faults: config.plan(),
        own_events: config.own_events,
        blackout_s: config.blackout.map(|(after, lasts)| {
            let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 4);
            (seconds(after), seconds(lasts))
        }),
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
    let next = config.first.saturating_add(config.concentrators);
    for number in 0..settings.faults.count(Kind::UnknownConcentrator, config.concentrators) {
        settings.tally.fault(Kind::UnknownConcentrator);
        let model = Arc::new(field::concentrator(field_config, next.saturating_add(number)));
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
) -> io::Result<(Arc<DirectField>, Vec<(Port, TcpListener)>)> {
    let meters = field::direct_meters(field_config);
    let keeper = Keeper::new(config.state.as_deref(), "direct");
    let placement = config.placement();
    let direct = DirectField::new(settings.clone(), meters, placement, keeper, now)?;
    let mut listeners = Vec::new();
    if let Some(first) = config.direct_listen {
        let wrapper = (0..placement.ports).map(Port::Wrapper);
        let lines = (0..direct.lines().len()).map(Port::Line);
        for (number, port) in wrapper.chain(lines).enumerate() {
            let address = counted_up(first, u32::try_from(number).unwrap_or(u32::MAX))?;
            let bound = TcpListener::bind(address).await;
            listeners.push((port, bound.map_err(|e| named(address, &e))?));
        }
    }
    Ok((Arc::new(direct), listeners))
}

/// Port `number` places above the first; port 0 stays "any".
fn counted_up(first: SocketAddr, number: u32) -> io::Result<SocketAddr> {
    if first.port() == 0 {
        return Ok(first);
    }
    let port = u32::from(first.port()).saturating_add(number);
    let port = u16::try_from(port).map_err(|_| io::Error::other("no port above 65535"))?;
    Ok(SocketAddr::new(first.ip(), port))
}

fn registry_of(
    config: &Config,
    models: &[ConcentratorModel],
    direct: &DirectField,
    listeners: &[(Port, TcpListener)],
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
    let meters = direct.meters();
    for (place, meter) in meters.iter().enumerate().take(direct.placement().wrapper) {
        let (port, sap) = direct.place(place);
        let found = listeners.iter().find(|(known, _)| *known == Port::Wrapper(port));
        let Some((_, listener)) = found else { continue };
        let address = listener.local_addr()?.to_string();
        registry.meters.push(MeterEntry::direct(&address, sap, meter));
    }
    for (number, stations) in direct.lines().iter().enumerate() {
        let found = listeners.iter().find(|(known, _)| *known == Port::Line(number));
        // The first line may stand on a pseudo-terminal alone, or on both.
        let at = match (found, &config.pty) {
            (Some((_, listener)), _) => format!("tcp://{}", listener.local_addr()?),
            (None, Some(path)) if number == 0 => format!("serial://{}", path.display()),
            (None, _) => continue,
        };
        for (place, role) in stations {
            let Some(meter) = meters.get(*place) else { continue };
            registry.meters.push(line_entry(meter, *role, &at));
        }
    }
    Ok(registry)
}

/// A meter on a line. By 62056-21 alone there is no more than a password.
fn line_entry(meter: &field::MeterModel, role: Station, at: &str) -> MeterEntry {
    let entry = MeterEntry::direct(&address(role, &meter.serial, at), 1, meter);
    match role {
        Station::Hdlc(_) | Station::Ascii('e') => entry,
        Station::Ascii(_) | Station::Unasked => entry.local(),
    }
}

fn named(what: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
