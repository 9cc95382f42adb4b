//! Limits of one address, so that no stranger takes all that there is.
//!
//! Rates are limited by the generic cell rate algorithm: each address has one point in time, up to which it has used
//! its share. An IPv6 network of 2^64 addresses belongs to one customer, so it counts as one.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub::{api::Problem, clock};
use tokio::time::Instant;

/// How many addresses are counted separately, at about 100 bytes each. All others share one entry, so that a network of
/// millions can't grow memory.
const ADDRESSES_MAX: usize = 100_000;

/// How often addresses that did nothing lately are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

const MINUTE: Duration = Duration::from_secs(60);

/// Requests of one address with a large body at once: a quarter of [`BODIES_BYTES_MAX`](pubsub::limits::BODIES_BYTES_MAX).
const LARGE_BODIES_MAX: u32 = 64;

/// The `Retry-After`, in seconds, when a refused client must wait until another one leaves.
const LATER: u32 = 5;

/// The limits of each address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Messages published in a minute.
    pub(crate) publishes: u32,
    /// Channels begun in a minute.
    pub(crate) channels: u32,
    /// Polls held at once, each counted for each of its channels.
    pub(crate) holds: u32,
    /// Connections at once.
    pub(crate) connections: u32,
    /// Whether this machine's own processes are limited too.
    pub(crate) loopback: bool,
}

/// The addresses that did something lately.
pub(crate) struct Addresses {
    allowed: Allowed,
    known: Mutex<Known>,
}

struct Known {
    addresses: HashMap<IpAddr, Address>,
    swept: Instant,
}

#[derive(Default)]
struct Address {
    connections: u32,
    holds: u32,
    large_bodies: u32,
    publishes: Rate,
    channels: Rate,
}

/// The time up to which its share is used. What is left of the last minute can be used at once.
#[derive(Default)]
struct Rate(Option<Instant>);

/// A hold, connection or large body of an address. It counts until it is dropped.
pub(crate) struct Counted {
    addresses: Arc<Addresses>,
    address: IpAddr,
    count: fn(&mut Address) -> &mut u32,
    how_many: u32,
}

impl Addresses {
    pub(crate) fn new(allowed: Allowed) -> Self {
        Self { allowed, known: Mutex::new(Known { addresses: HashMap::new(), swept: clock::now() }) }
    }

    /// Counts a message, or returns when it may come.
    pub(crate) fn publish(&self, address: IpAddr) -> Result<(), Problem> {
        self.rate(address, "messages", self.allowed.publishes, |address| &mut address.publishes)
    }

    /// Counts a channel that begins.
    pub(crate) fn begin_channel(&self, address: IpAddr) -> Result<(), Problem> {
        self.rate(address, "new channels", self.allowed.channels, |address| &mut address.channels)
    }

    /// Counts a poll, for each of its channels.
    pub(crate) fn poll(self: &Arc<Self>, address: IpAddr, channels: usize) -> Result<Option<Counted>, Problem> {
        let channels = u32::try_from(channels).unwrap_or(u32::MAX);
        self.count(address, "polls", self.allowed.holds, |address| &mut address.holds, channels)
    }

    /// Counts a large body.
    pub(crate) fn large_body(self: &Arc<Self>, address: IpAddr) -> Result<Option<Counted>, Problem> {
        self.count(address, "large bodies", LARGE_BODIES_MAX, |address| &mut address.large_bodies, 1)
    }

    /// Counts a connection. Returns none for one that is not limited.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Result<Option<Counted>, Problem> {
        self.count(address, "connections", self.allowed.connections, |address| &mut address.connections, 1)
    }

    fn rate(
        &self,
        address: IpAddr,
        what: &str,
        a_minute: u32,
        rate: fn(&mut Address) -> &mut Rate,
    ) -> Result<(), Problem> {
        let Some(address) = self.limited(address) else {
            return Ok(());
        };
        let now = clock::now();
        let taken = rate(self.known().address(address, now)).take(now, a_minute);
        let seconds = |wait: Duration| u32::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        taken.map_err(|wait| Problem::rate_limited(what, seconds(wait)))
    }

    fn count(
        self: &Arc<Self>,
        address: IpAddr,
        what: &str,
        max: u32,
        count: fn(&mut Address) -> &mut u32,
        how_many: u32,
    ) -> Result<Option<Counted>, Problem> {
        let Some(address) = self.limited(address) else {
            return Ok(None);
        };
        let mut known = self.known();
        let address = known.room_for(address, clock::now());
        let counted = count(known.addresses.entry(address).or_default());
        if counted.saturating_add(how_many) > max {
            return Err(Problem::rate_limited(what, LATER));
        }
        *counted += how_many;
        Ok(Some(Counted { addresses: Arc::clone(self), address, count, how_many }))
    }

    /// The key by which an address is counted, if it is limited.
    pub(crate) fn limited(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if address.is_loopback() && !self.allowed.loopback {
            return None;
        }
        Some(match address {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The address itself, or the shared one if there are too many.
    fn room_for(&mut self, address: IpAddr, now: Instant) -> IpAddr {
        if now.duration_since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.addresses.retain(|_, address| !address.is_idle(now));
        }
        let room = self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&address);
        if room { address } else { Ipv6Addr::UNSPECIFIED.into() }
    }

    fn address(&mut self, address: IpAddr, now: Instant) -> &mut Address {
        let address = self.room_for(address, now);
        self.addresses.entry(address).or_default()
    }
}

impl Address {
    fn is_idle(&self, now: Instant) -> bool {
        let unused = |rate: &Rate| rate.0.is_none_or(|used| used <= now);
        self.connections + self.holds + self.large_bodies == 0 && unused(&self.publishes) && unused(&self.channels)
    }
}

impl Rate {
    /// Takes one, or returns how long there is none.
    fn take(&mut self, now: Instant, a_minute: u32) -> Result<(), Duration> {
        let used = self.0.map_or(now, |used| used.max(now)) + MINUTE / a_minute;
        let ahead = used - now;
        if ahead > MINUTE {
            return Err(ahead - MINUTE);
        }
        self.0 = Some(used);
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(address) = self.addresses.known().addresses.get_mut(&self.address) {
            *(self.count)(address) -= self.how_many;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(loopback: bool) -> Arc<Addresses> {
        let allowed = Allowed { publishes: 60, channels: 2, holds: 2, connections: 1, loopback };
        Arc::new(Addresses::new(allowed))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_messages_may_come_at_once_and_then_as_they_are_allowed() {
        let (addresses, one, other) = (addresses(false), address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..60 {
            addresses.publish(one).unwrap();
        }
        let refused = addresses.publish(one).unwrap_err();
        assert_eq!(refused, Problem::rate_limited("messages", 1));
        addresses.publish(other).unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            addresses.publish(one).unwrap();
            assert!(addresses.publish(one).is_err());
        }
        tokio::time::sleep(2 * MINUTE).await;
        for _ in 0..60 {
            addresses.publish(one).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_as_long_as_is_said_is_let_in() {
        let (addresses, one) = (addresses(false), address("192.0.2.1"));
        for _ in 0..2 {
            addresses.begin_channel(one).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(addresses.begin_channel(one), Err(Problem::rate_limited("new channels", 30)));
        tokio::time::sleep(Duration::from_secs(30)).await;
        addresses.begin_channel(one).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_counts_no_more() {
        let (addresses, one) = (addresses(false), address("192.0.2.1"));
        let first = addresses.poll(one, 1).unwrap();
        let _second = addresses.poll(one, 1).unwrap();
        assert!(addresses.poll(one, 1).is_err());
        drop(first);
        assert!(addresses.poll(one, 2).is_err(), "one of two is taken, and each channel counts");
        assert!(addresses.poll(one, 1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_and_a_mapped_address_is_its_own() {
        let addresses = addresses(false);
        let _one = addresses.connect(address("2001:db8::1")).unwrap();
        assert!(addresses.connect(address("2001:db8::2")).is_err());
        let _next = addresses.connect(address("2001:db8:0:1::1")).unwrap();
        let _mapped = addresses.connect(address("::ffff:192.0.2.1")).unwrap();
        assert!(addresses.connect(address("192.0.2.1")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn this_machine_is_limited_only_if_asked() {
        for (limited, own) in [(false, "127.0.0.1"), (true, "127.0.0.1"), (false, "::1"), (true, "::ffff:127.0.0.1")] {
            let addresses = addresses(limited);
            let _one = addresses.connect(address(own)).unwrap();
            assert_eq!(addresses.connect(address(own)).is_err(), limited);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_forgotten_and_those_too_many_share() {
        let addresses = addresses(false);
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 1000 {
            let _ = addresses.publish(IpAddr::V4((0x0a00_0000 + number).into()));
        }
        assert_eq!(addresses.known().addresses.len(), ADDRESSES_MAX + 1);
        assert!(addresses.publish(address("192.0.2.1")).is_err(), "1,000 share what one may do");
        tokio::time::sleep(2 * MINUTE).await;
        addresses.publish(address("192.0.2.1")).unwrap();
        assert_eq!(addresses.known().addresses.len(), 1);
    }
}
