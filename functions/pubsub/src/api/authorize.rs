//! From the token of a request to rights, and the answers to those who lack them.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};

use super::{
    Code, Problem,
    fields::{self, Field, Fields},
};
use crate::{
    access::{Access, Action, InvalidToken, Rights},
    channel::Channel,
    message::Nick,
};

/// What the sender of a request may do. Its token is in a header, or in a field, which costs a page of another origin
/// no preflight. Without keys no token is checked, so a header that is meant for a proxy does no harm.
pub(super) fn rights(access: &Access, headers: &HeaderMap, fields: &mut Fields<'_>) -> Result<Arc<Rights>, Problem> {
    let field = fields.text(Field::Token)?;
    if field.as_deref() == Some("") {
        return Err(Field::Token.invalid("token must not be empty"));
    }
    let header = if access.is_open() { None } else { bearer(headers)? };
    if let (Some(header), Some(field)) = (header, &field)
        && header != field.as_bytes()
    {
        let detail = "the field token and the header Authorization differ; one of them is enough";
        return Err(Problem::new(Code::ConflictingParameters, detail));
    }
    let header = header.map(|token| str::from_utf8(token).map_err(|_| InvalidToken::Malformed("it is no ASCII")));
    Ok(access.rights(header.transpose()?.or(field.as_deref()))?)
}

/// The token in the header (RFC 6750, 2.1). Credentials of other schemes are meant for others.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
    let Some(credentials) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(fields::repeated("Authorization"));
    }
    let end = credentials.iter().position(|b| *b == b' ').unwrap_or(credentials.len());
    let (scheme, token) = credentials.split_at(end);
    Ok(scheme.eq_ignore_ascii_case(b"Bearer").then(|| token.trim_ascii()))
}

/// Refuses the whole request when one of its channels is not granted, and names all that are not. A list without these
/// channels would look as if they were silent.
pub(super) fn check<'a>(
    rights: &Rights,
    action: Action,
    channels: impl Iterator<Item = &'a Channel>,
) -> Result<(), Problem> {
    let denied: Vec<_> = channels.filter(|channel| !rights.allow(action, channel)).cloned().collect();
    if denied.is_empty() { Ok(()) } else { Err(Problem::forbidden(action, denied)) }
}

/// The nickname of a message: the token's, if it has one.
pub(super) fn nick(rights: &Rights, nick: Option<Nick>) -> Result<Option<Nick>, Problem> {
    match (rights.nick(), nick) {
        (Some(own), Some(nick)) if *own != nick => {
            Err(Problem::new(Code::NickNotYours, "the token has another nickname; leave nick out, and it is used"))
        }
        (Some(own), _) => Ok(Some(own.clone())),
        (None, nick) => Ok(nick),
    }
}
