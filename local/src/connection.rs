//! A client's connection: its requests, answered one after the other, until it ends.

use std::{future::pending, io, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pubsub::api::Problem;
use tokio::{net::TcpStream, sync::watch, task::yield_now, time::timeout};

use crate::{
    client::Ends,
    plain,
    router::Front,
    stream::{self, Stream},
    unread::lend,
};

/// The buffer of a connection for what it reads, in bytes: the head of a request must fit. Browsers send about 8 KB at
/// most.
const READ_BYTES_MAX: usize = 16 * 1024;

/// How long the refusal of a connection may take, when an address has too many.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

/// How long a connection is read after its last answer. What comes is thrown away: the answer may be lost when a
/// connection is closed with unread data.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// One client's connection.
pub(crate) struct Connection {
    front: Arc<Front>,
    ends: Ends,
    socket: Arc<TcpStream>,
}

impl Connection {
    pub(crate) fn new(front: Arc<Front>, ends: Ends, socket: TcpStream) -> Self {
        // Answers are written whole, so waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        Self { front, ends, socket: Arc::new(socket) }
    }

    /// Answers its requests until it ends, by itself or because the process stops.
    pub(crate) async fn serve(&self, keep_alive: Duration, stopping: &mut watch::Receiver<bool>) {
        let read = plain::serve(&self.socket, keep_alive, stopping, |request| self.answer(request)).await;
        if let Some(read) = read {
            let service = service_fn(async |request: Request<Incoming>| {
                let (request, rest) = lend(Box::new(request.map(Body::new)));
                let mut response = self.answer(request).await?;
                rest.read(&mut response).await;
                // Who sends one request behind the other must not keep its worker from looking at other sockets.
                yield_now().await;
                Ok(response.map(Full::new))
            });
            // In a box, because few connections come here.
            Box::pin(self.serve_with_hyper(read, service, keep_alive, stopping)).await;
        }
    }

    /// Answers a request. One that was read is carried out, even if its client has sent its last byte or left. Only a
    /// poll is dropped then, and frees what it holds.
    async fn answer(&self, request: Box<Request<Body>>) -> io::Result<Response<Bytes>> {
        let poll = request.uri().path() == "/sub";
        let left = async {
            if !poll {
                pending::<()>().await;
            }
            stream::client_left(&self.socket).await;
        };
        tokio::select! {
            biased;
            response = self.front.answer(request, &self.ends) => Ok(response),
            () = left => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Answers the first request of a connection that is one too many.
    pub(crate) async fn refuse(&self, problem: Problem, stopping: &mut watch::Receiver<bool>) {
        let service = service_fn(async |request: Request<Incoming>| {
            let mut refused = self.front.refuse(request.map(Body::new), problem.clone()).await;
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Ok(refused.map(Full::new))
        });
        let _ = timeout(REFUSAL_MAX, self.serve_with_hyper(Bytes::new(), service, REFUSAL_MAX, stopping)).await;
    }

    /// Closes it. What the client still sends is read and thrown away, except at a stop.
    pub(crate) async fn close(&self, stopping: &watch::Receiver<bool>) {
        let _ = stream::shut_down(&self.socket);
        if !*stopping.borrow() {
            let _ = timeout(UNREAD_MAX, self.read_away()).await;
        }
    }

    /// Answers all requests, of which `read` was read already.
    async fn serve_with_hyper<S>(
        &self,
        read: Bytes,
        service: S,
        keep_alive: Duration,
        stopping: &mut watch::Receiver<bool>,
    ) where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = io::Error>,
    {
        let late = *stopping.borrow_and_update();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(keep_alive)
            .max_buf_size(READ_BYTES_MAX)
            .half_close(true)
            .keep_alive(!late)
            .serve_connection(TokioIo::new(Stream::new(Arc::clone(&self.socket), read)), service);
        let mut connection = pin!(connection);
        // How a connection ended does not matter to the server.
        tokio::select! {
            biased;
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            _ = connection.as_mut() => {}
        }
    }

    /// Reads until the client closes the connection too.
    async fn read_away(&self) {
        // The buffer is in a closure, so that it is not a part of the future: each connection has the memory of that
        // from its beginning.
        let read = || match self.socket.try_read(&mut [0; 1024]) {
            Ok(len) => len > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        while self.socket.readable().await.is_ok() && read() {
            // Lets a timeout end it while more and more comes.
            yield_now().await;
        }
    }
}
