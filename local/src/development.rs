//! Keys and tokens for development: `linger keys` and `linger token`. In production, your own backend makes the tokens.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use pubsub::{
    access::{Access, Expected, InvalidKeys, InvalidToken},
    clock::Clock,
    limits,
};
use ring::{
    error::{KeyRejected, Unspecified},
    hmac,
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

/// The files that `linger keys` makes. `linger token` reads the first.
pub(crate) const PRIVATE: &str = "linger-private.json";
pub(crate) const PUBLIC: &str = "linger-keys.json";

/// The position and length of the private key of P-256 in the document that `ring` makes (RFC 5915 in RFC 5958).
const P256_PRIVATE_AT: usize = 36;
const P256_BYTES: usize = 32;

#[derive(Debug, Subcommand)]
pub(crate) enum Make {
    /// Makes a key that signs tokens: linger-private.json for whoever signs, linger-keys.json for --access-keys
    Keys(Keys),
    /// Prints a token for development, signed with the key that `linger keys` made
    Token(Token),
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The folder that the two files are written to
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// What kind of key. With hs256 both files have the same secret in them
    #[arg(long, value_enum, default_value_t = Algorithm::Es256)]
    algorithm: Algorithm,

    /// Makes none: says whether FILE has public keys only that linger takes, and prints them in one line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["folder", "algorithm"])]
    check: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Algorithm {
    Es256,
    Eddsa,
    Hs256,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rights").args(["publish", "subscribe"]).required(true).multiple(true))]
pub(crate) struct Token {
    /// A channel that may be published to, or a prefix and *; can be given more than once, or with commas between
    #[arg(long, value_name = "CHANNEL", value_delimiter = ',')]
    publish: Vec<String>,

    /// A channel that may be listened to, or a prefix and *; can be given more than once, or with commas between
    #[arg(long, value_name = "CHANNEL", value_delimiter = ',')]
    subscribe: Vec<String>,

    /// Who speaks; without it the bearer may use any name
    #[arg(long)]
    nickname: Option<String>,

    /// How long it is good: 3s, 24h, or a number of seconds
    #[arg(long, default_value = "1h", value_parser = limits::duration)]
    expires: Duration,

    /// Its issuer (iss)
    #[arg(long)]
    issuer: Option<String>,

    /// Its audience (aud)
    #[arg(long)]
    audience: Option<String>,

    /// The file with the private key
    #[arg(long, value_name = "FILE", default_value = PRIVATE)]
    keys: PathBuf,
}

/// Why a key or a token could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("can't write {path}: {error}")]
    Unwritable { path: String, error: io::Error },
    #[error("can't read {path}: {error}; `linger keys` makes one")]
    Unreadable { path: String, error: io::Error },
    #[error("{0} is no JWK set with a private key of ES256, EdDSA or HS256, as `linger keys` makes it")]
    NoKey(String),
    #[error("{0} has a secret: it is for no one else")]
    Secret(String),
    #[error("linger can't use this key: {0}")]
    Key(#[from] InvalidKeys),
    #[error("linger would refuse this token: {0}")]
    Token(#[from] InvalidToken),
    #[error("a key can't be made")]
    Random,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Unspecified> for Failure {
    fn from(_: Unspecified) -> Self {
        Self::Random
    }
}

impl Make {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Keys(Keys { check: Some(path), .. }) => Ok(writeln!(io::stdout(), "{}", public_keys(path)?)?),
            Self::Keys(keys) => keys.write(),
            Self::Token(token) => Ok(writeln!(io::stdout(), "{}", token.signed()?)?),
        }
    }
}

/// A file that others may read, in one line.
fn public_keys(path: &Path) -> Result<String, Failure> {
    let text = read(path)?;
    Access::guarded([text.as_str()], Expected::default(), Clock::System)?;
    let set: Value = serde_json::from_str(&text).unwrap_or_default();
    let keys = set.get("keys").and_then(Value::as_array);
    if keys.is_none_or(|keys| keys.iter().any(|key| key["kty"] == "oct")) {
        return Err(Failure::Secret(path.display().to_string()));
    }
    Ok(set.to_string())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Unreadable { path: path.display().to_string(), error })
}

impl Keys {
    fn write(&self) -> Result<(), Failure> {
        let mut kid = [0; 8];
        SystemRandom::new().fill(&mut kid)?;
        let private = self.algorithm.generate(&base64url(&kid))?;
        fs::create_dir_all(&self.folder)?;
        let (path, keys) = (self.folder.join(PRIVATE), self.folder.join(PUBLIC));
        let secret = matches!(self.algorithm, Algorithm::Hs256);
        let mode = if secret { 0o600 } else { 0o644 };
        create(&keys, mode, &json!({ "keys": [public(&private)] }))?;
        create(&path, 0o600, &json!({ "keys": [private] })).inspect_err(|_| {
            // One of two files is of no use. If it can't be removed, the error is the same.
            let _ = fs::remove_file(&keys);
        })?;
        let mut stdout = io::stdout();
        writeln!(stdout, "{} signs tokens: whoever has it may do everything", path.display())?;
        writeln!(stdout, "{} is for --access-keys", keys.display())?;
        if secret {
            writeln!(stdout, "both have the same secret in them: keep both to yourself")?;
        }
        Ok(())
    }
}

/// Writes a new file, and never over an old one: tokens are only valid as long as their key exists.
fn create(path: &Path, mode: u32, content: &Value) -> Result<(), Failure> {
    let unwritable = |error| Failure::Unwritable { path: path.display().to_string(), error };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    writeln!(file.map_err(unwritable)?, "{content}").map_err(unwritable)
}

impl Algorithm {
    fn generate(self, kid: &str) -> Result<Value, Failure> {
        let random = SystemRandom::new();
        let mut secret = [0; 32];
        match self {
            Self::Es256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
                let document = document.as_ref();
                let private = document.get(P256_PRIVATE_AT..P256_PRIVATE_AT + P256_BYTES).ok_or(Unspecified)?;
                let public = document.get(document.len().saturating_sub(2 * P256_BYTES)..).ok_or(Unspecified)?;
                let (x, y) = public.split_at(P256_BYTES);
                let [x, y, d] = [x, y, private].map(base64url);
                Ok(json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "x": x, "y": y, "d": d }))
            }
            Self::Eddsa => {
                random.fill(&mut secret)?;
                let pair = Ed25519KeyPair::from_seed_unchecked(&secret).map_err(|KeyRejected { .. }| Unspecified)?;
                let [x, d] = [pair.public_key().as_ref(), &secret].map(base64url);
                Ok(json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid, "x": x, "d": d }))
            }
            Self::Hs256 => {
                random.fill(&mut secret)?;
                Ok(json!({ "kty": "oct", "alg": "HS256", "kid": kid, "k": base64url(&secret) }))
            }
        }
    }
}

/// The public part of a key. A secret has none.
fn public(private: &Value) -> Value {
    let mut public = private.clone();
    if let Some(members) = public.as_object_mut() {
        members.remove("d");
    }
    public
}

impl Token {
    /// The token, after linger itself has accepted it.
    fn signed(&self) -> Result<String, Failure> {
        let set: Value = serde_json::from_str(&read(&self.keys)?).unwrap_or_default();
        let jwk = set.pointer("/keys/0").unwrap_or(&Value::Null);
        let token = self.sign(jwk).ok_or_else(|| Failure::NoKey(self.keys.display().to_string()))?;
        let keys = json!({ "keys": [public(jwk)] }).to_string();
        Access::guarded([keys.as_str()], Expected::default(), Clock::System)?.rights(Some(&token))?;
        Ok(token)
    }

    fn claims(&self) -> Value {
        let grants = |action: &str, channels: &[String]| {
            (!channels.is_empty()).then(|| json!({ "type": "linger", "actions": [action], "channels": channels }))
        };
        let details = [grants("publish", &self.publish), grants("subscribe", &self.subscribe)];
        let now = Clock::System.unix_ms() / 1000;
        without_nulls(json!({
            "iat": now,
            "exp": now + self.expires.as_secs(),
            "iss": self.issuer,
            "aud": self.audience,
            "nickname": self.nickname,
            "authorization_details": details.iter().flatten().collect::<Vec<_>>(),
        }))
    }

    fn sign(&self, jwk: &Value) -> Option<String> {
        let algorithm = jwk.get("alg")?.as_str()?;
        let header = without_nulls(json!({ "alg": algorithm, "typ": "JWT", "kid": jwk.get("kid") }));
        let content = [header, self.claims()].map(|part| base64url(part.to_string().as_bytes())).join(".");
        let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
        let signature = match algorithm {
            "ES256" => {
                let public = [&[4][..], &member("x")?, &member("y")?].concat();
                let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
                let pair = EcdsaKeyPair::from_private_key_and_public_key(kind, &member("d")?, &public, &random).ok()?;
                pair.sign(&random, content.as_bytes()).ok()?.as_ref().to_vec()
            }
            "EdDSA" => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&member("d")?, &member("x")?).ok()?;
                pair.sign(content.as_bytes()).as_ref().to_vec()
            }
            "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &member("k")?);
                hmac::sign(&key, content.as_bytes()).as_ref().to_vec()
            }
            _ => return None,
        };
        Some(format!("{content}.{}", base64url(&signature)))
    }
}

/// An object without the absent members.
fn without_nulls(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
