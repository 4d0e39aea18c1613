//! A JSON object taken apart field by field, so that whatever is wrong with it is said by name:
//! another type, a field that nobody knows, one that comes twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use crate::refusal::Refusal;

/// Longest part of an unknown field's name that is said back.
const NAME_SHOWN_MAX: usize = 64;

/// What is left of the object.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Of a body; an empty one is an object without fields.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| {
            // Only where it is: the parser's own message may repeat what was sent.
            let (line, column) = (error.line(), error.column());
            Refusal::invalid(
                "body",
                format!(
                    "must be one JSON object, no field twice; see line {line}, column {column}"
                ),
            )
        })
    }

    /// Of a query.
    pub(super) fn of_query(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            if fields.insert(name.clone(), Value::String(value)).is_some() {
                return Err(Refusal::invalid(shown(&name), "must not come twice"));
            }
        }
        Ok(Self(fields))
    }

    /// A whole number; absent and null are none.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| {
                Refusal::invalid(name, "must be a whole number: no text, no fraction")
            }),
        }
    }

    /// A text; absent and null are none.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(name, "must be a text")),
        }
    }

    /// A list of texts; absent and null are none.
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let refused = || Refusal::invalid(name, "must be a list of texts");
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(refused()),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(refused()),
        }
    }

    /// A list of whole numbers from 0 on; absent and null are none.
    pub(super) fn counts(&mut self, name: &str) -> Result<Option<Vec<u64>>, Refusal> {
        let refused = || Refusal::invalid(name, "must be a list of whole numbers, 0 or more");
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_u64().ok_or_else(refused))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(refused()),
        }
    }

    /// A whole number from 0 on; absent and null are none.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                Refusal::invalid(name, "must be a whole number, 0 or more: no text, no fraction")
            }),
        }
    }

    /// An object, to be taken apart in its turn; absent and null are none.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.into_iter().collect()))),
            Some(_) => Err(Refusal::invalid(name, "must be an object")),
        }
    }

    /// True or false; absent and null are none.
    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(_) => Err(Refusal::invalid(name, "must be true or false")),
        }
    }

    /// An object of texts; absent and null are none.
    pub(super) fn texts_by_name(
        &mut self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let refused = || Refusal::invalid(name, "must be an object of texts");
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(values)) => values
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key, text)),
                    _ => Err(refused()),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(refused()),
        }
    }

    /// Nothing must be left: a field with a typing error in its name would silently do nothing.
    pub(super) fn end(self, known: &[&str]) -> Result<(), Refusal> {
        let Some(name) = self.0.keys().next() else { return Ok(()) };
        let allowed = match known {
            [] => "is not known here; no field is".to_owned(),
            known => format!("is not known here; known are {}", known.join(", ")),
        };
        Err(Refusal::invalid(shown(name), allowed))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }
}

/// An unknown name is said back, bounded and without control characters.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_SHOWN_MAX).collect()
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("a field comes twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).expect("an object")
    }

    #[test]
    fn what_is_no_object_is_refused_without_saying_it_back() {
        let deep = "[".repeat(10_000);
        for bad in ["hunter2", "[]", "1", "{\"a\":1,\"a\":2}", "{\"a\":1} x", &deep, "\u{0}"] {
            let refusal = Fields::parse(bad.as_bytes()).expect_err("refused");
            assert_eq!(refusal.field(), Some("body"));
            assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_by_the_fields_name() {
        for bad in ["\"1\"", "1.0", "1e3", "true", "[1]", "{}", "9223372036854775808"] {
            let refusal =
                fields(&format!("{{\"amount\":{bad}}}")).integer("amount").expect_err("refused");
            assert_eq!(refusal.field(), Some("amount"), "{bad}");
        }
        assert_eq!(fields("{\"amount\":-1}").integer("amount").expect("a number"), Some(-1));
        assert!(fields("{\"a\":1}").text("a").is_err());
        assert!(fields("{\"a\":[\"b\",1]}").texts("a").is_err());
        assert_eq!(fields("{\"a\":null}").text("a").expect("none"), None);
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_name_and_told_what_is_known() {
        let mut fields = fields("{\"amount\":1,\"curency\":\"USD\"}");
        fields.integer("amount").expect("a number");
        let refusal = fields.end(&["amount", "currency"]).expect_err("refused");
        assert_eq!(refusal.to_string(), "curency: is not known here; known are amount, currency");
    }
}
