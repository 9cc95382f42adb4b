//! Many connections on one thread: each sends requests, one at a time, and receives answers.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    Outcome, clock,
    http::{self, Malformed, Response},
    target::Target,
};

/// How much is read at once. Most answers are far shorter; the longest are 512 KiB.
const READ_BYTES: usize = 64 * 1024;

/// Connections that can be served before the kernel is asked again.
const EVENTS: usize = 1024;

/// The connections of this tool. They are numbered from 0.
pub(crate) struct Wire {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    target: Target,
    /// Shared by all connections: nearly every answer comes whole, and is parsed where it was read.
    scratch: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of an answer that has not come whole.
    unread: Vec<u8>,
    /// The end of a request, for which the kernel had no room.
    unsent: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(target: Target) -> io::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(EVENTS));
        Ok(Self { poll, events, connections: Vec::new(), target, scratch: vec![0; READ_BYTES] })
    }

    /// Opens one more connection.
    pub(crate) fn open(&mut self) -> Outcome<()> {
        let number = self.connections.len();
        let stream = self.target.connect(number).map_err(|error| format!("connection {number}: {error}"))?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.connections.push(Connection { stream, unread: Vec::new(), unsent: Vec::new() });
        Ok(())
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, number: usize, request: &[u8]) -> Outcome<()> {
        let connection = self.connections.get_mut(number).ok_or("there is no such connection")?;
        if connection.unsent.is_empty() {
            let sent = match connection.stream.write(request) {
                Ok(len) => len,
                Err(error) if is_nothing(&error) => 0,
                Err(error) => return Err(cut(number, &error)),
            };
            connection.unsent.extend_from_slice(request.get(sent..).unwrap_or_default());
        } else {
            connection.unsent.extend_from_slice(request);
        }
        Ok(())
    }

    /// Waits until something comes, at most until this moment, and passes on every complete answer.
    pub(crate) fn turn<F>(&mut self, until: Duration, hear: &mut F) -> Outcome<()>
    where
        F: FnMut(&mut Self, usize, &Response<'_>) -> Outcome<()>,
    {
        // The kernel waits in whole milliseconds.
        let wait = until.saturating_sub(clock::now());
        let wait = if wait.is_zero() { wait } else { wait.max(Duration::from_millis(1)) };
        if let Err(error) = self.poll.poll(&mut self.events, Some(wait))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        let mut scratch = mem::take(&mut self.scratch);
        let mut outcome = Ok(());
        for event in &events {
            let number = event.token().0;
            outcome = self.flush(number);
            if outcome.is_ok() && event.is_readable() {
                outcome = self.read(number, event.is_read_closed(), &mut scratch, hear);
            }
            if outcome.is_err() {
                break;
            }
        }
        (self.events, self.scratch) = (events, scratch);
        outcome
    }

    fn flush(&mut self, number: usize) -> Outcome<()> {
        if self.connections.get(number).is_none_or(|connection| connection.unsent.is_empty()) {
            return Ok(());
        }
        let unsent = self.connections.get_mut(number).map(|connection| mem::take(&mut connection.unsent));
        self.send(number, &unsent.unwrap_or_default())
    }

    fn read<F>(&mut self, number: usize, ending: bool, scratch: &mut [u8], hear: &mut F) -> Outcome<()>
    where
        F: FnMut(&mut Self, usize, &Response<'_>) -> Outcome<()>,
    {
        loop {
            let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
            let len = match connection.stream.read(scratch) {
                Ok(0) => return Err(cut(number, &"by the server")),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_nothing(&error) => return Ok(()),
                Err(error) => return Err(cut(number, &error)),
            };
            self.take(number, scratch.get(..len).unwrap_or_default(), hear)?;
            // A short read has taken all that there was; more makes another event, except for the end.
            if len < scratch.len() && !ending {
                return Ok(());
            }
        }
    }

    fn take<F>(&mut self, number: usize, new: &[u8], hear: &mut F) -> Outcome<()>
    where
        F: FnMut(&mut Self, usize, &Response<'_>) -> Outcome<()>,
    {
        let mut unread = self.connections.get_mut(number).map(|connection| mem::take(&mut connection.unread));
        let joined = unread.as_mut().filter(|unread| !unread.is_empty()).map(|unread| {
            unread.extend_from_slice(new);
            &**unread
        });
        let mut bytes = joined.unwrap_or(new);
        while !bytes.is_empty() {
            let parsed =
                http::parse(bytes).map_err(|Malformed| format!("connection {number} was answered what is not HTTP"))?;
            let Some((response, len)) = parsed else { break };
            hear(self, number, &response)?;
            bytes = bytes.get(len..).unwrap_or_default();
        }
        if let Some(connection) = self.connections.get_mut(number).filter(|_| !bytes.is_empty()) {
            connection.unread = bytes.to_vec();
        }
        Ok(())
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A result is worth nothing if a connection was cut.
fn cut(number: usize, why: &dyn std::fmt::Display) -> Box<dyn std::error::Error> {
    format!("connection {number} was closed: {why}").into()
}
