//! One question to the cluster, asked until it is answered by yes or no. Whoever drops the future
//! ends the asking: the channel that dies, or a deadline around it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Denied;
use crate::shared::Shared;
use crate::upcall::{Ask, Upcall};

/// Asks with the same content until there is an answer that is not `Unavailable`. `Unavailable` is
/// returned only when nobody can answer any more.
///
/// # Errors
/// The cluster's refusal.
pub(crate) async fn ask<Q: Clone, A>(
    shared: &Shared,
    request: Q,
    wrap: fn(Ask<Q, A>) -> Upcall,
) -> Result<A, Denied> {
    let limit = Duration::from_millis(shared.config.upcall_timeout_ms);
    loop {
        let deadline = Instant::now() + limit;
        let (question, answer) = Ask::new(request.clone(), deadline.into_std());
        match timeout_at(deadline, shared.upcalls.send(wrap(question))).await {
            Ok(Err(_)) => return Err(Denied::Unavailable),
            Err(_) => continue,
            Ok(Ok(())) => {}
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(yes))) => return Ok(yes),
            Ok(Ok(Err(refused @ Denied::Refused { .. }))) => return Err(refused),
            Ok(Ok(Err(Denied::Unavailable)) | Err(_)) | Err(_) => {}
        }
        sleep(Duration::from_millis(shared.config.upcall_retry_ms)).await;
    }
}
