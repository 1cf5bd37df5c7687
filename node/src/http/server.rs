//! The accept loop: connections at a time bounded, slow handshakes and headers cut off, a stop that
//! drains.
//!
//! Knows nothing of routes. Invariants: a connection costs a permit before it is accepted, so
//! excess waits in the kernel's queue; after the stop no new request is begun, those under way
//! finish within the deadline, then the rest is cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::exit::Failure;
use crate::http::patient::Patient;

/// The longest that a client may take for its request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer for so long is cut off.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// The longest request head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Pause after a failed accept (too many open files): the reason lasts longer than one turn.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// A listening server.
pub struct Server {
    stop: watch::Sender<bool>,
    loop_task: tokio::task::JoinHandle<()>,
    permits: Arc<Semaphore>,
    max_connections: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Binds and starts to answer.
    pub async fn start(
        address: SocketAddr,
        max_connections: usize,
        router: Router,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Server, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| bind(address, &error))?;
        let address = listener.local_addr().map_err(|error| bind(address, &error))?;
        let max_connections = u32::try_from(max_connections).unwrap_or(u32::MAX >> 3);
        let permits = Arc::new(Semaphore::new(max_connections as usize));
        let (stop, stopped) = watch::channel(false);
        let tls = tls.map(TlsAcceptor::from);
        let accepting = accept_loop(listener, permits.clone(), stopped, router, tls);
        let loop_task = tokio::spawn(accepting);
        Ok(Server { stop, loop_task, permits, max_connections, address })
    }

    /// Stops accepting, lets requests finish within `deadline`. True when all did.
    pub async fn stop(self, deadline: Duration) -> bool {
        self.stop.send_replace(true);
        let all = self.permits.acquire_many(self.max_connections);
        let drained = tokio::time::timeout(deadline, all).await.is_ok();
        self.loop_task.abort();
        drained
    }
}

fn bind(address: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::failed(
            "port_in_use",
            format!("http.listen = {address}: another program listens there"),
        ),
        io::ErrorKind::PermissionDenied => Failure::failed(
            "port_denied",
            format!("http.listen = {address}: this user may not listen there"),
        ),
        _ => Failure::failed("listen_failed", format!("http.listen = {address}: {error}")),
    }
}

async fn accept_loop(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
    router: Router,
    tls: Option<TlsAcceptor>,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let router = router.clone().layer(Extension(Remote(remote)));
                // Small answers must not wait for each other; a failure here only costs time.
                let _ = stream.set_nodelay(true);
                let (tls, stopped) = (tls.clone(), stopped.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, router, stopped).await,
                        Some(tls) => serve_tls(stream, router, stopped, tls).await,
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits for the stop. The watched value's guard must not live in a `select!` that goes on waiting.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// The first octet of a TLS handshake (RFC 8446, 5.1); no method of HTTP begins with it.
const HANDSHAKE: u8 = 22;
/// What who speaks HTTP to a TLS port is told.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
    connection: close\r\ncontent-length: 137\r\n\r\n{\"type\":\"urn:holdfast:problem:tls_needed\",\
    \"title\":\"Bad Request\",\"status\":400,\"code\":\"tls_needed\",\"detail\":\"this port \
    speaks https alone\"}";

async fn serve_tls(
    mut stream: TcpStream,
    router: Router,
    stopped: watch::Receiver<bool>,
    tls: TlsAcceptor,
) {
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            stream.write_all(SPEAK_TLS).await?;
            return Ok(None);
        }
        tls.accept(stream).await.map(Some)
    };
    match tokio::time::timeout(HEADER_TIMEOUT, handshake).await {
        Ok(Ok(Some(stream))) => serve(stream, router, stopped).await,
        Ok(Ok(None)) => tracing::debug!("plain HTTP at the TLS port"),
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_PATIENCE)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
