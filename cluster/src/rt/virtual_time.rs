//! Sleeping and time limits by the world's clock, or by tokio's in no world.
//!
//! Invariant: an `Instant` of a world is the moment it began, taken once, plus its virtual time;
//! so instants of a world compare and subtract like any others.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::world::{World, current};

/// Where the virtual time of every world of this process begins.
fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

/// The time now.
pub fn now() -> Instant {
    match current() {
        Some(world) => beginning() + world.now(),
        None => Instant::now(),
    }
}

/// A sleep until a moment.
pub enum Sleep {
    /// By tokio's clock.
    Real(Pin<Box<tokio::time::Sleep>>),
    /// By the world's.
    Simulated {
        /// When it ends, since the world began.
        at: Duration,
        /// Under which number the world knows it.
        number: Option<u64>,
    },
}

/// Sleeps for so long.
pub fn sleep(duration: Duration) -> Sleep {
    match current() {
        Some(world) => Sleep::Simulated { at: world.now().saturating_add(duration), number: None },
        None => Sleep::Real(Box::pin(tokio::time::sleep(duration))),
    }
}

/// Sleeps until then.
pub fn sleep_until(deadline: Instant) -> Sleep {
    if current().is_none() {
        return Sleep::Real(Box::pin(tokio::time::sleep_until(deadline)));
    }
    let at = deadline.saturating_duration_since(beginning());
    Sleep::Simulated { at, number: None }
}

fn forget(world: Option<Rc<dyn World>>, number: &mut Option<u64>) {
    if let (Some(world), Some(number)) = (world, number.take()) {
        world.forget(number);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Self::Real(sleep) => sleep.as_mut().poll(cx),
            Self::Simulated { at, number } => {
                let Some(world) = current() else { return Poll::Pending };
                forget(Some(world.clone()), number);
                if world.now() >= *at {
                    return Poll::Ready(());
                }
                *number = Some(world.wake_at(*at, cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Self::Simulated { number, .. } = self {
            forget(current(), number);
        }
    }
}

/// The time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed;

/// Work with a time limit.
pub struct Timeout<F> {
    work: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(done) = this.work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        Pin::new(&mut this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Gives the work so much time.
pub fn timeout<F: Future>(limit: Duration, work: F) -> Timeout<F> {
    Timeout { work: Box::pin(work), sleep: sleep(limit) }
}

/// Gives the work time until then.
pub fn timeout_at<F: Future>(deadline: Instant, work: F) -> Timeout<F> {
    Timeout { work: Box::pin(work), sleep: sleep_until(deadline) }
}

/// A steady rhythm; the first tick is at once.
pub struct Interval {
    next: Instant,
    period: Duration,
}

/// A rhythm of so long.
pub fn interval(period: Duration) -> Interval {
    Interval { next: now(), period }
}

impl Interval {
    /// Waits for the next tick.
    pub async fn tick(&mut self) {
        sleep_until(self.next).await;
        self.next = self.next.max(now() - self.period.min(Duration::from_micros(1))) + self.period;
    }
}
