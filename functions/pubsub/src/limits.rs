//! The maxima of the HTTP API and of a process, with their arithmetic. What concerns one module stands there.
//!
//! Clients may rely on those of the HTTP API, as `docs/API.md` lists them. Those in [`Limits`] are a host's own, and can
//! be set by environment variables.

use std::time::Duration;

/// A message's text, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;

/// A nickname, in Unicode scalar values.
pub const NICK_CHARS_MAX: usize = 64;

/// A channel's name, in ASCII characters.
pub const CHANNEL_CHARS_MAX: usize = 64;

/// An idempotency key, in ASCII characters.
pub const KEY_CHARS_MAX: usize = 64;

/// A request's body, in bytes. A full text all written as `\u00XX` is 6 × 32,768 = 196,608; the rest of the object
/// needs less than 2 KiB.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// How much of a body that is too large is still read and thrown away, so that its sender gets to read the answer: four
/// times what is allowed.
pub const BODY_DRAIN_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// A body of this size or less does not count against [`BODIES_BYTES_MAX`], so that small publishes are taken however
/// many large ones are under way. A connection with such a body takes 48 KB, so 20,000 are 1.0 GB, and each is given up
/// after 10 s.
pub const BODY_UNCOUNTED_BYTES: usize = 16 * 1024;

/// All larger bodies that one process reads at once, in bytes: 256 of the largest. Beyond that a body is refused.
pub const BODIES_BYTES_MAX: usize = 64 << 20;

/// How long a body may take to arrive. At the maximum size that is 26 KB/s.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Messages in one answer.
pub const BATCH_MESSAGES_MAX: usize = 100;

/// The messages of one answer, encoded, in bytes. The largest message alone is 197 KB, so at least two always fit.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Channels in one poll.
pub const POLL_CHANNELS_MAX: usize = 20;

/// A token, in bytes. Its signature is 342 at most with RS256 of 2048 bits, and a grant of twenty channels 1,400; an HTTP API
/// of AWS takes 10,240 bytes of headers in all.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far apart the clocks of the signer and of this process may be.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(60);

/// Verified tokens that are remembered, so that a client's polls cost one verification. A usual one takes 1 KB, so
/// these are 2 MB. Beyond that, those that were not used lately are verified again.
pub const TOKENS_MAX: usize = 2_000;

/// Keys that may sign tokens. One issuer needs one, and a second while it changes keys; this is enough for several
/// issuers.
pub const ACCESS_KEYS_MAX: usize = 32;

/// How long a poll is held. An HTTP API of AWS gives up after 30 s; 5 s of these are for the first look and a slow
/// network.
pub const WAIT_MAX: Duration = Duration::from_secs(25);

/// Epochs and offsets are below this, so that they fit a signed 64-bit number in any language.
pub const NUMBER_BOUND: u64 = 1 << 63;

/// The memory of a message besides its text, nickname and key, in bytes: about 100 for the message, 40 for its entry in
/// the log, 60 for its key's entry and 50 for the allocator.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// How long messages are kept by default.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A log is forgotten when it was silent for the retention and this much longer.
pub const SILENCE_MARGIN: Duration = Duration::from_secs(60 * 60);

/// When there are too many channels, one that was silent for this long may be replaced by a new one. Also the
/// `Retry-After` of `store_full`.
pub const CHANNEL_QUIET: Duration = Duration::from_secs(60);

/// How long a follower outlives its last hold, so that clients that poll again after a delivery find it.
pub const FOLLOWER_IDLE: Duration = Duration::from_secs(1);

/// Batches that a follower keeps for holds that are slow to wake. A batch is kept until the last hold has it: a channel
/// whose holds are all slow keeps 8 × 512 KiB = 4 MiB.
pub const FOLLOWER_BATCHES: usize = 8;

/// The longest pause between two looks of a hold at a store that fails. The pauses grow up to it.
pub const READ_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The maxima of one process. Each is set by the variable `LINGER_` and its name in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one channel in the memory store. Beyond that, the oldest are dropped.
    pub channel_messages_max: usize,
    /// Bytes of one channel in the memory store. Beyond that, the oldest messages are dropped. 64 MiB is 2,000 of the
    /// largest messages.
    pub channel_bytes_max: usize,
    /// Bytes of the memory store: four full channels. Beyond that, the oldest messages of the largest channels are
    /// dropped.
    pub bytes_max: usize,
    /// Channels of the memory store. Beyond that, a new one replaces a small one. An empty log is about 300 bytes, so
    /// these are 3 MB.
    pub channels_max: usize,
    /// Idempotency keys of the memory store, each of at most 64 bytes and with a message. Beyond that, the oldest
    /// messages of the channels with the most keys are dropped.
    pub keys_max: usize,
    /// Polls held at once. Beyond that, a poll is refused before anything is read for it. One takes 17 KB with its
    /// connection and a follower, as tests/load/memory.mjs measures, so these are 340 MB.
    pub holds_max: usize,
    /// Channels of all held polls, each counted for each poll: five for each hold. Beyond that, a poll is refused in
    /// the same way. Each channel of a poll after the first takes 0.5 KB, as tests/load/memory.mjs measures, so these
    /// are 40 MB.
    pub places_max: usize,
    /// Channels with a follower. Beyond that, polls of further channels are refused. A follower is a task of about 2
    /// KB; over a table, it reads five times a second.
    pub followers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            channel_messages_max: 100_000,
            channel_bytes_max: 64 << 20,
            bytes_max: 256 << 20,
            channels_max: 10_000,
            keys_max: 200_000,
            holds_max: 20_000,
            places_max: 100_000,
            followers_max: 10_000,
        }
    }
}

/// A setting that can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// A maximum that is not a positive whole number.
    #[error("{name} is {value:?}; it must be a whole number from 1 to {}", u32::MAX)]
    Maximum {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A length of time that can't be read, or is out of range.
    #[error("must be a time from 1s to 3650d, such as 3s, 24h or a number of seconds")]
    Duration,
}

impl Limits {
    /// The variables that replace the defaults.
    pub const VARIABLES: [&str; 8] = [
        "LINGER_CHANNEL_MESSAGES_MAX",
        "LINGER_CHANNEL_BYTES_MAX",
        "LINGER_BYTES_MAX",
        "LINGER_CHANNELS_MAX",
        "LINGER_KEYS_MAX",
        "LINGER_HOLDS_MAX",
        "LINGER_PLACES_MAX",
        "LINGER_FOLLOWERS_MAX",
    ];

    /// The defaults, except those that the environment replaces. `lookup` returns a variable's value.
    ///
    /// # Errors
    /// [`InvalidSetting::Maximum`] when a variable is not a positive whole number.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidSetting> {
        let mut limits = Self::default();
        let maxima = [
            &mut limits.channel_messages_max,
            &mut limits.channel_bytes_max,
            &mut limits.bytes_max,
            &mut limits.channels_max,
            &mut limits.keys_max,
            &mut limits.holds_max,
            &mut limits.places_max,
            &mut limits.followers_max,
        ];
        for (name, maximum) in Self::VARIABLES.into_iter().zip(maxima) {
            let Some(value) = lookup(name) else { continue };
            *maximum = match value.parse::<u32>() {
                Ok(number) if number > 0 => number as usize,
                _ => return Err(InvalidSetting::Maximum { name, value }),
            };
        }
        Ok(limits)
    }
}

/// The value of an environment variable. An empty one counts as not set.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// Reads a length of time as people write it: `3s`, `24h`, or a number of seconds.
///
/// # Errors
/// [`InvalidSetting::Duration`] unless it is from one second to ten years.
pub fn duration(text: &str) -> Result<Duration, InvalidSetting> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|_| InvalidSetting::Duration)?,
    };
    let range = Duration::from_secs(1)..=Duration::from_secs(3650 * 24 * 60 * 60);
    range.contains(&duration).then_some(duration).ok_or(InvalidSetting::Duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_changes_a_maximum() {
        let limits = Limits::from_environment(|name| (name == "LINGER_HOLDS_MAX").then(|| "7".to_owned()));
        let expected = Limits { holds_max: 7, ..Limits::default() };
        assert_eq!(limits, Ok(expected));
    }

    #[test]
    fn a_maximum_that_is_no_positive_number_is_refused_by_name() {
        for value in ["0", "-1", "many", " ", "1e3", "4294967296"] {
            let refused = Limits::from_environment(|name| (name == "LINGER_KEYS_MAX").then(|| value.into()));
            let said = refused.map_err(|error| error.to_string());
            assert!(said.as_ref().is_err_and(|said| said.starts_with("LINGER_KEYS_MAX is ")), "{said:?}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for text in ["", "0", "0s", "-1s", "soon", "1ms", "99999999999999999999", "4000d"] {
            assert_eq!(duration(text), Err(InvalidSetting::Duration), "{text}");
        }
    }
}
