//! The fields of a body or a query, found by a parser and not checked yet.

use std::borrow::Cow;

use super::{Code, Problem, form};
use crate::channel::Channel;

/// The fields of both endpoints. Those of a query are also called parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Token,
    Message,
    Nick,
    Key,
    Channel,
    Channels,
    Cursor,
    Last,
    Before,
    Wait,
    Limit,
}

impl Field {
    const COUNT: usize = Self::Limit as usize + 1;

    /// Its name, and the error when its value is not valid.
    fn name_and_code(self) -> (&'static str, Code) {
        match self {
            Self::Token => ("token", Code::InvalidTokenField),
            Self::Message => ("message", Code::InvalidMessage),
            Self::Nick => ("nick", Code::InvalidNick),
            Self::Key => ("key", Code::InvalidKey),
            Self::Channel => ("channel", Code::InvalidChannel),
            Self::Channels => ("channels", Code::InvalidChannels),
            Self::Cursor => ("cursor", Code::InvalidCursor),
            Self::Last => ("last", Code::InvalidLast),
            Self::Before => ("before", Code::InvalidBefore),
            Self::Wait => ("wait", Code::InvalidWait),
            Self::Limit => ("limit", Code::InvalidLimit),
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.name_and_code().0
    }

    /// The problem of an invalid value.
    pub(super) fn invalid(self, detail: impl ToString) -> Problem {
        Problem::new(self.name_and_code().1, detail)
    }
}

/// The values of an endpoint's fields. Others are ignored.
pub(super) struct Fields<'a> {
    known: &'static [Field],
    values: [Option<Value<'a>>; Field::COUNT],
    repeated: Option<Field>,
}

/// What was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A text. It is borrowed from a query where it needs no decoding.
    Text(Cow<'a, str>),
    /// JSON's null. It is read like an absent field.
    Null,
    /// A value that is no text: bytes that are not UTF-8, or another type.
    NotText,
}

impl Value<'_> {
    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(text.into_owned().into()),
            Self::Null => Value::Null,
            Self::NotText => Value::NotText,
        }
    }
}

impl<'a> Fields<'a> {
    /// No values yet, for an endpoint with these fields.
    pub(super) fn new(known: &'static [Field]) -> Self {
        Self { known, values: [const { None }; Field::COUNT], repeated: None }
    }

    /// The known field of this name.
    pub(super) fn known(&self, name: &str) -> Option<Field> {
        self.known.iter().copied().find(|field| field.name() == name)
    }

    /// A known field in a query, whether or not the rest of the query is valid.
    pub(super) fn first_in(&self, query: &str) -> Option<Field> {
        form::pairs(query).find_map(|(name, _)| match form::decode(name) {
            Ok(Value::Text(name)) => self.known(&name),
            _ => None,
        })
    }

    /// Stores a value. A second one is reported by `once`, when the parser has seen all.
    pub(super) fn put(&mut self, field: Field, value: Value<'a>) {
        if let Some(place) = self.values.get_mut(field as usize)
            && place.replace(value).is_some()
        {
            self.repeated.get_or_insert(field);
        }
    }

    /// The fields, if none was given twice.
    pub(super) fn once(self) -> Result<Self, Problem> {
        match self.repeated {
            None => Ok(self),
            Some(field) => Err(repeated(field.name())),
        }
    }

    /// Whether no known field was given.
    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    /// Whether a field was given.
    pub(super) fn has(&self, field: Field) -> bool {
        self.values.get(field as usize).is_some_and(Option::is_some)
    }

    /// The text of a field, if it was given.
    pub(super) fn text(&mut self, field: Field) -> Result<Option<Cow<'a, str>>, Problem> {
        match self.values.get_mut(field as usize).and_then(Option::take) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::NotText) => Err(field.invalid(format!("{} must be a text in UTF-8", field.name()))),
        }
    }

    /// The channel, which both endpoints have.
    pub(super) fn channel(&mut self) -> Result<Channel, Problem> {
        match self.text(Field::Channel)? {
            None => Ok(Channel::default()),
            Some(name) => Channel::parse(&name).map_err(|error| Field::Channel.invalid(error)),
        }
    }
}

/// A field was given twice, and nobody can tell which one is meant.
pub(super) fn repeated(name: &str) -> Problem {
    Problem::new(Code::RepeatedParameter, format!("{name} is given more than once"))
}
