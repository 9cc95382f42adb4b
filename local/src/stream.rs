//! A connection's socket: who is slow to take an answer loses it, and who has left is noticed.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pubsub::clock;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

/// A client that does not take its answer loses the connection after this, and a client that takes it slowly a second
/// later for each [`SLOWEST_BYTES`].
const STALL_MAX: Duration = Duration::from_secs(30);

/// What the slowest client takes in a second: then 512 KiB take it 128 s. Without such a bound a client that takes a byte
/// now and then would keep an answer in memory for as long as it likes.
const SLOWEST_BYTES: u64 = 4096;

/// How often it is looked whether a client has left that has also sent more than one request.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A client that says no more may still wait for its answer: what needs no holding is answered within this.
const LEAVING: Duration = Duration::from_millis(100);

/// A socket that is read and written by one task, and looked at by another.
pub(crate) struct Stream {
    socket: Arc<TcpStream>,
    /// Since when an answer waits for its client, and what the client has taken since.
    behind: Option<(Instant, u64)>,
    late: Pin<Box<Sleep>>,
}

impl Stream {
    pub(crate) fn new(socket: Arc<TcpStream>) -> Self {
        Self { socket, behind: None, late: Box::pin(sleep(Duration::ZERO)) }
    }

    /// Writes, and counts for how long the client lets it wait.
    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.socket.poll_write_ready(context)?.is_pending() {
                let (since, taken) = *self.behind.get_or_insert_with(|| (clock::now(), 0));
                self.late.as_mut().reset(since + STALL_MAX + Duration::from_secs(taken / SLOWEST_BYTES));
                ready!(self.late.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(len) => {
                    if let Some((_, taken)) = &mut self.behind {
                        *taken += len as u64;
                    }
                    return Poll::Ready(Ok(len));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            match self.socket.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |socket| socket.try_write_vectored(slices))
    }

    /// Large answers stay where they are, and are not copied into a buffer of the connection.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when an answer has been written.
    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shut_down(&self.socket))
    }
}

/// Says that nothing more is written.
pub(crate) fn shut_down(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).shutdown(Shutdown::Write)
}

/// Returns when the client has left: has closed the connection, or said that it sends no more, and had a moment to get
/// what is answered at once.
pub(crate) async fn left(socket: &TcpStream) {
    while let Ok(ready) = socket.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    sleep(LEAVING).await;
}
