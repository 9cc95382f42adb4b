//! Errors say what to do: common first attempts are answered with a line that works.

use reqwest::{Client, Method, header::CONTENT_TYPE};

use crate::server::Server;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

#[tokio::test]
async fn a_mistake_is_answered_with_what_would_have_worked() {
    let server = Server::start(&[]).await;
    let client = Client::new();
    for (path, content_type, body, status, code, said) in [
        // `curl -d hi`
        ("/pub", Some(FORM), "hi", 400, "missing_message", "(curl: --data-urlencode 'message=hi')"),
        // `curl -d '{…}'`
        ("/pub", Some(FORM), r#"{"message":"hi"}"#, 400, "malformed_body", "looks like JSON but came as a form"),
        ("/pub", Some(FORM), r#" {"message":"100 %"}"#, 400, "malformed_body", "(curl: --json instead of -d)"),
        ("/sub", Some(FORM), r#"{"channels":"a"}"#, 400, "malformed_body", "Content-Type: application/json"),
        ("/pub", Some(FORM), "message=100%", 400, "malformed_body", "'%' itself is written %25"),
        // `curl -X POST`
        ("/pub", None, "", 400, "missing_message", "the message is missing"),
        ("/pub", None, "hi", 415, "unsupported_media_type", "the body has no Content-Type; it must be a form ("),
        (
            "/pub",
            Some("text/plain"),
            "hi",
            415,
            "unsupported_media_type",
            "the body came as text/plain; it must be a form",
        ),
        ("/sub", Some(JSON), "{}", 415, "unsupported_media_type", "came as application/json; it must be a form (appl"),
        (
            "/pub",
            Some(JSON),
            "",
            400,
            "malformed_body",
            "the body is empty; it must be a JSON object such as {\"message\"",
        ),
        ("/pub", Some(JSON), r#"{"message":"#, 400, "malformed_body", "the body ends in the middle of its JSON"),
        (
            "/pub",
            Some(JSON),
            r#""hi""#,
            400,
            "malformed_body",
            "the body is JSON but no object; it must be a JSON object",
        ),
        (
            "/pub",
            Some(JSON),
            "{\n  'message': 1}",
            400,
            "malformed_body",
            "the body is no valid JSON at line 2, column 3",
        ),
        (
            "/pub?channel=news",
            Some(FORM),
            "message=hi",
            400,
            "misplaced_parameter",
            "channel is in the query string, of which nothing is read; send it in the body",
        ),
    ] {
        let mut request = client.request(Method::POST, server.url(path)).body(body);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{body}");
        let problem: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], code, "{body}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{body}: {detail}");
    }
}

#[tokio::test]
async fn a_media_type_is_repeated_in_short_and_a_form_may_have_a_strange_field() {
    let server = Server::start(&[]).await;
    let post = async |content_type: &[u8], body: &'static str| {
        let request = Client::new().post(server.url("/pub")).header(CONTENT_TYPE, content_type).body(body);
        request.send().await.unwrap().text().await.unwrap()
    };
    let refused = post(&[b"a/b;c=\xff".as_slice(), &[b'c'; 9000]].concat(), "hi").await;
    assert!(refused.contains("came as a/b;c=") && refused.len() < 400, "{refused}");
    assert!(post(FORM.as_bytes(), "{=1&message=hi").await.contains("\"sent\""));
}
