//! The listening socket: how many connections there are, who serves them, and how they end at a stop.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

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
    connection::Connection,
    flags::Flags,
    router::Front,
    workers::Workers,
};

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
    /// How long a connection may send nothing, and how long a part of a request's head may stay without the rest.
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
        mut stopping: watch::Receiver<bool>,
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
            let connection = Connection::new(front, ends, socket);
            match counted {
                Ok(_counted) => connection.serve(keep_alive, &mut stopping).await,
                Err(problem) => connection.refuse(problem, &mut stopping).await,
            }
            connection.close(&stopping).await;
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
