//! Access, from the flags.

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
}

/// Who may do what. No error has anything of a key in it.
pub(crate) fn access(flags: &Flags) -> Result<Access, Failure> {
    let expected = Expected { issuer: flags.access_issuer.clone(), audience: flags.access_audience.clone() };
    // Empty is what a command leaves that was to print the keys, and failed.
    if flags.access_keys.is_none() && env::var_os("LINGER_ACCESS_KEYS").is_some() {
        return Err(Failure::Empty);
    }
    let keys = flags.access_keys.as_deref().map(key_set).transpose()?;
    Ok(Access::new(keys.as_slice(), expected, Clock::System)?)
}

/// Whether an unknown variable is most likely a misspelt one of access.
pub(crate) fn is_meant_by(variable: &str) -> bool {
    ["ACC", "KEYS", "SECRET"].iter().any(|part| variable.contains(part))
}

/// The set itself, or the one in this file.
fn key_set(keys: &str) -> Result<String, Failure> {
    // A path hardly begins like this.
    if keys.trim_start().starts_with('{') {
        Ok(keys.to_owned())
    } else if keys.contains(['{', '"']) {
        // It may be secret keys, and so is not repeated.
        Err(Failure::Neither)
    } else {
        // What looks like no file may be a secret too.
        let path = if keys.ends_with(".json") { keys } else { "the file of that name" };
        fs::read_to_string(keys).map_err(|error| Failure::Unreadable { path: path.to_owned(), error })
    }
}
