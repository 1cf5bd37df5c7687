//! Sessions with meters that have an address of their own.

use std::sync::Arc;

use domain::commands::Failure;
use tokio::sync::mpsc;

use crate::order::Order;
use crate::shared::Shared;

/// What is told to the dialler.
#[derive(Debug)]
pub(crate) enum Command {
    /// Dial this meter from now on.
    Dial {
        /// Which.
        serial: String,
        /// Under which lease.
        epoch: u64,
    },
    /// Dial it no more.
    HangUp {
        /// Which.
        serial: String,
    },
    /// Read something from it now.
    Order {
        /// Which.
        serial: String,
        /// What.
        order: Order,
    },
}

/// Starts the dialler.
pub(crate) fn start(shared: &Arc<Shared>) -> mpsc::Sender<Command> {
    let (way, mut commands) = mpsc::channel(shared.config.orders_per_channel);
    shared.tasks.spawn(async move {
        while let Some(command) = commands.recv().await {
            if let Command::Order { order, .. } = command {
                order.answer(Err(Failure::NoChannel));
            }
        }
    });
    way
}
