//! The answers to what is wrong: RFC 9457 problem documents, each with a stable code.

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    access::{Action, InvalidToken},
    channel::Channel,
    service::Refusal,
    store::StoreError,
};

/// What clients act on. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is what its name says; docs/API.md has the table")]
pub enum Code {
    MalformedBody,
    MalformedQuery,
    MissingMessage,
    InvalidMessage,
    InvalidNick,
    InvalidChannel,
    InvalidKey,
    InvalidCursor,
    InvalidLast,
    InvalidBefore,
    InvalidWait,
    InvalidLimit,
    InvalidChannels,
    InvalidTokenField,
    RepeatedParameter,
    ConflictingParameters,
    MisplacedParameter,
    MalformedRequest,
    Unauthorized,
    Forbidden,
    NickNotYours,
    NotFound,
    MethodNotAllowed,
    SlowBody,
    NothingPublished,
    MessageTooLarge,
    BodyTooLarge,
    UnsupportedMediaType,
    WrongHost,
    KeyReused,
    TooManyHolds,
    RateLimited,
    Internal,
    Overloaded,
    StoreBusy,
    StoreUnreachable,
    StoreFull,
    Stopping,
}

impl Code {
    /// The code as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.facts().1
    }

    /// Its HTTP status, its name in answers, and the seconds after which it is worth trying again.
    fn facts(self) -> (StatusCode, &'static str, Option<u32>) {
        use StatusCode as S;
        match self {
            Self::MalformedBody => (S::BAD_REQUEST, "malformed_body", None),
            Self::MalformedQuery => (S::BAD_REQUEST, "malformed_query", None),
            Self::MissingMessage => (S::BAD_REQUEST, "missing_message", None),
            Self::InvalidMessage => (S::BAD_REQUEST, "invalid_message", None),
            Self::InvalidNick => (S::BAD_REQUEST, "invalid_nick", None),
            Self::InvalidChannel => (S::BAD_REQUEST, "invalid_channel", None),
            Self::InvalidKey => (S::BAD_REQUEST, "invalid_key", None),
            Self::InvalidCursor => (S::BAD_REQUEST, "invalid_cursor", None),
            Self::InvalidLast => (S::BAD_REQUEST, "invalid_last", None),
            Self::InvalidBefore => (S::BAD_REQUEST, "invalid_before", None),
            Self::InvalidWait => (S::BAD_REQUEST, "invalid_wait", None),
            Self::InvalidLimit => (S::BAD_REQUEST, "invalid_limit", None),
            Self::InvalidChannels => (S::BAD_REQUEST, "invalid_channels", None),
            Self::InvalidTokenField => (S::BAD_REQUEST, "invalid_token_field", None),
            Self::RepeatedParameter => (S::BAD_REQUEST, "repeated_parameter", None),
            Self::ConflictingParameters => (S::BAD_REQUEST, "conflicting_parameters", None),
            Self::MisplacedParameter => (S::BAD_REQUEST, "misplaced_parameter", None),
            Self::MalformedRequest => (S::BAD_REQUEST, "malformed_request", None),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", None),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", None),
            Self::NickNotYours => (S::FORBIDDEN, "nick_not_yours", None),
            Self::NotFound => (S::NOT_FOUND, "not_found", None),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", None),
            Self::SlowBody => (S::REQUEST_TIMEOUT, "slow_body", None),
            Self::NothingPublished => (S::CONFLICT, "nothing_published", None),
            Self::MessageTooLarge => (S::PAYLOAD_TOO_LARGE, "message_too_large", None),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", None),
            Self::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", None),
            Self::WrongHost => (S::MISDIRECTED_REQUEST, "wrong_host", None),
            Self::KeyReused => (S::UNPROCESSABLE_ENTITY, "key_reused", None),
            Self::TooManyHolds => (S::TOO_MANY_REQUESTS, "too_many_holds", Some(5)),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate_limited", Some(1)),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", None),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", Some(1)),
            Self::StoreBusy => (S::SERVICE_UNAVAILABLE, "store_busy", Some(1)),
            Self::StoreUnreachable => (S::SERVICE_UNAVAILABLE, "store_unreachable", Some(2)),
            Self::StoreFull => (S::SERVICE_UNAVAILABLE, "store_full", Some(60)),
            Self::Stopping => (S::SERVICE_UNAVAILABLE, "stopping", Some(1)),
        }
    }
}

/// One thing that is wrong, and what would be right, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    /// The methods that the path takes, where the request had another one.
    allow: Option<&'static str>,
    /// When to try again, if that is known better than by the code.
    retry_after: Option<u32>,
    /// The `WWW-Authenticate` of the answer (RFC 6750, 3).
    authenticate: Option<&'static str>,
    /// The channels that are not granted.
    denied: Vec<Channel>,
}

impl Problem {
    /// A problem with this code. `detail` is for people: what is wrong, and what is allowed.
    #[must_use]
    pub fn new(code: Code, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self { code, detail, allow: None, retry_after: None, authenticate: None, denied: Vec::new() }
    }

    /// The path takes other methods. `allow` lists them, as the header does.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// This client has sent too many of `what`, and may go on in so many seconds.
    #[must_use]
    pub fn rate_limited(what: &str, retry_after: u32) -> Self {
        let detail = format!("too many {what} from this address");
        Self { retry_after: Some(retry_after), ..Self::new(Code::RateLimited, detail) }
    }

    /// The token does not grant this for these channels. The answer does not say whether they exist.
    pub(super) fn forbidden(action: Action, denied: Vec<Channel>) -> Self {
        let names: Vec<_> = denied.iter().map(Channel::as_str).collect();
        let action = match action {
            Action::Publish => "publish to",
            Action::Subscribe => "subscribe to",
        };
        let detail = format!("the token does not allow to {action} {}", names.join(", "));
        let authenticate = Some(r#"Bearer error="insufficient_scope""#);
        Self { authenticate, denied, ..Self::new(Code::Forbidden, detail) }
    }

    /// There is nothing at this path.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing here; POST /pub publishes and GET /sub subscribes")
    }

    /// A fault of linger itself, whose cause is not told to clients.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "something went wrong here")
    }

    /// A poll of 2013 ended without a message. Clients of that protocol take this for an error and ask again.
    pub(super) fn nothing_published() -> Self {
        Self::new(Code::NothingPublished, "nothing was published meanwhile; ask again")
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    pub(super) fn status(&self) -> StatusCode {
        self.code.facts().0
    }

    pub(super) fn retry_after(&self) -> Option<u32> {
        self.retry_after.or(self.code.facts().2)
    }

    /// Its own headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let text = HeaderValue::from_static;
        let no_encoding = (self.code == Code::UnsupportedMediaType).then_some("identity");
        let all = [
            (RETRY_AFTER, self.retry_after().map(HeaderValue::from)),
            (ACCEPT_ENCODING, no_encoding.map(text)),
            (WWW_AUTHENTICATE, self.authenticate.map(text)),
            (ALLOW, self.allow.map(text)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Stopping => Code::Stopping,
            Refusal::TooManyHolds(_) | Refusal::TooManyPlaces(_) | Refusal::TooManyFollowers(_) => Code::TooManyHolds,
            Refusal::Store(StoreError::Busy) => Code::StoreBusy,
            Refusal::Store(StoreError::NoAnswer) => Code::StoreUnreachable,
            Refusal::Store(StoreError::KeyReused) => Code::KeyReused,
            Refusal::Store(StoreError::Full(_)) => Code::StoreFull,
            Refusal::Store(StoreError::Corrupt) => return Self::internal(),
        };
        Self::new(code, refusal)
    }
}

impl From<InvalidToken> for Problem {
    fn from(invalid: InvalidToken) -> Self {
        let authenticate = match invalid {
            InvalidToken::Absent => "Bearer",
            _ => r#"Bearer error="invalid_token""#,
        };
        Self { authenticate: Some(authenticate), ..Self::new(Code::Unauthorized, invalid) }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, code, _) = self.code.facts();
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("type", "about:blank")?;
        document.serialize_entry("title", status.canonical_reason().unwrap_or_default())?;
        document.serialize_entry("status", &status.as_u16())?;
        document.serialize_entry("detail", &self.detail)?;
        document.serialize_entry("code", code)?;
        if let Some(seconds) = self.retry_after() {
            document.serialize_entry("retry_after", &seconds)?;
        }
        if !self.denied.is_empty() {
            document.serialize_entry("channels", &self.denied)?;
        }
        document.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: &Problem) -> String {
        serde_json::to_string(problem).unwrap()
    }

    #[test]
    fn every_refusal_has_its_code_and_says_what_may_be_assumed() {
        let coded = |refusal: Refusal| {
            let problem = Problem::from(refusal);
            (problem.status().as_u16(), problem.code().as_str(), problem.retry_after())
        };
        assert_eq!(coded(Refusal::Stopping), (503, "stopping", Some(1)));
        assert_eq!(coded(Refusal::TooManyHolds(1)), (429, "too_many_holds", Some(5)));
        assert_eq!(coded(StoreError::Busy.into()), (503, "store_busy", Some(1)));
        assert_eq!(coded(StoreError::NoAnswer.into()), (503, "store_unreachable", Some(2)));
        assert_eq!(coded(StoreError::KeyReused.into()), (422, "key_reused", None));
        assert_eq!(coded(StoreError::Full("keys").into()), (503, "store_full", Some(60)));
        assert_eq!(coded(StoreError::Corrupt.into()), (500, "internal", None));
    }

    #[test]
    fn a_document_says_when_to_come_back() {
        assert_eq!(
            document(&Refusal::Store(StoreError::Full("keys")).into()),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the store has reached its maximum of keys","code":"store_full","retry_after":60}"#
        );
    }

    #[test]
    fn what_is_wrong_inside_stays_inside() {
        let document = document(&Refusal::Store(StoreError::Corrupt).into());
        assert!(document.contains(r#""detail":"something went wrong here","code":"internal""#), "{document}");
    }
}
