//! The keys that may sign tokens.

use super::{
    json::{self, Json, Object},
    key::{self, Key},
};
use crate::limits::ACCESS_KEYS_MAX;

/// The keys, each with its `kid`, by which tokens choose it. Only a key that is alone may have none.
pub(super) struct Keys(Vec<(Option<String>, Key)>);

/// A set of keys that can't be used. The error names the key by its `kid`, and has nothing else of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// It is no JWK set.
    #[error("the keys are no JWK set, {{\"keys\": […]}}: {0}")]
    NoSet(String),
    /// There are none, or too many.
    #[error("there are {0} keys; it must be 1 to {ACCESS_KEYS_MAX}")]
    Count(usize),
    /// One of them can't be used.
    #[error("{key} {reason}")]
    Key {
        /// Which one.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are no keys, but an issuer or audience was set.
    #[error("{0} does nothing without keys, so everybody may do everything: give both, or none")]
    Absent(&'static str),
}

impl Keys {
    /// Reads JWK sets (RFC 7517) into one set.
    pub(super) fn parse<'a>(sets: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidKeys> {
        let mut jwks = Vec::new();
        for set in sets {
            jwks.extend(list(set)?);
        }
        if jwks.is_empty() || jwks.len() > ACCESS_KEYS_MAX {
            return Err(InvalidKeys::Count(jwks.len()));
        }
        let single = jwks.len() == 1;
        let mut keys: Vec<(Option<String>, Key)> = Vec::new();
        for (index, jwk) in jwks.iter().enumerate() {
            let invalid = |reason| InvalidKeys::Key { key: named(index, jwk), reason };
            let Json::Object(jwk) = jwk else {
                return Err(invalid("is no object"));
            };
            let key = Key::parse(jwk).map_err(invalid)?;
            let kid = match jwk.get("kid") {
                None if single => None,
                None => return Err(invalid("has no kid, and there is more than one key")),
                Some(Json::Text(kid)) => Some(kid.clone()),
                Some(_) => return Err(invalid("has a kid that is no text")),
            };
            if keys.iter().any(|(other, _)| *other == kid) {
                return Err(invalid("has the kid of another key"));
            }
            keys.push((kid, key));
        }
        Ok(Self(keys))
    }

    /// The key of this `kid`, or the single one that has none.
    pub(super) fn get(&self, kid: Option<&str>) -> Option<&Key> {
        self.0.iter().find(|(known, _)| known.as_deref() == kid).map(|(_, key)| key)
    }
}

fn list(set: &str) -> Result<Vec<Json>, InvalidKeys> {
    let mut set = json::object(set.as_bytes()).map_err(|error| InvalidKeys::NoSet(error.to_string()))?;
    match set.remove("keys") {
        Some(Json::List(jwks)) => Ok(jwks),
        _ => Err(InvalidKeys::NoSet("it has no list named keys".to_owned())),
    }
}

/// A key as errors name it: by its number, and its `kid`.
fn named(index: usize, jwk: &Json) -> String {
    let kid = |object: &Object| key::text(object, "kid").map(|kid| format!(", {kid:?},"));
    let kid = if let Json::Object(object) = jwk { kid(object) } else { None };
    format!("key {}{}", index + 1, kid.unwrap_or_default())
}
