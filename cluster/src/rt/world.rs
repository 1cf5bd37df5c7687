//! A world: virtual time, a scheduler and dice, entered by the one thread that runs it.
//!
//! The world itself is made by the simulation; here is what a member asks of it. Not here: what
//! happens when.
//! Invariant: within a world nothing reads a clock or dice of the system.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

pub use super::virtual_time::{sleep, timeout};
use futures::future::BoxFuture;
use tokio::{sync::oneshot, task::JoinError};

/// What a simulation provides.
pub trait World {
    /// Time since the world began.
    fn now(&self) -> Duration;
    /// Runs a task; it belongs to whatever node the running one belongs to. `kind` is for people.
    fn spawn(&self, kind: &'static str, task: BoxFuture<'static, ()>);
    /// Wakes somebody at a time; answers a number to forget it by.
    fn wake_at(&self, at: Duration, waker: Waker) -> u64;
    /// Whoever was to be woken under this number is gone.
    fn forget(&self, number: u64);
    /// The next throw of the dice.
    fn random(&self) -> u64;
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Puts this thread back into the real world when dropped.
#[derive(Debug)]
pub struct Entered(());

/// From now on this thread is in `world`.
pub fn enter(world: Rc<dyn World>) -> Entered {
    WORLD.with_borrow_mut(|slot| *slot = Some(world));
    Entered(())
}

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.with_borrow_mut(|slot| *slot = None);
    }
}

/// The world of this thread.
pub(crate) fn current() -> Option<Rc<dyn World>> {
    // A thread that is ending is in no world.
    WORLD.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

/// The next throw of the world's dice, below `limit`; 0 in no world.
pub(crate) fn throw(limit: u64) -> u64 {
    current().map_or(0, |world| world.random() % limit.max(1))
}

/// How long work waits for a thread and the disk, in a world: mostly next to nothing.
pub(super) fn pause_of_a_thread() -> Option<Duration> {
    let world = current()?;
    let micros = match world.random() % 16 {
        0 => world.random() % 20_000,
        _ => world.random() % 300,
    };
    Some(Duration::from_micros(micros))
}

/// Waits for a task's result.
#[derive(Debug)]
pub enum JoinHandle<T> {
    /// Of tokio.
    Real(tokio::task::JoinHandle<T>),
    /// Of the world.
    Simulated(oneshot::Receiver<T>),
}

/// A task gave no result.
#[derive(Debug)]
pub enum NoResult {
    /// Tokio says why.
    Real(JoinError),
    /// Its node is gone.
    Gone,
}

impl fmt::Display for NoResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(error) => fmt::Display::fmt(error, f),
            Self::Gone => f.write_str("the task's node is gone"),
        }
    }
}

impl std::error::Error for NoResult {}

impl NoResult {
    /// Whether the task panicked. In a world a panic ends the world.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Real(error) if error.is_panic())
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, NoResult>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Real(handle) => Pin::new(handle).poll(cx).map_err(NoResult::Real),
            Self::Simulated(result) => Pin::new(result).poll(cx).map_err(|_| NoResult::Gone),
        }
    }
}

/// Runs a task in the world, or in tokio.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(world) = current() else { return JoinHandle::Real(tokio::spawn(task)) };
    let (tell, result) = oneshot::channel();
    let work = Box::pin(async move {
        // Nobody may wait for it any more.
        let _gone = tell.send(task.await);
    });
    world.spawn(std::any::type_name::<F>(), work);
    JoinHandle::Simulated(result)
}
