//! JSON without repeated members. Of a repeated member, one program may check the first value, and another one use the
//! second.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// A value. `serde_json` limits its depth.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Text(String),
    Number(f64),
    List(Vec<Json>),
    Object(Object),
    /// `null`, `true` or `false`, which mean nothing here.
    Other,
}

/// The members of an object.
pub(super) type Object = BTreeMap<String, Json>;

/// Reads an object.
pub(super) fn object(json: &[u8]) -> serde_json::Result<Object> {
    match serde_json::from_slice(json)? {
        Json::Object(object) => Ok(object),
        _ => Err(serde_json::Error::custom("it is no object")),
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut members = Object::new();
        while let Some((name, value)) = object.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is given twice"));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_says_nothing_twice_however_deep() {
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":null,"\u0062":2}]}"#,
            r#"[]"#,
            r#""a""#,
            r#"{"a":1}{"#,
            r#"{"a":1e999}"#,
            "",
        ] {
            assert!(object(json.as_bytes()).is_err(), "{json}");
        }
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(object(deep(20).as_bytes()).is_ok());
        assert!(object(deep(2000).as_bytes()).is_err());
        let expected = Json::List(vec![Json::Text("b".into()), Json::Number(-1.5), Json::Other, Json::Other]);
        assert_eq!(object(br#"{"a":["\u0062",-1.5,null,true]}"#).unwrap().remove("a"), Some(expected));
    }
}
