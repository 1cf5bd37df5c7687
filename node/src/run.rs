//! One node, from boot to stop.
//!
//! Order of the boot: HTTP first, answering "not ready", so that a balancer and an operator see
//! the node at once; then what the rest stands on: storage, cluster, gateway, jobs. The stop goes
//! the other way round, each step with a limit.
//!
//! Invariants: a failed boot ends with a stable code and never a panic; a second signal during the
//! stop ends the process at once; readiness drops before anything stops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, Identity, OpenError, Peer};
use domain::NodeId;
use gateway::{Gateway, ServerTls, StartError};
use sd_notify::NotifyState;
use storage::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::app::{App, Live};
use crate::certificates::{Certificates, certificate_end};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::http;
use crate::http::server::Server;
use crate::observe::Metrics;
use crate::secret::{MasterKey, unhex};
use crate::wiring::{Wiring, tiers};

const CERTIFICATE_WARNING_DAYS: i64 = 30;
/// Time for requests under way when the node stops.
const HTTP_LIMIT: Duration = Duration::from_secs(5);
const JOBS_LIMIT: Duration = Duration::from_secs(3);
const CHANNELS_LIMIT: Duration = Duration::from_secs(5);
const LEASES_LIMIT: Duration = Duration::from_secs(3);
const LEADER_LIMIT: Duration = Duration::from_secs(4);
const CLUSTER_LIMIT: Duration = Duration::from_secs(35);

/// Runs a node until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    // From the first moment: without a listener SIGHUP would end the process.
    let mut reloads = listen(SignalKind::hangup())?;
    let master = Arc::new(MasterKey::load(&config.keys.master_key_file)?);
    let (identity, own_end_s) = identity(&config)?;
    let shown = Certificates::read(&config)?;
    let certificate_end_s = shown.end_s.map_or(own_end_s, |end_s| end_s.min(own_end_s));
    let client_title = client_title(&config)?;
    let metrics = Metrics::new()
        .map_err(|error| Failure::failed("metrics_failed", format!("metrics: {error}")))?;
    metrics.certificate_end.set(certificate_end_s);
    warn_of_the_end(certificate_end_s);
    // The folder is looked at before anything listens: its faults are the likeliest.
    writable(&config.node.data_dir)?;
    let app = App::new(config.clone(), master, metrics);
    let (at, most) = (config.http.listen, config.http.max_connections);
    let tls = shown.http.as_ref().map(ServerTls::config);
    let server = Server::start(at, most, http::router(app.clone()), tls).await?;
    tracing::info!(address = %server.address, "HTTP listens; the node is not ready yet");
    let booted = tokio::select! {
        booted = boot(&app, &config, &identity, client_title, &shown) => booted,
        () = signals.next() => Err(Failure::failed("stopped", "stopped while starting")),
    };
    let node = match booted {
        Ok(node) => node,
        Err(failure) => {
            server.stop(Duration::from_millis(200)).await;
            tracing::error!(code = %failure.code, reason = %failure.message, "cannot start");
            return Err(failure);
        }
    };
    tracing::info!(name = %config.node.name, version = env!("CARGO_PKG_VERSION"), "node is up");
    tell_manager(NotifyState::Ready);
    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        () = renewals(&app, &config, &node.live, &shown, &mut reloads) => Ok(()),
        () = node.live.restart.notified() => {
            // Not 0: a supervisor that starts what failed starts this again.
            Err(Failure::new(Exit::TryAgain, "restart_ordered", "a drill has this node start anew"))
        }
        fault = halted(&node.live.cluster) => {
            Err(Failure::failed("halted", format!("this node halted: {fault}")))
        }
    };
    let stopped = tokio::select! {
        () = stop(&app, server, node) => Ok(()),
        () = signals.next() => Err(Failure::failed("stop_cut", "a second signal cut the stop")),
    };
    outcome.and(stopped)
}

/// Reads the certificate again at each SIGHUP, and when a drill asks for it. One that cannot be
/// used, or that another node refuses, is told and changes nothing. Never ends.
async fn renewals(
    app: &App,
    config: &Config,
    live: &Live,
    shown: &Certificates,
    reloads: &mut Signal,
) {
    loop {
        tokio::select! {
            _ = reloads.recv() => {}
            () = live.renewal.notified() => {}
        }
        let ports = shown.renew(config);
        if let Err(failure) = &ports {
            let (code, reason) = (&failure.code, &failure.message);
            tracing::error!(%code, %reason, "the certificates of the ports stay as they were");
        }
        let ports_end_s = ports.ok().flatten().unwrap_or(i64::MAX);
        let renewed = match identity(config) {
            Ok((identity, end_s)) => {
                let renewed = live.cluster.renew_identity(&identity).await;
                renewed.map(|nodes| (nodes, end_s)).map_err(|error| cluster_failure(config, &error))
            }
            Err(failure) => Err(failure),
        };
        match renewed {
            Ok((nodes, own_end_s)) => {
                let end_s = own_end_s.min(ports_end_s);
                app.metrics().certificate_end.set(end_s);
                app.metrics().certificate_renewals.inc();
                tracing::info!(nodes, end_s, "the certificate was read again and is used");
                warn_of_the_end(end_s);
            }
            Err(failure) => {
                let (code, reason) = (&failure.code, &failure.message);
                tracing::error!(%code, %reason, "the certificate stays as it was");
            }
        }
    }
}

/// What is up, in the order in which it came up.
struct Running {
    live: Live,
    wiring: Wiring,
}

async fn boot(
    app: &App,
    config: &Config,
    identity: &Identity,
    client_title: [u8; 8],
    shown: &Certificates,
) -> Result<Running, Failure> {
    let registry = app.metrics().registry().clone();
    let (store, opening) = open_store(config, &registry).await?;
    let cluster = Cluster::open(cluster_config(config), identity, store, &opening, &registry)
        .await
        .map_err(|error| cluster_failure(config, &error))?;
    if let Err(failure) = find_archive(config, &cluster).await {
        cluster.stop().await;
        return Err(failure);
    }
    let tls = shown.field.as_ref().map(ServerTls::config);
    let started = Gateway::start(gateway_config(config), tls, &registry).await;
    let (gateway, questions) = match started {
        Ok(started) => started,
        Err(error) => {
            cluster.stop().await;
            return Err(gateway_failure(config, &error));
        }
    };
    tracing::info!(address = %gateway.address(), "concentrators may dial");
    let wiring =
        Wiring::start(app.clone(), cluster.clone(), gateway.clone(), client_title, questions);
    let (renewal, restart) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let live = Live { cluster: cluster.clone(), gateway: gateway.clone(), renewal, restart };
    app.set_live(live.clone());
    Ok(Running { live, wiring })
}

/// Says where old months lie, before anything is asked for: an answer must not lack them.
async fn find_archive(config: &Config, cluster: &Cluster) -> Result<(), Failure> {
    let (place, octets) = (config.storage.archive.clone(), config.storage.archive_cache_bytes);
    let (view, segments) = (cluster.view(), cluster.readings());
    let find = move || {
        if place != "none" {
            segments.set_archive(&place, octets)?;
        }
        tiers::find_cold(&view, &segments).map(drop)
    };
    let found = tokio::task::spawn_blocking(find).await;
    match found {
        Ok(Ok(())) => Ok(()),
        Ok(Err(trouble)) => Err(Failure::failed("archive_failed", trouble)),
        Err(error) => Err(Failure::failed("archive_failed", error)),
    }
}

/// The stop. Each step says why it stands where it does.
async fn stop(app: &App, server: Server, node: Running) {
    let Running { live: Live { cluster, gateway, .. }, mut wiring } = node;
    tracing::info!("stopping");
    tell_manager(NotifyState::Stopping);
    // The watchdog first: a quorum that goes while all nodes stop is no alarm.
    cluster.begin_stop();
    // Readiness first: a balancer must send nothing new while the rest still works.
    app.drain();
    // HTTP next: whoever waits for an answer still gets it from a whole node.
    said("requests finished", server.stop(HTTP_LIMIT).await);
    // Jobs before channels: nothing new is begun on a channel that is about to close.
    said("jobs ended", wiring.stop_jobs(JOBS_LIMIT).await);
    // Channels while the log still takes their releases: the standbys elsewhere take over now.
    said("channels closed", gateway.stop(CHANNELS_LIMIT).await);
    // What channels could not give back, dialled meters above all.
    said("leases given back", wiring.release_leases(LEASES_LIMIT).await);
    wiring.stop_answers().await;
    // Leadership last of what others need: an election costs more than a transfer.
    let transferred = tokio::time::timeout(LEADER_LIMIT, cluster.transfer_leader()).await;
    said("leadership is elsewhere", transferred.unwrap_or(false));
    // The cluster stops consensus, links and stores, in this order.
    let closed = tokio::time::timeout(CLUSTER_LIMIT, cluster.stop()).await;
    said("cluster and stores closed", closed.is_ok());
}

/// Tells systemd where the node stands (sd_notify(3)); without systemd this does nothing.
fn tell_manager(state: NotifyState<'static>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

fn said(what: &'static str, done: bool) {
    if done {
        tracing::info!("{what}");
    } else {
        tracing::info!("not in time: {what}; going on");
    }
}

/// Waits until the cluster can go on no longer, and says why.
async fn halted(cluster: &Cluster) -> String {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Some(fault) = cluster.status().fault {
            return fault;
        }
    }
}

async fn open_store(
    config: &Config,
    registry: &prometheus::Registry,
) -> Result<(Store, storage::Opening), Failure> {
    let metrics = storage::Metrics::register(registry).map_err(|error| store_failure(&error))?;
    let wanted = storage_config(config);
    // Opening reads the log's end and replays the tables: not on a thread of the runtime.
    let open = tokio::task::spawn_blocking(move || Store::open(&wanted, 0, &metrics));
    match open.await {
        Ok(opened) => opened.map_err(|error| store_failure(&error)),
        Err(error) => Err(Failure::failed("store_failed", error)),
    }
}

fn storage_config(config: &Config) -> storage::Config {
    storage::Config {
        dir: config.node.data_dir.clone(),
        wal_segment_octets: config.storage.wal_segment_bytes,
        tables_backend: storage::Backend::from_name(&config.storage.tables_backend)
            .unwrap_or_default(),
        low_water_octets: config.storage.low_water_bytes,
        reserve_octets: config.storage.reserve_bytes,
        tables_cache_octets: config.storage.tables_cache_bytes,
        ..storage::Config::default()
    }
}

fn cluster_config(config: &Config) -> cluster::Config {
    let given = &config.cluster;
    let peers = given.peers.iter().map(|peer| Peer {
        id: NodeId(peer.id),
        name: peer.name.clone(),
        address: peer.address.clone(),
        http: peer.http.clone(),
    });
    cluster::Config {
        node: NodeId(config.node.id),
        name: config.node.name.clone(),
        listen: given.listen,
        peers: peers.collect(),
        heartbeat_ms: given.heartbeat_ms,
        election_ms: (given.election_min_ms, given.election_max_ms),
        snapshot_entries: given.snapshot_entries,
        keep_entries: given.keep_entries,
        ..cluster::Config::default()
    }
}

fn gateway_config(config: &Config) -> gateway::Config {
    let given = &config.gateway;
    gateway::Config {
        listen: given.listen,
        tls_listen: given.tls_address(),
        max_connections: given.max_connections,
        max_connections_per_address: given.max_connections_per_address,
        answer_timeout_ms: given.answer_timeout_ms,
        meter_timeout_ms: given.meter_timeout_ms,
        heartbeat_interval_ms: given.heartbeat_interval_ms,
        heartbeat_misses: given.heartbeat_misses,
        registers_every_s: given.registers_every_s,
        profile_every_s: given.profile_every_s,
        clock_every_s: given.clock_every_s,
        profile_reach_s: given.profile_reach_s,
        line_answer_timeout_ms: given.line_answer_timeout_ms,
        serial: given.serial.clone(),
        ..gateway::Config::default()
    }
}

/// Faults that the rooms find in what they would be started with, key by key; for `check-config`.
pub fn room_faults(config: &Config) -> Vec<String> {
    let mut faults = cluster_config(config).validate();
    if let Err(more) = gateway_config(config).validate() {
        faults.extend(more);
    }
    if let Err(error) = storage_config(config).validate() {
        faults.push(error.to_string());
    }
    faults
}

/// Who this node is, and when its certificate ends.
fn identity(config: &Config) -> Result<(Identity, i64), Failure> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| Failure::file("cannot read", path, &error))
    };
    let authority = read(&config.tls.ca_file)?;
    let chain = read(&config.tls.certificate_file)?;
    let key = zeroize::Zeroizing::new(read(&config.tls.key_file)?);
    let bad = |why: &dyn std::fmt::Display| {
        Failure::failed("bad_certificate", format!("{why} (tls.*_file)"))
    };
    let identity = Identity::from_pem(&authority, &chain, &key).map_err(|error| bad(&error))?;
    let end_s = certificate_end(&chain).ok_or_else(|| bad(&"the certificate has no end"))?;
    Ok((identity, end_s))
}

/// Links to other nodes fail when it ends, and a new certificate takes time to get.
fn warn_of_the_end(end_s: i64) {
    let now_s = i64::try_from(crate::app::now_s()).unwrap_or(i64::MAX);
    let days = end_s.saturating_sub(now_s).div_euclid(86_400);
    if days < CERTIFICATE_WARNING_DAYS {
        tracing::warn!(days, "the certificate of this node ends soon or has ended");
    }
}

fn client_title(config: &Config) -> Result<[u8; 8], Failure> {
    unhex(&config.keys.system_title)
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| Failure::new(Exit::Config, "config", "keys.system_title"))
}

/// Makes the data folder and writes a file in it: a read-only or full disk is told at once.
fn writable(dir: &Path) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::file("cannot use node.data_dir", dir, error);
    std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
    let probe = dir.join(".probe");
    std::fs::write(&probe, [0; 4096])
        .and_then(|()| std::fs::File::open(&probe)?.sync_all())
        .map_err(|error| failed(&error))?;
    std::fs::remove_file(&probe).map_err(|error| failed(&error))
}

fn store_failure(error: &storage::Error) -> Failure {
    Failure::failed(error.code(), chain(error))
}

fn cluster_failure(config: &Config, error: &OpenError) -> Failure {
    match error {
        OpenError::Config(faults) => Failure::new(Exit::Config, "config", faults.join("; ")),
        OpenError::Identity(_) => Failure::failed("bad_certificate", chain(error)),
        OpenError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let address = config.cluster.listen;
            let text = format!("cluster.listen = {address}: another program listens there");
            Failure::failed("port_in_use", text)
        }
        OpenError::Listen { .. } => Failure::failed("listen_failed", chain(error)),
        OpenError::Store(_) => Failure::failed("store_failed", chain(error)),
        OpenError::Metrics(_) => Failure::failed("metrics_failed", chain(error)),
        OpenError::Raft(_) => Failure::failed("consensus_failed", chain(error)),
    }
}

fn gateway_failure(config: &Config, error: &StartError) -> Failure {
    match error {
        StartError::Config(faults) => Failure::new(Exit::Config, "config", faults.join("; ")),
        StartError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let address = config.gateway.listen;
            let text = format!("gateway.listen = {address}: another program listens there");
            Failure::failed("port_in_use", text)
        }
        _ => Failure::failed("gateway_failed", chain(error)),
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed("no_signals", format!("signals: {error}")))
}

/// SIGTERM and SIGINT.
pub struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> Result<Signals, Failure> {
        let term = listen(SignalKind::terminate())?;
        Ok(Signals { term, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by OpenSSL 3.0, which writes UTCTime until 2049 and GeneralizedTime behind it.
    const NEAR: &str = include_str!("../tests/data/ends-2027-12-27.pem");
    const FAR: &str = include_str!("../tests/data/ends-2081-08-25.pem");

    fn at(text: &str) -> Option<i64> {
        Some(text.parse::<jiff::Timestamp>().expect("a time").as_second())
    }

    #[test]
    fn the_end_of_the_first_certificate_counts() {
        assert_eq!(certificate_end(NEAR.as_bytes()), at("2027-12-27T18:21:05Z"));
        assert_eq!(certificate_end(FAR.as_bytes()), at("2081-08-25T18:21:05Z"));
        let chain = format!("{FAR}{NEAR}");
        assert_eq!(certificate_end(chain.as_bytes()), certificate_end(FAR.as_bytes()));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        assert_eq!(certificate_end(b""), None);
        assert_eq!(certificate_end(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), None);
        // Without one line in its middle the octets are fewer than they say.
        let lines: Vec<&str> = NEAR.lines().collect();
        let cut = [&lines[..3], &lines[4..]].concat().join("\n");
        assert_eq!(certificate_end(cut.as_bytes()), None);
    }
}
