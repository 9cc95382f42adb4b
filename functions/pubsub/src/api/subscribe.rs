//! A request to subscribe, parsed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body;
use smallvec::smallvec;

use super::{
    Code, Problem, Report, authorize,
    body::Bodies,
    content::{self, Takes},
    fields::{self, Field, Fields, Value},
    form,
};
use crate::{
    access::{Access, Action},
    batch::Limit,
    channel::Channel,
    cursor::Cursor,
    limits::POLL_CHANNELS_MAX,
    service::{Each, Place},
    store::Start,
};

/// The parameters. In which order errors are reported is seen in `by`.
const PARAMETERS: [Field; 8] = [
    Field::Token,
    Field::Channel,
    Field::Channels,
    Field::Cursor,
    Field::Last,
    Field::Before,
    Field::Wait,
    Field::Limit,
];

/// The parameters that `channels` excludes, since its items have them.
const INSTEAD_OF_CHANNELS: [Field; 3] = [Field::Channel, Field::Cursor, Field::Before];

/// The three kinds of polls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A poll of some places, held until there is something.
    Batches {
        places: Each<Place>,
        limit: Limit,
        /// How long it is held, if the client says so.
        wait: Option<Duration>,
        /// Whether the answer has a part for each channel, or is that of the only one.
        named: bool,
    },
    /// A page of history.
    History { channel: Channel, before: Cursor, limit: Limit },
    /// The protocol of 2013: the next message. Held until there is one.
    NextMessage { channel: Channel },
}

impl Asked {
    /// Reads a query. Only the first error is reported: of the query as a whole, of the token, of the parameters in
    /// their order.
    pub(super) fn in_query(
        query: &str,
        headers: &HeaderMap,
        access: &Access,
        report: &mut Report,
    ) -> Result<Self, Problem> {
        let malformed = |detail: &dyn ToString| Problem::new(Code::MalformedQuery, detail.to_string());
        let decode = |encoded| match form::decode(encoded) {
            Ok(Value::Text(text)) => Ok(text),
            Ok(_) => Err(malformed(&"the query is not UTF-8")),
            Err(error) => Err(malformed(&error)),
        };
        let mut fields = Fields::new(&PARAMETERS);
        for (name, value) in form::pairs(query) {
            let (name, value) = (decode(name)?, decode(value)?);
            if let Some(field) = fields.known(&name) {
                fields.put(field, Value::Text(value));
            }
        }
        if fields.has(Field::Token) {
            return Err(content::misplaced(Field::Token));
        }
        Self::allowed(fields.once()?, headers, access, report)
    }

    /// Reads a form with the same parameters.
    pub(super) async fn in_form<B>(
        request: Box<Request<B>>,
        bodies: &Bodies,
        access: &Access,
        report: &mut Report,
    ) -> Result<Self, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (headers, fields, _counted) = content::read(request, Takes::Form, bodies, &PARAMETERS).await?;
        Self::allowed(fields, &headers, access, report)
    }

    fn allowed(
        mut fields: Fields<'_>,
        headers: &HeaderMap,
        access: &Access,
        report: &mut Report,
    ) -> Result<Self, Problem> {
        let rights = authorize::rights(access, headers, &mut fields)?;
        let asked = Self::by(fields)?;
        report.channels = asked.channels().cloned().collect();
        authorize::check(&rights, Action::Subscribe, report.channels.iter())?;
        Ok(asked)
    }

    /// Its channels.
    fn channels(&self) -> impl Iterator<Item = &Channel> {
        let (places, one) = match self {
            Self::Batches { places, .. } => (&places[..], None),
            Self::History { channel, .. } | Self::NextMessage { channel } => (&[][..], Some(channel)),
        };
        places.iter().map(|place| &place.channel).chain(one)
    }

    fn by(mut fields: Fields<'_>) -> Result<Self, Problem> {
        let given = [Field::Cursor, Field::Last, Field::Before].map(|field| fields.has(field));
        let named = fields.has(Field::Channels);
        let bare = !named && !given.contains(&true) && !fields.has(Field::Wait) && !fields.has(Field::Limit);
        let beside = INSTEAD_OF_CHANNELS.into_iter().find(|field| named && fields.has(*field));

        let channel = fields.channel()?;

        if given.iter().filter(|given| **given).count() > 1 {
            let detail = "cursor, last and before exclude each other";
            return Err(Problem::new(Code::ConflictingParameters, detail));
        }
        if let Some(field) = beside {
            let name = field.name();
            let detail =
                format!("channels and {name} exclude each other; write channels=news:latest,ops:1763942400123-42");
            return Err(Problem::new(Code::ConflictingParameters, detail));
        }
        let listed = fields.text(Field::Channels)?.map(|list| positions(&list)).transpose()?;
        let cursor = fields.text(Field::Cursor)?.map(|text| start(&text)).transpose();
        let cursor = cursor.map_err(|detail| Field::Cursor.invalid(format!("cursor {detail}")))?;
        let last = count(&mut fields, Field::Last)?.map(Start::Last);
        let before = fields.text(Field::Before)?.map(|text| text.parse());
        let before = before.transpose().map_err(|error| Field::Before.invalid(error))?;
        let wait = number(&mut fields, Field::Wait)?.map(Duration::from_secs);
        let limit = count(&mut fields, Field::Limit)?.unwrap_or(Limit::MAX);

        if bare {
            return Ok(Self::NextMessage { channel });
        }
        if let Some(before) = before {
            return Ok(Self::History { channel, before, limit });
        }
        let begins = |(channel, position): (Channel, Option<Start>)| Place {
            channel,
            start: position.or(last).unwrap_or(Start::Latest),
        };
        let places = listed.unwrap_or_else(|| smallvec![(channel, cursor)]).into_iter().map(begins).collect();
        Ok(Self::Batches { places, limit, wait, named })
    }
}

/// The channels of a list, each with its position if it has one.
fn positions(list: &str) -> Result<Each<(Channel, Option<Start>)>, Problem> {
    let invalid = |detail: String| Field::Channels.invalid(detail);
    let mut channels: Each<(Channel, Option<Start>)> = Each::new();
    for item in list.split(',') {
        let (name, position) = item.split_once(':').map_or((item, None), |(name, position)| (name, Some(position)));
        let channel = Channel::parse(name).map_err(|error| {
            let detail = "channels is a list such as news,ops:latest, with commas and no spaces";
            invalid(format!("{name:?} is no channel: {error}; {detail}"))
        })?;
        let position = position.map(start).transpose();
        let position = position.map_err(|detail| invalid(format!("the position of {name} {detail}")))?;
        if channels.iter().any(|(other, _)| *other == channel) {
            return Err(fields::repeated(name));
        }
        if channels.len() == POLL_CHANNELS_MAX {
            return Err(invalid(format!("one poll can have {POLL_CHANNELS_MAX} channels at most")));
        }
        channels.push((channel, position));
    }
    Ok(channels)
}

/// A position, or what is wrong with it.
fn start(position: &str) -> Result<Start, &'static str> {
    match position {
        "latest" => Ok(Start::Latest),
        "earliest" => Ok(Start::Earliest),
        cursor => {
            let given = cursor.parse().map(Start::After);
            given.map_err(|_| "must be latest, earliest, or a cursor or id as it came in an answer")
        }
    }
}

/// A whole number of any length. One that is too large for any integer is clamped to the maximum, as smaller ones are.
fn number(fields: &mut Fields<'_>, field: Field) -> Result<Option<u64>, Problem> {
    let Some(text) = fields.text(field)? else {
        return Ok(None);
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(field.invalid(format!("{} must be a whole number, in digits", field.name())));
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

fn count(fields: &mut Fields<'_>, field: Field) -> Result<Option<Limit>, Problem> {
    let Some(number) = number(fields, field)? else {
        return Ok(None);
    };
    let limit = Limit::clamped(number);
    Ok(Some(limit.ok_or_else(|| field.invalid(format!("{} must be at least 1", field.name())))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(query: &str) -> Result<Asked, &'static str> {
        let asked = Asked::in_query(query, &HeaderMap::new(), &Access::open(), &mut Report::default());
        asked.map_err(|problem| problem.code().as_str())
    }

    fn batch(start: Start, limit: u64, wait: Option<u64>) -> Result<Asked, &'static str> {
        let (limit, wait) = (Limit::clamped(limit).unwrap(), wait.map(Duration::from_secs));
        let places = smallvec![Place { channel: Channel::default(), start }];
        Ok(Asked::Batches { places, limit, wait, named: false })
    }

    fn batches(places: &[(&str, Start)], limit: Limit) -> Result<Asked, &'static str> {
        let place = |(name, start): &(&str, Start)| Place { channel: Channel::parse(name).unwrap(), start: *start };
        Ok(Asked::Batches { places: places.iter().map(place).collect(), limit, wait: None, named: true })
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(epoch in 0..1_u64 << 63, offset in 0..1_u64 << 63, limit in 1..=100_u64) {
            let cursor = Cursor::new(epoch, offset);
            let after = batch(Start::After(cursor), limit, None);
            prop_assert_eq!(asked(&format!("cursor={cursor}&limit={limit}&_=9")), after);
            let limit = Limit::clamped(limit).unwrap();
            let before = Ok(Asked::History { channel: Channel::default(), before: cursor, limit });
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
        for query in ["", "channel=lobby", "_=1", "a=b&c"] {
            assert_eq!(asked(query), Ok(Asked::NextMessage { channel: Channel::default() }), "{query}");
        }
        assert_eq!(asked("wait=0"), batch(Start::Latest, 100, Some(0)));
        assert_eq!(asked("cursor=earliest"), batch(Start::Earliest, 100, None));
        assert_eq!(asked("cursor=latest"), batch(Start::Latest, 100, None));
        assert_eq!(asked("last=500"), batch(Start::Last(Limit::MAX), 100, None));
        assert_eq!(asked("%63ursor=0%2D0"), batch(Start::After(Cursor::ORIGIN), 100, None));
    }

    #[test]
    fn a_list_has_channels_with_positions_or_without() {
        let (at, two) = (Cursor::new(7, 1), Limit::clamped(2).unwrap());
        let all = [("a", Start::Earliest), ("b.c", Start::After(at)), ("-", Start::Latest)];
        for query in ["channels=a:earliest,b.c:7-1,-", "channels=a%3Aearliest%2Cb.c:7-1,-:latest&_=4"] {
            assert_eq!(asked(query), batches(&all, Limit::MAX), "{query}");
        }
        let last = [("a", Start::Last(two)), ("b", Start::Latest)];
        assert_eq!(asked("last=2&channels=a,b:latest&limit=2"), batches(&last, two));
        assert_eq!(asked("channels=lobby"), batches(&[("lobby", Start::Latest)], Limit::MAX), "one is a list too");
        let list = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(asked(&format!("channels={}", list(20))).is_ok());
        assert_eq!(asked(&format!("channels={}", list(21))), Err("invalid_channels"));
    }

    #[test]
    fn of_several_faults_the_first_counts() {
        for (query, code) in [
            ("x=%&cursor=&cursor=", "malformed_query"),
            ("x=%ff&wait=x", "malformed_query"),
            ("%ff=x", "malformed_query"),
            ("token=a&wait=x&wait=1", "misplaced_parameter"),
            ("t%6fken&channel=", "misplaced_parameter"),
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
            ("channels=a&channels=b", "repeated_parameter"),
            ("channels=a,b,a:7-1&wait=x", "repeated_parameter"),
            ("channels=&wait=x", "invalid_channels"),
            ("channels", "invalid_channels"),
            ("channels=a,", "invalid_channels"),
            ("channels=a,,b", "invalid_channels"),
            ("channels=a:", "invalid_channels"),
            ("channels=a:Latest", "invalid_channels"),
            ("channels=a:7-1:7-1", "invalid_channels"),
            ("channels=a, b", "invalid_channels"),
            ("channels=a&channel=a", "conflicting_parameters"),
            ("channels=a&cursor=latest", "conflicting_parameters"),
            ("channels=a&before=7-1", "conflicting_parameters"),
            ("channels=/&channel=/", "invalid_channel"),
            ("channels=/&cursor=x", "conflicting_parameters"),
            ("channels=/&last=0", "invalid_channels"),
            ("channels=a&last=0", "invalid_last"),
        ] {
            assert_eq!(asked(query), Err(code), "{query}");
        }
    }
}
