//! The guard before `lambda_http`, which panics at some events.

use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::request::LambdaRequest;
use serde_json::{Value, json};
use url::Url;

/// The request of an event, and whether it is sound. One that is not is a stand-in of the same kind, which can carry an
/// answer back.
///
/// # Errors
/// When the event is no HTTP request of a kind that is known.
pub(crate) fn request(event: Value) -> Result<(LambdaRequest, bool), serde_json::Error> {
    if is_sound(&event)
        && let Ok(request) = serde_json::from_value(event.clone())
    {
        return Ok((request, true));
    }
    serde_json::from_value(stand_in(event)).map(|request| (request, false))
}

/// Whether `lambda_http` can make a URI and a body of it. It unwraps what these are made of.
fn is_sound(event: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let header = |name: &str| {
        let headers = event["headers"].as_object().into_iter().chain(event["multiValueHeaders"].as_object());
        let found = headers.flatten().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| text(value.get(0).unwrap_or(value)))
    };
    let context = &event["requestContext"];
    let domain = context["domainName"].as_str().map(str::to_owned);
    let host = header("host").or(domain).unwrap_or_else(|| "localhost".to_owned());
    let scheme = header("x-forwarded-proto").unwrap_or_else(|| "https".to_owned());
    let path = event["rawPath"].as_str().or(event["path"].as_str()).unwrap_or_default();
    let query = event["rawQueryString"].as_str().unwrap_or_default();
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());

    let uri = Url::parse(&format!("{scheme}://{host}{path}")).map(|url| format!("{url}?{query}"));
    let base64 = event["isBase64Encoded"] == true;
    let body = event["body"].as_str().unwrap_or_default();
    plain(path)
        && plain(query)
        && plain(&host)
        && path.starts_with('/')
        && uri.is_ok_and(|uri| uri.parse::<http::Uri>().is_ok())
        && (!base64 || STANDARD.decode(body).is_ok())
}

/// The event without anything that a client wrote.
fn stand_in(mut event: Value) -> Value {
    let Some(fields) = event.as_object_mut() else {
        return event;
    };
    for name in ["rawPath", "path"] {
        if fields.contains_key(name) {
            fields.insert(name.to_owned(), json!("/"));
        }
    }
    for name in ["headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters"] {
        if fields.contains_key(name) {
            fields.insert(name.to_owned(), json!({}));
        }
    }
    for name in ["body", "cookies", "rawQueryString", "isBase64Encoded", "pathParameters"] {
        fields.remove(name);
    }
    event
}
