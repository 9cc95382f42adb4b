//! The limit: one thread with epoll that does nothing else. Nearly all that it takes for a delivery is the kernel's.

mod log;

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    mem,
};

use bytes::Bytes;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

/// The token of the listening socket. Connections are numbered from 0.
const LISTENER: Token = Token(usize::MAX);

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// Numbers are not reused, so a hold can't be taken for another one.
    connections: Vec<Option<Connection>>,
    channels: HashMap<String, Channel>,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a request that has not come whole.
    unread: Vec<u8>,
    /// The end of an answer, for which the kernel had no room.
    unsent: Vec<u8>,
}

#[derive(Default)]
struct Channel {
    log: log::Log,
    /// The connections that wait, and their cursors.
    held: Vec<(usize, usize)>,
}

fn main() -> io::Result<()> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stdout(), "limit is at http://{}", listener.local_addr()?)?;
    let mut server = Server { poll, listener, connections: Vec::new(), channels: HashMap::new() };
    let (mut events, mut scratch) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
    loop {
        server.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => server.accept()?,
                Token(number) => server.serve(number, event.is_read_closed(), &mut scratch),
            }
        }
    }
}

/// A body with a head before it.
fn whole(body: String) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}")
}

/// The length of a request's head and body, when both have come.
fn request_len(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let mut lines = str::from_utf8(bytes.get(..head)?).ok()?.lines().filter_map(|line| line.split_once(": "));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let end = head + length.and_then(|(_, length)| length.parse::<usize>().ok()).unwrap_or(0);
    (bytes.len() >= end).then_some((head, end))
}

impl Server {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.connections.len());
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.connections.push(Some(Connection { stream, unread: Vec::new(), unsent: Vec::new() }));
        }
    }

    /// Reads what came on a connection, and answers it. One that ends is forgotten.
    fn serve(&mut self, number: usize, ending: bool, scratch: &mut [u8]) {
        self.send(number, &[]);
        while let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) {
            let len = match connection.stream.read(scratch) {
                Ok(len) if len > 0 => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => return self.forget(number),
            };
            connection.unread.extend_from_slice(scratch.get(..len).unwrap_or_default());
            let mut bytes = mem::take(&mut connection.unread);
            while let Some((head, end)) = request_len(&bytes) {
                let rest = bytes.split_off(end);
                self.answer(number, &String::from_utf8_lossy(&bytes), head);
                bytes = rest;
            }
            if let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) {
                connection.unread = bytes;
            }
            // A short read has taken all that there was; more makes another event, except for the end.
            if len < scratch.len() && !ending {
                return;
            }
        }
    }

    fn answer(&mut self, number: usize, request: &str, head: usize) {
        if request.starts_with("POST") {
            return self.publish(number, request.get(head..).unwrap_or_default());
        }
        let Some((_, query)) = request.split(' ').nth(1).and_then(|path| path.split_once('?')) else {
            return self.send(number, whole(String::new()).as_bytes());
        };
        let (channel, cursor) = (self.channel(log::field(query, "channel")), log::cursor(query));
        match channel.log.after(cursor, whole) {
            Some(answer) => self.send(number, &answer),
            None => channel.held.push((number, cursor)),
        }
    }

    fn publish(&mut self, number: usize, form: &str) {
        let channel = self.channel(log::field(form, "channel"));
        channel.log.append(log::field(form, "message"));
        let answers: Vec<(usize, Option<Bytes>)> = mem::take(&mut channel.held)
            .into_iter()
            .map(|(who, cursor)| (who, channel.log.after(cursor, whole)))
            .collect();
        self.send(number, whole(r#"{"status":"sent"}"#.to_owned()).as_bytes());
        for (who, answer) in answers {
            self.send(who, &answer.unwrap_or_default());
        }
    }

    fn channel(&mut self, name: &str) -> &mut Channel {
        self.channels.entry(name.to_owned()).or_default()
    }

    /// Sends what was left and this, and keeps what the kernel has no room for.
    fn send(&mut self, number: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) else { return };
        let mut joined = mem::take(&mut connection.unsent);
        let all = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        if all.is_empty() {
            return;
        }
        match connection.stream.write(all) {
            Ok(len) => connection.unsent = all.get(len..).unwrap_or_default().to_vec(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => connection.unsent = all.to_vec(),
            Err(_) => self.forget(number),
        }
    }

    fn forget(&mut self, number: usize) {
        if let Some(connection) = self.connections.get_mut(number) {
            *connection = None;
        }
    }
}
