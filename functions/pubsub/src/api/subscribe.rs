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
