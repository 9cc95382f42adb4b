//! A connection's socket: closes it when the client is slow to take an answer, and notices when the client has left.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use pubsub::clock;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

/// After this, a connection is closed if its client takes nothing of an answer. For each [`SLOWEST_BYTES`] that the
/// client takes, it has a second more.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What the slowest client takes in a second: 512 KiB take it 128 s then. Without this limit, a client that takes a
/// byte from time to time would keep an answer in memory for as long as it likes.
const SLOWEST_BYTES: u64 = 4096;

/// How often to check whether a client has left, after it had sent more than one request.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a client that has closed its sending half can still get an answer. Requests that are not held are answered
/// within this.
const LEAVING: Duration = Duration::from_millis(100);

/// A socket that one task reads and writes, and another one watches.
pub(crate) struct Stream {
    socket: Arc<TcpStream>,
    /// What was read before.
    read: Bytes,
    /// Since when an answer waits for its client, and how much the client has taken since.
    behind: Option<(Instant, u64)>,
    late: Pin<Box<Sleep>>,
}

impl Stream {
    pub(crate) fn new(socket: Arc<TcpStream>, read: Bytes) -> Self {
        Self { socket, read, behind: None, late: Box::pin(sleep(Duration::ZERO)) }
    }

    /// Writes, and measures how long the client lets it wait.
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

/// Reads what has come, or that nothing more will.
pub(crate) fn poll_read(
    socket: &TcpStream,
    context: &mut Context<'_>,
    buffer: &mut impl BufMut,
) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_read_ready(context))?;
        let (room, mut len) = (buffer.remaining_mut(), 0);
        let read = socket.try_io(Interest::READABLE, || {
            len = socket.try_read_buf(buffer)?;
            // What leaves room has read all that there was. The socket is no longer readable then, and must not be
            // taken for such: whoever waits for a client to leave would be woken again and again.
            if len > 0 && len < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && len == 0 => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            _ => return Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return poll_read(&self.socket, context, buffer);
        }
        let len = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(len));
        Poll::Ready(Ok(()))
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

    /// Large answers are written from where they are, and not copied into a buffer of the connection.
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

/// Tells that nothing more will be written.
pub(crate) fn shut_down(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).shutdown(Shutdown::Write)
}

/// Returns when the client has left: it has closed the connection, or its sending half and had a moment to get what is
/// answered at once.
pub(crate) async fn client_left(socket: &TcpStream) {
    // `ready` would put each waiting task into a list. This has room for one, and only this connection's task reads.
    while poll_fn(|context| socket.poll_read_ready(context)).await.is_ok() {
        match socket.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => sleep(LOOK_AGAIN).await,
            _ => break,
        }
    }
    sleep(LEAVING).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, pin::pin};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    async fn connected() -> (TcpStream, Arc<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Arc::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn who_waits_for_a_client_to_leave_is_not_woken_before() {
        let (mut client, socket) = connected().await;
        let mut stream = Stream::new(Arc::clone(&socket), Bytes::new());
        let mut bytes = [0; 64];
        client.write_all(b"a request").await.unwrap();
        assert_eq!(stream.read(&mut bytes).await.unwrap(), 9);
        let (mut left, mut polled) = (pin!(client_left(&socket)), 0);
        let mut left = pin!(poll_fn(|context| {
            polled += 1;
            left.as_mut().poll(context)
        }));
        assert!(timeout(Duration::from_secs(1), left.as_mut()).await.is_err());
        drop(client);
        left.await;
        assert!(polled <= 5, "it was looked at {polled} times");
    }

    #[tokio::test]
    async fn nothing_that_comes_is_overlooked_however_it_is_cut() {
        let (mut client, socket) = connected().await;
        let mut stream = Stream::new(socket, Bytes::new());
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let all = sent.clone();
        let sender = tokio::spawn(async move {
            let mut rest = &all[..];
            for len in (1..).map(|round| round * 7 % 300 + 1) {
                let (piece, after) = rest.split_at(len.min(rest.len()));
                client.write_all(piece).await.unwrap();
                rest = after;
                tokio::task::yield_now().await;
                if rest.is_empty() {
                    return;
                }
            }
        });
        let (mut got, mut bytes) = (Vec::new(), [0; 128]);
        loop {
            match stream.read(&mut bytes).await.unwrap() {
                0 => break,
                len => got.extend_from_slice(&bytes[..len]),
            }
        }
        sender.await.unwrap();
        assert!(got == sent);
    }
}
