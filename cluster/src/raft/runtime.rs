//! The runtime of consensus, when a world of the simulation may stand below it.
//!
//! Not here: the world. Without the feature `simulation` consensus runs on tokio as it comes.
//! Invariant: channels and locks are tokio's in both; tasks, time and dice are the world's.

use std::{
    convert::Infallible,
    future::Future,
    io,
    ops::{Add, AddAssign, Sub, SubAssign},
    pin::Pin,
    time::Duration,
};

use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use rand::TryRng;

use crate::rt::{
    self,
    virtual_time::{Elapsed, Sleep, Timeout, sleep_until, timeout, timeout_at},
    world::{self, JoinHandle, NoResult},
};

/// The runtime.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

/// A moment of the world's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(rt::Instant);

impl openraft::Instant for Moment {
    fn now() -> Self {
        Self(rt::now())
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, duration: Duration) {
        self.0 -= duration;
    }
}

/// Dice: the world's, or the thread's.
pub struct Dice(<TokioRuntime as AsyncRuntime>::ThreadLocalRng);

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The low half of a throw.
        self.try_next_u64().map(|throw| (throw & u64::from(u32::MAX)) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match world::current() {
            Some(world) => Ok(world.random()),
            None => self.0.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        for piece in octets.chunks_mut(8) {
            let throw = self.try_next_u64()?.to_le_bytes();
            piece.copy_from_slice(&throw[..piece.len()]);
        }
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = NoResult;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = Dice;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        world::spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        rt::sleep(duration)
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(limit: Duration, work: F) -> Timeout<F> {
        timeout(limit, work)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Moment,
        work: F,
    ) -> Timeout<F> {
        timeout_at(deadline.0, work)
    }

    fn is_panic(error: &NoResult) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> Dice {
        Dice(TokioRuntime::thread_rng())
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let done: Pin<Box<dyn Future<Output = io::Result<T>> + Send>> =
            Box::pin(rt::blocking(work));
        done
    }
}
