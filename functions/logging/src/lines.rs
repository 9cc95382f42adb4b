//! The queue of log lines.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The size of the queue, in bytes: about 5,000 lines, or half a second of a busy server.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// After a write, lines are gathered for this long before the next one. A line after a silence is written at once.
const GATHER: Duration = Duration::from_millis(1);

/// The queue. Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there are lines, or when all have been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    /// The lines that wait, and those that are being written.
    bytes: usize,
    lost: u64,
}

impl Lines {
    /// A queue for this output, with a thread of its own.
    pub(crate) fn to(output: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        // If the thread can't be started, the queue fills up, and lines are counted as lost.
        let _ = thread::Builder::new().name("log".to_owned()).spawn(move || own.write(output));
        Self(shared)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.0.queue().lost
    }

    pub(crate) fn are_behind(&self) -> bool {
        self.0.queue().bytes > 0
    }

    pub(crate) fn flush(&self, patience: Duration) {
        let queue = self.0.queue();
        let behind = |queue: &mut Queue| queue.bytes > 0;
        let _ = self.0.changed.wait_timeout_while(queue, patience, behind);
    }
}

/// Takes one line, or drops it. Never waits and never fails.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.queue();
        if queue.bytes + line.len() > WAITING_BYTES_MAX {
            queue.lost += 1;
        } else {
            let idle = queue.waiting.is_empty();
            queue.bytes += line.len();
            queue.waiting.push_back(line.to_vec());
            drop(queue);
            if idle {
                self.0.changed.notify_all();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes lines until the process ends.
    fn write(&self, mut output: impl Write) {
        loop {
            let idle = |queue: &mut Queue| queue.waiting.is_empty();
            let queue = self.changed.wait_while(self.queue(), idle);
            let lines = mem::take(&mut queue.unwrap_or_else(PoisonError::into_inner).waiting);
            let count = lines.len() as u64;
            let text = Vec::from(lines).concat();
            let written = output.write_all(&text).and_then(|()| output.flush());
            let mut queue = self.queue();
            queue.bytes -= text.len();
            queue.lost += if written.is_ok() { 0 } else { count };
            if queue.bytes == 0 {
                self.changed.notify_all();
            }
            drop(queue);
            // On a busy server more lines come at once, and one write takes them all.
            thread::sleep(GATHER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// An output that tests control.
    struct Output {
        told: Receiver<io::Result<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.told.recv().unwrap_or(Err(io::ErrorKind::BrokenPipe.into()))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Lines, Sender<io::Result<()>>, Receiver<Vec<u8>>) {
        let (tell, told) = channel();
        let (written, read) = channel();
        (Lines::to(Output { told, written }), tell, read)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn lines_are_written_in_their_order() {
        let (mut lines, tell, read) = lines();
        for line in ["one", "two"] {
            lines.write_all(line.as_bytes()).unwrap();
            tell.send(Ok(())).unwrap();
        }
        lines.flush(PATIENCE);
        assert_eq!(read.try_iter().collect::<Vec<_>>().concat(), b"onetwo");
        assert!(!lines.are_behind() && lines.lost() == 0);
    }

    #[test]
    fn where_nobody_reads_lines_are_lost_and_nobody_waits() {
        let (mut lines, tell, read) = lines();
        let line = vec![b'x'; 1 << 10];
        for _ in 0..5000 {
            lines.write_all(&line).unwrap();
        }
        assert_eq!(lines.lost(), 5000 - 1024);
        assert!(lines.are_behind());
        for _ in 0..1024 {
            tell.send(Ok(())).unwrap();
        }
        lines.flush(PATIENCE);
        assert_eq!((read.try_iter().map(|text| text.len()).sum::<usize>(), lines.lost()), (1 << 20, 5000 - 1024));
    }

    #[test]
    fn a_line_that_can_not_be_written_is_counted_and_the_next_one_is_tried() {
        let (mut lines, tell, read) = lines();
        for outcome in [Err(io::ErrorKind::StorageFull.into()), Ok(())] {
            lines.write_all(b"line").unwrap();
            tell.send(outcome).unwrap();
            lines.flush(PATIENCE);
        }
        assert_eq!((read.try_iter().count(), lines.lost()), (1, 1));
    }
}
