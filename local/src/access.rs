//! Who may do what, as the flags say it.

use std::{env, fs, io};

use pubsub::{
    access::{Access, Expected, InvalidKeys},
    clock::Clock,
};

use crate::flags::Flags;

/// Why it can't be known who may do what.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("can't read the keys in {path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error(
        "--access-keys or LINGER_ACCESS_KEYS is no file's name, and no JWK set: a set begins with {{, without quotes around it"
    )]
    Neither,
    #[error("LINGER_ACCESS_KEYS is empty, so everybody may do everything: give it keys, or unset it")]
    Empty,
    #[error("--access-keys: {0}")]
    Keys(#[from] InvalidKeys),
    #[error("{0} does nothing without --access-keys, so everybody may do everything: give both, or none")]
    Keyless(&'static str),
}

/// Reads the keys. What they are is said in no error.
pub(crate) fn access(flags: &Flags) -> Result<Access, Failure> {
    let expected = Expected { issuer: flags.access_issuer.clone(), audience: flags.access_audience.clone() };
    let Some(keys) = &flags.access_keys else {
        // A command that was to print the keys, and failed.
        if env::var_os("LINGER_ACCESS_KEYS").is_some() {
            return Err(Failure::Empty);
        }
        return match expected {
            Expected { issuer: Some(_), .. } => Err(Failure::Keyless("--access-issuer")),
            Expected { audience: Some(_), .. } => Err(Failure::Keyless("--access-audience")),
            Expected { issuer: None, audience: None } => Ok(Access::open()),
        };
    };
    // A path that begins so would be an odd one.
    let set = if keys.trim_start().starts_with('{') {
        keys.clone()
    } else if keys.contains(['{', '"']) {
        // It may be secret keys, and so is not repeated.
        return Err(Failure::Neither);
    } else {
        fs::read_to_string(keys).map_err(|error| Failure::Unreadable { path: keys.clone(), error })?
    };
    Ok(Access::guarded([set.as_str()], expected, Clock::System)?)
}
