//! `linger health`: asks a running linger whether it is well, for containers without curl.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

/// The longest time for the connection, and then for each part of the answer. Container engines allow a check 30 s by
/// default.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);

/// The name `localhost` is accepted with any `--allowed-host`.
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

/// The address to connect to for a server that listens on this one: `0.0.0.0` and `::` are all addresses of the
/// machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
