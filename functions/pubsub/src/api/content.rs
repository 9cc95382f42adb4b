//! The fields in a request's body, and its media type.

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body;

use super::{
    Code, Problem,
    body::{Bodies, BodyPermit},
    fields::{Field, Fields, Value},
    form, json,
};

/// How many characters of a media type an error repeats. The longest common one, of a spreadsheet, has 65.
const SHOWN_CHARS_MAX: usize = 80;

/// The media types that an endpoint takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Form,
    FormAndJson,
}

#[derive(Clone, Copy)]
enum MediaType {
    Form,
    Json,
}

/// Finds the known fields in a body. Only the first error is reported, in this order: the media type, the body as a
/// whole, a field in the query instead, a field given twice.
pub(super) async fn read<B>(
    request: Box<Request<B>>,
    takes: Takes,
    bodies: &Bodies,
    known: &'static [Field],
) -> Result<(HeaderMap, Fields<'static>, BodyPermit), Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers, takes, body.is_end_stream())?;
    let (body, counted) = bodies.collect(body).await?;
    let mut fields = Fields::new(known);
    read_into(&mut fields, media_type, &body)?;
    if let Some(field) = parts.uri.query().and_then(|query| fields.first_in(query)) {
        return Err(misplaced(field));
    }
    Ok((parts.headers, fields.once()?, counted))
}

/// A field is in the query, which ends up in logs.
pub(super) fn misplaced(field: Field) -> Problem {
    let detail = match field {
        Field::Token => {
            "token stands in the query, which ends up in logs; send Authorization: Bearer, or a form".to_owned()
        }
        field => format!("{} is in the query string, of which nothing is read; send it in the body", field.name()),
    };
    Problem::new(Code::MisplacedParameter, detail)
}

/// The media type of a body. Without a body and a type it is an empty form, so that the error names the missing field.
fn media_type(headers: &HeaderMap, takes: Takes, empty: bool) -> Result<MediaType, Problem> {
    if headers.contains_key(CONTENT_ENCODING) {
        let detail = "the body has a Content-Encoding; send it without one, uncompressed";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let came = match (given.next(), given.next()) {
        (None, _) if empty => return Ok(MediaType::Form),
        (None, _) => "has no Content-Type".to_owned(),
        (Some(one), None) => match one.to_str().ok().and_then(known_media_type) {
            Some(known) if takes == Takes::FormAndJson || matches!(known, MediaType::Form) => return Ok(known),
            _ => format!("came as {}", shown(one)),
        },
        _ => "has more than one Content-Type".to_owned(),
    };
    let allowed = match takes {
        Takes::Form => "a form (application/x-www-form-urlencoded)",
        Takes::FormAndJson => "a form (application/x-www-form-urlencoded) or JSON (application/json)",
    };
    Err(Problem::new(Code::UnsupportedMediaType, format!("the body {came}; it must be {allowed}, in UTF-8")))
}

/// A media type as an error shows it. The client may have sent anything, of any length.
fn shown(content_type: &HeaderValue) -> String {
    let visible = String::from_utf8_lossy(content_type.as_bytes());
    visible.chars().take(SHOWN_CHARS_MAX).collect()
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

fn read_into(fields: &mut Fields<'_>, media_type: MediaType, body: &[u8]) -> Result<(), Problem> {
    match media_type {
        MediaType::Form => read_form_into(fields, body),
        MediaType::Json => json::read_into(fields, body).map_err(|error| malformed(json::described(&error))),
    }
}

fn read_form_into(fields: &mut Fields<'_>, body: &[u8]) -> Result<(), Problem> {
    let body = str::from_utf8(body).map_or_else(|_| escaped(body), Cow::from);
    let mut escapes = Ok(());
    for (name, value) in form::pairs(&body) {
        match (form::decode(name), form::decode(value)) {
            (Ok(Value::Text(name)), Ok(value)) => {
                if let Some(field) = fields.known(&name) {
                    fields.put(field, value.into_owned());
                }
            }
            (Err(error), _) | (_, Err(error)) => escapes = escapes.and(Err(malformed(error))),
            // The name is not UTF-8, so it is no known one.
            _ => {}
        }
    }
    // Unknown fields are ignored. So JSON that is sent as a form would look like a form without fields.
    if fields.is_empty() && body.trim_ascii_start().starts_with('{') {
        return Err(malformed(
            "the body looks like JSON but came as a form; send it with the header Content-Type: application/json \
             (curl: --json instead of -d)",
        ));
    }
    escapes
}

/// The same form with each byte that is not ASCII as an escape, for a body that is not UTF-8.
fn escaped(body: &[u8]) -> Cow<'static, str> {
    let mut escaped = String::with_capacity(3 * body.len());
    for byte in body {
        if byte.is_ascii() {
            escaped.push(char::from(*byte));
        } else {
            let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
            escaped.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    escaped.into()
}

fn malformed(detail: impl ToString) -> Problem {
    Problem::new(Code::MalformedBody, detail)
}
