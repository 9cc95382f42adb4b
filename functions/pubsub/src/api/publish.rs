//! A request to publish, parsed.

use bytes::Bytes;
use http::{HeaderMap, Request, header::CONTENT_TYPE};
use http_body::Body;

use super::{
    Code, Problem, body,
    fields::{self, Fields, Value},
    form, json,
};
use crate::{
    channel::Channel,
    message::{Draft, InvalidText, Key, Nick, Text},
};

const KEY_HEADER: &str = "idempotency-key";

/// What is to be published, and where.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: Channel,
    pub(super) draft: Draft,
    pub(super) key: Option<Key>,
}

#[derive(Clone, Copy)]
enum MediaType {
    Form,
    Json,
}

/// Reads a request. Of several faults the first counts: the media type, the body as a whole, the fields in their order.
pub(super) async fn parse<B>(request: Request<B>) -> Result<Publication, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers)?;
    let body = body::collect(body).await?;
    publication(fields_of(media_type, &body)?, &parts.headers)
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let known = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().ok().and_then(known_media_type),
        _ => None,
    };
    known.ok_or_else(|| {
        let allowed = "application/x-www-form-urlencoded and application/json, in UTF-8, are understood";
        Problem::new(Code::UnsupportedMediaType, allowed)
    })
}

fn known_media_type(content_type: &str) -> Option<MediaType> {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next()?.to_ascii_lowercase();
    let other_charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.eq_ignore_ascii_case("charset") && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    match essence.as_str() {
        _ if parts.any(other_charset) => None,
        "application/x-www-form-urlencoded" => Some(MediaType::Form),
        "application/json" => Some(MediaType::Json),
        _ => None,
    }
}

fn fields_of(media_type: MediaType, body: &[u8]) -> Result<Fields<4>, Problem> {
    let malformed = |error: &dyn ToString| Problem::new(Code::MalformedBody, error.to_string());
    let mut fields = Fields::new(["message", "nick", "channel", "key"]);
    match media_type {
        MediaType::Form => {
            for pair in form::pairs(body) {
                let (name, value) = pair.map_err(|error| malformed(&error))?;
                fields.put(&name, String::from_utf8(value).map_or(Value::NotText, Value::Text));
            }
        }
        MediaType::Json => {
            json::read_into(&mut fields, body).map_err(|error| malformed(&error))?;
        }
    }
    fields.once()
}

fn publication(mut fields: Fields<4>, headers: &HeaderMap) -> Result<Publication, Problem> {
    let mut header_keys = headers.get_all(KEY_HEADER).iter();
    let header_key = header_keys.next();
    if header_keys.next().is_some() {
        return Err(fields::repeated("Idempotency-Key"));
    }

    let text = fields.text("message", Code::InvalidMessage)?.unwrap_or_default();
    let text = Text::parse(text).map_err(|error| match error {
        InvalidText::Missing => Problem::new(Code::MissingMessage, error),
        InvalidText::TooLarge(_) => Problem::new(Code::MessageTooLarge, error),
    })?;

    let nick = fields.text("nick", Code::InvalidNick)?;
    let nick = nick.filter(|nick| !nick.is_empty()).map(Nick::parse).transpose();
    let nick = nick.map_err(|error| Problem::new(Code::InvalidNick, error))?;

    let channel = fields.channel()?;

    let parse_key = |key: &[u8]| Key::parse(key).map_err(|error| Problem::new(Code::InvalidKey, error));
    let field_key = fields.text("key", Code::InvalidKey)?;
    let field_key = field_key.map(|key| parse_key(key.as_bytes())).transpose()?;
    let header_key = header_key.map(|key| parse_key(key.as_bytes())).transpose()?;
    if let (Some(one), Some(other)) = (&field_key, &header_key)
        && one != other
    {
        let detail = "the field key and the header Idempotency-Key differ; one of them is enough";
        return Err(Problem::new(Code::ConflictingParameters, detail));
    }

    Ok(Publication { channel, draft: Draft { nick, text }, key: field_key.or(header_key) })
}
