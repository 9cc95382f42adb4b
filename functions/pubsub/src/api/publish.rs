//! A request to publish, parsed.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body;
use smallvec::smallvec;

use super::{
    Code, Problem, Report, authorize,
    body::{Bodies, BodyPermit},
    content::{self, Takes},
    fields::{self, Field, Fields},
};
use crate::{
    access::{Access, Action},
    channel::Channel,
    message::{Draft, InvalidText, Key, Nick, Text},
};

const FIELDS: [Field; 5] = [Field::Message, Field::Nick, Field::Channel, Field::Key, Field::Token];

const KEY_HEADER: &str = "idempotency-key";

/// `curl -d hi` is what many people try first. curl sends it as a form with a field `hi`.
const MESSAGE_BY_CURL: &str = "curl: --data-urlencode 'message=hi'";

/// The message to publish, and its channel.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: Channel,
    pub(super) draft: Draft,
    pub(super) key: Option<Key>,
}

/// Reads a request. Also returns what its body counts for. Only the first error is reported: of the body as a whole, of
/// the token, of the other fields in their order, and last that the token does not allow it, since that depends on the
/// channel.
pub(super) async fn parse<B>(
    request: Box<Request<B>>,
    bodies: &Bodies,
    access: &Access,
    report: &mut Report,
) -> Result<(Publication, BodyPermit), Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (headers, mut fields, counted) = content::read(request, Takes::FormAndJson, bodies, &FIELDS).await?;
    let rights = authorize::rights(access, &headers, &mut fields)?;
    let mut publication = publication(fields, &headers)?;
    report.channels = smallvec![publication.channel.clone()];
    authorize::check(&rights, Action::Publish, report.channels.iter())?;
    publication.draft.nick = authorize::nick(&rights, publication.draft.nick)?;
    Ok((publication, counted))
}

fn publication(mut fields: Fields<'_>, headers: &HeaderMap) -> Result<Publication, Problem> {
    let mut header_keys = headers.get_all(KEY_HEADER).iter();
    let header_key = header_keys.next();
    if header_keys.next().is_some() {
        return Err(fields::repeated("Idempotency-Key"));
    }

    let text = fields.text(Field::Message)?.unwrap_or_default();
    let text = Text::parse(text.into_owned()).map_err(|error| match error {
        InvalidText::Missing => Problem::new(Code::MissingMessage, format!("{error} ({MESSAGE_BY_CURL})")),
        InvalidText::TooLarge(_) => Problem::new(Code::MessageTooLarge, error),
    })?;

    let nick = fields.text(Field::Nick)?;
    let nick = nick.filter(|nick| !nick.is_empty()).map(|nick| Nick::parse(nick.into_owned())).transpose();
    let nick = nick.map_err(|error| Field::Nick.invalid(error))?;

    let channel = fields.channel()?;

    let parse_key = |key: &[u8]| Key::parse(key).map_err(|error| Field::Key.invalid(error));
    let field_key = fields.text(Field::Key)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONTENT_TYPE;
    use http_body_util::Full;
    use proptest::prelude::*;

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";

    async fn parsed(content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Publication, &'static str> {
        parsed_at("/pub", content_type, headers, body).await
    }

    async fn parsed_at(
        target: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Publication, &'static str> {
        let mut request = Request::post(target).header(CONTENT_TYPE, content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::<Bytes>::from(body.to_vec());
        let request = request.body(body).unwrap();
        let parsed = parse(Box::new(request), &Bodies::default(), &Access::open(), &mut Report::default()).await;
        parsed.map(|(publication, _)| publication).map_err(|problem| problem.code().as_str())
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn a_form_and_an_object_say_the_same(
            text in "(?s).{1,50}", nick in proptest::option::of("[^\\pC\\s]{1,20}"), channel in "[a-z]{1,9}",
            key in proptest::option::of("[!-~]{1,64}"),
        ) {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("message", &text).append_pair("channel", &channel);
            form.extend_pairs(nick.iter().map(|nick| ("nick", nick))).extend_pairs(key.iter().map(|key| ("key", key)));
            let json = serde_json::json!({"message": text, "channel": channel, "nick": nick, "key": key, "more": [1]});

            let form = block_on(parsed(FORM, &[], form.finish().as_bytes())).unwrap();
            let json = block_on(parsed(JSON, &[], json.to_string().as_bytes())).unwrap();
            for publication in [form, json] {
                prop_assert_eq!(publication.channel.as_str(), &channel);
                prop_assert_eq!(publication.draft.text.as_str(), &text);
                prop_assert_eq!(publication.draft.nick.as_ref().map(Nick::as_str), nick.as_deref());
                prop_assert_eq!(publication.key.as_ref().map(Key::as_str), key.as_deref());
            }
        }

        #[test]
        fn whatever_comes_is_taken_or_refused(
            body in prop::collection::vec(any::<u8>(), 0..60),
            json in "\\{(\"(message|nick|channel|key|x)\":(\"a\"|null|1|-0.5e9|\\[\\{\\}\\]|\"\\\\ud800\"),?){0,4}\\}?",
        ) {
            for body in [&body, json.as_bytes()] {
                for content_type in [FORM, JSON] {
                    let _ = block_on(parsed(content_type, &[], body));
                }
            }
        }
    }

    #[tokio::test]
    async fn of_several_faults_the_first_counts() {
        for (content_type, headers, body, code) in [
            ("text/plain", &[][..], "%", "unsupported_media_type"),
            (FORM, &[("content-encoding", "gzip")], "%", "unsupported_media_type"),
            (FORM, &[("content-encoding", "identity")], "message=a", "unsupported_media_type"),
            ("application/json; charset=latin1", &[], "{", "unsupported_media_type"),
            (FORM, &[], "message=a&message=b&nick=%", "malformed_body"),
            (FORM, &[], "nick=%00&message=&message=", "repeated_parameter"),
            (FORM, &[("idempotency-key", "a"), ("idempotency-key", "a")], "", "repeated_parameter"),
            (FORM, &[], "nick=%00&channel=/&key=", "missing_message"),
            (FORM, &[], "message=%ff&nick=%00", "invalid_message"),
            (FORM, &[], "message=a&nick=%00&channel=/", "invalid_nick"),
            (FORM, &[], "message=a&channel=&key=", "invalid_channel"),
            (FORM, &[("idempotency-key", "b")], "message=a&key=", "invalid_key"),
            (FORM, &[("idempotency-key", "b")], "message=a&key=a", "conflicting_parameters"),
            (JSON, &[], "", "malformed_body"),
            (JSON, &[], "[]", "malformed_body"),
            (JSON, &[], r#"{"message":"a"}}"#, "malformed_body"),
            (JSON, &[], r#"{"message":"\ud800"}"#, "malformed_body"),
            (JSON, &[], r#"{"nick":null,"nick":null,"message":"a"}"#, "repeated_parameter"),
            (JSON, &[], r#"{"message":null}"#, "missing_message"),
            (JSON, &[], r#"{"message":["a",{}]}"#, "invalid_message"),
            (JSON, &[], r#"{"message":"a","nick":{"a":1}}"#, "invalid_nick"),
            (JSON, &[], r#"{"message":"a","channel":true}"#, "invalid_channel"),
            (JSON, &[], r#"{"message":"a","key":7}"#, "invalid_key"),
        ] {
            let refused = parsed(content_type, headers, body.as_bytes()).await;
            assert_eq!(refused.err(), Some(code), "{content_type} {body}");
        }
    }

    #[tokio::test]
    async fn what_does_not_matter_is_passed_over() {
        for (content_type, headers, body) in [
            (FORM, &[][..], "message=a&nick=&x=%ff&x=%ff&"),
            ("Application/X-WWW-Form-URLEncoded; Charset=\"UTF-8\"", &[], "message=a"),
            (FORM, &[("idempotency-key", "\"a\"")], "message=a&key=%22a%22"),
            (JSON, &[], r#" {"x":{"message":1},"x":1e999,"mess\u0061ge":"a","nick":null,"key":null} "#),
        ] {
            let taken = parsed(content_type, headers, body.as_bytes()).await;
            assert!(taken.is_ok_and(|taken| taken.draft.text.as_str() == "a"), "{content_type} {body}");
        }
    }

    #[tokio::test]
    async fn in_a_form_that_is_no_utf_8_only_the_fields_count_that_are() {
        for (body, taken) in [
            (&b"x=\xff&message=h\xc3\xa9%2B+\xe2\x82\xac"[..], Ok("h\u{e9}+ \u{20ac}")),
            (b"\xff=1&message=a", Ok("a")),
            (b"mess\xe1ge=b&message=a", Ok("a")),
            (b"message=\xff", Err("invalid_message")),
            (b"message=\xe2\x82&x=\xac", Err("invalid_message")),
            (b"message=a&\xff=%\xff", Err("malformed_body")),
            (b"{\"message\":\"\xff\"}", Err("malformed_body")),
        ] {
            let came = parsed(FORM, &[], body).await.map(|taken| taken.draft.text.as_str().to_owned());
            assert_eq!(came.as_deref().map_err(|code| *code), taken, "{}", body.escape_ascii());
        }
    }

    #[tokio::test]
    async fn nothing_is_read_from_the_query_and_a_field_there_is_refused() {
        for query in ["channel=news", "a=%zz&k%65y", "message=", "nick=%zz", "%6eick=ann&x"] {
            let refused = parsed_at(&format!("/pub?{query}"), FORM, &[], b"message=a&message=b").await;
            assert_eq!(refused.err(), Some("misplaced_parameter"), "{query}");
        }
        for query in ["", "Channel=news", "_=1&cursor=7-1", "%zz"] {
            assert!(parsed_at(&format!("/pub?{query}"), FORM, &[], b"message=a").await.is_ok(), "{query}");
        }
        assert_eq!(parsed_at("/pub?nick=a", FORM, &[], b"%").await.err(), Some("malformed_body"));
    }
}
