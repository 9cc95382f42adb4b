//! The address that a request comes from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use clap::ValueEnum;
use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

/// The two addresses of a connection.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) client: IpAddr,
    pub(crate) own: IpAddr,
    /// A `Host` that was found to be this server's own: nearly all requests of a connection have the same. It is a copy,
    /// since a header is a piece of what was read, all of which it would keep.
    pub(crate) host: OnceLock<Box<[u8]>>,
}

/// The header in which a proxy reports the client. Only one is read: a proxy that writes one of them passes on the
/// other as the client wrote it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProxyHeader {
    /// As most proxies write it
    XForwardedFor,
    /// RFC 7239
    Forwarded,
}

/// The trusted proxies.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    pub(crate) trusted: Vec<IpNet>,
    pub(crate) header: ProxyHeader,
}

impl Proxies {
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The address of the client. Each proxy appends the address that it got the request from. They are read from the
    /// last one, while they are trusted proxies: what comes before may be made up by the client.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trust(peer) {
            return peer;
        }
        let name = match self.header {
            ProxyHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ProxyHeader::Forwarded => FORWARDED,
        };
        let mut client = peer;
        for value in headers.get_all(name).iter().rev() {
            let text = value.to_str().unwrap_or_default();
            let entries: Vec<_> = match self.header {
                ProxyHeader::XForwardedFor => text.split(',').map(Some).collect(),
                ProxyHeader::Forwarded => unquoted(text, b',').into_iter().map(forwarded_for).collect(),
            };
            for said in entries.into_iter().rev() {
                match said.and_then(address) {
                    Some(said) if self.trust(client) => client = said,
                    _ => return client,
                }
            }
        }
        client
    }
}

/// The parts between separators, of which none is in quotes. What a client sent may stand in a quoted text.
fn unquoted(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            byte if byte == separator && !quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    unquoted(element, b';').into_iter().find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| value.trim_matches('"'))
    })
}

/// An address as proxies write it, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ProxyHeader, peer: &str, values: &[&str]) -> String {
        let trusted = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", value.parse().unwrap());
            headers.append("forwarded", value.parse().unwrap());
        }
        Proxies { trusted, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_trusted_proxys_word_is_taken_and_no_other() {
        let client = |peer: &str, values: &[&str]| client(ProxyHeader::XForwardedFor, peer, values);
        assert_eq!(client("192.0.2.9", &["192.0.2.1"]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(client("::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        // What comes before the last address that a proxy wrote is made up by the client.
        assert_eq!(client("10.0.0.1", &["127.0.0.1, 198.51.100.7, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["127.0.0.1", "192.0.2.1", "10.0.0.2"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["127.0.0.1, nonsense"]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_its_standard_has_it() {
        let client = |values: &[&str]| client(ProxyHeader::Forwarded, "10.0.0.1", values);
        assert_eq!(client(&["for=192.0.2.1;proto=https;by=10.0.0.1"]), "192.0.2.1");
        assert_eq!(client(&["for=127.0.0.1, proto=http;For=\"[2001:db8::1]:4711\""]), "2001:db8::1");
        assert_eq!(client(&["for=unknown"]), "10.0.0.1");
        // Only a proxy's own words count, and not what it repeats.
        for host in ["a,for=9.9.9.9", "a;for=9.9.9.9", r#"\",for=9.9.9.9,\""#, r"\\"] {
            assert_eq!(client(&[&format!("for=192.0.2.1;host=\"{host}\"")]), "192.0.2.1", "{host}");
        }
        assert_eq!(client(&["for=192.0.2.1;host=\"a,for=9.9.9.9"]), "192.0.2.1", "a quote without an end");
        assert_eq!(client(&["192.0.2.1"]), "10.0.0.1");
    }
}
