//! Connections: how many, for how long, and how they end.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::{HeaderValue, Request, header::CONNECTION};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pubsub::clock;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    addresses::Addresses,
    answers::refuse,
    client::{Ends, Proxies},
    flags::Flags,
    router::Front,
    stream::{self, Stream},
    workers::Workers,
};

/// What a connection keeps of what it has read, in bytes: a request's head must fit. Browsers send at most 8 KB or so.
const READ_BYTES_MAX: usize = 16 * 1024;

/// One connection too many of an address is told so within this.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

/// After its last answer a connection is read on for so long, and what comes is thrown away: the answer may be lost when
/// a connection is closed with something unread.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// When for so long after the signal to stop no connection has ended, those that are left are cut off.
const STOP_STALL_MAX: Duration = Duration::from_secs(1);

/// And so much later for each connection that there was, whatever happens: the slowest machine answers 1,000 a second.
const STOP_EACH_MAX: Duration = Duration::from_millis(1);

/// Descriptors that are not for connections: the listener, the log, files being read, the runtime's own.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Connections that the kernel keeps until they are accepted: a herd that arrives at once waits there.
const BACKLOG: u32 = 4096;

/// A socket that listens, and how many connections it may have.
pub(crate) struct Server {
    listener: TcpListener,
    connections_max: usize,
    /// A connection that says nothing, or not all of a request's head, is closed after this.
    keep_alive: Duration,
    addresses: Arc<Addresses>,
    proxies: Proxies,
    workers: Arc<Workers>,
}

impl Server {
    /// Listens, and raises the limit of descriptors to what the system allows.
    pub(crate) async fn bind(
        flags: &Flags,
        addresses: Arc<Addresses>,
        proxies: Proxies,
        workers: Arc<Workers>,
    ) -> io::Result<Self> {
        let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
        let connections_max = descriptors.saturating_sub(DESCRIPTORS_RESERVED).clamp(1, 1 << 20);
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "there is no such address");
        for address in lookup_host((flags.address.host.as_str(), flags.address.port)).await? {
            match listen(address) {
                Ok(listener) => {
                    let connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
                    let keep_alive = flags.keep_alive;
                    return Ok(Self { listener, connections_max, keep_alive, addresses, proxies, workers });
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
    /// that, for as long as connections end.
    pub(crate) async fn run(self, front: Front, close: impl FnOnce()) -> io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stopping = watch::Sender::new(false);
        let slots = Arc::new(Semaphore::new(self.connections_max));
        let front = Arc::new(front);
        tokio::select! {
            () = self.accept(&front, &stopping, &slots) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        close();
        stopping.send_replace(true);
        // Who comes meanwhile is told that the server stops. A second signal ends it at once.
        tokio::select! {
            () = self.accept(&front, &stopping, &slots) => {}
            () = ended(&stopping) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    }

    /// Accepts connections for ever.
    async fn accept(&self, front: &Arc<Front>, stopping: &watch::Sender<bool>, slots: &Arc<Semaphore>) {
        while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    let Ok(socket) = socket.into_std() else { continue };
                    self.workers.spawn(self.converse(socket, peer, Arc::clone(front), stopping.subscribe(), slot));
                }
                Err(error) => {
                    // Out of descriptors, say. Those who wait are still there in a moment.
                    tracing::warn!(%error, "can't accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Answers one connection's requests, and keeps its slot until then.
    fn converse(
        &self,
        socket: std::net::TcpStream,
        peer: SocketAddr,
        front: Arc<Front>,
        stopping: watch::Receiver<bool>,
        slot: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let own = socket.local_addr().map_or(peer.ip(), |own| own.ip());
        let ends = Ends { client: peer.ip(), own, host: OnceLock::new() };
        // A proxy's connections are those of many.
        let counted = if self.proxies.trust(peer.ip()) { Ok(None) } else { self.addresses.connect(peer.ip()) };
        let keep_alive = self.keep_alive;
        async move {
            let _slot = slot;
            // From here on its worker's runtime watches it.
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            // Answers are written whole; waiting for more would only delay them.
            let _ = socket.set_nodelay(true);
            let socket = Arc::new(socket);
            match counted {
                Ok(_counted) => {
                    let connection = Arc::new(Connection { front, ends, socket: Arc::clone(&socket) });
                    let answer = service_fn(move |request: Request<Incoming>| {
                        answer(Arc::clone(&connection), Box::new(request.map(Body::new)))
                    });
                    serve(socket, answer, keep_alive, stopping).await;
                }
                Err(problem) => {
                    let refusal = service_fn(move |_| {
                        let response = closing(refuse(problem.clone()));
                        async { Ok::<_, io::Error>(response) }
                    });
                    let _ = timeout(REFUSAL_MAX, serve(socket, refusal, REFUSAL_MAX, stopping)).await;
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

/// Returns when all connections have ended, each of which has a receiver; or when none ends any more.
async fn ended(stopping: &watch::Sender<bool>) {
    let mut left = stopping.receiver_count();
    let begun = clock::now();
    let all = STOP_STALL_MAX + STOP_EACH_MAX * u32::try_from(left).unwrap_or(u32::MAX);
    while timeout(STOP_STALL_MAX, stopping.closed()).await.is_err() {
        // Those who come meanwhile are no progress.
        let now_left = stopping.receiver_count();
        if now_left >= left || clock::now() - begun > all {
            return;
        }
        left = now_left;
    }
}

/// What the requests of one connection are answered with.
struct Connection {
    front: Arc<Front>,
    ends: Ends,
    socket: Arc<TcpStream>,
}

/// Answers a request. What was read of it is carried out, also when its client sends no more or has left, but for a poll:
/// that is dropped, and frees what it holds.
async fn answer(connection: Arc<Connection>, request: Box<Request<Body>>) -> io::Result<Response> {
    let poll = request.uri().path() == "/sub";
    let response = connection.front.answer(request, &connection.ends);
    let left = async {
        if !poll {
            std::future::pending::<()>().await;
        }
        stream::client_left(&connection.socket).await;
    };
    tokio::select! {
        biased;
        response = response => Ok(response),
        () = left => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// The last answer of a connection.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Serves one connection until it ends, by itself or because the process stops.
async fn serve<S>(socket: Arc<TcpStream>, service: S, keep_alive: Duration, mut stopping: watch::Receiver<bool>)
where
    S: Service<Request<Incoming>, Response = Response, Error = io::Error>,
{
    let late = *stopping.borrow_and_update();
    let stopped = {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(keep_alive)
            .max_buf_size(READ_BYTES_MAX)
            .half_close(true)
            .keep_alive(!late)
            .serve_connection(TokioIo::new(Stream::new(Arc::clone(&socket))), service);
        let mut connection = pin!(connection);
        // How a connection ended is its client's affair.
        tokio::select! {
            _ = connection.as_mut() => false,
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
                true
            }
        }
    };
    let _ = stream::shut_down(&socket);
    if !stopped && !late {
        let _ = timeout(UNREAD_MAX, read_away(&socket)).await;
    }
}

/// Reads until the client closes the connection too.
async fn read_away(socket: &TcpStream) {
    // Not part of the future, which each connection has in memory from its beginning.
    let read = || match socket.try_read(&mut [0; 1024]) {
        Ok(len) => len > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    while socket.readable().await.is_ok() && read() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Connections that end one after another, so long apart.
    fn ending(stopping: &watch::Sender<bool>, count: u32, apart: Duration) {
        for number in 1..=count {
            let connection = stopping.subscribe();
            tokio::spawn(async move {
                sleep(apart * number).await;
                drop(connection);
            });
        }
    }

    async fn waited(stopping: &watch::Sender<bool>) -> Duration {
        let begun: Instant = clock::now();
        ended(stopping).await;
        clock::now() - begun
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_as_long_as_connections_end() {
        let stopping = watch::Sender::new(true);
        ending(&stopping, 3000, Duration::from_millis(1));
        assert_eq!(waited(&stopping).await, Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_gives_up_a_second_after_the_last_one_ended() {
        let stopping = watch::Sender::new(true);
        let _never = stopping.subscribe();
        ending(&stopping, 1000, Duration::from_millis(1));
        let took = waited(&stopping).await;
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_while_it_stops_do_not_keep_it() {
        let stopping = Arc::new(watch::Sender::new(true));
        let _never = stopping.subscribe();
        let coming = Arc::clone(&stopping);
        tokio::spawn(async move {
            loop {
                let connection = coming.subscribe();
                sleep(Duration::from_millis(300)).await;
                drop(connection);
            }
        });
        assert!(waited(&stopping).await <= Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_has_a_bound_that_suits_the_number() {
        let stopping = watch::Sender::new(true);
        ending(&stopping, 100, Duration::from_millis(900));
        let took = waited(&stopping).await;
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
}
