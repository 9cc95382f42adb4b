//! Connections: how many, for how long, and how they end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

/// A connection that says nothing, or not all of a request's head, is closed after this. Longer than a hold's client
/// takes to ask again, so that a page that polls keeps its connection.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A client that does not take its answer loses the connection after this.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What is still under way so long after the signal to stop is cut off.
const STOP_MAX: Duration = Duration::from_secs(1);

/// Descriptors that are not for connections: the listener, the log, files being sent, the runtime's own.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Connections that the kernel keeps until they are accepted: a herd that arrives at once waits there.
const BACKLOG: u32 = 4096;

/// A socket that listens, and how many connections it may have.
pub(crate) struct Server {
    listener: TcpListener,
    connections_max: usize,
}

impl Server {
    /// Listens, and raises the limit of descriptors to what the system allows.
    pub(crate) async fn bind(host: &str, port: u16) -> io::Result<Self> {
        let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
        let connections_max = descriptors.saturating_sub(DESCRIPTORS_RESERVED).clamp(1, 1 << 20);
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "there is no such address");
        for address in lookup_host((host, port)).await? {
            match listen(address) {
                Ok(listener) => {
                    let connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
                    return Ok(Self { listener, connections_max });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a signal comes; then calls `close`, which should bring what is under way to an end, and waits for
    /// that, a second at most.
    pub(crate) async fn run(self, router: Router, close: impl FnOnce()) -> io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stopping = watch::Sender::new(false);
        let slots = Arc::new(Semaphore::new(self.connections_max));
        tokio::select! {
            () = self.accept(&router, &stopping, &slots) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        close();
        stopping.send_replace(true);
        // Each connection has a receiver. Who comes meanwhile is told that the server stops.
        tokio::select! {
            () = self.accept(&router, &stopping, &slots) => {}
            _ = timeout(STOP_MAX, stopping.closed()) => {}
        }
        Ok(())
    }

    /// Accepts connections for ever.
    async fn accept(&self, router: &Router, stopping: &watch::Sender<bool>, slots: &Arc<Semaphore>) {
        while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let conversation = converse(stream, router.clone(), stopping.subscribe());
                    tokio::spawn(async move {
                        conversation.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of descriptors, say. Those who wait are still there in a moment.
                    tracing::warn!(%error, "can't accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers one connection's requests. When the client goes away, whatever it waited for is dropped.
async fn converse(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(STALL_MAX));
    let late = *stopping.borrow_and_update();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX)
        .keep_alive(!late)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // How a connection ended is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
