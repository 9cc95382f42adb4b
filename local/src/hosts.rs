//! The host names that requests may have.

use std::net::IpAddr;

use http::{HeaderMap, Request, Version, header::HOST, uri::Authority};
use pubsub::api::{Code, Problem};

use crate::client::Ends;

/// The names of this server. On this machine alone it has few: a page that points its own name here (DNS rebinding)
/// must not be able to read channels.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Further names. One that begins with a dot means all below it.
    pub(crate) allowed: Vec<String>,
    /// Whether only this machine can reach it.
    pub(crate) loopback: bool,
}

impl Hosts {
    /// Refuses requests that are malformed, or for another host.
    pub(crate) fn check<B>(&self, request: &Request<B>, ends: &Ends) -> Result<(), Problem> {
        let mut given = request.headers().get_all(HOST).iter();
        let plain = request.uri().authority().is_none() && request.uri().path().starts_with('/');
        match (given.next(), given.next()) {
            (Some(host), None) if plain && ends.host.get().is_some_and(|known| **known == *host.as_bytes()) => Ok(()),
            (Some(host), None) if plain => self.look_at(request, ends.own).map(|()| {
                // Where another one is known, this one is looked at again.
                let _ = ends.host.set(host.as_bytes().into());
            }),
            _ => self.look_at(request, ends.own),
        }
    }

    /// `own` is the address that the request came to.
    fn look_at<B>(&self, request: &Request<B>, own: IpAddr) -> Result<(), Problem> {
        if request.uri().path().is_empty() || !request.uri().path().starts_with(['/', '*']) {
            return Err(Problem::new(Code::MalformedRequest, "the target must be a path, and begin with a slash"));
        }
        let host = host(request.headers(), request.version())?;
        // A host in the request's target counts instead of the header.
        let host = request.uri().authority().cloned().or(host);
        if !self.loopback && self.allowed.is_empty() {
            return Ok(());
        }
        match host {
            Some(host) if self.is_own(host.host(), own) => Ok(()),
            None if request.version() < Version::HTTP_11 => Ok(()),
            _ => Err(Problem::new(Code::WrongHost, "this server has another name; --allowed-host adds one")),
        }
    }

    fn is_own(&self, host: &str, own: IpAddr) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(address) = literal(&name) {
            return address.is_loopback()
                || address.is_unspecified()
                || own.to_canonical() == address
                || self.allowed.iter().any(|allowed| literal(allowed) == Some(address));
        }
        ["localhost", "linger"].contains(&name.as_str())
            || name.ends_with(".localhost")
            || self
                .allowed
                .iter()
                .any(|allowed| *allowed == name || (allowed.starts_with('.') && name.ends_with(allowed)))
    }
}

/// A name that is an address. One of IPv6 is in brackets.
fn literal(name: &str) -> Option<IpAddr> {
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}

/// The header's host, if there is one.
fn host(headers: &HeaderMap, version: Version) -> Result<Option<Authority>, Problem> {
    let malformed = |detail| Problem::new(Code::MalformedRequest, detail);
    let mut given = headers.get_all(HOST).iter();
    let host = match (given.next(), given.next()) {
        (Some(host), None) => host,
        (None, _) if version < Version::HTTP_11 => return Ok(None),
        (None, _) => return Err(malformed("there is no Host")),
        _ => return Err(malformed("there is more than one Host")),
    };
    if host.is_empty() {
        return Ok(None);
    }
    let host = Authority::try_from(host.as_bytes()).map_err(|_| malformed("the Host is no valid host"))?;
    if host.as_str().contains('@') || host.host().is_empty() {
        Err(malformed("the Host is no valid host"))
    } else {
        Ok(Some(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    fn check(hosts: &Hosts, target: &str, given: &[&str]) -> Result<(), Code> {
        let mut request = Request::get(target);
        for host in given {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).unwrap();
        let ends = Ends { client: [192, 0, 2, 8].into(), own: [192, 0, 2, 7].into(), host: OnceLock::new() };
        let said = || hosts.check(&request, &ends).map_err(|problem| problem.code());
        let first = said();
        assert_eq!(said(), first, "the next one on the same connection");
        first
    }

    #[test]
    fn this_machine_goes_by_its_own_names() {
        let hosts = Hosts { allowed: vec!["chat.test".to_owned(), ".dev.test".to_owned()], loopback: true };
        for host in [
            "localhost",
            "LocalHost:3000",
            "localhost.",
            "a.localhost",
            "127.0.0.1:3000",
            "127.9.9.9",
            "[::1]:3000",
            "0.0.0.0",
            "192.0.2.7",
            "linger",
            "chat.test",
            "Chat.Test:80",
            "a.dev.test",
        ] {
            assert_eq!(check(&hosts, "/", &[host]), Ok(()), "{host}");
        }
        for host in [
            "example.com",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "notlocalhost",
            "192.0.2.8",
            "[2001:db8::1]",
            "dev.test",
            "xdev.test",
            "a.chat.test",
            "",
            "127.1",
            "2130706433",
        ] {
            assert_eq!(check(&hosts, "/", &[host]), Err(Code::WrongHost), "{host}");
        }
        assert_eq!(check(&hosts, "http://example.com/", &["localhost"]), Err(Code::WrongHost));
        assert_eq!(check(&hosts, "http://localhost/", &["localhost"]), Ok(()));
    }

    #[test]
    fn a_server_for_others_goes_by_any_name_unless_it_is_told() {
        let any = Hosts { allowed: Vec::new(), loopback: false };
        assert_eq!(check(&any, "/", &["example.com"]), Ok(()));
        let allowed = vec!["example.com".to_owned(), "[2001:db8::9]".to_owned()];
        let told = Hosts { allowed, loopback: false };
        for host in ["example.com", "[2001:db8::9]:3000", "[2001:DB8:0::9]"] {
            assert_eq!(check(&told, "/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(check(&told, "/", &["192.0.2.7:3000"]), Ok(()), "a probe knows the address only");
        assert_eq!(check(&told, "/", &["example.org"]), Err(Code::WrongHost));
    }

    #[test]
    fn a_name_that_was_found_good_is_good_for_itself_alone() {
        let hosts = Hosts { allowed: Vec::new(), loopback: true };
        let ends = Ends { client: [192, 0, 2, 8].into(), own: [192, 0, 2, 7].into(), host: OnceLock::new() };
        let check = |target: &str, given: &[&str]| {
            let request = given.iter().fold(Request::get(target), |request, host| request.header(HOST, *host));
            hosts.check(&request.body(()).unwrap(), &ends).is_ok()
        };
        assert!(check("/", &["localhost:3000"]) && check("/", &["localhost:3000"]) && check("/", &["127.0.0.1"]));
        for (target, given) in [
            ("/", &["example.com"][..]),
            ("/", &["localhost:3000", "localhost:3000"]),
            ("/", &[]),
            ("http://example.com/", &["localhost:3000"]),
            ("example.com:443", &["localhost:3000"]),
        ] {
            assert!(!check(target, given), "{target} {given:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_everywhere() {
        let any = Hosts { allowed: Vec::new(), loopback: false };
        for hosts in [&[][..], &["a", "a"], &["a b"], &["a/b"], &["ann@a"], &["a:b:c"], &["[::1"]] {
            assert_eq!(check(&any, "/", hosts), Err(Code::MalformedRequest), "{hosts:?}");
        }
        for target in ["example.com:443", "nonsense"] {
            assert_eq!(check(&any, target, &["a"]), Err(Code::MalformedRequest), "{target}");
        }
    }
}
