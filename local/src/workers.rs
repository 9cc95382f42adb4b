//! The threads that serve connections.
//!
//! Each has a runtime of its own, and keeps its connections. A task that stays on its thread is woken without a lock
//! and without waking another thread.

use std::{
    future::pending,
    io,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use tokio::runtime::{Builder, Handle};

/// How many tasks run until the sockets are looked at again. So many of a fan-out are answered before the first of them polls
/// again, so the last one has its answer a tenth sooner.
const TASKS_UNTIL_EVENTS: u32 = 4096;

/// Threads that run until the process ends.
pub(crate) struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
}

impl Workers {
    /// Starts so many. By default, one processor is left for others: a worker that shares its processor with the
    /// kernel's network work, a proxy or clients delivers later than one thread less would.
    pub(crate) fn start(count: Option<u16>) -> io::Result<Self> {
        let fitting = || thread::available_parallelism().map_or(1, NonZeroUsize::get).saturating_sub(1).max(1);
        let count = count.map_or_else(fitting, usize::from);
        let start = |number: usize| {
            let runtime = Builder::new_current_thread().enable_all().event_interval(TASKS_UNTIL_EVENTS).build()?;
            let handle = runtime.handle().clone();
            thread::Builder::new().name(format!("worker {number}")).spawn(move || runtime.block_on(pending::<()>()))?;
            Ok(handle)
        };
        let handles = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self { handles, next: AtomicUsize::new(0) })
    }

    /// The number of tasks.
    pub(crate) fn tasks(&self) -> usize {
        self.handles.iter().map(|handle| handle.metrics().num_alive_tasks()).sum()
    }

    /// Gives a task to the next worker in turn.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Relaxed);
        if let Some(handle) = self.handles.get(turn % self.handles.len()) {
            handle.spawn(task);
        }
    }
}
