//! Who may speak, who may listen: from a token to rights, and from rights to yes or no.
//!
//! A token is a JWT. Whoever runs linger gives the keys that may sign tokens, as a JWK set; without keys everybody may do
//! everything. Signatures are checked by `ring`. What is not understood is refused.
//!
//! **Invariant**: nothing behind `api` sees a token or a claim, and no error here has anything of a token or a key in it
//! but a key's `kid`.

mod cache;
mod json;
mod key;
mod keys;
mod rights;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use self::{
    cache::{Cache, fingerprint},
    keys::Keys,
    token::Verified,
};
pub use self::{
    keys::InvalidKeys,
    rights::{Action, Rights},
    token::Expected,
};
use crate::{clock::Clock, limits::TOKEN_BYTES_MAX};

/// Who may do what.
pub struct Access(Kind);

enum Kind {
    /// Everybody everything.
    Open(Arc<Rights>),
    /// Those who have a token, what it says.
    Guarded { keys: Keys, expected: Expected, clock: Clock, verified: Mutex<Cache> },
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// There is none.
    #[error("this needs a token: as Authorization: Bearer, or as the field token of a body")]
    Absent,
    /// It is larger than any that is taken.
    #[error("the token is malformed: it has more than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// It is no JWT as it is taken here.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its `kid` is no key's.
    #[error("the token is of an unknown key: no key here has its kid")]
    UnknownKey,
    /// It has no `kid`, and the keys have some.
    #[error("the token is of an unknown key: its header has no kid")]
    NamesNoKey,
    /// Its `alg` is not the key's.
    #[error("the token is badly signed: its alg is not its key's")]
    WrongAlgorithm,
    /// The signature is none of this key on this content.
    #[error("the token is badly signed")]
    BadSignature,
    /// Its `exp` is over.
    #[error("the token is expired")]
    Expired,
    /// Its `nbf` is not reached.
    #[error("the token is not yet valid")]
    NotYetValid,
    /// Its `iss` is another one.
    #[error("the token is of another issuer (iss)")]
    WrongIssuer,
    /// Its `aud` has only others.
    #[error("the token is for another audience (aud)")]
    WrongAudience,
}

impl Access {
    /// With keys everybody needs a token; without any everybody may do everything.
    ///
    /// # Errors
    /// [`InvalidKeys`] when one can't be used, or when something is expected of tokens that nobody needs.
    pub fn new(key_sets: &[String], expected: Expected, clock: Clock) -> Result<Self, InvalidKeys> {
        match expected {
            expected if !key_sets.is_empty() => Self::guarded(key_sets.iter().map(String::as_str), expected, clock),
            Expected { issuer: Some(_), .. } => Err(InvalidKeys::Absent("the issuer of tokens")),
            Expected { audience: Some(_), .. } => Err(InvalidKeys::Absent("the audience of tokens")),
            Expected { issuer: None, audience: None } => Ok(Self::open()),
        }
    }

    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self(Kind::Open(Arc::new(Rights::unlimited())))
    }

    /// Everybody needs a token that is signed with one of these keys, each text a JWK set.
    ///
    /// # Errors
    /// [`InvalidKeys`] when one of them can't be used.
    pub fn guarded<'a>(
        key_sets: impl IntoIterator<Item = &'a str>,
        expected: Expected,
        clock: Clock,
    ) -> Result<Self, InvalidKeys> {
        let keys = Keys::parse(key_sets)?;
        Ok(Self(Kind::Guarded { keys, expected, clock, verified: Mutex::default() }))
    }

    /// Whether a token is needed at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.0, Kind::Open(_))
    }

    /// What the bearer of a token may do.
    ///
    /// # Errors
    /// [`InvalidToken`] when one is needed, and this is none that is good now.
    pub fn rights(&self, token: Option<&str>) -> Result<Arc<Rights>, InvalidToken> {
        let (keys, expected, clock, cache) = match &self.0 {
            Kind::Open(everything) => return Ok(Arc::clone(everything)),
            Kind::Guarded { keys, expected, clock, verified } => (keys, expected, clock, verified),
        };
        let token = token.ok_or(InvalidToken::Absent)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(InvalidToken::TooLarge);
        }
        let cache = || cache.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = fingerprint(token);
        let known = cache().get(&fingerprint);
        if let Some(verified) = known {
            return verified.rights(clock.unix_ms());
        }
        let verified = Arc::new(Verified::parse(token, keys, expected)?);
        let rights = verified.rights(clock.unix_ms())?;
        cache().put(fingerprint, verified);
        Ok(rights)
    }
}

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
