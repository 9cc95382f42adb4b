//! What a request's body says: its media type, and the fields in it.

use bytes::Bytes;
use http::{
    HeaderMap, Request,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body;

use super::{
    Code, Problem,
    authorize::TOKEN,
    body::{Bodies, Counted},
    fields::{Fields, Value},
    form, json,
};

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

/// Finds the known fields in a body. Of several faults the first counts: the media type, the body as a whole, a field that
/// stands in the query instead, a field given twice.
pub(super) async fn read<const N: usize, B>(
    request: Request<B>,
    takes: Takes,
    bodies: &Bodies,
    names: [&'static str; N],
) -> Result<(HeaderMap, Fields<N>, Counted), Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers, takes)?;
    let (body, counted) = bodies.collect(body).await?;
    let mut fields = Fields::new(names);
    read_into(&mut fields, media_type, &body)?;
    if let Some(name) = parts.uri.query().and_then(|query| fields.named_in(query)) {
        return Err(misplaced(name));
    }
    Ok((parts.headers, fields.once()?, counted))
}

/// Something stands in the query, which ends up in logs.
pub(super) fn misplaced(name: &str) -> Problem {
    let detail = match name {
        TOKEN => "token stands in the query, which ends up in logs; send Authorization: Bearer, or a form".to_owned(),
        name => format!("{name} stands in the query; it belongs into the body, and nothing is read from the query"),
    };
    Problem::new(Code::MisplacedParameter, detail)
}

fn media_type(headers: &HeaderMap, takes: Takes) -> Result<MediaType, Problem> {
    if headers.contains_key(CONTENT_ENCODING) {
        let detail = "a body is taken as it is, without Content-Encoding";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let known = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().ok().and_then(known_media_type),
        _ => None,
    };
    match known {
        Some(MediaType::Json) if takes == Takes::Form => None,
        known => known,
    }
    .ok_or_else(|| {
        let allowed = match takes {
            Takes::Form => "the body must be a form: application/x-www-form-urlencoded, in UTF-8",
            Takes::FormAndJson => {
                "the body must be a form or JSON: application/x-www-form-urlencoded or application/json, in UTF-8"
            }
        };
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

fn read_into<const N: usize>(fields: &mut Fields<N>, media_type: MediaType, body: &[u8]) -> Result<(), Problem> {
    let malformed = |error: &dyn ToString| Problem::new(Code::MalformedBody, error.to_string());
    match media_type {
        MediaType::Form => {
            for pair in form::pairs(body) {
                let (name, value) = pair.map_err(|error| malformed(&error))?;
                fields.put(&name, String::from_utf8(value.into_owned()).map_or(Value::NotText, Value::Text));
            }
            Ok(())
        }
        MediaType::Json => json::read_into(fields, body)
            .map_err(|error| malformed(&format!("the body can't be read as a JSON object: {error}"))),
    }
}
