//! A request to subscribe, parsed.

use std::time::Duration;

use super::{
    Code, Problem,
    fields::{Fields, Value},
    form,
};
use crate::{batch::Limit, channel::Channel, cursor::Cursor, store::Start};

/// What is asked of which channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) channel: Channel,
    pub(super) asked: Asked,
}

/// The three kinds of polls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What stands after a cursor, held for when there is nothing.
    Batch {
        start: Start,
        limit: Limit,
        /// How long, if the client says so.
        wait: Option<Duration>,
    },
    /// What stands before one.
    History { before: Cursor, limit: Limit },
    /// The protocol of 2013: the next message, held for.
    NextMessage,
}

impl Query {
    /// Reads a query. Of several faults the first counts: the query as a whole, the parameters in their order.
    pub(super) fn parse(query: &str) -> Result<Self, Problem> {
        let mut fields = fields_of(query)?;
        let position = ["cursor", "last", "before"].map(|name| fields.has(name));
        let bare = !position.contains(&true) && !fields.has("wait") && !fields.has("limit");

        let channel = fields.channel()?;

        if position.iter().filter(|given| **given).count() > 1 {
            let detail = "cursor, last and before exclude each other";
            return Err(Problem::new(Code::ConflictingParameters, detail));
        }
        let cursor = fields.text("cursor", Code::InvalidCursor)?.map(|text| start(&text)).transpose()?;
        let last = limit(&mut fields, "last", Code::InvalidLast)?;
        let before = fields.text("before", Code::InvalidBefore)?.map(|text| text.parse());
        let before = before.transpose().map_err(|error| Problem::new(Code::InvalidBefore, error))?;
        let wait = number(&mut fields, "wait", Code::InvalidWait)?.map(Duration::from_secs);
        let limit = limit(&mut fields, "limit", Code::InvalidLimit)?.unwrap_or(Limit::MAX);

        let asked = match before {
            _ if bare => Asked::NextMessage,
            Some(before) => Asked::History { before, limit },
            None => {
                let start = cursor.or(last.map(Start::Last)).unwrap_or(Start::Latest);
                Asked::Batch { start, limit, wait }
            }
        };
        Ok(Self { channel, asked })
    }
}

fn fields_of(query: &str) -> Result<Fields<6>, Problem> {
    let malformed = |error: &dyn ToString| Problem::new(Code::MalformedQuery, error.to_string());
    let mut fields = Fields::new(["channel", "cursor", "last", "before", "wait", "limit"]);
    for pair in form::pairs(query.as_bytes()) {
        let (name, value) = pair.map_err(|error| malformed(&error))?;
        let name = String::from_utf8(name).map_err(|_| malformed(&"the query is not UTF-8"))?;
        let value = String::from_utf8(value).map_err(|_| malformed(&"the query is not UTF-8"))?;
        fields.put(name.as_bytes(), Value::Text(value));
    }
    fields.once()
}

fn start(cursor: &str) -> Result<Start, Problem> {
    match cursor {
        "latest" => Ok(Start::Latest),
        "earliest" => Ok(Start::Earliest),
        cursor => cursor.parse().map(Start::After).map_err(|_| {
            let detail = "cursor must be latest, earliest, or a cursor or id as it came in an answer";
            Problem::new(Code::InvalidCursor, detail)
        }),
    }
}

/// A whole number, however many digits it has: one that is too large for any limit is clamped like others.
fn number(fields: &mut Fields<6>, name: &str, code: Code) -> Result<Option<u64>, Problem> {
    let Some(text) = fields.text(name, code)? else {
        return Ok(None);
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::new(code, format!("{name} must be a whole number, in digits")));
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

fn limit(fields: &mut Fields<6>, name: &str, code: Code) -> Result<Option<Limit>, Problem> {
    let Some(number) = number(fields, name, code)? else {
        return Ok(None);
    };
    let limit = Limit::clamped(number);
    let limit = limit.ok_or_else(|| Problem::new(code, format!("{name} must be at least 1")))?;
    Ok(Some(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(query: &str) -> Result<Asked, &'static str> {
        Query::parse(query).map(|query| query.asked).map_err(|problem| problem.code().as_str())
    }

    fn batch(start: Start, limit: u64, wait: Option<u64>) -> Result<Asked, &'static str> {
        let limit = Limit::clamped(limit).unwrap();
        Ok(Asked::Batch { start, limit, wait: wait.map(Duration::from_secs) })
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(epoch in 0..1_u64 << 63, offset in 0..1_u64 << 63, limit in 1..=100_u64) {
            let cursor = Cursor::new(epoch, offset);
            let after = batch(Start::After(cursor), limit, None);
            prop_assert_eq!(asked(&format!("cursor={cursor}&limit={limit}&_=9")), after);
            let limit = Limit::clamped(limit).unwrap();
            let before = Ok(Asked::History { before: cursor, limit });
            prop_assert_eq!(asked(&format!("limit={}&before={cursor}", limit.get())), before);
        }

        #[test]
        fn a_number_is_any_number_of_digits(digits in "[0-9]{1,40}") {
            let number = digits.parse().unwrap_or(u64::MAX);
            let limited = Limit::clamped(number).map_or(Err("invalid_limit"), |_| batch(Start::Latest, number, None));
            prop_assert_eq!(asked(&format!("limit={digits}")), limited);
            prop_assert_eq!(asked(&format!("wait={digits}")), batch(Start::Latest, 100, Some(number)));
        }

        #[test]
        fn whatever_comes_is_taken_or_refused(query in "(\\PC|%[0-9a-f]{2}|&|=|cursor=|wait=|last=|before=|0-|7){0,12}") {
            let _ = asked(&query);
        }
    }

    #[test]
    fn nothing_but_a_channel_is_the_protocol_of_2013() {
        for query in ["", "channel=x", "_=1", "a=b&c"] {
            assert_eq!(asked(query), Ok(Asked::NextMessage), "{query}");
        }
        assert_eq!(asked("wait=0"), batch(Start::Latest, 100, Some(0)));
        assert_eq!(asked("cursor=earliest"), batch(Start::Earliest, 100, None));
        assert_eq!(asked("cursor=latest"), batch(Start::Latest, 100, None));
        assert_eq!(asked("last=500"), batch(Start::Last(Limit::MAX), 100, None));
        assert_eq!(asked("%63ursor=0%2D0"), batch(Start::After(Cursor::ORIGIN), 100, None));
    }

    #[test]
    fn of_several_faults_the_first_counts() {
        for (query, code) in [
            ("x=%&cursor=&cursor=", "malformed_query"),
            ("x=%ff&wait=x", "malformed_query"),
            ("%ff=x", "malformed_query"),
            ("wait=x&wait=1&channel=", "repeated_parameter"),
            ("wait=x&channel=", "invalid_channel"),
            ("channel=a/b", "invalid_channel"),
            ("cursor=x&last=0", "conflicting_parameters"),
            ("before=1-1&last=1", "conflicting_parameters"),
            ("cursor=&wait=x", "invalid_cursor"),
            ("cursor=Latest", "invalid_cursor"),
            ("last=0&wait=x", "invalid_last"),
            ("before=latest&limit=0", "invalid_before"),
            ("wait=1.5&limit=0", "invalid_wait"),
            ("wait", "invalid_wait"),
            ("wait=-1", "invalid_wait"),
            ("wait=%2B1", "invalid_wait"),
            ("wait=%D9%A1", "invalid_wait"),
            ("limit=000", "invalid_limit"),
        ] {
            assert_eq!(asked(query), Err(code), "{query}");
        }
    }
}
