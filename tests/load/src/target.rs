//! The server that is measured: its address, and connections to it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::http::{self, Malformed};

/// How many connections one address makes to one port, of the 28,000 that Linux allows by default.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

/// A server that does not accept a connection, or answer a question about its metrics, within this time can't be
/// reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    /// The header `Host`.
    pub(crate) host: String,
    /// The prefix of every path.
    pub(crate) prefix: String,
}

impl Target {
    /// Reads an address such as `http://127.0.0.1:3000`.
    pub(crate) fn parse(base: &str) -> Result<Self, String> {
        let rest = base.strip_prefix("http://").ok_or("the address must begin with http://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port_given = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let resolved = if port_given { host.to_socket_addrs() } else { (host, 80).to_socket_addrs() };
        let address = resolved.map_err(|error| format!("{host}: {error}"))?.next();
        let address = address.ok_or_else(|| format!("{host} has no address"))?;
        let prefix = if path.is_empty() { String::new() } else { format!("/{}", path.trim_end_matches('/')) };
        Ok(Self { address, host: host.to_owned(), prefix })
    }

    /// The n-th connection. When one address has no more ports, others of the loopback network are used.
    pub(crate) fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        let network = u8::try_from(number / CONNECTIONS_PER_ADDRESS).unwrap_or(u8::MAX);
        if network > 0 && self.address.is_ipv4() && self.address.ip().is_loopback() {
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, network.saturating_add(1)));
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&self.address.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket.into())
    }

    /// The answer for a path, on a connection of its own; nothing if there is no such path.
    pub(crate) fn get(&self, path: &str) -> io::Result<Option<String>> {
        let mut stream = self.connect(0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Self { host, prefix, .. } = self;
        write!(stream, "GET {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let (mut bytes, mut scratch) = (Vec::new(), [0; 4096]);
        // A server may leave the connection open.
        loop {
            let parsed = http::parse(&bytes);
            let response =
                parsed.map_err(|Malformed| io::Error::other(format!("{path} is answered what is not HTTP")))?;
            if let Some((response, _)) = response {
                let body = (response.status == 200).then(|| String::from_utf8_lossy(&response.body).into_owned());
                return Ok(body);
            }
            let len = stream.read(&mut scratch)?;
            if len == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(scratch.get(..len).unwrap_or_default());
        }
    }
}
