//! The floor: what linger would cost if it only held polls and returned one body. Hyper on all processors.

mod log;

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, Write},
    net::Ipv4Addr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime, sync::watch};

static CHANNELS: LazyLock<Mutex<HashMap<String, Arc<Channel>>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Channel {
    log: Mutex<log::Log>,
    /// The number of messages.
    news: watch::Sender<usize>,
}

fn main() -> io::Result<()> {
    runtime::Builder::new_multi_thread().enable_io().build()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(io::stdout(), "floor is at http://{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = if request.method() == Method::POST {
        let form = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        publish(&String::from_utf8_lossy(&form))
    } else if request.uri().path() == "/sub" {
        hold(request.uri().query().unwrap_or_default()).await
    } else {
        Bytes::new()
    };
    Ok(Response::new(Full::new(body)))
}

fn publish(form: &str) -> Bytes {
    let channel = channel(log::field(form, "channel"));
    let len = lock(&channel.log).append(log::field(form, "message"));
    channel.news.send_replace(len);
    Bytes::from_static(br#"{"status":"sent"}"#)
}

async fn hold(query: &str) -> Bytes {
    let channel = channel(log::field(query, "channel"));
    let cursor = log::cursor(query);
    let mut news = channel.news.subscribe();
    // The channel keeps the sender, so this never fails.
    let _ = news.wait_for(|len| *len > cursor).await;
    lock(&channel.log).after(cursor, |body| body).unwrap_or_default()
}

fn channel(name: &str) -> Arc<Channel> {
    let mut channels = lock(&CHANNELS);
    if let Some(channel) = channels.get(name) {
        return Arc::clone(channel);
    }
    Arc::clone(channels.entry(name.to_owned()).or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
