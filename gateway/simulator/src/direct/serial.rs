//! Lines on real byte streams: a TCP connection as a serial server shows it, and a pseudo-terminal.
//!
//! Invariants: every wait has a deadline; the symlink of a pseudo-terminal goes with the process
//! that made it, unless it is killed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::line::{Line, Out};
use super::tcp::{IDLE, WRITE};
use super::{DirectField, line::Role};
use crate::concentrator::Now;

/// A byte stream that carries a line.
trait Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    async fn write(&mut self, octets: &[u8]) -> io::Result<()>;
}

impl Wire for TcpStream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(self, buffer).await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        AsyncWriteExt::write_all(self, octets).await
    }
}

/// Serves a line on a connection until it closes.
///
/// # Errors
/// When the connection fails or a memory cannot be written.
pub async fn serve(field: &DirectField, line: usize, stream: TcpStream) -> io::Result<()> {
    drive(field, line, stream).await
}

async fn drive(field: &DirectField, line: usize, mut wire: impl Wire) -> io::Result<()> {
    let mut stations = Line::new(field, line, Instant::now());
    let mut buffer = vec![0; 4_096];
    stations.handle_timeout(field, Now::read())?;
    loop {
        while let Some(out) = stations.poll_transmit() {
            match out {
                Out::Octets(octets) => timeout(WRITE, wire.write(&octets)).await??,
                Out::Pause(pause) => sleep(pause).await,
                Out::Cut => return Ok(()),
            }
        }
        let wait = stations
            .poll_timeout()
            .map_or(IDLE, |at| at.saturating_duration_since(Instant::now()).min(IDLE));
        match timeout(wait, wire.read(&mut buffer)).await {
            Ok(octets) => {
                let octets = octets?;
                if octets == 0 {
                    return Ok(());
                }
                stations.handle_bytes(field, Now::read(), buffer.get(..octets).unwrap_or(&[]))?;
            }
            Err(_) if wait >= IDLE => return Ok(()),
            Err(_) => stations.handle_timeout(field, Now::read())?,
        }
    }
}

/// A pseudo-terminal; its other end stays open, so that a reader that goes leaves no error behind.
#[derive(Debug)]
pub struct Pty {
    from: pipe::Receiver,
    to: pipe::Sender,
    _theirs: OwnedFd,
    link: std::path::PathBuf,
}

impl Pty {
    /// Opens one and points `link` at it; a symlink that stands there already is replaced.
    ///
    /// # Errors
    /// When there is none to have, or the symlink cannot be made.
    pub fn open(link: &Path) -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let theirs = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty())?;
        // Raw: no echo, no line editing, octets as they are.
        let mut attributes = rustix::termios::tcgetattr(&theirs)?;
        attributes.make_raw();
        rustix::termios::tcsetattr(&theirs, rustix::termios::OptionalActions::Now, &attributes)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let name = Path::new(name.to_str().map_err(io::Error::other)?).to_owned();
        if std::fs::symlink_metadata(link).is_ok_and(|found| found.is_symlink()) {
            std::fs::remove_file(link)?;
        }
        std::os::unix::fs::symlink(&name, link)?;
        tracing::info!(link = %link.display(), pty = %name.display(), "a line on a terminal");
        // The halves of a pipe read and write any descriptor that can be waited for.
        let from = pipe::Receiver::from_owned_fd_unchecked(ours.try_clone()?)?;
        let to = pipe::Sender::from_owned_fd_unchecked(ours)?;
        Ok(Self { from, to, _theirs: theirs, link: link.to_owned() })
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // The process goes anyway; a symlink that somebody else removed is no loss.
        let _gone = std::fs::remove_file(&self.link);
    }
}

impl Wire for &mut Pty {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.read(buffer).await
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.to.write_all(octets).await
    }
}

/// Serves a line on a pseudo-terminal until told to stop.
///
/// # Errors
/// When a memory cannot be written.
pub async fn serve_pty(
    field: Arc<DirectField>,
    line: usize,
    mut pty: Pty,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let serve = async {
        loop {
            if let Err(error) = drive(&field, line, &mut pty).await {
                tracing::debug!(%error, "the pseudo-terminal's line starts anew");
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = serve => {}
    }
    field.keep()
}

/// The address of a station for people and for a head-end's import.
#[must_use]
pub fn address(role: Role, serial: &str, at: &str) -> String {
    match role {
        Role::Hdlc(physical) => format!("hdlc+{at}?physical={physical}"),
        Role::Ascii('e') => {
            let physical = super::line::FIRST_PHYSICAL;
            format!("mode-e+{at}?device={serial}&physical={physical}")
        }
        Role::Ascii(mode) => format!("iec+{at}?device={serial}&mode={mode}"),
        Role::Unasked => format!("iec+{at}?mode=d"),
    }
}
