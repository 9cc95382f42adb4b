//! A token: a JWT (RFC 7519) in the compact form of RFC 7515, read as strictly as RFC 8725 asks.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    InvalidToken, Rights,
    json::{self, Json, Object},
    key,
    keys::Keys,
};
use crate::limits::TOKEN_LEEWAY;

/// The `typ` that a JWT may have, in lower case. It may also be absent.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// The greatest `exp`, in the year 5138. A greater one is in milliseconds by mistake, and such a token would never
/// expire.
const EXPIRES_MAX: f64 = 1e11;

/// The issuer and the audience that a token must have, if they are set.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// `iss`.
    pub issuer: Option<String>,
    /// One of `aud`.
    pub audience: Option<String>,
}

/// A token whose signature was checked: what it grants, and when.
pub(super) struct Verified {
    /// In seconds since 1970, as all times of a JWT.
    not_before: f64,
    expires: f64,
    rights: Arc<Rights>,
}

impl Verified {
    /// Reads a token. Until its signature is checked, only its header is used, to choose the key.
    pub(super) fn parse(token: &str, keys: &Keys, expected: &Expected) -> Result<Self, InvalidToken> {
        let (content, signature) = token.rsplit_once('.').ok_or(NOT_THREE_PARTS)?;
        let (header, claims) = content.split_once('.').ok_or(NOT_THREE_PARTS)?;
        let header = object(header)?;
        let [algorithm, kid] = understood(&header)?;
        let key =
            keys.get(kid).ok_or(if kid.is_some() { InvalidToken::UnknownKey } else { InvalidToken::NamesNoKey })?;
        if algorithm != Some(key.algorithm()) {
            return Err(InvalidToken::WrongAlgorithm);
        }
        let signature = decode(signature)?;
        if !key.signed(content.as_bytes(), &signature) {
            return Err(InvalidToken::BadSignature);
        }
        Self::by(&object(claims)?, expected)
    }

    pub(super) fn by(claims: &Object, expected: &Expected) -> Result<Self, InvalidToken> {
        let malformed = InvalidToken::Malformed;
        let expires = time(claims, "exp").map_err(malformed)?.ok_or(malformed("it has no exp"))?;
        if expires > EXPIRES_MAX {
            return Err(malformed("its exp is thousands of years ahead: exp is in seconds, not in milliseconds"));
        }
        let not_before = time(claims, "nbf").map_err(malformed)?.unwrap_or(f64::NEG_INFINITY);
        if expected.issuer.as_deref().is_some_and(|issuer| key::text(claims, "iss") != Some(issuer)) {
            return Err(InvalidToken::WrongIssuer);
        }
        if expected.audience.as_deref().is_some_and(|audience| !is_for(claims, audience)) {
            return Err(InvalidToken::WrongAudience);
        }
        if claims.contains_key("cnf") {
            return Err(malformed("it belongs to whoever has a key of their own (cnf), which is not understood here"));
        }
        let rights = Arc::new(Rights::parse(claims).map_err(malformed)?);
        Ok(Self { not_before, expires, rights })
    }

    /// What it grants, if it is valid now.
    pub(super) fn rights(&self, unix_ms: u64) -> Result<Arc<Rights>, InvalidToken> {
        let (now, leeway) = (unix_ms as f64 / 1000.0, TOKEN_LEEWAY.as_secs_f64());
        if now >= self.expires + leeway {
            return Err(InvalidToken::Expired);
        }
        if now < self.not_before - leeway {
            return Err(InvalidToken::NotYetValid);
        }
        Ok(Arc::clone(&self.rights))
    }
}

const NOT_THREE_PARTS: InvalidToken = InvalidToken::Malformed("it must have three parts with dots between");

/// A part, decoded. There is only one valid base64url form: no padding, and no bits left over.
fn decode(part: &str) -> Result<Vec<u8>, InvalidToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed("a part of it is not base64url"))
}

fn object(part: &str) -> Result<Object, InvalidToken> {
    let malformed = |_| InvalidToken::Malformed("a part of it is no JSON object in which each member stands once");
    json::object(&decode(part)?).map_err(malformed)
}

/// `alg` and `kid`. Any other member is refused, since it may change what the token means (`crit`, `b64`, `zip`, `cty`)
/// or bring a key of its own (`jwk`, `jku`, `x5c`, `x5u`).
fn understood(header: &Object) -> Result<[Option<&str>; 2], InvalidToken> {
    for (name, value) in header {
        let fits = match (name.as_str(), value) {
            ("alg" | "kid", Json::Text(_)) => true,
            ("typ", Json::Text(kind)) => TYPES.contains(&kind.to_ascii_lowercase().as_str()),
            _ => false,
        };
        if !fits {
            return Err(InvalidToken::Malformed(
                "its header has something else than alg, kid, and JWT or at+jwt as typ",
            ));
        }
    }
    Ok(["alg", "kid"].map(|name| key::text(header, name)))
}

fn time(claims: &Object, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Number(seconds)) => Ok(Some(*seconds)),
        Some(_) => Err("exp and nbf must be numbers"),
    }
}

fn is_for(claims: &Object, audience: &str) -> bool {
    let is_audience = |value: &Json| matches!(value, Json::Text(text) if text == audience);
    match claims.get("aud") {
        Some(Json::List(audiences)) => audiences.iter().any(is_audience),
        Some(one) => is_audience(one),
        None => false,
    }
}
