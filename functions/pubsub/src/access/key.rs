//! One key of a JWK set (RFC 7517). It has one algorithm, which no token can change.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    agreement, hmac,
    rand::SystemRandom,
    signature::{self, RsaPublicKeyComponents, UnparsedPublicKey},
};

use super::json::{Json, Object};

/// The least length of a secret for HS256, by RFC 7518: that of its hash.
const SECRET_BYTES_MIN: usize = 32;

/// The size of the modulus of RS256, in bits: RFC 7518 demands at least the first, and `ring` takes at most the second.
const MODULUS_BITS_MIN: usize = 2048;
const MODULUS_BITS_MAX: usize = 8192;

/// The largest public exponent, in bytes: most have 3, and `ring` takes 33 bits.
const EXPONENT_BYTES_MAX: usize = 4;

/// Members that only a private key has (RFC 7518, 6.2.2 and 6.3.2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// The key in the form that checks signatures.
pub(super) enum Key {
    Hs256(hmac::Key),
    Es256(UnparsedPublicKey<Vec<u8>>),
    EdDsa(UnparsedPublicKey<Vec<u8>>),
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
}

impl Key {
    /// Reads a key, or says what is wrong with it, without a part of the key in the text.
    pub(super) fn parse(jwk: &Object) -> Result<Self, &'static str> {
        match jwk.get("use") {
            None => {}
            Some(Json::Text(purpose)) if purpose == "sig" => {}
            Some(_) => return Err("is not for signatures: its use must be sig"),
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Json::List(operations)) if operations.contains(&Json::Text("verify".to_owned())) => {}
            Some(_) => return Err("is not for checking signatures: its key_ops must have verify"),
        }
        let kind = text(jwk, "kty").ok_or("has no kty")?;
        if kind != "oct" && PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
            return Err("is a private key: only its public part belongs here");
        }
        let key = match (kind, text(jwk, "crv")) {
            ("oct", _) => secret(jwk)?,
            ("EC", Some("P-256")) => p256(jwk)?,
            ("OKP", Some("Ed25519")) => ed25519(jwk)?,
            ("RSA", _) => rsa(jwk)?,
            _ => return Err("is of another kind than oct, EC with P-256, OKP with Ed25519, and RSA"),
        };
        match jwk.get("alg") {
            None => Ok(key),
            Some(Json::Text(algorithm)) if algorithm == key.algorithm() => Ok(key),
            Some(_) => Err("has another alg than HS256, ES256, EdDSA and RS256, or one of another kind of key"),
        }
    }

    /// The algorithm, as `alg` of a token's header names it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    /// Whether this key signed it. The time that this takes does not tell how much of a signature is right.
    pub(super) fn signed(&self, content: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hs256(key) => hmac::verify(key, content, signature).is_ok(),
            Self::Es256(key) | Self::EdDsa(key) => key.verify(content, signature).is_ok(),
            Self::Rs256(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, content, signature).is_ok(),
        }
    }
}

fn secret(jwk: &Object) -> Result<Key, &'static str> {
    let secret = bytes(jwk, "k").ok_or("has no k in base64url")?;
    if secret.len() < SECRET_BYTES_MIN {
        return Err("is too short: HS256 needs a secret of at least 32 bytes");
    }
    Ok(Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
}

fn p256(jwk: &Object) -> Result<Key, &'static str> {
    let coordinates = bytes(jwk, "x").zip(bytes(jwk, "y"));
    let coordinates = coordinates.filter(|(x, y)| x.len() == 32 && y.len() == 32);
    let (x, y) = coordinates.ok_or("needs x and y, of 32 bytes each in base64url")?;
    let point = [&[4], &x[..], &y].concat();
    is_on_curve(&point).ok_or("is no point of P-256")?;
    Ok(Key::Es256(UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)))
}

/// `ring` checks a public key only when it is used, and then does not say whether the key or the signature was wrong. A
/// key agreement with it does say so.
fn is_on_curve(point: &[u8]) -> Option<()> {
    let own = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new()).ok()?;
    let point = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
    agreement::agree_ephemeral(own, &point, |_| ()).ok()
}

fn ed25519(jwk: &Object) -> Result<Key, &'static str> {
    let x = bytes(jwk, "x").filter(|x| x.len() == 32).ok_or("needs x, of 32 bytes in base64url")?;
    Ok(Key::EdDsa(UnparsedPublicKey::new(&signature::ED25519, x)))
}

fn rsa(jwk: &Object) -> Result<Key, &'static str> {
    let (n, e) = bytes(jwk, "n").zip(bytes(jwk, "e")).ok_or("needs n and e in base64url")?;
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let leading = n.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = (n.len() * 8).saturating_sub(leading);
    // RFC 7518, 2: no zero octets in front.
    if leading == 8 || !odd(&n) || !(MODULUS_BITS_MIN..=MODULUS_BITS_MAX).contains(&bits) {
        return Err("has an n that is no modulus of 2048 to 8192 bits");
    }
    let sound = e.first().is_some_and(|first| *first != 0) && odd(&e) && e != [1] && e.len() <= EXPONENT_BYTES_MAX;
    if !sound {
        return Err("has an e that is no public exponent");
    }
    Ok(Key::Rs256(RsaPublicKeyComponents { n, e }))
}

/// A text, if the member is one.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    match object.get(name) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

fn bytes(jwk: &Object, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).ok()
}
