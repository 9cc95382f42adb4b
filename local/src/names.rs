//! Names and addresses as people write them, and as browsers and proxies send them.
//!
//! Names that could never match are refused, with the form that would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderValue, uri::Scheme};
use ipnet::{IpNet, Ipv4Net};

const ORIGIN: &str =
    "an origin is a scheme and a host, and a port if it is not the scheme's own, such as https://example.com";

/// Why there is no `*`: any page that somebody opens could read all channels, also those of an internal network.
const ALL_ORIGINS: &str = "all origins can't be allowed at once: any page that somebody visits could read every channel. \
    Write each origin, such as https://example.com";

/// What a host is.
const HOST: &str = "a host is a name or an address, such as example.com or 192.168.0.7";

/// Reads an origin into the form in which browsers send it, by the URL standard: in lower case, without the scheme's own
/// port.
pub(crate) fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.trim();
    if text == "*" {
        return Err(ALL_ORIGINS.to_owned());
    }
    let (scheme, rest) = text.split_once("://").ok_or(ORIGIN)?;
    let scheme = scheme.to_ascii_lowercase();
    let letter = scheme.starts_with(|first: char| first.is_ascii_lowercase());
    if !letter || Scheme::try_from(scheme.as_str()).is_err() {
        return Err(ORIGIN.to_owned());
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(ORIGIN.to_owned());
    }
    let (host, port) = host_and_port(authority, ORIGIN)?;
    let own = matches!((scheme.as_str(), port), ("https" | "wss", Some(443)) | ("http" | "ws", Some(80)));
    let port = port.filter(|_| !own).map(|port| format!(":{port}")).unwrap_or_default();
    let origin = format!("{scheme}://{host}{port}");
    match path {
        "" => HeaderValue::try_from(origin).map_err(|_| ORIGIN.to_owned()),
        "/" => Err(format!("it ends with a slash; write {origin}")),
        path => Err(format!("it has a path, {path}; write {origin}")),
    }
}

/// Reads a host name, in lower case. One that begins with a dot means all names below it.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains("://") {
        return Err("a host has no scheme; write it as in example.com".to_owned());
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    let (dot, name) = text.strip_prefix('.').map_or(("", text), |name| (".", name));
    match host_and_port(name, HOST)? {
        (name, None) => Ok(format!("{dot}{name}")),
        (name, Some(_)) => Err(format!("any port is meant; write {dot}{name}")),
    }
}

fn host_and_port(authority: &str, form: &str) -> Result<(String, Option<u16>), String> {
    let after_bracket = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_bracket..].rfind(':') {
        Some(colon) => (&authority[..after_bracket + colon], &authority[after_bracket + colon + 1..]),
        None => (authority, ""),
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse::<u16>().map_err(|_| format!("{digits} is no port; they end at 65535"))?)
        }
        _ => return Err(form.to_owned()),
    };
    Ok((canonical(&host.to_ascii_lowercase(), form)?, port))
}

/// A host in the form in which browsers send it. `form` is an example for the error.
fn canonical(host: &str, form: &str) -> Result<String, String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| format!("{host} is no address of IPv6"))?;
        let [.., high, low] = address.segments();
        // Browsers write all of it in hexadecimal.
        let mapped = address.to_ipv4_mapped().map(|_| format!("[::ffff:{high:x}:{low:x}]"));
        return Ok(mapped.unwrap_or_else(|| format!("[{address}]")));
    }
    if host.contains('*') {
        return Err(format!("{host} would match nothing: patterns are not supported, write each name"));
    }
    if !host.is_ascii() {
        return Err(format!("{host} has letters that are sent otherwise; write the form that begins with xn--"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !name.split('.').all(label) {
        return Err(form.to_owned());
    }
    if name != host {
        return Err(format!("{host} ends with a dot, which is another host; write {name}"));
    }
    // Browsers read a name that ends in a number as an IPv4 address, in whatever form.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
        return name
            .parse::<Ipv4Addr>()
            .map(|address| address.to_string())
            .map_err(|_| format!("{name} is sent as an address; write it as four numbers, such as 127.0.0.1"));
    }
    Ok(name.to_owned())
}

/// Reads what to listen on: a name or an address.
pub(crate) fn listener(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    if text.is_empty() || text.contains(['/', ':', ' ']) {
        return Err("it must be a name or an address alone, such as 127.0.0.1; the port is --port".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a port.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    if text.starts_with("tcp://") || text.starts_with("udp://") {
        return Err(
            "Kubernetes sets LINGER_PORT so where a service is called linger: set it to a number in the pod, or \
                    enableServiceLinks to false"
                .to_owned(),
        );
    }
    text.trim().parse().map_err(|_| "a port is a number from 0 to 65535".to_owned())
}

/// Reads a network, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network = text.parse().map_err(|_| "it must be an address, or a network such as 10.0.0.0/8")?;
    // An address of IPv4 is one however it is written.
    let IpNet::V6(six) = network else { return Ok(network) };
    let four = six.prefix_len().checked_sub(96).zip(six.addr().to_ipv4_mapped());
    let four = four.and_then(|(len, address)| Ipv4Net::new(address, len).ok());
    Ok(four.map_or(network, IpNet::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        origin(text).expect_err(text)
    }

    #[test]
    fn an_origin_is_taken_in_the_form_in_which_browsers_send_it() {
        for (text, sent) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com:", "https://example.com"),
            ("https://example.com:0443", "https://example.com"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://example.com:80", "http://example.com"),
            ("http://localhost:08080", "http://localhost:8080"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[0:0::0:1]", "http://[::1]"),
            ("http://[::ffff:192.0.2.7]:3000", "http://[::ffff:c000:207]:3000"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            (" https://xn--bcher-kva.example ", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(origin(text), Ok(HeaderValue::from_static(sent)), "{text}");
        }
    }

    #[test]
    fn what_would_never_match_is_refused_with_what_would() {
        for (text, said) in [
            ("https://example.com/", "it ends with a slash; write https://example.com"),
            ("https://example.com:443/chat", "it has a path, /chat; write https://example.com"),
            ("https://example.com?", "it has a path, ?; write https://example.com"),
            ("https://example.com.", "example.com. ends with a dot, which is another host; write example.com"),
            ("http://127.1", "127.1 is sent as an address; write it as four numbers, such as 127.0.0.1"),
            ("http://2130706433", "2130706433 is sent as"),
            ("http://0x7f.0.0.1", "0x7f.0.0.1 is sent as"),
            ("http://127.0.0.0x1", "127.0.0.0x1 is sent as"),
            ("https://*.example.com", "*.example.com would match nothing: patterns are not supported, write each name"),
            ("https://*", "* would match nothing"),
            ("https://bücher.example", "bücher.example has letters that are sent otherwise"),
            ("https://example.com:65536", "65536 is no port"),
            (" * ", "all origins can't be allowed at once"),
        ] {
            assert!(refused(text).starts_with(said), "{}", refused(text));
        }
        for text in [
            "example.com",
            "",
            "https://",
            "https://ann@example.com",
            "null",
            "https://a..b",
            "https://a b",
            "https://a:b",
            "https://%65xample.com",
            "://a",
            "1http://a",
            "https://.a",
        ] {
            assert!(refused(text).starts_with("an origin is"), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn a_host_is_a_name_without_a_port() {
        for (text, name) in [
            ("Example.com", "example.com"),
            (".Example.com", ".example.com"),
            ("[::1]", "[::1]"),
            ("2001:DB8:0::7", "[2001:db8::7]"),
        ] {
            assert_eq!(host(text), Ok(name.to_owned()));
        }
        assert_eq!(host("a.example:3000"), Err("any port is meant; write a.example".to_owned()));
        for text in ["https://a.example", "*.a.example", "a.example.", "", "a/b", "..a"] {
            assert!(host(text).is_err_and(|said| !said.contains("origin")), "{text}");
        }
    }

    #[test]
    fn a_network_of_ipv4_is_one_however_it_is_written() {
        for (text, read) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()), Ok(read.to_owned()));
        }
        assert!(network("10.0.0.0/33").is_err() && network("here").is_err());
    }

    #[test]
    fn a_port_that_kubernetes_sets_is_explained() {
        assert_eq!(port("3000"), Ok(3000));
        assert!(port("tcp://10.0.0.1:3000").is_err_and(|said| said.contains("Kubernetes sets LINGER_PORT")));
        for text in ["", "65536", "-1", "http"] {
            assert!(port(text).is_err_and(|said| said.starts_with("a port is")), "{text}");
        }
    }

    #[test]
    fn a_listener_and_a_network_are_addresses() {
        for (text, host) in [("[::1]", "::1"), ("::", "::"), ("0.0.0.0", "0.0.0.0"), ("localhost", "localhost")] {
            assert_eq!(listener(text), Ok(host.to_owned()));
        }
        for text in ["http://localhost", "localhost:3000", "127.0.0.1:3000"] {
            assert!(listener(text).is_err(), "{text}");
        }
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network(" 10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert!(network("10.0.0.0/33").is_err() && network("proxy").is_err());
    }
}
