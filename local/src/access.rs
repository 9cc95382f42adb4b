//! Who may do what, as the flags say it.

use std::{fs, io};

use pubsub::{
    access::{Access, Expected, InvalidKeys},
    clock::Clock,
};

use crate::flags::Flags;

/// Why it can't be known who may do what.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("can't read the file of --access-keys: {0}")]
    Unreadable(io::Error),
    #[error("--access-keys: {0}")]
    Keys(#[from] InvalidKeys),
    #[error("{0} does nothing without --access-keys, so everybody may do everything: give both, or none")]
    Keyless(&'static str),
}

/// Reads the keys. What they are is said in no error.
pub(crate) fn access(flags: &Flags) -> Result<Access, Failure> {
    let expected = Expected { issuer: flags.access_issuer.clone(), audience: flags.access_audience.clone() };
    let Some(keys) = &flags.access_keys else {
        return match expected {
            Expected { issuer: Some(_), .. } => Err(Failure::Keyless("--access-issuer")),
            Expected { audience: Some(_), .. } => Err(Failure::Keyless("--access-audience")),
            Expected { issuer: None, audience: None } => Ok(Access::open()),
        };
    };
    // A path that begins so would be an odd one.
    let set = if keys.trim_start().starts_with('{') {
        keys.clone()
    } else {
        fs::read_to_string(keys).map_err(Failure::Unreadable)?
    };
    Ok(Access::guarded([set.as_str()], expected, Clock::System)?)
}
