//! One task per live byte stream of a concentrator: picks an event, lets the machine decide, writes
//! what it wants written. Every decision is the machine's.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::Notice;
use crate::order::Order;
use crate::shared::Shared;

/// What is told to a channel from this node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read something.
    Order(Order),
    /// The lease moved, or the like.
    Notice(Notice),
    /// A newer connection proved the same identity.
    Superseded,
}

/// What the stream runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// TCP.
    Plain,
    /// TLS.
    Tls,
}

/// Serves a byte stream until it ends.
pub(crate) async fn run<S>(shared: Arc<Shared>, stream: S, remote: SocketAddr, wire: Wire)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let _ = (shared, stream, remote, wire);
}
