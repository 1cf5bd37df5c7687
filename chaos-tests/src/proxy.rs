//! A TCP proxy that loses what it should carry: cut lines, black holes, one-way lines.
//!
//! Invariant: what a black hole has swallowed is never delivered late; when the line heals, the
//! connections of before are closed.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It carries both ways.
    Sound,
    /// Nothing arrives, nobody is told: no FIN, no RST.
    BlackHole,
    /// What the dialler sends arrives, nothing comes back.
    OneWay,
}

/// A proxy before one address; it ends when dropped.
pub struct Proxy {
    line: watch::Sender<(Line, u64)>,
    address: SocketAddr,
}

impl Proxy {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(upstream: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (line, seen) = watch::channel((Line::Sound, 0));
        tokio::spawn(serve(listener, upstream, seen));
        Ok(Self { line, address })
    }

    /// Where to dial it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line is so from now on.
    pub fn set(&self, line: Line) {
        self.line.send_modify(|(now, _)| *now = line);
    }

    /// Closes every connection; the line is sound for new ones.
    pub fn cut(&self) {
        self.line.send_modify(|(now, cuts)| (*now, *cuts) = (Line::Sound, *cuts + 1));
    }
}

async fn serve(listener: TcpListener, upstream: String, mut line: watch::Receiver<(Line, u64)>) {
    let mut links = JoinSet::new();
    let mut cuts = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { return };
                links.spawn(carry(near, upstream.clone(), line.clone()));
            }
            changed = line.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = line.borrow_and_update().1;
                if now != cuts {
                    cuts = now;
                    links.abort_all();
                }
            }
            Some(_) = links.join_next() => {}
        }
    }
}

async fn carry(near: TcpStream, upstream: String, line: watch::Receiver<(Line, u64)>) {
    let Ok(far) = TcpStream::connect(upstream).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let up = pump(near_in, far_out, line.clone(), |line| line != Line::BlackHole);
    let down = pump(far_in, near_out, line, |line| line == Line::Sound);
    tokio::join!(up, down);
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut line: watch::Receiver<(Line, u64)>,
    passes: fn(Line) -> bool,
) {
    let mut octets = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut octets).await.unwrap_or(0);
        // The end of a connection does not pass a black hole either.
        if line.wait_for(|(now, _)| passes(*now)).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&octets[..read]).await.is_err() {
            return;
        }
    }
}
