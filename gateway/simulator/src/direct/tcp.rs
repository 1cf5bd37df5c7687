//! The wrapper on TCP: several meters may share a port; the server SAP tells them apart.
//!
//! Invariants: at most [`CONNECTIONS`] connections a port and [`SESSIONS`] associations a
//! connection; every wait has a deadline.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cosem::wrapper::{self, Deframer, Header, MAX_APDU_OCTETS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::{Answered, Conversation, DirectField};
use crate::concentrator::Now;
use crate::tally::Count;

/// Connections that a port takes at once.
pub const CONNECTIONS: usize = 1_024;
/// Associations that a connection may hold.
const SESSIONS: usize = 256;
pub(super) const IDLE: Duration = Duration::from_secs(1_800);
pub(super) const WRITE: Duration = Duration::from_secs(10);

/// Client SAP and server SAP.
type Pair = (u16, u16);

/// What a port shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Wrapper port number.
    Wrapper(usize),
    /// Line number.
    Line(usize),
}

/// Listens on one port until told to stop.
///
/// # Errors
/// When the listener fails for good.
pub async fn listen(
    field: Arc<DirectField>,
    port: Port,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a direct meter could not take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (field, mut stop) = (field.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let serve = async {
                stream.set_nodelay(true)?;
                match port {
                    Port::Wrapper(port) => connection(&field, port, stream).await,
                    Port::Line(line) => super::serial::serve(&field, line, stream).await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                served = serve => log_end(peer, served),
            }
        });
    }
    field.keep()
}

fn log_end(peer: SocketAddr, served: io::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a direct meter closed a connection");
    }
}

async fn connection(field: &DirectField, port: usize, mut stream: TcpStream) -> io::Result<()> {
    let mut deframer = Deframer::new(MAX_APDU_OCTETS);
    let mut talks = HashMap::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        while let Some((header, apdu)) = deframer.next_frame().map_err(io::Error::other)? {
            let answered = frame(field, port, &mut talks, header, &apdu)?;
            let cut = answered.cut || answered.half;
            write(field, &mut stream, answered).await?;
            if cut {
                return Ok(());
            }
        }
        let octets = timeout(IDLE, stream.read(&mut buffer)).await??;
        if octets == 0 {
            return Ok(());
        }
        deframer.feed(buffer.get(..octets).unwrap_or(&[]));
    }
}

async fn write(field: &DirectField, stream: &mut TcpStream, answered: Answered) -> io::Result<()> {
    if answered.late {
        tokio::time::sleep(field.lateness()).await;
    }
    for (header, apdu) in answered.apdus {
        let frame = wrapper::encode(header, &apdu).map_err(io::Error::other)?;
        let sent = if answered.half { frame.len() / 2 } else { frame.len() };
        timeout(WRITE, stream.write_all(frame.get(..sent).unwrap_or(&[]))).await??;
    }
    Ok(())
}

/// Takes one frame; gives what answers it.
fn frame(
    field: &DirectField,
    port: usize,
    talks: &mut HashMap<Pair, Conversation>,
    header: Header,
    apdu: &[u8],
) -> io::Result<Answered> {
    let Some((place, meter)) = field.find(port, header.destination) else {
        field.settings.tally.one(Count::UnknownMeters);
        return Ok(Answered::default());
    };
    // A dead meter answers nobody.
    if meter.dead {
        return Ok(Answered::default());
    }
    let pair = (header.source, header.destination);
    if !talks.contains_key(&pair) {
        if talks.len() >= SESSIONS {
            field.settings.tally.one(Count::MeterBusy);
            return Ok(Answered::default());
        }
        let Some(talk) = field.converse(place, header)? else { return Ok(Answered::default()) };
        talks.insert(pair, talk);
    }
    let Some(talk) = talks.get_mut(&pair) else { return Ok(Answered::default()) };
    let answered = field.exchange(talk, header, apdu, Now::read())?;
    if answered.ended {
        // Other clients of the meter find its new state as well.
        talks.retain(|(_, sap), _| *sap != header.destination);
    }
    Ok(answered)
}
