//! The two listening sockets. A connection is counted against its limits, gets its socket options
//! and, on the second port, its TLS handshake; then it is a channel's. No frame is looked at here.
//!
//! Invariants: 1. no more sockets than the limits say, in total and of one address; 2. a handshake
//! that does not end is closed by its deadline; 3. after the stop nobody is accepted.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::channel;
use crate::error::{Cause, StartError};
use crate::shared::Shared;

/// Binds a listening socket.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Accepts until the stop.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, remote)) => admit(&shared, stream, remote, tls.clone()),
            Err(error) => {
                // Out of file handles, most likely: accepting again at once would spin.
                if shared.metrics.may_log("accept", tokio::time::Instant::now().into_std()) {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, remote: SocketAddr, tls: Option<TlsAcceptor>) {
    let slot = match Slot::take(&shared.connections, remote.ip(), &shared.config) {
        Ok(slot) => slot,
        Err(limit) => {
            shared.metrics.refused_connections.with_label_values(&[limit]).inc();
            if shared.metrics.may_log(limit, tokio::time::Instant::now().into_std()) {
                tracing::warn!(%remote, limit, "a connection was refused by its limit");
            }
            return;
        }
    };
    set_options(&stream);
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let _slot = slot;
        match tls {
            None => channel::run(shared, stream, remote, channel::Wire::Plain).await,
            Some(acceptor) => secure(shared, stream, remote, acceptor).await,
        }
    });
}

async fn secure(shared: Arc<Shared>, stream: TcpStream, remote: SocketAddr, acceptor: TlsAcceptor) {
    let limit = Duration::from_millis(shared.config.identity_timeout_ms);
    match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => channel::run(shared, stream, remote, channel::Wire::Tls).await,
        Ok(Err(error)) => {
            shared.metrics.refused_connections.with_label_values(&["tls"]).inc();
            tracing::debug!(%remote, %error, "TLS handshake failed");
        }
        Err(_) => {
            let cause = Cause::IdentityLate;
            shared.metrics.closed.with_label_values(&[cause.label()]).inc();
            tracing::debug!(%remote, cause = cause.label(), "TLS handshake did not end");
        }
    }
}

/// No delay for small frames, and keep-alive so that a dead peer is found even when nothing is due.
pub(crate) fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive);
}

/// Open connections, in total and by address.
#[derive(Default)]
pub(crate) struct Connections {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place among the connections; given back when dropped.
pub(crate) struct Slot {
    connections: Arc<Mutex<Connections>>,
    address: IpAddr,
}

impl Slot {
    fn take(
        connections: &Arc<Mutex<Connections>>,
        address: IpAddr,
        config: &crate::Config,
    ) -> Result<Self, &'static str> {
        let mut open = connections.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= config.max_connections {
            return Err("total");
        }
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= config.max_connections_per_address {
            return Err("address");
        }
        open.total += 1;
        open.by_address.insert(address, of_address + 1);
        Ok(Self { connections: Arc::clone(connections), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connections, Slot};
    use crate::Config;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::{Arc, Mutex};

    #[test]
    fn limits_hold_in_total_and_by_address_and_places_come_back() {
        let config =
            Config { max_connections: 3, max_connections_per_address: 2, ..Config::default() };
        let open = Arc::new(Mutex::new(Connections::default()));
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let first = Slot::take(&open, address(1), &config).unwrap();
        let _second = Slot::take(&open, address(1), &config).unwrap();
        assert_eq!(Slot::take(&open, address(1), &config).err(), Some("address"));
        let _third = Slot::take(&open, address(2), &config).unwrap();
        assert_eq!(Slot::take(&open, address(3), &config).err(), Some("total"));
        drop(first);
        assert!(Slot::take(&open, address(1), &config).is_ok());
    }
}
