//! JSON in which a name may stand only once in an object.
//!
//! Two readers of `{"sub":"a","sub":"b"}` can see two people; here nobody sees any. Numbers keep what a claim needs: whole
//! seconds as integers, everything else as a float that no time claim accepts.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Members in their order, each name once.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads the whole of `text`.
    ///
    /// # Errors
    /// Not JSON, nested more than 128 deep, or a name twice in an object.
    pub fn parse(text: &[u8]) -> Result<Json, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The member called `name`, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        #[expect(clippy::cast_precision_loss, reason = "no claim reads a float's digits")]
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = list.next_element()? {
            members.push(member);
        }
        Ok(Json::Array(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom("a name stands twice in an object"));
            }
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn j14_a_name_twice_is_an_error_at_any_depth() {
        assert!(Json::parse(br#"{"a":1,"b":{"a":1}}"#).is_ok());
        assert!(Json::parse(br#"{"a":1,"a":1}"#).is_err());
        assert!(Json::parse(br#"{"a":{"b":1,"\u0062":2}}"#).is_err());
        assert!(Json::parse(br#"{"a":[{"b":1,"b":2}]}"#).is_err());
        assert!(Json::parse(b"{} {}").is_err());
        assert!(Json::parse(b"{\"a\":1e400}").is_err());
    }

    #[test]
    fn numbers_are_whole_or_floats() {
        let json = Json::parse(b"[1, -1, 1.0, 18446744073709551615]").unwrap();
        let Json::Array(numbers) = json else { panic!("a list") };
        assert_eq!(numbers[0], Json::Integer(1));
        assert_eq!(numbers[1], Json::Integer(-1));
        assert_eq!(numbers[2], Json::Float(1.0));
        assert!(matches!(numbers[3], Json::Float(_)));
    }
}
