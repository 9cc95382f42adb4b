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
    client::{Ends, Proxies},
    flags::Flags,
    router::Front,
    stream::{self, Stream},
    workers::Workers,
};

/// The buffer of a connection for what it reads, in bytes: the head of a request must fit. Browsers send about 8 KB at
/// most.
const READ_BYTES_MAX: usize = 16 * 1024;

/// How long the refusal of a connection may take, when an address has too many.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

/// How long a connection is read after its last answer. What comes is thrown away: the answer may be lost when a
/// connection is closed with unread data.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// After the signal to stop, when no connection has ended for this long, the others are cut off.
const STOP_STALL_MAX: Duration = Duration::from_secs(1);

/// All are cut off this much later for each connection that there was: the slowest machine answers 1,000 a second.
const STOP_EACH_MAX: Duration = Duration::from_millis(1);

/// Descriptors that are not for connections: the listener, the log, files that are read, the runtime's own.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Fewer connections than this are worth a warning.
const CONNECTIONS_FEW: u64 = 4_000;

/// How many connections the kernel keeps until they are accepted, when many arrive at once.
const BACKLOG: u32 = 4096;

/// A socket that listens, and how many connections it may have.
pub(crate) struct Server {
    listener: TcpListener,
    connections_max: usize,
    /// How long a connection may send nothing, or only a part of a request's head.
    keep_alive: Duration,
    addresses: Arc<Addresses>,
    proxies: Proxies,
    workers: Arc<Workers>,
}

impl Server {
    /// Listens.
    pub(crate) async fn bind(
        flags: &Flags,
        connections_max: usize,
        addresses: Arc<Addresses>,
        proxies: Proxies,
        workers: Arc<Workers>,
    ) -> io::Result<Self> {
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "there is no such address");
        for address in lookup_host((flags.address.host.as_str(), flags.address.port)).await? {
            match listen(address) {
                Ok(listener) => {
                    let keep_alive = flags.keep_alive;
                    return Ok(Self { listener, connections_max, keep_alive, addresses, proxies, workers });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a signal comes. Then it calls `close`, which should end what is under way, and waits for that as
    /// long as connections go on ending.
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
        // Connections know it before their polls end, so that those are told that it is the last answer.
        stopping.send_replace(true);
        close();
        // New requests are told that the server stops. A second signal ends it at once.
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
                    // For example, there are no more descriptors. The connections that wait will still be there in a
                    // moment.
                    tracing::warn!(%error, "can't accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Answers one connection's requests, and keeps its slot until it ends.
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
        // A proxy's connections are those of many clients.
        let counted = if self.proxies.trust(peer.ip()) { Ok(None) } else { self.addresses.connect(peer.ip()) };
        let keep_alive = self.keep_alive;
        async move {
            let _slot = slot;
            // From here on, its worker's runtime watches it.
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            // Answers are written whole, so waiting for more would only delay them.
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
                    let refusal = service_fn(async |request: Request<Incoming>| {
                        let refused = front.refuse(request.map(Body::new), problem.clone()).await;
                        Ok::<_, io::Error>(closing(refused))
                    });
                    let _ = timeout(REFUSAL_MAX, serve(socket, refusal, REFUSAL_MAX, stopping)).await;
                }
            }
        }
    }
}

/// Raises the limit of descriptors to what the system allows, and returns how many connections there can be.
pub(crate) fn connections_max() -> io::Result<usize> {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let connections = descriptors.saturating_sub(DESCRIPTORS_RESERVED).clamp(1, 1 << 20);
    if connections < CONNECTIONS_FEW {
        tracing::warn!(
            connections,
            "the limit of open files allows few connections; raise it (ulimit -n, LimitNOFILE)"
        );
    }
    Ok(usize::try_from(connections).unwrap_or(usize::MAX))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Returns when all connections have ended, each of which has a receiver, or when they stop ending.
async fn ended(stopping: &watch::Sender<bool>) {
    let mut left = stopping.receiver_count();
    let begun = clock::now();
    let all = STOP_STALL_MAX + STOP_EACH_MAX * u32::try_from(left).unwrap_or(u32::MAX);
    while timeout(STOP_STALL_MAX, stopping.closed()).await.is_err() {
        // New connections meanwhile do not count as progress.
        let now_left = stopping.receiver_count();
        if now_left >= left || clock::now() - begun > all {
            return;
        }
        left = now_left;
    }
}

/// The common parts of a connection's requests.
struct Connection {
    front: Arc<Front>,
    ends: Ends,
    socket: Arc<TcpStream>,
}

/// Answers a request. One that was read is carried out, even if its client has sent its last byte or left. Only a poll
/// is dropped then, and frees what it holds.
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
        // How a connection ended does not matter to the server.
        tokio::select! {
            biased;
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
                true
            }
            _ = connection.as_mut() => false,
        }
    };
    let _ = stream::shut_down(&socket);
    if !stopped && !late {
        let _ = timeout(UNREAD_MAX, read_away(&socket)).await;
    }
}

/// Reads until the client closes the connection too.
async fn read_away(socket: &TcpStream) {
    // The buffer is in a closure, so that it is not a part of the future: each connection has the memory of that from its
    // beginning.
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

    /// Connections that end one after the other, this long apart.
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
