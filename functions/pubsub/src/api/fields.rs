//! The named values in a body or a query, found by a parser and not checked yet.

use std::borrow::Cow;

use super::{Code, Problem, form};
use crate::channel::Channel;

/// The values of known fields. Others are ignored.
pub(super) struct Fields<'a, const N: usize> {
    names: [&'static str; N],
    values: [Option<Value<'a>>; N],
    repeated: Option<&'static str>,
}

/// What was given.
pub(super) enum Value<'a> {
    /// A text. It is borrowed from the query or body where it needs no decoding.
    Text(Cow<'a, str>),
    /// JSON's null, which counts as an absent field.
    Null,
    /// A value that is no text: bytes that are not UTF-8, or another type.
    NotText,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// No values yet, for fields of these names.
    pub(super) fn new(names: [&'static str; N]) -> Self {
        Self { names, values: [const { None }; N], repeated: None }
    }

    /// Whether this is the name of a known field.
    pub(super) fn knows(&self, name: &[u8]) -> bool {
        self.names.iter().any(|known| known.as_bytes() == name)
    }

    /// A known field in a query, whether or not the rest of the query is valid.
    pub(super) fn named_in(&self, query: &str) -> Option<&'static str> {
        let names = query.split('&').filter_map(|pair| pair.split('=').next());
        let mut decoded = names.flat_map(|name| form::pairs(name.as_bytes())).flatten();
        decoded.find_map(|(name, _)| self.names.into_iter().find(|known| known.as_bytes() == &*name))
    }

    /// Stores a value. A second one is reported by `once`, when the parser has seen all.
    pub(super) fn put(&mut self, name: &[u8], value: Value<'a>) {
        let mut places = self.names.iter().zip(&mut self.values);
        if let Some((known, place)) = places.find(|(known, _)| known.as_bytes() == name)
            && place.replace(value).is_some()
        {
            self.repeated.get_or_insert(known);
        }
    }

    /// The fields, if none was given twice.
    pub(super) fn once(self) -> Result<Self, Problem> {
        match self.repeated {
            None => Ok(self),
            Some(name) => Err(repeated(name)),
        }
    }

    /// Whether no known field was given.
    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    /// Whether a field was given.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut given = self.names.iter().zip(&self.values);
        given.any(|(known, value)| value.is_some() && *known == name)
    }

    /// The text of a field, if it was given. `code` is the error when it is no text.
    pub(super) fn text(&mut self, name: &str, code: Code) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut given = self.names.iter().zip(&mut self.values);
        match given.find(|(known, value)| value.is_some() && **known == name).and_then(|(_, value)| value.take()) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::NotText) => Err(Problem::new(code, format!("{name} must be a text in UTF-8"))),
        }
    }

    /// The channel, which both endpoints have.
    pub(super) fn channel(&mut self) -> Result<Channel, Problem> {
        match self.text("channel", Code::InvalidChannel)? {
            None => Ok(Channel::default()),
            Some(name) => Channel::parse(&name).map_err(|error| Problem::new(Code::InvalidChannel, error)),
        }
    }
}

/// A field was given twice, and nobody can tell which one is meant.
pub(super) fn repeated(name: &str) -> Problem {
    Problem::new(Code::RepeatedParameter, format!("{name} is given more than once"))
}
