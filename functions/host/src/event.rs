//! Checks events before `lambda_http`, which panics at some.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::uri::Authority;
use lambda_http::request::LambdaRequest;
use serde_json::{Value, json};
use url::Url;

/// The longest query, in bytes of names and values. An API of AWS takes at most 10,240 in all. `lambda_http` panics at
/// a URI of 64 KB, and each byte may take three there.
const QUERY_BYTES_MAX: usize = 16 * 1024;

/// The longest name of a stage, in characters.
const STAGE_CHARS_MAX: usize = 128;

/// The request in an event, and whether the event is sound. An unsound one is replaced by a sound one of the same kind,
/// which can be answered. Host, path and stage are removed from both: no function uses them, and `lambda_http` unwraps
/// what it makes of them.
///
/// # Errors
/// When the event is no HTTP request of a kind that is known.
pub(crate) fn request(mut event: Value) -> Result<(LambdaRequest, bool), serde_json::Error> {
    let sound = is_sound(&event);
    drop_address(&mut event);
    if sound && let Ok(request) = serde_json::from_value(event.clone()) {
        return Ok((request, true));
    }
    drop_content(&mut event);
    serde_json::from_value(event).map(|request| (request, false))
}

/// Whether the parts are valid HTTP.
fn is_sound(event: &Value) -> bool {
    let context = &event["requestContext"];
    let mut hosts = headers(event, "host");
    hosts.dedup();
    let host = match hosts.as_slice() {
        [] => context["domainName"].as_str().unwrap_or("localhost"),
        [host] => host,
        _ => return false,
    };
    let domain = context["domainName"].as_str().unwrap_or("localhost");
    let schemes = headers(event, "x-forwarded-proto");
    let scheme = schemes.first().copied().unwrap_or("https");
    let path = event["rawPath"].as_str().or(event["path"].as_str()).unwrap_or_default();
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    let address = |host: &str| {
        let authority = host.parse::<Authority>().is_ok_and(|host| !host.as_str().contains(['@', ',']));
        let url = Url::parse(&format!("{scheme}://{host}{path}"));
        plain(host) && authority && url.is_ok_and(|url| url.as_str().parse::<http::Uri>().is_ok())
    };
    let stage = context["stage"].as_str().unwrap_or_default();
    let base64 = event["isBase64Encoded"] == true;
    plain(path)
        && path.starts_with('/')
        && address(host)
        && address(domain)
        && plain(stage)
        && stage.len() <= STAGE_CHARS_MAX
        && is_sound_query(event)
        && (!base64 || STANDARD.decode(event["body"].as_str().unwrap_or_default()).is_ok())
}

/// Each value of a header, in either form that an event may have.
pub(crate) fn headers<'a>(event: &'a Value, name: &str) -> Vec<&'a str> {
    let all = ["headers", "multiValueHeaders"].into_iter().filter_map(|kind| event[kind].as_object());
    let found = all.flatten().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let values = found.flat_map(|(_, value)| match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    });
    values.map(|value| value.as_str().unwrap_or_default()).collect()
}

fn is_sound_query(event: &Value) -> bool {
    let raw = event["rawQueryString"].as_str().unwrap_or_default();
    let mut len = raw.len();
    for kind in ["queryStringParameters", "multiValueQueryStringParameters"] {
        for (name, value) in event[kind].as_object().into_iter().flatten() {
            let values = match value {
                Value::Array(values) if values.is_empty() => return false,
                Value::Array(values) => values.iter().collect(),
                value => vec![value],
            };
            let texts = values.iter().map(|value| value.as_str().unwrap_or_default());
            len += texts.map(|text| name.len() + text.len() + 2).sum::<usize>();
        }
    }
    // The same twice, in an event of a REST API.
    raw.bytes().all(|b| b.is_ascii_graphic()) && len <= 2 * QUERY_BYTES_MAX && raw.len() <= QUERY_BYTES_MAX
}

/// Removes the parts of a URI, except the query.
fn drop_address(event: &mut Value) {
    for name in ["rawPath", "path"] {
        if let Some(path) = event.get_mut(name) {
            *path = json!("/");
        }
    }
    for name in ["domainName", "stage"] {
        if let Some(context) = event.get_mut("requestContext").and_then(Value::as_object_mut) {
            context.remove(name);
        }
    }
    for name in ["headers", "multiValueHeaders"] {
        if let Some(headers) = event.get_mut(name).and_then(Value::as_object_mut) {
            headers.retain(|name, _| !["host", "x-forwarded-proto"].contains(&name.to_ascii_lowercase().as_str()));
        }
    }
}

/// Removes the other parts that a client wrote.
fn drop_content(event: &mut Value) {
    let Some(fields) = event.as_object_mut() else {
        return;
    };
    for name in ["headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters"] {
        if fields.contains_key(name) {
            fields.insert(name.to_owned(), json!({}));
        }
    }
    for name in ["body", "cookies", "rawQueryString", "isBase64Encoded", "pathParameters"] {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_http::Request;
    use proptest::prelude::*;

    fn http() -> Value {
        json!({
            "version": "2.0", "routeKey": "GET /sub", "rawPath": "/prod/sub", "rawQueryString": "wait=0",
            "headers": {"host": "api.example", "x-forwarded-proto": "https"},
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "api.example", "domainPrefix": "api", "requestId": "r",
                "http": {"method": "GET", "path": "/sub", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
                "routeKey": "GET /sub", "stage": "$default", "time": "24/Nov/2025:00:00:00 +0000", "timeEpoch": 1
            },
            "isBase64Encoded": false
        })
    }

    fn rest() -> Value {
        json!({
            "resource": "/sub", "path": "/sub", "httpMethod": "GET", "headers": {"Host": "api.example"},
            "multiValueHeaders": {"Host": ["api.example"]}, "queryStringParameters": {"wait": "0"},
            "multiValueQueryStringParameters": {"wait": ["0"]}, "pathParameters": null, "stageVariables": null,
            "requestContext": {
                "stage": "prod", "httpMethod": "GET", "path": "/prod/sub", "requestId": "r", "domainName": "api.example"
            },
            "body": null, "isBase64Encoded": false
        })
    }

    /// Makes a request of it as the host does. Returns whether it was sound, and its query.
    fn query(event: Value) -> (bool, String) {
        let (request, sound) = request(event).unwrap();
        let request: Request = request.into();
        (sound, request.uri().query().unwrap_or_default().to_owned())
    }

    fn with(mut event: Value, path: &str, value: Value) -> Value {
        *event.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        event
    }

    #[test]
    fn a_sound_event_keeps_its_query() {
        assert_eq!(query(http()), (true, "wait=0".to_owned()));
        assert_eq!(query(rest()), (true, "wait=0".to_owned()));
        for stage in ["prod", "$default", &"s".repeat(128)] {
            assert!(query(with(http(), "/requestContext/stage", json!(stage))).0, "{stage}");
        }
    }

    #[test]
    fn what_would_make_lambda_http_panic_is_unsound() {
        for event in [http(), rest()] {
            for domain in ["a b", "[", "", "a/b", "a:b", "é", "a#b", "%"] {
                let event = with(event.clone(), "/requestContext/domainName", json!(domain));
                assert!(!query(event).0, "{domain}");
            }
            for stage in ["s".repeat(129), "s".repeat(70_000), "a b".into(), "é".into()] {
                assert!(!query(with(event.clone(), "/requestContext/stage", json!(stage))).0);
            }
            for hosts in
                [json!({"host": "a.example,b.example"}), json!({"host": "a", "Host": "b"}), json!({"HOST": "a b"})]
            {
                let mut event = with(event.clone(), "/headers", hosts.clone());
                if event.get("multiValueHeaders").is_some() {
                    event["multiValueHeaders"] = json!({});
                }
                assert!(!query(event).0, "{hosts}");
            }
        }
        assert!(!query(with(rest(), "/multiValueHeaders/Host", json!(["a", "b"]))).0);
        assert!(!query(with(rest(), "/multiValueQueryStringParameters/wait", json!([]))).0);
        assert!(!query(with(rest(), "/queryStringParameters/wait", json!("x".repeat(70_000)))).0);
        assert!(!query(with(http(), "/rawQueryString", json!("x".repeat(70_000)))).0);
        assert!(!query(with(http(), "/rawPath", json!("/".repeat(70_000)))).0);
    }

    fn text() -> impl Strategy<Value = Value> {
        prop_oneof![
            "(\\PC|[ %/?#@:\\[\\],]|[a-z.]){0,8}".prop_map(Value::from),
            Just(Value::Null),
            Just(json!([])),
            Just(json!(["a", "b"])),
            Just(json!({"a": []})),
            Just(json!({"host": ["a", "b"], "HOST": "c"})),
            Just(json!(true)),
            Just(json!("x".repeat(70_000))),
        ]
    }

    proptest! {
        #[test]
        fn no_event_makes_lambda_http_panic(
            one in 0..11_usize, other in 0..11_usize, value in text(), second in text(), which in any::<bool>(),
        ) {
            let paths = [
                "/rawPath", "/path", "/rawQueryString", "/headers", "/multiValueHeaders", "/queryStringParameters",
                "/multiValueQueryStringParameters", "/requestContext/domainName", "/requestContext/stage", "/body",
                "/isBase64Encoded",
            ];
            let mut event = if which { http() } else { rest() };
            for (path, value) in [(paths[one], value), (paths[other], second)] {
                if let Some(place) = event.pointer_mut(path) {
                    *place = value;
                }
            }
            if let Ok((request, _)) = request(event) {
                let _: Request = request.into();
            }
        }
    }
}
