//! `linger health`: asks a running linger whether it is well, where there is no curl to ask with, as in a container.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

/// How long a connection, and then each part of the answer, may take. Container engines give a check 30 s by default.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);

/// The name `localhost` is let in whatever `--allowed-host` says.
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

const HEALTHY: &[u8] = b"HTTP/1.1 200";

/// Whether the linger that listens on this host and port answers as it should.
pub(crate) fn check(host: &str, port: u16) -> io::Result<()> {
    let address = (host, port).to_socket_addrs()?.next().map(reachable).ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT_MAX)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
    stream.write_all(REQUEST)?;
    let mut status = [0; HEALTHY.len()];
    stream.read_exact(&mut status)?;
    if status == HEALTHY {
        Ok(())
    } else {
        Err(io::Error::other(format!("{address} answered {}", String::from_utf8_lossy(&status))))
    }
}

/// Where to connect to reach a server that listens on this address: `0.0.0.0` and `::` stand for all of a machine's own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
